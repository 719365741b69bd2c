//! Who is meant: identifiers to subscribers, sessions to charging groups.
//!
//! The index at the edge (design D3). It only says where to look: the shard checks again under its lock. Lookups take
//! no other lock, and nothing here waits.

use std::hash::BuildHasher;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use parking_lot::RwLock;
use rating_engine::command::Refusal;
use rating_engine::ids::{AccountId, Digits, GroupId, Iccid, Identifier, SessionId, SubscriberId, TenantId};
use rating_engine::table::{Keyed, Table};
use smallvec::{SmallVec, smallvec};

/// Parts that the index is locked in.
const PARTS: usize = 256;

/// An identifier of a tenant. Nearly all are numbers: those lie here, in 16 octets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Msisdn(TenantId, Digits),
    Imsi(TenantId, Digits),
    Iccid(TenantId, Iccid),
    Other(TenantId, Box<Identifier>),
}

impl Name {
    fn of(tenant: TenantId, identifier: &Identifier) -> Self {
        match identifier {
            Identifier::Msisdn(digits) => Self::Msisdn(tenant, *digits),
            Identifier::Imsi(digits) => Self::Imsi(tenant, *digits),
            Identifier::Iccid(number) => Self::Iccid(tenant, *number),
            Identifier::Sip(_) | Identifier::Nai(_) | Identifier::Private(_) | Identifier::External(_) => {
                Self::Other(tenant, Box::new(identifier.clone()))
            }
        }
    }

    fn identifier(&self) -> Identifier {
        match self {
            Self::Msisdn(_, digits) => Identifier::Msisdn(*digits),
            Self::Imsi(_, digits) => Identifier::Imsi(*digits),
            Self::Iccid(_, number) => Identifier::Iccid(*number),
            Self::Other(_, identifier) => (**identifier).clone(),
        }
    }
}

/// A name and whom it means.
#[derive(Debug)]
struct Pointer {
    name: Name,
    at: (SubscriberId, GroupId),
}

impl Keyed for Pointer {
    type Key = Name;

    fn key(&self) -> &Name {
        &self.name
    }
}

/// A subscriber and its names: most have two.
#[derive(Debug)]
struct Called {
    id: SubscriberId,
    names: SmallVec<[Name; 2]>,
}

impl Keyed for Called {
    type Key = SubscriberId;

    fn key(&self) -> &SubscriberId {
        &self.id
    }
}

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// The charging group that has it.
    pub group: GroupId,
    /// Whether several groups have had a session under its id: then who a report is of decides whose it is.
    pub contested: bool,
}

impl Home {
    const fn of(group: GroupId) -> Self {
        Self { group, contested: false }
    }
}

/// The index.
#[derive(Debug)]
pub struct Directory {
    identifiers: Box<[RwLock<Table<Pointer>>]>,
    /// The same the other way round.
    called: Box<[RwLock<Table<Called>>]>,
    parts: RandomState,
    sessions: DashMap<SessionId, Home, RandomState>,
    /// Accounts whose charging group has another number than they have.
    grouped: DashMap<AccountId, GroupId, RandomState>,
    /// Subscribers of whom that is so.
    members: DashMap<SubscriberId, GroupId, RandomState>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            identifiers: (0..PARTS).map(|_| RwLock::default()).collect(),
            called: (0..PARTS).map(|_| RwLock::default()).collect(),
            parts: RandomState::default(),
            sessions: DashMap::with_capacity_and_hasher_and_shard_amount(0, RandomState::default(), PARTS),
            grouped: DashMap::default(),
            members: DashMap::default(),
        }
    }
}

