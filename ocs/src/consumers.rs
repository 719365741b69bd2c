//! Consumers of CDRs: who has one, where each stands, and what is written of it.
//!
//! Each consumer is three kinds of records of the desk (what it is, its place, what it has parked) and, in memory, its [`Progress`]
//! behind a lock of its own. Streams change it and have it written when they see fit; people change it in one entry with the audit
//! record and the request that is remembered. Who has a consumer is in memory only: streams do not survive the process.
//!
//! Lock order: retention ([`Retention`]), who changes, the consumer, then the edge. Absent: gRPC, and what is read.
//!
//! Invariants:
//! - no CDR is removed that a consumer's durable place does not lie behind, or that is parked;
//! - a hold that was lost changes and writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use balance_store::CdrStore;
use balance_store::keys::{self, Drawer};
use balance_store::records::{self, AuditRecord, Consumer, ConsumerPlace, DoneRequest, ParkedCdr};
use cdr_export::consumer::{Parked, Place, Progress, Unwritten};
use cdr_export::{ConsumerBook, ConsumerHold, FeedStopped, HoldRefusal, Lost, Selection};
use ocs_api::{
    Asked, Caller, ConsumerChange, ConsumerChanged, ConsumerOperations, ConsumerRefusal, ConsumerStep, ConsumerWanted,
    OperationError, Start, consumer_name,
};
use ocs_proto::cdr::v1 as wire;
use ocs_proto::charging::convert::time;
use parking_lot::{Mutex, MutexGuard, RwLock};
use rating_engine::command::Refusal;
use rating_engine::ids::{CdrPosition, Lsn};
use rating_engine::time::Timestamp;
use tokio::sync::watch;

use crate::audit_log::{By, difference};
use crate::charging::Charging;
use crate::disk::{Floor, Retention, RetentionFloor};
use crate::edge::{Beside, DeskKey, DeskRecord};
use crate::publishing::to_forget;
use crate::store::{OpenError, Running, because};
use crate::walk::Walker;

/// Consumers there may be.
pub const CONSUMERS_MAX: usize = 64;
/// What stands before the keys of our requests.
const REQUESTS: &[u8] = b"consumers\0";
/// What stands between a consumer's name and a position in a key.
const NAME_END: u8 = 0;

/// All consumers.
#[derive(Debug)]
pub struct Consumers {
    charging: Arc<Charging>,
    cdrs: Arc<CdrStore>,
    mark: watch::Receiver<u64>,
    retention: Arc<Retention>,
    /// Held over a whole change by people: remembered requests by their time.
    changing: Mutex<BTreeSet<(Timestamp, DeskKey)>>,
    known: RwLock<BTreeMap<Box<str>, Arc<Kept>>>,
    is_stopping: AtomicBool,
}

/// One consumer.
#[derive(Debug)]
struct Kept {
    name: Box<str>,
    selection: Arc<Selection>,
    held: Mutex<Held>,
    /// Told when somebody else than the holder has changed something.
    changes: watch::Sender<()>,
}

#[derive(Debug)]
struct Held {
    what: Consumer,
    progress: Progress,
    holder: Option<Holder>,
    /// The last entry that has something of it.
    lsn: Lsn,
    is_gone: bool,
}

#[derive(Debug)]
struct Holder {
    instance: Box<str>,
    since: Timestamp,
    lost: Arc<OnceLock<Lost>>,
}

impl Held {
    /// Takes it from whoever has it.
    fn wrest(&mut self, why: Lost) {
        if let Some(holder) = self.holder.take() {
            let _ = holder.lost.set(why);
        }
    }
}

/// Where a consumer stands, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: Box<str>,
    /// Everything before is done, or parked.
    pub next: CdrPosition,
    /// CDRs that are not acknowledged.
    pub lag: u64,
    /// When the oldest of those was accepted.
    pub oldest: Option<Timestamp>,
    /// CDRs that are parked.
    pub parked: usize,
    /// Whether an instance has it.
    pub is_connected: bool,
}

