//! Offers: what a subscriber buys and holds, as checked values.
//!
//! An [`OfferVersion`] is immutable: whoever bought it keeps it. It says what it costs, for how long, which tariff its
//! holder is charged by, and which buckets it opens. Absent: when any of that happens, see [`crate::shard`].

use std::fmt;
use std::sync::Arc;

use hashbrown::HashSet;

use crate::account::{BucketScope, Holding, Origin};
use crate::calendar::Zone;
use crate::crossing::{self, Threshold};
use crate::ids::{CounterId, OfferName, TariffName};
use crate::money::{Currency, Money, Rate};
use crate::period::Period;
use crate::tariff::{FinanceCodes, Problem};
use crate::units::Unit;

/// Allowances of one offer.
pub const ALLOWANCES_MAX: usize = 32;
/// Longest name of an allowance, octets: with the subscription's number and cycle it is a bucket's id.
pub const ALLOWANCE_NAME_MAX: usize = 32;

/// What is left of an allowance when a cycle ends goes on to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rollover {
    /// The most that does, in the allowance's unit; the rest lapses.
    pub cap: i64,
    /// For so many cycles more.
    pub cycles: u8,
}

/// What the members of an account may use together, charged at the end of each cycle (R42).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The account's counter of what they used: prices name it.
    pub counter: CounterId,
    /// What it counts.
    pub unit: Unit,
    /// What each member brings, in units.
    pub allowance: u64,
    /// What is beyond the sum of these costs, in started units of this rate.
    pub overage: Rate,
}

/// A bucket that an offer opens at its purchase and at every renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Unique in the offer; the bucket's id begins with it.
    pub name: Box<str>,
    /// What it holds.
    pub holding: Holding,
    /// How much, micro-units or units.
    pub amount: i64,
    /// How long it is valid; `None` for as long as the cycle that opened it.
    pub validity: Option<Period>,
    /// Lower pays earlier (R17).
    pub priority: u16,
    /// What it pays for; `None` for anything.
    pub scope: Option<Box<BucketScope>>,
    /// Paid with the offer's fee, or a gift.
    pub origin: Origin,
    /// Its stand-alone selling price: paid allowances share the fee in proportion to it (R37).
    pub stand_alone: Money,
    /// Whether something of what is left goes on to serve in later cycles.
    pub rollover: Option<Rollover>,
    /// The most that one subscriber may use of it in a cycle.
    pub member_cap: Option<u64>,
    /// At how many percent of it used somebody is told.
    pub thresholds: Vec<Threshold>,
}

/// The parts of an offer version, not checked yet.
#[derive(Clone, Debug)]
pub struct OfferDraft {
    /// The offer's name.
    pub name: OfferName,
    /// The version's number.
    pub version: u32,
    /// The currency of its amounts: only accounts in it may hold the offer.
    pub currency: Currency,
    /// Whose wall clock counts.
    pub zone: Zone,
    /// The tariff that its holder is charged by from the purchase on; `None` for one that comes beside another.
    pub tariff: Option<TariffName>,
    /// Once, at the purchase.
    pub setup_fee: Money,
    /// At the purchase and at every renewal, in advance.
    pub fee: Money,
    /// Whether the fee is for each subscriber of the account.
    pub per_member: bool,
    /// What the account's subscribers may use together.
    pub pool: Option<Pool>,
    /// How long a cycle is; `None` for one that never ends.
    pub period: Option<Period>,
    /// Whether another cycle follows; if not, the offer ends with its first.
    pub renews: bool,
    /// What it opens.
    pub allowances: Vec<Allowance>,
    /// At which cost of the account's usage in a cycle somebody is told, micro-units.
    pub spend: Vec<Threshold>,
    /// Below how much of what the account can spend somebody is told, micro-units.
    pub balance: Vec<Threshold>,
    /// For finance: of its fees.
    pub finance: FinanceCodes,
    /// SHA-256 of the canonical document.
    pub content_hash: [u8; 32],
}

