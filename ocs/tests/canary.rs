//! A tariff version for a share of subscribers first, on the real binary: it begins, grows, is promoted and rolled back while people
//! use it; each instant is charged as it was, however late it is told; each step is done once, is in the audit log, and survives
//! `kill -9`.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use ocs::demo;
use ocs_api::client::{AccountsClient, AuditLogClient, CatalogueClient, ClockClient, UsageClient};
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use rating_engine::ids::SubscriberId;
use rating_engine::reach::place;
use tonic::transport::Channel;
use tonic::{Code, Status};

use campaign::phone::{Phones, USED};
use campaign::refused;
use campaign::server::{PROGRAM, Server};

const NAME: &str = "tariffs/start-payg/versions/3";
const SUBSCRIBERS: u64 = 150;
/// 1,024,000 octets, ten pulses of 100 KiB: at 0.02 / MiB 0.01953125, at 0.04 0.0390625, rounded half up to four decimals once a session.
const AT_OLD: i64 = 19_500;
const AT_NEW: i64 = 39_100;

/// All clients of one system.
struct Desk {
    catalogue: CatalogueClient<Channel>,
    accounts: AccountsClient<Channel>,
    audit: AuditLogClient<Channel>,
    clock: ClockClient<Channel>,
    usage: UsageClient<Channel>,
}

impl Desk {
    async fn at(server: &Server) -> Self {
        let channel = Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap();
        Self {
            catalogue: CatalogueClient::new(channel.clone()),
            accounts: AccountsClient::new(channel.clone()),
            audit: AuditLogClient::new(channel.clone()),
            clock: ClockClient::new(channel.clone()),
            usage: UsageClient::new(channel),
        }
    }

    /// Micro-units of a subscriber.
    async fn balance(&mut self, subscriber: u64) -> i64 {
        let account = Some(wire::get_account_request::Account::Name(format!("accounts/{subscriber}")));
        let found = self.accounts.get_account(wire::GetAccountRequest { account, tenant_id: 0 }).await.unwrap();
        found.into_inner().account.unwrap().balance.unwrap().mantissa
    }

    async fn get(&mut self, name: &str) -> wire::GetDocumentResponse {
        let request = wire::GetDocumentRequest { name: name.into() };
        self.catalogue.get_document(request).await.unwrap().into_inner()
    }

    async fn document(&mut self, name: &str) -> wire::Document {
        self.get(name).await.document.unwrap()
    }

    /// Drafts and approves; the caller is the same for both on a server without four eyes.
    async fn approved(&mut self, source: &str) -> wire::Document {
        let name =
            source.lines().find(|line| !line.starts_with('#')).unwrap().to_owned() + source.lines().nth(2).unwrap();
        let key = |step: &str| format!("{step} {name}");
        let draft = wire::PutDraftRequest { source: source.into(), idempotency_key: key("put"), ..Default::default() };
        let draft = self.catalogue.put_draft(draft).await.unwrap().into_inner().document.unwrap();
        let (name, etag, idempotency_key) = (draft.name, draft.etag, key("approve"));
        let approve = wire::ApproveDraftRequest { name, etag, idempotency_key, ..Default::default() };
        self.catalogue.approve_draft(approve).await.unwrap().into_inner().document.unwrap()
    }

    async fn publish(&mut self, name: &str, key: &str) -> Result<wire::Document, Status> {
        let (name, idempotency_key) = (name.into(), key.into());
        let request = wire::PublishDocumentRequest { name, idempotency_key, ..Default::default() };
        Ok(self.catalogue.publish_document(request).await?.into_inner().document.unwrap())
    }

    async fn share(&mut self, request: wire::PublishShareRequest) -> Result<wire::PublishShareResponse, Status> {
        self.catalogue.publish_share(request).await.map(tonic::Response::into_inner)
    }

