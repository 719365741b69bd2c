//! An account: its buckets, its credit line, what is held, and the order in which they pay.
//!
//! Reserved sums live in memory only: they are rebuilt from the open sessions at start and compared by the audit.
//! Nothing here knows protocols, sessions or tariffs.
//!
//! Invariants:
//! - `reserved` of a bucket or credit line is the sum of the [`Reservation`]s that name it;
//! - a reservation never lifts `reserved` above the balance (reported overuse may still take the balance below it);
//! - for every unit, opening + what came in - what went out = what is there ([`Account::proof`]).

use std::sync::Arc;

use smallvec::SmallVec;

use crate::calendar::Zone;
use crate::cdr::{CdrKind, Movement, Movements, Payer};
use crate::ids::{
    AccountId, BucketId, CdrPosition, CounterId, GroupId, OfferName, RatingGroup, ServiceId, SubscriberId, TenantId,
};
use crate::money::{Currency, Money};
use crate::period::Cycle;
use crate::session::EVENT_KEPT_SECONDS;
use crate::tariff::{Service, ServiceKey};
use crate::time::Timestamp;
use crate::units::Unit;

/// How long after the end of its validity what is left in a bucket lapses, seconds: what was used before may be reported
/// until then.
pub const LAPSE_GRACE_SECONDS: i64 = 3600;

/// What a bucket holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holding {
    /// The account's currency, in micro-units.
    Money,
    /// Seconds, octets or events.
    Units(Unit),
}

/// How a bucket came to be: money that was paid is a liability to finance, what was granted is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Paid by the subscriber.
    Paid,
    /// A gift, a bonus.
    Granted,
}

/// Which traffic a bucket pays for; empty lists mean "any".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketScope {
    /// Services it serves.
    pub services: Box<[Service]>,
    /// Rating groups it serves.
    pub rating_groups: Box<[RatingGroup]>,
    /// Service identifiers it serves.
    pub service_ids: Box<[ServiceId]>,
}

impl BucketScope {
    fn serves(&self, service: Service, key: &ServiceKey) -> bool {
        (self.services.is_empty() || self.services.contains(&service))
            && (self.rating_groups.is_empty()
                || key.rating_group.is_some_and(|group| self.rating_groups.contains(&group)))
            && (self.service_ids.is_empty() || key.services.iter().any(|id| self.service_ids.contains(id)))
    }
}

/// A bucket: an amount with a validity, a priority and a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Unique in the account.
    pub id: BucketId,
    /// What it holds.
    pub holding: Holding,
    /// Paid or granted.
    pub origin: Origin,
    /// Micro-units or units. Below zero only by reported overuse (R23).
    pub balance: i64,
    /// Held by open sessions. In memory only.
    pub reserved: i64,
    /// Lower pays earlier (R17).
    pub priority: u16,
    /// First instant at which it pays.
    pub valid_from: Timestamp,
    /// First instant at which it no longer pays; [`Timestamp::NEVER`] for always.
    pub valid_to: Timestamp,
    /// What it pays for; `None` for anything.
    pub scope: Option<Box<BucketScope>>,
    /// How it came to be, where an offer opened it or more is known of it.
    pub terms: Option<Box<Terms>>,
}

/// How a bucket came to be, and what follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The subscription that opened it; 0 for none.
    pub subscription: u32,
    /// What was in it when it was opened, in its unit.
    pub opened: i64,
    /// What was paid for that, in the account's currency: its cost basis.
    pub cost: Money,
    /// How often it has rolled over.
    pub rolled: u8,
    /// The most that one subscriber may use of it.
    pub member_cap: Option<u64>,
}

impl Bucket {
    /// What was paid for the `delta` that comes to (or, below 0, goes from) it: of all units the whole cost, of some the
    /// share, rounded down on what was used so far. Paid money is what it is; what was granted cost nothing.
    pub fn cost_of(&self, delta: i64) -> Money {
        match (self.origin, self.holding, &self.terms) {
            (Origin::Granted, ..) | (_, Holding::Units(_), None) => Money::ZERO,
            (Origin::Paid, Holding::Money, _) => Money::from_micros(delta),
            (Origin::Paid, Holding::Units(_), Some(terms)) => {
                let left = |balance: i64| {
                    let opened = i128::from(terms.opened.max(1));
                    let balance = i128::from(balance).clamp(0, opened);
                    let used = i128::from(terms.cost.micros()) * (opened - balance) / opened;
                    terms.cost.micros().saturating_sub(i64::try_from(used).unwrap_or(i64::MAX))
                };
                let after = left(self.balance.saturating_add(delta));
                Money::from_micros(after.saturating_sub(left(self.balance)))
            }
        }
    }

    pub(crate) fn available(&self) -> i64 {
        self.balance.saturating_sub(self.reserved)
    }

    #[inline]
    fn pays(&self, purpose: &Purpose<'_>) -> bool {
        self.valid_from <= purpose.at && purpose.at < self.valid_to && self.serves(purpose)
    }

    /// When something is to be done after its validity: what is left lapses, and later one that an offer opened is forgotten.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let by_offer = self.terms.as_ref().is_some_and(|terms| terms.subscription != 0);
        match self.balance > 0 {
            _ if self.valid_to == Timestamp::NEVER => None,
            true => Some(self.valid_to.plus_seconds(LAPSE_GRACE_SECONDS)),
            false => by_offer.then(|| self.valid_to.plus_seconds(LAPSE_GRACE_SECONDS + EVENT_KEPT_SECONDS)),
        }
    }

    pub(crate) fn member_cap(&self) -> Option<u64> {
        self.terms.as_ref().and_then(|terms| terms.member_cap)
    }

    /// Units that the subscriber of these counters may still take of it.
    fn free_for(&self, counters: &Counters, at: Timestamp) -> u64 {
        let free = u64::try_from(self.available()).unwrap_or(0);
        match self.member_cap() {
            None => free,
            Some(cap) => free.min(cap.saturating_sub(counters.used(&CounterId::new(self.id.as_str()), at))),
        }
    }

    fn serves(&self, purpose: &Purpose<'_>) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.serves(purpose.service, purpose.key))
    }

    /// The order of R17 within one kind.
    fn rank(&self) -> (u16, Timestamp, &BucketId) {
        (self.priority, self.valid_to, &self.id)
    }
}

