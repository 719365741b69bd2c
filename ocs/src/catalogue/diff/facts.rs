//! Documents as facts: everything that a document can say, each with what tells it from others and in words.
//!
//! A fact's `same` decides whether it changed, never its words: they may name a unit, a currency or a length that is a fact of its own.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use rating_engine::account::{Holding, Origin};
use rating_engine::calendar::{Calendar, WindowId, Zone};
use rating_engine::crossing::Threshold;
use rating_engine::money::{Currency, Money, Rate, RoundingMode, RoundingScope};
use rating_engine::offer::{Allowance, OfferVersion};
use rating_engine::periods::Periods;
use rating_engine::selector::Direction;
use rating_engine::tariff::{
    FinanceCodes, GrantPolicy, PerWindow, Price, Pulse, TariffVersion, TierScope, Tiers, VersionPolicy,
};
use rating_engine::time::Timestamp;
use rating_engine::units::{Measure, Unit};

use super::Effect;
use super::words::{self, Said, escaped};
use crate::catalogue::text::rat_names;

/// Prices of one rank that are compared with each other for which comes first.
pub(super) const COMPARED_MAX: usize = 64;

/// One thing that a document says.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    /// Its place within the part.
    pub(super) key: String,
    /// What it is; empty where the part says it.
    pub(super) label: String,
    /// Equal where it means the same.
    pub(super) same: String,
    /// The number in its words, where it is one.
    pub(super) number: String,
    /// The rest of its words.
    pub(super) rest: String,
    /// How a change is said.
    pub(super) style: Style,
    /// What is said where it is absent.
    pub(super) absent: &'static str,
    /// Whether it is what is meant when nothing is said.
    pub(super) is_usual: bool,
    /// What it does to the bill.
    pub(super) weight: Option<Weight>,
    /// The fact that counts where this one is absent.
    pub(super) stands_for: Option<&'static str>,
}

/// How a change of a fact is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// This, was that.
    Value,
    /// An entry that is there or not.
    Member,
    /// A truth.
    Flag,
}

/// What a fact does to the bill. Only what has the same currency and unit can be weighed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Weight {
    of: String,
    what: Weighed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Weighed {
    /// More is dearer: a fraction, and what its absence is.
    Costs((u64, u64), Absent),
    /// More is cheaper.
    Gives(u64, Absent),
    /// Rates up to an end each.
    Tiers(Vec<(u64, (u64, u64))>),
    /// What is begun is charged.
    Pulse(Pulse),
}

/// What it means that an amount is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absent {
    Nothing,
    Unlimited,
}

/// A part of a document: it is there or not as a whole.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) path: String,
    /// What it is, e.g. `price national-peak`.
    pub(super) label: String,
    pub(super) facts: Vec<Fact>,
    /// Whether its amounts begin with the version.
    pub(super) is_dated: bool,
    /// What it does to the bill that there is one more.
    pub(super) effect_of_new: Effect,
}

/// All that a document says.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) parts: Vec<Part>,
    /// When amounts begin to count, as the end of a sentence; empty where that is always.
    pub(super) from: String,
    /// Windows in their order.
    pub(super) windows: Vec<String>,
    /// Prices in their order, by what they are all for: the first of those that match wins.
    pub(super) ranks: BTreeMap<String, Vec<Ranked>>,
    /// Allowances in their order.
    pub(super) allowances: Vec<String>,
    /// What was paid for each of them, by name.
    pub(super) costs: BTreeMap<String, Money>,
}

/// A price among those of its rank.
#[derive(Debug)]
pub(super) struct Ranked {
    pub(super) id: String,
    /// Radio accesses, access points and slices that it is for.
    lists: [BTreeSet<String>; 3],
}

impl Ranked {
    /// Whether something may match both.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        self.lists.iter().zip(&other.lists).all(|(mine, theirs)| mine.is_empty() || !mine.is_disjoint(theirs))
    }
}

impl Fact {
    fn new(key: &str, label: &str, same: impl ToString, (number, rest): Said) -> Self {
        Self {
            key: key.to_owned(),
            label: label.to_owned(),
            same: same.to_string(),
            number,
            rest,
            style: Style::Value,
            absent: "none",
            is_usual: false,
            weight: None,
            stands_for: None,
        }
    }

