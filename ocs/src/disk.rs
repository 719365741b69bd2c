//! The disk, tended: CDRs past their retention go, and what is free is watched.
//!
//! Whole files of the CDR store are removed, the oldest first, and only what is durable there: the log has let go of it already,
//! and accounts are proved by their running totals from then on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use balance_store::records;
use balance_store::{CdrError, CdrStore, FailureHook};
use rating_engine::ids::CdrPosition;
use rating_engine::time::Timestamp;

use crate::clock::Clock;
use crate::config;
use crate::store::{OpenError, because};
use crate::telemetry::Telemetry;

/// How often the disk is looked after.
const INTERVAL: Duration = Duration::from_secs(30);
/// How often it is looked whether the end has come.
const NAP: Duration = Duration::from_millis(100);
/// A warning is not repeated sooner.
const WARN_AGAIN: Duration = Duration::from_secs(600);
const MILLIS_PER_DAY: i64 = 86_400_000;

/// How long CDRs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Milliseconds since a CDR was accepted; `None` for ever.
    pub millis: Option<i64>,
    /// Octets of the CDR store; `None` for as many as it takes.
    pub octets: Option<u64>,
}

impl Keep {
    /// As configured.
    pub fn of(data: &config::Data) -> Self {
        let days = i64::try_from(data.cdr_keep_days).unwrap_or(i64::MAX);
        Self {
            millis: (days > 0).then(|| days.saturating_mul(MILLIS_PER_DAY)),
            octets: (data.cdr_keep_gib > 0).then(|| data.cdr_keep_gib.saturating_mul(1 << 30)),
        }
    }
}

/// What retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// CDRs.
    pub cdrs: u64,
    /// The octets of their files.
    pub octets: u64,
    /// The oldest that is kept.
    pub first_kept: CdrPosition,
}

/// Removes the files of the CDR store that are past their retention at `now`. The newest file always stays.
///
/// # Errors
/// [`CdrError`]: nothing is removed whose age cannot be read.
pub fn retire(cdrs: &Arc<CdrStore>, keep: Keep, now: Timestamp) -> Result<Removed, CdrError> {
    let segments = cdrs.segments()?;
    let mut left: u64 = segments.iter().map(|(_, octets)| octets).sum();
    let mut removed = Removed { first_kept: cdrs.first_position(), ..Removed::default() };
    let before = removed.first_kept;
    for pair in segments.windows(2) {
        let [(_, octets), (next, _)] = *pair else { continue };
        let too_much = keep.octets.is_some_and(|most| left > most);
        if !too_much && !is_past(cdrs, next, keep, now)? {
            break;
        }
        left = left.saturating_sub(octets);
        removed.octets = removed.octets.saturating_add(octets);
        removed.first_kept = next;
    }
    if removed.first_kept > before {
        cdrs.cut_below(removed.first_kept)?;
        removed.cdrs = removed.first_kept.get().saturating_sub(before.get());
    }
    Ok(removed)
}

/// Whether the CDR at a position is old enough for those before it to go.
fn is_past(cdrs: &Arc<CdrStore>, position: CdrPosition, keep: Keep, now: Timestamp) -> Result<bool, CdrError> {
    let Some(millis) = keep.millis else { return Ok(false) };
    let mut reader = cdrs.reader(position)?;
    let Some(record) = reader.read_next()? else { return Ok(false) };
    match records::decode_cdr(record.octets) {
        Ok(cdr) => Ok(now.millis().saturating_sub(cdr.accepted.millis()) > millis),
        Err(error) => {
            tracing::warn!(%position, %error, "the age of a CDR cannot be read; it and those before it are kept");
            Ok(false)
        }
    }
}

/// The room of a file system, octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// All of it.
    pub size: u64,
    /// What is left for us.
    pub free: u64,
}

/// The room of the file system of `folder`.
///
/// # Errors
/// What the system says.
pub fn room(folder: &Path) -> std::io::Result<Room> {
    let room = rustix::fs::statvfs(folder)?;
    let octets = |blocks: u64| blocks.saturating_mul(room.f_frsize);
    Ok(Room { size: octets(room.f_blocks), free: octets(room.f_bavail) })
}

/// What is looked after, and by what rules.
pub(crate) struct Tending {
    pub(crate) data: config::Data,
    pub(crate) cdrs: Arc<CdrStore>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) failed: FailureHook,
}

impl Tending {
    /// Starts the thread, which ends when `over` is set.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(self, over: Arc<AtomicBool>) -> Result<std::thread::JoinHandle<()>, OpenError> {
        let run = move || {
            let (mut due, mut warned) = (Instant::now(), None);
            while !over.load(Ordering::Acquire) {
                if Instant::now() >= due {
                    due = Instant::now() + INTERVAL;
                    self.watch_room(&mut warned);
                    match self.retire() {
                        Ok(()) => {}
                        Err(error @ CdrError::Io { .. }) => {
                            (self.failed)(&error.into());
                            return;
                        }
                        // Charging needs none of it: said, and tried again.
                        Err(error) => tracing::error!(%error, "CDRs past their retention could not be removed"),
                    }
                }
                std::thread::sleep(NAP);
            }
        };
        std::thread::Builder::new()
            .name("disk".to_owned())
            .spawn(run)
            .map_err(because("the thread that tends the disk"))
    }

    fn watch_room(&self, warned: &mut Option<Instant>) {
        let folder = &self.data.folder;
        match room(folder) {
            Ok(Room { size, free }) => {
                self.telemetry.disk(size, free);
                let low = free < self.data.free_gib_warn.saturating_mul(1 << 30);
                if !low {
                    *warned = None;
                } else if warned.is_none_or(|at| at.elapsed() >= WARN_AGAIN) {
                    *warned = Some(Instant::now());
                    tracing::warn!(
                        free_mib = free >> 20,
                        folder = %folder.display(),
                        "the disk is nearly full; when it is full the process ends: make room, or shorten data.cdr_keep_days or \
                         data.cdr_keep_gib"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, folder = %folder.display(), "free space cannot be measured"),
        }
    }

    fn retire(&self) -> Result<(), CdrError> {
        let removed = retire(&self.cdrs, Keep::of(&self.data), self.clock.now())?;
        if removed.cdrs > 0 {
            tracing::info!(
                cdrs = removed.cdrs,
                octets = removed.octets,
                first_kept = removed.first_kept.get(),
                "CDRs past their retention were removed"
            );
        }
        let octets = self.cdrs.octets()?;
        self.telemetry.cdr_store(octets, removed.first_kept.get(), removed.cdrs);
        Ok(())
    }
}
