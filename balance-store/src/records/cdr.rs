//! Rated CDRs as octets, and what a consumer reads out of them.
//!
//! Version octet, then two sections with their lengths before them: the charge, and the identity. The identity holds
//! every network identifier, so that it can be encrypted or forgotten while the charge stays as it was written. Reading
//! needs no tariff: a [`StoredCdr`] names its version. Absent: the position and the partition, which the store around
//! it knows.

use std::sync::Arc;

use rating_engine::account::{Holding, Origin};
use rating_engine::calendar::Zone;
use rating_engine::cdr::{
    Cause, CdrKind, CdrSource, Component, Movement, OfferCycle, PriceLine, RATING_SEMANTICS, RatedCdr, Rating,
};
use rating_engine::context::Context;
use rating_engine::crossing::{Crossing, Watched};
use rating_engine::ids::{
    AccountId, BucketId, CdrPosition, IdempotencyKey, OfferName, PriceId, SessionId, SubscriberId, TenantId,
};
use rating_engine::money::{Currency, Exact, Money, Ratio};
use rating_engine::offer::OfferVersion;
use rating_engine::periods::Booked;
use rating_engine::tariff::{Exchange, FinanceCodes};
use rating_engine::time::Timestamp;
use rating_engine::units::{Measure, Units};

use super::context::{put_circumstances, put_identity, read_circumstances, read_identity};
use super::values::{Coded, Resolve, TariffRef, payer_code};
use super::wire::{Fault, Presence, Read, Reader, RecordError, Writer};

/// The format of a CDR.
const VERSION: u8 = 1;

/// Which of the optional members crossings are.
const CROSSINGS_BIT: u32 = 13;

/// How an identity section begins that is neither empty nor encrypted.
const IDENTITY_PLAIN: u8 = 1;

/// A CDR as a consumer reads it: a [`RatedCdr`] that names its tariff version instead of holding it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCdr {
    /// Version of the rating semantics that made it.
    pub semantics: u16,
    /// What kind.
    pub kind: CdrKind,
    /// The CDR that this one corrects or refunds.
    pub corrects: Option<CdrPosition>,
    /// The account that paid.
    pub account: AccountId,
    /// The number of this CDR among the account's, from 1.
    pub number: u64,
    /// The position of the account's previous CDR; 0 when this is the first.
    pub previous: CdrPosition,
    /// The tenant.
    pub tenant: TenantId,
    /// The subscriber that used.
    pub subscriber: Option<SubscriberId>,
    /// Where it comes from. When the identity is forgotten, its context names nobody.
    pub source: CdrSource,
    /// Whether the identity has been forgotten.
    pub identity_forgotten: bool,
    /// Why it was made when it was.
    pub cause: Cause,
    /// When the usage began.
    pub usage_start: Timestamp,
    /// When the usage ended.
    pub usage_end: Timestamp,
    /// When we took it.
    pub accepted: Timestamp,
    /// What was reported.
    pub reported: Units,
    /// How the amount came about; `None` where nothing was rated.
    pub rating: Option<StoredRating>,
    /// Where it is booked, where accounting periods are kept.
    pub booked: Option<Booked>,
    /// First instant of the account's billing cycle that the usage began in.
    pub bill_cycle: Option<Timestamp>,
    /// By whose wall clock its times are local, a name of the IANA database; empty where nothing is said.
    pub zone: Box<str>,
    /// The offer that it is of.
    pub offer: Option<StoredOffer>,
    /// What finance is told of it; `None` where nothing is said.
    pub finance: Option<FinanceCodes>,
    /// The amount charged (positive) or given back (negative) or paid in (negative), in money.
    pub amount: Money,
    /// Its currency.
    pub currency: Currency,
    /// Every change of every payer.
    pub movements: Vec<Movement>,
    /// The thresholds that it crossed.
    pub crossings: Vec<Crossing>,
}

