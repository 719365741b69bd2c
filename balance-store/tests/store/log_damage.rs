//! What the log does about torn tails, flipped bits, stale octets and failing disks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use balance_store::{Crash, Disk, FaultDisk, Log, LogError, LogOptions, Lsn, SegmentLog};

use crate::support::{LOG, append, open, read, small};

fn segment(generation: u64) -> PathBuf {
    Path::new(LOG).join(format!("{generation:016x}.segment"))
}

/// A log of three frames in one segment, and where each begins.
fn three_frames() -> (FaultDisk, [usize; 3], usize) {
    let disk = FaultDisk::new(1);
    let (log, _) = open(&disk).unwrap();
    let mut starts = [0; 3];
    for start in &mut starts {
        *start = usize::try_from(log.tail_octets()).unwrap();
        append(&*log, &[(b"an entry that is long enough to be hit", 1), (b"another", 1)]).unwrap();
    }
    let end = usize::try_from(log.tail_octets()).unwrap();
    (disk.restart(Crash::PowerLoss), starts, end)
}

fn damage(disk: &FaultDisk, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut octets = disk.contents(file).unwrap();
    change(&mut octets);
    disk.plant(file, &octets);
}

#[test]
fn an_intact_log_is_recovered_whole() {
    let (disk, ..) = three_frames();
    let (log, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.frames, recovered.tail_cut), (3, None));
    assert_eq!(log.position().last_lsn(), Lsn::new(6));
    assert_eq!(read(&*log, 1).unwrap().0.len(), 6);
}

#[test]
fn a_torn_tail_is_cut() {
    let (disk, starts, end) = three_frames();
    let whole = disk.contents(&segment(1)).unwrap();
    for torn_at in starts[2]..end {
        damage(&disk, &segment(1), |octets| {
            octets.clone_from(&whole);
            octets[torn_at..].fill(0);
        });
        // Zeros at the end of a frame may be its own padding: then it is whole.
        let (log, recovered) = open(&disk).unwrap();
        let left = if octets_equal(&disk, &whole) { 6 } else { 4 };
        assert_eq!(log.position().last_lsn(), Lsn::new(left), "torn at {torn_at}");
        assert_eq!(read(&*log, 1).unwrap().0.len(), usize::try_from(left).unwrap());
        if let Some(cut) = recovered.tail_cut {
            assert_eq!((cut.offset, cut.lsn), (starts[2].try_into().unwrap(), Lsn::new(5)));
        }
    }
}

fn octets_equal(disk: &FaultDisk, whole: &[u8]) -> bool {
    disk.contents(&segment(1)).unwrap() == whole
}

#[test]
fn lsns_are_never_reused() {
    let (disk, starts, _) = three_frames();
    damage(&disk, &segment(1), |octets| octets[starts[2] + 100] ^= 1);
    let (log, recovered) = open(&disk).unwrap();
    assert!(recovered.tail_cut.is_some());
    // The torn frame's were never acknowledged; those before it were, and the next one follows them.
    assert_eq!(recovered.position.next_lsn, Lsn::new(5));
    append(&*log, &[(b"new", 1)]).unwrap();
    let (log, recovered) = open(&disk.restart(Crash::PowerLoss)).unwrap();
    assert_eq!(recovered.tail_cut, None, "a tail is cut once");
    assert_eq!(read(&*log, 5).unwrap().0, [b"new".to_vec()]);
    log.cut_below(Lsn::new(6)).unwrap();
    drop(log);
    let (log, _) = open(&disk.restart(Crash::PowerLoss)).unwrap();
    assert_eq!(log.position().next_lsn, Lsn::new(6), "a log that was cut still knows what comes next");
}

#[test]
fn a_flipped_bit_in_the_middle_is_refused_with_its_place() {
    let (disk, starts, _) = three_frames();
    let whole = disk.contents(&segment(1)).unwrap();
    for at in (starts[1]..starts[2]).step_by(3) {
        damage(&disk, &segment(1), |octets| {
            octets.clone_from(&whole);
            octets[at] ^= 0x10;
        });
        match open(&disk) {
            Err(LogError::Damaged { file, offset, lsn, .. }) => {
                assert_eq!(file, segment(1));
                assert_eq!(offset, u64::try_from(starts[1]).unwrap());
                assert_eq!(lsn, Lsn::new(3));
            }
            other => panic!("flipped at {at}: {:?}", other.map(|(_, recovered)| recovered)),
        }
    }
    damage(&disk, &segment(1), |octets| octets.clone_from(&whole));
    assert!(open(&disk).is_ok(), "a refusal changes nothing on disk");
}

