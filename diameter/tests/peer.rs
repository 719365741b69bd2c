//! Stories of one connection, told with a clock that is moved by hand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::time::Duration;

use diameter::avp::Address;
use diameter::peer::{DisconnectCause, PENDING_REQUESTS_MAX};
use diameter::{
    AvpCode, CommandCode, DecodeError, Event, Flags, FramingError, Message, PeerFacts, Reason, RequestError,
    ResultCode, UnknownAvps,
};
use support::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_cer_opens_the_connection() {
    let mut world = World::new(local());
    assert!(world.receive(&cer()).is_empty());
    let facts = PeerFacts {
        host: "pgw01.example.net".into(),
        realm: "example.net".into(),
        product: "demo-pgw".into(),
        vendor: 10415,
        firmware: None,
        origin_state: Some(17),
    };
    assert_eq!(world.events(), [Event::Opened(facts.clone())]);
    assert_eq!(world.peer.facts(), Some(&facts));
    assert!(world.peer.is_okay());
    let cea = world.sent_one();
    assert_eq!(verdict(&cea), (2001, false, None));
    diameter::validate::check_message_grammar(&Message::parse(&cea).unwrap()).unwrap();
}

#[test]
fn the_application_may_be_offered_in_several_ways() {
    let vendor_specific = cer_with(|cer| {
        cer.grouped(AvpCode::VENDOR_SPECIFIC_APPLICATION_ID, |offer| {
            offer.u32(AvpCode::VENDOR_ID, 10415);
            offer.u32(AvpCode::AUTH_APPLICATION_ID, 4);
        });
    });
    let relay = cer_with(|cer| cer.u32(AvpCode::AUTH_APPLICATION_ID, 0xffff_ffff));
    let accounting = cer_with(|cer| cer.u32(AvpCode::ACCT_APPLICATION_ID, 4));
    for cer in [vendor_specific, relay, accounting] {
        let mut world = World::new(local());
        let _ = world.receive(&cer);
        assert!(matches!(world.events()[..], [Event::Opened(_)]));
    }
}

/// A CER that is refused: what the peer hears, and that the connection ends.
fn check_refused(local: diameter::Local, cer: &[u8], code: u32, error_flag: bool) {
    let mut world = World::new(local);
    assert!(world.receive(cer).is_empty());
    let (told, flag, _) = verdict(&world.sent_one());
    assert_eq!((told, flag), (code, error_flag));
    assert_eq!(
        world.events(),
        [Event::Closed(Reason::Refused { code: ResultCode(code), host: "pgw01.example.net".into() })]
    );
    assert!(world.receive(&ccr(1)).is_empty());
    assert!(world.sent().is_empty());
    assert_eq!(world.peer.poll_timeout(), None);
}

#[test]
fn a_cer_without_our_application_is_refused() {
    check_refused(local(), &cer_with(|cer| cer.u32(AvpCode::AUTH_APPLICATION_ID, 16_777_238)), 5010, false);
    check_refused(local(), &cer_with(|_| {}), 5010, false);
}

#[test]
fn an_unknown_peer_is_refused() {
    let mut list = local();
    list.allowed_peers = Some(vec!["other.example.net".into()]);
    check_refused(list.clone(), &cer(), 3010, true);
    list.allowed_peers = Some(vec!["PGW01.example.NET".into()]);
    let _ = World::open(list);
    let mut same_name = local();
    same_name.identity.host = "pgw01.example.net".into();
    check_refused(same_name, &cer(), 3010, true);
}

#[test]
fn a_peer_that_insists_on_tls_in_band_is_refused() {
    let offering = |offers: &'static [u32]| {
        cer_with(|cer| {
            cer.u32(AvpCode::AUTH_APPLICATION_ID, 4);
            offers.iter().for_each(|offer| cer.u32(AvpCode::INBAND_SECURITY_ID, *offer));
        })
    };
    check_refused(local(), &offering(&[1]), 5017, false);
    let mut world = World::new(local());
    let _ = world.receive(&offering(&[1, 0]));
    assert!(matches!(world.events()[..], [Event::Opened(_)]));
}

