//! Pricing: what a report costs and what a grant holds. The only code that turns quantities into money.
//!
//! [`settle`] works on the cumulative usage of a service, so that the price does not depend on how often the client
//! reports (R04). [`afford`] says how much of a wanted quantity can be paid and what must be held for it (R22). Both look
//! first and touch afterwards: what they return as an error has changed nothing.

use crate::account::{Account, Flow, Holding, Holds, Place, Purpose};
use crate::cdr::{Component, Movements, PriceLine, PriceLines};
use crate::money::{Exact, Money, Rounding, RoundingScope, round};
use crate::session::{LineState, Rated};
use crate::tariff::{Price, Pulse, TariffVersion};
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

/// What a report cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The increase of the charge, rounded.
    pub amount: Money,
    /// Who paid: units first, then money.
    pub movements: Movements,
    /// Components that grew.
    pub lines: PriceLines,
    /// Raw units used before.
    pub used_before: u64,
    /// Rated units before and the increase.
    pub rated_before: u64,
    /// The increase of rated units.
    pub rated: u64,
}

/// A priced increase that has not been paid yet.
#[derive(Clone, Debug)]
struct Priced {
    line: LineState,
    from_buckets: u64,
    total: Money,
    lines: PriceLines,
    rated: u64,
}

/// Prices `quantity` more units and takes them from the account (R02 to R09, R17 to R19, R23).
pub fn settle(
    account: &mut Account,
    tariff: &TariffVersion,
    price_index: u16,
    rated: &mut Rated,
    quantity: u64,
    purpose: Purpose<'_>,
) -> Result<Settled, RatingError> {
    let price = tariff.prices().get(usize::from(price_index)).ok_or(RatingError::NoPrice)?;
    let Some(first) = seconds_to_edge(account, price, quantity, purpose.at) else {
        return settle_part(account, tariff, price_index, rated, quantity, purpose);
    };
    // Beside the originals, so that a later part that cannot be rated leaves nothing of the earlier ones.
    let (mut paying, mut counted) = (account.clone(), rated.clone());
    let mut settled = settle_part(&mut paying, tariff, price_index, &mut counted, first, purpose)?;
    let (mut at, mut left) = (purpose.at, quantity - first);
    let mut part = first;
    while left > 0 {
        at = at.plus_seconds(i64::try_from(part).map_err(|_| RatingError::OutOfRange)?);
        part = seconds_to_edge(&paying, price, left, at).unwrap_or(left);
        left -= part;
        let more = settle_part(&mut paying, tariff, price_index, &mut counted, part, Purpose { at, ..purpose })?;
        settled.amount = settled.amount.checked_add(more.amount).ok_or(RatingError::OutOfRange)?;
        settled.movements.extend(more.movements);
        settled.lines.extend(more.lines);
        settled.rated = settled.rated.saturating_add(more.rated);
    }
    (*account, *rated) = (paying, counted);
    Ok(settled)
}

/// Seconds that begin before the next instant at which another set of buckets pays; `None` when all of `quantity` do.
/// Time is laid end to end, and a pulse belongs to the instant it starts at (R12, R17, R41); other units have one instant.
fn seconds_to_edge(account: &Account, price: &Price, quantity: u64, at: Timestamp) -> Option<u64> {
    if price.measure.unit() != Unit::Second || price.zero_rated {
        return None;
    }
    let edges = account.buckets.iter().flat_map(|bucket| [bucket.valid_from, bucket.valid_to]);
    let edge = edges.filter(|edge| *edge > at && *edge != Timestamp::NEVER).min()?;
    Some(edge.seconds_since(at)).filter(|seconds| *seconds < quantity)
}

