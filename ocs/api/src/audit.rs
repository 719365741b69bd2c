//! The `AuditLog` service: who changed what, and whether the log is as it was written.

use std::sync::Arc;

use ocs_proto::operator::v1 as wire;
use ocs_proto::operator::v1::audit_log_server::{AuditLog, AuditLogServer};
use tonic::{Request, Response, Status};

use crate::operations::Operations;
use crate::page;
use crate::refusal::refused;
use crate::request::{IDENTIFIER_OCTETS_MAX, Rejection, text};

/// Octets of a resource's name: sessions have long ones.
const TARGET_OCTETS_MAX: usize = 2048;

/// The `AuditLog` service.
#[derive(Debug)]
pub struct AuditLogService<O> {
    operations: Arc<O>,
}

impl<O: Operations> AuditLogService<O> {
    /// Serves what the operations can do.
    pub const fn new(operations: Arc<O>) -> Self {
        Self { operations }
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> AuditLogServer<Self> {
        AuditLogServer::new(self)
    }
}

#[tonic::async_trait]
impl<O: Operations> AuditLog for AuditLogService<O> {
    async fn list_audit_records(
        &self,
        request: Request<wire::ListAuditRecordsRequest>,
    ) -> Result<Response<wire::ListAuditRecordsResponse>, Status> {
        let wire::ListAuditRecordsRequest { page_size, page_token, target, caller } = request.into_inner();
        let (max, from) = (page::size(page_size)?, page::position(&page_token)?);
        text("target", &target, TARGET_OCTETS_MAX)?;
        text("caller", &caller, IDENTIFIER_OCTETS_MAX)?;
        let records =
            self.operations.audit_records(from, max).await.map_err(|error| refused(&error, "the audit log"))?;
        let next = records.last().map_or(0, |oldest| oldest.position.saturating_sub(1));
        let wanted = |record: &wire::AuditRecord| {
            (target.is_empty() || record.target == target) && (caller.is_empty() || record.caller == caller)
        };
        let records = records.into_iter().filter(wanted).collect();
        let next_page_token = if next == 0 { String::new() } else { page::token(next) };
        Ok(Response::new(wire::ListAuditRecordsResponse { records, next_page_token }))
    }

    async fn verify_audit_log(
        &self,
        request: Request<wire::VerifyAuditLogRequest>,
    ) -> Result<Response<wire::VerifyAuditLogResponse>, Status> {
        let wire::VerifyAuditLogRequest { known_position, known_hash } = request.into_inner();
        let known = match (known_position, known_hash.len()) {
            (0, 0) => None,
            (position, 32) if position > 0 => {
                let hash = <[u8; 32]>::try_from(&known_hash[..]);
                Some((position, hash.map_err(|_| Rejection::new("known_hash", "has not 32 octets"))?))
            }
            _ => {
                let reason = "goes with known_position: give both as an earlier answer had them, or neither";
                return Err(Rejection::new("known_hash", reason).into());
            }
        };
        let verdict = self.operations.verify_audit_log(known).await;
        let verdict = verdict.map_err(|error| refused(&error, "the audit log"))?;
        let (broken_position, finding) = verdict.broken.unwrap_or_default();
        Ok(Response::new(wire::VerifyAuditLogResponse {
            records: verdict.records,
            chain_hash: verdict.chain.to_vec(),
            broken_position,
            finding,
        }))
    }
}
