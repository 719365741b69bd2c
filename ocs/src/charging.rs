//! The one use case: take a command to its shard, put what it did into the log, hand back the answer and the entry it
//! has to wait for.
//!
//! ```text
//! Command ─► directory ─► shard (lock, apply, append) ─► (Outcome, Lsn)
//! ```
//!
//! Everything here is synchronous and short: a connection calls it inline and waits once for the durable mark. Under the
//! shard's lock nothing waits and nothing else is locked but the open batch and the index. Admission (design D12) is
//! decided before the lock; appending never blocks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use balance_store::records::{self, Difference, EntryEncoder, Owner};
use balance_store::{EntryWriter, Journal};
use rating_engine::cdr::Cause;
use rating_engine::command::{
    Change, Command, Effects, Mutation, MutationOutcome, Outcome, Refusal, Request, RequestKind,
};
use rating_engine::ids::{AccountId, CdrPosition, GroupId, Identifier, Lsn, SessionId, TenantId};
use rating_engine::session::Session;
use rating_engine::shard::{Shard, Transfer, transfer};
use rating_engine::shards::Shards;
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;

use crate::archive::{ARCHIVE_AT_ONCE, Archive, Remembered};
use crate::asking::{OpenSession, QUEUE_MAX};
use crate::audit_log::{By, Subject};
use crate::canary::Counters;
use crate::clients::{Clients, caseless};
use crate::clock::Clock;
use crate::directory::{Directory, Home};
use crate::edge::{Beside, DeskRecord, Edge, Ready};
use crate::telemetry::Telemetry;
use crate::watching::Watching;

/// Steps of expiry, and sessions looked at, under one hold of a shard's lock.
const STEPS_AT_ONCE: usize = 64;

/// How long what can wait pauses when entries pile up in front of the disk.
const SATURATED_PAUSE: Duration = Duration::from_millis(1);

/// Requests whose digest has none of these bits are timed.
const TIMED_MASK: u64 = 15;

/// The charging system, ready to serve.
#[derive(Debug)]
pub struct Charging {
    /// The accounts.
    pub shards: Shards,
    /// The index at the edge.
    pub directory: Directory,
    /// Tariff versions in force; swapped whole.
    pub tariffs: ArcSwap<Tariffs>,
    /// What counts charges while versions are for a share of subscribers; swapped with them.
    pub canaries: ArcSwap<Counters>,
    /// The log.
    pub journal: Arc<Journal>,
    /// Ended sessions that are not in memory.
    pub archive: Archive,
    /// What belongs to no shard.
    pub edge: Arc<Edge>,
    /// Time.
    pub clock: Arc<Clock>,
    /// Metrics.
    pub telemetry: Arc<Telemetry>,
    /// Who watches open sessions.
    pub watching: Watching,
    /// Entries waiting for the disk beyond this many octets make new sessions wait elsewhere.
    batch_octets_max: u64,
    /// The restart marker of each client host that was seen last, or before that the lowest of its open sessions.
    clients: Clients,
    /// Ended sessions that were forgotten before their time.
    forgotten_early: AtomicU64,
}

/// What [`Charging`] is made of; its members say what each is.
#[derive(Debug)]
pub struct Parts {
    /// The accounts.
    pub shards: Shards,
    /// The index at the edge.
    pub directory: Directory,
    /// The log.
    pub journal: Arc<Journal>,
    /// Ended sessions that are not in memory.
    pub archive: Archive,
    /// What belongs to no shard.
    pub edge: Arc<Edge>,
    /// Time.
    pub clock: Arc<Clock>,
    /// Metrics.
    pub telemetry: Arc<Telemetry>,
    /// Entries waiting for the disk beyond this many octets make new sessions wait elsewhere.
    pub batch_octets_max: u64,
}

/// An answer and the entry it waits for: nobody may see it before the durable mark has reached that entry.
#[must_use = "wait for the durable mark, then send the outcome"]
#[derive(Clone, Debug)]
pub struct Charged<T = Outcome> {
    /// The answer.
    pub outcome: Arc<T>,
    /// The last entry of the shard that it was computed from.
    pub lsn: Lsn,
    /// Whether it is a stored answer.
    pub repeated: bool,
}

