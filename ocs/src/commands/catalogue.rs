//! `ocs catalogue`: documents of a running system, over gRPC.

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use ocs_api::client::CatalogueClient;
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use rating_engine::calendar::Zone;
use rating_engine::money::Money;
use rating_engine::reach::Share;
use rating_engine::time::Timestamp;
use serde_json::{Value, json};

use super::data::bar;
use super::{Connection, connect, hex, print, remote, said};
use crate::catalogue::text::parse_instant;
use crate::cli::{CatalogueAsked, CatalogueCommand, CatalogueSimulate, DocumentState, Output, Server};
use crate::store::{OpenError, because};

/// Octets of an answer that has a document in it.
const ANSWER_OCTETS_MAX: usize = 8 << 20;

type Client = CatalogueClient<Connection>;

/// Runs a subcommand.
pub(super) fn run(command: CatalogueCommand) -> Result<ExitCode, OpenError> {
    remote(async {
        match command {
            CatalogueCommand::List { state, server, output } => list(&mut client(&server).await?, state, output).await,
            CatalogueCommand::Show { name, server, output } => {
                let request = wire::GetDocumentRequest { name };
                let found = client(&server).await?.get_document(request).await.map_err(said)?.into_inner();
                match output {
                    Output::Json | Output::Yaml | Output::Csv => {
                        let document = found.document.unwrap_or_default();
                        let shown =
                            json!({ "document": as_json(&document), "source": found.source, "named": found.named });
                        print::value(output, &shown);
                    }
                    Output::Table => print!("{}", found.source),
                }
                Ok(ExitCode::SUCCESS)
            }
            CatalogueCommand::Put { file, etag, asked } => {
                let (source, idempotency_key, reason) = (read(&file)?, key(&asked), asked.reason.clone());
                let request = wire::PutDraftRequest { source, etag, idempotency_key, reason };
                let done = client(&asked.server).await?.put_draft(request).await.map_err(said)?.into_inner();
                print_done(&done.document.unwrap_or_default(), done.repeated, asked.output);
                Ok(ExitCode::SUCCESS)
            }
            CatalogueCommand::Delete { name, asked } => {
                let (idempotency_key, reason) = (key(&asked), asked.reason.clone());
                let request =
                    wire::DeleteDraftRequest { name: name.clone(), etag: String::new(), idempotency_key, reason };
                let done = client(&asked.server).await?.delete_draft(request).await.map_err(said)?.into_inner();
                match asked.output {
                    Output::Json | Output::Yaml | Output::Csv => {
                        print::value(asked.output, &json!({ "name": name, "deleted": true, "repeated": done.repeated }))
                    }
                    Output::Table => println!("{name}: deleted"),
                }
                Ok(ExitCode::SUCCESS)
            }
            CatalogueCommand::Validate { file, server, output } => validate(&file, &server, output).await,
            CatalogueCommand::Diff { name, file, old, server, output } => {
                use wire::diff_documents_request::New;
                let new = match (name, file) {
                    (_, Some(file)) => New::NewSource(read(&file)?),
                    (name, None) => New::NewName(name.unwrap_or_default()),
                };
                let request = wire::DiffDocumentsRequest { old_name: old, new: Some(new) };
                let found = client(&server).await?.diff_documents(request).await.map_err(said)?.into_inner();
                print_diff(&found, output);
                Ok(if found.changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            CatalogueCommand::Simulate(options) => simulate(*options).await,
            CatalogueCommand::SimulatePeriod { name, from, to, top, server, output } => {
                let (from, to) = (Some(given("--from", &from)?), Some(given("--to", &to)?));
                let request = wire::SimulatePeriodRequest { name, from, to, top };
                simulate_period(&mut client(&server).await?, request, output).await
            }
            CatalogueCommand::Approve { name, etag, asked } => {
                let mut client = client(&asked.server).await?;
                let etag = match etag {
                    Some(etag) => etag,
                    None => {
                        let request = wire::GetDocumentRequest { name: name.clone() };
                        let found = client.get_document(request).await.map_err(said)?.into_inner();
                        found.document.unwrap_or_default().etag
                    }
                };
                let (idempotency_key, reason) = (key(&asked), asked.reason.clone());
                let request = wire::ApproveDraftRequest { name, etag, idempotency_key, reason };
                let done = client.approve_draft(request).await.map_err(said)?.into_inner();
                print_done(&done.document.unwrap_or_default(), done.repeated, asked.output);
                Ok(ExitCode::SUCCESS)
            }
            CatalogueCommand::Publish { name, at: _, share, named, asked } if share.is_some() || !named.is_empty() => {
                let share_basis_points = share.as_deref().map_or(Ok(0), basis_points)?;
                let named = named.into_iter().map(|who| format!("subscribers/{who}")).collect();
                let (idempotency_key, reason, etag) = (key(&asked), asked.reason.clone(), String::new());
                let request =
                    wire::PublishShareRequest { name, etag, share_basis_points, named, idempotency_key, reason };
                let done = client(&asked.server).await?.publish_share(request).await.map_err(said)?.into_inner();
                print_done(&done.document.unwrap_or_default(), done.repeated, asked.output);
                Ok(ExitCode::SUCCESS)
            }
            CatalogueCommand::Promote { name, asked } => {
                let (idempotency_key, reason) = (key(&asked), asked.reason.clone());
                let request = wire::PromoteDocumentRequest { name, etag: String::new(), idempotency_key, reason };
                let done = client(&asked.server).await?.promote_document(request).await.map_err(said)?.into_inner();
                print_done(&done.document.unwrap_or_default(), done.repeated, asked.output);
                Ok(ExitCode::SUCCESS)
            }
            CatalogueCommand::Publish { name, at, asked, .. } => {
                let at = at.as_deref().map(|at| given("--at", at)).transpose()?;
                let (idempotency_key, reason) = (key(&asked), asked.reason.clone());
                let request = wire::PublishDocumentRequest { name, etag: String::new(), at, idempotency_key, reason };
                let done = client(&asked.server).await?.publish_document(request).await.map_err(said)?.into_inner();
                print_done(&done.document.unwrap_or_default(), done.repeated, asked.output);
                Ok(ExitCode::SUCCESS)
            }
            CatalogueCommand::Rollback { name, asked } => {
                let (idempotency_key, reason) = (key(&asked), asked.reason.clone());
                let request = wire::RollBackDocumentRequest { name, etag: String::new(), idempotency_key, reason };
                let done = client(&asked.server).await?.roll_back_document(request).await.map_err(said)?.into_inner();
                print_done(&done.document.unwrap_or_default(), done.repeated, asked.output);
                if let (Some(there), Output::Table) = (&done.in_force, asked.output) {
                    println!("{}: counts now", there.name);
                }
                Ok(ExitCode::SUCCESS)
            }
            CatalogueCommand::Watch { server } => watch(&mut client(&server).await?).await,
            CatalogueCommand::ClosePeriod { until, asked } => {
                let (idempotency_key, reason) = (key(&asked), asked.reason.clone());
                let request = wire::CloseAccountingPeriodRequest { until, idempotency_key, reason };
                let mut client = client(&asked.server).await?;
                let done = client.close_accounting_period(request).await.map_err(said)?.into_inner();
                let (document, closed) = (done.document.unwrap_or_default(), instant(done.closed_until.as_ref()));
                match asked.output {
                    Output::Json | Output::Yaml | Output::Csv => print::value(
                        asked.output,
                        &json!({ "document": as_json(&document), "closed_until": closed, "repeated": done.repeated }),
                    ),
                    Output::Table => println!("{}: closed before {}", document.name, closed.unwrap_or_default()),
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

async fn client(server: &Server) -> Result<Client, OpenError> {
    let client = CatalogueClient::new(connect(server).await?);
    Ok(client.max_decoding_message_size(ANSWER_OCTETS_MAX).max_encoding_message_size(ANSWER_OCTETS_MAX))
}

fn read(file: &Path) -> Result<String, OpenError> {
    std::fs::read_to_string(file).map_err(because(&file.display().to_string()))
}

/// The key that was given, or one that nobody has used.
fn key(asked: &CatalogueAsked) -> String {
    asked.key.clone().unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        format!("cli-{}-{now}", std::process::id())
    })
}

/// A share in percent, with up to two decimals.
fn basis_points(text: &str) -> Result<u32, OpenError> {
    let percent = text.strip_suffix('%').map(str::trim_end);
    let parsed = percent.and_then(|percent| percent.parse::<Money>().ok());
    let share = parsed.and_then(|percent| u32::try_from(percent.micros() / 10_000).ok().zip(Some(percent)));
    let exact = share.filter(|(points, percent)| i64::from(*points) * 10_000 == percent.micros() && *points > 0);
    exact.map(|(points, _)| points).ok_or_else(|| {
        OpenError(format!(
            "--share: '{text}' is no share; write it in percent with up to two decimals, e.g. 5% or 0.25%"
        ))
    })
}

fn given(flag: &str, text: &str) -> Result<prost_types::Timestamp, OpenError> {
    let at = parse_instant(text, &Zone::utc()).map_err(|reason| OpenError(format!("{flag}: {reason}")))?;
    Ok(ocs_proto::charging::convert::time(at))
}

fn instant(at: Option<&prost_types::Timestamp>) -> Option<String> {
    at.map(|at| {
        Timestamp::from_millis(at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos / 1_000_000)))
            .to_string()
    })
}

fn money(money: Option<&common::Money>) -> String {
    money.map_or_else(String::new, |money| super::micros(money.mantissa))
}

fn state(document: &wire::Document) -> String {
    document.state().as_str_name().trim_start_matches("DOCUMENT_STATE_").to_lowercase()
}

fn as_json(document: &wire::Document) -> Value {
    json!({
        "name": document.name, "version": document.version, "state": state(document), "etag": document.etag,
        "content_hash": hex(&document.content_hash), "valid_from": instant(document.valid_from.as_ref()),
        "author": document.author, "draft_time": instant(document.draft_time.as_ref()),
        "approver": document.approver, "approve_time": instant(document.approve_time.as_ref()),
        "due_time": instant(document.due_time.as_ref()),
        "publisher": document.publisher, "publish_time": instant(document.publish_time.as_ref()),
        "withdrawer": document.withdrawer, "withdraw_time": instant(document.withdraw_time.as_ref()),
        "failure": document.failure,
        "canary": document.canary.iter().map(|step| json!({
            "from": instant(step.from.as_ref()), "share_basis_points": step.share_basis_points, "named": step.named,
            "publisher": step.publisher,
        })).collect::<Vec<_>>(),
    })
}

/// Whom a canary is for, in words.
fn share(document: &wire::Document) -> Option<String> {
    let step = document.canary.last().filter(|_| document.state() == wire::DocumentState::Canary)?;
    let share = Share::new(step.share_basis_points).unwrap_or_default();
    let named = if step.named == 0 { String::new() } else { format!(" and {} by name", step.named) };
    Some(format!("{share} of subscribers{named}"))
}

fn print_done(document: &wire::Document, repeated: bool, output: Output) {
    match output {
        Output::Json | Output::Yaml | Output::Csv => {
            print::value(output, &json!({ "document": as_json(document), "repeated": repeated }))
        }
        Output::Table => {
            let due = instant(document.due_time.as_ref()).map(|due| format!(" for {due}")).unwrap_or_default();
            let share = share(document).map(|share| format!(" for {share}")).unwrap_or_default();
            let again = if repeated { " (this key was used before; nothing changed)" } else { "" };
            println!("{}: {}{due}{share}   etag {}{again}", document.name, state(document), document.etag);
        }
    }
}

async fn list(client: &mut Client, wanted: Option<DocumentState>, output: Output) -> Result<ExitCode, OpenError> {
    let wanted = match wanted {
        None => wire::DocumentState::Unspecified,
        Some(DocumentState::Draft) => wire::DocumentState::Draft,
        Some(DocumentState::Approved) => wire::DocumentState::Approved,
        Some(DocumentState::Scheduled) => wire::DocumentState::Scheduled,
        Some(DocumentState::Canary) => wire::DocumentState::Canary,
        Some(DocumentState::Published) => wire::DocumentState::Published,
        Some(DocumentState::RolledBack) => wire::DocumentState::RolledBack,
    };
    let (mut documents, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = wire::ListDocumentsRequest { page_size: 1000, page_token, kind: 0, state: wanted.into() };
        let mut page = client.list_documents(request).await.map_err(said)?.into_inner();
        documents.append(&mut page.documents);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    match output {
        Output::Json | Output::Yaml | Output::Csv => {
            print::value(output, &Value::Array(documents.iter().map(as_json).collect()))
        }
        Output::Table => {
            println!("{:<44} {:<12} {:<26} {:<16} APPROVER", "NAME", "STATE", "VALID FROM", "AUTHOR");
            for document in &documents {
                println!(
                    "{:<44} {:<12} {:<26} {:<16} {}",
                    document.name,
                    state(document),
                    instant(document.valid_from.as_ref()).unwrap_or_else(|| "-".to_owned()),
                    document.author,
                    document.approver
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn validate(file: &Path, server: &Server, output: Output) -> Result<ExitCode, OpenError> {
    let request = wire::ValidateDocumentRequest { source: read(file)? };
    let found = client(server).await?.validate_document(request).await.map_err(said)?.into_inner();
    match output {
        Output::Json | Output::Yaml | Output::Csv => print::value(
            output,
            &json!({
                "problems": found.problems.iter().map(|it| json!({ "path": it.path, "line": it.line, "reason": it.reason })).collect::<Vec<_>>(),
                "document": found.document.as_ref().map(as_json),
            }),
        ),
        Output::Table => {
            for problem in &found.problems {
                let place = match (problem.path.as_str(), problem.line) {
                    ("", 0) => String::new(),
                    ("", line) => format!("{line}: "),
                    (path, _) => format!("{path}: "),
                };
                println!("{}: {place}{}", file.display(), problem.reason);
            }
            if let Some(document) = &found.document {
                println!("{}: good, {}", file.display(), document.name);
            }
        }
    }
    Ok(if found.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_diff(found: &wire::DiffDocumentsResponse, output: Output) {
    match output {
        Output::Json | Output::Yaml | Output::Csv => print::value(
            output,
            &json!({
                "old": found.old_name, "new": found.new_name,
                "changes": found.changes.iter().map(|change| json!({
                    "path": change.path,
                    "kind": change.kind().as_str_name().trim_start_matches("DOCUMENT_CHANGE_KIND_").to_lowercase(),
                    "before": change.before, "after": change.after, "words": change.words,
                    "effect": change.effect().as_str_name().trim_start_matches("COST_EFFECT_").to_lowercase(),
                })).collect::<Vec<_>>(),
            }),
        ),
        Output::Table => {
            println!("{} to {}", found.old_name, found.new_name);
            for change in &found.changes {
                let effect = match change.effect() {
                    wire::CostEffect::Dearer => "dearer   ",
                    wire::CostEffect::Cheaper => "cheaper  ",
                    wire::CostEffect::Open | wire::CostEffect::Unspecified => "         ",
                };
                println!("  {effect}{}", change.words);
            }
        }
    }
}

async fn simulate(options: CatalogueSimulate) -> Result<ExitCode, OpenError> {
    let usage = options.usage;
    let at = usage.at.as_deref().map(|at| given("--at", at)).transpose()?;
    let request = wire::SimulateEventRequest {
        drafts: options.draft,
        subscriber: options.who.map(|who| format!("subscribers/{who}")).unwrap_or_default(),
        tariff: options.tariff,
        offers: options.offers,
        balance: options.balance,
        used: usage.used,
        at,
        service: usage.service,
        rating_group: usage.rating_group,
        service_id: usage.service_id,
        to: usage.to.unwrap_or_default(),
        from: usage.from.unwrap_or_default(),
        visited: usage.visited.unwrap_or_default(),
        rat: usage.rat.unwrap_or_default(),
        apn: usage.apn.unwrap_or_default(),
    };
    let answer = client(&options.server).await?.simulate_event(request).await.map_err(said)?.into_inner();
    match options.output {
        Output::Json | Output::Yaml | Output::Csv => print::value(
            options.output,
            &json!({
                "charged": answer.charged, "refused": Some(&answer.refusal).filter(|it| !it.is_empty()),
                "charges": answer.charges.iter().map(|charge| json!({
                    "amount": money(charge.amount.as_ref()),
                    "currency": charge.amount.as_ref().map(|amount| amount.currency.clone()),
                    "tariff": charge.tariff, "version": charge.tariff_version, "price": charge.price, "words": charge.words,
                })).collect::<Vec<_>>(),
            }),
        ),
        Output::Table => {
            for charge in &answer.charges {
                let mut lines = charge.words.iter();
                lines.next().into_iter().for_each(|line| println!("{line}"));
                lines.for_each(|line| println!("  {line}"));
            }
            if !answer.charged {
                println!("refused: {}", answer.refusal);
            }
        }
    }
    Ok(if answer.charged { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn simulate_period(
    client: &mut Client,
    request: wire::SimulatePeriodRequest,
    output: Output,
) -> Result<ExitCode, OpenError> {
    use wire::simulate_period_response::Step;
    let mut steps = client.simulate_period(request).await.map_err(said)?.into_inner();
    let mut progress = None;
    let result = loop {
        let step = steps.message().await.map_err(said)?.and_then(|message| message.step);
        match step {
            Some(Step::Progress(at)) => progress.get_or_insert_with(|| bar(at.cdrs, "CDRs")).set_position(at.cdrs_read),
            Some(Step::Result(result)) => break result,
            None => return Err(OpenError("the simulation ended without a result; try again".to_owned())),
        }
    };
    if let Some(progress) = progress {
        progress.finish_and_clear();
    }
    let totals = |it: Option<&wire::SimulationTotals>| {
        let it = it.cloned().unwrap_or_default();
        let currency = it.new.as_ref().map(|money| money.currency.clone()).unwrap_or_default();
        (money(it.old.as_ref()), money(it.new.as_ref()), currency, it.sessions, it.cdrs)
    };
    match output {
        Output::Json | Output::Yaml | Output::Csv => {
            let totals = |it: Option<&wire::SimulationTotals>| {
                let (old, new, currency, sessions, cdrs) = totals(it);
                json!({ "old": old, "new": new, "currency": currency, "sessions": sessions, "cdrs": cdrs })
            };
            let subscriber = |it: &wire::SimulatedSubscriber| json!({ "subscriber": it.subscriber_id, "old": money(it.old.as_ref()), "new": money(it.new.as_ref()) });
            print::value(
                output,
                &json!({
                    "totals": totals(result.totals.as_ref()),
                    "offers": result.offers.iter().map(|it| {
                        json!({ "offer": Some(&it.offer).filter(|offer| !offer.is_empty()), "totals": totals(it.totals.as_ref()) })
                    }).collect::<Vec<_>>(),
                    "subscribers": { "dearer": result.dearer, "cheaper": result.cheaper, "unchanged": result.unchanged },
                    "losers": result.losers.iter().map(subscriber).collect::<Vec<_>>(),
                    "winners": result.winners.iter().map(subscriber).collect::<Vec<_>>(),
                    "not_simulated": result.left_out.iter().map(|gap| json!({
                        "reason": gap.reason, "words": gap.words, "cdrs": gap.cdrs, "charged": money(gap.charged.as_ref()),
                    })).collect::<Vec<_>>(),
                }),
            );
        }
        Output::Table => {
            let print = |what: &str, it: Option<&wire::SimulationTotals>| {
                let (old, new, currency, sessions, cdrs) = totals(it);
                println!("{what:<24}{old:>16} to {new:>16} {currency}; {sessions} sessions, {cdrs} CDRs");
            };
            print("all", result.totals.as_ref());
            for it in &result.offers {
                let offer = if it.offer.is_empty() { "none" } else { &it.offer };
                print(&format!("  offer {offer}"), it.totals.as_ref());
            }
            let wire::SimulationResult { dearer, cheaper, unchanged, .. } = result;
            println!("subscribers             {dearer} dearer, {cheaper} cheaper, {unchanged} unchanged");
            for (what, those) in [("pays more", &result.losers), ("pays less", &result.winners)] {
                for it in those {
                    let (old, new) = (money(it.old.as_ref()), money(it.new.as_ref()));
                    println!("  {what}   subscriber {}: {old} to {new}", it.subscriber_id);
                }
            }
            for gap in &result.left_out {
                println!("not simulated           {} CDRs, {}: {}", gap.cdrs, money(gap.charged.as_ref()), gap.words);
            }
        }
    }
    Ok(if result.left_out.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn watch(client: &mut Client) -> Result<ExitCode, OpenError> {
    let mut changes = client.watch_documents(wire::WatchDocumentsRequest {}).await.map_err(said)?.into_inner();
    while let Some(change) = changes.message().await.map_err(said)? {
        let document = as_json(&change.document.unwrap_or_default());
        println!("{}", json!({ "document": document, "deleted": change.deleted }));
    }
    Ok(ExitCode::SUCCESS)
}
