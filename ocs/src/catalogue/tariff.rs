//! Tariff documents to checked [`TariffVersion`]s.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use rating_engine::calendar::{Calendar, Holiday, Span, Weekday, Window, WindowId, Zone};
use rating_engine::ids::{CounterId, OfferName, PriceId, RatingGroup, ServiceId, TariffName};
use rating_engine::money::{Currency, Money, Rate, Rounding, RoundingMode, RoundingScope};
use rating_engine::networks::Networks;
use rating_engine::selector::{Direction, Filter};
use rating_engine::tariff::{
    Exchange, GrantPolicy, PerWindow, Price, Pulse, Service, TariffDraft, TariffVersion, Tier, TierScope, Tiers,
    VersionPolicy,
};
use rating_engine::time::Timestamp;
use rating_engine::units::{Measure, Unit};
use rating_engine::zones::Zones;
use schemars::JsonSchema;
use serde::Deserialize;

use super::canonical::{self, Named};
use super::text::{
    parse_days, parse_holiday, parse_instant, parse_pulse, parse_quantity, parse_rat, parse_rate, parse_ratio,
    parse_slice, parse_time, parse_weekday, pattern,
};
use super::{CatalogueError, Check, Form, RawFinance};

/// A version of a tariff.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tariff")]
pub(super) struct Document {
    /// The tariff's name: letters, digits, '-', '_', '.'.
    #[schemars(regex(pattern = pattern::NAME))]
    tariff: String,
    /// The version's number; a version never changes.
    version: u32,
    /// First instant in force: 2027-01-01, or 2027-01-01T00:00:00Z; left out: always.
    valid_from: Option<String>,
    /// IANA name of the zone whose wall clock counts; left out: UTC.
    time_zone: Option<String>,
    /// What happens to open sessions when a later version comes into force: split or session_start.
    #[schemars(extend("enum" = ["split", "session_start", null]))]
    policy: Option<String>,
    /// ISO 4217 letters.
    #[schemars(regex(pattern = pattern::CURRENCY))]
    currency: String,
    /// Decimals 0 to 6, mode half_up, half_even, up or down, scope line, event or bill.
    #[serde(default)]
    rounding: RawRounding,
    /// Zones: names with prefixes of numbers; the longest wins.
    #[serde(default)]
    zones: BTreeMap<String, Vec<String>>,
    /// Lists of networks: names with countries (MCC) and networks (MCC-MNC).
    #[serde(default)]
    networks: BTreeMap<String, Vec<String>>,
    /// Windows of local time.
    calendar: Option<RawCalendar>,
    /// Exchange rates, by id, for prices in other currencies.
    #[serde(default)]
    exchange: BTreeMap<String, RawExchange>,
    /// Prices; of those that match the most specific wins.
    prices: Vec<RawPrice>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Exchange")]
struct RawExchange {
    #[schemars(regex(pattern = pattern::CURRENCY))]
    from: String,
    decimals: Option<u8>,
    rates: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Calendar")]
struct RawCalendar {
    default: Option<String>,
    holiday_as: Option<String>,
    #[serde(default)]
    holidays: Vec<String>,
    windows: Vec<RawWindow>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Window")]
struct RawWindow {
    name: String,
    spans: Vec<RawSpan>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Span")]
struct RawSpan {
    days: Vec<String>,
    month_days: Vec<u8>,
    months: Vec<u8>,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Rounding")]
struct RawRounding {
    decimals: u8,
    #[schemars(extend("enum" = ["half_up", "half_even", "up", "down"]))]
    mode: String,
    #[schemars(extend("enum" = ["line", "event", "bill"]))]
    scope: String,
}

impl Default for RawRounding {
    fn default() -> Self {
        Self { decimals: 4, mode: "half_up".to_owned(), scope: "event".to_owned() }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Price")]
struct RawPrice {
    /// Unique in the version.
    id: String,
    /// data, voice, sms, mms or other-N.
    #[schemars(regex(pattern = pattern::SERVICE))]
    service: Option<String>,
    rating_group: Option<u32>,
    service_id: Option<u32>,
    /// A zone of the number called, or of the caller.
    zone: Option<String>,
    /// A list of networks that the serving network is in.
    visited: Option<String>,
    #[serde(default)]
    rat: Vec<String>,
    #[serde(default)]
    apn: Vec<String>,
    #[serde(default)]
    slice: Vec<String>,
    #[schemars(extend("enum" = ["outgoing", "incoming", null]))]
    direction: Option<String>,
    window: Option<String>,
    /// seconds, total_octets, uplink_octets, downlink_octets or events.
    #[schemars(extend("enum" = ["seconds", "total_octets", "uplink_octets", "downlink_octets", "events"]))]
    measure: String,
    /// So much for so many units: 0.09 / min, 0.02 / MiB, 0.09.
    #[schemars(regex(pattern = pattern::RATE))]
    rate: Option<String>,
    tiers: Option<Vec<RawTier>>,
    /// session, or cycle: tiers go on over all sessions of a cycle.
    #[schemars(extend("enum" = ["session", "cycle", null]))]
    tier_scope: Option<String>,
    /// The subscriber's counter that tiers of a cycle look at; left out: the price's id.
    counter: Option<String>,
    /// 60/1 (first/next), or one length: 100 KiB.
    #[schemars(regex(pattern = pattern::PULSE))]
    pulse: Option<String>,
    #[schemars(regex(pattern = pattern::MONEY))]
    connect_fee: Option<String>,
    #[serde(default)]
    windows: BTreeMap<String, RawWindowed>,
    #[serde(default)]
    connect_fee_when_bundled: bool,
    #[schemars(regex(pattern = pattern::MONEY))]
    min_charge: Option<String>,
    #[schemars(regex(pattern = pattern::MONEY))]
    max_charge: Option<String>,
    #[serde(default)]
    zero_rated: bool,
    /// The account's counter of what its subscribers use together.
    pool: Option<String>,
    /// An offer that is bought at first use.
    #[schemars(regex(pattern = pattern::NAME))]
    buys: Option<String>,
    /// The exchange whose currency its amounts are in.
    exchange: Option<String>,
    grant: Option<RawGrant>,
    #[serde(default)]
    finance: RawFinance,
}

/// What of a price differs in one window.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Windowed")]
struct RawWindowed {
    #[schemars(regex(pattern = pattern::RATE))]
    rate: Option<String>,
    tiers: Option<Vec<RawTier>>,
    #[schemars(regex(pattern = pattern::MONEY))]
    connect_fee: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tier")]
struct RawTier {
    #[schemars(regex(pattern = pattern::QUANTITY))]
    up_to: Option<String>,
    #[schemars(regex(pattern = pattern::RATE))]
    rate: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Grant")]
struct RawGrant {
    #[schemars(regex(pattern = pattern::QUANTITY))]
    default: Option<String>,
    #[schemars(regex(pattern = pattern::QUANTITY))]
    floor: Option<String>,
    #[schemars(regex(pattern = pattern::QUANTITY))]
    cap: Option<String>,
    #[schemars(regex(pattern = pattern::QUANTITY))]
    validity: Option<String>,
    threshold: Option<String>,
}

/// Parses one document.
///
/// # Errors
/// Its syntax error, or every problem in it.
pub(super) fn parse(text: &str, form: Form) -> Result<Arc<TariffVersion>, CatalogueError> {
    let document: Document = super::read(text, form)?;
    let mut check = Check::default();
    let currency = check.take(
        "currency",
        Currency::parse(&document.currency)
            .ok_or_else(|| format!("'{}' is no ISO 4217 currency that we know; write e.g. EUR", document.currency)),
    );
    let rounding = rounding(&mut check, &document.rounding);
    let frame = Frame::read(&mut check, &document, currency);
    let prices: Vec<Option<Price>> =
        document.prices.iter().enumerate().map(|(number, raw)| price(&mut check, &frame, number, raw)).collect();
    super::check_name(&mut check, "tariff", &document.tariff);
    if let (true, Some(currency), Some(rounding)) = (check.problems.is_empty(), currency, rounding) {
        let prices = prices.into_iter().flatten().collect();
        let name = TariffName::new(&document.tariff);
        let draft = TariffDraft::new(name, document.version, currency, rounding, prices, [0; 32]);
        let Frame { zone, valid_from, policy, zones, networks, calendar, exchanges, windows, holidays, holiday_as } =
            frame;
        let mut draft = TariffDraft { zone, valid_from, policy, zones, networks, calendar, exchanges, ..draft };
        draft.content_hash = canonical::content_hash(
            &draft,
            &Named {
                zones: &document.zones,
                networks: &document.networks,
                windows: &windows,
                holidays: &holidays,
                holiday_as: &format!("{holiday_as:?}"),
            },
        );
        return draft.publish().map_err(CatalogueError::Problems);
    }
    Err(CatalogueError::Problems(check.problems))
}

/// What prices refer to.
struct Frame {
    zone: Zone,
    valid_from: Timestamp,
    policy: VersionPolicy,
    zones: Zones,
    networks: Networks,
    calendar: Option<Calendar>,
    exchanges: Vec<Exchange>,
    windows: Vec<Window>,
    holidays: Vec<Holiday>,
    holiday_as: Weekday,
}

impl Frame {
    fn read(check: &mut Check, document: &Document, currency: Option<Currency>) -> Self {
        let zone = Zone::get(document.time_zone.as_deref().unwrap_or("UTC"));
        // Without one the rest is checked all the same.
        let zone = check.take("time_zone", zone).unwrap_or_else(Zone::utc);
        let policy = match document.policy.as_deref() {
            None | Some("split") => VersionPolicy::Split,
            Some("session_start") => VersionPolicy::SessionStart,
            Some(other) => {
                check.problem("policy", &format!("'{other}' is no policy; use split or session_start"));
                VersionPolicy::Split
            }
        };
        let valid_from = document.valid_from.as_ref();
        let valid_from = valid_from.and_then(|text| check.take("valid_from", parse_instant(text, &zone)));
        let zones: Vec<_> = document.zones.iter().map(|(name, prefixes)| (name, prefixes.clone())).collect();
        let networks: Vec<_> = document.networks.iter().map(|(name, entries)| (name, entries.clone())).collect();
        if document.calendar.is_some() && document.time_zone.is_none() {
            check.problem("time_zone", "windows are of local time: name the zone, e.g. Europe/Berlin");
        }
        let parts = document.calendar.as_ref().map(|raw| (raw, calendar_parts(check, raw)));
        let (mut windows, mut holidays, mut holiday_as) = (Vec::new(), Vec::new(), Weekday::Sunday);
        let mut calendar = None;
        if let Some((raw, Some(parts))) = parts {
            (windows, holidays, holiday_as) = parts;
            let default = raw.default.as_deref().unwrap_or("default");
            calendar = check.take_all(Calendar::new(zone.clone(), default, &windows, holidays.clone(), holiday_as));
        }
        let exchanges = document.exchange.iter().filter_map(|(id, raw)| exchange(check, &zone, currency, id, raw));
        let exchanges = exchanges.collect();
        Self {
            zone,
            exchanges,
            valid_from: valid_from.unwrap_or(Timestamp::from_millis(i64::MIN)),
            policy,
            zones: check.take_all(Zones::new(&zones)).unwrap_or_default(),
            networks: check.take_all(Networks::new(&networks)).unwrap_or_default(),
            calendar,
            windows,
            holidays,
            holiday_as,
        }
    }

    fn window(&self, name: &str) -> Result<WindowId, String> {
        let known =
            self.calendar.as_ref().and_then(|calendar| calendar.id(name)).filter(|id| *id != WindowId::default());
        known.ok_or_else(|| format!("the calendar has no window '{name}'"))
    }
}

fn exchange(check: &mut Check, zone: &Zone, to: Option<Currency>, id: &str, raw: &RawExchange) -> Option<Exchange> {
    let path = |member: &str| format!("exchange.{id}.{member}");
    let from = Currency::parse(&raw.from)
        .ok_or_else(|| format!("'{}' is no ISO 4217 currency that we know; write e.g. USD", raw.from));
    let from = check.take(&path("from"), from);
    if from.is_some() && from == to {
        check.problem(&path("from"), "is the tariff's own currency: nothing is to be converted");
    }
    let decimals = raw.decimals.unwrap_or_else(|| to.map_or(2, |currency| currency.decimals()));
    if decimals > 6 {
        check.problem(&path("decimals"), "has 0 to 6 decimals");
    }
    let mut rates = Vec::new();
    for (date, rate) in &raw.rates {
        let path = path(&format!("rates.{date}"));
        let (from, ratio) = (check.take(&path, parse_instant(date, zone)), check.take(&path, parse_ratio(rate)));
        rates.extend(from.zip(ratio));
    }
    rates.sort_by_key(|(from, _)| *from);
    Some(Exchange { id: id.into(), from: from?, decimals, rates: rates.into() })
}

fn calendar_parts(check: &mut Check, raw: &RawCalendar) -> Option<(Vec<Window>, Vec<Holiday>, Weekday)> {
    let mut windows = Vec::new();
    for (number, window) in raw.windows.iter().enumerate() {
        let mut spans = Vec::new();
        for (place, span) in window.spans.iter().enumerate() {
            let path = |member: &str| format!("calendar.windows[{number}].spans[{place}].{member}");
            let mut weekdays = Vec::new();
            for text in &span.days {
                weekdays.extend(check.take(&path("days"), parse_days(text)).into_iter().flatten());
            }
            let mut time = |member: &str, text: Option<&String>, usual: u32| match text {
                Some(text) => check.take(&path(member), parse_time(text)),
                None => Some(usual),
            };
            let (from, to) = (time("from", span.from.as_ref(), 0), time("to", span.to.as_ref(), 86_400));
            let (month_days, months) = (span.month_days.clone(), span.months.clone());
            spans.push(Span { weekdays, month_days, months, from: from?, to: to? });
        }
        windows.push(Window { name: window.name.as_str().into(), spans });
    }
    let mut holidays = Vec::new();
    for (number, text) in raw.holidays.iter().enumerate() {
        holidays.extend(check.take(&format!("calendar.holidays[{number}]"), parse_holiday(text)));
    }
    let holiday_as = match raw.holiday_as.as_deref() {
        None => Some(Weekday::Sunday),
        Some(text) => check.take("calendar.holiday_as", parse_weekday(text)),
    };
    Some((windows, holidays, holiday_as?))
}

fn filter(check: &mut Check, frame: &Frame, raw: &RawPrice, path: &dyn Fn(&str) -> String) -> Option<Filter> {
    let mut named = Filter {
        rating_group: raw.rating_group.map(RatingGroup::new),
        service_id: raw.service_id.map(ServiceId::new),
        apns: raw.apn.iter().map(|apn| apn.to_ascii_lowercase().into()).collect(),
        ..Filter::default()
    };
    if let Some(text) = &raw.service {
        named.service = Some(check.take(&path("service"), Service::from_str(text))?);
    }
    if let Some(name) = &raw.zone {
        let id = frame.zones.id(name).ok_or_else(|| format!("the tariff has no zone '{name}'"));
        named.zone = Some(check.take(&path("zone"), id)?);
    }
    if let Some(name) = &raw.visited {
        let id = frame.networks.id(name).ok_or_else(|| format!("the tariff has no list of networks '{name}'"));
        named.networks = Some(check.take(&path("visited"), id)?);
    }
    if let Some(name) = &raw.window {
        named.window = Some(check.take(&path("window"), frame.window(name))?);
    }
    named.direction = match raw.direction.as_deref() {
        None => None,
        Some("outgoing") => Some(Direction::Outgoing),
        Some("incoming") => Some(Direction::Incoming),
        Some(other) => {
            check.problem(&path("direction"), &format!("'{other}' is no direction; use outgoing or incoming"));
            None
        }
    };
    let mut rats = Vec::new();
    for text in &raw.rat {
        rats.extend(check.take(&path("rat"), parse_rat(text)).into_iter().flatten());
    }
    let mut slices = Vec::new();
    for text in &raw.slice {
        slices.extend(check.take(&path("slice"), parse_slice(text)));
    }
    (named.rats, named.slices) = (rats.into(), slices.into());
    Some(named)
}

/// Rates as a document has them: one, or tiers.
fn rates(
    check: &mut Check,
    path: &dyn Fn(&str) -> String,
    rate: Option<&String>,
    tiers: Option<&Vec<RawTier>>,
    unit: Unit,
) -> Option<Tiers> {
    match (rate, tiers) {
        (Some(rate), None) => check.take(&path("rate"), parse_rate(rate, unit)).map(Tiers::flat),
        (None, Some(tiers)) => {
            let mut parsed = Vec::new();
            for (number, tier) in tiers.iter().enumerate() {
                let tier_path = path(&format!("tiers[{number}]"));
                let up_to = match &tier.up_to {
                    Some(text) => Some(check.take(&format!("{tier_path}.up_to"), parse_quantity(text, unit))?),
                    None => None,
                };
                let rate = check.take(&format!("{tier_path}.rate"), parse_rate(&tier.rate, unit))?;
                parsed.push(Tier { up_to, rate });
            }
            check.take(&path("tiers"), Tiers::new(parsed).map_err(str::to_owned))
        }
        (None, None) => {
            check.problem(&path("rate"), "a price needs a rate, tiers, or zero_rated: true");
            None
        }
        (Some(_), Some(_)) => {
            check.problem(&path("rate"), "a price has a rate or tiers, not both");
            None
        }
    }
}

fn rounding(check: &mut Check, raw: &RawRounding) -> Option<Rounding> {
    let mode = check.take(
        "rounding.mode",
        match raw.mode.as_str() {
            "half_up" => Ok(RoundingMode::HalfUp),
            "half_even" => Ok(RoundingMode::HalfEven),
            "up" => Ok(RoundingMode::Up),
            "down" => Ok(RoundingMode::Down),
            other => Err(format!("'{other}' is no mode; use half_up, half_even, up or down")),
        },
    );
    let scope = check.take(
        "rounding.scope",
        match raw.scope.as_str() {
            "line" => Ok(RoundingScope::Line),
            "event" => Ok(RoundingScope::Event),
            "bill" => Ok(RoundingScope::Bill),
            other => Err(format!("'{other}' is no scope; use line, event or bill")),
        },
    );
    let rounding = Rounding::new(raw.decimals, mode?, scope?).ok_or_else(|| "has 0 to 6 decimals".to_owned());
    check.take("rounding.decimals", rounding)
}

fn price(check: &mut Check, frame: &Frame, number: usize, raw: &RawPrice) -> Option<Price> {
    let path = |member: &str| format!("prices[{number}].{member}");
    let measure = check.take(
        &path("measure"),
        match raw.measure.as_str() {
            "seconds" => Ok(Measure::Seconds),
            "total_octets" => Ok(Measure::TotalOctets),
            "uplink_octets" => Ok(Measure::UplinkOctets),
            "downlink_octets" => Ok(Measure::DownlinkOctets),
            "events" => Ok(Measure::Events),
            other => Err(format!(
                "'{other}' is no measure; use seconds, total_octets, uplink_octets, downlink_octets or events"
            )),
        },
    )?;
    let unit = measure.unit();
    let filter = filter(check, frame, raw, &path)?;
    let tiers = match (&raw.rate, &raw.tiers, raw.zero_rated) {
        (None, None, true) => Some(Tiers::flat(Rate::ZERO)),
        (_, _, true) => {
            check.problem(&path("zero_rated"), "a zero-rated price has no rate and no tiers; leave them out");
            None
        }
        (rate, tiers, false) => rates(check, &path, rate.as_ref(), tiers.as_ref(), unit),
    };
    let mut windowed_tiers = Vec::new();
    let mut windowed_fees = Vec::new();
    for (name, windowed) in &raw.windows {
        let path = |member: &str| path(&format!("windows.{name}.{member}"));
        let window = check.take(path("").trim_end_matches('.'), frame.window(name))?;
        if windowed.rate.is_some() || windowed.tiers.is_some() {
            windowed_tiers.push((window, rates(check, &path, windowed.rate.as_ref(), windowed.tiers.as_ref(), unit)?));
        }
        if let Some(text) = &windowed.connect_fee {
            let fee = Money::from_str(text).map_err(|error| error.to_string());
            windowed_fees.push((window, check.take(&path("connect_fee"), fee)?));
        }
    }
    let pulse = match &raw.pulse {
        Some(text) => check.take(&path("pulse"), parse_pulse(text, unit)),
        None => Some(Pulse::ONE),
    };
    let mut money = |member: &str, text: &Option<String>| match text {
        Some(text) => check.take(&path(member), Money::from_str(text).map_err(|error| error.to_string())).map(Some),
        None => Some(None),
    };
    let connect_fee = money("connect_fee", &raw.connect_fee);
    let min_charge = money("min_charge", &raw.min_charge);
    let max_charge = money("max_charge", &raw.max_charge);
    if raw.zero_rated {
        for (member, given) in [
            ("connect_fee", raw.connect_fee.is_some()),
            ("connect_fee_when_bundled", raw.connect_fee_when_bundled),
            ("min_charge", raw.min_charge.is_some()),
            ("max_charge", raw.max_charge.is_some()),
            ("windows", !raw.windows.is_empty()),
        ] {
            if given {
                check.problem(&path(member), "a zero-rated price charges nothing; leave it out, or give a rate of 0");
            }
        }
    }
    let grant = grant(check, number, raw.grant.as_ref(), unit);
    let tier_scope = match (raw.tier_scope.as_deref(), &raw.counter) {
        (None | Some("session"), None) => TierScope::Session,
        (Some("cycle"), counter) => TierScope::Cycle(CounterId::new(counter.as_ref().unwrap_or(&raw.id))),
        (None | Some("session"), Some(_)) => {
            check.problem(&path("counter"), "only tiers of a cycle have a counter; say tier_scope: cycle");
            TierScope::Session
        }
        (Some(other), _) => {
            check.problem(&path("tier_scope"), &format!("'{other}' is no scope of tiers; use session or cycle"));
            TierScope::Session
        }
    };
    let exchange = raw.exchange.as_ref().map(|name| {
        let place = frame.exchanges.iter().position(|exchange| *exchange.id == **name);
        let place = place.and_then(|place| u8::try_from(place).ok());
        check.take(&path("exchange"), place.ok_or_else(|| format!("the tariff has no exchange '{name}'")))
    });
    if let Some(offer) = &raw.buys {
        super::check_name(check, &path("buys"), offer);
    }
    if raw.id.is_empty() || raw.id.len() > 64 {
        check.problem(&path("id"), "a price's id has 1 to 64 characters");
    }
    Some(Price {
        id: PriceId::new(&raw.id),
        filter,
        measure,
        pulse: pulse?,
        tiers: PerWindow::new(tiers?, windowed_tiers),
        tier_scope,
        connect_fee: PerWindow::new(connect_fee?.unwrap_or(Money::ZERO), windowed_fees),
        connect_fee_when_bundled: raw.connect_fee_when_bundled,
        exchange: match exchange {
            Some(place) => Some(place?),
            None => None,
        },
        min_charge: min_charge?,
        max_charge: max_charge?,
        zero_rated: raw.zero_rated,
        pool: raw.pool.as_deref().map(CounterId::new),
        buys: raw.buys.as_deref().map(OfferName::new),
        grant: grant?,
        finance: raw.finance.codes(),
    })
}

fn grant(check: &mut Check, number: usize, raw: Option<&RawGrant>, unit: Unit) -> Option<GrantPolicy> {
    let standard = GrantPolicy::standard(unit);
    let Some(raw) = raw else { return Some(standard) };
    let path = |member: &str| format!("prices[{number}].grant.{member}");
    let mut quantity = |member: &str, text: &Option<String>, fallback: u64| match text {
        Some(text) => check.take(&path(member), parse_quantity(text, unit)),
        None => Some(fallback),
    };
    let default = quantity("default", &raw.default, standard.default);
    let floor = quantity("floor", &raw.floor, standard.floor.min(default.unwrap_or(standard.floor)));
    let cap = quantity("cap", &raw.cap, standard.cap.max(default.unwrap_or(standard.cap)));
    let validity_seconds = match &raw.validity {
        Some(text) => {
            let seconds = check.take(&path("validity"), parse_quantity(text, Unit::Second));
            seconds.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX))
        }
        None => Some(standard.validity_seconds),
    };
    let threshold_percent = match &raw.threshold {
        Some(text) => {
            let percent = text.trim().trim_end_matches('%').trim().parse::<u8>();
            check.take(&path("threshold"), percent.map_err(|_| format!("'{text}' is no percentage; write e.g. 20%")))
        }
        None => Some(standard.threshold_percent),
    };
    Some(GrantPolicy {
        default: default?,
        floor: floor?,
        cap: cap?,
        validity_seconds: validity_seconds?,
        threshold_percent: threshold_percent?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::parse_tariff;

    const GOOD: &str = r#"
tariff: start-payg
version: 1
currency: EUR
rounding: {decimals: 4, mode: half_up, scope: event}
prices:
  - {id: data, service: data, measure: total_octets, rate: "0.02/MiB", pulse: "100 KiB"}
  - id: voice
    service: voice
    measure: seconds
    pulse: "60/60"
    connect_fee: "0.05"
    tiers: [{up_to: 3 min, rate: 0.20/min}, {rate: 0.05/min}]
  - {id: messaging, service: data, rating_group: 100, measure: total_octets, zero_rated: true}
"#;

    #[test]
    fn a_document_becomes_a_tariff() {
        let tariff = parse_tariff(GOOD).unwrap();
        assert_eq!(tariff.prices().len(), 3);
        assert_eq!(tariff.prices()[0].id.as_str(), "messaging", "the most specific price comes first");
        assert_eq!(parse_tariff(GOOD).unwrap().content_hash(), tariff.content_hash());
        assert_ne!(parse_tariff(&GOOD.replace("0.02", "0.03")).unwrap().content_hash(), tariff.content_hash());
    }

    #[test]
    fn every_problem_is_named_with_its_place() {
        let bad = GOOD
            .replace("EUR", "EUX")
            .replace("\"0.02/MiB\"", "\"-0.02/MiB\"")
            .replace("up_to: 3 min", "up_to: 3 lightyears");
        let Err(CatalogueError::Problems(problems)) = parse_tariff(&bad) else { panic!("accepted") };
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["currency", "prices[0].rate", "prices[1].tiers[0].up_to"]);
        let Err(CatalogueError::Syntax { line, reason }) = parse_tariff(&GOOD.replace("prices:", "prizes:")) else {
            panic!("accepted")
        };
        assert!(reason.contains("prizes") && line > 1, "{line}: {reason}");
    }

    /// However it is written; and nothing else has the same hash.
    #[test]
    fn the_same_tariff_has_the_same_hash() {
        let hash = |text: &str| *parse_tariff(text).unwrap_or_else(|error| panic!("{error}\n{text}")).content_hash();
        for (one, same) in [
            ("0.02/MiB", "0.04 / 2 MiB"),
            ("\"100 KiB\"", "\"102400/102400\""),
            ("rounding: {decimals: 4, mode: half_up, scope: event}\n", ""),
            ("\"0.05\"", "\"0.050\""),
            ("version: 1\n", "version: 1\npolicy: split\ntime_zone: UTC\n"),
        ] {
            assert!(GOOD.contains(one));
            assert_eq!(hash(GOOD), hash(&GOOD.replace(one, same)), "{same}");
        }
        for (one, same) in [
            ("valid_from: 2027-01-01 ", "valid_from: 2026-12-31T23:00:00Z "),
            ("national: [\"49\"]", "national: [\"+49\"]"),
            ("\"4915\", \"4916\"", "\"4916\", \"4915\""),
            ("\"228-01\"", "\"22801\""),
            ("days: [sat-sun], from: \"00:00\", to: \"24:00\"", "days: [sunday, sat]"),
            ("apn: [fleet]", "apn: [FLEET]"),
            ("rat: [nb-iot, lte-m]", "rat: [\"9\", \"8\"]"),
            ("# What depends", "# Whatever depends"),
        ] {
            assert!(EUROPE.contains(one), "{one}");
            assert_eq!(hash(EUROPE), hash(&EUROPE.replace(one, same)), "{same}");
        }
        let mut all = vec![hash(EUROPE)];
        for (one, other) in [
            ("version: 2", "version: 3"),
            ("2027-01-01 ", "2027-01-02 "),
            ("policy: split", "policy: session_start"),
            ("holiday_as: sunday", "holiday_as: monday"),
            ("easter+1", "easter+39"),
            ("to: \"06:00\"", "to: \"05:00\""),
            ("\"4916\"", "\"4918\""),
            ("\"228-01\"", "\"228-02\""),
            ("visited: neighbour", "visited: eu, rat: [nr]"),
            ("direction: incoming", "direction: outgoing"),
            ("night: {rate: 0.05 / min, connect_fee: \"0.02\"}", "night: {rate: 0.05 / min, connect_fee: \"0.03\"}"),
            ("weekend: {rate: 0.05 / min}", "weekend: {rate: 0.06 / min}"),
            ("pulse: 1 KiB", "pulse: 2 KiB"),
        ] {
            assert!(EUROPE.contains(one), "{one}");
            all.push(hash(&EUROPE.replace(one, other)));
        }
        // Sessions and CDRs name it: this form is frozen.
        let hex: String = hash(EUROPE).iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(hex, "3918b4411d09b93853a8aa39c995141014a573a4912a47beb4d189206ebddef8");
        let several = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), several);
    }

    const EUROPE: &str = include_str!("../../../docs/examples/nights-and-roaming.yaml");

    #[test]
    fn zones_networks_windows_and_versions_are_read() {
        let tariff = parse_tariff(EUROPE).unwrap();
        // Midnight of New Year in Berlin.
        assert_eq!(tariff.valid_from().to_string(), "2026-12-31T23:00:00.000Z");
        let at = |text: &str| parse_instant(text, &Zone::get("UTC").unwrap()).unwrap();
        let window = |text: &str| {
            let window = tariff.window_at(at(text)).window;
            tariff.calendar().unwrap().name(window).to_owned()
        };
        assert_eq!(window("2027-01-13T12:00:00Z"), "day");
        assert_eq!(window("2027-01-13T21:00:00Z"), "night");
        assert_eq!(window("2027-01-16T12:00:00Z"), "weekend");
        assert_eq!(window("2027-05-06T12:00:00Z"), "weekend", "a holiday counts as Sunday");
        let meters = tariff.prices().iter().find(|price| price.id.as_str() == "meters").unwrap();
        assert_eq!((&meters.filter.rats[..], &*meters.filter.apns[0]), (&[8, 9][..], "fleet"));
    }

    #[test]
    fn every_problem_of_what_prices_refer_to_is_named() {
        let bad = EUROPE
            .replace("Europe/Berlin\n", "Berlin\n")
            .replace("policy: split", "policy: guess")
            .replace("[\"4915\", \"4916\", \"4917\"]", "[\"49\", \"4x\"]")
            .replace("\"228-01\"", "\"22\"")
            .replace("zone: premium", "zone: luxury")
            .replace("rat: [nb-iot, lte-m]", "rat: [6g]");
        let Err(CatalogueError::Problems(problems)) = parse_tariff(&bad) else { panic!("accepted") };
        let mut paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in
            ["time_zone", "policy", "zones.mobile[1]", "zones.national[0]", "networks.neighbour[0]", "prices[8].rat"]
        {
            assert!(paths.contains(&path), "{path} in {paths:?}");
        }
        assert!(problems[0].reason.contains("did you mean Europe/Berlin?"), "{}", problems[0]);
    }

    #[test]
    fn a_price_that_can_never_win_is_refused() {
        let bad = EUROPE.replace("{id: sms-eu, service: sms, visited: eu,", "{id: sms-eu, service: sms,");
        let Err(CatalogueError::Problems(problems)) = parse_tariff(&bad) else { panic!("accepted") };
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            ["prices[10].id: unreachable: 'sms' is for everything that this one is for, and comes first"]
        );
        // Another network within the list is covered by it, too.
        let bad = EUROPE.replace("neighbour: [\"228-01\"]", "neighbour: [\"208-01\"]");
        assert!(parse_tariff(&bad).is_err());
    }

    #[test]
    fn a_zero_rated_price_has_no_fee_and_no_limits() {
        let bad = GOOD.replace(
            "zero_rated: true",
            "zero_rated: true, connect_fee: \"0.05\", min_charge: \"0.01\", max_charge: \"1.00\"",
        );
        let Err(CatalogueError::Problems(problems)) = parse_tariff(&bad) else { panic!("accepted") };
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["prices[2].connect_fee", "prices[2].min_charge", "prices[2].max_charge"]);
        assert!(problems.iter().all(|problem| problem.reason.contains("leave it out")));
    }
}
