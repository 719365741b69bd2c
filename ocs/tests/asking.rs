//! Clients that are asked back, over TCP: after a top-up by the real binary, and whatever else they may answer to in one
//! process over a disk in memory.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance_store::{FaultDisk, MemoryState};
use diameter::gy::ask::{AnswerCode, Ask, Meaning, Scope};
use diameter::gy::client::{self, Cca, Ccr, Demand, Kind, ServiceAnswer};
use diameter::{Header, Identity, Local, Message, MessageWriter, ResultCode, Timers, UnknownAvps};
use diameter_tcp::client::{Client, Receiver, Sender};
use diameter_tcp::{Limits, Peers};
use ocs::asking::{ANSWER_MAX, Asked, Asking, OpenSession};
use ocs::clock::Clock;
use ocs::config::Config;
use ocs::gy::{GyFront, GyHandler};
use ocs::setup::Filling;
use ocs::store::{self, Running};
use ocs::telemetry::Telemetry;
use ocs_api::client::{AccountsClient, AuditLogClient, SessionsClient, VouchersClient};
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use rating_engine::command::{Requested, ServiceRequest};
use rating_engine::ids::{GroupId, Identifier, RatingGroup, SessionId};
use rating_engine::time::Timestamp;
use rating_engine::units::Units;
use tokio::sync::watch;

use campaign::element::REALM;
use campaign::server::Server;
use campaign::volume;

/// A client hears of a top-up within so long.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// Nothing else takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);
const BEGIN: Timestamp = Timestamp::from_seconds(1_800_000_000);
const SERVER_HOST: &str = "ocs.example.org";
const WHOLE: Ask = Ask::Reauthorise(Scope { rating_group: None, service: None });

/// A network element that keeps what the server asks it until somebody looks.
struct Element {
    own: Identity,
    sender: Sender,
    receiver: Receiver,
    asked: VecDeque<Vec<u8>>,
}

impl Element {
    async fn connect(server: SocketAddr, host: &str) -> Self {
        let own = Identity { host: host.to_owned(), realm: REALM.to_owned(), state: 0 };
        let (sender, receiver) = Client::connect(server, own.clone()).await.unwrap().split();
        Self { own, sender, receiver, asked: VecDeque::new() }
    }

    /// Sends a request of a session, as `host`, and waits for its answer.
    async fn call_as(&mut self, host: &str, ccr: &Ccr<'_>, subscriber: u64) -> Cca {
        let imsi: Identifier = format!("imsi-{}", ocs::demo::imsi(subscriber)).parse().unwrap();
        let ccr = Ccr {
            host,
            realm: REALM,
            destination_realm: REALM,
            service_context: "14.32251@3gpp.org",
            identifiers: std::slice::from_ref(&imsi),
            ..*ccr
        };
        let mut octets = Vec::new();
        ccr.encode(&mut octets).unwrap();
        let id = self.sender.queue(&octets);
        self.sender.flush().await.unwrap();
        let mut answer = None;
        while answer.is_none() {
            let asked = &mut self.asked;
            let each = |message: &Message<'_>, _: &mut Vec<u8>| {
                if message.header().is_request() {
                    asked.push_back(message.octets().to_vec());
                } else if message.header().hop_by_hop == id {
                    answer = Some(Cca::read(message).unwrap());
                }
            };
            tokio::time::timeout(PATIENCE, self.receiver.read(each)).await.unwrap().unwrap();
        }
        answer.unwrap()
    }

    async fn call(&mut self, ccr: &Ccr<'_>, subscriber: u64) -> Cca {
        let host = self.own.host.clone();
        self.call_as(&host, ccr, subscriber).await
    }

    /// The next request of the server.
    async fn asked(&mut self) -> Vec<u8> {
        while self.asked.is_empty() {
            let asked = &mut self.asked;
            self.receiver.read(|message, _| asked.push_back(message.octets().to_vec())).await.unwrap();
        }
        self.asked.pop_front().unwrap()
    }

    async fn answer(&self, request: &[u8], code: ResultCode, error: Option<&str>) {
        let mut octets = Vec::new();
        client::answer(&mut octets, &Message::parse(request).unwrap(), &self.own, code, error).unwrap();
        self.receiver.reply(&octets).await.unwrap();
    }
}

