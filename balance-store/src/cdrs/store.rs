//! The store as a whole: one thread appends and syncs, any number of readers follow what is durable.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::block::{BLOCK_HEADER_OCTETS, BlockHeader};
use super::segment::{BlockPlace, CdrSegment, SEGMENT_HEADER_OCTETS, Start, segment_name, segment_named};
use super::{CdrDurable, CdrError, CdrOptions, CdrReader};
use crate::octets::{aligned, to_u64, to_usize};
use crate::{CdrMark, CdrPosition, Disk, Frame, HashChain, LogPosition, Lsn};

const UNFINISHED: &str = "next.unfinished";

/// The CDR store in a folder of segment files.
pub struct CdrStore {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    options: CdrOptions,
    writer: Mutex<Writer>,
    shelf: Mutex<Shelf>,
    mark: Arc<CdrMark>,
}

struct Writer {
    segment: CdrSegment,
    /// Where the next block goes, and how much before it is durable.
    end: u64,
    durable_end: u64,
    /// The position and chain behind everything taken in.
    next: CdrPosition,
    chain: HashChain,
    /// Every CDR of every entry at or below this was taken in.
    complete_lsn: Lsn,
    /// Whether a frame's CDRs were seen to lead from this chain to the frame's: then this log continues this store.
    continued: bool,
    /// The open block.
    raw: Vec<u8>,
    block_first: CdrPosition,
    block_first_lsn: Lsn,
    /// Blocks written and not yet durable, and what their last one completes.
    pending: Vec<BlockPlace>,
    written: CdrDurable,
    written_chain: HashChain,
    packed: Vec<u8>,
    poison: Option<String>,
}

/// What readers see: only what is durable.
struct Shelf {
    segments: VecDeque<(CdrSegment, Vec<BlockPlace>)>,
    durable: CdrDurable,
}

/// Where a position is: its segment, its block's offset, and the offset of the block before in that segment.
pub(crate) struct Found {
    pub(crate) segment: CdrSegment,
    pub(crate) offset: u64,
    pub(crate) before: Option<u64>,
}

