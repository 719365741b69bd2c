//! How often: a bucket of so many a second, in whole numbers. Time is an argument.

use std::time::Duration;

/// What one of them costs, in billionths of one.
const ONE: u64 = 1_000_000_000;

/// The most a second.
pub(super) const PER_SECOND_MAX: u32 = 1_000_000;

/// Lets through so many a second, and as many at once after a second of rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    per_second: u32,
    /// What may still be taken, in billionths of one.
    left: u64,
    /// When that was reckoned; since whatever the caller counts from.
    at: Duration,
}

impl Bucket {
    /// Full.
    pub(super) const fn new(per_second: u32, now: Duration) -> Self {
        Self { per_second, left: Self::full(per_second), at: now }
    }

    const fn full(per_second: u32) -> u64 {
        ONE.saturating_mul(per_second as u64)
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long to wait for it: nothing was taken.
    pub(super) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let since = u64::try_from(now.saturating_sub(self.at).as_nanos()).unwrap_or(u64::MAX);
        let more = since.saturating_mul(self.per_second.into());
        self.left = self.left.saturating_add(more).min(Self::full(self.per_second));
        self.at = self.at.max(now);
        match self.left.checked_sub(ONE) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                let short = ONE.saturating_sub(self.left);
                Err(Duration::from_nanos(short.checked_div(self.per_second.into()).map_or(u64::MAX, |ns| ns + 1)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_a_second_as_said_whatever_comes() {
        let mut bucket = Bucket::new(3, Duration::from_secs(100));
        let mut at = Duration::from_secs(100);
        for _ in 0..3 {
            assert_eq!(bucket.take(at), Ok(()));
        }
        let wait = bucket.take(at).unwrap_err();
        assert_eq!(wait, Duration::from_nanos(333_333_334), "a third of a second");
        assert!(bucket.take(at + wait - Duration::from_nanos(2)).is_err());
        at += wait;
        assert_eq!(bucket.take(at), Ok(()), "after what it was told to wait");
        // Asked a thousand times a second for ten seconds, it lets through 3 a second.
        let let_through = (0..10_000).filter(|ms| bucket.take(at + Duration::from_millis(*ms)).is_ok()).count();
        assert_eq!(let_through, 29, "the one before was of the first second");
        at += Duration::from_secs(86_400);
        assert_eq!((0..10).filter(|_| bucket.take(at).is_ok()).count(), 3, "rest is saved up for one second only");
        assert!(bucket.take(Duration::ZERO).is_err(), "time that goes back gives nothing");
        let mut most = Bucket::new(PER_SECOND_MAX, Duration::ZERO);
        assert_eq!(most.take(Duration::MAX), Ok(()));
    }
}
