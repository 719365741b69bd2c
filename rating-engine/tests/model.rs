//! A second, deliberately naive rating engine, written from the rating rules, and random command sequences that both must
//! answer alike: grants, denials, finality, validity, balances, what is held, and every charge.
//!
//! The model keeps every used unit of a session in a list, prices the whole session anew with each report, holds pulse
//! by pulse, and adds up what is held from the sessions whenever it asks. Amounts are whole 420ths of a micro-unit, which
//! is exact for the rates used here.
//!
//! `CAMPAIGN_CASES` sequences (300) are told from `CAMPAIGN_SEED` on; a failure prints its seed and its steps.
#![expect(clippy::expect_used, clippy::panic, reason = "a model that disagrees is a failed test")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rating_engine::account::{AccountState, Bucket, BucketScope, Holding};
use rating_engine::cdr::CdrKind;
use rating_engine::command::{
    Action, Change, Command, Denial, Outcome, Requested, ServiceRequest, ServiceResult, Used,
};
use rating_engine::ids::{AccountId, BucketId, RatingGroup};
use rating_engine::money::{Money, Rate, Rounding, RoundingMode, RoundingScope};
use rating_engine::tariff::{PerWindow, Price, Pulse, Tier, Tiers};
use rating_engine::time::Timestamp;
use rating_engine::units::{Measure, Unit, Units};

use world::{World, at, bucket, command, price, rating_group, top_up};

/// Steps of one sequence.
const STEPS: u32 = 40;
/// Parts of a micro-unit that the model counts in; every `per` of a rate divides it.
const PARTS: i128 = 420;
/// A validity that never ends, in seconds.
const NEVER: i64 = i64::MAX / 1000;

// --- The model ---

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Money,
    Seconds,
    Octets,
    Events,
}

#[derive(Clone, Debug)]
struct ModelTier {
    up_to: Option<u64>,
    micros: u64,
    per: u64,
}

#[derive(Clone, Debug)]
struct ModelPrice {
    group: u32,
    kind: Kind,
    first: u64,
    next: u64,
    tiers: Vec<ModelTier>,
    fee: i128,
    fee_when_bundled: bool,
    min: Option<i128>,
    max: Option<i128>,
    zero_rated: bool,
    validity: i64,
}

#[derive(Clone, Copy, Debug)]
struct ModelRounding {
    decimals: u32,
    mode: RoundingMode,
    scope: RoundingScope,
}

#[derive(Clone, Debug)]
struct ModelBucket {
    id: String,
    kind: Kind,
    balance: i128,
    priority: u16,
    from: i64,
    to: i64,
    groups: Vec<u32>,
}

#[derive(Clone, Debug, Default)]
struct ModelAccount {
    buckets: Vec<ModelBucket>,
    limit: Option<i128>,
    spent: i128,
    debt: i128,
    suspended: bool,
    /// When it is looked for buckets that have ended.
    looked_at: i64,
}

#[derive(Clone, Debug)]
struct ModelGrant {
    message: u64,
    holds: Vec<(String, i128)>,
    validity: i64,
}

/// Everything a service used, unit by unit: `true` where a unit bucket paid. Seconds are rated seconds.
#[derive(Clone, Debug, Default)]
struct ModelService {
    group: u32,
    used: u64,
    paid_by_bundle: Vec<bool>,
    charged: i128,
    grant: Option<ModelGrant>,
    since: i64,
    /// When its first second began, or would have without pauses.
    answered: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    Stopped(i64),
    Expired(i64),
}

#[derive(Clone, Debug)]
struct ModelSession {
    account: usize,
    services: Vec<ModelService>,
    opened: i64,
    heard: i64,
    life: Life,
}

#[derive(Clone, Debug)]
struct Model {
    rounding: ModelRounding,
    prices: Vec<ModelPrice>,
    accounts: Vec<ModelAccount>,
    sessions: BTreeMap<String, ModelSession>,
    charges: Vec<i128>,
    /// Messages served: what is only reported beside a grant of the same message does not end it.
    message: u64,
}

/// What one service of one message reports and wants.
#[derive(Clone, Debug)]
struct Ask {
    group: u32,
    used: Option<u64>,
    want: Option<u64>,
}

impl ModelPrice {
    /// R05, pulse after pulse.
    fn rated(&self, quantity: u64) -> u64 {
        let mut rated = 0;
        while rated < quantity {
            rated += if rated == 0 { self.first } else { self.next };
        }
        rated
    }

    /// R09: the tier of one rated unit.
    fn tier(&self, unit: u64) -> usize {
        self.tiers.iter().position(|tier| tier.up_to.is_none_or(|end| unit < end)).expect("the last tier has no end")
    }

    /// What one rated unit costs.
    fn unit_cost(&self, unit: u64) -> i128 {
        let tier = &self.tiers[self.tier(unit)];
        i128::from(tier.micros) * PARTS / i128::from(tier.per)
    }

    fn cost(&self, from: u64, quantity: u64) -> i128 {
        (from..from + quantity).map(|unit| self.unit_cost(unit)).sum()
    }
}

