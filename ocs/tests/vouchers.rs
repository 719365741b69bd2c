//! Vouchers on the real binary: each is redeemed once, whoever guesses is locked out, and no `kill -9` leaves money without its
//! voucher or a voucher without its money.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ocs_api::client::{AccountsClient, AuditLogClient, ClockClient, VouchersClient};
use ocs_proto::cdr::v1::CdrKind;
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use campaign::refused;
use campaign::server::{PROGRAM, Server};

/// A code that fits together, and that nobody made.
const WRONG: [&str; 6] = [
    "0000000000000000",
    "0000000000000018",
    "0000000000000026",
    "0000000000000034",
    "0000000000000042",
    "0000000000000059",
];

/// In the year 2999, unix seconds.
const FAR: i64 = 32_472_144_000;

/// All clients of one system.
#[derive(Clone)]
struct Desk {
    vouchers: VouchersClient<Channel>,
    accounts: AccountsClient<Channel>,
    audit: AuditLogClient<Channel>,
    clock: ClockClient<Channel>,
}

impl Desk {
    async fn at(server: &Server) -> Self {
        let channel = Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap();
        Self {
            vouchers: VouchersClient::new(channel.clone()),
            accounts: AccountsClient::new(channel.clone()),
            audit: AuditLogClient::new(channel.clone()),
            clock: ClockClient::new(channel),
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

    async fn now(&mut self) -> i64 {
        self.clock.get_time(wire::GetTimeRequest {}).await.unwrap().into_inner().now.unwrap().seconds
    }

    async fn advance(&mut self, seconds: i64) {
        let by = Some(prost_types::Duration { seconds, nanos: 0 });
        self.clock.advance_time(wire::AdvanceTimeRequest { by }).await.unwrap();
    }

    /// Makes a batch of vouchers of 2.50 EUR that are good for long, and reads all of its codes.
    async fn made(&mut self, batch: &str, count: u32) -> Result<Vec<String>, Status> {
        self.make(wire::CreateVouchersRequest { expire_time: day_after(FAR), ..new(batch, count) }).await
    }

    async fn make(&mut self, request: wire::CreateVouchersRequest) -> Result<Vec<String>, Status> {
        let mut answers = self.vouchers.create_vouchers(request).await?.into_inner();
        let mut codes = Vec::new();
        while let Some(some) = answers.message().await? {
            for voucher in some.vouchers {
                codes.push(voucher.code);
                assert_eq!(voucher.name, format!("{}/vouchers/{}", some.batch, codes.len()));
            }
        }
        Ok(codes)
    }

    async fn redeem(&mut self, account: u64, code: &str, key: &str) -> Result<wire::RedeemVoucherResponse, Status> {
        self.vouchers.redeem_voucher(redemption(account, code, key)).await.map(tonic::Response::into_inner)
    }

    async fn voucher(&mut self, code: &str) -> wire::Voucher {
        let request = wire::GetVoucherRequest { code: code.into() };
        self.vouchers.get_voucher(request).await.unwrap().into_inner().voucher.unwrap()
    }

    async fn batches(&mut self) -> Vec<wire::VoucherBatch> {
        let request = wire::ListBatchesRequest::default();
        self.vouchers.list_batches(request).await.unwrap().into_inner().batches
    }

    async fn records(&mut self, method: &str) -> Vec<wire::AuditRecord> {
        let request = wire::ListAuditRecordsRequest { page_size: 1000, ..Default::default() };
        let records = self.audit.list_audit_records(request).await.unwrap().into_inner().records;
        records.into_iter().filter(|record| record.method == method).collect()
    }
}

fn day_after(now: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: now + 86_400, nanos: 0 })
}

fn new(batch: &str, count: u32) -> wire::CreateVouchersRequest {
    wire::CreateVouchersRequest {
        batch: batch.into(),
        count,
        value: Some(common::Money { mantissa: 250, scale: 2, currency: "EUR".into() }),
        reason: "for the shops".into(),
        ..Default::default()
    }
}

