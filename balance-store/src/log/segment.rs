//! A segment's header, and how segment files are named.
//!
//! The header has the first 4 KiB of the file to itself, so that no write of a frame can ever tear it:
//!
//! | octets | field |
//! |---|---|
//! | 4 | magic `OCSL` |
//! | 2 | format, 1 |
//! | 2 | zero |
//! | 8 | generation |
//! | 8 | LSN of the first frame |
//! | 8 | position of the first CDR |
//! | 32 | CDR chain before the first CDR |
//! | 4 | CRC of the last frame before this segment, the seed of its first |
//! | 4 | CRC-32C over everything above |

use crate::octets::{Fields, FieldsMut};
use crate::{CdrPosition, HashChain, Lsn};

pub(crate) const SEGMENT_MAGIC: [u8; 4] = *b"OCSL";
pub(crate) const SEGMENT_FORMAT: u16 = 1;
/// Where the first frame begins.
pub(crate) const SEGMENT_HEADER_OCTETS: u64 = 4096;
const USED: usize = 72;

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) generation: u64,
    pub(crate) first_lsn: Lsn,
    pub(crate) first_cdr: CdrPosition,
    pub(crate) chain: HashChain,
    pub(crate) previous_crc: u32,
}

/// Why octets are not a segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentFault {
    Damaged,
    Format(u16),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; USED] {
        let mut octets = [0; USED];
        let _full = FieldsMut::new(&mut octets)
            .put(&SEGMENT_MAGIC)
            .u16(SEGMENT_FORMAT)
            .u16(0)
            .u64(self.generation)
            .u64(self.first_lsn.get())
            .u64(self.first_cdr.get())
            .put(self.chain.octets())
            .u32(self.previous_crc);
        if let Some((fields, crc)) = octets.split_last_chunk_mut::<4>() {
            *crc = crc32c::crc32c(fields).to_le_bytes();
        }
        octets
    }

    pub(crate) fn parse(octets: &[u8]) -> Result<Self, SegmentFault> {
        let mut fields = Fields::new(octets);
        if fields.array() != Some(SEGMENT_MAGIC) {
            return Err(SegmentFault::Damaged);
        }
        if let Some(format) = fields.u16().filter(|format| *format != SEGMENT_FORMAT) {
            return Err(SegmentFault::Format(format));
        }
        let header = (|| {
            let _zero = fields.u16()?;
            let header = Self {
                generation: fields.u64()?,
                first_lsn: Lsn::new(fields.u64()?),
                first_cdr: CdrPosition::new(fields.u64()?),
                chain: HashChain::from_octets(fields.array()?),
                previous_crc: fields.u32()?,
            };
            let crc = fields.u32()?;
            (crc32c::crc32c(octets.get(..USED - 4)?) == crc).then_some(header)
        })();
        header.ok_or(SegmentFault::Damaged)
    }
}

/// The file of a segment in use.
pub(crate) fn live_name(generation: u64) -> String {
    format!("{generation:016x}.segment")
}

/// The file of a segment that waits to be used (again).
pub(crate) fn spare_name(number: u64) -> String {
    format!("{number:016x}.spare")
}

/// A segment file still being pre-written.
pub(crate) fn unfinished_name(number: u64) -> String {
    format!("{number:016x}.unfinished")
}

/// What a file in the log's folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Live(u64),
    Spare(u64),
    Unfinished,
    Other,
}

pub(crate) fn named(name: &str) -> Named {
    let Some((number, kind)) = name.split_once('.') else { return Named::Other };
    let Some(number) = (number.len() == 16).then(|| u64::from_str_radix(number, 16).ok()).flatten() else {
        return Named::Other;
    };
    match kind {
        "segment" => Named::Live(number),
        "spare" => Named::Spare(number),
        "unfinished" => Named::Unfinished,
        _ => Named::Other,
    }
}

/// Decodes octets as a segment's header; for fuzzing.
#[doc(hidden)]
#[must_use]
pub fn decode_segment_header(octets: &[u8]) -> bool {
    SegmentHeader::parse(octets).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_round_trip_and_no_changed_bit() {
        let header = SegmentHeader {
            generation: 7,
            first_lsn: Lsn::new(100),
            first_cdr: CdrPosition::new(40),
            chain: HashChain::START.after(b"x"),
            previous_crc: 0xDEAD_BEEF,
        };
        let octets = header.encode();
        assert_eq!(SegmentHeader::parse(&octets), Ok(header));
        for bit in 0..octets.len() * 8 {
            let mut damaged = octets;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::parse(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn file_names_say_what_the_file_is() {
        assert_eq!(named(&live_name(5)), Named::Live(5));
        assert_eq!(named(&spare_name(u64::MAX)), Named::Spare(u64::MAX));
        assert_eq!(named(&unfinished_name(1)), Named::Unfinished);
        assert_eq!(named("lost+found"), Named::Other);
        assert_eq!(named("5.segment"), Named::Other);
    }
}
