//! What a person or an import asks: accounts, subscribers, money, offers, sessions.

use std::sync::Arc;

use super::offers::{self, Occasion};
use super::{MUTATION_KEPT_SECONDS, MutationRecord, Shard, Tariffs, finish, unchanged};
use crate::account::{Account, AccountState, Bucket, Holding, Purpose, Subscriber, SubscriptionState};
use crate::cdr::{Cause, CdrKind, CdrSource, RatedCdr};
use crate::command::{Effects, Mutation, MutationKey, MutationOutcome, Refusal, Write};
use crate::ids::{AccountId, IdempotencyKey, Lsn, OfferName, SessionId, SubscriberId};
use crate::money::Money;
use crate::rerate::Correction;
use crate::time::Timestamp;

/// What makes a mutation known again, and why it was asked.
struct Request {
    key: IdempotencyKey,
    digest: u64,
    reason: Box<str>,
}

impl Shard {
    /// Does what a person or an import asks.
    pub fn mutate(&mut self, tariffs: &Tariffs, mutation: Mutation, now: Timestamp) -> Effects<Arc<MutationOutcome>> {
        let mut effects = unchanged(());
        let done = match mutation {
            Mutation::OpenAccount(account) => self.open_account(*account, &mut effects),
            Mutation::PutSubscriber(subscriber) => self.replace_subscriber(subscriber, &mut effects),
            Mutation::SetState { account, state } => self.set_state(tariffs, account, state, now, &mut effects),
            Mutation::TopUp { account, amount, bucket, key, digest, reason } => {
                let request = Request { key, digest, reason };
                match self.known(account, &request) {
                    Err(refusal) => Err(refusal),
                    Ok(Some(outcome)) => return Effects { repeated: true, ..unchanged(outcome) },
                    Ok(None) => self.top_up(tariffs, account, (amount, bucket), request, now, &mut effects),
                }
            }
            Mutation::Buy { account, subscriber, offer, version, key, digest, reason } => {
                let request = Request { key, digest, reason };
                match self.known(account, &request) {
                    Err(refusal) => Err(refusal),
                    Ok(Some(outcome)) => return Effects { repeated: true, ..unchanged(outcome) },
                    Ok(None) => self.buy(tariffs, (account, subscriber), (&offer, version), request, now, &mut effects),
                }
            }
            Mutation::Correct { correction, key, digest, reason } => {
                let request = Request { key, digest, reason };
                match self.known(correction.original.account, &request) {
                    Err(refusal) => Err(refusal),
                    Ok(Some(outcome)) => return Effects { repeated: true, ..unchanged(outcome) },
                    Ok(None) => self.correct(*correction, request, now, &mut effects),
                }
            }
            Mutation::Cancel { account, subscription } => self.cancel(account, subscription, &mut effects),
            Mutation::Release { session, cause, client_state_below } => {
                self.release(&session, cause, client_state_below, now, &mut effects)
            }
        };
        match done {
            Ok(outcome) => finish(effects, Arc::new(outcome)),
            Err(refusal) => unchanged(Arc::new(MutationOutcome::Refused(refusal))),
        }
    }

    fn open_account(&mut self, mut account: Account, effects: &mut Effects<()>) -> Result<MutationOutcome, Refusal> {
        if self.accounts.contains_key(&account.id) {
            return Err(Refusal::Invalid("an account with this id exists"));
        }
        account.sort_buckets();
        account.open_totals().ok_or(Refusal::Invalid("what the account holds does not fit"))?;
        let (id, balance) = (account.id, account.money());
        effects.writes.push(Write::Account(id));
        self.put_account(account, Lsn::default());
        Ok(MutationOutcome::Done { balance, cdr_number: 0 })
    }

    fn replace_subscriber(
        &mut self,
        subscriber: Subscriber,
        effects: &mut Effects<()>,
    ) -> Result<MutationOutcome, Refusal> {
        let account = self.accounts.get(&subscriber.account);
        let account =
            account.ok_or(Refusal::Invalid("the subscriber's account does not exist in this charging group"))?;
        let (account, balance) = (&account.value, account.value.money());
        if let Some(sponsor) = &subscriber.sponsor {
            let paying = self.accounts.get(&sponsor.account).map(|slot| &slot.value);
            let paying = paying.filter(|paying| (paying.group, paying.tenant) == (account.group, account.tenant));
            let paying = paying
                .ok_or(Refusal::Invalid("the sponsor's account does not exist in this charging group and tenant"))?;
            if paying.id == account.id || paying.currency != account.currency {
                return Err(Refusal::Invalid("the sponsor is another account, in the same currency"));
            }
        }
        effects.writes.push(Write::Subscriber(subscriber.id));
        self.put_subscriber(subscriber, Lsn::default());
        Ok(MutationOutcome::Done { balance, cdr_number: 0 })
    }

