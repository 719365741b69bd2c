//! A CCR (RFC 8506 3.1) as a charging request, and as what its answer has to repeat.
//!
//! [`parse`] judges completeness and values in the order of RFC 6733 7.1.5 as this crate keeps it: what is missing,
//! what is there too often, values, contradictions. Whatever it returns can be charged; whether the client may is
//! decided later. All sizes are bounded: [`SERVICES_MAX`], [`SERVICE_IDS_MAX`], [`REPORTS_MAX`], [`IDENTIFIERS_MAX`],
//! [`SESSION_ID_OCTETS_MAX`], [`TEXT_OCTETS_MAX`].
//!
//! How a request is understood where standards and clients leave a choice:
//! - The session is named by Session-Id; if there is a CC-Sub-Session-Id, a zero octet and its 8 octets follow.
//! - Units stand in MSCCs or at command level, never in both (5007). Without an MSCC the command level is one service,
//!   with a key made of Service-Identifier; in a session it exists only if it asks for or reports units, so that a
//!   client may open a session without asking for anything.
//! - An absent Requested-Service-Unit asks for nothing, an empty one leaves the amount to us, also when it holds only
//!   AVPs we do not know.
//! - Service-Identifiers of one MSCC are a set: in another order, or one of them twice, they are the same service. Two
//!   MSCCs of one session that ask for units of the same service contradict each other (5007).
//! - A Used-Service-Unit without units reports nothing. Tariff-Change-Usage in the MSCC counts for those without one.
//! - Requested-Action matters in an EVENT_REQUEST only; real clients send it always.
//! - User-Name is no identifier. Identifiers inside Service-Information count when there are none at command level.
//! - A refund names the event by its Refund-Information; without one, the event is that of the same Session-Id.

use std::fmt;
use std::sync::Arc;

use rating_engine::command::{Action, Command, Requested, ServiceRequest, TariffPart, Used};
use rating_engine::context::Context;
use rating_engine::ids::{RatingGroup, ServiceId, SessionId, SubscriberId};
use rating_engine::money::Money;
use rating_engine::tariff::{Service, ServiceKey};
use rating_engine::time::Timestamp;
use rating_engine::units::Units;

use super::profile::PeerProfile;
use super::service::{self, Circumstances};
use super::units::{need, occurs_too_often, once, read_member};
use super::{REFUND_REFERENCE_VERSION, digest, request_type, requested_action, tariff_change_usage};
use crate::avp::{Avp, Avps, UnreadableAvp};
use crate::dictionary::AvpCode;
use crate::error::{DecodeError, Identity, OwnedAvp, ResultCode, error_answer};
use crate::header::{ApplicationId, Flags, Header};
use crate::message::{Message, MessageWriter};
use crate::validate::check_message_grammar;

/// MSCCs in one request; the next one is one too many (5009).
pub const SERVICES_MAX: usize = 64;
/// Service-Identifiers in one MSCC; the next one is one too many (5009).
pub const SERVICE_IDS_MAX: usize = 16;
/// Used-Service-Units of one service; the next one is one too many (5009).
pub const REPORTS_MAX: usize = 32;
/// Different identifiers of one subscriber; the next one is one too many (5009).
pub const IDENTIFIERS_MAX: usize = 8;
/// Octets of a Session-Id; a longer one is an unusable value (5004).
pub const SESSION_ID_OCTETS_MAX: usize = 255;
/// Octets of any other text or octet string that is kept; a longer one is an unusable value (5004).
pub const TEXT_OCTETS_MAX: usize = 512;
/// How long before its arrival a request may say it happened, seconds (5004 before).
pub const EVENT_AGE_SECONDS_MAX: i64 = 30 * 86_400;
/// How long after its arrival a request may say it happened, seconds (5004 after).
pub const EVENT_AHEAD_SECONDS_MAX: i64 = 86_400;
/// Names that [`Names`] keeps.
pub const NAMES_MAX: usize = 64;

/// A charging request, complete but for who the subscriber is and how the client is treated.
#[derive(Clone, Debug)]
pub struct GyRequest {
    /// When it arrived.
    pub now: Timestamp,
    /// Event-Timestamp.
    pub event_time: Option<Timestamp>,
    /// The session or one-time event.
    pub session: SessionId,
    /// CC-Request-Number.
    pub number: u32,
    /// Digest over the unit parts.
    pub digest: u64,
    /// Origin-State-Id, 0 when absent.
    pub client_state: u32,
    /// Whether units stand outside any MSCC.
    pub command_level: bool,
    /// The T flag: a hint for monitoring, never a reason for anything.
    pub retransmitted: bool,
    /// Who asks, about whom, and under which circumstances.
    pub context: Context,
    /// What is asked.
    pub action: Action,
    /// What the answer repeats.
    pub echo: Echo,
}

