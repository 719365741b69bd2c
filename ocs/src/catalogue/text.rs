//! Values as people write them in documents: instants, days, times, holidays, quantities, pulses, rates.
//!
//! Each reader takes one text and gives a value, or says what is wrong and what to write instead.

use rating_engine::calendar::{Holiday, Weekday, Zone};
use rating_engine::context::Slice;
use rating_engine::money::{Rate, Ratio};
use rating_engine::tariff::Pulse;
use rating_engine::time::Timestamp;
use rating_engine::units::Unit;

/// A quantity, as a regular expression.
macro_rules! quantity {
    () => {
        r"\s*([0-9]+|[0-9]*\s*(B|[KMGT]iB|[kKMGT]B|s|sec|min|h|d|events?|sms|messages?))\s*"
    };
}

/// An amount of money, as a regular expression.
macro_rules! amount {
    () => {
        r"[+-]?(\.?[0-9_]+|[0-9_]+\.[0-9_]*)"
    };
}

/// What texts look like, for the JSON Schema: never narrower than their readers, which also know what stands elsewhere.
pub(super) mod pattern {
    pub(crate) const NAME: &str = "^[A-Za-z0-9._-]{1,64}$";
    pub(crate) const CURRENCY: &str = "^[A-Z]{3}$";
    pub(crate) const SERVICE: &str = r"^(data|voice|sms|mms|other-\+?[0-9]+)$";
    pub(crate) const HOLDING: &str = "^(second|octet|event|[A-Z]{3})$";
    pub(crate) const PERIOD: &str = "^P(([0-9]+Y)?([0-9]+M)?([0-9]+W)?([0-9]+D)?|T[0-9]+H)$";
    pub(crate) const MONEY: &str = concat!("^", amount!(), "$");
    pub(crate) const QUANTITY: &str = concat!("^", quantity!(), "$");
    pub(crate) const HELD: &str = concat!("^(", amount!(), "|", quantity!(), ")$");
    pub(crate) const PULSE: &str = concat!("^", quantity!(), "(/", quantity!(), ")?$");
    pub(crate) const RATE: &str = concat!(r"^\s*[0-9]+(\.[0-9]{0,12})?\s*(/", quantity!(), ")?$");
}

/// Reads an instant: `2027-01-01T00:00:00Z`, or without an offset as the wall clock of `zone` shows it, a date as its
/// midnight.
pub(crate) fn parse_instant(text: &str, zone: &Zone) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_millis(instant.as_millisecond()));
    }
    let local = text.parse::<jiff::civil::DateTime>();
    let local = local.map_err(|_| format!("'{text}' is no time; write e.g. 2027-01-01 or 2027-01-01T00:00:00Z"))?;
    let shown = jiff::tz::TimeZone::UTC.to_timestamp(local).map_err(|error| error.to_string())?;
    Ok(zone.instant(shown.as_millisecond()))
}

/// Reads `mon`, `monday`, or `mon-fri`.
pub(crate) fn parse_days(text: &str) -> Result<Vec<Weekday>, String> {
    let Some((first, last)) = text.split_once('-') else { return Ok(vec![parse_weekday(text)?]) };
    let (first, last) = (parse_weekday(first)?, parse_weekday(last)?);
    let all = Weekday::ALL.into_iter().cycle().skip_while(|day| *day != first);
    let until = all.clone().take_while(|day| *day != last).count();
    Ok(all.take(until + 1).collect())
}

pub(crate) fn parse_weekday(text: &str) -> Result<Weekday, String> {
    let lower = text.trim().to_ascii_lowercase();
    let name = |day: &Weekday| format!("{day:?}").to_ascii_lowercase();
    let day =
        Weekday::ALL.into_iter().find(|day| name(day) == lower || (lower.len() == 3 && name(day).starts_with(&lower)));
    day.ok_or_else(|| format!("'{text}' is no day; write mon, tue, wed, thu, fri, sat, sun, or mon-fri"))
}

/// Reads a time of day: `22:00`, `06:30:15`, `24:00`; seconds since midnight.
pub(crate) fn parse_time(text: &str) -> Result<u32, String> {
    let wrong = || format!("'{text}' is no time of day; write e.g. 22:00 or 24:00");
    let mut parts = text.split(':');
    let mut part = |most: u32| {
        let number = parts.next()?;
        let number = Some(number).filter(|digits| digits.len() == 2)?.parse::<u32>().ok()?;
        Some(number).filter(|number| *number <= most)
    };
    let (hours, minutes) = (part(24).ok_or_else(wrong)?, part(59).ok_or_else(wrong)?);
    let seconds = if text.len() > 5 { part(59).ok_or_else(wrong)? } else { 0 };
    let time = hours * 3600 + minutes * 60 + seconds;
    if parts.next().is_some() || time > 86_400 { Err(wrong()) } else { Ok(time) }
}

