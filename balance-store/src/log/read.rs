//! Reading the log back: for start-up, the CDR mover and whoever follows.

use super::LogError;
use super::files::Segment;
use super::frame::Frame;
use super::segment::SEGMENT_HEADER_OCTETS;
use crate::Lsn;

/// A place in the log, and where it was found, so that the next read need not search. Survives cuts below it.
#[derive(Clone, Copy, Debug)]
pub struct LogCursor {
    next: Lsn,
    place: Option<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    generation: u64,
    offset: u64,
}

impl LogCursor {
    /// A cursor before the frame that holds `lsn`.
    #[must_use]
    pub const fn from(lsn: Lsn) -> Self {
        Self { next: lsn, place: None }
    }

    /// The LSN it will read next.
    #[must_use]
    pub const fn next_lsn(&self) -> Lsn {
        self.next
    }

    /// For logs that find a frame by its LSN alone.
    pub(crate) const fn move_to(&mut self, next: Lsn) {
        self.next = next;
    }

    /// Reads the frame that holds the cursor's LSN, which is known to be in this segment and durable.
    pub(crate) fn read_in(&mut self, segment: &Segment, frame: &mut Frame) -> Result<(), LogError> {
        let mut offset = match self.place {
            Some(place) if place.generation == segment.header.generation => place.offset,
            _ => SEGMENT_HEADER_OCTETS,
        };
        let damaged = |offset, fault| LogError::Damaged { file: segment.path.clone(), offset, lsn: self.next, fault };
        loop {
            let header = segment.frame_header(offset)?.map_err(|fault| damaged(offset, fault))?;
            if header.last_lsn() >= self.next {
                break;
            }
            offset += header.total_octets();
        }
        segment.frame(offset, frame)?.map_err(|fault| damaged(offset, fault))?;
        self.next = frame.last_lsn().next();
        self.place = Some(Place { generation: segment.header.generation, offset: offset + frame.octets() });
        Ok(())
    }
}
