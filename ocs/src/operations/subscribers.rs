//! Subscribers: found, put, and loaded in bulk.

use balance_store::records::Owner;
use ocs_api::{
    Basis, Caller, Loaded, OperationError, Operations, Put, Row, SubscriberPut, SubscriberSelector, SubscriberSnapshot,
    etag, name,
};
use rating_engine::account::{Counters, Subscriber};
use rating_engine::command::Change;
use rating_engine::ids::{GroupId, Identifier, Lsn, SubscriberId, TenantId};
use rating_engine::shard::Shard;

use super::{Desk, by};
use crate::charging::{Charged, Noting};
use crate::import;
use crate::setup::{Filled, Filler, There};

impl Desk {
    fn there(&self) -> There<'_> {
        There::running(&self.files.catalogue, &self.charging)
    }

    /// A subscriber by its number or an identifier.
    pub(super) async fn find_subscriber(
        &self,
        tenant: TenantId,
        selector: SubscriberSelector,
    ) -> Result<SubscriberSnapshot, OperationError> {
        let desk = self.clone();
        let found = tokio::task::spawn_blocking(move || desk.find(tenant, &selector)).await;
        let (snapshot, lsn) = found.map_err(|_| OperationError::Stopping)??;
        self.durable(lsn).await?;
        Ok(snapshot)
    }

    /// Finds it by its number, or by whose identifier it is.
    pub(super) fn find(
        &self,
        tenant: TenantId,
        selector: &SubscriberSelector,
    ) -> Result<(SubscriberSnapshot, Lsn), OperationError> {
        let found = match selector {
            SubscriberSelector::Id(id) => self.there().subscriber(*id),
            SubscriberSelector::Identifier(identifier) => self.there().identified(tenant, identifier),
        };
        let found = found.filter(|found| found.tenant == tenant).ok_or(OperationError::UnknownSubscriber)?;
        let (id, group) = (found.id, found.group);
        let identifiers = self.identifiers(id);
        let seen = self.charging.shards.with(group, |shard| (shard.subscriber(id).cloned(), shard.last_lsn()));
        let (subscriber, lsn) = (seen.0.ok_or(OperationError::UnknownSubscriber)?, seen.1);
        Ok((SubscriberSnapshot { subscriber, identifiers }, lsn))
    }

    pub(super) fn identifiers(&self, id: SubscriberId) -> Vec<Identifier> {
        self.charging.directory.identifiers_of(id)
    }

    /// Makes or replaces a subscriber.
    pub(super) async fn replace_subscriber(&self, caller: Caller, put: SubscriberPut) -> Result<Put, OperationError> {
        if self.charging.journal.is_saturated() {
            return Err(OperationError::Refused(rating_engine::command::Refusal::TooBusy));
        }
        let desk = self.clone();
        let done = tokio::task::spawn_blocking(move || desk.put(&caller, "Subscribers/PutSubscriber", &put)).await;
        let (done, etag) = done.map_err(|_| OperationError::Stopping)??;
        let repeated = self.settled(done).await?.repeated;
        Ok(Put { etag, repeated })
    }

    /// Makes or replaces a subscriber, as `method` has it.
    pub(super) fn put(
        &self,
        caller: &Caller,
        method: &'static str,
        put: &SubscriberPut,
    ) -> Result<(Charged<rating_engine::command::MutationOutcome>, String), OperationError> {
        let charging = &self.charging;
        // From looking whose an identifier is to pointing it, nobody else does.
        let _claim = charging.edge.claim();
        let precondition = |reason: String| OperationError::Precondition(reason);
        let standing = self.there().standing(put.account).ok_or(OperationError::UnknownAccount)?;
        let (tenant, group) = (standing.tenant, standing.group);
        // A key that is known is answered as it was, or refused, whatever is there by now.
        let request = put.asked.request(&name::subscriber(tenant, put.id));
        let known = charging
            .shards
            .with(group, |shard| (shard.known(group, &request), shard.last_lsn(), shard.subscriber(put.id).cloned()));
        match known {
            (Ok(None), ..) => {}
            (Ok(Some(outcome)), lsn, there) => {
                let etag = there.map(|there| etag::subscriber(&there, &self.identifiers(put.id)));
                return Ok((Charged { outcome, lsn, repeated: true }, etag.unwrap_or_default()));
            }
            (Err(refusal), ..) => return Err(OperationError::Refused(refusal)),
        }
        let there = self.there().subscriber(put.id);
        if let Some(there) = there.as_ref().filter(|there| (there.group, there.tenant) != (group, tenant)) {
            return Err(precondition(format!(
                "it is there with account {} of charging group {}, and cannot move to account {} of group {group}; give it an \
                 account of its group, or make a new subscriber with identifiers of its own",
                there.account, there.group, put.account
            )));
        }
        let windows = self.there().windows(&put.tariff);
        let windows =
            windows.ok_or_else(|| precondition(format!("tariff '{}' is not there; publish it first", put.tariff)))?;
        if let Some(sponsor) = &put.sponsor
            && let Some(unknown) = sponsor.windows.iter().find(|window| !windows.contains(*window))
        {
            return Err(precondition(format!("sponsor.windows: tariff '{}' has no window '{unknown}'", put.tariff)));
        }
        for identifier in &put.identifiers {
            match charging.directory.find(tenant, identifier) {
                Some((owner, _)) if owner != put.id => {
                    return Err(OperationError::Taken { what: identifier.clone(), owner });
                }
                Some(_) | None => {}
            }
        }
        let before = if there.is_some() { self.identifiers(put.id) } else { Vec::new() };
        let subscriber = Subscriber {
            id: put.id,
            tenant,
            account: put.account,
            group,
            tariff: put.tariff.clone(),
            state: put.state,
            counters: Counters::default(),
            sponsor: put.sponsor.clone(),
        };
        let owner = Owner::of(&subscriber);
        let etag = etag::subscriber(&subscriber, &put.identifiers);
        let lost = before.iter().filter(|known| !put.identifiers.contains(known)).map(|known| (known, None));
        let won = put.identifiers.iter().filter(|new| !before.contains(new)).map(|new| (new, Some(owner)));
        let moved: Vec<(Identifier, Option<Owner>)> = lost.chain(won).map(|(name, to)| (name.clone(), to)).collect();
        let target = name::subscriber(tenant, put.id);
        let mutation = Change::PutSubscriber(subscriber).asked(put.asked.request(&target));
        let by = by(caller, method, target, mutation.request.as_ref());
        let is_same = |shard: &Shard| {
            let now = shard.subscriber(put.id);
            match &put.basis {
                Basis::Any => true,
                Basis::New => now.is_none(),
                Basis::Etag(etag) => now.is_some_and(|now| etag::subscriber(now, &before) == **etag),
            }
        };
        let identifiers = moved.iter().map(|(name, to)| (tenant, name.clone(), *to)).collect();
        let noting = Noting { by: Some(&by), identifiers, still: Some(&is_same), ..Noting::default() };
        let done = charging.mutate_with(group, mutation, charging.clock.now(), noting);
        let is_done = matches!(*done.outcome, rating_engine::command::MutationOutcome::Done { .. });
        if is_done && !done.repeated {
            charging.directory.group_member(put.id, group);
            for (identifier, to) in moved {
                match to {
                    Some(_) => drop(charging.directory.point(tenant, identifier, (put.id, group))),
                    None => charging.directory.unpoint(tenant, &identifier),
                }
            }
        }
        Ok((done, etag))
    }

    pub(super) fn subscriber_etag(&self, id: SubscriberId, group: GroupId) -> String {
        let there = self.charging.shards.with(group, |shard| shard.subscriber(id).cloned());
        there.map(|there| etag::subscriber(&there, &self.identifiers(id))).unwrap_or_default()
    }

    /// Loads rows, on a thread of its own: a processor that the network's requests want is not kept from them.
    pub(super) async fn fill_all(&self, caller: Caller, rows: Vec<Row>) -> Result<Vec<Loaded>, OperationError> {
        let turn = self.loading.clone().acquire_owned().await.map_err(|_| OperationError::Stopping)?;
        self.room().await?;
        let desk = self.clone();
        let fill = move || {
            // Who asked may be gone: what was begun is done all the same, and nobody else begins before.
            let _turn = turn;
            rows.iter().map(|row| desk.fill(&caller, row)).collect()
        };
        tokio::task::spawn_blocking(fill).await.map_err(|_| OperationError::Stopping)
    }

    /// Loads one row.
    fn fill(&self, caller: &Caller, row: &Row) -> Loaded {
        let (charging, catalogue) = (&*self.charging, &*self.files.catalogue);
        let filler = Filler { charging, catalogue, now: charging.clock.now(), caller: Some(&caller.name) };
        let there = self.there();
        let filled = match row {
            Row::Account(line) => import::account_of(line).and_then(|account| {
                let brings = account.credit.is_some() || account.buckets.iter().any(|bucket| bucket.balance != 0);
                match caller.top_up_max {
                    Some(_) if brings => Err(format!(
                        "{} may not load accounts that hold something; load them empty, and top them up",
                        caller.name
                    )),
                    Some(_) | None => filler.account(account),
                }
            }),
            Row::Subscriber(line) => {
                let (windows, offer) = (|name: &_| there.windows(name), |name: &_| there.offer(name));
                let record = import::subscriber_of(line, windows, offer, |account| there.standing(account));
                record.and_then(|record| filler.subscriber(record))
            }
        };
        match filled {
            Ok(Filled::New(lsn)) => Loaded::Loaded(lsn),
            Ok(Filled::Incomplete(lsn, reason)) => Loaded::Incomplete(lsn, reason),
            Ok(Filled::There(lsn)) => Loaded::There(lsn),
            Err(reason) => Loaded::Refused(reason),
        }
    }
}
