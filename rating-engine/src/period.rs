//! Lengths of calendar time and the cycles made of them: what a month is on a wall clock (R20).
//!
//! Months and days are counted on the local calendar and keep the time of day; hours are absolute. Absent: what happens
//! when a cycle turns over.

use std::fmt;
use std::str::FromStr;

use crate::calendar::Zone;
use crate::time::{DAY_MILLIS, Timestamp, civil, days_from_civil};

/// The longest period: 100 years.
const YEARS_MAX: u32 = 100;
/// How far beside the cycle that the mean length says the right one is at most.
const NEIGHBOURS_MAX: usize = 8;
/// Milliseconds of an hour.
const HOUR_MILLIS: i64 = 3_600_000;

/// A length of time, at least an hour: months and days of the local calendar, or absolute hours (R20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Period {
    months: u32,
    days: u32,
    hours: u32,
}

impl Period {
    /// How long it is in the mean of 400 years, milliseconds.
    fn mean_millis(self) -> i64 {
        // 146,097 days are 4,800 months.
        let of_months = i64::from(self.months).saturating_mul(146_097 * DAY_MILLIS / 4800);
        let of_days = i64::from(self.days).saturating_mul(DAY_MILLIS);
        let of_hours = i64::from(self.hours).saturating_mul(HOUR_MILLIS);
        of_months.saturating_add(of_days).saturating_add(of_hours)
    }

    /// So many months.
    pub const fn months(months: u32) -> Option<Self> {
        Self::new(months, 0, 0)
    }

    /// So many days.
    pub const fn days(days: u32) -> Option<Self> {
        Self::new(0, days, 0)
    }

    /// So many hours.
    pub const fn hours(hours: u32) -> Option<Self> {
        Self::new(0, 0, hours)
    }

    /// `None` when it is nothing, longer than a hundred years, or hours together with months or days.
    pub const fn new(months: u32, days: u32, hours: u32) -> Option<Self> {
        let is_something = months > 0 || days > 0 || hours > 0;
        let is_one_kind = hours == 0 || (months == 0 && days == 0);
        let fits = months <= YEARS_MAX * 12 && days <= YEARS_MAX * 366 && hours <= YEARS_MAX * 366 * 24;
        if is_something && is_one_kind && fits { Some(Self { months, days, hours }) } else { None }
    }

    /// Months, days and hours of it.
    pub const fn parts(self) -> (u32, u32, u32) {
        (self.months, self.days, self.hours)
    }

    /// The instant so many of these periods after `start` (before it where negative), by the wall clock of `zone`. Months
    /// are counted from `start` and clipped to the month's end: of P1M, two after 31 January is 31 March. An end that does
    /// not exist is the first instant after the gap, one that exists twice is the first (R20).
    pub fn after(self, start: Timestamp, times: i64, zone: &Zone) -> Timestamp {
        if times == 0 {
            return start;
        }
        if self.hours > 0 {
            let millis = times.saturating_mul(i64::from(self.hours)).saturating_mul(HOUR_MILLIS);
            return Timestamp::from_millis(start.millis().saturating_add(millis));
        }
        let local = zone.shown(start);
        let (day, time) = (local.div_euclid(DAY_MILLIS), local.rem_euclid(DAY_MILLIS));
        let (year, month, day_of_month) = civil(day);
        let months = year
            .saturating_mul(12)
            .saturating_add(month - 1)
            .saturating_add(times.saturating_mul(i64::from(self.months)));
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        if !(-9999..=9999).contains(&year) {
            return if times > 0 { Timestamp::NEVER } else { Timestamp::from_millis(i64::MIN) };
        }
        let last_day = days_from_civil(if month == 12 { year + 1 } else { year }, month % 12 + 1, 1) - 1;
        let day = days_from_civil(year, month, 1).saturating_add(day_of_month - 1).min(last_day);
        let day = day.saturating_add(times.saturating_mul(i64::from(self.days)));
        zone.instant(day.saturating_mul(DAY_MILLIS).saturating_add(time))
    }
}

