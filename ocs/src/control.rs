//! Control totals: what all CDRs come to, so that whoever reads them can prove that they have all of them.
//!
//! One thread follows the CDR store and adds up what is durable there, by accounting period, kind and currency. Every minute, and in
//! the end, the sums are written as records of the desk with the position and the hash chain that they go up to; after a restart it goes
//! on from there. CDRs that are not in written sums are kept ([`ControlTotals::written`]). Charging never waits for any of it.
//!
//! Absent: gRPC, and what a sum means to a ledger.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use balance_store::keys::{self, Drawer};
use balance_store::records::{self, Moved, StoredCdr, TotalsHead, TotalsRow};
use balance_store::{CdrReader, CdrStore, HashChain, Journal};
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use rating_engine::account::{Account, Flow, Holding, Origin};
use rating_engine::cdr::CdrKind;
use rating_engine::ids::{AccountId, CdrPosition, Lsn, PartitionId};
use rating_engine::money::Currency;
use rating_engine::time::Timestamp;

use crate::audit::unit_name;
use crate::charging::Charging;
use crate::disk::{Floor, RetentionFloor};
use crate::edge::{Beside, DeskRecord, Edge};
use crate::store::{OpenError, because};

/// How often new CDRs are added up.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether the end has come.
const NAP: Duration = Duration::from_millis(100);
/// Sums are written after so long, or so many CDRs.
const WRITE_EVERY: Duration = Duration::from_secs(60);
const WRITE_AFTER: u64 = 1_000_000;
/// Findings that are named before the rest is only counted.
const FINDINGS_MAX: usize = 50;
/// How long the CDR store may be behind what a comparison has seen of accounts.
const BEHIND_MAX: Duration = Duration::from_secs(30);
const BEHIND_PAUSE: Duration = Duration::from_millis(2);

/// Which CDRs a row is of.
type RowKey = (CdrKind, Currency);

/// What the CDRs of one kind and currency come to in one period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// How many.
    pub cdrs: u64,
    /// How many of them are late.
    pub late: u64,
    /// Their amounts, micro-units.
    pub amount: i128,
    /// Their movements.
    pub moved: BTreeMap<(Holding, Origin), Movements>,
}

/// The movements of one holding and origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Movements {
    /// Above 0.
    pub given: i128,
    /// Below 0, as a positive number.
    pub taken: i128,
    /// What was paid for them, micro-units.
    pub cost: i128,
}

/// Sums by accounting period, kind and currency. `None` is no period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(pub BTreeMap<Option<Timestamp>, BTreeMap<RowKey, Row>>);

impl Sums {
    /// Adds a CDR; returns its period.
    pub fn add(&mut self, cdr: &StoredCdr) -> Option<Timestamp> {
        let period = cdr.booked.map(|booked| booked.period);
        let row = self.0.entry(period).or_default().entry((cdr.kind, cdr.currency)).or_default();
        row.cdrs += 1;
        row.late += u64::from(cdr.booked.is_some_and(|booked| booked.is_late()));
        row.amount += i128::from(cdr.amount.micros());
        for movement in &cdr.movements {
            let moved = row.moved.entry((movement.holding, movement.origin)).or_default();
            let delta = i128::from(movement.delta);
            moved.given += delta.max(0);
            moved.taken -= delta.min(0);
            moved.cost += i128::from(movement.cost.micros());
        }
        period
    }

    /// What they come to by flow, as accounts keep their running totals: outflows as positive amounts.
    fn flows(&self) -> ByFlow {
        let mut flows = ByFlow::new();
        for ((kind, currency), row) in self.0.values().flatten() {
            for ((holding, origin), moved) in &row.moved {
                for (is_given, amount) in [(true, moved.given), (false, -moved.taken)] {
                    let flow = kind.flow_of(*origin, is_given);
                    let amount = if flow.is_outflow() { -amount } else { amount };
                    *flows.entry((*currency, *holding, flow)).or_default() += amount;
                }
            }
        }
        flows
    }

    fn read(edge: &Edge) -> Result<Self, OpenError> {
        let mut sums = Self::default();
        for (key, octets) in edge.desk_records(&keys::desk(Drawer::Totals, &[ROWS]), None, usize::MAX) {
            let rows = records::decode_totals(&octets).map_err(because("control totals"))?;
            let rows = rows.into_iter().map(|TotalsRow { kind, currency, cdrs, late, amount, moved }| {
                let moved = moved.into_iter().map(|Moved { holding, origin, given, taken, cost }| {
                    ((holding, origin), Movements { given, taken, cost })
                });
                ((kind, currency), Row { cdrs, late, amount, moved: moved.collect() })
            });
            sums.0.insert(period_of(&key), rows.collect());
        }
        Ok(sums)
    }

