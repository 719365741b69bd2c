//! A network element: its sessions and what it waits for. No socket and no clock: requests go into a buffer, answers and
//! time are arguments.
//!
//! A slot plays one session after the other: initial, updates, termination, next subscriber. Slots take turns in a queue
//! of those that are free to send, and stand in it once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use diameter::gy::client::{self, Kind};
use diameter::header::HEADER_OCTETS;
use diameter::{CommandCode, Identity, Message, ResultCode};
use diameter_tcp::client::Sender;

use super::TrafficError;
use super::answer::{self, Expected, Verdict};
use super::report::Batch;
use super::template::{self, Element, Fields, HOP_BY_HOP_AT, SERIAL_DIGITS, SUBSCRIBER_DIGITS, Template, digits};

/// When a request is asked again that was answered "not now".
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// How often.
const BUSY_RETRIES_MAX: u8 = 20;

/// A request without an answer for so long is given up.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Marks the hop-by-hop id of a repeat; the rest is its original's.
const REPEAT: u32 = 0x8000_0000;

/// A grant is this many times what is typically used of it, so that balances last.
const USED_SHARE: u64 = 64;

/// One report in so many uses its grant up.
const USED_UP_EVERY: u64 = 64;

/// What a network element does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Slots.
    pub(super) sessions: usize,
    /// Slots of all elements.
    pub(super) all_sessions: u64,
    /// Its first slot among all of them.
    pub(super) first_slot: u64,
    /// Updates of a session.
    pub(super) updates: u32,
    /// MSCCs of a request.
    pub(super) rating_groups: u32,
    /// Subscribers 1 to this.
    pub(super) subscribers: u64,
    /// Every so many requests one is sent twice.
    pub(super) repeat_every: Option<u64>,
    /// Seed of what is used.
    pub(super) seed: u64,
    /// Whether any successful answer will do.
    pub(super) unchecked: bool,
}

/// A session and its successors.
#[derive(Clone, Debug)]
struct Slot {
    /// The subscriber of this session.
    subscriber: u64,
    digits: [u8; SUBSCRIBER_DIGITS],
    serial: [u8; SERIAL_DIGITS],
    /// What is sent next, or has been sent.
    next: Kind,
    number: u32,
    updates_left: u32,
    /// How often the next request was answered "not now".
    busy: u8,
    /// Reports so far, for the seed.
    reports: u64,
    /// Whether something was reported in this session, so that a charge will be told.
    reported: bool,
    /// The first of two answers that must be equal.
    twin: Option<Box<[u8]>>,
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
struct Pending {
    slot: usize,
    /// When it was due.
    at: Instant,
    /// Answers to come: 2 when it was sent twice; 0 when done.
    answers: u8,
    /// Whether an answer that decides has come.
    decided: bool,
}

/// A network element.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) element: Element,
    plan: Plan,
    templates: [Template; 3],
    slots: Vec<Slot>,
    /// Octets granted, per slot and rating group.
    granted: Vec<u64>,
    used: Vec<u64>,
    ready: VecDeque<usize>,
    /// Slots that were told "not now", by the time to ask again.
    waiting: VecDeque<(Instant, usize)>,
    /// What was sent and not answered, in the order of hop-by-hop ids.
    pending: VecDeque<Pending>,
    first_pending: u32,
    serial: u64,
    requests: u64,
    open: usize,
    draining: bool,
    unix_seconds: i64,
    /// What happened since it was last taken.
    pub(super) batch: Batch,
}

