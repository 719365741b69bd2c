//! Why a stored CDR says what it says: for `ocs cdr explain` on a folder, and for `Usage/ExplainCharge` on a running system.

use balance_store::records::StoredCdr;
use rating_engine::cdr::RatedCdr;
use rating_engine::explain::Explanation;

use crate::store::{Catalogue, OpenError, because};

/// The explanation of a CDR, by the tariff and offer versions that it names.
///
/// # Errors
/// When the catalogue has not what it names.
pub fn explain(catalogue: &Catalogue, stored: &StoredCdr) -> Result<Explanation, OpenError> {
    Ok(Explanation::of(&rated(catalogue, stored)?))
}

/// A stored CDR with the versions that it names.
fn rated(catalogue: &Catalogue, stored: &StoredCdr) -> Result<RatedCdr, OpenError> {
    let tariff = |name: &_, version| catalogue.get(name, version);
    let offer = |name: &_, version| catalogue.offer(name, version);
    stored.rated(&tariff, &offer).map_err(because("what the CDR names"))
}
