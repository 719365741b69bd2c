//! The journal: entries go into the open batch, a committer thread makes batches durable.
//!
//! `append` holds one short lock: it gives the entry its LSN and encodes it into the batch's buffer. The committer swaps that
//! buffer for an empty one, carries the CDR chain over it, appends it to the log as one frame, syncs, and raises the durable mark. While a
//! frame is being synced the next batch fills: that is group commit, and there is no timer. A batch that has grown to the length a
//! frame may have is set aside for the committer, and the next one is begun: no frame is so long that everybody waits for it. When the
//! log fails, the mark stays, the failure hook is told once, and later entries go nowhere.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::{Appended, Batch, DurableMark, EntryWriter, FailureHook, HashChain, Log, Lsn, StoreError};

/// Limits of the journal.
#[derive(Clone, Copy, Debug)]
pub struct JournalOptions {
    /// From this many octets on that wait for the disk, [`Journal::is_saturated`] says so. Appending still works: admission is the
    /// caller's.
    pub batch_octets_max: u64,
    /// A frame takes no further entry from this many octets on. Keep it well below a segment: a frame that fits none gets one of
    /// its own, made while everybody waits.
    pub frame_octets_max: u64,
    /// From this many octets of log on that cannot be cut yet, [`Journal::is_saturated`] says so.
    pub tail_octets_max: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { batch_octets_max: 16 << 20, frame_octets_max: 4 << 20, tail_octets_max: u64::MAX }
    }
}

/// What one commit did.
#[derive(Clone, Copy, Debug)]
pub struct CommitStats {
    /// How many entries it made durable.
    pub entries: u64,
    /// How many CDRs.
    pub cdrs: u64,
    /// The frame's length in octets.
    pub octets: u64,
    /// How long writing and syncing took.
    pub took: Duration,
}

/// Whom the committer tells. Called on its thread: short, and never waiting.
#[derive(Clone)]
pub struct JournalHooks {
    /// The log failed; the process is expected to end.
    pub failure: FailureHook,
    /// A commit was made durable.
    pub committed: Arc<dyn Fn(&CommitStats) + Send + Sync>,
}

impl JournalHooks {
    /// Failures go to `failure`, statistics nowhere.
    #[must_use]
    pub fn new(failure: FailureHook) -> Self {
        Self { failure, committed: Arc::new(|_| ()) }
    }
}

/// The journal in front of a log. Shared as an `Arc`; dropping the last one drains it.
pub struct Journal {
    shared: Arc<Shared>,
    mark: Arc<DurableMark>,
    log: Arc<dyn Log>,
    options: JournalOptions,
    committer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    open: Mutex<Open>,
    filled: Condvar,
    /// Octets in the open batch and those before it, readable without the lock.
    pending: AtomicU64,
    /// The last LSN given.
    appended: AtomicU64,
    failed: AtomicBool,
}

struct Open {
    batch: Batch,
    /// Batches before it that are as long as a frame may be, oldest first, and their octets. Admission keeps them few.
    full: VecDeque<Batch>,
    full_octets: u64,
    /// An empty one whose memory is used again.
    empty: Option<Batch>,
    /// No more entries will be committed: shut down or failed.
    closed: bool,
    /// Entries that came after that: their LSNs are beyond all that can become durable.
    refused: u64,
    /// The committer sleeps and must be woken by the next entry.
    idle: bool,
}

