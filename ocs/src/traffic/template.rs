//! CCRs of a network element, encoded once and patched in place.
//!
//! Between two requests of one kind only the session, the subscriber, the time, the number and the amounts differ, and
//! all of them have a fixed width. So each kind is encoded once per connection by [`Ccr`], and a request is a copy with
//! those octets overwritten.

use diameter::avp::NTP_TO_UNIX_SECONDS;
use diameter::gy::client::{Ccr, Kind};
use diameter::header::HEADER_OCTETS;
use diameter::{Avp, AvpCode, Avps, DecodeError, Message};
use rating_engine::command::{Requested, ServiceRequest, Used};
use rating_engine::context::{PacketContext, Plmn};
use rating_engine::ids::{Identifier, RatingGroup};
use rating_engine::tariff::ServiceKey;
use rating_engine::units::Units;

use super::TrafficError;
use crate::demo;

/// What the sessions are of: packet data (TS 32.251), release 14.
const SERVICE_CONTEXT: &str = "14.32251@3gpp.org";

/// Rating groups are this far apart: 10, 20, 30 ...
pub(super) const RATING_GROUP_STEP: u32 = 10;

/// Digits of a session's serial number, the last part of its Session-Id.
pub(super) const SERIAL_DIGITS: usize = 10;

/// Digits of a demo subscriber's number in its IMSI; the MSISDN ends with the last eight of them.
pub(super) const SUBSCRIBER_DIGITS: usize = 9;
const MSISDN_DIGITS: usize = 8;

/// Octets of an Unsigned64.
const U64_OCTETS: usize = 8;

/// Where octets of a header are (RFC 6733 3).
const FLAGS_AT: usize = 4;
pub(super) const HOP_BY_HOP_AT: usize = 12;
pub(super) const END_TO_END_AT: usize = 16;

/// The T flag.
const RETRANSMITTED: u8 = 0x10;

/// The network element that asks.
#[derive(Clone, Debug)]
pub(super) struct Element {
    /// Origin-Host.
    pub(super) host: String,
    /// Origin-Realm and Destination-Realm.
    pub(super) realm: String,
    /// What its Session-Ids begin with.
    pub(super) session_prefix: String,
}

/// What differs between two requests of one kind.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    /// The end of the Session-Id.
    pub(super) serial: [u8; SERIAL_DIGITS],
    /// The subscriber's number.
    pub(super) subscriber: [u8; SUBSCRIBER_DIGITS],
    /// CC-Request-Number.
    pub(super) number: u32,
    /// Event-Timestamp, Unix seconds.
    pub(super) unix_seconds: i64,
    /// Octets used, one amount per rating group.
    pub(super) used: &'a [u64],
}

/// One kind of request.
#[derive(Debug, Default)]
pub(super) struct Template {
    octets: Vec<u8>,
    serial: usize,
    imsi: usize,
    msisdn: usize,
    number: usize,
    time: usize,
    /// Where total, input and output octets of each rating group stand.
    used: Vec<[usize; 3]>,
}

impl Template {
    /// Encodes a request of this kind with so many rating groups.
    pub(super) fn new(kind: Kind, element: &Element, rating_groups: u32) -> Result<Self, TrafficError> {
        let session = format!("{}{:0width$}", element.session_prefix, 0, width = SERIAL_DIGITS);
        let identifiers = [format!("imsi-{}", demo::imsi(1)), format!("msisdn-{}", demo::msisdn(1))];
        let identifiers: Vec<Identifier> = identifiers
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_, String>>()
            .map_err(TrafficError::Request)?;
        let services: Vec<_> = (1..=rating_groups).map(|group| service(kind, group)).collect();
        let packet = packet();
        let ccr = Ccr {
            session: &session,
            host: &element.host,
            realm: &element.realm,
            destination_realm: &element.realm,
            service_context: SERVICE_CONTEXT,
            kind,
            event_time: Some(rating_engine::time::Timestamp::default()),
            identifiers: &identifiers,
            services: &services,
            packet: Some(&packet),
            ..Ccr::default()
        };
        let mut template = Self::default();
        let mut octets = Vec::new();
        ccr.encode(&mut octets).map_err(|error| TrafficError::Request(error.to_string()))?;
        template.find_fields(&octets).map_err(|error| TrafficError::Request(error.to_string()))?;
        template.octets = octets;
        Ok(template)
    }

