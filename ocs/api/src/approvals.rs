//! The `Approvals` service: large credits that a second person has to approve.

use std::future::Future;
use std::sync::Arc;

use ocs_proto::charging::convert::{money, time};
use ocs_proto::operator::v1 as wire;
use ocs_proto::operator::v1::approvals_server::{Approvals, ApprovalsServer};
use rating_engine::ids::{AccountId, BucketId, IdempotencyKey, TenantId};
use rating_engine::money::{Currency, Money};
use rating_engine::time::Timestamp;
use tonic::{Code, Request, Response, Status};

use crate::caller::{Caller, Ceiling};
use crate::operations::{Changed, OperationError, Operations};
use crate::refusal::{refused, status, status_about};
use crate::request::{REASON_OCTETS_MAX, Rejection, text};
use crate::{name, page};

/// What can be done with approvals. Every future ends only when what it says is durable.
pub trait ApprovalOperations: Send + Sync + 'static {
    /// Approvals by number, behind one.
    fn approvals(
        &self,
        after: Option<u64>,
        max: usize,
    ) -> impl Future<Output = Result<Vec<ApprovalSnapshot>, OperationError>> + Send;

    /// Says yes.
    fn approve(&self, caller: Caller, number: u64) -> impl Future<Output = Result<Changed, OperationError>> + Send;

    /// Says no; says whether somebody did before.
    fn reject(
        &self,
        caller: Caller,
        number: u64,
        reason: Box<str>,
    ) -> impl Future<Output = Result<bool, OperationError>> + Send;
}

/// An approval as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalSnapshot {
    /// Its number.
    pub number: u64,
    /// Where it stands.
    pub state: ApprovalStanding,
    /// The method that was called.
    pub method: Box<str>,
    /// The account.
    pub account: (TenantId, AccountId),
    /// How much.
    pub amount: Money,
    /// Of which currency.
    pub currency: Currency,
    /// The bucket that takes it.
    pub bucket: Option<BucketId>,
    /// Who asked.
    pub asked_by: Box<str>,
    /// When.
    pub asked: Timestamp,
    /// First instant at which it can no longer be approved.
    pub expires: Timestamp,
    /// Why.
    pub reason: Box<str>,
    /// The request's key.
    pub key: IdempotencyKey,
    /// Who decided, and when.
    pub decided: Option<(Box<str>, Timestamp)>,
}

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalStanding {
    /// It waits.
    Pending,
    /// It was done.
    Approved,
    /// It is not done.
    Rejected,
    /// Nobody decided in time.
    Expired,
}

/// Why something was not done without, or in spite of, a second person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApprovalRefusal {
    /// Somebody else has to say yes first.
    Needed {
        /// The approval's number.
        number: u64,
        /// Until when.
        expires: Timestamp,
    },
    /// Somebody said no.
    Rejected {
        /// The approval's number.
        number: u64,
    },
    /// Nobody decided in time.
    Expired,
    /// There is none of this number.
    Unknown,
    /// Whoever asked is who would approve.
    SamePerson,
    /// Whoever would approve may not give so much.
    AboveCeiling(Ceiling),
    /// Too many wait.
    TooMany,
}

/// What the caller is told.
pub(crate) fn refused_approval(refusal: &ApprovalRefusal, what: &str) -> Status {
    let failed = |reason: &str, message: String| status(Code::FailedPrecondition, reason, message);
    match refusal {
        ApprovalRefusal::Needed { number, expires } => {
            let name = name::approval(*number);
            let message = format!(
                "{what}: so much needs a second person; it waits as {name} until {expires}, for somebody else to approve"
            );
            status_about(Code::FailedPrecondition, "APPROVAL_NEEDED", message, "approval", name)
        }
        ApprovalRefusal::Rejected { number } => {
            let name = name::approval(*number);
            let message =
                format!("{name} was rejected; ask anew with another idempotency_key if it is right after all");
            status_about(Code::FailedPrecondition, "APPROVAL_REJECTED", message, "approval", name)
        }
        ApprovalRefusal::Expired => {
            failed("APPROVAL_EXPIRED", format!("{what}: nobody decided in time; have it asked for anew"))
        }
        ApprovalRefusal::Unknown => {
            status(Code::NotFound, "APPROVAL_NOT_FOUND", format!("{what} is not known; list the approvals"))
        }
        ApprovalRefusal::SamePerson => status(
            Code::PermissionDenied,
            "SAME_PERSON",
            format!("{what}: whoever asked for it cannot approve it; ask somebody else to"),
        ),
        ApprovalRefusal::AboveCeiling(ceiling) => status(
            Code::PermissionDenied,
            "ABOVE_CEILING",
            format!("{what}: you may give at most {ceiling} at once; ask somebody who may give more"),
        ),
        ApprovalRefusal::TooMany => status(
            Code::ResourceExhausted,
            "TOO_MANY_APPROVALS",
            format!("{what}: so much needs a second person, and too many requests wait for one; decide on those first"),
        ),
    }
}

