//! An outcome as CCA (RFC 8506 3.2, TS 32.299 6.4.3), in the form its request had: MSCCs for MSCCs, command level for
//! command level (design D10).
//!
//! The order of the AVPs is the one that the pickiest client needs: Session-Id first, Result-Code before the origin,
//! then what repeats the request, then the units. Every MSCC has a Result-Code and repeats the key it was asked with,
//! no more. A denial never comes with units, and units never come with an amount of nothing.
//!
//! The outcome of a repeated request is written like any other, with the repeat's own [`Echo`]: identifiers of the
//! transport are the repeat's, everything else is what was answered before (design D6).

use rating_engine::command::{Answered, Denial, Grant, Outcome, Refusal, ServiceOutcome, ServiceResult};
use rating_engine::ids::{ServiceId, SessionId};
use rating_engine::money::{Currency, Money};
use rating_engine::tariff::ServiceKey;

use super::profile::PeerProfile;
use super::request::Echo;
use super::units::{write_members, write_money};
use super::{REFUND_REFERENCE_VERSION, request_type};
use crate::avp::AvpFlags;
use crate::dictionary::{self, AvpCode};
use crate::error::{Identity, OwnedAvp, ResultCode};
use crate::header::{Flags, Header};
use crate::message::{MessageTooLong, MessageWriter};

/// Final-Unit-Action: the service ends (RFC 8506 8.35).
const TERMINATE: u32 = 0;

/// Check-Balance-Result (RFC 8506 8.6).
const ENOUGH_CREDIT: u32 = 0;
const NO_CREDIT: u32 = 1;

/// Appends the answer to the request of `echo` and returns its length.
///
/// # Errors
/// The answer is longer than a message can be, which takes a request of almost that length; `out` is as it was.
pub fn encode(
    out: &mut Vec<u8>,
    echo: &Echo,
    outcome: &Outcome,
    own: &Identity,
    profile: &PeerProfile,
) -> Result<usize, MessageTooLong> {
    match outcome {
        Outcome::Answered(answered) => encode_answered(out, echo, answered, own, profile),
        Outcome::Refused(refusal) => encode_refused(out, echo, refusal, own),
    }
}

fn encode_answered(
    out: &mut Vec<u8>,
    echo: &Echo,
    answered: &Answered,
    own: &Identity,
    profile: &PeerProfile,
) -> Result<usize, MessageTooLong> {
    if answered.session_gone {
        let verdict =
            Verdict::plain(ResultCode::UNKNOWN_SESSION_ID, "the report is settled; the session had ended before");
        return write_command_error(out, echo, own, &verdict);
    }
    let whole = if echo.command_level || echo.single_service { only_denial(answered) } else { None };
    if let Some((denial, key)) = whole {
        let failed = failed_keys(echo, &[(denial, key)]);
        return write_command_error(out, echo, own, &Verdict { failed, ..Verdict::of_denial(denial) });
    }
    let mut writer = MessageWriter::new(out, &echo.header);
    write_head(&mut writer, echo, own, ResultCode::SUCCESS);
    let command_grant = if echo.command_level { answered.services.iter().find_map(granted) } else { None };
    if let Some(grant) = command_grant {
        write_granted(&mut writer, grant);
    }
    if !echo.command_level {
        let reference = answered.refund_reference.as_ref();
        for (number, service) in answered.services.iter().enumerate() {
            let sent = echo.sent_services.iter().find(|(place, _)| *place == number).map(|(_, sent)| &**sent);
            write_service(&mut writer, service, sent.unwrap_or(&service.key.services), reference, profile);
        }
    }
    if let Some((amount, currency)) = answered.cost.filter(|_| tells_cost(echo.request_type)) {
        write_cost(&mut writer, amount, currency);
    }
    if let Some(enough) = answered.enough_credit {
        writer.u32(AvpCode::CHECK_BALANCE_RESULT, if enough { ENOUGH_CREDIT } else { NO_CREDIT });
    }
    if let Some(grant) = command_grant {
        write_life(&mut writer, grant, profile);
    }
    if echo.command_level
        && let Some(reference) = &answered.refund_reference
    {
        write_reference(&mut writer, reference);
    }
    let denials: Vec<_> =
        if echo.command_level { Vec::new() } else { answered.services.iter().filter_map(denied).collect() };
    if let Some(failed) = failed_keys(echo, &denials) {
        writer.grouped(AvpCode::FAILED_AVP, |writer| writer.encoded(&failed));
    }
    writer.encoded(&echo.proxy_info);
    writer.finish()
}

