//! Offers in time: bought, renewed, ended; what they open, what of it rolls over and what lapses (R17, R20).
//!
//! What is due happens at the instant it is due, however late anybody looks: fees and validities are of that instant.

use std::cmp::Reverse;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Scene, Shard, Slot, Tariffs};
use crate::account::{
    Account, AccountState, Bucket, Contract, Holding, Origin, Purpose, Subscriber, Subscription, SubscriptionState,
    Terms,
};
use crate::cdr::{Cause, CdrKind, CdrSource, Movements, OfferCycle, RatedCdr};
use crate::command::{Command, Effects, Mutation, Refusal, Write};
use crate::ids::{AccountId, BucketId, OfferName, SubscriberId, TariffName};
use crate::money::Money;
use crate::offer::{Allowance, OfferVersion};
use crate::period::Cycle;
use crate::table::Table;
use crate::tariff::ServiceKey;
use crate::time::Timestamp;
use crate::units::{Measure, Unit, Units};

/// Offers that one account may hold at once.
const SUBSCRIPTIONS_MAX: usize = 256;
/// Buckets of one account; an offer that would open more is not sold.
pub(super) const BUCKETS_MAX: usize = 512;
/// Ends of cycles and buckets that one call deals with.
const ENDS_AT_ONCE: usize = 64;
/// When it is looked again whether what a session held of an ended bucket is free, seconds.
const HELD_SECONDS: i64 = 3600;

/// How far a client's clock may lag for an offer to be bought as of its time, seconds.
const FIRST_USE_SECONDS: u64 = 600;

/// Something of an account whose time has come.
enum Due {
    /// The subscription at this place begins, turns over or ends.
    Subscription(usize),
    /// This bucket.
    Bucket(BucketId),
}

/// Why CDRs are made, and where they come from.
#[derive(Clone, Copy)]
pub(super) struct Occasion<'a> {
    /// When it is dealt with.
    pub(super) now: Timestamp,
    /// When it happened.
    pub(super) at: Timestamp,
    pub(super) cause: Cause,
    pub(super) source: &'a CdrSource,
    /// How many subscribers the account has.
    pub(super) members: &'a dyn Fn() -> u64,
}

/// The subscribers of an account. A walk: only what is due with an offer for each of them asks.
pub(super) fn members(subscribers: &Table<Slot<Subscriber>>, account: AccountId) -> u64 {
    let of_account = subscribers.values().filter(|slot| slot.value.account == account);
    u64::try_from(of_account.count()).unwrap_or(u64::MAX)
}

/// The version of an offer that is asked for; the newest, if none is.
pub(super) fn named<'t>(
    tariffs: &'t Tariffs,
    offer: &OfferName,
    version: Option<u32>,
) -> Result<&'t Arc<OfferVersion>, Refusal> {
    tariffs.offer(offer, version).ok_or(Refusal::Invalid("no such offer, or not in this version"))
}

/// A subscriber whose tariff is another one, for an offer began that has it.
pub(super) type Assigned = (SubscriberId, TariffName);

/// Whether the account may hold an offer for a subscriber from `begins` on, beside what else it holds then.
pub(super) fn may_hold(
    account: &Account,
    tariffs: &Tariffs,
    offer: &OfferVersion,
    subscriber: SubscriberId,
    begins: Timestamp,
) -> Result<(), Refusal> {
    let held = account.contract.iter().flat_map(|contract| &contract.subscriptions);
    for held in held.filter(|held| held.ends_at > begins) {
        let version = tariffs.offer(&held.offer, Some(held.version));
        let lasts = match held.state {
            SubscriptionState::Active => held.cycle_end > begins || version.is_some_and(|version| version.renews()),
            SubscriptionState::Awaited => true,
            SubscriptionState::Unpaid => false,
        };
        if offer.tariff().is_some() && lasts && (&held.offer, held.subscriber) == (offer.name(), subscriber) {
            return Err(Refusal::Invalid("the subscriber holds this offer already"));
        }
        // Each would charge what is used with the other.
        let counter = version.and_then(|version| version.pool()).map(|pool| &pool.counter);
        if counter.is_some() && counter == offer.pool().map(|pool| &pool.counter) {
            return Err(Refusal::Invalid("the account holds another offer with a pool of the same counter"));
        }
    }
    Ok(())
}