    fn record(&self, period: Option<Timestamp>) -> DeskRecord {
        let rows = self.0.get(&period).into_iter().flatten().map(|((kind, currency), row)| {
            let moved = row.moved.iter().map(|((holding, origin), moved)| {
                let Movements { given, taken, cost } = *moved;
                Moved { holding: *holding, origin: *origin, given, taken, cost }
            });
            let (cdrs, late, amount) = (row.cdrs, row.late, row.amount);
            TotalsRow { kind: *kind, currency: *currency, cdrs, late, amount, moved: moved.collect() }
        });
        let mut octets = Vec::new();
        records::encode_totals(&mut octets, &rows.collect::<Vec<_>>());
        DeskRecord::there(key_of(period), octets)
    }
}

/// What a key of the drawer goes on with.
const HEAD: u8 = 0;
const ROWS: u8 = 1;

fn key_of(period: Option<Timestamp>) -> Vec<u8> {
    let mut rest = vec![ROWS];
    if let Some(period) = period {
        // In the order of time.
        rest.extend_from_slice(&(period.millis().cast_unsigned() ^ 1 << 63).to_be_bytes());
    }
    keys::desk(Drawer::Totals, &rest)
}

fn period_of(key: &[u8]) -> Option<Timestamp> {
    let octets = key.last_chunk::<8>().filter(|_| key.len() > 8)?;
    Some(Timestamp::from_millis((u64::from_be_bytes(*octets) ^ 1 << 63).cast_signed()))
}

/// Sums, and from where to where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// The first CDR that is in.
    pub since: CdrPosition,
    /// The hash chain before it.
    pub since_chain: HashChain,
    /// The last CDR that is in; the one before `since` when none is.
    pub through: CdrPosition,
    /// The hash chain after it.
    pub chain: HashChain,
    /// The sums.
    pub sums: Sums,
}

impl Totals {
    /// What was written of them; `None` when nothing was.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn written(edge: &Edge) -> Result<Option<Self>, OpenError> {
        let Some(octets) = edge.desk_record(&keys::desk(Drawer::Totals, &[HEAD])) else { return Ok(None) };
        let head = records::decode_totals_head(&octets).map_err(because("the head of the control totals"))?;
        let TotalsHead { since, since_chain, through, chain, at: _ } = head;
        Ok(Some(Self { since, since_chain, through, chain, sums: Sums::read(edge)? }))
    }

    /// Of no CDR yet, from the oldest on that a store has.
    fn before(cdrs: &CdrStore) -> Self {
        let (since, chain) = (cdrs.first_position(), cdrs.first_chain());
        let through = CdrPosition::new(since.get().saturating_sub(1));
        Self { since, since_chain: chain, through, chain, sums: Sums::default() }
    }
}

/// What the follower is at.
struct Following {
    totals: Totals,
    reader: Option<CdrReader>,
    /// Periods that differ from what is written, and CDRs since.
    changed: BTreeSet<Option<Timestamp>>,
    unwritten: u64,
}

/// The control totals of a running system.
pub struct ControlTotals {
    cdrs: Arc<CdrStore>,
    partition: PartitionId,
    following: Mutex<Following>,
    /// The last CDR that is in sums which no crash takes back.
    written: AtomicU64,
    comparing: Mutex<()>,
    over: AtomicBool,
}

impl ControlTotals {
    /// Goes on with what was written.
    ///
    /// # Errors
    /// When that cannot be read, or is not of these CDRs.
    pub fn open(edge: &Edge, cdrs: Arc<CdrStore>, partition: PartitionId) -> Result<Self, OpenError> {
        let totals = Totals::written(edge)?.unwrap_or_else(|| Totals::before(&cdrs));
        let written = AtomicU64::new(totals.through.get());
        let following = Following { totals, reader: None, changed: BTreeSet::new(), unwritten: 0 };
        Ok(Self {
            cdrs,
            partition,
            following: Mutex::new(following),
            written,
            comparing: Mutex::new(()),
            over: AtomicBool::new(false),
        })
    }

    /// The partition.
    pub const fn partition(&self) -> PartitionId {
        self.partition
    }

