//! Pricing: what a report costs and what a grant holds. The only code that turns quantities into money.
//!
//! [`settle`] works on the cumulative usage of a service, so that the price does not depend on how often the client
//! reports (R04). [`afford`] says how much of a wanted quantity can be paid and what must be held for it (R22). Both look
//! first and touch afterwards: what they return as an error has changed nothing.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::account::{Account, Counters, Flow, Holding, Holds, Means, Paying, Place, Purpose, Wallet, Who};
use crate::cdr::{Component, Movement, Movements, Payer, PriceLine, PriceLines};
use crate::money::{Exact, Money, Rounding, RoundingScope, round};
use crate::session::{LINES_MAX, LineState, Rated};
use crate::tariff::{Price, Pulse, TariffVersion, TierScope};
use crate::tariffs::{Applied, Book, LineKey, Pricing};
use crate::time::Timestamp;
use crate::units::Unit;

/// Why something cannot be rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RatingError {
    /// No price matches, or the report does not carry what the price counts.
    NoPrice,
    /// An amount or quantity does not fit.
    OutOfRange,
}

/// What one slice of a report cost: usage of one price line, paid at one instant or by one set of buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The version and the place of the price in it.
    pub tariff: Arc<TariffVersion>,
    /// The price line.
    pub line: LineKey,
    /// When its usage began.
    pub at: Timestamp,
    /// Raw units used in it.
    pub used: u64,
    /// Raw units used of the line before.
    pub used_before: u64,
    /// Rated units of the line before.
    pub rated_before: u64,
    /// The increase of rated units.
    pub rated: u64,
    /// Where in the tiers those of them begin that money pays for: so many were counted before (R09).
    pub tier_from: u64,
    /// Charged to the service before.
    pub charged_before: Money,
    /// The increase of the charge, rounded.
    pub amount: Money,
    /// Which account paid.
    pub who: Who,
    /// What of it paid: units first, then money.
    pub movements: Movements,
    /// Components that grew.
    pub lines: PriceLines,
}

impl Slice {
    /// Takes over what follows it in the same price line.
    fn join(&mut self, next: Self) {
        self.used = self.used.saturating_add(next.used);
        self.rated = self.rated.saturating_add(next.rated);
        self.amount = self.amount.saturating_add(next.amount);
        self.movements.extend(next.movements);
        self.lines.extend(next.lines);
    }

    /// The price that won.
    pub fn price(&self) -> Option<&Price> {
        self.tariff.prices().get(usize::from(self.line.price))
    }
}

/// The slices of one report: nearly always one.
pub type Slices = SmallVec<[Slice; 1]>;

/// Slices of one report; what would take more cannot be rated.
pub const SLICES_MAX: usize = 512;

/// A priced increase that has not been paid yet.
#[derive(Clone, Debug)]
struct Priced {
    line: LineState,
    connect_fee: Option<Money>,
    from_buckets: u64,
    total: Money,
    lines: PriceLines,
    rated: u64,
    tier_from: u64,
}

/// So much usage of one price.
#[derive(Clone, Copy)]
struct Portion<'a> {
    applied: Applied<'a>,
    /// When it began.
    at: Timestamp,
    /// When what is to be paid of it began: seconds of a pulse that was begun before are paid.
    paid_from: Timestamp,
    /// Raw units.
    used: u64,
    /// Rated seconds; other units are rounded to pulses per line.
    seconds: u64,
}

impl Portion<'_> {
    /// What of it is to be paid, in units.
    const fn payable(&self) -> u64 {
        match self.applied.price.measure.unit() {
            Unit::Second => self.seconds,
            Unit::Octet | Unit::Event => self.used,
        }
    }

    /// So many of the units to be paid, and the rest.
    fn split_at(self, units: u64) -> (Self, Self) {
        let used = units.min(self.used);
        if self.applied.price.measure.unit() != Unit::Second {
            return (Self { used, ..self }, Self { used: self.used - used, ..self });
        }
        let later = |at: Timestamp, seconds: u64| at.plus_seconds(i64::try_from(seconds).unwrap_or(i64::MAX));
        let tail = Self {
            at: later(self.at, used),
            paid_from: later(self.paid_from, units),
            used: self.used - used,
            seconds: self.seconds.saturating_sub(units),
            ..self
        };
        (Self { used, seconds: units.min(self.seconds), ..self }, tail)
    }
}

