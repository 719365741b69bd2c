//! One shard: the accounts it owns and what a command does to them.
//!
//! Front ends build [`Command`]s, the store keeps [`Writes`]; nobody else touches a balance.
//! Time is an argument. Nothing here waits, logs, draws ids or fails.
//!
//! Invariants:
//! - a grant never lifts `reserved` above the balance (reported overuse may still take the balance below zero);
//! - a refused command has no writes; a denied grant still debits what was used;
//! - replaying [`Writes`] in order over an empty shard rebuilds exactly this shard;
//! - every change of a balance has a CDR in the same [`Effects`].

mod archive;
mod event;
mod members;
mod mutate;
mod offers;
mod purchases;
mod refund;
mod refusals;
mod serve;
mod stored;
mod transfer;
mod waiting;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use self::archive::Ended;
pub use self::archive::{Archived, Leaving};
use self::members::Numbers;
use self::refusals::{RefusalKey, Refusals};
use self::serve::{release, serve_all};
pub use self::stored::{Entity, Image};
pub use self::transfer::{Pair, Transfer, transfer};
use self::waiting::Waiting;
use crate::account::{Account, AccountState, Counters, Means, Sponsor, Subscriber};
use crate::cdr::{Cause, CdrKind, CdrSource, RatedCdr};
use crate::command::{
    Action, Answered, Command, Denial, Effects, EntityKey, Facts, MutationKey, MutationOutcome, Outcome, Profile,
    Refusal, RequestKind, ServiceOutcome, ServiceResult, SessionChange, Write, Writes,
};
use crate::context::Context;
use crate::ids::{AccountId, BucketId, GroupId, Lsn, SessionId, SubscriberId, TariffName};
use crate::session::{
    ENDED_KEPT_SECONDS, EVENT_KEPT_SECONDS, EXPIRED_KEPT_SECONDS, Phase, RECORD_KEPT_SECONDS, SERVICES_MAX, Seen,
    Session, Sighting, StoredAnswer,
};
use crate::table::{Keyed, Names, Table};
use crate::tariff::{ServiceKey, TariffVersion};
use crate::tariffs::{Book, Tariffs};
use crate::time::Timestamp;

/// Deadlines that [`Shard::expire`] looks at in one call: those that were put off come back into the queue.
const DEADLINES_AT_ONCE: usize = 16;

/// How long a mutation's key is remembered, seconds: 30 days.
const MUTATION_KEPT_SECONDS: i64 = 30 * 86_400;

/// What a shard may hold (design D12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open sessions; a start beyond it is refused as too busy.
    pub open_sessions_max: usize,
    /// Ended sessions and events in memory; beyond it the oldest are forgotten early.
    pub ended_sessions_max: usize,
    /// Of those, how many stay in memory when the state store has them; the others are archived.
    pub ended_sessions_kept: usize,
    /// Ended sessions and events that are archived; beyond it the oldest are forgotten early.
    pub archived_sessions_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_sessions_max: 1_000_000,
            ended_sessions_max: 1_000_000,
            ended_sessions_kept: 200_000,
            archived_sessions_max: 20_000_000,
        }
    }
}

/// A record with what the store must know of it.
#[derive(Debug)]
struct Slot<T, Q = ()> {
    value: T,
    changed: Lsn,
    dirty: bool,
    /// A session's or account's one entry among the deadlines that counts; others of it are left over.
    queued: Q,
}

impl<T> Slot<T> {
    const fn new(value: T, changed: Lsn) -> Self {
        Self { value, changed, dirty: false, queued: () }
    }
}

impl Slot<Account, Timestamp> {
    /// An account whose deadline is not queued yet.
    const fn of_account(value: Account, changed: Lsn) -> Self {
        Self { value, changed, dirty: false, queued: Timestamp::NEVER }
    }
}

impl Slot<Session, Timestamp> {
    /// A session from the store.
    const fn of_session(value: Session, changed: Lsn) -> Self {
        Self { value, changed, dirty: false, queued: Timestamp::from_millis(0) }
    }
}

type SessionSlot = Box<Slot<Session, Timestamp>>;

impl Keyed for Slot<Account, Timestamp> {
    type Key = AccountId;

    fn key(&self) -> &AccountId {
        &self.value.id
    }
}

impl Keyed for Slot<Subscriber> {
    type Key = SubscriberId;