impl fmt::Display for Period {
    /// As ISO 8601 writes it: `P1M`, `P28D`, `PT24H`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.hours > 0 { "PT" } else { "P" })?;
        for (number, letter) in [(self.months, 'M'), (self.days, 'D'), (self.hours, 'H')] {
            if number > 0 {
                write!(f, "{number}{letter}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no period; write e.g. P1M, P28D, P1Y or PT24H (hours by themselves)");
        let (mut rest, is_time) = match text.strip_prefix("PT") {
            Some(rest) => (rest, true),
            None => (text.strip_prefix('P').ok_or_else(wrong)?, false),
        };
        let (mut months, mut days, mut hours) = (0u32, 0u32, 0u32);
        let mut order = 0;
        while !rest.is_empty() {
            let end = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
            let number: u32 = rest.get(..end).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
            let mut letters = rest.get(end..).unwrap_or("").chars();
            let (place, total, factor) = match (letters.next(), is_time) {
                (Some('Y'), false) => (1, &mut months, 12),
                (Some('M'), false) => (2, &mut months, 1),
                (Some('W'), false) => (3, &mut days, 7),
                (Some('D'), false) => (4, &mut days, 1),
                (Some('H'), true) => (5, &mut hours, 1),
                _ => return Err(wrong()),
            };
            if place <= order {
                return Err(wrong());
            }
            order = place;
            *total = number.checked_mul(factor).and_then(|more| total.checked_add(more)).ok_or_else(wrong)?;
            rest = letters.as_str();
        }
        Self::new(months, days, hours).ok_or_else(wrong)
    }
}

/// Periods one after another, counted from an anchor: an account's billing cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Where one of them begins.
    pub anchor: Timestamp,
    /// How long each is.
    pub period: Period,
    /// Whose wall clock counts.
    pub zone: Zone,
}

impl Cycle {
    /// The months of the calendar.
    pub fn calendar_months(zone: &Zone) -> Self {
        Self { anchor: zone.instant(0), period: Period { months: 1, days: 0, hours: 0 }, zone: zone.clone() }
    }

