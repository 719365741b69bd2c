//! An account's CDRs from one of them backwards: each names the one before it.
//!
//! The store keeps CDRs in blocks, which are read whole. Where an account's CDRs stand close together, those around one that was
//! read are kept for the next steps, so that a long walk reads each block about once.

use std::sync::Arc;

use balance_store::CdrStore;
use balance_store::records::{self, StoredCdr};
use rating_engine::ids::CdrPosition;

/// CDRs that are kept at once.
const KEPT_MAX: u64 = 256;

/// Reads CDRs, mostly backwards.
#[derive(Debug)]
pub struct Walker {
    cdrs: Arc<CdrStore>,
    /// The position of the first that is kept.
    first: CdrPosition,
    kept: Vec<Vec<u8>>,
    last: Option<CdrPosition>,
    loads: usize,
}

impl Walker {
    /// Over a store.
    pub const fn new(cdrs: Arc<CdrStore>) -> Self {
        Self { cdrs, first: CdrPosition::new(0), kept: Vec::new(), last: None, loads: 0 }
    }

    /// The CDR at a position; `None` when there is none, not yet or not any more.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    pub fn read(&mut self, position: CdrPosition) -> Result<Option<StoredCdr>, String> {
        if position < self.cdrs.first_position() || position.get() == 0 {
            return Ok(None);
        }
        let near = self.last.is_some_and(|last| last.get().abs_diff(position.get()) < KEPT_MAX);
        self.last = Some(position);
        if self.kept_at(position).is_none() {
            self.keep(position, near)?;
        }
        let Some(octets) = self.kept_at(position) else { return Ok(None) };
        records::decode_cdr(octets).map(Some).map_err(|error| format!("CDR {position}: {error}"))
    }

    /// How often blocks were read so far: what a walk costs where an account's CDRs stand far apart.
    pub const fn loads(&self) -> usize {
        self.loads
    }

    fn kept_at(&self, position: CdrPosition) -> Option<&Vec<u8>> {
        let place = position.get().checked_sub(self.first.get())?;
        self.kept.get(usize::try_from(place).ok()?)
    }

    /// Keeps the one at a position and, where the walk has small steps, those before it.
    fn keep(&mut self, position: CdrPosition, near: bool) -> Result<(), String> {
        let back = if near { KEPT_MAX - 1 } else { 0 };
        let from = CdrPosition::new(position.get().saturating_sub(back)).max(self.cdrs.first_position());
        self.kept.clear();
        self.loads = self.loads.saturating_add(1);
        self.first = from;
        let failed = |error: balance_store::CdrError| format!("the CDR store: {error}");
        let mut reader = self.cdrs.reader(from).map_err(failed)?;
        for _ in from.get()..=position.get() {
            let Some(record) = reader.read_next().map_err(failed)? else { break };
            self.kept.push(record.octets.to_vec());
        }
        Ok(())
    }
}
