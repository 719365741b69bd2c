//! A frame: one batch as it lies in a segment.
//!
//! | octets | field |
//! |---|---|
//! | 4 | magic `OCSF` |
//! | 2 | format, 1 |
//! | 2 | zero |
//! | 8 | generation of the segment |
//! | 8 | first LSN |
//! | 8 | first CDR position |
//! | 4 | number of entries, at least 1 |
//! | 4 | number of CDRs |
//! | 4 | octets of the entries section |
//! | 4 | octets of the CDR section |
//! | 32 | CDR chain after the last CDR |
//! | 4 | CRC of the frame before |
//! | 4 | CRC-32C over everything above and the payload, seeded with the CRC of the frame before |
//!
//! The payload follows: entries, then CDRs, each `[u32 length][octets]`, then zeros up to a multiple of eight. Numbers are
//! little-endian. The CRC of the frame before is also a field, so that a frame behind a damaged one can still be recognised.

use super::LogError;
use crate::octets::{Fields, FieldsMut, Records, aligned, to_u64, to_usize};
use crate::{CdrPosition, HashChain, Lsn};

pub(crate) const FRAME_MAGIC: [u8; 4] = *b"OCSF";
pub(crate) const FRAME_FORMAT: u16 = 1;
pub(crate) const FRAME_HEADER_OCTETS: usize = 88;
const CRC_OFFSET: usize = FRAME_HEADER_OCTETS - 4;

/// What a frame says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) generation: u64,
    pub(crate) first_lsn: Lsn,
    pub(crate) first_cdr: CdrPosition,
    pub(crate) entry_count: u32,
    pub(crate) cdr_count: u32,
    pub(crate) entries_octets: u32,
    pub(crate) cdr_octets: u32,
    pub(crate) chain: HashChain,
    pub(crate) previous_crc: u32,
    pub(crate) crc: u32,
}

/// Why octets are not the frame that should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// No frame begins here.
    NoFrame,
    /// A frame of another generation: left over from before the segment was recycled.
    Stale {
        /// Its generation.
        generation: u64,
    },
    /// The frame runs past the end of the segment.
    Overrun,
    /// The checksum does not match the octets.
    Checksum,
    /// Intact, but not the one that follows: another LSN, CDR position or predecessor.
    OutOfOrder,
    /// The checksum matches, yet the sections are not what the header says.
    Malformed,
    /// Intact and of a format this program does not know.
    Format(u16),
}

impl std::fmt::Display for FrameFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoFrame => f.write_str("no frame begins there"),
            Self::Stale { generation } => {
                write!(f, "the frame there is left over from segment generation {generation}")
            }
            Self::Overrun => f.write_str("the frame runs past the end of its segment"),
            Self::Checksum => f.write_str("the checksum does not match"),
            Self::OutOfOrder => f.write_str("the frame does not follow the one before it"),
            Self::Malformed => f.write_str("the frame's sections are not what its header says"),
            Self::Format(format) => {
                write!(f, "the frame has format {format}, this program knows {FRAME_FORMAT}")
            }
        }
    }
}

impl FrameHeader {
    /// Reads a header; only its shape is checked.
    pub(crate) fn parse(octets: &[u8]) -> Result<Self, FrameFault> {
        let mut fields = Fields::new(octets);
        if fields.array() != Some(FRAME_MAGIC) {
            return Err(FrameFault::NoFrame);
        }
        let header = (|| {
            let (_format, _zero) = (fields.u16()?, fields.u16()?);
            Some(Self {
                generation: fields.u64()?,
                first_lsn: Lsn::new(fields.u64()?),
                first_cdr: CdrPosition::new(fields.u64()?),
                entry_count: fields.u32()?,
                cdr_count: fields.u32()?,
                entries_octets: fields.u32()?,
                cdr_octets: fields.u32()?,
                chain: HashChain::from_octets(fields.array()?),
                previous_crc: fields.u32()?,
                crc: fields.u32()?,
            })
        })();
        header.ok_or(FrameFault::Overrun)
    }

    /// The frame's length in octets, header and padding included.
    pub(crate) fn total_octets(&self) -> u64 {
        let payload = u64::from(self.entries_octets) + u64::from(self.cdr_octets);
        aligned(to_u64(FRAME_HEADER_OCTETS) + payload)
    }

    /// The LSN of the last entry.
    pub(crate) fn last_lsn(&self) -> Lsn {
        Lsn::new(self.next_lsn().get().saturating_sub(1))
    }

    pub(crate) fn next_lsn(&self) -> Lsn {
        Lsn::new(self.first_lsn.get().saturating_add(u64::from(self.entry_count)))
    }

    pub(crate) fn next_cdr(&self) -> CdrPosition {
        CdrPosition::new(self.first_cdr.get().saturating_add(u64::from(self.cdr_count)))
    }

    /// Fills in the header in front of a payload and returns the checksum. `None` when there is no room for it.
    pub(crate) fn seal_into(&self, frame: &mut [u8]) -> Option<u32> {
        let fields = FieldsMut::new(frame.get_mut(..CRC_OFFSET)?);
        let _full = fields
            .put(&FRAME_MAGIC)
            .u16(FRAME_FORMAT)
            .u16(0)
            .u64(self.generation)
            .u64(self.first_lsn.get())
            .u64(self.first_cdr.get())
            .u32(self.entry_count)
            .u32(self.cdr_count)
            .u32(self.entries_octets)
            .u32(self.cdr_octets)
            .put(self.chain.octets())
            .u32(self.previous_crc);
        let crc = checksum(frame, self.previous_crc)?;
        *frame.get_mut(CRC_OFFSET..)?.first_chunk_mut()? = crc.to_le_bytes();
        Some(crc)
    }
}

