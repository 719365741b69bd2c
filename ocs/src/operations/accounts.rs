//! Accounts: made, changed, paid into from one another, and what ever moved in them.

use std::time::Duration;

use balance_store::records;
use ocs_api::{
    AccountChange, AccountSelector, Caller, Changed, Found, NewAccount, OperationError, Operations, Selection,
    TransferAsked, Wanted, etag, name,
};
use ocs_proto::cdr::v1::RatedCdr;
use rating_engine::account::{Account, AccountState};
use rating_engine::command::{Change, MutationOutcome};
use rating_engine::ids::{AccountId, CdrPosition, SubscriberId};
use rating_engine::money::Money;
use rating_engine::shard::{Shard, Transfer};

use super::{Desk, Files, Mutated, by, look};
use crate::charging::{Charged, Noting};
use crate::feed;
use crate::setup::There;

/// How long the CDR store may be behind what is read of it, and how often it is looked at.
const CDRS_BEHIND_MAX: Duration = Duration::from_secs(5);
const CDRS_PAUSE: Duration = Duration::from_millis(2);

impl Desk {
    /// Makes an account; says whether that is the first answer again.
    pub(super) async fn make_account(&self, caller: &Caller, new: NewAccount) -> Result<bool, OperationError> {
        let NewAccount { account, asked } = new;
        let (id, group) = (account.id, account.group);
        let target = name::account(account.tenant, id);
        let mutation = Change::OpenAccount(Box::new(account.clone())).asked(asked.request(&target));
        let by = by(caller, "Accounts/CreateAccount", target, mutation.request.as_ref());
        // Nobody else makes an account of this number, in another group, until this one is known.
        let done = {
            let _claim = self.charging.edge.claim();
            // A key that is known is answered as it was, or refused, whatever is there by now.
            let is_known = self.charging.shards.with(group, |shard| shard.knows(&mutation));
            let there = There::running(&self.files.catalogue, &self.charging).has_account(&account);
            if !is_known && self.needs_another(account.credit.map_or(Money::ZERO, |line| line.limit), account.currency)
            {
                let reason =
                    "a credit limit of so much needs a second person; make the account without, then set its limit";
                return Err(OperationError::Precondition(reason.to_owned()));
            }
            if !is_known && !matches!(there, Ok(false)) {
                return Err(OperationError::Exists(
                    there.err().unwrap_or_else(|| "an account with this number is there".to_owned()),
                ));
            }
            let noting = Noting { by: Some(&by), ..Noting::default() };
            let done = self.charging.mutate_with(group, mutation, self.charging.clock.now(), noting);
            if matches!(*done.outcome, MutationOutcome::Done { .. }) && !done.repeated {
                self.charging.directory.group_account(id, group);
            }
            done
        };
        Ok(self.settled(done).await?.repeated)
    }

    /// Changes an account.
    pub(super) async fn change_account(
        &self,
        caller: &Caller,
        change: &AccountChange,
    ) -> Result<Changed, OperationError> {
        let found = look(&self.charging, &change.selection, |shard, account| {
            let holding = change.bucket().and_then(|bucket| account.bucket(bucket)).map(|bucket| bucket.holding);
            let subscriber = match &change.wanted {
                Wanted::Purchase(None, ..) => self.subscriber_of(shard, account, &change.selection),
                Wanted::Purchase(Some(_), ..)
                | Wanted::State(_)
                | Wanted::Credit(_)
                | Wanted::Adjust(..)
                | Wanted::Extend(..)
                | Wanted::Cancel(..)
                | Wanted::Replace(..) => None,
            };
            (Found { account: account.id, subscriber, holding }, account.group, account.tenant, account.currency)
        })?;
        let (found, group, tenant, currency) = found;
        if change.currency.is_some_and(|given| given != currency) {
            return Err(OperationError::WrongCurrency { account: currency });
        }
        let id = found.account;
        let target = name::account(tenant, id);
        let request = change.asked.request(&target);
        // A key that is known is answered as it was, or refused, whatever is there by now.
        let mut etag = String::new();
        let known = self.charging.shards.with(group, |shard| {
            etag = etag_of(shard, id);
            (shard.known(group, &request), shard.last_lsn())
        });
        match known {
            (Ok(None), _) => {}
            (Ok(Some(outcome)), lsn) => {
                let Mutated { balance, cdr_number, .. } =
                    self.settled(Charged { outcome, lsn, repeated: true }).await?;
                return Ok(Changed { balance, currency, cdr_number, etag, repeated: true });
            }
            (Err(refusal), _) => return Err(OperationError::Refused(refusal)),
        }
        let wanted = change.change(found).map_err(|reason| OperationError::Precondition(reason.to_owned()))?;
        let brings_money = match &wanted {
            Change::Adjust { amount, .. } => *amount > 0,
            Change::SetState { state, .. } => *state == AccountState::Active,
            Change::SetCredit { .. } | Change::Buy { .. } | Change::Replace { .. } | Change::Extend { .. } => true,
            Change::OpenAccount(_)
            | Change::PutSubscriber(_)
            | Change::RemoveMember { .. }
            | Change::Describe(_)
            | Change::TopUp { .. }
            | Change::Cancel { .. }
            | Change::Correct(_)
            | Change::GiveBack(_)
            | Change::Release { .. } => false,
        };
        let mutation = wanted.asked(request);
        let by = by(caller, change.method(), target, mutation.request.as_ref());
        let is_same = |shard: &Shard| {
            let now = shard.account(id).map(etag::account);
            now.as_deref() == change.etag.as_deref()
        };
        let still: Option<&(dyn Fn(&Shard) -> bool + Sync)> = if change.etag.is_some() { Some(&is_same) } else { None };
        let mut after = |shard: &Shard| etag = etag_of(shard, id);
        let noting = Noting { by: Some(&by), still, after: Some(&mut after), ..Noting::default() };
        self.held_back((group, tenant, currency), &mutation, &noting).await?;
        let done = self.mutated(group, mutation, noting).await?;
        if brings_money && !done.repeated {
            self.money_arrived(group, id);
        }
        Ok(Changed { balance: done.balance, currency, cdr_number: done.cdr_number, etag, repeated: done.repeated })
    }

