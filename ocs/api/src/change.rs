//! Requests to change an account into checked values, beside [`crate::TopUp`]. Pure; each rejection names the field, the reason,
//! and the way out.

use ocs_proto::operator::v1 as wire;
use prost::Message;
use rating_engine::account::{Account, AccountState, Bucket, Credit, Holding, Origin};
use rating_engine::command::{Change, Ending, Request};
use rating_engine::ids::{AccountId, BucketId, GroupId, IdempotencyKey, OfferName, SubscriberId};
use rating_engine::money::{Currency, Money};
use rating_engine::time::Timestamp;
use sha2::{Digest, Sha256};

use crate::name::parse_account;
use crate::operations::Selection;
use crate::request::{
    BUCKET_DEFAULT, BUCKET_OCTETS_MAX, KEY_OCTETS_MAX, PRIORITY_DEFAULT, REASON_OCTETS_MAX, Rejection, instant, money,
    parse_tenant, positive, text,
};

/// Octets of an offer's name.
const OFFER_OCTETS_MAX: usize = 128;

/// A checked change of one account that is there.
#[derive(Clone, Debug)]
pub struct AccountChange {
    /// Of which.
    pub selection: Selection,
    /// Of which currency amounts are; to be the account's.
    pub currency: Option<Currency>,
    /// The etag that it is based on.
    pub etag: Option<Box<str>>,
    /// What.
    pub wanted: Wanted,
    /// The key, and why.
    pub asked: Asked,
}

/// What is wanted of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Another state.
    State(AccountState),
    /// Another credit limit.
    Credit(Money),
    /// More or less in a bucket; units have the bucket's unit.
    Adjust(BucketId, Amount),
    /// A later end of a bucket.
    Extend(BucketId, Timestamp),
    /// An offer; `None` for the only subscriber, or the one by whom the account was named.
    Purchase(Option<SubscriberId>, Offered, Option<Timestamp>),
    /// That a subscription ends.
    Cancel(u32, Ending),
    /// That an offer follows a subscription.
    Replace(u32, Ending, Offered),
}

/// An offer; the newest version, if none is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered(OfferName, Option<u32>);

impl Offered {
    fn parse(offer: &str, version: u32) -> Result<Self, Rejection> {
        if offer.is_empty() {
            return Err(Rejection::new("offer", "is missing; give the offer's name"));
        }
        text("offer", offer, OFFER_OCTETS_MAX)?;
        Ok(Self(OfferName::new(offer), (version != 0).then_some(version)))
    }
}

fn ending(given: Option<wire::Ending>) -> Result<Ending, Rejection> {
    use wire::ending::When;
    match given.map(|given| given.when) {
        None => Ok(Ending::WithCycle),
        Some(Some(When::AtOnce(true))) => Ok(Ending::AtOnce),
        Some(Some(When::At(at))) => Ok(Ending::At(instant("ending.at", at)?)),
        Some(Some(When::AtOnce(false)) | None) => {
            Err(Rejection::new("ending", "says nothing; give at_once or at, or leave it out for the end of the cycle"))
        }
    }
}

/// How much is put in or taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Money, micro-units.
    Money(Money),
    /// Units of the bucket.
    Units(i64),
}

/// What makes a request known again, and why it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The caller's idempotency key.
    pub key: IdempotencyKey,
    /// Why.
    pub reason: Box<str>,
    /// Over what is asked, but for whom it names.
    content: [u8; 32],
}

/// What there is of an account that a change of it needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The account.
    pub account: AccountId,
    /// Its only subscriber, or the one by whom it was named.
    pub subscriber: Option<SubscriberId>,
    /// What the bucket that is to be changed holds.
    pub holding: Option<Holding>,
}

fn subscription(number: u32) -> Result<u32, Rejection> {
    if number == 0 {
        return Err(Rejection::new("subscription", "is missing; give its number, as GetAccount shows it"));
    }
    Ok(number)
}

