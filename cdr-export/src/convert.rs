//! A CDR into protobuf, as octets at once. Pure: nothing is looked up, nothing rounded, and nothing kept in between.
//!
//! A [`CdrView`] borrows from whatever holds the CDR, so that a record decoded from disk and one that was just made take
//! the same way.

use ocs_proto::cdr::convert::{cause, kind, measure, watched};
use ocs_proto::cdr::v1 as wire;
use ocs_proto::charging::convert::{MONEY_SCALE, holding, origin, service, time};
use ocs_proto::fields::Fields;
use rating_engine::calendar::Zone;
use rating_engine::cdr::{
    Cause, CdrKind, CdrSource, Component, Movement, Payer, PriceLine, RATING_SEMANTICS, RatedCdr, Rating,
};
use rating_engine::context::{Context, ImsContext, PacketContext, Plmn, SmsContext};
use rating_engine::crossing::Crossing;
use rating_engine::ids::{AccountId, CdrPosition, PartitionId, RatingGroup, SubscriberId, TenantId};
use rating_engine::money::{Currency, Money};
use rating_engine::periods::Booked;
use rating_engine::tariff::{FinanceCodes, ServiceKey};
use rating_engine::time::Timestamp;
use rating_engine::units::{Measure, MoneyUnits, Units};

/// A CDR at its place, borrowed from where it is kept. `L` yields its [`LineView`]s.
#[derive(Clone, Copy, Debug)]
pub struct CdrView<'a, L> {
    /// The partition.
    pub partition: PartitionId,
    /// The place in it.
    pub position: CdrPosition,
    /// What kind.
    pub kind: CdrKind,
    /// The CDR that this one corrects or gives back.
    pub corrects: Option<CdrPosition>,
    /// The account that paid.
    pub account: AccountId,
    /// The number among the account's CDRs, from 1.
    pub number: u64,
    /// The account's CDR before this one; 0 when this is the first.
    pub previous: CdrPosition,
    /// The tenant.
    pub tenant: TenantId,
    /// The subscriber that used.
    pub subscriber: Option<SubscriberId>,
    /// Where it comes from.
    pub source: &'a CdrSource,
    /// Whether the network identifiers have been forgotten.
    pub identity_forgotten: bool,
    /// Why it was made then.
    pub cause: Cause,
    /// When the usage began.
    pub usage_start: Timestamp,
    /// When it ended.
    pub usage_end: Timestamp,
    /// When we took it.
    pub accepted: Timestamp,
    /// What was reported.
    pub reported: &'a Units,
    /// How the amount came about.
    pub rating: Option<RatingView<'a, L>>,
    /// Where it is booked.
    pub booked: Option<Booked>,
    /// First instant of the account's billing cycle.
    pub bill_cycle: Option<Timestamp>,
    /// By whose wall clock its times are local; empty where nothing is said.
    pub zone: &'a str,
    /// The offer that it is of.
    pub offer: Option<OfferView<'a>>,
    /// What finance is told of it.
    pub finance: Option<&'a FinanceCodes>,
    /// Charged (positive), given back or paid in (negative).
    pub amount: Money,
    /// Its currency.
    pub currency: Currency,
    /// Every change of every payer.
    pub movements: &'a [Movement],
    /// The thresholds that it crossed.
    pub crossings: &'a [Crossing],
    /// Version of the rating semantics that made it.
    pub semantics: u16,
    /// The octets that it is stored as; empty where they are not wanted.
    pub stored: &'a [u8],
}

/// The cycle of a subscription to an offer.
#[derive(Clone, Copy, Debug)]
pub struct OfferView<'a> {
    /// The offer's name.
    pub name: &'a str,
    /// The version's number.
    pub version: u32,
    /// SHA-256 of its content.
    pub content_hash: &'a [u8; 32],
    /// The subscription's number on the account.
    pub subscription: u32,
    /// The number of its cycle.
    pub cycle: u32,
}