    /// The subscriber by whom an account was named, or its only one.
    fn subscriber_of(&self, shard: &Shard, account: &Account, selection: &Selection) -> Option<SubscriberId> {
        match &selection.account {
            AccountSelector::Identifier(identifier) => {
                self.charging.directory.find(selection.tenant, identifier).map(|(subscriber, _)| subscriber)
            }
            AccountSelector::Id(_) => {
                let members = shard.members_of(account.group, SubscriberId::default());
                let mut of_it = members.filter(|subscriber| subscriber.account == account.id);
                of_it.next().filter(|_| of_it.next().is_none()).map(|only| only.id)
            }
        }
    }

    /// Moves money from one account to another.
    pub(super) async fn give(&self, caller: &Caller, asked: TransferAsked) -> Result<Changed, OperationError> {
        let TransferAsked { from, from_bucket, to, to_bucket, amount, currency, asked } = asked;
        let found = |_: &Shard, account: &Account| (account.id, account.group, account.tenant, account.currency);
        let (giver, giver_group, tenant, kept_in) = look(&self.charging, &from, found)?;
        let (taker, taker_group, taker_tenant, _) = look(&self.charging, &to, found)?;
        if currency != kept_in {
            return Err(OperationError::WrongCurrency { account: kept_in });
        }
        if self.charging.journal.is_saturated() {
            return Err(OperationError::Refused(rating_engine::command::Refusal::TooBusy));
        }
        let target = name::account(tenant, giver);
        let request = asked.request(&format!("{target} {}", name::account(taker_tenant, taker)));
        let by = by(caller, "Accounts/Transfer", target, Some(&request));
        let transfer = Transfer { from: giver, from_bucket, to: taker, to_bucket, amount };
        let groups = (giver_group, taker_group);
        let done = self.charging.transfer(&by, groups, transfer, request, self.charging.clock.now());
        let done = self.settled(done).await?;
        if !done.repeated {
            self.money_arrived(taker_group, taker);
        }
        // Giving is not what an etag stands for.
        let etag = self.charging.shards.with(giver_group, |shard| etag_of(shard, giver));
        Ok(Changed { balance: done.balance, currency, cdr_number: done.cdr_number, etag, repeated: done.repeated })
    }

    /// CDRs of an account, backwards from one, or from the newest.
    pub(super) async fn read_movements(
        &self,
        selection: Selection,
        from: Option<CdrPosition>,
        max: usize,
    ) -> Result<Vec<RatedCdr>, OperationError> {
        let found = |shard: &Shard, account: &Account| (account.id, account.cdrs.last, shard.last_lsn());
        let (account, newest, lsn) = look(&self.charging, &selection, found)?;
        self.durable(lsn).await?;
        let mut waited = Duration::ZERO;
        while self.files.cdrs.durable().position < newest {
            if waited >= CDRS_BEHIND_MAX {
                return Err(OperationError::Store("the CDR store is too far behind; try again later".to_owned()));
            }
            tokio::time::sleep(CDRS_PAUSE).await;
            waited += CDRS_PAUSE;
        }
        let files = self.files.clone();
        let from = from.unwrap_or(newest);
        let read = tokio::task::spawn_blocking(move || walk(&files, account, from, max)).await;
        read.map_err(|_| OperationError::Stopping)?
    }
}

fn etag_of(shard: &Shard, id: AccountId) -> String {
    shard.account(id).map(etag::account).unwrap_or_default()
}

/// An account's CDRs from `from` backwards, as far as they are kept.
fn walk(files: &Files, account: AccountId, from: CdrPosition, max: usize) -> Result<Vec<RatedCdr>, OperationError> {
    let failed = |error: String| OperationError::Store(format!("the CDR store: {error}"));
    let (mut position, mut found) = (from, Vec::new());
    while found.len() < max && position.get() > 0 && position >= files.cdrs.first_position() {
        let mut reader = files.cdrs.reader(position).map_err(|error| failed(error.to_string()))?;
        let Some(record) = reader.read_next().map_err(|error| failed(error.to_string()))? else { break };
        let cdr = records::decode_cdr(record.octets).map_err(|error| failed(error.to_string()))?;
        if cdr.account != account {
            return Err(OperationError::Precondition("page_token is of another account's list".to_owned()));
        }
        found.push(feed::shown(files.partition, position, &cdr));
        position = cdr.previous;
    }
    Ok(found)
}