impl CdrStore {
    /// Opens the store in `folder`, or begins one there, behind a log that stands at `log`. What a crash interrupted at the end is
    /// cut, once it is certain that the log has it still; nothing is changed before.
    ///
    /// # Errors
    /// [`CdrError::Damaged`] when durable octets are lost, [`CdrError::UnknownFormat`] when a newer program wrote them,
    /// [`CdrError::Gap`] when the log no longer has the CDRs that come next, [`CdrError::LogBehind`] or [`CdrError::ChainBroken`] when
    /// it is another log, [`CdrError::Io`] when the disk fails.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, options: CdrOptions, log: &LogPosition) -> Result<Self, CdrError> {
        disk.create_dir(folder).map_err(CdrError::io("create the folder", folder, None))?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            disk.sync_dir(parent).map_err(CdrError::io("sync the folder", parent, None))?;
        }
        let names = disk.list(folder).map_err(CdrError::io("list", folder, None))?;
        if names.iter().any(|name| name == UNFINISHED) {
            let path = folder.join(UNFINISHED);
            disk.remove(&path).map_err(CdrError::io("remove", &path, None))?;
        }
        disk.sync_dir(folder).map_err(CdrError::io("sync the folder", folder, None))?;
        let mut firsts: Vec<CdrPosition> = names.iter().filter_map(|name| segment_named(name)).collect();
        firsts.sort_unstable();
        if firsts.is_empty() {
            let start = Start { first: CdrPosition::new(1), chain: HashChain::START, complete_lsn: Lsn::new(0) };
            create(&*disk, folder, start)?;
            firsts.push(start.first);
        }
        let (shelf, writer) = recover(&*disk, folder, &firsts, log)?;
        let mark = Arc::new(CdrMark::new(shelf.durable.position));
        Ok(Self {
            disk,
            folder: folder.to_path_buf(),
            options,
            writer: Mutex::new(writer),
            shelf: Mutex::new(shelf),
            mark,
        })
    }

    /// Takes in the CDRs of one log frame; those it has already are passed over. Readable and durable after [`CdrStore::sync`].
    ///
    /// # Errors
    /// [`CdrError::Gap`] when CDRs before the frame's are missing, [`CdrError::ChainBroken`] when they do not lead to the frame's chain
    /// value, [`CdrError::Io`] when the disk fails; after any of them every further call gets [`CdrError::Poisoned`].
    pub fn append(&self, frame: &Frame) -> Result<(), CdrError> {
        self.guarded(|writer| self.take_in(writer, frame))
    }

    /// Makes everything taken in durable, then raises the mark.
    ///
    /// # Errors
    /// [`CdrError::Io`] when the disk fails, and [`CdrError::Poisoned`] from then on.
    pub fn sync(&self) -> Result<CdrDurable, CdrError> {
        let durable = self.guarded(|writer| {
            if !writer.raw.is_empty() {
                self.write_block(writer, writer.complete_lsn)?;
            }
            writer.written.lsn = writer.complete_lsn;
            self.settle(writer)
        })?;
        self.mark.raise(durable.position);
        Ok(durable)
    }

    /// How far the store is durable.
    #[must_use]
    pub fn durable(&self) -> CdrDurable {
        self.shelf.lock().durable
    }

    /// The mark on the last durable position, for readers that follow.
    #[must_use]
    pub const fn mark(&self) -> &Arc<CdrMark> {
        &self.mark
    }

    /// The oldest position kept (the next to come, when none is).
    #[must_use]
    pub fn first_position(&self) -> CdrPosition {
        self.shelf.lock().segments.front().map_or(CdrPosition::new(1), |(segment, _)| segment.start.first)
    }

    /// The chain's value before the oldest position kept: what is kept is proved from there on.
    #[must_use]
    pub fn first_chain(&self) -> HashChain {
        self.shelf.lock().segments.front().map_or(HashChain::START, |(segment, _)| segment.start.chain)
    }

    /// The files it has, oldest first: the first position of each, and its length in octets.
    ///
    /// # Errors
    /// [`CdrError::Io`] when the disk fails.
    pub fn segments(&self) -> Result<Vec<(CdrPosition, u64)>, CdrError> {
        let segments: Vec<CdrSegment> = self.shelf.lock().segments.iter().map(|(segment, _)| segment.clone()).collect();
        segments.iter().map(|segment| Ok((segment.start.first, segment.octets()?))).collect()
    }

    /// A reader that begins at `from`, which may be yet to come.
    ///
    /// # Errors
    /// [`CdrError::Cut`] when it is past its retention.
    pub fn reader(self: &Arc<Self>, from: CdrPosition) -> Result<CdrReader, CdrError> {
        let first = self.first_position();
        if from < first {
            return Err(CdrError::Cut { asked: from, first });
        }
        Ok(CdrReader::new(Arc::clone(self), from))
    }

    /// Removes segments wholly below `position`: retention. The newest segment always stays.
    ///
    /// # Errors
    /// [`CdrError::Io`] when the disk fails.
    pub fn cut_below(&self, position: CdrPosition) -> Result<(), CdrError> {
        loop {
            let segment = {
                let mut shelf = self.shelf.lock();
                if shelf.segments.get(1).is_none_or(|(next, _)| next.start.first > position) {
                    return Ok(());
                }
                shelf.segments.pop_front()
            };
            // One after the other, each durable before the next: a crash leaves no hole.
            if let Some((segment, _)) = segment {
                self.disk.remove(&segment.path).map_err(CdrError::io("remove", &segment.path, None))?;
                self.disk.sync_dir(&self.folder).map_err(CdrError::io("sync the folder", &self.folder, None))?;
            }
        }
    }

    /// How many octets its files have.
    ///
    /// # Errors
    /// [`CdrError::Io`] when the disk fails.
    pub fn octets(&self) -> Result<u64, CdrError> {
        Ok(self.segments()?.into_iter().map(|(_, octets)| octets).sum())
    }

    /// Checks that a log can continue this store: it must still have the CDR that comes next here, not end before the store does,
    /// nor tell another story.
    ///
    /// # Errors
    /// [`CdrError::Gap`], [`CdrError::LogBehind`] or [`CdrError::ChainBroken`].
    pub fn check_log(&self, log: &LogPosition) -> Result<(), CdrError> {
        let writer = self.writer.lock();
        check_continues(writer.next, &writer.chain, log)
    }

    /// The block that holds a durable position.
    pub(crate) fn find(&self, position: CdrPosition) -> Result<Option<Found>, CdrError> {
        let shelf = self.shelf.lock();
        if position > shelf.durable.position {
            return Ok(None);
        }
        let first = shelf.segments.front().map_or(CdrPosition::new(1), |(segment, _)| segment.start.first);
        let cut = CdrError::Cut { asked: position, first };
        let segment = shelf.segments.partition_point(|(segment, _)| segment.start.first <= position);
        let Some((segment, blocks)) = segment.checked_sub(1).and_then(|index| shelf.segments.get(index)) else {
            return Err(cut);
        };
        let block = blocks.partition_point(|block| block.first <= position);
        let place = |back: usize| block.checked_sub(back).and_then(|index| blocks.get(index)).map(|place| place.offset);
        let Some(offset) = place(1) else { return Err(cut) };
        Ok(Some(Found { segment: segment.clone(), offset, before: place(2) }))
    }

    fn guarded<R>(&self, work: impl FnOnce(&mut Writer) -> Result<R, CdrError>) -> Result<R, CdrError> {
        let mut writer = self.writer.lock();
        if let Some(reason) = &writer.poison {
            return Err(CdrError::Poisoned { reason: reason.clone() });
        }
        let done = work(&mut writer);
        if let Err(error) = &done {
            writer.poison = Some(error.to_string());
        }
        done
    }

    fn take_in(&self, writer: &mut Writer, frame: &Frame) -> Result<(), CdrError> {
        if frame.next_cdr() < writer.next || frame.last_lsn() <= writer.complete_lsn {
            return Ok(());
        }
        if frame.first_cdr() > writer.next {
            let (expected, found) = (writer.next, frame.first_cdr());
            return Err(CdrError::Gap { expected, found, lsn: frame.first_lsn() });
        }
        let section = frame.cdr_octets();
        let whole = frame.first_cdr() == writer.next && to_u64(section.len()) <= self.options.frame_octets_max();
        if whole && (writer.continued || section.is_empty()) {
            self.take_whole(writer, frame, section)
        } else {
            self.take_one_by_one(writer, frame)
        }
    }

    /// Takes in a frame's CDRs as they lie in it. The committer has hashed them and the frame's checksum has covered them since:
    /// the chain behind them is the frame's. Readers compute it again.
    fn take_whole(&self, writer: &mut Writer, frame: &Frame, section: &[u8]) -> Result<(), CdrError> {
        if !section.is_empty() {
            writer.begin_block(frame.first_cdr(), frame.first_lsn());
            writer.raw.extend_from_slice(section);
            writer.next = frame.next_cdr();
            writer.chain = frame.chain();
        }
        writer.complete_lsn = frame.last_lsn();
        if to_u64(writer.raw.len()) >= self.options.block_octets {
            self.write_block(writer, writer.complete_lsn)?;
        }
        Ok(())
    }

    /// Takes in those CDRs of a frame that are not there yet, and sees that they lead to the frame's chain.
    fn take_one_by_one(&self, writer: &mut Writer, frame: &Frame) -> Result<(), CdrError> {
        for (position, octets) in frame.cdrs() {
            if position < writer.next {
                continue;
            }
            writer.begin_block(position, frame.first_lsn());
            let length = u32::try_from(octets.len()).unwrap_or(u32::MAX);
            writer.raw.extend_from_slice(&length.to_le_bytes());
            writer.raw.extend_from_slice(octets);
            writer.chain = writer.chain.after(octets);
            writer.next = position.next();
            if to_u64(writer.raw.len()) >= self.options.block_octets {
                self.write_block(writer, writer.complete_lsn)?;
            }
        }
        if writer.chain != frame.chain() {
            let position = CdrPosition::new(writer.next.get().saturating_sub(1));
            return Err(CdrError::ChainBroken { position, lsn: frame.last_lsn() });
        }
        writer.continued = true;
        writer.complete_lsn = frame.last_lsn();
        Ok(())
    }

    /// Packs the open block and writes it; it completes the log up to `complete_lsn`.
    fn write_block(&self, writer: &mut Writer, complete_lsn: Lsn) -> Result<(), CdrError> {
        if writer.end >= self.options.segment_octets && writer.end > to_u64(SEGMENT_HEADER_OCTETS) {
            self.roll(writer)?;
        }
        let too_large = || CdrError::Damaged {
            file: writer.segment.path.clone(),
            offset: writer.end,
            position: writer.block_first,
            reason: "a CDR is too large for a block",
        };
        let most = BLOCK_HEADER_OCTETS + lz4_flex::block::get_maximum_output_size(writer.raw.len());
        if writer.packed.len() < most {
            writer.packed.resize(most, 0);
        }
        let (header_octets, body) =
            writer.packed.split_first_chunk_mut::<BLOCK_HEADER_OCTETS>().ok_or_else(too_large)?;
        let length = lz4_flex::block::compress_into(&writer.raw, body).map_err(|_| too_large())?;
        let count = writer.next.get().saturating_sub(writer.block_first.get());
        let header = BlockHeader {
            first: writer.block_first,
            count: u32::try_from(count).map_err(|_| too_large())?,
            raw_octets: u32::try_from(writer.raw.len()).map_err(|_| too_large())?,
            packed_octets: u32::try_from(length).map_err(|_| too_large())?,
            packed_crc: crc32c::crc32c(body.get(..length).unwrap_or_default()),
            first_lsn: writer.block_first_lsn,
            complete_lsn,
            durable_before: writer.durable_end,
            chain: writer.chain,
        };
        *header_octets = header.encode();
        let end = BLOCK_HEADER_OCTETS + length;
        let total = to_usize(aligned(to_u64(end)));
        if writer.packed.len() < total {
            writer.packed.resize(total, 0);
        }
        let block = writer.packed.get_mut(..total).ok_or_else(too_large)?;
        block.iter_mut().skip(end).for_each(|padding| *padding = 0);
        let CdrSegment { file, path, .. } = &writer.segment;
        file.write_at(block, writer.end).map_err(CdrError::io("write a block to", path, Some(writer.end)))?;
        writer.pending.push(BlockPlace { offset: writer.end, first: header.first });
        writer.end = writer.end.saturating_add(header.total_octets());
        writer.written =
            CdrDurable { position: CdrPosition::new(writer.next.get().saturating_sub(1)), lsn: complete_lsn };
        writer.written_chain = writer.chain;
        writer.raw.clear();
        Ok(())
    }

    /// Syncs the current segment and shows readers what is in it.
    fn settle(&self, writer: &mut Writer) -> Result<CdrDurable, CdrError> {
        if writer.durable_end < writer.end {
            let CdrSegment { file, path, .. } = &writer.segment;
            file.sync_data().map_err(CdrError::io("sync", path, None))?;
            writer.durable_end = writer.end;
        }
        let mut shelf = self.shelf.lock();
        if let Some((_, blocks)) = shelf.segments.back_mut() {
            blocks.append(&mut writer.pending);
        }
        shelf.durable = writer.written;
        Ok(writer.written)
    }

    /// Leaves the segment, whole and durable, for one that begins with the open block.
    fn roll(&self, writer: &mut Writer) -> Result<(), CdrError> {
        let durable = self.settle(writer)?;
        let start = Start { first: writer.block_first, chain: writer.written_chain, complete_lsn: durable.lsn };
        let segment = create(&*self.disk, &self.folder, start)?;
        writer.segment = segment.clone();
        writer.end = to_u64(SEGMENT_HEADER_OCTETS);
        writer.durable_end = writer.end;
        self.shelf.lock().segments.push_back((segment, Vec::new()));
        Ok(())
    }
}