/// How an amount came about, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct RatingView<'a, L> {
    /// The tariff version.
    pub tariff: TariffView<'a>,
    /// The price that won; empty for money that the network named itself.
    pub price: &'a str,
    /// The window of its price line; empty where the price does not differ by window.
    pub window: &'a str,
    /// Which slice of its report this is, from 0.
    pub slice: u16,
    /// What it counted.
    pub measure: Option<Measure>,
    /// Used before, raw units.
    pub used_before: u64,
    /// Used now, raw units.
    pub used: u64,
    /// Rated before, whole pulses.
    pub rated_before: u64,
    /// Rated now, more than before.
    pub rated: u64,
    /// Where in the tiers that part of it begins that money pays for.
    pub tier_from: u64,
    /// Charged before.
    pub charged_before: Money,
    /// How its amounts were converted.
    pub exchange: Option<ExchangeView<'a>>,
    /// Components.
    pub lines: L,
    /// Used beyond what was granted, raw units.
    pub beyond_grant: u64,
}

/// An exchange rate.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeView<'a> {
    /// The exchange.
    pub id: &'a str,
    /// The currency of the price.
    pub from: Currency,
    /// First instant at which the rate is used.
    pub since: Timestamp,
    /// So much of the account's currency...
    pub amount: u64,
    /// ... for so much of the price's.
    pub per: u64,
}

/// A tariff version by name, number and content.
#[derive(Clone, Copy, Debug)]
pub struct TariffView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its number.
    pub version: u32,
    /// SHA-256 of its content.
    pub content_hash: &'a [u8; 32],
}

/// What one component of the price added.
#[derive(Clone, Copy, Debug)]
pub struct LineView {
    /// Which.
    pub component: Component,
    /// Rated units that money paid for, more than before.
    pub quantity: u64,
    /// Numerator and denominator (positive) of the exact amount, in micro-units, in lowest terms.
    pub exact: (i128, i128),
}

impl<'a> CdrView<'a, ()> {
    /// A CDR as the centre makes it.
    pub fn of(
        partition: PartitionId,
        position: CdrPosition,
        cdr: &'a RatedCdr,
    ) -> CdrView<'a, impl Iterator<Item = LineView> + use<'a>> {
        CdrView {
            partition,
            position,
            kind: cdr.kind,
            corrects: cdr.corrects,
            account: cdr.account,
            number: cdr.number,
            previous: cdr.previous,
            tenant: cdr.tenant,
            subscriber: cdr.subscriber,
            source: &cdr.source,
            identity_forgotten: false,
            cause: cdr.cause,
            usage_start: cdr.usage_start,
            usage_end: cdr.usage_end,
            accepted: cdr.accepted,
            reported: &cdr.reported,
            rating: cdr.rating.as_ref().map(rating_view),
            booked: cdr.booked,
            bill_cycle: cdr.bill_cycle,
            zone: cdr.zone().map(Zone::name).unwrap_or_default(),
            offer: cdr.offer.as_ref().map(|of| OfferView {
                name: of.offer.name().as_str(),
                version: of.offer.version(),
                content_hash: of.offer.content_hash(),
                subscription: of.subscription,
                cycle: of.cycle,
            }),
            finance: cdr.finance(),
            amount: cdr.amount,
            currency: cdr.currency,
            movements: &cdr.movements,
            crossings: &cdr.crossings,
            semantics: RATING_SEMANTICS,
            stored: &[],
        }
    }
}

fn rating_view(rating: &Rating) -> RatingView<'_, impl Iterator<Item = LineView>> {
    RatingView {
        tariff: TariffView {
            name: rating.tariff.name().as_str(),
            version: rating.tariff.version(),
            content_hash: rating.tariff.content_hash(),
        },
        price: rating.price.as_str(),
        window: rating.tariff.window_name(rating.window),
        slice: rating.slice,
        measure: rating.measure,
        used_before: rating.used_before,
        used: rating.used,
        rated_before: rating.rated_before,
        rated: rating.rated,
        tier_from: rating.tier_from,
        charged_before: rating.charged_before,
        exchange: rating.exchange().map(|(exchange, since, ratio)| ExchangeView {
            id: &exchange.id,
            from: exchange.from,
            since,
            amount: ratio.amount(),
            per: ratio.per(),
        }),
        lines: rating.lines.iter().map(LineView::of),
        beyond_grant: rating.beyond_grant,
    }
}

