//! Ended sessions: the order in which they are forgotten, and those that have left memory.
//!
//! An ended session whose record is in the state store may be archived: of it only its name, its charging group, its last
//! entry and its deadline stay here. Whoever has a command for it reads the record and hands it in ([`Shard::recall`]).
//!
//! Invariants:
//! - a session is in memory or archived, never both;
//! - an archived session's record in the store is the one of entry [`Archived::changed`], until it is recalled or forgotten;
//! - a repeat changes nothing, whether its session is in memory or archived.

use std::collections::VecDeque;

use super::{DEADLINES_AT_ONCE, KEPT_SECONDS, Session, SessionSlot, Shard, class_of, unchanged};
use crate::command::{Action, Command, Effects, EntityKey};
use crate::ids::{GroupId, Lsn, SessionId};
use crate::table::Keyed;
use crate::time::Timestamp;

/// Entries left over from sessions that went on, tolerated before they are cleared away.
const LEFT_OVER_MAX: usize = 1024;
/// Recalled sessions that may be put away again to make room for one.
const ROOM_TRIES_MAX: usize = 8;

/// A remembered session that is not in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// Its name.
    pub id: SessionId,
    /// Its charging group: the other half of its record's key.
    pub group: GroupId,
    /// The entry that changed it last: the stamp of its record.
    pub changed: Lsn,
    /// Its one entry among the ended sessions that counts.
    queued: Timestamp,
}

impl Keyed for Archived {
    type Key = SessionId;

    fn key(&self) -> &SessionId {
        &self.id
    }
}

/// Sessions that have left memory: to be dropped where nobody waits for it.
#[derive(Debug, Default)]
#[must_use = "drop it when the shard's lock is released"]
pub struct Leaving {
    sessions: Vec<SessionSlot>,
    more: bool,
}

impl Leaving {
    /// How many.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether more may leave at once.
    pub fn more(&self) -> bool {
        self.more
    }
}

type Queue = VecDeque<(Timestamp, SessionId)>;

/// Sessions that are kept equally long, by their deadlines, which is the order in which they ended.
#[derive(Debug, Default)]
struct Class {
    /// Those that archiving has not come to.
    young: Queue,
    /// Those that it has: nearly all are archived.
    old: Queue,
}

/// All ended sessions, by how long they are kept.
#[derive(Debug, Default)]
pub(super) struct Ended {
    classes: [Class; KEPT_SECONDS.len()],
    /// Sessions in memory that archiving has to come to once more.
    again: VecDeque<SessionId>,
    /// Those taken into memory while a store is loaded.
    loaded: usize,
}

impl Ended {
    /// Adds a session that ended; never before the one that ended before it. Returns where it stands.
    pub(super) fn push(&mut self, class: usize, deadline: Timestamp, id: SessionId) -> Timestamp {
        let Some(class) = self.classes.get_mut(class) else { return deadline };
        let last = class.young.back().or(class.old.back()).map_or(deadline, |(at, _)| *at);
        let at = deadline.max(last);
        class.young.push_back((at, id));
        at
    }

    /// The first deadline.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.queues().filter_map(|queue| queue.front()).map(|(at, _)| *at).min()
    }

    /// Takes a session out that is due.
    fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, SessionId)> {
        let due = |queue: &&mut Queue| queue.front().is_some_and(|(at, _)| *at <= now);
        self.classes.iter_mut().flat_map(|class| [&mut class.old, &mut class.young]).find(due)?.pop_front()
    }

    /// Takes out the session that ended first, of those chosen by `which`, and says of which class it is.
    fn pop_oldest(&mut self, which: impl Fn(&mut Class) -> &mut Queue) -> Option<(usize, Timestamp, SessionId)> {
        let fronts = self.classes.iter_mut().zip(KEPT_SECONDS).enumerate().filter_map(|(number, (class, kept))| {
            let (at, _) = which(class).front()?;
            Some((at.plus_seconds(-kept), number))
        });
        let (_, number) = fronts.min()?;
        let (at, id) = which(self.classes.get_mut(number)?).pop_front()?;
        Some((number, at, id))
    }

    /// Notes that archiving has come to a session. Returns where it stands now.
    fn push_old(&mut self, class: usize, at: Timestamp, id: SessionId) -> Timestamp {
        let Some(class) = self.classes.get_mut(class) else { return at };
        let at = class.old.back().map_or(at, |(last, _)| at.max(*last));
        class.old.push_back((at, id));
        at
    }

    fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.classes.iter().flat_map(|class| [&class.old, &class.young])
    }

    fn queues_mut(&mut self) -> impl Iterator<Item = &mut Queue> {
        self.classes.iter_mut().flat_map(|class| [&mut class.old, &mut class.young])
    }
}

