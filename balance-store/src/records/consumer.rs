//! Consumers of CDRs, as octets: what one is, where it stands, and what it has parked.
//!
//! Three records of the desk, because they change at different times: what was fixed when the consumer was made, its place, which is
//! written with every acknowledgement and therefore small, and one for each parked CDR, whose position is in its key. Absent: what
//! may follow what.

use rating_engine::cdr::CdrKind;
use rating_engine::ids::{AccountId, CdrPosition};
use rating_engine::time::Timestamp;

use super::wire::{Read, Reader, RecordError, Writer};

/// The formats.
const CONSUMER: u8 = 1;
const PLACE: u8 = 1;
const PARKED: u8 = 1;

/// What a consumer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// The kinds of CDRs it gets; none for all.
    pub kinds: Vec<CdrKind>,
    /// The accounts whose CDRs it gets; none for all.
    pub accounts: Vec<AccountId>,
    /// After so many attempts a CDR is parked.
    pub max_attempts: u32,
    /// Who made it.
    pub created_by: Box<str>,
    /// When.
    pub created: Timestamp,
    /// How often it was reset.
    pub resets: u64,
}

/// Where a consumer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerPlace {
    /// Everything before is done, or parked.
    pub next: CdrPosition,
    /// When it last acknowledged anything.
    pub acked: Option<Timestamp>,
    /// The CDR that is being retried, and how often it was sent.
    pub retrying: Option<(CdrPosition, u32)>,
}

/// A CDR that a consumer has parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedCdr {
    /// Why, as the consumer said.
    pub reason: Box<str>,
    /// How often it was sent.
    pub attempts: u32,
    /// Since when.
    pub since: Timestamp,
    /// The instance that nacked it last.
    pub instance: Box<str>,
    /// Whether it waits to be sent again.
    pub due: bool,
}

/// Writes what a consumer is at the end of `out`.
pub fn encode_consumer(out: &mut Vec<u8>, consumer: &Consumer) {
    let Consumer { kinds, accounts, max_attempts, created_by, created, resets } = consumer;
    let mut w = Writer::new(out);
    w.u8(CONSUMER);
    w.list(kinds, |w, kind| w.coded(*kind));
    w.list(accounts, |w, account| w.u64(account.get()));
    w.u64((*max_attempts).into());
    w.str(created_by);
    w.time(*created);
    w.u64(*resets);
}

/// Reads what a consumer is.
///
/// # Errors
/// [`RecordError`] when the octets are none; so for all of these.
pub fn decode_consumer(octets: &[u8]) -> Result<Consumer, RecordError> {
    let mut r = Reader::new(octets);
    r.version(CONSUMER, "consumer")?;
    let consumer = Consumer {
        kinds: r.list("kinds", |r| r.coded("kind"))?,
        accounts: r.list("accounts", |r| r.u64("account").map(AccountId::new))?,
        max_attempts: r.number("attempts")?,
        created_by: r.str("created by")?.into(),
        created: r.time("created at")?,
        resets: r.u64("resets")?,
    };
    r.finish("consumer")?;
    Ok(consumer)
}

/// Writes where a consumer stands at the end of `out`.
pub fn encode_consumer_place(out: &mut Vec<u8>, place: &ConsumerPlace) {
    let ConsumerPlace { next, acked, retrying } = place;
    let mut w = Writer::new(out);
    w.u8(PLACE);
    w.presence(&[acked.is_some(), retrying.is_some()]);
    w.u64(next.get());
    if let Some(acked) = acked {
        w.time(*acked);
    }
    if let Some((position, attempts)) = retrying {
        w.u64(position.get());
        w.u64((*attempts).into());
    }
}

/// Reads where a consumer stands.
///
/// # Errors
/// [`RecordError`] when the octets are none.
pub fn decode_consumer_place(octets: &[u8]) -> Result<ConsumerPlace, RecordError> {
    let mut r = Reader::new(octets);
    r.version(PLACE, "consumer's place")?;
    let mut present = r.presence(2, "consumer's place")?;
    let place = ConsumerPlace {
        next: CdrPosition::new(r.u64("next")?),
        acked: r.option(&mut present, |r| r.time("acknowledged at"))?,
        retrying: r.option(&mut present, read_retrying)?,
    };
    r.finish("consumer's place")?;
    Ok(place)
}

fn read_retrying(r: &mut Reader<'_>) -> Read<(CdrPosition, u32)> {
    Ok((CdrPosition::new(r.u64("retried")?), r.number("attempts")?))
}

/// Writes a parked CDR at the end of `out`.
pub fn encode_parked_cdr(out: &mut Vec<u8>, parked: &ParkedCdr) {
    let ParkedCdr { reason, attempts, since, instance, due } = parked;
    let mut w = Writer::new(out);
    w.u8(PARKED);
    w.presence(&[*due]);
    w.str(reason);
    w.u64((*attempts).into());
    w.time(*since);
    w.str(instance);
}

/// Reads a parked CDR.
///
/// # Errors
/// [`RecordError`] when the octets are none.
pub fn decode_parked_cdr(octets: &[u8]) -> Result<ParkedCdr, RecordError> {
    let mut r = Reader::new(octets);
    r.version(PARKED, "parked CDR")?;
    let mut present = r.presence(1, "parked CDR")?;
    let due = r.option(&mut present, |_| Ok(()))?.is_some();
    let parked = ParkedCdr {
        reason: r.str("reason")?.into(),
        attempts: r.number("attempts")?,
        since: r.time("since")?,
        instance: r.str("instance")?.into(),
        due,
    };
    r.finish("parked CDR")?;
    Ok(parked)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every member comes back, in every combination; every octet less is refused.
    #[test]
    fn consumers_read_back() {
        fn check<T: PartialEq + std::fmt::Debug>(
            value: T,
            put: fn(&mut Vec<u8>, &T),
            read: fn(&[u8]) -> Result<T, RecordError>,
        ) {
            let mut octets = Vec::new();
            put(&mut octets, &value);
            assert_eq!(read(&octets).as_ref(), Ok(&value));
            assert!((0..octets.len()).all(|end| read(&octets[..end]).is_err()), "{value:?}");
        }
        let consumer = Consumer {
            kinds: vec![CdrKind::Usage, CdrKind::Transfer],
            accounts: vec![AccountId::new(1), AccountId::new(u64::MAX)],
            max_attempts: 5,
            created_by: "ann".into(),
            created: Timestamp::from_millis(-7),
            resets: 3,
        };
        check(consumer, encode_consumer, decode_consumer);
        for acked in [None, Some(Timestamp::from_millis(9))] {
            for retrying in [None, Some((CdrPosition::new(8), 2))] {
                let place = ConsumerPlace { next: CdrPosition::new(7), acked, retrying };
                check(place, encode_consumer_place, decode_consumer_place);
            }
        }
        for due in [false, true] {
            let (reason, instance) = ("no such account".into(), "ledger-1".into());
            let parked = ParkedCdr { reason, attempts: 5, since: Timestamp::from_millis(4), instance, due };
            check(parked, encode_parked_cdr, decode_parked_cdr);
        }
    }
}
