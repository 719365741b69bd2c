//! `ocs account` and `ocs clock`: a running system, over gRPC.

use std::process::ExitCode;

use ocs_api::client::{AccountsClient, ClockClient};
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use rating_engine::money::Money;
use rating_engine::time::Timestamp;
use serde_json::json;

use super::{Connection, change, connect, notification, print, remote, said};
use crate::cli::{Account, ClockCommand, Output};
use crate::store::{OpenError, because};

/// `ocs account`.
pub(super) fn account(command: Account) -> Result<ExitCode, OpenError> {
    remote(async {
        match command {
            Account::Show { who, server, output } => {
                let connection = connect(&server).await?;
                let account = fetch(&mut AccountsClient::new(connection.clone()), &who).await?;
                let watched = if account.subscriptions.is_empty() {
                    wire::ListWatchedValuesResponse::default()
                } else {
                    notification::values(connection, account.name.clone()).await?
                };
                show(&account, &watched, output);
            }
            Account::Topup { who, amount, key, bucket, reason, server, output } => {
                let mut client = AccountsClient::new(connect(&server).await?);
                let amount: Money = amount.parse().map_err(because("--amount"))?;
                let account = fetch(&mut client, &who).await?;
                let request = wire::TopUpRequest {
                    account: Some(wire::top_up_request::Account::AccountId(account.account_id)),
                    amount: Some(common::Money {
                        mantissa: amount.micros(),
                        scale: 6,
                        currency: account.currency.clone(),
                    }),
                    bucket_id: bucket,
                    reason,
                    idempotency_key: key,
                    ..wire::TopUpRequest::default()
                };
                let done = client.top_up(request).await.map_err(said)?.into_inner();
                let balance = money(done.balance.as_ref());
                match output {
                    Output::Json | Output::Yaml | Output::Csv => print::value(
                        output,
                        &json!({
                            "account": account.account_id, "balance": balance, "currency": account.currency,
                            "cdr_number": done.cdr_number, "repeated": done.repeated,
                        }),
                    ),
                    Output::Table => {
                        let again = if done.repeated { " (this key was booked before; nothing changed)" } else { "" };
                        println!("account {}: balance {balance} {}{again}", account.account_id, account.currency);
                    }
                }
            }
            Account::Change(command) => return change::run(command).await,
        }
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) async fn fetch(client: &mut AccountsClient<Connection>, who: &str) -> Result<wire::Account, OpenError> {
    use wire::get_account_request::Account as Given;
    let account = who.parse().map_or_else(|_| Given::Identifier(who.to_owned()), Given::AccountId);
    let request = wire::GetAccountRequest { account: Some(account), tenant_id: 0 };
    let found = client.get_account(request).await.map_err(said)?.into_inner();
    found.account.ok_or_else(|| OpenError("the server sent no account".to_owned()))
}

pub(super) fn money(money: Option<&common::Money>) -> String {
    money.map_or_else(String::new, |money| super::micros(money.mantissa))
}

pub(super) fn instant(at: Option<&prost_types::Timestamp>) -> Option<String> {
    at.map(|at| {
        Timestamp::from_millis(at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos / 1_000_000)))
            .to_string()
    })
}

pub(super) fn amount(holding: i32, amount: i64) -> String {
    match common::Holding::try_from(holding) {
        Ok(common::Holding::Money) => super::micros(amount),
        Ok(common::Holding::Seconds) => format!("{amount} s"),
        Ok(common::Holding::Octets) => format!("{amount} octets"),
        Ok(common::Holding::Events) => format!("{amount} events"),
        Ok(common::Holding::Unspecified) | Err(_) => amount.to_string(),
    }
}

pub(super) fn state(state: i32) -> String {
    let name = wire::AccountState::try_from(state).map_or("UNKNOWN", |state| state.as_str_name());
    name.trim_start_matches("ACCOUNT_STATE_").to_lowercase()
}

