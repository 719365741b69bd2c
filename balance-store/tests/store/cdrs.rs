//! The CDR store: everything the log had, in order, whatever happens in between.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use balance_store::{
    CdrError, CdrMover, CdrMoverOptions, CdrOptions, CdrPosition, CdrStore, Crash, CutLine, Disk, FaultDisk, Frame,
    HashChain, Journal, JournalOptions, Log, LogCursor, Lsn, MemoryLog, RealDisk,
};

use crate::support::{EVERYTHING, append, hooks, open, quiet, read};

const CDRS: &str = "data/cdr";

fn small() -> CdrOptions {
    CdrOptions { block_octets: 300, segment_octets: 2000 }
}

fn open_at(disk: Arc<dyn Disk>, folder: &Path) -> Result<Arc<CdrStore>, CdrError> {
    CdrStore::open(disk, folder, small(), &EVERYTHING).map(Arc::new)
}

fn open_cdrs(disk: &FaultDisk) -> Result<Arc<CdrStore>, CdrError> {
    open_at(Arc::new(disk.clone()), Path::new(CDRS))
}

/// A log of `frames` frames with three CDRs each.
fn filled(frames: u64) -> MemoryLog {
    let log = MemoryLog::new();
    for frame in 0..frames {
        append(&log, &[(format!("entry {frame} a").as_bytes(), 2), (format!("entry {frame} b").as_bytes(), 1)])
            .unwrap();
    }
    log
}

/// Moves by hand what the log has from an LSN on, syncing after every `sync_every` frames.
fn move_by_hand(log: &dyn Log, store: &CdrStore, sync_every: usize) -> Result<(), CdrError> {
    let (mut cursor, mut frame) = (LogCursor::from(store.durable().lsn.next()), Frame::new());
    let mut moved = 0;
    while log.read_next(&mut cursor, &mut frame).unwrap() {
        store.append(&frame)?;
        moved += 1;
        if moved % sync_every == 0 {
            let _ = store.sync()?;
        }
    }
    store.sync().map(drop)
}

/// All CDRs from a position on; positions and chain are checked.
fn read_cdrs(store: &Arc<CdrStore>, from: u64) -> Result<Vec<Vec<u8>>, CdrError> {
    let mut reader = store.reader(CdrPosition::new(from))?;
    let (mut cdrs, mut next) = (Vec::new(), from);
    let mut chain = (from == 1).then_some(HashChain::START);
    while let Some(record) = reader.read_next()? {
        assert_eq!(record.position.get(), next);
        chain = chain.map(|chain| chain.after(record.octets));
        assert_eq!(chain.unwrap_or(record.chain), record.chain);
        next += 1;
        cdrs.push(record.octets.to_vec());
    }
    Ok(cdrs)
}

fn segments(disk: &FaultDisk) -> Vec<PathBuf> {
    let mut names = disk.list(Path::new(CDRS)).unwrap();
    names.sort();
    names.iter().map(|name| Path::new(CDRS).join(name)).collect()
}

#[test]
fn cdrs_are_read_back_from_any_position_with_the_logs_chain() {
    let folder = tempfile::tempdir().unwrap();
    for disk in [Arc::new(FaultDisk::new(1)) as Arc<dyn Disk>, Arc::new(RealDisk)] {
        let log = filled(100);
        let store = open_at(disk, &folder.path().join("cdr")).unwrap();
        move_by_hand(&log, &store, 7).unwrap();
        let expected = read(&log, 1).unwrap().1;
        assert_eq!(store.durable().position, CdrPosition::new(300));
        assert_eq!(store.durable().lsn, Lsn::new(200));
        for from in [1, 2, 99, 150, 299, 300, 301] {
            assert_eq!(read_cdrs(&store, from).unwrap(), expected[usize::try_from(from).unwrap() - 1..]);
        }
        let mut reader = store.reader(CdrPosition::new(300)).unwrap();
        assert_eq!(reader.read_next().unwrap().unwrap().chain, log.position().chain);
        assert_eq!(reader.read_next().unwrap(), None);
        append(&log, &[(b"more", 1)]).unwrap();
        move_by_hand(&log, &store, 7).unwrap();
        assert_eq!(reader.read_next().unwrap().unwrap().position, CdrPosition::new(301), "a reader goes on");
    }
}

