//! One service of one message: settle what was used, then grant (design 3, steps 2 to 4).

use smallvec::{SmallVec, smallvec};

use super::{Scene, denial_of, offers};
use crate::account::{Account, Means, Paying, Who};
use crate::cdr::{CdrKind, CdrSource, RatedCdr, Rating};
use crate::command::{
    Denial, Effects, Grant, Requested, ServiceOutcome, ServiceOutcomes, ServiceRequest, ServiceResult, TariffPart,
    Write,
};
use crate::context::Context;
use crate::ids::PriceId;
use crate::money::Money;
use crate::rating::{self, Affordable, RatingError, Slice, Slices};
use crate::session::{GrantState, LineState, Rated, SERVICES_MAX, ServiceState};
use crate::tariff::{GrantPolicy, ServiceKey};
use crate::tariffs::{Applied, Pricing};
use crate::time::Timestamp;
use crate::units::{GrantUnits, Measure, MoneyUnits, Unit, Units};

/// More octets than this per second cannot be true: 100 Gbit/s (design 3.1).
const OCTETS_PER_SECOND_MAX: u64 = 12_500_000_000;
/// Seconds of grace for octets, beyond the time that passed.
const OCTETS_GRACE_SECONDS: u64 = 60;
/// Seconds of grace for time, beyond the time that passed.
pub(super) const SECONDS_GRACE: u64 = 300;
/// A grant used up in less than this part of its validity went fast (design D11).
const HURRIED_SHARE: u64 = 4;

/// The grant that a report answers to.
#[derive(Clone, Copy)]
struct LastGrant {
    quantity: u64,
    at: Timestamp,
    validity_seconds: u32,
    switch: Option<Timestamp>,
}

/// Handles the services of a message in its order, each against what the ones before left (R27).
pub(super) fn serve_all(
    scene: &Scene<'_>,
    means: &mut Means<'_>,
    services: &mut Vec<ServiceState>,
    requests: &[ServiceRequest],
    effects: &mut Effects<()>,
) -> ServiceOutcomes {
    let mut outcomes = ServiceOutcomes::with_capacity(requests.len());
    let counted = means.counters.clone();
    effects.cdrs.reserve_exact(requests.iter().filter(|request| !request.used.is_empty()).count());
    for request in requests {
        let result = serve(scene, means, services, request, effects);
        if result == ServiceResult::Denied(Denial::CreditLimitReached) {
            effects.facts.denied_credit += 1;
        }
        outcomes.push(ServiceOutcome { key: request.key.clone(), result });
    }
    if *means.counters != counted {
        effects.writes.push(Write::Subscriber(scene.subscriber));
    }
    outcomes
}

/// One service of one message: settle, then grant (design 3, steps 2 to 4).
fn serve(
    scene: &Scene<'_>,
    means: &mut Means<'_>,
    services: &mut Vec<ServiceState>,
    request: &ServiceRequest,
    effects: &mut Effects<()>,
) -> ServiceResult {
    if let Some(service) = services.iter().position(|service| service.key == request.key)
        && let Some(service) = services.get_mut(service)
    {
        return serve_known(scene, means, service, request, effects);
    }
    if (scene.settles_only || request.requested == Requested::Nothing)
        && let Some(service) = only_of_group(services, request)
    {
        return serve_known(scene, means, service, request, effects);
    }
    let mut service = ServiceState {
        key: request.key.clone(),
        rated: Rated::default(),
        grant: None,
        since: scene.when,
        answered: None,
        waiting: false,
    };
    if services.len() >= SERVICES_MAX {
        // What only waits for money makes room.
        let Some(idle) = services.iter().position(|service| !is_used(service)) else {
            if let Some(used) = used_in_all(request) {
                effects.facts.suspense += 1;
                let cdr = usage_cdr(scene, means.account, &service, used);
                effects.cdrs.push(RatedCdr { kind: CdrKind::Suspense, ..cdr });
            }
            return ServiceResult::Denied(Denial::ServiceDenied);
        };
        services.remove(idle);
    }
    let result = serve_known(scene, means, &mut service, request, effects);
    // Nothing is kept of a service that was denied and never used, unless it waits for money.
    if is_used(&service) || service.waiting {
        // Sessions are many and long remembered: no room is kept for services that never come.
        services.reserve_exact(1);
        services.push(service);
    }
    result
}

