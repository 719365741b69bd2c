//! Why a CDR says what it says: the whole reasoning, in parts and in words.
//!
//! Everything comes from the CDR itself, its inputs and before-values, and from the tariff version that it names: nothing
//! is priced a second time. A what-if is explained from the CDRs that charging made of it.

use std::fmt;

use crate::account::Holding;
use crate::cdr::{Cause, CdrKind, CdrSource, Component, Movement, Payer, RatedCdr, Rating};
use crate::ids::{AccountId, SubscriberId};
use crate::money::{Currency, Exact, Money, Rate, RoundingMode, RoundingScope};
use crate::periods::Booked;
use crate::selector::{Direction, Filter, Subject};
use crate::tariff::{Price, ServiceKey, TariffVersion, TierScope};
use crate::time::Timestamp;
use crate::units::{Measure, Unit};

/// Prices that also matched and are named.
const BEATEN_MAX: usize = 8;

/// Why a CDR says what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What kind of movement it is.
    pub kind: CdrKind,
    /// Why it was made then.
    pub cause: Cause,
    /// The account that paid.
    pub account: AccountId,
    /// The subscriber that used.
    pub subscriber: Option<SubscriberId>,
    /// When the usage began.
    pub usage_start: Timestamp,
    /// When it ended.
    pub usage_end: Timestamp,
    /// How the amount came about; `None` where nothing was rated.
    pub rated: Option<Reasons>,
    /// Where it is booked.
    pub booked: Option<Booked>,
    /// The offer that it is of: name, version, subscription, cycle.
    pub offer: Option<(String, u32, u32, u32)>,
    /// Who paid what.
    pub movements: Vec<Moved>,
    /// The amount.
    pub amount: Money,
    /// Its currency.
    pub currency: Currency,
}

/// How a rated amount came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reasons {
    /// The tariff.
    pub tariff: String,
    /// The version's number.
    pub version: u32,
    /// First instant at which it is in force; `None` for always.
    pub valid_from: Option<Timestamp>,
    /// The price that won; empty for money that the network named.
    pub price: String,
    /// What the price names, all of which is so: what, and which.
    pub named: Vec<(&'static str, String)>,
    /// Prices that are for this, too, and why they lost.
    pub beaten: Vec<Beaten>,
    /// The window that its price line is of; empty where the price does not differ by window.
    pub window: String,
    /// What was counted.
    pub measure: Option<Measure>,
    /// First and following pulse.
    pub pulse: (u64, u64),
    /// Used of this line before, and now.
    pub used: (u64, u64),
    /// Rated of this line before, and more now.
    pub rated: (u64, u64),
    /// Where in its tiers the paid part began, and what they count from.
    pub tier_from: (u64, String),
    /// Whether it is free and touches no bucket.
    pub zero_rated: bool,
    /// What each component added.
    pub components: Vec<Part>,
    /// How amounts were converted: exchange, currency of the price, since when the rate is used, so much for so much.
    pub exchange: Option<(String, Currency, Timestamp, u64, u64)>,
    /// Decimals, mode and scope of rounding.
    pub rounding: (u8, RoundingMode, RoundingScope),
    /// Least and most charge of the price.
    pub limits: (Option<Money>, Option<Money>),
    /// Charged to the service before this CDR.
    pub charged_before: Money,
    /// Used beyond what was granted.
    pub beyond_grant: u64,
}

/// A price that lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beaten {
    /// Which.
    pub price: String,
    /// What the winner names and this one does not; empty where they name the same and document order decided.
    pub by: &'static str,
}

/// What one component added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub component: Component,
    /// Where the tier begins and ends, in rated units; both are `None` for a fee.
    pub span: (Option<u64>, Option<u64>),
    /// Rated units.
    pub quantity: u64,
    /// What they cost each; `None` for a fee.
    pub rate: Option<Rate>,
    /// Exactly, in the account's currency.
    pub exact: Exact,
}

