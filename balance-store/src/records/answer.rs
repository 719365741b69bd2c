//! Answers kept for repeats as octets: of a session's requests, and of people's mutations.

use std::sync::Arc;

use rating_engine::command::{Answered, Grant, MutationOutcome, Outcome, Refusal, ServiceOutcome, ServiceResult};
use rating_engine::ids::{GroupId, SessionId};
use rating_engine::session::StoredAnswer;
use rating_engine::shard::MutationRecord;

use super::wire::{Fault, Read, Reader, RecordError, Writer};

/// The format of an answer and of a mutation.
const VERSION: u8 = 1;

/// What a reason reads as that this release does not know; the words are all that is lost.
const REASON_UNKNOWN: &str = "the request was refused";

/// The reasons of [`Refusal::Invalid`] that can be read back as they were.
const REASONS: &[&str] = &[
    "an account with this id exists",
    "the subscriber's account does not exist in this charging group",
    "no such account",
    "the account is closed",
    "the amount must be above 0",
    "the bucket holds no money, or the balance would not fit",
    "what the account holds does not fit",
];

/// Writes a stored answer at the end of `out`.
pub fn encode_answer(out: &mut Vec<u8>, answer: &StoredAnswer) {
    put_answer(&mut Writer::new(out), answer);
}

/// Reads a stored answer.
///
/// # Errors
/// [`RecordError`] when the octets are no stored answer.
pub fn decode_answer(octets: &[u8]) -> Result<StoredAnswer, RecordError> {
    let mut r = Reader::new(octets);
    let answer = read_answer(&mut r)?;
    r.finish("answer")?;
    Ok(answer)
}

/// Writes a remembered mutation at the end of `out`, without its key.
pub fn encode_mutation(out: &mut Vec<u8>, mutation: &MutationRecord) {
    put_mutation(&mut Writer::new(out), mutation);
}

/// Reads a remembered mutation.
///
/// # Errors
/// [`RecordError`] when the octets are no mutation.
pub fn decode_mutation(octets: &[u8]) -> Result<MutationRecord, RecordError> {
    let mut r = Reader::new(octets);
    let mutation = read_mutation(&mut r)?;
    r.finish("mutation")?;
    Ok(mutation)
}

pub(super) fn put_answer(w: &mut Writer<'_>, answer: &StoredAnswer) {
    w.u8(VERSION);
    w.coded(answer.kind);
    w.u64(answer.number.into());
    w.fixed64(answer.digest);
    match &*answer.outcome {
        Outcome::Answered(answered) => {
            w.u8(0);
            put_answered(w, answered);
        }
        Outcome::Refused(refusal) => put_refusal(w, refusal),
    }
}

pub(super) fn read_answer(r: &mut Reader<'_>) -> Read<StoredAnswer> {
    r.version(VERSION, "answer")?;
    Ok(StoredAnswer {
        kind: r.coded("request kind")?,
        number: r.number("request number")?,
        digest: r.fixed64("digest")?,
        outcome: Arc::new(match read_refusal(r)? {
            None => Outcome::Answered(read_answered(r)?),
            Some(refusal) => Outcome::Refused(refusal),
        }),
    })
}

fn put_answered(w: &mut Writer<'_>, answered: &Answered) {
    w.list(&answered.services, put_service);
    w.presence(&[
        answered.cost.is_some(),
        answered.refund_reference.is_some(),
        answered.session_gone,
        answered.enough_credit.is_some(),
        answered.enough_credit == Some(true),
    ]);
    if let Some((cost, currency)) = answered.cost {
        w.money(cost);
        w.currency(currency);
    }
    if let Some(reference) = &answered.refund_reference {
        w.octets(reference.octets());
    }
}

fn read_answered(r: &mut Reader<'_>) -> Read<Answered> {
    let services = r.few("services", read_service)?;
    let offset = r.offset();
    let mut present = r.presence(5, "answer")?;
    let cost = r.option(&mut present, |r| Ok((r.money("cost")?, r.currency("currency")?)))?;
    let refund_reference = r.option(&mut present, |r| r.octets("refund reference").map(SessionId::new))?;
    let session_gone = present.take();
    let enough_credit = match (present.take(), present.take()) {
        (false, false) => None,
        (true, enough) => Some(enough),
        (false, true) => return Err(Reader::error("answer", offset, Fault::Value)),
    };
    Ok(Answered { services, cost, enough_credit, session_gone, refund_reference })
}

/// What a result begins with.
const SETTLED: u8 = 0;
const GRANTED: u8 = 1;
const GRANTED_LAST: u8 = 2;
/// Added to either: a switch follows.
const SWITCHES: u8 = 4;
const DENIED: u8 = 8;

