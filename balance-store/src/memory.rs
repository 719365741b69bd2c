//! Both seams in memory, for tests: nothing survives, everything else is kept as promised.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::log::LogPosition;
use crate::state::split;
use crate::{Batch, Family, Frame, KeyRange, Log, LogCursor, LogError, Lsn, StateError, StateStore, StateWrite};

/// A log in memory.
#[derive(Debug)]
pub struct MemoryLog {
    inner: Mutex<Frames>,
}

#[derive(Debug)]
struct Frames {
    position: LogPosition,
    frames: Vec<Frame>,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub const fn new() -> Self {
        Self { inner: Mutex::new(Frames { position: LogPosition::START, frames: Vec::new() }) }
    }
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

impl Log for MemoryLog {
    fn append(&self, batch: &mut Batch) -> Result<(), LogError> {
        let mut inner = self.inner.lock();
        let position = inner.position;
        if batch.first_lsn() != position.next_lsn || batch.first_cdr() != position.next_cdr {
            return Err(LogError::OutOfOrder {
                expected_lsn: position.next_lsn,
                lsn: batch.first_lsn(),
                expected_cdr: position.next_cdr,
                cdr: batch.first_cdr(),
            });
        }
        let (next_lsn, next_cdr, first_lsn) = (batch.next_lsn(), batch.next_cdr(), batch.first_lsn());
        let bad = |reason| LogError::BadBatch { first_lsn, reason };
        let chain = batch.chain().ok_or_else(|| bad("it is not sealed"))?;
        let (octets, _) = batch.frame(0, 0).ok_or_else(|| bad("it has too many entries or CDRs"))?;
        let frame = crate::log::decode_frame(octets).map_err(|_| bad("it is empty"))?;
        inner.frames.push(frame);
        inner.position = LogPosition { next_lsn, next_cdr, chain, ..position };
        Ok(())
    }

    fn read_next(&self, cursor: &mut LogCursor, frame: &mut Frame) -> Result<bool, LogError> {
        let inner = self.inner.lock();
        let (asked, first) = (cursor.next_lsn(), inner.position.first_lsn);
        if asked >= inner.position.next_lsn {
            return Ok(false);
        }
        if asked < first {
            return Err(LogError::Cut { asked, first });
        }
        let index = inner.frames.partition_point(|frame| frame.last_lsn() < asked);
        let found = inner.frames.get(index).ok_or(LogError::Cut { asked, first })?;
        frame.clone_from(found);
        cursor.move_to(frame.last_lsn().next());
        Ok(true)
    }

    fn cut_below(&self, lsn: Lsn) -> Result<(), LogError> {
        let mut inner = self.inner.lock();
        inner.frames.retain(|frame| frame.last_lsn() >= lsn);
        inner.position.first_lsn = inner.frames.first().map_or(inner.position.next_lsn, Frame::first_lsn);
        inner.position.first_cdr = inner.frames.first().map_or(inner.position.next_cdr, Frame::first_cdr);
        Ok(())
    }

    fn position(&self) -> LogPosition {
        self.inner.lock().position
    }

    fn tail_octets(&self) -> u64 {
        self.inner.lock().frames.iter().map(Frame::octets).sum()
    }
}

/// A state store in memory. Everything written counts as durable.
#[derive(Debug, Default)]
pub struct MemoryState {
    inner: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    records: BTreeMap<(Family, Vec<u8>), Vec<u8>>,
    checkpoint: Lsn,
}

impl MemoryState {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl StateStore for MemoryState {
    fn write(&self, writes: &[StateWrite<'_>]) -> Result<(), StateError> {
        let mut inner = self.inner.lock();
        for write in writes {
            let key = (write.family, write.key.to_vec());
            match write.value {
                Some(value) => drop(inner.records.insert(key, value.to_vec())),
                None => drop(inner.records.remove(&key)),
            }
        }
        Ok(())
    }

    fn checkpoint(&self, lsn: Lsn) -> Result<(), StateError> {
        self.inner.lock().checkpoint = lsn;
        Ok(())
    }

    fn checkpoint_lsn(&self) -> Result<Lsn, StateError> {
        Ok(self.inner.lock().checkpoint)
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.inner.lock().records.get(&(family, key.to_vec())).cloned())
    }

    fn ranges(&self, family: Family, parts: usize) -> Result<Vec<KeyRange>, StateError> {
        let inner = self.inner.lock();
        let mut keys = inner.records.keys().filter(|(of, _)| *of == family).map(|(_, key)| key.as_slice());
        let Some(first) = keys.next() else { return Ok(vec![KeyRange::ALL]) };
        Ok(split(first, keys.next_back().unwrap_or(first), parts))
    }

    fn load(&self, family: Family, range: &KeyRange, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StateError> {
        for ((of, key), value) in &self.inner.lock().records {
            if *of == family && range.contains(key) {
                each(key, value);
            }
        }
        Ok(())
    }
}