impl Pool {
    /// What `used` units cost beyond what so many members bring, in started units of the rate; `None` when it does not fit.
    pub fn overage(&self, used: u64, members: u64) -> Option<Money> {
        let beyond = used.saturating_sub(self.allowance.saturating_mul(members));
        let started = i64::try_from(beyond.div_ceil(self.overage.per())).ok()?;
        let micros = i64::try_from(self.overage.micros()).ok()?;
        started.checked_mul(micros).map(Money::from_micros)
    }
}

impl OfferDraft {
    /// The version, or every reason why the parts make none.
    ///
    /// # Errors
    /// Each [`Problem`] names a place and says what is wrong there.
    pub fn publish(self) -> Result<Arc<OfferVersion>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut problem = |path: String, reason: &str| problems.push(Problem { path, reason: reason.to_owned() });
        if self.fee.is_negative() || self.setup_fee.is_negative() {
            problem("fee".to_owned(), "fees may not be negative");
        }
        if self.renews && self.period.is_none() {
            problem("period".to_owned(), "an offer that renews needs a period, e.g. P1M");
        }
        if self.pool.is_some() && !self.renews {
            problem("pool".to_owned(), "is charged at the end of each cycle: the offer needs a period and renews");
        }
        if self.allowances.len() > ALLOWANCES_MAX {
            problem("allowances".to_owned(), "an offer has at most 32 allowances");
        }
        let mut names = HashSet::new();
        for (number, allowance) in self.allowances.iter().enumerate() {
            let path = |member: &str| format!("allowances[{number}].{member}");
            if allowance.name.is_empty() || allowance.name.len() > ALLOWANCE_NAME_MAX {
                problem(path("id"), "an allowance's id has 1 to 32 octets");
            }
            if !names.insert(&*allowance.name) {
                problem(path("id"), "another allowance of this offer has the same id");
            }
            if allowance.amount <= 0 {
                problem(path("amount"), "must be above 0");
            }
            if allowance.rollover.is_some_and(|rollover| rollover.cap <= 0 || rollover.cycles == 0) {
                problem(path("rollover"), "needs a cap above 0 and at least one cycle");
            }
            if allowance.rollover.is_some() && (!self.renews || allowance.validity.is_some()) {
                problem(path("rollover"), "only what an offer that renews opens for its own period can roll over");
            }
            if allowance.stand_alone.is_negative() {
                problem(path("stand_alone"), "may not be negative");
            }
            if allowance.member_cap.is_some() && allowance.holding == Holding::Money {
                problem(path("member_cap"), "only seconds, octets and events have one");
            }
        }
        drop(names);
        for (number, allowance) in self.allowances.iter().enumerate() {
            let path = format!("allowances[{number}].notify");
            crossing::check(&path, &allowance.thresholds, crossing::PERCENT_MAX, &mut problems);
        }
        crossing::check("notify_spend", &self.spend, crossing::MONEY_MAX, &mut problems);
        crossing::check("notify_balance", &self.balance, crossing::MONEY_MAX, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let costs = self.costs();
        Ok(Arc::new(OfferVersion { draft: self, costs }))
    }

    /// What of the fee was paid for each allowance: in proportion to their stand-alone prices, in hundredths; what is
    /// missing goes to the largest remainders, ties to the first (R37). Without those prices, to the first one that is paid.
    fn costs(&self) -> Box<[Money]> {
        let weights: Vec<i128> = self
            .allowances
            .iter()
            .map(|it| if it.origin == Origin::Paid { it.stand_alone.micros().into() } else { 0 })
            .collect();
        let all: i128 = weights.iter().sum();
        let mut costs = vec![Money::ZERO; weights.len()];
        if all == 0 {
            let first = self.allowances.iter().position(|allowance| allowance.origin == Origin::Paid);
            if let Some(cost) = first.and_then(|first| costs.get_mut(first)) {
                *cost = self.fee;
            }
            return costs.into();
        }
        let step = 10_000i128;
        let fee = i128::from(self.fee.micros());
        let exact = |weight: &i128| (fee * weight / (all * step) * step, fee * weight % (all * step));
        let mut left = fee;
        for (cost, weight) in costs.iter_mut().zip(&weights) {
            let share = exact(weight).0;
            *cost = Money::from_micros(i64::try_from(share).unwrap_or(0));
            left -= share;
        }
        let mut order: Vec<usize> = (0..weights.len()).filter(|place| weights.get(*place) > Some(&0)).collect();
        order.sort_by_key(|place| std::cmp::Reverse(weights.get(*place).map(|weight| exact(weight).1)));
        for place in order.iter().cycle() {
            if left <= 0 {
                break;
            }
            let more = left.min(step);
            if let Some(cost) = costs.get_mut(*place) {
                *cost = cost.saturating_add(Money::from_micros(i64::try_from(more).unwrap_or(0)));
            }
            left -= more;
        }
        costs.into()
    }
}

