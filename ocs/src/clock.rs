//! Where time comes from: the only place that reads a clock for charging.
//!
//! A real clock begins at the system's time and then follows the system's monotonic clock, adjusted now and then
//! ([`Clock::adjust`]): forward at once, back by going a little slower. So it never runs backwards and never stands
//! still, whatever happens to the system's time. A manual clock (`ocs dev --clock manual`) moves only when it is told to.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rating_engine::time::Timestamp;

/// A step of the system's clock beyond this, milliseconds, is an alarm.
pub const STEP_MILLIS_MAX: i64 = 5000;

/// A clock that is ahead of the system's goes slower by one part in so many.
const SLOWER_BY: i64 = 100;

/// A clock.
#[derive(Debug)]
pub struct Clock {
    /// The latest time given, milliseconds.
    latest: AtomicI64,
    /// What time passes by; a manual clock has none.
    passing: Option<Passing>,
}

#[derive(Debug)]
struct Passing {
    began: Instant,
    /// What to add to the milliseconds since.
    offset: AtomicI64,
    /// When it was adjusted last, milliseconds since it began.
    adjusted: AtomicI64,
    /// How far the system's clock was behind then, milliseconds.
    behind: AtomicI64,
}

impl Passing {
    fn elapsed(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// What an adjustment found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adjustment {
    /// How far the system's clock is behind this one, milliseconds.
    pub behind: i64,
    /// A step of the system's clock beyond [`STEP_MILLIS_MAX`], forward or, below 0, back; otherwise 0.
    pub step: i64,
}

/// A manual clock was asked to go back, or a real one to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockError {
    /// The clock is real; only a manual one can be moved.
    NotManual,
    /// Time only moves forward; it is already this late.
    Backwards(Timestamp),
}

impl std::fmt::Display for ClockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotManual => {
                f.write_str("the clock follows the system; start with `ocs dev --clock manual` to move it")
            }
            Self::Backwards(now) => write!(f, "time only moves forward, and it is already {now}"),
        }
    }
}

impl std::error::Error for ClockError {}

impl Clock {
    /// The system's clock.
    pub fn real() -> Self {
        let start = system_millis();
        let (adjusted, behind) = (AtomicI64::new(0), AtomicI64::new(0));
        let passing = Passing { began: Instant::now(), offset: AtomicI64::new(start), adjusted, behind };
        Self { latest: AtomicI64::new(start), passing: Some(passing) }
    }

    /// A clock that stands at `start` until it is moved.
    pub const fn manual(start: Timestamp) -> Self {
        Self { latest: AtomicI64::new(start.millis()), passing: None }
    }

    /// Now; never earlier than before.
    pub fn now(&self) -> Timestamp {
        let Some(passing) = &self.passing else {
            return Timestamp::from_millis(self.latest.load(Ordering::Acquire));
        };
        let millis = passing.elapsed().saturating_add(passing.offset.load(Ordering::Acquire));
        let before = self.latest.fetch_max(millis, Ordering::AcqRel);
        Timestamp::from_millis(before.max(millis))
    }

    /// Whether it is a manual one.
    pub const fn is_manual(&self) -> bool {
        self.passing.is_none()
    }

    /// Goes on from `at` if it is earlier than that: what has happened is never in the future.
    pub fn not_before(&self, at: Timestamp) {
        let now = self.now();
        if let Some(passing) = &self.passing
            && now < at
        {
            passing.offset.fetch_add(at.millis().saturating_sub(now.millis()), Ordering::AcqRel);
        }
        self.latest.fetch_max(at.millis(), Ordering::AcqRel);
    }

    /// Compares with the system's time and follows it: forward at once, back by going slower. For one thread, now and
    /// then; a manual clock stays as it is.
    pub fn adjust(&self) -> Adjustment {
        self.adjust_to(system_millis())
    }

