//! Crashes at random places, again and again, on a disk that forgets and tears.
//!
//! `CAMPAIGN_CASES` says how many stories are told, `CAMPAIGN_SEED` where they begin; a failure names its seed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use balance_store::{
    CdrError, CdrMover, CdrMoverOptions, CdrOptions, CdrPosition, CdrStore, Crash, CutLine, FailureHook, FaultDisk,
    HashChain, Journal, JournalHooks, JournalOptions, Log, Lsn, SegmentLog,
};

use crate::support::{Random, open, read, setting};

/// What was appended, by LSN and by CDR position; the truth the disk is compared with.
#[derive(Default)]
struct Model {
    entries: Vec<Vec<u8>>,
    /// How many CDRs there were after each entry.
    cdr_ends: Vec<usize>,
    cdrs: Vec<Vec<u8>>,
    /// What anybody was told is durable.
    acknowledged: u64,
    cdrs_acknowledged: u64,
}

impl Model {
    fn forget_above(&mut self, lsn: u64) {
        let kept = usize::try_from(lsn).unwrap();
        self.entries.truncate(kept);
        self.cdr_ends.truncate(kept);
        self.cdrs.truncate(self.cdr_ends.last().copied().unwrap_or(0));
    }

    fn check_log(&self, log: &dyn Log) {
        let position = log.position();
        let last = position.last_lsn().get();
        assert!(last >= self.acknowledged, "acknowledged up to {}, found up to {last}", self.acknowledged);
        assert!(last <= u64::try_from(self.entries.len()).unwrap(), "nothing is invented");
        let first = usize::try_from(position.first_lsn.get()).unwrap() - 1;
        let last = usize::try_from(last).unwrap();
        let (entries, cdrs) = read(log, position.first_lsn.get()).unwrap();
        assert_eq!(entries, self.entries[first..last]);
        let cdr_end = |lsn: usize| if lsn == 0 { 0 } else { self.cdr_ends[lsn - 1] };
        assert_eq!(cdrs, self.cdrs[cdr_end(first)..cdr_end(last)]);
        assert_eq!(position.next_cdr.get(), u64::try_from(cdr_end(last)).unwrap() + 1);
    }

    /// The CDR store holds the first so many CDRs, under the right chain.
    fn check_cdrs(&self, store: &Arc<CdrStore>) {
        let durable = store.durable().position.get();
        assert!(durable >= self.cdrs_acknowledged, "CDRs up to {}, found up to {durable}", self.cdrs_acknowledged);
        let mut reader = store.reader(CdrPosition::new(1)).unwrap();
        let (mut read, mut chain) = (0, HashChain::START);
        while let Some(record) = reader.read_next().unwrap() {
            chain = chain.after(&self.cdrs[read]);
            assert_eq!((record.octets, record.chain), (self.cdrs[read].as_slice(), chain));
            read += 1;
        }
        assert_eq!(u64::try_from(read).unwrap(), durable);
    }
}

fn open_cdrs(disk: &FaultDisk, log: &dyn Log) -> Result<Arc<CdrStore>, CdrError> {
    let options = CdrOptions { block_octets: 1000, segment_octets: 8000 };
    CdrStore::open(Arc::new(disk.clone()), Path::new("data/cdr"), options, &log.position()).map(Arc::new)
}

/// One process: everything it opens and starts.
struct Life {
    store: Arc<CdrStore>,
    journal: Journal,
    mover: CdrMover,
    line: Arc<CutLine>,
    failed: Arc<AtomicBool>,
}

impl Life {
    fn begin(log: Arc<SegmentLog>, store: Arc<CdrStore>) -> Self {
        let failed = Arc::new(AtomicBool::new(false));
        let hook: FailureHook = {
            let failed = Arc::clone(&failed);
            Arc::new(move |_| failed.store(true, Ordering::SeqCst))
        };
        let journal =
            Journal::start(log.clone(), JournalOptions::default(), JournalHooks::new(Arc::clone(&hook))).unwrap();
        let line = Arc::new(CutLine::new(log.clone(), Lsn::new(0), store.durable().lsn));
        let options = CdrMoverOptions { sync_interval: Duration::from_millis(1), sync_octets: 4000 };
        let (mark, cdrs) = (Arc::clone(journal.mark()), Arc::clone(&store));
        let mover = CdrMover::start(log.clone(), mark, cdrs, Arc::clone(&line), options, hook).unwrap();
        Self { store, journal, mover, line, failed }
    }

