//! Service-Information (TS 32.299 7.2.192) as the circumstances of usage: PS-, IMS- and SMS-Information.
//!
//! What stands in its place counts first; where that place is empty, the same AVP at command level counts, since older
//! gateways put them there. Text has to be text and short enough ([`TEXT_OCTETS_MAX`]), else the request is refused;
//! a value of fixed form that has not that form is as good as absent. Of an AVP that may stand once, the first counts;
//! of lists, the first [`LIST_MAX`] entries.

use std::net::IpAddr;

use rating_engine::context::{ImsContext, PacketContext, Plmn, SmsContext};
use rating_engine::ids::{Digits, Identifier};

use super::request::{IDENTIFIERS_MAX, TEXT_OCTETS_MAX};
use super::units::{need, occurs_too_often, once};
use crate::avp::{Address, Avp, Avps};
use crate::dictionary::{AvpCode, VENDOR_3GPP};
use crate::error::DecodeError;
use crate::message::MessageWriter;

/// Entries of a list (addresses, parties, recipients) that are taken over.
pub(super) const LIST_MAX: usize = 64;

/// What is known of the service.
#[derive(Default)]
pub(super) struct Circumstances {
    pub(super) equipment: Option<Box<[u8]>>,
    pub(super) identifiers: Vec<Identifier>,
    pub(super) packet: Option<Box<PacketContext>>,
    pub(super) ims: Option<Box<ImsContext>>,
    pub(super) sms: Option<Box<SmsContext>>,
}

