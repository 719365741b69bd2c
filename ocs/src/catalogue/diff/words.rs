//! Values as people say them: `0.09 EUR per minute`, `10 GiB`, `22:00 to 06:00 on sat, sun`.

use rating_engine::calendar::{Holiday, Span, Weekday, Zone};
use rating_engine::context::Slice;
use rating_engine::money::{Currency, Money, Rate, Ratio};
use rating_engine::period::Period;
use rating_engine::tariff::Pulse;
use rating_engine::time::Timestamp;
use rating_engine::units::Unit;

/// Decimals of a rate that are still easily read.
const EASY_DECIMALS: usize = 6;
/// Decimals that are looked for at all.
const DECIMALS_MAX: usize = 12;

/// A number and what it is of.
pub(super) type Said = (String, String);

/// A name as a part of a path.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// An amount.
pub(super) fn money(amount: Money, currency: Currency) -> Said {
    (amount.to_string(), format!(" {currency}"))
}

/// A rate by the largest usual quantity that it is easily read by.
pub(super) fn rate(rate: Rate, unit: Unit, currency: Currency) -> Said {
    let usual: &[(u64, &str)] = match unit {
        Unit::Second => &[(60, "minute"), (1, "second"), (3600, "hour")],
        Unit::Octet => &[
            (1 << 20, "MiB"),
            (1 << 30, "GiB"),
            (1 << 10, "KiB"),
            (1_000_000, "MB"),
            (1_000_000_000, "GB"),
            (1, "octet"),
            (1 << 40, "TiB"),
        ],
        Unit::Event => &[(1, "event")],
    };
    let said = usual.iter().filter_map(|(quantity, name)| {
        let number = decimal(u128::from(rate.micros()) * u128::from(*quantity), u128::from(rate.per()) * 1_000_000)?;
        let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        Some((decimals, (number, format!(" {currency} per {name}"))))
    });
    let said: Vec<_> = said.collect();
    let easy = said.iter().find(|(decimals, _)| *decimals <= EASY_DECIMALS);
    let (_, said) = match easy.or_else(|| said.iter().min_by_key(|(decimals, _)| *decimals)) {
        Some(said) => said.clone(),
        None => {
            let micros = u128::from(rate.micros());
            let number = decimal(micros, 1_000_000).unwrap_or_else(|| format!("{micros}/1000000"));
            (0, (number, format!(" {currency} per {}", quantity(rate.per(), unit))))
        }
    };
    said
}

/// What is started of a rate costs the whole: its quantity says something, too.
pub(super) fn started(rate: Rate, unit: Unit, currency: Currency) -> Said {
    let number = decimal(u128::from(rate.micros()), 1_000_000).unwrap_or_default();
    let per = quantity(rate.per(), unit);
    (number, format!(" {currency} per started {}", per.strip_prefix("1 ").unwrap_or(&per)))
}

/// An exchange rate: so much of the one for one of the other.
pub(super) fn ratio(ratio: Ratio, to: Currency, from: Currency) -> Said {
    let number = decimal(u128::from(ratio.amount()), u128::from(ratio.per()));
    let number = number.unwrap_or_else(|| format!("{}/{}", ratio.amount(), ratio.per()));
    (number, format!(" {to} per {from}"))
}

/// A fraction as a decimal number, at least two decimals; `None` when it has too many.
fn decimal(numerator: u128, denominator: u128) -> Option<String> {
    let mut places = 2usize;
    let mut scaled = numerator.checked_mul(100)?;
    while scaled.checked_rem(denominator).is_none_or(|rest| rest != 0) {
        places += 1;
        scaled = scaled.checked_mul(10).filter(|_| places <= DECIMALS_MAX)?;
    }
    let digits = format!("{:0>width$}", scaled.checked_div(denominator)?, width = places + 1);
    let (whole, decimals) = digits.split_at_checked(digits.len() - places)?;
    Some(format!("{whole}.{decimals}"))
}

/// A quantity by its largest whole unit.
pub(super) fn quantity(quantity: u64, unit: Unit) -> String {
    let usual: &[(u64, &str)] = match unit {
        Unit::Second => &[(3600, "h"), (60, "min"), (1, "s")],
        Unit::Octet => &[
            (1 << 40, "TiB"),
            (1 << 30, "GiB"),
            (1 << 20, "MiB"),
            (1 << 10, "KiB"),
            (1_000_000_000, "GB"),
            (1_000_000, "MB"),
            (1_000, "kB"),
            (1, "octets"),
        ],
        Unit::Event => &[(1, "events")],
    };
    let whole = usual.iter().find(|(factor, _)| quantity > 0 && quantity.is_multiple_of(*factor));
    let (factor, name) = whole.or(usual.last()).copied().unwrap_or((1, ""));
    format!("{} {name}", quantity.checked_div(factor).unwrap_or(quantity))
}

/// Increments.
pub(super) fn pulse(pulse: Pulse, unit: Unit) -> String {
    let (first, next) = (quantity(pulse.first(), unit), quantity(pulse.next(), unit));
    if first == next { first } else { format!("{first}, then {next}") }
}

/// An instant by the wall clock of `zone`: the date where it is its midnight; `None` for the far past.
pub(super) fn instant(at: Timestamp, zone: &Zone) -> Option<String> {
    if at.millis() == i64::MIN {
        return None;
    }
    let shown = zone.shown(at);
    let local = jiff::Timestamp::from_millisecond(shown).ok().filter(|_| zone.instant(shown) == at);
    let Some(local) = local else { return Some(at.to_string()) };
    let text = local.to_string();
    let text = text.trim_end_matches('Z');
    Some(text.strip_suffix("T00:00:00").unwrap_or(text).to_owned())
}

