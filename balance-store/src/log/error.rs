//! Why the log cannot do what was asked: what failed, where, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::FrameFault;
use crate::{CdrPosition, Lsn};

/// Why the log cannot do what was asked.
#[derive(Debug)]
pub enum LogError {
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
    /// A frame that was durable cannot be read, and there is more behind it.
    Damaged {
        /// The segment file.
        file: PathBuf,
        /// Where the frame begins in it.
        offset: u64,
        /// The first LSN that is lost.
        lsn: Lsn,
        /// What is wrong with it.
        fault: FrameFault,
    },
    /// A segment's header is damaged or belongs elsewhere.
    BadSegment {
        /// The segment file.
        file: PathBuf,
        /// What is wrong with it.
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
    /// Segments before and after this one are there.
    MissingSegment {
        /// The file that should be there.
        file: PathBuf,
    },
    /// What was asked for has been cut away.
    Cut {
        /// The LSN asked for.
        asked: Lsn,
        /// The first that is still there.
        first: Lsn,
    },
    /// The log ends before the state does: it is not the log that state was made from, or an older copy of it.
    Behind {
        /// What the state holds.
        checkpoint: Lsn,
        /// The log's last LSN.
        last: Lsn,
    },
    /// A batch that does not continue the log.
    OutOfOrder {
        /// The LSN that comes next.
        expected_lsn: Lsn,
        /// The batch's first.
        lsn: Lsn,
        /// The CDR position that comes next.
        expected_cdr: CdrPosition,
        /// The batch's first.
        cdr: CdrPosition,
    },
    /// A batch that can never be written.
    BadBatch {
        /// Its first LSN.
        first_lsn: Lsn,
        /// Why.
        reason: &'static str,
    },
    /// An earlier write or sync failed; nothing is written after that.
    Poisoned {
        /// That failure.
        reason: String,
    },
}

impl LogError {
    pub(crate) fn io(
        doing: &'static str,
        file: impl Into<PathBuf>,
        offset: Option<u64>,
    ) -> impl FnOnce(io::Error) -> Self {
        let file = file.into();
        move |source| Self::Io { doing, file, offset, source }
    }
}

impl std::fmt::Display for LogError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io { doing, file, offset: Some(offset), source } => {
                write!(f, "could not {doing} {} at octet {offset}: {source}", file.display())
            }
            Self::Io { doing, file, offset: None, source } => {
                write!(f, "could not {doing} {}: {source}", file.display())
            }
            Self::Damaged { file, offset, lsn, fault } => write!(
                f,
                "{} is damaged at octet {offset}, from LSN {} on: {fault}. Frames behind it are intact, so this is not an \
                 interrupted write and nothing is skipped: restore the data folder from a copy, or the file from another disk",
                file.display(),
                lsn.get()
            ),
            Self::BadSegment { file, reason } => write!(
                f,
                "{} cannot be used: {reason}. Nothing is skipped: restore the data folder from a copy",
                file.display()
            ),
            Self::UnknownFormat { file, offset, found, known } => write!(
                f,
                "{} has format {found} at octet {offset}; this program knows up to {known}. Start the program version that wrote it",
                file.display()
            ),
            Self::MissingSegment { file } => write!(
                f,
                "{} is missing, though segments before and after it are there: restore it from a copy of the data folder",
                file.display()
            ),
            Self::Cut { asked, first } => write!(
                f,
                "LSN {} is no longer in the log, which begins at {}: whoever needs it must hold the log before it is cut",
                asked.get(),
                first.get()
            ),
            Self::Behind { checkpoint, last } => write!(
                f,
                "the state holds everything up to LSN {}, but the log ends at {}: they are not of the same time, restore both from one \
                 copy of the data folder",
                checkpoint.get(),
                last.get()
            ),
            Self::OutOfOrder { expected_lsn, lsn, expected_cdr, cdr } => write!(
                f,
                "a batch begins at LSN {} and CDR {}, but LSN {} and CDR {} come next",
                lsn.get(),
                cdr.get(),
                expected_lsn.get(),
                expected_cdr.get()
            ),
            Self::BadBatch { first_lsn, reason } => {
                write!(f, "the batch that begins at LSN {} cannot be written: {reason}", first_lsn.get())
            }
            Self::Poisoned { reason } => {
                write!(f, "the log takes no more writes since one failed ({reason}); restart the process")
            }
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io { source, .. } = self { Some(source) } else { None }
    }
}
