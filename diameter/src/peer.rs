//! One connection, seen from the side that was connected to: capabilities, watchdog, disconnect (RFC 6733 5, RFC 3539).
//!
//! A [`Peer`] has no socket and no clock. Whoever has them does, after every read, timer and request of its own:
//!
//! 1. [`Peer::handle_input`] until it returns `None`: one call per whole message in the read buffer. Requests for the
//!    charging code come back borrowed from that buffer ([`Handled::Request`]); nothing of them is copied or kept.
//! 2. [`Peer::poll_event`] until it returns `None`, at the latest when 1. is done. Before the next message it matters
//!    only after [`Handled::Inside`].
//! 3. [`Peer::poll_transmit`], and send it *ahead* of answers that are waiting: it is watchdog and disconnect traffic,
//!    base-protocol error answers and our own requests. Charging answers never come this way; whoever makes them writes
//!    them straight into the buffer that is sent, in any order (RFC 6733 2.1.1 asks for none).
//! 4. [`Peer::poll_timeout`], to call [`Peer::handle_timeout`] then.
//!
//! After [`Event::Closed`] what [`Peer::poll_transmit`] still holds is sent, and the connection is closed.
//!
//! Requests reach the charging code only when they are well formed, for us and fully understood; every defect short of
//! that is answered here. Absent: connecting, election, relaying, TLS in band. That one peer has one connection is
//! watched by whoever has all connections: see [`Peer::reject`].

mod capabilities;
mod watchdog;

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use self::capabilities::PeerFacts;
use self::capabilities::{Cer, identity, write_cea};
use self::watchdog::{Expired, Watchdog};
pub use self::watchdog::{WATCHDOG_JITTER, WATCHDOG_MIN};
use crate::avp::Avp;
use crate::dictionary::AvpCode;
use crate::error::{DecodeError, FramingError, Identity, ResultCode, error_answer};
use crate::header::{ApplicationId, CommandCode, Flags, HEADER_OCTETS, Header};
use crate::message::{Message, MessageWriter, frame_length};
use crate::validate::{self, UnknownAvps};

/// Requests of ours that may wait for an answer on one connection.
pub const PENDING_REQUESTS_MAX: usize = 1024;

/// Octets that may wait in [`Peer::poll_transmit`]. Only a peer that sends nonsense and does not read gets there.
pub const OUTBOX_OCTETS_MAX: usize = 4 << 20;

/// What all connections of this node have in common.
#[derive(Clone, Debug)]
pub struct Local {
    /// Who we are.
    pub identity: Identity,
    /// Realms that are served besides the identity's own.
    pub served_realms: Vec<String>,
    /// Vendor-Id of the product, 0 when it has no number of its own.
    pub vendor: u32,
    /// Product-Name.
    pub product: String,
    /// Firmware-Revision.
    pub firmware: u32,
    /// Origin-Hosts that may connect; `None` lets everybody in.
    pub allowed_peers: Option<Vec<String>>,
    /// What happens to unknown AVPs with the M flag.
    pub unknown_avps: UnknownAvps,
    /// The longest message that is accepted.
    pub message_octets_max: usize,
    /// How long things may take.
    pub timers: Timers,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// From the connection to its CER.
    pub cer: Duration,
    /// Silence until a DWR is sent: Tw, give or take [`WATCHDOG_JITTER`], not below [`WATCHDOG_MIN`].
    pub watchdog: Duration,
    /// From a request of ours to its answer.
    pub request: Duration,
    /// From a DPR, either way, to the end of the connection.
    pub closing: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            cer: Duration::from_secs(10),
            watchdog: Duration::from_secs(30),
            request: Duration::from_secs(10),
            closing: Duration::from_secs(5),
        }
    }
}

/// What is peculiar to one connection, drawn or looked up by whoever accepted it.
#[derive(Clone, Debug)]
pub struct Start {
    /// When it was accepted.
    pub now: Instant,
    /// Host-IP-Address: our addresses on this connection, at least one (RFC 6733 5.3.2).
    pub addresses: Vec<IpAddr>,
    /// The first hop-by-hop id of our requests; random (RFC 6733 3).
    pub hop_by_hop: u32,
    /// The first end-to-end id of our requests: time in the upper 12 bits, random below (RFC 6733 3).
    pub end_to_end: u32,
    /// Decides the jitter of the watchdog; random.
    pub jitter_seed: u64,
    /// Whether TLS protects the connection already, which makes in-band security moot (RFC 6733 13.1).
    pub secured: bool,
}

