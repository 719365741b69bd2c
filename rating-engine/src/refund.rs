//! What a person gives back of a charge: what is known of the charge, and what of it is left (R29).
//!
//! Pure. Whoever looked at an account's CDRs says what was charged and what was given back since; what is left follows from that
//! alone, part by part. Invariant: over any number of refunds, by persons and by the network, no more goes back than was
//! charged. Absent: the accounts, which only [`crate::shard::Shard`] changes.

use crate::account::Holding;
use crate::cdr::{Cause, CdrKind, CdrSource, Movements, Payer};
use crate::ids::{AccountId, CdrPosition, SessionId, SubscriberId};
use crate::money::Money;
use crate::session::EventCharge;
use crate::time::Timestamp;

/// CDRs that one service of one event may have on an account.
const CHARGES_MAX: usize = 1024;
/// The most that their positions may be apart: another account may have paid slices between them.
const APART_MAX: u64 = 4096;
/// CDRs of an account that are walked back from the newest to the one that is to be given back.
pub const WALK_MAX: usize = 50_000;

/// A charge that is to be given back, as the account's CDRs have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GiveBack {
    /// The CDR that charged it.
    pub position: CdrPosition,
    /// The account that paid.
    pub account: AccountId,
    /// Who used.
    pub subscriber: Option<SubscriberId>,
    /// When the usage began that it charged; `None` where it charged a fee.
    pub used_from: Option<Timestamp>,
    /// The one-time event or usage record that it is of: while that is remembered, it knows what was given back, too.
    pub event: Option<SessionId>,
    /// The CDRs of one service of an event that the account paid, in order, or the one CDR.
    pub charges: Vec<Charge>,
    /// What corrects any of them, in order.
    pub returns: Vec<Return>,
    /// What the account had got back in all when its CDRs were looked at ([`crate::account::Account::given_back`]): if it
    /// got more since, there may be a CDR that was not seen.
    pub given_back: Vec<(Holding, i64)>,
    /// Money to give back; `None` for all that is left, units too.
    pub amount: Option<Money>,
}

/// A CDR that charged something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Which.
    pub position: CdrPosition,
    /// Raw units used.
    pub used: u64,
    /// Who paid.
    pub movements: Movements,
}

/// A CDR that gave something of a charge back, or charged more for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Return {
    /// The CDR that it corrects.
    pub corrects: CdrPosition,
    /// Whether it is of all CDRs that one service of an event has on the account, not of that one: the network names no CDR.
    pub of_all: bool,
    /// Whether it is of a price that was another one (R32), and nothing was given back as such.
    pub is_correction: bool,
    /// What moved.
    pub movements: Movements,
}

/// What a refund has to know of a CDR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What kind.
    pub kind: CdrKind,
    /// Why it was made then.
    pub cause: Cause,
    /// What it corrects.
    pub corrects: Option<CdrPosition>,
    /// The account that paid.
    pub account: AccountId,
    /// The account's CDR before it; 0 for none.
    pub previous: CdrPosition,
    /// Who used.
    pub subscriber: Option<SubscriberId>,
    /// Where it comes from.
    pub source: CdrSource,
    /// When what it is of began.
    pub usage_start: Timestamp,
    /// Which slice of its report it is, and raw units used, where it was rated.
    pub rated: Option<(u16, u64)>,
    /// Who paid, or got back.
    pub movements: Movements,
}

/// Why it is not known what can be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unseen<E> {
    /// There is no such CDR.
    NotThere,
    /// It charges nothing.
    NoCharge,
    /// Too many CDRs followed it on its account, or are of the same charge.
    TooMany,
    /// A CDR could not be read.
    Unreadable(E),
}

impl Seen {
    /// Whether it may be given back: usage, or a fee.
    pub fn is_charge(&self) -> bool {
        matches!(self.kind, CdrKind::Usage | CdrKind::Recurring | CdrKind::OneTime)
    }

    /// The one-time event or usage record that it is of.
    fn event(&self) -> Option<&SessionId> {
        event_of(self.kind, self.cause, &self.source)
    }

    /// Whether it is of the same service of the same request of an event, whoever paid.
    fn is_beside(&self, other: &Self) -> bool {
        match (&self.source, &other.source) {
            (
                CdrSource::Network { session, request, service, .. },
                CdrSource::Network { session: its_session, request: its_request, service: its_service, .. },
            ) => self.event().is_some() && (session, request, service) == (its_session, its_request, its_service),
            (CdrSource::Network { .. } | CdrSource::Operator { .. } | CdrSource::Calendar, _) => false,
        }
    }

    fn slice(&self) -> u16 {
        self.rated.map_or(0, |(slice, _)| slice)
    }

    fn charge(self, position: CdrPosition) -> Charge {
        Charge { position, used: self.rated.map_or(0, |(_, used)| used), movements: self.movements }
    }

    fn correction(self) -> Option<Return> {
        Return::of(self.kind, self.corrects, &self.source, self.movements)
    }
}

