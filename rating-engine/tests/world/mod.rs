//! One shard with what a test needs around it: CDRs are placed and kept, and the books are audited after every step.

mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use rating_engine::account::{
    Account, AccountState, Bucket, Contract, Counters, Credit, Flow, Holding, Origin, Reservation, Sponsor, Subscriber,
};
use rating_engine::cdr::{CdrKind, Movement, RatedCdr};
use rating_engine::command::{
    Action, Change, Command, Effects, Mutation, MutationOutcome, Outcome, Profile, Refusal, Request, Write, Writes,
};
use rating_engine::context::Context;
use rating_engine::ids::{
    AccountId, BucketId, CdrPosition, GroupId, IdempotencyKey, Lsn, PriceId, RatingGroup, SessionId, SubscriberId,
    TariffName, TenantId,
};
use rating_engine::money::{Currency, Money, Rate, Rounding};
use rating_engine::period::Cycle;
use rating_engine::refund::{GiveBack, Seen, Unseen};
use rating_engine::rerate::{Charged, Correction, Unpriced};
use rating_engine::selector::Filter;
use rating_engine::session::{GrantState, Session};
use rating_engine::shard::{Image, Limits, Pair, Shard, Transfer, transfer};
use rating_engine::tariff::{Price, Service, ServiceKey, TariffDraft};
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;
use rating_engine::units::Measure;

use watch::Watch;

/// The tariff that every subscriber of a [`World`] has.
pub(crate) const TARIFF: &str = "t";

/// A shard, the tariff in force, and every CDR so far.
pub(crate) struct World {
    pub(crate) shard: Shard,
    pub(crate) tariffs: Tariffs,
    pub(crate) cdrs: Vec<RatedCdr>,
    /// Whether ended sessions leave memory after every step, as many as may.
    pub(crate) archives: bool,
    /// How often one came back.
    pub(crate) recalled: usize,
    stored_accounts: BTreeMap<AccountId, Account>,
    stored_sessions: BTreeMap<SessionId, Session>,
    watch: Watch,
}

impl World {
    pub(crate) fn new(rounding: Rounding, prices: Vec<Price>) -> Self {
        Self::with_limits(rounding, prices, Limits::default())
    }

    pub(crate) fn with_limits(rounding: Rounding, prices: Vec<Price>, limits: Limits) -> Self {
        Self::with_versions(vec![draft(1, rounding, prices)], limits)
    }

    pub(crate) fn with_versions(versions: Vec<TariffDraft>, limits: Limits) -> Self {
        let mut tariffs = Tariffs::default();
        for version in versions {
            tariffs.insert(version.publish().expect("the story's tariff is one"));
        }
        Self {
            shard: Shard::new(limits),
            tariffs,
            cdrs: Vec::new(),
            archives: false,
            recalled: 0,
            stored_accounts: BTreeMap::new(),
            stored_sessions: BTreeMap::new(),
            watch: Watch::default(),
        }
    }

    /// Opens an account and a subscriber of the same number.
    pub(crate) fn open(&mut self, number: u64, buckets: Vec<Bucket>, credit: Option<Money>) {
        self.open_in(GroupId::new(1), number, buckets, credit, None);
    }

    /// The same in another charging group.
    pub(crate) fn open_in(
        &mut self,
        group: GroupId,
        number: u64,
        buckets: Vec<Bucket>,
        credit: Option<Money>,
        cycle: Option<Cycle>,
    ) {
        let account = Account {
            id: AccountId::new(number),
            group,
            tenant: TenantId::default(),
            currency: Currency::EUR,
            state: AccountState::Active,
            credit: credit.map(|limit| Credit { limit, spent: Money::ZERO, reserved: Money::ZERO }),
            debt: Money::ZERO,
            buckets,
            totals: Vec::new(),
            contract: cycle.map(|cycle| Box::new(Contract { cycle: Some(cycle), ..Contract::default() })),
            cdrs: rating_engine::account::CdrTrail::default(),
        };
        let subscriber = Subscriber {
            id: SubscriberId::new(number),
            tenant: TenantId::default(),
            account: AccountId::new(number),
            group,
            tariff: TariffName::new(TARIFF),
            state: AccountState::Active,
            counters: Counters::default(),
            sponsor: None,
        };
        for change in [Change::OpenAccount(Box::new(account)), Change::PutSubscriber(subscriber)] {
            let outcome = self.mutate(change, Timestamp::default());
            assert!(matches!(*outcome, MutationOutcome::Done { .. }), "{outcome:?}");
        }
    }

