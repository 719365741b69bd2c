//! What things cost: tariff versions and the prices in them, as checked values.
//!
//! A [`TariffVersion`] is immutable and shared; sessions hold on to the one they began with. Documents are parsed
//! outside; [`TariffDraft::publish`] takes the parts or says every reason why not, and nothing needs checking afterwards.
//! Which price wins is in [`crate::selector`], which version is in force in [`crate::tariffs`]. Absent here: offers.

use std::fmt;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::calendar::{Calendar, WindowAt, WindowId, Zone};
use crate::ids::{CounterId, OfferName, PriceId, RatingGroup, ServiceId, TariffName};
use crate::money::{Currency, Exact, Money, Rate, Ratio, Rounding};
use crate::networks::Networks;
use crate::selector::{self, Filter, Selector, Subject};
use crate::time::Timestamp;
use crate::units::{Measure, Unit};
use crate::zones::Zones;

/// Which kind of service is charged: the number in Service-Context-Id (RFC 8506 8.42, TS 32.299 7.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Packet data (TS 32.251).
    Data,
    /// Voice and other IMS sessions (TS 32.260, 32.275, 32.276).
    Voice,
    /// Short messages (TS 32.274).
    Sms,
    /// Multimedia messages (TS 32.270).
    Mms,
    /// Any other service context, by its TS number; 0 for private contexts.
    Other(u32),
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data => f.write_str("data"),
            Self::Voice => f.write_str("voice"),
            Self::Sms => f.write_str("sms"),
            Self::Mms => f.write_str("mms"),
            Self::Other(number) => write!(f, "other-{number}"),
        }
    }
}

impl std::str::FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "data" => Ok(Self::Data),
            "voice" => Ok(Self::Voice),
            "sms" => Ok(Self::Sms),
            "mms" => Ok(Self::Mms),
            _ => text
                .strip_prefix("other-")
                .and_then(|number| number.parse().ok())
                .map(Self::Other)
                .ok_or_else(|| format!("'{text}' is no service; use data, voice, sms, mms or other-<TS number>")),
        }
    }
}

/// What is charged within a session: a rating group, services, both or neither (RFC 8506 8.16).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// Rating-Group, when given.
    pub rating_group: Option<RatingGroup>,
    /// Service-Identifiers: a set, in ascending order.
    pub services: Box<[ServiceId]>,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rating_group {
            Some(group) => write!(f, "rg {group}")?,
            None => f.write_str("default")?,
        }
        self.services.iter().try_for_each(|service| write!(f, " service {service}"))
    }
}

/// Billing increments (R05): a first one, then steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pulse {
    first: u64,
    next: u64,
}

impl Pulse {
    /// No rounding of quantities.
    pub const ONE: Self = Self { first: 1, next: 1 };

    /// `None` when either part is 0.
    pub const fn new(first: u64, next: u64) -> Option<Self> {
        if first == 0 || next == 0 { None } else { Some(Self { first, next }) }
    }

    /// The first increment, in the price's unit.
    pub const fn first(self) -> u64 {
        self.first
    }

    /// Every further increment.
    pub const fn next(self) -> u64 {
        self.next
    }

    /// The quantity that `quantity` rates as: 0 for 0, else whole pulses; `None` when it does not fit (R05).
    pub fn round_up(self, quantity: u64) -> Option<u64> {
        if quantity == 0 {
            return Some(0);
        }
        let steps = quantity.saturating_sub(self.first).div_ceil(self.next);
        self.first.checked_add(steps.checked_mul(self.next)?)
    }

    /// What follows the first pulse: no first one any more.
    #[must_use]
    pub const fn following(self) -> Self {
        Self { first: self.next, next: self.next }
    }

    /// The quantity that `pulses` whole pulses hold, from a fresh first one; `None` when it does not fit.
    pub fn checked_quantity(self, pulses: u64) -> Option<u64> {
        if pulses == 0 { Some(0) } else { self.first.checked_add((pulses - 1).checked_mul(self.next)?) }
    }

    /// The quantity that `pulses` whole pulses hold, from a fresh first one; clamped.
    pub fn quantity(self, pulses: u64) -> u64 {
        if pulses == 0 { 0 } else { self.first.saturating_add((pulses - 1).saturating_mul(self.next)) }
    }

