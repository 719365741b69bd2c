//! Accounts and subscribers as octets. Their ids are the keys they are kept under and are not repeated.
//!
//! What sessions hold is memory only: it is not written, and read as 0.

use std::sync::Arc;

use rating_engine::account::{
    Account, AccountState, Bucket, BucketScope, CdrTrail, Contract, Counter, Counters, Credit, Flow, Holding, Origin,
    Sponsor, Subscriber, Subscription, SubscriptionState, Terms, Total,
};
use rating_engine::calendar::Zone;
use rating_engine::ids::{
    AccountId, BucketId, CdrPosition, CounterId, GroupId, OfferName, RatingGroup, ServiceId, SubscriberId, TariffName,
    TenantId,
};
use rating_engine::money::Money;
use rating_engine::period::{Cycle, Period};
use rating_engine::time::Timestamp;

use super::values::Coded;
use super::wire::{Fault, Read, Reader, RecordError, Writer};

/// The format of an account and of a subscriber.
const VERSION: u8 = 1;

/// Writes an account at the end of `out`, without its id.
pub fn encode_account(out: &mut Vec<u8>, account: &Account) {
    put_account(&mut Writer::new(out), account);
}

/// Reads the account of this id.
///
/// # Errors
/// [`RecordError`] when the octets are no account.
pub fn decode_account(id: AccountId, octets: &[u8]) -> Result<Account, RecordError> {
    let mut r = Reader::new(octets);
    let account = read_account(&mut r, id)?;
    r.finish("account")?;
    Ok(account)
}

/// Writes a subscriber at the end of `out`, without its id.
pub fn encode_subscriber(out: &mut Vec<u8>, subscriber: &Subscriber) {
    put_subscriber(&mut Writer::new(out), subscriber);
}

/// Reads the subscriber of this id.
///
/// # Errors
/// [`RecordError`] when the octets are no subscriber.
pub fn decode_subscriber(id: SubscriberId, octets: &[u8]) -> Result<Subscriber, RecordError> {
    let mut r = Reader::new(octets);
    let subscriber = read_subscriber(&mut r, id)?;
    r.finish("subscriber")?;
    Ok(subscriber)
}

pub(super) fn put_account(w: &mut Writer<'_>, account: &Account) {
    w.u8(VERSION);
    w.u64(account.group.get());
    w.u64(account.tenant.get().into());
    w.currency(account.currency);
    w.u8(account.state.code() | u8::from(account.credit.is_some()) << 2 | u8::from(account.contract.is_some()) << 4);
    if let Some(credit) = account.credit {
        w.money(credit.limit);
        w.money(credit.spent);
    }
    w.money(account.debt);
    w.list(&account.buckets, put_bucket);
    w.list(&account.totals, |w, total| {
        w.u8(total.holding.code() | total.flow.code() << 2);
        w.i64(total.amount);
    });
    w.u64(account.cdrs.count);
    w.u64(account.cdrs.last.get());
    if let Some(contract) = &account.contract {
        put_contract(w, contract);
    }
}

pub(super) fn read_account(r: &mut Reader<'_>, id: AccountId) -> Read<Account> {
    r.version(VERSION, "account")?;
    let group = GroupId::new(r.u64("charging group")?);
    let tenant = TenantId::new(r.number("tenant")?);
    let currency = r.currency("currency")?;
    let (state, has_credit, has_counters, has_contract) = r.code("account state", |code| {
        let state = (AccountState::of_code(code & 3)?, code >> 2 & 1 == 1, code >> 3 & 1 == 1, code >> 4 & 1 == 1);
        Some(state).filter(|_| code >> 5 == 0)
    })?;
    let credit = if has_credit {
        Some(Credit { limit: r.money("credit limit")?, spent: r.money("credit spent")?, reserved: Money::ZERO })
    } else {
        None
    };
    let mut account = Account {
        id,
        group,
        tenant,
        currency,
        state,
        credit,
        debt: r.money("debt")?,
        buckets: r.list("buckets", read_bucket)?,
        totals: r.list("totals", |r| {
            let (holding, flow) =
                r.code("total", |code| Some((Holding::of_code(code & 3)?, Flow::of_code(code >> 2)?)))?;
            Ok(Total { holding, flow, amount: r.i64("total")? })
        })?,
        cdrs: CdrTrail { count: r.u64("CDR count")?, last: CdrPosition::new(r.u64("last CDR")?) },
        contract: None,
    };
    if has_counters {
        // Written by an earlier release, in which nothing was priced by them.
        r.list_of_some("counters", read_early_counter)?;
    }
    if has_contract {
        account.contract = Some(Box::new(read_contract(r)?));
    }
    Ok(account)
}