impl ModelRounding {
    /// R03, for amounts that are not negative; in micro-units.
    fn round(self, parts: i128) -> i128 {
        let decimals = if self.scope == RoundingScope::Bill { 6 } else { self.decimals };
        let mode = if self.scope == RoundingScope::Bill { RoundingMode::HalfUp } else { self.mode };
        let step = 10i128.pow(6 - decimals);
        let (steps, rest) = (parts / (step * PARTS), parts % (step * PARTS));
        let up = match mode {
            RoundingMode::Up => rest > 0,
            RoundingMode::Down => false,
            RoundingMode::HalfUp => 2 * rest >= step * PARTS,
            RoundingMode::HalfEven => 2 * rest > step * PARTS || (2 * rest == step * PARTS && steps % 2 == 1),
        };
        (steps + i128::from(up)) * step
    }
}

impl ModelService {
    /// R02 to R09: what everything used so far costs.
    fn charge(&self, price: &ModelPrice, rounding: ModelRounding) -> i128 {
        let by_money = u64::try_from(self.paid_by_bundle.iter().filter(|bundle| !**bundle).count()).expect("few");
        let mut lines = vec![0; price.tiers.len() + 1];
        if price.kind == Kind::Seconds {
            for (unit, _) in (0..).zip(&self.paid_by_bundle).filter(|(_, bundle)| !**bundle) {
                lines[price.tier(unit)] += price.unit_cost(unit);
            }
        } else {
            for unit in 0..price.rated(by_money) {
                lines[price.tier(unit)] += price.unit_cost(unit);
            }
        }
        let bundled =
            (0..price.first).zip(&self.paid_by_bundle).all(|(_, bundle)| *bundle) && !self.paid_by_bundle.is_empty();
        if !self.paid_by_bundle.is_empty() && (!bundled || price.fee_when_bundled) {
            lines[price.tiers.len()] = price.fee * PARTS;
        }
        let sum: i128 = match rounding.scope {
            RoundingScope::Line => lines.into_iter().map(|line| rounding.round(line)).sum(),
            RoundingScope::Event | RoundingScope::Bill => rounding.round(lines.into_iter().sum()),
        };
        if sum == 0 {
            return 0;
        }
        let sum = price.min.map_or(sum, |least| sum.max(least));
        price.max.map_or(sum, |most| sum.min(most))
    }
}

impl ModelSession {
    fn deadline(&self) -> i64 {
        let grants = self.services.iter().filter_map(|service| service.grant.as_ref());
        let validity = grants.map(|grant| grant.validity).max().unwrap_or(1800);
        self.heard + 2 * validity.max(30)
    }
}

impl Model {
    fn price(&self, group: u32) -> Option<ModelPrice> {
        self.prices.iter().find(|price| price.group == group).cloned()
    }

    /// What open sessions hold of one bucket, or of the credit line.
    fn reserved(&self, account: usize, id: &str) -> i128 {
        let sessions = self.sessions.values().filter(|session| session.account == account);
        let grants = sessions.flat_map(|session| &session.services).filter_map(|service| service.grant.as_ref());
        grants.flat_map(|grant| &grant.holds).filter(|(held, _)| held == id).map(|(_, amount)| *amount).sum()
    }

    /// R17: the buckets of one kind that pay, in order, with what is free in each.
    fn payers(&self, account: usize, kind: Kind, group: u32, when: i64) -> Vec<(String, i128)> {
        let mut buckets: Vec<&ModelBucket> = self.accounts[account]
            .buckets
            .iter()
            .filter(|it| it.kind == kind && it.from <= when && when < it.to)
            .filter(|it| it.groups.is_empty() || it.groups.contains(&group))
            .collect();
        buckets.sort_by(|a, b| (a.priority, a.to, a.id.as_bytes()).cmp(&(b.priority, b.to, b.id.as_bytes())));
        buckets.into_iter().map(|it| (it.id.clone(), it.balance - self.reserved(account, &it.id))).collect()
    }

    /// R17, R26: money buckets, then credit.
    fn purses(&self, account: usize, group: u32, when: i64) -> Vec<(String, i128)> {
        let mut purses = self.payers(account, Kind::Money, group, when);
        let owner = &self.accounts[account];
        if let Some(limit) = owner.limit {
            purses.push(("credit".to_owned(), limit - owner.spent - self.reserved(account, "credit")));
        }
        purses
    }

    /// R22, R23: what may be promised: the first of what is free is for what is owed.
    fn free_purses(&self, account: usize, group: u32, when: i64) -> Vec<(String, i128)> {
        let owner = &self.accounts[account];
        let mut owed = owner.debt;
        for it in owner.buckets.iter().filter(|it| it.kind == Kind::Money) {
            owed += (self.reserved(account, &it.id) - it.balance).max(0);
        }
        owed += owner.limit.map_or(0, |limit| (owner.spent + self.reserved(account, "credit") - limit).max(0));
        let mut purses = self.purses(account, group, when);
        for (_, free) in &mut purses {
            let aside = owed.min((*free).max(0));
            owed -= aside;
            *free -= aside;
        }
        purses
    }

