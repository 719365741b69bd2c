//! Accounts and subscribers as octets. Their ids are the keys they are kept under and are not repeated.
//!
//! What sessions hold is memory only: it is not written, and read as 0.

use rating_engine::account::{
    Account, AccountState, Bucket, BucketScope, CdrTrail, Counter, Credit, Flow, Holding, Origin, Subscriber, Total,
};
use rating_engine::ids::{
    AccountId, BucketId, CdrPosition, CounterId, GroupId, RatingGroup, ServiceId, SubscriberId, TariffName, TenantId,
};
use rating_engine::money::Money;

use super::values::Coded;
use super::wire::{Read, Reader, RecordError, Writer};

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
    let has_counters = !account.counters.is_empty();
    w.u8(account.state.code() | u8::from(account.credit.is_some()) << 2 | u8::from(has_counters) << 3);
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
    if has_counters {
        w.list(&account.counters, put_counter);
    }
}

pub(super) fn read_account(r: &mut Reader<'_>, id: AccountId) -> Read<Account> {
    r.version(VERSION, "account")?;
    let group = GroupId::new(r.u64("charging group")?);
    let tenant = TenantId::new(r.number("tenant")?);
    let currency = r.currency("currency")?;
    let (state, has_credit, has_counters) = r.code("account state", |code| {
        let state = (AccountState::of_code(code & 3)?, code >> 2 & 1 == 1, code >> 3 & 1 == 1);
        Some(state).filter(|_| code >> 4 == 0)
    })?;
    let credit = if has_credit {
        Some(Credit { limit: r.money("credit limit")?, spent: r.money("credit spent")?, reserved: Money::ZERO })
    } else {
        None
    };
    Ok(Account {
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
        counters: if has_counters { r.list_of_some("counters", read_counter)?.into() } else { Box::default() },
    })
}

fn put_counter(w: &mut Writer<'_>, counter: &Counter) {
    let Counter { id, unit, used, cycle_start, cycle_end } = counter;
    w.str(id.as_str());
    w.coded(Holding::Units(*unit));
    w.u64(*used);
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
        cycle_start: r.time("cycle start")?,
        cycle_end: r.time("cycle end")?,
    })
}

fn put_bucket(w: &mut Writer<'_>, bucket: &Bucket) {
    w.str(bucket.id.as_str());
    w.u8(bucket.holding.code() | bucket.origin.code() << 2 | u8::from(bucket.scope.is_some()) << 3);
    w.i64(bucket.balance);
    w.u64(bucket.priority.into());
    w.time(bucket.valid_from);
    w.time(bucket.valid_to);
    if let Some(scope) = &bucket.scope {
        w.list(&scope.services, |w, service| w.service(*service));
        w.list(&scope.rating_groups, |w, group| w.u64(group.get().into()));
        w.list(&scope.service_ids, |w, id| w.u64(id.get().into()));
    }
}

fn read_bucket(r: &mut Reader<'_>) -> Read<Bucket> {
    let id = BucketId::new(r.str("bucket")?);
    let (holding, origin, has_scope) = r.code("bucket", |code| {
        let kind = (Holding::of_code(code & 3)?, Origin::of_code(code >> 2 & 1)?, code >> 3 & 1 == 1);
        Some(kind).filter(|_| code >> 4 == 0)
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
    w.coded(subscriber.state);
}

pub(super) fn read_subscriber(r: &mut Reader<'_>, id: SubscriberId) -> Read<Subscriber> {
    r.version(VERSION, "subscriber")?;
    Ok(Subscriber {
        id,
        group: GroupId::new(r.u64("charging group")?),
        tenant: TenantId::new(r.number("tenant")?),
        account: AccountId::new(r.u64("account")?),
        tariff: TariffName::new(r.str("tariff")?),
        state: r.coded("subscriber state")?,
    })
}