    fn key(&self) -> &SubscriberId {
        &self.value.id
    }
}

/// A remembered mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MutationRecord {
    /// The charging group it concerned.
    pub group: GroupId,
    /// Digest of the request.
    pub digest: u64,
    /// What it was answered.
    pub outcome: Arc<MutationOutcome>,
    /// Until when it is remembered.
    pub forget_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Account(AccountId),
    Session(SessionId),
    Mutation(MutationKey),
}

/// One shard.
#[derive(Debug, Default)]
pub struct Shard {
    limits: Limits,
    accounts: Table<Slot<Account, Timestamp>>,
    subscribers: Table<Slot<Subscriber>>,
    /// Accounts, and subscribers, by charging group.
    group_accounts: Numbers,
    group_members: Numbers,
    sessions: HashMap<SessionId, SessionSlot>,
    archived: Table<Archived>,
    mutations: HashMap<MutationKey, Slot<MutationRecord>>,
    /// One entry per open session, mutation and account that counts, never later than the true deadline, which is looked up when
    /// the entry comes up.
    deadlines: BinaryHeap<Reverse<(Timestamp, Due)>>,
    ended: Ended,
    open_sessions: usize,
    waiting: Waiting,
    dirty: VecDeque<EntityKey>,
    /// Records that are gone but whose going is not stored yet.
    gone: HashMap<EntityKey, Gone>,
    last: Lsn,
    /// What changed up to this entry is in the state store.
    stored: Lsn,
    refusals: Refusals,
    bucket_names: Names<BucketId>,
    tariff_names: Names<TariffName>,
}

/// The groups whose record of a key is gone, each since which entry: an id may have been used in several.
type Gone = SmallVec<[(GroupId, Lsn); 1]>;

/// What is the same for all services of one command.
#[derive(Clone, Copy)]
struct Scene<'a> {
    now: Timestamp,
    /// The client's time: rating.
    when: Timestamp,
    number: u32,
    profile: Profile,
    cause: Cause,
    /// Why nothing may be granted, if so.
    barred: Option<Denial>,
    /// Reports are settled, nothing is granted, whatever is asked.
    settles_only: bool,
    session: &'a SessionId,
    subscriber: SubscriberId,
    opened: Timestamp,
    /// The circumstances from now on: grants.
    context: &'a Arc<Context>,
    /// The circumstances of what is reported.
    used_in: &'a Arc<Context>,
    book: Book<'a>,
    tariffs: &'a Tariffs,
    /// Whether windows decide who pays.
    by_window: bool,
}

impl Shard {
    /// An empty shard.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Does what `command` asks. The one place where a session's usage changes a balance.
    pub fn apply(&mut self, tariffs: &Tariffs, command: Command) -> Effects {
        // What goes on with a session looks it up anyway, and looks for a repeat in it.
        let goes_on = matches!(command.action, Action::Update(_) | Action::Stop(_));
        if !goes_on && let Some(answer) = self.repeated(&command) {
            return answer;
        }
        match &command.action {
            Action::Start(_) => self.refused_once(command, |shard, command| shard.start(tariffs, command)),
            Action::Update(_) | Action::Stop(_) => self.go_on(tariffs, &command),
            Action::Debit(_) | Action::Refund { .. } | Action::Record { .. } => {
                self.refused_once(command, |shard, command| shard.event(tariffs, command))
            }
            Action::CheckBalance(_) | Action::PriceEnquiry(_) => self.enquire(tariffs, &command),
        }
    }

    /// Handles a start or event, unless it is a copy of one that was refused: that is refused again (R25).
    fn refused_once(&mut self, command: Command, handle: impl FnOnce(&mut Self, Command) -> Effects) -> Effects {
        if let Some(refusal) = self.refusals.of(&command) {
            return Effects { repeated: true, ..refused(refusal) };
        }
        let (key, now) = (RefusalKey::of(&command), command.now);
        let effects = handle(self, command);
        if let (Outcome::Refused(refusal), Some(key)) = (&*effects.outcome, key) {
            self.refusals.note(key, refusal, now);
        }
        effects
    }

