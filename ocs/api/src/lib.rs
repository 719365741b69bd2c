//! The operators' gRPC services: accounts, usage records, and the clock of a development system.
//!
//! `ocs` implements [`Operations`] over the shards and serves [`router`]. Requests are checked here, field by field, and
//! become plain values; what is refused says which field, why, and what to do. Durability is the implementation's: an
//! answer that it returns is one that no crash takes back.
//!
//! Absent on purpose: who may call (transport and interceptors of `ocs`), printing (the command line), and every change
//! of a balance but through [`Operations`].

mod accounts;
mod clock;
mod operations;
mod request;
mod router;
mod usage;

pub use accounts::AccountsService;
pub use clock::ClockService;
pub use operations::{
    AccountSelector, AccountSnapshot, ClockReading, ClockRefusal, OperationError, Operations, Recorded, Selection,
    SubscriberSnapshot, ToppedUp,
};
pub use request::{
    BUCKET_DEFAULT, BUCKET_OCTETS_MAX, IDENTIFIER_OCTETS_MAX, KEY_OCTETS_MAX, PRIORITY_DEFAULT, REASON_OCTETS_MAX,
    Rejection, TopUp,
};
pub use router::{ClockAccess, router};
pub use usage::{RECORD_ID_OCTETS_MAX, UsageService};

/// Typed clients of the services, for the command line and for tests.
pub mod client {
    pub use ocs_proto::operator::v1::accounts_client::AccountsClient;
    pub use ocs_proto::operator::v1::clock_client::ClockClient;
    pub use ocs_proto::operator::v1::usage_client::UsageClient;
}