/// How an amount came about: a [`Rating`] that names its tariff version instead of holding it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRating {
    /// The tariff version.
    pub tariff: TariffRef,
    /// The price that won; empty for money that the network named itself.
    pub price: PriceId,
    /// The window of its price line; empty where the price does not differ by window.
    pub window: Box<str>,
    /// Which slice of its report this is, from 0.
    pub slice: u16,
    /// How its amounts were converted, where the price is in another currency.
    pub exchange: Option<StoredExchange>,
    /// What it counted.
    pub measure: Option<Measure>,
    /// Used before in this price line of the session, raw units.
    pub used_before: u64,
    /// Used now, raw units.
    pub used: u64,
    /// Rated before in it, whole pulses.
    pub rated_before: u64,
    /// Rated now, more than before.
    pub rated: u64,
    /// Where in the tiers that part of it begins that money pays for.
    pub tier_from: u64,
    /// Charged before in this session and service.
    pub charged_before: Money,
    /// Components.
    pub lines: Vec<StoredLine>,
    /// Used beyond what was granted, raw units.
    pub beyond_grant: u64,
}

/// An exchange rate (R36).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredExchange {
    /// The exchange.
    pub id: Box<str>,
    /// The currency of the price.
    pub from: Currency,
    /// First instant at which the rate is used.
    pub since: Timestamp,
    /// So much of the account's currency...
    pub amount: u64,
    /// ... for so much of the price's.
    pub per: u64,
}

impl StoredExchange {
    fn of((exchange, since, ratio): (&Exchange, Timestamp, Ratio)) -> Self {
        let (id, from) = (exchange.id.clone(), exchange.from);
        Self { id, from, since, amount: ratio.amount(), per: ratio.per() }
    }
}

/// The cycle of a subscription to an offer: an [`OfferCycle`] that names the offer's version instead of holding it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOffer {
    /// The offer.
    pub name: OfferName,
    /// Its version.
    pub version: u32,
    /// SHA-256 of its canonical document.
    pub content_hash: [u8; 32],
    /// The subscription's number on the account.
    pub subscription: u32,
    /// The number of its cycle.
    pub cycle: u32,
}

impl StoredOffer {
    fn of(of: &OfferCycle) -> Self {
        let OfferCycle { offer, subscription, cycle } = of;
        Self {
            name: offer.name().clone(),
            version: offer.version(),
            content_hash: *offer.content_hash(),
            subscription: *subscription,
            cycle: *cycle,
        }
    }
}

/// What one component of the price line added: a [`PriceLine`] with its exact amount as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredLine {
    /// Which.
    pub component: Component,
    /// Rated units that money paid for, more than before.
    pub quantity: u64,
    /// Numerator and denominator (positive) of the exact amount, in micro-units, in lowest terms.
    pub exact: (i128, i128),
}

impl StoredCdr {
    /// What `cdr` reads as once it is stored.
    pub fn of(cdr: &RatedCdr) -> Self {
        Self {
            semantics: RATING_SEMANTICS,
            kind: cdr.kind,
            corrects: cdr.corrects,
            account: cdr.account,
            number: cdr.number,
            previous: cdr.previous,
            tenant: cdr.tenant,
            subscriber: cdr.subscriber,
            source: cdr.source.clone(),
            identity_forgotten: false,
            cause: cdr.cause,
            usage_start: cdr.usage_start,
            usage_end: cdr.usage_end,
            accepted: cdr.accepted,
            reported: cdr.reported,
            rating: cdr.rating.as_ref().map(|rating| StoredRating {
                tariff: TariffRef::of(&rating.tariff),
                price: rating.price.clone(),
                window: rating.tariff.window_name(rating.window).into(),
                slice: rating.slice,
                exchange: rating.exchange().map(StoredExchange::of),
                measure: rating.measure,
                used_before: rating.used_before,
                used: rating.used,
                rated_before: rating.rated_before,
                rated: rating.rated,
                tier_from: rating.tier_from,
                charged_before: rating.charged_before,
                lines: rating.lines.iter().map(StoredLine::of).collect(),
                beyond_grant: rating.beyond_grant,
            }),
            booked: cdr.booked,
            bill_cycle: cdr.bill_cycle,
            zone: cdr.zone().map(Zone::name).unwrap_or_default().into(),
            offer: cdr.offer.as_ref().map(StoredOffer::of),
            finance: cdr.finance().cloned(),
            amount: cdr.amount,
            currency: cdr.currency,
            movements: cdr.movements.to_vec(),
            crossings: cdr.crossings.clone(),
        }
    }
}

