//! `ocs import`: catalogue, subscribers and accounts from files into a data folder.
//!
//! A catalogue is one YAML or JSON document a file; accounts and subscribers are JSON Lines, one record a line. All files
//! are checked whole, also against what is in the folder, before anything is written; every error names file, line and reason. Records go through the same
//! log as everything else, so that an import that is interrupted can be run again: what is there already is left alone
//! and counted.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rating_engine::account::{
    Account, AccountState, Bucket, BucketScope, COUNTERS_MAX, CdrTrail, Contract, Counter, Counters, Credit, Holding,
    Origin, Sponsor, Subscriber, Terms,
};
use rating_engine::calendar::Zone;
use rating_engine::ids::{
    AccountId, BucketId, CounterId, GroupId, Identifier, OfferName, RatingGroup, ServiceId, SubscriberId, TariffName,
    TenantId,
};
use rating_engine::money::{Currency, Money};
use rating_engine::offer::OfferVersion;
use rating_engine::period::{Cycle, Period};
use rating_engine::tariff::{Service, TariffVersion};
use rating_engine::time::Timestamp;
use rating_engine::units::Unit;
use serde::Deserialize;

use crate::catalogue::text::{parse_instant, parse_quantity};
use crate::catalogue::{self, Document};
use crate::lines::Lines;

/// Longest line of an account or subscriber file, octets.
const LINE_OCTETS_MAX: usize = 64 << 10;
/// Errors shown before giving up.
const ERRORS_SHOWN_MAX: usize = 20;

/// An error in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 for the whole file.
    pub line: usize,
    /// What is wrong and what to do.
    pub reason: String,
}

impl std::fmt::Display for ImportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.reason),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.reason),
        }
    }
}

/// Everything wrong with a set of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportErrors {
    /// The first of them.
    pub shown: Vec<ImportError>,
    /// How many there are in all.
    pub total: usize,
}

impl ImportErrors {
    fn add(&mut self, file: &Path, line: usize, reason: String) {
        self.total += 1;
        if self.shown.len() < ERRORS_SHOWN_MAX {
            self.shown.push(ImportError { file: file.to_owned(), line, reason });
        }
    }
}

impl std::fmt::Display for ImportErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for error in &self.shown {
            writeln!(f, "{error}")?;
        }
        let more = self.total.saturating_sub(self.shown.len());
        if more > 0 {
            writeln!(f, "… and {more} more")?;
        }
        write!(f, "nothing was imported")
    }
}

impl std::error::Error for ImportErrors {}

/// A subscriber with its identifiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriberRecord {
    /// The subscriber.
    pub subscriber: Subscriber,
    /// Its network identifiers.
    pub identifiers: Vec<Identifier>,
    /// Offers that are bought for it, unless its account holds them.
    pub offers: Vec<OfferName>,
}

