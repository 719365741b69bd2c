//! Traffic against a small server over loopback that can misbehave.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use diameter::{
    ApplicationId, AvpCode, Flags, Identity, Local, Message, MessageWriter, PeerFacts, ResultCode, Timers, UnknownAvps,
};
use diameter_tcp::{Config, Handled, Limits, Peers, Server, listen};
use rating_engine::ids::Lsn;
use tokio::sync::watch;

use super::{Report, run};
use crate::cli::{Cli, Command};

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    Good,
    /// Updates are denied in their MSCCs.
    DeniesUpdates,
    /// Everything is denied at command level.
    DeniesAll,
    /// Every third request comes at a bad time.
    OftenBusy,
    /// Answers with another session's name.
    MixesSessions,
    /// Grants nothing with success.
    GrantsNothing,
    /// Repeats get another grant.
    ForgetsAnswers,
    /// Turns updates away.
    Loses,
    /// Stops to answer.
    FallsSilent,
}

#[derive(Clone, Default)]
struct Seen {
    requests: Arc<AtomicU64>,
    /// Terminations are charged 1 micro-unit per octet used in them.
    charged: Arc<AtomicU64>,
    repeated: Arc<AtomicU64>,
}

fn answer(habit: Habit, seen: &Seen, known: &mut HashMap<Vec<u8>, u32>, request: &Message<'_>, out: &mut Vec<u8>) {
    let requests = seen.requests.fetch_add(1, Ordering::Relaxed);
    let u32_of = |code| request.find(code).unwrap().u32().unwrap();
    let (kind, number) = (u32_of(AvpCode::CC_REQUEST_TYPE), u32_of(AvpCode::CC_REQUEST_NUMBER));
    let session = request.find(AvpCode::SESSION_ID).unwrap();
    let repeated = request.header().flags.contains(Flags::RETRANSMITTED);
    let busy = habit == Habit::OftenBusy && requests % 3 == 2;
    let code = if busy {
        ResultCode::TOO_BUSY
    } else if habit == Habit::DeniesAll {
        ResultCode::CREDIT_LIMIT_REACHED
    } else if habit == Habit::Loses && kind == 2 {
        ResultCode::UNKNOWN_SESSION_ID
    } else {
        ResultCode::SUCCESS
    };
    let mut fresh = false;
    if code == ResultCode::SUCCESS {
        // Numbers of a session follow each other, and nothing that was answered is asked again without the T flag.
        let last = known.insert(session.data.to_vec(), number);
        fresh = !repeated || last != Some(number);
        assert!(!fresh || number == last.map_or(0, |last| last + 1), "{number} after {last:?}");
    }
    seen.repeated.fetch_add(u64::from(repeated), Ordering::Relaxed);
    let mut answer = MessageWriter::new(out, &request.header().answer());
    if habit == Habit::MixesSessions {
        answer.utf8(AvpCode::SESSION_ID, "another");
    } else {
        answer.copy(&session);
    }
    answer.u32(AvpCode::RESULT_CODE, code.0);
    answer.utf8(AvpCode::ORIGIN_HOST, "ocs.example.org");
    answer.utf8(AvpCode::ORIGIN_REALM, "example.org");
    answer.u32(AvpCode::AUTH_APPLICATION_ID, ApplicationId::CREDIT_CONTROL.0);
    answer.u32(AvpCode::CC_REQUEST_TYPE, kind);
    answer.u32(AvpCode::CC_REQUEST_NUMBER, number);
    let mut used = 0;
    if code == ResultCode::SUCCESS {
        for avp in request.avps().map(Result::unwrap) {
            if avp.code != AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL {
                continue;
            }
            let members = avp.grouped().unwrap();
            let total = members.find(AvpCode::USED_SERVICE_UNIT);
            let total = total.and_then(|used| used.grouped().unwrap().find(AvpCode::CC_TOTAL_OCTETS));
            used += total.map_or(0, |total| total.u64().unwrap());
            let denied = habit == Habit::DeniesUpdates && kind == 2;
            answer.grouped(avp.code, |answer| {
                if kind != 3 && !denied && habit != Habit::GrantsNothing {
                    let octets = if repeated && habit == Habit::ForgetsAnswers { 5 << 20 } else { 10 << 20 };
                    answer.grouped(AvpCode::GRANTED_SERVICE_UNIT, |units| units.u64(AvpCode::CC_TOTAL_OCTETS, octets));
                    answer.u32(AvpCode::VALIDITY_TIME, 1800);
                    answer.u32(AvpCode::VOLUME_QUOTA_THRESHOLD, 2 << 20);
                }
                answer.copy(&members.find(AvpCode::RATING_GROUP).unwrap());
                answer.u32(
                    AvpCode::RESULT_CODE,
                    if denied { ResultCode::CREDIT_LIMIT_REACHED.0 } else { ResultCode::SUCCESS.0 },
                );
            });
        }
        if kind == 3 {
            answer.grouped(AvpCode::COST_INFORMATION, |cost| {
                cost.grouped(AvpCode::UNIT_VALUE, |value| {
                    value.i64(AvpCode::VALUE_DIGITS, i64::try_from(used).unwrap());
                    value.i32(AvpCode::EXPONENT, -6);
                });
                cost.u32(AvpCode::CURRENCY_CODE, 978);
            });
            if fresh {
                seen.charged.fetch_add(used, Ordering::Relaxed);
            }
        }
    }
    answer.finish().unwrap();
}

