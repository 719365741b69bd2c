//! Mutated messages against every decoder: nothing panics, nothing loops, and what is said about them is well formed.
//!
//! `FUZZ_SECONDS` is the time per target (default 1), `FUZZ_SEED` the seed to repeat a run with; it is printed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod support;

use std::iter;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use diameter::dictionary::{self, Kind};
use diameter::gy::ask::{Addressee, Answer, Ask, Scope, encode as encode_ask};
use diameter::gy::client::{self, Cca, Demand};
use diameter::gy::request::{IDENTIFIERS_MAX, REPORTS_MAX, SERVICE_IDS_MAX, SERVICES_MAX};
use diameter::gy::{Echo, Names, PeerProfile, ServiceContexts, encode, parse, recognise};
use diameter::peer::DisconnectCause;
use diameter::validate::check_message_grammar;
use diameter::{
    Avp, AvpCode, AvpFlags, Avps, CommandCode, DecodeError, Event, Handled, Header, Identity, Message, ResultCode,
    UnknownAvps, error_answer, frame_length, validate,
};
use rating_engine::command::{
    Action, Answered, Command, Denial, Grant, Outcome, Refusal, ServiceOutcome, ServiceResult,
};
use rating_engine::ids::{RatingGroup, ServiceId, SessionId, SubscriberId};
use rating_engine::money::{Currency, Money};
use rating_engine::tariff::ServiceKey;
use rating_engine::time::Timestamp;
use rating_engine::units::{MoneyUnits, Units};
use support::*;

/// SplitMix64: enough to choose mutations, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let mut corpus = vec![cer(), dwr(2), dpr(3), ccr(4), error_answer_to(&ccr(5))];
    corpus.push(ccr_with(6, |ccr| ccr.encoded(&unhex("00fffffe c000000e 00000009 0a0b0000"))));
    corpus.push(ccr_with(7, |ccr| {
        ccr.grouped(AvpCode::PROXY_INFO, |info| info.utf8(AvpCode::PROXY_HOST, "a.example.net"));
        ccr.utf8(AvpCode::DESTINATION_HOST, "ocs01.example.com");
    }));
    corpus
}

fn error_answer_to(request: &[u8]) -> Vec<u8> {
    error_answer(&Message::parse(request).unwrap(), &ours(), ResultCode::TOO_BUSY, None, Some("no"))
}

/// A message of the corpus with a few things wrong; sometimes with its length field made right again.
fn mutated(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(octets.len());
        match random.below(7) {
            0 if !octets.is_empty() => octets[at] ^= 1 << random.below(8),
            1 if !octets.is_empty() => octets[at] = [0, 1, 7, 8, 12, 0x7f, 0x80, 0xff][random.below(8)],
            2 => octets.truncate(at),
            // A length field, wherever one may be: AVPs begin at whole words and tell theirs in octets 5 to 7.
            3 if octets.len() > 8 => {
                let field = (at & !3) + 4;
                if let Some(field) = octets.get_mut(field + 1..field + 4) {
                    field.copy_from_slice(&[[0, 0, 0], [0, 0, 7], [0, 0, 9], [0, 1, 0], [0xff; 3]][random.below(5)]);
                }
            }
            4 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len()) & !3;
                octets.splice(at & !3..at & !3, other[from..].iter().copied());
            }
            5 => drop(octets.drain(at & !3..(at & !3).saturating_add(random.below(9) * 4).min(octets.len()))),
            _ => octets.extend_from_within(at..),
        }
    }
    if octets.len() >= 20 && random.below(4) > 0 {
        octets.truncate(octets.len() & !3);
        let length = u32::try_from(octets.len()).unwrap().to_be_bytes();
        octets[..4].copy_from_slice(&[1, length[1], length[2], length[3]]);
    }
    octets
}

/// Runs `target` on mutated messages until its time is over.
fn fuzz(name: &str, mut target: impl FnMut(&mut Random, &[u8])) {
    let corpus = corpus();
    rounds(name, |random| {
        let octets = mutated(random, &corpus);
        target(random, &octets);
    });
}