#[test]
fn a_cer_with_a_proxiable_flag_is_refused() {
    let mut cer = cer();
    cer[4] |= Flags::PROXIABLE.octet();
    check_refused(local(), &cer, 3008, true);
}

#[test]
fn an_incomplete_cer_is_refused_with_what_is_missing() {
    let mut world = World::new(local());
    let cer = base(CommandCode::CAPABILITIES_EXCHANGE, 1, |cer| cer.u32(AvpCode::AUTH_APPLICATION_ID, 4));
    assert!(world.receive(&cer).is_empty());
    assert_eq!(verdict(&world.sent_one()), (5005, false, Some(unhex("0000010a 4000000c 00000000"))));
    let missing = DecodeError::MissingAvp { code: AvpCode::VENDOR_ID };
    assert_eq!(world.events(), [Event::Closed(Reason::BadCer(missing))]);
}

#[test]
fn a_defective_cer_is_refused_with_what_is_wrong() {
    for (hex, code, error_flag) in [
        ("00000102 4000000d 0000000400 000000", 5014, false),
        ("00000102 c0000010 00000000 00000004", 3009, true),
        ("00ffffff 40000008", 5001, false),
    ] {
        let mut world = World::new(local());
        assert!(world.receive(&cer_with(|cer| cer.encoded(&unhex(hex)))).is_empty());
        assert_eq!(verdict(&world.sent_one()), (code, error_flag, Some(unhex(hex))));
        assert!(matches!(world.events()[..], [Event::Closed(Reason::BadCer(_))]));
    }
}

/// Whoever gives itself no name, or one that would break a line of a log, is told so.
#[test]
fn a_peer_has_a_name() {
    let named = |code: AvpCode, name: &str| {
        let (host, realm) =
            if code == AvpCode::ORIGIN_HOST { (name, "example.net") } else { ("pgw01.example.net", name) };
        build(message_header(CommandCode::CAPABILITIES_EXCHANGE, 0, 1), |cer| {
            cer.utf8(AvpCode::ORIGIN_HOST, host);
            cer.utf8(AvpCode::ORIGIN_REALM, realm);
            cer.address(AvpCode::HOST_IP_ADDRESS, Address::Ip([192, 0, 2, 10].into()));
            cer.u32(AvpCode::VENDOR_ID, 10415);
            cer.utf8(AvpCode::PRODUCT_NAME, "two\nlines");
            cer.u32(AvpCode::AUTH_APPLICATION_ID, 4);
        })
    };
    for code in [AvpCode::ORIGIN_HOST, AvpCode::ORIGIN_REALM] {
        for name in ["", "pgw 01", "pgw01\nINFO peer closed", "pgw01.exämple.net", &"a".repeat(256)] {
            let mut world = World::new(local());
            assert!(world.receive(&named(code, name)).is_empty());
            let (result, _, failed) = verdict(&world.sent_one());
            assert_eq!(result, 5004, "{name:?}");
            assert!(failed.is_some_and(|failed| failed.starts_with(&code.code.to_be_bytes())), "{name:?}");
            assert!(matches!(world.events()[..], [Event::Closed(Reason::BadCer(_))]), "{name:?}");
        }
        let mut world = World::new(local());
        assert!(world.receive(&named(code, &"a".repeat(255))).is_empty());
        let events = world.events();
        assert!(matches!(&events[..], [Event::Opened(facts)] if facts.product == "twolines"), "{events:?}");
    }
}

/// A CCR that ends anywhere, or has any of its octets wrong, gets one answer or is handed out: never both, never neither.
#[test]
fn a_request_cut_or_damaged_anywhere() {
    let whole = ccr(2);
    let mut damaged: Vec<Vec<u8>> = (20..whole.len())
        .map(|end| {
            // Up to three octets behind the cut make it a message again.
            let mut cut = whole[..end].to_vec();
            cut.resize(end.next_multiple_of(4), 0);
            let length = u32::try_from(cut.len()).unwrap().to_be_bytes();
            cut[1..4].copy_from_slice(&length[1..]);
            cut
        })
        .collect();
    for at in 20..whole.len() {
        damaged.extend([0, 1, 0x7f, 0x80, 0xff].map(|octet| edited(whole.clone(), |request| request[at] = octet)));
    }
    let mut world = World::open(local());
    for octets in damaged {
        let handed_out = world.receive(&octets).len();
        let answers = world.sent();
        assert_eq!(handed_out + answers.len(), 1, "{octets:02x?}");
        for answer in answers {
            let message = Message::parse(&answer).unwrap();
            assert!(message.avps().all(|avp| avp.is_ok()), "{octets:02x?}");
            assert!(verdict(&answer).0 >= 3000);
        }
    }
    assert!(world.peer.is_okay());
}

