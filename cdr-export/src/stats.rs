//! What the export counts, for whoever exports metrics. Written once per batch and stream, not per CDR.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rating_engine::ids::CdrPosition;

/// Counters of a server.
#[derive(Debug, Default)]
pub struct ExportStats {
    sent: AtomicU64,
    open: Mutex<Vec<Arc<Place>>>,
}

/// Where one stream stands.
#[derive(Debug)]
struct Place {
    follows: bool,
    next: AtomicU64,
}

impl ExportStats {
    /// Streams there are.
    #[must_use]
    pub fn streams_open(&self) -> u64 {
        u64::try_from(self.places().len()).unwrap_or(u64::MAX)
    }

    /// CDRs that were handed to clients' connections since the start.
    #[must_use]
    pub fn cdrs_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many positions the furthest of the streams that follow the tail is behind `newest`; 0 when none follows. What
    /// is asked for once may lie as far back as it likes.
    #[must_use]
    pub fn lag(&self, newest: CdrPosition) -> u64 {
        let places = self.places();
        let following = places.iter().filter(|place| place.follows);
        let next = following.map(|place| place.next.load(Ordering::Relaxed)).min();
        next.map_or(0, |next| newest.next().get().saturating_sub(next))
    }

    fn places(&self) -> MutexGuard<'_, Vec<Arc<Place>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream among the [`ExportStats`]; it leaves them when it is dropped.
#[derive(Debug)]
pub(crate) struct Standing {
    stats: Arc<ExportStats>,
    place: Arc<Place>,
}

impl Standing {
    pub(crate) fn new(stats: Arc<ExportStats>, from: CdrPosition, follows: bool) -> Self {
        let place = Arc::new(Place { follows, next: AtomicU64::new(from.get()) });
        stats.places().push(Arc::clone(&place));
        Self { stats, place }
    }

    /// So many CDRs were sent, and `next` is due.
    pub(crate) fn sent(&self, cdrs: usize, next: CdrPosition) {
        self.stats.sent.fetch_add(u64::try_from(cdrs).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.place.next.store(next.get(), Ordering::Relaxed);
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.stats.places().retain(|place| !Arc::ptr_eq(place, &self.place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_of_the_follower_that_is_furthest_behind() {
        let stats = Arc::new(ExportStats::default());
        let newest = CdrPosition::new(100);
        assert_eq!((stats.streams_open(), stats.lag(newest)), (0, 0));
        let near = Standing::new(stats.clone(), CdrPosition::new(91), true);
        let far = Standing::new(stats.clone(), CdrPosition::new(41), true);
        let _history = Standing::new(stats.clone(), CdrPosition::new(1), false);
        assert_eq!((stats.streams_open(), stats.lag(newest)), (3, 60));
        far.sent(60, CdrPosition::new(101));
        assert_eq!((stats.cdrs_sent(), stats.lag(newest)), (60, 10));
        drop(near);
        assert_eq!((stats.streams_open(), stats.lag(newest)), (2, 0));
    }
}
