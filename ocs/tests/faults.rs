//! The whole system over a disk that forgets, tears and fails: log, state store, CDR store, shards and index together, in
//! one process, killed and started again and again.
//!
//! Two clients drive sessions, events, refunds, top-ups, expiries, restarts of their own, identifiers, tariffs and new
//! accounts. An answer counts as given once the durable mark has reached its entry. After each crash everything that was
//! answered is asked for again and must be answered alike without moving a balance; what was not answered is repeated as
//! a client would; then every account must have moved by exactly what its owner was told.
//!
//! `CAMPAIGN_CASES` stories (12) are told from `CAMPAIGN_SEED` on; a failure names its seed. `CAMPAIGN_SECONDS` ends early.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use balance_store::keys::{self, Drawer};
use balance_store::records::Owner;
use balance_store::{
    CdrPosition, Crash, Disk, FailureHook, Family, FaultDisk, KeyRange, Lsn, StateError, StateStore, StateWrite,
};
use ocs::charging::{Charged, Charging};
use ocs::clock::Clock;
use ocs::config::Config;
use ocs::edge::{Beside, DeskRecord};
use ocs::setup::Filling;
use ocs::store::{self, Found, Loaded, OpenError, Running};
use ocs::telemetry::Telemetry;
use ocs::{audit, catalogue, demo};
use parking_lot::{Mutex, RwLock};
use rating_engine::account::{Account, Bucket, Flow, Holding, Origin};
use rating_engine::command::{
    Action, Answered, Change, Command, EntityKey, Mutation, MutationOutcome, Outcome, Profile, Refusal, Request,
    Requested, ServiceRequest, Used,
};
use rating_engine::context::Context;
use rating_engine::ids::{
    AccountId, BucketId, GroupId, IdempotencyKey, Identifier, SessionId, SubscriberId, TariffName, TenantId,
};
use rating_engine::money::Money;
use rating_engine::session::ANSWERS_MAX;
use rating_engine::tariff::Service;
use rating_engine::time::Timestamp;
use rating_engine::units::{Unit, Units};

use campaign::{RATING_GROUPS, Random, deadline, setting, tariff, volume, wanted};

/// Demo subscribers from the start; further ones arrive.
const SUBSCRIBERS: u64 = 20;
/// Crashes per story, the last start not counted.
const LIVES: u64 = 4;
const LOG: &str = "data/log";
const CDRS: &str = "data/cdr";
/// When a story begins.
const BEGIN: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// A state store as RocksDB is without a log of its own: what was written since the last checkpoint is lost with the
/// process, but for what it happened to flush, which is some first part of it, family by family.
#[derive(Default)]
struct VolatileState {
    inner: Mutex<Records>,
}

#[derive(Clone, Default)]
struct Records {
    now: BTreeMap<(Family, Vec<u8>), Vec<u8>>,
    durable: BTreeMap<(Family, Vec<u8>), Vec<u8>>,
    since: Vec<(Family, Vec<u8>, Option<Vec<u8>>)>,
    checkpoint: Lsn,
    dead: bool,
}

impl Records {
    fn enter(&self) -> Result<(), StateError> {
        let reason = "the process ended".to_owned();
        if self.dead { Err(StateError::Database { doing: "reach", folder: "state".into(), reason }) } else { Ok(()) }
    }
}

fn put(records: &mut BTreeMap<(Family, Vec<u8>), Vec<u8>>, family: Family, key: Vec<u8>, value: Option<Vec<u8>>) {
    match value {
        Some(value) => drop(records.insert((family, key), value)),
        None => drop(records.remove(&(family, key))),
    }
}

impl VolatileState {
    /// What a new process finds; this one gets only errors from now on.
    fn restart(&self, random: &mut Random) -> Arc<Self> {
        let mut old = self.inner.lock();
        let mut left = Records { durable: old.durable.clone(), checkpoint: old.checkpoint, ..Records::default() };
        old.dead = true;
        for family in Family::ALL {
            let theirs: Vec<_> = old.since.iter().filter(|(of, ..)| *of == family).cloned().collect();
            let flushed = if random.once_in(2) { 0 } else { random.place(theirs.len() + 1) };
            for (family, key, value) in theirs.into_iter().take(flushed) {
                put(&mut left.durable, family, key, value);
            }
        }
        left.now.clone_from(&left.durable);
        Arc::new(Self { inner: Mutex::new(left) })
    }
}

impl StateStore for VolatileState {
    fn write(&self, writes: &[StateWrite<'_>]) -> Result<(), StateError> {
        let mut inner = self.inner.lock();
        inner.enter()?;
        for write in writes {
            let (key, value) = (write.key.to_vec(), write.value.map(<[u8]>::to_vec));
            put(&mut inner.now, write.family, key.clone(), value.clone());
            inner.since.push((write.family, key, value));
        }
        Ok(())
    }

    fn checkpoint(&self, lsn: Lsn) -> Result<(), StateError> {
        let mut inner = self.inner.lock();
        inner.enter()?;
        for (family, key, value) in std::mem::take(&mut inner.since) {
            put(&mut inner.durable, family, key, value);
        }
        inner.checkpoint = lsn;
        Ok(())
    }

    fn checkpoint_lsn(&self) -> Result<Lsn, StateError> {
        Ok(self.inner.lock().checkpoint)
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.inner.lock().now.get(&(family, key.to_vec())).cloned())
    }

    fn ranges(&self, family: Family, _parts: usize) -> Result<Vec<KeyRange>, StateError> {
        let inner = self.inner.lock();
        let keys: Vec<_> = inner.now.keys().filter(|(of, _)| *of == family).map(|(_, key)| key.clone()).collect();
        let Some(middle) = keys.get(keys.len() / 2) else { return Ok(vec![KeyRange::ALL]) };
        let (below, above) =
            (KeyRange { from: None, to: Some(middle.clone()) }, KeyRange { from: Some(middle.clone()), to: None });
        Ok(vec![below, above])
    }

    fn load(&self, family: Family, range: &KeyRange, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StateError> {
        let records: Vec<_> = self.inner.lock().now.clone().into_iter().collect();
        for ((of, key), value) in records {
            if of == family && range.contains(&key) {
                each(&key, &value);
            }
        }
        Ok(())
    }
}

/// What outlives a process: the disk and the state store.
struct Machine {
    config: Config,
    disk: FaultDisk,
    state: Arc<VolatileState>,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let mut config = Config::default();
        config.data.log_segment_mib = 1;
        config.data.log_tail_mib_max = 4;
        config.data.checkpoint_seconds = 1;
        config.limits.shards = 3;
        // Ended sessions leave memory with the first sweep, but for a few in half of the stories.
        let kept = if seed.is_multiple_of(2) { 0 } else { 9 };
        config.limits.ended_sessions_kept = usize::try_from(setting("CAMPAIGN_KEPT", kept)).unwrap();
        Self { config, disk: FaultDisk::new(seed), state: Arc::default() }
    }

