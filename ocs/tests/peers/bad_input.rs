//! Whatever comes over the wire: a defect is answered with its own result code and the AVP at fault, or the connection
//! ends; nobody else notices, and no balance changes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::server::Ocs;
use crate::wire::*;

/// The subscriber that the bad requests are about; its balance must not change.
const VICTIM: u64 = 23;
/// The neighbour's subscriber: pays 0.02 a MiB as it goes, and has 5.00.
const NEIGHBOUR: u64 = 20;
const CLIENT: &str = "bad.example.net";

/// What becomes of a request.
pub(crate) enum Expect {
    /// A result code at command level, whether the E flag is set, and the octets inside Failed-AVP.
    Refused(u32, bool, Option<Vec<u8>>),
    /// 2001, and these codes in its MSCCs.
    Accepted(&'static [u32]),
}

use Expect::{Accepted, Refused};

/// A request that would debit one text message if nothing were wrong with it.
fn sms(session: &str) -> Request {
    Request::ccr(CLIENT, session, 4, 0)
        .instead(text(code::SERVICE_CONTEXT_ID, "14.32274@3gpp.org"))
        .with(number(code::REQUESTED_ACTION, 0))
        .with(demo(VICTIM))
}

/// The same with its unit in an MSCC.
fn sms_service(session: &str, members: &[Vec<u8>]) -> Request {
    sms(session).with(mscc(members))
}

fn one_event() -> Vec<u8> {
    group(code::REQUESTED_SERVICE_UNIT, &[long(code::CC_SERVICE_SPECIFIC_UNITS, 1)])
}

fn look(session: &str) -> Request {
    sms(session).instead(number(code::REQUESTED_ACTION, 2))
}

/// Requests on an open connection that survives them all, each with its name and what becomes of it.
pub(crate) fn table() -> Vec<(&'static str, Request, Expect)> {
    let mut cases = vec![
        // Flags, application, command.
        ("E in a request", Request { flags: REQUEST | PROXIABLE | ERROR, ..sms("b;e") }, Refused(3008, true, None)),
        ("P in a DWR", Request { flags: REQUEST | PROXIABLE, ..Request::base(CLIENT, DWR) }, Refused(3008, true, None)),
        ("Gx in place of Gy", Request { application: 16_777_238, ..sms("b;gx") }, Refused(3007, true, None)),
        ("Rf in place of Gy", Request { application: 3, command: ACR, ..sms("b;rf") }, Refused(3007, true, None)),
        ("CCR of the common application", Request { application: 0, ..sms("b;0") }, Refused(3001, true, None)),
        ("a command nobody knows", Request { command: 999, ..sms("b;999") }, Refused(3001, true, None)),
        ("RAR from a client", Request { command: RAR, ..sms("b;rar") }, Refused(3001, true, None)),
        // Where it goes.
        (
            "another realm",
            sms("b;realm").instead(text(code::DESTINATION_REALM, "elsewhere.example")),
            Refused(3003, true, None),
        ),
        (
            "another host",
            sms("b;host").with(text(code::DESTINATION_HOST, "ocs2.example.org")),
            Refused(3002, true, None),
        ),
        (
            "our own Route-Record",
            sms("b;loop").with(text(code::ROUTE_RECORD, "OCS.example.org")),
            Refused(3005, true, None),
        ),
        // Sessions.
        ("update of an unknown session", Request::ccr(CLIENT, "b;none", 2, 1), Refused(5002, false, None)),
        ("termination of an unknown session", Request::ccr(CLIENT, "b;none", 3, 1), Refused(5002, false, None)),
        (
            "STR, which ends nothing here",
            Request::new(PROXIABLE, STR, 4)
                .with(text(code::SESSION_ID, "b;str"))
                .with(text(code::ORIGIN_HOST, CLIENT))
                .with(text(code::ORIGIN_REALM, "example.net"))
                .with(text(code::DESTINATION_REALM, "example.org"))
                .with(number(code::AUTH_APPLICATION_ID, 4))
                .with(number(code::TERMINATION_CAUSE, 1)),
            Refused(5002, false, None),
        ),
        ("a second CER", Request::cer(CLIENT), Refused(5012, false, None)),
        // Who is meant.
        (
            "a subscriber nobody knows",
            sms("b;who").instead(subscription(1, "262019999999999")),
            Refused(5030, false, None),
        ),
        ("two subscribers at once", sms("b;two").with(subscription(0, "4917000000024")), Refused(5030, false, None)),
    ];
    cases.extend(lengths_and_flags());
    cases.extend(missing_and_too_many());
    cases.extend(values());
    cases
}

fn lengths_and_flags() -> Vec<(&'static str, Request, Expect)> {
    let group_member = |octets: Vec<u8>| sms_service("b;len", &[one_event(), octets]);
    let rating_group = number(code::RATING_GROUP, 0);
    let unknown = avp(9_999, b"what?");
    let other = raw_avp(77, VENDOR | MANDATORY, 16, Some(99_999), &[1, 2, 3, 4]);
    let vendor_zero = raw_avp(code::RATING_GROUP, VENDOR | MANDATORY, 16, Some(0), &[0, 0, 0, 1]);
    let wide = raw_avp(code::RATING_GROUP, MANDATORY, 16, None, &[0; 8]);
    let address = avp_3gpp(1228, &[0, 1, 127, 0]);
    let mut deep = Vec::new();
    for _ in 0..5_000 {
        deep = group(code::MULTIPLE_SERVICES_CREDIT_CONTROL, &[deep]);
    }
    vec![
        (
            "four octets left over",
            sms("b;cut").with(code::REQUESTED_ACTION.to_be_bytes().to_vec()),
            Refused(5014, false, Some(raw_avp(code::REQUESTED_ACTION, 0, 8, None, &[]))),
        ),
        (
            "an AVP longer than the message",
            sms("b;over").with(raw_avp(code::USER_NAME, MANDATORY, 4_000, None, b"user")),
            Refused(5014, false, Some(avp(code::USER_NAME, &[]))),
        ),
        (
            "an AVP longer than its group",
            group_member(raw_avp(code::RATING_GROUP, MANDATORY, 100, None, &[0; 4])),
            Refused(5014, false, Some(rating_group.clone())),
        ),
        (
            "an AVP shorter than its header",
            group_member(raw_avp(code::RATING_GROUP, MANDATORY, 4, None, &[0; 4])),
            Refused(5014, false, Some(rating_group.clone())),
        ),
        (
            "an AVP of length 0, which would never end",
            group_member(raw_avp(code::RATING_GROUP, MANDATORY, 0, None, &[0; 4])),
            Refused(5014, false, Some(rating_group)),
        ),
        ("an Unsigned32 of 8 octets", group_member(wide.clone()), Refused(5014, false, Some(wide))),
        (
            "an IPv4 address of 2 octets",
            sms("b;ip").with(avp_3gpp(code::SERVICE_INFORMATION, &avp_3gpp(874, &address))),
            Refused(5014, false, Some(address)),
        ),
        (
            "a group whose length is no multiple of 4",
            sms("b;group").with(raw_avp(code::MULTIPLE_SERVICES_CREDIT_CONTROL, MANDATORY, 10, None, &[0; 2])),
            Refused(5014, false, Some(avp(code::MULTIPLE_SERVICES_CREDIT_CONTROL, &[]))),
        ),
        ("V with vendor 0", group_member(vendor_zero.clone()), Refused(3009, true, Some(vendor_zero))),
        (
            "an unknown mandatory AVP",
            sms("b;unknown").with(unknown.clone()),
            Refused(5001, false, Some(unknown.clone())),
        ),
        (
            "an unknown mandatory AVP in a group, and another",
            group_member(unknown.clone()).with(other.clone()),
            Refused(5001, false, Some([unknown.clone(), other].concat())),
        ),
        (
            "a known code with the vendor of somebody else",
            sms("b;vendor").with(raw_avp(code::RATING_GROUP, VENDOR | MANDATORY, 16, Some(VENDOR_3GPP), &[0; 4])),
            Refused(5001, false, Some(avp_3gpp(code::RATING_GROUP, &[0; 4]))),
        ),
        ("groups in groups, 5,000 deep", sms("b;deep").with(deep), Refused(5012, false, None)),
        // What is only unusual.
        ("P cleared", Request { flags: REQUEST, ..look("g;p") }, Accepted(&[])),
        ("reserved flags", Request { flags: REQUEST | PROXIABLE | 0x0f, ..look("g;flags") }, Accepted(&[])),
        ("T set", Request { flags: REQUEST | PROXIABLE | RETRANSMITTED, ..look("g;t") }, Accepted(&[])),
        (
            "Destination-Host in capitals",
            look("g;host").with(text(code::DESTINATION_HOST, "OCS.EXAMPLE.ORG")),
            Accepted(&[]),
        ),
        (
            "a Route-Record of an agent",
            look("g;route").with(text(code::ROUTE_RECORD, "dra.example.net")),
            Accepted(&[]),
        ),
        ("an unknown AVP without M", look("g;m").with(raw_avp(9_999, 0, 12, None, b"what")), Accepted(&[])),
        (
            "an unknown group without M that holds unknown AVPs with it",
            look("g;group").with(raw_avp(20_300, VENDOR, 12 + length(&unknown), Some(2_011), &unknown)),
            Accepted(&[]),
        ),
        (
            "known AVPs without M",
            look("g;known").instead(raw_avp(code::REQUESTED_ACTION, 0, 12, None, &[0, 0, 0, 2])),
            Accepted(&[]),
        ),
        (
            "an MSISDN with its plus, besides the IMSI",
            look("g;plus").with(subscription(0, "+4917000000023")),
            Accepted(&[]),
        ),
        ("a Session-Id of 255 octets", look(&"g".repeat(255)), Accepted(&[])),
        (
            "Session-Id in the end",
            look("g;end").without(code::SESSION_ID).with(text(code::SESSION_ID, "g;end")),
            Accepted(&[]),
        ),
        ("64 MSCCs", look("g;64").with(mscc(&[one_event()]).repeat(64)), Accepted(&[2001; 64])),
        ("padding that is not 0", look("g;pad").with(b"\0\0\0\x01\x40\0\0\x0bjoe!".to_vec()), Accepted(&[])),
    ]
}

fn length(octets: &[u8]) -> u32 {
    u32::try_from(octets.len()).unwrap()
}

fn missing_and_too_many() -> Vec<(&'static str, Request, Expect)> {
    let missing = |code: u32, zeros: usize| Some(avp(code, &vec![0; zeros]));
    let too_many = |avp: &[u8], most: usize| sms_service("b;many", &[one_event(), avp.repeat(most + 1)]);
    let service = number(code::SERVICE_IDENTIFIER, 7);
    let report = used(1);
    let money = group(code::REQUESTED_SERVICE_UNIT, &[group(code::CC_MONEY, &[])]);
    let octets = long(code::CC_TOTAL_OCTETS, 1);
    let group_twice = [number(code::RATING_GROUP, 1), number(code::RATING_GROUP, 2)];
    let both = one_event();
    let service_unit = mscc(&[one_event()]);
    vec![
        ("no Session-Id", sms("b;m").without(code::SESSION_ID), Refused(5005, true, missing(code::SESSION_ID, 0))),
        ("no Origin-Host", sms("b;m").without(code::ORIGIN_HOST), Refused(5005, false, missing(code::ORIGIN_HOST, 0))),
        (
            "no Origin-Realm",
            sms("b;m").without(code::ORIGIN_REALM),
            Refused(5005, false, missing(code::ORIGIN_REALM, 0)),
        ),
        (
            "no Destination-Realm",
            sms("b;m").without(code::DESTINATION_REALM),
            Refused(5005, false, missing(code::DESTINATION_REALM, 0)),
        ),
        (
            "no Auth-Application-Id",
            sms("b;m").without(code::AUTH_APPLICATION_ID),
            Refused(5005, false, missing(code::AUTH_APPLICATION_ID, 4)),
        ),
        (
            "no Service-Context-Id",
            sms("b;m").without(code::SERVICE_CONTEXT_ID),
            Refused(5005, false, missing(code::SERVICE_CONTEXT_ID, 0)),
        ),
        (
            "no CC-Request-Type",
            sms("b;m").without(code::CC_REQUEST_TYPE),
            Refused(5005, true, missing(code::CC_REQUEST_TYPE, 4)),
        ),
        (
            "no CC-Request-Number",
            sms("b;m").without(code::CC_REQUEST_NUMBER),
            Refused(5005, true, missing(code::CC_REQUEST_NUMBER, 4)),
        ),
        (
            "an event without Requested-Action",
            sms("b;m").without(code::REQUESTED_ACTION),
            Refused(5005, false, missing(code::REQUESTED_ACTION, 4)),
        ),
        (
            "nobody to charge",
            sms("b;m").without(code::SUBSCRIPTION_ID),
            Refused(5005, false, missing(code::SUBSCRIPTION_ID, 0)),
        ),
        (
            "a Subscription-Id without data",
            sms("b;m").instead(group(code::SUBSCRIPTION_ID, &[number(code::SUBSCRIPTION_ID_TYPE, 1)])),
            Refused(5005, false, missing(code::SUBSCRIPTION_ID_DATA, 0)),
        ),
        ("money without a value", sms_service("b;m", &[money]), Refused(5005, false, missing(code::UNIT_VALUE, 0))),
        (
            "DWR without Origin-Host",
            Request::base(CLIENT, DWR).without(code::ORIGIN_HOST),
            Refused(5005, false, missing(code::ORIGIN_HOST, 0)),
        ),
        (
            "CC-Request-Number twice",
            sms("b;twice").with(number(code::CC_REQUEST_NUMBER, 5)),
            Refused(5009, false, Some(number(code::CC_REQUEST_NUMBER, 5))),
        ),
        (
            "Session-Id twice",
            sms("b;twice").with(text(code::SESSION_ID, "b;other")),
            Refused(5009, false, Some(text(code::SESSION_ID, "b;other"))),
        ),
        (
            "Rating-Group twice in one MSCC",
            sms_service("b;twice", &group_twice),
            Refused(5009, false, Some(number(code::RATING_GROUP, 2))),
        ),
        (
            "the same unit twice",
            sms_service("b;twice", &[group(code::REQUESTED_SERVICE_UNIT, &[octets.clone(), octets.clone()])]),
            Refused(5009, false, Some(octets)),
        ),
        ("17 Service-Identifiers in one MSCC", too_many(&service, 16), Refused(5009, false, Some(service))),
        ("33 reports in one MSCC", too_many(&report, 32), Refused(5009, false, Some(report))),
        ("65 MSCCs", sms("b;65").with(service_unit.repeat(65)), Refused(5009, false, Some(service_unit.clone()))),
        (
            "units in an MSCC and at command level",
            sms("b;both").with(both.clone()).with(service_unit.clone()),
            Refused(5007, false, Some([both, service_unit].concat())),
        ),
    ]
}

fn values() -> Vec<(&'static str, Request, Expect)> {
    let value = |name, avp: Vec<u8>| (name, sms("b;value").instead(avp.clone()), Refused(5004, false, Some(avp)));
    let debt = {
        let digits = long(code::VALUE_DIGITS, (-5_i64).cast_unsigned());
        group(code::CC_MONEY, &[group(code::UNIT_VALUE, &[digits])])
    };
    let change = number(code::TARIFF_CHANGE_USAGE, 3);
    let report = group(code::USED_SERVICE_UNIT, &[long(code::CC_SERVICE_SPECIFIC_UNITS, 1), change.clone()]);
    let long_id = "s".repeat(256);
    let refund = avp_3gpp(code::REFUND_INFORMATION, b"not one of yours");
    let forged = avp_3gpp(code::REFUND_INFORMATION, b"\x01some;other;session");
    let back = |session| sms(session).instead(number(code::REQUESTED_ACTION, 1));
    vec![
        value("CC-Request-Type 9", number(code::CC_REQUEST_TYPE, 9)),
        value("CC-Request-Type 0", number(code::CC_REQUEST_TYPE, 0)),
        value("Auth-Application-Id 3", number(code::AUTH_APPLICATION_ID, 3)),
        value("Requested-Action 7", number(code::REQUESTED_ACTION, 7)),
        value("an event of 1968", number(code::EVENT_TIMESTAMP, 0x8000_0000)),
        value("an event of 1900, which is 2036 on the wire", number(code::EVENT_TIMESTAMP, 0)),
        value("an event of 2100", number(code::EVENT_TIMESTAMP, 2_016_466_304)),
        value("an event of 31 days ago", number(code::EVENT_TIMESTAMP, ntp_now() - 31 * 86_400)),
        value("a Session-Id with a zero octet", text(code::SESSION_ID, "b\0c")),
        value("an empty Session-Id", text(code::SESSION_ID, "")),
        value("a Session-Id of 256 octets", text(code::SESSION_ID, &long_id)),
        value("a Service-Context-Id that is no UTF-8", avp(code::SERVICE_CONTEXT_ID, &[0xff, 0xfe])),
        (
            "money below zero",
            sms_service("b;debt", &[group(code::REQUESTED_SERVICE_UNIT, std::slice::from_ref(&debt))]),
            Refused(5004, false, Some(debt)),
        ),
        ("Tariff-Change-Usage 3", sms_service("b;change", &[report]), Refused(5004, false, Some(change))),
        (
            "a service nobody prices",
            sms("b;context").instead(text(code::SERVICE_CONTEXT_ID, "14.32271@3gpp.org")),
            Refused(5031, false, Some(text(code::SERVICE_CONTEXT_ID, "14.32271@3gpp.org"))),
        ),
        (
            "money in another currency",
            sms_service("b;usd", &[group(code::REQUESTED_SERVICE_UNIT, &[dollars()])]),
            Refused(5031, false, Some(text(code::SERVICE_CONTEXT_ID, "14.32274@3gpp.org"))),
        ),
        ("a refund of nothing", back("b;refund"), Refused(5005, false, Some(avp_3gpp(code::REFUND_INFORMATION, &[])))),
        ("a refund with a foreign reference", back("b;ref").with(refund.clone()), Refused(5004, false, Some(refund))),
        (
            "a refund of a charge that never was",
            back("b;ref2").with(forged.clone()),
            Refused(5004, false, Some(forged)),
        ),
        (
            "more messages than anybody can pay",
            sms_service(
                "b;dear",
                &[group(code::REQUESTED_SERVICE_UNIT, &[long(code::CC_SERVICE_SPECIFIC_UNITS, 1_000)])],
            ),
            Refused(4012, false, None),
        ),
    ]
}

fn dollars() -> Vec<u8> {
    let value = group(code::UNIT_VALUE, &[long(code::VALUE_DIGITS, 1)]);
    group(code::CC_MONEY, &[value, number(425, 840)])
}

/// Sends one case and compares.
pub(crate) fn check(connection: &mut Connection, name: &str, request: &Request, expect: &Expect) {
    let answer = connection.ask(request);
    let seen = format!("{name}: {answer:?}");
    match expect {
        Refused(code, error, failed) => {
            assert_eq!(answer.result(), *code, "{seen}");
            assert_eq!(answer.flags() & ERROR != 0, *error, "E of {seen}");
            assert_eq!(answer.failed(), failed.as_deref(), "Failed-AVP of {seen}");
        }
        Accepted(services) => {
            assert_eq!((answer.result(), answer.flags() & ERROR), (2001, 0), "{seen}");
            assert_eq!(answer.service_results(), *services, "{seen}");
        }
    }
    assert_eq!(answer.flags() & PROXIABLE, request.flags & PROXIABLE, "P of {seen}");
    assert_eq!(answer.octets[5..8], request.command.to_be_bytes()[1..], "command of {seen}");
    assert_eq!(answer.octets[8..12], request.application.to_be_bytes(), "application of {seen}");
}

/// A session beside the one that misbehaves: reports 1,000 KiB again and again until told to stop, and checks at the end
/// that every octet was charged once.
fn neighbour(ocs: &Ocs, there: &Sender<()>, enough: &AtomicBool) {
    let before = ocs.micros("20", "balance");
    let mut connection = Connection::open(ocs.gy, "good.example.net");
    let session = "good.example.net;1;1";
    let service = |members: &[Vec<u8>]| mscc(&[&[number(code::RATING_GROUP, 1)], members].concat());
    let request = connection.ccr(session, 1, 0).with(demo(NEIGHBOUR)).with(service(&[requested(None)]));
    assert_eq!(connection.ask(&request).service_results(), [2001]);
    there.send(()).unwrap();
    let mut reports = 0;
    while !(enough.load(Ordering::Acquire) && reports > 0) && reports < 200 {
        reports += 1;
        let report = service(&[used(1_024_000), requested(Some(2 << 20))]);
        let answer = connection.ask(&connection.ccr(session, 2, reports).with(report));
        assert_eq!((answer.result(), answer.service_results()), (2001, vec![2001]), "{answer:?}");
        assert_eq!(answer.granted(), Some(2 << 20));
        std::thread::sleep(Duration::from_millis(20));
    }
    let answer = connection.ask(&connection.ccr(session, 3, reports + 1));
    assert_eq!(answer.result(), 2001);
    connection.disconnect();
    // 0.02 a MiB, rounded half up to four decimals.
    let cost = (i64::from(reports) * 19_531_250 / 1_000 + 50) / 100 * 100;
    assert_eq!(before - ocs.micros("20", "balance"), cost, "{reports} reports");
    assert_eq!(ocs.micros("20", "reserved"), 0);
}

/// Runs `work` beside a neighbour.
fn beside_a_neighbour(ocs: &Ocs, work: impl FnOnce()) {
    /// Also when `work` fails: or the neighbour would go on.
    struct Enough<'a>(&'a AtomicBool);
    impl Drop for Enough<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let enough = AtomicBool::new(false);
    let (there, arrived) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let enough = &enough;
        scope.spawn(move || neighbour(ocs, &there, enough));
        // An error when it failed before; the scope will say so.
        let _ = arrived.recv();
        let _enough = Enough(enough);
        work();
    });
}