/// An offer's fee is of no service: only what pays for anything pays it.
const NO_SERVICE: Service = Service::Other(0);

impl<'a> Purpose<'a> {
    /// An offer's fee, which has no `key`.
    pub const fn fee(key: &'a ServiceKey, at: Timestamp) -> Self {
        Self { service: NO_SERVICE, key, at }
    }
}

/// What is to be paid, and when it happened.
#[derive(Clone, Copy, Debug)]
pub struct Purpose<'a> {
    /// The service.
    pub service: Service,
    /// The rating group and service identifiers.
    pub key: &'a ServiceKey,
    /// The instant that decides which buckets are valid (R41).
    pub at: Timestamp,
}

/// A credit line: postpaid, or what a hybrid account may spend beyond its prepaid money (R26).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Spent and held may reach this.
    pub limit: Money,
    /// Charged so far.
    pub spent: Money,
    /// Held by open sessions. In memory only.
    pub reserved: Money,
}

impl Credit {
    fn available(&self) -> Money {
        self.limit.saturating_sub(self.spent).saturating_sub(self.reserved)
    }
}

/// Whether an account may be charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountState {
    /// It may.
    #[default]
    Active,
    /// Not for now; usage reported is still debited.
    Suspended,
    /// Not until a person says so.
    Barred,
    /// Never again.
    Closed,
}

/// Why the amount of a unit on an account changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flow {
    /// Was there when the account was made.
    Opening,
    /// Paid in.
    TopUp,
    /// Given.
    Grant,
    /// Given back.
    Refund,
    /// Used.
    Debit,
    /// Lapsed.
    Expiry,
    /// Put in by a person: it should have been there.
    AdjustmentIn,
    /// Taken out by a person: it should not have been there.
    AdjustmentOut,
    /// Came from another account.
    TransferIn,
    /// Went to another account.
    TransferOut,
}

impl Flow {
    /// Whether it takes away.
    pub const fn is_outflow(self) -> bool {
        matches!(self, Self::Debit | Self::Expiry | Self::AdjustmentOut | Self::TransferOut)
    }
}

/// A running total since the account was made; outflows are kept as positive amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// Of what.
    pub holding: Holding,
    /// By what.
    pub flow: Flow,
    /// How much, in micro-units or units.
    pub amount: i64,
}

/// How much of something a subscriber used so far in a cycle: what tiers of scope 'cycle' and fair use start from (R09).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Unique among the subscriber's.
    pub id: CounterId,
    /// What it counts.
    pub unit: Unit,
    /// Used since the cycle began, in units.
    pub used: u64,
    /// Used in all of the cycle before, for what is reported late.
    pub used_before: u64,
    /// First instant of the cycle.
    pub cycle_start: Timestamp,
    /// First instant after the cycle.
    pub cycle_end: Timestamp,
}

/// Counters of one subscriber; what would need more of them is not counted, and priced as if nothing had been used.
pub const COUNTERS_MAX: usize = 64;

/// A subscriber's counters; most have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(Vec<Counter>);

impl Counters {
    /// Takes them as they are.
    pub fn new(counters: Vec<Counter>) -> Self {
        Self(counters)
    }

    /// All of them.
    pub fn as_slice(&self) -> &[Counter] {
        &self.0
    }

    /// Used of `id` in the cycle that `at` is in: what is later than the cycle counted begins at 0, what is earlier counts
    /// on in the one before.
    pub fn used(&self, id: &CounterId, at: Timestamp) -> u64 {
        match self.0.iter().find(|counter| counter.id == *id) {
            Some(counter) if at >= counter.cycle_end => 0,
            Some(counter) if at < counter.cycle_start => counter.used_before,
            Some(counter) => counter.used,
            None => 0,
        }
    }

    /// Forgets what was counted under these ids.
    pub(crate) fn forget(&mut self, ids: &[CounterId]) {
        self.0.retain(|counter| !ids.contains(&counter.id));
    }

    /// Counts `more` units that were used at `at`; `cycle` is the one that `at` is in, its first instant and the first after.
    pub fn count(&mut self, id: &CounterId, unit: Unit, more: u64, at: Timestamp, cycle: (Timestamp, Timestamp)) {
        let place = self.0.iter().position(|counter| counter.id == *id);
        let place = match place {
            Some(place) => place,
            None if self.0.len() >= COUNTERS_MAX => return,
            None => {
                let (cycle_start, cycle_end) = cycle;
                self.0.push(Counter { id: id.clone(), unit, used: 0, used_before: 0, cycle_start, cycle_end });
                self.0.len() - 1
            }
        };
        let Some(counter) = self.0.get_mut(place) else { return };
        if at >= counter.cycle_end {
            let (cycle_start, cycle_end) = cycle;
            counter.used_before = if counter.cycle_end == cycle_start { counter.used } else { 0 };
            (counter.used, counter.cycle_start, counter.cycle_end) = (0, cycle_start, cycle_end);
        }
        let counted = if at < counter.cycle_start { &mut counter.used_before } else { &mut counter.used };
        *counted = counted.saturating_add(more);
    }
}

/// An account that pays part of what a subscriber of another account of its charging group uses: an employer's (R40).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sponsor {
    /// It.
    pub account: AccountId,
    /// Windows of the tariff, by name, in which it pays for everything.
    pub windows: Box<[Box<str>]>,
    /// Whether its buckets pay first in all others, before the subscriber's own account.
    pub allowance: bool,
}

/// Which of the two accounts that a subscriber's usage may be charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Its own.
    Own,
    /// Its sponsor's.
    Sponsor,
}