    /// Makes another subscriber of an account.
    pub(crate) fn join(&mut self, account: u64, number: u64) {
        let owner = self.shard.subscriber(SubscriberId::new(account)).expect("it is there").clone();
        let subscriber = Subscriber { id: SubscriberId::new(number), ..owner };
        let outcome = self.mutate(Change::PutSubscriber(subscriber), Timestamp::default());
        assert!(matches!(*outcome, MutationOutcome::Done { .. }), "{outcome:?}");
    }

    /// Lets another account pay part of what the subscriber of this number uses.
    pub(crate) fn sponsor(&mut self, number: u64, sponsor: Sponsor) {
        let owner = self.shard.subscriber(SubscriberId::new(number)).expect("it is there").clone();
        let subscriber = Subscriber { sponsor: Some(Arc::new(sponsor)), ..owner };
        let outcome = self.mutate(Change::PutSubscriber(subscriber), Timestamp::default());
        assert!(matches!(*outcome, MutationOutcome::Done { .. }), "{outcome:?}");
    }

    /// What would be corrected now, and what could not be priced again.
    pub(crate) fn corrections(&self) -> (Vec<Correction>, Vec<(CdrPosition, Unpriced)>) {
        let mut charged = Charged::default();
        for (position, cdr) in (1..).zip(&self.cdrs) {
            charged.add(CdrPosition::new(position), cdr.clone());
        }
        charged.corrections(&self.tariffs, |_| true)
    }

    /// Rates everything again and corrects what costs something else: by how much, account by account, or why not.
    pub(crate) fn rerate(&mut self, now: Timestamp) -> Vec<(u64, String)> {
        let (corrections, unpriced) = self.corrections();
        let mut said = Vec::new();
        for (position, reason) in unpriced {
            let place = usize::try_from(position.get()).expect("few") - 1;
            said.push((self.cdrs[place].account.get(), reason.to_string()));
        }
        for mut correction in corrections {
            let (account, amount) = (correction.original.account.get(), correction.amount);
            let key = IdempotencyKey::new(&format!("again {} {}", correction.position(), self.cdrs.len()));
            correction.known.given_back = self.account(account).given_back();
            let correct =
                Change::Correct(Box::new(correction)).asked(Request { key, digest: 0, reason: "story".into() });
            match &*self.mutate(correct, now) {
                MutationOutcome::Done { .. } => said.push((account, amount.to_string())),
                MutationOutcome::Refused(refusal) => said.push((account, format!("{refusal:?}"))),
            }
        }
        said
    }

    /// Gives back what is left of the charge of CDR `number`, or `amount` of it, as a person has it done.
    pub(crate) fn give_back(
        &mut self,
        number: usize,
        amount: Option<Money>,
        request: Request,
        now: Timestamp,
    ) -> Arc<MutationOutcome> {
        let back = self.gather(number, amount);
        if back == Err(Unseen::NoCharge) {
            return Arc::new(MutationOutcome::Refused(Refusal::NothingToRefund));
        }
        let back = back.expect("its CDRs are there");
        self.mutate(Change::GiveBack(Box::new(back)).asked(request), now)
    }

    /// What is known of a charge now.
    pub(crate) fn gather(&self, number: usize, amount: Option<Money>) -> Result<GiveBack, Unseen<()>> {
        let position = CdrPosition::new(u64::try_from(number).expect("few"));
        let account = self.shard.account(self.cdrs[number - 1].account).expect("it is there");
        GiveBack::gather(position, amount, (account.cdrs.last, account.given_back()), |position| {
            let place = usize::try_from(position.get()).expect("few");
            Ok(place.checked_sub(1).and_then(|place| self.cdrs.get(place)).map(|cdr| Seen {
                kind: cdr.kind,
                cause: cdr.cause,
                corrects: cdr.corrects,
                account: cdr.account,
                previous: cdr.previous,
                subscriber: cdr.subscriber,
                source: cdr.source.clone(),
                usage_start: cdr.usage_start,
                rated: cdr.rating.as_ref().map(|rating| (rating.slice, rating.used)),
                movements: cdr.movements.clone(),
            }))
        })
    }