impl Consumers {
    /// Those of a running system, as the desk has them. From now on they hold what is not acknowledged.
    ///
    /// # Errors
    /// When a record is damaged.
    pub fn open(
        running: &Running,
        mark: watch::Receiver<u64>,
        retention: Arc<Retention>,
    ) -> Result<Arc<Self>, OpenError> {
        let (charging, cdrs) = (running.charging.clone(), running.store.cdrs.clone());
        let edge = &charging.edge;
        let (mut known, mut requests) = (BTreeMap::new(), BTreeSet::new());
        for (key, value) in edge.desk_records(&keys::desk(Drawer::Consumers, b""), None, usize::MAX) {
            let what = records::decode_consumer(&value).map_err(because("a consumer of the desk"))?;
            let name = key.get(1..).and_then(|name| std::str::from_utf8(name).ok());
            let name: Box<str> = name.ok_or_else(|| OpenError("a consumer of the desk has no name".to_owned()))?.into();
            let place = edge.desk_record(&keys::desk(Drawer::ConsumerPlaces, name.as_bytes()));
            let place = place.ok_or_else(|| OpenError(format!("consumer {name} of the desk has no place")))?;
            let place = records::decode_consumer_place(&place).map_err(because("a consumer's place of the desk"))?;
            let place = Place { next: place.next, acked: place.acked, retrying: place.retrying };
            let mut parked = BTreeMap::new();
            for (key, value) in edge.desk_records(&parked_key(&name, None), None, usize::MAX) {
                let position = key.last_chunk().map(|octets| CdrPosition::new(u64::from_be_bytes(*octets)));
                let position =
                    position.ok_or_else(|| OpenError("a parked CDR of the desk has no position".to_owned()))?;
                let ParkedCdr { reason, attempts, since, instance, due } =
                    records::decode_parked_cdr(&value).map_err(because("a parked CDR of the desk"))?;
                parked.insert(position, Parked { reason, attempts, since, instance, due });
            }
            let progress = Progress::new(place, parked, what.max_attempts);
            known.insert(name.clone(), Arc::new(Kept::new(name, what, progress, Lsn::new(0))));
        }
        for (key, value) in edge.desk_records(&keys::desk(Drawer::Requests, REQUESTS), None, usize::MAX) {
            let done = records::decode_done_request(&value).map_err(because("a request of the desk"))?;
            requests.insert((done.at, key));
        }
        let (changing, known, is_stopping) = (Mutex::new(requests), RwLock::new(known), AtomicBool::new(false));
        let consumers = Arc::new(Self { charging, cdrs, mark, retention, changing, known, is_stopping });
        consumers.retention.keep_for(consumers.clone());
        Ok(consumers)
    }

