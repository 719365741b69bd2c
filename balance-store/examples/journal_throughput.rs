//! How many entries a second the journal makes durable, and how long a waiter waits.
//!
//! `cargo run --release -p balance-store --example journal_throughput -- [folder] [seconds] [threads] [entries per wait] [fsync|os] [keep]`
//! With `keep` the log is never cut, so that a second run tells how long recovery takes.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use balance_store::{
    CdrMover, CdrMoverOptions, CdrOptions, CdrStore, CutLine, Durability, Journal, JournalHooks, JournalOptions, Log,
    LogOptions, RealDisk, SegmentLog,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "throughput-data".into()));
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (seconds, threads, group) = (number(5)?, number(2)?, number(64)?);
    let durability = if arguments.next().as_deref() == Some("os") { Durability::Os } else { Durability::Fsync };
    let options = LogOptions { durability, ..LogOptions::default() };
    let keep = arguments.next().as_deref() == Some("keep");
    let began = Instant::now();
    let (log, recovered) = SegmentLog::open(Arc::new(RealDisk), &folder.join("log"), options)?;
    println!("{} octets in {} frames recovered in {:?}", log.tail_octets(), recovered.frames, began.elapsed());
    let log: Arc<dyn Log> = Arc::new(log);
    log.tend()?;
    let store =
        Arc::new(CdrStore::open(Arc::new(RealDisk), &folder.join("cdr"), CdrOptions::default(), &recovered.position)?);
    let (commits, octets) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (counted, summed) = (Arc::clone(&commits), Arc::clone(&octets));
    let longest = Arc::new(AtomicU64::new(0));
    let worst = Arc::clone(&longest);
    let hooks = JournalHooks {
        failure: Arc::new(|error| eprintln!("failed: {error}")),
        committed: Arc::new(move |stats| {
            counted.fetch_add(1, Ordering::Relaxed);
            summed.fetch_add(stats.octets, Ordering::Relaxed);
            worst.fetch_max(u64::try_from(stats.took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }),
    };
    let journal = Arc::new(Journal::start(Arc::clone(&log), JournalOptions::default(), hooks)?);
    let line = Arc::new(CutLine::new(Arc::clone(&log), recovered.position.last_lsn(), store.durable().lsn));
    let state = line.state().clone();
    journal.mark().on_advance(move |lsn| state.release(lsn));
    let _kept = keep.then(|| line.hold("keep", recovered.position.first_lsn));
    let mover = CdrMover::start(
        Arc::clone(&log),
        Arc::clone(journal.mark()),
        store,
        line,
        CdrMoverOptions::default(),
        Arc::new(|error| eprintln!("failed: {error}")),
    )?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let journal = Arc::clone(&journal);
            std::thread::spawn(move || work(&journal, group, until))
        })
        .collect();
    let (mut entries, mut waits) = (0, Vec::new());
    for worker in workers {
        let (appended, waited) = worker.join().map_err(|_| "a worker panicked")?;
        entries += appended;
        waits.extend(waited);
    }
    waits.sort_unstable();
    let rank = |permille: usize| waits.get(waits.len() * permille / 1000).copied().unwrap_or_default();
    let commits = commits.load(Ordering::Relaxed).max(1);
    println!(
        "{durability:?}: {} entries/s, {} entries a commit, {} octets a commit, wait p50 {:?} p99 {:?} p99.9 {:?} max {:?}, longest commit {:?}",
        entries / seconds.max(1),
        entries / commits,
        octets.load(Ordering::Relaxed) / commits,
        rank(500),
        rank(990),
        rank(999),
        waits.last().copied().unwrap_or_default(),
        Duration::from_micros(longest.load(Ordering::Relaxed))
    );
    journal.shutdown();
    mover.shutdown();
    Ok(())
}

/// Appends entries of 700 octets with a CDR of 200, and waits after every group for the last.
fn work(journal: &Journal, group: u64, until: Instant) -> (u64, Vec<Duration>) {
    let (entry, cdr) = ([0x5A; 700], [0xA5; 200]);
    let (mut entries, mut waits) = (0, Vec::new());
    while Instant::now() < until {
        let began = Instant::now();
        let mut last = journal.appended_lsn();
        for _ in 0..group {
            last = journal
                .append(|writer| {
                    writer.put(&entry);
                    writer.push_cdr(&cdr);
                })
                .lsn;
        }
        if journal.mark().wait_for(last).is_err() {
            break;
        }
        waits.push(began.elapsed());
        entries += group;
    }
    (entries, waits)
}