impl GyRequest {
    /// The command, and what its answer repeats.
    #[must_use]
    pub fn into_command(self, subscriber: SubscriberId, profile: &PeerProfile) -> (Command, Echo) {
        let mut echo = self.echo;
        // One service whose denial ends the session for the client must end it here too.
        echo.single_service &= profile.denial_ends_session;
        let command = Command {
            now: self.now,
            event_time: self.event_time,
            session: self.session,
            number: self.number,
            digest: self.digest,
            client_state: self.client_state,
            subscriber,
            profile: profile.charging,
            command_level: self.command_level || echo.single_service,
            context: self.context,
            action: self.action,
        };
        (command, echo)
    }
}

/// What an answer repeats of its request, kept when the request's octets are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The answer's header.
    pub(super) header: Header,
    /// Begins with the Session-Id.
    pub(super) session: SessionId,
    /// CC-Sub-Session-Id.
    pub(super) sub_session: Option<u64>,
    /// CC-Request-Type.
    pub(super) request_type: u32,
    /// CC-Request-Number.
    pub(super) number: u32,
    /// Whether units stand outside any MSCC.
    pub(super) command_level: bool,
    /// Whether the denial of the only MSCC is told at command level.
    pub(super) single_service: bool,
    /// Service-Identifiers as sent, by the MSCC's number, where they are not as in the key.
    pub(super) sent_services: Vec<(usize, Box<[ServiceId]>)>,
    /// Whether the request named us in Destination-Host.
    pub(super) named_us: bool,
    /// Service-Context-Id, for Failed-AVP.
    pub(super) service_context: Arc<str>,
    /// What a refund named, for Failed-AVP.
    pub(super) refund: Option<Box<RefundEcho>>,
    /// Every Proxy-Info, as octets.
    pub(super) proxy_info: Box<[u8]>,
}

/// What a refund named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RefundEcho {
    pub(super) information: Option<OwnedAvp>,
    pub(super) requested: Option<OwnedAvp>,
}

impl Echo {
    /// The Session-Id.
    #[must_use]
    pub fn session_id(&self) -> &[u8] {
        session_parts(&self.session).0
    }
}

/// Octets that a CC-Sub-Session-Id adds to the name of a session.
const SUB_SESSION_OCTETS: usize = 9;

/// Why a CCR is not acceptable: what the answer says, and a hint for whoever reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GyError {
    /// What is wrong.
    pub defect: DecodeError,
    hint: Option<&'static str>,
}

impl GyError {
    /// What the client is told (RFC 6733 7.1).
    #[must_use]
    pub const fn result_code(&self) -> ResultCode {
        self.defect.result_code()
    }

    /// The octets inside Failed-AVP.
    #[must_use]
    pub fn failed_avp(&self) -> Option<Vec<u8>> {
        self.defect.failed_avp()
    }

    /// The answer that tells the client, its Error-Message being this error in words.
    #[must_use]
    pub fn answer(&self, request: &Message<'_>, own: &Identity) -> Vec<u8> {
        error_answer(request, own, self.result_code(), self.failed_avp().as_deref(), Some(&self.to_string()))
    }

    #[cold]
    const fn hinted(defect: DecodeError, hint: &'static str) -> Self {
        Self { defect, hint: Some(hint) }
    }
}

impl From<DecodeError> for GyError {
    fn from(defect: DecodeError) -> Self {
        Self { defect, hint: None }
    }
}

impl From<UnreadableAvp<'_>> for GyError {
    #[cold]
    fn from(unreadable: UnreadableAvp<'_>) -> Self {
        DecodeError::from(unreadable).into()
    }
}

impl fmt::Display for GyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.defect.fmt(f)?;
        self.hint.map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl std::error::Error for GyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.defect)
    }
}

/// Hosts, realms and service contexts seen on one connection, so that each is kept in memory once.
///
/// Behind an agent there are many clients: the last [`NAMES_MAX`] new names are remembered.
#[derive(Clone, Debug, Default)]
pub struct Names {
    known: Vec<Arc<str>>,
    oldest: usize,
}

impl Names {
    /// Knows the peer itself already.
    #[must_use]
    pub fn new(host: Arc<str>, realm: Arc<str>) -> Self {
        Self { known: vec![host, realm], oldest: 0 }
    }