    /// How many whole pulses, from a fresh first one, `quantity` reaches into.
    pub fn pulses(self, quantity: u64) -> u64 {
        if quantity == 0 { 0 } else { 1 + quantity.saturating_sub(self.first).div_ceil(self.next) }
    }
}

/// One graduated tier: its rate counts for the quantity up to `up_to` (exclusive of what lies above it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tier {
    /// Where the tier ends, in rated units since the session began; `None` for the last.
    pub up_to: Option<u64>,
    /// What a unit costs inside it.
    pub rate: Rate,
}

/// Graduated tiers in ascending order; the last has no end (R09).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tiers(Box<[Tier]>);

impl Tiers {
    /// One rate for every quantity.
    pub fn flat(rate: Rate) -> Self {
        Self(Box::new([Tier { up_to: None, rate }]))
    }

    /// Takes tiers whose ends ascend and whose last has none; otherwise says what is wrong.
    pub fn new(tiers: Vec<Tier>) -> Result<Self, &'static str> {
        let Some((last, before)) = tiers.split_last() else {
            return Err("there are no tiers");
        };
        if last.up_to.is_some() {
            return Err("the last tier has an end; leave its 'up_to' out");
        }
        let mut reached = 0;
        for tier in before {
            match tier.up_to {
                None => return Err("only the last tier may be without an end"),
                Some(end) if end <= reached => return Err("the tiers' ends do not ascend"),
                Some(end) => reached = end,
            }
        }
        Ok(Self(tiers.into()))
    }

    /// The tiers.
    pub fn as_slice(&self) -> &[Tier] {
        &self.0
    }

    /// Calls `each` with (tier number, quantity) for every tier that `[from, from + quantity)` touches.
    pub fn split(&self, from: u64, quantity: u64, mut each: impl FnMut(usize, u64)) {
        let end = from.saturating_add(quantity);
        let mut at = from;
        for (number, tier) in self.0.iter().enumerate() {
            let tier_end = tier.up_to.unwrap_or(u64::MAX);
            if at >= end {
                return;
            }
            if at < tier_end {
                let here = end.min(tier_end) - at;
                each(number, here);
                at += here;
            }
        }
    }

    /// Whether the unit that follows the first `from` costs nothing.
    pub fn is_free_at(&self, from: u64) -> bool {
        let tier = self.0.iter().find(|tier| tier.up_to.is_none_or(|end| from < end));
        tier.is_none_or(|tier| tier.rate.is_zero())
    }

    /// Exact price of the quantity `[from, from + quantity)`; `None` when it does not fit.
    pub fn price(&self, from: u64, quantity: u64) -> Option<Exact> {
        if let [only] = &*self.0 {
            return only.rate.price(quantity);
        }
        let mut sum = Some(Exact::ZERO);
        self.split(from, quantity, |number, part| {
            let price = self.0.get(number).and_then(|tier| tier.rate.price(part));
            sum = sum.and_then(|sum| sum.checked_add(price?));
        });
        sum
    }
}

/// From where the quantity that graduated tiers look at is counted (R09).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum TierScope {
    /// From the start of the session.
    #[default]
    Session,
    /// From the subscriber's counter of this name, which starts anew with each cycle of the account.
    Cycle(CounterId),
}

/// How grants of a service are sized and bounded when the request leaves it to us (design D11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GrantPolicy {
    /// Units granted when the request names none.
    pub default: u64,
    /// The least that is worth granting, when it is affordable.
    pub floor: u64,
    /// The most that is granted at once.
    pub cap: u64,
    /// Validity-Time, seconds.
    pub validity_seconds: u32,
    /// Threshold: report when at most this share of the grant is left, percent.
    pub threshold_percent: u8,
}

impl GrantPolicy {
    /// A sensible policy for services that count in `unit`.
    pub const fn standard(unit: Unit) -> Self {
        const MIB: u64 = 1_048_576;
        match unit {
            Unit::Octet => {
                Self { default: 10 * MIB, floor: MIB, cap: 1024 * MIB, validity_seconds: 1800, threshold_percent: 20 }
            }
            Unit::Second => Self { default: 300, floor: 60, cap: 3600, validity_seconds: 1800, threshold_percent: 10 },
            Unit::Event => Self { default: 1, floor: 1, cap: 1000, validity_seconds: 600, threshold_percent: 0 },
        }
    }
}

