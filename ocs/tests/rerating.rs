//! Usage rated again on a running system: planned, approved, booked once, whatever comes between.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use campaign::server::{PROGRAM, Server};
use serde_json::Value;

/// Records that each of the two is charged: 61 s at 0.20 a minute are 0.05 for the connection and 0.2033, 0.2533 together; at 0.10 they
/// are 0.05 and 0.1017: 0.1016 less, which rounding to 4 decimals leaves.
const RECORDS: usize = 600;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples").join(name)
}

fn run(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("OCS_SERVER", format!("http://{}", server.grpc));
    command.output().unwrap()
}

fn ask(server: &Server, arguments: &[&str]) -> String {
    let output = run(server, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(server: &Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&ask(server, &[arguments, &["-o", "json"]].concat())).unwrap()
}

/// A server on which two subscribers were charged by a price that is wrong.
fn overcharged(arguments: &'static [&'static str]) -> Server {
    let mut server = Server::new(1, arguments);
    let mut import = Command::new(PROGRAM);
    import.args(["import", "--data"]).arg(server.data()).arg("--catalogue").arg(example("tariff.yaml"));
    import.arg("--accounts").arg(example("accounts.jsonl")).arg("--subscribers").arg(example("subscribers.jsonl"));
    let imported = import.output().unwrap();
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    server.restart();
    let began = ask(&server, &["clock", "get"]);
    let began = began.split_whitespace().next().unwrap();
    ask(&server, &["account", "topup", "1001", "--amount", "1000.00", "--key", "t"]);
    let record = |number: usize, who: &str| {
        format!(
            r#"{{"record":"{who}{number}","identifiers":["msisdn-{who}"],"start":"{began}","service":"voice","used":[{{"seconds":61}}]}}"#
        )
    };
    let lines: Vec<String> = (0..RECORDS).map(|number| record(number, "491701234567")).collect();
    let file = server.data().join("../used.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    ask(&server, &["usage", "charge", file.to_str().unwrap()]);
    server
}

fn publish(server: &Server, version: u32, price: &str) {
    let wrong = std::fs::read_to_string(example("tariff.yaml")).unwrap();
    let right = wrong.replace("version: 1", &format!("version: {version}")).replace("0.20 / min", price);
    assert_ne!(wrong, right);
    let file = server.data().join("../right.yaml");
    std::fs::write(&file, right).unwrap();
    let name = format!("tariffs/example-payg/versions/{version}");
    ask(server, &["catalogue", "put", file.to_str().unwrap()]);
    ask(server, &["catalogue", "approve", &name]);
    ask(server, &["catalogue", "publish", &name]);
}

const PLAN: [&str; 11] = [
    "rerating",
    "plan",
    "example-payg",
    "--from",
    "1970-01-01",
    "--to",
    "2100-01-01",
    "--reason",
    "wrong price",
    "--wait",
    "--key",
];

fn plan(server: &Server, key: &str) -> Value {
    json(server, &[&PLAN[..], &[key]].concat())
}

fn balance(server: &Server, account: &str) -> String {
    json(server, &["account", "show", account])["balance"].as_str().unwrap().to_owned()
}

/// 600 times 0.1016 are 60.96. A plan books nothing; approved, all of it is booked once, although the process is killed in the middle
/// of it, and a second plan finds nothing.
#[test]
fn what_was_approved_is_booked_once_also_over_a_crash() {
    let mut server = overcharged(&["--clock", "manual", "--no-four-eyes"]);
    let before = balance(&server, "1001");
    assert_eq!(before, "858.02", "1010.00 less 600 times 0.2533");
    publish(&server, 2, "0.10 / min");
    let planned = plan(&server, "p1");
    assert_eq!((&planned["state"], &planned["corrections"]), (&"planned".into(), &RECORDS.into()), "{planned}");
    assert_eq!(
        planned["sums"][0],
        serde_json::json!({ "currency": "EUR", "charged_more": "0.00", "given_back": "60.96" })
    );
    assert_eq!((&planned["left"], balance(&server, "1001")), (&0.into(), before));
    assert_eq!(plan(&server, "p1"), planned, "the same key is the same re-rating");

    let name = planned["rerating"].as_str().unwrap();
    ask(&server, &["rerating", "approve", name]);
    std::thread::sleep(Duration::from_millis(60));
    server.kill();
    server.restart();
    let mut shown = json(&server, &["rerating", "show", name]);
    for _ in 0..300 {
        if shown["state"] != "running" {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        shown = json(&server, &["rerating", "show", name]);
    }
    assert_eq!((&shown["state"], &shown["booked"]), (&"done".into(), &RECORDS.into()), "{shown}");
    assert_eq!(balance(&server, "1001"), "918.98");
    assert_eq!(plan(&server, "p2")["corrections"], 0);
    let again = json(&server, &["rerating", "approve", name]);
    assert_eq!((&again["state"], balance(&server, "1001")), (&"done".into(), "918.98".to_owned()));
    let noted = ask(&server, &["auditlog", "list", "-o", "json"]);
    assert!(noted.contains("600 corrections") && noted.contains("60.96 EUR given back"), "{noted}");
    server.ask_to_stop();
    server.stopped();
    let audited = server.audit();
    let kinds = &audited["cdrs_by_kind"];
    assert_eq!((&kinds["usage"], &kinds["rerate"]), (&RECORDS.into(), &RECORDS.into()), "{audited}");
    assert_eq!((&audited["rerated_micros"]["EUR"], &audited["findings_total"]), (&(-60_960_000).into(), &0.into()));
}

/// What a person gave back after the plan is left for a person; a version that came after it changes what was approved, and nothing is
/// booked.
#[test]
fn what_came_between_is_seen() {
    let mut server = overcharged(&["--clock", "manual", "--no-four-eyes"]);
    publish(&server, 2, "0.10 / min");
    let (first, second) = (plan(&server, "p1"), plan(&server, "p2"));
    let charges = json(&server, &["usage", "list", "1001", "--max", "1"]);
    let charge = charges["cdr_id"].as_str().unwrap();
    ask(&server, &["usage", "refund", charge, "--amount", "0.01", "--reason", "complaint", "--key", "r"]);
    let done = json(&server, &["rerating", "approve", first["rerating"].as_str().unwrap(), "--wait"]);
    assert_eq!(
        (&done["state"], &done["booked"], &done["left"]),
        (&"done".into(), &(RECORDS - 1).into(), &1.into()),
        "{done}"
    );
    assert_eq!(done["left_named"][0]["reason"], "it was given back or corrected otherwise since");
    // All of the second plan is booked already.
    let done = json(&server, &["rerating", "approve", second["rerating"].as_str().unwrap(), "--wait"]);
    assert_eq!(
        (&done["state"], &done["booked"], &done["left"]),
        (&"done".into(), &0.into(), &RECORDS.into()),
        "{done}"
    );
    assert_eq!(balance(&server, "1001"), "918.8884", "858.02, 599 times 0.1016, and 0.01");

    publish(&server, 3, "0.05 / min");
    let third = plan(&server, "p3");
    publish(&server, 4, "0.04 / min");
    let name = third["rerating"].as_str().unwrap();
    let failed = run(&server, &["rerating", "approve", name, "--wait", "-o", "json"]);
    assert_eq!(failed.status.code(), Some(1), "done with a finding");
    let failed: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert!(failed["failure"].as_str().unwrap().contains("no longer what was approved"), "{failed}");
    assert_eq!((&failed["booked"], balance(&server, "1001")), (&0.into(), "918.8884".to_owned()));
    server.ask_to_stop();
    server.stopped();
    assert_eq!(server.audit()["accounts"], 17);
}

/// Nobody approves what they planned themselves; what is not planned yet, cancelled or unknown is not booked; a key is of one request.
#[test]
fn who_planned_it_does_not_approve_it() {
    let server = overcharged(&["--clock", "manual"]);
    let refused = |arguments: &[&str], says: &str| {
        let output = run(&server, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(says), "{arguments:?}: {said}");
    };
    let planned = plan(&server, "p1");
    let name = planned["rerating"].as_str().unwrap();
    assert_eq!(planned["corrections"], 0, "the price is as it was");
    refused(&["rerating", "approve", name], "whoever planned it cannot approve it");
    refused(&["rerating", "approve", "reratings/99"], "is not known");
    refused(&["rerating", "approve", "reratings/x"], "is no re-rating's name");
    refused(&[&PLAN[..7], &["--reason", "another", "--key", "p1"]].concat(), "key");
    refused(&["rerating", "plan", "nothing", "--from", "1970-01-01", "--to", "1971-01-01", "--reason", "x"], "tariff");
    refused(&["rerating", "plan", "example-payg", "--from", "1971-01-01", "--to", "1970-01-01", "--reason", "x"], "to");
    ask(&server, &["rerating", "cancel", name, "--reason", "not needed"]);
    assert_eq!(json(&server, &["rerating", "show", name])["state"], "cancelled");
    refused(&["rerating", "approve", name], "was cancelled");
    assert_eq!(json(&server, &["rerating", "list"]).as_array().unwrap().len(), 1);
}
