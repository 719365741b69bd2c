//! The `Vouchers` service: batches made, blocked and listed, codes redeemed and looked up.
//!
//! Absent on purpose: what a right code looks like, and where it goes: [`VoucherOperations`] says that. A code is in no message.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use ocs_proto::charging::convert::{money, origin, time};
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use ocs_proto::operator::v1::vouchers_server::{Vouchers, VouchersServer};
use prost_types::Duration;
use rating_engine::account::Origin;
use rating_engine::command::Request as EngineRequest;
use rating_engine::ids::{AccountId, BucketId, IdempotencyKey, SubscriberId, TenantId};
use rating_engine::money::{Currency, Money};
use rating_engine::time::Timestamp;
use sha2::{Digest, Sha256};
use tonic::{Code, Request, Response, Status};

use crate::caller::Caller;
use crate::name::{self, SubscriberSelector, parse_account, parse_subscriber};
use crate::operations::{AccountSelector, OperationError, Operations, Selection};
use crate::page;
use crate::refusal::{refused, status, status_later};
use crate::request::{
    BUCKET_DEFAULT, BUCKET_OCTETS_MAX, KEY_OCTETS_MAX, PRIORITY_DEFAULT, REASON_OCTETS_MAX, Rejection, instant,
    parse_tenant, positive, text,
};

/// Vouchers of one batch.
pub const VOUCHERS_AT_ONCE_MAX: u32 = 100_000;
/// Octets of a batch's name.
pub const BATCH_OCTETS_MAX: usize = 64;
/// Octets of a code with what people type between its digits.
const CODE_OCTETS_MAX: usize = 64;
/// Seconds that what a voucher gives may last: a hundred years.
const VALID_SECONDS_MAX: i64 = 100 * 366 * 86_400;
/// Codes in one message of the stream.
const CODES_AT_ONCE: usize = 1000;

/// What can be done with vouchers. Every future ends only when what it says is durable.
pub trait VoucherOperations: Send + Sync + 'static {
    /// Makes a batch; hands out its codes, by serial number from 1.
    fn create_vouchers(
        &self,
        caller: Caller,
        new: NewBatch,
    ) -> impl Future<Output = Result<Vec<String>, OperationError>> + Send;

    /// Batches by number, behind one; each with its number.
    fn voucher_batches(
        &self,
        after: Option<u32>,
        max: usize,
    ) -> impl Future<Output = Result<Vec<(u32, BatchSnapshot)>, OperationError>> + Send;

    /// The voucher with a code.
    fn voucher(
        &self,
        caller: Caller,
        code: Box<str>,
    ) -> impl Future<Output = Result<VoucherSnapshot, OperationError>> + Send;

    /// Blocks a batch; says whether it was before.
    fn block_batch(
        &self,
        caller: Caller,
        batch: Box<str>,
        reason: Box<str>,
    ) -> impl Future<Output = Result<bool, OperationError>> + Send;

    /// Blocks a voucher; says whether it was before.
    fn block_voucher(
        &self,
        caller: Caller,
        which: WhichVoucher,
        reason: Box<str>,
    ) -> impl Future<Output = Result<(VoucherSnapshot, bool), OperationError>> + Send;

    /// Redeems a voucher.
    fn redeem_voucher(
        &self,
        caller: Caller,
        redemption: Redemption,
    ) -> impl Future<Output = Result<Redeemed, OperationError>> + Send;
}

/// A checked new batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBatch {
    /// Its name.
    pub name: Box<str>,
    /// The tenant whose accounts can redeem them.
    pub tenant: TenantId,
    /// How many vouchers.
    pub count: u32,
    /// What each is worth; above 0.
    pub amount: Money,
    /// Of which currency.
    pub currency: Currency,
    /// The bucket that takes it.
    pub bucket: BucketId,
    /// Its priority when it is new.
    pub priority: u16,
    /// Whether it was paid for.
    pub origin: Origin,
    /// How long what one gives lasts, seconds; `None` for always.
    pub valid_seconds: Option<u64>,
    /// First instant at which they can no longer be redeemed.
    pub expires: Timestamp,
    /// Why.
    pub reason: Box<str>,
}

/// A batch as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSnapshot {
    /// What it was made as.
    pub made: NewBatch,
    /// Where it stands.
    pub state: VoucherStanding,
    /// How many were redeemed.
    pub used: u32,
    /// When it was made.
    pub made_at: Timestamp,
    /// Who made it.
    pub made_by: Box<str>,
}