    /// Has streams end: what they were told is written, and nobody gets a consumer any more.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        for kept in self.all() {
            let mut held = kept.held.lock();
            self.append(&kept, &mut held, Vec::new(), None);
            held.wrest(Lost::Stopping);
            drop(held);
            kept.changes.send_replace(());
        }
    }

    fn find(&self, name: &str) -> Option<Arc<Kept>> {
        self.known.read().get(name).cloned()
    }

    fn all(&self) -> Vec<Arc<Kept>> {
        self.known.read().values().cloned().collect()
    }

    /// Where each stands. Reads CDRs; waits for the disk.
    pub fn standings(&self) -> Vec<Standing> {
        let newest = self.cdrs.durable().position;
        let standing = |kept: Arc<Kept>| {
            let (next, parked, is_connected) = {
                let held = kept.held.lock();
                (held.progress.place().next, held.progress.parked().len(), held.holder.is_some())
            };
            let lag = newest.next().get().saturating_sub(next.get());
            let oldest = if lag > 0 { self.accepted(next) } else { None };
            Standing { name: kept.name.clone(), next, lag, oldest, parked, is_connected }
        };
        self.all().into_iter().map(standing).collect()
    }

    fn accepted(&self, position: CdrPosition) -> Option<Timestamp> {
        let read = Walker::new(self.cdrs.clone()).read(position);
        let read = read.inspect_err(|error| tracing::error!(%error, %position, "the oldest CDR of a consumer"));
        read.ok().flatten().map(|cdr| cdr.accepted)
    }

    /// Appends what is different of a consumer, and what else is in the same entry.
    fn append(&self, kept: &Kept, held: &mut Held, mut desk: Vec<DeskRecord>, audit: Option<AuditRecord>) {
        desk.extend(unwritten_records(&kept.name, held.progress.unwritten()));
        if desk.is_empty() && audit.is_none() {
            return;
        }
        let beside = Beside { desk, audit, ..Beside::default() };
        held.lsn = self.charging.edge.append_alone(&self.charging.journal, self.charging.clock.now(), &beside);
    }

    /// As people see it. Reads a CDR; waits for the disk.
    fn shown(&self, kept: &Kept) -> wire::CdrConsumer {
        let (what, place, parked, holder) = {
            let held = kept.held.lock();
            let holder = held.holder.as_ref().map(|holder| (holder.instance.to_string(), time(holder.since)));
            (held.what.clone(), held.progress.place(), held.progress.parked().len(), holder)
        };
        let lag = self.cdrs.durable().position.next().get().saturating_sub(place.next.get());
        let oldest = if lag > 0 { self.accepted(place.next) } else { None };
        let (retrying_position, retrying_attempts) = place.retrying.map_or((0, 0), |(at, times)| (at.get(), times));
        let (instance, open_time) = holder.map_or_else(Default::default, |(instance, since)| (instance, Some(since)));
        wire::CdrConsumer {
            name: consumer_name(&kept.name),
            filter: Some(kept.selection.shown()),
            max_attempts: what.max_attempts,
            next_position: place.next.get(),
            lag,
            oldest_unacked_time: oldest.map(time),
            parked: u32::try_from(parked).unwrap_or(u32::MAX),
            retrying_position,
            retrying_attempts,
            created_by: what.created_by.to_string(),
            create_time: Some(time(what.created)),
            ack_time: place.acked.map(time),
            instance,
            open_time,
            etag: etag(&what),
        }
    }

    /// The position that is meant. Whoever asks keeps it from being removed meanwhile.
    fn position(&self, start: Start) -> Result<CdrPosition, ConsumerRefusal> {
        let (first, next) = (self.cdrs.first_position(), self.cdrs.durable().position.next());
        let there = || format!("kept are {first} and what follows, the next will be {next}");
        match start {
            Start::Oldest => Ok(first),
            Start::Tail => Ok(next),
            Start::At(position) if position.get() == 0 || position > next => {
                Err(ConsumerRefusal::NeverIssued(position, there()))
            }
            Start::At(position) if position < first => Err(ConsumerRefusal::NotKept(position, there())),
            Start::At(position) => Ok(position),
        }
    }

    /// The records of a request that is done now: its own, and of those that are forgotten for it.
    fn remembered(
        &self,
        requests: &mut MutexGuard<'_, BTreeSet<(Timestamp, DeskKey)>>,
        key: DeskKey,
        digest: [u8; 32],
    ) -> Vec<DeskRecord> {
        let now = self.charging.clock.now();
        let mut octets = Vec::new();
        records::encode_done_request(&mut octets, &DoneRequest { at: now, digest, answer: Box::default() });
        let forgotten = to_forget(requests, now);
        let mut desk = vec![DeskRecord::there(key.clone(), octets)];
        for known in forgotten {
            desk.push(DeskRecord::gone(known.1.clone()));
            requests.remove(&known);
        }
        requests.insert((now, key));
        desk
    }

    /// Whether a request was done before.
    fn is_done(&self, key: &DeskKey, digest: &[u8; 32]) -> Result<bool, ConsumerRefusal> {
        let Some(known) = self.charging.edge.desk_record(key) else {
            if self.charging.journal.is_saturated() {
                return Err(OperationError::Refused(Refusal::TooBusy).into());
            }
            return Ok(false);
        };
        let broken = |error| OperationError::Store(format!("a remembered request of the desk: {error}"));
        let done = records::decode_done_request(&known).map_err(broken)?;
        if done.digest != *digest {
            return Err(OperationError::Refused(Refusal::KeyReused).into());
        }
        Ok(true)
    }

    fn make(&self, caller: &Caller, wanted: ConsumerWanted) -> Result<(Arc<Kept>, bool), ConsumerRefusal> {
        let ConsumerWanted { name, filter, start, max_attempts, asked } = wanted;
        let selection = Selection::parse(filter).map_err(ConsumerRefusal::Filter)?;
        // What it begins with must still be there when it is known.
        let _pause = self.retention.pause();
        let mut requests = self.changing.lock();
        let (key, digest) = request_of(&asked, &name);
        if self.is_done(&key, &digest)? {
            return self.find(&name).map(|kept| (kept, true)).ok_or(ConsumerRefusal::Unknown);
        }
        if self.find(&name).is_some() {
            return Err(ConsumerRefusal::Exists);
        }
        if self.known.read().len() >= CONSUMERS_MAX {
            return Err(ConsumerRefusal::TooMany(CONSUMERS_MAX));
        }
        let (next, now) = (self.position(start)?, self.charging.clock.now());
        let what = Consumer {
            kinds: selection.kinds().to_vec(),
            accounts: selection.accounts().collect(),
            max_attempts,
            created_by: (*caller.name).into(),
            created: now,
            resets: 0,
        };
        let place = Place { next, acked: None, retrying: None };
        let said = if selection.is_all() { String::new() } else { format!(", {}", filter_in_words(&selection)) };
        let by = by(caller, "CdrConsumers/CreateConsumer", &name, &asked);
        let audit = by.record(now, vec![difference(consumer_name(&name), "", &format!("from CDR {next}{said}"))]);
        let mut desk = self.remembered(&mut requests, key, digest);
        desk.push(what_record(&name, &what));
        let place_only = Unwritten { place: Some(place), parked: Vec::new() };
        desk.extend(unwritten_records(&name, place_only));
        let progress = Progress::new(place, BTreeMap::new(), max_attempts);
        let kept = Arc::new(Kept::new(name, what, progress, Lsn::new(0)));
        self.append(&kept, &mut kept.held.lock(), desk, Some(audit));
        self.known.write().insert(kept.name.clone(), kept.clone());
        Ok((kept, false))
    }

    fn alter(
        &self,
        caller: &Caller,
        change: &ConsumerChange,
    ) -> Result<(Option<Arc<Kept>>, u32, bool), ConsumerRefusal> {
        let ConsumerChange { name, step, etag: based_on, asked } = change;
        let _pause = self.retention.pause();
        let mut requests = self.changing.lock();
        let (key, digest) = request_of(asked, name);
        if self.is_done(&key, &digest)? {
            return Ok((self.find(name), 0, true));
        }
        let kept = self.find(name).ok_or(ConsumerRefusal::Unknown)?;
        let now = self.charging.clock.now();
        let mut held = kept.held.lock();
        if based_on.as_ref().is_some_and(|based_on| **based_on != *etag(&held.what)) {
            return Err(OperationError::Stale.into());
        }
        let stood = held.progress.place().next;
        let mut desk = Vec::new();
        let (before, after, count) = match step {
            ConsumerStep::Reset(start) => {
                let next = self.position(*start)?;
                let (before, after) = (format!("at CDR {stood}"), format!("at CDR {next}, {}", moved(stood, next)));
                held.progress.reset(next);
                held.what.resets = held.what.resets.saturating_add(1);
                desk.push(what_record(name, &held.what));
                held.wrest(Lost::Reset);
                (before, after, 0)
            }
            ConsumerStep::Delete => {
                let parked = held.progress.parked().len();
                let lag = self.cdrs.durable().position.next().get().saturating_sub(stood.get());
                let before = format!("at CDR {stood}, {lag} not acknowledged, {parked} parked");
                let all: Vec<CdrPosition> = held.progress.parked().keys().copied().collect();
                for position in &all {
                    held.progress.unpark(*position);
                }
                let records = unwritten_records(name, Unwritten { place: None, ..held.progress.unwritten() });
                desk.extend(records);
                desk.push(DeskRecord::gone(keys::desk(Drawer::Consumers, name.as_bytes())));
                desk.push(DeskRecord::gone(keys::desk(Drawer::ConsumerPlaces, name.as_bytes())));
                held.wrest(Lost::Deleted);
                held.is_gone = true;
                (before, "ended".to_owned(), 0)
            }
            ConsumerStep::Retry(positions) => {
                let all: Vec<CdrPosition> = match &positions[..] {
                    [] => held.progress.parked().keys().copied().collect(),
                    named => named.to_vec(),
                };
                check_parked(&held.progress, &all)?;
                for position in &all {
                    held.progress.retry_parked(*position);
                }
                ("parked".to_owned(), format!("to be sent again: {}", in_words(&all)), all.len())
            }
            ConsumerStep::Discard(positions) => {
                check_parked(&held.progress, positions)?;
                for position in positions {
                    held.progress.unpark(*position);
                }
                ("parked".to_owned(), format!("given up: {}", in_words(positions)), positions.len())
            }
        };
        let audit = by(caller, step.method(), name, asked);
        let audit = audit.record(now, vec![difference(consumer_name(name), &before, &after)]);
        desk.extend(self.remembered(&mut requests, key, digest));
        self.append(&kept, &mut held, desk, Some(audit));
        let is_gone = held.is_gone;
        drop(held);
        if is_gone {
            self.known.write().remove(name);
        }
        kept.changes.send_replace(());
        Ok(((!is_gone).then_some(kept), u32::try_from(count).unwrap_or(u32::MAX), false))
    }

    /// Does something that waits, then waits until all that was appended is durable.
    async fn when_durable<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ConsumerRefusal> + Send + 'static,
    ) -> Result<T, ConsumerRefusal> {
        let own = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            // What streams have not had written yet is written, so that what is shown is durable.
            own.all().iter().for_each(|kept| own.append(kept, &mut kept.held.lock(), Vec::new(), None));
            let done = work(&own);
            (done, own.charging.journal.appended_lsn())
        });
        let (done, lsn) = done.await.map_err(|_| OperationError::Stopping)?;
        let mut mark = self.mark.clone();
        mark.wait_for(|mark| *mark >= lsn.get()).await.map_err(|_| OperationError::Stopping)?;
        done
    }
}

