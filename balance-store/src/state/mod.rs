//! The state behind the log: its families, its records as opaque octets, its errors.
//!
//! `rocks` keeps it in RocksDB. Absent: what a key or a value means, and the log.

mod rocks;

use std::path::PathBuf;

pub use rocks::{RocksOptions, RocksState};

/// What kind of record; each kind has its own key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Accounts with their buckets and counters.
    Accounts,
    /// Sessions and stored answers.
    Sessions,
    /// Subscribers.
    Subscribers,
    /// Network identifiers.
    Identifiers,
    /// Tariffs and offers.
    Catalogue,
    /// People's changes by idempotency key.
    Mutations,
    /// The audit log, by position.
    Audit,
    /// What operators keep beside the catalogue: drafts, schedules, requests that are remembered. See [`crate::keys::Drawer`].
    Desk,
    /// Everything about the store itself. Keys that begin with a zero octet are the store's own.
    Meta,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Accounts,
        Self::Sessions,
        Self::Subscribers,
        Self::Identifiers,
        Self::Catalogue,
        Self::Mutations,
        Self::Audit,
        Self::Desk,
        Self::Meta,
    ];

    /// Its name on disk.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Sessions => "sessions",
            Self::Subscribers => "subscribers",
            Self::Identifiers => "identifiers",
            Self::Catalogue => "catalogue",
            Self::Mutations => "mutations",
            Self::Audit => "audit",
            Self::Desk => "desk",
            Self::Meta => "meta",
        }
    }
}

/// One record to put, or to delete when there is no value.
#[derive(Clone, Copy, Debug)]
pub struct StateWrite<'a> {
    /// What kind of record.
    pub family: Family,
    /// Its key.
    pub key: &'a [u8],
    /// Its new octets; `None` deletes it.
    pub value: Option<&'a [u8]>,
}

/// Keys from one (included) to another (excluded); an open end is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub from: Option<Vec<u8>>,
    /// The key after the last.
    pub to: Option<Vec<u8>>,
}

impl KeyRange {
    /// All keys.
    pub const ALL: Self = Self { from: None, to: None };

    /// Keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut to = prefix.to_vec();
        while let Some(last) = to.pop() {
            if let Some(next) = last.checked_add(1) {
                to.push(next);
                break;
            }
        }
        Self { from: Some(prefix.to_vec()), to: (!to.is_empty()).then_some(to) }
    }

    /// Whether a key is inside.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.from.as_deref().is_none_or(|from| key >= from) && self.to.as_deref().is_none_or(|to| key < to)
    }
}

/// Splits everything at equal distances between the first and the last key; big-endian numbers come out evenly.
pub(crate) fn split(first: &[u8], last: &[u8], parts: usize) -> Vec<KeyRange> {
    let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    let number = |key: &[u8]| {
        let mut octets = [0; 8];
        octets.iter_mut().zip(key.iter().skip(common)).for_each(|(to, from)| *to = *from);
        u64::from_be_bytes(octets)
    };
    let (low, high) = (number(first), number(last));
    let parts = u64::try_from(parts).unwrap_or(1).max(1);
    let step = high.saturating_sub(low).checked_div(parts).unwrap_or(0);
    let mut ranges = Vec::new();
    let mut from = None;
    if step > 0 {
        for part in 1..parts {
            let mut key: Vec<u8> = first.iter().take(common).copied().collect();
            key.extend_from_slice(&low.saturating_add(step.saturating_mul(part)).to_be_bytes());
            ranges.push(KeyRange { from: from.take(), to: Some(key.clone()) });
            from = Some(key);
        }
    }
    ranges.push(KeyRange { from, to: None });
    ranges
}

/// Why the state store cannot do what was asked.
#[derive(Debug)]
pub enum StateError {
    /// The database refused.
    Database {
        /// What was being done.
        doing: &'static str,
        /// In which folder.
        folder: PathBuf,
        /// What it said.
        reason: String,
    },
    /// A record of the store's own is not what it must be.
    BadMeta {
        /// In which folder.
        folder: PathBuf,
        /// Which record.
        record: &'static str,
    },
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Database { doing, folder, reason } => write!(
                f,
                "could not {doing} the state in {}: {reason}. If the disk is sound and has room, restore the data folder from a copy",
                folder.display()
            ),
            Self::BadMeta { folder, record } => write!(
                f,
                "the {record} record of the state in {} is damaged: restore the data folder from a copy",
                folder.display()
            ),
        }
    }
}

impl std::error::Error for StateError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_every_key_once() {
        let keys: Vec<Vec<u8>> = (0u64..1000).map(|n| [b"acct".as_slice(), &(n * 7).to_be_bytes()].concat()).collect();
        for parts in [1, 2, 3, 8, 5000] {
            let ranges = split(&keys[0], &keys[999], parts);
            assert!(ranges.len() <= parts.max(1));
            for key in &keys {
                assert_eq!(ranges.iter().filter(|range| range.contains(key)).count(), 1);
            }
        }
        assert_eq!(split(b"a", b"a", 4), [KeyRange::ALL]);
        let quarters = split(&keys[0], &keys[999], 4);
        let sizes: Vec<usize> =
            quarters.iter().map(|range| keys.iter().filter(|key| range.contains(key)).count()).collect();
        assert!(sizes.iter().all(|size| (240..=260).contains(size)), "{sizes:?}");
    }

    #[test]
    fn a_prefix_range_holds_what_begins_with_it() {
        let range = KeyRange::prefix(&[1, 0xFF]);
        assert!(range.contains(&[1, 0xFF]) && range.contains(&[1, 0xFF, 0xFF, 0xFF]));
        assert!(!range.contains(&[2]) && !range.contains(&[1, 0xFE]));
        assert_eq!(KeyRange::prefix(&[0xFF]).to, None);
    }
}
