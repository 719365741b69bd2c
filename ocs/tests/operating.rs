//! What a person does with the program: imports the documented examples, looks, moves the clock, pays in, reads metrics.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use campaign::server::{PROGRAM, Server};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples").join(name)
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Imports a documented tariff, accounts and subscribers into the data folder of a server that does not run.
fn import_examples(server: &Server) -> String {
    let mut import = Command::new(PROGRAM);
    import.args(["import", "--data"]).arg(server.data()).arg("--catalogue").arg(example("tariff.yaml"));
    import.arg("--accounts").arg(example("accounts.jsonl")).arg("--subscribers").arg(example("subscribers.jsonl"));
    text(&import.output().unwrap())
}

/// `ocs ARGUMENTS` against the server.
fn ask(server: &Server, arguments: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("OCS_SERVER", format!("http://{}", server.grpc));
    text(&command.output().unwrap())
}

fn metrics(server: &Server) -> String {
    let mut stream = TcpStream::connect(server.metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ocs\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_documented_examples_are_imported_shown_and_charged_by_a_clock_that_never_goes_back() {
    let mut server = Server::new(1, &["--clock", "manual"]);
    let imported = import_examples(&server);
    assert!(
        imported.starts_with("imported 1 tariffs, 0 offers, 4 accounts (0 were there), 3 subscribers"),
        "{imported}"
    );

    server.restart();
    let shown = ask(&server, &["account", "show", "imsi-001010000000002"]);
    let counter = shown.lines().find(|line| line.starts_with("voice ")).unwrap_or_else(|| panic!("{shown}"));
    let words: Vec<&str> = counter.split_whitespace().collect();
    assert_eq!(words, ["voice", "5002", "2520", "s", "2026-11-01T00:00:00.000Z", "2026-12-01T00:00:00.000Z"]);

    let moved = ask(&server, &["clock", "advance", "31536000"]);
    let balance = ask(&server, &["account", "topup", "1001", "--amount", "5.00", "--key", "k1"]);
    assert!(balance.starts_with("account 1001: balance 15.00 EUR"), "{balance}");
    let said = metrics(&server);
    for line in [
        r#"ocs_grpc_calls_total{method="/ocs.operator.v1.Accounts/TopUp",code="ok"} 1"#,
        r#"ocs_grpc_calls_total{method="/ocs.operator.v1.Clock/AdvanceTime",code="ok"} 1"#,
        "ocs_cdr_streams_open 0",
    ] {
        assert!(said.contains(line), "{line} is not in:\n{said}");
    }

    server.kill();
    server.restart();
    assert!(ask(&server, &["clock", "get"]) >= moved, "after kill -9");
    server.ask_to_stop();
    server.stopped();
    server.restart();
    assert!(ask(&server, &["clock", "get"]) >= moved, "after an end in good order");
    let kept = ask(&server, &["account", "show", "msisdn-491701234567", "-o", "json"]);
    assert!(kept.contains("\"balance\": \"15.00\""), "{kept}");
    server.ask_to_stop();
    server.stopped();
    assert_eq!(server.audit()["accounts"], 17);
}

/// Handed in while the process is killed and again afterwards, every record is charged once, each at the price of its time.
#[test]
fn usage_records_are_charged_once_also_over_a_crash() {
    let mut server = Server::new(1, &["--clock", "manual"]);
    import_examples(&server);
    server.restart();
    let checked = ask(&server, &["usage", "charge", "--dry-run", example("usage-records.jsonl").to_str().unwrap()]);
    assert_eq!(checked.trim(), "good: 3 usage records");
    let began = ask(&server, &["clock", "get"]);
    let began = began.split_whitespace().next().unwrap();
    ask(&server, &["clock", "advance", "3600"]);
    let record = |id: &str, service: &str, used: &str| {
        let who = "msisdn-491701234567";
        format!(
            r#"{{"record":"{id}","identifiers":["{who}"],"start":"{began}","service":"{service}","used":[{used}]}}"#
        )
    };
    let file = server.data().join("../late.jsonl");
    let lines = [
        record("r1", "voice", r#"{"seconds":61}"#),
        record("r2", "data", r#"{"octets":"1 MiB"},{"rating_group":7,"seconds":61}"#),
        record("r3", "data", r#"{"octets":"1 MiB"}"#).replace("491701234567", "499999"),
    ];
    std::fs::write(&file, lines.join("\n")).unwrap();
    let charge = |server: &Server| {
        let mut command = Command::new(PROGRAM);
        command.args(["usage", "charge", "-o", "json"]).arg(&file);
        let output = command.env("OCS_SERVER", format!("http://{}", server.grpc)).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let balance = |server: &Server| {
        let shown = ask(server, &["account", "show", "1001", "-o", "json"]);
        serde_json::from_str::<serde_json::Value>(&shown).unwrap()["balance"].clone()
    };
    let first = charge(&server);
    assert_eq!(first["charged"], 1, "{first}");
    assert_eq!(first["suspended"], 1, "no price of data counts seconds: {first}");
    assert_eq!(first["refused"], 1, "{first}");
    assert_eq!(first["not_charged"][1]["record"], "r3", "{first}");
    assert_eq!(balance(&server), "9.7467", "0.05, and 61 s at 0.20 a minute: 0.2533; the data is in the bundle");
    server.kill();
    server.restart();
    let again = charge(&server);
    assert_eq!(again["charged"], 0, "{again}");
    assert_eq!(again["charged_before"], 1, "{again}");
    assert_eq!(again["amounts"], serde_json::json!({}), "{again}");
    assert_eq!(balance(&server), "9.7467");
    server.ask_to_stop();
    server.stopped();
}

/// The price of a minute was wrong. What it would change is said first, then booked, once; and everything adds up.
#[test]
fn a_wrong_price_is_corrected_once() {
    let mut server = Server::new(1, &["--clock", "manual"]);
    import_examples(&server);
    server.restart();
    let began = ask(&server, &["clock", "get"]);
    let began = began.split_whitespace().next().unwrap();
    let file = server.data().join("../late.jsonl");
    let record = format!(
        r#"{{"record":"r","identifiers":["msisdn-491701234567"],"start":"{began}","service":"voice","used":[{{"seconds":61}}]}}"#
    );
    std::fs::write(&file, record).unwrap();
    ask(&server, &["usage", "charge", file.to_str().unwrap()]);
    server.ask_to_stop();
    server.stopped();

    let wrong = std::fs::read_to_string(example("tariff.yaml")).unwrap();
    let right = wrong.replace("version: 1", "version: 2").replace("0.20 / min", "0.10 / min");
    assert_ne!(wrong, right);
    let corrected = server.data().join("../corrected.yaml");
    std::fs::write(&corrected, right).unwrap();
    let rerate = |more: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args([
            "rerate",
            "--tariff",
            "example-payg",
            "--from",
            "1970-01-01",
            "--to",
            "2100-01-01",
            "-o",
            "json",
        ]);
        command.arg("--data").arg(server.data()).args(more);
        serde_json::from_str::<serde_json::Value>(&text(&command.output().unwrap())).unwrap()
    };
    let simulate = || {
        let mut command = Command::new(PROGRAM);
        command.args(["tariff", "simulate", "--tariff", "example-payg", "--from", "1970-01-01", "--to", "2100-01-01"]);
        command.args(["-o", "json", "--data"]).arg(server.data()).arg("--catalogue").arg(&corrected);
        serde_json::from_str::<serde_json::Value>(&text(&command.output().unwrap())).unwrap()
    };
    let simulated = simulate();
    let totals =
        serde_json::json!({ "old": "0.2533", "new": "0.1517", "difference": "-0.1016", "sessions": 1, "cdrs": 1 });
    assert_eq!(simulated["totals"], totals, "{simulated}");
    let offers = serde_json::json!([{ "offer": null, "totals": totals }]);
    assert_eq!(simulated["offers"], offers, "its holder has no offer with this tariff: {simulated}");
    assert_eq!(simulated["winners"][0]["difference"], "-0.1016", "{simulated}");
    let draft = rerate(&["--catalogue", corrected.to_str().unwrap()]);
    assert_eq!(draft["sums"]["EUR"]["given_back"], "0.1016", "61 s at 0.20 and at 0.10: 0.2033 and 0.1017: {draft}");
    assert!(draft["booked"].is_null(), "{draft}");
    assert_eq!(rerate(&[])["corrections"], serde_json::json!([]), "it is not imported yet");

    let mut import = Command::new(PROGRAM);
    import.args(["import", "--data"]).arg(server.data()).arg("--catalogue").arg(&corrected);
    text(&import.output().unwrap());
    let applied = rerate(&["--apply", "--reason", "wrong price of a minute"]);
    assert_eq!((&applied["booked"], &applied["corrections"]), (&serde_json::json!(1), &draft["corrections"]));
    assert_eq!(rerate(&["--apply", "--reason", "again"])["booked"], 0);
    let simulated = simulate();
    assert_eq!(simulated["totals"]["difference"], "0.00", "the correction is part of what was charged: {simulated}");
    assert_eq!(simulated["corrections"], serde_json::json!({ "cdrs": 1, "amount": "-0.1016" }), "{simulated}");
    let audited = server.audit();
    assert_eq!(audited["rerated_micros"]["EUR"], -101_600, "{audited}");
    server.restart();
    let shown = ask(&server, &["account", "show", "1001", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["balance"], "9.8483", "0.05 and 0.1017");
    server.ask_to_stop();
    server.stopped();
}

/// Bought for tomorrow, and replaced a day after that has begun: what was agreed lives through kill -9, is charged at its instant by
/// the clock alone, and a repeat gets the first answer. 12.99 of 20.00, then 12.99 more than there is: it waits, and begins with the money.
#[test]
fn an_offer_for_later_begins_then_also_over_a_crash() {
    let mut server = Server::new(1, &["--clock", "manual"]);
    import_examples(&server);
    let mut import = Command::new(PROGRAM);
    import.args(["import", "--data"]).arg(server.data()).arg("--catalogue").arg(example("offer.yaml"));
    text(&import.output().unwrap());
    server.restart();
    let began = ask(&server, &["clock", "get"]);
    let began: jiff::Timestamp = began.split_whitespace().next().unwrap().parse().unwrap();
    let (tomorrow, later) =
        (began + jiff::SignedDuration::from_hours(24), began + jiff::SignedDuration::from_hours(48));
    // As the server writes them.
    let (tomorrow, later) = (format!("{tomorrow:.3}"), format!("{later:.3}"));
    let buy = ["account", "buy", "1001", "example-data", "--from", &tomorrow, "--key", "k1", "-o", "json"];
    let first: serde_json::Value = serde_json::from_str(&ask(&server, &buy)).unwrap();
    assert_eq!((&first["balance"], &first["repeated"]), (&"10.00".into(), &false.into()), "{first}");
    server.kill();
    server.restart();
    let again: serde_json::Value = serde_json::from_str(&ask(&server, &buy)).unwrap();
    assert_eq!((&again["balance"], &again["repeated"]), (&"10.00".into(), &true.into()), "{again}");
    let held = |server: &Server| {
        let shown: serde_json::Value =
            serde_json::from_str(&ask(server, &["account", "show", "1001", "-o", "json"])).unwrap();
        (shown["balance"].clone(), shown["subscriptions"].clone())
    };
    assert_eq!(held(&server).1[0]["state"], "begins later");

    ask(&server, &["clock", "advance", "90000"]);
    let (balance, subscriptions) = held(&server);
    assert_eq!((&balance, &subscriptions[0]["state"]), (&"1.01".into(), &"active".into()), "{subscriptions}");
    assert_eq!(subscriptions[0]["cycle_start"], tomorrow.as_str());
    ask(&server, &["account", "replace", "1001", "1", "example-data", "--on", &later, "--key", "k2"]);
    server.kill();
    server.restart();
    let (_, subscriptions) = held(&server);
    assert_eq!(
        (&subscriptions[0]["ends_at"], &subscriptions[1]["cycle_start"]),
        (&later.as_str().into(), &later.as_str().into())
    );
    ask(&server, &["clock", "advance", "86400"]);
    let (balance, subscriptions) = held(&server);
    assert_eq!(
        (&balance, &subscriptions[0]["state"]),
        (&"1.01".into(), &"waits for its fee".into()),
        "{subscriptions}"
    );
    ask(&server, &["account", "topup", "1001", "--amount", "8.00", "--key", "t2"]);
    let (balance, subscriptions) = held(&server);
    assert_eq!((&balance, &subscriptions[0]["state"]), (&"0.02".into(), &"active".into()), "{subscriptions}");
    ask(&server, &["account", "cancel", "1001", "2", "--at-once", "--key", "k3"]);
    assert_eq!(held(&server).1, serde_json::json!([]));
    server.ask_to_stop();
    server.stopped();
    assert_eq!(server.audit()["accounts"], 17);
}
