//! Re-rating: what usage that was charged would have cost by the versions of its tariff that are in force for its time now
//! (R32).
//!
//! Pure: it reads CDRs and prices them again with the code that charges everything. What unit buckets paid stays paid; only
//! money is priced anew. Absent: which CDRs, and the adjustment of an account, which is a mutation.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::account::{Account, AccountState, Bucket, CdrTrail, Counter, Counters, Credit, Holding, Means, Origin};
use crate::cdr::{CdrKind, CdrSource, RatedCdr, Rating};
use crate::ids::{AccountId, BucketId, CdrPosition, GroupId, SessionId, SubscriberId, TenantId};
use crate::money::{Currency, Money};
use crate::periods::Periods;
use crate::rating::{self, RatingError, Slices};
use crate::refund::{Charge, GiveBack, Return, event_of};
use crate::session::Rated;
use crate::tariff::{ServiceKey, TariffVersion, TierScope};
use crate::tariffs::{Book, Pricing, Tariffs};
use crate::time::Timestamp;
use crate::units::Unit;

/// What a CDR charged too much or too little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// What is known of the charge: which CDR, and what corrected it since. The account's [`GiveBack::given_back`] is that of
    /// when the CDRs were looked at; whoever books it says it.
    pub known: GiveBack,
    /// What the CDR says.
    pub original: RatedCdr,
    /// What is to be charged more than has been so far; below 0, what goes back. Never 0.
    pub amount: Money,
    /// How it is priced now; what was charged before is the original with earlier corrections.
    pub rating: Rating,
}

impl Correction {
    /// The CDR.
    pub const fn position(&self) -> CdrPosition {
        self.known.position
    }
}

/// What tells services apart whose usage adds up: those of one session, or of one request of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceName {
    session: SessionId,
    subscriber: Option<SubscriberId>,
    key: ServiceKey,
    event: Option<u32>,
}

impl ServiceName {
    /// The service that a CDR of rated usage is of; `None` for any other CDR.
    pub fn of(cdr: &RatedCdr) -> Option<Self> {
        let (CdrKind::Usage, Some(_), CdrSource::Network { session, request, service, .. }) =
            (cdr.kind, &cdr.rating, &cdr.source)
        else {
            return None;
        };
        Some(Self {
            session: session.clone(),
            subscriber: cdr.subscriber,
            key: service.clone(),
            event: event_of(cdr.kind, cdr.cause, &cdr.source).map(|_| *request),
        })
    }

    /// Whether `next` goes on with what `cdrs` of this name say, who charged so much together; if not, the name has begun anew.
    pub fn goes_on<'a>(mut cdrs: impl Iterator<Item = &'a RatedCdr>, charged: Money, next: &RatedCdr) -> bool {
        let Some(rating) = &next.rating else { return false };
        let line = |rating: &Rating| (rating.tariff.version(), rating.place, rating.window, rating.rate);
        let was_used = |other: &Rating| line(other) == line(rating) && other.used > 0;
        // Nothing used before of a line that was used before: another session under this id.
        let anew = rating.used_before == 0 && cdrs.any(|cdr| cdr.rating.as_ref().is_some_and(was_used));
        charged == rating.charged_before && !anew
    }
}

/// CDRs as they come, gathered service by service.
#[derive(Debug, Default)]
pub struct Charged {
    /// By session, and in it by service as they appeared.
    sessions: HashMap<SessionId, Vec<Service>>,
    /// CDRs of usage that are held.
    held: usize,
    /// What gave back or corrected a CDR since, in order.
    returns: HashMap<CdrPosition, Vec<(CdrPosition, Return)>>,
}

/// The usage of a service, and how often its name has begun anew before.
#[derive(Debug)]
struct Service {
    name: ServiceName,
    times: Vec<Vec<(CdrPosition, RatedCdr)>>,
}

/// What is to be corrected of some services, and which CDRs could not be priced again; each by position.
pub type Plan = (Vec<Correction>, Vec<(CdrPosition, Unpriced)>);

