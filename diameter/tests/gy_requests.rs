//! CCRs as charging requests: real ones, worked ones, and defective ones with the exact answer to each.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "tests")]

mod support;

use diameter::gy::request::{EVENT_AGE_SECONDS_MAX, EVENT_AHEAD_SECONDS_MAX, IDENTIFIERS_MAX, SERVICES_MAX};
use diameter::gy::{GyError, GyRequest, Names, PeerProfile, ServiceContexts, parse, recognise};
use diameter::validate::check_message_grammar;
use diameter::{AvpCode, CommandCode, Message};
use rating_engine::command::{Action, Requested, ServiceRequest, TariffPart, Used};
use rating_engine::context::Plmn;
use rating_engine::ids::{Digits, Identifier, RatingGroup, ServiceId, SessionId, SubscriberId};
use rating_engine::money::Money;
use rating_engine::tariff::{Service, ServiceKey};
use rating_engine::time::Timestamp;
use rating_engine::units::{MoneyUnits, Units};
use support::*;

/// 2026-11-22T07:00:00Z: within a day of everything that is read here.
const NOW: Timestamp = Timestamp::from_seconds(1_795_330_800);

fn read(octets: &[u8]) -> Result<GyRequest, GyError> {
    parse(&Message::parse(octets).unwrap(), NOW, &ServiceContexts::default(), &mut Names::default())
}

fn key(group: Option<u32>, services: &[u32]) -> ServiceKey {
    let services = services.iter().map(|id| ServiceId::new(*id)).collect();
    ServiceKey { rating_group: group.map(RatingGroup::new), services }
}

fn total(octets: u64) -> Units {
    Units { total_octets: Some(octets), ..Units::default() }
}

fn asks(group: u32, requested: Requested) -> ServiceRequest {
    ServiceRequest { key: key(Some(group), &[]), requested, used: Vec::new() }
}

fn reports(group: u32, requested: Requested, used: &[(Units, TariffPart)]) -> ServiceRequest {
    let used = used.iter().map(|(units, part)| Used { units: *units, part: *part }).collect();
    ServiceRequest { used, ..asks(group, requested) }
}

fn msisdn(digits: &str) -> Identifier {
    Identifier::Msisdn(Digits::parse(digits).unwrap())
}

fn imsi(digits: &str) -> Identifier {
    Identifier::Imsi(Digits::parse(digits).unwrap())
}

/// What an Open5GS SMF sends, as it crossed the wire.
#[test]
fn captures() {
    let Some(folder) = shared("captures/open5gs") else { return };
    let files: Vec<_> = hex_files(&folder).into_iter().filter(|(name, _)| name.contains("-ccr-")).collect();
    let file_name = |path: &str| path.rsplit('/').take(2).collect::<Vec<_>>().join(" of ");
    let asked = Requested::Units(total(1_000_000));
    let used = |seconds, uplink, downlink| {
        let some = Some;
        vec![Used {
            units: Units {
                seconds: some(seconds),
                uplink_octets: some(uplink),
                downlink_octets: some(downlink),
                ..Units::default()
            },
            part: TariffPart::Whole,
        }]
    };
    let one = |requested, used| vec![ServiceRequest { key: ServiceKey::default(), requested, used }];
    let expected = [
        ("02-smf-to-ocs-ccr-i.hex of final", 0, Action::Start(one(asked, vec![]))),
        ("04-smf-to-ocs-ccr-u.hex of final", 1, Action::Update(one(asked, used(7, 300_000, 700_000)))),
        ("06-smf-to-ocs-ccr-t.hex of final", 2, Action::Stop(one(Requested::Nothing, used(7, 150_000, 350_000)))),
        ("02-smf-to-ocs-ccr-i.hex of normal", 0, Action::Start(one(asked, vec![]))),
        ("04-smf-to-ocs-ccr-u.hex of normal", 1, Action::Update(one(asked, used(7, 240_000, 560_000)))),
        ("06-smf-to-ocs-ccr-u.hex of normal", 2, Action::Update(one(asked, used(7, 240_000, 560_000)))),
        ("12-smf-to-ocs-ccr-t.hex of normal", 3, Action::Stop(one(Requested::Nothing, used(3, 3703, 8642)))),
    ];
    assert_eq!(files.len(), expected.len());
    let mut digests = Vec::new();
    for ((path, octets), (name, number, action)) in files.iter().zip(expected) {
        assert_eq!(file_name(path), name);
        let request = read(octets).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(request.number, number, "{name}");
        assert_eq!(request.action, action, "{name}");
        assert!(!request.command_level && !request.retransmitted, "{name}");
        assert_eq!(request.client_state, 0);
        let time = request.event_time.unwrap();
        assert!(Timestamp::from_seconds(1_795_312_055) <= time && time <= Timestamp::from_seconds(1_795_312_067));
        assert!(request.session.octets().starts_with(b"smf.localdomain;17953120"), "{:?}", request.session);
        let context = &request.context;
        assert_eq!((context.service, &*context.service_context), (Service::Data, "32251@3gpp.org"));
        assert_eq!((&*context.client_host, &*context.client_realm), ("smf.localdomain", "localdomain"));
        assert_eq!(context.identifiers, [imsi("999700000000001"), msisdn("821012345678")]);
        assert_eq!(context.equipment.as_deref(), Some(&b"4370816125816151"[..]));
        let packet = context.packet.as_deref().unwrap();
        assert_eq!(packet.apn.as_deref(), Some("internet"));
        assert!(packet.charging_id.is_some());
        assert_eq!(packet.serving_plmn, Plmn::parse("99970"));
        assert_eq!((packet.rat, packet.nsapi, packet.selection_mode), (Some(6), Some(5), Some(b'0')));
        assert_eq!((packet.qci, packet.charging_characteristics), (Some(9), Some(0x0800)));
        assert_eq!(packet.time_zone, Some([0x40, 0]));
        assert_eq!(packet.location.as_deref().map(<[u8]>::len), Some(13));
        assert_eq!(packet.device_addresses.len(), 1);
        assert_eq!(packet.serving_node, "127.0.7.3".parse().ok());
        assert_eq!(packet.gateway, "127.0.7.4".parse().ok());
        assert_eq!(packet.pdp_type, name.contains("ccr-i").then_some(0), "{name}");
        let is_open5gs = recognise("freediameter", &request).map(|profile| &*profile.name) == Some("open5gs");
        assert_eq!(is_open5gs, !name.contains("ccr-t"), "{name}");
        assert_eq!(recognise("other", &request), None);
        digests.push(request.digest);
    }
    // The two updates of the normal session report the same; what tells them apart is their number.
    assert_eq!(digests[4], digests[5]);
    assert_eq!(digests[0], digests[3]);
    assert_ne!(digests[1], digests[4]);
}