/// Whether a service has a grant or was charged: its state cannot be had again.
fn is_used(service: &ServiceState) -> bool {
    service.grant.is_some() || service.rated != Rated::default()
}

/// The only service of a rating group, for a report that names the group alone: clients leave service identifiers out of
/// their last reports.
fn only_of_group<'a>(services: &'a mut [ServiceState], request: &ServiceRequest) -> Option<&'a mut ServiceState> {
    let group = request.key.rating_group.filter(|_| request.key.services.is_empty())?;
    let mut of_group = services.iter_mut().filter(|service| service.key.rating_group == Some(group));
    let only = of_group.next()?;
    of_group.next().is_none().then_some(only)
}

fn serve_known(
    scene: &Scene<'_>,
    means: &mut Means<'_>,
    service: &mut ServiceState,
    request: &ServiceRequest,
    effects: &mut Effects<()>,
) -> ServiceResult {
    // The service's own hold is dropped first; the grant replaces what was left of the last one (R23).
    let dropped = service.grant.take();
    // A report that was overtaken by a request for more says nothing of the grant that this one got.
    let reports_only = request.requested == Requested::Nothing && !scene.settles_only;
    let newer = dropped.as_ref().filter(|grant| reports_only && grant.number >= scene.number).cloned();
    let last = dropped.map(|grant| {
        let GrantState { quantity, at, validity_seconds, switch, .. } = grant;
        release(means, grant);
        LastGrant { quantity, at, validity_seconds, switch }
    });
    let used = used_in_all(request);
    let mut counted = 0;
    if let Some(used) = used {
        let reported = report(scene, means, service, request, used, last, effects);
        service.since = scene.when;
        match reported {
            Ok(units) => counted = units,
            Err(denial) => {
                keep(means, service, newer);
                return ServiceResult::Denied(denial);
            }
        }
    }
    let wanted = match request.requested {
        _ if scene.settles_only => return ServiceResult::Settled,
        Requested::Nothing => {
            keep(means, service, newer);
            return ServiceResult::Settled;
        }
        Requested::Any => Units::default(),
        Requested::Units(units) => units,
    };
    if let Some(denial) = scene.barred {
        return ServiceResult::Denied(denial);
    }
    // Without a grant nothing was used: what comes now begins with this one (R41).
    if last.is_none() {
        (service.since, service.answered) = (scene.when, None);
    }
    let is_hurried = |last: &LastGrant| {
        counted >= last.quantity / 5 * 4
            && scene.now.seconds_since(last.at) < u64::from(last.validity_seconds) / HURRIED_SHARE
    };
    let hurried = last.filter(|last| used.is_some() && is_hurried(last));
    let granted = match wanted.money {
        Some(money) => grant_money(scene, means, service, money),
        None => grant_units(scene, means, service, wanted, hurried, effects),
    };
    match granted {
        Ok(grant) => {
            service.waiting = grant.last;
            ServiceResult::Granted(grant)
        }
        Err(denial) => {
            service.waiting = denial == Denial::CreditLimitReached;
            ServiceResult::Denied(denial)
        }
    }
}

/// Leaves a grant in force: what it held is held again as far as it is still there.
fn keep(means: &mut Means<'_>, service: &mut ServiceState, grant: Option<GrantState>) {
    service.grant = grant.map(|grant| {
        let reservation = means.account.reserve_again(&grant.reservation);
        let sponsored = grant.sponsored.as_deref();
        let sponsored = sponsored.map(|held| Box::new(means.of_mut(Who::Sponsor).reserve_again(held)));
        GrantState { reservation, sponsored, ..grant }
    });
}

/// Gives back what a grant held.
pub(super) fn release(means: &mut Means<'_>, grant: GrantState) {
    means.account.release(grant.reservation);
    if let Some(sponsored) = grant.sponsored {
        means.of_mut(Who::Sponsor).release(*sponsored);
    }
}

/// The sum of what a service reports; `None` when it reports nothing.
fn used_in_all(request: &ServiceRequest) -> Option<Units> {
    let (first, others) = request.used.split_first()?;
    Some(others.iter().fold(first.units, |sum, used| sum.plus(&used.units)))
}

