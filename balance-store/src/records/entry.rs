//! One command's entry in the log: when, for which charging group, and every record it changed.
//!
//! An entry is a list of (kind, key, after-image), closed by an end mark, so that a part of one is never taken for a
//! whole one. The records of a shard come from its [`Writes`]; identifiers and catalogue documents, which no shard
//! holds, have kinds of their own and can share an entry with them. CDRs stand beside the entry, not in it.

use rating_engine::account::Subscriber;
use rating_engine::command::{EntityKey, SessionChange, Write, Writes};
use rating_engine::ids::{
    AccountId, GroupId, IdempotencyKey, Identifier, Lsn, SessionId, SubscriberId, TariffName, TenantId,
};
use rating_engine::session::Session;
use rating_engine::shard::{Archived, Image, Shard};
use rating_engine::time::Timestamp;

use super::account::{put_account, put_subscriber, read_account, read_subscriber};
use super::answer::{put_mutation, read_mutation};
use super::session::{SessionImage, put_session, read_session};
use super::values::Resolve;
use super::wire::{Fault, Read, Reader, RecordError, Writer};
use crate::chain::HashChain;

/// The format of an entry.
const VERSION: u8 = 1;

// Kinds of writes. 0 ends the list.
const END: u8 = 0;
const ACCOUNT: u8 = 1;
const SESSION: u8 = 3;
const SESSION_GONE: u8 = 4;
const SUBSCRIBER: u8 = 5;
const MUTATION: u8 = 7;
const MUTATION_GONE: u8 = 8;
const IDENTIFIER: u8 = 9;
const IDENTIFIER_GONE: u8 = 10;
const CATALOGUE: u8 = 11;
const AUDIT: u8 = 12;
const DESK: u8 = 13;
const DESK_GONE: u8 = 14;

/// Whom an identifier names, and in which charging group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The subscriber.
    pub subscriber: SubscriberId,
    /// The charging group it is in.
    pub group: GroupId,
}

impl Owner {
    /// The owner of a subscriber's identifiers.
    pub const fn of(subscriber: &Subscriber) -> Self {
        Self { subscriber: subscriber.id, group: subscriber.group }
    }
}

/// An entry as read.
#[derive(Debug)]
pub struct Entry {
    /// When the command was handled.
    pub now: Timestamp,
    /// The charging group it was for, where one was known.
    pub group: Option<GroupId>,
    /// What it changed, in the order written.
    pub writes: Vec<LogWrite>,
}

/// One change of an entry.
#[derive(Debug)]
pub enum LogWrite {
    /// An account's, subscriber's or mutation's after-image, for [`Shard::load`] of its group's shard; never a session.
    Image(GroupId, Image),
    /// A session's after-image as far as it changed, for [`Shard::load_session_change`] of its group's shard.
    Session(GroupId, Box<Session>, SessionChange),
    /// A record that is gone, for [`Shard::load`] of its group's shard.
    Gone(EntityKey, GroupId),
    /// An identifier names a subscriber, or nobody any more.
    Identifier(TenantId, Identifier, Option<Owner>),
    /// A tariff document.
    Catalogue {
        /// The tariff.
        name: TariffName,
        /// Its version.
        version: u32,
        /// The document, as it was handed in.
        source: Box<[u8]>,
    },
    /// An audit record.
    Audit {
        /// Its place: from 1, without gaps.
        position: u64,
        /// The chain after it.
        chain: HashChain,
        /// It, for [`super::decode_audit`].
        octets: Box<[u8]>,
    },
    /// A record of the desk, or that it is gone.
    Desk {
        /// Its key, which begins with its drawer.
        key: Box<[u8]>,
        /// Its octets.
        value: Option<Box<[u8]>>,
    },
}

impl LogWrite {
    /// Loads what belongs in a shard into `shard`, which the caller found by the group; hands back what does not.
    pub fn load(self, shard: &mut Shard, lsn: Lsn) -> Option<Self> {
        match self {
            Self::Image(_, image) => shard.load(image, lsn),
            Self::Session(_, session, change) => shard.load_session_change(*session, change, lsn),
            Self::Gone(key, group) => shard.load(Image::Gone(key, group), lsn),
            Self::Identifier(..) | Self::Catalogue { .. } | Self::Audit { .. } | Self::Desk { .. } => {
                return Some(self);
            }
        }
        None
    }

