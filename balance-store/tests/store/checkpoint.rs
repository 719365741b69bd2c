//! The checkpoint: state is carried behind the durable mark, and the log is cut below it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use balance_store::{
    Batch, CheckpointHooks, CheckpointOptions, Checkpointer, CutLine, DirtyRecord, DirtySource, Family, FaultDisk,
    Frame, Journal, JournalOptions, KeyRange, Log, LogCursor, LogError, LogPosition, Lsn, MemoryLog, MemoryState,
    StateError, StateStore, StateWrite,
};

use crate::support::{hooks, open, quiet};

/// Shards of counters: each entry adds one to a key; the dirty ones are kept in the order they became dirty.
pub(crate) struct Counters {
    shards: Vec<Mutex<Shard>>,
}

#[derive(Default)]
struct Shard {
    counts: BTreeMap<u64, (u64, Lsn)>,
    dirty: Vec<u64>,
}

impl Counters {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { shards: (0..4).map(|_| Mutex::default()).collect() })
    }

    /// What a start found.
    pub(crate) fn restore(&self, counts: BTreeMap<u64, u64>) {
        for (key, count) in counts {
            let mut shard = self.shards[usize::try_from(key % 4).unwrap()].lock().unwrap();
            shard.counts.insert(key, (count, Lsn::new(0)));
        }
    }

    pub(crate) fn count(&self, journal: &Journal, key: u64) -> Lsn {
        let mut shard = self.shards[usize::try_from(key % 4).unwrap()].lock().unwrap();
        let count = shard.counts.get(&key).map_or(0, |(count, _)| *count) + 1;
        let lsn = journal
            .append(|entry| {
                entry.put(&key.to_be_bytes());
                entry.put(&count.to_be_bytes());
                let lsn = entry.lsn();
                entry.push_cdr(&lsn.get().to_be_bytes());
            })
            .lsn;
        shard.counts.insert(key, (count, lsn));
        if !shard.dirty.contains(&key) {
            shard.dirty.push(key);
        }
        lsn
    }
}

impl DirtySource for Counters {
    fn shards(&self) -> usize {
        self.shards.len()
    }

    fn dirty_len(&self, shard: usize) -> usize {
        self.shards[shard].lock().unwrap().dirty.len()
    }

    /// Each change also makes a record that nobody asks for: a sweep may not count records for changes.
    fn take_dirty(&self, shard: usize, max: usize, records: &mut Vec<DirtyRecord>) -> usize {
        let mut shard = self.shards[shard].lock().unwrap();
        let take = max.min(shard.dirty.len());
        let keys: Vec<u64> = shard.dirty.drain(..take).collect();
        for key in &keys {
            let (count, lsn) = shard.counts[key];
            let value = [lsn.get().to_be_bytes(), count.to_be_bytes()].concat();
            let key = key.to_be_bytes().to_vec();
            records.push(DirtyRecord { family: Family::Mutations, key: key.clone(), value: None, lsn });
            records.push(DirtyRecord { family: Family::Accounts, key, value: Some(value), lsn });
        }
        keys.len()
    }
}

/// Rebuilds the counters from the state and the log's tail, as a start does.
pub(crate) fn rebuild(state: &dyn StateStore, log: &dyn Log) -> BTreeMap<u64, u64> {
    let number = |octets: &[u8]| u64::from_be_bytes(octets.try_into().unwrap());
    let mut counts = BTreeMap::new();
    // Read first: a sweep that ends meanwhile moves it, and the records below are as of before.
    let checkpoint = state.checkpoint_lsn().unwrap();
    state
        .load(Family::Accounts, &KeyRange::ALL, &mut |key, value| {
            counts.insert(number(key), (number(&value[..8]), number(&value[8..])));
        })
        .unwrap();
    let (mut cursor, mut frame) = (LogCursor::from(checkpoint.next()), Frame::new());
    while log.read_next(&mut cursor, &mut frame).unwrap() {
        for (lsn, entry) in frame.entries() {
            let known = counts.entry(number(&entry[..8])).or_insert((0, 0));
            if lsn.get() > known.0 {
                *known = (lsn.get(), number(&entry[8..]));
            }
        }
    }
    counts.into_iter().map(|(key, (_, count))| (key, count)).collect()
}

struct Parts {
    log: Arc<dyn Log>,
    journal: Journal,
    state: Arc<MemoryState>,
    counters: Arc<Counters>,
    line: Arc<CutLine>,
}

fn parts() -> Parts {
    let (log, _) = open(&FaultDisk::new(1)).unwrap();
    let journal = Journal::start(log.clone(), JournalOptions::default(), hooks()).unwrap();
    let line = Arc::new(CutLine::new(log.clone(), Lsn::new(0), Lsn::new(u64::MAX)));
    Parts { log, journal, state: Arc::new(MemoryState::new()), counters: Counters::new(), line }
}

