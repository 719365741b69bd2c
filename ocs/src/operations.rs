//! What operators can have done, over the shards: the implementation behind the gRPC services.
//!
//! Every answer waits for the durable mark like a network element's: nobody sees what a crash could take back.

use std::sync::Arc;
use std::time::Duration;

use ocs_api::{
    AccountSelector, AccountSnapshot, ClockReading, ClockRefusal, OperationError, Operations, Recorded, Selection,
    SubscriberSnapshot, TopUp, ToppedUp,
};
use rating_engine::account::Account;
use rating_engine::command::{Command, MutationOutcome, Refusal};
use rating_engine::ids::{Lsn, SubscriberId};
use rating_engine::session::Session;
use rating_engine::shard::Shard;
use rating_engine::time::Timestamp;
use tokio::sync::watch;

use crate::asking::Asking;
use crate::charging::{Charged, Charging};
use crate::clock::ClockError;

/// How long a usage record waits before it looks again whether there is room for it.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// The operations of a running system.
#[derive(Debug)]
pub struct Desk {
    charging: Arc<Charging>,
    mark: watch::Receiver<u64>,
    asking: Option<Arc<Asking>>,
}

impl Desk {
    /// Over `charging`; `mark` follows the durable mark.
    pub fn new(charging: Arc<Charging>, mark: watch::Receiver<u64>) -> Self {
        Self { charging, mark, asking: None }
    }

    /// Asks sessions that wait for money to ask again when it arrives.
    pub fn asking(self, asking: Arc<Asking>) -> Self {
        Self { asking: Some(asking), ..self }
    }

    /// Moves a manual clock to `to`, dealing with every deadline on the way in its order.
    async fn move_to(&self, to: Timestamp) -> Result<Timestamp, ClockRefusal> {
        let clock = self.charging.clock.clone();
        let now = clock.now();
        if !clock.is_manual() {
            return Err(ClockRefusal::NotManual);
        }
        if to < now {
            return Err(ClockRefusal::Past { now });
        }
        let charging = self.charging.clone();
        let moved = tokio::task::spawn_blocking(move || {
            while let Some(due) = charging.next_deadline().filter(|due| *due <= to) {
                // A deadline that has passed is dealt with now.
                let now = charging.clock.now().max(due);
                let _ = charging.clock.set(now);
                charging.expire(now);
            }
            charging.clock.set(to)
        })
        .await
        .map_err(|_| ClockRefusal::Stopping)?;
        match moved {
            Ok(now) => {
                let last = self.charging.journal.appended_lsn();
                self.durable(last).await.map_err(|_| ClockRefusal::Stopping)?;
                Ok(now)
            }
            Err(ClockError::NotManual) => Err(ClockRefusal::NotManual),
            Err(ClockError::Backwards(now)) => Err(ClockRefusal::Past { now }),
        }
    }
}

/// Looks at the account that is meant, under its shard's lock.
fn look<T>(
    charging: &Charging,
    selection: &Selection,
    at: impl FnOnce(&Shard, &Account) -> T,
) -> Result<T, OperationError> {
    let (group, account, subscriber) = match &selection.account {
        AccountSelector::Id(id) => (charging.directory.group_of(*id), Some(*id), None),
        AccountSelector::Identifier(identifier) => {
            let found = charging.directory.find(selection.tenant, identifier);
            let (subscriber, group) = found.ok_or(OperationError::UnknownAccount)?;
            (group, None, Some(subscriber))
        }
    };
    charging.shards.with(group, |shard| {
        let id = account.or_else(|| Some(shard.subscriber(subscriber?)?.account));
        let account = id.and_then(|id| shard.account(id)).filter(|account| account.tenant == selection.tenant);
        account.map(|account| at(shard, account)).ok_or(OperationError::UnknownAccount)
    })
}