    /// The answer to a request of a session that is known here, where it is a repeat.
    fn repeated(&self, command: &Command) -> Option<Effects> {
        let session = &self.sessions.get(&command.session)?.value;
        // Somebody else's request is no repeat, whatever it says. Only starts and events say who it is for.
        let names_subscriber = matches!(command.action.kind(), RequestKind::Start | RequestKind::Event);
        if names_subscriber && session.subscriber != command.subscriber {
            return None;
        }
        repeat(session, command)
    }

    /// A subscriber and its account.
    fn holder(&self, subscriber: SubscriberId) -> Result<(&Subscriber, &Account), Refusal> {
        let subscriber = &self.subscribers.get(&subscriber).ok_or(Refusal::UnknownSubscriber)?.value;
        let account = &self.accounts.get(&subscriber.account).ok_or(Refusal::UnknownSubscriber)?.value;
        Ok((subscriber, account))
    }

    /// The subscriber and account of a start or event, or why they may use nothing.
    fn payer(&self, subscriber: SubscriberId) -> Result<(&Subscriber, &Account), Refusal> {
        let (subscriber, account) = self.holder(subscriber)?;
        match denial_of(subscriber.state.max(account.state)) {
            None => Ok((subscriber, account)),
            Some(Denial::ServiceDenied) => Err(Refusal::ServiceDenied),
            Some(_) => Err(Refusal::Rejected),
        }
    }

    fn start(&mut self, tariffs: &Tariffs, mut command: Command) -> Effects {
        let (subscriber, account) = match self.payer(command.subscriber) {
            Ok(payer) => payer,
            Err(refusal) => return refused(refusal),
        };
        let Some(tariff) = tariff_of(tariffs, subscriber, account, &command) else {
            return refused(Refusal::RatingFailed);
        };
        let reopens = self.sessions.get(&command.session).is_some_and(|slot| slot.value.is_open());
        if !reopens && self.open_sessions >= self.limits.open_sessions_max {
            return refused(Refusal::TooBusy);
        }
        let (group, before) = (account.group, self.sessions.get(&command.session).map(|slot| slot.value.account));
        let mut session = new_session(&mut command, subscriber, tariff.clone(), Phase::Open);
        let mut effects = unchanged(());
        if reopens {
            self.end_silently(&command.session, command.now, Cause::Reopened, &mut effects);
        }
        let Some(subscriber) = self.subscribers.get_mut(&session.subscriber).map(|slot| &mut slot.value) else {
            return refused(Refusal::UnknownSubscriber);
        };
        let sponsor = session.sponsor.clone();
        let counters = &mut subscriber.counters;
        let Some(mut means) = means_of(&mut self.accounts, session.account, sponsor.as_deref(), counters) else {
            return refused(Refusal::UnknownSubscriber);
        };
        let Action::Start(requests) = &command.action else {
            return refused(Refusal::OutOfRange);
        };
        let reserved_before = means.reserved_money();
        let scene = Scene {
            by_window: sponsor.is_some(),
            ..scene(&command, &session.id, session.subscriber, &session.context, &session.tariff, tariffs)
        };
        let services = serve_all(&scene, &mut means, &mut session.services, requests, &mut effects);
        let mut answered = Answered { services, ..Answered::default() };
        if command.command_level && answered.services.iter().any(is_denied) {
            end_denied(&mut session, &mut means, command.now);
        } else {
            effects.facts.open_sessions += 1;
            self.open_sessions += 1;
        }
        answered.cost = Some((session.charged(), means.account.currency));
        let reserved_change = means.reserved_money().saturating_sub(reserved_before).micros();
        effects.facts.reserved_micros = effects.facts.reserved_micros.saturating_add(reserved_change);
        write_charged(&mut effects);
        let outcome = Arc::new(Outcome::Answered(answered));
        let answer = session.keep_answer(StoredAnswer {
            kind: RequestKind::Start,
            number: command.number,
            digest: command.digest,
            outcome: outcome.clone(),
        });
        let waits = session.waits().then(|| session.id.clone());
        effects.opened = Some(session.id.clone());
        if effects.cdrs.iter().any(|cdr| cdr.cause == Cause::FirstUse) {
            self.queue_account(session.account, command.now);
        }
        if let Some(before) = before.map(|account| self.group_of(account)).filter(|before| *before != group) {
            // The record of another group's session under this id is another record: it goes.
            effects.writes.push(Write::SessionGone(session.id.clone(), before));
        }
        self.put_session(session, SessionChange { fresh: true, context: true, answer: Some(answer) }, &mut effects);
        if let Some(id) = waits {
            self.note_waiting(&id);
        }
        finish(effects, outcome)
    }

