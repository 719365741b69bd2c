//! The Diameter protocol as octets and values: base protocol (RFC 6733), watchdog (RFC 3539), the dictionary of credit
//! control (RFC 8506) and of 3GPP charging (TS 32.299).
//!
//! [`header`], [`avp`] and [`message`] turn octets into borrowed values and back; [`dictionary`] is a table;
//! [`mod@validate`] walks a message once and says what is wrong with it; [`error`] says so to the peer; [`peer`] is one
//! connection as the side that was connected to.
//!
//! No sockets, no clock, no random numbers: octets and time are arguments, and what leaves is handed back. Nothing here
//! charges anybody.
//!
//! Of the base protocol this is absent, on purpose: connecting to others and with it election, relaying and
//! redirecting, upgrading a connection to TLS in band, base accounting (application 3).

#![deny(clippy::indexing_slicing)]

pub mod avp;
pub mod dictionary;
pub mod error;
pub mod gy;
pub mod header;
pub mod message;
pub mod peer;
pub mod validate;

pub use avp::{Address, Avp, AvpFlags, Avps};
pub use dictionary::AvpCode;
pub use error::{DecodeError, FramingError, Identity, ResultCode, error_answer};
pub use header::{ApplicationId, CommandCode, Flags, Header};
pub use message::{Message, MessageTooLong, MessageWriter, frame_length};
pub use peer::{
    DisconnectCause, Event, Handled, Local, Peer, PeerFacts, Reason, RequestError, RequestId, Start, Timers,
};
pub use validate::{UnknownAvps, validate};
