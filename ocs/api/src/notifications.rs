//! The `Notifications` service: thresholds that were crossed, and how watched values stand.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use ocs_proto::operator::v1 as wire;
use ocs_proto::operator::v1::notifications_server::{Notifications, NotificationsServer};
use rating_engine::ids::{CdrPosition, TenantId};
use tonic::{Code, Request, Response, Status};

use crate::name::{SubscriberSelector, parse_account, parse_subscriber};
use crate::operations::{OperationError, Selection};
use crate::refusal::{refused, status};
use crate::request::{parse_tenant, text};

/// Octets of a policy counter's name: an offer's, an allowance's and what stands between.
const POLICY_COUNTER_OCTETS_MAX: usize = 256;

/// What can be asked of thresholds. Nothing is said that is not durable.
pub trait NotificationOperations: Send + Sync + 'static {
    /// Notifications from a CDR on, or from the next one; to the end, or on and on.
    fn notifications(
        &self,
        from: Option<CdrPosition>,
        filter: NotificationFilter,
        stops: bool,
    ) -> impl Future<Output = Result<NotificationStream, NotificationRefusal>> + Send;

    /// How what an account's offers watch stands.
    fn watched_values(
        &self,
        account: Selection,
    ) -> impl Future<Output = Result<wire::ListWatchedValuesResponse, OperationError>> + Send;
}

/// Which notifications; all that it says must be so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotificationFilter {
    /// Of this account.
    pub account: Option<Selection>,
    /// Of this subscriber's usage.
    pub subscriber: Option<(TenantId, SubscriberSelector)>,
    /// Of this tenant's accounts.
    pub tenant: Option<TenantId>,
    /// Of values that policies know by this name.
    pub policy_counter: Option<Box<str>>,
}

/// Notifications as they come.
pub type NotificationStream = BoxStream<'static, Result<wire::WatchNotificationsResponse, NotificationRefusal>>;

/// Why there are no notifications, or no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotificationRefusal {
    /// The position is not there: what is.
    OutOfRange {
        /// The oldest CDR that is kept.
        first: CdrPosition,
        /// The next one to be written.
        next: CdrPosition,
    },
    /// So many streams are open, which is the limit.
    TooMany(usize),
    /// What is stored cannot be read: where, and why.
    Unsound(String),
    /// As for any other operation.
    Operation(OperationError),
}

impl From<OperationError> for NotificationRefusal {
    fn from(error: OperationError) -> Self {
        Self::Operation(error)
    }
}

impl NotificationRefusal {
    fn status(self, what: &str) -> Status {
        match self {
            Self::OutOfRange { first, next } => status(
                Code::OutOfRange,
                "POSITION_OUT_OF_RANGE",
                format!("from_position: is not there; CDRs are kept from {first} on, the next one will be {next}"),
            ),
            Self::TooMany(most) => status(
                Code::ResourceExhausted,
                "TOO_MANY_STREAMS",
                format!("{most} streams of notifications are open, which is the limit; close one, or try again later"),
            ),
            Self::Unsound(reason) => status(Code::DataLoss, "CDRS_UNSOUND", reason),
            Self::Operation(error) => refused(&error, what),
        }
    }
}

/// The `Notifications` service.
#[derive(Debug)]
pub struct NotificationsService<O> {
    operations: Arc<O>,
}

impl<O: NotificationOperations> NotificationsService<O> {
    /// Serves what the operations can do.
    pub const fn new(operations: Arc<O>) -> Self {
        Self { operations }
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> NotificationsServer<Self> {
        NotificationsServer::new(self)
    }
}

type Told = Pin<Box<dyn Stream<Item = Result<wire::WatchNotificationsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl<O: NotificationOperations> Notifications for NotificationsService<O> {
    type WatchNotificationsStream = Told;

    async fn watch_notifications(
        &self,
        request: Request<wire::WatchNotificationsRequest>,
    ) -> Result<Response<Told>, Status> {
        let wire::WatchNotificationsRequest {
            from_position,
            stop_at_end,
            account,
            subscriber,
            tenant_id,
            policy_counter,
        } = request.into_inner();
        text("policy_counter", &policy_counter, POLICY_COUNTER_OCTETS_MAX)?;
        let said = |text: &str| !text.is_empty();
        let filter = NotificationFilter {
            account: said(&account).then(|| parse_account("account", &account)).transpose()?,
            subscriber: said(&subscriber).then(|| parse_subscriber("subscriber", &subscriber)).transpose()?,
            tenant: tenant_id.map(parse_tenant).transpose()?,
            policy_counter: said(&policy_counter).then(|| policy_counter.into()),
        };
        let from = (from_position > 0).then(|| CdrPosition::new(from_position));
        let told = self.operations.notifications(from, filter, stop_at_end).await;
        let whose = if account.is_empty() { &subscriber } else { &account };
        let told = told.map_err(|refusal| refusal.status(whose))?;
        Ok(Response::new(Box::pin(told.map(|told| told.map_err(|refusal| refusal.status("notifications"))))))
    }

    async fn list_watched_values(
        &self,
        request: Request<wire::ListWatchedValuesRequest>,
    ) -> Result<Response<wire::ListWatchedValuesResponse>, Status> {
        let account = request.into_inner().account;
        let selection = parse_account("account", &account)?;
        let values = self.operations.watched_values(selection).await;
        Ok(Response::new(values.map_err(|error| refused(&error, &account))?))
    }
}
