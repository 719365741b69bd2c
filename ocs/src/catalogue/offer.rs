//! Offer documents to checked [`OfferVersion`]s.

use std::str::FromStr;
use std::sync::Arc;

use rating_engine::account::{BucketScope, Holding, Origin};
use rating_engine::calendar::Zone;
use rating_engine::crossing::Threshold;
use rating_engine::ids::{CounterId, OfferName, RatingGroup, ServiceId, TariffName};
use rating_engine::money::{Currency, Money};
use rating_engine::offer::{Allowance, OfferDraft, OfferVersion, Pool, Rollover};
use rating_engine::period::Period;
use rating_engine::tariff::Service;
use rating_engine::units::Unit;
use schemars::JsonSchema;
use serde::Deserialize;

use super::text::{parse_quantity, parse_rate, pattern};
use super::{CatalogueError, Check, Form, RawFinance, canonical, check_name};

/// A version of an offer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Offer")]
pub(super) struct Document {
    /// The offer's name: letters, digits, '-', '_', '.'.
    #[schemars(regex(pattern = pattern::NAME))]
    offer: String,
    /// The version's number; a version never changes.
    version: u32,
    /// ISO 4217 letters: of the accounts that may hold it.
    #[schemars(regex(pattern = pattern::CURRENCY))]
    currency: String,
    /// IANA name of the zone whose wall clock counts; left out: UTC.
    time_zone: Option<String>,
    /// The tariff that its holder is charged by.
    #[schemars(regex(pattern = pattern::NAME))]
    tariff: Option<String>,
    /// Once, at the purchase.
    #[schemars(regex(pattern = pattern::MONEY))]
    setup_fee: Option<String>,
    /// At the purchase and at every renewal, in advance.
    #[schemars(regex(pattern = pattern::MONEY))]
    fee: Option<String>,
    /// Whether the fee is for each subscriber of the account.
    #[serde(default)]
    per_member: bool,
    /// What the account's subscribers use together.
    pool: Option<RawPool>,
    /// How long a cycle is: P1M, P28D, PT24H; left out: it never ends.
    #[schemars(regex(pattern = pattern::PERIOD))]
    period: Option<String>,
    /// Whether another cycle follows; left out: yes, where there is a period.
    renews: Option<bool>,
    /// Buckets that every cycle opens.
    #[serde(default)]
    allowances: Vec<RawAllowance>,
    /// At which cost of the account's usage in a cycle somebody is told.
    #[serde(default)]
    notify_spend: Vec<RawMoneyThreshold>,
    /// Below how much of what the account can spend somebody is told.
    #[serde(default)]
    notify_balance: Vec<RawMoneyThreshold>,
    #[serde(default)]
    finance: RawFinance,
}

/// So much money, and what it is called; left out: the amount.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MoneyThreshold")]
struct RawMoneyThreshold {
    #[schemars(regex(pattern = pattern::MONEY))]
    at: String,
    label: Option<String>,
}