/// What became of one received message.
#[derive(Debug)]
#[must_use]
pub enum Handled<'m> {
    /// A request for the charging code: application 4, CCR or STR, addressed to us, its AVPs checked by
    /// [`validate::walk`]. Whether it is complete is not checked yet ([`validate::check_message_grammar`]).
    Request(Message<'m>),
    /// The answer to a request of ours. Its AVPs are unchecked.
    Answer(RequestId, Message<'m>),
    /// It was dealt with in here; there may be events.
    Inside,
}

/// Names a request of ours until it is answered; unique among those pending on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u32);

/// Why [`Peer::request`] did not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The connection is not open, is being closed, or is under suspicion.
    NotOpen,
    /// [`PENDING_REQUESTS_MAX`] requests are waiting already.
    TooManyPending,
    /// The octets are not one whole request.
    NotARequest,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOpen => "the peer is not open",
            Self::TooManyPending => "too many requests wait for their answers",
            Self::NotARequest => "the octets are not one whole request",
        })
    }
}

impl std::error::Error for RequestError {}

/// What whoever has the connection ought to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Capabilities were exchanged; requests will follow. See also [`Peer::reject`].
    Opened(PeerFacts),
    /// The peer did not answer a DWR: requests of ours should go elsewhere (RFC 3539 3.4.1, SUSPECT).
    Suspect,
    /// The peer spoke again (RFC 3539 3.4.1, OKAY).
    Recovered,
    /// The peer sent DPR with this Disconnect-Cause: send the answers that are ready, expect the end.
    Disconnecting {
        /// 0 REBOOTING, 1 BUSY, 2 DO_NOT_WANT_TO_TALK_TO_YOU (RFC 6733 5.4.3).
        cause: u32,
    },
    /// A request of ours was not answered in time. A late answer is dropped.
    RequestTimedOut(RequestId),
    /// The connection ended before a request of ours was answered.
    RequestLost(RequestId),
    /// The end; nothing follows.
    Closed(Reason),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No CER came in time.
    NoCer,
    /// The first message was no CER (RFC 6733 5.6).
    NotCer,
    /// The CER was refused with this code: who sent it, or what it offers.
    Refused {
        /// What the peer was told.
        code: ResultCode,
        /// The Origin-Host it gave.
        host: String,
    },
    /// The CER was defective.
    BadCer(DecodeError),
    /// The octets are no messages.
    Framing(FramingError),
    /// The peer stayed silent through SUSPECT (RFC 3539 3.4.1).
    Silent,
    /// The peer sent DPR.
    DisconnectedByPeer {
        /// The Disconnect-Cause it gave.
        cause: u32,
    },
    /// We sent DPR ([`Peer::disconnect`]).
    Disconnected,
    /// [`Peer::reject`] was called.
    Rejected,
    /// The peer makes us answer and does not read ([`OUTBOX_OCTETS_MAX`]).
    OutboxFull,
    /// The transport ended ([`Peer::connection_lost`]).
    ConnectionLost,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCer => f.write_str("no CER in time"),
            Self::NotCer => f.write_str("the first message is no CER"),
            Self::Refused { code, host } => write!(f, "CER of {host} refused: {code}"),
            Self::BadCer(error) => write!(f, "defective CER: {error}"),
            Self::Framing(error) => error.fmt(f),
            Self::Silent => f.write_str("no answer to the watchdog"),
            Self::DisconnectedByPeer { cause } => write!(f, "the peer disconnected with cause {cause}"),
            Self::Disconnected => f.write_str("we disconnected"),
            Self::Rejected => f.write_str("the peer has another connection"),
            Self::OutboxFull => f.write_str("the peer does not read"),
            Self::ConnectionLost => f.write_str("connection lost"),
        }
    }
}

/// Why we disconnect: Disconnect-Cause (RFC 6733 5.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectCause {
    /// We come back soon; the peer may try again.
    Rebooting,
    /// Too much to do; the peer should stay away.
    Busy,
    /// No need for this connection; the peer should stay away.
    DoNotWantToTalkToYou,
}

