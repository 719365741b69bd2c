//! Filling a data folder: imports and demo data, through the same log as everything else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use balance_store::records::Owner;
use rating_engine::account::{Account, Holding, Subscriber};
use rating_engine::command::{Change, Mutation, MutationOutcome, Refusal, Request};
use rating_engine::ids::{
    AccountId, GroupId, IdempotencyKey, Identifier, Lsn, OfferName, SubscriberId, TariffName, TenantId,
};
use rating_engine::offer::OfferVersion;
use rating_engine::periods::Periods;
use rating_engine::shard::{Image, Limits, Shard};
use rating_engine::shards::Shards;
use rating_engine::time::Timestamp;

use crate::audit_log::By;
use crate::catalogue::Document;
use crate::charging::{Charging, Noting};
use crate::clock::Clock;
use crate::config::Config;
use crate::demo;
use crate::directory::Directory;
use crate::import::{DocumentRecord, Standing, SubscriberRecord, same_currency};
use crate::store::{self, Catalogue, Loaded, OpenError, Running, because};
use crate::telemetry::Telemetry;

/// Entries that may wait for the disk while a folder is being filled, octets.
const PENDING_OCTETS_MAX: u64 = 8 << 20;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Tariff versions.
    pub tariffs: u64,
    /// Offer versions.
    pub offers: u64,
    /// Accounts.
    pub accounts: u64,
    /// Accounts that were there already and were left alone.
    pub accounts_there: u64,
    /// Subscribers.
    pub subscribers: u64,
}

/// Whether a folder has all demo data for so many subscribers already.
///
/// # Errors
/// When the demo catalogue cannot be read.
pub fn has_demo(loaded: &Loaded, subscribers: u64) -> Result<bool, OpenError> {
    for source in demo::CATALOGUE {
        let document = crate::catalogue::parse(source).map_err(because("demo catalogue"))?;
        if loaded.store.catalogue.same(&document).is_none() {
            return Ok(false);
        }
    }
    let is_there = |record: &SubscriberRecord| {
        let (id, tenant) = (record.subscriber.id, record.subscriber.tenant);
        let points = |identifier| loaded.directory.find(tenant, identifier).is_some_and(|(owner, _)| owner == id);
        record.identifiers.iter().all(points)
            && loaded.shards.with(record.subscriber.group, |shard| {
                shard.subscriber(id).is_some_and(|there| is_same(there, &record.subscriber))
            })
    };
    let ruled = (1..=subscribers).filter_map(demo::subscriber).map(|(_, record)| record);
    Ok(ruled.chain(demo::holders().map(|(_, record)| record)).all(|record| is_there(&record)))
}

/// Whether it is what the record says. What it has used is not the record's to say.
fn is_same(there: &Subscriber, record: &Subscriber) -> bool {
    let counters = there.counters.clone();
    *there == Subscriber { counters, ..record.clone() }
}

fn buying(account: AccountId, subscriber: SubscriberId, offer: &OfferName) -> Mutation {
    let key = IdempotencyKey::new(&format!("import {subscriber} {offer}"));
    Change::Buy { account, subscriber, offer: offer.clone(), version: None, begins: None }.asked(Request {
        key,
        digest: 0,
        reason: "import".into(),
    })
}

fn why_untaken(refusal: &Refusal) -> String {
    match refusal {
        Refusal::CreditLimitReached => {
            "its account cannot pay the fee; give it more money, or leave the offer out".to_owned()
        }
        Refusal::Invalid(reason) => (*reason).to_owned(),
        Refusal::UnknownSubscriber
        | Refusal::IdentifiersDisagree
        | Refusal::UnknownSession
        | Refusal::ServiceDenied
        | Refusal::Rejected
        | Refusal::RatingFailed
        | Refusal::KeyReused
        | Refusal::AnswerGone
        | Refusal::NothingToRefund
        | Refusal::RefundBeyondCharge
        | Refusal::TooBusy
        | Refusal::Stale
        | Refusal::OutOfRange => format!("{refusal:?}"),
    }
}