/// The `Approvals` service.
#[derive(Debug)]
pub struct ApprovalsService<O> {
    operations: Arc<O>,
}

impl<O: Operations + ApprovalOperations> ApprovalsService<O> {
    /// Serves what the operations can do.
    pub const fn new(operations: Arc<O>) -> Self {
        Self { operations }
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> ApprovalsServer<Self> {
        ApprovalsServer::new(self)
    }
}

#[tonic::async_trait]
impl<O: Operations + ApprovalOperations> Approvals for ApprovalsService<O> {
    async fn list_approvals(
        &self,
        request: Request<wire::ListApprovalsRequest>,
    ) -> Result<Response<wire::ListApprovalsResponse>, Status> {
        let wire::ListApprovalsRequest { page_size, page_token, show_decided } = request.into_inner();
        let (max, after) = (page::size(page_size)?, page::position(&page_token)?);
        let found = self.operations.approvals(after, max).await;
        let found = found.map_err(|error| refused(&error, "the approvals"))?;
        let last = found.last().filter(|_| found.len() >= max);
        let next_page_token = last.map(|last| page::token(last.number)).unwrap_or_default();
        let wanted = |it: &ApprovalSnapshot| show_decided || it.state == ApprovalStanding::Pending;
        let approvals = found.into_iter().filter(wanted).map(shown).collect();
        Ok(Response::new(wire::ListApprovalsResponse { approvals, next_page_token }))
    }

    async fn approve(&self, request: Request<wire::ApproveRequest>) -> Result<Response<wire::ApproveResponse>, Status> {
        let caller = Caller::of(&request);
        let name = request.into_inner().name;
        let done = self.operations.approve(caller, number(&name)?).await.map_err(|error| refused(&error, &name))?;
        let Changed { balance, currency, cdr_number, repeated, .. } = done;
        Ok(Response::new(wire::ApproveResponse { balance: Some(money(balance, currency)), cdr_number, repeated }))
    }

    async fn reject(&self, request: Request<wire::RejectRequest>) -> Result<Response<wire::RejectResponse>, Status> {
        let caller = Caller::of(&request);
        let wire::RejectRequest { name, reason } = request.into_inner();
        if reason.is_empty() {
            return Err(Rejection::new("reason", "is missing; say why, for whoever asked").into());
        }
        text("reason", &reason, REASON_OCTETS_MAX)?;
        let done = self.operations.reject(caller, number(&name)?, reason.into()).await;
        let repeated = done.map_err(|error| refused(&error, &name))?;
        Ok(Response::new(wire::RejectResponse { repeated }))
    }
}

fn number(name: &str) -> Result<u64, Rejection> {
    let number = name.strip_prefix("approvals/").and_then(|number| number.parse().ok());
    number.ok_or_else(|| Rejection::new("name", "is no approval's name; give one, e.g. approvals/12"))
}

fn shown(approval: ApprovalSnapshot) -> wire::Approval {
    let state = match approval.state {
        ApprovalStanding::Pending => wire::ApprovalState::Pending,
        ApprovalStanding::Approved => wire::ApprovalState::Approved,
        ApprovalStanding::Rejected => wire::ApprovalState::Rejected,
        ApprovalStanding::Expired => wire::ApprovalState::Expired,
    };
    let (tenant, account) = approval.account;
    let (decided_by, decide_time) =
        approval.decided.map_or_else(Default::default, |(by, at)| (by.into(), Some(time(at))));
    wire::Approval {
        name: name::approval(approval.number),
        state: state.into(),
        method: approval.method.into(),
        account: name::account(tenant, account),
        amount: Some(money(approval.amount, approval.currency)),
        bucket_id: approval.bucket.map(|bucket| bucket.as_str().to_owned()).unwrap_or_default(),
        requested_by: approval.asked_by.into(),
        request_time: Some(time(approval.asked)),
        reason: approval.reason.into(),
        idempotency_key: approval.key.as_str().to_owned(),
        expire_time: Some(time(approval.expires)),
        decided_by,
        decide_time,
    }
}
