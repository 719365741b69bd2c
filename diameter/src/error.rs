//! What can be wrong with received octets, and the answer that says so.
//!
//! [`FramingError`] ends a connection; [`DecodeError`] is about one message, knows its result code (RFC 6733 7.1) and
//! its Failed-AVP (7.5). [`error_answer`] builds either of the two shapes an error answer can have. "Not enough octets
//! yet" is no error. What is wrong with a request as a matter of charging is decided elsewhere.

use std::fmt;

use crate::avp::{Avp, AvpFlags};
use crate::dictionary::{self, AvpCode, Grammar};
use crate::header::{CommandCode, Flags, Header};
use crate::message::{Message, MessageTooLong, MessageWriter, pad, write_avp_header};

/// Longest data of an AVP that is handed back in Failed-AVP; of a longer one only the header is (RFC 6733 7.1.5).
pub const FAILED_AVP_DATA_MAX: usize = 4096;

/// How many unknown AVPs one Failed-AVP names.
pub const FAILED_AVPS_MAX: usize = 16;

/// Longest Error-Message, in octets; longer ones are cut.
pub const ERROR_MESSAGE_OCTETS_MAX: usize = 512;

/// A value of Result-Code (RFC 6733 7.1, RFC 8506 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResultCode(pub u32);

macro_rules! result_codes {
    ($($constant:ident = $code:literal: $doc:literal;)*) => {
        impl ResultCode {
            $(#[doc = $doc] pub const $constant: Self = Self($code);)*

            /// The name the standard gives it.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($constant)),)*
                    _ => None,
                }
            }
        }
    };
}

result_codes! {
    SUCCESS = 2001: "Done (RFC 6733 7.1.2).";
    LIMITED_SUCCESS = 2002: "Done, and more will follow (RFC 6733 7.1.2).";
    COMMAND_UNSUPPORTED = 3001: "Unknown command (RFC 6733 7.1.3).";
    UNABLE_TO_DELIVER = 3002: "No way to the destination; clients try another server (RFC 6733 7.1.3).";
    REALM_NOT_SERVED = 3003: "Not our realm (RFC 6733 7.1.3).";
    TOO_BUSY = 3004: "The server that was named cannot take it now (RFC 6733 7.1.3).";
    LOOP_DETECTED = 3005: "The request was here before (RFC 6733 7.1.3).";
    REDIRECT_INDICATION = 3006: "Ask another server (RFC 6733 7.1.3).";
    APPLICATION_UNSUPPORTED = 3007: "Unknown application (RFC 6733 7.1.3).";
    INVALID_HDR_BITS = 3008: "Command flags that do not fit the command (RFC 6733 7.1.3).";
    INVALID_AVP_BITS = 3009: "AVP flags that do not fit the AVP (RFC 6733 7.1.3).";
    UNKNOWN_PEER = 3010: "A CER from a peer we do not know (RFC 6733 7.1.3).";
    AUTHENTICATION_REJECTED = 4001: "Authentication failed (RFC 6733 7.1.4).";
    OUT_OF_SPACE = 4002: "No space to store it (RFC 6733 7.1.4).";
    ELECTION_LOST = 4003: "The other connection stays (RFC 6733 7.1.4).";
    END_USER_SERVICE_DENIED = 4010: "The service is not allowed now (RFC 8506 9.1).";
    CREDIT_CONTROL_NOT_APPLICABLE = 4011: "Allowed without credit control (RFC 8506 9.1).";
    CREDIT_LIMIT_REACHED = 4012: "Not enough credit (RFC 8506 9.1).";
    AVP_UNSUPPORTED = 5001: "An unknown AVP that must be known (RFC 6733 7.1.5).";
    UNKNOWN_SESSION_ID = 5002: "No such session (RFC 6733 7.1.5).";
    AUTHORIZATION_REJECTED = 5003: "The user may not (RFC 6733 7.1.5).";
    INVALID_AVP_VALUE = 5004: "An unusable value (RFC 6733 7.1.5).";
    MISSING_AVP = 5005: "A required AVP is absent (RFC 6733 7.1.5).";
    RESOURCES_EXCEEDED = 5006: "The user has used up what was allowed (RFC 6733 7.1.5).";
    CONTRADICTING_AVPS = 5007: "Two AVPs contradict each other (RFC 6733 7.1.5).";
    AVP_NOT_ALLOWED = 5008: "An AVP that must not be there (RFC 6733 7.1.5).";
    AVP_OCCURS_TOO_MANY_TIMES = 5009: "One AVP too many (RFC 6733 7.1.5).";
    NO_COMMON_APPLICATION = 5010: "A CER without an application of ours (RFC 6733 7.1.5).";
    UNSUPPORTED_VERSION = 5011: "Not version 1 (RFC 6733 7.1.5).";
    UNABLE_TO_COMPLY = 5012: "Anything else (RFC 6733 7.1.5).";
    INVALID_BIT_IN_HEADER = 5013: "A reserved command flag is set (RFC 6733 7.1.5).";
    INVALID_AVP_LENGTH = 5014: "A length that cannot be (RFC 6733 7.1.5).";
    INVALID_MESSAGE_LENGTH = 5015: "A message length that cannot be (RFC 6733 7.1.5).";
    INVALID_AVP_BIT_COMBO = 5016: "AVP flags that cannot be together (RFC 6733 7.1.5).";
    NO_COMMON_SECURITY = 5017: "A CER without a security mechanism of ours (RFC 6733 7.1.5).";
    USER_UNKNOWN = 5030: "No such user (RFC 8506 9.2).";
    RATING_FAILED = 5031: "No price can be found (RFC 8506 9.2).";
}

