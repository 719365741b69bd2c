//! Reading and writing: the edges by example, the rest as laws.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use diameter::avp::{Address, DEPTH_MAX};
use diameter::error::{ERROR_MESSAGE_OCTETS_MAX, FAILED_AVP_DATA_MAX, FAILED_AVPS_MAX};
use diameter::message::MESSAGE_OCTETS_MAX;
use diameter::validate::{check_grammar, check_message_grammar, walk};
use diameter::{
    Avp, AvpCode, Avps, CommandCode, DecodeError, Flags, FramingError, Header, Message, MessageTooLong, MessageWriter,
    ResultCode, UnknownAvps, error_answer, frame_length, validate,
};
use proptest::prelude::*;
use support::*;

fn one_avp(write: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    build(message_header(CommandCode::CREDIT_CONTROL, 4, 1), write)[20..].to_vec()
}

fn first(octets: &[u8]) -> Avp<'_> {
    Avps::new(octets).next().unwrap().unwrap()
}

#[test]
fn the_header_is_twenty_octets() {
    let octets = unhex("01000014 d0000110 00000004 01020304 a0b0c0d0");
    let message = Message::parse(&octets).unwrap();
    let header = *message.header();
    assert!(header.is_request());
    assert!(header.flags.contains(Flags::PROXIABLE.union(Flags::RETRANSMITTED)));
    assert!(!header.flags.contains(Flags::ERROR));
    assert_eq!(header.command, CommandCode::CREDIT_CONTROL);
    assert_eq!((header.hop_by_hop, header.end_to_end), (0x0102_0304, 0xa0b0_c0d0));
    assert_eq!(header.encode(20), octets[..]);
    assert_eq!(header.answer().flags, Flags::PROXIABLE);
    assert_eq!(CommandCode::new(1 << 24), None);
}

#[test]
fn a_frame_is_found_or_refused() {
    assert_eq!(frame_length(&[], 100), Ok(None));
    assert_eq!(frame_length(&[1, 0, 0], 100), Ok(None));
    assert_eq!(frame_length(&[1, 0, 0, 20], 100), Ok(Some(20)));
    assert_eq!(frame_length(&[1, 0, 0, 100], 100), Ok(Some(100)));
    assert_eq!(frame_length(&[1, 0, 0, 104], 100), Err(FramingError::TooLong { length: 104, max: 100 }));
    assert_eq!(frame_length(&[1, 0, 0, 19], 100), Err(FramingError::Length { length: 19 }));
    assert_eq!(frame_length(&[1, 0, 0, 21], 100), Err(FramingError::Length { length: 21 }));
    assert_eq!(frame_length(&[2, 0, 0, 20], 100), Err(FramingError::Version { version: 2 }));
    assert_eq!(frame_length(&[1, 0xff, 0xff, 0xfc], usize::MAX), Ok(Some(MESSAGE_OCTETS_MAX)));
}

#[test]
fn a_message_is_whole_or_none() {
    let whole = ccr(1);
    for end in 0..whole.len() {
        assert!(Message::parse(&whole[..end]).is_err());
    }
    let more = [&whole[..], &[0]].concat();
    assert_eq!(Message::parse(&more).unwrap_err(), FramingError::Cut { octets: more.len() });
}

#[test]
fn time_is_right_on_both_sides_of_2036() {
    for (unix, ntp) in [
        (-61_505_152, "80000000"),
        (0, "83aa7e80"),
        (2_085_978_495, "ffffffff"),
        (2_085_978_496, "00000000"),
        (4_233_462_143, "7fffffff"),
    ] {
        let octets = one_avp(|avp| avp.time(AvpCode::EVENT_TIMESTAMP, unix));
        assert_eq!(octets, unhex(&format!("00000037 4000000c {ntp}")));
        assert_eq!(first(&octets).time(), Ok(unix));
    }
}

