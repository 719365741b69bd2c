//! What a period would have cost under a draft of a tariff: stored usage priced again, in totals and by subscriber.
//!
//! Pure: CDRs come from an iterator, in the order of their stream, and nothing is booked. They are priced with the code that charges
//! everything ([`rating_engine::rerate`]): what unit buckets paid stays paid, money is priced anew. Sessions and events belong to the
//! period in which their first usage began, and are counted whole, so that every one is counted in one period only; the draft prices
//! all of it, whenever it comes into force. Absent: fees and allowances of offers, and how people would have behaved.
//!
//! Memory is bounded: of sessions that may go on at most [`HELD_CDRS_MAX`] CDRs are held, of each subscriber with usage two sums, of
//! each CDR of the stream one bit for every worker, of later corrections [`LATER_MAX`].

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use foldhash::fast::RandomState;
use rating_engine::cdr::{Cause, CdrKind, CdrSource, RatedCdr};
use rating_engine::ids::{AccountId, CdrPosition, OfferName, SessionId, SubscriberId};
use rating_engine::money::Money;
use rating_engine::periods::Periods;
use rating_engine::rerate::{ServiceName, Unpriced, reprice, reproduced};
use rating_engine::tariff::TariffVersion;
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;

/// CDRs of sessions that are held until these end: some 400 MB.
pub const HELD_CDRS_MAX: usize = 200_000;
/// Refunds and corrections of the tariff's usage that are taken into account.
pub const LATER_MAX: usize = 1_000_000;
/// Subscribers that are named at most, at either end.
pub const NAMED_MAX: usize = 1000;
/// Each works on sessions of its own. Fixed, so that the same CDRs always give the same result.
const WORKERS: usize = 2;
/// CDRs that are handed over at once.
const BATCH: usize = 512;
/// Batches that wait for a worker.
const BATCHES_MAX: usize = 8;

/// What is asked.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The draft, in place of all versions of its tariff.
    pub draft: &'a Arc<TariffVersion>,
    /// First instant of the period.
    pub from: Timestamp,
    /// First instant after it.
    pub to: Timestamp,
    /// Accounting periods, where they are kept: usage is divided by them.
    pub periods: Option<&'a Arc<Periods>>,
    /// The offer by which an account is charged by the tariff: totals are by offer.
    pub offer_of: &'a (dyn Fn(AccountId) -> Option<OfferName> + Sync),
    /// How many subscribers are named at either end; at most [`NAMED_MAX`].
    pub top: usize,
    /// CDRs of sessions that are held until these end; at most [`HELD_CDRS_MAX`]. Beyond, what ended first is counted first, then what
    /// has been silent longest.
    pub held: usize,
}

/// What usage cost and would have cost, in micro-units of the draft's currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions and events. One of several accounts counts for the offer of each.
    pub sessions: u64,
    /// CDRs.
    pub cdrs: u64,
    /// What was charged, corrections since included.
    pub old: i128,
    /// What the draft charges.
    pub new: i128,
}

impl Totals {
    /// What the draft charges more; below 0, less.
    pub const fn difference(&self) -> i128 {
        self.new.saturating_sub(self.old)
    }

    fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.cdrs += other.cdrs;
        self.old = self.old.saturating_add(other.old);
        self.new = self.new.saturating_add(other.new);
    }
}

/// One subscriber, in micro-units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Who.
    pub id: SubscriberId,
    /// What was charged for its usage, whoever paid.
    pub old: i128,
    /// What the draft charges for it.
    pub new: i128,
}

impl Subscriber {
    /// What it would have paid more; below 0, less.
    pub const fn difference(&self) -> i128 {
        self.new.saturating_sub(self.old)
    }
}

/// CDRs that something is said of, and what they charged in micro-units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub cdrs: u64,
    /// What they charged.
    pub charged: i128,
}

impl Count {
    fn add(&mut self, cdrs: u64, charged: i128) {
        self.cdrs += cdrs;
        self.charged = self.charged.saturating_add(charged);
    }
}

