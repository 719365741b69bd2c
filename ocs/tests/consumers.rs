//! Consumers of CDRs over the real system: nothing is lost over kills, nothing that is not acknowledged is removed, and people look after
//! them from the command line.
//!
//! `CAMPAIGN_CASES` says how often something is killed (20), `CAMPAIGN_SEED` what varies, `CAMPAIGN_SECONDS` when it is enough.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use balance_store::{Crash, Disk, FaultDisk, MemoryState};
use cdr_export::consumer::Saying;
use cdr_export::{ConsumerBook, ConsumerHold, HoldRefusal, Lost};
use ocs::charging::Charging;
use ocs::clock::Clock;
use ocs::config::Config;
use ocs::consumers::{Book, Care, Consumers};
use ocs::disk::{Floor, Keep, Retention, retire};
use ocs::setup::Filling;
use ocs::store::{self, Loaded, OpenError, Running};
use ocs::telemetry::Telemetry;
use ocs_api::ConsumersService;
use ocs_api::client::{AccountsClient, CdrConsumersClient};
use ocs_proto::cdr::v1 as wire;
use ocs_proto::cdr::v1::cdr_consumers_server::CdrConsumers as _;
use ocs_proto::cdr::v1::consume_request::Message as Say;
use ocs_proto::cdr::v1::consume_response::Message as Told;
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as operator;
use rating_engine::account::{Bucket, Holding, Origin};
use rating_engine::command::{Change, MutationOutcome, Request};
use rating_engine::ids::{AccountId, BucketId, CdrPosition, GroupId, IdempotencyKey, Lsn};
use rating_engine::money::Money;
use rating_engine::time::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tonic::Code;

use campaign::ledger::{self, Instance, Ledger};
use campaign::server::{PROGRAM, Server};
use campaign::{Random, deadline, reason, refused, setting};

const SUBSCRIBERS: u64 = 50;
/// Top-ups at a time.
const PAYERS: u64 = 4;
/// What has not come by then is missing.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// Pays in again and again, each key until it is answered; adds up what was.
async fn pay(grpc: SocketAddr, payer: u64, over: Arc<AtomicBool>, paid: Arc<AtomicI64>) {
    let mut serial = 0;
    loop {
        let Ok(channel) = ledger::channel(grpc).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let mut client = AccountsClient::new(channel);
        loop {
            let micros = 10_000 * (1 + serial % 300);
            let request = operator::TopUpRequest {
                account: Some(operator::top_up_request::Account::AccountId(
                    1 + u64::try_from(serial).unwrap() % SUBSCRIBERS,
                )),
                amount: Some(common::Money { mantissa: micros, scale: 6, currency: "EUR".to_owned() }),
                reason: "campaign".to_owned(),
                idempotency_key: format!("payer-{payer}-{serial}"),
                ..operator::TopUpRequest::default()
            };
            if client.top_up(request).await.is_err() {
                break;
            }
            paid.fetch_add(micros, Ordering::SeqCst);
            serial += 1;
            if over.load(Ordering::SeqCst) {
                return;
            }
        }
    }
}

fn asked_for(number: u64) -> (String, String) {
    ("campaign".to_owned(), format!("consumer-{number}"))
}

