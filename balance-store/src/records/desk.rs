//! Records of the desk: versions of catalogue documents on their way, and requests that were done.
//!
//! A dossier is kept beside a document from its first draft on, for ever: who wrote, approved, published and rolled back. Its text
//! is in it only as long as the document is not in the catalogue. Absent: which step may follow which.

use rating_engine::ids::SubscriberId;
use rating_engine::reach::Share;
use rating_engine::time::Timestamp;

use super::wire::{Fault, Read, Reader, RecordError, Writer};

/// The formats.
const DOSSIER: u8 = 1;
const REQUEST: u8 = 1;

/// Who did something, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Who, as access control knows the caller.
    pub who: Box<str>,
    /// When.
    pub at: Timestamp,
}

/// When a version is to be published, and who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// When.
    pub due: Timestamp,
    /// Who said so, and when.
    pub said: Deed,
    /// Why; may be empty.
    pub reason: Box<str>,
}

/// A step of a canary: a version is for a share of subscribers, a larger one, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryStep {
    /// Who said so, and from when on it is so.
    pub said: Deed,
    /// Of all subscribers.
    pub share: Share,
    /// Subscribers that are in by name from then on, too: those that were not before, in ascending order.
    pub named: Vec<SubscriberId>,
}

/// The way of one version of a catalogue document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dossier {
    /// Its text, as it was handed in, until it is published.
    pub source: Option<Box<str>>,
    /// Who drafted what there is now; `None` where it was published without a draft.
    pub drafted: Option<Deed>,
    /// Who approved it.
    pub approved: Option<Deed>,
    /// When it is to be published.
    pub scheduled: Option<Schedule>,
    /// Who published it.
    pub published: Option<Deed>,
    /// Who rolled it back: it counts no more from then on.
    pub withdrawn: Option<Deed>,
    /// Why it could not be published when it was due; empty where it could.
    pub failure: Box<str>,
    /// Whom it was for, step by step in time, where it was not published for everybody at once.
    pub canary: Vec<CanaryStep>,
}

/// A request that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoneRequest {
    /// When.
    pub at: Timestamp,
    /// Over what was asked: another request under the same key is refused.
    pub digest: [u8; 32],
    /// What was answered: octets that its service understands.
    pub answer: Box<[u8]>,
}

/// Writes a dossier at the end of `out`.
pub fn encode_dossier(out: &mut Vec<u8>, dossier: &Dossier) {
    let Dossier { source, drafted, approved, scheduled, published, withdrawn, failure, canary } = dossier;
    let mut w = Writer::new(out);
    w.u8(DOSSIER);
    w.presence(&[
        source.is_some(),
        drafted.is_some(),
        approved.is_some(),
        scheduled.is_some(),
        published.is_some(),
        withdrawn.is_some(),
        !canary.is_empty(),
    ]);
    if let Some(source) = source {
        w.str(source);
    }
    for deed in [drafted, approved].into_iter().flatten() {
        put_deed(&mut w, deed);
    }
    if let Some(Schedule { due, said, reason }) = scheduled {
        w.time(*due);
        put_deed(&mut w, said);
        w.str(reason);
    }
    for deed in [published, withdrawn].into_iter().flatten() {
        put_deed(&mut w, deed);
    }
    w.str(failure);
    if !canary.is_empty() {
        w.list(canary, |w, CanaryStep { said, share, named }| {
            put_deed(w, said);
            w.u64(share.basis_points().into());
            w.list(named, |w, who| w.u64(who.get()));
        });
    }
}

