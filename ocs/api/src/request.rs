//! Requests into checked values. Pure; each rejection names the field, the reason, and the way out.

use std::borrow::Cow;

use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use prost_types::{Duration, Timestamp as WireTime};
use rating_engine::account::{Bucket, Holding, Origin};
use rating_engine::command::{Change, Mutation, Request};
use rating_engine::ids::{AccountId, BucketId, IdempotencyKey, Identifier, TenantId};
use rating_engine::money::{Currency, Money};
use rating_engine::time::Timestamp;
use sha2::{Digest, Sha256};

use crate::name::parse_account;
use crate::operations::{AccountSelector, Selection};

/// Octets of an idempotency key.
pub const KEY_OCTETS_MAX: usize = 128;
/// Octets of a bucket's id.
pub const BUCKET_OCTETS_MAX: usize = 64;
/// Octets of a reason.
pub const REASON_OCTETS_MAX: usize = 256;
/// Octets of an identifier.
pub const IDENTIFIER_OCTETS_MAX: usize = 256;
/// The bucket that takes a top-up which names none.
pub const BUCKET_DEFAULT: &str = "main";
/// Priority of a new bucket where none is named.
pub const PRIORITY_DEFAULT: u16 = 100;

/// Why a request is not acceptable: a field, and what is wrong with it. Always INVALID_ARGUMENT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The field, as the `.proto` file spells it.
    pub field: Cow<'static, str>,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl Rejection {
    pub(crate) fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }

    fn of_part(field: &'static str, part: &str, reason: String) -> Self {
        Self { field: format!("{field}.{part}").into(), reason }
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for Rejection {}

/// A checked top-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopUp {
    /// Into which account.
    pub selection: Selection,
    /// How much; above 0.
    pub amount: Money,
    /// The amount's currency; to be the account's.
    pub currency: Currency,
    /// The bucket that takes it, empty, as it is made when new.
    pub bucket: Bucket,
    /// Repeating it changes nothing.
    pub key: IdempotencyKey,
    /// Why.
    pub reason: Box<str>,
}

impl TopUp {
    /// Checks a request.
    ///
    /// # Errors
    /// The first field that is missing or malformed.
    pub fn parse(request: wire::TopUpRequest) -> Result<Self, Rejection> {
        use wire::top_up_request::Account as Given;
        let key = request.idempotency_key;
        if key.is_empty() {
            return Err(Rejection::new(
                "idempotency_key",
                "is missing; give a text that is unique to this top-up, e.g. a UUID, and repeat it when you try again",
            ));
        }
        text("idempotency_key", &key, KEY_OCTETS_MAX)?;
        let selection = match request.account {
            Some(Given::Name(name)) => parse_account("name", &name)?,
            Some(Given::AccountId(id)) => selection(request.tenant_id, Some(Ok(id)))?,
            Some(Given::Identifier(identifier)) => selection(request.tenant_id, Some(Err(identifier)))?,
            None => selection(request.tenant_id, None)?,
        };
        let (amount, currency) = positive("amount", request.amount)?;
        let bucket_id = if request.bucket_id.is_empty() { BUCKET_DEFAULT } else { &request.bucket_id };
        text("bucket_id", bucket_id, BUCKET_OCTETS_MAX)?;
        let priority = request.priority.map_or(Ok(PRIORITY_DEFAULT), |priority| {
            u16::try_from(priority)
                .map_err(|_| Rejection::new("priority", format!("is {priority}; give at most 65535")))
        })?;
        let valid_from = request.valid_from.map_or(Ok(Timestamp::default()), |at| instant("valid_from", at))?;
        let valid_to = request.valid_to.map_or(Ok(Timestamp::NEVER), |at| instant("valid_to", at))?;
        if valid_to <= valid_from {
            return Err(Rejection::new(
                "valid_to",
                format!("is {valid_to}, not after valid_from, {valid_from}; give a later instant or leave it out"),
            ));
        }
        let origin = match common::Origin::try_from(request.origin) {
            Ok(common::Origin::Unspecified | common::Origin::Paid) => Origin::Paid,
            Ok(common::Origin::Granted) => Origin::Granted,
            Err(_) => {
                return Err(Rejection::new(
                    "origin",
                    format!("is {}, which is not known; give ORIGIN_PAID or ORIGIN_GRANTED", request.origin),
                ));
            }
        };
        text("reason", &request.reason, REASON_OCTETS_MAX)?;
        let bucket = Bucket {
            id: BucketId::new(bucket_id),
            holding: Holding::Money,
            origin,
            balance: 0,
            reserved: 0,
            priority,
            valid_from,
            valid_to,
            scope: None,
            terms: None,
        };
        let (key, reason) = (IdempotencyKey::new(&key), request.reason.into());
        Ok(Self { selection, amount, currency, bucket, key, reason })
    }

    /// The mutation of the account that the selection led to.
    pub fn mutation(self, account: AccountId) -> Mutation {
        let digest = self.digest(account);
        let Self { amount, bucket, key, reason, .. } = self;
        Change::TopUp { account, amount, bucket }.asked(Request { key, digest, reason })
    }

