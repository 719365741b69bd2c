//! The one use case on a disk in memory: who is routed where, what a restarted client loses, and what is never waited
//! for.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance_store::{Disk, DiskFile, FaultDisk, Lsn, MemoryState};
use diameter::gy::client::{Ccr, Kind};
use diameter::{Message, PeerFacts};
use diameter_tcp::{Handler, PeerEvent};
use ocs::charging::{Charged, Charging};
use ocs::clock::Clock;
use ocs::config::Config;
use ocs::control::ControlTotals;
use ocs::gy::{GyFront, GyHandler};
use ocs::operations::Desk;
use ocs::publishing::Publisher;
use ocs::rerating::Rerater;
use ocs::setup::Filling;
use ocs::store::{self, Loaded, Running};
use ocs::telemetry::Telemetry;
use ocs::{audit, demo};
use ocs_api::{
    AccountSelector, ApprovalOperations, ApprovalRefusal, ApprovalStanding, Caller, Ceiling, OperationError,
    Operations, Selection, TopUp,
};
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use parking_lot::{Mutex, MutexGuard};
use rating_engine::account::{Flow, Total};
use rating_engine::command::{Action, Command, Outcome, Profile, Refusal, Requested, ServiceRequest, Used};
use rating_engine::context::Context;
use rating_engine::ids::{AccountId, GroupId, Identifier, SessionId, SubscriberId, TenantId};
use rating_engine::money::{Currency, Money};
use rating_engine::shard::Image;
use rating_engine::tariff::Service;
use rating_engine::time::Timestamp;
use rating_engine::units::Units;

use campaign::volume;

const BEGIN: Timestamp = Timestamp::from_seconds(1_800_000_000);
const SUBSCRIBERS: u64 = 9;

/// What outlives a process.
struct Machine {
    config: Config,
    disk: FaultDisk,
    state: Arc<MemoryState>,
}

impl Machine {
    fn new() -> Self {
        let mut config = Config::default();
        config.data.log_segment_mib = 1;
        config.data.log_tail_mib_max = 4;
        config.limits.shards = 4;
        let machine = Self { config, disk: FaultDisk::new(1), state: Arc::default() };
        let mut filling = Filling::over(&machine.config, machine.load(), Arc::new(Clock::manual(BEGIN))).unwrap();
        filling.demo(SUBSCRIBERS, |_| ()).unwrap();
        filling.finish();
        machine
    }

    fn load(&self) -> Loaded {
        self.load_on(Arc::new(self.disk.clone()))
    }

    fn load_on(&self, disk: Arc<dyn Disk>) -> Loaded {
        let (log, cdrs) = (Path::new("data/log"), Path::new("data/cdr"));
        store::load_from(&self.config, None, disk, log, cdrs, self.state.clone(), BEGIN).unwrap()
    }

    fn run(&self) -> Running {
        self.run_on(Arc::new(self.disk.clone()))
    }

    fn run_on(&self, disk: Arc<dyn Disk>) -> Running {
        let failed: balance_store::FailureHook = Arc::new(|error| panic!("{error}"));
        let clock = Arc::new(Clock::manual(BEGIN));
        store::run(&self.config, self.load_on(disk), clock, Arc::new(Telemetry::new()), failed).unwrap()
    }
}

/// A disk on which nothing is synced while somebody holds it up.
#[derive(Clone)]
struct SlowDisk {
    disk: FaultDisk,
    gate: Arc<Mutex<()>>,
}

struct SlowFile {
    file: Arc<dyn DiskFile>,
    gate: Arc<Mutex<()>>,
}

impl SlowDisk {
    fn new(disk: &FaultDisk) -> Self {
        Self { disk: disk.clone(), gate: Arc::default() }
    }

    fn hold_up(&self) -> MutexGuard<'_, ()> {
        self.gate.lock()
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(SlowFile { file, gate: self.gate.clone() })
    }
}

impl Disk for SlowDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.disk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.disk.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }

    fn sync_dir(&self, folder: &Path) -> io::Result<()> {
        self.disk.sync_dir(folder)
    }
}