#[test]
fn anything_before_the_cer_ends_the_connection() {
    for first in [ccr(1), dwr(1), dpr(1)] {
        let mut world = World::new(local());
        assert!(world.receive(&first).is_empty());
        assert_eq!(world.events(), [Event::Closed(Reason::NotCer)]);
        assert!(world.sent().is_empty());
    }
    let mut world = World::new(local());
    assert!(world.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_empty());
    assert_eq!(world.events(), [Event::Closed(Reason::Framing(FramingError::Version { version: b'G' }))]);
    assert!(world.sent().is_empty());
}

#[test]
fn no_cer_in_time_ends_the_connection() {
    let mut world = World::new(local());
    assert_eq!(world.wait(), 10 * SECOND);
    assert_eq!(world.events(), [Event::Closed(Reason::NoCer)]);
}

#[test]
fn a_second_cer_is_refused_and_changes_nothing() {
    let mut world = World::open(local());
    assert!(world.receive(&cer()).is_empty());
    assert_eq!(verdict(&world.sent_one()).0, 5012);
    assert_eq!(world.events(), []);
    assert_eq!(world.receive(&ccr(2)), [ccr(2)]);
}

#[test]
fn a_peer_with_another_connection_is_rejected_without_a_word() {
    let mut world = World::new(local());
    let _ = world.receive(&cer());
    assert!(matches!(world.events()[..], [Event::Opened(_)]));
    world.peer.reject();
    assert_eq!(world.events(), [Event::Closed(Reason::Rejected)]);
    assert!(world.sent().is_empty());
}

#[test]
fn requests_come_out_whole_wherever_the_stream_is_cut() {
    let stream = [ccr(2), dwr(3), ccr(4), ccr(5)].concat();
    for cut in 0..stream.len() {
        let mut world = World::open(local());
        let (first, _) = stream.split_at(cut);
        let mut input = first;
        let mut requests = 0;
        while let Some(handled) = world.peer.handle_input(&mut input, world.now) {
            requests += usize::from(matches!(handled, diameter::Handled::Request(_)));
        }
        let taken = first.len() - input.len();
        requests += world.receive(&stream[taken..]).len();
        assert_eq!(requests, 3);
        assert_eq!(verdict(&world.sent_one()).0, 2001);
    }
}

#[test]
fn a_silent_peer_is_asked_then_suspected_then_closed() {
    let mut world = World::open(local());
    let around_30 = 28 * SECOND..=32 * SECOND;
    assert!(around_30.contains(&world.wait()));
    let dwr = world.sent_one();
    assert_eq!(Message::parse(&dwr).unwrap().header().command, CommandCode::DEVICE_WATCHDOG);
    diameter::validate::check_message_grammar(&Message::parse(&dwr).unwrap()).unwrap();
    assert!(world.peer.is_okay());
    assert!(around_30.contains(&world.wait()));
    assert_eq!(world.events(), [Event::Suspect]);
    assert!(!world.peer.is_okay());
    assert!(around_30.contains(&world.wait()));
    assert_eq!(world.events(), [Event::Closed(Reason::Silent)]);
    assert!(world.sent().is_empty());
}

