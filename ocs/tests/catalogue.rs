//! Tariffs and offers on a running system, on the real binary: drafted, approved, published and rolled back while sessions are open.
//! Whoever is charged is charged on; new sessions have the new price from one instant on; each change is done once, is in the audit
//! log, and survives `kill -9`.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::process::Command;
use std::time::Duration;

use ocs::demo;
use ocs_api::client::{AccountsClient, AuditLogClient, CatalogueClient, ClockClient};
use ocs_proto::operator::v1 as wire;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use campaign::phone::Phones;
use campaign::refused;
use campaign::server::{PROGRAM, Server};

/// Nothing takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);
const AT_OLD: i64 = costs(1, 0);
const AT_NEW: i64 = costs(0, 1);

/// What a session costs that used so much so many times at 0.02 / MiB and at 0.04: 0.01953125 and 0.0390625 each, rounded half up to
/// four decimals once; micro-units.
const fn costs(old: i64, new: i64) -> i64 {
    (1_953_125 * old + 3_906_250 * new + 5_000) / 10_000 * 100
}

/// All clients of one system.
struct Desk {
    catalogue: CatalogueClient<Channel>,
    accounts: AccountsClient<Channel>,
    audit: AuditLogClient<Channel>,
    clock: ClockClient<Channel>,
}

impl Desk {
    async fn at(server: &Server) -> Self {
        let channel = Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap();
        Self {
            catalogue: CatalogueClient::new(channel.clone()),
            accounts: AccountsClient::new(channel.clone()),
            audit: AuditLogClient::new(channel.clone()),
            clock: ClockClient::new(channel),
        }
    }

    /// Micro-units of subscriber 1.
    async fn balance(&mut self) -> i64 {
        let account = Some(wire::get_account_request::Account::Name("accounts/1".into()));
        let found = self.accounts.get_account(wire::GetAccountRequest { account, tenant_id: 0 }).await.unwrap();
        found.into_inner().account.unwrap().balance.unwrap().mantissa
    }

    async fn state(&mut self, name: &str) -> wire::DocumentState {
        self.document(name).await.state()
    }

    async fn document(&mut self, name: &str) -> wire::Document {
        let request = wire::GetDocumentRequest { name: name.into() };
        self.catalogue.get_document(request).await.unwrap().into_inner().document.unwrap()
    }

    async fn put(&mut self, source: &str, key: &str) -> Result<wire::PutDraftResponse, Status> {
        self.catalogue.put_draft(put(source, key)).await.map(tonic::Response::into_inner)
    }

    async fn approve(&mut self, name: &str, etag: &str, key: &str) -> Result<wire::ApproveDraftResponse, Status> {
        self.catalogue.approve_draft(approve(name, etag, key)).await.map(tonic::Response::into_inner)
    }

    async fn publish(&mut self, name: &str, key: &str) -> Result<wire::PublishDocumentResponse, Status> {
        self.catalogue.publish_document(publish(name, key)).await.map(tonic::Response::into_inner)
    }

    async fn roll_back(&mut self, name: &str, key: &str) -> Result<wire::RollBackDocumentResponse, Status> {
        self.catalogue.roll_back_document(roll_back(name, key)).await.map(tonic::Response::into_inner)
    }