impl ResultCode {
    /// Whether it is reported in an `answer-message` with the E bit (RFC 6733 7.1.3).
    #[must_use]
    pub const fn is_protocol_error(self) -> bool {
        self.0 / 1000 == 3
    }

    /// Whether the request was carried out (RFC 6733 7.1.2).
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 / 1000 == 2
    }
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "result code {}", self.0),
        }
    }
}

/// Why a stream of octets is no sequence of messages. What follows cannot be found, so the connection ends
/// (RFC 6733 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingError {
    /// The version is not 1 (RFC 6733 3).
    Version {
        /// The version that was read.
        version: u8,
    },
    /// The message length is below 20 or no multiple of 4 (RFC 6733 3).
    Length {
        /// The length that was read.
        length: u32,
    },
    /// The message is longer than is accepted here.
    TooLong {
        /// The length that was read.
        length: u32,
        /// The longest that is accepted.
        max: usize,
    },
    /// The octets given are not exactly one message.
    Cut {
        /// How many octets were given.
        octets: usize,
    },
}

impl FramingError {
    /// What the peer is told before the connection ends (RFC 6733 7.1.5).
    #[must_use]
    pub const fn result_code(&self) -> ResultCode {
        match self {
            Self::Version { .. } => ResultCode::UNSUPPORTED_VERSION,
            Self::Length { .. } | Self::TooLong { .. } | Self::Cut { .. } => ResultCode::INVALID_MESSAGE_LENGTH,
        }
    }
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { version } => write!(f, "version {version} instead of 1"),
            Self::Length { length } => write!(f, "message length {length} is below 20 or no multiple of 4"),
            Self::TooLong { length, max } => write!(f, "message length {length} exceeds the limit of {max}"),
            Self::Cut { octets } => write!(f, "{octets} octets are not one whole message"),
        }
    }
}

impl std::error::Error for FramingError {}

/// An AVP kept beyond the message it came in, to be handed back in Failed-AVP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedAvp {
    /// Code and vendor.
    pub code: AvpCode,
    /// Flags as received.
    pub flags: AvpFlags,
    /// The data; zeros of the type's least length where the real data was longer than [`FAILED_AVP_DATA_MAX`].
    pub data: Vec<u8>,
}

impl From<&Avp<'_>> for OwnedAvp {
    fn from(avp: &Avp<'_>) -> Self {
        if avp.data.len() > FAILED_AVP_DATA_MAX {
            return Self::zeroed(avp.code, avp.flags);
        }
        Self { code: avp.code, flags: avp.flags, data: avp.data.to_vec() }
    }
}

impl OwnedAvp {
    /// A header and zeros of the least length of the type: stands in for an AVP that cannot be read or is not there
    /// (RFC 6733 7.1.5, 7.5).
    #[must_use]
    pub fn zeroed(code: AvpCode, flags: AvpFlags) -> Self {
        let octets = dictionary::traits(code).map_or(0, |traits| traits.kind.octets_min());
        Self { code, flags, data: vec![0; octets] }
    }

    /// Appends the AVP with its padding; the length told is that of what is written, so that it can be read.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let Ok(length) = u32::try_from(self.flags.header_octets() + self.data.len()) else { return };
        write_avp_header(out, self.code, self.flags, length);
        out.extend_from_slice(&self.data);
        pad(out, start);
    }
}

