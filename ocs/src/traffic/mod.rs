//! Network elements played over Gy: load, checked answers, rates and percentiles (`ocs traffic`).
//!
//! Each connection is a network element with sessions of its own; every answer is held to what a client needs of it, and
//! what terminated sessions cost is summed up as the server tells it. In a closed loop a session asks again when its
//! answer has come. In an open loop requests leave when they are due, whatever the answers take, and latency counts from
//! that instant: a late start of the generator is part of it, and an instant at which no session was free is counted
//! instead of moved.
//!
//! `template` writes requests, `answer` judges answers, `node` is a network element without a socket, `load`
//! drives all of them, `report` tells. Absent: reconnecting, one-time events, CC-Time, several services per rating
//! group, reading the tariffs (sizes of grants are only checked against the largest that the demo tariffs allow).

mod answer;
mod load;
mod node;
mod report;
mod template;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;

pub use report::{Counts, KindReport, Report};

use crate::cli;

/// Rating groups in a request at most.
const RATING_GROUPS_MAX: u32 = 64;

/// Subscribers at most: what the eight digits of a demo MSISDN can tell.
const SUBSCRIBERS_MAX: u64 = 99_999_999;

/// Why there was no traffic at all.
#[derive(Debug)]
pub enum TrafficError {
    /// An option that makes no sense.
    Option(&'static str),
    /// The requests cannot be written.
    Request(String),
    /// No runtime.
    Runtime(io::Error),
    /// No histogram.
    Histogram,
    /// A connection could not be opened.
    Connect {
        /// Who wanted to connect where.
        what: String,
        /// Why not.
        error: io::Error,
    },
    /// The summary could not be written.
    Summary(io::Error),
}

impl fmt::Display for TrafficError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(what) => f.write_str(what),
            Self::Request(error) => write!(f, "the request cannot be written: {error}"),
            Self::Runtime(error) => write!(f, "no runtime: {error}"),
            Self::Histogram => f.write_str("no histogram"),
            Self::Connect { what, error } => {
                write!(f, "{what}: {error}; start a server with `ocs dev`, or name one with --to")
            }
            Self::Summary(error) => write!(f, "summary: {error}"),
        }
    }
}

impl std::error::Error for TrafficError {}

/// Plays network elements until the time is over or a connection is lost, ends all sessions and says what it came to.
/// The summary is written where the options say; the report is left to the caller.
///
/// # Errors
/// When there was no traffic at all, or the summary cannot be written. What goes wrong under way is in the report.
pub fn run(options: &cli::Traffic) -> Result<Report, TrafficError> {
    check(options)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(2))
        .enable_all()
        .build()
        .map_err(TrafficError::Runtime)?;
    let report = runtime.block_on(load::load(options))?;
    runtime.shutdown_background();
    if let Some(file) = &options.summary {
        std::fs::write(file, format!("{:#}\n", report.summary())).map_err(TrafficError::Summary)?;
    }
    Ok(report)
}

fn check(options: &cli::Traffic) -> Result<(), TrafficError> {
    let complaint = if options.connections == 0 || options.sessions == 0 {
        "--connections and --sessions must be at least 1"
    } else if options.rating_groups == 0 || options.rating_groups > RATING_GROUPS_MAX {
        "--rating-groups must be 1 to 64"
    } else if options.subscribers == 0 || options.subscribers > SUBSCRIBERS_MAX {
        "--subscribers must be 1 to 99999999"
    } else if options.rate == Some(0) {
        "--rate must be at least 1"
    } else if options.repeat_every == Some(0) {
        "--repeat-every must be at least 1"
    } else {
        return Ok(());
    };
    Err(TrafficError::Option(complaint))
}