fn demand(request: &[u8]) -> Demand {
    Demand::read(&Message::parse(request).unwrap()).unwrap().unwrap()
}

fn opens<'a>(session: &'a str, services: &'a [ServiceRequest]) -> Ccr<'a> {
    Ccr { session, kind: Kind::Initial, number: 0, services, ..Ccr::default() }
}

fn octets(octets: u64) -> Requested {
    Requested::Units(Units { total_octets: Some(octets), ..Units::default() })
}

/// Octets granted, and whether they are the last ones.
fn granted(answer: &ServiceAnswer) -> (u64, bool) {
    let units = answer.granted.as_ref().and_then(|units| units.total_octets);
    (units.unwrap_or(0), answer.final_action.is_some())
}

fn metrics(server: &Server) -> String {
    let mut stream = std::net::TcpStream::connect(server.metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ocs\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// One session runs on its last units and another gets nothing, for want of money. It arrives, and both are told at once. A
/// session that lacks nothing, and one of somebody else who has nothing, are left alone.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_wait_for_money_are_told_when_it_arrives() {
    const SUBSCRIBER: u64 = 1;
    const NOBODY_PAYS: u64 = 70;
    let mut server = Server::start(NOBODY_PAYS);
    let mut element = Element::connect(server.gy, "pgw.example.org").await;
    let free = [volume(campaign::tariff::FREE_GROUP, None, octets(1 << 20))];
    let content = element.call(&opens("pgw;content", &free), SUBSCRIBER).await;
    assert_eq!(content.services[0].result, Some(2001), "{content:?}");
    let more_than_affordable = [volume(10, None, octets(1 << 40))];
    let last = element.call(&opens("pgw;last", &more_than_affordable), SUBSCRIBER).await;
    let (last_units, is_last) = granted(&last.services[0]);
    assert!(is_last && last_units > 0, "{last:?}");
    for (session, subscriber) in [("pgw;denied", SUBSCRIBER), ("pgw;other", NOBODY_PAYS)] {
        let denied = element.call(&opens(session, &more_than_affordable), subscriber).await;
        assert_eq!((denied.result, denied.services[0].result), (2001, Some(4012)), "{denied:?}");
    }

    let mut accounts = AccountsClient::connect(format!("http://{}", server.grpc)).await.unwrap();
    let top_up = wire::TopUpRequest {
        account: Some(wire::top_up_request::Account::AccountId(SUBSCRIBER)),
        amount: Some(common::Money { mantissa: 500, scale: 2, currency: "EUR".into() }),
        idempotency_key: "one".into(),
        reason: "test".into(),
        ..wire::TopUpRequest::default()
    };
    accounts.top_up(top_up.clone()).await.unwrap();
    let paid = Instant::now();
    let mut told = Vec::new();
    for _ in 0..2 {
        let request = tokio::time::timeout(TOLD_WITHIN, element.asked()).await.expect("told within a second");
        let demand = demand(&request);
        assert_eq!((demand.ask, &*demand.host, &*demand.realm), (WHOLE, "pgw.example.org", REALM), "{demand:?}");
        told.push(demand.session);
        element.answer(&request, ResultCode::LIMITED_SUCCESS, None).await;
    }
    assert!(paid.elapsed() < TOLD_WITHIN, "{:?}", paid.elapsed());
    told.sort();
    assert_eq!(told, [SessionId::new(b"pgw;denied"), SessionId::new(b"pgw;last")]);

    // The same top-up again is no money.
    assert!(accounts.top_up(top_up).await.unwrap().into_inner().repeated);
    for (session, used) in [("pgw;last", last_units), ("pgw;denied", 0)] {
        let report = [volume(10, Some(used), octets(1 << 20))];
        let update = Ccr { session, kind: Kind::Update, number: 1, services: &report, ..Ccr::default() };
        let answer = element.call(&update, SUBSCRIBER).await;
        assert_eq!(granted(&answer.services[0]), (1 << 20, false), "{session}: {answer:?}");
    }
    let more = tokio::time::timeout(Duration::from_millis(100), element.asked()).await;
    assert!(more.is_err(), "nobody else is told: {:?}", more.map(|request| demand(&request)));
    let said = metrics(&server);
    let counted = r#"ocs_asked_total{kind="reauthorise",result="consented"} 2"#;
    assert!(said.contains(counted), "{counted} is not in:\n{said}");
    server.ask_to_stop();
    server.stopped();
}

/// An operator finds sessions by account, client and need, looks at one, has its client ask again and then stop, and releases
/// one whose client is gone; who did it is in the audit log.
#[tokio::test(flavor = "multi_thread")]
async fn operators_steer_sessions_and_hear_what_the_client_says() {
    let mut server = Server::start(3);
    let mut element = Element::connect(server.gy, "pgw.example.org").await;
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", server.grpc)).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut sessions = SessionsClient::new(channel.clone());
    let watched = wire::WatchSessionsRequest { account: "accounts/2".into(), ..Default::default() };
    let mut watched = sessions.watch_sessions(watched).await.unwrap().into_inner();
    let some = [volume(10, None, octets(1 << 20))];
    for (session, subscriber) in [("pgw;1", 1), ("pgw;2", 2), ("pgw;3", 2)] {
        let answer = element.call(&opens(session, &some), subscriber).await;
        assert_eq!(answer.services[0].result, Some(2001), "{answer:?}");
    }
    let list = |request: wire::ListSessionsRequest| {
        let mut sessions = SessionsClient::new(channel.clone());
        async move { sessions.list_sessions(request).await.unwrap().into_inner() }
    };
    let all = list(wire::ListSessionsRequest { page_size: 2, ..Default::default() }).await;
    assert_eq!(all.sessions.len(), 2);
    let rest = list(wire::ListSessionsRequest { page_token: all.next_page_token, ..Default::default() }).await;
    assert_eq!((rest.sessions.len(), rest.next_page_token.as_str()), (1, ""));
    let of_two = wire::ListSessionsRequest { account: "accounts/2".into(), ..Default::default() };
    let mut found = list(of_two).await.sessions;
    assert_eq!(found.iter().map(|it| it.account.as_str()).collect::<Vec<_>>(), ["accounts/2"; 2]);
    let elsewhere = wire::ListSessionsRequest { client_host: "other.example.org".into(), ..Default::default() };
    assert!(list(elsewhere).await.sessions.is_empty());
    assert!(list(wire::ListSessionsRequest { waiting: true, ..Default::default() }).await.sessions.is_empty());

    let (first, second) = (found.remove(0), found.remove(0));
    let shown = sessions.get_session(wire::GetSessionRequest { name: first.name.clone() }).await.unwrap().into_inner();
    let service = shown.session.unwrap().session.unwrap().services.remove(0);
    assert_eq!(service.grant.unwrap().quantity, 1 << 20);

    let ask = wire::ReauthorizeSessionRequest { name: first.name.clone(), reason: "new tariff".into() };
    let client = async {
        let request = element.asked().await;
        assert_eq!(demand(&request).ask, WHOLE);
        element.answer(&request, ResultCode::LIMITED_SUCCESS, None).await;
    };
    let (answer, ()) = tokio::join!(sessions.reauthorize_session(ask), client);
    let answer = answer.unwrap().into_inner().answer.unwrap();
    assert_eq!((answer.kind(), answer.result_code), (wire::ClientAnswerKind::Consented, 2002));

    let ask = wire::TerminateSessionRequest { name: first.name.clone(), reason: "sim swapped".into() };
    let client = async {
        let request = element.asked().await;
        let demand = demand(&request);
        assert_eq!(demand.ask, Ask::Abort);
        element.answer(&request, ResultCode::SUCCESS, None).await;
        String::from_utf8_lossy(demand.session.octets()).into_owned()
    };
    let (answer, ended) = tokio::join!(sessions.terminate_session(ask), client);
    assert_eq!(answer.unwrap().into_inner().answer.unwrap().kind(), wire::ClientAnswerKind::Consented);
    let report = [volume(10, Some(1000), Requested::Nothing)];
    let stop = Ccr { session: &ended, kind: Kind::Termination, number: 1, services: &report, ..Ccr::default() };
    assert!(element.call(&stop, 2).await.is_success());
    let gone = sessions.get_session(wire::GetSessionRequest { name: first.name.clone() }).await.unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound, "{gone:?}");

    // The client that does not know the session, and then the client that is gone.
    let ask = wire::TerminateSessionRequest { name: second.name.clone(), reason: "stuck".into() };
    let client = async {
        let request = element.asked().await;
        element.answer(&request, ResultCode::UNKNOWN_SESSION_ID, None).await;
    };
    let (answer, ()) = tokio::join!(sessions.terminate_session(ask.clone()), client);
    assert_eq!(answer.unwrap().into_inner().answer.unwrap().kind(), wire::ClientAnswerKind::UnknownSession);
    drop(element);
    let mut kind = wire::ClientAnswerKind::Unspecified;
    for _ in 0..100 {
        let answer = sessions.terminate_session(ask.clone()).await.unwrap().into_inner().answer.unwrap();
        kind = answer.kind();
        if kind == wire::ClientAnswerKind::NotConnected {
            break;
        }
    }
    assert_eq!(kind, wire::ClientAnswerKind::NotConnected);
    let release = wire::ReleaseSessionRequest { name: second.name.clone(), reason: "its gateway was replaced".into() };
    sessions.release_session(release.clone()).await.unwrap();
    assert_eq!(sessions.release_session(release).await.unwrap_err().code(), tonic::Code::NotFound);
    let mut told = Vec::new();
    for _ in 0..4 {
        let change = tokio::time::timeout(PATIENCE, watched.message()).await.unwrap().unwrap().unwrap();
        told.push((change.event(), change.session.unwrap().name));
    }
    use wire::SessionEvent::{Ended, Opened};
    let mut opened = [told[0].1.clone(), told[1].1.clone()];
    opened.sort();
    assert_eq!((told[0].0, told[1].0), (Opened, Opened));
    assert_eq!(opened, [first.name.clone(), second.name.clone()], "the other account's is not told");
    assert_eq!(told[2..], [(Ended, first.name.clone()), (Ended, second.name.clone())]);
    let mut accounts = AccountsClient::new(channel.clone());
    let account = Some(wire::get_account_request::Account::AccountId(2));
    let account = accounts.get_account(wire::GetAccountRequest { account, tenant_id: 0 }).await.unwrap().into_inner();
    assert_eq!(account.account.unwrap().reserved.unwrap().mantissa, 0, "what was held is free");

    let mut audit = AuditLogClient::new(channel);
    let request = wire::ListAuditRecordsRequest { target: second.name, page_size: 1000, ..Default::default() };
    let records = audit.list_audit_records(request).await.unwrap().into_inner().records;
    assert_eq!(
        (records[0].method.as_str(), records[0].reason.as_str()),
        ("Sessions/ReleaseSession", "its gateway was replaced")
    );
    assert_eq!(records[0].differences[0].after, "ended");
    assert!(
        records
            .iter()
            .any(|record| record.method == "Sessions/TerminateSession" && record.differences[0].what == "answer")
    );
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// A voucher is money like any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_waits_is_told_of_a_redeemed_voucher() {
    let server = Server::start(1);
    let mut element = Element::connect(server.gy, "pgw.example.org").await;
    let denied = element.call(&opens("pgw;denied", &[volume(10, None, octets(1 << 40))]), 1).await;
    let (_, is_last) = granted(&denied.services[0]);
    assert!(is_last, "{denied:?}");
    let mut vouchers = VouchersClient::connect(format!("http://{}", server.grpc)).await.unwrap();
    let batch = wire::CreateVouchersRequest {
        batch: "one".into(),
        count: 1,
        value: Some(common::Money { mantissa: 5, scale: 0, currency: "EUR".into() }),
        expire_time: Some(prost_types::Timestamp { seconds: 32_472_144_000, nanos: 0 }),
        ..wire::CreateVouchersRequest::default()
    };
    let mut made = vouchers.create_vouchers(batch).await.unwrap().into_inner();
    let code = made.message().await.unwrap().unwrap().vouchers[0].code.clone();
    let beneficiary = Some(wire::redeem_voucher_request::Beneficiary::Account("accounts/1".into()));
    let redemption = wire::RedeemVoucherRequest { beneficiary, code, idempotency_key: "one".into() };
    vouchers.redeem_voucher(redemption).await.unwrap();
    let request = tokio::time::timeout(TOLD_WITHIN, element.asked()).await.expect("told within a second");
    assert_eq!(demand(&request).session, SessionId::new(b"pgw;denied"));
}

