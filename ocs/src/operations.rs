//! What operators can have done, over the shards: the implementation behind the gRPC services.
//!
//! Every answer waits for the durable mark like a network element's: nobody sees what a crash could take back.

mod accounts;
mod approvals;
mod audit;
mod catalogue;
pub(crate) mod charges;
mod control;
mod groups;
mod notifications;
mod rerating;
mod sessions;
mod subscribers;
mod vouchers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use balance_store::{CdrStore, StateStore};
use futures_util::stream::BoxStream;
use ocs_api::{
    AccountChange, AccountSelector, AccountSnapshot, Ask, AuditVerdict, Caller, Ceiling, Changed, ClientAnswer,
    ClockReading, ClockRefusal, Loaded, NewAccount, OperationError, Operations, Put, Recorded, Row, Selection,
    SessionChange, SessionFilter, SessionSnapshot, SubscriberPut, SubscriberSelector, SubscriberSnapshot, TopUp,
    ToppedUp, TransferAsked, name,
};
use ocs_proto::cdr::v1::RatedCdr;
use ocs_proto::operator::v1 as wire;
use rating_engine::account::Account;
use rating_engine::command::{Command, Mutation, MutationOutcome, Refusal, Request};
use rating_engine::ids::{AccountId, CdrPosition, GroupId, Lsn, PartitionId, SessionId, SubscriberId, TenantId};
use rating_engine::money::Money;
use rating_engine::session::Session;
use rating_engine::shard::Shard;
use rating_engine::time::Timestamp;
use tokio::sync::{Semaphore, watch};

use crate::asking::Asking;
use crate::audit_log::By;
use crate::charging::{Charged, Charging, Noting};
use crate::clock::ClockError;
use crate::control::ControlTotals;
use crate::publishing::Publisher;
use crate::rerating::Rerater;
use crate::store::{Catalogue, Running};
use approvals::Approvers;
use vouchers::Vault;

/// How long a usage record waits before it looks again whether there is room for it.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// Walks over many CDRs at once.
const WALKS_MAX: usize = 2;

/// The operations of a running system.
#[derive(Clone, Debug)]
pub struct Desk {
    charging: Arc<Charging>,
    files: Arc<Files>,
    mark: watch::Receiver<u64>,
    asking: Option<Arc<Asking>>,
    publisher: Arc<Publisher>,
    /// Held by the one simulation of a period that may run.
    simulating: Arc<Semaphore>,
    /// Held by whoever loads rows: one thread at a time, whatever is loaded at once.
    loading: Arc<Semaphore>,
    vault: Arc<Vault>,
    saying: groups::Saying,
    approvers: Arc<Approvers>,
    rerater: Arc<Rerater>,
    control: Arc<ControlTotals>,
    /// Streams of notifications.
    notifying: Arc<Semaphore>,
}

/// What is read beside the shards.
struct Files {
    catalogue: Arc<Catalogue>,
    state: Arc<dyn StateStore>,
    cdrs: Arc<CdrStore>,
    partition: PartitionId,
    /// Turns for walks over many CDRs: they must not keep the processors from the network's requests.
    walks: Semaphore,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("partition", &self.partition).finish_non_exhaustive()
    }
}

impl Desk {
    /// Over a running system; `mark` follows the durable mark.
    pub fn new(
        running: &Running,
        mark: watch::Receiver<u64>,
        publisher: Arc<Publisher>,
        rerater: Arc<Rerater>,
        control: Arc<ControlTotals>,
    ) -> Self {
        let Running { charging, store, partition, .. } = running;
        let files = Files {
            catalogue: store.catalogue.clone(),
            state: store.state.clone(),
            cdrs: store.cdrs.clone(),
            partition: *partition,
            walks: Semaphore::new(WALKS_MAX),
        };
        let (charging, files) = (charging.clone(), Arc::new(files));
        let (simulating, loading) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
        let notifying = Arc::new(Semaphore::new(notifications::STREAMS_MAX));
        let (vault, saying, approvers) = (Arc::default(), Arc::default(), Arc::default());
        let asking = None;
        Self {
            charging,
            files,
            mark,
            asking,
            publisher,
            simulating,
            loading,
            vault,
            saying,
            approvers,
            rerater,
            control,
            notifying,
        }
    }