/// Who asks, and what of it belongs to no shard.
#[derive(Default)]
pub struct Noting<'a> {
    /// Who asks; `None` for what is not noted.
    pub by: Option<&'a By>,
    /// Identifiers, and whom they mean from now on.
    pub identifiers: Vec<(TenantId, Identifier, Option<Owner>)>,
    /// Records of the desk that change with it.
    pub desk: Vec<DeskRecord>,
    /// What is noted beside what is different of its subject.
    pub differences: Vec<Difference>,
    /// Whether what it is based on is still so; else it is refused, unless it is a repeat.
    pub still: Option<&'a (dyn Fn(&Shard) -> bool + Sync)>,
    /// Looks at what there is afterwards, of a repeat too, before anybody else changes it.
    pub after: Option<&'a mut (dyn FnMut(&Shard) + Send + Sync)>,
}

impl std::fmt::Debug for Noting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Noting").field("by", &self.by).field("identifiers", &self.identifiers).finish_non_exhaustive()
    }
}

/// Where a command goes.
struct Route {
    group: GroupId,
    /// Another group, which has a session of this id.
    elsewhere: Option<GroupId>,
}

impl Charging {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts { shards, directory, journal, archive, edge, clock, telemetry, batch_octets_max } = parts;
        let clients = Clients::of(&shards);
        Self {
            shards,
            directory,
            tariffs: ArcSwap::from_pointee(archive.tariffs()),
            canaries: ArcSwap::default(),
            journal,
            archive,
            edge,
            clock,
            telemetry,
            watching: Watching::default(),
            batch_octets_max,
            clients,
            forgotten_early: AtomicU64::new(0),
        }
    }

    /// Turns a command away at once when the way here is overloaded and it is new work: a start or an event of a session
    /// that is not known. What is under way goes on, and repeats get their stored answer.
    pub fn shed(&self, command: &Command) -> Option<Charged> {
        self.is_new_work(command).then(|| {
            let charged = Self::too_busy();
            self.telemetry.request(command.action.kind(), &charged.outcome, false, None);
            charged
        })
    }

    /// The refusal that follows from nothing that is not durable.
    fn too_busy() -> Charged {
        Charged { outcome: Arc::new(Outcome::Refused(Refusal::TooBusy)), lsn: Lsn::default(), repeated: false }
    }

    fn is_new_work(&self, command: &Command) -> bool {
        matches!(command.action.kind(), RequestKind::Start | RequestKind::Event)
            && self.directory.session(&command.session).is_none()
    }

    /// Charges. Fills in the command's subscriber.
    pub fn charge(&self, mut command: Command) -> Charged {
        let kind = command.action.kind();
        // Reading clocks costs more than counting: one request in sixteen is timed.
        let began = (command.digest & TIMED_MASK == 0).then(Instant::now);
        let charged = self.route(&mut command).and_then(|route| match route {
            Route { group, elsewhere: None } => self.apply(group, command, |_| ()).map(|(charged, ())| charged),
            Route { group, elsewhere: Some(other) } => self.move_session(group, other, command),
        });
        let charged = match charged {
            Ok(charged) => charged,
            // Turned away for want of a disk that keeps up: it follows from nothing, and must not wait for that disk.
            Err(Refusal::TooBusy) if !self.journal.has_failed() => Self::too_busy(),
            // Computed from what may not be durable yet: it waits for everything appended so far.
            Err(refusal) => Charged {
                outcome: Arc::new(Outcome::Refused(refusal)),
                lsn: self.journal.appended_lsn(),
                repeated: false,
            },
        };
        self.telemetry.request(kind, &charged.outcome, charged.repeated, began.map(|began| began.elapsed()));
        charged
    }

    /// Has a shard do what a command asks; `look` sees it afterwards, under its lock.
    fn apply<T>(
        &self,
        group: GroupId,
        command: Command,
        look: impl FnOnce(&Shard) -> T,
    ) -> Result<(Charged, T), Refusal> {
        let done = self.archive.with(&self.shards, group, command, |shard, command| {
            let (now, tariffs) = (command.now, self.tariffs.load());
            while let Some(effects) = shard.catch_up(&tariffs, &command) {
                let ((), _) = self.commit(shard, now, Some(group), effects);
            }
            let effects = shard.apply(&tariffs, command);
            let repeated = effects.repeated;
            let (outcome, lsn) = self.commit(shard, now, Some(group), effects);
            (Charged { outcome, lsn, repeated }, look(shard))
        });
        done.map_err(|error| {
            // Whether it is a repeat is not known: charging it again could be wrong, asking again later is not.
            tracing::error!(%error, "a remembered session cannot be read");
            Refusal::TooBusy
        })
    }

    /// A start for a subscriber of `group` under the id of a session that group `other` has: once it is open here, the old
    /// session is over. One that is refused ends nobody's.
    fn move_session(&self, group: GroupId, other: GroupId, command: Command) -> Result<Charged, Refusal> {
        let (session, now) = (command.session.clone(), command.now);
        let opened = |shard: &Shard| shard.session(&session).is_some_and(Session::is_open);
        let (mut charged, opened) = self.apply(group, command, opened)?;
        if opened && matches!(*charged.outcome, Outcome::Answered(_)) {
            self.directory.opened(session.clone(), group, true);
            if self.shards.index(other) == self.shards.index(group) {
                // The start has ended and replaced it: what is there under this id is the new one.
                return Ok(charged);
            }
            let release = Change::Release { session, cause: Cause::Reopened, client_state_below: 0 };
            // Both or, without an answer, a repeat: it comes here again.
            charged.lsn = charged.lsn.max(self.mutate(other, release, now).lsn);
        }
        Ok(charged)
    }

    /// The charging group of a command, or why it is turned away before any lock.
    fn route(&self, command: &mut Command) -> Result<Route, Refusal> {
        let kind = command.action.kind();
        // New work is shed first; updates and terminations only when even they cannot be kept up with.
        let pending = self.journal.pending_octets();
        let full = self.journal.is_saturated();
        if (full && self.is_new_work(command)) || self.journal.has_failed() {
            return Err(Refusal::TooBusy);
        }
        if full && (pending > self.batch_octets_max.saturating_mul(2) || self.journal.is_tail_full()) {
            return Err(Refusal::TooBusy);
        }
        match kind {
            RequestKind::Update | RequestKind::Stop => {
                let Home { group, contested } = self.directory.home(&command.session).ok_or(Refusal::UnknownSession)?;
                let group = if contested { self.reporting_group(command, group)? } else { group };
                Ok(Route { group, elsewhere: None })
            }
            RequestKind::Start | RequestKind::Event => {
                let tenant = TenantId::default();
                let (subscriber, group) = self.directory.resolve(tenant, &command.context.identifiers)?;
                command.subscriber = subscriber;
                let elsewhere = self.directory.session(&command.session).filter(|known| *known != group);
                // An event's id is its own: it ends nobody's session.
                if elsewhere.is_some() && kind == RequestKind::Event {
                    return Err(Refusal::KeyReused);
                }
                Ok(Route { group, elsewhere })
            }
        }
    }

    /// The group of a report under an id that went over to group `last`: a report of whoever had it before is not of
    /// whoever has it now, and must not be charged to them.
    fn reporting_group(&self, command: &Command, last: GroupId) -> Result<GroupId, Refusal> {
        let (session, identifiers) = (&command.session, &command.context.identifiers);
        match self.directory.resolve(TenantId::default(), identifiers) {
            Ok((_, own)) if own != last => {
                let remembers = self.shards.with(own, |shard| shard.remembers_of(session, own));
                if remembers { Ok(own) } else { Err(Refusal::UnknownSession) }
            }
            // Who does not say who it is has the session that is there.
            Ok(_) | Err(_) => Ok(last),
        }
    }

    /// Does what an import, or the system itself, asks of a group.
    pub fn mutate(&self, group: GroupId, mutation: impl Into<Mutation>, now: Timestamp) -> Charged<MutationOutcome> {
        self.mutate_with(group, mutation.into(), now, Noting::default())
    }

    /// Does what a person asks, and notes it in the audit log.
    pub fn mutate_for(&self, by: &By, group: GroupId, mutation: Mutation, now: Timestamp) -> Charged<MutationOutcome> {
        self.mutate_with(group, mutation, now, Noting { by: Some(by), ..Noting::default() })
    }

    /// The same, with what is to be known of it elsewhere in the same entry.
    pub fn mutate_with(
        &self,
        group: GroupId,
        mutation: Mutation,
        now: Timestamp,
        noting: Noting<'_>,
    ) -> Charged<MutationOutcome> {
        let done = self.archive.with_what(&self.shards, group, mutation, Shard::wants_for, |shard, mutation| {
            let tariffs = self.tariffs.load();
            while let Some(effects) = shard.catch_up_mutation(&tariffs, &mutation, now) {
                let ((), _) = self.commit(shard, now, Some(group), effects);
            }
            if noting.still.is_some_and(|still| !still(shard)) && !shard.knows(&mutation) {
                let outcome = Arc::new(MutationOutcome::Refused(Refusal::Stale));
                return Charged { outcome, lsn: shard.last_lsn(), repeated: false };
            }
            let subject = Subject::of(&mutation.change);
            let before = noting.by.map(|_| subject.seen(shard));
            let effects = shard.mutate(&tariffs, mutation, now);
            if let Some(look) = noting.after {
                look(shard);
            }
            let repeated = effects.repeated;
            let mut beside = Beside { identifiers: noting.identifiers, desk: noting.desk, ..Beside::default() };
            if let (Some(by), Some(before)) = (noting.by, before) {
                let mut differences = before.differences(&subject.seen(shard));
                for (_, identifier, owner) in &beside.identifiers {
                    let (named, whose) = (identifier.to_string(), owner.map(|owner| owner.subscriber.to_string()));
                    differences.note(
                        format!("identifiers/{named}"),
                        String::new(),
                        whose.unwrap_or_else(|| "nobody".to_owned()),
                    );
                }
                let mut differences = differences.into_vec();
                differences.extend(noting.differences);
                beside.audit = Some(by.record(now, differences));
            }
            let is_any = beside.audit.is_some() || !beside.identifiers.is_empty() || !beside.desk.is_empty();
            let beside = is_any.then_some(&beside);
            let (outcome, lsn) = self.commit_with(shard, now, Some(group), effects, beside);
            Charged { outcome, lsn, repeated }
        });
        done.unwrap_or_else(|error| {
            // Nothing is changed: whether the event gave something back is not known.
            tracing::error!(%error, "a remembered session cannot be read");
            let outcome = Arc::new(MutationOutcome::Refused(Refusal::TooBusy));
            Charged { outcome, lsn: self.journal.appended_lsn(), repeated: false }
        })
    }

    /// Has one account give money to another, which may be in another shard: one entry has both halves.
    pub fn transfer(
        &self,
        by: &By,
        (giver, taker): (GroupId, GroupId),
        asked: Transfer,
        request: Request,
        now: Timestamp,
    ) -> Charged<MutationOutcome> {
        self.shards.with_pair(giver, taker, |pair| {
            let tariffs = self.tariffs.load();
            for (group, account) in [(giver, asked.from), (taker, asked.to)] {
                let shard = if account == asked.from { pair.giver() } else { pair.taker() };
                while let Some(effects) = shard.catch_up_account(&tariffs, account, now) {
                    let ((), _) = self.commit(shard, now, Some(group), effects);
                }
            }
            let (from, to) = (Subject::Account(asked.from), Subject::Account(asked.to));
            let before = (from.seen(pair.giver()), to.seen(pair.taker()));
            let taker_id = asked.to;
            let (mut given, mut taken) = transfer(pair, &tariffs, asked, request, now);
            let repeated = given.repeated;
            if given.writes.is_empty() {
                let lsn = pair.giver().last_lsn().max(pair.taker().last_lsn());
                return Charged { outcome: given.outcome, lsn, repeated };
            }
            let mut differences = before.0.differences(&from.seen(pair.giver()));
            for other in before.1.differences(&to.seen(pair.taker())).into_vec() {
                differences.note(format!("accounts/{taker_id}/{}", other.what), other.before, other.after);
            }
            let beside = Beside { audit: Some(by.record(now, differences.into_vec())), ..Beside::default() };
            pair.giver().book(&tariffs, &mut given.cdrs);
            pair.taker().book(&tariffs, &mut taken.cdrs);
            let lsn = self.edge.append(&self.journal, &beside, |entry, ready| {
                let first = entry.next_cdr();
                pair.giver().place_cdrs(&mut given.cdrs, first);
                let next = CdrPosition::new(first.get() + u64::try_from(given.cdrs.len()).unwrap_or(0));
                pair.taker().place_cdrs(&mut taken.cdrs, next);
                let encoder = EntryEncoder::begin(entry.buffer(), now, Some(giver)).writes(pair.giver(), &given.writes);
                ready.write(encoder.writes(pair.taker(), &taken.writes)).finish();
                for cdr in given.cdrs.iter().chain(&taken.cdrs) {
                    entry.push_cdr_with(|_, out| records::encode_cdr(out, cdr));
                }
            });
            pair.giver().logged(&given.writes, lsn);
            pair.taker().logged(&taken.writes, lsn);
            self.telemetry.crossed(&given.cdrs);
            self.telemetry.crossed(&taken.cdrs);
            self.telemetry.facts(&given.facts);
            self.telemetry.facts(&taken.facts);
            Charged { outcome: given.outcome, lsn, repeated }
        })
    }

    /// Puts what was done into the log, under the shard's lock, and returns the answer with what it waits for.
    fn commit<T>(&self, shard: &mut Shard, now: Timestamp, group: Option<GroupId>, effects: Effects<T>) -> (T, Lsn) {
        self.commit_with(shard, now, group, effects, None)
    }

    /// The same with what belongs to no shard; without writes nothing of it is written either.
    fn commit_with<T>(
        &self,
        shard: &mut Shard,
        now: Timestamp,
        group: Option<GroupId>,
        effects: Effects<T>,
        beside: Option<&Beside>,
    ) -> (T, Lsn) {
        let Effects { outcome, writes, mut cdrs, opened, forgotten, facts, .. } = effects;
        if writes.is_empty() {
            return (outcome, shard.last_lsn());
        }
        shard.book(&self.tariffs.load(), &mut cdrs);
        let mut fill = |entry: &mut EntryWriter<'_>, ready: Option<&Ready<'_>>| {
            shard.place_cdrs(&mut cdrs, entry.next_cdr());
            let encoder = EntryEncoder::begin(entry.buffer(), now, group).writes(shard, &writes);
            match ready {
                Some(ready) => ready.write(encoder).finish(),
                None => encoder.finish(),
            }
            for cdr in &cdrs {
                entry.push_cdr_with(|_, out| records::encode_cdr(out, cdr));
            }
        };
        let lsn = match beside {
            Some(beside) => self.edge.append(&self.journal, beside, |entry, ready| fill(entry, Some(ready))),
            None => self.journal.append(|entry| fill(entry, None)).lsn,
        };
        shard.logged(&writes, lsn);
        self.watching.tell(shard, &writes, opened.as_ref(), lsn);
        if let Some(id) = opened {
            let open = shard.session(&id).is_some_and(Session::is_open);
            self.directory.opened(id, group.unwrap_or_default(), open);
        }
        for (id, group) in &forgotten {
            // A session that was forgotten and opened again by the same command is known.
            if !shard.remembers(id) {
                self.directory.forgotten(id, *group);
            }
        }
        if facts.forgotten_early > 0 {
            self.forgotten_early.fetch_add(facts.forgotten_early.into(), Ordering::Relaxed);
        }
        self.telemetry.crossed(&cdrs);
        self.telemetry.facts(&facts);
        self.canaries.load().count(&cdrs);
        (outcome, lsn)
    }

    /// Ends what is due at `now` and forgets what need not be remembered any longer. Returns how much was done.
    pub fn expire(&self, now: Timestamp) -> usize {
        let mut done = 0;
        let tariffs = self.tariffs.load_full();
        for index in 0..self.shards.len() {
            loop {
                self.wait_for_room();
                let (more, _) = self.shards.with_index(index, |shard| {
                    for _ in 0..STEPS_AT_ONCE {
                        if shard.next_deadline().is_none_or(|at| at > now) {
                            return false;
                        }
                        let Some(effects) = shard.expire(&tariffs, now) else { return false };
                        if effects.writes.is_empty() {
                            continue;
                        }
                        done += 1;
                        let group = group_of(shard, &effects);
                        let ((), _) = self.commit(shard, now, group, effects);
                    }
                    true
                });
                if !more {
                    break;
                }
            }
        }
        done
    }

    /// What nobody waits for gives way to the traffic: it goes on when the disk has caught up.
    fn wait_for_room(&self) {
        while self.journal.is_saturated() && !self.journal.has_failed() {
            std::thread::sleep(SATURATED_PAUSE);
        }
    }

    /// Takes ended sessions out of memory, more of which are there than are to be kept: everything up to `stored` is in the
    /// state store. Forgets the oldest when too many are archived.
    pub fn archive_ended(&self, stored: Lsn) {
        for index in 0..self.shards.len() {
            // What leaves is dropped when the lock is released.
            while self.shards.with_index(index, |shard| shard.archive(stored, ARCHIVE_AT_ONCE)).0.more() {}
            let forget = |shard: &mut Shard| {
                let effects = shard.forget_surplus(ARCHIVE_AT_ONCE)?;
                let group = group_of(shard, &effects);
                let ((), _) = self.commit(shard, self.clock.now(), group, effects);
                Some(())
            };
            // It gives way to the traffic and goes on after the next sweep. Nothing waits here: a sweep may be what makes room.
            while !self.journal.is_saturated() && self.shards.with_index(index, forget).0.is_some() {}
        }
    }

    /// Ended sessions that are remembered for repeats, summed over all shards.
    pub fn remembered(&self) -> Remembered {
        let mut sum = Remembered {
            loads: self.archive.loads(),
            forgotten_early: self.forgotten_early.load(Ordering::Relaxed),
            ..Remembered::default()
        };
        for index in 0..self.shards.len() {
            self.shards.with_index(index, |shard| {
                sum.ended += shard.ended_sessions();
                sum.archived += shard.archived_sessions();
            });
        }
        sum
    }

    /// The earliest instant at which [`Self::expire`] may have something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        (0..self.shards.len()).filter_map(|index| self.shards.with_index(index, |shard| shard.next_deadline()).0).min()
    }

    /// Notes a client's restart marker (Origin-State-Id) and says whether the client has restarted: then
    /// [`Self::release_restarted`] is due. 0 says nothing, and a host that has no session has none to lose.
    pub fn client_seen(&self, host: &Arc<str>, state: u32) -> bool {
        self.clients.seen(host, state)
    }

    /// Releases every session whose client is among `restarted`, with a marker below the one there (RFC 6733 8.16).
    /// Returns how many. One walk for all of them; a shard's lock is held for a few sessions at a time.
    pub fn release_restarted(&self, restarted: &[(Arc<str>, u32)]) -> usize {
        let mut markers: HashMap<Arc<str>, u32, foldhash::fast::RandomState> = HashMap::default();
        for (host, state) in restarted {
            let marker = markers.entry(caseless(host)).or_default();
            *marker = (*state).max(*marker);
        }
        let mut of_shard = vec![Vec::new(); self.shards.len()];
        self.directory.each_session(|id, group| {
            if let Some(theirs) = of_shard.get_mut(self.shards.index(group)) {
                theirs.push((id.clone(), group));
            }
        });
        let mut released = 0;
        for (index, sessions) in of_shard.iter().enumerate() {
            for few in sessions.chunks(STEPS_AT_ONCE) {
                let lost = |(id, group): &(SessionId, GroupId), shard: &Shard| {
                    let session = shard.session(id).filter(|session| session.is_open() && session.client_state != 0)?;
                    let below = *markers.get(&caseless(&session.context.client_host))?;
                    (session.client_state < below).then(|| (id.clone(), *group, below))
                };
                let lost = |shard: &mut Shard| few.iter().filter_map(|known| lost(known, shard)).collect::<Vec<_>>();
                for (session, group, client_state_below) in self.shards.with_index(index, lost).0 {
                    let release = Change::Release { session, cause: Cause::ClientRestarted, client_state_below };
                    self.wait_for_room();
                    let done = self.mutate(group, release, self.clock.now());
                    released += usize::from(matches!(*done.outcome, MutationOutcome::Done { .. }));
                }
            }
        }
        released
    }

    /// Open sessions that wait for money of `account`, of `group`: as many as may be asked at once, and one more if there is.
    pub fn waiting(&self, group: GroupId, account: AccountId) -> Vec<OpenSession> {
        self.shards.with(group, |shard| shard.waiting(account).take(QUEUE_MAX + 1).map(OpenSession::from).collect())
    }

    /// Open sessions and money held, summed over all shards; for a start and for the audit.
    pub fn sums(&self) -> (usize, i64) {
        let (mut sessions, mut reserved) = (0, 0i64);
        for index in 0..self.shards.len() {
            self.shards.with_index(index, |shard| {
                sessions += shard.open_sessions();
                for account in shard.accounts() {
                    reserved = reserved.saturating_add(account.reserved_money().micros());
                }
            });
        }
        (sessions, reserved)
    }
}

/// The charging group that an expiry concerns, where a CDR or a session tells it.
fn group_of(shard: &Shard, effects: &Effects<()>) -> Option<GroupId> {
    let account = effects.cdrs.iter().find_map(|cdr| shard.account(cdr.account));
    account.map(|account| account.group).or_else(|| effects.forgotten.first().map(|(_, group)| *group))
}
