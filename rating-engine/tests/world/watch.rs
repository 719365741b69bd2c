//! A second, naive way to the crossings of CDRs: every value that is watched is carried from CDR to CDR.

use std::collections::BTreeMap;

use rating_engine::account::{Account, Holding, LAPSE_GRACE_SECONDS, Subscription, SubscriptionState};
use rating_engine::cdr::{CdrKind, Payer, RatedCdr};
use rating_engine::crossing::{Threshold, Watched, standings};
use rating_engine::ids::AccountId;
use rating_engine::shard::Shard;
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;

/// Account, subscription, what is watched (of spending with its cycle), label.
type Name = (AccountId, u32, String, Box<str>);

/// Watched values as the CDRs so far make them.
#[derive(Default)]
pub(crate) struct Watch {
    /// What each account's money and credit line came to behind its last CDR, and the line then.
    money: BTreeMap<AccountId, (i128, i128)>,
    /// What usage cost, by account, subscription and cycle.
    spent: BTreeMap<(AccountId, u32, u32), i128>,
    /// Which thresholds are reached, by all that was said of them.
    reached: BTreeMap<Name, bool>,
    /// When the last CDR was taken.
    now: Timestamp,
}

fn limit(account: &Account) -> i128 {
    account.credit.map_or(0, |credit| credit.limit.micros().into())
}

fn spendable(account: &Account) -> i128 {
    account.closing().iter().find(|(holding, _)| *holding == Holding::Money).map_or(0, |(_, sum)| *sum) + limit(account)
}

fn held_by(account: &Account) -> impl Iterator<Item = &Subscription> {
    let held = account.contract.iter().flat_map(|contract| &contract.subscriptions);
    held.filter(|held| held.state != SubscriptionState::Awaited && held.has_begun())
}

impl Watch {
    /// Takes the last `count` of the CDRs: what they crossed must be what they say.
    pub(crate) fn follow(&mut self, shard: &Shard, tariffs: &Tariffs, cdrs: &[RatedCdr], count: usize) {
        for cdr in &cdrs[cdrs.len() - count..] {
            let account = shard.account(cdr.account).expect("it is charged");
            let (value, line) = *self.money.entry(account.id).or_insert_with(|| {
                let own = cdrs[cdrs.len() - count..].iter().filter(|cdr| cdr.account == account.id);
                let moved: i128 = own.map(|cdr| i128::from(cdr.amount.micros())).sum();
                (spendable(account) + moved, limit(account))
            });
            // Whoever gave another line made no CDR.
            let before = value + limit(account) - line;
            let after = before - i128::from(cdr.amount.micros());
            self.money.insert(account.id, (after, limit(account)));
            self.now = self.now.max(cdr.accepted);
            let mut expected = Vec::new();
            for held in held_by(account) {
                let offer = tariffs.offer(&held.offer, Some(held.version)).expect("it was bought");
                let mut cross = |what: &str, thresholds: &[Threshold], before: i128, after: i128| {
                    for Threshold { at, label } in thresholds {
                        let is_above = |value: i128| value >= i128::from(*at);
                        if is_above(before) != is_above(after) {
                            let is_reached = is_above(after) != (what == "balance");
                            expected.push(((account.id, held.number, what.to_owned(), label.clone()), is_reached));
                        }
                    }
                };
                cross("balance", offer.balance_thresholds(), before, after);
                // Of a refund the charge says when it was, and whether it was usage.
                let original = cdr.corrects.filter(|_| cdr.kind == CdrKind::Refund);
                let of = original.map_or(cdr, |at| &cdrs[usize::try_from(at.get()).expect("few") - 1]);
                let is_usage = matches!(of.kind, CdrKind::Usage | CdrKind::ReRate);
                if is_usage && (held.cycle_start..held.cycle_end).contains(&of.usage_start) {
                    let spent = self.spent.entry((account.id, held.number, held.cycle)).or_default();
                    let before = *spent;
                    *spent += i128::from(cdr.amount.micros());
                    cross(&format!("spend {}", held.cycle), offer.spend_thresholds(), before, *spent);
                }
                for movement in
                    cdr.movements.iter().filter(|_| !matches!(cdr.kind, CdrKind::Allowance | CdrKind::Expiry))
                {
                    let Payer::Bucket(id) = &movement.payer else { continue };
                    let Some(bucket) = account
                        .bucket(id)
                        .filter(|bucket| cdr.accepted < bucket.valid_to.plus_seconds(LAPSE_GRACE_SECONDS))
                    else {
                        continue;
                    };
                    let Some(terms) = &bucket.terms else { continue };
                    if terms.subscription != held.number || terms.rolled != 0 {
                        continue;
                    }
                    let name = id.as_str().split('#').next().expect("a name");
                    let (allowance, _) = offer.allowances().find(|(it, _)| &*it.name == name).expect("it was opened");
                    // In percent of what was opened, as fractions: no threshold is rounded here.
                    let used = |left: i64| i128::from(terms.opened - left) * 100;
                    let opened = |percent: &Threshold| Threshold { at: percent.at * terms.opened, ..percent.clone() };
                    let thresholds: Vec<Threshold> = allowance.thresholds.iter().map(opened).collect();
                    cross(id.as_str(), &thresholds, used(movement.before), used(movement.after()));
                }
            }
            let said = cdr.crossings.iter().map(|crossing| {
                let what = match &crossing.watched {
                    Watched::Allowance(bucket, _) => bucket.as_str().to_owned(),
                    Watched::Spend => {
                        let held = held_by(account).find(|held| held.number == crossing.subscription);
                        format!("spend {}", held.expect("it is watched").cycle)
                    }
                    Watched::Balance => "balance".to_owned(),
                };
                ((cdr.account, crossing.subscription, what, crossing.label.clone()), crossing.is_reached())
            });
            let mut said: Vec<(Name, bool)> = said.collect();
            for (name, is_reached) in &said {
                let was = self.reached.insert(name.clone(), *is_reached);
                // Another credit line may have crossed back.
                let is_news = was != Some(*is_reached) || name.2 == "balance";
                assert!(
                    is_news && (was.is_some() || *is_reached || name.2 == "balance"),
                    "{name:?} {is_reached} again"
                );
            }
            said.sort();
            expected.sort();
            assert_eq!(said, expected, "CDR {} of account {} crosses otherwise: {cdr:#?}", cdr.number, cdr.account);
        }
        for (id, (value, _)) in &self.money {
            let account = shard.account(*id).expect("it is charged");
            if cdrs[cdrs.len() - count..].iter().any(|cdr| cdr.account == *id) {
                assert_eq!(*value, spendable(account), "account {id} has what its CDRs left");
            }
        }
    }

    /// Whether what the account shows is what its CDRs said.
    pub(crate) fn audit(&self, account: &Account, tariffs: &Tariffs) -> Result<(), String> {
        for standing in standings(account, tariffs, self.now) {
            let held = held_by(account).find(|held| held.number == standing.subscription).expect("it is watched");
            let what = match &standing.watched {
                Watched::Allowance(bucket, _) => bucket.as_str().to_owned(),
                Watched::Spend => format!("spend {}", held.cycle),
                // What it was when the offer was bought, and what another credit line made of it, no CDR says.
                Watched::Balance => continue,
            };
            for (at, label, is_reached) in &standing.thresholds {
                let name = (account.id, standing.subscription, what.clone(), label.clone());
                if self.reached.get(&name).copied().unwrap_or_default() != *is_reached {
                    return Err(format!(
                        "{name:?} at {at} of {}: reached {is_reached}, CDRs say otherwise",
                        standing.value
                    ));
                }
            }
        }
        Ok(())
    }
}
