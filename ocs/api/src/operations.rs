//! What the services need done: the one trait that `ocs` implements, and the values that pass through it.

use std::future::Future;
use std::sync::Arc;

use futures_util::stream::BoxStream;
use ocs_proto::cdr::v1::RatedCdr;
use ocs_proto::operator::v1 as wire;
use rating_engine::account::{Account, Subscriber};
use rating_engine::command::{Command, Outcome, Refusal};
use rating_engine::ids::{AccountId, CdrPosition, GroupId, Identifier, Lsn, SessionId, SubscriberId, TenantId};
use rating_engine::money::{Currency, Money};
use rating_engine::session::Session;
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;

use crate::approvals::ApprovalRefusal;
use crate::caller::Caller;
use crate::change::{AccountChange, NewAccount, TransferAsked};
use crate::name::SubscriberSelector;
use crate::request::TopUp;
use crate::subscribers::SubscriberPut;
use crate::vouchers::VoucherRefusal;

/// What operators can have done. Every future but [`Operations::charge_record`] ends only when what it says is durable.
pub trait Operations: Send + Sync + 'static {
    /// The account with everything to be shown of it.
    fn account(&self, selection: Selection) -> impl Future<Output = Result<AccountSnapshot, OperationError>> + Send;

    /// Pays in. The implementation finds the account, compares its currency, and passes
    /// [`TopUp::mutation`] to the shard.
    fn top_up(&self, caller: Caller, top_up: TopUp) -> impl Future<Output = Result<ToppedUp, OperationError>> + Send;

    /// Makes an account.
    fn create_account(
        &self,
        caller: Caller,
        new: NewAccount,
    ) -> impl Future<Output = Result<bool, OperationError>> + Send;

    /// Changes an account that is there.
    fn change(
        &self,
        caller: Caller,
        change: AccountChange,
    ) -> impl Future<Output = Result<Changed, OperationError>> + Send;

    /// Moves money from one account to another.
    fn transfer(
        &self,
        caller: Caller,
        transfer: TransferAsked,
    ) -> impl Future<Output = Result<Changed, OperationError>> + Send;

    /// CDRs of an account, the newest first: from the one at a position, or from the newest.
    fn movements(
        &self,
        selection: Selection,
        from: Option<CdrPosition>,
        max: usize,
    ) -> impl Future<Output = Result<Vec<RatedCdr>, OperationError>> + Send;

    /// A subscriber with its account.
    fn subscriber(
        &self,
        tenant: TenantId,
        selector: SubscriberSelector,
    ) -> impl Future<Output = Result<SubscriberSnapshot, OperationError>> + Send;

    /// Makes or replaces a subscriber.
    fn put_subscriber(
        &self,
        caller: Caller,
        put: SubscriberPut,
    ) -> impl Future<Output = Result<Put, OperationError>> + Send;

    /// Loads rows in their order, once there is room for them; says what became of each. What that says holds when its entry is
    /// durable ([`Self::durable`]). Whoever loads many at once has them done beside the network's requests, not before them.
    fn load_rows(
        &self,
        caller: Caller,
        rows: Vec<Row>,
    ) -> impl Future<Output = Result<Vec<Loaded>, OperationError>> + Send;

    /// Open sessions in their order, behind `after`.
    fn sessions(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        max: usize,
    ) -> impl Future<Output = Result<Vec<SessionSnapshot>, OperationError>> + Send;

    /// What happens to sessions from now on.
    fn watch_sessions(
        &self,
        filter: SessionFilter,
    ) -> impl Future<Output = Result<BoxStream<'static, SessionChange>, OperationError>> + Send;

    /// One open session.
    fn session(&self, id: SessionId) -> impl Future<Output = Result<SessionSnapshot, OperationError>> + Send;

    /// Has a session's client do something, and waits for its answer.
    fn ask_client(
        &self,
        caller: Caller,
        id: SessionId,
        ask: Ask,
        reason: Box<str>,
    ) -> impl Future<Output = Result<ClientAnswer, OperationError>> + Send;

    /// Ends a session without its client.
    fn release(
        &self,
        caller: Caller,
        id: SessionId,
        reason: Box<str>,
    ) -> impl Future<Output = Result<(), OperationError>> + Send;

    /// Audit records, the newest first: from the one at a position, or from the newest.
    fn audit_records(
        &self,
        from: Option<u64>,
        max: usize,
    ) -> impl Future<Output = Result<Vec<wire::AuditRecord>, OperationError>> + Send;

    /// Computes the audit log's chain again; `known` is a position whose value is known from elsewhere.
    fn verify_audit_log(
        &self,
        known: Option<(u64, [u8; 32])>,
    ) -> impl Future<Output = Result<AuditVerdict, OperationError>> + Send;

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

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.account.fmt(f)?;
        if self.tenant == TenantId::default() { Ok(()) } else { write!(f, " of tenant {}", self.tenant.get()) }
    }
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
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// What a change of an account led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Money in all money buckets afterwards.
    pub balance: Money,
    /// Its currency.
    pub currency: Currency,
    /// Number of the (first) CDR among the account's; 0 when there is none.
    pub cdr_number: u64,
    /// The account's etag.
    pub etag: String,
    /// Whether this is the first answer again.
    pub repeated: bool,
}