/// Accounting periods go on as they were: only later ones close, and none opens again.
///
/// # Errors
/// What is wrong, for people.
fn follows(there: &Periods, next: &Periods) -> Result<(), String> {
    if next.version() < there.version() {
        return Err(format!("accounting periods are there in version {}; raise the number", there.version()));
    }
    if next.cycle() != there.cycle() {
        return Err("accounting periods keep their beginning, length and time zone: CDRs are booked in them".to_owned());
    }
    if next.closed_until() < there.closed_until() {
        return Err(format!("periods before {} are closed and stay closed", there.closed_until()));
    }
    Ok(())
}

/// Whether an account has held one of a record's offers: it does, or it has held as many as the record has, some of which
/// ended. An import that is run again a year later buys nothing a second time.
fn has_had(account: &Account, offer: &OfferName, offers: &[OfferName], subscriber: SubscriberId) -> bool {
    let contract = account.contract.as_ref();
    let bought = contract.map_or(0, |contract| usize::try_from(contract.last_number).unwrap_or(usize::MAX));
    // What others of the account hold was not bought for this one.
    let others = contract
        .map_or(0, |contract| contract.subscriptions.iter().filter(|held| held.subscriber != subscriber).count());
    account.has_bought(offer, subscriber) || bought.saturating_sub(others) >= offers.len()
}

/// What is in a data folder, asked before anything is written to it. Every answer is for people.
#[derive(Clone, Copy, Debug)]
pub struct There<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) shards: &'a Shards,
    pub(crate) directory: &'a Directory,
}

impl<'a> There<'a> {
    /// What was loaded.
    pub fn of(loaded: &'a Loaded) -> Self {
        Self { catalogue: &loaded.store.catalogue, shards: &loaded.shards, directory: &loaded.directory }
    }

    /// What a running system has.
    pub fn running(catalogue: &'a Catalogue, charging: &'a Charging) -> Self {
        Self { catalogue, shards: &charging.shards, directory: &charging.directory }
    }

    /// The names of all windows of a tariff; `None` where there is no such tariff.
    pub fn windows(&self, name: &TariffName) -> Option<BTreeSet<Box<str>>> {
        self.catalogue.windows(name)
    }

    /// The subscriber of a tenant that an identifier names.
    pub fn identified(&self, tenant: TenantId, identifier: &Identifier) -> Option<Subscriber> {
        let (id, _) = self.directory.find(tenant, identifier)?;
        self.subscriber(id)
    }

    /// The newest version of an offer.
    pub fn offer(&self, name: &OfferName) -> Option<Arc<OfferVersion>> {
        self.catalogue.newest_offer(name)
    }

    /// Where an account stands, looked up by its number over all groups.
    pub fn standing(&self, account: AccountId) -> Option<Standing> {
        let group = self.directory.group_of(account);
        self.shards.with(group, |shard| shard.account(account).map(Standing::of))
    }

    /// The tenant of a charging group; `None` where no account is in it.
    pub fn tenant_of(&self, group: GroupId) -> Option<TenantId> {
        let first = |shard: &mut Shard| shard.accounts_of(group, AccountId::default()).next().map(|first| first.tenant);
        self.shards.with(group, first)
    }

    /// A subscriber, looked up by its number over all groups.
    pub fn subscriber(&self, id: SubscriberId) -> Option<Subscriber> {
        self.shards.with(self.directory.group_of_member(id), |shard| shard.subscriber(id).cloned())
    }

