//! Keys of the state: big-endian, so that the order of keys is the order of what they name.
//!
//! | record | key |
//! |---|---|
//! | account, subscriber | number, 8 octets |
//! | session | charging group, 8 octets; its id |
//! | identifier | tenant, 2 octets; kind, 1 octet; digits as a number of 8 octets, a card's number in 10, or text |
//! | mutation | charging group, 8 octets; its idempotency key |
//! | catalogue document | name, 0, version of 4 octets |
//! | audit record | position, 8 octets |
//! | record of the desk | [`Drawer`], 1 octet; what its drawer says |
//!
//! A tenant's identifiers of one kind, and the versions of one tariff, stand side by side. Absent: which family a key
//! is in.

use rating_engine::command::EntityKey;
use rating_engine::ids::{
    AccountId, Digits, GroupId, Iccid, IdempotencyKey, Identifier, SessionId, SubscriberId, TariffName, TenantId,
};

use crate::records::{Fault, Read, Reader, RecordError, identifier_kind, identifier_of};

/// The key of an account.
pub const fn account(id: AccountId) -> [u8; 8] {
    id.get().to_be_bytes()
}

/// The key of a subscriber.
pub const fn subscriber(id: SubscriberId) -> [u8; 8] {
    id.get().to_be_bytes()
}

/// Writes the key of any record of a shard at the end of `out`. Session ids and idempotency keys are only unique in their
/// charging group.
pub fn entity(out: &mut Vec<u8>, group: GroupId, key: &EntityKey) {
    match key {
        EntityKey::Account(id) => out.extend_from_slice(&account(*id)),
        EntityKey::Subscriber(id) => out.extend_from_slice(&subscriber(*id)),
        EntityKey::Session(id) => {
            out.extend_from_slice(&group.get().to_be_bytes());
            out.extend_from_slice(id.octets());
        }
        EntityKey::Mutation((group, key)) => {
            out.extend_from_slice(&group.get().to_be_bytes());
            out.extend_from_slice(key.as_str().as_bytes());
        }
    }
}

