//! An explanation as a message: the same parts that the centre found, and its words. Pure.

use ocs_proto::cdr::convert::{cause, kind, measure};
use ocs_proto::charging::convert::{holding, money, time};
use ocs_proto::operator::v1 as wire;
use rating_engine::cdr::Component;
use rating_engine::explain::{Explanation, Moved, Part, Reasons};
use rating_engine::ids::SubscriberId;
use rating_engine::money::Currency;

/// Why a CDR says what it says, as it is sent and printed.
pub fn explanation(said: &Explanation) -> wire::Explanation {
    let currency = said.currency;
    wire::Explanation {
        kind: kind(said.kind).into(),
        cause: cause(said.cause).into(),
        account_id: said.account.get(),
        subscriber_id: said.subscriber.map(SubscriberId::get),
        usage_start: Some(time(said.usage_start)),
        usage_end: Some(time(said.usage_end)),
        amount: Some(money(said.amount, currency)),
        accounting_period: said.booked.map(|booked| time(booked.period)),
        usage_period: said.booked.map(|booked| time(booked.usage_period)),
        offer: said.offer.clone().map(|(name, version, subscription, cycle)| wire::OfferReason {
            name,
            version,
            subscription,
            cycle,
        }),
        rated: said.rated.as_ref().map(|rated| reasons(rated, currency)),
        movements: said.movements.iter().map(|moved| payer(moved, currency)).collect(),
        words: said.to_string().lines().map(|line| line.trim().to_owned()).collect(),
    }
}

fn reasons(rated: &Reasons, currency: Currency) -> wire::RatingReasons {
    let (decimals, mode, scope) = rated.rounding;
    let named = |(what, which): &(&str, String)| wire::NamedReason { what: (*what).to_owned(), which: which.clone() };
    wire::RatingReasons {
        tariff: rated.tariff.clone(),
        version: rated.version,
        valid_from: rated.valid_from.map(time),
        price_id: rated.price.clone(),
        named: rated.named.iter().map(named).collect(),
        beaten: rated
            .beaten
            .iter()
            .map(|it| wire::BeatenPrice { price_id: it.price.clone(), by: it.by.to_owned() })
            .collect(),
        window: rated.window.clone(),
        measure: measure(rated.measure).into(),
        pulse_first: rated.pulse.0,
        pulse_next: rated.pulse.1,
        used_before: rated.used.0,
        used: rated.used.1,
        rated_before: rated.rated.0,
        rated: rated.rated.1,
        tier_from: rated.tier_from.0,
        tiers_counted_from: rated.tier_from.1.clone(),
        zero_rated: rated.zero_rated,
        components: rated.components.iter().map(component).collect(),
        exchange: rated.exchange.as_ref().map(|(id, from, since, amount, per)| wire::ExchangeReason {
            id: id.clone(),
            from: from.letters().to_owned(),
            since: Some(time(*since)),
            amount: *amount,
            per: *per,
        }),
        rounding_decimals: u32::from(decimals),
        rounding_mode: format!("{mode:?}"),
        rounding_scope: format!("{scope:?}"),
        min_charge: rated.limits.0.map(|amount| money(amount, currency)),
        max_charge: rated.limits.1.map(|amount| money(amount, currency)),
        charged_before: Some(money(rated.charged_before, currency)),
        beyond_grant: rated.beyond_grant,
    }
}

fn component(part: &Part) -> wire::ComponentReason {
    let (numerator, denominator) = part.exact.fraction();
    wire::ComponentReason {
        tier: match part.component {
            Component::ConnectFee => 0,
            Component::Tier(number) => u32::from(number) + 1,
        },
        from: part.span.0,
        to: part.span.1,
        quantity: part.quantity,
        rate_micros: part.rate.map(|rate| rate.micros()),
        rate_per: part.rate.map(|rate| rate.per()),
        exact_micros: format!("{numerator}/{denominator}"),
    }
}

fn payer(moved: &Moved, currency: Currency) -> wire::PayerReason {
    wire::PayerReason {
        payer: moved.payer.clone(),
        holding: holding(moved.holding).into(),
        before: moved.before,
        delta: moved.delta,
        after: moved.after,
        cost: Some(money(moved.cost, currency)),
    }
}
