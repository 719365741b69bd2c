//! What the transport is told at start, and every limit it has.

use std::time::Duration;

use diameter::Local;

/// Everything the transport is told at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are to every peer, the longest message we accept, the protocol's timers. Its `timers.closing` is also how
    /// long requests are still answered after our own disconnect request.
    pub local: Local,
    /// How much of anything there may be.
    pub limits: Limits,
}

/// How much of anything there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; further ones are accepted and closed at once.
    pub connections_max: usize,
    /// Octets read, and then handled, at once; longer messages are read in pieces.
    pub read_octets: usize,
    /// Answers of one connection that may wait, for the mark or for the socket.
    pub pending_answers_max: usize,
    /// Octets of one connection that may wait, for the mark or for the socket.
    pub pending_octets_max: usize,
    /// Octets of all connections together that may wait; beyond it each may have [`Limits::assured_octets`] only.
    pub held_octets_max: usize,
    /// Octets of a connection that may wait whatever the others have.
    pub assured_octets: usize,
    /// Requests of ours that may wait for a connection's attention.
    pub queued_requests_max: usize,
    /// How long a peer may leave what we send unread before the connection is closed.
    pub write_timeout: Duration,
    /// Octets that a peer has to take in that time, unless it takes all there is.
    pub write_octets_min: usize,
    /// How long an ended connection may still take to flush its answers and to be closed by the peer.
    pub finish_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            read_octets: 64 << 10,
            pending_answers_max: 16_384,
            pending_octets_max: 8 << 20,
            held_octets_max: 256 << 20,
            assured_octets: 64 << 10,
            queued_requests_max: 256,
            write_timeout: Duration::from_secs(10),
            write_octets_min: 64 << 10,
            finish_timeout: Duration::from_secs(2),
        }
    }
}
