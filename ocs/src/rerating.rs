//! Usage rated again on a running system: planned, approved by somebody else, booked in the background (R32).
//!
//! ```text
//! planning ─► planned ─► running ─► done
//! ```
//!
//! One thread works on one re-rating at a time. What it comes to follows from the CDRs up to a position and the versions in force;
//! it is worked out for the plan and, before anything is booked, once more: what is no longer what was approved is not booked. Each
//! correction is a change of its account under a key of its own, so that it is booked once however often the thread begins anew, and
//! what was given back of its charge meanwhile is looked for first. Charging is never waited for: only the short changes take a lock.
//!
//! Memory is bounded: of sessions that may go on at most [`HELD_CDRS_MAX`] CDRs are held, of later corrections and refunds
//! [`LATER_MAX`]. Absent: gRPC, and who may call.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use balance_store::CdrStore;
use balance_store::keys::{self, Drawer};
use balance_store::records::{self, AuditRecord, Rerating, ReratingPlan, ReratingState};
use ocs_api::{Caller, Ceiling, OperationError, ReratingRefusal, name};
use parking_lot::{Condvar, Mutex};
use rating_engine::account::CdrTrail;
use rating_engine::cdr::{Cause, CdrKind, CdrSource, RatedCdr};
use rating_engine::command::{Change, MutationOutcome, Refusal, Request};
use rating_engine::ids::{AccountId, CdrPosition, IdempotencyKey, SessionId};
use rating_engine::money::{Currency, Money};
use rating_engine::refund::{Return, Unseen, returns_since};
use rating_engine::rerate::{Charged, Correction, Plan};
use rating_engine::tariffs::Tariffs;
use sha2::{Digest, Sha256};

use crate::audit_log::{By, difference};
use crate::charging::Charging;
use crate::edge::{Beside, DeskKey, DeskRecord, DeskValue};
use crate::operations::charges::seen_of;
use crate::store::{Catalogue, OpenError, Running};
use crate::stored_usage;
use crate::walk::Walker;

/// Re-ratings that are kept; beyond, the oldest that are over are forgotten.
const KEPT_MAX: usize = 1000;
/// Those that are not over.
const OPEN_MAX: usize = 20;
/// CDRs of sessions that are held until these end: some 400 MB.
const HELD_CDRS_MAX: usize = 200_000;
/// Refunds and corrections that are taken into account.
const LATER_MAX: usize = 1_000_000;
/// So many positions behind its last CDR a session is let go of: what ended together is behind it.
const LINGERS: u64 = 4096;
/// How long before the period a session may have begun, seconds: 31 days. One that began earlier is left for a person.
const BEFORE_SECONDS: i64 = 31 * 86_400;
/// CDRs that are named of those that are left.
const NAMED_MAX: usize = 100;
/// Accounts of which it is remembered what was seen.
const LOOKED_MAX: usize = 10_000;
/// Corrections, and how long, after which progress is written.
const NOTE_EVERY: u64 = 256;
const NOTE_AFTER: Duration = Duration::from_secs(1);
/// How often a correction is tried when others of the same account come between.
const TRIES_MAX: usize = 8;
/// How long the CDR store may be behind what is read of it, and how often it is looked at.
const BEHIND_MAX: Duration = Duration::from_secs(30);
const BEHIND_PAUSE: Duration = Duration::from_millis(2);
/// How long the thread sleeps when there is nothing to do, and when entries pile up in front of the disk.
const IDLE: Duration = Duration::from_secs(1);
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// Rates usage again.
#[derive(Debug)]
pub struct Rerater {
    charging: Arc<Charging>,
    catalogue: Arc<Catalogue>,
    cdrs: Arc<CdrStore>,
    /// Whether somebody else than who planned one has to approve it.
    four_eyes: bool,
    /// Held by whoever changes a record.
    changing: Mutex<()>,
    woken: Condvar,
    over: AtomicBool,
}

/// Why the thread lets go of a re-rating.
enum Stop {
    /// It cannot go on.
    Failed(String),
    /// Somebody ended it, or the process ends.
    Left,
}