impl Node {
    /// A network element with all slots free to send.
    pub(super) fn new(element: Element, plan: Plan) -> Result<Self, TrafficError> {
        let template = |kind| Template::new(kind, &element, plan.rating_groups);
        let templates = [template(Kind::Initial)?, template(Kind::Update)?, template(Kind::Termination)?];
        let groups = usize::try_from(plan.rating_groups).unwrap_or(1);
        let mut slot_number = plan.first_slot;
        let slots = std::iter::repeat_with(|| {
            // The session before the first one: slots never share a subscriber unless there are too few.
            let subscriber = (slot_number % plan.subscribers) + 1;
            slot_number += 1;
            Slot {
                subscriber,
                digits: digits(subscriber),
                serial: digits(0),
                next: Kind::Initial,
                number: 0,
                updates_left: 0,
                busy: 0,
                reports: 0,
                reported: false,
                twin: None,
            }
        });
        Ok(Self {
            templates,
            slots: slots.take(plan.sessions).collect(),
            granted: vec![0; plan.sessions * groups],
            used: vec![0; groups],
            ready: (0..plan.sessions).collect(),
            waiting: VecDeque::new(),
            pending: VecDeque::new(),
            first_pending: 0,
            serial: 0,
            requests: 0,
            open: 0,
            draining: false,
            unix_seconds: 0,
            batch: Batch::default(),
            element,
            plan,
        })
    }

    /// Octets of an update.
    pub(super) const fn update_octets(&self) -> usize {
        let [_, update, _] = &self.templates;
        update.len()
    }

    /// Sessions that are open at the server, as far as known.
    pub(super) const fn open_sessions(&self) -> usize {
        self.open
    }

    /// From now on sessions only end.
    pub(super) const fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether nothing is open, waiting or on its way.
    pub(super) fn is_done(&self) -> bool {
        self.open == 0 && self.pending.is_empty() && self.waiting.is_empty()
    }

    /// What depends on time alone: retries, answers that never come, the time of day.
    pub(super) fn tick(&mut self, now: Instant, unix_seconds: i64) {
        self.unix_seconds = unix_seconds;
        while let Some((_, slot)) = self.waiting.pop_front_if(|(at, _)| *at <= now) {
            self.ready.push_back(slot);
        }
        while self.pending.front().is_some_and(|first| now.duration_since(first.at) > ANSWER_WAIT_MAX) {
            let Some(given_up) = self.pending.pop_front() else { break };
            self.first_pending = self.first_pending.wrapping_add(1);
            if given_up.answers > 0 {
                self.batch.fault(|| format!("no answer within {} s", ANSWER_WAIT_MAX.as_secs()));
                if let Some(slot) = self.slots.get_mut(given_up.slot) {
                    self.batch.counts.untold += u64::from(slot.reported);
                    slot.twin = None;
                    self.open = self.open.saturating_sub(usize::from(slot.next != Kind::Initial));
                    slot.next = Kind::Initial;
                    self.ready.push_back(given_up.slot);
                }
            }
        }
        self.forget_answered();
    }

    /// Sends the next request of every slot that is free to.
    pub(super) fn send_all(&mut self, now: Instant, sender: &mut Sender) {
        while self.send_one(now, now, sender) {}
    }

