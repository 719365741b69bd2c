//! Money from one account to another, whose charging groups may be in two shards: both halves are done, or neither.
//!
//! The giver's half is the mutation, with its key; what the taker cannot take is refused before anything is given.

use std::sync::Arc;

use super::mutate::{BUCKET_ENDED, CLOSED, NO_ACCOUNT, NO_BUCKET, NO_MONEY_BUCKET, TOO_MANY_BUCKETS};
use super::offers::BUCKETS_MAX;
use super::{Shard, Tariffs, unchanged};
use crate::account::{Account, AccountState, Bucket};
use crate::cdr::CdrKind;
use crate::command::{Change, Effects, MutationOutcome, Refusal, Request};
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
    let Transfer { from, from_bucket, to, to_bucket, amount } = asked;
    let refused = |refusal| unchanged(Arc::new(MutationOutcome::Refused(refusal)));
    let Some(giver) = pair.giver().account(from).cloned() else { return (refused(NO_ACCOUNT), unchanged(())) };
    let group = giver.group;
    match pair.giver().known(group, &request) {
        Ok(None) => {}
        Ok(Some(outcome)) => return (Effects { repeated: true, ..unchanged(outcome) }, unchanged(())),
        Err(refusal) => return (refused(refusal), unchanged(())),
    }
    // What is given lives as long as it did.
    let Some(valid_to) = giver.bucket(&from_bucket).map(|bucket| bucket.valid_to) else {
        return (refused(NO_BUCKET), unchanged(()));
    };
    let to_bucket = Bucket { valid_to, ..to_bucket };
    if let Err(refusal) = pair.taker().takes(to, &giver, amount, &to_bucket, now) {
        return (refused(refusal), unchanged(()));
    }
    let withdraw = Change::Withdraw { account: from, bucket: from_bucket, amount };
    let mut given = unchanged(());
    let outcome = match pair.giver().change(tariffs, withdraw, Some(&request), now, &mut given) {
        Ok(outcome) => outcome,
        Err(refusal) => return (refused(refusal), unchanged(())),
    };
    let (mut taken, deposit) = (unchanged(()), Change::Deposit { account: to, amount, bucket: to_bucket });
    let deposited = pair.taker().change(tariffs, deposit, Some(&request), now, &mut taken);
    debug_assert!(deposited.is_ok(), "it was checked under the same lock: {deposited:?}");
    pair.giver().remember(group, request, &outcome, now, &mut given);
    (super::finish(given, Arc::new(outcome)), super::finish(taken, ()))
}

impl Shard {
    /// Whether an account could take what `giver` gives.
    fn takes(
        &self,
        id: AccountId,
        giver: &Account,
        amount: Money,
        bucket: &Bucket,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let account = self.account(id).ok_or(NO_ACCOUNT)?;
        if account.id == giver.id {
            return Err(Refusal::Invalid("an account cannot transfer to itself"));
        }
        if (account.currency, account.tenant) != (giver.currency, giver.tenant) {
            return Err(Refusal::Invalid("the other account has another currency or tenant"));
        }
        if account.state == AccountState::Closed {
            return Err(CLOSED);
        }
        let there = account.bucket(&bucket.id);
        if there.is_some_and(|there| there.valid_to <= now) {
            return Err(BUCKET_ENDED);
        }
        if there.is_some_and(|there| there.valid_to > bucket.valid_to || there.origin != bucket.origin) {
            return Err(Refusal::Invalid("the other bucket ends later or holds what was granted; name another one"));
        }
        if there.is_none() && account.buckets.len() >= BUCKETS_MAX {
            return Err(TOO_MANY_BUCKETS);
        }
        let taken = account.clone().top_up(CdrKind::Transfer, amount, bucket.clone(), now);
        taken.map(|_| ()).ok_or(NO_MONEY_BUCKET)
    }
}