/// Prices `quantity` more units that were used from `at` on and takes them from the account (R02 to R09, R12, R13, R17 to
/// R19, R23, R41). Adds to `slices`. `applied` is the price at `at`.
///
/// # Errors
/// Nothing of account and usage has changed: no price matches at some instant of it, or the prices there count different
/// units, or an amount does not fit.
pub fn settle(
    means: &mut Means<'_>,
    pricing: &Pricing<'_>,
    rated: &mut Rated,
    quantity: u64,
    at: Timestamp,
    applied: Applied<'_>,
    slices: &mut Slices,
) -> Result<(), RatingError> {
    let mut laid = match applied.price.measure.unit() {
        Unit::Second => Some(Laid::new(&pricing.book, rated, quantity, at)?),
        Unit::Octet | Unit::Event => None,
    };
    let mut portion = match &mut laid {
        Some(laid) => laid.next(means, pricing, rated)?,
        None => Portion { applied, at, paid_from: at, used: quantity, seconds: 0 },
    };
    let is_last = |laid: &Option<Laid>| laid.as_ref().is_none_or(Laid::is_done);
    if is_last(&laid)
        && let Paying::Only(who) = portion.applied.paid_by(means)
    {
        slices.push(settle_portion(means, pricing, rated, portion, who)?);
        return Ok(());
    }
    // Beside the originals, so that a later part that cannot be rated leaves nothing of the earlier ones.
    let (mut aside, mut counted, before) = (means.aside(), rated.clone(), slices.len());
    let mut paying = aside.means(means.terms());
    loop {
        for (who, portion) in shares(&paying, pricing, &counted, portion)? {
            if slices.len() >= SLICES_MAX {
                return Err(RatingError::OutOfRange);
            }
            let slice = settle_portion(&mut paying, pricing, &mut counted, portion, who)?;
            match slices.get_mut(before..).and_then(<[Slice]>::last_mut) {
                // Only other buckets pay.
                Some(last)
                    if (last.line, last.who) == (slice.line, slice.who)
                        && pricing.book.is_one_period(last.at, slice.at) =>
                {
                    last.join(slice);
                }
                _ => slices.push(slice),
            }
        }
        match laid.as_mut().filter(|laid| !laid.is_done()) {
            Some(laid) => portion = laid.next(&paying, pricing, &counted)?,
            None => break,
        }
    }
    means.adopt(aside);
    *rated = counted;
    Ok(())
}