/// Everything about an account that is shown, and the entry it follows from. Walks its shard, then the index once.
fn snapshot(charging: &Charging, selection: &Selection) -> Result<(AccountSnapshot, Lsn), OperationError> {
    let (account, sessions, subscribers, lsn) = look(charging, selection, |shard, account| {
        let pays = |session: &Session| {
            session.account == account.id || session.sponsor.as_ref().is_some_and(|it| it.account == account.id)
        };
        let sessions = shard.sessions().filter(|session| session.is_open() && pays(session));
        let subscribers = shard.subscribers().filter(|subscriber| subscriber.account == account.id);
        let (sessions, subscribers): (Vec<_>, Vec<_>) = (sessions.cloned().collect(), subscribers.cloned().collect());
        (account.clone(), sessions, subscribers, shard.last_lsn())
    })?;
    let ids: Vec<SubscriberId> = subscribers.iter().map(|subscriber| subscriber.id).collect();
    let mut identifiers = charging.directory.identifiers_of(&ids);
    let subscribers = subscribers.into_iter().map(|subscriber| {
        let identifiers = identifiers.remove(&subscriber.id).unwrap_or_default();
        SubscriberSnapshot { subscriber, identifiers }
    });
    let tariffs = charging.tariffs.load_full();
    Ok((AccountSnapshot { account, sessions, subscribers: subscribers.collect(), tariffs }, lsn))
}

impl Operations for Desk {
    async fn account(&self, selection: Selection) -> Result<AccountSnapshot, OperationError> {
        let charging = self.charging.clone();
        let taken = tokio::task::spawn_blocking(move || snapshot(&charging, &selection)).await;
        let (snapshot, lsn) = taken.map_err(|_| OperationError::Stopping)??;
        self.durable(lsn).await?;
        Ok(snapshot)
    }

    async fn top_up(&self, top_up: TopUp) -> Result<ToppedUp, OperationError> {
        let found = |_: &Shard, account: &Account| (account.id, account.group, account.currency);
        let (account, group, currency) = look(&self.charging, &top_up.selection, found)?;
        if currency != top_up.currency {
            return Err(OperationError::WrongCurrency { account: currency });
        }
        // Payments give way as new sessions do; whoever tries again with the same key pays once.
        if self.charging.journal.is_saturated() {
            return Err(OperationError::Refused(Refusal::TooBusy));
        }
        let mutation = top_up.mutation(account);
        let done = self.charging.mutate(group, mutation, self.charging.clock.now());
        self.durable(done.lsn).await?;
        match &*done.outcome {
            MutationOutcome::Done { balance, cdr_number } => {
                if !done.repeated {
                    self.charging.telemetry.topup();
                    if let Some(asking) = &self.asking {
                        asking.money_arrived(self.charging.waiting(group, account));
                    }
                }
                Ok(ToppedUp { balance: *balance, currency, cdr_number: *cdr_number, repeated: done.repeated })
            }
            MutationOutcome::Refused(refusal) => Err(OperationError::Refused(refusal.clone())),
        }
    }

    async fn charge_record(&self, command: Command) -> Result<Recorded, OperationError> {
        // Records have time: they give way to what the network waits for.
        while self.charging.journal.is_saturated() {
            if self.charging.journal.has_failed() {
                return Err(OperationError::Stopping);
            }
            tokio::time::sleep(ROOM_PAUSE).await;
        }
        let Charged { outcome, lsn, repeated } = self.charging.charge(command);
        Ok(Recorded { outcome, repeated, lsn })
    }

    async fn durable(&self, lsn: Lsn) -> Result<(), OperationError> {
        let mut mark = self.mark.clone();
        mark.wait_for(|mark| *mark >= lsn.get()).await.map(|_| ()).map_err(|_| OperationError::Stopping)
    }

    fn time(&self) -> ClockReading {
        ClockReading { now: self.charging.clock.now(), manual: self.charging.clock.is_manual() }
    }

    async fn set_time(&self, to: Timestamp) -> Result<Timestamp, ClockRefusal> {
        self.move_to(to).await
    }

    async fn advance_time(&self, millis: i64) -> Result<Timestamp, ClockRefusal> {
        let now = self.charging.clock.now();
        self.move_to(Timestamp::from_millis(now.millis().saturating_add(millis.max(0)))).await
    }
}