/// One change of one payer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The bucket's id, `credit line` or `debt`.
    pub payer: String,
    /// What.
    pub holding: Holding,
    /// What was there.
    pub before: i64,
    /// The change.
    pub delta: i64,
    /// What is there afterwards.
    pub after: i64,
    /// What was paid for it.
    pub cost: Money,
}

impl Explanation {
    /// Why `cdr` says what it says.
    pub fn of(cdr: &RatedCdr) -> Self {
        Self {
            kind: cdr.kind,
            cause: cdr.cause,
            account: cdr.account,
            subscriber: cdr.subscriber,
            usage_start: cdr.usage_start,
            usage_end: cdr.usage_end,
            rated: cdr.rating.as_ref().map(|rating| Reasons::of(rating, &cdr.source, cdr.usage_start)),
            booked: cdr.booked,
            offer: cdr.offer.as_ref().map(|of| {
                let (name, version) = (of.offer.name().as_str().to_owned(), of.offer.version());
                (name, version, of.subscription, of.cycle)
            }),
            movements: cdr.movements.iter().map(Moved::of).collect(),
            amount: cdr.amount,
            currency: cdr.currency,
        }
    }
}

impl Reasons {
    fn of(rating: &Rating, source: &CdrSource, at: Timestamp) -> Self {
        let tariff = &rating.tariff;
        let price = tariff.prices().get(usize::from(rating.place)).filter(|price| price.id == rating.price);
        let measured = rating.measure.and(price);
        Self {
            tariff: tariff.name().as_str().to_owned(),
            version: tariff.version(),
            valid_from: Some(tariff.valid_from()).filter(|from| from.millis() != i64::MIN),
            price: rating.price.as_str().to_owned(),
            named: measured.map(|price| named(tariff, &price.filter)).unwrap_or_default(),
            beaten: measured.map(|price| beaten(tariff, price, source, at)).unwrap_or_default(),
            window: tariff.window_name(rating.window).to_owned(),
            measure: rating.measure,
            pulse: measured.map_or((1, 1), |price| (price.pulse.first(), price.pulse.next())),
            used: (rating.used_before, rating.used),
            rated: (rating.rated_before, rating.rated),
            tier_from: match measured.map(|price| &price.tier_scope) {
                Some(TierScope::Cycle(counter)) => (rating.tier_from, format!("the cycle's counter '{counter}'")),
                Some(TierScope::Session) | None => (rating.tier_from, "the session's beginning".to_owned()),
            },
            zero_rated: measured.is_some_and(|price| price.zero_rated),
            components: measured.map(|price| parts(rating, price)).unwrap_or_default(),
            exchange: rating.exchange().map(|(exchange, since, ratio)| {
                (exchange.id.to_string(), exchange.from, since, ratio.amount(), ratio.per())
            }),
            rounding: {
                let rounding = tariff.rounding();
                let decimals = rating.exchange().map_or(rounding.decimals(), |(exchange, ..)| exchange.decimals);
                (decimals, rounding.mode(), rounding.scope())
            },
            limits: measured.map_or((None, None), |price| (price.min_charge, price.max_charge)),
            charged_before: rating.charged_before,
            beyond_grant: rating.beyond_grant,
        }
    }
}

/// What a filter names.
fn named(tariff: &TariffVersion, filter: &Filter) -> Vec<(&'static str, String)> {
    let mut named = Vec::new();
    let list = |texts: Vec<String>| texts.join(" or ");
    let mut add = |what, which: Option<String>| named.extend(which.map(|which| (what, which)));
    add("service_id", filter.service_id.map(|id| id.to_string()));
    add("rating_group", filter.rating_group.map(|group| group.to_string()));
    add("service", filter.service.map(|service| service.to_string()));
    add("zone", filter.zone.map(|zone| tariff.zones().name(zone).to_owned()));
    add("visited", filter.networks.map(|id| tariff.networks().name(id).to_owned()));
    let rats = filter.rats.iter().map(ToString::to_string).collect::<Vec<_>>();
    add("rat", (!rats.is_empty()).then(|| list(rats)));
    let apns = filter.apns.iter().map(ToString::to_string).collect::<Vec<_>>();
    add("apn", (!apns.is_empty()).then(|| list(apns)));
    let slice = |slice: &crate::context::Slice| match slice.differentiator {
        Some(differentiator) => format!("{}-{differentiator:06x}", slice.service_type),
        None => slice.service_type.to_string(),
    };
    let slices = filter.slices.iter().map(slice).collect::<Vec<_>>();
    add("slice", (!slices.is_empty()).then(|| list(slices)));
    add(
        "direction",
        filter.direction.map(|direction| match direction {
            Direction::Outgoing => "outgoing".to_owned(),
            Direction::Incoming => "incoming".to_owned(),
        }),
    );
    add("window", filter.window.map(|window| tariff.window_name(window).to_owned()));
    named
}