impl From<OperationError> for Stop {
    fn from(error: OperationError) -> Self {
        Self::Failed(format!("{error:?}"))
    }
}

/// What has been seen of accounts' CDRs behind those that a plan was made of: where nothing but our own corrections came since, there is
/// nothing to look at.
struct Looked {
    walker: Walker,
    accounts: HashMap<AccountId, Since>,
}

#[derive(Default)]
struct Since {
    /// CDRs up to here were looked at.
    seen: CdrPosition,
    /// What they gave back or corrected.
    returns: Vec<Return>,
    /// The number of our own last correction among the account's CDRs.
    own: u64,
}

impl Looked {
    fn new(cdrs: Arc<CdrStore>) -> Self {
        Self { walker: Walker::new(cdrs), accounts: HashMap::new() }
    }

    fn must_look(&self, account: AccountId, trail: CdrTrail, through: CdrPosition) -> bool {
        let since = self.accounts.get(&account);
        trail.last > since.map_or(through, |since| since.seen.max(through))
            && since.is_none_or(|since| since.own != trail.count)
    }

    fn returns(
        &mut self,
        account: AccountId,
        trail: CdrTrail,
        through: CdrPosition,
    ) -> Result<&[Return], Unseen<String>> {
        let must_look = self.must_look(account, trail, through);
        if self.accounts.len() >= LOOKED_MAX && !self.accounts.contains_key(&account) {
            self.accounts.clear();
        }
        let since = self.accounts.entry(account).or_default();
        if must_look {
            let walk = (trail.last, since.seen.max(through));
            since.returns.extend(returns_since(walk, |at| self.walker.read(at).map(|cdr| cdr.map(seen_of)))?);
            since.seen = trail.last;
        }
        Ok(&since.returns)
    }

    fn booked(&mut self, account: AccountId, cdr_number: u64) {
        if let Some(since) = self.accounts.get_mut(&account) {
            since.own = cdr_number;
        }
    }
}

/// What is added up of a plan.
#[derive(Default)]
struct Sums {
    corrections: u64,
    digest: Sha256,
    by_currency: BTreeMap<String, (Currency, Money, Money)>,
    unpriced: u64,
    left: Vec<(CdrPosition, Box<str>)>,
}

impl Sums {
    fn add(&mut self, (corrections, unpriced): &Plan) -> Result<(), Stop> {
        for correction in corrections {
            self.corrections = self.corrections.saturating_add(1);
            self.digest.update(correction.position().get().to_be_bytes());
            self.digest.update(correction.amount.micros().to_be_bytes());
            let currency = correction.original.currency;
            let (_, more, back) =
                self.by_currency.entry(currency.to_string()).or_insert((currency, Money::ZERO, Money::ZERO));
            let sum = if correction.amount > Money::ZERO {
                more.checked_add(correction.amount).map(|sum| *more = sum)
            } else {
                back.checked_sub(correction.amount).map(|sum| *back = sum)
            };
            sum.ok_or_else(|| Stop::Failed("its sums do not fit; choose a shorter period".to_owned()))?;
        }
        for (position, reason) in unpriced {
            self.unpriced = self.unpriced.saturating_add(1);
            leave(&mut self.left, *position, &reason.to_string());
        }
        Ok(())
    }

    fn plan(self, through: CdrPosition) -> (ReratingPlan, Vec<(CdrPosition, Box<str>)>) {
        let plan = ReratingPlan {
            through,
            corrections: self.corrections,
            digest: self.digest.finalize().into(),
            sums: self.by_currency.into_values().collect(),
            unpriced: self.unpriced,
        };
        (plan, self.left)
    }
}

fn leave(left: &mut Vec<(CdrPosition, Box<str>)>, position: CdrPosition, reason: &str) {
    if left.len() < NAMED_MAX {
        left.push((position, reason.into()));
    }
}

fn key_of(number: u64) -> Vec<u8> {
    keys::desk(Drawer::Reratings, &number.to_be_bytes())
}

fn damaged(error: impl std::fmt::Display) -> OperationError {
    OperationError::Store(format!("a record of re-ratings: {error}"))
}

