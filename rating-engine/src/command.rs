//! What can be asked and what is answered.
//!
//! A front end builds a [`Command`] from octets or JSON; [`crate::shard::Shard::apply`] makes [`Effects`] of it; the
//! front end turns the [`Outcome`] back. One vocabulary for every protocol.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::account::{AccountState, Bucket, Holding, Subscriber};
use crate::cdr::RatedCdr;
use crate::context::Context;
use crate::ids::{AccountId, BucketId, CdrPosition, GroupId, IdempotencyKey, OfferName, SessionId, SubscriberId};
use crate::money::{Currency, Money};
use crate::refund::GiveBack;
use crate::rerate::Correction;
use crate::tariff::ServiceKey;
use crate::time::Timestamp;
use crate::units::{GrantUnits, Units};

/// A charging request.
#[derive(Clone, Debug)]
pub struct Command {
    /// When it is handled: deadlines and validity. Never the client's clock.
    pub now: Timestamp,
    /// When the client says it happened (Event-Timestamp): rating.
    pub event_time: Option<Timestamp>,
    /// The session, or the one-time event.
    pub session: SessionId,
    /// CC-Request-Number.
    pub number: u32,
    /// Digest over the unit parts of the request: tells a repeat from a reused key (design D6).
    pub digest: u64,
    /// The client's restart marker (Origin-State-Id); 0 when it gives none.
    pub client_state: u32,
    /// The subscriber that the identifiers of a start or event resolve to.
    pub subscriber: SubscriberId,
    /// What the client needs beyond the standard.
    pub profile: Profile,
    /// Whether units stand at command level, outside any MSCC: a denial then ends the session on both sides.
    pub command_level: bool,
    /// The circumstances.
    pub context: Context,
    /// What is asked.
    pub action: Action,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a session (INITIAL_REQUEST).
    Start(Vec<ServiceRequest>),
    /// Report and ask again (UPDATE_REQUEST).
    Update(Vec<ServiceRequest>),
    /// Report and end (TERMINATION_REQUEST).
    Stop(Vec<ServiceRequest>),
    /// Charge a one-time event (DIRECT_DEBITING).
    Debit(Vec<ServiceRequest>),
    /// Give a charge back (REFUND_ACCOUNT).
    Refund {
        /// The event whose charge it is.
        original: SessionId,
        /// What to give back; nothing named means all of it.
        services: Vec<ServiceRequest>,
    },
    /// Charge what was used already, as a record says that is handed in later: whatever there is to pay it with (R16, R23, R25).
    Record {
        /// What was used, from the command's event time on.
        services: Vec<ServiceRequest>,
        /// When the usage ended.
        ended: Timestamp,
    },
    /// Would it be affordable? (CHECK_BALANCE)
    CheckBalance(Vec<ServiceRequest>),
    /// What would it cost? (PRICE_ENQUIRY)
    PriceEnquiry(Vec<ServiceRequest>),
}

impl Action {
    /// The part of the request's key that says what it is (design D6).
    pub const fn kind(&self) -> RequestKind {
        match self {
            Self::Start(_) => RequestKind::Start,
            Self::Update(_) => RequestKind::Update,
            Self::Stop(_) => RequestKind::Stop,
            Self::Debit(_)
            | Self::Refund { .. }
            | Self::Record { .. }
            | Self::CheckBalance(_)
            | Self::PriceEnquiry(_) => RequestKind::Event,
        }
    }
}

/// CC-Request-Type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestKind {
    /// INITIAL_REQUEST.
    Start,
    /// UPDATE_REQUEST.
    Update,
    /// TERMINATION_REQUEST.
    Stop,
    /// EVENT_REQUEST.
    Event,
}

/// What is asked and reported for one service (one MSCC, or the command level).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRequest {
    /// Which service.
    pub key: ServiceKey,
    /// What is wanted next.
    pub requested: Requested,
    /// What was used, in parts.
    pub used: Vec<Used>,
}

/// Requested-Service-Unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Requested {
    /// Absent: grant nothing.
    #[default]
    Nothing,
    /// Empty: the server decides.
    Any,
    /// These units.
    Units(Units),
}

/// One Used-Service-Unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// The measures.
    pub units: Units,
    /// Before or after a tariff switch.
    pub part: TariffPart,
}

/// Tariff-Change-Usage (RFC 8506 8.27).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TariffPart {
    /// No switch is reported.
    #[default]
    Whole,
    /// Used before the switch.
    Before,
    /// Used after it.
    After,
    /// Across it.
    Straddling,
}