impl Asked {
    /// Checks key and reason of a request; `message` is the request, `needs_reason` whether it must say why.
    pub(crate) fn parse(
        key: &str,
        reason: &str,
        needs_reason: bool,
        message: &impl Message,
    ) -> Result<Self, Rejection> {
        if key.is_empty() {
            return Err(Rejection::new(
                "idempotency_key",
                "is missing; give a text that is unique to this change, e.g. a UUID, and repeat it when you try again",
            ));
        }
        text("idempotency_key", key, KEY_OCTETS_MAX)?;
        text("reason", reason, REASON_OCTETS_MAX)?;
        if needs_reason && reason.is_empty() {
            return Err(Rejection::new("reason", "is missing; say why, for whoever reads the records later"));
        }
        let content = Sha256::digest(message.encode_to_vec()).into();
        Ok(Self { key: IdempotencyKey::new(key), reason: reason.into(), content })
    }

    /// The engine's request for a change of `subject`, a name; its digest tells a repeat from a reused key.
    pub fn request(&self, subject: &str) -> Request {
        let digest = Sha256::new().chain_update(subject).chain_update([0]).chain_update(self.content).finalize();
        let digest = digest.iter().take(8).fold(0, |number, octet| number << 8 | u64::from(*octet));
        Request { key: self.key.clone(), digest, reason: self.reason.clone() }
    }
}