    /// CDRs behind this one are not in written sums, and must be kept.
    pub fn written(&self) -> CdrPosition {
        CdrPosition::new(self.written.load(Ordering::Acquire))
    }

    /// The totals of all CDRs up to now. Waits until they are durable.
    ///
    /// # Errors
    /// What cannot be read, with its position.
    pub fn totals(&self, journal: &Journal) -> Result<Totals, String> {
        self.totals_after(journal, journal.appended_lsn())
    }

    /// The totals of all CDRs up to an entry, and of those that are durable behind it.
    fn totals_after(&self, journal: &Journal, lsn: Lsn) -> Result<Totals, String> {
        journal.mark().wait_for(lsn).map_err(|_| "the system is stopping".to_owned())?;
        let waits = Instant::now();
        while self.cdrs.durable().lsn < lsn {
            if waits.elapsed() >= BEHIND_MAX {
                return Err("the CDR store is too far behind; try again when there is less traffic".to_owned());
            }
            std::thread::sleep(BEHIND_PAUSE);
        }
        let mut following = self.following.lock();
        following.catch_up(&self.cdrs)?;
        Ok(following.totals.clone())
    }

    /// Follows until [`ControlTotals::stop`]; then writes a last time.
    pub fn run(&self, charging: &Charging) {
        let (mut followed, mut written, mut failure) = (Instant::now(), Instant::now(), None);
        loop {
            let over = self.over.load(Ordering::Acquire) || charging.journal.has_failed();
            if over || followed.elapsed() >= FOLLOW_EVERY {
                followed = Instant::now();
                // In the end what was charged last is still on its way to the CDR store; it is in the last sums, too.
                let caught_up = if over && !charging.journal.has_failed() {
                    self.totals(&charging.journal).map(drop)
                } else {
                    self.following.lock().catch_up(&self.cdrs)
                };
                // Said once: charging needs none of it.
                if let Err(reason) = &caught_up
                    && failure.as_ref() != Some(reason)
                {
                    tracing::error!(%reason, "control totals cannot follow the CDRs");
                }
                failure = caught_up.err();
                let unwritten = self.following.lock().unwritten;
                if unwritten > 0 && (over || unwritten >= WRITE_AFTER || written.elapsed() >= WRITE_EVERY) {
                    written = Instant::now();
                    self.write(&charging.edge, &charging.journal, charging.clock.now());
                }
            }
            if over {
                return;
            }
            std::thread::sleep(NAP);
        }
    }

    /// Has the thread end.
    pub fn stop(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Writes what has changed, and waits until it is durable.
    pub(crate) fn write(&self, edge: &Edge, journal: &Journal, now: Timestamp) {
        let (desk, through) = {
            let mut following = self.following.lock();
            let Totals { since, since_chain, through, chain, .. } = following.totals;
            let head = TotalsHead { since, since_chain, through, chain, at: now };
            let mut octets = Vec::new();
            records::encode_totals_head(&mut octets, &head);
            let mut desk = vec![DeskRecord::there(keys::desk(Drawer::Totals, &[HEAD]), octets)];
            let changed = std::mem::take(&mut following.changed);
            desk.extend(changed.into_iter().map(|period| following.totals.sums.record(period)));
            following.unwritten = 0;
            (desk, through)
        };
        let lsn = edge.append_alone(journal, now, &Beside { desk, ..Beside::default() });
        // A failed log ends the process.
        if journal.mark().wait_for(lsn).is_ok() {
            self.written.store(through.get(), Ordering::Release);
        }
    }

    /// Compares the running totals of all accounts with the CDRs while traffic goes on; `None` while another comparison is at it.
    ///
    /// Each shard's accounts are looked at under its lock, at an instant of their own. What the CDRs say is the control totals, less
    /// those CDRs that came after their account was looked at. Takes memory for the number of every account.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn reconcile(&self, charging: &Charging) -> Option<Result<Reconciled, String>> {
        let _turn = self.comparing.try_lock()?;
        Some(self.compare(charging))
    }

    fn compare(&self, charging: &Charging) -> Result<Reconciled, String> {
        let before = self.cdrs.durable().position;
        let mut seen = Seen::default();
        let mut last = charging.journal.appended_lsn();
        for index in 0..charging.shards.len() {
            charging.shards.with_index(index, |shard| {
                for account in shard.accounts() {
                    seen.look_at(account);
                }
                last = last.max(shard.last_lsn());
            });
        }
        let totals = self.totals_after(&charging.journal, last)?;
        let mut after = Sums::default();
        let mut reader = self.cdrs.reader(before.next()).map_err(|error| error.to_string())?;
        while reader.position() <= totals.through {
            let Some(record) = reader.read_next().map_err(|error| error.to_string())? else { break };
            let position = record.position;
            let cdr = records::decode_cdr(record.octets).map_err(|error| format!("CDR {position}: {error}"))?;
            if seen.numbers.get(&cdr.account).is_none_or(|number| cdr.number > *number) {
                after.add(&cdr);
            }
        }
        Ok(seen.against(&totals, &after))
    }
}