    async fn promote(&mut self, name: &str, key: &str) -> Result<wire::PromoteDocumentResponse, Status> {
        let (name, idempotency_key) = (name.into(), key.into());
        let request = wire::PromoteDocumentRequest { name, idempotency_key, ..Default::default() };
        self.catalogue.promote_document(request).await.map(tonic::Response::into_inner)
    }

    async fn roll_back(&mut self, name: &str, key: &str) -> Result<wire::RollBackDocumentResponse, Status> {
        let (name, idempotency_key, reason) = (name.into(), key.into(), "too dear".into());
        let request = wire::RollBackDocumentRequest { name, idempotency_key, reason, ..Default::default() };
        self.catalogue.roll_back_document(request).await.map(tonic::Response::into_inner)
    }

    async fn now(&mut self) -> prost_types::Timestamp {
        self.clock.get_time(wire::GetTimeRequest {}).await.unwrap().into_inner().now.unwrap()
    }

    async fn advance(&mut self, seconds: i64) {
        let by = Some(prost_types::Duration { seconds, nanos: 0 });
        self.clock.advance_time(wire::AdvanceTimeRequest { by }).await.unwrap();
    }

    async fn records(&mut self, target: &str) -> Vec<wire::AuditRecord> {
        let request = wire::ListAuditRecordsRequest { target: target.into(), page_size: 1000, ..Default::default() };
        self.audit.list_audit_records(request).await.unwrap().into_inner().records
    }

    /// What a usage record costs that tells now what was used at `start`.
    async fn told_late(&mut self, subscriber: u64, start: prost_types::Timestamp) -> i64 {
        let units = common::Units { total_octets: Some(USED), ..Default::default() };
        let key = common::ServiceKey { rating_group: Some(10), ..Default::default() };
        let record = wire::UsageRecord {
            record_id: format!("{subscriber} at {start}"),
            identifiers: vec![format!("imsi-{}", demo::imsi(subscriber))],
            start: Some(start),
            service: Some(common::ServiceKind { service: common::Service::Data.into(), specification: 0 }),
            used: vec![wire::ServiceUsage { service_key: Some(key), units: Some(units) }],
            ..Default::default()
        };
        let request = wire::ChargeRecordsRequest { record: Some(record) };
        let mut answers = self.usage.charge_records(tokio_stream::iter([request])).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.state(), wire::RecordState::Charged, "{answer:?}");
        answer.charged.unwrap().mantissa
    }
}

fn share(name: &str, share_basis_points: u32, named: &[&str], key: &str) -> wire::PublishShareRequest {
    wire::PublishShareRequest {
        name: name.into(),
        share_basis_points,
        named: named.iter().map(|&name| name.into()).collect(),
        idempotency_key: key.into(),
        reason: "try it".into(),
        ..Default::default()
    }
}

/// The demo tariff as another version, at twice the price for data.
fn dearer(version: u32) -> String {
    let source = demo::CATALOGUE[0];
    assert!(source.contains("version: 2\n") && source.contains("rate: 0.02 / MiB"));
    let source = source.replace("version: 2\n", &format!("version: {version}\n"));
    source.replace("rate: 0.02 / MiB", "rate: 0.04 / MiB")
}

/// A demo subscriber of the tariff, with money, who stands there among all for the version.
fn who(document: &wire::Document, places: std::ops::Range<u16>) -> u64 {
    let hash: [u8; 32] = document.content_hash.clone().try_into().unwrap();
    let stands = |id: &u64| places.contains(&place(&hash, SubscriberId::new(*id)));
    (1..=SUBSCRIBERS)
        .filter(|id| (1..=3).contains(&(id % 10)))
        .find(stands)
        .expect("somebody stands there: there are enough subscribers")
}

/// What a whole session costs somebody now.
async fn cost(desk: &mut Desk, element: &mut Phones, whose: u64, session: &str) -> i64 {
    let before = desk.balance(whose).await;
    element.open(whose, session).await;
    element.close(whose, session, 1).await;
    before - desk.balance(whose).await
}

