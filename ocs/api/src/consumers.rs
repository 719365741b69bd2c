//! The `CdrConsumers` service: consumers of rated CDRs made, looked after and ended by people. Their streams are `cdr-export`'s.

use std::future::Future;
use std::sync::Arc;

use ocs_proto::cdr::v1 as wire;
use ocs_proto::cdr::v1::cdr_consumers_server::{CdrConsumers, CdrConsumersServer};
use prost::Message;
use rating_engine::ids::CdrPosition;
use tonic::{Code, Request, Response, Status};

use crate::caller::Caller;
use crate::change::Asked;
use crate::operations::OperationError;
use crate::page;
use crate::refusal::{refused, status};
use crate::request::Rejection;

/// Octets of a consumer's name.
const NAME_OCTETS_MAX: usize = 64;
/// Attempts when nothing is said, and at most.
const ATTEMPTS_DEFAULT: u32 = 5;
const ATTEMPTS_MAX: u32 = 100;
/// Positions that one request may name.
const POSITIONS_MAX: usize = 1000;
/// What stands before a consumer's name.
const CONSUMERS: &str = "consumers/";

/// What can be done with consumers. Every future ends only when what it says is durable.
pub trait ConsumerOperations: Send + Sync + 'static {
    /// Makes one; says whether this request did before.
    fn create(
        &self,
        caller: Caller,
        wanted: ConsumerWanted,
    ) -> impl Future<Output = Result<(wire::CdrConsumer, bool), ConsumerRefusal>> + Send;

    /// One of them.
    fn consumer(&self, name: Box<str>) -> impl Future<Output = Result<wire::CdrConsumer, ConsumerRefusal>> + Send;

    /// All of them, by name.
    fn consumers(&self) -> impl Future<Output = Result<Vec<wire::CdrConsumer>, ConsumerRefusal>> + Send;

    /// Moves or ends one, or deals with what it has parked.
    fn change(
        &self,
        caller: Caller,
        change: ConsumerChange,
    ) -> impl Future<Output = Result<ConsumerChanged, ConsumerRefusal>> + Send;

    /// What one has parked, behind a position.
    fn parked(
        &self,
        name: Box<str>,
        after: Option<u64>,
        max: usize,
    ) -> impl Future<Output = Result<Vec<wire::ParkedCdr>, ConsumerRefusal>> + Send;
}

/// A consumer that is wanted.
#[derive(Clone, Debug)]
pub struct ConsumerWanted {
    /// Its name, without what stands before it.
    pub name: Box<str>,
    /// What it gets, as it was asked.
    pub filter: Option<wire::CdrFilter>,
    /// Where it begins.
    pub start: Start,
    /// After so many attempts a CDR is parked.
    pub max_attempts: u32,
    /// The key, and why.
    pub asked: Asked,
}

/// Where a consumer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest CDR that is kept.
    Oldest,
    /// The next to be written.
    Tail,
    /// This one.
    At(CdrPosition),
}

/// What is to be different of a consumer.
#[derive(Clone, Debug)]
pub struct ConsumerChange {
    /// Its name, without what stands before it.
    pub name: Box<str>,
    /// What.
    pub step: ConsumerStep,
    /// The etag that it is based on.
    pub etag: Option<Box<str>>,
    /// The key, and why.
    pub asked: Asked,
}

/// One step with a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerStep {
    /// It goes on elsewhere.
    Reset(Start),
    /// It is no more.
    Delete,
    /// What it has parked is sent again; none for all of it.
    Retry(Vec<CdrPosition>),
    /// What it has parked is given up.
    Discard(Vec<CdrPosition>),
}

impl ConsumerStep {
    /// The method that asks for it.
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Reset(_) => "CdrConsumers/ResetConsumer",
            Self::Delete => "CdrConsumers/DeleteConsumer",
            Self::Retry(_) => "CdrConsumers/RetryParked",
            Self::Discard(_) => "CdrConsumers/DiscardParked",
        }
    }
}