/// The next most specific prices that are for the same, and why they lost.
fn beaten(tariff: &TariffVersion, won: &Price, source: &CdrSource, at: Timestamp) -> Vec<Beaten> {
    let CdrSource::Network { service, context, .. } = source else { return Vec::new() };
    let key: &ServiceKey = service;
    let (subject, window) = (Subject::new(tariff, context, key), tariff.window_at(at).window);
    let of_winner = named(tariff, &won.filter);
    let others = tariff.prices().iter().filter(|price| price.id != won.id);
    let others = others.filter(|price| price.filter.matches(tariff.networks(), &subject, window));
    let others = others.take(BEATEN_MAX).map(|price| {
        let names = named(tariff, &price.filter);
        let by = of_winner.iter().find(|(what, _)| names.iter().all(|(other, _)| other != what));
        Beaten { price: price.id.as_str().to_owned(), by: by.map_or("", |(what, _)| what) }
    });
    others.collect()
}

fn parts(rating: &Rating, price: &Price) -> Vec<Part> {
    let tiers = price.tiers.get(rating.window).as_slice();
    let of = |line: &crate::cdr::PriceLine| {
        let number = match line.component {
            Component::ConnectFee => None,
            Component::Tier(number) => Some(usize::from(number)),
        };
        let tier = number.and_then(|number| tiers.get(number));
        let begins = number.map(|number| {
            let before = number.checked_sub(1).and_then(|before| tiers.get(before));
            before.and_then(|tier| tier.up_to).unwrap_or(0)
        });
        Part {
            component: line.component,
            span: (begins, tier.and_then(|tier| tier.up_to)),
            quantity: line.quantity,
            rate: tier.map(|tier| tier.rate),
            exact: line.exact,
        }
    };
    rating.lines.iter().map(of).collect()
}

impl Moved {
    fn of(movement: &Movement) -> Self {
        Self {
            payer: match &movement.payer {
                Payer::Bucket(id) => id.as_str().to_owned(),
                Payer::Credit => "credit line".to_owned(),
                Payer::Debt => "debt".to_owned(),
            },
            holding: movement.holding,
            before: movement.before,
            delta: movement.delta,
            after: movement.after(),
            cost: movement.cost,
        }
    }
}

// --- In words ---

impl fmt::Display for Explanation {
    /// One thought a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, account, usage_start, usage_end, amount, currency, .. } = self;
        write!(f, "{}: {amount} {currency}, account {account}", kind_in_words(*kind))?;
        if let Some(subscriber) = self.subscriber {
            write!(f, ", subscriber {subscriber}")?;
        }
        if usage_end > usage_start {
            write!(f, ", from {usage_start} to {usage_end}")?;
        } else {
            write!(f, ", at {usage_start}")?;
        }
        if let Some(booked) = self.booked.filter(|booked| booked.is_late()) {
            let Booked { period, usage_period } = booked;
            write!(f, "\n  booked in the accounting period from {period} on: that from {usage_period} on is closed")?;
        }
        if let Some((name, version, subscription, cycle)) = &self.offer {
            write!(f, "\n  offer {name} version {version}, subscription {subscription}, cycle {cycle}")?;
        }
        if let Some(rated) = &self.rated {
            rated.tell(f, *kind, *currency, *amount)?;
        }
        for moved in &self.movements {
            let amount = |amount| in_words(moved.holding, amount);
            let way = if moved.delta < 0 { "less" } else { "and" };
            let change = i64::try_from(moved.delta.unsigned_abs()).unwrap_or(i64::MAX);
            write!(
                f,
                "\n  {}: {} {way} {} is {}",
                moved.payer,
                amount(moved.before),
                amount(change),
                amount(moved.after)
            )?;
            if moved.cost != Money::ZERO && moved.holding != Holding::Money {
                let cost = Money::from_micros(moved.cost.micros().saturating_abs());
                write!(f, "; what was paid for that: {cost} {currency}")?;
            }
        }
        Ok(())
    }
}