impl Return {
    /// What a CDR that says this gave back of another, or charged more for it; `None` where it does neither.
    pub(crate) fn of(
        kind: CdrKind,
        corrects: Option<CdrPosition>,
        source: &CdrSource,
        movements: Movements,
    ) -> Option<Self> {
        let is_one = matches!(kind, CdrKind::Refund | CdrKind::ReRate);
        let corrects = corrects.filter(|_| is_one)?;
        let of_all = kind == CdrKind::Refund && matches!(source, CdrSource::Network { .. });
        Some(Self { corrects, of_all, is_correction: kind == CdrKind::ReRate, movements })
    }
}

impl GiveBack {
    /// What is known of the charge of the CDR at `position`, all or `amount` of which is to be given back. `newest` is the
    /// newest CDR of its account when that had got back `given_back`; `read` reads a CDR.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn gather<E>(
        position: CdrPosition,
        amount: Option<Money>,
        (newest, given_back): (CdrPosition, Vec<(Holding, i64)>),
        mut read: impl FnMut(CdrPosition) -> Result<Option<Seen>, E>,
    ) -> Result<Self, Unseen<E>> {
        let mut there = |position| read(position).map_err(Unseen::Unreadable)?.ok_or(Unseen::NotThere);
        let wanted = there(position)?;
        if !wanted.is_charge() {
            return Err(Unseen::NoCharge);
        }
        let (account, subscriber) = (wanted.account, wanted.subscriber);
        let event = wanted.event().cloned();
        let used_from = (wanted.kind == CdrKind::Usage).then_some(wanted.usage_start);
        let mut charges = Vec::new();
        if event.is_some() {
            // The slices that the account paid stand in a row, but for those of another account.
            let (mut at, mut first) = (position, wanted.clone());
            for _ in 0..wanted.slice() {
                let before = there(first.previous)?;
                if !before.is_beside(&wanted) || before.slice().checked_add(1) != Some(first.slice()) {
                    break;
                }
                (at, first) = (first.previous, before);
            }
            let mut next = Some(first);
            while let Some(seen) = next.take_if(|seen| seen.is_beside(&wanted)) {
                if seen.account == account {
                    let expected =
                        charges.last().map_or(seen.slice(), |(slice, _): &(u16, Charge)| slice.saturating_add(1));
                    if seen.slice() != expected {
                        break;
                    }
                    charges.push((expected, seen.charge(at)));
                }
                if charges.len() > CHARGES_MAX || at.get().saturating_sub(position.get()) > APART_MAX {
                    return Err(Unseen::TooMany);
                }
                at = at.next();
                next = read_on(&mut there, at, newest)?;
            }
        } else {
            charges.push((0, wanted.charge(position)));
        }
        let charges: Vec<Charge> = charges.into_iter().map(|(_, charge)| charge).collect();
        let mut returns = returns_since((newest, position), &mut read)?;
        returns.retain(|back| charges.iter().any(|charge| charge.position == back.corrects));
        Ok(Self { position, account, subscriber, used_from, event, charges, returns, given_back, amount })
    }

    /// Takes into account what corrected CDRs of the account since it was gathered, in order; the account has got back `given_back`
    /// by then.
    pub fn catch_up(&mut self, since: &[Return], given_back: Vec<(Holding, i64)>) {
        let of_it = |back: &&Return| self.charges.iter().any(|charge| charge.position == back.corrects);
        self.returns.extend(since.iter().filter(of_it).cloned());
        self.given_back = given_back;
    }
}

/// What corrects any CDR, of an account's CDRs from `newest` back to `seen`, which is not looked at; in order.
///
/// # Errors
/// Why it is not known.
pub fn returns_since<E>(
    (newest, seen): (CdrPosition, CdrPosition),
    mut read: impl FnMut(CdrPosition) -> Result<Option<Seen>, E>,
) -> Result<Vec<Return>, Unseen<E>> {
    let (mut returns, mut at) = (Vec::new(), newest);
    for walked in 0.. {
        if at <= seen {
            break;
        }
        if walked >= WALK_MAX {
            return Err(Unseen::TooMany);
        }
        let cdr = read(at).map_err(Unseen::Unreadable)?.ok_or(Unseen::NotThere)?;
        at = cdr.previous;
        returns.extend(cdr.correction());
    }
    returns.reverse();
    Ok(returns)
}

/// The one-time event or usage record that a CDR which says this is of.
pub(crate) fn event_of(kind: CdrKind, cause: Cause, source: &CdrSource) -> Option<&SessionId> {
    match source {
        CdrSource::Network { session, .. }
            if kind == CdrKind::Usage && matches!(cause, Cause::Event | Cause::Record) =>
        {
            Some(session)
        }
        CdrSource::Network { .. } | CdrSource::Operator { .. } | CdrSource::Calendar => None,
    }
}

/// The next CDR of the stream, as far as the account's CDRs go.
fn read_on<E>(
    there: &mut impl FnMut(CdrPosition) -> Result<Seen, Unseen<E>>,
    at: CdrPosition,
    newest: CdrPosition,
) -> Result<Option<Seen>, Unseen<E>> {
    if at > newest { Ok(None) } else { there(at).map(Some) }
}