/// The worked messages of the digest.
#[test]
fn worked_examples() {
    let Some(folder) = shared("spec/diameter/examples") else { return };
    let both = [msisdn("491701234567"), imsi("262010000000001")];
    let up_down = |total_octets, uplink, downlink| Units {
        total_octets: Some(total_octets),
        uplink_octets: Some(uplink),
        downlink_octets: Some(downlink),
        ..Units::default()
    };
    let whole = TariffPart::Whole;
    let expected = [
        ("ccr_e_direct_debit_sms", {
            let one = Units { events: Some(1), ..Units::default() };
            let key = key(None, &[1]);
            Action::Debit(vec![ServiceRequest { key, requested: Requested::Units(one), used: Vec::new() }])
        }),
        ("ccr_i", Action::Start(vec![asks(100, Requested::Units(total(10 << 20))), asks(200, Requested::Any)])),
        ("ccr_t", Action::Stop(vec![reports(100, Requested::Nothing, &[(total(3 << 20), whole)])])),
        ("ccr_u_final_reached", Action::Update(vec![reports(100, Requested::Nothing, &[(total(1 << 19), whole)])])),
        ("ccr_u_tariff_split", {
            let before = (up_down(7 << 20, 1 << 20, 6 << 20), TariffPart::Before);
            let after = (up_down(2 << 20, 1 << 19, 3 << 19), TariffPart::After);
            Action::Update(vec![reports(100, Requested::Any, &[before, after])])
        }),
    ];
    let files: Vec<_> = hex_files(&folder).into_iter().filter(|(name, _)| name.contains("/ccr_")).collect();
    assert_eq!(files.len(), expected.len());
    for ((path, octets), (name, action)) in files.iter().zip(expected) {
        assert!(path.ends_with(&format!("{name}.hex")), "{path}");
        let request = read(octets).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(request.action, action, "{name}");
        assert_eq!(request.context.identifiers, both, "{name}");
        assert!(!request.command_level, "{name}");
        match name {
            "ccr_i" | "ccr_u_tariff_split" => {
                let packet = request.context.packet.unwrap();
                assert_eq!(packet.serving_plmn, Plmn::parse("26201"));
                assert_eq!((packet.home_plmn, packet.gateway_plmn), (packet.serving_plmn, packet.serving_plmn));
                assert_eq!((packet.charging_id, packet.pdn_connection_id), (Some(0x0a0b_0c0d), Some(0x0a0b_0c0d)));
                assert_eq!((packet.serving_node_type, packet.qci), (Some(2), Some(9)));
                assert_eq!(packet.nsapi, Some(b'5'));
                assert_eq!(request.context.equipment.as_deref(), Some(&unhex("5379401002030401")[..]));
                assert_eq!(request.client_state, if name == "ccr_i" { 1_763_772_000 } else { 0 });
            }
            "ccr_e_direct_debit_sms" => {
                assert_eq!(request.context.service, Service::Sms);
                let sms = request.context.sms.unwrap();
                assert_eq!(sms.originator.as_deref(), Some("491710760000"));
                assert_eq!(sms.service_centre.as_deref(), Some("491710760000"));
                assert_eq!(sms.recipients, ["491709876543".into()]);
                assert_eq!((sms.node, sms.message_type, sms.messages), (Some(3), Some(0), Some(1)));
                assert_eq!(sms.data_coding, Some(0));
            }
            _ => assert_eq!(request.context.packet, None),
        }
    }
}