/// Reads a holiday: `2027-05-06`, `12-25` of every year, `easter`, `easter+1`, `easter-2`.
pub(crate) fn parse_holiday(text: &str) -> Result<Holiday, String> {
    let wrong = || format!("'{text}' is no holiday; write 2027-05-06, 12-25 for every year, or easter-2");
    if let Some(offset) = text.strip_prefix("easter") {
        let offset = if offset.is_empty() { Ok(0) } else { offset.parse() };
        return offset.map(Holiday::Easter).map_err(|_| wrong());
    }
    let parts: Vec<&str> = text.split('-').collect();
    let number = |text: &str| text.parse::<u8>().map_err(|_| wrong());
    match parts[..] {
        [year, month, day] => Ok(Holiday::Date(year.parse().map_err(|_| wrong())?, number(month)?, number(day)?)),
        [month, day] => Ok(Holiday::Yearly(number(month)?, number(day)?)),
        _ => Err(wrong()),
    }
}

/// Radio accesses by name, with their 3GPP-RAT-Type octets (TS 29.061 16.4.7).
const RATS: [(&str, &[u8]); 10] = [
    ("utran", &[1]),
    ("geran", &[2]),
    ("wlan", &[3]),
    ("gan", &[4]),
    ("hspa", &[5]),
    ("lte", &[6]),
    ("virtual", &[7]),
    ("nb-iot", &[8]),
    ("lte-m", &[9]),
    ("nr", &[10, 51]),
];

pub(crate) fn parse_rat(text: &str) -> Result<Vec<u8>, String> {
    if let Some((_, octets)) = RATS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Ok(octets.to_vec());
    }
    let names: Vec<&str> = RATS.iter().map(|(name, _)| *name).collect();
    let octet = text.parse::<u8>().map(|octet| vec![octet]);
    octet.map_err(|_| format!("'{text}' is no radio access; use {}, or a 3GPP-RAT-Type number", names.join(", ")))
}

/// Radio accesses by name where they have one and are named whole, else as numbers.
pub(crate) fn rat_names(octets: &[u8]) -> Vec<String> {
    let named = RATS.iter().filter(|(_, all)| all.iter().all(|octet| octets.contains(octet)));
    let names = named.clone().map(|(name, _)| (*name).to_owned());
    let is_named = |octet: &u8| named.clone().any(|(_, all)| all.contains(octet));
    names.chain(octets.iter().filter(|octet| !is_named(octet)).map(ToString::to_string)).collect()
}

/// Reads a slice: its type, and its differentiator as six hexadecimal digits where it has one: `1`, `1-000102`.
pub(crate) fn parse_slice(text: &str) -> Result<Slice, String> {
    let wrong = || format!("'{text}' is no slice; write its type 0 to 255, with a differentiator 1-000102");
    let (service_type, differentiator) = text.split_once('-').map_or((text, None), |(sst, sd)| (sst, Some(sd)));
    let differentiator = match differentiator {
        Some(digits) if digits.len() == 6 => Some(u32::from_str_radix(digits, 16).map_err(|_| wrong())?),
        Some(_) => return Err(wrong()),
        None => None,
    };
    Ok(Slice { service_type: service_type.parse().map_err(|_| wrong())?, differentiator })
}

/// Reads a quantity with its unit: `10 GiB`, `500 MB`, `3 min`, `90`.
pub(crate) fn parse_quantity(text: &str, unit: Unit) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let hint = match unit {
        Unit::Octet => "write e.g. 100 KiB, 10 MiB, 1 GiB or plain octets",
        Unit::Second => "write e.g. 90 s, 3 min, 1 h or plain seconds",
        Unit::Event => "write a whole number",
    };
    let number = if number.is_empty() { 1 } else { number.parse().map_err(|_| format!("'{text}' is too large"))? };
    let factor: u64 = match (unit, suffix.trim()) {
        (_, "") if split == 0 => return Err(format!("'{text}' is no quantity; {hint}")),
        (_, "") => 1,
        (Unit::Octet, "B") => 1,
        (Unit::Octet, "KiB") => 1 << 10,
        (Unit::Octet, "MiB") => 1 << 20,
        (Unit::Octet, "GiB") => 1 << 30,
        (Unit::Octet, "TiB") => 1 << 40,
        (Unit::Octet, "kB" | "KB") => 1_000,
        (Unit::Octet, "MB") => 1_000_000,
        (Unit::Octet, "GB") => 1_000_000_000,
        (Unit::Octet, "TB") => 1_000_000_000_000,
        (Unit::Second, "s" | "sec") => 1,
        (Unit::Second, "min") => 60,
        (Unit::Second, "h") => 3600,
        (Unit::Second, "d") => 86_400,
        (Unit::Event, "event" | "events" | "sms" | "message" | "messages") => 1,
        _ => return Err(format!("'{text}' is no quantity here; {hint}")),
    };
    factor.checked_mul(number).ok_or_else(|| format!("'{text}' is too large"))
}