#[test]
fn any_message_ends_suspicion_and_silence() {
    let mut world = World::open(local());
    world.wait();
    world.wait();
    assert_eq!(world.events(), [Event::Suspect]);
    assert_eq!(world.sent().len(), 1);
    assert_eq!(world.receive(&ccr(2)).len(), 1);
    assert_eq!(world.events(), [Event::Recovered]);
    // The DWR is still without its answer: the next silence leads to suspicion at once (RFC 3539 3.4.1).
    world.wait();
    assert_eq!(world.events(), [Event::Suspect]);
    let dwa = answer_to(&{
        let mut other = World::open(local());
        other.wait();
        other.sent_one()
    });
    assert!(world.receive(&dwa).is_empty());
    assert_eq!(world.events(), [Event::Recovered]);
    // With it answered, silence leads to another DWR.
    world.wait();
    assert_eq!(world.events(), []);
    assert_eq!(world.sent().len(), 1);
}

#[test]
fn traffic_keeps_the_watchdog_quiet() {
    let mut world = World::open(local());
    for ids in 2..20 {
        world.now += 20 * SECOND;
        world.peer.handle_timeout(world.now);
        assert_eq!(world.receive(&ccr(ids)).len(), 1);
    }
    assert!(world.sent().is_empty());
}

#[test]
fn a_dwr_is_answered_while_requests_wait() {
    let mut world = World::open(local());
    let requests = world.receive(&[ccr(2), ccr(3), dwr(4), ccr(5)].concat());
    assert_eq!(requests, [ccr(2), ccr(3), ccr(5)]);
    let dwa = world.sent_one();
    assert_eq!(verdict(&dwa), (2001, false, None));
    assert_eq!(Message::parse(&dwa).unwrap().header().hop_by_hop, 4);
}

#[test]
fn the_peer_disconnects() {
    let mut world = World::open(local());
    assert_eq!(world.receive(&[ccr(2), dpr(3), ccr(4)].concat()), [ccr(2)]);
    let sent = world.sent();
    assert_eq!(sent.iter().map(|answer| verdict(answer).0).collect::<Vec<_>>(), [2001, 3002]);
    assert_eq!(world.events(), [Event::Disconnecting { cause: 2 }]);
    let mut left_to_us = World::open(local());
    let _ = left_to_us.receive(&dpr(3));
    assert_eq!(left_to_us.wait(), 5 * SECOND);
    assert_eq!(left_to_us.events()[1..], [Event::Closed(Reason::DisconnectedByPeer { cause: 2 })]);
    world.peer.connection_lost();
    assert_eq!(world.events(), [Event::Closed(Reason::DisconnectedByPeer { cause: 2 })]);
}

#[test]
fn we_disconnect() {
    let mut world = World::open(local());
    world.peer.disconnect(DisconnectCause::Rebooting, world.now);
    let dpr = world.sent_one();
    diameter::validate::check_message_grammar(&Message::parse(&dpr).unwrap()).unwrap();
    // What was on its way is still served.
    assert_eq!(world.receive(&ccr(2)), [ccr(2)]);
    assert_eq!(world.events(), []);
    assert!(world.receive(&answer_to(&dpr)).is_empty());
    assert_eq!(world.events(), [Event::Closed(Reason::Disconnected)]);

    let mut unanswered = World::open(local());
    unanswered.peer.disconnect(DisconnectCause::Busy, unanswered.now);
    assert_eq!(unanswered.wait(), 5 * SECOND);
    assert_eq!(unanswered.events(), [Event::Closed(Reason::Disconnected)]);

    let mut both = World::open(local());
    both.peer.disconnect(DisconnectCause::DoNotWantToTalkToYou, both.now);
    let ours = both.sent_one();
    assert!(both.receive(&dpr_then(&answer_to(&ours))).is_empty());
    assert_eq!(verdict(&both.sent_one()).0, 2001);
    assert_eq!(both.events(), [Event::Closed(Reason::Disconnected)]);
}

fn dpr_then(next: &[u8]) -> Vec<u8> {
    [dpr(9), next.to_vec()].concat()
}

fn answer_to(request: &[u8]) -> Vec<u8> {
    let header = *Message::parse(request).unwrap().header();
    build(&header.answer(), |answer| {
        answer.u32(AvpCode::RESULT_CODE, 2001);
        answer.utf8(AvpCode::ORIGIN_HOST, "pgw01.example.net");
        answer.utf8(AvpCode::ORIGIN_REALM, "example.net");
    })
}