impl DiskFile for SlowFile {
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(octets, offset)
    }

    fn read_at(&self, octets: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(octets, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let _held = self.gate.lock();
        self.file.sync_data()
    }

    fn set_len(&self, octets: u64) -> io::Result<()> {
        self.file.set_len(octets)
    }

    fn octets(&self) -> io::Result<u64> {
        self.file.octets()
    }
}

/// Fills the journal until it is saturated, on a disk that is held up.
fn saturate(charging: &Charging) {
    let mut number = 0u64;
    while !charging.journal.is_saturated() {
        number += 1;
        let _ = charging.charge(start(&format!("fill;{number}"), 1 + number % SUBSCRIBERS));
    }
}

fn identifier(subscriber: u64) -> Identifier {
    format!("imsi-{}", demo::imsi(subscriber)).parse().unwrap()
}

fn command(session: &str, subscriber: u64, number: u32, action: Action) -> Command {
    let digest = format!("{subscriber} {action:?}")
        .bytes()
        .fold(7, |digest: u64, octet| digest.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(octet));
    Command {
        now: BEGIN,
        event_time: Some(BEGIN),
        session: SessionId::new(session.as_bytes()),
        number,
        digest,
        client_state: 0,
        subscriber: SubscriberId::default(),
        profile: Profile::STANDARD,
        command_level: false,
        context: Context {
            service: Service::Data,
            service_context: "32251@3gpp.org".into(),
            client_host: "pgw.example.org".into(),
            client_realm: "example.org".into(),
            identifiers: vec![identifier(subscriber)],
            equipment: None,
            correlation: None,
            packet: None,
            ims: None,
            sms: None,
        },
        action,
    }
}

fn start(session: &str, subscriber: u64) -> Command {
    let octets = Units { total_octets: Some(1 << 20), ..Units::default() };
    command(session, subscriber, 0, Action::Start(vec![volume(10, None, Requested::Units(octets))]))
}

fn event(session: &str, subscriber: u64) -> Command {
    let units = Units { events: Some(1), ..Units::default() };
    let request = ServiceRequest { requested: Requested::Units(units), ..ServiceRequest::default() };
    let mut command = command(session, subscriber, 0, Action::Debit(vec![request]));
    command.context.service = Service::Sms;
    command
}

/// Whether a subscriber's group has this session open.
fn is_open(charging: &Charging, subscriber: u64, session: &str) -> bool {
    let id = SessionId::new(session.as_bytes());
    charging.shards.with(GroupId::new(subscriber), |shard| {
        shard.session(&id).is_some_and(|known| known.subscriber.get() == subscriber && known.is_open())
    })
}

fn is_answered(charged: &Charged) -> bool {
    matches!(*charged.outcome, Outcome::Answered(_))
}

/// What a Gy client sends, through the handler of a connection of `peer`.
fn send(handler: &mut GyHandler, peer: &PeerFacts, ccr: &Ccr<'_>) {
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    ccr.encode(&mut request).unwrap();
    let _ = handler.handle(peer, &Message::parse(&request).unwrap(), Instant::now(), &mut answer);
    assert!(!answer.is_empty());
}

/// The operations of a running system.
fn desk(running: &Running) -> Desk {
    let durable = running.charging.journal.mark();
    let (told, mark) = tokio::sync::watch::channel(durable.get().get());
    durable.on_advance(move |lsn| {
        told.send_replace(lsn.get());
    });
    let publisher = Publisher::open(running.charging.clone(), running.store.catalogue.clone(), true).unwrap();
    let (edge, cdrs) = (&running.store.edge, running.store.cdrs.clone());
    let control = ControlTotals::open(edge, cdrs, running.partition).unwrap();
    Desk::new(running, mark, Arc::new(publisher), Arc::new(Rerater::new(running, true)), Arc::new(control))
}

