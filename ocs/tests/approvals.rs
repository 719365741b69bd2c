//! Large credits on the real binary: what one person asks for waits until another one says yes; it is done once, with both names,
//! over `kill -9`.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ocs_api::client::{AccountsClient, ApprovalsClient, AuditLogClient, VouchersClient};
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use prost_types::FieldMask;
use sha2::{Digest, Sha256};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use campaign::refused;
use campaign::server::{PROGRAM, free_ports};

/// Callers, and what they are here for.
const CALLERS: [(&str, &str, &str); 5] = [
    ("anna", "finance", ""),
    ("ben", "finance", ""),
    ("cora", "finance", "top_up_max = \"150.00 EUR\""),
    ("desk", "support", ""),
    ("root", "admin", ""),
];

fn token(name: &str) -> String {
    format!("{name}-{}", "0123456789abcdef".repeat(2))
}

/// `ocs serve` on the data of the documented examples, with two people of finance and a threshold of 100 EUR.
struct Served {
    folder: tempfile::TempDir,
    ports: [SocketAddr; 3],
    child: Option<Child>,
}

impl Served {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let example = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples").join(name);
        let mut import = Command::new(PROGRAM);
        import.args(["import", "--data"]).arg(folder.path().join("data"));
        import.arg("--catalogue").arg(example("tariff.yaml")).arg("--accounts").arg(example("accounts.jsonl"));
        let done = import.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let mut served = Self { folder, ports: free_ports(), child: None };
        served.restart();
        served
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn configuration(&self) -> PathBuf {
        let [gy, grpc, metrics] = self.ports;
        let callers = CALLERS.iter().fold(String::new(), |text, (name, role, more)| {
            let sha256: String = Sha256::digest(token(name)).iter().map(|octet| format!("{octet:02x}")).collect();
            text + &format!(
                "[[access.callers]]\nname = \"{name}\"\nroles = [\"{role}\"]\ntoken_sha256 = \"{sha256}\"\n{more}\n"
            )
        });
        let text = format!(
            "[data]\nfolder = {:?}\n[gy]\nlisten = [\"{gy}\"]\n[metrics]\nlisten = \"{metrics}\"\n[grpc]\nlisten = \"{grpc}\"\n\
             [access]\nsecond_approver_above = \"100.00 EUR\"\n{callers}",
            self.data()
        );
        let file = self.folder.path().join("ocs.toml");
        std::fs::write(&file, text).unwrap();
        file
    }