    /// With demo subscribers.
    fn filled(seed: u64) -> Self {
        let machine = Self::new(seed);
        let loaded = machine.load(BEGIN).unwrap();
        let clock = Arc::new(Clock::manual(BEGIN));
        let mut filling = Filling::over(&machine.config, loaded, clock).unwrap();
        filling.demo(SUBSCRIBERS, |_| ()).unwrap();
        filling.finish();
        machine
    }

    fn load(&self, now: Timestamp) -> Result<Loaded, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let state: Arc<dyn StateStore> = self.state.clone();
        store::load_from(&self.config, None, disk, Path::new(LOG), Path::new(CDRS), state, now)
    }

    fn run(&self, loaded: Loaded, now: Timestamp) -> Process {
        let failures = Arc::new(AtomicU64::new(0));
        let hook: FailureHook = {
            let failures = failures.clone();
            Arc::new(move |_| {
                failures.fetch_add(1, Ordering::SeqCst);
            })
        };
        let clock = Arc::new(Clock::manual(now));
        let running = store::run(&self.config, loaded, clock, Arc::new(Telemetry::new()), hook).unwrap();
        Process { charging: running.charging.clone(), running, failures, time: RwLock::new(()) }
    }

    /// The process is gone, or the power.
    fn crash(&mut self, crash: Crash, random: &mut Random) {
        self.disk = self.disk.restart(crash);
        self.state = self.state.restart(random);
    }
}

/// A running system.
struct Process {
    running: Running,
    charging: Arc<Charging>,
    /// How often somebody was told that the disk failed.
    failures: Arc<AtomicU64>,
    /// Held by whoever needs time to stand still.
    time: RwLock<()>,
}

impl Process {
    fn durable(&self) -> Lsn {
        self.charging.journal.mark().get()
    }

    /// The process would have ended by now.
    fn has_failed(&self) -> bool {
        self.failures.load(Ordering::SeqCst) > 0
    }

    fn wait(&self) {
        self.charging.journal.mark().wait_for(self.charging.journal.appended_lsn()).expect("a sound disk");
    }

    /// Ends all its threads and returns how far it had promised anything.
    fn end(self) -> (Lsn, Timestamp) {
        let Self { running, charging, .. } = self;
        running.shutdown();
        (charging.journal.mark().get(), charging.clock.now())
    }
}

/// How far a request has come, as its client sees it. Only the client of a dead server may not know.
#[derive(Clone, Debug)]
enum Progress<T> {
    /// Computed, and to be shown once the entry is durable.
    Flying(Arc<T>, Lsn),
    /// The server died before it answered.
    Unanswered,
    /// Answered.
    Told(Arc<T>),
}

impl<T> Progress<T> {
    fn of(charged: &Charged<T>) -> Self {
        Self::Flying(charged.outcome.clone(), charged.lsn)
    }

    /// The mark is here; returns the answer if this is when it was given.
    fn reach(&mut self, mark: Lsn) -> Option<Arc<T>> {
        let Self::Flying(outcome, lsn) = self else { return None };
        if *lsn > mark {
            return None;
        }
        let told = outcome.clone();
        *self = Self::Told(told.clone());
        Some(told)
    }

    fn lose(&mut self) {
        if matches!(self, Self::Flying(..)) {
            *self = Self::Unanswered;
        }
    }

    fn told(&self) -> Option<&Arc<T>> {
        if let Self::Told(outcome) = self { Some(outcome) } else { None }
    }
}

#[derive(Debug)]
struct Asked {
    command: Command,
    progress: Progress<Outcome>,
}

impl Asked {
    fn answered(&self) -> Option<&Answered> {
        match self.progress.told().map(|outcome| &**outcome) {
            Some(Outcome::Answered(answered)) => Some(answered),
            _ => None,
        }
    }
}

/// A session or a one-time event, with all it asked.
#[derive(Debug)]
struct Story {
    subscriber: u64,
    asked: Vec<Asked>,
    /// The client does not ask any more.
    over: bool,
    /// The client lost its memory: it repeats nothing.
    lost: bool,
    /// Until when the server certainly remembers.
    remembered: Timestamp,
}

impl Story {
    fn is_flying(&self) -> bool {
        self.asked.last().is_some_and(|asked| !matches!(asked.progress, Progress::Told(_)))
    }

    /// Charged, given back.
    fn micros(&self) -> (i64, i64) {
        let answered = self.asked.iter().filter_map(|asked| Some((&asked.command.action, asked.answered()?)));
        let mut sum = (0, 0);
        for (action, answered) in answered {
            let cost = answered.cost.map_or(0, |(cost, _)| cost.micros());
            match action {
                // What a session cost so far.
                Action::Start(_) | Action::Update(_) | Action::Stop(_) | Action::Debit(_) | Action::Record { .. } => {
                    sum.0 = cost
                }
                Action::Refund { .. } => sum.1 = cost,
                Action::CheckBalance(_) | Action::PriceEnquiry(_) => {}
            }
        }
        sum
    }

    /// Octets of answered reports.
    fn used(&self) -> BTreeMap<u32, u64> {
        let mut sum = BTreeMap::new();
        for asked in self.asked.iter().filter(|asked| asked.answered().is_some()) {
            if let Action::Update(services) | Action::Stop(services) = &asked.command.action {
                for service in services {
                    let octets: u64 = service.used.iter().filter_map(|used| used.units.total_octets).sum();
                    *sum.entry(service.key.rating_group.unwrap().get()).or_default() += octets;
                }
            }
        }
        sum
    }
}

#[derive(Debug)]
struct TopUp {
    account: u64,
    micros: i64,
    key: String,
    progress: Progress<MutationOutcome>,
}

impl TopUp {
    fn mutation(&self) -> Mutation {
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
        Change::TopUp { account: AccountId::new(self.account), amount: Money::from_micros(self.micros), bucket }.asked(
            Request {
                key: IdempotencyKey::new(&self.key),
                digest: self.micros.unsigned_abs(),
                reason: "campaign".into(),
            },
        )
    }
}