/// What finance needs to know of a price or an offer: on every CDR of it, never interpreted here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FinanceCodes {
    /// Tax category.
    pub tax_category: Box<str>,
    /// Whether amounts include that tax.
    pub tax_included: bool,
    /// Where it counts as supplied.
    pub place_of_supply: Box<str>,
    /// Ledger (G/L) code.
    pub ledger_code: Box<str>,
    /// Revenue rule.
    pub revenue_rule: Box<str>,
}

/// A value that may differ by window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PerWindow<T> {
    /// Where no window says otherwise.
    usual: T,
    /// In these windows.
    windows: Box<[(WindowId, T)]>,
}

impl<T> PerWindow<T> {
    /// The same at all times.
    pub fn always(usual: T) -> Self {
        Self { usual, windows: Box::default() }
    }

    /// This, but others in these windows; a window named twice has what was named first.
    pub fn new(usual: T, windows: Vec<(WindowId, T)>) -> Self {
        Self { usual, windows: windows.into() }
    }

    /// The value in `window`.
    pub fn get(&self, window: WindowId) -> &T {
        self.named(window).unwrap_or(&self.usual)
    }

    /// `window` if it has a value of its own, else the default window: what tells price lines apart (R02).
    pub fn line_window(&self, window: WindowId) -> WindowId {
        if self.named(window).is_some() { window } else { WindowId::default() }
    }

    /// All values, the usual one first.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.usual).chain(self.windows.iter().map(|(_, value)| value))
    }

    /// The windows that have a value of their own.
    pub fn windows(&self) -> impl Iterator<Item = WindowId> {
        self.windows.iter().map(|(window, _)| *window)
    }

    #[inline]
    fn named(&self, window: WindowId) -> Option<&T> {
        self.windows.iter().find(|(named, _)| *named == window).map(|(_, value)| value)
    }
}

/// One price: what it is for, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// Its id, unique in the version.
    pub id: PriceId,
    /// What it is for.
    pub filter: Filter,
    /// What it counts.
    pub measure: Measure,
    /// Increments.
    pub pulse: Pulse,
    /// Rates.
    pub tiers: PerWindow<Tiers>,
    /// From where their tiers are counted.
    pub tier_scope: TierScope,
    /// Once per answered call or used session (R07).
    pub connect_fee: PerWindow<Money>,
    /// Whether the connect fee is taken although a bucket pays the first pulse (R07).
    pub connect_fee_when_bundled: bool,
    /// The exchange that its amounts are converted by, by its place; `None` for amounts in the tariff's currency (R36).
    pub exchange: Option<u8>,
    /// Least charge of one event, when there is one at all (R08).
    pub min_charge: Option<Money>,
    /// Most charge of one event (R08).
    pub max_charge: Option<Money>,
    /// Nothing is charged and no bucket touched (R28).
    pub zero_rated: bool,
    /// The account's counter of what its subscribers use together: for a pool that is charged by its cycle (R42).
    pub pool: Option<CounterId>,
    /// The offer that is bought when this price is first used by a subscriber that does not hold it.
    pub buys: Option<OfferName>,
    /// Sizing of grants.
    pub grant: GrantPolicy,
    /// For finance.
    pub finance: FinanceCodes,
}

impl Price {
    /// A price of one rate, without pulses, fees, limits or windows, and with the unit's standard grants.
    pub fn flat(id: PriceId, filter: Filter, measure: Measure, rate: Rate) -> Self {
        Self {
            id,
            filter,
            measure,
            pulse: Pulse::ONE,
            tiers: PerWindow::always(Tiers::flat(rate)),
            tier_scope: TierScope::Session,
            connect_fee: PerWindow::always(Money::ZERO),
            connect_fee_when_bundled: false,
            exchange: None,
            min_charge: None,
            max_charge: None,
            zero_rated: false,
            pool: None,
            buys: None,
            grant: GrantPolicy::standard(measure.unit()),
            finance: FinanceCodes::default(),
        }
    }

