//! Charges: given back, listed, explained and added up.

use std::sync::Arc;
use std::time::Duration;

use balance_store::records::StoredCdr;
use ocs_api::{
    Caller, CdrId, ChargeError, ChargeOperations, ChargePage, ChargesAsked, Heads, OperationError, Operations, Payer,
    RefundAsked, Refunded, name,
};
use ocs_proto::cdr::convert::kind;
use ocs_proto::cdr::v1::RatedCdr;
use ocs_proto::charging::convert::{holding, money, service, service_key, time};
use ocs_proto::operator::v1 as wire;
use rating_engine::account::{Account, Holding};
use rating_engine::cdr::{CdrKind, CdrSource};
use rating_engine::command::{Change, Refusal};
use rating_engine::explain::Explanation;
use rating_engine::ids::{AccountId, CdrPosition, PartitionId, SubscriberId};
use rating_engine::money::Money;
use rating_engine::refund::{GiveBack, Seen, Unseen};
use rating_engine::shard::Shard;
use rating_engine::time::Timestamp;

use super::{Desk, Files, by, look};
use crate::charging::Noting;
use crate::totals::{OutOfRange, Totals};
use crate::walk::Walker;
use crate::{explained, feed};

/// How often a refund is tried when others of the same account come between.
const TRIES_MAX: usize = 8;
/// CDRs that one call for a list looks at.
const LISTED_MAX: usize = 5_000;
/// Blocks of CDRs that one call for a list reads.
const LISTED_LOADS_MAX: usize = 200;
/// CDRs of an account that totals look at.
const ADDED_MAX: usize = 200_000;
/// Blocks of CDRs that are read for totals or a refund.
const LOADS_MAX: usize = 10_000;
/// CDRs that followed a refund which is looked for.
const FOLLOWED_MAX: usize = 1_000;
/// How far ahead of our clock a client may date usage, seconds: what was charged earlier than this before a period has nothing
/// of it.
const AHEAD_SECONDS: i64 = 86_400;

/// How long the CDR store may be behind what is read of it, and how often it is looked at.
const BEHIND_MAX: Duration = Duration::from_secs(5);
const BEHIND_PAUSE: Duration = Duration::from_millis(2);

/// Whose CDRs are walked.
struct Chains {
    own: AccountId,
    sponsor: Option<AccountId>,
    heads: Heads,
    /// Only those of this subscriber.
    subscriber: Option<SubscriberId>,
}

impl Chains {
    fn wants(&self, cdr: &StoredCdr) -> bool {
        self.subscriber.is_none_or(|subscriber| cdr.subscriber == Some(subscriber))
    }
}

impl ChargeOperations for Desk {
    async fn refund_charge(&self, caller: Caller, refund: RefundAsked) -> Result<Refunded, ChargeError> {
        if self.charging.journal.is_saturated() {
            return Err(OperationError::Refused(Refusal::TooBusy).into());
        }
        let charge = self.stored(refund.charge).await?;
        if let Some((_, given)) = refund.amount
            && given != charge.currency
        {
            return Err(OperationError::WrongCurrency { account: charge.currency }.into());
        }
        if let (Some(ceiling), Some((amount, currency))) = (caller.top_up_max, refund.amount)
            && !ceiling.allows(amount, currency)
        {
            return Err(ChargeError::AboveCeiling(ceiling));
        }
        let (account, group) = (charge.account, self.charging.directory.group_of(charge.account));
        let request = refund.asked.request(&refund.charge.to_string());
        let by = by(&caller, "Usage/RefundCharge", name::account(charge.tenant, account), Some(&request));
        for _ in 0..TRIES_MAX {
            let back = self.gathered(&refund, &charge, &caller, &request).await?;
            let mutation = Change::GiveBack(Box::new(back)).asked(request.clone());
            match self.mutated(group, mutation, Noting { by: Some(&by), ..Noting::default() }).await {
                Err(OperationError::Refused(Refusal::Stale)) => {}
                Err(error) => return Err(error.into()),
                Ok(done) => {
                    if !done.repeated {
                        self.money_arrived(group, account);
                    }
                    return Ok(Refunded {
                        balance: done.balance,
                        currency: charge.currency,
                        cdr_number: done.cdr_number,
                        repeated: done.repeated,
                        refund: self.found_by_number(account, done.cdr_number).await,
                    });
                }
            }
        }
        Err(ChargeError::Contended)
    }