    /// Its words are all that it means.
    fn text(key: &str, label: &str, text: &str) -> Self {
        Self::new(key, label, text, (String::new(), text.to_owned()))
    }

    fn number(key: &str, label: &str, number: impl ToString) -> Self {
        Self::new(key, label, number.to_string(), (number.to_string(), String::new()))
    }

    fn flag(key: &str, label: &str, is_so: bool) -> Self {
        let said = if is_so { "yes" } else { "no" };
        let fact = Self::new(key, label, is_so, (String::new(), said.to_owned()));
        Self { style: Style::Flag, ..fact }.usual(!is_so)
    }

    fn member(key: &str, label: &str, text: &str) -> Self {
        Self { style: Style::Member, ..Self::text(&format!("{key}/{}", escaped(text)), label, text) }
    }

    fn money(key: &str, label: &str, amount: Money, currency: Currency) -> Self {
        Self::new(key, label, amount.micros(), words::money(amount, currency))
    }

    fn usual(self, is_usual: bool) -> Self {
        Self { is_usual, ..self }
    }

    fn costs(self, of: &str, amount: (u64, u64), absent: Absent) -> Self {
        let weight = Some(Weight { of: of.to_owned(), what: Weighed::Costs(amount, absent) });
        let said = if absent == Absent::Unlimited { "unlimited" } else { self.absent };
        Self { weight, absent: said, ..self }
    }

    fn gives(self, of: &str, amount: u64, absent: Absent) -> Self {
        let weight = Some(Weight { of: of.to_owned(), what: Weighed::Gives(amount, absent) });
        let said = if absent == Absent::Unlimited { "unlimited" } else { self.absent };
        Self { weight, absent: said, ..self }
    }

    /// Its value in words.
    pub(super) fn text_of(&self) -> String {
        format!("{}{}", self.number, self.rest)
    }

    /// It and its value in words, where it is told of a part as a whole.
    pub(super) fn said(&self) -> String {
        match self.style {
            Style::Flag if self.same == "true" => self.label.clone(),
            Style::Flag => format!("not {}", self.label),
            Style::Member | Style::Value if self.label.is_empty() => self.text_of(),
            Style::Member | Style::Value => format!("{} {}", self.label, self.text_of()),
        }
    }
}

const fn micros(amount: Money) -> (u64, u64) {
    (amount.micros().unsigned_abs(), 1)
}

/// What it does to the bill that `old` became `new`; `fact` is the one of them that there is.
pub(super) fn effect(old: Option<&Fact>, new: Option<&Fact>, fact: &Fact) -> Effect {
    let weight = |fact: Option<&Fact>| fact.and_then(|fact| fact.weight.clone());
    let effect = match (weight(old), weight(new)) {
        (Some(old), Some(new)) if old.of == new.of => between(&old.what, &new.what),
        (Some(_), Some(_)) | (None, None) => None,
        (None, Some(new)) => beside_none(&new.what),
        (Some(old), None) => beside_none(&old.what).map(Effect::reversed),
    };
    effect.filter(|_| fact.weight.is_some()).unwrap_or(Effect::Open)
}

fn dearer_if(more: std::cmp::Ordering) -> Option<Effect> {
    match more {
        std::cmp::Ordering::Greater => Some(Effect::Dearer),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Less => Some(Effect::Cheaper),
    }
}

/// Which of two fractions is larger.
fn ordering((a, b): (u64, u64), (c, d): (u64, u64)) -> std::cmp::Ordering {
    (u128::from(a) * u128::from(d)).cmp(&(u128::from(c) * u128::from(b)))
}

fn beside_none(new: &Weighed) -> Option<Effect> {
    match new {
        Weighed::Costs((0, _), Absent::Nothing) | Weighed::Gives(0, Absent::Nothing) => None,
        Weighed::Costs(_, Absent::Nothing) | Weighed::Gives(_, Absent::Unlimited) => Some(Effect::Dearer),
        Weighed::Costs(_, Absent::Unlimited) | Weighed::Gives(_, Absent::Nothing) => Some(Effect::Cheaper),
        Weighed::Tiers(_) | Weighed::Pulse(_) => None,
    }
}

