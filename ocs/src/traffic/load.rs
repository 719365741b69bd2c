//! Connections, time and the two kinds of loop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use diameter::Identity;
use diameter_tcp::Client;
use diameter_tcp::client::{Receiver, Sender};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::TrafficError;
use super::node::{Node, Plan};
use super::report::{Report, Tally};
use super::template::Element;
use crate::cli;

/// How often a connection looks at the time when nothing else wakes it.
const TICK: Duration = Duration::from_millis(20);

/// How often an open loop wakes its connections at most. Part of the latency that is measured.
const PACE: Duration = Duration::from_micros(200);

/// How long the sessions may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// How long connecting and disconnecting may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Disconnect-Cause (RFC 6733 5.4.3).
const DO_NOT_WANT_TO_TALK_TO_YOU: u32 = 2;

/// What all connections share.
#[derive(Debug)]
struct Shared {
    tally: Mutex<Tally>,
    /// Set when no session is to be opened any more.
    stopping: AtomicBool,
    /// Wakes whoever waits for the end.
    stop: Notify,
}

/// Requests that are due at fixed instants: number k of all leaves k / rate seconds after the start. Connections take
/// turns block by block, and a block is what is due in one [`PACE`], so that each wake-up is for one connection.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    start: Instant,
    rate: u64,
    connections: u64,
    block: u64,
    end: Instant,
}

impl Schedule {
    fn new(start: Instant, end: Instant, rate: u64, connections: u64) -> Self {
        let block = u128::from(rate) * PACE.as_nanos() / 1_000_000_000;
        Self { start, rate, connections, block: u64::try_from(block).unwrap_or(u64::MAX).max(1), end }
    }

    /// The request that follows on the same connection.
    const fn after(&self, number: u64) -> u64 {
        let next = number + 1;
        if next.is_multiple_of(self.block) { next + self.block * (self.connections - 1) } else { next }
    }

    /// When request `number` of all is due.
    fn due(&self, number: u64) -> Instant {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.rate);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The part of a schedule that is one connection's.
#[derive(Debug)]
struct Turn {
    schedule: Schedule,
    next: u64,
    wake: Arc<Notify>,
}

/// Runs everything and sums up.
pub(super) async fn load(options: &cli::Traffic) -> Result<Report, TrafficError> {
    let shared = Arc::new(Shared {
        tally: Mutex::new(Tally::new(options.live)?),
        stopping: AtomicBool::new(false),
        stop: Notify::new(),
    });
    let mut connections = Vec::with_capacity(options.connections);
    for (number, node) in nodes(options)?.into_iter().enumerate() {
        let element = &node.element;
        let identity = Identity { host: element.host.clone(), realm: element.realm.clone(), state: 0 };
        let connecting = timeout(HANDSHAKE_MAX, Client::connect(options.to, identity)).await;
        let client = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|error| {
            let what = format!("{} (connection {}) to {}", element.host, number + 1, options.to);
            TrafficError::Connect { what, error }
        })?;
        connections.push((node, client));
    }
    if options.live
        && let Some((node, _)) = connections.first()
    {
        eprintln!(
            "{} connections to {}, {} sessions on each, {} octets an update",
            options.connections,
            options.to,
            options.sessions,
            node.update_octets()
        );
    }

    let start = Instant::now();
    let end = start + Duration::from_secs(options.seconds);
    let mut tasks = JoinSet::new();
    let mut wakes = Vec::new();
    let count = u64::try_from(options.connections).unwrap_or(u64::MAX);
    let schedule = options.rate.map(|rate| Schedule::new(start, end, rate, count));
    for (number, (node, client)) in (0..).zip(connections) {
        let turn = schedule.map(|schedule| {
            let wake = Arc::new(Notify::new());
            wakes.push(wake.clone());
            Turn { schedule, next: number * schedule.block, wake }
        });
        tasks.spawn(Connection::new(node, client, turn, shared.clone()).run());
    }
    if let Some(schedule) = schedule {
        pace(schedule, wakes, shared.clone())?;
    }

