//! Large credits that need a second person, as octets: the whole request, as it is done once somebody approves.

use rating_engine::account::{Bucket, Holding};
use rating_engine::command::{Change, Mutation, Request};
use rating_engine::ids::{AccountId, BucketId, GroupId, IdempotencyKey, TenantId};
use rating_engine::money::{Currency, Money};
use rating_engine::time::Timestamp;

use super::account::{put_bucket, read_bucket};
use super::wire::{Fault, Read, Reader, RecordError, Writer};

/// The format of an approval.
const VERSION: u8 = 1;

/// A request that needs a second person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The charging group of its account.
    pub group: GroupId,
    /// The tenant of its account.
    pub tenant: TenantId,
    /// The account's currency.
    pub currency: Currency,
    /// The method that was called.
    pub method: Box<str>,
    /// Who asked.
    pub asked_by: Box<str>,
    /// When.
    pub asked: Timestamp,
    /// First instant at which it can no longer be approved.
    pub expires: Timestamp,
    /// What makes the request known again, and why it was made.
    pub request: Request,
    /// What was asked for.
    pub credit: Credited,
    /// What became of it.
    pub decision: Decision,
}

/// What gives an account more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credited {
    /// [`Change::TopUp`].
    TopUp {
        /// The account.
        account: AccountId,
        /// How much.
        amount: Money,
        /// The bucket that takes it.
        bucket: Box<Bucket>,
    },
    /// [`Change::Adjust`] of money.
    Adjust {
        /// The account.
        account: AccountId,
        /// How much.
        amount: Money,
        /// The bucket that takes it.
        bucket: BucketId,
    },
    /// [`Change::SetCredit`].
    Limit {
        /// The account.
        account: AccountId,
        /// The new limit.
        limit: Money,
    },
}

/// What became of an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing yet.
    Pending,
    /// It was done.
    Approved {
        /// Who said yes.
        by: Box<str>,
        /// When.
        at: Timestamp,
    },
    /// It is not done.
    Rejected {
        /// Who said no.
        by: Box<str>,
        /// When.
        at: Timestamp,
    },
}

impl Credited {
    /// What a change gives in money; `None` when it gives none.
    pub fn of(change: &Change) -> Option<Self> {
        match change {
            Change::TopUp { account, amount, bucket } => {
                Some(Self::TopUp { account: *account, amount: *amount, bucket: Box::new(bucket.clone()) })
            }
            Change::Adjust { account, bucket, holding: Holding::Money, amount } if *amount > 0 => {
                Some(Self::Adjust { account: *account, amount: Money::from_micros(*amount), bucket: bucket.clone() })
            }
            Change::SetCredit { account, limit } => Some(Self::Limit { account: *account, limit: *limit }),
            Change::OpenAccount(_)
            | Change::PutSubscriber(_)
            | Change::RemoveMember { .. }
            | Change::Describe(_)
            | Change::Adjust { .. }
            | Change::Extend { .. }
            | Change::Buy { .. }
            | Change::Cancel { .. }
            | Change::Replace { .. }
            | Change::Correct(_)
            | Change::GiveBack(_)
            | Change::SetState { .. }
            | Change::Release { .. } => None,
        }
    }

    /// The account.
    pub const fn account(&self) -> AccountId {
        match self {
            Self::TopUp { account, .. } | Self::Adjust { account, .. } | Self::Limit { account, .. } => *account,
        }
    }

    /// How much.
    pub const fn amount(&self) -> Money {
        match self {
            Self::TopUp { amount, .. } | Self::Adjust { amount, .. } | Self::Limit { limit: amount, .. } => *amount,
        }
    }

    /// The bucket that takes it.
    pub fn bucket(&self) -> Option<&BucketId> {
        match self {
            Self::TopUp { bucket, .. } => Some(&bucket.id),
            Self::Adjust { bucket, .. } => Some(bucket),
            Self::Limit { .. } => None,
        }
    }
}

