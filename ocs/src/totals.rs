//! What a period comes to: CDRs added up by service, tariff version, price and currency, exactly. Pure.
//!
//! What gave back or corrected a charge counts in the row of that charge. Where a tariff rounds nothing but the bill, the exact
//! fractions of its CDRs are added up and rounded once for each way of rounding; a charge that was given back whole adds nothing.

use std::collections::{BTreeMap, HashMap};

use balance_store::records::{StoredCdr, StoredRating};
use ocs_proto::charging::convert::{holding, money, service};
use ocs_proto::operator::v1 as wire;
use rating_engine::account::Holding;
use rating_engine::cdr::{CdrKind, CdrSource};
use rating_engine::ids::CdrPosition;
use rating_engine::money::{Currency, Exact, Money, Rounding, RoundingMode, RoundingScope, round};
use rating_engine::tariff::Service;
use rating_engine::units::Unit;

use crate::store::Catalogue;

/// A sum that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfRange;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    offer: String,
    service: Option<Service>,
    tariff: String,
    version: u32,
    price: String,
    unit: Option<Unit>,
    currency: Currency,
    /// How the bill is rounded, where nothing else is: decimals and mode.
    bill: Option<(u8, RoundingMode)>,
}

impl Key {
    const fn of(currency: Currency) -> Self {
        Self {
            offer: String::new(),
            service: None,
            tariff: String::new(),
            version: 0,
            price: String::new(),
            unit: None,
            currency,
            bill: None,
        }
    }
}

impl Row {
    const EMPTY: Self =
        Self { cdrs: 0, used: 0, rated: 0, charged: 0, given_back: 0, corrected: 0, exact: Exact::ZERO };
}

#[derive(Clone, Debug)]
struct Row {
    cdrs: u64,
    used: u64,
    rated: u64,
    charged: i128,
    given_back: i128,
    corrected: i128,
    exact: Exact,
}

/// What was seen of corrections before what they correct.
#[derive(Clone, Copy, Debug, Default)]
struct Corrections {
    given_back: i128,
    corrected: i128,
    currency: Option<Currency>,
}

/// CDRs as they come, the newest first.
#[derive(Debug)]
pub(crate) struct Totals<'a> {
    catalogue: &'a Catalogue,
    rows: BTreeMap<Key, Row>,
    waiting: HashMap<CdrPosition, Corrections>,
}

impl<'a> Totals<'a> {
    pub(crate) fn new(catalogue: &'a Catalogue) -> Self {
        Self { catalogue, rows: BTreeMap::new(), waiting: HashMap::new() }
    }

    /// Takes the next one; `counts` says whether it is of the period.
    pub(crate) fn add(&mut self, position: CdrPosition, cdr: &StoredCdr, counts: bool) -> Result<(), OutOfRange> {
        match (cdr.kind, cdr.corrects) {
            (CdrKind::Refund, Some(corrects)) if counts => {
                let waiting = self.waiting.entry(corrects).or_default();
                waiting.given_back -= i128::from(cdr.amount.micros());
                waiting.currency = Some(cdr.currency);
                Ok(())
            }
            (CdrKind::ReRate, Some(corrects)) if counts => {
                let waiting = self.waiting.entry(corrects).or_default();
                waiting.corrected += i128::from(cdr.amount.micros());
                waiting.currency = Some(cdr.currency);
                Ok(())
            }
            (CdrKind::Usage | CdrKind::Recurring | CdrKind::OneTime, _) => {
                let waiting = self.waiting.remove(&position);
                if counts || waiting.is_some() { self.charge(cdr, waiting.unwrap_or_default(), counts) } else { Ok(()) }
            }
            (
                CdrKind::Refund
                | CdrKind::ReRate
                | CdrKind::TopUp
                | CdrKind::Suspense
                | CdrKind::Lapse
                | CdrKind::Allowance
                | CdrKind::Expiry
                | CdrKind::Adjustment
                | CdrKind::Transfer,
                _,
            ) => Ok(()),
        }
    }

    /// Charges that were corrected in the period and have not come.
    pub(crate) fn missing(&self) -> Vec<CdrPosition> {
        self.waiting.keys().copied().collect()
    }

    fn charge(&mut self, cdr: &StoredCdr, corrections: Corrections, counts: bool) -> Result<(), OutOfRange> {
        let key = self.key(cdr);
        let is_bill = key.bill.is_some();
        let row = self.rows.entry(key).or_insert(Row::EMPTY);
        let charged = if counts { i128::from(cdr.amount.micros()) } else { 0 };
        let changed = corrections.corrected - corrections.given_back;
        let whole = |micros| Exact::from_fraction(micros, 1).ok_or(OutOfRange);
        let exact = match cdr.rating.as_ref().filter(|_| counts && is_bill) {
            // Nothing is left of it.
            Some(_) if charged + changed == 0 => Exact::ZERO,
            Some(rating) => exact_of(rating, cdr.amount).checked_add(whole(changed)?).ok_or(OutOfRange)?,
            None => whole(charged + changed)?,
        };
        row.exact = row.exact.checked_add(exact).ok_or(OutOfRange)?;
        row.charged += charged;
        row.given_back += corrections.given_back;
        row.corrected += corrections.corrected;
        if counts {
            row.cdrs += 1;
            if let Some(rating) = &cdr.rating {
                row.used = row.used.checked_add(rating.used).ok_or(OutOfRange)?;
                row.rated = row.rated.checked_add(rating.rated).ok_or(OutOfRange)?;
            }
        }
        Ok(())
    }