    /// A world whose ended sessions are on disk only, whenever that may be.
    pub(crate) fn archiving(rounding: Rounding, prices: Vec<Price>) -> Self {
        let mut world = Self::with_limits(rounding, prices, Limits { ended_sessions_kept: 0, ..Limits::default() });
        world.archives = true;
        world
    }

    pub(crate) fn apply(&mut self, command: Command) -> Effects {
        while let Some(archived) = self.shard.wants(&command).cloned() {
            let session = self.stored_sessions.get(&archived.id).expect("it is stored").clone();
            assert!(self.shard.recall(session, archived.changed));
            self.recalled += 1;
        }
        self.catch_up(&command);
        let mut effects = self.shard.apply(&self.tariffs, command.clone());
        if matches!(*effects.outcome, Outcome::Refused(_)) || effects.repeated {
            assert!(effects.writes.is_empty() && effects.cdrs.is_empty(), "a refusal or repeat changes nothing");
        }
        self.place(&mut effects.cdrs);
        self.keep(&effects.writes);
        // What goes back to a bucket that has ended lapses at once.
        self.catch_up(&command);
        self.archive();
        effects
    }

    fn catch_up_mutation(&mut self, mutation: &Mutation, now: Timestamp) {
        while let Some(mut effects) = self.shard.catch_up_mutation(&self.tariffs, mutation, now) {
            self.place(&mut effects.cdrs);
            self.keep(&effects.writes);
        }
    }

    /// Lets what is due on the command's account happen.
    pub(crate) fn catch_up(&mut self, command: &Command) {
        while let Some(mut effects) = self.shard.catch_up(&self.tariffs, command) {
            self.place(&mut effects.cdrs);
            self.keep(&effects.writes);
        }
    }

    fn archive(&mut self) {
        if self.archives {
            while self.shard.archive(Lsn::default(), 4).more() {}
            assert_eq!(self.shard.ended_sessions(), 0);
        }
    }

    pub(crate) fn mutate(&mut self, mutation: impl Into<Mutation>, now: Timestamp) -> Arc<MutationOutcome> {
        let mutation = mutation.into();
        while let Some(archived) = self.shard.wants_for(&mutation).cloned() {
            let session = self.stored_sessions.get(&archived.id).expect("it is stored").clone();
            assert!(self.shard.recall(session, archived.changed));
            self.recalled += 1;
        }
        self.catch_up_mutation(&mutation, now);
        let mut effects = self.shard.mutate(&self.tariffs, mutation.clone(), now);
        self.place(&mut effects.cdrs);
        self.keep(&effects.writes);
        self.catch_up_mutation(&mutation, now);
        self.archive();
        effects.outcome
    }

    /// Has one account give money to another.
    pub(crate) fn transfer(
        &mut self,
        (from, from_bucket): (AccountId, BucketId),
        (to, to_bucket): (AccountId, Bucket),
        amount: Money,
        request: Request,
        now: Timestamp,
    ) -> Arc<MutationOutcome> {
        for account in [from, to] {
            self.catch_up_mutation(&Change::SetCredit { account, limit: Money::ZERO }.into(), now);
        }
        let asked = Transfer { from, from_bucket, to, to_bucket, amount };
        let mut pair = Pair::One(&mut self.shard);
        let (mut given, mut taken) = transfer(&mut pair, &self.tariffs, asked, request, now);
        for (cdrs, writes) in [(&mut given.cdrs, &given.writes), (&mut taken.cdrs, &taken.writes)] {
            self.place(cdrs);
            self.keep(writes);
        }
        for account in [from, to] {
            self.catch_up_mutation(&Change::SetCredit { account, limit: Money::ZERO }.into(), now);
        }
        given.outcome
    }

