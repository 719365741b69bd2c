//! `ocs cdr totals` and `ocs audit --live`: what CDRs come to, and whether balances follow from them.

use std::process::ExitCode;

use ocs_proto::cdr::v1 as wire;
use ocs_proto::cdr::v1::control_totals_client::ControlTotalsClient;
use serde_json::{Value, json};

use super::change::at;
use super::operator::{amount, instant};
use super::{connect, hex, micros, print, remote, said};
use crate::cli::{self, Output, Server};
use crate::store::OpenError;

/// `ocs cdr totals`.
pub(super) fn totals(period: Option<&str>, server: &Server, output: Output) -> Result<ExitCode, OpenError> {
    let accounting_period = period.map(|text| at("--period", text)).transpose()?;
    remote(async {
        let mut client = ControlTotalsClient::new(connect(server).await?);
        let request = wire::GetControlTotalsRequest { accounting_period };
        let answer = client.get_control_totals(request).await.map_err(said)?.into_inner();
        if output == Output::Table {
            table(&answer);
        } else {
            print::value(output, &shown(&answer));
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn kind(row: &wire::ControlTotal) -> String {
    row.kind().as_str_name().trim_start_matches("CDR_KIND_").to_lowercase()
}

fn name<'a>(long: &'a str, prefix: &str) -> &'a str {
    long.trim_start_matches(prefix)
}

fn shown(answer: &wire::GetControlTotalsResponse) -> Value {
    let movement = |moved: &wire::MovementTotal| {
        json!({
            "holding": name(moved.holding().as_str_name(), "HOLDING_").to_lowercase(),
            "origin": name(moved.origin().as_str_name(), "ORIGIN_").to_lowercase(),
            "given": moved.given, "taken": moved.taken, "cost_micros": moved.cost,
        })
    };
    let rows = answer.periods.iter().flat_map(|period| {
        let begin = instant(period.accounting_period.as_ref());
        period.totals.iter().map(move |row| {
            json!({
                "accounting_period": begin, "kind": kind(row), "currency": row.currency, "cdrs": row.cdr_count,
                "late": row.late_count, "amount": row.amount.as_ref().map(|amount| micros(amount.mantissa)),
                "movements": row.movements.iter().map(movement).collect::<Vec<_>>(),
            })
        })
    });
    json!({
        "partition": answer.partition, "since_position": answer.since_position,
        "since_chain": hex(&answer.since_chain_hash), "through_position": answer.through_position,
        "chain": hex(&answer.chain_hash), "totals": rows.collect::<Vec<_>>(),
    })
}

fn table(answer: &wire::GetControlTotalsResponse) {
    println!(
        "partition {}   CDRs {} to {}   chain {}",
        answer.partition,
        answer.since_position,
        answer.through_position,
        hex(&answer.chain_hash)
    );
    for period in &answer.periods {
        let begin = instant(period.accounting_period.as_ref());
        println!("\naccounting period {}", begin.as_deref().unwrap_or("(none was kept)"));
        for row in &period.totals {
            let money = row.amount.as_ref().map_or_else(String::new, |amount| micros(amount.mantissa));
            let late = if row.late_count > 0 { format!("   {} late", row.late_count) } else { String::new() };
            println!("  {:<11} {:>12} CDRs {money:>20} {}{late}", kind(row), row.cdr_count, row.currency);
            for moved in &row.movements {
                let what = moved.holding;
                println!(
                    "    {:<8} given {:>20}   taken {:>20}   cost {:>16}",
                    name(moved.origin().as_str_name(), "ORIGIN_").to_lowercase(),
                    amount(what, moved.given),
                    amount(what, moved.taken),
                    micros(moved.cost)
                );
            }
        }
    }
}

/// `ocs audit --live`.
pub(super) fn reconcile(options: &cli::Audit) -> Result<ExitCode, OpenError> {
    remote(async {
        let mut client = ControlTotalsClient::new(connect(&options.server).await?);
        let compared = client.reconcile(wire::ReconcileRequest {}).await.map_err(said)?.into_inner();
        let is_clean = compared.finding_count == 0;
        if options.output == Output::Table {
            comparison(&compared);
        } else {
            let holdings = compared.holdings.iter().map(|row| {
                json!({
                    "currency": row.currency, "holding": name(row.holding().as_str_name(), "HOLDING_").to_lowercase(),
                    "opening": row.opening, "given": row.given, "taken": row.taken, "closing": row.closing,
                    "given_by_cdrs": row.given_by_cdrs, "taken_by_cdrs": row.taken_by_cdrs,
                })
            });
            let report = json!({
                "through_position": compared.through_position, "accounts": compared.account_count,
                "holdings": holdings.collect::<Vec<_>>(), "findings": compared.findings,
                "findings_total": compared.finding_count,
            });
            print::value(options.output, &report);
        }
        Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn comparison(compared: &wire::ReconcileResponse) {
    println!("accounts {}   CDRs up to {}", compared.account_count, compared.through_position);
    println!("{:<14} {:>22} {:>22} {:>22} {:>22}", "", "opening", "came in", "went out", "closing");
    for row in &compared.holdings {
        let what = name(row.holding().as_str_name(), "HOLDING_").to_lowercase();
        let [opening, given, taken, closing] =
            [row.opening, row.given, row.taken, row.closing].map(|sum| amount(row.holding, sum));
        println!("{:<14} {opening:>22} {given:>22} {taken:>22} {closing:>22}", format!("{} {what}", row.currency));
        match (row.given_by_cdrs, row.taken_by_cdrs) {
            (Some(given), Some(taken)) => {
                let [given, taken] = [given, taken].map(|sum| amount(row.holding, sum));
                println!("{:<14} {:>22} {given:>22} {taken:>22}", "  by CDRs", "");
            }
            (None, _) | (_, None) => println!("{:<14} {:>22}", "  by CDRs", "not since the first"),
        }
    }
    if compared.finding_count == 0 {
        println!("result         balances follow from the CDRs to the micro-unit");
    } else {
        println!("result         {} findings", compared.finding_count);
        compared.findings.iter().for_each(|finding| println!("  - {finding}"));
    }
}
