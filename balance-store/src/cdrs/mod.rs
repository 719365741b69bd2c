//! The CDR store: every CDR in order of position, compressed, kept as long as finance needs it.
//!
//! The [`CdrMover`] reads frames back from the log and appends their CDRs here; the log lets go of what is durable here. `block` is the
//! octets, `segment` a file of blocks, `store` the whole, `reader` walks it. Absent: what a CDR says, and any index but position.

mod block;
mod error;
mod mover;
mod reader;
mod segment;
mod store;

pub use block::decode_block;
pub use error::CdrError;
pub use mover::{CdrMover, CdrMoverOptions};
pub use reader::{CdrReader, CdrRecord};
pub use store::CdrStore;

use crate::{CdrPosition, Lsn};

/// How the CDR store lies on disk.
#[derive(Clone, Copy, Debug)]
pub struct CdrOptions {
    /// A block is closed when it holds this many octets of CDRs before compression, or at a sync. A frame's CDRs stay together as
    /// long as they are no more than sixteen times that.
    pub block_octets: u64,
    /// A segment file is left for the next one when it has this many octets.
    pub segment_octets: u64,
}

/// How many times as long as a block the CDRs of a frame may be to stay together.
const FRAME_BLOCKS_MAX: u64 = 16;

impl CdrOptions {
    pub(crate) const fn frame_octets_max(&self) -> u64 {
        self.block_octets.saturating_mul(FRAME_BLOCKS_MAX)
    }
}

impl Default for CdrOptions {
    fn default() -> Self {
        Self { block_octets: 256 << 10, segment_octets: 256 << 20 }
    }
}

/// How far the store is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CdrDurable {
    /// The last CDR that survives a power cut; 0 when there is none.
    pub position: CdrPosition,
    /// Every CDR of every log entry at or below this LSN survives; the log may be cut below the next one.
    pub lsn: Lsn,
}
