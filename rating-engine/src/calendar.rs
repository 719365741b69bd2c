//! Windows of local time: which one is in force at an instant, and until when (R11, R14).
//!
//! A [`Calendar`] is a checked value: a time zone with its real clock changes, named windows, holidays. Whether an instant
//! is in a window depends only on what the local wall clock shows then: an hour that occurs twice in autumn counts twice,
//! one that is skipped in spring never matches. Time zones come from the bundled IANA database. Nothing here reads a
//! clock.

use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::tariff::Problem;
use crate::time::{DAY_MILLIS, Timestamp, civil, days_from_civil};

/// Windows of one calendar.
pub const WINDOWS_MAX: usize = 64;
/// Spans of one window.
pub const SPANS_MAX: usize = 64;
/// Holidays of one calendar.
pub const HOLIDAYS_MAX: usize = 1000;
/// How far ahead the next change is looked for, milliseconds.
const HORIZON_MILLIS: i64 = 3 * DAY_MILLIS;
/// Clock changes are kept up to this year; later ones are looked up.
const KEPT_UNTIL_YEAR: i64 = 2100;
/// Seconds of a day.
const DAY_SECONDS: u32 = 86_400;

/// A time zone of the IANA database.
#[derive(Clone)]
pub struct Zone(Arc<ZoneData>);

struct ZoneData {
    name: Box<str>,
    zone: TimeZone,
    /// The offset before the first change, milliseconds.
    first: i64,
    /// When the clock changes, and the offset from then on, both in milliseconds; up to [`KEPT_UNTIL_YEAR`].
    changes: Box<[(i64, i64)]>,
}

/// An instant in a zone.
#[derive(Clone, Copy)]
struct Local {
    /// What the wall clock shows, as milliseconds since its 1970-01-01T00:00.
    millis: i64,
    /// What it is ahead of UTC, milliseconds.
    offset: i64,
    /// When it changes next, UTC milliseconds.
    change: i64,
}

impl Zone {
    /// The zone of this IANA name.
    ///
    /// # Errors
    /// There is none; the message names one that is close.
    pub fn get(name: &str) -> Result<Self, String> {
        let zone = TimeZone::get(name).ok().filter(|zone| zone.iana_name().is_some());
        let Some(zone) = zone else {
            let mut hint = String::from("write an IANA name such as Europe/Berlin");
            let wanted = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
            let near = jiff::tz::db().available().find(|known| {
                let known = known.as_str().to_ascii_lowercase();
                known.rsplit('/').next() == Some(wanted.as_str())
            });
            if let Some(near) = near {
                hint = format!("did you mean {near}?");
            }
            return Err(format!("'{name}' is no time zone; {hint}"));
        };
        let offset = |zone: &TimeZone, at: jiff::Timestamp| i64::from(zone.to_offset(at).seconds()) * 1000;
        let until = days_from_civil(KEPT_UNTIL_YEAR, 1, 1) * DAY_MILLIS;
        let mut changes: Vec<(i64, i64)> = Vec::new();
        let first = offset(&zone, jiff::Timestamp::MIN);
        let mut before = first;
        for change in zone.following(jiff::Timestamp::MIN) {
            let (at, after) = (change.timestamp().as_millisecond(), i64::from(change.offset().seconds()) * 1000);
            if at >= until {
                break;
            }
            // The database also has changes of the name alone.
            if after != before {
                changes.push((at, after));
                before = after;
            }
        }
        let name = zone.iana_name().unwrap_or(name).into();
        Ok(Self(Arc::new(ZoneData { name, zone, first, changes: changes.into() })))
    }

    /// The zone whose wall clock shows UTC.
    pub fn utc() -> Self {
        Self(Arc::new(ZoneData { name: "UTC".into(), zone: TimeZone::UTC, first: 0, changes: Box::default() }))
    }

    /// Its IANA name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What the wall clock shows at `at`, as milliseconds since its 1970-01-01T00:00.
    pub fn shown(&self, at: Timestamp) -> i64 {
        self.local(at).millis
    }

