//! The `Rerating` service: usage rated again on a running system.

use std::future::Future;
use std::sync::Arc;

use ocs_proto::operator::v1 as wire;
use ocs_proto::operator::v1::rerating_server::{Rerating, ReratingServer};
use rating_engine::time::Timestamp;
use tonic::{Code, Request, Response, Status};

use crate::caller::{Caller, Ceiling};
use crate::change::Asked;
use crate::name::parse_account;
use crate::operations::{OperationError, Selection};
use crate::refusal::{refused, status};
use crate::request::{REASON_OCTETS_MAX, Rejection, instant, text};
use crate::{name, page};

/// Octets of a tariff's name.
const TARIFF_OCTETS_MAX: usize = 128;

/// What can be done with re-ratings. Every future ends only when what it says is durable.
pub trait ReratingOperations: Send + Sync + 'static {
    /// Plans one; says whether that is the first answer again.
    fn plan(
        &self,
        caller: Caller,
        asked: ReratingAsked,
    ) -> impl Future<Output = Result<(wire::ReratingJob, bool), ReratingRefusal>> + Send;

    /// Re-ratings by number, behind one.
    fn reratings(
        &self,
        after: Option<u64>,
        max: usize,
    ) -> impl Future<Output = Result<Vec<(u64, wire::ReratingJob)>, ReratingRefusal>> + Send;

    /// One of them.
    fn rerating(&self, number: u64) -> impl Future<Output = Result<wire::ReratingJob, ReratingRefusal>> + Send;

    /// Has one booked; says whether that was approved before.
    fn approve_rerating(
        &self,
        caller: Caller,
        number: u64,
    ) -> impl Future<Output = Result<(wire::ReratingJob, bool), ReratingRefusal>> + Send;

    /// Ends one; says whether somebody did before.
    fn cancel_rerating(
        &self,
        caller: Caller,
        number: u64,
        reason: Box<str>,
    ) -> impl Future<Output = Result<(wire::ReratingJob, bool), ReratingRefusal>> + Send;
}

/// A re-rating that is asked for.
#[derive(Clone, Debug)]
pub struct ReratingAsked {
    /// Of which tariff.
    pub tariff: Box<str>,
    /// From when.
    pub from: Timestamp,
    /// First instant after it.
    pub to: Timestamp,
    /// Only what this account paid.
    pub account: Option<Selection>,
    /// The key, and why.
    pub asked: Asked,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReratingRefusal {
    /// There is none of this number.
    Unknown,
    /// It is too early or too late for that: where it stands.
    WrongState(String),
    /// Whoever planned it is who would approve.
    SamePerson,
    /// Whoever would approve may not give so much.
    AboveCeiling(Ceiling),
    /// Too many are not over.
    TooMany,
    /// There is no such tariff.
    UnknownTariff,
    /// As for any other operation.
    Operation(OperationError),
}

impl From<OperationError> for ReratingRefusal {
    fn from(error: OperationError) -> Self {
        Self::Operation(error)
    }
}

impl ReratingRefusal {
    fn status(self, what: &str) -> Status {
        match self {
            Self::Unknown => {
                status(Code::NotFound, "RERATING_NOT_FOUND", format!("{what} is not known; list the re-ratings"))
            }
            Self::WrongState(stands) => status(Code::FailedPrecondition, "RERATING_STATE", format!("{what} {stands}")),
            Self::SamePerson => status(
                Code::PermissionDenied,
                "SAME_PERSON",
                format!("{what}: whoever planned it cannot approve it; ask somebody else to"),
            ),
            Self::AboveCeiling(ceiling) => status(
                Code::PermissionDenied,
                "ABOVE_CEILING",
                format!("{what}: you may give back at most {ceiling} at once; ask somebody who may give more"),
            ),
            Self::TooMany => status(
                Code::ResourceExhausted,
                "TOO_MANY_RERATINGS",
                format!("{what}: too many re-ratings are not over; approve or cancel some first"),
            ),
            Self::UnknownTariff => {
                Rejection::new("tariff", "is not the name of a tariff that is published; list the documents").into()
            }
            Self::Operation(error) => refused(&error, what),
        }
    }
}

impl ReratingAsked {
    fn parse(mut request: wire::PlanReratingRequest) -> Result<Self, Rejection> {
        let account = std::mem::take(&mut request.account);
        let account_selection = if account.is_empty() { None } else { Some(parse_account("account", &account)?) };
        let asked = Asked::parse(&request.idempotency_key, &request.reason, true, &request)?;
        if request.tariff.is_empty() {
            return Err(Rejection::new("tariff", "is missing; give the tariff's name"));
        }
        text("tariff", &request.tariff, TARIFF_OCTETS_MAX)?;
        let from = request.from.ok_or_else(|| Rejection::new("from", "is missing; give the first instant"))?;
        let to = request.to.ok_or_else(|| Rejection::new("to", "is missing; give the first instant after it"))?;
        let (from, to) = (instant("from", from)?, instant("to", to)?);
        if to <= from {
            return Err(Rejection::new("to", "is not later than from"));
        }
        Ok(Self { tariff: request.tariff.into(), from, to, account: account_selection, asked })
    }
}

/// The `Rerating` service.
#[derive(Debug)]
pub struct ReratingService<O> {
    operations: Arc<O>,
}

impl<O: ReratingOperations> ReratingService<O> {
    /// Serves what the operations can do.
    pub const fn new(operations: Arc<O>) -> Self {
        Self { operations }
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> ReratingServer<Self> {
        ReratingServer::new(self)
    }
}

#[tonic::async_trait]
impl<O: ReratingOperations> Rerating for ReratingService<O> {
    async fn plan_rerating(
        &self,
        request: Request<wire::PlanReratingRequest>,
    ) -> Result<Response<wire::PlanReratingResponse>, Status> {
        let caller = Caller::of(&request);
        let asked = ReratingAsked::parse(request.into_inner())?;
        let done = self.operations.plan(caller, asked).await;
        let (rerating, repeated) = done.map_err(|refusal| refusal.status("the re-rating"))?;
        Ok(Response::new(wire::PlanReratingResponse { rerating: Some(rerating), repeated }))
    }

