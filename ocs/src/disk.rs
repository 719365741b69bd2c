//! The disk, tended: CDRs past their retention go, and what is free is watched.
//!
//! Whole files of the CDR store are removed, the oldest first, and only what is durable there: the log has let go of it already,
//! and accounts are proved by their running totals from then on. What somebody still needs ([`RetentionFloor`]) stays, however old
//! and however much it is; who holds it is said in time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use balance_store::records;
use balance_store::{CdrError, CdrStore, FailureHook};
use parking_lot::{Mutex, MutexGuard};
use rating_engine::ids::CdrPosition;
use rating_engine::time::Timestamp;

use crate::clock::Clock;
use crate::config;
use crate::consumers::Consumers;
use crate::store::{OpenError, because};
use crate::telemetry::Telemetry;

/// How often the disk is looked after.
const INTERVAL: Duration = Duration::from_secs(30);
/// How often it is looked whether the end has come.
const NAP: Duration = Duration::from_millis(100);
/// How often it is looked where consumers stand.
const MEASURE: Duration = Duration::from_secs(5);
/// A warning is not repeated sooner.
const WARN_AGAIN: Duration = Duration::from_secs(600);
const MILLIS_PER_DAY: i64 = 86_400_000;

/// Of the most that the CDR store may take, the part, in percent, from which on it is said that somebody holds it.
const NEAR_PERCENT: u64 = 80;

/// How long CDRs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Milliseconds since a CDR was accepted; `None` for ever.
    pub millis: Option<i64>,
    /// Octets of the CDR store; `None` for as many as it takes.
    pub octets: Option<u64>,
    /// Milliseconds since a CDR was accepted for which it stays, however much the store takes.
    pub millis_min: i64,
}

/// The oldest CDR that somebody still needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// It and what follows it stay.
    pub from: CdrPosition,
    /// Who needs it, for people.
    pub holder: String,
}

/// Somebody who needs CDRs: they are not removed before it lets go of them.
pub trait RetentionFloor: Send + Sync {
    /// The oldest CDR that is needed; `None` for none. Asked on a thread that may wait for the disk: no crash may make it an older one
    /// than was said here.
    fn floor(&self) -> Option<Floor>;
}

/// Who needs CDRs.
#[derive(Default)]
pub struct Retention {
    floors: Mutex<Vec<Arc<dyn RetentionFloor>>>,
    /// Held while files are removed, from asking what is needed on.
    removing: Mutex<()>,
}

impl std::fmt::Debug for Retention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Retention").finish_non_exhaustive()
    }
}

impl Retention {
    /// From now on nothing is removed that this one needs.
    pub fn keep_for(&self, floor: Arc<dyn RetentionFloor>) {
        self.floors.lock().push(floor);
    }

    /// Nothing is removed as long as this is held: for whoever is about to need something that is there. Before any other lock.
    pub fn pause(&self) -> MutexGuard<'_, ()> {
        self.removing.lock()
    }

    /// The oldest CDR that anybody needs.
    fn floor(&self) -> Option<Floor> {
        let floors = self.floors.lock().clone();
        floors.iter().filter_map(|floor| floor.floor()).min_by_key(|floor| floor.from)
    }
}

impl Keep {
    /// As configured.
    pub fn of(data: &config::Data) -> Self {
        let days = i64::try_from(data.cdr_keep_days).unwrap_or(i64::MAX);
        Self {
            millis: (days > 0).then(|| days.saturating_mul(MILLIS_PER_DAY)),
            octets: (data.cdr_keep_gib > 0).then(|| data.cdr_keep_gib.saturating_mul(1 << 30)),
            millis_min: i64::try_from(data.cdr_keep_days_min).unwrap_or(i64::MAX).saturating_mul(MILLIS_PER_DAY),
        }
    }
}

/// What retention removed, and what it would have if nobody needed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// CDRs.
    pub cdrs: u64,
    /// The octets of their files.
    pub octets: u64,
    /// The oldest that is kept.
    pub first_kept: CdrPosition,
    /// Octets of files that are past their retention and stay because somebody needs them.
    pub held_octets: u64,
    /// Octets that the store has now.
    pub left_octets: u64,
    /// Who needs the oldest CDR of those that are needed.
    pub holder: Option<Floor>,
    /// Whether the oldest file is needed: whatever its age, it stays.
    pub is_oldest_held: bool,
}

