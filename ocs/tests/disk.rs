//! What the system does about the room it takes, and about folders whose parts do not fit each other.

#![cfg(test)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance_store::{Disk, Family, FaultDisk, KeyRange, Lsn, MemoryState, StateStore, StateWrite};
use cdr_export::{CdrFeed, ReadError};
use ocs::charging::Charging;
use ocs::clock::Clock;
use ocs::config::Config;
use ocs::disk::{Keep, Retention, retire};
use ocs::feed::StoreFeed;
use ocs::setup::Filling;
use ocs::store::{self, Loaded, OpenError, Running};
use ocs::telemetry::Telemetry;
use ocs::{audit, demo};
use rating_engine::account::{Bucket, Holding, Origin};
use rating_engine::command::{Action, Change, Command, MutationOutcome, Outcome, Profile, Refusal, Request};
use rating_engine::context::Context;
use rating_engine::ids::{
    AccountId, BucketId, CdrPosition, GroupId, IdempotencyKey, PartitionId, SessionId, SubscriberId,
};
use rating_engine::money::Money;
use rating_engine::tariff::Service;
use rating_engine::time::Timestamp;

const SUBSCRIBERS: u64 = 20;
const LOG: &str = "data/log";
const CDRS: &str = "data/cdr";
const BEGIN: Timestamp = Timestamp::from_seconds(1_800_000_000);

struct Machine {
    config: Config,
    disk: FaultDisk,
    state: Arc<MemoryState>,
}

impl Machine {
    /// With demo subscribers and small files.
    fn filled() -> Self {
        let mut config = Config::default();
        config.data.log_segment_mib = 1;
        config.data.cdr_segment_mib = 1;
        config.data.checkpoint_seconds = 3600;
        config.limits.shards = 3;
        let machine = Self { config, disk: FaultDisk::new(1), state: Arc::default() };
        let loaded = machine.load().unwrap();
        let mut filling = Filling::over(&machine.config, loaded, Arc::new(Clock::manual(BEGIN))).unwrap();
        filling.demo(SUBSCRIBERS, |_| ()).unwrap();
        filling.finish();
        machine
    }

    fn load(&self) -> Result<Loaded, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        store::load_from(&self.config, None, disk, Path::new(LOG), Path::new(CDRS), self.state.clone(), BEGIN)
    }

    fn run(&self) -> Running {
        let failed: balance_store::FailureHook = Arc::new(|error| panic!("{error}"));
        let clock = Arc::new(Clock::manual(BEGIN));
        store::run(&self.config, self.load().unwrap(), clock, Arc::new(Telemetry::new()), failed).unwrap()
    }

    fn files(&self, folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let names = self.disk.list(Path::new(folder)).unwrap();
        let paths = names.iter().map(|name| Path::new(folder).join(name));
        paths.map(|path| (path.clone(), self.disk.contents(&path).unwrap())).collect()
    }

    /// Puts a folder back as it was.
    fn put_back(&self, folder: &str, files: &[(PathBuf, Vec<u8>)]) {
        for (path, _) in self.files(folder) {
            self.disk.remove(&path).unwrap();
        }
        self.disk.sync_dir(Path::new(folder)).unwrap();
        files.iter().for_each(|(path, octets)| self.disk.plant(path, octets));
    }
}

/// Pays in, with a reason that takes room.
fn top_up(charging: &Charging, number: u64, account: u64, now: Timestamp) -> Lsn {
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
    let mut random = number;
    let noise = (0..90).map(|_| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{random:016x}")
    });
    let top_up = Change::TopUp { account: AccountId::new(account), amount: Money::from_micros(1_000_000), bucket };
    let top_up = top_up.asked(Request {
        key: IdempotencyKey::new(&format!("disk-{number}")),
        digest: number,
        reason: noise.collect::<String>().as_str().into(),
    });
    let done = charging.mutate(GroupId::new(account), top_up, now);
    assert!(matches!(*done.outcome, MutationOutcome::Done { .. }), "{:?}", done.outcome);
    done.lsn
}