    fn take(&mut self, account: usize, id: &str, amount: i128) {
        let owner = &mut self.accounts[account];
        match id {
            "credit" => owner.spent += amount,
            "debt" => owner.debt += amount,
            _ => owner.buckets.iter_mut().find(|it| it.id == id).expect("it paid").balance -= amount,
        }
    }

    /// Uses `quantity` more: buckets in order, the rest priced, the shortfall to the last purse (R23).
    fn use_up(
        &mut self,
        account: usize,
        service: &mut ModelService,
        price: &ModelPrice,
        quantity: u64,
        when: i64,
    ) -> i128 {
        service.used += quantity;
        if price.zero_rated {
            return 0;
        }
        if price.kind != Kind::Seconds {
            return self.pay(account, service, price, quantity, when);
        }
        // R12, R41: seconds are laid end to end from the first, and each pulse is paid at the instant it starts.
        let before = i64::try_from(service.used - quantity).expect("small");
        let first = *service.answered.get_or_insert(when - before);
        let mut amount = 0;
        let mut rated = u64::try_from(service.paid_by_bundle.len()).expect("few");
        while rated < service.used {
            let pulse = if rated == 0 { price.first } else { price.next };
            let into = i64::try_from(rated).expect("small");
            amount += self.pay(account, service, price, pulse, first + into);
            rated += pulse;
        }
        amount
    }

    /// Pays for so many units at one instant.
    fn pay(&mut self, account: usize, service: &mut ModelService, price: &ModelPrice, units: u64, when: i64) -> i128 {
        let mut to_pay = units;
        for (id, free) in self.payers(account, price.kind, service.group, when) {
            let taken = u64::try_from(free.max(0)).expect("fits").min(to_pay);
            self.take(account, &id, taken.into());
            service.paid_by_bundle.extend((0..taken).map(|_| true));
            to_pay -= taken;
        }
        service.paid_by_bundle.extend((0..to_pay).map(|_| false));
        let amount = (service.charge(price, self.rounding) - service.charged).max(0);
        service.charged += amount;
        let mut left = amount;
        let purses = self.purses(account, service.group, when);
        for (id, free) in &purses {
            let taken = left.min((*free).max(0));
            self.take(account, id, taken);
            left -= taken;
        }
        let last = purses.last().map_or("debt", |(id, _)| id);
        self.take(account, last, left);
        amount
    }

    /// R22: unit buckets unit by unit, then money pulse by pulse; what is free needs no purse.
    fn afford(
        &self,
        account: usize,
        service: &ModelService,
        price: &ModelPrice,
        want: u64,
        when: i64,
    ) -> (u64, Vec<(String, i128)>) {
        let mut holds = Vec::new();
        if price.zero_rated {
            return (want, holds);
        }
        let mut left = want;
        for (id, free) in self.payers(account, price.kind, service.group, when) {
            let held = u64::try_from(free.max(0)).expect("fits").min(left);
            if held > 0 {
                holds.push((id, held.into()));
                left -= held;
            }
        }
        let by_money = u64::try_from(service.paid_by_bundle.iter().filter(|bundle| !**bundle).count()).expect("few");
        let mut reached = match price.kind {
            Kind::Seconds => u64::try_from(service.paid_by_bundle.len()).expect("few") + want - left,
            Kind::Octets | Kind::Events | Kind::Money => price.rated(by_money),
        };
        // R08: beyond the most that is taken, everything is free.
        let mut room = price.max.map(|most| (most - service.charged).max(0));
        let mut pulse = price.first;
        while left > 0 && (room == Some(0) || price.cost(reached, pulse) == 0) {
            left = left.saturating_sub(pulse);
            reached += pulse;
            pulse = price.next;
        }
        for (id, free) in self.free_purses(account, service.group, when) {
            let (mut exact, mut hold, mut any) = (0, 0, false);
            while left > 0 {
                let next = exact + price.cost(reached, pulse);
                let micros = (next + PARTS - 1) / PARTS;
                let micros = room.map_or(micros, |room| micros.min(room));
                if free <= 0 || micros > free {
                    break;
                }
                (exact, hold, any) = (next, micros, true);
                left = left.saturating_sub(pulse);
                reached += pulse;
                pulse = price.next;
            }
            if any {
                holds.push((id, hold));
                room = room.map(|room| room - hold);
            }
        }
        (want - left, holds)
    }

