//! Accepting connections, and the end of it.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use diameter::{Local, Peer, Start};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::{Config, Limits};
use crate::connection;
use crate::exchange::Exchange;
use crate::handler::Handler;
use crate::peers::Peers;
use crate::stats::Stats;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// The pause after a failure to accept, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is left over for a connection at the end, beyond the times it takes by itself.
const DRAIN_MARGIN: Duration = Duration::from_secs(1);

/// What all connections share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) local: Arc<Local>,
    pub(crate) limits: Limits,
    pub(crate) peers: Peers,
    pub(crate) stats: Arc<Stats>,
}

/// The ends of a connection.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Our address, the one to be told to the peer.
    pub address: IpAddr,
    /// The other end, for the log: its address, or what else is known.
    pub from: String,
    /// Whether TLS protects the connection.
    pub secured: bool,
}

/// The transport. Clones share everything but the handler, of which each connection gets its own clone.
#[derive(Clone, Debug)]
pub struct Server<H> {
    shared: Shared,
    handler: H,
    mark: watch::Receiver<u64>,
    slots: Arc<Semaphore>,
}

/// Listens at `address`, also when connections of a former process linger there.
///
/// # Errors
/// Those of the operating system.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl<H: Handler> Server<H> {
    /// A server that serves nobody yet. `mark` is the durable mark: the number of the highest LSN that is on disk.
    #[must_use]
    pub fn new(config: Config, peers: Peers, handler: H, mark: watch::Receiver<u64>) -> Self {
        let Config { local, limits } = config;
        let slots = Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS)));
        let shared = Shared { local: Arc::new(local), limits, peers, stats: Arc::new(Stats::default()) };
        Self { shared, handler, mark, slots }
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.shared.stats)
    }

    /// Serves until `shutdown` is ready; then stops accepting, says DPR to every peer, answers what still comes until
    /// the peers agree or the time for it is over, flushes what is durable, and returns when all connections are closed.
    pub async fn serve(self, listeners: Vec<TcpListener>, shutdown: impl Future<Output = ()>) {
        let (stop, stopping) = watch::channel(false);
        let mut doors = JoinSet::new();
        for listener in listeners {
            doors.spawn(self.clone().accept(listener, stopping.clone()));
        }
        shutdown.await;
        stop.send_replace(true);
        while doors.join_next().await.is_some() {}
    }

    /// Runs one connection that was made elsewhere, over TLS for example, to its end; `shutdown` as in
    /// [`Server::serve`]. It counts among [`Limits::connections_max`]: when there are too many, it is closed at once.
    pub async fn attach<S>(self, stream: S, endpoint: Endpoint, shutdown: impl Future<Output = ()>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.shared.stats.connections_accepted.add(1);
        let Ok(_slot) = self.slots.try_acquire() else {
            self.shared.stats.connections_refused.add(1);
            return;
        };
        let peer = Peer::new(Arc::clone(&self.shared.local), start(&endpoint));
        let exchange = Exchange::new(peer, self.handler.clone(), self.shared.clone(), endpoint.from);
        connection::run(stream, exchange, self.mark.clone(), shutdown).await;
    }

    async fn accept(self, listener: TcpListener, stopping: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let mut stop = pin!(stopped(stopping.clone()));
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => {
                        connections.spawn(self.clone().connected(stream, from, stopping.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept connections");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        let patience = self.shared.local.timers.closing + self.shared.limits.finish_timeout + DRAIN_MARGIN;
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections that would not end are cut");
        }
    }

    async fn connected(self, stream: TcpStream, from: SocketAddr, stopping: watch::Receiver<bool>) {
        // Answers leave in one write each time, there is nothing to wait for.
        let Ok(address) = stream.set_nodelay(true).and_then(|()| stream.local_addr()) else { return };
        let endpoint = Endpoint { address: address.ip().to_canonical(), from: from.to_string(), secured: false };
        self.attach(stream, endpoint, stopped(stopping)).await;
    }
}

/// Ready when the server stops, or is gone.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn start(endpoint: &Endpoint) -> Start {
    let random = random();
    let [a, b, c, d, e, f, g, h] = random.to_be_bytes();
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // The low 12 bits of the time on top, the rest random (RFC 6733 3).
    let time = u32::try_from(seconds & 0xfff).unwrap_or_default() << 20;
    Start {
        now: connection::now(),
        addresses: vec![endpoint.address],
        hop_by_hop: u32::from_be_bytes([a, b, c, d]),
        end_to_end: time | (u32::from_be_bytes([e, f, g, h]) & 0x000f_ffff),
        jitter_seed: self::random(),
        secured: endpoint.secured,
    }
}

/// A number nobody can foresee; the standard library draws one for its hash tables.
fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}
