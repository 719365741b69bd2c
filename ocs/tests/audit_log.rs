//! The audit log against whoever can write to the state store: what is changed, removed or put in between is found and named, also
//! after a restart, and a restart does not begin another chain.

#![cfg(test)]

use std::path::Path;
use std::sync::Arc;

use balance_store::records;
use balance_store::{Family, FaultDisk, MemoryState, StateStore, StateWrite, keys};
use ocs::clock::Clock;
use ocs::config::Config;
use ocs::control::ControlTotals;
use ocs::operations::Desk;
use ocs::publishing::Publisher;
use ocs::rerating::Rerater;
use ocs::setup::Filling;
use ocs::store::{self, Running};
use ocs::telemetry::Telemetry;
use ocs_api::{AuditVerdict, Caller, Operations, TopUp};
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use rating_engine::time::Timestamp;

const BEGIN: Timestamp = Timestamp::from_seconds(1_800_000_000);

const FROZEN: &str = "0182c0e285e3680474696c6c0e4163636f756e74732f546f7055700b6163636f756e74732f3137016b09c38420726561736f6e02016108312e30302045555200016208312e30302045555200";

/// A disk and a state that outlive the processes on them.
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
        config.limits.shards = 2;
        let machine = Self { config, disk: FaultDisk::new(1), state: Arc::new(MemoryState::default()) };
        let mut filling = Filling::over(&machine.config, machine.load(), Arc::new(Clock::manual(BEGIN))).unwrap();
        filling.demo(3, |_| ()).unwrap();
        filling.finish();
        machine
    }

    fn load(&self) -> store::Loaded {
        let disk = Arc::new(self.disk.clone());
        let (log, cdrs) = (Path::new("data/log"), Path::new("data/cdr"));
        store::load_from(&self.config, None, disk, log, cdrs, self.state.clone(), BEGIN).unwrap()
    }

    fn run(&self) -> (Running, Desk) {
        let failed: balance_store::FailureHook = Arc::new(|error| panic!("{error}"));
        let clock = Arc::new(Clock::manual(BEGIN));
        let running = store::run(&self.config, self.load(), clock, Arc::new(Telemetry::new()), failed).unwrap();
        let durable = running.charging.journal.mark();
        let (told, mark) = tokio::sync::watch::channel(durable.get().get());
        durable.on_advance(move |lsn| {
            told.send_replace(lsn.get());
        });
        let (charging, catalogue) = (running.charging.clone(), running.store.catalogue.clone());
        let publisher = Publisher::open(charging, catalogue, true).unwrap();
        let (edge, cdrs) = (&running.store.edge, running.store.cdrs.clone());
        let control = ControlTotals::open(edge, cdrs, running.partition).unwrap();
        let desk =
            Desk::new(&running, mark, Arc::new(publisher), Arc::new(Rerater::new(&running, true)), Arc::new(control));
        (running, desk)
    }
}

async fn pay(desk: &Desk, key: &str) {
    let request = wire::TopUpRequest {
        account: Some(wire::top_up_request::Account::AccountId(1)),
        amount: Some(common::Money { mantissa: 1, scale: 0, currency: "EUR".into() }),
        idempotency_key: key.into(),
        ..wire::TopUpRequest::default()
    };
    desk.top_up(Caller::named("till"), TopUp::parse(request).unwrap()).await.unwrap();
}

async fn verdict(machine: &Machine) -> AuditVerdict {
    let (running, desk) = machine.run();
    let verdict = desk.verify_audit_log(None).await.unwrap();
    drop(desk);
    running.shutdown();
    verdict
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_changed_removed_or_exchanged_is_named() {
    let machine = Machine::new();
    for round in 0..3 {
        let (running, desk) = machine.run();
        for number in 0..4 {
            pay(&desk, &format!("{round}-{number}")).await;
        }
        let head = desk.verify_audit_log(None).await.unwrap();
        assert_eq!((head.records, head.broken.clone()), (4 * (round + 1), None), "before the records are swept");
        drop(desk);
        running.shutdown();
        assert_eq!(verdict(&machine).await, head, "after a restart from the state store");
    }

    let stored = |position: u64| machine.state.get(Family::Audit, &keys::audit(position)).unwrap().unwrap();
    let put = |position: u64, value: Option<&[u8]>| {
        machine.state.write(&[StateWrite { family: Family::Audit, key: &keys::audit(position), value }]).unwrap();
    };
    let (octets, chain, lsn) = records::decode_audit_value(&stored(5)).map(|(o, c, l)| (o.to_vec(), c, l)).unwrap();
    let original = stored(5);

    // Somebody makes it look as if another till had paid in, and writes the record anew with a chain value of its own.
    let mut record = records::decode_audit(&octets).unwrap();
    record.caller = "somebody else".into();
    let (mut forged, mut value) = (Vec::new(), Vec::new());
    records::encode_audit(&mut forged, &record);
    records::encode_audit_value(&mut value, &forged, chain, lsn);
    put(5, Some(&value));
    assert_eq!(verdict(&machine).await.broken.unwrap().0, 5, "the chain value does not fit");
    let (_, before, _) = records::decode_audit_value(&stored(4)).map(|(o, c, l)| (o.to_vec(), c, l)).unwrap();
    let mut value = Vec::new();
    records::encode_audit_value(&mut value, &forged, before.after(&forged), lsn);
    put(5, Some(&value));
    assert_eq!(verdict(&machine).await.broken.unwrap().0, 6, "the one behind it does not follow");

    let other = stored(7);
    put(5, Some(&other));
    assert_eq!(verdict(&machine).await.broken.unwrap().0, 5, "another record in its place");
    put(5, Some(&original[..original.len() - 1]));
    assert_eq!(verdict(&machine).await.broken.unwrap().0, 5, "cut short");
    put(5, Some(&original));
    assert_eq!(verdict(&machine).await.broken, None, "as it was");
}

/// What is written is what a person reads: who, what, before, after, why.
#[test]
fn an_audit_record_is_read_back_as_it_was_written_and_no_octets_make_reading_panic() {
    let difference =
        |what: &str| records::Difference { what: what.into(), before: "1.00 EUR".into(), after: "".into() };
    let record = records::AuditRecord {
        at: BEGIN,
        caller: "till".into(),
        method: "Accounts/TopUp".into(),
        target: "accounts/17".into(),
        key: "k".into(),
        reason: "Ä reason".into(),
        differences: vec![difference("a"), difference("b")],
    };
    let mut octets = Vec::new();
    records::encode_audit(&mut octets, &record);
    assert_eq!(records::decode_audit(&octets), Ok(record));
    // The chain is over these octets: they are for ever.
    let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(hex, FROZEN);
    for place in 0..octets.len() {
        assert!(records::decode_audit(&octets[..place]).is_err(), "{place}");
        for bit in 0..8 {
            let mut damaged = octets.clone();
            damaged[place] ^= 1 << bit;
            let _ = records::decode_audit(&damaged);
        }
    }
}
