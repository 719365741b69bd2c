//! The journal: LSNs under one lock, batches in the background, a mark to wait for.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use balance_store::{
    Batch, CdrPosition, Disk, FaultDisk, Frame, Journal, JournalHooks, JournalOptions, Log, LogCursor, LogError,
    LogPosition, Lsn, MarkStopped, MemoryLog,
};

use crate::support::{LOG, hooks, open, quiet, read};

#[test]
fn the_closure_knows_its_lsn_and_its_cdr_positions() {
    let log = Arc::new(MemoryLog::new());
    let journal = Journal::start(log.clone(), JournalOptions::default(), hooks()).unwrap();
    let appended = journal.append(|entry| {
        assert_eq!((entry.lsn(), entry.next_cdr()), (Lsn::new(1), CdrPosition::new(1)));
        entry.put(b"first");
        assert_eq!(entry.push_cdr(b"a"), CdrPosition::new(1));
        entry.buffer().extend_from_slice(b" entry");
        assert_eq!(entry.push_cdr_with(|_, buffer| buffer.push(b'b')), CdrPosition::new(2));
    });
    assert_eq!((appended.lsn, appended.first_cdr, appended.cdr_count), (Lsn::new(1), CdrPosition::new(1), 2));
    let appended = journal.append(|entry| entry.put(b"second"));
    assert_eq!((appended.lsn, appended.first_cdr, appended.cdr_count), (Lsn::new(2), CdrPosition::new(3), 0));
    assert_eq!(journal.appended_lsn(), Lsn::new(2));
    journal.mark().wait_for(appended.lsn).unwrap();
    let (entries, cdrs) = read(&*log, 1).unwrap();
    assert_eq!(entries, [b"first entry".to_vec(), b"second".to_vec()]);
    assert_eq!(cdrs, [b"a".to_vec(), b"b".to_vec()]);
}