    /// Drafts, approves and publishes; the caller is the same for all on a server without four eyes.
    async fn launch(&mut self, source: &str) -> wire::Document {
        let name = self
            .put(source, &format!("put {}", source.lines().find(|line| !line.starts_with('#')).unwrap()))
            .await
            .unwrap()
            .document
            .unwrap();
        let approved = self.approve(&name.name, &name.etag, &format!("approve {}", name.name)).await.unwrap();
        assert_eq!(approved.document.unwrap().state(), wire::DocumentState::Approved);
        self.publish(&name.name, &format!("publish {}", name.name)).await.unwrap().document.unwrap()
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
}

fn put(source: &str, key: &str) -> wire::PutDraftRequest {
    let (source, idempotency_key) = (source.into(), key.into());
    wire::PutDraftRequest { source, idempotency_key, reason: "asked to".into(), ..Default::default() }
}

fn approve(name: &str, etag: &str, key: &str) -> wire::ApproveDraftRequest {
    let (name, etag, idempotency_key) = (name.into(), etag.into(), key.into());
    wire::ApproveDraftRequest { name, etag, idempotency_key, ..Default::default() }
}

fn publish(name: &str, key: &str) -> wire::PublishDocumentRequest {
    wire::PublishDocumentRequest { name: name.into(), idempotency_key: key.into(), ..Default::default() }
}

fn roll_back(name: &str, key: &str) -> wire::RollBackDocumentRequest {
    let (name, idempotency_key) = (name.into(), key.into());
    wire::RollBackDocumentRequest { name, idempotency_key, reason: "too dear".into(), ..Default::default() }
}

/// The demo tariff of subscriber 1 as its next version, at twice the price for data.
fn dearer(version: u32, valid_from: Option<&prost_types::Timestamp>) -> String {
    let from = valid_from.map(|at| {
        let at = rating_engine::time::Timestamp::from_millis(at.seconds * 1000 + i64::from(at.nanos) / 1_000_000);
        format!("valid_from: {at}\n")
    });
    let source = demo::CATALOGUE[0];
    assert!(source.contains("version: 2\n") && source.contains("rate: 0.02 / MiB"));
    source
        .replace("version: 2\n", &format!("version: {version}\n{}", from.unwrap_or_default()))
        .replace("rate: 0.02 / MiB", "rate: 0.04 / MiB")
}

const OFFER: &str = "offer: summer\nversion: 1\ncurrency: EUR\nfee: \"2.00\"\nperiod: P30D\nrenews: false\nallowances:\n  \
    - {id: summer, unit: octet, amount: 1 GiB, services: [data], priority: 20}\n";

/// A price is raised for ten minutes from now and an offer is launched while a session is open. Until then nothing changes; then new
/// sessions pay the new price, the open one goes on, and what it used before is at the old price. Rolled back, new sessions pay
/// the old price again; what was charged stays, also behind a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_price_is_raised_and_rolled_back_while_a_session_is_open() {
    let mut server = Server::new(1, &["--clock", "manual", "--no-four-eyes"]);
    server.restart();
    let mut desk = Desk::at(&server).await;
    let mut element = Phones::connect(server.gy).await;
    let begin = desk.balance().await;
    element.open(1, "old").await;

    let mut from = desk.now().await;
    from.seconds += 600;
    let launched = desk.launch(&dearer(3, Some(&from))).await;
    assert_eq!((launched.state(), launched.valid_from.as_ref()), (wire::DocumentState::Published, Some(&from)));
    desk.launch(OFFER).await;
    let buy = wire::PurchaseOfferRequest {
        account: "accounts/2".into(),
        offer: "summer".into(),
        subscriber_id: 2,
        idempotency_key: "buy".into(),
        ..Default::default()
    };
    let nobody = desk.accounts.purchase_offer(buy.clone()).await;
    assert_eq!(nobody.unwrap_err().code(), Code::NotFound, "there is one demo subscriber only");
    let buy = wire::PurchaseOfferRequest { account: "accounts/1".into(), subscriber_id: 1, ..buy };
    element.report(1, "old", 1).await;
    assert_eq!(desk.balance().await, begin - AT_OLD, "it is not in force yet");

    desk.advance(600).await;
    element.report(1, "old", 2).await;
    assert_eq!(desk.balance().await, begin - costs(2, 0), "used from before on");
    element.open(1, "new").await;
    desk.advance(1).await;
    element.close(1, "new", 1).await;
    assert_eq!(desk.balance().await, begin - costs(2, 0) - AT_NEW);
    element.report(1, "old", 3).await;
    assert_eq!(desk.balance().await, begin - costs(2, 1) - AT_NEW, "an open session is split where its tariff says so");

