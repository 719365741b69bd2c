//! How much of the log a restart would replay: what was written since the entry that the state store is complete up to.
//! Segments are kept for longer, so the log's own length does not tell.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rating_engine::ids::Lsn;

/// Samples kept; beyond it every other one goes.
const SAMPLES_MAX: usize = 1024;

/// Follows the log's tail by samples.
#[derive(Debug)]
pub struct Tail {
    /// Octets of frames, from the checkpoint found at start on.
    written: AtomicU64,
    checkpoint: AtomicU64,
    /// Up to which entry how many octets were written; the first is at or below the checkpoint.
    samples: Mutex<VecDeque<(Lsn, u64)>>,
}

impl Tail {
    /// As found at start: what was replayed behind the checkpoint.
    pub fn new(checkpoint: Lsn, replayed_octets: u64) -> Self {
        let (written, samples) = (AtomicU64::new(replayed_octets), VecDeque::from([(checkpoint, 0)]));
        Self { written, checkpoint: AtomicU64::new(checkpoint.get()), samples: Mutex::new(samples) }
    }

    /// A frame of so many octets is durable.
    pub fn wrote(&self, octets: u64) {
        self.written.fetch_add(octets, Ordering::AcqRel);
    }

    /// The state store is complete up to here.
    pub fn checkpointed(&self, lsn: Lsn) {
        self.checkpoint.fetch_max(lsn.get(), Ordering::AcqRel);
    }

    /// Octets that a restart would replay now, at most as many too many as were written between two calls; `durable` says
    /// what the durable mark is.
    pub fn octets(&self, durable: impl FnOnce() -> Lsn) -> u64 {
        // In this order: what is counted is durable.
        let written = self.written.load(Ordering::Acquire);
        let durable = durable();
        let checkpoint = self.checkpoint.load(Ordering::Acquire);
        let mut samples = self.samples.lock();
        samples.push_back((durable, written));
        while samples.get(1).is_some_and(|(lsn, _)| lsn.get() <= checkpoint) {
            samples.pop_front();
        }
        if samples.len() > SAMPLES_MAX {
            let mut place = 0;
            samples.retain(|_| {
                place += 1;
                place == 1 || place % 2 == 0
            });
        }
        written.saturating_sub(samples.front().map_or(0, |(_, octets)| *octets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_what_was_written_since_the_checkpoint() {
        let tail = Tail::new(Lsn::new(10), 500);
        let at = |lsn| move || Lsn::new(lsn);
        assert_eq!(tail.octets(at(15)), 500);
        tail.wrote(1000);
        assert_eq!(tail.octets(at(25)), 1500);
        tail.wrote(100);
        tail.checkpointed(Lsn::new(25));
        assert_eq!(tail.octets(at(26)), 100);
        tail.checkpointed(Lsn::new(26));
        assert_eq!(tail.octets(at(26)), 0);
        for lsn in 27..5000 {
            tail.wrote(1);
            assert_eq!(tail.octets(at(lsn)), lsn - 26);
        }
        assert!(tail.samples.lock().len() <= SAMPLES_MAX);
        tail.checkpointed(Lsn::new(4000));
        assert!((1000..2100).contains(&tail.octets(at(5000))));
    }
}