impl RetentionFloor for ControlTotals {
    fn floor(&self) -> Option<Floor> {
        Some(Floor { from: self.written().next(), holder: "the control totals".to_owned() })
    }
}

impl std::fmt::Debug for ControlTotals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlTotals").field("written", &self.written).finish_non_exhaustive()
    }
}

impl Following {
    /// Adds what is durable and not in yet.
    fn catch_up(&mut self, cdrs: &Arc<CdrStore>) -> Result<(), String> {
        if cdrs.durable().position <= self.totals.through && self.reader.is_some() {
            return Ok(());
        }
        let done = self.add_all(cdrs);
        if done.is_err() {
            // The next try reads anew.
            self.reader = None;
        }
        done
    }

    fn add_all(&mut self, cdrs: &Arc<CdrStore>) -> Result<(), String> {
        let totals = &mut self.totals;
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => resume(cdrs, totals)?,
        };
        while let Some(record) = reader.read_next().map_err(|error| error.to_string())? {
            let cdr =
                records::decode_cdr(record.octets).map_err(|error| format!("CDR {}: {error}", record.position))?;
            (totals.through, totals.chain) = (record.position, record.chain);
            self.changed.insert(totals.sums.add(&cdr));
            self.unwritten += 1;
        }
        self.reader = Some(reader);
        Ok(())
    }
}

/// A reader of what follows, once it is sure that it does: the last CDR that was added up leads to the same chain.
fn resume(cdrs: &Arc<CdrStore>, totals: &Totals) -> Result<CdrReader, String> {
    let (through, last) = (totals.through, cdrs.durable().position);
    if through > last && through >= totals.since {
        return Err(format!(
            "CDR {through} was added up, but {last} is the last there is: CDRs are missing at the end"
        ));
    }
    let (chain, reader) = if through >= cdrs.first_position() {
        let mut reader = cdrs.reader(through).map_err(|error| error.to_string())?;
        let chain = reader.read_next().map_err(|error| error.to_string())?.map(|record| record.chain);
        let Some(chain) = chain else { return Err(format!("CDR {through} cannot be read")) };
        (chain, reader)
    } else {
        (cdrs.first_chain(), cdrs.reader(through.next()).map_err(|error| error.to_string())?)
    };
    if chain != totals.chain {
        return Err(format!("the hash chain at CDR {through} is not the one that was added up: CDRs were changed"));
    }
    Ok(reader)
}

/// Sums by flow, outflows as positive amounts.
type ByFlow = BTreeMap<(Currency, Holding, Flow), i128>;

/// Running totals of accounts, added up.
#[derive(Debug, Default)]
pub struct Flows {
    flows: ByFlow,
    closing: BTreeMap<(Currency, Holding), i128>,
}

impl Flows {
    /// Adds an account.
    pub fn add(&mut self, account: &Account) {
        for total in &account.totals {
            *self.flows.entry((account.currency, total.holding, total.flow)).or_default() += i128::from(total.amount);
        }
        for (holding, amount) in account.closing() {
            *self.closing.entry((account.currency, holding)).or_default() += amount;
        }
    }

    /// What does not agree with what CDRs come to.
    fn against(&self, by_cdrs: &ByFlow) -> Vec<String> {
        let keys: BTreeSet<_> = self.flows.keys().chain(by_cdrs.keys()).copied().collect();
        let of = |sums: &ByFlow, key| sums.get(&key).copied().unwrap_or(0);
        let differing = keys.into_iter().filter(|(.., flow)| *flow != Flow::Opening).filter_map(|key| {
            let ((currency, holding, flow), accounts, cdrs) = (key, of(&self.flows, key), of(by_cdrs, key));
            let unit = unit_name(holding);
            (accounts != cdrs)
                .then(|| format!("{flow:?} of {unit} in {currency}: accounts total {accounts}, CDRs {cdrs}"))
        });
        differing.collect()
    }
}

