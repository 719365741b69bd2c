//! File descriptors: as many as the system gives, and enough of them before anything is served. A store that gets none
//! because peers have them all would be a failed disk.

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::Config;
use crate::doors;
use crate::store::OpenError;

/// Files of the state store: RocksDB's tables (its `max_open_files`), and what it has besides.
const STATE_FILES: u64 = 512 + 64;
/// Files of the CDR store: the segment that is written, those of readers, and what is made meanwhile.
const CDR_FILES: u64 = 128;
/// Standard streams, the lock, listeners, the runtime, connections on their way to be closed.
const OTHER_FILES: u64 = 64;

/// Files of the log: every segment of the longest tail twice over, for those that the CDR store still needs.
fn log_files(config: &Config) -> u64 {
    2 * config.data.log_tail_mib_max.div_ceil(config.data.log_segment_mib.max(1)) + 16
}

/// Raises the limit as far as the system lets us, and says whether that is enough.
///
/// # Errors
/// When `limits.connections_max` and what the stores need exceed it.
pub fn make_room(config: &Config) -> Result<(), OpenError> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit = getrlimit(Resource::Nofile),
            Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
        }
    }
    enough(config, limit.current)
}

fn enough(config: &Config, allowed: Option<u64>) -> Result<(), OpenError> {
    let connections = u64::try_from(config.limits.connections_max).unwrap_or(u64::MAX);
    let stores = STATE_FILES + CDR_FILES + log_files(config);
    let others = OTHER_FILES + doors::CONNECTIONS_MAX + doors::METRICS_CONNECTIONS_MAX;
    let needed = connections.saturating_add(stores).saturating_add(others);
    match allowed {
        Some(allowed) if allowed < needed => Err(OpenError(format!(
            "the system allows {allowed} open files, but {needed} are needed: {connections} for limits.connections_max, \
             {stores} for log, state and CDRs, {others} for gRPC, metrics and the rest; raise the hard limit \
             (LimitNOFILE= of the unit, `ulimit -Hn`) or lower limits.connections_max"
        ))),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_counted_and_named() {
        let mut config = Config::default();
        let said = enough(&config, Some(1024)).unwrap_err().to_string();
        assert!(said.contains("allows 1024") && said.contains("1024 for limits.connections_max"), "{said}");
        assert!(enough(&config, Some(1024 + 1024)).is_ok());
        config.limits.connections_max = 100_000;
        assert!(enough(&config, Some(65_536)).is_err());
        assert!(enough(&config, None).is_ok());
    }
}
