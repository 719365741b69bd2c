//! A session: what it was granted, has used and was answered.
//!
//! A one-time event is a session that is born ended. An ended session stays for a while, so that repeats get their
//! stored answer and late reports are still settled; then it is forgotten.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::account::{Holding, Reservation, Sponsor, Who};
use crate::cdr::{Cause, Payer};
use crate::command::{Outcome, RequestKind};
use crate::context::Context;
use crate::ids::{AccountId, CdrPosition, SessionId, SubscriberId, TenantId};
use crate::money::Money;
use crate::tariff::{ServiceKey, TariffVersion};
use crate::tariffs::LineKey;
use crate::time::Timestamp;
use crate::units::Measure;

/// Stored answers of one session (design D6).
pub const ANSWERS_MAX: usize = 8;
/// Services (MSCCs) of one session; further ones are refused.
pub const SERVICES_MAX: usize = 128;
/// Charges of one-time events under one name; further ones are refused. One request may carry that many.
pub const CHARGES_MAX: usize = 64;
/// How long an ended session is remembered, seconds.
pub const ENDED_KEPT_SECONDS: i64 = 600;
/// How long an expired session is remembered and still settled, seconds (design 3.6).
pub const EXPIRED_KEPT_SECONDS: i64 = 3600;
/// How long a one-time event is remembered, seconds.
pub const EVENT_KEPT_SECONDS: i64 = 86_400;
/// Usage that began longer ago than this is for a person to look at (R31), seconds: 30 days.
pub const RECORD_AGE_MAX_SECONDS: i64 = 30 * 86_400;
/// How long the id of a usage record is remembered, seconds: then the same record is too old to be charged again (R25).
pub const RECORD_KEPT_SECONDS: i64 = RECORD_AGE_MAX_SECONDS + 86_400;
/// Validity in force when no grant is: how soon a silent session counts as gone, seconds.
pub const IDLE_VALIDITY_SECONDS: u32 = 1800;
/// The least validity that a session's deadline counts with: one that was cut to a bucket's end may be over before the
/// client's next request can be here.
pub const VALIDITY_FLOOR_SECONDS: u32 = 30;

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// Who uses.
    pub subscriber: SubscriberId,
    /// The tenant.
    pub tenant: TenantId,
    /// Who pays.
    pub account: AccountId,
    /// Whoever else does: of its group.
    pub sponsor: Option<Arc<Sponsor>>,
    /// When it was opened.
    pub opened: Timestamp,
    /// When its client was last heard.
    pub heard: Timestamp,
    /// The client's restart marker; 0 for none.
    pub client_state: u32,
    /// The circumstances, as last told.
    pub context: Arc<Context>,
    /// The tariff version in force when it began.
    pub tariff: Arc<TariffVersion>,
    /// Its services, in order of appearance.
    pub services: Vec<ServiceState>,
    /// The initial request's number and digest.
    pub start: (u32, u64),
    /// Stored answers, by slot; the slot after the newest is overwritten next.
    pub answers: Vec<StoredAnswer>,
    /// The slot that the next answer goes to.
    pub next_slot: u8,
    /// Numbers of updates that were handled.
    pub seen: Seen,
    /// Open or ended.
    pub phase: Phase,
    /// Charges of one-time events, for refunds.
    pub charges: Vec<EventCharge>,
}

/// Open or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Open.
    Open,
    /// Ended by a denial at command level; the client's own stop, with what it used last, may still come.
    Denied {
        /// Until when it is remembered.
        forget_at: Timestamp,
    },
    /// Ended; remembered for a while.
    Ended {
        /// Why.
        cause: Cause,
        /// Until when it is remembered.
        forget_at: Timestamp,
    },
}

/// One service of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceState {
    /// Which.
    pub key: ServiceKey,
    /// What it used and was charged.
    pub rated: Rated,
    /// What it may use now.
    pub grant: Option<GrantState>,
    /// When its unreported usage began, in the client's time: the last report, else the first grant (R41).
    pub since: Timestamp,
    /// When its first used second began, or would have if it had never paused; `None` before one is reported since it got
    /// a grant. Seconds are laid end to end from here (R41).
    pub answered: Option<Timestamp>,
    /// It was denied or got its final units, and waits for money.
    pub waiting: bool,
}

/// A grant in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantState {
    /// The number of the request that it answered.
    pub number: u32,
    /// Units, in the price's measure; micro-units for money that the network rates.
    pub quantity: u64,
    /// When it was given.
    pub at: Timestamp,
    /// Seconds it is valid for.
    pub validity_seconds: u32,
    /// When another price begins, if the client was told to report what it used before and after apart.
    pub switch: Option<Timestamp>,
    /// What is held for it of the session's account.
    pub reservation: Reservation,
    /// What is held for it of the sponsor's.
    pub sponsored: Option<Box<Reservation>>,
}

/// Cumulative usage and charge of one service (R04).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rated {
    /// Per price line used, in order of first use.
    pub lines: SmallVec<[LineState; 1]>,
    /// The place of the line used last.
    pub last: u8,
    /// The connect fee that is due, 0 for none; `None` while that is open (R07).
    pub connect_fee: Option<Money>,
    /// Charged so far, rounded: price lines and money that the network rated.
    pub charged: Money,
    /// Of that, money that the network rated itself.
    pub network_rated: Money,
}

impl Rated {
    /// The line of this key.
    pub fn line(&self, key: LineKey) -> Option<&LineState> {
        self.lines.iter().find(|line| line.key == key)
    }
}

/// Price lines of one service; usage that would need more cannot be rated.
pub const LINES_MAX: usize = 64;