    /// An update or a stop.
    fn go_on(&mut self, tariffs: &Tariffs, command: &Command) -> Effects {
        let Some(slot) = self.sessions.get_mut(&command.session) else {
            return refused(Refusal::UnknownSession);
        };
        let session = &mut slot.value;
        if let Some(answer) = repeat(session, command) {
            return answer;
        }
        let stops = matches!(command.action, Action::Stop(_));
        let (was_open, waited, phase) = (session.is_open(), session.waits(), session.phase);
        // After its own stop only a late report is taken; after expiry or a denial its stop too (design 3.6).
        let taken = match session.phase {
            Phase::Open | Phase::Denied { .. } => true,
            // One that was reopened stands here only because its id has become another group's: what comes is theirs.
            Phase::Ended { cause: Cause::Event | Cause::Record | Cause::Reopened, .. } => false,
            Phase::Ended { cause: Cause::Final, .. } => !stops,
            Phase::Ended { .. } => true,
        };
        if !taken {
            return refused(Refusal::UnknownSession);
        }
        let mut nobody = Counters::default();
        let (subscriber_state, counters) = match self.subscribers.get_mut(&session.subscriber) {
            Some(Slot { value: Subscriber { state, counters, .. }, .. }) => (*state, counters),
            None => (AccountState::Active, &mut nobody),
        };
        let (Action::Update(requests) | Action::Stop(requests)) = &command.action else {
            return refused(Refusal::OutOfRange);
        };
        let sponsor = session.sponsor.clone();
        let Some(mut means) = means_of(&mut self.accounts, session.account, sponsor.as_deref(), counters) else {
            return refused(Refusal::UnknownSubscriber);
        };
        let mut effects = unchanged(());
        let reserved_before = means.reserved_money();
        // What is reported was used in the circumstances told before; what was not told then counts from the beginning.
        let mut used_in = None;
        if *session.context != command.context {
            let mut context = (*session.context).clone();
            if context.update(&command.context) {
                let mut before = context.clone();
                before.update(&session.context);
                // Who reports it is who asks now.
                before.client_host.clone_from(&context.client_host);
                before.client_realm.clone_from(&context.client_realm);
                used_in = Some(Arc::new(before));
                session.context = Arc::new(context);
            }
        }
        let context_changed = used_in.is_some();
        if command.client_state != 0 {
            session.client_state = command.client_state;
        }
        let barred = denial_of(subscriber_state.max(means.account.state));
        session.heard = command.now;
        let scene = Scene {
            cause: if stops { Cause::Final } else { Cause::Interim },
            barred,
            settles_only: stops || !was_open,
            opened: session.opened,
            used_in: used_in.as_ref().unwrap_or(&session.context),
            by_window: sponsor.is_some(),
            ..scene(command, &session.id, session.subscriber, &session.context, &session.tariff, tariffs)
        };
        let services = serve_all(&scene, &mut means, &mut session.services, requests, &mut effects);
        let bought = effects.cdrs.iter().any(|cdr| cdr.cause == Cause::FirstUse);
        let denied_whole = command.command_level && services.iter().any(is_denied);
        if stops {
            end(session, &mut means, command.now, Cause::Final);
        } else if denied_whole && was_open {
            end_denied(session, &mut means, command.now);
        }
        let outcome = Arc::new(Outcome::Answered(Answered {
            services,
            cost: Some((session.charged(), means.account.currency)),
            session_gone: !was_open && !stops,
            ..Answered::default()
        }));
        if !stops {
            session.seen.note(command.number);
        }
        let answer = session.keep_answer(StoredAnswer {
            kind: command.action.kind(),
            number: command.number,
            digest: command.digest,
            outcome: outcome.clone(),
        });
        let reserved_change = means.reserved_money().saturating_sub(reserved_before).micros();
        effects.facts.reserved_micros = effects.facts.reserved_micros.saturating_add(reserved_change);
        write_charged(&mut effects);
        let change = SessionChange { fresh: false, context: context_changed, answer: Some(answer) };
        effects.writes.push(Write::Session(session.id.clone(), change));
        if session.waits() != waited {
            waiting::note(&mut self.waiting, session);
        }
        // A shorter validity or the end may bring the deadline forward; a stop after expiry may put it off.
        let (deadline, open, account) = (session.deadline(), session.is_open(), session.account);
        if (open && deadline < slot.queued) || session.phase != phase {
            let id = session.id.clone();
            self.queue(&id, deadline);
        }
        if bought {
            self.queue_account(account, command.now);
        }
        if was_open && !open {
            effects.facts.open_sessions -= 1;
            self.open_sessions = self.open_sessions.saturating_sub(1);
            self.bound_ended(&mut effects);
        }
        finish(effects, outcome)
    }