fn top_up(account: wire::top_up_request::Account, key: &str) -> TopUp {
    let request = wire::TopUpRequest {
        account: Some(account),
        amount: Some(common::Money { mantissa: 500, scale: 2, currency: "EUR".into() }),
        idempotency_key: key.into(),
        reason: "test".into(),
        ..wire::TopUpRequest::default()
    };
    TopUp::parse(request).unwrap()
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "never came true: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_client_that_tells_its_restart_only_when_it_connects_loses_its_sessions() {
    let machine = Machine::new();
    let running = machine.run();
    let charging = running.charging.clone();
    let front = Arc::new(GyFront::new(charging.clone(), &machine.config.gy).unwrap());
    let mut handler = GyHandler::new(front);
    let mut peer = PeerFacts {
        host: "smf.example.org".to_owned(),
        realm: "example.org".to_owned(),
        product: "freeDiameter".to_owned(),
        vendor: 0,
        firmware: None,
        origin_state: Some(100),
    };
    let identifiers = [identifier(1)];
    let services = [volume(10, None, Requested::Any)];
    let initial = Ccr {
        session: "smf;1",
        host: "SMF.example.org",
        realm: "example.org",
        destination_realm: "example.org",
        service_context: "32251@3gpp.org",
        kind: Kind::Initial,
        identifiers: &identifiers,
        services: &services,
        ..Ccr::default()
    };
    handler.on_event(&PeerEvent::Opened(&peer));
    send(&mut handler, &peer, &initial);
    // Another host behind this peer has told nothing about itself.
    let behind = [identifier(2)];
    send(&mut handler, &peer, &Ccr { session: "other;1", host: "other.example.org", identifiers: &behind, ..initial });
    assert!(is_open(&charging, 1, "smf;1") && is_open(&charging, 2, "other;1"));
    handler.on_event(&PeerEvent::Opened(&peer));
    peer.origin_state = Some(101);
    handler.on_event(&PeerEvent::Opened(&peer));
    eventually("the session is released", || !is_open(&charging, 1, "smf;1"));
    assert!(is_open(&charging, 2, "other;1"));
    running.shutdown();
}

#[test]
fn nobody_ends_a_session_of_another_group_without_opening_one() {
    let machine = Machine::new();
    let running = machine.run();
    let charging = &running.charging;
    assert!(is_answered(&charging.charge(start("pgw;1", 1))));
    // An event, and an enquiry, of another subscriber under the same id.
    let refused = charging.charge(event("pgw;1", 2));
    assert_eq!(*refused.outcome, Outcome::Refused(Refusal::KeyReused));
    let octets = Units { total_octets: Some(1), ..Units::default() };
    let request = volume(10, None, Requested::Units(octets));
    let enquiry = command("pgw;1", 2, 0, Action::CheckBalance(vec![request]));
    assert_eq!(*charging.charge(enquiry).outcome, Outcome::Refused(Refusal::KeyReused));
    // A start that is refused: there is nothing that it could be charged by.
    let mut nobody = start("pgw;1", 2);
    charging.tariffs.store(Arc::default());
    nobody.digest ^= 1;
    assert_eq!(*charging.charge(nobody).outcome, Outcome::Refused(Refusal::RatingFailed));
    charging.tariffs.store(Arc::new(running.store.catalogue.tariffs()));
    assert!(is_open(charging, 1, "pgw;1"));
    assert_eq!(charging.directory.session(&SessionId::new(b"pgw;1")), Some(GroupId::new(1)));
    // A start that is answered and denied at command level: subscriber 3's group has nothing to do with it either.
    let mut denied = start("pgw;1", 2);
    denied.command_level = true;
    let Action::Start(requests) = &mut denied.action else { unreachable!() };
    requests[0] = volume(4711, None, Requested::Any);
    denied.context.service = Service::Mms;
    let answered = charging.charge(denied);
    assert!(is_answered(&answered), "{:?}", answered.outcome);
    assert!(!is_open(charging, 2, "pgw;1"));
    assert!(is_open(charging, 1, "pgw;1"));
    assert_eq!(charging.directory.session(&SessionId::new(b"pgw;1")), Some(GroupId::new(1)));
    running.shutdown();
}