/// The system without its process: charging over a disk in memory, served over TCP.
struct System {
    running: Running,
    asking: Asking,
    gy: SocketAddr,
    _stop: watch::Sender<bool>,
}

impl System {
    fn start() -> Self {
        let mut config = Config::default();
        config.data.log_segment_mib = 1;
        config.data.log_tail_mib_max = 4;
        config.limits.shards = 4;
        (config.gy.origin_host, config.gy.origin_realm) = (SERVER_HOST.to_owned(), REALM.to_owned());
        let (disk, state) = (FaultDisk::new(1), Arc::new(MemoryState::default()));
        let load = || {
            let disk = Arc::new(disk.clone());
            let (log, cdrs) = (Path::new("data/log"), Path::new("data/cdr"));
            store::load_from(&config, None, disk, log, cdrs, state.clone(), BEGIN).unwrap()
        };
        let mut filling = Filling::over(&config, load(), Arc::new(Clock::manual(BEGIN))).unwrap();
        filling.demo(9, |_| ()).unwrap();
        filling.finish();
        let failed: balance_store::FailureHook = Arc::new(|error| panic!("{error}"));
        let telemetry = Arc::new(Telemetry::new());
        let running = store::run(&config, load(), Arc::new(Clock::manual(BEGIN)), telemetry.clone(), failed).unwrap();

        let durable = running.charging.journal.mark();
        let (told, mark) = watch::channel(durable.get().get());
        durable.on_advance(move |lsn| {
            told.send_replace(lsn.get());
        });
        let identity = Identity { host: SERVER_HOST.to_owned(), realm: REALM.to_owned(), state: 1 };
        let local = Local {
            identity: identity.clone(),
            served_realms: Vec::new(),
            vendor: 0,
            product: "ocs".to_owned(),
            firmware: 1,
            allowed_peers: None,
            unknown_avps: UnknownAvps::default(),
            message_octets_max: 1 << 16,
            timers: Timers::default(),
        };
        let (peers, front) = (Peers::default(), GyFront::new(running.charging.clone(), &config.gy).unwrap());
        let asking = Asking::start(identity, peers.clone(), front.ways(), telemetry);
        let transport = diameter_tcp::Config { local, limits: Limits::default() };
        let served = diameter_tcp::Server::new(transport, peers, GyHandler::new(Arc::new(front)), mark);
        let listener = diameter_tcp::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let gy = listener.local_addr().unwrap();
        let (stop, mut stopping) = watch::channel(false);
        tokio::spawn(served.serve(vec![listener], async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        }));
        Self { running, asking, gy, _stop: stop }
    }

    /// A session of subscriber 1 as it stands.
    fn session(&self, session: &str) -> OpenSession {
        let id = SessionId::new(session.as_bytes());
        let found = |shard: &mut rating_engine::shard::Shard| {
            shard.session(&id).filter(|session| session.is_open()).map(OpenSession::from)
        };
        self.running.charging.shards.with(GroupId::new(1), found).expect("the session is open")
    }

    /// A session of subscriber 1 that has what it wants, opened over `element`.
    async fn open(&self, element: &mut Element, session: &str) -> OpenSession {
        let services = [volume(10, None, octets(1 << 20))];
        let answer = element.call(&opens(session, &services), 1).await;
        assert_eq!(granted(&answer.services[0]), (1 << 20, false), "{answer:?}");
        self.session(session)
    }
}

