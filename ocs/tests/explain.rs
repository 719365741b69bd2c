//! `ocs tariff explain` and `ocs cdr explain`: the reasoning as people and programs get it, against figures worked out by
//! hand.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ocs");

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples").join(name)
}

fn ocs(arguments: &[&str], catalogue: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments);
    if !catalogue.is_empty() {
        command.arg("--catalogue").args(catalogue.iter().map(|name| example(name)));
    }
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// 21:58 in Berlin, five minutes to a fixed line: two by day at 0.09 and the fee of 0.05, three at night at 0.05.
#[test]
fn a_call_into_the_night_is_explained_window_by_window() {
    let arguments = "tariff explain --service voice --to +4930123456 --at 2027-01-13T20:58:00Z --balance 10.00 --used";
    let mut arguments: Vec<&str> = arguments.split(' ').collect();
    arguments.push("5 min");
    let words = said(&ocs(&arguments, &["nights-and-roaming.yaml"]));
    let expected = "\
usage: 0.23 EUR, account 1, subscriber 1, at 2027-01-13T20:58:00.000Z
  tariff example-europe version 2, in force since 2026-12-31T23:00:00.000Z
  price calls-national, which is for service voice, zone national
    before calls-world, which leaves zone open
  used 120 s
  rated 120 s, in pulses of 60 s, then 1 s
  connect fee: 0.05
  120 s at 0.09 for 60 s: 0.18
  rounded: the event, or all of the service in the session so far, to 4 decimals, half up
  main: 10.00 less 0.23 is 9.77
usage: 0.15 EUR, account 1, subscriber 1, at 2027-01-13T21:00:00.000Z
  tariff example-europe version 2, in force since 2026-12-31T23:00:00.000Z
  price calls-national, which is for service voice, zone national
    before calls-world, which leaves zone open
  window night
  used 180 s
  rated 180 s, in pulses of 60 s, then 1 s
  180 s at 0.05 for 60 s: 0.15
  rounded: the event, or all of the service in the session so far, to 4 decimals, half up
  charged 0.23 before, 0.38 now: 0.15 more
  main: 9.77 less 0.15 is 9.62
";
    assert_eq!(words, expected);
}

/// The same for programs: every figure of the words is there, and the sum is the charge.
#[test]
fn programs_get_the_same_in_parts() {
    let arguments = ["tariff", "explain", "--service", "sms", "--used", "3", "-o", "json"];
    let json: serde_json::Value = serde_json::from_str(&said(&ocs(&arguments, &["tariff.yaml"]))).unwrap();
    assert_eq!(json["charged"], true);
    let step = &json["steps"][0];
    assert_eq!((&step["amount"], &step["rated"]["price"]), (&"0.27".into(), &"sms".into()));
    assert_eq!(step["rated"]["components"][0]["exact_micros"], "270000/1");
    assert_eq!(step["movements"][0]["after"], "999.73");
}

/// Octets of the bundle come first, and the gift of the week before what was paid for; nothing is left for money.
#[test]
fn what_an_offer_pays_is_explained_with_the_purchase() {
    let arguments =
        ["tariff", "explain", "--offers", "example-data", "--used", "3 MiB", "--at", "2027-01-13T20:58:00Z"];
    let words = said(&ocs(&arguments, &["tariff.yaml", "offer.yaml"]));
    for line in [
        "one-time fee: 1.00 EUR",
        "recurring fee: 7.99 EUR",
        "  main: 999.00 less 7.99 is 991.01",
        "  data#1.0000: 0 octets and 10 GiB is 10 GiB; what was paid for that: 7.99 EUR",
        "  buckets pay all of it",
        "  welcome#1.0000: 1 GiB less 3 MiB is 1021 MiB",
    ] {
        assert!(words.contains(line), "{line} is not in\n{words}");
    }
}

#[test]
fn what_cannot_be_charged_says_why_and_what_to_do() {
    let refused = ocs(&["tariff", "explain", "--service", "mms", "--used", "3"], &["tariff.yaml"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stdout).starts_with("refused: no price is for this"));
    for (arguments, catalogue, reason) in [
        (&["--used", "3 lightyears"][..], &["tariff.yaml"][..], "--used: '3 lightyears' is no quantity"),
        (&["--used", "3"], &["tariff.yaml", "nights-and-roaming.yaml"], "--tariff: which one of"),
        (&["--used", "3"], &["accounts.jsonl"], "accounts.jsonl"),
        (&["--used", "3"], &[], "name a tariff document with --catalogue"),
        (&["--used", "3", "--offers", "x"], &["tariff.yaml"], "offer x: no such offer"),
        (&["--used", "3", "--at", "soon"], &["tariff.yaml"], "--at: 'soon' is no time"),
        (&["--used", "3", "--visited", "France"], &["tariff.yaml"], "--visited: 'France' is no network"),
    ] {
        let arguments = [&["tariff", "explain"][..], arguments].concat();
        let output = ocs(&arguments, catalogue);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(reason), "{arguments:?}: {error}");
    }
}

