//! From a rated CDR to postings: which accounts of the ledger a movement touches.
//!
//! The map is data ([`Map`], a TOML file); what is fixed is what moves against what. Every pair of postings adds up to nothing, so every
//! CDR does. Money that was paid in is a liability until it is used (IFRS 15, ASC 606); money that was given away is noted nowhere and
//! makes no revenue when it is used. What an offer's fee paid for units is deferred until they are used, or lapse.
//!
//! Absent: taxes (the CDR's category and flag stand beside it for whoever computes them), and where books are kept.

use ocs_proto::cdr::v1::{CdrKind, Movement, PayerKind, RatedCdr};
use ocs_proto::charging::v1::{Holding, Origin};
use serde::Deserialize;

/// Names of the ledger's accounts. Revenue has the CDR's ledger code behind it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Map {
    /// Money that was paid in and not used: prepaid balances.
    pub(crate) liability: String,
    /// What was paid for units that are not used yet.
    pub(crate) deferred: String,
    /// What was used on credit and is not billed yet.
    pub(crate) unbilled: String,
    /// What is owed beyond any credit line.
    pub(crate) owed: String,
    /// Where top-ups come from.
    pub(crate) cash: String,
    /// Usage.
    pub(crate) usage: String,
    /// Fees of offers.
    pub(crate) fees: String,
    /// What lapsed unused.
    pub(crate) breakage: String,
    /// What people put in or took out by hand.
    pub(crate) adjustments: String,
    /// Between two customers: empty when both CDRs of a transfer are booked.
    pub(crate) transfers: String,
}

impl Default for Map {
    fn default() -> Self {
        Self {
            liability: "liabilities:contract:prepaid".to_owned(),
            deferred: "liabilities:contract:deferred".to_owned(),
            unbilled: "assets:receivable:unbilled".to_owned(),
            owed: "assets:receivable:owed".to_owned(),
            cash: "assets:cash:clearing".to_owned(),
            usage: "revenue:usage".to_owned(),
            fees: "revenue:fees".to_owned(),
            breakage: "revenue:breakage".to_owned(),
            adjustments: "expenses:adjustments".to_owned(),
            transfers: "liabilities:transfers".to_owned(),
        }
    }
}

/// An amount on an account of the ledger, micro-units: debit above 0, credit below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Posting {
    /// The account.
    pub(crate) account: String,
    /// How much.
    pub(crate) micros: i64,
}

/// Why a CDR cannot be booked: a person has to look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unbookable(pub(crate) String);

impl std::fmt::Display for Unbookable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Map {
    /// What a CDR posts; nothing where no money moved.
    ///
    /// # Errors
    /// When it is of a kind that is not known here, or its movements do not add up to its amount.
    pub(crate) fn postings(&self, cdr: &RatedCdr) -> Result<Vec<Posting>, Unbookable> {
        let kind = CdrKind::try_from(cdr.kind).unwrap_or_default();
        if kind == CdrKind::Unspecified {
            return Err(Unbookable(format!("is of kind {}, which this release does not know", cdr.kind)));
        }
        let amount = cdr.amount.as_ref().ok_or_else(|| Unbookable("has no amount".to_owned()))?;
        let mut money = 0i64;
        let mut postings = Vec::new();
        for movement in &cdr.movements {
            let overflow = || Unbookable("has amounts that do not fit".to_owned());
            let contra = self.against(kind, movement.delta > 0, &cdr.ledger_code);
            if movement.holding() == Holding::Money {
                money = money.checked_add(movement.delta).ok_or_else(overflow)?;
                if let Some(account) = self.holder(movement)? {
                    // What is taken from a customer is a debit of what was owed to them.
                    let micros = movement.delta.checked_neg().ok_or_else(overflow)?;
                    pair(&mut postings, account, contra, micros);
                }
            } else if movement.cost != 0 {
                let micros = movement.cost.checked_neg().ok_or_else(overflow)?;
                pair(&mut postings, &self.deferred, contra, micros);
            }
        }
        if money.checked_neg() != Some(amount.mantissa) || amount.scale != 6 {
            let said = amount.mantissa;
            return Err(Unbookable(format!(
                "says an amount of {said}e-{}, but {money} micro-units moved",
                amount.scale
            )));
        }
        Ok(postings)
    }

