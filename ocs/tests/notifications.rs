//! Thresholds on a running system: whoever follows them is told each once, over kill -9 and repeats.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use campaign::server::{PROGRAM, Server};
use campaign::{Random, refused, setting};
use ocs_api::client::{AccountsClient, NotificationsClient};
use ocs_proto::charging::v1::Money;
use ocs_proto::operator::v1 as wire;
use rating_engine::time::Timestamp;
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

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

/// Account 1 holds an offer that says these thresholds, and exactly 5.00.
fn watched(thresholds: &str) -> Server {
    let mut server = Server::new(3, &["--no-four-eyes"]);
    server.restart();
    let document = format!("offer: care\nversion: 1\ncurrency: EUR\nperiod: P1M\n{thresholds}\n");
    let file = server.data().join("../care.yaml");
    std::fs::write(&file, document).unwrap();
    ask(&server, &["catalogue", "put", file.to_str().unwrap()]);
    for step in ["approve", "publish"] {
        ask(&server, &["catalogue", step, "offers/care/versions/1"]);
    }
    ask(&server, &["account", "topup", "1", "--amount", "10.00", "--key", "paid"]);
    ask(&server, &["account", "buy", "1", "care"]);
    let shown: Value = serde_json::from_str(&ask(&server, &["account", "show", "1", "-o", "json"])).unwrap();
    let money = shown["balance"].as_str().unwrap().to_owned();
    let cents = money.replace('.', "").parse::<i64>().unwrap() - 500;
    let amount = format!("--amount=-{}.{:02}", cents / 100, cents % 100);
    ask(&server, &["account", "adjust", "1", &amount, "--reason", "to five", "--key", "first"]);
    server
}

#[test]
fn each_crossing_is_told_once_over_kills_and_repeats() {
    let mut server = watched(LOW);
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
        assert_eq!(
            (&it["counter"], it["next"].as_u64()),
            (&json!("care/balance"), Some(it["position"].as_u64().unwrap() + 1))
        );
        assert_eq!(it["account"], json!("accounts/1"));
    }
    // From the middle on, as whoever had read so far goes on: none is told again, none is left out.
    let mut by_id: BTreeMap<String, Value> = BTreeMap::new();
    let mut next = 1;
    for stop in [2, 4, 6] {
        let from = next.to_string();
        for it in told(&server, &["--from", &from]).into_iter().take(stop - by_id.len()) {
            next = it["next"].as_u64().unwrap();
            assert!(by_id.insert(it["id"].as_str().unwrap().to_owned(), it).is_none());
        }
    }
    assert_eq!(by_id.len(), all.len());
    let others = [["--account", "2"], ["--tenant", "7"], ["--counter", "care/spend"], ["--subscriber", "1"]];
    for other in others {
        assert_eq!(told(&server, &[&["--from", "1"], &other[..]].concat()), Vec::<Value>::new(), "{other:?}");
    }
    for own in [["--account", "1"], ["--tenant", "0"], ["--counter", "care/balance"]] {
        assert_eq!(told(&server, &[&["--from", "1"], &own[..]].concat()), all, "{own:?}");
    }

    let values = ask(&server, &["notification", "values", "1"]);
    assert!(values.contains("care/balance #1: 5.00") && values.contains("low"), "{values}");
    ask(&server, &["account", "adjust", "1", "--amount=-0.01", "--reason", "a test", "--key", "down"]);
    let shown = ask(&server, &["account", "show", "1"]);
    let line = shown.lines().find(|line| line.starts_with("care/balance")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["care/balance", "1", "4.99", "low"]);
    let shown: Value = serde_json::from_str(&ask(&server, &["account", "show", "1", "-o", "json"])).unwrap();
    assert_eq!(shown["watched"][0]["status"], json!("low"), "{shown}");
    assert!(ask(&server, &["notification", "values", "3"]).contains("nothing is watched"));
    let far = run(&server, &["notification", "watch", "--from", "1000000"]);
    let words = String::from_utf8_lossy(&far.stderr);
    assert!(!far.status.success() && words.contains("the next one will be"), "{words}");
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// Told below 5.00.
const LOW: &str = "notify_balance: [{at: \"5.00\", label: low}]";

async fn connect(server: SocketAddr) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{server}")).unwrap().connect().await
}

async fn watch(
    server: SocketAddr,
    request: wire::WatchNotificationsRequest,
) -> Result<Streaming<wire::WatchNotificationsResponse>, Status> {
    let channel = connect(server).await.map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(NotificationsClient::new(channel).watch_notifications(request).await?.into_inner())
}