fn redemption(account: u64, code: &str, key: &str) -> wire::RedeemVoucherRequest {
    wire::RedeemVoucherRequest {
        beneficiary: Some(wire::redeem_voucher_request::Beneficiary::Account(format!("accounts/{account}"))),
        code: code.into(),
        idempotency_key: key.into(),
    }
}

/// Every file below a folder.
fn files(folder: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, each) } else { each(&path) }
    }
}

/// Each code is redeemed from two connections at the same time, for two accounts: one of them gets it, the other is told that
/// it was used, and each cent has its CDR, its audit record and its voucher.
#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_that_is_tried_from_two_connections_at_once_is_redeemed_once() {
    let mut server = Server::start(2);
    let mut desk = Desk::at(&server).await;
    let codes = desk.made("summer-27", 40).await.unwrap();
    assert_eq!(codes.len(), 40);
    let before = desk.balance(1).await + desk.balance(2).await;
    let mut won = [0, 0];
    for (number, code) in codes.iter().take(30).enumerate() {
        let (mut one, mut two) = (Desk::at(&server).await, Desk::at(&server).await);
        let (keys, code) = ((format!("one-{number}"), format!("two-{number}")), code.clone());
        let (one, two) = tokio::join!(
            tokio::spawn({
                let (key, code) = (keys.0.clone(), code.clone());
                async move { one.redeem(1, &code, &key).await }
            }),
            tokio::spawn({
                let (key, code) = (keys.1.clone(), code.clone());
                async move { two.redeem(2, &code, &key).await }
            })
        );
        let (account, key, done, lost) = match (one.unwrap(), two.unwrap()) {
            (Ok(done), lost) => (1, keys.0, done, lost),
            (lost, Ok(done)) => (2, keys.1, done, lost),
            both => panic!("nobody won: {both:?}"),
        };
        won[usize::try_from(account).unwrap() - 1] += 1;
        refused(lost, Code::FailedPrecondition, "VOUCHER_USED");
        let again = desk.redeem(account, &code, &key).await.unwrap();
        assert_eq!((again.cdr_number, again.repeated), (done.cdr_number, true));
        assert_eq!((done.repeated, done.value.unwrap().mantissa), (false, 2_500_000));
        let voucher = desk.voucher(&code).await;
        assert_eq!(voucher.name, format!("batches/summer-27/vouchers/{}", number + 1));
        assert_eq!((voucher.state(), voucher.account), (wire::VoucherState::Used, format!("accounts/{account}")));
    }
    assert_eq!(desk.balance(1).await + desk.balance(2).await, before + 30 * 2_500_000);
    let batch = desk.batches().await.remove(0);
    assert_eq!((batch.used, batch.count, batch.state()), (30, 40, wire::VoucherState::Active));
    refused(
        desk.redeem(1, &codes[30], "one-x").await.and(desk.redeem(1, &codes[31], "one-x").await),
        Code::AlreadyExists,
        "KEY_REUSED",
    );

    let list = wire::ListMovementsRequest { account: "accounts/1".into(), page_size: 1, ..Default::default() };
    let newest = desk.accounts.list_movements(list).await.unwrap().into_inner().movements.remove(0);
    assert_eq!((newest.kind(), newest.amount.unwrap().mantissa), (CdrKind::TopUp, -2_500_000));
    let redeemed = desk.records("Vouchers/RedeemVoucher").await;
    assert_eq!(redeemed.len(), 31, "neither repeats nor refusals change anything");
    let used = redeemed[0].differences.iter().find(|it| it.what == "batches/summer-27/vouchers/31").unwrap();
    assert_eq!((used.before.as_str(), used.after.as_str()), ("active", "used"));
    assert!(redeemed[0].differences.iter().any(|it| it.what == "buckets/main/balance"), "{redeemed:?}");
    assert_eq!(desk.records("Vouchers/CreateVouchers").await.len(), 1);
    server.ask_to_stop();
    server.stopped();
    server.audit();

    // A code is nowhere on disk, in figures or as octets; the key is its owner's.
    let mut seen = 0;
    files(&server.data(), &mut |file| {
        let mut content = std::fs::read(file).unwrap();
        // What is set aside for later is empty.
        content.truncate(content.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1));
        seen += content.len();
        for code in &codes {
            let digits: Vec<u8> = code.bytes().map(|digit| digit - b'0').collect();
            for form in [code.as_bytes(), &digits[..]] {
                assert!(!content.windows(form.len()).any(|part| part == form), "{} in {}", code, file.display());
            }
        }
    });
    assert!(seen > 10_000, "the folder has its records");
    let key = std::fs::metadata(server.data().join("voucher.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
}

/// Five wrong codes within an hour lock an account for an hour: over a `kill -9`, for right codes, too, and for no other
/// account. What was only mistyped, or tried twice, is no guess.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_is_locked_out_also_over_a_restart() {
    let mut server = Server::new(2, &["--clock", "manual"]);
    server.restart();
    let mut desk = Desk::at(&server).await;
    let codes = desk.made("b", 3).await.unwrap();
    for (number, wrong) in WRONG.iter().take(4).enumerate() {
        refused(desk.redeem(1, wrong, &format!("w{number}")).await, Code::NotFound, "UNKNOWN_VOUCHER");
    }
    refused(desk.redeem(1, WRONG[0], "w0").await, Code::NotFound, "UNKNOWN_VOUCHER");
    for malformed in ["0000000000000019", "123", "", "x", "00000000000000000", "é000000000000000"] {
        refused(desk.redeem(1, malformed, "m").await, Code::InvalidArgument, "INVALID_FIELD");
    }
    desk.redeem(1, &codes[0], "good").await.unwrap();
    refused(desk.redeem(1, WRONG[4], "w4").await, Code::NotFound, "UNKNOWN_VOUCHER");
    for restarted in [false, true, true] {
        if restarted {
            server.kill();
            server.restart();
            desk = Desk::at(&server).await;
        }
        let status = refused(desk.redeem(1, &codes[1], "late").await, Code::FailedPrecondition, "VOUCHER_LOCKED");
        let wait = status.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!(wait > Duration::from_secs(3500) && wait <= Duration::from_secs(3600), "{wait:?}");
        refused(desk.redeem(1, WRONG[5], "w5").await, Code::FailedPrecondition, "VOUCHER_LOCKED");
        assert!(desk.redeem(1, &codes[0], "good").await.unwrap().repeated, "the first answer");
    }
    desk.redeem(2, &codes[2], "other").await.unwrap();
    let locks = desk.records("Vouchers/RedeemVoucher").await;
    let locks: Vec<_> = locks.iter().filter(|record| record.differences[0].what == "vouchers").collect();
    assert_eq!((locks.len(), locks[0].target.as_str()), (1, "accounts/1"), "{locks:?}");
    desk.advance(3601).await;
    assert!(!desk.redeem(1, &codes[1], "late").await.unwrap().repeated);

    // Wrong tries that are an hour old count no longer.
    for wrong in &WRONG[..4] {
        refused(desk.redeem(2, wrong, "w").await, Code::NotFound, "UNKNOWN_VOUCHER");
    }
    desk.advance(3601).await;
    refused(desk.redeem(2, WRONG[4], "w").await, Code::NotFound, "UNKNOWN_VOUCHER");
    refused(desk.redeem(2, WRONG[5], "w").await, Code::NotFound, "UNKNOWN_VOUCHER");

    // Looking codes up is no way round it.
    let mut looked = 0;
    for number in 100u64.. {
        let code = fitting(number);
        let found = desk.vouchers.get_voucher(wire::GetVoucherRequest { code }).await;
        looked += 1;
        match found.unwrap_err().code() {
            Code::NotFound => assert!(looked <= 30),
            code => {
                assert_eq!((code, looked), (Code::FailedPrecondition, 31));
                break;
            }
        }
    }
}