/// Runs `target` until its time is over.
fn rounds(name: &str, mut target: impl FnMut(&mut Random)) {
    let seconds = std::env::var("FUZZ_SECONDS").map_or(1, |text| text.parse().unwrap());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed: u64 = std::env::var("FUZZ_SEED").map_or_else(|_| now(), |text| text.parse().unwrap());
    eprintln!("{name}: FUZZ_SEED={seed}");
    let mut random = Random(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0_u64;
    while Instant::now() < end {
        for _ in 0..100 {
            target(&mut random);
        }
        rounds += 100;
    }
    eprintln!("{name}: {rounds} messages");
}

/// Only the top of a message: Proxy-Info is handed back as it came, whatever is in it.
fn well_formed(answer: &[u8]) {
    let message = Message::parse(answer).unwrap();
    assert!(message.avps().all(|avp| avp.is_ok()));
}

#[test]
fn header() {
    fuzz("header", |_, octets| {
        if let Ok(Some(length)) = frame_length(octets, 1 << 20) {
            assert!(length >= 20 && length.is_multiple_of(4));
        }
        if let Some(head) = octets.first_chunk::<20>() {
            let header = Header::decode(head);
            assert_eq!(Header::decode(&header.encode(0)), header);
        }
    });
}

#[test]
fn avps() {
    fn read_all(avps: Avps<'_>, budget: &mut usize) -> Result<(), DecodeError> {
        for avp in avps {
            let avp = avp?;
            *budget = budget.checked_sub(1).unwrap();
            let _ = (avp.u32(), avp.u64(), avp.i32(), avp.i64(), avp.time(), avp.address(), avp.utf8());
            read_all(avp.grouped()?, budget).unwrap_or_default();
        }
        Ok(())
    }
    fuzz("avps", |_, octets| {
        // Read as if everything were a group: each octet is visited at most once per level.
        let mut budget = octets.len() * 16 + 1;
        let _ = read_all(Avps::new(octets), &mut budget);
    });
}

#[test]
fn validation() {
    fuzz("validation", |_, octets| {
        let Ok(message) = Message::parse(octets) else { return };
        for defect in [validate(&message, &UnknownAvps::default()), check_message_grammar(&message)] {
            if let Err(error) = defect {
                well_formed(&error.answer(&message, &ours()));
                let _ = error.to_string();
            }
        }
        for code in [ResultCode::TOO_BUSY, ResultCode::UNABLE_TO_COMPLY] {
            well_formed(&error_answer(&message, &ours(), code, None, None));
        }
    });
}

#[test]
fn peer_input() {
    let mut world = World::open(local());
    let mut buffer = Vec::new();
    fuzz("peer", |random, octets| {
        match random.below(20) {
            0 => {
                if let Some(due) = world.peer.poll_timeout() {
                    world.now = due;
                    world.peer.handle_timeout(due);
                }
            }
            1 => drop(world.peer.request(&ccr(1), world.now)),
            2 if random.below(50) == 0 => world.peer.disconnect(DisconnectCause::Busy, world.now),
            _ => {}
        }
        buffer.extend_from_slice(octets);
        let mut input = &buffer[..];
        while let Some(handled) = world.peer.handle_input(&mut input, world.now) {
            if let Handled::Request(message) = handled {
                assert_eq!(validate(&message, &UnknownAvps::default()), Ok(()));
            }
        }
        let taken = buffer.len() - input.len();
        buffer.drain(..taken);
        for message in world.sent() {
            well_formed(&message);
        }
        if world.events().iter().any(|event| matches!(event, Event::Closed(_))) {
            assert_eq!(world.peer.poll_timeout(), None);
            buffer.clear();
            // Half of the new connections begin as they should.
            world = if random.below(2) == 0 { World::new(local()) } else { World::open(local()) };
        }
        assert!(buffer.len() < 1 << 17);
    });
}

/// Whole messages of the golden files, the worked examples and the captures that are there: requests or answers.
fn gy_corpus(requests: bool) -> Vec<Vec<u8>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let folders = [Some(golden), shared("spec/diameter/examples"), shared("captures")];
    let files = folders.into_iter().flatten().flat_map(|folder| hex_files(&folder));
    let is_seed = |octets: &Vec<u8>| {
        Message::parse(octets).is_ok_and(|message| {
            let header = message.header();
            header.command == CommandCode::CREDIT_CONTROL && header.is_request() == requests
        })
    };
    let mut corpus: Vec<_> = files.map(|(_, octets)| octets).filter(is_seed).collect();
    if requests {
        corpus.extend([ccr(4), event(), voice()]);
    }
    assert!(corpus.len() > 2);
    corpus
}