const fn code(code: ResultCode) -> AnswerCode {
    AnswerCode::standard(code)
}

/// The client gets an ASR, consents, and ends the session with its last report: what was held goes back.
#[tokio::test]
async fn a_session_is_ended_from_here() {
    let system = System::start();
    let mut element = Element::connect(system.gy, "pgw.example.org").await;
    let session = system.open(&mut element, "pgw;1").await;
    let (open, reserved) = system.running.charging.sums();
    assert!(open == 1 && reserved > 0, "{open} {reserved}");
    let client = async {
        let request = element.asked().await;
        let asked = demand(&request);
        let expected = Demand {
            ask: Ask::Abort,
            session: SessionId::new(b"pgw;1"),
            server: SERVER_HOST.to_owned(),
            host: "pgw.example.org".to_owned(),
            realm: REALM.to_owned(),
        };
        assert_eq!(asked, expected);
        element.answer(&request, ResultCode::SUCCESS, None).await;
        element
    };
    let (asked, mut element) = tokio::join!(system.asking.abort(&session), client);
    assert_eq!(asked, Asked::Consented { code: code(ResultCode::SUCCESS) });
    assert_eq!(system.running.charging.sums(), (1, reserved), "it is open until the client ends it");
    let report = [volume(10, Some(1000), Requested::Nothing)];
    let stop = Ccr { session: "pgw;1", kind: Kind::Termination, number: 1, services: &report, ..Ccr::default() };
    assert!(element.call(&stop, 1).await.is_success());
    assert_eq!(system.running.charging.sums(), (0, 0));
    system.running.shutdown();
}

