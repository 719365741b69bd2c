//! A file of blocks, named after its first position, and what is whole in it.
//!
//! | octets | field |
//! |---|---|
//! | 4 | magic `OCSC` |
//! | 2 | format, 1 |
//! | 2 | zero |
//! | 8 | first CDR position |
//! | 32 | CDR chain before it |
//! | 8 | LSN up to which nothing is missing before it |
//! | 4 | zero |
//! | 4 | CRC-32C over everything above |
//!
//! Blocks follow. Every block says how much of the file was durable when it was written. So a bad block in what a later one calls
//! durable is damage, and a bad block behind that is taken for a write the crash interrupted when the log has its CDRs still: it and
//! what follows is cut. When the log has them no longer, the block was durable, and it is damage as well.

use std::path::PathBuf;
use std::sync::Arc;

use super::CdrError;
use super::block::{BLOCK_FORMAT, BLOCK_HEADER_OCTETS, BLOCK_MAGIC, BlockFault, BlockHeader};
use crate::disk::DiskFile;
use crate::octets::{Fields, FieldsMut, to_u64, to_usize};
use crate::{CdrPosition, HashChain, Lsn};

const SEGMENT_MAGIC: [u8; 4] = *b"OCSC";
const SEGMENT_FORMAT: u16 = 1;
pub(crate) const SEGMENT_HEADER_OCTETS: usize = 64;

/// Where a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) first: CdrPosition,
    pub(crate) chain: HashChain,
    pub(crate) complete_lsn: Lsn,
}

/// One block of the sparse index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockPlace {
    pub(crate) offset: u64,
    pub(crate) first: CdrPosition,
}

/// An open file of blocks.
#[derive(Clone)]
pub(crate) struct CdrSegment {
    pub(crate) start: Start,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: PathBuf,
}

/// What is whole in a segment.
pub(crate) struct Scan {
    pub(crate) blocks: Vec<BlockPlace>,
    pub(crate) end: u64,
    pub(crate) next: CdrPosition,
    pub(crate) chain: HashChain,
    pub(crate) complete_lsn: Lsn,
    /// From here on, octets may not be on the disk yet.
    pub(crate) durable_before: u64,
    fault: Option<BlockFault>,
}

pub(crate) fn segment_name(first: CdrPosition) -> String {
    format!("{:016x}.cdrs", first.get())
}

pub(crate) fn segment_named(name: &str) -> Option<CdrPosition> {
    let number = name.strip_suffix(".cdrs").filter(|number| number.len() == 16)?;
    u64::from_str_radix(number, 16).ok().map(CdrPosition::new)
}

impl Start {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_OCTETS] {
        let mut octets = [0; SEGMENT_HEADER_OCTETS];
        let _full = FieldsMut::new(&mut octets)
            .put(&SEGMENT_MAGIC)
            .u16(SEGMENT_FORMAT)
            .u16(0)
            .u64(self.first.get())
            .put(self.chain.octets())
            .u64(self.complete_lsn.get())
            .u32(0);
        if let Some((fields, crc)) = octets.split_last_chunk_mut::<4>() {
            *crc = crc32c::crc32c(fields).to_le_bytes();
        }
        octets
    }

    pub(crate) fn parse(octets: &[u8]) -> Result<Self, BlockFault> {
        let mut fields = Fields::new(octets);
        if fields.array() != Some(SEGMENT_MAGIC) {
            return Err(BlockFault::Damaged("the segment's header is damaged"));
        }
        if let Some(format) = fields.u16().filter(|format| *format != SEGMENT_FORMAT) {
            return Err(BlockFault::Format(format));
        }
        let start = (|| {
            let _zero = fields.u16()?;
            let start = Self {
                first: CdrPosition::new(fields.u64()?),
                chain: HashChain::from_octets(fields.array()?),
                complete_lsn: Lsn::new(fields.u64()?),
            };
            let (_zero, crc) = (fields.u32()?, fields.u32()?);
            (crc32c::crc32c(octets.get(..SEGMENT_HEADER_OCTETS - 4)?) == crc).then_some(start)
        })();
        start.ok_or(BlockFault::Damaged("the segment's header is damaged"))
    }
}

impl CdrSegment {
    pub(crate) fn read(&self, octets: &mut [u8], offset: u64) -> Result<usize, CdrError> {
        self.file.read_at(octets, offset).map_err(CdrError::io("read", &self.path, Some(offset)))
    }

    pub(crate) fn octets(&self) -> Result<u64, CdrError> {
        self.file.octets().map_err(CdrError::io("measure", &self.path, None))
    }

    pub(crate) fn refusal(&self, offset: u64, position: CdrPosition, fault: BlockFault) -> CdrError {
        let file = self.path.clone();
        match fault {
            BlockFault::Damaged(reason) => CdrError::Damaged { file, offset, position, reason },
            BlockFault::Format(found) => CdrError::UnknownFormat { file, offset, found, known: BLOCK_FORMAT },
        }
    }

    pub(crate) fn header(&self, offset: u64) -> Result<Result<BlockHeader, BlockFault>, CdrError> {
        let mut octets = [0; BLOCK_HEADER_OCTETS];
        let read = self.read(&mut octets, offset)?;
        Ok(BlockHeader::parse(octets.get(..read).unwrap_or_default()))
    }