/// What came of a change.
#[derive(Clone, Debug, Default)]
pub struct ConsumerChanged {
    /// The consumer; `None` where it is gone.
    pub consumer: Option<wire::CdrConsumer>,
    /// How many parked CDRs it was done to.
    pub parked: u32,
    /// Whether this request did it before.
    pub repeated: bool,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerRefusal {
    /// There is none of this name.
    Unknown,
    /// There is one.
    Exists,
    /// There are as many as may be.
    TooMany(usize),
    /// This CDR is not parked.
    NotParked(CdrPosition),
    /// There is no CDR at this position; what there is.
    NeverIssued(CdrPosition, String),
    /// It is older than what is kept; what there is.
    NotKept(CdrPosition, String),
    /// The filter is malformed: the field and what to write.
    Filter(String),
    /// As for any other operation.
    Operation(OperationError),
}

impl From<OperationError> for ConsumerRefusal {
    fn from(error: OperationError) -> Self {
        Self::Operation(error)
    }
}

impl ConsumerRefusal {
    fn status(self, name: &str) -> Status {
        let what = consumer_name(name);
        match self {
            Self::Unknown => status(
                Code::NotFound,
                "CONSUMER_NOT_FOUND",
                format!("{what} is not known; make it first, or check the name"),
            ),
            Self::Exists => status(
                Code::AlreadyExists,
                "CONSUMER_EXISTS",
                format!("{what} is there already; reset it, or choose another name"),
            ),
            Self::TooMany(most) => status(
                Code::ResourceExhausted,
                "TOO_MANY_CONSUMERS",
                format!("there are {most} consumers, which is the limit; end one that nobody needs"),
            ),
            Self::NotParked(position) => status(
                Code::NotFound,
                "PARKED_NOT_FOUND",
                format!("positions: CDR {position} is not parked by {what}; list what is"),
            ),
            Self::NeverIssued(position, there) => {
                status(Code::OutOfRange, "POSITION_NEVER_ISSUED", format!("start: there is no CDR {position}; {there}"))
            }
            Self::NotKept(position, there) => {
                status(Code::OutOfRange, "POSITION_NOT_KEPT", format!("start: CDR {position} is not kept; {there}"))
            }
            Self::Filter(words) => status(Code::InvalidArgument, "INVALID_FIELD", words),
            Self::Operation(error) => refused(&error, &what),
        }
    }
}

/// The name of a consumer.
pub fn consumer_name(name: &str) -> String {
    format!("{CONSUMERS}{name}")
}

fn parse_name(field: &'static str, given: &str) -> Result<Box<str>, Rejection> {
    let is_sound = |name: &&str| {
        let known = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
        (1..=NAME_OCTETS_MAX).contains(&name.len()) && name.bytes().all(known)
    };
    let name = given.strip_prefix(CONSUMERS).filter(is_sound);
    name.map(Into::into).ok_or_else(|| {
        Rejection::new(field, "is no consumer's name; give consumers/ and 1 to 64 of a-z, 0-9 and -: consumers/ledger")
    })
}

fn parse_start(given: Option<wire::ConsumerStart>) -> Result<Option<Start>, Rejection> {
    use wire::consumer_start::At;
    let Some(wire::ConsumerStart { at }) = given else { return Ok(None) };
    match at {
        Some(At::Oldest(true)) => Ok(Some(Start::Oldest)),
        Some(At::Tail(true)) => Ok(Some(Start::Tail)),
        Some(At::Position(position)) => Ok(Some(Start::At(CdrPosition::new(position)))),
        Some(At::Oldest(false) | At::Tail(false)) | None => {
            Err(Rejection::new("start", "says nothing; give oldest, tail or a position"))
        }
    }
}

fn parse_positions(given: &[u64]) -> Result<Vec<CdrPosition>, Rejection> {
    if given.len() > POSITIONS_MAX {
        return Err(Rejection::new("positions", format!("has {}; give at most {POSITIONS_MAX}", given.len())));
    }
    Ok(given.iter().map(|position| CdrPosition::new(*position)).collect())
}

/// A change that needs nothing but its name, key and reason.
fn change(
    (name, key, reason): (&str, &str, &str),
    etag: &str,
    step: ConsumerStep,
    message: &impl Message,
) -> Result<ConsumerChange, Rejection> {
    let (name, asked) = (parse_name("name", name)?, Asked::parse(key, reason, true, message)?);
    Ok(ConsumerChange { name, step, etag: (!etag.is_empty()).then(|| etag.into()), asked })
}

/// The `CdrConsumers` service.
#[derive(Debug)]
pub struct ConsumersService<O> {
    operations: Arc<O>,
}

impl<O: ConsumerOperations> ConsumersService<O> {
    /// Serves what the operations can do.
    pub const fn new(operations: Arc<O>) -> Self {
        Self { operations }
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> CdrConsumersServer<Self> {
        CdrConsumersServer::new(self)
    }

    async fn change(&self, caller: Caller, change: ConsumerChange) -> Result<ConsumerChanged, Status> {
        let name = change.name.clone();
        self.operations.change(caller, change).await.map_err(|refusal| refusal.status(&name))
    }
}

#[tonic::async_trait]
impl<O: ConsumerOperations> CdrConsumers for ConsumersService<O> {
    async fn create_consumer(
        &self,
        request: Request<wire::CreateConsumerRequest>,
    ) -> Result<Response<wire::CreateConsumerResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let asked = Asked::parse(&request.idempotency_key, &request.reason, true, &request)?;
        let max_attempts = match request.max_attempts {
            0 => ATTEMPTS_DEFAULT,
            given @ 1..=ATTEMPTS_MAX => given,
            given => {
                let reason = format!("is {given}; give 1 to {ATTEMPTS_MAX}, or 0 for {ATTEMPTS_DEFAULT}");
                return Err(Rejection::new("max_attempts", reason).into());
            }
        };
        let wanted = ConsumerWanted {
            name: parse_name("consumer", &request.consumer)?,
            filter: request.filter,
            start: parse_start(request.start)?.unwrap_or(Start::Oldest),
            max_attempts,
            asked,
        };
        let name = wanted.name.clone();
        let made = self.operations.create(caller, wanted).await;
        let (consumer, repeated) = made.map_err(|refusal| refusal.status(&name))?;
        Ok(Response::new(wire::CreateConsumerResponse { consumer: Some(consumer), repeated }))
    }