/// Reads a dossier.
///
/// # Errors
/// [`RecordError`] when the octets are none.
pub fn decode_dossier(octets: &[u8]) -> Result<Dossier, RecordError> {
    let mut r = Reader::new(octets);
    r.version(DOSSIER, "dossier")?;
    let mut present = r.presence(7, "dossier")?;
    let dossier = Dossier {
        source: r.option(&mut present, |r| r.str("source").map(Box::from))?,
        drafted: r.option(&mut present, read_deed)?,
        approved: r.option(&mut present, read_deed)?,
        scheduled: r.option(&mut present, |r| {
            let (due, said) = (r.time("due")?, read_deed(r)?);
            Ok(Schedule { due, said, reason: r.str("reason")?.into() })
        })?,
        published: r.option(&mut present, read_deed)?,
        withdrawn: r.option(&mut present, read_deed)?,
        failure: r.str("failure")?.into(),
        canary: r.listed(&mut present, "canary", |r| {
            let said = read_deed(r)?;
            let offset = r.offset();
            let share = u32::try_from(r.u64("share")?).ok().and_then(Share::new);
            let share = share.ok_or_else(|| Reader::error("share", offset, Fault::Value))?;
            Ok(CanaryStep { said, share, named: r.list("named", |r| r.u64("subscriber").map(SubscriberId::new))? })
        })?,
    };
    r.finish("dossier")?;
    Ok(dossier)
}

/// Writes a request that was done at the end of `out`.
pub fn encode_done_request(out: &mut Vec<u8>, done: &DoneRequest) {
    let mut w = Writer::new(out);
    w.u8(REQUEST);
    w.time(done.at);
    w.raw(&done.digest);
    w.octets(&done.answer);
}

/// Reads a request that was done.
///
/// # Errors
/// [`RecordError`] when the octets are none.
pub fn decode_done_request(octets: &[u8]) -> Result<DoneRequest, RecordError> {
    let mut r = Reader::new(octets);
    r.version(REQUEST, "request")?;
    let done = DoneRequest { at: r.time("time")?, digest: r.array("digest")?, answer: r.octets("answer")?.into() };
    r.finish("request")?;
    Ok(done)
}

fn put_deed(w: &mut Writer<'_>, deed: &Deed) {
    w.str(&deed.who);
    w.time(deed.at);
}

fn read_deed(r: &mut Reader<'_>) -> Read<Deed> {
    Ok(Deed { who: r.str("who")?.into(), at: r.time("time")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every member comes back, in every combination; every octet less is refused.
    #[test]
    fn dossiers_and_requests_read_back() {
        let deed = |who: &str, at| Some(Deed { who: who.into(), at: Timestamp::from_millis(at) });
        for places in 0..128u8 {
            let has = |place: u8| places >> place & 1 == 1;
            let schedule = || Schedule {
                due: Timestamp::from_millis(-7),
                said: Deed { who: "pub".into(), at: Timestamp::from_millis(8) },
                reason: "why".into(),
            };
            let steps = || {
                let step = |at, share, named: &[u64]| CanaryStep {
                    said: deed("pub", at).unwrap(),
                    share: Share::new(share).unwrap(),
                    named: named.iter().map(|id| SubscriberId::new(*id)).collect(),
                };
                vec![step(5, 500, &[7, u64::MAX]), step(6, 10_000, &[])]
            };
            let dossier = Dossier {
                source: has(0).then(|| "tariff: t".into()),
                drafted: deed("ann", 1).filter(|_| has(1)),
                approved: deed("bob", 2).filter(|_| has(2)),
                scheduled: has(3).then(schedule),
                published: deed("pub", 3).filter(|_| has(4)),
                withdrawn: deed("ops", 4).filter(|_| has(5)),
                failure: "other currency".into(),
                canary: if has(6) { steps() } else { Vec::new() },
            };
            let mut octets = Vec::new();
            encode_dossier(&mut octets, &dossier);
            assert_eq!(decode_dossier(&octets), Ok(dossier));
            for end in 0..octets.len() {
                assert!(decode_dossier(&octets[..end]).is_err(), "{places} {end}");
            }
        }
        let done = DoneRequest { at: Timestamp::from_millis(5), digest: [7; 32], answer: (*b"yes").into() };
        let mut octets = Vec::new();
        encode_done_request(&mut octets, &done);
        assert_eq!(decode_done_request(&octets), Ok(done));
        assert!((0..octets.len()).all(|end| decode_done_request(&octets[..end]).is_err()));
    }
}
