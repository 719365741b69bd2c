//! Carries changed records to the state store, sweep by sweep, so that the log can be cut.
//!
//! A sweep visits every shard, takes its dirty records a few at a time, waits until the durable mark covers them, and writes them.
//! When it ends, everything up to the durable mark read when it *began* is in the store: that LSN becomes the checkpoint, durably,
//! and the log is cut below what everybody has. No pause, no copy of the state: a fuzzy checkpoint with redo.
//!
//! The tail of the latency is decided by how gentle this is: small batches, a stated share of time, a stated rate. Only when the
//! log's tail nears its limit does it go as fast as it can.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::octets::to_u64;
use crate::{CutLine, DurableMark, FailureHook, Family, Holder, Log, Lsn, StateStore, StateWrite, StoreError};

/// A changed record, as it is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirtyRecord {
    /// What kind of record.
    pub family: Family,
    /// Its key.
    pub key: Vec<u8>,
    /// Its octets, which say themselves which LSN they are of; `None` when it was deleted.
    pub value: Option<Vec<u8>>,
    /// The LSN of its last change.
    pub lsn: Lsn,
}

/// Takes, each under its own hold of a shard's lock, whose records are waited for and written together.
const TAKES_AT_ONCE: usize = 4;

/// Where changed records come from.
pub trait DirtySource: Send + Sync + 'static {
    /// How many shards there are.
    fn shards(&self) -> usize;

    /// How many changes of a shard wait now.
    fn dirty_len(&self, shard: usize) -> usize;

    /// Takes up to `max` waiting changes of a shard, the longest waiting first, and puts what they make of records behind
    /// `records`, holding the shard's lock only for that. Returns how many changes it took: one may make no record or
    /// several. What changes again afterwards waits again.
    fn take_dirty(&self, shard: usize, max: usize, records: &mut Vec<DirtyRecord>) -> usize;
}

/// How the checkpointer paces itself.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointOptions {
    /// A sweep begins this long after the one before began.
    pub interval: Duration,
    /// The log's tail may get this long (octets): sweeps begin early at half of it and go unpaced from three quarters.
    pub tail_octets_max: u64,
    /// How many records are taken under one shard lock.
    pub records_max: usize,
    /// The share of time a sweep may work, in percent (1 to 100).
    pub share_percent: u32,
    /// How many octets it may write in a second; 0 for no limit.
    pub octets_per_second: u64,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            tail_octets_max: 4 << 30,
            records_max: 64,
            share_percent: 25,
            octets_per_second: 64 << 20,
        }
    }
}

/// What one sweep did.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointStats {
    /// The new checkpoint.
    pub lsn: Lsn,
    /// How many records were written.
    pub records: u64,
    /// Their octets.
    pub octets: u64,
    /// How long it took, pauses included.
    pub took: Duration,
}

/// Whom the checkpointer tells, on its thread.
#[derive(Clone)]
pub struct CheckpointHooks {
    /// A sweep ended.
    pub swept: Arc<dyn Fn(&CheckpointStats) + Send + Sync>,
    /// The log or the state store failed; the process is expected to end.
    pub failure: FailureHook,
}

impl CheckpointHooks {
    /// Failures go to `failure`, statistics nowhere.
    #[must_use]
    pub fn new(failure: FailureHook) -> Self {
        Self { swept: Arc::new(|_| ()), failure }
    }
}

/// The running checkpointer. Dropping it stops it, without a last sweep: a clean end calls [`Checkpointer::checkpoint_now`] before,
/// while the journal still runs.
#[derive(Debug)]
pub struct Checkpointer {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Signal {
    wishes: Mutex<Wishes>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Wishes {
    stop: bool,
    /// Sweeps asked for and sweeps ended, and whether there will be no more.
    asked: u64,
    ended: u64,
    over: bool,
}

impl Checkpointer {
    /// Starts sweeping.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        log: Arc<dyn Log>,
        mark: Arc<DurableMark>,
        state: Arc<dyn StateStore>,
        source: Arc<dyn DirtySource>,
        line: Arc<CutLine>,
        options: CheckpointOptions,
        hooks: CheckpointHooks,
    ) -> io::Result<Self> {
        let holder = line.state().clone();
        let signal = Arc::new(Signal::default());
        let sweeper = Sweeper { signal: Arc::clone(&signal), log, mark, state, source, line, holder, options, hooks };
        let thread = std::thread::Builder::new().name("checkpointer".into()).spawn(move || {
            let _over = Over(Arc::clone(&sweeper.signal));
            if let Err(error) = sweeper.run() {
                tracing::error!(%error, "the checkpoint failed");
                (sweeper.hooks.failure)(&error);
            }
        })?;
        Ok(Self { signal, thread: Some(thread) })
    }

    /// Sweeps now, unpaced, and waits for the end: everything durable when this is called is in the checkpoint afterwards.
    /// `false` when the checkpointer stopped or failed before.
    #[must_use]
    pub fn checkpoint_now(&self) -> bool {
        let mut wishes = self.signal.wishes.lock();
        wishes.asked += 1;
        let mine = wishes.asked;
        self.signal.changed.notify_all();
        while wishes.ended < mine && !wishes.over {
            self.signal.changed.wait(&mut wishes);
        }
        wishes.ended >= mine
    }

    /// Ends it. A sweep under way is given up; what it wrote does no harm.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.signal.wishes.lock().stop = true;
        self.signal.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpointer thread panicked");
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.end();
    }
}

/// However the thread ends, nobody waits for it for ever.
struct Over(Arc<Signal>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.wishes.lock().over = true;
        self.0.changed.notify_all();
    }
}