impl Journal {
    /// Starts the committer behind `log`, going on where the log ends.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(log: Arc<dyn Log>, options: JournalOptions, hooks: JournalHooks) -> io::Result<Self> {
        let position = log.position();
        let batch = || Batch::new(position.next_lsn, position.next_cdr);
        let shared = Arc::new(Shared {
            open: Mutex::new(Open {
                batch: batch(),
                full: VecDeque::new(),
                full_octets: 0,
                empty: None,
                closed: false,
                refused: 0,
                idle: false,
            }),
            filled: Condvar::new(),
            pending: AtomicU64::new(0),
            appended: AtomicU64::new(position.last_lsn().get()),
            failed: AtomicBool::new(false),
        });
        let mark = Arc::new(DurableMark::new(position.last_lsn()));
        let committer = Committer {
            shared: Arc::clone(&shared),
            mark: Arc::clone(&mark),
            log: Arc::clone(&log),
            hooks,
            chain: position.chain,
            batch: batch(),
        };
        let thread = std::thread::Builder::new().name("log-committer".into()).spawn(move || committer.run())?;
        Ok(Self { shared, mark, log, options, committer: Mutex::new(Some(thread)) })
    }

    /// Appends one entry that `fill` encodes, and returns where it went. It is durable once the mark reaches its LSN.
    ///
    /// Never blocks on the disk and never fails. `fill` runs under the journal's lock: it must only encode. After a failure or a
    /// shutdown the entry gets an LSN and goes nowhere, and the mark never reaches it; entries before it are not touched.
    pub fn append(&self, fill: impl FnOnce(&mut EntryWriter<'_>)) -> Appended {
        let mut open = self.shared.open.lock();
        let closed = open.closed;
        let mut entry = open.batch.entry();
        fill(&mut entry);
        let mut appended = if closed { entry.withdraw() } else { entry.finish() };
        if closed {
            appended.lsn = Lsn::new(appended.lsn.get().saturating_add(open.refused));
            open.refused = open.refused.saturating_add(1);
        }
        if open.batch.pending_octets() >= self.options.frame_octets_max {
            open.set_aside();
        }
        self.shared.pending.store(open.pending_octets(), Ordering::Relaxed);
        self.shared.appended.store(appended.lsn.get(), Ordering::Release);
        let wake = std::mem::take(&mut open.idle);
        drop(open);
        if wake {
            self.shared.filled.notify_one();
        }
        appended
    }

    /// The last LSN given; whoever shows anything computed so far waits for the mark to reach it.
    #[must_use]
    pub fn appended_lsn(&self) -> Lsn {
        Lsn::new(self.shared.appended.load(Ordering::Acquire))
    }

    /// The durable mark.
    #[must_use]
    pub const fn mark(&self) -> &Arc<DurableMark> {
        &self.mark
    }

    /// Whether admission should refuse new work: the committer does not keep up, what reads the log behind its back does not, or
    /// the log has failed.
    #[must_use]
    pub fn is_saturated(&self) -> bool {
        self.pending_octets() >= self.options.batch_octets_max
            || self.log.tail_octets() >= self.options.tail_octets_max
            || self.has_failed()
    }

    /// Whether admission should refuse everything: a quarter above the limit of the log's tail.
    #[must_use]
    pub fn is_tail_full(&self) -> bool {
        let limit = self.options.tail_octets_max;
        self.log.tail_octets() >= limit.saturating_add(limit / 4)
    }

    /// Octets not yet taken by the committer.
    #[must_use]
    pub fn pending_octets(&self) -> u64 {
        self.shared.pending.load(Ordering::Relaxed)
    }

    /// Whether the log failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Acquire)
    }

    /// Makes everything appended so far durable and ends the committer. Later entries go nowhere. Again is harmless.
    pub fn shutdown(&self) {
        self.shared.open.lock().closed = true;
        self.shared.filled.notify_one();
        if let Some(thread) = self.committer.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the committer thread panicked");
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("appended", &self.appended_lsn())
            .field("durable", &self.mark.get())
            .finish_non_exhaustive()
    }
}

struct Committer {
    shared: Arc<Shared>,
    mark: Arc<DurableMark>,
    log: Arc<dyn Log>,
    hooks: JournalHooks,
    chain: HashChain,
    /// The buffer that is not open: being written, or empty and waiting to be swapped in.
    batch: Batch,
}

impl Open {
    fn pending_octets(&self) -> u64 {
        self.full_octets.saturating_add(self.batch.pending_octets())
    }

    /// The open batch takes no more; the next one goes on where it ends.
    fn set_aside(&mut self) {
        let (lsn, cdr) = (self.batch.next_lsn(), self.batch.next_cdr());
        let mut next = self.empty.take().unwrap_or_else(|| Batch::new(lsn, cdr));
        next.reset(lsn, cdr);
        let full = std::mem::replace(&mut self.batch, next);
        self.full_octets = self.full_octets.saturating_add(full.pending_octets());
        self.full.push_back(full);
    }
}

impl Committer {
    fn run(mut self) {
        // However this thread ends, nobody waits for ever.
        let _stop = StopMark(Arc::clone(&self.mark));
        while self.take() {
            if let Err(error) = self.commit() {
                self.fail(error);
                return;
            }
        }
    }

    /// Takes the oldest batch that is full, or swaps the open one in; `false` when it is empty and stays so.
    fn take(&mut self) -> bool {
        let mut open = self.shared.open.lock();
        while open.batch.is_empty() && open.full.is_empty() {
            if open.closed {
                return false;
            }
            open.idle = true;
            self.shared.filled.wait(&mut open);
        }
        open.idle = false;
        if let Some(full) = open.full.pop_front() {
            open.full_octets = open.full_octets.saturating_sub(full.pending_octets());
            open.empty = Some(std::mem::replace(&mut self.batch, full));
        } else {
            self.batch.reset(open.batch.next_lsn(), open.batch.next_cdr());
            std::mem::swap(&mut self.batch, &mut open.batch);
        }
        let pending = if open.batch.is_empty() { open.full_octets } else { open.pending_octets() };
        self.shared.pending.store(pending, Ordering::Relaxed);
        true
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.chain = self.batch.seal(self.chain)?;
        let began = Instant::now();
        self.log.append(&mut self.batch)?;
        let stats = CommitStats {
            entries: self.batch.entry_count(),
            cdrs: self.batch.cdr_count(),
            octets: self.batch.sealed_octets(),
            took: began.elapsed(),
        };
        self.mark.raise(self.batch.last_lsn());
        (self.hooks.committed)(&stats);
        Ok(())
    }

    fn fail(&self, error: StoreError) {
        self.shared.failed.store(true, Ordering::Release);
        let mut open = self.shared.open.lock();
        open.closed = true;
        (open.full, open.full_octets) = (VecDeque::new(), 0);
        let (next_lsn, next_cdr) = (open.batch.next_lsn(), open.batch.next_cdr());
        open.batch.reset(next_lsn, next_cdr);
        drop(open);
        tracing::error!(%error, "the commit failed; nothing more becomes durable");
        (self.hooks.failure)(&error);
    }
}

struct StopMark(Arc<DurableMark>);

impl Drop for StopMark {
    fn drop(&mut self) {
        self.0.stop();
    }
}