    /// The account of the ledger that a payer's money stands on; `None` for what was given away.
    fn holder(&self, movement: &Movement) -> Result<Option<&str>, Unbookable> {
        match (movement.payer(), movement.origin()) {
            (PayerKind::Bucket, Origin::Granted) => Ok(None),
            (PayerKind::Bucket, Origin::Paid) => Ok(Some(&self.liability)),
            (PayerKind::Credit, _) => Ok(Some(&self.unbilled)),
            (PayerKind::Debt, _) => Ok(Some(&self.owed)),
            (PayerKind::Unspecified, _) | (PayerKind::Bucket, Origin::Unspecified) => {
                Err(Unbookable("has a movement of a payer that this release does not know".to_owned()))
            }
        }
    }

    /// The other side of a movement that gives, or takes.
    fn against(&self, kind: CdrKind, gives: bool, ledger_code: &str) -> String {
        let coded = |account: &str| {
            if ledger_code.is_empty() { account.to_owned() } else { format!("{account}:{ledger_code}") }
        };
        match kind {
            // A bucket that had ended lapses before it is topped up.
            CdrKind::TopUp if !gives => self.breakage.clone(),
            CdrKind::TopUp => self.cash.clone(),
            CdrKind::Usage
            | CdrKind::Refund
            | CdrKind::ReRate
            | CdrKind::Suspense
            | CdrKind::Lapse
            | CdrKind::Unspecified => coded(&self.usage),
            // What the fee pays for units is no revenue until they are used: it moves from the fee.
            CdrKind::Recurring | CdrKind::OneTime | CdrKind::Allowance => coded(&self.fees),
            CdrKind::Expiry => self.breakage.clone(),
            CdrKind::Adjustment => self.adjustments.clone(),
            CdrKind::Transfer => self.transfers.clone(),
        }
    }
}

/// A debit and the credit that it goes with; amounts on one account are added up.
fn pair(postings: &mut Vec<Posting>, account: &str, contra: String, micros: i64) {
    // Their sums fit: a CDR's amounts were checked to, and no account of its movements has more.
    for (account, micros) in [(account.to_owned(), micros), (contra, micros.saturating_neg())] {
        match postings.iter_mut().find(|posting| posting.account == account) {
            Some(posting) => posting.micros = posting.micros.saturating_add(micros),
            None => postings.push(Posting { account, micros }),
        }
    }
}

#[cfg(test)]
mod tests {
    use ocs_proto::charging::v1::Money;
    use proptest::prelude::*;

    use super::*;

    fn movement(payer: PayerKind, origin: Origin, delta: i64) -> Movement {
        let (holding, payer, origin) = (Holding::Money.into(), payer.into(), origin.into());
        Movement { payer, holding, origin, delta, cost: delta, ..Movement::default() }
    }

    fn units(delta: i64, cost: i64) -> Movement {
        let (payer, origin) = (PayerKind::Bucket.into(), Origin::Paid.into());
        Movement { payer, holding: Holding::Octets.into(), origin, delta, cost, ..Movement::default() }
    }

    fn cdr(kind: CdrKind, ledger_code: &str, movements: Vec<Movement>) -> RatedCdr {
        let money = movements.iter().filter(|it| it.holding() == Holding::Money);
        let amount = Money { mantissa: -money.map(|it| it.delta).sum::<i64>(), scale: 6, currency: "EUR".into() };
        RatedCdr {
            kind: kind.into(),
            amount: Some(amount),
            movements,
            ledger_code: ledger_code.into(),
            ..RatedCdr::default()
        }
    }

    fn said(cdr: &RatedCdr) -> Vec<(String, i64)> {
        let postings = Map::default().postings(cdr).unwrap();
        postings.into_iter().map(|it| (it.account, it.micros)).collect()
    }

    const MAIN: (PayerKind, Origin) = (PayerKind::Bucket, Origin::Paid);

    /// 10.00 paid in: cash against what is owed to the customer. Never revenue.
    #[test]
    fn a_top_up_is_a_liability() {
        let paid = cdr(CdrKind::TopUp, "", vec![movement(MAIN.0, MAIN.1, 10_000_000)]);
        assert_eq!(
            said(&paid),
            [("liabilities:contract:prepaid".into(), -10_000_000), ("assets:cash:clearing".into(), 10_000_000)]
        );
        // 3.00 of it repay a debt.
        let repaid = [movement(PayerKind::Debt, MAIN.1, 3_000_000), movement(MAIN.0, MAIN.1, 7_000_000)];
        let repaid = said(&cdr(CdrKind::TopUp, "", repaid.into()));
        assert_eq!(repaid[0], ("assets:receivable:owed".into(), -3_000_000));
        assert_eq!(repaid[1], ("assets:cash:clearing".into(), 10_000_000));
        assert_eq!(repaid[2], ("liabilities:contract:prepaid".into(), -7_000_000));
    }

