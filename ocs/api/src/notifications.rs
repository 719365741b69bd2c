//! The `Notifications` service: thresholds that were crossed, and how watched values stand.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use ocs_proto::operator::v1 as wire;
use ocs_proto::operator::v1::notifications_server::{Notifications, NotificationsServer};
use rating_engine::ids::CdrPosition;
use tonic::{Code, Request, Response, Status};

use crate::name::parse_account;
use crate::operations::{OperationError, Selection};
use crate::refusal::{refused, status};

/// What can be asked of thresholds. Nothing is said that is not durable.
pub trait NotificationOperations: Send + Sync + 'static {
    /// Notifications from a CDR on, or from the next one; of all accounts or of one; to the end, or on and on.
    fn notifications(
        &self,
        from: Option<CdrPosition>,
        account: Option<Selection>,
        stops: bool,
    ) -> impl Future<Output = Result<NotificationStream, NotificationRefusal>> + Send;

    /// How what an account's offers watch stands.
    fn watched_values(
        &self,
        account: Selection,
    ) -> impl Future<Output = Result<wire::ListWatchedValuesResponse, OperationError>> + Send;
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
        let wire::WatchNotificationsRequest { from_position, stop_at_end, account } = request.into_inner();
        let selection = if account.is_empty() { None } else { Some(parse_account("account", &account)?) };
        let from = (from_position > 0).then(|| CdrPosition::new(from_position));
        let told = self.operations.notifications(from, selection, stop_at_end).await;
        let told = told.map_err(|refusal| refusal.status(&account))?;
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
