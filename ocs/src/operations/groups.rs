//! Charging groups: what they are called, and who is in them.
//!
//! A group is there as long as an account is in it; who is in it the shard says by its index. What it is called is in records
//! of the desk, written in the entry that remembers the request. Whoever says it holds the lock of what is said from looking to
//! appending, so that an external id is one group's. Lock order: this, a shard, the edge.

use std::sync::Arc;

use balance_store::keys::{self, Drawer};
use balance_store::records::{self, GroupWords};
use ocs_api::{
    Basis, Caller, GroupHead, GroupOperations, GroupPut, GroupSaid, GroupSelection, GroupSelector, GroupSnapshot,
    MemberCap, MemberChange, MemberRemoval, MemberSnapshot, OperationError, Operations, Put, SubscriberPut,
    SubscriberSelector, SubscriberSnapshot, etag, name,
};
use parking_lot::Mutex;
use rating_engine::account::{Account, Subscriber};
use rating_engine::command::{Change, MutationOutcome, Refusal};
use rating_engine::ids::{AccountId, CounterId, GroupId, Identifier, Lsn, SubscriberId, TenantId};
use rating_engine::shard::Shard;
use rating_engine::time::Timestamp;

use super::{Desk, by};
use crate::audit_log::Differences;
use crate::charging::{Charged, Noting};
use crate::edge::DeskRecord;

/// Groups that something is said of: some 300 octets of memory each.
const GROUPS_MAX: usize = 2_000_000;

/// Held by whoever says something of a group. How many there are of which something is said; `None` before anybody looked.
pub(super) type Saying = Arc<Mutex<Option<usize>>>;

fn key_of(tenant: TenantId, group: GroupId) -> Vec<u8> {
    keys::desk(Drawer::Groups, &[&tenant.get().to_be_bytes()[..], &group.get().to_be_bytes()].concat())
}

fn index_of(tenant: TenantId, external_id: &str) -> Vec<u8> {
    keys::desk(Drawer::GroupIds, &[&tenant.get().to_be_bytes()[..], external_id.as_bytes()].concat())
}

fn number_of(octets: &[u8]) -> Result<GroupId, OperationError> {
    let number = octets.last_chunk().map(|octets| GroupId::new(u64::from_be_bytes(*octets)));
    number.ok_or_else(|| damaged("a group without a number"))
}

fn said_of(octets: &[u8]) -> Result<GroupSaid, OperationError> {
    let GroupWords { display_name, external_id } = records::decode_group(octets).map_err(damaged)?;
    Ok(GroupSaid { display_name, external_id })
}

fn damaged(error: impl std::fmt::Display) -> OperationError {
    OperationError::Store(format!("a record of charging groups: {error}"))
}

impl Desk {
    /// The group that is meant.
    fn group_of(&self, selection: &GroupSelection) -> Result<GroupId, OperationError> {
        match &selection.group {
            GroupSelector::Id(group) => Ok(*group),
            GroupSelector::External(external_id) => {
                let there = self.charging.edge.desk_record(&index_of(selection.tenant, external_id));
                number_of(&there.ok_or(OperationError::UnknownGroup)?)
            }
        }
    }

    /// What is said of a group; nothing, where nobody said anything.
    fn said(&self, tenant: TenantId, group: GroupId) -> Result<Option<GroupSaid>, OperationError> {
        self.charging.edge.desk_record(&key_of(tenant, group)).map(|octets| said_of(&octets)).transpose()
    }