    /// Usage of 3.00: 2.00 from what was paid, 1.00 from a bonus. Revenue is what was paid.
    #[test]
    fn usage_of_paid_money_is_revenue_and_of_a_bonus_is_none() {
        let used = [movement(MAIN.0, MAIN.1, -2_000_000), movement(PayerKind::Bucket, Origin::Granted, -1_000_000)];
        let used = cdr(CdrKind::Usage, "4500", used.into());
        assert_eq!(
            said(&used),
            [("liabilities:contract:prepaid".into(), 2_000_000), ("revenue:usage:4500".into(), -2_000_000)]
        );
        let on_credit = cdr(CdrKind::Usage, "", vec![movement(PayerKind::Credit, Origin::Paid, -500_000)]);
        assert_eq!(
            said(&on_credit),
            [("assets:receivable:unbilled".into(), 500_000), ("revenue:usage".into(), -500_000)]
        );
    }

    /// A bundle of 9.00: the fee is taken, what it paid for units is deferred; a third used is 3.00 of revenue, the rest lapses.
    #[test]
    fn a_bundle_is_deferred_until_it_is_used_or_lapses() {
        let fee = said(&cdr(CdrKind::Recurring, "4600", vec![movement(MAIN.0, MAIN.1, -9_000_000)]));
        assert_eq!(fee, [("liabilities:contract:prepaid".into(), 9_000_000), ("revenue:fees:4600".into(), -9_000_000)]);
        let opened = said(&cdr(CdrKind::Allowance, "4600", vec![units(300, 9_000_000)]));
        assert_eq!(
            opened,
            [("liabilities:contract:deferred".into(), -9_000_000), ("revenue:fees:4600".into(), 9_000_000)]
        );
        let used = said(&cdr(CdrKind::Usage, "4500", vec![units(-100, -3_000_000)]));
        assert_eq!(
            used,
            [("liabilities:contract:deferred".into(), 3_000_000), ("revenue:usage:4500".into(), -3_000_000)]
        );
        let lapsed = said(&cdr(CdrKind::Expiry, "4600", vec![units(-200, -6_000_000)]));
        assert_eq!(
            lapsed,
            [("liabilities:contract:deferred".into(), 6_000_000), ("revenue:breakage".into(), -6_000_000)]
        );
    }

    #[test]
    fn what_is_not_understood_is_not_booked() {
        let map = Map::default();
        let reason = |cdr: &RatedCdr| map.postings(cdr).unwrap_err().0;
        let unknown = RatedCdr { kind: 77, ..cdr(CdrKind::Usage, "", Vec::new()) };
        assert_eq!(reason(&unknown), "is of kind 77, which this release does not know");
        let mut wrong = cdr(CdrKind::Usage, "", vec![movement(MAIN.0, MAIN.1, -5)]);
        wrong.amount.as_mut().unwrap().mantissa = 6;
        assert_eq!(reason(&wrong), "says an amount of 6e-6, but -5 micro-units moved");
        let odd = cdr(CdrKind::Usage, "", vec![movement(PayerKind::Unspecified, MAIN.1, -5)]);
        assert_eq!(reason(&odd), "has a movement of a payer that this release does not know");
        let far = cdr(CdrKind::Usage, "", vec![units(1, i64::MIN)]);
        assert_eq!(reason(&far), "has amounts that do not fit");
    }

    #[test]
    fn a_map_of_ones_own_names_what_it_changes() {
        let map: Map = toml::from_str("usage = \"4000\"\nliability = \"2100\"").unwrap();
        assert_eq!((map.usage.as_str(), map.fees.as_str()), ("4000", "revenue:fees"));
        assert!(toml::from_str::<Map>("usages = \"4000\"").unwrap_err().to_string().contains("usages"));
    }

    proptest! {
        /// Whatever moves, what is posted adds up to nothing.
        #[test]
        fn every_cdr_adds_up_to_nothing(
            kind in 1..=12i32,
            moves in prop::collection::vec((1..=3i32, 1..=2i32, 1..=4i32, -1_000_000_000i64..1_000_000_000, -9_000_000i64..9_000_000), 0..6),
        ) {
            let kind = CdrKind::try_from(kind).unwrap();
            let movements = moves.into_iter().map(|(payer, origin, holding, delta, cost)| {
                Movement { payer, holding, origin, delta, cost, ..Movement::default() }
            });
            let postings = Map::default().postings(&cdr(kind, "4500", movements.collect())).unwrap();
            prop_assert_eq!(postings.iter().map(|posting| i128::from(posting.micros)).sum::<i128>(), 0);
        }
    }
}