/// A portion as its payers share it: what the sponsor's buckets can pay of it, and the rest (R40).
fn shares<'a>(
    means: &Means<'_>,
    pricing: &Pricing<'a>,
    rated: &Rated,
    portion: Portion<'a>,
) -> Result<SmallVec<[(Who, Portion<'a>); 2]>, RatingError> {
    let mut shares = SmallVec::new();
    let allowed = match portion.applied.paid_by(means) {
        Paying::Only(who) => {
            shares.push((who, portion));
            return Ok(shares);
        }
        Paying::AllowanceFirst => allowed(means, pricing, rated, portion)?,
    };
    let (head, tail) = portion.split_at(allowed);
    if allowed > 0 {
        shares.push((Who::Sponsor, head));
    }
    if allowed == 0 || tail.used > 0 || tail.seconds > 0 {
        shares.push((Who::Own, tail));
    }
    Ok(shares)
}

/// How much of a portion the sponsor's buckets can pay without going below zero: units, then whole pulses of money.
fn allowed(means: &Means<'_>, pricing: &Pricing<'_>, rated: &Rated, portion: Portion<'_>) -> Result<u64, RatingError> {
    if portion.applied.price.zero_rated {
        return Ok(0);
    }
    let wanted = portion.payable();
    let mut left_alone = means.of(Who::Sponsor).clone();
    // A fee, or the rounding of all of it, may take what pulses alone would have left: looked at once more without that.
    for _ in 0..2 {
        let wallet = Wallet { account: &left_alone, counters: means.counters, on_credit: false };
        let mut draw = Draw::new(means.counters, pricing, portion.applied, rated, wanted, portion.paid_from);
        let held = money_held(&left_alone, &draw.from(wallet));
        let allowed = wanted - draw.left;
        if allowed == 0 {
            break;
        }
        let (head, _) = portion.split_at(allowed);
        let mut aside = means.aside();
        let mut paying = aside.means(means.terms());
        let slice = settle_portion(&mut paying, pricing, &mut rated.clone(), head, Who::Sponsor)?;
        let credit = |movement: &&Movement| movement.payer == Payer::Credit;
        let on_credit = slice.movements.iter().find(credit).map_or(0, |movement| movement.delta.saturating_neg());
        let owed = paying.of(Who::Sponsor).owed().saturating_sub(means.of(Who::Sponsor).owed());
        let short = owed.saturating_add(Money::from_micros(on_credit));
        if short <= Money::ZERO {
            return Ok(allowed);
        }
        let beyond = slice.amount.saturating_sub(held).max(short);
        let (_, holds) = afford_money(wallet, beyond, pricing.purpose(portion.paid_from));
        let _held = left_alone.reserve(&holds);
    }
    Ok(0)
}

/// Seconds laid end to end, pulse after pulse: each pulse belongs to the price, the window and the buckets of the instant
/// it starts at (R12, R17, R41), whichever report it comes in.
struct Laid {
    /// When the second number [`Self::used`] began.
    at: Timestamp,
    /// Seconds used so far.
    used: u64,
    /// Seconds used in the end.
    end: u64,
    /// Seconds in pulses that were begun: at least as many as were used.
    begun: u64,
}

impl Laid {
    fn new(book: &Book<'_>, rated: &Rated, quantity: u64, at: Timestamp) -> Result<Self, RatingError> {
        let (mut used, mut begun) = (0u64, 0u64);
        for line in &rated.lines {
            let price = book.price_of(line).ok_or(RatingError::NoPrice)?;
            if price.measure.unit() == Unit::Second {
                used = used.saturating_add(line.used);
                // Where nothing is charged, nothing is rounded.
                begun = begun.saturating_add(if price.zero_rated { line.used } else { line.rated });
            }
        }
        let end = used.checked_add(quantity).ok_or(RatingError::OutOfRange)?;
        Ok(Self { at, used, end, begun: begun.max(used) })
    }

    const fn is_done(&self) -> bool {
        self.used == self.end
    }

    /// When the second of this number began.
    fn instant(&self, second: u64) -> Result<Timestamp, RatingError> {
        let seconds = i64::try_from(second.saturating_sub(self.used)).map_err(|_| RatingError::OutOfRange)?;
        Ok(self.at.plus_seconds(seconds))
    }

    /// As many of the next pulses as one price and one set of buckets are for.
    fn next<'a>(
        &mut self,
        means: &Means<'_>,
        pricing: &Pricing<'a>,
        rated: &Rated,
    ) -> Result<Portion<'a>, RatingError> {
        let start = self.instant(self.begun)?;
        let last = rated.lines.get(usize::from(rated.last)).filter(|_| self.begun > self.used);
        let last = last.and_then(|last| pricing.book.applied(last.key));
        let next = if self.end > self.begun { Some(pricing.at(start).ok_or(RatingError::NoPrice)?) } else { None };
        let applied = match (last, next) {
            // Seconds of a pulse that was begun before are its own: a part by themselves where another price follows.
            (Some(last), next) if next.is_none_or(|next| next.line() != last.line()) => {
                let (at, before) = (self.at, self.used);
                let used = self.end.min(self.begun);
                self.at = self.instant(used)?;
                self.used = used;
                return Ok(Portion { applied: last, at, paid_from: at, used: used - before, seconds: 0 });
            }
            (_, Some(next)) => next,
            (_, None) => pricing.at(self.at).ok_or(RatingError::NoPrice)?,
        };
        let price = applied.price;
        if price.measure.unit() != Unit::Second {
            return Err(RatingError::NoPrice);
        }
        let wanted = self.end.saturating_sub(self.begun);
        let buckets = means.accounts().flat_map(|account| &account.buckets);
        let buckets = buckets.flat_map(|bucket| [bucket.valid_from, bucket.valid_to]);
        let edges = buckets.filter(|edge| !price.zero_rated && *edge > start);
        let edges = edges.chain([applied.until]).chain(cycle_end(means, applied, start));
        let edge = edges.min().unwrap_or(Timestamp::NEVER);
        let room = if edge == Timestamp::NEVER { u64::MAX } else { edge.seconds_since(start) };
        let seconds = if price.zero_rated {
            wanted.min(room)
        } else {
            let pulse = if self.begun == 0 { price.pulse } else { price.pulse.following() };
            // Every pulse that starts before the edge, up to the one that the last second is in.
            let pulses = pulse.pulses(wanted).min(pulse.pulses(room));
            if wanted == 0 { 0 } else { pulse.checked_quantity(pulses).ok_or(RatingError::OutOfRange)? }
        };
        let (at, before) = (self.at, self.used);
        let begun = self.begun.checked_add(seconds).ok_or(RatingError::OutOfRange)?;
        let used = self.end.min(begun);
        self.at = self.instant(used)?;
        (self.used, self.begun) = (used, begun);
        Ok(Portion { applied, at, paid_from: start, used: used - before, seconds })
    }
}