impl Kept {
    fn new(name: Box<str>, what: Consumer, progress: Progress, lsn: Lsn) -> Self {
        let selection = Selection::new(what.kinds.iter().copied(), what.accounts.iter().copied());
        let held = Mutex::new(Held { what, progress, holder: None, lsn, is_gone: false });
        Self { name, selection: Arc::new(selection), held, changes: watch::Sender::new(()) }
    }
}

fn parked_key(name: &str, position: Option<CdrPosition>) -> Vec<u8> {
    let mut rest = name.as_bytes().to_vec();
    rest.push(NAME_END);
    if let Some(position) = position {
        rest.extend_from_slice(&position.get().to_be_bytes());
    }
    keys::desk(Drawer::ParkedCdrs, &rest)
}

fn what_record(name: &str, what: &Consumer) -> DeskRecord {
    let mut octets = Vec::new();
    records::encode_consumer(&mut octets, what);
    DeskRecord::there(keys::desk(Drawer::Consumers, name.as_bytes()), octets)
}

fn unwritten_records(name: &str, unwritten: Unwritten) -> impl Iterator<Item = DeskRecord> {
    let Unwritten { place, parked } = unwritten;
    let place = place.map(|Place { next, acked, retrying }| {
        let mut octets = Vec::new();
        records::encode_consumer_place(&mut octets, &ConsumerPlace { next, acked, retrying });
        DeskRecord::there(keys::desk(Drawer::ConsumerPlaces, name.as_bytes()), octets)
    });
    let parked = parked.into_iter().map(move |(position, parked)| {
        let key = parked_key(name, Some(position));
        let Some(Parked { reason, attempts, since, instance, due }) = parked else { return DeskRecord::gone(key) };
        let mut octets = Vec::new();
        records::encode_parked_cdr(&mut octets, &ParkedCdr { reason, attempts, since, instance, due });
        DeskRecord::there(key, octets)
    });
    place.into_iter().chain(parked)
}