/// A refund at command level.
fn event() -> Vec<u8> {
    ccr_of(4, "32274@3gpp.org", |ccr| {
        ccr.u32(AvpCode::REQUESTED_ACTION, 1);
        ccr.grouped(AvpCode::REQUESTED_SERVICE_UNIT, |units| {
            units.grouped(AvpCode::CC_MONEY, |money| {
                money.grouped(AvpCode::UNIT_VALUE, |value| {
                    value.i64(AvpCode::VALUE_DIGITS, 25);
                    value.i32(AvpCode::EXPONENT, -2);
                });
                money.u32(AvpCode::CURRENCY_CODE, 978);
            });
        });
        ccr.octets(AvpCode::REFUND_INFORMATION, b"\x01sms;1");
        ccr.u32(AvpCode::SERVICE_IDENTIFIER, 7);
        ccr.grouped(AvpCode::SERVICE_INFORMATION, |service| {
            service.grouped(AvpCode::SMS_INFORMATION, |sms| {
                sms.u32(AvpCode::NUMBER_OF_MESSAGES_SENT, 1);
                sms.grouped(AvpCode::RECIPIENT_INFO, |recipient| {
                    recipient.grouped(AvpCode::RECIPIENT_ADDRESS, |address| {
                        address.utf8(AvpCode::ADDRESS_DATA, "491709999999");
                    });
                });
            });
        });
    })
}

/// A call through two proxies, with a sub-session, a tariff switch and circumstances in odd places.
fn voice() -> Vec<u8> {
    ccr_of(2, "32260@3gpp.org", |ccr| {
        ccr.u64(AvpCode::CC_SUB_SESSION_ID, 3);
        ccr.grouped(AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL, |mscc| {
            mscc.grouped(AvpCode::REQUESTED_SERVICE_UNIT, |units| units.u32(AvpCode::CC_TIME, 60));
            for change in [0, 1] {
                mscc.grouped(AvpCode::USED_SERVICE_UNIT, |units| {
                    units.u32(AvpCode::TARIFF_CHANGE_USAGE, change);
                    units.u32(AvpCode::CC_TIME, 30);
                });
            }
            mscc.u32(AvpCode::SERVICE_IDENTIFIER, 1);
            mscc.grouped(AvpCode::QOS_INFORMATION, |qos| qos.u32(AvpCode::QOS_CLASS_IDENTIFIER, 5));
        });
        ccr.utf8(AvpCode::CALLED_STATION_ID, "ims");
        for proxy in ["a.example.net", "b.example.net"] {
            ccr.grouped(AvpCode::PROXY_INFO, |info| {
                info.utf8(AvpCode::PROXY_HOST, proxy);
                info.octets(AvpCode::PROXY_STATE, &[1, 2, 3]);
            });
        }
        ccr.grouped(AvpCode::SERVICE_INFORMATION, |service| {
            service.grouped(AvpCode::IMS_INFORMATION, |ims| {
                ims.u32(AvpCode::NODE_FUNCTIONALITY, 6);
                ims.utf8(AvpCode::CALLED_PARTY_ADDRESS, "tel:+4930123456");
            });
        });
    })
}

