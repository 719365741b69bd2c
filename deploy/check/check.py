"""Checks deploy/ with the tools of its users; check.sh installs them. Every failure is said, then the exit code is 1."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "ocs"
# Metrics that others export: Prometheus itself, node_exporter, kube-state-metrics.
FOREIGN = {"up", "node_systemd_unit_state", "kube_pod_container_status_last_terminated_exitcode"}
# systemd's measure of what a service could do, times ten; its own word below 20 is "OK".
EXPOSURE_MAX = 15
REQUIRED = os.environ.get("OCS_REQUIRE_PEERS") == "1"

failures, checks = [], 0


def must(holds, text):
    global checks
    checks += 1
    if not holds:
        failures.append(text)
        print(f"FAILED: {text}", file=sys.stderr)


def skip(text):
    print(f"SKIPPED: {text}", file=sys.stderr)
    must(not REQUIRED, f"must not be skipped: {text}")


def module(name):
    there = importlib.util.find_spec(name) is not None
    if not there:
        skip(f"Python package for {name} is not there")
    return there


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, **options)
    return done.returncode, (done.stdout + done.stderr).strip()


def read(*path):
    return DEPLOY.joinpath(*path).read_text()


ALERTS = yaml.safe_load(read("alerts.yml"))
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
TELEMETRY = (ROOT / "ocs/src/telemetry.rs").read_text()
GRPC = (ROOT / "ocs/src/grpc.rs").read_text()
SOURCES = "\n".join(file.read_text() for crate in ("ocs/src", "diameter", "balance-store/src") for file in (ROOT / crate).rglob("*.rs"))


# ---- PromQL: syntax, metric names, labels and their values

def selectors(text):
    """The selectors of an expression: metric name and what stands in braces. Call only on what was parsed."""
    strings = []
    bare = re.sub(r'"[^"]*"', lambda found: strings.append(found[0]) or f'"{len(strings) - 1}"', text)
    for name, braces in re.findall(r"\b([a-z][a-z0-9_]*)\s*(?:\{([^}]*)\})?(?!\s*\()(?![a-z0-9_])", bare):
        if name.startswith("ocs_") or name in FOREIGN:
            matchers = re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"(\d+)"', braces or "")
            yield name, [(label, strings[int(place)].strip('"')) for label, _, place in matchers]


def check_promql():
    described = set(re.findall(r'describe_(?:counter|gauge|histogram)!\(\s*"(\w+)"', TELEMETRY))
    histograms = set(re.findall(r'describe_histogram!\(\s*"(\w+)"', TELEMETRY))
    exported = described - histograms | {name + end for name in histograms for end in ("_bucket", "_sum", "_count")}
    must(len(exported) > 40, "telemetry.rs exports hardly anything: is it read as it is written?")
    values = {kind: set(re.findall(r'"(\w+)"', TELEMETRY)) for kind in ("type", "result", "reason")}
    values["code"] = set(re.findall(r'"(\w+)"', GRPC))
    labels = {"type", "result", "reason", "method", "code", "version", "le", "instance", "job", "pod", "container", "name", "state"}
    dashboard = json.loads(read("grafana", "ocs.json"))
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    must(len(panels) > 30, "the dashboard has hardly any panels")
    must(all(panel["datasource"]["uid"] == "${datasource}" for panel in panels), "a panel does not use the data source variable")
    must(len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"]), "two panels have one id")
    texts = [(rule["alert"], rule["expr"]) for rule in RULES]
    texts += [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    parser = __import__("promql_parser") if module("promql_parser") else None
    for where, text in texts:
        text = text.replace("$__rate_interval", "5m")
        if parser:
            try:
                parser.parse(text)
            except ValueError as error:
                must(False, f"{where}: {text}: {error}")
                continue
        found = list(selectors(text))
        must(found, f"{where}: no metric in {text}")
        for name in re.findall(r"\bocs_\w+", text):
            must(name in exported, f"{where}: ocs exports no {name}")
        for name, matchers in found:
            for label, value in matchers:
                must(label in labels, f"{where}: {name} has no label {label}")
                for word in value.split("|") if label in values else []:
                    must(word in values[label], f"{where}: no {label} is ever {word}")


# ---- Alerts: annotations, runbook, and that each fires when it should

def check_runbook():
    runbook = (ROOT / "docs/runbook.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", runbook, re.M | re.S))
    names = [rule["alert"] for rule in RULES]
    must(len(names) == len(set(names)), "two alerts have one name")
    must(set(names) == set(sections), f"alerts and sections of docs/runbook.md differ: {sorted(set(names) ^ set(sections))}")
    for rule in RULES:
        name, notes = rule["alert"], rule["annotations"]
        must(rule["labels"]["severity"] in ("page", "ticket"), f"{name}: severity")
        must(set(notes) == {"summary", "description", "runbook"}, f"{name}: summary, description and runbook, no other")
        *steps, link = notes["runbook"].splitlines()
        must(link == f"docs/runbook.md#{name.lower()}", f"{name}: the runbook line ends with its section")
        must([step[:3] for step in steps] == ["1. ", "2. ", "3. "], f"{name}: three things to look at")
        section = sections.get(name, "")
        for step in steps:
            must("`" in step, f"{name}: no command in: {step}")
            must(step in section, f"{name}: docs/runbook.md does not have: {step}")
        must(f"*{rule['labels']['severity']}.*" in section, f"{name}: docs/runbook.md has another severity")
        for pattern in re.findall(r"journalctl -u ocs[^`|]*\| grep (?:-E )?'([^']+)'", notes["runbook"]):
            for text in pattern.split("|"):
                must(text in SOURCES, f"{name}: no log line says '{text}'")
    for link in re.findall(r"\]\(#(\w+)\)", runbook):
        must(link in {name.lower() for name in names}, f"docs/runbook.md: no section {link}")


def check_stories():
    promtool = ROOT / "target/promtool"
    if not promtool.exists():
        return skip("promtool is not there: no alert was fired")
    code, said = run(promtool, "check", "rules", DEPLOY / "alerts.yml")
    must(code == 0, f"promtool check rules: {said}")
    told = yaml.safe_load(read("check", "alerts.yml"))
    tests, fired = [], set()
    for story in told["stories"]:
        series = {**told["healthy"], **story.get("series", {})}
        fires = story["fires"]
        fired |= set(fires)
        samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in fires]
        tests.append({
            "name": story["story"],
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items() if values],
            "promql_expr_test": [{
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"}) > 0',
                "eval_time": story["at"],
                "exp_samples": samples,
            }],
        })
    must(fired == {rule["alert"] for rule in RULES}, f"no story lets these fire: {sorted({rule['alert'] for rule in RULES} - fired)}")
    must(any(not story["fires"] for story in told["stories"]), "no story in which all is well")
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "stories.yml"
        file.write_text(yaml.safe_dump({"rule_files": [str(DEPLOY / "alerts.yml")], "evaluation_interval": "15s", "tests": tests}))
        code, said = run(promtool, "test", "rules", file)
    must(code == 0, f"promtool test rules: {said}")


# ---- The chart

VARIANTS = {
    "as it is": {},
    "with everything": {
        "image": {"repository": "example/ocs", "tag": "1"},
        "imagePullSecrets": [{"name": "pull"}],
        "config": {
            "gy": {"peers": [{"host": "smf.example.org", "profile": "open5gs"}], "served_realms": ["a.example", "b.example"],
                   "service_contexts": {"video@example.org": "data"}, "only_listed_peers": True},
            "limits": {"archived_sessions_max": 20000000},
            "data": {"cdr_keep_days": 400, "folder": "/elsewhere"},
        },
        "gy": {"port": 13868, "service": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "annotations": {"a": "b"},
                                          "loadBalancerSourceRanges": ["10.0.0.0/8"]}},
        "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "p"}}, "prometheusRule": {"enabled": True},
                    "dashboard": {"enabled": True}},
        "persistence": {"storageClassName": "fast", "annotations": {"a": "b"}, "accessMode": "ReadWriteOnce"},
        "networkPolicy": {"enabled": True, "gyFrom": [{"ipBlock": {"cidr": "10.20.0.0/24"}}]},
        "hostNetwork": True, "priorityClassName": "high", "nodeSelector": {"disk": "nvme"},
        "tolerations": [{"key": "ocs", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "podAnnotations": {"a": "b"}, "podLabels": {"c": "d"}, "extraEnv": [{"name": "A", "value": "b"}],
        "extraVolumes": [{"name": "x", "emptyDir": {}}], "extraVolumeMounts": [{"name": "x", "mountPath": "/x"}],
        "extraContainers": [{"name": "reader", "image": "reader:1"}],
    },
    "with TLS": {"tls": {"enabled": True, "secretName": "grpc", "clientCaSecretName": "ca"}, "networkPolicy": {"enabled": True}},
    "standing still": {"replicas": 0, "podDisruptionBudget": {"enabled": False}, "serviceAccount": {"create": False, "name": "x"}},
}
# What the schema must turn away.
WRONG = [{"replicas": 2}, {"gy": {"port": 80}}, {"metrics": {"dashbord": {}}}, {"persistence": {"size": "much"}}, {"tls": {"enabled": "yes"}}]


def objects(manifests):
    for path, text in manifests.items():
        if path.endswith(".yaml"):
            yield from (document for document in yaml.safe_load_all(text) if document)


def check_chart():
    if not module("helm_python"):
        return
    import helm_python as helm
    # Files instead of links: Helm says a line about each link, each time.
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "ocs"
        shutil.copytree(CHART, copy)
        check_rendered(helm, copy)


def check_rendered(helm, folder):
    for name, values in VARIANTS.items():
        report = helm.lint(folder, values, strict=True)
        bad = [message for message in report["messages"] if message["severity"] >= 2]
        must(not bad and not report["errors"], f"helm lint, {name}: {bad} {report['errors']}")
    with helm.Chart.load(folder) as chart:
        for values in WRONG:
            try:
                chart.validate_schema(values)
                must(False, f"the schema of the values takes {values}")
            except helm.HelmValuesError:
                must(True, "")
        try:
            chart.render({"tls": {"enabled": True}}, name="ocs")
            must(False, "TLS without a secret is rendered")
        except helm.HelmRenderError as error:
            must("tls.secretName" in str(error), f"TLS without a secret: {error}")
        for name, values in VARIANTS.items():
            chart.validate_schema(values)
            found = list(objects(chart.render(values, name="prod", namespace="ocs")))
            check_objects(name, values, found)


def check_objects(name, values, found):
    kinds = [document["kind"] for document in found]
    names = [(document["kind"], document["metadata"]["name"]) for document in found]
    must(len(names) == len(set(names)), f"{name}: two objects of one name: {names}")
    if module("kubernetes_validate"):
        import kubernetes_validate
        for document in found:
            # The Prometheus operator's own kinds are in no schema of Kubernetes.
            if not document["apiVersion"].startswith("monitoring.coreos.com/"):
                for version in ("1.29", "1.37"):
                    try:
                        kubernetes_validate.validate(document, version, strict=True)
                        must(True, "")
                    except kubernetes_validate.ValidationError as error:
                        must(False, f"{name}: {document['kind']}: {error}")
    by_kind = {kind: [document for document in found if document["kind"] == kind] for kind in kinds}
    must(kinds.count("StatefulSet") == 1, f"{name}: one StatefulSet")
    spec = by_kind["StatefulSet"][0]["spec"]
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    must(spec["replicas"] <= 1, f"{name}: one process owns its data folder")
    must(pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", f"{name}: pod")
    own = container["securityContext"]
    must(own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"] and own["capabilities"] == {"drop": ["ALL"]}, f"{name}: rights")
    user = re.search(r"^USER (\d+):(\d+)$", read("Containerfile"), re.M)
    must(user and [int(user[1]), int(user[2])] == [pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]], f"{name}: user")
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", read("ocs.service"), re.M)[1])
    must(pod["terminationGracePeriodSeconds"] == stop, f"{name}: ends in another time than the unit gives")
    probe = container["startupProbe"]
    start = int(re.search(r"^TimeoutStartSec=(\d+)$", read("ocs.service"), re.M)[1])
    must(probe["periodSeconds"] * probe["failureThreshold"] == start, f"{name}: starts in another time than the unit gives")
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"] for volume in pod["volumes"]} | {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    must(mounted <= volumes, f"{name}: mounts of no volume: {mounted - volumes}")
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    labels = spec["template"]["metadata"]["labels"]
    must(spec["selector"]["matchLabels"].items() <= labels.items(), f"{name}: the StatefulSet does not select its pod")
    for service in by_kind["Service"]:
        must(service["spec"]["selector"].items() <= labels.items(), f"{name}: {service['metadata']['name']} does not select the pod")
        must(all(port["targetPort"] in ports for port in service["spec"]["ports"]), f"{name}: {service['metadata']['name']}: port")
    tls = values.get("tls", {}).get("enabled", False)
    must(any(service["metadata"]["name"].endswith("-grpc") for service in by_kind["Service"]) == tls, f"{name}: gRPC leaves the pod with TLS only")
    # The configuration, as TOML and as ocs reads it.
    config = next(document["data"]["ocs.toml"] for document in by_kind["ConfigMap"] if "ocs.toml" in document["data"])
    parsed = tomllib.loads(config)
    folder = next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "data")
    must(parsed["data"]["folder"].startswith(folder + "/"), f"{name}: the data folder is not on the volume")
    must(parsed["gy"]["listen"] == [f"0.0.0.0:{ports['gy']}"], f"{name}: Gy listens at {parsed['gy']['listen']}")
    must(parsed["grpc"]["listen"].startswith("0.0.0.0:" if tls else "127.0.0.1:"), f"{name}: gRPC listens at {parsed['grpc']['listen']}")
    for section, members in values.get("config", {}).items():
        for member, value in members.items():
            must(parsed[section][member] == value or member == "folder", f"{name}: {section}.{member} became {parsed[section][member]}")
    check_config(f"{name}, ocs.toml", config, tls)
    if "PrometheusRule" in kinds:
        must(by_kind["PrometheusRule"][0]["spec"] == ALERTS, f"{name}: the rules are not those of deploy/alerts.yml")
        must(by_kind["ServiceMonitor"][0]["spec"]["endpoints"][0]["port"] == "metrics", f"{name}: ServiceMonitor")
        monitor = by_kind["ServiceMonitor"][0]["spec"]["selector"]["matchLabels"]
        chosen = [service for service in by_kind["Service"] if monitor.items() <= service["metadata"]["labels"].items()]
        must(len(chosen) == 1, f"{name}: the ServiceMonitor chooses {len(chosen)} services")


def check_config(name, text, tls):
    binary = next((file for file in (ROOT / "target/release/ocs", ROOT / "target/debug/ocs") if file.exists()), None)
    if binary is None:
        return skip(f"{name}: no ocs is built (make build) to read it")
    if tls:
        return  # Its certificates are in no place that could be read here.
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "ocs.toml"
        file.write_text(text)
        code, said = run(binary, "serve", "--config", file, "--check-config")
    must(code == 0, f"{name}: {said}")


# ---- Unit and container file

def check_unit():
    if shutil.which("systemd-analyze") is None:
        return skip("systemd is not there: the unit was not read")
    with tempfile.TemporaryDirectory() as folder:
        unit = pathlib.Path(folder) / "ocs.service"
        # The binary is not installed where this runs.
        unit.write_text(read("ocs.service").replace("/usr/local/bin/ocs ", "/bin/true "))
        code, said = run("systemd-analyze", "verify", "--man=no", unit)
        said = "\n".join(line for line in said.splitlines() if "ocs.service" in line)
        must(code == 0 and not said, f"systemd-analyze verify: {said}")
        code, said = run("systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE_MAX}", unit)
        must(code == 0, f"systemd-analyze security: {said.splitlines()[-1:]}")
        print(f"    {said.splitlines()[-1].strip() if said else ''}")


def check_containerfile():
    text = read("Containerfile")
    for image in re.findall(r"^FROM (\S+)", text, re.M):
        must(re.fullmatch(r"[a-z]+:[0-9][0-9a-z.-]*", image), f"Containerfile: {image}: a name and a version")
    must(re.search(r"^USER [1-9]\d*:", text, re.M), "Containerfile: runs as root")
    must(re.search(r"^HEALTHCHECK ", text, re.M), "Containerfile: no health check")
    hadolint = ROOT / "target/deploy-venv/bin/hadolint"
    if not hadolint.exists():
        return skip("hadolint is not there")
    code, said = run(hadolint, "--no-color", DEPLOY / "Containerfile")
    must(code == 0 and not said, f"hadolint: {said}")


check_promql()
check_runbook()
check_stories()
check_chart()
check_unit()
check_containerfile()
print(f"deploy: {checks} checks, {len(failures)} failed")
sys.exit(bool(failures))
