//! The columns of a file: one table, which both forms and the documentation are made of.
//!
//! Amounts are exact decimals of six places, counts are whole numbers, instants are UTC to the millisecond. What is a list in a CDR is JSON
//! text: its price lines, its movements, the thresholds that it crossed. A column keeps its name, its place and its meaning within a
//! schema version. Absent: how a form writes a value.

use std::borrow::Cow;

use ocs_proto::cdr::v1::price_line::Component;
use ocs_proto::cdr::v1::rated_cdr::Source;
use ocs_proto::cdr::v1::{Crossing, Movement, NetworkIdentifiers, NetworkSource, PriceLine, RatedCdr, Rating};
use ocs_proto::charging::v1::Units;
use prost_types::Timestamp;
use serde_json::json;

/// The version of this table; it stands in every file and manifest.
pub(crate) const VERSION: u32 = 1;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text, UTF-8.
    Text,
    /// A whole number, 64 bits, signed.
    Int,
    /// A decimal of six places.
    Money,
    /// An instant, UTC, to the millisecond.
    Time,
    /// Yes or no.
    Bool,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// It does not apply.
    None,
    /// See [`Kind`].
    Text(Cow<'a, str>),
    /// See [`Kind`].
    Int(i64),
    /// Micro-units.
    Money(i64),
    /// Milliseconds since 1970.
    Time(i64),
    /// See [`Kind`].
    Bool(bool),
    /// It is larger than its column can say.
    TooLarge,
}

/// A column.
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) kind: Kind,
    /// Whether it names a person or a device.
    pub(crate) is_identity: bool,
    /// What it is.
    pub(crate) about: &'static str,
    /// Its value in a CDR.
    pub(crate) value: fn(&RatedCdr) -> Value<'_>,
}

const fn column(name: &'static str, kind: Kind, about: &'static str, value: fn(&RatedCdr) -> Value<'_>) -> Column {
    Column { name, kind, is_identity: false, about, value }
}

const fn identity(name: &'static str, about: &'static str, value: fn(&RatedCdr) -> Value<'_>) -> Column {
    Column { name, kind: Kind::Text, is_identity: true, about, value }
}

use Kind::{Bool, Int, Money, Text, Time};