impl<'a> Occasion<'a> {
    /// Its time has come at `now`.
    pub(super) const fn due(now: Timestamp, members: &'a dyn Fn() -> u64) -> Self {
        Self { now, at: now, cause: Cause::Due, source: &CdrSource::Calendar, members }
    }

    fn cdr(&self, kind: CdrKind, account: &Account, subscriber: Option<SubscriberId>) -> RatedCdr {
        RatedCdr {
            subscriber,
            usage_start: self.at,
            usage_end: self.at,
            ..RatedCdr::draft(kind, account, self.source.clone(), self.cause, self.now)
        }
    }
}

impl Shard {
    /// Ends what is due on the account that `command` is for, before the command is applied: nobody is charged by what had
    /// ended. `None` when there is nothing.
    pub fn catch_up(&mut self, tariffs: &Tariffs, command: &Command) -> Option<Effects<()>> {
        // Mostly nothing of anything here is due.
        if !self.is_anything_due(command.now) {
            return None;
        }
        let known = self.sessions.get(&command.session).map(|slot| (slot.value.account, &slot.value.sponsor));
        let asked = self.subscribers.get(&command.subscriber).map(|slot| (slot.value.account, &slot.value.sponsor));
        let paying = known.into_iter().chain(asked);
        let paying = paying.map(|(own, sponsor)| (own, sponsor.as_ref().map(|sponsor| sponsor.account)));
        let mut accounts: SmallVec<[AccountId; 4]> = SmallVec::new();
        paying.for_each(|(own, sponsor)| accounts.extend(std::iter::once(own).chain(sponsor)));
        let mut accounts = accounts.into_iter();
        accounts.find_map(|id| self.catch_up_account(tariffs, id, command.now))
    }

    /// The same for what a person or an import asks.
    pub fn catch_up_mutation(&mut self, tariffs: &Tariffs, mutation: &Mutation, now: Timestamp) -> Option<Effects<()>> {
        self.catch_up_account(tariffs, mutation.change.account()?, now)
    }

    /// The same for one account.
    pub fn catch_up_account(&mut self, tariffs: &Tariffs, id: AccountId, now: Timestamp) -> Option<Effects<()>> {
        self.accounts.get(&id).filter(|slot| slot.queued <= now)?;
        let mut effects = super::unchanged(());
        self.end_due(tariffs, id, now, &mut effects);
        Some(effects)
    }

    fn is_anything_due(&self, now: Timestamp) -> bool {
        self.deadlines.peek().is_some_and(|Reverse((next, _))| *next <= now)
    }

    /// Lets what of an account is due at `now` end, each at its own instant and in their order.
    pub(super) fn end_due(&mut self, tariffs: &Tariffs, id: AccountId, now: Timestamp, effects: &mut Effects<()>) {
        let Self { accounts, subscribers, .. } = self;
        let Some(slot) = accounts.get_mut(&id) else { return };
        let account = &mut slot.value;
        let members = || members(subscribers, id);
        // Buckets that sessions still hold of.
        let mut held: Vec<BucketId> = Vec::new();
        let mut assigned: Vec<Assigned> = Vec::new();
        for _ in 0..ENDS_AT_ONCE {
            let Some((at, due)) = next_due(account, &held).filter(|(at, _)| *at <= now) else { break };
            let occasion = Occasion { at, ..Occasion::due(now, &members) };
            match due {
                Due::Subscription(place) => assigned.extend(turn_over(account, tariffs, place, &occasion, effects)),
                Due::Bucket(id) => {
                    if !end_bucket(account, tariffs, &id, &occasion, effects) {
                        held.push(id);
                    }
                }
            }
        }
        let next = next_due(account, &held).map_or(Timestamp::NEVER, |(at, _)| at);
        let next = if held.is_empty() { next } else { next.min(now.plus_seconds(HELD_SECONDS)) };
        effects.writes.push(Write::Account(id));
        self.queue_account_at(id, next);
        self.assign(assigned, effects);
    }

    /// Has subscribers charged by the tariffs of what began for them.
    pub(super) fn assign(&mut self, assigned: impl IntoIterator<Item = Assigned>, effects: &mut Effects<()>) {
        for (subscriber, tariff) in assigned {
            let Some(slot) = self.subscribers.get_mut(&subscriber) else { continue };
            slot.value.tariff = tariff;
            effects.writes.push(Write::Subscriber(subscriber));
        }
    }

