//! One service of one message: settle what was used, then grant (design 3, steps 2 to 4).

use super::Scene;
use crate::account::{Account, Purpose};
use crate::cdr::{CdrKind, CdrSource, PriceLines, RatedCdr, Rating};
use crate::command::{
    Denial, Effects, Grant, Requested, ServiceOutcome, ServiceOutcomes, ServiceRequest, ServiceResult,
};
use crate::ids::PriceId;
use crate::money::Money;
use crate::rating::{self, RatingError};
use crate::session::{GrantState, Rated, SERVICES_MAX, ServiceState};
use crate::tariff::{GrantPolicy, Price, ServiceKey};
use crate::time::Timestamp;
use crate::units::{GrantUnits, Measure, MoneyUnits, Unit, Units};

/// More octets than this per second cannot be true: 100 Gbit/s (design 3.1).
const OCTETS_PER_SECOND_MAX: u64 = 12_500_000_000;
/// Seconds of grace for octets, beyond the time that passed.
const OCTETS_GRACE_SECONDS: u64 = 60;
/// Seconds of grace for time, beyond the time that passed.
const SECONDS_GRACE: u64 = 300;
/// A grant used up in less than this part of its validity went fast (design D11).
const HURRIED_SHARE: u64 = 4;

/// The grant that a report answers to.
#[derive(Clone, Copy)]
struct LastGrant {
    quantity: u64,
    at: Timestamp,
    validity_seconds: u32,
}

/// Handles the services of a message in its order, each against what the ones before left (R27).
pub(super) fn serve_all(
    scene: &Scene<'_>,
    account: &mut Account,
    services: &mut Vec<ServiceState>,
    requests: &[ServiceRequest],
    effects: &mut Effects<()>,
) -> ServiceOutcomes {
    let mut outcomes = ServiceOutcomes::with_capacity(requests.len());
    effects.cdrs.reserve_exact(requests.iter().filter(|request| !request.used.is_empty()).count());
    for request in requests {
        let result = serve(scene, account, services, request, effects);
        if result == ServiceResult::Denied(Denial::CreditLimitReached) {
            effects.facts.denied_credit += 1;
        }
        outcomes.push(ServiceOutcome { key: request.key.clone(), result });
    }
    outcomes
}