/// Where a batch or a voucher stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoucherStanding {
    /// Its batch is not whole.
    Made,
    /// It can be redeemed.
    Active,
    /// It was redeemed.
    Used,
    /// It was blocked.
    Blocked,
    /// Its time is over.
    Expired,
}

/// A voucher as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoucherSnapshot {
    /// Its batch.
    pub batch: Box<str>,
    /// Its serial number.
    pub serial: u32,
    /// Where it stands.
    pub state: VoucherStanding,
    /// What it is worth.
    pub amount: Money,
    /// Of which currency.
    pub currency: Currency,
    /// First instant at which it can no longer be redeemed.
    pub expires: Timestamp,
    /// Who redeemed it.
    pub account: Option<(TenantId, AccountId)>,
    /// When it was redeemed or blocked.
    pub changed: Option<Timestamp>,
}

/// Which voucher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhichVoucher {
    /// The one with this code.
    Code(Box<str>),
    /// The one of this batch with this serial number.
    Serial(Box<str>, u32),
}

/// Who gets what a voucher gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beneficiary {
    /// An account.
    Account(Selection),
    /// The account of a subscriber.
    Subscriber(TenantId, SubscriberId),
}

/// A checked redemption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redemption {
    /// For whom.
    pub beneficiary: Beneficiary,
    /// The code as it was typed.
    pub code: Box<str>,
    /// Repeating it changes nothing.
    pub key: IdempotencyKey,
}

impl Redemption {
    /// The engine's request of a top-up of `account`, a name, by what is kept of the code: its digest tells a repeat from a
    /// reused key, and says nothing of the code.
    pub fn request(&self, account: &str, kept: &[u8], reason: &str) -> EngineRequest {
        let digest = Sha256::new().chain_update(account).chain_update([0]).chain_update(kept).finalize();
        let digest = digest.iter().take(8).fold(0, |number, octet| number << 8 | u64::from(*octet));
        EngineRequest { key: self.key.clone(), digest, reason: reason.into() }
    }
}

/// What a redemption led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redeemed {
    /// Money in all money buckets afterwards.
    pub balance: Money,
    /// Its currency.
    pub currency: Currency,
    /// What the voucher was worth.
    pub amount: Money,
    /// The voucher's name.
    pub voucher: String,
    /// Number of the CDR among the account's.
    pub cdr_number: u64,
    /// Whether this is the first answer again.
    pub repeated: bool,
}

/// Why nothing was done with a voucher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VoucherRefusal {
    /// The code is none, in words that say no more than its digits do.
    NoCode(&'static str),
    /// Nobody made it.
    Unknown,
    /// Too many wrong ones were tried.
    Locked {
        /// Until when.
        until: Timestamp,
        /// Seconds to then.
        seconds: u64,
    },
    /// It was redeemed.
    Used,
    /// It was blocked.
    Blocked,
    /// Its time is over.
    Expired,
    /// There is no such batch.
    UnknownBatch,
    /// There is one of this name.
    BatchExists,
    /// There is no room for so many.
    TooMany(String),
}

/// What the caller is told.
pub(crate) fn refused_voucher(refusal: &VoucherRefusal, what: &str) -> Status {
    let failed = |reason: &str, message: String| status(Code::FailedPrecondition, reason, message);
    match refusal {
        VoucherRefusal::NoCode(reason) => Rejection::new("code", *reason).into(),
        VoucherRefusal::Unknown => {
            status(Code::NotFound, "UNKNOWN_VOUCHER", "code: no voucher has it; read it again, from the card")
        }
        VoucherRefusal::Locked { until, seconds } => status_later(
            Code::FailedPrecondition,
            "VOUCHER_LOCKED",
            format!("{what}: too many wrong codes were tried; try again at {until}"),
            *seconds,
        ),
        VoucherRefusal::Used => failed("VOUCHER_USED", "code: the voucher was redeemed before".to_owned()),
        VoucherRefusal::Blocked => {
            failed("VOUCHER_BLOCKED", "code: the voucher was blocked; ask whoever sold it".to_owned())
        }
        VoucherRefusal::Expired => failed("VOUCHER_EXPIRED", "code: the voucher's time is over".to_owned()),
        VoucherRefusal::UnknownBatch => {
            status(Code::NotFound, "BATCH_NOT_FOUND", format!("{what} is not known; list the batches"))
        }
        VoucherRefusal::BatchExists => status(
            Code::AlreadyExists,
            "BATCH_EXISTS",
            format!(
                "batch: {what} was made before, and its codes are not shown again; choose another name, and block it if its codes are lost"
            ),
        ),
        VoucherRefusal::TooMany(reason) => status(Code::ResourceExhausted, "TOO_MANY_VOUCHERS", reason.clone()),
    }
}