impl Reasons {
    fn tell(&self, f: &mut fmt::Formatter<'_>, kind: CdrKind, currency: Currency, amount: Money) -> fmt::Result {
        write!(f, "\n  tariff {} version {}", self.tariff, self.version)?;
        if let Some(from) = self.valid_from {
            write!(f, ", in force since {from}")?;
        }
        let Some(measure) = self.measure else {
            return write!(f, "\n  the network named the amount itself: no price was looked for");
        };
        write!(f, "\n  price {}", self.price)?;
        match &self.named[..] {
            [] => write!(f, ", which is for anything")?,
            named => {
                let named: Vec<String> = named.iter().map(|(what, which)| format!("{what} {which}")).collect();
                write!(f, ", which is for {}", named.join(", "))?;
            }
        }
        for beaten in &self.beaten {
            match beaten.by {
                "" => {
                    write!(f, "\n    before {}, which names the same but stands later in the document", beaten.price)?
                }
                by => write!(f, "\n    before {}, which leaves {by} open", beaten.price)?,
            }
        }
        if !self.window.is_empty() {
            write!(f, "\n  window {}", self.window)?;
        }
        if kind == CdrKind::ReRate {
            let after = self.charged_before.saturating_add(amount);
            return write!(f, "\n  charged {} for it before, {after} now: {amount} more", self.charged_before);
        }
        let unit = Holding::Units(measure.unit());
        let words = |quantity: u64| in_words(unit, i64::try_from(quantity).unwrap_or(i64::MAX));
        let (before, now) = self.used;
        write!(f, "\n  used {}", words(now))?;
        if before > 0 {
            write!(f, " after {} before", words(before))?;
        }
        if self.beyond_grant > 0 {
            write!(f, ", {} of it beyond what had been granted", words(self.beyond_grant))?;
        }
        if self.zero_rated {
            return write!(f, "\n  zero-rated: nothing is charged, no bucket is touched");
        }
        let (rated_before, rated) = self.rated;
        let (first, next) = self.pulse;
        if rated == 0 && now > 0 && measure.unit() != Unit::Second {
            let paid = if rated_before > 0 { ", or is within a pulse that is paid already" } else { "" };
            return write!(f, "\n  buckets pay all of it{paid}");
        }
        write!(f, "\n  rated {}", words(rated))?;
        if rated_before > 0 {
            write!(f, " after {} before", words(rated_before))?;
        }
        if (first, next) != (1, 1) {
            write!(f, ", in pulses of {}", words(first))?;
            if next != first {
                write!(f, ", then {}", words(next))?;
            }
        }
        if self.tier_from.0 > 0 && self.components.iter().any(|part| part.span.1.is_some() || part.span.0 > Some(0)) {
            write!(f, "\n  its tiers go on at {}, counted from {}", words(self.tier_from.0), self.tier_from.1)?;
        }
        if let Some((id, from, since, amount, per)) = &self.exchange {
            write!(f, "\n  converted by {id}: {per} {from} are {amount} {currency} since {since}")?;
        }
        for part in &self.components {
            match (part.component, part.rate) {
                (Component::Tier(number), Some(rate)) => {
                    write!(f, "\n  {}", words(part.quantity))?;
                    match part.span {
                        (Some(0), None) => {}
                        (Some(begin), Some(end)) => {
                            write!(f, " in tier {} ({} to {})", number + 1, words(begin), words(end))?;
                        }
                        (begin, _) => write!(f, " in tier {} (from {})", number + 1, words(begin.unwrap_or(0)))?,
                    }
                    let price = Money::from_micros(i64::try_from(rate.micros()).unwrap_or(i64::MAX));
                    write!(f, " at {price} for {}: {}", words(rate.per()), exactly(part.exact))?;
                }
                (Component::ConnectFee, _) | (Component::Tier(_), None) => {
                    write!(f, "\n  connect fee: {}", exactly(part.exact))?;
                }
            }
        }
        let (decimals, mode, scope) = self.rounding;
        let of = match scope {
            RoundingScope::Line => "each line",
            RoundingScope::Event => "the event, or all of the service in the session so far,",
            RoundingScope::Bill => "nothing but the bill; the account is debited to the micro-unit:",
        };
        let mode = match mode {
            RoundingMode::HalfUp => "half up",
            RoundingMode::HalfEven => "half to even",
            RoundingMode::Up => "up",
            RoundingMode::Down => "down",
        };
        write!(f, "\n  rounded: {of} to {decimals} decimals, {mode}")?;
        match self.limits {
            (None, None) => {}
            (Some(least), None) => write!(f, "; at least {least}")?,
            (None, Some(most)) => write!(f, "; at most {most}")?,
            (Some(least), Some(most)) => write!(f, "; at least {least}, at most {most}")?,
        }
        if self.charged_before != Money::ZERO {
            let after = self.charged_before.saturating_add(amount);
            write!(f, "\n  charged {} before, {after} now: {amount} more", self.charged_before)?;
        }
        Ok(())
    }
}

