//! What operators do over gRPC, on the real binary: each change is done once, is in the audit log, survives `kill -9`, and what
//! cannot be is refused with a stable reason and changes nothing.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use ocs_api::client::{AccountsClient, AuditLogClient, SubscribersClient};
use ocs_proto::cdr::v1::CdrKind;
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use prost_types::FieldMask;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use campaign::refused;
use campaign::server::Server;

/// All clients of one system.
struct Desk {
    accounts: AccountsClient<Channel>,
    subscribers: SubscribersClient<Channel>,
    audit: AuditLogClient<Channel>,
}

impl Desk {
    async fn at(server: &Server) -> Self {
        let channel = Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap();
        Self {
            accounts: AccountsClient::new(channel.clone()),
            subscribers: SubscribersClient::new(channel.clone()),
            audit: AuditLogClient::new(channel),
        }
    }

    async fn account(&mut self, number: u64) -> wire::Account {
        let account = Some(wire::get_account_request::Account::Name(format!("accounts/{number}")));
        let request = wire::GetAccountRequest { account, tenant_id: 0 };
        self.accounts.get_account(request).await.unwrap().into_inner().account.unwrap()
    }

    /// Micro-units in all money buckets.
    async fn balance(&mut self, number: u64) -> i64 {
        self.account(number).await.balance.unwrap().mantissa
    }

    async fn records(&mut self, target: &str) -> Vec<wire::AuditRecord> {
        let request = wire::ListAuditRecordsRequest { target: target.into(), page_size: 1000, ..Default::default() };
        self.audit.list_audit_records(request).await.unwrap().into_inner().records
    }
}

fn euros(cents: i64) -> Option<common::Money> {
    Some(common::Money { mantissa: cents, scale: 2, currency: "EUR".into() })
}

fn adjust(account: &str, cents: i64, key: &str) -> wire::AdjustRequest {
    wire::AdjustRequest {
        account: account.into(),
        bucket_id: "main".into(),
        change: Some(wire::adjust_request::Change::Money(euros(cents).unwrap())),
        reason: "counted again".into(),
        idempotency_key: key.into(),
    }
}

fn transfer(from: u64, to: u64, cents: i64, key: &str) -> wire::TransferRequest {
    wire::TransferRequest {
        from_account: format!("accounts/{from}"),
        to_account: format!("accounts/{to}"),
        amount: euros(cents),
        reason: "a present".into(),
        idempotency_key: key.into(),
        ..Default::default()
    }
}

fn update(account: &str, field: &str, key: &str) -> wire::UpdateAccountRequest {
    wire::UpdateAccountRequest {
        name: account.into(),
        update_mask: Some(FieldMask { paths: vec![field.into()] }),
        idempotency_key: key.into(),
        reason: "asked to".into(),
        ..Default::default()
    }
}

fn subscriber(number: u64, account: u64, identifiers: &[&str], key: &str) -> wire::PutSubscriberRequest {
    wire::PutSubscriberRequest {
        subscriber_id: number,
        account_id: account,
        tariff: "start-payg".into(),
        identifiers: identifiers.iter().map(|&name| name.into()).collect(),
        idempotency_key: key.into(),
        ..Default::default()
    }
}