impl Charged {
    /// Takes the next CDR, in the order of the stream; what gives back or corrects others may be taken before them.
    pub fn add(&mut self, position: CdrPosition, cdr: RatedCdr) {
        if cdr.kind != CdrKind::Usage {
            if let Some(back) = Return::of(cdr.kind, cdr.corrects, &cdr.source, cdr.movements) {
                self.returns.entry(back.corrects).or_default().push((position, back));
            }
            return;
        }
        let Some(name) = ServiceName::of(&cdr) else { return };
        let services = self.sessions.entry(name.session.clone()).or_default();
        let place = services.iter().position(|service| service.name == name).unwrap_or(services.len());
        if place == services.len() {
            services.push(Service { name, times: Vec::new() });
        }
        let Some(Service { times: of_name, .. }) = services.get_mut(place) else { return };
        self.held = self.held.saturating_add(1);
        let goes_on = of_name.last().is_some_and(|cdrs| {
            let charged = cdrs.iter().fold(Money::ZERO, |sum, (_, cdr)| sum.saturating_add(cdr.amount));
            ServiceName::goes_on(cdrs.iter().map(|(_, cdr)| cdr), charged, &cdr)
        });
        match of_name.last_mut().filter(|_| goes_on) {
            Some(cdrs) => cdrs.push((position, cdr)),
            None => of_name.push(vec![(position, cdr)]),
        }
    }

    /// What is known of the charge of one of a service's CDRs.
    fn known(&self, cdrs: &[(CdrPosition, RatedCdr)], (position, original): &(CdrPosition, RatedCdr)) -> GiveBack {
        let event = event_of(original.kind, original.cause, &original.source);
        // What the network gives back of an event is of all that it charged the account.
        let beside = |(at, cdr): &&(CdrPosition, RatedCdr)| {
            at == position || (event.is_some() && cdr.account == original.account)
        };
        let charges: Vec<Charge> = cdrs
            .iter()
            .filter(beside)
            .map(|(position, cdr)| Charge {
                position: *position,
                used: cdr.rating.as_ref().map_or(0, |rating| rating.used),
                movements: cdr.movements.clone(),
            })
            .collect();
        let returns = charges.iter().filter_map(|charge| self.returns.get(&charge.position)).flatten();
        let mut returns: Vec<_> = returns.collect();
        returns.sort_unstable_by_key(|(at, _)| *at);
        GiveBack {
            position: *position,
            account: original.account,
            subscriber: original.subscriber,
            used_from: Some(original.usage_start),
            event: event.cloned(),
            charges,
            returns: returns.into_iter().map(|(_, back)| back.clone()).collect(),
            given_back: Vec::new(),
            amount: None,
        }
    }

    /// What earlier corrections changed of a CDR's charge.
    fn corrected(&self, position: CdrPosition) -> Money {
        let returns = self.returns.get(&position).into_iter().flatten();
        let moved = returns.filter(|(_, back)| back.is_correction).flat_map(|(_, back)| &back.movements);
        let moved = moved.filter(|movement| movement.holding == Holding::Money);
        moved.fold(Money::ZERO, |sum, movement| sum.saturating_sub(Money::from_micros(movement.delta)))
    }

    /// CDRs of usage that are held.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// The position of the last CDR of a session's usage.
    pub fn last_of(&self, session: &SessionId) -> Option<CdrPosition> {
        let times = self.sessions.get(session)?.iter().flat_map(|service| &service.times);
        times.flatten().map(|(position, _)| *position).max()
    }

    /// Says what the CDRs of a session that are `wanted` charged otherwise than they cost now, and lets go of it.
    pub fn close(&mut self, session: &SessionId, tariffs: &Tariffs, wanted: impl Fn(&RatedCdr) -> bool) -> Plan {
        let services = self.sessions.remove(session).unwrap_or_default();
        let count: usize = services.iter().flat_map(|service| &service.times).map(Vec::len).sum();
        self.held = self.held.saturating_sub(count);
        self.plan(services.iter(), tariffs, wanted)
    }