fn check_parked(progress: &Progress, positions: &[CdrPosition]) -> Result<(), ConsumerRefusal> {
    let unknown = positions.iter().find(|position| !progress.parked().contains_key(position));
    unknown.map_or(Ok(()), |position| Err(ConsumerRefusal::NotParked(*position)))
}

/// The key that a request is remembered by, and its digest.
fn request_of(asked: &Asked, name: &str) -> (DeskKey, [u8; 32]) {
    let request = asked.request(&consumer_name(name));
    let mut digest = [0; 32];
    if let Some(place) = digest.first_chunk_mut() {
        *place = request.digest.to_be_bytes();
    }
    (keys::desk(Drawer::Requests, &[REQUESTS, request.key.as_str().as_bytes()].concat()).into(), digest)
}

fn by(caller: &Caller, method: &'static str, name: &str, asked: &Asked) -> By {
    By {
        caller: (*caller.name).into(),
        method,
        target: consumer_name(name).into(),
        key: asked.key.as_str().into(),
        reason: asked.reason.clone(),
    }
}

/// Over what people say of a consumer.
fn etag(what: &Consumer) -> String {
    format!("{:x}-{}", what.created.millis(), what.resets)
}

fn moved(from: CdrPosition, to: CdrPosition) -> String {
    if to < from {
        format!("{} are sent again", from.get() - to.get())
    } else {
        format!("{} are passed over", to.get() - from.get())
    }
}