    /// What would be refused of the offers that subscribers are to get, tried on copies of their accounts: `accounts` that are
    /// new, or those that are there. One line each.
    pub fn untaken_offers(
        these: Option<Self>,
        documents: &[DocumentRecord],
        accounts: &[Account],
        subscribers: &[SubscriberRecord],
        now: Timestamp,
    ) -> Vec<String> {
        let mut tariffs = these.map(|these| these.catalogue.tariffs()).unwrap_or_default();
        for record in documents {
            match &record.document {
                Document::Tariff(version) => tariffs.insert(version.clone()),
                Document::Offer(version) => tariffs.insert_offer(version.clone()),
                Document::Accounting(periods, _) => tariffs.insert_periods(periods.clone()),
            }
        }
        let with_offers = || subscribers.iter().filter(|record| !record.offers.is_empty());
        let wanted: BTreeSet<AccountId> = with_offers().map(|record| record.subscriber.account).collect();
        let mut shard = Shard::new(Limits::default());
        let mut open = |account: &Account| shard.load(Image::Account(account.clone()), Lsn::default());
        accounts.iter().filter(|account| wanted.contains(&account.id)).for_each(&mut open);
        for record in with_offers() {
            let Subscriber { account, group, .. } = record.subscriber;
            let there = these.and_then(|these| these.shards.with(group, |shard| shard.account(account).cloned()));
            there.iter().for_each(&mut open);
        }
        for record in subscribers.iter().filter(|record| wanted.contains(&record.subscriber.account)) {
            shard.load(Image::Subscriber(record.subscriber.clone()), Lsn::default());
        }
        let mut untaken = Vec::new();
        for SubscriberRecord { subscriber, offers, .. } in with_offers() {
            for offer in offers {
                let account = shard.account(subscriber.account);
                if account.is_some_and(|account| has_had(account, offer, offers, subscriber.id)) {
                    continue;
                }
                let effects = shard.mutate(&tariffs, buying(subscriber.account, subscriber.id, offer), now);
                if let MutationOutcome::Refused(refusal) = &*effects.outcome {
                    let why = why_untaken(refusal);
                    untaken.push(format!("subscriber {}: offer {offer} cannot be bought: {why}", subscriber.id));
                }
            }
        }
        untaken
    }

    /// Whether a version of a tariff or offer is there already.
    ///
    /// # Errors
    /// When it is there with other content, or other versions of a tariff are in another currency.
    pub fn has_document(&self, record: &DocumentRecord) -> Result<bool, String> {
        let document = &record.document;
        match self.catalogue.same(document) {
            Some(there) if there.content_hash() == document.content_hash() => Ok(true),
            Some(_) => Err(format!("{document} is there with other content; versions are immutable: raise the number")),
            None => match document {
                Document::Tariff(version) => {
                    let other = self.catalogue.any(version.name());
                    other.map_or(Ok(()), |other| same_currency(&other, version)).map(|()| false)
                }
                Document::Offer(_) => Ok(false),
                Document::Accounting(periods, _) => {
                    let there = self.catalogue.periods();
                    there.map_or(Ok(()), |there| follows(&there, periods)).map(|()| false)
                }
            },
        }
    }

    /// Whether an account is there already.
    ///
    /// # Errors
    /// When it is there in another charging group, or what it would hold does not fit.
    pub fn has_account(&self, account: &Account) -> Result<bool, String> {
        let (id, group) = (account.id, account.group);
        match self.standing(id) {
            Some(there) if there == Standing::of(account) => Ok(true),
            Some(there) if there.group != group => Err(format!(
                "account {id} is there in charging group {there}, not in {group}; an account keeps its group: say \
                 \"group\": {there}",
                there = there.group
            )),
            Some(there) => Err(format!(
                "account {id} is there with currency {} and tenant {}, which it keeps",
                there.currency,
                there.tenant.get()
            )),
            None if self.tenant_of(group).is_some_and(|tenant| tenant != account.tenant) => Err(format!(
                "account {id}: charging group {group} is of another tenant; give it a group of its own tenant's accounts"
            )),
            None if account.clone().open_totals().is_none() => Err(format!("account {id}: what it holds does not fit")),
            None => Ok(false),
        }
    }