fn start(parts: &Parts, options: CheckpointOptions) -> Checkpointer {
    Checkpointer::start(
        Arc::clone(&parts.log),
        Arc::clone(parts.journal.mark()),
        parts.state.clone(),
        parts.counters.clone(),
        Arc::clone(&parts.line),
        options,
        CheckpointHooks::new(quiet()),
    )
    .unwrap()
}

#[test]
fn state_and_tail_together_are_everything_at_any_moment() {
    let parts = parts();
    let options =
        CheckpointOptions { interval: Duration::from_millis(3), share_percent: 100, ..CheckpointOptions::default() };
    // Reading state and tail takes a moment; the log must not be cut in it.
    let reading = parts.line.hold("the test", Lsn::new(0));
    let checkpointer = start(&parts, options);
    let mut truth = BTreeMap::new();
    for number in 0..3000u64 {
        let key = number * 7919 % 301;
        let lsn = parts.counters.count(&parts.journal, key);
        *truth.entry(key).or_insert(0) += 1;
        if number % 500 == 499 {
            parts.journal.mark().wait_for(lsn).unwrap();
            assert_eq!(rebuild(&*parts.state, &*parts.log), truth);
            reading.release(parts.state.checkpoint_lsn().unwrap());
        }
    }
    reading.release(Lsn::new(3000));
    assert!(checkpointer.checkpoint_now());
    assert_eq!(parts.state.checkpoint_lsn().unwrap(), Lsn::new(3000));
    assert!(parts.log.position().first_lsn > Lsn::new(1), "the log was cut");
    assert_eq!(rebuild(&*parts.state, &*parts.log), truth);
    checkpointer.shutdown();
}

/// Counts once more in the first shard, durably, while the sweep is at the last one.
struct Meanwhile {
    counters: Arc<Counters>,
    journal: Arc<Journal>,
}

impl DirtySource for Meanwhile {
    fn shards(&self) -> usize {
        self.counters.shards()
    }

    fn dirty_len(&self, shard: usize) -> usize {
        self.counters.dirty_len(shard)
    }

    fn take_dirty(&self, shard: usize, max: usize, records: &mut Vec<DirtyRecord>) -> usize {
        let taken = self.counters.take_dirty(shard, max, records);
        if shard == 3 {
            let lsn = self.counters.count(&self.journal, 0);
            self.journal.mark().wait_for(lsn).unwrap();
        }
        taken
    }
}

#[test]
fn the_checkpoint_is_where_the_sweep_began() {
    let (log, _) = open(&FaultDisk::new(1)).unwrap();
    let journal = Arc::new(Journal::start(log.clone(), JournalOptions::default(), hooks()).unwrap());
    let (state, counters) = (Arc::new(MemoryState::new()), Counters::new());
    for key in 0..4 {
        let _ = counters.count(&journal, key);
    }
    journal.mark().wait_for(Lsn::new(4)).unwrap();
    let checkpointer = Checkpointer::start(
        log.clone(),
        Arc::clone(journal.mark()),
        state.clone(),
        Arc::new(Meanwhile { counters, journal: Arc::clone(&journal) }),
        Arc::new(CutLine::new(log.clone(), Lsn::new(0), Lsn::new(u64::MAX))),
        CheckpointOptions { interval: Duration::from_secs(3600), ..CheckpointOptions::default() },
        CheckpointHooks::new(quiet()),
    )
    .unwrap();
    assert!(checkpointer.checkpoint_now());
    assert_eq!(journal.mark().get(), Lsn::new(5));
    assert_eq!(state.checkpoint_lsn().unwrap(), Lsn::new(4), "what changed meanwhile is replayed from the log");
    assert_eq!(rebuild(&*state, &*log)[&0], 2);
}

#[test]
fn a_checkpoint_asked_for_holds_all_that_was_durable() {
    let parts = parts();
    let checkpointer =
        start(&parts, CheckpointOptions { interval: Duration::from_secs(3600), ..CheckpointOptions::default() });
    let lsn = parts.counters.count(&parts.journal, 5);
    parts.journal.mark().wait_for(lsn).unwrap();
    assert!(checkpointer.checkpoint_now());
    assert_eq!(parts.state.checkpoint_lsn().unwrap(), lsn);
    assert!(parts.state.get(Family::Accounts, &5u64.to_be_bytes()).unwrap().is_some());
}