impl Circumstances {
    /// Takes over Service-Information, or what of it stands at command level. `identifiers` are wanted only by those
    /// who found none at command level.
    pub(super) fn read(&mut self, members: Avps<'_>, identifiers: bool) -> Result<(), DecodeError> {
        for avp in members {
            let avp = avp?;
            match avp.code {
                AvpCode::PS_INFORMATION => {
                    let packet = self.packet.get_or_insert_default();
                    for member in avp.grouped()? {
                        read_packet(packet, &mut self.equipment, &member?)?;
                    }
                }
                AvpCode::IMS_INFORMATION => read_ims(self.ims.get_or_insert_default(), avp.grouped()?)?,
                AvpCode::SMS_INFORMATION => read_sms(self.sms.get_or_insert_default(), avp.grouped()?)?,
                AvpCode::USER_EQUIPMENT_INFO | AvpCode::USER_EQUIPMENT_INFO_EXTENSION => {
                    read_equipment(&mut self.equipment, &avp)?;
                }
                // The grammar does not look into Service-Information.
                AvpCode::SUBSCRIPTION_ID if identifiers => read_subscription(&mut self.identifiers, &avp, &mut true)?,
                AvpCode::SUBSCRIPTION_ID_EXTENSION if identifiers => {
                    read_subscription_extension(&mut self.identifiers, &avp)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Fills what is still empty with what stands at command level.
    pub(super) fn read_misplaced(&mut self, members: Avps<'_>) -> Result<(), DecodeError> {
        self.read(members, false)?;
        let was_there = self.packet.is_some();
        let mut packet = self.packet.take().unwrap_or_default();
        let had_addresses = !packet.device_addresses.is_empty();
        for avp in members {
            let avp = avp?;
            let is_address = matches!(avp.code, AvpCode::PDP_ADDRESS | AvpCode::FRAMED_IP_ADDRESS);
            if is_misplaced(avp.code) && !(is_address && had_addresses) {
                read_packet(&mut packet, &mut self.equipment, &avp)?;
            }
        }
        self.packet = Some(packet).filter(|packet| was_there || **packet != PacketContext::default());
        Ok(())
    }

    /// The QCI of a service, for want of one of the whole session.
    pub(super) fn offer_qci(&mut self, qos: &Avp<'_>) -> Result<(), DecodeError> {
        if let Some(packet) = &mut self.packet
            && packet.qci.is_none()
        {
            packet.qci = read_qci(qos)?;
        }
        Ok(())
    }
}

/// Whether an AVP at command level belongs into Service-Information.
pub(super) const fn is_misplaced(code: AvpCode) -> bool {
    match code {
        AvpCode::CALLED_STATION_ID | AvpCode::FRAMED_IP_ADDRESS => true,
        AvpCode::SERVICE_INFORMATION | AvpCode::REFUND_INFORMATION | AvpCode::AOC_REQUEST_TYPE => false,
        _ => code.vendor == VENDOR_3GPP,
    }
}

/// Subscription-Id (RFC 8506 8.46). Types that are not known and empty data are skipped: a device without a number
/// has an empty one.
/// `is_counted` becomes false when something else is in it: what that may be, only the grammar looks at.
pub(super) fn read_subscription(
    identifiers: &mut Vec<Identifier>,
    group: &Avp<'_>,
    is_counted: &mut bool,
) -> Result<(), DecodeError> {
    let (mut kind, mut data) = (None, None);
    for avp in group.grouped()? {
        let avp = avp?;
        match avp.code {
            AvpCode::SUBSCRIPTION_ID_TYPE => once(&mut kind, avp)?,
            AvpCode::SUBSCRIPTION_ID_DATA => once(&mut data, avp)?,
            _ => *is_counted = false,
        }
    }
    let kind = need(&kind, AvpCode::SUBSCRIPTION_ID_TYPE)?.u32()?;
    let data = need(&data, AvpCode::SUBSCRIPTION_ID_DATA)?;
    keep_identifier(identifiers, group, kind, data)
}

/// Subscription-Id-Extension (RFC 8506 8.58): the same, the type being that of the member.
pub(super) fn read_subscription_extension(
    identifiers: &mut Vec<Identifier>,
    group: &Avp<'_>,
) -> Result<(), DecodeError> {
    for avp in group.grouped()? {
        let avp = avp?;
        let kind = match avp.code {
            AvpCode::SUBSCRIPTION_ID_E164 => 0,
            AvpCode::SUBSCRIPTION_ID_IMSI => 1,
            AvpCode::SUBSCRIPTION_ID_SIP_URI => 2,
            AvpCode::SUBSCRIPTION_ID_NAI => 3,
            AvpCode::SUBSCRIPTION_ID_PRIVATE => 4,
            _ => continue,
        };
        keep_identifier(identifiers, group, kind, &avp)?;
    }
    Ok(())
}

fn keep_identifier(
    identifiers: &mut Vec<Identifier>,
    group: &Avp<'_>,
    kind: u32,
    data: &Avp<'_>,
) -> Result<(), DecodeError> {
    if data.data.is_empty() {
        return Ok(());
    }
    let digits = |text| Digits::from_ascii(text).ok_or_else(|| data.invalid_value());
    let identifier = match kind {
        0 => Identifier::Msisdn(digits(data.data.strip_prefix(b"+").unwrap_or(data.data))?),
        1 => Identifier::Imsi(digits(data.data)?),
        2 => Identifier::Sip(text(data)?),
        3 => Identifier::Nai(text(data)?),
        4 => Identifier::Private(text(data)?),
        _ => return short(data).map(|_| ()),
    };
    if identifiers.contains(&identifier) {
        return Ok(());
    }
    if identifiers.len() >= IDENTIFIERS_MAX {
        return Err(occurs_too_often(group));
    }
    identifiers.push(identifier);
    Ok(())
}

/// User-Equipment-Info (RFC 8506 8.49) and its extension (8.52): the value as sent, whatever its type.
pub(super) fn read_equipment(equipment: &mut Option<Box<[u8]>>, group: &Avp<'_>) -> Result<(), DecodeError> {
    for avp in group.grouped()? {
        let avp = avp?;
        if matches!(
            avp.code,
            AvpCode::USER_EQUIPMENT_INFO_VALUE
                | AvpCode::USER_EQUIPMENT_INFO_IMEISV
                | AvpCode::USER_EQUIPMENT_INFO_IMEI
                | AvpCode::USER_EQUIPMENT_INFO_MAC
                | AvpCode::USER_EQUIPMENT_INFO_EUI64
                | AvpCode::USER_EQUIPMENT_INFO_MODIFIEDEUI64
        ) {
            keep(equipment, &avp, octets)?;
        }
    }
    Ok(())
}

/// A member of PS-Information (TS 32.299 7.2.158).
fn read_packet(
    packet: &mut PacketContext,
    equipment: &mut Option<Box<[u8]>>,
    avp: &Avp<'_>,
) -> Result<(), DecodeError> {
    match avp.code {
        AvpCode::CALLED_STATION_ID => keep(&mut packet.apn, avp, text),
        AvpCode::TGPP_CHARGING_ID => keep(&mut packet.charging_id, avp, Avp::u32),
        AvpCode::PDN_CONNECTION_CHARGING_ID => keep(&mut packet.pdn_connection_id, avp, Avp::u32),
        AvpCode::TGPP_SGSN_MCC_MNC => keep_known(&mut packet.serving_plmn, plmn(avp)),
        AvpCode::TGPP_IMSI_MCC_MNC => keep_known(&mut packet.home_plmn, plmn(avp)),
        AvpCode::TGPP_GGSN_MCC_MNC => keep_known(&mut packet.gateway_plmn, plmn(avp)),
        AvpCode::TGPP_RAT_TYPE => keep_known(&mut packet.rat, avp.data.first().copied()),
        AvpCode::TGPP_USER_LOCATION_INFO => keep(&mut packet.location, avp, octets),
        AvpCode::TGPP_MS_TIMEZONE => keep_known(&mut packet.time_zone, <[u8; 2]>::try_from(avp.data).ok()),
        AvpCode::TGPP_CHARGING_CHARACTERISTICS => {
            keep_known(&mut packet.charging_characteristics, characteristics(avp))
        }
        AvpCode::SGSN_ADDRESS | AvpCode::SGW_ADDRESS => keep_known(&mut packet.serving_node, ip(avp)?),
        AvpCode::SERVING_NODE_TYPE => keep(&mut packet.serving_node_type, avp, Avp::u32),
        AvpCode::GGSN_ADDRESS => keep_known(&mut packet.gateway, ip(avp)?),
        AvpCode::PDP_ADDRESS => {
            push(&mut packet.device_addresses, ip(avp)?);
            Ok(())
        }
        AvpCode::FRAMED_IP_ADDRESS => {
            push(&mut packet.device_addresses, <[u8; 4]>::try_from(avp.data).ok().map(IpAddr::from));
            Ok(())
        }
        AvpCode::TGPP_PDP_TYPE => keep(&mut packet.pdp_type, avp, Avp::u32),
        AvpCode::TGPP_NSAPI => keep_known(&mut packet.nsapi, avp.data.first().copied()),
        AvpCode::TGPP_SELECTION_MODE => keep_known(&mut packet.selection_mode, avp.data.first().copied()),
        AvpCode::QOS_INFORMATION => keep_known(&mut packet.qci, read_qci(avp)?),
        AvpCode::CHARGING_RULE_BASE_NAME => keep(&mut packet.rule_base, avp, text),
        AvpCode::TGPP_PS_DATA_OFF_STATUS => keep(&mut packet.ps_data_off, avp, Avp::u32),
        AvpCode::PRESENCE_REPORTING_AREA_INFORMATION => {
            match avp.grouped()?.find(AvpCode::PRESENCE_REPORTING_AREA_STATUS) {
                Some(status) => keep(&mut packet.presence_area, &status, Avp::u32),
                None => Ok(()),
            }
        }
        AvpCode::USER_EQUIPMENT_INFO | AvpCode::USER_EQUIPMENT_INFO_EXTENSION => read_equipment(equipment, avp),
        _ => Ok(()),
    }
}

/// IMS-Information (TS 32.299 7.2.77).
fn read_ims(ims: &mut ImsContext, members: Avps<'_>) -> Result<(), DecodeError> {
    for avp in members {
        let avp = &avp?;
        match avp.code {
            AvpCode::EVENT_TYPE => {
                if let Some(method) = avp.grouped()?.find(AvpCode::SIP_METHOD) {
                    keep(&mut ims.sip_method, &method, text)?;
                }
            }
            AvpCode::ROLE_OF_NODE => keep(&mut ims.role, avp, Avp::u32)?,
            AvpCode::NODE_FUNCTIONALITY => keep(&mut ims.node_functionality, avp, Avp::u32)?,
            AvpCode::USER_SESSION_ID => keep(&mut ims.user_session, avp, text)?,
            AvpCode::CALLING_PARTY_ADDRESS => push(&mut ims.calling, Some(text(avp)?)),
            AvpCode::CALLED_PARTY_ADDRESS => keep(&mut ims.called, avp, text)?,
            AvpCode::REQUESTED_PARTY_ADDRESS => push(&mut ims.requested, Some(text(avp)?)),
            AvpCode::IMS_CHARGING_IDENTIFIER => keep(&mut ims.icid, avp, text)?,
            AvpCode::ACCESS_NETWORK_INFORMATION => push(&mut ims.access_network, Some(text(avp)?)),
            AvpCode::IMS_VISITED_NETWORK_IDENTIFIER => keep(&mut ims.visited_network, avp, text)?,
            AvpCode::CAUSE_CODE => keep(&mut ims.cause_code, avp, Avp::i32)?,
            AvpCode::IMS_EMERGENCY_INDICATOR => ims.emergency |= avp.u32()? == 1,
            _ => {}
        }
    }
    Ok(())
}

/// SMS-Information (TS 32.299 7.2.212). Signalling addresses stand in for those of originator and recipients where
/// these are absent.
fn read_sms(sms: &mut SmsContext, members: Avps<'_>) -> Result<(), DecodeError> {
    let (mut originator, mut recipient) = (None, None);
    for avp in members {
        let avp = &avp?;
        match avp.code {
            AvpCode::ORIGINATOR_RECEIVED_ADDRESS => {
                if let Some(data) = avp.grouped()?.find(AvpCode::ADDRESS_DATA) {
                    keep(&mut sms.originator, &data, text)?;
                }
            }
            AvpCode::ORIGINATOR_SCCP_ADDRESS => keep(&mut originator, avp, address_text)?,
            AvpCode::RECIPIENT_SCCP_ADDRESS => keep(&mut recipient, avp, address_text)?,
            AvpCode::RECIPIENT_INFO => {
                for member in avp.grouped()? {
                    let member = member?;
                    if member.code == AvpCode::RECIPIENT_ADDRESS
                        && let Some(data) = member.grouped()?.find(AvpCode::ADDRESS_DATA)
                    {
                        push(&mut sms.recipients, Some(text(&data)?));
                    }
                }
            }
            AvpCode::SMSC_ADDRESS => keep(&mut sms.service_centre, avp, address_text)?,
            AvpCode::SM_MESSAGE_TYPE => keep(&mut sms.message_type, avp, Avp::u32)?,
            AvpCode::SMS_NODE => keep(&mut sms.node, avp, Avp::u32)?,
            AvpCode::NUMBER_OF_MESSAGES_SENT => keep(&mut sms.messages, avp, Avp::u32)?,
            AvpCode::DATA_CODING_SCHEME => keep(&mut sms.data_coding, avp, Avp::i32)?,
            AvpCode::SM_SERVICE_TYPE => keep(&mut sms.service_type, avp, Avp::u32)?,
            _ => {}
        }
    }
    if sms.originator.is_none() {
        sms.originator = originator;
    }
    if sms.recipients.is_empty() {
        push(&mut sms.recipients, recipient);
    }
    Ok(())
}

/// Reads into an empty place; the first of several stays.
fn keep<'a, T>(
    place: &mut Option<T>,
    avp: &Avp<'a>,
    read: impl FnOnce(&Avp<'a>) -> Result<T, DecodeError>,
) -> Result<(), DecodeError> {
    if place.is_none() {
        *place = Some(read(avp)?);
    }
    Ok(())
}

/// The same for what may have no usable value.
#[expect(clippy::unnecessary_wraps, reason = "an arm beside those of `keep`")]
fn keep_known<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), DecodeError> {
    if place.is_none() {
        *place = value;
    }
    Ok(())
}

fn push<T>(list: &mut Vec<T>, entry: Option<T>) {
    if list.len() < LIST_MAX {
        if list.is_empty() {
            // Hardly ever do more follow.
            *list = Vec::with_capacity(usize::from(entry.is_some()));
        }
        list.extend(entry);
    }
}

/// The text of an AVP, if it is one and not too long.
pub(super) fn short<'a>(avp: &Avp<'a>) -> Result<&'a str, DecodeError> {
    if avp.data.len() > TEXT_OCTETS_MAX {
        return Err(avp.invalid_value());
    }
    avp.utf8()
}

fn text(avp: &Avp<'_>) -> Result<Box<str>, DecodeError> {
    short(avp).map(Into::into)
}

pub(super) fn octets(avp: &Avp<'_>) -> Result<Box<[u8]>, DecodeError> {
    if avp.data.len() > TEXT_OCTETS_MAX { Err(avp.invalid_value()) } else { Ok(avp.data.into()) }
}

fn plmn(avp: &Avp<'_>) -> Option<Plmn> {
    Plmn::from_ascii(avp.data)
}

/// 3GPP-Charging-Characteristics: hexadecimal digits, or their two octets (TS 29.061 16.4.7).
fn characteristics(avp: &Avp<'_>) -> Option<u16> {
    let digits = avp.utf8().ok().filter(|text| text.len() == 4 && text.bytes().all(|octet| octet.is_ascii_hexdigit()));
    match digits {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => <[u8; 2]>::try_from(avp.data).ok().map(u16::from_be_bytes),
    }
}

fn read_qci(qos: &Avp<'_>) -> Result<Option<u32>, DecodeError> {
    qos.grouped()?.find(AvpCode::QOS_CLASS_IDENTIFIER).map(|qci| qci.u32()).transpose()
}

fn ip(avp: &Avp<'_>) -> Result<Option<IpAddr>, DecodeError> {
    Ok(match avp.address()? {
        Address::Ip(address) => Some(address),
        Address::Other { .. } => None,
    })
}

/// An address as text: an E.164 number in its digits, an IP address as usual, anything else in hexadecimal digits.
fn address_text(avp: &Avp<'_>) -> Result<Box<str>, DecodeError> {
    if avp.data.len() > TEXT_OCTETS_MAX {
        return Err(avp.invalid_value());
    }
    Ok(match avp.address()? {
        Address::Ip(address) => address.to_string().into(),
        Address::Other { octets, .. } => match std::str::from_utf8(octets) {
            Ok(text) if text.bytes().all(|octet| octet.is_ascii_graphic()) => text.into(),
            Ok(_) | Err(_) => octets.iter().fold(String::new(), |hex, octet| format!("{hex}{octet:02x}")).into(),
        },
    })
}

/// The network of 3GPP-User-Location-Info: three octets of digits behind the type (TS 29.061 16.4.7.2, TS 29.274 8.21).
pub(super) fn location_plmn(location: &[u8]) -> Option<Plmn> {
    let &[kind, mcc_21, mnc_3_mcc_3, mnc_21, ..] = location else { return None };
    if !matches!(kind, 0..=2 | 128..=137) {
        return None;
    }
    let digits = [mcc_21 & 15, mcc_21 >> 4, mnc_3_mcc_3 & 15, mnc_21 & 15, mnc_21 >> 4, mnc_3_mcc_3 >> 4];
    let text: String = digits.iter().filter(|digit| **digit != 15).map(|digit| char::from(b'0' + digit)).collect();
    Plmn::parse(&text)
}

/// Writes Service-Information; the reverse of [`Circumstances::read`].
pub(super) fn write(
    writer: &mut MessageWriter<'_>,
    equipment: Option<&[u8]>,
    packet: Option<&PacketContext>,
    ims: Option<&ImsContext>,
    sms: Option<&SmsContext>,
) {
    if equipment.is_none() && packet.is_none() && ims.is_none() && sms.is_none() {
        return;
    }
    writer.grouped(AvpCode::SERVICE_INFORMATION, |writer| {
        if let Some(packet) = packet {
            writer.grouped(AvpCode::PS_INFORMATION, |writer| write_packet(writer, packet, equipment));
        } else if let Some(equipment) = equipment {
            write_equipment(writer, equipment);
        }
        if let Some(ims) = ims {
            writer.grouped(AvpCode::IMS_INFORMATION, |writer| write_ims(writer, ims));
        }
        if let Some(sms) = sms {
            writer.grouped(AvpCode::SMS_INFORMATION, |writer| write_sms(writer, sms));
        }
    });
}

fn write_equipment(writer: &mut MessageWriter<'_>, value: &[u8]) {
    writer.grouped(AvpCode::USER_EQUIPMENT_INFO, |writer| {
        writer.u32(AvpCode::USER_EQUIPMENT_INFO_TYPE, 0);
        writer.octets(AvpCode::USER_EQUIPMENT_INFO_VALUE, value);
    });
}

fn write_numbers(writer: &mut MessageWriter<'_>, numbers: &[(AvpCode, Option<u32>)]) {
    for (code, number) in numbers {
        if let Some(number) = number {
            writer.u32(*code, *number);
        }
    }
}

fn write_texts(writer: &mut MessageWriter<'_>, texts: &[(AvpCode, Option<&str>)]) {
    for (code, text) in texts {
        if let Some(text) = text {
            writer.utf8(*code, text);
        }
    }
}

fn write_packet(writer: &mut MessageWriter<'_>, packet: &PacketContext, equipment: Option<&[u8]>) {
    write_numbers(
        writer,
        &[
            (AvpCode::TGPP_CHARGING_ID, packet.charging_id),
            (AvpCode::PDN_CONNECTION_CHARGING_ID, packet.pdn_connection_id),
            (AvpCode::TGPP_PDP_TYPE, packet.pdp_type),
        ],
    );
    packet.device_addresses.iter().for_each(|device| writer.address(AvpCode::PDP_ADDRESS, Address::Ip(*device)));
    if let Some(qci) = packet.qci {
        writer.grouped(AvpCode::QOS_INFORMATION, |writer| writer.u32(AvpCode::QOS_CLASS_IDENTIFIER, qci));
    }
    for (code, address) in [(AvpCode::SGSN_ADDRESS, packet.serving_node), (AvpCode::GGSN_ADDRESS, packet.gateway)] {
        if let Some(address) = address {
            writer.address(code, Address::Ip(address));
        }
    }
    write_numbers(writer, &[(AvpCode::SERVING_NODE_TYPE, packet.serving_node_type)]);
    write_texts(
        writer,
        &[
            (AvpCode::TGPP_IMSI_MCC_MNC, packet.home_plmn.as_ref().map(Plmn::as_str)),
            (AvpCode::TGPP_GGSN_MCC_MNC, packet.gateway_plmn.as_ref().map(Plmn::as_str)),
            (AvpCode::TGPP_SGSN_MCC_MNC, packet.serving_plmn.as_ref().map(Plmn::as_str)),
            (AvpCode::CALLED_STATION_ID, packet.apn.as_deref()),
            (AvpCode::CHARGING_RULE_BASE_NAME, packet.rule_base.as_deref()),
        ],
    );
    for (code, octet) in [
        (AvpCode::TGPP_NSAPI, packet.nsapi),
        (AvpCode::TGPP_SELECTION_MODE, packet.selection_mode),
        (AvpCode::TGPP_RAT_TYPE, packet.rat),
    ] {
        if let Some(octet) = octet {
            writer.octets(code, &[octet]);
        }
    }
    if let Some(characteristics) = packet.charging_characteristics {
        writer.utf8(AvpCode::TGPP_CHARGING_CHARACTERISTICS, &format!("{characteristics:04x}"));
    }
    if let Some(zone) = packet.time_zone {
        writer.octets(AvpCode::TGPP_MS_TIMEZONE, &zone);
    }
    if let Some(location) = &packet.location {
        writer.octets(AvpCode::TGPP_USER_LOCATION_INFO, location);
    }
    write_numbers(writer, &[(AvpCode::TGPP_PS_DATA_OFF_STATUS, packet.ps_data_off)]);
    if let Some(status) = packet.presence_area {
        writer.grouped(AvpCode::PRESENCE_REPORTING_AREA_INFORMATION, |writer| {
            writer.u32(AvpCode::PRESENCE_REPORTING_AREA_STATUS, status);
        });
    }
    if let Some(equipment) = equipment {
        write_equipment(writer, equipment);
    }
}

fn write_ims(writer: &mut MessageWriter<'_>, ims: &ImsContext) {
    if let Some(method) = &ims.sip_method {
        writer.grouped(AvpCode::EVENT_TYPE, |writer| writer.utf8(AvpCode::SIP_METHOD, method));
    }
    write_numbers(
        writer,
        &[
            (AvpCode::ROLE_OF_NODE, ims.role),
            (AvpCode::NODE_FUNCTIONALITY, ims.node_functionality),
            (AvpCode::IMS_EMERGENCY_INDICATOR, ims.emergency.then_some(1)),
        ],
    );
    write_texts(
        writer,
        &[
            (AvpCode::USER_SESSION_ID, ims.user_session.as_deref()),
            (AvpCode::CALLED_PARTY_ADDRESS, ims.called.as_deref()),
            (AvpCode::IMS_CHARGING_IDENTIFIER, ims.icid.as_deref()),
            (AvpCode::IMS_VISITED_NETWORK_IDENTIFIER, ims.visited_network.as_deref()),
        ],
    );
    for (code, list) in [
        (AvpCode::CALLING_PARTY_ADDRESS, &ims.calling),
        (AvpCode::REQUESTED_PARTY_ADDRESS, &ims.requested),
        (AvpCode::ACCESS_NETWORK_INFORMATION, &ims.access_network),
    ] {
        list.iter().for_each(|text| writer.utf8(code, text));
    }
    if let Some(cause) = ims.cause_code {
        writer.i32(AvpCode::CAUSE_CODE, cause);
    }
}

/// Address-Type of a recipient or originator: an MSISDN (TS 32.299 7.2.8).
const ADDRESS_TYPE_MSISDN: u32 = 1;

/// The address family of E.164 numbers (RFC 6733 4.3.1).
const FAMILY_E164: u16 = 8;

fn write_sms(writer: &mut MessageWriter<'_>, sms: &SmsContext) {
    let party = |writer: &mut MessageWriter<'_>, code, data: &str| {
        writer.grouped(code, |writer| {
            writer.u32(AvpCode::ADDRESS_TYPE, ADDRESS_TYPE_MSISDN);
            writer.utf8(AvpCode::ADDRESS_DATA, data);
        });
    };
    write_numbers(
        writer,
        &[
            (AvpCode::SMS_NODE, sms.node),
            (AvpCode::SM_MESSAGE_TYPE, sms.message_type),
            (AvpCode::NUMBER_OF_MESSAGES_SENT, sms.messages),
            (AvpCode::SM_SERVICE_TYPE, sms.service_type),
        ],
    );
    if let Some(scheme) = sms.data_coding {
        writer.i32(AvpCode::DATA_CODING_SCHEME, scheme);
    }
    if let Some(centre) = &sms.service_centre {
        writer.address(AvpCode::SMSC_ADDRESS, Address::Other { family: FAMILY_E164, octets: centre.as_bytes() });
    }
    if let Some(originator) = &sms.originator {
        party(writer, AvpCode::ORIGINATOR_RECEIVED_ADDRESS, originator);
    }
    if !sms.recipients.is_empty() {
        writer.grouped(AvpCode::RECIPIENT_INFO, |writer| {
            sms.recipients.iter().for_each(|recipient| party(writer, AvpCode::RECIPIENT_ADDRESS, recipient));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_of_a_location() {
        for (location, expected) in [
            (&[0x82, 0x62, 0xf2, 0x10, 0x10, 0x00][..], Some("26201")),
            (&[0x82, 0x99, 0xf9, 0x07, 0, 1], Some("99970")),
            (&[0x01, 0x13, 0x40, 0x01, 0, 1, 0, 1], Some("310104")),
            (&[0x03, 0x62, 0xf2, 0x10], None),
            (&[0x82, 0x62, 0xf2], None),
            (&[0x82, 0xff, 0xff, 0xff], None),
            (&[0x82, 0xab, 0xf2, 0x10], None),
        ] {
            assert_eq!(location_plmn(location).as_ref().map(Plmn::as_str), expected, "{location:02x?}");
        }
    }
}