impl Writer {
    /// Notes what the open block begins with, if it is empty.
    fn begin_block(&mut self, first: CdrPosition, first_lsn: Lsn) {
        if self.raw.is_empty() {
            (self.block_first, self.block_first_lsn) = (first, first_lsn);
        }
    }
}

/// Makes a segment file; its name appears when its header is durable.
fn create(disk: &dyn Disk, folder: &Path, start: Start) -> Result<CdrSegment, CdrError> {
    let (unfinished, path) = (folder.join(UNFINISHED), folder.join(segment_name(start.first)));
    let file = disk.create(&unfinished).map_err(CdrError::io("create", &unfinished, None))?;
    file.write_at(&start.encode(), 0).map_err(CdrError::io("write the header of", &unfinished, Some(0)))?;
    file.sync_data().map_err(CdrError::io("sync", &unfinished, None))?;
    disk.rename(&unfinished, &path).map_err(CdrError::io("rename", &unfinished, None))?;
    disk.sync_dir(folder).map_err(CdrError::io("sync the folder", folder, None))?;
    Ok(CdrSegment { start, file, path })
}

/// Whether `log` can continue a store whose next CDR is `next`.
fn check_continues(next: CdrPosition, chain: &HashChain, log: &LogPosition) -> Result<(), CdrError> {
    if log.first_cdr > next {
        return Err(CdrError::Gap { expected: next, found: log.first_cdr, lsn: log.first_lsn });
    }
    if log.next_cdr < next {
        return Err(CdrError::LogBehind { expected: next, found: log.next_cdr });
    }
    if log.next_cdr == next && log.chain != *chain {
        let position = CdrPosition::new(next.get().saturating_sub(1));
        return Err(CdrError::ChainBroken { position, lsn: log.last_lsn() });
    }
    Ok(())
}