/// What a kind of client needs beyond the standard, as far as charging decides it (design D10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Whether a named request is sized by us like an empty one.
    pub resizes: bool,
    /// Whether the last slice is marked final; if not, it is granted like any other and the next request decides.
    pub marks_final: bool,
    /// Whether grants that are not final carry thresholds.
    pub thresholds: bool,
    /// The most that may be granted at once, in any unit; 0 for no such cap.
    pub grant_cap: u64,
    /// Validity-Time to use instead of the price's, seconds; 0 for the price's.
    pub validity_seconds: u32,
    /// Whether it reports what it used before and after a switch apart; if not, grants end at the next one (R41).
    pub splits: bool,
}

impl Profile {
    /// What the standards say.
    pub const STANDARD: Self =
        Self { resizes: false, marks_final: true, thresholds: true, grant_cap: 0, validity_seconds: 0, splits: true };
    /// An Open5GS SMF: names a constant, takes any final unit for the end, reads one service, splits nothing.
    pub const OPEN5GS: Self =
        Self { resizes: true, marks_final: false, thresholds: true, grant_cap: 0, validity_seconds: 0, splits: false };
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handled; each service has its own result.
    Answered(Answered),
    /// Turned away whole; nothing changed.
    Refused(Refusal),
}

/// A handled command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// One result per service, in the request's order.
    pub services: ServiceOutcomes,
    /// What the session or event cost in all so far, or would cost.
    pub cost: Option<(Money, Currency)>,
    /// CHECK_BALANCE: whether it is affordable.
    pub enough_credit: Option<bool>,
    /// The report was settled, but the session had ended before: the client must open it anew.
    pub session_gone: bool,
    /// Names this event's charge for a later refund.
    pub refund_reference: Option<SessionId>,
}

/// One result per service: mostly one.
pub type ServiceOutcomes = SmallVec<[ServiceOutcome; 1]>;

/// The result for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOutcome {
    /// Which service.
    pub key: ServiceKey,
    /// What happens with it.
    pub result: ServiceResult,
}

/// The result for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceResult {
    /// Units to use.
    Granted(Grant),
    /// The report is settled; no grant was asked for.
    Settled,
    /// No further grant; what was used is debited.
    Denied(Denial),
}

/// Units told to the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The units, in the types the client asked for.
    pub units: GrantUnits,
    /// Seconds until the client must ask again; 0 for an event that is already charged.
    pub validity_seconds: u32,
    /// When another price begins: what is used before and after is to be reported apart (RFC 8506 8.20).
    pub switch: Option<Timestamp>,
    /// Ask again when at most this much is left, in the grant's unit; 0 for none.
    pub threshold: u64,
    /// Nothing will follow.
    pub last: bool,
}

/// Why a service gets no further grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Denial {
    /// Nothing left to pay it with.
    CreditLimitReached,
    /// The subscriber or account is suspended.
    ServiceDenied,
    /// The account is barred or closed.
    Rejected,
    /// No price, or a unit that the price does not count.
    RatingFailed,
    /// The reported usage cannot be true; kept in suspense.
    UsageSuspect,
}

/// Why a whole command is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No subscriber has these identifiers.
    UnknownSubscriber,
    /// The identifiers belong to different subscribers.
    IdentifiersDisagree,
    /// No such session.
    UnknownSession,
    /// The subscriber or account may not use this for now.
    ServiceDenied,
    /// Not ever.
    Rejected,
    /// A one-time event that cannot be paid (R21).
    CreditLimitReached,
    /// No price for what was asked.
    RatingFailed,
    /// The same key with other units.
    KeyReused,
    /// A request number so old that its answer is gone.
    AnswerGone,
    /// A refund that names no charge of ours.
    NothingToRefund,
    /// A refund of more than was charged and not yet given back.
    RefundBeyondCharge,
    /// Too much is open or waiting; ask again later or elsewhere.
    TooBusy,
    /// An amount that does not fit.
    OutOfRange,
    /// What it was based on has changed since.
    Stale,
    /// What names something that does not exist or cannot be, in words.
    Invalid(&'static str),
}

/// What a person or an import asks for.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// What is to change.
    pub change: Change,
    /// What makes it known again, and why it is asked; `None` where repeating it changes nothing anyway. Whatever moves money
    /// needs one.
    pub request: Option<Request>,
}

impl From<Change> for Mutation {
    fn from(change: Change) -> Self {
        Self { change, request: None }
    }
}

/// What makes a mutation known again, and why it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Repeating a key changes nothing and gets the first answer.
    pub key: IdempotencyKey,
    /// Digest of the whole request: the same key with another request is refused.
    pub digest: u64,
    /// Why.
    pub reason: Box<str>,
}