#[test]
fn a_start_that_succeeds_takes_the_id_over_also_after_a_restart() {
    let machine = Machine::new();
    let running = machine.run();
    let charging = &running.charging;
    assert!(is_answered(&charging.charge(start("pgw;1", 1))));
    let taken = charging.charge(start("pgw;1", 2));
    assert!(is_answered(&taken));
    assert_eq!(taken.lsn, charging.journal.appended_lsn(), "it waits for the release, too");
    assert!(is_open(charging, 2, "pgw;1") && !is_open(charging, 1, "pgw;1"));
    // The first one comes late, once more: it gets its answer and changes nothing.
    assert!(charging.charge(start("pgw;1", 1)).repeated);
    assert!(is_open(charging, 2, "pgw;1"));
    assert_eq!(charging.directory.session(&SessionId::new(b"pgw;1")), Some(GroupId::new(2)));
    running.shutdown();
    for _ in 0..3 {
        let running = machine.run();
        assert_eq!(running.charging.directory.session(&SessionId::new(b"pgw;1")), Some(GroupId::new(2)));
        running.shutdown();
    }
}

/// The one whose id was taken was released after the other one began, and had said more: it is not the later one for that.
#[test]
fn reports_after_a_restart_are_charged_to_whoever_opened_the_id_last() {
    let machine = Machine::new();
    let running = machine.run();
    let charging = &running.charging;
    let at = |seconds, command| Command { now: BEGIN.plus_seconds(seconds), ..command };
    assert!(is_answered(&charging.charge(at(0, start("pgw;1", 1)))));
    let asks = || vec![volume(10, Some(1000), Requested::Any)];
    assert!(is_answered(&charging.charge(at(1, command("pgw;1", 1, 1, Action::Update(asks()))))));
    assert!(is_answered(&charging.charge(at(2, start("pgw;1", 2)))));
    running.shutdown();
    let running = machine.run();
    let charging = &running.charging;
    assert_eq!(charging.directory.session(&SessionId::new(b"pgw;1")), Some(GroupId::new(2)));
    assert!(is_answered(&charging.charge(at(3, command("pgw;1", 2, 1, Action::Stop(asks()))))));
    assert!(!is_open(charging, 2, "pgw;1"));
    running.shutdown();
}

/// Two subscribers in turn under one id, word for word the same: the third start is a copy of the first, and is answered as
/// such. What then is reported for the first one is not charged to the second, who has the id.
#[test]
fn a_report_is_not_charged_to_whoever_took_the_id() {
    let machine = Machine::new();
    for (first, second) in [(1, 2), (1, 3), (1, 4), (1, 5), (1, 6)] {
        let running = machine.run();
        let charging = &running.charging;
        let id = format!("pgw;{second}");
        assert!(is_answered(&charging.charge(start(&id, first))));
        assert!(is_answered(&charging.charge(start(&id, second))));
        let _ = charging.charge(start(&id, first));
        // In another shard the first one's session is over and the second one has the id; in the same shard it has begun anew.
        let began_anew = is_open(charging, first, &id);
        let report = || Action::Update(vec![volume(10, Some(5_000_000), Requested::Any)]);
        let charged = charging.charge(command(&id, first, 1, report()));
        if began_anew {
            assert!(is_answered(&charged));
        } else {
            assert_eq!(*charged.outcome, Outcome::Refused(Refusal::UnknownSession));
            assert!(is_answered(&charging.charge(command(&id, second, 1, report()))), "the second one goes on");
        }
        running.shutdown();
        // The same after a restart.
        let running = machine.run();
        let charging = &running.charging;
        let charged = charging.charge(command(&id, first, 2, report()));
        assert_eq!(is_answered(&charged), began_anew, "{:?}", charged.outcome);
        running.shutdown();
    }
}

#[test]
fn a_refusal_for_want_of_a_disk_does_not_wait_for_that_disk() {
    let mut machine = Machine::new();
    machine.config.limits.batch_mib_max = 1;
    let disk = SlowDisk::new(&machine.disk);
    let running = machine.run_on(Arc::new(disk.clone()));
    let charging = &running.charging;
    let held = disk.hold_up();
    saturate(charging);
    let refused = charging.charge(start("one;more", 1));
    assert_eq!(*refused.outcome, Outcome::Refused(Refusal::TooBusy));
    assert!(refused.lsn <= charging.journal.mark().get(), "{} is not durable", refused.lsn);
    drop(held);
    running.shutdown();
}

