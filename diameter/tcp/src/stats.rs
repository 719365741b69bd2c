//! What the transport counts, for whoever exports metrics. Added to once per turn of a connection, not per message.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that other threads may read at any time.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, amount: u64) {
        if amount > 0 {
            self.0.fetch_add(amount, Ordering::Relaxed);
        }
    }

    pub(crate) fn add_size(&self, size: usize) {
        self.add(u64::try_from(size).unwrap_or(u64::MAX));
    }

    pub(crate) fn subtract(&self, amount: u64) {
        if amount > 0 {
            self.0.fetch_sub(amount, Ordering::Relaxed);
        }
    }

    pub(crate) fn subtract_size(&self, size: usize) {
        self.subtract(u64::try_from(size).unwrap_or(u64::MAX));
    }
}

/// All counters of a server. They only grow, the ones called `open` and `held` apart.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections there are.
    pub connections_open: Counter,
    /// Peers with whom capabilities are exchanged.
    pub peers_open: Counter,
    /// Connections accepted, those closed at once included.
    pub connections_accepted: Counter,
    /// Connections closed at once because there were too many.
    pub connections_refused: Counter,
    /// Connections closed because the peer has another one.
    pub connections_rejected: Counter,
    /// Connections closed because the peer did not read.
    pub connections_stalled: Counter,
    /// Requests given to the handler.
    pub requests: Counter,
    /// Requests the handler did not answer.
    pub requests_unanswered: Counter,
    /// Requests answered with an error before the handler saw them, failed capability exchanges included.
    pub requests_refused: Counter,
    /// Connections closed for octets that are no messages, or for a first message that is no good CER.
    pub protocol_errors: Counter,
    /// Answers of the handler given to the socket.
    pub answers: Counter,
    /// Answers of the handler dropped because their deadline had passed.
    pub answers_dropped_late: Counter,
    /// Answers of the handler that were still waiting when the connection was gone.
    pub answers_dropped_closed: Counter,
    /// Octets of all connections that wait, for the mark or for the socket.
    pub octets_held: Counter,
    /// Requests of ours that were sent.
    pub requests_sent: Counter,
    /// Octets read.
    pub octets_read: Counter,
    /// Octets written.
    pub octets_written: Counter,
}