    /// The name, shared with everybody who has it.
    pub fn get(&mut self, name: &str) -> Arc<str> {
        self.known(name.as_bytes()).unwrap_or_else(|| self.learn(name))
    }

    /// The text of `avp`, shared; one that is known needs no second look.
    fn read(&mut self, avp: &Avp<'_>) -> Result<Arc<str>, DecodeError> {
        match self.known(avp.data) {
            Some(known) => Ok(known),
            None => Ok(self.learn(service::short(avp)?)),
        }
    }

    fn known(&self, name: &[u8]) -> Option<Arc<str>> {
        self.known.iter().find(|known| known.as_bytes() == name).cloned()
    }

    fn learn(&mut self, name: &str) -> Arc<str> {
        let new: Arc<str> = name.into();
        if self.known.len() < NAMES_MAX {
            self.known.push(new.clone());
        } else if let Some(place) = self.known.get_mut(self.oldest) {
            *place = new.clone();
            self.oldest = (self.oldest + 1) % NAMES_MAX;
        }
        new
    }
}

/// What kind of service a Service-Context-Id means.
#[derive(Clone, Debug, Default)]
pub struct ServiceContexts(Vec<(Box<str>, Service)>);

impl ServiceContexts {
    /// These private contexts besides those of 3GPP; they are compared whole and win over the rule.
    #[must_use]
    pub const fn new(private: Vec<(Box<str>, Service)>) -> Self {
        Self(private)
    }

    /// The service of a context: a configured one, else by the number of its TS (TS 32.299 7.1.12), which is read from
    /// the right, since `[extensions.][MNC.MCC.][Release.]` before it may be absent; else [`Service::Other`] of 0.
    #[must_use]
    pub fn service(&self, context: &str) -> Service {
        if let Some((_, service)) = self.0.iter().find(|(private, _)| &**private == context) {
            return *service;
        }
        let number = context
            .as_bytes()
            .split_last_chunk()
            .filter(|(_, domain)| *domain == b"@3gpp.org" || domain.eq_ignore_ascii_case(b"@3gpp.org"))
            .and_then(|(path, _): (_, &[u8; 9])| path.rsplit(|octet| *octet == b'.').next())
            .filter(|number| !number.is_empty())
            .and_then(|number| {
                number.iter().try_fold(0_u32, |number, octet| {
                    let digit = Some(octet.wrapping_sub(b'0')).filter(|digit| *digit <= 9)?;
                    number.checked_mul(10)?.checked_add(digit.into())
                })
            });
        match number {
            Some(32251) => Service::Data,
            Some(32260 | 32275 | 32276) => Service::Voice,
            Some(32274) => Service::Sms,
            Some(32270) => Service::Mms,
            Some(number) => Service::Other(number),
            None => Service::Other(0),
        }
    }
}

/// Reads a CCR that arrived at `now`. Any other command is for the caller to sort out.
///
/// # Errors
/// The request is incomplete, contradicts itself or has values that cannot be used; see [`GyError::answer`].
pub fn parse(
    message: &Message<'_>,
    now: Timestamp,
    contexts: &ServiceContexts,
    names: &mut Names,
) -> Result<GyRequest, GyError> {
    let mut is_counted = true;
    let request = read(message, now, contexts, names, &mut is_counted);
    if request.is_err() || !is_counted {
        // Reading stops at the first defect it meets; the grammar knows which one comes first. It also counts what
        // reading did not look at.
        check_message_grammar(message)?;
    }
    request
}

/// AVPs of one kind at command level: where the first of them stands, and how many there are.
#[derive(Clone, Copy, Default)]
struct Several<'a> {
    from: Avps<'a>,
    count: usize,
}

impl<'a> Several<'a> {
    /// Counts the AVP that `from` begins with.
    const fn add(&mut self, from: Avps<'a>) {
        if self.count == 0 {
            self.from = from;
        }
        self.count += 1;
    }

    /// They, without another look at what stands before the first or behind the last.
    fn each(self, is: impl Fn(AvpCode) -> bool) -> impl Iterator<Item = Avp<'a>> {
        self.from.map_while(Result::ok).filter(move |avp| is(avp.code)).take(self.count)
    }

    fn first(mut self) -> Option<Avp<'a>> {
        if self.count == 0 { None } else { self.from.next()?.ok() }
    }
}

