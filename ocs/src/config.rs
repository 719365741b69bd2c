//! Configuration: a TOML file to a checked [`Config`].
//!
//! Every member has a default, so that an empty file is a working configuration on loopback. Unknown members are
//! errors that name line and column; impossible values are errors that name member, reason and what to write.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::access::Callers;
use crate::access::rights::Role;

/// A checked configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct Config {
    /// Where data lives and how it is made durable.
    pub data: Data,
    /// The Diameter Gy front end.
    pub gy: Gy,
    /// gRPC: operators and CDR export.
    pub grpc: Grpc,
    /// Who may call it.
    pub access: Access,
    /// How the catalogue is changed. No file says so: only `ocs dev` may do without a second person.
    #[serde(skip)]
    pub catalogue: Catalogue,
    /// Prometheus metrics.
    pub metrics: Metrics,
    /// Limits (everything is bounded).
    pub limits: Limits,
    /// Logs.
    pub logs: Logs,
}

/// How the catalogue is changed.
#[derive(Clone, Copy, Debug)]
pub struct Catalogue {
    /// Whether a draft is approved by somebody else than its author.
    pub four_eyes: bool,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self { four_eyes: true }
    }
}

/// Where data lives and how it is made durable.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// The data folder; made when missing.
    pub folder: PathBuf,
    /// `fsync`: an answer leaves when its consequences are on disk. `os`: when the kernel has them.
    pub durability: Durability,
    /// Size of one log segment, MiB.
    pub log_segment_mib: u64,
    /// From this length on, MiB, the log's tail makes checkpoints run unpaced.
    pub log_tail_mib_max: u64,
    /// From this length on, MiB, the log's tail makes new sessions be refused as too busy; a quarter above it everything is. Twice
    /// `log_tail_mib_max` unless said.
    pub log_tail_mib_refuse: Option<u64>,
    /// Days that CDRs are kept in the CDR store; 0 for ever.
    pub cdr_keep_days: u64,
    /// GiB that the CDR store may take, whatever the age of its CDRs: beyond it the oldest go that no consumer has yet to acknowledge. 0
    /// for no such limit.
    pub cdr_keep_gib: u64,
    /// Days that CDRs are kept whatever the CDR store takes.
    pub cdr_keep_days_min: u64,
    /// Size of one file of the CDR store, MiB: retention removes whole files.
    pub cdr_segment_mib: u64,
    /// Below this much free space, GiB, on the data folder's file system the process warns.
    pub free_gib_warn: u64,
    /// Seconds between checkpoints.
    pub checkpoint_seconds: u64,
    /// The partition of the CDR stream; a CDR's id is partition + position.
    pub partition: u16,
}

/// More log than any disk of ours has, and octets of it still fit their number.
const LOG_TAIL_MIB_LARGEST: u64 = 1 << 30;

/// When an answer may leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// After the disk has synced.
    #[default]
    Fsync,
    /// After the kernel has taken the octets: survives a crash of the process, not of the machine.
    Os,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("ocs-data"),
            durability: Durability::Fsync,
            log_segment_mib: 64,
            log_tail_mib_max: 2048,
            log_tail_mib_refuse: None,
            cdr_keep_days: 90,
            cdr_keep_gib: 0,
            cdr_keep_days_min: 0,
            cdr_segment_mib: 256,
            free_gib_warn: 10,
            checkpoint_seconds: 10,
            partition: 0,
        }
    }
}

impl Data {
    /// The length of the log's tail, octets, from which on new sessions are refused.
    pub fn log_tail_octets_refuse(&self) -> u64 {
        self.log_tail_mib_refuse.unwrap_or(self.log_tail_mib_max.saturating_mul(2)).saturating_mul(1 << 20)
    }
}