fn between(old: &Weighed, new: &Weighed) -> Option<Effect> {
    match (old, new) {
        (Weighed::Costs(old, _), Weighed::Costs(new, _)) => dearer_if(ordering(*new, *old)),
        (Weighed::Gives(old, _), Weighed::Gives(new, _)) => dearer_if(old.cmp(new)),
        (Weighed::Tiers(old), Weighed::Tiers(new)) => tiers_between(old, new),
        (Weighed::Pulse(old), Weighed::Pulse(new)) => match (within(*new, *old), within(*old, *new)) {
            (true, false) => Some(Effect::Dearer),
            (false, true) => Some(Effect::Cheaper),
            (true, true) | (false, false) => None,
        },
        (Weighed::Costs(..) | Weighed::Gives(..) | Weighed::Tiers(_) | Weighed::Pulse(_), _) => None,
    }
}

/// Whether every quantity that `coarse` rounds to is also one of `fine`: then it never rates less.
fn within(coarse: Pulse, fine: Pulse) -> bool {
    let beyond = coarse.first().checked_sub(fine.first());
    beyond.is_some_and(|beyond| beyond.is_multiple_of(fine.next())) && coarse.next().is_multiple_of(fine.next())
}

fn tiers_between(old: &[(u64, (u64, u64))], new: &[(u64, (u64, u64))]) -> Option<Effect> {
    let rate_at = |tiers: &[(u64, (u64, u64))], unit: u64| tiers.iter().find(|(end, _)| unit < *end).map(|(_, it)| *it);
    let ends = old.iter().chain(new).map(|(end, _)| *end).filter(|end| *end != u64::MAX);
    let mut effects = BTreeSet::new();
    for unit in std::iter::once(0).chain(ends) {
        effects.extend(dearer_if(ordering(rate_at(new, unit)?, rate_at(old, unit)?)));
    }
    // Both in one: it depends on how much is used.
    if effects.len() == 1 { effects.pop_first() } else { None }
}

impl Part {
    fn new(path: String, label: String) -> Self {
        Self { path, label, facts: Vec::new(), is_dated: false, effect_of_new: Effect::Open }
    }
}

fn finance(codes: &FinanceCodes) -> Vec<Fact> {
    let text = |key: &str, label: &str, text: &str| {
        let said = if text.is_empty() { "none".to_owned() } else { format!("\"{text}\"") };
        Fact::new(key, label, text, (String::new(), said)).usual(text.is_empty())
    };
    vec![
        text("finance/tax_category", "tax category", &codes.tax_category),
        Fact::flag("finance/tax_included", "tax included", codes.tax_included),
        text("finance/place_of_supply", "place of supply", &codes.place_of_supply),
        text("finance/ledger_code", "ledger code", &codes.ledger_code),
        text("finance/revenue_rule", "revenue rule", &codes.revenue_rule),
    ]
}

/// When something begins or ends, by the wall clock of `zone`.
fn instant(key: &str, label: &str, at: Timestamp, zone: &Zone, ever: &str) -> Fact {
    let said = words::instant(at, zone);
    let text = said.map_or_else(|| ever.to_owned(), |text| format!("{label}{text}"));
    Fact::new(key, "", at.millis(), (String::new(), text)).usual(at.millis() == i64::MIN)
}

