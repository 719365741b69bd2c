//! The circumstances of usage as octets, in two parts: what happened, and whose it was.
//!
//! The second part, the identity, holds every network identifier: the subscriber's, the equipment's, the device's
//! addresses, calling and called parties. A session keeps both behind one another; a CDR keeps the identity in a
//! section of its own, so that it can be encrypted or forgotten without touching the rest.

use std::sync::Arc;

use rating_engine::context::{Context, ImsContext, PacketContext, Plmn, Slice, SmsContext};
use rating_engine::tariff::Service;

use super::wire::{Fault, Read, Reader, RecordError, Writer};

/// The format of a context.
const VERSION: u8 = 1;

/// Writes a context at the end of `out`.
pub fn encode_context(out: &mut Vec<u8>, context: &Context) {
    put_context(&mut Writer::new(out), context);
}

/// Reads a context.
///
/// # Errors
/// [`RecordError`] when the octets are no context.
pub fn decode_context(octets: &[u8]) -> Result<Context, RecordError> {
    let mut r = Reader::new(octets);
    let context = read_context(&mut r)?;
    r.finish("context")?;
    Ok(context)
}

/// A context that says nothing: stands in where the octets leave it out.
pub(super) fn empty() -> Context {
    Context {
        service: Service::Other(0),
        service_context: Arc::default(),
        client_host: Arc::default(),
        client_realm: Arc::default(),
        identifiers: Vec::new(),
        equipment: None,
        correlation: None,
        packet: None,
        ims: None,
        sms: None,
    }
}

pub(super) fn put_context(w: &mut Writer<'_>, context: &Context) {
    w.u8(VERSION);
    put_circumstances(w, context);
    put_identity(w, context);
}

pub(super) fn read_context(r: &mut Reader<'_>) -> Read<Context> {
    r.version(VERSION, "context")?;
    let mut context = read_circumstances(r)?;
    read_identity(r, &mut context)?;
    Ok(context)
}

/// The realm that a host's name says: what follows its first label. Such a realm is not written.
fn realm_of(host: &str) -> Option<&str> {
    host.split_once('.').map(|(_, realm)| realm)
}

/// Everything but the identity.
pub(super) fn put_circumstances(w: &mut Writer<'_>, context: &Context) {
    let Context {
        service,
        service_context,
        client_host,
        client_realm,
        identifiers: _,
        equipment: _,
        correlation,
        packet,
        ims,
        sms,
    } = context;
    w.service(*service);
    let realm = realm_of(client_host) == Some(client_realm);
    w.presence(&[correlation.is_some(), packet.is_some(), ims.is_some(), sms.is_some(), !realm]);
    w.str(service_context);
    w.str(client_host);
    if !realm {
        w.str(client_realm);
    }
    if let Some(correlation) = correlation {
        w.octets(correlation);
    }
    if let Some(packet) = packet {
        put_packet(w, packet);
    }
    if let Some(ims) = ims {
        put_ims(w, ims);
    }
    if let Some(sms) = sms {
        put_sms(w, sms);
    }
}

/// Everything but the identity, which is left empty.
pub(super) fn read_circumstances(r: &mut Reader<'_>) -> Read<Context> {
    let service = r.service()?;
    let mut present = r.presence(5, "context")?;
    let (correlation, packet, ims, sms) = (present.take(), present.take(), present.take(), present.take());
    let service_context = r.str("service context")?.into();
    let offset = r.offset();
    let client_host = r.str("client host")?;
    let client_realm = match r.option(&mut present, |r| r.str("client realm"))? {
        Some(realm) => realm,
        None => realm_of(client_host).ok_or_else(|| Reader::error("client host", offset, Fault::Value))?,
    };
    Ok(Context {
        service,
        service_context,
        client_host: client_host.into(),
        client_realm: client_realm.into(),
        identifiers: Vec::new(),
        equipment: None,
        correlation: if correlation { Some(r.octets("correlation")?.into()) } else { None },
        packet: if packet { Some(Box::new(read_packet(r)?)) } else { None },
        ims: if ims { Some(Box::new(read_ims(r)?)) } else { None },
        sms: if sms { Some(Box::new(read_sms(r)?)) } else { None },
    })
}