/// Who pays for a price line (R40).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paying {
    /// One account, all of it.
    Only(Who),
    /// The sponsor's buckets as far as they go, then the subscriber's own account.
    AllowanceFirst,
}

/// What a subscriber's usage is charged to: all that a charge changes.
#[derive(Debug)]
pub struct Means<'a> {
    /// The subscriber's own account.
    pub account: &'a mut Account,
    /// The account of its sponsor, if it has one, and for what that pays.
    pub sponsor: Option<(&'a mut Account, &'a Sponsor)>,
    /// What the subscriber has used.
    pub counters: &'a mut Counters,
}

/// A copy of all that a charge changes, to be worked on beside it.
#[derive(Debug)]
pub struct Aside {
    account: Account,
    sponsor: Option<Account>,
    counters: Counters,
}

impl Aside {
    /// To be charged, on the terms of `sponsor`.
    pub fn means<'a>(&'a mut self, terms: Option<&'a Sponsor>) -> Means<'a> {
        let Self { account, sponsor, counters } = self;
        Means { account, sponsor: sponsor.as_mut().zip(terms), counters }
    }
}

impl<'m> Means<'m> {
    /// A copy of it.
    pub fn aside(&self) -> Aside {
        let sponsor = self.sponsor.as_ref().map(|(account, _)| (**account).clone());
        Aside { account: self.account.clone(), sponsor, counters: self.counters.clone() }
    }

    /// Takes over what was done to a copy of it.
    pub fn adopt(&mut self, aside: Aside) {
        let Aside { account, sponsor, counters } = aside;
        (*self.account, *self.counters) = (account, counters);
        if let (Some((there, _)), Some(sponsor)) = (&mut self.sponsor, sponsor) {
            **there = sponsor;
        }
    }

    /// On which terms another account pays.
    pub fn terms(&self) -> Option<&'m Sponsor> {
        self.sponsor.as_ref().map(|(_, terms)| *terms)
    }

    /// Who pays for what is used in the window of this name.
    pub fn paying<'w>(&self, window: impl FnOnce() -> &'w str) -> Paying {
        let Some((account, terms)) = &self.sponsor else { return Paying::Only(Who::Own) };
        let window = window();
        if terms.windows.iter().any(|named| **named == *window) {
            Paying::Only(Who::Sponsor)
        } else if terms.allowance && account.state == AccountState::Active {
            Paying::AllowanceFirst
        } else {
            Paying::Only(Who::Own)
        }
    }

    /// One of the accounts; without a sponsor that is its own.
    pub fn of(&self, who: Who) -> &Account {
        match (who, &self.sponsor) {
            (Who::Sponsor, Some((account, _))) => account,
            (Who::Sponsor, None) | (Who::Own, _) => self.account,
        }
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, who: Who) -> &mut Account {
        match (who, &mut self.sponsor) {
            (Who::Sponsor, Some((account, _))) => account,
            (Who::Sponsor, None) | (Who::Own, _) => self.account,
        }
    }

    /// What the subscriber may use of one of the accounts.
    pub fn wallet(&self, who: Who) -> Wallet<'_> {
        Wallet { account: self.of(who), counters: self.counters, on_credit: true }
    }

    /// What pays, the first first.
    pub fn wallets(&self, paying: Paying) -> impl Iterator<Item = (Who, Wallet<'_>)> {
        let (first, then) = match paying {
            Paying::Only(who) => ((who, self.wallet(who)), None),
            Paying::AllowanceFirst => {
                let allowance = Wallet { on_credit: false, ..self.wallet(Who::Sponsor) };
                ((Who::Sponsor, allowance), Some((Who::Own, self.wallet(Who::Own))))
            }
        };
        std::iter::once(first).chain(then)
    }

    /// The accounts, the subscriber's own first.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        let sponsor = self.sponsor.as_ref().map(|(account, _)| &**account);
        std::iter::once(&*self.account).chain(sponsor)
    }

    /// Money held by open sessions, of all accounts.
    pub fn reserved_money(&self) -> Money {
        self.accounts().fold(Money::ZERO, |sum, account| sum.saturating_add(account.reserved_money()))
    }

    /// Takes up to `quantity` units in order and says from where; what no bucket had is not taken.
    pub fn take_units(&mut self, who: Who, unit: Unit, quantity: u64, purpose: Purpose<'_>) -> Movements {
        let Self { account, sponsor, counters } = self;
        let account = match (who, sponsor) {
            (Who::Sponsor, Some((account, _))) => account,
            (Who::Sponsor, None) | (Who::Own, _) => account,
        };
        let mut left = quantity;
        let mut movements = Movements::new();
        for bucket in &mut account.buckets {
            if left == 0 {
                break;
            }
            if bucket.holding != Holding::Units(unit) || !bucket.pays(&purpose) {
                continue;
            }
            let taken = bucket.free_for(counters, purpose.at).min(left);
            let Ok(delta) = i64::try_from(taken) else { continue };
            if taken > 0 {
                movements.push(Movement::of_bucket(bucket, -delta));
                bucket.balance -= delta;
                left -= taken;
                if bucket.member_cap().is_some() {
                    let validity = (bucket.valid_from, bucket.valid_to);
                    counters.count(&CounterId::new(bucket.id.as_str()), unit, taken, purpose.at, validity);
                }
            }
        }
        for movement in &movements {
            count(&mut account.totals, movement.holding, Flow::Debit, movement.delta.saturating_neg());
        }
        movements
    }

    /// Counts what the subscribers of the account use together (R42).
    pub fn pool(&mut self, counter: &CounterId, more: u64) {
        let pools = &mut self.account.contract.get_or_insert_default().pools;
        let full = pools.len() >= POOLS_MAX;
        match pools.iter_mut().find(|(known, _)| known == counter) {
            Some((_, used)) => *used = used.saturating_add(more),
            None if full => {}
            None => pools.push((counter.clone(), more)),
        }
    }

    /// The cycle that `at` is in, where nothing else says the months of the calendar in `zone`.
    pub fn cycle(&self, at: Timestamp, zone: &Zone) -> (Timestamp, Timestamp) {
        match self.account.contract.as_ref().and_then(|contract| contract.cycle.as_ref()) {
            Some(cycle) => cycle.at(at),
            None => Cycle::calendar_months(zone).at(at),
        }
    }
}

