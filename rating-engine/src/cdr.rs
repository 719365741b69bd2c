//! Rated CDRs: the immutable record behind every movement of a balance.
//!
//! A CDR is made in the same step as what it explains and stored in the same log entry. Its position in the stream is
//! given when it is appended, so it is not a member here. Inputs and before-values are kept, words are made from them
//! later.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::account::{Account, Bucket, Credit, Flow, Holding, Origin};
use crate::calendar::{WindowId, Zone};
use crate::context::Context;
use crate::crossing::Crossing;
use crate::ids::{AccountId, BucketId, CdrPosition, IdempotencyKey, PriceId, SessionId, SubscriberId, TenantId};
use crate::money::{Currency, Exact, Money, Ratio};
use crate::offer::OfferVersion;
use crate::periods::Booked;
use crate::tariff::{Exchange, FinanceCodes, ServiceKey, TariffVersion};
use crate::time::Timestamp;
use crate::units::{Measure, Units};

/// Version of the rating semantics that made a CDR (rating rules R01 to R43 as implemented).
pub const RATING_SEMANTICS: u16 = 1;

/// What kind of movement a CDR records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CdrKind {
    /// Usage that was rated, at whatever amount.
    Usage,
    /// Money paid in or given.
    TopUp,
    /// A charge given back.
    Refund,
    /// Usage that could not be believed or rated: kept for a person, nothing debited.
    Suspense,
    /// A session that ended without a last report: nothing debited.
    Lapse,
    /// An offer's fee for a cycle.
    Recurring,
    /// An offer's fee that is due once.
    OneTime,
    /// What an offer opened.
    Allowance,
    /// What lapsed at the end of its validity.
    Expiry,
    /// Usage that was rated again: what it costs more, or less (R32).
    ReRate,
    /// What a person put in or took out because it should always have been so.
    Adjustment,
    /// What went to or came from another account.
    Transfer,
}

impl CdrKind {
    /// Which running total a movement of such a CDR counts in.
    pub const fn flow(self, movement: &Movement) -> Flow {
        self.flow_of(movement.origin, movement.delta > 0)
    }

    /// Which running total counts what such a CDR gives of an origin, or takes.
    pub const fn flow_of(self, origin: Origin, is_given: bool) -> Flow {
        match (self, origin) {
            // A bucket that had ended lapses before it is topped up.
            (Self::TopUp, _) if !is_given => Flow::Expiry,
            (Self::Adjustment, _) if !is_given => Flow::AdjustmentOut,
            (Self::Adjustment, _) => Flow::AdjustmentIn,
            (Self::Transfer, _) if !is_given => Flow::TransferOut,
            (Self::Transfer, _) => Flow::TransferIn,
            (Self::TopUp, Origin::Paid) => Flow::TopUp,
            (Self::TopUp, Origin::Granted) | (Self::Allowance, _) => Flow::Grant,
            (Self::Refund, _) => Flow::Refund,
            (Self::Expiry, _) => Flow::Expiry,
            (Self::ReRate, _) if is_given => Flow::Refund,
            (Self::Usage | Self::Suspense | Self::Lapse | Self::Recurring | Self::OneTime | Self::ReRate, _) => {
                Flow::Debit
            }
        }
    }
}

/// Who paid one part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Payer {
    /// A bucket.
    Bucket(BucketId),
    /// The credit line.
    Credit,
    /// Nobody yet: owed.
    Debt,
}

/// One change of one payer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// Who.
    pub payer: Payer,
    /// What moved.
    pub holding: Holding,
    /// Paid or granted; credit and debt count as paid.
    pub origin: Origin,
    /// What was there; for credit and debt, what was spent or owed, negated.
    pub before: i64,
    /// The change, negative when it was taken.
    pub delta: i64,
    /// What was paid for it, with its sign: what a paid bucket's units cost, money as it is; 0 for what was granted.
    pub cost: Money,
}

/// What one charge moved: mostly one bucket, or the rest of one and then another.
pub type Movements = SmallVec<[Movement; 2]>;

