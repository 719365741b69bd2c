//! freeDiameter, the stack under most open-source network elements, as a live peer and as a relay.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::server::{BINARY, bounded, here, micros, python_with, said, set_up, skip};
use crate::tshark;

/// Whether freeDiameter and a network of its own can be had, and what is missing.
fn missing() -> Option<(&'static str, &'static str)> {
    let works = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|ran| ran.status.success())
    };
    if !works("freeDiameterd", &["--version"]) {
        return Some(("freediameter", "freeDiameterd is not installed"));
    }
    if !works("openssl", &["version"]) {
        return Some(("openssl", "openssl is not installed"));
    }
    if !works("unshare", &["-rn", "ip", "link", "set", "lo", "up"]) {
        return Some(("namespaces", "no network namespace to be had (unshare -rn)"));
    }
    if !works("unshare", &["-rn", "ip", "link", "add", "peers0", "type", "dummy"])
        && !works("unshare", &["-rn", "ip", "link", "add", "peers0", "type", "veth", "peer", "name", "peers1"])
    {
        return Some(("interfaces", "no second network interface to be had (dummy or veth)"));
    }
    None
}

fn read(folder: &Path, file: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(folder.join(file)).unwrap_or_default()).into_owned()
}

/// freeDiameter takes our CEA, keeps the watchdog alive and says goodbye; through it as a relay a client of another make
/// opens, updates and ends a session, and the money is right; and it is asked back the same way when a top-up comes.
#[test]
fn freediameter_connects_watches_relays_and_leaves() {
    set_up();
    if let Some((tool, missing)) = missing() {
        skip(tool, missing);
        return;
    }
    let python = python_with("diameter");
    if python.is_none() {
        skip("python-diameter", "in part: nothing is relayed, as python-diameter is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut run = Command::new("unshare");
    run.args(["-rn", "sh"]).arg(here().join("freediameter.sh")).arg(BINARY).arg(folder).args(&python);
    let ran = bounded(&mut run, folder, Duration::from_secs(50));
    let logs = || ["stdout", "stderr", "ocs.log", "client.log", "relay.log"].map(|file| read(folder, file)).join("\n");
    assert!(ran.status.success(), "{}\n{}", said(&ran), logs());

    let relay = read(folder, "relay.log");
    for promise in ["Capabilities-Exchange-Answer", "Device-Watchdog-Answer", "Disconnect-Peer-Answer"] {
        assert!(relay.contains(promise), "freeDiameter saw no {promise}: {}", logs());
    }
    for complaint in ["ERROR", "FATAL", "Discarded", "Parsing error"] {
        // It calls every shutdown fatal, and python-diameter resets its connection in the end.
        let usual = ["Initiating freeDiameter shutdown", "Connection reset by peer"];
        let mut lines = relay.lines().filter(|line| !usual.iter().any(|usual| line.contains(usual)));
        let line = lines.find(|line| line.contains(complaint));
        assert!(line.is_none(), "freeDiameter complains: {line:?}");
    }
    let ocs = read(folder, "ocs.log");
    for event in ["peer open", "freeDiameter", "the peer disconnected with cause 0"] {
        assert!(ocs.contains(event), "no '{event}': {}", logs());
    }
    if python.is_some() {
        let client = read(folder, "client.log");
        assert!(client.contains("client ended with 0"), "{client}\n{}", logs());
        let account: Value = serde_json::from_str(&read(folder, "account.json")).unwrap();
        // 15.00 less the 0.8418 of the session.
        let [balance, reserved] = ["balance", "reserved"].map(|member| micros(account[member].as_str().unwrap()));
        assert_eq!((balance, reserved), (14_158_200, 0), "{account}");
        if tshark::is_there() {
            let messages: Vec<_> = read(folder, "record").lines().map(tshark::octets).collect();
            tshark::decodes_without_complaint(folder, &messages);
        }
    }
    let audit =
        Command::new(BINARY).args(["audit".as_ref(), "--data".as_ref(), folder.join("data").as_os_str()]).output();
    let audit = audit.unwrap();
    assert!(audit.status.success(), "{}", said(&audit));
}