impl Facts {
    pub(super) fn of_tariff(tariff: &TariffVersion) -> Self {
        let mut facts = Self::default();
        let (zone, rounding) = (tariff.zone(), tariff.rounding());
        let mut root = Part::new(String::new(), format!("tariff {}", tariff.name()));
        root.facts = vec![
            Fact::text("tariff", "name", tariff.name().as_str()),
            Fact {
                label: "in force".to_owned(),
                ..instant("valid_from", "from ", tariff.valid_from(), zone, "always")
            },
            Fact::text(
                "policy",
                "open sessions when another version begins:",
                match tariff.policy() {
                    VersionPolicy::Split => "each part by the version of its instant",
                    VersionPolicy::SessionStart => "by the version they began with",
                },
            ),
            Fact::text("currency", "currency", tariff.currency().letters()),
            Fact::text("time_zone", "time zone", zone.name()),
            Fact::number("rounding/decimals", "rounding, decimals", rounding.decimals()),
            Fact::text(
                "rounding/mode",
                "rounding",
                match rounding.mode() {
                    RoundingMode::HalfUp => "half up",
                    RoundingMode::HalfEven => "half to even",
                    RoundingMode::Up => "up",
                    RoundingMode::Down => "down",
                },
            ),
            Fact::text(
                "rounding/scope",
                "rounding of",
                match rounding.scope() {
                    RoundingScope::Line => "each price line",
                    RoundingScope::Event => "each event or service of a session",
                    RoundingScope::Bill => "bills only",
                },
            ),
        ];
        facts.from =
            words::instant(tariff.valid_from(), zone).map_or_else(String::new, |from| format!(", from {from}"));
        facts.parts.push(root);
        if let Some(calendar) = tariff.calendar() {
            facts.add_calendar(calendar);
        }
        facts.add_zones(tariff);
        for (name, entries) in tariff.networks().lists() {
            let mut part = Part::new(format!("networks/{}", escaped(name)), format!("networks {name}"));
            part.facts = entries.map(|entry| Fact::member("", "", &entry)).map(at_the_part).collect();
            facts.parts.push(part);
        }
        for exchange in tariff.exchanges() {
            let label = format!("exchange {}", exchange.id);
            let mut part = Part::new(format!("exchange/{}", escaped(&exchange.id)), label);
            part.facts = vec![
                Fact::text("from", "of", exchange.from.letters()),
                Fact::number("decimals", "decimals", exchange.decimals),
            ];
            for (from, ratio) in &exchange.rates {
                let (to, of) = (tariff.currency(), exchange.from);
                let date = words::instant(*from, zone).unwrap_or_else(|| "always".to_owned());
                let same = format!("{}/{}", ratio.amount(), ratio.per());
                let (key, label) = (format!("rates/{date}"), format!("from {date}"));
                let rate = Fact::new(&key, &label, same, words::ratio(*ratio, to, of));
                let mut rate = rate.costs(&format!("{to}/{of}"), (ratio.amount(), ratio.per()), Absent::Nothing);
                // One rate more or less moves the end of the one before.
                rate.absent = "as before";
                part.facts.push(rate);
            }
            facts.parts.push(part);
        }
        for price in tariff.prices() {
            facts.add_price(tariff, price);
        }
        facts
    }

    fn add_calendar(&mut self, calendar: &Calendar) {
        let mut part = Part::new("calendar".to_owned(), "calendar".to_owned());
        part.facts.push(Fact::text("default", "the rest is called", calendar.name(WindowId::default())));
        let holidays: BTreeSet<String> = calendar.holidays().iter().map(|it| words::holiday(*it)).collect();
        if !holidays.is_empty() {
            part.facts.push(Fact::text("holiday_as", "holidays count as", words::weekday(calendar.holiday_as())));
        }
        part.facts.extend(holidays.iter().map(|holiday| {
            let text = format!("holiday {holiday}");
            Fact { number: String::new(), rest: text, ..Fact::member("holidays", "", holiday) }
        }));
        self.parts.push(part);
        for (number, name) in calendar.names().iter().enumerate().skip(1) {
            let Ok(window) = u8::try_from(number).map(WindowId::new) else { break };
            let mut part = Part::new(format!("calendar/windows/{}", escaped(name)), format!("window {name}"));
            part.facts.push(Fact::text("spans", "", &words::spans(calendar.spans(window))));
            self.parts.push(part);
            self.windows.push(name.to_string());
        }
    }

    fn add_zones(&mut self, tariff: &TariffVersion) {
        let mut zones: BTreeMap<&str, Vec<Fact>> =
            tariff.zones().names().iter().map(|name| (&**name, Vec::new())).collect();
        for (prefix, zone) in tariff.zones().prefixes() {
            if let Some(facts) = zones.get_mut(tariff.zones().name(zone)) {
                facts.push(at_the_part(Fact::member("", "", &format!("+{prefix}"))));
            }
        }
        for (name, facts) in zones {
            let part = Part::new(format!("zones/{}", escaped(name)), format!("zone {name}"));
            self.parts.push(Part { facts, ..part });
        }
    }

