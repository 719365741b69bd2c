//! Units as AVPs: Requested-, Used- and Granted-Service-Unit and the money in them (RFC 8506 8.17 to 8.22).
//!
//! Amounts of money are exact: what does not come out as whole micro-units is refused, never rounded.

use rating_engine::money::Money;
use rating_engine::units::{MoneyUnits, Units};

use crate::avp::Avp;
use crate::dictionary::AvpCode;
use crate::error::{DecodeError, OwnedAvp};
use crate::message::MessageWriter;

/// Decimals of a micro-unit.
const MICRO_DECIMALS: i32 = 6;

/// Largest power of ten worth trying: one more and even a single digit overflows.
const POWER_MAX: u32 = 18;

/// Keeps `avp` in its place.
///
/// # Errors
/// There is one already (5009).
pub(super) fn once<'a>(place: &mut Option<Avp<'a>>, avp: Avp<'a>) -> Result<(), DecodeError> {
    if place.is_some() {
        return Err(occurs_too_often(&avp));
    }
    *place = Some(avp);
    Ok(())
}

/// The AVP, or the error that it is missing.
#[inline]
pub(super) fn need<'f, 'a>(avp: &'f Option<Avp<'a>>, code: AvpCode) -> Result<&'f Avp<'a>, DecodeError> {
    match avp {
        Some(avp) => Ok(avp),
        None => Err(DecodeError::MissingAvp { code }),
    }
}

/// The error for an AVP that is one too many.
#[cold]
pub(super) fn occurs_too_often(avp: &Avp<'_>) -> DecodeError {
    DecodeError::AvpOccursTooManyTimes { avp: OwnedAvp::from(avp) }
}

/// Takes over a member of one of the Service-Unit groups. `is_counted` becomes false when something is no unit, nor part
/// of one: what that may be, only the grammar looks at.
pub(super) fn read_member(units: &mut Units, avp: &Avp<'_>, is_counted: &mut bool) -> Result<(), DecodeError> {
    let (place, count) = match avp.code {
        AvpCode::CC_TIME => (&mut units.seconds, u64::from(avp.u32()?)),
        AvpCode::CC_TOTAL_OCTETS => (&mut units.total_octets, avp.u64()?),
        AvpCode::CC_INPUT_OCTETS => (&mut units.uplink_octets, avp.u64()?),
        AvpCode::CC_OUTPUT_OCTETS => (&mut units.downlink_octets, avp.u64()?),
        AvpCode::CC_SERVICE_SPECIFIC_UNITS => (&mut units.events, avp.u64()?),
        AvpCode::CC_MONEY => {
            if units.money.is_some() {
                return Err(occurs_too_often(avp));
            }
            units.money = Some(read_money(avp, is_counted)?);
            return Ok(());
        }
        _ => {
            *is_counted = false;
            return Ok(());
        }
    };
    if place.is_some() {
        return Err(occurs_too_often(avp));
    }
    *place = Some(count);
    Ok(())
}

/// CC-Money, Cost-Information, Remaining-Balance: {Unit-Value} [Currency-Code] (RFC 8506 8.22). `is_counted` as in
/// [`read_member`].
pub(super) fn read_money(group: &Avp<'_>, is_counted: &mut bool) -> Result<MoneyUnits, DecodeError> {
    let (mut value, mut currency) = (None, None);
    for avp in group.grouped()? {
        let avp = avp?;
        match avp.code {
            AvpCode::UNIT_VALUE => once(&mut value, avp)?,
            AvpCode::CURRENCY_CODE => once(&mut currency, avp)?,
            _ => *is_counted = false,
        }
    }
    let value = need(&value, AvpCode::UNIT_VALUE)?;
    let (mut digits, mut exponent) = (None, None);
    for avp in value.grouped()? {
        let avp = avp?;
        match avp.code {
            AvpCode::VALUE_DIGITS => once(&mut digits, avp)?,
            AvpCode::EXPONENT => once(&mut exponent, avp)?,
            _ => *is_counted = false,
        }
    }
    let digits = need(&digits, AvpCode::VALUE_DIGITS)?.i64()?;
    let exponent = exponent.map_or(Ok(0), |avp| avp.i32())?;
    let micros = micros(digits, exponent).ok_or_else(|| group.invalid_value())?;
    let currency = currency.map(|avp| avp.u32()).transpose()?;
    Ok(MoneyUnits { amount: Money::from_micros(micros), currency })
}

