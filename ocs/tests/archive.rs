//! Ended sessions on disk only, over a real data folder: repeats get their answers and move nothing, whatever is in memory,
//! whoever asks at the same time, and whatever was restarted or killed in between.

#![cfg(test)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use balance_store::{FailureHook, Family, KeyRange};
use ocs::charging::{Charged, Charging};
use ocs::clock::Clock;
use ocs::config::Config;
use ocs::setup::Filling;
use ocs::store::{self, Running};
use ocs::telemetry::Telemetry;
use ocs::{audit, demo};
use rating_engine::account::{Bucket, Holding, Origin};
use rating_engine::command::{
    Action, Change, Command, Mutation, MutationOutcome, Outcome, Profile, Refusal, Request, Requested, ServiceRequest,
};
use rating_engine::context::Context;
use rating_engine::ids::{AccountId, BucketId, GroupId, IdempotencyKey, SessionId, SubscriberId};
use rating_engine::money::Money;
use rating_engine::tariff::Service;
use rating_engine::time::Timestamp;
use rating_engine::units::Units;

const SUBSCRIBERS: u64 = 20;
const DEBITS: u64 = 1000;
const KEPT: usize = 10;
const DAY_MILLIS: u64 = 86_400_000;
const BEGIN: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    config.data.folder = folder.to_path_buf();
    config.data.durability = ocs::config::Durability::Os;
    config.data.checkpoint_seconds = 3600;
    config.limits.shards = 2;
    config.limits.ended_sessions_kept = KEPT;
    config
}

fn filled(folder: &Path) -> Config {
    let config = config(folder);
    let loaded = store::load(&config, BEGIN).unwrap();
    let mut filling = Filling::over(&config, loaded, Arc::new(Clock::manual(BEGIN))).unwrap();
    filling.demo(SUBSCRIBERS, |_| ()).unwrap();
    for number in 1..=SUBSCRIBERS {
        let charging = &filling.running().charging;
        let done = charging.mutate(GroupId::new(number), top_up(number), BEGIN);
        assert!(matches!(*done.outcome, MutationOutcome::Done { .. }), "{done:?}");
    }
    filling.finish();
    config
}

/// Enough for every debit.
fn top_up(number: u64) -> Mutation {
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
    Change::TopUp { account: AccountId::new(number), amount: Money::from_micros(100_000_000), bucket }.asked(Request {
        key: IdempotencyKey::new("enough"),
        digest: 1,
        reason: "test".into(),
    })
}

fn run(config: &Config, now: Timestamp) -> Running {
    let failed: FailureHook = Arc::new(|error| panic!("{error}"));
    let loaded = store::load(config, now).unwrap();
    store::run(config, loaded, Arc::new(Clock::manual(now)), Arc::new(Telemetry::new()), failed).unwrap()
}

fn command(charging: &Charging, session: &str, subscriber: u64, number: u32, action: Action) -> Command {
    let now = charging.clock.now();
    let service = if matches!(action, Action::Start(_) | Action::Update(_)) { Service::Data } else { Service::Sms };
    Command {
        now,
        event_time: Some(now),
        session: SessionId::new(session.as_bytes()),
        number,
        digest: u64::from(number),
        client_state: 1,
        subscriber: SubscriberId::default(),
        profile: Profile::STANDARD,
        command_level: false,
        context: Context {
            service,
            service_context: "32274@3gpp.org".into(),
            client_host: "smsc.example.org".into(),
            client_realm: "example.org".into(),
            identifiers: vec![format!("imsi-{}", demo::imsi(subscriber)).parse().unwrap()],
            equipment: None,
            correlation: None,
            packet: None,
            ims: None,
            sms: None,
        },
        action,
    }
}

fn debit(charging: &Charging, number: u64) -> Charged {
    let units = Units { events: Some(1), ..Units::default() };
    let debit = Action::Debit(vec![ServiceRequest { requested: Requested::Units(units), ..ServiceRequest::default() }]);
    charging.charge(command(charging, &format!("smsc;{number}"), 1 + number % SUBSCRIBERS, 0, debit))
}

fn refund(charging: &Charging, name: &str, number: u64) -> Charged {
    let original = SessionId::new(format!("smsc;{number}").as_bytes());
    let refund = Action::Refund { original, services: Vec::new() };
    charging.charge(command(charging, name, 1 + number % SUBSCRIBERS, 0, refund))
}

/// What every account was charged and given back so far, and how many CDRs it has.
fn books(charging: &Charging) -> Vec<(u64, String, u64)> {
    let mut books = Vec::new();
    for index in 0..charging.shards.len() {
        charging.shards.with_index(index, |shard| {
            books.extend(shard.accounts().map(|it| (it.id.get(), format!("{:?}", it.totals), it.cdrs.count)));
        });
    }
    books.sort_unstable();
    books
}

