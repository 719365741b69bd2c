//! What a person or an import asks: accounts, subscribers, money, offers, sessions.

use std::sync::Arc;

use super::offers::{self, BUCKETS_MAX, Occasion};
use super::refund::still_so;
use super::{MUTATION_KEPT_SECONDS, MutationRecord, Shard, Tariffs, finish, unchanged};
use crate::account::{Account, AccountState, Bucket, Credit, Holding, Origin, Purpose, Subscriber};
use crate::cdr::{Cause, CdrKind, CdrSource, Movements, RatedCdr};
use crate::command::{Change, Effects, Mutation, MutationOutcome, Refusal, Request, Write};
use crate::ids::{AccountId, BucketId, GroupId, Lsn, SessionId};
use crate::money::Money;
use crate::refund::GiveBack;
use crate::rerate::Correction;
use crate::time::Timestamp;

impl Shard {
    /// Does what a person or an import asks.
    pub fn mutate(
        &mut self,
        tariffs: &Tariffs,
        mutation: impl Into<Mutation>,
        now: Timestamp,
    ) -> Effects<Arc<MutationOutcome>> {
        let Mutation { change, request } = mutation.into();
        let group = self.changed_group(&change).ok();
        let known = match (&request, group) {
            (Some(request), Some(group)) => self.known(group, request),
            (None, _) | (Some(_), None) => Ok(None),
        };
        match known {
            Ok(None) => {}
            Ok(Some(outcome)) => return Effects { repeated: true, ..unchanged(outcome) },
            Err(refusal) => return unchanged(Arc::new(MutationOutcome::Refused(refusal))),
        }
        let mut effects = unchanged(());
        match self.change(tariffs, change, request.as_ref(), now, &mut effects) {
            Ok(outcome) => {
                if let (Some(request), Some(group)) = (request, group) {
                    self.remember(group, request, &outcome, now, &mut effects);
                }
                finish(effects, Arc::new(outcome))
            }
            Err(refusal) => unchanged(Arc::new(MutationOutcome::Refused(refusal))),
        }
    }

    /// Whether it is a repeat, or its key was used for something else.
    pub fn knows(&self, mutation: &Mutation) -> bool {
        let (Some(request), Ok(group)) = (&mutation.request, self.changed_group(&mutation.change)) else {
            return false;
        };
        !matches!(self.known(group, request), Ok(None))
    }

