//! Who is meant: identifiers to subscribers, sessions to charging groups.
//!
//! The index at the edge (design D3). It only says where to look: the shard checks again under its lock. Lookups take
//! no other lock, and nothing here waits.

use std::collections::HashMap;
use std::hash::BuildHasher;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use parking_lot::RwLock;
use rating_engine::command::Refusal;
use rating_engine::ids::{AccountId, Digits, GroupId, Identifier, SessionId, SubscriberId, TenantId};
use rating_engine::table::{Keyed, Table};

/// Parts that the index is locked in.
const PARTS: usize = 256;

/// An identifier of a tenant. Nearly all are numbers: those lie here, in 16 octets.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Name {
    Msisdn(TenantId, Digits),
    Imsi(TenantId, Digits),
    Other(TenantId, Box<Identifier>),
}

impl Name {
    fn of(tenant: TenantId, identifier: &Identifier) -> Self {
        match identifier {
            Identifier::Msisdn(digits) => Self::Msisdn(tenant, *digits),
            Identifier::Imsi(digits) => Self::Imsi(tenant, *digits),
            Identifier::Sip(_) | Identifier::Nai(_) | Identifier::Private(_) => {
                Self::Other(tenant, Box::new(identifier.clone()))
            }
        }
    }

    fn identifier(&self) -> Identifier {
        match self {
            Self::Msisdn(_, digits) => Identifier::Msisdn(*digits),
            Self::Imsi(_, digits) => Identifier::Imsi(*digits),
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
    parts: RandomState,
    sessions: DashMap<SessionId, Home, RandomState>,
    /// Accounts whose charging group has another number than they have.
    grouped: DashMap<AccountId, GroupId, RandomState>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            identifiers: (0..PARTS).map(|_| RwLock::default()).collect(),
            parts: RandomState::default(),
            sessions: DashMap::with_capacity_and_hasher_and_shard_amount(0, RandomState::default(), PARTS),
            grouped: DashMap::default(),
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
        let before = self.part(&name).write().insert(Pointer { name, at });
        before.map(|pointer| pointer.at.0)
    }

    /// Lets an identifier mean nobody.
    pub fn unpoint(&self, tenant: TenantId, identifier: &Identifier) {
        let name = Name::of(tenant, identifier);
        self.part(&name).write().remove(&name);
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

    /// How many identifiers there are.
    pub fn len(&self) -> usize {
        self.identifiers.iter().map(|part| part.read().len()).sum()
    }

    /// Whether there is no identifier.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The identifiers of these subscribers, in order. Walks the whole index once, part by part: for people.
    pub fn identifiers_of(&self, subscribers: &[SubscriberId]) -> HashMap<SubscriberId, Vec<Identifier>, RandomState> {
        let mut found: HashMap<_, Vec<_>, _> = subscribers.iter().map(|id| (*id, Vec::new())).collect();
        for part in &self.identifiers {
            for pointer in part.read().values() {
                if let Some(theirs) = found.get_mut(&pointer.at.0) {
                    theirs.push(pointer.name.identifier());
                }
            }
        }
        found.values_mut().for_each(|theirs| theirs.sort_unstable());
        found
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