/// What is to change.
#[derive(Clone, Debug)]
pub enum Change {
    /// Make an account as it is given; an existing one is left alone and refused.
    OpenAccount(Box<crate::account::Account>),
    /// Make or replace a subscriber; one that is there keeps its counters.
    PutSubscriber(Subscriber),
    /// Close a member of a group that uses nothing any more.
    RemoveMember {
        /// The group.
        group: GroupId,
        /// The member.
        subscriber: SubscriberId,
    },
    /// Change nothing here: what people say of a group stands beside its shard; only the request is remembered.
    Describe(GroupId),
    /// Pay in.
    TopUp {
        /// The account.
        account: AccountId,
        /// How much; positive.
        amount: Money,
        /// The bucket that takes it, made when new.
        bucket: Bucket,
    },
    /// Put into a bucket, or take out of it what no session holds, what should always have been so.
    Adjust {
        /// The account.
        account: AccountId,
        /// The bucket, which is there.
        bucket: BucketId,
        /// What it holds: money or a unit.
        holding: Holding,
        /// How much, in micro-units of the account's currency or in the unit: above 0 to put in, below to take out.
        amount: i64,
    },
    /// Let a bucket end later.
    Extend {
        /// The account.
        account: AccountId,
        /// The bucket, which is there.
        bucket: BucketId,
        /// First instant at which it no longer pays; later than what it has.
        valid_to: Timestamp,
    },
    /// Buy an offer.
    Buy {
        /// The account that pays.
        account: AccountId,
        /// For whom.
        subscriber: SubscriberId,
        /// Which.
        offer: OfferName,
        /// Which version; `None` for the newest.
        version: Option<u32>,
        /// When it begins; `None` for at once.
        begins: Option<Timestamp>,
    },
    /// Let an offer end.
    Cancel {
        /// The account that holds it.
        account: AccountId,
        /// The subscription's number.
        subscription: u32,
        /// When.
        ending: Ending,
    },
    /// Let an offer end and another one begin at that instant, for the same subscriber.
    Replace {
        /// The account that holds it and pays for the other.
        account: AccountId,
        /// The subscription's number.
        subscription: u32,
        /// When.
        ending: Ending,
        /// Which offer follows.
        offer: OfferName,
        /// Which version of it; `None` for the newest.
        version: Option<u32>,
    },
    /// Correct what a CDR charged (R32); the account is the one that paid.
    Correct(Box<Correction>),
    /// Give back what a CDR charged, or part of it (R29); the account is the one that paid.
    GiveBack(Box<GiveBack>),
    /// Allow or stop charging an account; a closed one stays closed.
    SetState {
        /// The account.
        account: AccountId,
        /// The new state.
        state: AccountState,
    },
    /// Give an account a credit line of this limit, or another limit.
    SetCredit {
        /// The account.
        account: AccountId,
        /// What spent and held may reach; not below 0.
        limit: Money,
    },
    /// End a session without the client.
    Release {
        /// The session.
        session: SessionId,
        /// Why.
        cause: crate::cdr::Cause,
        /// Only when the client's restart marker is below this; 0 for always.
        client_state_below: u32,
    },
}

impl Change {
    /// As a request with a key.
    pub const fn asked(self, request: Request) -> Mutation {
        Mutation { change: self, request: Some(request) }
    }

    /// The account that it changes; `None` for one that it makes, a subscriber's or a session's.
    pub const fn account(&self) -> Option<AccountId> {
        match self {
            Self::TopUp { account, .. }
            | Self::Adjust { account, .. }
            | Self::Extend { account, .. }
            | Self::Buy { account, .. }
            | Self::Cancel { account, .. }
            | Self::Replace { account, .. }
            | Self::SetState { account, .. }
            | Self::SetCredit { account, .. } => Some(*account),
            Self::Correct(correction) => Some(correction.known.account),
            Self::GiveBack(back) => Some(back.account),
            Self::OpenAccount(_)
            | Self::PutSubscriber(_)
            | Self::RemoveMember { .. }
            | Self::Describe(_)
            | Self::Release { .. } => None,
        }
    }

    /// The account that it is about: also one that it makes, or a subscriber's.
    pub fn about(&self) -> Option<AccountId> {
        if let Self::OpenAccount(account) = self {
            Some(account.id)
        } else if let Self::PutSubscriber(subscriber) = self {
            Some(subscriber.account)
        } else {
            self.account()
        }
    }
}

/// When an offer that somebody holds ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its cycle: what was paid for is used up. What is in no cycle, or in one without an end, ends at once.
    WithCycle,
    /// Now: what it opened ends with it.
    AtOnce,
    /// Then, in whichever cycle that is; what it opened ends with it.
    At(Timestamp),
}