#[test]
fn addresses_have_the_length_of_their_family() {
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    for (address, hex) in [
        (Address::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), "000004cb c0000012 000028af 0001 7f000001 0000"),
        (Address::Ip(v6), "000004cb c000001e 000028af 0002 00000000000000000000000000000001 0000"),
        (Address::Other { family: 8, octets: b"4917" }, "000004cb c0000012 000028af 0008 34393137 0000"),
    ] {
        let octets = one_avp(|avp| avp.address(AvpCode::PDP_ADDRESS, address));
        assert_eq!(octets, unhex(hex));
        assert_eq!(first(&octets).address(), Ok(address));
    }
    for wrong in ["00000101 40000009 00000000", "00000101 4000000d 0001 010203 000000", "00000101 4000000c 0002 0102"] {
        let octets = unhex(wrong);
        assert!(matches!(first(&octets).address(), Err(DecodeError::AvpLength { .. })));
    }
}

#[test]
fn typed_readers_demand_their_length_and_text() {
    let octets = one_avp(|avp| avp.octets(AvpCode::SESSION_ID, &[0xff, 1, 2]));
    let avp = first(&octets);
    assert!(matches!(avp.u32(), Err(DecodeError::AvpLength { .. })));
    assert!(matches!(avp.i32(), Err(DecodeError::AvpLength { .. })));
    assert!(matches!(avp.u64(), Err(DecodeError::AvpLength { .. })));
    assert!(matches!(avp.i64(), Err(DecodeError::AvpLength { .. })));
    assert!(matches!(avp.time(), Err(DecodeError::AvpLength { .. })));
    let error = avp.utf8().unwrap_err();
    assert_eq!(error.result_code(), ResultCode::INVALID_AVP_VALUE);
    assert_eq!(error.failed_avp(), Some(octets));
}

#[test]
fn groups_open_down_to_the_limit() {
    fn nest(writer: &mut MessageWriter<'_>, levels: u8) {
        if levels > 0 {
            writer.grouped(AvpCode::SERVICE_INFORMATION, |writer| nest(writer, levels - 1));
        }
    }
    let message = |levels| build(message_header(CommandCode::CREDIT_CONTROL, 4, 1), |writer| nest(writer, levels));
    let allowed = message(DEPTH_MAX);
    assert_eq!(validate(&Message::parse(&allowed).unwrap(), &UnknownAvps::default()), Ok(()));
    let deeper = message(DEPTH_MAX + 1);
    let error = validate(&Message::parse(&deeper).unwrap(), &UnknownAvps::default()).unwrap_err();
    assert_eq!(error, DecodeError::NestedTooDeep { code: AvpCode::SERVICE_INFORMATION });
    assert_eq!(error.failed_avp(), None);
}

#[test]
fn a_message_that_is_too_long_leaves_no_trace() {
    let header = message_header(CommandCode::CREDIT_CONTROL, 4, 1);
    let mut out = vec![7];
    let half = vec![0; MESSAGE_OCTETS_MAX / 2];
    let mut writer = MessageWriter::new(&mut out, header);
    writer.octets(AvpCode::SESSION_ID, &half);
    writer.octets(AvpCode::SESSION_ID, &half);
    assert_eq!(writer.finish(), Err(MessageTooLong));
    let mut writer = MessageWriter::new(&mut out, header);
    writer.octets(AvpCode::SESSION_ID, &vec![0; 1 << 24]);
    assert_eq!(writer.finish(), Err(MessageTooLong));
    let mut writer = MessageWriter::new(&mut out, header);
    writer.grouped(AvpCode::FAILED_AVP, |writer| writer.encoded(&vec![0; 1 << 24]));
    assert_eq!(writer.finish(), Err(MessageTooLong));
    assert_eq!(out, [7]);
}

#[test]
fn messages_follow_each_other_in_one_buffer() {
    let mut out = Vec::new();
    for _ in 0..2 {
        let mut writer = MessageWriter::new(&mut out, message_header(CommandCode::CREDIT_CONTROL, 4, 1));
        writer.utf8(AvpCode::SESSION_ID, "a");
        assert_eq!(writer.finish(), Ok(32));
    }
    assert_eq!(out[..32], out[32..]);
}