fn read((key, value): &(DeskKey, DeskValue)) -> Result<(u64, Rerating), OperationError> {
    let number = key.last_chunk().map(|octets| u64::from_be_bytes(*octets));
    let number = number.ok_or_else(|| damaged("one without a number"))?;
    Ok((number, records::decode_rerating(value).map_err(damaged)?))
}

const fn is_over(state: &ReratingState) -> bool {
    match state {
        ReratingState::Planning | ReratingState::Planned | ReratingState::Running => false,
        ReratingState::Done | ReratingState::Cancelled | ReratingState::Failed { .. } => true,
    }
}

fn stands(state: &ReratingState) -> &'static str {
    match state {
        ReratingState::Planning => "is being planned; wait for its figures",
        ReratingState::Planned => "is planned",
        ReratingState::Running => "is being booked",
        ReratingState::Done => "is booked; plan another one",
        ReratingState::Cancelled => "was cancelled; plan another one",
        ReratingState::Failed { .. } => "has failed; plan another one",
    }
}

impl Rerater {
    /// Over a running system.
    pub fn new(running: &Running, four_eyes: bool) -> Self {
        let (catalogue, cdrs) = (running.store.catalogue.clone(), running.store.cdrs.clone());
        let (changing, woken, over) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        Self { charging: running.charging.clone(), catalogue, cdrs, four_eyes, changing, woken, over }
    }

    /// One of them.
    ///
    /// # Errors
    /// When its record is damaged.
    pub fn find(&self, number: u64) -> Result<Option<Rerating>, OperationError> {
        let value = self.charging.edge.desk_record(&key_of(number));
        value.map(|value| records::decode_rerating(&value).map_err(damaged)).transpose()
    }

    /// Those behind `after`, by number.
    ///
    /// # Errors
    /// When a record is damaged.
    pub fn list(&self, after: Option<u64>, max: usize) -> Result<Vec<(u64, Rerating)>, OperationError> {
        let after = after.map(key_of);
        let found = self.charging.edge.desk_records(&keys::desk(Drawer::Reratings, &[]), after.as_deref(), max);
        found.iter().map(read).collect()
    }

    /// Begins to plan one; says its number, and whether it was asked for before.
    ///
    /// # Errors
    /// Why it is not planned.
    pub fn plan(&self, wanted: Rerating) -> Result<(u64, Rerating, bool), ReratingRefusal> {
        let _changing = self.changing.lock();
        let all = self.list(None, usize::MAX)?;
        if let Some((number, known)) = all.iter().find(|(_, known)| known.key == wanted.key) {
            if known.digest != wanted.digest {
                return Err(OperationError::Refused(Refusal::KeyReused).into());
            }
            return Ok((*number, known.clone(), true));
        }
        if self.charging.journal.is_saturated() {
            return Err(OperationError::Refused(Refusal::TooBusy).into());
        }
        if self.catalogue.windows(&wanted.tariff).is_none() {
            return Err(ReratingRefusal::UnknownTariff);
        }
        if all.iter().filter(|(_, known)| !is_over(&known.state)).count() >= OPEN_MAX {
            return Err(ReratingRefusal::TooMany);
        }
        let number = all.last().map_or(0, |(number, _)| *number).saturating_add(1);
        let surplus = (all.len() + 1).saturating_sub(KEPT_MAX);
        let oldest = all.iter().filter(|(known, it)| is_over(&it.state) && known.saturating_add(1) < number);
        let mut desk: Vec<DeskRecord> =
            oldest.take(surplus).map(|(known, _)| DeskRecord::gone(key_of(*known))).collect();
        let Rerating { tariff, from, to, account, .. } = &wanted;
        let whose = account.map(|account| format!(" of account {account}")).unwrap_or_default();
        let said = format!("planning: tariff {tariff}{whose}, usage from {from} to {to}");
        let by = by(&wanted.asked_by, "Rerating/PlanRerating", number, &wanted.key, &wanted.reason);
        let audit = by.record(wanted.asked, vec![difference(name::rerating(number), "", &said)]);
        desk.push(record(number, &wanted));
        self.append(desk, Some(audit));
        self.woken.notify_all();
        Ok((number, wanted, false))
    }

