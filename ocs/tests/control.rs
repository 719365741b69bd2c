//! Control totals on a running system: what they come to, that they go on over kill -9, and that accounts agree with them.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::collections::BTreeMap;
use std::process::{Command, Output};

use campaign::phone::Phones;
use campaign::server::{PROGRAM, Server};
use ocs_proto::cdr::v1 as wire;
use ocs_proto::cdr::v1::cdr_export_client::CdrExportClient;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn run(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("OCS_SERVER", format!("http://{}", server.grpc));
    command.output().unwrap()
}

fn ask(server: &Server, arguments: &[&str]) -> Value {
    let output = run(server, &[arguments, &["-o", "json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Count and amount by kind, of the rows of `ocs cdr totals`.
fn by_kind(totals: &Value) -> BTreeMap<String, (u64, String)> {
    let rows = totals["totals"].as_array().unwrap().iter();
    let row = |row: &Value| {
        let text = |member: &str| row[member].as_str().unwrap().to_owned();
        (text("kind"), (row["cdrs"].as_u64().unwrap(), text("amount")))
    };
    rows.map(row).collect()
}

/// One of everything that a person can do to account 1, whose money is demo money: 10.00 paid in, 2.50 taken out, 1.00 given to
/// account 2, and usage: three reports of a session.
async fn traffic(server: &Server, round: u32) {
    let key = |what: &str| format!("{what}-{round}");
    let change = |arguments: &[&str], what: &str| {
        let done = run(server, &[arguments, &["--reason", "a test", "--key", &key(what)]].concat());
        assert!(done.status.success(), "{what}: {}", String::from_utf8_lossy(&done.stderr));
    };
    change(&["account", "topup", "1", "--amount", "10.00"], "t");
    change(&["account", "adjust", "1", "--amount=-2.50"], "a");
    change(&["account", "transfer", "1", "2", "--amount", "1.00"], "g");
    let mut phones = Phones::connect(server.gy).await;
    let session = format!("s{round}");
    phones.open(3, &session).await;
    phones.report(3, &session, 1).await;
    phones.report(3, &session, 2).await;
    phones.close(3, &session, 3).await;
}

/// All CDRs with the octets that they are stored as.
async fn all(server: &Server) -> Vec<wire::RatedCdr> {
    let mut client = CdrExportClient::connect(format!("http://{}", server.grpc)).await.unwrap();
    let request = wire::StreamCdrsRequest { from_position: 1, with_stored_octets: true, ..Default::default() };
    let mut stream = client.stream_cdrs(request).await.unwrap().into_inner();
    let mut cdrs = Vec::new();
    while let Some(batch) = stream.message().await.unwrap() {
        cdrs.extend(batch.records);
    }
    cdrs
}

/// The chain over stored octets, as anybody can compute it.
fn chain(cdrs: &[wire::RatedCdr]) -> String {
    let next = |value: [u8; 32], cdr: &wire::RatedCdr| {
        Sha256::new().chain_update(value).chain_update(&cdr.stored_octets).finalize().into()
    };
    let end: [u8; 32] = cdrs.iter().fold([0; 32], next);
    end.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_are_what_the_stream_comes_to_and_go_on_over_kill_9() {
    let mut server = Server::start(5);
    let before = by_kind(&ask(&server, &["cdr", "totals"]));
    traffic(&server, 1).await;
    let first = ask(&server, &["cdr", "totals"]);
    let of = |totals: &BTreeMap<String, (u64, String)>, kind: &str| totals.get(kind).cloned().unwrap_or_default();
    let kinds = by_kind(&first);
    assert_eq!(of(&kinds, "top_up").0, of(&before, "top_up").0 + 1);
    // What was taken out costs the account: above 0. A transfer is two CDRs that add up to nothing.
    assert_eq!(of(&kinds, "adjustment"), (1, "2.50".to_owned()));
    assert_eq!(of(&kinds, "transfer"), (2, "0.00".to_owned()));
    assert_eq!(of(&kinds, "usage").0, of(&before, "usage").0 + 3);

    // Killed before anything of it was written: added up again.
    server.kill();
    server.restart();
    assert_eq!(ask(&server, &["cdr", "totals"]), first);
    traffic(&server, 2).await;
    server.ask_to_stop();
    server.stopped();
    // Written in the end: `ocs audit` adds up again what was written, and compares accounts with it.
    let report = server.audit();
    let cdrs = report["cdrs"].as_u64().unwrap();
    assert_eq!(report["totals_through"].as_u64(), Some(cdrs));

    // Goes on from what was written, over a kill.
    server.restart();
    traffic(&server, 3).await;
    server.kill();
    server.restart();
    let third = ask(&server, &["cdr", "totals"]);
    assert_eq!(of(&by_kind(&third), "adjustment"), (3, "7.50".to_owned()));

    // The stream comes to the same, and anybody can compute the chain.
    let cdrs = all(&server).await;
    assert_eq!(third["through_position"], json!(cdrs.len()));
    assert_eq!(third["chain"], json!(chain(&cdrs)));
    let mut sums = BTreeMap::<i32, (u64, i64, i64)>::new();
    for cdr in &cdrs {
        let sum = sums.entry(cdr.kind).or_default();
        sum.0 += 1;
        sum.1 += cdr.amount.as_ref().unwrap().mantissa;
        sum.2 += cdr.movements.iter().map(|it| it.delta).sum::<i64>();
    }
    for row in third["totals"].as_array().unwrap() {
        let name = format!("CDR_KIND_{}", row["kind"].as_str().unwrap().to_uppercase());
        let kind = wire::CdrKind::from_str_name(&name).unwrap();
        let (count, amount, moved) = sums.remove(&kind.into()).unwrap();
        assert_eq!(row["cdrs"], json!(count), "{name}");
        let units = rating_engine::money::Money::from_micros(amount).to_string();
        assert_eq!(row["amount"], json!(units), "{name}");
        let moves = row["movements"].as_array().unwrap().iter();
        let net: i64 = moves.map(|it| it["given"].as_i64().unwrap() - it["taken"].as_i64().unwrap()).sum();
        assert_eq!(net, moved, "{name}");
    }
    assert!(sums.is_empty(), "{sums:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_follow_from_cdrs_while_traffic_goes_on() {
    let mut server = Server::start(50);
    let mut load = Command::new(PROGRAM);
    load.args(["traffic", "--to", &server.gy.to_string(), "--seconds", "4", "--subscribers", "50", "--rate", "2000"]);
    let mut load = load.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut compared = 0;
    while load.try_wait().unwrap().is_none() {
        let report = ask(&server, &["audit", "--live"]);
        assert_eq!(report["findings_total"], json!(0), "{report}");
        compared += 1;
    }
    assert!(compared > 1, "{compared}");
    let report = ask(&server, &["audit", "--live"]);
    let money = report["holdings"].as_array().unwrap().iter().find(|row| row["holding"] == json!("money")).unwrap();
    let sum = |member: &str| money[member].as_i64().unwrap();
    assert!(sum("taken") > 0, "{money}");
    assert_eq!(sum("opening") + sum("given") - sum("taken"), sum("closing"), "{money}");
    assert_eq!((sum("given"), sum("taken")), (sum("given_by_cdrs"), sum("taken_by_cdrs")), "{money}");
    server.ask_to_stop();
    server.stopped();
    server.audit();
}
