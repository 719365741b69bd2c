//! Sessions as octets: a core that every change writes, and the context and answers as far as they changed.
//!
//! A whole session, as the state keeps it, is a change that leaves nothing out. Its id is the key it is kept under and
//! is not repeated; its charging group, which it does not know itself, is written with it, so that loading finds its
//! shard.

use std::sync::Arc;

use rating_engine::account::{Holding, Reservation, Who};
use rating_engine::calendar::WindowId;
use rating_engine::cdr::Cause;
use rating_engine::command::SessionChange;
use rating_engine::ids::{AccountId, BucketId, CdrPosition, GroupId, SessionId, SubscriberId, TenantId};
use rating_engine::money::Money;
use rating_engine::session::{
    ChargePart, EventCharge, GrantState, LineState, Phase, Rated, Seen, ServiceState, Session,
};
use rating_engine::tariffs::LineKey;
use rating_engine::time::Timestamp;
use rating_engine::units::Measure;

use super::account::{put_sponsor, read_sponsor};
use super::answer::{put_answer, read_answer};
use super::context::{self, put_context, read_context};
use super::values::{Coded, Resolve, payer_code};
use super::wire::{Fault, Read, Reader, RecordError, Writer};

/// The format of a session.
const VERSION: u8 = 1;

/// Phases; any other code is the cause of an end.
const OPEN: u8 = 0;
const DENIED: u8 = 255;

/// What a whole record says of itself: everything is there.
const WHOLE: SessionChange = SessionChange { fresh: true, context: true, answer: None };

/// A session as read, with what was written of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionImage {
    /// The charging group of its account.
    pub group: GroupId,
    /// The session. Where `change` leaves them out, the context is empty and the answers are missing.
    pub session: Box<Session>,
    /// What was written. A fresh session is whole, so its change names no answer.
    pub change: SessionChange,
}

/// Writes a whole session of a charging group at the end of `out`, without its id.
pub fn encode_session(out: &mut Vec<u8>, session: &Session, group: GroupId) {
    put_session(&mut Writer::new(out), session, group, WHOLE);
}

/// Writes as much of a session as changed at the end of `out`, without its id.
pub fn encode_session_change(out: &mut Vec<u8>, session: &Session, group: GroupId, change: SessionChange) {
    put_session(&mut Writer::new(out), session, group, change);
}

/// Reads the session of this id, or the change of it.
///
/// # Errors
/// [`RecordError`] when the octets are no session, or its tariff version is not at hand.
pub fn decode_session(id: SessionId, octets: &[u8], resolve: &Resolve<'_>) -> Result<SessionImage, RecordError> {
    let mut r = Reader::new(octets);
    let image = read_session(&mut r, id, resolve)?;
    r.finish("session")?;
    Ok(image)
}

pub(super) fn put_session(w: &mut Writer<'_>, session: &Session, group: GroupId, change: SessionChange) {
    let slot = change.answer.filter(|_| !change.fresh);
    let answer = slot.and_then(|slot| Some((slot, session.answers.get(usize::from(slot))?)));
    w.u8(VERSION);
    w.presence(&[change.fresh, change.fresh || change.context, answer.is_some(), session.sponsor.is_some()]);
    put_core(w, session, group);
    if let Some(sponsor) = &session.sponsor {
        put_sponsor(w, sponsor);
    }
    if change.fresh || change.context {
        put_context(w, &session.context);
    }
    if change.fresh {
        w.list(&session.answers, put_answer);
    }
    if let Some((slot, answer)) = answer {
        w.u8(slot);
        put_answer(w, answer);
    }
}

pub(super) fn read_session(r: &mut Reader<'_>, id: SessionId, resolve: &Resolve<'_>) -> Read<SessionImage> {
    r.version(VERSION, "session")?;
    let offset = r.offset();
    let mut present = r.presence(4, "session")?;
    let (fresh, context, answer) = (present.take(), present.take(), present.take());
    if fresh && (!context || answer) {
        return Err(Reader::error("session", offset, Fault::Value));
    }
    let (mut session, group) = read_core(r, id, resolve)?;
    session.sponsor = r.option(&mut present, read_sponsor)?;
    let mut change = SessionChange { fresh, context, answer: None };
    if context {
        session.context = Arc::new(read_context(r)?);
    }
    if fresh {
        session.answers = r.list("answers", read_answer)?;
    }
    if answer {
        change.answer = Some(r.u8("answer slot")?);
        session.answers.push(read_answer(r)?);
    }
    Ok(SessionImage { group, session: Box::new(session), change })
}