#[test]
fn a_long_tail_starts_a_sweep_before_its_time() {
    let parts = parts();
    let options = CheckpointOptions {
        interval: Duration::from_secs(3600),
        tail_octets_max: 64 << 10,
        ..CheckpointOptions::default()
    };
    let checkpointer = start(&parts, options);
    let mut lsn = Lsn::new(0);
    for number in 0..2000 {
        lsn = parts.counters.count(&parts.journal, number % 50);
    }
    parts.journal.mark().wait_for(lsn).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while parts.state.checkpoint_lsn().unwrap() == Lsn::new(0) {
        assert!(std::time::Instant::now() < deadline, "no sweep began");
        std::thread::sleep(Duration::from_millis(10));
    }
    checkpointer.shutdown();
}

#[test]
fn records_that_never_became_durable_are_never_written() {
    let disk = FaultDisk::new(1);
    let (log, _) = open(&disk).unwrap();
    let journal = Journal::start(log.clone(), JournalOptions::default(), hooks()).unwrap();
    let line = Arc::new(CutLine::new(log.clone(), Lsn::new(0), Lsn::new(u64::MAX)));
    let parts = Parts { log, journal, state: Arc::new(MemoryState::new()), counters: Counters::new(), line };
    let checkpointer =
        start(&parts, CheckpointOptions { interval: Duration::from_secs(3600), ..CheckpointOptions::default() });
    disk.fail_after(1);
    let _ = parts.counters.count(&parts.journal, 1);
    assert!(!checkpointer.checkpoint_now(), "there is no checkpoint without a log");
    assert_eq!(parts.state.get(Family::Accounts, &1u64.to_be_bytes()).unwrap(), None);
}

/// A log whose entries are on the disk up to its last sync only, and a state store that makes records durable at once.
struct LeftToTheKernel {
    log: MemoryLog,
    state: MemoryState,
    on_disk: AtomicU64,
    written: AtomicU64,
}

impl Log for LeftToTheKernel {
    fn append(&self, batch: &mut Batch) -> Result<(), LogError> {
        self.log.append(batch)
    }

    fn read_next(&self, cursor: &mut LogCursor, frame: &mut Frame) -> Result<bool, LogError> {
        self.log.read_next(cursor, frame)
    }

    fn cut_below(&self, lsn: Lsn) -> Result<(), LogError> {
        self.log.cut_below(lsn)
    }

    fn position(&self) -> LogPosition {
        self.log.position()
    }

    fn tail_octets(&self) -> u64 {
        self.log.tail_octets()
    }

    fn sync(&self) -> Result<(), LogError> {
        self.on_disk.store(self.log.position().last_lsn().get(), Ordering::SeqCst);
        Ok(())
    }
}

impl StateStore for LeftToTheKernel {
    fn write(&self, writes: &[StateWrite<'_>]) -> Result<(), StateError> {
        let on_disk = self.on_disk.load(Ordering::SeqCst);
        for value in writes.iter().filter_map(|write| write.value) {
            let lsn = u64::from_be_bytes(value[..8].try_into().unwrap());
            assert!(lsn <= on_disk, "the record of LSN {lsn} may be durable now, the log only up to {on_disk}");
            self.written.fetch_add(1, Ordering::SeqCst);
        }
        self.state.write(writes)
    }

    fn checkpoint(&self, lsn: Lsn) -> Result<(), StateError> {
        assert!(lsn.get() <= self.on_disk.load(Ordering::SeqCst));
        self.state.checkpoint(lsn)
    }

    fn checkpoint_lsn(&self) -> Result<Lsn, StateError> {
        self.state.checkpoint_lsn()
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.state.get(family, key)
    }

    fn ranges(&self, family: Family, parts: usize) -> Result<Vec<KeyRange>, StateError> {
        self.state.ranges(family, parts)
    }

    fn load(&self, family: Family, range: &KeyRange, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StateError> {
        self.state.load(family, range, each)
    }
}

#[test]
fn no_record_is_written_before_its_entry_is_on_the_disk_itself() {
    let both = Arc::new(LeftToTheKernel {
        log: MemoryLog::new(),
        state: MemoryState::new(),
        on_disk: AtomicU64::new(0),
        written: AtomicU64::new(0),
    });
    let journal = Journal::start(both.clone(), JournalOptions::default(), hooks()).unwrap();
    let counters = Counters::new();
    let checkpointer = Checkpointer::start(
        both.clone(),
        Arc::clone(journal.mark()),
        both.clone(),
        counters.clone(),
        Arc::new(CutLine::new(both.clone(), Lsn::new(0), Lsn::new(u64::MAX))),
        CheckpointOptions { interval: Duration::from_secs(3600), ..CheckpointOptions::default() },
        CheckpointHooks::new(quiet()),
    )
    .unwrap();
    for round in 0..3 {
        for key in 0..600 {
            let _ = counters.count(&journal, key + round);
        }
        assert!(checkpointer.checkpoint_now());
    }
    assert!(both.written.load(Ordering::SeqCst) > 1500);
}
