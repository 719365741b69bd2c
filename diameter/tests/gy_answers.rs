//! Outcomes as CCAs, octet for octet, and read again by a client.
//!
//! The files in `golden/gy/` have one AVP a line with its meaning behind it. When one of them has to change, the test
//! prints the new text; read it before it replaces the old.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "tests")]

mod support;

use diameter::gy::client::{Cca, Ccr, Form, Kind, ServiceAnswer};
use diameter::gy::{Echo, Names, PeerProfile, ServiceContexts, encode, parse};
use diameter::validate::check_message_grammar;
use diameter::{AvpCode, Message, UnknownAvps, validate};
use rating_engine::command::{
    Action, Answered, Denial, Grant, Outcome, Refusal, Requested, ServiceOutcome, ServiceRequest, ServiceResult,
};
use rating_engine::ids::{Digits, Identifier, RatingGroup, ServiceId, SessionId, SubscriberId};
use rating_engine::money::{Currency, Money};
use rating_engine::tariff::ServiceKey;
use rating_engine::time::Timestamp;
use rating_engine::units::{MoneyUnits, Units};
use support::*;

const SESSION: &str = "pgw01.example.net;3970123456;17;gy";

fn request() -> Ccr<'static> {
    Ccr {
        hop_by_hop: 3,
        end_to_end: 0x5a10_0003,
        session: SESSION,
        host: "pgw01.example.net",
        realm: "example.net",
        destination_realm: "example.com",
        service_context: "14.32251@3gpp.org",
        ..Ccr::default()
    }
}

/// What the answer to `ccr` has to repeat.
fn echo(ccr: &Ccr<'_>, profile: &PeerProfile) -> Echo {
    let identifiers = [Identifier::Msisdn(Digits::parse("491701234567").unwrap())];
    let mut octets = Vec::new();
    Ccr { identifiers: &identifiers, ..*ccr }.encode(&mut octets).unwrap();
    echo_of(&octets, profile)
}

fn echo_of(octets: &[u8], profile: &PeerProfile) -> Echo {
    let message = Message::parse(octets).unwrap();
    let request = parse(&message, Timestamp::default(), &ServiceContexts::default(), &mut Names::default()).unwrap();
    request.into_command(SubscriberId::new(1), profile).1
}

fn answer(echo: &Echo, outcome: &Outcome, profile: &PeerProfile) -> Vec<u8> {
    let mut octets = b"what was there before".to_vec();
    let before = octets.len();
    let length = encode(&mut octets, echo, outcome, &ours(), profile).unwrap();
    assert_eq!(octets.len(), before + length);
    octets.drain(..before);
    let message = Message::parse(&octets).unwrap();
    validate(&message, &UnknownAvps::default()).unwrap();
    if message.header().flags.octet() & 0x20 == 0 {
        check_message_grammar(&message).unwrap();
    }
    octets
}