    /// Lets everything happen that is due; says which sessions ended and which were forgotten.
    pub(crate) fn expire(&mut self, now: Timestamp) -> (Vec<SessionId>, Vec<SessionId>) {
        let (mut ended, mut forgotten) = (Vec::new(), Vec::new());
        while let Some(mut effects) = self.shard.expire(&self.tariffs, now) {
            for cdr in &effects.cdrs {
                if let rating_engine::cdr::CdrSource::Network { session, .. } = &cdr.source {
                    ended.push(session.clone());
                }
            }
            forgotten.extend(effects.forgotten.iter().map(|(id, _)| id.clone()));
            self.place(&mut effects.cdrs);
            self.keep(&effects.writes);
            self.archive();
        }
        (ended, forgotten)
    }

    fn place(&mut self, cdrs: &mut [RatedCdr]) {
        let first = u64::try_from(self.cdrs.len()).expect("few") + 1;
        self.shard.book(&self.tariffs, cdrs);
        self.shard.place_cdrs(cdrs, CdrPosition::new(first));
        self.cdrs.extend_from_slice(cdrs);
        self.watch.follow(&self.shard, &self.tariffs, &self.cdrs, cdrs.len());
    }

    pub(crate) fn account(&self, number: u64) -> &Account {
        self.shard.account(AccountId::new(number)).expect("the account is open")
    }

    pub(crate) fn cdrs_of(&self, number: u64) -> impl Iterator<Item = &RatedCdr> {
        self.cdrs.iter().filter(move |cdr| cdr.account == AccountId::new(number))
    }

    /// The invariants of design section 6 on everything here; says the first that does not hold.
    pub(crate) fn audit(&self) -> Result<(), String> {
        for account in self.shard.accounts() {
            if let Err((holding, expected, there)) = account.proof() {
                return Err(format!("account {}: {holding:?} should be {expected} but is {there}", account.id));
            }
            if account.debt < Money::ZERO {
                return Err(format!("account {} is owed {}", account.id, account.debt));
            }
            self.audit_reserved(account)?;
            self.audit_cdrs(account)?;
            self.watch.audit(account, &self.tariffs)?;
        }
        let open = self.shard.sessions().filter(|session| session.is_open()).count();
        if open != self.shard.open_sessions() {
            return Err(format!("{open} sessions are open, {} are counted", self.shard.open_sessions()));
        }
        audit_waiting(&self.shard)
    }

    fn audit_reserved(&self, account: &Account) -> Result<(), String> {
        let held = |session: &Session| -> Vec<Reservation> {
            let grants = session.services.iter().filter_map(|service| service.grant.clone());
            let sponsor = session.sponsor.as_ref().map(|sponsor| sponsor.account);
            let own = |grant: GrantState| (session.account == account.id).then_some(grant.reservation);
            let other = |grant: GrantState| grant.sponsored.filter(|_| sponsor == Some(account.id)).map(|held| *held);
            grants.clone().filter_map(own).chain(grants.filter_map(other)).collect()
        };
        let grants: Vec<Reservation> = self.shard.sessions().flat_map(held).collect();
        for bucket in &account.buckets {
            let named = grants.iter().flat_map(|reservation| &reservation.buckets);
            let held: i64 = named.filter(|(id, _)| *id == bucket.id).map(|(_, amount)| *amount).sum();
            if held != bucket.reserved {
                return Err(format!("bucket {}: sessions hold {held}, reserved says {}", bucket.id, bucket.reserved));
            }
        }
        let held = grants.iter().fold(Money::ZERO, |sum, grant| sum.saturating_add(grant.credit));
        if held != account.credit.map_or(Money::ZERO, |credit| credit.reserved) {
            return Err(format!("credit line: sessions hold {held}, reserved says something else"));
        }
        Ok(())
    }