    fn local(&self, at: Timestamp) -> Local {
        let millis = at.millis();
        let ZoneData { zone, first, changes, .. } = &*self.0;
        let begun = changes.partition_point(|(change, _)| *change <= millis);
        let offset = begun.checked_sub(1).and_then(|last| changes.get(last)).map_or(*first, |(_, offset)| *offset);
        if let Some((change, _)) = changes.get(begun) {
            return Local { millis: millis.saturating_add(offset), offset, change: *change };
        }
        if millis < days_from_civil(KEPT_UNTIL_YEAR, 1, 1) * DAY_MILLIS - HORIZON_MILLIS {
            return Local { millis: millis.saturating_add(offset), offset, change: i64::MAX };
        }
        // Far from now; beyond what the database can say the last it says goes on.
        let there = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
        let offset = i64::from(zone.to_offset(there).seconds()) * 1000;
        let change = zone.following(there).next().map_or(i64::MAX, |change| change.timestamp().as_millisecond());
        Local { millis: millis.saturating_add(offset), offset, change }
    }

    /// The instant at which the wall clock shows `local`, milliseconds since its 1970-01-01T00:00. One that does not exist
    /// is the first after the gap; one that exists twice is the first (R20).
    pub fn instant(&self, local: i64) -> Timestamp {
        let mut at = Timestamp::from_millis(local.saturating_sub(2 * DAY_MILLIS));
        for _ in 0..16 {
            let Local { offset, change, .. } = self.local(at);
            let here = local.saturating_sub(offset);
            if here < change {
                return Timestamp::from_millis(here);
            }
            at = Timestamp::from_millis(change);
            if local < change.saturating_add(self.local(at).offset) {
                return at;
            }
        }
        Timestamp::from_millis(local)
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name())
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// All of them, Monday first.
    pub const ALL: [Self; 7] =
        [Self::Monday, Self::Tuesday, Self::Wednesday, Self::Thursday, Self::Friday, Self::Saturday, Self::Sunday];

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// That of a day, so many days after 1970-01-01, which was a Thursday.
    fn of(day: i64) -> Self {
        let number = usize::try_from((day + 3).rem_euclid(7)).unwrap_or(0);
        Self::ALL.get(number).copied().unwrap_or(Self::Monday)
    }
}

/// A holiday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holiday {
    /// One date: year, month, day.
    Date(i16, u8, u8),
    /// A date of every year: month, day.
    Yearly(u8, u8),
    /// So many days after Easter Sunday (western), every year: Good Friday is -2.
    Easter(i16),
}

impl Holiday {
    fn is_on(self, (year, month, day): (i64, i64, i64), number: i64) -> bool {
        match self {
            Self::Date(y, m, d) => (i64::from(y), i64::from(m), i64::from(d)) == (year, month, day),
            Self::Yearly(m, d) => (i64::from(m), i64::from(d)) == (month, day),
            Self::Easter(offset) => easter(year) + i64::from(offset) == number,
        }
    }

    /// Whether there is such a date in some year.
    fn exists(self) -> bool {
        let is_date = |year: i64, month: u8, day: u8| {
            let (month, day) = (i64::from(month), i64::from(day));
            (1..=12).contains(&month) && civil(days_from_civil(year, month, day)) == (year, month, day)
        };
        match self {
            Self::Date(year, month, day) => is_date(year.into(), month, day),
            Self::Yearly(month, day) => is_date(2024, month, day),
            Self::Easter(offset) => (-70..=250).contains(&offset),
        }
    }
}

/// The day of Easter Sunday, days after 1970-01-01 (Gregorian computus).
fn easter(year: i64) -> i64 {
    let (golden, century) = (year.rem_euclid(19), year.div_euclid(100));
    let skipped = century - century / 4;
    let moon = (skipped - (8 * century + 13) / 25 + 19 * golden + 15).rem_euclid(30);
    let moon = moon - (moon / 28) * (1 - (moon / 28) * (29 / (moon + 1)) * ((21 - golden) / 11));
    let weekday = (year + year.div_euclid(4) + moon + 2 - skipped).rem_euclid(7);
    let from_march = moon - weekday;
    let month = 3 + (from_march + 40) / 44;
    days_from_civil(year, month, from_march + 28 - 31 * (month / 4))
}