/// What one payer paid of one CDR, and what of it was not given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The CDR's place among the charges.
    pub(crate) charge: usize,
    /// Its place among the parts that the event remembers; `None` for what a correction charged.
    pub(crate) place: Option<usize>,
    pub(crate) payer: Payer,
    pub(crate) holding: Holding,
    pub(crate) amount: i64,
    pub(crate) left: i64,
}

impl GiveBack {
    /// What is left to give back of the CDR, by what it is, as its CDRs say it.
    pub fn left(&self) -> Vec<(Holding, i64)> {
        let wanted = self.wanted();
        let parts = self.parts().into_iter().filter(|part| Some(part.charge) == wanted && part.left > 0);
        parts.map(|part| (part.holding, part.left)).collect()
    }

    /// Money that is left of the CDR's charge, with what corrections charged more; `None` where it does not fit.
    pub(crate) fn money_left(&self) -> Option<Money> {
        let money = self.left().into_iter().filter(|(holding, _)| *holding == Holding::Money);
        money.into_iter().try_fold(Money::ZERO, |sum, (_, left)| sum.checked_add(Money::from_micros(left)))
    }

    /// The place of the CDR among the charges.
    pub(crate) fn wanted(&self) -> Option<usize> {
        self.charges.iter().position(|charge| charge.position == self.position)
    }

    /// What is left of every part. What was paid last went back first.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut places = 0..;
        for (charge, of_it) in self.charges.iter().enumerate() {
            for movement in &of_it.movements {
                let (place, amount) = (places.next(), movement.delta.saturating_neg().max(0));
                let (payer, holding) = (movement.payer.clone(), movement.holding);
                parts.push(Part { charge, place, payer, holding, amount, left: amount });
            }
        }
        for of_it in &self.returns {
            let corrected = self.charges.iter().position(|charge| charge.position == of_it.corrects);
            for movement in &of_it.movements {
                let (payer, holding, delta) = (movement.payer.clone(), movement.holding, movement.delta);
                match corrected {
                    Some(charge) if delta < 0 => {
                        let amount = delta.saturating_neg();
                        parts.push(Part { charge, place: None, payer, holding, amount, left: amount });
                    }
                    Some(charge) => {
                        // The network knows of what the event charged, not of what corrections charged more.
                        let is_of_it =
                            |part: &Part| if of_it.of_all { part.place.is_some() } else { part.charge == charge };
                        let chosen = |part: &Part| part.holding == holding && is_of_it(part);
                        take_last(&mut parts, chosen, delta);
                    }
                    None => {}
                }
            }
        }
        parts
    }

    /// Which parts of the wanted CDR go back, and how much of each; `None` when there is not so much left.
    pub(crate) fn choose(&self, parts: &[Part], wanted: usize) -> Option<Vec<(usize, i64)>> {
        let of_it = parts.iter().enumerate().filter(|(_, part)| part.charge == wanted && part.left > 0);
        let mut chosen = Vec::new();
        match self.amount {
            None => chosen.extend(of_it.map(|(place, part)| (place, part.left))),
            Some(amount) => {
                let mut missing = amount.micros();
                for (place, part) in of_it.rev().filter(|(_, part)| part.holding == Holding::Money) {
                    let back = part.left.min(missing);
                    missing -= back;
                    if back > 0 {
                        chosen.push((place, back));
                    }
                }
                if missing != 0 {
                    return None;
                }
            }
        }
        (!chosen.is_empty()).then_some(chosen)
    }

    /// Takes off what an event says was given back of it. `false` when it was charged otherwise than the CDRs say.
    pub(crate) fn agree(parts: &mut [Part], known: &EventCharge) -> bool {
        let of_event = parts.iter_mut().filter_map(|part| Some((part.place?, part)));
        let mut count = 0;
        for (place, part) in of_event {
            count += 1;
            let same = |other: &&crate::session::ChargePart| {
                (&other.payer, other.holding, other.amount) == (&part.payer, part.holding, part.amount)
            };
            let Some(known) = known.parts.get(place).filter(same) else { return false };
            part.left = part.left.min(known.amount.saturating_sub(known.refunded).max(0));
        }
        count == known.parts.len()
    }

    /// Has the event know what was given back of it.
    pub(crate) fn note(&self, parts: &[Part], wanted: usize, known: &mut EventCharge) {
        for part in parts {
            if let Some(known) = part.place.and_then(|place| known.parts.get_mut(place)) {
                known.refunded = known.refunded.max(known.amount.saturating_sub(part.left));
            }
        }
        let units = match (self.amount, self.charges.get(wanted)) {
            _ if parts.iter().all(|part| part.left == 0) => known.quantity,
            (None, Some(charge)) => charge.used,
            (Some(_), _) | (None, None) => 0,
        };
        known.refunded = known.refunded.saturating_add(units).min(known.quantity);
    }
}

/// Takes `back` off the parts that are chosen, the last first.
fn take_last(parts: &mut [Part], chosen: impl Fn(&Part) -> bool, mut back: i64) {
    for part in parts.iter_mut().rev().filter(|part| chosen(part)) {
        let of_it = part.left.min(back);
        part.left -= of_it;
        back -= of_it;
    }
}
