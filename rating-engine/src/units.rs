//! What the network counts: octets, seconds, events, money it asked for itself.

use crate::money::Money;

/// What a bucket that holds no money holds, and what a price is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Seconds of time.
    Second,
    /// Octets of volume.
    Octet,
    /// Events: messages, downloads, service-specific units.
    Event,
}

/// Which of several measures of one report a price counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// CC-Time.
    Seconds,
    /// CC-Total-Octets, or input + output where no total is given.
    TotalOctets,
    /// CC-Input-Octets: from the user.
    UplinkOctets,
    /// CC-Output-Octets: to the user.
    DownlinkOctets,
    /// CC-Service-Specific-Units.
    Events,
}

impl Measure {
    /// The unit that this measure is counted in.
    pub const fn unit(self) -> Unit {
        match self {
            Self::Seconds => Unit::Second,
            Self::TotalOctets | Self::UplinkOctets | Self::DownlinkOctets => Unit::Octet,
            Self::Events => Unit::Event,
        }
    }
}

/// Measures side by side, as one report, request or grant carries them (RFC 8506 8.17 to 8.19).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Units {
    /// CC-Time, seconds.
    pub seconds: Option<u64>,
    /// CC-Total-Octets.
    pub total_octets: Option<u64>,
    /// CC-Input-Octets (uplink).
    pub uplink_octets: Option<u64>,
    /// CC-Output-Octets (downlink).
    pub downlink_octets: Option<u64>,
    /// CC-Service-Specific-Units.
    pub events: Option<u64>,
    /// CC-Money, in the account's currency (checked by the front door against the currency it carries).
    pub money: Option<MoneyUnits>,
}

/// CC-Money (RFC 8506 8.22): an amount and, where given, its currency as ISO 4217 numeric code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MoneyUnits {
    /// The amount.
    pub amount: Money,
    /// ISO 4217 numeric code; absent means the account's own.
    pub currency: Option<u32>,
}

/// The units of one grant, of which there is nearly always one measure: small, because stored answers keep them.
/// Made of [`Units`] only, so that equal ones look equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantUnits(Granted);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Granted {
    Of(Measure, u64),
    Directions { uplink: u64, downlink: u64 },
    Money(MoneyUnits),
    Several(Box<Units>),
}

impl GrantUnits {
    /// So much of one measure.
    pub const fn of(measure: Measure, quantity: u64) -> Self {
        Self(Granted::Of(measure, quantity))
    }

    /// Money that the network rates itself.
    pub const fn money(money: MoneyUnits) -> Self {
        Self(Granted::Money(money))
    }

    /// Octets of both directions, without a total.
    pub const fn directions(uplink: u64, downlink: u64) -> Self {
        Self(Granted::Directions { uplink, downlink })
    }

    /// As measures side by side.
    pub fn units(&self) -> Units {
        match &self.0 {
            Granted::Of(measure, quantity) => Units::of(*measure, *quantity),
            Granted::Directions { uplink, downlink } => {
                Units { uplink_octets: Some(*uplink), downlink_octets: Some(*downlink), ..Units::default() }
            }
            Granted::Money(money) => Units { money: Some(*money), ..Units::default() },
            Granted::Several(units) => **units,
        }
    }
}

impl From<Units> for GrantUnits {
    fn from(units: Units) -> Self {
        let Units { seconds, total_octets, uplink_octets, downlink_octets, events, money } = units;
        match (seconds, total_octets, uplink_octets, downlink_octets, events, money) {
            (Some(quantity), None, None, None, None, None) => Self::of(Measure::Seconds, quantity),
            (None, Some(quantity), None, None, None, None) => Self::of(Measure::TotalOctets, quantity),
            (None, None, Some(quantity), None, None, None) => Self::of(Measure::UplinkOctets, quantity),
            (None, None, None, Some(quantity), None, None) => Self::of(Measure::DownlinkOctets, quantity),
            (None, None, None, None, Some(quantity), None) => Self::of(Measure::Events, quantity),
            (None, None, Some(uplink), Some(downlink), None, None) => Self::directions(uplink, downlink),
            (None, None, None, None, None, Some(money)) => Self::money(money),
            _ => Self(Granted::Several(Box::new(units))),
        }
    }
}