/// The AVPs at command level of a request, to be taken apart.
#[derive(Clone)]
struct Parts(Vec<(AvpCode, Vec<u8>)>);

impl Parts {
    fn of(octets: &[u8]) -> Self {
        let message = Message::parse(octets).unwrap();
        Self(message.avps().map(|avp| avp.unwrap()).map(|avp| (avp.code, avp.data.to_vec())).collect())
    }

    /// An update that is perfectly all right.
    fn update() -> Self {
        Self::of(&ccr(7))
    }

    fn kind(self, kind: u32) -> Self {
        self.set(AvpCode::CC_REQUEST_TYPE, &kind.to_be_bytes())
    }

    fn event(action: u32) -> Self {
        Self::update().kind(4).add(AvpCode::REQUESTED_ACTION, &action.to_be_bytes())
    }

    fn without(mut self, code: AvpCode) -> Self {
        self.0.retain(|(own, _)| *own != code);
        self
    }

    fn set(mut self, code: AvpCode, data: &[u8]) -> Self {
        self.0.iter_mut().filter(|(own, _)| *own == code).for_each(|(_, own)| *own = data.to_vec());
        self
    }

    fn add(mut self, code: AvpCode, data: &[u8]) -> Self {
        self.0.push((code, data.to_vec()));
        self
    }

    /// An MSCC with these members in place of the one there is.
    fn mscc(self, members: &str) -> Self {
        self.without(AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL)
            .add(AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL, &unhex(members))
    }

    fn octets(&self) -> Vec<u8> {
        build(message_header(CommandCode::CREDIT_CONTROL, 4, 7), |writer| {
            self.0.iter().for_each(|(code, data)| writer.octets(*code, data));
        })
    }

    fn read(&self) -> GyRequest {
        read(&self.octets()).unwrap()
    }
}

const MSCC: AvpCode = AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL;
const EMPTY_RSU: &str = "000001b5 40000008";
const RATING_GROUP_100: &str = "000001b0 4000000c 00000064";