    fn adjust_to(&self, system: i64) -> Adjustment {
        let Some(passing) = &self.passing else { return Adjustment::default() };
        let elapsed = passing.elapsed();
        let ahead = elapsed.saturating_add(passing.offset.load(Ordering::Acquire)).saturating_sub(system);
        let before = passing.behind.swap(ahead.max(0), Ordering::AcqRel);
        // Less what was ahead before, which is being worked off.
        let moved = before.saturating_sub(ahead);
        let step = if moved.saturating_abs() > STEP_MILLIS_MAX { moved } else { 0 };
        if ahead <= 0 {
            passing.offset.fetch_sub(ahead, Ordering::AcqRel);
            passing.adjusted.store(elapsed, Ordering::Release);
        } else {
            let slower = elapsed.saturating_sub(passing.adjusted.load(Ordering::Acquire)).max(0) / SLOWER_BY;
            passing.offset.fetch_sub(slower.min(ahead), Ordering::AcqRel);
            passing.adjusted.fetch_add(slower.saturating_mul(SLOWER_BY), Ordering::AcqRel);
        }
        Adjustment { behind: ahead.max(0), step }
    }

    /// Moves a manual clock forward to `to`.
    ///
    /// # Errors
    /// When the clock is real or `to` lies behind it.
    pub fn set(&self, to: Timestamp) -> Result<Timestamp, ClockError> {
        if !self.is_manual() {
            return Err(ClockError::NotManual);
        }
        let before = self.latest.fetch_max(to.millis(), Ordering::AcqRel);
        if before > to.millis() {
            return Err(ClockError::Backwards(Timestamp::from_millis(before)));
        }
        Ok(to)
    }

    /// Moves a manual clock forward by so many milliseconds.
    ///
    /// # Errors
    /// When the clock is real.
    pub fn advance(&self, millis: u64) -> Result<Timestamp, ClockError> {
        if !self.is_manual() {
            return Err(ClockError::NotManual);
        }
        let by = i64::try_from(millis).unwrap_or(i64::MAX);
        let before = self
            .latest
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| Some(now.saturating_add(by)))
            .unwrap_or_default();
        Ok(Timestamp::from_millis(before.saturating_add(by)))
    }
}

fn system_millis() -> i64 {
    let read = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(read.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_goes_on_when_the_system_steps_back_and_the_step_is_told_once() {
        let clock = Clock::real();
        let start = clock.now();
        let back = system_millis() - 3_600_000;
        let told = clock.adjust_to(back);
        assert!((3_599_000..=3_601_000).contains(&told.behind), "{told:?}");
        assert!((-3_601_000..=-3_599_000).contains(&told.step), "{told:?}");
        std::thread::sleep(Duration::from_millis(250));
        let again = clock.adjust_to(back + 250);
        assert_eq!(again.step, 0, "{again:?}");
        assert!(again.behind > 3_599_000, "{again:?}");
        let passed = clock.now().millis() - start.millis();
        assert!(passed >= 240, "{passed} ms passed in 250");
        // It went slower by one part in a hundred.
        let passing = clock.passing.as_ref().unwrap();
        assert!(passing.offset.load(Ordering::Acquire) <= start.millis() - 2);
        // And the step back to the right time is no step of ours.
        assert!(clock.adjust_to(system_millis()).step > 3_599_000);
        assert!((0..1000).contains(&(clock.now().millis() - system_millis()).abs()));
    }

    #[test]
    fn a_step_forward_is_followed_and_told() {
        let clock = Clock::real();
        assert_eq!(clock.adjust().step, 0);
        let ahead = system_millis() + 60_000;
        let told = clock.adjust_to(ahead);
        assert!(told.step > 59_000 && told.behind == 0, "{told:?}");
        assert!(clock.now().millis() >= ahead);
    }

    #[test]
    fn what_has_happened_is_never_in_the_future() {
        let later = Timestamp::from_millis(system_millis() + 86_400_000);
        for clock in [Clock::real(), Clock::manual(Timestamp::from_seconds(1))] {
            clock.not_before(later);
            assert!(clock.now() >= later);
        }
        let clock = Clock::real();
        clock.not_before(later);
        std::thread::sleep(Duration::from_millis(20));
        assert!(clock.now() > later, "time goes on");
        let told = clock.adjust();
        assert!(told.behind > 86_000_000 && told.step < -86_000_000, "{told:?}");
    }

    #[test]
    fn a_manual_clock_moves_forward_only() {
        let clock = Clock::manual(Timestamp::from_seconds(10));
        assert_eq!(clock.advance(500), Ok(Timestamp::from_millis(10_500)));
        assert!(matches!(clock.set(Timestamp::from_seconds(9)), Err(ClockError::Backwards(_))));
        assert_eq!(clock.now(), Timestamp::from_millis(10_500));
        assert_eq!(Clock::real().advance(1), Err(ClockError::NotManual));
    }
}
