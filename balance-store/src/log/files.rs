//! Segment files: made, pre-written, put into use, put aside.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LogError;
use super::frame::{FRAME_HEADER_OCTETS, Frame, FrameFault, FrameHeader};
use super::segment::{
    SEGMENT_FORMAT, SEGMENT_HEADER_OCTETS, SegmentFault, SegmentHeader, live_name, spare_name, unfinished_name,
};
use crate::disk::{Disk, DiskFile};
use crate::octets::{to_u64, to_usize};

/// Zeros are written in pieces of this size, and synced after this many, so that a commit meanwhile does not queue behind them all.
static PIECE: [u8; 256 << 10] = [0; 256 << 10];
const PIECES_A_SYNC: u64 = 16;

/// A segment file in use.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: PathBuf,
    pub(crate) octets: u64,
}

/// A pre-written segment file that waits to be used.
pub(crate) struct Spare {
    pub(crate) number: u64,
    pub(crate) octets: u64,
}

/// The log's folder.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) folder: PathBuf,
}

impl Files {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn open(&self, path: &Path) -> Result<(Arc<dyn DiskFile>, u64), LogError> {
        let file = self.disk.open(path).map_err(LogError::io("open", path, None))?;
        let octets = file.octets().map_err(LogError::io("measure", path, None))?;
        Ok((file, octets))
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), LogError> {
        self.disk.rename(from, to).map_err(LogError::io("rename", from, None))?;
        self.sync_folder()
    }

    pub(crate) fn remove(&self, path: &Path) -> Result<(), LogError> {
        self.disk.remove(path).map_err(LogError::io("remove", path, None))
    }

    pub(crate) fn sync_folder(&self) -> Result<(), LogError> {
        self.disk.sync_dir(&self.folder).map_err(LogError::io("sync the folder", &self.folder, None))
    }

    /// Makes a spare of `octets` zeros, really written, so that later syncs change no metadata.
    pub(crate) fn make_spare(&self, number: u64, octets: u64) -> Result<Spare, LogError> {
        let path = self.path(&unfinished_name(number));
        let made = self.pre_write(&path, octets);
        if made.is_err() {
            // Most likely the disk is full: give back what was taken. The first error is the one to report.
            let _ = self.disk.remove(&path);
        }
        made?;
        self.rename(&path, &self.path(&spare_name(number)))?;
        Ok(Spare { number, octets })
    }

    fn pre_write(&self, path: &Path, octets: u64) -> Result<(), LogError> {
        let file = self.disk.create(path).map_err(LogError::io("create", path, None))?;
        let mut offset = 0;
        let mut unsynced = 0;
        while offset < octets {
            let length = (octets - offset).min(to_u64(PIECE.len()));
            let zeros = PIECE.get(..to_usize(length)).unwrap_or_default();
            file.write_at(zeros, offset).map_err(LogError::io("pre-write", path, Some(offset)))?;
            offset += length;
            unsynced += 1;
            if unsynced == PIECES_A_SYNC {
                file.sync_data().map_err(LogError::io("sync", path, None))?;
                unsynced = 0;
            }
        }
        file.sync_data().map_err(LogError::io("sync", path, None))
    }

    /// Puts a spare into use. Its header is durable before its name says what it is, so a segment's name never lies.
    pub(crate) fn use_spare(&self, spare: &Spare, header: SegmentHeader) -> Result<Segment, LogError> {
        let from = self.path(&spare_name(spare.number));
        let path = self.path(&live_name(header.generation));
        let (file, octets) = self.open(&from)?;
        file.write_at(&header.encode(), 0).map_err(LogError::io("write the header of", &from, Some(0)))?;
        file.sync_data().map_err(LogError::io("sync", &from, None))?;
        self.rename(&from, &path)?;
        Ok(Segment { header, file, path, octets })
    }

    /// Opens the segment of a generation and checks its header.
    pub(crate) fn open_live(&self, generation: u64) -> Result<Segment, LogError> {
        let path = self.path(&live_name(generation));
        let (file, octets) = self.open(&path)?;
        let mut header = vec![0; to_usize(SEGMENT_HEADER_OCTETS.min(octets))];
        file.read_at(&mut header, 0).map_err(LogError::io("read", &path, Some(0)))?;
        match SegmentHeader::parse(&header) {
            Ok(header) if header.generation == generation => Ok(Segment { header, file, path, octets }),
            Ok(_) => Err(LogError::BadSegment {
                file: path,
                reason: "its header names another generation than its file name",
            }),
            Err(SegmentFault::Damaged) => Err(LogError::BadSegment { file: path, reason: "its header is damaged" }),
            Err(SegmentFault::Format(found)) => {
                Err(LogError::UnknownFormat { file: path, offset: 0, found, known: SEGMENT_FORMAT })
            }
        }
    }
}

impl Segment {
    /// Reads up to `octets.len()` octets; what lies behind the end of the file is zero.
    pub(crate) fn read(&self, octets: &mut [u8], offset: u64) -> Result<(), LogError> {
        let read = self.file.read_at(octets, offset).map_err(LogError::io("read", &self.path, Some(offset)))?;
        octets.get_mut(read..).unwrap_or_default().fill(0);
        Ok(())
    }

    /// The header of the frame at `offset`, if it is one of this segment's.
    pub(crate) fn frame_header(&self, offset: u64) -> Result<Result<FrameHeader, FrameFault>, LogError> {
        let mut octets = [0; FRAME_HEADER_OCTETS];
        self.read(&mut octets, offset)?;
        Ok(FrameHeader::parse(&octets).and_then(|header| {
            if header.generation != self.header.generation {
                Err(FrameFault::Stale { generation: header.generation })
            } else if header.total_octets() > self.octets.saturating_sub(offset) {
                Err(FrameFault::Overrun)
            } else {
                Ok(header)
            }
        }))
    }

    /// Reads the frame at `offset` whole and checks that it is intact and one of this segment's.
    pub(crate) fn frame(&self, offset: u64, frame: &mut Frame) -> Result<Result<(), FrameFault>, LogError> {
        match self.frame_header(offset)? {
            Ok(header) => frame.fill(to_usize(header.total_octets()), |octets| self.read(octets, offset)),
            Err(fault) => Ok(Err(fault)),
        }
    }
}
