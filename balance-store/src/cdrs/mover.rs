//! Carries CDRs from the log to the CDR store, behind everybody's back.
//!
//! It reads frames back from the log, never from a queue in memory, so a slow disk costs log space and nothing else. What it made
//! durable it releases at the cut line. It also tends the log (spare segments), being a thread that may wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::CdrStore;
use crate::{CutLine, DurableMark, FailureHook, Frame, Holder, Log, LogCursor, StoreError};

/// How long after a failed preparation of a spare segment the next is tried.
const TEND_AGAIN: Duration = Duration::from_secs(10);

/// How the mover paces itself.
#[derive(Clone, Copy, Debug)]
pub struct CdrMoverOptions {
    /// CDRs become durable in the store, and visible to its readers, at most this much later than in the log.
    pub sync_interval: Duration,
    /// After this many octets of log it syncs at once.
    pub sync_octets: u64,
}

impl Default for CdrMoverOptions {
    fn default() -> Self {
        Self { sync_interval: Duration::from_millis(50), sync_octets: 8 << 20 }
    }
}

/// The running mover. Dropping it stops it.
#[derive(Debug)]
pub struct CdrMover {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl CdrMover {
    /// Starts moving, from where the store ends.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        log: Arc<dyn Log>,
        mark: Arc<DurableMark>,
        store: Arc<CdrStore>,
        line: Arc<CutLine>,
        options: CdrMoverOptions,
        failure: FailureHook,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let holder = line.cdrs().clone();
        let from = store.durable().lsn.next().max(log.position().first_lsn);
        let mover = Mover {
            stop: Arc::clone(&stop),
            log,
            mark,
            store,
            line,
            holder,
            options,
            cursor: LogCursor::from(from),
            frame: Frame::new(),
            unsynced: 0,
            synced_at: Instant::now(),
            tend_after: None,
        };
        let thread = std::thread::Builder::new().name("cdr-mover".into()).spawn(move || {
            if let Err(error) = mover.run() {
                tracing::error!(%error, "moving CDRs failed");
                failure(&error);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Moves what is durable in the log, syncs and ends.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the CDR mover thread panicked");
        }
    }
}

impl Drop for CdrMover {
    fn drop(&mut self) {
        self.end();
    }
}

struct Mover {
    stop: Arc<AtomicBool>,
    log: Arc<dyn Log>,
    mark: Arc<DurableMark>,
    store: Arc<CdrStore>,
    line: Arc<CutLine>,
    holder: Holder,
    options: CdrMoverOptions,
    cursor: LogCursor,
    frame: Frame,
    /// Octets of log taken in since the last sync.
    unsynced: u64,
    synced_at: Instant,
    tend_after: Option<Instant>,
}

impl Mover {
    fn run(mut self) -> Result<(), StoreError> {
        self.store.check_log(&self.log.position())?;
        loop {
            // Asked before reading: what became durable before the stop is still moved.
            let last = self.stop.load(Ordering::Acquire) || self.mark.is_stopped();
            self.follow()?;
            if last {
                return self.sync();
            }
            if self.unsynced > 0 && self.synced_at.elapsed() >= self.options.sync_interval {
                self.sync()?;
            }
            self.tend();
            self.wait();
        }
    }

    /// Prepares spare segments. That it fails (a full disk) is the appender's to suffer, if it comes to that; not tried again at once.
    fn tend(&mut self) {
        if self.tend_after.is_some_and(|after| Instant::now() < after) {
            return;
        }
        self.tend_after = None;
        if let Err(error) = self.log.tend() {
            tracing::warn!(%error, "no spare log segment could be prepared");
            self.tend_after = Some(Instant::now() + TEND_AGAIN);
        }
    }

    /// Sleeps until there is more, or a sync is due. While one is due anyway, single frames are let gather for a moment.
    fn wait(&self) {
        let mut limit = self.options.sync_interval;
        if self.unsynced > 0 {
            limit = limit.saturating_sub(self.synced_at.elapsed());
            std::thread::sleep(limit.min(Duration::from_millis(5)));
        }
        // A mark that stopped ends the loop of `run`.
        let _ = self.mark.wait_for_at_most(self.cursor.next_lsn(), limit);
    }

    /// Takes in everything that is durable in the log.
    fn follow(&mut self) -> Result<(), StoreError> {
        while self.log.read_next(&mut self.cursor, &mut self.frame)? {
            self.store.append(&self.frame)?;
            if self.unsynced == 0 {
                self.synced_at = Instant::now();
            }
            self.unsynced = self.unsynced.saturating_add(self.frame.octets());
            if self.unsynced >= self.options.sync_octets {
                self.sync()?;
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.log.sync()?;
        let durable = self.store.sync()?;
        self.unsynced = 0;
        self.synced_at = Instant::now();
        self.holder.release(durable.lsn);
        self.line.cut()?;
        Ok(())
    }
}