/// Prices and takes what belongs to one instant.
fn settle_part(
    account: &mut Account,
    tariff: &TariffVersion,
    price_index: u16,
    rated: &mut Rated,
    quantity: u64,
    purpose: Purpose<'_>,
) -> Result<Settled, RatingError> {
    let price = tariff.prices().get(usize::from(price_index)).ok_or(RatingError::NoPrice)?;
    let fresh = LineState { price: price_index, ..LineState::default() };
    let before = rated.lines.iter().find(|line| line.price == price_index).unwrap_or(&fresh);
    let (used_before, rated_before) = (before.used, before.rated);
    let priced = price_increase(account, tariff, price, rated, before, quantity, purpose)?;
    let amount = priced.total.checked_sub(rated.charged).ok_or(RatingError::OutOfRange)?.max(Money::ZERO);
    let charged = rated.charged.checked_add(amount).ok_or(RatingError::OutOfRange)?;
    let (holding, quantity) = (Holding::Units(price.measure.unit()), i64::try_from(priced.from_buckets).ok());
    quantity.and_then(|taken| account.countable(holding, Flow::Debit, taken)).ok_or(RatingError::OutOfRange)?;
    // Nothing has changed so far. Money first, because it alone can refuse; units were counted from this very state.
    let paid = account.take_money(amount, purpose).ok_or(RatingError::OutOfRange)?;
    let mut movements = account.take_units(price.measure.unit(), priced.from_buckets, purpose);
    if movements.is_empty() {
        movements = paid;
    } else if !paid.is_empty() {
        movements.extend(paid);
    }
    rated.charged = charged;
    match rated.lines.iter_mut().find(|line| line.price == price_index) {
        Some(line) => *line = priced.line,
        None => rated.lines.push(priced.line),
    }
    Ok(Settled { amount, movements, lines: priced.lines, used_before, rated_before, rated: priced.rated })
}

/// What `quantity` more units would cost, buckets of the account considered; touches nothing (price enquiry, R21).
pub fn quote(
    account: &Account,
    tariff: &TariffVersion,
    price_index: u16,
    rated: &Rated,
    quantity: u64,
    purpose: Purpose<'_>,
) -> Result<Money, RatingError> {
    let price = tariff.prices().get(usize::from(price_index)).ok_or(RatingError::NoPrice)?;
    if seconds_to_edge(account, price, quantity, purpose.at).is_some() {
        let (mut account, mut rated) = (account.clone(), rated.clone());
        return settle(&mut account, tariff, price_index, &mut rated, quantity, purpose).map(|settled| settled.amount);
    }
    let fresh = LineState { price: price_index, ..LineState::default() };
    let before = rated.lines.iter().find(|line| line.price == price_index).unwrap_or(&fresh);
    let priced = price_increase(account, tariff, price, rated, before, quantity, purpose)?;
    priced.total.checked_sub(rated.charged).map(|amount| amount.max(Money::ZERO)).ok_or(RatingError::OutOfRange)
}

