//! Who still needs the log, and how much of it.
//!
//! Every part that reads the log behind its back holds it from some LSN on; the log is cut below the lowest of these. The state
//! store and the CDR store hold it from the beginning, so that no order of starting their threads can cut too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::{Log, LogError, Lsn};

/// The line below which the log may be cut.
pub struct CutLine {
    log: Arc<dyn Log>,
    state: Holder,
    cdrs: Holder,
    holders: Mutex<Vec<(&'static str, Arc<AtomicU64>)>>,
}

/// One part's hold on the log. Dropping it does not let go: a part that is gone has not caught up.
#[derive(Clone, Debug)]
pub struct Holder {
    done: Arc<AtomicU64>,
}

impl Holder {
    /// Everything at or below `lsn` is kept elsewhere, durably. Never falls.
    pub fn release(&self, lsn: Lsn) {
        self.done.fetch_max(lsn.get(), Ordering::AcqRel);
    }

    /// What it released last.
    #[must_use]
    pub fn released(&self) -> Lsn {
        Lsn::new(self.done.load(Ordering::Acquire))
    }
}

impl CutLine {
    /// A line held by the state store, which has everything up to `state` (its checkpoint), and the CDR store, which has everything
    /// up to `cdrs` (its durable LSN).
    #[must_use]
    pub fn new(log: Arc<dyn Log>, state: Lsn, cdrs: Lsn) -> Self {
        let mut holders = Vec::new();
        let (state, cdrs) = (add(&mut holders, "state store", state), add(&mut holders, "CDR store", cdrs));
        Self { log, state, cdrs, holders: Mutex::new(holders) }
    }

    /// The state store's hold.
    #[must_use]
    pub const fn state(&self) -> &Holder {
        &self.state
    }

    /// The CDR store's hold.
    #[must_use]
    pub const fn cdrs(&self) -> &Holder {
        &self.cdrs
    }

    /// Adds another part that has everything at or below `done` and needs the log above it. Add it before the line is first cut.
    pub fn hold(&self, name: &'static str, done: Lsn) -> Holder {
        add(&mut self.holders.lock(), name, done)
    }

    /// Who holds the most, and what it has.
    #[must_use]
    pub fn slowest(&self) -> Option<(&'static str, Lsn)> {
        let holders = self.holders.lock();
        let released = holders.iter().map(|(name, done)| (*name, Lsn::new(done.load(Ordering::Acquire))));
        released.min_by_key(|(_, lsn)| *lsn)
    }

    /// Cuts the log as far as everybody lets it.
    ///
    /// # Errors
    /// [`LogError::Io`] when the disk fails.
    pub fn cut(&self) -> Result<(), LogError> {
        match self.slowest() {
            Some((_, released)) => self.log.cut_below(released.next()),
            None => Ok(()),
        }
    }
}

fn add(holders: &mut Vec<(&'static str, Arc<AtomicU64>)>, name: &'static str, done: Lsn) -> Holder {
    let done = Arc::new(AtomicU64::new(done.get()));
    holders.push((name, Arc::clone(&done)));
    Holder { done }
}

impl std::fmt::Debug for CutLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CutLine").field("holders", &*self.holders.lock()).finish_non_exhaustive()
    }
}
