//! Consumers over a real socket: what is acknowledged is durable before it is confirmed, credits bound what is sent, what cannot be
//! processed is sent again or parked, and whoever does what may not be done is told so by a code, with nothing lost.
//!
//! The book of consumers is in memory here, and its disk is slow at will.
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "serves several tests")]
mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use cdr_export::consumer::{Place, Progress};
use cdr_export::{
    CdrConsumptionService, ConsumeLimits, ConsumerBook, ConsumerHold, ExportLimits, FeedStopped, HoldRefusal, Lost,
    Selection,
};
use common::{Memory, hash, listen};
use ocs_proto::cdr::v1 as wire;
use ocs_proto::cdr::v1::cdr_consumption_client::CdrConsumptionClient;
use ocs_proto::cdr::v1::consume_request::Message as Say;
use ocs_proto::cdr::v1::consume_response::Message as Told;
use rating_engine::cdr::CdrKind;
use rating_engine::ids::{AccountId, CdrPosition, Lsn};
use rating_engine::time::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Server};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
/// What does not come in this time does not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// One consumer, "ledger", on a disk that syncs when it is told to.
struct Book {
    selection: Arc<Selection>,
    held: Arc<Mutex<Held>>,
    entries: Arc<AtomicU64>,
    durable: watch::Sender<u64>,
    /// Whether entries are durable at once.
    prompt: bool,
    changes: watch::Sender<()>,
}

struct Held {
    progress: Progress,
    holder: Option<(Box<str>, Arc<OnceLock<Lost>>)>,
}

impl Book {
    fn new(next: u64, selection: Selection) -> Self {
        let place = Place { next: CdrPosition::new(next), acked: None, retrying: None };
        let held = Held { progress: Progress::new(place, BTreeMap::new(), 3), holder: None };
        Self {
            selection: Arc::new(selection),
            held: Arc::new(Mutex::new(held)),
            entries: Arc::default(),
            durable: watch::Sender::new(0),
            prompt: true,
            changes: watch::Sender::new(()),
        }
    }

    fn next(&self) -> u64 {
        self.held.lock().unwrap().progress.place().next.get()
    }

    fn parked(&self) -> Vec<u64> {
        self.held.lock().unwrap().progress.parked().keys().map(|position| position.get()).collect()
    }

    /// As a person does.
    fn change(&self, work: impl FnOnce(&mut Progress)) {
        work(&mut self.held.lock().unwrap().progress);
        self.changes.send_replace(());
    }
}

struct Hold {
    selection: Arc<Selection>,
    held: Arc<Mutex<Held>>,
    entries: Arc<AtomicU64>,
    durable: watch::Sender<u64>,
    prompt: bool,
    changes: watch::Receiver<()>,
    lost: Arc<OnceLock<Lost>>,
}

impl ConsumerBook for Book {
    type Hold = Hold;

    fn take(&self, name: &str, instance: &str, take_over: bool) -> Result<Hold, HoldRefusal> {
        if name != "ledger" {
            return Err(HoldRefusal::Unknown);
        }
        let lost = Arc::new(OnceLock::new());
        let mut held = self.held.lock().unwrap();
        if let Some((instance, _)) = held.holder.as_ref().filter(|_| !take_over) {
            return Err(HoldRefusal::Held { instance: instance.clone(), since: NOW });
        }
        if let Some((_, before)) = held.holder.replace((instance.into(), lost.clone())) {
            before.set(Lost::TakenOver { by: instance.into() }).unwrap();
        }
        drop(held);
        self.changes.send_replace(());
        Ok(Hold {
            selection: self.selection.clone(),
            held: self.held.clone(),
            entries: self.entries.clone(),
            durable: self.durable.clone(),
            prompt: self.prompt,
            changes: self.changes.subscribe(),
            lost,
        })
    }
}

impl ConsumerHold for Hold {
    fn selection(&self) -> Arc<Selection> {
        self.selection.clone()
    }

    fn now(&self) -> Timestamp {
        NOW
    }

