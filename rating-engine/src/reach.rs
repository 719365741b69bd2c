//! Whom a tariff version is for, step by step in time: a share of subscribers first (a canary), then more, all or none of them.
//!
//! Pure: whether a subscriber is in follows from its id, the version's content and the share, so it is the same on every shard, in
//! every process and for ever. A larger share has everybody that a smaller one has; another version picks others. Absent: who
//! decides on a step, and that steps are kept.

use std::sync::Arc;

use crate::ids::SubscriberId;
use crate::time::Timestamp;

/// A share of all subscribers, in basis points (1/10,000).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

impl Share {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const WHOLE: Self = Self(10_000);

    /// So many basis points; `None` above 10,000.
    pub fn new(basis_points: u32) -> Option<Self> {
        u16::try_from(basis_points).ok().map(Self).filter(|share| *share <= Self::WHOLE)
    }

    /// Basis points.
    pub const fn basis_points(self) -> u16 {
        self.0
    }
}

impl std::fmt::Display for Share {
    /// In percent, with two decimals.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02} %", self.0 / 100, self.0 % 100)
    }
}

/// Whom a version is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nobody: it is withdrawn, or not for anybody yet.
    Nobody,
    /// A share of subscribers, and those that are named, in ascending order.
    Some(Share, Arc<[SubscriberId]>),
    /// Everybody.
    Everybody,
}

impl Reach {
    /// Whether a subscriber is among them, by the hash of the version's content. `None` is somebody who is in no share.
    pub fn has(&self, content_hash: &[u8; 32], who: Option<SubscriberId>) -> bool {
        match (self, who) {
            (Self::Nobody, _) | (Self::Some(..), None) => false,
            (Self::Some(share, named), Some(who)) => {
                place(content_hash, who) < share.0 || named.binary_search(&who).is_ok()
            }
            (Self::Everybody, _) => true,
        }
    }
}

/// Where a subscriber stands among all of them for one version, from 0 to 9,999: a share above that has it. Frozen: who is in a canary
/// must not change while it runs, and what was charged is priced again by who was in it.
pub fn place(content_hash: &[u8; 32], who: SubscriberId) -> u16 {
    let seed = content_hash.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
    let mixed = u128::from(mix(mix(who.get()) ^ seed));
    u16::try_from((mixed * u128::from(Share::WHOLE.0)) >> u64::BITS).unwrap_or(Share::WHOLE.0)
}

/// SplitMix64's next output from this state: every bit of it decides on every bit of the result.
const fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

/// Whom one version is for, in time. Without a step: everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps(Vec<(Timestamp, Reach)>);

impl Steps {
    /// From `from` on it is for these; what lies before stays. A version that begins with a share was for nobody before.
    pub fn push(&mut self, from: Timestamp, reach: Reach) {
        if self.0.is_empty() && matches!(reach, Reach::Some(..)) {
            self.0.push((Timestamp::from_millis(i64::MIN), Reach::Nobody));
        }
        let place = self.0.partition_point(|(at, _)| *at <= from);
        self.0.insert(place, (from, reach));
    }

    /// Whom it is for at `at`.
    pub fn at(&self, at: Timestamp) -> &Reach {
        let begun = self.0.partition_point(|(from, _)| *from <= at);
        begun.checked_sub(1).and_then(|last| self.0.get(last)).map_or(&Reach::Everybody, |(_, reach)| reach)
    }

    /// When it begins, or ends, to be for somebody who is as they are at `at`; never if it does not.
    pub fn changes(&self, content_hash: &[u8; 32], who: Option<SubscriberId>, at: Timestamp) -> Timestamp {
        let now = self.at(at).has(content_hash, who);
        let later = self.0.iter().filter(|(from, _)| *from > at);
        let mut changed = later.filter(|(_, reach)| reach.has(content_hash, who) != now);
        changed.next().map_or(Timestamp::NEVER, |(from, _)| *from)
    }

    /// The same for somebody who is in no share.
    pub fn for_nobody_named(&mut self) {
        for (_, reach) in &mut self.0 {
            if matches!(reach, Reach::Some(..)) {
                *reach = Reach::Nobody;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    /// Figures of SplitMix64 from its published reference (state 0: first output e220a8397b1dcdaf), and places that must never change.
    #[test]
    fn places_are_frozen() {
        assert_eq!(mix(0), 0xE220_A839_7B1D_CDAF);
        let place_of = |seed: u8, id: u64| place(&[seed; 32], SubscriberId::new(id));
        let places: Vec<u16> = [0, 1, 2, 1_000_000, u64::MAX].map(|id| place_of(0, id)).to_vec();
        assert_eq!(places, FROZEN_0);
        let places: Vec<u16> = [0, 1, 2, 1_000_000, u64::MAX].map(|id| place_of(0xA5, id)).to_vec();
        assert_eq!(places, FROZEN_A5);
    }

    const FROZEN_0: [u16; 5] = [6524, 3681, 3922, 8934, 3662];
    const FROZEN_A5: [u16; 5] = [6250, 8530, 9094, 1650, 4620];

    /// 5 % from 10 s, 20 % and one by name from 20 s, all from 30 s, nobody from 40 s.
    #[test]
    fn steps_are_a_schedule() {
        let named: Arc<[SubscriberId]> = [SubscriberId::new(7)].into();
        let mut steps = Steps::default();
        assert_eq!(steps.at(at(5)), &Reach::Everybody);
        steps.push(at(10), Reach::Some(Share(500), [].into()));
        steps.push(at(20), Reach::Some(Share(2000), named.clone()));
        steps.push(at(30), Reach::Everybody);
        steps.push(at(40), Reach::Nobody);
        for (seconds, reach) in [
            (9, Reach::Nobody),
            (10, Reach::Some(Share(500), [].into())),
            (19, Reach::Some(Share(500), [].into())),
            (20, Reach::Some(Share(2000), named.clone())),
            (30, Reach::Everybody),
            (40, Reach::Nobody),
            (400, Reach::Nobody),
        ] {
            assert_eq!(steps.at(at(seconds)), &reach, "{seconds}");
        }
        let hash = [1; 32];
        let find = |places: std::ops::Range<u16>| {
            (100..).map(SubscriberId::new).find(|id| places.contains(&place(&hash, *id))).unwrap()
        };
        let (first, second, last) = (find(0..500), find(500..2000), find(2000..10_000));
        for (who, begins) in [
            (Some(first), 10),
            (Some(second), 20),
            (Some(SubscriberId::new(7)), if place(&hash, SubscriberId::new(7)) < 500 { 10 } else { 20 }),
            (Some(last), 30),
            (None, 30),
        ] {
            for (from, until) in [(0, begins), (begins, 40)] {
                assert_eq!(steps.changes(&hash, who, at(from)), at(until), "{who:?} {from}");
            }
            assert_eq!(steps.changes(&hash, who, at(40)), Timestamp::NEVER);
        }
    }

    #[test]
    fn a_share_is_at_most_the_whole() {
        assert_eq!(Share::new(10_000), Some(Share::WHOLE));
        assert_eq!(Share::new(10_001), None);
        assert_eq!(Share::new(65_536 + 5), None);
        assert_eq!(Share(25).to_string(), "0.25 %");
        assert_eq!(Share::WHOLE.to_string(), "100.00 %");
    }
}