/// What a subscriber may use of an account.
#[derive(Clone, Copy, Debug)]
pub struct Wallet<'a> {
    /// The account.
    pub account: &'a Account,
    /// What the subscriber has used.
    pub counters: &'a Counters,
    /// Whether the credit line is for it.
    pub on_credit: bool,
}

impl<'a> Wallet<'a> {
    /// Units of `unit` free for `purpose`, bucket by bucket in order (R17), each with its number in that order; of a
    /// shared bucket at most what its member cap leaves the subscriber.
    pub fn units(self, unit: Unit, purpose: Purpose<'a>) -> impl Iterator<Item = (usize, u64)> + 'a {
        let buckets = self.account.buckets.iter().enumerate();
        let paying = buckets
            .filter(move |(_, bucket)| bucket.holding == Holding::Units(unit) && bucket.pays(&purpose))
            .map(move |(number, bucket)| (number, bucket.free_for(self.counters, purpose.at)));
        paying.filter(|(_, free)| *free > 0)
    }

    /// What may be promised of its money, see [`Account::free_purses`].
    pub fn purses(self, purpose: Purpose<'a>) -> impl Iterator<Item = Purse> + 'a {
        let purses = self.account.free_purses(purpose);
        purses.filter(move |purse| self.on_credit || purse.place != Place::Credit)
    }
}

/// What an account has agreed to: the offers it holds, and its billing cycle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contract {
    /// Its billing cycle; `None` for the months of the calendar.
    pub cycle: Option<Cycle>,
    /// Offers it holds, in the order of their purchase.
    pub subscriptions: Vec<Subscription>,
    /// The number of the newest subscription that there was.
    pub last_number: u32,
    /// What its subscribers used together, by counter, since the cycle of the pool began (R42).
    pub pools: Vec<(CounterId, u64)>,
}

/// Pools of one account; what would need more of them is not counted.
const POOLS_MAX: usize = 16;

/// An offer that an account holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Unique in the account, also among those that ended.
    pub number: u32,
    /// The offer.
    pub offer: OfferName,
    /// Its version.
    pub version: u32,
    /// For whom it was bought.
    pub subscriber: SubscriberId,
    /// The number of the cycle it is in, from 0.
    pub cycle: u32,
    /// From where its cycles are counted, and which cycle began there.
    pub anchor: (Timestamp, u32),
    /// First instant of the cycle.
    pub cycle_start: Timestamp,
    /// First instant after it; [`Timestamp::NEVER`] where it does not end.
    pub cycle_end: Timestamp,
    /// Whether it is in a cycle.
    pub state: SubscriptionState,
    /// First instant at which it is over, in whichever cycle that is; [`Timestamp::NEVER`] while nobody said so.
    pub ends_at: Timestamp,
    /// What usage cost the account in the cycle of this number, where the offer has that watched.
    pub spent: (u32, Money),
}

impl Subscription {
    /// Whether no fee of it will follow: it ends with the cycle that it is in, or before.
    pub(crate) fn is_last_cycle(&self) -> bool {
        self.state == SubscriptionState::Active && self.ends_at <= self.cycle_end && self.ends_at != Timestamp::NEVER
    }

    /// Whether any cycle of it has begun.
    pub fn has_begun(&self) -> bool {
        self.cycle_start < self.cycle_end
    }

    /// When something is to be done with it: its cycle turns over, it begins or it ends.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        let cycle = match self.state {
            SubscriptionState::Active => self.cycle_end,
            SubscriptionState::Awaited => self.cycle_start,
            SubscriptionState::Unpaid => Timestamp::NEVER,
        };
        Some(cycle.min(self.ends_at)).filter(|at| *at != Timestamp::NEVER)
    }
}

/// Whether a subscription is in a cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubscriptionState {
    /// It is; another one follows, if the offer renews.
    #[default]
    Active,
    /// The fee of the next cycle, or of the first, could not be paid: it begins when it can.
    Unpaid,
    /// It was bought for later: its first cycle begins at its start, which is its end until then.
    Awaited,
}

/// Where an account's CDRs are: a walk back from the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CdrTrail {
    /// How many there are.
    pub count: u64,
    /// The newest; position 0 when there is none.
    pub last: CdrPosition,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// The charging group it belongs to.
    pub group: GroupId,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// The currency of its money.
    pub currency: Currency,
    /// Whether it may be charged.
    pub state: AccountState,
    /// The credit line, if it is postpaid or hybrid.
    pub credit: Option<Credit>,
    /// Charged beyond everything there was, where no bucket or credit line could go below zero (R23).
    pub debt: Money,
    /// Kept in the order of R17: units before money, then rank.
    pub buckets: Vec<Bucket>,
    /// Running totals, ordered by (holding, flow).
    pub totals: Vec<Total>,
    /// What it has agreed to; most accounts without offers have none.
    pub contract: Option<Box<Contract>>,
    /// Its CDRs.
    pub cdrs: CdrTrail,
}

impl Account {
    /// An active prepaid account that holds nothing.
    pub const fn new(id: AccountId, group: GroupId, tenant: TenantId, currency: Currency) -> Self {
        Self {
            id,
            group,
            tenant,
            currency,
            state: AccountState::Active,
            credit: None,
            debt: Money::ZERO,
            buckets: Vec::new(),
            totals: Vec::new(),
            contract: None,
            cdrs: CdrTrail { count: 0, last: CdrPosition::new(0) },
        }
    }
}