fn price_increase(
    account: &Account,
    tariff: &TariffVersion,
    price: &Price,
    rated: &Rated,
    before: &LineState,
    quantity: u64,
    purpose: Purpose<'_>,
) -> Result<Priced, RatingError> {
    let mut line = before.clone();
    line.used = line.used.checked_add(quantity).ok_or(RatingError::OutOfRange)?;
    if price.zero_rated {
        return Ok(Priced { line, from_buckets: 0, total: rated.charged, lines: PriceLines::new(), rated: 0 });
    }
    let unit = price.measure.unit();
    let free = account.units_available(unit, purpose).fold(0u64, |sum, (_, free)| sum.saturating_add(free));
    let (from_buckets, paid_from, paid) = match unit {
        // Buckets pay rated seconds, and those seconds count towards the tiers (R09, R18).
        Unit::Second => {
            line.rated = price.pulse.round_up(line.used).ok_or(RatingError::OutOfRange)?;
            let increase = line.rated.saturating_sub(before.rated);
            let from_buckets = increase.min(free);
            line.unpaid = line.unpaid.saturating_add(increase - from_buckets);
            (from_buckets, before.rated.saturating_add(from_buckets), increase - from_buckets)
        }
        // Buckets pay actual octets and events; the rest has pulses and tiers of its own (R09, R19).
        Unit::Octet | Unit::Event => {
            let from_buckets = quantity.min(free);
            line.unpaid = line.unpaid.checked_add(quantity - from_buckets).ok_or(RatingError::OutOfRange)?;
            line.rated = price.pulse.round_up(line.unpaid).ok_or(RatingError::OutOfRange)?;
            (from_buckets, before.rated, line.rated.saturating_sub(before.rated))
        }
    };
    let mut lines = PriceLines::new();
    if line.connect_fee.is_none() && quantity > 0 {
        // The fee of a first pulse that buckets pay in full is only due where the price says so (R07). Octets reach the
        // end of that pulse in as many reports as they like: until then, and while buckets pay, it is open (R04).
        let (bundled, paid_by_money) = match unit {
            Unit::Second => (from_buckets >= price.pulse.first(), true),
            Unit::Octet | Unit::Event => (line.used - line.unpaid >= price.pulse.first(), line.unpaid > 0),
        };
        let decided = bundled || paid_by_money || price.connect_fee_when_bundled;
        let due = price.connect_fee > Money::ZERO && (!bundled || price.connect_fee_when_bundled);
        line.connect_fee = decided.then_some(due);
        if decided && due {
            let exact = Exact::from_money(price.connect_fee);
            lines.push(PriceLine { component: Component::ConnectFee, quantity: 0, exact });
        }
    }
    price.tiers.split(paid_from, paid, |number, part| {
        if line.tiers.len() <= number {
            line.tiers.resize(number + 1, 0);
        }
        if let (Some(total), Some(tier)) = (line.tiers.get_mut(number), price.tiers.as_slice().get(number)) {
            *total = total.saturating_add(part);
            if let (Ok(number), Some(exact)) = (u16::try_from(number), tier.rate.price(part)) {
                lines.push(PriceLine { component: Component::Tier(number), quantity: part, exact });
            }
        }
    });
    let others = rated.lines.iter().filter(|other| other.price != line.price);
    let total = total(tariff, others.chain(std::iter::once(&line)), price)?;
    let total = total.checked_add(rated.network_rated).ok_or(RatingError::OutOfRange)?;
    let rated_increase = line.rated.saturating_sub(before.rated);
    Ok(Priced { line, from_buckets, total, lines, rated: rated_increase })
}

/// The rounded charge of all lines of a service (R02, R08).
fn total<'a>(
    tariff: &TariffVersion,
    lines: impl Iterator<Item = &'a LineState>,
    limits: &Price,
) -> Result<Money, RatingError> {
    let rounding = match tariff.rounding().scope() {
        RoundingScope::Line | RoundingScope::Event => tariff.rounding(),
        RoundingScope::Bill => Rounding::MICRO,
    };
    let mut exact = Exact::ZERO;
    let mut sum = Money::ZERO;
    for line in lines {
        let price = tariff.prices().get(usize::from(line.price)).ok_or(RatingError::NoPrice)?;
        let fee = (line.connect_fee == Some(true)).then(|| Exact::from_money(price.connect_fee));
        let tiers = price.tiers.as_slice().iter().zip(&line.tiers).map(|(tier, quantity)| tier.rate.price(*quantity));
        for component in fee.map(Some).into_iter().chain(tiers) {
            let component = component.ok_or(RatingError::OutOfRange)?;
            match tariff.rounding().scope() {
                RoundingScope::Line => {
                    let rounded = round(component, rounding).ok_or(RatingError::OutOfRange)?;
                    sum = sum.checked_add(rounded).ok_or(RatingError::OutOfRange)?;
                }
                RoundingScope::Event | RoundingScope::Bill => {
                    exact = exact.checked_add(component).ok_or(RatingError::OutOfRange)?;
                }
            }
        }
    }
    if tariff.rounding().scope() != RoundingScope::Line {
        sum = round(exact, rounding).ok_or(RatingError::OutOfRange)?;
    }
    if sum > Money::ZERO {
        sum = limits.min_charge.map_or(sum, |least| sum.max(least));
        sum = limits.max_charge.map_or(sum, |most| sum.min(most));
    }
    Ok(sum)
}

/// What can be paid of a wanted quantity, and what to hold for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affordable {
    /// Units that can be paid; at most what was wanted.
    pub quantity: u64,
    /// What to hold, in order.
    pub holds: Holds,
    /// When the first of the buckets that hold it stops paying.
    pub valid_to: Timestamp,
}

