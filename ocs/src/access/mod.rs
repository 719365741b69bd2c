//! Who may call the operators' gRPC: callers by name, known by a client certificate or a token, each with roles and a rate.
//!
//! [`rights`] has the tables, [`Gate`] the layer around all services, [`tls`] the files. Whoever is let through is in the
//! request as an [`ocs_api::Caller`]. Without callers in the configuration nobody is told apart and everybody may do
//! everything; the configuration sees to it that this is loopback, or meant.
//!
//! Everything is denied that is not allowed: who is not known, what a role has no right to, a method that is in no table.
//! Tokens are never kept nor logged: the configuration has their SHA-256, and what is compared is that.

mod certificate;
mod gate;
mod limit;
pub mod rights;
pub(crate) mod tls;

use std::sync::Arc;
use std::time::Duration;

use ocs_api::{Caller, Ceiling};
use parking_lot::Mutex;
use rating_engine::calendar::Zone;
use rating_engine::money::{Currency, Money};
use rating_engine::time::Timestamp;
use sha2::{Digest, Sha256};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::catalogue::text::parse_instant;
use crate::config::{Config, ConfigError};
use certificate::{Known, Names};
pub use gate::{Gate, TurnedAway};
use limit::Bucket;
use rights::{OPEN, Right, Role};

/// Callers in a configuration.
pub const CALLERS_MAX: usize = 1024;
/// Octets of a caller's name.
pub const NAME_OCTETS_MAX: usize = 64;
/// Octets of a token.
pub const TOKEN_OCTETS_MIN: usize = 32;
/// Octets of a method's path in messages; ours are shorter.
const PATH_OCTETS_SHOWN: usize = 100;

/// Who everybody is where callers are not told apart and the network may call (`grpc.insecure`).
const ANYBODY: &str = "anybody";
/// Names that callers may not have: they would be taken for those whom nobody told apart.
const NAMES_TAKEN: [&str; 2] = [Caller::LOCAL, ANYBODY];

/// Everybody who may call.
#[derive(Debug)]
pub struct Callers {
    listed: Vec<Listed>,
    /// Whoever calls where nobody is listed.
    anybody: Caller,
    /// Credits above this need a second person.
    second_approver_above: Option<Ceiling>,
}

/// A caller of the configuration.
#[derive(Debug)]
struct Listed {
    caller: Caller,
    roles: Vec<Role>,
    proof: Proof,
    rate: Option<(u32, Mutex<Bucket>)>,
}

/// How it is known.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    Certificate(Known),
    Token { sha256: [u8; 32], expires: Timestamp },
}

/// What a request came with.
#[derive(Clone, Copy, Debug, Default)]
struct Credentials<'a> {
    /// The `authorization` header.
    authorization: Option<&'a [u8]>,
    /// The client's own certificate, verified by the handshake.
    certificate: Option<&'a Names>,
}