    /// The window that its price line has at times of `window` (R02): the window itself if its rates or fee differ there
    /// or it is only for it.
    pub fn line_window(&self, window: WindowId) -> WindowId {
        if self.filter.window == Some(window) {
            return window;
        }
        let of_rates = self.tiers.line_window(window);
        if of_rates == WindowId::default() { self.connect_fee.line_window(window) } else { of_rates }
    }
}

/// A place in a tariff document and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, e.g. `prices[2].pulse`.
    pub path: String,
    /// What is wrong and what to do.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// What happens to sessions that are open when a new version comes into force (R15).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VersionPolicy {
    /// Each pulse or part is priced by the version in force at its instant.
    #[default]
    Split,
    /// The version in force when a session begins is kept to its end.
    SessionStart,
}

/// How amounts in another currency become the tariff's: dated rates (R36).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its id, unique in the version.
    pub id: Box<str>,
    /// The other currency.
    pub from: Currency,
    /// Decimals that what is converted is rounded to.
    pub decimals: u8,
    /// Rates, each with the first instant at which it is used, ascending.
    pub rates: Box<[(Timestamp, Ratio)]>,
}

/// Exchanges of one tariff version.
pub const EXCHANGES_MAX: usize = 64;
/// Rates of one exchange.
pub const EXCHANGE_RATES_MAX: usize = 4000;

/// The parts of a tariff version, not checked yet.
#[derive(Clone, Debug)]
pub struct TariffDraft {
    /// The tariff's name.
    pub name: TariffName,
    /// The version's number.
    pub version: u32,
    /// First instant at which it is in force; the far past for a tariff's first version.
    pub valid_from: Timestamp,
    /// What happens to open sessions when a later version comes into force.
    pub policy: VersionPolicy,
    /// The currency of every amount in it.
    pub currency: Currency,
    /// Its rounding.
    pub rounding: Rounding,
    /// Whose wall clock counts.
    pub zone: Zone,
    /// Its windows; `None` when nothing depends on the time of day.
    pub calendar: Option<Calendar>,
    /// Its zones of numbers.
    pub zones: Zones,
    /// Its lists of visited networks.
    pub networks: Networks,
    /// How amounts of prices in other currencies are converted.
    pub exchanges: Vec<Exchange>,
    /// Its prices, in document order.
    pub prices: Vec<Price>,
    /// SHA-256 of the canonical document.
    pub content_hash: [u8; 32],
}

impl TariffDraft {
    /// A tariff in force at all times, without windows, zones and networks.
    pub fn new(
        name: TariffName,
        version: u32,
        currency: Currency,
        rounding: Rounding,
        prices: Vec<Price>,
        content_hash: [u8; 32],
    ) -> Self {
        Self {
            name,
            version,
            valid_from: Timestamp::from_millis(i64::MIN),
            policy: VersionPolicy::default(),
            currency,
            rounding,
            zone: Zone::utc(),
            calendar: None,
            zones: Zones::default(),
            networks: Networks::default(),
            exchanges: Vec::new(),
            prices,
            content_hash,
        }
    }