impl StoredCdr {
    /// The CDR as it was made, with the versions that it names.
    ///
    /// # Errors
    /// [`RecordError`] when a version that it names is not at hand, or has other content.
    pub fn rated(
        &self,
        tariffs: &Resolve<'_>,
        offers: &dyn Fn(&OfferName, u32) -> Option<Arc<OfferVersion>>,
    ) -> Result<RatedCdr, RecordError> {
        let rating = self.rating.as_ref().map(|rating| rating.rated(tariffs)).transpose()?;
        let offer = self.offer.as_ref().map(|offer| {
            let version = offers(&offer.name, offer.version);
            let version = version.filter(|version| *version.content_hash() == offer.content_hash);
            let version = version.ok_or_else(|| Reader::error("offer", 0, Fault::Value))?;
            Ok(OfferCycle { offer: version, subscription: offer.subscription, cycle: offer.cycle })
        });
        Ok(RatedCdr {
            kind: self.kind,
            corrects: self.corrects,
            account: self.account,
            number: self.number,
            previous: self.previous,
            tenant: self.tenant,
            subscriber: self.subscriber,
            source: self.source.clone(),
            cause: self.cause,
            usage_start: self.usage_start,
            usage_end: self.usage_end,
            accepted: self.accepted,
            reported: self.reported,
            rating,
            booked: self.booked,
            bill_cycle: self.bill_cycle,
            offer: offer.transpose()?,
            amount: self.amount,
            currency: self.currency,
            movements: self.movements.iter().cloned().collect(),
            crossings: self.crossings.clone(),
            gives_back: None,
        })
    }
}

impl StoredRating {
    fn rated(&self, tariffs: &Resolve<'_>) -> Result<Rating, RecordError> {
        let (name, version) = (&self.tariff.name, self.tariff.version);
        let missing = |fault| Reader::error("tariff", 0, fault);
        let tariff =
            tariffs(name, version).ok_or_else(|| missing(Fault::TariffMissing { name: name.clone(), version }))?;
        if *tariff.content_hash() != self.tariff.content_hash {
            return Err(missing(Fault::TariffDiffers { name: name.clone(), version }));
        }
        let place = tariff.prices().iter().position(|price| price.id == self.price);
        let place = place.and_then(|place| u16::try_from(place).ok()).unwrap_or(0);
        let window = tariff.calendar().and_then(|calendar| calendar.id(&self.window)).unwrap_or_default();
        let rates = tariff.prices().get(usize::from(place)).and_then(|price| tariff.exchange(price));
        let rate = self.exchange.as_ref().zip(rates).and_then(|(stored, exchange)| {
            let place = exchange.rates.iter().position(|(since, _)| *since == stored.since)?;
            u16::try_from(place + 1).ok()
        });
        let line = |line: &StoredLine| {
            let exact = Exact::from_fraction(line.exact.0, line.exact.1)?;
            Some(PriceLine { component: line.component, quantity: line.quantity, exact })
        };
        Ok(Rating {
            price: self.price.clone(),
            place,
            window,
            rate: rate.unwrap_or(0),
            measure: self.measure,
            used_before: self.used_before,
            used: self.used,
            rated_before: self.rated_before,
            rated: self.rated,
            tier_from: self.tier_from,
            charged_before: self.charged_before,
            lines: self.lines.iter().filter_map(line).collect(),
            beyond_grant: self.beyond_grant,
            slice: self.slice,
            tariff,
        })
    }
}

impl StoredLine {
    /// What `line` reads as once it is stored.
    pub fn of(line: &PriceLine) -> Self {
        Self { component: line.component, quantity: line.quantity, exact: line.exact.fraction() }
    }
}

/// The two parts of a CDR's octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CdrParts<'a> {
    /// Everything that was charged; never changes.
    pub charge: &'a [u8],
    /// Whose it was; empty when that is forgotten.
    pub identity: &'a [u8],
}

/// Takes a CDR's octets apart without reading either part.
///
/// # Errors
/// [`RecordError`] when the octets are not two parts.
pub fn cdr_parts(octets: &[u8]) -> Result<CdrParts<'_>, RecordError> {
    let mut r = Reader::new(octets);
    r.version(VERSION, "CDR")?;
    let parts = CdrParts { charge: r.section("charge")?, identity: r.section("identity")? };
    r.finish("CDR")?;
    Ok(parts)
}