/// Money is put in, taken out and given away; each is answered once however often it is asked, has its CDR and its audit
/// record, and everything adds up.
#[tokio::test(flavor = "multi_thread")]
async fn money_is_moved_once_and_every_cent_is_explained() {
    let mut server = Server::start(3);
    let mut desk = Desk::at(&server).await;
    let before = (desk.balance(1).await, desk.balance(2).await);
    let down = desk.accounts.adjust(adjust("accounts/1", -50, "a")).await.unwrap().into_inner();
    assert_eq!((down.balance.unwrap().mantissa, down.repeated), (before.0 - 500_000, false));
    let again = desk.accounts.adjust(adjust("accounts/1", -50, "a")).await.unwrap().into_inner();
    assert_eq!((again.cdr_number, again.repeated), (down.cdr_number, true));
    refused(desk.accounts.adjust(adjust("accounts/1", -51, "a")).await, Code::AlreadyExists, "KEY_REUSED");
    refused(
        desk.accounts.adjust(adjust("accounts/1", -99_999_999, "b")).await,
        Code::FailedPrecondition,
        "NOT_POSSIBLE",
    );

    let given = desk.accounts.transfer(transfer(1, 2, 125, "t")).await.unwrap().into_inner();
    assert_eq!(given.balance.unwrap().mantissa, before.0 - 1_750_000);
    assert!(desk.accounts.transfer(transfer(1, 2, 125, "t")).await.unwrap().into_inner().repeated);
    refused(desk.accounts.transfer(transfer(1, 3, 125, "t")).await, Code::AlreadyExists, "KEY_REUSED");
    refused(desk.accounts.transfer(transfer(1, 1, 125, "u")).await, Code::FailedPrecondition, "NOT_POSSIBLE");
    assert_eq!((desk.balance(1).await, desk.balance(2).await), (before.0 - 1_750_000, before.1 + 1_250_000));

    let list = wire::ListMovementsRequest { account: "accounts/1".into(), page_size: 1, ..Default::default() };
    let newest = desk.accounts.list_movements(list.clone()).await.unwrap().into_inner();
    assert_eq!(newest.movements[0].kind(), CdrKind::Transfer);
    let page_token = newest.next_page_token;
    let rest =
        desk.accounts.list_movements(wire::ListMovementsRequest { page_token, ..list }).await.unwrap().into_inner();
    assert_eq!(rest.movements[0].kind(), CdrKind::Adjustment);
    assert_eq!(rest.movements[0].amount.as_ref().unwrap().mantissa, 500_000);

    let records = desk.records("accounts/1").await;
    let methods: Vec<&str> = records.iter().map(|record| record.method.as_str()).collect();
    assert_eq!(methods, ["Accounts/Transfer", "Accounts/Adjust"], "repeats and refusals change nothing");
    assert_eq!((records[1].caller.as_str(), records[1].reason.as_str()), ("local", "counted again"));
    let taken = &records[1].differences[0];
    assert_eq!(taken.what, "buckets/main/balance");
    assert!(taken.before.ends_with(" EUR") && taken.before != taken.after, "{taken:?}");

    server.ask_to_stop();
    server.stopped();
    let audited = server.audit();
    assert_eq!(audited["adjusted_micros"]["EUR"], -500_000, "{audited}");
    assert_eq!(audited["transferred_micros"]["EUR"], 0, "{audited}");
}

/// An account is made, given a credit limit by whoever saw it last, and closed for good; then the network is told so.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_made_changed_by_their_etag_and_closed_for_good() {
    let server = Server::start(1);
    let mut desk = Desk::at(&server).await;
    let new = |key: &str| wire::CreateAccountRequest {
        account_id: 5001,
        currency: "EUR".into(),
        idempotency_key: key.into(),
        ..Default::default()
    };
    let made = desk.accounts.create_account(new("c")).await.unwrap().into_inner();
    assert_eq!((made.name.as_str(), made.repeated), ("accounts/5001", false));
    assert!(desk.accounts.create_account(new("c")).await.unwrap().into_inner().repeated);
    refused(desk.accounts.create_account(new("d")).await, Code::AlreadyExists, "EXISTS");
    // A key that was used in another group makes nobody an account, and leads nobody astray.
    let astray = wire::CreateAccountRequest { group_id: 5001, account_id: 1, ..new("c") };
    refused(desk.accounts.create_account(astray).await, Code::AlreadyExists, "KEY_REUSED");
    assert_eq!(desk.account(1).await.group_id, 1);

    let limit = |etag: &str, key: &str| wire::UpdateAccountRequest {
        credit_limit: euros(1000),
        etag: etag.into(),
        ..update("accounts/5001", "credit_limit", key)
    };
    let changed = desk.accounts.update_account(limit(&made.etag, "e")).await.unwrap().into_inner();
    assert_ne!(changed.etag, made.etag);
    assert!(
        desk.accounts.update_account(limit(&made.etag, "e")).await.unwrap().into_inner().repeated,
        "the first answer"
    );
    refused(desk.accounts.update_account(limit(&made.etag, "f")).await, Code::Aborted, "ETAG_MISMATCH");

    let state = |state: wire::AccountState, key: &str| wire::UpdateAccountRequest {
        state: state.into(),
        ..update("accounts/5001", "state", key)
    };
    desk.accounts.update_account(state(wire::AccountState::Closed, "g")).await.unwrap();
    refused(
        desk.accounts.update_account(state(wire::AccountState::Active, "h")).await,
        Code::FailedPrecondition,
        "NOT_POSSIBLE",
    );
    let unknown = wire::UpdateAccountRequest { state: 77, ..update("accounts/5001", "state", "i") };
    let status = refused(desk.accounts.update_account(unknown).await, Code::InvalidArgument, "INVALID_FIELD");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "state");
    refused(
        desk.accounts.update_account(update("accounts/5001", "balance", "j")).await,
        Code::InvalidArgument,
        "INVALID_FIELD",
    );
    refused(desk.accounts.adjust(adjust("accounts/404", 1, "k")).await, Code::NotFound, "ACCOUNT_NOT_FOUND");
}