/// Why a received message is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer octets are left than an AVP header has (RFC 6733 4.1).
    AvpHeaderCut {
        /// The octets that are left.
        octets: Vec<u8>,
    },
    /// An AVP's length does not even hold its own header (RFC 6733 4.1).
    AvpShort {
        /// The AVP.
        code: AvpCode,
        /// Its flags.
        flags: AvpFlags,
        /// The length it tells.
        declared: u32,
    },
    /// An AVP runs past the end of what contains it (RFC 6733 4.1).
    AvpOverrun {
        /// The AVP.
        code: AvpCode,
        /// Its flags.
        flags: AvpFlags,
        /// The length it tells.
        declared: u32,
        /// The octets that are there for it.
        left: u32,
    },
    /// An AVP has a length that its type does not allow (RFC 6733 4.2, 4.3).
    AvpLength {
        /// The AVP.
        avp: OwnedAvp,
    },
    /// The V flag is set and the vendor id is 0 (RFC 6733 4.1).
    AvpBits {
        /// The AVP.
        avp: OwnedAvp,
    },
    /// Groups lie in groups deeper than [`crate::avp::DEPTH_MAX`].
    NestedTooDeep {
        /// The group that was not opened.
        code: AvpCode,
    },
    /// AVPs with the M flag that the dictionary does not know (RFC 6733 4.1); the first [`FAILED_AVPS_MAX`] of them.
    AvpUnsupported {
        /// The AVPs.
        avps: Vec<OwnedAvp>,
    },
    /// A value that cannot be used where it stands.
    AvpValue {
        /// The AVP.
        avp: OwnedAvp,
    },
    /// The command or group needs this AVP and it is absent.
    MissingAvp {
        /// The AVP that is missing.
        code: AvpCode,
    },
    /// AVPs that contradict each other.
    ContradictingAvps {
        /// The AVPs.
        avps: Vec<OwnedAvp>,
    },
    /// An AVP that must not be there.
    AvpNotAllowed {
        /// The AVP.
        avp: OwnedAvp,
    },
    /// An AVP occurs more often than is allowed; the first one too many.
    AvpOccursTooManyTimes {
        /// The AVP.
        avp: OwnedAvp,
    },
}

impl DecodeError {
    /// What the peer is told (RFC 6733 7.1); a new variant cannot forget its code.
    #[must_use]
    pub const fn result_code(&self) -> ResultCode {
        match self {
            Self::AvpHeaderCut { .. } | Self::AvpShort { .. } | Self::AvpOverrun { .. } | Self::AvpLength { .. } => {
                ResultCode::INVALID_AVP_LENGTH
            }
            Self::AvpBits { .. } => ResultCode::INVALID_AVP_BITS,
            Self::NestedTooDeep { .. } => ResultCode::UNABLE_TO_COMPLY,
            Self::AvpUnsupported { .. } => ResultCode::AVP_UNSUPPORTED,
            Self::AvpValue { .. } => ResultCode::INVALID_AVP_VALUE,
            Self::MissingAvp { .. } => ResultCode::MISSING_AVP,
            Self::ContradictingAvps { .. } => ResultCode::CONTRADICTING_AVPS,
            Self::AvpNotAllowed { .. } => ResultCode::AVP_NOT_ALLOWED,
            Self::AvpOccursTooManyTimes { .. } => ResultCode::AVP_OCCURS_TOO_MANY_TIMES,
        }
    }

    /// The octets that go into Failed-AVP (RFC 6733 7.1.5, 7.5), `None` when the error has none.
    ///
    /// An AVP that cannot be read is given as its header and zeros; a header that is cut is filled up with zeros; a
    /// missing AVP is given as an example of it. Lengths are those of what is given, so that the answer itself can be
    /// read.
    #[must_use]
    pub fn failed_avp(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::AvpHeaderCut { octets } => cut_header(octets).write(&mut out),
            Self::AvpShort { code, flags, .. } | Self::AvpOverrun { code, flags, .. } => {
                OwnedAvp::zeroed(*code, *flags).write(&mut out);
            }
            Self::AvpLength { avp }
            | Self::AvpBits { avp }
            | Self::AvpValue { avp }
            | Self::AvpNotAllowed { avp }
            | Self::AvpOccursTooManyTimes { avp } => avp.write(&mut out),
            Self::AvpUnsupported { avps } | Self::ContradictingAvps { avps } => {
                avps.iter().for_each(|avp| avp.write(&mut out));
            }
            Self::MissingAvp { code } => {
                OwnedAvp::zeroed(*code, AvpFlags::new(*code, dictionary::is_sent_mandatory(*code))).write(&mut out);
            }
            Self::NestedTooDeep { .. } => return None,
        }
        Some(out)
    }

    /// The answer that tells the peer, its Error-Message being this error in words.
    #[must_use]
    pub fn answer(&self, request: &Message<'_>, origin: &Identity) -> Vec<u8> {
        let failed = self.failed_avp();
        error_answer(request, origin, self.result_code(), failed.as_deref(), Some(&self.to_string()))
    }
}

