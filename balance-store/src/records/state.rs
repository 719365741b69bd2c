//! Values of the state: the LSN of the last change in eight octets, then the record. Keys are in [`crate::keys`].
//!
//! The stamp decides, record by record, whether the log's tail is newer. The value of a session is whole.

use rating_engine::ids::{GroupId, Lsn, SubscriberId};
use rating_engine::shard::{Entity, Image};

use super::account::{put_account, put_subscriber, read_account, read_subscriber};
use super::answer::{put_mutation, read_mutation};
use super::entry::Owner;
use super::session::{encode_session, read_session};
use super::values::Resolve;
use super::wire::{Fault, Read, Reader, RecordError, Writer};
use crate::keys;

/// The format of an identifier's owner and of a catalogue document.
const VERSION: u8 = 1;

/// Which kind of record a value is; the family it is kept in says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntityKind {
    /// An account.
    Account,
    /// A session.
    Session,
    /// A subscriber.
    Subscriber,
    /// A remembered mutation.
    Mutation,
}

/// A record of the state as read.
#[derive(Debug)]
pub struct StoredEntity {
    /// The record, for `Shard::load`.
    pub image: Image,
    /// The entry that changed it last.
    pub lsn: Lsn,
    /// Its charging group: says which shard.
    pub group: GroupId,
}

/// Writes the value of a record at the end of `out`, stamped with the entry that changed it last. `group` is written
/// for a session, which does not know its own.
pub fn encode_entity(out: &mut Vec<u8>, entity: Entity<'_>, group: GroupId, lsn: Lsn) {
    let mut w = Writer::new(out);
    w.fixed64(lsn.get());
    match entity {
        Entity::Account(account) => put_account(&mut w, account),
        Entity::Subscriber(subscriber) => put_subscriber(&mut w, subscriber),
        Entity::Session(session) => encode_session(out, session, group),
        Entity::Mutation(_, mutation) => put_mutation(&mut w, mutation),
    }
}

/// Reads a record from its key and value.
///
/// # Errors
/// [`RecordError`] when key or value are not of this kind, or a tariff version that a session names is not at hand.
pub fn decode_entity(
    kind: EntityKind,
    key: &[u8],
    value: &[u8],
    resolve: &Resolve<'_>,
) -> Result<StoredEntity, RecordError> {
    let mut r = Reader::new(value);
    let lsn = Lsn::new(r.fixed64("stamp")?);
    let (image, group) = read_entity(&mut r, kind, key, resolve)?;
    r.finish("value")?;
    Ok(StoredEntity { image, lsn, group })
}

fn read_entity(r: &mut Reader<'_>, kind: EntityKind, key: &[u8], resolve: &Resolve<'_>) -> Read<(Image, GroupId)> {
    Ok(match kind {
        EntityKind::Account => {
            let account = read_account(r, keys::read_account(key)?)?;
            let group = account.group;
            (Image::Account(account), group)
        }
        EntityKind::Subscriber => {
            let subscriber = read_subscriber(r, keys::read_subscriber(key)?)?;
            let group = subscriber.group;
            (Image::Subscriber(subscriber), group)
        }
        EntityKind::Session => {
            let offset = r.offset();
            let image = read_session(r, keys::read_session(key)?, resolve)?;
            if !image.change.fresh {
                return Err(Reader::error("session", offset, Fault::Value));
            }
            (Image::Session(image.session), image.group)
        }
        EntityKind::Mutation => {
            let mutation = read_mutation(r)?;
            let group = mutation.group;
            (Image::Mutation(keys::read_mutation(key)?, mutation), group)
        }
    })
}

/// Writes the value of an identifier at the end of `out`.
pub fn encode_owner(out: &mut Vec<u8>, owner: Owner, lsn: Lsn) {
    let mut w = Writer::new(out);
    w.fixed64(lsn.get());
    w.u8(VERSION);
    w.u64(owner.subscriber.get());
    w.u64(owner.group.get());
}

/// Reads the value of an identifier.
///
/// # Errors
/// [`RecordError`] when it is none.
pub fn decode_owner(value: &[u8]) -> Result<(Owner, Lsn), RecordError> {
    let mut r = Reader::new(value);
    let lsn = Lsn::new(r.fixed64("stamp")?);
    r.version(VERSION, "owner")?;
    let subscriber = SubscriberId::new(r.u64("subscriber")?);
    let owner = Owner { subscriber, group: GroupId::new(r.u64("charging group")?) };
    r.finish("owner")?;
    Ok((owner, lsn))
}

/// Writes the value of a tariff document at the end of `out`.
pub fn encode_document(out: &mut Vec<u8>, source: &[u8], lsn: Lsn) {
    let mut w = Writer::new(out);
    w.fixed64(lsn.get());
    w.u8(VERSION);
    w.raw(source);
}

/// Writes the value of a record of the desk at the end of `out`.
pub fn encode_desk_value(out: &mut Vec<u8>, octets: &[u8], lsn: Lsn) {
    let mut w = Writer::new(out);
    w.fixed64(lsn.get());
    w.raw(octets);
}

/// Reads the value of a record of the desk: its octets, and the stamp.
///
/// # Errors
/// [`RecordError`] when it is none.
pub fn decode_desk_value(value: &[u8]) -> Result<(&[u8], Lsn), RecordError> {
    let mut r = Reader::new(value);
    let lsn = Lsn::new(r.fixed64("stamp")?);
    Ok((r.rest(), lsn))
}

/// Reads the value of a tariff document: as it was handed in.
///
/// # Errors
/// [`RecordError`] when it is none.
pub fn decode_document(value: &[u8]) -> Result<(&[u8], Lsn), RecordError> {
    let mut r = Reader::new(value);
    let lsn = Lsn::new(r.fixed64("stamp")?);
    r.version(VERSION, "tariff document")?;
    Ok((r.rest(), lsn))
}
