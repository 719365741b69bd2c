//! Who is in a charging group: its accounts and its members, found without a walk over the shard.
//!
//! A group is made by its first account and has no record here; what people call it is none of the engine's business. Most
//! groups are one account and one subscriber under the group's own number: those are found by it, and only what has another
//! number stands in the index. A member leaves an account only when no offer that was bought for it would be charged there
//! any more; its open sessions go on as they began.

use std::collections::BTreeSet;

use super::Shard;
use crate::account::{Account, AccountState, Counters, Subscriber};
use crate::command::{Effects, Refusal, Write};
use crate::ids::{AccountId, CounterId, GroupId, SubscriberId};
use crate::session::Session;

/// What has another number than its group, in order.
#[derive(Debug, Default)]
pub(super) struct Numbers(BTreeSet<(u64, u64)>);

impl Numbers {
    pub(super) fn note(&mut self, group: GroupId, number: u64) {
        if group.get() != number {
            self.0.insert((group.get(), number));
        }
    }

    pub(super) fn lose(&mut self, group: GroupId, number: u64) {
        self.0.remove(&(group.get(), number));
    }

    /// Numbers from `from` on that may be of a group: all that were noted, and the group's own.
    fn of(&self, group: GroupId, from: u64) -> impl Iterator<Item = u64> {
        let group = group.get();
        let own = Some(group).filter(|own| *own >= from);
        let below = self.0.range((group, from.min(group))..(group, group));
        let above = self.0.range((group, from.max(group))..=(group, u64::MAX));
        below.map(|(_, number)| *number).chain(own).chain(above.map(|(_, number)| *number))
    }
}

impl Shard {
    /// The accounts of a group by number, from one number on.
    pub fn accounts_of(&self, group: GroupId, from: AccountId) -> impl Iterator<Item = &Account> {
        let there = self.group_accounts.of(group, from.get()).filter_map(|number| self.account(AccountId::new(number)));
        there.filter(move |account| account.group == group)
    }

    /// The subscribers of a group by number, from one number on, closed ones too.
    pub fn members_of(&self, group: GroupId, from: SubscriberId) -> impl Iterator<Item = &Subscriber> {
        let there = self.group_members.of(group, from.get()).filter_map(|id| self.subscriber(SubscriberId::new(id)));
        there.filter(move |subscriber| subscriber.group == group)
    }

    /// How many accounts and subscribers a group has, whatever their tenant. Nothing of them is looked at.
    pub fn group_size(&self, group: GroupId) -> (usize, usize) {
        // The group's own number is always among the numbers that may be.
        let others = |numbers: &Numbers| numbers.of(group, 0).count().saturating_sub(1);
        let account = self.account(AccountId::new(group.get())).is_some_and(|account| account.group == group);
        let member = self.subscriber(SubscriberId::new(group.get())).is_some_and(|member| member.group == group);
        (others(&self.group_accounts) + usize::from(account), others(&self.group_members) + usize::from(member))
    }

    /// What a member that is to be with account `to` has used. If that is another one, what it used of shared buckets was used
    /// of those that it leaves.
    pub(super) fn used_by(&self, member: &Subscriber, to: AccountId) -> Result<Counters, Refusal> {
        let mut counters = member.counters.clone();
        if member.account != to {
            self.may_leave(member)?;
            let left = self.account(member.account).map_or(&[][..], |account| &account.buckets);
            let capped = left.iter().filter(|bucket| bucket.member_cap().is_some());
            let capped: Vec<CounterId> = capped.map(|bucket| CounterId::new(bucket.id.as_str())).collect();
            counters.forget(&capped);
        }
        Ok(counters)
    }

    /// Whether nothing that was bought for a member would go on being charged to its account.
    fn may_leave(&self, member: &Subscriber) -> Result<(), Refusal> {
        let account = self.account(member.account);
        let mut held = account.iter().filter_map(|account| account.contract.as_ref()).flat_map(|it| &it.subscriptions);
        if held.any(|held| held.subscriber == member.id && !held.is_last_cycle()) {
            return Err(Refusal::Invalid(
                "its account holds offers that were bought for it and would go on being charged there; cancel them first",
            ));
        }
        Ok(())
    }

    /// Closes a member and takes its sponsor away. Its open sessions would be nobody's: there may be none. Walks the shard's
    /// sessions.
    pub(super) fn remove_member(
        &mut self,
        group: GroupId,
        id: SubscriberId,
        effects: &mut Effects<()>,
    ) -> Result<(), Refusal> {
        let member = self.subscriber(id).filter(|member| member.group == group).ok_or(Refusal::UnknownSubscriber)?;
        self.may_leave(member)?;
        if self.sessions().any(|session| session.subscriber == id && Session::is_open(session)) {
            return Err(Refusal::Invalid("it has open sessions; have them ended, or release them, first"));
        }
        if let Some(slot) = self.subscribers.get_mut(&id) {
            (slot.value.state, slot.value.sponsor) = (AccountState::Closed, None);
            effects.writes.push(Write::Subscriber(id));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In order from any number on, the group's own number among the others, and nobody of a neighbour.
    #[test]
    fn numbers_of_a_group_come_in_order() {
        let mut numbers = Numbers::default();
        for (group, number) in [(5, 9), (5, 2), (5, 5), (5, 7), (4, 6), (6, 1), (6, u64::MAX), (0, 3)] {
            numbers.note(GroupId::new(group), number);
        }
        let all = |numbers: &Numbers, group, from| numbers.of(GroupId::new(group), from).collect::<Vec<_>>();
        let of = |group, from| all(&numbers, group, from);
        assert_eq!(of(5, 0), [2, 5, 7, 9]);
        assert_eq!(of(5, 2), [2, 5, 7, 9]);
        assert_eq!(of(5, 3), [5, 7, 9]);
        assert_eq!(of(5, 5), [5, 7, 9]);
        assert_eq!(of(5, 6), [7, 9]);
        assert_eq!(of(5, 10), [0; 0]);
        assert_eq!(of(6, 0), [1, 6, u64::MAX]);
        assert_eq!((of(0, 0), of(7, 0)), (vec![0, 3], vec![7]));
        assert_eq!(of(u64::MAX, 0), [u64::MAX]);
        numbers.lose(GroupId::new(5), 7);
        assert_eq!(all(&numbers, 5, 6), [9]);
    }
}