    let done = desk.roll_back("tariffs/start-payg/versions/3", "back").await.unwrap();
    assert_eq!(done.document.unwrap().state(), wire::DocumentState::RolledBack);
    assert_eq!(done.in_force.unwrap().name, "tariffs/start-payg/versions/2");
    let before = desk.balance().await;
    element.open(1, "again").await;
    desk.advance(1).await;
    element.close(1, "again", 1).await;
    assert_eq!(desk.balance().await, before - AT_OLD);
    element.close(1, "old", 4).await;
    assert_eq!(desk.balance().await, before - AT_OLD - (costs(3, 1) - costs(2, 1)), "the open session as well");
    refused(
        desk.roll_back("tariffs/start-payg/versions/3", "back again").await,
        Code::FailedPrecondition,
        "WRONG_STATE",
    );
    refused(
        desk.roll_back("tariffs/start-payg/versions/2", "back too far").await,
        Code::FailedPrecondition,
        "NOTHING_BEFORE",
    );
    // From the log, and from the checkpoint behind it.
    for round in 0..2 {
        if round == 0 {
            server.kill();
        } else {
            server.ask_to_stop();
            server.stopped();
        }
        server.restart();
        let mut desk = Desk::at(&server).await;
        assert_eq!(desk.state("tariffs/start-payg/versions/3").await, wire::DocumentState::RolledBack);
        let mut element = Phones::connect(server.gy).await;
        let before = desk.balance().await;
        let session = format!("pgw;restart{round}");
        element.open(1, &session).await;
        element.close(1, &session, 1).await;
        assert_eq!(desk.balance().await, before - AT_OLD, "round {round}");
    }
    let mut desk = Desk::at(&server).await;
    let before = desk.balance().await;
    let bought = desk.accounts.purchase_offer(buy).await.unwrap().into_inner();
    assert_eq!(bought.balance.unwrap().mantissa, before - 2_000_000);
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// What the author cannot do, what is refused, and that nothing of it changes anything.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_with_a_stable_reason() {
    let server = Server::start(1);
    let mut desk = Desk::at(&server).await;
    let name = "tariffs/start-payg/versions/3";
    // Problems are named, all of them.
    let bad = dearer(3, None).replace("Europe/Berlin", "Berlin").replace("rate: 0.19 / min", "rate: fast");
    let status = refused(desk.put(&bad, "bad").await, Code::InvalidArgument, "INVALID_DOCUMENT");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert!(fields.contains(&"source.time_zone") && fields.iter().any(|field| field.ends_with(".rate")), "{fields:?}");
    let validate = wire::ValidateDocumentRequest { source: bad };
    let found = desk.catalogue.validate_document(validate).await.unwrap().into_inner();
    assert_eq!((found.problems.len(), found.document), (violations.len(), None));
    let syntax = wire::ValidateDocumentRequest { source: "tariff: x\nversion: [\n".into() };
    let found = desk.catalogue.validate_document(syntax).await.unwrap().into_inner();
    assert!(found.problems[0].line > 0, "{found:?}");
    // A version that is there, other content, another currency.
    refused(desk.put(demo::CATALOGUE[0], "same").await, Code::FailedPrecondition, "WRONG_STATE");
    refused(desk.put(&dearer(2, None), "other").await, Code::FailedPrecondition, "VERSION_TAKEN");
    let dollars = dearer(3, None).replace("currency: EUR", "currency: CHF");
    refused(desk.put(&dollars, "dollars").await, Code::FailedPrecondition, "NOT_POSSIBLE");

    let first = desk.put(&dearer(3, None), "one").await.unwrap().document.unwrap();
    assert_eq!((first.state(), first.author.as_str()), (wire::DocumentState::Draft, "local"));
    assert!(desk.put(&dearer(3, None), "one").await.unwrap().repeated);
    refused(desk.put(&dearer(4, None), "one").await, Code::AlreadyExists, "KEY_REUSED");
    let stale = wire::PutDraftRequest { etag: "0000000000000000".into(), ..put(&dearer(3, None), "two") };
    refused(desk.catalogue.put_draft(stale).await, Code::Aborted, "ETAG_MISMATCH");
    let new = wire::PutDraftRequest { etag: "-".into(), ..put(&dearer(3, None), "two") };
    refused(desk.catalogue.put_draft(new).await, Code::Aborted, "ETAG_MISMATCH");
    refused(desk.approve(name, &first.etag, "self").await, Code::PermissionDenied, "SAME_PERSON");
    refused(desk.approve(name, "", "self").await, Code::InvalidArgument, "INVALID_FIELD");
    refused(desk.publish(name, "early").await, Code::FailedPrecondition, "WRONG_STATE");
    refused(desk.roll_back(name, "early").await, Code::FailedPrecondition, "WRONG_STATE");
    refused(desk.publish("tariffs/start-payg/versions/9", "none").await, Code::NotFound, "DOCUMENT_NOT_FOUND");
    refused(desk.publish("tariffs/start-payg", "none").await, Code::InvalidArgument, "INVALID_FIELD");
    refused(desk.publish(name, "").await, Code::InvalidArgument, "INVALID_FIELD");
    let delete = wire::DeleteDraftRequest { name: name.into(), idempotency_key: "gone".into(), ..Default::default() };
    desk.catalogue.delete_draft(delete.clone()).await.unwrap();
    assert!(desk.catalogue.delete_draft(delete).await.unwrap().into_inner().repeated);
    let get = wire::GetDocumentRequest { name: name.into() };
    refused(desk.catalogue.get_document(get).await, Code::NotFound, "DOCUMENT_NOT_FOUND");
    let methods: Vec<String> = desk.records(name).await.into_iter().map(|record| record.method).collect();
    assert_eq!(methods, ["Catalogue/DeleteDraft", "Catalogue/PutDraft"], "repeats and refusals change nothing");
}