/// Where whoever is told nothing from the first CDR on would go on.
async fn end(server: SocketAddr, filter: wire::WatchNotificationsRequest) -> u64 {
    let request = wire::WatchNotificationsRequest { from_position: 1, stop_at_end: true, ..filter };
    let mut told = watch(server, request).await.unwrap();
    let mut next = 0;
    while let Some(response) = told.message().await.unwrap() {
        assert!(response.notifications.is_empty(), "{response:?}");
        next = response.next_position;
    }
    next
}

/// Follows from a position to `end`, and begins again wherever it got to whenever the server or it itself crashes: also between two
/// notifications of one CDR.
async fn follow(server: SocketAddr, from: u64, mut random: Random, end: Arc<AtomicU64>) -> Vec<wire::Notification> {
    let (mut seen, mut next): (Vec<wire::Notification>, u64) = (Vec::new(), from);
    while next < end.load(Ordering::SeqCst) {
        let request = wire::WatchNotificationsRequest { from_position: next, ..Default::default() };
        let Ok(mut told) = watch(server, request).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        'told: while let Ok(Some(response)) = told.message().await {
            for notification in response.notifications {
                next = notification.next_position;
                seen.push(notification);
                if random.once_in(7) {
                    break 'told;
                }
            }
            next = response.next_position;
            if next >= end.load(Ordering::SeqCst) {
                break;
            }
        }
    }
    seen
}