    /// Has one booked; says whether it was approved before.
    ///
    /// # Errors
    /// Why it is not.
    pub fn approve(&self, caller: &Caller, number: u64) -> Result<(Rerating, bool), ReratingRefusal> {
        let (ceiling, caller) = (caller.top_up_max, &*caller.name);
        let _changing = self.changing.lock();
        let known = self.find(number)?.ok_or(ReratingRefusal::Unknown)?;
        if known.approved.as_ref().is_some_and(|(by, _)| **by == *caller) {
            return Ok((known, true));
        }
        if known.state != ReratingState::Planned {
            return Err(ReratingRefusal::WrongState(stands(&known.state).to_owned()));
        }
        if self.four_eyes && *known.asked_by == *caller {
            return Err(ReratingRefusal::SamePerson);
        }
        let plan = known.plan.as_ref();
        let too_much = |ceiling: &Ceiling| {
            let mut sums = plan.iter().flat_map(|plan| &plan.sums);
            sums.any(|(currency, _, back)| *back > Money::ZERO && !ceiling.allows(*back, *currency))
        };
        if let Some(ceiling) = ceiling.filter(too_much) {
            return Err(ReratingRefusal::AboveCeiling(ceiling));
        }
        if self.charging.journal.is_saturated() {
            return Err(OperationError::Refused(Refusal::TooBusy).into());
        }
        let now = self.charging.clock.now();
        let sums: Vec<String> = plan.iter().flat_map(|plan| &plan.sums).map(sum_in_words).collect();
        let said = format!("approved: {} corrections, {}", plan.map_or(0, |plan| plan.corrections), sums.join(", "));
        let by = by(caller, "Rerating/ApproveRerating", number, &IdempotencyKey::new(""), &known.reason);
        let audit = by.record(now, vec![difference(name::rerating(number), "planned", &said)]);
        let known = Rerating { state: ReratingState::Running, approved: Some((caller.into(), now)), ..known };
        self.append(vec![record(number, &known)], Some(audit));
        self.woken.notify_all();
        Ok((known, false))
    }

    /// Ends one; says whether somebody did before.
    ///
    /// # Errors
    /// Why it is not.
    pub fn cancel(&self, caller: &str, number: u64, reason: &str) -> Result<(Rerating, bool), ReratingRefusal> {
        let _changing = self.changing.lock();
        let known = self.find(number)?.ok_or(ReratingRefusal::Unknown)?;
        if known.state == ReratingState::Cancelled {
            return Ok((known, true));
        }
        if is_over(&known.state) {
            return Err(ReratingRefusal::WrongState(stands(&known.state).to_owned()));
        }
        let by = by(caller, "Rerating/CancelRerating", number, &IdempotencyKey::new(""), reason);
        let audit = by.record(
            self.charging.clock.now(),
            vec![difference(name::rerating(number), stands(&known.state), "cancelled")],
        );
        let known = Rerating { state: ReratingState::Cancelled, ..known };
        self.append(vec![record(number, &known)], Some(audit));
        Ok((known, false))
    }

    /// Works until [`Self::stop`]; what was not over when the process ended goes on.
    pub fn run(&self) {
        while !self.over.load(Ordering::Acquire) && !self.charging.journal.has_failed() {
            match self.next() {
                Some((number, rerating)) => self.work(number, &rerating),
                None => {
                    let mut changing = self.changing.lock();
                    if self.next().is_none() && !self.over.load(Ordering::Acquire) {
                        let _ = self.woken.wait_for(&mut changing, IDLE);
                    }
                }
            }
        }
    }

    /// Has the thread end; what it is at goes on when the process runs again.
    pub fn stop(&self) {
        self.over.store(true, Ordering::Release);
        self.woken.notify_all();
    }

    fn next(&self) -> Option<(u64, Rerating)> {
        let all = self.list(None, usize::MAX).inspect_err(|error| tracing::error!(?error, "re-ratings cannot be read"));
        let wanted = |state: &ReratingState| matches!(state, ReratingState::Planning | ReratingState::Running);
        all.ok()?.into_iter().find(|(_, known)| wanted(&known.state))
    }