/// The `Vouchers` service.
#[derive(Debug)]
pub struct VouchersService<O> {
    operations: Arc<O>,
}

impl<O: Operations + VoucherOperations> VouchersService<O> {
    /// Serves what the operations can do.
    pub const fn new(operations: Arc<O>) -> Self {
        Self { operations }
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> VouchersServer<Self> {
        VouchersServer::new(self)
    }
}

#[tonic::async_trait]
impl<O: Operations + VoucherOperations> Vouchers for VouchersService<O> {
    type CreateVouchersStream = Pin<Box<dyn Stream<Item = Result<wire::CreateVouchersResponse, Status>> + Send>>;

    async fn create_vouchers(
        &self,
        request: Request<wire::CreateVouchersRequest>,
    ) -> Result<Response<Self::CreateVouchersStream>, Status> {
        let caller = Caller::of(&request);
        let new = NewBatch::parse(request.into_inner())?;
        let (batch, name) = (name::batch(&new.name), new.name.clone());
        let made = self.operations.create_vouchers(caller, new).await;
        let codes = made.map_err(|error| refused(&error, &batch))?;
        let named =
            (1..).zip(codes).map(move |(serial, code)| wire::NewVoucher { name: name::voucher(&name, serial), code });
        let mut named = named.peekable();
        let messages = std::iter::from_fn(move || {
            named.peek()?;
            let vouchers = named.by_ref().take(CODES_AT_ONCE).collect();
            Some(Ok(wire::CreateVouchersResponse { batch: batch.clone(), vouchers }))
        });
        Ok(Response::new(Box::pin(futures_util::stream::iter(messages))))
    }

    async fn list_batches(
        &self,
        request: Request<wire::ListBatchesRequest>,
    ) -> Result<Response<wire::ListBatchesResponse>, Status> {
        let wire::ListBatchesRequest { page_size, page_token } = request.into_inner();
        let (max, after) = (page::size(page_size)?, page::position(&page_token)?);
        let after = after.map(|after| u32::try_from(after).unwrap_or(u32::MAX));
        let found = self.operations.voucher_batches(after, max).await;
        let found = found.map_err(|error| refused(&error, "the batches"))?;
        let last = found.last().filter(|_| found.len() >= max);
        let next_page_token = last.map(|(number, _)| page::token((*number).into())).unwrap_or_default();
        let batches = found.into_iter().map(|(_, batch)| shown_batch(batch)).collect();
        Ok(Response::new(wire::ListBatchesResponse { batches, next_page_token }))
    }

    async fn get_voucher(
        &self,
        request: Request<wire::GetVoucherRequest>,
    ) -> Result<Response<wire::GetVoucherResponse>, Status> {
        let caller = Caller::of(&request);
        let what = caller.name.to_string();
        let found = self.operations.voucher(caller, code(&request.into_inner().code)?).await;
        let voucher = found.map_err(|error| refused(&error, &what))?;
        Ok(Response::new(wire::GetVoucherResponse { voucher: Some(shown(&voucher)) }))
    }

    async fn block_batch(
        &self,
        request: Request<wire::BlockBatchRequest>,
    ) -> Result<Response<wire::BlockBatchResponse>, Status> {
        let caller = Caller::of(&request);
        let wire::BlockBatchRequest { name, reason } = request.into_inner();
        said_why(&reason)?;
        let batch = name.strip_prefix("batches/").filter(|batch| is_batch(batch));
        let batch =
            batch.ok_or_else(|| Rejection::new("name", "is no batch's name; give one, e.g. batches/summer-27"))?;
        let done = self.operations.block_batch(caller, batch.into(), reason.into()).await;
        let repeated = done.map_err(|error| refused(&error, &name))?;
        Ok(Response::new(wire::BlockBatchResponse { repeated }))
    }

