//! Money from one account to another, whose charging groups may be in two shards: both halves are done, or neither.
//!
//! The giver's half is the mutation, with its key; what the taker cannot take is refused before anything is given.

use std::sync::Arc;

use super::mutate::{BUCKET_ENDED, NO_ACCOUNT, NO_BUCKET, PaidIn, operator};
use super::{Shard, Tariffs, unchanged};
use crate::account::Bucket;
use crate::cdr::CdrKind;
use crate::command::{Effects, MutationOutcome, Refusal, Request};
use crate::ids::{AccountId, BucketId};
use crate::money::Money;
use crate::time::Timestamp;

/// The shards of two charging groups, both locked.
#[derive(Debug)]
pub enum Pair<'a> {
    /// Both are in one.
    One(&'a mut Shard),
    /// The giver's and the taker's.
    Two(&'a mut Shard, &'a mut Shard),
}

impl Pair<'_> {
    /// The giver's.
    pub const fn giver(&mut self) -> &mut Shard {
        match self {
            Self::One(shard) | Self::Two(shard, _) => shard,
        }
    }

    /// The taker's.
    pub const fn taker(&mut self) -> &mut Shard {
        match self {
            Self::One(shard) | Self::Two(_, shard) => shard,
        }
    }
}

/// What goes where.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The account that gives.
    pub from: AccountId,
    /// Its bucket, which is there.
    pub from_bucket: BucketId,
    /// The account that takes.
    pub to: AccountId,
    /// Its bucket, made when new.
    pub to_bucket: Bucket,
    /// How much; positive.
    pub amount: Money,
}

/// Has one account give and the other take; the second effects are the taker's, to be in the same entry.
pub fn transfer(
    pair: &mut Pair<'_>,
    tariffs: &Tariffs,
    asked: Transfer,
    request: Request,
    now: Timestamp,
) -> (Effects<Arc<MutationOutcome>>, Effects<()>) {
    let refused = |refusal| (unchanged(Arc::new(MutationOutcome::Refused(refusal))), unchanged(()));
    let Some(giver) = pair.giver().account(asked.from) else { return refused(NO_ACCOUNT) };
    let group = giver.group;
    match pair.giver().known(group, &request) {
        Ok(None) => {}
        Ok(Some(outcome)) => return (Effects { repeated: true, ..unchanged(outcome) }, unchanged(())),
        Err(refusal) => return refused(refusal),
    }
    let Transfer { from, to, amount, .. } = asked;
    let (mut given, mut taken) = (unchanged(()), unchanged(()));
    // The taker's half is worked out first: once the giver's is done, nothing can fail.
    let paid = match worked_out(pair, &asked, now) {
        Ok(paid) => paid,
        Err(refusal) => return refused(refusal),
    };
    let source = operator(&request);
    if let Err(refusal) = pair.giver().pay_out(from, &asked.from_bucket, amount, source.clone(), now, &mut given) {
        return refused(refusal);
    }
    pair.taker().pay_in(paid, source, now, &mut taken);
    let outcome = pair.giver().conclude(tariffs, from, now, &mut given);
    pair.taker().follow(tariffs, to, now, &mut taken);
    pair.giver().remember(group, request, &outcome, now, &mut given);
    (super::finish(given, Arc::new(outcome)), super::finish(taken, ()))
}

/// The taker's account as it is once it has taken what the giver gives.
fn worked_out(pair: &mut Pair<'_>, asked: &Transfer, now: Timestamp) -> Result<PaidIn, Refusal> {
    let giver = pair.giver().account(asked.from).ok_or(NO_ACCOUNT)?;
    // What is given lives as long as it did.
    let valid_to = giver.bucket(&asked.from_bucket).ok_or(NO_BUCKET)?.valid_to;
    let (currency, tenant) = (giver.currency, giver.tenant);
    let bucket = Bucket { valid_to, ..asked.to_bucket.clone() };
    let taker = pair.taker().account(asked.to).ok_or(NO_ACCOUNT)?;
    if asked.from == asked.to {
        return Err(Refusal::Invalid("an account cannot transfer to itself"));
    }
    if (taker.currency, taker.tenant) != (currency, tenant) {
        return Err(Refusal::Invalid("the other account has another currency or tenant"));
    }
    if let Some(there) = taker.bucket(&bucket.id) {
        if there.valid_to <= now {
            return Err(BUCKET_ENDED);
        }
        if there.valid_to > bucket.valid_to || there.origin != bucket.origin {
            return Err(Refusal::Invalid("the other bucket ends later or holds what was granted; name another one"));
        }
    }
    PaidIn::worked_out(taker, CdrKind::Transfer, asked.amount, bucket, now)
}
