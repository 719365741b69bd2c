//! What we ask clients: RAR and ASR octet for octet, read again by a client, and its answers read by us.
//!
//! The files in `golden/gy/` have one AVP a line with its meaning behind it. When one of them has to change, the test
//! prints the new text; read it before it replaces the old.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "tests")]

mod support;

use diameter::gy::ask::{Addressee, Answer, AnswerCode, AnswerError, Ask, Meaning, Scope, encode};
use diameter::gy::client::{Ccr, Demand, Kind, answer};
use diameter::gy::{Names, ServiceContexts, parse};
use diameter::validate::check_message_grammar;
use diameter::{AvpCode, CommandCode, DecodeError, Identity, Message, ResultCode, UnknownAvps, validate};
use proptest::option::of;
use proptest::prelude::*;
use rating_engine::ids::{Digits, Identifier, RatingGroup, ServiceId, SessionId};
use rating_engine::time::Timestamp;
use support::*;

const CLIENT: &str = "pgw01.example.net";
const REALM: &str = "example.net";
const SESSION: &str = "pgw01.example.net;3970123456;17;gy";
const WHOLE: Ask = Ask::Reauthorise(Scope { rating_group: None, service: None });

fn own() -> Identity {
    Identity { host: CLIENT.into(), realm: REALM.into(), state: 0 }
}

/// The name that a client's request gives to a session.
fn session(id: &str, sub_session: Option<u64>) -> SessionId {
    let identifiers = [Identifier::Msisdn(Digits::parse("491701234567").unwrap())];
    let ccr = Ccr {
        session: id,
        sub_session,
        host: CLIENT,
        realm: REALM,
        destination_realm: "example.com",
        service_context: "14.32251@3gpp.org",
        kind: Kind::Initial,
        identifiers: &identifiers,
        ..Ccr::default()
    };
    let mut octets = Vec::new();
    ccr.encode(&mut octets).unwrap();
    let message = Message::parse(&octets).unwrap();
    parse(&message, Timestamp::default(), &ServiceContexts::default(), &mut Names::default()).unwrap().session
}

/// The request as a client gets it, behind what was in the buffer before.
fn asked(ask: Ask, session: &SessionId) -> Vec<u8> {
    let mut octets = b"what was there before".to_vec();
    let before = octets.len();
    let length = encode(&mut octets, ask, &Addressee { session, host: CLIENT, realm: REALM }, &ours()).unwrap();
    assert_eq!(octets.len(), before + length);
    octets.drain(..before);
    let message = Message::parse(&octets).unwrap();
    validate(&message, &UnknownAvps::default()).unwrap();
    check_message_grammar(&message).unwrap();
    octets
}

