//! Charges on the real binary: given back by a person beside the network and over `kill -9`, listed, explained and added up to the
//! exact sum of a bill that is rounded once.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::path::Path;
use std::process::Command;

use diameter::Message;
use diameter::gy::client::{Cca, Kind};
use ocs_api::client::{AccountsClient, AuditLogClient, UsageClient};
use ocs_proto::cdr::v1::CdrKind;
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use prost_types::Timestamp;
use rating_engine::command::{Requested, ServiceRequest};
use rating_engine::units::Units;
use tonic::Code;
use tonic::transport::Channel;

use campaign::element::{Asked, connect, plain};
use campaign::refused;
use campaign::server::{PROGRAM, Server};

/// Thirds of a cent: 0.01 for three seconds, nothing rounded but the bill.
const BILL: &str = "
tariff: thirds
version: 1
currency: EUR
rounding: {decimals: 2, mode: half_up, scope: bill}
prices:
  - {id: voice, service: voice, measure: seconds, rate: 0.01 / 3 s, pulse: 1/1}
  - {id: sms, service: sms, measure: events, rate: \"0.09\"}
";

struct Desk {
    accounts: AccountsClient<Channel>,
    audit: AuditLogClient<Channel>,
    usage: UsageClient<Channel>,
}

impl Desk {
    async fn at(server: &Server) -> Self {
        let channel = Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap();
        let (accounts, audit) = (AccountsClient::new(channel.clone()), AuditLogClient::new(channel.clone()));
        Self { accounts, audit, usage: UsageClient::new(channel) }
    }

    /// Micro-units in all money buckets.
    async fn balance(&mut self, number: u64) -> i64 {
        let account = Some(wire::get_account_request::Account::Name(format!("accounts/{number}")));
        let request = wire::GetAccountRequest { account, tenant_id: 0 };
        self.accounts.get_account(request).await.unwrap().into_inner().account.unwrap().balance.unwrap().mantissa
    }

    async fn list(&mut self, parent: &str) -> Vec<wire::Charge> {
        let request = wire::ListChargesRequest { parent: parent.into(), page_size: 1000, ..Default::default() };
        self.usage.list_charges(request).await.unwrap().into_inner().charges
    }

    /// Charges records of so many units of a service, one after the other.
    async fn charge(&mut self, who: &str, service: common::Service, at: &[Timestamp], units: common::Units) {
        let record = |(number, start): (usize, &Timestamp)| wire::ChargeRecordsRequest {
            record: Some(wire::UsageRecord {
                record_id: format!("{who}-{service:?}-{number}-{}", start.seconds),
                identifiers: vec![who.into()],
                start: Some(*start),
                end: Some(Timestamp { seconds: start.seconds + 1, ..*start }),
                service: Some(common::ServiceKind { service: service.into(), specification: 0 }),
                used: vec![wire::ServiceUsage { service_key: None, units: Some(units.clone()) }],
                ..Default::default()
            }),
        };
        let records: Vec<_> = at.iter().enumerate().map(record).collect();
        let mut answers = self.usage.charge_records(tokio_stream::iter(records)).await.unwrap().into_inner();
        while let Some(answer) = answers.message().await.unwrap() {
            assert_eq!(answer.state(), wire::RecordState::Charged, "{answer:?}");
        }
    }
}

fn euros(micros: i64) -> Option<common::Money> {
    Some(common::Money { mantissa: micros, scale: 6, currency: "EUR".into() })
}

fn refund(cdr_id: &str, micros: Option<i64>, key: &str) -> wire::RefundChargeRequest {
    wire::RefundChargeRequest {
        cdr_id: cdr_id.into(),
        amount: micros.and_then(euros),
        reason: "the call was cut off".into(),
        idempotency_key: key.into(),
    }
}

fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp { seconds: i64::try_from(now.as_secs()).unwrap(), nanos: 0 }
}

fn before(seconds: i64) -> Timestamp {
    Timestamp { seconds: now().seconds - seconds, nanos: 0 }
}