    /// The version, or every reason why the parts make none.
    ///
    /// # Errors
    /// Each [`Problem`] names a place and says what is wrong there.
    pub fn publish(self) -> Result<Arc<TariffVersion>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut problem = |path: String, reason: &str| problems.push(Problem { path, reason: reason.to_owned() });
        if self.prices.is_empty() {
            problem("prices".to_owned(), "a tariff needs at least one price");
        }
        if self.prices.len() > PRICES_MAX {
            problem("prices".to_owned(), "a tariff has at most 65,000 prices");
        }
        for exchange in &self.exchanges {
            let path = |member: &str| format!("exchange.{}.{member}", exchange.id);
            let begin = exchange.rates.first().map(|(from, _)| *from);
            if begin.is_none_or(|begin| begin > self.valid_from && self.valid_from.millis() != i64::MIN) {
                problem(path("rates"), "there is no rate for when the version comes into force");
            }
            if exchange.rates.is_sorted_by(|one, other| one.0 < other.0) && exchange.rates.len() <= EXCHANGE_RATES_MAX {
                continue;
            }
            problem(path("rates"), "has at most 4000 rates, each with its own date");
        }
        if self.exchanges.len() > EXCHANGES_MAX {
            problem("exchange".to_owned(), "a tariff has at most 64 exchanges");
        }
        let mut ids = HashSet::new();
        let mut counters: HashMap<&CounterId, Unit> = HashMap::new();
        for (number, price) in self.prices.iter().enumerate() {
            let path = |member: &str| format!("prices[{number}].{member}");
            if !ids.insert(price.id.as_str()) {
                problem(path("id"), "another price of this tariff has the same id");
            }
            check_price(price, path, &mut problem);
            if let Some(place) = price.exchange
                && self.exchanges.get(usize::from(place)).is_none()
            {
                problem(path("exchange"), "the tariff has no such exchange");
            }
            if let TierScope::Cycle(counter) = &price.tier_scope {
                let counts = price.measure.unit();
                if *counters.entry(counter).or_insert(counts) != counts {
                    problem(path("counter"), "another price counts something else with this counter");
                }
            }
            let windows = price.tiers.windows().chain(price.connect_fee.windows()).chain(price.filter.window);
            let there_are = self.calendar.as_ref().map_or(0, Calendar::windows);
            if windows.into_iter().any(|window| usize::from(window.get()) > there_are) {
                problem(path("window"), "the tariff's calendar has no such window");
            }
        }
        for (number, covering) in selector::shadowed(&self.prices, &self.networks) {
            let by = self.prices.get(covering).map_or("", |price| price.id.as_str());
            let reason = format!("unreachable: '{by}' is for everything that this one is for, and comes first");
            problem(format!("prices[{number}].id"), &reason);
        }
        drop((ids, counters));
        if !problems.is_empty() {
            return Err(problems);
        }
        let Self { name, version, valid_from, policy, currency, rounding, zone, calendar, zones, networks, .. } = self;
        let exchanges = self.exchanges.into();
        let (selector, prices) = Selector::compile(self.prices);
        Ok(Arc::new(TariffVersion {
            name,
            version,
            valid_from,
            policy,
            currency,
            rounding,
            zone,
            calendar,
            zones,
            networks,
            exchanges,
            prices,
            selector,
            content_hash: self.content_hash,
        }))
    }
}

/// Prices of one tariff version.
pub const PRICES_MAX: usize = 65_000;

fn check_price(price: &Price, path: impl Fn(&str) -> String, problem: &mut impl FnMut(String, &str)) {
    if price.connect_fee.values().any(|fee| fee.is_negative())
        || price.min_charge.is_some_and(Money::is_negative)
        || price.max_charge.is_some_and(Money::is_negative)
    {
        problem(path("connect_fee"), "fees and charge limits may not be negative");
    }
    if let (Some(min), Some(max)) = (price.min_charge, price.max_charge)
        && min > max
    {
        problem(path("min_charge"), "the least charge is above the most");
    }
    let grant = price.grant;
    if grant.default == 0 || grant.floor == 0 || grant.floor > grant.cap || grant.default > grant.cap {
        problem(path("grant"), "needs 0 < floor <= cap and 0 < default <= cap");
    }
    if !(30..=86_400).contains(&grant.validity_seconds) {
        problem(path("grant.validity_seconds"), "must lie between 30 and 86400");
    }
    if grant.threshold_percent > 90 {
        problem(path("grant.threshold_percent"), "must be at most 90");
    }
}

/// One version of a tariff: immutable, known by its content hash.
#[derive(Clone, PartialEq, Eq)]
pub struct TariffVersion {
    name: TariffName,
    version: u32,
    valid_from: Timestamp,
    policy: VersionPolicy,
    currency: Currency,
    rounding: Rounding,
    zone: Zone,
    calendar: Option<Calendar>,
    zones: Zones,
    networks: Networks,
    exchanges: Box<[Exchange]>,
    /// Most specific first.
    prices: Box<[Price]>,
    selector: Selector,
    content_hash: [u8; 32],
}

impl fmt::Debug for TariffVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TariffVersion({} {})", self.name, self.version)
    }
}