/// CRC-32C over a frame without its own checksum field, seeded with the frame before.
fn checksum(frame: &[u8], previous_crc: u32) -> Option<u32> {
    let header = crc32c::crc32c_append(previous_crc, frame.get(..CRC_OFFSET)?);
    Some(crc32c::crc32c_append(header, frame.get(FRAME_HEADER_OCTETS..)?))
}

/// One frame read back; its memory is used again for the next.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    header: Option<FrameHeader>,
    octets: Vec<u8>,
}

impl Frame {
    /// An empty one, to be read into.
    #[must_use]
    pub const fn new() -> Self {
        Self { header: None, octets: Vec::new() }
    }

    /// The LSN of its first entry (0 while nothing was read).
    #[must_use]
    pub fn first_lsn(&self) -> Lsn {
        self.header.map_or(Lsn::new(0), |header| header.first_lsn)
    }

    /// The LSN of its last entry.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        self.header.map_or(Lsn::new(0), |header| header.last_lsn())
    }

    /// The position of its first CDR (of the next to come, when it has none).
    #[must_use]
    pub fn first_cdr(&self) -> CdrPosition {
        self.header.map_or(CdrPosition::new(0), |header| header.first_cdr)
    }

    /// The position after its last CDR.
    #[must_use]
    pub fn next_cdr(&self) -> CdrPosition {
        self.header.map_or(CdrPosition::new(0), |header| header.next_cdr())
    }

    /// The CDR chain's value after its last CDR.
    #[must_use]
    pub fn chain(&self) -> HashChain {
        self.header.map_or(HashChain::START, |header| header.chain)
    }

    /// Its length in the log, in octets.
    #[must_use]
    pub fn octets(&self) -> u64 {
        to_u64(self.octets.len())
    }

    /// Its entries in order.
    pub fn entries(&self) -> impl Iterator<Item = (Lsn, &[u8])> {
        let first = self.first_lsn().get();
        (first..).map(Lsn::new).zip(Records::new(self.sections().0))
    }

    /// Its CDRs in order.
    pub fn cdrs(&self) -> impl Iterator<Item = (CdrPosition, &[u8])> {
        let first = self.first_cdr().get();
        (first..).map(CdrPosition::new).zip(Records::new(self.sections().1))
    }

    /// Its CDRs as they lie there, each with its length before it.
    pub(crate) fn cdr_octets(&self) -> &[u8] {
        self.sections().1
    }

    fn sections(&self) -> (&[u8], &[u8]) {
        let Some(header) = self.header else { return (&[], &[]) };
        let payload = self.octets.get(FRAME_HEADER_OCTETS..).unwrap_or_default();
        let (entries, rest) = payload.split_at_checked(to_usize(u64::from(header.entries_octets))).unwrap_or_default();
        (entries, rest.get(..to_usize(u64::from(header.cdr_octets))).unwrap_or_default())
    }

    pub(crate) const fn header(&self) -> Option<&FrameHeader> {
        self.header.as_ref()
    }

    pub(crate) fn raw(&self) -> &[u8] {
        &self.octets
    }

    /// Takes over `length` octets that `read` fills, and decodes them.
    pub(crate) fn fill(
        &mut self,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> Result<(), LogError>,
    ) -> Result<Result<(), FrameFault>, LogError> {
        self.header = None;
        self.octets.resize(length, 0);
        read(&mut self.octets)?;
        Ok(self.decode())
    }

    /// Checks the octets taken over: a frame that is intact in itself. Whether it is the one that should be there is the caller's question.
    pub(crate) fn decode(&mut self) -> Result<(), FrameFault> {
        self.header = None;
        let header = FrameHeader::parse(&self.octets)?;
        if header.total_octets() != to_u64(self.octets.len()) {
            return Err(FrameFault::Overrun);
        }
        if checksum(&self.octets, header.previous_crc) != Some(header.crc) {
            return Err(FrameFault::Checksum);
        }
        let format = Fields::new(self.octets.get(4..).unwrap_or_default()).u16();
        if let Some(format) = format.filter(|format| *format != FRAME_FORMAT) {
            return Err(FrameFault::Format(format));
        }
        self.header = Some(header);
        let (entries, cdrs) = self.sections();
        let sound = header.entry_count > 0
            && Records::are_exactly(entries, header.entry_count)
            && Records::are_exactly(cdrs, header.cdr_count)
            && header.first_lsn.get().checked_add(u64::from(header.entry_count)).is_some()
            && header.first_cdr.get().checked_add(u64::from(header.cdr_count)).is_some();
        if !sound {
            self.header = None;
            return Err(FrameFault::Malformed);
        }
        Ok(())
    }
}

/// Decodes octets as one frame, as recovery does; for fuzzing.
#[doc(hidden)]
pub fn decode_frame(octets: &[u8]) -> Result<Frame, FrameFault> {
    let mut frame = Frame { header: None, octets: octets.to_vec() };
    frame.decode().map(|()| frame)
}