/// What is held for one grant. Made by [`Account::reserve`], consumed by [`Account::release`]: nobody settles twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a reservation that is dropped is never given back"]
pub struct Reservation {
    /// Amounts held per bucket.
    pub buckets: SmallVec<[(BucketId, i64); 2]>,
    /// Amount held of the credit line.
    pub credit: Money,
}

impl Reservation {
    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty() && self.credit == Money::ZERO
    }

    /// Money held: of `account`'s money buckets and of its credit line.
    pub fn money(&self, account: &Account) -> Money {
        let held =
            self.buckets.iter().filter(|(id, _)| account.bucket(id).is_some_and(|b| b.holding == Holding::Money));
        held.fold(self.credit, |sum, (_, amount)| sum.saturating_add(Money::from_micros(*amount)))
    }
}

/// What pays within an account. True until a bucket is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The bucket of this number in the order of R17.
    Bucket(usize),
    /// The credit line.
    Credit,
}

/// What is to be held, where.
pub type Holds = SmallVec<[(Place, i64); 2]>;

/// Something that can pay money, and how much of it is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purse {
    /// The bucket, or the credit line.
    pub place: Place,
    /// Free for a new hold or charge.
    pub available: Money,
}

impl Account {
    /// A bucket by id.
    pub fn bucket(&self, id: &BucketId) -> Option<&Bucket> {
        self.buckets.iter().find(|bucket| bucket.id == *id)
    }

    pub(crate) fn bucket_mut(&mut self, id: &BucketId) -> Option<&mut Bucket> {
        self.buckets.iter_mut().find(|bucket| bucket.id == *id)
    }

    /// Puts the buckets into the order of R17; call after adding one.
    pub fn sort_buckets(&mut self) {
        self.buckets.sort_by(|a, b| {
            let kind = |bucket: &Bucket| bucket.holding == Holding::Money;
            kind(a).cmp(&kind(b)).then_with(|| a.rank().cmp(&b.rank()))
        });
    }

    /// When the next bucket of money or `unit` begins to pay for `purpose`.
    pub fn next_beginning(&self, unit: Unit, purpose: Purpose<'_>) -> Option<Timestamp> {
        let kinds = [Holding::Money, Holding::Units(unit)];
        let later = self.buckets.iter().filter(|bucket| bucket.valid_from > purpose.at && bucket.balance > 0);
        let later = later.filter(|bucket| kinds.contains(&bucket.holding) && bucket.serves(&purpose));
        later.map(|bucket| bucket.valid_from).min()
    }

    /// Everything that can pay money for `purpose`, in order: money buckets (R17), then the credit line (R26).
    pub fn purses<'a>(&'a self, purpose: Purpose<'a>) -> impl Iterator<Item = Purse> + 'a {
        let buckets = self
            .buckets
            .iter()
            .enumerate()
            .filter(move |(_, bucket)| bucket.holding == Holding::Money && bucket.pays(&purpose))
            .map(|(number, bucket)| Purse {
                place: Place::Bucket(number),
                available: Money::from_micros(bucket.available()),
            });
        let credit = self.credit.iter().map(|credit| Purse { place: Place::Credit, available: credit.available() });
        buckets.chain(credit)
    }

    /// What may be promised for `purpose`, purse by purse: what is free in each, the first of it set aside for what the
    /// account owes, since that comes first when money does (R22, R23).
    pub fn free_purses<'a>(&'a self, purpose: Purpose<'a>) -> impl Iterator<Item = Purse> + 'a {
        let mut owed = self.owed();
        self.purses(purpose).map(move |purse| {
            let free = purse.available.max(Money::ZERO);
            let set_aside = free.min(owed);
            owed = owed.saturating_sub(set_aside);
            Purse { available: free.saturating_sub(set_aside), ..purse }
        })
    }

    /// Debt, and what money buckets and the credit line are short of: spent or held beyond what there is.
    pub fn owed(&self) -> Money {
        let short = |available: Money| Money::ZERO.saturating_sub(available).max(Money::ZERO);
        let buckets = self.buckets.iter().filter(|bucket| bucket.holding == Holding::Money);
        let buckets = buckets.map(|bucket| short(Money::from_micros(bucket.available())));
        let credit = self.credit.iter().map(|credit| short(credit.available()));
        buckets.chain(credit).fold(self.debt, Money::saturating_add)
    }

    /// Money that may be promised for `purpose` in all.
    pub fn money_available(&self, purpose: Purpose<'_>) -> Money {
        self.free_purses(purpose).map(|purse| purse.available).fold(Money::ZERO, Money::saturating_add)
    }

    /// Holds what `wanted` says. The caller has taken the amounts from [`Wallet::units`] and
    /// [`Wallet::purses`] of this very state.
    pub fn reserve(&mut self, wanted: &[(Place, i64)]) -> Reservation {
        let mut reservation = Reservation::default();
        for (place, amount) in wanted {
            match place {
                Place::Bucket(number) => {
                    if let Some(bucket) = self.buckets.get_mut(*number) {
                        bucket.reserved = bucket.reserved.saturating_add(*amount);
                        reservation.buckets.push((bucket.id.clone(), *amount));
                    }
                }
                Place::Credit => {
                    if let Some(credit) = &mut self.credit {
                        credit.reserved = credit.reserved.saturating_add(Money::from_micros(*amount));
                        reservation.credit = reservation.credit.saturating_add(Money::from_micros(*amount));
                    }
                }
            }
        }
        reservation
    }

    /// Counts a reservation that was loaded from disk among what is held.
    pub fn hold_again(&mut self, reservation: &Reservation) {
        for (id, amount) in &reservation.buckets {
            if let Some(bucket) = self.bucket_mut(id) {
                bucket.reserved = bucket.reserved.saturating_add(*amount);
            }
        }
        if let Some(credit) = &mut self.credit {
            credit.reserved = credit.reserved.saturating_add(reservation.credit);
        }
    }