/// Puts a CDR's octets together at the end of `out`; the reverse of [`cdr_parts`].
pub fn join_cdr(out: &mut Vec<u8>, parts: CdrParts<'_>) {
    let mut w = Writer::new(out);
    w.u8(VERSION);
    w.section(|w| w.raw(parts.charge));
    w.section(|w| w.raw(parts.identity));
}

/// Writes a CDR at the end of `out`.
pub fn encode_cdr(out: &mut Vec<u8>, cdr: &RatedCdr) {
    let mut w = Writer::new(out);
    w.u8(VERSION);
    w.section(|w| put_charge(w, cdr));
    w.section(|w| {
        w.u8(IDENTITY_PLAIN);
        if let CdrSource::Network { context, .. } = &cdr.source {
            put_identity(w, context);
        }
    });
}

/// Reads a CDR.
///
/// # Errors
/// [`RecordError`] when the octets are no CDR.
pub fn decode_cdr(octets: &[u8]) -> Result<StoredCdr, RecordError> {
    let mut whole = Reader::new(octets);
    whole.version(VERSION, "CDR")?;
    let charge = whole.section("charge")?;
    let mut r = whole.within(charge);
    let mut cdr = read_charge(&mut r)?;
    r.finish("charge")?;
    let identity = whole.section("identity")?;
    let mut r = whole.within(identity);
    cdr.identity_forgotten = identity.is_empty();
    if !cdr.identity_forgotten {
        r.code("identity", |code| (code == IDENTITY_PLAIN).then_some(()))?;
        if let CdrSource::Network { context, .. } = &mut cdr.source {
            read_identity(&mut r, Arc::make_mut(context))?;
        }
        r.finish("identity")?;
    }
    whole.finish("CDR")?;
    Ok(cdr)
}

/// What a CDR says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CdrHead {
    /// What kind of movement it records.
    pub kind: CdrKind,
    /// The account that paid.
    pub account: AccountId,
    /// Whether it says what crossed a threshold.
    pub has_crossings: bool,
}

/// Reads as little of a CDR as tells whether somebody wants it. The rest may be damaged.
///
/// # Errors
/// [`RecordError`] when the octets do not begin like one.
pub fn cdr_head(octets: &[u8]) -> Result<CdrHead, RecordError> {
    let mut whole = Reader::new(octets);
    whole.version(VERSION, "CDR")?;
    let charge = whole.section("charge")?;
    let mut r = whole.within(charge);
    let _semantics: u32 = r.number("rating semantics")?;
    let kind = r.coded("kind")?;
    let _cause: Cause = r.coded("cause")?;
    let has_crossings = r.u64("CDR")? >> CROSSINGS_BIT & 1 == 1;
    Ok(CdrHead { kind, account: AccountId::new(r.u64("account")?), has_crossings })
}

