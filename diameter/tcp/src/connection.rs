//! The task of one connection: octets from the socket into the [`Exchange`], and its output into the socket.
//!
//! One loop: handle what is there, release what the durable mark covers, then sleep until the socket, the mark, a timer,
//! the shutdown or a request of ours has something. The task never waits for one of them alone.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use diameter::Reason;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;
use tokio::time::Sleep;

use crate::exchange::Exchange;
use crate::handler::{CloseReason, Handler};
use crate::input::Input;
use crate::peers::Order;

/// Times a task may find more to read without having slept before it lets others run.
const TURNS_MAX: u32 = 2;

/// The clock, as tokio's tests may move it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Runs a connection to its end.
pub(crate) async fn run<S, H>(
    stream: S,
    exchange: Exchange<H>,
    mut mark: watch::Receiver<u64>,
    stop: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    let limits = *exchange.limits();
    let mut line = Line::new(stream, exchange);
    let mut stop = pin!(stop);
    let mut stopping = false;
    let mut alarm = Alarm::new(now());
    let mut turns = 0;
    loop {
        let now = now();
        line.turn(*mark.borrow_and_update(), now);
        if line.exchange.closed().is_some() {
            break;
        }
        let due = line.due();
        if let Some(due) = due {
            alarm.set(due);
        }
        let waits = line.waits_for_mark();
        let mut slept = false;
        let cause = tokio::select! {
            biased;
            () = &mut stop, if !stopping => Cause::Stop,
            cause = poll_fn(|context| {
                let cause = line.poll(context);
                slept |= cause.is_pending();
                cause
            }) => cause,
            changed = mark.changed(), if waits => if changed.is_ok() { Cause::Mark } else { Cause::MarkLost },
            () = alarm.rings(), if due.is_some() => Cause::Time,
        };
        turns = if slept || !matches!(cause, Cause::Read) { 0 } else { turns + 1 };
        match cause {
            Cause::Stop => {
                stopping = true;
                line.exchange.disconnect(now);
            }
            Cause::Read | Cause::Wrote | Cause::Time | Cause::Mark | Cause::Hurry => {}
            Cause::MarkLost => line.exchange.end(CloseReason::MarkLost),
            Cause::Order(order) => line.exchange.obey(order, now),
            Cause::Ended => line.exchange.ended_by_peer(),
            Cause::Failed(error) => line.exchange.end(CloseReason::Io(error.kind())),
        }
        if turns >= TURNS_MAX {
            turns = 0;
            tokio::task::yield_now().await;
        }
    }
    if line.exchange.closed().is_some_and(may_finish) {
        let _ = tokio::time::timeout(limits.finish_timeout, finish(line.stream, line.exchange, mark)).await;
    }
}

/// Why the loop goes round.
enum Cause {
    /// Octets came in, and perhaps went out.
    Read,
    /// Octets went out.
    Wrote,
    /// The peer will send nothing more.
    Ended,
    /// The socket is broken.
    Failed(io::Error),
    /// Something for others is to be done.
    Order(Order),
    /// The durable mark has moved.
    Mark,
    /// It never will again.
    MarkLost,
    /// Something is due.
    Time,
    /// There is more to do before the task may sleep.
    Hurry,
    /// The server shuts down.
    Stop,
}