/// Why usage could not be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftOut {
    /// The first CDRs of the service are missing: they are gone, or more sessions were open than are held.
    Incomplete,
    /// The versions that charged it do not lead to what it was charged when they are asked again.
    Unlike,
    /// It was charged in another currency than the draft's.
    Currency,
    /// The draft has no price for it.
    NoPrice,
    /// The draft's price counts a cycle that the one that charged it did not.
    NewCycle,
    /// An amount does not fit.
    OutOfRange,
    /// Corrections and refunds beyond [`LATER_MAX`].
    Later,
}

impl LeftOut {
    /// As programs read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Unlike => "unlike",
            Self::Currency => "currency",
            Self::NoPrice => "no_price",
            Self::NewCycle => "new_cycle",
            Self::OutOfRange => "out_of_range",
            Self::Later => "later",
        }
    }

    /// Why the versions that charged it do not say the same again.
    const fn as_it_was(reason: Unpriced) -> Self {
        match reason {
            Unpriced::Incomplete => Self::Incomplete,
            Unpriced::OutOfRange => Self::OutOfRange,
            Unpriced::Unlike | Unpriced::NoVersion | Unpriced::NoPrice | Unpriced::NewCycle | Unpriced::Refunded => {
                Self::Unlike
            }
        }
    }

    const fn under_draft(reason: Unpriced) -> Self {
        match reason {
            Unpriced::Incomplete => Self::Incomplete,
            Unpriced::Unlike | Unpriced::Refunded => Self::Unlike,
            Unpriced::NoVersion => Self::Currency,
            Unpriced::NoPrice => Self::NoPrice,
            Unpriced::NewCycle => Self::NewCycle,
            Unpriced::OutOfRange => Self::OutOfRange,
        }
    }
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Incomplete => "its first CDRs are missing",
            Self::Unlike => "its CDRs do not say enough to charge it again as it was",
            Self::Currency => "it was charged in another currency",
            Self::NoPrice => "the draft has no price for it",
            Self::NewCycle => "the draft counts a cycle for it that was not counted then",
            Self::OutOfRange => "its amount does not fit",
            Self::Later => "more corrections and refunds than are kept",
        })
    }
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulation {
    /// All that was simulated.
    pub totals: Totals,
    /// The same by offer; `None` for accounts that hold none with this tariff.
    pub by_offer: BTreeMap<Option<String>, Totals>,
    /// Subscribers that would have paid more.
    pub dearer: u64,
    /// Subscribers that would have paid less.
    pub cheaper: u64,
    /// Subscribers that would have paid the same.
    pub unchanged: u64,
    /// The differences of the 10th, 50th and 90th of a hundred subscribers, from the one that gains most; micro-units. All of them are 0
    /// where there is none.
    pub percentiles: [i128; 3],
    /// Those that would have paid less, the most first.
    pub winners: Vec<Subscriber>,
    /// Those that would have paid more, the most first.
    pub losers: Vec<Subscriber>,
    /// What could not be simulated, by reason.
    pub left_out: BTreeMap<LeftOut, Count>,
    /// Refunds of what was simulated: the usage is counted as it was charged before them.
    pub refunds: Count,
    /// Corrections of what was simulated: they are in what was charged.
    pub corrections: Count,
}

/// What a period would have cost under a draft. `cdrs` are those of the stream from before the first session of the period on, in its
/// order; what is not of the draft's tariff is passed over.
///
/// # Errors
/// The first error of the iterator.
pub fn simulate<E>(
    question: &Question<'_>,
    cdrs: impl Iterator<Item = Result<(CdrPosition, RatedCdr), E>>,
) -> Result<Simulation, E> {
    let mut tariffs = Tariffs::default();
    tariffs.insert(Arc::new(question.draft.at_all_times()));
    question.periods.into_iter().for_each(|periods| tariffs.insert_periods(periods.clone()));
    std::thread::scope(|scope| {
        let workers: [_; WORKERS] = std::array::from_fn(|_| {
            let (hand_over, taken) = sync_channel(BATCHES_MAX);
            let worker = Worker::new(question, &tariffs);
            (Hand { batch: Vec::new(), hand_over }, scope.spawn(move || worker.run(&taken)))
        });
        let (mut hands, workers): (Vec<Hand>, Vec<_>) = workers.into_iter().unzip();
        let mut later = Later::default();
        let read = cdrs.into_iter().try_for_each(|read| {
            let (position, cdr) = read?;
            hand(question, &mut hands, &mut later, position, cdr);
            Ok(())
        });
        for mut hand in hands {
            hand.flush();
        }
        let done =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let done: Vec<Done> = done.collect();
        read.map(|()| answer(question, done, later))
    })
}