/// Records that were taken and are not written yet.
#[derive(Default)]
struct Taken {
    records: Vec<DirtyRecord>,
    /// How long taking them took.
    worked: Duration,
}

struct Sweeper {
    signal: Arc<Signal>,
    log: Arc<dyn Log>,
    mark: Arc<DurableMark>,
    state: Arc<dyn StateStore>,
    source: Arc<dyn DirtySource>,
    line: Arc<CutLine>,
    holder: Holder,
    options: CheckpointOptions,
    hooks: CheckpointHooks,
}

impl Sweeper {
    fn run(&self) -> Result<(), StoreError> {
        let mut began = Instant::now();
        while let Some(asked) = self.wait_for_a_reason(began) {
            began = Instant::now();
            let Some(stats) = self.sweep(asked)? else { return Ok(()) };
            (self.hooks.swept)(&stats);
            let mut wishes = self.signal.wishes.lock();
            wishes.ended = wishes.ended.max(asked);
            self.signal.changed.notify_all();
        }
        Ok(())
    }

    /// Sleeps until it is time, the tail is long, or somebody asks; returns which wishes the sweep will fulfil, `None` to stop.
    fn wait_for_a_reason(&self, began: Instant) -> Option<u64> {
        let mut wishes = self.signal.wishes.lock();
        loop {
            if wishes.stop {
                return None;
            }
            let news = self.mark.get() > self.holder.released();
            let due = began.elapsed() >= self.options.interval || self.tail_reaches(2);
            if wishes.asked > wishes.ended || (due && news) {
                return Some(wishes.asked);
            }
            self.signal.changed.wait_for(&mut wishes, self.options.interval.min(Duration::from_millis(200)));
        }
    }

    /// Whether the log's tail has reached this many quarters of its limit.
    fn tail_reaches(&self, quarters: u64) -> bool {
        self.log.tail_octets() >= self.options.tail_octets_max / 4 * quarters
    }

    /// One sweep over all shards; `None` when it was told to stop.
    fn sweep(&self, asked: u64) -> Result<Option<CheckpointStats>, StoreError> {
        let began = Instant::now();
        let checkpoint = self.mark.get();
        let mut stats = CheckpointStats { lsn: checkpoint, records: 0, octets: 0, took: Duration::ZERO };
        let mut taken = Taken::default();
        for shard in 0..self.source.shards() {
            // What changes meanwhile is the next sweep's.
            let mut left = self.source.dirty_len(shard);
            while left > 0 {
                let began = Instant::now();
                let changes = self.source.take_dirty(shard, self.options.records_max.min(left), &mut taken.records);
                if changes == 0 {
                    break;
                }
                left = left.saturating_sub(changes);
                taken.worked += began.elapsed();
                if taken.records.len() >= self.options.records_max.saturating_mul(TAKES_AT_ONCE)
                    && !self.store(&mut taken, &mut stats, asked)?
                {
                    return Ok(None);
                }
            }
        }
        if !self.store(&mut taken, &mut stats, asked)? {
            return Ok(None);
        }
        // Also when nothing was written: the checkpoint itself is a statement about the log.
        self.log.sync()?;
        self.state.checkpoint(checkpoint)?;
        self.holder.release(checkpoint);
        self.line.cut()?;
        stats.took = began.elapsed();
        Ok(Some(stats))
    }

    /// Writes what was taken, once it is durable in the log, and rests; `false` when told to stop.
    fn store(&self, taken: &mut Taken, stats: &mut CheckpointStats, asked: u64) -> Result<bool, StoreError> {
        let Taken { records, worked } = std::mem::take(taken);
        let Some(newest) = records.iter().map(|record| record.lsn).max() else { return Ok(true) };
        let began = Instant::now();
        if self.mark.wait_for(newest).is_err() {
            // The journal is gone: these records may never become durable, and the log has what did.
            return Ok(false);
        }
        // Waiting for the disk is no work: it counts as rest.
        let waited = began.elapsed();
        // The store may make a record durable at any moment after the write, so its entry is on the disk before.
        self.log.sync()?;
        let octets = self.write(&records)?;
        stats.records += to_u64(records.len());
        stats.octets += octets;
        Ok(self.pace(worked + began.elapsed().saturating_sub(waited), waited, octets, asked))
    }

    fn write(&self, records: &[DirtyRecord]) -> Result<u64, StoreError> {
        let writes: Vec<StateWrite<'_>> = records
            .iter()
            .map(|record| StateWrite { family: record.family, key: &record.key, value: record.value.as_deref() })
            .collect();
        self.state.write(&writes)?;
        Ok(writes.iter().map(|write| to_u64(write.key.len() + write.value.map_or(0, <[u8]>::len))).sum())
    }

    /// Rests as long as the share of time and the rate demand, less what it `rested` already; `false` when told to stop.
    fn pace(&self, worked: Duration, rested: Duration, octets: u64, asked: u64) -> bool {
        let mut wishes = self.signal.wishes.lock();
        let hurry = wishes.asked > wishes.ended && wishes.asked >= asked;
        if !hurry && !self.tail_reaches(3) {
            let share = self.options.share_percent.clamp(1, 100);
            let by_share = (worked * (100 - share)).checked_div(share).unwrap_or_default();
            let micros = octets.saturating_mul(1_000_000).checked_div(self.options.octets_per_second).unwrap_or(0);
            let rest = by_share.max(Duration::from_micros(micros).saturating_sub(worked));
            let until = Instant::now() + rest.saturating_sub(rested);
            while !wishes.stop && wishes.asked == wishes.ended {
                if self.signal.changed.wait_until(&mut wishes, until).timed_out() {
                    break;
                }
            }
        }
        !wishes.stop
    }
}