/// Whose it was.
pub(super) fn put_identity(w: &mut Writer<'_>, context: &Context) {
    let addresses = context.packet.as_ref().map_or(&[][..], |packet| &packet.device_addresses);
    let ims = context.ims.as_deref();
    let (calling, requested) = ims.map_or((&[][..], &[][..]), |ims| (&ims.calling, &ims.requested));
    let called = ims.and_then(|ims| ims.called.as_deref());
    let recipients = context.sms.as_ref().map_or(&[][..], |sms| &sms.recipients);
    let originator = context.sms.as_ref().and_then(|sms| sms.originator.as_deref());
    w.presence(&[
        !context.identifiers.is_empty(),
        context.equipment.is_some(),
        !addresses.is_empty(),
        !calling.is_empty(),
        called.is_some(),
        !requested.is_empty(),
        originator.is_some(),
        !recipients.is_empty(),
    ]);
    if !context.identifiers.is_empty() {
        w.list(&context.identifiers, Writer::identifier);
    }
    if let Some(equipment) = &context.equipment {
        w.octets(equipment);
    }
    if !addresses.is_empty() {
        w.list(addresses, |w, address| w.address(*address));
    }
    put_texts(w, calling);
    if let Some(called) = called {
        w.str(called);
    }
    put_texts(w, requested);
    if let Some(originator) = originator {
        w.str(originator);
    }
    put_texts(w, recipients);
}

/// Whose it was, into a context whose identity is empty.
pub(super) fn read_identity(r: &mut Reader<'_>, context: &mut Context) -> Read<()> {
    let offset = r.offset();
    let mut present = r.presence(8, "identity")?;
    context.identifiers = r.listed(&mut present, "identifiers", Reader::identifier)?;
    context.equipment = r.option(&mut present, |r| r.octets("equipment").map(Into::into))?;
    let addresses = r.listed(&mut present, "device addresses", |r| r.address("device address"))?;
    let calling = r.texts(&mut present, "calling party")?;
    let called = r.text(&mut present, "called party")?;
    let requested = r.texts(&mut present, "requested party")?;
    let originator = r.text(&mut present, "originator")?;
    let recipients = r.texts(&mut present, "recipients")?;
    let misplaced = || Reader::error("identity", offset, Fault::Value);
    match &mut context.packet {
        Some(packet) => packet.device_addresses = addresses,
        None if addresses.is_empty() => {}
        None => return Err(misplaced()),
    }
    match &mut context.ims {
        Some(ims) => (ims.calling, ims.called, ims.requested) = (calling, called, requested),
        None if calling.is_empty() && called.is_none() && requested.is_empty() => {}
        None => return Err(misplaced()),
    }
    match &mut context.sms {
        Some(sms) => (sms.originator, sms.recipients) = (originator, recipients),
        None if originator.is_none() && recipients.is_empty() => {}
        None => return Err(misplaced()),
    }
    Ok(())
}

fn put_texts(w: &mut Writer<'_>, texts: &[Box<str>]) {
    if !texts.is_empty() {
        w.list(texts, |w, text| w.str(text));
    }
}

fn put_numbers(w: &mut Writer<'_>, numbers: impl IntoIterator<Item = Option<u32>>) {
    numbers.into_iter().flatten().for_each(|number| w.u64(number.into()));
}