/// One client: a network element and an operator in one, with all it knows.
#[derive(Debug)]
struct Client {
    random: Random,
    number: u64,
    host: Arc<str>,
    /// Its restart marker.
    state: u32,
    serial: u64,
    stories: Vec<Story>,
    top_ups: Vec<TopUp>,
    /// Identifiers that it moves about: their owners, oldest first.
    moved: BTreeMap<Identifier, Vec<(Lsn, u64)>>,
    /// Tariff versions published.
    published: Vec<(TariffName, u32, Lsn)>,
    /// Records of the desk as they were written, from the one that is known to be there on; `None` for gone.
    desk: BTreeMap<Vec<u8>, Vec<(Lsn, Option<u64>)>>,
    /// Subscribers that came to be, and the entry after which they certainly are.
    arrived: Vec<(u64, Lsn)>,
    counted: Counted,
}

/// What was done, for the end of a campaign.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    requests: u64,
    answers_compared: u64,
    unanswered_repeated: u64,
    crashes: u64,
    torn_tails: u64,
    /// Starts on a log whose beginning was cut, so that its segments are used again.
    cut_logs: u64,
    cdrs: u64,
}

impl std::ops::AddAssign for Counted {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.answers_compared += other.answers_compared;
        self.unanswered_repeated += other.unanswered_repeated;
        self.crashes += other.crashes;
        self.torn_tails += other.torn_tails;
        self.cut_logs += other.cut_logs;
        self.cdrs += other.cdrs;
    }
}

impl Client {
    fn new(number: u64, random: Random) -> Self {
        Self {
            random,
            number,
            host: format!("pgw{number}.example.org").into(),
            state: 1,
            serial: 0,
            stories: Vec::new(),
            top_ups: Vec::new(),
            moved: BTreeMap::new(),
            published: Vec::new(),
            desk: BTreeMap::new(),
            arrived: Vec::new(),
            counted: Counted::default(),
        }
    }

    fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A subscriber that certainly exists.
    fn subscriber(&mut self) -> u64 {
        let arrived: Vec<u64> =
            self.arrived.iter().filter(|(_, lsn)| lsn.get() == 0).map(|(number, _)| *number).collect();
        if !arrived.is_empty() && self.random.once_in(5) {
            return arrived[self.random.place(arrived.len())];
        }
        1 + self.random.below(SUBSCRIBERS)
    }