#[test]
fn grammar_counts() {
    let check = |write: fn(&mut MessageWriter<'_>)| {
        let octets = build(message_header(CommandCode::DEVICE_WATCHDOG, 0, 1), write);
        check_message_grammar(&Message::parse(&octets).unwrap())
    };
    assert_eq!(check(|_| {}), Err(DecodeError::MissingAvp { code: AvpCode::ORIGIN_HOST }));
    let twice = check(|dwr| {
        dwr.utf8(AvpCode::ORIGIN_HOST, "a");
        dwr.utf8(AvpCode::ORIGIN_REALM, "b");
        dwr.utf8(AvpCode::ORIGIN_HOST, "c");
    });
    let error = twice.unwrap_err();
    assert_eq!(error.result_code(), ResultCode::AVP_OCCURS_TOO_MANY_TIMES);
    assert_eq!(error.failed_avp(), Some(unhex("00000108 40000009 63000000")));
    // Inside groups too, and what no grammar names may come at will.
    let group = check(|dwr| {
        dwr.utf8(AvpCode::ORIGIN_HOST, "a");
        dwr.utf8(AvpCode::ORIGIN_REALM, "b");
        dwr.utf8(AvpCode::CLASS, "x");
        dwr.utf8(AvpCode::CLASS, "x");
        dwr.grouped(AvpCode::PROXY_INFO, |info| info.utf8(AvpCode::PROXY_HOST, "p"));
    });
    assert_eq!(group, Err(DecodeError::MissingAvp { code: AvpCode::PROXY_STATE }));
}

#[test]
fn error_answers_stay_small() {
    let huge = vec![0x61; FAILED_AVP_DATA_MAX + 1];
    let request = ccr_with(1, |ccr| {
        ccr.octets(AvpCode::new(0xff_ffff, 9), &huge);
        ccr.octets(AvpCode::USER_NAME, &huge);
    });
    let message = Message::parse(&request).unwrap();
    let error = message.find(AvpCode::USER_NAME).unwrap().invalid_value();
    assert_eq!(error.failed_avp(), Some(unhex("00000001 40000008")));
    let text = "ö".repeat(ERROR_MESSAGE_OCTETS_MAX);
    let answer = error_answer(&message, &ours(), ResultCode::USER_UNKNOWN, None, Some(&text));
    let told = Message::parse(&answer).unwrap().find(AvpCode::ERROR_MESSAGE).unwrap();
    assert_eq!(told.utf8().unwrap().len(), ERROR_MESSAGE_OCTETS_MAX);

    let many = ccr_with(1, |ccr| (0..100).for_each(|_| ccr.encoded(&unhex("00ffffff 40000008"))));
    let error = validate(&Message::parse(&many).unwrap(), &UnknownAvps::default()).unwrap_err();
    assert_eq!(error.failed_avp().unwrap().len(), 8 * FAILED_AVPS_MAX);
}

#[test]
fn an_error_answer_falls_back_to_what_can_be_built() {
    let shape =
        |request: &[u8], code| verdict(&error_answer(&Message::parse(request).unwrap(), &ours(), code, None, None));
    assert_eq!(shape(&ccr(1), ResultCode::USER_UNKNOWN), (5030, false, None));
    assert_eq!(shape(&ccr(1), ResultCode::TOO_BUSY), (3004, true, None));
    let without_number = build(message_header(CommandCode::CREDIT_CONTROL, 4, 1), |ccr| {
        ccr.utf8(AvpCode::SESSION_ID, "s");
        ccr.u32(AvpCode::CC_REQUEST_TYPE, 1);
    });
    assert_eq!(shape(&without_number, ResultCode::MISSING_AVP), (5005, true, None));
    let str_request = |session: bool| {
        build(message_header(CommandCode::SESSION_TERMINATION, 4, 1), |message| {
            if session {
                message.utf8(AvpCode::SESSION_ID, "s");
            }
        })
    };
    assert_eq!(shape(&str_request(true), ResultCode::UNKNOWN_SESSION_ID), (5002, false, None));
    assert_eq!(shape(&str_request(false), ResultCode::MISSING_AVP), (5005, true, None));
    let other = build(message_header(CommandCode::ACCOUNTING, 3, 1), |message| message.utf8(AvpCode::SESSION_ID, "s"));
    assert_eq!(shape(&other, ResultCode::UNABLE_TO_COMPLY), (5012, true, None));
}

/// A tree of AVPs, and how it reads back.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Leaf(u32, u32, Vec<u8>),
    Group(Vec<Tree>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = (any::<u32>(), prop_oneof![Just(0), Just(10415), any::<u32>()], any::<Vec<u8>>())
        .prop_map(|(code, vendor, data)| Tree::Leaf(code.max(100_000), vendor, data));
    leaf.prop_recursive(6, 40, 5, |inner| proptest::collection::vec(inner, 0..5).prop_map(Tree::Group))
}