/// Each defect with its code and the octets inside Failed-AVP.
#[test]
fn defects() {
    let p = Parts::update;
    let event_time = |seconds: i64| {
        let ntp = (NOW.millis() / 1000 + seconds + 2_208_988_800) & 0xffff_ffff;
        u32::try_from(ntp).unwrap().to_be_bytes()
    };
    let money = |digits: &str, exponent: &str| {
        let head = "000001b5 40000034 0000019d 4000002c 000001bd 40000024";
        format!("{head} 000001bf 40000010 {digits} 000001ad 4000000c {exponent}")
    };
    let money_in_failed = |digits: &str, exponent: &str| {
        format!("0000019d 4000002c 000001bd 40000024 000001bf 40000010 {digits} 000001ad 4000000c {exponent}")
    };
    let (early, late) = (event_time(-EVENT_AGE_SECONDS_MAX - 1), event_time(EVENT_AHEAD_SECONDS_MAX + 1));
    let (ntp_early, ntp_late) = (u32::from_be_bytes(early), u32::from_be_bytes(late));
    let mut crowded = p();
    (0..SERVICES_MAX).for_each(|_| crowded = crowded.clone().add(MSCC, &unhex(EMPTY_RSU)));
    let ids = |a: u8, b: u8| format!("000001b7 4000000c 000000{a:02x} 000001b7 4000000c 000000{b:02x} {EMPTY_RSU}");
    let mut popular = p().without(AvpCode::SUBSCRIPTION_ID);
    for number in 0..=IDENTIFIERS_MAX {
        let id = format!("000001c2 4000000c 00000000 000001bc 40000009 3{number} 000000");
        popular = popular.add(AvpCode::SUBSCRIPTION_ID, &unhex(&id));
    }
    let long_session = "a".repeat(256);
    let stray = "000001bb 40000014 000001bc 40000009 31000000";
    let digits = "000001bf 40000010 00000000 00000001";
    let rows: Vec<(&str, Parts, u32, String)> = vec![
        ("no Session-Id", p().without(AvpCode::SESSION_ID), 5005, "00000107 40000008".into()),
        ("no Origin-Host", p().without(AvpCode::ORIGIN_HOST), 5005, "00000108 40000008".into()),
        ("no Origin-Realm", p().without(AvpCode::ORIGIN_REALM), 5005, "00000128 40000008".into()),
        ("no Destination-Realm", p().without(AvpCode::DESTINATION_REALM), 5005, "0000011b 40000008".into()),
        (
            "no Auth-Application-Id",
            p().without(AvpCode::AUTH_APPLICATION_ID),
            5005,
            "00000102 4000000c 00000000".into(),
        ),
        ("no Service-Context-Id", p().without(AvpCode::SERVICE_CONTEXT_ID), 5005, "000001cd 40000008".into()),
        ("no CC-Request-Type", p().without(AvpCode::CC_REQUEST_TYPE), 5005, "000001a0 4000000c 00000000".into()),
        ("no CC-Request-Number", p().without(AvpCode::CC_REQUEST_NUMBER), 5005, "0000019f 4000000c 00000000".into()),
        ("no Requested-Action", p().kind(4), 5005, "000001b4 4000000c 00000000".into()),
        ("nobody, initial", p().kind(1).without(AvpCode::SUBSCRIPTION_ID), 5005, "000001bb 40000008".into()),
        (
            "Subscription-Id without a type",
            p().set(AvpCode::SUBSCRIPTION_ID, &unhex("000001bc 40000009 31000000")),
            5005,
            "000001c2 4000000c 00000000".into(),
        ),
        (
            "half a Subscription-Id in a whole one",
            p().set(
                AvpCode::SUBSCRIPTION_ID,
                &unhex(&format!("000001c2 4000000c 00000000 000001bc 40000009 31000000 {stray}")),
            ),
            5005,
            "000001c2 4000000c 00000000".into(),
        ),
        (
            "half a Subscription-Id in what is asked",
            p().mscc(&format!("000001b5 4000001c {stray}")),
            5005,
            "000001c2 4000000c 00000000".into(),
        ),
        (
            "half a Subscription-Id in what was used",
            p().mscc(&format!("000001be 4000001c {stray}")),
            5005,
            "000001c2 4000000c 00000000".into(),
        ),
        (
            "half a Subscription-Id in money",
            p().mscc(&format!("000001b5 4000003c 0000019d 40000034 000001bd 40000018 {digits} {stray}")),
            5005,
            "000001c2 4000000c 00000000".into(),
        ),
        (
            "half a Subscription-Id in a unit value",
            p().mscc(&format!("000001b5 4000003c 0000019d 40000034 000001bd 4000002c {digits} {stray}")),
            5005,
            "000001c2 4000000c 00000000".into(),
        ),
        (
            "money without digits",
            p().mscc("000001b5 40000018 0000019d 40000010 000001bd 40000008"),
            5005,
            "000001bf 40000010 00000000 00000000".into(),
        ),
        ("two numbers", p().add(AvpCode::CC_REQUEST_NUMBER, &[0, 0, 0, 9]), 5009, "0000019f 4000000c 00000009".into()),
        (
            "two User-Names",
            p().add(AvpCode::USER_NAME, b"a").add(AvpCode::USER_NAME, b"b"),
            5009,
            "00000001 40000009 62000000".into(),
        ),
        (
            "two User-Equipment-Infos",
            p().add(AvpCode::USER_EQUIPMENT_INFO_EXTENSION, &[]).add(AvpCode::USER_EQUIPMENT_INFO_EXTENSION, &[]),
            5009,
            "0000028d 00000008".into(),
        ),
        (
            "a missing AVP comes before one too many",
            p().add(AvpCode::ORIGIN_HOST, b"b").without(AvpCode::CC_REQUEST_TYPE),
            5005,
            "000001a0 4000000c 00000000".into(),
        ),
        (
            "one too many comes before a bad value",
            p().kind(9).add(AvpCode::CC_REQUEST_NUMBER, &[0; 4]),
            5009,
            "0000019f 4000000c 00000000".into(),
        ),
        (
            "two rating groups",
            p().mscc(&format!("{RATING_GROUP_100} 000001b0 4000000c 00000065")),
            5009,
            "000001b0 4000000c 00000065".into(),
        ),
        (
            "two Validity-Times, which nobody reads",
            p().mscc("000001c0 4000000c 00000001 000001c0 4000000c 00000002"),
            5009,
            "000001c0 4000000c 00000002".into(),
        ),
        (
            "total octets twice",
            p().mscc(&format!("000001be 40000028 {0} {0}", "000001a5 40000010 00000000 00000001")),
            5009,
            "000001a5 40000010 00000000 00000001".into(),
        ),
        ("65 services", crowded, 5009, format!("000001c8 40000010 {EMPTY_RSU}")),
        (
            "17 service identifiers",
            p().mscc(&"000001b7 4000000c 00000007".repeat(17)),
            5009,
            "000001b7 4000000c 00000007".into(),
        ),
        ("33 reports", p().mscc(&"000001be 40000008".repeat(33)), 5009, "000001be 40000008".into()),
        (
            "nine identifiers",
            popular,
            5009,
            "000001bb 40000020 000001c2 4000000c 00000000 000001bc 40000009 38 000000".into(),
        ),
        (
            "another application",
            p().set(AvpCode::AUTH_APPLICATION_ID, &[0, 0, 0, 5]),
            5004,
            "00000102 4000000c 00000005".into(),
        ),
        ("request type 0", p().kind(0), 5004, "000001a0 4000000c 00000000".into()),
        ("request type 5", p().kind(5), 5004, "000001a0 4000000c 00000005".into()),
        ("requested action 4", Parts::event(4), 5004, "000001b4 4000000c 00000004".into()),
        ("a month ago", p().set(AvpCode::EVENT_TIMESTAMP, &early), 5004, format!("00000037 4000000c {ntp_early:08x}")),
        (
            "the day after tomorrow",
            p().set(AvpCode::EVENT_TIMESTAMP, &late),
            5004,
            format!("00000037 4000000c {ntp_late:08x}"),
        ),
        ("an empty Session-Id", p().set(AvpCode::SESSION_ID, b""), 5004, "00000107 40000008".into()),
        (
            "a zero octet in Session-Id",
            p().set(AvpCode::SESSION_ID, b"a\0b"),
            5004,
            "00000107 4000000b 61006200".into(),
        ),
        (
            "an endless Session-Id",
            p().set(AvpCode::SESSION_ID, long_session.as_bytes()),
            5004,
            format!("00000107 40000108 {}", "61".repeat(256)),
        ),
        (
            "an IMSI in letters",
            p().set(AvpCode::SUBSCRIPTION_ID, &unhex("000001c2 4000000c 00000001 000001bc 40000009 61000000")),
            5004,
            "000001bc 40000009 61000000".into(),
        ),
        (
            "a tenth of a micro-unit",
            p().mscc(&money("0000000000000001", "fffffff9")),
            5004,
            money_in_failed("0000000000000001", "fffffff9"),
        ),
        (
            "money beyond all measure",
            p().mscc(&money("0000000000000001", "0000000d")),
            5004,
            money_in_failed("0000000000000001", "0000000d"),
        ),
        (
            "less than no money",
            p().mscc(&money("ffffffffffffffff", "00000000")),
            5004,
            money_in_failed("ffffffffffffffff", "00000000"),
        ),
        ("Tariff-Change-Usage 3", p().mscc("000001c4 4000000c 00000003"), 5004, "000001c4 4000000c 00000003".into()),
        (
            "somebody else's refund",
            Parts::event(1).add(AvpCode::REFUND_INFORMATION, b"\x02abc"),
            5004,
            "000007e6 c0000010 000028af 02616263".into(),
        ),
        (
            "a refund of nothing",
            Parts::event(1).add(AvpCode::REFUND_INFORMATION, b"\x01"),
            5004,
            "000007e6 c000000d 000028af 01000000".into(),
        ),
        (
            "units in two places",
            p().mscc(RATING_GROUP_100).add(AvpCode::REQUESTED_SERVICE_UNIT, &[]),
            5007,
            format!("{EMPTY_RSU} 000001c8 40000014 {RATING_GROUP_100}"),
        ),
        (
            "one service asked for twice",
            p().mscc(&ids(5, 6)).add(MSCC, &unhex(&ids(6, 5))),
            5007,
            format!("000001c8 40000028 {} 000001c8 40000028 {}", ids(5, 6), ids(6, 5)),
        ),
        (
            "two refunds in one",
            Parts::event(1).mscc("000007e6 c0000010 000028af 01616263").add(AvpCode::REFUND_INFORMATION, b"\x01abd"),
            5007,
            "000007e6 c0000010 000028af 01616264 000007e6 c0000010 000028af 01616263".into(),
        ),
        (
            "a number of three octets",
            p().set(AvpCode::CC_REQUEST_NUMBER, &[0, 0, 1]),
            5014,
            "0000019f 4000000b 00000100".into(),
        ),
        ("an AVP that runs over", p().mscc("000001b0 40000010 00000064"), 5014, "000001b0 4000000c 00000000".into()),
        ("text that is none", p().set(AvpCode::SERVICE_CONTEXT_ID, &[0xff]), 5004, "000001cd 40000009 ff000000".into()),
    ];
    for (what, parts, code, failed) in rows {
        let octets = parts.octets();
        let error = read(&octets).expect_err(what);
        assert_eq!(error.result_code().0, code, "{what}: {error}");
        assert_eq!(error.failed_avp(), Some(unhex(&failed)), "{what}: {:02x?}", error.failed_avp());
        let answer = error.answer(&Message::parse(&octets).unwrap(), &ours());
        assert_eq!(verdict(&answer), (code, is_bare(&parts), Some(unhex(&failed))), "{what}");
        if !is_bare(&parts) {
            check_message_grammar(&Message::parse(&answer).unwrap()).unwrap();
        }
    }
}