    fn with<R>(&self, work: impl FnOnce(&mut Progress) -> R) -> Result<R, Lost> {
        let mut held = self.held.lock().unwrap();
        self.lost.get().map_or_else(|| Ok(work(&mut held.progress)), |lost| Err(lost.clone()))
    }

    fn write(&self) -> Result<Option<Lsn>, Lost> {
        let entry = self.with(|progress| {
            if progress.unwritten().is_empty() {
                return self.entries.load(Ordering::SeqCst);
            }
            self.entries.fetch_add(1, Ordering::SeqCst) + 1
        })?;
        if self.prompt {
            self.durable.send_replace(entry);
        }
        Ok(Some(Lsn::new(entry)))
    }

    async fn durable(&self, lsn: Lsn) -> Result<(), FeedStopped> {
        let mut durable = self.durable.subscribe();
        durable.wait_for(|durable| *durable >= lsn.get()).await.map(drop).map_err(|_| FeedStopped)
    }

    async fn changed(&mut self) {
        self.changes.changed().await.unwrap();
    }

    fn retried(&self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.lost.get().is_none() {
            self.held.lock().unwrap().holder = None;
        }
    }
}

/// Limits with short times.
fn quick() -> ConsumeLimits {
    let export =
        ExportLimits { batch_records_max: 40, heartbeat: Duration::from_millis(100), ..ExportLimits::default() };
    ConsumeLimits { export, ..ConsumeLimits::default() }
}

async fn serve(
    feed: Memory,
    book: Book,
    limits: ConsumeLimits,
) -> (CdrConsumptionClient<Channel>, Arc<Memory>, Arc<Book>) {
    let (feed, book) = (Arc::new(feed), Arc::new(book));
    let (listener, address) = listen().await;
    let service = CdrConsumptionService::new(feed.clone(), book.clone(), limits, Arc::default());
    let router = Server::builder().add_service(service.into_server());
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    (CdrConsumptionClient::connect(format!("http://{address}")).await.unwrap(), feed, book)
}

/// An instance on its stream.
struct Instance {
    say: mpsc::Sender<wire::ConsumeRequest>,
    told: Streaming<wire::ConsumeResponse>,
}

fn open(instance: &str, credits: u64) -> wire::OpenConsumer {
    wire::OpenConsumer { consumer: "consumers/ledger".into(), instance: instance.into(), take_over: false, credits }
}

impl Instance {
    async fn begin(client: &CdrConsumptionClient<Channel>, first: Say) -> Self {
        let (say, said) = mpsc::channel(100);
        say.send(wire::ConsumeRequest { message: Some(first) }).await.unwrap();
        let told = client.clone().consume(ReceiverStream::new(said)).await.unwrap().into_inner();
        Self { say, told }
    }

    async fn open(client: &CdrConsumptionClient<Channel>, first: wire::OpenConsumer) -> (Self, wire::ConsumerOpened) {
        let mut own = Self::begin(client, Say::Open(first)).await;
        match own.next().await {
            Ok(Told::Opened(opened)) => (own, opened),
            other => panic!("{other:?}"),
        }
    }

    async fn say(&self, message: Say) {
        self.say.send(wire::ConsumeRequest { message: Some(message) }).await.unwrap();
    }

    async fn ack(&self, position: u64) {
        self.say(Say::Ack(wire::AckCdrs { position })).await;
    }

    async fn nack(&self, position: u64, action: wire::NackAction) {
        let reason = "no such account".to_owned();
        self.say(Say::Nack(wire::NackCdr { position, action: action.into(), reason })).await;
    }

    async fn grant(&self, credits: u64) {
        self.say(Say::Grant(wire::GrantCredits { credits })).await;
    }

    /// What comes next, whatever it is.
    async fn any(&mut self) -> Result<Told, Status> {
        let next = tokio::time::timeout(PATIENCE, self.told.message()).await.unwrap();
        next.map(|response| response.unwrap().message.unwrap())
    }

    /// What comes next but signs of life.
    async fn next(&mut self) -> Result<Told, Status> {
        loop {
            match self.any().await {
                Ok(Told::Status(_)) => {}
                other => return other,
            }
        }
    }

