//! The other side: CCRs as a client writes them and CCAs as it reads them, for traffic generators and tests.
//!
//! [`Ccr`] borrows everything and is written into a buffer that the caller keeps; [`Cca`] and [`Demand`] own the little that a
//! client acts on. Both speak in charging's own words, so that what goes in on one side can be compared with what comes out on
//! the other. Absent: the state machine of a client (RFC 8506 7).

use rating_engine::command::{Requested, ServiceRequest, TariffPart};
use rating_engine::context::{ImsContext, PacketContext, SmsContext};
use rating_engine::ids::{Identifier, RatingGroup, ServiceId, SessionId};
use rating_engine::tariff::ServiceKey;
use rating_engine::time::Timestamp;
use rating_engine::units::{MoneyUnits, Units};

use super::ask::{AUTHORIZE_ONLY, Ask, Scope};
use super::request::session_name;
use super::units::{read_member, read_money, write_members};
use super::{request_type, requested_action, service, tariff_change_usage};
use crate::avp::Avp;
use crate::dictionary::AvpCode;
use crate::error::{DecodeError, Identity, ResultCode};
use crate::header::{ApplicationId, CommandCode, Flags, Header};
use crate::message::{Message, MessageTooLong, MessageWriter};

/// CC-Request-Type, with Requested-Action where it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// INITIAL_REQUEST.
    #[default]
    Initial,
    /// UPDATE_REQUEST.
    Update,
    /// TERMINATION_REQUEST.
    Termination,
    /// EVENT_REQUEST, DIRECT_DEBITING.
    Debit,
    /// EVENT_REQUEST, REFUND_ACCOUNT.
    Refund,
    /// EVENT_REQUEST, CHECK_BALANCE.
    CheckBalance,
    /// EVENT_REQUEST, PRICE_ENQUIRY.
    PriceEnquiry,
}

impl Kind {
    const fn values(self) -> (u32, Option<u32>) {
        match self {
            Self::Initial => (request_type::INITIAL, None),
            Self::Update => (request_type::UPDATE, None),
            Self::Termination => (request_type::TERMINATION, None),
            Self::Debit => (request_type::EVENT, Some(requested_action::DIRECT_DEBITING)),
            Self::Refund => (request_type::EVENT, Some(requested_action::REFUND_ACCOUNT)),
            Self::CheckBalance => (request_type::EVENT, Some(requested_action::CHECK_BALANCE)),
            Self::PriceEnquiry => (request_type::EVENT, Some(requested_action::PRICE_ENQUIRY)),
        }
    }
}

/// Where units stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// In MSCCs.
    #[default]
    Services,
    /// At command level: the first service only, by its first service identifier.
    CommandLevel,
}

/// A CCR to write. What is empty or `None` is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ccr<'a> {
    /// Unique on the connection.
    pub hop_by_hop: u32,
    /// Unique in the client.
    pub end_to_end: u32,
    /// Sets the T flag.
    pub retransmitted: bool,
    /// Session-Id.
    pub session: &'a str,
    /// CC-Sub-Session-Id.
    pub sub_session: Option<u64>,
    /// Origin-Host.
    pub host: &'a str,
    /// Origin-Realm.
    pub realm: &'a str,
    /// Destination-Realm.
    pub destination_realm: &'a str,
    /// Destination-Host.
    pub destination_host: Option<&'a str>,
    /// Service-Context-Id.
    pub service_context: &'a str,
    /// CC-Request-Type and Requested-Action.
    pub kind: Kind,
    /// CC-Request-Number.
    pub number: u32,
    /// Origin-State-Id.
    pub origin_state: Option<u32>,
    /// Event-Timestamp; whole seconds are sent.
    pub event_time: Option<Timestamp>,
    /// Subscription-Ids.
    pub identifiers: &'a [Identifier],
    /// Where units stand.
    pub form: Form,
    /// What is asked and reported.
    pub services: &'a [ServiceRequest],
    /// Refund-Information, in the first MSCC or at command level.
    pub refund: Option<&'a [u8]>,
    /// CC-Correlation-Id.
    pub correlation: Option<&'a [u8]>,
    /// User-Equipment-Info-Value.
    pub equipment: Option<&'a [u8]>,
    /// PS-Information.
    pub packet: Option<&'a PacketContext>,
    /// IMS-Information.
    pub ims: Option<&'a ImsContext>,
    /// SMS-Information.
    pub sms: Option<&'a SmsContext>,
}

