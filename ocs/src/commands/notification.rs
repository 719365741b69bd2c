//! `ocs notification`: thresholds that are crossed, and how watched values stand.

use std::io::Write;
use std::process::ExitCode;

use ocs_api::client::{AccountsClient, NotificationsClient};
use ocs_proto::cdr::v1::{Crossing, Watched};
use ocs_proto::operator::v1 as wire;
use serde_json::{Value, json};

use super::operator::{amount, fetch, instant};
use super::{Connection, connect, print, remote, said};
use crate::cli::{NotificationCommand, Output};
use crate::store::OpenError;

/// `ocs notification`.
pub(super) fn run(command: NotificationCommand) -> Result<ExitCode, OpenError> {
    remote(async {
        match command {
            NotificationCommand::Watch { from, to_end, account, subscriber, counter, tenant, server, output } => {
                let connection = connect(&server).await?;
                let account = match account {
                    None => String::new(),
                    Some(who) => fetch(&mut AccountsClient::new(connection.clone()), &who).await?.name,
                };
                let from_position = from.unwrap_or(0);
                let request = wire::WatchNotificationsRequest {
                    from_position,
                    stop_at_end: to_end,
                    account,
                    subscriber: subscriber.map(|who| format!("subscribers/{who}")).unwrap_or_default(),
                    tenant_id: tenant,
                    policy_counter: counter.unwrap_or_default(),
                };
                let mut client = NotificationsClient::new(connection);
                let mut told = client.watch_notifications(request).await.map_err(said)?.into_inner();
                let mut stop = Box::pin(super::stop_signal()?);
                let (mut next, mut first) = (from_position, true);
                loop {
                    let response = tokio::select! {
                        response = told.message() => response,
                        () = &mut stop => break,
                    };
                    match response {
                        Ok(Some(response)) => {
                            for notification in &response.notifications {
                                if say(notification, output, first).is_err() {
                                    return Ok(ExitCode::SUCCESS);
                                }
                                first = false;
                            }
                            next = response.next_position;
                        }
                        Ok(None) => break,
                        Err(status) => {
                            eprintln!("ocs: the stream broke, go on with --from {next}: {}", said(status));
                            return Ok(ExitCode::FAILURE);
                        }
                    }
                }
                Ok(ExitCode::SUCCESS)
            }
            NotificationCommand::Values { account, server, output } => {
                let connection = connect(&server).await?;
                let name = fetch(&mut AccountsClient::new(connection.clone()), &account).await?.name;
                list(&values(connection, name).await?, output);
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

/// How the values stand that an account's offers watch.
pub(super) async fn values(
    connection: Connection,
    account: String,
) -> Result<wire::ListWatchedValuesResponse, OpenError> {
    let mut client = NotificationsClient::new(connection);
    let values = client.list_watched_values(wire::ListWatchedValuesRequest { account }).await;
    Ok(values.map_err(said)?.into_inner())
}

fn what(watched: Watched) -> String {
    watched.as_str_name().trim_start_matches("WATCHED_").to_lowercase()
}

fn say(notification: &wire::Notification, output: Output, first: bool) -> std::io::Result<()> {
    let crossing = notification.crossing.clone().unwrap_or_default();
    let Crossing { bucket_id, holding, offer, subscription, label, threshold, before, after, reached, .. } = &crossing;
    if output != Output::Table {
        let line = json!({
            "id": notification.notification_id, "time": instant(notification.time.as_ref()),
            "account": notification.account, "subscriber": notification.subscriber,
            "identifiers": notification.identifiers, "currency": notification.currency,
            "counter": notification.policy_counter, "watched": what(crossing.watched()), "bucket": bucket_id,
            "offer": offer, "subscription": subscription, "label": label, "reached": reached, "threshold": amount(*holding, *threshold),
            "before": amount(*holding, *before), "after": amount(*holding, *after), "position": notification.position,
            "next": notification.next_position,
        });
        return print::one(output, &line, first);
    }
    let of = if bucket_id.is_empty() { String::new() } else { format!(" {bucket_id}") };
    writeln!(
        std::io::stdout().lock(),
        "{:<12} {}  {:<14} {offer}: {}{of} {} \"{label}\": {} to {}, threshold {}",
        notification.notification_id,
        instant(notification.time.as_ref()).unwrap_or_default(),
        notification.account,
        what(crossing.watched()),
        if *reached { "reached" } else { "left" },
        amount(*holding, *before),
        amount(*holding, *after),
        amount(*holding, *threshold),
    )
}

/// Watched values as JSON.
pub(super) fn as_json(values: &wire::ListWatchedValuesResponse) -> Value {
    let values = values.values.iter().map(|value| {
        let thresholds = value
            .thresholds
            .iter()
            .map(|it| json!({"label": it.label, "at": amount(value.holding, it.threshold), "reached": it.reached}));
        json!({
            "counter": value.policy_counter, "status": value.status,
            "watched": what(value.watched()), "bucket": value.bucket_id, "offer": value.offer,
            "subscription": value.subscription, "value": amount(value.holding, value.value),
            "thresholds": thresholds.collect::<Vec<_>>(),
        })
    });
    values.collect()
}

fn list(values: &wire::ListWatchedValuesResponse, output: Output) {
    if output != Output::Table {
        return print::value(output, &as_json(values));
    }
    if values.values.is_empty() {
        println!("nothing is watched: no offer of this account says thresholds");
    }
    for value in &values.values {
        let of = if value.bucket_id.is_empty() { String::new() } else { format!(" ({})", value.bucket_id) };
        let (counter, number) = (&value.policy_counter, value.subscription);
        println!("{counter} #{number}{of}: {}", amount(value.holding, value.value));
        for threshold in &value.thresholds {
            let mark = if threshold.reached { "reached" } else { "" };
            println!("  {:<20} {:<24} {mark}", threshold.label, amount(value.holding, threshold.threshold));
        }
    }
}
