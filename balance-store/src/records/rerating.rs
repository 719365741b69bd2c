//! Re-ratings on a running system, as octets: what was asked, what it comes to, and how far it is.

use rating_engine::ids::{AccountId, CdrPosition, IdempotencyKey, TariffName};
use rating_engine::money::{Currency, Money};
use rating_engine::time::Timestamp;

use super::wire::{Fault, Read, Reader, RecordError, Writer};

/// The format of a re-rating.
const VERSION: u8 = 1;

/// A re-rating.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rerating {
    /// The tariff.
    pub tariff: TariffName,
    /// First instant of the usage.
    pub from: Timestamp,
    /// First instant after it.
    pub to: Timestamp,
    /// Only what this account paid.
    pub account: Option<AccountId>,
    /// Who asked.
    pub asked_by: Box<str>,
    /// When.
    pub asked: Timestamp,
    /// The request's key.
    pub key: IdempotencyKey,
    /// Digest of the request.
    pub digest: u64,
    /// Why.
    pub reason: Box<str>,
    /// Where it stands.
    pub state: ReratingState,
    /// What it comes to, once that is worked out.
    pub plan: Option<ReratingPlan>,
    /// Who approved it, and when.
    pub approved: Option<(Box<str>, Timestamp)>,
    /// Corrections that are dealt with: booked, or left.
    pub dealt_with: u64,
    /// Corrections that are booked.
    pub booked: u64,
    /// CDRs that are left for a person, the first hundred: where, and why.
    pub left: Vec<(CdrPosition, Box<str>)>,
}

/// Where a re-rating stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReratingState {
    /// Its figures are being worked out.
    Planning,
    /// It waits for somebody to approve it.
    Planned,
    /// It is being booked.
    Running,
    /// It is over.
    Done,
    /// Somebody ended it.
    Cancelled,
    /// It could not go on.
    Failed {
        /// Why, for people.
        reason: Box<str>,
    },
}

/// What a re-rating comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReratingPlan {
    /// CDRs up to here were looked at.
    pub through: CdrPosition,
    /// CDRs that cost something else.
    pub corrections: u64,
    /// SHA-256 over them.
    pub digest: [u8; 32],
    /// By currency, what is charged more and what goes back; neither below 0.
    pub sums: Vec<(Currency, Money, Money)>,
    /// CDRs that could not be priced again.
    pub unpriced: u64,
}

/// Writes a re-rating at the end of `out`.
pub fn encode_rerating(out: &mut Vec<u8>, rerating: &Rerating) {
    let mut w = Writer::new(out);
    w.u8(VERSION);
    w.presence(&[rerating.account.is_some(), rerating.plan.is_some(), rerating.approved.is_some()]);
    w.str(rerating.tariff.as_str());
    w.time(rerating.from);
    w.time(rerating.to);
    if let Some(account) = rerating.account {
        w.u64(account.get());
    }
    w.str(&rerating.asked_by);
    w.time(rerating.asked);
    w.str(rerating.key.as_str());
    w.fixed64(rerating.digest);
    w.str(&rerating.reason);
    match &rerating.state {
        ReratingState::Planning => w.u8(0),
        ReratingState::Planned => w.u8(1),
        ReratingState::Running => w.u8(2),
        ReratingState::Done => w.u8(3),
        ReratingState::Cancelled => w.u8(4),
        ReratingState::Failed { reason } => {
            w.u8(5);
            w.str(reason);
        }
    }
    if let Some(plan) = &rerating.plan {
        w.u64(plan.through.get());
        w.u64(plan.corrections);
        w.raw(&plan.digest);
        w.list(&plan.sums, |w, (currency, more, back)| {
            w.currency(*currency);
            w.money(*more);
            w.money(*back);
        });
        w.u64(plan.unpriced);
    }
    if let Some((by, at)) = &rerating.approved {
        w.str(by);
        w.time(*at);
    }
    w.u64(rerating.dealt_with);
    w.u64(rerating.booked);
    w.list(&rerating.left, |w, (position, reason)| {
        w.u64(position.get());
        w.str(reason);
    });
}

/// Reads a re-rating.
///
/// # Errors
/// [`RecordError`] when the octets are none.
pub fn decode_rerating(octets: &[u8]) -> Result<Rerating, RecordError> {
    let mut r = Reader::new(octets);
    r.version(VERSION, "re-rating")?;
    let mut present = r.presence(3, "re-rating")?;
    let rerating = Rerating {
        tariff: TariffName::new(r.str("tariff")?),
        from: r.time("from")?,
        to: r.time("to")?,
        account: r.option(&mut present, |r| r.u64("account").map(AccountId::new))?,
        asked_by: r.str("asked by")?.into(),
        asked: r.time("asked at")?,
        key: IdempotencyKey::new(r.str("idempotency key")?),
        digest: r.fixed64("digest")?,
        reason: r.str("reason")?.into(),
        state: read_state(&mut r)?,
        plan: r.option(&mut present, read_plan)?,
        approved: r.option(&mut present, |r| Ok((r.str("approved by")?.into(), r.time("approved at")?)))?,
        dealt_with: r.u64("dealt with")?,
        booked: r.u64("booked")?,
        left: r.list("left", |r| Ok((CdrPosition::new(r.u64("position")?), r.str("reason")?.into())))?,
    };
    r.finish("re-rating")?;
    Ok(rerating)
}

fn read_state(r: &mut Reader<'_>) -> Read<ReratingState> {
    let offset = r.offset();
    Ok(match r.u8("state")? {
        0 => ReratingState::Planning,
        1 => ReratingState::Planned,
        2 => ReratingState::Running,
        3 => ReratingState::Done,
        4 => ReratingState::Cancelled,
        5 => ReratingState::Failed { reason: r.str("failure")?.into() },
        _ => return Err(Reader::error("state", offset, Fault::Value)),
    })
}

fn read_plan(r: &mut Reader<'_>) -> Read<ReratingPlan> {
    Ok(ReratingPlan {
        through: CdrPosition::new(r.u64("through")?),
        corrections: r.u64("corrections")?,
        digest: r.array("digest")?,
        sums: r.list("sums", |r| Ok((r.currency("currency")?, r.money("charged more")?, r.money("given back")?)))?,
        unpriced: r.u64("not priced again")?,
    })
}