    /// Looks at a group under its shard's lock. Waits until what was seen is durable.
    async fn seen<T: Send + 'static>(
        &self,
        selection: GroupSelection,
        look: impl FnOnce(&Shard, GroupId) -> T + Send + 'static,
    ) -> Result<(GroupHead, T), OperationError> {
        let desk = self.clone();
        let seen = tokio::task::spawn_blocking(move || {
            let (tenant, id) = (selection.tenant, desk.group_of(&selection)?);
            // The entry that says it is one of the shard's, and not after what is looked at next.
            let head = GroupHead { tenant, id, said: desk.said(tenant, id)?.unwrap_or_default() };
            desk.charging.shards.with(id, |shard| {
                let first = shard.accounts_of(id, AccountId::default()).next();
                first.filter(|account| account.tenant == tenant).ok_or(OperationError::UnknownGroup)?;
                Ok(((head, look(shard, id)), shard.last_lsn()))
            })
        });
        let (seen, lsn): (_, Lsn) = seen.await.map_err(|_| OperationError::Stopping)??;
        self.durable(lsn).await?;
        Ok(seen)
    }

    fn say(&self, caller: &Caller, put: &GroupPut) -> Result<(Charged<MutationOutcome>, String), OperationError> {
        let GroupPut { tenant, id, said, etag: basis, asked } = put;
        let (tenant, group) = (*tenant, *id);
        let target = name::group(tenant, group);
        let mutation = Change::Describe(group).asked(asked.request(&target));
        let mut saying = self.saying.lock();
        let before = self.said(tenant, group)?;
        let (knows, there) = self.charging.shards.with(group, |shard| {
            let first = shard.accounts_of(group, AccountId::default()).next();
            (shard.knows(&mutation), first.is_some_and(|account| account.tenant == tenant))
        });
        // A key that is known is answered as it was, or refused, whatever is there by now.
        if !knows {
            if !there {
                return Err(OperationError::UnknownGroup);
            }
            self.may_say(put, before.is_none(), &mut saying)?;
        }
        let by = by(caller, "ChargingGroups/PutGroup", target, mutation.request.as_ref());
        let (was, mut differences) = (before.clone().unwrap_or_default(), Differences::default());
        differences.note("display_name", &*was.display_name, &*said.display_name);
        differences.note("external_id", &*was.external_id, &*said.external_id);
        let mut desk = Vec::new();
        if !was.external_id.is_empty() && was.external_id != said.external_id {
            desk.push(DeskRecord::gone(index_of(tenant, &was.external_id)));
        }
        if !said.external_id.is_empty() {
            desk.push(DeskRecord::there(index_of(tenant, &said.external_id), group.get().to_be_bytes()));
        }
        let is_said = *said != GroupSaid::default();
        desk.push(if is_said {
            let GroupSaid { display_name, external_id } = said.clone();
            let mut value = Vec::new();
            records::encode_group(&mut value, &GroupWords { display_name, external_id });
            DeskRecord::there(key_of(tenant, group), value)
        } else {
            DeskRecord::gone(key_of(tenant, group))
        });
        let is_same = |_: &Shard| basis.as_deref().is_none_or(|basis| basis == etag::group(&was));
        let noting = Noting {
            by: Some(&by),
            desk,
            differences: differences.into_vec(),
            still: Some(&is_same),
            ..Noting::default()
        };
        let done = self.charging.mutate_with(group, mutation, self.charging.clock.now(), noting);
        let mut now = was;
        if matches!(*done.outcome, MutationOutcome::Done { .. }) && !done.repeated {
            let change = i8::from(is_said) - i8::from(before.is_some());
            *saying = saying.map(|count| count.saturating_add_signed(change.into()));
            now.clone_from(said);
        }
        Ok((done, etag::group(&now)))
    }

    /// Whether what is to be said can be: an external id is one group's.
    fn may_say(&self, put: &GroupPut, is_new: bool, saying: &mut Option<usize>) -> Result<(), OperationError> {
        let taken = self.charging.edge.desk_record(&index_of(put.tenant, &put.said.external_id));
        if let Some(owner) = taken.map(|octets| number_of(&octets)).transpose()?.filter(|owner| *owner != put.id) {
            let external_id = put.said.external_id.clone();
            return Err(OperationError::ExternalIdTaken { external_id, owner });
        }
        let count = || self.charging.edge.desk_len(&keys::desk(Drawer::Groups, &[]));
        if is_new && *saying.get_or_insert_with(count) >= GROUPS_MAX {
            return Err(OperationError::Precondition(format!("something is said of {GROUPS_MAX} groups already")));
        }
        Ok(())
    }

    /// A subscriber as it is, with what can be put of it.
    fn member(
        &self,
        (tenant, selector): &(TenantId, SubscriberSelector),
    ) -> Result<(Subscriber, Vec<Identifier>), OperationError> {
        let (SubscriberSnapshot { subscriber, identifiers }, _) = self.find(*tenant, selector)?;
        Ok((subscriber, identifiers))
    }

    fn change_member(
        &self,
        caller: &Caller,
        change: MemberChange,
    ) -> Result<(Charged<MutationOutcome>, String), OperationError> {
        let (there, identifiers) = self.member(&change.member)?;
        // What else is said of it, an offer that brings another tariff, is not taken back by this.
        let basis = change.etag.unwrap_or_else(|| etag::subscriber(&there, &identifiers).into());
        let put = SubscriberPut {
            id: there.id,
            account: change.account.unwrap_or(there.account),
            tariff: there.tariff,
            state: there.state,
            identifiers,
            sponsor: change.sponsor.unwrap_or(there.sponsor),
            basis: Basis::Etag(basis),
            asked: change.asked,
        };
        self.put(caller, "ChargingGroups/UpdateMember", &put)
    }

    fn close_member(
        &self,
        caller: &Caller,
        removal: &MemberRemoval,
    ) -> Result<(Charged<MutationOutcome>, String), OperationError> {
        let charging = &self.charging;
        // From looking which identifiers it has to taking them away, nobody gives it others.
        let _claim = charging.edge.claim();
        let (there, identifiers) = self.member(&removal.member)?;
        let (id, tenant, group) = (there.id, there.tenant, there.group);
        let target = name::subscriber(tenant, id);
        let mutation = Change::RemoveMember { group, subscriber: id }.asked(removal.asked.request(&target));
        let by = by(caller, "ChargingGroups/RemoveMember", target, mutation.request.as_ref());
        let is_same = |shard: &Shard| {
            let now = shard.subscriber(id).map(|now| etag::subscriber(now, &identifiers));
            removal.etag.is_none() || now.as_deref() == removal.etag.as_deref()
        };
        let noting = Noting {
            by: Some(&by),
            identifiers: identifiers.iter().map(|identifier| (tenant, identifier.clone(), None)).collect(),
            still: Some(&is_same),
            ..Noting::default()
        };
        let done = charging.mutate_with(group, mutation, charging.clock.now(), noting);
        if matches!(*done.outcome, MutationOutcome::Done { .. }) && !done.repeated {
            identifiers.iter().for_each(|identifier| charging.directory.unpoint(tenant, identifier));
        }
        Ok((done, self.subscriber_etag(id, group)))
    }

    /// Does a change that takes locks, and waits until it is durable.
    async fn put_off_thread(
        &self,
        work: impl FnOnce(&Self) -> Result<(Charged<MutationOutcome>, String), OperationError> + Send + 'static,
    ) -> Result<Put, OperationError> {
        if self.charging.journal.is_saturated() {
            return Err(OperationError::Refused(Refusal::TooBusy));
        }
        let desk = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&desk)).await;
        let (done, etag) = done.map_err(|_| OperationError::Stopping)??;
        let repeated = self.settled(done).await?.repeated;
        Ok(Put { etag, repeated })
    }
}