    async fn charges(&self, asked: ChargesAsked) -> Result<ChargePage, ChargeError> {
        let mut chains = self.chains(&asked.payer).await?;
        if let Some(from) = asked.from {
            chains.heads = from;
        }
        let files = self.files.clone();
        self.walking(move || list(&files, chains, asked.period, asked.max)).await
    }

    async fn explain_charge(&self, id: CdrId) -> Result<Explanation, ChargeError> {
        let stored = self.stored(id).await?;
        let said = explained::explain(&self.files.catalogue, &stored);
        said.map_err(|error| OperationError::Store(format!("CDR {id}: {error}")).into())
    }

    async fn totals(
        &self,
        payer: Payer,
        period: (Timestamp, Timestamp),
    ) -> Result<wire::GetTotalsResponse, ChargeError> {
        let chains = self.chains(&payer).await?;
        let files = self.files.clone();
        self.walking(move || add_up(&files, &chains, period)).await
    }
}

impl Desk {
    /// A CDR that is stored.
    async fn stored(&self, id: CdrId) -> Result<StoredCdr, ChargeError> {
        if id.partition != self.files.partition {
            return Err(ChargeError::NotThere);
        }
        let cdrs = self.files.cdrs.clone();
        let read = blocking(move || Walker::new(cdrs).read(id.position).map_err(unreadable)).await?;
        read.ok_or(ChargeError::NotThere)
    }

    /// What is known of a charge now, durably; nothing but its name when the refund is a repeat.
    async fn gathered(
        &self,
        refund: &RefundAsked,
        charge: &StoredCdr,
        caller: &Caller,
        request: &rating_engine::command::Request,
    ) -> Result<GiveBack, ChargeError> {
        let position = refund.charge.position;
        let (account, amount) = (charge.account, refund.amount.map(|(amount, _)| amount));
        let nothing = || GiveBack {
            position,
            account,
            subscriber: charge.subscriber,
            used_from: None,
            event: None,
            charges: Vec::new(),
            returns: Vec::new(),
            given_back: Vec::new(),
            amount,
        };
        let group = self.charging.directory.group_of(account);
        let known = Change::GiveBack(Box::new(nothing())).asked(request.clone());
        let seen = self.charging.shards.with(group, |shard| {
            if shard.knows(&known) {
                return Ok(None);
            }
            let account = shard.account(account).ok_or(OperationError::UnknownAccount)?;
            Ok::<_, OperationError>(Some((account.cdrs.last, account.given_back(), shard.last_lsn())))
        })?;
        let Some((newest, given_back, lsn)) = seen else { return Ok(nothing()) };
        self.durable(lsn).await?;
        self.stored_up_to(newest).await?;
        let cdrs = self.files.cdrs.clone();
        let gathered = self.walking(move || {
            let mut walker = Walker::new(cdrs);
            let read = |position| {
                if walker.loads() > LOADS_MAX {
                    return Err(ChargeError::TooOld);
                }
                walker.read(position).map(|cdr| cdr.map(seen_of)).map_err(unreadable)
            };
            GiveBack::gather(position, amount, (newest, given_back), read).map_err(|error| match error {
                Unseen::NotThere => ChargeError::NotThere,
                Unseen::NoCharge => ChargeError::NothingCharged,
                Unseen::TooMany => ChargeError::TooOld,
                Unseen::Unreadable(error) => error,
            })
        });
        let back = gathered.await?;
        if let (Some(ceiling), None) = (caller.top_up_max, amount) {
            // How much units are worth is not said: whoever has a ceiling gives none.
            let allowed = |(of, amount): &(Holding, i64)| {
                *of == Holding::Money && ceiling.allows(Money::from_micros(*amount), charge.currency)
            };
            let left = back.left();
            let all = left.iter().fold(0i64, |sum, (_, amount)| sum.saturating_add(*amount));
            if !left.iter().all(allowed) || !left.is_empty() && !allowed(&(Holding::Money, all)) {
                return Err(ChargeError::AboveCeiling(ceiling));
            }
        }
        Ok(back)
    }