/// Works until the ledger is at the tail with nothing parked.
async fn finish(grpc: SocketAddr, ledger: &Arc<Mutex<Ledger>>, random: &mut Random) {
    let channel = ledger::channel(grpc).await.unwrap();
    let working = tokio::spawn(ledger::work(channel.clone(), ledger.clone(), "last".into(), random.fork()));
    let mut people = CdrConsumersClient::new(channel);
    let (name, began) = ("consumers/ledger".to_owned(), Instant::now());
    for number in 0.. {
        assert!(!working.is_finished(), "{:?}", working.await);
        let it = people.get_consumer(wire::GetConsumerRequest { name: name.clone() }).await.unwrap().into_inner();
        let it = it.consumer.unwrap();
        if it.lag == 0 && it.parked == 0 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{it:?}");
        let (reason, idempotency_key) = asked_for(number);
        let request = wire::RetryParkedRequest { name: name.clone(), positions: Vec::new(), reason, idempotency_key };
        people.retry_parked(request).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    working.abort();
}

fn story(seed: u64, kills: u64) {
    let (until, began) = (deadline(), Instant::now());
    let mut random = Random(seed);
    let mut server = Server::start(SUBSCRIBERS);
    ask(&server, &["consumer", "create", "ledger", "--reason", "campaign", "--key", "made"]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (over, paid) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let payers: Vec<_> =
        (0..PAYERS).map(|payer| runtime.spawn(pay(server.grpc, payer, over.clone(), paid.clone()))).collect();
    let book = Arc::new(Mutex::new(Ledger::default()));
    let (mut killed, mut servers) = (0, 0);
    while killed < kills && until.is_none_or(|until| Instant::now() < until) {
        let channel = runtime.block_on(ledger::channel(server.grpc)).unwrap();
        let (instance, fork) = (format!("instance-{killed}"), random.fork());
        let working = runtime.spawn(ledger::work(channel, book.clone(), instance, fork));
        std::thread::sleep(Duration::from_millis(20 + random.below(300)));
        if working.is_finished() {
            panic!("it should work: {:?}", runtime.block_on(working));
        }
        if random.once_in(2) {
            server.kill();
            servers += 1;
            let ended = runtime.block_on(working).expect("nothing is wrong with what came");
            assert!(ended.is_err(), "a stream does not survive its server");
            server.restart();
        } else {
            // The consumer dies in the middle of whatever it does.
            working.abort();
            let ended = runtime.block_on(working);
            assert!(ended.as_ref().is_err_and(|error| error.is_cancelled()), "{ended:?}");
        }
        killed += 1;
    }
    over.store(true, Ordering::SeqCst);
    payers.into_iter().for_each(|payer| runtime.block_on(payer).unwrap());
    runtime.block_on(finish(server.grpc, &book, &mut random));
    server.ask_to_stop();
    server.stopped();
    let report = server.audit();
    let ledger = book.lock().unwrap();
    assert_eq!(report["cdrs"], ledger.booked.len(), "{report}");
    assert_eq!(-ledger.sum(wire::CdrKind::TopUp), paid.load(Ordering::SeqCst));
    assert_eq!(report["topped_up_micros"]["EUR"], -ledger.sum(wire::CdrKind::TopUp), "{report}");
    println!(
        "consumers: seed {seed}, {killed} kills, {servers} of the server; {} CDRs booked over {} streams, {} of them came again, {:?}",
        ledger.booked.len(),
        ledger.streams,
        ledger.again,
        began.elapsed()
    );
}

/// However often the server or the consumer is killed, the consumer's books are what the folder's audit says: every CDR, each once.
#[test]
fn what_a_consumer_has_booked_is_what_was_charged_however_often_either_is_killed() {
    let (seed, kills) = (setting("CAMPAIGN_SEED", 1), setting("CAMPAIGN_CASES", 20));
    let told = std::thread::spawn(move || story(seed, kills)).join();
    assert!(told.is_ok(), "the story of CAMPAIGN_SEED={seed} CAMPAIGN_CASES={kills} failed");
}

/// What comes next that is no sign of life.
async fn next(own: &mut Instance) -> Told {
    loop {
        match tokio::time::timeout(PATIENCE, own.next()).await.unwrap().unwrap() {
            Told::Status(_) => {}
            other => return other,
        }
    }
}

fn opening(instance: &str) -> wire::OpenConsumer {
    let consumer = "consumers/ledger".to_owned();
    wire::OpenConsumer { consumer, instance: instance.to_owned(), take_over: false, credits: 1000 }
}

/// How the consumer of the command line's story is made.
const CREATE: [&str; 11] =
    ["consumer", "create", "ledger", "--kind", "top_up", "--from", "tail", "--reason", "new ledger", "--key", "a"];

/// A day with a consumer: made, opened, one record parked, retried, given up; reset, ended. Everything people do is in the audit log, and
/// what is remembered is there after kill -9.
#[test]
fn people_look_after_consumers_from_the_command_line() {
    let mut server = Server::start(SUBSCRIBERS);
    let made = json(&server, &CREATE);
    assert_eq!(
        (&made["consumer"], &made["lag"], &made["kinds"][0]),
        (&"consumers/ledger".into(), &0.into(), &"top_up".into()),
        "{made}"
    );
    let again = json(&server, &CREATE);
    assert_eq!(again, made, "the same request");
    // The demo's own CDRs lie before.
    let base = made["next"].as_u64().unwrap() - 1;
    let (fourth, seventh) = ((base + 4).to_string(), (base + 7).to_string());
    for number in 1..=9 {
        ask(&server, &["account", "topup", &number.to_string(), "--amount", "5.00", "--key", &format!("k{number}")]);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = ledger::channel(server.grpc).await.unwrap();
        let (mut own, opened) = Instance::open(channel.clone(), opening("one")).await.unwrap();
        assert_eq!((opened.next_position, opened.lease_seconds), (base + 1, 30));
        let mut came = Vec::new();
        while came.len() < 9 {
            let Told::Batch(batch) = next(&mut own).await else { panic!() };
            came.extend(batch.records.iter().map(|record| record.position));
        }
        assert_eq!(came, (base + 1..=base + 9).collect::<Vec<_>>());
        let (action, why) = (wire::NackAction::Park.into(), "no such account".to_owned());
        own.say(Say::Nack(wire::NackCdr { position: base + 4, action, reason: why })).await;
        assert!(matches!(next(&mut own).await, Told::Parked(it) if (it.position, it.attempts) == (base + 4, 1)));
        own.say(Say::Ack(wire::AckCdrs { position: base + 8 })).await;
        assert!(matches!(next(&mut own).await, Told::Acked(it) if it.position == base + 8));
        let shown = json(&server, &["consumer", "show", "ledger"]);
        assert_eq!(
            (&shown["next"], &shown["lag"], &shown["parked"]),
            (&(base + 9).into(), &1.into(), &1.into()),
            "{shown}"
        );
        assert_eq!(shown["instance"], "one");
        // Somebody else is told who has it; and what was never sent cannot be acknowledged.
        let held = Instance::open(channel.clone(), opening("two")).await.map(|(_, opened)| opened);
        refused(held, Code::FailedPrecondition, "CONSUMER_HELD");
        own.say(Say::Ack(wire::AckCdrs { position: 4711 })).await;
        let ended = loop {
            if let Err(status) = own.next().await {
                break status;
            }
        };
        assert_eq!((ended.code(), &*reason(&ended)), (Code::OutOfRange, "POSITION_NEVER_ISSUED"));
    });
    server.kill();
    server.restart();
    let parked = json(&server, &["consumer", "parked", "ledger"]);
    assert_eq!((&parked[0]["cdr"], &parked[0]["reason"]), (&(base + 4).into(), &"no such account".into()), "{parked}");
    assert_eq!(
        json(&server, &["consumer", "retry", "ledger", "--reason", "it is there now", "--key", "b"])["retried"],
        1
    );
    assert_eq!(
        json(&server, &["consumer", "retry", "ledger", "--reason", "it is there now", "--key", "b"])["retried"],
        0
    );
    runtime.block_on(async {
        let channel = ledger::channel(server.grpc).await.unwrap();
        let (mut own, opened) = Instance::open(channel, opening("three")).await.unwrap();
        assert_eq!((opened.next_position, opened.parked), (base + 9, 1));
        let mut came = Vec::new();
        while came.len() < 2 {
            match next(&mut own).await {
                Told::Batch(batch) => came.extend(batch.records.iter().map(|record| record.position)),
                Told::Delivery(delivery) => came.push(delivery.record.unwrap().position),
                other => panic!("{other:?}"),
            }
        }
        came.sort_unstable();
        assert_eq!(came, [base + 4, base + 9]);
        // It is not processed now, either. A person books it by hand, and moves the consumer while it is open.
        let (action, why) = (wire::NackAction::Park.into(), "still not".to_owned());
        own.say(Say::Nack(wire::NackCdr { position: base + 4, action, reason: why })).await;
        assert!(matches!(next(&mut own).await, Told::Parked(it) if (it.position, it.attempts) == (base + 4, 2)));
        let gone =
            json(&server, &["consumer", "discard", "ledger", &fourth, "--reason", "by hand, ticket 17", "--key", "c"]);
        assert_eq!(gone["discarded"], 1);
        let etag = json(&server, &["consumer", "show", "ledger"])["etag"].as_str().unwrap().to_owned();
        let to =
            ["consumer", "reset", "ledger", "--to", &seventh, "--etag", &etag, "--reason", "restored", "--key", "d"];
        assert_eq!(json(&server, &to)["next"], base + 7);
        let ended = loop {
            if let Err(status) = own.next().await {
                break status;
            }
        };
        assert_eq!((ended.code(), &*reason(&ended)), (Code::Aborted, "CONSUMER_RESET"));
    });
    // What may not be: each says why, and changes nothing.
    for (arguments, why) in [
        (&["consumer", "create", "ledger", "--reason", "x"][..], "is there already"),
        (&["consumer", "create", "Ledger", "--reason", "x"], "consumer: is no consumer's name"),
        (&["consumer", "create", "other", "--from", "4711", "--reason", "x"], "there is no CDR 4711"),
        (&["consumer", "create", "other", "--from", "0", "--reason", "x"], "there is no CDR 0"),
        (&["consumer", "create", "other", "--account", "0", "--reason", "x"], "account 0"),
        (&["consumer", "create", "other", "--reason", "x", "--key", "a"], "was used for another request"),
        (&["consumer", "reset", "ledger", "--to", "4711", "--reason", "x"], "there is no CDR 4711"),
        (&["consumer", "reset", "ledger", "--to", "1", "--etag", "1-0", "--reason", "x"], "has changed since"),
        (&["consumer", "reset", "other", "--to", "1", "--reason", "x"], "consumers/other is not known"),
        (&["consumer", "retry", "ledger", "5", "--reason", "x"], "CDR 5 is not parked"),
        (&["consumer", "discard", "ledger", "5", "--reason", "x"], "CDR 5 is not parked"),
        (&["consumer", "delete", "ledger", "--reason", ""], "reason: is missing"),
    ] {
        let output = run(&server, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(why), "{arguments:?}: {said}");
    }
    let listed = json(&server, &["consumer", "list"]);
    assert_eq!(
        (listed.as_array().unwrap().len(), &listed[0]["next"], &listed[0]["parked"]),
        (1, &(base + 7).into(), &0.into())
    );
    ask(&server, &["consumer", "delete", "ledger", "--reason", "trial is over", "--key", "e"]);
    assert_eq!(json(&server, &["consumer", "list"]), serde_json::json!([]));
    let audit = ask(&server, &["auditlog", "list", "-o", "json"]);
    for said in [
        "CreateConsumer",
        "RetryParked",
        "DiscardParked",
        "ResetConsumer",
        "DeleteConsumer",
        "by hand, ticket 17",
        &format!("at CDR {seventh}, 2 are sent again"),
        &format!("given up: 1 CDRs: {fourth}"),
    ] {
        assert!(audit.contains(said), "{said} is not in {audit}");
    }
    server.kill();
    server.restart();
    assert_eq!(json(&server, &["consumer", "list"]), serde_json::json!([]), "also after kill -9");
    // Whoever has one when the server stops is told so, and what it has acknowledged is there afterwards.
    ask(&server, &["consumer", "create", "ledger", "--reason", "again", "--key", "f"]);
    runtime.block_on(async {
        let channel = ledger::channel(server.grpc).await.unwrap();
        let (mut own, _) = Instance::open(channel, opening("four")).await.unwrap();
        assert!(matches!(next(&mut own).await, Told::Batch(_)));
        own.say(Say::Ack(wire::AckCdrs { position: base + 5 })).await;
        assert!(matches!(next(&mut own).await, Told::Acked(it) if it.position == base + 5));
        server.ask_to_stop();
        let ended = loop {
            if let Err(status) = own.next().await {
                break status;
            }
        };
        assert_eq!((ended.code(), &*reason(&ended)), (Code::Unavailable, "STOPPING"));
    });
    server.stopped();
    server.restart();
    assert_eq!(json(&server, &["consumer", "show", "ledger"])["next"], base + 6);
    server.ask_to_stop();
    server.stopped();
    assert_eq!(server.audit()["cdrs"], base + 9);
}

const BEGIN: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// A machine in this process whose clock is moved by hand.
struct Machine {
    config: Config,
    disk: FaultDisk,
    state: Arc<MemoryState>,
}

impl Machine {
    fn filled() -> Self {
        let mut config = Config::default();
        config.data.log_segment_mib = 1;
        config.data.cdr_segment_mib = 1;
        config.data.checkpoint_seconds = 3600;
        config.limits.shards = 3;
        let machine = Self { config, disk: FaultDisk::new(1), state: Arc::default() };
        let loaded = machine.load().unwrap();
        let mut filling = Filling::over(&machine.config, loaded, Arc::new(Clock::manual(BEGIN))).unwrap();
        filling.demo(20, |_| ()).unwrap();
        filling.finish();
        machine
    }

    fn load(&self) -> Result<Loaded, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let (log, cdrs) = (Path::new("data/log"), Path::new("data/cdr"));
        store::load_from(&self.config, None, disk, log, cdrs, self.state.clone(), BEGIN)
    }

    fn run(&self) -> (Running, Arc<Consumers>, Arc<Retention>, Arc<Clock>) {
        let failed: balance_store::FailureHook = Arc::new(|error| panic!("{error}"));
        let clock = Arc::new(Clock::manual(BEGIN));
        let telemetry = Arc::new(Telemetry::new());
        let running = store::run(&self.config, self.load().unwrap(), clock.clone(), telemetry, failed).unwrap();
        let (told, mark) = watch::channel(0);
        running.charging.journal.mark().on_advance(move |lsn| {
            told.send_replace(lsn.get());
        });
        let retention = Arc::new(Retention::default());
        let consumers = Consumers::open(&running, mark, retention.clone()).unwrap();
        (running, consumers, retention, clock)
    }
}