impl Shard {
    /// The archived session that has to be recalled before `command` can be applied.
    pub fn wants(&self, command: &Command) -> Option<&Archived> {
        if self.archived.is_empty() {
            return None;
        }
        let find = |id| if self.sessions.contains_key(id) { None } else { self.archived.get(id) };
        find(&command.session).or_else(|| match &command.action {
            Action::Refund { original, .. } => find(original),
            Action::Start(_)
            | Action::Update(_)
            | Action::Stop(_)
            | Action::Debit(_)
            | Action::Record { .. }
            | Action::CheckBalance(_)
            | Action::PriceEnquiry(_) => None,
        })
    }

    /// Takes an archived session back into memory, as its record of entry `lsn` says. `false` when it is not archived, or
    /// no longer as of that entry: then nothing changes.
    pub fn recall(&mut self, mut session: Session, lsn: Lsn) -> bool {
        if self.archived.get(&session.id).is_none_or(|archived| archived.changed != lsn) {
            return false;
        }
        let Some(archived) = self.archived.remove(&session.id) else { return false };
        // Never the one that came back last: a command may need two, and putting one away for the other would never end.
        for _ in 0..ROOM_TRIES_MAX.min(self.ended.again.len().saturating_sub(1)) {
            if self.ended_sessions() < self.limits.ended_sessions_max {
                break;
            }
            let Some(other) = self.ended.again.pop_front() else { break };
            if self.put_away(&other).is_none() && self.has_ended(&other) {
                self.ended.again.push_back(other);
            }
        }
        // One name for it, the one that the index and the queue have.
        session.id = archived.id;
        let id = session.id.clone();
        let slot = super::Slot { value: session, changed: lsn, dirty: false, queued: archived.queued };
        self.sessions.insert(id.clone(), Box::new(slot));
        self.ended.again.push_back(id);
        true
    }

    /// Takes ended sessions out of memory while more are there than are to be kept: those that came back, and then those
    /// that ended first. Looks at up to `max` of either. Everything that changed up to entry `stored` is in the state
    /// store, durably.
    pub fn archive(&mut self, stored: Lsn, max: usize) -> Leaving {
        self.stored = self.stored.max(stored);
        let mut leaving = Leaving::default();
        let more_again = self.archive_again(max, &mut leaving);
        let more_young = self.archive_young(max, &mut leaving);
        leaving.more = (more_again || more_young) && !self.keeps_enough();
        leaving
    }

    /// Returns whether there are more that may leave.
    fn archive_again(&mut self, max: usize, leaving: &mut Leaving) -> bool {
        let mut came_on = false;
        for _ in 0..self.ended.again.len().min(max) {
            if self.keeps_enough() {
                return false;
            }
            let Some(id) = self.ended.again.pop_front() else { return false };
            match self.put_away(&id) {
                None if self.has_ended(&id) => self.ended.again.push_back(id),
                gone => {
                    leaving.sessions.extend(gone);
                    came_on = true;
                }
            }
        }
        came_on && !self.ended.again.is_empty()
    }

    /// Returns whether there are more that may leave.
    fn archive_young(&mut self, max: usize, leaving: &mut Leaving) -> bool {
        // Those that ended just now are not stored yet, and neither are those behind them. One that was used again after it
        // had ended must not hold up those that were not.
        let mut not_stored = 0;
        for _ in 0..max {
            if self.keeps_enough() || not_stored > max / 4 {
                return false;
            }
            let Some((at, id)) = self.age_oldest() else { return false };
            if !self.counts_here(at, &id) {
                continue;
            }
            match self.put_away(&id) {
                Some(slot) => {
                    not_stored = 0;
                    leaving.sessions.push(slot);
                }
                None => {
                    not_stored += 1;
                    self.ended.again.push_back(id);
                }
            }
        }
        true
    }