/// One version of an offer: immutable, known by its content hash.
pub struct OfferVersion {
    draft: OfferDraft,
    costs: Box<[Money]>,
}

impl PartialEq for OfferVersion {
    fn eq(&self, other: &Self) -> bool {
        self.draft.content_hash == other.draft.content_hash
            && (&self.draft.name, self.draft.version) == (&other.draft.name, other.draft.version)
    }
}

impl Eq for OfferVersion {}

impl fmt::Debug for OfferVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OfferVersion({} {})", self.draft.name, self.draft.version)
    }
}

impl OfferVersion {
    /// The offer's name.
    pub fn name(&self) -> &OfferName {
        &self.draft.name
    }

    /// The version's number.
    pub fn version(&self) -> u32 {
        self.draft.version
    }

    /// The currency of its amounts.
    pub fn currency(&self) -> Currency {
        self.draft.currency
    }

    /// Whose wall clock counts.
    pub fn zone(&self) -> &Zone {
        &self.draft.zone
    }

    /// The tariff that its holder is charged by.
    pub fn tariff(&self) -> Option<&TariffName> {
        self.draft.tariff.as_ref()
    }

    /// Thresholds of what usage costs in a cycle.
    pub fn spend_thresholds(&self) -> &[Threshold] {
        &self.draft.spend
    }

    /// Thresholds of what the account can spend.
    pub fn balance_thresholds(&self) -> &[Threshold] {
        &self.draft.balance
    }

    /// Whether it says any threshold.
    pub fn has_thresholds(&self) -> bool {
        let of_allowances = self.draft.allowances.iter().any(|allowance| !allowance.thresholds.is_empty());
        of_allowances || !self.draft.spend.is_empty() || !self.draft.balance.is_empty()
    }

    /// Once, at the purchase.
    pub fn setup_fee(&self) -> Money {
        self.draft.setup_fee
    }

    /// At the purchase and at every renewal.
    pub fn fee(&self) -> Money {
        self.draft.fee
    }

    /// The fee of one cycle for so many subscribers of the account; `None` when it does not fit.
    pub fn fee_for(&self, members: u64) -> Option<Money> {
        let times = if self.draft.per_member { i64::try_from(members).ok()? } else { 1 };
        self.draft.fee.micros().checked_mul(times).map(Money::from_micros)
    }

    /// Whether the fee is for each subscriber of the account.
    pub fn is_per_member(&self) -> bool {
        self.draft.per_member
    }

    /// What the account's subscribers may use together.
    pub fn pool(&self) -> Option<&Pool> {
        self.draft.pool.as_ref()
    }

    /// How long a cycle is.
    pub fn period(&self) -> Option<Period> {
        self.draft.period
    }

    /// Whether another cycle follows.
    pub fn renews(&self) -> bool {
        self.draft.renews
    }

    /// What it opens, each with what of the fee was paid for it.
    pub fn allowances(&self) -> impl Iterator<Item = (&Allowance, Money)> {
        self.draft.allowances.iter().zip(self.costs.iter().copied())
    }

    /// For finance: of its fees.
    pub fn finance(&self) -> &FinanceCodes {
        &self.draft.finance
    }

