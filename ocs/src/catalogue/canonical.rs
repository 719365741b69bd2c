//! The canonical form of a tariff: the same tariff is always written the same, however its document is, and so always has
//! the same content hash.
//!
//! Units are counted in their smallest, rates are in lowest terms, what has no order is sorted, what is left out is there
//! with what it means. Sessions and CDRs name the hash: this form may never change, only get a number beside
//! [`FORM`] for another.

use std::collections::BTreeMap;

use rating_engine::calendar::{Holiday, Span, Window};
use rating_engine::crossing::Threshold;
use rating_engine::ids::TariffName;
use rating_engine::money::Money;
use rating_engine::offer::{Allowance, OfferDraft, Pool};
use rating_engine::selector::{Direction, Filter};
use rating_engine::tariff::{Exchange, PerWindow, Price, TariffDraft, TierScope, Tiers, VersionPolicy};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The number of this form.
const FORM: u32 = 1;

/// What a draft does not show of its document any more.
pub(super) struct Named<'a> {
    /// Zones with their prefixes, as written.
    pub(super) zones: &'a BTreeMap<String, Vec<String>>,
    /// Lists of networks, as written.
    pub(super) networks: &'a BTreeMap<String, Vec<String>>,
    /// Windows in their order.
    pub(super) windows: &'a [Window],
    /// Holidays.
    pub(super) holidays: &'a [Holiday],
    /// The day of the week that holidays count as, in words.
    pub(super) holiday_as: &'a str,
}

/// SHA-256 of the canonical form.
pub(super) fn content_hash(draft: &TariffDraft, named: &Named<'_>) -> [u8; 32] {
    let form = form(draft, named).to_string();
    Sha256::digest(form.as_bytes()).into()
}

/// Members are in alphabetical order, whatever the order here.
fn form(draft: &TariffDraft, named: &Named<'_>) -> Value {
    let sorted = |lists: &BTreeMap<String, Vec<String>>, without: char| {
        let lists = lists.iter().map(|(name, entries)| {
            let mut entries: Vec<String> = entries.iter().map(|entry| entry.replace(without, "")).collect();
            entries.sort_unstable();
            entries.dedup();
            (name.clone(), json!(entries))
        });
        Value::Object(lists.collect())
    };
    let calendar = draft.calendar.as_ref().map(|calendar| {
        let mut holidays: Vec<String> = named.holidays.iter().map(|holiday| format!("{holiday:?}")).collect();
        holidays.sort_unstable();
        json!({
            "zone": calendar.zone().name(),
            "default": calendar.name(rating_engine::calendar::WindowId::default()),
            "windows": named.windows.iter().map(window).collect::<Vec<_>>(),
            "holidays": holidays,
            "holiday_as": if holidays.is_empty() { "" } else { named.holiday_as },
        })
    });
    let rounding = draft.rounding;
    let mut whole = json!({
        "form": FORM,
        "tariff": draft.name.as_str(),
        "version": draft.version,
        "valid_from": draft.valid_from.millis(),
        "policy": match draft.policy {
            VersionPolicy::Split => "split",
            VersionPolicy::SessionStart => "session_start",
        },
        "currency": draft.currency.to_string(),
        "rounding": [json!(rounding.decimals()), json!(format!("{:?}", rounding.mode())), json!(format!("{:?}", rounding.scope()))],
        "zones": sorted(named.zones, '+'),
        "networks": sorted(named.networks, '-'),
        "calendar": calendar,
        "prices": draft.prices.iter().map(|it| price(draft, it)).collect::<Vec<_>>(),
    });
    if draft.calendar.is_none() && draft.zone.name() != "UTC" {
        put(&mut whole, "zone", json!(draft.zone.name()));
    }
    if !draft.exchanges.is_empty() {
        let exchange = |it: &Exchange| {
            let rates = it.rates.iter().map(|(from, ratio)| json!([from.millis(), ratio.amount(), ratio.per()]));
            json!([&*it.id, it.from.to_string(), it.decimals, rates.collect::<Vec<_>>()])
        };
        put(&mut whole, "exchanges", json!(draft.exchanges.iter().map(exchange).collect::<Vec<_>>()));
    }
    whole
}