    fn audit_cdrs(&self, account: &Account) -> Result<(), String> {
        let mut previous = CdrPosition::default();
        let mut number = 0;
        let mut moved: Vec<&Movement> = Vec::new();
        let mut flows: BTreeMap<(Holding, Flow), i128> = BTreeMap::new();
        for (index, cdr) in self.cdrs.iter().enumerate().filter(|(_, cdr)| cdr.account == account.id) {
            number += 1;
            if (cdr.number, cdr.previous) != (number, previous) {
                return Err(format!("CDR {number} of account {} is not in the walk", account.id));
            }
            previous = CdrPosition::new(u64::try_from(index).expect("few") + 1);
            let money = cdr.movements.iter().filter(|movement| movement.holding == Holding::Money);
            let money: i128 = money.map(|movement| i128::from(movement.delta)).sum();
            if money != -i128::from(cdr.amount.micros()) {
                return Err(format!("CDR {number}: amount {} but {money} micro-units moved", cdr.amount));
            }
            if matches!(cdr.kind, CdrKind::Suspense | CdrKind::Lapse) && !cdr.movements.is_empty() {
                return Err(format!("CDR {number}: {:?} with movements", cdr.kind));
            }
            for movement in &cdr.movements {
                let flow = match (cdr.kind, movement.origin) {
                    (CdrKind::TopUp, _) if movement.delta < 0 => Flow::Expiry,
                    (CdrKind::TopUp, Origin::Paid) => Flow::TopUp,
                    (CdrKind::TopUp, Origin::Granted) => Flow::Grant,
                    (CdrKind::Refund, _) => Flow::Refund,
                    (CdrKind::ReRate, _) if movement.delta > 0 => Flow::Refund,
                    (CdrKind::Allowance, _) => Flow::Grant,
                    (CdrKind::Expiry, _) => Flow::Expiry,
                    (CdrKind::Adjustment, _) if movement.delta < 0 => Flow::AdjustmentOut,
                    (CdrKind::Adjustment, _) => Flow::AdjustmentIn,
                    (CdrKind::Transfer, _) if movement.delta < 0 => Flow::TransferOut,
                    (CdrKind::Transfer, _) => Flow::TransferIn,
                    (
                        CdrKind::Usage
                        | CdrKind::Suspense
                        | CdrKind::Lapse
                        | CdrKind::Recurring
                        | CdrKind::OneTime
                        | CdrKind::ReRate,
                        _,
                    ) => Flow::Debit,
                };
                let sign = if flow.is_outflow() { -1 } else { 1 };
                *flows.entry((movement.holding, flow)).or_insert(0) += sign * i128::from(movement.delta);
            }
            moved.extend(&cdr.movements);
        }
        for ((holding, flow), sum) in flows {
            if sum != i128::from(account.total(holding, flow)) {
                return Err(format!(
                    "{flow:?} of {holding:?}: CDRs say {sum}, totals {}",
                    account.total(holding, flow)
                ));
            }
        }
        if (account.cdrs.count, account.cdrs.last) != (number, previous) {
            return Err(format!("account {} knows {} CDRs, there are {number}", account.id, account.cdrs.count));
        }
        for (holding, there) in account.closing() {
            let opening = i128::from(account.total(holding, Flow::Opening));
            let change: i128 =
                moved.iter().filter(|movement| movement.holding == holding).map(|it| i128::from(it.delta)).sum();
            if opening + change != there {
                return Err(format!("{holding:?}: opened with {opening}, CDRs moved {change}, there is {there}"));
            }
        }
        Ok(())
    }

    /// Everything that a repeat or a refusal must leave alone.
    pub(crate) fn image(&self) -> (Vec<Account>, Vec<Session>, usize) {
        let (accounts, mut sessions) = image_of(&self.shard);
        for archived in self.shard.all_archived() {
            sessions.push(self.stored_sessions.get(&archived.id).expect("it is stored").clone());
        }
        sessions.sort_by(|a, b| a.id.cmp(&b.id));
        (accounts, sessions, self.cdrs.len())
    }

    /// The accounts and sessions of a shard that was loaded from what every step said must be stored.
    pub(crate) fn replayed(&self) -> (Vec<Account>, Vec<Session>, usize) {
        let mut shard = Shard::new(Limits::default());
        for account in self.stored_accounts.values() {
            shard.load(Image::Account(account.clone()), Lsn::new(1));
        }
        for session in self.stored_sessions.values() {
            shard.load(Image::Session(Box::new(session.clone())), Lsn::new(1));
        }
        shard.rebuild(Timestamp::default(), Lsn::new(1));
        audit_waiting(&shard).expect("the rebuilt shard");
        let (accounts, sessions) = image_of(&shard);
        (accounts, sessions, self.cdrs.len())
    }