impl Callers {
    /// Reads and checks `[access]`, and whether `grpc` is safe with it.
    ///
    /// # Errors
    /// Everything that is wrong, by member.
    pub fn of(config: &Config) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut listed: Vec<Listed> = Vec::new();
        let given = &config.access.callers;
        if given.len() > CALLERS_MAX {
            problems.push(format!("access.callers: are {}; list at most {CALLERS_MAX}", given.len()));
        }
        for (number, caller) in given.iter().enumerate().take(CALLERS_MAX) {
            match read(caller) {
                Ok(read) => {
                    let same = |other: &&Listed| other.caller.name == read.caller.name;
                    if listed.iter().any(|other| same(&other)) {
                        problems.push(format!("access.callers[{number}].name: '{}' is there before", caller.name));
                    } else if let Some(other) = listed.iter().find(|other| other.is_known_like(&read.proof)) {
                        problems.push(format!(
                            "access.callers[{number}]: is known by the same as {}; give each caller its own",
                            other.caller.name
                        ));
                    }
                    listed.push(read);
                }
                Err(found) => {
                    problems.extend(
                        found
                            .into_iter()
                            .map(|(member, reason)| format!("access.callers[{number}].{member}: {reason}")),
                    );
                }
            }
        }
        check_doors(config, &mut problems);
        let second_approver_above = match config.access.second_approver_above.as_deref().map(ceiling) {
            Some(Err(reason)) => {
                problems.push(format!("access.second_approver_above: {reason}"));
                None
            }
            Some(Ok(_)) if given.is_empty() => {
                let reason =
                    "needs callers: where they are not told apart, nobody is a second person; add [[access.callers]]";
                problems.push(format!("access.second_approver_above: {reason}"));
                None
            }
            Some(Ok(above)) => Some(above),
            None => None,
        };
        let anybody = if config.grpc.listen.ip().is_loopback() { Caller::LOCAL } else { ANYBODY };
        if problems.is_empty() {
            Ok(Self { listed, anybody: Caller::named(anybody), second_approver_above })
        } else {
            Err(ConfigError(problems))
        }
    }

    /// How many there are; 0: callers are not told apart.
    pub const fn count(&self) -> usize {
        self.listed.len()
    }

    /// Credits above this need a second person.
    pub const fn second_approver_above(&self) -> Option<Ceiling> {
        self.second_approver_above
    }

    /// Who calls the method at `path`, if it may; `None` when nobody needs to know. `now` is for tokens that expire,
    /// `elapsed`, since whenever, for rates.
    ///
    /// # Errors
    /// Why not.
    fn admit(
        &self,
        path: &str,
        credentials: Credentials<'_>,
        now: Timestamp,
        elapsed: Duration,
    ) -> Result<Option<Caller>, Refusal> {
        if OPEN.contains(&path) {
            return Ok(None);
        }
        if self.count() == 0 {
            return Ok(Some(self.anybody.clone()));
        }
        let listed = self.identify(credentials, now)?;
        if let Some((per_second, bucket)) = &listed.rate {
            bucket.lock().take(elapsed).map_err(|wait| Refusal::TooFast {
                caller: listed.caller.name.clone(),
                per_second: *per_second,
                wait,
            })?;
        }
        let method = shown(path);
        let Some(right) = rights::needed(path) else {
            return Err(Refusal::UnknownMethod { caller: listed.caller.name.clone(), method });
        };
        if listed.roles.iter().any(|role| role.may(right)) {
            return Ok(Some(listed.caller.clone()));
        }
        let (caller, roles) = (listed.caller.name.clone(), listed.roles.clone());
        Err(Refusal::MissingRight { caller, roles, method, right })
    }

    /// What a caller says of itself in the request goes before its connection's certificate: it was said on purpose.
    fn identify(&self, credentials: Credentials<'_>, now: Timestamp) -> Result<&Listed, Refusal> {
        if let Some(authorization) = credentials.authorization {
            let token = bearer(authorization).ok_or(Refusal::NotBearer)?;
            return self.with_token(token, now);
        }
        let names = credentials.certificate.ok_or(Refusal::NoCredentials)?;
        let known = |listed: &&Listed| match &listed.proof {
            Proof::Certificate(known) => names.are(known),
            Proof::Token { .. } => false,
        };
        // The fingerprint says most: who is listed by it is meant, whatever name the certificate has.
        let by_fingerprint =
            |listed: &&Listed| matches!(&listed.proof, Proof::Certificate(Known::Fingerprint(_))) && known(listed);
        let found = self.listed.iter().find(by_fingerprint).or_else(|| self.listed.iter().find(known));
        found.ok_or_else(|| Refusal::UnknownCertificate { names: names.to_string() })
    }

    fn with_token(&self, token: &[u8], now: Timestamp) -> Result<&Listed, Refusal> {
        if token.len() < TOKEN_OCTETS_MIN {
            return Err(Refusal::UnknownToken);
        }
        let given: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        // All of them, each to the end: how long it takes says nothing about how much was right.
        for listed in &self.listed {
            if let Proof::Token { sha256, expires } = &listed.proof
                && same(&given, sha256)
            {
                found = Some((listed, *expires));
            }
        }
        match found {
            Some((listed, expires)) if now < expires => Ok(listed),
            Some((listed, expired)) => Err(Refusal::ExpiredToken { caller: listed.caller.name.clone(), expired }),
            None => Err(Refusal::UnknownToken),
        }
    }
}

impl Listed {
    fn is_known_like(&self, proof: &Proof) -> bool {
        match (&self.proof, proof) {
            (Proof::Certificate(one), Proof::Certificate(other)) => one == other,
            (Proof::Token { sha256: one, .. }, Proof::Token { sha256: other, .. }) => one == other,
            (Proof::Certificate(_) | Proof::Token { .. }, _) => false,
        }
    }
}

