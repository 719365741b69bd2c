//! What is whole? Asked once, when the log is opened.
//!
//! Every frame of every segment is read and checked. The first that is not the one that should follow ends the log if nothing
//! of this generation is intact behind it: that is a write the crash interrupted, nobody was ever told of it, and it is cut. If
//! something is intact behind it, or a later segment exists, durable octets were lost: that is refused, with the place.
//!
//! What was read may have come from the page cache and not be on the disk yet, and after a failed sync the kernel takes such
//! pages for clean. So the last frame is written again, in place, and synced, before anything is built on it.

use std::path::PathBuf;

use super::files::{Files, Segment};
use super::frame::{FRAME_FORMAT, FRAME_HEADER_OCTETS, FRAME_MAGIC, Frame, FrameFault, FrameHeader};
use super::segment::{Named, SEGMENT_HEADER_OCTETS, named};
use super::{LogError, LogPosition};
use crate::Lsn;
use crate::octets::{to_u64, to_usize};

/// What opening a log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Where the log begins and ends.
    pub position: LogPosition,
    /// How many frames it holds.
    pub frames: u64,
    /// An interrupted write that was cut away, if there was one.
    pub tail_cut: Option<TailCut>,
}

/// An interrupted write at the end of the log. Nothing in it was ever acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailCut {
    /// The segment file.
    pub file: PathBuf,
    /// Where in it the frame began.
    pub offset: u64,
    /// The LSN it would have had, which is the next to be given.
    pub lsn: Lsn,
    /// What was wrong with it.
    pub fault: FrameFault,
}

/// The running state of the walk, and where the next frame goes.
pub(crate) struct Walk {
    pub(crate) position: LogPosition,
    pub(crate) previous_crc: u32,
    pub(crate) offset: u64,
    pub(crate) frames: u64,
    last: Option<u64>,
    frame: Frame,
}

/// The files found in the folder, by what they are.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) live: Vec<u64>,
    pub(crate) spares: Vec<u64>,
    pub(crate) unfinished: Vec<String>,
}

pub(crate) fn find(files: &Files) -> Result<Found, LogError> {
    let names = files.disk.list(&files.folder).map_err(LogError::io("list", &files.folder, None))?;
    let mut found = Found::default();
    for name in names {
        match named(&name) {
            Named::Live(generation) => found.live.push(generation),
            Named::Spare(number) => found.spares.push(number),
            Named::Unfinished => found.unfinished.push(name),
            Named::Other => {}
        }
    }
    found.live.sort_unstable();
    found.spares.sort_unstable();
    Ok(found)
}

/// Walks all segments; the last one is left ready to be appended to.
pub(crate) fn walk(segments: &[Segment]) -> Result<Option<(Walk, Option<TailCut>)>, LogError> {
    let Some(first) = segments.first() else { return Ok(None) };
    let start = &first.header;
    let position = LogPosition {
        first_lsn: start.first_lsn,
        first_cdr: start.first_cdr,
        next_lsn: start.first_lsn,
        next_cdr: start.first_cdr,
        chain: start.chain,
    };
    let mut walk =
        Walk { position, previous_crc: start.previous_crc, offset: 0, frames: 0, last: None, frame: Frame::new() };
    let mut tail_cut = None;
    for (index, segment) in segments.iter().enumerate() {
        walk.enter(segment)?;
        if let Some(next) = segments.get(index + 1) {
            walk.through(segment, next.header.first_lsn)?;
        } else {
            tail_cut = walk.up_to_the_end(segment)?;
        }
    }
    Ok(Some((walk, tail_cut)))
}

impl Walk {
    /// Checks that a segment continues what came before.
    fn enter(&mut self, segment: &Segment) -> Result<(), LogError> {
        let header = &segment.header;
        let continues = header.first_lsn == self.position.next_lsn
            && header.first_cdr == self.position.next_cdr
            && header.chain == self.position.chain
            && header.previous_crc == self.previous_crc;
        if !continues {
            return Err(LogError::BadSegment {
                file: segment.path.clone(),
                reason: "it does not continue the segment before it",
            });
        }
        self.offset = SEGMENT_HEADER_OCTETS;
        self.last = None;
        Ok(())
    }

