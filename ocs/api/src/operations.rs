//! What the services need done: the one trait that `ocs` implements, and the values that pass through it.

use std::future::Future;
use std::sync::Arc;

use rating_engine::account::{Account, Subscriber};
use rating_engine::command::{Command, Outcome, Refusal};
use rating_engine::ids::{AccountId, Identifier, Lsn, TenantId};
use rating_engine::money::{Currency, Money};
use rating_engine::session::Session;
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;

use crate::request::TopUp;

/// What operators can have done. Every future but [`Operations::charge_record`] ends only when what it says is durable.
pub trait Operations: Send + Sync + 'static {
    /// The account with everything to be shown of it.
    fn account(&self, selection: Selection) -> impl Future<Output = Result<AccountSnapshot, OperationError>> + Send;

    /// Pays in. The implementation finds the account, compares its currency, and passes
    /// [`TopUp::mutation`] to the shard.
    fn top_up(&self, top_up: TopUp) -> impl Future<Output = Result<ToppedUp, OperationError>> + Send;

    /// Charges a usage record, once there is room for it. What it says holds when its entry is durable ([`Self::durable`]):
    /// whoever hands in many need not wait for each.
    fn charge_record(&self, command: Command) -> impl Future<Output = Result<Recorded, OperationError>> + Send;

    /// Ends when everything up to this entry is durable.
    fn durable(&self, lsn: Lsn) -> impl Future<Output = Result<(), OperationError>> + Send;

    /// What time it is.
    fn time(&self) -> ClockReading;

    /// Moves the clock to `to`; ends when every deadline up to then has been dealt with.
    fn set_time(&self, to: Timestamp) -> impl Future<Output = Result<Timestamp, ClockRefusal>> + Send;

    /// Moves the clock forward by so many milliseconds; ends when every deadline up to then has been dealt with.
    fn advance_time(&self, millis: i64) -> impl Future<Output = Result<Timestamp, ClockRefusal>> + Send;
}

/// An account, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Whose it is.
    pub tenant: TenantId,
    /// Which.
    pub account: AccountSelector,
}

/// Which account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountSelector {
    /// The one with this id.
    Id(AccountId),
    /// The one that pays for the subscriber with this identifier.
    Identifier(Identifier),
}

impl std::fmt::Display for AccountSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(f, "account {id}"),
            Self::Identifier(identifier) => identifier.fmt(f),
        }
    }
}

/// An account at one instant.
#[derive(Clone, Debug)]
pub struct AccountSnapshot {
    /// The account.
    pub account: Account,
    /// Its open sessions.
    pub sessions: Vec<Session>,
    /// Its subscribers.
    pub subscribers: Vec<SubscriberSnapshot>,
    /// Every tariff version that its sessions may have been charged by.
    pub tariffs: Arc<Tariffs>,
}

/// A subscriber with the network's names for it.
#[derive(Clone, Debug)]
pub struct SubscriberSnapshot {
    /// The subscriber.
    pub subscriber: Subscriber,
    /// The names.
    pub identifiers: Vec<Identifier>,
}

/// What a top-up led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToppedUp {
    /// Money in all money buckets afterwards.
    pub balance: Money,
    /// Its currency.
    pub currency: Currency,
    /// Number of the CDR among the account's.
    pub cdr_number: u64,
    /// Whether this is the first answer again.
    pub repeated: bool,
}

/// What a usage record led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What it was answered.
    pub outcome: Arc<Outcome>,
    /// Whether this is the first answer again.
    pub repeated: bool,
    /// The entry that it follows from.
    pub lsn: Lsn,
}

/// What time it is, and who moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// Now.
    pub now: Timestamp,
    /// Whether the clock is set by hand.
    pub manual: bool,
}

/// Why an operation was not done; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationError {
    /// No account has this id, or no subscriber this identifier, in this tenant.
    UnknownAccount,
    /// The account's money is of another currency.
    WrongCurrency {
        /// The account's.
        account: Currency,
    },
    /// The shard turned it away.
    Refused(Refusal),
    /// The process is about to end.
    Stopping,
}

/// Why the clock was not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockRefusal {
    /// It is not set by hand.
    NotManual,
    /// The instant has passed.
    Past {
        /// What time it is.
        now: Timestamp,
    },
    /// The process is about to end.
    Stopping,
}