/// Times of day on some days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// On these days of the week; any when empty.
    pub weekdays: Vec<Weekday>,
    /// On these days of the month, 1 to 31; any when empty.
    pub month_days: Vec<u8>,
    /// In these months, 1 to 12; any when empty.
    pub months: Vec<u8>,
    /// First second of the local day.
    pub from: u32,
    /// First second after it, at most 86,400; before `from` it is of the next day (R11).
    pub to: u32,
}

/// A named window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its name, unique in the calendar.
    pub name: Box<str>,
    /// It is in force in any of these.
    pub spans: Vec<Span>,
}

/// A window of a calendar: 0 is the default one, the others count from 1 in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowId(u8);

impl WindowId {
    /// The window of this number.
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// What is in force at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowAt {
    /// The window.
    pub window: WindowId,
    /// The first instant at which another one is, or an earlier one up to which nothing changes if that is more than three
    /// days ahead.
    pub until: Timestamp,
}

/// A span as it is looked at: sets as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Compiled {
    window: WindowId,
    weekdays: u8,
    month_days: u32,
    months: u16,
    from: u32,
    to: u32,
}

impl Compiled {
    fn is_on(&self, day: &Day) -> bool {
        self.weekdays & day.weekday != 0 && self.month_days & day.month_day != 0 && self.months & day.month != 0
    }

    /// As it is said, its sets in order and empty where they leave nothing out.
    fn span(&self) -> Span {
        fn unless_all<T>(some: Vec<T>, all: usize) -> Vec<T> {
            if some.len() == all { Vec::new() } else { some }
        }
        let weekdays = Weekday::ALL.into_iter().filter(|day| self.weekdays & day.bit() != 0).collect();
        let month_days = (1..=31u8).filter(|day| self.month_days & (1 << day) != 0).collect();
        let months = (1..=12u8).filter(|month| self.months & (1 << month) != 0).collect();
        Span {
            weekdays: unless_all(weekdays, 7),
            month_days: unless_all(month_days, 31),
            months: unless_all(months, 12),
            from: self.from,
            to: self.to,
        }
    }
}

/// A local day as spans see it, a bit each.
#[derive(Clone, Copy)]
struct Day {
    weekday: u8,
    month_day: u32,
    month: u16,
}

/// Windows of local time in one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    zone: Zone,
    /// The default one first.
    names: Box<[Box<str>]>,
    spans: Box<[Compiled]>,
    /// Seconds of the day at which anything may change, in order; midnight is always one.
    edges: Box<[u32]>,
    holidays: Box<[Holiday]>,
    holiday_as: Weekday,
}