/// Accumulated cost is told when it is final: for events and at the end of a session (RFC 8506 8.7).
const fn tells_cost(kind: u32) -> bool {
    matches!(kind, request_type::TERMINATION | request_type::EVENT)
}

const fn granted(service: &ServiceOutcome) -> Option<&Grant> {
    match &service.result {
        ServiceResult::Granted(grant) => Some(grant),
        ServiceResult::Settled | ServiceResult::Denied(_) => None,
    }
}

const fn denied(service: &ServiceOutcome) -> Option<(Denial, &ServiceKey)> {
    match service.result {
        ServiceResult::Denied(denial) => Some((denial, &service.key)),
        ServiceResult::Granted(_) | ServiceResult::Settled => None,
    }
}

/// The denial of the only service.
fn only_denial(answered: &Answered) -> Option<(Denial, &ServiceKey)> {
    match &answered.services[..] {
        [service] => denied(service),
        _ => None,
    }
}

/// Granted-Service-Unit (RFC 8506 8.17), with Tariff-Time-Change where another price begins (8.20).
fn write_granted(writer: &mut MessageWriter<'_>, grant: &Grant) {
    writer.grouped(AvpCode::GRANTED_SERVICE_UNIT, |writer| {
        if let Some(switch) = grant.switch {
            writer.time(AvpCode::TARIFF_TIME_CHANGE, switch.millis().div_euclid(1000));
        }
        write_members(writer, &grant.units.units());
    });
}

/// An MSCC (TS 32.299 6.4.3).
fn write_service(
    writer: &mut MessageWriter<'_>,
    service: &ServiceOutcome,
    identifiers: &[ServiceId],
    reference: Option<&SessionId>,
    profile: &PeerProfile,
) {
    writer.grouped(AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL, |writer| {
        let grant = granted(service);
        if let Some(grant) = grant {
            write_granted(writer, grant);
        }
        identifiers.iter().for_each(|id| writer.u32(AvpCode::SERVICE_IDENTIFIER, id.get()));
        if let Some(group) = service.key.rating_group {
            writer.u32(AvpCode::RATING_GROUP, group.get());
        }
        if let Some(grant) = grant {
            write_validity(writer, grant, profile);
        }
        let code = match denied(service) {
            Some((denial, _)) => Verdict::of_denial(denial).code,
            None => ResultCode::SUCCESS,
        };
        writer.u32(AvpCode::RESULT_CODE, code.0);
        if let Some(grant) = grant {
            write_final(writer, grant);
            write_threshold(writer, grant);
            if let Some(reference) = reference {
                write_reference(writer, reference);
            }
        }
    });
}

/// Final units and validity at command level, in the order of the grammar. Thresholds exist in MSCCs only.
fn write_life(writer: &mut MessageWriter<'_>, grant: &Grant, profile: &PeerProfile) {
    write_final(writer, grant);
    write_validity(writer, grant, profile);
}

fn write_validity(writer: &mut MessageWriter<'_>, grant: &Grant, profile: &PeerProfile) {
    if grant.validity_seconds > 0 && !(grant.last && profile.bare_final_units) {
        writer.u32(AvpCode::VALIDITY_TIME, grant.validity_seconds);
    }
}

fn write_final(writer: &mut MessageWriter<'_>, grant: &Grant) {
    if grant.last {
        writer.grouped(AvpCode::FINAL_UNIT_INDICATION, |writer| writer.u32(AvpCode::FINAL_UNIT_ACTION, TERMINATE));
    }
}

/// The threshold of the unit that was granted (TS 32.299 7.2). It has 32 bits: a larger one is cut, and the client
/// comes back a little later.
fn write_threshold(writer: &mut MessageWriter<'_>, grant: &Grant) {
    if grant.threshold == 0 || grant.last {
        return;
    }
    let units = grant.units.units();
    let code = if units.octets() > 0 {
        AvpCode::VOLUME_QUOTA_THRESHOLD
    } else if units.seconds.is_some() {
        AvpCode::TIME_QUOTA_THRESHOLD
    } else if units.events.is_some() {
        AvpCode::UNIT_QUOTA_THRESHOLD
    } else {
        return;
    };
    writer.u32(code, u32::try_from(grant.threshold).unwrap_or(u32::MAX));
}

/// Cost-Information (RFC 8506 8.7).
fn write_cost(writer: &mut MessageWriter<'_>, amount: Money, currency: Currency) {
    write_money(writer, AvpCode::COST_INFORMATION, amount, Some(currency.numeric()));
}