/// A checked catalogue document.
#[derive(Clone, Debug)]
pub struct DocumentRecord {
    /// What it is.
    pub document: Document,
    /// Its source, stored beside it.
    pub source: Arc<str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAccount {
    account: u64,
    group: Option<u64>,
    #[serde(default)]
    tenant: u16,
    currency: String,
    #[serde(default)]
    state: RawState,
    credit_limit: Option<String>,
    spent: Option<String>,
    debt: Option<String>,
    #[serde(default)]
    buckets: Vec<RawBucket>,
    cycle: Option<RawCycle>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCycle {
    from: String,
    period: String,
    time_zone: String,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawState {
    #[default]
    Active,
    Suspended,
    Barred,
    Closed,
}

impl From<RawState> for AccountState {
    fn from(raw: RawState) -> Self {
        match raw {
            RawState::Active => Self::Active,
            RawState::Suspended => Self::Suspended,
            RawState::Barred => Self::Barred,
            RawState::Closed => Self::Closed,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBucket {
    id: String,
    unit: String,
    amount: String,
    #[serde(default = "default_priority")]
    priority: u16,
    valid_from: Option<i64>,
    valid_to: Option<i64>,
    #[serde(default)]
    granted: bool,
    #[serde(default)]
    services: Vec<String>,
    #[serde(default)]
    rating_groups: Vec<u32>,
    #[serde(default)]
    service_ids: Vec<u32>,
    cost: Option<String>,
    member_cap: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCounter {
    id: String,
    unit: String,
    used: String,
    used_before: Option<String>,
    cycle_start: i64,
    cycle_end: i64,
}

fn default_priority() -> u16 {
    100
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSubscriber {
    subscriber: u64,
    account: u64,
    group: Option<u64>,
    #[serde(default)]
    tenant: u16,
    tariff: Option<String>,
    #[serde(default)]
    offers: Vec<String>,
    #[serde(default)]
    state: RawState,
    identifiers: Vec<String>,
    #[serde(default)]
    counters: Vec<RawCounter>,
    sponsor: Option<RawSponsor>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSponsor {
    account: u64,
    #[serde(default)]
    windows: Vec<String>,
    #[serde(default)]
    allowance: bool,
}

/// What accounts that pay for the same subscriber have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its charging group.
    pub group: GroupId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its currency.
    pub currency: Currency,
}

impl Standing {
    /// An account's.
    pub fn of(account: &Account) -> Self {
        Self { group: account.group, tenant: account.tenant, currency: account.currency }
    }
}

/// Reads catalogue documents; `fits` says why one does not fit what is in the data folder.
///
/// # Errors
/// Every problem of every file.
pub fn read_catalogue(
    files: &[PathBuf],
    fits: impl Fn(&DocumentRecord) -> Result<(), String>,
) -> Result<Vec<DocumentRecord>, ImportErrors> {
    let mut errors = ImportErrors { shown: Vec::new(), total: 0 };
    let mut documents: Vec<DocumentRecord> = Vec::new();
    for file in files {
        match std::fs::read_to_string(file) {
            Err(error) => errors.add(file, 0, format!("cannot be read: {error}")),
            Ok(text) => match catalogue::parse(&text) {
                Ok(document) => {
                    let record = DocumentRecord { document, source: text.into() };
                    match fits(&record).and_then(|()| differs_from(&documents, &record.document)) {
                        Ok(()) => documents.push(record),
                        Err(reason) => errors.add(file, 0, reason),
                    }
                }
                Err(catalogue::CatalogueError::Syntax { line, reason }) => errors.add(file, line, reason),
                Err(catalogue::CatalogueError::Problems(problems)) => {
                    let lines = Lines::of(&text);
                    for problem in &problems {
                        let line = lines.as_ref().map_or(0, |lines| lines.line(&problem.path));
                        errors.add(file, line, problem.to_string());
                    }
                }
            },
        }
    }
    if errors.total > 0 { Err(errors) } else { Ok(documents) }
}

/// Two documents of these files may not be the same version with other content, nor versions of one tariff in two
/// currencies.
fn differs_from(others: &[DocumentRecord], document: &Document) -> Result<(), String> {
    let key = (document.kept_as(), document.version());
    let same = others.iter().find(|other| (other.document.kept_as(), other.document.version()) == key);
    match same {
        Some(other) if other.document.content_hash() != document.content_hash() => {
            Err(format!("{document} stands in these files twice, with other content"))
        }
        Some(_) => Ok(()),
        None => {
            let Document::Tariff(version) = document else { return Ok(()) };
            let mut tariffs = others.iter().filter_map(|other| match &other.document {
                Document::Tariff(other) => Some(other),
                Document::Offer(_) | Document::Accounting(..) => None,
            });
            tariffs.find(|other| other.name() == version.name()).map_or(Ok(()), |other| same_currency(other, version))
        }
    }
}

/// A tariff keeps its currency: accounts are charged by all of its versions.
///
/// # Errors
/// What is wrong, for people.
pub fn same_currency(one: &TariffVersion, other: &TariffVersion) -> Result<(), String> {
    if one.currency() == other.currency() {
        return Ok(());
    }
    Err(format!(
        "tariff {} version {} is in {}, version {} in {}; a tariff keeps its currency: give it another name",
        one.name(),
        one.version(),
        one.currency(),
        other.version(),
        other.currency()
    ))
}

/// Reads account files; `fits` says why one does not fit what is in the data folder.
///
/// # Errors
/// Every bad line of every file.
pub fn read_accounts(
    files: &[PathBuf],
    fits: impl Fn(&Account) -> Result<(), String>,
) -> Result<Vec<Account>, ImportErrors> {
    let mut seen = hash_set();
    let mut tenants: HashMap<GroupId, TenantId, foldhash::fast::RandomState> = HashMap::default();
    read_lines(files, |raw: RawAccount| {
        let account = account(&raw)?;
        let (group, tenant) = (account.group, account.tenant);
        if *tenants.entry(group).or_insert(tenant) != tenant {
            return Err(format!("charging group {group} stands in these files with accounts of another tenant"));
        }
        if !seen.insert(account.id.get()) {
            return Err(format!("account {} stands in these files twice", account.id));
        }
        fits(&account)?;
        Ok(account)
    })
}

/// Who else pays for a subscriber, if that can be.
fn sponsor(
    raw: &RawSponsor,
    (account, own): (AccountId, Standing),
    theirs: Standing,
    (tariff, windows): (&TariffName, &BTreeSet<Box<str>>),
) -> Result<Arc<Sponsor>, String> {
    let paying = AccountId::new(raw.account);
    if paying == account {
        return Err(format!("sponsor: account {paying} is the subscriber's own; name another, or leave it out"));
    }
    if theirs.group != own.group {
        return Err(format!(
            "sponsor: account {paying} is in charging group {}, the subscriber's account in {}; accounts that pay for one \
             subscriber need the same \"group\"",
            theirs.group, own.group
        ));
    }
    if theirs.tenant != own.tenant || theirs.currency != own.currency {
        return Err(format!("sponsor: account {paying} has another tenant or currency than the subscriber's account"));
    }
    if raw.windows.is_empty() && !raw.allowance {
        return Err("sponsor: it pays for nothing; name \"windows\", or say \"allowance\": true".to_owned());
    }
    if let Some(unknown) = raw.windows.iter().find(|name| !windows.contains(name.as_str())) {
        let known: Vec<&str> = windows.iter().map(|name| &**name).collect();
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        return Err(format!("sponsor: tariff '{tariff}' has no window '{unknown}'; {known}"));
    }
    let windows = raw.windows.iter().map(|name| name.as_str().into()).collect();
    Ok(Arc::new(Sponsor { account: paying, windows, allowance: raw.allowance }))
}

/// Reads subscriber files; `windows` says which windows a tariff has that is known, `offer` finds an offer, `standing` says
/// where an account stands, `fits` why a subscriber does not fit what is in the data folder.
///
/// # Errors
/// Every bad line of every file.
pub fn read_subscribers(
    files: &[PathBuf],
    windows: impl Fn(&TariffName) -> Option<BTreeSet<Box<str>>>,
    offer: impl Fn(&OfferName) -> Option<Arc<OfferVersion>>,
    standing: impl Fn(AccountId) -> Option<Standing>,
    fits: impl Fn(&SubscriberRecord) -> Result<(), String>,
) -> Result<Vec<SubscriberRecord>, ImportErrors> {
    let mut seen = hash_set();
    let mut identifiers_seen: std::collections::HashSet<(TenantId, Identifier), foldhash::fast::RandomState> =
        std::collections::HashSet::default();
    read_lines(files, |raw: RawSubscriber| {
        if !seen.insert(raw.subscriber) {
            return Err(format!("subscriber {} stands in these files twice", raw.subscriber));
        }
        let record = subscriber(&raw, &windows, &offer, &standing)?;
        for identifier in &record.identifiers {
            if !identifiers_seen.insert((record.subscriber.tenant, identifier.clone())) {
                return Err(format!("identifier {identifier} stands in these files twice"));
            }
        }
        fits(&record)?;
        Ok(record)
    })
}

/// The account that one line of an account file says.
///
/// # Errors
/// What is wrong with it.
pub fn account_of(line: &str) -> Result<Account, String> {
    account(&serde_json::from_str(line).map_err(|error| said(&error))?)
}

/// The subscriber that one line of a subscriber file says; the rest as [`read_subscribers`].
///
/// # Errors
/// What is wrong with it.
pub fn subscriber_of(
    line: &str,
    windows: impl Fn(&TariffName) -> Option<BTreeSet<Box<str>>>,
    offer: impl Fn(&OfferName) -> Option<Arc<OfferVersion>>,
    standing: impl Fn(AccountId) -> Option<Standing>,
) -> Result<SubscriberRecord, String> {
    subscriber(&serde_json::from_str(line).map_err(|error| said(&error))?, windows, offer, standing)
}

fn subscriber(
    raw: &RawSubscriber,
    windows: impl Fn(&TariffName) -> Option<BTreeSet<Box<str>>>,
    offer: impl Fn(&OfferName) -> Option<Arc<OfferVersion>>,
    standing: impl Fn(AccountId) -> Option<Standing>,
) -> Result<SubscriberRecord, String> {
    let account = AccountId::new(raw.account);
    let stands =
        |id| standing(id).ok_or_else(|| format!("account {id} is neither in the accounts file nor in the data folder"));
    let own = stands(account)?;
    let group = own.group;
    if raw.group.is_some_and(|named| named != group.get()) {
        return Err(format!("account {account} is in charging group {group}, not in {}", raw.group.unwrap_or(0)));
    }
    let offers: Vec<OfferName> = raw.offers.iter().map(|name| OfferName::new(name)).collect();
    let mut of_offers = None;
    for name in &offers {
        let offer = offer(name);
        let offer =
            offer.ok_or_else(|| format!("offer '{name}' is neither in the catalogue files nor in the data folder"))?;
        of_offers = of_offers.or(offer.tariff().cloned());
    }
    let tariff = match (&raw.tariff, of_offers) {
        (Some(named), Some(of_offers)) if *named != *of_offers.as_str() => {
            return Err(format!("tariff: '{named}', but its offers bring '{of_offers}'; leave the tariff out"));
        }
        (_, Some(of_offers)) => of_offers,
        (Some(named), None) => TariffName::new(named),
        (None, None) => return Err("a subscriber needs a tariff, or an offer that has one".to_owned()),
    };
    let windows = windows(&tariff)
        .ok_or_else(|| format!("tariff '{tariff}' is neither in the catalogue files nor in the data folder"))?;
    let sponsor = match &raw.sponsor {
        None => None,
        Some(raw) => {
            let paying = AccountId::new(raw.account);
            Some(sponsor(raw, (account, own), stands(paying)?, (&tariff, &windows))?)
        }
    };
    let tenant = TenantId::new(raw.tenant);
    if tenant != own.tenant {
        return Err(format!(
            "account {account} is of tenant {}, not of {}; a subscriber is of its account's tenant: say \"tenant\": {}",
            own.tenant.get(),
            raw.tenant,
            own.tenant.get()
        ));
    }
    let mut identifiers = Vec::with_capacity(raw.identifiers.len());
    for text in &raw.identifiers {
        let identifier = Identifier::from_str(text)?;
        if identifiers.contains(&identifier) {
            return Err(format!("identifier {identifier} stands in the record twice"));
        }
        identifiers.push(identifier);
    }
    if identifiers.is_empty() {
        return Err("a subscriber needs at least one identifier, e.g. \"imsi-001010000000001\"".to_owned());
    }
    let id = SubscriberId::new(raw.subscriber);
    let counters = counters(&raw.counters)?;
    let state = raw.state.into();
    let subscriber = Subscriber { id, tenant, account, group, tariff, state, counters, sponsor };
    Ok(SubscriberRecord { subscriber, identifiers, offers })
}

fn hash_set() -> std::collections::HashSet<u64, foldhash::fast::RandomState> {
    std::collections::HashSet::default()
}

/// Reads files of one JSON object a line.
///
/// # Errors
/// Every bad line of every file.
pub(crate) fn read_lines<R: for<'a> Deserialize<'a>, T>(
    files: &[PathBuf],
    mut make: impl FnMut(R) -> Result<T, String>,
) -> Result<Vec<T>, ImportErrors> {
    let mut errors = ImportErrors { shown: Vec::new(), total: 0 };
    let mut made = Vec::new();
    for file in files {
        let open = match File::open(file) {
            Ok(open) => open,
            Err(error) => {
                errors.add(file, 0, format!("cannot be read: {error}"));
                continue;
            }
        };
        let mut reader = BufReader::with_capacity(1 << 20, open);
        let (mut text, mut line) = (String::new(), 0);
        loop {
            text.clear();
            line += 1;
            match reader.read_line(&mut text) {
                Ok(0) => break,
                Ok(_) if text.len() > LINE_OCTETS_MAX => {
                    errors.add(file, line, format!("the line is longer than {LINE_OCTETS_MAX} octets"));
                }
                Ok(_) if text.trim().is_empty() || text.starts_with('#') => {}
                Ok(_) => {
                    let raw = serde_json::from_str(&text).map_err(|error| said(&error));
                    match raw.and_then(&mut make) {
                        Ok(record) => made.push(record),
                        Err(reason) => errors.add(file, line, reason),
                    }
                }
                Err(error) => {
                    errors.add(file, line, format!("cannot be read: {error}"));
                    break;
                }
            }
        }
    }
    if errors.total > 0 { Err(errors) } else { Ok(made) }
}

/// What is wrong with a record; that it stands on the first line of itself says nothing.
fn said(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", ", at column ")
}

fn money(member: &str, text: &str) -> Result<Money, String> {
    Money::from_str(text).map_err(|error| format!("{member}: {error}"))
}

fn account(raw: &RawAccount) -> Result<Account, String> {
    let currency = Currency::parse(&raw.currency)
        .ok_or_else(|| format!("currency: '{}' is no ISO 4217 currency that we know", raw.currency))?;
    let credit = match &raw.credit_limit {
        Some(limit) => Some(Credit {
            limit: money("credit_limit", limit)?,
            spent: raw.spent.as_deref().map_or(Ok(Money::ZERO), |spent| money("spent", spent))?,
            reserved: Money::ZERO,
        }),
        None if raw.spent.is_some() => {
            return Err("spent: only an account with a credit_limit has spent anything".to_owned());
        }
        None => None,
    };
    let debt = raw.debt.as_deref().map_or(Ok(Money::ZERO), |debt| money("debt", debt))?;
    if debt.is_negative() || credit.is_some_and(|credit| credit.limit.is_negative() || credit.spent.is_negative()) {
        return Err("credit_limit, spent and debt may not be negative".to_owned());
    }
    let mut buckets: Vec<Bucket> = Vec::with_capacity(raw.buckets.len());
    for (number, raw_bucket) in raw.buckets.iter().enumerate() {
        let made = bucket(raw_bucket, currency).map_err(|reason| format!("buckets[{number}]: {reason}"))?;
        if buckets.iter().any(|other| other.id == made.id) {
            return Err(format!("buckets[{number}]: the account has two buckets '{}'", made.id));
        }
        buckets.push(made);
    }
    let contract = match &raw.cycle {
        Some(raw) => Some(Box::new(Contract { cycle: Some(cycle(raw)?), ..Contract::default() })),
        None => None,
    };
    let id = AccountId::new(raw.account);
    Ok(Account {
        id,
        group: GroupId::new(raw.group.unwrap_or(raw.account)),
        tenant: TenantId::new(raw.tenant),
        currency,
        state: raw.state.into(),
        credit,
        debt,
        buckets,
        totals: Vec::new(),
        contract,
        cdrs: CdrTrail::default(),
    })
}

fn unit(text: &str) -> Option<Unit> {
    match text {
        "second" => Some(Unit::Second),
        "octet" => Some(Unit::Octet),
        "event" => Some(Unit::Event),
        _ => None,
    }
}

fn cycle(raw: &RawCycle) -> Result<Cycle, String> {
    let zone = Zone::get(&raw.time_zone).map_err(|reason| format!("cycle.time_zone: {reason}"))?;
    let anchor = parse_instant(&raw.from, &zone).map_err(|reason| format!("cycle.from: {reason}"))?;
    let period = Period::from_str(&raw.period).map_err(|reason| format!("cycle.period: {reason}"))?;
    Ok(Cycle { anchor, period, zone })
}

fn counters(raw: &[RawCounter]) -> Result<Counters, String> {
    if raw.len() > COUNTERS_MAX {
        return Err(format!("counters: a subscriber has at most {COUNTERS_MAX}"));
    }
    let mut counters: Vec<Counter> = Vec::with_capacity(raw.len());
    for (number, raw_counter) in raw.iter().enumerate() {
        let made = counter(raw_counter).map_err(|reason| format!("counters[{number}]: {reason}"))?;
        if counters.iter().any(|other| other.id == made.id) {
            return Err(format!("counters[{number}]: the subscriber has two counters '{}'", made.id));
        }
        counters.push(made);
    }
    Ok(Counters::new(counters))
}

fn counter(raw: &RawCounter) -> Result<Counter, String> {
    if raw.id.is_empty() || raw.id.len() > 64 {
        return Err("id: a counter's id has 1 to 64 characters".to_owned());
    }
    let unit = unit(&raw.unit)
        .ok_or_else(|| format!("unit: '{}' is no unit of a counter; use second, octet or event", raw.unit))?;
    let used = parse_quantity(&raw.used, unit).map_err(|reason| format!("used: {reason}"))?;
    let used_before = raw.used_before.as_ref().map_or(Ok(0), |used| parse_quantity(used, unit));
    let used_before = used_before.map_err(|reason| format!("used_before: {reason}"))?;
    let (cycle_start, cycle_end) = (Timestamp::from_seconds(raw.cycle_start), Timestamp::from_seconds(raw.cycle_end));
    if cycle_end <= cycle_start {
        return Err("cycle_end: must be later than cycle_start (unix seconds)".to_owned());
    }
    Ok(Counter { id: CounterId::new(&raw.id), unit, used, used_before, cycle_start, cycle_end })
}

fn bucket(raw: &RawBucket, currency: Currency) -> Result<Bucket, String> {
    if raw.id.is_empty() || raw.id.len() > 64 {
        return Err("id: a bucket's id has 1 to 64 characters".to_owned());
    }
    let (holding, balance) = match raw.unit.as_str() {
        letters if letters == currency.letters() => (Holding::Money, money("amount", &raw.amount)?.micros()),
        text => {
            let unit = unit(text)
                .ok_or_else(|| format!("unit: '{text}' is no unit here; use {currency}, second, octet or event"))?;
            let amount = parse_quantity(&raw.amount, unit).map_err(|reason| format!("amount: {reason}"))?;
            (Holding::Units(unit), i64::try_from(amount).map_err(|_| "amount: too large".to_owned())?)
        }
    };
    let services = raw.services.iter().map(|text| Service::from_str(text)).collect::<Result<Vec<_>, _>>();
    let scope = BucketScope {
        services: services.map_err(|reason| format!("services: {reason}"))?.into(),
        rating_groups: raw.rating_groups.iter().copied().map(RatingGroup::new).collect(),
        service_ids: raw.service_ids.iter().copied().map(ServiceId::new).collect(),
    };
    let valid_from = raw.valid_from.map_or(Timestamp::default(), Timestamp::from_seconds);
    let valid_to = raw.valid_to.map_or(Timestamp::NEVER, Timestamp::from_seconds);
    if valid_to <= valid_from {
        return Err("valid_to: must be later than valid_from (unix seconds)".to_owned());
    }
    let cost = raw.cost.as_deref().map_or(Ok(Money::ZERO), |cost| money("cost", cost))?;
    let member_cap = match (&raw.member_cap, holding) {
        (None, _) => None,
        (Some(_), Holding::Money) => return Err("member_cap: only seconds, octets and events have one".to_owned()),
        (Some(cap), Holding::Units(unit)) => {
            Some(parse_quantity(cap, unit).map_err(|reason| format!("member_cap: {reason}"))?)
        }
    };
    let has_terms = raw.cost.is_some() || member_cap.is_some();
    let terms = Terms { opened: balance, cost, member_cap, ..Terms::default() };
    Ok(Bucket {
        id: BucketId::new(&raw.id),
        holding,
        origin: if raw.granted { Origin::Granted } else { Origin::Paid },
        balance,
        reserved: 0,
        priority: raw.priority,
        valid_from,
        valid_to,
        scope: (scope != BucketScope::default()).then(|| Box::new(scope)),
        terms: has_terms.then(|| Box::new(terms)),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn accounts_are_read_with_their_buckets() {
        let file = file(concat!(
            r#"{"account":1,"currency":"EUR","buckets":[{"id":"main","unit":"EUR","amount":"10.00"},"#,
            r#"{"id":"data","unit":"octet","amount":"5 GiB","priority":10,"services":["data"],"granted":true}]}"#,
            "\n# a comment\n\n",
            r#"{"account":2,"currency":"EUR","credit_limit":"80.00","spent":"12.50"}"#,
        ));
        let accounts = read_accounts(&[file.path().to_owned()], |_| Ok(())).unwrap();
        assert_eq!(accounts.len(), 2);
        assert_eq!(accounts[0].buckets[1].balance, 5 << 30);
        assert_eq!(accounts[1].credit.unwrap().spent.to_string(), "12.50");
    }

    #[test]
    fn what_is_wrong_with_a_tariff_is_named_with_its_line() {
        let tariff = file(
            "tariff: t\nversion: 1\ncurrency: EUX\nprices:\n  - id: data\n    measure: octets\n    rate: 0.02 / MiB\n",
        );
        let errors = read_catalogue(&[tariff.path().to_owned()], |_| Ok(())).unwrap_err();
        let places: Vec<_> = errors.shown.iter().map(|error| (error.line, error.reason.split(':').next())).collect();
        assert_eq!(places, [(3, Some("currency")), (6, Some("prices[0].measure"))], "{errors}");
        let broken = file("tariff: t\nversion: one\n");
        assert_eq!(read_catalogue(&[broken.path().to_owned()], |_| Ok(())).unwrap_err().shown[0].line, 2);
    }

    #[test]
    fn problems_of_what_prices_refer_to_have_lines_too() {
        let tariff = file(
            "tariff: t\nversion: 1\ncurrency: EUR\ntime_zone: Mars\nzones:\n  a:\n    - \"49\"\n    - x\ncalendar:\n  windows:\n    \
             - name: night\n      spans:\n        - from: \"22:00\"\n          to: \"6\"\nprices:\n  - id: data\n    \
             measure: events\n    rate: \"0.02\"\n    windows:\n      noon: {rate: \"0.01\"}\n",
        );
        let errors = read_catalogue(&[tariff.path().to_owned()], |_| Ok(())).unwrap_err();
        let places: Vec<_> = errors.shown.iter().map(|error| (error.line, error.reason.split(':').next())).collect();
        assert_eq!(
            places,
            [
                (4, Some("time_zone")),
                (14, Some("calendar.windows[0].spans[0].to")),
                (8, Some("zones.a[1]")),
                (20, Some("prices[0].windows.noon")),
            ],
            "{errors}"
        );
    }

    #[test]
    fn a_tariff_keeps_its_currency() {
        let version = |number: u32, currency: &str| {
            file(&format!(
                "tariff: t\nversion: {number}\ncurrency: {currency}\nprices: [{{id: a, measure: events, rate: \"1\"}}]\n"
            ))
        };
        let (one, other) = (version(1, "EUR"), version(2, "USD"));
        let files = [one.path().to_owned(), other.path().to_owned()];
        let errors = read_catalogue(&files, |_| Ok(())).unwrap_err();
        assert!(errors.to_string().contains("a tariff keeps its currency"), "{errors}");
        let again = version(2, "EUR");
        assert_eq!(read_catalogue(&[one.path().to_owned(), again.path().to_owned()], |_| Ok(())).unwrap().len(), 2);
    }

    #[test]
    fn cycle_counters_are_read_and_checked() {
        let subscriber = |counters: &str| {
            let line = format!(
                r#"{{"subscriber":1,"account":1,"tariff":"start","identifiers":["imsi-262011"],"counters":[{counters}]}}"#
            );
            let file = file(&line);
            read_subscribers(&[file.path().to_owned()], windows, |_| None, standing, |_| Ok(()))
        };
        let good = r#"{"id":"voice","unit":"second","used":"42 min","cycle_start":1793491200,"cycle_end":1796083200}"#;
        let records = subscriber(good).unwrap();
        let counter = Counter {
            id: CounterId::new("voice"),
            unit: Unit::Second,
            used: 2520,
            used_before: 0,
            cycle_start: Timestamp::from_seconds(1_793_491_200),
            cycle_end: Timestamp::from_seconds(1_796_083_200),
        };
        assert_eq!(records[0].subscriber.counters.as_slice(), [counter]);
        for (counters, reason) in [
            (format!("{good},{good}"), "counters[1]: the subscriber has two counters 'voice'"),
            (good.replace("42 min", "-1"), "counters[0]: used: '-1' is no quantity"),
            (good.replace("second", "EUR"), "counters[0]: unit: 'EUR' is no unit of a counter"),
            (good.replace("1796083200", "1793491200"), "counters[0]: cycle_end: must be later than cycle_start"),
            (good.replace("voice", ""), "counters[0]: id: a counter's id has 1 to 64 characters"),
            (good.replace(r#","cycle_end":1796083200"#, ""), "missing field `cycle_end`"),
        ] {
            let errors = subscriber(&counters).unwrap_err();
            assert!(errors.shown[0].reason.starts_with(reason), "{}", errors.shown[0]);
            assert_eq!(errors.shown[0].line, 1);
        }
    }

    #[test]
    fn every_bad_line_is_named() {
        let file = file(concat!(
            r#"{"account":1,"currency":"EUR"}"#,
            "\n",
            r#"{"account":1,"currency":"EUR"}"#,
            "\n",
            r#"{"account":2,"currency":"EUX"}"#,
            "\n",
            r#"{"account":3,"currency":"EUR","buckets":[{"id":"m","unit":"EUR","amount":"1.0000001"}]}"#,
            "\n",
            r#"{"account":4,"currency":"EUR","colour":"red"}"#,
            "\n",
            "nonsense\n",
            r#"{"account":5,"group":1,"tenant":2,"currency":"EUR"}"#,
        ));
        let errors = read_accounts(&[file.path().to_owned()], |_| Ok(())).unwrap_err();
        let lines: Vec<usize> = errors.shown.iter().map(|error| error.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7]);
        assert!(errors.shown[2].reason.contains("more than 6 decimals"), "{}", errors.shown[2]);
        assert!(errors.shown[3].reason.contains("colour"), "{}", errors.shown[3]);
        assert!(errors.shown[5].reason.contains("another tenant"), "{}", errors.shown[5]);
    }

    #[test]
    fn a_subscriber_needs_its_account_and_tariff() {
        let file = file(concat!(
            r#"{"subscriber":1,"account":1,"tariff":"start","identifiers":["msisdn-491701234567","imsi-262010000000001"]}"#,
            "\n",
            r#"{"subscriber":2,"account":9,"tariff":"start","identifiers":["msisdn-491701234568"]}"#,
            "\n",
            r#"{"subscriber":3,"account":1,"tariff":"none","identifiers":["msisdn-491701234569"]}"#,
            "\n",
            r#"{"subscriber":4,"account":1,"tariff":"start","identifiers":["msisdn-491701234567"]}"#,
        ));
        let errors = read_subscribers(&[file.path().to_owned()], windows, |_| None, standing, |_| Ok(())).unwrap_err();
        let lines: Vec<usize> = errors.shown.iter().map(|error| error.line).collect();
        assert_eq!(lines, [2, 3, 4]);
    }

    #[test]
    fn a_card_stands_once_however_it_is_written() {
        let read = |identifiers: &str| {
            let line = format!(r#"{{"subscriber":1,"account":1,"tariff":"start","identifiers":[{identifiers}]}}"#);
            subscriber_of(&line, windows, |_| None, standing)
        };
        let record = read(r#""iccid-8949 01","external-CRM 1""#).unwrap();
        let named: Vec<String> = record.identifiers.iter().map(ToString::to_string).collect();
        assert_eq!(named, ["iccid-894901", "external-CRM 1"]);
        let twice = read(r#""iccid-8949 01","iccid-894901F""#).unwrap_err();
        assert_eq!(twice, "identifier iccid-894901 stands in the record twice");
    }

    /// The tariff `start` with the window `business`.
    fn windows(tariff: &TariffName) -> Option<BTreeSet<Box<str>>> {
        (tariff.as_str() == "start").then(|| BTreeSet::from(["business".into()]))
    }

    /// Accounts 1 and 2 of one group, 3 of another, 4 in another currency.
    fn standing(account: AccountId) -> Option<Standing> {
        let (group, currency) = match account.get() {
            1 | 2 => (1, "EUR"),
            3 => (3, "EUR"),
            4 => (1, "USD"),
            _ => return None,
        };
        let currency = Currency::parse(currency)?;
        Some(Standing { group: GroupId::new(group), tenant: TenantId::default(), currency })
    }

    #[test]
    fn a_sponsor_is_checked() {
        let subscriber = |sponsor: &str| {
            let line = format!(
                r#"{{"subscriber":1,"account":1,"tariff":"start","identifiers":["imsi-262011"],"sponsor":{sponsor}}}"#
            );
            let file = file(&line);
            read_subscribers(&[file.path().to_owned()], windows, |_| None, standing, |_| Ok(()))
        };
        let records = subscriber(r#"{"account":2,"windows":["business"],"allowance":true}"#).unwrap();
        let expected = Sponsor { account: AccountId::new(2), windows: ["business".into()].into(), allowance: true };
        assert_eq!(records[0].subscriber.sponsor.as_deref(), Some(&expected));
        for (sponsor, reason) in [
            (r#"{"account":1,"allowance":true}"#, "sponsor: account 1 is the subscriber's own"),
            (r#"{"account":3,"allowance":true}"#, "sponsor: account 3 is in charging group 3"),
            (r#"{"account":4,"allowance":true}"#, "sponsor: account 4 has another tenant or currency"),
            (r#"{"account":9,"allowance":true}"#, "account 9 is neither in the accounts file"),
            (r#"{"account":2}"#, "sponsor: it pays for nothing"),
            (r#"{"account":2,"windows":["night"]}"#, "sponsor: tariff 'start' has no window 'night'; it has business"),
        ] {
            let errors = subscriber(sponsor).unwrap_err();
            assert!(errors.shown[0].reason.starts_with(reason), "{}", errors.shown[0]);
        }
    }
}