    /// Appends for a while; `false` when the disk failed meanwhile.
    fn work(&self, random: &mut Random, model: &mut Model) -> bool {
        for _ in 0..random.below(150) {
            let (octets, cdrs) = (random.octets(900), random.below(3));
            let cdrs: Vec<Vec<u8>> = (0..cdrs).map(|_| random.octets(200)).collect();
            let appended = self.journal.append(|entry| {
                entry.put(&octets);
                for cdr in &cdrs {
                    entry.push_cdr(cdr);
                }
            });
            model.entries.push(octets);
            model.cdrs.extend(cdrs);
            model.cdr_ends.push(model.cdrs.len());
            assert_eq!(appended.lsn.get(), u64::try_from(model.entries.len()).unwrap());
            if random.below(4) == 0 && self.journal.mark().wait_for(appended.lsn).is_err() {
                return false;
            }
            if random.below(20) == 0 {
                let durable = self.journal.mark().get().get();
                self.line.state().release(Lsn::new(random.below(durable + 1)));
                if random.below(2) == 0 && self.line.cut().is_err() {
                    return false;
                }
            }
        }
        true
    }
}

fn story(seed: u64) {
    let mut random = Random(seed);
    let mut disk = FaultDisk::new(seed ^ 0xD15C);
    let mut model = Model::default();
    for life in 0..6 {
        let mut crash = || if random.below(2) == 0 { Crash::Kill } else { Crash::PowerLoss };
        let (crash, crash_early) = (crash(), crash());
        let bad_start = random.below(5) == 0;
        if bad_start {
            disk.fail_after(1 + random.below(20));
        }
        let opened = open(&disk).map_err(|error| error.to_string()).and_then(|(log, recovered)| {
            // What a start has seen counts as durable: it may be shown to others from now on.
            assert!(recovered.position.last_lsn().get() >= model.acknowledged);
            model.acknowledged = recovered.position.last_lsn().get();
            open_cdrs(&disk, &*log).map(|store| (log, store)).map_err(|error| error.to_string())
        });
        let (log, store) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                assert!(bad_start, "life {life}: {error}");
                disk = disk.restart(crash_early);
                continue;
            }
        };
        if !bad_start {
            model.check_log(&*log);
            model.check_cdrs(&store);
            store.check_log(&log.position()).unwrap();
        }
        model.forget_above(log.position().last_lsn().get());
        model.cdrs_acknowledged = store.durable().position.get();
        let mut faulty = bad_start;
        if random.below(3) > 0 {
            disk.fail_after(1 + random.below(200));
            faulty = true;
        }
        if random.below(8) == 0 {
            disk.fail_sync_after(random.below(30));
            faulty = true;
        }
        let life = Life::begin(log, store);
        let worked = life.work(&mut random, &mut model);
        if !faulty {
            assert!(worked && !life.failed.load(Ordering::SeqCst), "nothing fails on a sound disk");
        }
        if random.below(4) == 0 {
            life.journal.shutdown();
        }
        let after = disk.restart(crash);
        life.journal.shutdown();
        life.mover.shutdown();
        model.acknowledged = life.journal.mark().get().get();
        model.cdrs_acknowledged = life.store.durable().position.get();
        disk = after;
    }
    let disk = disk.restart(Crash::PowerLoss);
    let (log, _) = open(&disk).unwrap();
    let store = open_cdrs(&disk, &*log).unwrap();
    model.check_log(&*log);
    model.check_cdrs(&store);
    model.forget_above(log.position().last_lsn().get());
    let life = Life::begin(log, Arc::clone(&store));
    life.mover.shutdown();
    assert!(!life.failed.load(Ordering::SeqCst));
    assert_eq!(store.durable().position.get(), u64::try_from(model.cdrs.len()).unwrap(), "every CDR arrives");
    model.check_cdrs(&store);
}

#[test]
fn what_was_acknowledged_survives_every_crash_and_nothing_is_invented() {
    let (first, cases) = (setting("CAMPAIGN_SEED", 1), setting("CAMPAIGN_CASES", 40));
    for seed in first..first + cases {
        let told = std::thread::Builder::new().spawn(move || story(seed)).unwrap().join();
        assert!(told.is_ok(), "the story of CAMPAIGN_SEED={seed} failed (CAMPAIGN_CASES=1 tells it alone)");
    }
}