impl Directory {
    /// The part that has a name.
    fn part(&self, name: &Name) -> &RwLock<Table<Pointer>> {
        let hash = usize::try_from(self.parts.hash_one(name) >> 32).unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "the index is reduced to the number of parts, which is not 0")]
        &self.identifiers[hash % PARTS]
    }

    /// The part that has a subscriber.
    fn called(&self, id: SubscriberId) -> &RwLock<Table<Called>> {
        let hash = usize::try_from(self.parts.hash_one(id) >> 32).unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "the index is reduced to the number of parts, which is not 0")]
        &self.called[hash % PARTS]
    }

    fn lose(&self, id: SubscriberId, name: &Name) {
        let mut part = self.called(id).write();
        let Some(called) = part.get_mut(&id) else { return };
        called.names.retain(|known| known != name);
        if called.names.is_empty() {
            part.remove(&id);
        }
    }

    /// Whom these identifiers mean.
    ///
    /// # Errors
    /// [`Refusal::UnknownSubscriber`] when nobody has any of them, [`Refusal::IdentifiersDisagree`] when they belong to
    /// different subscribers. An identifier that nobody has does not count against one that somebody has.
    pub fn resolve(&self, tenant: TenantId, identifiers: &[Identifier]) -> Result<(SubscriberId, GroupId), Refusal> {
        let mut found = None;
        for identifier in identifiers {
            let Some(at) = self.find(tenant, identifier) else { continue };
            match found {
                None => found = Some(at),
                Some(known) if known == at => {}
                Some(_) => return Err(Refusal::IdentifiersDisagree),
            }
        }
        found.ok_or(Refusal::UnknownSubscriber)
    }

    /// Whom one identifier means.
    pub fn find(&self, tenant: TenantId, identifier: &Identifier) -> Option<(SubscriberId, GroupId)> {
        let name = Name::of(tenant, identifier);
        self.part(&name).read().get(&name).map(|pointer| pointer.at)
    }

    /// Points an identifier at a subscriber and returns whom it meant before.
    pub fn point(&self, tenant: TenantId, identifier: Identifier, at: (SubscriberId, GroupId)) -> Option<SubscriberId> {
        let name = Name::of(tenant, &identifier);
        let before = self.part(&name).write().insert(Pointer { name: name.clone(), at });
        let before = before.map(|pointer| pointer.at.0);
        if let Some(other) = before.filter(|before| *before != at.0) {
            self.lose(other, &name);
        }
        let mut part = self.called(at.0).write();
        match part.get_mut(&at.0) {
            Some(called) if called.names.contains(&name) => {}
            Some(called) => called.names.push(name),
            None => drop(part.insert(Called { id: at.0, names: smallvec![name] })),
        }
        before
    }

    /// Lets an identifier mean nobody.
    pub fn unpoint(&self, tenant: TenantId, identifier: &Identifier) {
        let name = Name::of(tenant, identifier);
        let before = self.part(&name).write().remove(&name);
        if let Some(before) = before {
            self.lose(before.at.0, &name);
        }
    }

    /// Notes an account's charging group.
    pub fn group_account(&self, account: AccountId, group: GroupId) {
        if account.get() != group.get() {
            self.grouped.insert(account, group);
        }
    }

    /// The charging group of an account, if there is such an account.
    pub fn group_of(&self, account: AccountId) -> GroupId {
        self.grouped.get(&account).map_or(GroupId::new(account.get()), |group| *group)
    }

    /// Notes a subscriber's charging group, which it keeps.
    pub fn group_member(&self, subscriber: SubscriberId, group: GroupId) {
        if subscriber.get() != group.get() {
            self.members.insert(subscriber, group);
        }
    }

    /// The charging group of a subscriber, if there is such a subscriber.
    pub fn group_of_member(&self, subscriber: SubscriberId) -> GroupId {
        self.members.get(&subscriber).map_or(GroupId::new(subscriber.get()), |group| *group)
    }

    /// How many identifiers there are.
    pub fn len(&self) -> usize {
        self.identifiers.iter().map(|part| part.read().len()).sum()
    }

    /// Whether there is no identifier.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The identifiers of a subscriber, in order.
    pub fn identifiers_of(&self, id: SubscriberId) -> Vec<Identifier> {
        let part = self.called(id).read();
        let mut theirs: Vec<Identifier> =
            part.get(&id).into_iter().flat_map(|called| &called.names).map(Name::identifier).collect();
        drop(part);
        theirs.sort_unstable();
        theirs
    }

    /// The charging group of a session that is remembered.
    pub fn session(&self, id: &SessionId) -> Option<GroupId> {
        self.home(id).map(|home| home.group)
    }

    /// The same, and whether others have had it.
    pub fn home(&self, id: &SessionId) -> Option<Home> {
        self.sessions.get(id).map(|entry| *entry)
    }

    /// Shows every session that is remembered. Part by part: what comes meanwhile may be shown or not.
    pub fn each_session(&self, mut each: impl FnMut(&SessionId, GroupId)) {
        self.sessions.iter().for_each(|entry| each(entry.key(), entry.value().group));
    }

    /// Notes a session. One that has ended does not stand in front of one that another group has under the same id.
    pub fn opened(&self, id: SessionId, group: GroupId, open: bool) {
        let mut home = self.sessions.entry(id).or_insert(Home::of(group));
        if open {
            let contested = home.contested || home.group != group;
            *home = Home { group, contested };
        }
    }

    /// Notes a session that was loaded, in any order of loading. Whether another group has one under the same id: then the
    /// caller finds out which came later and notes that one as open.
    pub fn loaded(&self, id: SessionId, group: GroupId) -> bool {
        let mut home = self.sessions.entry(id).or_insert(Home::of(group));
        let is_other = home.group != group;
        home.contested |= is_other;
        is_other
    }

    /// Forgets a session of `group`; one that another group opened under the same id stays.
    pub fn forgotten(&self, id: &SessionId, group: GroupId) {
        self.sessions.remove_if(id, |_, home| home.group == group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of millions has nearly only numbers.
    #[test]
    fn names_that_are_numbers_are_short() {
        assert_eq!(std::mem::size_of::<Name>(), 16);
    }

    #[test]
    fn names_go_with_whoever_has_them() {
        let directory = Directory::default();
        let tenant = TenantId::default();
        let (a, b) = ((SubscriberId::new(1), GroupId::new(1)), (SubscriberId::new(2), GroupId::new(1)));
        let names: Vec<Identifier> =
            ["msisdn-491", "imsi-262", "sip-a@b", "iccid-8949", "external-17"].map(|name| name.parse().unwrap()).into();
        for name in &names {
            assert_eq!(directory.point(tenant, name.clone(), a), None);
            assert_eq!(directory.point(tenant, name.clone(), a), Some(a.0), "again");
        }
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(directory.identifiers_of(a.0), sorted);
        assert_eq!(directory.point(tenant, names[0].clone(), b), Some(a.0));
        assert_eq!(directory.identifiers_of(b.0), names[..1]);
        assert_eq!(directory.identifiers_of(a.0).len(), 4);
        for name in &names {
            directory.unpoint(tenant, name);
        }
        assert!(directory.is_empty() && directory.identifiers_of(a.0).is_empty());
        assert!(directory.called.iter().all(|part| part.read().is_empty()));
    }
}