    async fn batch(&mut self) -> wire::CdrBatch {
        match self.next().await {
            Ok(Told::Batch(batch)) => batch,
            other => panic!("{other:?}"),
        }
    }

    /// Positions that come, until there are so many.
    async fn positions(&mut self, count: usize) -> Vec<u64> {
        let mut seen = Vec::new();
        while seen.len() < count {
            let batch = self.batch().await;
            assert_eq!(batch.chain_hash, hash(batch.next_position - 1));
            seen.extend(positions(&batch));
        }
        seen
    }

    /// How the stream ends: code and reason.
    async fn end(&mut self) -> (Code, String, String) {
        loop {
            match self.any().await {
                Ok(_) => {}
                Err(status) => return ended(&status),
            }
        }
    }

    /// Nothing comes for several heartbeats but signs of life; returns the last of them.
    async fn quiet(&mut self) -> wire::ConsumerStatus {
        let mut last = None;
        for _ in 0..3 {
            match self.any().await {
                Ok(Told::Status(status)) => last = Some(status),
                other => panic!("{other:?}"),
            }
        }
        last.unwrap()
    }
}

fn ended(status: &Status) -> (Code, String, String) {
    let info = status.get_error_details().error_info().cloned().unwrap_or_else(|| panic!("{status:?} has no reason"));
    assert_eq!(info.domain, "ocs");
    (status.code(), info.reason, status.message().to_owned())
}

fn positions(batch: &wire::CdrBatch) -> Vec<u64> {
    batch.records.iter().map(|record| record.position).collect()
}

fn range(from: u64, to: u64) -> Vec<u64> {
    (from..=to).collect()
}

#[tokio::test]
async fn credits_bound_what_is_sent_and_acknowledgements_move_the_place() {
    let (client, feed, book) = serve(Memory::new(1, 100), Book::new(11, Selection::default()), quick()).await;
    let (mut one, opened) = Instance::open(&client, open("one", 50)).await;
    assert_eq!((opened.next_position, opened.lag, opened.partition, opened.parked), (11, 90, 3, 0));
    // 50 credits: batches of at most 40 are 40 and 10; then nothing, although 40 more are there.
    let first = one.batch().await;
    assert_eq!((positions(&first), first.next_position, first.attempt), (range(11, 50), 51, 0));
    assert_eq!(positions(&one.batch().await), range(51, 60));
    let status = one.quiet().await;
    assert_eq!((status.tail_position, status.lag, status.credits), (100, 90, 0));
    // What is done is confirmed, once more when it is said once more, and moves the place.
    for position in [30, 60, 45] {
        one.ack(position).await;
        assert_eq!(one.next().await.unwrap(), Told::Acked(wire::CdrsAcked { position }));
    }
    assert_eq!(book.next(), 61);
    one.grant(1000).await;
    assert_eq!(one.positions(40).await, range(61, 100));
    // At the tail it waits, and goes on when there is more.
    feed.last.send_replace(103);
    assert_eq!(one.positions(3).await, range(101, 103));
    drop(one);
    // What was sent and not acknowledged is sent to whoever comes next.
    let mut again = loop {
        let mut again = Instance::begin(&client, Say::Open(open("two", 5))).await;
        match again.next().await {
            Ok(Told::Opened(opened)) => break (opened.next_position, again),
            // The end of the connection has not been noticed yet.
            Err(status) => assert_eq!(ended(&status).1, "CONSUMER_HELD"),
            Ok(other) => panic!("{other:?}"),
        }
    };
    assert_eq!((again.0, again.1.positions(5).await), (61, range(61, 65)));
}