    /// SHA-256 of the canonical document.
    pub fn content_hash(&self) -> &[u8; 32] {
        &self.draft.content_hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(name: &str, stand_alone: i64) -> Allowance {
        Allowance {
            name: name.into(),
            holding: Holding::Units(Unit::Octet),
            amount: 100,
            validity: None,
            priority: 10,
            scope: None,
            origin: Origin::Paid,
            stand_alone: Money::from_micros(stand_alone),
            rollover: None,
            member_cap: None,
            thresholds: Vec::new(),
        }
    }

    fn draft(fee: i64, allowances: Vec<Allowance>) -> OfferDraft {
        OfferDraft {
            name: OfferName::new("o"),
            version: 1,
            currency: Currency::EUR,
            zone: Zone::utc(),
            tariff: None,
            setup_fee: Money::ZERO,
            fee: Money::from_micros(fee),
            per_member: false,
            pool: None,
            period: Period::days(28),
            renews: true,
            allowances,
            spend: Vec::new(),
            balance: Vec::new(),
            finance: FinanceCodes::default(),
            content_hash: [0; 32],
        }
    }

    /// R37, All-in 20: 19.99 over 9.00, 12.00 and 4.00 of 25.00: 7.1964, 9.5952, 3.1984; the missing two cents go to the
    /// largest remainders: 7.20, 9.59, 3.20.
    #[test]
    fn the_fee_is_shared_by_stand_alone_prices() {
        let parts = vec![allowance("data", 9_000_000), allowance("voice", 12_000_000), allowance("sms", 4_000_000)];
        let offer = draft(19_990_000, parts).publish().unwrap();
        let costs: Vec<String> = offer.allowances().map(|(_, cost)| cost.to_string()).collect();
        assert_eq!(costs, ["7.20", "9.59", "3.20"]);
        let offer = draft(7_990_000, vec![allowance("data", 0)]).publish().unwrap();
        assert_eq!(offer.allowances().map(|(_, cost)| cost.to_string()).collect::<Vec<_>>(), ["7.99"]);
    }

    #[test]
    fn every_problem_is_named() {
        let mut bad = draft(-1, vec![allowance("a", 0), allowance("a", -1)]);
        bad.period = None;
        if let [first, second] = &mut bad.allowances[..] {
            (first.amount, second.rollover) = (0, Some(Rollover { cap: 0, cycles: 1 }));
        }
        let problems = bad.publish().unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "fee",
                "period",
                "allowances[0].amount",
                "allowances[1].id",
                "allowances[1].rollover",
                "allowances[1].stand_alone"
            ]
        );
    }

    /// Thresholds ascend, each with a label of its own; shares are 1 % to 100 %, amounts above 0; there are 8 at most.
    #[test]
    fn every_problem_of_thresholds_is_named() {
        let at = |at, label: &str| Threshold { at, label: label.into() };
        let mut bad = draft(0, vec![Allowance { thresholds: vec![at(0, "a"), at(101, "b")], ..allowance("a", 0) }]);
        bad.spend = vec![at(2, "a"), at(2, "b"), at(3, "a"), at(4, "")];
        bad.balance = (0..9).map(|number| at(number, &number.to_string())).collect();
        let problems = bad.publish().unwrap_err();
        let named: Vec<(&str, &str)> = problems.iter().map(|it| (it.path.as_str(), it.reason.as_str())).collect();
        assert_eq!(
            named,
            [
                ("allowances[0].notify[0].at", "must be 1 % to 100 %"),
                ("allowances[0].notify[1].at", "must be 1 % to 100 %"),
                ("notify_spend[1].at", "must be above the one before"),
                ("notify_spend[2].label", "another threshold of these has the same label"),
                ("notify_spend[3].label", "has 1 to 32 octets"),
                ("notify_balance", "has more than 8 thresholds"),
                ("notify_balance[0].at", "must be above 0"),
            ]
        );
        let mut good = draft(0, vec![Allowance { thresholds: vec![at(1, "a"), at(100, "b")], ..allowance("a", 0) }]);
        (good.spend, good.balance) = ((1..9).map(|n| at(n, &n.to_string())).collect(), vec![at(i64::MAX, "all")]);
        assert!(good.publish().is_ok_and(|offer| offer.has_thresholds()));
    }
}
