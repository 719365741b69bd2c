//! A real process on a real disk, killed while it works, started again on what it left.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance_store::{
    CdrMover, CdrMoverOptions, CdrOptions, CdrPosition, CdrStore, CheckpointHooks, CheckpointOptions, Checkpointer,
    CutLine, DataFolder, Journal, JournalHooks, JournalOptions, Log, LogOptions, Lsn, RealDisk, RocksOptions,
    RocksState, SegmentLog, StateStore,
};

use crate::checkpoint::{Counters, rebuild};
use crate::support::setting;

const FOLDER: &str = "STORE_KILL_FOLDER";
const KEYS: u64 = 97;

/// Everything a process has open.
struct Process {
    _folder: DataFolder,
    log: Arc<dyn Log>,
    state: Arc<RocksState>,
    cdrs: Arc<CdrStore>,
}

impl Process {
    fn start(path: &Path) -> Self {
        let folder = DataFolder::open(path, |_, _| Err("nothing to migrate".into())).unwrap();
        let state = Arc::new(RocksState::open(&folder.state(), RocksOptions::default()).unwrap());
        let options = LogOptions { segment_octets: 64 << 10, ..LogOptions::default() };
        let (log, recovered) = SegmentLog::open(Arc::new(RealDisk), &folder.log(), options).unwrap();
        recovered.position.check_checkpoint(state.checkpoint_lsn().unwrap()).unwrap();
        let options = CdrOptions { segment_octets: 64 << 10, ..CdrOptions::default() };
        let cdrs = Arc::new(CdrStore::open(Arc::new(RealDisk), &folder.cdrs(), options, &recovered.position).unwrap());
        Self { _folder: folder, log: Arc::new(log), state, cdrs }
    }

    fn line(&self) -> CutLine {
        CutLine::new(Arc::clone(&self.log), self.state.checkpoint_lsn().unwrap(), self.cdrs.durable().lsn)
    }

    /// Counts until killed; says on standard output what is durable.
    fn work(&self, seconds: u64) {
        let counters = Counters::new();
        counters.restore(rebuild(&*self.state, &*self.log));
        let hooks = JournalHooks::new(Arc::new(|_| std::process::exit(3)));
        let journal = Journal::start(Arc::clone(&self.log), JournalOptions::default(), hooks.clone()).unwrap();
        let (line, mark) = (Arc::new(self.line()), Arc::clone(journal.mark()));
        let (log, cdrs) = (Arc::clone(&self.log), Arc::clone(&self.cdrs));
        let options = CdrMoverOptions { sync_interval: Duration::from_millis(3), ..CdrMoverOptions::default() };
        let _mover =
            CdrMover::start(log, Arc::clone(&mark), cdrs, Arc::clone(&line), options, hooks.failure.clone()).unwrap();
        let (log, state) = (Arc::clone(&self.log), Arc::clone(&self.state));
        let options = CheckpointOptions {
            interval: Duration::from_millis(5),
            share_percent: 100,
            ..CheckpointOptions::default()
        };
        let hooks = CheckpointHooks::new(hooks.failure);
        let _checkpointer = Checkpointer::start(log, mark, state, counters.clone(), line, options, hooks).unwrap();
        let (until, mut told) = (Instant::now() + Duration::from_secs(seconds), Lsn::new(0));
        while Instant::now() < until {
            let mut last = Lsn::new(0);
            for _ in 0..20 {
                last = counters.count(&journal, journal.appended_lsn().next().get() % KEYS);
            }
            journal.mark().wait_for(last).unwrap();
            assert!(last > told);
            told = last;
            let mut out = std::io::stdout().lock();
            writeln!(out, "durable {told}").unwrap();
            out.flush().unwrap();
        }
    }
}

/// Not a test: what the test below starts and kills.
#[test]
#[ignore = "started by a_killed_process_loses_nothing_it_acknowledged"]
fn process() {
    if let Ok(folder) = std::env::var(FOLDER) {
        Process::start(Path::new(&folder)).work(30);
    }
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..setting("KILL_ROUNDS", 3) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::process", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while seen < 40 + round * 35 {
            let line = lines.next().expect("the process ended by itself").unwrap();
            if let Some(lsn) = line.strip_prefix("durable ") {
                acknowledged = lsn.parse().unwrap();
                seen += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            acknowledged =
                line.strip_prefix("durable ").map_or(acknowledged, |lsn| lsn.parse().unwrap_or(acknowledged));
        }
        check(folder.path(), acknowledged);
    }
}

/// Entry n counts key n modulo [`KEYS`] and has one CDR that says n: the truth needs no record.
fn check(folder: &Path, acknowledged: u64) {
    let process = Process::start(folder);
    let last = process.log.position().last_lsn().get();
    assert!(last >= acknowledged, "acknowledged up to {acknowledged}, found up to {last}");
    let counts = rebuild(&*process.state, &*process.log);
    for key in 0..KEYS {
        let expected = u64::try_from((1..=last).filter(|lsn| lsn % KEYS == key).count()).unwrap();
        assert_eq!(counts.get(&key).copied().unwrap_or(0), expected, "key {key}");
    }
    let journal = Journal::start(
        Arc::clone(&process.log),
        JournalOptions::default(),
        JournalHooks::new(Arc::new(|error| panic!("{error}"))),
    )
    .unwrap();
    let line = Arc::new(process.line());
    let mover = CdrMover::start(
        Arc::clone(&process.log),
        Arc::clone(journal.mark()),
        Arc::clone(&process.cdrs),
        line,
        CdrMoverOptions::default(),
        Arc::new(|error| panic!("{error}")),
    )
    .unwrap();
    process.cdrs.mark().wait_for_at_most(CdrPosition::new(last), Duration::from_secs(10)).unwrap();
    mover.shutdown();
    let mut reader = process.cdrs.reader(CdrPosition::new(1)).unwrap();
    let mut read = 0u64;
    while let Some(record) = reader.read_next().unwrap() {
        read += 1;
        assert_eq!(record.octets, read.to_be_bytes());
    }
    assert_eq!(read, last, "every CDR is there, once");
}