    /// The sessions that are held, by their first CDR.
    pub fn open(&self) -> Vec<SessionId> {
        let first = |services: &[Service]| {
            let cdrs = services.iter().flat_map(|service| &service.times).flatten();
            cdrs.map(|(position, _)| *position).min()
        };
        let mut sessions: Vec<_> = self.sessions.iter().map(|(id, services)| (first(services), id.clone())).collect();
        sessions.sort_unstable_by_key(|(first, _)| *first);
        sessions.into_iter().map(|(_, id)| id).collect()
    }

    /// What the CDRs that are `wanted` charged otherwise than it costs now, by position; and which of them could not be priced
    /// again.
    pub fn corrections(&self, tariffs: &Tariffs, wanted: impl Fn(&RatedCdr) -> bool) -> Plan {
        self.plan(self.sessions.values().flatten(), tariffs, wanted)
    }

    fn plan<'a>(
        &self,
        services: impl Iterator<Item = &'a Service>,
        tariffs: &Tariffs,
        wanted: impl Fn(&RatedCdr) -> bool,
    ) -> Plan {
        let (mut corrections, mut unpriced) = (Vec::new(), Vec::new());
        for cdrs in services.flat_map(|service| &service.times) {
            let wanted = || cdrs.iter().filter(|(_, cdr)| wanted(cdr));
            if wanted().next().is_none() {
                continue;
            }
            let plain: Vec<RatedCdr> = cdrs.iter().map(|(_, cdr)| cdr.clone()).collect();
            let repriced = match reproduced(&plain, tariffs.periods()).and_then(|()| reprice(&plain, tariffs)) {
                Ok(repriced) => repriced,
                Err(reason) => {
                    unpriced.extend(wanted().map(|(position, _)| (*position, reason)));
                    continue;
                }
            };
            for (charge, Repriced { amount, rating }) in cdrs.iter().zip(repriced) {
                let (position, original) = charge;
                let so_far = original.amount.saturating_add(self.corrected(*position));
                let amount = amount.saturating_sub(so_far);
                if amount == Money::ZERO || !wanted().any(|(known, _)| known == position) {
                    continue;
                }
                let known = self.known(cdrs, charge);
                if known.money_left() != Some(so_far) {
                    unpriced.push((*position, Unpriced::Refunded));
                    continue;
                }
                let (original, rating) = (original.clone(), Rating { charged_before: so_far, ..rating });
                corrections.push(Correction { known, original, amount, rating });
            }
        }
        corrections.sort_unstable_by_key(Correction::position);
        unpriced.sort_unstable_by_key(|(position, _)| *position);
        (corrections, unpriced)
    }
}

/// Why usage cannot be priced again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpriced {
    /// The first CDRs of the service are missing: what it costs in all cannot be told.
    Incomplete,
    /// The versions that charged it do not lead to what it was charged when they are asked again: its CDRs do not say enough,
    /// where two accounts or buckets of different times shared a pulse.
    Unlike,
    /// No version of the tariff is for its time, or none in the currency that was charged.
    NoVersion,
    /// No price is for it any more.
    NoPrice,
    /// The new price counts a cycle that the old one did not.
    NewCycle,
    /// It was given back, in part or in full.
    Refunded,
    /// An amount does not fit.
    OutOfRange,
}

impl std::fmt::Display for Unpriced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Incomplete => "its first CDRs are missing",
            Self::Unlike => "its CDRs do not say enough to charge it again as it was",
            Self::NoVersion => "no version of its tariff is for its time in its currency",
            Self::NoPrice => "no price is for it any more",
            Self::NewCycle => "its new price counts a cycle that the old one did not",
            Self::Refunded => "it was refunded",
            Self::OutOfRange => "its new amount does not fit",
        })
    }
}