impl AccountChange {
    /// Checks an update.
    pub(crate) fn update(mut request: wire::UpdateAccountRequest) -> Result<Self, Rejection> {
        let selection = parse_account("name", &std::mem::take(&mut request.name))?;
        let etag = (!request.etag.is_empty()).then(|| std::mem::take(&mut request.etag).into());
        let asked = Asked::parse(&request.idempotency_key, &request.reason, false, &request)?;
        let mask = request.update_mask.unwrap_or_default().paths;
        let (wanted, currency) = match mask.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["state"] => (Wanted::State(account_state("state", request.state)?), None),
            ["credit_limit"] => {
                let (limit, currency) = money("credit_limit", request.credit_limit)?;
                if limit < Money::ZERO {
                    return Err(Rejection::new("credit_limit.mantissa", "is below 0; give 0 or more"));
                }
                (Wanted::Credit(limit), Some(currency))
            }
            _ => {
                let reason = format!("is {mask:?}; give one of \"state\" and \"credit_limit\", one at a time");
                return Err(Rejection::new("update_mask", reason));
            }
        };
        Ok(Self { selection, currency, etag, wanted, asked })
    }

    /// Checks an adjustment.
    pub(crate) fn adjust(mut request: wire::AdjustRequest) -> Result<Self, Rejection> {
        use wire::adjust_request::Change as Given;
        let selection = parse_account("account", &std::mem::take(&mut request.account))?;
        let asked = Asked::parse(&request.idempotency_key, &request.reason, true, &request)?;
        let bucket = bucket_id("bucket_id", &request.bucket_id)?;
        let (amount, currency) = match request.change {
            Some(Given::Money(given)) => {
                let (amount, currency) = money("money", Some(given))?;
                (Amount::Money(amount), Some(currency))
            }
            Some(Given::Units(units)) => (Amount::Units(units), None),
            None => return Err(Rejection::new("change", "is missing; give money or units")),
        };
        if matches!(amount, Amount::Money(Money::ZERO) | Amount::Units(0)) {
            return Err(Rejection::new(
                "change",
                "is 0; give what is to be put in, or below 0 what is to be taken out",
            ));
        }
        Ok(Self { selection, currency, etag: None, wanted: Wanted::Adjust(bucket, amount), asked })
    }

    /// Checks a later end.
    pub(crate) fn extend(mut request: wire::ExtendBucketRequest) -> Result<Self, Rejection> {
        let selection = parse_account("account", &std::mem::take(&mut request.account))?;
        let asked = Asked::parse(&request.idempotency_key, &request.reason, false, &request)?;
        let bucket = bucket_id("bucket_id", &request.bucket_id)?;
        let valid_to = request.valid_to.ok_or_else(|| Rejection::new("valid_to", "is missing; give the new end"))?;
        let wanted = Wanted::Extend(bucket, instant("valid_to", valid_to)?);
        Ok(Self { selection, currency: None, etag: None, wanted, asked })
    }

    /// Checks a purchase.
    pub(crate) fn purchase(mut request: wire::PurchaseOfferRequest) -> Result<Self, Rejection> {
        let selection = parse_account("account", &std::mem::take(&mut request.account))?;
        let asked = Asked::parse(&request.idempotency_key, &request.reason, false, &request)?;
        let offer = Offered::parse(&request.offer, request.offer_version)?;
        let subscriber = (request.subscriber_id != 0).then(|| SubscriberId::new(request.subscriber_id));
        let begins = request.begins_at.map(|at| instant("begins_at", at)).transpose()?;
        let wanted = Wanted::Purchase(subscriber, offer, begins);
        Ok(Self { selection, currency: None, etag: None, wanted, asked })
    }

    /// Checks a cancellation.
    pub(crate) fn cancel(mut request: wire::CancelOfferRequest) -> Result<Self, Rejection> {
        let selection = parse_account("account", &std::mem::take(&mut request.account))?;
        let asked = Asked::parse(&request.idempotency_key, &request.reason, false, &request)?;
        let wanted = Wanted::Cancel(subscription(request.subscription)?, ending(request.ending)?);
        Ok(Self { selection, currency: None, etag: None, wanted, asked })
    }

    /// Checks a replacement.
    pub(crate) fn replace(mut request: wire::ReplaceOfferRequest) -> Result<Self, Rejection> {
        let selection = parse_account("account", &std::mem::take(&mut request.account))?;
        let asked = Asked::parse(&request.idempotency_key, &request.reason, false, &request)?;
        let offer = Offered::parse(&request.offer, request.offer_version)?;
        let wanted = Wanted::Replace(subscription(request.subscription)?, ending(request.ending)?, offer);
        Ok(Self { selection, currency: None, etag: None, wanted, asked })
    }

    /// The bucket that it changes.
    pub const fn bucket(&self) -> Option<&BucketId> {
        match &self.wanted {
            Wanted::Adjust(bucket, _) | Wanted::Extend(bucket, _) => Some(bucket),
            Wanted::State(_) | Wanted::Credit(_) | Wanted::Purchase(..) | Wanted::Cancel(..) | Wanted::Replace(..) => {
                None
            }
        }
    }

    /// The method that asks for it.
    pub const fn method(&self) -> &'static str {
        match &self.wanted {
            Wanted::State(_) | Wanted::Credit(_) => "Accounts/UpdateAccount",
            Wanted::Adjust(..) => "Accounts/Adjust",
            Wanted::Extend(..) => "Accounts/ExtendBucket",
            Wanted::Purchase(..) => "Accounts/PurchaseOffer",
            Wanted::Cancel(..) => "Accounts/CancelOffer",
            Wanted::Replace(..) => "Accounts/ReplaceOffer",
        }
    }

    /// The engine's change of what was found.
    ///
    /// # Errors
    /// What is missing there.
    pub fn change(&self, found: Found) -> Result<Change, &'static str> {
        let account = found.account;
        Ok(match &self.wanted {
            Wanted::State(state) => Change::SetState { account, state: *state },
            Wanted::Credit(limit) => Change::SetCredit { account, limit: *limit },
            Wanted::Adjust(bucket, amount) => {
                let there = found.holding.ok_or("the account has no such bucket")?;
                let (holding, amount) = match (amount, there) {
                    (Amount::Money(money), _) => (Holding::Money, money.micros()),
                    (Amount::Units(_), Holding::Money) => return Err("the bucket holds money, not units"),
                    (Amount::Units(units), there @ Holding::Units(_)) => (there, *units),
                };
                Change::Adjust { account, bucket: bucket.clone(), holding, amount }
            }
            Wanted::Extend(bucket, valid_to) => Change::Extend { account, bucket: bucket.clone(), valid_to: *valid_to },
            Wanted::Purchase(subscriber, Offered(offer, version), begins) => {
                let subscriber = subscriber.or(found.subscriber);
                let subscriber = subscriber.ok_or("the account has not one subscriber; name it by subscriber_id")?;
                Change::Buy { account, subscriber, offer: offer.clone(), version: *version, begins: *begins }
            }
            Wanted::Cancel(subscription, ending) => {
                Change::Cancel { account, subscription: *subscription, ending: *ending }
            }
            Wanted::Replace(subscription, ending, Offered(offer, version)) => Change::Replace {
                account,
                subscription: *subscription,
                ending: *ending,
                offer: offer.clone(),
                version: *version,
            },
        })
    }
}