    /// Does it, whether or not it was done before.
    fn change(
        &mut self,
        tariffs: &Tariffs,
        change: Change,
        request: Option<&Request>,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<MutationOutcome, Refusal> {
        let (changed, about) = (change.account(), change.about());
        self.try_change(tariffs, change, request, now, effects)?;
        Ok(match changed {
            Some(account) => self.conclude(tariffs, account, now, effects),
            None => MutationOutcome::Done { balance: self.balance(about), cdr_number: 0 },
        })
    }

    /// What follows from a change of an account, and what is answered: the number is that of its first CDR.
    pub(super) fn conclude(
        &mut self,
        tariffs: &Tariffs,
        id: AccountId,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> MutationOutcome {
        let next = self.account(id).map_or(0, |account| account.cdrs.count).saturating_add(1);
        let cdr_number = if effects.cdrs.is_empty() { 0 } else { next };
        self.follow(tariffs, id, now, effects);
        MutationOutcome::Done { balance: self.balance(Some(id)), cdr_number }
    }

    fn balance(&self, id: Option<AccountId>) -> Money {
        id.and_then(|id| self.account(id)).map_or(Money::ZERO, Account::money)
    }

    /// What follows from a change of an account: cycles that could not be paid and now can are begun.
    pub(super) fn follow(&mut self, tariffs: &Tariffs, id: AccountId, now: Timestamp, effects: &mut Effects<()>) {
        let Self { accounts, subscribers, .. } = self;
        let Some(account) = accounts.get_mut(&id).map(|slot| &mut slot.value) else { return };
        let members = || offers::members(subscribers, id);
        let assigned = offers::resume(account, tariffs, &Occasion::due(now, &members), effects);
        self.assign(assigned, effects);
        effects.writes.push(Write::Account(id));
        self.queue_account(id, now);
    }

    fn try_change(
        &mut self,
        tariffs: &Tariffs,
        change: Change,
        request: Option<&Request>,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<(), Refusal> {
        let source = || Ok(operator(request.ok_or(Refusal::Invalid("what moves money needs a key"))?));
        match change {
            Change::OpenAccount(account) => self.open_account(*account, effects),
            Change::PutSubscriber(subscriber) => self.replace_subscriber(subscriber, effects),
            Change::RemoveMember { group, subscriber } => self.remove_member(group, subscriber, effects),
            Change::Describe(_) => Ok(()),
            Change::SetState { account, state } => self.set_state(account, state),
            Change::SetCredit { account, limit } => self.set_credit(account, limit),
            Change::TopUp { account, amount, bucket } => {
                let there = self.account(account).ok_or(NO_ACCOUNT)?;
                let paid = PaidIn::worked_out(there, CdrKind::TopUp, amount, bucket, now)?;
                self.pay_in(paid, source()?, now, effects);
                Ok(())
            }
            Change::Adjust { account, bucket, holding, amount } => {
                let moved = (CdrKind::Adjustment, &bucket, holding, amount);
                self.move_in_bucket(account, moved, source()?, now, effects)
            }
            Change::Extend { account, bucket, valid_to } => self.extend(account, &bucket, valid_to, now),
            Change::Buy { account, subscriber, offer, version, begins } => {
                let offer = offers::named(tariffs, &offer, version)?;
                self.buy(tariffs, (account, subscriber), (offer, begins.unwrap_or(now)), &source()?, now, effects)
            }
            Change::Correct(correction) => self.correct(*correction, source()?, now, effects),
            Change::GiveBack(back) => self.give_back(&back, source()?, now, effects),
            Change::Cancel { account, subscription, ending } => {
                self.cancel(tariffs, (account, subscription), ending, &source()?, now, effects)
            }
            Change::Replace { account, subscription, ending, offer, version } => {
                let offer = offers::named(tariffs, &offer, version)?;
                self.replace(tariffs, (account, subscription), (ending, offer), &source()?, now, effects)
            }
            Change::Release { session, cause, client_state_below } => {
                self.release(&session, cause, client_state_below, now, effects)
            }
        }
    }

    /// The charging group of what is to change.
    fn changed_group(&self, change: &Change) -> Result<GroupId, Refusal> {
        let account = match change {
            Change::OpenAccount(account) => return Ok(account.group),
            Change::PutSubscriber(subscriber) => return Ok(subscriber.group),
            Change::RemoveMember { group, .. } | Change::Describe(group) => return Ok(*group),
            Change::Release { session, .. } => self.sessions.get(session).map(|slot| slot.value.account),
            Change::TopUp { .. }
            | Change::Adjust { .. }
            | Change::Extend { .. }
            | Change::Buy { .. }
            | Change::Cancel { .. }
            | Change::Replace { .. }
            | Change::Correct(_)
            | Change::GiveBack(_)
            | Change::SetState { .. }
            | Change::SetCredit { .. } => change.account(),
        };
        let slot = account.and_then(|id| self.accounts.get(&id)).ok_or(NO_ACCOUNT)?;
        Ok(slot.value.group)
    }

    fn open_account(&mut self, mut account: Account, effects: &mut Effects<()>) -> Result<(), Refusal> {
        if self.accounts.contains_key(&account.id) {
            return Err(Refusal::Invalid("an account with this id exists"));
        }
        if account.buckets.len() > BUCKETS_MAX {
            return Err(TOO_MANY_BUCKETS);
        }
        let other = self.accounts_of(account.group, AccountId::default()).next();
        if other.is_some_and(|other| other.tenant != account.tenant) {
            return Err(Refusal::Invalid("the accounts of a charging group are of one tenant"));
        }
        account.sort_buckets();
        account.open_totals().ok_or(Refusal::Invalid("what the account holds does not fit"))?;
        effects.writes.push(Write::Account(account.id));
        self.put_account(account, Lsn::default());
        Ok(())
    }

    fn replace_subscriber(&mut self, subscriber: Subscriber, effects: &mut Effects<()>) -> Result<(), Refusal> {
        let account = self.accounts.get(&subscriber.account);
        let account =
            account.ok_or(Refusal::Invalid("the subscriber's account does not exist in this charging group"))?;
        let account = &account.value;
        if (subscriber.group, subscriber.tenant) != (account.group, account.tenant) {
            return Err(Refusal::Invalid("a subscriber is in the charging group and the tenant of its account"));
        }
        if let Some(sponsor) = &subscriber.sponsor {
            let paying = self.accounts.get(&sponsor.account).map(|slot| &slot.value);
            let paying = paying.filter(|paying| (paying.group, paying.tenant) == (account.group, account.tenant));
            let paying = paying
                .ok_or(Refusal::Invalid("the sponsor's account does not exist in this charging group and tenant"))?;
            if paying.id == account.id || paying.currency != account.currency {
                return Err(Refusal::Invalid("the sponsor is another account, in the same currency"));
            }
        }
        // What it has used meanwhile is nobody's to say.
        let used = self.subscriber(subscriber.id).map(|there| self.used_by(there, subscriber.account)).transpose()?;
        let subscriber = Subscriber { counters: used.unwrap_or_else(|| subscriber.counters.clone()), ..subscriber };
        effects.writes.push(Write::Subscriber(subscriber.id));
        self.put_subscriber(subscriber, Lsn::default());
        Ok(())
    }

    fn set_state(&mut self, id: AccountId, state: AccountState) -> Result<(), Refusal> {
        let account = &mut self.accounts.get_mut(&id).ok_or(NO_ACCOUNT)?.value;
        if account.state == AccountState::Closed && state != AccountState::Closed {
            return Err(CLOSED);
        }
        account.state = state;
        Ok(())
    }

    fn set_credit(&mut self, id: AccountId, limit: Money) -> Result<(), Refusal> {
        if limit < Money::ZERO {
            return Err(Refusal::Invalid("a credit limit is not below 0"));
        }
        let account = &mut self.accounts.get_mut(&id).ok_or(NO_ACCOUNT)?.value;
        if account.state == AccountState::Closed {
            return Err(CLOSED);
        }
        let line = account.credit.unwrap_or(Credit { limit, spent: Money::ZERO, reserved: Money::ZERO });
        account.credit = Some(Credit { limit, ..line });
        Ok(())
    }

    /// Pays in what was worked out of the account as it is.
    pub(super) fn pay_in(&mut self, paid: PaidIn, source: CdrSource, now: Timestamp, effects: &mut Effects<()>) {
        let PaidIn { account, kind, movements } = paid;
        // What lapsed is in the same record, so that the movements add up to it.
        let moved = movements.iter().fold(0i64, |sum, movement| sum.saturating_add(movement.delta));
        effects.cdrs.push(RatedCdr {
            amount: Money::ZERO.saturating_sub(Money::from_micros(moved)),
            movements,
            ..RatedCdr::draft(kind, &account, source, Cause::Operator, now)
        });
        if let Some(slot) = self.accounts.get_mut(&account.id) {
            slot.value = account;
        }
    }

    fn move_in_bucket(
        &mut self,
        id: AccountId,
        (kind, bucket, holding, amount): (CdrKind, &BucketId, Holding, i64),
        source: CdrSource,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<(), Refusal> {
        let account = &mut self.accounts.get_mut(&id).ok_or(NO_ACCOUNT)?.value;
        if account.state == AccountState::Closed {
            return Err(CLOSED);
        }
        let there = account.bucket(bucket).ok_or(NO_BUCKET)?;
        if there.holding != holding {
            return Err(Refusal::Invalid("the bucket holds something else"));
        }
        if there.valid_to <= now {
            return Err(BUCKET_ENDED);
        }
        if amount == 0 {
            return Err(Refusal::Invalid("the amount is 0"));
        }
        if there.available() < amount.saturating_neg() {
            return Err(Refusal::Invalid("the bucket does not have so much that no session holds"));
        }
        let movement = account.move_in_bucket(kind, bucket, amount).ok_or(Refusal::OutOfRange)?;
        let money = if holding == Holding::Money { Money::from_micros(amount) } else { Money::ZERO };
        effects.cdrs.push(RatedCdr {
            amount: Money::ZERO.saturating_sub(money),
            movements: Movements::from_iter([movement]),
            ..RatedCdr::draft(kind, account, source, Cause::Operator, now)
        });
        Ok(())
    }

    /// Takes money out for another account. Only what was paid in, for anything, is given, and not what is owed elsewhere in
    /// the account.
    pub(super) fn pay_out(
        &mut self,
        id: AccountId,
        bucket: &BucketId,
        amount: Money,
        source: CdrSource,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<(), Refusal> {
        let account = self.account(id).ok_or(NO_ACCOUNT)?;
        let there = account.bucket(bucket).ok_or(NO_BUCKET)?;
        if there.origin == Origin::Granted || there.scope.is_some() || there.terms.is_some() {
            return Err(Refusal::Invalid("only money that was paid in, and pays for anything, can be transferred"));
        }
        if there.available().saturating_sub(account.owed().micros()) < amount.micros() {
            return Err(Refusal::Invalid(
                "the bucket does not have so much that no session holds and the account does not owe",
            ));
        }
        let taken = amount.micros().checked_neg().filter(|taken| *taken < 0).ok_or(NOT_POSITIVE)?;
        self.move_in_bucket(id, (CdrKind::Transfer, bucket, Holding::Money, taken), source, now, effects)
    }

    fn extend(&mut self, id: AccountId, bucket: &BucketId, valid_to: Timestamp, now: Timestamp) -> Result<(), Refusal> {
        let account = &mut self.accounts.get_mut(&id).ok_or(NO_ACCOUNT)?.value;
        if account.state == AccountState::Closed {
            return Err(CLOSED);
        }
        let there = account.bucket_mut(bucket).ok_or(NO_BUCKET)?;
        if there.valid_to <= now {
            return Err(BUCKET_ENDED);
        }
        if valid_to <= there.valid_to {
            return Err(Refusal::Invalid("the bucket ends then or later already"));
        }
        if there.member_cap().is_some() {
            // Each member would have its cap again.
            return Err(Refusal::Invalid("a bucket with a cap for each member is not extended; open another one"));
        }
        there.valid_to = valid_to;
        // What ends earlier pays first.
        account.sort_buckets();
        Ok(())
    }

    /// Charges what is due more for the usage of a CDR, or gives back what was too much to who paid it, what was paid last
    /// first. It is booked as usage of that time is (R31).
    fn correct(
        &mut self,
        correction: Correction,
        source: CdrSource,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<(), Refusal> {
        let Correction { known, original, amount, rating } = correction;
        let CdrSource::Network { service: key, context, .. } = &original.source else {
            return Err(Refusal::Invalid("only usage is rated again"));
        };
        // It was given back or corrected otherwise since it was looked at.
        if known.money_left() != Some(rating.charged_before) {
            return Err(Refusal::Stale);
        }
        let movements = if amount > Money::ZERO {
            let account = &mut self.accounts.get_mut(&known.account).ok_or(NO_ACCOUNT)?.value;
            still_so(account, &known)?;
            let purpose = Purpose { service: context.service, key, at: original.usage_start };
            account.take_money(amount, purpose).ok_or(Refusal::OutOfRange)?
        } else {
            let back = Money::ZERO.checked_sub(amount).ok_or(Refusal::OutOfRange)?;
            self.go_back(&GiveBack { amount: Some(back), ..known.clone() }, now, effects)?
        };
        let account = &self.accounts.get(&known.account).ok_or(NO_ACCOUNT)?.value;
        effects.cdrs.push(RatedCdr {
            corrects: Some(known.position),
            subscriber: original.subscriber,
            usage_start: original.usage_start,
            usage_end: original.usage_end,
            rating: Some(rating),
            amount,
            movements,
            ..RatedCdr::draft(CdrKind::ReRate, account, source, Cause::Operator, now)
        });
        effects.facts.charged_micros = effects.facts.charged_micros.saturating_add(amount.micros());
        Ok(())
    }

    fn release(
        &mut self,
        session: &SessionId,
        cause: Cause,
        client_state_below: u32,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) -> Result<(), Refusal> {
        let slot = self.sessions.get(session).ok_or(Refusal::UnknownSession)?;
        let spared =
            client_state_below != 0 && (slot.value.client_state == 0 || slot.value.client_state >= client_state_below);
        if !slot.value.is_open() || spared {
            return Err(Refusal::UnknownSession);
        }
        self.end_silently(session, now, cause, effects);
        Ok(())
    }

    /// The first answer to a request of a group that was made before.
    ///
    /// # Errors
    /// [`Refusal::KeyReused`] when its key was used for another.
    pub fn known(&self, group: GroupId, request: &Request) -> Result<Option<Arc<MutationOutcome>>, Refusal> {
        match self.mutations.get(&(group, request.key.clone())) {
            Some(known) if known.value.digest != request.digest => Err(Refusal::KeyReused),
            known => Ok(known.map(|known| known.value.outcome.clone())),
        }
    }

    /// Remembers what was done, for repeats of it.
    pub(super) fn remember(
        &mut self,
        group: GroupId,
        Request { key, digest, .. }: Request,
        outcome: &MutationOutcome,
        now: Timestamp,
        effects: &mut Effects<()>,
    ) {
        let (name, forget_at) = ((group, key), now.plus_seconds(MUTATION_KEPT_SECONDS));
        let record = MutationRecord { group, digest, outcome: Arc::new(outcome.clone()), forget_at };
        effects.writes.push(Write::Mutation(name.clone()));
        self.put_mutation(name, record, Lsn::default());
    }
}

/// Where what a person asks comes from.
pub(super) fn operator(request: &Request) -> CdrSource {
    CdrSource::Operator { key: request.key.clone(), reason: request.reason.clone() }
}

/// An account as it is once money is paid in.
pub(super) struct PaidIn {
    account: Account,
    kind: CdrKind,
    movements: Movements,
}

impl PaidIn {
    /// Works it out: nothing is changed, and nothing is left that could fail.
    pub(super) fn worked_out(
        account: &Account,
        kind: CdrKind,
        amount: Money,
        bucket: Bucket,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        if account.state == AccountState::Closed {
            return Err(CLOSED);
        }
        if amount <= Money::ZERO {
            return Err(NOT_POSITIVE);
        }
        if account.bucket(&bucket.id).is_none() && account.buckets.len() >= BUCKETS_MAX {
            return Err(TOO_MANY_BUCKETS);
        }
        let mut account = account.clone();
        let movements = account.top_up(kind, amount, bucket, now).ok_or(NO_MONEY_BUCKET)?;
        Ok(Self { account, kind, movements })
    }
}

pub(super) const NO_ACCOUNT: Refusal = Refusal::Invalid("no such account");
pub(super) const CLOSED: Refusal = Refusal::Invalid("the account is closed");
pub(super) const NOT_POSITIVE: Refusal = Refusal::Invalid("the amount must be above 0");
pub(super) const TOO_MANY_BUCKETS: Refusal =
    Refusal::Invalid("the account has too many buckets; name one that is there");
pub(super) const NO_BUCKET: Refusal = Refusal::Invalid("the account has no such bucket");
pub(super) const BUCKET_ENDED: Refusal = Refusal::Invalid("the bucket has ended");
pub(super) const NO_MONEY_BUCKET: Refusal = Refusal::Invalid("the bucket holds no money, or the balance would not fit");