fn all_repeated(charging: &Charging, first: &[Arc<Outcome>]) {
    for (number, outcome) in (0..).zip(first) {
        let again = debit(charging, number);
        assert!(again.repeated && again.outcome == *outcome, "{number}: was {outcome:?}, now {again:?}");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else if entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Everything charged so far is in the state store.
fn sweep(running: &Running) {
    let journal = &running.charging.journal;
    journal.mark().wait_for(journal.appended_lsn()).unwrap();
    assert!(running.checkpoint());
}

fn stored_sessions(running: &Running) -> usize {
    let mut count = 0;
    running.store.state.load(Family::Sessions, &KeyRange::ALL, &mut |_, _| count += 1).unwrap();
    count
}

#[test]
fn a_thousand_debits_move_balances_once_whatever_is_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let config = filled(&folder.path().join("data"));
    let running = run(&config, BEGIN);
    let charging = running.charging.clone();
    let opening = books(&charging);
    let first: Vec<_> = (0..DEBITS).map(|number| debit(&charging, number).outcome).collect();
    assert!(first.iter().all(|outcome| matches!(**outcome, Outcome::Answered(_))), "{:?}", first[0]);
    let charged = books(&charging);
    assert!(charged.iter().zip(&opening).all(|(after, before)| after.2 == before.2 + DEBITS / SUBSCRIBERS));
    assert_eq!(charging.remembered().archived, 0, "nothing is stored yet");

    sweep(&running);
    let remembered = charging.remembered();
    assert!(remembered.ended <= KEPT && remembered.ended + remembered.archived == 1000, "{remembered:?}");
    all_repeated(&charging, &first);
    let loads = charging.remembered().loads;
    assert!(loads >= 990, "{loads} were read back");
    assert_eq!(books(&charging), charged);
    // Known names, other requests: turned away, and a Start opens a session of that name.
    let odd = charging.charge(command(&charging, "smsc;3", 4, 0, Action::Update(Vec::new())));
    assert_eq!(*odd.outcome, Outcome::Refused(Refusal::AnswerGone));
    sweep(&running);
    assert!(charging.remembered().ended <= KEPT);
    running.shutdown();
    drop(charging);

    // The same after a start, which takes few into memory.
    let running = run(&config, BEGIN.plus_seconds(60));
    let charging = running.charging.clone();
    let remembered = charging.remembered();
    assert!(remembered.ended <= KEPT && remembered.ended + remembered.archived == 1000, "{remembered:?}");
    all_repeated(&charging, &first);
    assert_eq!(books(&charging), charged);
    sweep(&running);

    // A refund of an archived debit, once.
    let given = refund(&charging, "refund;1", 7);
    assert!(matches!(*given.outcome, Outcome::Answered(_)), "{given:?}");
    let refunded = books(&charging);
    assert!(refunded != charged);
    charging.journal.mark().wait_for(charging.journal.appended_lsn()).unwrap();

    // Killed now, the log's tail has what changed of a session that only the state store has.
    let killed = folder.path().join("killed");
    copy(&config.data.folder, &killed);
    let config_killed = Config { data: ocs::config::Data { folder: killed, ..config.data.clone() }, ..config.clone() };
    let after = run(&config_killed, BEGIN.plus_seconds(120));
    for (name, expected) in [("refund;1", None), ("refund;2", Some(Refusal::RefundBeyondCharge))] {
        let again = refund(&after.charging, name, 7);
        match expected {
            None => assert!(again.repeated && again.outcome == given.outcome, "{again:?}"),
            Some(refusal) => assert_eq!(*again.outcome, Outcome::Refused(refusal)),
        }
    }
    all_repeated(&after.charging, &first);
    assert_eq!(books(&after.charging), refunded);
    after.shutdown();
    let report = audit::audit(&store::load(&config_killed, BEGIN.plus_seconds(180)).unwrap(), |_| ()).unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings);
    assert_eq!(report.ended_sessions, 1001);

    // After a day they are forgotten, in memory and on disk.
    let now = charging.clock.advance(DAY_MILLIS - 61_000).unwrap();
    charging.expire(now);
    assert_eq!(charging.remembered().ended + charging.remembered().archived, 1001);
    charging.expire(charging.clock.advance(2000).unwrap());
    let remembered = charging.remembered();
    assert_eq!((remembered.ended + remembered.archived, remembered.forgotten_early), (1, 0), "the refund is younger");
    assert!(charging.directory.session(&SessionId::new(b"smsc;5")).is_none());
    sweep(&running);
    assert_eq!(stored_sessions(&running), 1);
    assert_eq!(books(&charging), refunded);
    running.shutdown();
}