/// How long a cycle is.
pub(super) fn period(period: Period) -> String {
    let (months, days, hours) = period.parts();
    let parts = [(months / 12, "year"), (months % 12, "month"), (days, "day"), (hours, "hour")];
    let said = parts.iter().filter(|(number, _)| *number > 0);
    let said = said.map(|(number, name)| format!("{number} {name}{}", if *number == 1 { "" } else { "s" }));
    said.collect::<Vec<_>>().join(" ")
}

/// How often something is that is once in a cycle.
pub(super) fn every(length: Option<Period>) -> String {
    let Some(length) = length.map(period) else { return " once".to_owned() };
    match length.strip_prefix("1 ") {
        Some(one) if !one.contains(' ') => format!(" per {one}"),
        _ => format!(" every {length}"),
    }
}

/// A day of the week as documents have it.
pub(super) const fn weekday(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "mon",
        Weekday::Tuesday => "tue",
        Weekday::Wednesday => "wed",
        Weekday::Thursday => "thu",
        Weekday::Friday => "fri",
        Weekday::Saturday => "sat",
        Weekday::Sunday => "sun",
    }
}

/// The times of a window.
pub(super) fn spans(spans: impl Iterator<Item = Span>) -> String {
    let time = |second: u32| match (second / 3600, second / 60 % 60, second % 60) {
        (hours, minutes, 0) => format!("{hours:02}:{minutes:02}"),
        (hours, minutes, seconds) => format!("{hours:02}:{minutes:02}:{seconds:02}"),
    };
    let numbers = |numbers: &[u8]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut said: Vec<String> = spans
        .map(|span| {
            let mut text = match (span.from, span.to) {
                (0, 86_400) => "all day".to_owned(),
                (from, to) => format!("{} to {}", time(from), time(to)),
            };
            if !span.weekdays.is_empty() {
                let days: Vec<_> = span.weekdays.iter().map(|day| weekday(*day)).collect();
                text.push_str(&format!(" on {}", days.join(", ")));
            }
            if !span.month_days.is_empty() {
                text.push_str(&format!(" on the days {} of the month", numbers(&span.month_days)));
            }
            if !span.months.is_empty() {
                text.push_str(&format!(" in the months {}", numbers(&span.months)));
            }
            text
        })
        .collect();
    said.sort_unstable();
    said.dedup();
    said.join("; ")
}

/// A holiday as documents have it.
pub(super) fn holiday(holiday: Holiday) -> String {
    match holiday {
        Holiday::Date(year, month, day) => format!("{year:04}-{month:02}-{day:02}"),
        Holiday::Yearly(month, day) => format!("{month:02}-{day:02}"),
        Holiday::Easter(0) => "easter".to_owned(),
        Holiday::Easter(offset) => format!("easter{offset:+}"),
    }
}

/// A slice as documents have it.
pub(super) fn slice(slice: &Slice) -> String {
    match slice.differentiator {
        None => slice.service_type.to_string(),
        Some(differentiator) => format!("{}-{differentiator:06x}", slice.service_type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_said_as_billing_people_say_them() {
        let said = |micros, per, unit| {
            let (number, rest) = rate(Rate::new(micros, per).unwrap(), unit, Currency::EUR);
            format!("{number}{rest}")
        };
        for (micros, per, unit, text) in [
            (90_000, 60, Unit::Second, "0.09 EUR per minute"),
            (17_000, 60, Unit::Second, "0.017 EUR per minute"),
            (1, 10, Unit::Second, "0.000006 EUR per minute"),
            (20_000, 1 << 20, Unit::Octet, "0.02 EUR per MiB"),
            (1_000_000, 1 << 30, Unit::Octet, "1.00 EUR per GiB"),
            (5_000_000, 1_000_000_000, Unit::Octet, "0.005 EUR per MB"),
            (90_000, 1, Unit::Event, "0.09 EUR per event"),
            (1_000_000, 7, Unit::Second, "1.00 EUR per 7 s"),
            (0, 1, Unit::Second, "0.00 EUR per minute"),
        ] {
            assert_eq!(said(micros, per, unit), text);
        }
    }

    #[test]
    fn instants_are_those_of_the_wall_clock() {
        let berlin = Zone::get("Europe/Berlin").unwrap();
        let at = |text: &str| super::super::super::text::parse_instant(text, &berlin).unwrap();
        assert_eq!(instant(at("2027-04-01"), &berlin).unwrap(), "2027-04-01");
        assert_eq!(instant(at("2027-04-01T06:30:00"), &berlin).unwrap(), "2027-04-01T06:30:00");
        // The second two o'clock of a night that has two.
        assert_eq!(instant(at("2027-10-31T01:30:00Z"), &berlin).unwrap(), "2027-10-31T01:30:00.000Z");
        assert_eq!(instant(Timestamp::from_millis(i64::MIN), &berlin), None);
    }

    #[test]
    fn quantities_have_their_largest_whole_unit() {
        for (number, unit, text) in [
            (10 << 30, Unit::Octet, "10 GiB"),
            (1500, Unit::Octet, "1500 octets"),
            (102_400, Unit::Octet, "100 KiB"),
            (90, Unit::Second, "90 s"),
            (0, Unit::Second, "0 s"),
            (3, Unit::Event, "3 events"),
        ] {
            assert_eq!(quantity(number, unit), text);
        }
    }
}