    /// Holds what a reservation held that was given back, as far as it is still free.
    pub fn reserve_again(&mut self, given_back: &Reservation) -> Reservation {
        let mut reservation = Reservation::default();
        for (id, amount) in &given_back.buckets {
            if let Some(bucket) = self.bucket_mut(id) {
                let amount = bucket.available().max(0).min(*amount);
                if amount > 0 {
                    bucket.reserved = bucket.reserved.saturating_add(amount);
                    reservation.buckets.push((id.clone(), amount));
                }
            }
        }
        if let Some(credit) = &mut self.credit {
            reservation.credit = credit.available().max(Money::ZERO).min(given_back.credit);
            credit.reserved = credit.reserved.saturating_add(reservation.credit);
        }
        reservation
    }

    /// Gives back what was held.
    #[expect(clippy::needless_pass_by_value, reason = "consumed: nobody gives back twice")]
    pub fn release(&mut self, reservation: Reservation) {
        for (id, amount) in &reservation.buckets {
            if let Some(bucket) = self.bucket_mut(id) {
                bucket.reserved = bucket.reserved.saturating_sub(*amount);
            }
        }
        if let Some(credit) = &mut self.credit {
            credit.reserved = credit.reserved.saturating_sub(reservation.credit);
        }
    }

    /// Debits `amount` (not negative) in order, overuse included (R23): what is free in each purse first, leaving what
    /// other sessions hold; the shortfall drives the credit line, else the last money bucket below what it has, else it
    /// stays as debt. `None`, and nothing changed, when a balance would not fit.
    pub fn take_money(&mut self, amount: Money, purpose: Purpose<'_>) -> Option<Movements> {
        let mut movements = Movements::new();
        if amount == Money::ZERO {
            return Some(movements);
        }
        let mut left = amount;
        let mut takes: SmallVec<[(Place, Money); 2]> = SmallVec::new();
        for purse in self.purses(purpose) {
            let taken = purse.available.min(left).max(Money::ZERO);
            left = left.checked_sub(taken)?;
            takes.push((purse.place, taken));
            if left == Money::ZERO {
                break;
            }
        }
        // The last money bucket in the order, or the credit line where there is one, takes the shortfall.
        let owed = match takes.last_mut() {
            Some((_, taken)) => {
                *taken = taken.checked_add(left)?;
                Money::ZERO
            }
            None => left,
        };
        // Everything is checked here, so that nothing below can fail halfway.
        self.countable(Holding::Money, Flow::Debit, amount.micros())?;
        self.debt.checked_add(owed)?;
        for (place, taken) in &takes {
            match place {
                Place::Bucket(number) => self.buckets.get(*number)?.balance.checked_sub(taken.micros()).map(|_| ())?,
                Place::Credit => self.credit?.spent.checked_add(*taken).map(|_| ())?,
            }
        }
        for (place, taken) in takes.iter().filter(|(_, taken)| *taken != Money::ZERO) {
            let delta = taken.micros().saturating_neg();
            match place {
                Place::Bucket(number) => {
                    if let Some(bucket) = self.buckets.get_mut(*number) {
                        movements.push(Movement::of_bucket(bucket, delta));
                        bucket.balance = bucket.balance.saturating_add(delta);
                    }
                }
                Place::Credit => {
                    if let Some(credit) = &mut self.credit {
                        movements.push(Movement::of_credit(credit, delta));
                        credit.spent = credit.spent.saturating_add(*taken);
                    }
                }
            }
        }
        if owed != Money::ZERO {
            movements.push(Movement::of_debt(self.debt, owed.micros().saturating_neg()));
            self.debt = self.debt.saturating_add(owed);
        }
        count(&mut self.totals, Holding::Money, Flow::Debit, amount.micros());
        Some(movements)
    }

    /// Where `parts` of a charge (each amount is what goes back, positive) go at `now`: to who paid, but what was owed and has
    /// been paid since goes to where money is kept longest. `None` when there is no such place.
    pub fn way_back(&self, parts: &[(Payer, Holding, i64)], now: Timestamp) -> Option<Vec<(Payer, Holding, i64)>> {
        let mut owed = self.debt.micros().max(0);
        let mut settled: Vec<(Payer, Holding, i64)> = Vec::with_capacity(parts.len());
        for (payer, holding, amount) in parts {
            let paid_since = if *payer == Payer::Debt { amount.saturating_sub(owed).max(0) } else { 0 };
            if *payer == Payer::Debt {
                owed -= amount - paid_since;
            }
            if *amount > paid_since {
                settled.push((payer.clone(), *holding, amount - paid_since));
            }
            if paid_since > 0 {
                settled.push((self.keeper(now)?, *holding, paid_since));
            }
        }
        Some(settled)
    }

    /// Gives back `parts` of a charge (R29), see [`Self::way_back`]. `None`, and nothing changed, when a bucket is gone or a
    /// balance would not fit.
    pub fn give_back(&mut self, parts: &[(Payer, Holding, i64)], now: Timestamp) -> Option<Movements> {
        let parts = &self.way_back(parts, now)?[..];
        for (payer, _, amount) in parts {
            match payer {
                Payer::Bucket(id) => self.bucket(id)?.balance.checked_add(*amount).map(|_| ())?,
                Payer::Credit => self.credit?.spent.checked_sub(Money::from_micros(*amount)).map(|_| ())?,
                Payer::Debt => self.debt.checked_sub(Money::from_micros(*amount)).map(|_| ())?,
            }
        }
        for holding in parts.iter().map(|(_, holding, _)| *holding) {
            let mut back = parts.iter().filter(|(_, other, _)| *other == holding);
            let back = back.try_fold(0i64, |sum, (_, _, amount)| sum.checked_add(*amount))?;
            self.countable(holding, Flow::Refund, back)?;
        }
        let mut movements = Movements::with_capacity(parts.len());
        for (payer, holding, amount) in parts {
            match payer {
                Payer::Bucket(id) => {
                    if let Some(bucket) = self.bucket_mut(id) {
                        movements.push(Movement::of_bucket(bucket, *amount));
                        bucket.balance = bucket.balance.saturating_add(*amount);
                    }
                }
                Payer::Credit => {
                    if let Some(credit) = &mut self.credit {
                        movements.push(Movement::of_credit(credit, *amount));
                        credit.spent = credit.spent.saturating_sub(Money::from_micros(*amount));
                    }
                }
                Payer::Debt => {
                    movements.push(Movement::of_debt(self.debt, *amount));
                    self.debt = self.debt.saturating_sub(Money::from_micros(*amount));
                }
            }
            count(&mut self.totals, *holding, Flow::Refund, *amount);
        }
        Some(movements)
    }