/// Every defect is told by its own code, with the AVP at fault; the connection goes on, a neighbour's session goes on,
/// and the subscriber meant by the bad requests pays nothing.
#[test]
fn a_defect_is_told_exactly_and_harms_nobody() {
    let ocs = Ocs::dev();
    let before = ocs.account("23");
    beside_a_neighbour(&ocs, || {
        let mut connection = Connection::open(ocs.gy, CLIENT);
        for (name, request, expect) in table() {
            check(&mut connection, name, &request, &expect);
        }
        assert!(connection.lives());
        // An answer to nothing is nobody's business.
        let stray = Request { flags: PROXIABLE, ..Request::ccr(CLIENT, "b;stray", 1, 0) };
        connection.send(&stray.octets());
        assert!(connection.lives());
        connection.disconnect();
        endings(&ocs);
    });
    assert_eq!(ocs.account("23"), before);
    ocs.stop_and_audit();
}

/// What ends a connection: at once, or after an answer that says why.
fn endings(ocs: &Ocs) {
    // What is no sequence of messages cannot be resumed: told, then closed.
    for (name, request, expected) in [
        ("version 2", Request { version: 2, ..sms("b;v") }, 5011),
        ("a length of 16", Request { length: Some(16), ..sms("b;16") }, 5015),
        ("a length that is no multiple of 4", Request { length: Some(101), ..sms("b;101") }, 5015),
        ("16 MiB to come", Request { length: Some(0x00ff_fffc), ..sms("b;16m") }, 5015),
    ] {
        let mut connection = Connection::open(ocs.gy, "framing.example.net");
        let answer = connection.ask(&request);
        assert_eq!((answer.result(), answer.flags() & ERROR), (expected, ERROR), "{name}: {answer:?}");
        assert!(connection.hear().is_none(), "{name}: closed");
    }
    // A charging request, a watchdog or noise before CER: closed without a word.
    let noise = b"GET / HTTP/1.1\r\nHost: ocs.example.org\r\n\r\n".to_vec();
    for (name, octets) in
        [("CCR", sms("b;first").octets()), ("DWR", Request::base(CLIENT, DWR).octets()), ("HTTP", noise)]
    {
        let mut connection = Connection::silent(ocs.gy, CLIENT);
        connection.send(&octets);
        assert!(connection.hear().is_none(), "{name} before CER");
    }
    // A CER that cannot be accepted: told why, then closed.
    let other_application = number(code::AUTH_APPLICATION_ID, 16_777_238);
    for (name, cer, expected) in [
        ("Gx only", Request::cer(CLIENT).instead(other_application), 5010),
        ("in-band TLS only", Request::cer(CLIENT).with(number(code::INBAND_SECURITY_ID, 1)), 5017),
        ("our own name", Request::cer("OCS.example.org"), 3010),
        ("no Origin-Host", Request::cer(CLIENT).without(code::ORIGIN_HOST), 5005),
        ("no Product-Name", Request::cer(CLIENT).without(code::PRODUCT_NAME), 5005),
        ("P set", Request { flags: REQUEST | PROXIABLE, ..Request::cer(CLIENT) }, 3008),
    ] {
        let mut connection = Connection::silent(ocs.gy, CLIENT);
        let cea = connection.ask(&cer);
        assert_eq!(cea.result(), expected, "{name}: {cea:?}");
        assert!(connection.hear().is_none(), "{name}: closed");
    }
    // Gy offered the vendor-specific way, as many gateways do, or by a relay.
    let vendor = [number(code::VENDOR_ID, VENDOR_3GPP), number(code::AUTH_APPLICATION_ID, 4)];
    let specific = group(code::VENDOR_SPECIFIC_APPLICATION_ID, &vendor);
    for cer in [
        Request::cer(CLIENT).without(code::AUTH_APPLICATION_ID).with(specific),
        Request::cer(CLIENT).instead(number(code::AUTH_APPLICATION_ID, u32::MAX)),
    ] {
        let mut connection = Connection::silent(ocs.gy, CLIENT);
        assert_eq!(connection.ask(&cer).result(), 2001);
        connection.disconnect();
    }
    // One peer has one connection: a second one is turned away, the first goes on.
    let mut first = Connection::open(ocs.gy, "twice.example.net");
    let mut second = Connection::silent(ocs.gy, "twice.example.net");
    second.send(&Request::cer("TWICE.example.net").octets());
    assert!(second.hear().is_none_or(|cea| cea.result() != 2001), "the second connection of one peer");
    assert!(first.lives());
}