/// Adds a member that came to the form later: where it has nothing to say it is left out, so that what was written before it
/// is still written the same.
fn put(value: &mut Value, member: &str, said: Value) {
    if let Some(members) = value.as_object_mut() {
        members.insert(member.to_owned(), said);
    }
}

fn window(window: &Window) -> Value {
    let span = |span: &Span| {
        let sorted = |mut numbers: Vec<u8>| {
            numbers.sort_unstable();
            numbers.dedup();
            numbers
        };
        let weekdays = sorted(span.weekdays.iter().map(|day| *day as u8).collect());
        json!([span.from, span.to, weekdays, sorted(span.month_days.clone()), sorted(span.months.clone())])
    };
    let mut spans: Vec<Value> = window.spans.iter().map(span).collect();
    spans.sort_by_key(Value::to_string);
    json!([&*window.name, spans])
}

fn price(draft: &TariffDraft, price: &Price) -> Value {
    let (grant, finance) = (price.grant, &price.finance);
    let mut whole = json!({
        "id": price.id.as_str(),
        "for": filter(draft, &price.filter),
        "measure": format!("{:?}", price.measure),
        "pulse": [price.pulse.first(), price.pulse.next()],
        "tiers": per_window(draft, &price.tiers, tiers),
        "connect_fee": per_window(draft, &price.connect_fee, |fee| json!(fee.micros())),
        "connect_fee_when_bundled": price.connect_fee_when_bundled,
        "min_charge": price.min_charge.map(Money::micros),
        "max_charge": price.max_charge.map(Money::micros),
        "zero_rated": price.zero_rated,
        "grant": [
            grant.default,
            grant.floor,
            grant.cap,
            u64::from(grant.validity_seconds),
            u64::from(grant.threshold_percent),
        ],
        "finance": [
            json!(&*finance.tax_category),
            json!(finance.tax_included),
            json!(&*finance.ledger_code),
            json!(&*finance.revenue_rule),
        ],
    });
    if let TierScope::Cycle(counter) = &price.tier_scope {
        put(&mut whole, "counter", json!(counter.as_str()));
    }
    if let Some(counter) = &price.pool {
        put(&mut whole, "pool", json!(counter.as_str()));
    }
    if let Some(offer) = &price.buys {
        put(&mut whole, "buys", json!(offer.as_str()));
    }
    if let Some(exchange) = price.exchange.and_then(|place| draft.exchanges.get(usize::from(place))) {
        put(&mut whole, "exchange", json!(&*exchange.id));
    }
    if !finance.place_of_supply.is_empty() {
        put(&mut whole, "place_of_supply", json!(&*finance.place_of_supply));
    }
    whole
}