/// What putting a subscriber led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Its etag.
    pub etag: String,
    /// Whether this is the first answer again.
    pub repeated: bool,
}

/// One row of a bulk load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// An account, a line of an account file.
    Account(String),
    /// A subscriber, a line of a subscriber file.
    Subscriber(String),
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It is there when this entry is durable.
    Loaded(Lsn),
    /// It was there, and is certain when this entry is durable.
    There(Lsn),
    /// It is there when this entry is durable, but not all of it: what is missing, and why.
    Incomplete(Lsn, String),
    /// It cannot be, and why.
    Refused(String),
}

/// Which open sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Only those that this account pays for.
    pub account: Option<Selection>,
    /// Only those of this network element.
    pub client_host: Option<Box<str>>,
    /// Only those that wait for money.
    pub waiting: bool,
}

/// An open session with what pays for it.
#[derive(Clone, Debug)]
pub struct SessionSnapshot {
    /// It.
    pub session: Session,
    /// The tenant of its account.
    pub tenant: TenantId,
    /// The account's currency.
    pub currency: Currency,
    /// Every tariff version that it may have been charged by.
    pub tariffs: Arc<Tariffs>,
}

/// What happened to a session.
#[derive(Clone, Debug)]
pub enum SessionChange {
    /// It was opened.
    Opened(SessionSnapshot),
    /// It reported, got a grant, or was denied one.
    Changed(SessionSnapshot),
    /// It is over.
    Ended(SessionSnapshot),
    /// So many changes were missed.
    Missed(u64),
}

/// What a client is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To ask again.
    Reauthorize,
    /// To end the session.
    Terminate,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAnswer {
    /// The client does it, and its result code.
    Consented(u32),
    /// The client has no such session.
    UnknownSession(u32),
    /// The client does not do it: its result code and words.
    Refused(u32, String),
    /// It is not connected.
    NotConnected(String),
    /// It did not answer.
    NoAnswer(String),
}

/// What the audit log's chain says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditVerdict {
    /// How many records there are.
    pub records: u64,
    /// The chain after the last.
    pub chain: [u8; 32],
    /// The first record that is not what was written, and what is wrong.
    pub broken: Option<(u64, String)>,
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
    /// No subscriber has this number or identifier, in this tenant.
    UnknownSubscriber,
    /// No such session is open.
    UnknownSession,
    /// No account of this tenant is in such a charging group, or none has this external id.
    UnknownGroup,
    /// An external id is another charging group's.
    ExternalIdTaken {
        /// The id.
        external_id: Box<str>,
        /// Whose it is.
        owner: GroupId,
    },
    /// An identifier is somebody else's.
    Taken {
        /// The identifier.
        what: Identifier,
        /// Whose it is.
        owner: SubscriberId,
    },
    /// It is there already, in words.
    Exists(String),
    /// It cannot be, in words.
    Precondition(String),
    /// What it was based on has changed.
    Stale,
    /// The store could not be read, in words.
    Store(String),
    /// The account's money is of another currency.
    WrongCurrency {
        /// The account's.
        account: Currency,
    },
    /// The shard turned it away.
    Refused(Refusal),
    /// A voucher is not what it would have to be.
    Voucher(VoucherRefusal),
    /// A second person has to approve, or did not.
    Approval(ApprovalRefusal),
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