/// What a CDR's usage costs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repriced {
    /// In all.
    pub amount: Money,
    /// By which price; the first where windows or versions divide it now. Quantities and components are left out: they
    /// are counted with the original.
    pub rating: Rating,
}

/// Whether the versions that charged the usage CDRs of one service say the same of them now: only then can it be told what others
/// say.
///
/// # Errors
/// Why it cannot: [`Unpriced::Unlike`] where they say something else.
pub fn reproduced(cdrs: &[RatedCdr], periods: Option<&Arc<Periods>>) -> Result<(), Unpriced> {
    let mut then = Tariffs::default();
    let mut last: Option<&Arc<TariffVersion>> = None;
    for version in cdrs.iter().filter_map(|cdr| cdr.rating.as_ref()).map(|rating| &rating.tariff) {
        if last.is_none_or(|last| !Arc::ptr_eq(last, version)) {
            then.insert(version.clone());
            last = Some(version);
        }
    }
    periods.into_iter().for_each(|periods| then.insert_periods(periods.clone()));
    let same = priced(cdrs, &then, true)?.iter().zip(cdrs).all(|(repriced, cdr)| repriced.amount == cdr.amount);
    if same { Ok(()) } else { Err(Unpriced::Unlike) }
}

/// Prices the usage CDRs of one service of one session or event again, in their order, all of them from the first. Returns
/// as many results.
///
/// # Errors
/// Why the service cannot be priced again.
pub fn reprice(cdrs: &[RatedCdr], tariffs: &Tariffs) -> Result<Vec<Repriced>, Unpriced> {
    priced(cdrs, tariffs, false)
}

