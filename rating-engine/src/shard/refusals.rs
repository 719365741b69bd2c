//! Starts and events that were refused a short while ago: a copy of one is told the same, whatever has changed since,
//! because its client was told no and believes it (R25).
//!
//! In memory only: a refusal changes nothing, so nothing of it is stored, and a restart forgets it. What says only "not
//! now" is not kept: too busy, and a subscriber who is not known yet.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::command::{Action, Command, Refusal, RequestKind};
use crate::ids::{SessionId, SubscriberId};
use crate::time::Timestamp;

/// How long a refusal is remembered, seconds.
const REFUSAL_KEPT_SECONDS: i64 = 300;
/// Refusals that one shard remembers; beyond it the oldest are forgotten early.
const REFUSALS_MAX: usize = 1024;

/// The refusals of one shard.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    known: HashMap<RefusalKey, Refusal>,
    /// Oldest first; each key once.
    order: VecDeque<(Timestamp, RefusalKey)>,
}

/// What makes a request a copy of a refused one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RefusalKey {
    session: SessionId,
    subscriber: SubscriberId,
    kind: RequestKind,
    number: u32,
    digest: u64,
    client_state: u32,
}

impl RefusalKey {
    /// The key of a start or an event; whatever else is refused can be judged again without harm.
    pub(super) fn of(command: &Command) -> Option<Self> {
        match command.action {
            Action::Start(_) | Action::Debit(_) | Action::Refund { .. } => Some(Self {
                session: command.session.clone(),
                subscriber: command.subscriber,
                kind: command.action.kind(),
                number: command.number,
                digest: command.digest,
                client_state: command.client_state,
            }),
            Action::Update(_)
            | Action::Stop(_)
            | Action::Record { .. }
            | Action::CheckBalance(_)
            | Action::PriceEnquiry(_) => None,
        }
    }
}

impl Refusals {
    /// What a copy of this command was told.
    pub(super) fn of(&mut self, command: &Command) -> Option<Refusal> {
        if self.order.is_empty() {
            return None;
        }
        self.forget_until(command.now.plus_seconds(-REFUSAL_KEPT_SECONDS));
        self.known.get(&RefusalKey::of(command)?).cloned()
    }

    /// Remembers what a command was told at `now`.
    pub(super) fn note(&mut self, key: RefusalKey, refusal: &Refusal, now: Timestamp) {
        if matches!(refusal, Refusal::TooBusy | Refusal::UnknownSubscriber) || self.known.contains_key(&key) {
            return;
        }
        if self.order.len() >= REFUSALS_MAX {
            self.forget_oldest();
        }
        self.known.insert(key.clone(), refusal.clone());
        self.order.push_back((now, key));
    }

    fn forget_until(&mut self, end: Timestamp) {
        while self.order.front().is_some_and(|(at, _)| *at <= end) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.known.remove(&key);
        }
    }
}