/// The code whose first 15 digits are this number: its last one is worked out as the back of a payment card says.
fn fitting(number: u64) -> String {
    let front = format!("{number:015}");
    let sum: u32 = front.chars().enumerate().fold(0, |sum, (place, digit)| {
        let worth = digit.to_digit(10).unwrap() * if place % 2 == 0 { 2 } else { 1 };
        sum + worth / 10 + worth % 10
    });
    format!("{front}{}", (10 - sum % 10) % 10)
}

/// What is blocked or over gives nothing, whoever asks; what is given lasts as long as it should.
#[tokio::test(flavor = "multi_thread")]
async fn blocked_and_expired_vouchers_give_nothing() {
    let mut server = Server::new(2, &["--clock", "manual"]);
    server.restart();
    let mut desk = Desk::at(&server).await;
    let now = desk.now().await;
    let request = wire::CreateVouchersRequest {
        bucket_id: "promo".into(),
        priority: Some(7),
        origin: common::Origin::Granted.into(),
        validity: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        expire_time: day_after(now),
        ..new("promo", 4)
    };
    let promo = desk.make(request).await.unwrap();
    let whole = desk.made("whole", 2).await.unwrap();
    let dollars = wire::CreateVouchersRequest {
        value: Some(common::Money { mantissa: 1, scale: 0, currency: "USD".into() }),
        expire_time: day_after(now),
        ..new("dollars", 1)
    };
    let dollars = desk.make(dollars).await.unwrap();
    let others = wire::CreateVouchersRequest { tenant_id: 3, expire_time: day_after(now), ..new("others", 1) };
    let others = desk.make(others).await.unwrap();
    refused(desk.redeem(1, &others[0], "other").await, Code::NotFound, "UNKNOWN_VOUCHER");
    refused(desk.redeem(1, &dollars[0], "usd").await, Code::FailedPrecondition, "NOT_POSSIBLE");
    assert_eq!(desk.voucher(&dollars[0]).await.state(), wire::VoucherState::Active);

    use wire::block_voucher_request::Voucher as Which;
    let block = |voucher: Which| wire::BlockVoucherRequest { voucher: Some(voucher), reason: "sold damaged".into() };
    let by_code = desk.vouchers.block_voucher(block(Which::Code(promo[0].clone()))).await.unwrap().into_inner();
    let by_name = block(Which::Name("batches/promo/vouchers/2".into()));
    let second = desk.vouchers.block_voucher(by_name.clone()).await.unwrap().into_inner();
    assert_eq!((by_code.voucher.unwrap().state(), by_code.repeated), (wire::VoucherState::Blocked, false));
    assert_eq!((second.voucher.unwrap().state(), second.repeated), (wire::VoucherState::Blocked, false));
    assert!(desk.vouchers.block_voucher(by_name).await.unwrap().into_inner().repeated);
    let batch = |name: &str| wire::BlockBatchRequest { name: name.into(), reason: "a parcel was stolen".into() };
    assert!(!desk.vouchers.block_batch(batch("batches/whole")).await.unwrap().into_inner().repeated);
    assert!(desk.vouchers.block_batch(batch("batches/whole")).await.unwrap().into_inner().repeated);
    refused(desk.vouchers.block_batch(batch("batches/none")).await, Code::NotFound, "BATCH_NOT_FOUND");
    refused(desk.vouchers.block_batch(batch("none")).await, Code::InvalidArgument, "INVALID_FIELD");

    let before = desk.balance(1).await;
    for (number, code) in [&promo[0], &promo[1], &whole[0], &whole[1]].into_iter().enumerate() {
        refused(desk.redeem(1, code, &format!("b{number}")).await, Code::FailedPrecondition, "VOUCHER_BLOCKED");
    }
    assert_eq!(desk.balance(1).await, before);
    let by_subscriber = wire::RedeemVoucherRequest {
        beneficiary: Some(wire::redeem_voucher_request::Beneficiary::Subscriber("subscribers/1".into())),
        ..redemption(1, &promo[2], "s")
    };
    desk.vouchers.redeem_voucher(by_subscriber).await.unwrap();
    let bucket = desk.account(1).await.buckets.into_iter().find(|bucket| bucket.bucket_id == "promo").unwrap();
    assert_eq!((bucket.balance, bucket.priority, bucket.origin()), (2_500_000, 7, common::Origin::Granted));
    let valid = bucket.valid_to.unwrap().seconds - desk.now().await;
    assert!((3590..=3600).contains(&valid), "{valid}");
    refused(
        desk.vouchers.block_voucher(block(Which::Code(promo[2].clone()))).await,
        Code::FailedPrecondition,
        "VOUCHER_USED",
    );

    desk.advance(86_401).await;
    refused(desk.redeem(2, &promo[3], "late").await, Code::FailedPrecondition, "VOUCHER_EXPIRED");
    assert_eq!(desk.voucher(&promo[3]).await.state(), wire::VoucherState::Expired);
    let past = wire::CreateVouchersRequest { expire_time: day_after(now), ..new("past", 1) };
    refused(desk.make(past).await, Code::FailedPrecondition, "NOT_POSSIBLE");
    refused(desk.made("promo", 1).await, Code::AlreadyExists, "BATCH_EXISTS");
    for bad in [
        new("", 1),
        new("a b", 1),
        new("none", 0),
        new("none", 100_001),
        wire::CreateVouchersRequest { value: None, ..new("none", 1) },
        wire::CreateVouchersRequest {
            value: Some(common::Money { mantissa: -1, scale: 2, currency: "EUR".into() }),
            ..new("none", 1)
        },
        wire::CreateVouchersRequest { origin: 9, ..new("none", 1) },
        wire::CreateVouchersRequest { tenant_id: 65_536, ..new("none", 1) },
        new("none", 1),
    ] {
        refused(desk.make(bad).await, Code::InvalidArgument, "INVALID_FIELD");
    }

    // Nobody can redeem without the key, and nobody is told that a code is wrong when it is the key that is.
    server.kill();
    let file = server.data().join("voucher.key");
    let key = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    server.restart();
    desk = Desk::at(&server).await;
    let status = refused(desk.redeem(2, &promo[3], "k").await, Code::FailedPrecondition, "NOT_POSSIBLE");
    assert!(status.message().contains("voucher.key"), "{status:?}");
    std::fs::write(&file, [7; 32]).unwrap();
    refused(desk.redeem(2, &promo[3], "k").await, Code::FailedPrecondition, "NOT_POSSIBLE");
    std::fs::write(&file, key).unwrap();
    refused(desk.redeem(2, &promo[3], "k").await, Code::FailedPrecondition, "VOUCHER_EXPIRED");
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// The process is killed while vouchers are redeemed: each is used and paid in, or neither, and its retry gets the one answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_redemption_that_meets_kill_9_is_whole_or_not_there() {
    let mut server = Server::start(3);
    let codes = Desk::at(&server).await.made("rounds", 60).await.unwrap();
    let (mut before_the_kill, mut after_it) = (0, 0);
    for (round, some) in codes.chunks(6).enumerate() {
        let mut desk = Desk::at(&server).await;
        let balance = desk.balance(1).await;
        let mut asked = Vec::new();
        for (number, code) in some.iter().enumerate() {
            let (mut desk, code) = (desk.clone(), code.clone());
            let key = format!("{round}-{number}");
            asked.push(tokio::spawn(async move { desk.redeem(1, &code, &key).await }));
        }
        tokio::time::sleep(Duration::from_micros(400 * (round * round) as u64)).await;
        server.kill();
        let mut answered = Vec::new();
        for asked in asked {
            answered.push(asked.await.unwrap().ok());
        }
        server.restart();
        let mut desk = Desk::at(&server).await;
        let mut used = 0;
        for (code, answered) in some.iter().zip(&answered) {
            let is_used = desk.voucher(code).await.state() == wire::VoucherState::Used;
            assert!(is_used || answered.is_none(), "what was answered is there");
            used += i64::from(is_used);
        }
        assert_eq!(desk.balance(1).await, balance + used * 2_500_000, "round {round}");
        assert_eq!(i64::from(desk.batches().await[0].used), i64::try_from(round * 6).unwrap() + used);
        for (number, (code, answered)) in some.iter().zip(&answered).enumerate() {
            let done = desk.redeem(1, code, &format!("{round}-{number}")).await.unwrap();
            if let Some(answered) = answered {
                assert_eq!((done.cdr_number, done.repeated), (answered.cdr_number, true));
                before_the_kill += 1;
            } else {
                after_it += 1;
            }
        }
        assert_eq!(desk.balance(1).await, balance + 6 * 2_500_000, "round {round}");
        assert_eq!(desk.records("Vouchers/RedeemVoucher").await.len(), (round + 1) * 6);
    }
    assert!(before_the_kill > 0 && after_it > 0, "{before_the_kill} {after_it}");
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// The process is killed while a batch is made: no part of it can be redeemed, and the same request makes it anew, unless it
/// was whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_meets_kill_9_is_whole_or_made_anew() {
    let mut server = Server::start(1);
    let mut halves = 0;
    for round in 0..6u64 {
        let mut desk = Desk::at(&server).await;
        let name = format!("batch-{round}");
        let asked = tokio::spawn({
            let (mut desk, name) = (desk.clone(), name.clone());
            async move { desk.made(&name, 20_000).await }
        });
        // Once it is under way.
        while !desk.batches().await.iter().any(|batch| batch.name.ends_with(&name)) && !asked.is_finished() {}
        tokio::time::sleep(Duration::from_millis(25 * round)).await;
        server.kill();
        let _ = asked.await;
        server.restart();
        let mut desk = Desk::at(&server).await;
        let batches = desk.batches().await;
        let batch = batches.iter().find(|batch| batch.name.ends_with(&name));
        let whole = batch.is_some_and(|batch| batch.state() == wire::VoucherState::Active);
        halves += usize::from(batch.is_some() && !whole);
        match desk.made(&name, 20_000).await {
            Ok(codes) => {
                assert!(!whole && codes.len() == 20_000);
                desk.redeem(1, codes.last().unwrap(), &name).await.unwrap();
                desk.redeem(1, &codes[0], &format!("{name}-first")).await.unwrap();
            }
            Err(status) => {
                assert!(whole, "{status:?}");
                refused(Err::<(), _>(status), Code::AlreadyExists, "BATCH_EXISTS");
            }
        }
        assert_eq!(desk.records("Vouchers/CreateVouchers").await.len() as u64, round + 1);
    }
    assert!(halves > 0, "some were cut in the middle");
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// The command line makes, shows, blocks and redeems; codes are on standard output and nowhere else.
#[test]
fn the_command_line_prints_codes_and_redeems_them() {
    let server = Server::start(1);
    let ocs = |arguments: &[&str]| {
        let done = Command::new(PROGRAM).args(arguments).env("OCS_SERVER", format!("http://{}", server.grpc)).output();
        let done = done.unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let create = ["voucher", "create", "shop-1", "--count", "2", "--value", "10.00 EUR", "--expires", "2999-01-01"];
    let (code, out, errors) = ocs(&create);
    assert_eq!(code, Some(0), "{errors}");
    let lines: Vec<(&str, &str)> = out.lines().map(|line| line.split_once(',').unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1].0, "batches/shop-1/vouchers/2");
    assert!(!errors.contains(lines[0].1));
    let (code, _, errors) = ocs(&create);
    assert!(code == Some(2) && errors.contains("made before"), "{errors}");
    let (code, out, errors) = ocs(&["voucher", "redeem", "1", lines[0].1, "--key", "k", "-o", "json"]);
    assert_eq!(code, Some(0), "{errors}");
    let done: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&done["value"], &done["repeated"]), (&"10.00".into(), &false.into()));
    let (_, out, _) = ocs(&["voucher", "show", lines[0].1]);
    assert!(out.contains("used") && out.contains("accounts/1"), "{out}");
    let (code, out, errors) = ocs(&["voucher", "block", lines[1].0, "--reason", "lost"]);
    assert!(code == Some(0) && out.contains("blocked"), "{errors}");
    let (code, _, errors) = ocs(&["voucher", "redeem", "1", lines[1].1, "--key", "l"]);
    assert!(code == Some(2) && errors.contains("blocked") && !errors.contains(lines[1].1), "{errors}");
    let (_, out, _) = ocs(&["voucher", "block", "batches/shop-1", "--reason", "lost"]);
    assert_eq!(out, "batches/shop-1: blocked\n");
    let (_, out, _) = ocs(&["voucher", "batches", "-o", "json"]);
    let batches: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&batches[0]["state"], &batches[0]["used"]), (&"blocked".into(), &1.into()));
}