    /// Puts an account's deadline in place of any other; not before `earliest`.
    pub(super) fn queue_account(&mut self, id: AccountId, earliest: Timestamp) {
        let Some(slot) = self.accounts.get_mut(&id) else { return };
        let due = next_due(&slot.value, &[]).map_or(Timestamp::NEVER, |(at, _)| at.max(earliest));
        self.queue_account_at(id, due);
    }

    fn queue_account_at(&mut self, id: AccountId, due: Timestamp) {
        let Some(slot) = self.accounts.get_mut(&id).filter(|slot| slot.queued != due) else { return };
        slot.queued = due;
        if due != Timestamp::NEVER {
            self.deadlines.push(Reverse((due, super::Due::Account(id))));
        }
    }
}

/// Whether anything of an account ends some day.
pub(super) fn has_ends(account: &Account) -> bool {
    next_due(account, &[]).is_some()
}

/// What of an account ends first, and when; none of the buckets `held`.
fn next_due(account: &Account, held: &[BucketId]) -> Option<(Timestamp, Due)> {
    let subscriptions = account.contract.iter().flat_map(|contract| contract.subscriptions.iter().enumerate());
    let subscriptions = subscriptions.filter_map(|(place, held)| Some((held.due()?, None, place)));
    let buckets = account.buckets.iter().filter(|bucket| !held.contains(&bucket.id));
    let buckets = buckets.filter_map(|bucket| Some((bucket.ends_at()?, Some(&bucket.id), 0)));
    let (at, bucket, place) = subscriptions.chain(buckets).min_by_key(|(at, ..)| *at)?;
    Some((at, bucket.map_or(Due::Subscription(place), |id| Due::Bucket(id.clone()))))
}

/// Buys an offer for a subscriber of the account: fees are taken, allowances opened, or nothing is changed (R21).
pub(super) fn buy(
    account: &mut Account,
    offer: &Arc<OfferVersion>,
    subscriber: SubscriberId,
    occasion: &Occasion<'_>,
    effects: &mut Effects<()>,
) -> Result<Option<Assigned>, Refusal> {
    let awaited = awaited(account, offer, subscriber, occasion.at)?;
    let (begun, assigned) = begin(account, offer, &awaited, occasion, effects)?;
    hold(account, begun);
    Ok(assigned)
}

/// Buys it for later: its fees are taken when it begins.
pub(super) fn buy_for_later(
    account: &mut Account,
    offer: &Arc<OfferVersion>,
    subscriber: SubscriberId,
    begins: Timestamp,
) -> Result<(), Refusal> {
    let awaited = awaited(account, offer, subscriber, begins)?;
    hold(account, awaited);
    Ok(())
}

fn hold(account: &mut Account, subscription: Subscription) {
    let contract = account.contract.get_or_insert_default();
    contract.last_number = contract.last_number.max(subscription.number);
    contract.subscriptions.push(subscription);
}

/// A subscription that begins then, with the account's next number.
fn awaited(
    account: &Account,
    offer: &OfferVersion,
    subscriber: SubscriberId,
    begins: Timestamp,
) -> Result<Subscription, Refusal> {
    if offer.currency() != account.currency {
        return Err(Refusal::Invalid("the offer is in another currency than the account"));
    }
    let contract = account.contract.as_deref();
    if contract.is_some_and(|contract| contract.subscriptions.len() >= SUBSCRIPTIONS_MAX) {
        return Err(Refusal::Invalid("the account holds 256 offers already; let some of them end"));
    }
    Ok(Subscription {
        number: contract.map_or(0, |contract| contract.last_number).checked_add(1).ok_or(Refusal::OutOfRange)?,
        offer: offer.name().clone(),
        version: offer.version(),
        subscriber,
        cycle: 0,
        anchor: (begins, 0),
        cycle_start: begins,
        cycle_end: begins,
        state: SubscriptionState::Awaited,
        ends_at: Timestamp::NEVER,
        spent: (0, Money::ZERO),
    })
}

