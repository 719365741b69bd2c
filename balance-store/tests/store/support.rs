//! What the stories share: small logs, entries that can be recognised, a seeded generator.

use std::path::Path;
use std::sync::Arc;

use balance_store::{
    Batch, CdrPosition, Disk, FailureHook, FaultDisk, Frame, HashChain, JournalHooks, Log, LogCursor, LogError,
    LogOptions, LogPosition, Lsn, Recovered, SegmentLog,
};

pub(crate) fn small() -> LogOptions {
    LogOptions { segment_octets: 16 << 10, spares_min: 1, spares_max: 2, ..LogOptions::default() }
}

/// Where a log stands that has every CDR still, and more than anybody has seen.
pub(crate) const EVERYTHING: LogPosition = LogPosition { next_cdr: CdrPosition::new(u64::MAX), ..LogPosition::START };

pub(crate) const LOG: &str = "data/log";

pub(crate) fn open(disk: &FaultDisk) -> Result<(Arc<SegmentLog>, Recovered), LogError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    SegmentLog::open(disk, Path::new(LOG), small()).map(|(log, recovered)| (Arc::new(log), recovered))
}

/// Appends one frame of entries, each with as many CDRs as it says.
pub(crate) fn append(log: &dyn Log, entries: &[(&[u8], usize)]) -> Result<(), LogError> {
    let position = log.position();
    let mut batch = Batch::new(position.next_lsn, position.next_cdr);
    for (octets, cdrs) in entries {
        let mut entry = batch.entry();
        entry.put(octets);
        for index in 0..*cdrs {
            entry.push_cdr(format!("cdr {index} of {}", String::from_utf8_lossy(octets)).as_bytes());
        }
        let _ = entry.finish();
    }
    batch.seal(position.chain)?;
    log.append(&mut batch)
}

/// Records in order: entries, and CDRs.
pub(crate) type EntriesAndCdrs = (Vec<Vec<u8>>, Vec<Vec<u8>>);

/// Everything in the log from an LSN on; the CDR chain is checked along the way.
pub(crate) fn read(log: &dyn Log, from: u64) -> Result<EntriesAndCdrs, LogError> {
    let (mut cursor, mut frame) = (LogCursor::from(Lsn::new(from)), Frame::new());
    let (mut entries, mut cdrs) = (Vec::new(), Vec::new());
    let mut chain: Option<HashChain> = None;
    let mut next: Option<(Lsn, CdrPosition)> = None;
    while log.read_next(&mut cursor, &mut frame)? {
        if let Some(next) = next {
            assert_eq!((frame.first_lsn(), frame.first_cdr()), next, "frames are contiguous");
        }
        next = Some((frame.last_lsn().next(), frame.next_cdr()));
        chain = match chain.or((frame.first_cdr() == CdrPosition::new(1)).then_some(HashChain::START)) {
            Some(before) => {
                assert_eq!(frame.cdrs().fold(before, |chain, (_, cdr)| chain.after(cdr)), frame.chain());
                Some(frame.chain())
            }
            None => Some(frame.chain()),
        };
        entries.extend(frame.entries().map(|(_, octets)| octets.to_vec()));
        cdrs.extend(frame.cdrs().map(|(_, octets)| octets.to_vec()));
    }
    Ok((entries, cdrs))
}

pub(crate) fn quiet() -> FailureHook {
    Arc::new(|_| ())
}

pub(crate) fn hooks() -> JournalHooks {
    JournalHooks::new(quiet())
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn octets(&mut self, longest: u64) -> Vec<u8> {
        let length = self.below(longest + 1);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// A number from the environment, for campaigns.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