/// So many percent, and what they are called; left out: the percent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ShareThreshold")]
struct RawShareThreshold {
    #[schemars(regex(pattern = "^[0-9]{1,3} ?%$"))]
    at: String,
    label: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Allowance")]
struct RawAllowance {
    id: String,
    #[schemars(regex(pattern = pattern::HOLDING))]
    unit: String,
    #[schemars(regex(pattern = pattern::HELD))]
    amount: String,
    #[schemars(regex(pattern = pattern::PERIOD))]
    validity: Option<String>,
    #[serde(default = "usual_priority")]
    priority: u16,
    #[serde(default)]
    #[schemars(inner(regex(pattern = pattern::SERVICE)))]
    services: Vec<String>,
    #[serde(default)]
    rating_groups: Vec<u32>,
    #[serde(default)]
    service_ids: Vec<u32>,
    #[serde(default)]
    granted: bool,
    #[schemars(regex(pattern = pattern::MONEY))]
    stand_alone: Option<String>,
    rollover: Option<RawRollover>,
    #[schemars(regex(pattern = pattern::HELD))]
    member_cap: Option<String>,
    #[serde(default)]
    notify: Vec<RawShareThreshold>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Pool")]
struct RawPool {
    counter: String,
    #[schemars(extend("enum" = ["second", "octet", "event"]))]
    unit: String,
    #[schemars(regex(pattern = pattern::QUANTITY))]
    allowance: String,
    #[schemars(regex(pattern = pattern::RATE))]
    overage: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rollover")]
struct RawRollover {
    #[schemars(regex(pattern = pattern::HELD))]
    cap: String,
    cycles: Option<u8>,
}

/// Before what was paid in, which has 100.
const fn usual_priority() -> u16 {
    50
}

/// Parses one offer document.
pub(super) fn parse(text: &str, form: Form) -> Result<Arc<OfferVersion>, CatalogueError> {
    let document: Document = super::read(text, form)?;
    let mut check = Check::default();
    check_name(&mut check, "offer", &document.offer);
    if let Some(tariff) = &document.tariff {
        check_name(&mut check, "tariff", tariff);
    }
    let currency = Currency::parse(&document.currency)
        .ok_or_else(|| format!("'{}' is no ISO 4217 currency that we know; write e.g. EUR", document.currency));
    let currency = check.take("currency", currency);
    let zone = check.take("time_zone", Zone::get(document.time_zone.as_deref().unwrap_or("UTC")));
    let period = period(&mut check, "period", document.period.as_ref());
    let setup_fee = money(&mut check, "setup_fee", document.setup_fee.as_ref());
    let fee = money(&mut check, "fee", document.fee.as_ref());
    let allowances: Vec<_> = document
        .allowances
        .iter()
        .enumerate()
        .filter_map(|(number, raw)| allowance(&mut check, currency.unwrap_or(Currency::EUR), number, raw))
        .collect();
    let spend = amounts(&mut check, "notify_spend", &document.notify_spend);
    let balance = amounts(&mut check, "notify_balance", &document.notify_balance);
    let pool = document.pool.as_ref().and_then(|raw| pool(&mut check, raw));
    let (true, Some(currency), Some(zone)) = (check.problems.is_empty(), currency, zone) else {
        return Err(CatalogueError::Problems(check.problems));
    };
    let mut draft = OfferDraft {
        name: OfferName::new(&document.offer),
        version: document.version,
        currency,
        zone,
        tariff: document.tariff.as_deref().map(TariffName::new),
        setup_fee,
        fee,
        per_member: document.per_member,
        pool,
        period,
        renews: document.renews.unwrap_or(period.is_some()),
        allowances,
        spend,
        balance,
        finance: document.finance.codes(),
        content_hash: [0; 32],
    };
    draft.content_hash = canonical::offer_hash(&draft);
    draft.publish().map_err(CatalogueError::Problems)
}

fn pool(check: &mut Check, raw: &RawPool) -> Option<Pool> {
    let unit = match raw.unit.as_str() {
        "second" => Ok(Unit::Second),
        "octet" => Ok(Unit::Octet),
        "event" => Ok(Unit::Event),
        other => Err(format!("'{other}' is no unit of a pool; use second, octet or event")),
    };
    let unit = check.take("pool.unit", unit)?;
    if raw.counter.is_empty() || raw.counter.len() > 64 {
        check.problem("pool.counter", "a counter's name has 1 to 64 characters");
    }
    Some(Pool {
        counter: CounterId::new(&raw.counter),
        unit,
        allowance: check.take("pool.allowance", parse_quantity(&raw.allowance, unit))?,
        overage: check.take("pool.overage", parse_rate(&raw.overage, unit))?,
    })
}

fn money(check: &mut Check, path: &str, text: Option<&String>) -> Money {
    let amount = text.map(|text| Money::from_str(text).map_err(|error| error.to_string()));
    amount.and_then(|amount| check.take(path, amount)).unwrap_or(Money::ZERO)
}

fn amounts(check: &mut Check, path: &str, raw: &[RawMoneyThreshold]) -> Vec<Threshold> {
    let each = |(number, RawMoneyThreshold { at, label }): (usize, &RawMoneyThreshold)| {
        let amount = Money::from_str(at).map_err(|error| error.to_string());
        let amount = check.take(&format!("{path}[{number}].at"), amount)?;
        Some(Threshold { at: amount.micros(), label: label.as_deref().unwrap_or(at).into() })
    };
    raw.iter().enumerate().filter_map(each).collect()
}

fn shares(check: &mut Check, path: &str, raw: &[RawShareThreshold]) -> Vec<Threshold> {
    let each = |(number, RawShareThreshold { at, label }): (usize, &RawShareThreshold)| {
        let percent = at.strip_suffix('%').and_then(|text| text.trim_end().parse::<u8>().ok());
        let percent = percent.ok_or_else(|| format!("'{at}' is no share; write e.g. 80 %"));
        let percent = check.take(&format!("{path}[{number}].at"), percent)?;
        let label = label.clone().unwrap_or_else(|| format!("{percent}%"));
        Some(Threshold { at: percent.into(), label: label.into() })
    };
    raw.iter().enumerate().filter_map(each).collect()
}

fn period(check: &mut Check, path: &str, text: Option<&String>) -> Option<Period> {
    text.and_then(|text| check.take(path, Period::from_str(text)))
}

fn allowance(check: &mut Check, currency: Currency, number: usize, raw: &RawAllowance) -> Option<Allowance> {
    let path = |member: &str| format!("allowances[{number}].{member}");
    let holding = match raw.unit.as_str() {
        letters if letters == currency.letters() => Ok(Holding::Money),
        "second" => Ok(Holding::Units(Unit::Second)),
        "octet" => Ok(Holding::Units(Unit::Octet)),
        "event" => Ok(Holding::Units(Unit::Event)),
        other => Err(format!("'{other}' is no unit here; use {currency}, second, octet or event")),
    };
    let holding = check.take(&path("unit"), holding)?;
    let mut amount_of = |member: &str, text: &str| {
        let amount = match holding {
            Holding::Money => Money::from_str(text).map(Money::micros).map_err(|error| error.to_string()),
            Holding::Units(unit) => parse_quantity(text, unit)
                .and_then(|amount| i64::try_from(amount).map_err(|_| format!("'{text}' is too large"))),
        };
        check.take(&path(member), amount)
    };
    let amount = amount_of("amount", &raw.amount);
    let cap = raw.rollover.as_ref().map(|rollover| amount_of("rollover.cap", &rollover.cap));
    let member_cap = raw.member_cap.as_ref().map(|cap| amount_of("member_cap", cap));
    let mut services = Vec::new();
    for text in &raw.services {
        services.extend(check.take(&path("services"), Service::from_str(text)));
    }
    let scope = BucketScope {
        services: services.into(),
        rating_groups: raw.rating_groups.iter().copied().map(RatingGroup::new).collect(),
        service_ids: raw.service_ids.iter().copied().map(ServiceId::new).collect(),
    };
    let rollover = match (&raw.rollover, cap) {
        (Some(rollover), Some(cap)) => Some(Rollover { cap: cap?, cycles: rollover.cycles.unwrap_or(1) }),
        _ => None,
    };
    Some(Allowance {
        name: raw.id.as_str().into(),
        holding,
        amount: amount?,
        validity: period(check, &path("validity"), raw.validity.as_ref()),
        priority: raw.priority,
        scope: (scope != BucketScope::default()).then(|| Box::new(scope)),
        origin: if raw.granted { Origin::Granted } else { Origin::Paid },
        stand_alone: money(check, &path("stand_alone"), raw.stand_alone.as_ref()),
        rollover,
        member_cap: match member_cap {
            Some(cap) => Some(u64::try_from(cap?).unwrap_or(0)),
            None => None,
        },
        thresholds: shares(check, &path("notify"), &raw.notify),
    })
}
