use std::time::Duration;

use super::*;

/// The SHA-256 of 32 times the same octet, in hex.
fn token_hash(octet: char) -> String {
    Sha256::digest(octet.to_string().repeat(32)).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A token caller as configurations say it.
fn caller(name: &str, octet: char, more: &str) -> String {
    let sha256 = token_hash(octet);
    format!("[[access.callers]]\nname = \"{name}\"\nroles = [\"viewer\"]\ntoken_sha256 = \"{sha256}\"\n{more}\n")
}

/// What `Config::parse` says of a text, problem by problem.
fn problems(text: &str) -> Vec<String> {
    Config::parse(text).map(|_| Vec::new()).unwrap_or_else(|ConfigError(problems)| problems)
}

fn callers(text: &str) -> Callers {
    Callers::of(&Config::parse(text).unwrap()).unwrap()
}

const GET: &str = "/ocs.operator.v1.Accounts/GetAccount";
const TLS: &str = "tls_certificate = \"server.pem\"\ntls_key = \"server.key\"\n";

#[test]
fn what_others_can_reach_needs_callers_and_tls_or_a_word() {
    let listed = caller("desk", 'a', "");
    for (text, says) in [
        ("[grpc]\nlisten = \"0.0.0.0:1\"".to_owned(), "grpc.insecure = true"),
        (format!("[grpc]\nlisten = \"0.0.0.0:1\"\n{TLS}"), "name callers in [[access.callers]]"),
        (format!("[grpc]\nlisten = \"[::]:1\"\n{listed}"), "tokens must not cross a network in clear"),
        (format!("[grpc]\ninsecure = true\n{listed}"), "leave one of them out"),
        ("[grpc]\ntls_key = \"a\"".to_owned(), "grpc.tls_certificate: is missing"),
        ("[grpc]\ntls_certificate = \"a\"".to_owned(), "grpc.tls_key: is missing"),
        (format!("[grpc]\nclient_ca = \"a\"\n{TLS}{listed}"), "nobody is known by a certificate"),
    ] {
        let found = problems(&text);
        assert!(found.len() == 1 && found[0].contains(says), "{text}: {found:?}");
    }
    for good in [
        String::new(),
        "[grpc]\nlisten = \"[::1]:1\"".to_owned(),
        "[grpc]\nlisten = \"0.0.0.0:1\"\ninsecure = true".to_owned(),
        format!("[grpc]\nlisten = \"127.0.0.1:1\"\n{listed}"),
        format!("[grpc]\nlisten = \"0.0.0.0:1\"\n{TLS}{listed}"),
    ] {
        assert_eq!(problems(&good), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn every_mistake_in_a_caller_is_named() {
    let by_certificate = "[[access.callers]]\nname = \"d\"\nroles = [\"admin\"]\ncertificate = \"CN=d\"\n";
    for (text, says) in [
        (caller("two words", 'a', ""), "access.callers[0].name: 'two words' is no name"),
        (caller("local", 'a', ""), "access.callers[0].name: 'local' is whoever calls"),
        (caller("desk", 'a', "expires = \"soon\""), "access.callers[0].expires: 'soon' is no time"),
        (caller("desk", 'a', "requests_per_second = 0"), "access.callers[0].requests_per_second: must lie between 1"),
        (caller("desk", 'a', "top_up_max = \"50\""), "access.callers[0].top_up_max: '50' is no amount"),
        (caller("desk", 'a', "top_up_max = \"50 XYZ\""), "access.callers[0].top_up_max: 'XYZ' is no currency"),
        (caller("desk", 'a', "top_up_max = \"0.0000001 EUR\""), "has more than 6 decimals"),
        (caller("desk", 'a', "top_up_max = \"-1 EUR\""), "access.callers[0].top_up_max: must be above 0"),
        (caller("desk", 'a', "certificate = \"CN=desk\""), "exactly one of certificate and token_sha256"),
        (caller("desk", 'a', "").replace("token_sha256 = \"", "token_sha256 = \"0"), "is not 64 hex digits"),
        (caller("desk", 'a', "").replace("roles = [\"viewer\"]", ""), "access.callers[0].roles: are missing"),
        (caller("desk", 'a', "").replace("viewer", "boss"), "unknown variant `boss`"),
        (caller("desk", 'a', "colour = 1"), "unknown field `colour`"),
        (caller("desk", 'a', "") + &caller("desk", 'b', ""), "access.callers[1].name: 'desk' is there before"),
        (caller("desk", 'a', "") + &caller("till", 'a', ""), "access.callers[1]: is known by the same as desk"),
        (by_certificate.to_owned(), "access.callers[0].certificate: needs grpc.client_ca"),
        (by_certificate.replace("CN=", ""), "'d' names no certificate; write sha256:"),
        (format!("{by_certificate}expires = \"2027-01-01\""), "access.callers[0].expires: is for tokens"),
        (format!("[grpc]\nclient_ca = \"a\"\n{by_certificate}"), "grpc.client_ca: needs TLS"),
    ] {
        let found = problems(&text);
        assert!(found.iter().any(|problem| problem.contains(says)), "{text}: {found:?}");
    }
    let many: String = (0..=CALLERS_MAX).map(|number| format!("[[access.callers]]\nname = \"c{number}\"\n")).collect();
    assert!(problems(&many).iter().any(|problem| problem.contains("list at most 1024")));
}

#[test]
fn who_is_not_told_apart_may_do_everything() {
    for (text, name) in [("", "local"), ("[grpc]\nlisten = \"0.0.0.0:1\"\ninsecure = true", "anybody")] {
        for path in [GET, "/ocs.operator.v1.Clock/SetTime", "/no.such/Method"] {
            let admitted = callers(text).admit(path, Credentials::default(), Timestamp::default(), Duration::ZERO);
            assert_eq!(admitted, Ok(Some(Caller::named(name))), "{path}");
        }
    }
}

#[test]
fn a_token_is_good_until_it_expires_and_no_other_is() {
    let callers = callers(
        &(caller("desk", 'a', "expires = \"2027-01-01\"\ntop_up_max = \"50.00 EUR\"") + &caller("till", 'b', "")),
    );
    let end = Timestamp::from_seconds(1_798_761_600);
    let before = Timestamp::from_millis(end.millis() - 1);
    let admit = |authorization: &str, now| {
        let credentials = Credentials { authorization: Some(authorization.as_bytes()), certificate: None };
        callers.admit(GET, credentials, now, Duration::ZERO)
    };
    let token = |octet: &str| format!("Bearer {}", octet.repeat(32));
    let desk = admit(&token("a"), before).unwrap().unwrap();
    assert_eq!((&*desk.name, desk.top_up_max.unwrap().to_string()), ("desk", "50.00 EUR".to_owned()));
    assert_eq!(&*admit(&token("b").replace("Bearer", "bearer"), end).unwrap().unwrap().name, "till");
    assert_eq!(admit(&token("a"), end), Err(Refusal::ExpiredToken { caller: "desk".into(), expired: end }));
    for wrong in
        [token("c"), token("a") + " ", token("a") + "a", "Bearer a".to_owned(), format!("Bearer {}", token_hash('a'))]
    {
        assert_eq!(admit(&wrong, before), Err(Refusal::UnknownToken), "{wrong}");
    }
    for wrong in ["", "Bearer", "Bearer ", "Basic YTpi", &token("a")[7..]] {
        assert_eq!(admit(wrong, before), Err(Refusal::NotBearer), "{wrong}");
    }
}

#[test]
fn a_short_token_is_nobodys_even_if_it_is_listed() {
    let short: String = Sha256::digest("secret").iter().map(|octet| format!("{octet:02x}")).collect();
    let callers = callers(&caller("desk", 'a', "").replace(&token_hash('a'), &short));
    let credentials = Credentials { authorization: Some(b"Bearer secret"), certificate: None };
    let admitted = callers.admit(GET, credentials, Timestamp::default(), Duration::ZERO);
    assert_eq!(admitted, Err(Refusal::UnknownToken));
}

#[test]
fn who_is_listed_by_its_fingerprint_is_meant_before_any_name() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "desk");
    let one = params.self_signed(&key).unwrap();
    params.serial_number = Some(7.into());
    let other = params.self_signed(&key).unwrap();
    let digits: String = Sha256::digest(one.der()).iter().map(|octet| format!("{octet:02x}")).collect();
    let listed = |name: &str, known: &str| {
        format!("[[access.callers]]\nname = \"{name}\"\nroles = [\"viewer\"]\ncertificate = \"{known}\"\n")
    };
    let text = format!("[grpc]\nclient_ca = \"ca.pem\"\n{TLS}")
        + &listed("by-name", "CN=desk")
        + &listed("by-print", &format!("sha256:{digits}"));
    let callers = callers(&text);
    for (certificate, name) in [(&one, "by-print"), (&other, "by-name")] {
        let names = Names::of(certificate.der());
        let credentials = Credentials { authorization: None, certificate: Some(&names) };
        let admitted = callers.admit(GET, credentials, Timestamp::default(), Duration::ZERO);
        assert_eq!(&*admitted.unwrap().unwrap().name, name);
    }
}

#[test]
fn who_has_several_roles_may_do_what_any_of_them_may() {
    let text = caller("boss", 'a', "").replace("[\"viewer\"]", "[\"viewer\", \"tariff_author\", \"support\"]");
    let callers = callers(&text);
    let token = format!("Bearer {}", "a".repeat(32));
    let may = |path: &str| {
        let credentials = Credentials { authorization: Some(token.as_bytes()), certificate: None };
        callers.admit(path, credentials, Timestamp::default(), Duration::ZERO).is_ok()
    };
    assert!(may(GET) && may("/ocs.operator.v1.Accounts/TopUp"));
    assert!(!may("/ocs.operator.v1.Usage/ChargeRecords") && !may("/ocs.cdr.v1.CdrExport/GetTail"));
}

#[test]
fn a_rate_is_each_callers_own_and_also_of_what_it_may_not_do() {
    let callers = callers(&(caller("desk", 'a', "requests_per_second = 2") + &caller("till", 'b', "")));
    let admit = |octet: &str, path: &str, millis| {
        let token = format!("Bearer {}", octet.repeat(32));
        let credentials = Credentials { authorization: Some(token.as_bytes()), certificate: None };
        callers.admit(path, credentials, Timestamp::default(), Duration::from_millis(millis))
    };
    assert!(admit("a", GET, 0).is_ok());
    assert!(matches!(admit("a", "/ocs.operator.v1.Accounts/TopUp", 0), Err(Refusal::MissingRight { .. })));
    let refused = admit("a", GET, 0).unwrap_err();
    assert_eq!(refused.to_string(), "desk may call 2 times a second: wait 501 ms and try again");
    assert_eq!(
        refused.status().get_error_details().retry_info().unwrap().retry_delay,
        Some(Duration::from_nanos(500_000_001))
    );
    assert!(admit("a", OPEN[0], 0).is_ok(), "probes are nobody's");
    assert!((0..1000).all(|_| admit("b", GET, 0).is_ok()), "the other has no limit");
    assert!(admit("a", GET, 501).is_ok());
}

#[test]
fn refusals_have_codes_reasons_and_what_to_do() {
    let desk: Arc<str> = "desk".into();
    let refusals = [
        Refusal::NoCredentials,
        Refusal::NotBearer,
        Refusal::UnknownToken,
        Refusal::ExpiredToken { caller: desk.clone(), expired: Timestamp::default() },
        Refusal::UnknownCertificate { names: "sha256:00, CN=x".to_owned() },
        Refusal::UnknownMethod { caller: desk.clone(), method: "/a/b".to_owned() },
        Refusal::MissingRight {
            caller: desk.clone(),
            roles: vec![Role::Viewer, Role::TariffAuthor],
            method: "/ocs.operator.v1.Accounts/TopUp".to_owned(),
            right: Right::TopUp,
        },
        Refusal::TooFast { caller: desk, per_second: 2, wait: Duration::from_millis(500) },
    ];
    assert_eq!(refusals.each_ref().map(Refusal::reason), REASONS);
    for refusal in &refusals {
        let status = refusal.status();
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.to_lowercase().as_str(), info.domain.as_str()), (refusal.reason(), "ocs"));
        assert_eq!(status.message(), refusal.to_string());
    }
    let status = refusals[6].status();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(
        status.message(),
        "desk (viewer, tariff_author) may not call /ocs.operator.v1.Accounts/TopUp: that needs one of the roles support, finance, admin"
    );
    let details = status.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!(metadata["needed"], "support, finance, admin");
    assert_eq!(
        (&*metadata["caller"], &*metadata["roles"], &*metadata["right"]),
        ("desk", "viewer, tariff_author", "TopUp")
    );
}

#[test]
fn a_path_of_any_length_makes_a_short_message() {
    let callers = callers(&caller("desk", 'a', ""));
    let token = format!("Bearer {}", "a".repeat(32));
    let credentials = Credentials { authorization: Some(token.as_bytes()), certificate: None };
    let path = format!("/{}", "x\n".repeat(100_000));
    let refused = callers.admit(&path, credentials, Timestamp::default(), Duration::ZERO).unwrap_err();
    assert!(refused.to_string().len() < 250 && !refused.to_string().contains('\n'), "{refused}");
}