/// Pays in, with a reason that takes room.
fn top_up(charging: &Charging, number: u64, now: Timestamp) -> Lsn {
    let bucket = Bucket {
        id: BucketId::new("main"),
        holding: Holding::Money,
        origin: Origin::Paid,
        balance: 0,
        reserved: 0,
        priority: 100,
        valid_from: Timestamp::default(),
        valid_to: Timestamp::NEVER,
        scope: None,
        terms: None,
    };
    let mut random = Random(number);
    let noise: String = (0..90).map(|_| format!("{:016x}", random.next())).collect();
    let account = 1 + number % 20;
    let top_up = Change::TopUp { account: AccountId::new(account), amount: Money::from_micros(1_000_000), bucket };
    let key = IdempotencyKey::new(&format!("disk-{number}"));
    let done = charging.mutate(
        GroupId::new(account),
        top_up.asked(Request { key, digest: number, reason: noise.as_str().into() }),
        now,
    );
    assert!(matches!(*done.outcome, MutationOutcome::Done { .. }), "{:?}", done.outcome);
    done.lsn
}

fn at(position: u64) -> CdrPosition {
    CdrPosition::new(position)
}

/// Makes (`true`) or ends the consumer "ledger".
fn ledger_is_wanted(consumers: &Arc<Consumers>, wanted: bool) {
    let service = ConsumersService::new(Arc::new(Care(consumers.clone())));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (name, why) = ("consumers/ledger".to_owned(), "test".to_owned());
    if wanted {
        let (consumer, reason, idempotency_key) = (name, why, "made".to_owned());
        let request = wire::CreateConsumerRequest { consumer, reason, idempotency_key, ..Default::default() };
        runtime.block_on(service.create_consumer(tonic::Request::new(request))).unwrap();
    } else {
        let (reason, idempotency_key, etag) = (why, "ended".to_owned(), String::new());
        let request = wire::DeleteConsumerRequest { name, reason, idempotency_key, etag };
        runtime.block_on(service.delete_consumer(tonic::Request::new(request))).unwrap();
    }
}