#[tokio::test]
async fn one_rating_group_can_be_named() {
    let system = System::start();
    let mut element = Element::connect(system.gy, "PGW.example.org").await;
    let session = system.open(&mut element, "pgw;1").await;
    let scope = Scope { rating_group: Some(RatingGroup::new(10)), service: None };
    let client = async {
        let request = element.asked().await;
        assert_eq!(demand(&request).ask, Ask::Reauthorise(scope));
        element.answer(&request, ResultCode::SUCCESS, None).await;
    };
    let (asked, ()) = tokio::join!(system.asking.reauthorise(&session, scope), client);
    assert_eq!(asked, Asked::Consented { code: code(ResultCode::SUCCESS) });
    system.running.shutdown();
}

/// The client of a sub-session is asked about what it knows: Session-Id and CC-Sub-Session-Id apart.
#[tokio::test]
async fn a_sub_session_is_named_as_the_client_names_it() {
    let system = System::start();
    let mut element = Element::connect(system.gy, "as.example.org").await;
    let services = [volume(10, None, octets(1 << 20))];
    element.call(&Ccr { sub_session: Some(9), ..opens("as;1", &services) }, 1).await;
    let session = system.session("as;1\0\0\0\0\0\0\0\0\u{9}");
    let client = async {
        let request = element.asked().await;
        let id = Message::parse(&request).unwrap().find(diameter::AvpCode::SESSION_ID).unwrap().data.to_vec();
        assert_eq!((id.as_slice(), demand(&request).session), (b"as;1".as_slice(), session.id.clone()));
        element.answer(&request, ResultCode::LIMITED_SUCCESS, None).await;
    };
    let (asked, ()) = tokio::join!(system.asking.reauthorise(&session, Scope::default()), client);
    assert_eq!(asked, Asked::Consented { code: code(ResultCode::LIMITED_SUCCESS) });
    system.running.shutdown();
}