fn text(output: &std::process::Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `ocs ARGUMENTS` against the server.
fn ask(server: &Server, arguments: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("OCS_SERVER", format!("http://{}", server.grpc));
    text(&command.output().unwrap())
}

/// A server with accounts of which 1 and 2 use the tariff of thirds, and a desk.
fn with_bill() -> Server {
    let mut server = Server::new(1, &[]);
    let folder = server.data().parent().unwrap().to_owned();
    let file = |name: &str, text: String| {
        let path: &Path = &folder.join(name);
        std::fs::write(path, text).unwrap();
        path.to_owned()
    };
    let account = |number| {
        format!(
            r#"{{"account": {number}, "currency": "EUR", "buckets": [{{"id": "main", "unit": "EUR", "amount": "10.00"}}]}}"#
        )
    };
    let subscriber = |number: u64, account: u64| {
        format!(
            r#"{{"subscriber": {number}, "account": {account}, "tariff": "thirds", "identifiers": ["msisdn-49150{number}"]}}"#
        )
    };
    let mut import = Command::new(PROGRAM);
    import.args(["import", "--data"]).arg(server.data());
    import.arg("--catalogue").arg(file("thirds.yaml", BILL.to_owned()));
    import.arg("--accounts").arg(file("accounts.jsonl", [account(1), account(2)].join("\n")));
    let subscribers = [subscriber(11, 1), subscriber(12, 1), subscriber(21, 2)].join("\n");
    import.arg("--subscribers").arg(file("subscribers.jsonl", subscribers));
    text(&import.output().unwrap());
    server.restart();
    server
}

const SECOND: common::Units = common::Units {
    seconds: Some(1),
    total_octets: None,
    uplink_octets: None,
    downlink_octets: None,
    events: None,
    money: None,
};

/// A message of 0.09: 0.04 goes back to the network, a person gives 0.05, and there is nothing left for either; nor after
/// `kill -9`, nor when the event is read back from disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_and_the_network_give_one_charge_back() {
    let mut server = Server::start(1);
    let mut desk = Desk::at(&server).await;
    let full = desk.balance(1).await;
    let mut element = connect(server.gy, "smsc.example.org").await.unwrap();
    let event = |kind, number, services: Vec<ServiceRequest>| Asked {
        session: "smsc;1;1".into(),
        subscriber: 1,
        kind,
        number,
        services,
    };
    let money = |micros| ServiceRequest {
        requested: Requested::Units(Units {
            money: Some(rating_engine::units::MoneyUnits {
                amount: rating_engine::money::Money::from_micros(micros),
                currency: None,
            }),
            ..Units::default()
        }),
        ..ServiceRequest::default()
    };
    let one = ServiceRequest {
        requested: Requested::Units(Units { events: Some(1), ..Units::default() }),
        ..ServiceRequest::default()
    };
    async fn call(element: &mut diameter_tcp::client::Client, asked: &Asked) -> u32 {
        let answer = element.call(&asked.encode("smsc.example.org", false)).await.unwrap();
        let octets = plain(&Message::parse(&answer).unwrap());
        let cca = Cca::read(&Message::parse(&octets).unwrap()).unwrap();
        cca.result
    }
    assert_eq!(call(&mut element, &event(Kind::Debit, 0, vec![one])).await, 2001);
    assert_eq!(call(&mut element, &event(Kind::Refund, 1, vec![money(40_000)])).await, 2001);
    assert_eq!(desk.balance(1).await, full - 50_000);

    let charges = desk.list("subscribers/1").await;
    let kinds: Vec<CdrKind> = charges.iter().map(wire::Charge::kind).collect();
    assert_eq!(kinds, [CdrKind::Refund, CdrKind::Usage]);
    let message = charges[1].cdr_id.clone();
    assert_eq!(
        (charges[0].corrects_cdr_id.as_str(), charges[1].amount.as_ref().unwrap().mantissa),
        (&*message, 90_000)
    );
    let too_much = desk.usage.refund_charge(refund(&message, Some(50_001), "a")).await;
    refused(too_much, Code::FailedPrecondition, "REFUND_TOO_LARGE");
    let first = desk.usage.refund_charge(refund(&message, Some(30_000), "a")).await.unwrap().into_inner();
    assert_eq!((first.balance.unwrap().mantissa, first.repeated), (full - 20_000, false));
    let cdr = first.refund.unwrap();
    assert_eq!((cdr.kind(), cdr.amount.as_ref().unwrap().mantissa), (CdrKind::Refund, -30_000));
    assert_eq!(cdr.account_cdr_number, first.cdr_number);

    server.kill();
    server.restart();
    let mut desk = Desk::at(&server).await;
    let again = desk.usage.refund_charge(refund(&message, Some(30_000), "a")).await.unwrap().into_inner();
    assert_eq!((again.cdr_number, again.repeated), (first.cdr_number, true));
    assert_eq!(again.refund.unwrap().cdr_id, cdr.cdr_id);
    let other = desk.usage.refund_charge(refund(&message, Some(30_001), "a")).await;
    refused(other, Code::AlreadyExists, "KEY_REUSED");
    let mut element = connect(server.gy, "smsc.example.org").await.unwrap();
    assert_ne!(call(&mut element, &event(Kind::Refund, 2, vec![money(20_001)])).await, 2001, "0.02 is left");
    let rest = desk.usage.refund_charge(refund(&message, None, "b")).await.unwrap().into_inner();
    assert_eq!(rest.balance.unwrap().mantissa, full);
    assert_ne!(call(&mut element, &event(Kind::Refund, 3, vec![])).await, 2001, "nothing is left");
    let more = desk.usage.refund_charge(refund(&message, None, "c")).await;
    refused(more, Code::FailedPrecondition, "REFUND_TOO_LARGE");
    assert_eq!(desk.balance(1).await, full);

    let request = wire::ListAuditRecordsRequest { target: "accounts/1".into(), page_size: 10, ..Default::default() };
    let records = desk.audit.list_audit_records(request).await.unwrap().into_inner().records;
    let noted: Vec<_> = records.iter().map(|it| (it.method.as_str(), it.idempotency_key.as_str())).collect();
    assert_eq!(noted, [("Usage/RefundCharge", "b"), ("Usage/RefundCharge", "a")]);
    assert_eq!(records[0].reason, "the call was cut off");
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// What cannot be given back is refused with a stable reason, and nothing moves.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_given_back_says_why() {
    let server = with_bill();
    let mut desk = Desk::at(&server).await;
    desk.charge(
        "msisdn-4915011",
        common::Service::Sms,
        &[before(60)],
        common::Units { events: Some(1), seconds: None, ..SECOND },
    )
    .await;
    let message = desk.list("subscribers/11").await[0].cdr_id.clone();
    let top_up = wire::TopUpRequest {
        account: Some(wire::top_up_request::Account::AccountId(1)),
        amount: euros(1_000_000),
        idempotency_key: "t".into(),
        ..Default::default()
    };
    desk.accounts.top_up(top_up).await.unwrap();
    let full = desk.balance(1).await;
    let list = wire::ListMovementsRequest { account: "accounts/1".into(), page_size: 1, ..Default::default() };
    let paid = desk.accounts.list_movements(list).await.unwrap().into_inner().movements[0].cdr_id.clone();
    for (request, code, why) in [
        (refund("", None, "a"), Code::InvalidArgument, "INVALID_FIELD"),
        (refund("1-x", None, "a"), Code::InvalidArgument, "INVALID_FIELD"),
        (refund(&message, Some(0), "a"), Code::InvalidArgument, "INVALID_FIELD"),
        (refund(&message, Some(-1), "a"), Code::InvalidArgument, "INVALID_FIELD"),
        (refund(&message, None, ""), Code::InvalidArgument, "INVALID_FIELD"),
        (
            wire::RefundChargeRequest { reason: String::new(), ..refund(&message, None, "a") },
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (refund("1-999999", None, "a"), Code::NotFound, "CHARGE_NOT_FOUND"),
        (refund("77-1", None, "a"), Code::NotFound, "CHARGE_NOT_FOUND"),
        (refund(&paid, None, "a"), Code::FailedPrecondition, "NOTHING_CHARGED"),
        (refund(&message, Some(90_001), "a"), Code::FailedPrecondition, "REFUND_TOO_LARGE"),
        (
            wire::RefundChargeRequest {
                amount: Some(common::Money { mantissa: 1, scale: 2, currency: "USD".into() }),
                ..refund(&message, None, "a")
            },
            Code::FailedPrecondition,
            "CURRENCY_MISMATCH",
        ),
    ] {
        refused(desk.usage.refund_charge(request).await, code, why);
    }
    assert_eq!(desk.balance(1).await, full);
    desk.usage.refund_charge(refund(&message, None, "a")).await.expect("a refusal used up no key");
}

/// Refunds of one account asked for at once by many, while it is charged: each is done once, all of it goes back and no more.
#[tokio::test(flavor = "multi_thread")]
async fn many_refunds_at_once_give_back_what_was_charged() {
    let mut server = with_bill();
    let mut desk = Desk::at(&server).await;
    let events = common::Units { events: Some(1), seconds: None, ..SECOND };
    desk.charge("msisdn-4915011", common::Service::Sms, &[before(60)], events.clone()).await;
    let message = desk.list("subscribers/11").await[0].cdr_id.clone();
    let asked: Vec<_> = (0..24)
        .map(|number| {
            let (mut usage, message) = (desk.usage.clone(), message.clone());
            tokio::spawn(async move {
                // Whoever was contended tries again with the same key.
                loop {
                    match usage.refund_charge(refund(&message, Some(10_000), &format!("k{number}"))).await {
                        Ok(_) => return true,
                        Err(status) if status.code() == Code::Aborted => {}
                        Err(status) => {
                            refused(Err::<(), _>(status), Code::FailedPrecondition, "REFUND_TOO_LARGE");
                            return false;
                        }
                    }
                }
            })
        })
        .collect();
    desk.charge("msisdn-4915012", common::Service::Voice, &[before(50); 20].map(|at| at), SECOND).await;
    let mut done = 0;
    for asked in asked {
        done += usize::from(asked.await.unwrap());
    }
    assert_eq!(done, 9, "0.09 in portions of 0.01");
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// A refund that meets `kill -9` is done or not done, and its retry gives the one answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_meets_kill_9_is_done_once() {
    let mut server = with_bill();
    let (began, mut done_before_the_kill) = (now(), 0);
    for round in 0..10u64 {
        let mut desk = Desk::at(&server).await;
        let start = Timestamp { seconds: began.seconds - 1000 - i64::try_from(round).unwrap(), nanos: 0 };
        desk.charge(
            "msisdn-4915011",
            common::Service::Sms,
            &[start],
            common::Units { events: Some(1), seconds: None, ..SECOND },
        )
        .await;
        let charge = desk.list("subscribers/11").await[0].cdr_id.clone();
        let full = desk.balance(1).await;
        let (whole, part) =
            (refund(&charge, None, &format!("w{round}")), refund(&charge, Some(20_000), &format!("p{round}")));
        let mut usage = desk.usage.clone();
        let asked = tokio::spawn({
            let (whole, part) = (whole.clone(), part.clone());
            async move {
                let part = usage.refund_charge(part).await.is_ok();
                usize::from(part) + usize::from(usage.refund_charge(whole).await.is_ok())
            }
        });
        tokio::time::sleep(std::time::Duration::from_millis(15 * round)).await;
        server.kill();
        done_before_the_kill += asked.await.unwrap();
        server.restart();
        let mut desk = Desk::at(&server).await;
        let first = desk.usage.refund_charge(part.clone()).await.unwrap().into_inner();
        let second = desk.usage.refund_charge(whole.clone()).await.unwrap().into_inner();
        assert_eq!(desk.balance(1).await, full + 90_000, "{round}");
        for (request, answer) in [(part, first), (whole, second)] {
            let again = desk.usage.refund_charge(request).await.unwrap().into_inner();
            assert_eq!((again.cdr_number, again.balance), (answer.cdr_number, answer.balance));
            assert!(again.repeated);
        }
        let list = wire::ListAuditRecordsRequest { page_size: 1000, ..Default::default() };
        let records = desk.audit.list_audit_records(list).await.unwrap().into_inner().records;
        for key in [format!("w{round}"), format!("p{round}")] {
            assert_eq!(records.iter().filter(|record| record.idempotency_key == key).count(), 1, "{key}");
        }
    }
    assert!(done_before_the_kill > 0, "some were answered before the kill");
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// Four calls of a second at a third of a cent each are debited 0.003333 each; the bill says 0.01 for three of them, when one is
/// given back, as 0.013333 would be for four. Pages, periods and both subscribers of an account.
#[tokio::test(flavor = "multi_thread")]
async fn charges_are_listed_and_added_up_to_the_exact_bill() {
    let server = with_bill();
    let mut desk = Desk::at(&server).await;
    let day = 86_400;
    let times = [before(3 * day), before(2 * day), before(2 * day - 60), before(2 * day - 120)];
    desk.charge("msisdn-4915011", common::Service::Voice, &times, SECOND).await;
    desk.charge(
        "msisdn-4915012",
        common::Service::Sms,
        &times[1..2],
        common::Units { events: Some(1), seconds: None, ..SECOND },
    )
    .await;

    let mut request = wire::ListChargesRequest { parent: "accounts/1".into(), page_size: 2, ..Default::default() };
    let mut all = Vec::new();
    loop {
        let page = desk.usage.list_charges(request.clone()).await.unwrap().into_inner();
        assert!(page.charges.len() <= 2);
        all.extend(page.charges);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(all.len(), 5);
    assert!(all.windows(2).all(|two| position(&two[0]) > position(&two[1])), "the newest first");
    assert_eq!((all[0].price_id.as_str(), all[0].subscriber_id, all[1].used), ("sms", Some(12), 1));
    let named = desk.list("subscribers/msisdn-4915011").await;
    assert_eq!(named, all[1..]);
    let two_days = wire::ListChargesRequest {
        parent: "subscribers/11".into(),
        from: Some(times[1]),
        to: Some(times[3]),
        ..Default::default()
    };
    let page = desk.usage.list_charges(two_days).await.unwrap().into_inner();
    assert_eq!(page.charges, all[2..4], "from the first instant, before the last");
    let foreign =
        wire::ListChargesRequest { parent: "accounts/2".into(), page_token: "at-1-0".into(), ..Default::default() };
    refused(desk.usage.list_charges(foreign).await, Code::FailedPrecondition, "NOT_POSSIBLE");

    let totals =
        |parent: &str, from, to| wire::GetTotalsRequest { parent: parent.into(), from: Some(from), to: Some(to) };
    let sums = desk.usage.get_totals(totals("subscribers/11", times[0], now())).await.unwrap().into_inner();
    let [row] = &sums.rows[..] else { panic!("{sums:?}") };
    assert_eq!((row.cdr_count, row.used, row.rated, row.price_id.as_str()), (4, 4, 4, "voice"));
    assert_eq!((row.amount.as_ref().unwrap().mantissa, row.exact_micros.as_str()), (13_332, "40000/3"));
    let said = |sums: &wire::GetTotalsResponse| {
        let micros = |money: &Option<common::Money>| money.as_ref().unwrap().mantissa;
        sums.totals.iter().map(|total| (micros(&total.debited), micros(&total.billed))).collect::<Vec<_>>()
    };
    assert_eq!(said(&sums), [(13_332, 10_000)], "0.013333 is 0.01 on the bill");
    let sums = desk.usage.get_totals(totals("subscribers/11", times[1], now())).await.unwrap().into_inner();
    assert_eq!(said(&sums), [(9_999, 10_000)], "three thirds");

    // One goes back whole: two thirds are left, and no dust of the third.
    desk.usage.refund_charge(refund(&all[1].cdr_id, None, "r")).await.unwrap();
    let sums = desk.usage.get_totals(totals("subscribers/11", times[1], before(-60))).await.unwrap().into_inner();
    let row = &sums.rows[0];
    assert_eq!((row.cdr_count, row.given_back.as_ref().unwrap().mantissa), (3, 3_333));
    assert_eq!((row.exact_micros.as_str(), said(&sums)), ("20000/3", vec![(6_666, 10_000)]));
    // The period of the refund alone has the refund, in the row of what it gives back.
    let sums = desk.usage.get_totals(totals("accounts/1", before(3600), before(-60))).await.unwrap().into_inner();
    assert_eq!((sums.rows.len(), sums.rows[0].cdr_count, said(&sums)), (1, 0, vec![(-3_333, 0)]));
    assert_eq!(sums.rows[0].price_id, "voice");
    let sums = desk.usage.get_totals(totals("accounts/1", times[0], before(-60))).await.unwrap().into_inner();
    assert_eq!((sums.rows.len(), said(&sums)), (2, vec![(99_999, 100_000)]), "three calls and a message");
    let backwards = desk.usage.get_totals(totals("accounts/1", now(), times[0])).await;
    refused(backwards, Code::InvalidArgument, "INVALID_FIELD");
    let unknown = desk.usage.get_totals(totals("accounts/404", times[0], now())).await;
    refused(unknown, Code::NotFound, "ACCOUNT_NOT_FOUND");
}

fn position(charge: &wire::Charge) -> u64 {
    charge.cdr_id.split_once('-').unwrap().1.parse().unwrap()
}

/// A running system explains a CDR in the words, and the parts, that `ocs cdr explain` has for it when the system is down.
#[test]
fn the_command_line_lists_explains_adds_up_and_gives_back() {
    let mut server = with_bill();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut desk = Desk::at(&server).await;
        desk.charge("msisdn-4915011", common::Service::Voice, &[before(3600)], SECOND).await;
    });
    let listed = ask(&server, &["usage", "list", "msisdn-4915011", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&listed["amount"], &listed["service"], &listed["kind"]),
        (&"0.003333".into(), &"voice".into(), &"usage".into())
    );
    let id = listed["cdr_id"].as_str().unwrap();
    let would = ask(&server, &["usage", "refund", id, "--amount", "0.001", "--reason", "goodwill", "--dry-run"]);
    assert!(would.contains("EUR") && would.contains("1000"), "{would}");
    let refund = ["usage", "refund", id, "--amount", "0.001", "--reason", "goodwill", "--key", "k"];
    let done = ask(&server, &refund);
    assert!(done.contains("0.001 EUR given back") && done.contains("balance 9.997667 EUR"), "{done}");
    assert!(ask(&server, &refund).contains("nothing changed"));
    let shown = ask(&server, &["usage", "list", "accounts/1"]);
    assert!(
        shown.starts_with(|first: char| first.is_ascii_digit()) && shown.contains(&format!("refund of {id}")),
        "{shown}"
    );
    let bill = ask(&server, &["usage", "totals", "1", "--from", "2020-01-01", "--to", "2099-01-01"]);
    assert!(bill.contains("in all 0.002333 EUR debited, 0.00 EUR on the bill"), "{bill}");
    let words = ask(&server, &["usage", "explain", id]);
    let parts = ask(&server, &["usage", "explain", id, "-o", "json"]);
    assert!(words.contains("price voice, which is for service voice"), "{words}");
    server.ask_to_stop();
    server.stopped();
    let position = id.split_once('-').unwrap().1;
    let folder = server.data();
    let offline = |form: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["cdr", "explain", position, "-o", form, "--data"]).arg(&folder);
        text(&command.output().unwrap())
    };
    assert_eq!((offline("table"), offline("json")), (words, parts));
}
