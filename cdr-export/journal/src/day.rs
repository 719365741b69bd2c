//! Days of the ledger: by the wall clock of one time zone.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use prost_types::Timestamp as WireTime;

use crate::Failure;

/// By whose wall clock a day begins.
#[derive(Clone, Debug)]
pub(crate) struct Days(TimeZone);

impl Days {
    /// Of a zone of the IANA database.
    pub(crate) fn of(zone: &str) -> Result<Self, Failure> {
        let found = TimeZone::get(zone);
        found.map(Self).map_err(|_| Failure(format!("--zone {zone}: is no time zone; write e.g. Europe/Berlin")))
    }

    /// The day of an instant, 2027-01-31; `None` where it is none.
    pub(crate) fn day(&self, at: Option<&WireTime>) -> Option<String> {
        let at = at.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())?;
        Some(at.to_zoned(self.0.clone()).date().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_of_its_zone_also_when_clocks_change() {
        let berlin = Days::of("Europe/Berlin").unwrap();
        let day = |seconds| berlin.day(Some(&WireTime { seconds, nanos: 0 })).unwrap();
        // 2027-03-27T22:59:59Z and a second later: midnight before clocks go forward; a day later it is at 22:00Z.
        assert_eq!((day(1_806_188_399), day(1_806_188_400)), ("2027-03-27".into(), "2027-03-28".into()));
        assert_eq!((day(1_806_271_199), day(1_806_271_200)), ("2027-03-28".into(), "2027-03-29".into()));
        assert_eq!(berlin.day(Some(&WireTime { seconds: i64::MAX, nanos: 0 })), None);
        assert!(Days::of("Mars/Olympus").is_err());
    }
}