/// AVPs at command level.
#[derive(Default)]
struct Fields<'a> {
    session_id: Option<Avp<'a>>,
    origin_host: Option<Avp<'a>>,
    origin_realm: Option<Avp<'a>>,
    destination_realm: Option<Avp<'a>>,
    destination_host: Option<Avp<'a>>,
    application: Option<Avp<'a>>,
    service_context: Option<Avp<'a>>,
    request_type: Option<Avp<'a>>,
    request_number: Option<Avp<'a>>,
    sub_session: Option<Avp<'a>>,
    multi_session: Option<Avp<'a>>,
    correlation: Option<Avp<'a>>,
    origin_state: Option<Avp<'a>>,
    event_timestamp: Option<Avp<'a>>,
    termination_cause: Option<Avp<'a>>,
    user_name: Option<Avp<'a>>,
    action: Option<Avp<'a>>,
    aoc_request_type: Option<Avp<'a>>,
    services_indicator: Option<Avp<'a>>,
    service_identifier: Option<Avp<'a>>,
    requested: Option<Avp<'a>>,
    refund: Option<Avp<'a>>,
    equipment: Option<Avp<'a>>,
    service_information: Option<Avp<'a>>,
    used: Several<'a>,
    services: Several<'a>,
    identifiers: Several<'a>,
    has_proxy_info: bool,
    has_misplaced: bool,
}

impl<'a> Fields<'a> {
    /// Sorts the AVPs at command level. `is_counted` becomes false when something is only counted by the grammar.
    fn read(&mut self, message: &Message<'a>, is_counted: &mut bool) -> Result<(), DecodeError> {
        let mut avps = message.avps();
        loop {
            let here = avps;
            let Some(avp) = avps.next() else { return Ok(()) };
            let avp = avp?;
            let place = match avp.code {
                AvpCode::SESSION_ID => &mut self.session_id,
                AvpCode::ORIGIN_HOST => &mut self.origin_host,
                AvpCode::ORIGIN_REALM => &mut self.origin_realm,
                AvpCode::DESTINATION_REALM => &mut self.destination_realm,
                AvpCode::DESTINATION_HOST => &mut self.destination_host,
                AvpCode::AUTH_APPLICATION_ID => &mut self.application,
                AvpCode::SERVICE_CONTEXT_ID => &mut self.service_context,
                AvpCode::CC_REQUEST_TYPE => &mut self.request_type,
                AvpCode::CC_REQUEST_NUMBER => &mut self.request_number,
                AvpCode::CC_SUB_SESSION_ID => &mut self.sub_session,
                AvpCode::ACCT_MULTI_SESSION_ID => &mut self.multi_session,
                AvpCode::CC_CORRELATION_ID => &mut self.correlation,
                AvpCode::ORIGIN_STATE_ID => &mut self.origin_state,
                AvpCode::EVENT_TIMESTAMP => &mut self.event_timestamp,
                AvpCode::TERMINATION_CAUSE => &mut self.termination_cause,
                AvpCode::USER_NAME => &mut self.user_name,
                AvpCode::REQUESTED_ACTION => &mut self.action,
                AvpCode::AOC_REQUEST_TYPE => &mut self.aoc_request_type,
                AvpCode::MULTIPLE_SERVICES_INDICATOR => &mut self.services_indicator,
                AvpCode::SERVICE_IDENTIFIER => &mut self.service_identifier,
                AvpCode::REQUESTED_SERVICE_UNIT => &mut self.requested,
                AvpCode::REFUND_INFORMATION => &mut self.refund,
                AvpCode::USER_EQUIPMENT_INFO => {
                    *is_counted = false;
                    &mut self.equipment
                }
                AvpCode::SERVICE_INFORMATION => &mut self.service_information,
                AvpCode::USED_SERVICE_UNIT => {
                    self.used.add(here);
                    continue;
                }
                AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL => {
                    self.services.add(here);
                    continue;
                }
                AvpCode::SUBSCRIPTION_ID => {
                    self.identifiers.add(here);
                    continue;
                }
                AvpCode::SUBSCRIPTION_ID_EXTENSION => {
                    self.identifiers.add(here);
                    *is_counted = false;
                    continue;
                }
                AvpCode::PROXY_INFO => {
                    (self.has_proxy_info, *is_counted) = (true, false);
                    continue;
                }
                AvpCode::ROUTE_RECORD => continue,
                code => {
                    self.has_misplaced |= service::is_misplaced(code) || code == AvpCode::USER_EQUIPMENT_INFO_EXTENSION;
                    *is_counted = false;
                    continue;
                }
            };
            once(place, avp)?;
        }
    }
}