/// Refund-Information: our version, then the name of the event.
fn write_reference(writer: &mut MessageWriter<'_>, reference: &SessionId) {
    let mut octets = Vec::with_capacity(1 + reference.octets().len());
    octets.push(REFUND_REFERENCE_VERSION);
    octets.extend_from_slice(reference.octets());
    writer.octets(AvpCode::REFUND_INFORMATION, &octets);
}

/// Session-Id to CC-Sub-Session-Id.
fn write_head(writer: &mut MessageWriter<'_>, echo: &Echo, own: &Identity, code: ResultCode) {
    writer.octets(AvpCode::SESSION_ID, echo.session_id());
    writer.u32(AvpCode::RESULT_CODE, code.0);
    writer.utf8(AvpCode::ORIGIN_HOST, &own.host);
    writer.utf8(AvpCode::ORIGIN_REALM, &own.realm);
    writer.u32(AvpCode::AUTH_APPLICATION_ID, echo.header.application.0);
    writer.u32(AvpCode::CC_REQUEST_TYPE, echo.request_type);
    writer.u32(AvpCode::CC_REQUEST_NUMBER, echo.number);
    if let Some(sub_session) = echo.sub_session {
        writer.u64(AvpCode::CC_SUB_SESSION_ID, sub_session);
    }
}

/// A result that is an error, and how it is told.
struct Verdict {
    code: ResultCode,
    text: &'static str,
    /// The octets inside Failed-AVP.
    failed: Option<Vec<u8>>,
}

impl Verdict {
    const fn plain(code: ResultCode, text: &'static str) -> Self {
        Self { code, text, failed: None }
    }

    /// The code of a denial (RFC 8506 9, TS 32.299 6.4.3).
    const fn of_denial(denial: Denial) -> Self {
        match denial {
            Denial::CreditLimitReached => {
                Self::plain(ResultCode::CREDIT_LIMIT_REACHED, "no credit left for this service")
            }
            Denial::ServiceDenied => {
                Self::plain(ResultCode::END_USER_SERVICE_DENIED, "subscriber or account is suspended")
            }
            Denial::Rejected => {
                Self::plain(ResultCode::AUTHORIZATION_REJECTED, "subscriber or account is barred or closed")
            }
            Denial::RatingFailed => {
                Self::plain(ResultCode::RATING_FAILED, "no price for this service, or not for the units it names")
            }
            Denial::UsageSuspect => {
                Self::plain(ResultCode::RATING_FAILED, "more was reported than can have been used; kept for inspection")
            }
        }
    }

    fn of_refusal(refusal: &Refusal, echo: &Echo) -> Self {
        match refusal {
            Refusal::UnknownSubscriber => {
                Self::plain(ResultCode::USER_UNKNOWN, "no subscriber has any of these identifiers")
            }
            Refusal::IdentifiersDisagree => {
                Self::plain(ResultCode::USER_UNKNOWN, "the identifiers belong to different subscribers")
            }
            Refusal::UnknownSession => Self::plain(ResultCode::UNKNOWN_SESSION_ID, "no such session is open"),
            Refusal::ServiceDenied => Self::of_denial(Denial::ServiceDenied),
            Refusal::Rejected => Self::of_denial(Denial::Rejected),
            Refusal::CreditLimitReached => Self::plain(
                ResultCode::CREDIT_LIMIT_REACHED,
                "not enough credit for the whole event; nothing was charged",
            ),
            Refusal::RatingFailed => Self {
                failed: Some(encoded(&service_context(echo))),
                ..Self::plain(ResultCode::RATING_FAILED, "no price for what was asked")
            },
            Refusal::KeyReused => Self::plain(
                ResultCode::UNABLE_TO_COMPLY,
                "this session, request type and number were used for another request before",
            ),
            Refusal::AnswerGone => {
                Self::plain(ResultCode::UNABLE_TO_COMPLY, "this request number was handled before; its answer is gone")
            }
            Refusal::NothingToRefund => match echo.refund.as_deref().and_then(|refund| refund.information.as_ref()) {
                Some(information) => Self {
                    failed: Some(encoded(information)),
                    ..Self::plain(ResultCode::INVALID_AVP_VALUE, "this refund names no charge of this account")
                },
                None => Self {
                    failed: Some(encoded(&example(AvpCode::REFUND_INFORMATION))),
                    ..Self::plain(ResultCode::MISSING_AVP, "which charge is to be refunded?")
                },
            },
            Refusal::RefundBeyondCharge => {
                // What named the charge or too much of it; without either, it was named by the Session-Id.
                let refund = echo.refund.as_deref();
                let named = refund.and_then(|refund| refund.requested.as_ref().or(refund.information.as_ref()));
                let failed =
                    named.map_or_else(|| encoded(&owned(AvpCode::SESSION_ID, echo.session_id().to_vec())), encoded);
                let text = "more than was charged and not yet refunded";
                Self { failed: Some(failed), ..Self::plain(ResultCode::INVALID_AVP_VALUE, text) }
            }
            Refusal::TooBusy if echo.named_us => Self::plain(ResultCode::TOO_BUSY, "too much is open; try again later"),
            Refusal::TooBusy => Self::plain(ResultCode::UNABLE_TO_DELIVER, "too much is open here; try another server"),
            Refusal::Stale => Self::plain(ResultCode::UNABLE_TO_COMPLY, "it has changed meanwhile"),
            Refusal::OutOfRange => Self::plain(ResultCode::UNABLE_TO_COMPLY, "an amount is too large to be charged"),
            Refusal::Invalid(reason) => Self::plain(ResultCode::UNABLE_TO_COMPLY, reason),
        }
    }
}