    /// Forgets up to `max` of the sessions that ended first when more are archived than may be; `None` when none is
    /// forgotten.
    pub fn forget_surplus(&mut self, max: usize) -> Option<Effects<()>> {
        let mut effects = unchanged(());
        for _ in 0..max {
            if self.archived.len() <= self.limits.archived_sessions_max {
                break;
            }
            let Some((_, at, id)) = self.ended.pop_oldest(|class| &mut class.old) else { break };
            if self.counts(at, &id) {
                self.forget(id, &mut effects);
                effects.facts.forgotten_early += 1;
            }
        }
        (!effects.writes.is_empty()).then_some(effects)
    }

    /// Ended sessions and events in memory.
    pub fn ended_sessions(&self) -> usize {
        self.sessions.len().saturating_sub(self.open_sessions)
    }

    /// Ended sessions and events that are remembered outside of memory.
    pub fn archived_sessions(&self) -> usize {
        self.archived.len()
    }

    /// A session that is archived.
    pub fn archived(&self, id: &SessionId) -> Option<&Archived> {
        self.archived.get(id)
    }

    /// All that are archived, in no order.
    pub fn all_archived(&self) -> impl Iterator<Item = &Archived> {
        self.archived.values()
    }

    /// Whether a session is remembered, in memory or archived.
    pub fn remembers(&self, id: &SessionId) -> bool {
        self.sessions.contains_key(id) || self.archived.contains_key(id)
    }

    /// Whether the session that is remembered under this id is one of `group`.
    pub fn remembers_of(&self, id: &SessionId, group: GroupId) -> bool {
        match self.sessions.get(id) {
            Some(slot) => self.group_of(slot.value.account) == group,
            None => self.archived.get(id).is_some_and(|archived| archived.group == group),
        }
    }

    /// Takes a session from the store, unless a later one is here already; archives it when it has ended and enough of
    /// those are in memory.
    pub fn load_session(&mut self, session: Session, group: GroupId, lsn: Lsn) {
        self.last = self.last.max(lsn);
        if self.is_newer(&session.id, lsn) {
            return;
        }
        let holds = session.services.iter().any(|service| service.grant.is_some());
        if let Some(class) = class_of(session.phase) {
            if !holds && self.ended.loaded >= self.limits.ended_sessions_kept {
                let (id, forget_at) = (session.id.clone(), session.deadline());
                self.sessions.remove(&id);
                if let Some(class) = self.ended.classes.get_mut(class) {
                    class.old.push_back((forget_at, id.clone()));
                }
                self.archived.insert(Archived { id, group, changed: lsn, queued: forget_at });
                return;
            }
            self.ended.loaded += 1;
        }
        self.archived.remove(&session.id);
        self.sessions.insert(session.id.clone(), Box::new(super::Slot::of_session(session, lsn)));
    }

    /// Whether what is here of a session is of entry `lsn` or a later one.
    pub(super) fn is_newer(&self, id: &SessionId, lsn: Lsn) -> bool {
        self.sessions.get(id).is_some_and(|slot| slot.changed >= lsn)
            || self.archived.get(id).is_some_and(|archived| archived.changed >= lsn)
    }

    /// Makes the order of ended sessions anew once everything is loaded. Archived ones whose time has passed are gone; no
    /// entry says so, for every start finds the same.
    pub(super) fn rebuild_ended(&mut self, now: Timestamp) {
        let Self { ended, archived, sessions, .. } = &mut *self;
        let mut past = Vec::new();
        ended.again.clear();
        ended.loaded = 0;
        for class in &mut ended.classes {
            let mut old = Vec::from(std::mem::take(&mut class.old));
            old.retain(|(at, id)| archived.get(id).is_some_and(|archived| archived.queued == *at));
            old.sort_unstable();
            let due = old.partition_point(|(at, _)| *at <= now);
            past.extend(old.drain(..due).filter_map(|(_, id)| archived.remove(&id)));
            class.old = old.into();
            class.young.clear();
        }
        for slot in sessions.values_mut() {
            if let Some(class) = class_of(slot.value.phase) {
                slot.queued = slot.value.deadline();
                if let Some(class) = ended.classes.get_mut(class) {
                    class.young.push_back((slot.queued, slot.value.id.clone()));
                }
            }
        }
        for class in &mut ended.classes {
            class.young.make_contiguous().sort_unstable();
        }
        for Archived { id, group, changed, .. } in past {
            self.note_gone(EntityKey::Session(id), group, changed);
        }
    }

