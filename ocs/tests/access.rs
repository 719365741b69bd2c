//! Who may call: the real server with certificates made here, asked by the real command line and by a gRPC client.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use campaign::server::{PROGRAM, free_ports};
use ocs::access::rights::{METHODS, OPEN};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use sha2::{Digest, Sha256};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

/// Every role, and which methods it may call. A new method gets a line here, in `METHODS` and in docs/access.md.
const ALLOWED: &str = "
    method                                                          viewer support tariff_author tariff_approver operator finance auditor admin
    /grpc.reflection.v1.ServerReflection/ServerReflectionInfo       yes    yes     yes           yes             yes      yes     yes     yes
    /grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo  yes    yes     yes           yes             yes      yes     yes     yes
    /ocs.cdr.v1.CdrConsumers/CreateConsumer                         no     no      no            no              no       yes     no      yes
    /ocs.cdr.v1.CdrConsumers/DeleteConsumer                         no     no      no            no              no       yes     no      yes
    /ocs.cdr.v1.CdrConsumers/DiscardParked                          no     no      no            no              no       yes     no      yes
    /ocs.cdr.v1.CdrConsumers/GetConsumer                            no     no      no            no              no       yes     yes     yes
    /ocs.cdr.v1.CdrConsumers/ListConsumers                          no     no      no            no              no       yes     yes     yes
    /ocs.cdr.v1.CdrConsumers/ListParked                             no     no      no            no              no       yes     yes     yes
    /ocs.cdr.v1.CdrConsumers/ResetConsumer                          no     no      no            no              no       yes     no      yes
    /ocs.cdr.v1.CdrConsumers/RetryParked                            no     no      no            no              no       yes     no      yes
    /ocs.cdr.v1.CdrConsumption/Consume                              no     no      no            no              no       yes     no      yes
    /ocs.cdr.v1.CdrExport/GetTail                                   no     no      no            no              no       yes     yes     yes
    /ocs.cdr.v1.CdrExport/StreamCdrs                                no     no      no            no              no       yes     yes     yes
    /ocs.cdr.v1.ControlTotals/GetControlTotals                      no     no      no            no              no       yes     yes     yes
    /ocs.cdr.v1.ControlTotals/Reconcile                             no     no      no            no              no       yes     yes     yes
    /ocs.operator.v1.Accounts/Adjust                                no     no      no            no              no       yes     no      yes
    /ocs.operator.v1.Accounts/CancelOffer                           no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.Accounts/CreateAccount                         no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.Accounts/ExtendBucket                          no     no      no            no              no       yes     no      yes
    /ocs.operator.v1.Accounts/GetAccount                            yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.Accounts/ListMovements                         yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.Accounts/PurchaseOffer                         no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.Accounts/ReplaceOffer                          no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.Accounts/TopUp                                 no     yes     no            no              no       yes     no      yes
    /ocs.operator.v1.Accounts/Transfer                              no     no      no            no              no       yes     no      yes
    /ocs.operator.v1.Accounts/UpdateAccount                         no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.Approvals/Approve                              no     no      no            no              no       yes     no      yes
    /ocs.operator.v1.Approvals/ListApprovals                        yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.Approvals/Reject                               no     no      no            no              no       yes     no      yes
    /ocs.operator.v1.AuditLog/ListAuditRecords                      no     no      no            no              no       no      yes     yes
    /ocs.operator.v1.AuditLog/VerifyAuditLog                        no     no      no            no              no       no      yes     yes
    /ocs.operator.v1.Catalogue/ApproveDraft                         no     no      no            yes             no       no      no      yes
    /ocs.operator.v1.Catalogue/CloseAccountingPeriod                no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.Catalogue/DeleteDraft                          no     no      yes           no              no       no      no      yes
    /ocs.operator.v1.Catalogue/DiffDocuments                        yes    yes     yes           yes             yes      yes     yes     yes
    /ocs.operator.v1.Catalogue/GetDocument                          yes    yes     yes           yes             yes      yes     yes     yes
    /ocs.operator.v1.Catalogue/ListDocuments                        yes    yes     yes           yes             yes      yes     yes     yes
    /ocs.operator.v1.Catalogue/PromoteDocument                      no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.Catalogue/PublishDocument                      no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.Catalogue/PublishShare                         no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.Catalogue/PutDraft                             no     no      yes           no              no       no      no      yes
    /ocs.operator.v1.Catalogue/RollBackDocument                     no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.Catalogue/SimulateEvent                        yes    yes     yes           yes             yes      yes     yes     yes
    /ocs.operator.v1.Catalogue/SimulatePeriod                       yes    yes     yes           yes             yes      yes     yes     yes
    /ocs.operator.v1.Catalogue/ValidateDocument                     yes    yes     yes           yes             yes      yes     yes     yes
    /ocs.operator.v1.Catalogue/WatchDocuments                       yes    yes     yes           yes             yes      yes     yes     yes
    /ocs.operator.v1.ChargingGroups/GetGroup                        yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.ChargingGroups/ListGroupAccounts               yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.ChargingGroups/ListGroups                      yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.ChargingGroups/ListMembers                     yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.ChargingGroups/PutGroup                        no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.ChargingGroups/RemoveMember                    no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.ChargingGroups/UpdateMember                    no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.Clock/AdvanceTime                              no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.Clock/GetTime                                  yes    yes     yes           yes             yes      yes     yes     yes
    /ocs.operator.v1.Clock/SetTime                                  no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.Notifications/ListWatchedValues                yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.Notifications/WatchNotifications               yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.Rerating/ApproveRerating                       no     no      no            no              no       yes     no      yes
    /ocs.operator.v1.Rerating/CancelRerating                        no     no      no            no              no       yes     no      yes
    /ocs.operator.v1.Rerating/GetRerating                           no     no      no            no              no       yes     yes     yes
    /ocs.operator.v1.Rerating/ListReratings                         no     no      no            no              no       yes     yes     yes
    /ocs.operator.v1.Rerating/PlanRerating                          no     no      no            no              no       yes     no      yes
    /ocs.operator.v1.Sessions/GetSession                            yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.Sessions/ListSessions                          yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.Sessions/ReauthorizeSession                    no     yes     no            no              yes      no      no      yes
    /ocs.operator.v1.Sessions/ReleaseSession                        no     yes     no            no              yes      no      no      yes
    /ocs.operator.v1.Sessions/TerminateSession                      no     yes     no            no              yes      no      no      yes
    /ocs.operator.v1.Sessions/WatchSessions                         yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.Subscribers/GetSubscriber                      yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.Subscribers/LoadRows                           no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.Subscribers/PutSubscriber                      no     no      no            no              yes      no      no      yes
    /ocs.operator.v1.Usage/ChargeRecords                            no     no      no            no              no       yes     no      yes
    /ocs.operator.v1.Usage/ExplainCharge                            yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.Usage/GetTotals                                yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.Usage/ListCharges                              yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.Usage/RefundCharge                             no     no      no            no              no       yes     no      yes
    /ocs.operator.v1.Vouchers/BlockBatch                            no     no      no            no              no       yes     no      yes
    /ocs.operator.v1.Vouchers/BlockVoucher                          no     no      no            no              no       yes     no      yes
    /ocs.operator.v1.Vouchers/CreateVouchers                        no     no      no            no              no       yes     no      yes
    /ocs.operator.v1.Vouchers/GetVoucher                            no     yes     no            no              no       yes     no      yes
    /ocs.operator.v1.Vouchers/ListBatches                           yes    yes     no            no              yes      yes     yes     yes
    /ocs.operator.v1.Vouchers/RedeemVoucher                         no     yes     no            no              no       yes     no      yes