    /// Does a walk over CDRs beside the runtime's threads, when not too many others do.
    async fn walking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ChargeError> + Send + 'static,
    ) -> Result<T, ChargeError> {
        let _turn = self.files.walks.acquire().await.map_err(|_| OperationError::Stopping)?;
        blocking(work).await
    }

    /// Waits until the CDR store has a position.
    async fn stored_up_to(&self, newest: CdrPosition) -> Result<(), OperationError> {
        let mut waited = Duration::ZERO;
        while self.files.cdrs.durable().position < newest {
            if waited >= BEHIND_MAX {
                return Err(OperationError::Store("the CDR store is too far behind; try again later".to_owned()));
            }
            tokio::time::sleep(BEHIND_PAUSE).await;
            waited += BEHIND_PAUSE;
        }
        Ok(())
    }

    /// An account's CDR of this number, if it is one of its newest.
    async fn found_by_number(&self, account: AccountId, number: u64) -> Option<RatedCdr> {
        let group = self.charging.directory.group_of(account);
        let newest = self.charging.shards.with(group, |shard| shard.account(account).map(|it| it.cdrs.last))?;
        self.stored_up_to(newest).await.ok()?;
        let files = self.files.clone();
        let found = blocking(move || {
            let (mut walker, mut at) = (Walker::new(files.cdrs.clone()), newest);
            for _ in 0..FOLLOWED_MAX {
                let Some(cdr) = walker.read(at).map_err(unreadable)? else { break };
                if cdr.number == number {
                    return Ok(Some(feed::shown(files.partition, at, &cdr)));
                }
                at = cdr.previous;
            }
            Ok(None)
        });
        found.await.ok().flatten()
    }

    /// Whose CDRs are to be looked at, from which on; all of them are stored.
    async fn chains(&self, payer: &Payer) -> Result<Chains, ChargeError> {
        let (chains, lsn) = match payer {
            Payer::Account(selection) => {
                let found = |shard: &Shard, account: &Account| (account.id, account.cdrs.last, shard.last_lsn());
                let (own, last, lsn) = look(&self.charging, selection, found)?;
                let heads = Heads { own: last, ..Heads::default() };
                (Chains { own, sponsor: None, heads, subscriber: None }, lsn)
            }
            Payer::Subscriber(tenant, selector) => {
                let found = self.find_subscriber(*tenant, selector.clone()).await?.subscriber;
                let sponsor = found.sponsor.as_ref().map(|sponsor| sponsor.account);
                let last = |shard: &Shard, id| shard.account(id).map_or(CdrPosition::default(), |it| it.cdrs.last);
                let (heads, lsn) = self.charging.shards.with(found.group, |shard| {
                    let own = last(shard, found.account);
                    let sponsor = sponsor.map_or(CdrPosition::default(), |sponsor| last(shard, sponsor));
                    (Heads { own, sponsor }, shard.last_lsn())
                });
                (Chains { own: found.account, sponsor, heads, subscriber: Some(found.id) }, lsn)
            }
        };
        self.durable(lsn).await?;
        self.stored_up_to(chains.heads.own.max(chains.heads.sponsor)).await?;
        Ok(chains)
    }
}

/// Does what reads the disk beside the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ChargeError> + Send + 'static,
) -> Result<T, ChargeError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| OperationError::Stopping)?
}

fn unreadable(error: String) -> ChargeError {
    OperationError::Store(error).into()
}

/// What a refund or a correction has to know of a CDR.
pub(crate) fn seen_of(cdr: StoredCdr) -> Seen {
    Seen {
        kind: cdr.kind,
        cause: cdr.cause,
        corrects: cdr.corrects,
        account: cdr.account,
        previous: cdr.previous,
        subscriber: cdr.subscriber,
        source: cdr.source,
        usage_start: cdr.usage_start,
        rated: cdr.rating.as_ref().map(|rating| (rating.slice, rating.used)),
        movements: cdr.movements.into_iter().collect(),
    }
}

/// Whether nothing of a period that begins at `from` is among the CDRs before this one.
fn is_past(cdr: &StoredCdr, from: Timestamp) -> bool {
    cdr.accepted.plus_seconds(AHEAD_SECONDS) < from
}