/// Ten thousand requests in one breath are answered one by one, what is under way with success, new work with that or, if
/// it is too much at a time, the advice to try another server; a request that comes octet by octet is a request.
#[test]
fn a_flood_and_a_trickle_are_answered_in_full() {
    const FLOOD: u32 = 10_000;
    let ocs = Ocs::dev();
    let before = ["balance", "reserved"].map(|member| ocs.micros("23", member));
    beside_a_neighbour(&ocs, || {
        let mut connection = Connection::open(ocs.gy, CLIENT);
        assert_eq!(connection.ask(&connection.ccr("flood", 1, 0).with(demo(VICTIM))).result(), 2001);
        let updates = (1..=FLOOD).map(|count| connection.ccr("flood", 2, count)).collect::<Vec<_>>();
        let looks = (0..FLOOD).map(|at| look(&format!("flood;{at}"))).collect::<Vec<_>>();
        for (requests, may_be_shed) in [(updates, false), (looks, true)] {
            let requests: Vec<_> = requests.iter().map(Request::octets).collect();
            let mut missing: BTreeSet<_> = requests.iter().map(|octets| octets[12..20].to_vec()).collect();
            let mut sender = connection.stream.try_clone().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(move || std::io::Write::write_all(&mut sender, &requests.concat()).unwrap());
                for _ in 0..FLOOD {
                    let answer = connection.hear().unwrap();
                    let shed = answer.result() == 3002 && answer.flags() & ERROR != 0;
                    assert!(answer.result() == 2001 || may_be_shed && shed, "{answer:?}");
                    assert!(missing.remove(answer.ids()), "answered twice");
                }
            });
            assert!(missing.is_empty() && connection.lives());
        }
        assert_eq!(connection.ask(&connection.ccr("flood", 3, FLOOD + 1)).result(), 2001);

        let octets = look("trickle").octets();
        for size in [1, 3, 19, 21] {
            for part in octets.chunks(size) {
                connection.send(part);
                std::thread::sleep(Duration::from_micros(200));
            }
            assert_eq!(connection.hear().unwrap().result(), 2001, "in pieces of {size}");
        }
        // Who does not read is not read from, and that is all that happens to it.
        let mut deaf = Connection::open(ocs.gy, "deaf.example.net");
        deaf.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let breath = octets.repeat(1_000);
        let blocked = (0..1_000).any(|_| std::io::Write::write_all(&mut deaf.stream, &breath).is_err());
        assert!(blocked, "1,000,000 answers are kept for somebody who does not read");
        assert!(connection.lives());

        // Two and a half messages in one segment, the rest later.
        let (whole, half) = (octets.repeat(2), octets.split_at(octets.len() / 2));
        connection.send(&[&whole, half.0].concat());
        assert_eq!([(), ()].map(|()| connection.hear().unwrap().result()), [2001, 2001]);
        connection.send(half.1);
        assert_eq!(connection.hear().unwrap().result(), 2001);
        connection.disconnect();
    });
    assert_eq!(["balance", "reserved"].map(|member| ocs.micros("23", member)), before);
    ocs.stop_and_audit();
}

