//! Vouchers: batches made and blocked, codes redeemed once, wrong ones counted.
//!
//! Everything is in the records of the desk, by keyed hashes of codes. Whoever changes a voucher holds the vault's lock from
//! looking at it to appending: that is what makes two redemptions one. A redemption's top-up, its CDR, the voucher and the
//! audit record are in one entry. Lock order: making, the vault, a shard, the edge.

use std::path::{Path, PathBuf};
use std::time::Duration;

use balance_store::keys::{self, Drawer};
use balance_store::records::{self, BatchState, CodeHash, Fate, Tries, Voucher, VoucherBatch};
use ocs_api::{
    AccountSelector, BatchSnapshot, Beneficiary, Caller, NewBatch, OperationError, Operations, Redeemed, Redemption,
    Selection, SubscriberSelector, VoucherOperations, VoucherRefusal, VoucherSnapshot, VoucherStanding, WhichVoucher,
    name,
};
use parking_lot::{Mutex, MutexGuard};
use rating_engine::account::{Account, Bucket, Holding};
use rating_engine::command::{Change, MutationOutcome, Refusal};
use rating_engine::ids::{AccountId, GroupId, Lsn, TenantId};
use rating_engine::money::Currency;
use rating_engine::shard::Shard;
use rating_engine::time::Timestamp;

use super::{Desk, look};
use crate::audit_log::{By, difference};
use crate::charging::{Charged, Noting};
use crate::edge::{Beside, DeskRecord};
use crate::vouchers::{Code, KEY_FILE, Secret, system_random};

/// Vouchers that are kept, used ones too: some 110 octets of memory each.
const VOUCHERS_MAX: u64 = 2_000_000;
/// Batches that are kept.
const BATCHES_MAX: usize = 10_000;
/// Batches whose time has been over for so long make room for new ones, seconds: 90 days.
const OVER_KEPT_SECONDS: i64 = 90 * 86_400;
/// Vouchers in one entry of the log.
const AT_ONCE: usize = 500;
/// Records read under one hold of the desk's lock.
const READ_AT_ONCE: usize = 10_000;

/// So many wrong codes within this time lock for so long; seconds.
const WRONG_SECONDS: i64 = 3600;
const LOCKED_SECONDS: i64 = 3600;
/// Wrong codes redeemed for one account.
const WRONG_OF_ACCOUNT_MAX: usize = 5;
/// Wrong codes looked up or blocked by one caller.
const WRONG_OF_CALLER_MAX: usize = 30;
/// Accounts and callers with wrong codes that are remembered.
const TRIES_MAX: usize = 100_000;

/// How long a new batch pauses when entries pile up in front of the disk.
const SATURATED_PAUSE: Duration = Duration::from_millis(2);

/// What guards vouchers.
#[derive(Debug, Default)]
pub(super) struct Vault {
    /// Where the secret key is kept.
    folder: Option<PathBuf>,
    opened: Mutex<Opened>,
    /// Held while a batch is made.
    making: Mutex<()>,
}

#[derive(Debug, Default)]
struct Opened {
    secret: Option<Secret>,
    /// How many have wrong codes; `None` before anybody looked.
    tries: Option<usize>,
}

impl Vault {
    pub(super) fn of(folder: &Path) -> Self {
        Self { folder: Some(folder.to_path_buf()), ..Self::default() }
    }
}

/// Who tries codes.
#[derive(Clone, Copy)]
enum Trier<'a> {
    Account(TenantId, AccountId),
    Caller(&'a Caller),
}

impl Trier<'_> {
    fn name(self) -> String {
        match self {
            Self::Account(tenant, account) => name::account(tenant, account),
            Self::Caller(caller) => format!("callers/{}", caller.name),
        }
    }

    const fn wrong_max(self) -> usize {
        match self {
            Self::Account(..) => WRONG_OF_ACCOUNT_MAX,
            Self::Caller(_) => WRONG_OF_CALLER_MAX,
        }
    }
}