/// One service of one message: settle, then grant (design 3, steps 2 to 4).
fn serve(
    scene: &Scene<'_>,
    account: &mut Account,
    services: &mut Vec<ServiceState>,
    request: &ServiceRequest,
    effects: &mut Effects<()>,
) -> ServiceResult {
    if let Some(service) = services.iter().position(|service| service.key == request.key)
        && let Some(service) = services.get_mut(service)
    {
        return serve_known(scene, account, service, request, effects);
    }
    if (scene.settles_only || request.requested == Requested::Nothing)
        && let Some(service) = only_of_group(services, request)
    {
        return serve_known(scene, account, service, request, effects);
    }
    let mut service = ServiceState {
        key: request.key.clone(),
        rated: Rated::default(),
        grant: None,
        since: scene.when,
        waiting: false,
    };
    if services.len() >= SERVICES_MAX {
        // What only waits for money makes room.
        let Some(idle) = services.iter().position(|service| !is_used(service)) else {
            if let Some(used) = used_in_all(request) {
                effects.facts.suspense += 1;
                let cdr = usage_cdr(scene, account, &service, used);
                effects.cdrs.push(RatedCdr { kind: CdrKind::Suspense, ..cdr });
            }
            return ServiceResult::Denied(Denial::ServiceDenied);
        };
        services.remove(idle);
    }
    let result = serve_known(scene, account, &mut service, request, effects);
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
    account: &mut Account,
    service: &mut ServiceState,
    request: &ServiceRequest,
    effects: &mut Effects<()>,
) -> ServiceResult {
    // The service's own hold is dropped first; the grant replaces what was left of the last one (R23).
    let dropped = service.grant.take();
    // A report that was overtaken by a request for more says nothing of the grant that this one got.
    let reports_only = request.requested == Requested::Nothing && !scene.settles_only;
    let newer = dropped.as_ref().filter(|grant| reports_only && grant.number >= scene.number).cloned();
    let last = dropped.map(|GrantState { quantity, at, validity_seconds, reservation, .. }| {
        account.release(reservation);
        LastGrant { quantity, at, validity_seconds }
    });
    let price = scene.tariff.price(scene.context.service, &service.key);
    let used = used_in_all(request);
    let used_up = match (last, price) {
        (Some(last), Some((_, price))) => {
            let used = used.and_then(|used| used.quantity(price.measure));
            used.unwrap_or(0) >= last.quantity / 5 * 4
        }
        _ => false,
    };
    let hurried = last
        .filter(|last| used_up && scene.now.seconds_since(last.at) < u64::from(last.validity_seconds) / HURRIED_SHARE);
    if let Some(used) = used {
        let denial = report(scene, account, service, used, price, last.map(|last| last.quantity), effects);
        service.since = scene.when;
        if let Some(denial) = denial {
            keep(account, service, newer);
            return ServiceResult::Denied(denial);
        }
    }
    let wanted = match request.requested {
        _ if scene.settles_only => return ServiceResult::Settled,
        Requested::Nothing => {
            keep(account, service, newer);
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
        service.since = scene.when;
    }
    let granted = match wanted.money {
        Some(money) => grant_money(scene, account, service, money),
        None => grant_units(scene, account, service, wanted, price, hurried),
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
fn keep(account: &mut Account, service: &mut ServiceState, grant: Option<GrantState>) {
    service.grant = grant.map(|grant| {
        let reservation = account.reserve_again(&grant.reservation);
        GrantState { reservation, ..grant }
    });
}

/// The sum of what a service reports; `None` when it reports nothing.
fn used_in_all(request: &ServiceRequest) -> Option<Units> {
    let (first, others) = request.used.split_first()?;
    Some(others.iter().fold(first.units, |sum, used| sum.plus(&used.units)))
}

/// Settles what was used (design 3.2). Returns why nothing more may be granted, if so.
fn report(
    scene: &Scene<'_>,
    account: &mut Account,
    service: &mut ServiceState,
    used: Units,
    price: Option<(u16, &Price)>,
    granted: Option<u64>,
    effects: &mut Effects<()>,
) -> Option<Denial> {
    let mut suspend = |account: &Account, service: &ServiceState, denial: Denial| {
        effects.facts.suspense += 1;
        effects.cdrs.push(RatedCdr { kind: CdrKind::Suspense, ..usage_cdr(scene, account, service, used) });
        Some(denial)
    };
    // All of the service's usage must fit into the session's life: reports may have waited and come at once.
    let elapsed = scene.now.seconds_since(scene.opened);
    let octets_max = elapsed.saturating_add(OCTETS_GRACE_SECONDS).saturating_mul(OCTETS_PER_SECOND_MAX);
    let octets = used_before(scene, service, Unit::Octet).saturating_add(used.octets());
    let seconds = used_before(scene, service, Unit::Second).saturating_add(used.seconds.unwrap_or(0));
    if octets > octets_max || seconds > elapsed.saturating_add(SECONDS_GRACE) {
        return suspend(account, service, Denial::UsageSuspect);
    }
    let purpose = Purpose { service: scene.context.service, key: &service.key, at: service.since.min(scene.when) };
    let foreign = used.money.and_then(|money| money.currency).is_some_and(|code| code != account.currency.numeric());
    let counted = used.octets() > 0 || used.seconds.unwrap_or(0) > 0 || used.events.unwrap_or(0) > 0;
    if let Some(money) = used.money.filter(|money| !counted || money.amount != Money::ZERO) {
        if counted {
            // Which of both is to be charged is for a person to say.
            return suspend(account, service, Denial::RatingFailed);
        }
        // The network rated this itself: debited as it is (RFC 8506 8.22).
        let charge = money.amount;
        let charged = service.rated.charged.checked_add(charge);
        let network_rated = service.rated.network_rated.checked_add(charge);
        let (Some(charged), Some(network_rated)) = (charged, network_rated) else {
            return suspend(account, service, Denial::UsageSuspect);
        };
        if foreign || charge.is_negative() {
            return suspend(account, service, Denial::RatingFailed);
        }
        let charged_before = service.rated.charged;
        let Some(movements) = account.take_money(charge, purpose) else {
            return suspend(account, service, Denial::UsageSuspect);
        };
        service.rated.charged = charged;
        service.rated.network_rated = network_rated;
        let rating = Rating {
            tariff: scene.tariff.clone(),
            price: PriceId::new(""),
            measure: None,
            used_before: 0,
            used: charge.micros().unsigned_abs(),
            rated_before: 0,
            rated: 0,
            charged_before,
            lines: PriceLines::new(),
            beyond_grant: charge.micros().unsigned_abs().saturating_sub(granted.unwrap_or(0)),
        };
        effects.facts.charged_micros = effects.facts.charged_micros.saturating_add(charge.micros());
        if charge > Money::ZERO {
            let draft = usage_cdr(scene, account, service, used);
            effects.cdrs.push(RatedCdr { amount: charge, movements, rating: Some(rating), ..draft });
        }
        return None;
    }
    if !counted {
        return None;
    }
    let Some((index, price)) = price else {
        return suspend(account, service, Denial::RatingFailed);
    };
    let Some(quantity) = used.quantity(price.measure) else {
        return suspend(account, service, Denial::RatingFailed);
    };
    let charged_before = service.rated.charged;
    let settled = match rating::settle(account, scene.tariff, index, &mut service.rated, quantity, purpose) {
        Ok(settled) => settled,
        Err(RatingError::NoPrice) => return suspend(account, service, Denial::RatingFailed),
        Err(RatingError::OutOfRange) => return suspend(account, service, Denial::UsageSuspect),
    };
    let beyond_grant = quantity.saturating_sub(granted.unwrap_or(0));
    effects.facts.beyond_grant += u32::from(beyond_grant > 0);
    effects.facts.charged_micros = effects.facts.charged_micros.saturating_add(settled.amount.micros());
    let rating = Rating {
        tariff: scene.tariff.clone(),
        price: price.id.clone(),
        measure: Some(price.measure),
        used_before: settled.used_before,
        used: quantity,
        rated_before: settled.rated_before,
        rated: settled.rated,
        charged_before,
        lines: settled.lines,
        beyond_grant,
    };
    let draft = usage_cdr(scene, account, service, used);
    effects.cdrs.push(RatedCdr { amount: settled.amount, movements: settled.movements, rating: Some(rating), ..draft });
    None
}

/// What a service has used so far and was charged for, of one unit.
fn used_before(scene: &Scene<'_>, service: &ServiceState, unit: Unit) -> u64 {
    let counts = |price: u16| scene.tariff.prices().get(usize::from(price)).map(|price| price.measure.unit());
    let lines = service.rated.lines.iter().filter(|line| counts(line.price) == Some(unit));
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

/// Grants money that the network rates itself. What is granted is used from now on: the client's time is for usage.
fn grant_money(
    scene: &Scene<'_>,
    account: &mut Account,
    service: &mut ServiceState,
    wanted: MoneyUnits,
) -> Result<Grant, Denial> {
    if wanted.amount <= Money::ZERO || wanted.currency.is_some_and(|code| code != account.currency.numeric()) {
        return Err(Denial::RatingFailed);
    }
    let purpose = Purpose { service: scene.context.service, key: &service.key, at: scene.now };
    let (amount, holds) = rating::afford_money(account, wanted.amount, purpose);
    if amount == Money::ZERO {
        return Err(Denial::CreditLimitReached);
    }
    let validity_seconds = match scene.profile.validity_seconds {
        0 => GrantPolicy::standard(Unit::Event).validity_seconds,
        seconds => seconds,
    };
    let reservation = account.reserve(&holds);
    let quantity = amount.micros().unsigned_abs();
    service.grant = Some(GrantState { number: scene.number, quantity, at: scene.now, validity_seconds, reservation });
    let money = MoneyUnits { amount, currency: Some(account.currency.numeric()) };
    Ok(Grant {
        units: GrantUnits::money(money),
        validity_seconds,
        threshold: 0,
        last: amount < wanted.amount && scene.profile.marks_final,
    })
}

/// Grants units: sized, cut to what is affordable, held (design 3.3, D11, R22).
fn grant_units(
    scene: &Scene<'_>,
    account: &mut Account,
    service: &mut ServiceState,
    wanted: Units,
    price: Option<(u16, &Price)>,
    hurried: Option<LastGrant>,
) -> Result<Grant, Denial> {
    let (index, price) = price.ok_or(Denial::RatingFailed)?;
    let purpose = Purpose { service: scene.context.service, key: &service.key, at: scene.now };
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
    let (asked, affordable) = match named.filter(|_| !scene.profile.resizes) {
        Some(quantity) => {
            let asked = quantity.min(cap);
            (asked, rating::afford(account, index, price, &service.rated, asked, purpose))
        }
        None => {
            let policy = price.grant;
            // A client that used the last grant up early gets twice as much.
            let grown = hurried.map_or(policy.default, |last| last.quantity.saturating_mul(2).max(policy.default));
            let size = grown.min(policy.cap).min(cap);
            // Near empty, grants taper so that several sessions can share what is left.
            let ample = size.saturating_mul(4);
            let line = service.rated.lines.iter().find(|line| line.price == index);
            if rating::is_ample(account, price, line, ample, purpose) {
                (size, rating::afford(account, index, price, &service.rated, size, purpose))
            } else {
                let there = rating::afford(account, index, price, &service.rated, ample, purpose);
                let share = (there.quantity / 2).max(policy.floor).min(size);
                if there.quantity <= share {
                    // All there is. Whether more was wanted decides whether it is final.
                    (size.max(there.quantity.saturating_add(1)), there)
                } else {
                    (share, rating::afford(account, index, price, &service.rated, share, purpose))
                }
            }
        }
    };
    let quantity = affordable.quantity;
    if quantity == 0 {
        return Err(Denial::CreditLimitReached);
    }
    let cut = quantity < asked;
    let mut validity_seconds = match scene.profile.validity_seconds {
        0 => price.grant.validity_seconds,
        seconds => seconds,
    };
    // A bucket that stops or begins to pay inside the grant's life: come back when it does (R41).
    let begins = if price.zero_rated { None } else { account.next_beginning(price.measure.unit(), purpose) };
    let edge = begins.map_or(affordable.valid_to, |begins| begins.min(affordable.valid_to));
    let until = edge.millis().saturating_sub(scene.now.millis()) / 1000;
    if edge != Timestamp::NEVER {
        validity_seconds = validity_seconds.min(u32::try_from(until.max(1)).unwrap_or(u32::MAX));
    }
    let reservation = account.reserve(&affordable.holds);
    service.grant = Some(GrantState { number: scene.number, quantity, at: scene.now, validity_seconds, reservation });
    let is_last = cut && scene.profile.marks_final;
    let threshold = if cut || !scene.profile.thresholds {
        0
    } else {
        quantity.saturating_mul(price.grant.threshold_percent.into()) / 100
    };
    Ok(Grant { units: as_asked(price.measure, quantity, &wanted), validity_seconds, threshold, last: is_last })
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

impl Scene<'_> {
    /// What CDRs of this command name as their source.
    pub(super) fn source(&self, service: &ServiceKey) -> CdrSource {
        CdrSource::Network {
            session: self.session.clone(),
            request: self.number,
            service: service.clone(),
            context: self.context.clone(),
        }
    }
}