/// In as many steps whatever differs.
fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let differing = one.iter().zip(other).fold(0, |differing, (one, other)| differing | (one ^ other));
    std::hint::black_box(differing) == 0
}

/// The token of `Bearer TOKEN` (RFC 6750 2.1); the scheme has no case (RFC 9110 11.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

/// A path as it may stand in messages, however it was called.
fn shown(path: &str) -> String {
    path.chars().filter(|c| !c.is_control()).take(PATH_OCTETS_SHOWN).collect()
}

/// A caller of the configuration, or what is wrong with it, by member.
fn read(given: &crate::config::Caller) -> Result<Listed, Vec<(&'static str, String)>> {
    let mut problems = Vec::new();
    let name = &given.name;
    let spelled = name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.@".contains(&octet));
    if name.is_empty() || name.len() > NAME_OCTETS_MAX || !spelled {
        let reason = format!("'{name}' is no name; give 1 to {NAME_OCTETS_MAX} letters, digits, '-', '_', '.' or '@'");
        problems.push(("name", reason));
    } else if NAMES_TAKEN.contains(&name.as_str()) {
        problems.push(("name", format!("'{name}' is whoever calls where callers are not told apart; choose another")));
    }
    if given.roles.is_empty() {
        let roles = Role::ALL.map(Role::name).join(", ");
        problems.push(("roles", format!("are missing; give at least one of {roles}")));
    }
    let expires = match given.expires.as_deref().map(|text| parse_instant(text, &Zone::utc())) {
        Some(Err(reason)) => {
            problems.push(("expires", reason));
            None
        }
        Some(Ok(_)) if given.token_sha256.is_none() => {
            problems.push(("expires", "is for tokens; a certificate has its own end".to_owned()));
            None
        }
        Some(Ok(at)) => Some(at),
        None => None,
    };
    let proof = match (&given.certificate, &given.token_sha256) {
        (Some(certificate), None) => {
            certificate.parse().map(Proof::Certificate).map_err(|reason| ("certificate", reason))
        }
        (None, Some(digits)) => certificate::fingerprint(digits)
            .map(|sha256| Proof::Token { sha256, expires: expires.unwrap_or(Timestamp::NEVER) })
            .ok_or_else(|| {
                ("token_sha256", "is not 64 hex digits; write what `tr -d '\\n' < FILE | sha256sum` prints".to_owned())
            }),
        (Some(_), Some(_)) | (None, None) => {
            Err(("certificate", "say how it is known: exactly one of certificate and token_sha256".to_owned()))
        }
    };
    let proof = proof.map_err(|problem| problems.push(problem)).ok();
    let rate = given.requests_per_second.map(|rate| (rate, Mutex::new(Bucket::new(rate, Duration::ZERO))));
    if given.requests_per_second.is_some_and(|rate| !(1..=limit::PER_SECOND_MAX).contains(&rate)) {
        problems.push(("requests_per_second", format!("must lie between 1 and {}", limit::PER_SECOND_MAX)));
    }
    let top_up_max = match given.top_up_max.as_deref().map(ceiling) {
        Some(Err(reason)) => {
            problems.push(("top_up_max", reason));
            None
        }
        Some(Ok(ceiling)) => Some(ceiling),
        None => None,
    };
    match proof {
        Some(proof) if problems.is_empty() => {
            let sees_accounts = given.roles.iter().any(|role| role.may(Right::ReadAccounts));
            let caller = Caller { name: name.as_str().into(), top_up_max, sees_accounts };
            Ok(Listed { caller, roles: given.roles.clone(), proof, rate })
        }
        Some(_) | None => Err(problems),
    }
}

/// `50.00 EUR`.
fn ceiling(text: &str) -> Result<Ceiling, String> {
    let (amount, currency) =
        text.split_once(' ').ok_or_else(|| format!("'{text}' is no amount; write e.g. 50.00 EUR"))?;
    let amount: Money = amount.parse().map_err(|error: rating_engine::money::MoneyError| error.to_string())?;
    let currency = Currency::parse(currency)
        .ok_or_else(|| format!("'{currency}' is no currency; write three ISO 4217 letters, e.g. 50.00 EUR"))?;
    if amount <= Money::ZERO { Err("must be above 0".to_owned()) } else { Ok(Ceiling { amount, currency }) }
}