    /// A segment that was left behind for the next one, so it must be whole up to the LSN the next one begins with.
    fn through(&mut self, segment: &Segment, end: Lsn) -> Result<(), LogError> {
        while self.position.next_lsn < end {
            if let Err(fault) = self.step(segment)? {
                return Err(self.refusal(segment, fault));
            }
        }
        Ok(())
    }

    fn up_to_the_end(&mut self, segment: &Segment) -> Result<Option<TailCut>, LogError> {
        let fault = loop {
            if let Err(fault) = self.step(segment)? {
                break fault;
            }
        };
        if matches!(fault, FrameFault::Format(_)) || self.anything_behind(segment)? {
            return Err(self.refusal(segment, fault));
        }
        let interrupted = !matches!(fault, FrameFault::NoFrame | FrameFault::Stale { .. })
            && self.offset.saturating_add(to_u64(FRAME_HEADER_OCTETS)) <= segment.octets;
        if interrupted {
            // So that these octets are never looked at again.
            let zeros = [0; FRAME_HEADER_OCTETS];
            segment.file.write_at(&zeros, self.offset).map_err(LogError::io(
                "cut the tail of",
                &segment.path,
                Some(self.offset),
            ))?;
        }
        if let Some(offset) = self.last
            && segment.frame(offset, &mut self.frame)?.is_ok()
        {
            let again = LogError::io("write the last frame again in", &segment.path, Some(offset));
            segment.file.write_at(self.frame.raw(), offset).map_err(again)?;
        }
        segment.file.sync_data().map_err(LogError::io("sync", &segment.path, None))?;
        Ok(interrupted.then(|| TailCut {
            file: segment.path.clone(),
            offset: self.offset,
            lsn: self.position.next_lsn,
            fault,
        }))
    }

    /// Takes in the frame at the offset, if it is the one that follows.
    fn step(&mut self, segment: &Segment) -> Result<Result<(), FrameFault>, LogError> {
        if let Err(fault) = segment.frame(self.offset, &mut self.frame)? {
            return Ok(Err(fault));
        }
        let Some(header) = self.frame.header() else { return Ok(Err(FrameFault::NoFrame)) };
        let follows = header.first_lsn == self.position.next_lsn
            && header.first_cdr == self.position.next_cdr
            && header.previous_crc == self.previous_crc;
        if !follows {
            return Ok(Err(FrameFault::OutOfOrder));
        }
        self.position.next_lsn = header.next_lsn();
        self.position.next_cdr = header.next_cdr();
        self.position.chain = header.chain;
        self.previous_crc = header.crc;
        self.last = Some(self.offset);
        self.offset += header.total_octets();
        self.frames += 1;
        Ok(Ok(()))
    }

    fn refusal(&self, segment: &Segment, fault: FrameFault) -> LogError {
        if let FrameFault::Format(found) = fault {
            return LogError::UnknownFormat {
                file: segment.path.clone(),
                offset: self.offset,
                found,
                known: FRAME_FORMAT,
            };
        }
        LogError::Damaged { file: segment.path.clone(), offset: self.offset, lsn: self.position.next_lsn, fault }
    }

    /// Whether an intact frame of this generation, at or above the LSN that comes next, lies at or behind the offset.
    fn anything_behind(&mut self, segment: &Segment) -> Result<bool, LogError> {
        const WINDOW: u64 = 1 << 20;
        let mut window = Vec::new();
        let mut at = self.offset;
        while at < segment.octets {
            window.resize(to_usize(WINDOW.min(segment.octets - at)), 0);
            segment.read(&mut window, at)?;
            for (index, word) in window.chunks_exact(8).enumerate() {
                if !word.starts_with(&FRAME_MAGIC) {
                    continue;
                }
                let candidate = at + to_u64(index) * 8;
                if self.is_later_frame(segment, candidate)? {
                    return Ok(true);
                }
            }
            at += WINDOW;
        }
        Ok(false)
    }

    fn is_later_frame(&mut self, segment: &Segment, offset: u64) -> Result<bool, LogError> {
        let later = |header: &FrameHeader| header.first_lsn >= self.position.next_lsn;
        if !segment.frame_header(offset)?.as_ref().is_ok_and(later) {
            return Ok(false);
        }
        // A whole frame that is merely of a later format counts as well.
        Ok(matches!(
            segment.frame(offset, &mut self.frame)?,
            Ok(()) | Err(FrameFault::Format(_) | FrameFault::Malformed)
        ))
    }
}