/// Version 3, at twice the price, is for 50 % from now on, for 80 % and one by name 100 seconds later, for all 100 seconds after that, and
/// rolled back 100 seconds later. Each instant has its price, for sessions, for an open session that is split, for what is told late;
/// and has it still behind a restart from the log and one from the checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_goes_its_way_while_people_are_charged() {
    let mut server = Server::new(SUBSCRIBERS, &["--clock", "manual", "--no-four-eyes"]);
    server.restart();
    let mut desk = Desk::at(&server).await;
    let mut element = Phones::connect(server.gy).await;
    let approved = desk.approved(&dearer(3)).await;
    // In from the beginning, with the second step, by name, with the last step.
    let (first, second, last) = (who(&approved, 0..5_000), who(&approved, 5_000..8_000), who(&approved, 8_000..9_000));
    let named = who(&approved, 9_000..10_000);
    let people = [first, second, named, last];
    let mut session = 0;
    let mut costs = async |desk: &mut Desk, element: &mut Phones| {
        session += 1;
        let mut costs = Vec::new();
        for person in people {
            costs.push(cost(desk, element, person, &session.to_string()).await);
        }
        costs
    };
    assert_eq!(costs(&mut desk, &mut element).await, [AT_OLD; 4], "it is approved, not published");
    let begin = desk.now().await;
    let at = |seconds: i64| prost_types::Timestamp { seconds: begin.seconds + seconds, nanos: begin.nanos };
    desk.advance(100).await;

    let begun = desk.share(share(NAME, 5_000, &[], "begin")).await.unwrap().document.unwrap();
    assert_eq!((begun.state(), begun.publish_time), (wire::DocumentState::Canary, Some(at(100))));
    assert_eq!(costs(&mut desk, &mut element).await, [AT_NEW, AT_OLD, AT_OLD, AT_OLD]);
    element.open(second, "100").await;
    desk.advance(100).await;
    element.report(second, "100", 1).await;

    let by_name = format!("subscribers/imsi-{}", demo::imsi(named));
    let raised = desk.share(share(NAME, 8_000, &[&by_name], "raise")).await.unwrap().document.unwrap();
    let step = |from: i64, share_basis_points: u32, named: u32| wire::CanaryStep {
        from: Some(at(from)),
        share_basis_points,
        named,
        publisher: "local".into(),
    };
    assert_eq!(raised.canary, [step(100, 5_000, 0), step(200, 8_000, 1)]);
    assert_eq!(desk.get(NAME).await.named, [format!("subscribers/{named}")]);
    assert_eq!(costs(&mut desk, &mut element).await, [AT_NEW, AT_NEW, AT_NEW, AT_OLD]);
    desk.advance(50).await;
    let before = desk.balance(second).await;
    element.close(second, "100", 2).await;
    // 0.01953125 before the step and 0.0390625 since: 0.05859375, rounded 0.0586, less the 0.0195 that were charged.
    assert_eq!(
        before - desk.balance(second).await,
        58_600 - AT_OLD,
        "an open session is split where its tariff says so"
    );
    let counted = metric(&server, "ocs_canary_charges_total");
    assert_eq!(counted["canary"], 1 + 3 + 1, "sessions of the canary, and the split one's second report: {counted:?}");
    assert_eq!(counted["rest"], 3 + 1 + 1, "{counted:?}");
    let money = metric(&server, "ocs_canary_charged_micros_total");
    assert_eq!(money["canary"], 4 * 39_100 + 39_100, "{money:?}");
    assert_eq!(money["rest"], 5 * 19_500, "{money:?}");

    desk.advance(50).await;
    let whole = desk.promote(NAME, "promote").await.unwrap().document.unwrap();
    assert_eq!((whole.state(), whole.canary.last()), (wire::DocumentState::Published, Some(&step(300, 10_000, 1))));
    assert_eq!(costs(&mut desk, &mut element).await, [AT_NEW; 4]);
    desk.advance(100).await;
    let back = desk.roll_back(NAME, "back").await.unwrap();
    assert_eq!(back.document.unwrap().state(), wire::DocumentState::RolledBack);
    assert_eq!(back.in_force.unwrap().name, "tariffs/start-payg/versions/2");
    assert_eq!(costs(&mut desk, &mut element).await, [AT_OLD; 4]);

    let records = desk.records(NAME).await;
    let methods: Vec<&str> = records.iter().map(|record| record.method.as_str()).collect();
    let expected = ["RollBackDocument", "PromoteDocument", "PublishShare", "PublishShare", "ApproveDraft", "PutDraft"];
    assert_eq!(methods, expected.map(|method| format!("Catalogue/{method}")));
    let difference = |place: usize, what: &str| {
        let found = records[place].differences.iter().find(|it| it.what == what);
        found.map(|it| (it.before.as_str(), it.after.as_str()))
    };
    assert_eq!(difference(3, "share"), Some(("", "50.00 %")));
    assert_eq!(difference(3, "state"), Some(("approved", "canary")));
    assert_eq!(difference(2, "share"), Some(("50.00 %", "80.00 %")));
    assert_eq!(difference(2, "named"), Some(("", named.to_string().as_str())));
    assert_eq!(difference(1, "share"), Some(("80.00 %", "100.00 %")));
    assert_eq!(difference(0, "state"), Some(("published", "rolled_back")));

    // What is told now of then: before it began; at 50 %; at 80 % and by name; for all; rolled back. From memory, from the log, from
    // the checkpoint behind it.
    desk.advance(10).await;
    for round in 0..3 {
        for (person, prices) in [
            (first, [AT_OLD, AT_NEW, AT_NEW, AT_NEW, AT_OLD]),
            (second, [AT_OLD, AT_OLD, AT_NEW, AT_NEW, AT_OLD]),
            (named, [AT_OLD, AT_OLD, AT_NEW, AT_NEW, AT_OLD]),
            (last, [AT_OLD, AT_OLD, AT_OLD, AT_NEW, AT_OLD]),
        ] {
            // Another record each round.
            let instants = [99 - round, 199 - round, 299 - round, 399 - round, 400 + round];
            for (then, price) in instants.into_iter().zip(prices) {
                assert_eq!(desk.told_late(person, at(then)).await, price, "{person} at {then}");
            }
        }
        match round {
            0 => server.kill(),
            1 => {
                server.ask_to_stop();
                server.stopped();
            }
            _ => break,
        }
        server.restart();
        desk = Desk::at(&server).await;
    }
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// The values of a metric of canaries by its part.
fn metric(server: &Server, name: &str) -> std::collections::BTreeMap<String, u64> {
    let mut stream = TcpStream::connect(server.metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    let one = |line: &str| {
        assert!(line.contains("tariff=\"start-payg\"") && line.contains("version=\"3\""), "{line}");
        let part = if line.contains("part=\"canary\"") { "canary" } else { "rest" };
        (part.to_owned(), line.rsplit(' ').next().unwrap().parse().unwrap())
    };
    lines.map(one).collect()
}

/// What cannot be is refused with a stable reason, and changes nothing; a repeat gets the first answer, also after the next step.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_step_is_refused_and_a_repeat_gets_the_first_answer() {
    let mut server = Server::new(3, &["--no-four-eyes"]);
    server.restart();
    let mut desk = Desk::at(&server).await;
    let draft = wire::PutDraftRequest { source: dearer(4), idempotency_key: "draft".into(), ..Default::default() };
    desk.catalogue.put_draft(draft).await.unwrap();
    desk.approved(&dearer(3)).await;
    let alone = dearer(1).replace("tariff: start-payg", "tariff: alone");
    let alone = desk.approved(&alone).await.name;
    const DRAFT: &str = "tariffs/start-payg/versions/4";
    let many: Vec<String> = (1..=101).map(|number| format!("subscribers/{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    use Code::{Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound};
    for (request, code, reason) in [
        (share(DRAFT, 500, &[], "a"), FailedPrecondition, "WRONG_STATE"),
        (share("tariffs/start-payg/versions/2", 500, &[], "a"), FailedPrecondition, "WRONG_STATE"),
        (share("tariffs/start-payg/versions/9", 500, &[], "a"), NotFound, "DOCUMENT_NOT_FOUND"),
        (share("tariffs/start-payg", 500, &[], "a"), InvalidArgument, "INVALID_FIELD"),
        (share("offers/start/versions/1", 500, &[], "a"), InvalidArgument, "INVALID_FIELD"),
        (share(&alone, 500, &[], "a"), FailedPrecondition, "NOT_POSSIBLE"),
        (share(NAME, 10_000, &[], "a"), InvalidArgument, "INVALID_FIELD"),
        (share(NAME, u32::MAX, &[], "a"), InvalidArgument, "INVALID_FIELD"),
        (share(NAME, 0, &[], "a"), InvalidArgument, "INVALID_FIELD"),
        (share(NAME, 500, &["subscribers/4711"], "a"), InvalidArgument, "INVALID_FIELD"),
        (share(NAME, 500, &["tenants/7/subscribers/1"], "a"), InvalidArgument, "INVALID_FIELD"),
        (share(NAME, 500, &["accounts/1"], "a"), InvalidArgument, "INVALID_FIELD"),
        (share(NAME, 500, &many, "a"), InvalidArgument, "INVALID_FIELD"),
        (share(NAME, 500, &[], ""), InvalidArgument, "INVALID_FIELD"),
        (
            wire::PublishShareRequest { etag: "0000000000000000".into(), ..share(NAME, 500, &[], "a") },
            Aborted,
            "ETAG_MISMATCH",
        ),
    ] {
        refused(desk.share(request).await, code, reason);
    }
    refused(desk.promote(NAME, "a").await, FailedPrecondition, "WRONG_STATE");
    refused(desk.promote("tariffs/start-payg/versions/2", "a").await, FailedPrecondition, "WRONG_STATE");
    refused(desk.promote("tariffs/start-payg/versions/9", "a").await, NotFound, "DOCUMENT_NOT_FOUND");

    let began = std::time::Instant::now();
    let first = desk.share(share(NAME, 500, &["subscribers/2"], "begin")).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(100), "the answer comes when it counts");
    let document = first.document.clone().unwrap();
    for (request, code, reason) in [
        (share(NAME, 501, &["subscribers/2"], "begin"), AlreadyExists, "KEY_REUSED"),
        (share(NAME, 499, &[], "b"), FailedPrecondition, "NOT_POSSIBLE"),
        (share(NAME, 500, &["subscribers/2"], "b"), FailedPrecondition, "NOT_POSSIBLE"),
        (wire::PublishShareRequest { etag: "-".into(), ..share(NAME, 600, &[], "b") }, Aborted, "ETAG_MISMATCH"),
        (
            wire::PublishShareRequest { etag: "0000000000000000".into(), ..share(NAME, 600, &[], "b") },
            Aborted,
            "ETAG_MISMATCH",
        ),
    ] {
        refused(desk.share(request).await, code, reason);
    }
    refused(desk.publish(NAME, "b").await, FailedPrecondition, "WRONG_STATE");
    // Whoever is not in it would have none.
    refused(desk.roll_back("tariffs/start-payg/versions/2", "b").await, FailedPrecondition, "NOTHING_BEFORE");
    let etag = document.etag.clone();
    desk.share(wire::PublishShareRequest { etag, ..share(NAME, 0, &["subscribers/1"], "names") }).await.unwrap();
    assert_eq!(desk.get(NAME).await.named, ["subscribers/1", "subscribers/2"]);
    let last = desk.document(NAME).await.canary.last().cloned().unwrap();
    assert_eq!((last.share_basis_points, last.named), (500, 2), "the share stays, the names are added");
    let again = desk.share(share(NAME, 500, &["subscribers/2"], "begin")).await.unwrap();
    assert_eq!((again.repeated, again.document), (true, first.document));

    // On a copy: whoever is in pays the new price, whoever is nobody the old one, and a version that is named counts for anybody.
    let event = wire::SimulateEventRequest {
        tariff: "start-payg".into(),
        used: "1000 KiB".into(),
        rating_group: Some(10),
        ..Default::default()
    };
    for (subscriber, drafts, version, price) in [
        ("subscribers/1", vec![], 3, AT_NEW),
        ("", vec![], 2, AT_OLD),
        ("", vec![NAME.to_owned()], 3, AT_NEW),
        ("subscribers/3", vec![NAME.to_owned()], 3, AT_NEW),
    ] {
        let tariff = if subscriber.is_empty() { event.tariff.clone() } else { String::new() };
        let asked = wire::SimulateEventRequest { subscriber: subscriber.into(), tariff, drafts, ..event.clone() };
        let answer = desk.catalogue.simulate_event(asked).await.unwrap().into_inner();
        let charge = &answer.charges[0];
        assert_eq!((charge.tariff_version, charge.amount.as_ref().unwrap().mantissa), (version, price), "{subscriber}");
    }
    desk.promote(NAME, "promote").await.unwrap();
    refused(desk.promote(NAME, "again").await, FailedPrecondition, "WRONG_STATE");
    refused(desk.share(share(NAME, 9_000, &[], "c")).await, FailedPrecondition, "WRONG_STATE");
    assert!(desk.promote(NAME, "promote").await.unwrap().repeated);
    let methods: Vec<String> = desk.records(NAME).await.into_iter().map(|record| record.method).collect();
    let done = ["PromoteDocument", "PublishShare", "PublishShare", "ApproveDraft", "PutDraft"];
    assert_eq!(methods, done.map(|method| format!("Catalogue/{method}")), "repeats and refusals change nothing");
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// Every step, asked for while the process is killed: afterwards it is done or not done, its retry gets the one answer, and the audit
/// log has it once and is whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_meets_kill_9_is_done_or_not_done_and_its_retry_says_so() {
    let mut server = Server::new(1, &["--no-four-eyes", "--checkpoint-seconds", "1"]);
    server.restart();
    let (mut answered, mut done_unanswered) = (0, 0);
    for round in 0..4u32 {
        let version = 3 + round;
        let name = Desk::at(&server).await.approved(&dearer(version)).await.name;
        let mut steps = Vec::new();
        for (place, step) in ["begin", "raise", "promote", "back"].into_iter().enumerate() {
            let key = format!("{step} {round}");
            let ask = |mut desk: Desk| {
                let (name, key) = (name.clone(), key.clone());
                async move {
                    match step {
                        "begin" => {
                            desk.share(share(&name, 500, &[], &key)).await.map(|done| (done.document, done.repeated))
                        }
                        "raise" => {
                            let request = share(&name, 2_000, &["subscribers/1"], &key);
                            desk.share(request).await.map(|done| (done.document, done.repeated))
                        }
                        "promote" => desk.promote(&name, &key).await.map(|done| (done.document, done.repeated)),
                        _ => desk.roll_back(&name, &key).await.map(|done| (done.document, done.repeated)),
                    }
                }
            };
            let asked = tokio::spawn(ask(Desk::at(&server).await));
            // At once, before it is durable, before it counts, after its answer.
            let delay = [0, 2_000, 30_000, 400_000][(place + usize::try_from(round).unwrap()) % 4];
            tokio::time::sleep(Duration::from_micros(delay)).await;
            server.kill();
            let first = asked.await.unwrap();
            server.restart();
            let (again, repeated) = ask(Desk::at(&server).await).await.unwrap();
            match first {
                Ok((first, _)) => {
                    assert_eq!((first, repeated), (again.clone(), true), "the first answer again");
                    answered += 1;
                }
                Err(_) => done_unanswered += u32::from(repeated),
            }
            let mut desk = Desk::at(&server).await;
            assert_eq!(Some(desk.document(&name).await), again);
            let records = desk.records(&name).await;
            assert_eq!(records.iter().filter(|it| it.idempotency_key == key).count(), 1, "{step} in round {round}");
            let verdict = desk.audit.verify_audit_log(wire::VerifyAuditLogRequest::default()).await.unwrap();
            assert_eq!(verdict.into_inner().broken_position, 0);
            // No step is changed by what follows.
            let canary = again.unwrap().canary;
            assert!(canary.starts_with(&steps), "{steps:?} {canary:?}");
            steps = canary;
        }
        assert_eq!(steps.iter().map(|step| step.share_basis_points).collect::<Vec<_>>(), [500, 2_000, 10_000]);
        assert!(steps.is_sorted_by(|one, next| {
            let millis = |step: &wire::CanaryStep| step.from.map(|at| (at.seconds, at.nanos));
            millis(one) < millis(next)
        }));
    }
    assert!(
        answered > 0 && done_unanswered > 0,
        "some were answered, some done and not answered: {answered} {done_unanswered}"
    );
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// The same with the command line.
#[test]
fn the_command_line_takes_a_canary_from_a_share_to_the_whole() {
    let mut server = Server::new(3, &["--no-four-eyes"]);
    server.restart();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("payg-3.yaml");
    std::fs::write(&file, dearer(3)).unwrap();
    let ocs = |arguments: &[&str], code: i32| {
        let mut command = Command::new(PROGRAM);
        command.arg("catalogue").args(arguments).env("OCS_SERVER", format!("http://{}", server.grpc));
        let output = command.output().unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{error}");
        format!("{out}{error}")
    };
    ocs(&["put", file.to_str().unwrap()], 0);
    ocs(&["approve", NAME], 0);
    for bad in ["5", "5.125%", "0%", "-5%", "some%", "1000000%"] {
        let said = ocs(&["publish", NAME, &format!("--share={bad}")], 2);
        assert!(said.contains("share"), "{bad}: {said}");
    }
    assert!(ocs(&["publish", NAME, "--share", "5%", "--at", "2099-01-01"], 2).contains("cannot be used with"));
    let begun = ocs(&["publish", NAME, "--share", "0.25%", "--key", "k"], 0);
    assert!(begun.starts_with(&format!("{NAME}: canary for 0.25 % of subscribers   etag ")), "{begun}");
    assert!(ocs(&["publish", NAME, "--share", "0.25%", "--key", "k"], 0).contains("nothing changed"));
    let named = ocs(&["publish", NAME, "--named", "2", &format!("imsi-{}", demo::imsi(3))], 0);
    assert!(named.contains("canary for 0.25 % of subscribers and 2 by name"), "{named}");
    assert!(ocs(&["publish", NAME], 2).contains("is published for 0.25 % of subscribers; promote it, or roll it back"));
    let listed: serde_json::Value =
        serde_json::from_str(&ocs(&["list", "--state", "canary", "-o", "json"], 0)).unwrap();
    let steps: Vec<_> =
        listed[0]["canary"].as_array().unwrap().iter().map(|it| (&it["share_basis_points"], &it["named"])).collect();
    assert_eq!(steps, [(&25.into(), &0.into()), (&25.into(), &2.into())]);
    let shown: serde_json::Value = serde_json::from_str(&ocs(&["show", NAME, "-o", "json"], 0)).unwrap();
    assert_eq!(shown["named"], serde_json::json!(["subscribers/2", "subscribers/3"]));
    assert_eq!(shown["source"], dearer(3));
    assert!(ocs(&["simulate", "--who", "2", "--used", "1000 KiB", "--rating-group", "10"], 0).contains("0.0391 EUR"));
    assert!(ocs(&["diff", NAME], 1).contains("tariffs/start-payg/versions/2 to"), "against what counts for the rest");
    assert!(ocs(&["promote", NAME], 0).starts_with(&format!("{NAME}: published   etag ")));
    assert!(ocs(&["rollback", NAME, "--reason", "too dear"], 0).contains("tariffs/start-payg/versions/2: counts now"));
}
