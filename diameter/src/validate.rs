//! One walk over all AVPs of a message, groups included: lengths, flags, types, and what the dictionary does not know.
//!
//! The walk is the part every request goes through before anybody believes it. [`check_grammar`] is the other part, for
//! those who want to know whether a command or group is complete. Values are judged where they are used.
//!
//! Absent: the M flag of a known AVP, which is never a reason to refuse it (RFC 6733 4.1); reserved flag bits, which
//! are ignored.

use crate::avp::{Avp, Avps};
use crate::dictionary::{self, AvpCode, Grammar, Kind};
use crate::error::{DecodeError, FAILED_AVPS_MAX, OwnedAvp};
use crate::header::Header;
use crate::message::Message;

/// What to do with an AVP that the dictionary does not know and that has the M flag (RFC 6733 4.1).
///
/// Real networks carry AVPs of vendors the other side never heard of, so this is a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnknownAvps {
    /// Refuse the message with 5001, except for AVPs of these vendors.
    Reject {
        /// Vendors whose unknown AVPs are ignored.
        tolerated_vendors: Vec<u32>,
    },
    /// Ignore the AVP.
    Ignore,
}

impl Default for UnknownAvps {
    /// What the standard demands.
    fn default() -> Self {
        Self::Reject { tolerated_vendors: Vec::new() }
    }
}

impl UnknownAvps {
    fn tolerates(&self, vendor: u32) -> bool {
        match self {
            Self::Reject { tolerated_vendors } => tolerated_vendors.contains(&vendor),
            Self::Ignore => true,
        }
    }
}

/// Walks `message` and reports the first defect: of lengths and flags first, then of unknown AVPs.
///
/// # Errors
/// See [`walk`]; unknown AVPs with the M flag are one too, unless `unknown` lets them pass.
pub fn validate(message: &Message<'_>, unknown: &UnknownAvps) -> Result<(), DecodeError> {
    match walk(message.avps(), unknown)? {
        Some(unsupported) => Err(unsupported),
        None => Ok(()),
    }
}

/// Walks `avps` once. What is unknown and has the M flag is not an error yet but what is returned, because other checks
/// come between the two (is the message for us at all?).
///
/// An unknown group without the M flag is ignored with everything in it (RFC 6733 4.4), since nobody can know that it
/// is a group.
///
/// # Errors
/// An AVP does not fit where it lies, its length does not fit its type, its flags cannot be, or groups are nested too
/// deep.
pub fn walk(avps: Avps<'_>, unknown: &UnknownAvps) -> Result<Option<DecodeError>, DecodeError> {
    walk_and_see(avps, unknown, |_| {})
}

/// The same; `see` gets every AVP at the top that is sound in itself.
pub(crate) fn walk_and_see<'a>(
    avps: Avps<'a>,
    unknown: &UnknownAvps,
    mut see: impl FnMut(&Avp<'a>),
) -> Result<Option<DecodeError>, DecodeError> {
    let mut unsupported = Vec::new();
    for avp in avps {
        let avp = avp?;
        if !is_plain(&avp) {
            judge(&avp, unknown, &mut unsupported)?;
        }
        see(&avp);
    }
    Ok(if unsupported.is_empty() { None } else { Some(DecodeError::AvpUnsupported { avps: unsupported }) })
}

/// Whether an AVP is known, no group, and sound: what most are, so that it is found out first.
#[inline]
fn is_plain(avp: &Avp<'_>) -> bool {
    let is_sound = |kind: Kind| kind != Kind::Grouped && kind.admits(avp.data);
    dictionary::traits(avp.code).is_some_and(|traits| is_sound(traits.kind))
        && (avp.code.vendor != 0 || !avp.flags.has_vendor())
}

/// One AVP with everything in it. Recursion ends at [`crate::avp::DEPTH_MAX`], which [`crate::Avp::grouped`] watches.
fn judge(avp: &Avp<'_>, unknown: &UnknownAvps, unsupported: &mut Vec<OwnedAvp>) -> Result<(), DecodeError> {
    if avp.flags.has_vendor() && avp.code.vendor == 0 {
        return Err(DecodeError::AvpBits { avp: OwnedAvp::from(avp) });
    }
    match dictionary::traits(avp.code).map(|traits| traits.kind) {
        Some(kind) if !kind.admits(avp.data) => return Err(avp.invalid_length()),
        // What somebody found wrong is wrong again here (RFC 6733 7.5).
        Some(Kind::Grouped) if avp.code == AvpCode::FAILED_AVP => {}
        Some(Kind::Grouped) => return judge_members(avp, unknown, unsupported),
        Some(_) => {}
        None if !avp.flags.is_mandatory() || unknown.tolerates(avp.code.vendor) => {}
        None if unsupported.len() >= FAILED_AVPS_MAX => {}
        None => unsupported.push(OwnedAvp::from(avp)),
    }
    Ok(())
}

fn judge_members(group: &Avp<'_>, unknown: &UnknownAvps, unsupported: &mut Vec<OwnedAvp>) -> Result<(), DecodeError> {
    for avp in group.grouped()? {
        let avp = avp?;
        if !is_plain(&avp) {
            judge(&avp, unknown, unsupported)?;
        }
    }
    Ok(())
}

/// Whether the message has what its command needs and nothing of it too often, groups of the base protocol and of
/// credit control included. The messages of commands without a grammar pass. Thorough rather than fast: whoever reads a
/// command anyway notices what is missing on the way.
///
/// # Errors
/// A required AVP is missing (RFC 6733 7.1.5) or one occurs too many times; missing ones first.
pub fn check_message_grammar(message: &Message<'_>) -> Result<(), DecodeError> {
    let Header { command, .. } = *message.header();
    match Grammar::of_command(command, message.header().is_request()) {
        Some(grammar) => check_grammar(message.avps(), grammar),
        None => Ok(()),
    }
}

/// Whether `avps` have what `grammar` needs and nothing of it too often, and so on inside their groups.
///
/// # Errors
/// A required AVP is missing or one occurs too many times; missing ones first. Also what reading the AVPs brings up.
pub fn check_grammar(avps: Avps<'_>, grammar: &Grammar) -> Result<(), DecodeError> {
    for &code in grammar.one.iter().chain(grammar.some) {
        if !contains(avps, code)? {
            return Err(DecodeError::MissingAvp { code });
        }
    }
    for (at, avp) in avps.enumerate() {
        let avp = avp?;
        let single = grammar.one.contains(&avp.code) || grammar.optional.contains(&avp.code);
        if single && count_before(avps, avp.code, at)? > 0 {
            return Err(DecodeError::AvpOccursTooManyTimes { avp: OwnedAvp::from(&avp) });
        }
    }
    for avp in avps {
        let avp = avp?;
        if let Some(grammar) = Grammar::of_group(avp.code) {
            check_grammar(avp.grouped()?, grammar)?;
        }
    }
    Ok(())
}

fn contains(avps: Avps<'_>, code: AvpCode) -> Result<bool, DecodeError> {
    for avp in avps {
        if avp?.code == code {
            return Ok(true);
        }
    }
    Ok(false)
}

fn count_before(avps: Avps<'_>, code: AvpCode, end: usize) -> Result<usize, DecodeError> {
    avps.take(end).try_fold(0, |count, avp| Ok(count + usize::from(avp?.code == code)))
}