impl Calendar {
    /// Takes the parts, or says every reason why they make no calendar.
    ///
    /// # Errors
    /// Each [`Problem`] names a place and says what is wrong there.
    pub fn new(
        zone: Zone,
        default: &str,
        windows: &[Window],
        holidays: Vec<Holiday>,
        holiday_as: Weekday,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut problem = |path: String, reason: &str| problems.push(Problem { path, reason: reason.to_owned() });
        if windows.len() > WINDOWS_MAX || holidays.len() > HOLIDAYS_MAX {
            problem("calendar".to_owned(), "a calendar has at most 64 windows and 1000 holidays");
        }
        let mut names: Vec<Box<str>> = vec![default.into()];
        let mut spans: Vec<Compiled> = Vec::new();
        for (number, window) in windows.iter().take(WINDOWS_MAX).enumerate() {
            let path = format!("calendar.windows[{number}]");
            if window.name.is_empty() || names.contains(&window.name) {
                problem(format!("{path}.name"), "a window needs a name that no other window of the calendar has");
            }
            if window.spans.is_empty() || window.spans.len() > SPANS_MAX {
                problem(format!("{path}.spans"), "a window has 1 to 64 spans");
            }
            let id = WindowId(u8::try_from(number + 1).unwrap_or(u8::MAX));
            let before = spans.len();
            for (number, span) in window.spans.iter().enumerate() {
                let path = |member: &str| format!("{path}.spans[{number}].{member}");
                if span.from == span.to {
                    problem(path("to"), "the span is empty; for a whole day write from 00:00 to 24:00");
                }
                if span.from >= DAY_SECONDS || span.to > DAY_SECONDS {
                    problem(path("from"), "a day has the times 00:00 to 23:59:59, and 24:00 as an end");
                }
                if span.month_days.iter().any(|day| !(1..=31).contains(day)) {
                    problem(path("month_days"), "days of the month are 1 to 31");
                }
                if span.months.iter().any(|month| !(1..=12).contains(month)) {
                    problem(path("months"), "months are 1 to 12");
                }
                spans.push(compile(id, span));
            }
            let (earlier, own) = spans.split_at(before);
            if !own.is_empty() && own.iter().all(|span| earlier.iter().any(|other| covers(other, span))) {
                problem(format!("{path}.spans"), "unreachable: earlier windows are in force at all of these times");
            }
            names.push(window.name.clone());
        }
        for (number, holiday) in holidays.iter().enumerate() {
            if !holiday.exists() {
                problem(format!("calendar.holidays[{number}]"), "there is no such date");
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut edges: Vec<u32> = spans.iter().flat_map(|span| [span.from, span.to % DAY_SECONDS]).collect();
        edges.push(0);
        edges.sort_unstable();
        edges.dedup();
        Ok(Self {
            zone,
            names: names.into(),
            spans: spans.into(),
            edges: edges.into(),
            holidays: holidays.into(),
            holiday_as,
        })
    }

    /// Its time zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// How many windows it has besides the default one.
    pub fn windows(&self) -> usize {
        self.names.len() - 1
    }

    /// The names of its windows, the default one first.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// The name of a window.
    pub fn name(&self, window: WindowId) -> &str {
        self.names.get(usize::from(window.0)).map_or("", |name| name)
    }

    /// The window of this name.
    pub fn id(&self, name: &str) -> Option<WindowId> {
        let place = self.names.iter().position(|known| **known == *name)?;
        u8::try_from(place).ok().map(WindowId)
    }

    /// The times of a window, in their order; what is of every day or month names none.
    pub fn spans(&self, window: WindowId) -> impl Iterator<Item = Span> {
        self.spans.iter().filter(move |span| span.window == window).map(Compiled::span)
    }

    /// Its holidays, as they were handed in.
    pub fn holidays(&self) -> &[Holiday] {
        &self.holidays
    }

    /// The day of the week that holidays count as.
    pub fn holiday_as(&self) -> Weekday {
        self.holiday_as
    }

    /// The window in force at `at`, and until when it surely is (R11, R14).
    pub fn window_at(&self, at: Timestamp) -> WindowAt {
        if self.spans.is_empty() {
            return WindowAt { window: WindowId(0), until: Timestamp::NEVER };
        }
        let mut local = self.zone.local(at);
        let window = self.window_of(local.millis);
        let horizon = at.millis().saturating_add(HORIZON_MILLIS);
        let mut here = at.millis();
        while here < horizon {
            let (day, millis) = (local.millis.div_euclid(DAY_MILLIS), local.millis.rem_euclid(DAY_MILLIS));
            let later = self.edges.iter().map(|edge| i64::from(*edge) * 1000).find(|edge| *edge > millis);
            let edge = day.saturating_mul(DAY_MILLIS).saturating_add(later.unwrap_or(DAY_MILLIS));
            let edge = edge.saturating_sub(local.offset);
            if edge < local.change {
                here = edge;
                local.millis = edge.saturating_add(local.offset);
            } else {
                here = local.change;
                local = self.zone.local(Timestamp::from_millis(here));
            }
            if here == i64::MAX || self.window_of(local.millis) != window {
                break;
            }
        }
        WindowAt { window, until: Timestamp::from_millis(here) }
    }

    /// The window in force when the wall clock shows `millis`.
    fn window_of(&self, millis: i64) -> WindowId {
        let day = millis.div_euclid(DAY_MILLIS);
        let second = u32::try_from(millis.rem_euclid(DAY_MILLIS) / 1000).unwrap_or(0);
        let (today, yesterday) = (self.day(day), self.day(day.saturating_sub(1)));
        let is_in = |span: &&Compiled| {
            if span.from < span.to {
                span.is_on(&today) && (span.from..span.to).contains(&second)
            } else {
                (second >= span.from && span.is_on(&today)) || (second < span.to && span.is_on(&yesterday))
            }
        };
        self.spans.iter().find(is_in).map_or(WindowId(0), |span| span.window)
    }

    fn day(&self, number: i64) -> Day {
        let date = civil(number);
        let is_holiday = self.holidays.iter().any(|holiday| holiday.is_on(date, number));
        let weekday = if is_holiday { self.holiday_as } else { Weekday::of(number) };
        Day { weekday: weekday.bit(), month_day: 1 << (date.2 & 31), month: 1 << (date.1 & 15) }
    }
}

fn compile(window: WindowId, span: &Span) -> Compiled {
    let weekdays = span.weekdays.iter().fold(0, |bits, day| bits | day.bit());
    let month_days = span.month_days.iter().fold(0, |bits, day| bits | 1 << (day & 31));
    let months = span.months.iter().fold(0, |bits, month| bits | 1 << (month & 15));
    Compiled {
        window,
        weekdays: if span.weekdays.is_empty() { u8::MAX } else { weekdays },
        month_days: if span.month_days.is_empty() { u32::MAX } else { month_days },
        months: if span.months.is_empty() { u16::MAX } else { months },
        from: span.from,
        to: span.to,
    }
}

/// Whether `other` is in force whenever `span` is.
fn covers(other: &Compiled, span: &Compiled) -> bool {
    let days = span.weekdays & !other.weekdays == 0
        && span.month_days & !other.month_days == 0
        && span.months & !other.months == 0;
    let over_midnight = |span: &Compiled| span.to < span.from;
    let times = match (over_midnight(other), over_midnight(span)) {
        (false, false) | (true, true) => other.from <= span.from && span.to <= other.to,
        (true, false) => other.from <= span.from,
        (false, true) => false,
    };
    days && times
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span(weekdays: &[Weekday], from: u32, to: u32) -> Span {
        Span { weekdays: weekdays.to_vec(), month_days: Vec::new(), months: Vec::new(), from, to }
    }

    fn window(name: &str, spans: Vec<Span>) -> Window {
        Window { name: name.into(), spans }
    }

    const HOUR: u32 = 3600;

    fn utc(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn berlin() -> Calendar {
        let weekend = [Weekday::Saturday, Weekday::Sunday];
        let windows = [
            window("night", vec![span(&[], 22 * HOUR, 6 * HOUR)]),
            window("weekend", vec![span(&weekend, 0, 24 * HOUR)]),
        ];
        let holidays = vec![Holiday::Yearly(12, 25), Holiday::Date(2027, 5, 6), Holiday::Easter(1)];
        Calendar::new(Zone::get("Europe/Berlin").unwrap(), "day", &windows, holidays, Weekday::Sunday).unwrap()
    }

    fn at(calendar: &Calendar, text: &str) -> (String, String) {
        let there = calendar.window_at(utc(text));
        (calendar.name(there.window).to_owned(), there.until.to_string())
    }

    #[test]
    fn windows_follow_the_wall_clock() {
        let calendar = berlin();
        // Winter: UTC+1. Wednesday 13 January 2027.
        for (instant, name, until) in [
            ("2027-01-13T12:00:00Z", "day", "2027-01-13T21:00:00.000Z"),
            ("2027-01-13T20:59:59Z", "day", "2027-01-13T21:00:00.000Z"),
            ("2027-01-13T21:00:00Z", "night", "2027-01-14T05:00:00.000Z"),
            ("2027-01-14T04:59:59Z", "night", "2027-01-14T05:00:00.000Z"),
            ("2027-01-14T05:00:00Z", "day", "2027-01-14T21:00:00.000Z"),
            // Friday night is night until Saturday 06:00, then weekend.
            ("2027-01-15T22:00:00Z", "night", "2027-01-16T05:00:00.000Z"),
            ("2027-01-16T05:00:00Z", "weekend", "2027-01-16T21:00:00.000Z"),
            // Summer: UTC+2.
            ("2027-07-14T19:59:59Z", "day", "2027-07-14T20:00:00.000Z"),
            ("2027-07-14T20:00:00Z", "night", "2027-07-15T04:00:00.000Z"),
            // Ascension Day 2027 (a Thursday) and Easter Monday count as Sundays.
            ("2027-05-06T10:00:00Z", "weekend", "2027-05-06T20:00:00.000Z"),
            ("2027-03-29T10:00:00Z", "weekend", "2027-03-29T20:00:00.000Z"),
            ("2027-03-30T10:00:00Z", "day", "2027-03-30T20:00:00.000Z"),
        ] {
            assert_eq!(at(&calendar, instant), (name.to_owned(), until.to_owned()), "{instant}");
        }
    }

    /// The night of 28 March 2027 has 7 hours in Berlin, that of 31 October 2027 has 9.
    #[test]
    fn nights_of_the_clock_change_are_shorter_and_longer() {
        let calendar = berlin();
        assert_eq!(at(&calendar, "2027-03-27T21:00:00Z").1, "2027-03-28T04:00:00.000Z");
        assert_eq!(at(&calendar, "2027-10-30T20:00:00Z").1, "2027-10-31T05:00:00.000Z");
        let hour = [window("two to three", vec![span(&[], 2 * HOUR, 3 * HOUR)])];
        for (zone, spring, autumn_first, autumn_second) in [
            ("Europe/Berlin", "2027-03-28T01:30:00Z", "2027-10-31T00:30:00Z", "2027-10-31T01:30:00Z"),
            ("America/New_York", "2027-03-14T07:30:00Z", "2027-11-07T06:30:00Z", "2027-11-07T07:30:00Z"),
        ] {
            let calendar = Calendar::new(Zone::get(zone).unwrap(), "else", &hour, Vec::new(), Weekday::Sunday).unwrap();
            assert_eq!(at(&calendar, spring).0, "else", "{zone}: 02:30 is skipped");
            if zone == "Europe/Berlin" {
                assert_eq!(at(&calendar, autumn_first).0, "two to three", "02:30 for the first time");
                assert_eq!(at(&calendar, autumn_second).0, "two to three", "02:30 for the second time");
            } else {
                assert_eq!(at(&calendar, autumn_first).0, "else", "01:30 for the second time");
                assert_eq!(at(&calendar, autumn_second).0, "two to three", "02:30 once");
            }
        }
    }

    #[test]
    fn days_of_the_month_and_half_hour_zones() {
        let first = Span { month_days: vec![1], ..span(&[], 0, 24 * HOUR) };
        let windows = [window("first", vec![first])];
        let zone = Zone::get("Asia/Kolkata").unwrap();
        let calendar = Calendar::new(zone, "else", &windows, Vec::new(), Weekday::Sunday).unwrap();
        assert_eq!(at(&calendar, "2027-02-28T18:29:59Z"), ("else".to_owned(), "2027-02-28T18:30:00.000Z".to_owned()));
        assert_eq!(at(&calendar, "2027-02-28T18:30:00Z"), ("first".to_owned(), "2027-03-01T18:30:00.000Z".to_owned()));
        // 2024 has a 29 February.
        assert_eq!(at(&calendar, "2024-02-28T20:00:00Z").0, "else");
        assert_eq!(at(&calendar, "2024-02-29T18:30:00Z").0, "first");
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_starts_on() {
        let windows = [window("friday night", vec![span(&[Weekday::Friday], 22 * HOUR, 6 * HOUR)])];
        let calendar = Calendar::new(
            Zone::get("UTC").unwrap(),
            "else",
            &windows,
            vec![Holiday::Date(2027, 1, 15)],
            Weekday::Sunday,
        )
        .unwrap();
        // 8 January 2027 is a Friday, 15 January too, but a holiday, which counts as a Sunday.
        assert_eq!(at(&calendar, "2027-01-09T05:59:59Z").0, "friday night");
        assert_eq!(at(&calendar, "2027-01-08T05:59:59Z").0, "else");
        assert_eq!(at(&calendar, "2027-01-15T23:00:00Z").0, "else");
        assert_eq!(at(&calendar, "2027-01-16T01:00:00Z").0, "else");
    }

    #[test]
    fn easter_is_where_it_is() {
        for (year, month, day) in [(2024, 3, 31), (2025, 4, 20), (2026, 4, 5), (2027, 3, 28), (2038, 4, 25)] {
            assert_eq!(civil(easter(year)), (year, month, day));
        }
    }

    #[test]
    fn every_problem_is_named() {
        let windows = [
            window("a", vec![span(&[], 0, 0)]),
            window("a", vec![span(&[], 90_000, 100)]),
            window("all", vec![span(&[], 0, 24 * HOUR)]),
            window("never", vec![span(&[Weekday::Monday], HOUR, 2 * HOUR)]),
        ];
        let holidays = vec![Holiday::Yearly(2, 30)];
        let problems = Calendar::new(Zone::get("UTC").unwrap(), "else", &windows, holidays, Weekday::Sunday);
        let paths: Vec<String> = problems.unwrap_err().into_iter().map(|problem| problem.path).collect();
        assert_eq!(
            paths,
            [
                "calendar.windows[0].spans[0].to",
                "calendar.windows[1].name",
                "calendar.windows[1].spans[0].from",
                "calendar.windows[3].spans",
                "calendar.holidays[0]",
            ]
        );
        assert!(Zone::get("berlin").unwrap_err().ends_with("did you mean Europe/Berlin?"));
        assert!(Zone::get("Mars/Olympus").is_err());
    }

    /// What the wall clock shows, by way of jiff alone.
    fn naive(calendar: &Calendar, at: Timestamp) -> WindowId {
        let zone = TimeZone::get(calendar.zone().name()).unwrap();
        let shown = jiff::Timestamp::from_millisecond(at.millis()).unwrap().to_zoned(zone).datetime();
        let midnight = shown.date().to_zoned(TimeZone::UTC).unwrap().timestamp().as_millisecond();
        let second = i64::from(shown.hour()) * 3600 + i64::from(shown.minute()) * 60 + i64::from(shown.second());
        calendar.window_of(midnight + second * 1000)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The window is that of the wall clock, and `until` is the first minute at which that is another one.
        #[test]
        fn until_is_the_next_change(
            zone in prop::sample::select(vec![
                "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo", "UTC",
                "Africa/Cairo", "Pacific/Apia",
            ]),
            edges in prop::collection::vec((0u32..1440, 0u32..1440, 0u8..128), 1..4),
            minute in -40_000_000i64..80_000_000,
        ) {
            let spans = |(from, to, days): &(u32, u32, u8)| {
                let weekdays: Vec<_> = Weekday::ALL.into_iter().filter(|day| days & day.bit() != 0).collect();
                span(&weekdays, from * 60, if from == to { DAY_SECONDS } else { to * 60 })
            };
            let windows: Vec<Window> =
                edges.iter().enumerate().map(|(n, edge)| window(&format!("w{n}"), vec![spans(edge)])).collect();
            let zone = Zone::get(zone).unwrap();
            let Ok(calendar) = Calendar::new(zone, "else", &windows, Vec::new(), Weekday::Sunday) else { return Ok(()) };
            let begin = Timestamp::from_seconds(minute * 60);
            let there = calendar.window_at(begin);
            prop_assert_eq!(there.window, naive(&calendar, begin));
            let mut probe = begin;
            // Offsets of the nineteenth century have seconds: from then on nothing changes but on a minute.
            while minute > -25_000_000 && probe < there.until {
                prop_assert_eq!(naive(&calendar, probe), there.window, "{} before {}", probe, there.until);
                probe = probe.plus_seconds(60);
            }
            if minute > -25_000_000 && there.until.millis() < begin.millis() + HORIZON_MILLIS {
                prop_assert_ne!(naive(&calendar, there.until), there.window);
            }
        }

        /// The instant of a wall clock time shows it, or is the first after a gap.
        #[test]
        fn instants_show_the_time_they_are_asked_for(
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]),
            minute in -10_000_000i64..60_000_000,
        ) {
            let zone = Zone::get(zone).unwrap();
            let local = minute * 60_000;
            let shown = zone.local(zone.instant(local)).millis;
            prop_assert!(shown >= local && shown - local <= DAY_MILLIS);
            if shown != local {
                let before = Timestamp::from_millis(zone.instant(local).millis() - 1);
                prop_assert!(zone.local(before).millis < local, "the gap is as short as it can be");
            }
        }
    }

    #[test]
    fn the_ends_of_time_are_no_trouble() {
        let calendar = berlin();
        for millis in [i64::MIN, i64::MAX, 0, -2_208_988_800_000, 4_102_444_800_000, 253_402_300_800_000] {
            let _ = calendar.window_at(Timestamp::from_millis(millis));
            let _ = calendar.zone().instant(millis);
        }
    }
}