fn put_service(w: &mut Writer<'_>, service: &ServiceOutcome) {
    w.service_key(&service.key);
    match &service.result {
        ServiceResult::Settled => w.u8(SETTLED),
        ServiceResult::Granted(grant) => {
            let head = if grant.last { GRANTED_LAST } else { GRANTED };
            w.u8(head | if grant.switch.is_some() { SWITCHES } else { 0 });
            w.units(&grant.units.units());
            w.u64(grant.validity_seconds.into());
            w.u64(grant.threshold);
            if let Some(switch) = grant.switch {
                w.time(switch);
            }
        }
        ServiceResult::Denied(denial) => {
            w.u8(DENIED);
            w.coded(*denial);
        }
    }
}

fn read_service(r: &mut Reader<'_>) -> Read<ServiceOutcome> {
    let key = r.service_key()?;
    let offset = r.offset();
    let head = r.u8("service result")?;
    let result = match head & !SWITCHES {
        SETTLED if head == SETTLED => ServiceResult::Settled,
        granted @ (GRANTED | GRANTED_LAST) => ServiceResult::Granted(Grant {
            units: r.units("granted units")?.into(),
            validity_seconds: r.number("validity")?,
            threshold: r.u64("threshold")?,
            switch: if head == granted { None } else { Some(r.time("switch")?) },
            last: granted == GRANTED_LAST,
        }),
        DENIED if head == DENIED => ServiceResult::Denied(r.coded("denial")?),
        _ => return Err(Reader::error("service result", offset, Fault::Value)),
    };
    Ok(ServiceOutcome { key, result })
}

/// A refusal's code; 0 is left for "not refused".
fn put_refusal(w: &mut Writer<'_>, refusal: &Refusal) {
    w.u8(match refusal {
        Refusal::UnknownSubscriber => 1,
        Refusal::IdentifiersDisagree => 2,
        Refusal::UnknownSession => 3,
        Refusal::ServiceDenied => 4,
        Refusal::Rejected => 5,
        Refusal::CreditLimitReached => 6,
        Refusal::RatingFailed => 7,
        Refusal::KeyReused => 8,
        Refusal::AnswerGone => 9,
        Refusal::NothingToRefund => 10,
        Refusal::RefundBeyondCharge => 11,
        Refusal::TooBusy => 12,
        Refusal::OutOfRange => 13,
        Refusal::Invalid(_) => 14,
        Refusal::Stale => 15,
    });
    if let Refusal::Invalid(reason) = refusal {
        w.str(reason);
    }
}

fn read_refusal(r: &mut Reader<'_>) -> Read<Option<Refusal>> {
    let offset = r.offset();
    Ok(Some(match r.u8("refusal")? {
        0 => return Ok(None),
        1 => Refusal::UnknownSubscriber,
        2 => Refusal::IdentifiersDisagree,
        3 => Refusal::UnknownSession,
        4 => Refusal::ServiceDenied,
        5 => Refusal::Rejected,
        6 => Refusal::CreditLimitReached,
        7 => Refusal::RatingFailed,
        8 => Refusal::KeyReused,
        9 => Refusal::AnswerGone,
        10 => Refusal::NothingToRefund,
        11 => Refusal::RefundBeyondCharge,
        12 => Refusal::TooBusy,
        13 => Refusal::OutOfRange,
        14 => {
            let reason = r.str("reason")?;
            Refusal::Invalid(REASONS.iter().find(|known| **known == reason).unwrap_or(&REASON_UNKNOWN))
        }
        15 => Refusal::Stale,
        _ => return Err(Reader::error("refusal", offset, Fault::Value)),
    }))
}

pub(super) fn put_mutation(w: &mut Writer<'_>, mutation: &MutationRecord) {
    w.u8(VERSION);
    w.u64(mutation.group.get());
    w.fixed64(mutation.digest);
    w.time(mutation.forget_at);
    match &*mutation.outcome {
        MutationOutcome::Done { balance, cdr_number } => {
            w.u8(0);
            w.money(*balance);
            w.u64(*cdr_number);
        }
        MutationOutcome::Refused(refusal) => put_refusal(w, refusal),
    }
}

pub(super) fn read_mutation(r: &mut Reader<'_>) -> Read<MutationRecord> {
    r.version(VERSION, "mutation")?;
    let group = GroupId::new(r.u64("charging group")?);
    let digest = r.fixed64("digest")?;
    let forget_at = r.time("forget at")?;
    let outcome = Arc::new(match read_refusal(r)? {
        None => MutationOutcome::Done { balance: r.money("balance")?, cdr_number: r.u64("CDR number")? },
        Some(refusal) => MutationOutcome::Refused(refusal),
    });
    Ok(MutationRecord { group, digest, outcome, forget_at })
}