#[tokio::test]
async fn people_find_accounts_by_number_and_by_every_identifier() {
    let machine = Machine::new();
    let running = machine.run();
    let desk = desk(&running);
    assert!(is_answered(&running.charging.charge(start("pgw;1", 1))));
    let by_id =
        desk.top_up(Caller::named("test"), top_up(wire::top_up_request::Account::AccountId(1), "one")).await.unwrap();
    let msisdn = format!("msisdn-{}", demo::msisdn(1));
    let named = top_up(wire::top_up_request::Account::Identifier(msisdn.clone()), "two");
    let by_name = desk.top_up(Caller::named("test"), named.clone()).await.unwrap();
    assert_eq!(by_name.balance.micros(), by_id.balance.micros() + 5_000_000);
    assert!(desk.top_up(Caller::named("test"), named).await.unwrap().repeated);
    let account = AccountSelector::Identifier(msisdn.parse().unwrap());
    let shown = desk.account(Selection { tenant: TenantId::default(), account }).await.unwrap();
    assert_eq!((shown.account.id.get(), shown.sessions.len(), shown.subscribers.len()), (1, 1, 1));
    assert_eq!(shown.subscribers[0].identifiers, [msisdn.parse().unwrap(), identifier(1)]);
    running.shutdown();
}

#[test]
fn expiry_and_release_give_way_while_the_disk_is_behind() {
    let mut machine = Machine::new();
    machine.config.limits.batch_mib_max = 1;
    let disk = SlowDisk::new(&machine.disk);
    let running = machine.run_on(Arc::new(disk.clone()));
    let charging = running.charging.clone();
    let held = disk.hold_up();
    saturate(&charging);
    let before = charging.journal.appended_lsn();
    let expiring = {
        let charging = charging.clone();
        std::thread::spawn(move || charging.expire(BEGIN.plus_seconds(100_000)))
    };
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(charging.journal.appended_lsn(), before, "it waits");
    drop(held);
    assert!(expiring.join().unwrap() > 0);
    running.shutdown();
}

#[test]
fn sessions_that_were_heard_of_since_are_put_off_a_few_at_a_time() {
    let machine = Machine::new();
    let running = machine.run();
    let charging = &running.charging;
    let names: Vec<String> = (0..100).map(|number| format!("pgw;{number}")).collect();
    names.iter().for_each(|name| assert!(is_answered(&charging.charge(start(name, 1)))));
    let group = GroupId::new(1);
    let deadline = charging.shards.with(group, |shard| {
        let id = SessionId::new(names[0].as_bytes());
        shard.session(&id).unwrap().deadline()
    });
    for name in &names {
        let mut update = command(name, 1, 1, Action::Update(vec![volume(10, Some(0), Requested::Any)]));
        update.now = Timestamp::from_millis(deadline.millis() - 1);
        assert!(is_answered(&charging.charge(update)));
    }
    let mut calls = 0;
    charging.shards.with(group, |shard| {
        while let Some(effects) = shard.expire(&charging.tariffs.load(), deadline) {
            assert!(effects.writes.is_empty());
            calls += 1;
        }
    });
    assert!(calls >= 5, "{calls} calls for 100 deadlines");
    assert!(names.iter().all(|name| is_open(charging, 1, name)));
    running.shutdown();
}

#[test]
fn only_a_client_that_has_sessions_of_an_older_life_loses_any() {
    let machine = Machine::new();
    let running = machine.run();
    let open = |charging: &Charging, session: &str, host: &str, state: u32| {
        let mut start = start(session, 1);
        (start.context.client_host, start.client_state) = (host.into(), state);
        let seen = charging.client_seen(&start.context.client_host, state);
        assert!(is_answered(&charging.charge(start)));
        seen
    };
    // Whoever is seen for the first time has nothing to lose: no walk over all sessions.
    assert!(!open(&running.charging, "a;1", "a.example.org", 5));
    assert!(!open(&running.charging, "b;1", "b.example.org", 7));
    assert!(!running.charging.client_seen(&"b.example.org".into(), 7));
    running.shutdown();
    // Also after our own restart, unless there is something.
    let running = machine.run();
    let charging = &running.charging;
    let (a, b, c): (Arc<str>, Arc<str>, Arc<str>) =
        ("A.example.org".into(), "b.example.org".into(), "c.example.org".into());
    assert!(charging.client_seen(&a, 6) && !charging.client_seen(&a, 6));
    assert!(!charging.client_seen(&b, 7) && !charging.client_seen(&c, 1));
    assert!(!open(charging, "a;2", "a.example.org", 6));
    // One walk for all that wait.
    assert_eq!(charging.release_restarted(&[(b, 8), (a.clone(), 6), (a, 2), (c, 9)]), 2);
    assert!(!is_open(charging, 1, "a;1") && !is_open(charging, 1, "b;1"));
    assert!(is_open(charging, 1, "a;2"));
    running.shutdown();
}