    /// Whether a subscriber is there already, as the record has it and with all its identifiers.
    ///
    /// # Errors
    /// When it is there in another charging group or tenant, or an identifier belongs to another subscriber.
    pub fn has_subscriber(&self, record: &SubscriberRecord) -> Result<bool, String> {
        let SubscriberRecord { subscriber, identifiers, offers } = record;
        let (id, tenant, group) = (subscriber.id, subscriber.tenant, subscriber.group);
        let mut points = true;
        for identifier in identifiers {
            match self.directory.find(tenant, identifier) {
                Some((other, _)) if other != id => {
                    return Err(format!("subscriber {id}: {identifier} belongs to subscriber {other}"));
                }
                found => points &= found.is_some(),
            }
        }
        let Some(there) = self.subscriber(id) else { return Ok(false) };
        if (there.group, there.tenant) != (group, tenant) {
            // Its other identifiers and its open sessions would stay behind.
            return Err(format!(
                "subscriber {id} is there with account {} of charging group {}, tenant {}, and cannot move to account \
                 {} of group {group}, tenant {tenant}; give it an account of its group, or make a new subscriber with \
                 identifiers of its own",
                there.account, there.group, there.tenant, subscriber.account
            ));
        }
        let bought = self.shards.with(group, |shard| {
            let account = shard.account(subscriber.account);
            offers.iter().all(|offer| account.is_some_and(|account| has_had(account, offer, offers, id)))
        });
        Ok(points && is_same(&there, subscriber) && bought)
    }
}

/// Whether a row was new, and the entry after which that is certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filled {
    /// It is there now, but not all of it: what is missing, and why.
    Incomplete(Lsn, String),
    /// It is there now.
    New(Lsn),
    /// It was there already.
    There(Lsn),
}

/// Puts accounts and subscribers, row by row: into a folder that is being filled, or a running system.
#[derive(Clone, Copy, Debug)]
pub struct Filler<'a> {
    /// Where.
    pub charging: &'a Charging,
    /// Tariffs and offers.
    pub catalogue: &'a Catalogue,
    /// When.
    pub now: Timestamp,
    /// Who asks; `None` for what is not noted in the audit log.
    pub caller: Option<&'a str>,
}