/// Writes the key of an identifier at the end of `out`.
pub fn identifier(out: &mut Vec<u8>, tenant: TenantId, identifier: &Identifier) {
    out.extend_from_slice(&tenant.get().to_be_bytes());
    out.push(identifier_kind(identifier));
    match identifier {
        Identifier::Msisdn(digits) | Identifier::Imsi(digits) => {
            out.extend_from_slice(&digits.packed().to_be_bytes());
        }
        Identifier::Iccid(number) => out.extend_from_slice(number.packed()),
        Identifier::Sip(text) | Identifier::Nai(text) | Identifier::Private(text) | Identifier::External(text) => {
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Writes the key of a catalogue document at the end of `out`.
pub fn catalogue(out: &mut Vec<u8>, name: &TariffName, version: u32) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.push(0);
    out.extend_from_slice(&version.to_be_bytes());
}

/// The key of an audit record.
pub const fn audit(position: u64) -> [u8; 8] {
    position.to_be_bytes()
}

/// What a record of the desk is of; its octets are never used again for anything else. Keys and values are the drawer's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Drawer {
    /// Requests that were done, by their idempotency key.
    Requests,
    /// Versions of catalogue documents on their way: drafts, approvals, schedules, withdrawals.
    Drafts,
    /// Batches of vouchers, by number.
    Batches,
    /// Vouchers, by the keyed hash of their code.
    Vouchers,
    /// Wrong codes of vouchers, by who tried them.
    Tries,
    /// Large credits that need a second person, by number.
    Approvals,
    /// The numbers of approvals, by the request's charging group and key.
    ApprovalKeys,
    /// Re-ratings, by number.
    Reratings,
    /// What is said of charging groups, by tenant and number.
    Groups,
    /// The numbers of charging groups, by tenant and external id.
    GroupIds,
    /// Consumers of CDRs, by name.
    Consumers,
    /// Where they stand, by name.
    ConsumerPlaces,
    /// What they have parked, by name and position.
    ParkedCdrs,
    /// Control totals: their head, and their rows by accounting period.
    Totals,
}

impl Drawer {
    /// The first octet of its keys.
    pub const fn octet(self) -> u8 {
        match self {
            Self::Requests => 1,
            Self::Drafts => 2,
            Self::Batches => 10,
            Self::Vouchers => 11,
            Self::Tries => 12,
            Self::Approvals => 13,
            Self::ApprovalKeys => 14,
            Self::Reratings => 15,
            Self::Groups => 20,
            Self::GroupIds => 21,
            Self::Consumers => 25,
            Self::ConsumerPlaces => 26,
            Self::ParkedCdrs => 27,
            Self::Totals => 30,
        }
    }
}

/// The key of a record of the desk.
pub fn desk(drawer: Drawer, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(rest.len().saturating_add(1));
    key.push(drawer.octet());
    key.extend_from_slice(rest);
    key
}

/// The account of a key.
///
/// # Errors
/// [`RecordError`] when it is no such key; so for all of these.
pub fn read_account(key: &[u8]) -> Result<AccountId, RecordError> {
    read_number(key, "account key").map(AccountId::new)
}

/// The subscriber of a key.
///
/// # Errors
/// [`RecordError`] when it is no such key.
pub fn read_subscriber(key: &[u8]) -> Result<SubscriberId, RecordError> {
    read_number(key, "subscriber key").map(SubscriberId::new)
}

/// The session of a key.
///
/// # Errors
/// [`RecordError`] when it is no such key.
pub fn read_session(key: &[u8]) -> Result<SessionId, RecordError> {
    Ok(SessionId::new(behind_group(key, "session key")?))
}

/// The idempotency key of a mutation's key.
///
/// # Errors
/// [`RecordError`] when it is no such key.
pub fn read_mutation(key: &[u8]) -> Result<IdempotencyKey, RecordError> {
    read_text(behind_group(key, "mutation key")?, 0, "mutation key").map(IdempotencyKey::new)
}

fn behind_group<'a>(key: &'a [u8], what: &'static str) -> Result<&'a [u8], RecordError> {
    key.split_at_checked(8).map(|(_, name)| name).ok_or_else(|| Reader::error(what, 0, Fault::Value))
}

/// The tenant and identifier of a key.
///
/// # Errors
/// [`RecordError`] when it is no such key.
pub fn read_identifier(key: &[u8]) -> Result<(TenantId, Identifier), RecordError> {
    let mut r = Reader::new(key);
    let tenant = TenantId::new(r.array("tenant").map(u16::from_be_bytes)?);
    let kind = r.u8("identifier kind")?;
    let offset = r.offset();
    let value = r.rest();
    let wrong = || Reader::error("identifier key", offset, Fault::Value);
    let identifier = identifier_of(
        kind,
        || {
            let packed = <[u8; 8]>::try_from(value).map(u64::from_be_bytes).map_err(|_| wrong())?;
            Digits::from_packed(packed).ok_or_else(wrong)
        },
        || value.try_into().ok().and_then(Iccid::from_packed).ok_or_else(wrong),
        || read_text(value, offset, "identifier key").map(Into::into),
        wrong,
    )?;
    Ok((tenant, identifier))
}

/// The tariff and version of a catalogue document's key.
///
/// # Errors
/// [`RecordError`] when it is no such key.
pub fn read_catalogue(key: &[u8]) -> Result<(TariffName, u32), RecordError> {
    let wrong = || Reader::error("catalogue key", 0, Fault::Value);
    let (name, version) = key.split_last_chunk::<4>().ok_or_else(wrong)?;
    let (end, name) = name.split_last().ok_or_else(wrong)?;
    if *end != 0 {
        return Err(wrong());
    }
    Ok((TariffName::new(read_text(name, 0, "catalogue key")?), u32::from_be_bytes(*version)))
}

fn read_number(key: &[u8], what: &'static str) -> Read<u64> {
    let octets = <[u8; 8]>::try_from(key).map_err(|_| Reader::error(what, 0, Fault::Value))?;
    Ok(u64::from_be_bytes(octets))
}

fn read_text<'a>(octets: &'a [u8], offset: usize, what: &'static str) -> Read<&'a str> {
    std::str::from_utf8(octets).map_err(|_| Reader::error(what, offset, Fault::Text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    #[test]
    fn keys_stand_in_the_order_of_what_they_name() {
        assert!(account(AccountId::new(255)) < account(AccountId::new(256)));
        let gold = TariffName::new("gold");
        let tariff = |version| written(|out| catalogue(out, &gold, version));
        assert!(tariff(9) < tariff(256));
        assert!(tariff(256) < written(|out| catalogue(out, &TariffName::new("golden"), 1)));
        let named = |tenant, text: &str| written(|out| identifier(out, TenantId::new(tenant), &text.parse().unwrap()));
        assert!(named(1, "private-z") < named(256, "msisdn-1"));
        assert!(named(0, "msisdn-491700000001") < named(0, "msisdn-491700000002"));
    }

    #[test]
    fn keys_read_back_and_others_are_refused() {
        for text in [
            "msisdn-00491701",
            "imsi-262011234567890",
            "sip-sip:a@b",
            "nai-u@realm",
            "private-\u{e4}",
            "iccid-8949012345678901234",
            "external-4711",
        ] {
            let identifier_: Identifier = text.parse().unwrap();
            let key = written(|out| identifier(out, TenantId::new(7), &identifier_));
            assert_eq!(read_identifier(&key), Ok((TenantId::new(7), identifier_)));
            for end in 0..3 {
                assert!(read_identifier(&key[..end]).is_err());
            }
        }
        let odd = TariffName::new("a\0b");
        assert_eq!(read_catalogue(&written(|out| catalogue(out, &odd, 0x01_00))), Ok((odd, 256)));
        assert!(read_catalogue(b"gold").is_err());
        assert_eq!(read_account(&account(AccountId::new(5))), Ok(AccountId::new(5)));
        assert!(read_subscriber(&[0; 7]).is_err());
        assert!(read_mutation(&[0xFF]).is_err());
        assert_eq!(read_identifier(&[0, 0, 9, 1]).map_err(|error| error.offset), Err(3));
    }
}