/// Frames of every size: kept together, closing a block, and longer than may stay together.
#[test]
fn long_and_short_frames_have_the_logs_chain_at_every_cdr() {
    let log = MemoryLog::new();
    for count in [1, 0, 40, 2, 400, 7, 0, 900, 3] {
        append(&log, &[(b"entry", count)]).unwrap();
    }
    for sync_every in [1, 2, 100] {
        let expected = read(&log, 1).unwrap().1;
        let disk = FaultDisk::new(1);
        let store = open_cdrs(&disk).unwrap();
        move_by_hand(&log, &store, sync_every).unwrap();
        assert_eq!(store.durable().lsn, log.position().last_lsn());
        for from in [1, 2, 41, 43, 44, 300, 443, 444, 450, 1000, 1353] {
            assert_eq!(read_cdrs(&store, from).unwrap(), expected[usize::try_from(from).unwrap() - 1..]);
        }
        drop(store);
        let store = open_cdrs(&disk.restart(Crash::PowerLoss)).unwrap();
        append(&log, &[(b"more", 1)]).unwrap();
        move_by_hand(&log, &store, sync_every).unwrap();
        assert_eq!(read_cdrs(&store, 1).unwrap(), read(&log, 1).unwrap().1);
    }
}

/// A log that does not continue the store is seen at its first CDR, though positions fit.
#[test]
fn a_log_that_tells_another_story_is_refused() {
    let disk = FaultDisk::new(1);
    move_by_hand(&filled(10), &open_cdrs(&disk).unwrap(), 2).unwrap();
    let other = MemoryLog::new();
    for frame in 0..20 {
        append(&other, &[(format!("another {frame} a").as_bytes(), 2), (b"b", 1)]).unwrap();
    }
    let store = open_cdrs(&disk).unwrap();
    assert!(matches!(move_by_hand(&other, &store, 2), Err(CdrError::ChainBroken { .. })));
}

/// A record changed on disk, with every checksum made to fit: the chain tells it when it is read.
#[test]
fn a_record_changed_with_its_checksums_breaks_the_chain_for_its_reader() {
    let disk = FaultDisk::new(1);
    let log = filled(100);
    move_by_hand(&log, &open_cdrs(&disk).unwrap(), 2).unwrap();
    let file = segments(&disk)[0].clone();
    let mut octets = disk.contents(&file).unwrap();
    // The first block's first record, stored as it is: compression begins with literals.
    let at = octets.windows(7).position(|octets| octets == b"entry 0").unwrap() + 6;
    octets[at] = b'7';
    let field = |from: usize| u32::from_le_bytes(octets[from..from + 4].try_into().unwrap());
    let packed = usize::try_from(field(64 + 24)).unwrap();
    let crc = crc32c::crc32c(&octets[160..160 + packed]);
    octets[64 + 28..64 + 32].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&octets[64..64 + 92]);
    octets[64 + 92..64 + 96].copy_from_slice(&crc.to_le_bytes());
    disk.plant(&file, &octets);
    let store = open_cdrs(&disk).unwrap();
    let refused = read_cdrs_blindly(&store);
    assert!(matches!(&refused, Err(CdrError::Damaged { file: place, .. }) if *place == file), "{refused:?}");
}