fn ccr_of(kind: u32, context: &str, more: impl FnOnce(&mut diameter::MessageWriter<'_>)) -> Vec<u8> {
    build(message_header(CommandCode::CREDIT_CONTROL, 4, 9), |ccr| {
        ccr.utf8(AvpCode::SESSION_ID, "as01.example.net;1;2");
        ccr.utf8(AvpCode::ORIGIN_HOST, "as01.example.net");
        ccr.utf8(AvpCode::ORIGIN_REALM, "example.net");
        ccr.utf8(AvpCode::DESTINATION_REALM, "example.com");
        ccr.u32(AvpCode::AUTH_APPLICATION_ID, 4);
        ccr.utf8(AvpCode::SERVICE_CONTEXT_ID, context);
        ccr.u32(AvpCode::CC_REQUEST_TYPE, kind);
        ccr.u32(AvpCode::CC_REQUEST_NUMBER, 1);
        ccr.grouped(AvpCode::SUBSCRIPTION_ID, |id| {
            id.u32(AvpCode::SUBSCRIPTION_ID_TYPE, 0);
            id.utf8(AvpCode::SUBSCRIPTION_ID_DATA, "491701234567");
        });
        more(ccr);
    })
}

/// An AVP with whatever is in it, to be changed without breaking the lengths around it.
#[derive(Clone)]
struct Node {
    code: AvpCode,
    flags: AvpFlags,
    data: Vec<u8>,
    members: Vec<Self>,
}

impl Node {
    fn all(avps: Avps<'_>) -> Vec<Self> {
        avps.map_while(Result::ok).map(|avp| Self::of(&avp)).collect()
    }

    fn of(avp: &Avp<'_>) -> Self {
        let is_group = dictionary::traits(avp.code).is_some_and(|traits| traits.kind == Kind::Grouped);
        let members = if is_group { avp.grouped().map_or_else(|_| Vec::new(), Self::all) } else { Vec::new() };
        let data = if members.is_empty() { avp.data.to_vec() } else { Vec::new() };
        Self { code: avp.code, flags: avp.flags, data, members }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut data = self.data.clone();
        self.members.iter().for_each(|member| member.write(&mut data));
        diameter::error::OwnedAvp { code: self.code, flags: self.flags, data }.write(out);
    }

    /// Changes something in one of `nodes`, or in the list itself.
    fn mutate(nodes: &mut Vec<Self>, random: &mut Random, depth: usize) {
        let at = random.below(nodes.len());
        let Some(node) = nodes.get_mut(at) else { return };
        match random.below(10) {
            0..=3 if !node.members.is_empty() => Self::mutate(&mut node.members, random, depth + 1),
            0 => drop(nodes.remove(at)),
            1 => {
                let (node, to) = (node.clone(), random.below(nodes.len() + 1));
                let times = if random.below(20) == 0 { 1 + random.below(70) } else { 1 };
                nodes.splice(to..to, iter::repeat_n(node, times));
            }
            2 => {
                let to = random.below(nodes.len());
                nodes.swap(at, to);
            }
            3 => {
                let all = dictionary::definitions();
                node.code = all[random.below(all.len())].code;
                node.flags = AvpFlags::new(node.code, random.below(2) == 0);
            }
            4 => node.flags = AvpFlags::from_octet(node.flags.octet() ^ 0x40),
            5 if depth < 20 => {
                // Deeper and deeper: the group into itself.
                let inner = node.clone();
                node.data.clear();
                node.members.push(inner);
            }
            6 => node.data.resize(random.below(40), 0xff),
            7 if random.below(20) == 0 => node.data.resize(random.below(9000), b'9'),
            _ => {
                for _ in 0..=random.below(3) {
                    let at = random.below(node.data.len());
                    if let Some(octet) = node.data.get_mut(at) {
                        *octet = [0, 1, 2, 3, 4, 7, 0x7f, 0x80, 0xff, b'0', b'9', b'@', octet.wrapping_add(1)]
                            [random.below(13)];
                    }
                }
            }
        }
    }
}

/// A message of the corpus with wrong octets, or one whose AVPs are whole and wrong.
fn gy_mutated(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    if random.below(4) == 0 {
        return mutated(random, corpus);
    }
    let seed = &corpus[random.below(corpus.len())];
    let message = Message::parse(seed).unwrap();
    let mut nodes = Node::all(message.avps());
    for _ in 0..random.below(4) {
        Node::mutate(&mut nodes, random, 0);
    }
    let mut octets = seed[..20].to_vec();
    nodes.iter().for_each(|node| node.write(&mut octets));
    let length = u32::try_from(octets.len()).unwrap().to_be_bytes();
    octets[1..4].copy_from_slice(&length[1..]);
    octets
}

/// Some time at which the examples' own times are believed.
const NOW: Timestamp = Timestamp::from_seconds(1_795_330_800);

fn profile(random: &mut Random) -> PeerProfile {
    let profile = if random.below(2) == 0 { PeerProfile::STANDARD } else { PeerProfile::OPEN5GS };
    PeerProfile { denial_ends_session: random.below(2) == 0, ..profile }
}

/// What parsing promises about sizes.
fn bounded(command: &Command) {
    let (Action::Start(services)
    | Action::Update(services)
    | Action::Stop(services)
    | Action::Debit(services)
    | Action::Record { services, .. }
    | Action::Refund { services, .. }
    | Action::CheckBalance(services)
    | Action::PriceEnquiry(services)) = &command.action;
    assert!(services.len() <= SERVICES_MAX);
    for service in services {
        assert!(service.key.services.len() <= SERVICE_IDS_MAX && service.used.len() <= REPORTS_MAX);
    }
    assert!(command.context.identifiers.len() <= IDENTIFIERS_MAX);
    assert!(command.session.octets().len() <= 255 + 9);
}

/// A mutated CCR becomes a command whose answer can be read, or an error whose answer can be read.
#[test]
fn gy_request() {
    let corpus = gy_corpus(true);
    let contexts = ServiceContexts::default();
    let mut names = Names::default();
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    rounds("gy_request", |random| {
        let octets = gy_mutated(random, &corpus);
        let Ok(message) = Message::parse(&octets) else { return };
        // The walk comes first in life; without it nothing may break either.
        let walked = validate(&message, &UnknownAvps::Ignore).is_ok();
        match parse(&message, NOW, &contexts, &mut names) {
            Ok(request) => {
                accepted += u64::from(walked);
                if random.below(50) == 0 {
                    let again = parse(&message, NOW, &contexts, &mut Names::default()).unwrap();
                    assert_eq!(format!("{again:?}"), format!("{request:?}"));
                    assert!(format!("{:?}", request.context).len() <= octets.len() * 4 + 4096);
                }
                let _ = recognise("freeDiameter", &request);
                let (command, echo) = request.into_command(SubscriberId::default(), &profile(random));
                bounded(&command);
                answer(random, &echo, &message);
            }
            Err(error) => {
                refused += u64::from(walked);
                let answer = error.answer(&message, &ours());
                well_formed(&answer);
                assert!(answer.len() <= octets.len() * 2 + 2048, "{error}");
                assert_eq!(verdict(&answer).0, error.result_code().0);
                Cca::read(&Message::parse(&answer).unwrap()).unwrap();
            }
        }
    });
    eprintln!("gy_request: {accepted} accepted, {refused} refused");
    assert!(accepted > 0 && refused > 0);
}

/// Any outcome is an answer that a client can read, of a size that follows from outcome and request.
fn answer(random: &mut Random, echo: &Echo, request: &Message<'_>) {
    let outcome = outcome(random);
    let mut octets = vec![7; random.below(3)];
    let before = octets.len();
    let length = encode(&mut octets, echo, &outcome, &ours(), &profile(random)).unwrap();
    assert_eq!(octets.len(), before + length);
    let answer = &octets[before..];
    assert!(length <= request.octets().len() * 2 + 24_576, "{length}");
    let message = Message::parse(answer).unwrap();
    well_formed(answer);
    assert_eq!(message.header(), &Header { flags: message.header().flags, ..request.header().answer() });
    if message.header().command == CommandCode::CREDIT_CONTROL && !verdict(answer).1 {
        check_message_grammar(&message).unwrap();
    }
    let cca = Cca::read(&message).unwrap();
    assert_eq!(cca.services.is_empty(), message.find(AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL).is_none());
}

fn outcome(random: &mut Random) -> Outcome {
    if random.below(3) == 0 {
        return Outcome::Refused(match random.below(14) {
            0 => Refusal::UnknownSubscriber,
            1 => Refusal::IdentifiersDisagree,
            2 => Refusal::UnknownSession,
            3 => Refusal::ServiceDenied,
            4 => Refusal::Rejected,
            5 => Refusal::CreditLimitReached,
            6 => Refusal::RatingFailed,
            7 => Refusal::KeyReused,
            8 => Refusal::AnswerGone,
            9 => Refusal::NothingToRefund,
            10 => Refusal::RefundBeyondCharge,
            11 => Refusal::TooBusy,
            12 => Refusal::OutOfRange,
            _ => Refusal::Invalid("no"),
        });
    }
    let count = if random.below(20) == 0 { SERVICES_MAX } else { random.below(4) };
    Outcome::Answered(Answered {
        services: (0..count).map(|_| ServiceOutcome { key: key(random), result: result(random) }).collect(),
        cost: (random.below(2) == 0).then(|| (Money::from_micros(random.next().cast_signed()), Currency::EUR)),
        enough_credit: [None, Some(true), Some(false)][random.below(3)],
        session_gone: random.below(10) == 0,
        refund_reference: (random.below(2) == 0).then(|| SessionId::new(&vec![b's'; random.below(265)])),
    })
}

fn number(random: &mut Random) -> u32 {
    u32::try_from(random.next() >> 32).unwrap()
}

fn key(random: &mut Random) -> ServiceKey {
    let rating_group = (random.below(3) > 0).then(|| RatingGroup::new(number(random)));
    let services = (0..random.below(3)).map(|_| ServiceId::new(number(random))).collect();
    ServiceKey { rating_group, services }
}

fn result(random: &mut Random) -> ServiceResult {
    let amount = |random: &mut Random| match random.below(3) {
        0 => None,
        1 => Some(random.next()),
        _ => Some(1 << 20),
    };
    match random.below(4) {
        0 => ServiceResult::Settled,
        1 => ServiceResult::Denied(
            [
                Denial::CreditLimitReached,
                Denial::ServiceDenied,
                Denial::Rejected,
                Denial::RatingFailed,
                Denial::UsageSuspect,
            ][random.below(5)],
        ),
        _ => {
            let amounts: Vec<_> = (0..5).map(|_| amount(random)).collect();
            let money = amount(random)
                .map(|micros| MoneyUnits { amount: Money::from_micros(micros.cast_signed()), currency: Some(978) });
            ServiceResult::Granted(Grant {
                units: Units {
                    seconds: amounts[0],
                    total_octets: amounts[1],
                    uplink_octets: amounts[2],
                    downlink_octets: amounts[3],
                    events: amounts[4],
                    money,
                }
                .into(),
                validity_seconds: number(random),
                switch: amount(random).map(|millis| Timestamp::from_millis(millis.cast_signed())),
                threshold: random.next(),
                last: random.below(2) == 0,
            })
        }
    }
}

/// A mutated answer is read or refused, and nothing of it is kept twice.
#[test]
fn gy_answer() {
    let corpus = gy_corpus(false);
    let mut read = 0_u64;
    rounds("gy_answer", |random| {
        let octets = gy_mutated(random, &corpus);
        let Ok(message) = Message::parse(&octets) else { return };
        match Cca::read(&message) {
            Ok(cca) => {
                read += 1;
                assert!(cca.services.len() * 8 <= octets.len());
                assert!(random.below(50) > 0 || format!("{cca:?}").len() <= octets.len() * 64 + 4096);
                let _ = cca.is_success();
            }
            Err(error) => assert!(error.failed_avp().is_none_or(|failed| failed.len() <= octets.len() + 64)),
        }
    });
    assert!(read > 0);
}

/// A mutated RAA, ASA, RAR or ASR is read or refused, and what is kept of it is bounded.
#[test]
fn gy_ask() {
    let session = SessionId::new(b"pgw01.example.net;1;2;gy");
    let to = Addressee { session: &session, host: "pgw01.example.net", realm: "example.net" };
    let scope = Scope { rating_group: Some(RatingGroup::new(10)), service: Some(ServiceId::new(7)) };
    let asks = [Ask::Reauthorise(scope), Ask::Abort];
    let mut corpus = Vec::new();
    for ask in asks {
        let mut request = Vec::new();
        encode_ask(&mut request, ask, &to, &ours()).unwrap();
        let read = Message::parse(&request).unwrap();
        let mut answer = Vec::new();
        client::answer(&mut answer, &read, &ours(), ResultCode::LIMITED_SUCCESS, Some("on its way")).unwrap();
        let experimental = build(&read.header().answer(), |answer| {
            answer.octets(AvpCode::SESSION_ID, session.octets());
            answer.grouped(AvpCode::EXPERIMENTAL_RESULT, |result| {
                result.u32(AvpCode::VENDOR_ID, 10_415);
                result.u32(AvpCode::EXPERIMENTAL_RESULT_CODE, 5003);
            });
        });
        corpus.extend([request, answer, experimental]);
    }
    let (mut read, mut refused, mut demands) = (0_u64, 0_u64, 0_u64);
    rounds("gy_ask", |random| {
        let octets = gy_mutated(random, &corpus);
        let Ok(message) = Message::parse(&octets) else { return };
        for ask in asks {
            match Answer::read(&message, ask, &session) {
                Ok(answer) => {
                    read += 1;
                    assert!(answer.message.is_none_or(|text| text.len() <= 3 * 512));
                    let _ = (answer.code.meaning(), answer.code.to_string());
                }
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().len() < 4096);
                }
            }
        }
        if let Ok(Some(demand)) = Demand::read(&message) {
            demands += 1;
            let to = Addressee { session: &demand.session, host: &demand.host, realm: &demand.realm };
            let own = Identity { host: demand.server.clone(), ..ours() };
            let mut again = Vec::new();
            encode_ask(&mut again, demand.ask, &to, &own).unwrap();
            assert_eq!(Demand::read(&Message::parse(&again).unwrap()).unwrap(), Some(demand));
        }
    });
    assert!(read > 0 && refused > 0 && demands > 0);
}