    /// Sends the next request of the slot whose turn it is; `false` when none is free to. `due` is when it should have
    /// left.
    pub(super) fn send_one(&mut self, due: Instant, now: Instant, sender: &mut Sender) -> bool {
        let Some(index) = self.ready.pop_front() else { return false };
        let groups = self.used.len();
        let Some(slot) = self.slots.get_mut(index) else { return false };
        let granted = self.granted.get(index * groups..(index + 1) * groups).unwrap_or_default();
        if slot.next == Kind::Initial {
            if self.draining {
                // It has nothing open and is not needed any more.
                return true;
            }
            self.serial += 1;
            if self.serial > u64::try_from(self.plan.sessions).unwrap_or(u64::MAX) {
                let next = slot.subscriber + self.plan.all_sessions;
                slot.subscriber = if next > self.plan.subscribers {
                    // Back to the beginning of this slot's turn.
                    ((self.plan.first_slot + u64::try_from(index).unwrap_or(0)) % self.plan.subscribers) + 1
                } else {
                    next
                };
                slot.digits = digits(slot.subscriber);
                slot.updates_left = self.plan.updates;
            } else {
                // The first sessions differ in length, so that not all slots do the same at the same time.
                let lengths = u64::from(self.plan.updates) + 1;
                slot.updates_left = u32::try_from(u64::try_from(index).unwrap_or(0) % lengths).unwrap_or(0);
            }
            slot.serial = digits(self.serial);
            (slot.number, slot.reported, slot.busy) = (0, false, 0);
        } else {
            if self.draining && slot.busy == 0 {
                slot.next = Kind::Termination;
            }
            slot.reported = true;
            if slot.busy == 0 {
                slot.reports += 1;
            }
            let mut seed = mix(self.plan.seed ^ mix(slot.subscriber ^ (slot.reports << 32)));
            for (used, granted) in self.used.iter_mut().zip(granted) {
                *used = part(*granted, seed);
                seed = mix(seed);
            }
        }
        self.requests += 1;
        let twice = self.plan.repeat_every.is_some_and(|every| self.requests.is_multiple_of(every));
        let fields = Fields {
            serial: slot.serial,
            subscriber: slot.digits,
            number: slot.number,
            unix_seconds: self.unix_seconds,
            used: &self.used,
        };
        let [initial, update, termination] = &self.templates;
        let template = match slot.next {
            Kind::Update => update,
            Kind::Termination => termination,
            Kind::Initial | Kind::Debit | Kind::Refund | Kind::CheckBalance | Kind::PriceEnquiry => initial,
        };
        let id = sender.next_id();
        sender.queue_with(|out| {
            let start = out.len();
            template.write(&fields, out);
            if twice {
                template::repeat(out, start, id | REPEAT, id);
            }
        });
        if self.pending.is_empty() {
            self.first_pending = id;
        }
        self.pending.push_back(Pending { slot: index, at: due, answers: 1 + u8::from(twice), decided: false });
        self.batch.sent(slot.next, due, now);
        true
    }

    /// Takes a message of the server; what has to be replied at once is appended to `replies`.
    pub(super) fn on_message(&mut self, message: &Message<'_>, now: Instant, replies: &mut Vec<u8>) {
        let header = message.header();
        if header.is_request() {
            self.reply(message, replies);
        } else if header.command == CommandCode::CREDIT_CONTROL {
            self.on_answer(message, now);
        }
    }

    /// Consents to what a server may ask (RAR, ASR). The next request comes by itself.
    fn reply(&self, request: &Message<'_>, replies: &mut Vec<u8>) {
        let own = Identity { host: self.element.host.clone(), realm: self.element.realm.clone(), state: 0 };
        // Shorter than the request it answers, so never too long.
        let _ = client::answer(replies, request, &own, ResultCode::SUCCESS, None);
    }

    fn on_answer(&mut self, message: &Message<'_>, now: Instant) {
        let id = message.header().hop_by_hop;
        let place = usize::try_from((id & !REPEAT).wrapping_sub(self.first_pending)).unwrap_or(usize::MAX);
        let Some(pending) = self.pending.get_mut(place).filter(|pending| pending.answers > 0) else {
            self.batch.fault(|| format!("an answer to no request, hop-by-hop id {id:#x}"));
            return;
        };
        pending.answers -= 1;
        let (index, at, last) = (pending.slot, pending.at, pending.answers == 0);
        let decided = std::mem::replace(&mut pending.decided, true);
        if decided {
            self.compare(message, index);
        } else if !last && answer::is_busy(message) {
            // The other of the two answers decides.
            self.batch.counts.busy += 1;
            if let Some(pending) = self.pending.get_mut(place) {
                pending.decided = false;
            }
        } else {
            self.decide(message, index, at, now, last);
        }
        if last {
            self.forget_answered();
        }
    }

    fn forget_answered(&mut self) {
        while self.pending.pop_front_if(|first| first.answers == 0).is_some() {
            self.first_pending = self.first_pending.wrapping_add(1);
        }
    }

    /// The second of two answers.
    fn compare(&mut self, message: &Message<'_>, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let twin = slot.twin.take();
        self.ready.push_back(index);
        if answer::is_busy(message) {
            self.batch.counts.busy += 1;
        } else if twin.is_some_and(|twin| *twin == *without_ids(message)) {
            self.batch.counts.duplicates += 1;
        } else {
            let element = &self.element;
            let serial = slot.serial;
            self.batch.fault(|| {
                format!(
                    "{}{}: a repeated request got another answer than the first",
                    element.session_prefix,
                    String::from_utf8_lossy(&serial)
                )
            });
        }
    }