fn later(number: u64) -> Timestamp {
    Timestamp::from_millis(BEGIN.millis() + i64::try_from(number).unwrap() * 1000)
}

#[test]
fn cdrs_past_their_retention_go_and_the_rest_still_proves_the_accounts() {
    let machine = Machine::filled();
    let running = machine.run();
    let cdrs = running.store.cdrs.clone();
    let total = 5000;
    for number in 0..total {
        // The first subscribers are heard of in the first half only: nothing of them will be left.
        let account = if number < total / 2 { 1 + number % 10 } else { 11 + number % 10 };
        let lsn = top_up(&running.charging, number, account, later(number));
        if number % 500 == 0 {
            running.charging.journal.mark().wait_for(lsn).unwrap();
        }
    }
    cdrs.mark().wait_for(CdrPosition::new(total)).unwrap();
    let files = cdrs.segments().unwrap().len();
    assert!(files > 4, "{files} files");
    let forever = Keep { millis: None, octets: None, millis_min: 0 };
    assert_eq!(retire(&cdrs, forever, later(u64::from(u32::MAX)), &Retention::default()).unwrap().cdrs, 0);
    let hour = Keep { millis: Some(3_600_000), octets: None, millis_min: 0 };
    assert_eq!(retire(&cdrs, hour, later(3600), &Retention::default()).unwrap().cdrs, 0, "none is older than an hour");
    let removed = retire(&cdrs, hour, later(3600 + 3000), &Retention::default()).unwrap();
    let first = cdrs.first_position();
    assert_eq!((removed.first_kept, removed.cdrs), (first, first.get() - 1));
    // CDR n + 1 was accepted at second n: those of the last hour are kept, and less than a file more.
    assert!(first.get() > 1 && first.get() <= 3001, "{first}");
    assert!(cdrs.segments().unwrap().len() < files && removed.octets > 1 << 20);
    let feed = StoreFeed::new(cdrs.clone(), PartitionId::new(0));
    assert!(matches!(feed.open(CdrPosition::new(1)), Err(ReadError::Gone { first: kept }) if kept == first));
    let told = cdrs.reader(CdrPosition::new(1)).map(drop).unwrap_err().to_string();
    assert!(told.contains("past its retention") && told.contains(&first.get().to_string()), "{told}");
    running.shutdown();

    let report = audit::audit(&machine.load().unwrap(), |_| ()).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((report.first_position, report.last_position), (first.get(), total));

    let running = machine.run();
    let little = Keep { millis: None, octets: Some(1), millis_min: 0 };
    let removed = retire(&running.store.cdrs, little, BEGIN, &Retention::default()).unwrap();
    assert!(removed.cdrs > 0);
    assert_eq!(running.store.cdrs.segments().unwrap().len(), 1, "the newest file stays whatever is asked");
    running.shutdown();
    let report = audit::audit(&machine.load().unwrap(), |_| ()).unwrap();
    assert!(report.is_clean() && report.first_position > 2500, "{:?}", report.findings);
}

fn command(session: &SessionId, number: u32, action: Action) -> Command {
    Command {
        now: BEGIN,
        event_time: Some(BEGIN),
        session: session.clone(),
        number,
        digest: number.into(),
        client_state: 0,
        subscriber: SubscriberId::default(),
        profile: Profile::STANDARD,
        command_level: false,
        context: Context {
            service: Service::Data,
            service_context: "32251@3gpp.org".into(),
            client_host: "pgw.example.org".into(),
            client_realm: "example.org".into(),
            identifiers: vec![format!("imsi-{}", demo::imsi(5)).parse().unwrap()],
            equipment: None,
            correlation: None,
            packet: None,
            ims: None,
            sms: None,
        },
        action,
    }
}

fn is_busy(charging: &Charging, session: &SessionId, number: u32, action: Action) -> bool {
    *charging.charge(command(session, number, action)).outcome == Outcome::Refused(Refusal::TooBusy)
}