impl Movement {
    /// A change of a bucket that has not happened yet.
    pub fn of_bucket(bucket: &Bucket, delta: i64) -> Self {
        Self {
            payer: Payer::Bucket(bucket.id.clone()),
            holding: bucket.holding,
            origin: bucket.origin,
            before: bucket.balance,
            delta,
            cost: bucket.cost_of(delta),
        }
    }

    /// A change of a credit line that has not happened yet.
    pub fn of_credit(credit: &Credit, delta: i64) -> Self {
        let before = credit.spent.micros().saturating_neg();
        let cost = Money::from_micros(delta);
        Self { payer: Payer::Credit, holding: Holding::Money, origin: Origin::Paid, before, delta, cost }
    }

    /// A change of what is owed that has not happened yet.
    pub fn of_debt(debt: Money, delta: i64) -> Self {
        let before = debt.micros().saturating_neg();
        let cost = Money::from_micros(delta);
        Self { payer: Payer::Debt, holding: Holding::Money, origin: Origin::Paid, before, delta, cost }
    }

    /// What is there afterwards.
    pub const fn after(&self) -> i64 {
        self.before.saturating_add(self.delta)
    }
}

/// Part of a price line (R02).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The connect fee.
    ConnectFee,
    /// Usage in the tier of this number, from 0.
    Tier(u16),
}

/// What one component of the price line added with this CDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceLine {
    /// Which.
    pub component: Component,
    /// Rated units that money paid for, more than before.
    pub quantity: u64,
    /// Exact amount, more than before.
    pub exact: Exact,
}

/// Components of one price line: mostly one tier.
pub type PriceLines = SmallVec<[PriceLine; 1]>;

/// How a usage amount came about: inputs and before-values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rating {
    /// The tariff version.
    pub tariff: Arc<TariffVersion>,
    /// The price that won; empty for money that the network named itself.
    pub price: PriceId,
    /// Its place among the version's prices.
    pub place: u16,
    /// The window of its price line; the default one where the price does not differ by window.
    pub window: WindowId,
    /// The exchange rate, where the price is in another currency: its place among those of the exchange, from 1 (R36).
    pub rate: u16,
    /// What it counted; `None` for money that the network named itself.
    pub measure: Option<Measure>,
    /// Used before in this price line of the session, raw units.
    pub used_before: u64,
    /// Used now, raw units.
    pub used: u64,
    /// Rated before in it, whole pulses.
    pub rated_before: u64,
    /// Rated now, more than before.
    pub rated: u64,
    /// Where in the tiers that part of it begins that money pays for (R09).
    pub tier_from: u64,
    /// Charged before in this session and service.
    pub charged_before: Money,
    /// Components.
    pub lines: PriceLines,
    /// Used beyond what was granted, raw units.
    pub beyond_grant: u64,
    /// Which slice of its report this is, from 0: a report over an edge of windows, versions or buckets has several.
    pub slice: u16,
}

impl Rating {
    /// How its amounts were converted: the exchange, the first instant at which the rate is used, the rate (R36).
    pub fn exchange(&self) -> Option<(&Exchange, Timestamp, Ratio)> {
        let exchange = self.tariff.exchange(self.tariff.prices().get(usize::from(self.place))?)?;
        let (from, ratio) = exchange.rates.get(usize::from(self.rate).checked_sub(1)?)?;
        Some((exchange, *from, *ratio))
    }

    /// Money that the network rated itself, debited as it is (RFC 8506 8.22).
    pub fn of_network(tariff: &Arc<TariffVersion>, amount: Money) -> Self {
        Self {
            tariff: tariff.clone(),
            price: PriceId::new(""),
            place: 0,
            window: WindowId::default(),
            rate: 0,
            measure: None,
            used_before: 0,
            used: amount.micros().unsigned_abs(),
            rated_before: 0,
            rated: 0,
            tier_from: 0,
            charged_before: Money::ZERO,
            lines: PriceLines::new(),
            beyond_grant: 0,
            slice: 0,
        }
    }
}