    async fn block_voucher(
        &self,
        request: Request<wire::BlockVoucherRequest>,
    ) -> Result<Response<wire::BlockVoucherResponse>, Status> {
        use wire::block_voucher_request::Voucher as Given;
        let caller = Caller::of(&request);
        let wire::BlockVoucherRequest { voucher, reason } = request.into_inner();
        said_why(&reason)?;
        let (which, what) = match voucher {
            Some(Given::Code(given)) => (WhichVoucher::Code(code(&given)?), caller.name.to_string()),
            Some(Given::Name(name)) => (serial(&name)?, name),
            None => return Err(Rejection::new("voucher", "is missing; give its code or its name").into()),
        };
        let done = self.operations.block_voucher(caller, which, reason.into()).await;
        let (voucher, repeated) = done.map_err(|error| refused(&error, &what))?;
        Ok(Response::new(wire::BlockVoucherResponse { voucher: Some(shown(&voucher)), repeated }))
    }

    async fn redeem_voucher(
        &self,
        request: Request<wire::RedeemVoucherRequest>,
    ) -> Result<Response<wire::RedeemVoucherResponse>, Status> {
        let caller = Caller::of(&request);
        let (redemption, what) = Redemption::parse(request.into_inner())?;
        let done = self.operations.redeem_voucher(caller, redemption).await;
        let Redeemed { balance, currency, amount, voucher, cdr_number, repeated } =
            done.map_err(|error| refused(&error, &what))?;
        let (balance, value) = (Some(money(balance, currency)), Some(money(amount, currency)));
        Ok(Response::new(wire::RedeemVoucherResponse { balance, value, voucher, cdr_number, repeated }))
    }
}

impl NewBatch {
    fn parse(request: wire::CreateVouchersRequest) -> Result<Self, Rejection> {
        let name = request.batch;
        if !is_batch(&name) {
            let reason = format!("is {name:?}; give 1 to {BATCH_OCTETS_MAX} letters, digits, '-', '_' and '.'");
            return Err(Rejection::new("batch", reason));
        }
        if !(1..=VOUCHERS_AT_ONCE_MAX).contains(&request.count) {
            let reason = format!("is {}; give 1 to {VOUCHERS_AT_ONCE_MAX}", request.count);
            return Err(Rejection::new("count", reason));
        }
        let tenant = parse_tenant(request.tenant_id)?;
        let (amount, currency) = positive("value", request.value)?;
        let bucket = if request.bucket_id.is_empty() { BUCKET_DEFAULT } else { &request.bucket_id };
        text("bucket_id", bucket, BUCKET_OCTETS_MAX)?;
        let priority = request.priority.map_or(Ok(PRIORITY_DEFAULT), |priority| {
            u16::try_from(priority)
                .map_err(|_| Rejection::new("priority", format!("is {priority}; give at most 65535")))
        })?;
        let origin = match common::Origin::try_from(request.origin) {
            Ok(common::Origin::Unspecified | common::Origin::Paid) => Origin::Paid,
            Ok(common::Origin::Granted) => Origin::Granted,
            Err(_) => {
                let reason = format!("is {}, which is not known; give ORIGIN_PAID or ORIGIN_GRANTED", request.origin);
                return Err(Rejection::new("origin", reason));
            }
        };
        let valid_seconds = match request.validity {
            None => None,
            Some(Duration { seconds: seconds @ 1..=VALID_SECONDS_MAX, nanos: 0 }) => seconds.try_into().ok(),
            Some(Duration { seconds, nanos }) => {
                let reason = format!("is {seconds}.{nanos:09} s; give whole seconds, 1 to {VALID_SECONDS_MAX}");
                return Err(Rejection::new("validity", reason));
            }
        };
        let expires = request.expire_time.ok_or_else(|| {
            Rejection::new("expire_time", "is missing; say from when on they can no longer be redeemed")
        })?;
        let expires = instant("expire_time", expires)?;
        text("reason", &request.reason, REASON_OCTETS_MAX)?;
        Ok(Self {
            name: name.into(),
            tenant,
            count: request.count,
            amount,
            currency,
            bucket: BucketId::new(bucket),
            priority,
            origin,
            valid_seconds,
            expires,
            reason: request.reason.into(),
        })
    }
}

impl Redemption {
    fn parse(request: wire::RedeemVoucherRequest) -> Result<(Self, String), Rejection> {
        use wire::redeem_voucher_request::Beneficiary as Given;
        let wire::RedeemVoucherRequest { beneficiary, code: given, idempotency_key: key } = request;
        if key.is_empty() {
            return Err(Rejection::new(
                "idempotency_key",
                "is missing; give a text that is unique to this redemption, e.g. a UUID, and repeat it when you try again",
            ));
        }
        text("idempotency_key", &key, KEY_OCTETS_MAX)?;
        let (beneficiary, what) = match beneficiary {
            Some(Given::Account(name)) => (Beneficiary::Account(parse_account("account", &name)?), name),
            Some(Given::Subscriber(name)) => {
                let (tenant, subscriber) = parse_subscriber("subscriber", &name)?;
                let beneficiary = match subscriber {
                    SubscriberSelector::Id(id) => Beneficiary::Subscriber(tenant, id),
                    SubscriberSelector::Identifier(identifier) => {
                        let account = AccountSelector::Identifier(identifier);
                        Beneficiary::Account(Selection { tenant, account })
                    }
                };
                (beneficiary, name)
            }
            None => return Err(Rejection::new("beneficiary", "is missing; give account or subscriber")),
        };
        Ok((Self { beneficiary, code: code(&given)?, key: IdempotencyKey::new(&key) }, what))
    }
}

/// A code as it was typed; what it says of a wrong one never repeats it.
fn code(given: &str) -> Result<Box<str>, Rejection> {
    match given.len() {
        0 => Err(Rejection::new("code", "is missing; give the voucher's code")),
        1..=CODE_OCTETS_MAX => Ok(given.into()),
        _ => Err(Rejection::new("code", "is no code; a code has 16 digits")),
    }
}

fn is_batch(name: &str) -> bool {
    (1..=BATCH_OCTETS_MAX).contains(&name.len())
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet))
}