/// Whether what an answer in the grammar of the command has to repeat is missing.
fn is_bare(parts: &Parts) -> bool {
    [AvpCode::SESSION_ID, AvpCode::CC_REQUEST_TYPE, AvpCode::CC_REQUEST_NUMBER].iter().any(|needed| {
        !parts.0.iter().any(|(code, data)| code == needed && (*code == AvpCode::SESSION_ID || data.len() == 4))
    })
}

#[test]
fn a_person_can_read_what_is_wrong() {
    let old = Parts::update().set(AvpCode::EVENT_TIMESTAMP, &[0xd0, 0, 0, 0]);
    assert_eq!(
        read(&old.octets()).unwrap_err().to_string(),
        "Event-Timestamp (55): unusable value; it lies more than 30 days back; is the client's clock right?"
    );
}

#[test]
fn forms_and_units() {
    let mscc = |members: &str| match Parts::update().mscc(members).read().action {
        Action::Update(services) => <[_; 1]>::try_from(services).unwrap(),
        other => panic!("{other:?}"),
    };
    // Neither key; both; services without a group.
    assert_eq!(mscc(EMPTY_RSU), [ServiceRequest { requested: Requested::Any, ..ServiceRequest::default() }]);
    let [both] = mscc(&format!("{RATING_GROUP_100} 000001b7 4000000c 00000007 000001b7 4000000c 00000005"));
    assert_eq!((both.key, both.requested), (key(Some(100), &[5, 7]), Requested::Nothing), "in whatever order");
    let [twice] = mscc("000001b7 4000000c 00000007 000001b7 4000000c 00000005 000001b7 4000000c 00000007");
    assert_eq!(twice.key, key(None, &[5, 7]));
    let [only_service] = mscc("000001b7 4000000c 00000007");
    assert_eq!(only_service.key, key(None, &[7]));
    // A Requested-Service-Unit with nothing we know in it leaves the amount to us.
    assert_eq!(mscc("000001b5 40000010 0000ffff 00000008")[0].requested, Requested::Any);
    // An empty report reports nothing; the MSCC's part counts for reports without one of their own.
    let used = "000001be 40000018 000001a5 40000010 00000000 00000001";
    let own = "000001be 40000024 000001c4 4000000c 00000002 000001a5 40000010 00000000 00000001";
    let [parted] = mscc(&format!("000001be 40000008 {used} {own} 000001c4 4000000c 00000000"));
    let parts: Vec<_> = parted.used.iter().map(|used| used.part).collect();
    assert_eq!(parts, [TariffPart::Before, TariffPart::Straddling]);
    // Money, exactly: 5 x 10^-2 of currency 978.
    let [money] = mscc(
        "000001b5 40000040 0000019d 40000038 000001bd 40000024 000001bf 40000010 0000000000000005 \
         000001ad 4000000c fffffffe \
         000001a9 4000000c 000003d2",
    );
    let amount = MoneyUnits { amount: Money::from_micros(50_000), currency: Some(978) };
    assert_eq!(money.requested, Requested::Units(Units { money: Some(amount), ..Units::default() }));

    let bare = Parts::update().without(MSCC);
    let nothing = bare.read();
    assert!(nothing.command_level);
    assert_eq!(nothing.action, Action::Update(Vec::new()));
    let command_level = bare
        .clone()
        .add(AvpCode::SERVICE_IDENTIFIER, &[0, 0, 0, 7])
        .add(AvpCode::REQUESTED_SERVICE_UNIT, &[])
        .add(AvpCode::USED_SERVICE_UNIT, &unhex("000001a4 4000000c 0000003c"))
        .read();
    assert!(command_level.command_level);
    let seconds = Used { units: Units { seconds: Some(60), ..Units::default() }, part: TariffPart::Whole };
    let service = ServiceRequest { key: key(None, &[7]), requested: Requested::Any, used: vec![seconds] };
    assert_eq!(command_level.action, Action::Update(vec![service]));
    // An event at command level is one service even when it says no more than its action.
    let event = bare.kind(4).add(AvpCode::REQUESTED_ACTION, &[0; 4]).read();
    assert_eq!(event.action, Action::Debit(vec![ServiceRequest::default()]));
    // In a session the action means nothing.
    let session = Parts::update().add(AvpCode::REQUESTED_ACTION, &[0, 0, 0, 9]).read();
    assert!(matches!(session.action, Action::Update(_)));
}