    fn key(&self, cdr: &StoredCdr) -> Key {
        let mut key = Key::of(cdr.currency);
        if let CdrSource::Network { context, .. } = &cdr.source
            && cdr.kind == CdrKind::Usage
        {
            key.service = Some(context.service);
        }
        if let Some(rating) = &cdr.rating {
            key.tariff = rating.tariff.name.as_str().to_owned();
            key.version = rating.tariff.version;
            key.price = rating.price.as_str().to_owned();
            key.unit = rating.measure.map(|measure| measure.unit());
            key.bill = self.bill(rating);
        } else if let Some(offer) = &cdr.offer {
            key.offer = offer.name.as_str().to_owned();
            key.version = offer.version;
        }
        key
    }

    /// How the bill of a rating is rounded, where nothing else is.
    fn bill(&self, rating: &StoredRating) -> Option<(u8, RoundingMode)> {
        let version = self.catalogue.get(&rating.tariff.name, rating.tariff.version)?;
        let rounding = version.rounding();
        let price = version.prices().iter().find(|price| price.id == rating.price);
        let exchange = price.and_then(|price| version.exchange(price)).filter(|_| rating.exchange.is_some());
        let decimals = exchange.map_or(rounding.decimals(), |exchange| exchange.decimals);
        (rounding.scope() == RoundingScope::Bill).then_some((decimals, rounding.mode()))
    }

    /// Row by row, and by currency.
    pub(crate) fn finish(mut self) -> Result<wire::GetTotalsResponse, OutOfRange> {
        // What they correct is not kept any more: their sums are.
        for Corrections { given_back, corrected, currency } in std::mem::take(&mut self.waiting).into_values() {
            let Some(currency) = currency else { continue };
            let row = self.rows.entry(Key::of(currency)).or_insert(Row::EMPTY);
            let changed = Exact::from_fraction(corrected - given_back, 1).ok_or(OutOfRange)?;
            row.exact = row.exact.checked_add(changed).ok_or(OutOfRange)?;
            (row.given_back, row.corrected) = (row.given_back + given_back, row.corrected + corrected);
        }
        let mut bills: BTreeMap<(Currency, Option<(u8, RoundingMode)>), Exact> = BTreeMap::new();
        let mut debited: BTreeMap<Currency, i128> = BTreeMap::new();
        let mut rows = Vec::with_capacity(self.rows.len());
        for (key, row) in self.rows {
            let amount = row.charged - row.given_back + row.corrected;
            *debited.entry(key.currency).or_default() += amount;
            let bill = bills.entry((key.currency, key.bill)).or_insert(Exact::ZERO);
            *bill = bill.checked_add(row.exact).ok_or(OutOfRange)?;
            let said = |micros: i128| fitting(micros).map(|amount| Some(money(amount, key.currency)));
            let (numerator, denominator) = row.exact.fraction();
            let unit = key.unit.map(|unit| holding(Holding::Units(unit)));
            rows.push(wire::TotalRow {
                service: key.service.map(service),
                unit: unit.unwrap_or_default().into(),
                currency: key.currency.letters().to_owned(),
                cdr_count: row.cdrs,
                used: row.used,
                rated: row.rated,
                charged: said(row.charged)?,
                given_back: said(row.given_back)?,
                corrected: said(row.corrected)?,
                amount: said(amount)?,
                exact_micros: format!("{numerator}/{denominator}"),
                tariff: key.tariff,
                version: key.version,
                price_id: key.price,
                offer: key.offer,
            });
        }
        let mut billed: BTreeMap<Currency, i128> = BTreeMap::new();
        for ((currency, bill), exact) in bills {
            let rounding = match bill {
                Some((decimals, mode)) => Rounding::new(decimals, mode, RoundingScope::Bill).ok_or(OutOfRange)?,
                None => Rounding::MICRO,
            };
            let amount = round(exact, rounding).ok_or(OutOfRange)?;
            *billed.entry(currency).or_default() += i128::from(amount.micros());
        }
        let total = |(currency, micros): (Currency, i128)| {
            let billed = billed.get(&currency).copied().unwrap_or_default();
            Ok(wire::CurrencyTotal {
                debited: Some(money(fitting(micros)?, currency)),
                billed: Some(money(fitting(billed)?, currency)),
            })
        };
        let totals = debited.into_iter().map(total).collect::<Result<_, _>>()?;
        Ok(wire::GetTotalsResponse { rows, totals })
    }
}

fn fitting(micros: i128) -> Result<Money, OutOfRange> {
    i64::try_from(micros).map(Money::from_micros).map_err(|_| OutOfRange)
}

/// What a CDR charged before it was rounded to the micro-unit: its components, unless a least or most charge took their place.
fn exact_of(rating: &StoredRating, amount: Money) -> Exact {
    let exact = |(numerator, denominator)| Exact::from_fraction(numerator, denominator);
    let sum = rating.lines.iter().try_fold(Exact::ZERO, |sum, line| sum.checked_add(exact(line.exact)?));
    let micros = i128::from(amount.micros());
    let is_near = |exact: &Exact| {
        let (numerator, denominator) = exact.fraction();
        // Two cumulative amounts were rounded, each by half a micro-unit at most.
        let apart = micros.checked_mul(denominator).and_then(|micros| numerator.checked_sub(micros));
        apart.is_some_and(|apart| apart.unsigned_abs() <= denominator.unsigned_abs())
    };
    sum.filter(is_near).unwrap_or(Exact::from_money(amount))
}