    /// Tells a repeat from a reused key: over what is asked with its defaults filled in, so that two ways to say the same
    /// are the same. Stored; what goes into it must not change.
    pub fn digest(&self, account: AccountId) -> u64 {
        let granted = self.bucket.origin == Origin::Granted;
        let digest = Sha256::new()
            .chain_update(account.get().to_be_bytes())
            .chain_update(self.amount.micros().to_be_bytes())
            .chain_update(self.currency.letters())
            .chain_update(self.bucket.priority.to_be_bytes())
            .chain_update(self.bucket.valid_from.millis().to_be_bytes())
            .chain_update(self.bucket.valid_to.millis().to_be_bytes())
            .chain_update([u8::from(granted)])
            .chain_update(self.bucket.id.as_str())
            .chain_update([0])
            .chain_update(&*self.reason)
            .finalize();
        digest.iter().take(8).fold(0, |number, octet| number << 8 | u64::from(*octet))
    }
}

/// Checks which account a request to show one means.
pub(crate) fn shown(request: wire::GetAccountRequest) -> Result<Selection, Rejection> {
    use wire::get_account_request::Account as Given;
    match request.account {
        Some(Given::Name(name)) => parse_account("name", &name),
        Some(Given::AccountId(id)) => selection(request.tenant_id, Some(Ok(id))),
        Some(Given::Identifier(identifier)) => selection(request.tenant_id, Some(Err(identifier))),
        None => selection(request.tenant_id, None),
    }
}

/// An account by its id (`Ok`) or by an identifier (`Err`).
fn selection(tenant: u32, account: Option<Result<u64, String>>) -> Result<Selection, Rejection> {
    let tenant = parse_tenant(tenant)?;
    let account = match account {
        Some(Ok(0)) => return Err(Rejection::new("account_id", "is 0; account ids begin at 1")),
        Some(Ok(id)) => AccountSelector::Id(AccountId::new(id)),
        Some(Err(identifier)) => {
            text("identifier", &identifier, IDENTIFIER_OCTETS_MAX)?;
            let parsed = identifier.parse::<Identifier>().map_err(|reason| Rejection::new("identifier", reason))?;
            AccountSelector::Identifier(parsed)
        }
        None => return Err(Rejection::new("account", "is missing; give name, account_id or identifier")),
    };
    Ok(Selection { tenant, account })
}

/// Money above 0.
pub(crate) fn positive(field: &'static str, given: Option<common::Money>) -> Result<(Money, Currency), Rejection> {
    let mantissa = given.as_ref().map_or(0, |given| given.mantissa);
    let (amount, currency) = money(field, given)?;
    if amount <= Money::ZERO {
        return Err(Rejection::of_part(field, "mantissa", format!("is {mantissa}; give an amount above 0")));
    }
    Ok((amount, currency))
}

/// Money, also below 0.
pub(crate) fn money(field: &'static str, given: Option<common::Money>) -> Result<(Money, Currency), Rejection> {
    let Some(given) = given else {
        return Err(Rejection::new(field, "is missing; give mantissa, scale and currency, e.g. 1250, 2 and EUR"));
    };
    let Some(currency) = Currency::parse(&given.currency) else {
        let reason = if given.currency.is_empty() {
            "is missing; give three ISO 4217 letters, e.g. EUR".to_owned()
        } else {
            format!("is {:?}, which is not known; give three ISO 4217 letters, e.g. EUR", given.currency)
        };
        return Err(Rejection::of_part(field, "currency", reason));
    };
    let Some(finer) = 6u32.checked_sub(given.scale) else {
        let reason = format!("is {}; amounts have at most 6 decimals", given.scale);
        return Err(Rejection::of_part(field, "scale", reason));
    };
    match given.mantissa.checked_mul(10i64.pow(finer)) {
        Some(micros) => Ok((Money::from_micros(micros), currency)),
        None => Err(Rejection::of_part(
            field,
            "mantissa",
            format!(
                "is {} at scale {}, which is too large; the most is {} {currency}",
                given.mantissa,
                given.scale,
                Money::MAX
            ),
        )),
    }
}

/// An instant, cut to the millisecond.
pub(crate) fn instant(field: &'static str, given: WireTime) -> Result<Timestamp, Rejection> {
    let nanos = i64::from(given.nanos);
    if !(0..1_000_000_000).contains(&nanos) {
        return Err(Rejection::new(field, format!("has {nanos} nanoseconds; give 0 to 999999999")));
    }
    let millis = given.seconds.checked_mul(1000).and_then(|millis| millis.checked_add(nanos / 1_000_000));
    millis
        .map(Timestamp::from_millis)
        .ok_or_else(|| Rejection::new(field, format!("is {} seconds after 1970, which is too far", given.seconds)))
}

/// Milliseconds to move the clock by, cut to the millisecond.
pub(crate) fn span(field: &'static str, given: Duration) -> Result<i64, Rejection> {
    if given.seconds < 0 || given.nanos < 0 {
        return Err(Rejection::new(field, "is negative; time only moves forward"));
    }
    let millis = given.seconds.checked_mul(1000).and_then(|ms| ms.checked_add(i64::from(given.nanos) / 1_000_000));
    millis.ok_or_else(|| Rejection::new(field, format!("is {} seconds, which is too far", given.seconds)))
}

/// A tenant, said by `tenant_id`.
pub(crate) fn parse_tenant(id: u32) -> Result<TenantId, Rejection> {
    let tenant = u16::try_from(id).map(TenantId::new);
    tenant.map_err(|_| Rejection::new("tenant_id", format!("is {id}; give at most 65535")))
}

pub(crate) fn text(field: &'static str, text: &str, octets_max: usize) -> Result<(), Rejection> {
    if text.len() > octets_max {
        return Err(Rejection::new(field, format!("has {} octets; give at most {octets_max}", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(Rejection::new(field, "has control characters; leave them out"));
    }
    Ok(())
}