fn list(
    files: &Arc<Files>,
    chains: Chains,
    (from, to): (Timestamp, Timestamp),
    max: usize,
) -> Result<ChargePage, ChargeError> {
    // One for each: their steps are far apart.
    let (mut own, mut sponsor) = (Walker::new(files.cdrs.clone()), Walker::new(files.cdrs.clone()));
    let mut page = ChargePage { charges: Vec::new(), next: chains.heads };
    for _ in 0..LISTED_MAX {
        let loads = own.loads() + sponsor.loads();
        if page.charges.len() >= max || page.next == Heads::default() || loads > LISTED_LOADS_MAX {
            break;
        }
        let is_own = page.next.own >= page.next.sponsor;
        let (walker, head, account) = if is_own {
            (&mut own, &mut page.next.own, Some(chains.own))
        } else {
            (&mut sponsor, &mut page.next.sponsor, chains.sponsor)
        };
        let position = *head;
        let Some(cdr) = walker.read(position).map_err(unreadable)? else {
            *head = CdrPosition::default();
            continue;
        };
        if Some(cdr.account) != account {
            return Err(OperationError::Precondition("page_token is of another list".to_owned()).into());
        }
        *head = if is_past(&cdr, from) { CdrPosition::default() } else { cdr.previous };
        let is_charge = matches!(cdr.kind, CdrKind::Usage | CdrKind::Refund | CdrKind::ReRate);
        if is_charge && chains.wants(&cdr) && from <= cdr.usage_start && cdr.usage_start < to {
            page.charges.push(shown(files.partition, position, &cdr));
        }
    }
    Ok(page)
}

fn shown(partition: PartitionId, position: CdrPosition, cdr: &StoredCdr) -> wire::Charge {
    let id = |position| CdrId { partition, position }.to_string();
    let network = match &cdr.source {
        CdrSource::Network { service, context, .. } => Some((context.service, service)),
        CdrSource::Operator { .. } | CdrSource::Calendar => None,
    };
    let rating = cdr.rating.as_ref();
    let unit = rating.and_then(|rating| rating.measure).map(|measure| holding(Holding::Units(measure.unit())));
    wire::Charge {
        cdr_id: id(position),
        kind: kind(cdr.kind).into(),
        account_id: cdr.account.get(),
        subscriber_id: cdr.subscriber.map(SubscriberId::get),
        service: network.map(|(kind, _)| service(kind)),
        service_key: network.map(|(_, key)| service_key(key)),
        usage_start: Some(time(cdr.usage_start)),
        usage_end: Some(time(cdr.usage_end)),
        accepted: Some(time(cdr.accepted)),
        unit: unit.unwrap_or_default().into(),
        used: rating.map_or(0, |rating| rating.used),
        amount: Some(money(cdr.amount, cdr.currency)),
        tariff: rating.map(|rating| rating.tariff.name.as_str().to_owned()).unwrap_or_default(),
        tariff_version: rating.map_or(0, |rating| rating.tariff.version),
        price_id: rating.map(|rating| rating.price.as_str().to_owned()).unwrap_or_default(),
        corrects_cdr_id: cdr.corrects.map(id).unwrap_or_default(),
    }
}

fn add_up(
    files: &Arc<Files>,
    chains: &Chains,
    (from, to): (Timestamp, Timestamp),
) -> Result<wire::GetTotalsResponse, ChargeError> {
    let too_large = |_: OutOfRange| ChargeError::OutOfRange;
    let mut totals = Totals::new(&files.catalogue);
    let mut walked = 0;
    for head in [chains.heads.own, chains.heads.sponsor] {
        let (mut walker, mut at) = (Walker::new(files.cdrs.clone()), head);
        while at.get() > 0 {
            let Some(cdr) = walker.read(at).map_err(unreadable)? else {
                let reason = "the first CDRs of the period are not kept any more; ask for a later one";
                return Err(OperationError::Precondition(reason.to_owned()).into());
            };
            walked += 1;
            if walked > ADDED_MAX || walker.loads() > LOADS_MAX {
                return Err(ChargeError::TooMany);
            }
            let counts = chains.wants(&cdr) && from <= cdr.usage_start && cdr.usage_start < to;
            totals.add(at, &cdr, counts).map_err(too_large)?;
            at = if is_past(&cdr, from) { CdrPosition::default() } else { cdr.previous };
        }
    }
    let mut walker = Walker::new(files.cdrs.clone());
    let mut missing = totals.missing();
    missing.sort_unstable_by(|a, b| b.cmp(a));
    for position in missing {
        if let Some(cdr) = walker.read(position).map_err(unreadable)? {
            totals.add(position, &cdr, false).map_err(too_large)?;
        }
    }
    totals.finish().map_err(too_large)
}