    fn restart(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("server.log"));
        let mut serve = Command::new(PROGRAM);
        serve.args(["serve", "--config"]).arg(self.configuration()).stdin(Stdio::null()).stdout(Stdio::null());
        self.child = Some(serve.stderr(log.unwrap()).spawn().unwrap());
        let began = Instant::now();
        while self.ports[..2].iter().any(|port| TcpStream::connect(port).is_err()) {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < Duration::from_secs(60), "{ended:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// kill -9.
    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends it in good order; everything must add up.
    fn audit(&mut self) {
        let mut child = self.child.take().unwrap();
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        assert!(child.wait().unwrap().success(), "{}", self.log());
        let done = Command::new(PROGRAM).args(["audit", "--data"]).arg(self.data()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    }

    async fn person(&self, name: &str) -> Person {
        let channel = Channel::from_shared(format!("http://{}", self.ports[1])).unwrap().connect().await.unwrap();
        let says = Says(format!("Bearer {}", token(name)).parse().unwrap());
        Person {
            accounts: AccountsClient::with_interceptor(channel.clone(), says.clone()),
            approvals: ApprovalsClient::with_interceptor(channel.clone(), says.clone()),
            audit: AuditLogClient::with_interceptor(channel.clone(), says.clone()),
            vouchers: VouchersClient::with_interceptor(channel, says),
        }
    }

    /// `ocs ARGUMENTS` as somebody: its exit code, what it printed, what it complained of.
    fn ocs(&self, name: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
        let file = self.folder.path().join(format!("{name}.token"));
        std::fs::write(&file, token(name)).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env("OCS_SERVER", format!("http://{}", self.ports[1])).env("OCS_TOKEN_FILE", file);
        let done = command.output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[derive(Clone)]
struct Says(MetadataValue<Ascii>);

impl Interceptor for Says {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Known = InterceptedService<Channel, Says>;

/// Somebody's clients.
#[derive(Clone)]
struct Person {
    accounts: AccountsClient<Known>,
    approvals: ApprovalsClient<Known>,
    audit: AuditLogClient<Known>,
    vouchers: VouchersClient<Known>,
}

impl Person {
    async fn top_up(&mut self, cents: i64, key: &str) -> Result<wire::TopUpResponse, Status> {
        let request = wire::TopUpRequest {
            account: Some(wire::top_up_request::Account::Name("accounts/1001".into())),
            amount: euros(cents),
            reason: "goodwill".into(),
            idempotency_key: key.into(),
            ..Default::default()
        };
        self.accounts.top_up(request).await.map(tonic::Response::into_inner)
    }

    async fn limit(&mut self, cents: i64, key: &str) -> Result<wire::UpdateAccountResponse, Status> {
        let request = wire::UpdateAccountRequest {
            name: "accounts/1002".into(),
            update_mask: Some(FieldMask { paths: vec!["credit_limit".into()] }),
            credit_limit: euros(cents),
            idempotency_key: key.into(),
            ..Default::default()
        };
        self.accounts.update_account(request).await.map(tonic::Response::into_inner)
    }

    async fn adjust(&mut self, cents: i64, key: &str) -> Result<wire::AdjustResponse, Status> {
        let request = wire::AdjustRequest {
            account: "accounts/1001".into(),
            bucket_id: "main".into(),
            change: Some(wire::adjust_request::Change::Money(euros(cents).unwrap())),
            reason: "counted again".into(),
            idempotency_key: key.into(),
        };
        self.accounts.adjust(request).await.map(tonic::Response::into_inner)
    }

    async fn account(&mut self, number: u64) -> wire::Account {
        let account = Some(wire::get_account_request::Account::AccountId(number));
        let request = wire::GetAccountRequest { account, tenant_id: 0 };
        self.accounts.get_account(request).await.unwrap().into_inner().account.unwrap()
    }

    /// Micro-units in all money buckets of account 1001.
    async fn balance(&mut self) -> i64 {
        self.account(1001).await.balance.unwrap().mantissa
    }

    async fn approve(&mut self, name: &str) -> Result<wire::ApproveResponse, Status> {
        self.approvals.approve(wire::ApproveRequest { name: name.into() }).await.map(tonic::Response::into_inner)
    }

    async fn reject(&mut self, name: &str) -> Result<wire::RejectResponse, Status> {
        let request = wire::RejectRequest { name: name.into(), reason: "too much".into() };
        self.approvals.reject(request).await.map(tonic::Response::into_inner)
    }

    async fn list(&mut self, show_decided: bool) -> Vec<wire::Approval> {
        let request = wire::ListApprovalsRequest { show_decided, ..Default::default() };
        self.approvals.list_approvals(request).await.unwrap().into_inner().approvals
    }

    async fn records(&mut self) -> Vec<wire::AuditRecord> {
        let request = wire::ListAuditRecordsRequest { page_size: 1000, ..Default::default() };
        self.audit.list_audit_records(request).await.unwrap().into_inner().records
    }
}

fn euros(cents: i64) -> Option<common::Money> {
    Some(common::Money { mantissa: cents, scale: 2, currency: "EUR".into() })
}

/// The approval that a request waits for.
fn waits<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    let status = refused(answer, Code::FailedPrecondition, "APPROVAL_NEEDED");
    let name = status.get_details_error_info().unwrap().metadata["approval"].clone();
    assert!(status.message().contains(&name), "{status:?}");
    name
}

/// A top-up above the threshold is not done before somebody else says yes; then it is done once, whoever asks again.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_person_asks_for_another_one_approves() {
    let mut served = Served::start();
    let mut anna = served.person("anna").await;
    let before = anna.balance().await;
    anna.top_up(10_000, "small").await.unwrap();
    let name = waits(anna.top_up(10_001, "large").await);
    assert_eq!(name, "approvals/1");
    assert_eq!(waits(anna.top_up(10_001, "large").await), name, "the same key, the same approval");
    refused(anna.top_up(10_002, "large").await, Code::AlreadyExists, "KEY_REUSED");
    assert_eq!(anna.balance().await, before + 100_000_000);

    served.kill();
    served.restart();
    let (mut anna, mut ben) = (served.person("anna").await, served.person("ben").await);
    assert_eq!(waits(anna.top_up(10_001, "large").await), name);
    let waiting = ben.list(false).await;
    assert_eq!(waiting.len(), 1);
    let it = &waiting[0];
    assert_eq!((it.state(), it.requested_by.as_str()), (wire::ApprovalState::Pending, "anna"));
    assert_eq!(
        (it.account.as_str(), it.method.as_str(), it.reason.as_str()),
        ("accounts/1001", "Accounts/TopUp", "goodwill")
    );
    assert_eq!((it.amount.as_ref().unwrap().mantissa, it.bucket_id.as_str()), (100_010_000, "main"));
    let waits_for = it.expire_time.unwrap().seconds - it.request_time.unwrap().seconds;
    assert_eq!(waits_for, 7 * 86_400);

    refused(anna.approve(&name).await, Code::PermissionDenied, "SAME_PERSON");
    let denied = served.person("desk").await.approve(&name).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    refused(ben.approve("approvals/2").await, Code::NotFound, "APPROVAL_NOT_FOUND");
    refused(ben.approve("2").await, Code::InvalidArgument, "INVALID_FIELD");
    let done = ben.approve(&name).await.unwrap();
    assert_eq!((done.balance.unwrap().mantissa, done.repeated), (before + 200_010_000, false));
    assert!(ben.approve(&name).await.unwrap().repeated);
    let first = anna.top_up(10_001, "large").await.unwrap();
    assert_eq!((first.cdr_number, first.repeated), (done.cdr_number, true), "whoever asked gets the answer");
    refused(ben.reject(&name).await, Code::FailedPrecondition, "NOT_POSSIBLE");
    assert_eq!(anna.balance().await, before + 200_010_000);
    assert!(ben.list(false).await.is_empty());
    let over = &ben.list(true).await[0];
    assert_eq!((over.state(), over.decided_by.as_str()), (wire::ApprovalState::Approved, "ben"));

    let records = served.person("root").await.records().await;
    let methods: Vec<&str> = records.iter().map(|record| record.method.as_str()).collect();
    assert_eq!(methods, ["Approvals/Approve", "Accounts/TopUp", "Accounts/TopUp"]);
    let noted = |what: &str| records[0].differences.iter().find(|it| it.what == what).map(|it| it.after.as_str());
    assert_eq!(noted("approvals/1/requested_by"), Some("anna"));
    assert_eq!(noted("approvals/1/approved_by"), Some("ben"));
    assert!(noted("buckets/main/balance").is_some(), "{records:?}");
    assert_eq!((records[0].caller.as_str(), records[0].target.as_str()), ("ben", "accounts/1001"));
    assert_eq!(records[1].differences[0].what, "approvals/1");
    served.audit();
}

/// Adjustments and credit limits wait like top-ups; what takes away, lowers or stays below does not. What was rejected is not
/// done, and its key is used up.
#[tokio::test(flavor = "multi_thread")]
async fn adjustments_and_credit_limits_wait_too_and_can_be_rejected() {
    let mut served = Served::start();
    let (mut root, mut ben) = (served.person("root").await, served.person("ben").await);
    let before = root.balance().await;
    let adjustment = waits(root.adjust(50_000, "a").await);
    root.adjust(-500, "b").await.unwrap();
    let limit = waits(root.limit(30_000, "c").await);
    root.limit(9_000, "d").await.unwrap();
    ben.approve(&limit).await.unwrap();
    let credit = root.account(1002).await.credit.unwrap();
    assert_eq!(credit.limit.unwrap().mantissa, 300_000_000);
    root.limit(20_000, "e").await.unwrap();
    assert!(!ben.reject(&adjustment).await.unwrap().repeated);
    assert!(ben.reject(&adjustment).await.unwrap().repeated);
    refused(ben.approve(&adjustment).await, Code::FailedPrecondition, "APPROVAL_REJECTED");
    refused(root.adjust(50_000, "a").await, Code::FailedPrecondition, "APPROVAL_REJECTED");
    assert_eq!(root.balance().await, before - 5_000_000);

    // A way round it is none.
    let account = wire::CreateAccountRequest {
        account_id: 5001,
        currency: "EUR".into(),
        credit_limit: euros(10_001),
        idempotency_key: "f".into(),
        ..Default::default()
    };
    refused(root.accounts.create_account(account).await, Code::FailedPrecondition, "NOT_POSSIBLE");
    let batch = wire::CreateVouchersRequest {
        batch: "b".into(),
        count: 1,
        value: euros(10_001),
        expire_time: Some(prost_types::Timestamp { seconds: 32_472_144_000, nanos: 0 }),
        ..Default::default()
    };
    refused(root.vouchers.create_vouchers(batch).await.map(drop), Code::FailedPrecondition, "NOT_POSSIBLE");
    let large = waits(root.top_up(20_000, "g").await);
    refused(served.person("cora").await.approve(&large).await, Code::PermissionDenied, "ABOVE_CEILING");

    let (code, out, errors) = served.ocs("ben", &["approval", "list", "-o", "json"]);
    assert_eq!(code, Some(0), "{errors}");
    let waiting: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&waiting[0]["approval"], &waiting[0]["amount"]), (&large.clone().into(), &"200.00".into()));
    let (code, out, errors) = served.ocs("ben", &["approval", "approve", &large]);
    assert!(code == Some(0) && out.contains("done"), "{errors}");
    let another = waits(root.top_up(20_000, "h").await);
    let (code, _, errors) = served.ocs("root", &["approval", "approve", &another]);
    assert!(code == Some(2) && errors.contains("whoever asked"), "{errors}");
    let (code, out, _) = served.ocs("root", &["approval", "reject", &another, "--reason", "a mistake"]);
    assert_eq!((code, out), (Some(0), format!("{another}: rejected\n")), "whoever asked may take it back");
    let (_, out, _) = served.ocs("ben", &["approval", "list", "--all"]);
    assert_eq!(out.lines().count(), 5, "{out}");
    served.audit();
}

/// The process is killed while credits are asked for and approved: each is done or not, never twice, and its approval says which.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_meets_kill_9_is_done_or_still_waits() {
    let mut served = Served::start();
    let mut done_before_the_kill = 0;
    for round in 0..8u64 {
        let (mut anna, ben) = (served.person("anna").await, served.person("ben").await);
        let balance = anna.balance().await;
        let mut names = Vec::new();
        for number in 0..4 {
            names.push(waits(anna.top_up(20_000, &format!("{round}-{number}")).await));
        }
        let late = tokio::spawn({
            let mut anna = anna.clone();
            async move { anna.top_up(20_000, &format!("{round}-late")).await }
        });
        let mut asked = Vec::new();
        for name in names.clone() {
            let mut ben = ben.clone();
            asked.push(tokio::spawn(async move { ben.approve(&name).await.is_ok() }));
        }
        tokio::time::sleep(Duration::from_micros(400 * round * round)).await;
        served.kill();
        let mut answered = Vec::new();
        for asked in asked {
            answered.push(asked.await.unwrap());
        }
        let _ = late.await;
        served.restart();
        let (mut anna, mut ben) = (served.person("anna").await, served.person("ben").await);
        let all = ben.list(true).await;
        let mut done = 0;
        for (name, answered) in names.iter().zip(&answered) {
            let it = all.iter().find(|it| it.name == *name).unwrap();
            assert!(it.state() == wire::ApprovalState::Approved || !answered, "what was answered is there");
            done += i64::from(it.state() == wire::ApprovalState::Approved);
            done_before_the_kill += i64::from(*answered);
        }
        assert_eq!(anna.balance().await, balance + done * 200_000_000, "round {round}");
        names.push(waits(anna.top_up(20_000, &format!("{round}-late")).await));
        for name in &names {
            ben.approve(name).await.unwrap();
            assert!(ben.approve(name).await.unwrap().repeated);
        }
        assert_eq!(anna.balance().await, balance + 5 * 200_000_000, "round {round}");
        let records = served.person("root").await.records().await;
        let approved = records.iter().filter(|record| record.method == "Approvals/Approve").count() as u64;
        assert_eq!((approved, records.len() as u64), ((round + 1) * 5, (round + 1) * 10));
    }
    assert!(done_before_the_kill > 0, "some were answered before the kill");
    served.audit();
}

/// A threshold where callers are not told apart could never be met, and is refused at the start; so is one that is no amount.
#[test]
fn a_threshold_needs_people_that_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ocs.toml");
    for (access, finding) in [
        ("second_approver_above = \"100.00 EUR\"", "needs callers"),
        ("second_approver_above = \"much\"", "is no amount"),
        ("second_approver_above = \"0.00 EUR\"", "above 0"),
    ] {
        std::fs::write(&file, format!("[access]\n{access}\n")).unwrap();
        let done = Command::new(PROGRAM).args(["serve", "--check-config", "--config"]).arg(&file).output().unwrap();
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(
            !done.status.success() && errors.contains("second_approver_above") && errors.contains(finding),
            "{errors}"
        );
    }
}