/// Cumulative state of one price line of one service.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LineState {
    /// Which.
    pub key: LineKey,
    /// Raw units used.
    pub used: u64,
    /// Raw units that no unit bucket paid.
    pub unpaid: u64,
    /// Rated units, whole pulses (R05): of all usage for time, of what no bucket paid for volume and events (R19).
    pub rated: u64,
    /// Rated units that money paid for, per tier.
    pub tiers: SmallVec<[u64; 2]>,
}

impl Clone for LineState {
    fn clone(&self) -> Self {
        Self { tiers: SmallVec::from_slice(&self.tiers), ..*self }
    }
}

/// An answer kept for repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The request's kind.
    pub kind: RequestKind,
    /// The request's number.
    pub number: u32,
    /// Digest of its units.
    pub digest: u64,
    /// What it was answered.
    pub outcome: Arc<Outcome>,
}

/// What a one-time event charged to one account for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCharge {
    /// The service.
    pub key: ServiceKey,
    /// Which account was charged.
    pub who: Who,
    /// Its CDR, the first where there are several.
    pub cdr: CdrPosition,
    /// When that usage began; `None` where it was when the session was opened.
    pub began: Option<Timestamp>,
    /// What was counted; `None` for money that the network rated.
    pub measure: Option<Measure>,
    /// Units charged, in that measure; 0 for money that the network rated.
    pub quantity: u64,
    /// Units given back.
    pub refunded: u64,
    /// Amount charged.
    pub amount: Money,
    /// Who paid how much (positive), and how much of it was given back.
    pub parts: Vec<ChargePart>,
}

/// One payer's part of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargePart {
    /// Who paid.
    pub payer: Payer,
    /// What.
    pub holding: Holding,
    /// How much.
    pub amount: i64,
    /// How much of it was given back.
    pub refunded: i64,
}

/// Which request numbers were handled: the highest and the 63 below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The highest number handled.
    pub top: u32,
    /// Bit n: `top - n` was handled. 0 when none was.
    pub bits: u64,
}

/// What is known of a request number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Not handled yet.
    New,
    /// Handled before.
    Handled,
    /// Too far below the highest to know.
    TooOld,
}

impl Seen {
    /// What is known of `number`.
    pub const fn sighting(&self, number: u32) -> Sighting {
        if self.bits == 0 || number > self.top {
            return Sighting::New;
        }
        let below = self.top - number;
        if below >= u64::BITS {
            Sighting::TooOld
        } else if self.bits >> below & 1 == 1 {
            Sighting::Handled
        } else {
            Sighting::New
        }
    }

    /// Notes that `number` was handled.
    pub const fn note(&mut self, number: u32) {
        if self.bits == 0 || number > self.top {
            let up = if self.bits == 0 { 0 } else { number - self.top };
            self.bits = if up >= u64::BITS { 0 } else { self.bits << up } | 1;
            self.top = number;
        } else if self.top - number < u64::BITS {
            self.bits |= 1 << (self.top - number);
        }
    }
}

impl Session {
    /// Whether it is open.
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether it is open and a service of it was denied for want of money or is on its final units.
    pub fn waits(&self) -> bool {
        self.is_open() && self.services.iter().any(|service| service.waiting)
    }

    /// The stored answer of a request.
    pub fn answer(&self, kind: RequestKind, number: u32) -> Option<&StoredAnswer> {
        self.answers.iter().find(|answer| (answer.kind, answer.number) == (kind, number))
    }

    /// Keeps an answer in place of the oldest and returns its slot.
    pub fn keep_answer(&mut self, answer: StoredAnswer) -> u8 {
        let slot = self.next_slot;
        match self.answers.get_mut(usize::from(slot)) {
            Some(place) => *place = answer,
            None => {
                if self.answers.len() == self.answers.capacity() {
                    // Room for half of what may come: most sessions are short, and long remembered.
                    self.answers.reserve_exact(ANSWERS_MAX / 2);
                }
                self.answers.push(answer);
            }
        }
        self.next_slot = if usize::from(slot) + 1 >= ANSWERS_MAX { 0 } else { slot + 1 };
        slot
    }

    /// The longest validity in force, seconds; at least [`VALIDITY_FLOOR_SECONDS`].
    pub fn longest_validity(&self) -> u32 {
        let grants = self.services.iter().filter_map(|service| service.grant.as_ref());
        grants.map(|grant| grant.validity_seconds).max().unwrap_or(IDLE_VALIDITY_SECONDS).max(VALIDITY_FLOOR_SECONDS)
    }

    /// When it expires or is forgotten (design 3.6).
    pub fn deadline(&self) -> Timestamp {
        match self.phase {
            Phase::Open => self.heard.plus_seconds(2 * i64::from(self.longest_validity())),
            Phase::Denied { forget_at } | Phase::Ended { forget_at, .. } => forget_at,
        }
    }

    /// What it was charged in all.
    pub fn charged(&self) -> Money {
        let services = self.services.iter().map(|service| service.rated.charged);
        services.chain(self.charges.iter().map(|charge| charge.amount)).fold(Money::ZERO, Money::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handled_numbers_are_known_within_the_window() {
        let mut seen = Seen::default();
        assert_eq!(seen.sighting(0), Sighting::New);
        for number in [5, 3, 70] {
            seen.note(number);
        }
        for (number, expected) in [
            (70, Sighting::Handled),
            (71, Sighting::New),
            (69, Sighting::New),
            (7, Sighting::New),
            (6, Sighting::TooOld),
            (5, Sighting::TooOld),
        ] {
            assert_eq!(seen.sighting(number), expected, "{number}");
        }
        let mut all = Seen::default();
        (0..64).for_each(|number| all.note(number));
        assert!((0..64).all(|number| all.sighting(number) == Sighting::Handled));
    }
}