    async fn get_consumer(
        &self,
        request: Request<wire::GetConsumerRequest>,
    ) -> Result<Response<wire::GetConsumerResponse>, Status> {
        let name = parse_name("name", &request.into_inner().name)?;
        let found = self.operations.consumer(name.clone()).await.map_err(|refusal| refusal.status(&name))?;
        Ok(Response::new(wire::GetConsumerResponse { consumer: Some(found) }))
    }

    async fn list_consumers(
        &self,
        _: Request<wire::ListConsumersRequest>,
    ) -> Result<Response<wire::ListConsumersResponse>, Status> {
        let consumers = self.operations.consumers().await.map_err(|refusal| refusal.status(""))?;
        Ok(Response::new(wire::ListConsumersResponse { consumers }))
    }

    async fn reset_consumer(
        &self,
        request: Request<wire::ResetConsumerRequest>,
    ) -> Result<Response<wire::ResetConsumerResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let start = parse_start(request.start)?
            .ok_or_else(|| Rejection::new("start", "is missing; give oldest, tail or a position"))?;
        let of = (&*request.name, &*request.idempotency_key, &*request.reason);
        let wanted = change(of, &request.etag, ConsumerStep::Reset(start), &request)?;
        let ConsumerChanged { consumer, repeated, .. } = self.change(caller, wanted).await?;
        Ok(Response::new(wire::ResetConsumerResponse { consumer, repeated }))
    }

    async fn delete_consumer(
        &self,
        request: Request<wire::DeleteConsumerRequest>,
    ) -> Result<Response<wire::DeleteConsumerResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let of = (&*request.name, &*request.idempotency_key, &*request.reason);
        let wanted = change(of, &request.etag, ConsumerStep::Delete, &request)?;
        let ConsumerChanged { repeated, .. } = self.change(caller, wanted).await?;
        Ok(Response::new(wire::DeleteConsumerResponse { repeated }))
    }

    async fn list_parked(
        &self,
        request: Request<wire::ListParkedRequest>,
    ) -> Result<Response<wire::ListParkedResponse>, Status> {
        let wire::ListParkedRequest { name, page_size, page_token } = request.into_inner();
        let name = parse_name("name", &name)?;
        let (max, after) = (page::size(page_size)?, page::position(&page_token)?);
        let found = self.operations.parked(name.clone(), after, max).await;
        let parked = found.map_err(|refusal| refusal.status(&name))?;
        let last = parked.last().filter(|_| parked.len() >= max);
        let next_page_token = last.map(|parked| page::token(parked.position)).unwrap_or_default();
        Ok(Response::new(wire::ListParkedResponse { parked, next_page_token }))
    }

    async fn retry_parked(
        &self,
        request: Request<wire::RetryParkedRequest>,
    ) -> Result<Response<wire::RetryParkedResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let step = ConsumerStep::Retry(parse_positions(&request.positions)?);
        let of = (&*request.name, &*request.idempotency_key, &*request.reason);
        let wanted = change(of, "", step, &request)?;
        let ConsumerChanged { parked: retried, repeated, .. } = self.change(caller, wanted).await?;
        Ok(Response::new(wire::RetryParkedResponse { retried, repeated }))
    }

    async fn discard_parked(
        &self,
        request: Request<wire::DiscardParkedRequest>,
    ) -> Result<Response<wire::DiscardParkedResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        if request.positions.is_empty() {
            return Err(Rejection::new("positions", "is missing; name what is given up, as ListParked shows it").into());
        }
        let step = ConsumerStep::Discard(parse_positions(&request.positions)?);
        let of = (&*request.name, &*request.idempotency_key, &*request.reason);
        let wanted = change(of, "", step, &request)?;
        let ConsumerChanged { parked: discarded, repeated, .. } = self.change(caller, wanted).await?;
        Ok(Response::new(wire::DiscardParkedResponse { discarded, repeated }))
    }
}