/// An account, as far as redeeming needs to know it.
#[derive(Clone, Copy)]
struct Taker {
    account: AccountId,
    group: GroupId,
    tenant: TenantId,
    currency: Currency,
}

/// A voucher with its batch.
struct Found {
    hash: CodeHash,
    voucher: Voucher,
    batch: VoucherBatch,
}

impl Found {
    fn name(&self) -> String {
        name::voucher(&self.batch.name, self.voucher.serial)
    }

    fn state(&self, now: Timestamp) -> VoucherStanding {
        match self.voucher.fate {
            Fate::Used { .. } => VoucherStanding::Used,
            Fate::Blocked { .. } => VoucherStanding::Blocked,
            Fate::Open => standing(&self.batch, now),
        }
    }

    /// Whether it gives what it is worth.
    fn redeemable(&self, now: Timestamp) -> Result<(), VoucherRefusal> {
        match self.state(now) {
            VoucherStanding::Active => Ok(()),
            VoucherStanding::Used => Err(VoucherRefusal::Used),
            VoucherStanding::Blocked => Err(VoucherRefusal::Blocked),
            VoucherStanding::Expired => Err(VoucherRefusal::Expired),
            VoucherStanding::Made => Err(VoucherRefusal::Unknown),
        }
    }

    fn shown(&self, now: Timestamp) -> VoucherSnapshot {
        let (account, changed) = match self.voucher.fate {
            Fate::Open => (None, None),
            Fate::Used { tenant, account, at } => (Some((tenant, account)), Some(at)),
            Fate::Blocked { at } => (None, Some(at)),
        };
        VoucherSnapshot {
            batch: self.batch.name.clone(),
            serial: self.voucher.serial,
            state: self.state(now),
            amount: self.batch.amount,
            currency: self.batch.currency,
            expires: self.batch.expires,
            account,
            changed,
        }
    }

    fn bucket(&self, now: Timestamp) -> Bucket {
        let seconds = self.batch.valid_seconds.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
        Bucket {
            id: self.batch.bucket.clone(),
            holding: Holding::Money,
            origin: self.batch.origin,
            balance: 0,
            reserved: 0,
            priority: self.batch.priority,
            valid_from: Timestamp::default(),
            valid_to: seconds.map_or(Timestamp::NEVER, |seconds| now.plus_seconds(seconds)),
            scope: None,
            terms: None,
        }
    }
}

fn standing(batch: &VoucherBatch, now: Timestamp) -> VoucherStanding {
    match batch.state {
        BatchState::Made => VoucherStanding::Made,
        BatchState::Blocked => VoucherStanding::Blocked,
        BatchState::Active if now >= batch.expires => VoucherStanding::Expired,
        BatchState::Active => VoucherStanding::Active,
    }
}

fn batch_key(number: u32) -> Vec<u8> {
    keys::desk(Drawer::Batches, &number.to_be_bytes())
}

fn batch_record(number: u32, batch: &VoucherBatch) -> DeskRecord {
    let mut value = Vec::new();
    records::encode_voucher_batch(&mut value, batch);
    DeskRecord::there(batch_key(number), value)
}

fn voucher_record(hash: &CodeHash, voucher: &Voucher) -> DeskRecord {
    let mut value = Vec::new();
    records::encode_voucher(&mut value, voucher);
    DeskRecord::there(keys::desk(Drawer::Vouchers, hash), value)
}

fn damaged(error: impl std::fmt::Display) -> OperationError {
    OperationError::Store(format!("a record of vouchers: {error}"))
}