impl TariffVersion {
    /// The tariff's name.
    pub fn name(&self) -> &TariffName {
        &self.name
    }

    /// The version's number.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// First instant at which it is in force.
    pub fn valid_from(&self) -> Timestamp {
        self.valid_from
    }

    /// What it says, as a version that is in force at all times: what would be charged if there were no other (R32).
    #[must_use]
    pub fn at_all_times(&self) -> Self {
        Self { valid_from: Timestamp::from_millis(i64::MIN), ..self.clone() }
    }

    /// What happens to open sessions when a later version comes into force.
    pub fn policy(&self) -> VersionPolicy {
        self.policy
    }

    /// The currency of every amount in it.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// Its rounding.
    pub fn rounding(&self) -> Rounding {
        self.rounding
    }

    /// Whose wall clock counts.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Its zones of numbers.
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    /// Its lists of visited networks.
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// How amounts in other currencies are converted, in the order in which prices name them.
    pub fn exchanges(&self) -> &[Exchange] {
        &self.exchanges
    }

    /// How amounts of `price` are converted, if they are.
    pub fn exchange(&self, price: &Price) -> Option<&Exchange> {
        price.exchange.and_then(|place| self.exchanges.get(usize::from(place)))
    }

    /// Its windows, if anything depends on the time of day.
    pub fn calendar(&self) -> Option<&Calendar> {
        self.calendar.as_ref()
    }

    /// The name of a price line's window; empty for the default one.
    pub fn window_name(&self, window: WindowId) -> &str {
        if window == WindowId::default() {
            ""
        } else {
            self.calendar.as_ref().map_or("", |calendar| calendar.name(window))
        }
    }

    /// The name of a window, also of the default one; empty without a calendar.
    pub fn name_of(&self, window: WindowId) -> &str {
        self.calendar.as_ref().map_or("", |calendar| calendar.name(window))
    }

    /// SHA-256 of the canonical document.
    pub fn content_hash(&self) -> &[u8; 32] {
        &self.content_hash
    }

    pub(crate) fn selector(&self) -> &Selector {
        &self.selector
    }

    /// All prices, most specific first.
    pub fn prices(&self) -> &[Price] {
        &self.prices
    }

    /// The window in force at `at` (R11), and until when it surely is.
    #[inline]
    pub fn window_at(&self, at: Timestamp) -> WindowAt {
        match &self.calendar {
            None => WindowAt { window: WindowId::default(), until: Timestamp::NEVER },
            Some(calendar) => calendar.window_at(at),
        }
    }

    /// The price for `subject` at times of `window`, with its place among [`Self::prices`]: the most specific that
    /// matches, see [`crate::selector`].
    #[inline]
    pub fn price(&self, subject: &Subject<'_>, window: WindowId) -> Option<(u16, &Price)> {
        let place = self.selector.find(&self.prices, &self.networks, subject, window)?;
        Some((place, self.prices.get(usize::from(place))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulses_round_up_from_a_first_one() {
        let pulse = Pulse::new(30, 6).unwrap();
        for (quantity, rated) in [(0, 0), (1, 30), (30, 30), (31, 36), (36, 36), (37, 42)] {
            assert_eq!(pulse.round_up(quantity), Some(rated), "{quantity}");
            assert_eq!(pulse.quantity(pulse.pulses(quantity)), rated, "{quantity}");
        }
        assert_eq!(Pulse::new(1, u64::MAX).unwrap().round_up(u64::MAX), None);
    }

    #[test]
    fn graduated_tiers_price_only_what_lies_in_them() {
        // 0.20 a minute for three minutes, then 0.05: 601 s, rated 660 s, cost 1.00 (rating rules, worked figures).
        let rate = |micros| Rate::new(micros, 60).unwrap();
        let tiers =
            Tiers::new(vec![Tier { up_to: Some(180), rate: rate(200_000) }, Tier { up_to: None, rate: rate(50_000) }])
                .unwrap();
        assert_eq!(tiers.price(0, 660).unwrap().ceil().unwrap().to_string(), "1.00");
        assert_eq!(tiers.price(120, 120).unwrap().ceil().unwrap().to_string(), "0.25");
    }
}
