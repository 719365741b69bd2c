//! `ocs usage`: records of what was used, handed to a running system.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use futures_util::stream;
use ocs_api::client::UsageClient;
use ocs_proto::charging::convert;
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use rating_engine::calendar::Zone;
use rating_engine::money::Money;
use rating_engine::tariff::Service;
use rating_engine::units::Unit;
use serde::Deserialize;
use serde_json::json;

use super::data::bar;
use super::{charges, connect, print, remote, said};
use crate::catalogue::text::{parse_instant, parse_quantity, parse_rat};
use crate::cli::{Output, Server, Usage};
use crate::import;
use crate::store::OpenError;

/// Records that were not charged, shown as text.
const SHOWN_MAX: usize = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecord {
    record: String,
    identifiers: Vec<String>,
    start: String,
    end: Option<String>,
    service: String,
    used: Vec<RawUsage>,
    #[serde(default)]
    network: String,
    rat: Option<String>,
    #[serde(default)]
    apn: String,
    #[serde(default)]
    called: String,
    #[serde(default)]
    calling: String,
    #[serde(default)]
    incoming: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUsage {
    rating_group: Option<u32>,
    #[serde(default)]
    service_ids: Vec<u32>,
    seconds: Option<Quantity>,
    octets: Option<Quantity>,
    uplink_octets: Option<Quantity>,
    downlink_octets: Option<Quantity>,
    events: Option<Quantity>,
    amount: Option<String>,
    currency: Option<String>,
}

/// `61` or `"5 MiB"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Quantity {
    Number(u64),
    Text(String),
}

impl Quantity {
    fn read(&self, member: &str, unit: Unit) -> Result<u64, String> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Text(text) => parse_quantity(text, unit).map_err(|reason| format!("{member}: {reason}")),
        }
    }
}

