//! The services on one server: health and reflection beside ours, so that `grpcurl list` and probes work.

use std::sync::Arc;

use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic_health::server::HealthReporter;

use crate::accounts::AccountsService;
use crate::approvals::{ApprovalOperations, ApprovalsService};
use crate::audit::AuditLogService;
use crate::catalogue::{CatalogueOperations, CatalogueService};
use crate::charges::ChargeOperations;
use crate::clock::ClockService;
use crate::control::{ControlOperations, ControlTotalsService};
use crate::groups::{GroupOperations, GroupsService};
use crate::notifications::{NotificationOperations, NotificationsService};
use crate::operations::Operations;
use crate::rerating::{ReratingOperations, ReratingService};
use crate::sessions::SessionsService;
use crate::subscribers::SubscribersService;
use crate::usage::UsageService;
use crate::vouchers::{VoucherOperations, VouchersService};

/// Whether the clock may be moved over gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockAccess {
    /// The `Clock` service is served: a development system on loopback.
    Served,
    /// It is not.
    Absent,
}

/// Puts health, reflection, our services and, if wanted, `Clock` on `server`. `ocs` adds the CDR export and serves.
///
/// Health says NOT_SERVING for the server as a whole (the empty name) until `ocs` reports otherwise through the reporter:
/// `set_service_status("", ServingStatus::Serving)` once listeners are open, `NotServing` when it begins to drain.
///
/// # Errors
/// When the descriptors that were built in cannot be read.
pub async fn router<
    L: Clone,
    O: Operations
        + GroupOperations
        + ChargeOperations
        + CatalogueOperations
        + VoucherOperations
        + ApprovalOperations
        + ReratingOperations
        + ControlOperations
        + NotificationOperations,
>(
    mut server: Server<L>,
    operations: Arc<O>,
    clock: ClockAccess,
) -> Result<(Router<L>, HealthReporter), tonic_reflection::server::Error> {
    let (health, health_server) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(ocs_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Clients of some languages still know the older name only, Python's among them.
    let (reflection, reflection_alpha) = (reflection().build_v1()?, reflection().build_v1alpha()?);
    let clock = (clock == ClockAccess::Served).then(|| ClockService::new(Arc::clone(&operations)).into_server());
    let router = server
        .add_service(health_server)
        .add_service(reflection)
        .add_service(reflection_alpha)
        .add_service(UsageService::new(Arc::clone(&operations)).into_server())
        .add_service(SubscribersService::new(Arc::clone(&operations)).into_server())
        .add_service(GroupsService::new(Arc::clone(&operations)).into_server())
        .add_service(SessionsService::new(Arc::clone(&operations)).into_server())
        .add_service(CatalogueService::new(Arc::clone(&operations)).into_server())
        .add_service(VouchersService::new(Arc::clone(&operations)).into_server())
        .add_service(ApprovalsService::new(Arc::clone(&operations)).into_server())
        .add_service(ReratingService::new(Arc::clone(&operations)).into_server())
        .add_service(ControlTotalsService::new(Arc::clone(&operations)).into_server())
        .add_service(NotificationsService::new(Arc::clone(&operations)).into_server())
        .add_service(AuditLogService::new(Arc::clone(&operations)).into_server())
        .add_service(AccountsService::new(operations).into_server())
        .add_optional_service(clock);
    Ok((router, health))
}
