//! Thresholds: values at which somebody is told, and the CDRs that crossed them.
//!
//! An offer says them: of what is used of an allowance, of what usage cost in a cycle, and of what an account can still spend. A
//! crossing is worked out from what a CDR moved and stands in that CDR: it is as durable as the charge, in its order, and there is one for each
//! time. Values that go back cross the other way. Absent: whom that interests.

use crate::account::{Account, Bucket, Holding, LAPSE_GRACE_SECONDS, Subscription, SubscriptionState, Terms};
use crate::cdr::{CdrKind, Payer, RatedCdr};
use crate::ids::{BucketId, OfferName};
use crate::money::Money;
use crate::offer::OfferVersion;
use crate::tariff::Problem;
use crate::tariffs::Tariffs;
use crate::time::Timestamp;

/// Thresholds of one value.
pub const THRESHOLDS_MAX: usize = 8;
/// Longest label, octets.
pub const LABEL_MAX: usize = 32;
/// All of an allowance, in percent.
const ALL: i64 = 100;

/// A value at which somebody is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Threshold {
    /// Which: percent of an allowance, or micro-units.
    pub at: i64,
    /// What it is called.
    pub label: Box<str>,
}

/// What a threshold is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// What was used of an allowance's bucket, in its unit.
    Allowance(BucketId, Holding),
    /// What usage cost in the subscription's cycle, micro-units.
    Spend,
    /// What the account can spend: its money and its credit line, less what it owes, micro-units. It is crossed downwards.
    Balance,
}

impl Watched {
    /// What policies know the value by (the policyCounterId of TS 29.594): "care/spend", "care/balance", "care/allowances/data" of an
    /// offer "care", whichever cycle it is.
    pub fn policy_counter(&self, offer: &OfferName) -> String {
        match self {
            Self::Allowance(bucket, _) => format!("{offer}/allowances/{}", allowance_of(bucket)),
            Self::Spend => format!("{offer}/spend"),
            Self::Balance => format!("{offer}/balance"),
        }
    }
}

/// A threshold that a CDR crossed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// What of.
    pub watched: Watched,
    /// The offer that says it.
    pub offer: OfferName,
    /// The account's subscription to it.
    pub subscription: u32,
    /// What it is called.
    pub label: Box<str>,
    /// The threshold, in the unit of what is watched.
    pub at: i64,
    /// The value before.
    pub before: i64,
    /// The value after.
    pub after: i64,
}

impl Crossing {
    /// Whether it was reached; otherwise the value went back.
    pub const fn is_reached(&self) -> bool {
        match self.watched {
            Watched::Allowance(..) | Watched::Spend => self.after >= self.at,
            Watched::Balance => self.after < self.at,
        }
    }
}

/// A value with its thresholds, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it is of.
    pub watched: Watched,
    /// The offer that says the thresholds.
    pub offer: OfferName,
    /// The account's subscription to it.
    pub subscription: u32,
    /// The value, in the unit of what is watched.
    pub value: i64,
    /// Each with its label and whether it is reached, as they are said.
    pub thresholds: Vec<(i64, Box<str>, bool)>,
}

impl Standing {
    /// The label of the threshold that was reached last on the value's way; `None` while none is.
    pub fn status(&self) -> Option<&str> {
        let mut reached = self.thresholds.iter().filter(|(_, _, is_reached)| *is_reached);
        let last = match self.watched {
            Watched::Allowance(..) | Watched::Spend => reached.next_back(),
            Watched::Balance => reached.next(),
        };
        last.map(|(_, label, _)| &**label)
    }
}

/// Checks thresholds that are to be in ascending order, each in a range.
pub(crate) fn check(path: &str, thresholds: &[Threshold], most: i64, problems: &mut Vec<Problem>) {
    let mut problem = |place: String, reason: &str| problems.push(Problem { path: place, reason: reason.to_owned() });
    if thresholds.len() > THRESHOLDS_MAX {
        problem(path.to_owned(), "has more than 8 thresholds");
    }
    for (number, threshold) in thresholds.iter().enumerate() {
        if !(1..=most).contains(&threshold.at) {
            let reason = if most == ALL { "must be 1 % to 100 %" } else { "must be above 0" };
            problem(format!("{path}[{number}].at"), reason);
        }
        if threshold.label.is_empty() || threshold.label.len() > LABEL_MAX {
            problem(format!("{path}[{number}].label"), "has 1 to 32 octets");
        }
        let before = thresholds.get(..number).unwrap_or_default();
        if before.last().is_some_and(|last| last.at >= threshold.at) {
            problem(format!("{path}[{number}].at"), "must be above the one before");
        }
        if before.iter().any(|other| other.label == threshold.label) {
            problem(format!("{path}[{number}].label"), "another threshold of these has the same label");
        }
    }
}