/// Prices what belongs to one price line, and takes it from one account.
fn settle_portion(
    means: &mut Means<'_>,
    pricing: &Pricing<'_>,
    rated: &mut Rated,
    portion: Portion<'_>,
    who: Who,
) -> Result<Slice, RatingError> {
    let Portion { applied, at, paid_from, used, .. } = portion;
    let (key, unit) = (applied.line(), applied.price.measure.unit());
    let purpose = pricing.purpose(paid_from);
    let place = rated.lines.iter().position(|line| line.key == key);
    let last = place.unwrap_or(rated.lines.len());
    let last = u8::try_from(last).ok().filter(|_| last < LINES_MAX).ok_or(RatingError::OutOfRange)?;
    let fresh = LineState { key, ..LineState::default() };
    let before = place.and_then(|place| rated.lines.get(place)).unwrap_or(&fresh);
    let (used_before, rated_before, charged_before) = (before.used, before.rated, rated.charged);
    let priced = price_increase(means.wallet(who), &pricing.book, rated, before, portion, purpose)?;
    let account = means.of_mut(who);
    let amount = priced.total.checked_sub(rated.charged).ok_or(RatingError::OutOfRange)?.max(Money::ZERO);
    let charged = rated.charged.checked_add(amount).ok_or(RatingError::OutOfRange)?;
    let quantity = i64::try_from(priced.from_buckets).ok();
    let countable = quantity.and_then(|taken| account.countable(Holding::Units(unit), Flow::Debit, taken));
    countable.ok_or(RatingError::OutOfRange)?;
    // Nothing has changed so far. Money first, because it alone can refuse; units were counted from this very state.
    let paid = account.take_money(amount, purpose).ok_or(RatingError::OutOfRange)?;
    let mut movements = means.take_units(who, unit, priced.from_buckets, purpose);
    if movements.is_empty() {
        movements = paid;
    } else if !paid.is_empty() {
        movements.extend(paid);
    }
    if let TierScope::Cycle(counter) = &applied.price.tier_scope
        && priced.rated > 0
    {
        let cycle = means.cycle(paid_from, applied.version.zone());
        means.counters.count(counter, unit, priced.rated, paid_from, cycle);
    }
    if let Some(counter) = &applied.price.pool {
        means.pool(counter, used);
    }
    (rated.charged, rated.connect_fee, rated.last) = (charged, priced.connect_fee, last);
    match place.and_then(|place| rated.lines.get_mut(place)) {
        Some(line) => *line = priced.line,
        None => rated.lines.push(priced.line),
    }
    Ok(Slice {
        tariff: applied.version.clone(),
        line: key,
        at,
        used,
        used_before,
        rated_before,
        rated: priced.rated,
        tier_from: priced.tier_from,
        charged_before,
        amount,
        who,
        movements,
        lines: priced.lines,
    })
}