    /// Keeps the after-images of what `writes` name, as a store would.
    fn keep(&mut self, writes: &Writes) {
        for write in writes {
            match write {
                Write::Account(id) => {
                    let account = self.shard.account(*id).expect("it was written");
                    self.stored_accounts.insert(*id, account.clone());
                }
                Write::Session(id, _) => {
                    let session = self.shard.session(id).expect("it was written");
                    self.stored_sessions.insert(id.clone(), session.clone());
                }
                Write::SessionGone(id, ..) => {
                    self.stored_sessions.remove(id);
                }
                Write::Subscriber(_) | Write::Mutation(_) | Write::MutationGone(..) => {}
            }
        }
    }
}

/// Who pays finds exactly the sessions that wait for money.
fn audit_waiting(shard: &Shard) -> Result<(), String> {
    for account in shard.accounts() {
        let pays = |session: &&Session| {
            session.account == account.id || session.sponsor.as_ref().is_some_and(|it| it.account == account.id)
        };
        let waits = |session: &&Session| session.is_open() && session.services.iter().any(|service| service.waiting);
        let mut all: Vec<_> = shard.sessions().filter(pays).filter(waits).map(|session| &session.id).collect();
        all.sort();
        let found: Vec<_> = shard.waiting(account.id).map(|session| &session.id).collect();
        if all != found {
            return Err(format!("for money of account {} wait {all:?}, found are {found:?}", account.id));
        }
    }
    Ok(())
}

fn image_of(shard: &Shard) -> (Vec<Account>, Vec<Session>) {
    let mut accounts: Vec<_> = shard.accounts().cloned().collect();
    accounts.sort_by_key(|account| account.id);
    let mut sessions: Vec<_> = shard.sessions().cloned().collect();
    sessions.sort_by(|a, b| a.id.cmp(&b.id));
    (accounts, sessions)
}

/// A version of the tariff that every subscriber has.
pub(crate) fn draft(version: u32, rounding: Rounding, prices: Vec<Price>) -> TariffDraft {
    TariffDraft::new(TariffName::new(TARIFF), version, Currency::EUR, rounding, prices, [0; 32])
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

pub(crate) fn money(text: &str) -> Money {
    text.parse().expect("an amount")
}

pub(crate) fn rating_group(number: u32) -> ServiceKey {
    ServiceKey { rating_group: Some(RatingGroup::new(number)), services: Box::default() }
}

pub(crate) fn bucket(id: &str, holding: Holding, balance: i64) -> Bucket {
    Bucket {
        id: BucketId::new(id),
        holding,
        origin: Origin::Paid,
        balance,
        reserved: 0,
        priority: 10,
        valid_from: Timestamp::from_seconds(0),
        valid_to: Timestamp::NEVER,
        scope: None,
        terms: None,
    }
}

/// A plain price; tests change what they are about.
pub(crate) fn price(id: &str, group: Option<u32>, measure: Measure, rate: Rate) -> Price {
    let filter = Filter { rating_group: group.map(RatingGroup::new), ..Filter::default() };
    Price::flat(PriceId::new(id), filter, measure, rate)
}

/// What makes a mutation known again.
pub(crate) fn request(key: &str, digest: u64) -> Request {
    Request { key: IdempotencyKey::new(key), digest, reason: "test".into() }
}

/// A request of the subscriber with this number; its digest is over the action.
pub(crate) fn command(seconds: i64, subscriber: u64, session: &str, number: u32, action: Action) -> Command {
    Command {
        now: at(seconds),
        event_time: None,
        session: SessionId::new(session.as_bytes()),
        number,
        digest: digest(&format!("{action:?}")),
        client_state: 0,
        subscriber: SubscriberId::new(subscriber),
        profile: Profile::STANDARD,
        command_level: false,
        context: Context {
            service: Service::Data,
            service_context: "32251@3gpp.org".into(),
            client_host: "pgw".into(),
            client_realm: "net".into(),
            identifiers: Vec::new(),
            equipment: None,
            correlation: None,
            packet: None,
            ims: None,
            sms: None,
        },
        action,
    }
}

pub(crate) fn top_up(account: u64, bucket: Bucket, amount: Money, key: &str) -> Mutation {
    let digest = digest(&format!("{bucket:?}{amount}"));
    Change::TopUp { account: AccountId::new(account), amount, bucket }.asked(request(key, digest))
}

/// FNV-1a.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, octet| (sum ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3))
}