impl Filler<'_> {
    fn by(&self, target: String) -> Option<By> {
        let (method, key, reason) = ("Subscribers/LoadRows", Box::default(), Box::default());
        self.caller.map(|caller| By { caller: caller.into(), method, target: target.into(), key, reason })
    }

    fn there(&self) -> There<'_> {
        There::running(self.catalogue, self.charging)
    }

    /// Opens an account, unless it is there.
    ///
    /// # Errors
    /// When it cannot be opened, or is there in another charging group; for people.
    pub fn account(&self, account: Account) -> Result<Filled, String> {
        let charging = self.charging;
        // Nobody else makes an account of this number meanwhile.
        let _claim = charging.edge.claim();
        if self.there().has_account(&account)? {
            return Ok(Filled::There(charging.shards.with(account.group, |shard| shard.last_lsn())));
        }
        let (id, group) = (account.id, account.group);
        let by = self.by(ocs_api::name::account(account.tenant, id));
        let noting = Noting { by: by.as_ref(), ..Noting::default() };
        let done = charging.mutate_with(group, Change::OpenAccount(Box::new(account)).into(), self.now, noting);
        match &*done.outcome {
            MutationOutcome::Done { .. } => {
                charging.directory.group_account(id, group);
                Ok(Filled::New(done.lsn))
            }
            MutationOutcome::Refused(refusal) => Err(format!("account {id}: {}", why_untaken(refusal))),
        }
    }

    /// Makes or replaces a subscriber, points its identifiers at it, and buys what it has not had.
    ///
    /// # Errors
    /// When it cannot be made, would move to another charging group, or an identifier belongs to another subscriber; for people.
    pub fn subscriber(&self, record: SubscriberRecord) -> Result<Filled, String> {
        let charging = self.charging;
        let SubscriberRecord { subscriber, .. } = &record;
        let (id, tenant, owner) = (subscriber.id, subscriber.tenant, Owner::of(subscriber));
        let (account, by) = (subscriber.account, self.by(ocs_api::name::subscriber(tenant, id)));
        let claim = charging.edge.claim();
        if self.there().has_subscriber(&record)? {
            return Ok(Filled::There(charging.shards.with(owner.group, |shard| shard.last_lsn())));
        }
        let SubscriberRecord { subscriber, identifiers, offers } = record;
        let new = identifiers.into_iter().filter(|identifier| charging.directory.find(tenant, identifier).is_none());
        let new: Vec<Identifier> = new.collect();
        let identifiers = new.iter().map(|identifier| (tenant, identifier.clone(), Some(owner))).collect();
        let noting = Noting { by: by.as_ref(), identifiers, ..Noting::default() };
        let done = charging.mutate_with(owner.group, Change::PutSubscriber(subscriber).into(), self.now, noting);
        if let MutationOutcome::Refused(refusal) = &*done.outcome {
            return Err(format!("subscriber {id}: {}", why_untaken(refusal)));
        }
        charging.directory.group_member(id, owner.group);
        for identifier in new {
            charging.directory.point(tenant, identifier, (owner.subscriber, owner.group));
        }
        drop(claim);
        let mut lsn = done.lsn;
        for offer in &offers {
            match self.buy(owner, account, offer, &offers, by.as_ref()) {
                Ok(bought) => lsn = lsn.max(bought.unwrap_or_default()),
                // It is there; what it lacks can be bought when that is mended.
                Err(reason) => return Ok(Filled::Incomplete(lsn, reason)),
            }
        }
        Ok(Filled::New(lsn))
    }

    /// Buys one of the offers of a record for a subscriber that never had it.
    fn buy(
        &self,
        owner: Owner,
        account: AccountId,
        offer: &OfferName,
        offers: &[OfferName],
        by: Option<&By>,
    ) -> Result<Option<Lsn>, String> {
        let (id, group) = (owner.subscriber, owner.group);
        let bought =
            |shard: &mut Shard| shard.account(account).is_some_and(|account| has_had(account, offer, offers, id));
        if self.charging.shards.with(group, bought) {
            return Ok(None);
        }
        let noting = Noting { by, ..Noting::default() };
        let done = self.charging.mutate_with(group, buying(account, id, offer), self.now, noting);
        match &*done.outcome {
            MutationOutcome::Done { .. } => Ok(Some(done.lsn)),
            MutationOutcome::Refused(refusal) => {
                Err(format!("subscriber {id}: offer {offer} cannot be bought: {}", why_untaken(refusal)))
            }
        }
    }
}

/// A data folder being filled; nobody is served.
pub struct Filling {
    running: Running,
    clock: Arc<Clock>,
    /// What is written so far.
    pub written: Written,
}