/// Nothing is confirmed that a power cut could take back, and however often a client acknowledges, one entry at a time is written.
#[tokio::test]
async fn what_is_acknowledged_is_durable_before_it_is_confirmed() {
    let book = Book { prompt: false, ..Book::new(1, Selection::default()) };
    let (client, _, book) = serve(Memory::new(1, 100), book, quick()).await;
    let (mut one, _) = Instance::open(&client, open("one", 100)).await;
    assert_eq!(one.positions(100).await, range(1, 100));
    one.ack(1).await;
    one.quiet().await;
    for position in 2..=90 {
        one.ack(position).await;
    }
    one.quiet().await;
    assert_eq!((book.next(), book.entries.load(Ordering::SeqCst)), (91, 1), "the others wait for the first");
    book.durable.send_replace(1);
    assert_eq!(one.next().await.unwrap(), Told::Acked(wire::CdrsAcked { position: 1 }));
    one.quiet().await;
    assert_eq!(book.entries.load(Ordering::SeqCst), 2, "one entry for all others");
    book.durable.send_replace(2);
    assert_eq!(one.next().await.unwrap(), Told::Acked(wire::CdrsAcked { position: 90 }));
    // A client that has said all is told all, then the stream ends.
    one.ack(100).await;
    let Instance { say, mut told } = one;
    drop(say);
    book.durable.send_replace(u64::MAX);
    let mut last = None;
    while let Some(response) = told.message().await.unwrap() {
        last = response.message;
    }
    assert_eq!(last, Some(Told::Acked(wire::CdrsAcked { position: 100 })));
}

/// A client that acknowledges each of 20,000 CDRs as fast as it can costs no more entries than there are pauses between them.
#[tokio::test]
async fn acknowledging_without_end_costs_an_entry_a_pause() {
    let pause = Duration::from_millis(20);
    let limits = ConsumeLimits { write_pause: pause, ..quick() };
    let (client, _, book) = serve(Memory::new(1, 20_000), Book::new(1, Selection::default()), limits).await;
    let (mut one, _) = Instance::open(&client, open("one", 20_000)).await;
    assert_eq!(one.positions(20_000).await.len(), 20_000);
    let began = std::time::Instant::now();
    let say = one.say.clone();
    let saying = tokio::spawn(async move {
        for position in 1..=20_000 {
            let message = Some(Say::Ack(wire::AckCdrs { position }));
            say.send(wire::ConsumeRequest { message }).await.unwrap();
        }
    });
    let (mut confirmed, mut confirmations) = (0, 0u64);
    while confirmed < 20_000 {
        match one.next().await.unwrap() {
            Told::Acked(acked) if acked.position > confirmed => confirmed = acked.position,
            other => panic!("{other:?} after {confirmed}"),
        }
        confirmations += 1;
    }
    saying.await.unwrap();
    let pauses = u64::try_from(began.elapsed().as_micros() / pause.as_micros()).unwrap();
    let entries = book.entries.load(Ordering::SeqCst);
    assert!(entries <= pauses + 1 && confirmations <= entries, "{entries} entries in {pauses} pauses");
}

#[tokio::test]
async fn one_instance_at_a_time_has_a_consumer() {
    let (client, _, book) = serve(Memory::new(1, 100), Book::new(1, Selection::default()), quick()).await;
    let (mut one, _) = Instance::open(&client, open("one", 10)).await;
    assert_eq!(one.positions(10).await, range(1, 10));
    let mut two = Instance::begin(&client, Say::Open(open("two", 10))).await;
    let status = two.next().await.unwrap_err();
    let (code, reason, message) = ended(&status);
    assert_eq!((code, &*reason), (Code::FailedPrecondition, "CONSUMER_HELD"));
    assert!(message.contains("\"one\"") && message.contains("take_over"), "{message}");
    let about = status.get_error_details().error_info().unwrap().metadata.clone();
    assert_eq!((&*about["instance"], about["since"].is_empty()), ("one", false));
    // It takes it. The first is told, and what it says afterwards counts no more.
    let (mut two, opened) = Instance::open(&client, wire::OpenConsumer { take_over: true, ..open("two", 3) }).await;
    assert_eq!(opened.next_position, 1);
    let _ = one.say.send(wire::ConsumeRequest { message: Some(Say::Ack(wire::AckCdrs { position: 10 })) }).await;
    let (code, reason, _) = one.end().await;
    assert_eq!((code, &*reason), (Code::Aborted, "CONSUMER_TAKEN_OVER"));
    assert_eq!((two.positions(3).await, book.next()), (range(1, 3), 1));
    two.ack(3).await;
    assert_eq!(two.next().await.unwrap(), Told::Acked(wire::CdrsAcked { position: 3 }));
}