#[test]
fn a_log_beyond_its_limit_turns_new_sessions_away_and_then_everything_until_it_is_cut() {
    let mut machine = Machine::filled();
    machine.config.data.log_tail_mib_refuse = Some(1);
    let running = machine.run();
    let charging = running.charging.clone();
    let start = || Action::Start(Vec::new());
    let update = || Action::Update(Vec::new());
    let (open, mut paid) = (SessionId::new(b"disk;open"), 0);
    assert!(!is_busy(&charging, &open, 0, start()));
    let mut pay_until = |octets: u64| {
        while running.store.log.tail_octets() < octets {
            let lsn = top_up(&charging, paid, 1 + paid % 20, BEGIN);
            charging.journal.mark().wait_for(lsn).unwrap();
            paid += 1;
        }
    };
    pay_until(1 << 20);
    assert!(is_busy(&charging, &SessionId::new(b"disk;new"), 0, start()), "new work is refused first");
    assert!(!is_busy(&charging, &open, 1, update()), "what is under way goes on");
    pay_until(5 << 18);
    assert!(is_busy(&charging, &open, 2, update()), "until nothing can");
    assert!(running.checkpoint());
    let until = Instant::now() + Duration::from_secs(20);
    while running.store.log.tail_octets() >= 1 << 20 {
        assert!(Instant::now() < until, "the log is cut once its state and CDRs are kept elsewhere");
        std::thread::sleep(Duration::from_millis(10));
        assert!(running.checkpoint());
    }
    assert!(!is_busy(&charging, &open, 2, update()));
    assert!(!is_busy(&charging, &SessionId::new(b"disk;new"), 0, start()));
    running.shutdown();
}

#[test]
fn a_record_that_is_ahead_of_the_log_is_refused_with_its_place() {
    let machine = Machine::filled();
    let short = machine.files(LOG);
    let end = machine.load().unwrap().found;
    let running = machine.run();
    let ahead = top_up(&running.charging, 1, 7, BEGIN);
    running.shutdown();
    // The database has flushed a record, the log has lost the entry, and no checkpoint says so.
    let flushed = Arc::new(MemoryState::new());
    for family in Family::ALL {
        let mut copy = |key: &[u8], value: &[u8]| {
            flushed.write(&[StateWrite { family, key, value: Some(value) }]).unwrap();
        };
        machine.state.load(family, &KeyRange::ALL, &mut copy).unwrap();
    }
    flushed.checkpoint(end.checkpoint).unwrap();
    let machine = Machine { state: flushed, ..machine };
    assert!(machine.load().is_ok(), "the log reaches as far as the state");
    machine.put_back(LOG, &short);
    machine.put_back(CDRS, &[]);
    let refused = machine.load().err().expect("the state is ahead").to_string();
    assert!(refused.contains(&format!("entry {ahead}")) && refused.contains(&end.last.to_string()), "{refused}");
    let named = ["of accounts in the state", "of mutations in the state"].iter().any(|family| refused.contains(family));
    assert!(refused.contains("the record ") && named, "{refused}");
}

#[test]
fn a_cdr_store_that_the_log_cannot_continue_is_refused_when_it_is_opened() {
    let machine = Machine::filled();
    let running = machine.run();
    let lsn = top_up(&running.charging, 0, 7, BEGIN);
    running.charging.journal.mark().wait_for(lsn).unwrap();
    running.shutdown();
    let old = machine.files(CDRS);
    let running = machine.run();
    for number in 1..2000 {
        let _ = top_up(&running.charging, number, 1 + number % 20, BEGIN);
    }
    running.shutdown();
    assert!(machine.load().unwrap().store.log.position().first_cdr > CdrPosition::new(2), "the log was cut");
    let new = machine.files(CDRS);
    machine.put_back(CDRS, &old);
    let refused = machine.load().err().expect("CDRs are missing").to_string();
    assert!(refused.contains("CDR 2 comes next"), "{refused}");
    machine.put_back(CDRS, &new);
    assert!(machine.load().is_ok());
}
