//! What is known about AVPs: code, vendor, name, type, M-flag rule, and how often they may occur where.
//!
//! A table and its look-ups. [`traits`] is on the path of every received AVP and costs one indexed read; [`definition`]
//! adds the name for people and diagnostics. Enumerated values are not listed: later releases add some, so a value is
//! judged only where it is used.

mod grammar;
mod table;

use std::fmt;

use crate::header::CommandCode;

/// The vendor id of 3GPP.
pub const VENDOR_3GPP: u32 = 10415;

/// Names an AVP: its code within its vendor's numbers, vendor 0 being the IETF (RFC 6733 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AvpCode {
    /// The AVP code.
    pub code: u32,
    /// The vendor id, 0 when the AVP has none.
    pub vendor: u32,
}

impl AvpCode {
    /// AVP `code` of `vendor`.
    #[must_use]
    pub const fn new(code: u32, vendor: u32) -> Self {
        Self { code, vendor }
    }

    /// The name in the dictionary, if it is there.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        definition(self).map(|definition| definition.name)
    }
}

impl fmt::Display for AvpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, vendor } = *self;
        match (self.name(), vendor) {
            (Some(name), 0) => write!(f, "{name} ({code})"),
            (Some(name), _) => write!(f, "{name} ({code}/{vendor})"),
            (None, 0) => write!(f, "AVP {code}"),
            (None, _) => write!(f, "AVP {code}/{vendor}"),
        }
    }
}

impl fmt::Debug for AvpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The type of an AVP's data (RFC 6733 4.2 and 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the standard's own")]
pub enum Kind {
    OctetString,
    Utf8String,
    Integer32,
    Integer64,
    Unsigned32,
    Unsigned64,
    Grouped,
    Address,
    Time,
    DiameterIdentity,
    DiameterUri,
    Enumerated,
    IpFilterRule,
}

impl Kind {
    /// The fewest octets of data this type can have.
    #[must_use]
    pub const fn octets_min(self) -> usize {
        match self {
            Self::OctetString
            | Self::Utf8String
            | Self::Grouped
            | Self::DiameterIdentity
            | Self::DiameterUri
            | Self::IpFilterRule => 0,
            Self::Address => 2,
            Self::Integer32 | Self::Unsigned32 | Self::Time | Self::Enumerated => 4,
            Self::Integer64 | Self::Unsigned64 => 8,
        }
    }

    /// Whether data of this length and beginning can be of this type (RFC 6733 4.2, 4.3).
    #[must_use]
    #[inline]
    pub const fn admits(self, data: &[u8]) -> bool {
        match self {
            Self::OctetString | Self::Utf8String | Self::DiameterIdentity | Self::DiameterUri | Self::IpFilterRule => {
                true
            }
            Self::Grouped => data.len().is_multiple_of(4),
            Self::Address => match data {
                [0, 1, rest @ ..] => rest.len() == 4,
                [0, 2, rest @ ..] => rest.len() == 16,
                _ => data.len() >= 2,
            },
            Self::Integer32 | Self::Unsigned32 | Self::Time | Self::Enumerated => data.len() == 4,
            Self::Integer64 | Self::Unsigned64 => data.len() == 8,
        }
    }
}

/// Whether a sender sets the M flag (RFC 6733 4.5). A receiver takes a known AVP either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mandatory {
    /// It is set.
    Must,
    /// It may be set; we leave it clear, so that a receiver without the AVP goes on without it.
    May,
    /// It is clear.
    MustNot,
}

/// What decoding and encoding need to know about an AVP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// The type of its data.
    pub kind: Kind,
    /// Its M-flag rule.
    pub mandatory: Mandatory,
}

/// A row of the dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Code and vendor.
    pub code: AvpCode,
    /// The name the standard gives it.
    pub name: &'static str,
    /// The type of its data.
    pub kind: Kind,
    /// Its M-flag rule.
    pub mandatory: Mandatory,
}

/// All rows, sorted by vendor, then code.
#[must_use]
pub fn definitions() -> &'static [Definition] {
    table::DEFINITIONS
}

/// The row of `code`.
#[must_use]
pub fn definition(code: AvpCode) -> Option<&'static Definition> {
    let key = (code.vendor, code.code);
    let at = table::DEFINITIONS.binary_search_by_key(&key, |row| (row.code.vendor, row.code.code)).ok()?;
    table::DEFINITIONS.get(at)
}

/// Type and M-flag rule of `code`: the same facts as [`definition`], laid out for the hot path.
#[must_use]
#[inline]
pub fn traits(code: AvpCode) -> Option<Traits> {
    let by_code: &[Option<Traits>] = match code.vendor {
        0 => &IETF,
        VENDOR_3GPP => &TGPP,
        _ => return definition(code).map(|row| Traits { kind: row.kind, mandatory: row.mandatory }),
    };
    by_code.get(usize::try_from(code.code).ok()?).copied().flatten()
}

/// Whether we set the M flag when sending `code`.
#[must_use]
#[inline]
pub fn is_sent_mandatory(code: AvpCode) -> bool {
    matches!(traits(code), Some(Traits { mandatory: Mandatory::Must, .. }))
}

static IETF: [Option<Traits>; 1024] = by_code(0);
static TGPP: [Option<Traits>; 4608] = by_code(VENDOR_3GPP);

#[expect(clippy::indexing_slicing, reason = "runs at compile time only, where a bad index is a compile error")]
const fn by_code<const N: usize>(vendor: u32) -> [Option<Traits>; N] {
    let mut by_code = [None; N];
    let mut at = 0;
    while at < table::DEFINITIONS.len() {
        let row = &table::DEFINITIONS[at];
        if row.code.vendor == vendor {
            by_code[row.code.code as usize] = Some(Traits { kind: row.kind, mandatory: row.mandatory });
        }
        at += 1;
    }
    by_code
}

/// How often AVPs may occur in a command or a group; those not named may occur at will (RFC 6733 3.2, 4.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grammar {
    /// Exactly once: `{X}`.
    pub one: &'static [AvpCode],
    /// At least once: `1*{X}`.
    pub some: &'static [AvpCode],
    /// At most once: `[X]`.
    pub optional: &'static [AvpCode],
}

impl Grammar {
    const EMPTY: Self = Self { one: &[], some: &[], optional: &[] };

    /// The grammar of a command this crate reads or writes.
    #[must_use]
    pub fn of_command(command: CommandCode, request: bool) -> Option<&'static Self> {
        grammar::of_command(command, request)
    }

    /// The grammar of a Grouped AVP, `None` when its members are not counted.
    #[must_use]
    pub fn of_group(group: AvpCode) -> Option<&'static Self> {
        grammar::of_group(group)
    }
}
