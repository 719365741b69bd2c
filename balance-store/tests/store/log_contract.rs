//! What every log promises, whatever stands behind it.

use std::path::Path;
use std::sync::Arc;

use balance_store::{
    Batch, Disk, FaultDisk, Frame, Log, LogCursor, LogError, LogOptions, Lsn, MemoryLog, RealDisk, SegmentLog,
};

use proptest::prelude::*;

use crate::support::{append, read, small};

fn over_all(contract: impl Fn(&dyn Log)) {
    contract(&MemoryLog::new());
    let open =
        |disk: Arc<dyn Disk>, folder: &Path, options: LogOptions| SegmentLog::open(disk, folder, options).unwrap().0;
    contract(&open(Arc::new(FaultDisk::new(1)), Path::new("log"), small()));
    let folder = tempfile::tempdir().unwrap();
    contract(&open(Arc::new(RealDisk), &folder.path().join("log"), small()));
    let folder = tempfile::tempdir().unwrap();
    let os = LogOptions { durability: balance_store::Durability::Os, ..small() };
    contract(&open(Arc::new(RealDisk), &folder.path().join("log"), os));
}

#[test]
fn what_is_appended_is_read_back_in_order() {
    over_all(|log| {
        assert_eq!(log.position().next_lsn, Lsn::new(1), "the first LSN is 1");
        append(log, &[(b"one", 0), (b"two", 2)]).unwrap();
        append(log, &[(b"three", 1)]).unwrap();
        let (entries, cdrs) = read(log, 1).unwrap();
        assert_eq!(entries, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
        assert_eq!(cdrs, [b"cdr 0 of two".to_vec(), b"cdr 1 of two".to_vec(), b"cdr 0 of three".to_vec()]);
        assert_eq!(log.position().last_lsn(), Lsn::new(3));
        assert_eq!(log.position().next_cdr.get(), 4);
        assert_eq!(read(log, 3).unwrap().0, [b"three".to_vec()]);
        assert_eq!(read(log, 2).unwrap().0.len(), 3, "frames are whole: the one that holds LSN 2 begins at 1");
        assert!(read(log, 4).unwrap().0.is_empty());
    });
}

#[test]
fn a_cursor_goes_on_where_more_was_appended() {
    over_all(|log| {
        let (mut cursor, mut frame) = (LogCursor::from(Lsn::new(1)), Frame::new());
        assert!(!log.read_next(&mut cursor, &mut frame).unwrap());
        for round in 1..200u64 {
            append(log, &[(&[7; 300], 1)]).unwrap();
            assert!(log.read_next(&mut cursor, &mut frame).unwrap());
            assert_eq!(frame.first_lsn(), Lsn::new(round));
            assert!(!log.read_next(&mut cursor, &mut frame).unwrap());
            if round % 10 == 0 {
                log.cut_below(Lsn::new(round)).unwrap();
                log.tend().unwrap();
            }
        }
    });
}

#[test]
fn what_is_cut_is_refused_and_the_rest_stays() {
    over_all(|log| {
        for _ in 0..100 {
            append(log, &[(&[1; 500], 1), (&[2; 500], 0)]).unwrap();
        }
        let before = log.tail_octets();
        log.cut_below(Lsn::new(100)).unwrap();
        assert!(log.tail_octets() < before);
        let first = log.position().first_lsn;
        assert!(first > Lsn::new(1) && first <= Lsn::new(100));
        assert!(matches!(read(log, 1), Err(LogError::Cut { asked, first: f }) if asked == Lsn::new(1) && f == first));
        assert_eq!(u64::try_from(read(log, first.get()).unwrap().0.len()).unwrap(), 201 - first.get());
        log.cut_below(Lsn::new(1000)).unwrap();
        assert_eq!(log.position().next_lsn, Lsn::new(201), "a cut never reaches what is not there yet");
        append(log, &[(b"on", 0)]).unwrap();
        assert_eq!(log.position().last_lsn(), Lsn::new(201));
    });
}

#[test]
fn a_batch_that_does_not_continue_the_log_is_refused() {
    over_all(|log| {
        append(log, &[(b"one", 1)]).unwrap();
        let mut batch = Batch::new(Lsn::new(1), log.position().next_cdr);
        let _ = batch.entry().finish();
        batch.seal(log.position().chain).unwrap();
        assert!(matches!(log.append(&mut batch), Err(LogError::OutOfOrder { .. })));
    });
}

#[test]
fn a_frame_larger_than_a_segment_is_kept_whole() {
    over_all(|log| {
        append(log, &[(b"small", 0)]).unwrap();
        append(log, &[(&[9; 100_000], 3)]).unwrap();
        append(log, &[(b"after", 0)]).unwrap();
        let (entries, cdrs) = read(log, 1).unwrap();
        assert_eq!(entries, [b"small".to_vec(), vec![9; 100_000], b"after".to_vec()]);
        assert_eq!(cdrs.len(), 3);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_batches_are_read_back_as_they_were(
        batches in prop::collection::vec(
            prop::collection::vec((prop::collection::vec(any::<u8>(), 0..600), 0..4usize), 1..6),
            1..30,
        )
    ) {
        over_all(|log| {
            for batch in &batches {
                let entries: Vec<(&[u8], usize)> = batch.iter().map(|(octets, cdrs)| (octets.as_slice(), *cdrs)).collect();
                append(log, &entries).unwrap();
            }
            let (entries, cdrs) = read(log, 1).unwrap();
            assert!(entries.iter().eq(batches.iter().flatten().map(|(octets, _)| octets)));
            assert_eq!(cdrs.len(), batches.iter().flatten().map(|(_, cdrs)| cdrs).sum::<usize>());
        });
    }
}