/// Positions that one audit record names.
const NAMED_MAX: usize = 20;

fn in_words(positions: &[CdrPosition]) -> String {
    let named: Vec<String> = positions.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let rest = positions.len().saturating_sub(NAMED_MAX);
    let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{} CDRs: {}{rest}", positions.len(), named.join(", "))
}

fn filter_in_words(selection: &Selection) -> String {
    let wire::CdrFilter { kinds, account_ids } = selection.shown();
    format!("of {} kinds and {} accounts", said(kinds.len()), said(account_ids.len()))
}

fn said(count: usize) -> String {
    if count == 0 { "all".to_owned() } else { count.to_string() }
}

impl RetentionFloor for Consumers {
    fn floor(&self) -> Option<Floor> {
        let mut lowest: Option<Floor> = None;
        let mut last = Lsn::new(0);
        for kept in self.all() {
            let mut held = kept.held.lock();
            self.append(&kept, &mut held, Vec::new(), None);
            last = last.max(held.lsn);
            let from = held.progress.needs_from();
            if lowest.as_ref().is_none_or(|lowest| from < lowest.from) {
                lowest = Some(Floor { from, holder: consumer_name(&kept.name) });
            }
        }
        // A crash must not take a place back behind what was removed.
        if self.charging.journal.mark().wait_for(last).is_err() {
            return Some(Floor { from: CdrPosition::new(0), holder: "the log, which has stopped".to_owned() });
        }
        lowest
    }
}

/// A consumer in the hands of a stream.
#[derive(Debug)]
pub struct Hold {
    consumers: Arc<Consumers>,
    kept: Arc<Kept>,
    lost: Arc<OnceLock<Lost>>,
    changes: watch::Receiver<()>,
}

impl Hold {
    fn held(&self) -> Result<MutexGuard<'_, Held>, Lost> {
        let held = self.kept.held.lock();
        self.lost.get().map_or(Ok(held), |lost| Err(lost.clone()))
    }
}

/// The consumers of a process, as streams take them.
#[derive(Clone, Debug)]
pub struct Book(pub Arc<Consumers>);

impl ConsumerBook for Book {
    type Hold = Hold;

    fn take(&self, name: &str, instance: &str, take_over: bool) -> Result<Hold, HoldRefusal> {
        let consumers = self.0.clone();
        let kept = consumers.find(name).ok_or(HoldRefusal::Unknown)?;
        let (lost, since) = (Arc::new(OnceLock::new()), consumers.charging.clock.now());
        {
            let mut held = kept.held.lock();
            if held.is_gone {
                return Err(HoldRefusal::Unknown);
            }
            // Under the lock: whoever stops comes by afterwards.
            if consumers.is_stopping.load(Ordering::Acquire) {
                return Err(HoldRefusal::Stopping);
            }
            if let Some(Holder { instance, since, .. }) = held.holder.as_ref().filter(|_| !take_over) {
                return Err(HoldRefusal::Held { instance: instance.clone(), since: *since });
            }
            held.wrest(Lost::TakenOver { by: instance.into() });
            held.holder = Some(Holder { instance: instance.into(), since, lost: lost.clone() });
        }
        // Whoever had it hears of that; what comes from now on is ours to hear.
        kept.changes.send_replace(());
        let changes = kept.changes.subscribe();
        tracing::info!(consumer = name, instance, take_over, "a consumer is open");
        Ok(Hold { consumers, kept, lost, changes })
    }
}