/// Whether so much can have been used within so many seconds (design 3.1).
pub(super) const fn is_possible(octets: u64, seconds: u64, elapsed: u64) -> bool {
    let octets_max = elapsed.saturating_add(OCTETS_GRACE_SECONDS).saturating_mul(OCTETS_PER_SECOND_MAX);
    octets <= octets_max && seconds <= elapsed.saturating_add(SECONDS_GRACE)
}

/// Settles what was used (design 3.2). Returns how much of it the price counts, or why nothing more may be granted.
fn report(
    scene: &Scene<'_>,
    means: &mut Means<'_>,
    service: &mut ServiceState,
    request: &ServiceRequest,
    used: Units,
    last: Option<LastGrant>,
    effects: &mut Effects<()>,
) -> Result<u64, Denial> {
    let mut suspend = |account: &Account, service: &ServiceState, denial: Denial| {
        effects.facts.suspense += 1;
        effects.cdrs.push(RatedCdr { kind: CdrKind::Suspense, ..usage_cdr(scene, account, service, used) });
        Err(denial)
    };
    // All of the service's usage must fit into the session's life: reports may have waited and come at once.
    let elapsed = scene.now.seconds_since(scene.opened);
    let octets = used_before(scene, service, Unit::Octet).saturating_add(used.octets());
    let seconds_before = used_before(scene, service, Unit::Second);
    let seconds = seconds_before.saturating_add(used.seconds.unwrap_or(0));
    if !is_possible(octets, seconds, elapsed) {
        return suspend(means.account, service, Denial::UsageSuspect);
    }
    let since = service.since.min(scene.when);
    let granted = last.map_or(0, |last| last.quantity);
    let foreign =
        used.money.and_then(|money| money.currency).is_some_and(|code| code != means.account.currency.numeric());
    let counts = used.octets() > 0 || used.seconds.unwrap_or(0) > 0 || used.events.unwrap_or(0) > 0;
    if let Some(money) = used.money.filter(|money| !counts || money.amount != Money::ZERO) {
        if counts {
            // Which of both is to be charged is for a person to say.
            return suspend(means.account, service, Denial::RatingFailed);
        }
        // The network rated this itself: debited as it is (RFC 8506 8.22).
        let charge = money.amount;
        let charged = service.rated.charged.checked_add(charge);
        let network_rated = service.rated.network_rated.checked_add(charge);
        let (Some(charged), Some(network_rated)) = (charged, network_rated) else {
            return suspend(means.account, service, Denial::UsageSuspect);
        };
        if foreign || charge.is_negative() {
            return suspend(means.account, service, Denial::RatingFailed);
        }
        let charged_before = service.rated.charged;
        let purpose = scene.pricing(scene.used_in, &service.key).purpose(since);
        let Some(movements) = means.account.take_money(charge, purpose) else {
            return suspend(means.account, service, Denial::UsageSuspect);
        };
        service.rated.charged = charged;
        service.rated.network_rated = network_rated;
        effects.facts.charged_micros = effects.facts.charged_micros.saturating_add(charge.micros());
        if charge > Money::ZERO {
            let rating = Rating {
                charged_before,
                beyond_grant: charge.micros().unsigned_abs().saturating_sub(granted),
                ..Rating::of_network(scene.book.first(), charge)
            };
            let draft = usage_cdr(scene, means.account, service, used);
            effects.cdrs.push(RatedCdr { amount: charge, movements, rating: Some(rating), ..draft });
        }
        return Ok(0);
    }
    if !counts {
        return Ok(0);
    }
    let switch = last.and_then(|last| last.switch);
    let mut slices = Slices::new();
    let settled = match switch.filter(|_| request.used.iter().any(|used| used.part == TariffPart::After)) {
        None => settle_part(scene, means, service, Part::of(&used, since), seconds_before, &mut slices),
        Some(switch) => settle_parts(scene, means, service, request, switch, seconds_before, &mut slices),
    };
    match settled {
        Ok(()) => {}
        Err(RatingError::NoPrice) => return suspend(means.account, service, Denial::RatingFailed),
        Err(RatingError::OutOfRange) => return suspend(means.account, service, Denial::UsageSuspect),
    }
    let counted = slices.iter().fold(0, |sum: u64, slice| sum.saturating_add(slice.used));
    let mut beyond_grant = counted.saturating_sub(granted);
    effects.facts.beyond_grant += u32::from(beyond_grant > 0);
    let whole = slices.len() == 1;
    let starts: SmallVec<[Timestamp; 1]> = slices.iter().skip(1).map(|slice| slice.at).collect();
    let mut numbers = Numbers::default();
    for (place, slice) in slices.into_iter().enumerate() {
        let reported = match slice.price() {
            Some(price) if !whole => Units::of(price.measure, slice.used),
            _ => used,
        };
        let usage_start = if place == 0 { since } else { slice.at.min(scene.when) };
        // Of one part that several accounts paid, all began and ended together.
        let next = starts.iter().skip(place).find(|next| **next > slice.at);
        let usage_end = next.map_or(scene.when, |next| (*next).min(scene.when));
        // What was used beyond the grant was used last.
        let beyond = if place == starts.len() { std::mem::take(&mut beyond_grant) } else { 0 };
        effects.facts.charged_micros = effects.facts.charged_micros.saturating_add(slice.amount.micros());
        let draft = RatedCdr { usage_start, usage_end, ..usage_cdr(scene, means.of(slice.who), service, reported) };
        effects.cdrs.push(cdr_of(slice, &mut numbers, beyond, draft));
    }
    Ok(counted)
}