    fn command(
        &self,
        now: Timestamp,
        session: &SessionId,
        subscriber: u64,
        number: u32,
        service: Service,
        action: Action,
    ) -> Command {
        let digest = format!("{action:?}");
        let digest = digest.bytes().fold(0xcbf2_9ce4_8422_2325, |digest: u64, octet| {
            (digest ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Command {
            now,
            event_time: Some(now),
            session: session.clone(),
            number,
            digest,
            client_state: self.state,
            subscriber: SubscriberId::default(),
            profile: Profile::STANDARD,
            command_level: false,
            context: Context {
                service,
                service_context: "14.32251@3gpp.org".into(),
                client_host: self.host.clone(),
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

    fn charge(&mut self, process: &Charging, command: &Command) -> Charged {
        self.counted.requests += 1;
        process.charge(command.clone())
    }

    /// Opens a story with its first request.
    fn open(&mut self, process: &Charging, command: Command, subscriber: u64) {
        let charged = self.charge(process, &command);
        let over = !matches!(command.action, Action::Start(_));
        let asked = vec![Asked { command, progress: Progress::of(&charged) }];
        self.stories.push(Story { subscriber, asked, over, lost: false, remembered: Timestamp::default() });
    }

    fn session(&mut self, kind: &str) -> SessionId {
        let serial = self.serial();
        SessionId::new(format!("{};{kind};{serial}", self.host).as_bytes())
    }

    fn groups(&mut self) -> Vec<u32> {
        let mut groups: Vec<u32> = RATING_GROUPS.into_iter().filter(|_| self.random.once_in(2)).collect();
        if groups.is_empty() {
            groups.push(RATING_GROUPS[0]);
        }
        groups
    }

    fn start(&mut self) -> Action {
        Action::Start(self.groups().into_iter().map(|group| volume(group, None, wanted(&mut self.random))).collect())
    }

    /// Goes on with an open session; `false` when there is none that waits for nothing.
    fn go_on(&mut self, process: &Charging, now: Timestamp) -> bool {
        let ready = |story: &Story| !story.over && !story.is_flying();
        let ready: Vec<usize> =
            self.stories.iter().enumerate().filter(|(_, story)| ready(story)).map(|(place, _)| place).collect();
        if ready.is_empty() {
            return false;
        }
        let place = ready[self.random.place(ready.len())];
        let end = self.random.once_in(5);
        self.step(process, now, place, end);
        true
    }

    fn step(&mut self, process: &Charging, now: Timestamp, place: usize, end: bool) {
        let mut services = Vec::new();
        for group in self.groups() {
            let used = Some(self.random.below(3 << 20));
            services.push(volume(group, used, if end { Requested::Nothing } else { wanted(&mut self.random) }));
        }
        let action = if end { Action::Stop(services) } else { Action::Update(services) };
        let story = &self.stories[place];
        let last = &story.asked.last().unwrap().command;
        let command = self.command(now, &last.session, story.subscriber, last.number + 1, Service::Data, action);
        let charged = self.charge(process, &command);
        let story = &mut self.stories[place];
        if end {
            (story.over, story.remembered) = (true, story.remembered.min(now.plus_seconds(590)));
        }
        story.asked.push(Asked { command, progress: Progress::of(&charged) });
    }

    /// One thing that clients and operators do.
    fn act(&mut self, process: &Process) {
        let charging = &process.charging;
        let what = self.random.below(100);
        if what >= 98 {
            // Nobody's answer is awaited for minutes: what is on its way arrives before.
            let _moving = process.time.write();
            if charging.journal.mark().wait_for(charging.journal.appended_lsn()).is_err() {
                return;
            }
            charging.clock.advance(self.random.below(900_000)).unwrap();
            charging.expire(charging.clock.now());
            return;
        }
        let _still = process.time.read();
        let now = charging.clock.now();
        match what {
            0..50 => {
                let went_on = self.go_on(charging, now);
                if !went_on {
                    self.begin(charging, now);
                }
            }
            50..64 => self.begin(charging, now),
            64..70 => {
                let (session, subscriber) = (self.session("event"), self.subscriber());
                let units = Units { events: Some(1 + self.random.below(3)), ..Units::default() };
                let action = if self.random.once_in(3) {
                    let used = vec![Used { units, ..Used::default() }];
                    Action::Record { services: vec![ServiceRequest { used, ..ServiceRequest::default() }], ended: now }
                } else {
                    let requested = Requested::Units(units);
                    Action::Debit(vec![ServiceRequest { requested, ..ServiceRequest::default() }])
                };
                let command = self.command(now, &session, subscriber, 0, Service::Sms, action);
                self.open(charging, command, subscriber);
            }
            70..73 => self.refund(charging, now),
            73..79 => {
                let account = self.subscriber();
                let micros = i64::try_from(10_000 * (1 + self.random.below(200))).unwrap();
                let serial = self.serial();
                let key = format!("{};{serial}", self.host);
                let mut top_up = TopUp { account, micros, key, progress: Progress::Unanswered };
                top_up.progress = Progress::of(&charging.mutate(GroupId::new(account), top_up.mutation(), now));
                self.top_ups.push(top_up);
            }
            79..85 => self.repeat_something(process),
            85..87 => {
                let (session, subscriber) = (self.session("ask"), self.subscriber());
                let action = Action::CheckBalance(vec![ServiceRequest::default()]);
                let command = self.command(now, &session, subscriber, 0, Service::Sms, action);
                let _ = self.charge(charging, &command);
            }
            87..88 => self.move_identifier(process, now),
            88..90 => self.keep_on_desk(process, now),
            90..91 => self.publish(process, now),
            95 => self.arrive(process, now, None),
            91 => self.restart(charging, now),
            92..94 => self.reopen(charging, now),
            94 => {
                let _ =
                    charging.journal.mark().wait_for_at_most(charging.journal.appended_lsn(), Duration::from_secs(5));
            }
            _ => {}
        }
        self.reach(process.durable());
    }

    fn begin(&mut self, process: &Charging, now: Timestamp) {
        let (session, subscriber) = (self.session("data"), self.subscriber());
        let action = self.start();
        let command = self.command(now, &session, subscriber, 0, Service::Data, action);
        self.open(process, command, subscriber);
    }

    /// Gives back a charge that was answered.
    fn refund(&mut self, process: &Charging, now: Timestamp) {
        let debits = self.stories.iter().filter_map(|story| {
            let asked = story.asked.first()?;
            let debits = matches!(asked.command.action, Action::Debit(_) | Action::Record { .. });
            let debit = debits && asked.answered().is_some();
            debit.then(|| (story.subscriber, asked.command.session.clone()))
        });
        let debits: Vec<_> = debits.collect();
        if debits.is_empty() {
            return;
        }
        let (subscriber, original) = debits[self.random.place(debits.len())].clone();
        let session = self.session("refund");
        let action = Action::Refund { original, services: Vec::new() };
        let command = self.command(now, &session, subscriber, 0, Service::Sms, action);
        self.open(process, command, subscriber);
    }

    /// The same request once more, while it is on its way or long after, and perhaps by another element of the realm.
    fn repeat_something(&mut self, process: &Process) {
        if self.stories.is_empty() {
            return;
        }
        let now = process.charging.clock.now();
        let place = self.random.place(self.stories.len());
        let Some(asked) = self.stories[place].asked.last() else { return };
        let (Progress::Told(before) | Progress::Flying(before, _)) = &asked.progress else { return };
        let flying = matches!(asked.progress, Progress::Flying(..)) && now < asked.command.now.plus_seconds(590);
        let known = flying || now < self.stories[place].remembered;
        if !known || matches!(**before, Outcome::Refused(_)) {
            return;
        }
        let (before, mut command) = (before.clone(), Command { now, ..asked.command.clone() });
        if self.random.once_in(2) {
            command.context.client_host = "pgw9.example.org".into();
        }
        let again = self.charge(&process.charging, &command);
        let given_up = process.charging.journal.has_failed() && *again.outcome == Outcome::Refused(Refusal::TooBusy);
        assert!(given_up || again.outcome == before, "{command:?}\nwas {before:?}\nnow {:?}", again.outcome);
        self.counted.answers_compared += 1;
    }

    fn move_identifier(&mut self, process: &Process, now: Timestamp) {
        let identifier: Identifier = format!("private-{};{}", self.host, self.random.below(4)).parse().unwrap();
        let number = 1 + self.random.below(SUBSCRIBERS);
        let owner = Owner { subscriber: SubscriberId::new(number), group: GroupId::new(number) };
        let charging = &process.charging;
        let tenant = TenantId::default();
        let lsn = process.running.store.edge.point(&charging.journal, now, tenant, &identifier, owner);
        charging.directory.point(tenant, identifier.clone(), (owner.subscriber, owner.group));
        self.moved.entry(identifier).or_default().push((lsn, number));
    }

    /// Records of the desk, together with an audit record: one is there from now on, another perhaps gone.
    fn keep_on_desk(&mut self, process: &Process, now: Timestamp) {
        let key = |number: u64| keys::desk(Drawer::Requests, &[&b"campaign"[..], &number.to_be_bytes()].concat());
        let (written, gone) =
            (key(self.number * 8 + self.random.below(4)), key(self.number * 8 + 4 + self.random.below(4)));
        let value = self.random.next();
        let mut changes = vec![(written, Some(value))];
        if self.random.once_in(2) {
            changes.push((gone.clone(), self.random.once_in(2).then_some(value)));
        }
        let desk = changes.iter().map(|(key, value)| match value {
            Some(value) => DeskRecord::there(key.clone(), value.to_be_bytes()),
            None => DeskRecord::gone(key.clone()),
        });
        let beside = Beside { desk: desk.collect(), ..Beside::default() };
        let lsn = process.running.store.edge.append_alone(&process.charging.journal, now, &beside);
        for (key, value) in changes {
            self.desk.entry(key).or_insert_with(|| vec![(Lsn::new(0), None)]).push((lsn, value));
        }
    }

    /// A tariff version with much to say, so that the log grows and its segments are used again.
    fn publish(&mut self, process: &Process, now: Timestamp) {
        let version = u32::try_from(self.serial()).unwrap();
        let name = format!("campaign-{}", self.number);
        let source = demo::CATALOGUE[0].replace("tariff: start-payg", &format!("tariff: {name}"));
        let mut source = source.replace("version: 2\n", &format!("version: {version}\n"));
        for _ in 0..self.random.below(1500) {
            source.push_str(&format!("# {:016x}{:016x}\n", self.random.next(), self.random.next()));
        }
        let parsed = catalogue::parse(&source).unwrap();
        let (store, name) = (&process.running.store, TariffName::new(&name));
        let lsn = store.edge.publish(&process.charging.journal, now, &name, version, &source);
        store.catalogue.insert(parsed);
        self.published.push((name, version, lsn));
    }

    /// A new account and subscriber; or once more what may have been lost of them.
    fn arrive(&mut self, process: &Process, now: Timestamp, again: Option<u64>) {
        let number = again.unwrap_or_else(|| 1000 + 2 * self.serial() + self.number);
        let (account, record) = demo::subscriber(number).unwrap();
        let (charging, tenant, owner) = (&process.charging, TenantId::default(), Owner::of(&record.subscriber));
        let _ = charging.mutate(owner.group, Change::OpenAccount(Box::new(account)), now);
        let done = charging.mutate(owner.group, Change::PutSubscriber(record.subscriber), now);
        assert!(matches!(*done.outcome, MutationOutcome::Done { .. }), "{:?}", done.outcome);
        let mut lsn = done.lsn;
        for identifier in record.identifiers {
            lsn = process.running.store.edge.point(&charging.journal, now, tenant, &identifier, owner);
            charging.directory.point(tenant, identifier, (owner.subscriber, owner.group));
        }
        self.arrived.retain(|(known, _)| *known != number);
        self.arrived.push((number, lsn));
    }

    /// The element loses its memory and comes back with a higher restart marker.
    fn restart(&mut self, process: &Charging, now: Timestamp) {
        self.state += 1;
        // Sessions that its older lives opened are released, as far as they are open, and remembered for an hour.
        let forgotten = now.plus_seconds(3500);
        for story in self.stories.iter_mut().filter(|story| !story.lost) {
            let session = matches!(story.asked[0].command.action, Action::Start(_));
            if session && !story.over {
                (story.over, story.lost) = (true, true);
                story.remembered = story.remembered.min(forgotten);
            }
        }
        if process.client_seen(&self.host, self.state) {
            process.release_restarted(&[(self.host.clone(), self.state)]);
        }
    }

    /// An initial request for other units under the name of a session that is open.
    fn reopen(&mut self, process: &Charging, now: Timestamp) {
        let ready = |story: &Story| !story.over && !story.is_flying();
        let Some(story) = self.stories.iter_mut().find(|story| ready(story)) else { return };
        (story.over, story.remembered) = (true, Timestamp::default());
        let (first, subscriber) = (story.asked[0].command.clone(), story.subscriber);
        let session = first.session;
        let other = self.subscriber();
        if other != subscriber && self.random.once_in(2) {
            // Word for word what opened the first one, for somebody else.
            let command = self.command(now, &session, other, first.number, Service::Data, first.action);
            return self.open(process, command, other);
        }
        let mut action = self.start();
        if let Action::Start(services) = &mut action {
            // Never the units of the first one.
            services.push(volume(1000 + u32::try_from(self.serial()).unwrap(), None, Requested::Nothing));
        }
        let command = self.command(now, &session, subscriber, 0, Service::Data, action);
        self.open(process, command, subscriber);
    }

    /// The durable mark is here: what it covers was answered.
    fn reach(&mut self, mark: Lsn) {
        for story in &mut self.stories {
            let Some(asked) = story.asked.last_mut() else { continue };
            let Some(outcome) = asked.progress.reach(mark) else { continue };
            let now = asked.command.now;
            let kept = match (&*outcome, &asked.command.action) {
                (Outcome::Refused(_), Action::Update(_)) | (_, Action::CheckBalance(_) | Action::PriceEnquiry(_)) => {
                    story.over = true;
                    0
                }
                (Outcome::Refused(_), _) => {
                    story.over = true;
                    0
                }
                (Outcome::Answered(answered), Action::Update(_)) => {
                    story.over |= answered.session_gone;
                    if answered.session_gone { 0 } else { 7000 }
                }
                (_, Action::Start(_)) => 7000,
                (Outcome::Answered(_), Action::Stop(_)) => 590,
                (_, Action::Debit(_) | Action::Refund { .. } | Action::Record { .. }) => 86_000,
            };
            if !story.lost {
                story.remembered = now.plus_seconds(kept);
            }
        }
        for top_up in &mut self.top_ups {
            let _ = top_up.progress.reach(mark);
        }
        for (_, lsn) in &mut self.arrived {
            if *lsn <= mark {
                *lsn = Lsn::new(0);
            }
        }
    }

    /// The server is gone, and had promised everything up to here.
    fn lose(&mut self, mark: Lsn) {
        self.reach(mark);
        self.stories.iter_mut().flat_map(|story| &mut story.asked).for_each(|asked| asked.progress.lose());
        self.top_ups.iter_mut().for_each(|top_up| top_up.progress.lose());
        for owners in self.moved.values_mut() {
            // What was promised hides all before it; what was not may be there or not.
            let promised = owners.iter().rposition(|(lsn, _)| *lsn <= mark);
            owners.drain(..promised.unwrap_or(0));
            if promised.is_none() {
                owners.insert(0, (Lsn::new(0), 0));
            }
            owners.iter_mut().for_each(|(lsn, _)| *lsn = Lsn::new(0));
        }
        for values in self.desk.values_mut() {
            let promised = values.iter().rposition(|(lsn, _)| *lsn <= mark).unwrap_or(0);
            values.drain(..promised);
            values.iter_mut().for_each(|(lsn, _)| *lsn = Lsn::new(0));
        }
        self.published.retain(|(_, _, lsn)| *lsn <= mark);
        self.published.iter_mut().for_each(|(_, _, lsn)| *lsn = Lsn::new(0));
    }

    /// Every answer is the same again, as long as it is kept.
    fn compare(&mut self, process: &Process) {
        let now = process.charging.clock.now();
        let mut compared = 0;
        for story in self.stories.iter().filter(|story| now < story.remembered) {
            let unsure =
                usize::from(story.asked.last().is_some_and(|asked| matches!(asked.progress, Progress::Unanswered)));
            let answered = story.asked.iter().rev().filter(|asked| asked.answered().is_some());
            for (age, asked) in answered.enumerate() {
                let again = process.charging.charge(Command { now, ..asked.command.clone() });
                let before = asked.progress.told().unwrap();
                let gone = *again.outcome == Outcome::Refused(Refusal::AnswerGone);
                let same = again.outcome == *before && again.repeated;
                let right = if age + unsure < ANSWERS_MAX {
                    same
                } else if age < ANSWERS_MAX {
                    same || gone
                } else {
                    gone
                };
                assert!(right, "answer {age} from the last of {:?}\nwas {before:?}\nnow {again:?}", asked.command);
                compared += 1;
            }
        }
        for top_up in &self.top_ups {
            if let Some(before) = top_up.progress.told() {
                let again = process.charging.mutate(GroupId::new(top_up.account), top_up.mutation(), now);
                assert!(again.outcome == *before && again.repeated, "{top_up:?}\nnow {again:?}");
                compared += 1;
            }
        }
        self.counted.answers_compared += compared;
    }

    /// Repeats what was not answered, as a client that lost its server does.
    fn repeat_unanswered(&mut self, process: &Process) {
        let charging = &process.charging;
        let now = charging.clock.now();
        for story in &mut self.stories {
            let Some(asked) = story.asked.last_mut() else { continue };
            if !matches!(asked.progress, Progress::Unanswered) {
                continue;
            }
            if story.lost {
                // Nobody repeats it. If it was done nevertheless, this is what it was answered.
                let (session, kind) = (&asked.command.session, asked.command.action.kind());
                let group = GroupId::new(story.subscriber);
                let done = charging.archive.with(&charging.shards, group, asked.command.clone(), |shard, command| {
                    let answer = shard.session(session)?.answer(kind, command.number)?;
                    (answer.digest == command.digest).then(|| answer.outcome.clone())
                });
                match done.unwrap() {
                    Some(outcome) => asked.progress = Progress::Told(outcome),
                    None => drop(story.asked.pop()),
                }
                continue;
            }
            asked.command.now = now;
            let charged = charging.charge(asked.command.clone());
            asked.progress = Progress::of(&charged);
            self.counted.unanswered_repeated += 1;
        }
        for top_up in &mut self.top_ups {
            if matches!(top_up.progress, Progress::Unanswered) {
                top_up.progress = Progress::of(&charging.mutate(GroupId::new(top_up.account), top_up.mutation(), now));
                self.counted.unanswered_repeated += 1;
            }
        }
        let arriving = self.arrived.iter().filter(|(_, lsn)| lsn.get() > 0).map(|(number, _)| *number);
        for number in arriving.collect::<Vec<_>>() {
            self.arrive(process, now, Some(number));
        }
    }

    /// What belongs to no account is there, too.
    fn check_edge(&mut self, process: &Process) {
        for (identifier, owners) in &mut self.moved {
            let found = process.charging.directory.find(TenantId::default(), identifier);
            let found = found.map_or(0, |(subscriber, _)| subscriber.get());
            assert!(owners.iter().any(|(_, owner)| *owner == found), "{identifier} is {found}'s, promised {owners:?}");
            // Whatever is there counts as promised from now on.
            *owners = vec![(Lsn::new(0), found)];
        }
        for (key, values) in &mut self.desk {
            let found = process.running.store.edge.desk_record(key);
            let found = found.map(|octets| u64::from_be_bytes((*octets).try_into().unwrap()));
            assert!(values.iter().any(|(_, value)| *value == found), "{key:02x?} is {found:?}, promised {values:?}");
            *values = vec![(Lsn::new(0), found)];
        }
        for (name, version, _) in &self.published {
            assert!(process.running.store.catalogue.get(name, *version).is_some(), "tariff {name} {version} is gone");
        }
    }
}

/// Every account as it is, by number.
fn accounts(charging: &Charging) -> BTreeMap<AccountId, Account> {
    let mut all = BTreeMap::new();
    for index in 0..charging.shards.len() {
        charging.shards.with_index(index, |shard| {
            all.extend(shard.accounts().map(|account| (account.id, account.clone())));
        });
    }
    all
}

/// Nothing is unanswered: every account has moved by exactly what its owner was told.
fn check_money(charging: &Charging, clients: &[Client]) {
    let mut told: BTreeMap<u64, [i64; 4]> = BTreeMap::new();
    for client in clients {
        for story in &client.stories {
            let (charged, refunded) = story.micros();
            let sums = told.entry(story.subscriber).or_default();
            sums[0] += charged;
            sums[1] += refunded;
            let used = story.used();
            sums[3] += tariff::session_octets(story.subscriber, &used);
            let session = story.asked.first().is_some_and(|asked| matches!(asked.command.action, Action::Start(_)));
            if session {
                let expected = tariff::session_micros(story.subscriber, &used);
                assert_eq!(charged, expected, "a session of {used:?}: {story:?}");
            }
        }
        for top_up in client.top_ups.iter().filter(|top_up| top_up.progress.told().is_some()) {
            assert!(matches!(**top_up.progress.told().unwrap(), MutationOutcome::Done { .. }), "{top_up:?}");
            told.entry(top_up.account).or_default()[2] += top_up.micros;
        }
    }
    for account in accounts(charging).into_values() {
        let moved = [
            account.total(Holding::Money, Flow::Debit),
            account.total(Holding::Money, Flow::Refund),
            account.total(Holding::Money, Flow::TopUp),
            account.total(Holding::Units(Unit::Octet), Flow::Debit),
        ];
        let told = told.remove(&account.id.get()).unwrap_or_default();
        assert_eq!(moved, told, "debits, refunds, top-ups and octets of account {}, done and told", account.id);
    }
    assert!(told.values().all(|sums| *sums == [0; 4]), "told of accounts that are not there: {told:?}");
}

/// The hash chain as earlier lives have seen it.
#[derive(Default)]
struct Chain(Vec<(CdrPosition, String)>);

impl Chain {
    fn go_on(&mut self, loaded: &Loaded, report: &audit::Report) {
        for (position, before) in &self.0 {
            let mut reader = loaded.store.cdrs.reader(*position).unwrap();
            let record = reader.read_next().unwrap().expect("a CDR that was there");
            assert_eq!((record.position, record.chain.to_string()), (*position, before.clone()), "the chain goes on");
        }
        if report.last_position > 0 {
            self.0.push((CdrPosition::new(report.last_position), report.chain.clone()));
        }
    }
}

fn audited(loaded: &Loaded, chain: &mut Chain) -> audit::Report {
    let report = audit::audit(loaded, |_| ()).unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings);
    assert_eq!(report.cdrs, report.last_position, "no position is missing");
    chain.go_on(loaded, &report);
    report
}

/// Starts on what is left, checks everything that was promised, and has the clients repeat what was not answered.
fn recover(machine: &Machine, clients: &mut [Client], chain: &mut Chain, now: Timestamp) -> (Process, Found) {
    let loaded = machine.load(now).unwrap_or_else(|error| panic!("it does not start: {error}"));
    let found = loaded.found;
    audited(&loaded, chain);
    let process = machine.run(loaded, now);
    let before = accounts(&process.charging);
    clients.iter_mut().for_each(|client| {
        client.check_edge(&process);
        client.compare(&process);
    });
    assert!(before == accounts(&process.charging), "a repeat moved something");
    clients.iter_mut().for_each(|client| client.repeat_unanswered(&process));
    process.wait();
    clients.iter_mut().for_each(|client| client.reach(process.durable()));
    check_money(&process.charging, clients);
    (process, found)
}

fn story(seed: u64) -> Counted {
    let mut random = Random(seed);
    let mut machine = Machine::filled(seed ^ 0xD15C);
    let mut clients = [Client::new(0, random.fork()), Client::new(1, random.fork())];
    let mut chain = Chain::default();
    let mut counted = Counted::default();
    let mut now = BEGIN;
    for _ in 0..LIVES {
        if random.once_in(4) {
            // A start that the disk does not live through.
            machine.disk.fail_after(1 + random.below(30));
            if let Ok(loaded) = machine.load(now) {
                drop(audit::audit(&loaded, |_| ()));
            }
            let crash = if random.once_in(2) { Crash::Kill } else { Crash::PowerLoss };
            machine.crash(crash, &mut random);
        }
        let (process, found) = recover(&machine, &mut clients, &mut chain, now);
        counted.torn_tails += u64::from(found.torn_tail);
        counted.cut_logs += u64::from(process.running.store.log.position().first_lsn > Lsn::new(1));
        let crash = if random.once_in(2) { Crash::Kill } else { Crash::PowerLoss };
        let steps = 50 + random.below(1200);
        // The disk fails by itself, the machine goes down from outside, or both clients come to an end first.
        let sudden = match random.below(5) {
            0..2 => {
                machine.disk.fail_after(1 + random.below(600));
                None
            }
            2 => {
                machine.disk.fail_sync_after(random.below(200));
                None
            }
            3 => Some(Duration::from_micros(random.below(120_000))),
            _ => None,
        };
        let mut sweeping = random.fork();
        std::thread::scope(|scope| {
            for client in &mut clients {
                let process = &process;
                scope.spawn(move || {
                    for _ in 0..steps {
                        client.act(process);
                        if process.has_failed() {
                            break;
                        }
                    }
                });
            }
            let process = &process;
            scope.spawn(move || {
                for _ in 0..sweeping.below(6) {
                    std::thread::sleep(Duration::from_micros(sweeping.below(15_000)));
                    if !process.running.checkpoint() {
                        break;
                    }
                }
            });
            if let Some(after) = sudden {
                std::thread::sleep(after);
                machine.crash(crash, &mut random);
            }
        });
        if sudden.is_none() {
            machine.crash(crash, &mut random);
        }
        let (mark, later) = process.end();
        now = later;
        clients.iter_mut().for_each(|client| client.lose(mark));
        counted.crashes += 1;
    }
    let (process, _) = recover(&machine, &mut clients, &mut chain, now);
    for client in &mut clients {
        let open = client.stories.iter().enumerate().filter(|(_, story)| !story.over && !story.is_flying());
        for place in open.map(|(place, _)| place).collect::<Vec<_>>() {
            client.step(&process.charging, now, place, true);
        }
    }
    process.wait();
    clients.iter_mut().for_each(|client| client.reach(process.durable()));
    check_money(&process.charging, &clients);
    // Sessions whose client has lost its memory end in silence.
    let mut late = now;
    for _ in 0..4 {
        late = process.charging.clock.advance(3_600_000).unwrap();
        process.charging.expire(late);
    }
    assert_eq!(process.charging.sums(), (0, 0), "nothing is open and nothing is held");
    check_money(&process.charging, &clients);
    assert_eq!(process.failures.load(Ordering::SeqCst), 0, "nothing fails on a sound disk");
    process.end();
    let loaded = machine.load(late).unwrap();
    assert_eq!(
        (loaded.found.replayed, loaded.found.torn_tail),
        (0, false),
        "an end in good order leaves nothing to do"
    );
    let report = audited(&loaded, &mut chain);
    assert_eq!((report.open_sessions, report.reserved_micros), (0, 0));
    counted.cdrs = report.cdrs;
    clients.iter().for_each(|client| counted += client.counted);
    counted
}

#[test]
fn what_was_answered_survives_every_crash_once_and_adds_up() {
    let (first, cases) = (setting("CAMPAIGN_SEED", 1), setting("CAMPAIGN_CASES", 12));
    let (until, began) = (deadline(), Instant::now());
    let (mut counted, mut told) = (Counted::default(), 0);
    for seed in first..first + cases {
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        match std::thread::spawn(move || story(seed)).join() {
            Ok(one) => counted += one,
            Err(_) => panic!("the story of CAMPAIGN_SEED={seed} failed (CAMPAIGN_CASES=1 tells it alone)"),
        }
        told += 1;
        if told % 20 == 0 {
            println!("{told} cases, {:?}", began.elapsed());
        }
    }
    println!("faults: {told} cases from seed {first}: {counted:?}, {:?}", began.elapsed());
}

/// A system over a sound disk that has done something, and what its log looks like.
fn worked(seed: u64) -> (Machine, Timestamp) {
    let mut random = Random(seed);
    let machine = Machine::filled(seed);
    let process = machine.run(machine.load(BEGIN).unwrap(), BEGIN);
    let mut client = Client::new(0, random.fork());
    for _ in 0..200 {
        client.act(&process);
        if random.once_in(4) {
            process.wait();
        }
    }
    process.wait();
    assert!(process.running.checkpoint());
    let (_, now) = process.end();
    (machine, now)
}

#[test]
fn a_flipped_bit_in_the_middle_of_the_log_is_refused_with_file_and_offset() {
    let until = deadline();
    let mut random = Random(setting("CAMPAIGN_SEED", 1));
    for _ in 0..setting("CAMPAIGN_CASES", 12) {
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        let (machine, now) = worked(random.next());
        let loaded = machine.load(now).unwrap();
        let used = loaded.store.log.tail_octets();
        drop(loaded);
        let mut names = machine.disk.list(Path::new(LOG)).unwrap();
        names.retain(|name| name.ends_with(".segment"));
        names.sort_unstable();
        let segment = Path::new(LOG).join(&names[0]);
        let sound = machine.disk.contents(&segment).unwrap();
        // Behind the header, and far enough from the end that intact frames follow.
        let at = 4096 + random.below(used.min(500_000) / 2);
        let mut octets = sound.clone();
        octets[usize::try_from(at).unwrap()] ^= 1 << random.below(8);
        machine.disk.plant(&segment, &octets);
        let refused = machine.load(now).err().expect("a damaged log is refused").to_string();
        assert!(refused.contains(&segment.display().to_string()), "names the file: {refused}");
        let words = refused.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok());
        let near = words.into_iter().any(|offset| offset <= at && at - offset < 128 << 10);
        assert!(near && refused.contains("octet"), "names the place near {at}: {refused}");
        machine.disk.plant(&segment, &sound);
        assert!(audit::audit(&machine.load(now).unwrap(), |_| ()).unwrap().is_clean(), "and nothing was touched");
    }
}

/// Has the disk fail while a client works, and checks that nothing that came after is ever shown.
fn nothing_is_answered_after(fail: impl Fn(&FaultDisk, &mut Random)) {
    let mut random = Random(setting("CAMPAIGN_SEED", 1) ^ 0xFA11);
    let (mut failed_logs, until) = (0, deadline());
    for _ in 0..setting("CAMPAIGN_CASES", 12) {
        if failed_logs > 0 && until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        let mut machine = Machine::filled(random.next());
        let mut clients = [Client::new(0, random.fork())];
        let process = machine.run(machine.load(BEGIN).unwrap(), BEGIN);
        fail(&machine.disk, &mut random);
        // However slow the machine is: what is done meanwhile is bounded by the journal.
        let patience = Instant::now() + Duration::from_secs(120);
        while !process.has_failed() && Instant::now() < patience {
            clients[0].act(&process);
        }
        assert!(process.has_failed(), "the process is told to end");
        let charging = process.charging.clone();
        let stopped = process.durable();
        let (session, now) = (SessionId::new(b"too;late"), charging.clock.now());
        // It may also have been the CDR store that failed: then the log is sound, and what is answered is there.
        if charging.journal.has_failed() {
            failed_logs += 1;
            let start = clients[0].start();
            let command = clients[0].command(now, &session, 5, 0, Service::Data, start);
            let late = charging.charge(command);
            assert_eq!(*late.outcome, Outcome::Refused(Refusal::TooBusy));
            let paid = TopUp { account: 5, micros: 1, key: "too;late".to_owned(), progress: Progress::Unanswered };
            let paid = charging.mutate(GroupId::new(5), paid.mutation(), now);
            for lsn in [paid.lsn, charging.journal.appended_lsn()] {
                assert!(charging.journal.mark().wait_for(lsn).is_err(), "{lsn} is never reached");
            }
            assert_eq!(process.durable(), stopped, "the mark stays");
        }
        machine.crash(Crash::PowerLoss, &mut random);
        let (mark, now) = process.end();
        clients[0].lose(mark);
        let (process, _) = recover(&machine, &mut clients, &mut Chain::default(), now);
        assert!(process.charging.directory.session(&session).is_none());
        process.end();
    }
    assert!(failed_logs > 0, "no log failed");
}

#[test]
fn a_failed_write_stops_everything_and_nothing_more_is_answered() {
    nothing_is_answered_after(|disk, random| disk.fail_after(1 + random.below(100)));
}

#[test]
fn a_failed_sync_stops_everything_and_nothing_more_is_answered() {
    nothing_is_answered_after(|disk, random| disk.fail_sync_after(random.below(50)));
}

#[test]
fn a_session_id_used_for_another_subscriber_is_another_session_also_after_restarts() {
    let mut machine = Machine::new(setting("CAMPAIGN_SEED", 1));
    // Everybody in one shard.
    machine.config.limits.shards = 1;
    let loaded = machine.load(BEGIN).unwrap();
    let mut filling = Filling::over(&machine.config, loaded, Arc::new(Clock::manual(BEGIN))).unwrap();
    filling.demo(SUBSCRIBERS, |_| ()).unwrap();
    filling.finish();
    let process = machine.run(machine.load(BEGIN).unwrap(), BEGIN);
    let client = Client::new(0, Random(1));
    // Two that pay for what they use, of different groups.
    let (first, second, id) = (1, 2, SessionId::new(b"used;twice"));
    let reserved =
        |process: &Process, who: u64| accounts(&process.charging)[&AccountId::new(who)].reserved_money().micros();
    let balance = |process: &Process, who: u64| {
        let account = accounts(&process.charging)[&AccountId::new(who)].clone();
        account
            .buckets
            .iter()
            .filter(|bucket| bucket.holding == Holding::Money)
            .map(|bucket| bucket.balance)
            .sum::<i64>()
    };
    let start = |client: &Client, who| {
        let wanted = Units { total_octets: Some(1_000_000), ..Units::default() };
        let services = vec![volume(RATING_GROUPS[0], None, Requested::Units(wanted))];
        client.command(BEGIN, &id, who, 0, Service::Data, Action::Start(services))
    };
    let before = [first, second].map(|who| balance(&process, who));
    let opened = process.charging.charge(start(&client, first));
    assert!(reserved(&process, first) > 0 && !opened.repeated);
    // On the state's disk it is open.
    process.wait();
    assert!(process.running.checkpoint());
    let opened = process.charging.charge(start(&client, second));
    assert!(!opened.repeated, "word for word the first one's request, and no repeat of it");
    assert_eq!(reserved(&process, first), 0, "the first one's session is over");
    assert!(reserved(&process, second) > 0);
    let used = vec![volume(RATING_GROUPS[0], Some(5_000_000), Requested::Nothing)];
    let used = client.command(BEGIN, &id, second, 1, Service::Data, Action::Update(used));
    let _ = process.charging.charge(used);
    let after = [first, second].map(|who| balance(&process, who));
    assert_eq!(after[0], before[0], "it is not the first one's usage");
    assert!(after[1] < before[1]);
    let again = process.charging.charge(start(&client, second));
    assert!(again.repeated, "the second one's repeat gets the second one's answer");
    let held = reserved(&process, second);
    let check = |loaded: &Loaded| {
        let seen = [first, second].map(|who| {
            loaded.shards.with(GroupId::new(who), |shard| {
                (shard.open_sessions(), shard.account(AccountId::new(who)).unwrap().reserved_money().micros())
            })
        });
        assert_eq!(seen, [(1, 0), (1, held)], "one session, and who pays for it");
        assert_eq!(loaded.directory.session(&id), Some(GroupId::new(second)));
        let report = audit::audit(loaded, |_| ()).unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
    };
    process.wait();
    machine.crash(Crash::Kill, &mut Random(7));
    process.end();
    let loaded = machine.load(BEGIN).unwrap();
    check(&loaded);
    // Now all is carried to the state: the first one's record, open there, is gone.
    let process = machine.run(loaded, BEGIN);
    assert!(process.running.checkpoint());
    let is_there = |group: u64| {
        let mut key = Vec::new();
        balance_store::keys::entity(&mut key, GroupId::new(group), &EntityKey::Session(id.clone()));
        machine.state.get(Family::Sessions, &key).unwrap().is_some()
    };
    assert_eq!([first, second].map(is_there), [false, true]);
    machine.crash(Crash::Kill, &mut Random(7));
    process.end();
    check(&machine.load(BEGIN).unwrap());
}