fn put_charge(w: &mut Writer<'_>, cdr: &RatedCdr) {
    let RatedCdr {
        kind,
        corrects,
        account,
        number,
        previous,
        tenant,
        subscriber,
        source,
        cause,
        usage_start,
        usage_end,
        accepted,
        reported,
        rating,
        booked,
        bill_cycle,
        offer,
        amount,
        currency,
        movements,
        crossings,
        gives_back: _,
    } = cdr;
    let (finance, zone) = (cdr.finance(), cdr.zone());
    w.u64(RATING_SEMANTICS.into());
    w.coded(*kind);
    w.coded(*cause);
    let from_operator = matches!(source, CdrSource::Operator { .. });
    let tier_from = rating.as_ref().map_or(0, |rating| rating.tier_from);
    let exchange = rating.as_ref().and_then(Rating::exchange).map(StoredExchange::of);
    let named_after_host = match source {
        CdrSource::Network { session, context, .. } => behind_host(session, context),
        CdrSource::Operator { .. } | CdrSource::Calendar => None,
    };
    w.presence(&[
        corrects.is_some(),
        subscriber.is_some(),
        rating.is_some(),
        from_operator,
        named_after_host.is_some(),
        matches!(source, CdrSource::Calendar),
        offer.is_some(),
        finance.is_some(),
        tier_from != 0,
        exchange.is_some(),
        booked.is_some(),
        bill_cycle.is_some(),
        zone.is_some(),
        !crossings.is_empty(),
    ]);
    w.u64(account.get());
    w.u64(*number);
    w.u64(previous.get());
    w.u64(tenant.get().into());
    w.time(*accepted);
    w.time_since(*accepted, *usage_start);
    w.time_since(*accepted, *usage_end);
    w.units(reported);
    w.money(*amount);
    w.currency(*currency);
    w.list(movements, put_movement);
    if let Some(corrects) = corrects {
        w.u64(corrects.get());
    }
    if let Some(subscriber) = subscriber {
        w.u64(subscriber.get());
    }
    if let Some(rating) = rating {
        put_rating(w, rating);
    }
    match source {
        CdrSource::Network { session, request, service, context } => {
            w.octets(named_after_host.unwrap_or(session.octets()));
            w.u64((*request).into());
            w.service_key(service);
            put_circumstances(w, context);
        }
        CdrSource::Operator { key, reason } => {
            w.str(key.as_str());
            w.str(reason);
        }
        CdrSource::Calendar => {}
    }
    if let Some(OfferCycle { offer, subscription, cycle }) = offer {
        w.str(offer.name().as_str());
        w.u64(offer.version().into());
        w.raw(offer.content_hash());
        w.u64((*subscription).into());
        w.u64((*cycle).into());
    }
    if let Some(FinanceCodes { tax_category, tax_included, place_of_supply, ledger_code, revenue_rule }) = finance {
        w.presence(&[*tax_included]);
        [tax_category, place_of_supply, ledger_code, revenue_rule].into_iter().for_each(|code| w.str(code));
    }
    if tier_from != 0 {
        w.u64(tier_from);
    }
    if let Some(StoredExchange { id, from, since, amount, per }) = exchange {
        w.str(&id);
        w.currency(from);
        w.time(since);
        w.u64(amount);
        w.u64(per);
    }
    if let Some(Booked { period, usage_period }) = booked {
        w.time(*period);
        w.time_since(*period, *usage_period);
    }
    if let Some(begin) = bill_cycle {
        w.time_since(*accepted, *begin);
    }
    if let Some(zone) = zone {
        w.str(zone.name());
    }
    if !crossings.is_empty() {
        w.list(crossings, put_crossing);
    }
}

fn put_crossing(w: &mut Writer<'_>, crossing: &Crossing) {
    let Crossing { watched, offer, subscription, label, at, before, after } = crossing;
    match watched {
        Watched::Allowance(bucket, holding) => {
            w.u8(0);
            w.str(bucket.as_str());
            w.coded(*holding);
        }
        Watched::Spend => w.u8(1),
        Watched::Balance => w.u8(2),
    }
    w.str(offer.as_str());
    w.u64((*subscription).into());
    w.str(label);
    [at, before, after].into_iter().for_each(|value| w.i64(*value));
}

fn read_crossing(r: &mut Reader<'_>) -> Read<Crossing> {
    let watched = match r.code("watched", |code| (code <= 2).then_some(code))? {
        0 => Watched::Allowance(BucketId::new(r.str("bucket")?), r.coded("holding")?),
        1 => Watched::Spend,
        _ => Watched::Balance,
    };
    Ok(Crossing {
        watched,
        offer: OfferName::new(r.str("offer")?),
        subscription: r.number("subscription")?,
        label: r.str("label")?.into(),
        at: r.i64("threshold")?,
        before: r.i64("before")?,
        after: r.i64("after")?,
    })
}

/// The rest of a session's id that begins with the client's host, as most do (RFC 6733 8.8): the host stands in the CDR already.
fn behind_host<'a>(session: &'a SessionId, context: &Context) -> Option<&'a [u8]> {
    session.octets().strip_prefix(context.client_host.as_bytes()).filter(|_| !context.client_host.is_empty())
}

