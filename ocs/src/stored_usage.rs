//! Stored usage of a tariff, for a simulation: from a data folder, or of a running system.

use std::sync::Arc;

use balance_store::{CdrStore, records};
use rating_engine::cdr::{CdrKind, RatedCdr};
use rating_engine::ids::{AccountId, CdrPosition, OfferName, TariffName};
use rating_engine::shards::Shards;

use crate::directory::Directory;
use crate::store::{Catalogue, OpenError, because};

/// CDRs between two reports of progress.
const REPORT_EVERY: u64 = 65_536;

/// The offer that an account holds now and that has this tariff, the newest of several.
pub(crate) fn offer_of(
    catalogue: &Catalogue,
    shards: &Shards,
    directory: &Directory,
    tariff: &TariffName,
    account: AccountId,
) -> Option<OfferName> {
    let group = directory.group_of(account);
    shards.with(group, |shard| {
        let contract = shard.account(account)?.contract.as_deref()?;
        let has_tariff = |offer: &OfferName, version: u32| {
            let version = catalogue.offer(offer, version);
            version.is_some_and(|version| version.tariff() == Some(tariff))
        };
        let held = contract.subscriptions.iter().rev();
        held.map(|it| (&it.offer, it.version))
            .find(|(offer, version)| has_tariff(offer, *version))
            .map(|it| it.0.clone())
    })
}

/// The CDRs that may say something of the tariff's usage, in the order of the stream, up to the last that there is now. `progress` is
/// told of positions, and ends it with an error.
///
/// # Errors
/// When the store cannot be read.
pub(crate) fn usage<'a>(
    cdrs: &'a Arc<CdrStore>,
    catalogue: &'a Catalogue,
    name: &'a TariffName,
    mut progress: impl FnMut(CdrPosition) -> Result<(), OpenError> + 'a,
) -> Result<impl Iterator<Item = Result<(CdrPosition, RatedCdr), OpenError>> + 'a, OpenError> {
    let last = cdrs.durable().position;
    let mut reader = cdrs.reader(cdrs.first_position()).map_err(because("CDR store"))?;
    let mut next = move || {
        while let Some(record) = reader.read_next().map_err(because("CDR store"))? {
            let position = record.position;
            if position > last {
                break;
            }
            if position.get().is_multiple_of(REPORT_EVERY) {
                progress(position)?;
            }
            let place = || format!("CDR {position}");
            let stored = records::decode_cdr(record.octets).map_err(|error| because(&place())(error))?;
            let is_of_tariff = stored.rating.as_ref().is_some_and(|rating| rating.tariff.name == *name);
            if matches!(stored.kind, CdrKind::Refund | CdrKind::Lapse) || is_of_tariff {
                let rated = stored.rated(&|name, version| catalogue.get(name, version), &|name, version| {
                    catalogue.offer(name, version)
                });
                return Ok(Some((position, rated.map_err(|error| because(&place())(error))?)));
            }
        }
        Ok(None)
    };
    Ok(std::iter::from_fn(move || next().transpose()))
}