impl DisconnectCause {
    const fn value(self) -> u32 {
        match self {
            Self::Rebooting => 0,
            Self::Busy => 1,
            Self::DoNotWantToTalkToYou => 2,
        }
    }
}

/// The connection's place in its life (RFC 6733 5.6, the responder's part of it).
#[derive(Debug)]
enum State {
    /// Wait for the CER.
    WaitCer { until: Instant },
    /// R-Open; the watchdog says whether OKAY or SUSPECT.
    Open(Watchdog),
    /// One of the two sent DPR. `dpr` is the hop-by-hop id of ours; without one the peer began.
    Closing { until: Instant, dpr: Option<u32>, reason: Reason },
    /// The end.
    Closed,
}

#[derive(Debug)]
struct Pending {
    hop_by_hop: u32,
    until: Instant,
}

/// One connection.
#[derive(Debug)]
pub struct Peer {
    local: Arc<Local>,
    addresses: Vec<IpAddr>,
    secured: bool,
    state: State,
    facts: Option<PeerFacts>,
    hop_by_hop: u32,
    end_to_end: u32,
    jitter_seed: u64,
    /// In the order they were sent, which is also the order of their deadlines.
    pending: VecDeque<Pending>,
    outbox: Vec<u8>,
    events: VecDeque<Event>,
}

impl Peer {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(local: Arc<Local>, start: Start) -> Self {
        Self {
            addresses: start.addresses,
            secured: start.secured,
            state: State::WaitCer { until: start.now + local.timers.cer },
            facts: None,
            hop_by_hop: start.hop_by_hop,
            end_to_end: start.end_to_end,
            jitter_seed: start.jitter_seed,
            pending: VecDeque::new(),
            outbox: Vec::new(),
            events: VecDeque::new(),
            local,
        }
    }

