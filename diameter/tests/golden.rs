//! Octets that were read by eye: what we send, byte for byte, and what real and worked messages look like to us.
//!
//! The files in `golden/` have one AVP a line with its meaning behind it. When one of them has to change, the test
//! prints the new text; read it before it replaces the old.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use diameter::dictionary::{self, Kind, Mandatory};
use diameter::peer::DisconnectCause;
use diameter::validate::check_message_grammar;
use diameter::{
    AvpCode, Avps, CommandCode, DecodeError, Identity, Message, MessageWriter, ResultCode, UnknownAvps, error_answer,
    validate,
};
use support::*;

fn check_golden(name: &str, octets: &[u8]) {
    let path = format!("{}/tests/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(unhex(&golden) == octets, "{name}.hex should be\n{}", dump(octets));
    assert_eq!(golden, dump(octets), "{name}.hex: the comments");
}

/// What a connection sends when it receives `request`.
fn reply(request: &[u8]) -> Vec<u8> {
    let mut world = World::open(local());
    assert!(world.receive(request).is_empty());
    world.sent_one()
}

#[test]
fn capabilities() {
    let mut world = World::new(local());
    let _ = world.receive(&cer());
    check_golden("cea", &world.sent_one());
    let mut world = World::new(local());
    let _ = world.receive(&cer_with(|cer| cer.u32(AvpCode::AUTH_APPLICATION_ID, 16_777_238)));
    check_golden("cea_5010", &world.sent_one());
    let mut strict = local();
    strict.allowed_peers = Some(Vec::new());
    let mut world = World::new(strict);
    let _ = world.receive(&cer());
    check_golden("cea_3010", &world.sent_one());
}

#[test]
fn watchdog_and_disconnect() {
    check_golden("dwa", &reply(&dwr(2)));
    check_golden("dpa", &reply(&dpr(3)));
    let mut world = World::open(local());
    world.wait();
    check_golden("dwr", &world.sent_one());
    world.peer.disconnect(DisconnectCause::Rebooting, world.now);
    check_golden("dpr", &world.sent_one());
}

#[test]
fn error_answers() {
    let mut other_application = ccr(9);
    other_application[11] = 5;
    check_golden("answer_3007", &reply(&other_application));

    let through_proxies = ccr_with(8, |ccr| {
        for proxy in ["b.example.net", "a.example.net"] {
            ccr.grouped(AvpCode::PROXY_INFO, |info| {
                info.utf8(AvpCode::PROXY_HOST, proxy);
                info.octets(AvpCode::PROXY_STATE, &[1, 2, 3]);
            });
        }
        ccr.u64(AvpCode::CC_SUB_SESSION_ID, 6);
    });
    let request = Message::parse(&through_proxies).unwrap();
    let missing = DecodeError::MissingAvp { code: AvpCode::SERVICE_CONTEXT_ID };
    let answer = missing.answer(&request, &ours());
    check_message_grammar(&Message::parse(&answer).unwrap()).unwrap();
    check_golden("cca_5005", &answer);
    check_golden("answer_3004", &error_answer(&request, &ours(), ResultCode::TOO_BUSY, None, None));

    check_golden("cca_5001", &reply(&ccr_with(8, |ccr| ccr.encoded(&unhex("00fffffe c000000e 00000009 0a0b0000")))));
    let untyped = build(message_header(CommandCode::CREDIT_CONTROL, 4, 2), |ccr| {
        ccr.utf8(AvpCode::SESSION_ID, "pgw01.example.net;1;2");
        ccr.encoded(&unhex("000001b0 4000000d 0000006400 000000"));
    });
    check_golden("answer_5014", &reply(&untyped));
}

/// Every example of the digest: understood, complete, and written again exactly as it was.
#[test]
fn worked_examples() {
    let Some(folder) = shared("spec/diameter/examples") else { return };
    let files = hex_files(&folder);
    assert_eq!(files.len(), 22);
    for (name, octets) in &files {
        let message = Message::parse(octets).unwrap_or_else(|error| panic!("{name}: {error}"));
        validate(&message, &UnknownAvps::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        if !name.contains("e_bit") {
            check_message_grammar(&message).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let again = rewritten(&message, true);
        assert!(again == *octets, "{name} should be\n{}but was\n{}", dump(octets), dump(&again));
    }
}

/// Two of the examples are ours to produce.
#[test]
fn worked_error_answers() {
    let Some(folder) = shared("spec/diameter/examples") else { return };
    let read = |name: &str| unhex(&std::fs::read_to_string(folder.join(name)).unwrap());
    let mut request = read("ccr_i.hex");
    (request[15], request[19]) = (8, 7);
    let missing = DecodeError::MissingAvp { code: AvpCode::SERVICE_CONTEXT_ID };
    let failed = missing.failed_avp();
    let message = Message::parse(&request).unwrap();
    let stateless = Identity { state: 0, ..ours() };
    let answer = error_answer(&message, &stateless, missing.result_code(), failed.as_deref(), None);
    assert_eq!(dump(&answer), dump(&read("cca_missing_avp_5005.hex")));

    (request[11], request[15], request[19]) = (5, 9, 8);
    let message = Message::parse(&request).unwrap();
    let answer = error_answer(&message, &stateless, ResultCode::APPLICATION_UNSUPPORTED, None, None);
    assert_eq!(dump(&answer), dump(&read("answer_e_bit_3007.hex")));
}

/// Messages of real clients: understood, and nothing of them lost when written again.
#[test]
fn captures() {
    let Some(folder) = shared("captures") else { return };
    let files = hex_files(&folder);
    assert!(!files.is_empty());
    for (name, octets) in &files {
        let message = Message::parse(octets).unwrap_or_else(|error| panic!("{name}: {error}"));
        validate(&message, &UnknownAvps::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        check_message_grammar(&message).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(rewritten(&message, false) == *octets, "{name}");
    }
}

/// A whole connection of a real client.
#[test]
fn a_captured_connection() {
    let Some(folder) = shared("captures/open5gs/normal") else { return };
    let mut own = local();
    own.identity.realm = "localdomain".into();
    own.identity.host = "ocs.localdomain".into();
    let mut world = World::new(own);
    let mut requests = 0;
    for (name, octets) in hex_files(&folder) {
        let handled = world.receive(&octets).len();
        assert_eq!(handled, usize::from(name.contains("-ccr-")), "{name}");
        requests += handled;
    }
    assert_eq!(requests, 4);
    let answers: Vec<_> = world.sent().iter().map(|answer| verdict(answer).0).collect();
    assert_eq!(answers, [2001, 2001, 2001]);
}

/// The message written anew by the typed writer; `strict` also demands the M flags of the dictionary.
fn rewritten(message: &Message<'_>, strict: bool) -> Vec<u8> {
    build(message.header(), |writer| rewrite(message.avps(), writer, strict))
}

fn rewrite(avps: Avps<'_>, writer: &mut MessageWriter<'_>, strict: bool) {
    for avp in avps {
        let avp = avp.unwrap();
        let traits = dictionary::traits(avp.code).unwrap();
        let free = traits.mandatory == Mandatory::May || !strict;
        if avp.flags.is_mandatory() != dictionary::is_sent_mandatory(avp.code) {
            assert!(free, "{}: M flag", avp.code);
            writer.copy(&avp);
            continue;
        }
        match traits.kind {
            Kind::Grouped => writer.grouped(avp.code, |writer| rewrite(avp.grouped().unwrap(), writer, strict)),
            Kind::Unsigned32 => writer.u32(avp.code, avp.u32().unwrap()),
            Kind::Unsigned64 => writer.u64(avp.code, avp.u64().unwrap()),
            Kind::Integer32 | Kind::Enumerated => writer.i32(avp.code, avp.i32().unwrap()),
            Kind::Integer64 => writer.i64(avp.code, avp.i64().unwrap()),
            Kind::Time => writer.time(avp.code, avp.time().unwrap()),
            Kind::Address => writer.address(avp.code, avp.address().unwrap()),
            Kind::Utf8String | Kind::DiameterIdentity | Kind::DiameterUri | Kind::IpFilterRule => {
                writer.utf8(avp.code, avp.utf8().unwrap());
            }
            Kind::OctetString => writer.octets(avp.code, avp.data),
        }
    }
}
