//! Who is connected, by Origin-Host, and how requests of ours get there.
//!
//! One identity has one connection: a second one is turned away, unless the first is under suspicion, about to end, or of
//! an earlier life of the peer; then it is replaced (RFC 6733 5.6, R-Reject, and 8.16; RFC 3539 3.4.1, SUSPECT).

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use diameter::{PeerFacts, RequestError};
use tokio::sync::{mpsc, oneshot};

/// Why a request of ours got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFailure {
    /// Too many requests wait for this connection already.
    Busy,
    /// It was not sent.
    NotSent(RequestError),
    /// No answer in time. A late one is dropped.
    TimedOut,
    /// The connection ended first. Whether the peer saw the request is unknown.
    ConnectionLost,
}

impl fmt::Display for RequestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many requests wait for the connection"),
            Self::NotSent(error) => error.fmt(f),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::ConnectionLost => f.write_str("the connection ended before the answer"),
        }
    }
}

impl std::error::Error for RequestFailure {}

/// Who gets the answer to a request of ours.
pub(crate) type AnswerSender = oneshot::Sender<Result<Bytes, RequestFailure>>;

/// What a connection is asked to do.
pub(crate) enum Order {
    /// Send these octets, tell the answer.
    Request(Bytes, AnswerSender),
    /// Make room for the peer's new connection.
    GiveWay,
}

/// All open peers. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    // A plain mutex: it is held for a look into a small map, on opening, closing and requests of ours.
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    by_host: BTreeMap<String, Entry>,
    entries: u64,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    suspect: Arc<AtomicBool>,
    handle: PeerHandle,
    give_way: oneshot::Sender<()>,
}

impl Peers {
    /// No peers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The open peer with this Origin-Host.
    #[must_use]
    pub fn get(&self, host: &str) -> Option<PeerHandle> {
        self.lock().by_host.get(&key(host)).map(|entry| entry.handle.clone())
    }

    /// All open peers, by Origin-Host.
    #[must_use]
    pub fn all(&self) -> Vec<PeerHandle> {
        self.lock().by_host.values().map(|entry| entry.handle.clone()).collect()
    }

    /// Enters a peer; `None` when it is there already and has not to give way.
    pub(crate) fn open(&self, facts: &PeerFacts, queued_requests_max: usize) -> Option<Registration> {
        let (orders, ordered) = mpsc::channel(queued_requests_max.max(1));
        let (give_way, gives_way) = oneshot::channel();
        let suspect = Arc::new(AtomicBool::new(false));
        let key = key(&facts.host);
        let mut open = self.lock();
        open.entries += 1;
        let id = open.entries;
        let handle = PeerHandle { facts: Arc::new(facts.clone()), orders };
        let entry = Entry { id, suspect: Arc::clone(&suspect), handle, give_way };
        match open.by_host.entry(key.clone()) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(entry);
            }
            btree_map::Entry::Occupied(mut occupied) => {
                let old = occupied.get();
                // A peer that has lost its sessions since cannot be the one that still holds the old connection.
                let restarted =
                    facts.origin_state > old.handle.facts.origin_state && old.handle.facts.origin_state.is_some();
                if !restarted && !old.suspect.load(Ordering::Relaxed) {
                    return None;
                }
                // Whether the old one still listens does not matter.
                let _ = occupied.insert(entry).give_way.send(());
            }
        }
        drop(open);
        Some(Registration { peers: self.clone(), key, id, suspect, ordered, gives_way })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// DiameterIdentity is compared without regard to case (RFC 6733 4.3.1).
fn key(host: &str) -> String {
    host.to_ascii_lowercase()
}

/// A connection's place in [`Peers`], and the queue that leads to it. Dropping it gives the place up.
#[derive(Debug)]
pub(crate) struct Registration {
    peers: Peers,
    key: String,
    id: u64,
    suspect: Arc<AtomicBool>,
    ordered: mpsc::Receiver<Order>,
    gives_way: oneshot::Receiver<()>,
}

impl Registration {
    pub(crate) fn set_suspect(&self, suspect: bool) {
        self.suspect.store(suspect, Ordering::Relaxed);
    }

    /// The next thing to do for others. Not to be polled any more after [`Order::GiveWay`].
    pub(crate) fn poll_order(&mut self, context: &mut Context<'_>) -> Poll<Order> {
        if Pin::new(&mut self.gives_way).poll(context).is_ready() {
            return Poll::Ready(Order::GiveWay);
        }
        // The queue ends together with the entry, and then the connection gives way: never `None` for long.
        match self.ordered.poll_recv(context) {
            Poll::Ready(Some(order)) => Poll::Ready(order),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut open = self.peers.lock();
        if open.by_host.get(&self.key).is_some_and(|entry| entry.id == self.id) {
            open.by_host.remove(&self.key);
        }
    }
}

/// An open peer, to ask it something.
#[derive(Clone, Debug)]
pub struct PeerHandle {
    facts: Arc<PeerFacts>,
    orders: mpsc::Sender<Order>,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request(..) => "Request",
            Self::GiveWay => "GiveWay",
        })
    }
}

impl PeerHandle {
    /// What the peer says about itself.
    #[must_use]
    pub fn facts(&self) -> &PeerFacts {
        &self.facts
    }

    /// Sends a request of ours (RAR, ASR), one whole message; its hop-by-hop and end-to-end ids are filled in on the way.
    ///
    /// It is on its way when this returns, behind every answer that was computed before; the future only waits for the
    /// answer, whose AVPs are unchecked.
    pub fn request(&self, message: Bytes) -> impl Future<Output = Result<Bytes, RequestFailure>> + Send + use<> {
        let (sender, answer) = oneshot::channel();
        let queued = self.orders.try_send(Order::Request(message, sender)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RequestFailure::Busy,
            mpsc::error::TrySendError::Closed(_) => RequestFailure::ConnectionLost,
        });
        async move {
            queued?;
            answer.await.unwrap_or(Err(RequestFailure::ConnectionLost))
        }
    }
}
