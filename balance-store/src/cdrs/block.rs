//! A block: neighbouring CDRs, compressed together.
//!
//! | octets | field |
//! |---|---|
//! | 4 | magic `OCSB` |
//! | 2 | format, 1 |
//! | 2 | zero |
//! | 8 | first CDR position |
//! | 4 | number of CDRs, at least 1 |
//! | 4 | octets before compression |
//! | 4 | octets compressed |
//! | 4 | CRC-32C of the compressed octets |
//! | 8 | first LSN of the log frames they came from |
//! | 8 | LSN up to which nothing is missing once this block is there |
//! | 8 | octets of this file that were durable when the block was written |
//! | 32 | CDR chain after the last CDR |
//! | 4 | zero |
//! | 4 | CRC-32C over everything above |
//!
//! The compressed octets (LZ4 block) follow, then zeros up to a multiple of eight. Uncompressed they are `[u32 length][octets]` for
//! each CDR. Numbers are little-endian.

use crate::octets::{Fields, FieldsMut, Records, aligned, to_u64, to_usize};
use crate::{CdrPosition, HashChain, Lsn};

pub(crate) const BLOCK_MAGIC: [u8; 4] = *b"OCSB";
pub(crate) const BLOCK_FORMAT: u16 = 1;
pub(crate) const BLOCK_HEADER_OCTETS: usize = 96;

/// What a block says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    pub(crate) first: CdrPosition,
    pub(crate) count: u32,
    pub(crate) raw_octets: u32,
    pub(crate) packed_octets: u32,
    pub(crate) packed_crc: u32,
    pub(crate) first_lsn: Lsn,
    pub(crate) complete_lsn: Lsn,
    pub(crate) durable_before: u64,
    pub(crate) chain: HashChain,
}

/// Why octets are not the block that should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockFault {
    Damaged(&'static str),
    Format(u16),
}

impl BlockHeader {
    pub(crate) fn encode(&self) -> [u8; BLOCK_HEADER_OCTETS] {
        let mut octets = [0; BLOCK_HEADER_OCTETS];
        let _full = FieldsMut::new(&mut octets)
            .put(&BLOCK_MAGIC)
            .u16(BLOCK_FORMAT)
            .u16(0)
            .u64(self.first.get())
            .u32(self.count)
            .u32(self.raw_octets)
            .u32(self.packed_octets)
            .u32(self.packed_crc)
            .u64(self.first_lsn.get())
            .u64(self.complete_lsn.get())
            .u64(self.durable_before)
            .put(self.chain.octets())
            .u32(0);
        if let Some((fields, crc)) = octets.split_last_chunk_mut::<4>() {
            *crc = crc32c::crc32c(fields).to_le_bytes();
        }
        octets
    }

    pub(crate) fn parse(octets: &[u8]) -> Result<Self, BlockFault> {
        let mut fields = Fields::new(octets);
        if fields.array() != Some(BLOCK_MAGIC) {
            return Err(BlockFault::Damaged("no block begins there"));
        }
        let header = (|| {
            let (format, _zero) = (fields.u16()?, fields.u16()?);
            let header = Self {
                first: CdrPosition::new(fields.u64()?),
                count: fields.u32()?,
                raw_octets: fields.u32()?,
                packed_octets: fields.u32()?,
                packed_crc: fields.u32()?,
                first_lsn: Lsn::new(fields.u64()?),
                complete_lsn: Lsn::new(fields.u64()?),
                durable_before: fields.u64()?,
                chain: HashChain::from_octets(fields.array()?),
            };
            let _zero = fields.u32()?;
            let crc = fields.u32()?;
            let sound = crc32c::crc32c(octets.get(..BLOCK_HEADER_OCTETS - 4)?) == crc
                && header.count > 0
                && header.first.get().checked_add(u64::from(header.count)).is_some();
            sound.then_some((format, header))
        })();
        match header {
            Some((BLOCK_FORMAT, header)) => Ok(header),
            Some((format, _)) => Err(BlockFault::Format(format)),
            None => Err(BlockFault::Damaged("the block's header is damaged")),
        }
    }

    /// The block's length in the file, header and padding included.
    pub(crate) fn total_octets(&self) -> u64 {
        aligned(to_u64(BLOCK_HEADER_OCTETS) + u64::from(self.packed_octets))
    }

    /// The position after its last CDR.
    pub(crate) fn next(&self) -> CdrPosition {
        CdrPosition::new(self.first.get().saturating_add(u64::from(self.count)))
    }

    /// Unpacks the octets behind the header into `raw` and checks them; the chain is the reader's to check.
    pub(crate) fn unpack(&self, packed: &[u8], raw: &mut Vec<u8>) -> Result<(), BlockFault> {
        let packed = packed.get(..to_usize(u64::from(self.packed_octets))).unwrap_or_default();
        if to_u64(packed.len()) != u64::from(self.packed_octets) || crc32c::crc32c(packed) != self.packed_crc {
            return Err(BlockFault::Damaged("the block's checksum does not match"));
        }
        // A checksum is no proof of sense: memory is only given for what compression could have achieved.
        if u64::from(self.raw_octets) > u64::from(self.packed_octets).saturating_mul(256) {
            return Err(BlockFault::Damaged("the block states an impossible length"));
        }
        raw.resize(to_usize(u64::from(self.raw_octets)), 0);
        let unpacked = lz4_flex::block::decompress_into(packed, raw);
        if unpacked.ok() != Some(raw.len()) || !Records::are_exactly(raw, self.count) {
            return Err(BlockFault::Damaged("the block does not unpack to what its header says"));
        }
        Ok(())
    }
}

/// Decodes octets as one block and returns how many CDRs it holds; for fuzzing.
#[doc(hidden)]
#[must_use]
pub fn decode_block(octets: &[u8]) -> Option<u32> {
    let (header, packed) = octets.split_at_checked(BLOCK_HEADER_OCTETS)?;
    let header = BlockHeader::parse(header).ok()?;
    header.unpack(packed, &mut Vec::new()).ok().map(|()| header.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_survives_the_round_trip_and_no_changed_bit() {
        let raw = [3u32.to_le_bytes().as_slice(), b"abc", &2u32.to_le_bytes(), b"de"].concat();
        let packed = lz4_flex::block::compress(&raw);
        let header = BlockHeader {
            first: CdrPosition::new(7),
            count: 2,
            raw_octets: u32::try_from(raw.len()).unwrap(),
            packed_octets: u32::try_from(packed.len()).unwrap(),
            packed_crc: crc32c::crc32c(&packed),
            first_lsn: Lsn::new(3),
            complete_lsn: Lsn::new(4),
            durable_before: 4096,
            chain: HashChain::START.after(b"x"),
        };
        let octets = [header.encode().as_slice(), &packed].concat();
        assert_eq!(BlockHeader::parse(&octets), Ok(header));
        assert_eq!(decode_block(&octets), Some(2));
        for bit in 0..octets.len() * 8 {
            let mut damaged = octets.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_block(&damaged), None, "bit {bit}");
        }
    }
}