#[test]
fn many_threads_get_distinct_lsns_and_all_become_durable() {
    let disk = FaultDisk::new(1);
    let (log, _) = open(&disk).unwrap();
    let commits = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&commits);
    let hooks = JournalHooks {
        failure: quiet(),
        committed: Arc::new(move |stats| {
            counted.fetch_add(stats.entries, Ordering::SeqCst);
        }),
    };
    let journal = Arc::new(Journal::start(log.clone(), JournalOptions::default(), hooks).unwrap());
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            let journal = Arc::clone(&journal);
            std::thread::spawn(move || {
                for number in 0..200u64 {
                    let appended = journal.append(|entry| {
                        let lsn = entry.lsn().get().to_le_bytes();
                        entry.put(&lsn);
                        entry.push_cdr(&thread.to_le_bytes());
                    });
                    if number % 50 == 0 {
                        journal.mark().wait_for(appended.lsn).unwrap();
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    journal.shutdown();
    assert_eq!(journal.mark().get(), Lsn::new(800));
    assert_eq!(commits.load(Ordering::SeqCst), 800);
    let (entries, cdrs) = read(&*log, 1).unwrap();
    assert!((1..=800u64).zip(&entries).all(|(lsn, entry)| entry == &lsn.to_le_bytes()));
    assert_eq!((entries.len(), cdrs.len()), (800, 800));
}

#[test]
fn a_failed_commit_raises_nothing_tells_once_and_leaves_appends_harmless() {
    let disk = FaultDisk::new(1);
    let (log, _) = open(&disk).unwrap();
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    let hooks = JournalHooks::new(Arc::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    let journal = Journal::start(log, JournalOptions::default(), hooks).unwrap();
    let good = journal.append(|entry| entry.put(b"good")).lsn;
    journal.mark().wait_for(good).unwrap();
    disk.fail_after(1);
    let bad = journal.append(|entry| entry.put(b"bad")).lsn;
    assert_eq!(journal.mark().wait_for(bad), Err(MarkStopped));
    let worse = journal.append(|entry| entry.put(&[0; 1000])).lsn;
    assert!(worse > bad);
    assert!(journal.is_saturated() && journal.has_failed());
    assert!(journal.pending_octets() < 1000, "nothing piles up");
    journal.shutdown();
    assert_eq!(journal.mark().get(), good);
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

/// A log whose appends wait until the gate is open.
struct Gated {
    log: Arc<dyn Log>,
    gate: Mutex<bool>,
    opened: Condvar,
}

impl Gated {
    fn open(&self) {
        *self.gate.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl Log for Gated {
    fn append(&self, batch: &mut Batch) -> Result<(), LogError> {
        drop(self.opened.wait_while(self.gate.lock().unwrap(), |open| !*open).unwrap());
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
}

#[test]
fn an_entry_after_the_end_is_never_reached_and_takes_none_before_it_along() {
    for round in 0..20u64 {
        let log = Arc::new(Gated { log: Arc::new(MemoryLog::new()), gate: Mutex::new(false), opened: Condvar::new() });
        let journal = Arc::new(Journal::start(log.clone(), JournalOptions::default(), hooks()).unwrap());
        let append = |name: u64| {
            journal.append(|entry| {
                entry.put(&name.to_le_bytes());
                entry.push_cdr(&name.to_le_bytes());
            })
        };
        // The committer waits with the first; the others are in the open batch when the end comes.
        let before: Vec<_> = (0..6).map(append).collect();
        let ending = std::thread::spawn({
            let journal = journal.clone();
            move || journal.shutdown()
        });
        std::thread::sleep(Duration::from_millis(round));
        let racing: Vec<_> = (6..9).map(append).collect();
        log.open();
        ending.join().unwrap();
        let after: Vec<_> = (9..12).map(append).collect();
        let reached = journal.mark().get();
        assert!(before.iter().all(|appended| appended.lsn <= reached), "what came before the end is durable");
        for appended in &after {
            assert_eq!(journal.mark().wait_for(appended.lsn), Err(MarkStopped));
        }
        // Whatever the mark reached is in the log, in its place, and nothing else is.
        let (entries, cdrs) = read(&*log, 1).unwrap();
        let all = before.iter().chain(&racing).chain(&after);
        let durable = (0u64..).zip(all).filter(|(_, appended)| appended.lsn <= reached);
        let durable: Vec<_> = durable.map(|(name, _)| name.to_le_bytes().to_vec()).collect();
        assert_eq!((&entries, &cdrs), (&durable, &durable));
        assert_eq!(reached.get(), durable.len() as u64);
        let mut lsns: Vec<_> = before.iter().chain(&racing).chain(&after).map(|appended| appended.lsn).collect();
        lsns.dedup();
        assert_eq!(lsns.len(), 12, "no number is given twice");
    }
}

#[test]
fn an_encoder_that_panics_leaves_no_trace() {
    let log = Arc::new(MemoryLog::new());
    let journal = Journal::start(log.clone(), JournalOptions::default(), hooks()).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        journal.append(|entry| {
            entry.put(b"half");
            entry.push_cdr(b"half");
            panic!("encoder");
        })
    }));
    assert!(panicked.is_err());
    let appended = journal.append(|entry| entry.put(b"whole"));
    assert_eq!((appended.lsn, appended.first_cdr), (Lsn::new(1), CdrPosition::new(1)));
    journal.shutdown();
    assert_eq!(read(&*log, 1).unwrap().0, [b"whole".to_vec()]);
}

#[test]
fn an_encoder_that_shortens_the_buffer_stops_the_log_instead_of_spoiling_it() {
    let log = Arc::new(MemoryLog::new());
    let journal = Journal::start(log.clone(), JournalOptions::default(), hooks()).unwrap();
    let appended = journal.append(|entry| entry.buffer().clear());
    assert_eq!(journal.mark().wait_for(appended.lsn), Err(MarkStopped));
    assert_eq!(log.position().last_lsn(), Lsn::new(0));
}

#[test]
fn a_batch_over_its_limit_says_so_and_still_takes_entries() {
    let log = Arc::new(MemoryLog::new());
    let options = JournalOptions { batch_octets_max: 10, ..JournalOptions::default() };
    let journal = Journal::start(log, options, hooks()).unwrap();
    let mut saturated = false;
    for _ in 0..1000 {
        let _ = journal.append(|entry| entry.put(&[1; 100]));
        saturated |= journal.is_saturated();
    }
    assert!(saturated);
    journal.mark().wait_for(Lsn::new(1000)).unwrap();
    assert!(!journal.is_saturated());
}

#[test]
fn what_piles_up_behind_a_slow_disk_is_written_in_frames_of_bounded_length() {
    let disk = FaultDisk::new(1);
    let (log, _) = open(&disk).unwrap();
    let gated = Arc::new(Gated { log: log.clone(), gate: Mutex::new(false), opened: Condvar::new() });
    let options = JournalOptions { frame_octets_max: 4 << 10, ..JournalOptions::default() };
    let journal = Journal::start(gated.clone(), options, hooks()).unwrap();
    let mut last = Lsn::new(0);
    for number in 0..200u64 {
        let appended = journal.append(|entry| {
            entry.put(&[7; 500]);
            entry.push_cdr(&number.to_le_bytes());
        });
        assert_eq!(appended.lsn, last.next());
        last = appended.lsn;
    }
    assert!(journal.pending_octets() > 90_000, "{}", journal.pending_octets());
    gated.open();
    journal.mark().wait_for(last).unwrap();
    assert_eq!(journal.pending_octets(), 0);
    let (entries, cdrs) = read(&*log, 1).unwrap();
    assert!(entries.len() == 200 && (0..200u64).zip(&cdrs).all(|(number, cdr)| *cdr == number.to_le_bytes()));
    let (mut cursor, mut frame) = (LogCursor::from(Lsn::new(1)), Frame::new());
    while log.read_next(&mut cursor, &mut frame).unwrap() {
        assert!(frame.octets() < 5 << 10, "{}", frame.octets());
    }
    for name in disk.list(Path::new(LOG)).unwrap() {
        let octets = disk.contents(&Path::new(LOG).join(&name)).unwrap().len();
        assert_eq!(octets, 16 << 10, "{name} was made for one frame");
    }
}

#[test]
fn a_tail_over_its_limit_says_so_first_for_new_work_and_then_for_all() {
    let log = Arc::new(MemoryLog::new());
    let options = JournalOptions { tail_octets_max: 100_000, ..JournalOptions::default() };
    let journal = Journal::start(log.clone(), options, hooks()).unwrap();
    let mut seen = Vec::new();
    for _ in 0..20 {
        let lsn = journal.append(|entry| entry.put(&[1; 10_000])).lsn;
        journal.mark().wait_for(lsn).unwrap();
        let now = (journal.is_saturated(), journal.is_tail_full());
        assert_eq!(now, (log.tail_octets() >= 100_000, log.tail_octets() >= 125_000));
        seen.push(now);
    }
    assert!([(false, false), (true, false), (true, true)].iter().all(|state| seen.contains(state)));
    log.cut_below(journal.mark().get()).unwrap();
    assert!(!journal.is_saturated());
}