/// All columns, in their order.
pub(crate) const COLUMNS: &[Column] = &[
    column("cdr_id", Text, "stable, unique id: partition-position", |cdr| text(&cdr.cdr_id)),
    column("partition", Int, "the partition", |cdr| Value::Int(cdr.partition.into())),
    column("position", Int, "its place in the partition, from 1, without gaps", |cdr| int(cdr.position)),
    column("kind", Text, "what kind of movement: usage, top_up, ...", |cdr| {
        name(cdr.kind().as_str_name(), "CDR_KIND_")
    }),
    column("corrects_position", Int, "position of the CDR that it corrects or gives back", |cdr| {
        cdr.corrects_position.map_or(Value::None, int)
    }),
    column("account_id", Int, "the account that paid", |cdr| int(cdr.account_id)),
    column("account_cdr_number", Int, "its number among the account's CDRs", |cdr| int(cdr.account_cdr_number)),
    column("previous_position", Int, "position of the account's CDR before; 0 for none", |cdr| {
        int(cdr.previous_position)
    }),
    column("tenant_id", Int, "the tenant; 0 is the operator itself", |cdr| Value::Int(cdr.tenant_id.into())),
    column("subscriber_id", Int, "the subscriber that used", |cdr| cdr.subscriber_id.map_or(Value::None, int)),
    column("source", Text, "network, operator or calendar", |cdr| match cdr.source {
        Some(Source::Network(_)) => text("network"),
        Some(Source::Operator(_)) => text("operator"),
        Some(Source::Calendar(_)) => text("calendar"),
        None => Value::None,
    }),
    column("cause", Text, "why it was made at that moment", |cdr| name(cdr.cause().as_str_name(), "CAUSE_")),
    column("session_id", Text, "the protocol's session id; 0x... where it is no text", |cdr| {
        network(cdr).map_or(Value::None, |network| octets(&network.session_id))
    }),
    column("request_number", Int, "number of the request in the session", |cdr| {
        network(cdr).map_or(Value::None, |network| Value::Int(network.request_number.into()))
    }),
    column("rating_group", Int, "the rating group", |cdr| {
        let key = network(cdr).and_then(|network| network.service_key.as_ref());
        key.and_then(|key| key.rating_group).map_or(Value::None, |group| Value::Int(group.into()))
    }),
    column("service_ids", Text, "service identifiers, with commas", |cdr| {
        let key = network(cdr).and_then(|network| network.service_key.as_ref());
        key.map_or(Value::None, |key| list(key.service_ids.iter().map(ToString::to_string)))
    }),
    column("idempotency_key", Text, "the key of an operator's request", |cdr| operator(cdr, |it| &it.key)),
    column("reason", Text, "an operator's reason", |cdr| operator(cdr, |it| &it.reason)),
    column("usage_start", Time, "when the usage began", |cdr| time(cdr.usage_start.as_ref())),
    column("usage_end", Time, "when it ended", |cdr| time(cdr.usage_end.as_ref())),
    column("accepted", Time, "when the charging system took it", |cdr| time(cdr.accepted.as_ref())),
    column("time_zone", Text, "by whose wall clock times are local", |cdr| some_text(&cdr.time_zone)),
    column("service", Text, "the kind of service", |cdr| {
        let context = network(cdr).and_then(|network| network.context.as_ref());
        let service = context.and_then(|context| context.service.as_ref());
        service.map_or(Value::None, |service| name(service.service().as_str_name(), "SERVICE_"))
    }),
    column("service_context", Text, "Service-Context-Id", |cdr| context(cdr, |it| &it.service_context)),
    column("client_host", Text, "the network element that asked", |cdr| context(cdr, |it| &it.client_host)),
    column("apn", Text, "access point name", |cdr| packet(cdr).map_or(Value::None, |it| optional(&it.apn))),
    column("serving_plmn", Text, "serving network: MCC and MNC", |cdr| {
        packet(cdr).map_or(Value::None, |it| optional(&it.serving_plmn))
    }),
    column("rat_type", Int, "radio access, 3GPP-RAT-Type", |cdr| {
        packet(cdr).and_then(|it| it.rat_type).map_or(Value::None, |rat| Value::Int(rat.into()))
    }),
    identity("called_party", "the number that was called", |cdr| {
        let context = network(cdr).and_then(|network| network.context.as_ref());
        context.and_then(|context| context.ims.as_ref()).map_or(Value::None, |it| optional(&it.called_party))
    }),
    column("reported_seconds", Int, "seconds that were reported", |cdr| reported(cdr, |units| units.seconds)),
    column("reported_octets", Int, "octets that were reported", |cdr| reported(cdr, |units| units.total_octets)),
    column("reported_uplink", Int, "octets from the user", |cdr| reported(cdr, |units| units.uplink_octets)),
    column("reported_downlink", Int, "octets to the user", |cdr| reported(cdr, |units| units.downlink_octets)),
    column("reported_events", Int, "events that were reported", |cdr| reported(cdr, |units| units.events)),
    column("amount", Money, "charged above 0; given back or paid in below", |cdr| money(cdr.amount.as_ref())),
    column("currency", Text, "ISO 4217 letters of every amount", |cdr| {
        cdr.amount.as_ref().map_or(Value::None, |amount| text(&amount.currency))
    }),
    column("tariff", Text, "the tariff", |cdr| tariff(cdr).map_or(Value::None, |it| text(&it.name))),
    column("tariff_version", Int, "its version", |cdr| {
        tariff(cdr).map_or(Value::None, |it| Value::Int(it.version.into()))
    }),
    column("tariff_hash", Text, "SHA-256 of that version's content", |cdr| {
        tariff(cdr).map_or(Value::None, |it| hexadecimal(&it.content_hash))
    }),
    column("price_id", Text, "the price that won", |cdr| rating(cdr, |it| some_text(&it.price_id))),
    column("price_window", Text, "its window", |cdr| rating(cdr, |it| some_text(&it.window))),
    column("measure", Text, "what it counts", |cdr| rating(cdr, |it| name(it.measure().as_str_name(), "MEASURE_"))),
    column("used_before", Int, "used before in this price line of the session", |cdr| {
        rating(cdr, |it| int(it.used_before))
    }),
    column("used", Int, "used, raw quantity", |cdr| rating(cdr, |it| int(it.used))),
    column("rated_before", Int, "rated before", |cdr| rating(cdr, |it| int(it.rated_before))),
    column("rated", Int, "rated quantity", |cdr| rating(cdr, |it| int(it.rated))),
    column("charged_before", Money, "charged before in the session and service", |cdr| {
        rating(cdr, |it| money(it.charged_before.as_ref()))
    }),
    column("slice", Int, "which slice of its report", |cdr| rating(cdr, |it| Value::Int(it.slice.into()))),
    column("tier_from", Int, "where in the tiers it begins", |cdr| rating(cdr, |it| int(it.tier_from))),
    column("beyond_grant", Int, "used beyond what was granted", |cdr| rating(cdr, |it| int(it.beyond_grant))),
    column("exchange_id", Text, "the exchange of a price in another currency", |cdr| {
        exchange(cdr).map_or(Value::None, |it| text(&it.exchange_id))
    }),
    column("exchange_from", Text, "currency of the price", |cdr| {
        exchange(cdr).map_or(Value::None, |it| text(&it.from_currency))
    }),
    column("exchange_amount", Int, "so much of the account's currency ...", |cdr| {
        exchange(cdr).map_or(Value::None, |it| int(it.amount))
    }),
    column("exchange_per", Int, "... for so much of the price's", |cdr| {
        exchange(cdr).map_or(Value::None, |it| int(it.per))
    }),
    column("price_lines", Text, "JSON: what each component of the price added", |cdr| {
        rating(cdr, |it| json(it.lines.iter().map(price_line)))
    }),
    column("movements", Text, "JSON: every change of every payer", |cdr| json(cdr.movements.iter().map(movement))),
    column("crossings", Text, "JSON: the thresholds that it crossed", |cdr| json(cdr.crossings.iter().map(crossing))),
    column("offer", Text, "the offer that it is of", |cdr| cdr.offer.as_ref().map_or(Value::None, |it| text(&it.name))),
    column("offer_version", Int, "its version", |cdr| {
        cdr.offer.as_ref().map_or(Value::None, |it| Value::Int(it.version.into()))
    }),
    column("offer_hash", Text, "SHA-256 of that version's content", |cdr| {
        cdr.offer.as_ref().map_or(Value::None, |it| hexadecimal(&it.content_hash))
    }),
    column("subscription", Int, "the account's subscription to it", |cdr| {
        cdr.offer.as_ref().map_or(Value::None, |it| Value::Int(it.subscription.into()))
    }),
    column("offer_cycle", Int, "the number of its cycle", |cdr| {
        cdr.offer.as_ref().map_or(Value::None, |it| Value::Int(it.cycle.into()))
    }),
    column("tax_category", Text, "tax category, as the operator names it", |cdr| some_text(&cdr.tax_category)),
    column("tax_included", Bool, "whether amounts include that tax", |cdr| Value::Bool(cdr.tax_included)),
    column("place_of_supply", Text, "where it counts as supplied", |cdr| some_text(&cdr.place_of_supply)),
    column("ledger_code", Text, "ledger (G/L) code", |cdr| some_text(&cdr.ledger_code)),
    column("revenue_rule", Text, "revenue rule", |cdr| some_text(&cdr.revenue_rule)),
    column("accounting_period", Time, "the period that it is booked in", |cdr| time(cdr.accounting_period.as_ref())),
    column("usage_period", Time, "the period that it was used in", |cdr| time(cdr.usage_period.as_ref())),
    column("late", Bool, "whether that was closed", |cdr| Value::Bool(cdr.late)),
    column("bill_cycle", Time, "the account's billing cycle", |cdr| time(cdr.bill_cycle.as_ref())),
    column("rating_semantics", Int, "version of the rating rules that made it", |cdr| {
        Value::Int(cdr.rating_semantics.into())
    }),
    identity("subscriber_identifiers", "the network's names of the subscriber, with commas", |cdr| {
        identifiers(cdr).map_or(Value::None, |it| list(it.subscriber.iter().cloned()))
    }),
    identity("equipment", "equipment identity", |cdr| identifiers(cdr).map_or(Value::None, |it| octets(&it.equipment))),
    identity("device_addresses", "addresses of the device, with commas", |cdr| {
        identifiers(cdr).map_or(Value::None, |it| list(it.device_addresses.iter().cloned()))
    }),
    column("identity_forgotten", Bool, "whether those names have been forgotten", |cdr| {
        identifiers(cdr).map_or(Value::None, |it| Value::Bool(it.forgotten))
    }),
];