    fn add_price(&mut self, tariff: &TariffVersion, price: &Price) {
        let path = format!("prices/{}", escaped(price.id.as_str()));
        let mut part = Part::new(path, format!("price {}", price.id));
        part.is_dated = true;
        let exchange = tariff.exchange(price);
        let currency = exchange.map_or(tariff.currency(), |exchange| exchange.from);
        let (unit, of) = (price.measure.unit(), currency.letters().to_owned());
        let facts = &mut part.facts;
        facts.push(tiers_fact("rate", "", price.tiers.get(WindowId::default()), unit, currency));
        let usual = *price.connect_fee.get(WindowId::default());
        let fee = |key: &str, label: &str, fee: Money| {
            Fact::money(key, label, fee, currency).costs(&of, micros(fee), Absent::Nothing)
        };
        facts.push(fee("connect_fee", "connect fee", usual).usual(usual == Money::ZERO));
        for (window, name) in windows(tariff, &price.tiers) {
            let (key, label) = (format!("windows/{}/rate", escaped(name)), format!("in window {name}"));
            let fact = tiers_fact(&key, &label, price.tiers.get(window), unit, currency);
            facts.push(Fact { absent: "as at other times", stands_for: Some("rate"), ..fact });
        }
        for (window, name) in windows(tariff, &price.connect_fee) {
            let key = format!("windows/{}/connect_fee", escaped(name));
            let fact = fee(&key, &format!("connect fee in window {name}"), *price.connect_fee.get(window));
            facts.push(Fact { absent: "as at other times", stands_for: Some("connect_fee"), ..fact });
        }
        let bundled = Fact::flag(
            "connect_fee_when_bundled",
            "with the connect fee also where a bundle pays",
            price.connect_fee_when_bundled,
        );
        facts.push(bundled.costs("", (u64::from(price.connect_fee_when_bundled), 1), Absent::Nothing));
        for (key, label, limit, absent) in [
            ("min_charge", "least charge", price.min_charge, Absent::Nothing),
            ("max_charge", "most charge", price.max_charge, Absent::Unlimited),
        ] {
            facts.extend(limit.map(|it| Fact::money(key, label, it, currency).costs(&of, micros(it), absent)));
        }
        let zero_rated = Fact::flag("zero_rated", "zero-rated", price.zero_rated);
        facts.push(zero_rated.costs("", (u64::from(!price.zero_rated), 1), Absent::Nothing));
        let pulses = format!("{}/{}", price.pulse.first(), price.pulse.next());
        let pulse = Fact::new("pulse", "in pulses of", pulses, (String::new(), words::pulse(price.pulse, unit)));
        let weight = Some(Weight { of: format!("{unit:?}"), what: Weighed::Pulse(price.pulse) });
        facts.push(Fact { weight, ..pulse }.usual(price.pulse == Pulse::ONE));
        facts.push(Fact::text(
            "measure",
            "by",
            match price.measure {
                Measure::Seconds => "seconds",
                Measure::TotalOctets => "total octets",
                Measure::UplinkOctets => "uplink octets",
                Measure::DownlinkOctets => "downlink octets",
                Measure::Events => "events",
            },
        ));
        facts.extend(filter(tariff, price));
        facts.push(match &price.tier_scope {
            TierScope::Session => Fact::text("tier_scope", "tiers over", "the session").usual(true),
            TierScope::Cycle(counter) => {
                Fact::text("tier_scope", "tiers over", &format!("the cycle, counted by {}", counter.as_str()))
            }
        });
        facts.extend(price.pool.as_ref().map(|counter| Fact::text("pool", "counts for the pool", counter.as_str())));
        facts.extend(price.buys.as_ref().map(|offer| Fact::text("buys", "buys at first use", offer.as_str())));
        facts.extend(exchange.map(|exchange| Fact::text("exchange", "converted by", &exchange.id)));
        facts.extend(grant(price.grant, unit));
        facts.extend(finance(&price.finance));
        self.parts.push(part);
        self.rank(tariff, price);
    }