fn read(
    message: &Message<'_>,
    now: Timestamp,
    contexts: &ServiceContexts,
    names: &mut Names,
    is_counted: &mut bool,
) -> Result<GyRequest, GyError> {
    let mut fields = Fields::default();
    fields.read(message, is_counted)?;
    let session_id = need(&fields.session_id, AvpCode::SESSION_ID)?;
    let origin_host = need(&fields.origin_host, AvpCode::ORIGIN_HOST)?;
    let origin_realm = need(&fields.origin_realm, AvpCode::ORIGIN_REALM)?;
    need(&fields.destination_realm, AvpCode::DESTINATION_REALM)?;
    let application = need(&fields.application, AvpCode::AUTH_APPLICATION_ID)?;
    let service_context = need(&fields.service_context, AvpCode::SERVICE_CONTEXT_ID)?;
    let request_type = need(&fields.request_type, AvpCode::CC_REQUEST_TYPE)?;
    let number = need(&fields.request_number, AvpCode::CC_REQUEST_NUMBER)?.u32()?;

    let sub_session = fields.sub_session.map(|avp| avp.u64()).transpose()?;
    let session = session_name(session_id, sub_session)?;
    if application.u32()? != ApplicationId::CREDIT_CONTROL.0 {
        return Err(GyError::hinted(application.invalid_value(), "it has to be 4"));
    }
    let event_time = fields.event_timestamp.map(|avp| event_time(&avp, now)).transpose()?;

    let mut circumstances = Circumstances::default();
    let kind = request_type.u32()?;
    let mut units = UnitParts::default();
    let services = match fields.services.first() {
        Some(mscc) => {
            if let Some(avp) = fields.requested.or_else(|| fields.used.first()) {
                let avps = vec![OwnedAvp::from(&avp), OwnedAvp::from(&mscc)];
                let hint = "units stand in MSCCs or at command level, not in both";
                return Err(GyError::hinted(DecodeError::ContradictingAvps { avps }, hint));
            }
            units.read_services(fields.services)?
        }
        None => units.read_command_level(&fields, kind == request_type::EVENT)?,
    };
    if matches!(kind, request_type::INITIAL | request_type::UPDATE) {
        check_once_asked(fields.services, &services)?;
    }
    *is_counted &= units.is_counted;

    if let Some(information) = &fields.service_information {
        circumstances.read(information.grouped()?, fields.identifiers.count == 0)?;
    }
    if let Some(equipment) = &fields.equipment {
        service::read_equipment(&mut circumstances.equipment, equipment)?;
    }
    if fields.has_misplaced {
        circumstances.read_misplaced(message.avps())?;
    }
    if let Some(qos) = &units.qos {
        circumstances.offer_qci(qos)?;
    }
    if let Some(packet) = &mut circumstances.packet
        && packet.serving_plmn.is_none()
    {
        packet.serving_plmn = packet.location.as_deref().and_then(service::location_plmn);
    }
    if fields.identifiers.count > 0 {
        let identifiers = &mut circumstances.identifiers;
        *identifiers = Vec::with_capacity(fields.identifiers.count.min(IDENTIFIERS_MAX));
        let is = |code| matches!(code, AvpCode::SUBSCRIPTION_ID | AvpCode::SUBSCRIPTION_ID_EXTENSION);
        for avp in fields.identifiers.each(is) {
            if avp.code == AvpCode::SUBSCRIPTION_ID {
                service::read_subscription(identifiers, &avp, is_counted)?;
            } else {
                service::read_subscription_extension(identifiers, &avp)?;
            }
        }
    }
    if circumstances.identifiers.is_empty() && matches!(kind, request_type::INITIAL | request_type::EVENT) {
        let missing = DecodeError::MissingAvp { code: AvpCode::SUBSCRIPTION_ID };
        return Err(GyError::hinted(missing, "who is to be charged?"));
    }

    let refund_information = contradiction_free(fields.refund, &units)?;
    let mut refund = None;
    let action = match kind {
        request_type::INITIAL => Action::Start(services),
        request_type::UPDATE => Action::Update(services),
        request_type::TERMINATION => Action::Stop(services),
        request_type::EVENT => {
            let action = need(&fields.action, AvpCode::REQUESTED_ACTION)?;
            match action.u32()? {
                requested_action::DIRECT_DEBITING => Action::Debit(services),
                requested_action::REFUND_ACCOUNT => {
                    refund = Some(Box::new(RefundEcho {
                        information: refund_information.as_ref().map(OwnedAvp::from),
                        requested: units.requested.as_ref().map(OwnedAvp::from),
                    }));
                    Action::Refund { original: refunded(refund_information, &session)?, services }
                }
                requested_action::CHECK_BALANCE => Action::CheckBalance(services),
                requested_action::PRICE_ENQUIRY => Action::PriceEnquiry(services),
                _ => return Err(GyError::hinted(action.invalid_value(), "it is one of 0 to 3")),
            }
        }
        _ => return Err(GyError::hinted(request_type.invalid_value(), "it is one of 1 to 4")),
    };

    let service_context = names.read(service_context)?;
    let correlation = fields.correlation.or(fields.multi_session);
    let context = Context {
        service: contexts.service(&service_context),
        service_context: service_context.clone(),
        client_host: names.read(origin_host)?,
        client_realm: names.read(origin_realm)?,
        identifiers: circumstances.identifiers,
        equipment: circumstances.equipment,
        correlation: correlation.map(|avp| service::octets(&avp)).transpose()?,
        packet: circumstances.packet,
        ims: circumstances.ims,
        sms: circumstances.sms,
    };
    let header = message.header();
    let command_level = fields.services.count == 0;
    let echo = Echo {
        header: header.answer(),
        session: session.clone(),
        sub_session,
        request_type: kind,
        number,
        command_level,
        single_service: !command_level && units.services == 1,
        sent_services: units.sent_services,
        named_us: fields.destination_host.is_some(),
        service_context,
        refund,
        proxy_info: if fields.has_proxy_info { proxy_info(message) } else { Box::default() },
    };
    Ok(GyRequest {
        now,
        event_time,
        session,
        number,
        digest: digest::of(&action, context.sms.as_ref().and_then(|sms| sms.messages)),
        client_state: fields.origin_state.map_or(Ok(0), |avp| avp.u32())?,
        command_level,
        retransmitted: header.flags.contains(Flags::RETRANSMITTED),
        context,
        action,
        echo,
    })
}