fn text(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

fn some_text(given: &str) -> Value<'_> {
    if given.is_empty() { Value::None } else { text(given) }
}

fn optional(given: &Option<String>) -> Value<'_> {
    given.as_deref().map_or(Value::None, text)
}

fn int(number: u64) -> Value<'static> {
    i64::try_from(number).map_or(Value::TooLarge, Value::Int)
}

fn name(long: &'static str, prefix: &str) -> Value<'static> {
    let short = long.strip_prefix(prefix).unwrap_or(long);
    if short == "UNSPECIFIED" { Value::None } else { Value::Text(short.to_lowercase().into()) }
}

fn list(items: impl Iterator<Item = String>) -> Value<'static> {
    let joined = items.collect::<Vec<_>>().join(",");
    if joined.is_empty() { Value::None } else { Value::Text(joined.into()) }
}

fn hexadecimal(octets: &[u8]) -> Value<'static> {
    Value::Text(hex(octets).into())
}

/// Hexadecimal digits.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn octets(octets: &[u8]) -> Value<'_> {
    match std::str::from_utf8(octets) {
        Ok(given) => some_text(given),
        Err(_) => Value::Text(format!("0x{}", hex(octets)).into()),
    }
}

fn time(at: Option<&Timestamp>) -> Value<'static> {
    let Some(at) = at else { return Value::None };
    let millis = at.seconds.checked_mul(1000).and_then(|millis| millis.checked_add(i64::from(at.nanos / 1_000_000)));
    millis.map_or(Value::TooLarge, Value::Time)
}