#[test]
fn damage_at_the_end_of_a_segment_that_was_left_behind_is_refused() {
    let disk = FaultDisk::new(1);
    let (log, _) = open(&disk).unwrap();
    while log.position().last_lsn() < Lsn::new(80) {
        append(&*log, &[(&[5; 600], 0)]).unwrap();
    }
    drop(log);
    let last = read(&*open(&disk).unwrap().0, 1).unwrap().0.len();
    assert_eq!(last, 80);
    damage(&disk, &segment(1), |octets| {
        let end = octets.iter().rposition(|octet| *octet == 5).unwrap();
        octets[end] ^= 1;
    });
    assert!(matches!(open(&disk), Err(LogError::Damaged { file, .. }) if file == segment(1)));
}

#[test]
fn a_missing_segment_is_refused() {
    let disk = FaultDisk::new(1);
    let (log, _) = open(&disk).unwrap();
    for _ in 0..80 {
        append(&*log, &[(&[5; 600], 0)]).unwrap();
    }
    drop(log);
    disk.remove(&segment(2)).unwrap();
    assert!(matches!(open(&disk), Err(LogError::MissingSegment { file }) if file == segment(2)));
}

#[test]
fn stale_octets_of_a_recycled_segment_are_never_replayed() {
    let disk = FaultDisk::new(1);
    let (log, _) = open(&disk).unwrap();
    let mut appended = 0;
    for round in 0..40 {
        for _ in 0..10 {
            append(&*log, &[(format!("entry {appended:06} {}", "x".repeat(400)).as_bytes(), 1)]).unwrap();
            appended += 1;
        }
        log.cut_below(log.position().next_lsn).unwrap();
        if round % 7 == 3 {
            let (again, recovered) = open(&disk.clone()).unwrap();
            assert_eq!(recovered.position.last_lsn(), Lsn::new(appended));
            assert_eq!(recovered.tail_cut, None);
            let (entries, _) = read(&*again, recovered.position.first_lsn.get()).unwrap();
            let first = recovered.position.first_lsn.get() - 1;
            for (index, entry) in entries.iter().enumerate() {
                let number = first + u64::try_from(index).unwrap();
                assert!(entry.starts_with(format!("entry {number:06}").as_bytes()));
            }
        }
    }
    let names = disk.list(Path::new(LOG)).unwrap();
    assert!(names.len() <= 4, "segments are used again: {names:?}");
    assert!(names.iter().any(|name| name.ends_with(".spare")));
}

#[test]
fn a_failed_write_poisons_the_log() {
    for operations in 1..3 {
        let disk = FaultDisk::new(operations);
        let (log, _) = open(&disk).unwrap();
        append(&*log, &[(b"good", 0)]).unwrap();
        disk.fail_after(operations);
        assert!(matches!(append(&*log, &[(b"bad", 0)]), Err(LogError::Io { .. })));
        assert!(matches!(append(&*log, &[(b"worse", 0)]), Err(LogError::Poisoned { .. })));
        assert_eq!(log.position().last_lsn(), Lsn::new(1), "what failed is not readable");
    }
}

#[test]
fn a_failed_sync_poisons_the_log_and_its_octets_are_not_trusted_later() {
    for seed in 0..50 {
        let disk = FaultDisk::new(seed);
        let (log, _) = open(&disk).unwrap();
        append(&*log, &[(b"good", 0)]).unwrap();
        disk.fail_sync_after(0);
        assert!(matches!(append(&*log, &[(b"perhaps", 0)]), Err(LogError::Io { .. })));
        assert!(matches!(append(&*log, &[(b"worse", 0)]), Err(LogError::Poisoned { .. })));
        // The process is started again on the same page cache, where the kernel takes the octets for written.
        let disk = disk.restart(Crash::Kill);
        let seen = open(&disk).unwrap().1.position.last_lsn();
        let (log, recovered) = open(&disk.restart(Crash::PowerLoss)).unwrap();
        assert_eq!(recovered.position.last_lsn(), seen, "seed {seed}: what a start saw stays");
        assert_eq!(read(&*log, 1).unwrap().0.len(), usize::try_from(seen.get()).unwrap());
    }
}