fn put_packet(w: &mut Writer<'_>, packet: &PacketContext) {
    let PacketContext {
        apn,
        charging_id,
        pdn_connection_id,
        serving_plmn,
        home_plmn,
        gateway_plmn,
        rat,
        location,
        time_zone,
        charging_characteristics,
        serving_node,
        serving_node_type,
        gateway,
        device_addresses: _,
        pdp_type,
        nsapi,
        selection_mode,
        qci,
        rule_base,
        ps_data_off,
        presence_area,
        slice,
    } = packet;
    w.presence(&[
        apn.is_some(),
        charging_id.is_some(),
        pdn_connection_id.is_some(),
        serving_plmn.is_some(),
        home_plmn.is_some(),
        gateway_plmn.is_some(),
        rat.is_some(),
        location.is_some(),
        time_zone.is_some(),
        charging_characteristics.is_some(),
        serving_node.is_some(),
        serving_node_type.is_some(),
        gateway.is_some(),
        pdp_type.is_some(),
        nsapi.is_some(),
        selection_mode.is_some(),
        qci.is_some(),
        rule_base.is_some(),
        ps_data_off.is_some(),
        presence_area.is_some(),
        slice.is_some(),
    ]);
    if let Some(apn) = apn {
        w.str(apn);
    }
    put_numbers(w, [*charging_id, *pdn_connection_id]);
    [serving_plmn, home_plmn, gateway_plmn].into_iter().flatten().for_each(|plmn| put_plmn(w, plmn));
    if let Some(rat) = rat {
        w.u8(*rat);
    }
    if let Some(location) = location {
        w.octets(location);
    }
    if let Some(time_zone) = time_zone {
        w.raw(time_zone);
    }
    put_numbers(w, [charging_characteristics.map(u32::from)]);
    if let Some(node) = serving_node {
        w.address(*node);
    }
    put_numbers(w, [*serving_node_type]);
    if let Some(gateway) = gateway {
        w.address(*gateway);
    }
    put_numbers(w, [*pdp_type]);
    [nsapi, selection_mode].into_iter().flatten().for_each(|octet| w.u8(*octet));
    put_numbers(w, [*qci]);
    if let Some(rule_base) = rule_base {
        w.str(rule_base);
    }
    put_numbers(w, [*ps_data_off, *presence_area]);
    if let Some(Slice { service_type, differentiator }) = slice {
        w.u8(*service_type);
        // 0 for none: a differentiator has 24 bits.
        w.u64(differentiator.map_or(0, |differentiator| u64::from(differentiator) + 1));
    }
}

fn read_packet(r: &mut Reader<'_>) -> Read<PacketContext> {
    let mut present = r.presence(21, "packet context")?;
    let p = &mut present;
    Ok(PacketContext {
        apn: r.text(p, "access point name")?,
        charging_id: r.option(p, |r| r.number("charging id"))?,
        pdn_connection_id: r.option(p, |r| r.number("PDN connection id"))?,
        serving_plmn: r.option(p, read_plmn)?,
        home_plmn: r.option(p, read_plmn)?,
        gateway_plmn: r.option(p, read_plmn)?,
        rat: r.option(p, |r| r.u8("RAT type"))?,
        location: r.option(p, |r| r.octets("location").map(Into::into))?,
        time_zone: r.option(p, |r| r.array("time zone"))?,
        charging_characteristics: r.option(p, |r| r.number("charging characteristics"))?,
        serving_node: r.option(p, |r| r.address("serving node"))?,
        serving_node_type: r.option(p, |r| r.number("serving node type"))?,
        gateway: r.option(p, |r| r.address("gateway"))?,
        device_addresses: Vec::new(),
        pdp_type: r.option(p, |r| r.number("PDP type"))?,
        nsapi: r.option(p, |r| r.u8("NSAPI"))?,
        selection_mode: r.option(p, |r| r.u8("selection mode"))?,
        qci: r.option(p, |r| r.number("QCI"))?,
        rule_base: r.text(p, "rule base")?,
        ps_data_off: r.option(p, |r| r.number("PS data off"))?,
        presence_area: r.option(p, |r| r.number("presence area"))?,
        slice: r.option(p, |r| {
            let service_type = r.u8("slice")?;
            let offset = r.offset();
            let differentiator = match r.u64("slice")? {
                0 => None,
                more => Some(u32::try_from(more - 1).map_err(|_| Reader::error("slice", offset, Fault::Value))?),
            };
            Ok(Slice { service_type, differentiator })
        })?,
    })
}

/// Stands for a sixth digit that is not there.
const NO_DIGIT: u8 = 0xF;