/// A checked transfer.
#[derive(Clone, Debug)]
pub struct TransferAsked {
    /// Who gives.
    pub from: Selection,
    /// From which bucket.
    pub from_bucket: BucketId,
    /// Who takes.
    pub to: Selection,
    /// Into which bucket, as it is made when new.
    pub to_bucket: Bucket,
    /// How much; above 0.
    pub amount: Money,
    /// Its currency; to be that of both.
    pub currency: Currency,
    /// The key, and why.
    pub asked: Asked,
}

impl TransferAsked {
    pub(crate) fn parse(mut request: wire::TransferRequest) -> Result<Self, Rejection> {
        let from = parse_account("from_account", &std::mem::take(&mut request.from_account))?;
        let to = parse_account("to_account", &std::mem::take(&mut request.to_account))?;
        let asked = Asked::parse(&request.idempotency_key, &request.reason, false, &request)?;
        let (amount, currency) = positive("amount", request.amount)?;
        let named = |given: &str| if given.is_empty() { BUCKET_DEFAULT.to_owned() } else { given.to_owned() };
        let from_bucket = bucket_id("from_bucket_id", &named(&request.from_bucket_id))?;
        let to_bucket = money_bucket(bucket_id("to_bucket_id", &named(&request.to_bucket_id))?);
        Ok(Self { from, from_bucket, to, to_bucket, amount, currency, asked })
    }
}

/// A checked new account.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// It.
    pub account: Account,
    /// The key, and why.
    pub asked: Asked,
}

impl NewAccount {
    pub(crate) fn parse(request: &wire::CreateAccountRequest) -> Result<Self, Rejection> {
        let asked = Asked::parse(&request.idempotency_key, &request.reason, false, request)?;
        if request.account_id == 0 {
            return Err(Rejection::new("account_id", "is missing; account numbers begin at 1"));
        }
        let tenant = parse_tenant(request.tenant_id)?;
        let currency = Currency::parse(&request.currency).ok_or_else(|| {
            Rejection::new("currency", format!("is {:?}; give three ISO 4217 letters, e.g. EUR", request.currency))
        })?;
        let credit = match &request.credit_limit {
            None => None,
            Some(given) => {
                let (limit, of) = money("credit_limit", Some(given.clone()))?;
                if limit < Money::ZERO || of != currency {
                    let reason = format!("is {limit} {of}; give 0 or more, in {currency}");
                    return Err(Rejection::new("credit_limit", reason));
                }
                Some(Credit { limit, spent: Money::ZERO, reserved: Money::ZERO })
            }
        };
        let group = if request.group_id == 0 { request.account_id } else { request.group_id };
        let (id, group) = (AccountId::new(request.account_id), GroupId::new(group));
        let account = Account { credit, ..Account::new(id, group, tenant, currency) };
        Ok(Self { account, asked })
    }
}

/// A money bucket as it is made when nothing is said of it.
fn money_bucket(id: BucketId) -> Bucket {
    Bucket {
        id,
        holding: Holding::Money,
        origin: Origin::Paid,
        balance: 0,
        reserved: 0,
        priority: PRIORITY_DEFAULT,
        valid_from: Timestamp::default(),
        valid_to: Timestamp::NEVER,
        scope: None,
        terms: None,
    }
}

fn bucket_id(field: &'static str, given: &str) -> Result<BucketId, Rejection> {
    if given.is_empty() {
        return Err(Rejection::new(field, "is missing; give the bucket's id, as GetAccount shows it"));
    }
    text(field, given, BUCKET_OCTETS_MAX)?;
    Ok(BucketId::new(given))
}

/// A state that is said.
pub(crate) fn account_state(field: &'static str, given: i32) -> Result<AccountState, Rejection> {
    match wire::AccountState::try_from(given) {
        Ok(wire::AccountState::Active) => Ok(AccountState::Active),
        Ok(wire::AccountState::Suspended) => Ok(AccountState::Suspended),
        Ok(wire::AccountState::Barred) => Ok(AccountState::Barred),
        Ok(wire::AccountState::Closed) => Ok(AccountState::Closed),
        Ok(wire::AccountState::Unspecified) | Err(_) => Err(Rejection::new(
            field,
            format!("is {given}, which is no state; give ACCOUNT_STATE_ACTIVE, _SUSPENDED, _BARRED or _CLOSED"),
        )),
    }
}