/// Those whose time passed while the process was down are gone at its start, and their records with the next sweep.
#[test]
fn what_was_due_while_the_process_was_down_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let config = filled(folder.path());
    let running = run(&config, BEGIN);
    for number in 0..100 {
        let _ = debit(&running.charging, number);
    }
    running.shutdown();
    let later = BEGIN.plus_seconds(86_401);
    let running = run(&config, later);
    assert_eq!(running.charging.remembered().archived, 0);
    running.charging.expire(later);
    assert_eq!(running.charging.remembered().ended, 0);
    sweep(&running);
    assert_eq!(stored_sessions(&running), 0);
    running.shutdown();
}

/// Repeats of the same sessions by several clients while sessions leave memory all the time, and are forgotten.
#[test]
fn repeats_at_the_same_time_move_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = filled(folder.path());
    config.limits.ended_sessions_kept = 0;
    let running = run(&config, BEGIN);
    let charging = running.charging.clone();
    let first: Vec<_> = (0..100).map(|number| debit(&charging, number).outcome).collect();
    let charged = books(&charging);
    sweep(&running);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..3).map(|_| scope.spawn(|| (0..10).for_each(|_| all_repeated(&charging, &first)))).collect();
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                // Something new, so that there is a reason to sweep.
                let one = command(&charging, "other", 1, 0, Action::Start(Vec::new()));
                let _ = charging.charge(one);
                sweep(&running);
            }
        });
        for client in clients {
            client.join().unwrap();
        }
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!(books(&charging), charged);
    assert!(charging.remembered().loads >= 100, "{:?}", charging.remembered());
    let _ = charging.charge(command(&charging, "other", 1, 1, Action::Stop(Vec::new())));
    // The deadline passes while they are asked for: each is either remembered or charged anew, once.
    charging.clock.advance(DAY_MILLIS).unwrap();
    let anew: Vec<u64> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| (0..100).filter(|number| !debit(&charging, *number).repeated).count()))
            .collect();
        charging.expire(charging.clock.now());
        clients.into_iter().map(|client| u64::try_from(client.join().unwrap()).unwrap()).collect()
    });
    let cdrs = |books: &[(u64, String, u64)]| books.iter().map(|(.., cdrs)| cdrs).sum::<u64>();
    assert_eq!(cdrs(&books(&charging)), cdrs(&charged) + anew.iter().sum::<u64>());
    assert!(anew.iter().sum::<u64>() <= 100, "{anew:?}");
    running.shutdown();
}

#[test]
fn beyond_the_limit_the_oldest_are_forgotten_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = filled(folder.path());
    config.limits.archived_sessions_max = 50;
    let running = run(&config, BEGIN);
    let charging = running.charging.clone();
    for number in 0..200 {
        let _ = debit(&charging, number);
    }
    sweep(&running);
    let remembered = charging.remembered();
    assert!(remembered.archived <= 50 && remembered.forgotten_early >= 140, "{remembered:?}");
    assert!(debit(&charging, 199).repeated && !debit(&charging, 0).repeated);
    running.shutdown();
}

/// A session that ended is closed in its archive; a start under its name opens anew, a repeat of its start does not.
#[test]
fn starts_and_stops_of_archived_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = filled(folder.path());
    config.limits.ended_sessions_kept = 0;
    let running = run(&config, BEGIN);
    let charging = running.charging.clone();
    let start = |number: u32| command(&charging, "pgw;1", 1, number, Action::Start(Vec::new()));
    let stop = command(&charging, "pgw;1", 1, 1, Action::Stop(Vec::new()));
    let (opened, closed) = (charging.charge(start(0)), charging.charge(stop.clone()));
    let archived = || {
        sweep(&running);
        charging.remembered().archived
    };
    assert_eq!(archived(), 1);
    for (again, before) in [(start(0), &opened), (stop, &closed)] {
        let again = charging.charge(again);
        assert!(again.repeated && again.outcome == before.outcome, "{again:?}");
        let late = charging.charge(command(&charging, "pgw;9", 1, 0, Action::Start(Vec::new())));
        assert!(matches!(*late.outcome, Outcome::Answered(_)));
        assert_eq!(archived(), 1);
    }
    let late = charging.charge(command(&charging, "pgw;1", 1, 5, Action::Update(Vec::new())));
    assert!(matches!(&*late.outcome, Outcome::Answered(answered) if answered.session_gone), "{late:?}");
    assert_eq!(archived(), 1);
    let anew = charging.charge(start(7));
    assert!(!anew.repeated && matches!(*anew.outcome, Outcome::Answered(_)), "{anew:?}");
    assert_eq!((archived(), charging.sums().0), (0, 2), "open, and not to be archived");
    running.shutdown();
}
