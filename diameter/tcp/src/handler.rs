//! What the transport asks of the charging code, and what it tells it.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use diameter::{Message, PeerFacts, Reason};
use rating_engine::ids::Lsn;

/// The charging code behind the connections. Each connection has a clone of its own, so what it keeps in `self` is per
/// connection.
///
/// A closure with the signature of [`Handler::handle`] is a handler, too.
pub trait Handler: Clone + Send + 'static {
    /// Answers one request: appends the whole answer to `out`, which may hold other answers already.
    ///
    /// Runs inline in the connection's task: it may lock, it must not wait.
    fn handle(&mut self, peer: &PeerFacts, request: &Message<'_>, now: Instant, out: &mut Vec<u8>) -> Handled;

    /// Hears, before the requests of a turn, for how long the peer has sent more than was handled: since the first of the
    /// reads in a row that left octets behind in the socket. Zero when the connection keeps up. A handler that sheds work
    /// does it by this.
    fn behind(&mut self, duration: Duration) {
        let _ = duration;
    }

    /// Hears what happens to the connection. `Opened` comes before the first request, `Closed` is the last word.
    fn on_event(&mut self, event: &PeerEvent<'_>) {
        let _ = event;
    }
}

impl<F> Handler for F
where
    F: FnMut(&PeerFacts, &Message<'_>, Instant, &mut Vec<u8>) -> Handled + Clone + Send + 'static,
{
    fn handle(&mut self, peer: &PeerFacts, request: &Message<'_>, now: Instant, out: &mut Vec<u8>) -> Handled {
        self(peer, request, now, out)
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Handled {
    /// The answer was appended.
    Answer {
        /// The answer leaves when the durable mark has reached this; 0 for one that follows from nothing.
        lsn: Lsn,
        /// An answer that could leave only at this time or later is dropped.
        deadline: Option<Instant>,
    },
    /// There will be none; what was appended is taken back.
    NoAnswer,
}

/// What happens to a connection.
#[derive(Debug)]
pub enum PeerEvent<'a> {
    /// Capabilities were exchanged. A higher Origin-State-Id than last time means that the peer lost its sessions.
    Opened(&'a PeerFacts),
    /// The peer does not answer the watchdog.
    Suspect(&'a PeerFacts),
    /// It spoke again.
    Recovered(&'a PeerFacts),
    /// The end. Without facts the connection never opened.
    Closed(Option<&'a PeerFacts>, &'a CloseReason),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The protocol says so.
    Protocol(Reason),
    /// The peer leaves unread what we send ([`crate::Limits::write_timeout`]).
    Stalled,
    /// Reading or writing failed.
    Io(io::ErrorKind),
    /// The peer, under suspicion here, has opened a new connection.
    Replaced,
    /// The log has ended: no answer can become durable any more.
    MarkLost,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(reason) => reason.fmt(f),
            Self::Stalled => f.write_str("the peer does not read"),
            Self::Io(kind) => kind.fmt(f),
            Self::Replaced => f.write_str("the peer opened a new connection"),
            Self::MarkLost => f.write_str("the log has ended"),
        }
    }
}
