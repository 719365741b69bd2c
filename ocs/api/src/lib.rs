//! The operators' gRPC services: accounts, usage records, and the clock of a development system.
//!
//! `ocs` implements [`Operations`] over the shards and serves [`router`]. Requests are checked here, field by field, and
//! become plain values; what is refused says which field, why, and what to do. Durability is the implementation's: an
//! answer that it returns is one that no crash takes back.
//!
//! Absent on purpose: who may call (`ocs` turns others away before, and says who it is: [`Caller`]), printing (the command line), and every change
//! of a balance but through [`Operations`].

mod accounts;
mod approvals;
mod audit;
mod caller;
mod catalogue;
mod change;
mod charges;
mod clock;
mod consumers;
mod control;
pub mod etag;
mod explanation;
mod groups;
pub mod name;
mod notifications;
mod operations;
mod page;
mod refusal;
mod request;
mod rerating;
mod router;
mod sessions;
mod subscribers;
mod usage;
mod vouchers;

pub use accounts::AccountsService;
pub use approvals::{ApprovalOperations, ApprovalRefusal, ApprovalSnapshot, ApprovalStanding, ApprovalsService};
pub use audit::AuditLogService;
pub use caller::{Caller, Ceiling};
pub use catalogue::{
    CatalogueOperations, CatalogueRefusal, CatalogueService, DocumentAsked, DocumentChanged, DocumentFilter,
    DocumentKind, DocumentName, DocumentStep, DraftBasis, NewDocument, PeriodAsked, ShareAsked, Steps,
};
pub use change::{AccountChange, Amount, Asked, Found, NewAccount, TransferAsked, Wanted};
pub use charges::{
    CdrId, ChargeError, ChargeOperations, ChargePage, ChargesAsked, Heads, Payer, RefundAsked, Refunded,
};
pub use clock::ClockService;
pub use consumers::{
    ConsumerChange, ConsumerChanged, ConsumerOperations, ConsumerRefusal, ConsumerStep, ConsumerWanted,
    ConsumersService, Start, consumer_name,
};
pub use control::{ControlOperations, ControlRefusal, ControlTotalsService};
pub use explanation::explanation;
pub use groups::{
    GroupHead, GroupOperations, GroupPut, GroupSaid, GroupSelection, GroupSelector, GroupSnapshot, GroupsService,
    MemberCap, MemberChange, MemberRemoval, MemberSnapshot,
};
pub use name::SubscriberSelector;
pub use notifications::{
    NotificationFilter, NotificationOperations, NotificationRefusal, NotificationStream, NotificationsService,
};
pub use operations::{
    AccountSelector, AccountSnapshot, Ask, AuditVerdict, Changed, ClientAnswer, ClockReading, ClockRefusal, Loaded,
    OperationError, Operations, Put, Recorded, Row, Selection, SessionChange, SessionFilter, SessionSnapshot,
    SubscriberSnapshot, ToppedUp,
};
pub use refusal::DOMAIN;
pub use request::{
    BUCKET_DEFAULT, BUCKET_OCTETS_MAX, IDENTIFIER_OCTETS_MAX, KEY_OCTETS_MAX, PRIORITY_DEFAULT, REASON_OCTETS_MAX,
    Rejection, TopUp,
};
pub use rerating::{ReratingAsked, ReratingOperations, ReratingRefusal, ReratingService};
pub use router::{ClockAccess, router};
pub use sessions::SessionsService;
pub use subscribers::{Basis, SubscriberPut, SubscribersService};
pub use usage::{RECORD_ID_OCTETS_MAX, UsageService};
pub use vouchers::{
    BATCH_OCTETS_MAX, BatchSnapshot, Beneficiary, NewBatch, Redeemed, Redemption, VOUCHERS_AT_ONCE_MAX,
    VoucherOperations, VoucherRefusal, VoucherSnapshot, VoucherStanding, VouchersService, WhichVoucher,
};

/// Typed clients of the services, for the command line and for tests.
pub mod client {
    pub use ocs_proto::cdr::v1::cdr_consumers_client::CdrConsumersClient;
    pub use ocs_proto::operator::v1::accounts_client::AccountsClient;
    pub use ocs_proto::operator::v1::approvals_client::ApprovalsClient;
    pub use ocs_proto::operator::v1::audit_log_client::AuditLogClient;
    pub use ocs_proto::operator::v1::catalogue_client::CatalogueClient;
    pub use ocs_proto::operator::v1::charging_groups_client::ChargingGroupsClient;
    pub use ocs_proto::operator::v1::clock_client::ClockClient;
    pub use ocs_proto::operator::v1::notifications_client::NotificationsClient;
    pub use ocs_proto::operator::v1::rerating_client::ReratingClient;
    pub use ocs_proto::operator::v1::sessions_client::SessionsClient;
    pub use ocs_proto::operator::v1::subscribers_client::SubscribersClient;
    pub use ocs_proto::operator::v1::usage_client::UsageClient;
    pub use ocs_proto::operator::v1::vouchers_client::VouchersClient;
}