fn encode_refused(out: &mut Vec<u8>, echo: &Echo, refusal: &Refusal, own: &Identity) -> Result<usize, MessageTooLong> {
    let verdict = Verdict::of_refusal(refusal, echo);
    if !verdict.code.is_protocol_error() {
        return write_command_error(out, echo, own, &verdict);
    }
    // The answer-message grammar (RFC 6733 7.2).
    let header = Header { flags: echo.header.flags.union(Flags::ERROR), ..echo.header };
    let mut writer = MessageWriter::new(out, &header);
    writer.octets(AvpCode::SESSION_ID, echo.session_id());
    writer.utf8(AvpCode::ORIGIN_HOST, &own.host);
    writer.utf8(AvpCode::ORIGIN_REALM, &own.realm);
    writer.u32(AvpCode::RESULT_CODE, verdict.code.0);
    write_tail(&mut writer, echo, own, &verdict);
    writer.finish()
}

/// An error in the grammar of the command.
fn write_command_error(
    out: &mut Vec<u8>,
    echo: &Echo,
    own: &Identity,
    verdict: &Verdict,
) -> Result<usize, MessageTooLong> {
    let mut writer = MessageWriter::new(out, &echo.header);
    write_head(&mut writer, echo, own, verdict.code);
    write_tail(&mut writer, echo, own, verdict);
    writer.finish()
}

/// What only answers with an error have. Origin-State-Id is one of it: a client that hears of a lost session wants to
/// know whether we lost more.
fn write_tail(writer: &mut MessageWriter<'_>, echo: &Echo, own: &Identity, verdict: &Verdict) {
    own.write_state(writer);
    writer.utf8(AvpCode::ERROR_MESSAGE, verdict.text);
    if let Some(failed) = &verdict.failed {
        writer.grouped(AvpCode::FAILED_AVP, |writer| writer.encoded(failed));
    }
    writer.encoded(&echo.proxy_info);
}

/// What could not be rated (RFC 8506 9.2): of each such service its rating group, else its first service identifier,
/// else the service context.
fn failed_keys(echo: &Echo, denials: &[(Denial, &ServiceKey)]) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    for (denial, key) in denials {
        if !matches!(denial, Denial::RatingFailed | Denial::UsageSuspect) {
            continue;
        }
        let number = |code, number: u32| owned(code, number.to_be_bytes().to_vec());
        let avp = match (key.rating_group, key.services.first()) {
            (Some(group), _) => number(AvpCode::RATING_GROUP, group.get()),
            (None, Some(service)) => number(AvpCode::SERVICE_IDENTIFIER, service.get()),
            (None, None) => service_context(echo),
        };
        avp.write(&mut octets);
    }
    (!octets.is_empty()).then_some(octets)
}

fn service_context(echo: &Echo) -> OwnedAvp {
    owned(AvpCode::SERVICE_CONTEXT_ID, echo.service_context.as_bytes().to_vec())
}

fn flags(code: AvpCode) -> AvpFlags {
    AvpFlags::new(code, dictionary::is_sent_mandatory(code))
}

fn owned(code: AvpCode, data: Vec<u8>) -> OwnedAvp {
    OwnedAvp { code, flags: flags(code), data }
}

fn example(code: AvpCode) -> OwnedAvp {
    OwnedAvp::zeroed(code, flags(code))
}

fn encoded(avp: &OwnedAvp) -> Vec<u8> {
    let mut octets = Vec::new();
    avp.write(&mut octets);
    octets
}
