//! Credit control over Gy and Ro (RFC 8506, TS 32.299) as seen from the charging system: a CCR becomes a
//! [`Command`](rating_engine::command::Command), an [`Outcome`](rating_engine::command::Outcome) becomes a CCA.
//!
//! [`request`] reads, [`answer`] writes, [`profile`] says what a kind of client needs beyond the standard; [`ask`] is what
//! we ask clients; [`client`] is the other side of all, for traffic generators and tests. Requests arrive here after
//! [`Peer`](crate::peer::Peer) has found them well formed and addressed to us.
//!
//! Nothing here looks up subscribers, prices anything, keeps state, waits or reads a clock. Absent: pools
//! (G-S-U-Pool-Reference), envelopes, final units that redirect or restrict, announcements, tariff switches in grants.

pub mod answer;
pub mod ask;
pub mod client;
mod digest;
pub mod profile;
pub mod request;
mod service;
mod units;

pub use answer::encode;
pub use profile::{PeerProfile, Profiles, recognise};
pub use request::{Echo, GyError, GyRequest, Names, ServiceContexts, parse};

/// Values of CC-Request-Type (RFC 8506 8.3).
pub(crate) mod request_type {
    pub(crate) const INITIAL: u32 = 1;
    pub(crate) const UPDATE: u32 = 2;
    pub(crate) const TERMINATION: u32 = 3;
    pub(crate) const EVENT: u32 = 4;
}

/// Values of Requested-Action (RFC 8506 8.41).
pub(crate) mod requested_action {
    pub(crate) const DIRECT_DEBITING: u32 = 0;
    pub(crate) const REFUND_ACCOUNT: u32 = 1;
    pub(crate) const CHECK_BALANCE: u32 = 2;
    pub(crate) const PRICE_ENQUIRY: u32 = 3;
}

/// Values of Tariff-Change-Usage (RFC 8506 8.27).
pub(crate) mod tariff_change_usage {
    pub(crate) const BEFORE: u32 = 0;
    pub(crate) const AFTER: u32 = 1;
    pub(crate) const INDETERMINATE: u32 = 2;
}

/// What a Refund-Information (TS 32.299 7.2.176) of ours begins with. The session or event it names follows, so that a
/// refund finds its charge without anything else being stored.
pub(crate) const REFUND_REFERENCE_VERSION: u8 = 1;