    fn serve(&mut self, name: &str, ask: &Ask, now: i64, may_grant: bool) -> String {
        let account = self.sessions[name].account;
        let services = &mut self.sessions.get_mut(name).expect("open").services;
        let is_new = services.iter().all(|service| service.group != ask.group);
        let place = services.iter().position(|service| service.group == ask.group).unwrap_or_else(|| {
            services.push(ModelService { group: ask.group, since: now, ..ModelService::default() });
            services.len() - 1
        });
        // R23: the session's own hold is dropped first.
        let dropped = services[place].grant.take();
        let had_grant = dropped.is_some();
        let mut service = services[place].clone();
        let price = self.price(ask.group);
        let mut denied = None;
        let elapsed = now - self.sessions[name].opened;
        if let Some(used) = ask.used {
            let seconds = price.as_ref().is_some_and(|price| price.kind == Kind::Seconds);
            match &price {
                _ if used == 0 => {}
                // More seconds than there were since the session was opened, and 300.
                Some(_) if seconds && i64::try_from(service.used + used).expect("few") > elapsed + 300 => {
                    denied = Some("suspect");
                }
                Some(price) => {
                    let since = service.since;
                    let amount = self.use_up(account, &mut service, price, used, since);
                    self.charges.push(amount);
                }
                None => denied = Some("denied RatingFailed"),
            }
            service.since = now;
        }
        let answer = match (denied, ask.want, &price) {
            (Some(denied), ..) => denied.to_owned(),
            (None, Some(_), _) if may_grant && self.accounts[account].suspended => "denied ServiceDenied".to_owned(),
            (None, Some(want), price) if may_grant => {
                if !had_grant {
                    (service.since, service.answered) = (now, None);
                }
                match price {
                    None => "denied RatingFailed".to_owned(),
                    Some(price) => self.grant(account, &mut service, price, want, now),
                }
            }
            (None, _, _) => "settled".to_owned(),
        };
        if ask.want.is_none()
            && may_grant
            && let Some(mut grant) = dropped.filter(|grant| grant.message == self.message)
        {
            for (id, held) in &mut grant.holds {
                let owner = &self.accounts[account];
                let there = match owner.buckets.iter().find(|it| it.id == *id) {
                    Some(bucket) => bucket.balance,
                    None => owner.limit.expect("credit") - owner.spent,
                };
                *held = (*held).min((there - self.reserved(account, id)).max(0));
            }
            service.grant = Some(grant);
        }
        let services = &mut self.sessions.get_mut(name).expect("open").services;
        if service.grant.is_none() && service.used == 0 && answer != "denied CreditLimitReached" && is_new {
            services.pop();
        } else {
            services[place] = service;
        }
        answer
    }

    fn grant(&self, account: usize, service: &mut ModelService, price: &ModelPrice, want: u64, now: i64) -> String {
        let (quantity, holds) = self.afford(account, service, price, want, now);
        if quantity == 0 {
            return "denied CreditLimitReached".to_owned();
        }
        let end = |id: &String| self.accounts[account].buckets.iter().find(|it| it.id == *id).map(|it| it.to);
        let ends = holds.iter().filter_map(|(id, _)| end(id)).filter(|end| *end != NEVER).min();
        let buckets = self.accounts[account].buckets.iter().filter(|it| it.from > now && it.balance > 0);
        let buckets = buckets.filter(|it| it.kind == price.kind || it.kind == Kind::Money);
        let buckets = buckets.filter(|it| it.groups.is_empty() || it.groups.contains(&service.group));
        let begins = buckets.map(|it| it.from).min().filter(|_| !price.zero_rated);
        let edges = ends.into_iter().chain(begins).min();
        let validity = edges.map_or(price.validity, |edge| price.validity.min((edge - now).max(1)));
        service.grant = Some(ModelGrant { message: self.message, holds, validity });
        format!("granted {quantity} valid {validity}{}", if quantity < want { " final" } else { "" })
    }

    fn start(&mut self, account: usize, name: &str, asks: &[Ask], now: i64) -> String {
        if self.accounts[account].suspended {
            return "refused ServiceDenied".to_owned();
        }
        self.sessions.insert(
            name.to_owned(),
            ModelSession { account, services: Vec::new(), opened: now, heard: now, life: Life::Open },
        );
        self.serve_all(name, asks, now, true)
    }

    fn go_on(&mut self, name: &str, asks: &[Ask], now: i64, stops: bool) -> String {
        let life = self.sessions.get(name).map(|session| session.life);
        match life {
            None => return "refused UnknownSession".to_owned(),
            Some(Life::Stopped(_)) if stops => return "refused UnknownSession".to_owned(),
            Some(_) => {}
        }
        let open = life == Some(Life::Open);
        self.sessions.get_mut(name).expect("known").heard = now;
        let mut answer = self.serve_all(name, asks, now, open && !stops);
        let session = self.sessions.get_mut(name).expect("known");
        if stops {
            session.services.iter_mut().for_each(|service| service.grant = None);
            session.life = Life::Stopped(now + 600);
        } else if !open {
            answer.push_str(" gone");
        }
        answer
    }

    fn serve_all(&mut self, name: &str, asks: &[Ask], now: i64, may_grant: bool) -> String {
        self.message += 1;
        let answers: Vec<String> = asks.iter().map(|ask| self.serve(name, ask, now, may_grant)).collect();
        answers.join("; ")
    }

