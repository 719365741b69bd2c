//! Thresholds on a running system: whoever follows them is told each once, over kill -9 and repeats.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::collections::BTreeMap;
use std::process::{Command, Output};

use campaign::server::{PROGRAM, Server};
use serde_json::{Value, json};

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

/// Notifications from a CDR on, each a line.
fn told(server: &Server, arguments: &[&str]) -> Vec<Value> {
    let lines = ask(server, &[&["notification", "watch", "--to-end", "-o", "json"], arguments].concat());
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// An offer of account 1, whose money is told below 5.00; the account has exactly that.
fn watched() -> Server {
    let mut server = Server::new(3, &["--no-four-eyes"]);
    server.restart();
    let document =
        "offer: care\nversion: 1\ncurrency: EUR\nperiod: P1M\nnotify_balance: [{at: \"5.00\", label: low}]\n";
    let file = server.data().join("../care.yaml");
    std::fs::write(&file, document).unwrap();
    ask(&server, &["catalogue", "put", file.to_str().unwrap()]);
    for step in ["approve", "publish"] {
        ask(&server, &["catalogue", step, "offers/care/versions/1"]);
    }
    ask(&server, &["account", "topup", "1", "--amount", "10.00", "--key", "paid"]);
    ask(&server, &["account", "buy", "1", "care"]);
    let shown: Value = serde_json::from_str(&ask(&server, &["notification", "values", "1", "-o", "json"])).unwrap();
    let money = shown[0]["value"].as_str().unwrap().to_owned();
    let cents = money.replace('.', "").parse::<i64>().unwrap() - 500;
    let amount = format!("--amount=-{}.{:02}", cents / 100, cents % 100);
    ask(&server, &["account", "adjust", "1", &amount, "--reason", "to five", "--key", "first"]);
    server
}

#[test]
fn each_crossing_is_told_once_over_kills_and_repeats() {
    let mut server = watched();
    assert_eq!(told(&server, &["--from", "1"]), Vec::<Value>::new(), "5.00 is not below 5.00");
    // 0.01 out and in again, each asked twice under its key, and the server killed after the first answer.
    for round in 0..6 {
        let (amount, key) = (if round % 2 == 0 { "--amount=-0.01" } else { "--amount=0.01" }, format!("r{round}"));
        let change = ["account", "adjust", "1", amount, "--reason", "a test", "--key", &key];
        let first = ask(&server, &change);
        server.kill();
        server.restart();
        let (first, again) = (first.trim_end(), ask(&server, &change));
        assert!(again.starts_with(first) && again.contains("nothing changed"), "{first}\n{again}");
    }
    let all = told(&server, &["--from", "1"]);
    let seen: Vec<_> = all.iter().map(|it| (it["reached"].clone(), it["after"].clone())).collect();
    let once = [(json!(true), json!("4.99")), (json!(false), json!("5.00"))];
    assert_eq!(seen, [&once[..], &once, &once].concat(), "{all:#?}");
    for it in &all {
        assert_eq!((&it["watched"], &it["label"], &it["offer"]), (&json!("balance"), &json!("low"), &json!("care")));
        assert_eq!(it["account"], json!("accounts/1"));
    }
    // From the middle on, as whoever had read so far goes on: none is told again, none is left out.
    let mut by_id: BTreeMap<String, Value> = BTreeMap::new();
    let mut next = 1;
    for stop in [2, 4, 6] {
        let from = next.to_string();
        for it in told(&server, &["--from", &from]).into_iter().take(stop - by_id.len()) {
            next = it["position"].as_u64().unwrap() + 1;
            assert!(by_id.insert(it["id"].as_str().unwrap().to_owned(), it).is_none());
        }
    }
    assert_eq!(by_id.len(), all.len());
    assert_eq!(told(&server, &["--from", "1", "--account", "2"]), Vec::<Value>::new());

    let values = ask(&server, &["notification", "values", "1"]);
    assert!(values.contains("care #") && values.contains("balance 5.00") && values.contains("low"), "{values}");
    assert!(ask(&server, &["notification", "values", "3"]).contains("nothing is watched"));
    let far = run(&server, &["notification", "watch", "--from", "1000000"]);
    let words = String::from_utf8_lossy(&far.stderr);
    assert!(!far.status.success() && words.contains("the next one will be"), "{words}");
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// `ocs ... | head`: whoever has seen enough is no error.
#[test]
fn who_reads_no_further_is_no_error() {
    let server = Server::start(1);
    let shell = format!("set -o pipefail; {PROGRAM} account show 1 --server http://{} | true", server.grpc);
    for _ in 0..20 {
        let output = Command::new("bash").args(["-c", &shell]).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && words.is_empty(), "{words}");
    }
}