/// The name of the session. A zero octet in a Session-Id could make two sessions one.
pub(super) fn session_name(session_id: &Avp<'_>, sub_session: Option<u64>) -> Result<SessionId, GyError> {
    let octets = session_id.data;
    if octets.is_empty() || octets.len() > SESSION_ID_OCTETS_MAX || octets.contains(&0) {
        let hint = "it has to be 1 to 255 octets long and without zero octets";
        return Err(GyError::hinted(session_id.invalid_value(), hint));
    }
    Ok(match sub_session {
        None => SessionId::new(octets),
        Some(sub_session) => SessionId::new(&[octets, &[0], &sub_session.to_be_bytes()].concat()),
    })
}

/// Session-Id and CC-Sub-Session-Id of a session's name.
pub(super) fn session_parts(session: &SessionId) -> (&[u8], Option<u64>) {
    let octets = session.octets();
    match octets.split_last_chunk::<SUB_SESSION_OCTETS>() {
        Some((session_id, [0, sub_session @ ..])) => (session_id, Some(u64::from_be_bytes(*sub_session))),
        Some(_) | None => (octets, None),
    }
}

fn event_time(avp: &Avp<'_>, now: Timestamp) -> Result<Timestamp, GyError> {
    let time = Timestamp::from_seconds(avp.time()?);
    if time < now.plus_seconds(-EVENT_AGE_SECONDS_MAX) {
        return Err(GyError::hinted(
            avp.invalid_value(),
            "it lies more than 30 days back; is the client's clock right?",
        ));
    }
    if time > now.plus_seconds(EVENT_AHEAD_SECONDS_MAX) {
        return Err(GyError::hinted(
            avp.invalid_value(),
            "it lies more than a day ahead; is the client's clock right?",
        ));
    }
    Ok(time)
}

/// What besides the services was found where units stand.
#[derive(Default)]
struct UnitParts<'a> {
    /// How many services there are.
    services: usize,
    /// Service-Identifiers as sent, where they are not as in the key.
    sent_services: Vec<(usize, Box<[ServiceId]>)>,
    /// The first Refund-Information.
    refund: Option<Avp<'a>>,
    /// One that differs from it.
    other_refund: Option<Avp<'a>>,
    /// The first Requested-Service-Unit.
    requested: Option<Avp<'a>>,
    /// The first QoS-Information.
    qos: Option<Avp<'a>>,
    /// Whether nothing was met that only the grammar counts.
    is_counted: bool,
}

impl<'a> UnitParts<'a> {
    fn read_services(&mut self, msccs: Several<'a>) -> Result<Vec<ServiceRequest>, GyError> {
        self.is_counted = true;
        let mut services = Vec::with_capacity(msccs.count.min(SERVICES_MAX));
        for avp in msccs.each(|code| code == AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL) {
            if services.len() >= SERVICES_MAX {
                return Err(GyError::hinted(occurs_too_often(&avp), "64 services are the most in one request"));
            }
            services.push(self.read_service(services.len(), &avp)?);
        }
        self.services = services.len();
        Ok(services)
    }