/// Begins the first cycle of a subscription: with the fee for setting it up, or nothing is changed.
fn begin(
    account: &mut Account,
    offer: &Arc<OfferVersion>,
    awaited: &Subscription,
    occasion: &Occasion<'_>,
    effects: &mut Effects<()>,
) -> Result<(Subscription, Option<Assigned>), Refusal> {
    if account.state != AccountState::Active {
        return Err(Refusal::Invalid("the account is not active"));
    }
    let at = occasion.at;
    let cycle_end = offer.period().map_or(Timestamp::NEVER, |period| period.after(at, 1, offer.zone()));
    let state = SubscriptionState::Active;
    let begun = Subscription { cycle: 0, anchor: (at, 0), cycle_start: at, cycle_end, state, ..awaited.clone() };
    whole(account, effects, |account, effects| {
        take_fee(account, CdrKind::OneTime, offer.setup_fee(), offer, &begun, occasion, effects)?;
        begin_cycle(account, offer, &begun, occasion, effects)
    })?;
    let contract = account.contract.get_or_insert_default();
    if let (Some(period), Some(_), None) = (offer.period(), offer.tariff(), &contract.cycle) {
        contract.cycle = Some(Cycle { anchor: at, period, zone: offer.zone().clone() });
    }
    let assigned = offer.tariff().map(|tariff| (begun.subscriber, tariff.clone()));
    Ok((begun, assigned))
}