    async fn list_reratings(
        &self,
        request: Request<wire::ListReratingsRequest>,
    ) -> Result<Response<wire::ListReratingsResponse>, Status> {
        let wire::ListReratingsRequest { page_size, page_token } = request.into_inner();
        let (max, after) = (page::size(page_size)?, page::position(&page_token)?);
        let found = self.operations.reratings(after, max).await;
        let found = found.map_err(|refusal| refusal.status("the re-ratings"))?;
        let last = found.last().filter(|_| found.len() >= max);
        let next_page_token = last.map(|(number, _)| page::token(*number)).unwrap_or_default();
        let reratings = found.into_iter().map(|(_, rerating)| rerating).collect();
        Ok(Response::new(wire::ListReratingsResponse { reratings, next_page_token }))
    }

    async fn get_rerating(
        &self,
        request: Request<wire::GetReratingRequest>,
    ) -> Result<Response<wire::GetReratingResponse>, Status> {
        let name = request.into_inner().name;
        let found = self.operations.rerating(number(&name)?).await;
        Ok(Response::new(wire::GetReratingResponse { rerating: Some(found.map_err(|refusal| refusal.status(&name))?) }))
    }

    async fn approve_rerating(
        &self,
        request: Request<wire::ApproveReratingRequest>,
    ) -> Result<Response<wire::ApproveReratingResponse>, Status> {
        let caller = Caller::of(&request);
        let name = request.into_inner().name;
        let done = self.operations.approve_rerating(caller, number(&name)?).await;
        let (rerating, repeated) = done.map_err(|refusal| refusal.status(&name))?;
        Ok(Response::new(wire::ApproveReratingResponse { rerating: Some(rerating), repeated }))
    }

    async fn cancel_rerating(
        &self,
        request: Request<wire::CancelReratingRequest>,
    ) -> Result<Response<wire::CancelReratingResponse>, Status> {
        let caller = Caller::of(&request);
        let wire::CancelReratingRequest { name, reason } = request.into_inner();
        if reason.is_empty() {
            return Err(Rejection::new("reason", "is missing; say why, for whoever planned it").into());
        }
        text("reason", &reason, REASON_OCTETS_MAX)?;
        let done = self.operations.cancel_rerating(caller, number(&name)?, reason.into()).await;
        let (rerating, repeated) = done.map_err(|refusal| refusal.status(&name))?;
        Ok(Response::new(wire::CancelReratingResponse { rerating: Some(rerating), repeated }))
    }
}

fn number(given: &str) -> Result<u64, Rejection> {
    let number = given.strip_prefix(name::RERATINGS).and_then(|number| number.parse().ok());
    number.ok_or_else(|| Rejection::new("name", "is no re-rating's name; give one, e.g. reratings/3"))
}