/// 5000 CDRs, one a second, each of more than a kilobyte. A consumer has read them all, and acknowledged nothing for a year: nothing is
/// removed, whatever the age and however much there is. What it acknowledges goes; what it has parked, and what follows, stays.
#[test]
fn what_no_consumer_has_acknowledged_is_not_removed_for_its_age_or_for_want_of_room() {
    let machine = Machine::filled();
    let (running, consumers, retention, _) = machine.run();
    ledger_is_wanted(&consumers, true);
    let cdrs = running.store.cdrs.clone();
    for number in 0..5000 {
        let lsn = top_up(
            &running.charging,
            number,
            Timestamp::from_millis(BEGIN.millis() + i64::try_from(number).unwrap() * 1000),
        );
        if number % 500 == 0 {
            running.charging.journal.mark().wait_for(lsn).unwrap();
        }
    }
    cdrs.mark().wait_for(at(5000)).unwrap();
    let files = cdrs.segments().unwrap();
    assert!(files.len() > 4, "{files:?}");
    let year = BEGIN.plus_seconds(365 * 86_400);
    let keep = Keep { millis: Some(86_400_000), octets: Some(1), millis_min: 0 };
    let removed = retire(&cdrs, keep, year, &retention).unwrap();
    assert_eq!((removed.cdrs, removed.first_kept), (0, at(1)));
    assert_eq!(removed.holder, Some(Floor { from: at(1), holder: "consumers/ledger".to_owned() }));
    assert!(removed.held_octets > 4 << 20 && removed.is_oldest_held, "all files but the last are held: {removed:?}");

    // Half of it is acknowledged, CDR 1000 is parked: what lies before it may go.
    let hold = Book(consumers.clone()).take("ledger", "one", false).unwrap();
    let saying = Saying { position: at(1000), reason: "why", instance: "one", now: year };
    hold.with(|progress| progress.nack_park(saying, at(5001))).unwrap().unwrap();
    hold.with(|progress| progress.ack(at(2500), at(5001), year)).unwrap().unwrap();
    // Also what is not written yet counts only when it is durable: asking for the floor has it written.
    let removed = retire(&cdrs, keep, year, &retention).unwrap();
    let first = cdrs.first_position();
    assert!(removed.cdrs > 0 && first > at(1) && first <= at(1000), "{removed:?}");
    let next = cdrs.segments().unwrap()[1].0;
    assert!(next > at(1000), "not a file more than had to stay: {next}");
    assert_eq!(removed.holder.unwrap().from, at(1000));
    assert!(hold.with(|progress| progress.unpark(at(1000))).unwrap());
    retire(&cdrs, keep, year, &retention).unwrap();
    assert!(cdrs.first_position() <= at(2501) && cdrs.segments().unwrap()[1].0 > at(2501));

    // The youngest stay for their least age, whoever has acknowledged them; then they go, too, all but the newest file.
    hold.with(|progress| progress.ack(at(5000), at(5001), year)).unwrap().unwrap();
    let young = Keep { millis_min: 366 * 86_400_000, ..keep };
    assert_eq!(retire(&cdrs, young, year, &retention).unwrap().cdrs, 0);
    retire(&cdrs, keep, year, &retention).unwrap();
    assert_eq!(cdrs.segments().unwrap().len(), 1);
    drop(hold);
    running.shutdown();

    // A power cut later, the place is where it was acknowledged, and nothing is missing behind it.
    let machine = Machine { disk: machine.disk.restart(Crash::PowerLoss), ..machine };
    let (running, consumers, retention, _) = machine.run();
    let hold = Book(consumers.clone()).take("ledger", "two", false).unwrap();
    assert_eq!(hold.with(|progress| progress.place().next).unwrap(), at(5001));
    let held = Book(consumers.clone()).take("ledger", "three", false).map(drop);
    assert!(matches!(held, Err(HoldRefusal::Held { instance, .. }) if &*instance == "two"));
    ledger_is_wanted(&consumers, false);
    assert_eq!(hold.with(|_| ()), Err(Lost::Deleted));
    assert_eq!(hold.write(), Err(Lost::Deleted), "what was lost writes nothing");
    let removed = retire(&running.store.cdrs, keep, year, &retention).unwrap();
    assert_eq!((removed.holder, removed.is_oldest_held), (None, false));
    drop(hold);
    running.shutdown();
}