    /// One MSCC (RFC 8506 8.16, TS 32.299 6.4.2).
    fn read_service(&mut self, number: usize, mscc: &Avp<'a>) -> Result<ServiceRequest, GyError> {
        let (mut requested, mut group, mut change, mut refund, mut qos) = (None, None, None, None, None);
        let mut services = Vec::new();
        let mut used = Vec::new();
        for avp in mscc.grouped()? {
            let avp = avp?;
            match avp.code {
                AvpCode::REQUESTED_SERVICE_UNIT => once(&mut requested, avp)?,
                AvpCode::RATING_GROUP => once(&mut group, avp)?,
                AvpCode::TARIFF_CHANGE_USAGE => once(&mut change, avp)?,
                AvpCode::REFUND_INFORMATION => once(&mut refund, avp)?,
                AvpCode::QOS_INFORMATION => once(&mut qos, avp)?,
                AvpCode::USED_SERVICE_UNIT => read_used(&mut used, &avp, &mut self.is_counted)?,
                AvpCode::SERVICE_IDENTIFIER => {
                    if services.len() >= SERVICE_IDS_MAX {
                        let hint = "16 service identifiers are the most in one MSCC";
                        return Err(GyError::hinted(occurs_too_often(&avp), hint));
                    }
                    services.push(ServiceId::new(avp.u32()?));
                }
                AvpCode::REPORTING_REASON => {}
                _ => self.is_counted = false,
            }
        }
        if let Some(change) = change {
            let part = tariff_part(&change)?;
            used.iter_mut().filter(|used| used.part == TariffPart::Whole).for_each(|used| used.part = part);
        }
        if let Some(refund) = refund {
            self.note_refund(refund);
        }
        self.qos = self.qos.or(qos);
        self.requested = self.requested.or(requested);
        let rating_group = group.map(|avp| avp.u32().map(RatingGroup::new)).transpose()?;
        if !services.is_sorted_by(|a, b| a < b) {
            self.sent_services.push((number, services.clone().into()));
            services.sort_unstable();
            services.dedup();
        }
        let key = ServiceKey { rating_group, services: services.into() };
        let requested = read_requested(requested, &mut self.is_counted)?;
        Ok(ServiceRequest { key, requested, used: reported(used) })
    }

    /// The service at command level, if there is one.
    fn read_command_level(&mut self, fields: &Fields<'a>, event: bool) -> Result<Vec<ServiceRequest>, GyError> {
        self.is_counted = true;
        let mut used = Vec::new();
        for avp in fields.used.each(|code| code == AvpCode::USED_SERVICE_UNIT) {
            read_used(&mut used, &avp, &mut self.is_counted)?;
        }
        self.requested = fields.requested;
        if !event && fields.requested.is_none() && used.is_empty() {
            return Ok(Vec::new());
        }
        let service = fields.service_identifier.map(|avp| avp.u32().map(ServiceId::new)).transpose()?;
        let key = ServiceKey { rating_group: None, services: service.into_iter().collect() };
        self.services = 1;
        let requested = read_requested(fields.requested, &mut self.is_counted)?;
        Ok(vec![ServiceRequest { key, requested, used: reported(used) }])
    }

    fn note_refund(&mut self, refund: Avp<'a>) {
        match self.refund {
            None => self.refund = Some(refund),
            Some(first) if first.data != refund.data => self.other_refund = self.other_refund.or(Some(refund)),
            Some(_) => {}
        }
    }
}

/// Requested-Service-Unit (RFC 8506 8.18). Less than no money cannot be asked for.
fn read_requested(group: Option<Avp<'_>>, is_counted: &mut bool) -> Result<Requested, GyError> {
    let Some(group) = group else { return Ok(Requested::Nothing) };
    let mut units = Units::default();
    for avp in group.grouped()? {
        read_member(&mut units, &avp?, is_counted)?;
    }
    reject_negative(&group, &units)?;
    Ok(if units.is_empty() { Requested::Any } else { Requested::Units(units) })
}