/// Does all of something or nothing of it: beside the original, so that a refusal in the middle leaves nothing behind.
pub(super) fn whole(
    account: &mut Account,
    effects: &mut Effects<()>,
    act: impl FnOnce(&mut Account, &mut Effects<()>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut paying = account.clone();
    let mut made = super::unchanged(());
    act(&mut paying, &mut made)?;
    *account = paying;
    effects.cdrs.append(&mut made.cdrs);
    let charged = made.facts.charged_micros;
    effects.facts.charged_micros = effects.facts.charged_micros.saturating_add(charged);
    Ok(())
}

/// Buys the offer that a price names, unless the subscriber holds it or cannot pay for it.
pub(super) fn buy_at_first_use(
    scene: &Scene<'_>,
    account: &mut Account,
    key: &ServiceKey,
    offer: &OfferName,
    effects: &mut Effects<()>,
) {
    if scene.barred.is_some() || account.holds(offer, scene.subscriber, scene.now) {
        return;
    }
    let Some(offer) = scene.tariffs.offer(offer, None) else { return };
    let source = scene.source(key);
    // As of when it is used by the client's clock, unless that is far off: what comes is used from then on.
    let is_close = scene.now.seconds_since(scene.when) < FIRST_USE_SECONDS;
    let at = if is_close { scene.when.min(scene.now) } else { scene.now };
    let occasion = Occasion { now: scene.now, at, cause: Cause::FirstUse, source: &source, members: &|| 1 };
    // Without the money for it the price is charged as it is.
    let _ = buy(account, offer, scene.subscriber, &occasion, effects);
}

/// Takes the fee of a cycle and opens what it brings; nothing of it when the fee cannot be paid.
fn begin_cycle(
    account: &mut Account,
    offer: &Arc<OfferVersion>,
    subscription: &Subscription,
    occasion: &Occasion<'_>,
    effects: &mut Effects<()>,
) -> Result<(), Refusal> {
    let kind = if offer.renews() { CdrKind::Recurring } else { CdrKind::OneTime };
    let members = if offer.is_per_member() { (occasion.members)() } else { 1 };
    let fee = offer.fee_for(members).ok_or(Refusal::OutOfRange)?;
    take_fee(account, kind, fee, offer, subscription, occasion, effects)?;
    open_allowances(account, offer, subscription, occasion, effects)
}

fn take_fee(
    account: &mut Account,
    kind: CdrKind,
    fee: Money,
    offer: &Arc<OfferVersion>,
    subscription: &Subscription,
    occasion: &Occasion<'_>,
    effects: &mut Effects<()>,
) -> Result<(), Refusal> {
    if fee == Money::ZERO {
        return Ok(());
    }
    let key = ServiceKey::default();
    let purpose = Purpose::fee(&key, occasion.at);
    if account.money_available(purpose) < fee {
        return Err(Refusal::CreditLimitReached);
    }
    let movements = account.take_money(fee, purpose).ok_or(Refusal::OutOfRange)?;
    effects.facts.charged_micros = effects.facts.charged_micros.saturating_add(fee.micros());
    effects.cdrs.push(RatedCdr {
        amount: fee,
        movements,
        offer: Some(cycle_of(offer, subscription)),
        usage_end: end_of(subscription),
        ..occasion.cdr(kind, account, Some(subscription.subscriber))
    });
    Ok(())
}

fn open_allowances(
    account: &mut Account,
    offer: &Arc<OfferVersion>,
    subscription: &Subscription,
    occasion: &Occasion<'_>,
    effects: &mut Effects<()>,
) -> Result<(), Refusal> {
    let mut movements = Movements::new();
    for (allowance, cost) in offer.allowances() {
        if account.buckets.len() >= BUCKETS_MAX {
            return Err(Refusal::Invalid("the account has 512 buckets already; let some of them end"));
        }
        let bucket = bucket_of(allowance, cost, offer, subscription);
        movements.push(account.open_bucket(bucket, allowance.amount).ok_or(Refusal::OutOfRange)?);
    }
    if !movements.is_empty() {
        effects.cdrs.push(RatedCdr {
            amount: money_out(&movements),
            movements,
            offer: Some(cycle_of(offer, subscription)),
            usage_end: end_of(subscription),
            ..occasion.cdr(CdrKind::Allowance, account, Some(subscription.subscriber))
        });
    }
    Ok(())
}

fn bucket_of(allowance: &Allowance, cost: Money, offer: &OfferVersion, subscription: &Subscription) -> Bucket {
    let Subscription { number, cycle, cycle_start, cycle_end, ends_at, .. } = *subscription;
    let valid_to = allowance.validity.map_or(cycle_end, |validity| validity.after(cycle_start, 1, offer.zone()));
    // What is cancelled with its cycle lets what it opened live as long as it does.
    let ends_at = if ends_at < cycle_end { ends_at } else { Timestamp::NEVER };
    // Of several cycles' buckets the older has the lower id, and pays first (R17).
    let id = BucketId::new(&format!("{}#{number}.{cycle:04}", allowance.name));
    let terms = Terms {
        subscription: number,
        opened: allowance.amount,
        cost: if allowance.origin == Origin::Paid { cost } else { Money::ZERO },
        rolled: 0,
        member_cap: allowance.member_cap,
    };
    Bucket {
        id,
        holding: allowance.holding,
        origin: allowance.origin,
        balance: 0,
        reserved: 0,
        priority: allowance.priority,
        valid_from: cycle_start,
        valid_to: valid_to.min(ends_at),
        scope: allowance.scope.clone(),
        terms: Some(Box::new(terms)),
    }
}

/// When its cycle ends; where it never does there is nothing to say.
fn end_of(subscription: &Subscription) -> Timestamp {
    let Subscription { cycle_start, cycle_end, .. } = *subscription;
    if cycle_end == Timestamp::NEVER { cycle_start } else { cycle_end }
}

fn cycle_of(offer: &Arc<OfferVersion>, subscription: &Subscription) -> OfferCycle {
    OfferCycle { offer: offer.clone(), subscription: subscription.number, cycle: subscription.cycle }
}

/// Does what is due with a subscription: it ends, or its first cycle or another one begins, if that can be paid.
fn turn_over(
    account: &mut Account,
    tariffs: &Tariffs,
    place: usize,
    occasion: &Occasion<'_>,
    effects: &mut Effects<()>,
) -> Option<Assigned> {
    let held = account.contract.as_ref()?.subscriptions.get(place)?.clone();
    if held.ends_at <= occasion.at {
        end(account, tariffs, place, held.ends_at < held.cycle_end, occasion, effects);
        return None;
    }
    let offer = tariffs.offer(&held.offer, Some(held.version));
    let unpaid = Subscription { state: SubscriptionState::Unpaid, ..held.clone() };
    let (next, assigned) = match (offer, held.state) {
        (Some(offer), SubscriptionState::Awaited) => {
            begin(account, offer, &held, occasion, effects).unwrap_or((unpaid, None))
        }
        (Some(offer), SubscriptionState::Active | SubscriptionState::Unpaid) if offer.renews() => {
            charge_pool(account, offer, &held, occasion, effects);
            let next = next_cycle(&held, offer, held.anchor);
            (if renew(account, offer, &next, occasion, effects) { next } else { unpaid }, None)
        }
        (Some(_), SubscriptionState::Active | SubscriptionState::Unpaid) | (None, _) => {
            end(account, tariffs, place, false, occasion, effects);
            return None;
        }
    };
    if let Some(known) = subscription_at(&mut account.contract, place) {
        *known = next;
    }
    assigned
}

/// Ends a subscription; with `all`, what it opened ends with it and lapses like any other bucket.
pub(super) fn end(
    account: &mut Account,
    tariffs: &Tariffs,
    place: usize,
    all: bool,
    occasion: &Occasion<'_>,
    effects: &mut Effects<()>,
) {
    let held = account.contract.as_ref().and_then(|contract| contract.subscriptions.get(place)).cloned();
    let Some(held) = held else { return };
    let offer = tariffs.offer(&held.offer, Some(held.version));
    if let Some(offer) = offer.filter(|_| held.state == SubscriptionState::Active) {
        charge_pool(account, offer, &held, occasion, effects);
    }
    if let Some(contract) = &mut account.contract {
        contract.subscriptions.remove(place);
    }
    if all {
        let opened =
            |bucket: &&mut Bucket| bucket.terms.as_ref().is_some_and(|terms| terms.subscription == held.number);
        for bucket in account.buckets.iter_mut().filter(opened) {
            bucket.valid_to = bucket.valid_to.min(occasion.at);
        }
        account.sort_buckets();
    }
}

/// Charges what the account's subscribers used beyond what they brought (R42): whatever there is to pay it with, as usage
/// is (R23). The next cycle begins at 0.
fn charge_pool(
    account: &mut Account,
    offer: &Arc<OfferVersion>,
    held: &Subscription,
    occasion: &Occasion<'_>,
    effects: &mut Effects<()>,
) {
    let Some(pool) = offer.pool() else { return };
    let pools = account.contract.iter_mut().flat_map(|contract| &mut contract.pools);
    let Some(used) = pools.into_iter().find(|(counter, _)| *counter == pool.counter).map(|(_, used)| used) else {
        return;
    };
    let used = std::mem::take(used);
    let key = ServiceKey::default();
    let amount = pool.overage(used, (occasion.members)()).filter(|amount| *amount > Money::ZERO);
    let Some(amount) = amount else { return };
    let Some(movements) = account.take_money(amount, Purpose::fee(&key, occasion.at)) else { return };
    effects.facts.charged_micros = effects.facts.charged_micros.saturating_add(amount.micros());
    let measure = match pool.unit {
        Unit::Second => Measure::Seconds,
        Unit::Octet => Measure::TotalOctets,
        Unit::Event => Measure::Events,
    };
    effects.cdrs.push(RatedCdr {
        amount,
        movements,
        offer: Some(cycle_of(offer, held)),
        usage_start: held.cycle_start,
        usage_end: held.cycle_end.min(occasion.at),
        reported: Units::of(measure, used),
        ..occasion.cdr(CdrKind::OneTime, account, Some(held.subscriber))
    });
}

/// Begins the cycles that could not be paid when they were due, counted from now on.
pub(super) fn resume(
    account: &mut Account,
    tariffs: &Tariffs,
    occasion: &Occasion<'_>,
    effects: &mut Effects<()>,
) -> Vec<Assigned> {
    let mut all = Vec::new();
    let count = account.contract.as_ref().map_or(0, |contract| contract.subscriptions.len());
    for place in 0..count {
        let held = account.contract.as_ref().and_then(|contract| contract.subscriptions.get(place)).cloned();
        let Some(held) = held.filter(|held| held.state == SubscriptionState::Unpaid) else { continue };
        let Some(offer) = tariffs.offer(&held.offer, Some(held.version)) else { continue };
        let next = if held.has_begun() {
            let next = next_cycle(&held, offer, (occasion.at, held.cycle.saturating_add(1)));
            renew(account, offer, &next, occasion, effects).then_some(next)
        } else {
            let begun = begin(account, offer, &held, occasion, effects).ok();
            begun.map(|(next, assigned)| {
                all.extend(assigned);
                next
            })
        };
        if let (Some(next), Some(known)) = (next, subscription_at(&mut account.contract, place)) {
            *known = next;
        }
    }
    all
}

fn subscription_at(contract: &mut Option<Box<Contract>>, place: usize) -> Option<&mut Subscription> {
    contract.as_mut().and_then(|contract| contract.subscriptions.get_mut(place))
}

/// The cycle after the one that `held` is in; cycles are counted from `anchor`.
fn next_cycle(held: &Subscription, offer: &OfferVersion, anchor: (Timestamp, u32)) -> Subscription {
    let cycle = held.cycle.saturating_add(1);
    let begin = |number: u32| {
        let times = i64::from(number) - i64::from(anchor.1);
        offer.period().map_or(Timestamp::NEVER, |period| period.after(anchor.0, times, offer.zone()))
    };
    Subscription {
        cycle,
        anchor,
        cycle_start: begin(cycle),
        cycle_end: begin(cycle.saturating_add(1)),
        state: SubscriptionState::Active,
        ..held.clone()
    }
}

/// Whether the cycle `next` was paid and has begun: then what may roll over into it has.
fn renew(
    account: &mut Account,
    offer: &Arc<OfferVersion>,
    next: &Subscription,
    occasion: &Occasion<'_>,
    effects: &mut Effects<()>,
) -> bool {
    if account.state != AccountState::Active {
        return false;
    }
    let begun = whole(account, effects, |account, effects| {
        roll_over(account, offer, next, occasion, effects);
        begin_cycle(account, offer, next, occasion, effects)
    });
    begun.is_ok()
}

/// Has the buckets of a subscription serve in its next cycle as far as they may: what is beyond the cap lapses. They keep
/// their id, so that what sessions hold of them stays held.
fn roll_over(
    account: &mut Account,
    offer: &Arc<OfferVersion>,
    next: &Subscription,
    occasion: &Occasion<'_>,
    effects: &mut Effects<()>,
) {
    let mut movements = Movements::new();
    let rolling: Vec<(BucketId, i64)> = account
        .buckets
        .iter_mut()
        .filter(|bucket| bucket.valid_to == next.cycle_start)
        .filter_map(|bucket| {
            let terms = bucket.terms.as_mut().filter(|terms| terms.subscription == next.number)?;
            let name = bucket.id.as_str().rsplit_once('#')?.0;
            let (allowance, _) = offer.allowances().find(|(allowance, _)| *allowance.name == *name)?;
            let rollover = allowance.rollover.filter(|rollover| terms.rolled < rollover.cycles)?;
            terms.rolled += 1;
            bucket.valid_to = next.cycle_end.min(next.ends_at);
            // What sessions hold is theirs, even beyond the cap.
            let kept = rollover.cap.max(bucket.reserved);
            Some((bucket.id.clone(), bucket.balance.saturating_sub(kept)))
        })
        .collect();
    for (id, surplus) in rolling {
        movements.extend(account.lapse(&id, surplus));
    }
    account.sort_buckets();
    expired(account, movements, Some((offer, next)), occasion, effects);
}

/// Empties a bucket whose validity is over; a day later one that an offer had opened is forgotten, when nothing can come
/// back to it any more (R29). `false` when sessions hold of it.
fn end_bucket(
    account: &mut Account,
    tariffs: &Tariffs,
    id: &BucketId,
    occasion: &Occasion<'_>,
    effects: &mut Effects<()>,
) -> bool {
    let Some(bucket) = account.bucket(id) else { return true };
    let number = bucket.terms.as_ref().map_or(0, |terms| terms.subscription);
    if bucket.reserved > 0 || bucket.balance > 0 {
        let held = bucket.reserved > 0;
        let movements: Movements = account.lapse(id, i64::MAX).into_iter().collect();
        let mut held_offers = account.contract.iter().flat_map(|contract| &contract.subscriptions);
        let subscription = held_offers.find(|it| it.number == number && number != 0);
        let of = subscription.and_then(|held| Some((tariffs.offer(&held.offer, Some(held.version))?, held)));
        expired(account, movements, of, occasion, effects);
        return !held;
    }
    if bucket.balance == 0 {
        account.buckets.retain(|bucket| bucket.id != *id);
    } else if let Some(terms) = account.buckets.iter_mut().find(|it| it.id == *id).and_then(|it| it.terms.as_mut()) {
        // Owed: it stays until it is paid.
        terms.subscription = 0;
    }
    true
}

/// Money that left the account in these movements; below 0 where more came to it.
fn money_out(movements: &Movements) -> Money {
    let money = movements.iter().filter(|movement| movement.holding == Holding::Money);
    let moved = money.fold(0i64, |sum, movement| sum.saturating_add(movement.delta));
    Money::ZERO.saturating_sub(Money::from_micros(moved))
}

fn expired(
    account: &Account,
    movements: Movements,
    of: Option<(&Arc<OfferVersion>, &Subscription)>,
    occasion: &Occasion<'_>,
    effects: &mut Effects<()>,
) {
    if movements.is_empty() {
        return;
    }
    effects.cdrs.push(RatedCdr {
        amount: money_out(&movements),
        movements,
        offer: of.map(|(offer, subscription)| cycle_of(offer, subscription)),
        ..occasion.cdr(CdrKind::Expiry, account, of.map(|(_, subscription)| subscription.subscriber))
    });
}