    /// The answer that says how the session goes on.
    fn decide(&mut self, message: &Message<'_>, index: usize, at: Instant, now: Instant, last: bool) {
        let groups = self.used.len();
        let Some(slot) = self.slots.get_mut(index) else { return };
        let granted = self.granted.get_mut(index * groups..(index + 1) * groups).unwrap_or_default();
        let expected = Expected {
            session_prefix: &self.element.session_prefix,
            serial: slot.serial,
            kind: slot.next,
            number: slot.number,
        };
        let verdict = if self.plan.unchecked {
            answer::trust(message, granted)
        } else {
            answer::check(message, &expected, granted)
        };
        let batch = &mut self.batch;
        batch.answered(slot.next, now.duration_since(at));
        if !last {
            slot.twin = Some(without_ids(message));
        }
        let kind = slot.next;
        let was_open = kind != Kind::Initial;
        let ends = kind == Kind::Termination;
        let busy = std::mem::take(&mut slot.busy);
        let (mut goes_on, mut denied_service) = (!ends, false);
        match verdict {
            Verdict::Good { denied, cost } => {
                batch.counts.denied += u64::from(denied);
                denied_service = denied;
                if ends {
                    batch.counts.sessions += 1;
                    match cost {
                        Some(cost) => batch.charge(cost),
                        None => batch.fault(|| "a termination's answer without Cost-Information".into()),
                    }
                }
            }
            Verdict::Denied => {
                batch.counts.denied += 1;
                batch.counts.untold += u64::from(slot.reported);
                goes_on = false;
            }
            Verdict::Busy => {
                batch.counts.busy += 1;
                if was_open && busy < BUSY_RETRIES_MAX {
                    slot.busy = busy + 1;
                } else {
                    // The session never opened, or nobody will have it.
                    batch.counts.untold += u64::from(slot.reported);
                    batch.counts.abandoned += 1;
                    slot.next = Kind::Initial;
                    self.open = self.open.saturating_sub(usize::from(was_open));
                }
                self.waiting.push_back((now + BUSY_PAUSE, index));
                return;
            }
            Verdict::Refused { code, message } => {
                batch.unexpected(code, || format!("{kind:?}: {code} {message}"));
                batch.counts.untold += u64::from(slot.reported);
                goes_on = false;
            }
            Verdict::ServiceFailed { code } => {
                batch.unexpected(code, || format!("{kind:?}: {code} for a service"));
                denied_service = true;
            }
            Verdict::Faulty(why) => {
                batch.counts.untold += u64::from(ends);
                batch.fault(|| format!("{kind:?}: {why}"));
                denied_service = true;
            }
        }
        match (was_open, goes_on) {
            (false, true) => self.open += 1,
            (true, false) => self.open = self.open.saturating_sub(1),
            (false, false) | (true, true) => {}
        }
        if goes_on {
            slot.number += 1;
            slot.next = if denied_service || slot.updates_left == 0 { Kind::Termination } else { Kind::Update };
            slot.updates_left = slot.updates_left.saturating_sub(1);
        } else {
            slot.next = Kind::Initial;
        }
        if last {
            self.ready.push_back(index);
        }
    }
}

/// The answer with both ids, which are the request's own, blanked.
fn without_ids(message: &Message<'_>) -> Box<[u8]> {
    let mut octets: Box<[u8]> = message.octets().into();
    if let Some(ids) = octets.get_mut(HOP_BY_HOP_AT..HEADER_OCTETS) {
        ids.fill(0);
    }
    octets
}

/// What is used of a grant: now and then all of it, else some share.
fn part(granted: u64, seed: u64) -> u64 {
    let share = seed >> 48;
    if seed.is_multiple_of(USED_UP_EVERY) { granted } else { (granted / USED_SHARE).saturating_mul(share) >> 16 }
}

/// One step of SplitMix64.
const fn mix(seed: u64) -> u64 {
    let seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}