    /// R21: on a copy, so that a refusal leaves nothing behind.
    fn debit(&mut self, account: usize, asks: &[Ask], now: i64) -> String {
        if self.accounts[account].suspended {
            return "refused ServiceDenied".to_owned();
        }
        let before = self.clone();
        for ask in asks {
            let Some(price) = self.price(ask.group) else {
                *self = before;
                return "refused RatingFailed".to_owned();
            };
            let purses = self.free_purses(account, ask.group, now);
            let free: i128 = purses.iter().map(|(_, free)| (*free).max(0)).sum();
            let mut service = ModelService { group: ask.group, ..ModelService::default() };
            let amount = self.use_up(account, &mut service, &price, ask.want.expect("an event's units"), now);
            if amount > 0 && amount > free {
                *self = before;
                return "refused CreditLimitReached".to_owned();
            }
            self.charges.push(amount);
        }
        let answers: Vec<String> =
            asks.iter().map(|ask| format!("granted {} valid 0", ask.want.expect("given"))).collect();
        answers.join("; ")
    }

    fn expire(&mut self, now: i64) {
        // In the order of their time, accounts before sessions: what a session gives back can lapse when it has.
        loop {
            let accounts = (0..self.accounts.len()).map(|account| (self.accounts[account].looked_at, account, None));
            let sessions = self.sessions.iter().filter(|(_, session)| session.life == Life::Open);
            let sessions = sessions.map(|(name, session)| (session.deadline(), usize::MAX, Some(name.clone())));
            let next = accounts.chain(sessions).filter(|(time, ..)| *time <= now).min();
            match next {
                None => break,
                Some((_, account, None)) => self.lapse(account, now),
                Some((_, _, Some(name))) => {
                    let session = self.sessions.get_mut(&name).expect("it is there");
                    session.services.iter_mut().for_each(|service| service.grant = None);
                    session.life = Life::Expired(now + 3600);
                }
            }
        }
        self.sessions.retain(|_, session| match session.life {
            Life::Open => true,
            Life::Stopped(until) | Life::Expired(until) => now < until,
        });
    }

    /// What is in a bucket lapses an hour after its end; what sessions hold then is looked at again an hour later.
    fn lapse(&mut self, account: usize, now: i64) {
        if self.accounts[account].looked_at > now {
            return;
        }
        let mut next = NEVER;
        for place in 0..self.accounts[account].buckets.len() {
            let it = &self.accounts[account].buckets[place];
            if it.to == NEVER || it.balance <= 0 {
                continue;
            }
            if it.to + 3600 > now {
                next = next.min(it.to + 3600);
                continue;
            }
            let held = self.reserved(account, &it.id);
            if held > 0 {
                next = next.min(now + 3600);
            }
            let it = &mut self.accounts[account].buckets[place];
            it.balance = it.balance.min(held);
        }
        self.accounts[account].looked_at = next;
    }

    /// After a change of the account everything is looked at anew, and what is due then lapses.
    fn look_again(&mut self, account: usize, now: i64) {
        let ends = self.accounts[account].buckets.iter().filter(|it| it.to != NEVER && it.balance > 0);
        self.accounts[account].looked_at = ends.map(|it| (it.to + 3600).max(now)).min().unwrap_or(NEVER);
        self.lapse(account, now);
    }

    fn top_up(&mut self, account: usize, id: &str, amount: i128, now: i64) {
        let held = self.reserved(account, id);
        let owner = &mut self.accounts[account];
        if let Some(ended) = owner.buckets.iter_mut().find(|it| it.id == id && it.to <= now) {
            ended.balance = ended.balance.min(held);
        }
        let repaid = owner.debt.min(amount);
        owner.debt -= repaid;
        let mut amount = amount - repaid;
        let mut places: Vec<usize> = (0..owner.buckets.len()).collect();
        places.sort_by_key(|place| {
            let it = &owner.buckets[*place];
            (it.priority, it.to, it.id.clone().into_bytes())
        });
        for place in places {
            let it = &mut owner.buckets[place];
            if it.kind == Kind::Money && it.balance < 0 {
                let lifted = amount.min(-it.balance);
                it.balance += lifted;
                amount -= lifted;
            }
        }
        match owner.buckets.iter_mut().find(|it| it.id == id) {
            Some(found) => {
                found.balance += amount;
                found.to = NEVER;
            }
            None => owner.buckets.push(ModelBucket {
                id: id.to_owned(),
                kind: Kind::Money,
                balance: amount,
                priority: 10,
                from: 0,
                to: NEVER,
                groups: Vec::new(),
            }),
        }
    }

    /// Everything that can be compared.
    fn state(&self) -> String {
        let mut text = String::new();
        for (number, owner) in self.accounts.iter().enumerate() {
            let mut buckets: Vec<_> = owner.buckets.iter().collect();
            buckets.sort_by(|a, b| a.id.cmp(&b.id));
            for it in buckets {
                let _ = write!(text, "{number}/{} {} held {}, ", it.id, it.balance, self.reserved(number, &it.id));
            }
            let held = self.reserved(number, "credit");
            let _ = writeln!(text, "spent {} held {held}, debt {}", owner.spent, owner.debt);
        }
        let _ = write!(text, "charges {:?}", self.charges);
        text
    }
}

// --- The same of the real one ---

