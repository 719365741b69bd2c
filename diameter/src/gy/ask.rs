//! What we ask a client about a session of its own: to ask anew for its units (RAR, RFC 8506 5.5, RFC 6733 8.3) or to end it
//! (ASR, RFC 6733 8.5); and what it answers.
//!
//! [`encode`] writes the request, [`Answer::read`] takes the answer over after checking that it is one. Ids of the header are
//! for whoever sends it ([`crate::Peer::request`]). Absent: credit pools, which we never grant, and any opinion about what
//! follows from an answer.

use std::fmt;

use rating_engine::ids::{RatingGroup, ServiceId, SessionId};

use super::request::session_parts;
use crate::avp::Avp;
use crate::dictionary::AvpCode;
use crate::error::{DecodeError, ERROR_MESSAGE_OCTETS_MAX, Identity, ResultCode};
use crate::header::{ApplicationId, CommandCode, Flags, Header};
use crate::message::{Message, MessageTooLong, MessageWriter};

/// Re-Auth-Request-Type (RFC 6733 8.12): what was used is not asked for, only whether more may be.
pub(super) const AUTHORIZE_ONLY: u32 = 0;

/// What a client is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Report and ask for units anew (RAR).
    Reauthorise(Scope),
    /// End the session (ASR). A session with sub-sessions ends as a whole: the base protocol does not know them.
    Abort,
}

/// What of a session is re-authorised (RFC 8506 5.5); nothing named: all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this Rating-Group.
    pub rating_group: Option<RatingGroup>,
    /// Only this Service-Identifier.
    pub service: Option<ServiceId>,
}

/// A session and its client, as the client named both.
#[derive(Clone, Copy, Debug)]
pub struct Addressee<'a> {
    /// The session.
    pub session: &'a SessionId,
    /// Destination-Host: the client's Origin-Host.
    pub host: &'a str,
    /// Destination-Realm: the client's Origin-Realm.
    pub realm: &'a str,
}

impl Ask {
    /// The command that asks it.
    #[must_use]
    pub const fn command(self) -> CommandCode {
        match self {
            Self::Reauthorise(_) => CommandCode::RE_AUTH,
            Self::Abort => CommandCode::ABORT_SESSION,
        }
    }
}

/// Appends the request and returns its length.
///
/// # Errors
/// A name is longer than a message can be; `out` is as it was.
pub fn encode(out: &mut Vec<u8>, ask: Ask, to: &Addressee<'_>, own: &Identity) -> Result<usize, MessageTooLong> {
    let header = Header {
        flags: Flags::REQUEST.union(Flags::PROXIABLE),
        command: ask.command(),
        application: ApplicationId::CREDIT_CONTROL,
        hop_by_hop: 0,
        end_to_end: 0,
    };
    let (session, sub_session) = session_parts(to.session);
    let mut writer = MessageWriter::new(out, &header);
    writer.octets(AvpCode::SESSION_ID, session);
    writer.utf8(AvpCode::ORIGIN_HOST, &own.host);
    writer.utf8(AvpCode::ORIGIN_REALM, &own.realm);
    writer.utf8(AvpCode::DESTINATION_REALM, to.realm);
    writer.utf8(AvpCode::DESTINATION_HOST, to.host);
    writer.u32(AvpCode::AUTH_APPLICATION_ID, ApplicationId::CREDIT_CONTROL.0);
    if let Ask::Reauthorise(Scope { rating_group, service }) = ask {
        writer.u32(AvpCode::RE_AUTH_REQUEST_TYPE, AUTHORIZE_ONLY);
        if let Some(sub_session) = sub_session {
            writer.u64(AvpCode::CC_SUB_SESSION_ID, sub_session);
        }
        if let Some(service) = service {
            writer.u32(AvpCode::SERVICE_IDENTIFIER, service.get());
        }
        if let Some(group) = rating_group {
            writer.u32(AvpCode::RATING_GROUP, group.get());
        }
    }
    writer.finish()
}

/// Result-Code or Experimental-Result (RFC 6733 7.1, 7.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerCode {
    /// Whose code it is; 0 for those of the standard.
    pub vendor: u32,
    /// The number. Its thousands mean the same whoever's it is.
    pub code: ResultCode,
}