impl Units {
    /// So much of one measure.
    pub fn of(measure: Measure, quantity: u64) -> Self {
        let some = Some(quantity);
        match measure {
            Measure::Seconds => Self { seconds: some, ..Self::default() },
            Measure::TotalOctets => Self { total_octets: some, ..Self::default() },
            Measure::UplinkOctets => Self { uplink_octets: some, ..Self::default() },
            Measure::DownlinkOctets => Self { downlink_octets: some, ..Self::default() },
            Measure::Events => Self { events: some, ..Self::default() },
        }
    }

    /// Whether something is named, and all of it is 0.
    pub fn is_nothing(&self) -> bool {
        let Self { seconds, total_octets, uplink_octets, downlink_octets, events, money } = self;
        let counts = [seconds, total_octets, uplink_octets, downlink_octets, events];
        let money = money.is_none_or(|money| money.amount == Money::ZERO);
        !self.is_empty() && money && counts.into_iter().all(|count| count.unwrap_or(0) == 0)
    }

    /// No measure at all: "you decide" in a request, nothing in a report.
    pub const fn is_empty(&self) -> bool {
        self.seconds.is_none()
            && self.total_octets.is_none()
            && self.uplink_octets.is_none()
            && self.downlink_octets.is_none()
            && self.events.is_none()
            && self.money.is_none()
    }

    /// The quantity of `measure`; `None` when it is not carried. Total octets may be given as their two directions.
    pub const fn quantity(&self, measure: Measure) -> Option<u64> {
        match measure {
            Measure::Seconds => self.seconds,
            Measure::UplinkOctets => self.uplink_octets,
            Measure::DownlinkOctets => self.downlink_octets,
            Measure::Events => self.events,
            Measure::TotalOctets => match (self.total_octets, self.uplink_octets, self.downlink_octets) {
                (Some(total), _, _) => Some(total),
                (None, None, None) => None,
                (None, up, down) => Some(sum(up, down)),
            },
        }
    }

    /// Adds another report measure by measure; sums are clamped, the quarantine for absurd usage is far below.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let add = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (None, None) => None,
            (a, b) => Some(sum(a, b)),
        };
        // A report with a total beside one with only directions: the total of both must count all of it.
        let (mut left, mut right) = (*self, *other);
        if left.total_octets.is_some() != right.total_octets.is_some() {
            left.total_octets = left.quantity(Measure::TotalOctets);
            right.total_octets = right.quantity(Measure::TotalOctets);
        }
        Self {
            seconds: add(left.seconds, right.seconds),
            total_octets: add(left.total_octets, right.total_octets),
            uplink_octets: add(left.uplink_octets, right.uplink_octets),
            downlink_octets: add(left.downlink_octets, right.downlink_octets),
            events: add(left.events, right.events),
            money: match (left.money, right.money) {
                (Some(a), Some(b)) => {
                    Some(MoneyUnits { amount: a.amount.saturating_add(b.amount), currency: a.currency.or(b.currency) })
                }
                (a, b) => a.or(b),
            },
        }
    }

    /// The largest number of octets this report speaks of.
    pub fn octets(&self) -> u64 {
        self.total_octets.unwrap_or(0).max(sum(self.uplink_octets, self.downlink_octets))
    }
}

const fn sum(a: Option<u64>, b: Option<u64>) -> u64 {
    let a = match a {
        Some(a) => a,
        None => 0,
    };
    match b {
        Some(b) => a.saturating_add(b),
        None => a,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_is_what_was_given() {
        let some = [None, Some(0), Some(7)];
        for number in 0..3usize.pow(6) {
            let pick = |place: u32| some[number / 3usize.pow(place) % 3];
            let units = Units {
                seconds: pick(0),
                total_octets: pick(1),
                uplink_octets: pick(2),
                downlink_octets: pick(3),
                events: pick(4),
                money: pick(5).map(|_| MoneyUnits { amount: Money::from_micros(5), currency: Some(978) }),
            };
            assert_eq!(GrantUnits::from(units).units(), units);
        }
        assert!(size_of::<GrantUnits>() <= 24);
    }

    #[test]
    fn total_is_the_sum_of_directions_where_no_total_is_given() {
        let up_down = Units { uplink_octets: Some(3), downlink_octets: Some(4), ..Units::default() };
        assert_eq!(up_down.quantity(Measure::TotalOctets), Some(7));
        let total = Units { total_octets: Some(9), ..up_down };
        assert_eq!(total.quantity(Measure::TotalOctets), Some(9));
        assert_eq!(up_down.plus(&total).quantity(Measure::TotalOctets), Some(16));
        assert_eq!(Units::default().quantity(Measure::TotalOctets), None);
    }
}