    /// Octets of a request.
    pub(super) const fn len(&self) -> usize {
        self.octets.len()
    }

    fn find_fields(&mut self, octets: &[u8]) -> Result<(), DecodeError> {
        let Ok(message) = Message::parse(octets) else { return Ok(()) };
        let header = HEADER_OCTETS;
        let mut subscriptions = Vec::new();
        walk(message.avps(), header, &mut |avp, at| match avp.code {
            AvpCode::SESSION_ID => self.serial = at + avp.data.len().saturating_sub(SERIAL_DIGITS),
            AvpCode::CC_REQUEST_NUMBER => self.number = at,
            AvpCode::EVENT_TIMESTAMP => self.time = at,
            AvpCode::SUBSCRIPTION_ID_DATA => subscriptions.push(at + avp.data.len()),
            AvpCode::CC_TOTAL_OCTETS => self.used.push([at, 0, 0]),
            AvpCode::CC_INPUT_OCTETS | AvpCode::CC_OUTPUT_OCTETS => {
                if let Some([_, input, output]) = self.used.last_mut() {
                    *(if avp.code == AvpCode::CC_INPUT_OCTETS { input } else { output }) = at;
                }
            }
            _ => {}
        })?;
        if let [imsi, msisdn] = subscriptions[..] {
            self.imsi = imsi.saturating_sub(SUBSCRIBER_DIGITS);
            self.msisdn = msisdn.saturating_sub(MSISDN_DIGITS);
        }
        Ok(())
    }

    /// Appends the request; its ids are left to the sender.
    pub(super) fn write(&self, fields: &Fields<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.octets);
        let Some(request) = out.get_mut(start..) else { return };
        put(request, self.serial, &fields.serial);
        put(request, self.imsi, &fields.subscriber);
        let [_, msisdn @ ..] = fields.subscriber;
        put(request, self.msisdn, &msisdn);
        put(request, self.number, &fields.number.to_be_bytes());
        let [_, _, _, _, seconds @ ..] = fields.unix_seconds.wrapping_add(NTP_TO_UNIX_SECONDS).to_be_bytes();
        put(request, self.time, &seconds);
        for ([total, input, output], used) in self.used.iter().zip(fields.used) {
            // Most of it comes down.
            let up = used / 8;
            put::<U64_OCTETS>(request, *total, &used.to_be_bytes());
            put::<U64_OCTETS>(request, *input, &up.to_be_bytes());
            put::<U64_OCTETS>(request, *output, &(used - up).to_be_bytes());
        }
    }
}

/// Appends the request at `start` of `out` once more, with the T flag and these ids.
pub(super) fn repeat(out: &mut Vec<u8>, start: usize, hop_by_hop: u32, end_to_end: u32) {
    let second = out.len();
    out.extend_from_within(start..second);
    let Some(request) = out.get_mut(second..) else { return };
    if let Some(flags) = request.get_mut(FLAGS_AT) {
        *flags |= RETRANSMITTED;
    }
    put(request, HOP_BY_HOP_AT, &hop_by_hop.to_be_bytes());
    put(request, END_TO_END_AT, &end_to_end.to_be_bytes());
}

fn put<const N: usize>(request: &mut [u8], at: usize, octets: &[u8; N]) {
    if let Some(place) = request.get_mut(at..at + N) {
        place.copy_from_slice(octets);
    }
}

/// The last `N` decimal digits of a number.
pub(super) fn digits<const N: usize>(mut number: u64) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    digits
}