/// CDRs of a folder, added up again beside what was written of them.
#[derive(Debug, Default)]
pub struct Added {
    first: Option<CdrPosition>,
    /// Those that are in the written totals, and the chain after the last of them.
    again: Sums,
    chain: Option<HashChain>,
    later: Sums,
}

impl Added {
    /// Adds the next CDR, with the chain after it.
    pub fn add(&mut self, position: CdrPosition, chain: HashChain, cdr: &StoredCdr, written: Option<&Totals>) {
        match written {
            Some(written) if position < written.since => {}
            Some(written) if position <= written.through => {
                self.first.get_or_insert(position);
                self.again.add(cdr);
                self.chain = (position == written.through).then_some(chain);
            }
            Some(_) | None => drop(self.later.add(cdr)),
        }
    }
}

/// What written totals, CDRs up to `last` and accounts of a folder do not agree in.
pub fn check(written: Option<&Totals>, added: &Added, accounts: &Flows, last: CdrPosition) -> Vec<String> {
    let Some(written) = written else { return Vec::new() };
    let mut findings = Vec::new();
    let through = written.through;
    if through > last {
        findings.push(format!("control totals go up to CDR {through}, but {last} is the last there is"));
    }
    if added.chain.is_some_and(|chain| chain != written.chain) {
        findings.push(format!("control totals: the hash chain at CDR {through} is not the one that was added up"));
    }
    // Rows are made again where all their CDRs are kept.
    if added.first == Some(written.since) {
        let (was, is) = (&written.sums.0, &added.again.0);
        for period in was.keys().chain(is.keys()).collect::<BTreeSet<_>>() {
            let rows = |sums: &BTreeMap<_, BTreeMap<RowKey, Row>>| sums.get(period).cloned().unwrap_or_default();
            let (was, is) = (rows(was), rows(is));
            for key in was.keys().chain(is.keys()).collect::<BTreeSet<_>>() {
                let (was, is) = (was.get(key).cloned().unwrap_or_default(), is.get(key).cloned().unwrap_or_default());
                if was != is {
                    let ((kind, currency), period) = (key, period.map_or("no period".to_owned(), |it| it.to_string()));
                    findings.push(format!(
                        "control totals of {period}, {kind:?} in {currency}: {} CDRs of {} micro-units were added up, there are {} of {}",
                        was.cdrs, was.amount, is.cdrs, is.amount
                    ));
                }
            }
        }
    }
    if written.since.get() <= 1 {
        let mut by_cdrs = written.sums.flows();
        for (key, amount) in added.later.flows() {
            *by_cdrs.entry(key).or_default() += amount;
        }
        findings.extend(accounts.against(&by_cdrs));
    }
    findings
}

/// What was seen of accounts.
#[derive(Default)]
struct Seen {
    /// The number of the last CDR of each.
    numbers: HashMap<AccountId, u64, RandomState>,
    flows: Flows,
    findings: Vec<String>,
    finding_count: u64,
}

/// What a comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// The newest CDR that was counted.
    pub through: CdrPosition,
    /// Accounts that were proved.
    pub accounts: u64,
    /// By currency and holding.
    pub holdings: BTreeMap<(Currency, Holding), Reconciliation>,
    /// What does not add up, the first fifty.
    pub findings: Vec<String>,
    /// How many findings there are in all.
    pub finding_count: u64,
}

/// One holding of all accounts of a currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// What was there when accounts were made.
    pub opening: i128,
    /// What came in, and went out, by the accounts' running totals.
    pub given: i128,
    /// See `given`.
    pub taken: i128,
    /// What is there.
    pub closing: i128,
    /// What came in, and went out, by the CDRs; `None` where these do not begin with the first.
    pub by_cdrs: Option<(i128, i128)>,
}

impl Seen {
    fn look_at(&mut self, account: &Account) {
        self.numbers.insert(account.id, account.cdrs.count);
        if let Err((holding, expected, there)) = account.proof() {
            let (id, unit) = (account.id, unit_name(holding));
            self.find(format!("account {id}: {unit}: opening and flows give {expected}, but {there} is there"));
        }
        self.flows.add(account);
    }