/// From a data folder: an account's own buckets and offers, a draft beside its tariff, and every CDR it has.
#[test]
fn accounts_and_cdrs_of_a_folder_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let subscribers = folder.path().join("subscribers.jsonl");
    let line = r#"{"subscriber":5001,"account":1001,"offers":["example-data"],"identifiers":["msisdn-491701234567"]}"#;
    std::fs::write(&subscribers, line).unwrap();
    let mut import = Command::new(PROGRAM);
    import.args(["import", "--data"]).arg(&data).arg("--accounts").arg(example("accounts.jsonl"));
    import.arg("--catalogue").arg(example("tariff.yaml")).arg(example("offer.yaml"));
    import.arg("--subscribers").arg(&subscribers);
    let imported = said(&import.output().unwrap());
    assert!(imported.starts_with("imported 1 tariffs, 1 offers, 4 accounts"), "{imported}");
    assert!(said(&import.output().unwrap()).starts_with("imported 0 tariffs, 0 offers, 0 accounts (4 were there), 0"));

    let in_folder = |arguments: &[&str]| said(&ocs(&[arguments, &["--data", data.to_str().unwrap()]].concat(), &[]));
    let words = in_folder(&["tariff", "explain", "--who", "msisdn-491701234567", "--used", "6 GiB"]);
    for line in ["welcome: 5 GiB less 5 GiB is 0 octets", "welcome#1.0000: 1 GiB less 1 GiB is 0 octets"] {
        assert!(words.contains(line), "{line} is not in\n{words}");
    }
    let fee = in_folder(&["cdr", "explain", "1"]);
    assert!(fee.starts_with("one-time fee: 1.00 EUR, account 1001, subscriber 5001, from "), "{fee}");
    assert!(fee.contains("  offer example-data version 1, subscription 1, cycle 0"), "{fee}");
    let opened: serde_json::Value = serde_json::from_str(&in_folder(&["cdr", "explain", "3", "-o", "json"])).unwrap();
    assert_eq!((&opened["kind"], &opened["movements"][0]["payer"]), (&"Allowance".into(), &"data#1.0000".into()));
    let none = ocs(&["cdr", "explain", "4", "--data", data.to_str().unwrap()], &[]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("there is no CDR 4"));

    // Nothing of an import with an offer that cannot be paid is written.
    let line = r#"{"subscriber":5003,"account":1003,"offers":["example-data"],"identifiers":["msisdn-491709"]}"#;
    std::fs::write(&subscribers, line).unwrap();
    let accounts = folder.path().join("accounts.jsonl");
    let account = r#"{"account":1003,"currency":"EUR","buckets":[{"id":"main","unit":"EUR","amount":"8.98"}]}"#;
    std::fs::write(&accounts, account).unwrap();
    let mut poor = Command::new(PROGRAM);
    poor.args(["import", "--data"]).arg(&data).arg("--accounts").arg(&accounts).arg("--subscribers").arg(&subscribers);
    let refused = poor.output().unwrap();
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("subscriber 5003: offer example-data cannot be bought: its account cannot pay"), "{error}");
    assert!(
        ocs(&["tariff", "explain", "--used", "1", "--who", "5003", "--data", data.to_str().unwrap()], &[])
            .status
            .code()
            == Some(2)
    );

    let audited = said(&ocs(&["audit", "--data", data.to_str().unwrap()], &[]));
    assert!(audited.contains("fees of offers   8.99 EUR") && audited.contains("everything adds up"), "{audited}");
}

/// R43: periods are data, closed by a command, whole, in order and for good.
#[test]
fn accounting_periods_are_closed_by_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap().to_owned();
    let import = ocs(&["import", "--data", &data], &["tariff.yaml", "accounting.yaml"]);
    assert!(said(&import).starts_with("imported 1 tariffs"));
    let period = |arguments: &[&str]| ocs(&[&["period"], arguments, &["--data", &data]].concat(), &[]);
    let shown = said(&period(&["show"]));
    assert!(shown.contains("P1M from 2025-12-31T23:00:00.000Z, Europe/Berlin"), "{shown}");
    for (until, reason) in [
        ("2026-02-15", "no period begins then"),
        ("2026-01-01", "are closed already"),
        ("2199-01-01", "has not come yet"),
        ("soon", "is no time"),
    ] {
        let refused = period(&["close", "--until", until]);
        let error = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && error.contains(reason), "{until}: {error}");
    }
    let closed = said(&period(&["close", "--until", "2026-03-01"]));
    assert!(closed.contains("closed               before 2026-02-28T23:00:00.000Z"), "{closed}");
    assert_eq!(said(&period(&["show"])), closed, "it is kept");
    // A document that opens it again, or counts otherwise, is refused.
    let again = folder.path().join("again.yaml");
    for (text, reason) in [
        ("version: 3\ntime_zone: Europe/Berlin\nfrom: 2026-01-01\nperiod: P1M\n", "stay closed"),
        ("version: 3\ntime_zone: Europe/Berlin\nfrom: 2026-01-01\nperiod: P1Y\n", "keep their beginning"),
        ("version: 1\ntime_zone: Europe/Berlin\nfrom: 2026-02-01\nperiod: P1M\n", "other content"),
    ] {
        std::fs::write(&again, format!("accounting: periods\n{text}")).unwrap();
        let refused = ocs(&["import", "--data", &data, "--catalogue", again.to_str().unwrap()], &[]);
        let error = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && error.contains(reason), "{text}: {error}");
    }
}
