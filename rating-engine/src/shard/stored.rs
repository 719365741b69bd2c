//! What the store needs of a shard: which records changed, and taking them back.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::{Due, MutationRecord, Shard, Slot, means_of, offers, touch, waiting};
use crate::account::{Account, Counters, Subscriber, Who};
use crate::cdr::{Cause, CdrKind, CdrSource, RatedCdr};
use crate::command::{EntityKey, SessionChange, Write, Writes};
use crate::crossing::cross;
use crate::ids::{AccountId, CdrPosition, GroupId, IdempotencyKey, Lsn};
use crate::money::Money;
use crate::session::Session;
use crate::tariffs::Tariffs;
use crate::time::Timestamp;

/// A record to be stored, borrowed from the shard.
#[derive(Clone, Copy, Debug)]
pub enum Entity<'a> {
    /// An account.
    Account(&'a Account),
    /// A session.
    Session(&'a Session),
    /// A subscriber.
    Subscriber(&'a Subscriber),
    /// A remembered mutation.
    Mutation(&'a IdempotencyKey, &'a MutationRecord),
}

/// A record read back from the store.
#[derive(Clone, Debug)]
pub enum Image {
    /// An account.
    Account(Account),
    /// A session, whole.
    Session(Box<Session>),
    /// A subscriber.
    Subscriber(Subscriber),
    /// A remembered mutation.
    Mutation(IdempotencyKey, MutationRecord),
    /// A record of this charging group that is gone.
    Gone(EntityKey, GroupId),
}

impl Shard {
    /// Says where the CDRs of a command are booked, in which billing cycle of their accounts, and which thresholds they crossed: once,
    /// before they are placed.
    pub fn book(&mut self, tariffs: &Tariffs, cdrs: &mut [RatedCdr]) {
        tariffs.book(cdrs);
        if tariffs.have_thresholds() {
            let accounts: BTreeSet<AccountId> = cdrs.iter().map(|cdr| cdr.account).collect();
            for id in accounts {
                if let Some(slot) = self.accounts.get_mut(&id) {
                    cross(&mut slot.value, tariffs, cdrs);
                }
            }
        }
        for cdr in cdrs {
            let contract = self.account(cdr.account).and_then(|account| account.contract.as_ref());
            let cycle = contract.and_then(|contract| contract.cycle.as_ref());
            cdr.bill_cycle = cycle.map(|cycle| cycle.at(cdr.usage_start).0);
        }
    }

    /// Gives CDRs their place in the stream and in their account's history, from `first` on. To be called once, when the
    /// entry is appended and before its records are encoded.
    pub fn place_cdrs(&mut self, cdrs: &mut [RatedCdr], first: CdrPosition) {
        let mut position = first;
        for cdr in cdrs {
            if let Some(slot) = self.accounts.get_mut(&cdr.account) {
                let trail = &mut slot.value.cdrs;
                cdr.previous = trail.last;
                trail.count = trail.count.saturating_add(1);
                cdr.number = trail.count;
                trail.last = position;
            }
            if let (CdrKind::Usage, Cause::Event | Cause::Record, CdrSource::Network { session, service, .. }) =
                (cdr.kind, cdr.cause, &cdr.source)
                && cdr.rating.as_ref().is_none_or(|rating| rating.slice == 0)
                && let Some(slot) = self.sessions.get_mut(session)
                && let who = if cdr.account == slot.value.account { Who::Own } else { Who::Sponsor }
                && let mut waiting = slot.value.charges.iter_mut().filter(|charge| charge.cdr.get() == 0)
                && let Some(charge) = waiting.find(|charge| charge.key == *service && charge.who == who)
            {
                charge.cdr = position;
            }
            position = position.next();
        }
    }

    /// Notes that `writes` stand in the log as entry `lsn`: what they name is dirty until the store has taken it.
    pub fn logged(&mut self, writes: &Writes, lsn: Lsn) {
        self.last = lsn;
        for write in writes {
            let newly = match write {
                Write::Account(id) => self.accounts.get_mut(id).is_some_and(|slot| touch(slot, lsn)),
                Write::Session(id, _) => self.sessions.get_mut(id).is_some_and(|slot| touch(slot, lsn)),
                Write::Subscriber(id) => self.subscribers.get_mut(id).is_some_and(|slot| touch(slot, lsn)),
                Write::Mutation(key) => self.mutations.get_mut(key).is_some_and(|slot| touch(slot, lsn)),
                Write::SessionGone(_, group) | Write::MutationGone((group, _)) => {
                    self.note_gone(write.key(), *group, lsn);
                    true
                }
            };
            if newly {
                self.dirty.push_back(write.key());
            }
        }
    }

    /// The last entry that changed this shard: an answer computed from it waits for that entry to be durable.
    pub fn last_lsn(&self) -> Lsn {
        self.last
    }

    /// Takes up to `max` records that changed since they were last taken and shows each to `each`, with `None` for one
    /// that is gone.
    pub fn take_dirty(
        &mut self,
        max: usize,
        mut each: impl FnMut(&EntityKey, GroupId, Lsn, Option<Entity<'_>>),
    ) -> usize {
        let mut taken = 0;
        while taken < max {
            let Some(key) = self.dirty.pop_front() else { break };
            taken += 1;
            let Self { accounts, subscribers, sessions, mutations, .. } = &mut *self;
            let shown = match &key {
                EntityKey::Account(id) => accounts.get_mut(id).map(|slot| {
                    let group = slot.value.group;
                    each(&key, group, clean(slot), Some(Entity::Account(&slot.value)));
                    group
                }),
                EntityKey::Session(id) => sessions.get_mut(id).map(|slot| {
                    let group = accounts.get(&slot.value.account).map_or(GroupId::default(), |slot| slot.value.group);
                    each(&key, group, clean(slot), Some(Entity::Session(&slot.value)));
                    group
                }),
                EntityKey::Subscriber(id) => subscribers.get_mut(id).map(|slot| {
                    let group = slot.value.group;
                    each(&key, group, clean(slot), Some(Entity::Subscriber(&slot.value)));
                    group
                }),
                EntityKey::Mutation(id) => mutations.get_mut(id).map(|slot| {
                    let group = slot.value.group;
                    each(&key, group, clean(slot), Some(Entity::Mutation(&id.1, &slot.value)));
                    group
                }),
            };
            for (group, lsn) in self.gone.remove(&key).unwrap_or_default() {
                if shown != Some(group) {
                    each(&key, group, lsn, None);
                }
            }
        }
        taken
    }

    /// How many records wait for [`Self::take_dirty`].
    pub fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    /// Takes a record from the store or the log's tail, unless a later one is here already (design D5).
    pub fn load(&mut self, image: Image, lsn: Lsn) {
        self.last = self.last.max(lsn);
        match image {
            Image::Account(account) => match self.accounts.get_mut(&account.id) {
                Some(slot) if slot.changed >= lsn => {}
                Some(slot) if same_shape(&slot.value, &account) => {
                    take_over(&mut slot.value, account);
                    (slot.changed, slot.dirty) = (lsn, false);
                }
                Some(_) | None => self.put_account(account, lsn),
            },
            Image::Subscriber(subscriber) => {
                if self.subscribers.get(&subscriber.id).is_none_or(|slot| slot.changed < lsn) {
                    self.put_subscriber(subscriber, lsn);
                }
            }
            Image::Mutation(key, record) => {
                let key = (record.group, key);
                if self.mutations.get(&key).is_none_or(|slot| slot.changed < lsn) {
                    self.put_mutation(key, record, lsn);
                }
            }
            Image::Session(session) => {
                if !self.is_newer(&session.id, lsn) {
                    self.archived.remove(&session.id);
                    self.sessions.insert(session.id.clone(), Box::new(Slot::of_session(*session, lsn)));
                }
            }
            Image::Gone(key @ EntityKey::Session(_), group) if self.is_of_another(&key, group) => {
                // What is here is another group's under the same id; the state store may still have the one that went.
                self.note_gone(key, group, lsn);
            }
            Image::Gone(key, group) => {
                let it_goes = match &key {
                    EntityKey::Account(id) => goes(self.accounts.get(id), lsn),
                    EntityKey::Subscriber(id) => goes(self.subscribers.get(id), lsn),
                    EntityKey::Mutation(id) => goes(self.mutations.get(id), lsn),
                    EntityKey::Session(id) => !self.is_newer(id, lsn),
                };
                if !it_goes {
                    return;
                }
                match &key {
                    EntityKey::Account(id) => {
                        self.accounts.remove(id);
                        self.group_accounts.lose(group, id.get());
                    }
                    EntityKey::Subscriber(id) => {
                        self.subscribers.remove(id);
                        self.group_members.lose(group, id.get());
                    }
                    EntityKey::Mutation(id) => drop(self.mutations.remove(id)),
                    EntityKey::Session(id) => {
                        self.sessions.remove(id);
                        self.archived.remove(id);
                    }
                }
                // The state store may still have it: its going is stored again.
                self.note_gone(key, group, lsn);
            }
        }
    }

    pub(super) fn note_gone(&mut self, key: EntityKey, group: GroupId, lsn: Lsn) {
        let gone = self.gone.entry(key).or_default();
        match gone.iter_mut().find(|(known, _)| *known == group) {
            Some((_, known)) => *known = lsn,
            None => gone.push((group, lsn)),
        }
    }

    /// Whether the session that is here under this key is not one of `group`.
    fn is_of_another(&self, key: &EntityKey, group: GroupId) -> bool {
        let EntityKey::Session(id) = key else { return false };
        self.sessions.get(id).is_some_and(|slot| self.group_of(slot.value.account) != group)
            || self.archived.get(id).is_some_and(|archived| archived.group != group)
    }

    /// Takes a session's after-image from the log's tail, whose context or answers may have been left out because they
    /// did not change: they are kept from what is here. An archived session that it changes was recalled before
    /// ([`Self::archived`]), unless the change is of a fresh one.
    pub fn load_session_change(&mut self, mut session: Session, change: SessionChange, lsn: Lsn) {
        self.last = self.last.max(lsn);
        if let Some(slot) = self.sessions.get_mut(&session.id) {
            if slot.changed >= lsn {
                return;
            }
            if !change.fresh {
                let old = &mut slot.value;
                if !change.context {
                    session.context = old.context.clone();
                }
                let mut answers = std::mem::take(&mut old.answers);
                if let (Some(place), Some(answer)) = (change.answer, session.answers.pop()) {
                    match answers.get_mut(usize::from(place)) {
                        Some(old) => *old = answer,
                        None => answers.push(answer),
                    }
                }
                session.answers = answers;
            }
            // One name for it, the one that it is found by.
            std::mem::swap(&mut session.id, &mut slot.value.id);
            (slot.value, slot.changed) = (session, lsn);
            return;
        }
        if self.is_newer(&session.id, lsn) {
            return;
        }
        self.archived.remove(&session.id);
        self.sessions.insert(session.id.clone(), Box::new(Slot::of_session(session, lsn)));
    }

    /// Rebuilds what is not stored, once everything is loaded: held sums, open sessions, deadlines. Deadlines run from
    /// `now`, so that our outage expires nobody's session (design 3.6). Records read from the log's tail are dirty again.
    pub fn rebuild(&mut self, now: Timestamp, checkpoint: Lsn) {
        self.deadlines.clear();
        self.dirty.clear();
        self.waiting.clear();
        self.last = self.last.max(checkpoint);
        self.stored = checkpoint;
        self.open_sessions = 0;
        for slot in self.accounts.values_mut() {
            let account = &mut slot.value;
            account.buckets.iter_mut().for_each(|bucket| bucket.reserved = 0);
            if let Some(credit) = &mut account.credit {
                credit.reserved = Money::ZERO;
            }
            slot.dirty = slot.changed > checkpoint;
            if slot.dirty {
                self.dirty.push_back(EntityKey::Account(account.id));
            }
            slot.queued = Timestamp::NEVER;
        }
        let with_ends = self.accounts.values().filter(|slot| offers::has_ends(&slot.value));
        for id in with_ends.map(|slot| slot.value.id).collect::<Vec<_>>() {
            self.queue_account(id, Timestamp::from_millis(i64::MIN));
        }
        for slot in self.sessions.values_mut() {
            let session = &mut slot.value;
            slot.dirty = slot.changed > checkpoint;
            if slot.dirty {
                self.dirty.push_back(EntityKey::Session(session.id.clone()));
            }
            if session.is_open() {
                self.open_sessions += 1;
                session.heard = session.heard.max(now);
                let (terms, mut nobody) = (session.sponsor.clone(), Counters::default());
                let means = means_of(&mut self.accounts, session.account, terms.as_deref(), &mut nobody);
                if let Some(mut means) = means {
                    for grant in session.services.iter().filter_map(|service| service.grant.as_ref()) {
                        means.account.hold_again(&grant.reservation);
                        if let Some(sponsored) = &grant.sponsored {
                            means.of_mut(Who::Sponsor).hold_again(sponsored);
                        }
                    }
                }
                if session.waits() {
                    waiting::note(&mut self.waiting, session);
                }
                slot.queued = session.deadline();
                self.deadlines.push(Reverse((slot.queued, Due::Session(session.id.clone()))));
            }
        }
        self.rebuild_ended(now);
        for slot in self.subscribers.values_mut() {
            slot.dirty = slot.changed > checkpoint;
            if slot.dirty {
                self.dirty.push_back(EntityKey::Subscriber(slot.value.id));
            }
        }
        let Self { gone, accounts, sessions, archived, subscribers, mutations, dirty, .. } = &mut *self;
        // What came back after it had gone is no longer gone.
        gone.retain(|key, groups| match key {
            EntityKey::Account(id) => !accounts.contains_key(id),
            EntityKey::Session(id) => {
                let account = sessions.get(id).and_then(|slot| accounts.get(&slot.value.account));
                let here = account.map(|account| account.value.group);
                let here = here.or_else(|| archived.get(id).map(|archived| archived.group));
                groups.retain(|(group, _)| here != Some(*group));
                !groups.is_empty()
            }
            EntityKey::Subscriber(id) => !subscribers.contains_key(id),
            EntityKey::Mutation(id) => !mutations.contains_key(id),
        });
        dirty.extend(gone.keys().cloned());
        for (key, slot) in &mut self.mutations {
            slot.dirty = slot.changed > checkpoint;
            if slot.dirty {
                self.dirty.push_back(EntityKey::Mutation(key.clone()));
            }
            self.deadlines.push(Reverse((slot.value.forget_at, Due::Mutation(key.clone()))));
        }
    }
}

/// Notes that a record is being stored, and says which entry changed it last.
fn clean<T, Q>(slot: &mut Slot<T, Q>) -> Lsn {
    slot.dirty = false;
    slot.changed
}

/// Whether two images of an account have the same buckets and totals, so that one's memory serves for the other.
fn same_shape(old: &Account, new: &Account) -> bool {
    let buckets = old.buckets.iter().map(|bucket| &bucket.id).eq(new.buckets.iter().map(|bucket| &bucket.id));
    buckets && old.totals.len() == new.totals.len()
}

/// Puts the later image of an account of the same shape in place of the earlier, within the memory of that one: a tail
/// has the same accounts over and over.
fn take_over(old: &mut Account, mut new: Account) {
    for (old, new) in old.buckets.iter_mut().zip(&mut new.buckets) {
        // Names are shared already.
        std::mem::swap(&mut old.id, &mut new.id);
        std::mem::swap(old, new);
    }
    old.totals.swap_with_slice(&mut new.totals);
    std::mem::swap(&mut old.buckets, &mut new.buckets);
    std::mem::swap(&mut old.totals, &mut new.totals);
    *old = new;
}

/// Whether a record that went with entry `lsn` may go, or a later one is there.
fn goes<T, Q>(slot: Option<&Slot<T, Q>>, lsn: Lsn) -> bool {
    slot.is_none_or(|slot| slot.changed < lsn)
}
