//! The `ControlTotals` service: what CDRs come to, and whether balances follow from them.

use std::future::Future;
use std::sync::Arc;

use ocs_proto::cdr::v1 as wire;
use ocs_proto::cdr::v1::control_totals_server::{ControlTotals, ControlTotalsServer};
use rating_engine::time::Timestamp;
use tonic::{Code, Request, Response, Status};

use crate::operations::OperationError;
use crate::refusal::{refused, status};
use crate::request::instant;

/// What control totals are asked. Every future ends only when what it says is durable.
pub trait ControlOperations: Send + Sync + 'static {
    /// The totals of all durable CDRs, or of one accounting period.
    fn control_totals(
        &self,
        period: Option<Timestamp>,
    ) -> impl Future<Output = Result<wire::GetControlTotalsResponse, ControlRefusal>> + Send;

    /// Accounts compared with CDRs.
    fn reconcile(&self) -> impl Future<Output = Result<wire::ReconcileResponse, ControlRefusal>> + Send;
}

/// Why there are no figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlRefusal {
    /// What is stored cannot be added up, or is not what was: where, and why.
    Unsound(String),
    /// A sum is larger than the interface can say.
    OutOfRange,
    /// A comparison is under way.
    Comparing,
    /// As for any other operation.
    Operation(OperationError),
}

impl From<OperationError> for ControlRefusal {
    fn from(error: OperationError) -> Self {
        Self::Operation(error)
    }
}

impl From<ControlRefusal> for Status {
    fn from(refusal: ControlRefusal) -> Self {
        match refusal {
            ControlRefusal::Unsound(reason) => status(Code::DataLoss, "CDRS_UNSOUND", reason),
            ControlRefusal::OutOfRange => status(
                Code::OutOfRange,
                "SUM_OUT_OF_RANGE",
                "a sum is larger than 9,223,372,036,854 of a currency: ask for one accounting period",
            ),
            ControlRefusal::Comparing => status(
                Code::ResourceExhausted,
                "RECONCILING",
                "accounts are being compared with CDRs already; try later",
            ),
            ControlRefusal::Operation(error) => refused(&error, "control totals"),
        }
    }
}

/// The `ControlTotals` service.
#[derive(Debug)]
pub struct ControlTotalsService<O> {
    operations: Arc<O>,
}

impl<O: ControlOperations> ControlTotalsService<O> {
    /// Serves what the operations can do.
    pub const fn new(operations: Arc<O>) -> Self {
        Self { operations }
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> ControlTotalsServer<Self> {
        ControlTotalsServer::new(self)
    }
}

#[tonic::async_trait]
impl<O: ControlOperations> ControlTotals for ControlTotalsService<O> {
    async fn get_control_totals(
        &self,
        request: Request<wire::GetControlTotalsRequest>,
    ) -> Result<Response<wire::GetControlTotalsResponse>, Status> {
        let period = request.into_inner().accounting_period;
        let period = period.map(|at| instant("accounting_period", at)).transpose()?;
        Ok(Response::new(self.operations.control_totals(period).await?))
    }

    async fn reconcile(&self, _: Request<wire::ReconcileRequest>) -> Result<Response<wire::ReconcileResponse>, Status> {
        Ok(Response::new(self.operations.reconcile().await?))
    }
}