/// The Diameter Gy front end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gy {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Origin-Host: this server's Diameter identity.
    pub origin_host: String,
    /// Origin-Realm.
    pub origin_realm: String,
    /// Realms that requests may be for besides our own, e.g. that of a client that names its own.
    pub served_realms: Vec<String>,
    /// Product-Name.
    pub product_name: String,
    /// Peers that need a profile other than the one recognised, or that alone may connect.
    pub peers: Vec<Peer>,
    /// Whether only the peers listed may connect.
    pub only_listed_peers: bool,
    /// Whether unknown AVPs with the M bit are refused (5001) or ignored.
    pub refuse_unknown_mandatory_avps: bool,
    /// Largest message, octets.
    pub message_octets_max: usize,
    /// Seconds of silence before a watchdog request (RFC 3539 Tw), at least 6.
    pub watchdog_seconds: u64,
    /// Private Service-Context-Ids and the service they mean (data, voice, sms, mms, other-N).
    pub service_contexts: std::collections::BTreeMap<String, String>,
}

/// One configured peer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Peer {
    /// Its Origin-Host, when it is known by that.
    pub host: Option<String>,
    /// Its Origin-Realm, when it is known by that.
    pub realm: Option<String>,
    /// Its Product-Name, when it is known by that.
    pub product: Option<String>,
    /// `standard` or `open5gs`.
    pub profile: String,
}

impl Default for Gy {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 3868))],
            origin_host: "ocs.example.org".to_owned(),
            origin_realm: "example.org".to_owned(),
            served_realms: Vec::new(),
            product_name: "ocs".to_owned(),
            peers: Vec::new(),
            only_listed_peers: false,
            refuse_unknown_mandatory_avps: true,
            message_octets_max: 64 << 10,
            watchdog_seconds: 30,
            service_contexts: std::collections::BTreeMap::new(),
        }
    }
}

/// gRPC: operators and CDR export.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grpc {
    /// Where to listen. What other machines can reach needs TLS and callers (`access`), or `insecure`.
    pub listen: SocketAddr,
    /// PEM file with the server's certificate, and those between it and its authority after it; TLS with it.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with its key.
    pub tls_key: Option<PathBuf>,
    /// PEM file with the authorities that sign client certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether anybody who reaches the address may do everything, also from other machines.
    pub insecure: bool,
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 50051)),
            tls_certificate: None,
            tls_key: None,
            client_ca: None,
            insecure: false,
        }
    }
}

/// Who may call gRPC. Without callers, whoever reaches it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// Those who may, each with what it may.
    pub callers: Vec<Caller>,
    /// Top-ups, adjustments and credit limits above this need a second person, e.g. `100.00 EUR`; absent: none does.
    pub second_approver_above: Option<String>,
}

/// One who may call.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Caller {
    /// Its name, for records and messages.
    pub name: String,
    /// What it is here for.
    pub roles: Vec<Role>,
    /// How it is known: `sha256:` and the fingerprint of its certificate, or a name in one: `CN=`, `DNS:` or `URI:`.
    pub certificate: Option<String>,
    /// How it is known: the SHA-256 of its token, in hex.
    pub token_sha256: Option<String>,
    /// When its token ends, e.g. 2027-01-01.
    pub expires: Option<String>,
    /// How often it may call.
    pub requests_per_second: Option<u32>,
    /// The most that one of its top-ups may pay in, e.g. `50.00 EUR`.
    pub top_up_max: Option<String>,
}

/// Prometheus metrics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Where to serve them.
    pub listen: SocketAddr,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}

/// Limits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Shards of the account map.
    pub shards: usize,
    /// Open sessions; further ones are refused as too busy.
    pub open_sessions_max: usize,
    /// Ended sessions and events in memory; beyond it the oldest are forgotten early.
    pub ended_sessions_max: usize,
    /// Of those, how many stay in memory when the state store has them; the others are archived: read from disk when they
    /// are asked for.
    pub ended_sessions_kept: usize,
    /// Archived sessions and events; beyond it the oldest are forgotten early.
    pub archived_sessions_max: usize,
    /// Diameter connections.
    pub connections_max: usize,
    /// MiB of entries waiting for the disk; beyond it new sessions are refused as too busy.
    pub batch_mib_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            shards: rating_engine::shards::SHARDS_DEFAULT,
            open_sessions_max: 1_000_000,
            ended_sessions_max: 1_000_000,
            ended_sessions_kept: 200_000,
            archived_sessions_max: 20_000_000,
            connections_max: 1024,
            batch_mib_max: 16,
        }
    }
}

/// Logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    /// `text` or `json`.
    pub format: String,
    /// A filter such as `info` or `info,diameter_tcp=debug`.
    pub filter: String,
}

impl Default for Logs {
    fn default() -> Self {
        Self { format: "text".to_owned(), filter: "info".to_owned() }
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Every problem found, each naming the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(vec![format!("{}: cannot be read: {error}", path.display())]))?;
        Self::parse(&text).map_err(|ConfigError(problems)| {
            ConfigError(problems.into_iter().map(|problem| format!("{}: {problem}", path.display())).collect())
        })
    }

    /// Parses and checks a text.
    ///
    /// # Errors
    /// The syntax error with its line and column, or every impossible value.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError(vec![error.to_string()]))?;
        config.check()?;
        Ok(config)
    }

    /// Whether every value is possible.
    ///
    /// # Errors
    /// Every impossible value.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        let mut must = |holds: bool, text: String| {
            if !holds {
                problems.push(text);
            }
        };
        let identity = |name: &str| {
            !name.is_empty()
                && name.len() <= 255
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        must(identity(&self.gy.origin_host), format!("gy.origin_host: '{}' is no host name", self.gy.origin_host));
        must(identity(&self.gy.origin_realm), format!("gy.origin_realm: '{}' is no realm", self.gy.origin_realm));
        must(!self.gy.listen.is_empty(), "gy.listen: name at least one address, e.g. [\"127.0.0.1:3868\"]".to_owned());
        must(self.gy.watchdog_seconds >= 6, "gy.watchdog_seconds: must be at least 6 (RFC 3539)".to_owned());
        must(
            (4096..=1 << 20).contains(&self.gy.message_octets_max),
            "gy.message_octets_max: must lie between 4096 and 1048576".to_owned(),
        );
        for (number, peer) in self.gy.peers.iter().enumerate() {
            let named = [&peer.host, &peer.realm, &peer.product].into_iter().flatten().count();
            must(named == 1, format!("gy.peers[{number}]: name exactly one of host, realm or product"));
            must(
                matches!(peer.profile.as_str(), "standard" | "open5gs"),
                format!("gy.peers[{number}].profile: '{}' is no profile; use standard or open5gs", peer.profile),
            );
        }
        must(
            !self.gy.only_listed_peers || self.gy.peers.iter().any(|peer| peer.host.is_some()),
            "gy.only_listed_peers: lists no host; add [[gy.peers]] with host".to_owned(),
        );
        for (context, service) in &self.gy.service_contexts {
            let parsed = service.parse::<rating_engine::tariff::Service>();
            must(parsed.is_ok(), format!("gy.service_contexts.'{context}': {}", parsed.err().unwrap_or_default()));
        }
        must(
            (1..=1024).contains(&self.data.log_segment_mib),
            "data.log_segment_mib: must lie between 1 and 1024".to_owned(),
        );
        let four_segments = self.data.log_segment_mib.saturating_mul(4);
        must(
            (four_segments..=LOG_TAIL_MIB_LARGEST).contains(&self.data.log_tail_mib_max),
            format!(
                "data.log_tail_mib_max: must lie between four segments ({four_segments}) and {LOG_TAIL_MIB_LARGEST}"
            ),
        );
        must(
            self.data.log_tail_mib_refuse.is_none_or(|refuse| refuse >= self.data.log_tail_mib_max),
            "data.log_tail_mib_refuse: must be at least data.log_tail_mib_max".to_owned(),
        );
        must(
            (1..=4096).contains(&self.data.cdr_segment_mib),
            "data.cdr_segment_mib: must lie between 1 and 4096".to_owned(),
        );
        must(
            self.data.cdr_keep_gib == 0 || self.data.cdr_keep_gib.saturating_mul(1024) >= 2 * self.data.cdr_segment_mib,
            "data.cdr_keep_gib: must be at least two files of data.cdr_segment_mib, or 0 for no limit".to_owned(),
        );
        must(self.data.cdr_keep_days <= 36_500, "data.cdr_keep_days: must be at most 36500, or 0 for ever".to_owned());
        must(
            (1..=3600).contains(&self.data.checkpoint_seconds),
            "data.checkpoint_seconds: must lie between 1 and 3600".to_owned(),
        );
        must((1..=4096).contains(&self.limits.shards), "limits.shards: must lie between 1 and 4096".to_owned());
        must(self.limits.connections_max > 0, "limits.connections_max: must be above 0".to_owned());
        must(
            (1..=1024).contains(&self.limits.batch_mib_max),
            "limits.batch_mib_max: must lie between 1 and 1024".to_owned(),
        );
        must(
            matches!(self.logs.format.as_str(), "text" | "json"),
            format!("logs.format: '{}' is no format; use text or json", self.logs.format),
        );
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.logs.filter) {
            problems.push(format!("logs.filter: '{}' is no filter: {error}; write e.g. info", self.logs.filter));
        }
        problems.extend(Callers::of(self).err().into_iter().flat_map(|ConfigError(found)| found));
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }

    /// The engine's limits.
    pub fn engine_limits(&self) -> rating_engine::shard::Limits {
        rating_engine::shard::Limits {
            open_sessions_max: self.limits.open_sessions_max,
            ended_sessions_max: self.limits.ended_sessions_max,
            ended_sessions_kept: self.limits.ended_sessions_kept,
            archived_sessions_max: self.limits.archived_sessions_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_a_working_configuration() {
        assert!(Config::parse("").is_ok());
    }

    #[test]
    fn the_sample_configuration_is_accepted() {
        let sample = include_str!("../../deploy/ocs.toml");
        assert!(Config::parse(sample).is_ok(), "{:?}", Config::parse(sample).err());
    }

    #[test]
    fn what_the_sample_shows_in_comments_is_accepted_too() {
        let sample = include_str!("../../deploy/ocs.toml");
        let is_member =
            |line: &str| line.starts_with('[') || line.split_once(" = ").is_some_and(|(name, _)| !name.contains(' '));
        let shown = |line: &'static str| line.strip_prefix("# ").filter(|line| is_member(line)).unwrap_or(line);
        let text: Vec<&str> = sample.lines().map(shown).collect();
        let config = Config::parse(&text.join("\n")).unwrap();
        assert_eq!((config.access.callers.len(), config.gy.peers.len(), config.gy.service_contexts.len()), (2, 1, 1));
        assert!(config.grpc.client_ca.is_some() && config.grpc.tls_key.is_some());
    }

    #[test]
    fn every_impossible_value_is_named() {
        let error = Config::parse(
            "[gy]\norigin_host = \"two words\"\nwatchdog_seconds = 1\n[grpc]\nlisten = \"0.0.0.0:1\"\n[logs]\nformat = \"xml\"\nfilter = \"info,=x=\"",
        )
        .unwrap_err();
        let names = ["gy.origin_host", "gy.watchdog_seconds", "logs.format", "logs.filter", "grpc.listen"];
        assert_eq!(error.0.len(), names.len(), "{error}");
        assert!(error.0.iter().zip(names).all(|(problem, name)| problem.starts_with(name)), "{error}");
        let error = Config::parse("[gy]\nlissten = []").unwrap_err();
        assert!(error.to_string().contains("lissten") && error.to_string().contains("line 2"), "{error}");
    }
}
