//! Offers as people ask for them: bought at once or for later, replaced by another, ended.
//!
//! What begins or ends later is due then, like the end of a cycle ([`super::offers`]); nothing is prorated: a cycle that has
//! begun is paid whole.

use std::sync::Arc;

use super::mutate::NO_ACCOUNT;
use super::offers::{self, Occasion, may_hold};
use super::{Shard, Tariffs};
use crate::account::{Account, AccountState, Subscription, SubscriptionState};
use crate::cdr::{Cause, CdrSource};
use crate::command::{Effects, Ending, Refusal};
use crate::ids::{AccountId, SubscriberId};
use crate::offer::OfferVersion;
use crate::time::Timestamp;

impl Shard {
    pub(super) fn buy(
        &mut self,
        tariffs: &Tariffs,
        (id, subscriber): (AccountId, SubscriberId),
        (offer, begins): (&Arc<OfferVersion>, Timestamp),
        source: &CdrSource,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<(), Refusal> {
        if begins < now {
            return Err(Refusal::Invalid("it would begin in the past; leave the time out to begin it at once"));
        }
        self.may_buy(id, subscriber)?;
        let Self { accounts, subscribers, .. } = self;
        let account = &mut accounts.get_mut(&id).ok_or(NO_ACCOUNT)?.value;
        may_hold(account, tariffs, offer, subscriber, begins)?;
        if begins > now {
            return offers::buy_for_later(account, offer, subscriber, begins);
        }
        let members = || offers::members(subscribers, id);
        let occasion = Occasion { now, at: now, cause: Cause::Operator, source, members: &members };
        let assigned = offers::buy(account, offer, subscriber, &occasion, effects)?;
        self.assign(assigned, effects);
        Ok(())
    }

    pub(super) fn cancel(
        &mut self,
        tariffs: &Tariffs,
        (id, number): (AccountId, u32),
        ending: Ending,
        source: &CdrSource,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<(), Refusal> {
        let Self { accounts, subscribers, .. } = self;
        let account = &mut accounts.get_mut(&id).ok_or(NO_ACCOUNT)?.value;
        let (place, held) = subscription(account, number)?;
        let at = instant(ending, held, now)?;
        let never_begins = held.state == SubscriptionState::Awaited && at <= held.cycle_start;
        if at <= now || never_begins {
            let members = || offers::members(subscribers, id);
            let occasion = Occasion { now, at: now, cause: Cause::Operator, source, members: &members };
            offers::end(account, tariffs, place, ending != Ending::WithCycle, &occasion, effects);
        } else {
            end_at(account, place, at);
        }
        Ok(())
    }

    /// The one ends and the other begins, or neither.
    pub(super) fn replace(
        &mut self,
        tariffs: &Tariffs,
        (id, number): (AccountId, u32),
        (ending, offer): (Ending, &Arc<OfferVersion>),
        source: &CdrSource,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<(), Refusal> {
        let (place, held) = subscription(self.account(id).ok_or(NO_ACCOUNT)?, number)?;
        if held.state != SubscriptionState::Active {
            return Err(Refusal::Invalid("the subscription is in no cycle; cancel it, and buy the other offer"));
        }
        let (subscriber, at) = (held.subscriber, instant(ending, held, now)?);
        self.may_buy(id, subscriber)?;
        let Self { accounts, subscribers, .. } = self;
        let account = &mut accounts.get_mut(&id).ok_or(NO_ACCOUNT)?.value;
        let members = || offers::members(subscribers, id);
        let occasion = Occasion { now, at: now, cause: Cause::Operator, source, members: &members };
        let mut assigned = None;
        offers::whole(account, effects, |account, effects| {
            if at > now {
                end_at(account, place, at);
                may_hold(account, tariffs, offer, subscriber, at)?;
                return offers::buy_for_later(account, offer, subscriber, at);
            }
            offers::end(account, tariffs, place, ending != Ending::WithCycle, &occasion, effects);
            may_hold(account, tariffs, offer, subscriber, at)?;
            assigned = offers::buy(account, offer, subscriber, &occasion, effects)?;
            Ok(())
        })?;
        self.assign(assigned, effects);
        Ok(())
    }

    fn may_buy(&self, id: AccountId, subscriber: SubscriberId) -> Result<(), Refusal> {
        let user = self.subscriber(subscriber).filter(|user| user.account == id);
        let user = user.ok_or(Refusal::Invalid("the account has no such subscriber"))?;
        let account = self.account(id).ok_or(NO_ACCOUNT)?;
        if account.state != AccountState::Active || user.state != AccountState::Active {
            return Err(Refusal::Invalid("the account or subscriber is not active"));
        }
        Ok(())
    }
}

fn subscription(account: &Account, number: u32) -> Result<(usize, &Subscription), Refusal> {
    let mut held = account.contract.iter().flat_map(|contract| contract.subscriptions.iter().enumerate());
    let found = held.find(|(_, held)| held.number == number);
    found.ok_or(Refusal::Invalid("the account has no such subscription"))
}

fn end_at(account: &mut Account, place: usize, at: Timestamp) {
    let contract = account.contract.as_mut();
    if let Some(held) = contract.and_then(|contract| contract.subscriptions.get_mut(place)) {
        held.ends_at = at;
    }
}

/// When that is for a subscription.
fn instant(ending: Ending, held: &Subscription, now: Timestamp) -> Result<Timestamp, Refusal> {
    match ending {
        Ending::WithCycle if held.state == SubscriptionState::Active && held.cycle_end != Timestamp::NEVER => {
            Ok(held.cycle_end)
        }
        Ending::WithCycle | Ending::AtOnce => Ok(now),
        Ending::At(at) if at < now => {
            Err(Refusal::Invalid("it would end in the past; say that it ends at once instead"))
        }
        Ending::At(at) => Ok(at),
    }
}