impl Ccr<'_> {
    /// Appends the request and returns its length.
    ///
    /// # Errors
    /// The request is longer than a message can be; `out` is as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<usize, MessageTooLong> {
        let repeated = if self.retransmitted { Flags::RETRANSMITTED } else { Flags::NONE };
        let header = Header {
            flags: Flags::REQUEST.union(Flags::PROXIABLE).union(repeated),
            command: CommandCode::CREDIT_CONTROL,
            application: ApplicationId::CREDIT_CONTROL,
            hop_by_hop: self.hop_by_hop,
            end_to_end: self.end_to_end,
        };
        let (kind, action) = self.kind.values();
        let mut writer = MessageWriter::new(out, &header);
        writer.utf8(AvpCode::SESSION_ID, self.session);
        writer.utf8(AvpCode::ORIGIN_HOST, self.host);
        writer.utf8(AvpCode::ORIGIN_REALM, self.realm);
        writer.utf8(AvpCode::DESTINATION_REALM, self.destination_realm);
        writer.u32(AvpCode::AUTH_APPLICATION_ID, ApplicationId::CREDIT_CONTROL.0);
        writer.utf8(AvpCode::SERVICE_CONTEXT_ID, self.service_context);
        writer.u32(AvpCode::CC_REQUEST_TYPE, kind);
        writer.u32(AvpCode::CC_REQUEST_NUMBER, self.number);
        if let Some(host) = self.destination_host {
            writer.utf8(AvpCode::DESTINATION_HOST, host);
        }
        if let Some(sub_session) = self.sub_session {
            writer.u64(AvpCode::CC_SUB_SESSION_ID, sub_session);
        }
        if let Some(state) = self.origin_state {
            writer.u32(AvpCode::ORIGIN_STATE_ID, state);
        }
        if let Some(time) = self.event_time {
            writer.time(AvpCode::EVENT_TIMESTAMP, time.millis().div_euclid(1000));
        }
        self.identifiers.iter().for_each(|identifier| write_identifier(&mut writer, identifier));
        if kind == request_type::TERMINATION {
            writer.u32(AvpCode::TERMINATION_CAUSE, LOGOUT);
        }
        if let Some(action) = action {
            writer.u32(AvpCode::REQUESTED_ACTION, action);
        }
        if let Some(correlation) = self.correlation {
            writer.octets(AvpCode::CC_CORRELATION_ID, correlation);
        }
        self.write_units(&mut writer);
        service::write(&mut writer, self.equipment, self.packet, self.ims, self.sms);
        writer.finish()
    }

    fn write_units(&self, writer: &mut MessageWriter<'_>) {
        match self.form {
            Form::CommandLevel => {
                if let Some(request) = self.services.first() {
                    write_service_units(writer, request);
                    if let Some(service) = request.key.services.first() {
                        writer.u32(AvpCode::SERVICE_IDENTIFIER, service.get());
                    }
                }
                if let Some(reference) = self.refund {
                    writer.octets(AvpCode::REFUND_INFORMATION, reference);
                }
            }
            Form::Services => {
                let mut reference = self.refund;
                if self.kind == Kind::Initial {
                    writer.u32(AvpCode::MULTIPLE_SERVICES_INDICATOR, MULTIPLE_SERVICES_SUPPORTED);
                }
                for request in self.services {
                    writer.grouped(AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL, |writer| {
                        write_service_units(writer, request);
                        let services = request.key.services.iter();
                        services.for_each(|service| writer.u32(AvpCode::SERVICE_IDENTIFIER, service.get()));
                        if let Some(group) = request.key.rating_group {
                            writer.u32(AvpCode::RATING_GROUP, group.get());
                        }
                        if let Some(reference) = reference.take() {
                            writer.octets(AvpCode::REFUND_INFORMATION, reference);
                        }
                    });
                }
            }
        }
    }
}

/// Termination-Cause: the user logged out (RFC 6733 8.15).
const LOGOUT: u32 = 1;

/// Multiple-Services-Indicator (RFC 8506 8.40).
const MULTIPLE_SERVICES_SUPPORTED: u32 = 1;

fn write_identifier(writer: &mut MessageWriter<'_>, identifier: &Identifier) {
    let digits;
    let (kind, data) = match identifier {
        Identifier::Msisdn(number) => {
            digits = number.to_string();
            (0, &*digits)
        }
        Identifier::Imsi(number) => {
            digits = number.to_string();
            (1, &*digits)
        }
        Identifier::Sip(text) => (2, &**text),
        Identifier::Nai(text) => (3, &**text),
        Identifier::Private(text) => (4, &**text),
        // No Subscription-Id-Type (RFC 8506 8.47) says these.
        Identifier::Iccid(_) | Identifier::External(_) => return,
    };
    writer.grouped(AvpCode::SUBSCRIPTION_ID, |writer| {
        writer.u32(AvpCode::SUBSCRIPTION_ID_TYPE, kind);
        writer.utf8(AvpCode::SUBSCRIPTION_ID_DATA, data);
    });
}