#[test]
fn refunds_name_their_event() {
    let refund = |parts: &Parts| match parts.read().action {
        Action::Refund { original, .. } => original,
        other => panic!("{other:?}"),
    };
    let own = Parts::event(1);
    assert_eq!(refund(&own), own.read().session);
    let named = Parts::event(1).add(AvpCode::REFUND_INFORMATION, b"\x01smsc;1;2");
    assert_eq!(refund(&named), SessionId::new(b"smsc;1;2"));
    let inside = Parts::event(1).mscc("000007e6 c0000010 000028af 01616263");
    assert_eq!(refund(&inside), SessionId::new(b"abc"));
    assert_eq!(refund(&inside.clone().add(AvpCode::REFUND_INFORMATION, b"\x01abc")), SessionId::new(b"abc"));
}

#[test]
fn sub_sessions_are_sessions_of_their_own() {
    let main = Parts::update().read();
    let sub = Parts::update().add(AvpCode::CC_SUB_SESSION_ID, &[0, 0, 0, 0, 0, 0, 0, 6]).read();
    let expected = [main.session.octets(), &[0, 0, 0, 0, 0, 0, 0, 0, 6]].concat();
    assert_eq!(sub.session, SessionId::new(&expected));
    assert_eq!(sub.echo.session_id(), main.session.octets());
}