/// A subscriber gets a new number from somebody who gave it up; nobody takes one that is somebody's.
#[tokio::test(flavor = "multi_thread")]
async fn an_identifier_is_one_subscribers_and_can_be_given_up() {
    let mut server = Server::start(2);
    let mut desk = Desk::at(&server).await;
    let (a, b) = ("msisdn-4915550001", "msisdn-4915550002");
    let put = desk.subscribers.put_subscriber(subscriber(7001, 1, &[a, b], "p")).await.unwrap().into_inner();
    assert_eq!(put.name, "subscribers/7001");
    assert!(desk.subscribers.put_subscriber(subscriber(7001, 1, &[a, b], "p")).await.unwrap().into_inner().repeated);
    refused(
        desk.subscribers.put_subscriber(subscriber(7002, 2, &[b], "q")).await,
        Code::AlreadyExists,
        "IDENTIFIER_TAKEN",
    );
    let stale = wire::PutSubscriberRequest { etag: "0000000000000000".into(), ..subscriber(7001, 1, &[a], "r") };
    refused(desk.subscribers.put_subscriber(stale).await, Code::Aborted, "ETAG_MISMATCH");
    let new = wire::PutSubscriberRequest { etag: "-".into(), ..subscriber(7001, 1, &[a], "r") };
    refused(desk.subscribers.put_subscriber(new).await, Code::Aborted, "ETAG_MISMATCH");
    let given_up = wire::PutSubscriberRequest { etag: put.etag, ..subscriber(7001, 1, &[a], "r") };
    desk.subscribers.put_subscriber(given_up).await.unwrap();
    desk.subscribers.put_subscriber(subscriber(7002, 2, &[b], "q")).await.unwrap();
    refused(
        desk.subscribers.put_subscriber(subscriber(7002, 1, &[b], "s")).await,
        Code::FailedPrecondition,
        "NOT_POSSIBLE",
    );

    // Also after a restart from the log, and from the checkpoint behind it.
    for _ in 0..2 {
        let named = |name: &str| wire::GetSubscriberRequest { name: format!("subscribers/{name}") };
        let found = desk.subscribers.get_subscriber(named(b)).await.unwrap().into_inner();
        assert_eq!((found.account.as_str(), found.subscriber.unwrap().identifiers), ("accounts/2", vec![b.to_owned()]));
        let found = desk.subscribers.get_subscriber(named("7001")).await.unwrap().into_inner();
        assert_eq!(found.subscriber.unwrap().identifiers, [a]);
        refused(desk.subscribers.get_subscriber(named("msisdn-1")).await, Code::NotFound, "SUBSCRIBER_NOT_FOUND");
        let records = desk.records("subscribers/7001").await;
        assert_eq!(records.len(), 2, "{records:?}");
        assert!(records[0].differences.iter().any(|it| it.what == format!("identifiers/{b}") && it.after == "nobody"));
        server.kill();
        server.restart();
        desk = Desk::at(&server).await;
    }
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// A stream of rows that is cut in the middle leaves the rows that were answered; sent again, they are there already.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_loaded_once_and_each_says_what_became_of_it() {
    let mut server = Server::start(1);
    let mut desk = Desk::at(&server).await;
    let account = |number: u64| {
        format!(
            r#"{{"account": {number}, "currency": "EUR", "buckets": [{{"id": "main", "unit": "EUR", "amount": "10.00"}}]}}"#
        )
    };
    let tariff = "start-payg";
    let member = |number: u64| {
        format!(
            r#"{{"subscriber": {number}, "account": {number}, "tariff": "{tariff}", "identifiers": ["msisdn-49160{number}"]}}"#
        )
    };
    use wire::load_rows_request::Kind;
    let rows = |from: u64, to: u64| -> Vec<wire::LoadRowsRequest> {
        let each = |number| [Kind::AccountJson(account(number)), Kind::SubscriberJson(member(number))];
        let kinds = (from..to).flat_map(each).map(Some);
        (1..).zip(kinds).map(|(row, kind)| wire::LoadRowsRequest { row, kind }).collect()
    };
    let mut sent = rows(8000, 8050);
    sent.push(wire::LoadRowsRequest { row: 900, kind: Some(Kind::SubscriberJson(member(8999))) });
    sent.push(wire::LoadRowsRequest { row: 901, kind: Some(Kind::AccountJson("{".into())) });
    sent.push(wire::LoadRowsRequest { row: 902, kind: None });
    sent.push(wire::LoadRowsRequest { row: 903, kind: Some(Kind::AccountJson(account(8999))) });
    let mut answers = desk.subscribers.load_rows(tokio_stream::iter(sent)).await.unwrap().into_inner();
    let mut states = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        assert_eq!(answer.reason.is_empty(), answer.state() != wire::RowState::Refused, "{answer:?}");
        states.push((answer.row, answer.state()));
    }
    assert!(states[..100].iter().all(|(_, state)| *state == wire::RowState::Loaded), "{states:?}");
    let last: Vec<_> = states[100..].to_vec();
    use wire::RowState::{Loaded, Refused, There};
    assert_eq!(last, [(900, Refused), (901, Refused), (902, Refused), (903, Loaded)]);

    // What comes before a message that nobody can read is loaded and answered; then the stream is over.
    let unreadable = Some(Kind::AccountJson(" ".repeat(5 << 20)));
    let readable = wire::LoadRowsRequest { row: 1, kind: Some(Kind::AccountJson(account(8998))) };
    let sent = [readable, wire::LoadRowsRequest { row: 2, kind: unreadable }];
    let mut answers = desk.subscribers.load_rows(tokio_stream::iter(sent)).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap();
    assert_eq!((first.row, first.state()), (1, Loaded));
    assert_eq!(answers.message().await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(desk.balance(8998).await, 10_000_000);

    // Several load at once; each has its answers in its order.
    let mut one = desk.subscribers.load_rows(tokio_stream::iter(rows(7000, 7400))).await.unwrap().into_inner();
    let mut other = desk.subscribers.load_rows(tokio_stream::iter(rows(7400, 7800))).await.unwrap().into_inner();
    for row in 1..=800 {
        for answers in [&mut one, &mut other] {
            let answer = answers.message().await.unwrap().unwrap();
            assert_eq!((answer.row, answer.state()), (row, Loaded), "{answer:?}");
        }
    }

    // The connection is lost after some answers; everything is sent again.
    let mut cut = desk.subscribers.load_rows(tokio_stream::iter(rows(8000, 8200))).await.unwrap().into_inner();
    for _ in 0..150 {
        cut.message().await.unwrap().unwrap();
    }
    drop(cut);
    server.kill();
    server.restart();
    let mut desk = Desk::at(&server).await;
    let mut again = desk.subscribers.load_rows(tokio_stream::iter(rows(8000, 8200))).await.unwrap().into_inner();
    let (mut there, mut all) = (0, 0);
    while let Some(answer) = again.message().await.unwrap() {
        assert_ne!(answer.state(), Refused, "{answer:?}");
        there += usize::from(answer.state() == There);
        all += 1;
    }
    assert!(all == 400 && there >= 150, "{there} of {all}");
    assert_eq!(desk.balance(8199).await, 10_000_000);
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// Every kind of change, asked for while the process is killed: afterwards it is done or not done, its retry gets the one
/// answer, and the audit log has it once and is whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_meets_kill_9_is_done_or_not_done_and_its_retry_says_so() {
    let mut server = Server::start(3);
    let mut done_before_the_kill = 0;
    for round in 0..12u64 {
        let mut desk = Desk::at(&server).await;
        let key = |what: &str| format!("{what}-{round}");
        let before = (desk.balance(1).await, desk.balance(2).await);
        let number = 9000 + round;
        let new = wire::CreateAccountRequest {
            account_id: number,
            currency: "EUR".into(),
            idempotency_key: key("new"),
            ..Default::default()
        };
        let name = format!("msisdn-49166{number}");
        let put = subscriber(number, 1, &[&name], &key("put"));
        let state = if round % 2 == 0 { wire::AccountState::Suspended } else { wire::AccountState::Active };
        let state = wire::UpdateAccountRequest { state: state.into(), ..update("accounts/3", "state", &key("state")) };
        let (down, give) = (adjust("accounts/1", -1, &key("adjust")), transfer(1, 2, 1, &key("give")));
        // All at once, and the kill somewhere among them.
        let (accounts, subscribers) = (desk.accounts.clone(), desk.subscribers.clone());
        let asked = tokio::spawn({
            let (new, put, state, down, give) = (new.clone(), put.clone(), state.clone(), down.clone(), give.clone());
            async move {
                let [mut a, mut b, mut c, mut d] = [accounts.clone(), accounts.clone(), accounts.clone(), accounts];
                let mut s = subscribers;
                let (a, b, c, d, s) = tokio::join!(
                    a.create_account(new),
                    b.update_account(state),
                    c.adjust(down),
                    d.transfer(give),
                    s.put_subscriber(put)
                );
                [a.is_ok(), b.is_ok(), c.is_ok(), d.is_ok(), s.is_ok()].into_iter().filter(|done| *done).count()
            }
        });
        tokio::time::sleep(std::time::Duration::from_micros(400 * round * round)).await;
        server.kill();
        done_before_the_kill += asked.await.unwrap();
        server.restart();
        let mut desk = Desk::at(&server).await;
        desk.accounts.create_account(new).await.unwrap();
        desk.accounts.update_account(state).await.unwrap();
        let adjusted = desk.accounts.adjust(down.clone()).await.unwrap().into_inner();
        let given = desk.accounts.transfer(give.clone()).await.unwrap().into_inner();
        desk.subscribers.put_subscriber(put).await.unwrap();
        assert_eq!(desk.accounts.adjust(down).await.unwrap().into_inner().cdr_number, adjusted.cdr_number);
        assert_eq!(desk.accounts.transfer(give).await.unwrap().into_inner().cdr_number, given.cdr_number);
        assert_eq!((desk.balance(1).await, desk.balance(2).await), (before.0 - 20_000, before.1 + 10_000), "{round}");
        let found = wire::GetSubscriberRequest { name: format!("subscribers/{name}") };
        assert_eq!(desk.subscribers.get_subscriber(found).await.unwrap().into_inner().account, "accounts/1");
        let list = wire::ListAuditRecordsRequest { page_size: 1000, ..Default::default() };
        let records = desk.audit.list_audit_records(list).await.unwrap().into_inner().records;
        for what in ["new", "put", "state", "adjust", "give"] {
            let noted = records.iter().filter(|record| record.idempotency_key == key(what)).count();
            assert_eq!(noted, 1, "{what} in round {round}");
        }
        let verdict = desk.audit.verify_audit_log(wire::VerifyAuditLogRequest::default()).await.unwrap().into_inner();
        assert_eq!((verdict.records, verdict.broken_position), (5 * (round + 1), 0), "{verdict:?}");
    }
    assert!(done_before_the_kill > 0, "some were answered before the kill");
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// Whoever noted the chain's value elsewhere finds out when the log is another one.
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_verified_against_what_was_noted_elsewhere() {
    let server = Server::start(1);
    let mut desk = Desk::at(&server).await;
    for number in 0..3 {
        desk.accounts.adjust(adjust("accounts/1", 1, &format!("k{number}"))).await.unwrap();
    }
    let verdict = desk.audit.verify_audit_log(wire::VerifyAuditLogRequest::default()).await.unwrap().into_inner();
    assert_eq!((verdict.records, verdict.broken_position), (3, 0));
    let known =
        |position, hash: &[u8]| wire::VerifyAuditLogRequest { known_position: position, known_hash: hash.to_vec() };
    let same = desk.audit.verify_audit_log(known(3, &verdict.chain_hash)).await.unwrap().into_inner();
    assert_eq!(same.broken_position, 0);
    let other = desk.audit.verify_audit_log(known(2, &verdict.chain_hash)).await.unwrap().into_inner();
    assert_eq!(other.broken_position, 2, "{other:?}");
    let gone = desk.audit.verify_audit_log(known(4, &verdict.chain_hash)).await.unwrap().into_inner();
    assert_eq!(gone.broken_position, 4, "{gone:?}");
    refused(desk.audit.verify_audit_log(known(0, &verdict.chain_hash)).await, Code::InvalidArgument, "INVALID_FIELD");
    let page = wire::ListAuditRecordsRequest { page_size: 2, ..Default::default() };
    let first = desk.audit.list_audit_records(page.clone()).await.unwrap().into_inner();
    assert_eq!(first.records.iter().map(|record| record.position).collect::<Vec<_>>(), [3, 2]);
    let next = wire::ListAuditRecordsRequest { page_token: first.next_page_token, ..page };
    let second = desk.audit.list_audit_records(next).await.unwrap().into_inner();
    assert_eq!((second.records.len(), second.next_page_token.as_str()), (1, ""));
}
