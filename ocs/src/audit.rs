//! `ocs audit`: every invariant recomputed from a data folder (design, section 6).
//!
//! Opening the folder already proves the log (checksums chained frame to frame) and its place behind the state. Here the
//! accounts are proved against their running totals, what is held against the open sessions, and the CDRs against the
//! hash chain, their numbering, and the movements of every account.

use std::collections::BTreeMap;

use balance_store::records;
use balance_store::{Frame, HashChain};
use foldhash::fast::RandomState;
use rating_engine::account::{Account, Flow, Holding};
use rating_engine::cdr::{CdrKind, Movement};
use rating_engine::ids::{AccountId, BucketId, CdrPosition};
use rating_engine::money::Money;
use rating_engine::units::Unit;
use serde::{Deserialize, Serialize};

use crate::audit_log;
use crate::control::{self, Added, Flows, Totals};
use crate::store::{Loaded, OpenError, because};

/// Findings shown before the rest is only counted.
const FINDINGS_SHOWN_MAX: usize = 50;

/// What an audit found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Accounts proved.
    pub accounts: u64,
    /// Open sessions.
    pub open_sessions: u64,
    /// Sessions and events remembered for repeats.
    pub ended_sessions: u64,
    /// CDRs read and checked.
    pub cdrs: u64,
    /// CDRs by kind.
    pub cdrs_by_kind: BTreeMap<String, u64>,
    /// First position kept.
    pub first_position: u64,
    /// Last position.
    pub last_position: u64,
    /// Usage charged per currency, micro-units, refunds not taken off.
    pub charged_micros: BTreeMap<String, i128>,
    /// Refunds per currency, micro-units.
    pub refunded_micros: BTreeMap<String, i128>,
    /// Paid in or given per currency, micro-units.
    pub topped_up_micros: BTreeMap<String, i128>,
    /// Fees of offers per currency, micro-units.
    pub fees_micros: BTreeMap<String, i128>,
    /// Money that offers gave per currency, micro-units.
    pub granted_micros: BTreeMap<String, i128>,
    /// What re-rating charged more, or less, in micro-units by currency.
    pub rerated_micros: BTreeMap<String, i128>,
    /// What people put in, less what they took out, in micro-units by currency.
    pub adjusted_micros: BTreeMap<String, i128>,
    /// What went out of accounts, less what came in, by transfers: 0 when all CDRs are kept.
    pub transferred_micros: BTreeMap<String, i128>,
    /// Money that lapsed per currency, micro-units.
    pub expired_micros: BTreeMap<String, i128>,
    /// Held by open sessions, micro-units of all currencies.
    pub reserved_micros: i64,
    /// Value of the hash chain after the last CDR.
    pub chain: String,
    /// The last CDR that written control totals go up to; `None` where there are none.
    pub totals_through: Option<u64>,
    /// Records of the audit log.
    pub audit_records: u64,
    /// Value of its hash chain after the last of them.
    pub audit_chain: String,
    /// What does not add up; empty when everything does.
    pub findings: Vec<String>,
    /// How many findings there are in all.
    pub findings_total: u64,
}

impl Report {
    fn find(&mut self, text: String) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_SHOWN_MAX {
            self.findings.push(text);
        }
    }

    /// Whether everything adds up.
    pub const fn is_clean(&self) -> bool {
        self.findings_total == 0
    }
}

/// What another program summed up for itself; absent members are not compared.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Summary {
    /// Who summed up.
    pub from: String,
    /// CDRs seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cdrs: Option<u64>,
    /// Usage charged, micro-units per currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charged_micros: Option<BTreeMap<String, i128>>,
    /// Value of the hash chain after the last CDR seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
}

/// Running sums of one account over its CDRs.
#[derive(Default)]
struct Walk {
    number: u64,
    last: CdrPosition,
    /// Whether the walk began with the account's first CDR.
    complete: bool,
    flows: Vec<(Holding, Flow, i128)>,
    /// What each payer had after its last movement.
    after: Vec<(String, i64)>,
}