/// A request is charged once: its repeat gets the answer again, other units under its name are refused. A refund gives
/// back what was charged, once and no more. What cannot have been used is not charged.
#[test]
fn money_moves_once_or_not_at_all() {
    let ocs = Ocs::dev();
    let mut connection = Connection::open(ocs.gy, CLIENT);
    let service = |members: &[Vec<u8>]| mscc(&[&[number(code::RATING_GROUP, 1)], members].concat());
    let paid = |ocs: &Ocs| 8_000_000 - ocs.micros("23", "balance");

    let opening = connection.ccr("once;1", 1, 0).with(demo(VICTIM)).with(service(&[requested(None)]));
    assert_eq!(connection.ask(&opening).granted(), Some(10 << 20));
    let report = connection.ccr("once;1", 2, 1).with(service(&[used(5 << 20), requested(Some(10 << 20))]));
    let first = connection.ask(&report);
    assert_eq!(first.granted(), Some(10 << 20));
    // 5 MiB are 51.2 pulses of 100 KiB: 52 of them.
    let cost = 101_600;
    assert_eq!(paid(&ocs), cost);
    let repeat = Request { flags: REQUEST | PROXIABLE | RETRANSMITTED, ..report };
    assert_eq!(connection.ask(&repeat).avps, first.avps, "a repeat gets the same answer");
    let other = connection.ccr("once;1", 2, 1).with(service(&[used(6 << 20), requested(Some(10 << 20))]));
    assert_eq!(connection.ask(&other).result(), 5012, "other units under the same name");
    assert_eq!(paid(&ocs), cost);

    for (count, octets) in [(2, u64::MAX), (3, 1 << 62), (4, 1 << 50)] {
        let absurd = connection.ccr("once;1", 2, count).with(service(&[used(octets), requested(Some(1 << 20))]));
        let answer = connection.ask(&absurd);
        assert_eq!((answer.result(), answer.service_results()), (2001, vec![5031]), "{octets}: {answer:?}");
        assert_eq!(answer.failed(), Some(&number(code::RATING_GROUP, 1)[..]));
    }
    let split = [long(code::CC_TOTAL_OCTETS, 1), long(code::CC_OUTPUT_OCTETS, u64::MAX)];
    let split = connection.ccr("once;1", 2, 5).with(service(&[group(code::USED_SERVICE_UNIT, &split)]));
    assert_eq!(connection.ask(&split).result(), 2001);
    assert_eq!(connection.ask(&connection.ccr("once;1", 3, 6)).result(), 2001);
    assert_eq!(ocs.micros("23", "reserved"), 0);

    let start = paid(&ocs);
    let debit = connection.ask(&sms_service("once;sms", &[one_event()]));
    assert_eq!(debit.result(), 2001);
    let reference = debit.services()[0].find(code::REFUND_INFORMATION).unwrap();
    assert_eq!(paid(&ocs) - start, 90_000);
    let back = |session: &str, units: u64| {
        let units = group(code::REQUESTED_SERVICE_UNIT, &[long(code::CC_SERVICE_SPECIFIC_UNITS, units)]);
        let named = avp_3gpp(code::REFUND_INFORMATION, &reference.data);
        let request = sms_service(session, &[units.clone(), named]).instead(number(code::REQUESTED_ACTION, 1));
        (request, units)
    };
    let (beyond, units) = back("once;back1", 2);
    check(&mut connection, "a refund of two for one", &beyond, &Refused(5004, false, Some(units)));
    assert_eq!(paid(&ocs) - start, 90_000);
    let (all, _) = back("once;back2", 1);
    assert_eq!(connection.ask(&all).result(), 2001);
    assert_eq!(paid(&ocs), start);
    assert_eq!(connection.ask(&all).result(), 2001, "a repeat");
    let (again, units) = back("once;back3", 1);
    check(&mut connection, "the same refund again", &again, &Refused(5004, false, Some(units)));
    assert_eq!(paid(&ocs), start);
    connection.disconnect();
    ocs.stop_and_audit();
}
