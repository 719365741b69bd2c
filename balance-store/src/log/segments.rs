//! The log on disk: appended to at one end, cut at the other, its files used again.
//!
//! One thread appends (the committer); others read, cut and tend at the same time. The appender's own lock is held over the sync,
//! the shelf's only for a moment. A segment that was cut becomes a spare; a spare becomes a segment with a new generation, so frames
//! left in it are recognised as stale.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::files::{Files, Segment, Spare};
use super::recovery::{self, Recovered};
use super::segment::{SEGMENT_HEADER_OCTETS, SegmentHeader, spare_name};
use super::{Durability, Frame, LogCursor, LogError, LogOptions, LogPosition};
use crate::octets::to_u64;
use crate::{Batch, Disk, Log, Lsn};

/// The log in a folder of segment files.
pub struct SegmentLog {
    files: Files,
    options: LogOptions,
    writer: Mutex<Writer>,
    shelf: Mutex<Shelf>,
    /// [`Shelf::tail_octets`], readable without the lock: admission asks for every request.
    tail_octets: AtomicU64,
    /// Held while files are put aside or prepared: one thread at a time.
    housekeeping: Mutex<()>,
}

struct Writer {
    segment: Segment,
    offset: u64,
    previous_crc: u32,
    position: LogPosition,
    poison: Option<String>,
}

/// What readers and the cutter see: only what is durable.
struct Shelf {
    live: VecDeque<Segment>,
    spares: Vec<Spare>,
    next_number: u64,
    end: u64,
    position: LogPosition,
}