/// Requested- and Used-Service-Units.
fn write_service_units(writer: &mut MessageWriter<'_>, request: &ServiceRequest) {
    match request.requested {
        Requested::Nothing => {}
        Requested::Any => writer.grouped(AvpCode::REQUESTED_SERVICE_UNIT, |_| {}),
        Requested::Units(units) => {
            writer.grouped(AvpCode::REQUESTED_SERVICE_UNIT, |writer| write_members(writer, &units));
        }
    }
    for used in &request.used {
        writer.grouped(AvpCode::USED_SERVICE_UNIT, |writer| {
            let part = match used.part {
                TariffPart::Whole => None,
                TariffPart::Before => Some(tariff_change_usage::BEFORE),
                TariffPart::After => Some(tariff_change_usage::AFTER),
                TariffPart::Straddling => Some(tariff_change_usage::INDETERMINATE),
            };
            if let Some(part) = part {
                writer.u32(AvpCode::TARIFF_CHANGE_USAGE, part);
            }
            write_members(writer, &used.units);
        });
    }
}

/// What a client acts on in a CCA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cca {
    /// Result-Code at command level; 0 when absent.
    pub result: u32,
    /// CC-Request-Type; 0 when absent.
    pub request_type: u32,
    /// CC-Request-Number; 0 when absent.
    pub number: u32,
    /// The MSCCs.
    pub services: Vec<ServiceAnswer>,
    /// What stands at command level, as far as there is anything.
    pub command_level: ServiceAnswer,
    /// Cost-Information.
    pub cost: Option<MoneyUnits>,
    /// Check-Balance-Result.
    pub check_balance: Option<u32>,
    /// Error-Message.
    pub error: Option<String>,
    /// The octets inside Failed-AVP.
    pub failed: Option<Vec<u8>>,
}

/// The answer for one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAnswer {
    /// Which service.
    pub key: ServiceKey,
    /// Result-Code in the MSCC.
    pub result: Option<u32>,
    /// Granted-Service-Unit.
    pub granted: Option<Units>,
    /// Validity-Time, seconds.
    pub validity_seconds: Option<u32>,
    /// Time-, Volume- or Unit-Quota-Threshold.
    pub threshold: Option<u32>,
    /// Tariff-Time-Change, Unix seconds.
    pub switch_seconds: Option<i64>,
    /// Final-Unit-Action.
    pub final_action: Option<u32>,
    /// Refund-Information.
    pub refund: Option<Vec<u8>>,
}

impl Cca {
    /// Reads an answer, a CCA or an `answer-message`.
    ///
    /// # Errors
    /// An AVP in it cannot be read.
    pub fn read(message: &Message<'_>) -> Result<Self, DecodeError> {
        let mut cca = Self::default();
        for avp in message.avps() {
            let avp = avp?;
            match avp.code {
                AvpCode::RESULT_CODE => cca.result = avp.u32()?,
                AvpCode::CC_REQUEST_TYPE => cca.request_type = avp.u32()?,
                AvpCode::CC_REQUEST_NUMBER => cca.number = avp.u32()?,
                AvpCode::COST_INFORMATION => cca.cost = Some(read_money(&avp, &mut true)?),
                AvpCode::CHECK_BALANCE_RESULT => cca.check_balance = Some(avp.u32()?),
                AvpCode::ERROR_MESSAGE => cca.error = Some(avp.utf8()?.to_owned()),
                AvpCode::FAILED_AVP => cca.failed = Some(avp.data.to_vec()),
                AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL => cca.services.push(ServiceAnswer::read(&avp)?),
                _ => cca.command_level.take(&avp)?,
            }
        }
        Ok(cca)
    }

    /// Whether the request was carried out, services apart.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        ResultCode(self.result).is_success()
    }
}

impl ServiceAnswer {
    fn read(mscc: &Avp<'_>) -> Result<Self, DecodeError> {
        let mut answer = Self::default();
        let mut services = Vec::new();
        for avp in mscc.grouped()? {
            let avp = avp?;
            match avp.code {
                AvpCode::RATING_GROUP => answer.key.rating_group = Some(RatingGroup::new(avp.u32()?)),
                AvpCode::SERVICE_IDENTIFIER => services.push(ServiceId::new(avp.u32()?)),
                AvpCode::RESULT_CODE => answer.result = Some(avp.u32()?),
                _ => answer.take(&avp)?,
            }
        }
        answer.key.services = services.into();
        Ok(answer)
    }

