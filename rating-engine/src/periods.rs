//! Accounting periods: where a CDR is booked (R31, R43).
//!
//! Usage is booked in its own period while that is open, else in the oldest one that is, marked as late. Absent: who closes
//! one.

use crate::calendar::Zone;
use crate::period::{Cycle, Period};
use crate::tariff::Problem;
use crate::time::{DAY_MILLIS, Timestamp, days_from_civil};

/// Accounting periods that are kept: some four hundred years of months, or ten of days.
const KEPT_MAX: usize = 5000;
/// The last year of periods.
const UNTIL_YEAR: i64 = 2100;

/// Accounting periods, and which of them are closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Periods {
    /// Their number: that of the document that says them.
    version: u32,
    cycle: Cycle,
    /// Periods that begin before are closed.
    closed_until: Timestamp,
    /// Where each begins, ascending.
    starts: Box<[Timestamp]>,
}

/// Where something is booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booked {
    /// First instant of the accounting period.
    pub period: Timestamp,
    /// First instant of the period that it was used in: another one where that is closed (R31).
    pub usage_period: Timestamp,
}

impl Booked {
    /// Whether its own period was closed.
    pub fn is_late(self) -> bool {
        self.period != self.usage_period
    }
}

impl Periods {
    /// Periods of this length from `from` on, by the wall clock of `zone`; those that begin before `closed_until` are closed.
    ///
    /// # Errors
    /// Each [`Problem`] names a place and says what is wrong there.
    pub fn new(
        version: u32,
        from: Timestamp,
        period: Period,
        zone: Zone,
        closed_until: Option<Timestamp>,
    ) -> Result<Self, Vec<Problem>> {
        let cycle = Cycle { anchor: from, period, zone };
        let end = Timestamp::from_millis(days_from_civil(UNTIL_YEAR, 1, 1) * DAY_MILLIS);
        let starts = (0..).map(|number| period.after(from, number, &cycle.zone)).take_while(|start| *start < end);
        let starts: Box<[Timestamp]> = starts.take(KEPT_MAX).collect();
        let mut problems = Vec::new();
        let mut problem = |path: &str, reason: &str| {
            problems.push(Problem { path: path.to_owned(), reason: reason.to_owned() });
        };
        if starts.is_empty() {
            problem("from", "must be before the year 2100");
        }
        if closed_until.is_some_and(|closed| starts.binary_search(&closed).is_err()) {
            problem("closed_until", "no period begins then: name the first instant of the oldest that is to stay open");
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self { version, cycle, closed_until: closed_until.unwrap_or(from), starts })
    }

    /// The number of the document that says them.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// From where they are counted, how long they are and by whose clock.
    pub fn cycle(&self) -> &Cycle {
        &self.cycle
    }

    /// Periods that begin before are closed.
    pub fn closed_until(&self) -> Timestamp {
        self.closed_until
    }

    /// First instant of the period that `at` is in. Before the first and after the last there is only that one.
    pub fn start(&self, at: Timestamp) -> Timestamp {
        let begun = self.starts.partition_point(|start| *start <= at).max(1);
        self.starts.get(begun - 1).copied().unwrap_or(self.cycle.anchor)
    }

    /// First instant after it.
    pub fn end(&self, at: Timestamp) -> Timestamp {
        let begun = self.starts.partition_point(|start| *start <= at).max(1);
        self.starts.get(begun).copied().unwrap_or(Timestamp::NEVER)
    }

    /// Where what was used at `at` is booked.
    pub fn book(&self, at: Timestamp) -> Booked {
        let usage_period = self.start(at);
        Booked { period: usage_period.max(self.closed_until), usage_period }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn months(closed: Option<&str>) -> Result<Periods, Vec<Problem>> {
        let (month, zone) = (Period::months(1).unwrap(), Zone::get("Europe/Berlin").unwrap());
        Periods::new(3, utc("2025-12-31T23:00:00Z"), month, zone, closed.map(utc))
    }

    /// January 2027 is closed: what was used in it goes to February, marked; what was used in February stays there.
    #[test]
    fn late_usage_goes_to_the_oldest_open_period() {
        let periods = months(Some("2027-01-31T23:00:00Z")).unwrap();
        let february = utc("2027-01-31T23:00:00Z");
        let january = periods.book(utc("2027-01-31T22:59:59Z"));
        assert_eq!((january.period, january.usage_period), (february, utc("2026-12-31T23:00:00Z")));
        assert!(january.is_late());
        let open = periods.book(february);
        assert_eq!((open.period, open.is_late()), (february, false));
        // Summer time: April ends at 22:00Z.
        assert_eq!(periods.end(utc("2027-04-15T00:00:00Z")), utc("2027-04-30T22:00:00Z"));
        assert!(!months(None).unwrap().book(utc("2026-06-01T00:00:00Z")).is_late(), "nothing is closed");
        for end in [i64::MIN, i64::MAX] {
            let at = Timestamp::from_millis(end);
            assert!(periods.start(at) >= utc("2025-12-31T23:00:00Z") && periods.end(at) > periods.start(at));
        }
    }

    #[test]
    fn a_period_is_closed_whole() {
        let problems = months(Some("2027-01-31T12:00:00Z")).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path, "closed_until");
    }
}