/// Audits a folder that was just loaded. The CDR store is first brought up to the log's end.
///
/// # Errors
/// When something cannot be read at all.
pub fn audit(loaded: &Loaded, mut progress: impl FnMut(u64)) -> Result<Report, OpenError> {
    catch_up(loaded)?;
    let mut report = Report::default();
    let written = Totals::written(&loaded.store.edge)?;
    let mut added = Added::default();
    let walks = read_cdrs(loaded, &mut report, written.as_ref(), &mut added, &mut progress)?;
    let mut flows = Flows::default();
    for index in 0..loaded.shards.len() {
        loaded.shards.with_index(index, |shard| shard.accounts().for_each(|account| flows.add(account)));
    }
    let last = loaded.store.cdrs.durable().position;
    control::check(written.as_ref(), &added, &flows, last).into_iter().for_each(|finding| report.find(finding));
    report.totals_through = written.map(|written| written.through.get());
    let noted = audit_log::verify(&loaded.store.edge, &*loaded.store.state, None);
    (report.audit_records, report.audit_chain) = (noted.records, noted.chain.to_string());
    if let Some((position, finding)) = noted.broken {
        report.find(format!("audit record {position}: {finding}"));
    }
    for index in 0..loaded.shards.len() {
        loaded.shards.with_index(index, |shard| {
            for account in shard.accounts() {
                report.accounts += 1;
                if let Err((holding, expected, there)) = account.proof() {
                    report.find(format!(
                        "account {}: {} opening and flows give {expected}, but {there} is there",
                        account.id,
                        unit_name(holding)
                    ));
                }
                report.reserved_micros = report.reserved_micros.saturating_add(account.reserved_money().micros());
                match walks.get(&account.id) {
                    Some(walk) => compare(account, walk, &mut report),
                    None if account.cdrs.count > 0 && account.cdrs.last.get() >= report.first_position => {
                        report.find(format!(
                            "account {}: its last CDR is {} at {}, which the stream should have and has not",
                            account.id, account.cdrs.count, account.cdrs.last
                        ));
                    }
                    // No CDR explains anything.
                    None if account.cdrs.count == 0 => compare_totals(account, &[], &mut report),
                    None => {}
                }
            }
            report.ended_sessions += u64::try_from(shard.archived_sessions()).unwrap_or(u64::MAX);
            let mut held: std::collections::HashMap<(AccountId, Option<BucketId>), i64, RandomState> =
                std::collections::HashMap::default();
            for session in shard.sessions() {
                if !session.is_open() {
                    report.ended_sessions += 1;
                    if session.services.iter().any(|service| service.grant.is_some()) {
                        report.find(format!("session {}: ended, but still holds a reservation", session.id));
                    }
                    continue;
                }
                report.open_sessions += 1;
                let sponsor = session.sponsor.as_ref().map(|sponsor| sponsor.account);
                let grants = session.services.iter().filter_map(|service| service.grant.as_ref());
                let holds = grants.flat_map(|grant| {
                    let sponsored = grant.sponsored.as_deref().map(|held| (sponsor, held));
                    std::iter::once((Some(session.account), &grant.reservation)).chain(sponsored)
                });
                for (account, reservation) in holds {
                    let Some(account) = account else {
                        report.find(format!("session {}: holds of a sponsor that it does not have", session.id));
                        continue;
                    };
                    for (bucket, amount) in &reservation.buckets {
                        *held.entry((account, Some(bucket.clone()))).or_default() += amount;
                        if *amount < 0 || shard.account(account).is_none_or(|a| a.bucket(bucket).is_none()) {
                            report.find(format!(
                                "session {}: holds {amount} of bucket {bucket}, which cannot be",
                                session.id
                            ));
                        }
                    }
                    *held.entry((account, None)).or_default() += reservation.credit.micros();
                }
            }
            for account in shard.accounts() {
                for bucket in &account.buckets {
                    let expected = held.get(&(account.id, Some(bucket.id.clone()))).copied().unwrap_or(0);
                    if bucket.reserved != expected {
                        report.find(format!(
                            "account {} bucket {}: {} is reserved, open sessions hold {expected}",
                            account.id, bucket.id, bucket.reserved
                        ));
                    }
                }
                let expected = held.get(&(account.id, None)).copied().unwrap_or(0);
                let reserved = account.credit.map_or(0, |credit| credit.reserved.micros());
                if account.credit.is_some() && reserved != expected {
                    report.find(format!(
                        "account {} credit: {reserved} is reserved, open sessions hold {expected}",
                        account.id
                    ));
                }
            }
        });
    }
    Ok(report)
}