    fn work(&self, number: u64, rerating: &Rerating) {
        let done = if rerating.state == ReratingState::Planning {
            self.plan_out(number, rerating)
        } else {
            self.book_all(number, rerating)
        };
        if let Err(Stop::Failed(reason)) = done {
            tracing::error!(rerating = number, %reason, "a re-rating could not go on");
            self.charging.telemetry.rerating_failed();
            let failed = ReratingState::Failed { reason: reason.into() };
            // If it is over meanwhile, that stands.
            let _ = self.update(number, |known| known.state = failed);
        }
    }

    /// Works out what it comes to.
    fn plan_out(&self, number: u64, rerating: &Rerating) -> Result<(), Stop> {
        let through = self.cdrs.durable().position;
        let sums = self.sums(number, rerating, (through, &self.charging.tariffs.load_full()))?;
        let (plan, left) = sums.plan(through);
        tracing::info!(
            rerating = number,
            corrections = plan.corrections,
            left = plan.unpriced,
            "a re-rating is planned"
        );
        self.update(number, |known| {
            (known.state, known.plan, known.left) = (ReratingState::Planned, Some(plan), left);
        })
    }

    fn sums(&self, number: u64, rerating: &Rerating, read: (CdrPosition, &Tariffs)) -> Result<Sums, Stop> {
        let mut sums = Sums::default();
        self.each(number, rerating, read, &mut |plan| sums.add(&plan))?;
        Ok(sums)
    }

    /// Books what was approved.
    fn book_all(&self, number: u64, rerating: &Rerating) -> Result<(), Stop> {
        let Some(plan) = &rerating.plan else { return Err(Stop::Failed("it has no plan".to_owned())) };
        // What is compared is what is booked, whatever is published meanwhile.
        let tariffs = self.charging.tariffs.load_full();
        let (now, _) = self.sums(number, rerating, (plan.through, &tariffs))?.plan(plan.through);
        if now != *plan {
            let reason =
                "what it would book is no longer what was approved: a version was published since; plan it anew";
            return Err(Stop::Failed(reason.to_owned()));
        }
        let (mut index, mut dealt_with, mut booked) = (0u64, rerating.dealt_with, rerating.booked);
        let (mut left, mut noted) = (rerating.left.clone(), Instant::now());
        let mut looked = Looked::new(self.cdrs.clone());
        self.each(number, rerating, (plan.through, &tariffs), &mut |(corrections, _)| {
            for correction in corrections {
                index = index.saturating_add(1);
                if index <= dealt_with {
                    continue;
                }
                let position = correction.position();
                match self.book((number, rerating, plan.through), correction, &mut looked)? {
                    None => booked = booked.saturating_add(1),
                    Some(reason) => leave(&mut left, position, &reason),
                }
                dealt_with = index;
                if dealt_with.is_multiple_of(NOTE_EVERY) || noted.elapsed() >= NOTE_AFTER {
                    noted = Instant::now();
                    self.note(number, (dealt_with, booked), &left)?;
                }
            }
            Ok(())
        })?;
        self.note(number, (dealt_with, booked), &left)?;
        tracing::info!(rerating = number, booked, left = dealt_with.saturating_sub(booked), "a re-rating is booked");
        self.update(number, |known| known.state = ReratingState::Done)
    }

    fn note(
        &self,
        number: u64,
        (dealt_with, booked): (u64, u64),
        left: &[(CdrPosition, Box<str>)],
    ) -> Result<(), Stop> {
        self.update(number, |known| {
            (known.dealt_with, known.booked, known.left) = (dealt_with, booked, left.to_vec());
        })
    }