fn price_increase(
    wallet: Wallet<'_>,
    book: &Book<'_>,
    rated: &Rated,
    before: &LineState,
    portion: Portion<'_>,
    purpose: Purpose<'_>,
) -> Result<Priced, RatingError> {
    let Portion { applied: Applied { price, window, .. }, used: quantity, seconds, .. } = portion;
    let mut line = before.clone();
    line.used = line.used.checked_add(quantity).ok_or(RatingError::OutOfRange)?;
    let connect_fee = rated.connect_fee;
    if price.zero_rated {
        let (total, lines) = (rated.charged, PriceLines::new());
        return Ok(Priced { line, connect_fee, from_buckets: 0, total, lines, rated: 0, tier_from: 0 });
    }
    let unit = price.measure.unit();
    let free = wallet.units(unit, purpose).fold(0u64, |sum, (_, free)| sum.saturating_add(free));
    let reached = reached(wallet.counters, book, rated, portion.applied, purpose.at);
    let (from_buckets, paid_from, paid) = match unit {
        // Buckets pay rated seconds, and those seconds count towards the tiers (R09, R18).
        Unit::Second => {
            line.rated = line.rated.checked_add(seconds).ok_or(RatingError::OutOfRange)?;
            let from_buckets = seconds.min(free);
            line.unpaid = line.unpaid.saturating_add(seconds - from_buckets);
            (from_buckets, reached.saturating_add(from_buckets), seconds - from_buckets)
        }
        // Buckets pay actual octets and events; the rest has pulses and tiers of its own (R09, R19).
        Unit::Octet | Unit::Event => {
            let from_buckets = quantity.min(free);
            line.unpaid = line.unpaid.checked_add(quantity - from_buckets).ok_or(RatingError::OutOfRange)?;
            line.rated = price.pulse.round_up(line.unpaid).ok_or(RatingError::OutOfRange)?;
            (from_buckets, reached, line.rated.saturating_sub(before.rated))
        }
    };
    let mut lines = PriceLines::new();
    let key = line.key;
    let others = || rated.lines.iter().filter(move |other| other.key != key);
    let connect_fee = match connect_fee {
        None if quantity > 0 => {
            // The fee is that of the first line, at the window then in force (R07).
            let first = rated.lines.first().unwrap_or(&line);
            let of_first = if first.key == line.key {
                portion.applied
            } else {
                book.applied(first.key).ok_or(RatingError::NoPrice)?
            };
            let first_price = of_first.price;
            let fee = *first_price.connect_fee.get(first.key.window);
            // The fee of a first pulse that buckets pay in full is only due where the price says so (R07). Octets reach
            // the end of that pulse in as many reports as they like: until then, and while buckets pay, it is open (R04).
            let (bundled, paid_by_money) = match unit {
                Unit::Second => (from_buckets >= first_price.pulse.first(), true),
                Unit::Octet | Unit::Event => {
                    let used = others().fold(line.used, |sum, other| sum.saturating_add(other.used));
                    let unpaid = others().fold(line.unpaid, |sum, other| sum.saturating_add(other.unpaid));
                    (used.saturating_sub(unpaid) >= first_price.pulse.first(), unpaid > 0)
                }
            };
            let fee_when_bundled = first_price.connect_fee_when_bundled;
            let due = if !bundled || fee_when_bundled { fee } else { Money::ZERO };
            let decided = bundled || paid_by_money || fee_when_bundled;
            if decided && due > Money::ZERO {
                let exact = of_first.converted(Exact::from_money(due)).ok_or(RatingError::OutOfRange)?;
                lines.push(PriceLine { component: Component::ConnectFee, quantity: 0, exact });
            }
            decided.then_some(due)
        }
        decided => decided,
    };
    let tiers = price.tiers.get(window);
    tiers.split(paid_from, paid, |number, part| {
        if line.tiers.len() <= number {
            line.tiers.resize(number + 1, 0);
        }
        if let (Some(total), Some(tier)) = (line.tiers.get_mut(number), tiers.as_slice().get(number)) {
            *total = total.saturating_add(part);
            let exact = tier.rate.price(part).and_then(|exact| portion.applied.converted(exact));
            if let (Ok(number), Some(exact)) = (u16::try_from(number), exact) {
                lines.push(PriceLine { component: Component::Tier(number), quantity: part, exact });
            }
        }
    });
    let fee = match connect_fee {
        Some(fee) if fee > Money::ZERO => {
            let first = rated.lines.first().unwrap_or(&line);
            let first =
                if first.key == key { portion.applied } else { book.applied(first.key).ok_or(RatingError::NoPrice)? };
            first.converted(Exact::from_money(fee)).ok_or(RatingError::OutOfRange)?
        }
        Some(_) | None => Exact::ZERO,
    };
    let total = total(book, portion.applied, others().chain(std::iter::once(&line)), fee)?;
    let total = total.checked_add(rated.network_rated).ok_or(RatingError::OutOfRange)?;
    let rated_increase = line.rated.saturating_sub(before.rated);
    Ok(Priced { line, connect_fee, from_buckets, total, lines, rated: rated_increase, tier_from: paid_from })
}