/// The most that a threshold of each kind may be.
pub(crate) const PERCENT_MAX: i64 = ALL;
pub(crate) const MONEY_MAX: i64 = i64::MAX;

/// Units from which on so many percent of what was opened are used.
fn share(opened: i64, percent: i64) -> i64 {
    let share = (i128::from(opened) * i128::from(percent) + i128::from(ALL) - 1).div_euclid(i128::from(ALL));
    i64::try_from(share).unwrap_or(i64::MAX)
}

/// The name of the allowance that a bucket was opened as: its id begins with it.
fn allowance_of(bucket: &BucketId) -> &str {
    bucket.as_str().rsplit_once('#').map_or("", |(name, _)| name)
}

fn thresholds_of<'o>(offer: &'o OfferVersion, bucket: &BucketId) -> &'o [Threshold] {
    let name = allowance_of(bucket);
    let allowance = offer.allowances().find(|(allowance, _)| *allowance.name == *name);
    allowance.map_or(&[], |(allowance, _)| &allowance.thresholds)
}

/// Money that an account can spend: what it has, less what it owes, and its credit line.
fn spendable(account: &Account) -> i64 {
    let has = account.closing().into_iter().find(|(holding, _)| *holding == Holding::Money).map_or(0, |(_, sum)| sum);
    let sum = has + account.credit.map_or(0, |credit| i128::from(credit.limit.micros()));
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}

/// What a CDR moved of an account's money.
fn money_moved(cdr: &RatedCdr) -> i64 {
    let money = cdr.movements.iter().filter(|movement| movement.holding == Holding::Money);
    money.fold(0, |sum: i64, movement| sum.saturating_add(movement.delta))
}

/// When the usage began whose cost a CDR changes; `None` where it changes none: refunds of fees are none.
const fn usage_began(cdr: &RatedCdr) -> Option<Timestamp> {
    match cdr.kind {
        CdrKind::Usage | CdrKind::ReRate => Some(cdr.usage_start),
        CdrKind::Refund => cdr.gives_back,
        CdrKind::TopUp
        | CdrKind::Suspense
        | CdrKind::Lapse
        | CdrKind::Recurring
        | CdrKind::OneTime
        | CdrKind::Allowance
        | CdrKind::Expiry
        | CdrKind::Adjustment
        | CdrKind::Transfer => None,
    }
}

/// Whether its values are watched: from its first cycle on, also while it waits for the money of its next one.
fn is_running(held: &Subscription) -> bool {
    held.state != SubscriptionState::Awaited && held.has_begun()
}

/// Whether an account holds an offer that says thresholds.
fn is_watched(account: &Account, tariffs: &Tariffs) -> bool {
    let mut held = account.contract.iter().flat_map(|contract| &contract.subscriptions);
    held.any(|held| tariffs.offer(&held.offer, Some(held.version)).is_some_and(|offer| offer.has_thresholds()))
}

/// Notes in the CDRs of an account, which stand for all that was moved since, what thresholds they crossed; counts what usage cost.
pub(crate) fn cross(account: &mut Account, tariffs: &Tariffs, cdrs: &mut [RatedCdr]) {
    if !is_watched(account, tariffs) {
        return;
    }
    let moved = cdrs.iter().filter(|cdr| cdr.account == account.id).map(money_moved);
    let mut balance = spendable(account).saturating_sub(moved.fold(0, i64::saturating_add));
    let id = account.id;
    for cdr in cdrs.iter_mut().filter(|cdr| cdr.account == id) {
        let balance_before = balance;
        balance = balance.saturating_add(money_moved(cdr));
        let mut crossings = Vec::new();
        let held = account.contract.iter_mut().flat_map(|contract| &mut contract.subscriptions);
        for held in held.filter(|held| is_running(held)) {
            let Some(offer) = tariffs.offer(&held.offer, Some(held.version)).filter(|it| it.has_thresholds()) else {
                continue;
            };
            let mut note = |watched: Watched, thresholds: &[Threshold], before: i64, after: i64| {
                for threshold in on_the_way(thresholds, before, after) {
                    let at = threshold.at;
                    if (before < at) != (after < at) {
                        let (offer, label) = (held.offer.clone(), threshold.label.clone());
                        let (watched, subscription) = (watched.clone(), held.number);
                        crossings.push(Crossing { watched, offer, subscription, label, at, before, after });
                    }
                }
            };
            note(Watched::Balance, offer.balance_thresholds(), balance_before, balance);
            let in_cycle = |began: &Timestamp| (held.cycle_start..held.cycle_end).contains(began);
            if !offer.spend_thresholds().is_empty() && usage_began(cdr).as_ref().is_some_and(in_cycle) {
                let before = held.spent_in(held.cycle);
                let after = before.saturating_add(cdr.amount);
                // Nothing is the same in every cycle.
                held.spent = if after == Money::ZERO { <(u32, Money)>::default() } else { (held.cycle, after) };
                note(Watched::Spend, offer.spend_thresholds(), before.micros(), after.micros());
            }
        }
        note_allowances(account, tariffs, cdr, &mut crossings);
        cdr.crossings = crossings;
    }
}