    /// Puts a price among those that are for the same as far as that is one thing; which of them comes first says something.
    fn rank(&mut self, tariff: &TariffVersion, price: &Price) {
        let filter = &price.filter;
        // Usage may have several service identifiers and be in several lists of networks: these keep nothing apart.
        let rank = (filter.rank(), filter.service, filter.rating_group.map(|group| group.get()));
        let zone = filter.zone.map(|zone| tariff.zones().name(zone));
        let window = filter.window.map(|window| tariff.name_of(window));
        let lists = [
            filter.rats.iter().map(ToString::to_string).collect(),
            filter.apns.iter().map(ToString::to_string).collect(),
            filter.slices.iter().map(words::slice).collect(),
        ];
        let ranked = Ranked { id: price.id.as_str().to_owned(), lists };
        let rank = format!("{rank:?} {zone:?} {:?} {window:?}", filter.direction);
        self.ranks.entry(rank).or_default().push(ranked);
    }

    pub(super) fn of_offer(offer: &OfferVersion) -> Self {
        let mut facts = Self::default();
        let currency = offer.currency();
        let of = currency.letters();
        let mut root = Part::new(String::new(), format!("offer {}", offer.name()));
        let each = words::every(offer.period());
        let fee = Fact::money("fee", "fee", offer.fee(), currency).costs(of, micros(offer.fee()), Absent::Nothing);
        let setup = offer.setup_fee();
        root.facts = vec![
            Fact::text("offer", "name", offer.name().as_str()),
            Fact { rest: format!("{}{each}", fee.rest), ..fee },
            Fact::money("setup_fee", "set-up fee", setup, currency).costs(of, micros(setup), Absent::Nothing),
            Fact::flag("per_member", "with the fee for each subscriber", offer.is_per_member()).costs(
                "",
                (u64::from(offer.is_per_member()), 1),
                Absent::Nothing,
            ),
            Fact::text("currency", "currency", of),
            Fact::text("time_zone", "time zone", offer.zone().name()),
        ];
        root.facts.extend(offer.tariff().map(|tariff| Fact::text("tariff", "tariff", tariff.as_str())));
        root.facts.extend(offer.period().map(|period| {
            let said = (String::new(), words::period(period));
            Fact { absent: "without end", ..Fact::new("period", "period", period, said) }
        }));
        root.facts.push(Fact::flag("renews", "renewed at the end of a period", offer.renews()));
        let amount = |at: i64| {
            let (number, rest) = words::money(Money::from_micros(at), currency);
            format!("{number}{rest}")
        };
        root.facts.extend(told("notify_spend", "telling of usage for", offer.spend_thresholds(), amount));
        root.facts.extend(told("notify_balance", "telling of money below", offer.balance_thresholds(), amount));
        root.facts.extend(finance(offer.finance()));
        facts.parts.push(root);
        if let Some(pool) = offer.pool() {
            let mut part = Part::new("pool".to_owned(), "pool".to_owned());
            let (rate, per) = (pool.overage, format!("{of}/{}", pool.overage.per()));
            let allowance = (String::new(), words::quantity(pool.allowance, pool.unit));
            let overage = words::started(rate, pool.unit, currency);
            part.facts = vec![
                Fact::text("counter", "counter", pool.counter.as_str()),
                Fact::text("unit", "of", unit_name(pool.unit)),
                Fact::new("allowance", "allowance of each subscriber", pool.allowance, allowance).gives(
                    unit_name(pool.unit),
                    pool.allowance,
                    Absent::Nothing,
                ),
                Fact::new("overage", "beyond", format!("{}/{}", rate.micros(), rate.per()), overage).costs(
                    &per,
                    (rate.micros(), rate.per()),
                    Absent::Nothing,
                ),
            ];
            facts.parts.push(part);
        }
        for (allowance, cost) in offer.allowances() {
            facts.parts.push(allowance_part(allowance, currency));
            facts.allowances.push(allowance.name.to_string());
            facts.costs.insert(allowance.name.to_string(), cost);
        }
        facts
    }

    pub(super) fn of_periods(periods: &Periods) -> Self {
        let cycle = periods.cycle();
        let zone = &cycle.zone;
        let mut root = Part::new(String::new(), "accounting periods".to_owned());
        root.facts = vec![
            Fact::text("time_zone", "time zone", zone.name()),
            instant("from", "from ", cycle.anchor, zone, "always"),
            Fact::new("period", "each", cycle.period, (String::new(), words::period(cycle.period))),
            instant("closed_until", "closed until ", periods.closed_until(), zone, "never"),
        ];
        Self { parts: vec![root], ..Self::default() }
    }
}