    /// The archived session that has to be recalled before this is loaded as entry `lsn`.
    pub fn wants<'a>(&self, shard: &'a Shard, lsn: Lsn) -> Option<&'a Archived> {
        match self {
            Self::Session(_, session, change) if !change.fresh => {
                shard.archived(&session.id).filter(|archived| archived.changed < lsn)
            }
            Self::Session(..)
            | Self::Image(..)
            | Self::Gone(..)
            | Self::Identifier(..)
            | Self::Catalogue { .. }
            | Self::Audit { .. }
            | Self::Desk { .. } => None,
        }
    }

    /// The charging group whose shard it belongs in, if it belongs in one.
    pub const fn group(&self) -> Option<GroupId> {
        match self {
            Self::Image(group, _) | Self::Session(group, ..) | Self::Gone(_, group) => Some(*group),
            Self::Identifier(..) | Self::Catalogue { .. } | Self::Audit { .. } | Self::Desk { .. } => None,
        }
    }
}

/// What an entry says before its changes: enough to know who has to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// When the command was handled.
    pub now: Timestamp,
    /// The charging group it was for, where one was known.
    pub group: Option<GroupId>,
    /// Whether its first change is a catalogue document, by which later entries are read.
    pub catalogue: bool,
}

/// Writes one entry, change by change. An entry that is not finished cannot be read.
#[derive(Debug)]
#[must_use = "an entry that is not finished cannot be read"]
pub struct EntryEncoder<'a>(Writer<'a>, Option<GroupId>);

impl<'a> EntryEncoder<'a> {
    /// Begins an entry at the end of `out`. `group` is the charging group that the command was for; an expiry, which
    /// knows none, has none.
    pub fn begin(out: &'a mut Vec<u8>, now: Timestamp, group: Option<GroupId>) -> Self {
        let mut w = Writer::new(out);
        w.u8(VERSION);
        w.time(now);
        w.presence(&[group.is_some()]);
        if let Some(group) = group {
            w.u64(group.get());
        }
        Self(w, group)
    }

    /// What a command changed in `shard`, after [`Shard::place_cdrs`].
    pub fn writes(mut self, shard: &Shard, writes: &Writes) -> Self {
        for write in writes {
            self.write(shard, write);
        }
        self
    }

    /// An identifier that names `owner` from now on, or nobody.
    pub fn identifier(mut self, tenant: TenantId, identifier: &Identifier, owner: Option<Owner>) -> Self {
        let w = &mut self.0;
        w.u8(if owner.is_some() { IDENTIFIER } else { IDENTIFIER_GONE });
        w.u64(tenant.get().into());
        w.identifier(identifier);
        if let Some(Owner { subscriber, group }) = owner {
            w.u64(subscriber.get());
            w.u64(group.get());
        }
        self
    }

    /// A tariff document.
    pub fn catalogue(mut self, name: &TariffName, version: u32, source: &[u8]) -> Self {
        let w = &mut self.0;
        w.u8(CATALOGUE);
        w.str(name.as_str());
        w.u64(version.into());
        w.octets(source);
        self
    }

    /// An audit record.
    pub fn audit(mut self, position: u64, chain: HashChain, octets: &[u8]) -> Self {
        let w = &mut self.0;
        w.u8(AUDIT);
        w.u64(position);
        w.raw(chain.octets());
        w.octets(octets);
        self
    }

    /// A record of the desk; `None` when it is gone.
    pub fn desk(mut self, key: &[u8], value: Option<&[u8]>) -> Self {
        let w = &mut self.0;
        w.u8(if value.is_some() { DESK } else { DESK_GONE });
        w.octets(key);
        if let Some(value) = value {
            w.octets(value);
        }
        self
    }

    /// Ends the entry.
    pub fn finish(mut self) {
        self.0.u8(END);
    }

    /// The after-image, or that the record is gone.
    fn write(&mut self, shard: &Shard, write: &Write) {
        let Self(w, group) = self;
        let w = &mut *w;
        match write {
            Write::Account(id) => {
                if let Some(account) = shard.account(*id) {
                    w.u8(ACCOUNT);
                    w.u64(id.get());
                    put_account(w, account);
                }
            }
            Write::Subscriber(id) => {
                if let Some(subscriber) = shard.subscriber(*id) {
                    w.u8(SUBSCRIBER);
                    w.u64(id.get());
                    put_subscriber(w, subscriber);
                }
            }
            Write::Session(id, change) => {
                if let Some(session) = shard.session(id) {
                    // A command's sessions are of the group that it was for.
                    let own = || shard.account(session.account).map(|account| account.group);
                    w.u8(SESSION);
                    w.octets(id.octets());
                    put_session(w, session, group.or_else(own).unwrap_or_default(), *change);
                }
            }
            Write::Mutation(key) => {
                if let Some(mutation) = shard.mutation(key) {
                    w.u8(MUTATION);
                    w.str(key.1.as_str());
                    put_mutation(w, mutation);
                }
            }
            Write::SessionGone(id, group) => {
                w.u8(SESSION_GONE);
                w.octets(id.octets());
                w.u64(group.get());
            }
            Write::MutationGone((group, key)) => {
                w.u8(MUTATION_GONE);
                w.str(key.as_str());
                w.u64(group.get());
            }
        }
    }
}