const fn kind_in_words(kind: CdrKind) -> &'static str {
    match kind {
        CdrKind::Usage => "usage",
        CdrKind::TopUp => "top-up",
        CdrKind::Refund => "refund",
        CdrKind::Suspense => "suspense, nothing charged",
        CdrKind::Lapse => "session ended in silence",
        CdrKind::Recurring => "recurring fee",
        CdrKind::OneTime => "one-time fee",
        CdrKind::Allowance => "allowance opened",
        CdrKind::Expiry => "lapsed",
        CdrKind::ReRate => "rated again",
        CdrKind::Adjustment => "adjusted",
        CdrKind::Transfer => "transferred",
    }
}

/// An amount with its unit; money without, its currency is said once.
fn in_words(holding: Holding, amount: i64) -> String {
    match holding {
        Holding::Money => Money::from_micros(amount).to_string(),
        Holding::Units(Unit::Second) => format!("{amount} s"),
        Holding::Units(Unit::Event) => format!("{amount}"),
        Holding::Units(Unit::Octet) => {
            let sizes = [(1i64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
            let fitting = sizes.iter().find(|(size, _)| amount != 0 && amount % size == 0);
            fitting.map_or_else(|| format!("{amount} octets"), |(size, name)| format!("{} {name}", amount / size))
        }
    }
}

/// An exact amount: as a decimal where it is one of up to 12 decimals, else as a fraction of the currency.
fn exactly(exact: Exact) -> String {
    let (numerator, denominator) = exact.fraction();
    let scale = 1_000_000i128;
    let decimal = scale.checked_div(denominator).filter(|_| scale % denominator == 0);
    match decimal.and_then(|factor| numerator.checked_mul(factor)) {
        Some(trillionths) if trillionths >= 0 => {
            let whole = trillionths / (scale * scale);
            let rest = format!("{:012}", trillionths % (scale * scale));
            let rest = rest.trim_end_matches('0');
            format!("{whole}.{rest:0<2}")
        }
        _ => match denominator.checked_mul(scale) {
            Some(denominator) => format!("{numerator}/{denominator}"),
            None => format!("{numerator}/{denominator} micro-units"),
        },
    }
}