    /// Takes the first whole message off `input`; `None` when there is none, or when the connection has ended.
    ///
    /// What is left of `input` has to come again with more octets behind it; it is never longer than
    /// [`Local::message_octets_max`].
    #[inline]
    pub fn handle_input<'m>(&mut self, input: &mut &'m [u8], now: Instant) -> Option<Handled<'m>> {
        if matches!(self.state, State::Closed) {
            return None;
        }
        match frame_length(input, self.local.message_octets_max) {
            Ok(Some(length)) => {
                let (octets, rest) = input.split_at_checked(length)?;
                *input = rest;
                Some(self.handle_message(&Message::unframed(octets)?, now))
            }
            Ok(None) => None,
            Err(error) => {
                self.handle_framing_error(input, error);
                None
            }
        }
    }

    /// Does what is due at `now`; harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.until <= now) {
            self.events.push_back(Event::RequestTimedOut(RequestId(pending.hop_by_hop)));
        }
        match &self.state {
            State::WaitCer { until } if *until <= now => self.close(Reason::NoCer),
            State::Open(watchdog) if watchdog.due() <= now => self.watchdog_expired(now),
            State::Closing { until, reason, .. } if *until <= now => {
                let reason = reason.clone();
                self.close(reason);
            }
            State::WaitCer { .. } | State::Open(_) | State::Closing { .. } | State::Closed => {}
        }
    }

    /// When [`Peer::handle_timeout`] wants to be called; changes with every message.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let state = match &self.state {
            State::WaitCer { until } | State::Closing { until, .. } => *until,
            State::Open(watchdog) => watchdog.due(),
            State::Closed => return None,
        };
        Some(self.pending.front().map_or(state, |pending| pending.until.min(state)))
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Octets to send, whole messages, ahead of anything else that waits to be sent.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        if self.outbox.is_empty() { None } else { Some(Bytes::from(mem::take(&mut self.outbox))) }
    }

    /// Sends a request of ours (RAR, ASR); the ids of its header are filled in here.
    ///
    /// # Errors
    /// See [`RequestError`]; nothing was sent.
    pub fn request(&mut self, message: &[u8], now: Instant) -> Result<RequestId, RequestError> {
        if !self.is_okay() {
            return Err(RequestError::NotOpen);
        }
        if self.pending.len() >= PENDING_REQUESTS_MAX {
            return Err(RequestError::TooManyPending);
        }
        let parsed = Message::parse(message).map_err(|_| RequestError::NotARequest)?;
        let (Some(body), true) = (message.get(HEADER_OCTETS..), parsed.header().is_request()) else {
            return Err(RequestError::NotARequest);
        };
        let (hop_by_hop, end_to_end) = self.next_ids();
        let header = Header { hop_by_hop, end_to_end, ..*parsed.header() };
        let length = u32::try_from(message.len()).map_err(|_| RequestError::NotARequest)?;
        let mut octets = Vec::with_capacity(message.len());
        octets.extend_from_slice(&header.encode(length));
        octets.extend_from_slice(body);
        self.send(&octets);
        if matches!(self.state, State::Closed) {
            return Err(RequestError::NotOpen);
        }
        self.pending.push_back(Pending { hop_by_hop, until: now + self.local.timers.request });
        Ok(RequestId(hop_by_hop))
    }

    /// Ends the connection in good order: DPR, then [`Event::Closed`] when the peer has answered or the time for it is
    /// over. Until then requests are still handed out and answered. A connection that never opened just ends.
    pub fn disconnect(&mut self, cause: DisconnectCause, now: Instant) {
        match self.state {
            State::WaitCer { .. } => self.close(Reason::Disconnected),
            State::Open(_) => {
                let hop_by_hop = self.send_own(CommandCode::DISCONNECT_PEER, |dpr, _| {
                    dpr.u32(AvpCode::DISCONNECT_CAUSE, cause.value());
                });
                if matches!(self.state, State::Open(_)) {
                    let until = now + self.local.timers.closing;
                    self.state = State::Closing { until, dpr: Some(hop_by_hop), reason: Reason::Disconnected };
                }
            }
            State::Closing { .. } | State::Closed => {}
        }
    }

    /// Turns away a peer that has another connection already (RFC 6733 5.6.4, R-Reject): to be called on
    /// [`Event::Opened`], before anything was sent; the CEA is taken back.
    pub fn reject(&mut self) {
        self.outbox.clear();
        self.close(Reason::Rejected);
    }

    /// The transport has ended, or failed.
    pub fn connection_lost(&mut self) {
        let reason = match &self.state {
            State::Closing { reason, .. } => reason.clone(),
            State::WaitCer { .. } | State::Open(_) => Reason::ConnectionLost,
            State::Closed => return,
        };
        self.outbox.clear();
        self.close(reason);
    }

    /// What the peer said about itself; `None` before its CER was accepted.
    #[must_use]
    pub const fn facts(&self) -> Option<&PeerFacts> {
        self.facts.as_ref()
    }

    /// Whether the peer is in OKAY: open, and not under suspicion (RFC 3539 3.4.1).
    #[must_use]
    pub const fn is_okay(&self) -> bool {
        matches!(&self.state, State::Open(watchdog) if watchdog.is_okay())
    }

    fn handle_message<'m>(&mut self, message: &Message<'m>, now: Instant) -> Handled<'m> {
        match &mut self.state {
            State::WaitCer { .. } => {
                self.handle_first(message, now);
                return Handled::Inside;
            }
            State::Open(watchdog) => {
                if watchdog.heard(now) {
                    self.events.push_back(Event::Recovered);
                }
            }
            State::Closing { .. } => {}
            State::Closed => return Handled::Inside,
        }
        if message.header().is_request() { self.handle_request(message, now) } else { self.handle_answer(message) }
    }

    /// Says what is wrong if the octets at least begin like a request we would answer (RFC 6733 2.1 allows to just
    /// close), and ends the connection.
    fn handle_framing_error(&mut self, input: &[u8], error: FramingError) {
        let header = input.get(..HEADER_OCTETS).and_then(Message::unframed);
        if let Some(message) = header.filter(|message| message.header().is_request()) {
            let is_cer = message.header().command == CommandCode::CAPABILITIES_EXCHANGE;
            if is_cer || !matches!(self.state, State::WaitCer { .. }) {
                // Protocol errors by nature, though their codes are not 3xxx: the command's grammar needs AVPs that
                // are not there. The identity goes into an answer-message instead.
                let header = Header { flags: message.header().answer().flags.union(Flags::ERROR), ..*message.header() };
                self.send_message(&header, |answer, local| {
                    write_origin(answer, local);
                    answer.u32(AvpCode::RESULT_CODE, error.result_code().0);
                    local.identity.write_state(answer);
                    answer.utf8(AvpCode::ERROR_MESSAGE, &error.to_string());
                });
            }
        }
        self.close(Reason::Framing(error));
    }

    /// The first message has to be a CER (RFC 6733 5.6).
    fn handle_first(&mut self, message: &Message<'_>, now: Instant) {
        let header = message.header();
        let is_cer = header.command == CommandCode::CAPABILITIES_EXCHANGE
            && header.application == ApplicationId::COMMON
            && header.is_request();
        if !is_cer {
            return self.close(Reason::NotCer);
        }
        let host =
            || message.find(AvpCode::ORIGIN_HOST).and_then(|avp| identity(&avp).ok()).unwrap_or_default().to_owned();
        if header.flags.contains(Flags::ERROR) || header.flags.contains(Flags::PROXIABLE) {
            let code = ResultCode::INVALID_HDR_BITS;
            self.send(&error_answer(message, &self.local.identity, code, None, Some("flags that do not fit a CER")));
            return self.close(Reason::Refused { code, host: host() });
        }
        let cer = match self.read_cer(message) {
            Ok(cer) => cer,
            Err(error) => {
                self.send_cea(message, error.result_code(), Some(&error));
                return self.close(Reason::BadCer(error));
            }
        };
        let code = self.judge(&cer);
        if code == ResultCode::UNKNOWN_PEER {
            self.send(&error_answer(message, &self.local.identity, code, None, Some("this peer is not configured")));
        } else {
            self.send_cea(message, code, None);
        }
        if code != ResultCode::SUCCESS {
            return self.close(Reason::Refused { code, host: cer.facts.host });
        }
        self.state = State::Open(Watchdog::new(self.local.timers.watchdog, self.jitter_seed, now));
        self.facts = Some(cer.facts.clone());
        self.events.push_back(Event::Opened(cer.facts));
    }

    fn read_cer(&self, message: &Message<'_>) -> Result<Cer, DecodeError> {
        validate::validate(message, &self.local.unknown_avps)?;
        validate::check_message_grammar(message)?;
        Cer::read(message)
    }

    /// Who may open a connection (RFC 6733 5.3).
    fn judge(&self, cer: &Cer) -> ResultCode {
        let is = |name: &str| name.eq_ignore_ascii_case(&cer.facts.host);
        let allowed = self.local.allowed_peers.as_ref().is_none_or(|allowed| allowed.iter().any(|name| is(name)));
        // Somebody who says to be us is not somebody we know.
        if !allowed || is(&self.local.identity.host) {
            ResultCode::UNKNOWN_PEER
        } else if !cer.has_common_application {
            ResultCode::NO_COMMON_APPLICATION
        } else if !self.secured && !cer.has_common_security() {
            ResultCode::NO_COMMON_SECURITY
        } else {
            ResultCode::SUCCESS
        }
    }

    /// Flags, application, command, then the AVPs: the order in which RFC 6733 7 lets errors be found.
    fn handle_request<'m>(&mut self, message: &Message<'m>, now: Instant) -> Handled<'m> {
        let header = message.header();
        let is_base = matches!(
            header.command,
            CommandCode::CAPABILITIES_EXCHANGE | CommandCode::DEVICE_WATCHDOG | CommandCode::DISCONNECT_PEER
        );
        if header.flags.contains(Flags::ERROR) {
            return self.refuse(message, ResultCode::INVALID_HDR_BITS, "the E flag in a request");
        }
        if is_base && header.flags.contains(Flags::PROXIABLE) {
            return self.refuse(message, ResultCode::INVALID_HDR_BITS, "the P flag in a command between neighbours");
        }
        match (header.application, header.command) {
            (ApplicationId::CREDIT_CONTROL, CommandCode::CREDIT_CONTROL | CommandCode::SESSION_TERMINATION) => {
                self.handle_charging(message)
            }
            (ApplicationId::COMMON, _) if is_base => {
                self.handle_base(message, now);
                Handled::Inside
            }
            (ApplicationId::COMMON | ApplicationId::CREDIT_CONTROL, _) => {
                self.refuse(message, ResultCode::COMMAND_UNSUPPORTED, "no such command here")
            }
            _ => self.refuse(message, ResultCode::APPLICATION_UNSUPPORTED, "no such application here"),
        }
    }

    /// What the charging code may take for granted about a request.
    fn handle_charging<'m>(&mut self, message: &Message<'m>) -> Handled<'m> {
        if matches!(self.state, State::Closing { dpr: None, .. }) {
            // The peer said goodbye; it hears at once that another server has to do this.
            return self.refuse(message, ResultCode::UNABLE_TO_DELIVER, "after the disconnect request");
        }
        let mut address = Addressing::default();
        let walked =
            validate::walk_and_see(message.avps(), &self.local.unknown_avps, |avp| address.take(avp, &self.local));
        let unsupported = match walked {
            Ok(unsupported) => unsupported,
            Err(error) => return self.refuse_defect(message, &error),
        };
        if !address.has_session {
            return self.refuse_defect(message, &DecodeError::MissingAvp { code: AvpCode::SESSION_ID });
        }
        if address.was_here {
            return self.refuse(message, ResultCode::LOOP_DETECTED, "our own Route-Record");
        }
        if address.other_realm {
            return self.refuse(message, ResultCode::REALM_NOT_SERVED, "no route to this realm");
        }
        if address.other_host {
            return self.refuse(message, ResultCode::UNABLE_TO_DELIVER, "no route to this host");
        }
        match unsupported {
            Some(error) => self.refuse_defect(message, &error),
            None => Handled::Request(*message),
        }
    }

    /// A command between neighbours on an open connection.
    fn handle_base(&mut self, message: &Message<'_>, now: Instant) {
        let checked = validate::validate(message, &self.local.unknown_avps)
            .and_then(|()| validate::check_message_grammar(message));
        if let Err(error) = checked {
            return self.send(&error.answer(message, &self.local.identity));
        }
        if message.header().command == CommandCode::CAPABILITIES_EXCHANGE {
            // Capabilities are agreed upon once per connection (RFC 6733 5.6); the open one stays as it is.
            self.send_cea(message, ResultCode::UNABLE_TO_COMPLY, None);
        } else if message.header().command == CommandCode::DEVICE_WATCHDOG {
            self.send_message(&message.header().answer(), |dwa, local| {
                dwa.u32(AvpCode::RESULT_CODE, ResultCode::SUCCESS.0);
                write_origin(dwa, local);
                local.identity.write_state(dwa);
            });
        } else {
            self.handle_dpr(message, now);
        }
    }

    fn handle_dpr(&mut self, message: &Message<'_>, now: Instant) {
        self.send_message(&message.header().answer(), |dpa, local| {
            dpa.u32(AvpCode::RESULT_CODE, ResultCode::SUCCESS.0);
            write_origin(dpa, local);
        });
        // In Closing the end is near anyhow, and its deadline stands.
        if matches!(self.state, State::Open(_)) {
            let cause = message.find(AvpCode::DISCONNECT_CAUSE).and_then(|avp| avp.u32().ok()).unwrap_or_default();
            let until = now + self.local.timers.closing;
            self.state = State::Closing { until, dpr: None, reason: Reason::DisconnectedByPeer { cause } };
            self.events.push_back(Event::Disconnecting { cause });
        }
    }

    /// Answers that nobody waits for are dropped; an answer is never answered (RFC 6733 6.2.1, 7).
    fn handle_answer<'m>(&mut self, message: &Message<'m>) -> Handled<'m> {
        let Header { command, application, hop_by_hop, .. } = *message.header();
        match (application, command, &mut self.state) {
            (ApplicationId::COMMON, CommandCode::DEVICE_WATCHDOG, State::Open(watchdog)) => watchdog.answered(),
            (ApplicationId::COMMON, CommandCode::DISCONNECT_PEER, State::Closing { dpr, reason, .. })
                if *dpr == Some(hop_by_hop) =>
            {
                let reason = reason.clone();
                self.close(reason);
            }
            _ => {
                if let Some(at) = self.pending.iter().position(|pending| pending.hop_by_hop == hop_by_hop) {
                    self.pending.remove(at);
                    return Handled::Answer(RequestId(hop_by_hop), *message);
                }
            }
        }
        Handled::Inside
    }

    fn watchdog_expired(&mut self, now: Instant) {
        let State::Open(watchdog) = &mut self.state else { return };
        match watchdog.expired(now) {
            Expired::SendDwr => {
                self.send_own(CommandCode::DEVICE_WATCHDOG, |dwr, local| {
                    local.identity.write_state(dwr);
                });
            }
            Expired::Suspect => self.events.push_back(Event::Suspect),
            Expired::Close => self.close(Reason::Silent),
        }
    }

    #[cold]
    fn refuse<'m>(&mut self, request: &Message<'_>, code: ResultCode, message: &str) -> Handled<'m> {
        self.send(&error_answer(request, &self.local.identity, code, None, Some(message)));
        Handled::Inside
    }

    #[cold]
    fn refuse_defect<'m>(&mut self, request: &Message<'_>, error: &DecodeError) -> Handled<'m> {
        self.send(&error.answer(request, &self.local.identity));
        Handled::Inside
    }

    fn send_cea(&mut self, cer: &Message<'_>, code: ResultCode, error: Option<&DecodeError>) {
        if error.is_some() && code.is_protocol_error() {
            let failed = error.and_then(DecodeError::failed_avp);
            let message = error.map(ToString::to_string);
            let answer = error_answer(cer, &self.local.identity, code, failed.as_deref(), message.as_deref());
            return self.send(&answer);
        }
        let mut cea = Vec::with_capacity(256);
        // Cannot be too long: names and addresses of the configuration and at most one Failed-AVP.
        if write_cea(&mut cea, cer, &self.local, &self.addresses, code, error).is_ok() {
            self.send(&cea);
        }
    }

    /// A request of the base protocol: origin first, then what `rest` adds. Returns its hop-by-hop id.
    fn send_own(&mut self, command: CommandCode, rest: impl FnOnce(&mut MessageWriter<'_>, &Local)) -> u32 {
        let (hop_by_hop, end_to_end) = self.next_ids();
        let application = ApplicationId::COMMON;
        let header = Header { flags: Flags::REQUEST, command, application, hop_by_hop, end_to_end };
        self.send_message(&header, |request, local| {
            write_origin(request, local);
            rest(request, local);
        });
        hop_by_hop
    }

    fn send_message(&mut self, header: &Header, avps: impl FnOnce(&mut MessageWriter<'_>, &Local)) {
        let mut octets = Vec::with_capacity(128);
        let mut message = MessageWriter::new(&mut octets, header);
        avps(&mut message, &self.local);
        // Cannot be too long: names of the configuration and a few numbers.
        if message.finish().is_ok() {
            self.send(&octets);
        }
    }

    fn send(&mut self, octets: &[u8]) {
        if self.outbox.len() + octets.len() > OUTBOX_OCTETS_MAX {
            return self.close(Reason::OutboxFull);
        }
        self.outbox.extend_from_slice(octets);
    }

    fn close(&mut self, reason: Reason) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.state = State::Closed;
        self.events.extend(self.pending.drain(..).map(|pending| Event::RequestLost(RequestId(pending.hop_by_hop))));
        self.events.push_back(Event::Closed(reason));
    }

    const fn next_ids(&mut self) -> (u32, u32) {
        let ids = (self.hop_by_hop, self.end_to_end);
        self.hop_by_hop = self.hop_by_hop.wrapping_add(1);
        self.end_to_end = self.end_to_end.wrapping_add(1);
        ids
    }
}

/// What the top of a request says about where it is from and where it goes (RFC 6733 6.1).
#[derive(Default)]
struct Addressing {
    has_session: bool,
    was_here: bool,
    other_realm: bool,
    other_host: bool,
}

impl Addressing {
    fn take(&mut self, avp: &Avp<'_>, local: &Local) {
        let is = |name: &str| avp.data.eq_ignore_ascii_case(name.as_bytes());
        match avp.code {
            AvpCode::SESSION_ID => self.has_session = true,
            AvpCode::ROUTE_RECORD => self.was_here |= is(&local.identity.host),
            AvpCode::DESTINATION_HOST => self.other_host |= !is(&local.identity.host),
            AvpCode::DESTINATION_REALM => {
                let ours = is(&local.identity.realm) || local.served_realms.iter().any(|realm| is(realm));
                self.other_realm |= !ours;
            }
            _ => {}
        }
    }
}

fn write_origin(message: &mut MessageWriter<'_>, local: &Local) {
    message.utf8(AvpCode::ORIGIN_HOST, &local.identity.host);
    message.utf8(AvpCode::ORIGIN_REALM, &local.identity.realm);
}