/// What a member may use of shared buckets of its own account, and of its sponsor's where those pay for it.
fn caps(shard: &Shard, member: &Subscriber, now: Timestamp) -> Vec<MemberCap> {
    let sponsor = member.sponsor.as_ref().map(|sponsor| sponsor.account);
    let accounts = [Some(member.account), sponsor].into_iter().flatten().filter_map(|id| shard.account(id));
    let buckets = accounts.flat_map(|account| account.buckets.iter().map(move |bucket| (account.id, bucket)));
    let capped = buckets.filter_map(|(account, bucket)| {
        let cap = bucket.terms.as_ref()?.member_cap?;
        let used = member.counters.used(&CounterId::new(bucket.id.as_str()), now);
        Some(MemberCap { account, bucket: bucket.id.clone(), holding: bucket.holding, cap, used })
    });
    capped.collect()
}

impl GroupOperations for Desk {
    async fn group(&self, selection: GroupSelection, max: usize) -> Result<GroupSnapshot, OperationError> {
        let seen = self.seen(selection, move |shard, group| {
            let accounts = shard.accounts_of(group, AccountId::default()).take(max).cloned();
            (accounts.collect(), shard.group_size(group))
        });
        let (head, (accounts, (account_count, member_count))) = seen.await?;
        Ok(GroupSnapshot { head, accounts, account_count, member_count })
    }

    async fn groups(&self, tenant: TenantId, from: GroupId, max: usize) -> Result<Vec<GroupHead>, OperationError> {
        let prefix = keys::desk(Drawer::Groups, &tenant.get().to_be_bytes());
        let after = from.get().checked_sub(1).map(|before| key_of(tenant, GroupId::new(before)));
        let read = self.charging.edge.desk_records(&prefix, after.as_deref(), max);
        // What was read may not be durable.
        self.durable(self.charging.journal.appended_lsn()).await?;
        read.iter().map(|(key, octets)| Ok(GroupHead { tenant, id: number_of(key)?, said: said_of(octets)? })).collect()
    }

    async fn put_group(&self, caller: Caller, put: GroupPut) -> Result<Put, OperationError> {
        self.put_off_thread(move |desk| desk.say(&caller, &put)).await
    }

    async fn group_accounts(
        &self,
        selection: GroupSelection,
        from: AccountId,
        max: usize,
    ) -> Result<Vec<Account>, OperationError> {
        let seen = move |shard: &Shard, group| shard.accounts_of(group, from).take(max).cloned().collect();
        Ok(self.seen(selection, seen).await?.1)
    }

    async fn members(
        &self,
        selection: GroupSelection,
        from: SubscriberId,
        max: usize,
    ) -> Result<Vec<MemberSnapshot>, OperationError> {
        let now = self.charging.clock.now();
        let seen = self.seen(selection, move |shard, group| {
            let members = shard.members_of(group, from).take(max);
            members.map(|member| (member.clone(), caps(shard, member, now))).collect::<Vec<_>>()
        });
        let shown = seen.await?.1.into_iter().map(|(subscriber, caps)| {
            let identifiers = self.identifiers(subscriber.id);
            MemberSnapshot { subscriber: SubscriberSnapshot { subscriber, identifiers }, caps }
        });
        Ok(shown.collect())
    }

    async fn update_member(&self, caller: Caller, change: MemberChange) -> Result<Put, OperationError> {
        self.put_off_thread(move |desk| desk.change_member(&caller, change)).await
    }

    async fn remove_member(&self, caller: Caller, removal: MemberRemoval) -> Result<Put, OperationError> {
        self.put_off_thread(move |desk| desk.close_member(&caller, &removal)).await
    }
}