/// How much of `wanted` units the account can pay (R22): unit buckets first, unit by unit; then money purse by purse,
/// whole pulses from each, counted from a fresh pulse and without connect fee, at the tier the service has reached. What
/// is free, also beyond the most that the price takes (R08), needs no purse.
pub fn afford(
    account: &Account,
    price_index: u16,
    price: &Price,
    rated: &Rated,
    wanted: u64,
    purpose: Purpose<'_>,
) -> Affordable {
    let mut result = Affordable { quantity: wanted, holds: Holds::new(), valid_to: Timestamp::NEVER };
    if price.zero_rated {
        return result;
    }
    let mut left = wanted;
    for (number, free) in account.units_available(price.measure.unit(), purpose) {
        if left == 0 {
            break;
        }
        let taken = free.min(left);
        left -= taken;
        result.holds.push((Place::Bucket(number), i64::try_from(taken).unwrap_or(i64::MAX)));
    }
    let line = rated.lines.iter().find(|line| line.price == price_index);
    let mut reached = line.map_or(0, |line| line.rated);
    if price.measure.unit() == Unit::Second {
        reached = reached.saturating_add(wanted - left);
    }
    let charged = rated.charged.saturating_sub(rated.network_rated);
    let mut room = price.max_charge.map_or(Money::MAX, |most| most.saturating_sub(charged).max(Money::ZERO));
    let cost = |from: u64, quantity: u64, room: Money| {
        let cost = price.tiers.price(from, quantity).and_then(Exact::ceil);
        if price.max_charge.is_some() { Some(cost.map_or(room, |cost| cost.min(room))) } else { cost }
    };
    let mut pulse = price.pulse;
    // After the first pulse the call goes on: what follows is no first pulse any more.
    let following = Pulse::new(pulse.next(), pulse.next()).unwrap_or(Pulse::ONE);
    if room == Money::ZERO || price.tiers.is_free_at(reached) {
        let free = |whole| cost(reached, whole, room).filter(|cost| *cost == Money::ZERO);
        if let Some((whole, _)) = most_pulses(pulse, left, free) {
            left = left.saturating_sub(whole);
            reached = reached.saturating_add(whole);
            pulse = following;
        }
    }
    for purse in account.free_purses(purpose) {
        if left == 0 {
            break;
        }
        if purse.available <= Money::ZERO {
            continue;
        }
        let affordable = |whole| cost(reached, whole, room).filter(|cost| *cost <= purse.available);
        let Some((whole, hold)) = most_pulses(pulse, left, affordable) else { continue };
        result.holds.push((purse.place, hold.micros()));
        left = left.saturating_sub(whole);
        reached = reached.saturating_add(whole);
        room = room.saturating_sub(hold);
        pulse = following;
    }
    result.quantity = wanted - left;
    for (place, _) in &result.holds {
        if let Place::Bucket(number) = place
            && let Some(bucket) = account.buckets.get(*number)
        {
            result.valid_to = result.valid_to.min(bucket.valid_to);
        }
    }
    result
}

/// Whether the account can pay `wanted` units and more, by a rough look that never says so when it cannot: unit buckets,
/// then all money at the price of what is left.
pub fn is_ample(account: &Account, price: &Price, line: Option<&LineState>, wanted: u64, purpose: Purpose<'_>) -> bool {
    let units = account.units_available(price.measure.unit(), purpose);
    let left = units.fold(wanted, |left, (_, free)| left.saturating_sub(free));
    if left == 0 || price.zero_rated {
        return true;
    }
    let bundled = if price.measure.unit() == Unit::Second { wanted - left } else { 0 };
    let reached = line.map_or(0, |line| line.rated).saturating_add(bundled);
    let Some(whole) = price.pulse.round_up(left) else { return false };
    let Some(cost) = price.tiers.price(reached, whole).and_then(Exact::ceil) else { return false };
    // Several purses may be too small for a pulse each: one must do.
    account.free_purses(purpose).any(|purse| purse.available >= cost)
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
pub fn afford_money(account: &Account, amount: Money, purpose: Purpose<'_>) -> (Money, Holds) {
    let mut left = amount;
    let mut holds = Holds::new();
    for purse in account.free_purses(purpose) {
        let taken = purse.available.min(left);
        if taken > Money::ZERO {
            left = left.saturating_sub(taken);
            holds.push((purse.place, taken.micros()));
        }
    }
    (amount.saturating_sub(left), holds)
}