/// SHA-256 of the canonical form of an offer.
pub(super) fn offer_hash(draft: &OfferDraft) -> [u8; 32] {
    let allowance = |it: &Allowance| {
        let scope = it.scope.as_deref().map(|scope| {
            let sorted = |mut numbers: Vec<u32>| {
                numbers.sort_unstable();
                numbers.dedup();
                numbers
            };
            let mut services: Vec<String> = scope.services.iter().map(ToString::to_string).collect();
            services.sort_unstable();
            services.dedup();
            json!([
                services,
                sorted(scope.rating_groups.iter().map(|group| group.get()).collect()),
                sorted(scope.service_ids.iter().map(|id| id.get()).collect()),
            ])
        });
        let mut form = json!({
            "name": &*it.name,
            "holding": format!("{:?}", it.holding),
            "amount": it.amount,
            "validity": it.validity.map(|validity| validity.to_string()),
            "priority": it.priority,
            "scope": scope,
            "origin": format!("{:?}", it.origin),
            "stand_alone": it.stand_alone.micros(),
            "rollover": it.rollover.map(|rollover| json!([rollover.cap, rollover.cycles])),
            "member_cap": it.member_cap,
        });
        thresholds(&mut form, "notify", &it.thresholds);
        form
    };
    let finance = &draft.finance;
    let mut form = json!({
        "form": FORM,
        "offer": draft.name.as_str(),
        "version": draft.version,
        "currency": draft.currency.to_string(),
        "zone": draft.zone.name(),
        "tariff": draft.tariff.as_ref().map(TariffName::as_str),
        "setup_fee": draft.setup_fee.micros(),
        "fee": draft.fee.micros(),
        "period": draft.period.map(|period| period.to_string()),
        "renews": draft.renews,
        "allowances": draft.allowances.iter().map(allowance).collect::<Vec<_>>(),
        "finance": [
            json!(&*finance.tax_category),
            json!(finance.tax_included),
            json!(&*finance.place_of_supply),
            json!(&*finance.ledger_code),
            json!(&*finance.revenue_rule),
        ],
    });
    if draft.per_member {
        put(&mut form, "per_member", json!(true));
    }
    if let Some(Pool { counter, unit, allowance, overage }) = &draft.pool {
        let common = greatest_common_divisor(overage.micros(), overage.per()).max(1);
        let rate = [overage.micros() / common, overage.per() / common];
        // Started units: 0.50 for 1 MiB is not 1.00 for 2.
        let pool = json!([counter.as_str(), format!("{unit:?}"), allowance, rate, overage.per()]);
        put(&mut form, "pool", pool);
    }
    thresholds(&mut form, "notify_spend", &draft.spend);
    thresholds(&mut form, "notify_balance", &draft.balance);
    Sha256::digest(form.to_string().as_bytes()).into()
}

/// Thresholds, where there are any.
fn thresholds(form: &mut Value, member: &str, thresholds: &[Threshold]) {
    if !thresholds.is_empty() {
        let each = thresholds.iter().map(|Threshold { at, label }| json!([at, &**label]));
        put(form, member, each.collect());
    }
}

fn per_window<T>(draft: &TariffDraft, values: &PerWindow<T>, write: impl Fn(&T) -> Value) -> Value {
    let name = |window| draft.calendar.as_ref().map_or("", |calendar| calendar.name(window)).to_owned();
    let windows = values.windows().map(|window| (name(window), write(values.get(window))));
    json!([write(values.get(rating_engine::calendar::WindowId::default())), Value::Object(windows.collect())])
}

fn tiers(tiers: &Tiers) -> Value {
    let tiers = tiers.as_slice().iter().map(|tier| {
        let (micros, per) = (tier.rate.micros(), tier.rate.per());
        let common = greatest_common_divisor(micros, per).max(1);
        json!([tier.up_to, micros / common, per / common])
    });
    Value::Array(tiers.collect())
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn filter(draft: &TariffDraft, filter: &Filter) -> Value {
    let mut slices: Vec<Value> =
        filter.slices.iter().map(|slice| json!([slice.service_type, slice.differentiator])).collect();
    slices.sort_by_key(Value::to_string);
    let (mut rats, mut apns) = (filter.rats.to_vec(), filter.apns.to_vec());
    rats.sort_unstable();
    rats.dedup();
    apns.sort_unstable();
    apns.dedup();
    json!({
        "service": filter.service.map(|service| service.to_string()),
        "rating_group": filter.rating_group.map(|group| group.get()),
        "service_id": filter.service_id.map(|id| id.get()),
        "zone": filter.zone.map(|zone| draft.zones.name(zone)),
        "visited": filter.networks.map(|list| draft.networks.name(list)),
        "rat": rats,
        "apn": apns,
        "slice": slices,
        "direction": filter.direction.map(|direction| match direction {
            Direction::Outgoing => "outgoing",
            Direction::Incoming => "incoming",
        }),
        "window": filter.window.and_then(|window| Some(draft.calendar.as_ref()?.name(window))),
    })
}