fn write_tree(writer: &mut MessageWriter<'_>, tree: &Tree) {
    match tree {
        Tree::Leaf(code, vendor, data) => writer.octets(AvpCode::new(*code, *vendor), data),
        Tree::Group(members) => writer.grouped(AvpCode::SERVICE_INFORMATION, |writer| {
            members.iter().for_each(|member| write_tree(writer, member));
        }),
    }
}

fn read_tree(avps: Avps<'_>) -> Vec<Tree> {
    avps.map(|avp| {
        let avp = avp.unwrap();
        if avp.code == AvpCode::SERVICE_INFORMATION {
            Tree::Group(read_tree(avp.grouped().unwrap()))
        } else {
            Tree::Leaf(avp.code.code, avp.code.vendor, avp.data.to_vec())
        }
    })
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(trees in proptest::collection::vec(tree(), 0..6)) {
        let octets = build(message_header(CommandCode::CREDIT_CONTROL, 4, 1), |writer| {
            trees.iter().for_each(|tree| write_tree(writer, tree));
        });
        prop_assert!(octets.len().is_multiple_of(4));
        let message = Message::parse(&octets).unwrap();
        prop_assert_eq!(read_tree(message.avps()), trees);
        // No type is known but the group's, and the writer sets no M flag on what it does not know.
        prop_assert_eq!(validate(&message, &UnknownAvps::default()), Ok(()));
    }

    #[test]
    fn numbers_come_back(a: u32, b: u64, c: i32, d: i64, time in -61_505_152_i64..4_233_462_144) {
        let octets = one_avp(|avp| {
            avp.u32(AvpCode::RATING_GROUP, a);
            avp.u64(AvpCode::CC_TOTAL_OCTETS, b);
            avp.i32(AvpCode::EXPONENT, c);
            avp.i64(AvpCode::VALUE_DIGITS, d);
            avp.time(AvpCode::EVENT_TIMESTAMP, time);
        });
        let avps: Vec<_> = Avps::new(&octets).map(Result::unwrap).collect();
        prop_assert_eq!(avps[0].u32(), Ok(a));
        prop_assert_eq!(avps[1].u64(), Ok(b));
        prop_assert_eq!(avps[2].i32(), Ok(c));
        prop_assert_eq!(avps[3].i64(), Ok(d));
        prop_assert_eq!(avps[4].time(), Ok(time));
    }

    #[test]
    fn headers_come_back(octets: [u8; 20]) {
        let header = Header::decode(&octets);
        prop_assert_eq!(Header::decode(&header.encode(20)), header);
    }

    /// Any octets can be walked, judged and answered, and the answer is itself a message.
    #[test]
    fn any_body_is_answered(body in proptest::collection::vec(any::<u8>(), 0..200), code in 1u32..10_000) {
        let body = &body[..body.len() & !3];
        let octets = build(message_header(CommandCode::CREDIT_CONTROL, 4, 1), |writer| writer.encoded(body));
        let message = Message::parse(&octets).unwrap();
        let answer = match validate(&message, &UnknownAvps::default()) {
            Ok(()) => error_answer(&message, &ours(), ResultCode(code), None, None),
            Err(error) => error.answer(&message, &ours()),
        };
        prop_assert_eq!(walk(Message::parse(&answer).unwrap().avps(), &UnknownAvps::Ignore), Ok(None));
    }

    /// A message cut at any octet, and called whole, is answered too.
    #[test]
    fn any_cut_is_answered(cut in 5usize..150) {
        let mut octets = ccr(1);
        octets.truncate(cut * 4);
        let length = u32::try_from(octets.len()).unwrap().to_be_bytes();
        octets[1..4].copy_from_slice(&length[1..]);
        let message = Message::parse(&octets).unwrap();
        if let Err(error) = validate(&message, &UnknownAvps::default()) {
            let answer = error.answer(&message, &ours());
            prop_assert_eq!(walk(Message::parse(&answer).unwrap().avps(), &UnknownAvps::Ignore), Ok(None));
        }
        let grammar = diameter::dictionary::Grammar::of_command(CommandCode::CREDIT_CONTROL, true).unwrap();
        let _ = check_grammar(message.avps(), grammar);
    }
}