/// The rated units of a price so far, whatever the window or version: where its tiers go on for what is used at `at` (R09).
fn reached(counters: &Counters, book: &Book<'_>, rated: &Rated, applied: Applied<'_>, at: Timestamp) -> u64 {
    if let TierScope::Cycle(counter) = &applied.price.tier_scope {
        return counters.used(counter, at);
    }
    let is_same = |line: &&LineState| {
        line.key == applied.line() || book.price_of(line).is_some_and(|other| other.id == applied.price.id)
    };
    let of_price = rated.lines.iter().filter(is_same);
    of_price.fold(0, |sum, line| sum.saturating_add(line.rated))
}

/// When the cycle ends that tiers are counted in, where they are (R09, R12).
pub fn cycle_end(means: &Means<'_>, applied: Applied<'_>, at: Timestamp) -> Option<Timestamp> {
    match applied.price.tier_scope {
        TierScope::Session => None,
        TierScope::Cycle(_) => Some(means.cycle(at, applied.version.zone()).1),
    }
}

/// The rounded charge of all lines of a service (R02, R08, R36), by the rounding and limits of what was used last.
fn total<'a>(
    book: &Book<'_>,
    applied: Applied<'_>,
    lines: impl Iterator<Item = &'a LineState>,
    connect_fee: Exact,
) -> Result<Money, RatingError> {
    let scope = applied.version.rounding().scope();
    let rounding = |applied: Applied<'_>| match scope {
        RoundingScope::Line | RoundingScope::Event => applied.rounding(),
        RoundingScope::Bill => Rounding::MICRO,
    };
    let mut exact = Exact::ZERO;
    let mut sum = Money::ZERO;
    let mut add = |component: Option<Exact>, rounding: Rounding| {
        let component = component.ok_or(RatingError::OutOfRange)?;
        match scope {
            RoundingScope::Line => {
                let rounded = round(component, rounding).ok_or(RatingError::OutOfRange)?;
                sum = sum.checked_add(rounded).ok_or(RatingError::OutOfRange)?;
            }
            RoundingScope::Event | RoundingScope::Bill => {
                exact = exact.checked_add(component).ok_or(RatingError::OutOfRange)?;
            }
        }
        Ok(())
    };
    add(Some(connect_fee), rounding(applied))?;
    for line in lines {
        let of_line =
            if line.key == applied.line() { applied } else { book.applied(line.key).ok_or(RatingError::NoPrice)? };
        for (tier, quantity) in of_line.price.tiers.get(line.key.window).as_slice().iter().zip(&line.tiers) {
            add(tier.rate.price(*quantity).and_then(|exact| of_line.converted(exact)), rounding(of_line))?;
        }
    }
    if scope != RoundingScope::Line {
        sum = round(exact, rounding(applied)).ok_or(RatingError::OutOfRange)?;
    }
    if sum > Money::ZERO {
        let limit = |amount: Option<Money>| amount.map(|amount| limit(applied, amount)).transpose();
        sum = limit(applied.price.min_charge)?.map_or(sum, |least| sum.max(least));
        sum = limit(applied.price.max_charge)?.map_or(sum, |most| sum.min(most));
    }
    Ok(sum)
}

/// A limit of charges in the account's currency.
fn limit(applied: Applied<'_>, amount: Money) -> Result<Money, RatingError> {
    if applied.rate == 0 {
        return Ok(amount);
    }
    let exact = applied.converted(Exact::from_money(amount));
    exact.and_then(|exact| round(exact, applied.rounding())).ok_or(RatingError::OutOfRange)
}

/// What can be paid of a wanted quantity, and what to hold for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affordable {
    /// Units that can be paid; at most what was wanted.
    pub quantity: u64,
    /// What to hold of the subscriber's own account, in order.
    pub holds: Holds,
    /// What to hold of the sponsor's.
    pub sponsored: Holds,
    /// When the first of the buckets that hold it stops paying.
    pub valid_to: Timestamp,
}

