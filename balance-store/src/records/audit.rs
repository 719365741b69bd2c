//! Audit records: what a person or a system of the operator changed, chained by their hashes.
//!
//! The chain is over the octets as they stand here, so they are never written anew. A record's value in the state store
//! begins with its stamp and the chain's value after it: a chain that was tampered with names the first record that does not
//! follow from the one before.

use rating_engine::ids::Lsn;
use rating_engine::time::Timestamp;

use super::wire::{Read, Reader, RecordError, Writer};
use crate::chain::HashChain;

/// The format of an audit record.
const VERSION: u8 = 1;

/// One thing that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What, within the target: "state", "buckets/main/balance".
    pub what: Box<str>,
    /// What it was; empty for nothing.
    pub before: Box<str>,
    /// What it is; empty for nothing.
    pub after: Box<str>,
}

/// What was changed, by whom and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// When.
    pub at: Timestamp,
    /// Who, as access control knows the caller.
    pub caller: Box<str>,
    /// The method that was called: "Balances/TopUp".
    pub method: Box<str>,
    /// The resource that it changed: "accounts/17".
    pub target: Box<str>,
    /// The caller's idempotency key; empty where there was none.
    pub key: Box<str>,
    /// Why, in the caller's words; may be empty.
    pub reason: Box<str>,
    /// What is different.
    pub differences: Vec<Difference>,
}

/// Writes an audit record at the end of `out`.
pub fn encode_audit(out: &mut Vec<u8>, record: &AuditRecord) {
    let AuditRecord { at, caller, method, target, key, reason, differences } = record;
    let mut w = Writer::new(out);
    w.u8(VERSION);
    w.time(*at);
    for text in [caller, method, target, key, reason] {
        w.str(text);
    }
    w.list(differences, |w, Difference { what, before, after }| {
        for text in [what, before, after] {
            w.str(text);
        }
    });
}

/// Reads an audit record.
///
/// # Errors
/// [`RecordError`] when the octets are none.
pub fn decode_audit(octets: &[u8]) -> Result<AuditRecord, RecordError> {
    let mut r = Reader::new(octets);
    r.version(VERSION, "audit record")?;
    let at = r.time("audit time")?;
    let mut text = |what: &'static str| r.str(what).map(Box::<str>::from);
    let (caller, method) = (text("caller")?, text("method")?);
    let (target, key, reason) = (text("target")?, text("key")?, text("reason")?);
    let differences = r.list("differences", read_difference)?;
    r.finish("audit record")?;
    Ok(AuditRecord { at, caller, method, target, key, reason, differences })
}

fn read_difference(r: &mut Reader<'_>) -> Read<Difference> {
    let mut text = |what: &'static str| r.str(what).map(Box::from);
    Ok(Difference { what: text("what")?, before: text("before")?, after: text("after")? })
}

/// Writes the value of an audit record in the state store: stamp, chain after it, octets.
pub fn encode_audit_value(out: &mut Vec<u8>, octets: &[u8], chain: HashChain, lsn: Lsn) {
    let mut w = Writer::new(out);
    w.fixed64(lsn.get());
    w.raw(chain.octets());
    w.raw(octets);
}

/// Reads the value of an audit record: its octets, the chain after it, the stamp.
///
/// # Errors
/// [`RecordError`] when it is none.
pub fn decode_audit_value(value: &[u8]) -> Result<(&[u8], HashChain, Lsn), RecordError> {
    let mut r = Reader::new(value);
    let lsn = Lsn::new(r.fixed64("stamp")?);
    let chain = HashChain::from_octets(r.array("chain")?);
    Ok((r.rest(), chain, lsn))
}