impl LineView {
    /// A line as the centre makes it.
    pub fn of(line: &PriceLine) -> Self {
        Self { component: line.component, quantity: line.quantity, exact: line.exact.fraction() }
    }
}

/// Writes the CDR's fields: an `ocs.cdr.v1.RatedCdr`, whose field numbers these are. Nothing is built before.
pub fn put_rated_cdr(w: &mut Fields<'_>, cdr: CdrView<'_, impl Iterator<Item = LineView>>) {
    w.uint(1, cdr.partition.get());
    w.uint(2, cdr.position.get());
    w.display(3, &format_args!("{}-{}", cdr.partition, cdr.position));
    w.int(4, kind(cdr.kind) as i32);
    w.some_uint(5, cdr.corrects.map(CdrPosition::get));
    w.uint(6, cdr.account.get());
    w.uint(7, cdr.number);
    w.uint(8, cdr.previous.get());
    w.uint(9, cdr.tenant.get());
    w.some_uint(10, cdr.subscriber.map(SubscriberId::get));
    match cdr.source {
        CdrSource::Network { session, request, service, context: circumstances } => w.message(11, |w| {
            w.octets(1, session.octets());
            w.uint(2, *request);
            w.message(3, |w| put_service_key(w, service));
            w.message(4, |w| put_context(w, circumstances));
        }),
        CdrSource::Operator { key, reason } => w.message(12, |w| {
            w.text(1, key.as_str());
            w.text(2, reason);
        }),
        CdrSource::Calendar => w.message(24, |_| {}),
    }
    w.int(13, cause(cdr.cause) as i32);
    w.message(14, |w| put_time(w, cdr.usage_start));
    w.message(15, |w| put_time(w, cdr.usage_end));
    w.message(16, |w| put_time(w, cdr.accepted));
    if !cdr.reported.is_empty() {
        w.message(17, |w| put_units(w, cdr.reported, cdr.currency));
    }
    if let Some(rating) = cdr.rating {
        w.message(18, |w| put_rating(w, rating, cdr.currency));
    }
    w.message(19, |w| put_money(w, cdr.amount, cdr.currency.letters()));
    for movement in cdr.movements {
        w.message(20, |w| put_movement(w, movement));
    }
    if let CdrSource::Network { context, .. } = cdr.source {
        w.message(21, |w| put_identifiers(w, context, cdr.identity_forgotten));
    }
    w.uint(22, cdr.semantics);
    if let Some(offer) = cdr.offer {
        w.message(23, |w| {
            w.text(1, offer.name);
            w.uint(2, offer.version);
            w.octets(3, offer.content_hash);
            w.uint(4, offer.subscription);
            w.uint(5, offer.cycle);
        });
    }
    w.text(25, cdr.zone);
    if let Some(codes) = cdr.finance {
        w.text(30, &codes.tax_category);
        w.uint(31, codes.tax_included);
        w.text(32, &codes.place_of_supply);
        w.text(40, &codes.ledger_code);
        w.text(41, &codes.revenue_rule);
    }
    if let Some(booked) = cdr.booked {
        w.message(42, |w| put_time(w, booked.period));
        w.message(43, |w| put_time(w, booked.usage_period));
        w.uint(44, booked.is_late());
    }
    if let Some(begin) = cdr.bill_cycle {
        w.message(45, |w| put_time(w, begin));
    }
    w.octets(50, cdr.stored);
    for crossing in cdr.crossings {
        w.message(51, |w| put_crossing(w, crossing));
    }
}

/// `google.protobuf.Timestamp`.
fn put_time(w: &mut Fields<'_>, at: Timestamp) {
    let at = time(at);
    w.int(1, at.seconds);
    w.int(2, at.nanos);
}

/// `ocs.charging.v1.Money`.
fn put_money(w: &mut Fields<'_>, amount: Money, currency: &str) {
    w.int(1, amount.micros());
    w.uint(2, MONEY_SCALE);
    w.text(3, currency);
}

