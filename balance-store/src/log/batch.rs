//! A batch: the entries and CDRs that will become one frame.
//!
//! Entries are encoded straight into the octets that are written, behind room left for the frame's header; CDRs grow
//! beside them and are appended when the batch is sealed. A batch is emptied and used again, so that nothing is allocated once
//! its buffers have grown.

use super::frame::{FRAME_HEADER_OCTETS, FrameHeader};
use crate::octets::{aligned, to_u64, to_usize};
use crate::{CdrPosition, HashChain, LogError, Lsn};

/// Memory a batch keeps when it is emptied, in octets: one burst does not hold its memory for ever.
const KEPT_OCTETS: usize = 32 << 20;

/// Entries and CDRs on their way into one frame.
#[derive(Debug)]
pub struct Batch {
    /// Room for the header, the entries and, once sealed, the CDRs and the padding.
    octets: Vec<u8>,
    cdrs: Vec<u8>,
    first_lsn: Lsn,
    next_lsn: Lsn,
    first_cdr: CdrPosition,
    next_cdr: CdrPosition,
    sealed: Option<Sealed>,
    /// Why this batch can never be written: an encoder broke its promise.
    broken: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
struct Sealed {
    entries_octets: u32,
    cdr_octets: u32,
    chain: HashChain,
}

/// Where an entry and its CDRs went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The entry's sequence number.
    pub lsn: Lsn,
    /// The position of its first CDR (of the next one to come, when it has none).
    pub first_cdr: CdrPosition,
    /// How many CDRs it has.
    pub cdr_count: u64,
}

impl Batch {
    /// An empty batch whose first entry and CDR get these places.
    #[must_use]
    pub fn new(first_lsn: Lsn, first_cdr: CdrPosition) -> Self {
        Self {
            octets: vec![0; FRAME_HEADER_OCTETS],
            cdrs: Vec::new(),
            first_lsn,
            next_lsn: first_lsn,
            first_cdr,
            next_cdr: first_cdr,
            sealed: None,
            broken: None,
        }
    }

    /// Empties it, keeping its memory (within reason).
    pub fn reset(&mut self, first_lsn: Lsn, first_cdr: CdrPosition) {
        self.octets.clear();
        self.octets.shrink_to(KEPT_OCTETS);
        self.octets.resize(FRAME_HEADER_OCTETS, 0);
        self.cdrs.clear();
        self.cdrs.shrink_to(KEPT_OCTETS);
        (self.first_lsn, self.next_lsn) = (first_lsn, first_lsn);
        (self.first_cdr, self.next_cdr) = (first_cdr, first_cdr);
        self.sealed = None;
        self.broken = None;
    }

    /// The sequence number of its first entry.
    #[must_use]
    pub const fn first_lsn(&self) -> Lsn {
        self.first_lsn
    }

    /// The sequence number the next entry gets.
    #[must_use]
    pub const fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// The sequence number of its last entry (of the one before the batch, when it is empty).
    #[must_use]
    pub const fn last_lsn(&self) -> Lsn {
        Lsn::new(self.next_lsn.get().saturating_sub(1))
    }

    /// The position of its first CDR.
    #[must_use]
    pub const fn first_cdr(&self) -> CdrPosition {
        self.first_cdr
    }

    /// The position the next CDR gets.
    #[must_use]
    pub const fn next_cdr(&self) -> CdrPosition {
        self.next_cdr
    }

    /// How many entries it holds.
    #[must_use]
    pub const fn entry_count(&self) -> u64 {
        self.next_lsn.get().saturating_sub(self.first_lsn.get())
    }

    /// How many CDRs it holds.
    #[must_use]
    pub const fn cdr_count(&self) -> u64 {
        self.next_cdr.get().saturating_sub(self.first_cdr.get())
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next_lsn == self.first_lsn
    }

    /// Its size in octets, as it would be written.
    #[must_use]
    pub fn pending_octets(&self) -> u64 {
        to_u64(self.octets.len() + self.cdrs.len())
    }

