//! Marks: how far something has come, for those who wait for it.
//!
//! The committer raises the durable mark, the CDR mover raises the CDR mark. A mark only rises. Threads wait on it
//! ([`Mark::wait_for`]); whoever waits asynchronously hangs a callback on it ([`Mark::on_advance`]).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};

use crate::{CdrPosition, Lsn};

/// What a mark can count.
pub trait MarkValue: Copy + Ord + Send + Sync + 'static {
    /// From the number kept.
    fn from_number(number: u64) -> Self;
    /// To the number kept.
    fn number(self) -> u64;
}

impl MarkValue for Lsn {
    fn from_number(number: u64) -> Self {
        Self::new(number)
    }
    fn number(self) -> u64 {
        self.get()
    }
}

impl MarkValue for CdrPosition {
    fn from_number(number: u64) -> Self {
        Self::new(number)
    }
    fn number(self) -> u64 {
        self.get()
    }
}

/// The mark will not rise any more: its owner stopped or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkStopped;

impl std::fmt::Display for MarkStopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the mark stopped before it reached what was waited for")
    }
}

impl std::error::Error for MarkStopped {}

type Hook<T> = Box<dyn Fn(T) + Send + Sync>;

/// How far something has come. Shared as an `Arc`.
pub struct Mark<T> {
    value: AtomicU64,
    stopped: AtomicBool,
    sleepers: Mutex<()>,
    changed: Condvar,
    hooks: RwLock<Vec<Hook<T>>>,
}

/// The highest LSN that is durable: everything at or below it survives a power cut.
pub type DurableMark = Mark<Lsn>;

/// The highest CDR position that is durable in the CDR store.
pub type CdrMark = Mark<CdrPosition>;

impl<T: MarkValue> Mark<T> {
    /// A mark standing at `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self {
            value: AtomicU64::new(value.number()),
            stopped: AtomicBool::new(false),
            sleepers: Mutex::new(()),
            changed: Condvar::new(),
            hooks: RwLock::new(Vec::new()),
        }
    }

    /// Where it stands.
    pub fn get(&self) -> T {
        T::from_number(self.value.load(Ordering::Acquire))
    }

    /// Whether it stopped for good.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Sleeps until the mark is at or above `target`.
    ///
    /// # Errors
    /// [`MarkStopped`] when its owner stopped or failed before.
    pub fn wait_for(&self, target: T) -> Result<(), MarkStopped> {
        while !self.wait_for_at_most(target, Duration::from_secs(3600))? {}
        Ok(())
    }

    /// Sleeps until the mark is at or above `target` (`true`) or `limit` has passed (`false`).
    ///
    /// # Errors
    /// [`MarkStopped`] when its owner stopped or failed before.
    pub fn wait_for_at_most(&self, target: T, limit: Duration) -> Result<bool, MarkStopped> {
        if self.get() >= target {
            return Ok(true);
        }
        let deadline = Instant::now() + limit;
        let mut sleeping = self.sleepers.lock();
        loop {
            if self.get() >= target {
                return Ok(true);
            }
            if self.is_stopped() {
                return Err(MarkStopped);
            }
            if self.changed.wait_until(&mut sleeping, deadline).timed_out() {
                return Ok(self.get() >= target);
            }
        }
    }

    /// Calls `hook` with the new value after every rise, on the thread that raises it: it must be short and must not wait.
    pub fn on_advance(&self, hook: impl Fn(T) + Send + Sync + 'static) {
        self.hooks.write().push(Box::new(hook));
    }

    pub(crate) fn raise(&self, to: T) {
        if self.value.fetch_max(to.number(), Ordering::AcqRel) >= to.number() {
            return;
        }
        self.wake();
        for hook in self.hooks.read().iter() {
            hook(to);
        }
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    /// The lock orders the change before the check of whoever is about to sleep.
    fn wake(&self) {
        drop(self.sleepers.lock());
        self.changed.notify_all();
    }
}

impl<T: MarkValue + std::fmt::Debug> std::fmt::Debug for Mark<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mark").field("value", &self.get()).field("stopped", &self.is_stopped()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn a_waiter_wakes_when_the_mark_reaches_it_and_hooks_see_every_rise() {
        let mark = Arc::new(DurableMark::new(Lsn::new(0)));
        let seen = Arc::new(AtomicU64::new(0));
        let hook = Arc::clone(&seen);
        mark.on_advance(move |lsn| hook.store(lsn.get(), Ordering::SeqCst));
        let waiter = std::thread::spawn({
            let mark = Arc::clone(&mark);
            move || mark.wait_for(Lsn::new(3))
        });
        mark.raise(Lsn::new(2));
        assert_eq!(mark.wait_for_at_most(Lsn::new(3), Duration::from_millis(5)), Ok(false));
        mark.raise(Lsn::new(3));
        assert_eq!(waiter.join().unwrap(), Ok(()));
        mark.raise(Lsn::new(1));
        assert_eq!(mark.get(), Lsn::new(3), "a mark never falls");
        assert_eq!(seen.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_stopped_mark_lets_nobody_sleep_for_ever() {
        let mark = DurableMark::new(Lsn::new(5));
        mark.stop();
        assert_eq!(mark.wait_for(Lsn::new(5)), Ok(()));
        assert_eq!(mark.wait_for(Lsn::new(6)), Err(MarkStopped));
    }
}