    /// Books one correction; says why not, if it is left for a person.
    fn book(
        &self,
        (number, rerating, through): (u64, &Rerating, CdrPosition),
        correction: Correction,
        looked: &mut Looked,
    ) -> Result<Option<String>, Stop> {
        let (position, account) = (correction.position(), correction.known.account);
        let request = Request {
            key: IdempotencyKey::new(&format!("{} {position}", name::rerating(number))),
            digest: correction.amount.micros().cast_unsigned(),
            reason: rerating.reason.clone(),
        };
        let charging = &self.charging;
        let group = charging.directory.group_of(account);
        for _ in 0..TRIES_MAX {
            self.wait_for_room()?;
            let mut correction = correction.clone();
            let there = charging.shards.with(group, |shard| {
                let known = !matches!(shard.known(group, &request), Ok(None));
                shard.account(account).map(|account| (known, account.cdrs, account.given_back()))
            });
            let Some((known, trail, given_back)) = there else { return Ok(Some("its account is gone".to_owned())) };
            if !known {
                if looked.must_look(account, trail, through) {
                    self.wait_for_cdrs(trail.last)?;
                }
                match looked.returns(account, trail, through) {
                    Ok(returns) => correction.known.catch_up(returns, given_back),
                    Err(Unseen::Unreadable(reason)) => return Err(Stop::Failed(reason)),
                    Err(Unseen::NotThere | Unseen::NoCharge | Unseen::TooMany) => {
                        return Ok(Some("too much happened on its account since".to_owned()));
                    }
                }
            }
            let change = Change::Correct(Box::new(correction)).asked(request.clone());
            let done = charging.mutate(group, change, charging.clock.now());
            let is_booked = matches!(*done.outcome, MutationOutcome::Done { .. });
            match &*done.outcome {
                MutationOutcome::Refused(Refusal::Stale) => {}
                MutationOutcome::Done { .. } | MutationOutcome::Refused(_) => {
                    charging.telemetry.rerated(is_booked);
                }
            }
            match &*done.outcome {
                MutationOutcome::Done { cdr_number, .. } => {
                    looked.booked(account, *cdr_number);
                    return Ok(None);
                }
                // Something came between, or what came between is of this charge: then it is the same again.
                MutationOutcome::Refused(Refusal::Stale) => {}
                MutationOutcome::Refused(Refusal::Invalid(reason)) => return Ok(Some((*reason).to_owned())),
                MutationOutcome::Refused(refusal) => return Ok(Some(format!("{refusal:?}"))),
            }
        }
        charging.telemetry.rerated(false);
        Ok(Some("it was given back or corrected otherwise since".to_owned()))
    }

    /// What is to be corrected, session by session, in an order that follows from the CDRs.
    fn each(
        &self,
        number: u64,
        rerating: &Rerating,
        (through, tariffs): (CdrPosition, &Tariffs),
        hand_on: &mut dyn FnMut(Plan) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let Rerating { from, to, account, .. } = rerating;
        let wanted = |cdr: &RatedCdr| {
            *from <= cdr.usage_start && cdr.usage_start < *to && account.is_none_or(|account| account == cdr.account)
        };
        let is_returned = |cdr: &RatedCdr| matches!(cdr.kind, CdrKind::Refund | CdrKind::ReRate);
        let (mut charged, mut later) = (Charged::default(), 0usize);
        self.read(number, rerating, through, &mut |position, cdr| {
            if is_returned(&cdr) {
                later += 1;
                charged.add(position, cdr);
            }
            if later > LATER_MAX {
                return Err(Stop::Failed(format!("more than {LATER_MAX} refunds and corrections are there")));
            }
            Ok(())
        })?;
        // Sessions that have ended, and where.
        let mut ended: VecDeque<(CdrPosition, SessionId)> = VecDeque::new();
        let earliest = from.plus_seconds(-BEFORE_SECONDS);
        self.read(number, rerating, through, &mut |position, cdr| {
            while ended.front().is_some_and(|(at, _)| at.get().saturating_add(LINGERS) < position.get()) {
                let Some((at, session)) = ended.pop_front() else { break };
                // It may have begun anew.
                if charged.last_of(&session).is_some_and(|last| last <= at) {
                    hand_on(charged.close(&session, tariffs, wanted))?;
                }
            }
            let CdrSource::Network { session, .. } = &cdr.source else { return Ok(()) };
            let is_last = match cdr.cause {
                Cause::Final | Cause::Event | Cause::Record | Cause::Expired => true,
                Cause::ClientRestarted | Cause::Reopened | Cause::Operator => true,
                Cause::Interim | Cause::FirstUse | Cause::Due => false,
            };
            if is_last {
                ended.push_back((position, session.clone()));
            }
            if cdr.kind == CdrKind::Usage && earliest <= cdr.usage_start && cdr.usage_start < *to {
                charged.add(position, cdr);
            }
            if charged.held() > HELD_CDRS_MAX {
                return Err(Stop::Failed(format!(
                    "more than {HELD_CDRS_MAX} CDRs are of sessions that had not ended; choose a shorter period"
                )));
            }
            Ok(())
        })?;
        for session in charged.open() {
            hand_on(charged.close(&session, tariffs, wanted))?;
        }
        Ok(())
    }