impl Desk {
    /// The vault's lock, and the secret key; the first who asks has it made.
    fn open_vault(&self) -> Result<(MutexGuard<'_, Opened>, Secret), OperationError> {
        let mut opened = self.vault.opened.lock();
        if let Some(secret) = &opened.secret {
            let secret = secret.clone();
            return Ok((opened, secret));
        }
        let Some(folder) = &self.vault.folder else {
            return Err(OperationError::Precondition("this system has no folder for the key of vouchers".to_owned()));
        };
        let failed = |error: crate::store::OpenError| OperationError::Store(error.to_string());
        let batch = self.batches()?.pop().map(|(_, batch)| batch);
        let secret = match (Secret::read(folder).map_err(failed)?, batch) {
            (Some(secret), Some(batch)) if secret.check() != batch.key_check => {
                return Err(OperationError::Precondition(format!(
                    "{KEY_FILE} in the data folder is another key than that of batch {}; restore it from a backup",
                    batch.name
                )));
            }
            (Some(secret), _) => secret,
            (None, Some(_)) => {
                return Err(OperationError::Precondition(format!(
                    "{KEY_FILE} is missing in the data folder, and no voucher is known without it; restore it from a backup"
                )));
            }
            (None, None) => {
                let mut random = system_random().map_err(damaged)?;
                Secret::make(folder, &mut random).map_err(failed)?
            }
        };
        opened.secret = Some(secret.clone());
        Ok((opened, secret))
    }

    /// All batches by number.
    fn batches(&self) -> Result<Vec<(u32, VoucherBatch)>, OperationError> {
        self.batches_behind(None, BATCHES_MAX)
    }

    fn batches_behind(&self, after: Option<u32>, max: usize) -> Result<Vec<(u32, VoucherBatch)>, OperationError> {
        let after = after.map(batch_key);
        let found = self.charging.edge.desk_records(&keys::desk(Drawer::Batches, &[]), after.as_deref(), max);
        let each = found.iter().map(|(key, value)| {
            let number = key.last_chunk::<4>().map(|octets| u32::from_be_bytes(*octets));
            let number = number.ok_or_else(|| damaged("a batch without a number"))?;
            Ok((number, records::decode_voucher_batch(value).map_err(damaged)?))
        });
        each.collect()
    }

    fn batch_named(&self, named: &str) -> Result<Option<(u32, VoucherBatch)>, OperationError> {
        Ok(self.batches()?.into_iter().find(|(_, batch)| *batch.name == *named))
    }

    /// The voucher of a hash, if there is one that anybody may know of.
    fn voucher_of(&self, hash: CodeHash) -> Result<Option<Found>, OperationError> {
        let Some(value) = self.charging.edge.desk_record(&keys::desk(Drawer::Vouchers, &hash)) else { return Ok(None) };
        let voucher = records::decode_voucher(&value).map_err(damaged)?;
        let Some(value) = self.charging.edge.desk_record(&batch_key(voucher.batch)) else { return Ok(None) };
        let batch = records::decode_voucher_batch(&value).map_err(damaged)?;
        Ok((batch.state != BatchState::Made).then_some(Found { hash, voucher, batch }))
    }