fn rar() -> Vec<u8> {
    build(message_header(CommandCode::RE_AUTH, 4, 0), |rar| {
        rar.utf8(AvpCode::SESSION_ID, "pgw01.example.net;3970123456;17;gy");
        rar.u32(AvpCode::RE_AUTH_REQUEST_TYPE, 0);
    })
}

#[test]
fn our_requests_are_answered_or_time_out_or_are_lost() {
    let mut world = World::open(local());
    let ids: Vec<_> = (0..3).map(|_| world.peer.request(&rar(), world.now).unwrap()).collect();
    let sent = world.sent();
    let headers: Vec<_> = sent.iter().map(|rar| *Message::parse(rar).unwrap().header()).collect();
    assert_eq!(headers[0].hop_by_hop, 0x8000_0001);
    assert_eq!(headers[2].hop_by_hop, 0x8000_0003);
    assert_eq!(headers[2].end_to_end, 0x7000_0003);
    assert_eq!(sent[0][20..], rar()[20..]);

    let raa = answer_to(&sent[1]);
    let mut input = &raa[..];
    match world.peer.handle_input(&mut input, world.now) {
        Some(diameter::Handled::Answer(id, message)) => {
            assert_eq!(id, ids[1]);
            assert_eq!(message.octets(), raa);
        }
        other => panic!("{other:?}"),
    }
    // The same answer once more is nobody's.
    assert!(world.receive(&raa).is_empty());

    assert_eq!(world.wait(), 10 * SECOND);
    assert_eq!(world.events(), [Event::RequestTimedOut(ids[0]), Event::RequestTimedOut(ids[2])]);
    assert!(world.receive(&answer_to(&sent[0])).is_empty());

    let last = world.peer.request(&rar(), world.now).unwrap();
    world.peer.connection_lost();
    assert_eq!(world.events(), [Event::RequestLost(last), Event::Closed(Reason::ConnectionLost)]);
    assert_eq!(world.peer.request(&rar(), world.now), Err(RequestError::NotOpen));
}

#[test]
fn our_requests_are_bounded_and_checked() {
    let mut world = World::new(local());
    assert_eq!(world.peer.request(&rar(), world.now), Err(RequestError::NotOpen));
    let mut world = World::open(local());
    assert_eq!(world.peer.request(&rar()[..24], world.now), Err(RequestError::NotARequest));
    assert_eq!(world.peer.request(&answer_to(&rar()), world.now), Err(RequestError::NotARequest));
    for _ in 0..PENDING_REQUESTS_MAX {
        world.peer.request(&rar(), world.now).unwrap();
    }
    assert_eq!(world.peer.request(&rar(), world.now), Err(RequestError::TooManyPending));
}

/// One request that is refused on an open connection, which lives on. `failed` is the hex inside Failed-AVP.
fn check_answer(request: &[u8], code: u32, error_flag: bool, failed: Option<&str>) {
    let mut world = World::open(local());
    assert!(world.receive(request).is_empty(), "code {code}");
    let answer = world.sent_one();
    assert_eq!(verdict(&answer), (code, error_flag, failed.map(unhex)));
    let (request, answer) = (Message::parse(request).unwrap(), Message::parse(&answer).unwrap());
    assert_eq!(answer.header().hop_by_hop, request.header().hop_by_hop);
    assert_eq!(answer.header().end_to_end, request.header().end_to_end);
    assert_eq!(answer.header().application, request.header().application);
    assert_eq!(
        answer.find(AvpCode::SESSION_ID).map(|avp| avp.data),
        request.find(AvpCode::SESSION_ID).map(|avp| avp.data)
    );
    if !error_flag {
        diameter::validate::check_message_grammar(&answer).unwrap();
    }
    assert_eq!(world.events(), []);
    assert_eq!(world.receive(&ccr(9)).len(), 1);
}

fn edited(mut request: Vec<u8>, edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    edit(&mut request);
    request
}

