//! What the audit log says of a change: who asked, and what is different.
//!
//! Sums are said with their units, instants as RFC 3339: the record is read by people long after. What only follows from the
//! change (running totals, positions of CDRs) is left out; the CDRs say it.

use balance_store::records::{AuditRecord, Difference};
use balance_store::{HashChain, StateStore};
use rating_engine::account::{Account, AccountState, Bucket, Holding, Subscriber, Subscription, SubscriptionState};
use rating_engine::command::Change;
use rating_engine::ids::{AccountId, SessionId, SubscriberId};
use rating_engine::money::Money;
use rating_engine::session::Session;
use rating_engine::shard::Shard;
use rating_engine::time::Timestamp;

use crate::edge::Edge;

/// What the chain of the audit log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How many records there are.
    pub records: u64,
    /// The chain after the last one that is as it was written.
    pub chain: HashChain,
    /// The first record that is not, and what is wrong.
    pub broken: Option<(u64, String)>,
}

/// Computes the chain again, from the first record on; `known` is a position whose value is known from elsewhere.
pub fn verify(edge: &Edge, state: &dyn StateStore, known: Option<(u64, [u8; 32])>) -> Verdict {
    let (last, head) = edge.audited();
    let (mut chain, mut broken) = (HashChain::START, None);
    for position in 1..=last {
        let finding = match edge.audit_record(state, position) {
            Ok(Some(noted)) => {
                let next = chain.after(&noted.octets);
                let is_known = known.is_none_or(|(at, hash)| at != position || *next.octets() == hash);
                if noted.chain != next {
                    Some("it is not what was written, or not behind what stands before it".to_owned())
                } else if !is_known {
                    Some("the chain is another one than was known".to_owned())
                } else {
                    chain = next;
                    None
                }
            }
            Ok(None) => Some("it is gone".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(finding) = finding {
            broken = Some((position, finding));
            break;
        }
    }
    if broken.is_none() && chain != head {
        broken = Some((last, "the chain does not end where it did when the last record was written".to_owned()));
    }
    if let Some((at, _)) = known.filter(|(at, _)| broken.is_none() && *at > last) {
        broken = Some((at, format!("the log ends at {last}: records are gone")));
    }
    Verdict { records: last, chain, broken }
}

/// Who asks for a change, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// The caller, as access control knows it.
    pub caller: Box<str>,
    /// The method: "Balances/TopUp".
    pub method: &'static str,
    /// The resource: "accounts/17".
    pub target: Box<str>,
    /// The caller's idempotency key; empty where there is none.
    pub key: Box<str>,
    /// Why; may be empty.
    pub reason: Box<str>,
}

impl By {
    /// The record of what was done.
    pub fn record(&self, at: Timestamp, differences: Vec<Difference>) -> AuditRecord {
        let Self { caller, method, target, key, reason } = self.clone();
        AuditRecord { at, caller, method: method.into(), target, key, reason, differences }
    }
}

/// Something that is different.
pub(crate) fn difference(what: impl Into<Box<str>>, before: &str, after: &str) -> Difference {
    Difference { what: what.into(), before: before.into(), after: after.into() }
}

/// What a change is of.
#[derive(Clone, Debug)]
pub enum Subject {
    /// An account.
    Account(AccountId),
    /// A subscriber.
    Subscriber(SubscriberId),
    /// A session.
    Session(SessionId),
    /// What no shard has.
    Beside,
}

/// What there was of a subject at an instant.
#[derive(Debug)]
pub enum Seen {
    /// The account, if there was one.
    Account(Option<Box<Account>>),
    /// The subscriber, if there was one.
    Subscriber(Option<Box<Subscriber>>),
    /// Whether the session was open.
    Session(bool),
    /// Nothing.
    Beside,
}

impl Subject {
    /// What a change is of.
    pub fn of(change: &Change) -> Self {
        match change {
            Change::OpenAccount(account) => Self::Account(account.id),
            Change::PutSubscriber(subscriber) => Self::Subscriber(subscriber.id),
            Change::RemoveMember { subscriber, .. } => Self::Subscriber(*subscriber),
            Change::Describe(_) => Self::Beside,
            Change::Release { session, .. } => Self::Session(session.clone()),
            Change::TopUp { account, .. }
            | Change::Adjust { account, .. }
            | Change::Extend { account, .. }
            | Change::Buy { account, .. }
            | Change::Cancel { account, .. }
            | Change::Replace { account, .. }
            | Change::SetState { account, .. }
            | Change::SetCredit { account, .. } => Self::Account(*account),
            Change::Correct(correction) => Self::Account(correction.known.account),
            Change::GiveBack(back) => Self::Account(back.account),
        }
    }

    /// What there is of it.
    pub fn seen(&self, shard: &Shard) -> Seen {
        match self {
            Self::Account(id) => Seen::Account(shard.account(*id).cloned().map(Box::new)),
            Self::Subscriber(id) => Seen::Subscriber(shard.subscriber(*id).cloned().map(Box::new)),
            Self::Beside => Seen::Beside,
            Self::Session(id) => Seen::Session(shard.session(id).is_some_and(Session::is_open)),
        }
    }
}

impl Seen {
    /// What is different afterwards.
    pub fn differences(&self, after: &Self) -> Differences {
        let mut differences = Differences::default();
        match (self, after) {
            (Self::Account(before), Self::Account(after)) => differences.account(before.as_deref(), after.as_deref()),
            (Self::Subscriber(before), Self::Subscriber(after)) => {
                differences.subscriber(before.as_deref(), after.as_deref());
            }
            (Self::Session(before), Self::Session(after)) => {
                let say = |open: bool| if open { "open" } else { "ended" };
                differences.note("session", say(*before), say(*after));
            }
            (Self::Account(_) | Self::Subscriber(_) | Self::Session(_) | Self::Beside, _) => {}
        }
        differences
    }
}

/// Collects what is different.
#[derive(Debug, Default)]
pub struct Differences(Vec<Difference>);

impl Differences {
    /// Notes one thing, if it is different.
    pub fn note(&mut self, what: impl std::fmt::Display, before: impl Into<String>, after: impl Into<String>) {
        let (before, after) = (before.into(), after.into());
        if before != after {
            self.0.push(difference(what.to_string(), &before, &after));
        }
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<Difference> {
        self.0
    }

    /// Notes what is different about an account.
    pub fn account<'a>(&mut self, before: Option<&'a Account>, after: Option<&'a Account>) {
        let of = |say: &dyn Fn(&Account) -> String| {
            (before.map(say).unwrap_or_default(), after.map(say).unwrap_or_default())
        };
        let mut simple = |what: &str, say: &dyn Fn(&Account) -> String| {
            let (before, after) = of(say);
            self.note(what, before, after);
        };
        simple("state", &|account| state(account.state).to_owned());
        simple("group", &|account| account.group.to_string());
        simple("currency", &|account| account.currency.to_string());
        simple("credit/limit", &|account| account.credit.map(|line| money(account, line.limit)).unwrap_or_default());
        simple("credit/spent", &|account| account.credit.map(|line| money(account, line.spent)).unwrap_or_default());
        simple("debt", &|account| {
            if account.debt == Money::ZERO { String::new() } else { money(account, account.debt) }
        });
        let (had, has) = (before.map_or(&[][..], |it| &it.buckets), after.map_or(&[][..], |it| &it.buckets));
        for bucket in joined(had, has, |bucket| bucket.id.clone()) {
            let find = |buckets: &'a [Bucket]| buckets.iter().find(|it| it.id == bucket);
            let (was, is) = (find(had), find(has));
            let account = after.or(before);
            let mut each = |what: &str, say: &dyn Fn(&Bucket) -> String| {
                self.note(
                    format_args!("buckets/{bucket}/{what}"),
                    was.map(say).unwrap_or_default(),
                    is.map(say).unwrap_or_default(),
                );
            };
            each("balance", &|bucket| {
                account.map(|account| amount(account, bucket.holding, bucket.balance)).unwrap_or_default()
            });
            each("valid_from", &|bucket| instant(bucket.valid_from));
            each("valid_to", &|bucket| instant(bucket.valid_to));
            each("priority", &|bucket| bucket.priority.to_string());
        }
        let held = |account: Option<&'a Account>| {
            account.and_then(|account| account.contract.as_ref()).map_or(&[][..], |contract| &contract.subscriptions)
        };
        let (was, is) = (held(before), held(after));
        for number in joined(was, is, |held| held.number) {
            let say =
                |held: &[Subscription]| held.iter().find(|held| held.number == number).map(offer).unwrap_or_default();
            self.note(format_args!("subscriptions/{number}"), say(was), say(is));
        }
    }

    /// Notes what is different about a subscriber.
    pub fn subscriber(&mut self, before: Option<&Subscriber>, after: Option<&Subscriber>) {
        let mut simple = |what: &str, say: &dyn Fn(&Subscriber) -> String| {
            self.note(what, before.map(say).unwrap_or_default(), after.map(say).unwrap_or_default());
        };
        simple("account", &|subscriber| subscriber.account.to_string());
        simple("tariff", &|subscriber| subscriber.tariff.to_string());
        simple("state", &|subscriber| state(subscriber.state).to_owned());
        simple("sponsor", &|subscriber| {
            let sponsor = subscriber.sponsor.as_ref();
            sponsor
                .map(|sponsor| {
                    let windows = sponsor.windows.join(", ");
                    format!("account {} windows [{windows}] allowance {}", sponsor.account, sponsor.allowance)
                })
                .unwrap_or_default()
        });
    }
}