/// Each misuse has its own code, and the place is where it was.
#[tokio::test]
async fn what_may_not_be_said_ends_the_stream_by_its_code_and_changes_nothing() {
    let ack = |position| Say::Ack(wire::AckCdrs { position });
    let nack = |position, action: wire::NackAction| {
        Say::Nack(wire::NackCdr { position, action: action.into(), reason: String::new() })
    };
    let park = wire::NackAction::Park;
    let again = || Say::Open(open("one", 0));
    for (said, code, reason, hint) in [
        (ack(0), Code::OutOfRange, "POSITION_NEVER_ISSUED", "the next will be 101"),
        (ack(101), Code::OutOfRange, "POSITION_NEVER_ISSUED", "the next will be 101"),
        (ack(u64::MAX), Code::OutOfRange, "POSITION_NEVER_ISSUED", "the next will be 101"),
        (ack(31), Code::OutOfRange, "POSITION_NOT_SENT", "which is at 31"),
        (nack(31, park), Code::OutOfRange, "POSITION_NOT_SENT", "CDR 31"),
        (nack(20, park), Code::FailedPrecondition, "POSITION_DONE", "CDR 20"),
        (nack(22, wire::NackAction::Unspecified), Code::InvalidArgument, "INVALID_FIELD", "nack.action"),
        (
            Say::Nack(wire::NackCdr { position: 22, action: park.into(), reason: "x".repeat(257) }),
            Code::InvalidArgument,
            "INVALID_FIELD",
            "nack.reason",
        ),
        (
            Say::Nack(wire::NackCdr { position: 22, action: park.into(), reason: "x".repeat(100_000) }),
            Code::InvalidArgument,
            "INVALID_FIELD",
            "cannot be read",
        ),
        (Say::AckParked(wire::AckParkedCdr { position: 25 }), Code::OutOfRange, "POSITION_NOT_SENT", "ack_parked"),
        (again(), Code::InvalidArgument, "OPEN_MISSING", "Open comes once"),
    ] {
        let (client, _, book) = serve(Memory::new(1, 100), Book::new(21, Selection::default()), quick()).await;
        let (mut one, _) = Instance::open(&client, open("one", 10)).await;
        assert_eq!(one.positions(10).await, range(21, 30));
        one.say(said.clone()).await;
        let (got, why, message) = one.end().await;
        assert_eq!((got, &*why), (code, reason), "{said:?}: {message}");
        assert!(message.contains(hint), "{message}");
        assert_eq!((book.next(), book.parked()), (21, Vec::new()), "{said:?}");
    }
    // Before it has a consumer.
    let (client, _, _) = serve(Memory::new(1, 100), Book::new(21, Selection::default()), quick()).await;
    for (first, code, reason) in [
        (ack(1), Code::InvalidArgument, "OPEN_MISSING"),
        (Say::Open(open("", 1)), Code::InvalidArgument, "INVALID_FIELD"),
        (Say::Open(open("a\nb", 1)), Code::InvalidArgument, "INVALID_FIELD"),
        (Say::Open(open(&"x".repeat(129), 1)), Code::InvalidArgument, "INVALID_FIELD"),
        (
            Say::Open(wire::OpenConsumer { consumer: "ledger".into(), ..open("one", 1) }),
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (
            Say::Open(wire::OpenConsumer { consumer: "consumers/x".into(), ..open("one", 1) }),
            Code::NotFound,
            "CONSUMER_NOT_FOUND",
        ),
    ] {
        let (got, why, _) = Instance::begin(&client, first.clone()).await.end().await;
        assert_eq!((got, &*why), (code, reason), "{first:?}");
    }
}

/// CDR 5 cannot be processed. It comes again after a second and after two more, with what follows it; the third time it is parked, and
/// the stream goes on behind it.
#[tokio::test]
async fn a_record_that_nobody_can_process_is_sent_again_then_parked_and_never_skipped() {
    let (client, _, book) = serve(Memory::new(1, 8), Book::new(1, Selection::default()), quick()).await;
    let (mut one, _) = Instance::open(&client, open("one", 1000)).await;
    assert_eq!(one.positions(8).await, range(1, 8));
    for attempt in 1..=2 {
        one.nack(5, wire::NackAction::Retry).await;
        let batch = one.batch().await;
        assert_eq!((positions(&batch), batch.attempt), (range(5, 8), attempt));
    }
    one.nack(5, wire::NackAction::Retry).await;
    let (mut parked, mut behind) = (None, Vec::new());
    while parked.is_none() || behind.is_empty() {
        match one.next().await.unwrap() {
            Told::Parked(told) => parked = Some((told.position, told.attempts)),
            Told::Batch(batch) => behind = positions(&batch),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((parked, behind), (Some((5, 3)), range(6, 8)));
    one.ack(8).await;
    assert_eq!(one.next().await.unwrap(), Told::Acked(wire::CdrsAcked { position: 8 }));
    assert_eq!((book.next(), book.parked()), (9, vec![5]));
    // A person has it sent again; still not.
    book.change(|progress| assert!(progress.retry_parked(CdrPosition::new(5))));
    let delivery = |told: Told| match told {
        Told::Delivery(delivery) => (delivery.record.unwrap().position, delivery.attempts),
        other => panic!("{other:?}"),
    };
    assert_eq!(delivery(one.next().await.unwrap()), (5, 3));
    one.nack(5, wire::NackAction::Retry).await;
    assert_eq!(one.next().await.unwrap(), Told::Parked(wire::CdrParked { position: 5, attempts: 4 }));
    one.quiet().await;
    // Once more: whoever has it next gets it, as this one ends without a word.
    book.change(|progress| assert!(progress.retry_parked(CdrPosition::new(5))));
    assert_eq!(delivery(one.next().await.unwrap()), (5, 4));
    let (mut two, opened) = Instance::open(&client, wire::OpenConsumer { take_over: true, ..open("two", 10) }).await;
    assert_eq!((opened.next_position, opened.parked), (9, 1));
    assert_eq!(delivery(two.next().await.unwrap()), (5, 4));
    two.say(Say::AckParked(wire::AckParkedCdr { position: 5 })).await;
    assert_eq!(two.next().await.unwrap(), Told::Unparked(wire::CdrUnparked { position: 5 }));
    assert_eq!(book.parked(), Vec::<u64>::new());
}

/// Parked before it was its turn to be acknowledged, a CDR is not sent in its turn after the stream has begun anew.
#[tokio::test]
async fn what_is_parked_is_not_sent_in_its_turn() {
    let (client, _, book) = serve(Memory::new(1, 10), Book::new(1, Selection::default()), quick()).await;
    let (mut one, _) = Instance::open(&client, open("one", 1000)).await;
    assert_eq!(one.positions(10).await, range(1, 10));
    for position in [2, 4, 5] {
        one.nack(position, wire::NackAction::Park).await;
        assert_eq!(one.next().await.unwrap(), Told::Parked(wire::CdrParked { position, attempts: 1 }));
    }
    one.ack(1).await;
    assert_eq!(one.next().await.unwrap(), Told::Acked(wire::CdrsAcked { position: 1 }));
    assert_eq!((book.next(), book.parked()), (3, vec![2, 4, 5]));
    let (mut two, _) = Instance::open(&client, wire::OpenConsumer { take_over: true, ..open("two", 1000) }).await;
    assert_eq!(two.positions(6).await, [3, 6, 7, 8, 9, 10]);
    // An acknowledgement takes back that something was to be sent again.
    two.nack(7, wire::NackAction::Retry).await;
    two.ack(10).await;
    assert_eq!(two.next().await.unwrap(), Told::Acked(wire::CdrsAcked { position: 10 }));
    two.quiet().await;
    assert_eq!(book.next(), 11);
}

#[tokio::test]
async fn a_thousand_parked_records_are_the_limit_and_the_next_stays_where_it_is() {
    let (client, _, book) = serve(Memory::new(1, 2000), Book::new(1, Selection::default()), quick()).await;
    let (mut one, _) = Instance::open(&client, open("one", 2000)).await;
    assert_eq!(one.positions(2000).await.len(), 2000);
    for position in 1..=1000 {
        one.nack(position, wire::NackAction::Park).await;
        assert_eq!(one.next().await.unwrap(), Told::Parked(wire::CdrParked { position, attempts: 1 }));
    }
    one.nack(1001, wire::NackAction::Park).await;
    let (code, reason, message) = one.end().await;
    assert_eq!((code, &*reason), (Code::ResourceExhausted, "PARKED_FULL"));
    assert!(message.contains("1000") && message.contains("discard"), "{message}");
    assert_eq!((book.next(), book.parked().len()), (1001, 1000));
}

/// A filter never makes a position lie: what is passed over counts as read, and can be acknowledged.
#[tokio::test]
async fn filters_keep_positions_honest() {
    // Usage of account 1 stands at positions 10, 20, ..., 200.
    let selection = Selection::new([CdrKind::Usage], [AccountId::new(1)]);
    let (client, feed, book) = serve(Memory::new(1, 200), Book::new(1, selection), quick()).await;
    let (mut one, opened) = Instance::open(&client, open("one", 15)).await;
    assert_eq!((opened.lag, opened.filter.unwrap().account_ids), (200, vec![1]));
    assert_eq!(one.positions(15).await, (1..=15).map(|place| place * 10).collect::<Vec<u64>>());
    one.ack(150).await;
    assert_eq!(one.next().await.unwrap(), Told::Acked(wire::CdrsAcked { position: 150 }));
    one.grant(100).await;
    assert_eq!(one.positions(5).await, [160, 170, 180, 190, 200]);
    // Nothing of it follows: how far it is is told without records, and is good.
    feed.last.send_replace(209);
    let passed = one.batch().await;
    assert_eq!((passed.records.len(), passed.next_position, passed.chain_hash), (0, 210, hash(209).to_vec()));
    one.ack(209).await;
    assert_eq!(one.next().await.unwrap(), Told::Acked(wire::CdrsAcked { position: 209 }));
    assert_eq!(book.next(), 210);
}

/// A client that reads nothing has a few batches on their way, however many credits it gives; one that is silent loses the consumer.
#[tokio::test]
async fn a_client_that_reads_nothing_holds_nothing_up_and_a_silent_one_loses_the_consumer() {
    let limits = ConsumeLimits { lease: Duration::from_secs(2), ..quick() };
    let (client, feed, book) = serve(Memory::new(1, 1_000_000), Book::new(1, Selection::default()), limits).await;
    let (one, _) = Instance::open(&client, open("one", 1_000_000)).await;
    let read = || feed.read.load(Ordering::Relaxed);
    let mut before = 0;
    while before == 0 || read() != before {
        before = read();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // What fits the windows of HTTP/2 and the queue, no more.
    assert!(before < 20_000, "{before} CDRs were read for a client that reads none");
    // It is silent, too: in time another may have the consumer, which has lost nothing.
    let mut two = loop {
        let mut two = Instance::begin(&client, Say::Open(open("two", 5))).await;
        match two.next().await {
            Ok(Told::Opened(_)) => break two,
            Err(status) => assert_eq!(ended(&status).1, "CONSUMER_HELD"),
            Ok(other) => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!((two.positions(5).await, book.next()), (range(1, 5), 1));
    drop(one);
    let (code, reason, message) = two.end().await;
    assert_eq!((code, &*reason), (Code::Aborted, "LEASE_EXPIRED"));
    assert!(message.contains("heartbeat"), "{message}");
}

#[tokio::test]
async fn when_the_process_stops_the_stream_says_so() {
    let (client, feed, _) = serve(Memory::new(1, 10), Book::new(11, Selection::default()), quick()).await;
    let (mut one, _) = Instance::open(&client, open("one", 10)).await;
    feed.last.send_replace(u64::MAX);
    let (code, reason, _) = one.end().await;
    assert_eq!((code, &*reason), (Code::Unavailable, "STOPPING"));
}