#[test]
fn what_the_header_can_have_wrong() {
    check_answer(&edited(ccr(2), |ccr| ccr[4] |= Flags::ERROR.octet()), 3008, true, None);
    check_answer(&edited(dwr(2), |dwr| dwr[4] |= Flags::PROXIABLE.octet()), 3008, true, None);
    check_answer(&edited(ccr(2), |ccr| ccr[11] = 5), 3007, true, None);
    check_answer(&edited(ccr(2), |ccr| ccr[7] = 0x0f), 3001, true, None);
    check_answer(&edited(ccr(2), |ccr| ccr[11] = 0), 3001, true, None);
    // The application is looked at before the command.
    check_answer(&edited(ccr(2), |ccr| (ccr[7], ccr[11]) = (0x0f, 5)), 3007, true, None);
    // A cleared P flag and reserved bits do not matter.
    let mut world = World::open(local());
    assert_eq!(world.receive(&edited(ccr(2), |ccr| ccr[4] = 0x8f)).len(), 1);
}

#[test]
fn where_a_request_may_not_go() {
    check_answer(&ccr_with(2, |ccr| ccr.utf8(AvpCode::DESTINATION_HOST, "ocs02.example.com")), 3002, true, None);
    check_answer(&ccr_with(2, |ccr| ccr.utf8(AvpCode::DESTINATION_REALM, "example.org")), 3003, true, None);
    check_answer(&ccr_with(2, |ccr| ccr.utf8(AvpCode::ROUTE_RECORD, "OCS01.example.com")), 3005, true, None);
    let mut served = local();
    served.served_realms = vec!["Example.org".into()];
    let mut world = World::open(served);
    let request = ccr_with(2, |ccr| {
        ccr.utf8(AvpCode::DESTINATION_REALM, "example.ORG");
        ccr.utf8(AvpCode::DESTINATION_HOST, "OCS01.example.com");
        ccr.utf8(AvpCode::ROUTE_RECORD, "agent.example.org");
    });
    assert_eq!(world.receive(&request).len(), 1);
}

#[test]
fn what_the_avps_can_have_wrong() {
    let with = |hex: &'static str| ccr_with(2, |ccr| ccr.encoded(&unhex(hex)));
    // Wrong length for the type: the AVP itself.
    check_answer(
        &with("000001b0 4000000d 0000006400 000000"),
        5014,
        false,
        Some("000001b0 4000000d 0000006400 000000"),
    );
    // Shorter than its header: the header and zeros of the least length of the type.
    check_answer(&with("000001b0 40000007"), 5014, false, Some("000001b0 4000000c 00000000"));
    check_answer(&with("00000365 c000000b 000028af"), 5014, false, Some("00000365 c0000010 000028af 00000000"));
    // Past the end of the message, and of the group it lies in.
    check_answer(&with("000001a5 40ffff00"), 5014, false, Some("000001a5 40000010 0000000000000000"));
    check_answer(
        &with("000001b5 40000014 000001a5 40000010 00000000"),
        5014,
        false,
        Some("000001a5 40000010 0000000000000000"),
    );
    // A group is named by its header alone.
    check_answer(&with("000001c8 40ffff00"), 5014, false, Some("000001c8 40000008"));
    // Octets that are no header, at the end of a group.
    check_answer(&with("000001b5 4000000c 000001a5"), 5014, false, Some("000001a5 00000008"));
    // V flag with vendor 0.
    check_answer(&with("000001b0 c0000010 00000000 00000064"), 3009, true, Some("000001b0 c0000010 00000000 00000064"));
    // Unknown and mandatory, at the top and inside groups, all of them.
    check_answer(
        &with("00ffffff 4000000a 01020000 000001b5 40000018 00fffffe c0000010 00000009 0a0b0c0d"),
        5001,
        false,
        Some("00ffffff 4000000a 01020000 00fffffe c0000010 00000009 0a0b0c0d"),
    );
    // A defect of length is told before an unknown AVP that comes earlier.
    check_answer(&with("00ffffff 40000008 000001b0 40000008"), 5014, false, Some("000001b0 40000008"));
    // A vendor id too many makes another AVP of it.
    check_answer(
        &with("00000107 c0000010 000028af 61000000"),
        5001,
        false,
        Some("00000107 c0000010 000028af 61000000"),
    );
}