/// A call in business hours is held and charged on the employer's account, also over a restart in its middle: 2 minutes at
/// 0.05. The audit adds up in between and in the end; what was held goes back.
#[test]
fn an_employers_account_is_held_and_charged_over_a_restart() {
    let machine = Machine::new();
    let mut filling = Filling::over(&machine.config, machine.load(), Arc::new(Clock::manual(BEGIN))).unwrap();
    filling.demo_holders().unwrap();
    filling.finish();
    let (own, employers) = (demo::HOLDERS_FROM + 8, demo::HOLDERS_FROM + 15);
    let call = |number, action| {
        let mut command = command("pcscf;1", own, number, action);
        command.context.service = Service::Voice;
        // A Friday at nine in the morning, in Berlin.
        command.now = BEGIN.plus_seconds(120 * i64::from(number));
        command.event_time = Some(command.now);
        command
    };
    let seconds = |seconds| Units { seconds: Some(seconds), ..Units::default() };
    let asks = |used: &[u64]| {
        let used = used.iter().map(|used| Used { units: seconds(*used), ..Used::default() }).collect();
        vec![ServiceRequest { requested: Requested::Units(seconds(600)), used, ..ServiceRequest::default() }]
    };
    let credit = |running: &Running| {
        let account = |shard: &mut rating_engine::shard::Shard| shard.account(AccountId::new(employers)).cloned();
        running.charging.shards.with(GroupId::new(own), account).unwrap().credit.unwrap()
    };
    let running = machine.run();
    assert!(is_answered(&running.charging.charge(call(0, Action::Start(asks(&[]))))));
    assert_eq!(credit(&running).reserved, Money::from_micros(500_000), "ten minutes at 0.05");
    running.shutdown();
    assert!(audit::audit(&machine.load(), |_| ()).unwrap().is_clean());
    let running = machine.run();
    assert_eq!(credit(&running).reserved, Money::from_micros(500_000), "after the restart");
    assert!(is_answered(&running.charging.charge(call(1, Action::Update(asks(&[120]))))));
    assert_eq!(credit(&running).spent, Money::from_micros(100_000));
    running.shutdown();
    let report = audit::audit(&machine.load(), |_| ()).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.reserved_micros, 500_000);
    let running = machine.run();
    assert!(is_answered(&running.charging.charge(call(2, Action::Stop(vec![])))));
    assert_eq!((credit(&running).reserved, credit(&running).spent), (Money::ZERO, Money::from_micros(100_000)));
    running.shutdown();
    assert!(audit::audit(&machine.load(), |_| ()).unwrap().is_clean());
}

#[test]
fn a_debit_that_no_cdr_explains_is_found() {
    let machine = Machine::new();
    let running = machine.run();
    // Account 1 has a CDR of another kind, account 2 has none.
    let top_up = top_up(wire::top_up_request::Account::AccountId(1), "one");
    let _ = running.charging.mutate(GroupId::new(1), top_up.mutation(AccountId::new(1)), BEGIN);
    running.shutdown();
    assert!(audit::audit(&machine.load(), |_| ()).unwrap().is_clean());
    for number in [1, 2] {
        let loaded = machine.load();
        loaded.shards.with(GroupId::new(number), |shard| {
            let mut account = shard.account(AccountId::new(number)).unwrap().clone();
            account.buckets[0].balance -= 7;
            account.totals.push(Total { holding: account.buckets[0].holding, flow: Flow::Debit, amount: 7 });
            assert!(account.proof().is_ok());
            shard.load(Image::Account(account), Lsn::new(u64::MAX));
        });
        let report = audit::audit(&loaded, |_| ()).unwrap();
        let said = format!("account {number}: Debit of money totals 7, its CDRs say 0");
        assert!(report.findings.contains(&said), "{:?}", report.findings);
    }
}