fn check_golden(name: &str, octets: &[u8]) {
    let path = format!("{}/tests/golden/gy/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(unhex(&golden) == octets, "{name}.hex should be\n{}", dump(octets));
    assert_eq!(golden, dump(octets), "{name}.hex: the comments");
}

/// What we make of an answer to `ask` about [`SESSION`].
fn read(octets: &[u8], ask: Ask) -> Result<Answer, AnswerError> {
    Answer::read(&Message::parse(octets).unwrap(), ask, &session(SESSION, None))
}

fn answered(ask: Ask, code: ResultCode, error: Option<&str>) -> Vec<u8> {
    let request = asked(ask, &session(SESSION, None));
    let mut octets = Vec::new();
    answer(&mut octets, &Message::parse(&request).unwrap(), &own(), code, error).unwrap();
    check_message_grammar(&Message::parse(&octets).unwrap()).unwrap();
    octets
}

#[test]
fn a_whole_session_is_authorised_anew() {
    check_golden("rar", &asked(WHOLE, &session(SESSION, None)));
}

#[test]
fn one_service_of_a_sub_session_is_authorised_anew() {
    let scope = Scope { rating_group: Some(RatingGroup::new(100)), service: Some(ServiceId::new(7)) };
    check_golden("rar_service", &asked(Ask::Reauthorise(scope), &session(SESSION, Some(3))));
}

#[test]
fn a_session_is_ended_with_all_its_sub_sessions() {
    let octets = asked(Ask::Abort, &session(SESSION, None));
    check_golden("asr", &octets);
    assert_eq!(octets, asked(Ask::Abort, &session(SESSION, Some(3))));
}

#[test]
fn an_answer_says_whether_the_client_consents() {
    for (code, meaning) in [
        (ResultCode::SUCCESS, Meaning::Consented),
        (ResultCode::LIMITED_SUCCESS, Meaning::Consented),
        (ResultCode::UNKNOWN_SESSION_ID, Meaning::UnknownSession),
        (ResultCode::UNABLE_TO_COMPLY, Meaning::UnableToComply),
        (ResultCode::UNABLE_TO_DELIVER, Meaning::Other),
        (ResultCode::COMMAND_UNSUPPORTED, Meaning::Other),
        (ResultCode(0), Meaning::Other),
    ] {
        for ask in [WHOLE, Ask::Abort] {
            let answer = read(&answered(ask, code, Some("so it is")), ask).unwrap();
            assert_eq!((answer.code, answer.code.meaning()), (AnswerCode::standard(code), meaning));
            assert_eq!(answer.message.as_deref(), Some("so it is"));
        }
    }
}

/// An Experimental-Result counts like a Result-Code of its thousands, but its numbers are its vendor's.
#[test]
fn an_answer_may_have_a_vendors_result() {
    let request = asked(WHOLE, &session(SESSION, None));
    let header = Message::parse(&request).unwrap().header().answer();
    let with = |code: u32| {
        build(&header, |answer| {
            answer.utf8(AvpCode::SESSION_ID, SESSION);
            answer.grouped(AvpCode::EXPERIMENTAL_RESULT, |result| {
                result.u32(AvpCode::VENDOR_ID, 10_415);
                result.u32(AvpCode::EXPERIMENTAL_RESULT_CODE, code);
            });
        })
    };
    for (code, meaning) in [(2001, Meaning::Consented), (5002, Meaning::Other), (5012, Meaning::Other)] {
        let answer = read(&with(code), WHOLE).unwrap();
        assert_eq!(answer.code, AnswerCode { vendor: 10_415, code: ResultCode(code) });
        assert_eq!(answer.code.meaning(), meaning);
    }
    assert_eq!(read(&with(5002), WHOLE).unwrap().code.to_string(), "result code 5002 of vendor 10415");
}

/// An agent that does not reach the client answers in its place, perhaps without naming the session.
#[test]
fn an_agents_answer_counts() {
    let request = asked(WHOLE, &session(SESSION, None));
    let request = Message::parse(&request).unwrap();
    let octets = diameter::error_answer(&request, &ours(), ResultCode::UNABLE_TO_DELIVER, None, Some("not here"));
    assert_eq!(read(&octets, WHOLE).unwrap().code.to_string(), "UNABLE_TO_DELIVER (3002)");
    let bare = build(&request.header().answer(), |answer| answer.u32(AvpCode::RESULT_CODE, 3002));
    assert_eq!(read(&bare, WHOLE).unwrap().code.meaning(), Meaning::Other);
}

#[test]
fn what_is_no_answer_to_the_question_is_refused_by_name() {
    let consent = answered(WHOLE, ResultCode::SUCCESS, None);
    let other = Answer::read(&Message::parse(&consent).unwrap(), WHOLE, &session("pgw01.example.net;4", None));
    assert_eq!(other, Err(AnswerError::OtherSession));
    assert_eq!(read(&consent, Ask::Abort), Err(AnswerError::OtherCommand(CommandCode::RE_AUTH)));
    let request = asked(WHOLE, &session(SESSION, None));
    assert_eq!(read(&request, WHOLE), Err(AnswerError::OtherCommand(CommandCode::RE_AUTH)));
    let header = Message::parse(&request).unwrap().header().answer();
    let without = build(&header, |answer| answer.utf8(AvpCode::SESSION_ID, SESSION));
    let missing = DecodeError::MissingAvp { code: AvpCode::RESULT_CODE };
    assert_eq!(read(&without, WHOLE), Err(AnswerError::Defective(missing)));
    let short = build(&header, |answer| answer.octets(AvpCode::RESULT_CODE, &[1]));
    assert!(matches!(read(&short, WHOLE), Err(AnswerError::Defective(DecodeError::AvpLength { .. }))));
}

/// Whatever a client says in words is shown on one line, and only so much of it.
#[test]
fn words_of_a_client_are_cut_and_kept_on_one_line() {
    let long = format!("first\nsecond {}", "x".repeat(5000));
    let message = read(&answered(WHOLE, ResultCode::UNABLE_TO_COMPLY, Some(&long)), WHOLE).unwrap().message.unwrap();
    assert!(message.starts_with("first second x") && message.len() == 512, "{message}");
}

proptest! {
    /// What the server asks for is what the client reads, and it names the session as the client did.
    #[test]
    fn a_client_reads_what_is_asked(
        id in "[ -~é]{1,200}",
        sub_session in of(any::<u64>()),
        rating_group in of(any::<u32>()),
        service in of(any::<u32>()),
        abort in any::<bool>(),
    ) {
        let scope = Scope { rating_group: rating_group.map(RatingGroup::new), service: service.map(ServiceId::new) };
        let ask = if abort { Ask::Abort } else { Ask::Reauthorise(scope) };
        let octets = asked(ask, &session(&id, sub_session));
        let request = Message::parse(&octets).unwrap();
        let demand = Demand::read(&request).unwrap().unwrap();
        let expected = Demand {
            ask,
            session: session(&id, sub_session.filter(|_| !abort)),
            server: ours().host,
            host: CLIENT.into(),
            realm: REALM.into(),
        };
        prop_assert_eq!(demand, expected);
        let mut consent = Vec::new();
        answer(&mut consent, &request, &own(), ResultCode::LIMITED_SUCCESS, None).unwrap();
        let consent = Message::parse(&consent).unwrap();
        let answer = Answer::read(&consent, ask, &session(&id, sub_session)).unwrap();
        prop_assert_eq!(answer.code.meaning(), Meaning::Consented);
    }
}