/// How much of `wanted` units can be paid (R22), account by account: unit buckets first, unit by unit; then money purse by
/// purse, whole pulses from each, counted from a fresh pulse and without connect fee, at the tier the service has reached.
/// What is free, also beyond the most that the price takes (R08), needs no purse. `applied` is the price at `at`.
pub fn afford(
    means: &Means<'_>,
    pricing: &Pricing<'_>,
    applied: Applied<'_>,
    rated: &Rated,
    wanted: u64,
    at: Timestamp,
) -> Affordable {
    let (holds, sponsored) = (Holds::new(), Holds::new());
    let mut result = Affordable { quantity: wanted, holds, sponsored, valid_to: Timestamp::NEVER };
    if applied.price.zero_rated {
        return result;
    }
    let mut draw = Draw::new(means.counters, pricing, applied, rated, wanted, at);
    for (who, wallet) in means.wallets(applied.paid_by(means)) {
        let holds = draw.from(wallet);
        for (place, _) in &holds {
            if let Place::Bucket(number) = place
                && let Some(bucket) = wallet.account.buckets.get(*number)
            {
                result.valid_to = result.valid_to.min(bucket.valid_to);
            }
        }
        match who {
            Who::Own => result.holds = holds,
            Who::Sponsor => result.sponsored = holds,
        }
    }
    result.quantity = wanted - draw.left;
    result
}

/// Looks for what can pay a wanted quantity, in one account after the other.
struct Draw<'a> {
    applied: Applied<'a>,
    purpose: Purpose<'a>,
    /// Units that nothing pays so far.
    left: u64,
    /// Where in the tiers they begin.
    reached: u64,
    /// Money that the price may still take (R08).
    room: Money,
    /// After the first pulse the call goes on: what follows is no first pulse any more.
    pulse: Pulse,
}

impl<'a> Draw<'a> {
    fn new(
        counters: &Counters,
        pricing: &Pricing<'a>,
        applied: Applied<'a>,
        rated: &Rated,
        wanted: u64,
        at: Timestamp,
    ) -> Self {
        let charged = rated.charged.saturating_sub(rated.network_rated);
        let most = applied.price.max_charge.and_then(|most| limit(applied, most).ok());
        Self {
            applied,
            purpose: pricing.purpose(at),
            left: wanted,
            reached: reached(counters, &pricing.book, rated, applied, at),
            room: most.map_or(Money::MAX, |most| most.saturating_sub(charged).max(Money::ZERO)),
            pulse: applied.price.pulse,
        }
    }

    /// What is to be held of this account.
    fn from(&mut self, wallet: Wallet<'_>) -> Holds {
        let Applied { price, window, .. } = self.applied;
        let mut holds = Holds::new();
        let wanted = self.left;
        for (number, free) in wallet.units(price.measure.unit(), self.purpose) {
            if self.left == 0 {
                break;
            }
            let taken = free.min(self.left);
            self.left -= taken;
            holds.push((Place::Bucket(number), i64::try_from(taken).unwrap_or(i64::MAX)));
        }
        if price.measure.unit() == Unit::Second {
            self.reached = self.reached.saturating_add(wanted - self.left);
        }
        let (applied, tiers) = (self.applied, price.tiers.get(window));
        let cost = |from: u64, quantity: u64, room: Money| {
            let exact = tiers.price(from, quantity).and_then(|exact| applied.converted(exact));
            let cost = exact.and_then(Exact::ceil);
            if price.max_charge.is_some() { Some(cost.map_or(room, |cost| cost.min(room))) } else { cost }
        };
        if self.room == Money::ZERO || tiers.is_free_at(self.reached) {
            let free = |whole| cost(self.reached, whole, self.room).filter(|cost| *cost == Money::ZERO);
            if let Some((whole, _)) = most_pulses(self.pulse, self.left, free) {
                self.goes_on(whole);
            }
        }
        for purse in wallet.purses(self.purpose) {
            if self.left == 0 {
                break;
            }
            if purse.available <= Money::ZERO {
                continue;
            }
            let affordable = |whole| cost(self.reached, whole, self.room).filter(|cost| *cost <= purse.available);
            let Some((whole, hold)) = most_pulses(self.pulse, self.left, affordable) else { continue };
            holds.push((purse.place, hold.micros()));
            self.room = self.room.saturating_sub(hold);
            self.goes_on(whole);
        }
        holds
    }