/// Compares a report with what another program summed up.
pub fn agree(report: &mut Report, summary: &Summary) {
    let who = if summary.from.is_empty() { "the summary" } else { &summary.from };
    if let Some(cdrs) = summary.cdrs
        && cdrs != report.cdrs
    {
        report.find(format!("{who} counted {cdrs} CDRs, the folder has {}", report.cdrs));
    }
    if let Some(charged) = &summary.charged_micros
        && *charged != report.charged_micros
    {
        let folder = report.charged_micros.clone();
        report.find(format!("{who} counted charges of {charged:?} micro-units, the folder has {folder:?}"));
    }
    if let Some(chain) = &summary.chain
        && *chain != report.chain
    {
        let folder = report.chain.clone();
        report.find(format!("{who} ended with hash {chain}, the folder with {folder}"));
    }
}

/// Moves what the log has and the CDR store has not.
pub fn catch_up(loaded: &Loaded) -> Result<(), OpenError> {
    let (log, cdrs) = (&loaded.store.log, &loaded.store.cdrs);
    let durable = cdrs.durable();
    if log.position().last_lsn() <= durable.lsn {
        return Ok(());
    }
    let mut cursor = balance_store::LogCursor::from(durable.lsn.next());
    let mut frame = Frame::new();
    while log.read_next(&mut cursor, &mut frame).map_err(because("log"))? {
        if frame.last_lsn() > durable.lsn {
            cdrs.append(&frame).map_err(because("CDR store"))?;
        }
    }
    cdrs.sync().map_err(because("CDR store"))?;
    Ok(())
}

type Walks = std::collections::HashMap<AccountId, Walk, RandomState>;

fn read_cdrs(
    loaded: &Loaded,
    report: &mut Report,
    written: Option<&Totals>,
    added: &mut Added,
    progress: &mut impl FnMut(u64),
) -> Result<Walks, OpenError> {
    let store = &loaded.store.cdrs;
    let first = store.first_position();
    report.first_position = first.get();
    let mut walks = Walks::default();
    let mut reader = store.reader(first).map_err(because("CDR store"))?;
    let (mut expected, mut chain) = (first, store.first_chain());
    if first.get() == 1 && chain != HashChain::START {
        report.find("the hash chain of the CDR store does not begin where a chain begins".to_owned());
    }
    while let Some(record) = reader.read_next().map_err(because("CDR store"))? {
        if record.position != expected {
            report.find(format!("CDR {}: {expected} was due", record.position));
        }
        expected = record.position.next();
        chain = chain.after(record.octets);
        if chain != record.chain {
            report.find(format!("CDR {}: the hash chain breaks here", record.position));
            chain = record.chain;
        }
        let cdr = records::decode_cdr(record.octets).map_err(because(&format!("CDR {}", record.position)))?;
        added.add(record.position, record.chain, &cdr, written);
        report.cdrs += 1;
        if report.cdrs.is_multiple_of(65_536) {
            progress(report.cdrs);
        }
        *report.cdrs_by_kind.entry(format!("{:?}", cdr.kind).to_lowercase()).or_default() += 1;
        let currency = cdr.currency.letters().to_owned();
        let amount = i128::from(cdr.amount.micros());
        match cdr.kind {
            CdrKind::Usage => *report.charged_micros.entry(currency).or_default() += amount,
            CdrKind::Refund => *report.refunded_micros.entry(currency).or_default() -= amount,
            CdrKind::TopUp => *report.topped_up_micros.entry(currency).or_default() -= amount,
            CdrKind::Recurring | CdrKind::OneTime => *report.fees_micros.entry(currency).or_default() += amount,
            CdrKind::Allowance => *report.granted_micros.entry(currency).or_default() -= amount,
            CdrKind::Expiry => *report.expired_micros.entry(currency).or_default() += amount,
            CdrKind::ReRate => *report.rerated_micros.entry(currency).or_default() += amount,
            CdrKind::Adjustment => *report.adjusted_micros.entry(currency).or_default() -= amount,
            CdrKind::Transfer => *report.transferred_micros.entry(currency).or_default() += amount,
            CdrKind::Suspense | CdrKind::Lapse => {
                if cdr.amount != Money::ZERO || !cdr.movements.is_empty() {
                    report.find(format!("CDR {}: moves money although nothing was charged", record.position));
                }
            }
        }
        let money = cdr.movements.iter().filter(|movement| movement.holding == Holding::Money);
        let moved: i128 = money.map(|movement| i128::from(movement.delta)).sum();
        if moved != -amount {
            report.find(format!("CDR {}: amount {amount}, but its movements add up to {moved}", record.position));
        }
        let walk = walks.entry(cdr.account).or_default();
        if walk.number == 0 {
            walk.complete = cdr.number == 1;
        } else if cdr.number != walk.number + 1 || cdr.previous != walk.last {
            report.find(format!(
                "CDR {}: number {} after {} at {}, of account {}, but {} at {} was the one before",
                record.position, cdr.number, walk.number, walk.last, cdr.account, cdr.previous, walk.last
            ));
        }
        (walk.number, walk.last) = (cdr.number, record.position);
        for movement in &cdr.movements {
            follow(walk, movement, cdr.kind, record.position, cdr.account, report);
        }
    }
    report.last_position = expected.get().saturating_sub(1);
    for (currency, sum) in
        report.transferred_micros.clone().into_iter().filter(|(_, sum)| first.get() == 1 && *sum != 0)
    {
        report.find(format!(
            "transfers in {currency}: {sum} micro-units more went out of accounts than came into others"
        ));
    }
    report.chain = chain.to_string();
    if chain != loaded.store.log.position().chain {
        report.find("the hash chain of the CDR store does not end where the log's does".to_owned());
    }
    Ok(walks)
}