/// Two digits to an octet, the first one high.
fn put_plmn(w: &mut Writer<'_>, plmn: &Plmn) {
    let [a, b, c, d, e, f] = *plmn.octets();
    let last = if f == 0 { NO_DIGIT } else { f & 0xF };
    w.raw(&[a << 4 | b & 0xF, c << 4 | d & 0xF, e << 4 | last]);
}

fn read_plmn(r: &mut Reader<'_>) -> Read<Plmn> {
    let offset = r.offset();
    let digits = r.array::<3>("PLMN")?.map(|octet| [octet >> 4, octet & 0xF]);
    let digits = digits.as_flattened().iter().take_while(|digit| **digit != NO_DIGIT);
    let text: String = digits.map(|digit| char::from(digit | b'0')).collect();
    Plmn::parse(&text).ok_or_else(|| Reader::error("PLMN", offset, Fault::Value))
}

fn put_ims(w: &mut Writer<'_>, ims: &ImsContext) {
    let ImsContext {
        sip_method,
        role,
        node_functionality,
        user_session,
        calling: _,
        called: _,
        requested: _,
        icid,
        access_network,
        visited_network,
        cause_code,
        emergency,
    } = ims;
    w.presence(&[
        sip_method.is_some(),
        role.is_some(),
        node_functionality.is_some(),
        user_session.is_some(),
        icid.is_some(),
        !access_network.is_empty(),
        visited_network.is_some(),
        cause_code.is_some(),
        *emergency,
    ]);
    if let Some(method) = sip_method {
        w.str(method);
    }
    put_numbers(w, [*role, *node_functionality]);
    [user_session, icid].into_iter().flatten().for_each(|text| w.str(text));
    put_texts(w, access_network);
    if let Some(visited) = visited_network {
        w.str(visited);
    }
    if let Some(cause) = cause_code {
        w.i64((*cause).into());
    }
}

fn read_ims(r: &mut Reader<'_>) -> Read<ImsContext> {
    let mut present = r.presence(9, "IMS context")?;
    let p = &mut present;
    Ok(ImsContext {
        sip_method: r.text(p, "SIP method")?,
        role: r.option(p, |r| r.number("role of node"))?,
        node_functionality: r.option(p, |r| r.number("node functionality"))?,
        user_session: r.text(p, "user session")?,
        calling: Vec::new(),
        called: None,
        requested: Vec::new(),
        icid: r.text(p, "ICID")?,
        access_network: r.texts(p, "access network")?,
        visited_network: r.text(p, "visited network")?,
        cause_code: r.option(p, |r| read_i32(r, "cause code"))?,
        emergency: p.take(),
    })
}

fn put_sms(w: &mut Writer<'_>, sms: &SmsContext) {
    let SmsContext {
        originator: _,
        recipients: _,
        service_centre,
        message_type,
        node,
        messages,
        data_coding,
        service_type,
    } = sms;
    w.presence(&[
        service_centre.is_some(),
        message_type.is_some(),
        node.is_some(),
        messages.is_some(),
        service_type.is_some(),
        data_coding.is_some(),
    ]);
    if let Some(centre) = service_centre {
        w.str(centre);
    }
    put_numbers(w, [*message_type, *node, *messages, *service_type]);
    if let Some(coding) = data_coding {
        w.i64((*coding).into());
    }
}

fn read_sms(r: &mut Reader<'_>) -> Read<SmsContext> {
    let mut present = r.presence(6, "SMS context")?;
    let p = &mut present;
    Ok(SmsContext {
        originator: None,
        recipients: Vec::new(),
        service_centre: r.text(p, "service centre")?,
        message_type: r.option(p, |r| r.number("message type"))?,
        node: r.option(p, |r| r.number("SMS node"))?,
        messages: r.option(p, |r| r.number("messages"))?,
        service_type: r.option(p, |r| r.number("service type"))?,
        data_coding: r.option(p, |r| read_i32(r, "data coding"))?,
    })
}

fn read_i32(r: &mut Reader<'_>, what: &'static str) -> Read<i32> {
    let offset = r.offset();
    i32::try_from(r.i64(what)?).map_err(|_| Reader::error(what, offset, Fault::Value))
}