fn real_state(world: &World, accounts: usize) -> String {
    let mut text = String::new();
    for number in 0..accounts {
        let owner = world.account(u64::try_from(number).expect("few") + 1);
        let mut buckets: Vec<_> = owner.buckets.iter().collect();
        buckets.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
        for it in buckets {
            let _ = write!(text, "{number}/{} {} held {}, ", it.id, it.balance, it.reserved);
        }
        let credit = owner.credit.map_or((0, 0), |credit| (credit.spent.micros(), credit.reserved.micros()));
        let _ = writeln!(text, "spent {} held {}, debt {}", credit.0, credit.1, owner.debt.micros());
    }
    let charges = world.cdrs.iter().filter(|cdr| cdr.kind == CdrKind::Usage).map(|cdr| cdr.amount.micros());
    let _ = write!(text, "charges {:?}", charges.collect::<Vec<_>>());
    text
}

fn real_answer(outcome: &Outcome) -> String {
    let answered = match outcome {
        Outcome::Answered(answered) => answered,
        Outcome::Refused(refusal) => return format!("refused {refusal:?}"),
    };
    let services = answered.services.iter().map(|service| match &service.result {
        ServiceResult::Granted(grant) => {
            let units = grant.units.units();
            let quantity = units.seconds.or(units.total_octets).or(units.events).expect("a quantity");
            format!("granted {quantity} valid {}{}", grant.validity_seconds, if grant.last { " final" } else { "" })
        }
        ServiceResult::Settled => "settled".to_owned(),
        ServiceResult::Denied(Denial::UsageSuspect) => "suspect".to_owned(),
        ServiceResult::Denied(denial) => format!("denied {denial:?}"),
    });
    let mut text = services.collect::<Vec<_>>().join("; ");
    if answered.session_gone {
        text.push_str(" gone");
    }
    text
}

fn real_price(model: &ModelPrice) -> Price {
    let measure = match model.kind {
        Kind::Seconds => Measure::Seconds,
        Kind::Octets => Measure::TotalOctets,
        Kind::Events | Kind::Money => Measure::Events,
    };
    let mut real = price(&format!("p{}", model.group), Some(model.group), measure, Rate::ZERO);
    let micros = |amount: i128| Money::from_micros(i64::try_from(amount).expect("fits"));
    real.pulse = Pulse::new(model.first, model.next).expect("above 0");
    let tier = |tier: &ModelTier| Tier { up_to: tier.up_to, rate: Rate::new(tier.micros, tier.per).expect("above 0") };
    real.tiers = PerWindow::always(Tiers::new(model.tiers.iter().map(tier).collect()).expect("in order"));
    real.connect_fee = PerWindow::always(micros(model.fee));
    real.connect_fee_when_bundled = model.fee_when_bundled;
    (real.min_charge, real.max_charge) = (model.min.map(micros), model.max.map(micros));
    real.zero_rated = model.zero_rated;
    real.grant.validity_seconds = u32::try_from(model.validity).expect("fits");
    real
}

fn real_bucket(model: &ModelBucket) -> Bucket {
    let holding = match model.kind {
        Kind::Money => Holding::Money,
        Kind::Seconds => Holding::Units(Unit::Second),
        Kind::Octets => Holding::Units(Unit::Octet),
        Kind::Events => Holding::Units(Unit::Event),
    };
    let rating_groups = model.groups.iter().map(|group| RatingGroup::new(*group)).collect();
    Bucket {
        priority: model.priority,
        valid_from: at(model.from),
        valid_to: if model.to == NEVER { Timestamp::NEVER } else { at(model.to) },
        scope: Some(Box::new(BucketScope { rating_groups, ..BucketScope::default() })),
        ..bucket(&model.id, holding, i64::try_from(model.balance).expect("fits"))
    }
}

// --- Chance ---

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        let place = self.below(u64::try_from(choices.len()).expect("few"));
        choices[usize::try_from(place).expect("few")]
    }
}

const GROUPS: [u32; 4] = [1, 2, 3, 99];

fn some_price(chance: &mut Chance, group: u32) -> ModelPrice {
    let rate = |chance: &mut Chance, up_to| ModelTier {
        up_to,
        micros: chance.of(&[0, 1, 2, 333, 5000, 10_000, 90_000, 125_000, 166_667]),
        per: chance.of(&[1, 3, 4, 7, 60]),
    };
    let mut tiers = Vec::new();
    let mut end = 0;
    for _ in 0..chance.below(3) {
        end += 1 + chance.below(150);
        tiers.push(rate(chance, Some(end)));
    }
    tiers.push(rate(chance, None));
    let min = chance.one_in(4).then(|| i128::from(chance.below(60_000)));
    let max = chance.one_in(4).then(|| i128::from(60_000 + chance.below(1_000_000)));
    ModelPrice {
        group,
        kind: chance.of(&[Kind::Seconds, Kind::Octets, Kind::Events]),
        first: chance.of(&[1, 10, 30, 60]),
        next: chance.of(&[1, 6, 10, 60]),
        tiers,
        fee: i128::from(chance.of(&[0, 0, 50_000, 1_234])),
        fee_when_bundled: chance.one_in(2),
        min,
        max,
        zero_rated: chance.one_in(10),
        validity: chance.of(&[60, 300, 1800]),
    }
}