impl Filling {
    /// Over a folder that is loaded already.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn over(config: &Config, loaded: Loaded, clock: Arc<Clock>) -> Result<Self, OpenError> {
        let failed: balance_store::FailureHook = Arc::new(|error| {
            eprintln!("ocs: the store failed: {error}");
            crate::ending::store_failed();
        });
        let running = store::run(config, loaded, clock.clone(), Arc::new(Telemetry::new()), failed)?;
        Ok(Self { running, clock, written: Written::default() })
    }

    /// What is being filled.
    pub fn running(&self) -> &Running {
        &self.running
    }

    fn there(&self) -> There<'_> {
        let charging = &self.running.charging;
        There { catalogue: &self.running.store.catalogue, shards: &charging.shards, directory: &charging.directory }
    }

    /// Publishes a version of a tariff or offer.
    ///
    /// # Errors
    /// When a version of this name and number is there with other content.
    pub fn document(&mut self, record: &DocumentRecord) -> Result<(), OpenError> {
        if self.there().has_document(record).map_err(OpenError)? {
            return Ok(());
        }
        let (name, version) = (TariffName::new(&record.document.kept_as()), record.document.version());
        let charging = &self.running.charging;
        self.running.store.edge.publish(&charging.journal, self.clock.now(), &name, version, &record.source);
        self.running.store.catalogue.insert(record.document.clone());
        charging.tariffs.store(Arc::new(self.running.store.catalogue.tariffs()));
        match record.document {
            Document::Tariff(_) => self.written.tariffs += 1,
            Document::Offer(_) => self.written.offers += 1,
            Document::Accounting(..) => {}
        }
        Ok(())
    }

    /// Opens an account, unless it is there.
    ///
    /// # Errors
    /// When it cannot be opened, or is there in another charging group.
    pub fn account(&mut self, account: Account) -> Result<(), OpenError> {
        self.wait_for_room();
        match self.filler().account(account).map_err(OpenError)? {
            Filled::New(_) => self.written.accounts += 1,
            Filled::There(_) => self.written.accounts_there += 1,
            Filled::Incomplete(_, reason) => return Err(OpenError(reason)),
        }
        Ok(())
    }

    /// Makes or replaces a subscriber and points its identifiers at it.
    ///
    /// # Errors
    /// When it cannot be made, would move to another charging group, or an identifier belongs to another subscriber.
    pub fn subscriber(&mut self, record: SubscriberRecord) -> Result<(), OpenError> {
        self.wait_for_room();
        match self.filler().subscriber(record).map_err(OpenError)? {
            Filled::New(_) => self.written.subscribers += 1,
            Filled::There(_) => {}
            Filled::Incomplete(_, reason) => return Err(OpenError(reason)),
        }
        Ok(())
    }

    fn filler(&self) -> Filler<'_> {
        let Running { charging, store, .. } = &self.running;
        Filler { charging, catalogue: &store.catalogue, now: self.clock.now(), caller: None }
    }

    /// Fills a folder with demo data.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn demo(&mut self, subscribers: u64, mut progress: impl FnMut(u64)) -> Result<(), OpenError> {
        for source in demo::CATALOGUE {
            let document = crate::catalogue::parse(source).map_err(because("demo catalogue"))?;
            self.document(&DocumentRecord { document, source: source.into() })?;
        }
        for number in 1..=subscribers {
            if let Some((account, subscriber)) = demo::subscriber(number) {
                self.account(account)?;
                self.subscriber(subscriber)?;
            }
            progress(number);
        }
        Ok(())
    }

    /// Makes those who hold the demo catalogue's offers, and buys them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn demo_holders(&mut self) -> Result<(), OpenError> {
        for (account, _) in demo::holders() {
            account.map_or(Ok(()), |account| self.account(account))?;
        }
        demo::holders().try_for_each(|(_, record)| self.subscriber(record))
    }

    /// What an account has got back of charges so far.
    pub fn given_back(&self, account: AccountId) -> Vec<(Holding, i64)> {
        let charging = &self.running.charging;
        let group = charging.directory.group_of(account);
        charging.shards.with(group, |shard| shard.account(account).map(Account::given_back)).unwrap_or_default()
    }

    /// Corrects what a CDR of an account charged; says why not, if so.
    pub fn correct(&self, account: AccountId, correction: Mutation) -> Option<Refusal> {
        self.wait_for_room();
        let charging = &self.running.charging;
        let done = charging.mutate(charging.directory.group_of(account), correction, self.clock.now());
        match &*done.outcome {
            MutationOutcome::Done { .. } => None,
            MutationOutcome::Refused(refusal) => Some(refusal.clone()),
        }
    }

    fn wait_for_room(&self) {
        let journal = &self.running.charging.journal;
        while journal.pending_octets() > PENDING_OCTETS_MAX || (journal.is_saturated() && !journal.has_failed()) {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// The last entry written.
    pub fn last(&self) -> Lsn {
        self.running.charging.journal.appended_lsn()
    }

    /// Makes everything durable and closes the folder.
    pub fn finish(self) -> Written {
        self.running.shutdown();
        self.written
    }
}