/// The answer to a mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MutationOutcome {
    /// Done; for money, the balance of all money buckets afterwards and the CDR's number on the account.
    Done {
        /// Money in the account afterwards.
        balance: Money,
        /// Number of the CDR on the account; 0 when none was made.
        cdr_number: u64,
    },
    /// Turned away; nothing changed.
    Refused(Refusal),
}

/// What a mutation is remembered by: its idempotency key, which is unique only in its charging group.
pub type MutationKey = (GroupId, IdempotencyKey);

/// A record that changed and must be stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntityKey {
    /// An account with its buckets and totals.
    Account(AccountId),
    /// A session with its stored answers.
    Session(SessionId),
    /// A subscriber.
    Subscriber(SubscriberId),
    /// A remembered mutation.
    Mutation(MutationKey),
}

/// How much of a session changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionChange {
    /// It replaces whatever was there under this id.
    pub fresh: bool,
    /// The circumstances too.
    pub context: bool,
    /// The slot of the stored answer that was written.
    pub answer: Option<u8>,
}

/// One changed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The account's after-image is to be stored.
    Account(AccountId),
    /// The session's after-image, as far as it changed.
    Session(SessionId, SessionChange),
    /// The session of this charging group is gone.
    SessionGone(SessionId, GroupId),
    /// The subscriber's after-image.
    Subscriber(SubscriberId),
    /// The mutation's after-image.
    Mutation(MutationKey),
    /// The mutation is forgotten.
    MutationGone(MutationKey),
}

impl Write {
    /// Whether this write, which comes later in the same entry, leaves nothing of the `other`. A session that was put after one
    /// under its id had gone may be another group's: then both count.
    pub fn replaces(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Account(a), Self::Account(b)) => a == b,
            (Self::Subscriber(a), Self::Subscriber(b)) => a == b,
            (Self::Session(a, _) | Self::SessionGone(a, _), Self::Session(b, _)) => a == b,
            (Self::SessionGone(a, here), Self::SessionGone(b, there)) => a == b && here == there,
            (Self::Mutation(a) | Self::MutationGone(a), Self::Mutation(b) | Self::MutationGone(b)) => a == b,
            (
                Self::Account(_)
                | Self::Subscriber(_)
                | Self::Session(..)
                | Self::SessionGone(..)
                | Self::Mutation(_)
                | Self::MutationGone(_),
                _,
            ) => false,
        }
    }

    /// The record's key.
    pub fn key(&self) -> EntityKey {
        match self {
            Self::Account(id) => EntityKey::Account(*id),
            Self::Session(id, _) | Self::SessionGone(id, _) => EntityKey::Session(id.clone()),
            Self::Subscriber(id) => EntityKey::Subscriber(*id),
            Self::Mutation(key) | Self::MutationGone(key) => EntityKey::Mutation(key.clone()),
        }
    }
}

/// Changed records, in no particular order; each key at most once.
pub type Writes = SmallVec<[Write; 2]>;

/// What a command did. Persist the writes and CDRs, then send the outcome.
#[must_use = "persist the writes, then send the outcome"]
#[derive(Debug)]
pub struct Effects<T = Arc<Outcome>> {
    /// The answer.
    pub outcome: T,
    /// Records that changed; empty for a repeat and for a refusal.
    pub writes: Writes,
    /// CDRs to append, in order.
    pub cdrs: Vec<RatedCdr>,
    /// Whether this is a stored answer.
    pub repeated: bool,
    /// A session that now exists.
    pub opened: Option<SessionId>,
    /// Sessions that are no longer remembered at all, and their charging groups.
    pub forgotten: Vec<(SessionId, GroupId)>,
    /// What monitoring wants to know.
    pub facts: Facts,
}

/// What monitoring wants to know of one command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Sessions opened minus sessions closed.
    pub open_sessions: i64,
    /// Change of the money held by open sessions, micro-units.
    pub reserved_micros: i64,
    /// Money charged, micro-units.
    pub charged_micros: i64,
    /// Services whose usage went beyond the grant.
    pub beyond_grant: u32,
    /// Services whose usage was put in suspense.
    pub suspense: u32,
    /// Services denied for lack of credit.
    pub denied_credit: u32,
    /// Whether a session expired in silence.
    pub expired: bool,
    /// Ended sessions that were forgotten before their time, for there were too many.
    pub forgotten_early: u32,
}

/// A CDR's position as it is known once appended.
pub type Appended = (CdrPosition, RatedCdr);