/// Used-Service-Unit (RFC 8506 8.19).
fn read_used(used: &mut Vec<Used>, group: &Avp<'_>, is_counted: &mut bool) -> Result<(), GyError> {
    if used.len() >= REPORTS_MAX {
        return Err(GyError::hinted(occurs_too_often(group), "32 reports are the most of one service"));
    }
    let mut units = Units::default();
    let (mut change, mut reason) = (None, None);
    for avp in group.grouped()? {
        let avp = avp?;
        match avp.code {
            AvpCode::TARIFF_CHANGE_USAGE => once(&mut change, avp)?,
            AvpCode::REPORTING_REASON => once(&mut reason, avp)?,
            _ => read_member(&mut units, &avp, is_counted)?,
        }
    }
    reject_negative(group, &units)?;
    if used.is_empty() {
        // Hardly ever do more follow.
        *used = Vec::with_capacity(1);
    }
    let part = change.map_or(Ok(TariffPart::Whole), |change| tariff_part(&change))?;
    used.push(Used { units, part });
    Ok(())
}

/// What really reports something.
fn reported(mut used: Vec<Used>) -> Vec<Used> {
    used.retain(|used| !used.units.is_empty());
    used
}

/// Using or asking for less than no money would pay the account.
fn reject_negative(group: &Avp<'_>, units: &Units) -> Result<(), GyError> {
    if units.money.is_some_and(|money| money.amount < Money::ZERO) {
        let money =
            group.grouped()?.find(AvpCode::CC_MONEY).map_or_else(|| group.invalid_value(), |avp| avp.invalid_value());
        return Err(GyError::hinted(money, "it is below zero"));
    }
    Ok(())
}

fn tariff_part(change: &Avp<'_>) -> Result<TariffPart, GyError> {
    match change.u32()? {
        tariff_change_usage::BEFORE => Ok(TariffPart::Before),
        tariff_change_usage::AFTER => Ok(TariffPart::After),
        tariff_change_usage::INDETERMINATE => Ok(TariffPart::Straddling),
        _ => Err(GyError::hinted(change.invalid_value(), "it is one of 0 to 2")),
    }
}

/// Two grants for one service could not both be held: it may be asked for once in a request.
fn check_once_asked(msccs: Several<'_>, services: &[ServiceRequest]) -> Result<(), GyError> {
    let asks = |service: &ServiceRequest| service.requested != Requested::Nothing;
    for (number, service) in services.iter().enumerate().filter(|(_, service)| asks(service)) {
        let earlier = services.iter().take(number).position(|other| asks(other) && other.key == service.key);
        if let Some(earlier) = earlier {
            let msccs = msccs.each(|code| code == AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL).enumerate();
            let avps = msccs.filter(|(place, _)| *place == earlier || *place == number);
            let avps = avps.map(|(_, avp)| OwnedAvp::from(&avp)).collect();
            let hint = "two MSCCs ask for units of the same service";
            return Err(GyError::hinted(DecodeError::ContradictingAvps { avps }, hint));
        }
    }
    Ok(())
}

/// The one Refund-Information of a request, wherever it stands.
fn contradiction_free<'a>(command: Option<Avp<'a>>, units: &UnitParts<'a>) -> Result<Option<Avp<'a>>, GyError> {
    let first = command.or(units.refund);
    let other = command.and(units.refund).filter(|inner| Some(inner.data) != first.map(|first| first.data));
    match (first, other.or(units.other_refund)) {
        (Some(first), Some(other)) => {
            let avps = vec![OwnedAvp::from(&first), OwnedAvp::from(&other)];
            Err(GyError::hinted(DecodeError::ContradictingAvps { avps }, "one request refunds one event"))
        }
        (first, _) => Ok(first),
    }
}

/// The event that a refund names; without a reference, that of the request's own session.
fn refunded(information: Option<Avp<'_>>, session: &SessionId) -> Result<SessionId, GyError> {
    let Some(information) = information else { return Ok(session.clone()) };
    match information.data {
        [REFUND_REFERENCE_VERSION, original @ ..]
            if !original.is_empty() && original.len() <= SESSION_ID_OCTETS_MAX + SUB_SESSION_OCTETS =>
        {
            Ok(SessionId::new(original))
        }
        _ => Err(GyError::hinted(information.invalid_value(), "it is none of ours")),
    }
}

/// Every Proxy-Info, as octets (RFC 6733 6.7.4).
fn proxy_info(message: &Message<'_>) -> Box<[u8]> {
    let mut octets = Vec::new();
    let mut writer = MessageWriter::new(&mut octets, message.header());
    for avp in message.avps().map_while(Result::ok).filter(|avp| avp.code == AvpCode::PROXY_INFO) {
        writer.copy(&avp);
    }
    match writer.finish() {
        Ok(_) => octets.get(crate::header::HEADER_OCTETS..).unwrap_or_default().into(),
        // It came in a message, so it fits one.
        Err(_) => Box::default(),
    }
}