/// 0.02 out and in again and again: every change crosses 5.00 and 4.99, in the order in which the money comes to them. The server is
/// killed meanwhile, the follower crashes by itself; whoever changes repeats what was not answered.
#[test]
fn a_follower_misses_nothing_while_the_server_is_killed() {
    const CHANGES: u64 = 120;
    let (seed, kills) = (setting("CAMPAIGN_SEED", 1), setting("CAMPAIGN_KILLS", 3));
    let mut server = watched("notify_balance: [{at: \"4.99\", label: lower}, {at: \"5.00\", label: low}]");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let address = server.grpc;
    let mut random = Random(seed);
    let first = runtime.block_on(end(address, wire::WatchNotificationsRequest::default()));
    let last = Arc::new(AtomicU64::new(u64::MAX));
    let follower = runtime.spawn(follow(address, first, random.fork(), last.clone()));
    let done = Arc::new(AtomicU64::new(0));
    let writer = runtime.spawn(write(address, CHANGES, done.clone()));
    for kill in 1..=kills {
        let until = CHANGES * kill / (kills + 1) + random.below(CHANGES / (kills + 1) / 2);
        while done.load(Ordering::SeqCst) < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        server.kill();
        server.restart();
    }
    runtime.block_on(writer).unwrap();
    // Whoever follows another tenant knows how far that is, too.
    let other = wire::WatchNotificationsRequest { tenant_id: Some(7), ..Default::default() };
    last.store(runtime.block_on(end(address, other)), Ordering::SeqCst);
    let seen = runtime.block_on(follower).unwrap();

    let mut by_id: BTreeMap<String, wire::Notification> = BTreeMap::new();
    let mut in_order = Vec::new();
    for notification in &seen {
        match by_id.insert(notification.notification_id.clone(), notification.clone()) {
            None => in_order.push(notification),
            Some(before) => assert_eq!(&before, notification, "seed {seed}: an id is of one notification"),
        }
    }
    let said: Vec<_> = in_order
        .iter()
        .map(|it| {
            let crossing = it.crossing.as_ref().unwrap();
            (crossing.reached, crossing.label.as_str(), crossing.before, crossing.after)
        })
        .collect();
    let down = [(true, "low", 5_000_000, 4_980_000), (true, "lower", 5_000_000, 4_980_000)];
    let up = [(false, "lower", 4_980_000, 5_000_000), (false, "low", 4_980_000, 5_000_000)];
    let all = [down, up].concat().repeat(usize::try_from(CHANGES / 2).unwrap());
    assert_eq!(said, all, "seed {seed}");
    let positions: Vec<u64> = in_order.iter().map(|it| it.position).collect();
    assert!(positions.is_sorted() && positions.first().is_some_and(|at| *at >= first), "seed {seed}: {positions:?}");
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// 0.02 out of account 1, and in again, each until it is answered.
async fn write(server: SocketAddr, changes: u64, done: Arc<AtomicU64>) {
    let mut client = None;
    for change in 0..changes {
        let cents = if change % 2 == 0 { -2 } else { 2 };
        let request = wire::AdjustRequest {
            account: "accounts/1".into(),
            bucket_id: "main".into(),
            change: Some(wire::adjust_request::Change::Money(Money {
                mantissa: cents,
                scale: 2,
                currency: "EUR".into(),
            })),
            reason: "a test".into(),
            idempotency_key: format!("change-{change}"),
        };
        loop {
            if client.is_none() {
                client = connect(server).await.ok().map(AccountsClient::new);
            }
            let Some(it) = &mut client else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            match it.adjust(request.clone()).await {
                Ok(_) => break,
                Err(_) => client = None,
            }
        }
        done.fetch_add(1, Ordering::SeqCst);
    }
}

/// Nothing is told of what is passed over, but that it was: the position goes on while all the traffic is of others.
#[test]
fn a_sign_of_life_says_how_far_it_came() {
    let mut server = watched(LOW);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let address = server.grpc;
    let _open = runtime.block_on(async {
        let request =
            wire::WatchNotificationsRequest { from_position: 1, account: "accounts/2".into(), ..Default::default() };
        let mut told = watch(address, request).await.unwrap();
        // All the while there is something to read.
        let writer = tokio::spawn(write(address, u64::MAX, Arc::default()));
        let mut before = 1;
        for _ in 0..2 {
            let alive = told.message().await.unwrap().unwrap();
            assert!(alive.notifications.is_empty() && alive.next_position > before, "{alive:?} after {before}");
            before = alive.next_position;
        }
        writer.abort();
        let unknown = |field: fn(&mut wire::WatchNotificationsRequest)| {
            let mut request = wire::WatchNotificationsRequest::default();
            field(&mut request);
            watch(address, request)
        };
        refused(unknown(|it| it.account = "accounts/77".into()).await, Code::NotFound, "ACCOUNT_NOT_FOUND");
        refused(unknown(|it| it.subscriber = "subscribers/77".into()).await, Code::NotFound, "SUBSCRIBER_NOT_FOUND");
        refused(unknown(|it| it.from_position = u64::MAX).await, Code::OutOfRange, "POSITION_OUT_OF_RANGE");
        let malformed = unknown(|it| it.tenant_id = Some(65_536)).await.unwrap_err();
        assert_eq!((malformed.code(), malformed.message().contains("tenant_id")), (Code::InvalidArgument, true));
        told
    });
    // An open stream holds up no end.
    server.ask_to_stop();
    server.stopped();
}

/// Messages at 0.09: the second reaches 0.18. After kill -9 the third reaches 0.27, not the first of a new count; what is handed in again
/// reaches nothing; given back, one leaves it.
#[test]
fn what_was_spent_survives_a_kill() {
    let mut server = watched("notify_spend: [{at: \"0.18\"}, {at: \"0.27\", label: dear}]");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let now = Timestamp::from_millis(i64::try_from(now).unwrap());
    let hand_in = |server: &Server, record: &str| {
        let record = json!({
            "record": record, "identifiers": [format!("msisdn-{}", ocs::demo::msisdn(1))], "start": now.to_string(),
            "service": "sms", "used": [{"events": 1}],
        });
        let file = server.data().join("../record.jsonl");
        std::fs::write(&file, record.to_string()).unwrap();
        ask(server, &["usage", "charge", file.to_str().unwrap()]);
    };
    let said = |server: &Server| -> Vec<(Value, Value, Value)> {
        let all = told(server, &["--from", "1", "--counter", "care/spend"]);
        all.iter().map(|it| (it["reached"].clone(), it["label"].clone(), it["after"].clone())).collect()
    };
    hand_in(&server, "a");
    assert_eq!(said(&server), []);
    hand_in(&server, "b");
    let first = (json!(true), json!("0.18"), json!("0.18"));
    assert_eq!(said(&server), std::slice::from_ref(&first));
    server.kill();
    server.restart();
    for record in ["a", "b", "c", "c"] {
        hand_in(&server, record);
    }
    let second = (json!(true), json!("dear"), json!("0.27"));
    assert_eq!(said(&server), [first.clone(), second.clone()]);
    let dear = told(&server, &["--from", "1", "--counter", "care/spend"]).pop().unwrap();
    assert_eq!(dear["identifiers"].as_array().unwrap().len(), 2, "{dear}");
    let charge = format!("0-{}", dear["position"]);
    ask(&server, &["usage", "refund", &charge, "--reason", "never came", "--key", "back"]);
    assert_eq!(said(&server), [first, second, (json!(false), json!("dear"), json!("0.18"))]);
    let values: Value = serde_json::from_str(&ask(&server, &["notification", "values", "1", "-o", "json"])).unwrap();
    assert_eq!((&values[0]["value"], &values[0]["status"]), (&json!("0.18"), &json!("0.18")));
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