fn put_contract(w: &mut Writer<'_>, contract: &Contract) {
    let Contract { cycle, subscriptions, last_number, pools } = contract;
    let has_spent = subscriptions.iter().any(|held| held.spent != <(u32, Money)>::default());
    w.presence(&[cycle.is_some(), !pools.is_empty(), has_spent]);
    if let Some(Cycle { anchor, period, zone }) = cycle {
        w.time(*anchor);
        let (months, days, hours) = period.parts();
        [months, days, hours].into_iter().for_each(|part| w.u64(part.into()));
        w.str(zone.name());
    }
    w.u64((*last_number).into());
    w.list(subscriptions, |w, held| {
        let Subscription { number, offer, version, subscriber, cycle, anchor, cycle_start, cycle_end, .. } = held;
        w.u64((*number).into());
        w.str(offer.as_str());
        w.u64((*version).into());
        w.u64(subscriber.get());
        w.u64((*cycle).into());
        w.time(anchor.0);
        w.u64(anchor.1.into());
        w.time(*cycle_start);
        w.time(*cycle_end);
        put_state(w, held);
    });
    if !pools.is_empty() {
        w.list(pools, |w, (counter, used)| {
            w.str(counter.as_str());
            w.u64(*used);
        });
    }
    if has_spent {
        w.list(subscriptions, |w, held| {
            w.u64(held.spent.0.into());
            w.money(held.spent.1);
        });
    }
}

fn read_contract(r: &mut Reader<'_>) -> Read<Contract> {
    let mut present = r.presence(3, "contract")?;
    let cycle = r.option(&mut present, |r| {
        let anchor = r.time("cycle anchor")?;
        let offset = r.offset();
        let (months, days, hours) = (r.number("months")?, r.number("days")?, r.number("hours")?);
        let period = Period::new(months, days, hours).ok_or_else(|| Reader::error("period", offset, Fault::Value))?;
        let offset = r.offset();
        let zone = Zone::get(r.str("time zone")?).map_err(|_| Reader::error("time zone", offset, Fault::Value))?;
        Ok(Cycle { anchor, period, zone })
    })?;
    let mut contract = Contract {
        cycle,
        last_number: r.number("last subscription")?,
        subscriptions: r.list("subscriptions", |r| {
            let mut held = Subscription {
                number: r.number("subscription")?,
                offer: OfferName::new(r.str("offer")?),
                version: r.number("offer version")?,
                subscriber: SubscriberId::new(r.u64("subscriber")?),
                cycle: r.number("cycle")?,
                anchor: (r.time("anchor")?, r.number("anchor cycle")?),
                cycle_start: r.time("cycle start")?,
                cycle_end: r.time("cycle end")?,
                state: SubscriptionState::Active,
                ends_at: Timestamp::NEVER,
                spent: (0, Money::ZERO),
            };
            read_state(r, &mut held)?;
            Ok(held)
        })?,
        pools: r
            .listed(&mut present, "pools", |r| Ok((CounterId::new(r.str("pool counter")?), r.u64("pool used")?)))?,
    };
    let offset = r.offset();
    let spent = r.listed(&mut present, "spent", |r| Ok((r.number("spent in cycle")?, r.money("spent")?)))?;
    if !spent.is_empty() && spent.len() != contract.subscriptions.len() {
        return Err(Reader::error("spent", offset, Fault::Value));
    }
    contract.subscriptions.iter_mut().zip(spent).for_each(|(held, spent)| held.spent = spent);
    Ok(contract)
}

