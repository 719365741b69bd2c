//! Octets from anywhere never make a decoder panic. `FUZZ_SECONDS` says how long to try (default 1).

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance_store::{
    CdrOptions, CdrStore, Crash, FaultDisk, Frame, Log, LogCursor, Lsn, decode_block, decode_frame,
    decode_segment_header,
};

use crate::support::{EVERYTHING, LOG, Random, append, open, read, setting};

fn mutate(random: &mut Random, octets: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        if octets.is_empty() {
            return;
        }
        let at = usize::try_from(random.below(octets.len().try_into().unwrap())).unwrap();
        match random.below(6) {
            0 => octets.truncate(at),
            1 => octets[at] = random.octets(8).first().copied().unwrap_or(0xFF),
            2 => octets[at..].iter_mut().take(4).for_each(|octet| *octet = 0xFF),
            3 => octets[at..].iter_mut().take(8).for_each(|octet| *octet = 0),
            4 => octets.extend_from_within(at..),
            _ => octets[at] ^= 1 << random.below(8),
        }
    }
    octets.truncate(1 << 16);
}

#[test]
fn mutated_octets_never_make_a_decoder_panic() {
    let seed = setting("CAMPAIGN_SEED", 1);
    let mut random = Random(seed);
    let disk = FaultDisk::new(seed);
    let (log, _) = open(&disk).unwrap();
    for number in 0..6u8 {
        append(&*log, &[(&[number; 90], 2), (b"x", 1)]).unwrap();
    }
    let open_cdrs = |disk| CdrStore::open(Arc::new(disk), Path::new("cdr"), CdrOptions::default(), &EVERYTHING);
    let store = open_cdrs(disk.clone()).unwrap();
    let (mut cursor, mut frame) = (LogCursor::from(Lsn::new(1)), Frame::new());
    while log.read_next(&mut cursor, &mut frame).unwrap() {
        store.append(&frame).unwrap();
        let _ = store.sync().unwrap();
    }
    let segment = Path::new(LOG).join(format!("{:016x}.segment", 1));
    let cdrs = Path::new("cdr").join(format!("{:016x}.cdrs", 1));
    let whole = disk.contents(&segment).unwrap();
    let whole_cdrs = disk.contents(&cdrs).unwrap();
    let used = usize::try_from(log.tail_octets()).unwrap();
    let second = (4104..used).find(|at| whole[*at..].starts_with(b"OCSF")).unwrap();
    assert!(decode_frame(&whole[4096..second]).is_ok() && decode_segment_header(&whole));
    let until = Instant::now() + Duration::from_secs(setting("FUZZ_SECONDS", 1));
    while Instant::now() < until {
        for _ in 0..200 {
            let mut octets = whole[4096..second].to_vec();
            mutate(&mut random, &mut octets);
            // Also with its checksum right again: what lies behind the checksum must hold on its own.
            if octets.len() >= 88 {
                let seed = u32::from_le_bytes(octets[80..84].try_into().unwrap());
                let crc = crc32c::crc32c_append(crc32c::crc32c_append(seed, &octets[..84]), &octets[88..]);
                octets[84..88].copy_from_slice(&crc.to_le_bytes());
            }
            if let Ok(frame) = decode_frame(&octets) {
                assert_eq!(
                    u64::try_from(frame.entries().count()).unwrap(),
                    frame.last_lsn().get() + 1 - frame.first_lsn().get()
                );
                assert_eq!(
                    u64::try_from(frame.cdrs().count()).unwrap(),
                    frame.next_cdr().get() - frame.first_cdr().get()
                );
            }
            let mut header = whole[..72].to_vec();
            mutate(&mut random, &mut header);
            let _ = decode_segment_header(&header);
            let mut block = whole_cdrs[64..].to_vec();
            mutate(&mut random, &mut block);
            if block.len() >= 96 {
                let packed = usize::try_from(u32::from_le_bytes(block[24..28].try_into().unwrap())).unwrap();
                if let Some(octets) = block.get(96..96 + packed) {
                    let crc = crc32c::crc32c(octets);
                    block[28..32].copy_from_slice(&crc.to_le_bytes());
                }
                let crc = crc32c::crc32c(&block[..92]);
                block[92..96].copy_from_slice(&crc.to_le_bytes());
            }
            let _ = decode_block(&block);
        }
        // Whole files: recovery refuses or cuts, and what it accepts can be read.
        let disk = FaultDisk::new(random.next());
        let mut octets = whole.clone();
        octets.truncate(used + 4096);
        mutate(&mut random, &mut octets);
        disk.plant(&segment, &octets);
        if let Ok((log, recovered)) = open(&disk) {
            assert!(recovered.position.last_lsn() <= Lsn::new(12));
            assert!(read(&*log, recovered.position.first_lsn.get()).is_ok());
        }
        let mut octets = whole_cdrs.clone();
        mutate(&mut random, &mut octets);
        disk.plant(&cdrs, &octets);
        if let Ok(store) = open_cdrs(disk.restart(Crash::Kill)).map(Arc::new) {
            let mut reader = store.reader(store.first_position()).unwrap();
            while let Ok(Some(_)) = reader.read_next() {}
        }
    }
}
