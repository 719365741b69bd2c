//! The CDR store as the export's feed: the only place that knows both.

use std::sync::Arc;

use balance_store::records::{self, StoredCdr, StoredLine};
use balance_store::{CdrError, CdrStore};
use cdr_export::convert::put_rated_cdr;
use cdr_export::{
    CdrBatch, CdrFeed, CdrReader, CdrView, ExchangeView, Extent, FeedStopped, LineView, OfferView, RatingView,
    ReadError, TariffView,
};
use ocs_proto::cdr::v1::RatedCdr;
use ocs_proto::fields::Fields;
use prost::Message;
use rating_engine::ids::{CdrPosition, PartitionId};
use tokio::sync::watch;

/// The feed.
#[derive(Debug)]
pub struct StoreFeed {
    store: Arc<CdrStore>,
    partition: PartitionId,
    tail: watch::Receiver<u64>,
}

impl StoreFeed {
    /// A feed of `store`, the CDRs of `partition`.
    pub fn new(store: Arc<CdrStore>, partition: PartitionId) -> Self {
        let (told, tail) = watch::channel(store.mark().get().get());
        store.mark().on_advance(move |position| {
            told.send_replace(position.get());
        });
        Self { store, partition, tail }
    }
}

impl CdrFeed for StoreFeed {
    type Reader = StoreReader;

    fn partition(&self) -> PartitionId {
        self.partition
    }

    fn extent(&self) -> Extent {
        Extent { first: self.store.first_position(), last: self.store.durable().position }
    }

    fn open(&self, from: CdrPosition) -> Result<StoreReader, ReadError> {
        let reader = self.store.reader(from).map_err(read_error)?;
        Ok(StoreReader { reader, partition: self.partition })
    }

    async fn wait_past(&self, position: CdrPosition) -> Result<(), FeedStopped> {
        let mut tail = self.tail.clone();
        tail.wait_for(|last| *last > position.get()).await.map(|_| ()).map_err(|_| FeedStopped)
    }
}

fn read_error(error: CdrError) -> ReadError {
    match error {
        CdrError::Cut { first, .. } => ReadError::Gone { first },
        CdrError::Damaged { .. } => ReadError::Damaged(error.to_string()),
        CdrError::Io { .. }
        | CdrError::UnknownFormat { .. }
        | CdrError::Gap { .. }
        | CdrError::LogBehind { .. }
        | CdrError::ChainBroken { .. }
        | CdrError::Poisoned { .. } => ReadError::Failed(error.to_string()),
    }
}

/// Reads CDRs forward.
#[derive(Debug)]
pub struct StoreReader {
    reader: balance_store::CdrReader,
    partition: PartitionId,
}

impl CdrReader for StoreReader {
    fn read(&mut self, batch: &mut CdrBatch) -> Result<(), ReadError> {
        while !batch.is_full() {
            let Some(record) = self.reader.read_next().map_err(read_error)? else { return Ok(()) };
            let (position, chain) = (record.position, Some(*record.chain.octets()));
            let damaged = |error: records::RecordError| ReadError::Damaged(format!("CDR {position}: {error}"));
            if !batch.wants_all() {
                let head = records::cdr_head(record.octets).map_err(damaged)?;
                if !batch.wants(position, head.kind, head.account) {
                    batch.pass_over(position, chain);
                    continue;
                }
            }
            let cdr = records::decode_cdr(record.octets).map_err(damaged)?;
            let stored = if batch.wants_stored() { record.octets } else { &[] };
            batch.push(CdrView { stored, ..view(self.partition, position, &cdr) }, chain);
        }
        Ok(())
    }
}

/// A stored CDR as it is shown to people.
pub fn shown(partition: PartitionId, position: CdrPosition, cdr: &StoredCdr) -> RatedCdr {
    let mut octets = Vec::new();
    put_rated_cdr(&mut Fields::new(&mut octets), view(partition, position, cdr));
    // What the export writes is the message: its tests say so.
    RatedCdr::decode(&octets[..]).unwrap_or_default()
}

/// A stored CDR as the export sees it.
fn view(partition: PartitionId, position: CdrPosition, cdr: &StoredCdr) -> CdrView<'_, impl Iterator<Item = LineView>> {
    let line = |line: &StoredLine| LineView { component: line.component, quantity: line.quantity, exact: line.exact };
    let rating = cdr.rating.as_ref().map(|rating| RatingView {
        tariff: TariffView {
            name: rating.tariff.name.as_str(),
            version: rating.tariff.version,
            content_hash: &rating.tariff.content_hash,
        },
        price: rating.price.as_str(),
        window: &rating.window,
        slice: rating.slice,
        measure: rating.measure,
        used_before: rating.used_before,
        used: rating.used,
        rated_before: rating.rated_before,
        rated: rating.rated,
        tier_from: rating.tier_from,
        charged_before: rating.charged_before,
        exchange: rating.exchange.as_ref().map(|exchange| ExchangeView {
            id: &exchange.id,
            from: exchange.from,
            since: exchange.since,
            amount: exchange.amount,
            per: exchange.per,
        }),
        lines: rating.lines.iter().map(line),
        beyond_grant: rating.beyond_grant,
    });
    CdrView {
        partition,
        position,
        kind: cdr.kind,
        corrects: cdr.corrects,
        account: cdr.account,
        number: cdr.number,
        previous: cdr.previous,
        tenant: cdr.tenant,
        subscriber: cdr.subscriber,
        source: &cdr.source,
        identity_forgotten: cdr.identity_forgotten,
        cause: cdr.cause,
        usage_start: cdr.usage_start,
        usage_end: cdr.usage_end,
        accepted: cdr.accepted,
        reported: &cdr.reported,
        rating,
        booked: cdr.booked,
        bill_cycle: cdr.bill_cycle,
        zone: &cdr.zone,
        offer: cdr.offer.as_ref().map(|offer| OfferView {
            name: offer.name.as_str(),
            version: offer.version,
            content_hash: &offer.content_hash,
            subscription: offer.subscription,
            cycle: offer.cycle,
        }),
        finance: cdr.finance.as_ref(),
        amount: cdr.amount,
        currency: cdr.currency,
        movements: &cdr.movements,
        crossings: &cdr.crossings,
        semantics: cdr.semantics,
        stored: &[],
    }
}
