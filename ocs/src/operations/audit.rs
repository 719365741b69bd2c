//! The audit log, read and computed again.

use balance_store::HashChain;
use balance_store::records;
use ocs_api::{AuditVerdict, OperationError, Operations};
use ocs_proto::charging::convert::time;
use ocs_proto::operator::v1 as wire;

use super::{Desk, Files};
use crate::edge::{Edge, Noted};

impl Desk {
    /// Audit records, the newest first: from a position, or from the newest.
    pub(super) async fn read_audit_records(
        &self,
        from: Option<u64>,
        max: usize,
    ) -> Result<Vec<wire::AuditRecord>, OperationError> {
        let (charging, files) = (self.charging.clone(), self.files.clone());
        let lsn = charging.journal.appended_lsn();
        let read = tokio::task::spawn_blocking(move || {
            let last = charging.edge.audited().0;
            let from = from.unwrap_or(last).min(last);
            let positions = (1..=from).rev().take(max);
            positions.map(|position| shown(&noted(&charging.edge, &files, position)?)).collect::<Result<Vec<_>, _>>()
        });
        let records = read.await.map_err(|_| OperationError::Stopping)??;
        self.durable(lsn).await?;
        Ok(records)
    }

    /// Computes the chain again.
    pub(super) async fn compute_chain(&self, known: Option<(u64, [u8; 32])>) -> Result<AuditVerdict, OperationError> {
        let (charging, files) = (self.charging.clone(), self.files.clone());
        let computed = tokio::task::spawn_blocking(move || verify(&charging.edge, &files, known)).await;
        computed.map_err(|_| OperationError::Stopping)?
    }
}

fn noted(edge: &Edge, files: &Files, position: u64) -> Result<Noted, OperationError> {
    let found = edge.audit_record(&*files.state, position).map_err(|error| OperationError::Store(error.to_string()))?;
    found.ok_or_else(|| OperationError::Store(format!("audit record {position} is gone; verify the log")))
}

fn verify(edge: &Edge, files: &Files, known: Option<(u64, [u8; 32])>) -> Result<AuditVerdict, OperationError> {
    let (last, head) = edge.audited();
    let (mut chain, mut broken) = (HashChain::START, None);
    for position in 1..=last {
        let finding = match edge.audit_record(&*files.state, position) {
            Ok(Some(noted)) => {
                chain = chain.after(&noted.octets);
                let is_known = known.is_none_or(|(at, hash)| at != position || *chain.octets() == hash);
                if noted.chain != chain {
                    Some("it is not what was written, or not behind what stands before it".to_owned())
                } else if !is_known {
                    Some("the chain is another one than was known".to_owned())
                } else {
                    None
                }
            }
            Ok(None) => Some("it is gone".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(finding) = finding {
            broken = Some((position, finding));
            break;
        }
    }
    if broken.is_none() && chain != head {
        broken = Some((last, "the chain does not end where it did when the last record was written".to_owned()));
    }
    if let Some((at, _)) = known.filter(|(at, _)| broken.is_none() && *at > last) {
        broken = Some((at, format!("the log ends at {last}: records are gone")));
    }
    Ok(AuditVerdict { records: last, chain: *chain.octets(), broken })
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