fn service(kind: Kind, group: u32) -> ServiceRequest {
    let nothing = Units { total_octets: Some(0), uplink_octets: Some(0), downlink_octets: Some(0), ..Units::default() };
    ServiceRequest {
        key: ServiceKey { rating_group: Some(RatingGroup::new(group * RATING_GROUP_STEP)), services: Box::default() },
        requested: if kind == Kind::Termination { Requested::Nothing } else { Requested::Any },
        used: if kind == Kind::Initial { Vec::new() } else { vec![Used { units: nothing, ..Used::default() }] },
    }
}

/// A bearer on LTE at home.
fn packet() -> PacketContext {
    PacketContext {
        apn: Some("internet".into()),
        charging_id: Some(0x0a0b_0c0d),
        pdp_type: Some(0),
        serving_plmn: Plmn::parse("26201"),
        home_plmn: Plmn::parse("26201"),
        gateway_plmn: Plmn::parse("26201"),
        rat: Some(6),
        // TAI and ECGI of network 262-01.
        location: Some([0x82, 0x62, 0xf2, 0x10, 0x10, 0x01, 0x62, 0xf2, 0x10, 0x00, 0x12, 0x34, 0x56].into()),
        serving_node: Some([192, 0, 2, 10].into()),
        gateway: Some([192, 0, 2, 20].into()),
        device_addresses: vec![[10, 45, 0, 2].into()],
        ..PacketContext::default()
    }
}

/// Hands out every AVP, with where its data begins.
fn walk(avps: Avps<'_>, start: usize, each: &mut dyn FnMut(&Avp<'_>, usize)) -> Result<(), DecodeError> {
    let mut at = start;
    for avp in avps {
        let avp = avp?;
        let data = at + avp.flags.header_octets();
        each(&avp, data);
        if matches!(
            avp.code,
            AvpCode::SUBSCRIPTION_ID | AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL | AvpCode::USED_SERVICE_UNIT
        ) {
            walk(avp.grouped()?, data, each)?;
        }
        at = data + avp.data.len().next_multiple_of(4);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rating_engine::time::Timestamp;

    use super::*;

    /// A patched template is what [`Ccr`] would have written.
    #[test]
    fn patched_is_encoded() {
        let element = Element {
            host: "node3.example.org".into(),
            realm: "example.org".into(),
            session_prefix: "node3.example.org;1770000000;".into(),
        };
        let groups = 3;
        for kind in [Kind::Initial, Kind::Update, Kind::Termination] {
            let template = Template::new(kind, &element, groups).unwrap();
            let (subscriber, amounts) = (12_345_678, [7, 800, 1 << 40]);
            let fields = Fields {
                serial: digits(42),
                subscriber: digits(subscriber),
                number: 5,
                unix_seconds: 1_770_000_123,
                used: &amounts,
            };
            let mut patched = vec![1, 2, 3];
            template.write(&fields, &mut patched);

            let identifiers = [
                format!("imsi-{}", demo::imsi(subscriber)).parse().unwrap(),
                format!("msisdn-{}", demo::msisdn(subscriber)).parse().unwrap(),
            ];
            let mut services: Vec<_> = (1..=groups).map(|group| service(kind, group)).collect();
            for (service, amount) in services.iter_mut().zip(amounts) {
                for used in &mut service.used {
                    used.units.total_octets = Some(amount);
                    used.units.uplink_octets = Some(amount / 8);
                    used.units.downlink_octets = Some(amount - amount / 8);
                }
            }
            let mut encoded = vec![1, 2, 3];
            let packet = packet();
            Ccr {
                session: "node3.example.org;1770000000;0000000042",
                host: &element.host,
                realm: &element.realm,
                destination_realm: &element.realm,
                service_context: SERVICE_CONTEXT,
                kind,
                number: 5,
                event_time: Some(Timestamp::from_seconds(1_770_000_123)),
                identifiers: &identifiers,
                services: &services,
                packet: Some(&packet),
                ..Ccr::default()
            }
            .encode(&mut encoded)
            .unwrap();
            assert!(patched == encoded, "{kind:?}");
            let one = Template::new(kind, &element, 1).unwrap().len();
            assert!((450..=640).contains(&one), "{kind:?}: {one}");
        }
    }
}