    wait(options, &shared, start, end).await;
    let took = start.elapsed();
    let loaded = shared.tally.lock().answers();
    shared.stopping.store(true, Ordering::Release);
    // Each gives up by itself; this is the net below.
    let ended = async { while tasks.join_next().await.is_some() {} };
    if timeout(DRAIN_MAX + GOODBYE_MAX * 2, ended).await.is_err() {
        tasks.abort_all();
        shared.tally.lock().lost("a connection that neither ended nor failed in time".to_owned());
    }
    let report = shared.tally.lock().report(loaded, took, options.rate);
    Ok(report)
}

/// The network elements that the options ask for.
fn nodes(options: &cli::Traffic) -> Result<Vec<Node>, TrafficError> {
    let (_, started) = now();
    let sessions = u64::try_from(options.sessions).unwrap_or(u64::MAX);
    let connections = u64::try_from(options.connections).unwrap_or(u64::MAX);
    let node = |number: u64| {
        let host = format!("node{}.{}", number + 1, options.realm);
        let session_prefix = format!("{host};{started};");
        let element = Element { host, realm: options.realm.clone(), session_prefix };
        let plan = Plan {
            sessions: options.sessions,
            all_sessions: sessions.saturating_mul(connections),
            first_slot: number.saturating_mul(sessions),
            updates: options.updates,
            rating_groups: options.rating_groups,
            subscribers: if options.one_account { 1 } else { options.subscribers },
            repeat_every: options.repeat_every,
            seed: options.seed,
            unchecked: options.unchecked,
        };
        Node::new(element, plan)
    };
    (0..connections).map(node).collect()
}

/// Until the time is over, a connection is lost or somebody presses Ctrl-C. Prints the lines of `--live`.
async fn wait(options: &cli::Traffic, shared: &Shared, start: Instant, end: Instant) {
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    seconds.tick().await;
    let mut last = start;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(end.into()) => return,
            () = shared.stop.notified() => return,
            _ = &mut interrupt => return,
            _ = seconds.tick(), if options.live => {
                let took = last.elapsed();
                last += took;
                let line = shared.tally.lock().live(last.duration_since(start).as_secs(), took);
                eprintln!("{line}");
            }
        }
    }
}

/// Wakes the connections of an open loop when something is due on them. A thread, because timers of the runtime are a
/// millisecond wide.
fn pace(schedule: Schedule, wakes: Vec<Arc<Notify>>, shared: Arc<Shared>) -> Result<(), TrafficError> {
    let run = move || {
        let (mut next, mut turn) = (0u64, 0usize);
        loop {
            let now = Instant::now();
            if now >= schedule.end || shared.stopping.load(Ordering::Acquire) {
                return;
            }
            let mut woken = None;
            while schedule.due(next) <= now {
                if woken != Some(turn) {
                    woken = Some(turn);
                    wakes.iter().skip(turn).take(1).for_each(|wake| wake.notify_one());
                }
                next += 1;
                if next.is_multiple_of(schedule.block) {
                    turn = (turn + 1) % wakes.len().max(1);
                }
            }
            let until = schedule.due(next).saturating_duration_since(now).max(PACE);
            std::thread::sleep(until.min(TICK));
        }
    };
    std::thread::Builder::new().name("pace".to_owned()).spawn(run).map_err(TrafficError::Runtime)?;
    Ok(())
}

/// Now, as the two clocks say it.
fn now() -> (Instant, i64) {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    (Instant::now(), i64::try_from(unix).unwrap_or(0))
}

/// A network element on its connection.
struct Connection {
    node: Node,
    sender: Sender,
    receiver: Receiver,
    turn: Option<Turn>,
    shared: Arc<Shared>,
    ticks: Interval,
    next_tick: Instant,
    told_open: u64,
    give_up: Option<Instant>,
}

impl Connection {
    fn new(node: Node, client: Client, turn: Option<Turn>, shared: Arc<Shared>) -> Self {
        let (sender, receiver) = client.split();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { node, sender, receiver, turn, shared, ticks, next_tick: Instant::now(), told_open: 0, give_up: None }
    }