fn money(amount: Option<&ocs_proto::charging::v1::Money>) -> Value<'static> {
    match amount {
        None => Value::None,
        // The server always says micro-units.
        Some(amount) if amount.scale == 6 => Value::Money(amount.mantissa),
        Some(_) => Value::TooLarge,
    }
}

fn network(cdr: &RatedCdr) -> Option<&NetworkSource> {
    match &cdr.source {
        Some(Source::Network(network)) => Some(network),
        Some(Source::Operator(_) | Source::Calendar(_)) | None => None,
    }
}

fn operator(cdr: &RatedCdr, of: impl Fn(&ocs_proto::cdr::v1::OperatorSource) -> &String) -> Value<'_> {
    match &cdr.source {
        Some(Source::Operator(operator)) => some_text(of(operator)),
        Some(Source::Network(_) | Source::Calendar(_)) | None => Value::None,
    }
}

fn context(cdr: &RatedCdr, of: impl Fn(&ocs_proto::cdr::v1::Context) -> &String) -> Value<'_> {
    network(cdr).and_then(|network| network.context.as_ref()).map_or(Value::None, |context| some_text(of(context)))
}

fn packet(cdr: &RatedCdr) -> Option<&ocs_proto::cdr::v1::PacketContext> {
    network(cdr)?.context.as_ref()?.packet.as_ref()
}

fn reported(cdr: &RatedCdr, of: impl Fn(&Units) -> Option<u64>) -> Value<'static> {
    cdr.reported.as_ref().and_then(of).map_or(Value::None, int)
}

fn rating<'a>(cdr: &'a RatedCdr, of: impl Fn(&'a Rating) -> Value<'a>) -> Value<'a> {
    cdr.rating.as_ref().map_or(Value::None, of)
}

fn tariff(cdr: &RatedCdr) -> Option<&ocs_proto::cdr::v1::TariffReference> {
    cdr.rating.as_ref()?.tariff.as_ref()
}

fn exchange(cdr: &RatedCdr) -> Option<&ocs_proto::cdr::v1::ExchangeRate> {
    cdr.rating.as_ref()?.exchange.as_ref()
}

fn identifiers(cdr: &RatedCdr) -> Option<&NetworkIdentifiers> {
    cdr.identifiers.as_ref()
}

fn json(items: impl Iterator<Item = serde_json::Value>) -> Value<'static> {
    let items: Vec<serde_json::Value> = items.collect();
    if items.is_empty() { Value::None } else { Value::Text(serde_json::Value::Array(items).to_string().into()) }
}

fn price_line(line: &PriceLine) -> serde_json::Value {
    let component = match line.component {
        Some(Component::Tier(tier)) => format!("tier {tier}"),
        Some(Component::ConnectFee(_)) => "connect fee".to_owned(),
        None => String::new(),
    };
    let exact = format!("{}/{}", line.exact_numerator, line.exact_denominator);
    json!({"component": component, "quantity": line.quantity, "exact_micros": exact})
}

fn movement(it: &Movement) -> serde_json::Value {
    let word = |long: &str, prefix: &str| long.strip_prefix(prefix).unwrap_or(long).to_lowercase();
    json!({
        "payer": word(it.payer().as_str_name(), "PAYER_KIND_"), "bucket": it.bucket_id,
        "holding": word(it.holding().as_str_name(), "HOLDING_"), "origin": word(it.origin().as_str_name(), "ORIGIN_"),
        "before": it.before, "delta": it.delta, "after": it.after, "cost_micros": it.cost,
    })
}

fn crossing(it: &Crossing) -> serde_json::Value {
    let watched = it.watched().as_str_name().trim_start_matches("WATCHED_").to_lowercase();
    json!({
        "watched": watched, "bucket": it.bucket_id, "offer": it.offer, "subscription": it.subscription, "label": it.label,
        "threshold": it.threshold, "before": it.before, "after": it.after, "reached": it.reached,
    })
}
