//! `ocs cdr`: rated CDRs as finance reads them, over gRPC.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ocs_proto::cdr::v1 as wire;
use ocs_proto::cdr::v1::cdr_export_client::CdrExportClient;
use serde_json::json;

use super::{connect, hex, micros, print, remote, said};
use crate::audit::Summary;
use crate::cli::{Cdr, Output};
use crate::store::{OpenError, because};

/// Records shown when no position is named.
const SHOWN_DEFAULT: u64 = 10;
/// Largest response that is read, octets.
const RESPONSE_OCTETS_MAX: usize = 64 << 20;

#[derive(Default)]
struct Totals {
    cdrs: u64,
    charged: BTreeMap<String, i128>,
    last_position: u64,
    chain: Vec<u8>,
}

/// `ocs cdr`.
pub(super) fn run(command: Cdr) -> Result<ExitCode, OpenError> {
    let (from, follow, totals, summary, server, output) = match command {
        Cdr::Tail { from, follow, totals, summary, server, output } => (from, follow, totals, summary, server, output),
        Cdr::Totals { period, server, output } => return super::control::totals(period.as_deref(), &server, output),
        Cdr::Explain { position, data, output } => return super::explain::cdr(position, &data, output),
    };
    remote(async {
        let client = CdrExportClient::new(connect(&server).await?);
        let mut client = client.max_decoding_message_size(RESPONSE_OCTETS_MAX);
        let tail = client.get_tail(wire::GetTailRequest {}).await.map_err(said)?.into_inner();
        let recent = tail.last_position.saturating_sub(SHOWN_DEFAULT - 1).max(tail.first_position).max(1);
        let from_position = from.unwrap_or(recent);
        let request = wire::StreamCdrsRequest { from_position, follow, ..wire::StreamCdrsRequest::default() };
        let mut stream = client.stream_cdrs(request).await.map_err(said)?.into_inner();
        let mut sums = Totals::default();
        let mut shown = Instant::now();
        let mut stop = Box::pin(super::stop_signal()?);
        let mut ended = None;
        loop {
            let next = tokio::select! {
                next = stream.message() => next,
                () = &mut stop => break,
            };
            let response = match next {
                Ok(Some(response)) => response,
                Ok(None) => break,
                Err(status) => {
                    ended = Some(said(status));
                    break;
                }
            };
            for cdr in &response.records {
                add(&mut sums, cdr);
                if !totals && print_cdr(cdr, output, sums.cdrs == 1).is_err() {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            if !response.chain_hash.is_empty() {
                sums.chain = response.chain_hash;
            }
            if totals && shown.elapsed() >= Duration::from_secs(1) {
                shown = Instant::now();
                eprintln!("CDRs {:>9}   position {:>9}   charged {}", sums.cdrs, sums.last_position, charged(&sums));
            }
        }
        if totals {
            println!("CDRs {}   last position {}   charged {}", sums.cdrs, sums.last_position, charged(&sums));
        }
        if let Some(path) = summary {
            let summary = Summary {
                from: "ocs cdr tail".to_owned(),
                cdrs: Some(sums.cdrs),
                charged_micros: Some(sums.charged),
                chain: Some(hex(&sums.chain)),
            };
            let text = serde_json::to_string_pretty(&summary).map_err(because("summary"))?;
            std::fs::write(&path, text).map_err(because(&path.display().to_string()))?;
        }
        // What was read before is good; where to go on is in the server's words or the last position.
        if let Some(why) = ended {
            eprintln!("ocs: the stream ended after CDR {}: {why}", sums.last_position);
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn add(sums: &mut Totals, cdr: &wire::RatedCdr) {
    sums.cdrs += 1;
    sums.last_position = cdr.position;
    if cdr.kind() == wire::CdrKind::Usage
        && let Some(amount) = &cdr.amount
    {
        *sums.charged.entry(amount.currency.clone()).or_default() += i128::from(amount.mantissa);
    }
}

fn charged(sums: &Totals) -> String {
    let shown = sums.charged.iter();
    let shown: Vec<String> = shown
        .map(|(currency, sum)| format!("{} {currency}", micros(i64::try_from(*sum).unwrap_or(i64::MAX))))
        .collect();
    if shown.is_empty() { "0.00".to_owned() } else { shown.join(", ") }
}

fn print_cdr(cdr: &wire::RatedCdr, output: Output, first: bool) -> std::io::Result<()> {
    let amount = cdr.amount.as_ref();
    let money = amount.map_or_else(String::new, |amount| micros(amount.mantissa));
    let currency = amount.map_or("", |amount| &amount.currency);
    let kind = cdr.kind().as_str_name().trim_start_matches("CDR_KIND_").to_lowercase();
    let (session, key) = match &cdr.source {
        Some(wire::rated_cdr::Source::Network(network)) => (
            String::from_utf8_lossy(&network.session_id).into_owned(),
            network.service_key.as_ref().and_then(|key| key.rating_group).map(|group| format!("rg {group}")),
        ),
        Some(wire::rated_cdr::Source::Operator(operator)) => (operator.key.clone(), None),
        Some(wire::rated_cdr::Source::Calendar(_)) | None => (String::new(), None),
    };
    let rating = cdr.rating.as_ref();
    let mut out = std::io::stdout().lock();
    match output {
        Output::Table => writeln!(
            out,
            "{:<12} {:<9} account {:<10} {:<8} used {:<12} {:>12} {currency}  {session}",
            cdr.cdr_id,
            kind,
            cdr.account_id,
            key.unwrap_or_default(),
            rating.map_or(0, |rating| rating.used),
            money,
        ),
        Output::Json | Output::Yaml | Output::Csv => {
            let movements: Vec<_> = cdr
                .movements
                .iter()
                .map(|movement| {
                    json!({
                        "bucket": movement.bucket_id, "before": movement.before, "delta": movement.delta,
                        "after": movement.after,
                    })
                })
                .collect();
            let line = json!({
                "cdr_id": cdr.cdr_id, "position": cdr.position, "kind": kind, "account": cdr.account_id,
                "number": cdr.account_cdr_number, "previous_position": cdr.previous_position,
                "session": session, "rating_group": key,
                "amount": money, "currency": currency,
                "used": rating.map(|rating| rating.used), "rated": rating.map(|rating| rating.rated),
                "tariff": rating.and_then(|rating| rating.tariff.as_ref()).map(|tariff| tariff.name.clone()),
                "price": rating.map(|rating| rating.price_id.clone()),
                "offer": cdr.offer.as_ref().map(|offer| offer.name.clone()),
                "movements": movements,
            });
            drop(out);
            print::one(output, &line, first)
        }
    }
}
