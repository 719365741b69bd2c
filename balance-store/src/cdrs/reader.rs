//! Reads CDRs in order of position, as far as they are durable, and goes on when there are more.

use std::sync::Arc;

use super::block::{BlockFault, BlockHeader};
use super::segment::CdrSegment;
use super::{CdrError, CdrStore};
use crate::octets::Records;
use crate::{CdrPosition, HashChain};

/// One CDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CdrRecord<'a> {
    /// Its position.
    pub position: CdrPosition,
    /// Its octets.
    pub octets: &'a [u8],
    /// The chain's value after it.
    pub chain: HashChain,
}

/// A place in the CDR store. Many may read at once.
#[derive(Debug)]
pub struct CdrReader {
    store: Arc<CdrStore>,
    next: CdrPosition,
    block: Option<OpenBlock>,
    packed: Vec<u8>,
    raw: Vec<u8>,
}

/// The block being read, and how far.
struct OpenBlock {
    header: BlockHeader,
    segment: CdrSegment,
    offset: u64,
    at: usize,
    position: CdrPosition,
    chain: HashChain,
}

impl CdrReader {
    pub(crate) const fn new(store: Arc<CdrStore>, next: CdrPosition) -> Self {
        Self { store, next, block: None, packed: Vec::new(), raw: Vec::new() }
    }

    /// The position it will read next.
    #[must_use]
    pub const fn position(&self) -> CdrPosition {
        self.next
    }

    /// The next CDR; `None` at the end of what is durable (wait for the store's mark, then ask again).
    ///
    /// # Errors
    /// [`CdrError::Damaged`] with its place, [`CdrError::Cut`] when retention overtook the reader, [`CdrError::Io`].
    pub fn read_next(&mut self) -> Result<Option<CdrRecord<'_>>, CdrError> {
        let (position, from, chain) = loop {
            let Some(block) = &mut self.block else {
                if !self.load()? {
                    return Ok(None);
                }
                continue;
            };
            let Some(record) = Records::new(self.raw.get(block.at..).unwrap_or_default()).next() else {
                self.block = None;
                continue;
            };
            let (position, from) = (block.position, block.at + 4);
            block.at = from + record.len();
            block.position = position.next();
            block.chain = block.chain.after(record);
            if block.position == block.header.next() && block.chain != block.header.chain {
                let fault = BlockFault::Damaged("its CDRs do not lead to the hash chain's value");
                return Err(block.segment.refusal(block.offset, block.header.first, fault));
            }
            if position >= self.next {
                break (position, from..block.at, block.chain);
            }
        };
        self.next = position.next();
        Ok(Some(CdrRecord { position, octets: self.raw.get(from).unwrap_or_default(), chain }))
    }

    /// Opens the block that holds the next position; `false` when that is not durable yet.
    fn load(&mut self) -> Result<bool, CdrError> {
        let Some(found) = self.store.find(self.next)? else { return Ok(false) };
        let refusal = |offset, fault| found.segment.refusal(offset, self.next, fault);
        let chain = match found.before {
            Some(offset) => found.segment.header(offset)?.map_err(|fault| refusal(offset, fault))?.chain,
            None => found.segment.start.chain,
        };
        let header = found
            .segment
            .block(found.offset, &mut self.packed, &mut self.raw)?
            .map_err(|fault| refusal(found.offset, fault))?;
        let position = header.first;
        self.block = Some(OpenBlock { header, segment: found.segment, offset: found.offset, at: 0, position, chain });
        Ok(true)
    }
}

impl std::fmt::Debug for OpenBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenBlock").field("header", &self.header).field("offset", &self.offset).finish_non_exhaustive()
    }
}
