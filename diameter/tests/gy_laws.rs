//! What holds for every request: what a client says is what charging hears, the same words have the same digest, and
//! no octets make anything fail but the request they are in.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "tests")]

mod support;

use diameter::gy::client::{Ccr, Form, Kind};
use diameter::gy::{Names, PeerProfile, ServiceContexts, encode, parse};
use diameter::validate::{UnknownAvps, check_message_grammar, validate};
use diameter::{Message, MessageWriter};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use rating_engine::command::{Action, Outcome, Refusal, RequestKind, Requested, ServiceRequest, TariffPart, Used};
use rating_engine::context::{ImsContext, PacketContext, Plmn, SmsContext};
use rating_engine::ids::{Digits, Identifier, RatingGroup, ServiceId, SubscriberId};
use rating_engine::money::Money;
use rating_engine::tariff::ServiceKey;
use rating_engine::time::Timestamp;
use rating_engine::units::{MoneyUnits, Units};
use support::*;

const NOW: Timestamp = Timestamp::from_seconds(1_795_330_800);

fn units() -> BoxedStrategy<Units> {
    let money = (0i64.., of(any::<u32>()))
        .prop_map(|(micros, currency)| MoneyUnits { amount: Money::from_micros(micros), currency });
    let count = || of(any::<u64>());
    (of(any::<u32>()), count(), count(), count(), count(), of(money))
        .prop_map(|(seconds, total_octets, uplink_octets, downlink_octets, events, money)| Units {
            seconds: seconds.map(u64::from),
            total_octets,
            uplink_octets,
            downlink_octets,
            events,
            money,
        })
        .boxed()
}

fn some_units() -> BoxedStrategy<Units> {
    units().prop_filter("no units at all", |units| !units.is_empty()).boxed()
}

/// Service-Identifiers are a set.
fn as_set(key: &ServiceKey) -> ServiceKey {
    let mut services = key.services.to_vec();
    services.sort_unstable();
    services.dedup();
    ServiceKey { rating_group: key.rating_group, services: services.into() }
}

fn service() -> BoxedStrategy<ServiceRequest> {
    let part = select(vec![TariffPart::Whole, TariffPart::Before, TariffPart::After, TariffPart::Straddling]);
    let used = vec((some_units(), part).prop_map(|(units, part)| Used { units, part }), 0..4);
    let requested =
        prop_oneof![Just(Requested::Nothing), Just(Requested::Any), some_units().prop_map(Requested::Units)];
    (of(any::<u32>()), vec(any::<u32>(), 0..4), requested, used)
        .prop_map(|(group, services, requested, used)| {
            let services = services.into_iter().map(ServiceId::new).collect();
            ServiceRequest { key: ServiceKey { rating_group: group.map(RatingGroup::new), services }, requested, used }
        })
        .boxed()
}

fn text() -> BoxedStrategy<Box<str>> {
    "[a-zA-Z0-9.@:;+é-]{1,40}".prop_map(String::into_boxed_str).boxed()
}

fn identifier() -> BoxedStrategy<Identifier> {
    let digits = || "[0-9]{1,15}".prop_map(|text| Digits::parse(&text).unwrap());
    prop_oneof![
        digits().prop_map(Identifier::Msisdn),
        digits().prop_map(Identifier::Imsi),
        text().prop_map(Identifier::Sip),
        text().prop_map(Identifier::Nai),
        text().prop_map(Identifier::Private),
    ]
    .boxed()
}

fn packet() -> BoxedStrategy<PacketContext> {
    let plmn = || of("[0-9]{5,6}".prop_map(|text| Plmn::parse(&text).unwrap()));
    let address = any::<std::net::IpAddr>;
    let octets = || of(vec(any::<u8>(), 1..20).prop_map(Vec::into_boxed_slice));
    (
        (of(text()), of(any::<u32>()), of(any::<u32>()), plmn(), plmn(), plmn(), of(any::<u8>()), octets()),
        (of(any::<[u8; 2]>()), of(any::<u16>()), of(address()), of(any::<u32>()), of(address()), vec(address(), 0..3)),
        (of(any::<u32>()), of(any::<u8>()), of(any::<u8>()), of(any::<u32>()), of(text())),
        (of(any::<u32>()), of(any::<u32>())),
    )
        .prop_map(|(a, b, c, d)| PacketContext {
            apn: a.0,
            charging_id: a.1,
            pdn_connection_id: a.2,
            serving_plmn: a.3.or(Plmn::parse("26201")),
            home_plmn: a.4,
            gateway_plmn: a.5,
            rat: a.6,
            location: a.7,
            time_zone: b.0,
            charging_characteristics: b.1,
            serving_node: b.2,
            serving_node_type: b.3,
            gateway: b.4,
            device_addresses: b.5,
            pdp_type: c.0,
            nsapi: c.1,
            selection_mode: c.2,
            qci: c.3,
            rule_base: c.4,
            ps_data_off: d.0,
            presence_area: d.1,
            slice: None,
        })
        .boxed()
}