    /// Begins an entry. Dropping the writer without [`EntryWriter::finish`] takes back everything it wrote.
    pub fn entry(&mut self) -> EntryWriter<'_> {
        let (start, cdr_start, first_cdr) = (self.octets.len(), self.cdrs.len(), self.next_cdr);
        self.octets.extend_from_slice(&[0; 4]);
        EntryWriter { batch: self, start, cdr_start, first_cdr, finished: false }
    }

    /// Closes the batch: puts the CDRs behind the entries and carries the chain over them. Returns the chain's new value.
    ///
    /// # Errors
    /// [`LogError::BadBatch`] when it cannot be written: over 4 GiB, or an encoder that shortened the buffer it was given.
    pub fn seal(&mut self, before: HashChain) -> Result<HashChain, LogError> {
        if let Some(reason) = self.broken {
            return Err(LogError::BadBatch { first_lsn: self.first_lsn, reason });
        }
        let too_large = |_| LogError::BadBatch { first_lsn: self.first_lsn, reason: "it is larger than 4 GiB" };
        let entries_octets = u32::try_from(self.octets.len() - FRAME_HEADER_OCTETS).map_err(too_large)?;
        let cdr_octets = u32::try_from(self.cdrs.len()).map_err(too_large)?;
        let chain = crate::octets::Records::new(&self.cdrs).fold(before, HashChain::after);
        self.octets.extend_from_slice(&self.cdrs);
        self.octets.resize(to_usize(aligned(to_u64(self.octets.len()))), 0);
        self.sealed = Some(Sealed { entries_octets, cdr_octets, chain });
        Ok(chain)
    }

    /// The chain's value after its last CDR, once sealed.
    #[must_use]
    pub fn chain(&self) -> Option<HashChain> {
        self.sealed.map(|sealed| sealed.chain)
    }

    /// The length of the frame in octets, once sealed.
    #[must_use]
    pub fn sealed_octets(&self) -> u64 {
        to_u64(self.octets.len())
    }

    /// The frame as it is written, header filled in, and its checksum. `None` until sealed.
    pub(crate) fn frame(&mut self, generation: u64, previous_crc: u32) -> Option<(&[u8], u32)> {
        let sealed = self.sealed?;
        let header = FrameHeader {
            generation,
            first_lsn: self.first_lsn,
            first_cdr: self.first_cdr,
            entry_count: u32::try_from(self.entry_count()).ok()?,
            cdr_count: u32::try_from(self.cdr_count()).ok()?,
            entries_octets: sealed.entries_octets,
            cdr_octets: sealed.cdr_octets,
            chain: sealed.chain,
            previous_crc,
            crc: 0,
        };
        let crc = header.seal_into(&mut self.octets)?;
        Some((&self.octets, crc))
    }
}

/// Writes one entry and its CDRs into the open batch. Its sequence number and the next CDR position are already known.
#[derive(Debug)]
pub struct EntryWriter<'a> {
    batch: &'a mut Batch,
    start: usize,
    cdr_start: usize,
    first_cdr: CdrPosition,
    finished: bool,
}

impl EntryWriter<'_> {
    /// The entry's sequence number.
    #[must_use]
    pub const fn lsn(&self) -> Lsn {
        self.batch.next_lsn
    }

    /// The position the next CDR pushed will get.
    #[must_use]
    pub const fn next_cdr(&self) -> CdrPosition {
        self.batch.next_cdr
    }

    /// Appends octets to the entry.
    pub fn put(&mut self, octets: &[u8]) {
        self.batch.octets.extend_from_slice(octets);
    }

    /// The buffer the entry is encoded into, for encoders that append to a `Vec`. Append only: shortening it below where
    /// the entry began makes the batch unwritable, and the process stops.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.batch.octets
    }

    /// Adds a CDR and returns its position.
    pub fn push_cdr(&mut self, record: &[u8]) -> CdrPosition {
        self.push_cdr_with(|_, buffer| buffer.extend_from_slice(record))
    }

    /// Adds a CDR that `encode` appends to the buffer it gets, with its position; returns that position.
    pub fn push_cdr_with(&mut self, encode: impl FnOnce(CdrPosition, &mut Vec<u8>)) -> CdrPosition {
        let position = self.batch.next_cdr;
        let start = self.batch.cdrs.len();
        self.batch.cdrs.extend_from_slice(&[0; 4]);
        encode(position, &mut self.batch.cdrs);
        if !write_length(&mut self.batch.cdrs, start) {
            self.batch.broken = Some("a CDR's encoder shortened the buffer or wrote over 4 GiB");
        }
        self.batch.next_cdr = position.next();
        position
    }

    /// The entry is complete.
    pub fn finish(mut self) -> Appended {
        self.finished = true;
        if !write_length(&mut self.batch.octets, self.start) {
            self.batch.broken = Some("an entry's encoder shortened the buffer or wrote over 4 GiB");
        }
        let appended = self.appended();
        self.batch.next_lsn = appended.lsn.next();
        appended
    }

    /// The entry is taken back: the batch is as it was before, and these places are given again.
    pub(crate) fn withdraw(self) -> Appended {
        self.appended()
    }

    const fn appended(&self) -> Appended {
        let cdr_count = self.batch.next_cdr.get().saturating_sub(self.first_cdr.get());
        Appended { lsn: self.batch.next_lsn, first_cdr: self.first_cdr, cdr_count }
    }
}

impl Drop for EntryWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            if self.batch.octets.len() < self.start || self.batch.cdrs.len() < self.cdr_start {
                self.batch.broken = Some("an encoder shortened the buffer");
            }
            self.batch.octets.truncate(self.start);
            self.batch.cdrs.truncate(self.cdr_start);
            self.batch.next_cdr = self.first_cdr;
        }
    }
}

/// Fills in the length of the record that began at `start`.
fn write_length(buffer: &mut [u8], start: usize) -> bool {
    let Some((length, record)) = buffer.get_mut(start..).and_then(|tail| tail.split_first_chunk_mut::<4>()) else {
        return false;
    };
    let Ok(octets) = u32::try_from(record.len()) else { return false };
    *length = octets.to_le_bytes();
    true
}