/// How many CDRs each account has of a report so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    own: u16,
    sponsor: u16,
}

impl Numbers {
    /// The number of the next one, from 0.
    fn next(&mut self, who: Who) -> u16 {
        let number = match who {
            Who::Own => &mut self.own,
            Who::Sponsor => &mut self.sponsor,
        };
        let next = *number;
        *number = next.saturating_add(1);
        next
    }
}

/// The CDR of a slice: the `draft` with how its amount came about.
pub(super) fn cdr_of(slice: Slice, numbers: &mut Numbers, beyond_grant: u64, draft: RatedCdr) -> RatedCdr {
    let (price, measure) = match slice.price() {
        Some(price) => (price.id.clone(), Some(price.measure)),
        None => (PriceId::new(""), None),
    };
    let Slice {
        tariff,
        line,
        used,
        used_before,
        rated_before,
        rated,
        tier_from,
        charged_before,
        amount,
        who,
        movements,
        lines,
        ..
    } = slice;
    let rating = Rating {
        tariff,
        price,
        place: line.price,
        window: line.window,
        rate: line.rate,
        measure,
        used_before,
        used,
        rated_before,
        rated,
        tier_from,
        charged_before,
        lines,
        beyond_grant,
        slice: numbers.next(who),
    };
    RatedCdr { amount, movements, rating: Some(rating), ..draft }
}

/// Part of a report.
#[derive(Clone, Copy)]
struct Part<'a> {
    units: &'a Units,
    /// When it began.
    at: Timestamp,
    /// Whether that is a switch that was told.
    after_switch: bool,
}

impl<'a> Part<'a> {
    const fn of(units: &'a Units, at: Timestamp) -> Self {
        Self { units, at, after_switch: false }
    }
}

/// Settles a report by parts, all of them or none: what was used before the switch that was told, or without one, and what
/// was used after it (R13, R41).
fn settle_parts(
    scene: &Scene<'_>,
    means: &mut Means<'_>,
    service: &mut ServiceState,
    request: &ServiceRequest,
    switch: Timestamp,
    mut seconds: u64,
    slices: &mut Slices,
) -> Result<(), RatingError> {
    let since = service.since.min(scene.when);
    let (mut aside, mut counted) = (means.aside(), service.clone());
    let mut paying = aside.means(means.terms());
    for after_switch in [false, true] {
        let of_part = request.used.iter().filter(|used| (used.part == TariffPart::After) == after_switch);
        let Some(units) = of_part.map(|used| used.units).reduce(|sum, units| sum.plus(&units)) else { continue };
        let at = if after_switch { switch.max(since) } else { since };
        let part = Part { units: &units, at, after_switch };
        settle_part(scene, &mut paying, &mut counted, part, seconds, slices)?;
        seconds = seconds.saturating_add(units.seconds.unwrap_or(0));
    }
    means.adopt(aside);
    *service = counted;
    Ok(())
}