fn show(account: &wire::Account, watched: &wire::ListWatchedValuesResponse, output: Output) {
    if output != Output::Table {
        let mut shown = as_json(account);
        if let Some(members) = shown.as_object_mut() {
            members.insert("watched".to_owned(), notification::as_json(watched));
        }
        print::value(output, &shown);
        return;
    }
    println!("account        {}   {}   {}", account.account_id, account.currency, state(account.state));
    println!("balance        {}   reserved {}", money(account.balance.as_ref()), money(account.reserved.as_ref()));
    if let Some(credit) = &account.credit {
        println!(
            "credit         limit {}   spent {}   reserved {}",
            money(credit.limit.as_ref()),
            money(credit.spent.as_ref()),
            money(credit.reserved.as_ref())
        );
    }
    if account.debt.as_ref().is_some_and(|debt| debt.mantissa != 0) {
        println!("debt           {}", money(account.debt.as_ref()));
    }
    for subscriber in &account.subscribers {
        println!(
            "subscriber     {}   {}   {}   {}",
            subscriber.subscriber_id,
            subscriber.tariff,
            state(subscriber.state),
            subscriber.identifiers.join(" ")
        );
        if let Some(sponsor) = &subscriber.sponsor {
            let mut pays: Vec<String> = sponsor.windows.iter().map(|window| format!("pays in {window}")).collect();
            pays.extend(sponsor.allowance.then(|| "its buckets first".to_owned()));
            println!("  sponsor      {}   {}", sponsor.account_id, pays.join(", "));
        }
    }
    println!("CDRs           {}   last at {}", account.cdr_count, account.last_cdr_position);
    println!("\nBUCKET            BALANCE              RESERVED             PRIORITY  VALID TO");
    for bucket in &account.buckets {
        println!(
            "{:<17} {:<20} {:<20} {:<9} {}",
            bucket.bucket_id,
            amount(bucket.holding, bucket.balance),
            amount(bucket.holding, bucket.reserved),
            bucket.priority,
            instant(bucket.valid_to.as_ref()).unwrap_or_else(|| "always".to_owned())
        );
    }
    if !account.subscriptions.is_empty() {
        println!("\nOFFER                    NUMBER   FOR         CYCLE   ENDS                       STATE");
    }
    for held in &account.subscriptions {
        println!(
            "{:<24} {:<8} {:<11} {:<7} {:<26} {}",
            format!("{} {}", held.offer, held.offer_version),
            held.number,
            held.subscriber_id,
            held.cycle,
            instant(held.ends_at.as_ref().or(held.cycle_end.as_ref())).unwrap_or_else(|| "never".to_owned()),
            state_of(held)
        );
    }
    if !watched.values.is_empty() {
        println!("\nWATCHED                          OFFER NUMBER  VALUE                STATUS");
    }
    for value in &watched.values {
        println!(
            "{:<32} {:<13} {:<20} {}",
            value.policy_counter,
            value.subscription,
            amount(value.holding, value.value),
            value.status
        );
    }
    if account.subscribers.iter().any(|subscriber| !subscriber.counters.is_empty()) {
        println!("\nCOUNTER           OF          USED IN THE CYCLE    CYCLE FROM                 TO");
    }
    for (subscriber, counter) in counters(account) {
        println!(
            "{:<17} {:<11} {:<20} {}   {}",
            counter.counter_id,
            subscriber,
            amount(counter.holding, i64::try_from(counter.used).unwrap_or(i64::MAX)),
            instant(counter.cycle_start.as_ref()).unwrap_or_default(),
            instant(counter.cycle_end.as_ref()).unwrap_or_default()
        );
    }
    if !account.sessions.is_empty() {
        println!("\nSESSION                                                      OPENED                     CHARGED");
    }
    for session in &account.sessions {
        println!(
            "{:<60} {}   {}",
            String::from_utf8_lossy(&session.session_id),
            instant(session.opened.as_ref()).unwrap_or_default(),
            money(session.charged.as_ref())
        );
        for service in &session.services {
            let granted = service.grant.as_ref().map_or_else(
                || "no grant".to_owned(),
                |grant| format!("granted {} for {} s", grant.quantity, grant.validity_seconds),
            );
            let waiting = if service.waiting { ", waiting for money" } else { "" };
            println!(
                "  {:<20} {granted}, charged {}{waiting}",
                key(service.service_key.as_ref()),
                money(service.charged.as_ref())
            );
        }
    }
}

pub(super) fn key(key: Option<&common::ServiceKey>) -> String {
    let Some(key) = key else { return "default".to_owned() };
    let group = key.rating_group.map_or_else(|| "default".to_owned(), |group| format!("rg {group}"));
    key.service_ids.iter().fold(group, |text, id| format!("{text} service {id}"))
}

fn counters(account: &wire::Account) -> impl Iterator<Item = (u64, &wire::Counter)> {
    let of = |subscriber: &'_ wire::Subscriber| subscriber.subscriber_id;
    account.subscribers.iter().flat_map(move |it| it.counters.iter().map(move |counter| (of(it), counter)))
}

fn state_of(held: &wire::Subscription) -> &'static str {
    match held.state() {
        wire::SubscriptionState::Unspecified => "unknown",
        wire::SubscriptionState::Active => "active",
        wire::SubscriptionState::Cancelled if held.ends_at == held.cycle_end => "ends with its cycle",
        wire::SubscriptionState::Cancelled => "ends",
        wire::SubscriptionState::Unpaid => "waits for its fee",
        wire::SubscriptionState::Awaited => "begins later",
    }
}