    fn set_state(
        &mut self,
        tariffs: &Tariffs,
        id: AccountId,
        state: AccountState,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<MutationOutcome, Refusal> {
        let Self { accounts, subscribers, .. } = self;
        let account = &mut accounts.get_mut(&id).ok_or(NO_ACCOUNT)?.value;
        account.state = state;
        // What could not be renewed meanwhile is.
        let members = || offers::members(subscribers, id);
        offers::resume(account, tariffs, &Occasion::due(now, &members), effects);
        let balance = account.money();
        effects.writes.push(Write::Account(id));
        self.queue_account(id, now);
        Ok(MutationOutcome::Done { balance, cdr_number: 0 })
    }

    fn top_up(
        &mut self,
        tariffs: &Tariffs,
        id: AccountId,
        (amount, bucket): (Money, Bucket),
        request: Request,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<MutationOutcome, Refusal> {
        let Self { accounts, subscribers, .. } = self;
        let account = &mut accounts.get_mut(&id).ok_or(NO_ACCOUNT)?.value;
        if account.state == AccountState::Closed {
            return Err(Refusal::Invalid("the account is closed"));
        }
        if amount <= Money::ZERO {
            return Err(Refusal::Invalid("the amount must be above 0"));
        }
        let movements = account
            .top_up(amount, bucket, now)
            .ok_or(Refusal::Invalid("the bucket holds no money, or the balance would not fit"))?;
        let source = CdrSource::Operator { key: request.key.clone(), reason: request.reason };
        // What lapsed is in the same record, so that the movements add up to it.
        let moved = movements.iter().fold(0i64, |sum, movement| sum.saturating_add(movement.delta));
        effects.cdrs.push(RatedCdr {
            amount: Money::ZERO.saturating_sub(Money::from_micros(moved)),
            movements,
            ..RatedCdr::draft(CdrKind::TopUp, account, source, Cause::Operator, now)
        });
        let cdr_number = account.cdrs.count.saturating_add(1);
        let members = || offers::members(subscribers, id);
        offers::resume(account, tariffs, &Occasion::due(now, &members), effects);
        let outcome = MutationOutcome::Done { balance: account.money(), cdr_number };
        self.remember(id, (request.key, request.digest), &outcome, now, effects);
        Ok(outcome)
    }

    fn buy(
        &mut self,
        tariffs: &Tariffs,
        (id, subscriber): (AccountId, SubscriberId),
        (offer, version): (&OfferName, Option<u32>),
        request: Request,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<MutationOutcome, Refusal> {
        let offer = tariffs.offer(offer, version).ok_or(Refusal::Invalid("no such offer, or not in this version"))?;
        let Self { accounts, subscribers, .. } = self;
        let user = subscribers.get(&subscriber).map(|slot| &slot.value).filter(|user| user.account == id);
        let user = user.ok_or(Refusal::Invalid("the account has no such subscriber"))?;
        let account = &mut accounts.get_mut(&id).ok_or(NO_ACCOUNT)?.value;
        if account.state != AccountState::Active || user.state != AccountState::Active {
            return Err(Refusal::Invalid("the account or subscriber is not active"));
        }
        if offer.tariff().is_some() && account.holds(offer.name(), subscriber, now) {
            return Err(Refusal::Invalid("the subscriber holds this offer already"));
        }
        if offer.pool().is_some_and(|pool| offers::has_pool(account, tariffs, &pool.counter)) {
            return Err(Refusal::Invalid("the account holds another offer with a pool of the same counter"));
        }
        let cdr_number = account.cdrs.count.saturating_add(1);
        let source = CdrSource::Operator { key: request.key.clone(), reason: request.reason };
        let members = || offers::members(subscribers, id);
        let occasion = Occasion { now, at: now, cause: Cause::Operator, source: &source, members: &members };
        offers::buy(account, offer, subscriber, &occasion, effects)?;
        let outcome = MutationOutcome::Done {
            balance: account.money(),
            cdr_number: if effects.cdrs.is_empty() { 0 } else { cdr_number },
        };
        if let (Some(tariff), Some(slot)) = (offer.tariff(), self.subscribers.get_mut(&subscriber)) {
            slot.value.tariff = tariff.clone();
            effects.writes.push(Write::Subscriber(subscriber));
        }
        self.remember(id, (request.key, request.digest), &outcome, now, effects);
        Ok(outcome)
    }

    /// Charges what is due more for the usage of a CDR, or gives back what was too much to who paid it, what was paid last
    /// first. It is booked as usage of that time is (R31).
    fn correct(
        &mut self,
        correction: Correction,
        request: Request,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<MutationOutcome, Refusal> {
        let Correction { position, original, amount, rating } = correction;
        let CdrSource::Network { service: key, context, .. } = &original.source else {
            return Err(Refusal::Invalid("only usage is rated again"));
        };
        let account = &mut self.accounts.get_mut(&original.account).ok_or(NO_ACCOUNT)?.value;
        let movements = if amount > Money::ZERO {
            let purpose = Purpose { service: context.service, key, at: original.usage_start };
            account.take_money(amount, purpose).ok_or(Refusal::OutOfRange)?
        } else {
            let mut back = amount.micros().checked_neg().filter(|back| *back > 0).ok_or(Refusal::OutOfRange)?;
            let mut parts = Vec::new();
            let paid = original.movements.iter().rev().filter(|movement| movement.holding == Holding::Money);
            for movement in paid {
                let part = movement.delta.saturating_neg().clamp(0, back);
                back -= part;
                parts.push((movement.payer.clone(), Holding::Money, part));
            }
            // What an earlier correction charged more went the same way.
            match parts.first_mut() {
                Some((_, _, part)) => *part = part.saturating_add(back),
                None if back > 0 => return Err(Refusal::Invalid("no money paid for it; give it by a top-up")),
                None => {}
            }
            parts.retain(|(_, _, part)| *part > 0);
            account.give_back(&parts).ok_or(Refusal::Invalid("a bucket that paid is gone; give it by a top-up"))?
        };
        let source = CdrSource::Operator { key: request.key.clone(), reason: request.reason };
        effects.cdrs.push(RatedCdr {
            corrects: Some(position),
            subscriber: original.subscriber,
            usage_start: original.usage_start,
            usage_end: original.usage_end,
            rating: Some(rating),
            amount,
            movements,
            ..RatedCdr::draft(CdrKind::ReRate, account, source, Cause::Operator, now)
        });
        effects.facts.charged_micros = effects.facts.charged_micros.saturating_add(amount.micros());
        let cdr_number = account.cdrs.count.saturating_add(1);
        let outcome = MutationOutcome::Done { balance: account.money(), cdr_number };
        self.remember(original.account, (request.key, request.digest), &outcome, now, effects);
        Ok(outcome)
    }

    fn cancel(
        &mut self,
        id: AccountId,
        subscription: u32,
        effects: &mut Effects<()>,
    ) -> Result<MutationOutcome, Refusal> {
        let account = &mut self.accounts.get_mut(&id).ok_or(NO_ACCOUNT)?.value;
        let unknown = Refusal::Invalid("the account has no such subscription");
        let contract = account.contract.as_mut().ok_or(unknown.clone())?;
        let held = contract.subscriptions.iter_mut().find(|held| held.number == subscription).ok_or(unknown)?;
        // What is in no cycle that could end is over at once.
        if held.state == SubscriptionState::Unpaid || held.cycle_end == Timestamp::NEVER {
            contract.subscriptions.retain(|held| held.number != subscription);
        } else {
            held.state = SubscriptionState::Cancelled;
        }
        effects.writes.push(Write::Account(id));
        Ok(MutationOutcome::Done { balance: account.money(), cdr_number: 0 })
    }

    fn release(
        &mut self,
        session: &SessionId,
        cause: Cause,
        client_state_below: u32,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<MutationOutcome, Refusal> {
        let slot = self.sessions.get(session).ok_or(Refusal::UnknownSession)?;
        let spared =
            client_state_below != 0 && (slot.value.client_state == 0 || slot.value.client_state >= client_state_below);
        if !slot.value.is_open() || spared {
            return Err(Refusal::UnknownSession);
        }
        self.end_silently(session, now, cause, effects);
        Ok(MutationOutcome::Done { balance: Money::ZERO, cdr_number: 0 })
    }

    /// The first answer to a request that is a repeat.
    fn known(&self, account: AccountId, request: &Request) -> Result<Option<Arc<MutationOutcome>>, Refusal> {
        let name = self.mutation_key(account, &request.key)?;
        match self.mutations.get(&name) {
            Some(known) if known.value.digest != request.digest => Err(Refusal::KeyReused),
            known => Ok(known.map(|known| known.value.outcome.clone())),
        }
    }

    fn mutation_key(&self, account: AccountId, key: &IdempotencyKey) -> Result<MutationKey, Refusal> {
        let slot = self.accounts.get(&account).ok_or(NO_ACCOUNT)?;
        Ok((slot.value.group, key.clone()))
    }

    /// Remembers what changed an account, for repeats of it.
    fn remember(
        &mut self,
        id: AccountId,
        (key, digest): (IdempotencyKey, u64),
        outcome: &MutationOutcome,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) {
        effects.writes.push(Write::Account(id));
        self.queue_account(id, now);
        if let Ok(name) = self.mutation_key(id, &key) {
            let forget_at = now.plus_seconds(MUTATION_KEPT_SECONDS);
            let record = MutationRecord { group: name.0, digest, outcome: Arc::new(outcome.clone()), forget_at };
            effects.writes.push(Write::Mutation(name.clone()));
            self.put_mutation(name, record, Lsn::default());
        }
    }
}

const NO_ACCOUNT: Refusal = Refusal::Invalid("no such account");