    /// The next instant at which [`Self::expire`] may have something to do; may be early, is never late.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let next = self.deadlines.peek().map(|Reverse((at, _))| *at);
        next.into_iter().chain(self.ended.next()).min()
    }

    /// Ends one silent session, lets one account's cycles and buckets end, or forgets one ended session or mutation that is due
    /// at `now`; `None` when none is left.
    /// Each call does a bounded amount: its effects are empty when it came across none but there may be more.
    pub fn expire(&mut self, tariffs: &Tariffs, now: Timestamp) -> Option<Effects<()>> {
        if let Some(effects) = self.forget_due(now) {
            return Some(effects);
        }
        for _ in 0..DEADLINES_AT_ONCE {
            let Reverse((at, due)) = self.deadlines.peek()?;
            if *at > now {
                return None;
            }
            let (at, due) = (*at, due.clone());
            self.deadlines.pop();
            let mut effects = unchanged(());
            match due {
                Due::Account(id) => {
                    if self.accounts.get(&id).is_some_and(|slot| slot.queued == at) {
                        self.end_due(tariffs, id, now, &mut effects);
                        return Some(effects);
                    }
                }
                Due::Mutation(key) => {
                    if self.mutations.get(&key).is_some_and(|slot| slot.value.forget_at <= now)
                        && self.mutations.remove(&key).is_some()
                    {
                        effects.writes.push(Write::MutationGone(key));
                        return Some(effects);
                    }
                }
                Due::Session(id) => {
                    let Some(slot) = self.sessions.get(&id) else { continue };
                    if slot.queued != at || !slot.value.is_open() {
                        continue;
                    }
                    let deadline = slot.value.deadline();
                    if deadline > at {
                        // It was heard of since: its turn comes later, maybe still now.
                        self.queue(&id, deadline);
                    } else {
                        self.end_silently(&id, now, Cause::Expired, &mut effects);
                        effects.facts.expired = true;
                        return Some(effects);
                    }
                }
            }
        }
        Some(unchanged(()))
    }

    /// An account.
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id).map(|slot| &slot.value)
    }

    /// A subscriber.
    pub fn subscriber(&self, id: SubscriberId) -> Option<&Subscriber> {
        self.subscribers.get(&id).map(|slot| &slot.value)
    }

    /// A session that is in memory.
    pub fn session(&self, id: &SessionId) -> Option<&Session> {
        self.sessions.get(id).map(|slot| &slot.value)
    }

    /// A remembered mutation.
    pub fn mutation(&self, key: &MutationKey) -> Option<&MutationRecord> {
        self.mutations.get(key).map(|slot| &slot.value)
    }

    /// The entry that changed a session last.
    pub fn session_changed(&self, id: &SessionId) -> Option<Lsn> {
        self.sessions.get(id).map(|slot| slot.changed)
    }

    /// All accounts, in no order.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values().map(|slot| &slot.value)
    }

    /// All sessions and events in memory, in no order; an open session always is.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values().map(|slot| &slot.value)
    }

    /// All subscribers, in no order.
    pub fn subscribers(&self) -> impl Iterator<Item = &Subscriber> {
        self.subscribers.values().map(|slot| &slot.value)
    }

    /// Open sessions.
    pub fn open_sessions(&self) -> usize {
        self.open_sessions
    }

    fn group_of(&self, account: AccountId) -> GroupId {
        self.accounts.get(&account).map_or(GroupId::default(), |slot| slot.value.group)
    }

    fn put_account(&mut self, mut account: Account, lsn: Lsn) {
        for bucket in &mut account.buckets {
            self.bucket_names.share(&mut bucket.id);
        }
        // Nearly all of memory is accounts.
        account.buckets.shrink_to_fit();
        account.totals.shrink_to_fit();
        let (id, group) = (account.id, account.group);
        self.group_accounts.note(group, id.get());
        if let Some(before) = self.accounts.insert(Slot::of_account(account, lsn)).map(|slot| slot.value.group)
            && before != group
        {
            self.group_accounts.lose(before, id.get());
        }
        self.queue_account(id, Timestamp::from_millis(i64::MIN));
    }

    fn put_subscriber(&mut self, mut subscriber: Subscriber, lsn: Lsn) {
        self.tariff_names.share(&mut subscriber.tariff);
        let (id, group) = (subscriber.id, subscriber.group);
        self.group_members.note(group, id.get());
        if let Some(before) = self.subscribers.insert(Slot::new(subscriber, lsn)).map(|slot| slot.value.group)
            && before != group
        {
            self.group_members.lose(before, id.get());
        }
    }

    fn put_mutation(&mut self, key: MutationKey, record: MutationRecord, lsn: Lsn) {
        self.deadlines.push(Reverse((record.forget_at, Due::Mutation(key.clone()))));
        self.mutations.insert(key, Slot::new(record, lsn));
    }

    /// Stores a new or replaced session and its deadline.
    fn put_session<T>(&mut self, session: Session, change: SessionChange, effects: &mut Effects<T>) {
        let (id, ended) = (session.id.clone(), !session.is_open());
        effects.writes.retain(|write| !matches!(write, Write::Session(known, _) if *known == id));
        effects.writes.push(Write::Session(id.clone(), change));
        let deadline = session.deadline();
        match self.sessions.get_mut(&id) {
            Some(slot) => slot.value = session,
            None => {
                self.sessions.insert(id.clone(), Box::new(Slot::of_session(session, Lsn::default())));
            }
        }
        self.queue(&id, deadline);
        if ended && change.fresh {
            self.bound_ended(effects);
        }
    }

    /// Puts a session's deadline in place of any other.
    fn queue(&mut self, id: &SessionId, deadline: Timestamp) {
        let Some(slot) = self.sessions.get_mut(id) else { return };
        slot.queued = match class_of(slot.value.phase) {
            None => {
                self.deadlines.push(Reverse((deadline, Due::Session(id.clone()))));
                deadline
            }
            Some(class) => self.ended.push(class, deadline, id.clone()),
        };
    }

    fn forget<T>(&mut self, id: SessionId, effects: &mut Effects<T>) {
        let group = match self.sessions.remove(&id) {
            Some(slot) => self.group_of(slot.value.account),
            None => match self.archived.remove(&id) {
                Some(archived) => archived.group,
                None => return,
            },
        };
        effects.writes.push(Write::SessionGone(id.clone(), group));
        effects.forgotten.push((id, group));
    }

    /// Ends an open session without its client: reservations go back, a CDR says why (R24).
    fn end_silently<T>(&mut self, id: &SessionId, now: Timestamp, cause: Cause, effects: &mut Effects<T>) {
        let Some(slot) = self.sessions.get_mut(id).filter(|slot| slot.value.is_open()) else {
            return;
        };
        let session = &mut slot.value;
        let (sponsor, mut nobody) = (session.sponsor.clone(), Counters::default());
        let means = means_of(&mut self.accounts, session.account, sponsor.as_deref(), &mut nobody);
        let Some(mut means) = means else { return };
        let (reserved_before, waited) = (means.reserved_money(), session.waits());
        let since = session.services.iter().map(|service| service.since).max().unwrap_or(session.opened);
        end(session, &mut means, now, cause);
        let account = &*means.account;
        let service = ServiceKey::default();
        let source = CdrSource::Network { session: id.clone(), request: 0, service, context: session.context.clone() };
        effects.cdrs.push(RatedCdr {
            subscriber: Some(session.subscriber),
            usage_start: since,
            ..RatedCdr::draft(CdrKind::Lapse, account, source, cause, now)
        });
        effects.facts.open_sessions -= 1;
        let change = means.reserved_money().saturating_sub(reserved_before).micros();
        effects.facts.reserved_micros = effects.facts.reserved_micros.saturating_add(change);
        effects.writes.push(Write::Account(session.account));
        effects.writes.push(Write::Session(id.clone(), SessionChange::default()));
        let deadline = session.deadline();
        if waited {
            waiting::note(&mut self.waiting, session);
        }
        self.open_sessions = self.open_sessions.saturating_sub(1);
        self.queue(id, deadline);
        if cause != Cause::Reopened {
            self.bound_ended(effects);
        }
    }
}

