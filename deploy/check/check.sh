#!/bin/sh
# Checks what is in deploy/ with the tools that its users have: the chart is rendered by Helm and its objects compared with
# Kubernetes' schemas, alert rules are run by promtool, PromQL is parsed, the unit is read by systemd, the container file linted.
# Installs them where they are missing: Python packages into target/deploy-venv, promtool into target/promtool, systemd with apt (as
# root only). What cannot be had is skipped with a line that says so; with OCS_REQUIRE_PEERS=1 that is a failure.
root="$(cd "$(dirname "$0")/../.." && pwd)"
venv="$root/target/deploy-venv"
wanted="$root/deploy/check/requirements.txt"
have() { command -v "$1" >/dev/null 2>&1; }
fetch() {
    have apt-get && [ "$(id -u)" = 0 ] || return 1
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    [ -n "$updated" ] || { timeout 120 apt-get update -q >&2; updated=yes; }
    "$@"
}
# The binary alone: the package would start a server.
promtool() {
    work="$(mktemp -d)" && chmod 755 "$work" && cd "$work" && timeout 120 apt-get download -q prometheus >&2 &&
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool && mv usr/bin/promtool "$root/target/promtool"
    status=$?
    cd "$root" && rm -rf "$work"
    return $status
}
systemd() { timeout 120 apt-get install -y -q --no-install-recommends systemd >&2; }

mkdir -p "$root/target"
if ! cmp -s "$wanted" "$venv/requirements.txt"; then
    if ! have python3 || ! python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        fetch timeout 120 apt-get install -y -q --no-install-recommends python3-venv >&2
    fi
    rm -rf "$venv"
    # One by one: what there is not for this machine takes nothing else with it.
    python3 -m venv "$venv" >&2 && grep -v '^#' "$wanted" | {
        failed=0
        while read -r package; do
            timeout 180 "$venv/bin/pip" install -q --disable-pip-version-check --only-binary :all: "$package" >&2 || failed=1
        done
        [ "$failed" = 0 ]
    } && cp "$wanted" "$venv/requirements.txt"
fi
[ -x "$root/target/promtool" ] || ! have promtool || ln -sf "$(command -v promtool)" "$root/target/promtool"
[ -x "$root/target/promtool" ] || fetch promtool
have systemd-analyze || fetch systemd
if "$venv/bin/python" -c 'import yaml' 2>/dev/null; then
    exec "$venv/bin/python" "$root/deploy/check/check.py"
fi
echo "SKIPPED: deploy/ is not checked at all: its tools could not be installed (no Python, or no package registry)" >&2
[ "$OCS_REQUIRE_PEERS" != 1 ]