/// Writes the entry of one command at the end of `out`: what it changed in `shard`, after [`Shard::place_cdrs`].
/// `group` is the charging group that the command was for; an expiry, which knows none, has none.
pub fn encode_entry(out: &mut Vec<u8>, now: Timestamp, group: Option<GroupId>, shard: &Shard, writes: &Writes) {
    EntryEncoder::begin(out, now, group).writes(shard, writes).finish();
}

/// Reads what an entry says before its changes.
///
/// # Errors
/// [`RecordError`] when the octets are no entry.
pub fn decode_entry_head(octets: &[u8]) -> Result<EntryHead, RecordError> {
    let mut r = Reader::new(octets);
    let (now, group) = read_head(&mut r)?;
    Ok(EntryHead { now, group, catalogue: r.u8("write")? == CATALOGUE })
}

/// Reads an entry.
///
/// # Errors
/// [`RecordError`] when the octets are no entry, or a tariff version that a session names is not at hand.
pub fn decode_entry(octets: &[u8], resolve: &Resolve<'_>) -> Result<Entry, RecordError> {
    let mut r = Reader::new(octets);
    let (now, group) = read_head(&mut r)?;
    let mut writes = Vec::new();
    while let Some(write) = read_write(&mut r, resolve)? {
        writes.push(write);
    }
    r.finish("entry")?;
    Ok(Entry { now, group, writes })
}

fn read_head(r: &mut Reader<'_>) -> Read<(Timestamp, Option<GroupId>)> {
    r.version(VERSION, "entry")?;
    let now = r.time("entry time")?;
    let mut present = r.presence(1, "entry")?;
    let group = r.option(&mut present, |r| r.u64("charging group").map(GroupId::new))?;
    Ok((now, group))
}

fn read_write(r: &mut Reader<'_>, resolve: &Resolve<'_>) -> Read<Option<LogWrite>> {
    let offset = r.offset();
    Ok(Some(match r.u8("write")? {
        END => return Ok(None),
        ACCOUNT => {
            let id = AccountId::new(r.u64("account")?);
            let account = read_account(r, id)?;
            LogWrite::Image(account.group, Image::Account(account))
        }
        SESSION => {
            let id = SessionId::new(r.octets("session")?);
            let SessionImage { group, session, change } = read_session(r, id, resolve)?;
            LogWrite::Session(group, session, change)
        }
        SESSION_GONE => {
            let key = EntityKey::Session(SessionId::new(r.octets("session")?));
            LogWrite::Gone(key, GroupId::new(r.u64("charging group")?))
        }
        SUBSCRIBER => {
            let id = SubscriberId::new(r.u64("subscriber")?);
            let subscriber = read_subscriber(r, id)?;
            LogWrite::Image(subscriber.group, Image::Subscriber(subscriber))
        }
        MUTATION => {
            let key = IdempotencyKey::new(r.str("idempotency key")?);
            let mutation = read_mutation(r)?;
            LogWrite::Image(mutation.group, Image::Mutation(key, mutation))
        }
        MUTATION_GONE => {
            let key = IdempotencyKey::new(r.str("idempotency key")?);
            let group = GroupId::new(r.u64("charging group")?);
            LogWrite::Gone(EntityKey::Mutation((group, key)), group)
        }
        IDENTIFIER => {
            let (tenant, identifier) = read_identifier(r)?;
            let subscriber = SubscriberId::new(r.u64("subscriber")?);
            let owner = Owner { subscriber, group: GroupId::new(r.u64("charging group")?) };
            LogWrite::Identifier(tenant, identifier, Some(owner))
        }
        IDENTIFIER_GONE => {
            let (tenant, identifier) = read_identifier(r)?;
            LogWrite::Identifier(tenant, identifier, None)
        }
        CATALOGUE => LogWrite::Catalogue {
            name: TariffName::new(r.str("tariff")?),
            version: r.number("tariff version")?,
            source: r.octets("tariff document")?.into(),
        },
        AUDIT => LogWrite::Audit {
            position: r.u64("audit position")?,
            chain: HashChain::from_octets(r.array("chain")?),
            octets: r.octets("audit record")?.into(),
        },
        DESK => {
            let key = r.octets("desk key")?.into();
            LogWrite::Desk { key, value: Some(r.octets("desk record")?.into()) }
        }
        DESK_GONE => LogWrite::Desk { key: r.octets("desk key")?.into(), value: None },
        _ => return Err(Reader::error("write", offset, Fault::Value)),
    }))
}

fn read_identifier(r: &mut Reader<'_>) -> Read<(TenantId, Identifier)> {
    Ok((TenantId::new(r.number("tenant")?), r.identifier()?))
}