/// Thresholds in the order in which a value comes to them that goes from `before` to `after`.
fn on_the_way(thresholds: &[Threshold], before: i64, after: i64) -> impl Iterator<Item = &Threshold> {
    let (up, down) = if before <= after { (thresholds, &[][..]) } else { (&[][..], thresholds) };
    up.iter().chain(down.iter().rev())
}

/// Of a bucket whose use is watched: that of an allowance, in its own time. Of what has ended or rolled over some may have lapsed, which
/// is not used.
fn watched_terms(bucket: &Bucket, now: Timestamp) -> Option<&Terms> {
    bucket.terms.as_deref().filter(|terms| terms.rolled == 0 && now < bucket.valid_to)
}

/// Thresholds of allowances: of what was used of their buckets, not of what was opened or lapsed.
fn note_allowances(account: &Account, tariffs: &Tariffs, cdr: &RatedCdr, crossings: &mut Vec<Crossing>) {
    if matches!(cdr.kind, CdrKind::Allowance | CdrKind::Expiry) {
        return;
    }
    // Until it lapses, what was used of a bucket before its end may be told late.
    let told = cdr.accepted.plus_seconds(-LAPSE_GRACE_SECONDS);
    for movement in &cdr.movements {
        let Payer::Bucket(id) = &movement.payer else { continue };
        let Some(terms) = account.bucket(id).and_then(|bucket| watched_terms(bucket, told)) else { continue };
        let mut held = account.contract.iter().flat_map(|contract| &contract.subscriptions);
        let Some(held) = held.find(|held| held.number == terms.subscription) else { continue };
        let Some(offer) = tariffs.offer(&held.offer, Some(held.version)) else { continue };
        let used = |left: i64| terms.opened.saturating_sub(left);
        let (before, after) = (used(movement.before), used(movement.after()));
        for threshold in on_the_way(thresholds_of(offer, id), before, after) {
            let at = share(terms.opened, threshold.at);
            if (before < at) != (after < at) {
                crossings.push(Crossing {
                    watched: Watched::Allowance(id.clone(), movement.holding),
                    offer: held.offer.clone(),
                    subscription: held.number,
                    label: threshold.label.clone(),
                    at,
                    before,
                    after,
                });
            }
        }
    }
}

/// How what an account's offers watch stands at `now`: by subscription, in the order of what they say.
pub fn standings(account: &Account, tariffs: &Tariffs, now: Timestamp) -> Vec<Standing> {
    let mut found = Vec::new();
    for held in account.contract.iter().flat_map(|contract| &contract.subscriptions).filter(|held| is_running(held)) {
        let Some(offer) = tariffs.offer(&held.offer, Some(held.version)) else { continue };
        let mut stand = |watched: Watched, value: i64, thresholds: Vec<(i64, Box<str>)>| {
            if thresholds.is_empty() {
                return;
            }
            let is_reached = |at: i64| if watched == Watched::Balance { value < at } else { value >= at };
            let thresholds = thresholds.into_iter().map(|(at, label)| (at, label, is_reached(at))).collect();
            let (offer, subscription) = (held.offer.clone(), held.number);
            found.push(Standing { watched, offer, subscription, value, thresholds });
        };
        let as_said = |thresholds: &[Threshold]| thresholds.iter().map(|it| (it.at, it.label.clone())).collect();
        for bucket in &account.buckets {
            let Some(terms) = watched_terms(bucket, now).filter(|terms| terms.subscription == held.number) else {
                continue;
            };
            let shares =
                thresholds_of(offer, &bucket.id).iter().map(|it| (share(terms.opened, it.at), it.label.clone()));
            let watched = Watched::Allowance(bucket.id.clone(), bucket.holding);
            stand(watched, terms.opened.saturating_sub(bucket.balance), shares.collect());
        }
        stand(Watched::Spend, held.spent_in(held.cycle).micros(), as_said(offer.spend_thresholds()));
        stand(Watched::Balance, spendable(account), as_said(offer.balance_thresholds()));
    }
    found
}

impl Subscription {
    /// What usage cost in a cycle, as far as the offer has that counted; only of the last one that is counted it is known.
    pub fn spent_in(&self, cycle: u32) -> Money {
        let (counted, spent) = self.spent;
        if counted == cycle { spent } else { Money::ZERO }
    }
}