/// The stored answer of a repeated request, or its refusal (design D6).
fn repeat(session: &Session, command: &Command) -> Option<Effects> {
    let kind = command.action.kind();
    match session.answer(kind, command.number) {
        Some(stored) if stored.digest == command.digest => {
            // A client that restarted has lost the session: this is no repeat (design D6).
            if kind == RequestKind::Start && restarted(session, command) {
                return None;
            }
            return Some(Effects { repeated: true, ..unchanged(stored.outcome.clone()) });
        }
        // A start with other units opens the session anew; anything else is a key used twice.
        Some(_) if kind == RequestKind::Start => return None,
        Some(_) => return Some(refused(Refusal::KeyReused)),
        None => {}
    }
    match kind {
        RequestKind::Start => {
            let same = session.start == (command.number, command.digest) && !restarted(session, command);
            (same && !is_event(session)).then(|| refused(Refusal::AnswerGone))
        }
        RequestKind::Event if !is_event(session) => None,
        RequestKind::Update | RequestKind::Event => match session.seen.sighting(command.number) {
            Sighting::New => None,
            Sighting::Handled | Sighting::TooOld => Some(refused(Refusal::AnswerGone)),
        },
        RequestKind::Stop => None,
    }
}

fn touch<T, Q>(slot: &mut Slot<T, Q>, lsn: Lsn) -> bool {
    slot.changed = lsn;
    !std::mem::replace(&mut slot.dirty, true)
}