impl SegmentLog {
    /// Opens the log in `folder`, or begins one there: checks every frame, cuts an interrupted write at the end.
    ///
    /// # Errors
    /// [`LogError::Damaged`], [`LogError::BadSegment`] or [`LogError::MissingSegment`] when durable octets are lost,
    /// [`LogError::UnknownFormat`] when a newer program wrote them, [`LogError::Io`] when the disk fails.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, options: LogOptions) -> Result<(Self, Recovered), LogError> {
        let files = Files { disk, folder: folder.to_path_buf() };
        files.disk.create_dir(folder).map_err(LogError::io("create the folder", folder, None))?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            files.disk.sync_dir(parent).map_err(LogError::io("sync the folder", parent, None))?;
        }
        let found = recovery::find(&files)?;
        for name in &found.unfinished {
            files.remove(&files.path(name))?;
        }
        let mut shelf = Shelf::new(found.spares.last().map_or(0, |number| number.saturating_add(1)));
        for number in found.spares {
            let path = files.path(&spare_name(number));
            let (_, octets) = files.open(&path)?;
            // A log that begins anew begins its generations anew: nothing old may lie in its segments.
            let usable = !found.live.is_empty() && octets == options.segment_octets;
            let room = found.live.len() + shelf.spares.len() < options.segments_max;
            if usable && room && shelf.spares.len() < options.spares_max {
                shelf.spares.push(Spare { number, octets });
            } else {
                files.remove(&path)?;
            }
        }
        files.sync_folder()?;
        let mut before = None;
        for generation in found.live {
            if let Some(missing) = before.map(|before: u64| before.saturating_add(1)).filter(|next| *next != generation)
            {
                return Err(LogError::MissingSegment { file: files.path(&super::segment::live_name(missing)) });
            }
            before = Some(generation);
            shelf.live.push_back(files.open_live(generation)?);
        }
        let (writer, frames, tail_cut) = match recovery::walk(shelf.live.make_contiguous())? {
            Some((walk, tail_cut)) => {
                let segment = shelf.live.back().cloned();
                let writer = segment.map(|segment| Writer {
                    segment,
                    offset: walk.offset,
                    previous_crc: walk.previous_crc,
                    position: walk.position,
                    poison: None,
                });
                (writer, walk.frames, tail_cut)
            }
            None => (None, 0, None),
        };
        let writer = match writer {
            Some(writer) => writer,
            None => begin(&files, &options, &mut shelf)?,
        };
        shelf.end = writer.offset;
        shelf.position = writer.position;
        let recovered = Recovered { position: writer.position, frames, tail_cut };
        let tail_octets = AtomicU64::new(shelf.tail_octets());
        let (writer, shelf, housekeeping) = (Mutex::new(writer), Mutex::new(shelf), Mutex::new(()));
        Ok((Self { files, options, writer, shelf, tail_octets, housekeeping }, recovered))
    }

    fn write(&self, writer: &mut Writer, batch: &mut Batch) -> Result<(), LogError> {
        if batch.first_lsn() != writer.position.next_lsn || batch.first_cdr() != writer.position.next_cdr {
            return Err(LogError::OutOfOrder {
                expected_lsn: writer.position.next_lsn,
                lsn: batch.first_lsn(),
                expected_cdr: writer.position.next_cdr,
                cdr: batch.first_cdr(),
            });
        }
        let first_lsn = batch.first_lsn();
        let bad = |reason| LogError::BadBatch { first_lsn, reason };
        let chain = batch.chain().ok_or_else(|| bad("it is not sealed"))?;
        if batch.is_empty() {
            return Err(bad("it is empty"));
        }
        let octets = batch.sealed_octets();
        if writer.offset.saturating_add(octets) > writer.segment.octets {
            self.roll(writer, octets)?;
        }
        let (next_lsn, next_cdr) = (batch.next_lsn(), batch.next_cdr());
        let (frame, crc) = batch
            .frame(writer.segment.header.generation, writer.previous_crc)
            .ok_or_else(|| bad("it has too many entries or CDRs"))?;
        let Segment { file, path, .. } = &writer.segment;
        file.write_at(frame, writer.offset).map_err(LogError::io("write a frame to", path, Some(writer.offset)))?;
        if self.options.durability == Durability::Fsync {
            file.sync_data().map_err(LogError::io("sync", path, Some(writer.offset)))?;
        }
        writer.offset += octets;
        writer.previous_crc = crc;
        writer.position = LogPosition { next_lsn, next_cdr, chain, ..writer.position };
        let mut shelf = self.shelf.lock();
        shelf.end = writer.offset;
        let LogPosition { first_lsn, first_cdr, .. } = shelf.position;
        shelf.position = LogPosition { first_lsn, first_cdr, ..writer.position };
        self.tail_octets.store(shelf.tail_octets(), Ordering::Relaxed);
        Ok(())
    }

    /// Goes on in the next segment, one with room for a frame of `octets`.
    fn roll(&self, writer: &mut Writer, octets: u64) -> Result<(), LogError> {
        let needed = octets.saturating_add(SEGMENT_HEADER_OCTETS);
        let spare = self.shelf.lock().take_spare(needed);
        let spare = match spare {
            Some(spare) => spare,
            None => {
                tracing::debug!("no spare segment is ready, one is made while a commit waits");
                let number = self.shelf.lock().number();
                self.files.make_spare(number, needed.max(self.options.segment_octets))?
            }
        };
        let header = SegmentHeader {
            generation: writer.segment.header.generation.saturating_add(1),
            first_lsn: writer.position.next_lsn,
            first_cdr: writer.position.next_cdr,
            chain: writer.position.chain,
            previous_crc: writer.previous_crc,
        };
        let segment = self.files.use_spare(&spare, header)?;
        writer.segment = segment.clone();
        writer.offset = SEGMENT_HEADER_OCTETS;
        let mut shelf = self.shelf.lock();
        shelf.live.push_back(segment);
        shelf.end = SEGMENT_HEADER_OCTETS;
        Ok(())
    }

    /// Puts a segment aside, durably: as a spare while there are few, else away.
    fn put_aside(&self, segment: &Segment) -> Result<(), LogError> {
        let number = {
            let mut shelf = self.shelf.lock();
            let wanted = segment.octets == self.options.segment_octets
                && shelf.spares.len() < self.options.spares_max
                && shelf.live.len() + shelf.spares.len() < self.options.segments_max;
            wanted.then(|| shelf.number())
        };
        let Some(number) = number else {
            self.files.remove(&segment.path)?;
            return self.files.sync_folder();
        };
        self.files.rename(&segment.path, &self.files.path(&spare_name(number)))?;
        self.shelf.lock().spares.push(Spare { number, octets: segment.octets });
        Ok(())
    }
}

/// The first segment of a new log.
fn begin(files: &Files, options: &LogOptions, shelf: &mut Shelf) -> Result<Writer, LogError> {
    let spare = files.make_spare(shelf.number(), options.segment_octets)?;
    let position = LogPosition::START;
    let header = SegmentHeader {
        generation: 1,
        first_lsn: position.next_lsn,
        first_cdr: position.next_cdr,
        chain: position.chain,
        previous_crc: 0,
    };
    let segment = files.use_spare(&spare, header)?;
    shelf.live.push_back(segment.clone());
    Ok(Writer { segment, offset: SEGMENT_HEADER_OCTETS, previous_crc: 0, position, poison: None })
}