    fn goes_on(&mut self, whole: u64) {
        self.left = self.left.saturating_sub(whole);
        self.reached = self.reached.saturating_add(whole);
        self.pulse = self.applied.price.pulse.following();
    }
}

impl Affordable {
    /// The money that it holds.
    pub fn money(&self, means: &Means<'_>) -> Money {
        let own = money_held(means.of(Who::Own), &self.holds);
        own.saturating_add(money_held(means.of(Who::Sponsor), &self.sponsored))
    }
}

/// The money in `holds`.
fn money_held(account: &Account, holds: &Holds) -> Money {
    let is_money = |place: &Place| match place {
        Place::Bucket(number) => account.buckets.get(*number).is_some_and(|bucket| bucket.holding == Holding::Money),
        Place::Credit => true,
    };
    let money = holds.iter().filter(|(place, _)| is_money(place));
    money.fold(Money::ZERO, |sum, (_, amount)| sum.saturating_add(Money::from_micros(*amount)))
}

/// Whether the account can pay `wanted` units and more, by a rough look that never says so when it cannot: unit buckets,
/// then all money at the price of what is left.
pub fn is_ample(
    means: &Means<'_>,
    pricing: &Pricing<'_>,
    applied: Applied<'_>,
    rated: &Rated,
    wanted: u64,
    at: Timestamp,
) -> bool {
    let (Applied { price, window, .. }, purpose) = (applied, pricing.purpose(at));
    // Of several accounts the last must do.
    let Some((_, wallet)) = means.wallets(applied.paid_by(means)).last() else { return false };
    let units = wallet.units(price.measure.unit(), purpose);
    let left = units.fold(wanted, |left, (_, free)| left.saturating_sub(free));
    if left == 0 || price.zero_rated {
        return true;
    }
    let bundled = if price.measure.unit() == Unit::Second { wanted - left } else { 0 };
    let reached = reached(means.counters, &pricing.book, rated, applied, at).saturating_add(bundled);
    let Some(whole) = price.pulse.round_up(left) else { return false };
    let exact = price.tiers.get(window).price(reached, whole).and_then(|exact| applied.converted(exact));
    let Some(cost) = exact.and_then(Exact::ceil) else { return false };
    // Several purses may be too small for a pulse each: one must do.
    wallet.purses(purpose).any(|purse| purse.available >= cost)
}

/// The quantity of the most whole pulses, at most those that `wanted` reaches into, that are affordable, and their cost;
/// `None` when not even one is. Affordability is monotone: `affordable` gives a quantity's cost as long as it is.
fn most_pulses(pulse: Pulse, wanted: u64, affordable: impl Fn(u64) -> Option<Money>) -> Option<(u64, Money)> {
    let all = pulse.pulses(wanted);
    let whole = pulse.quantity(all);
    if all == 0 {
        return None;
    }
    if let Some(cost) = affordable(whole) {
        return Some((whole, cost));
    }
    if all == 1 {
        return None;
    }
    // Mostly nothing at all is affordable: one look tells.
    let mut best = (pulse.quantity(1), affordable(pulse.quantity(1))?);
    let (mut yes, mut no) = (1, all);
    while no - yes > 1 {
        let middle = yes + (no - yes) / 2;
        let whole = pulse.quantity(middle);
        if let Some(cost) = affordable(whole) {
            (yes, best) = (middle, (whole, cost));
        } else {
            no = middle;
        }
    }
    Some(best)
}

/// Holds `amount` of money that the network rated itself, or as much of it as there is.
pub fn afford_money(wallet: Wallet<'_>, amount: Money, purpose: Purpose<'_>) -> (Money, Holds) {
    let mut left = amount;
    let mut holds = Holds::new();
    for purse in wallet.purses(purpose) {
        let taken = purse.available.min(left);
        if taken > Money::ZERO {
            left = left.saturating_sub(taken);
            holds.push((purse.place, taken.micros()));
        }
    }
    (amount.saturating_sub(left), holds)
}