/// `ocs.charging.v1.ServiceKey`.
fn put_service_key(w: &mut Fields<'_>, key: &ServiceKey) {
    w.some_uint(1, key.rating_group.map(RatingGroup::get));
    w.packed(2, key.services.iter().map(|id| id.get()));
}

/// `ocs.charging.v1.Units`.
fn put_units(w: &mut Fields<'_>, units: &Units, account: Currency) {
    w.some_uint(1, units.seconds);
    w.some_uint(2, units.total_octets);
    w.some_uint(3, units.uplink_octets);
    w.some_uint(4, units.downlink_octets);
    w.some_uint(5, units.events);
    if let Some(named) = units.money {
        w.message(6, |w| put_money_units(w, named, account));
    }
}

/// Money that the network named: in the account's currency unless it says another one, which then stands as its number.
fn put_money_units(w: &mut Fields<'_>, named: MoneyUnits, account: Currency) {
    match named.currency.filter(|number| *number != account.numeric()) {
        None => put_money(w, named.amount, account.letters()),
        Some(foreign) => put_money(w, named.amount, &format!("{foreign:03}")),
    }
}

/// `Rating`.
fn put_rating(w: &mut Fields<'_>, rating: RatingView<'_, impl Iterator<Item = LineView>>, currency: Currency) {
    w.message(1, |w| {
        w.text(1, rating.tariff.name);
        w.uint(2, rating.tariff.version);
        w.octets(3, rating.tariff.content_hash);
    });
    w.text(2, rating.price);
    w.int(3, measure(rating.measure) as i32);
    w.uint(4, rating.used_before);
    w.uint(5, rating.used);
    w.uint(6, rating.rated_before);
    w.uint(7, rating.rated);
    w.message(8, |w| put_money(w, rating.charged_before, currency.letters()));
    for line in rating.lines {
        w.message(9, |w| put_price_line(w, line));
    }
    w.uint(10, rating.beyond_grant);
    w.text(11, rating.window);
    w.uint(12, rating.slice);
    w.uint(13, rating.tier_from);
    if let Some(exchange) = rating.exchange {
        w.message(14, |w| {
            w.text(1, exchange.id);
            w.text(2, exchange.from.letters());
            w.message(3, |w| put_time(w, exchange.since));
            w.uint(4, exchange.amount);
            w.uint(5, exchange.per);
        });
    }
}

/// `PriceLine`.
fn put_price_line(w: &mut Fields<'_>, line: LineView) {
    match line.component {
        Component::ConnectFee => w.present(1, true),
        Component::Tier(tier) => w.present(2, tier),
    }
    w.uint(3, line.quantity);
    let (numerator, denominator) = line.exact;
    w.display(4, &numerator);
    w.display(5, &denominator);
}

/// `Movement`.
fn put_movement(w: &mut Fields<'_>, movement: &Movement) {
    let (payer, bucket_id) = match &movement.payer {
        Payer::Bucket(id) => (wire::PayerKind::Bucket, id.as_str()),
        Payer::Credit => (wire::PayerKind::Credit, ""),
        Payer::Debt => (wire::PayerKind::Debt, ""),
    };
    w.int(1, i32::from(payer));
    w.text(2, bucket_id);
    w.int(3, i32::from(holding(movement.holding)));
    w.int(4, i32::from(origin(movement.origin)));
    w.int(5, movement.before);
    w.int(6, movement.delta);
    w.int(7, movement.after());
    w.int(8, movement.cost.micros());
}

/// `Crossing`.
fn put_crossing(w: &mut Fields<'_>, crossing: &Crossing) {
    let (what, bucket_id, unit) = watched(&crossing.watched);
    w.int(1, i32::from(what));
    w.text(2, bucket_id);
    w.int(3, i32::from(holding(unit)));
    w.text(4, crossing.offer.as_str());
    w.uint(5, crossing.subscription);
    w.text(6, &crossing.label);
    w.int(7, crossing.at);
    w.int(8, crossing.before);
    w.int(9, crossing.after);
    w.uint(10, crossing.is_reached());
}