    /// Asks sessions that wait for money to ask again when it arrives.
    pub fn asking(self, asking: Arc<Asking>) -> Self {
        Self { asking: Some(asking), ..self }
    }

    /// Keeps the secret key of vouchers in this folder; without one there are no vouchers.
    pub fn vouchers_in(self, folder: &Path) -> Self {
        Self { vault: Arc::new(Vault::of(folder)), ..self }
    }

    /// Credits above this need a second person; in another currency, all do.
    pub fn second_approver_above(self, above: Option<Ceiling>) -> Self {
        Self { approvers: Arc::new(Approvers::above(above)), ..self }
    }

    /// Waits for room: what has time gives way to what the network waits for.
    async fn room(&self) -> Result<(), OperationError> {
        while self.charging.journal.is_saturated() {
            if self.charging.journal.has_failed() {
                return Err(OperationError::Stopping);
            }
            tokio::time::sleep(ROOM_PAUSE).await;
        }
        Ok(())
    }

    /// Sessions that wait for money of an account ask again.
    fn money_arrived(&self, group: GroupId, account: AccountId) {
        if let Some(asking) = &self.asking {
            asking.money_arrived(self.charging.waiting(group, account));
        }
    }

    /// Does what a person asks, and waits until it is durable.
    async fn mutated(&self, group: GroupId, mutation: Mutation, noting: Noting<'_>) -> Result<Mutated, OperationError> {
        // People's changes give way as new sessions do; whoever tries again with the same key changes once.
        if self.charging.journal.is_saturated() {
            return Err(OperationError::Refused(Refusal::TooBusy));
        }
        let done = self.charging.mutate_with(group, mutation, self.charging.clock.now(), noting);
        self.settled(done).await
    }