/// Whether `grpc` and `access` are safe together.
fn check_doors(config: &Config, problems: &mut Vec<String>) {
    let (grpc, callers) = (&config.grpc, &config.access.callers);
    let with_tls = grpc.tls_certificate.is_some() || grpc.tls_key.is_some();
    let listen = grpc.listen;
    match (&grpc.tls_certificate, &grpc.tls_key) {
        (Some(_), None) => {
            problems.push("grpc.tls_key: is missing; name the PEM file of tls_certificate's key".to_owned())
        }
        (None, Some(_)) => {
            problems
                .push("grpc.tls_certificate: is missing; name the PEM file with the server's certificate".to_owned());
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    let by_certificate = callers.iter().position(|caller| caller.certificate.is_some());
    match (by_certificate, &grpc.client_ca) {
        (Some(number), None) => problems.push(format!(
            "access.callers[{number}].certificate: needs grpc.client_ca, the PEM file of the authority that signs client certificates"
        )),
        (None, Some(_)) => problems.push(
            "grpc.client_ca: nobody is known by a certificate; add [[access.callers]] with certificate (docs/access.md)"
                .to_owned(),
        ),
        (Some(_), Some(_)) if !with_tls => problems
            .push("grpc.client_ca: needs TLS; give grpc.tls_certificate and grpc.tls_key (docs/access.md)".to_owned()),
        (Some(_), Some(_)) | (None, None) => {}
    }
    if grpc.insecure && !callers.is_empty() {
        problems.push(
            "grpc.insecure: says that anybody may call, and [access] that only some may; leave one of them out"
                .to_owned(),
        );
    } else if !listen.ip().is_loopback() && callers.is_empty() && !grpc.insecure {
        problems.push(format!(
            "grpc.listen: {listen} can be reached from other machines, and anybody there could do everything: name callers in \
             [[access.callers]] and give grpc.tls_certificate and grpc.tls_key (docs/access.md), stay on loopback, or say \
             grpc.insecure = true if the network keeps others out"
        ));
    } else if !listen.ip().is_loopback() && !callers.is_empty() && !with_tls {
        problems.push(format!(
            "grpc.listen: {listen} can be reached from other machines, and tokens must not cross a network in clear: give \
             grpc.tls_certificate and grpc.tls_key (docs/access.md), or stay on loopback"
        ));
    }
}

/// Why a call was turned away, before any service saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It came with neither token nor certificate.
    NoCredentials,
    /// Its `authorization` header has another form.
    NotBearer,
    /// Its token is nobody's.
    UnknownToken,
    /// Its token is of the past.
    ExpiredToken {
        /// Whose it was.
        caller: Arc<str>,
        /// Until when.
        expired: Timestamp,
    },
    /// Its certificate is nobody's, however well signed.
    UnknownCertificate {
        /// What is in it.
        names: String,
    },
    /// No role may call this: there is no such method, or none that the table has.
    UnknownMethod {
        /// Who called.
        caller: Arc<str>,
        /// What.
        method: String,
    },
    /// None of its roles may call this.
    MissingRight {
        /// Who called.
        caller: Arc<str>,
        /// What it is.
        roles: Vec<Role>,
        /// What it called.
        method: String,
        /// What that needs.
        right: Right,
    },
    /// It calls too often.
    TooFast {
        /// Who.
        caller: Arc<str>,
        /// How often it may.
        per_second: u32,
        /// When it may again.
        wait: Duration,
    },
}

/// The label of handshakes that fail: no call was made.
const HANDSHAKE: &str = "handshake";
/// The label of each kind of refusal.
pub const REASONS: [&str; 8] = [
    "no_credentials",
    "not_bearer",
    "unknown_token",
    "expired_token",
    "unknown_certificate",
    "unknown_method",
    "missing_right",
    "too_fast",
];

fn names(roles: impl IntoIterator<Item = Role>) -> String {
    roles.into_iter().map(Role::name).collect::<Vec<_>>().join(", ")
}

impl Refusal {
    /// Its kind; one of [`REASONS`], in capitals the `reason` of `google.rpc.ErrorInfo`.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::NotBearer => "not_bearer",
            Self::UnknownToken => "unknown_token",
            Self::ExpiredToken { .. } => "expired_token",
            Self::UnknownCertificate { .. } => "unknown_certificate",
            Self::UnknownMethod { .. } => "unknown_method",
            Self::MissingRight { .. } => "missing_right",
            Self::TooFast { .. } => "too_fast",
        }
    }

    const fn code(&self) -> Code {
        match self {
            Self::NoCredentials
            | Self::NotBearer
            | Self::UnknownToken
            | Self::ExpiredToken { .. }
            | Self::UnknownCertificate { .. } => Code::Unauthenticated,
            Self::UnknownMethod { .. } | Self::MissingRight { .. } => Code::PermissionDenied,
            Self::TooFast { .. } => Code::ResourceExhausted,
        }
    }

    /// Whose call it was, as far as is known.
    pub fn caller(&self) -> Option<&str> {
        match self {
            Self::NoCredentials | Self::NotBearer | Self::UnknownToken | Self::UnknownCertificate { .. } => None,
            Self::ExpiredToken { caller, .. }
            | Self::UnknownMethod { caller, .. }
            | Self::MissingRight { caller, .. }
            | Self::TooFast { caller, .. } => Some(caller),
        }
    }

    /// What programs can read of it.
    fn metadata(&self) -> Vec<(&'static str, String)> {
        let mut metadata: Vec<_> = self.caller().map(|caller| ("caller", caller.to_owned())).into_iter().collect();
        match self {
            Self::NoCredentials | Self::NotBearer | Self::UnknownToken => {}
            Self::ExpiredToken { expired, .. } => metadata.push(("expired", expired.to_string())),
            Self::UnknownCertificate { names } => metadata.push(("certificate", names.clone())),
            Self::UnknownMethod { method, .. } => metadata.push(("method", method.clone())),
            Self::MissingRight { roles, method, right, .. } => metadata.extend([
                ("method", method.clone()),
                ("roles", names(roles.iter().copied())),
                ("right", format!("{right:?}")),
                ("needed", names(holders(*right))),
            ]),
            Self::TooFast { per_second, .. } => metadata.push(("requests_per_second", per_second.to_string())),
        }
        metadata
    }

    /// The answer to the call.
    pub fn status(&self) -> Status {
        let metadata = self.metadata().into_iter().map(|(key, value)| (key.to_owned(), value));
        let mut details = ErrorDetails::with_error_info(
            self.reason().to_ascii_uppercase(),
            "ocs",
            metadata.collect::<std::collections::HashMap<_, _>>(),
        );
        if let Self::TooFast { wait, .. } = self {
            details.set_retry_info(Some(*wait));
        }
        Status::with_error_details(self.code(), self.to_string(), details)
    }
}

