//! One connection without its socket: the protocol machine, the charging code and the two queues between them.
//!
//! [`crate::connection`] moves octets and time in and out. Nothing here waits; what is too much is left in the input,
//! see [`Exchange::has_room`].

use std::collections::BTreeMap;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use diameter::peer::DisconnectCause;
use diameter::{AvpCode, Event, Message, Peer, PeerFacts, Reason, RequestId, ResultCode, frame_length};
use rating_engine::ids::Lsn;

use crate::config::Limits;
use crate::handler::{CloseReason, Handled, Handler, PeerEvent};
use crate::output::Output;
use crate::peers::{AnswerSender, Order, Registration, RequestFailure};
use crate::server::Shared;

/// One connection without its socket.
pub(crate) struct Exchange<H> {
    peer: Peer,
    handler: H,
    shared: Shared,
    /// Who is at the other end, for the log.
    from: String,
    output: Output,
    /// What of the output is counted among [`crate::Stats::octets_held`].
    counted: usize,
    /// While the peer is open.
    registration: Option<Registration>,
    asked: BTreeMap<RequestId, AnswerSender>,
    /// Whether the handler was told that the connection opened.
    told: bool,
    /// Whether one of the two has sent DPR.
    closing: bool,
    closed: Option<CloseReason>,
}

impl<H: Handler> Exchange<H> {
    pub(crate) fn new(peer: Peer, handler: H, shared: Shared, from: String) -> Self {
        shared.stats.connections_open.add(1);
        Self {
            peer,
            handler,
            shared,
            from,
            output: Output::default(),
            counted: 0,
            registration: None,
            asked: BTreeMap::new(),
            told: false,
            closing: false,
            closed: None,
        }
    }

    /// Handles whole messages as long as there is room for answers; returns how many octets they were, and whether
    /// there may be more whole messages behind them.
    pub(crate) fn handle_input(&mut self, octets: &[u8], now: Instant) -> (usize, bool) {
        let mut rest = octets;
        let mut requests = 0;
        let mut unanswered = 0;
        let mut more = true;
        while self.has_room() {
            let Some(handled) = self.peer.handle_input(&mut rest, now) else {
                more = false;
                break;
            };
            match handled {
                diameter::Handled::Request(request) => {
                    requests += 1;
                    if !self.charge(&request, now) {
                        unanswered += 1;
                    }
                }
                diameter::Handled::Answer(id, answer) => {
                    if let Some(asked) = self.asked.remove(&id) {
                        // Whoever asked may have lost interest.
                        let _ = asked.send(Ok(Bytes::copy_from_slice(answer.octets())));
                    }
                }
                diameter::Handled::Inside => self.settle(),
            }
        }
        // The end of the connection is found without a message.
        self.settle();
        self.shared.stats.requests.add(requests);
        self.shared.stats.requests_unanswered.add(unanswered);
        self.count();
        (octets.len() - rest.len(), more && !rest.is_empty())
    }

    /// Tells the handler for how long the peer has sent more than was handled.
    pub(crate) fn behind(&mut self, duration: Duration) {
        self.handler.behind(duration);
    }

    fn charge(&mut self, request: &Message<'_>, now: Instant) -> bool {
        // Requests come from open connections only.
        let Some(facts) = self.peer.facts() else { return false };
        let handler = &mut self.handler;
        self.output.hold(|out| match handler.handle(facts, request, now, out) {
            Handled::Answer { lsn, deadline } => Some((lsn, deadline)),
            Handled::NoAnswer => None,
        })
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.due().is_some_and(|due| due <= now) {
            self.peer.handle_timeout(now);
            self.settle();
        }
    }

