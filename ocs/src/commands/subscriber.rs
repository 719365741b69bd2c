//! `ocs subscriber`: found, put, and loaded in bulk.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use ocs_api::client::SubscribersClient;
use ocs_proto::operator::v1 as wire;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::change::{key_of, state_number, unsure, would};
use super::operator::state;
use super::{connect, print, remote, said};
use crate::cli::{Output, Server, SubscriberCommand};
use crate::store::{OpenError, because};

/// Rows read ahead of the connection.
const ROWS_AHEAD: usize = 4096;
/// Rows that were refused, shown as text.
const SHOWN_MAX: usize = 20;

/// `ocs subscriber`.
pub(super) fn run(command: SubscriberCommand) -> Result<ExitCode, OpenError> {
    remote(async {
        match command {
            SubscriberCommand::Show { who, server, output } => {
                let mut client = SubscribersClient::new(connect(&server).await?);
                let request = wire::GetSubscriberRequest { name: format!("subscribers/{who}") };
                let found = client.get_subscriber(request).await.map_err(said)?.into_inner();
                show(&found, output);
                Ok(ExitCode::SUCCESS)
            }
            SubscriberCommand::Put { number, account, tariff, identifier, state, etag, asking } => {
                let key = key_of(&asking);
                let request = wire::PutSubscriberRequest {
                    subscriber_id: number,
                    account_id: account,
                    tariff,
                    state: state_number(state),
                    identifiers: identifier,
                    etag,
                    idempotency_key: key.clone(),
                    reason: asking.reason.clone(),
                    ..Default::default()
                };
                if asking.dry_run {
                    return Ok(would(&request));
                }
                let mut client = SubscribersClient::new(connect(&asking.server).await?);
                let done = client.put_subscriber(request).await.map_err(|status| unsure(status, &key))?.into_inner();
                let again = if done.repeated { " (this key was used before; nothing changed)" } else { "" };
                match asking.output {
                    Output::Table => println!("{}: etag {}{again}", done.name, done.etag),
                    Output::Json | Output::Yaml | Output::Csv => print::value(
                        asking.output,
                        &json!({"name": done.name, "etag": done.etag, "repeated": done.repeated}),
                    ),
                }
                Ok(ExitCode::SUCCESS)
            }
            SubscriberCommand::Load { accounts, subscribers, from_line, server, output } => {
                load(accounts, subscribers, from_line, &server, output).await
            }
        }
    })
}

fn show(found: &wire::GetSubscriberResponse, output: Output) {
    let subscriber = found.subscriber.clone().unwrap_or_default();
    if output != Output::Table {
        print::value(
            output,
            &json!({
                "subscriber": subscriber.subscriber_id, "account": found.account, "tariff": subscriber.tariff,
                "state": state(subscriber.state), "identifiers": subscriber.identifiers, "etag": found.etag,
                "sponsor": subscriber.sponsor.as_ref().map(|sponsor| json!({
                    "account": sponsor.account_id, "windows": sponsor.windows, "allowance": sponsor.allowance,
                })),
                "counters": subscriber.counters.iter().map(|counter| json!({
                    "id": counter.counter_id, "used": counter.used,
                })).collect::<Vec<_>>(),
            }),
        );
        return;
    }
    println!("subscriber     {}   {}", subscriber.subscriber_id, state(subscriber.state));
    println!("account        {}", found.account);
    println!("tariff         {}", subscriber.tariff);
    println!("identifiers    {}", subscriber.identifiers.join(" "));
    if let Some(sponsor) = &subscriber.sponsor {
        println!("sponsor        {}", sponsor.account_id);
    }
    println!("etag           {}", found.etag);
}

/// Sends rows as they are read and takes answers as they come.
async fn load(
    accounts: Vec<PathBuf>,
    subscribers: Vec<PathBuf>,
    from_line: u64,
    server: &Server,
    output: Output,
) -> Result<ExitCode, OpenError> {
    if accounts.is_empty() && subscribers.is_empty() {
        return Err(OpenError("name files: --accounts, --subscribers".to_owned()));
    }
    let mut client = SubscribersClient::new(connect(server).await?);
    let (rows, read) = mpsc::channel(ROWS_AHEAD);
    // A file that cannot be read ends the rows; what was sent is loaded.
    let reading = std::thread::spawn(move || -> Result<(), OpenError> {
        let mut line = 0;
        for (files, is_account) in [(&accounts, true), (&subscribers, false)] {
            for file in files {
                read_rows(file, is_account, &mut line, from_line, &rows)?;
            }
        }
        Ok(())
    });
    let style = "{spinner} {pos} rows, {per_sec}, {elapsed}";
    let progress = ProgressBar::new_spinner();
    progress.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let mut answers = client.load_rows(ReceiverStream::new(read)).await.map_err(said)?.into_inner();
    let (mut loaded, mut there, mut refused, mut last) = (0u64, 0u64, Vec::new(), from_line.saturating_sub(1));
    let mut cut = None;
    loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                progress.inc(1);
                last = answer.row;
                match answer.state() {
                    wire::RowState::Loaded => loaded += 1,
                    wire::RowState::There => there += 1,
                    wire::RowState::Refused | wire::RowState::Incomplete | wire::RowState::Unspecified => {
                        refused.push(answer);
                    }
                }
            }
            Ok(None) => break,
            Err(status) => {
                cut = Some(said(status));
                break;
            }
        }
    }
    progress.finish_and_clear();
    if let Some(OpenError(reason)) = cut {
        let reason =
            format!("after line {last}: {reason}; go on with --from-line {}, or send everything again", last + 1);
        return Err(OpenError(reason));
    }
    let read = reading.join().map_err(|_| OpenError("the thread that reads files panicked".to_owned()))?;
    match output {
        Output::Table => {
            for answer in refused.iter().take(SHOWN_MAX) {
                println!("line {}: {}", answer.row, answer.reason);
            }
            let more = refused.len().saturating_sub(SHOWN_MAX);
            if more > 0 {
                println!("… and {more} more; -o json has all of them");
            }
            println!("{loaded} loaded, {there} there already, {} refused", refused.len());
        }
        Output::Json | Output::Yaml | Output::Csv => print::value(
            output,
            &json!({
                "loaded": loaded, "there": there,
                "refused": refused.iter().map(|it| json!({"line": it.row, "reason": it.reason})).collect::<Vec<_>>(),
            }),
        ),
    }
    read?;
    Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read_rows(
    file: &Path,
    is_account: bool,
    line: &mut u64,
    from_line: u64,
    rows: &mpsc::Sender<wire::LoadRowsRequest>,
) -> Result<(), OpenError> {
    use wire::load_rows_request::Kind;
    let named = file.display().to_string();
    let reader = BufReader::with_capacity(1 << 20, File::open(file).map_err(because(&named))?);
    for text in reader.lines() {
        let text = text.map_err(because(&named))?;
        *line += 1;
        if *line < from_line || text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let kind = if is_account { Kind::AccountJson(text) } else { Kind::SubscriberJson(text) };
        // Whoever takes them is gone when the connection is; it says why.
        if rows.blocking_send(wire::LoadRowsRequest { row: *line, kind: Some(kind) }).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