/// The roles that have a right.
fn holders(right: Right) -> impl Iterator<Item = Role> {
    Role::ALL.into_iter().filter(move |role| role.may(right))
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoCredentials => f.write_str(
                "it is not known who calls: connect with a client certificate, or send the header 'authorization: Bearer TOKEN' \
                 (ocs: --certificate and --certificate-key, or --token-file)",
            ),
            Self::NotBearer => f.write_str("the header authorization has another form than 'Bearer TOKEN'"),
            Self::UnknownToken => f.write_str(
                "the token is nobody's: look whether it is whole; whoever runs the server lists its SHA-256 in [[access.callers]]",
            ),
            Self::ExpiredToken { caller, expired } => write!(
                f,
                "the token of {caller} expired at {expired}: ask whoever runs the server for a new one, and to list its SHA-256"
            ),
            Self::UnknownCertificate { names } => write!(
                f,
                "the client certificate is nobody's ({names}): whoever runs the server lists it in [[access.callers]]"
            ),
            Self::UnknownMethod { caller, method } => {
                write!(f, "{caller} may not call {method}: no role may; there is no such method, or it is not open yet")
            }
            Self::MissingRight { caller, roles, method, right } => write!(
                f,
                "{caller} ({}) may not call {method}: that needs one of the roles {}",
                names(roles.iter().copied()),
                names(holders(*right))
            ),
            Self::TooFast { caller, per_second, wait } => write!(
                f,
                "{caller} may call {per_second} times a second: wait {} ms and try again",
                wait.as_millis().saturating_add(1)
            ),
        }
    }
}

#[cfg(test)]
mod tests;