    /// When [`Exchange::handle_timeout`] wants to be called.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.peer.poll_timeout()
    }

    /// Sends DPR, or ends a connection that never opened.
    pub(crate) fn disconnect(&mut self, now: Instant) {
        self.peer.disconnect(DisconnectCause::Rebooting, now);
        self.closing = true;
        self.settle();
    }

    /// The connection has ended for a reason outside of the protocol.
    pub(crate) fn end(&mut self, reason: CloseReason) {
        if self.closed.is_none() {
            self.closed = Some(reason);
        }
        self.peer.connection_lost();
        self.settle();
    }

    /// The peer has closed the connection.
    pub(crate) fn ended_by_peer(&mut self) {
        self.peer.connection_lost();
        self.settle();
    }

    pub(crate) fn poll_order(&mut self, context: &mut Context<'_>) -> Poll<Order> {
        self.registration.as_mut().map_or(Poll::Pending, |registration| registration.poll_order(context))
    }

    pub(crate) fn obey(&mut self, order: Order, now: Instant) {
        match order {
            Order::GiveWay => self.end(CloseReason::Replaced),
            Order::Request(_, asked) if !self.has_room() => {
                let _ = asked.send(Err(RequestFailure::Busy));
            }
            Order::Request(message, asked) => match self.peer.request(&message, now) {
                Ok(id) => {
                    self.shared.stats.requests_sent.add(1);
                    self.asked.insert(id, asked);
                    // Behind the answers that wait: a client that is told to ask again has to know first what it was answered.
                    if let Some(request) = self.peer.poll_transmit() {
                        self.output.hold(|out| {
                            out.extend_from_slice(&request);
                            Some((Lsn::new(0), None))
                        });
                    }
                    self.settle();
                }
                Err(error) => {
                    let _ = asked.send(Err(RequestFailure::NotSent(error)));
                    self.settle();
                }
            },
        }
    }

    /// Lets answers go that the mark covers.
    pub(crate) fn release(&mut self, mark: u64, now: Instant) {
        let released = self.output.release(mark, now);
        self.shared.stats.answers.add(released.answers);
        self.shared.stats.answers_dropped_late.add(released.late);
        self.count();
    }

    /// Counts what waits here among what waits everywhere.
    fn count(&mut self) {
        let held = &self.shared.stats.octets_held;
        let octets = self.output.octets();
        held.add_size(octets.saturating_sub(self.counted));
        held.subtract_size(self.counted.saturating_sub(octets));
        self.counted = octets;
    }

    pub(crate) fn has_room(&self) -> bool {
        let limits = &self.shared.limits;
        let crowded = self.shared.stats.octets_held.get() >= u64::try_from(limits.held_octets_max).unwrap_or(u64::MAX);
        self.output.has_room(limits, crowded)
    }

    pub(crate) const fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(crate) fn message_octets_max(&self) -> usize {
        self.shared.local.message_octets_max
    }

    pub(crate) const fn output(&self) -> &Output {
        &self.output
    }

    pub(crate) fn read(&self, octets: usize) {
        self.shared.stats.octets_read.add_size(octets);
    }

    pub(crate) fn wrote(&mut self, octets: usize) {
        self.output.wrote(octets);
        self.count();
        self.shared.stats.octets_written.add_size(octets);
    }

    /// Whether the connection is about to end by agreement.
    pub(crate) const fn is_closing(&self) -> bool {
        self.closing
    }

    /// Why the connection has ended, when it has.
    pub(crate) const fn closed(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    /// Takes events and octets off the peer; due after everything that may have made some.
    fn settle(&mut self) {
        while let Some(event) = self.peer.poll_event() {
            match event {
                Event::Opened(facts) => self.opened(&facts),
                Event::Suspect => self.suspect(true),
                Event::Recovered => self.suspect(false),
                Event::Disconnecting { .. } => {
                    self.closing = true;
                    // The peer may be back before this connection is gone.
                    if let Some(registration) = &self.registration {
                        registration.set_suspect(true);
                    }
                    // The peer closes when it has our DPA, so that goes behind the answers it still waits for.
                    if let Some(dpa) = self.peer.poll_transmit() {
                        self.output.hold(|out| {
                            out.extend_from_slice(&dpa);
                            Some((Lsn::new(0), None))
                        });
                    }
                }
                Event::RequestTimedOut(id) => self.fail(id, RequestFailure::TimedOut),
                Event::RequestLost(id) => self.fail(id, RequestFailure::ConnectionLost),
                Event::Closed(reason) => self.close(reason),
            }
        }
        while let Some(octets) = self.peer.poll_transmit() {
            self.shared.stats.requests_refused.add(refusals(&octets));
            self.output.urgent(&octets);
        }
    }

    fn opened(&mut self, facts: &PeerFacts) {
        match self.shared.peers.open(facts, self.shared.limits.queued_requests_max) {
            Some(registration) => {
                self.registration = Some(registration);
                self.told = true;
                self.shared.stats.peers_open.add(1);
                let PeerFacts { host, realm, product, vendor, .. } = facts;
                tracing::info!(%host, from = self.from, %realm, %product, vendor, "peer open");
                self.handler.on_event(&PeerEvent::Opened(facts));
            }
            None => self.peer.reject(),
        }
    }

    fn suspect(&mut self, suspect: bool) {
        if let Some(registration) = &self.registration {
            registration.set_suspect(suspect);
        }
        if let Some(facts) = self.peer.facts() {
            let event = if suspect { PeerEvent::Suspect(facts) } else { PeerEvent::Recovered(facts) };
            self.handler.on_event(&event);
        }
    }

    fn fail(&mut self, id: RequestId, failure: RequestFailure) {
        if let Some(asked) = self.asked.remove(&id) {
            let _ = asked.send(Err(failure));
        }
    }

    fn close(&mut self, reason: Reason) {
        // The name is free again at once, even if answers still leave here.
        self.registration = None;
        let reason = self.closed.take().unwrap_or(CloseReason::Protocol(reason));
        let stats = &self.shared.stats;
        match &reason {
            CloseReason::Protocol(Reason::Rejected) => stats.connections_rejected.add(1),
            CloseReason::Protocol(Reason::Framing(_) | Reason::NotCer | Reason::BadCer(_)) => {
                stats.protocol_errors.add(1);
            }
            CloseReason::Protocol(Reason::OutboxFull) | CloseReason::Stalled => stats.connections_stalled.add(1),
            CloseReason::Protocol(_) | CloseReason::Io(_) | CloseReason::Replaced | CloseReason::MarkLost => {}
        }
        let facts = self.peer.facts();
        let from = self.from.as_str();
        let host = facts.map_or("", |facts| facts.host.as_str());
        if self.told {
            tracing::info!(host, from, %reason, "peer closed");
        } else if matches!(reason, CloseReason::Protocol(Reason::ConnectionLost)) {
            // Health checks of load balancers, port scanners.
            tracing::debug!(from, "connection ended without a word");
        } else {
            tracing::info!(host, from, %reason, "connection refused");
        }
        if self.told {
            stats.peers_open.subtract(1);
        }
        self.handler.on_event(&PeerEvent::Closed(facts.filter(|_| self.told), &reason));
        self.closed = Some(reason);
    }
}

impl<H> Drop for Exchange<H> {
    fn drop(&mut self) {
        let stats = &self.shared.stats;
        stats.connections_open.subtract(1);
        stats.octets_held.subtract_size(self.counted);
        stats.answers_dropped_closed.add_size(self.output.waiting());
        if self.told && self.closed.is_none() {
            // The task was ended from outside.
            stats.peers_open.subtract(1);
        }
    }
}

/// How many of these messages refuse something. Base protocol output is rare, so that it can be looked through.
fn refusals(mut octets: &[u8]) -> u64 {
    let mut refusals = 0;
    while let Ok(Some(length)) = frame_length(octets, usize::MAX) {
        let Some((message, rest)) = octets.split_at_checked(length) else { break };
        octets = rest;
        let code = Message::parse(message).ok().and_then(|message| message.find(AvpCode::RESULT_CODE)?.u32().ok());
        refusals += u64::from(code.is_some_and(|code| !ResultCode(code).is_success()));
    }
    refusals
}