/// Gives a CDR to whom it belongs.
fn hand(question: &Question<'_>, hands: &mut [Hand], later: &mut Later, position: CdrPosition, cdr: RatedCdr) {
    let is_of_tariff = cdr.rating.as_ref().is_some_and(|rating| rating.tariff.name() == question.draft.name());
    match (cdr.kind, cdr.corrects, &cdr.source) {
        // A refund says no tariff.
        (CdrKind::Refund, Some(corrects), _) => later.add(corrects, &cdr),
        (CdrKind::ReRate, Some(corrects), _) if is_of_tariff => later.add(corrects, &cdr),
        (CdrKind::Usage, _, CdrSource::Network { session, .. }) if is_of_tariff => {
            if let Some(hand) = hands.get_mut(place_of(session)) {
                hand.give(Item::Usage(position, Box::new(cdr)));
            }
        }
        (CdrKind::Lapse, _, CdrSource::Network { session, .. }) => {
            if let Some(hand) = hands.get_mut(place_of(session)) {
                hand.give(Item::End(session.clone()));
            }
        }
        _ => {}
    }
}

/// The worker of a session.
fn place_of(session: &SessionId) -> usize {
    let mixed = session
        .octets()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3));
    usize::try_from(mixed >> 33).unwrap_or(0) % WORKERS
}

/// What a worker is given.
enum Item {
    Usage(CdrPosition, Box<RatedCdr>),
    /// The session fell silent and is over.
    End(SessionId),
}

/// Where a worker's items are gathered.
struct Hand {
    batch: Vec<Item>,
    hand_over: SyncSender<Vec<Item>>,
}

impl Hand {
    fn give(&mut self, item: Item) {
        self.batch.push(item);
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        // A worker that is gone has panicked, which is told when it is joined.
        let _ = self.hand_over.send(std::mem::take(&mut self.batch));
    }
}

/// What was said later of CDRs that had been simulated, perhaps.
#[derive(Default)]
struct Later {
    said: Vec<Said>,
    /// Beyond what is kept.
    more: Count,
}

struct Said {
    corrects: CdrPosition,
    kind: CdrKind,
    account: AccountId,
    subscriber: Option<SubscriberId>,
    amount: Money,
}

impl Later {
    fn add(&mut self, corrects: CdrPosition, cdr: &RatedCdr) {
        if self.said.len() >= LATER_MAX {
            self.more.add(1, cdr.amount.micros().into());
            return;
        }
        let (kind, account, subscriber, amount) = (cdr.kind, cdr.account, cdr.subscriber, cdr.amount);
        self.said.push(Said { corrects, kind, account, subscriber, amount });
    }
}

/// Positions, a bit each, in pieces of 4096.
#[derive(Default)]
struct Positions(HashMap<u64, Box<[u64; 64]>, RandomState>);

impl Positions {
    fn place(position: CdrPosition) -> (u64, usize, u64) {
        let position = position.get();
        (position >> 12, usize::try_from(position >> 6 & 63).unwrap_or(0), 1 << (position & 63))
    }

    fn insert(&mut self, position: CdrPosition) {
        let (piece, word, bit) = Self::place(position);
        if let Some(bits) = self.0.entry(piece).or_insert_with(|| Box::new([0; 64])).get_mut(word) {
            *bits |= bit;
        }
    }

    fn contains(&self, position: CdrPosition) -> bool {
        let (piece, word, bit) = Self::place(position);
        self.0.get(&piece).and_then(|bits| bits.get(word)).is_some_and(|bits| bits & bit != 0)
    }
}

/// The usage of one service that has come so far.
#[derive(Default)]
struct Service {
    positions: Vec<CdrPosition>,
    cdrs: Vec<RatedCdr>,
    charged: Money,
}

/// A session that may go on.
#[derive(Default)]
struct Session {
    services: HashMap<ServiceName, Service, RandomState>,
    /// Its last CDR.
    last: CdrPosition,
    is_ended: bool,
    /// Offers that it is counted for; it is counted whole when there is one.
    counted: Vec<Option<String>>,
}