    /// Reads the tariff's usage and what gave back of any, up to a position.
    fn read(
        &self,
        number: u64,
        rerating: &Rerating,
        through: CdrPosition,
        hand_on: &mut dyn FnMut(CdrPosition, RatedCdr) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        // Whoever cancels it is heard here.
        let heard = |_: CdrPosition| match self.find(number) {
            Ok(Some(known)) if !is_over(&known.state) && !self.over.load(Ordering::Acquire) => Ok(()),
            Ok(_) | Err(_) => Err(OpenError(String::new())),
        };
        let stopped = |error: OpenError| if error.0.is_empty() { Stop::Left } else { Stop::Failed(error.to_string()) };
        let usage = stored_usage::usage(&self.cdrs, &self.catalogue, &rerating.tariff, heard).map_err(stopped)?;
        for read in usage {
            let (position, cdr) = read.map_err(stopped)?;
            if position > through {
                break;
            }
            hand_on(position, cdr)?;
        }
        Ok(())
    }

    fn wait_for_room(&self) -> Result<(), Stop> {
        while self.charging.journal.is_saturated() {
            std::thread::sleep(ROOM_PAUSE);
            if self.charging.journal.has_failed() {
                return Err(Stop::Left);
            }
        }
        if self.over.load(Ordering::Acquire) { Err(Stop::Left) } else { Ok(()) }
    }

    fn wait_for_cdrs(&self, newest: CdrPosition) -> Result<(), Stop> {
        let began = Instant::now();
        while self.cdrs.durable().position < newest {
            if self.over.load(Ordering::Acquire) || self.charging.journal.has_failed() {
                return Err(Stop::Left);
            }
            if began.elapsed() > BEHIND_MAX {
                return Err(Stop::Failed("the CDR store is too far behind".to_owned()));
            }
            std::thread::sleep(BEHIND_PAUSE);
        }
        Ok(())
    }

    /// Changes the record of one that is not over.
    fn update(&self, number: u64, change: impl FnOnce(&mut Rerating)) -> Result<(), Stop> {
        let _changing = self.changing.lock();
        let Some(mut known) = self.find(number)?.filter(|known| !is_over(&known.state)) else { return Err(Stop::Left) };
        change(&mut known);
        self.append(vec![record(number, &known)], None);
        Ok(())
    }

    fn append(&self, desk: Vec<DeskRecord>, audit: Option<AuditRecord>) {
        let beside = Beside { desk, audit, ..Beside::default() };
        let _ = self.charging.edge.append_alone(&self.charging.journal, self.charging.clock.now(), &beside);
    }
}

fn record(number: u64, rerating: &Rerating) -> DeskRecord {
    let mut value = Vec::new();
    records::encode_rerating(&mut value, rerating);
    DeskRecord::there(key_of(number), value)
}

fn by(caller: &str, method: &'static str, number: u64, key: &IdempotencyKey, reason: &str) -> By {
    By {
        caller: caller.into(),
        method,
        target: name::rerating(number).into(),
        key: key.as_str().into(),
        reason: reason.into(),
    }
}

fn sum_in_words((currency, more, back): &(Currency, Money, Money)) -> String {
    format!("{more} {currency} charged more and {back} {currency} given back")
}