    /// The one that `at` is in: its first instant, and the first of the next.
    pub fn at(&self, at: Timestamp) -> (Timestamp, Timestamp) {
        let begin = |number| self.period.after(self.anchor, number, &self.zone);
        // By their mean length it is this one or one beside it, beginnings clipped to the ends of months and all.
        let passed = at.millis().saturating_sub(self.anchor.millis());
        let mut number = passed.div_euclid(self.period.mean_millis());
        let (mut first, mut next) = (begin(number), begin(number.saturating_add(1)));
        for _ in 0..NEIGHBOURS_MAX {
            if first > at {
                number = number.saturating_sub(1);
                (first, next) = (begin(number), first);
            } else if next <= at {
                number = number.saturating_add(1);
                (first, next) = (next, begin(number.saturating_add(1)));
            } else {
                break;
            }
        }
        (first, next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utc(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn after(period: &str, zone: &str, start: &str, times: i64) -> String {
        let period: Period = period.parse().unwrap();
        period.after(utc(start), times, &Zone::get(zone).unwrap()).to_string().replace(".000Z", "Z")
    }

    /// R20, worked figure of the rules: one month from 31 January 10:00 ends 28 February 10:00.
    #[test]
    fn months_are_clipped_to_their_end_and_counted_from_the_start() {
        let months = |times| after("P1M", "UTC", "2027-01-31T10:00:00Z", times);
        assert_eq!(months(1), "2027-02-28T10:00:00Z");
        assert_eq!(months(2), "2027-03-31T10:00:00Z");
        assert_eq!(months(13), "2028-02-29T10:00:00Z");
        assert_eq!(months(-1), "2026-12-31T10:00:00Z");
        assert_eq!(after("P1Y", "UTC", "2024-02-29T00:00:00Z", 1), "2025-02-28T00:00:00Z");
        assert_eq!(after("P1Y", "UTC", "2024-02-29T00:00:00Z", 4), "2028-02-29T00:00:00Z");
    }

    /// R20: 12:00 to 12:00 over the spring clock change is 23 hours, over the autumn one 25; PT24H is always 24.
    #[test]
    fn days_keep_the_time_of_the_wall_clock_and_hours_do_not() {
        assert_eq!(after("P1D", "Europe/Berlin", "2027-03-27T11:00:00Z", 1), "2027-03-28T10:00:00Z");
        assert_eq!(after("PT24H", "Europe/Berlin", "2027-03-27T11:00:00Z", 1), "2027-03-28T11:00:00Z");
        assert_eq!(after("P1D", "Europe/Berlin", "2027-10-30T10:00:00Z", 1), "2027-10-31T11:00:00Z");
        assert_eq!(after("P1D", "America/New_York", "2027-03-13T17:00:00Z", 1), "2027-03-14T16:00:00Z");
        // 02:30 does not exist on 28 March: the first instant after the gap, 03:00.
        assert_eq!(after("P1D", "Europe/Berlin", "2027-03-27T01:30:00Z", 1), "2027-03-28T01:00:00Z");
        // 02:30 exists twice on 31 October: the first, in summer time.
        assert_eq!(after("P1D", "Europe/Berlin", "2027-10-30T00:30:00Z", 1), "2027-10-31T00:30:00Z");
        // A half-hour zone, and one that changes its clock by half an hour.
        assert_eq!(after("P1M", "Asia/Kolkata", "2027-01-31T18:30:00Z", 1), "2027-02-28T18:30:00Z");
        assert_eq!(after("P1D", "Australia/Lord_Howe", "2027-04-03T01:00:00Z", 1), "2027-04-04T01:30:00Z");
    }

    #[test]
    fn periods_are_written_as_in_iso_8601() {
        for (text, same) in
            [("P1M", "P1M"), ("P28D", "P28D"), ("PT24H", "PT24H"), ("P1Y", "P12M"), ("P2W", "P14D"), ("P1M2D", "P1M2D")]
        {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), same);
        }
        for bad in
            ["", "P", "PT", "1M", "P1", "PM", "P0D", "PT90M", "P1DT1H", "P1D1M", "P1M1M", "P-1M", "P99999Y", "p1m"]
        {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cycle_turns_over_at_its_local_instant() {
        let cycle = Cycle {
            anchor: utc("2027-01-30T23:00:00Z"),
            period: Period::months(1).unwrap(),
            zone: Zone::get("Europe/Berlin").unwrap(),
        };
        let at = |text: &str| {
            let (from, to) = cycle.at(utc(text));
            (from.to_string().replace(".000Z", "Z"), to.to_string().replace(".000Z", "Z"))
        };
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        // 31 January, 28 February, 31 March (now UTC+2), 30 April; midnights in Berlin.
        assert_eq!(at("2027-01-30T23:00:00Z"), pair("2027-01-30T23:00:00Z", "2027-02-27T23:00:00Z"));
        assert_eq!(at("2027-02-27T22:59:59Z"), pair("2027-01-30T23:00:00Z", "2027-02-27T23:00:00Z"));
        assert_eq!(at("2027-02-27T23:00:00Z"), pair("2027-02-27T23:00:00Z", "2027-03-30T22:00:00Z"));
        assert_eq!(at("2027-04-29T21:59:59Z"), pair("2027-03-30T22:00:00Z", "2027-04-29T22:00:00Z"));
        assert_eq!(at("2026-12-30T22:59:59Z"), pair("2026-11-29T23:00:00Z", "2026-12-30T23:00:00Z"));
        let months = Cycle::calendar_months(&Zone::get("Europe/Berlin").unwrap());
        assert_eq!(months.at(utc("2027-06-30T22:00:00Z")).0, utc("2027-06-30T22:00:00Z"));
        for end in [i64::MIN, i64::MAX] {
            let _ = months.at(Timestamp::from_millis(end));
        }
    }

    proptest! {
        /// Every instant is in exactly one cycle, and cycles follow one another without gap.
        #[test]
        fn cycles_leave_no_gap(
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
            period in prop::sample::select(vec!["P1M", "P28D", "PT24H", "P1D", "P1Y", "P3M"]),
            anchor in 1_500_000_000i64..2_500_000_000,
            at in 1_500_000_000i64..2_500_000_000,
        ) {
            let zone = Zone::get(zone).unwrap();
            let cycle = Cycle { anchor: Timestamp::from_seconds(anchor), period: period.parse().unwrap(), zone };
            let at = Timestamp::from_seconds(at);
            let (from, to) = cycle.at(at);
            prop_assert!(from <= at && at < to);
            prop_assert_eq!(cycle.at(to).0, to);
            prop_assert_eq!(cycle.at(Timestamp::from_millis(from.millis() - 1)).1, from);
        }
    }
}