/// One movement of a walk: it must begin where the payer's last one ended.
fn follow(
    walk: &mut Walk,
    movement: &Movement,
    kind: CdrKind,
    at: CdrPosition,
    account: AccountId,
    report: &mut Report,
) {
    let payer = format!("{:?}", movement.payer);
    match walk.after.iter_mut().find(|(known, _)| *known == payer) {
        Some((_, after)) => {
            if *after != movement.before {
                report.find(format!(
                    "CDR {at}: account {account} {payer} had {} before, the CDR before left {after}",
                    movement.before
                ));
            }
            *after = movement.after();
        }
        None => walk.after.push((payer, movement.after())),
    }
    let flow = kind.flow(movement);
    let amount = if flow.is_outflow() { -i128::from(movement.delta) } else { i128::from(movement.delta) };
    match walk.flows.iter_mut().find(|(holding, known, _)| (*holding, *known) == (movement.holding, flow)) {
        Some((_, _, sum)) => *sum += amount,
        None => walk.flows.push((movement.holding, flow, amount)),
    }
}

/// The account's running totals and newest CDR against its walk.
fn compare(account: &Account, walk: &Walk, report: &mut Report) {
    if (account.cdrs.count, account.cdrs.last) != (walk.number, walk.last) {
        report.find(format!(
            "account {}: its last CDR is {} at {}, the stream's is {} at {}",
            account.id, account.cdrs.count, account.cdrs.last, walk.number, walk.last
        ));
    }
    for (payer, after) in &walk.after {
        let there = account.buckets.iter().find(|bucket| *payer == format!("Bucket({:?})", bucket.id));
        let there = match there {
            Some(bucket) => Some(bucket.balance),
            None if payer == "Credit" => account.credit.map(|credit| -credit.spent.micros()),
            None if payer == "Debt" => Some(-account.debt.micros()),
            // An offer had opened it, and it is forgotten: empty.
            None => Some(0),
        };
        if there != Some(*after) {
            report.find(format!("account {} {payer}: CDRs leave {after}, {there:?} is there", account.id));
        }
    }
    if walk.complete {
        compare_totals(account, &walk.flows, report);
    }
}

/// Every running total but the opening is what all CDRs of the account add up to; one that is absent is 0.
fn compare_totals(account: &Account, flows: &[(Holding, Flow, i128)], report: &mut Report) {
    let mut find = |holding: Holding, flow: Flow, total: i128, sum: i128| {
        if total != sum {
            let unit = unit_name(holding);
            report.find(format!("account {}: {flow:?} of {unit} totals {total}, its CDRs say {sum}", account.id));
        }
    };
    for (holding, flow, sum) in flows {
        // Money that repaid a debt was topped up as a whole; its movements are of the same flow.
        find(*holding, *flow, i128::from(account.total(*holding, *flow)), *sum);
    }
    for total in account.totals.iter().filter(|total| total.flow != Flow::Opening) {
        if !flows.iter().any(|(holding, flow, _)| (*holding, *flow) == (total.holding, total.flow)) {
            find(total.holding, total.flow, i128::from(total.amount), 0);
        }
    }
}

pub(crate) fn unit_name(holding: Holding) -> &'static str {
    match holding {
        Holding::Money => "money",
        Holding::Units(Unit::Second) => "seconds",
        Holding::Units(Unit::Octet) => "octets",
        Holding::Units(Unit::Event) => "events",
    }
}