/// Reads a pulse: `60/1`, or one length for both parts: `100 KiB`.
pub(crate) fn parse_pulse(text: &str, unit: Unit) -> Result<Pulse, String> {
    let (first, next) = text.split_once('/').unwrap_or((text, text));
    Pulse::new(parse_quantity(first, unit)?, parse_quantity(next, unit)?)
        .ok_or_else(|| format!("'{text}': both parts of a pulse must be above 0"))
}

/// Reads a rate: `0.09 / min`, `0.02/MiB`, `0.333 / 1 MiB`, `0.09` (per unit). Up to 12 decimals.
pub(crate) fn parse_rate(text: &str, unit: Unit) -> Result<Rate, String> {
    let (amount, per) = text.split_once('/').unwrap_or((text, "1"));
    let per = parse_quantity(per, unit)?;
    let amount = amount.trim();
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    let digits = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    if !digits || whole.is_empty() || fraction.len() > 12 {
        return Err(format!(
            "'{amount}' is no rate; write a positive decimal with at most 12 decimals, e.g. 0.09 / min"
        ));
    }
    // Micro-units with six decimals; finer digits make the quantity larger instead.
    let places = u32::try_from(fraction.len()).unwrap_or(0);
    let number: u64 = format!("{whole}{fraction}").parse().map_err(|_| format!("'{amount}' is too large"))?;
    let (micros, scale) = if places <= 6 {
        (number.checked_mul(10u64.pow(6 - places)), 1)
    } else {
        (Some(number), 10u64.pow(places - 6))
    };
    let micros = micros.ok_or_else(|| format!("'{amount}' is too large"))?;
    let per = per.checked_mul(scale).ok_or_else(|| format!("'{text}' is too fine"))?;
    Rate::new(micros, per).ok_or_else(|| format!("'{text}': the quantity must be above 0"))
}

/// Reads an exchange rate, so much for one: `0.9217`. Up to 12 decimals.
pub(crate) fn parse_ratio(text: &str) -> Result<Ratio, String> {
    let wrong =
        || format!("'{text}' is no exchange rate; write a decimal above 0 with at most 12 decimals, e.g. 0.9217");
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = whole.bytes().chain(fraction.bytes()).all(|octet| octet.is_ascii_digit());
    if !digits || whole.is_empty() || fraction.len() > 12 {
        return Err(wrong());
    }
    let fraction = fraction.trim_end_matches('0');
    let amount = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
    let per = 10u64.pow(u32::try_from(fraction.len()).unwrap_or(0));
    Ratio::new(amount, per).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_times_and_holidays_are_read() {
        assert_eq!(parse_days("fri-mon").unwrap().len(), 4);
        assert_eq!(parse_days("Sunday").unwrap(), [Weekday::Sunday]);
        assert!(parse_days("someday").is_err());
        assert_eq!(parse_time("24:00"), Ok(86_400));
        assert_eq!(parse_time("06:30:15"), Ok(23_415));
        for bad in ["24:01", "6:00", "06:60", "06:00:00:00", "noon", "06"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_holiday("easter-2"), Ok(Holiday::Easter(-2)));
        assert_eq!(parse_holiday("12-25"), Ok(Holiday::Yearly(12, 25)));
        assert_eq!(parse_holiday("2027-05-06"), Ok(Holiday::Date(2027, 5, 6)));
        assert!(parse_holiday("christmas").is_err());
        assert_eq!(parse_slice("1-000102"), Ok(Slice { service_type: 1, differentiator: Some(0x0102) }));
        assert!(parse_slice("1-1").is_err() && parse_slice("256").is_err());
    }

    #[test]
    fn rates_are_exact_at_any_scale() {
        assert_eq!(parse_rate("0.02/MiB", Unit::Octet), Ok(Rate::new(20_000, 1 << 20).unwrap()));
        assert_eq!(parse_rate("0.0000001 / s", Unit::Second), Ok(Rate::new(1, 10).unwrap()));
        assert_eq!(parse_rate("0.09", Unit::Event), Ok(Rate::new(90_000, 1).unwrap()));
        for bad in ["", "x", "1e3/min", "0.1/lightyear", "1/0", "0.1234567890123"] {
            assert!(parse_rate(bad, Unit::Second).is_err(), "{bad}");
        }
    }
}
