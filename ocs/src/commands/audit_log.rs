//! `ocs auditlog`: who changed what, and whether the log is as it was written.

use std::process::ExitCode;

use ocs_api::client::AuditLogClient;
use ocs_proto::operator::v1 as wire;
use serde_json::json;

use super::operator::instant;
use super::{connect, hex, print, remote, said};
use crate::cli::{AuditLog, Output};
use crate::store::OpenError;

/// `ocs auditlog`.
pub(super) fn run(command: AuditLog) -> Result<ExitCode, OpenError> {
    remote(async {
        match command {
            AuditLog::List { target, caller, max, server, output } => {
                let mut client = AuditLogClient::new(connect(&server).await?);
                let (mut found, mut page_token) = (Vec::new(), String::new());
                while found.len() < max {
                    let request = wire::ListAuditRecordsRequest {
                        page_size: 1000,
                        page_token,
                        target: target.clone(),
                        caller: caller.clone(),
                    };
                    let page = client.list_audit_records(request).await.map_err(said)?.into_inner();
                    found.extend(page.records);
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                found.truncate(max);
                list(&found, output);
                Ok(ExitCode::SUCCESS)
            }
            AuditLog::Verify { known, server, output } => {
                let (known_position, known_hash) = known.as_deref().map_or(Ok((0, Vec::new())), head)?;
                let mut client = AuditLogClient::new(connect(&server).await?);
                let request = wire::VerifyAuditLogRequest { known_position, known_hash };
                let verdict = client.verify_audit_log(request).await.map_err(said)?.into_inner();
                let is_whole = verdict.broken_position == 0;
                let head = format!("{}:{}", verdict.records, hex(&verdict.chain_hash));
                match output {
                    Output::Table if is_whole => {
                        println!("{} records, as they were written\nhead {head}", verdict.records)
                    }
                    Output::Table => println!("record {}: {}", verdict.broken_position, verdict.finding),
                    Output::Json | Output::Yaml | Output::Csv => print::value(
                        output,
                        &json!({
                            "records": verdict.records, "head": is_whole.then_some(head),
                            "broken": (!is_whole).then_some(verdict.broken_position), "finding": verdict.finding,
                        }),
                    ),
                }
                Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
        }
    })
}

/// `position:hash`.
fn head(text: &str) -> Result<(u64, Vec<u8>), OpenError> {
    let malformed = || OpenError(format!("--known {text}: give it as `ocs auditlog verify` said it: position:hash"));
    let (position, digits) = text.split_once(':').ok_or_else(malformed)?;
    let pairs = digits.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2);
        pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
    });
    let hash: Vec<u8> = pairs.collect::<Option<_>>().ok_or_else(malformed)?;
    Ok((position.parse().map_err(|_| malformed())?, hash))
}

fn list(found: &[wire::AuditRecord], output: Output) {
    if output != Output::Table {
        let rows: Vec<_> = found
            .iter()
            .map(|record| {
                json!({
                    "position": record.position, "time": instant(record.time.as_ref()), "caller": record.caller,
                    "method": record.method, "target": record.target, "key": record.idempotency_key,
                    "reason": record.reason, "chain": hex(&record.chain_hash),
                    "differences": record.differences.iter().map(|it| json!({
                        "what": it.what, "before": it.before, "after": it.after,
                    })).collect::<Vec<_>>(),
                })
            })
            .collect();
        print::value(output, &json!(rows));
        return;
    }
    for record in found {
        let when = instant(record.time.as_ref()).unwrap_or_default();
        let reason = if record.reason.is_empty() { String::new() } else { format!("   \"{}\"", record.reason) };
        println!(
            "{:<8} {when}   {:<12} {:<28} {}{reason}",
            record.position, record.caller, record.method, record.target
        );
        for it in &record.differences {
            let said = |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
            println!("           {}: {} to {}", it.what, said(&it.before), said(&it.after));
        }
    }
}