/// What a worker has found.
#[derive(Default)]
struct Done {
    totals: Totals,
    by_offer: BTreeMap<Option<String>, Totals>,
    subscribers: HashMap<SubscriberId, (i128, i128), RandomState>,
    left_out: BTreeMap<LeftOut, Count>,
    simulated: Positions,
}

struct Worker<'a> {
    question: &'a Question<'a>,
    tariffs: &'a Tariffs,
    sessions: HashMap<SessionId, Session, RandomState>,
    /// By their last CDR, those that are over and those that are not.
    ended: BTreeMap<CdrPosition, SessionId>,
    open: BTreeMap<CdrPosition, SessionId>,
    held: usize,
    done: Done,
}

impl<'a> Worker<'a> {
    fn new(question: &'a Question<'a>, tariffs: &'a Tariffs) -> Self {
        Self {
            question,
            tariffs,
            sessions: HashMap::default(),
            ended: BTreeMap::new(),
            open: BTreeMap::new(),
            held: 0,
            done: Done::default(),
        }
    }

    fn run(mut self, taken: &Receiver<Vec<Item>>) -> Done {
        while let Ok(batch) = taken.recv() {
            for item in batch {
                match item {
                    Item::Usage(position, cdr) => self.take(position, *cdr),
                    Item::End(session) => self.end(&session),
                }
            }
        }
        let left: Vec<Session> = self.sessions.drain().map(|(_, session)| session).collect();
        left.into_iter().for_each(|session| self.count(session));
        self.done
    }

    fn take(&mut self, position: CdrPosition, cdr: RatedCdr) {
        let (Some(name), CdrSource::Network { session: id, .. }) = (ServiceName::of(&cdr), &cdr.source) else { return };
        let id = id.clone();
        let session = match self.sessions.entry(id.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Session::default()),
        };
        let queue = if session.is_ended { &mut self.ended } else { &mut self.open };
        queue.remove(&session.last);
        session.last = position;
        // A client's stop may still come after we have ended a session: what has ended is counted when the room is needed.
        session.is_ended = cdr.cause != Cause::Interim;
        let queue = if session.is_ended { &mut self.ended } else { &mut self.open };
        queue.insert(position, id);
        let service = session.services.entry(name).or_default();
        let mut before = None;
        if !service.cdrs.is_empty() && !ServiceName::goes_on(service.cdrs.iter(), service.charged, &cdr) {
            before = Some(std::mem::take(service));
        }
        service.charged = service.charged.saturating_add(cdr.amount);
        service.positions.push(position);
        service.cdrs.push(cdr);
        self.held += 1;
        if let Some(before) = before {
            // Another session under this id.
            let mut counted = Vec::new();
            self.count_service(before, &mut counted);
        }
        while self.held > self.question.held.min(HELD_CDRS_MAX) / WORKERS {
            let Some((_, id)) = self.ended.pop_first().or_else(|| self.open.pop_first()) else { break };
            if let Some(session) = self.sessions.remove(&id) {
                self.count(session);
            }
        }
    }

    fn end(&mut self, id: &SessionId) {
        if let Some(session) = self.sessions.get_mut(id)
            && !session.is_ended
        {
            session.is_ended = true;
            self.open.remove(&session.last);
            self.ended.insert(session.last, id.clone());
        }
    }

    fn count(&mut self, mut session: Session) {
        let services = std::mem::take(&mut session.services);
        for service in services.into_values() {
            self.count_service(service, &mut session.counted);
        }
    }

    /// Prices the usage of a service again. A session is counted once in all and once for each offer.
    fn count_service(&mut self, service: Service, counted: &mut Vec<Option<String>>) {
        self.held = self.held.saturating_sub(service.cdrs.len());
        let Some(first) = service.cdrs.first() else { return };
        if first.usage_start < self.question.from || self.question.to <= first.usage_start {
            return;
        }
        let repriced = reproduced(&service.cdrs, self.question.periods).map_err(LeftOut::as_it_was);
        let repriced = match repriced.and_then(|()| reprice(&service.cdrs, self.tariffs).map_err(LeftOut::under_draft))
        {
            Ok(repriced) => repriced,
            Err(reason) => {
                let charged = service.cdrs.iter().map(|cdr| i128::from(cdr.amount.micros())).sum();
                let cdrs = u64::try_from(service.cdrs.len()).unwrap_or(u64::MAX);
                self.done.left_out.entry(reason).or_default().add(cdrs, charged);
                return;
            }
        };
        for ((position, cdr), repriced) in service.positions.iter().zip(&service.cdrs).zip(repriced) {
            let (old, new) = (i128::from(cdr.amount.micros()), i128::from(repriced.amount.micros()));
            let offer = (self.question.offer_of)(cdr.account).map(|offer| offer.as_str().to_owned());
            let is_new = !counted.contains(&offer);
            let mut one = Totals { sessions: u64::from(is_new), cdrs: 1, old, new };
            self.done.by_offer.entry(offer.clone()).or_default().add(&one);
            one.sessions = u64::from(counted.is_empty());
            self.done.totals.add(&one);
            if is_new {
                counted.push(offer);
            }
            if let Some(subscriber) = cdr.subscriber {
                let sums = self.done.subscribers.entry(subscriber).or_default();
                *sums = (sums.0.saturating_add(old), sums.1.saturating_add(new));
            }
            self.done.simulated.insert(*position);
        }
    }
}