/// Whether an end of a subscription follows its state that is not that of its cycle.
const ENDS: u8 = 1 << 4;

fn put_state(w: &mut Writer<'_>, held: &Subscription) {
    let with_cycle = held.ends_at == held.cycle_end;
    let code = match held.state {
        SubscriptionState::Active if with_cycle && held.ends_at != Timestamp::NEVER => 1,
        SubscriptionState::Active => 0,
        SubscriptionState::Unpaid => 2,
        SubscriptionState::Awaited => 3,
    };
    if code == 1 || held.ends_at == Timestamp::NEVER {
        w.u8(code);
    } else {
        w.u8(code | ENDS);
        w.time(held.ends_at);
    }
}

fn read_state(r: &mut Reader<'_>, held: &mut Subscription) -> Read<()> {
    let (state, with_cycle, ends) = r.code("subscription state", |code| {
        let (state, with_cycle) = match code & !ENDS {
            0 => (SubscriptionState::Active, false),
            1 => (SubscriptionState::Active, true),
            2 => (SubscriptionState::Unpaid, false),
            3 => (SubscriptionState::Awaited, false),
            _ => return None,
        };
        Some((state, with_cycle, code & ENDS != 0)).filter(|_| !(with_cycle && code & ENDS != 0))
    })?;
    held.state = state;
    if with_cycle {
        held.ends_at = held.cycle_end;
    }
    if ends {
        held.ends_at = r.time("subscription end")?;
    }
    Ok(())
}

fn put_counter(w: &mut Writer<'_>, counter: &Counter) {
    let Counter { id, unit, used, used_before, cycle_start, cycle_end } = counter;
    w.str(id.as_str());
    w.coded(Holding::Units(*unit));
    w.u64(*used);
    w.u64(*used_before);
    w.time(*cycle_start);
    w.time(*cycle_end);
}

fn read_counter(r: &mut Reader<'_>) -> Read<Counter> {
    Ok(Counter {
        id: CounterId::new(r.str("counter")?),
        unit: r.code("counter unit", |code| match Holding::of_code(code)? {
            Holding::Money => None,
            Holding::Units(unit) => Some(unit),
        })?,
        used: r.u64("counter used")?,
        used_before: r.u64("counter used before")?,
        cycle_start: r.time("cycle start")?,
        cycle_end: r.time("cycle end")?,
    })
}

fn read_early_counter(r: &mut Reader<'_>) -> Read<()> {
    r.str("counter")?;
    r.code("counter unit", Holding::of_code)?;
    r.u64("counter used")?;
    r.time("cycle start")?;
    r.time("cycle end")?;
    Ok(())
}

pub(super) fn put_bucket(w: &mut Writer<'_>, bucket: &Bucket) {
    w.str(bucket.id.as_str());
    let (has_scope, has_terms) = (bucket.scope.is_some(), bucket.terms.is_some());
    w.u8(bucket.holding.code() | bucket.origin.code() << 2 | u8::from(has_scope) << 3 | u8::from(has_terms) << 4);
    w.i64(bucket.balance);
    w.u64(bucket.priority.into());
    w.time(bucket.valid_from);
    w.time(bucket.valid_to);
    if let Some(scope) = &bucket.scope {
        w.list(&scope.services, |w, service| w.service(*service));
        w.list(&scope.rating_groups, |w, group| w.u64(group.get().into()));
        w.list(&scope.service_ids, |w, id| w.u64(id.get().into()));
    }
    if let Some(terms) = &bucket.terms {
        let Terms { subscription, opened, cost, rolled, member_cap } = **terms;
        w.presence(&[member_cap.is_some()]);
        w.u64(subscription.into());
        w.i64(opened);
        w.money(cost);
        w.u8(rolled);
        if let Some(cap) = member_cap {
            w.u64(cap);
        }
    }
}

