//! The watchdog of an open connection (RFC 3539 3.4.1): OKAY and SUSPECT.
//!
//! INITIAL and DOWN are states of those who connect, and a responder needs no REOPEN: the CER of the new connection has
//! proved that the peer lives. Sending and closing is the state machine's part; this file says when.

use std::time::{Duration, Instant};

/// The shortest interval, before jitter (RFC 3539 3.4.1).
pub const WATCHDOG_MIN: Duration = Duration::from_secs(6);

/// The interval varies by this much either way, so that peers do not beat in step (RFC 3539 3.4.1).
pub const WATCHDOG_JITTER: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Watchdog {
    suspect: bool,
    /// A DWR waits for its DWA.
    pending: bool,
    /// When the timer was last set.
    since: Instant,
    /// Drawn anew whenever the timer expires, not with every message: that is often enough to keep peers apart.
    interval: Duration,
    tw: Duration,
    jitter: u64,
}

/// What the expiry of the timer asks for.
pub(super) enum Expired {
    SendDwr,
    Suspect,
    Close,
}

impl Watchdog {
    /// Begins in OKAY; `seed` decides all later jitter.
    pub(super) fn new(tw: Duration, seed: u64, now: Instant) -> Self {
        let mut watchdog = Self { suspect: false, pending: false, since: now, interval: tw, tw, jitter: seed };
        watchdog.set(now);
        watchdog
    }

    pub(super) const fn is_okay(&self) -> bool {
        !self.suspect
    }

    pub(super) fn due(&self) -> Instant {
        self.since + self.interval
    }

    /// "Receive any message": sets the timer; `true` when that ended SUSPECT.
    pub(super) const fn heard(&mut self, now: Instant) -> bool {
        self.since = now;
        std::mem::replace(&mut self.suspect, false)
    }

    /// "Receive DWA".
    pub(super) const fn answered(&mut self) {
        self.pending = false;
    }

    /// "Timer expires".
    pub(super) fn expired(&mut self, now: Instant) -> Expired {
        self.set(now);
        if self.suspect {
            Expired::Close
        } else if self.pending {
            self.suspect = true;
            Expired::Suspect
        } else {
            self.pending = true;
            Expired::SendDwr
        }
    }

    /// "SetWatchdog()": the interval is Tw and up to [`WATCHDOG_JITTER`] more or less.
    fn set(&mut self, now: Instant) {
        self.since = now;
        // SplitMix64: a different sequence for each seed.
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.jitter ^ (self.jitter >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let spread_milliseconds = 2 * WATCHDOG_JITTER.as_millis() + 1;
        let more = u64::try_from(u128::from(mixed ^ (mixed >> 31)) % spread_milliseconds).unwrap_or_default();
        self.interval = self.tw.max(WATCHDOG_MIN) - WATCHDOG_JITTER + Duration::from_millis(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_stays_within_the_jitter_and_varies() {
        let now = Instant::now();
        for (tw, least) in [(30, 28), (1, 4)] {
            let mut watchdog = Watchdog::new(Duration::from_secs(tw), 1, now);
            let mut intervals = std::collections::BTreeSet::new();
            for _ in 0..1000 {
                let least = Duration::from_secs(least);
                assert!((least..=least + 2 * WATCHDOG_JITTER).contains(&watchdog.interval));
                intervals.insert(watchdog.interval);
                watchdog.set(now);
            }
            assert!(intervals.len() > 500);
        }
    }
}