fn put_core(w: &mut Writer<'_>, session: &Session, group: GroupId) {
    let Session {
        id: _,
        subscriber,
        tenant,
        account,
        sponsor: _,
        opened,
        heard,
        client_state,
        context: _,
        tariff,
        services,
        start: (number, digest),
        answers: _,
        next_slot,
        seen,
        phase,
        charges,
    } = session;
    w.u64(group.get());
    w.u64(subscriber.get());
    w.u64(tenant.get().into());
    w.u64(account.get());
    w.time(*opened);
    w.time_since(*opened, *heard);
    w.u64((*client_state).into());
    w.tariff(tariff);
    w.list(services, |w, service| put_service(w, service, *opened));
    w.u64((*number).into());
    w.fixed64(*digest);
    w.u8(*next_slot);
    w.u64(seen.top.into());
    // All handled is -1: one octet for a long session too.
    w.i64(seen.bits.cast_signed());
    match phase {
        Phase::Open => w.u8(OPEN),
        Phase::Denied { forget_at } => {
            w.u8(DENIED);
            w.time_since(*opened, *forget_at);
        }
        Phase::Ended { cause, forget_at } => {
            w.coded(*cause);
            w.time_since(*opened, *forget_at);
        }
    }
    w.list(charges, put_charge);
}

fn read_core(r: &mut Reader<'_>, id: SessionId, resolve: &Resolve<'_>) -> Read<(Session, GroupId)> {
    let group = GroupId::new(r.u64("charging group")?);
    let subscriber = SubscriberId::new(r.u64("subscriber")?);
    let tenant = TenantId::new(r.number("tenant")?);
    let account = AccountId::new(r.u64("account")?);
    let opened = r.time("opened")?;
    let session = Session {
        id,
        subscriber,
        tenant,
        account,
        sponsor: None,
        opened,
        heard: r.time_since(opened, "heard")?,
        client_state: r.number("client state")?,
        context: Arc::new(context::empty()),
        tariff: r.tariff(resolve)?,
        services: r.list("services", |r| read_service(r, opened))?,
        start: (r.number("first request's number")?, r.fixed64("first request's digest")?),
        answers: Vec::new(),
        next_slot: r.u8("next slot")?,
        seen: Seen { top: r.number("highest number")?, bits: r.i64("handled numbers")?.cast_unsigned() },
        phase: read_phase(r, opened)?,
        charges: r.list("charges", read_charge)?,
    };
    Ok((session, group))
}

fn read_phase(r: &mut Reader<'_>, opened: Timestamp) -> Read<Phase> {
    let phase = r.code("phase", |code| match code {
        OPEN => Some(Phase::Open),
        DENIED => Some(Phase::Denied { forget_at: opened }),
        _ => Cause::of_code(code).map(|cause| Phase::Ended { cause, forget_at: opened }),
    })?;
    Ok(match phase {
        Phase::Open => Phase::Open,
        Phase::Denied { .. } => Phase::Denied { forget_at: r.time_since(opened, "forget at")? },
        Phase::Ended { cause, .. } => Phase::Ended { cause, forget_at: r.time_since(opened, "forget at")? },
    })
}

fn put_service(w: &mut Writer<'_>, service: &ServiceState, opened: Timestamp) {
    let ServiceState { key, rated, grant, since, answered, waiting } = service;
    let Rated { lines, last, connect_fee, charged, network_rated } = rated;
    let switch = grant.as_ref().and_then(|grant| grant.switch);
    let sponsored = grant.as_ref().and_then(|grant| grant.sponsored.as_deref());
    w.service_key(key);
    w.presence(&[
        *waiting,
        connect_fee.is_some(),
        connect_fee.is_some_and(|fee| fee != Money::ZERO),
        answered.is_some(),
        *last != 0,
        grant.is_some(),
        switch.is_some(),
        sponsored.is_some(),
    ]);
    w.list(lines, put_line);
    if let Some(fee) = connect_fee.filter(|fee| *fee != Money::ZERO) {
        w.money(fee);
    }
    if let Some(answered) = answered {
        w.time_since(opened, *answered);
    }
    if *last != 0 {
        w.u8(*last);
    }
    w.money(*charged);
    w.money(*network_rated);
    w.time_since(opened, *since);
    if let Some(GrantState { number, quantity, at, validity_seconds, switch, reservation, sponsored }) = grant {
        w.u64((*number).into());
        w.u64(*quantity);
        w.time_since(opened, *at);
        w.u64((*validity_seconds).into());
        put_reservation(w, reservation);
        if let Some(switch) = switch {
            w.time_since(opened, *switch);
        }
        if let Some(sponsored) = sponsored {
            put_reservation(w, sponsored);
        }
    }
}

fn put_reservation(w: &mut Writer<'_>, reservation: &Reservation) {
    w.list(&reservation.buckets, |w, (id, amount)| {
        w.str(id.as_str());
        w.i64(*amount);
    });
    w.money(reservation.credit);
}

fn read_reservation(r: &mut Reader<'_>) -> Read<Reservation> {
    Ok(Reservation {
        buckets: r.few("reservation", |r| Ok((BucketId::new(r.str("bucket")?), r.i64("reserved")?)))?,
        credit: r.money("reserved credit")?,
    })
}