fn check_golden(name: &str, octets: &[u8]) -> Cca {
    let path = format!("{}/tests/golden/gy/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(unhex(&golden) == octets, "{name}.hex should be\n{}", dump(octets));
    assert_eq!(golden, dump(octets), "{name}.hex: the comments");
    Cca::read(&Message::parse(octets).unwrap()).unwrap()
}

fn key(group: Option<u32>, services: &[u32]) -> ServiceKey {
    let services = services.iter().map(|id| ServiceId::new(*id)).collect();
    ServiceKey { rating_group: group.map(RatingGroup::new), services }
}

fn asks(key: ServiceKey) -> ServiceRequest {
    ServiceRequest { key, requested: Requested::Any, used: Vec::new() }
}

fn octets(total: u64) -> Units {
    Units { total_octets: Some(total), ..Units::default() }
}

fn granted(key: ServiceKey, units: Units, validity_seconds: u32, threshold: u64, last: bool) -> ServiceOutcome {
    ServiceOutcome {
        key,
        result: ServiceResult::Granted(Grant { units: units.into(), validity_seconds, switch: None, threshold, last }),
    }
}

fn denied(key: ServiceKey, denial: Denial) -> ServiceOutcome {
    ServiceOutcome { key, result: ServiceResult::Denied(denial) }
}

fn answered(services: Vec<ServiceOutcome>) -> Answered {
    Answered { services: services.into(), ..Answered::default() }
}

const STANDARD: PeerProfile = PeerProfile::STANDARD;

#[test]
fn two_services() {
    let services = [asks(key(Some(100), &[])), asks(key(Some(200), &[7, 8]))];
    let echo = echo(&Ccr { services: &services, ..request() }, &STANDARD);
    let outcome = answered(vec![
        granted(key(Some(100), &[]), octets(10 << 20), 3600, 1 << 20, false),
        denied(key(Some(200), &[7, 8]), Denial::CreditLimitReached),
    ]);
    let cost = Some((Money::from_micros(50_000), Currency::EUR));
    let outcome = Outcome::Answered(Answered { cost, ..outcome });
    let cca = check_golden("cca_i_two_services", &answer(&echo, &outcome, &STANDARD));
    assert_eq!((cca.result, cca.request_type, cca.number, cca.cost), (2001, 1, 0, None));
    let first = ServiceAnswer {
        key: key(Some(100), &[]),
        result: Some(2001),
        granted: Some(octets(10 << 20)),
        validity_seconds: Some(3600),
        threshold: Some(1 << 20),
        ..ServiceAnswer::default()
    };
    let second = ServiceAnswer { key: key(Some(200), &[7, 8]), result: Some(4012), ..ServiceAnswer::default() };
    assert_eq!(cca.services, [first, second]);
    assert_eq!(cca.command_level, ServiceAnswer::default());
}

/// Another price begins at 22:00 UTC on 13 January 2027: the client is told (RFC 8506 8.20).
#[test]
fn a_tariff_switch_is_told() {
    let services = [asks(key(Some(100), &[]))];
    let echo = echo(&Ccr { services: &services, ..request() }, &STANDARD);
    let switch = Some(Timestamp::from_seconds(1_799_877_600));
    let grant =
        Grant { units: octets(10 << 20).into(), validity_seconds: 1800, switch, threshold: 2 << 20, last: false };
    let outcome = answered(vec![ServiceOutcome { key: key(Some(100), &[]), result: ServiceResult::Granted(grant) }]);
    let octets = answer(&echo, &Outcome::Answered(outcome), &STANDARD);
    // Tariff-Time-Change, M, 12 octets: 0xeef27260 seconds since 1900.
    let change = unhex("000001c3 4000000c eef27260");
    assert!(octets.windows(change.len()).any(|window| window == change), "{octets:02x?}");
    let cca = Cca::read(&Message::parse(&octets).unwrap()).unwrap();
    assert_eq!(cca.services[0].switch_seconds, Some(1_799_877_600));
}

/// The answer repeats Service-Identifiers as they were sent, whatever the key makes of them.
#[test]
fn service_identifiers_are_repeated_as_sent() {
    let sent = key(Some(100), &[6, 5, 6]);
    let services = [asks(key(Some(200), &[1])), asks(sent.clone())];
    let echo = echo(&Ccr { services: &services, ..request() }, &STANDARD);
    let known = key(Some(100), &[5, 6]);
    let outcome = answered(vec![
        granted(key(Some(200), &[1]), octets(1 << 20), 3600, 0, false),
        granted(known, octets(1 << 20), 3600, 0, false),
    ]);
    let octets = answer(&echo, &Outcome::Answered(outcome), &STANDARD);
    let cca = Cca::read(&Message::parse(&octets).unwrap()).unwrap();
    let keys: Vec<_> = cca.services.iter().map(|service| service.key.clone()).collect();
    assert_eq!(keys, [key(Some(200), &[1]), sent]);
}

#[test]
fn final_units() {
    let services = [asks(key(None, &[]))];
    let ccr = Ccr { kind: Kind::Update, number: 1, services: &services, ..request() };
    let echo = echo(&ccr, &STANDARD);
    let outcome = Outcome::Answered(answered(vec![granted(key(None, &[]), octets(1 << 19), 600, 0, true)]));
    let cca = check_golden("cca_u_final_units", &answer(&echo, &outcome, &STANDARD));
    assert_eq!((cca.services[0].final_action, cca.services[0].validity_seconds), (Some(0), Some(600)));
    let bare = answer(&echo, &outcome, &PeerProfile::OPEN5GS);
    let cca = Cca::read(&Message::parse(&bare).unwrap()).unwrap();
    assert_eq!((cca.services[0].final_action, cca.services[0].validity_seconds), (Some(0), None));
}

#[test]
fn a_termination_tells_the_cost() {
    let services = [ServiceRequest { requested: Requested::Nothing, ..asks(key(Some(100), &[])) }];
    let ccr = Ccr { kind: Kind::Termination, number: 3, sub_session: Some(6), services: &services, ..request() };
    let settled = ServiceOutcome { key: key(Some(100), &[]), result: ServiceResult::Settled };
    let cost = Some((Money::from_micros(1_880_000), Currency::EUR));
    let outcome = Outcome::Answered(Answered { cost, ..answered(vec![settled]) });
    let cca = check_golden("cca_t", &answer(&echo(&ccr, &STANDARD), &outcome, &STANDARD));
    let euro = MoneyUnits { amount: Money::from_micros(1_880_000), currency: Some(978) };
    assert_eq!(cca.cost, Some(euro));
    assert_eq!((cca.services[0].result, cca.services[0].granted), (Some(2001), None));
}

#[test]
fn an_event_is_debited_and_can_be_refunded() {
    let one = Units { events: Some(1), ..Units::default() };
    let services = [ServiceRequest { requested: Requested::Units(one), ..asks(key(None, &[1])) }];
    let ccr = Ccr { kind: Kind::Debit, service_context: "32274@3gpp.org", services: &services, ..request() };
    let outcome = Outcome::Answered(Answered {
        cost: Some((Money::from_micros(90_000), Currency::EUR)),
        refund_reference: Some(SessionId::new(SESSION.as_bytes())),
        ..answered(vec![granted(key(None, &[1]), one, 0, 0, false)])
    });
    let cca = check_golden("cca_e_debit", &answer(&echo(&ccr, &STANDARD), &outcome, &STANDARD));
    let [service] = &cca.services[..] else { panic!("{cca:?}") };
    assert_eq!((service.granted, service.validity_seconds, service.threshold), (Some(one), None, None));
    let reference = service.refund.clone().unwrap();
    assert_eq!(reference, [b"\x01", SESSION.as_bytes()].concat());

    // The same at command level, and the reference finds its way back.
    let cca = {
        let ccr = Ccr { form: Form::CommandLevel, ..ccr };
        check_golden("cca_e_debit_command_level", &answer(&echo(&ccr, &STANDARD), &outcome, &STANDARD))
    };
    assert_eq!(cca.services, []);
    assert_eq!((cca.command_level.granted, cca.command_level.refund), (Some(one), Some(reference.clone())));
    let identifiers = [Identifier::Msisdn(Digits::parse("491701234567").unwrap())];
    let refund = Ccr {
        kind: Kind::Refund,
        session: "smsc01.example.net;1;2",
        refund: Some(&reference),
        identifiers: &identifiers,
        ..ccr
    };
    let mut octets = Vec::new();
    refund.encode(&mut octets).unwrap();
    let message = Message::parse(&octets).unwrap();
    let refund = parse(&message, Timestamp::default(), &ServiceContexts::default(), &mut Names::default()).unwrap();
    let Action::Refund { original, services } = refund.action else { panic!("{:?}", refund.action) };
    assert_eq!(original, SessionId::new(SESSION.as_bytes()));
    assert_eq!(services[0].key, key(None, &[1]));
}

#[test]
fn balance_checks_and_price_enquiries() {
    let ccr = Ccr { kind: Kind::CheckBalance, form: Form::CommandLevel, ..request() };
    let settled = ServiceOutcome { key: key(None, &[]), result: ServiceResult::Settled };
    for (enough, value) in [(true, 0), (false, 1)] {
        let outcome = Answered { enough_credit: Some(enough), ..answered(vec![settled.clone()]) };
        let octets = answer(&echo(&ccr, &STANDARD), &Outcome::Answered(outcome), &STANDARD);
        let cca = Cca::read(&Message::parse(&octets).unwrap()).unwrap();
        assert_eq!((cca.result, cca.check_balance, cca.cost), (2001, Some(value), None));
    }
    let ccr = Ccr { kind: Kind::PriceEnquiry, ..ccr };
    let outcome = Answered { cost: Some((Money::from_micros(1), Currency::EUR)), ..answered(vec![settled]) };
    let octets = answer(&echo(&ccr, &STANDARD), &Outcome::Answered(outcome), &STANDARD);
    let cca = Cca::read(&Message::parse(&octets).unwrap()).unwrap();
    assert_eq!(cca.cost.map(|cost| cost.amount), Some(Money::from_micros(1)));
}

#[test]
fn command_level_units() {
    let services = [asks(key(None, &[]))];
    let ccr = Ccr { form: Form::CommandLevel, services: &services, ..request() };
    let echo = echo(&ccr, &STANDARD);
    let seconds = Units { seconds: Some(120), ..Units::default() };
    let outcome = Outcome::Answered(answered(vec![granted(key(None, &[]), seconds, 1800, 0, true)]));
    let cca = check_golden("cca_i_command_level", &answer(&echo, &outcome, &STANDARD));
    assert_eq!(cca.services, []);
    let level = cca.command_level;
    assert_eq!((level.granted, level.validity_seconds, level.final_action), (Some(seconds), Some(1800), Some(0)));

    let outcome = Outcome::Answered(answered(vec![denied(key(None, &[]), Denial::CreditLimitReached)]));
    let cca = check_golden("cca_i_command_level_4012", &answer(&echo, &outcome, &STANDARD));
    assert_eq!((cca.result, cca.services.len()), (4012, 0));
}

#[test]
fn a_denial_in_an_mscc_or_of_the_session() {
    let one = [asks(key(Some(100), &[]))];
    let two = [asks(key(Some(100), &[])), asks(key(Some(200), &[]))];
    let ends = PeerProfile { denial_ends_session: true, ..STANDARD };
    let results = |services: &[ServiceRequest], profile: &PeerProfile| {
        let denied = services.iter().map(|service| denied(service.key.clone(), Denial::CreditLimitReached)).collect();
        let echo = echo(&Ccr { services, ..request() }, profile);
        let octets = answer(&echo, &Outcome::Answered(answered(denied)), profile);
        let cca = Cca::read(&Message::parse(&octets).unwrap()).unwrap();
        (cca.result, cca.services.iter().map(|service| service.result.unwrap()).collect::<Vec<_>>())
    };
    assert_eq!(results(&one, &STANDARD), (2001, vec![4012]));
    assert_eq!(results(&one, &ends), (4012, vec![]));
    assert_eq!(results(&two, &ends), (2001, vec![4012, 4012]));
}

#[test]
fn denials() {
    for (denial, code) in [
        (Denial::CreditLimitReached, 4012),
        (Denial::ServiceDenied, 4010),
        (Denial::Rejected, 5003),
        (Denial::RatingFailed, 5031),
        (Denial::UsageSuspect, 5031),
    ] {
        for (keys, failed) in [
            (key(Some(100), &[7]), "000001b0 4000000c 00000064"),
            (key(None, &[7]), "000001b7 4000000c 00000007"),
            (key(None, &[]), "000001cd 40000019 31342e33323235314033677070 2e6f7267 000000"),
        ] {
            let failed = (code == 5031).then(|| unhex(failed));
            let services = [asks(keys.clone())];
            let outcome = Outcome::Answered(answered(vec![denied(keys, denial)]));
            let octets = answer(&echo(&Ccr { services: &services, ..request() }, &STANDARD), &outcome, &STANDARD);
            let cca = Cca::read(&Message::parse(&octets).unwrap()).unwrap();
            assert_eq!((cca.result, cca.services[0].result), (2001, Some(code)));
            assert_eq!(cca.failed, failed, "{denial:?}");
            let ccr = Ccr { services: &services, form: Form::CommandLevel, ..request() };
            let octets = answer(&echo(&ccr, &STANDARD), &outcome, &STANDARD);
            let cca = Cca::read(&Message::parse(&octets).unwrap()).unwrap();
            assert_eq!((cca.result, cca.failed), (code, failed));
            assert!(cca.error.is_some());
        }
    }
}

/// Each refusal with its code, E flag and the octets inside Failed-AVP.
#[test]
fn refusals() {
    let context = "000001cd 40000019 31342e33323235314033677070 2e6f7267 000000";
    let information = "000007e6 c0000010 000028af 01616263";
    let session = "00000107 4000002a 70677730312e6578616d706c652e6e65743b333937303132333435363b31373b6779 0000";
    let requested = "000001b5 40000018 000001a1 40000010 00000000 00000002";
    let two = Units { events: Some(2), ..Units::default() };
    let asking = [ServiceRequest { requested: Requested::Units(two), ..asks(key(None, &[])) }];
    let plain = request();
    let named = Ccr { destination_host: Some("ocs01.example.com"), ..plain };
    let refund = Ccr { kind: Kind::Refund, form: Form::CommandLevel, ..plain };
    let refund_of = Ccr { refund: Some(b"\x01abc"), ..refund };
    let refund_two = Ccr { services: &asking, ..refund_of };
    for (what, ccr, refusal, code, failed) in [
        ("unknown subscriber", plain, Refusal::UnknownSubscriber, 5030, None),
        ("identifiers disagree", plain, Refusal::IdentifiersDisagree, 5030, None),
        ("unknown session", plain, Refusal::UnknownSession, 5002, None),
        ("suspended", plain, Refusal::ServiceDenied, 4010, None),
        ("barred", plain, Refusal::Rejected, 5003, None),
        ("no credit", plain, Refusal::CreditLimitReached, 4012, None),
        ("no price", plain, Refusal::RatingFailed, 5031, Some(context)),
        ("key reused", plain, Refusal::KeyReused, 5012, None),
        ("answer gone", plain, Refusal::AnswerGone, 5012, None),
        ("refund without a name", refund, Refusal::NothingToRefund, 5005, Some("000007e6 c000000c 000028af")),
        ("refund of another", refund_of, Refusal::NothingToRefund, 5004, Some(information)),
        ("refund of too much", refund_two, Refusal::RefundBeyondCharge, 5004, Some(requested)),
        ("second refund", refund_of, Refusal::RefundBeyondCharge, 5004, Some(information)),
        ("second refund without a name", refund, Refusal::RefundBeyondCharge, 5004, Some(session)),
        ("busy, and named", named, Refusal::TooBusy, 3004, None),
        ("busy", plain, Refusal::TooBusy, 3002, None),
        ("out of range", plain, Refusal::OutOfRange, 5012, None),
        ("invalid", plain, Refusal::Invalid("no such account"), 5012, None),
    ] {
        let octets = answer(&echo(&ccr, &STANDARD), &Outcome::Refused(refusal), &STANDARD);
        assert_eq!(verdict(&octets), (code, code / 1000 == 3, failed.map(unhex)), "{what}");
        assert!(Cca::read(&Message::parse(&octets).unwrap()).unwrap().error.is_some(), "{what}");
    }
}

#[test]
fn errors_octet_for_octet() {
    let services = [asks(key(Some(100), &[]))];
    let ccr = Ccr { services: &services, ..request() };
    let echo = echo(&ccr, &STANDARD);
    let busy = answer(&echo, &Outcome::Refused(Refusal::TooBusy), &STANDARD);
    check_golden("answer_3002", &busy);
    let unknown = answer(&echo, &Outcome::Refused(Refusal::UnknownSubscriber), &STANDARD);
    check_golden("cca_5030", &unknown);
    let unrated = Outcome::Answered(answered(vec![denied(key(Some(100), &[]), Denial::RatingFailed)]));
    check_golden("cca_mscc_5031", &answer(&echo, &unrated, &STANDARD));
    let gone = Answered { session_gone: true, ..answered(vec![denied(key(Some(100), &[]), Denial::ServiceDenied)]) };
    let cca = check_golden("cca_5002", &answer(&echo, &Outcome::Answered(gone), &STANDARD));
    assert_eq!((cca.result, cca.services.len()), (5002, 0));
}

#[test]
fn thresholds_follow_the_unit() {
    let some = Some(1000);
    for (units, code) in [
        (Units { total_octets: some, ..Units::default() }, Some(AvpCode::VOLUME_QUOTA_THRESHOLD)),
        (
            Units { uplink_octets: some, downlink_octets: some, ..Units::default() },
            Some(AvpCode::VOLUME_QUOTA_THRESHOLD),
        ),
        (Units { seconds: some, ..Units::default() }, Some(AvpCode::TIME_QUOTA_THRESHOLD)),
        (Units { events: some, ..Units::default() }, Some(AvpCode::UNIT_QUOTA_THRESHOLD)),
        (Units { money: Some(MoneyUnits { amount: Money::from_micros(1), currency: None }), ..Units::default() }, None),
    ] {
        for (threshold, sent) in [(0, None), (7, Some(7)), (u64::MAX, Some(u32::MAX))] {
            let services = [asks(key(Some(1), &[]))];
            let outcome = Outcome::Answered(answered(vec![granted(key(Some(1), &[]), units, 60, threshold, false)]));
            let octets = answer(&echo(&Ccr { services: &services, ..request() }, &STANDARD), &outcome, &STANDARD);
            let message = Message::parse(&octets).unwrap();
            let mscc = message.find(AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL).unwrap();
            let found: Vec<_> = mscc
                .grouped()
                .unwrap()
                .map(|avp| avp.unwrap())
                .filter(|avp| matches!(avp.code.code, 868 | 869 | 1226))
                .map(|avp| (avp.code, avp.u32().unwrap()))
                .collect();
            assert_eq!(found, code.zip(sent).into_iter().collect::<Vec<_>>());
        }
    }
}

/// A repeat gets what was answered before, under its own transport identifiers, and every proxy its own state.
#[test]
fn a_repeat_gets_its_own_envelope() {
    let services = [asks(key(Some(100), &[]))];
    let outcome = Outcome::Answered(answered(vec![granted(key(Some(100), &[]), octets(1), 60, 0, false)]));
    let first = answer(&echo(&Ccr { services: &services, ..request() }, &STANDARD), &outcome, &STANDARD);
    let repeat = ccr_with(9, |ccr| {
        for proxy in ["b.example.net", "a.example.net"] {
            ccr.grouped(AvpCode::PROXY_INFO, |info| {
                info.utf8(AvpCode::PROXY_HOST, proxy);
                info.octets(AvpCode::PROXY_STATE, &[1, 2, 3]);
            });
        }
    });
    let echo = {
        let message = Message::parse(&repeat).unwrap();
        let now = Timestamp::from_seconds(1_795_309_200);
        let request = parse(&message, now, &ServiceContexts::default(), &mut Names::default()).unwrap();
        request.into_command(SubscriberId::new(1), &STANDARD).1
    };
    let second = answer(&echo, &outcome, &STANDARD);
    let (first, second) = (Message::parse(&first).unwrap(), Message::parse(&second).unwrap());
    assert_eq!((first.header().hop_by_hop, second.header().hop_by_hop), (3, 9));
    assert_eq!((first.header().end_to_end, second.header().end_to_end), (0x5a10_0003, 0x5a10_0009));
    let services =
        |message: &Message<'_>| message.find(AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL).unwrap().data.to_vec();
    assert_eq!(services(&first), services(&second));
    let proxies = |message: &Message<'_>| -> Vec<Vec<u8>> {
        let avps = message.avps().map(|avp| avp.unwrap()).filter(|avp| avp.code == AvpCode::PROXY_INFO);
        avps.map(|avp| avp.data.to_vec()).collect()
    };
    assert_eq!(proxies(&second).len(), 2);
    assert_eq!(proxies(&second), proxies(&Message::parse(&repeat).unwrap()));
}