fn some_account(chance: &mut Chance) -> ModelAccount {
    let mut buckets = Vec::new();
    for number in 0..chance.below(6) {
        let kind = chance.of(&[Kind::Money, Kind::Money, Kind::Seconds, Kind::Octets, Kind::Events]);
        let balance = if kind == Kind::Money { chance.below(3_000_000) } else { chance.below(400) };
        let from = if chance.one_in(4) { i64::try_from(chance.below(3000)).expect("small") } else { 0 };
        let limited = chance.one_in(3);
        let life = i64::try_from(1 + chance.below(6000)).expect("small");
        buckets.push(ModelBucket {
            id: format!("{}{number}", chance.of(&["a", "B", "m"])),
            kind,
            balance: balance.into(),
            priority: chance.of(&[1, 10, 20]),
            from,
            to: if limited { from + life } else { NEVER },
            groups: if chance.one_in(3) { vec![chance.of(&GROUPS), chance.of(&GROUPS)] } else { Vec::new() },
        });
    }
    let limit = chance.one_in(3).then(|| i128::from(chance.below(2_000_000)));
    ModelAccount { buckets, limit, ..ModelAccount::default() }
}

fn some_asks(chance: &mut Chance, reports: bool, wants: bool) -> Vec<Ask> {
    let amounts = |chance: &mut Chance| {
        let most = chance.of(&[2, 30, 100, 250]);
        1 + chance.below(most)
    };
    (0..1 + chance.below(2))
        .map(|_| Ask {
            group: if chance.one_in(15) { 99 } else { chance.of(&[1, 2, 3]) },
            used: (reports && !chance.one_in(4)).then(|| if chance.one_in(8) { 0 } else { amounts(chance) }),
            want: (wants && !chance.one_in(8)).then(|| amounts(chance)),
        })
        .collect()
}

// --- Both, side by side ---

struct Both {
    model: Model,
    world: World,
    now: i64,
    numbers: BTreeMap<String, u32>,
    last: Option<(Command, String)>,
    told: String,
}

impl Both {
    fn new(chance: &mut Chance) -> Self {
        let mode = chance.of(&[RoundingMode::HalfUp, RoundingMode::HalfEven, RoundingMode::Up, RoundingMode::Down]);
        let scope = chance.of(&[RoundingScope::Line, RoundingScope::Event, RoundingScope::Bill]);
        let decimals = chance.of(&[0, 2, 2, 4, 6]);
        let rounding = ModelRounding { decimals, mode, scope };
        let prices: Vec<_> = [1, 2, 3].map(|group| some_price(chance, group)).into();
        let real = Rounding::new(u8::try_from(decimals).expect("small"), mode, scope).expect("at most 6");
        let priced = prices.iter().map(real_price).collect();
        let mut world = if chance.one_in(2) { World::archiving(real, priced) } else { World::new(real, priced) };
        let accounts: Vec<_> = (0..2).map(|_| some_account(chance)).collect();
        for (number, owner) in (1..).zip(&accounts) {
            let limit = owner.limit.map(|limit| Money::from_micros(i64::try_from(limit).expect("fits")));
            world.open(number, owner.buckets.iter().map(real_bucket).collect(), limit);
        }
        let told = format!("{rounding:?}\n{prices:#?}\n{accounts:#?}\n");
        let (sessions, charges) = (BTreeMap::new(), Vec::new());
        let mut model = Model { rounding, prices, accounts, sessions, charges, message: 0 };
        (0..model.accounts.len()).for_each(|account| model.look_again(account, i64::MIN));
        Self { model, world, now: 100, numbers: BTreeMap::new(), last: None, told }
    }

    fn step(&mut self, chance: &mut Chance) -> Result<(), String> {
        let pause = chance.of(&[0, 1, 10, 100, 400]);
        self.now += i64::try_from(chance.below(pause + 1)).expect("small");
        let account = usize::try_from(chance.below(2)).expect("small");
        let name = format!("{account}-{}", chance.below(3));
        match chance.below(20) {
            0..=4 => {
                let asks = some_asks(chance, false, true);
                self.ask("initial", account, &name, asks)
            }
            5..=12 => {
                let asks = some_asks(chance, true, true);
                self.ask("update", account, &name, asks)
            }
            13 => {
                let wants = chance.one_in(2);
                let asks = some_asks(chance, true, wants);
                self.ask("terminate", account, &name, asks)
            }
            14..=15 => {
                let mut asks = some_asks(chance, false, true);
                asks.iter_mut().for_each(|ask| ask.want = Some(ask.want.unwrap_or(1)));
                self.ask("debit", account, &format!("{account}-e{}", self.told.len()), asks)
            }
            16 => {
                let id = chance.of(&["main", "m0", "m1"]);
                let amount = i64::try_from(1 + chance.below(1_000_000)).expect("small");
                self.pay_in(account, id, amount)
            }
            17 => {
                self.now += i64::try_from(chance.below(5000)).expect("small");
                let _ = writeln!(self.told, "{}s expire", self.now);
                self.world.expire(at(self.now));
                self.model.expire(self.now);
                Ok(())
            }
            18 => {
                let suspended = !self.model.accounts[account].suspended && chance.one_in(2);
                let _ = writeln!(self.told, "{}s account {account} suspended: {suspended}", self.now);
                self.model.accounts[account].suspended = suspended;
                let state = if suspended { AccountState::Suspended } else { AccountState::Active };
                let id = AccountId::new(u64::try_from(account).expect("small") + 1);
                self.world.mutate(Change::SetState { account: id, state }, at(self.now));
                self.model.lapse(account, self.now);
                self.model.look_again(account, self.now);
                Ok(())
            }
            _ => self.repeat(),
        }?;
        let (expected, came) = (self.model.state(), real_state(&self.world, 2));
        if expected != came {
            return Err(format!("the model has\n{expected}\nbut there is\n{came}"));
        }
        self.world.audit()
    }