fn read_cdrs_blindly(store: &Arc<CdrStore>) -> Result<usize, CdrError> {
    let mut reader = store.reader(CdrPosition::new(1))?;
    let mut count = 0;
    while reader.read_next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[test]
fn only_what_is_durable_is_shown() {
    let disk = FaultDisk::new(1);
    let store = open_cdrs(&disk).unwrap();
    let log = filled(5);
    let (mut cursor, mut frame) = (LogCursor::from(Lsn::new(1)), Frame::new());
    assert!(log.read_next(&mut cursor, &mut frame).unwrap());
    store.append(&frame).unwrap();
    assert!(read_cdrs(&store, 1).unwrap().is_empty());
    let _ = store.sync().unwrap();
    assert_eq!(read_cdrs(&store, 1).unwrap().len(), 3);
    assert_eq!(store.mark().get(), CdrPosition::new(3));
}

#[test]
fn after_any_crash_the_store_goes_on_from_the_log_without_gap_or_repeat() {
    for seed in 0..60 {
        let log = filled(60);
        let expected = read(&log, 1).unwrap().1;
        let mut disk = FaultDisk::new(seed);
        let mut durable = 0;
        for life in 0..8 {
            disk.fail_after(3 + seed % 17 + life * 3);
            if let Ok(store) = open_cdrs(&disk) {
                assert!(store.durable().position.get() >= durable, "seed {seed}: durable CDRs are never lost");
                let _ = move_by_hand(&log, &store, 1 + usize::try_from(seed % 5).unwrap());
                durable = store.durable().position.get();
            }
            disk = disk.restart(if (seed + life) % 3 == 0 { Crash::Kill } else { Crash::PowerLoss });
        }
        let store = open_cdrs(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(store.durable().position.get() >= durable, "seed {seed}");
        move_by_hand(&log, &store, 5).unwrap();
        assert_eq!(read_cdrs(&store, 1).unwrap(), expected, "seed {seed}");
    }
}

#[test]
fn a_torn_tail_is_cut_and_taken_from_the_log_again() {
    let disk = FaultDisk::new(1);
    let log = filled(4);
    move_by_hand(&log, &open_cdrs(&disk).unwrap(), 1).unwrap();
    let file = segments(&disk).pop().unwrap();
    let whole = disk.contents(&file).unwrap();
    for end in (64..whole.len()).step_by(5) {
        disk.plant(&file, &whole[..end]);
        let store = open_cdrs(&disk).unwrap();
        assert!(store.durable().position < CdrPosition::new(12));
        move_by_hand(&log, &store, 1).unwrap();
        assert_eq!(read_cdrs(&store, 1).unwrap(), read(&log, 1).unwrap().1);
    }
}

#[test]
fn a_flipped_bit_in_the_middle_is_refused_with_its_place() {
    let disk = FaultDisk::new(1);
    let log = filled(100);
    move_by_hand(&log, &open_cdrs(&disk).unwrap(), 2).unwrap();
    let files = segments(&disk);
    assert!(files.len() > 3);
    // In the last segment, which is checked at the start: everything but the last block.
    let last = files.last().unwrap();
    let whole = disk.contents(last).unwrap();
    let second = whole[72..].windows(4).position(|octets| octets == b"OCSB").unwrap() + 72;
    for at in (64..second).step_by(7) {
        let mut octets = whole.clone();
        octets[at] ^= 4;
        disk.plant(last, &octets);
        match open_cdrs(&disk) {
            Err(CdrError::Damaged { file, offset: 64, position, .. }) => {
                assert_eq!(&file, last);
                assert!(position > CdrPosition::new(200));
            }
            // Padding between the blocks.
            Ok(_) => assert!(whole[at..second].iter().all(|octet| *octet == 0), "at {at}"),
            Err(other) => panic!("at {at}: {other}"),
        }
    }
    disk.plant(last, &whole);
    // In an older segment: headers are checked at the start, contents when read.
    let whole = disk.contents(&files[1]).unwrap();
    for at in (64..whole.len() - 8).step_by(11) {
        let mut octets = whole.clone();
        octets[at] ^= 4;
        disk.plant(&files[1], &octets);
        let read = open_cdrs(&disk).and_then(|store| read_cdrs(&store, 1));
        match read {
            Err(CdrError::Damaged { file, .. } | CdrError::UnknownFormat { file, .. }) => assert_eq!(file, files[1]),
            Ok(cdrs) => assert_eq!(cdrs.len(), 300, "at {at}: padding"),
            Err(other) => panic!("at {at}: {other}"),
        }
    }
}

#[test]
fn a_bad_last_block_is_damage_once_the_log_has_let_go_of_its_cdrs() {
    let disk = FaultDisk::new(1);
    let log = filled(4);
    move_by_hand(&log, &open_cdrs(&disk).unwrap(), 1).unwrap();
    let (file, holds_all) = (segments(&disk).pop().unwrap(), log.position());
    let open = |log| CdrStore::open(Arc::new(disk.clone()), Path::new(CDRS), small(), log).map(Arc::new);
    let whole = disk.contents(&file).unwrap();
    let last = whole.windows(4).rposition(|octets| octets == b"OCSB").unwrap();
    log.cut_below(Lsn::new(9)).unwrap();
    let begins_behind = log.position();
    for at in last..last + 100 {
        let mut octets = whole.clone();
        octets[at] ^= 4;
        disk.plant(&file, &octets);
        match open(&begins_behind) {
            Err(CdrError::Damaged { file: named, offset, position, .. }) => {
                assert_eq!((&named, offset), (&file, u64::try_from(last).unwrap()));
                assert_eq!(position, CdrPosition::new(10), "the first that is lost");
            }
            other => panic!("at {at}: {:?}", other.map(drop)),
        }
        assert_eq!(disk.contents(&file).unwrap(), octets, "what was refused is not touched");
        let store = open(&holds_all).unwrap();
        assert_eq!(store.durable().position, CdrPosition::new(9), "it may be an interrupted write: the log has it");
    }
    // The block is gone without a trace.
    disk.plant(&file, &whole[..last]);
    let refused = open(&begins_behind).map(drop).unwrap_err();
    assert!(
        matches!(refused, CdrError::Gap { expected, found, .. }
            if expected == CdrPosition::new(10) && found == CdrPosition::new(13)),
        "{refused}"
    );
}

#[test]
fn a_missing_segment_and_a_log_that_does_not_fit_are_refused() {
    let disk = FaultDisk::new(1);
    let log = filled(100);
    move_by_hand(&log, &open_cdrs(&disk).unwrap(), 2).unwrap();
    let store = open_cdrs(&disk).unwrap();
    assert!(matches!(store.check_log(&filled(20).position()), Err(CdrError::LogBehind { .. })));
    store.check_log(&log.position()).unwrap();
    store.check_log(&filled(101).position()).unwrap();
    drop(store);
    let gone = segments(&disk)[1].clone();
    disk.remove(&gone).unwrap();
    assert!(matches!(open_cdrs(&disk), Err(CdrError::Damaged { file, .. }) if file == segments(&disk)[1]));
}

#[test]
fn a_log_that_was_cut_too_far_is_a_gap_not_a_jump() {
    let disk = FaultDisk::new(1);
    let log = filled(10);
    log.cut_below(Lsn::new(9)).unwrap();
    let store = open_cdrs(&disk).unwrap();
    let (mut cursor, mut frame) = (LogCursor::from(Lsn::new(9)), Frame::new());
    assert!(log.read_next(&mut cursor, &mut frame).unwrap());
    let refusal = store.append(&frame).unwrap_err();
    assert!(
        matches!(refusal, CdrError::Gap { expected, found, .. }
        if expected == CdrPosition::new(1) && found == CdrPosition::new(13)),
        "{refusal}"
    );
    assert!(matches!(store.sync(), Err(CdrError::Poisoned { .. })));
}

#[test]
fn retention_removes_whole_segments_below_and_nothing_else() {
    let disk = FaultDisk::new(1);
    let log = filled(100);
    let store = open_cdrs(&disk).unwrap();
    move_by_hand(&log, &store, 2).unwrap();
    let before = store.octets().unwrap();
    store.cut_below(CdrPosition::new(150)).unwrap();
    let first = store.first_position();
    assert!(first > CdrPosition::new(1) && first <= CdrPosition::new(150));
    assert!(store.octets().unwrap() < before);
    assert!(matches!(store.reader(CdrPosition::new(1)), Err(CdrError::Cut { .. })));
    assert_eq!(read_cdrs(&store, 150).unwrap().len(), 151);
    drop(store);
    let store = open_cdrs(&disk.restart(Crash::PowerLoss)).unwrap();
    assert_eq!(store.first_position(), first);
    assert_eq!(read_cdrs(&store, first.get()).unwrap().last(), read(&log, 1).unwrap().1.last());
}

#[test]
fn the_mover_follows_the_log_and_holds_it_until_its_cdrs_are_durable() {
    let disk = FaultDisk::new(1);
    let (log, _) = open(&disk).unwrap();
    let log: Arc<dyn Log> = log;
    let store = open_cdrs(&disk).unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let hook = Arc::clone(&seen);
    store.mark().on_advance(move |position| hook.store(position.get(), Ordering::SeqCst));
    let journal = Journal::start(Arc::clone(&log), JournalOptions::default(), hooks()).unwrap();
    let line = Arc::new(CutLine::new(Arc::clone(&log), Lsn::new(u64::MAX), store.durable().lsn));
    let other = line.hold("somebody else", Lsn::new(0));
    let options = CdrMoverOptions { sync_interval: std::time::Duration::from_millis(5), ..CdrMoverOptions::default() };
    let start = || {
        let (log, mark) = (Arc::clone(&log), Arc::clone(journal.mark()));
        CdrMover::start(log, mark, Arc::clone(&store), Arc::clone(&line), options, quiet()).unwrap()
    };
    let mover = start();
    for number in 0..400u64 {
        let _ = journal.append(|entry| {
            entry.put(&[3; 200]);
            entry.push_cdr(&number.to_le_bytes());
        });
    }
    store.mark().wait_for(CdrPosition::new(400)).unwrap();
    // The CDRs are durable first and then let the log go, in the mover's own time.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while line.slowest().unwrap().0 != "somebody else" {
        assert!(std::time::Instant::now() < deadline, "the mover never lets the log go");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(log.position().first_lsn, Lsn::new(1), "the other holder still needs it");
    other.release(Lsn::new(400));
    let _ = journal.append(|entry| {
        entry.push_cdr(b"last");
    });
    store.mark().wait_for(CdrPosition::new(401)).unwrap();
    mover.shutdown();
    assert!(log.position().first_lsn > Lsn::new(1));
    assert_eq!(seen.load(Ordering::SeqCst), 401);
    assert_eq!(read_cdrs(&store, 401).unwrap(), [b"last".to_vec()]);
    journal.shutdown();
}
