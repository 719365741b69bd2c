//! Accounting documents to checked [`Periods`].

use std::str::FromStr;
use std::sync::Arc;

use rating_engine::calendar::Zone;
use rating_engine::period::Period;
use rating_engine::periods::Periods;
use rating_engine::time::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::text::{parse_instant, pattern};
use super::{CatalogueError, Check, Form, check_name};

/// Accounting periods, and which of them are closed. The highest version counts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Accounting")]
pub(super) struct Document {
    /// A name: letters, digits, '-', '_', '.'.
    #[schemars(regex(pattern = pattern::NAME))]
    accounting: String,
    /// The version's number; closing a period is to say a higher one.
    version: u32,
    /// IANA name of the zone whose wall clock counts; left out: UTC.
    time_zone: Option<String>,
    /// First instant of the first period: 2027-01-01.
    from: String,
    /// How long each is: P1M.
    #[schemars(regex(pattern = pattern::PERIOD))]
    period: String,
    /// First instant of the oldest period that is open; left out: all are.
    closed_until: Option<String>,
}

/// The next version of `periods`, in which all that begin before `until` (by their wall clock) are closed.
///
/// # Errors
/// Why they cannot be; for people.
pub fn closing(periods: &Periods, until: &str, now: Timestamp) -> Result<String, String> {
    let cycle = periods.cycle();
    let until = parse_instant(until, &cycle.zone)?;
    if until <= periods.closed_until() {
        return Err(format!("periods before {} are closed already", periods.closed_until()));
    }
    if until > now {
        return Err(format!("{until} has not come yet: a period is closed when it is over"));
    }
    Ok(format!(
        "accounting: periods\nversion: {}\ntime_zone: {}\nfrom: {}\nperiod: {}\nclosed_until: {until}\n",
        periods.version().saturating_add(1),
        cycle.zone.name(),
        cycle.anchor,
        cycle.period,
    ))
}

/// Parses one accounting document; its hash is of what it says.
pub(super) fn parse(text: &str, form: Form) -> Result<(Arc<Periods>, [u8; 32]), CatalogueError> {
    let document: Document = super::read(text, form)?;
    let mut check = Check::default();
    check_name(&mut check, "accounting", &document.accounting);
    let zone = check.take("time_zone", Zone::get(document.time_zone.as_deref().unwrap_or("UTC")));
    let zone = zone.unwrap_or_else(Zone::utc);
    let from = check.take("from", parse_instant(&document.from, &zone));
    let period = check.take("period", Period::from_str(&document.period));
    let closed = document.closed_until.as_ref();
    let closed = closed.and_then(|text| check.take("closed_until", parse_instant(text, &zone)));
    let (true, Some(from), Some(period)) = (check.problems.is_empty(), from, period) else {
        return Err(CatalogueError::Problems(check.problems));
    };
    let form = serde_json::json!([
        "accounting",
        document.version,
        zone.name(),
        from.millis(),
        period.to_string(),
        closed.map(|closed| closed.millis()),
    ]);
    let periods = Periods::new(document.version, from, period, zone, closed).map_err(CatalogueError::Problems)?;
    Ok((Arc::new(periods), Sha256::digest(form.to_string().as_bytes()).into()))
}
