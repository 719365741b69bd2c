//! The audit log, read and computed again.

use balance_store::records;
use ocs_api::{AuditVerdict, OperationError, Operations};
use ocs_proto::charging::convert::time;
use ocs_proto::operator::v1 as wire;

use super::{Desk, Files};
use crate::audit_log::{Verdict, verify};
use crate::edge::{Edge, Noted};

impl Desk {
    /// Audit records, the newest first: from a position, or from the newest.
    pub(super) async fn read_audit_records(
        &self,
        from: Option<u64>,
        max: usize,
    ) -> Result<Vec<wire::AuditRecord>, OperationError> {
        let (charging, files) = (self.charging.clone(), self.files.clone());
        let read = tokio::task::spawn_blocking(move || {
            let last = charging.edge.audited().0;
            let from = from.unwrap_or(last).min(last);
            let positions = (1..=from).rev().take(max);
            let records = positions
                .map(|position| shown(&noted(&charging.edge, &files, position)?))
                .collect::<Result<Vec<_>, _>>()?;
            Ok::<_, OperationError>((records, charging.journal.appended_lsn()))
        });
        let (records, lsn) = read.await.map_err(|_| OperationError::Stopping)??;
        self.durable(lsn).await?;
        Ok(records)
    }

    /// Computes the chain again.
    pub(super) async fn compute_chain(&self, known: Option<(u64, [u8; 32])>) -> Result<AuditVerdict, OperationError> {
        let (charging, files) = (self.charging.clone(), self.files.clone());
        let computed = tokio::task::spawn_blocking(move || {
            let verdict = verify(&charging.edge, &*files.state, known);
            (verdict, charging.journal.appended_lsn())
        });
        let (Verdict { records, chain, broken }, lsn) = computed.await.map_err(|_| OperationError::Stopping)?;
        // What a crash could take back is nobody's to note elsewhere.
        self.durable(lsn).await?;
        Ok(AuditVerdict { records, chain: *chain.octets(), broken })
    }
}

fn noted(edge: &Edge, files: &Files, position: u64) -> Result<Noted, OperationError> {
    let found = edge.audit_record(&*files.state, position).map_err(|error| OperationError::Store(error.to_string()))?;
    found.ok_or_else(|| OperationError::Store(format!("audit record {position} is gone; verify the log")))
}

fn shown(noted: &Noted) -> Result<wire::AuditRecord, OperationError> {
    let record = records::decode_audit(&noted.octets)
        .map_err(|error| OperationError::Store(format!("audit record {}: {error}", noted.position)))?;
    let differences = record.differences.into_iter();
    Ok(wire::AuditRecord {
        position: noted.position,
        time: Some(time(record.at)),
        caller: record.caller.into(),
        method: record.method.into(),
        target: record.target.into(),
        idempotency_key: record.key.into(),
        reason: record.reason.into(),
        differences: differences
            .map(|it| wire::AuditDifference { what: it.what.into(), before: it.before.into(), after: it.after.into() })
            .collect(),
        chain_hash: noted.chain.octets().to_vec(),
    })
}