/// Only what is asked for counts: a repeat may differ in everything else.
#[test]
fn the_digest_is_over_units_only() {
    let digest = Parts::update().read().digest;
    let repeat = Parts::update()
        .set(AvpCode::EVENT_TIMESTAMP, &[0xee, 0xac, 0xc8, 0x37])
        .add(AvpCode::PROXY_INFO, &unhex("00000118 40000009 61000000 00000021 40000009 01000000"))
        .add(AvpCode::ROUTE_RECORD, b"agent.example.net")
        .add(AvpCode::ORIGIN_STATE_ID, &[0, 0, 0, 1])
        .without(AvpCode::SERVICE_INFORMATION);
    let mut octets = repeat.octets();
    octets[4] |= 0x10;
    let repeat = read(&octets).unwrap();
    assert!(repeat.retransmitted);
    assert_eq!(repeat.digest, digest);
    assert_ne!(Parts::update().mscc(RATING_GROUP_100).read().digest, digest);
    assert_ne!(Parts::update().kind(3).read().digest, digest);
}

#[test]
fn identifiers() {
    let id = |kind: u32, text: &str| {
        build(message_header(CommandCode::CREDIT_CONTROL, 4, 0), |writer| {
            writer.u32(AvpCode::SUBSCRIPTION_ID_TYPE, kind);
            writer.utf8(AvpCode::SUBSCRIPTION_ID_DATA, text);
        })[20..]
            .to_vec()
    };
    let bare = Parts::update().without(AvpCode::SUBSCRIPTION_ID);
    let all = [
        (0, "+491701234567"),
        (0, "491701234567"),
        (1, "262010000000001"),
        (2, "sip:a@b"),
        (3, "a@b"),
        (4, "x"),
        (9, "?"),
        (0, ""),
    ];
    let many =
        all.iter().fold(bare.clone(), |parts, (kind, text)| parts.add(AvpCode::SUBSCRIPTION_ID, &id(*kind, text)));
    let expected = [
        msisdn("491701234567"),
        imsi("262010000000001"),
        Identifier::Sip("sip:a@b".into()),
        Identifier::Nai("a@b".into()),
        Identifier::Private("x".into()),
    ];
    assert_eq!(many.read().context.identifiers, expected);

    let inner = [&unhex("000001bb 40000028")[..], &id(0, "491701234567")].concat();
    let inside = bare.clone().set(AvpCode::SERVICE_INFORMATION, &inner);
    assert_eq!(inside.read().context.identifiers, [msisdn("491701234567")]);
    let outside_too = inside.add(AvpCode::SUBSCRIPTION_ID, &id(1, "262010000000001"));
    assert_eq!(outside_too.read().context.identifiers, [imsi("262010000000001")]);

    let extension = bare.add(AvpCode::SUBSCRIPTION_ID_EXTENSION, &unhex("00000294 0000000b 34393100"));
    assert_eq!(extension.read().context.identifiers, [msisdn("491")]);
}