/// Settles one part of a report, of a service that has used so many seconds before.
fn settle_part(
    scene: &Scene<'_>,
    means: &mut Means<'_>,
    service: &mut ServiceState,
    part: Part<'_>,
    seconds: u64,
    slices: &mut Slices,
) -> Result<(), RatingError> {
    let ServiceState { key, rated, answered, since, .. } = service;
    let pricing = scene.pricing(scene.used_in, key);
    let Part { units, at, after_switch } = part;
    let applied = pricing.at(at).ok_or(RatingError::NoPrice)?;
    // Or else the price of its instant counts something else.
    let quantity = units.quantity(applied.price.measure).ok_or(RatingError::NoPrice)?;
    if applied.price.measure != Measure::Seconds {
        return rating::settle(means, &pricing, rated, quantity, at, applied, slices);
    }
    // Seconds go on from the first one used; a switch that was told, and a grant after a pause, begin anew.
    let laid = i64::try_from(seconds).map_err(|_| RatingError::OutOfRange)?;
    if after_switch {
        *answered = Some(at.plus_seconds(-laid));
    }
    let first = *answered.get_or_insert((*since).min(scene.when).plus_seconds(-laid));
    rating::settle(means, &pricing, rated, quantity, first.plus_seconds(laid), applied, slices)
}

/// What a service has used so far and was charged for, of one unit.
fn used_before(scene: &Scene<'_>, service: &ServiceState, unit: Unit) -> u64 {
    let counts = |line: &LineState| scene.book.price_of(line).map(|price| price.measure.unit());
    let lines = service.rated.lines.iter().filter(|line| counts(line) == Some(unit));
    lines.fold(0, |sum, line| sum.saturating_add(line.used))
}

/// A CDR of what a service used, before it is rated.
fn usage_cdr(scene: &Scene<'_>, account: &Account, service: &ServiceState, used: Units) -> RatedCdr {
    RatedCdr {
        subscriber: Some(scene.subscriber),
        usage_start: service.since.min(scene.when),
        usage_end: scene.when,
        reported: used,
        ..RatedCdr::draft(CdrKind::Usage, account, scene.source(&service.key), scene.cause, scene.now)
    }
}

/// Grants money that the network rates itself: no window of a tariff is for it, and the subscriber's own account pays. What is granted is used from now on: the client's time is for usage.
fn grant_money(
    scene: &Scene<'_>,
    means: &mut Means<'_>,
    service: &mut ServiceState,
    wanted: MoneyUnits,
) -> Result<Grant, Denial> {
    let currency = means.account.currency.numeric();
    if wanted.amount <= Money::ZERO || wanted.currency.is_some_and(|code| code != currency) {
        return Err(Denial::RatingFailed);
    }
    let purpose = scene.pricing(scene.context, &service.key).purpose(scene.now);
    let (amount, holds) = rating::afford_money(means.wallet(Who::Own), wanted.amount, purpose);
    let account = &mut *means.account;
    if amount == Money::ZERO {
        return Err(Denial::CreditLimitReached);
    }
    let validity_seconds = match scene.profile.validity_seconds {
        0 => GrantPolicy::standard(Unit::Event).validity_seconds,
        seconds => seconds,
    };
    let reservation = account.reserve(&holds);
    let quantity = amount.micros().unsigned_abs();
    let number = scene.number;
    let (at, switch, sponsored) = (scene.now, None, None);
    service.grant = Some(GrantState { number, quantity, at, validity_seconds, switch, reservation, sponsored });
    let money = MoneyUnits { amount, currency: Some(currency) };
    Ok(Grant {
        units: GrantUnits::money(money),
        validity_seconds,
        switch: None,
        threshold: 0,
        last: amount < wanted.amount && scene.profile.marks_final,
    })
}