/// A member whose path is that of its part and itself.
fn at_the_part(fact: Fact) -> Fact {
    Fact { key: fact.key.trim_start_matches('/').to_owned(), ..fact }
}

/// The windows in which a value is another one, with their names.
fn windows<'a, T>(tariff: &'a TariffVersion, values: &'a PerWindow<T>) -> impl Iterator<Item = (WindowId, &'a str)> {
    values.windows().map(|window| (window, tariff.name_of(window)))
}

fn tiers_fact(key: &str, label: &str, tiers: &Tiers, unit: Unit, currency: Currency) -> Fact {
    let lowest = |rate: Rate| {
        let common = greatest_common_divisor(rate.micros(), rate.per()).max(1);
        (rate.micros() / common, rate.per() / common)
    };
    let all = tiers.as_slice();
    let same: Vec<_> = all.iter().map(|tier| (tier.up_to, lowest(tier.rate))).collect();
    let said = |rate: Rate| words::rate(rate, unit, currency);
    let said = match all {
        [only] => said(only.rate),
        _ => {
            let tiers = all.iter().map(|tier| {
                let (number, rest) = said(tier.rate);
                match tier.up_to {
                    Some(end) => format!("{number}{rest} up to {}", words::quantity(end, unit)),
                    None => format!("then {number}{rest}"),
                }
            });
            (String::new(), tiers.collect::<Vec<_>>().join(", "))
        }
    };
    let tiers =
        all.iter().map(|tier| (tier.up_to.unwrap_or(u64::MAX), (tier.rate.micros(), tier.rate.per()))).collect();
    let weight = Some(Weight { of: format!("{currency}/{unit:?}"), what: Weighed::Tiers(tiers) });
    Fact { weight, ..Fact::new(key, label, format!("{same:?}"), said) }
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn filter(tariff: &TariffVersion, price: &Price) -> Vec<Fact> {
    let filter = &price.filter;
    let mut facts = Vec::new();
    let mut add = |key: &str, label: &str, value: Option<String>| {
        facts.extend(value.map(|value| Fact { absent: "any", ..Fact::text(key, label, &value) }));
    };
    let list = |mut all: Vec<String>| {
        all.sort_unstable();
        all.dedup();
        (!all.is_empty()).then(|| all.join(", "))
    };
    add("service", "for service", filter.service.map(|service| service.to_string()));
    add("rating_group", "for rating group", filter.rating_group.map(|group| group.to_string()));
    add("service_id", "for service identifier", filter.service_id.map(|id| id.to_string()));
    add("zone", "for zone", filter.zone.map(|zone| tariff.zones().name(zone).to_owned()));
    add("visited", "for networks", filter.networks.map(|list| tariff.networks().name(list).to_owned()));
    add("rat", "for radio access", list(rat_names(&filter.rats)));
    add("apn", "for access point", list(filter.apns.iter().map(ToString::to_string).collect()));
    add("slice", "for slice", list(filter.slices.iter().map(words::slice).collect()));
    let direction = filter.direction.map(|direction| match direction {
        Direction::Outgoing => "outgoing".to_owned(),
        Direction::Incoming => "incoming".to_owned(),
    });
    add("direction", "for direction", direction);
    add("window", "for window", filter.window.map(|window| tariff.name_of(window).to_owned()));
    facts
}

fn grant(grant: GrantPolicy, unit: Unit) -> Vec<Fact> {
    let standard = GrantPolicy::standard(unit);
    let quantity = |key: &str, label: &str, value: u64, usual: u64, unit: Unit| {
        Fact::new(key, label, value, (String::new(), words::quantity(value, unit))).usual(value == usual)
    };
    let percent = (String::new(), format!("{} %", grant.threshold_percent));
    vec![
        quantity("grant/default", "grants of", grant.default, standard.default, unit),
        quantity("grant/floor", "least grant", grant.floor, standard.floor.min(grant.default), unit),
        quantity("grant/cap", "most grant", grant.cap, standard.cap.max(grant.default), unit),
        quantity(
            "grant/validity",
            "grants valid for",
            u64::from(grant.validity_seconds),
            u64::from(standard.validity_seconds),
            Unit::Second,
        ),
        Fact::new("grant/threshold", "grants renewed at", grant.threshold_percent, percent)
            .usual(grant.threshold_percent == standard.threshold_percent),
    ]
}

const fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Second => "seconds",
        Unit::Octet => "octets",
        Unit::Event => "events",
    }
}