fn read_charge(r: &mut Reader<'_>) -> Read<StoredCdr> {
    let semantics = r.number("rating semantics")?;
    let kind = r.coded("kind")?;
    let cause = r.coded("cause")?;
    let offset = r.offset();
    let mut present = r.presence(CROSSINGS_BIT + 1, "CDR")?;
    let account = AccountId::new(r.u64("account")?);
    let number = r.u64("number")?;
    let previous = CdrPosition::new(r.u64("previous")?);
    let tenant = TenantId::new(r.number("tenant")?);
    let accepted = r.time("accepted")?;
    let mut cdr = StoredCdr {
        semantics,
        kind,
        cause,
        account,
        number,
        previous,
        tenant,
        accepted,
        usage_start: r.time_since(accepted, "usage start")?,
        usage_end: r.time_since(accepted, "usage end")?,
        reported: r.units("reported units")?,
        amount: r.money("amount")?,
        currency: r.currency("currency")?,
        movements: r.list("movements", read_movement)?,
        corrects: r.option(&mut present, |r| r.u64("corrects").map(CdrPosition::new))?,
        subscriber: r.option(&mut present, |r| r.u64("subscriber").map(SubscriberId::new))?,
        rating: r.option(&mut present, read_rating)?,
        source: read_source(r, &mut present, offset)?,
        booked: None,
        bill_cycle: None,
        zone: Box::default(),
        offer: r.option(&mut present, read_offer)?,
        finance: r.option(&mut present, read_finance)?,
        identity_forgotten: false,
        crossings: Vec::new(),
    };
    if let Some(tier_from) = r.option(&mut present, |r| r.u64("tier from"))? {
        let rating = cdr.rating.as_mut().filter(|_| tier_from != 0);
        rating.ok_or_else(|| Reader::error("CDR", offset, Fault::Value))?.tier_from = tier_from;
    }
    if let Some(exchange) = r.option(&mut present, read_exchange)? {
        let rating = cdr.rating.as_mut();
        rating.ok_or_else(|| Reader::error("CDR", offset, Fault::Value))?.exchange = Some(exchange);
    }
    cdr.booked = r.option(&mut present, |r| {
        let period = r.time("accounting period")?;
        Ok(Booked { period, usage_period: r.time_since(period, "usage period")? })
    })?;
    cdr.bill_cycle = r.option(&mut present, |r| r.time_since(accepted, "billing cycle"))?;
    cdr.zone = r.option(&mut present, |r| r.str("time zone").map(Into::into))?.unwrap_or_default();
    cdr.crossings = r.listed(&mut present, "crossings", read_crossing)?;
    Ok(cdr)
}

fn read_source(r: &mut Reader<'_>, present: &mut Presence, offset: usize) -> Read<CdrSource> {
    let (from_operator, behind_host, from_calendar) = (present.take(), present.take(), present.take());
    Ok(match (from_operator, behind_host, from_calendar) {
        (false, false, true) => CdrSource::Calendar,
        (true, false, false) => {
            let key = IdempotencyKey::new(r.str("idempotency key")?);
            CdrSource::Operator { key, reason: r.str("reason")?.into() }
        }
        (false, _, false) => {
            let session = r.octets("session")?;
            let (request, service) = (r.number("request")?, r.service_key()?);
            let context = read_circumstances(r)?;
            let session = if behind_host {
                SessionId::new(&[context.client_host.as_bytes(), session].concat())
            } else {
                SessionId::new(session)
            };
            CdrSource::Network { session, request, service, context: Arc::new(context) }
        }
        (true, ..) | (false, true, true) => return Err(Reader::error("CDR", offset, Fault::Value)),
    })
}

fn read_offer(r: &mut Reader<'_>) -> Read<StoredOffer> {
    Ok(StoredOffer {
        name: OfferName::new(r.str("offer")?),
        version: r.number("offer version")?,
        content_hash: r.array("offer content hash")?,
        subscription: r.number("subscription")?,
        cycle: r.number("cycle")?,
    })
}

fn read_exchange(r: &mut Reader<'_>) -> Read<StoredExchange> {
    Ok(StoredExchange {
        id: r.str("exchange")?.into(),
        from: r.currency("exchange currency")?,
        since: r.time("exchange rate since")?,
        amount: r.u64("exchange rate")?,
        per: r.u64("exchange rate")?,
    })
}