    /// Reads the block at `offset` whole; `raw` gets its CDRs.
    pub(crate) fn block(
        &self,
        offset: u64,
        packed: &mut Vec<u8>,
        raw: &mut Vec<u8>,
    ) -> Result<Result<BlockHeader, BlockFault>, CdrError> {
        let header = match self.header(offset)? {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault)),
        };
        if offset.saturating_add(header.total_octets()) > self.octets()? {
            return Ok(Err(BlockFault::Damaged("the block runs past the end of its file")));
        }
        packed.resize(to_usize(u64::from(header.packed_octets)), 0);
        self.read(packed, offset.saturating_add(to_u64(BLOCK_HEADER_OCTETS)))?;
        Ok(header.unpack(packed, raw).map(|()| header))
    }

    /// Walks the blocks by their headers; with `deep`, their octets are checked as well.
    pub(crate) fn scan(&self, deep: bool) -> Result<Scan, CdrError> {
        let mut scan = Scan {
            blocks: Vec::new(),
            end: to_u64(SEGMENT_HEADER_OCTETS),
            next: self.start.first,
            chain: self.start.chain,
            complete_lsn: self.start.complete_lsn,
            durable_before: to_u64(SEGMENT_HEADER_OCTETS),
            fault: None,
        };
        let length = self.octets()?;
        let (mut packed, mut raw) = (Vec::new(), Vec::new());
        while scan.end < length {
            let block = if deep { self.block(scan.end, &mut packed, &mut raw)? } else { self.header(scan.end)? };
            let header = match block {
                Ok(header) if header.first != scan.next => Err(BlockFault::Damaged("a block is missing before it")),
                Ok(header) if scan.end.saturating_add(header.total_octets()) > length => {
                    Err(BlockFault::Damaged("the block runs past the end of its file"))
                }
                other => other,
            };
            match header {
                Ok(header) => scan.take(&header),
                Err(fault) => {
                    scan.fault = Some(fault);
                    break;
                }
            }
        }
        Ok(scan)
    }

    /// Refuses a segment that was left behind for the next one unless all of it is whole.
    pub(crate) fn must_be_whole(&self, scan: &Scan) -> Result<(), CdrError> {
        scan.fault.map_or(Ok(()), |fault| Err(self.refusal(scan.end, scan.next, fault)))
    }

    /// Refuses a bad block at the end of the last segment that was durable: a later block says so, or the log, which begins with
    /// `log_first`, has let go of its CDRs.
    pub(crate) fn check_tail(&self, scan: &Scan, log_first: CdrPosition) -> Result<(), CdrError> {
        let Some(fault) = scan.fault else { return Ok(()) };
        if matches!(fault, BlockFault::Format(_)) || scan.next < log_first || self.called_durable(scan.end)? {
            return Err(self.refusal(scan.end, scan.next, fault));
        }
        Ok(())
    }

    /// Cuts what was interrupted at the end of the last segment, once it is known to be that.
    pub(crate) fn cut_tail(&self, scan: &Scan) -> Result<(), CdrError> {
        if scan.fault.is_none() {
            return Ok(());
        }
        self.file.set_len(scan.end).map_err(CdrError::io("cut the tail of", &self.path, Some(scan.end)))
    }

    /// Whether an intact block behind `offset` says that `offset` was durable when it was written.
    fn called_durable(&self, offset: u64) -> Result<bool, CdrError> {
        const WINDOW: u64 = 1 << 20;
        let length = self.octets()?;
        let mut window = Vec::new();
        let (mut packed, mut raw) = (Vec::new(), Vec::new());
        let mut at = offset;
        while at < length {
            window.resize(to_usize(WINDOW.min(length - at)), 0);
            self.read(&mut window, at)?;
            for (index, word) in window.chunks_exact(8).enumerate() {
                if word.starts_with(&BLOCK_MAGIC)
                    && let Ok(header) = self.block(at + to_u64(index) * 8, &mut packed, &mut raw)?
                    && header.durable_before > offset
                {
                    return Ok(true);
                }
            }
            at += WINDOW;
        }
        Ok(false)
    }

    /// Makes sure that what was read is on the disk, and not only in the page cache, where a failed sync may have left it for good.
    pub(crate) fn settle(&self, scan: &Scan) -> Result<(), CdrError> {
        let mut octets = vec![0; 1 << 20];
        let mut at = scan.durable_before;
        while at < scan.end {
            let wanted = to_usize((scan.end - at).min(to_u64(octets.len())));
            let piece = octets.get_mut(..wanted).unwrap_or_default();
            self.read(piece, at)?;
            self.file.write_at(piece, at).map_err(CdrError::io("write again in", &self.path, Some(at)))?;
            at += to_u64(wanted);
        }
        self.file.sync_data().map_err(CdrError::io("sync", &self.path, None))
    }
}

impl Scan {
    fn take(&mut self, header: &BlockHeader) {
        self.blocks.push(BlockPlace { offset: self.end, first: header.first });
        self.end = self.end.saturating_add(header.total_octets());
        self.next = header.next();
        self.chain = header.chain;
        self.complete_lsn = header.complete_lsn;
        self.durable_before = header.durable_before.min(self.end);
    }
}