/// Control totals are a floor like any other: what is not in written sums stays.
#[test]
fn what_is_not_in_the_control_totals_stays() {
    let machine = Machine::filled();
    let (running, _, retention, _) = machine.run();
    let (cdrs, partition) = (running.store.cdrs.clone(), rating_engine::ids::PartitionId::new(0));
    let totals = Arc::new(ocs::control::ControlTotals::open(&running.store.edge, cdrs.clone(), partition).unwrap());
    retention.keep_for(totals.clone());
    for number in 0..3000 {
        let lsn = top_up(&running.charging, number, BEGIN);
        if number % 500 == 0 {
            running.charging.journal.mark().wait_for(lsn).unwrap();
        }
    }
    cdrs.mark().wait_for(at(3000)).unwrap();
    let keep = Keep { millis: None, octets: Some(1), millis_min: 0 };
    let removed = retire(&cdrs, keep, BEGIN, &retention).unwrap();
    assert_eq!((removed.cdrs, removed.is_oldest_held), (0, true));
    assert_eq!(removed.holder.unwrap().holder, "the control totals");
    totals.stop();
    totals.run(&running.charging);
    let removed = retire(&cdrs, keep, BEGIN, &retention).unwrap();
    assert!(removed.cdrs > 0 && cdrs.segments().unwrap().len() == 1, "{removed:?}");
    running.shutdown();
}