impl Shelf {
    const fn new(next_number: u64) -> Self {
        Self { live: VecDeque::new(), spares: Vec::new(), next_number, end: 0, position: LogPosition::START }
    }

    const fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        number
    }

    fn take_spare(&mut self, octets: u64) -> Option<Spare> {
        let index = self.spares.iter().position(|spare| spare.octets >= octets)?;
        Some(self.spares.swap_remove(index))
    }

    /// How long the log is: whole segments, and the last one as far as it is written.
    fn tail_octets(&self) -> u64 {
        let full = self.live.len().saturating_sub(1);
        self.live.iter().take(full).map(|segment| segment.octets).sum::<u64>().saturating_add(self.end)
    }

    /// The segment that holds a durable LSN.
    fn holding(&self, lsn: Lsn) -> Option<&Segment> {
        let behind = self.live.partition_point(|segment| segment.header.first_lsn <= lsn);
        self.live.get(behind.checked_sub(1)?)
    }
}

impl Log for SegmentLog {
    fn append(&self, batch: &mut Batch) -> Result<(), LogError> {
        let mut writer = self.writer.lock();
        if let Some(reason) = &writer.poison {
            return Err(LogError::Poisoned { reason: reason.clone() });
        }
        let written = self.write(&mut writer, batch);
        if let Err(error) = &written {
            writer.poison = Some(error.to_string());
        }
        written
    }

    fn read_next(&self, cursor: &mut LogCursor, frame: &mut Frame) -> Result<bool, LogError> {
        let segment = {
            let shelf = self.shelf.lock();
            let (asked, first) = (cursor.next_lsn(), shelf.position.first_lsn);
            if asked >= shelf.position.next_lsn {
                return Ok(false);
            }
            shelf.holding(asked).cloned().ok_or(LogError::Cut { asked, first })?
        };
        cursor.read_in(&segment, frame)?;
        Ok(true)
    }

    fn cut_below(&self, lsn: Lsn) -> Result<(), LogError> {
        let _alone = self.housekeeping.lock();
        loop {
            let segment = {
                let mut shelf = self.shelf.lock();
                let Some(next) = shelf.live.get(1).map(|next| next.header).filter(|next| next.first_lsn <= lsn) else {
                    return Ok(());
                };
                shelf.position.first_lsn = next.first_lsn;
                shelf.position.first_cdr = next.first_cdr;
                let cut = shelf.live.pop_front();
                self.tail_octets.store(shelf.tail_octets(), Ordering::Relaxed);
                cut
            };
            // One after the other, each durable before the next: a crash leaves no hole.
            if let Some(segment) = segment {
                self.put_aside(&segment)?;
            }
        }
    }

    fn position(&self) -> LogPosition {
        self.shelf.lock().position
    }

    fn tail_octets(&self) -> u64 {
        self.tail_octets.load(Ordering::Relaxed)
    }

    fn sync(&self) -> Result<(), LogError> {
        if self.options.durability == Durability::Fsync {
            return Ok(());
        }
        let segments: Vec<Segment> = self.shelf.lock().live.iter().cloned().collect();
        let synced = segments
            .iter()
            .try_for_each(|segment| segment.file.sync_data().map_err(LogError::io("sync", &segment.path, None)));
        if let Err(error) = &synced {
            self.writer.lock().poison = Some(error.to_string());
        }
        synced
    }

    fn tend(&self) -> Result<(), LogError> {
        let _alone = self.housekeeping.lock();
        loop {
            let number = {
                let mut shelf = self.shelf.lock();
                if shelf.spares.len() >= self.options.spares_min {
                    return Ok(());
                }
                shelf.number()
            };
            let spare = self.files.make_spare(number, self.options.segment_octets)?;
            self.shelf.lock().spares.push(spare);
        }
    }
}

impl std::fmt::Debug for SegmentLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shelf = self.shelf.lock();
        f.debug_struct("SegmentLog")
            .field("folder", &self.files.folder)
            .field("position", &shelf.position)
            .field("segments", &shelf.live.len())
            .field("spares", &to_u64(shelf.spares.len()))
            .finish_non_exhaustive()
    }
}