/// Everything together.
fn answer(question: &Question<'_>, done: Vec<Done>, later: Later) -> Simulation {
    let mut all = Simulation::default();
    let mut subscribers: HashMap<SubscriberId, (i128, i128), RandomState> = HashMap::default();
    let mut simulated = Vec::new();
    for done in done {
        all.totals.add(&done.totals);
        for (offer, totals) in &done.by_offer {
            all.by_offer.entry(offer.clone()).or_default().add(totals);
        }
        for (reason, count) in done.left_out {
            all.left_out.entry(reason).or_default().add(count.cdrs, count.charged);
        }
        if subscribers.is_empty() {
            subscribers = done.subscribers;
        } else {
            for (id, (old, new)) in done.subscribers {
                let sums = subscribers.entry(id).or_default();
                *sums = (sums.0.saturating_add(old), sums.1.saturating_add(new));
            }
        }
        simulated.push(done.simulated);
    }
    for said in later.said {
        if !simulated.iter().any(|positions| positions.contains(said.corrects)) {
            continue;
        }
        let amount = i128::from(said.amount.micros());
        if said.kind == CdrKind::Refund {
            all.refunds.add(1, amount);
            continue;
        }
        all.corrections.add(1, amount);
        let more = Totals { old: amount, ..Totals::default() };
        all.totals.add(&more);
        let offer = (question.offer_of)(said.account).map(|offer| offer.as_str().to_owned());
        all.by_offer.entry(offer).or_default().add(&more);
        if let Some(sums) = said.subscriber.and_then(|id| subscribers.get_mut(&id)) {
            sums.0 = sums.0.saturating_add(amount);
        }
    }
    if later.more.cdrs > 0 {
        all.left_out.entry(LeftOut::Later).or_default().add(later.more.cdrs, later.more.charged);
    }
    let mut sorted: Vec<Subscriber> =
        subscribers.into_iter().map(|(id, (old, new))| Subscriber { id, old, new }).collect();
    sorted.sort_unstable_by_key(|subscriber| (subscriber.difference(), subscriber.id));
    let from = sorted.partition_point(|subscriber| subscriber.difference() < 0);
    let to = sorted.partition_point(|subscriber| subscriber.difference() <= 0);
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    all.cheaper = number(from);
    all.unchanged = number(to.saturating_sub(from));
    all.dearer = number(sorted.len().saturating_sub(to));
    all.percentiles = [10, 50, 90].map(|percent| {
        // The nearest rank: a subscriber's own difference, never one in between.
        let rank = sorted.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
        sorted.get(rank).map_or(0, Subscriber::difference)
    });
    let top = question.top.min(NAMED_MAX);
    all.winners = sorted.iter().take(from.min(top)).copied().collect();
    let mut losers = sorted.split_off(to);
    losers.sort_unstable_by_key(|subscriber| (std::cmp::Reverse(subscriber.difference()), subscriber.id));
    losers.truncate(top);
    all.losers = losers;
    all
}