#[test]
fn unknown_avps_that_do_not_matter() {
    let with = |hex: &'static str| ccr_with(2, |ccr| ccr.encoded(&unhex(hex)));
    let open = |unknown_avps| World::open(diameter::Local { unknown_avps, ..local() });
    let mut world = open(UnknownAvps::default());
    // Without M, a group with a mandatory member included; padding that is not zero.
    assert_eq!(world.receive(&with("00ffffff 00000014 00fffffe 4000000c 00000000")).len(), 1);
    assert_eq!(world.receive(&with("00ffffff 0000000a 0102ffff")).len(), 1);
    // With M, where the policy lets it pass.
    let vendor_9 = with("00fffffe c0000010 00000009 0a0b0c0d");
    assert_eq!(world.receive(&vendor_9).len(), 0);
    let mut world = open(UnknownAvps::Reject { tolerated_vendors: vec![9] });
    assert_eq!(world.receive(&vendor_9).len(), 1);
    assert_eq!(world.receive(&with("00ffffff 40000008")).len(), 0);
    let mut world = open(UnknownAvps::Ignore);
    assert_eq!(world.receive(&with("00ffffff 40000008")).len(), 1);
}

#[test]
fn a_request_without_session_id() {
    let request = build(message_header(CommandCode::CREDIT_CONTROL, 4, 2), |ccr| ccr.u32(AvpCode::CC_REQUEST_TYPE, 1));
    check_answer(&request, 5005, true, Some("00000107 40000008"));
}

#[test]
fn an_incomplete_watchdog_request() {
    let request = build(message_header(CommandCode::DEVICE_WATCHDOG, 0, 2), |dwr| {
        dwr.utf8(AvpCode::ORIGIN_HOST, "pgw01.example.net");
    });
    check_answer(&request, 5005, false, Some("00000128 40000008"));
}

#[test]
fn groups_nested_without_end() {
    let mut group = Vec::new();
    for _ in 0..2000 {
        let length = u32::try_from(group.len() + 8).unwrap().to_be_bytes();
        group = [&[0, 0, 1, 0xc8, 0x40][..], &length[1..], &group].concat();
    }
    check_answer(&ccr_with(2, |ccr| ccr.encoded(&group)), 5012, false, None);
}

#[test]
fn octets_that_are_no_messages() {
    let cases = [
        (edited(ccr(2), |ccr| ccr[0] = 2), 5011, FramingError::Version { version: 2 }),
        (edited(ccr(2), |ccr| ccr[1..4].fill(0)), 5015, FramingError::Length { length: 0 }),
        (edited(ccr(2), |ccr| ccr[3] += 1), 5015, {
            FramingError::Length { length: u32::try_from(ccr(2).len() + 1).unwrap() }
        }),
        (edited(ccr(2), |ccr| ccr[1] = 2), 5015, {
            FramingError::TooLong { length: u32::try_from(ccr(2).len() + 0x2_0000).unwrap(), max: 1 << 16 }
        }),
    ];
    for (octets, code, error) in cases {
        let mut world = World::open(local());
        assert_eq!(world.receive(&[ccr(1), octets].concat()).len(), 1);
        assert_eq!(verdict(&world.sent_one()), (code, true, None));
        assert_eq!(world.events(), [Event::Closed(Reason::Framing(error))]);
    }
    // Before the whole header is there, nothing can be answered.
    let mut world = World::open(local());
    assert!(world.receive(&[2, 0, 0, 20]).is_empty());
    assert!(world.sent().is_empty());
    assert!(matches!(world.events()[..], [Event::Closed(_)]));
}

#[test]
fn a_peer_that_does_not_read_is_let_go() {
    let mut world = World::open(local());
    let wrong = edited(ccr(2), |ccr| ccr[11] = 5);
    for _ in 0..100_000 {
        let _ = world.receive(&wrong);
    }
    assert_eq!(world.events(), [Event::Closed(Reason::OutboxFull)]);
}

#[test]
fn answers_are_never_answered() {
    let mut world = World::open(local());
    let mut broken = answer_to(&ccr(2));
    broken[27] = 3;
    for answer in [answer_to(&ccr(2)), answer_to(&dwr(3)), answer_to(&cer()), broken] {
        assert!(world.receive(&answer).is_empty());
    }
    assert!(world.sent().is_empty());
    assert_eq!(world.events(), []);
}