/// Whether it is a one-time event's, and its numbers are those of events.
const fn is_event(session: &Session) -> bool {
    matches!(session.phase, Phase::Ended { cause: Cause::Event | Cause::Record, .. })
}

/// Whether the client has restarted since it opened the session (RFC 6733 8.16); 0 says nothing.
fn restarted(session: &Session, command: &Command) -> bool {
    session.client_state != 0 && command.client_state != 0 && session.client_state != command.client_state
}

fn unchanged<T>(outcome: T) -> Effects<T> {
    Effects {
        outcome,
        writes: Writes::new(),
        cdrs: Vec::new(),
        repeated: false,
        opened: None,
        forgotten: Vec::new(),
        facts: Facts::default(),
    }
}

fn refused(refusal: Refusal) -> Effects {
    unchanged(Arc::new(Outcome::Refused(refusal)))
}

fn finish<T>(effects: Effects<()>, outcome: T) -> Effects<T> {
    let Effects { outcome: (), writes, cdrs, repeated, opened, forgotten, facts } = effects;
    Effects { outcome, writes: once_each(writes), cdrs, repeated, opened, forgotten, facts }
}

/// Keeps the last write of each record.
fn once_each(mut writes: Writes) -> Writes {
    let mut place = 0;
    if let [_] | [Write::Account(_), Write::Session(..)] = &writes[..] {
        return writes;
    }
    while place < writes.len() {
        let (now, later) = writes.split_at(place + 1);
        if now.last().is_some_and(|write| later.iter().any(|other| other.replaces(write))) {
            writes.remove(place);
        } else {
            place += 1;
        }
    }
    writes
}

fn is_denied(service: &ServiceOutcome) -> bool {
    matches!(service.result, ServiceResult::Denied(_))
}

fn scene<'a>(
    command: &Command,
    session: &'a SessionId,
    subscriber: SubscriberId,
    context: &'a Arc<Context>,
    tariff: &'a Arc<TariffVersion>,
    tariffs: &'a Tariffs,
) -> Scene<'a> {
    Scene {
        now: command.now,
        when: command.event_time.unwrap_or(command.now),
        number: command.number,
        profile: command.profile,
        cause: Cause::Interim,
        barred: None,
        settles_only: false,
        session,
        subscriber,
        opened: command.now,
        context,
        used_in: context,
        book: Book::new(tariff, tariffs, Some(subscriber)),
        tariffs,
        by_window: false,
    }
}