/// Ids of both, each once, those of the first before new ones of the second.
fn joined<T, K: PartialEq>(before: &[T], after: &[T], id: impl Fn(&T) -> K) -> Vec<K> {
    let mut ids: Vec<K> = Vec::new();
    for known in before.iter().chain(after).map(id) {
        if !ids.contains(&known) {
            ids.push(known);
        }
    }
    ids
}

fn offer(held: &Subscription) -> String {
    let Subscription { offer, version, cycle, cycle_start, cycle_end, state, ends_at, .. } = held;
    let state = match state {
        SubscriptionState::Active if *cycle_end == Timestamp::NEVER => format!("cycle {cycle} active"),
        SubscriptionState::Active => format!("cycle {cycle} active until {cycle_end}"),
        SubscriptionState::Unpaid => format!("cycle {cycle} unpaid"),
        SubscriptionState::Awaited => format!("from {cycle_start}"),
    };
    let ends = if *ends_at == Timestamp::NEVER { String::new() } else { format!(", ends {ends_at}") };
    format!("{offer} version {version} {state}{ends}")
}

fn money(account: &Account, amount: Money) -> String {
    format!("{amount} {}", account.currency)
}

fn amount(account: &Account, holding: Holding, amount: i64) -> String {
    match holding {
        Holding::Money => money(account, Money::from_micros(amount)),
        Holding::Units(unit) => format!("{amount} {}", format!("{unit:?}").to_lowercase()),
    }
}

fn instant(at: Timestamp) -> String {
    if at == Timestamp::NEVER || at == Timestamp::default() { String::new() } else { at.to_string() }
}

/// A state as the interface spells it.
pub const fn state(state: AccountState) -> &'static str {
    match state {
        AccountState::Active => "active",
        AccountState::Suspended => "suspended",
        AccountState::Barred => "barred",
        AccountState::Closed => "closed",
    }
}
