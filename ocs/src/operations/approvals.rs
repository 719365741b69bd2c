//! Large credits: held back until a second person approves them.
//!
//! What is held back is the whole mutation with its key and digest, so that what is done in the end is what was asked for, and
//! whoever asks again is answered as ever. It is decided in the entry that does it. Lock order: the approvers, a shard, the edge.

use balance_store::keys::{self, Drawer};
use balance_store::records::{self, Approval, Credited, Decision};
use ocs_api::{
    ApprovalOperations, ApprovalRefusal, ApprovalSnapshot, ApprovalStanding, Caller, Ceiling, Changed, OperationError,
    Operations, name,
};
use parking_lot::Mutex;
use rating_engine::command::{Mutation, MutationOutcome, Refusal, Request};
use rating_engine::ids::{GroupId, IdempotencyKey, TenantId};
use rating_engine::money::{Currency, Money};
use rating_engine::time::Timestamp;

use super::Desk;
use crate::audit_log::{By, difference};
use crate::charging::{Charged, Noting};
use crate::edge::{Beside, DeskRecord};

/// How long one waits, seconds: 7 days.
const WAITS_SECONDS: i64 = 7 * 86_400;
/// How long it is shown when it is over, seconds: 30 days.
const SHOWN_SECONDS: i64 = 30 * 86_400;
/// How many are kept, those that are over among them.
const APPROVALS_MAX: usize = 10_000;
/// How many that are over are forgotten when one is added.
const FORGOTTEN_AT_ONCE: usize = 16;

/// What guards approvals.
#[derive(Debug, Default)]
pub(super) struct Approvers {
    above: Option<Ceiling>,
    /// How many there are and the number of the last; `None` before anybody looked. Held by whoever decides.
    kept: Mutex<Option<Kept>>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    count: usize,
    last: u64,
}

impl Approvers {
    pub(super) fn above(above: Option<Ceiling>) -> Self {
        Self { above, ..Self::default() }
    }
}

fn key_of(number: u64) -> Vec<u8> {
    keys::desk(Drawer::Approvals, &number.to_be_bytes())
}

fn index_of(group: GroupId, key: &IdempotencyKey) -> Vec<u8> {
    let rest = [&group.get().to_be_bytes()[..], key.as_str().as_bytes()].concat();
    keys::desk(Drawer::ApprovalKeys, &rest)
}

fn record(number: u64, approval: &Approval) -> DeskRecord {
    let mut value = Vec::new();
    records::encode_approval(&mut value, approval);
    DeskRecord::there(key_of(number), value)
}

fn number_of(octets: &[u8]) -> Result<u64, OperationError> {
    let number = octets.last_chunk().map(|octets| u64::from_be_bytes(*octets));
    number.ok_or_else(|| damaged("an approval without a number"))
}

fn damaged(error: impl std::fmt::Display) -> OperationError {
    OperationError::Store(format!("a record of approvals: {error}"))
}

fn refusal(refusal: ApprovalRefusal) -> OperationError {
    OperationError::Approval(refusal)
}

impl Desk {
    /// Whether one person alone may not give so much.
    pub(super) fn needs_another(&self, amount: Money, currency: Currency) -> bool {
        amount > Money::ZERO && self.approvers.above.is_some_and(|above| !above.allows(amount, currency))
    }

    /// Holds a change back that needs a second person: the refusal names its approval. What was done already goes on, to get
    /// its first answer.
    pub(super) async fn held_back(
        &self,
        home: (GroupId, TenantId, Currency),
        mutation: &Mutation,
        noting: &Noting<'_>,
    ) -> Result<(), OperationError> {
        let credit = Credited::of(&mutation.change).filter(|credit| self.needs_another(credit.amount(), home.2));
        let (Some(credit), Some(request), Some(by)) = (credit, &mutation.request, noting.by) else { return Ok(()) };
        if self.charging.journal.is_saturated() {
            return Err(OperationError::Refused(Refusal::TooBusy));
        }
        let held = self.hold(home, mutation, (credit, request, by), noting);
        if held.is_err() {
            self.durable(self.charging.journal.appended_lsn()).await?;
        }
        held
    }