    /// What it has got back of charges so far, by what it holds: it only ever grows.
    pub fn given_back(&self) -> Vec<(Holding, i64)> {
        let totals = self.totals.iter().filter(|total| total.flow == Flow::Refund && total.amount != 0);
        let mut back: Vec<_> = totals.map(|total| (total.holding, total.amount)).collect();
        back.sort_unstable();
        back
    }

    /// Where money is kept longest: the money bucket that ends last, if it has not ended, else the credit line, else that
    /// bucket, from which it lapses.
    fn keeper(&self, now: Timestamp) -> Option<Payer> {
        let money = self.buckets.iter().filter(|bucket| bucket.holding == Holding::Money);
        let last = money.max_by_key(|bucket| bucket.valid_to);
        let credit = self.credit.map(|_| Payer::Credit);
        let open = last.filter(|bucket| bucket.valid_to > now || credit.is_none());
        open.map(|bucket| Payer::Bucket(bucket.id.clone())).or(credit)
    }

    /// Pays `amount` in: debt first, then what money buckets are below zero, the rest to `bucket`, which is added when it
    /// is new. `None`, and nothing changed, when a balance would not fit or a bucket of that id holds something else.
    ///
    /// A bucket that had ended lapses first: what no session holds of it is gone, so that the new validity brings no old
    /// money back.
    /// Its CDR is of kind `kind`.
    pub fn top_up(&mut self, kind: CdrKind, amount: Money, bucket: Bucket, now: Timestamp) -> Option<Movements> {
        let mut paid = self.clone();
        let movements = paid.pay_in(kind, amount, bucket, now)?;
        *self = paid;
        Some(movements)
    }

    fn pay_in(&mut self, kind: CdrKind, amount: Money, bucket: Bucket, now: Timestamp) -> Option<Movements> {
        let mut movements = Movements::new();
        if let Some(ended) = self.bucket_mut(&bucket.id).filter(|it| it.holding == Holding::Money && it.valid_to <= now)
        {
            let lapsed = ended.available().max(0);
            if lapsed > 0 {
                movements.push(Movement::of_bucket(ended, lapsed.checked_neg()?));
                ended.balance = ended.balance.checked_sub(lapsed)?;
            }
        }
        let repaid = self.debt.min(amount).max(Money::ZERO);
        let mut left = amount.checked_sub(repaid)?;
        if repaid > Money::ZERO {
            movements.push(Movement::of_debt(self.debt, repaid.micros()));
            self.debt = self.debt.checked_sub(repaid)?;
        }
        for short in self.buckets.iter_mut().filter(|it| it.holding == Holding::Money && it.balance < 0) {
            let lifted = Money::from_micros(short.balance.checked_neg()?).min(left);
            if lifted > Money::ZERO {
                movements.push(Movement::of_bucket(short, lifted.micros()));
                short.balance = short.balance.checked_add(lifted.micros())?;
                left = left.checked_sub(lifted)?;
            }
        }
        if self.bucket(&bucket.id).is_none() {
            self.buckets.push(Bucket { balance: 0, reserved: 0, holding: Holding::Money, ..bucket.clone() });
        }
        let target = self.bucket_mut(&bucket.id).filter(|target| target.holding == Holding::Money)?;
        if left > Money::ZERO {
            movements.push(Movement::of_bucket(target, left.micros()));
            target.balance = target.balance.checked_add(left.micros())?;
        }
        // What somebody gives lets nothing of theirs live longer.
        if kind != CdrKind::Transfer {
            target.valid_to = target.valid_to.max(bucket.valid_to);
        }
        self.sort_buckets();
        for movement in &movements {
            let (flow, amount) = (kind.flow(movement), movement.delta.checked_abs()?);
            self.countable(Holding::Money, flow, amount)?;
            count(&mut self.totals, Holding::Money, flow, amount);
        }
        Some(movements)
    }

    /// Puts `amount` into a bucket that is there or, below 0, takes it out of what no session holds of it; its CDR is of kind
    /// `kind`. `None`, and nothing changed, when there is not so much, or a sum would not fit.
    pub fn move_in_bucket(&mut self, kind: CdrKind, id: &BucketId, amount: i64) -> Option<Movement> {
        let bucket = self.bucket(id).filter(|bucket| amount >= 0 || bucket.available() >= amount.saturating_neg())?;
        let (movement, balance) = (Movement::of_bucket(bucket, amount), bucket.balance.checked_add(amount)?);
        let (flow, counted) = (kind.flow(&movement), amount.checked_abs()?);
        self.countable(movement.holding, flow, counted)?;
        count(&mut self.totals, movement.holding, flow, counted);
        self.bucket_mut(id)?.balance = balance;
        Some(movement)
    }

    /// Adds a bucket that is empty, and puts into it what it was opened with; `None`, and nothing changed, when its id is
    /// taken or a total would not fit.
    pub fn open_bucket(&mut self, bucket: Bucket, amount: i64) -> Option<Movement> {
        if self.bucket(&bucket.id).is_some() {
            return None;
        }
        self.countable(bucket.holding, Flow::Grant, amount)?;
        let mut bucket = Bucket { balance: 0, reserved: 0, ..bucket };
        let movement = Movement::of_bucket(&bucket, amount);
        bucket.balance = amount;
        count(&mut self.totals, bucket.holding, Flow::Grant, amount);
        self.buckets.push(bucket);
        self.sort_buckets();
        Some(movement)
    }