fn serial(name: &str) -> Result<WhichVoucher, Rejection> {
    let parts = name.strip_prefix("batches/").and_then(|rest| rest.split_once("/vouchers/"));
    let parts =
        parts.filter(|(batch, _)| is_batch(batch)).and_then(|(batch, serial)| Some((batch, serial.parse().ok()?)));
    let (batch, serial) = parts.ok_or_else(|| {
        Rejection::new("name", "is no voucher's name; give one as it is printed, e.g. batches/summer-27/vouchers/17")
    })?;
    Ok(WhichVoucher::Serial(batch.into(), serial))
}

fn said_why(reason: &str) -> Result<(), Rejection> {
    if reason.is_empty() {
        return Err(Rejection::new("reason", "is missing; say why, for whoever reads the records later"));
    }
    text("reason", reason, REASON_OCTETS_MAX)
}

const fn standing(state: VoucherStanding) -> wire::VoucherState {
    match state {
        VoucherStanding::Made => wire::VoucherState::Made,
        VoucherStanding::Active => wire::VoucherState::Active,
        VoucherStanding::Used => wire::VoucherState::Used,
        VoucherStanding::Blocked => wire::VoucherState::Blocked,
        VoucherStanding::Expired => wire::VoucherState::Expired,
    }
}

fn shown_batch(batch: BatchSnapshot) -> wire::VoucherBatch {
    let BatchSnapshot { made, state, used, made_at, made_by } = batch;
    let seconds = made.valid_seconds.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
    wire::VoucherBatch {
        name: name::batch(&made.name),
        state: standing(state).into(),
        count: made.count,
        used,
        value: Some(money(made.amount, made.currency)),
        bucket_id: made.bucket.as_str().to_owned(),
        priority: made.priority.into(),
        origin: origin(made.origin).into(),
        validity: seconds.map(|seconds| Duration { seconds, nanos: 0 }),
        expire_time: Some(time(made.expires)),
        create_time: Some(time(made_at)),
        created_by: made_by.into(),
        tenant_id: made.tenant.get().into(),
    }
}

fn shown(voucher: &VoucherSnapshot) -> wire::Voucher {
    wire::Voucher {
        name: name::voucher(&voucher.batch, voucher.serial),
        state: standing(voucher.state).into(),
        value: Some(money(voucher.amount, voucher.currency)),
        expire_time: Some(time(voucher.expires)),
        account: voucher.account.map(|(tenant, id)| name::account(tenant, id)).unwrap_or_default(),
        change_time: voucher.changed.map(time),
    }
}