/// `ocs usage`.
pub(super) fn run(command: Usage) -> Result<ExitCode, OpenError> {
    let (files, dry_run, server, output) = match command {
        Usage::Charge { files, dry_run, server, output } => (files, dry_run, server, output),
        Usage::Refund { cdr, amount, asking } => return remote(charges::refund(cdr, amount, &asking)),
        Usage::List { who, from, to, max, server, output } => {
            return remote(charges::list(&who, (from.as_deref(), to.as_deref()), max, &server, output));
        }
        Usage::Explain { cdr, server, output } => return remote(charges::explain(cdr, &server, output)),
        Usage::Totals { who, from, to, server, output } => {
            return remote(charges::totals(&who, (&from, &to), &server, output));
        }
    };
    let named = |file: PathBuf| if file.as_os_str() == "-" { PathBuf::from("/dev/stdin") } else { file };
    let files: Vec<PathBuf> = files.into_iter().map(named).collect();
    // All of them before anything is sent.
    let records = import::read_lines(&files, |raw: RawRecord| record(&raw)).map_err(|errors| {
        // It imports nothing.
        OpenError(errors.to_string().replace("nothing was imported", "nothing was sent"))
    })?;
    if dry_run {
        println!("good: {} usage records", records.len());
        return Ok(ExitCode::SUCCESS);
    }
    let sums = remote(charge(records, &server))?;
    sums.print(output);
    Ok(if sums.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn charge(records: Vec<wire::UsageRecord>, server: &Server) -> Result<Sums, OpenError> {
    let mut client = UsageClient::new(connect(server).await?);
    let progress = bar(u64::try_from(records.len()).unwrap_or(0), "usage records");
    let requests = records.into_iter().map(|record| wire::ChargeRecordsRequest { record: Some(record) });
    let mut answers = client.charge_records(stream::iter(requests)).await.map_err(said)?.into_inner();
    let mut sums = Sums::default();
    while let Some(answer) = answers.message().await.map_err(|status| {
        let OpenError(reason) = said(status);
        OpenError(format!("after {} answers: {reason}; send the files again, nothing is charged twice", sums.answers))
    })? {
        progress.inc(1);
        sums.add(answer);
    }
    progress.finish_and_clear();
    Ok(sums)
}

/// What became of all records.
#[derive(Default)]
struct Sums {
    answers: u64,
    charged: u64,
    repeated: u64,
    suspended: u64,
    refused: u64,
    /// Charged now, by currency, in micro-units.
    amounts: BTreeMap<String, i128>,
    /// Those that were not charged, or not all of them.
    failed: Vec<wire::ChargeRecordsResponse>,
}

impl Sums {
    fn add(&mut self, answer: wire::ChargeRecordsResponse) {
        self.answers += 1;
        if let Some(charged) = answer.charged.as_ref().filter(|_| !answer.repeated) {
            *self.amounts.entry(charged.currency.clone()).or_default() += i128::from(charged.mantissa);
        }
        match answer.state() {
            wire::RecordState::Charged if answer.repeated => self.repeated += 1,
            wire::RecordState::Charged => self.charged += 1,
            wire::RecordState::Suspended => self.suspended += 1,
            wire::RecordState::Refused | wire::RecordState::Unspecified => self.refused += 1,
        }
        if answer.state() != wire::RecordState::Charged {
            self.failed.push(answer);
        }
    }

    fn print(&self, output: Output) {
        let name = |answer: &wire::ChargeRecordsResponse| match answer.state() {
            wire::RecordState::Suspended => "kept for a person",
            wire::RecordState::Refused | wire::RecordState::Charged | wire::RecordState::Unspecified => "refused",
        };
        let amount = |micros: i128| Money::from_micros(i64::try_from(micros).unwrap_or(i64::MAX)).to_string();
        match output {
            Output::Json | Output::Yaml | Output::Csv => print::value(
                output,
                &json!({
                    "records": self.answers, "charged": self.charged, "charged_before": self.repeated,
                    "suspended": self.suspended, "refused": self.refused,
                    "amounts": self.amounts.iter().map(|(currency, micros)| (currency.clone(), json!(amount(*micros)))).collect::<serde_json::Map<_, _>>(),
                    "not_charged": self.failed.iter().map(|answer| json!({
                        "record": answer.record_id, "state": answer.state().as_str_name(), "reason": answer.reason,
                    })).collect::<Vec<_>>(),
                }),
            ),
            Output::Table => {
                for answer in self.failed.iter().take(SHOWN_MAX) {
                    println!("record {}: {}: {}", answer.record_id, name(answer), answer.reason);
                }
                let more = self.failed.len().saturating_sub(SHOWN_MAX);
                if more > 0 {
                    println!("… and {more} more; -o json has all of them");
                }
                let amounts: Vec<String> =
                    self.amounts.iter().map(|(currency, micros)| format!("{} {currency}", amount(*micros))).collect();
                let amounts = if amounts.is_empty() { "nothing".to_owned() } else { amounts.join(", ") };
                println!(
                    "{} usage records: {} charged ({amounts}), {} charged before, {} kept for a person, {} refused",
                    self.answers, self.charged, self.repeated, self.suspended, self.refused
                );
            }
        }
    }
}

/// A record as it is sent. What only the server knows is left to it.
fn record(raw: &RawRecord) -> Result<wire::UsageRecord, String> {
    let time = |member: &str, text: &str| {
        let at = parse_instant(text, &Zone::utc()).map_err(|reason| format!("{member}: {reason}"))?;
        Ok::<_, String>(convert::time(at))
    };
    let service: Service = raw.service.parse().map_err(|reason| format!("service: {reason}"))?;
    let radio_access = match &raw.rat {
        None => None,
        Some(text) => {
            let octets = parse_rat(text).map_err(|reason| format!("rat: {reason}"))?;
            octets.first().copied().map(u32::from)
        }
    };
    Ok(wire::UsageRecord {
        record_id: raw.record.clone(),
        identifiers: raw.identifiers.clone(),
        start: Some(time("start", &raw.start)?),
        end: raw.end.as_deref().map(|end| time("end", end)).transpose()?,
        service: Some(convert::service(service)),
        used: raw.used.iter().map(used).collect::<Result<Vec<_>, String>>()?,
        serving_network: raw.network.replace('-', ""),
        radio_access,
        access_point: raw.apn.clone(),
        called: raw.called.clone(),
        calling: raw.calling.clone(),
        incoming: raw.incoming,
    })
}

fn used(raw: &RawUsage) -> Result<wire::ServiceUsage, String> {
    let read = |member: &str, quantity: &Option<Quantity>, unit| {
        quantity.as_ref().map(|quantity| quantity.read(member, unit)).transpose()
    };
    let money = match (&raw.amount, &raw.currency) {
        (Some(amount), Some(currency)) => {
            let amount: Money = amount.parse().map_err(|reason| format!("amount: {reason}"))?;
            let scale = convert::MONEY_SCALE;
            Some(common::Money { mantissa: amount.micros(), scale, currency: currency.clone() })
        }
        (None, None) => None,
        (Some(_), None) => return Err("currency: is missing; an amount is in one, e.g. EUR".to_owned()),
        (None, Some(_)) => return Err("amount: is missing; leave the currency out, too, or give both".to_owned()),
    };
    Ok(wire::ServiceUsage {
        service_key: Some(common::ServiceKey { rating_group: raw.rating_group, service_ids: raw.service_ids.clone() }),
        units: Some(common::Units {
            seconds: read("seconds", &raw.seconds, Unit::Second)?,
            total_octets: read("octets", &raw.octets, Unit::Octet)?,
            uplink_octets: read("uplink_octets", &raw.uplink_octets, Unit::Octet)?,
            downlink_octets: read("downlink_octets", &raw.downlink_octets, Unit::Octet)?,
            events: read("events", &raw.events, Unit::Event)?,
            money,
        }),
    })
}