fn as_json(account: &wire::Account) -> serde_json::Value {
    let buckets: Vec<_> = account
        .buckets
        .iter()
        .map(|bucket| {
            json!({
                "id": bucket.bucket_id,
                "holding": common::Holding::try_from(bucket.holding).map_or("", |holding| holding.as_str_name()),
                "balance": bucket.balance, "reserved": bucket.reserved, "available": bucket.available,
                "priority": bucket.priority,
                "valid_from": instant(bucket.valid_from.as_ref()), "valid_to": instant(bucket.valid_to.as_ref()),
            })
        })
        .collect();
    let subscriptions: Vec<_> = account
        .subscriptions
        .iter()
        .map(|held| {
            json!({
                "number": held.number, "offer": held.offer, "version": held.offer_version,
                "subscriber": held.subscriber_id, "cycle": held.cycle, "state": state_of(held),
                "cycle_start": instant(held.cycle_start.as_ref()), "cycle_end": instant(held.cycle_end.as_ref()),
                "ends_at": instant(held.ends_at.as_ref()),
            })
        })
        .collect();
    let counters: Vec<_> = counters(account)
        .map(|(subscriber, counter)| {
            json!({
                "id": counter.counter_id, "subscriber": subscriber,
                "holding": common::Holding::try_from(counter.holding).map_or("", |holding| holding.as_str_name()),
                "used": counter.used,
                "cycle_start": instant(counter.cycle_start.as_ref()), "cycle_end": instant(counter.cycle_end.as_ref()),
            })
        })
        .collect();
    let sessions: Vec<_> = account
        .sessions
        .iter()
        .map(|session| {
            let services: Vec<_> = session
                .services
                .iter()
                .map(|service| {
                    json!({
                        "key": key(service.service_key.as_ref()),
                        "granted": service.grant.as_ref().map(|grant| grant.quantity),
                        "charged": money(service.charged.as_ref()), "waiting": service.waiting,
                    })
                })
                .collect();
            json!({
                "id": String::from_utf8_lossy(&session.session_id), "opened": instant(session.opened.as_ref()),
                "deadline": instant(session.deadline.as_ref()), "charged": money(session.charged.as_ref()),
                "services": services,
            })
        })
        .collect();
    let subscribers: Vec<_> = account
        .subscribers
        .iter()
        .map(|subscriber| {
            json!({
                "subscriber": subscriber.subscriber_id, "tariff": subscriber.tariff,
                "state": state(subscriber.state), "identifiers": subscriber.identifiers,
                "sponsor": subscriber.sponsor.as_ref().map(|sponsor| json!({
                    "account": sponsor.account_id, "windows": sponsor.windows, "allowance": sponsor.allowance,
                })),
            })
        })
        .collect();
    json!({
        "account": account.account_id, "group": account.group_id, "currency": account.currency,
        "state": state(account.state),
        "balance": money(account.balance.as_ref()), "reserved": money(account.reserved.as_ref()),
        "credit": account.credit.as_ref().map(|credit| json!({
            "limit": money(credit.limit.as_ref()), "spent": money(credit.spent.as_ref()),
            "reserved": money(credit.reserved.as_ref()),
        })),
        "debt": money(account.debt.as_ref()),
        "buckets": buckets, "subscriptions": subscriptions, "counters": counters, "sessions": sessions, "subscribers": subscribers,
        "cdrs": account.cdr_count, "last_cdr_position": account.last_cdr_position,
    })
}

/// `ocs clock`.
pub(super) fn clock(command: ClockCommand) -> Result<ExitCode, OpenError> {
    remote(async {
        let now = match command {
            ClockCommand::Get { server } => {
                let mut client = ClockClient::new(connect(&server).await?);
                client.get_time(wire::GetTimeRequest {}).await.map_err(said)?.into_inner().now
            }
            ClockCommand::Set { to, server } => {
                let mut client = ClockClient::new(connect(&server).await?);
                let now = Some(prost_types::Timestamp { seconds: to, nanos: 0 });
                client.set_time(wire::SetTimeRequest { now }).await.map_err(said)?.into_inner().now
            }
            ClockCommand::Advance { seconds, server } => {
                let mut client = ClockClient::new(connect(&server).await?);
                let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
                let by = Some(prost_types::Duration { seconds, nanos: 0 });
                client.advance_time(wire::AdvanceTimeRequest { by }).await.map_err(said)?.into_inner().now
            }
        };
        println!("{}", instant(now.as_ref()).unwrap_or_default());
        Ok(ExitCode::SUCCESS)
    })
}