/// What is left of an AVP header, filled up with zeros (RFC 6733 7.1.5).
fn cut_header(octets: &[u8]) -> OwnedAvp {
    let mut header = [0; 5];
    header.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
    let [c0, c1, c2, c3, flags] = header;
    // Without room for a vendor id there is none to hand back; V would only make the header longer.
    let flags = AvpFlags::from_octet(flags & 0x7f);
    OwnedAvp { code: AvpCode::new(u32::from_be_bytes([c0, c1, c2, c3]), 0), flags, data: Vec::new() }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, avps: &[OwnedAvp]| {
            avps.iter().enumerate().try_for_each(|(at, avp)| {
                if at > 0 {
                    f.write_str(", ")?;
                }
                write!(f, "{}", avp.code)
            })
        };
        match self {
            Self::AvpHeaderCut { octets } => write!(f, "{} octets are no AVP header", octets.len()),
            Self::AvpShort { code, declared, .. } => write!(f, "{code}: length {declared} is shorter than its header"),
            Self::AvpOverrun { code, declared, left, .. } => {
                write!(f, "{code}: length {declared} where only {left} octets are left")
            }
            Self::AvpLength { avp } => write!(f, "{}: {} octets of data do not fit its type", avp.code, avp.data.len()),
            Self::AvpBits { avp } => write!(f, "{}: V flag with vendor id 0", avp.code),
            Self::NestedTooDeep { code } => write!(f, "{code}: groups are nested too deep"),
            Self::AvpUnsupported { avps } => {
                f.write_str("unknown and mandatory: ")?;
                list(f, avps)
            }
            Self::AvpValue { avp } => write!(f, "{}: unusable value", avp.code),
            Self::MissingAvp { code } => write!(f, "{code} is missing"),
            Self::ContradictingAvps { avps } => {
                f.write_str("contradicting: ")?;
                list(f, avps)
            }
            Self::AvpNotAllowed { avp } => write!(f, "{} is not allowed here", avp.code),
            Self::AvpOccursTooManyTimes { avp } => write!(f, "{} occurs too many times", avp.code),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Who a node says it is: Origin-Host, Origin-Realm, Origin-State-Id (RFC 6733 6.3, 6.4, 8.16).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The fully qualified host name.
    pub host: String,
    /// The realm.
    pub realm: String,
    /// Grows when sessions are lost, and only then; 0 when nothing is to be concluded from it, and then it is not told.
    pub state: u32,
}

impl Identity {
    /// Origin-State-Id, where a grammar has room for it.
    pub(crate) fn write_state(&self, writer: &mut MessageWriter<'_>) {
        if self.state != 0 {
            writer.u32(AvpCode::ORIGIN_STATE_ID, self.state);
        }
    }
}

/// A whole error answer to `request`: header ids, application, P flag, Session-Id and every Proxy-Info copied
/// (RFC 6733 6.2).
///
/// Protocol errors (3xxx) get the `answer-message` grammar with the E bit (RFC 6733 7.2), all others the grammar of the
/// command. Where that cannot be built, because the request lacks what has to be echoed or the command is none of ours,
/// the `answer-message` stands in for it (RFC 6733 7.1.5). `failed_avp` are the octets inside Failed-AVP, as
/// [`DecodeError::failed_avp`] gives them.
#[must_use]
pub fn error_answer(
    request: &Message<'_>,
    origin: &Identity,
    code: ResultCode,
    failed_avp: Option<&[u8]>,
    message: Option<&str>,
) -> Vec<u8> {
    let echo = Echo::of(request);
    let shape = if code.is_protocol_error() { Shape::AnswerMessage } else { Shape::of(request.header(), &echo) };
    let mut out = Vec::with_capacity(256);
    let report = Report { origin, code, failed_avp, message };
    if write_answer(&mut out, request, &shape, &report).is_err() {
        // Only a request near 16 MiB of Session-Id and Proxy-Info gets here; it hears the bare code.
        let bare = MessageWriter::new(&mut out, &answer_header(request.header(), true));
        // The bare answer holds a few short AVPs and always fits.
        let _ = write_origin_and_result(bare, &report).finish();
    }
    out
}

/// What an error answer reports.
struct Report<'r> {
    origin: &'r Identity,
    code: ResultCode,
    failed_avp: Option<&'r [u8]>,
    message: Option<&'r str>,
}