#[tokio::test]
async fn a_client_that_is_not_connected_is_named() {
    let system = System::start();
    let mut element = Element::connect(system.gy, "pgw.example.org").await;
    let session = system.open(&mut element, "pgw;1").await;
    element.sender.disconnect(0).await.unwrap();
    drop(element);
    let asked = eventually_no_peer(&system, &session).await;
    assert_eq!(asked, Asked::NoPeer { host: "pgw.example.org".into() });
    assert!(asked.to_string().contains("pgw.example.org"), "{asked}");
    // Another client of its realm is no way to it.
    let _other = Element::connect(system.gy, "other.example.org").await;
    assert_eq!(system.asking.abort(&session).await, asked);
    system.running.shutdown();
}

/// Asks until the connection is gone.
async fn eventually_no_peer(system: &System, session: &OpenSession) -> Asked {
    let began = Instant::now();
    loop {
        let asked = system.asking.reauthorise(session, Scope::default()).await;
        if matches!(asked, Asked::NoPeer { .. }) || began.elapsed() > PATIENCE {
            return asked;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A client behind an agent is reached over the agent that its requests came over, under its own name.
#[tokio::test]
async fn a_client_behind_an_agent_is_asked_over_the_agent() {
    let system = System::start();
    let mut agent = Element::connect(system.gy, "dra.example.org").await;
    let services = [volume(10, None, octets(1 << 20))];
    agent.call_as("pgw.example.org", &opens("pgw;1", &services), 1).await;
    let session = system.session("pgw;1");
    let client = async {
        let request = agent.asked().await;
        assert_eq!(demand(&request).host, "pgw.example.org");
        agent.answer(&request, ResultCode::UNABLE_TO_DELIVER, Some("it is gone")).await;
    };
    let (asked, ()) = tokio::join!(system.asking.reauthorise(&session, Scope::default()), client);
    let refused = Asked::Refused { code: code(ResultCode::UNABLE_TO_DELIVER), message: Some("it is gone".into()) };
    assert_eq!(asked, refused);
    system.running.shutdown();
}

#[tokio::test]
async fn a_client_that_does_not_know_the_session_says_so() {
    let system = System::start();
    let mut element = Element::connect(system.gy, "pgw.example.org").await;
    let session = system.open(&mut element, "pgw;1").await;
    let client = async {
        let request = element.asked().await;
        element.answer(&request, ResultCode::UNKNOWN_SESSION_ID, None).await;
    };
    let (asked, ()) = tokio::join!(system.asking.reauthorise(&session, Scope::default()), client);
    assert_eq!(asked, Asked::Refused { code: code(ResultCode::UNKNOWN_SESSION_ID), message: None });
    assert_eq!(code(ResultCode::UNKNOWN_SESSION_ID).meaning(), Meaning::UnknownSession);
    assert_eq!(system.session("pgw;1"), session, "whether to release it is for others to say");
    system.running.shutdown();
}

/// It goes on with its session as if nothing had been asked, and what it answers in the end changes nothing.
#[tokio::test]
async fn a_client_that_never_answers_keeps_its_connection() {
    let system = System::start();
    let mut element = Element::connect(system.gy, "pgw.example.org").await;
    let session = system.open(&mut element, "pgw;1").await;
    let began = Instant::now();
    let asked = tokio::time::timeout(PATIENCE, system.asking.reauthorise(&session, Scope::default())).await.unwrap();
    assert_eq!(asked, Asked::TimedOut);
    assert!(began.elapsed() >= ANSWER_MAX && began.elapsed() < 2 * ANSWER_MAX, "{:?}", began.elapsed());
    let request = element.asked().await;
    element.answer(&request, ResultCode::SUCCESS, None).await;
    let report = [volume(10, Some(1000), octets(1 << 20))];
    let update = Ccr { session: "pgw;1", kind: Kind::Update, number: 1, services: &report, ..Ccr::default() };
    assert_eq!(granted(&element.call(&update, 1).await.services[0]), (1 << 20, false));
    system.running.shutdown();
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_is_told_apart_from_silence() {
    let system = System::start();
    let mut element = Element::connect(system.gy, "pgw.example.org").await;
    let session = system.open(&mut element, "pgw;1").await;
    let client = async move {
        element.asked().await;
        drop(element);
    };
    let (asked, ()) = tokio::join!(system.asking.abort(&session), client);
    assert_eq!(asked, Asked::ConnectionLost);
    system.running.shutdown();
}

#[tokio::test]
async fn an_answer_that_is_none_is_told_with_what_is_wrong() {
    let system = System::start();
    let mut element = Element::connect(system.gy, "pgw.example.org").await;
    let session = system.open(&mut element, "pgw;1").await;
    let client = async {
        let request = element.asked().await;
        let header: Header = Message::parse(&request).unwrap().header().answer();
        let mut empty = Vec::new();
        MessageWriter::new(&mut empty, &header).finish().unwrap();
        element.receiver.reply(&empty).await.unwrap();
    };
    let (asked, ()) = tokio::join!(system.asking.abort(&session), client);
    let Asked::Defective { what } = asked else { panic!("{asked:?}") };
    assert!(what.contains("Result-Code"), "{what}");
    system.running.shutdown();
}