    /// Takes over what may stand in an MSCC or at command level.
    fn take(&mut self, avp: &Avp<'_>) -> Result<(), DecodeError> {
        match avp.code {
            AvpCode::GRANTED_SERVICE_UNIT => {
                let units = self.granted.get_or_insert_default();
                for member in avp.grouped()? {
                    let member = member?;
                    if member.code == AvpCode::TARIFF_TIME_CHANGE {
                        self.switch_seconds = Some(member.time()?);
                    } else {
                        read_member(units, &member, &mut true)?;
                    }
                }
            }
            AvpCode::VALIDITY_TIME => self.validity_seconds = Some(avp.u32()?),
            AvpCode::TIME_QUOTA_THRESHOLD | AvpCode::VOLUME_QUOTA_THRESHOLD | AvpCode::UNIT_QUOTA_THRESHOLD => {
                self.threshold = Some(avp.u32()?);
            }
            AvpCode::FINAL_UNIT_INDICATION => {
                self.final_action =
                    avp.grouped()?.find(AvpCode::FINAL_UNIT_ACTION).map(|action| action.u32()).transpose()?;
            }
            AvpCode::REFUND_INFORMATION => self.refund = Some(avp.data.to_vec()),
            _ => {}
        }
        Ok(())
    }
}

/// What a client reads of a RAR or ASR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// What the server asks for.
    pub ask: Ask,
    /// The session, sub-session included; of an ASR, the whole session.
    pub session: SessionId,
    /// Origin-Host.
    pub server: String,
    /// Destination-Host: the client that is meant.
    pub host: String,
    /// Destination-Realm.
    pub realm: String,
}

impl Demand {
    /// Reads a request of the server; `None` when it is neither RAR nor ASR.
    ///
    /// # Errors
    /// It is not complete, or an AVP in it cannot be read or used.
    pub fn read(message: &Message<'_>) -> Result<Option<Self>, DecodeError> {
        let command = message.header().command;
        let is_rar = command == CommandCode::RE_AUTH;
        if !message.header().is_request() || !(is_rar || command == CommandCode::ABORT_SESSION) {
            return Ok(None);
        }
        let mut scope = Scope::default();
        let (mut session, mut sub_session, mut kind) = (None, None, None);
        let (mut server, mut host, mut realm) = (None, None, None);
        for avp in message.avps() {
            let avp = avp?;
            match avp.code {
                AvpCode::SESSION_ID => session = Some(avp),
                AvpCode::CC_SUB_SESSION_ID => sub_session = Some(avp.u64()?),
                AvpCode::ORIGIN_HOST => server = Some(avp.utf8()?.to_owned()),
                AvpCode::DESTINATION_HOST => host = Some(avp.utf8()?.to_owned()),
                AvpCode::DESTINATION_REALM => realm = Some(avp.utf8()?.to_owned()),
                AvpCode::RE_AUTH_REQUEST_TYPE if avp.u32()? != AUTHORIZE_ONLY => return Err(avp.invalid_value()),
                AvpCode::RE_AUTH_REQUEST_TYPE => kind = Some(()),
                AvpCode::RATING_GROUP => scope.rating_group = Some(RatingGroup::new(avp.u32()?)),
                AvpCode::SERVICE_IDENTIFIER => scope.service = Some(ServiceId::new(avp.u32()?)),
                _ => {}
            }
        }
        let missing = |code| DecodeError::MissingAvp { code };
        let session = session.ok_or(missing(AvpCode::SESSION_ID))?;
        if is_rar {
            kind.ok_or(missing(AvpCode::RE_AUTH_REQUEST_TYPE))?;
        }
        Ok(Some(Self {
            ask: if is_rar { Ask::Reauthorise(scope) } else { Ask::Abort },
            session: session_name(&session, sub_session.filter(|_| is_rar)).map_err(|error| error.defect)?,
            server: server.ok_or(missing(AvpCode::ORIGIN_HOST))?,
            host: host.ok_or(missing(AvpCode::DESTINATION_HOST))?,
            realm: realm.ok_or(missing(AvpCode::DESTINATION_REALM))?,
        }))
    }
}

/// Appends the answer of `own` to a request of the server, RAR or ASR, and returns its length.
///
/// # Errors
/// The answer is longer than a message can be; `out` is as it was.
pub fn answer(
    out: &mut Vec<u8>,
    request: &Message<'_>,
    own: &Identity,
    code: ResultCode,
    error: Option<&str>,
) -> Result<usize, MessageTooLong> {
    let mut answer = MessageWriter::new(out, &request.header().answer());
    if let Some(session) = request.find(AvpCode::SESSION_ID) {
        answer.copy(&session);
    }
    answer.u32(AvpCode::RESULT_CODE, code.0);
    answer.utf8(AvpCode::ORIGIN_HOST, &own.host);
    answer.utf8(AvpCode::ORIGIN_REALM, &own.realm);
    if let Some(error) = error {
        answer.utf8(AvpCode::ERROR_MESSAGE, error);
    }
    answer.finish()
}