/// At what somebody is told, where anybody is.
fn told(key: &str, label: &str, thresholds: &[Threshold], said: impl Fn(i64) -> String) -> Option<Fact> {
    let each = thresholds.iter().map(|Threshold { at, label }| {
        let at = said(*at);
        if *at == **label { at } else { format!("{at} (\"{label}\")") }
    });
    let all = each.collect::<Vec<_>>().join(", ");
    (!thresholds.is_empty()).then(|| Fact::text(key, label, &all))
}

fn allowance_part(allowance: &Allowance, currency: Currency) -> Part {
    let of = match allowance.holding {
        Holding::Money => currency.letters().to_owned(),
        Holding::Units(unit) => unit_name(unit).to_owned(),
    };
    let held = |key: &str, label: &str, amount: i64| match allowance.holding {
        Holding::Money => Fact::money(key, label, Money::from_micros(amount), currency),
        Holding::Units(unit) => {
            let said = words::quantity(amount.unsigned_abs(), unit);
            Fact::new(key, label, amount, (String::new(), said))
        }
    };
    let gives = |fact: Fact, amount: i64, absent: Absent| fact.gives(&of, amount.unsigned_abs(), absent);
    let mut part =
        Part::new(format!("allowances/{}", escaped(&allowance.name)), format!("allowance {}", allowance.name));
    part.effect_of_new = Effect::Cheaper;
    let amount = gives(held("amount", "", allowance.amount), allowance.amount, Absent::Nothing);
    // The unit alone, not the currency: that is the offer's.
    let unit = match allowance.holding {
        Holding::Money => "money",
        Holding::Units(unit) => unit_name(unit),
    };
    part.facts = vec![amount, Fact::text("unit", "of", unit).usual(true)];
    part.facts.extend(allowance.validity.map(|validity| {
        let said = (String::new(), words::period(validity));
        Fact { absent: "the cycle", ..Fact::new("validity", "valid for", validity, said) }
    }));
    part.facts.push(Fact::number("priority", "priority", allowance.priority).usual(allowance.priority == 50));
    let scope = allowance.scope.as_deref();
    for (key, label, values) in [
        ("services", "for services", scope.map(|scope| scope.services.iter().map(ToString::to_string).collect())),
        (
            "rating_groups",
            "for rating groups",
            scope.map(|it| it.rating_groups.iter().map(ToString::to_string).collect()),
        ),
        (
            "service_ids",
            "for service identifiers",
            scope.map(|it| it.service_ids.iter().map(ToString::to_string).collect()),
        ),
    ] {
        let values: BTreeSet<String> = values.unwrap_or_default();
        if !values.is_empty() {
            let values: Vec<String> = values.into_iter().collect();
            part.facts.push(Fact { absent: "any", ..Fact::text(key, label, &values.join(", ")) });
        }
    }
    part.facts.push(Fact::flag("granted", "a gift", allowance.origin == Origin::Granted));
    let alone = Fact::money("stand_alone", "stand-alone price", allowance.stand_alone, currency);
    part.facts.push(alone.usual(allowance.stand_alone == Money::ZERO));
    if let Some(rollover) = allowance.rollover {
        part.facts.push(gives(held("rollover/cap", "rolling over up to", rollover.cap), rollover.cap, Absent::Nothing));
        let cycles = Fact::number("rollover/cycles", "rolling over for cycles:", rollover.cycles);
        part.facts.push(cycles.gives("", u64::from(rollover.cycles), Absent::Nothing));
    }
    part.facts.extend(allowance.member_cap.map(|cap| {
        let cap = i64::try_from(cap).unwrap_or(i64::MAX);
        gives(held("member_cap", "at most for each subscriber", cap), cap, Absent::Unlimited)
    }));
    part.facts.extend(told("notify", "telling of", &allowance.thresholds, |at| format!("{at} % used")));
    part
}