fn read_finance(r: &mut Reader<'_>) -> Read<FinanceCodes> {
    let mut present = r.presence(1, "finance codes")?;
    let mut code = |what| r.str(what).map(Into::into);
    Ok(FinanceCodes {
        tax_included: present.take(),
        tax_category: code("tax category")?,
        place_of_supply: code("place of supply")?,
        ledger_code: code("ledger code")?,
        revenue_rule: code("revenue rule")?,
    })
}

fn put_rating(w: &mut Writer<'_>, rating: &Rating) {
    let Rating {
        tariff,
        price,
        window,
        measure,
        used_before,
        used,
        rated_before,
        rated,
        charged_before,
        lines,
        beyond_grant,
        slice,
        // Behind everything else of the CDR.
        tier_from: _,
        rate: _,
        place: _,
    } = rating;
    w.tariff_ref(tariff);
    w.str(price.as_str());
    w.str(tariff.window_name(*window));
    w.u64((*slice).into());
    w.u8(measure.map_or(0, Coded::code));
    w.u64(*used_before);
    w.u64(*used);
    w.u64(*rated_before);
    w.u64(*rated);
    w.money(*charged_before);
    w.u64(*beyond_grant);
    w.list(lines, |w, line| {
        let StoredLine { component, quantity, exact: (numerator, denominator) } = StoredLine::of(line);
        w.u64(match component {
            Component::ConnectFee => 0,
            Component::Tier(tier) => u64::from(tier) + 1,
        });
        w.u64(quantity);
        w.i128(numerator);
        w.u128(denominator.unsigned_abs());
    });
}

fn read_rating(r: &mut Reader<'_>) -> Read<StoredRating> {
    Ok(StoredRating {
        tariff: r.tariff_ref()?,
        price: PriceId::new(r.str("price")?),
        window: r.str("window")?.into(),
        slice: r.number("slice")?,
        exchange: None,
        measure: r.code("measure", |code| if code == 0 { Some(None) } else { Measure::of_code(code).map(Some) })?,
        used_before: r.u64("used before")?,
        used: r.u64("used")?,
        rated_before: r.u64("rated before")?,
        rated: r.u64("rated")?,
        tier_from: 0,
        charged_before: r.money("charged before")?,
        beyond_grant: r.u64("beyond grant")?,
        lines: r.list("price lines", read_line)?,
    })
}

fn read_line(r: &mut Reader<'_>) -> Read<StoredLine> {
    let offset = r.offset();
    let wrong = |what| move || Reader::error(what, offset, Fault::Value);
    let component = match r.u64("component")? {
        0 => Component::ConnectFee,
        tier => Component::Tier(u16::try_from(tier - 1).map_err(|_| wrong("component")())?),
    };
    let quantity = r.u64("quantity")?;
    let numerator = r.i128("exact amount")?;
    let denominator = i128::try_from(r.u128("exact amount")?).ok().filter(|denominator| *denominator > 0);
    Ok(StoredLine { component, quantity, exact: (numerator, denominator.ok_or_else(wrong("exact amount"))?) })
}

fn put_movement(w: &mut Writer<'_>, movement: &Movement) {
    let Movement { payer, holding, origin, before, delta, cost } = movement;
    // Money costs what it is.
    let has_cost = *cost != Money::ZERO && *holding != Holding::Money;
    w.u8(holding.code() | origin.code() << 2 | payer_code(payer) << 3 | u8::from(has_cost) << 5);
    w.payer(payer);
    w.i64(*before);
    w.i64(*delta);
    if has_cost {
        w.money(*cost);
    }
}

fn read_movement(r: &mut Reader<'_>) -> Read<Movement> {
    let (holding, origin, payer, has_cost) = r.code("movement", |code| {
        let (holding, origin) = (Holding::of_code(code & 3)?, Origin::of_code(code >> 2 & 1)?);
        Some((holding, origin, code >> 3 & 3, code >> 5 & 1 == 1)).filter(|_| code >> 6 == 0)
    })?;
    let (payer, before, delta) = (r.payer(payer)?, r.i64("before")?, r.i64("delta")?);
    let cost = match (has_cost, holding, origin) {
        (true, ..) => r.money("cost")?,
        (false, Holding::Money, Origin::Paid) => Money::from_micros(delta),
        (false, ..) => Money::ZERO,
    };
    Ok(Movement { payer, holding, origin, before, delta, cost })
}