";

/// An authority that signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

/// A certificate and its key, in files.
struct Issued {
    certificate: PathBuf,
    key: PathBuf,
    sha256: String,
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    fn issue(&self, folder: &Path, file: &str, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let issued = Issued {
            certificate: folder.join(format!("{file}.pem")),
            key: folder.join(format!("{file}.key")),
            sha256: hex(&Sha256::digest(certificate.der())),
        };
        std::fs::write(&issued.certificate, certificate.pem()).unwrap();
        std::fs::write(&issued.key, key.serialize_pem()).unwrap();
        issued
    }

    fn client(&self, folder: &Path, name: &str) -> Issued {
        let mut params = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(folder, name, &params)
    }

    fn server(&self, folder: &Path) -> Issued {
        let mut params = named("ocs");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
        self.issue(folder, "server", &params)
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// A token that is like no other's.
fn token(name: &str) -> String {
    format!("{name}-{}", "0123456789abcdef".repeat(2))
}

/// A caller with a token.
fn with_token(name: &str, roles: &str, more: &str) -> String {
    let sha256 = hex(&Sha256::digest(token(name)));
    format!("[[access.callers]]\nname = \"{name}\"\nroles = [{roles}]\ntoken_sha256 = \"{sha256}\"\n{more}\n")
}

/// A caller with a certificate.
fn with_certificate(name: &str, roles: &str, known: &str) -> String {
    format!("[[access.callers]]\nname = \"{name}\"\nroles = [{roles}]\ncertificate = \"{known}\"\n")
}

/// `ocs serve` with a configuration of its own, on the data of the documented examples.
struct Served {
    folder: tempfile::TempDir,
    gy: SocketAddr,
    grpc: SocketAddr,
    metrics: SocketAddr,
    child: Option<Child>,
}

impl Served {
    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A folder with the examples' accounts.
    fn prepare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let example = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples").join(name);
        let mut import = Command::new(PROGRAM);
        import.args(["import", "--data"]).arg(folder.path().join("data"));
        import.arg("--catalogue").arg(example("tariff.yaml")).arg("--accounts").arg(example("accounts.jsonl"));
        import.arg("--subscribers").arg(example("subscribers.jsonl"));
        let done = import.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let [gy, grpc, metrics] = free_ports();
        Self { folder, gy, grpc, metrics, child: None }
    }

    /// Writes the configuration: `grpc` beside its address, `access`, and all of the logs.
    fn configure(&self, grpc: &str, access: &str) -> PathBuf {
        let gy = self.gy;
        let data = self.folder().join("data");
        let text = format!(
            "[data]\nfolder = {data:?}\ndurability = \"os\"\n[gy]\nlisten = [\"{gy}\"]\n[metrics]\nlisten = \"{}\"\n\
             [logs]\nfilter = \"trace\"\n[grpc]\nlisten = \"{}\"\n{grpc}\n{access}",
            self.metrics, self.grpc
        );
        let file = self.folder().join("ocs.toml");
        std::fs::write(&file, text).unwrap();
        file
    }

    fn start(&mut self, grpc: &str, access: &str) {
        let config = self.configure(grpc, access);
        let log = std::fs::File::create(self.folder().join("server.log")).unwrap();
        let mut serve = Command::new(PROGRAM);
        serve.args(["serve", "--config"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(serve.spawn().unwrap());
        let began = Instant::now();
        while !self.log().contains("serving") {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < Duration::from_secs(60), "{ended:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder().join("server.log")).unwrap_or_default()
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}", self.grpc.port())
    }

    /// `ocs ARGUMENTS`: its exit code, what it printed, and what it complained of.
    fn ocs(&self, arguments: &[&str], server: &[(&str, &Path)], scheme: &str) -> (Option<i32>, String, String) {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env("OCS_SERVER", self.url(scheme));
        for (option, value) in server {
            command.arg(option).arg(value);
        }
        let done = command.output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    }

    /// Writes a caller's token to a file.
    fn token_file(&self, name: &str) -> PathBuf {
        let file = self.folder().join(format!("{name}.token"));
        std::fs::write(&file, token(name) + "\n").unwrap();
        file
    }

    /// A connection that a client of another make would have.
    async fn channel(&self, ca: Option<&Authority>, client: Option<&Issued>) -> Channel {
        let scheme = if ca.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(self.url(scheme)).unwrap();
        if let Some(ca) = ca {
            let mut tls =
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(std::fs::read(&ca.file).unwrap()));
            if let Some(Issued { certificate, key, .. }) = client {
                tls =
                    tls.identity(Identity::from_pem(std::fs::read(certificate).unwrap(), std::fs::read(key).unwrap()));
            }
            endpoint = endpoint.tls_config(tls).unwrap();
        }
        endpoint.connect().await.unwrap()
    }

    fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
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

/// Calls any method with one empty message and waits for the beginning of its answer.
async fn call(channel: &Channel, path: &str, authorization: Option<&str>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(futures_util::stream::iter([()]));
    if let Some(authorization) = authorization {
        request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    }
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    client.streaming(request, path.parse().unwrap(), codec).await.map(drop)
}

const SHOW: [&str; 3] = ["account", "show", "1001"];
const GET: &str = "/ocs.operator.v1.Accounts/GetAccount";

#[test]
fn callers_are_known_by_their_certificates() {
    let mut served = Served::prepare();
    let folder = served.folder().to_owned();
    let (ca, staff) = (Authority::new(&folder, "ca"), Authority::new(&folder, "staff"));
    let server = ca.server(&folder);
    let (by_name, by_print) = (staff.client(&folder, "desk"), staff.client(&folder, "nameless"));
    let mut params = named("probe");
    params.subject_alt_names = vec![
        SanType::DnsName("probe.example.org".try_into().unwrap()),
        SanType::URI("spiffe://example.org/probe".try_into().unwrap()),
    ];
    let by_dns = staff.issue(&folder, "dns", &params);
    params.subject_alt_names.remove(0);
    let by_uri = staff.issue(&folder, "uri", &params);
    let grpc = format!(
        "tls_certificate = {:?}\ntls_key = {:?}\nclient_ca = {:?}\n",
        server.certificate, server.key, staff.file
    );
    let access = with_certificate("desk", "\"viewer\"", "CN=desk")
        + &with_certificate("till", "\"support\"", &format!("sha256:{}", by_print.sha256))
        + &with_certificate("probe", "\"viewer\"", "DNS:Probe.example.org")
        + &with_certificate("spiffe", "\"viewer\"", "URI:spiffe://example.org/probe");
    served.start(&grpc, &access);
    for (issued, name) in [(&by_name, "desk"), (&by_print, "till"), (&by_dns, "probe"), (&by_uri, "spiffe")] {
        let known = [("--ca", &*ca.file), ("--certificate", &*issued.certificate), ("--certificate-key", &*issued.key)];
        let (code, shown, errors) = served.ocs(&SHOW, &known, "https");
        assert!(code == Some(0) && shown.starts_with("account        1001"), "{name}: {errors}");
        let (code, _, errors) = served.ocs(&["cdr", "tail"], &known, "https");
        assert_eq!(code, Some(2));
        assert!(
            errors.contains(&format!("{name} (")) && errors.contains("one of the roles finance, auditor, admin"),
            "{errors}"
        );
    }
    let till = [("--ca", &*ca.file), ("--certificate", &*by_print.certificate), ("--certificate-key", &*by_print.key)];
    let (code, _, errors) = served.ocs(&["account", "topup", "1001", "--amount", "5.00", "--key", "k"], &till, "https");
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn who_is_not_known_is_told_why_before_anything_is_done() {
    let mut served = Served::prepare();
    let folder = served.folder().to_owned();
    let (ca, staff, stranger) =
        (Authority::new(&folder, "ca"), Authority::new(&folder, "staff"), Authority::new(&folder, "stranger"));
    let server = ca.server(&folder);
    let mut expired = named("desk");
    (expired.not_before, expired.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let expired = staff.issue(&folder, "expired", &expired);
    let unbound = staff.client(&folder, "unbound");
    let unknown = stranger.client(&folder, "desk");
    let grpc = format!(
        "tls_certificate = {:?}\ntls_key = {:?}\nclient_ca = {:?}\n",
        server.certificate, server.key, staff.file
    );
    let access = with_certificate("desk", "\"admin\"", "CN=desk")
        + &with_token("late", "\"admin\"", "expires = \"2026-01-01\"")
        + &with_token("good", "\"viewer\"", "");
    served.start(&grpc, &access);
    let with = |issued: &Issued| (issued.certificate.clone(), issued.key.clone());
    for (issued, says) in [
        (
            with(&expired),
            "the server does not accept the certificate of --certificate: it has expired; ask for a new one",
        ),
        (with(&unknown), "it is not signed by an authority that the server knows (grpc.client_ca)"),
        (with(&unbound), "the client certificate is nobody's (sha256:"),
    ] {
        let known = [("--ca", &*ca.file), ("--certificate", &*issued.0), ("--certificate-key", &*issued.1)];
        let (code, shown, errors) = served.ocs(&SHOW, &known, "https");
        assert!(code == Some(2) && shown.is_empty() && errors.contains(says), "{says}: {errors}");
    }
    let ca_only = ("--ca", &*ca.file);
    let (late, wrong, good) = (served.token_file("late"), served.token_file("wrong"), served.token_file("good"));
    for (more, scheme, says) in [
        (vec![ca_only], "https", "it is not known who calls: connect with a client certificate"),
        (vec![ca_only, ("--token-file", &*wrong)], "https", "the token is nobody's"),
        (vec![ca_only, ("--token-file", &*late)], "https", "the token of late expired at 2026-01-01T00:00:00.000Z"),
        (vec![("--ca", &*staff.file)], "https", "it is not signed by an authority in --ca"),
        (vec![], "https", "give --ca (or OCS_CA)"),
        (vec![("--ca", &*good)], "https", "good.token: has no certificate"),
        (vec![ca_only, ("--certificate", &*unbound.certificate)], "https", "--certificate-key: is missing"),
        (
            vec![ca_only, ("--certificate", &*unbound.certificate), ("--certificate-key", &*good)],
            "https",
            "has no private key",
        ),
        (vec![ca_only, ("--token-file", &*ca.file)], "https", "has no token: one line"),
        (vec![ca_only], "http", "certificates need TLS; write https://"),
        (vec![], "http", "if the server speaks TLS, write https:// and give --ca"),
    ] {
        let (code, shown, errors) = served.ocs(&SHOW, &more, scheme);
        assert!(code == Some(2) && shown.is_empty() && errors.contains(says), "{says}: {errors}");
        assert!(!errors.contains("0123456789abcdef"), "a token is shown to nobody: {errors}");
    }
    let (code, _, errors) = served.ocs(&SHOW, &[ca_only, ("--token-file", &*good)], "https");
    assert_eq!(code, Some(0), "{errors}");
    let mut by_address = Command::new(PROGRAM);
    by_address.args(SHOW).args(["--server", &format!("https://{}", served.grpc), "--ca"]).arg(&ca.file);
    let errors = String::from_utf8(by_address.output().unwrap().stderr).unwrap();
    assert!(errors.contains("call the server by a name that its certificate has"), "{errors}");
    let mut afar = Command::new(PROGRAM);
    afar.args(SHOW).args(["--server", "http://192.0.2.1:50051", "--token-file"]).arg(&good);
    let errors = String::from_utf8(afar.output().unwrap().stderr).unwrap();
    assert!(errors.contains("a token must not cross a network in clear"), "{errors}");
}

#[tokio::test]
async fn programs_get_a_code_and_a_reason() {
    let mut served = Served::prepare();
    let folder = served.folder().to_owned();
    let (ca, staff) = (Authority::new(&folder, "ca"), Authority::new(&folder, "staff"));
    let (server, unbound) = (ca.server(&folder), staff.client(&folder, "unbound"));
    let grpc = format!(
        "tls_certificate = {:?}\ntls_key = {:?}\nclient_ca = {:?}\n",
        server.certificate, server.key, staff.file
    );
    let access = with_certificate("desk", "\"admin\"", "CN=desk")
        + &with_token("late", "\"admin\"", "expires = \"2026-01-01\"")
        + &with_token("good", "\"viewer\"", "")
        + &with_token("eager", "\"viewer\"", "requests_per_second = 3");
    served.start(&grpc, &access);
    let (bare, with_certificate) =
        (served.channel(Some(&ca), None).await, served.channel(Some(&ca), Some(&unbound)).await);
    let bearer = |name: &str| Some(format!("Bearer {}", token(name)));
    for (channel, authorization, path, code, reason) in [
        (&bare, None, GET, Code::Unauthenticated, "NO_CREDENTIALS"),
        (&bare, None, "/no.such/Method", Code::Unauthenticated, "NO_CREDENTIALS"),
        (&bare, Some("Basic YTpi".to_owned()), GET, Code::Unauthenticated, "NOT_BEARER"),
        (&bare, bearer("wrong"), GET, Code::Unauthenticated, "UNKNOWN_TOKEN"),
        (&bare, Some("Bearer short".to_owned()), GET, Code::Unauthenticated, "UNKNOWN_TOKEN"),
        (&bare, bearer("late"), GET, Code::Unauthenticated, "EXPIRED_TOKEN"),
        (&with_certificate, None, GET, Code::Unauthenticated, "UNKNOWN_CERTIFICATE"),
        (&bare, bearer("good"), "/ocs.operator.v1.Accounts/TopUp", Code::PermissionDenied, "MISSING_RIGHT"),
        (&bare, bearer("good"), "/no.such/Method", Code::PermissionDenied, "UNKNOWN_METHOD"),
        (&bare, bearer("good"), "/ocs.operator.v1.Accounts/GetAccount/", Code::PermissionDenied, "UNKNOWN_METHOD"),
    ] {
        let status = call(channel, path, authorization.as_deref()).await.unwrap_err();
        assert_eq!(status.code(), code, "{reason}: {status}");
        let details = status.get_error_details();
        let info = details.error_info().unwrap_or_else(|| panic!("{status}"));
        assert_eq!((&*info.reason, &*info.domain), (reason, "ocs"));
    }
    let status = call(&with_certificate, GET, bearer("good").as_deref()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "the token counts, and the request names no account: {status}");
    for path in OPEN {
        call(&bare, path, None).await.unwrap();
        call(&bare, path, Some("Bearer nonsense")).await.unwrap();
    }

    // Three a second: however fast they come, no more than three and what passing time allows.
    let began = Instant::now();
    let (mut let_through, mut turned_away) = (0, 0);
    while began.elapsed() < Duration::from_millis(1500) {
        let status = call(&bare, GET, bearer("eager").as_deref()).await.unwrap_err();
        if status.code() == Code::ResourceExhausted {
            let details = status.get_error_details();
            let wait = details.retry_info().unwrap().retry_delay.unwrap();
            assert!(wait > Duration::ZERO && wait <= Duration::from_millis(334), "{wait:?}");
            assert_eq!(details.error_info().unwrap().reason, "TOO_FAST");
            turned_away += 1;
        } else {
            let_through += 1;
        }
    }
    let most = 3 + 3 * (began.elapsed().as_millis() + 999) / 1000;
    assert!(let_through >= 4 && let_through <= most && turned_away > 0, "{let_through} of {turned_away}");
    assert_eq!(
        call(&bare, GET, bearer("good").as_deref()).await.unwrap_err().code(),
        Code::InvalidArgument,
        "others go on"
    );

    // What was refused is counted, logged, and says no secrets; not many lines for many refusals.
    let said = served.metrics();
    for line in [
        r#"ocs_grpc_refused_total{reason="unknown_token"} 2"#,
        r#"ocs_grpc_refused_total{reason="missing_right"} 1"#,
        r#"ocs_grpc_calls_total{method="/ocs.operator.v1.Accounts/TopUp",code="permission_denied"} 1"#,
    ] {
        assert!(said.contains(line), "{line} is not in:\n{said}");
    }
    let log = served.log();
    assert!(log.contains("refused a call: it is not known who calls"), "{log}");
    assert!(!log.contains("0123456789abcdef"), "a token is in the log:\n{log}");
    let lines = log.lines().filter(|line| line.contains("refused a call: ")).count();
    let most = 5 + 5 * (usize::try_from(began.elapsed().as_secs()).unwrap() + 5);
    assert!(lines >= 5 && lines <= most && turned_away > 50, "{lines} lines, {turned_away} refused");
}

#[tokio::test]
async fn every_role_may_call_what_the_table_says_and_nothing_else() {
    let mut served = Served::prepare();
    let mut lines = ALLOWED.lines().map(str::trim).filter(|line| !line.is_empty());
    let roles: Vec<&str> = lines.next().unwrap().split_whitespace().skip(1).collect();
    assert_eq!(roles, ocs::access::rights::Role::ALL.map(ocs::access::rights::Role::name));
    let access: String = roles.iter().map(|role| with_token(role, &format!("\"{role}\""), "")).collect();
    served.start("", &access);
    let channel = served.channel(None, None).await;
    let mut methods = BTreeSet::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let method = words.next().unwrap();
        methods.insert(method.to_owned());
        let words: Vec<&str> = words.collect();
        assert_eq!(words.len(), roles.len(), "{line}");
        for (role, word) in roles.iter().zip(words) {
            let answer = call(&channel, method, Some(&format!("Bearer {}", token(role)))).await;
            let code = answer.map_or_else(|status| status.code(), |()| Code::Ok);
            match word {
                "no" => assert_eq!(code, Code::PermissionDenied, "{role} may not call {method}"),
                "yes" => assert!(
                    !matches!(code, Code::PermissionDenied | Code::Unauthenticated),
                    "{role} may call {method}, but {code:?}"
                ),
                _ => panic!("{line}"),
            }
        }
        assert_eq!(
            call(&channel, method, None).await.unwrap_err().code(),
            Code::Unauthenticated,
            "nobody may call {method}"
        );
    }
    let mut ours: BTreeSet<String> = ocs_proto::method_paths().into_iter().collect();
    for version in ["v1", "v1alpha"] {
        ours.insert(format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"));
    }
    assert_eq!(methods, ours, "left: the table of this test, right: the methods there are");
    assert_eq!(methods, METHODS.iter().map(|(path, _)| (*path).to_owned()).collect());
}

/// Who may give at most 0.05 at once gives no more of a charge, neither by an amount nor as what is left of it, and no units of
/// a bundle, whatever they may be worth.
#[test]
fn a_ceiling_holds_for_charges_that_are_given_back() {
    let mut served = Served::prepare();
    let access =
        with_token("till", "\"finance\"", "top_up_max = \"0.05 EUR\"") + &with_token("boss", "\"finance\"", "");
    served.start("", &access);
    let (till, boss) = (served.token_file("till"), served.token_file("boss"));
    let by = |token: &Path, arguments: &[&str]| served.ocs(arguments, &[("--token-file", token)], "http");
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    let seconds = hour_ago.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let start = rating_engine::time::Timestamp::from_millis(i64::try_from(seconds).unwrap() * 1000);
    let record = |id: &str, service: &str, used: &str| {
        let who = "msisdn-491701234567";
        format!(
            r#"{{"record":"{id}","identifiers":["{who}"],"start":"{start}","service":"{service}","used":[{used}]}}"#
        )
    };
    let file = served.folder().join("used.jsonl");
    let lines = [record("a", "sms", r#"{"events":1}"#), record("b", "data", r#"{"octets":"1 MiB"}"#)];
    std::fs::write(&file, lines.join("\n")).unwrap();
    let (code, _, errors) = by(&boss, &["usage", "charge", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{errors}");
    // What it was charged may take a moment to be listed.
    let listed: Vec<String> = loop {
        let (code, listed, errors) = by(&till, &["usage", "list", "accounts/1001"]);
        assert_eq!(code, Some(0), "{errors}");
        let ids: Vec<String> = listed.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
        if ids.len() == 2 {
            break ids;
        }
    };
    let [data, message] = &listed[..] else { panic!("{listed:?}") };
    let refund = |token: &Path, id: &str, amount: &[&str]| {
        let arguments = [&["usage", "refund", id, "--reason", "why not"], amount].concat();
        by(token, &arguments)
    };
    for (id, amount) in [(message, &["--amount", "0.06"][..]), (message, &[]), (data, &[])] {
        let (code, _, errors) = refund(&till, id, amount);
        assert!(code == Some(2) && errors.contains("till may give at most 0.05 EUR"), "{id} {amount:?}: {errors}");
    }
    let (code, done, errors) = refund(&till, message, &["--amount", "0.05"]);
    assert!(code == Some(0) && done.contains("0.05 EUR given back"), "{done}{errors}");
    let (code, done, errors) = refund(&till, message, &[]);
    assert!(code == Some(0) && done.contains("0.04 EUR given back"), "what is left is not too much: {done}{errors}");
    let (code, done, errors) = refund(&boss, data, &[]);
    assert!(code == Some(0) && done.contains("0.00 EUR given back"), "{done}{errors}");
}

/// 61 s at 0.20 a minute were 0.2533 and should have been 0.1517: who may give back 0.05 at most does not approve that, who planned it
/// does not, and a third one does.
#[test]
fn a_ceiling_holds_for_what_is_rated_again() {
    let mut served = Served::prepare();
    let access = with_token("till", "\"finance\"", "top_up_max = \"0.05 EUR\"")
        + &with_token("boss", "\"finance\"", "")
        + &with_token("ann", "\"admin\"", "")
        + &with_token("bob", "\"admin\"", "");
    served.start("", &access);
    let does = |who: &str, arguments: &[&str]| {
        let token = served.token_file(who);
        let (code, out, errors) = served.ocs(arguments, &[("--token-file", &*token)], "http");
        (code, out + &errors)
    };
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    let seconds = hour_ago.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let start = rating_engine::time::Timestamp::from_millis(i64::try_from(seconds).unwrap() * 1000);
    let who = "msisdn-491701234567";
    let record = format!(
        r#"{{"record":"r","identifiers":["{who}"],"start":"{start}","service":"voice","used":[{{"seconds":61}}]}}"#
    );
    let (used, draft) = (served.folder().join("used.jsonl"), served.folder().join("draft.yaml"));
    std::fs::write(&used, record).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/tariff.yaml");
    let source = std::fs::read_to_string(example).unwrap();
    std::fs::write(&draft, source.replace("version: 1\n", "version: 2\n").replace("0.20 / min", "0.10 / min")).unwrap();
    let version = "tariffs/example-payg/versions/2";
    let plan = [
        "rerating",
        "plan",
        "example-payg",
        "--from",
        "1970-01-01",
        "--to",
        "2100-01-01",
        "--reason",
        "wrong",
        "--wait",
    ];
    for (who, arguments, code, says) in [
        ("boss", &["usage", "charge", used.to_str().unwrap()][..], 0, ""),
        ("ann", &["catalogue", "put", draft.to_str().unwrap()], 0, ""),
        ("bob", &["catalogue", "approve", version], 0, ""),
        ("ann", &["catalogue", "publish", version], 0, ""),
        ("boss", &plan, 0, "0.1016 EUR"),
        ("till", &["rerating", "approve", "reratings/1"], 2, "you may give back at most 0.05 EUR"),
        ("boss", &["rerating", "approve", "reratings/1"], 2, "whoever planned it cannot approve it"),
        ("ann", &["rerating", "approve", "reratings/1", "--wait"], 0, "done"),
    ] {
        let (was, said) = does(who, arguments);
        assert!(was == Some(code) && said.contains(says), "{who} {arguments:?}: {was:?} {said}");
    }
}

/// A tariff has an author and an approver, who are two people whatever else they may do; a third one publishes it.
#[test]
fn nobody_approves_a_tariff_of_their_own() {
    let mut served = Served::prepare();
    let access = with_token("ann", "\"tariff_author\"", "")
        + &with_token("bob", "\"tariff_approver\"", "")
        + &with_token("chief", "\"tariff_author\", \"tariff_approver\"", "")
        + &with_token("ops", "\"operator\"", "");
    served.start("", &access);
    let draft = served.folder().join("draft.yaml");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/tariff.yaml");
    let source = std::fs::read_to_string(example).unwrap();
    let version = |number: u32| source.replace("version: 1\n", &format!("version: {number}\n"));
    assert_ne!(version(2), source);
    let name = |number: u32| format!("tariffs/example-payg/versions/{number}");
    let does = |who: &str, arguments: &[&str]| {
        let token = served.token_file(who);
        let (code, out, errors) =
            served.ocs(&[&["catalogue"], arguments].concat(), &[("--token-file", &*token)], "http");
        (code, out + &errors)
    };
    let put = |who: &str, number: u32| {
        std::fs::write(&draft, version(number)).unwrap();
        does(who, &["put", draft.to_str().unwrap()])
    };
    for (who, number, code) in [("ann", 2, 0), ("bob", 2, 2), ("ops", 2, 2), ("chief", 3, 0)] {
        let (was, said) = put(who, number);
        assert_eq!(was, Some(code), "{who}: {said}");
    }
    for (who, what, number, code, says) in [
        ("ann", "approve", 2, 2, "needs one of the roles tariff_approver"),
        ("chief", "approve", 3, 2, "was drafted by chief; have somebody else approve it"),
        ("bob", "approve", 2, 0, "approved"),
        ("chief", "publish", 2, 2, "needs one of the roles operator"),
        ("ops", "publish", 2, 0, "published"),
        ("chief", "promote", 2, 2, "needs one of the roles operator"),
        ("ops", "promote", 2, 2, "there is nothing to promote"),
    ] {
        let (was, said) = does(who, &[what, &name(number)]);
        assert!(was == Some(code) && said.contains(says), "{who} {what} {number}: {was:?} {said}");
    }
    // Who writes tariffs tries them out on made-up people; what somebody has is for those who may see accounts.
    let usage = ["--service", "voice", "--to", "+4930123456", "--used", "5 min"];
    let tried = |who: &str, whose: &[&str]| does(who, &[&["simulate"], whose, &usage].concat());
    let (was, said) = tried("ann", &["--who", "msisdn-491701234567"]);
    assert!(was == Some(2) && said.contains("ann may not see accounts"), "{was:?} {said}");
    for (who, whose) in [("ann", ["--tariff", "example-payg"]), ("ops", ["--who", "msisdn-491701234567"])] {
        let (was, said) = tried(who, &whose);
        assert!(was == Some(0) && said.contains("0.75"), "0.05, 3 minutes at 0.20 and 2 at 0.05: {was:?} {said}");
    }
    // For some first: by whoever publishes; who they are is for those who may see accounts.
    let drafted = put("ann", 4).0.zip(does("bob", &["approve", &name(4)]).0);
    assert_eq!(drafted, Some((0, 0)));
    for (who, code) in [("ann", 2), ("bob", 2), ("chief", 2), ("ops", 0)] {
        let (was, said) = does(who, &["publish", &name(4), "--share", "5%", "--named", "msisdn-491701234567"]);
        assert_eq!(was, Some(code), "{who}: {said}");
    }
    for (who, count) in [("ann", 0), ("ops", 1)] {
        let (_, shown) = does(who, &["show", &name(4), "-o", "json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(
            (shown["named"].as_array().unwrap().len(), &shown["document"]["canary"][0]["named"]),
            (count, &1.into())
        );
    }
    let (_, listed) = does("bob", &["list", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let one = listed.as_array().unwrap().iter().find(|it| it["name"] == name(2)).unwrap();
    assert_eq!((&one["author"], &one["approver"], &one["publisher"]), (&"ann".into(), &"bob".into(), &"ops".into()));
}

#[test]
fn without_access_a_server_on_loopback_is_everybodys() {
    let mut served = Served::prepare();
    served.start("", "");
    assert_eq!(served.ocs(&SHOW, &[], "http").0, Some(0));
    let folder = served.folder().to_owned();
    let ca = Authority::new(&folder, "ca");
    let (code, _, errors) = served.ocs(&SHOW, &[("--ca", &*ca.file)], "https");
    assert!(code == Some(2) && errors.contains("does not speak TLS; write http://"), "{errors}");
}

#[test]
fn files_that_are_no_certificates_are_named_before_anything_starts() {
    let served = Served::prepare();
    let folder = served.folder().to_owned();
    let ca = Authority::new(&folder, "ca");
    let (server, other) = (ca.server(&folder), ca.client(&folder, "other"));
    let nothing = folder.join("nothing.pem");
    let access = with_token("desk", "\"viewer\"", "");
    for (certificate, key, says) in [
        (&nothing, &server.key, "nothing.pem: cannot be read: No such file"),
        (&server.key, &server.key, "server.key: has no certificate"),
        (&server.certificate, &server.certificate, "server.pem: has no private key"),
        (&server.certificate, &other.key, "is it the key of this certificate?"),
        (&server.certificate, &server.key, ""),
    ] {
        let grpc = format!("tls_certificate = {certificate:?}\ntls_key = {key:?}");
        let config = served.configure(&grpc, &access);
        let done = Command::new(PROGRAM).args(["serve", "--check-config", "--config"]).arg(config).output().unwrap();
        let errors = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.success(), says.is_empty(), "{errors}");
        assert!(errors.contains(says), "{says}: {errors}");
    }
}

/// Sends SIGHUP and waits until the log says `says` once more.
fn hang_up(served: &Served, says: &str) {
    let before = served.log().matches(says).count();
    let process = served.child.as_ref().unwrap().id().to_string();
    assert!(Command::new("kill").args(["-HUP", &process]).status().unwrap().success());
    let began = Instant::now();
    while served.log().matches(says).count() == before {
        assert!(began.elapsed() < Duration::from_secs(10), "{says}:\n{}", served.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn certificates_are_renewed_without_a_restart() {
    let mut served = Served::prepare();
    let folder = served.folder().to_owned();
    let ca = Authority::new(&folder, "ca");
    let server = ca.server(&folder);
    let grpc = format!("tls_certificate = {:?}\ntls_key = {:?}\n", server.certificate, server.key);
    served.start(&grpc, &with_token("desk", "\"viewer\"", ""));
    let desk = served.token_file("desk");
    let show = || served.ocs(&SHOW, &[("--ca", &*ca.file), ("--token-file", &*desk)], "https");
    assert_eq!(show().0, Some(0));

    let mut expired = named("ocs");
    expired.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
    (expired.not_before, expired.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    ca.issue(&folder, "server", &expired);
    hang_up(&served, "read the certificates of grpc again");
    let (code, _, errors) = show();
    assert!(code == Some(2) && errors.contains("it has expired; whoever runs the server has to renew it"), "{errors}");

    std::fs::write(&server.certificate, "no PEM").unwrap();
    hang_up(&served, "the certificates of grpc stay as they were");
    assert!(show().2.contains("it has expired"), "as before");
    ca.server(&folder);
    hang_up(&served, "read the certificates of grpc again");
    assert_eq!(show().0, Some(0));
    let said = served.metrics();
    assert!(said.contains(r#"ocs_grpc_refused_total{reason="handshake"} 2"#), "{said}");
    assert!(
        served.log().contains("a TLS handshake failed: received fatal alert: CertificateExpired"),
        "{}",
        served.log()
    );
}

#[test]
fn a_client_that_does_not_shake_hands_is_let_go() {
    let mut served = Served::prepare();
    let folder = served.folder().to_owned();
    let server = Authority::new(&folder, "ca").server(&folder);
    let grpc = format!("tls_certificate = {:?}\ntls_key = {:?}\n", server.certificate, server.key);
    served.start(&grpc, &with_token("desk", "\"viewer\"", ""));
    let mut silent = TcpStream::connect(served.grpc).unwrap();
    let began = Instant::now();
    silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert!(matches!(silent.read(&mut [0; 1]), Ok(0)), "it is closed");
    let took = began.elapsed();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(20), "{took:?}");
    // It is closed first, then noted.
    while !served.log().contains("a TLS handshake failed: took longer than 10 s") {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", served.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The commands of docs/access.md, run as they stand there: what they make is what the server and the command line take.
#[test]
fn the_documented_commands_make_certificates_and_tokens_that_work() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: openssl is not there");
        return;
    }
    let mut served = Served::prepare();
    let folder = served.folder().to_owned();
    let documented = include_str!("../../docs/access.md");
    let blocks: Vec<&str> = documented.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let run = |script: &str| {
        let done = Command::new("bash").args(["-euc", script]).current_dir(&folder).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let fingerprint = run(blocks[0]).trim().to_owned();
    let hash = run(blocks[1]).split_whitespace().next().unwrap().to_owned();
    let file = |name: &str| folder.join(name);
    let grpc = format!(
        "tls_certificate = {:?}\ntls_key = {:?}\nclient_ca = {:?}\n",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    let billing = format!("[[access.callers]]\nname = \"billing\"\nroles = [\"finance\"]\ntoken_sha256 = \"{hash}\"\n");
    let (ca, desk, key, token) = (file("ca.pem"), file("desk.pem"), file("desk.key"), file("billing.token"));
    for known in ["CN=front-desk", &fingerprint] {
        served.start(&grpc, &(with_certificate("front-desk", "\"support\"", known) + &billing));
        let by_certificate = [("--ca", &*ca), ("--certificate", &*desk), ("--certificate-key", &*key)];
        let (code, _, errors) = served.ocs(&SHOW, &by_certificate, "https");
        assert_eq!(code, Some(0), "{known}: {errors}");
        let (code, _, errors) = served.ocs(&["cdr", "tail"], &[("--ca", &*ca), ("--token-file", &*token)], "https");
        assert_eq!(code, Some(0), "{errors}");
        let mut child = served.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Everything is logged, and still no subscriber can be found in it.
#[test]
fn logs_name_no_subscriber() {
    let mut served = Served::prepare();
    served.start("", "");
    for who in ["msisdn-491701234567", "imsi-001010000000002", "msisdn-4999900000001"] {
        served.ocs(&["account", "show", who], &[], "http");
        served.ocs(&["account", "topup", who, "--amount", "1.00", "--key", who], &[], "http");
    }
    let record = served.folder().join("late.jsonl");
    let line = r#"{"record":"r1","identifiers":["msisdn-491701234567"],"start":"2026-11-01T00:00:00Z","service":"sms","used":[{"events":1}]}"#;
    std::fs::write(&record, line).unwrap();
    served.ocs(&["usage", "charge", record.to_str().unwrap()], &[], "http");
    let gy = served.gy.to_string();
    let elements =
        ["traffic", "--to", &gy, "--seconds", "1", "--sessions", "1", "--connections", "1", "--subscribers", "1"];
    let (_, _, errors) = served.ocs(&elements, &[], "http");
    assert!(served.metrics().contains(r#"ocs_requests_total{type="initial",result="unknown_subscriber"}"#), "{errors}");
    let log = served.log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "{log}");
    for digits in ["491701234567", "001010000000002", "4999900000001", "4917000000001"] {
        let found = log.lines().find(|line| line.contains(digits));
        assert!(found.is_none(), "{found:?}");
    }
}