/// A connection: the socket, the exchange, and what is between them.
struct Line<S, H> {
    stream: S,
    input: Input,
    exchange: Exchange<H>,
    /// Whether there may be whole messages in the input.
    more: bool,
    /// Whether everything the peer has sent was read: only then its silence is its own.
    caught_up: bool,
    /// Since when every read has left octets behind in the socket.
    behind_since: Option<Instant>,
    /// Whether the stream may keep octets to itself until it is flushed; a TCP stream never does.
    unflushed: bool,
    /// When the peer will have left unread what we send for too long, and what it has taken until now.
    stalled: Option<(Instant, usize)>,
    orders_first: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin, H: Handler> Line<S, H> {
    fn new(stream: S, exchange: Exchange<H>) -> Self {
        let input = Input::new(exchange.limits().read_octets, exchange.message_octets_max());
        Self {
            stream,
            input,
            exchange,
            more: false,
            caught_up: true,
            behind_since: None,
            unflushed: false,
            stalled: None,
            orders_first: false,
        }
    }

    /// Everything that can be done without the socket.
    fn turn(&mut self, mark: u64, now: Instant) {
        self.exchange.behind(self.behind_since.map_or(Duration::ZERO, |since| now.duration_since(since)));
        let (used, more) = self.exchange.handle_input(self.input.octets(), now);
        self.input.consume(used);
        self.more = more;
        self.exchange.release(mark, now);
        if self.is_timed() {
            self.exchange.handle_timeout(now);
        }
        self.caught_up &= self.reads();
        if self.exchange.output().unsent().is_empty() && !self.unflushed {
            self.stalled = None;
        } else {
            let limits = self.exchange.limits();
            let next = (now + limits.write_timeout, 0);
            let (due, taken) = *self.stalled.get_or_insert(next);
            if due <= now && taken >= limits.write_octets_min.max(1) {
                self.stalled = Some(next);
            } else if due <= now {
                self.exchange.end(CloseReason::Stalled);
            }
        }
        self.orders_first = !self.orders_first;
    }

    /// Whether more input is wanted.
    fn reads(&self) -> bool {
        !self.more && self.exchange.has_room() && !self.input.is_full()
    }

    /// Whether the protocol's timers count: not while it is we who do not listen, unless the end is near.
    const fn is_timed(&self) -> bool {
        self.caught_up || self.exchange.is_closing()
    }

    fn due(&self) -> Option<Instant> {
        let exchange = self.exchange.due().filter(|_| self.is_timed());
        exchange.into_iter().chain(self.stalled.map(|(due, _)| due)).min()
    }

    /// Whether the next thing to say waits for the durable mark.
    fn waits_for_mark(&self) -> bool {
        self.exchange.output().unsent().is_empty() && self.exchange.output().waits_for().is_some()
    }

    /// The socket and the orders, by turns the one or the other first, so that neither keeps the other waiting.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Cause> {
        let was_caught_up = self.caught_up;
        if self.orders_first
            && let Poll::Ready(order) = self.exchange.poll_order(context)
        {
            return Poll::Ready(Cause::Order(order));
        }
        if let Poll::Ready(moved) = self.poll_socket(context) {
            return Poll::Ready(moved.unwrap_or_else(Cause::Failed));
        }
        if !self.orders_first
            && let Poll::Ready(order) = self.exchange.poll_order(context)
        {
            return Poll::Ready(Cause::Order(order));
        }
        // Nothing wakes the task for what is in the input already, nor for timers that count again.
        let hurry = (self.more && self.exchange.has_room()) || self.caught_up != was_caught_up;
        if hurry { Poll::Ready(Cause::Hurry) } else { Poll::Pending }
    }

    /// Writes what is to be written, then reads what is there.
    fn poll_socket(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Cause>> {
        let wrote = self.poll_write(context)?;
        if self.reads() {
            let mut space = ReadBuf::new(self.input.space());
            let read = Pin::new(&mut self.stream).poll_read(context, &mut space);
            let (octets, left_behind) = (space.filled().len(), space.remaining() == 0);
            self.caught_up = true;
            if left_behind {
                self.behind_since.get_or_insert_with(Instant::now);
            } else {
                self.behind_since = None;
            }
            match read {
                Poll::Ready(Ok(())) if octets == 0 => return Poll::Ready(Ok(Cause::Ended)),
                Poll::Ready(Ok(())) => {
                    self.input.filled(octets);
                    self.exchange.read(octets);
                    return Poll::Ready(Ok(Cause::Read));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        if wrote { Poll::Ready(Ok(Cause::Wrote)) } else { Poll::Pending }
    }

    /// Whether the stream took anything.
    fn poll_write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while !self.exchange.output().unsent().is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, self.exchange.output().unsent())? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(octets) => {
                    self.exchange.wrote(octets);
                    if let Some((_, taken)) = &mut self.stalled {
                        *taken += octets;
                    }
                }
                Poll::Pending => break,
            }
            self.unflushed = true;
            moved = true;
        }
        if self.unflushed {
            self.unflushed = Pin::new(&mut self.stream).poll_flush(context)?.is_pending();
        }
        Ok(moved)
    }
}

/// Whether what is left to say may still be said.
const fn may_finish(reason: &CloseReason) -> bool {
    match reason {
        CloseReason::Protocol(reason) => !matches!(reason, Reason::Silent | Reason::OutboxFull | Reason::Rejected),
        CloseReason::Stalled | CloseReason::Io(_) | CloseReason::Replaced | CloseReason::MarkLost => false,
    }
}

/// Says what is left, then lets the peer close: closing first could cost the peer octets that are still on their way.
async fn finish<S, H>(mut stream: S, mut exchange: Exchange<H>, mut mark: watch::Receiver<u64>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    loop {
        exchange.release(*mark.borrow_and_update(), now());
        if !exchange.output().unsent().is_empty() {
            match stream.write(exchange.output().unsent()).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                octets => exchange.wrote(octets),
            }
            stream.flush().await?;
        } else if exchange.output().waits_for().is_none() || mark.changed().await.is_err() {
            break;
        }
    }
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// A timer that is set back cheaply: one that is set to ring too early just rings once for nothing.
struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    fn new(now: Instant) -> Self {
        Self(Box::pin(tokio::time::sleep_until(now.into())))
    }

    fn set(&mut self, due: Instant) {
        let due = due.into();
        if self.0.is_elapsed() || due < self.0.deadline() {
            self.0.as_mut().reset(due);
        }
    }

    async fn rings(&mut self) {
        self.0.as_mut().await;
    }
}