/// What is charged to the account `own` and to its sponsor; `None` when one of them is not here.
fn means_of<'a>(
    accounts: &'a mut Table<Slot<Account, Timestamp>>,
    own: AccountId,
    sponsor: Option<&'a Sponsor>,
    counters: &'a mut Counters,
) -> Option<Means<'a>> {
    let Some(terms) = sponsor else {
        let account = &mut accounts.get_mut(&own)?.value;
        return Some(Means { account, sponsor: None, counters });
    };
    let (account, paying) = accounts.get_two_mut(&own, &terms.account)?;
    Some(Means { account: &mut account.value, sponsor: Some((&mut paying.value, terms)), counters })
}

/// Why nothing may be granted to who is in this state, if so.
const fn denial_of(state: AccountState) -> Option<Denial> {
    match state {
        AccountState::Active => None,
        AccountState::Suspended => Some(Denial::ServiceDenied),
        AccountState::Barred | AccountState::Closed => Some(Denial::Rejected),
    }
}

/// Notes every account that CDRs were made of. What stands in memory but not on disk (reserved) makes none dirty.
fn write_charged(effects: &mut Effects<()>) {
    let mut last = None;
    for cdr in &effects.cdrs {
        if last.replace(cdr.account) != Some(cdr.account) {
            effects.writes.push(Write::Account(cdr.account));
        }
    }
}

/// The version that a start or event is charged by: the one in force for the subscriber at the client's time, in the account's currency.
fn tariff_of<'a>(
    tariffs: &'a Tariffs,
    subscriber: &Subscriber,
    account: &Account,
    command: &Command,
) -> Option<&'a Arc<TariffVersion>> {
    let when = command.event_time.unwrap_or(command.now);
    tariffs.at(&subscriber.tariff, when, Some(subscriber.id)).filter(|tariff| tariff.currency() == account.currency)
}

fn new_session(command: &mut Command, subscriber: &Subscriber, tariff: Arc<TariffVersion>, phase: Phase) -> Session {
    let services = if let Action::Start(services) = &command.action { services.len().min(SERVICES_MAX) } else { 0 };
    Session {
        id: command.session.clone(),
        subscriber: subscriber.id,
        tenant: subscriber.tenant,
        account: subscriber.account,
        sponsor: subscriber.sponsor.clone(),
        opened: command.now,
        heard: command.now,
        client_state: command.client_state,
        context: Arc::new(command.context.take()),
        tariff,
        services: Vec::with_capacity(services),
        start: (command.number, command.digest),
        answers: Vec::new(),
        next_slot: 0,
        seen: Seen::default(),
        phase,
        charges: Vec::new(),
    }
}

/// How long ended sessions are kept, seconds, by class.
const KEPT_SECONDS: [i64; 4] = [ENDED_KEPT_SECONDS, EXPIRED_KEPT_SECONDS, EVENT_KEPT_SECONDS, RECORD_KEPT_SECONDS];

/// The class of ended sessions of this phase: those of one class are kept equally long. None for an open one.
const fn class_of(phase: Phase) -> Option<usize> {
    match phase {
        Phase::Open => None,
        Phase::Denied { .. } => Some(0),
        Phase::Ended { cause, .. } => Some(class_of_cause(cause)),
    }
}

const fn class_of_cause(cause: Cause) -> usize {
    match cause {
        Cause::Final | Cause::Reopened | Cause::Interim | Cause::FirstUse | Cause::Due => 0,
        Cause::Expired | Cause::ClientRestarted | Cause::Operator => 1,
        Cause::Event => 2,
        Cause::Record => 3,
    }
}

/// Gives back everything that a session holds (R24).
fn release_all(session: &mut Session, means: &mut Means<'_>) {
    for service in &mut session.services {
        if let Some(grant) = service.grant.take() {
            release(means, grant);
        }
    }
}

/// Ends a session whose only service was denied at command level.
fn end_denied(session: &mut Session, means: &mut Means<'_>, now: Timestamp) {
    release_all(session, means);
    session.phase = Phase::Denied { forget_at: now.plus_seconds(ENDED_KEPT_SECONDS) };
}

/// Ends a session: everything held goes back (R24).
fn end(session: &mut Session, means: &mut Means<'_>, now: Timestamp, cause: Cause) {
    release_all(session, means);
    let kept = KEPT_SECONDS.get(class_of_cause(cause)).copied().unwrap_or(EVENT_KEPT_SECONDS);
    session.phase = Phase::Ended { cause, forget_at: now.plus_seconds(kept) };
}