    /// Forgets one ended session that is due at `now`; `None` when none is left.
    pub(super) fn forget_due(&mut self, now: Timestamp) -> Option<Effects<()>> {
        let mut effects = None;
        for _ in 0..DEADLINES_AT_ONCE {
            let Some((at, id)) = self.ended.pop_due(now) else { break };
            // Of one that went on there is nothing to do, but perhaps behind it.
            let effects = effects.get_or_insert_with(|| unchanged(()));
            if self.counts(at, &id) {
                self.forget(id, effects);
                break;
            }
        }
        effects
    }

    /// Forgets the sessions that ended first while more are in memory than may be: those that could not be archived.
    pub(super) fn bound_ended<T>(&mut self, effects: &mut Effects<T>) {
        let queued: usize = self.ended.queues().map(VecDeque::len).sum();
        if queued > 2 * (self.ended_sessions() + self.archived.len()) + LEFT_OVER_MAX {
            self.clear_left_over();
        }
        while self.ended_sessions() > self.limits.ended_sessions_max {
            let id = match self.age_oldest() {
                Some((at, id)) if self.counts_here(at, &id) => id,
                Some(_) => continue,
                None => match self.ended.again.pop_front() {
                    Some(id) if self.has_ended(&id) => id,
                    Some(_) => continue,
                    None => return,
                },
            };
            self.forget(id, effects);
            effects.facts.forgotten_early += 1;
        }
    }

    /// Counts the session that ended first, of those that archiving has not come to, among those that it has.
    fn age_oldest(&mut self) -> Option<(Timestamp, SessionId)> {
        let (class, at, id) = self.ended.pop_oldest(|class| &mut class.young)?;
        if !self.counts(at, &id) {
            return Some((at, id));
        }
        let at = self.ended.push_old(class, at, id.clone());
        if let Some(slot) = self.sessions.get_mut(&id) {
            slot.queued = at;
        } else if let Some(archived) = self.archived.get_mut(&id) {
            archived.queued = at;
        }
        Some((at, id))
    }

    fn keeps_enough(&self) -> bool {
        self.ended_sessions() <= self.limits.ended_sessions_kept
    }

    /// Whether a session is in memory and has ended.
    fn has_ended(&self, id: &SessionId) -> bool {
        self.sessions.get(id).is_some_and(|slot| !slot.value.is_open())
    }

    /// Whether an entry among the ended sessions is the one of its session that counts.
    fn counts(&self, at: Timestamp, id: &SessionId) -> bool {
        self.counts_here(at, id) || self.archived.get(id).is_some_and(|archived| archived.queued == at)
    }

    /// The same of a session in memory.
    fn counts_here(&self, at: Timestamp, id: &SessionId) -> bool {
        self.sessions.get(id).is_some_and(|slot| slot.queued == at && !slot.value.is_open())
    }

    /// Archives one session, if it has ended and the state store has it as it is.
    fn put_away(&mut self, id: &SessionId) -> Option<SessionSlot> {
        let slot = self.sessions.get(id)?;
        if slot.value.is_open() || slot.dirty || slot.changed > self.stored {
            return None;
        }
        let group = self.accounts.get(&slot.value.account)?.value.group;
        let slot = self.sessions.remove(id)?;
        let id = slot.value.id.clone();
        self.archived.insert(Archived { id, group, changed: slot.changed, queued: slot.queued });
        Some(slot)
    }

    /// Drops entries of sessions that went on and have another one since.
    fn clear_left_over(&mut self) {
        let mut ended = std::mem::take(&mut self.ended);
        for queue in ended.queues_mut() {
            queue.retain(|(at, id)| self.counts(*at, id));
        }
        self.ended = ended;
    }
}