fn recover(
    disk: &dyn Disk,
    folder: &Path,
    firsts: &[CdrPosition],
    log: &LogPosition,
) -> Result<(Shelf, Writer), CdrError> {
    let nothing = CdrDurable { position: CdrPosition::new(0), lsn: Lsn::new(0) };
    let mut shelf = Shelf { segments: VecDeque::new(), durable: nothing };
    let mut before: Option<(CdrPosition, HashChain)> = None;
    let mut writer = None;
    for (index, first) in firsts.iter().enumerate() {
        let path = folder.join(segment_name(*first));
        let file = disk.open(&path).map_err(CdrError::io("open", &path, None))?;
        let mut octets = [0; SEGMENT_HEADER_OCTETS];
        let read = file.read_at(&mut octets, 0).map_err(CdrError::io("read", &path, Some(0)))?;
        let mut segment = CdrSegment {
            start: Start { first: *first, chain: HashChain::START, complete_lsn: Lsn::new(0) },
            file,
            path,
        };
        segment.start =
            Start::parse(octets.get(..read).unwrap_or_default()).map_err(|fault| segment.refusal(0, *first, fault))?;
        let continues = before.is_none_or(|before| before == (segment.start.first, segment.start.chain));
        if segment.start.first != *first || !continues {
            let reason = "it does not continue the segment before it, or not what its name says";
            return Err(segment.refusal(0, *first, super::block::BlockFault::Damaged(reason)));
        }
        let last = index + 1 == firsts.len();
        let scan = segment.scan(last)?;
        if last {
            segment.check_tail(&scan, log.first_cdr)?;
            check_continues(scan.next, &scan.chain, log)?;
            segment.cut_tail(&scan)?;
            segment.settle(&scan)?;
        } else {
            segment.must_be_whole(&scan)?;
        }
        before = Some((scan.next, scan.chain));
        shelf.durable =
            CdrDurable { position: CdrPosition::new(scan.next.get().saturating_sub(1)), lsn: scan.complete_lsn };
        shelf.segments.push_back((segment.clone(), scan.blocks));
        writer = Some(Writer {
            segment,
            end: scan.end,
            durable_end: scan.end,
            next: scan.next,
            chain: scan.chain,
            complete_lsn: scan.complete_lsn,
            continued: false,
            raw: Vec::new(),
            block_first: scan.next,
            block_first_lsn: scan.complete_lsn.next(),
            pending: Vec::new(),
            written: shelf.durable,
            written_chain: scan.chain,
            packed: Vec::new(),
            poison: None,
        });
    }
    let none = || CdrError::io("open", folder, None)(std::io::Error::from(std::io::ErrorKind::NotFound));
    writer.map(|writer| (shelf, writer)).ok_or_else(none)
}

impl std::fmt::Debug for CdrStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shelf = self.shelf.lock();
        f.debug_struct("CdrStore")
            .field("folder", &self.folder)
            .field("durable", &shelf.durable)
            .field("segments", &shelf.segments.len())
            .finish_non_exhaustive()
    }
}