#[test]
fn a_newer_format_is_refused() {
    let (disk, starts, _) = three_frames();
    damage(&disk, &segment(1), |octets| octets[4] = 9);
    let refusal = open(&disk).map(drop).unwrap_err();
    assert!(matches!(refusal, LogError::UnknownFormat { found: 9, known: 1, offset: 0, .. }), "{refusal}");
    assert!(refusal.to_string().contains("format 9"));
    // A frame of a newer format, its checksum right.
    damage(&disk, &segment(1), |octets| {
        octets[4] = 1;
        let at = starts[2];
        let end = octets.iter().rposition(|octet| *octet != 0).unwrap().next_multiple_of(8);
        octets[at + 4] = 2;
        let seed = u32::from_le_bytes(octets[at + 80..at + 84].try_into().unwrap());
        let crc = crc32c::crc32c_append(crc32c::crc32c_append(seed, &octets[at..at + 84]), &octets[at + 88..end]);
        octets[at + 84..at + 88].copy_from_slice(&crc.to_le_bytes());
    });
    let refusal = open(&disk).map(drop).unwrap_err();
    assert!(matches!(refusal, LogError::UnknownFormat { found: 2, known: 1, .. }), "{refusal}");
}

#[test]
fn a_full_disk_stops_the_log_and_leaves_it_whole() {
    let disk = FaultDisk::new(3);
    let (log, _) = open(&disk).unwrap();
    while log.position().last_lsn() < Lsn::new(18) {
        append(&*log, &[(&[5; 600], 0)]).unwrap();
    }
    // The next frames need another segment, and making it fails part way.
    disk.fail_after(3);
    while append(&*log, &[(&[5; 600], 0)]).is_ok() {}
    let last = log.position().last_lsn();
    let (_, recovered) = open(&disk.restart(Crash::PowerLoss)).unwrap();
    assert_eq!(recovered.position.last_lsn(), last);
}

#[test]
fn a_log_is_recovered_by_segments_of_another_size() {
    let (disk, ..) = three_frames();
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let options = LogOptions { segment_octets: 32 << 10, ..small() };
    let (log, recovered) = SegmentLog::open(disk, Path::new(LOG), options).unwrap();
    assert_eq!(recovered.position.last_lsn(), Lsn::new(6));
    for _ in 0..100 {
        append(&log, &[(&[5; 600], 0)]).unwrap();
    }
    assert_eq!(read(&log, 1).unwrap().0.len(), 106);
}

#[test]
fn a_log_that_does_not_fit_its_state_is_refused() {
    let (disk, ..) = three_frames();
    let position = open(&disk).unwrap().1.position;
    for checkpoint in 0..=6 {
        position.check_checkpoint(Lsn::new(checkpoint)).unwrap();
    }
    assert!(matches!(position.check_checkpoint(Lsn::new(7)), Err(LogError::Behind { .. })));
    let cut = balance_store::LogPosition { first_lsn: Lsn::new(4), ..position };
    cut.check_checkpoint(Lsn::new(3)).unwrap();
    assert!(matches!(cut.check_checkpoint(Lsn::new(2)), Err(LogError::Cut { .. })));
}

#[test]
fn a_log_that_begins_anew_finds_nothing_old_in_its_spares() {
    let (disk, ..) = three_frames();
    let old = disk.contents(&segment(1)).unwrap();
    disk.remove(&segment(1)).unwrap();
    disk.plant(&Path::new(LOG).join(format!("{:016x}.spare", 9)), &old);
    let (log, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.frames, recovered.position.next_lsn), (0, Lsn::new(1)));
    drop(log);
    assert_eq!(open(&disk.restart(Crash::PowerLoss)).unwrap().1.frames, 0);
}

#[test]
fn segments_in_use_and_spare_ones_stay_within_their_limit_together() {
    let disk = FaultDisk::new(1);
    let options = LogOptions { spares_max: 100, segments_max: 6, ..small() };
    let open = || SegmentLog::open(Arc::new(disk.clone()), Path::new(LOG), options).unwrap().0;
    let log = open();
    for _ in 0..400 {
        append(&log, &[(&[5; 600], 0)]).unwrap();
    }
    assert!(disk.list(Path::new(LOG)).unwrap().len() > 12, "the log takes what it needs");
    log.cut_below(log.position().next_lsn).unwrap();
    assert_eq!(disk.list(Path::new(LOG)).unwrap().len(), 6);
    drop(log);
    let _ = open();
    assert_eq!(disk.list(Path::new(LOG)).unwrap().len(), 6);
}
