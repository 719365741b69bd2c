//! Why not, as gRPC says it: a status code, words, and google.rpc details that programs act on (ErrorInfo, BadRequest,
//! RetryInfo). A reason, once said, keeps its meaning.

use std::time::Duration;

use rating_engine::command::Refusal;
use tonic::{Code, Status};
use tonic_types::StatusExt;

pub use ocs_proto::refusal::DOMAIN;
pub(crate) use ocs_proto::refusal::{details, status};

use crate::approvals::refused_approval;
use crate::operations::OperationError;
use crate::request::Rejection;
use crate::vouchers::refused_voucher;

/// When to try again what was too much.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A status with its reason, about something that has a name.
pub(crate) fn status_about(code: Code, reason: &str, message: impl Into<String>, kind: &str, name: String) -> Status {
    ocs_proto::refusal::status_about(code, reason, message, [(kind, name)])
}

/// A status with its reason, of what will be otherwise in so many seconds.
pub(crate) fn status_later(code: Code, reason: &str, message: impl Into<String>, seconds: u64) -> Status {
    let mut said = details(reason);
    said.set_retry_info(Some(Duration::from_secs(seconds)));
    Status::with_error_details(code, message, said)
}

impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        let mut said = details("INVALID_FIELD");
        said.add_bad_request_violation(rejection.field.clone(), &rejection.reason);
        Self::with_error_details(Code::InvalidArgument, rejection.to_string(), said)
    }
}

fn later(reason: &str, message: &str) -> Status {
    let mut said = details(reason);
    said.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::Unavailable, message, said)
}

/// What the caller is told of an operation on `what`; a new variant cannot forget its code.
pub(crate) fn refused(error: &OperationError, what: &str) -> Status {
    match error {
        OperationError::UnknownAccount => status(
            Code::NotFound,
            "ACCOUNT_NOT_FOUND",
            format!("{what} is not known; check the name, or make the account first"),
        ),
        OperationError::UnknownSubscriber => status(
            Code::NotFound,
            "SUBSCRIBER_NOT_FOUND",
            format!("{what} is not known; check the name, or put the subscriber first"),
        ),
        OperationError::UnknownSession => {
            status(Code::NotFound, "SESSION_NOT_FOUND", format!("{what} is not open; it may have ended meanwhile"))
        }
        OperationError::UnknownGroup => status(
            Code::NotFound,
            "GROUP_NOT_FOUND",
            format!("{what} is not known; check the name, or make the first account of the group"),
        ),
        OperationError::ExternalIdTaken { external_id, owner } => status(
            Code::AlreadyExists,
            "EXTERNAL_ID_TAKEN",
            format!("external_id: {external_id:?} is of charging group {owner}; take it from there first"),
        ),
        OperationError::WrongCurrency { account } => status(
            Code::FailedPrecondition,
            "CURRENCY_MISMATCH",
            format!("amount.currency: {what} is kept in {account}; give the amount in it"),
        ),
        OperationError::Taken { what: taken, owner } => status(
            Code::AlreadyExists,
            "IDENTIFIER_TAKEN",
            format!("identifiers: {taken} is of subscriber {owner}; take it from there first"),
        ),
        OperationError::Exists(reason) => status(Code::AlreadyExists, "EXISTS", format!("{what}: {reason}")),
        OperationError::Precondition(reason) => {
            status(Code::FailedPrecondition, "NOT_POSSIBLE", format!("{what}: {reason}"))
        }
        OperationError::Stale => status(
            Code::Aborted,
            "ETAG_MISMATCH",
            format!("etag: {what} has changed since; read it again, and decide again"),
        ),
        OperationError::Refused(refusal) => refused_by_shard(refusal, what),
        OperationError::Voucher(refusal) => refused_voucher(refusal, what),
        OperationError::Approval(refusal) => refused_approval(refusal, what),
        OperationError::Store(reason) => status(Code::Internal, "STORE_FAILED", reason.clone()),
        OperationError::Stopping => {
            later("STOPPING", "the charging system is stopping; try again later, with the same idempotency_key")
        }
    }
}

fn refused_by_shard(refusal: &Refusal, what: &str) -> Status {
    match refusal {
        Refusal::KeyReused => status(
            Code::AlreadyExists,
            "KEY_REUSED",
            "idempotency_key: was used for another request; choose a new key, or repeat that request exactly",
        ),
        Refusal::TooBusy => {
            later("TOO_BUSY", "the charging system is too busy; try again later, with the same idempotency_key")
        }
        Refusal::UnknownSession => refused(&OperationError::UnknownSession, what),
        Refusal::UnknownSubscriber | Refusal::IdentifiersDisagree => refused(&OperationError::UnknownSubscriber, what),
        Refusal::OutOfRange => {
            status(Code::FailedPrecondition, "AMOUNT_TOO_LARGE", format!("amount: {what} could not hold it; give less"))
        }
        Refusal::Stale => refused(&OperationError::Stale, what),
        Refusal::CreditLimitReached => status(
            Code::FailedPrecondition,
            "NOT_ENOUGH_MONEY",
            format!("{what} cannot pay it; top it up, or raise its credit limit"),
        ),
        Refusal::Invalid(reason) => status(Code::FailedPrecondition, "NOT_POSSIBLE", format!("{what}: {reason}")),
        Refusal::ServiceDenied
        | Refusal::Rejected
        | Refusal::RatingFailed
        | Refusal::AnswerGone
        | Refusal::NothingToRefund
        | Refusal::RefundBeyondCharge => {
            status(Code::FailedPrecondition, "NOT_POSSIBLE", format!("{what}: refused ({refusal:?})"))
        }
    }
}