    fn hold(
        &self,
        (group, tenant, currency): (GroupId, TenantId, Currency),
        mutation: &Mutation,
        (credit, request, by): (Credited, &Request, &By),
        noting: &Noting<'_>,
    ) -> Result<(), OperationError> {
        let mut kept = self.approvers.kept.lock();
        let (goes_on, is_stale) = self.charging.shards.with(group, |shard| {
            let limit = shard.account(credit.account()).and_then(|account| account.credit).map(|line| line.limit);
            // A lower limit gives nobody anything.
            let lowers =
                matches!(credit, Credited::Limit { limit: new, .. } if limit.is_some_and(|limit| new <= limit));
            (lowers || shard.knows(mutation), noting.still.is_some_and(|still| !still(shard)))
        });
        if goes_on {
            return Ok(());
        }
        let now = self.charging.clock.now();
        if let Some(octets) = self.charging.edge.desk_record(&index_of(group, &request.key)) {
            let number = number_of(&octets)?;
            let known = self.approval(number)?;
            let digest = known.as_ref().map(|known| known.request.digest);
            match known.map(|known| (known.decision, known.expires)) {
                _ if digest.is_some_and(|digest| digest != request.digest) => {
                    return Err(OperationError::Refused(Refusal::KeyReused));
                }
                Some((Decision::Pending, expires)) if now < expires => {
                    return Err(refusal(ApprovalRefusal::Needed { number, expires }));
                }
                Some((Decision::Rejected { .. }, _)) => return Err(refusal(ApprovalRefusal::Rejected { number })),
                // It was done so long ago that its answer is forgotten.
                Some((Decision::Approved { .. }, _)) => return Err(OperationError::Refused(Refusal::KeyReused)),
                Some((Decision::Pending, _)) | None => {}
            }
        }
        if is_stale {
            return Err(OperationError::Refused(Refusal::Stale));
        }
        let Kept { count, last } = self.kept(&mut kept)?;
        let (mut desk, forgotten) = self.over(now)?;
        if count.saturating_sub(forgotten) >= APPROVALS_MAX {
            return Err(refusal(ApprovalRefusal::TooMany));
        }
        let (number, expires) = (last.saturating_add(1), now.plus_seconds(WAITS_SECONDS));
        let words = format!("pending: {} {currency}", credit.amount());
        let approval = Approval {
            group,
            tenant,
            currency,
            method: by.method.into(),
            asked_by: by.caller.clone(),
            asked: now,
            expires,
            request: request.clone(),
            credit,
            decision: Decision::Pending,
        };
        desk.push(record(number, &approval));
        desk.push(DeskRecord::there(index_of(group, &request.key), number.to_be_bytes()));
        let audit = Some(by.record(now, vec![difference(name::approval(number), "", &words)]));
        let _ =
            self.charging.edge.append_alone(&self.charging.journal, now, &Beside { desk, audit, ..Beside::default() });
        *kept = Some(Kept { count: count.saturating_sub(forgotten).saturating_add(1), last: number });
        Err(refusal(ApprovalRefusal::Needed { number, expires }))
    }

    fn kept(&self, kept: &mut Option<Kept>) -> Result<Kept, OperationError> {
        if let Some(kept) = kept {
            return Ok(*kept);
        }
        let all = self.charging.edge.desk_records(&keys::desk(Drawer::Approvals, &[]), None, usize::MAX);
        let last = all.last().map_or(Ok(0), |(key, _)| number_of(key))?;
        Ok(*kept.insert(Kept { count: all.len(), last }))
    }

    /// What need not be shown any longer, as records that are gone, and of how many approvals.
    fn over(&self, now: Timestamp) -> Result<(Vec<DeskRecord>, usize), OperationError> {
        let (mut gone, mut count) = (Vec::new(), 0);
        let oldest = self.charging.edge.desk_records(&keys::desk(Drawer::Approvals, &[]), None, FORGOTTEN_AT_ONCE);
        for (key, value) in oldest {
            let approval = records::decode_approval(&value).map_err(damaged)?;
            if approval.expires.plus_seconds(SHOWN_SECONDS) > now {
                break;
            }
            let index = index_of(approval.group, &approval.request.key);
            // Its key may be that of a later one.
            if self.charging.edge.desk_record(&index).is_some_and(|octets| key.ends_with(&octets)) {
                gone.push(DeskRecord::gone(index));
            }
            gone.push(DeskRecord::gone(key));
            count += 1;
        }
        Ok((gone, count))
    }

    fn approval(&self, number: u64) -> Result<Option<Approval>, OperationError> {
        let value = self.charging.edge.desk_record(&key_of(number));
        value.map(|value| records::decode_approval(&value).map_err(damaged)).transpose()
    }

    /// Does what was held back, and decides on it, in one entry.
    fn let_go(&self, caller: &Caller, number: u64) -> Result<(Charged<MutationOutcome>, Approval), OperationError> {
        let _kept = self.approvers.kept.lock();
        let approval = self.approval(number)?.ok_or(refusal(ApprovalRefusal::Unknown))?;
        let (group, amount, currency) = (approval.group, approval.credit.amount(), approval.currency);
        if *approval.asked_by == *caller.name {
            return Err(refusal(ApprovalRefusal::SamePerson));
        }
        if let Some(ceiling) = caller.top_up_max.filter(|ceiling| !ceiling.allows(amount, currency)) {
            return Err(refusal(ApprovalRefusal::AboveCeiling(ceiling)));
        }
        let (now, mutation) = (self.charging.clock.now(), approval.mutation());
        match &approval.decision {
            Decision::Rejected { .. } => return Err(refusal(ApprovalRefusal::Rejected { number })),
            Decision::Pending if now >= approval.expires => return Err(refusal(ApprovalRefusal::Expired)),
            Decision::Approved { by, at } if !self.charging.shards.with(group, |shard| shard.knows(&mutation)) => {
                return Err(OperationError::Precondition(format!("{by} approved it at {at}, and it was done")));
            }
            Decision::Pending | Decision::Approved { .. } => {}
        }
        let by: Box<str> = (*caller.name).into();
        let decided = Approval { decision: Decision::Approved { by: by.clone(), at: now }, ..approval.clone() };
        let what = name::approval(number);
        let differences = vec![
            difference(what.clone(), "pending", "approved"),
            difference(format!("{what}/requested_by"), "", &approval.asked_by),
            difference(format!("{what}/approved_by"), "", &by),
        ];
        let by = self.decides(caller, "Approvals/Approve", &approval, &approval.request.reason);
        let desk = vec![record(number, &decided)];
        let noting = Noting { by: Some(&by), desk, differences, ..Noting::default() };
        Ok((self.charging.mutate_with(group, mutation, now, noting), approval))
    }

