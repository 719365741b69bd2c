//! What is said of a charging group, as octets. Absent: its accounts and members, which say themselves in which group they are.

use super::wire::{Reader, RecordError, Writer};

/// The format of these records.
const VERSION: u8 = 1;

/// What is said of a charging group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupWords {
    /// What people call it; may be empty.
    pub display_name: Box<str>,
    /// The number that other systems know it by; empty where there is none.
    pub external_id: Box<str>,
}

/// Writes what is said of a group at the end of `out`.
pub fn encode_group(out: &mut Vec<u8>, words: &GroupWords) {
    let mut w = Writer::new(out);
    w.u8(VERSION);
    w.str(&words.display_name);
    w.str(&words.external_id);
}

/// Reads what is said of a group.
///
/// # Errors
/// [`RecordError`] when the octets are none.
pub fn decode_group(octets: &[u8]) -> Result<GroupWords, RecordError> {
    let mut r = Reader::new(octets);
    r.version(VERSION, "group")?;
    let words = GroupWords { display_name: r.str("display name")?.into(), external_id: r.str("external id")?.into() };
    r.finish("group")?;
    Ok(words)
}