pub(super) fn read_bucket(r: &mut Reader<'_>) -> Read<Bucket> {
    let id = BucketId::new(r.str("bucket")?);
    let (holding, origin, has_scope, has_terms) = r.code("bucket", |code| {
        let (scope, terms) = (code >> 3 & 1 == 1, code >> 4 & 1 == 1);
        let kind = (Holding::of_code(code & 3)?, Origin::of_code(code >> 2 & 1)?, scope, terms);
        Some(kind).filter(|_| code >> 5 == 0)
    })?;
    Ok(Bucket {
        id,
        holding,
        origin,
        balance: r.i64("balance")?,
        reserved: 0,
        priority: r.number("priority")?,
        valid_from: r.time("valid from")?,
        valid_to: r.time("valid to")?,
        scope: if has_scope { Some(Box::new(read_scope(r)?)) } else { None },
        terms: if has_terms { Some(Box::new(read_terms(r)?)) } else { None },
    })
}

fn read_terms(r: &mut Reader<'_>) -> Read<Terms> {
    let mut present = r.presence(1, "terms")?;
    Ok(Terms {
        subscription: r.number("subscription")?,
        opened: r.i64("opened with")?,
        cost: r.money("cost")?,
        rolled: r.u8("rolled over")?,
        member_cap: r.option(&mut present, |r| r.u64("member cap"))?,
    })
}

fn read_scope(r: &mut Reader<'_>) -> Read<BucketScope> {
    Ok(BucketScope {
        services: r.list("services", Reader::service)?.into(),
        rating_groups: r.list("rating groups", |r| r.number("rating group").map(RatingGroup::new))?.into(),
        service_ids: r.list("service identifiers", |r| r.number("service identifier").map(ServiceId::new))?.into(),
    })
}

pub(super) fn put_subscriber(w: &mut Writer<'_>, subscriber: &Subscriber) {
    w.u8(VERSION);
    w.u64(subscriber.group.get());
    w.u64(subscriber.tenant.get().into());
    w.u64(subscriber.account.get());
    w.str(subscriber.tariff.as_str());
    let has_counters = !subscriber.counters.as_slice().is_empty();
    w.u8(subscriber.state.code() | u8::from(has_counters) << 2 | u8::from(subscriber.sponsor.is_some()) << 3);
    if has_counters {
        w.list(subscriber.counters.as_slice(), put_counter);
    }
    if let Some(sponsor) = &subscriber.sponsor {
        put_sponsor(w, sponsor);
    }
}

/// A sponsor, of a subscriber or a session.
pub(super) fn put_sponsor(w: &mut Writer<'_>, sponsor: &Sponsor) {
    let Sponsor { account, windows, allowance } = sponsor;
    w.presence(&[*allowance]);
    w.u64(account.get());
    w.list(windows, |w, window| w.str(window));
}

pub(super) fn read_sponsor(r: &mut Reader<'_>) -> Read<Arc<Sponsor>> {
    let allowance = r.presence(1, "sponsor")?.take();
    let account = AccountId::new(r.u64("sponsor's account")?);
    let windows = r.list("sponsored windows", |r| r.str("window").map(Into::into))?.into();
    Ok(Arc::new(Sponsor { account, windows, allowance }))
}

pub(super) fn read_subscriber(r: &mut Reader<'_>, id: SubscriberId) -> Read<Subscriber> {
    r.version(VERSION, "subscriber")?;
    let group = GroupId::new(r.u64("charging group")?);
    let tenant = TenantId::new(r.number("tenant")?);
    let account = AccountId::new(r.u64("account")?);
    let tariff = TariffName::new(r.str("tariff")?);
    let (state, has_counters, has_sponsor) = r.code("subscriber state", |code| {
        let state = (AccountState::of_code(code & 3)?, code >> 2 & 1 == 1, code >> 3 & 1 == 1);
        Some(state).filter(|_| code >> 4 == 0)
    })?;
    let counters = if has_counters { r.list_of_some("counters", read_counter)? } else { Vec::new() };
    let sponsor = if has_sponsor { Some(read_sponsor(r)?) } else { None };
    Ok(Subscriber { id, group, tenant, account, tariff, state, counters: Counters::new(counters), sponsor })
}