/// Nobody decides on a large top-up for a week: it is not done, whoever says yes afterwards. Asked for again, it waits anew; and
/// long after, nothing is kept of it.
#[tokio::test]
async fn an_approval_that_nobody_decides_on_in_time_is_over() {
    const WEEK: i64 = 7 * 86_400;
    let machine = Machine::new();
    let running = machine.run();
    let above = Ceiling { amount: Money::from_micros(1_000_000), currency: Currency::EUR };
    let desk = desk(&running).second_approver_above(Some(above));
    let (anna, ben) = (Caller::named("anna"), Caller::named("ben"));
    let large = |key: &str| top_up(wire::top_up_request::Account::AccountId(1), key);
    let waits = |number, from: i64| {
        let expires = BEGIN.plus_seconds(from + WEEK);
        Err(OperationError::Approval(ApprovalRefusal::Needed { number, expires }))
    };
    assert_eq!(desk.top_up(anna.clone(), large("a")).await, waits(1, 0));
    running.charging.clock.set(BEGIN.plus_seconds(WEEK - 1)).unwrap();
    assert_eq!(desk.top_up(anna.clone(), large("a")).await, waits(1, 0));
    running.charging.clock.set(BEGIN.plus_seconds(WEEK)).unwrap();
    let late = desk.approve(ben.clone(), 1).await;
    assert_eq!(late, Err(OperationError::Approval(ApprovalRefusal::Expired)));
    assert_eq!(desk.approvals(None, 10).await.unwrap()[0].state, ApprovalStanding::Expired);
    assert_eq!(desk.top_up(anna.clone(), large("a")).await, waits(2, WEEK));
    let done = desk.approve(ben.clone(), 2).await.unwrap();
    let first = desk.top_up(anna.clone(), large("a")).await.unwrap();
    assert_eq!((first.cdr_number, first.repeated), (done.cdr_number, true));

    running.charging.clock.set(BEGIN.plus_seconds(WEEK + 38 * 86_400)).unwrap();
    assert_eq!(desk.top_up(anna.clone(), large("b")).await, waits(3, WEEK + 38 * 86_400));
    let kept: Vec<u64> = desk.approvals(None, 10).await.unwrap().iter().map(|kept| kept.number).collect();
    assert_eq!(kept, [3]);
    drop(desk);

    // In another currency than the threshold's nothing is small.
    let dollars = Ceiling { amount: Money::MAX, currency: Currency::parse("USD").unwrap() };
    let desk = self::desk(&running).second_approver_above(Some(dollars));
    assert_eq!(desk.top_up(anna, large("c")).await, waits(4, WEEK + 38 * 86_400));
    running.shutdown();
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the disk stands still for as long as the test says")]
async fn a_top_up_is_turned_away_while_the_disk_is_behind_and_booked_once_afterwards() {
    let mut machine = Machine::new();
    machine.config.limits.batch_mib_max = 1;
    let disk = SlowDisk::new(&machine.disk);
    let running = machine.run_on(Arc::new(disk.clone()));
    let desk = desk(&running);
    let paid = top_up(wire::top_up_request::Account::AccountId(1), "one");
    {
        let held = disk.hold_up();
        saturate(&running.charging);
        let refused =
            tokio::time::timeout(Duration::from_secs(10), desk.top_up(Caller::named("test"), paid.clone())).await;
        assert_eq!(refused.unwrap().unwrap_err(), OperationError::Refused(Refusal::TooBusy));
        drop(held);
    }
    eventually("the disk has caught up", || !running.charging.journal.is_saturated());
    assert!(!desk.top_up(Caller::named("test"), paid).await.unwrap().repeated);
    running.shutdown();
}