/// Why a report came, or why there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// An interim report.
    Interim,
    /// The session's end.
    Final,
    /// A one-time event.
    Event,
    /// The client fell silent.
    Expired,
    /// The client restarted and lost the session.
    ClientRestarted,
    /// The client opened the same session anew.
    Reopened,
    /// A person.
    Operator,
    /// An offer was bought because it was used for the first time.
    FirstUse,
    /// Its time had come.
    Due,
    /// A usage record was handed in.
    Record,
}

/// Where a CDR comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CdrSource {
    /// A request of a session or event.
    Network {
        /// The session or event.
        session: SessionId,
        /// Its request's number.
        request: u32,
        /// The service within it.
        service: ServiceKey,
        /// Circumstances, network identifiers among them.
        context: Arc<Context>,
    },
    /// An operator's mutation.
    Operator {
        /// Its idempotency key.
        key: IdempotencyKey,
        /// Why, in the operator's words.
        reason: Box<str>,
    },
    /// Nobody asked: the time of something on the account had come.
    Calendar,
}

/// The cycle of a subscription to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferCycle {
    /// The offer's version.
    pub offer: Arc<OfferVersion>,
    /// The subscription's number on the account.
    pub subscription: u32,
    /// The number of its cycle.
    pub cycle: u32,
}

/// A rated CDR: one charged slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RatedCdr {
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
    /// The subscriber that used; `None` for an operator's mutation of an account.
    pub subscriber: Option<SubscriberId>,
    /// Where it comes from.
    pub source: CdrSource,
    /// Why it was made now.
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
    pub rating: Option<Rating>,
    /// Where it is booked, where accounting periods are kept (R31).
    pub booked: Option<Booked>,
    /// First instant of the account's billing cycle that the usage began in; `None` where the account has none.
    pub bill_cycle: Option<Timestamp>,
    /// The offer that it is of: of fees, of what was opened and what of that lapsed.
    pub offer: Option<OfferCycle>,
    /// The amount charged (positive) or given back (negative) or paid in (negative, less what lapsed of the same bucket),
    /// in money.
    pub amount: Money,
    /// Its currency.
    pub currency: Currency,
    /// Every change of every payer; money movements add up to `-amount`.
    pub movements: Movements,
    /// The thresholds that it crossed.
    pub crossings: Vec<Crossing>,
    /// Of a refund: when the usage began that it gives back; `None` where it gives back a fee. It is known where the refund is made, and
    /// stands in no record: there it is what the CDR says that this one corrects.
    pub gives_back: Option<Timestamp>,
}

impl RatedCdr {
    /// What finance is told of it: of the price that was charged, or of the offer.
    pub fn finance(&self) -> Option<&FinanceCodes> {
        match (&self.rating, &self.offer) {
            (Some(rating), _) => {
                let price = rating.tariff.prices().get(usize::from(rating.place));
                price.filter(|price| price.id == rating.price).map(|price| &price.finance)
            }
            (None, Some(of)) => Some(of.offer.finance()),
            (None, None) => None,
        }
        .filter(|codes| **codes != FinanceCodes::default())
    }

    /// By whose wall clock its times are local: that of the tariff that charged it, or of the offer.
    pub fn zone(&self) -> Option<&Zone> {
        match (&self.rating, &self.offer) {
            (Some(rating), _) => Some(rating.tariff.zone()),
            (None, Some(of)) => Some(of.offer.zone()),
            (None, None) => None,
        }
    }

    /// A CDR of `account` made at `now` that says nothing yet about usage or money. Its number and predecessor are
    /// given when it is appended.
    pub fn draft(kind: CdrKind, account: &Account, source: CdrSource, cause: Cause, now: Timestamp) -> Self {
        Self {
            kind,
            corrects: None,
            account: account.id,
            number: 0,
            previous: CdrPosition::default(),
            tenant: account.tenant,
            subscriber: None,
            source,
            cause,
            usage_start: now,
            usage_end: now,
            accepted: now,
            reported: Units::default(),
            rating: None,
            booked: None,
            bill_cycle: None,
            offer: None,
            amount: Money::ZERO,
            currency: account.currency,
            movements: Movements::new(),
            crossings: Vec::new(),
            gives_back: None,
        }
    }
}
