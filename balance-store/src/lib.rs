//! Durability: the log, the state behind it, and the CDR store. Everything handled here is opaque octets.
//!
//! Shards append entries to a [`Journal`]; its committer writes each batch as one frame to a [`Log`], syncs, and raises the
//! [`DurableMark`] that every answer waits for. Behind the log, a [`Checkpointer`] carries changed records to a [`StateStore`] and a
//! [`CdrMover`] carries CDRs to the [`CdrStore`]; what both hold, the log may forget ([`CutLine`]).
//!
//! Two narrow seams: [`Log`] and [`StateStore`]. [`SegmentLog`] and [`RocksState`] are the real ones, [`MemoryLog`] and [`MemoryState`]
//! serve tests; one contract runs over all. Only std threads here: no async, no clock but pacing, no meaning of any record.
//!
//! Invariants:
//! - what is at or below the durable mark survives any crash; nothing above it is ever shown to have happened;
//! - LSNs and CDR positions have no gap and are never given twice to anything that was durable;
//! - damage is refused with its place, never skipped; a failed write or sync is never retried.

#![deny(clippy::indexing_slicing)]

mod cdrs;
mod chain;
mod checkpoint;
mod committer;
mod cut_line;
mod disk;
mod error;
mod folder;
pub mod keys;
mod log;
mod mark;
mod memory;
mod octets;
pub mod records;
mod state;

pub use cdrs::{
    CdrDurable, CdrError, CdrMover, CdrMoverOptions, CdrOptions, CdrReader, CdrRecord, CdrStore, decode_block,
};
pub use chain::HashChain;
pub use checkpoint::{CheckpointHooks, CheckpointOptions, CheckpointStats, Checkpointer, DirtyRecord, DirtySource};
pub use committer::{CommitStats, Journal, JournalHooks, JournalOptions};
pub use cut_line::{CutLine, Holder};
pub use disk::{Crash, Disk, DiskFile, FaultDisk, RealDisk};
pub use error::{FailureHook, StoreError};
pub use folder::{DATA_FORMAT, DataFolder, FolderError};
pub use log::{
    Appended, Batch, Durability, EntryWriter, Frame, FrameFault, LogCursor, LogError, LogOptions, LogPosition,
    Recovered, SegmentLog, TailCut,
};
#[doc(hidden)]
pub use log::{decode_frame, decode_segment_header};
pub use mark::{CdrMark, DurableMark, Mark, MarkStopped, MarkValue};
pub use memory::{MemoryLog, MemoryState};
pub use rating_engine::ids::{CdrPosition, Lsn};
pub use state::{Family, KeyRange, StateError, StateWrite};
pub use state::{RocksOptions, RocksState};

/// The log: batches appended durably in order, read back from a sequence number, cut from the front.
///
/// Batches are self-contained, so that a replicated log can stand behind the same seam.
pub trait Log: Send + Sync + 'static {
    /// Writes a sealed batch as one frame behind the last one and makes it durable.
    ///
    /// # Errors
    /// Any [`LogError`]; after the first one every further call gets [`LogError::Poisoned`]: a failed write or sync is never retried.
    fn append(&self, batch: &mut Batch) -> Result<(), LogError>;

    /// Reads the frame at the cursor into `frame` and moves the cursor behind it; `false` at the end of what is durable.
    /// The first frame read may begin below the LSN the cursor was made with, since frames are whole.
    ///
    /// # Errors
    /// [`LogError::Cut`] when that LSN is gone; [`LogError::Damaged`] or [`LogError::Io`] when the frame cannot be read.
    fn read_next(&self, cursor: &mut LogCursor, frame: &mut Frame) -> Result<bool, LogError>;

    /// Forgets frames wholly below `lsn`, as far as that is convenient (whole segments).
    ///
    /// # Errors
    /// [`LogError::Io`] when the disk fails.
    fn cut_below(&self, lsn: Lsn) -> Result<(), LogError>;

    /// Where the log begins and ends.
    fn position(&self) -> LogPosition;

    /// How many octets of frames are kept, for throttling.
    fn tail_octets(&self) -> u64;

    /// Makes what [`Durability::Os`] left to the kernel durable. Whoever is about to make something of what it read from the log
    /// durable elsewhere calls this first, so that nothing behind the log is ever ahead of it.
    ///
    /// # Errors
    /// [`LogError::Io`] when the disk fails; the log is poisoned then.
    fn sync(&self) -> Result<(), LogError> {
        Ok(())
    }

    /// Prepares what later appends will need (spare segments). Called now and then by a thread that may wait.
    ///
    /// # Errors
    /// [`LogError::Io`] when the disk fails; appends may still succeed.
    fn tend(&self) -> Result<(), LogError> {
        Ok(())
    }
}

/// The state behind the log: records by family and key, and the LSN up to which they are complete.
pub trait StateStore: Send + Sync + 'static {
    /// Puts and deletes records, in order. Not durable before the next [`StateStore::checkpoint`].
    ///
    /// # Errors
    /// Any [`StateError`].
    fn write(&self, writes: &[StateWrite<'_>]) -> Result<(), StateError>;

    /// Makes everything written so far durable, together with the statement that it is complete up to `lsn`.
    ///
    /// # Errors
    /// Any [`StateError`]; the checkpoint before still stands.
    fn checkpoint(&self, lsn: Lsn) -> Result<(), StateError>;

    /// The LSN of the last checkpoint; 0 when there was none.
    ///
    /// # Errors
    /// Any [`StateError`].
    fn checkpoint_lsn(&self) -> Result<Lsn, StateError>;

    /// One record.
    ///
    /// # Errors
    /// Any [`StateError`].
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// Splits a family into at most `parts` key ranges that cover it, for loading in parallel.
    ///
    /// # Errors
    /// Any [`StateError`].
    fn ranges(&self, family: Family, parts: usize) -> Result<Vec<KeyRange>, StateError>;

    /// Calls `each` with every (key, value) of a range, in key order.
    ///
    /// # Errors
    /// Any [`StateError`].
    fn load(&self, family: Family, range: &KeyRange, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StateError>;
}