fn ims() -> BoxedStrategy<ImsContext> {
    let number = || of(any::<u32>());
    (
        (of(text()), number(), number(), of(text()), vec(text(), 0..3), of(text()), vec(text(), 0..3)),
        (of(text()), vec(text(), 0..3), of(text()), of(any::<i32>()), any::<bool>()),
    )
        .prop_map(|(a, b)| ImsContext {
            sip_method: a.0,
            role: a.1,
            node_functionality: a.2,
            user_session: a.3,
            calling: a.4,
            called: a.5,
            requested: a.6,
            icid: b.0,
            access_network: b.1,
            visited_network: b.2,
            cause_code: b.3,
            emergency: b.4,
        })
        .boxed()
}

fn sms() -> BoxedStrategy<SmsContext> {
    let number = || of(any::<u32>());
    let centre = of("[0-9]{1,15}".prop_map(String::into_boxed_str));
    (of(text()), vec(text(), 0..3), centre, number(), number(), number(), of(any::<i32>()), number())
        .prop_map(
            |(originator, recipients, service_centre, message_type, node, messages, data_coding, service_type)| {
                SmsContext {
                    originator,
                    recipients,
                    service_centre,
                    message_type,
                    node,
                    messages,
                    data_coding,
                    service_type,
                }
            },
        )
        .boxed()
}

/// Everything a client can say, owned.
#[derive(Clone, Debug)]
struct Said {
    session: String,
    sub_session: Option<u64>,
    kind: Kind,
    number: u32,
    origin_state: Option<u32>,
    event_seconds: Option<i64>,
    identifiers: Vec<Identifier>,
    services: Vec<ServiceRequest>,
    correlation: Option<Vec<u8>>,
    equipment: Option<Vec<u8>>,
    packet: Option<PacketContext>,
    ims: Option<ImsContext>,
    sms: Option<SmsContext>,
    form: Form,
}

fn said() -> BoxedStrategy<Said> {
    let kinds = vec![
        Kind::Initial,
        Kind::Update,
        Kind::Termination,
        Kind::Debit,
        Kind::Refund,
        Kind::CheckBalance,
        Kind::PriceEnquiry,
    ];
    (
        ("[!-~]{1,60}", of(any::<u64>()), select(kinds), any::<u32>(), of(any::<u32>()), of(-2_592_000i64..86_400)),
        (vec(identifier(), 1..4), vec(service(), 0..5), of(vec(any::<u8>(), 0..9)), of(vec(any::<u8>(), 0..9))),
        (of(packet()), of(ims()), of(sms())),
        any::<bool>(),
    )
        .prop_map(|(a, b, c, command_level)| {
            let (mut identifiers, mut services) = (b.0, b.1);
            identifiers.sort();
            identifiers.dedup();
            let mut keys = Vec::new();
            services.retain(|service| {
                let key = as_set(&service.key);
                let is_new = !keys.contains(&key);
                keys.push(key);
                is_new
            });
            if command_level {
                services.truncate(1);
                for service in &mut services {
                    let first = service.key.services.first().copied();
                    service.key = ServiceKey { rating_group: None, services: first.into_iter().collect() };
                }
            }
            Said {
                session: a.0,
                sub_session: a.1,
                kind: a.2,
                number: a.3,
                origin_state: a.4,
                event_seconds: a.5.map(|seconds| NOW.millis() / 1000 + seconds),
                identifiers,
                services,
                correlation: b.2,
                equipment: b.3,
                packet: c.0,
                ims: c.1,
                sms: c.2,
                form: if command_level { Form::CommandLevel } else { Form::Services },
            }
        })
        .boxed()
}

impl Said {
    fn octets(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        let ccr = Ccr {
            hop_by_hop: 5,
            end_to_end: 6,
            session: &self.session,
            sub_session: self.sub_session,
            host: "pgw01.example.net",
            realm: "example.net",
            destination_realm: "example.com",
            service_context: "32251@3gpp.org",
            kind: self.kind,
            number: self.number,
            origin_state: self.origin_state,
            event_time: self.event_seconds.map(Timestamp::from_seconds),
            identifiers: &self.identifiers,
            form: self.form,
            services: &self.services,
            correlation: self.correlation.as_deref(),
            equipment: self.equipment.as_deref(),
            packet: self.packet.as_ref(),
            ims: self.ims.as_ref(),
            sms: self.sms.as_ref(),
            ..Ccr::default()
        };
        ccr.encode(&mut octets).unwrap();
        octets
    }

    /// What charging has to hear.
    fn action(&self, session: &rating_engine::ids::SessionId) -> Action {
        let mut services = self.services.clone();
        services.iter_mut().for_each(|service| service.key = as_set(&service.key));
        let event = matches!(self.kind, Kind::Debit | Kind::Refund | Kind::CheckBalance | Kind::PriceEnquiry);
        // Without an MSCC there is the command level, and there a session speaks of a service only with units.
        let at_command_level = self.form == Form::CommandLevel || services.is_empty();
        let says_nothing =
            |service: &ServiceRequest| service.requested == Requested::Nothing && service.used.is_empty();
        if at_command_level && event && services.is_empty() {
            services.push(ServiceRequest::default());
        } else if at_command_level && !event {
            services.retain(|service| !says_nothing(service));
        }
        match self.kind {
            Kind::Initial => Action::Start(services),
            Kind::Update => Action::Update(services),
            Kind::Termination => Action::Stop(services),
            Kind::Debit => Action::Debit(services),
            Kind::Refund => Action::Refund { original: session.clone(), services },
            Kind::CheckBalance => Action::CheckBalance(services),
            Kind::PriceEnquiry => Action::PriceEnquiry(services),
        }
    }
}