    fn find(&mut self, finding: String) {
        self.finding_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    /// Compared with totals less what came after accounts were looked at.
    fn against(mut self, totals: &Totals, after: &Sums) -> Reconciled {
        let mut by_cdrs = totals.sums.flows();
        for (key, amount) in after.flows() {
            *by_cdrs.entry(key).or_default() -= amount;
        }
        let is_whole = totals.since.get() <= 1;
        if is_whole {
            self.flows.against(&by_cdrs).into_iter().for_each(|finding| self.find(finding));
        }
        let mut holdings: BTreeMap<(Currency, Holding), Reconciliation> = BTreeMap::new();
        for (key, amount) in &self.flows.closing {
            holdings.entry(*key).or_default().closing = *amount;
        }
        for ((currency, holding, flow), amount) in &self.flows.flows {
            let row = holdings.entry((*currency, *holding)).or_default();
            let sum = match flow {
                Flow::Opening => &mut row.opening,
                Flow::TopUp | Flow::Grant | Flow::Refund | Flow::AdjustmentIn | Flow::TransferIn => &mut row.given,
                Flow::Debit | Flow::Expiry | Flow::AdjustmentOut | Flow::TransferOut => &mut row.taken,
            };
            *sum += amount;
        }
        for ((currency, holding, flow), amount) in by_cdrs.iter().filter(|_| is_whole) {
            let row = holdings.entry((*currency, *holding)).or_default();
            let (given, taken) = row.by_cdrs.get_or_insert_default();
            *(if flow.is_outflow() { taken } else { given }) += amount;
        }
        if is_whole {
            for row in holdings.values_mut() {
                row.by_cdrs.get_or_insert_default();
            }
        }
        let accounts = u64::try_from(self.numbers.len()).unwrap_or(u64::MAX);
        let Self { findings, finding_count, .. } = self;
        Reconciled { through: totals.through, accounts, holdings, findings, finding_count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(cdrs: u64, amount: i128, given: i128) -> Totals {
        let moved = Movements { given, taken: 0, cost: given };
        let row = Row { cdrs, late: 0, amount, moved: [((Holding::Money, Origin::Paid), moved)].into() };
        let rows = [((CdrKind::TopUp, Currency::EUR), row)];
        let chain = HashChain::START.after(b"x");
        Totals {
            since: CdrPosition::new(1),
            since_chain: HashChain::START,
            through: CdrPosition::new(cdrs),
            chain,
            sums: Sums([(None, rows.into())].into()),
        }
    }

    #[test]
    fn keys_of_periods_read_back_and_stand_in_the_order_of_time() {
        let periods = [None, Some(-1), Some(0), Some(1_795_000_000_000)].map(|it| it.map(Timestamp::from_millis));
        let keys = periods.map(key_of);
        assert!(keys.is_sorted());
        assert_eq!(keys.map(|key| period_of(&key)), periods);
    }

    #[test]
    fn records_of_a_period_read_back() {
        let sums = totals(3, -30_000_000, 30_000_000).sums;
        let edge = Edge::default();
        edge.push_desk(sums.record(None), Lsn::new(7));
        assert_eq!(Sums::read(&edge).unwrap(), sums);
    }

    #[test]
    fn what_does_not_agree_is_named() {
        // Three top-ups of 10.00 were added up; the folder has two.
        let (three, two) = (totals(3, -30_000_000, 30_000_000), totals(2, -20_000_000, 20_000_000));
        let added = |sums: &Sums, chain| {
            let (first, again) = (Some(CdrPosition::new(1)), sums.clone());
            Added { first, again, chain: Some(chain), later: Sums::default() }
        };
        let accounts = |money| Flows {
            flows: [((Currency::EUR, Holding::Money, Flow::TopUp), money)].into(),
            closing: BTreeMap::new(),
        };
        let last = CdrPosition::new(3);
        let good = added(&three.sums, three.chain);
        assert_eq!(check(Some(&three), &good, &accounts(30_000_000), last), Vec::<String>::new());
        assert_eq!(check(None, &Added::default(), &accounts(7), last), Vec::<String>::new());
        let found = |added: &Added, money, last| check(Some(&three), added, &accounts(money), CdrPosition::new(last));
        assert_eq!(
            found(&added(&two.sums, three.chain), 30_000_000, 3),
            [
                "control totals of no period, TopUp in EUR: 3 CDRs of -30000000 micro-units were added up, there are 2 of -20000000"
            ]
        );
        assert_eq!(
            found(&added(&three.sums, HashChain::START), 30_000_000, 3),
            ["control totals: the hash chain at CDR 3 is not the one that was added up"]
        );
        assert_eq!(found(&good, 30_000_001, 3), ["TopUp of money in EUR: accounts total 30000001, CDRs 30000000"]);
        assert_eq!(found(&good, 30_000_000, 2), ["control totals go up to CDR 3, but 2 is the last there is"]);
    }
}