impl AnswerCode {
    /// A code of the standard.
    #[must_use]
    pub const fn standard(code: ResultCode) -> Self {
        Self { vendor: 0, code }
    }

    /// What it means for what was asked.
    #[must_use]
    pub const fn meaning(self) -> Meaning {
        match (self.vendor, self.code) {
            (_, code) if code.is_success() => Meaning::Consented,
            (0, ResultCode::UNKNOWN_SESSION_ID) => Meaning::UnknownSession,
            (0, ResultCode::UNABLE_TO_COMPLY) => Meaning::UnableToComply,
            _ => Meaning::Other,
        }
    }
}

impl fmt::Display for AnswerCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.vendor == 0 {
            self.code.fmt(f)
        } else {
            write!(f, "result code {} of vendor {}", self.code.0, self.vendor)
        }
    }
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The client does what was asked. To a RAR, 2002: a CCR follows; 2001: one is on its way already (RFC 8506 5.5).
    Consented,
    /// The client has no such session: what is held for it here is held for nobody.
    UnknownSession,
    /// The client cannot, for now.
    UnableToComply,
    /// Anything else; 3xxx is also said by agents that do not reach the client.
    Other,
}

/// A RAA or ASA, or an agent's `answer-message` in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was answered. Where both are there, Result-Code counts.
    pub code: AnswerCode,
    /// Error-Message, at most [`ERROR_MESSAGE_OCTETS_MAX`] octets of it.
    pub message: Option<Box<str>>,
}

/// Why octets are no answer to what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// It is a request, or the answer to another command.
    OtherCommand(CommandCode),
    /// It speaks of another session.
    OtherSession,
    /// It is defective.
    Defective(DecodeError),
}

impl From<DecodeError> for AnswerError {
    fn from(defect: DecodeError) -> Self {
        Self::Defective(defect)
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherCommand(command) => write!(f, "a message of command {command} is no answer to what was asked"),
            Self::OtherSession => f.write_str("the answer names another session"),
            Self::Defective(defect) => defect.fmt(f),
        }
    }
}

impl std::error::Error for AnswerError {}

impl Answer {
    /// Reads the answer to `ask` about `session`. One that names no session counts: its header says what it answers.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub fn read(message: &Message<'_>, ask: Ask, session: &SessionId) -> Result<Self, AnswerError> {
        let header = message.header();
        if header.is_request() || header.command != ask.command() {
            return Err(AnswerError::OtherCommand(header.command));
        }
        let (mut standard, mut experimental, mut text) = (None, None, None);
        for avp in message.avps() {
            let avp = avp.map_err(DecodeError::from)?;
            match avp.code {
                AvpCode::SESSION_ID if avp.data != session_parts(session).0 => return Err(AnswerError::OtherSession),
                AvpCode::RESULT_CODE => standard = Some(AnswerCode::standard(ResultCode(avp.u32()?))),
                AvpCode::EXPERIMENTAL_RESULT => experimental = Some(read_experimental(&avp)?),
                AvpCode::ERROR_MESSAGE => text = Some(shortened(avp.data)),
                _ => {}
            }
        }
        let code = standard.or(experimental).ok_or(DecodeError::MissingAvp { code: AvpCode::RESULT_CODE })?;
        Ok(Self { code, message: text })
    }
}

fn read_experimental(group: &Avp<'_>) -> Result<AnswerCode, DecodeError> {
    let (mut vendor, mut code) = (None, None);
    for avp in group.grouped()? {
        let avp = avp?;
        match avp.code {
            AvpCode::VENDOR_ID => vendor = Some(avp.u32()?),
            AvpCode::EXPERIMENTAL_RESULT_CODE => code = Some(ResultCode(avp.u32()?)),
            _ => {}
        }
    }
    Ok(AnswerCode {
        vendor: vendor.ok_or(DecodeError::MissingAvp { code: AvpCode::VENDOR_ID })?,
        code: code.ok_or(DecodeError::MissingAvp { code: AvpCode::EXPERIMENTAL_RESULT_CODE })?,
    })
}

/// Text for people: what is no UTF-8 is shown as such, and nobody reads more than so much.
fn shortened(text: &[u8]) -> Box<str> {
    let text = text.get(..ERROR_MESSAGE_OCTETS_MAX).unwrap_or(text);
    String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