/// `NetworkIdentifiers`.
fn put_identifiers(w: &mut Fields<'_>, context: &Context, forgotten: bool) {
    context.identifiers.iter().for_each(|identifier| w.display(1, identifier));
    w.octets(2, context.equipment.as_deref().unwrap_or_default());
    let addresses = context.packet.iter().flat_map(|packet| &packet.device_addresses);
    addresses.for_each(|address| w.display(3, address));
    w.uint(4, forgotten);
}

/// `Context`.
fn put_context(w: &mut Fields<'_>, context: &Context) {
    w.message(1, |w| {
        let kind = service(context.service);
        w.int(1, kind.service);
        w.uint(2, kind.specification);
    });
    w.text(2, &context.service_context);
    w.text(3, &context.client_host);
    w.text(4, &context.client_realm);
    w.octets(5, context.correlation.as_deref().unwrap_or_default());
    if let Some(packet) = &context.packet {
        w.message(6, |w| put_packet(w, packet));
    }
    if let Some(ims) = &context.ims {
        w.message(7, |w| put_ims(w, ims));
    }
    if let Some(sms) = &context.sms {
        w.message(8, |w| put_sms(w, sms));
    }
}

/// `PacketContext`.
fn put_packet(w: &mut Fields<'_>, packet: &PacketContext) {
    w.some_text(1, packet.apn.as_deref());
    w.some_uint(2, packet.charging_id);
    w.some_uint(3, packet.pdn_connection_id);
    w.some_text(4, packet.serving_plmn.as_ref().map(Plmn::as_str));
    w.some_text(5, packet.home_plmn.as_ref().map(Plmn::as_str));
    w.some_text(6, packet.gateway_plmn.as_ref().map(Plmn::as_str));
    w.some_uint(7, packet.rat);
    if let Some(location) = &packet.location {
        w.present_octets(8, location);
    }
    if let Some(zone) = &packet.time_zone {
        w.present_octets(9, zone);
    }
    w.some_uint(10, packet.charging_characteristics);
    if let Some(node) = &packet.serving_node {
        w.display(11, node);
    }
    w.some_uint(12, packet.serving_node_type);
    if let Some(gateway) = &packet.gateway {
        w.display(13, gateway);
    }
    w.some_uint(14, packet.pdp_type);
    w.some_uint(15, packet.nsapi);
    w.some_uint(16, packet.selection_mode);
    w.some_uint(17, packet.qci);
    w.some_text(18, packet.rule_base.as_deref());
    w.some_uint(19, packet.ps_data_off);
    w.some_uint(20, packet.presence_area);
    w.some_uint(21, packet.slice.map(|slice| slice.service_type));
    w.some_uint(22, packet.slice.and_then(|slice| slice.differentiator));
}

/// `ImsContext`.
fn put_ims(w: &mut Fields<'_>, ims: &ImsContext) {
    w.some_text(1, ims.sip_method.as_deref());
    w.some_uint(2, ims.role);
    w.some_uint(3, ims.node_functionality);
    w.some_text(4, ims.user_session.as_deref());
    w.texts(5, ims.calling.iter().map(AsRef::as_ref));
    w.some_text(6, ims.called.as_deref());
    w.texts(7, ims.requested.iter().map(AsRef::as_ref));
    w.some_text(8, ims.icid.as_deref());
    w.texts(9, ims.access_network.iter().map(AsRef::as_ref));
    w.some_text(10, ims.visited_network.as_deref());
    w.some_int(11, ims.cause_code);
    w.uint(12, ims.emergency);
}

/// `SmsContext`.
fn put_sms(w: &mut Fields<'_>, sms: &SmsContext) {
    w.some_text(1, sms.originator.as_deref());
    w.texts(2, sms.recipients.iter().map(AsRef::as_ref));
    w.some_text(3, sms.service_centre.as_deref());
    w.some_uint(4, sms.message_type);
    w.some_uint(5, sms.node);
    w.some_uint(6, sms.messages);
    w.some_int(7, sms.data_coding);
    w.some_uint(8, sms.service_type);
}
