//! The `Clock` service: only of a development system, only over loopback; `ocs` decides whether it is served at all.

use std::sync::Arc;

use ocs_proto::charging::convert::time;
use ocs_proto::operator::v1 as wire;
use ocs_proto::operator::v1::clock_server::{Clock, ClockServer};
use tonic::{Request, Response, Status};

use crate::operations::{ClockRefusal, Operations};
use crate::request::{Rejection, instant, span};

/// The `Clock` service.
#[derive(Debug)]
pub struct ClockService<O> {
    operations: Arc<O>,
}

impl<O: Operations> ClockService<O> {
    /// Serves what the operations can do.
    pub const fn new(operations: Arc<O>) -> Self {
        Self { operations }
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> ClockServer<Self> {
        ClockServer::new(self)
    }
}

#[tonic::async_trait]
impl<O: Operations> Clock for ClockService<O> {
    async fn get_time(&self, _: Request<wire::GetTimeRequest>) -> Result<Response<wire::GetTimeResponse>, Status> {
        let reading = self.operations.time();
        Ok(Response::new(wire::GetTimeResponse { now: Some(time(reading.now)), manual: reading.manual }))
    }

    async fn set_time(
        &self,
        request: Request<wire::SetTimeRequest>,
    ) -> Result<Response<wire::SetTimeResponse>, Status> {
        let to = request.into_inner().now.ok_or_else(|| missing("now", "give the instant to move the clock to"))?;
        let now = self.operations.set_time(instant("now", to)?).await.map_err(status)?;
        Ok(Response::new(wire::SetTimeResponse { now: Some(time(now)) }))
    }

    async fn advance_time(
        &self,
        request: Request<wire::AdvanceTimeRequest>,
    ) -> Result<Response<wire::AdvanceTimeResponse>, Status> {
        let by = request.into_inner().by.ok_or_else(|| missing("by", "give how far to move the clock"))?;
        let now = self.operations.advance_time(span("by", by)?).await.map_err(status)?;
        Ok(Response::new(wire::AdvanceTimeResponse { now: Some(time(now)) }))
    }
}

fn missing(field: &'static str, advice: &str) -> Rejection {
    Rejection::new(field, format!("is missing; {advice}"))
}

fn status(refusal: ClockRefusal) -> Status {
    match refusal {
        ClockRefusal::NotManual => Status::failed_precondition(
            "the clock follows the machine's; start `ocs dev --clock manual` to set it by hand",
        ),
        ClockRefusal::Past { now } => {
            Status::failed_precondition(format!("now: has passed, it is {now}; time only moves forward"))
        }
        ClockRefusal::Stopping => Status::unavailable("the charging system is stopping"),
    }
}
