//! Vouchers as octets: batches, what became of each voucher, wrong codes that were tried.
//!
//! Codes are nowhere: a voucher's key in the desk is a keyed hash of its code, and so is what stands for a wrong one.

use rating_engine::account::Origin;
use rating_engine::ids::{AccountId, BucketId, TenantId};
use rating_engine::money::{Currency, Money};
use rating_engine::time::Timestamp;

use super::wire::{Fault, Read, Reader, RecordError, Writer};

/// The format of these records.
const VERSION: u8 = 1;

/// Octets of a code's keyed hash.
pub const CODE_HASH_OCTETS: usize = 16;

/// A code's keyed hash.
pub type CodeHash = [u8; CODE_HASH_OCTETS];

/// Vouchers that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoucherBatch {
    /// Its name.
    pub name: Box<str>,
    /// The tenant whose accounts can redeem them.
    pub tenant: TenantId,
    /// Where it stands.
    pub state: BatchState,
    /// How many vouchers it has; their serial numbers are 1 to this.
    pub count: u32,
    /// How many of them were redeemed.
    pub used: u32,
    /// What each is worth, in micro-units of the currency.
    pub amount: Money,
    /// Of which currency.
    pub currency: Currency,
    /// The bucket that takes it.
    pub bucket: BucketId,
    /// Where that came from.
    pub origin: Origin,
    /// Priority of the bucket when it is new.
    pub priority: u16,
    /// How long what one gives lasts from redemption on, seconds; `None` for always.
    pub valid_seconds: Option<u64>,
    /// First instant at which they can no longer be redeemed.
    pub expires: Timestamp,
    /// When it was made.
    pub made: Timestamp,
    /// Who made it.
    pub made_by: Box<str>,
    /// What the secret key makes of a fixed text: another key does not go with this batch.
    pub key_check: [u8; 8],
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchState {
    /// Not all of its vouchers are there.
    Made,
    /// They can be redeemed.
    Active,
    /// They cannot.
    Blocked,
}

/// One voucher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voucher {
    /// Its batch, by number.
    pub batch: u32,
    /// Its serial number there.
    pub serial: u32,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a voucher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing yet.
    Open,
    /// It was redeemed.
    Used {
        /// The tenant of the account.
        tenant: TenantId,
        /// By which account.
        account: AccountId,
        /// When.
        at: Timestamp,
    },
    /// It was blocked by itself.
    Blocked {
        /// When.
        at: Timestamp,
    },
}

/// Wrong codes that somebody tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// First instant at which more may be tried; the beginning of time when nothing is locked.
    pub locked_until: Timestamp,
    /// Which, and when, the oldest first.
    pub wrong: Vec<(Timestamp, CodeHash)>,
}

/// Writes a batch at the end of `out`.
pub fn encode_voucher_batch(out: &mut Vec<u8>, batch: &VoucherBatch) {
    let mut w = Writer::new(out);
    w.u8(VERSION);
    w.u8(match batch.state {
        BatchState::Made => 0,
        BatchState::Active => 1,
        BatchState::Blocked => 2,
    });
    w.str(&batch.name);
    w.u64(batch.tenant.get().into());
    w.u64(batch.count.into());
    w.u64(batch.used.into());
    w.money(batch.amount);
    w.currency(batch.currency);
    w.str(batch.bucket.as_str());
    w.coded(batch.origin);
    w.u64(batch.priority.into());
    w.presence(&[batch.valid_seconds.is_some()]);
    if let Some(seconds) = batch.valid_seconds {
        w.u64(seconds);
    }
    w.time(batch.expires);
    w.time(batch.made);
    w.str(&batch.made_by);
    w.raw(&batch.key_check);
}

/// Reads a batch.
///
/// # Errors
/// [`RecordError`] when the octets are none.
pub fn decode_voucher_batch(octets: &[u8]) -> Result<VoucherBatch, RecordError> {
    let mut r = Reader::new(octets);
    r.version(VERSION, "voucher batch")?;
    let state = r.code("batch state", |code| match code {
        0 => Some(BatchState::Made),
        1 => Some(BatchState::Active),
        2 => Some(BatchState::Blocked),
        _ => None,
    })?;
    let (name, tenant) = (r.str("batch name")?.into(), TenantId::new(r.number("tenant")?));
    let (count, used) = (r.number("count")?, r.number("used")?);
    let (amount, currency) = (r.money("amount")?, r.currency("currency")?);
    let bucket = BucketId::new(r.str("bucket")?);
    let (origin, priority) = (r.coded("origin")?, r.number("priority")?);
    let mut present = r.presence(1, "voucher batch")?;
    let valid_seconds = r.option(&mut present, |r| r.u64("validity"))?;
    let (expires, made) = (r.time("expiry")?, r.time("made")?);
    let made_by = r.str("made by")?.into();
    let key_check = r.array("key check")?;
    r.finish("voucher batch")?;
    Ok(VoucherBatch {
        name,
        tenant,
        state,
        count,
        used,
        amount,
        currency,
        bucket,
        origin,
        priority,
        valid_seconds,
        expires,
        made,
        made_by,
        key_check,
    })
}

/// Writes a voucher at the end of `out`.
pub fn encode_voucher(out: &mut Vec<u8>, voucher: &Voucher) {
    let mut w = Writer::new(out);
    w.u8(VERSION);
    w.u64(voucher.batch.into());
    w.u64(voucher.serial.into());
    match voucher.fate {
        Fate::Open => w.u8(0),
        Fate::Used { tenant, account, at } => {
            w.u8(1);
            w.u64(tenant.get().into());
            w.u64(account.get());
            w.time(at);
        }
        Fate::Blocked { at } => {
            w.u8(2);
            w.time(at);
        }
    }
}

/// Reads a voucher.
///
/// # Errors
/// [`RecordError`] when the octets are none.
pub fn decode_voucher(octets: &[u8]) -> Result<Voucher, RecordError> {
    let mut r = Reader::new(octets);
    r.version(VERSION, "voucher")?;
    let (batch, serial) = (r.number("batch")?, r.number("serial")?);
    let fate = read_fate(&mut r)?;
    r.finish("voucher")?;
    Ok(Voucher { batch, serial, fate })
}

fn read_fate(r: &mut Reader<'_>) -> Read<Fate> {
    let offset = r.offset();
    Ok(match r.u8("fate")? {
        0 => Fate::Open,
        1 => {
            let (tenant, account) = (TenantId::new(r.number("tenant")?), AccountId::new(r.u64("account")?));
            Fate::Used { tenant, account, at: r.time("used at")? }
        }
        2 => Fate::Blocked { at: r.time("blocked at")? },
        _ => return Err(Reader::error("fate", offset, Fault::Value)),
    })
}

/// Writes wrong tries at the end of `out`.
pub fn encode_tries(out: &mut Vec<u8>, tries: &Tries) {
    let mut w = Writer::new(out);
    w.u8(VERSION);
    w.time(tries.locked_until);
    w.list(&tries.wrong, |w, (at, code)| {
        w.time(*at);
        w.raw(code);
    });
}

/// Reads wrong tries.
///
/// # Errors
/// [`RecordError`] when the octets are none.
pub fn decode_tries(octets: &[u8]) -> Result<Tries, RecordError> {
    let mut r = Reader::new(octets);
    r.version(VERSION, "wrong tries")?;
    let locked_until = r.time("locked until")?;
    let wrong = r.list("wrong tries", |r| Ok((r.time("tried at")?, r.array("code")?)))?;
    r.finish("wrong tries")?;
    Ok(Tries { locked_until, wrong })
}