fn read(octets: &[u8]) -> Result<diameter::gy::GyRequest, diameter::gy::GyError> {
    parse(&Message::parse(octets).unwrap(), NOW, &ServiceContexts::default(), &mut Names::default())
}

proptest! {
    #[test]
    fn what_is_said_is_what_is_heard(said in said()) {
        let octets = said.octets();
        check_message_grammar(&Message::parse(&octets).unwrap()).unwrap();
        let heard = read(&octets).unwrap();
        prop_assert_eq!(&heard.action, &said.action(&heard.session));
        prop_assert_eq!(heard.number, said.number);
        prop_assert_eq!(heard.client_state, said.origin_state.unwrap_or(0));
        prop_assert_eq!(heard.event_time, said.event_seconds.map(Timestamp::from_seconds));
        prop_assert_eq!(heard.echo.session_id(), said.session.as_bytes());
        prop_assert_eq!(heard.command_level, said.form == Form::CommandLevel || said.services.is_empty());
        prop_assert_eq!(&heard.context.identifiers, &said.identifiers);
        prop_assert_eq!(heard.context.packet.as_deref(), said.packet.as_ref());
        prop_assert_eq!(heard.context.ims.as_deref(), said.ims.as_ref());
        prop_assert_eq!(heard.context.sms.as_deref(), said.sms.as_ref());
        prop_assert_eq!(heard.context.correlation.as_deref(), said.correlation.as_deref());
        prop_assert_eq!(heard.context.equipment.as_deref(), said.equipment.as_deref());
    }

    /// Requests that ask for the same have the same digest, and (as far as anybody will ever see) only those.
    #[test]
    fn digests_tell_requests_apart(one in said(), other in said()) {
        let (one, other) = (read(&one.octets()).unwrap(), read(&other.octets()).unwrap());
        // An event without units is for as many messages as it says.
        let messages = |request: &diameter::gy::GyRequest| {
            let is_event = request.action.kind() == RequestKind::Event;
            request.context.sms.as_ref().filter(|_| is_event).and_then(|sms| sms.messages)
        };
        let same = one.action == other.action && messages(&one) == messages(&other);
        prop_assert_eq!(one.digest == other.digest, same);
    }

    /// Damaged requests are heard, or refused with an answer that can be read; what the grammar finds comes first.
    #[test]
    fn damage_is_answered(said in said(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut octets = said.octets();
        for (place, octet) in damage {
            let place = 20 + place.index(octets.len() - 20);
            octets[place] = octet;
        }
        let message = Message::parse(&octets).unwrap();
        // What the peer machine turns away is never parsed.
        if validate(&message, &UnknownAvps::Ignore).is_err() {
            return Ok(());
        }
        match read(&octets) {
            Ok(request) => {
                check_message_grammar(&message).unwrap();
                let (_, echo) = request.into_command(SubscriberId::new(1), &PeerProfile::STANDARD);
                let mut answer = Vec::new();
                let outcome = Outcome::Refused(Refusal::RatingFailed);
                encode(&mut answer, &echo, &outcome, &ours(), &PeerProfile::STANDARD).unwrap();
                prop_assert!(Message::parse(&answer).is_ok());
            }
            Err(error) => {
                if let Err(expected) = check_message_grammar(&message) {
                    prop_assert_eq!(&error.defect, &expected);
                }
                let answer = error.answer(&message, &ours());
                let answer = Message::parse(&answer).unwrap();
                prop_assert!(answer.avps().all(|avp| avp.is_ok()));
            }
        }
    }

    /// Whole AVPs dropped, doubled and swapped, which random octets hardly ever do.
    #[test]
    fn disorder_is_answered(
        said in said(),
        drops in vec(any::<prop::sample::Index>(), 0..3),
        doubles in vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let octets = said.octets();
        let message = Message::parse(&octets).unwrap();
        let mut avps: Vec<_> = message.avps().map(|avp| avp.unwrap()).collect();
        for place in doubles {
            let avp = avps[place.index(avps.len())];
            avps.push(avp);
        }
        for place in drops {
            avps.remove(place.index(avps.len()));
        }
        avps.reverse();
        let mut octets = Vec::new();
        let mut writer = MessageWriter::new(&mut octets, message.header());
        avps.iter().for_each(|avp| writer.copy(avp));
        writer.finish().unwrap();
        let message = Message::parse(&octets).unwrap();
        match (read(&octets), check_message_grammar(&message)) {
            (heard, Err(expected)) => prop_assert_eq!(heard.unwrap_err().defect, expected),
            (Err(error), Ok(())) => prop_assert!(error.failed_avp().is_some()),
            (Ok(_), Ok(())) => {}
        }
    }
}
