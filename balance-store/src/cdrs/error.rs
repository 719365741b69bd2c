//! Why the CDR store cannot do what was asked: what failed, where, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::{CdrPosition, Lsn};

/// Why the CDR store cannot do what was asked.
#[derive(Debug)]
pub enum CdrError {
    /// The disk refused.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or folder.
        file: PathBuf,
        /// At which octet, where that means something.
        offset: Option<u64>,
        /// What the system said.
        source: io::Error,
    },
    /// CDRs that were durable cannot be read.
    Damaged {
        /// The segment file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// The first CDR that is lost.
        position: CdrPosition,
        /// What is wrong.
        reason: &'static str,
    },
    /// Written by a newer program.
    UnknownFormat {
        /// The segment file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// The format found.
        found: u16,
        /// The newest this program knows.
        known: u16,
    },
    /// What was asked for is past its retention.
    Cut {
        /// The position asked for.
        asked: CdrPosition,
        /// The first that is still there.
        first: CdrPosition,
    },
    /// The log no longer has the CDRs that come next here.
    Gap {
        /// The position that comes next.
        expected: CdrPosition,
        /// The first the log still has.
        found: CdrPosition,
        /// The log entry it belongs to.
        lsn: Lsn,
    },
    /// The log ends before the CDR store does: it is not the log this store was filled from, or an older copy of it.
    LogBehind {
        /// The position that comes next in the store.
        expected: CdrPosition,
        /// The position that comes next in the log.
        found: CdrPosition,
    },
    /// The log's CDRs do not lead to the chain value the log states.
    ChainBroken {
        /// The last CDR of the frame in question.
        position: CdrPosition,
        /// The frame's last LSN.
        lsn: Lsn,
    },
    /// An earlier write or sync failed; nothing is written after that.
    Poisoned {
        /// That failure.
        reason: String,
    },
}

impl CdrError {
    pub(crate) fn io(
        doing: &'static str,
        file: impl Into<PathBuf>,
        offset: Option<u64>,
    ) -> impl FnOnce(io::Error) -> Self {
        let file = file.into();
        move |source| Self::Io { doing, file, offset, source }
    }
}

impl std::fmt::Display for CdrError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io { doing, file, offset: Some(offset), source } => {
                write!(f, "could not {doing} {} at octet {offset}: {source}", file.display())
            }
            Self::Io { doing, file, offset: None, source } => {
                write!(f, "could not {doing} {}: {source}", file.display())
            }
            Self::Damaged { file, offset, position, reason } => write!(
                f,
                "{} is damaged at octet {offset}, from CDR {} on: {reason}. Nothing is skipped: restore the file from a copy",
                file.display(),
                position.get()
            ),
            Self::UnknownFormat { file, offset, found, known } => write!(
                f,
                "{} has format {found} at octet {offset}; this program knows up to {known}. Start the program version that wrote it",
                file.display()
            ),
            Self::Cut { asked, first } => {
                write!(f, "CDR {} is past its retention; the oldest kept is {}", asked.get(), first.get())
            }
            Self::Gap { expected, found, lsn } => write!(
                f,
                "CDR {} comes next in the CDR store, but the log begins with CDR {} (LSN {}): restore the newest files of the CDR \
                 store from a copy",
                expected.get(),
                found.get(),
                lsn.get()
            ),
            Self::LogBehind { expected, found } => write!(
                f,
                "the CDR store holds CDRs below {}, the log only those below {}: log and CDR store are not of the same time, restore \
                 both from one copy of the data folder",
                expected.get(),
                found.get()
            ),
            Self::ChainBroken { position, lsn } => write!(
                f,
                "the hash chain over the CDRs up to {} is not the one the log states at LSN {}: keep the data folder for inspection \
                 and restore it from a copy",
                position.get(),
                lsn.get()
            ),
            Self::Poisoned { reason } => {
                write!(f, "the CDR store takes no more writes since one failed ({reason}); restart the process")
            }
        }
    }
}

impl std::error::Error for CdrError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io { source, .. } = self { Some(source) } else { None }
    }
}
