//! Sockets and timers that drive [`diameter::Peer`]: the Diameter front end's transport.
//!
//! [`Server`] accepts connections and runs one task for each. A task reads what is there into one buffer, hands every
//! whole request to the [`Handler`] inline, and keeps the encoded answers in one queue until the durable mark covers
//! them; then they leave together, in the order they were handled. [`Peers`] knows who is connected and takes requests of
//! ours to them. [`client`] is the other end, for tests and load.
//!
//! No answer leaves before the mark has reached its LSN, and none after its deadline. Everything that grows has a limit
//! ([`Limits`]); at the limit a connection is no longer read, and its peer feels that in TCP.
//!
//! Nothing here decides anything about Diameter ([`diameter::Peer`] does) or about charging (the handler does), and
//! there is no task, channel or wake-up per request. Absent: SCTP, connecting to others, TLS (whoever terminates it hands
//! the stream to [`Server::attach`]).

#![deny(clippy::indexing_slicing)]

pub mod client;
mod config;
mod connection;
pub mod echo;
mod exchange;
mod handler;
mod input;
mod output;
mod peers;
mod server;
mod stats;

pub use client::Client;
pub use config::{Config, Limits};
pub use handler::{CloseReason, Handled, Handler, PeerEvent};
pub use peers::{PeerHandle, Peers, RequestFailure};
pub use server::{Endpoint, Server, listen};
pub use stats::{Counter, Stats};