/// Older gateways put at command level what belongs into PS-Information.
#[test]
fn misplaced_circumstances() {
    let misplaced = Parts::update()
        .without(AvpCode::SERVICE_INFORMATION)
        .add(AvpCode::CALLED_STATION_ID, b"internet")
        .add(AvpCode::TGPP_RAT_TYPE, &[6])
        .add(AvpCode::TGPP_USER_LOCATION_INFO, &unhex("8262f210100062f2100012d687"))
        .add(AvpCode::new(8, 0), &[10, 45, 0, 2])
        .add(AvpCode::USER_EQUIPMENT_INFO, &unhex("000001cb 0000000c 00000000 000001cc 00000009 31000000"));
    let request = misplaced.read();
    let packet = request.context.packet.unwrap();
    assert_eq!((packet.apn.as_deref(), packet.rat), (Some("internet"), Some(6)));
    assert_eq!(packet.serving_plmn, Plmn::parse("26201"));
    assert_eq!(packet.device_addresses, ["10.45.0.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(request.context.equipment.as_deref(), Some(&b"1"[..]));

    let both = Parts::update().add(AvpCode::CALLED_STATION_ID, b"elsewhere").add(AvpCode::TGPP_MS_TIMEZONE, &[0x40, 0]);
    let packet = both.read().context.packet.unwrap();
    assert_eq!(packet.apn.as_deref(), Some("internet"));
    assert_eq!(packet.time_zone, Some([0x40, 0]));
    let stray = Parts::update().without(AvpCode::SERVICE_INFORMATION).add(AvpCode::new(9999, 10415), &[0; 4]);
    assert_eq!(stray.read().context.packet, None);
}

#[test]
fn service_contexts() {
    let contexts = ServiceContexts::new(vec![("voice@operator.example".into(), Service::Voice)]);
    for (text, expected) in [
        ("32251@3gpp.org", Service::Data),
        ("14.32251@3gpp.org", Service::Data),
        ("ext.01.262.8.32251@3GPP.org", Service::Data),
        ("32260@3gpp.org", Service::Voice),
        ("6.32275@3gpp.org", Service::Voice),
        ("32276@3gpp.org", Service::Voice),
        ("32274@3gpp.org", Service::Sms),
        ("32270@3gpp.org", Service::Mms),
        ("32280@3gpp.org", Service::Other(32280)),
        ("voice@operator.example", Service::Voice),
        ("data@operator.example", Service::Other(0)),
        ("32251", Service::Other(0)),
        ("@3gpp.org", Service::Other(0)),
        ("99999999999@3gpp.org", Service::Other(0)),
        ("+32251@3gpp.org", Service::Other(0)),
    ] {
        assert_eq!(contexts.service(text), expected, "{text}");
    }
}

#[test]
fn names_are_shared() {
    let (host, realm) = ("pgw01.example.net".into(), "example.net".into());
    let mut names = Names::new(std::sync::Arc::clone(&host), realm);
    assert!(std::sync::Arc::ptr_eq(&names.get("pgw01.example.net"), &host));
    let other = names.get("pgw02.example.net");
    assert!(std::sync::Arc::ptr_eq(&names.get("pgw02.example.net"), &other));
    for number in 0..1000 {
        names.get(&format!("pgw{number}"));
    }
    assert_eq!(&*names.get("pgw01.example.net"), "pgw01.example.net");
}

#[test]
fn a_command_takes_its_profile() {
    let command = |profile: &PeerProfile, parts: &Parts| parts.read().into_command(SubscriberId::new(7), profile).0;
    let standard = command(&PeerProfile::STANDARD, &Parts::update());
    assert_eq!((standard.subscriber, standard.number, standard.now), (SubscriberId::new(7), 7, NOW));
    assert!(!standard.command_level);
    let ends = PeerProfile { denial_ends_session: true, ..PeerProfile::STANDARD };
    assert!(command(&ends, &Parts::update()).command_level);
    assert!(!command(&ends, &Parts::update().add(MSCC, &unhex(RATING_GROUP_100))).command_level);
    assert!(command(&PeerProfile::STANDARD, &Parts::update().without(MSCC)).command_level);
}