/// Grants units: sized, cut to what is affordable, held (design 3.3, D11, R22).
fn grant_units(
    scene: &Scene<'_>,
    means: &mut Means<'_>,
    service: &mut ServiceState,
    wanted: Units,
    hurried: Option<LastGrant>,
    effects: &mut Effects<()>,
) -> Result<Grant, Denial> {
    let pricing = scene.pricing(scene.context, &service.key);
    let applied = pricing.at(scene.now).ok_or(Denial::RatingFailed)?;
    let (price, paying) = (applied.price, applied.paid_by(means));
    if let Paying::Only(Who::Sponsor) = paying
        && let Some(denial) = denial_of(means.of(Who::Sponsor).state)
    {
        return Err(denial);
    }
    if let Some(offer) = &price.buys
        && paying != Paying::Only(Who::Sponsor)
    {
        offers::buy_at_first_use(scene, means.account, &service.key, offer, effects);
    }
    let named = if wanted.is_empty() {
        None
    } else {
        // 0 is no amount one can use: sized like an empty request.
        Some(wanted.quantity(price.measure).ok_or(Denial::RatingFailed)?).filter(|quantity| *quantity > 0)
    };
    let cap = match scene.profile.grant_cap {
        0 => u64::MAX,
        cap => cap,
    };
    let rated = &service.rated;
    let afford = |quantity| rating::afford(means, &pricing, applied, rated, quantity, scene.now);
    let (asked, mut affordable) = match named.filter(|_| !scene.profile.resizes) {
        Some(quantity) => {
            let asked = quantity.min(cap);
            (asked, afford(asked))
        }
        None => {
            let policy = price.grant;
            // A client that used the last grant up early gets twice as much.
            let grown = hurried.map_or(policy.default, |last| last.quantity.saturating_mul(2).max(policy.default));
            let size = grown.min(policy.cap).min(cap);
            // Near empty, grants taper so that several sessions can share what is left.
            let ample = size.saturating_mul(4);
            if rating::is_ample(means, &pricing, applied, rated, ample, scene.now) {
                (size, afford(size))
            } else {
                let there = afford(ample);
                let share = (there.quantity / 2).max(policy.floor).min(size);
                if there.quantity <= share {
                    // All there is. Whether more was wanted decides whether it is final.
                    (size.max(there.quantity.saturating_add(1)), there)
                } else {
                    (share, afford(share))
                }
            }
        }
    };
    if affordable.quantity == 0 {
        return Err(Denial::CreditLimitReached);
    }
    let validity_seconds = match scene.profile.validity_seconds {
        0 => price.grant.validity_seconds,
        seconds => seconds,
    };
    let horizon = scene.now.plus_seconds(validity_seconds.into());
    // A cycle that its tiers are counted in (R12), or a bucket that begins to pay inside the grant's life: come back when it
    // does (R41).
    let mut edge = rating::cycle_end(means, applied, scene.now).unwrap_or(Timestamp::NEVER);
    if !price.zero_rated {
        let (unit, purpose) = (price.measure.unit(), pricing.purpose(scene.now));
        let begins = means.accounts().filter_map(|account| account.next_beginning(unit, purpose));
        edge = begins.fold(edge, Timestamp::min);
    }
    let mut switch = None;
    let until = horizon.min(edge).min(affordable.valid_to);
    if applied.until < until {
        let crossing = cross(scene, means, service, applied, until, &mut affordable);
        edge = edge.min(crossing.end);
        switch = crossing.switch;
    }
    // So does one that stops: before a switch or after it.
    edge = edge.min(affordable.valid_to);
    let quantity = affordable.quantity;
    let cut = quantity < asked;
    let until = edge.millis().saturating_sub(scene.now.millis()) / 1000;
    let validity_seconds = if edge == Timestamp::NEVER {
        validity_seconds
    } else {
        validity_seconds.min(u32::try_from(until.max(1)).unwrap_or(u32::MAX))
    };
    let reservation = means.account.reserve(&affordable.holds);
    let sponsored = &affordable.sponsored;
    let sponsored = (!sponsored.is_empty()).then(|| Box::new(means.of_mut(Who::Sponsor).reserve(sponsored)));
    let (number, at) = (scene.number, scene.now);
    service.grant = Some(GrantState { number, quantity, at, validity_seconds, switch, reservation, sponsored });
    let is_last = cut && scene.profile.marks_final;
    let threshold = if cut || !scene.profile.thresholds {
        0
    } else {
        quantity.saturating_mul(price.grant.threshold_percent.into()) / 100
    };
    let units = as_asked(price.measure, quantity, &wanted);
    Ok(Grant { units, validity_seconds, switch, threshold, last: is_last })
}

