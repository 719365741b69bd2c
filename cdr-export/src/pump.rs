//! Reads batch after batch for one stream, on threads that may wait. What every stream of CDRs has in common.
//!
//! A [`Pump`] knows where its stream is. [`Pump::read`] hands out the work, [`Pump::took`] takes the result in; between the two the
//! stream may do other things. Absent: when to read, and what becomes of a batch.

use std::collections::BTreeSet;
use std::sync::Arc;

use ocs_proto::refusal::status;
use rating_engine::ids::CdrPosition;
use tonic::{Code, Status};

use crate::cursor::{CdrBatch, CdrFeed, CdrReader, Extent, ReadError, Wanted};
use crate::{ExportLimits, Selection};

/// Where a stream is, and what it reads with.
pub(crate) struct Pump<F: CdrFeed> {
    feed: Arc<F>,
    limits: ExportLimits,
    selection: Arc<Selection>,
    /// The reader that stands at `next`; none after a jump.
    reader: Option<F::Reader>,
    next: CdrPosition,
    chain_hash: Option<[u8; 32]>,
}

/// How much is to be read.
pub(crate) struct Portion {
    /// CDRs at most.
    pub(crate) records_max: usize,
    /// The last position that is looked at.
    pub(crate) until: CdrPosition,
    /// Positions that are left out.
    pub(crate) without: Arc<BTreeSet<CdrPosition>>,
    /// Whether with the octets that CDRs are stored as.
    pub(crate) with_stored: bool,
}

/// What reading led to, on its way back to the pump.
pub(crate) type Drawn<R> = Result<(R, CdrBatch, Result<(), ReadError>), ReadError>;

/// What was read: what there is goes to the client, then the stream ends with what failed.
pub(crate) struct Taken {
    /// What was read, if anything, also where all of it was passed over.
    pub(crate) batch: Option<CdrBatch>,
    /// Why nothing follows.
    pub(crate) failed: Option<Status>,
}

impl<F: CdrFeed> Pump<F> {
    pub(crate) const fn new(feed: Arc<F>, limits: ExportLimits, selection: Arc<Selection>, next: CdrPosition) -> Self {
        Self { feed, limits, selection, reader: None, next, chain_hash: None }
    }

    /// The position of the CDR that is due.
    pub(crate) const fn next(&self) -> CdrPosition {
        self.next
    }

    /// The hash after the CDR before that, where it is known.
    pub(crate) const fn chain_hash(&self) -> Option<[u8; 32]> {
        self.chain_hash
    }

    /// Whether there is something to read.
    pub(crate) fn is_behind(&self) -> bool {
        self.feed.extent().last >= self.next
    }

    /// Goes on at another position. What is being read meanwhile must not be taken in.
    pub(crate) fn jump(&mut self, next: CdrPosition) {
        (self.reader, self.next, self.chain_hash) = (None, next, None);
    }

    /// The work of reading what follows; to be done on a thread that may wait.
    pub(crate) fn read(&mut self, portion: Portion) -> impl FnOnce() -> Drawn<F::Reader> + Send + use<F> {
        let Portion { records_max, until, without, with_stored } = portion;
        let wanted = Wanted {
            selection: Arc::clone(&self.selection),
            without,
            until,
            records_max: self.limits.batch_records_max.min(records_max).max(1),
            octets_max: self.limits.batch_octets_max,
            with_stored,
        };
        let (reader, feed) = (self.reader.take(), Arc::clone(&self.feed));
        let mut batch = CdrBatch::of(self.next, wanted);
        move || {
            let mut open = match reader {
                Some(open) => open,
                None => feed.open(batch.next())?,
            };
            let result = open.read(&mut batch);
            Ok((open, batch, result))
        }
    }

    /// Takes in what was read.
    pub(crate) fn took(&mut self, drawn: Drawn<F::Reader>) -> Taken {
        let (open, batch, result) = match drawn {
            Ok(drawn) => drawn,
            Err(error) => return Taken { batch: None, failed: Some(self.failed(error)) },
        };
        self.reader = Some(open);
        let (moved, misplaced) = (batch.next() != self.next, batch.misplaced());
        if moved {
            self.next = batch.next();
            self.chain_hash = batch.last_chain_hash();
        }
        let failed = match result {
            Err(error) => Some(self.failed(error)),
            Ok(()) if !moved || misplaced.is_some() => Some(status(
                Code::DataLoss,
                "CDR_DAMAGED",
                format!(
                    "CDR {} is due and durable, but reading found {}; this stream ends rather than leave a gap",
                    self.next,
                    misplaced.map_or_else(|| "nothing".to_owned(), |position| format!("CDR {position}")),
                ),
            )),
            Ok(()) => None,
        };
        Taken { batch: moved.then_some(batch), failed }
    }

    fn failed(&self, error: ReadError) -> Status {
        let next = self.next;
        match error {
            ReadError::Gone { first } => gone(next, Extent { first, last: self.feed.extent().last }),
            ReadError::Damaged(reason) => status(
                Code::DataLoss,
                "CDR_DAMAGED",
                format!("CDR {next} cannot be read, what is on disk is damaged: {reason}"),
            ),
            ReadError::Failed(reason) => {
                status(Code::Internal, "CDR_UNREADABLE", format!("CDR {next} cannot be read: {reason}"))
            }
        }
    }
}

/// The thread that read did not come back.
pub(crate) fn no_result() -> Status {
    Status::internal("the thread that read CDRs ended without a result")
}

/// Whether a stream may begin at `from`, the request's `field`.
pub(crate) fn check_start(field: &str, from: CdrPosition, extent: Extent) -> Result<(), Status> {
    let never = |what: String| status(Code::OutOfRange, "POSITION_NEVER_ISSUED", what);
    if from.get() == 0 {
        return Err(never(format!("{field} is 0, but positions begin at 1; {}", available(extent))));
    }
    if from < extent.first {
        return Err(gone(from, extent));
    }
    if from > extent.last.next() {
        return Err(never(format!("{field} {from} is beyond the next CDR to be written; {}", available(extent))));
    }
    Ok(())
}

fn gone(from: CdrPosition, extent: Extent) -> Status {
    status(
        Code::OutOfRange,
        "POSITION_NOT_KEPT",
        format!("CDR {from} is no longer kept, the first available is {}; {}", extent.first, available(extent)),
    )
}

/// What can be read, in words.
pub(crate) fn available(extent: Extent) -> String {
    let next = extent.last.next();
    if extent.first > extent.last {
        format!("no CDR is available, the next will be {next}")
    } else {
        format!("available are {} to {}, the next will be {next}", extent.first, extent.last)
    }
}