/// The AVPs of a request that its error answer may have to repeat.
struct Echo<'a> {
    session: Option<Avp<'a>>,
    request_type: Option<Avp<'a>>,
    request_number: Option<Avp<'a>>,
    sub_session: Option<Avp<'a>>,
}

impl<'a> Echo<'a> {
    /// Takes what can be read; a request that is answered with an error may well end in the middle.
    fn of(request: &Message<'a>) -> Self {
        let mut echo = Self { session: None, request_type: None, request_number: None, sub_session: None };
        for avp in request.avps().map_while(Result::ok) {
            let (place, octets) = match avp.code {
                AvpCode::SESSION_ID => (&mut echo.session, avp.data.len()),
                AvpCode::CC_REQUEST_TYPE => (&mut echo.request_type, 4),
                AvpCode::CC_REQUEST_NUMBER => (&mut echo.request_number, 4),
                AvpCode::CC_SUB_SESSION_ID => (&mut echo.sub_session, 8),
                _ => continue,
            };
            if place.is_none() && avp.data.len() == octets {
                *place = Some(avp);
            }
        }
        echo
    }
}

/// The two grammars of an error answer, the second with what it has to echo.
enum Shape<'a> {
    AnswerMessage,
    Command { application: Option<u32>, echoed: [Option<Avp<'a>>; 3] },
}

impl<'a> Shape<'a> {
    fn of(header: &Header, echo: &Echo<'a>) -> Self {
        let plain = Self::Command { application: None, echoed: [None; 3] };
        match header.command {
            CommandCode::CREDIT_CONTROL => match (echo.session, echo.request_type, echo.request_number) {
                (Some(_), request_type @ Some(_), request_number @ Some(_)) => {
                    Self::Command {
                        // The header's: the AVP may be what is missing or wrong.
                        application: Some(header.application.0),
                        echoed: [request_type, request_number, echo.sub_session],
                    }
                }
                _ => Self::AnswerMessage,
            },
            CommandCode::DEVICE_WATCHDOG | CommandCode::DISCONNECT_PEER => plain,
            command if Grammar::of_command(command, false).is_some() && echo.session.is_some() => plain,
            _ => Self::AnswerMessage,
        }
    }
}

fn answer_header(request: &Header, error: bool) -> Header {
    let answer = request.answer();
    let flags = if error { answer.flags.union(Flags::ERROR) } else { answer.flags };
    Header { flags, ..answer }
}

fn write_answer(
    out: &mut Vec<u8>,
    request: &Message<'_>,
    shape: &Shape<'_>,
    report: &Report<'_>,
) -> Result<usize, MessageTooLong> {
    let is_answer_message = matches!(shape, Shape::AnswerMessage);
    let mut writer = MessageWriter::new(out, &answer_header(request.header(), is_answer_message));
    if let Some(session) = request.find(AvpCode::SESSION_ID) {
        writer.octets(AvpCode::SESSION_ID, session.data);
    }
    match shape {
        Shape::AnswerMessage => writer = write_origin_and_result(writer, report),
        Shape::Command { application, echoed } => {
            writer.u32(AvpCode::RESULT_CODE, report.code.0);
            writer.utf8(AvpCode::ORIGIN_HOST, &report.origin.host);
            writer.utf8(AvpCode::ORIGIN_REALM, &report.origin.realm);
            if let Some(application) = *application {
                writer.u32(AvpCode::AUTH_APPLICATION_ID, application);
            }
            for avp in echoed.iter().flatten() {
                writer.octets(avp.code, avp.data);
            }
        }
    }
    // A DPA has no room for it (RFC 6733 5.4.2).
    if request.header().command != CommandCode::DISCONNECT_PEER || is_answer_message {
        report.origin.write_state(&mut writer);
    }
    if let Some(message) = report.message {
        let end = message.floor_char_boundary(ERROR_MESSAGE_OCTETS_MAX);
        writer.utf8(AvpCode::ERROR_MESSAGE, message.get(..end).unwrap_or_default());
    }
    if let Some(failed) = report.failed_avp {
        writer.grouped(AvpCode::FAILED_AVP, |writer| writer.encoded(failed));
    }
    for avp in request.avps().map_while(Result::ok).filter(|avp| avp.code == AvpCode::PROXY_INFO) {
        writer.copy(&avp);
    }
    writer.finish()
}

fn write_origin_and_result<'b>(mut writer: MessageWriter<'b>, report: &Report<'_>) -> MessageWriter<'b> {
    writer.utf8(AvpCode::ORIGIN_HOST, &report.origin.host);
    writer.utf8(AvpCode::ORIGIN_REALM, &report.origin.realm);
    writer.u32(AvpCode::RESULT_CODE, report.code.0);
    writer
}