/// What another price within a grant's life means for it.
struct Crossing {
    /// Where the grant has to end.
    end: Timestamp,
    /// The switch that the client is told of, so that it reports what it uses before and after apart.
    switch: Option<Timestamp>,
}

/// Edges looked at for one grant; what lies behind them is left to the next.
const EDGES_MAX: usize = 32;

/// Makes a grant good on both sides of the next switch: held at the dearer price and cut to what is affordable at it (R22).
/// Clients that cannot split, and grants that nobody could afford
/// after the switch or that another account would pay, end there (R41). Seconds are laid end
/// to end here, so nobody has to split them.
fn cross(
    scene: &Scene<'_>,
    means: &Means<'_>,
    service: &ServiceState,
    here: Applied<'_>,
    horizon: Timestamp,
    affordable: &mut Affordable,
) -> Crossing {
    let pricing = scene.pricing(scene.context, &service.key);
    let afford = |(applied, at), quantity| rating::afford(means, &pricing, applied, &service.rated, quantity, at);
    let mut crossing = Crossing { end: Timestamp::NEVER, switch: None };
    let mut sides: SmallVec<[(Applied<'_>, Timestamp); 2]> = smallvec![(here, scene.now)];
    let (mut last, mut at, mut edges) = (here.line(), here.until, 0);
    let splits_itself = here.price.measure == Measure::Seconds;
    while at < horizon {
        let may_cross = splits_itself || (scene.profile.splits && crossing.switch.is_none());
        match pricing.at(at).filter(|_| edges < EDGES_MAX) {
            Some(there) if there.line() == last => at = there.until,
            Some(there)
                if may_cross
                    && there.paid_by(means) == here.paid_by(means)
                    && there.price.measure == here.price.measure
                    && afford((there, at), affordable.quantity).quantity > 0 =>
            {
                sides.push((there, at));
                if !splits_itself {
                    crossing.switch = Some(at);
                }
                (last, at) = (there.line(), there.until);
            }
            Some(_) | None => {
                crossing.end = at;
                break;
            }
        }
        edges += 1;
    }
    // What can be paid at each, held as it costs at the dearest.
    let payable = sides.iter().map(|side| afford(*side, affordable.quantity).quantity).min();
    let payable = payable.unwrap_or(affordable.quantity);
    let mut valid_to = affordable.valid_to;
    let sides = sides.iter().map(|side| afford(*side, payable)).inspect(|side| valid_to = valid_to.min(side.valid_to));
    let dearer =
        |dearest: Affordable, side: Affordable| if side.money(means) > dearest.money(means) { side } else { dearest };
    if let Some(dearest) = sides.reduce(dearer) {
        *affordable = Affordable { valid_to, ..dearest };
    }
    crossing
}

/// Puts a quantity into the unit types that were asked for.
pub(super) fn as_asked(measure: Measure, quantity: u64, wanted: &Units) -> GrantUnits {
    match (measure, wanted.total_octets, wanted.uplink_octets, wanted.downlink_octets) {
        (Measure::TotalOctets, None, Some(up), Some(down)) if up.saturating_add(down) > 0 => {
            // Directions without a total: split in the proportion that was asked for.
            let share = u128::from(quantity) * u128::from(up) / (u128::from(up) + u128::from(down));
            let up = u64::try_from(share).unwrap_or(quantity);
            GrantUnits::directions(up, quantity - up)
        }
        (Measure::TotalOctets, None, Some(_), None) => GrantUnits::of(Measure::UplinkOctets, quantity),
        (Measure::TotalOctets, None, None, Some(_)) => GrantUnits::of(Measure::DownlinkOctets, quantity),
        _ => GrantUnits::of(measure, quantity),
    }
}

impl<'s> Scene<'s> {
    /// What prices one of its services.
    pub(super) fn pricing<'a>(&self, context: &'a Context, key: &'a ServiceKey) -> Pricing<'a>
    where
        's: 'a,
    {
        Pricing { book: self.book, context, key, by_window: self.by_window }
    }

    /// What CDRs of this command name as their source.
    pub(super) fn source(&self, service: &ServiceKey) -> CdrSource {
        CdrSource::Network {
            session: self.session.clone(),
            request: self.number,
            service: service.clone(),
            context: self.used_in.clone(),
        }
    }
}
