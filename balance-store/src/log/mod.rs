//! The write-ahead log: segments of frames.
//!
//! `batch` builds frames, `frame` and `segment` are the octets, `segments` appends, cuts and recycles, `recovery` decides at start
//! what is whole, `read` walks back over it. Absent: replication, compression, any meaning of an entry.

mod batch;
mod error;
mod files;
mod frame;
mod read;
mod recovery;
mod segment;
mod segments;

pub use batch::{Appended, Batch, EntryWriter};
pub use error::LogError;
pub use frame::{Frame, FrameFault, decode_frame};
pub use read::LogCursor;
pub use recovery::{Recovered, TailCut};
pub use segment::decode_segment_header;
pub use segments::SegmentLog;

use crate::{CdrPosition, HashChain, Lsn};

/// When a commit counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After `fdatasync`: survives a power cut.
    #[default]
    Fsync,
    /// After the write: survives the end of the process; a power cut may lose the last seconds, or leave a hole that is refused at
    /// start. Segments' headers and names are synced all the same.
    Os,
}

/// How the log lies on disk.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Length of a segment file in octets. A frame that needs more gets a segment of its own size.
    pub segment_octets: u64,
    /// How many pre-written spare segments [`crate::Log::tend`] keeps ready.
    pub spares_min: usize,
    /// How many spare segments are kept after a cut; further ones are removed.
    pub spares_max: usize,
    /// How many segments there are at most, in use and spare, before what is cut is removed instead of kept. The log itself may
    /// need more.
    pub segments_max: usize,
    /// When a commit counts as durable.
    pub durability: Durability,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_octets: 64 << 20, spares_min: 1, spares_max: 4, segments_max: 64, durability: Durability::Fsync }
    }
}

/// Where a log begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    /// The first LSN that can still be read.
    pub first_lsn: Lsn,
    /// The position of the first CDR that can still be read.
    pub first_cdr: CdrPosition,
    /// The LSN of the next entry; all below it are durable.
    pub next_lsn: Lsn,
    /// The position of the next CDR.
    pub next_cdr: CdrPosition,
    /// The CDR chain's value so far.
    pub chain: HashChain,
}

impl LogPosition {
    /// Where a log with nothing in it stands: LSN 1 and CDR position 1 come next.
    pub const START: Self = Self {
        first_lsn: Lsn::new(1),
        first_cdr: CdrPosition::new(1),
        next_lsn: Lsn::new(1),
        next_cdr: CdrPosition::new(1),
        chain: HashChain::START,
    };

    /// Checks at start that this log continues a state checkpointed at `checkpoint`.
    ///
    /// # Errors
    /// [`LogError::Cut`] when entries after the checkpoint are gone, [`LogError::Behind`] when the log ends before it.
    pub fn check_checkpoint(&self, checkpoint: Lsn) -> Result<(), LogError> {
        let (asked, first, last) = (checkpoint.next(), self.first_lsn, self.last_lsn());
        if asked < first {
            return Err(LogError::Cut { asked, first });
        }
        if last < checkpoint {
            return Err(LogError::Behind { checkpoint, last });
        }
        Ok(())
    }

    /// The last LSN that is durable; 0 when there is none.
    #[must_use]
    pub const fn last_lsn(&self) -> Lsn {
        Lsn::new(self.next_lsn.get().saturating_sub(1))
    }
}