/// Prices them by what is in force for their subscriber; or, `kept`, each by the version that charged it.
fn priced(cdrs: &[RatedCdr], tariffs: &Tariffs, kept: bool) -> Result<Vec<Repriced>, Unpriced> {
    let mut results = Vec::with_capacity(cdrs.len());
    let (mut rated, mut charged) = (Rated::default(), Money::ZERO);
    // Where the seconds so far end if they are laid end to end, and when they were reported.
    let mut laid: Option<(Timestamp, Timestamp)> = None;
    // Windows tell price lines apart where they did: others paid in them (R40).
    let by_window = cdrs.iter().filter_map(|cdr| cdr.rating.as_ref()).any(|old| {
        let price = old.tariff.prices().get(usize::from(old.place));
        price.is_some_and(|price| price.line_window(old.window) != old.window)
    });
    let first = cdrs.first().and_then(|cdr| Some((cdr, cdr.rating.as_ref()?)));
    let Some((first, first_rating)) = first else { return Ok(results) };
    let (name, who) = (first_rating.tariff.name(), first.subscriber);
    let version = if kept { Some(&first_rating.tariff) } else { tariffs.at(name, first.usage_start, who) };
    let version = version.ok_or(Unpriced::NoVersion)?;
    if version.currency() != first.currency {
        return Err(Unpriced::NoVersion);
    }
    for cdr in cdrs {
        let (Some(old), CdrSource::Network { service, context, .. }) = (&cdr.rating, &cdr.source) else {
            return Err(Unpriced::Incomplete);
        };
        if old.charged_before != charged {
            return Err(Unpriced::Incomplete);
        }
        charged = charged.checked_add(cdr.amount).ok_or(Unpriced::OutOfRange)?;
        let Some(measure) = old.measure else {
            // The network rated it itself: no price is for it.
            rated.charged = rated.charged.checked_add(cdr.amount).ok_or(Unpriced::OutOfRange)?;
            rated.network_rated = rated.network_rated.checked_add(cdr.amount).ok_or(Unpriced::OutOfRange)?;
            results.push(Repriced { amount: cdr.amount, rating: without_quantities(old.clone()) });
            continue;
        };
        let unit = measure.unit();
        let book = if kept { Book::keeping(&old.tariff, tariffs) } else { Book::new(version, tariffs, who) };
        let pricing = Pricing { book, context, key: service, by_window };
        // Seconds go on from the first one used; after a pause, and after a switch that was told, they begin anew.
        let at = match laid {
            Some((end, reported)) if unit == Unit::Second && old.slice == 0 && reported == cdr.usage_start => end,
            _ => cdr.usage_start,
        };
        let used = i64::try_from(old.used).map_err(|_| Unpriced::OutOfRange)?;
        laid = Some((at.plus_seconds(used), cdr.usage_end));
        let applied = pricing.at(at).ok_or(Unpriced::NoPrice)?;
        if applied.price.measure != measure {
            return Err(Unpriced::NoPrice);
        }
        let by_units = units_of(cdr, unit);
        let reached = old.tier_from.saturating_sub(if unit == Unit::Second { by_units } else { 0 });
        let old_price = old.tariff.prices().get(usize::from(old.place));
        let counters = match (&applied.price.tier_scope, old_price.map(|price| &price.tier_scope)) {
            (TierScope::Session, _) => Vec::new(),
            (TierScope::Cycle(id), Some(TierScope::Cycle(_))) => vec![Counter {
                id: id.clone(),
                unit,
                used: reached,
                used_before: reached,
                cycle_start: Timestamp::from_millis(i64::MIN),
                cycle_end: Timestamp::NEVER,
            }],
            (TierScope::Cycle(_), _) => return Err(Unpriced::NewCycle),
        };
        let (mut account, mut counters) = (payer(cdr.currency, unit, by_units), Counters::new(counters));
        let mut means = Means { account: &mut account, sponsor: None, counters: &mut counters };
        let mut slices = Slices::new();
        let done = rating::settle(&mut means, &pricing, &mut rated, old.used, at, applied, &mut slices);
        done.map_err(|error| match error {
            RatingError::NoPrice => Unpriced::NoPrice,
            RatingError::OutOfRange => Unpriced::OutOfRange,
        })?;
        let amount = slices.iter().fold(Money::ZERO, |sum, slice| sum.saturating_add(slice.amount));
        let rating = Rating {
            tariff: applied.version.clone(),
            price: applied.price.id.clone(),
            place: applied.place,
            window: applied.window,
            rate: applied.rate,
            ..old.clone()
        };
        results.push(Repriced { amount, rating: without_quantities(rating) });
    }
    Ok(results)
}

/// Units that buckets paid.
fn units_of(cdr: &RatedCdr, unit: Unit) -> u64 {
    let units = cdr.movements.iter().filter(|movement| movement.holding == Holding::Units(unit));
    units.fold(0, |sum, movement| sum.saturating_add(movement.delta.unsigned_abs()))
}

fn without_quantities(rating: Rating) -> Rating {
    Rating { used: 0, rated: 0, lines: Default::default(), beyond_grant: 0, slice: 0, ..rating }
}

/// Somebody who has just the units that were taken then, and all the money in the world.
fn payer(currency: Currency, unit: Unit, units: u64) -> Account {
    let bucket = Bucket {
        id: BucketId::new("units"),
        holding: Holding::Units(unit),
        origin: Origin::Granted,
        balance: i64::try_from(units).unwrap_or(i64::MAX),
        reserved: 0,
        priority: 0,
        valid_from: Timestamp::from_millis(i64::MIN),
        valid_to: Timestamp::NEVER,
        scope: None,
        terms: None,
    };
    Account {
        id: AccountId::new(0),
        group: GroupId::default(),
        tenant: TenantId::default(),
        currency,
        state: AccountState::Active,
        credit: Some(Credit { limit: Money::MAX, spent: Money::ZERO, reserved: Money::ZERO }),
        debt: Money::ZERO,
        buckets: if units == 0 { Vec::new() } else { vec![bucket] },
        totals: Vec::new(),
        contract: None,
        cdrs: CdrTrail::default(),
    }
}