    /// Takes `amount` of what no session holds out of a bucket, for good; `None` when there is nothing to take.
    pub fn lapse(&mut self, id: &BucketId, amount: i64) -> Option<Movement> {
        let bucket = self.bucket_mut(id)?;
        let amount = amount.min(bucket.available());
        if amount <= 0 {
            return None;
        }
        let movement = Movement::of_bucket(bucket, -amount);
        bucket.balance -= amount;
        let holding = bucket.holding;
        count(&mut self.totals, holding, Flow::Expiry, amount);
        Some(movement)
    }

    /// Whether it holds an offer for this subscriber, whatever its state.
    pub fn has_bought(&self, offer: &OfferName, subscriber: SubscriberId) -> bool {
        let mut held = self.contract.iter().flat_map(|contract| &contract.subscriptions);
        held.any(|held| held.offer == *offer && held.subscriber == subscriber)
    }

    /// Whether it holds an offer for this subscriber that is in a cycle at `at`.
    pub fn holds(&self, offer: &OfferName, subscriber: SubscriberId, at: Timestamp) -> bool {
        let mut held = self.contract.iter().flat_map(|contract| &contract.subscriptions);
        held.any(|held| {
            held.offer == *offer
                && held.subscriber == subscriber
                && held.cycle_start <= at
                && at < held.cycle_end.min(held.ends_at)
                && held.state == SubscriptionState::Active
        })
    }

    /// Writes the opening totals of a new account from what it holds; `None` when a sum does not fit.
    pub fn open_totals(&mut self) -> Option<()> {
        self.totals.clear();
        for (holding, amount) in self.closing() {
            count(&mut self.totals, holding, Flow::Opening, i64::try_from(amount).ok()?);
        }
        Some(())
    }

    /// `None` when so much more would not fit into a running total, whose proof would be lost.
    pub fn countable(&self, holding: Holding, flow: Flow, amount: i64) -> Option<()> {
        self.total(holding, flow).checked_add(amount).map(|_| ())
    }

    /// What is there, per holding: buckets, less what was spent on credit and what is owed.
    pub fn closing(&self) -> Vec<(Holding, i128)> {
        let mut sums: Vec<(Holding, i128)> = Vec::new();
        let mut add = |holding: Holding, amount: i128| match sums.iter_mut().find(|(known, _)| *known == holding) {
            Some((_, sum)) => *sum += amount,
            None => sums.push((holding, amount)),
        };
        for bucket in &self.buckets {
            add(bucket.holding, bucket.balance.into());
        }
        if let Some(credit) = self.credit {
            add(Holding::Money, -i128::from(credit.spent.micros()));
        }
        if self.debt != Money::ZERO {
            add(Holding::Money, -i128::from(self.debt.micros()));
        }
        sums.sort_unstable();
        sums
    }

    /// Whether opening + inflows - outflows is what is there; otherwise the holding that does not add up, with what
    /// the totals say and what is there.
    pub fn proof(&self) -> Result<(), (Holding, i128, i128)> {
        let closing = self.closing();
        let holdings = self.totals.iter().map(|total| total.holding).chain(closing.iter().map(|(holding, _)| *holding));
        for holding in holdings {
            let totals = self.totals.iter().filter(|total| total.holding == holding);
            let expected: i128 = totals
                .map(|total| if total.flow.is_outflow() { -i128::from(total.amount) } else { total.amount.into() })
                .sum();
            let there = closing.iter().find(|(known, _)| *known == holding).map_or(0, |(_, amount)| *amount);
            if expected != there {
                return Err((holding, expected, there));
            }
        }
        Ok(())
    }

    /// Total of one flow of one holding since the account was made.
    pub fn total(&self, holding: Holding, flow: Flow) -> i64 {
        self.totals.iter().find(|total| total.holding == holding && total.flow == flow).map_or(0, |total| total.amount)
    }

    /// Money in buckets, whatever its validity.
    pub fn money(&self) -> Money {
        let money = self.buckets.iter().filter(|bucket| bucket.holding == Holding::Money);
        money.fold(Money::ZERO, |sum, bucket| sum.saturating_add(Money::from_micros(bucket.balance)))
    }

    /// Money held by open sessions, of buckets and of the credit line.
    pub fn reserved_money(&self) -> Money {
        let held = self.buckets.iter().filter(|bucket| bucket.holding == Holding::Money);
        let held = held.fold(Money::ZERO, |sum, bucket| sum.saturating_add(Money::from_micros(bucket.reserved)));
        held.saturating_add(self.credit.map_or(Money::ZERO, |credit| credit.reserved))
    }
}

fn count(totals: &mut Vec<Total>, holding: Holding, flow: Flow, amount: i64) {
    // They are few, and looking at each is quicker than searching.
    if let Some(total) = totals.iter_mut().find(|total| total.holding == holding && total.flow == flow) {
        total.amount = total.amount.saturating_add(amount);
        return;
    }
    let place = totals.partition_point(|total| (total.holding, total.flow) < (holding, flow));
    totals.insert(place, Total { holding, flow, amount });
}

/// A subscriber: who uses, under which tariff, paid by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Internal id; CDRs name the subscriber by it.
    pub id: SubscriberId,
    /// The tenant.
    pub tenant: TenantId,
    /// The account that pays.
    pub account: AccountId,
    /// The charging group of that account.
    pub group: GroupId,
    /// The tariff that its usage is charged by.
    pub tariff: crate::ids::TariffName,
    /// Whether it may use anything.
    pub state: AccountState,
    /// What it used so far in its cycles.
    pub counters: Counters,
    /// Whoever else pays for it.
    pub sponsor: Option<Arc<Sponsor>>,
}
