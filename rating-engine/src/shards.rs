//! All shards, each behind its lock. The only file with a lock.

use std::cmp::Ordering;

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use crate::ids::GroupId;
use crate::shard::{Limits, Pair, Shard};

/// Shards of a process, unless configured otherwise.
pub const SHARDS_DEFAULT: usize = 64;

/// All shards.
#[derive(Debug)]
pub struct Shards(Box<[CachePadded<Mutex<Shard>>]>);

impl Shards {
    /// `count` empty shards (at least one), each with an equal part of `limits`.
    pub fn new(count: usize, limits: Limits) -> Self {
        let count = count.max(1);
        let each = Limits {
            open_sessions_max: limits.open_sessions_max.div_ceil(count),
            ended_sessions_max: limits.ended_sessions_max.div_ceil(count),
            ended_sessions_kept: limits.ended_sessions_kept / count,
            archived_sessions_max: limits.archived_sessions_max.div_ceil(count),
        };
        Self((0..count).map(|_| CachePadded::new(Mutex::new(Shard::new(each)))).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: there is at least one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The shard that owns a charging group.
    pub fn index(&self, group: GroupId) -> usize {
        // Groups are numbered in a row by imports: mixed first, so that neighbours spread.
        let mixed = group.get().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        usize::try_from(mixed).unwrap_or(0) % self.0.len()
    }

    /// Runs `work` alone on the shard that owns `group`. A closure, not a guard: no lock meets an `.await`.
    pub fn with<R>(&self, group: GroupId, work: impl FnOnce(&mut Shard) -> R) -> R {
        self.with_index(self.index(group), work).0
    }

    /// Runs `work` alone on the shards of two groups. Whoever locks two locks the lower one first.
    pub fn with_pair<R>(&self, giver: GroupId, taker: GroupId, work: impl FnOnce(&mut Pair<'_>) -> R) -> R {
        let (first, second) = (self.index(giver), self.index(taker));
        #[expect(clippy::indexing_slicing, reason = "both are reduced to the length")]
        let (one, two) = (&self.0[first], &self.0[second]);
        match first.cmp(&second) {
            Ordering::Equal => work(&mut Pair::One(&mut one.lock())),
            Ordering::Less => {
                let (mut giver, mut taker) = (one.lock(), two.lock());
                work(&mut Pair::Two(&mut giver, &mut taker))
            }
            Ordering::Greater => {
                let (mut taker, mut giver) = (two.lock(), one.lock());
                work(&mut Pair::Two(&mut giver, &mut taker))
            }
        }
    }

    /// Runs `work` alone on the shard of this number (modulo their count), and says which it was.
    pub fn with_index<R>(&self, index: usize, work: impl FnOnce(&mut Shard) -> R) -> (R, usize) {
        let index = index % self.0.len();
        #[expect(clippy::indexing_slicing, reason = "the index is reduced to the length, which is at least 1")]
        let mut shard = self.0[index].lock();
        (work(&mut shard), index)
    }
}