    async fn run(mut self) {
        let done = self.play().await;
        self.tell();
        let mut tally = self.shared.tally.lock();
        tally.left_open(u64::try_from(self.node.open_sessions()).unwrap_or(u64::MAX));
        if let Err(error) = done {
            tally.lost(format!("{}: {error}", self.node.element.host));
            drop(tally);
            self.shared.stop.notify_one();
        }
    }

    /// Sends and reads until all sessions have ended after the end of time.
    async fn play(&mut self) -> io::Result<()> {
        let mut unsent = false;
        loop {
            let now = Instant::now();
            if now >= self.next_tick {
                self.tick(now);
            }
            if self.give_up.is_some_and(|at| self.node.is_done() || now >= at) {
                return self.say_goodbye().await;
            }
            if self.receiver.is_disconnected() {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server asked to disconnect"));
            }
            self.send(now);
            self.tell();
            unsent |= self.sender.queued_octets() > 0;
            if unsent {
                unsent = !self.flush().await?;
            }
            if !unsent {
                self.listen().await?;
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Sends what is queued; `false` when something else happened first: a server that is slow to read may be waiting
    /// for us to read.
    async fn flush(&mut self) -> io::Result<bool> {
        let (node, receiver) = (&mut self.node, &mut self.receiver);
        let mut arrived = None;
        let read = receiver.read(|message, replies| {
            node.on_message(message, *arrived.get_or_insert_with(Instant::now), replies);
        });
        tokio::select! {
            biased;
            sent = self.sender.flush() => sent.map(|()| true),
            read = read => read.map(|_| false),
            _ = self.ticks.tick() => Ok(false),
        }
    }

    /// Waits for answers, the next instant or the next look at the time.
    async fn listen(&mut self) -> io::Result<()> {
        let (node, receiver) = (&mut self.node, &mut self.receiver);
        let mut arrived = None;
        let read = receiver.read(|message, replies| {
            node.on_message(message, *arrived.get_or_insert_with(Instant::now), replies);
        });
        let wake = async {
            match &self.turn {
                Some(turn) => turn.wake.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            read = read => {
                read?;
            }
            () = wake => {}
            _ = self.ticks.tick() => {}
        }
        Ok(())
    }

    /// Queues what may be sent now.
    fn send(&mut self, now: Instant) {
        let Some(turn) = self.turn.as_mut().filter(|_| self.give_up.is_none()) else {
            self.node.send_all(now, &mut self.sender);
            return;
        };
        loop {
            let due = turn.schedule.due(turn.next);
            if due > now || due >= turn.schedule.end {
                return;
            }
            turn.next = turn.schedule.after(turn.next);
            if !self.node.send_one(due, now, &mut self.sender) {
                self.node.batch.counts.not_sent += 1;
            }
        }
    }

    fn tick(&mut self, at: Instant) {
        self.next_tick = at + TICK;
        let (at, unix_seconds) = now();
        self.node.tick(at, unix_seconds);
        if self.give_up.is_none() && self.shared.stopping.load(Ordering::Acquire) {
            self.give_up = Some(at + DRAIN_MAX);
            self.node.drain();
        }
    }

    /// Hands what happened to the tally.
    fn tell(&mut self) {
        let open = u64::try_from(self.node.open_sessions()).unwrap_or(u64::MAX);
        self.shared.tally.lock().take(&mut self.node.batch, open, self.told_open);
        self.told_open = open;
    }

    /// DPR and DPA. A server that does not answer it has answered everything else.
    async fn say_goodbye(&mut self) -> io::Result<()> {
        self.sender.disconnect(DO_NOT_WANT_TO_TALK_TO_YOU).await?;
        let answered = async { while self.receiver.read(|_, _| {}).await.is_ok_and(|messages| messages == 0) {} };
        let _ = timeout(GOODBYE_MAX, answered).await;
        Ok(())
    }
}
