//! Records as octets: what goes to the log, to the state and to the CDR store.
//!
//! The centre has no serialisation on purpose; the octets of its values are decided here and nowhere else. Every record
//! begins with a version octet, is as short as its numbers allow, and is written without setting memory aside. What is
//! read back is what was written, or an error that names the member and the place; no octets make reading panic.
//!
//! Written into records: ids of other records, tariff versions by name, number and content hash. Not written: what is
//! rebuilt from the rest (held sums), and the id of a record, which is its key. Absent: where octets go, compression,
//! checksums.

mod account;
mod answer;
mod approval;
mod audit;
mod cdr;
mod consumer;
mod context;
mod desk;
mod entry;
mod group;
mod rerating;
mod session;
mod state;
mod totals;
mod values;
mod voucher;
mod wire;

pub use account::{decode_account, decode_subscriber, encode_account, encode_subscriber};
pub use answer::{decode_answer, decode_mutation, encode_answer, encode_mutation};
pub use approval::{Approval, Credited, Decision, decode_approval, encode_approval};
pub use audit::{AuditRecord, Difference, decode_audit, decode_audit_value, encode_audit, encode_audit_value};
pub use cdr::{
    CdrHead, CdrParts, StoredCdr, StoredLine, StoredRating, cdr_head, cdr_parts, decode_cdr, encode_cdr, join_cdr,
};
pub use consumer::{
    Consumer, ConsumerPlace, ParkedCdr, decode_consumer, decode_consumer_place, decode_parked_cdr, encode_consumer,
    encode_consumer_place, encode_parked_cdr,
};
pub use context::{decode_context, encode_context};
pub use desk::{
    CanaryStep, Deed, DoneRequest, Dossier, Schedule, decode_done_request, decode_dossier, encode_done_request,
    encode_dossier,
};
pub use entry::{Entry, EntryEncoder, EntryHead, LogWrite, Owner, decode_entry, decode_entry_head, encode_entry};
pub use group::{GroupWords, decode_group, encode_group};
pub use rerating::{Rerating, ReratingPlan, ReratingState, decode_rerating, encode_rerating};
pub use session::{SessionImage, decode_session, encode_session, encode_session_change};
pub use state::{
    EntityKind, StoredEntity, decode_desk_value, decode_document, decode_entity, decode_owner, encode_desk_value,
    encode_document, encode_entity, encode_owner,
};
pub use totals::{Moved, TotalsHead, TotalsRow, decode_totals, decode_totals_head, encode_totals, encode_totals_head};
pub use values::{Resolve, TariffRef};
pub(crate) use values::{identifier_kind, identifier_of};
pub use voucher::{
    BatchState, CODE_HASH_OCTETS, CodeHash, Fate, Tries, Voucher, VoucherBatch, decode_tries, decode_voucher,
    decode_voucher_batch, encode_tries, encode_voucher, encode_voucher_batch,
};
pub use wire::{Fault, RecordError};
pub(crate) use wire::{Read, Reader};