    /// Walks all vouchers of a batch; `each` says whether to go on.
    fn each_of_batch(
        &self,
        number: u32,
        mut each: impl FnMut(CodeHash, Voucher) -> bool,
    ) -> Result<(), OperationError> {
        let prefix = keys::desk(Drawer::Vouchers, &[]);
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let found = self.charging.edge.desk_records(&prefix, after.as_deref(), READ_AT_ONCE);
            let Some((last, _)) = found.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, value) in &found {
                let voucher = records::decode_voucher(value).map_err(damaged)?;
                let hash = key.last_chunk().ok_or_else(|| damaged("a voucher without a hash"))?;
                if voucher.batch == number && !each(*hash, voucher) {
                    return Ok(());
                }
            }
        }
    }

    /// Forgets a batch with its vouchers. The batch goes last: what is left of it in between is nobody's.
    fn forget_batch(&self, number: u32) -> Result<(), OperationError> {
        let mut gone = Vec::new();
        self.each_of_batch(number, |hash, _| {
            gone.push(DeskRecord::gone(keys::desk(Drawer::Vouchers, &hash)));
            true
        })?;
        for some in gone.chunks(AT_ONCE) {
            self.write(some.to_vec())?;
        }
        self.write(vec![DeskRecord::gone(batch_key(number))]).map(|_| ())
    }

    /// Appends records of the desk when there is room for them.
    fn write(&self, desk: Vec<DeskRecord>) -> Result<Lsn, OperationError> {
        let journal = &self.charging.journal;
        while journal.is_saturated() {
            if journal.has_failed() {
                return Err(OperationError::Stopping);
            }
            std::thread::sleep(SATURATED_PAUSE);
        }
        let _opened = self.vault.opened.lock();
        Ok(self.charging.edge.append_alone(journal, self.charging.clock.now(), &Beside { desk, ..Beside::default() }))
    }

    /// Makes a batch. Its codes are in memory only, and handed out when all of it is durable.
    fn make_batch(&self, caller: &Caller, new: &NewBatch) -> Result<(Vec<String>, Lsn), OperationError> {
        let _making = self.vault.making.lock();
        let now = self.charging.clock.now();
        if self.needs_another(new.amount, new.currency) {
            let reason = "a voucher of so much could be given by one person alone; make several of less";
            return Err(OperationError::Precondition(reason.to_owned()));
        }
        if new.expires <= now {
            return Err(OperationError::Precondition(format!("expire_time: {} has passed", new.expires)));
        }
        let secret = self.open_vault()?.1;
        match self.batch_named(&new.name)? {
            // Nobody has seen its codes.
            Some((number, batch)) if batch.state == BatchState::Made => self.forget_batch(number)?,
            Some(_) => return Err(OperationError::Voucher(VoucherRefusal::BatchExists)),
            None => {}
        }
        let number = self.make_room(new.count, now)?;
        let mut batch = VoucherBatch {
            name: new.name.clone(),
            tenant: new.tenant,
            state: BatchState::Made,
            count: new.count,
            used: 0,
            amount: new.amount,
            currency: new.currency,
            bucket: new.bucket.clone(),
            origin: new.origin,
            priority: new.priority,
            valid_seconds: new.valid_seconds,
            expires: new.expires,
            made: now,
            made_by: (*caller.name).into(),
            key_check: secret.check(),
        };
        self.write(vec![batch_record(number, &batch)])?;
        let mut random = system_random().map_err(damaged)?;
        let (mut codes, mut waiting) = (Vec::new(), Vec::new());
        let mut new_hashes = std::collections::BTreeSet::new();
        for serial in 1..=new.count {
            let (code, hash) = loop {
                let code = Code::random(&mut random).map_err(damaged)?;
                let hash = secret.hash(&code);
                let taken = self.charging.edge.desk_record(&keys::desk(Drawer::Vouchers, &hash)).is_some();
                if !taken && new_hashes.insert(hash) {
                    break (code, hash);
                }
            };
            codes.push(code.digits());
            waiting.push(voucher_record(&hash, &Voucher { batch: number, serial, fate: Fate::Open }));
            if waiting.len() >= AT_ONCE {
                self.write(std::mem::take(&mut waiting))?;
            }
        }
        batch.state = BatchState::Active;
        waiting.push(batch_record(number, &batch));
        let target = name::batch(&new.name);
        let by = By {
            caller: (*caller.name).into(),
            method: "Vouchers/CreateVouchers",
            target: target.into(),
            key: Box::default(),
            reason: new.reason.clone(),
        };
        let differences = vec![
            difference("count", "", &new.count.to_string()),
            difference("value", "", &format!("{} {}", new.amount, new.currency)),
            difference("expires", "", &new.expires.to_string()),
        ];
        let audit = Some(by.record(now, differences));
        let _opened = self.vault.opened.lock();
        let beside = Beside { desk: waiting, audit, ..Beside::default() };
        Ok((codes, self.charging.edge.append_alone(&self.charging.journal, now, &beside)))
    }

    /// Makes room for so many vouchers, of batches whose time is long over; the number of the next batch.
    fn make_room(&self, count: u32, now: Timestamp) -> Result<u32, OperationError> {
        let batches = self.batches()?;
        let next = batches.last().map_or(0, |(number, _)| *number).saturating_add(1);
        let mut kept = batches.iter().fold(u64::from(count), |sum, (_, batch)| sum + u64::from(batch.count));
        let mut left = batches.len() + 1;
        let over = batches.iter().filter(|(_, batch)| batch.expires.plus_seconds(OVER_KEPT_SECONDS) <= now);
        for (number, batch) in over {
            if kept <= VOUCHERS_MAX && left <= BATCHES_MAX {
                break;
            }
            self.forget_batch(*number)?;
            (kept, left) = (kept - u64::from(batch.count), left - 1);
        }
        if kept > VOUCHERS_MAX || left > BATCHES_MAX {
            let refusal = VoucherRefusal::TooMany(format!(
                "count: there would be {kept} vouchers in {left} batches, and {VOUCHERS_MAX} in {BATCHES_MAX} are kept at most; wait \
                 until batches have been over for 90 days"
            ));
            return Err(OperationError::Voucher(refusal));
        }
        Ok(next)
    }

    fn tries_of(&self, trier: Trier<'_>) -> Result<Option<Tries>, OperationError> {
        let key = keys::desk(Drawer::Tries, trier.name().as_bytes());
        let value = self.charging.edge.desk_record(&key);
        value.map(|value| records::decode_tries(&value).map_err(damaged)).transpose()
    }

    /// Whether too many wrong codes were tried.
    fn check_lock(&self, trier: Trier<'_>, now: Timestamp) -> Result<(), OperationError> {
        match self.tries_of(trier)? {
            Some(Tries { locked_until: until, .. }) if until > now => {
                let seconds = until.seconds_since(now).max(1);
                Err(OperationError::Voucher(VoucherRefusal::Locked { until, seconds }))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a wrong code, in an entry of its own; the last that is allowed locks.
    fn count_wrong(
        &self,
        opened: &mut Opened,
        trier: Trier<'_>,
        hash: CodeHash,
        by: &By,
        now: Timestamp,
    ) -> Result<(), OperationError> {
        let known = self.tries_of(trier)?;
        let is_new = known.is_none();
        let mut tries = known.unwrap_or_default();
        tries.wrong.retain(|(at, _)| at.plus_seconds(WRONG_SECONDS) > now);
        // The same wrong code again is no other guess: whoever asks again for want of an answer loses nothing.
        if tries.wrong.iter().any(|(_, code)| *code == hash) {
            return Ok(());
        }
        let mut desk = Vec::new();
        if is_new {
            let prefix = keys::desk(Drawer::Tries, &[]);
            let count = opened
                .tries
                .unwrap_or_else(|| self.charging.edge.desk_records(&prefix, None, TRIES_MAX.saturating_add(1)).len());
            if count >= TRIES_MAX {
                for (key, value) in self.charging.edge.desk_records(&prefix, None, TRIES_MAX) {
                    let old = records::decode_tries(&value).map_err(damaged)?;
                    let counts =
                        old.locked_until > now || old.wrong.iter().any(|(at, _)| at.plus_seconds(WRONG_SECONDS) > now);
                    if !counts && desk.len() < AT_ONCE {
                        desk.push(DeskRecord::gone(key));
                    }
                }
                if desk.is_empty() {
                    // Whoever cannot be counted must not go on guessing.
                    return Err(OperationError::Refused(Refusal::TooBusy));
                }
            }
            opened.tries = Some(count.saturating_sub(desk.len()).saturating_add(1));
        }
        tries.wrong.push((now, hash));
        let mut audit = None;
        if tries.wrong.len() >= trier.wrong_max() {
            tries = Tries { locked_until: now.plus_seconds(LOCKED_SECONDS), wrong: Vec::new() };
            let locked = format!("locked until {}", tries.locked_until);
            audit = Some(by.record(now, vec![difference("vouchers", "", &locked)]));
        }
        let mut value = Vec::new();
        records::encode_tries(&mut value, &tries);
        desk.push(DeskRecord::there(keys::desk(Drawer::Tries, trier.name().as_bytes()), value));
        let beside = Beside { desk, audit, ..Beside::default() };
        let _ = self.charging.edge.append_alone(&self.charging.journal, now, &beside);
        Ok(())
    }

    /// The voucher with a code that somebody looks up, who may not do that too often in vain.
    fn look_up(
        &self,
        opened: &mut Opened,
        secret: &Secret,
        by: &By,
        trier: Trier<'_>,
        code: &Code,
    ) -> Result<Found, OperationError> {
        let now = self.charging.clock.now();
        self.check_lock(trier, now)?;
        let hash = secret.hash(code);
        if let Some(found) = self.voucher_of(hash)? {
            return Ok(found);
        }
        self.count_wrong(opened, trier, hash, by, now)?;
        Err(OperationError::Voucher(VoucherRefusal::Unknown))
    }

    /// What was looked at is shown, and a refusal said, when it is durable.
    async fn certain<T>(&self, done: Result<T, OperationError>) -> Result<T, OperationError> {
        self.durable(self.charging.journal.appended_lsn()).await?;
        done
    }

    fn block(
        &self,
        caller: &Caller,
        which: &WhichVoucher,
        reason: &str,
    ) -> Result<(VoucherSnapshot, bool), OperationError> {
        let mut by = By {
            caller: (*caller.name).into(),
            method: "Vouchers/BlockVoucher",
            target: Trier::Caller(caller).name().into(),
            key: Box::default(),
            reason: reason.into(),
        };
        // Walking takes a while: what is found is looked at again under the lock.
        let hash = match which {
            WhichVoucher::Code(_) => None,
            WhichVoucher::Serial(batch, serial) => {
                let unknown = || OperationError::Voucher(VoucherRefusal::UnknownBatch);
                let (number, _) = self.batch_named(batch)?.ok_or_else(unknown)?;
                let mut hash = None;
                self.each_of_batch(number, |at, voucher| {
                    hash = hash.or((voucher.serial == *serial).then_some(at));
                    hash.is_none()
                })?;
                Some(hash.ok_or(OperationError::Voucher(VoucherRefusal::Unknown))?)
            }
        };
        let (mut opened, secret) = self.open_vault()?;
        let found = match (which, hash) {
            (WhichVoucher::Code(code), _) => {
                let code = parsed(code)?;
                self.look_up(&mut opened, &secret, &by, Trier::Caller(caller), &code)?
            }
            (WhichVoucher::Serial(..), hash) => {
                let found = hash.map(|hash| self.voucher_of(hash)).transpose()?.flatten();
                found.ok_or(OperationError::Voucher(VoucherRefusal::Unknown))?
            }
        };
        let now = self.charging.clock.now();
        match found.voucher.fate {
            Fate::Used { .. } => Err(OperationError::Voucher(VoucherRefusal::Used)),
            Fate::Blocked { .. } => Ok((found.shown(now), true)),
            Fate::Open => {
                let voucher = Voucher { fate: Fate::Blocked { at: now }, ..found.voucher };
                by.target = found.name().into();
                let audit = Some(by.record(now, vec![difference("state", "active", "blocked")]));
                let beside = Beside { desk: vec![voucher_record(&found.hash, &voucher)], audit, ..Beside::default() };
                let _ = self.charging.edge.append_alone(&self.charging.journal, now, &beside);
                Ok((Found { voucher, ..found }.shown(now), false))
            }
        }
    }

    fn block_whole(&self, caller: &Caller, batch: &str, reason: &str) -> Result<bool, OperationError> {
        let _opened = self.vault.opened.lock();
        let unknown = || OperationError::Voucher(VoucherRefusal::UnknownBatch);
        let (number, mut found) = self.batch_named(batch)?.ok_or_else(unknown)?;
        match found.state {
            BatchState::Blocked => Ok(true),
            // Its vouchers cannot be redeemed, and who makes it may still be at it.
            BatchState::Made => {
                Err(OperationError::Precondition("it is not whole; make it anew, or leave it".to_owned()))
            }
            BatchState::Active => {
                let now = self.charging.clock.now();
                found.state = BatchState::Blocked;
                let by = By {
                    caller: (*caller.name).into(),
                    method: "Vouchers/BlockBatch",
                    target: name::batch(batch).into(),
                    key: Box::default(),
                    reason: reason.into(),
                };
                let audit = Some(by.record(now, vec![difference("state", "active", "blocked")]));
                let beside = Beside { desk: vec![batch_record(number, &found)], audit, ..Beside::default() };
                let _ = self.charging.edge.append_alone(&self.charging.journal, now, &beside);
                Ok(false)
            }
        }
    }

    /// Pays in what a voucher is worth; one entry has all of it.
    fn pay_voucher(
        &self,
        caller: &Caller,
        taker: Taker,
        redemption: &Redemption,
    ) -> Result<(Charged<MutationOutcome>, Found), OperationError> {
        let code = parsed(&redemption.code)?;
        let Taker { account, group, tenant, currency } = taker;
        let target = name::account(tenant, account);
        let mut by = By {
            caller: (*caller.name).into(),
            method: "Vouchers/RedeemVoucher",
            target: target.clone().into(),
            key: redemption.key.as_str().into(),
            reason: Box::default(),
        };
        let (mut opened, secret) = self.open_vault()?;
        let now = self.charging.clock.now();
        let (hash, trier) = (secret.hash(&code), Trier::Account(tenant, account));
        // For another tenant's accounts it is nobody's code.
        let Some(found) = self.voucher_of(hash)?.filter(|found| found.batch.tenant == tenant) else {
            self.check_lock(trier, now)?;
            self.count_wrong(&mut opened, trier, hash, &by, now)?;
            return Err(OperationError::Voucher(VoucherRefusal::Unknown));
        };
        let voucher = found.name();
        let request = redemption.request(&target, &hash, &voucher);
        by.reason = request.reason.clone();
        let (amount, bucket) = (found.batch.amount, found.bucket(now));
        let mutation = Change::TopUp { account, amount, bucket }.asked(request);
        if !self.charging.shards.with(group, |shard| shard.knows(&mutation)) {
            self.check_lock(trier, now)?;
            found.redeemable(now).map_err(OperationError::Voucher)?;
            if found.batch.currency != currency {
                let reason = format!("the voucher is in {}, and the account in {currency}", found.batch.currency);
                return Err(OperationError::Precondition(reason));
            }
        }
        let used = Voucher { fate: Fate::Used { tenant, account, at: now }, ..found.voucher };
        let batch = VoucherBatch { used: found.batch.used.saturating_add(1), ..found.batch.clone() };
        let desk = vec![voucher_record(&hash, &used), batch_record(found.voucher.batch, &batch)];
        let differences = vec![difference(voucher, "active", "used")];
        let noting = Noting { by: Some(&by), desk, differences, ..Noting::default() };
        Ok((self.charging.mutate_with(group, mutation, now, noting), found))
    }

    async fn taker(&self, beneficiary: &Beneficiary) -> Result<Taker, OperationError> {
        let selection = match beneficiary {
            Beneficiary::Account(selection) => selection.clone(),
            Beneficiary::Subscriber(tenant, id) => {
                let found = self.find_subscriber(*tenant, SubscriberSelector::Id(*id)).await?;
                Selection { tenant: *tenant, account: AccountSelector::Id(found.subscriber.account) }
            }
        };
        let found = |_: &Shard, account: &Account| {
            let Account { id, group, tenant, currency, .. } = account;
            Taker { account: *id, group: *group, tenant: *tenant, currency: *currency }
        };
        look(&self.charging, &selection, found)
    }

    /// Lets something that takes long be done where it holds nobody up.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, OperationError> + Send + 'static,
    ) -> Result<T, OperationError> {
        let desk = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&desk)).await.map_err(|_| OperationError::Stopping)?;
        self.certain(done).await
    }
}