    fn ask(&mut self, verb: &str, account: usize, name: &str, asks: Vec<Ask>) -> Result<(), String> {
        let number = self.numbers.entry(name.to_owned()).or_insert(0);
        *number += 1;
        let _ = writeln!(self.told, "{}s {name} {verb} #{number} {asks:?}", self.now);
        let services = asks.iter().map(|ask| self.model.request(ask)).collect();
        let action = match verb {
            "initial" => Action::Start(services),
            "update" => Action::Update(services),
            "terminate" => Action::Stop(services),
            _ => Action::Debit(services),
        };
        let subscriber = u64::try_from(account).expect("small") + 1;
        let command = command(self.now, subscriber, name, *number, action);
        let came = real_answer(&self.world.apply(command.clone()).outcome);
        self.model.lapse(account, self.now);
        let expected = match verb {
            "initial" => self.model.start(account, name, &asks, self.now),
            "update" => self.model.go_on(name, &asks, self.now, false),
            "terminate" => self.model.go_on(name, &asks, self.now, true),
            _ => {
                let answer = self.model.debit(account, &asks, self.now);
                if !answer.starts_with("refused") {
                    self.model.look_again(account, self.now);
                }
                answer
            }
        };
        if !came.starts_with("refused") {
            self.last = Some((command, came.clone()));
        }
        if expected == came { Ok(()) } else { Err(format!("the model answers '{expected}' but '{came}' came")) }
    }

    fn pay_in(&mut self, account: usize, id: &str, amount: i64) -> Result<(), String> {
        let owner = &self.model.accounts[account];
        if owner.buckets.iter().any(|it| it.id == id && it.kind != Kind::Money) {
            return Ok(());
        }
        let _ = writeln!(self.told, "{}s account {account} topup {id} {amount}", self.now);
        let number = u64::try_from(account).expect("small") + 1;
        let into = bucket(BucketId::new(id).as_str(), Holding::Money, 0);
        let mutation = top_up(number, into, Money::from_micros(amount), &self.told.len().to_string());
        self.world.mutate(mutation, at(self.now));
        self.model.lapse(account, self.now);
        self.model.top_up(account, id, amount.into(), self.now);
        self.model.look_again(account, self.now);
        Ok(())
    }

    /// R25: the last request again, if its session is still remembered.
    fn repeat(&mut self) -> Result<(), String> {
        let Some((command, answer)) = self.last.clone().filter(|(it, _)| self.world.shard.remembers(&it.session))
        else {
            return Ok(());
        };
        let _ = writeln!(self.told, "{}s {} again", self.now, command.session);
        let account = usize::try_from(command.subscriber.get()).expect("small") - 1;
        let effects = self.world.apply(Command { now: at(self.now), ..command });
        self.model.lapse(account, self.now);
        let came = real_answer(&effects.outcome);
        if effects.repeated && came == answer { Ok(()) } else { Err(format!("'{answer}' was answered, now '{came}'")) }
    }
}

impl Model {
    fn request(&self, ask: &Ask) -> ServiceRequest {
        let kind = self.price(ask.group).map_or(Kind::Octets, |price| price.kind);
        let units = |quantity| match kind {
            Kind::Seconds => Units { seconds: Some(quantity), ..Units::default() },
            Kind::Octets => Units { total_octets: Some(quantity), ..Units::default() },
            Kind::Events | Kind::Money => Units { events: Some(quantity), ..Units::default() },
        };
        ServiceRequest {
            key: rating_group(ask.group),
            requested: ask.want.map_or(Requested::Nothing, |want| Requested::Units(units(want))),
            used: ask.used.map(|used| Used { units: units(used), ..Used::default() }).into_iter().collect(),
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn the_shard_and_the_model_agree() {
    let (seed, cases) = (setting("CAMPAIGN_SEED", 1), setting("CAMPAIGN_CASES", 300));
    for case in seed..seed.saturating_add(cases) {
        let mut chance = Chance(case.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let mut both = Both::new(&mut chance);
        for step in 0..STEPS {
            if let Err(complaint) = both.step(&mut chance) {
                panic!("{}\nstep {step}: {complaint}\nCAMPAIGN_SEED={case} CAMPAIGN_CASES=1", both.told);
            }
        }
    }
}