/// Value-Digits x 10^Exponent in micro-units; `None` when that is no whole number or does not fit.
fn micros(digits: i64, exponent: i32) -> Option<i64> {
    if digits == 0 {
        return Some(0);
    }
    let shift = exponent.saturating_add(MICRO_DECIMALS);
    let power = Some(shift.unsigned_abs()).filter(|power| *power <= POWER_MAX)?;
    let power = 10i64.pow(power);
    if shift >= 0 {
        return digits.checked_mul(power);
    }
    (digits % power == 0).then_some(digits / power)
}

/// Value-Digits and Exponent of an amount, with as few digits as it needs.
const fn digits(micros: i64) -> (i64, i32) {
    let (mut digits, mut exponent) = (micros, -MICRO_DECIMALS);
    while exponent < 0 && digits % 10 == 0 {
        digits /= 10;
        exponent += 1;
    }
    (digits, exponent)
}

/// {Unit-Value} [Currency-Code] as `code`. An exponent of 0 is left out (RFC 8506 8.9).
pub(super) fn write_money(writer: &mut MessageWriter<'_>, code: AvpCode, amount: Money, currency: Option<u32>) {
    let (digits, exponent) = digits(amount.micros());
    writer.grouped(code, |writer| {
        writer.grouped(AvpCode::UNIT_VALUE, |writer| {
            writer.i64(AvpCode::VALUE_DIGITS, digits);
            if exponent != 0 {
                writer.i32(AvpCode::EXPONENT, exponent);
            }
        });
        if let Some(currency) = currency {
            writer.u32(AvpCode::CURRENCY_CODE, currency);
        }
    });
}

/// The units as members of one of the Service-Unit groups. CC-Time has 32 bits: more seconds than it can say are cut.
pub(super) fn write_members(writer: &mut MessageWriter<'_>, units: &Units) {
    if let Some(seconds) = units.seconds {
        writer.u32(AvpCode::CC_TIME, u32::try_from(seconds).unwrap_or(u32::MAX));
    }
    if let Some(money) = units.money {
        write_money(writer, AvpCode::CC_MONEY, money.amount, money.currency);
    }
    for (code, count) in [
        (AvpCode::CC_TOTAL_OCTETS, units.total_octets),
        (AvpCode::CC_INPUT_OCTETS, units.uplink_octets),
        (AvpCode::CC_OUTPUT_OCTETS, units.downlink_octets),
        (AvpCode::CC_SERVICE_SPECIFIC_UNITS, units.events),
    ] {
        if let Some(count) = count {
            writer.u64(code, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact_or_refused() {
        for (value, exponent, expected) in [
            (5, -2, Some(50_000)),
            (188, -2, Some(1_880_000)),
            (1, -6, Some(1)),
            (1, -7, None),
            (10, -7, Some(1)),
            (-5, -2, Some(-50_000)),
            (9_223_372_036_854, 0, Some(9_223_372_036_854_000_000)),
            (9_223_372_036_855, 0, None),
            (1, 12, Some(1_000_000_000_000_000_000)),
            (1, 13, None),
            (0, i32::MAX, Some(0)),
            (0, i32::MIN, Some(0)),
            (1, i32::MAX, None),
            (1, i32::MIN, None),
            (1_000_000_000_000_000_000, -24, Some(1)),
            (i64::MIN, 0, None),
            (i64::MIN, -6, Some(i64::MIN)),
            (i64::MAX, -6, Some(i64::MAX)),
        ] {
            assert_eq!(micros(value, exponent), expected, "{value} x 10^{exponent}");
        }
        for (amount, expected) in
            [(50_000, (5, -2)), (2_000_000, (2, 0)), (0, (0, 0)), (-1, (-1, -6)), (10_000_000, (10, 0))]
        {
            assert_eq!(digits(amount), expected);
        }
    }
}