fn parsed(code: &str) -> Result<Code, OperationError> {
    Code::parse(code).map_err(|reason| OperationError::Voucher(VoucherRefusal::NoCode(reason)))
}

fn shown_batch(batch: VoucherBatch, now: Timestamp) -> BatchSnapshot {
    let state = standing(&batch, now);
    let VoucherBatch { name, tenant, count, used, amount, currency, bucket, origin, priority, valid_seconds, .. } =
        batch;
    let reason = Box::default();
    let expires = batch.expires;
    let made =
        NewBatch { name, tenant, count, amount, currency, bucket, priority, origin, valid_seconds, expires, reason };
    BatchSnapshot { made, state, used, made_at: batch.made, made_by: batch.made_by }
}

impl VoucherOperations for Desk {
    async fn create_vouchers(&self, caller: Caller, new: NewBatch) -> Result<Vec<String>, OperationError> {
        self.room().await?;
        self.apart(move |desk| desk.make_batch(&caller, &new)).await.map(|(codes, _)| codes)
    }

    async fn voucher_batches(
        &self,
        after: Option<u32>,
        max: usize,
    ) -> Result<Vec<(u32, BatchSnapshot)>, OperationError> {
        let now = self.charging.clock.now();
        let found = self.batches_behind(after, max);
        let found = self.certain(found).await?;
        Ok(found.into_iter().map(|(number, batch)| (number, shown_batch(batch, now))).collect())
    }