/// A draft that was approved stays as it was approved; published twice, it is published once.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_approved_is_what_is_published_and_only_once() {
    let mut server = Server::new(1, &["--no-four-eyes"]);
    server.restart();
    let mut desk = Desk::at(&server).await;
    let mut watch = desk.catalogue.watch_documents(wire::WatchDocumentsRequest {}).await.unwrap().into_inner();
    let name = "tariffs/start-payg/versions/3";
    let draft = desk.put(&dearer(3, None), "a").await.unwrap().document.unwrap();
    let cheaper = dearer(3, None).replace("0.04 / MiB", "0.01 / MiB");
    let changed = desk.put(&cheaper, "b").await.unwrap().document.unwrap();
    refused(desk.approve(name, &draft.etag, "c").await, Code::Aborted, "ETAG_MISMATCH");
    desk.approve(name, &changed.etag, "d").await.unwrap();
    refused(desk.put(&dearer(3, None), "e").await, Code::FailedPrecondition, "WRONG_STATE");
    let diff = wire::DiffDocumentsRequest {
        old_name: String::new(),
        new: Some(wire::diff_documents_request::New::NewName(name.into())),
    };
    let diff = desk.catalogue.diff_documents(diff).await.unwrap().into_inner();
    assert_eq!(diff.old_name, "tariffs/start-payg/versions/2");
    assert_eq!(diff.changes.len(), 1, "{diff:?}");
    assert_eq!(diff.changes[0].effect(), wire::CostEffect::Cheaper);
    assert!(diff.changes[0].words.contains("0.02 to 0.01 EUR per MiB"), "{diff:?}");
    // Two at once: one publishes.
    let (mut one, mut other) = (desk.catalogue.clone(), desk.catalogue.clone());
    let (one, other) =
        tokio::join!(one.publish_document(publish(name, "f")), other.publish_document(publish(name, "g")));
    assert_eq!(usize::from(one.is_ok()) + usize::from(other.is_ok()), 1, "{one:?} {other:?}");
    refused(one.and(other), Code::FailedPrecondition, "WRONG_STATE");
    let get = wire::GetDocumentRequest { name: name.into() };
    assert_eq!(desk.catalogue.get_document(get).await.unwrap().into_inner().source, cheaper);
    let imported = wire::GetDocumentRequest { name: "tariffs/start-payg/versions/2".into() };
    assert_eq!(desk.catalogue.get_document(imported).await.unwrap().into_inner().source, demo::CATALOGUE[0]);
    let list = wire::ListDocumentsRequest { page_size: 7, ..Default::default() };
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = wire::ListDocumentsRequest { page_token, ..list.clone() };
        let page = desk.catalogue.list_documents(page).await.unwrap().into_inner();
        names.extend(page.documents.into_iter().map(|document| document.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names.len(), demo::CATALOGUE.len() + 1);
    assert!(names.contains(&name.to_owned()));
    use wire::DocumentState::{Approved, Draft, Published};
    for expected in [Draft, Draft, Approved, Published] {
        let change = tokio::time::timeout(PATIENCE, watch.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(change.document.unwrap().state(), expected);
    }
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// An offer is to be published at an instant, which is put off once: it is then, also behind a restart in between, and not before.
/// What does not fit any more when it is due is left approved, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_published_when_it_is_due() {
    let mut server = Server::new(1, &["--clock", "manual", "--no-four-eyes"]);
    server.restart();
    let mut desk = Desk::at(&server).await;
    let name = "offers/summer/versions/1";
    let draft = desk.put(OFFER, "a").await.unwrap().document.unwrap();
    desk.approve(name, &draft.etag, "b").await.unwrap();
    let now = desk.now().await;
    let at = |seconds: i64| Some(prost_types::Timestamp { seconds: now.seconds + seconds, nanos: now.nanos });
    let scheduled = wire::PublishDocumentRequest { at: at(100), ..publish(name, "c") };
    let scheduled = desk.catalogue.publish_document(scheduled).await.unwrap().into_inner().document.unwrap();
    assert_eq!((scheduled.state(), scheduled.due_time), (wire::DocumentState::Scheduled, at(100)));
    let later = wire::PublishDocumentRequest { at: at(200), ..publish(name, "d") };
    desk.catalogue.publish_document(later).await.unwrap();
    // Two versions of one new tariff in two currencies: whichever comes second does not fit.
    let tariff = |version: u32, currency: &str| {
        dearer(version, None).replace("tariff: start-payg", "tariff: late").replace("currency: EUR", currency)
    };
    for (version, currency, due) in [(1, "currency: EUR", 300), (2, "currency: CHF", 301)] {
        let key = |step: &str| format!("{step} {version}");
        let draft = desk.put(&tariff(version, currency), &key("put")).await.unwrap().document.unwrap();
        desk.approve(&draft.name, &draft.etag, &key("approve")).await.unwrap();
        let due = wire::PublishDocumentRequest { at: at(due), ..publish(&draft.name, &key("publish")) };
        desk.catalogue.publish_document(due).await.unwrap();
    }
    desk.advance(199).await;
    assert_eq!(desk.state(name).await, wire::DocumentState::Scheduled);
    server.kill();
    server.restart();
    let mut desk = Desk::at(&server).await;
    // The clock stands where the last entry was written.
    desk.advance(400).await;
    let published = desk.document(name).await;
    assert_eq!((published.state(), published.publisher.as_str()), (wire::DocumentState::Published, "local"));
    assert_eq!(published.publish_time, at(200), "at its instant");
    assert_eq!(desk.state("tariffs/late/versions/1").await, wire::DocumentState::Published);
    let failed = desk.document("tariffs/late/versions/2").await;
    assert_eq!(failed.state(), wire::DocumentState::Approved);
    assert!(failed.failure.contains("keeps its currency"), "{failed:?}");
    let records = desk.records(name).await;
    assert_eq!(records.len(), 5, "drafted, approved, scheduled, put off, published: {records:?}");
    assert_eq!(records[0].differences.iter().find(|it| it.what == "state").unwrap().after, "published");
}

/// Every kind of change, asked for while the process is killed: afterwards it is done or not done, its retry gets the one answer,
/// and the audit log has it once and is whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_meets_kill_9_is_done_or_not_done_and_its_retry_says_so() {
    let mut server = Server::new(1, &["--no-four-eyes", "--checkpoint-seconds", "1"]);
    server.restart();
    let mut expected_records = 0;
    let mut done_before_the_kill = 0;
    for round in 0..6u32 {
        let version = 3 + round;
        let name = format!("tariffs/start-payg/versions/{version}");
        let source = dearer(version, None);
        let key = |step: &str| format!("{step} {round}");
        let mut etag = String::new();
        for (place, step) in ["put", "approve", "publish", "back"].into_iter().enumerate() {
            let desk = Desk::at(&server).await;
            let ask = |mut desk: Desk| {
                let (name, source, etag, key) = (name.clone(), source.clone(), etag.clone(), key(step));
                async move {
                    match step {
                        "put" => desk.put(&source, &key).await.map(|done| done.document.unwrap()),
                        "approve" => desk.approve(&name, &etag, &key).await.map(|done| done.document.unwrap()),
                        "publish" => desk.publish(&name, &key).await.map(|done| done.document.unwrap()),
                        _ => desk.roll_back(&name, &key).await.map(|done| done.document.unwrap()),
                    }
                }
            };
            let asked = tokio::spawn(ask(desk));
            let delay = (u64::from(round) * 900 + 250 * place as u64) % 4500;
            tokio::time::sleep(Duration::from_micros(delay)).await;
            server.kill();
            let first = asked.await.unwrap();
            server.restart();
            let again = ask(Desk::at(&server).await).await.unwrap();
            if let Ok(first) = first {
                assert_eq!(first, again, "the first answer again");
                done_before_the_kill += 1;
            }
            let mut desk = Desk::at(&server).await;
            assert_eq!(desk.document(&name).await, again);
            etag = again.etag;
            expected_records += 1;
            let noted = desk.records(&name).await.iter().filter(|it| it.idempotency_key == key(step)).count();
            assert_eq!(noted, 1, "{step} in round {round}");
            let verdict =
                desk.audit.verify_audit_log(wire::VerifyAuditLogRequest::default()).await.unwrap().into_inner();
            assert_eq!((verdict.records, verdict.broken_position), (expected_records, 0));
        }
    }
    assert!(done_before_the_kill > 0, "some were answered before the kill");
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// Accounting periods are published, and closed; what is not over stays open.
#[tokio::test(flavor = "multi_thread")]
async fn accounting_periods_are_closed_on_a_running_system() {
    let mut server = Server::new(1, &["--no-four-eyes"]);
    server.restart();
    let mut desk = Desk::at(&server).await;
    let close = |until: &str, key: &str| wire::CloseAccountingPeriodRequest {
        until: until.into(),
        idempotency_key: key.into(),
        ..Default::default()
    };
    refused(
        desk.catalogue.close_accounting_period(close("2026-02-01", "a")).await,
        Code::FailedPrecondition,
        "NOT_POSSIBLE",
    );
    let source = "accounting: periods\nversion: 1\ntime_zone: Europe/Berlin\nfrom: 2026-01-01\nperiod: P1M\n";
    let launched = desk.launch(source).await;
    assert_eq!(launched.name, "accounting/versions/1");
    refused(
        desk.catalogue.close_accounting_period(close("2026-02-02", "b")).await,
        Code::InvalidArgument,
        "INVALID_FIELD",
    );
    refused(
        desk.catalogue.close_accounting_period(close("2099-01-01", "b")).await,
        Code::InvalidArgument,
        "INVALID_FIELD",
    );
    let closed = desk.catalogue.close_accounting_period(close("2026-02-01", "b")).await.unwrap().into_inner();
    assert_eq!(closed.document.as_ref().unwrap().name, "accounting/versions/2");
    let until = closed.closed_until.unwrap().seconds;
    assert_eq!(until, 1_769_900_400, "midnight in Berlin");
    server.kill();
    server.restart();
    let mut desk = Desk::at(&server).await;
    let again = desk.catalogue.close_accounting_period(close("2026-02-01", "b")).await.unwrap().into_inner();
    assert_eq!((again.repeated, again.closed_until, again.document), (true, closed.closed_until, closed.document));
    refused(
        desk.catalogue.close_accounting_period(close("2026-02-01", "c")).await,
        Code::InvalidArgument,
        "INVALID_FIELD",
    );
    refused(desk.roll_back("accounting/versions/2", "d").await, Code::FailedPrecondition, "NOT_POSSIBLE");
}

/// What a use and a period would cost under a draft; nothing is charged by asking.
#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_tried_out_before_anybody_pays_for_it() {
    let server = Server::start(1);
    let mut desk = Desk::at(&server).await;
    let mut element = Phones::connect(server.gy).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let from = prost_types::Timestamp { seconds: i64::try_from(now).unwrap() - 60, nanos: 0 };
    element.open(1, "1").await;
    element.close(1, "1", 1).await;
    let before = desk.balance().await;
    let name = "tariffs/start-payg/versions/3";
    desk.put(&dearer(3, None), "put").await.unwrap();
    let event = wire::SimulateEventRequest {
        drafts: vec![name.into()],
        subscriber: "subscribers/1".into(),
        used: "1000 KiB".into(),
        rating_group: Some(10),
        ..Default::default()
    };
    let answer = desk.catalogue.simulate_event(event.clone()).await.unwrap().into_inner();
    assert!(answer.charged, "{answer:?}");
    let charge = &answer.charges[0];
    assert_eq!((charge.amount.as_ref().unwrap().mantissa, charge.tariff_version), (AT_NEW, 3), "{answer:?}");
    assert!(!charge.words.is_empty());
    let made_up = wire::SimulateEventRequest { subscriber: String::new(), ..event.clone() };
    let answer = desk.catalogue.simulate_event(made_up).await.unwrap().into_inner();
    assert_eq!(answer.charges[0].amount.as_ref().unwrap().mantissa, AT_NEW);
    let unclear = wire::SimulateEventRequest { used: "3 lightyears".into(), ..event };
    let status = refused(desk.catalogue.simulate_event(unclear).await, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "used");

    let to = prost_types::Timestamp { seconds: from.seconds + 3600, nanos: 0 };
    let period = wire::SimulatePeriodRequest { name: name.into(), from: Some(from), to: Some(to), top: 5 };
    let result = async |desk: &mut Desk| {
        let mut steps = desk.catalogue.simulate_period(period.clone()).await.unwrap().into_inner();
        let mut last = None;
        while let Some(step) = tokio::time::timeout(PATIENCE, steps.message()).await.unwrap().unwrap() {
            last = step.step;
        }
        let Some(wire::simulate_period_response::Step::Result(result)) = last else { panic!("{last:?}") };
        result
    };
    let mut totals = result(&mut desk).await;
    // CDRs reach their store some milliseconds behind the answer.
    while totals.totals.as_ref().unwrap().cdrs == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        totals = result(&mut desk).await;
    }
    let of = |totals: &wire::SimulationTotals| {
        (totals.old.as_ref().unwrap().mantissa, totals.new.as_ref().unwrap().mantissa)
    };
    assert_eq!(of(totals.totals.as_ref().unwrap()), (AT_OLD, AT_NEW), "{totals:?}");
    assert_eq!((totals.dearer, totals.losers[0].subscriber_id), (1, 1));
    assert_eq!(desk.balance().await, before, "nothing is charged");
}