/// Serves until the end of the process.
fn serve(habit: Habit) -> (SocketAddr, Seen) {
    let local = Local {
        identity: Identity { host: "ocs.example.org".into(), realm: "example.org".into(), state: 1 },
        served_realms: Vec::new(),
        vendor: 0,
        product: "test".into(),
        firmware: 1,
        allowed_peers: None,
        unknown_avps: UnknownAvps::default(),
        message_octets_max: 1 << 16,
        timers: Timers::default(),
    };
    let seen = Seen::default();
    let (theirs, mut known) = (seen.clone(), HashMap::new());
    let handler = move |_: &PeerFacts, request: &Message<'_>, _: Instant, out: &mut Vec<u8>| {
        if habit == Habit::FallsSilent && theirs.requests.load(Ordering::Relaxed) > 1000 {
            return Handled::NoAnswer;
        }
        answer(habit, &theirs, &mut known, request, out);
        Handled::Answer { lsn: Lsn::new(0), deadline: None }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(async { listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))) }).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (_mark, marked) = watch::channel(0);
        let server = Server::new(Config { local, limits: Limits::default() }, Peers::new(), handler, marked);
        runtime.block_on(server.serve(vec![listener], std::future::pending()));
    });
    (address, seen)
}

fn play(to: SocketAddr, options: &str) -> Report {
    let to = to.to_string();
    let line = ["ocs", "traffic", "--to", &to, "--seconds", "1", "--connections", "2", "--sessions", "8"];
    let Command::Traffic(options) = Cli::parse_from(line.into_iter().chain(options.split_whitespace())).command else {
        panic!("not traffic");
    };
    run(&options).unwrap()
}

fn check(habit: Habit, options: &str) -> (Report, Seen) {
    let (address, seen) = serve(habit);
    let report = play(address, options);
    println!("{habit:?}\n{report}\n");
    (report, seen)
}

#[test]
fn a_good_server_is_good() {
    let (report, seen) = check(Habit::Good, "--rating-groups 3 --repeat-every 7");
    assert!(report.is_good());
    assert_eq!(report.all.requests, report.all.answers);
    let [initial, update, termination] = &report.kinds;
    assert_eq!(initial.requests, termination.requests);
    assert_eq!(report.counts.sessions, termination.requests);
    assert!(update.requests > initial.requests);
    assert!(report.counts.duplicates > 0);
    assert_eq!(report.counts.duplicates, seen.repeated.load(Ordering::Relaxed));
    assert_eq!(report.charged_micros["EUR"], i128::from(seen.charged.load(Ordering::Relaxed)));
    assert!(report.charged_micros["EUR"] > 0);
    assert_eq!(report.summary()["from"], "ocs traffic");
    assert_eq!(report.summary()["charged_micros"]["EUR"], seen.charged.load(Ordering::Relaxed));
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let (report, _) = check(Habit::Good, "--rate 2000");
    assert!(report.is_good());
    let kept = report.all.requests + report.counts.not_sent;
    // The drain adds the ends of sessions.
    assert!((2000..=2016).contains(&kept), "{kept}");
}

#[test]
fn an_open_loop_without_free_sessions_says_so() {
    let (report, _) = check(Habit::FallsSilent, "--rate 5000");
    assert!(report.counts.not_sent > 2000);
}

#[test]
fn denials_are_no_errors() {
    for (habit, options) in [(Habit::DeniesUpdates, "--rating-groups 2"), (Habit::DeniesAll, "")] {
        let (report, _) = check(habit, options);
        assert!(report.is_good());
        assert!(report.counts.denied > 0);
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    let (report, seen) = check(Habit::OftenBusy, "--repeat-every 5");
    assert!(report.is_good());
    assert!(report.counts.busy > 0);
    assert!(report.counts.sessions > 0);
    assert_eq!(report.charged_micros["EUR"], i128::from(seen.charged.load(Ordering::Relaxed)));
}

#[test]
fn what_no_client_could_use_is_an_error() {
    for habit in [Habit::MixesSessions, Habit::GrantsNothing, Habit::ForgetsAnswers, Habit::FallsSilent] {
        let (report, _) = check(habit, "--repeat-every 10");
        assert!(!report.is_good());
        assert!(report.counts.faults > 0);
        assert!(!report.complaints.is_empty());
    }
    let (report, _) = check(Habit::Loses, "");
    assert!(report.unexpected[&5002] > 0);
    assert!(report.counts.untold > 0);
}

#[test]
fn nobody_there_is_an_error() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = listener.local_addr().unwrap().to_string();
    drop(listener);
    let Command::Traffic(options) = Cli::parse_from(["ocs", "traffic", "--to", &to]).command else {
        panic!("not traffic");
    };
    assert!(run(&options).unwrap_err().to_string().contains(&to));
}