    fn decides(&self, caller: &Caller, method: &'static str, approval: &Approval, reason: &str) -> By {
        By {
            caller: (*caller.name).into(),
            method,
            target: name::account(approval.tenant, approval.credit.account()).into(),
            key: approval.request.key.as_str().into(),
            reason: reason.into(),
        }
    }

    fn say_no(&self, caller: &Caller, number: u64, reason: &str) -> Result<bool, OperationError> {
        let _kept = self.approvers.kept.lock();
        let approval = self.approval(number)?.ok_or(refusal(ApprovalRefusal::Unknown))?;
        let now = self.charging.clock.now();
        match &approval.decision {
            Decision::Rejected { .. } => return Ok(true),
            Decision::Approved { by, at } => {
                return Err(OperationError::Precondition(format!("{by} approved it at {at}, and it was done")));
            }
            Decision::Pending if now >= approval.expires => return Err(refusal(ApprovalRefusal::Expired)),
            Decision::Pending => {}
        }
        let by = self.decides(caller, "Approvals/Reject", &approval, reason);
        let what = name::approval(number);
        let differences = vec![
            difference(what.clone(), "pending", "rejected"),
            difference(format!("{what}/requested_by"), "", &approval.asked_by),
        ];
        let decision = Decision::Rejected { by: (*caller.name).into(), at: now };
        let desk = vec![record(number, &Approval { decision, ..approval })];
        let beside = Beside { desk, audit: Some(by.record(now, differences)), ..Beside::default() };
        let _ = self.charging.edge.append_alone(&self.charging.journal, now, &beside);
        Ok(false)
    }
}

fn shown(number: u64, approval: Approval, now: Timestamp) -> ApprovalSnapshot {
    let (state, decided) = match approval.decision {
        Decision::Pending if now >= approval.expires => (ApprovalStanding::Expired, None),
        Decision::Pending => (ApprovalStanding::Pending, None),
        Decision::Approved { by, at } => (ApprovalStanding::Approved, Some((by, at))),
        Decision::Rejected { by, at } => (ApprovalStanding::Rejected, Some((by, at))),
    };
    let (amount, bucket) = (approval.credit.amount(), approval.credit.bucket().cloned());
    ApprovalSnapshot {
        number,
        state,
        method: approval.method,
        account: (approval.tenant, approval.credit.account()),
        amount,
        currency: approval.currency,
        bucket,
        asked_by: approval.asked_by,
        asked: approval.asked,
        expires: approval.expires,
        reason: approval.request.reason,
        key: approval.request.key,
        decided,
    }
}

impl ApprovalOperations for Desk {
    async fn approvals(&self, after: Option<u64>, max: usize) -> Result<Vec<ApprovalSnapshot>, OperationError> {
        let after = after.map(key_of);
        let prefix = keys::desk(Drawer::Approvals, &[]);
        let found = self.charging.edge.desk_records(&prefix, after.as_deref(), max);
        let (lsn, now) = (self.charging.journal.appended_lsn(), self.charging.clock.now());
        self.durable(lsn).await?;
        let each = found
            .iter()
            .map(|(key, value)| Ok(shown(number_of(key)?, records::decode_approval(value).map_err(damaged)?, now)));
        each.collect()
    }

    async fn approve(&self, caller: Caller, number: u64) -> Result<Changed, OperationError> {
        if self.charging.journal.is_saturated() {
            return Err(OperationError::Refused(Refusal::TooBusy));
        }
        let (done, approval) = match self.let_go(&caller, number) {
            Ok(done) => done,
            Err(refused) => {
                self.durable(self.charging.journal.appended_lsn()).await?;
                return Err(refused);
            }
        };
        let done = self.settled(done).await?;
        if !done.repeated {
            if matches!(approval.credit, Credited::TopUp { .. }) {
                self.charging.telemetry.topup();
            }
            self.money_arrived(approval.group, approval.credit.account());
        }
        let (balance, currency, cdr_number) = (done.balance, approval.currency, done.cdr_number);
        Ok(Changed { balance, currency, cdr_number, etag: String::new(), repeated: done.repeated })
    }

    async fn reject(&self, caller: Caller, number: u64, reason: Box<str>) -> Result<bool, OperationError> {
        if self.charging.journal.is_saturated() {
            return Err(OperationError::Refused(Refusal::TooBusy));
        }
        let done = self.say_no(&caller, number, &reason);
        self.durable(self.charging.journal.appended_lsn()).await?;
        done
    }
}
