//! `ocs session`: what is open, and having clients ask again or stop.

use std::io::Write;
use std::process::ExitCode;

use ocs_api::client::{AccountsClient, SessionsClient};
use ocs_proto::operator::v1 as wire;
use serde_json::{Value, json};

use super::operator::{fetch, instant, key, money};
use super::{connect, print, remote, said};
use crate::cli::{Output, SessionCommand};
use crate::store::OpenError;

/// `ocs session`.
pub(super) fn run(command: SessionCommand) -> Result<ExitCode, OpenError> {
    remote(async {
        match command {
            SessionCommand::List { account, client: client_host, waiting, max, server, output } => {
                let connection = connect(&server).await?;
                let account = match account {
                    None => String::new(),
                    Some(who) => fetch(&mut AccountsClient::new(connection.clone()), &who).await?.name,
                };
                let mut client = SessionsClient::new(connection);
                let (mut found, mut page_token) = (Vec::new(), String::new());
                while found.len() < max {
                    let request = wire::ListSessionsRequest {
                        page_size: i32::try_from((max - found.len()).min(1000)).unwrap_or(1000),
                        page_token,
                        account: account.clone(),
                        client_host: client_host.clone(),
                        waiting,
                    };
                    let page = client.list_sessions(request).await.map_err(said)?.into_inner();
                    found.extend(page.sessions);
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                list(&found, output);
                Ok(ExitCode::SUCCESS)
            }
            SessionCommand::Watch { account, client: client_host, max, server, output } => {
                let connection = connect(&server).await?;
                let account = match account {
                    None => String::new(),
                    Some(who) => fetch(&mut AccountsClient::new(connection.clone()), &who).await?.name,
                };
                let request = wire::WatchSessionsRequest { account, client_host };
                let mut client = SessionsClient::new(connection);
                let mut changes = client.watch_sessions(request).await.map_err(said)?.into_inner();
                let mut told = 0;
                while max.is_none_or(|max| told < max) {
                    let Some(change) = changes.message().await.map_err(said)? else { break };
                    if watched(&change, output, told == 0).is_err() {
                        break;
                    }
                    told += 1;
                }
                Ok(ExitCode::SUCCESS)
            }
            SessionCommand::Show { name, server, output } => {
                let mut client = SessionsClient::new(connect(&server).await?);
                let found = client.get_session(wire::GetSessionRequest { name }).await.map_err(said)?.into_inner();
                let found = found.session.ok_or_else(|| OpenError("the server sent no session".to_owned()))?;
                if output == Output::Table {
                    show(&found);
                } else {
                    print::value(output, &as_json(&found));
                }
                Ok(ExitCode::SUCCESS)
            }
            SessionCommand::Reauthorize(asked) => {
                let mut client = SessionsClient::new(connect(&asked.server).await?);
                let request = wire::ReauthorizeSessionRequest { name: asked.name, reason: asked.reason };
                let answer = client.reauthorize_session(request).await.map_err(said)?.into_inner().answer;
                Ok(told(answer, asked.output))
            }
            SessionCommand::Terminate(asked) => {
                let mut client = SessionsClient::new(connect(&asked.server).await?);
                let request = wire::TerminateSessionRequest { name: asked.name, reason: asked.reason };
                let answer = client.terminate_session(request).await.map_err(said)?.into_inner().answer;
                Ok(told(answer, asked.output))
            }
            SessionCommand::Release(asked) => {
                let mut client = SessionsClient::new(connect(&asked.server).await?);
                let request = wire::ReleaseSessionRequest { name: asked.name.clone(), reason: asked.reason };
                client.release_session(request).await.map_err(said)?;
                match asked.output {
                    Output::Table => println!("{}: released", asked.name),
                    Output::Json | Output::Yaml | Output::Csv => {
                        print::value(asked.output, &json!({"name": asked.name, "released": true}));
                    }
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

fn told(answer: Option<wire::ClientAnswer>, output: Output) -> ExitCode {
    let answer = answer.unwrap_or_default();
    let kind = answer.kind().as_str_name().trim_start_matches("CLIENT_ANSWER_KIND_").to_lowercase().replace('_', " ");
    match output {
        Output::Table => {
            let message = if answer.message.is_empty() { String::new() } else { format!(": {}", answer.message) };
            let code = if answer.result_code == 0 { String::new() } else { format!(" ({})", answer.result_code) };
            println!("{kind}{code}{message}");
        }
        Output::Json | Output::Yaml | Output::Csv => {
            print::value(output, &json!({"answer": kind, "result_code": answer.result_code, "message": answer.message}))
        }
    }
    if answer.kind() == wire::ClientAnswerKind::Consented { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn watched(change: &wire::WatchSessionsResponse, output: Output, first: bool) -> std::io::Result<()> {
    let event = change.event().as_str_name().trim_start_matches("SESSION_EVENT_").to_lowercase();
    if output != Output::Table {
        let session = change.session.as_ref().map(as_json);
        return print::one(output, &json!({"event": event, "missed": change.missed, "session": session}), first);
    }
    let mut out = std::io::stdout().lock();
    match &change.session {
        None => writeln!(out, "missed {} changes; list the sessions to see how they are", change.missed),
        Some(session) => {
            let open = session.session.clone().unwrap_or_default();
            let charged = money(open.charged.as_ref());
            writeln!(
                out,
                "{event:<8} {:<48} {:<18} {:<24} charged {charged}",
                session.name, session.account, open.client_host
            )
        }
    }
}

fn list(found: &[wire::Session], output: Output) {
    if output != Output::Table {
        print::value(output, &json!(found.iter().map(as_json).collect::<Vec<_>>()));
        return;
    }
    println!(
        "NAME                                             ACCOUNT            CLIENT                   OPENED                     CHARGED"
    );
    for session in found {
        let open = session.session.clone().unwrap_or_default();
        let waiting = if open.services.iter().any(|service| service.waiting) { "  waiting for money" } else { "" };
        println!(
            "{:<48} {:<18} {:<24} {:<26} {}{waiting}",
            session.name,
            session.account,
            open.client_host,
            instant(open.opened.as_ref()).unwrap_or_default(),
            money(open.charged.as_ref())
        );
    }
}

fn show(session: &wire::Session) {
    let open = session.session.clone().unwrap_or_default();
    println!("name           {}", session.name);
    println!("session id     {}", String::from_utf8_lossy(&open.session_id));
    println!("account        {}   subscriber {}", session.account, open.subscriber_id);
    println!("client         {}", open.client_host);
    println!("opened         {}", instant(open.opened.as_ref()).unwrap_or_default());
    println!("expires        {}   unless its client is heard", instant(open.deadline.as_ref()).unwrap_or_default());
    println!("charged        {}", money(open.charged.as_ref()));
    for service in &open.services {
        println!("\n{}   charged {}", key(service.service_key.as_ref()), money(service.charged.as_ref()));
        for used in &service.used {
            println!("  used         {} by price {} of version {}", used.used, used.price_id, used.tariff_version);
        }
        match &service.grant {
            None if service.waiting => println!("  no grant; it waits for money"),
            None => println!("  no grant"),
            Some(grant) => {
                println!("  granted      {} for {} s", grant.quantity, grant.validity_seconds);
                for held in grant.held.iter().chain(&grant.sponsor_held) {
                    println!("  held         {} of {}", held.amount, held.bucket_id);
                }
            }
        }
    }
}

fn as_json(session: &wire::Session) -> Value {
    let open = session.session.clone().unwrap_or_default();
    let services: Vec<Value> = open
        .services
        .iter()
        .map(|service| {
            let grant = service.grant.as_ref();
            let held = |held: &wire::Held| json!({"bucket": held.bucket_id, "amount": held.amount});
            json!({
                "key": key(service.service_key.as_ref()), "charged": money(service.charged.as_ref()),
                "waiting": service.waiting, "granted": grant.map(|grant| grant.quantity),
                "validity_seconds": grant.map(|grant| grant.validity_seconds),
                "held": grant.map(|grant| grant.held.iter().chain(&grant.sponsor_held).map(held).collect::<Vec<_>>()),
                "used": service.used.iter().map(|used| json!({
                    "price": used.price_id, "tariff_version": used.tariff_version, "window": used.window, "used": used.used,
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "name": session.name, "account": session.account, "subscriber": open.subscriber_id,
        "session_id": String::from_utf8_lossy(&open.session_id), "client": open.client_host,
        "opened": instant(open.opened.as_ref()), "deadline": instant(open.deadline.as_ref()),
        "charged": money(open.charged.as_ref()), "services": services,
    })
}
