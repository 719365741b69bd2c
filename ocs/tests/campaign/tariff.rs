//! What the demo tariffs charge, computed from their documents by hand and with nothing of the rating engine.

use std::collections::BTreeMap;

/// A rating group that costs nothing.
pub(crate) const FREE_GROUP: u32 = 100;

/// One message of `start-payg` and `data-m` costs 0.09, of `flat-30` 0.05.
pub(crate) fn message_micros(subscriber: u64) -> i64 {
    if subscriber % 10 < 8 { 90_000 } else { 50_000 }
}

/// Whether demo subscriber `number` pays every octet with money.
pub(crate) const fn pays_as_it_goes(subscriber: u64) -> bool {
    subscriber % 10 < 4
}

/// What one session of demo subscriber `number` costs that used so many octets per rating group, as long as what its data
/// bucket holds lasts. `start-payg` takes 0.02 per MiB in pulses of 100 KiB, rounded half up to four decimals; the others
/// take from their bucket.
pub(crate) fn session_micros(subscriber: u64, used: &BTreeMap<u32, u64>) -> i64 {
    if !pays_as_it_goes(subscriber) {
        return 0;
    }
    let priced = used.iter().filter(|(group, _)| **group != FREE_GROUP);
    priced
        .map(|(_, octets)| {
            // 0.02 / MiB is 20,000 micro-units for 1,048,576 octets; a pulse is 102,400 octets.
            let (dividend, divisor) = (octets.div_ceil(102_400) * 102_400 * 20_000, 1_048_576);
            // Four decimals are steps of 100 micro-units.
            let steps = (2 * dividend + 100 * divisor) / (2 * 100 * divisor);
            i64::try_from(steps * 100).unwrap()
        })
        .sum()
}

/// What such a session takes from the subscriber's data bucket.
pub(crate) fn session_octets(subscriber: u64, used: &BTreeMap<u32, u64>) -> i64 {
    let counted = used.iter().filter(|(group, _)| !pays_as_it_goes(subscriber) && **group != FREE_GROUP);
    counted.map(|(_, octets)| i64::try_from(*octets).unwrap()).sum()
}