    async fn voucher(&self, caller: Caller, code: Box<str>) -> Result<VoucherSnapshot, OperationError> {
        self.apart(move |desk| {
            let code = parsed(&code)?;
            let by = By {
                caller: (*caller.name).into(),
                method: "Vouchers/GetVoucher",
                target: Trier::Caller(&caller).name().into(),
                key: Box::default(),
                reason: Box::default(),
            };
            let (mut opened, secret) = desk.open_vault()?;
            let found = desk.look_up(&mut opened, &secret, &by, Trier::Caller(&caller), &code)?;
            Ok(found.shown(desk.charging.clock.now()))
        })
        .await
    }

    async fn block_batch(&self, caller: Caller, batch: Box<str>, reason: Box<str>) -> Result<bool, OperationError> {
        self.room().await?;
        self.apart(move |desk| desk.block_whole(&caller, &batch, &reason)).await
    }

    async fn block_voucher(
        &self,
        caller: Caller,
        which: WhichVoucher,
        reason: Box<str>,
    ) -> Result<(VoucherSnapshot, bool), OperationError> {
        self.room().await?;
        self.apart(move |desk| desk.block(&caller, &which, &reason)).await
    }

    async fn redeem_voucher(&self, caller: Caller, redemption: Redemption) -> Result<Redeemed, OperationError> {
        let taker = self.taker(&redemption.beneficiary).await?;
        if self.charging.journal.is_saturated() {
            return Err(OperationError::Refused(Refusal::TooBusy));
        }
        let (done, found) = self.apart(move |desk| desk.pay_voucher(&caller, taker, &redemption)).await?;
        let done = self.settled(done).await?;
        if !done.repeated {
            self.charging.telemetry.topup();
            self.money_arrived(taker.group, taker.account);
        }
        Ok(Redeemed {
            balance: done.balance,
            currency: taker.currency,
            amount: found.batch.amount,
            voucher: found.name(),
            cdr_number: done.cdr_number,
            repeated: done.repeated,
        })
    }
}