/// The same with the command line.
#[test]
fn the_command_line_takes_a_tariff_from_a_draft_to_the_roll_back() {
    let mut server = Server::new(1, &["--no-four-eyes"]);
    server.restart();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("payg-3.yaml");
    std::fs::write(&file, dearer(3, None)).unwrap();
    let (file, name) = (file.to_str().unwrap(), "tariffs/start-payg/versions/3");
    let ocs = |arguments: &[&str], code: i32| {
        let mut command = Command::new(PROGRAM);
        command.arg("catalogue").args(arguments).env("OCS_SERVER", format!("http://{}", server.grpc));
        let output = command.output().unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{error}");
        format!("{out}{error}")
    };
    assert!(ocs(&["validate", file], 0).contains("good, tariffs/start-payg/versions/3"));
    assert!(ocs(&["put", file, "--key", "k"], 0).starts_with(&format!("{name}: draft   etag ")));
    assert!(ocs(&["put", file, "--key", "k"], 0).contains("nothing changed"));
    assert!(ocs(&["diff", name], 1).contains("dearer   price data: 0.02 to 0.04 EUR per MiB"));
    let simulated = ocs(&["simulate", "--draft", name, "--used", "1000 KiB", "--rating-group", "10"], 0);
    assert!(simulated.contains("0.0391 EUR"), "{simulated}");
    assert!(ocs(&["publish", name], 2).contains("is a draft"));
    assert!(ocs(&["approve", name], 0).starts_with(&format!("{name}: approved")));
    let due = ocs(&["publish", name, "--at", "2099-01-01"], 0);
    assert!(due.starts_with(&format!("{name}: scheduled for 2099-01-01T00:00:00.000Z")), "{due}");
    assert!(ocs(&["publish", name], 0).starts_with(&format!("{name}: published")));
    assert_eq!(ocs(&["show", name], 0), dearer(3, None));
    let listed = ocs(&["list", "--state", "published", "-o", "json"], 0);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), demo::CATALOGUE.len() + 1);
    assert!(ocs(&["rollback", name], 2).contains("reason"));
    let back = ocs(&["rollback", name, "--reason", "too dear"], 0);
    assert!(back.contains("tariffs/start-payg/versions/2: counts now"), "{back}");
    assert!(ocs(&["diff", name], 1).contains("tariffs/start-payg/versions/2 to"));
}