impl Approval {
    /// What is done once somebody approves.
    pub fn mutation(&self) -> Mutation {
        let change = match self.credit.clone() {
            Credited::TopUp { account, amount, bucket } => Change::TopUp { account, amount, bucket: *bucket },
            Credited::Adjust { account, amount, bucket } => {
                Change::Adjust { account, bucket, holding: Holding::Money, amount: amount.micros() }
            }
            Credited::Limit { account, limit } => Change::SetCredit { account, limit },
        };
        change.asked(self.request.clone())
    }
}

/// Writes an approval at the end of `out`.
pub fn encode_approval(out: &mut Vec<u8>, approval: &Approval) {
    let mut w = Writer::new(out);
    w.u8(VERSION);
    w.u64(approval.group.get());
    w.u64(approval.tenant.get().into());
    w.currency(approval.currency);
    w.str(&approval.method);
    w.str(&approval.asked_by);
    w.time(approval.asked);
    w.time(approval.expires);
    let Request { key, digest, reason } = &approval.request;
    w.str(key.as_str());
    w.fixed64(*digest);
    w.str(reason);
    match &approval.credit {
        Credited::TopUp { account, amount, bucket } => {
            w.u8(0);
            w.u64(account.get());
            w.money(*amount);
            put_bucket(&mut w, bucket);
        }
        Credited::Adjust { account, amount, bucket } => {
            w.u8(1);
            w.u64(account.get());
            w.money(*amount);
            w.str(bucket.as_str());
        }
        Credited::Limit { account, limit } => {
            w.u8(2);
            w.u64(account.get());
            w.money(*limit);
        }
    }
    let mut decided = |code, by: &str, at: Timestamp| {
        w.u8(code);
        w.str(by);
        w.time(at);
    };
    match &approval.decision {
        Decision::Pending => w.u8(0),
        Decision::Approved { by, at } => decided(1, by, *at),
        Decision::Rejected { by, at } => decided(2, by, *at),
    }
}

/// Reads an approval.
///
/// # Errors
/// [`RecordError`] when the octets are none.
pub fn decode_approval(octets: &[u8]) -> Result<Approval, RecordError> {
    let mut r = Reader::new(octets);
    r.version(VERSION, "approval")?;
    let approval = Approval {
        group: GroupId::new(r.u64("charging group")?),
        tenant: TenantId::new(r.number("tenant")?),
        currency: r.currency("currency")?,
        method: r.str("method")?.into(),
        asked_by: r.str("asked by")?.into(),
        asked: r.time("asked at")?,
        expires: r.time("expiry")?,
        request: Request {
            key: IdempotencyKey::new(r.str("idempotency key")?),
            digest: r.fixed64("digest")?,
            reason: r.str("reason")?.into(),
        },
        credit: read_credit(&mut r)?,
        decision: read_decision(&mut r)?,
    };
    r.finish("approval")?;
    Ok(approval)
}

fn read_credit(r: &mut Reader<'_>) -> Read<Credited> {
    let offset = r.offset();
    let kind = r.u8("credit")?;
    let (account, amount) = (AccountId::new(r.u64("account")?), r.money("amount")?);
    Ok(match kind {
        0 => Credited::TopUp { account, amount, bucket: Box::new(read_bucket(r)?) },
        1 => Credited::Adjust { account, amount, bucket: BucketId::new(r.str("bucket")?) },
        2 => Credited::Limit { account, limit: amount },
        _ => return Err(Reader::error("credit", offset, Fault::Value)),
    })
}

fn read_decision(r: &mut Reader<'_>) -> Read<Decision> {
    let offset = r.offset();
    Ok(match r.u8("decision")? {
        0 => Decision::Pending,
        1 => Decision::Approved { by: r.str("approved by")?.into(), at: r.time("approved at")? },
        2 => Decision::Rejected { by: r.str("rejected by")?.into(), at: r.time("rejected at")? },
        _ => return Err(Reader::error("decision", offset, Fault::Value)),
    })
}