    async fn settled(&self, done: Charged<MutationOutcome>) -> Result<Mutated, OperationError> {
        self.durable(done.lsn).await?;
        match &*done.outcome {
            MutationOutcome::Done { balance, cdr_number } => {
                Ok(Mutated { balance: *balance, cdr_number: *cdr_number, repeated: done.repeated })
            }
            MutationOutcome::Refused(refusal) => Err(OperationError::Refused(refusal.clone())),
        }
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
        let (charging, publisher) = (self.charging.clone(), self.publisher.clone());
        let moved = tokio::task::spawn_blocking(move || {
            let next = || charging.next_deadline().into_iter().chain(publisher.next_due()).min();
            while let Some(due) = next().filter(|due| *due <= to && !charging.journal.has_failed()) {
                // A deadline that has passed is dealt with now.
                let now = charging.clock.now().max(due);
                let _ = charging.clock.set(now);
                publisher.publish_due(now);
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

/// What a mutation led to.
struct Mutated {
    balance: Money,
    cdr_number: u64,
    repeated: bool,
}

/// Who asks for what, for the audit log.
fn by(caller: &Caller, method: &'static str, target: String, request: Option<&Request>) -> By {
    let key = request.map(|request| request.key.as_str().into()).unwrap_or_default();
    let reason = request.map(|request| request.reason.clone()).unwrap_or_default();
    By { caller: (*caller.name).into(), method, target: target.into(), key, reason }
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

/// Everything about an account that is shown, and the entry it follows from. Walks its shard's sessions.
fn snapshot(charging: &Charging, selection: &Selection) -> Result<(AccountSnapshot, Lsn), OperationError> {
    let (account, sessions, subscribers, lsn) = look(charging, selection, |shard, account| {
        let pays = |session: &Session| {
            session.account == account.id || session.sponsor.as_ref().is_some_and(|it| it.account == account.id)
        };
        let sessions = shard.sessions().filter(|session| session.is_open() && pays(session));
        let members = shard.members_of(account.group, SubscriberId::default());
        let subscribers = members.filter(|subscriber| subscriber.account == account.id);
        let (sessions, subscribers): (Vec<_>, Vec<_>) = (sessions.cloned().collect(), subscribers.cloned().collect());
        (account.clone(), sessions, subscribers, shard.last_lsn())
    })?;
    let subscribers = subscribers.into_iter().map(|subscriber| {
        let identifiers = charging.directory.identifiers_of(subscriber.id);
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

    async fn top_up(&self, caller: Caller, top_up: TopUp) -> Result<ToppedUp, OperationError> {
        let found = |_: &Shard, account: &Account| (account.id, account.group, account.tenant, account.currency);
        let (account, group, tenant, currency) = look(&self.charging, &top_up.selection, found)?;
        if currency != top_up.currency {
            return Err(OperationError::WrongCurrency { account: currency });
        }
        let mutation = top_up.mutation(account);
        let target = name::account(tenant, account);
        let by = by(&caller, "Accounts/TopUp", target, mutation.request.as_ref());
        let noting = Noting { by: Some(&by), ..Noting::default() };
        self.held_back((group, tenant, currency), &mutation, &noting).await?;
        let done = self.mutated(group, mutation, noting).await?;
        if !done.repeated {
            self.charging.telemetry.topup();
            self.money_arrived(group, account);
        }
        Ok(ToppedUp { balance: done.balance, currency, cdr_number: done.cdr_number, repeated: done.repeated })
    }

    async fn create_account(&self, caller: Caller, new: NewAccount) -> Result<bool, OperationError> {
        self.make_account(&caller, new).await
    }

    async fn change(&self, caller: Caller, change: AccountChange) -> Result<Changed, OperationError> {
        self.change_account(&caller, &change).await
    }

    async fn transfer(&self, caller: Caller, transfer: TransferAsked) -> Result<Changed, OperationError> {
        self.give(&caller, transfer).await
    }

    async fn movements(
        &self,
        selection: Selection,
        from: Option<CdrPosition>,
        max: usize,
    ) -> Result<Vec<RatedCdr>, OperationError> {
        self.read_movements(selection, from, max).await
    }

    async fn subscriber(
        &self,
        tenant: TenantId,
        selector: SubscriberSelector,
    ) -> Result<SubscriberSnapshot, OperationError> {
        self.find_subscriber(tenant, selector).await
    }

    async fn put_subscriber(&self, caller: Caller, put: SubscriberPut) -> Result<Put, OperationError> {
        self.replace_subscriber(caller, put).await
    }

    async fn load_rows(&self, caller: Caller, rows: Vec<Row>) -> Result<Vec<Loaded>, OperationError> {
        self.fill_all(caller, rows).await
    }

    async fn sessions(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        max: usize,
    ) -> Result<Vec<SessionSnapshot>, OperationError> {
        self.list_sessions(filter, after, max).await
    }

    async fn watch_sessions(&self, filter: SessionFilter) -> Result<BoxStream<'static, SessionChange>, OperationError> {
        self.watch(&filter)
    }

    async fn session(&self, id: SessionId) -> Result<SessionSnapshot, OperationError> {
        let (_, found, lsn) = self.open_session(&id)?;
        self.durable(lsn).await?;
        Ok(found)
    }

    async fn ask_client(
        &self,
        caller: Caller,
        id: SessionId,
        ask: Ask,
        reason: Box<str>,
    ) -> Result<ClientAnswer, OperationError> {
        self.ask(&caller, &id, ask, &reason).await
    }

    async fn release(&self, caller: Caller, id: SessionId, reason: Box<str>) -> Result<(), OperationError> {
        self.release_session(&caller, id, reason).await
    }

    async fn audit_records(&self, from: Option<u64>, max: usize) -> Result<Vec<wire::AuditRecord>, OperationError> {
        self.read_audit_records(from, max).await
    }

    async fn verify_audit_log(&self, known: Option<(u64, [u8; 32])>) -> Result<AuditVerdict, OperationError> {
        self.compute_chain(known).await
    }

    async fn charge_record(&self, command: Command) -> Result<Recorded, OperationError> {
        self.room().await?;
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