fn read_service(r: &mut Reader<'_>, opened: Timestamp) -> Read<ServiceState> {
    let key = r.service_key()?;
    let offset = r.offset();
    let mut present = r.presence(8, "service")?;
    let waiting = present.take();
    let wrong = || Reader::error("service", offset, Fault::Value);
    let fee = (present.take(), present.take());
    let lines = r.few("price lines", read_line)?;
    let connect_fee = match fee {
        (false, false) => None,
        (true, false) => Some(Money::ZERO),
        (true, true) => Some(r.money("connect fee")?),
        (false, true) => return Err(wrong()),
    };
    let answered = r.option(&mut present, |r| r.time_since(opened, "answered"))?;
    let last = r.option(&mut present, |r| r.u8("last line"))?.unwrap_or(0);
    let (charged, network_rated) = (r.money("charged")?, r.money("network rated")?);
    let since = r.time_since(opened, "since")?;
    let (is_granted, switches, is_sponsored) = (present.take(), present.take(), present.take());
    if (switches || is_sponsored) && !is_granted {
        return Err(wrong());
    }
    let grant = if is_granted { Some(read_grant(r, opened, switches, is_sponsored)?) } else { None };
    let rated = Rated { lines, last, connect_fee, charged, network_rated };
    Ok(ServiceState { key, rated, grant, since, answered, waiting })
}

fn read_grant(r: &mut Reader<'_>, opened: Timestamp, switches: bool, is_sponsored: bool) -> Read<GrantState> {
    Ok(GrantState {
        number: r.number("grant's request")?,
        quantity: r.u64("granted")?,
        at: r.time_since(opened, "granted at")?,
        validity_seconds: r.number("validity")?,
        reservation: read_reservation(r)?,
        switch: if switches { Some(r.time_since(opened, "switch")?) } else { None },
        sponsored: if is_sponsored { Some(Box::new(read_reservation(r)?)) } else { None },
    })
}

fn put_line(w: &mut Writer<'_>, line: &LineState) {
    let LineState { key: LineKey { version, price, window, rate }, used, unpaid, rated, tiers } = line;
    w.u64((*version).into());
    w.u64((*price).into());
    // A window is one octet; the exchange rate stands above it.
    w.u64(u64::from(window.get()) | u64::from(*rate) << 8);
    w.u64(*used);
    w.u64(*unpaid);
    w.u64(*rated);
    w.list(tiers, |w, tier| w.u64(*tier));
}

fn read_line(r: &mut Reader<'_>) -> Read<LineState> {
    let (version, price) = (r.number("tariff version")?, r.number("price")?);
    let offset = r.offset();
    let [window, rate @ ..] = r.number::<u32>("window")?.to_le_bytes();
    let [low, high, 0] = rate else { return Err(Reader::error("window", offset, Fault::Value)) };
    let (window, rate) = (WindowId::new(window), u16::from_le_bytes([low, high]));
    let key = LineKey { version, price, window, rate };
    Ok(LineState {
        key,
        used: r.u64("used")?,
        unpaid: r.u64("unpaid")?,
        rated: r.u64("rated")?,
        tiers: r.few("tiers", |r| r.u64("tier"))?,
    })
}

fn put_charge(w: &mut Writer<'_>, charge: &EventCharge) {
    let EventCharge { key, who, cdr, began, measure, quantity, refunded, amount, parts } = charge;
    w.service_key(key);
    w.u64(cdr.get());
    let (sponsor, began_elsewhere) = (u8::from(*who == Who::Sponsor), u8::from(began.is_some()));
    w.u8(measure.map_or(0, Coded::code) | began_elsewhere << 6 | sponsor << 7);
    w.u64(*quantity);
    w.u64(*refunded);
    w.money(*amount);
    w.list(parts, |w, part| {
        let ChargePart { payer, holding, amount, refunded } = part;
        w.u8(holding.code() | payer_code(payer) << 2);
        w.payer(payer);
        w.i64(*amount);
        w.i64(*refunded);
    });
    if let Some(began) = began {
        w.time(*began);
    }
}

fn read_charge(r: &mut Reader<'_>) -> Read<EventCharge> {
    let (key, cdr) = (r.service_key()?, CdrPosition::new(r.u64("CDR")?));
    let (measure, began_elsewhere, who) = r.code("measure", |code| {
        let (measure, who) = (code & 0x3F, if code >> 7 == 1 { Who::Sponsor } else { Who::Own });
        Some((if measure == 0 { None } else { Some(Measure::of_code(measure)?) }, code >> 6 & 1 == 1, who))
    })?;
    let mut charge = EventCharge {
        key,
        who,
        cdr,
        began: None,
        measure,
        quantity: r.u64("quantity")?,
        refunded: r.u64("refunded")?,
        amount: r.money("amount")?,
        parts: r.list("charge parts", |r| {
            let (holding, payer) = r.code("charge part", |code| Some((Holding::of_code(code & 3)?, code >> 2)))?;
            Ok(ChargePart { payer: r.payer(payer)?, holding, amount: r.i64("amount")?, refunded: r.i64("refunded")? })
        })?,
    };
    if began_elsewhere {
        charge.began = Some(r.time("beginning of an event")?);
    }
    Ok(charge)
}