/// Removes the files of the CDR store that are past their retention at `now` and that nobody needs. The newest file always stays.
///
/// # Errors
/// [`CdrError`]: nothing is removed whose age cannot be read.
pub fn retire(cdrs: &Arc<CdrStore>, keep: Keep, now: Timestamp, retention: &Retention) -> Result<Removed, CdrError> {
    let _removing = retention.pause();
    let holder = retention.floor();
    let segments = cdrs.segments()?;
    let total: u64 = segments.iter().map(|(_, octets)| octets).sum();
    let mut removed = Removed { first_kept: cdrs.first_position(), left_octets: total, ..Removed::default() };
    let (before, mut left) = (removed.first_kept, total);
    for pair in segments.windows(2) {
        let [(_, octets), (next, _)] = *pair else { continue };
        let too_much = keep.octets.is_some_and(|most| left > most);
        let is_past = if too_much {
            keep.millis_min == 0 || is_older(cdrs, next, keep.millis_min, now)?
        } else {
            keep.millis.map_or(Ok(false), |millis| is_older(cdrs, next, millis.max(keep.millis_min), now))?
        };
        if !is_past {
            break;
        }
        left = left.saturating_sub(octets);
        // The file ends before `next`: it is needed if anything before that is.
        if removed.held_octets > 0 || holder.as_ref().is_some_and(|floor| floor.from < next) {
            removed.held_octets = removed.held_octets.saturating_add(octets);
        } else {
            removed.octets = removed.octets.saturating_add(octets);
            removed.first_kept = next;
        }
    }
    if removed.first_kept > before {
        cdrs.cut_below(removed.first_kept)?;
        removed.cdrs = removed.first_kept.get().saturating_sub(before.get());
    }
    removed.left_octets = total.saturating_sub(removed.octets);
    let next = segments.iter().map(|(first, _)| *first).find(|first| *first > removed.first_kept);
    removed.is_oldest_held = holder.as_ref().zip(next).is_some_and(|(floor, next)| floor.from < next);
    removed.holder = holder;
    Ok(removed)
}

/// Whether the CDR at a position was accepted longer ago than so many milliseconds.
fn is_older(cdrs: &Arc<CdrStore>, position: CdrPosition, millis: i64, now: Timestamp) -> Result<bool, CdrError> {
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
    pub(crate) retention: Arc<Retention>,
    pub(crate) consumers: Arc<Consumers>,
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
            let (mut due, mut measured, mut warned) = (Instant::now(), Instant::now(), Warned::default());
            while !over.load(Ordering::Acquire) {
                if Instant::now() >= measured {
                    measured = Instant::now() + MEASURE;
                    self.telemetry.consumers(&self.consumers.standings(), self.clock.now());
                }
                if Instant::now() >= due {
                    due = Instant::now() + INTERVAL;
                    match self.retire(&mut warned) {
                        Ok(holder) => self.watch_room(&mut warned, holder.as_ref()),
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

    fn watch_room(&self, warned: &mut Warned, holder: Option<&Floor>) {
        let folder = &self.data.folder;
        match room(folder) {
            Ok(Room { size, free }) => {
                self.telemetry.disk(size, free);
                let low = free < self.data.free_gib_warn.saturating_mul(1 << 30);
                if is_news(&mut warned.room, low) {
                    tracing::warn!(
                        free_mib = free >> 20,
                        folder = %folder.display(),
                        cdrs_held_by = holder.map(|floor| &*floor.holder),
                        cdrs_held_from = holder.map(|floor| floor.from.get()),
                        "the disk is nearly full; when it is full the process ends: make room, or shorten data.cdr_keep_days or \
                         data.cdr_keep_gib"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, folder = %folder.display(), "free space cannot be measured"),
        }
    }

    fn retire(&self, warned: &mut Warned) -> Result<Option<Floor>, CdrError> {
        let keep = Keep::of(&self.data);
        let removed = retire(&self.cdrs, keep, self.clock.now(), &self.retention)?;
        if removed.cdrs > 0 {
            tracing::info!(
                cdrs = removed.cdrs,
                octets = removed.octets,
                first_kept = removed.first_kept.get(),
                "CDRs past their retention were removed"
            );
        }
        let limit = keep.octets.unwrap_or(0);
        let near = limit > 0 && removed.left_octets / 100 >= limit / 10_000 * NEAR_PERCENT;
        if let Some(Floor { from, holder }) = &removed.holder
            && is_news(&mut warned.held, removed.held_octets > 0 || near && removed.is_oldest_held)
        {
            tracing::warn!(
                %holder,
                from = from.get(),
                held_octets = removed.held_octets,
                store_octets = removed.left_octets,
                limit_octets = limit,
                "CDRs are kept beyond their retention, or soon will be, because somebody has not acknowledged them; nothing of it is \
                 removed, and the disk fills: get the holder going again, or reset or delete it (ocs consumer)"
            );
        }
        self.telemetry.cdr_store(&removed, limit);
        Ok(removed.holder)
    }
}

/// When it was last warned of what.
#[derive(Default)]
struct Warned {
    room: Option<Instant>,
    held: Option<Instant>,
}

/// Whether to warn, of what is so or is not: not again too soon.
fn is_news(warned: &mut Option<Instant>, is_so: bool) -> bool {
    if !is_so {
        *warned = None;
        return false;
    }
    let news = warned.is_none_or(|at| at.elapsed() >= WARN_AGAIN);
    if news {
        *warned = Some(Instant::now());
    }
    news
}