impl ConsumerHold for Hold {
    fn selection(&self) -> Arc<Selection> {
        self.kept.selection.clone()
    }

    fn now(&self) -> Timestamp {
        self.consumers.charging.clock.now()
    }

    fn with<R>(&self, work: impl FnOnce(&mut Progress) -> R) -> Result<R, Lost> {
        self.held().map(|mut held| work(&mut held.progress))
    }

    fn write(&self) -> Result<Option<Lsn>, Lost> {
        let mut held = self.held()?;
        if held.progress.is_unwritten() && self.consumers.charging.journal.is_saturated() {
            return Ok(None);
        }
        self.consumers.append(&self.kept, &mut held, Vec::new(), None);
        Ok(Some(held.lsn))
    }

    async fn durable(&self, lsn: Lsn) -> Result<(), FeedStopped> {
        let mut mark = self.consumers.mark.clone();
        mark.wait_for(|mark| *mark >= lsn.get()).await.map(drop).map_err(|_| FeedStopped)
    }

    async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn retried(&self) {
        self.consumers.charging.telemetry.cdr_retried(&self.kept.name);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Ok(mut held) = self.held() else { return };
        held.holder = None;
        self.consumers.append(&self.kept, &mut held, Vec::new(), None);
        drop(held);
        tracing::info!(consumer = &*self.kept.name, "a consumer is free");
    }
}

/// The consumers of a process, as people look after them.
#[derive(Clone, Debug)]
pub struct Care(pub Arc<Consumers>);

impl ConsumerOperations for Care {
    async fn create(
        &self,
        caller: Caller,
        wanted: ConsumerWanted,
    ) -> Result<(wire::CdrConsumer, bool), ConsumerRefusal> {
        let made = self.0.when_durable(move |consumers| {
            let (kept, repeated) = consumers.make(&caller, wanted)?;
            Ok((consumers.shown(&kept), repeated))
        });
        made.await
    }

    async fn consumer(&self, name: Box<str>) -> Result<wire::CdrConsumer, ConsumerRefusal> {
        let found = self.0.when_durable(move |consumers| {
            consumers.find(&name).map(|kept| consumers.shown(&kept)).ok_or(ConsumerRefusal::Unknown)
        });
        found.await
    }

    async fn consumers(&self) -> Result<Vec<wire::CdrConsumer>, ConsumerRefusal> {
        let all = |consumers: &Consumers| Ok(consumers.all().iter().map(|kept| consumers.shown(kept)).collect());
        self.0.when_durable(all).await
    }

    async fn change(&self, caller: Caller, change: ConsumerChange) -> Result<ConsumerChanged, ConsumerRefusal> {
        let changed = self.0.when_durable(move |consumers| {
            let (kept, parked, repeated) = consumers.alter(&caller, &change)?;
            Ok(ConsumerChanged { consumer: kept.map(|kept| consumers.shown(&kept)), parked, repeated })
        });
        changed.await
    }

    async fn parked(
        &self,
        name: Box<str>,
        after: Option<u64>,
        max: usize,
    ) -> Result<Vec<wire::ParkedCdr>, ConsumerRefusal> {
        let found = self.0.when_durable(move |consumers| {
            let kept = consumers.find(&name).ok_or(ConsumerRefusal::Unknown)?;
            let held = kept.held.lock();
            let from = CdrPosition::new(after.map_or(0, |after| after.saturating_add(1)));
            let parked = held.progress.parked().range(from..).take(max);
            Ok(parked.map(|(position, parked)| parked_shown(*position, parked)).collect())
        });
        found.await
    }
}

fn parked_shown(position: CdrPosition, parked: &Parked) -> wire::ParkedCdr {
    wire::ParkedCdr {
        position: position.get(),
        reason: parked.reason.to_string(),
        attempts: parked.attempts,
        park_time: Some(time(parked.since)),
        instance: parked.instance.to_string(),
        due: parked.due,
    }
}
