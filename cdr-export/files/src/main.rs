//! `ocs-cdr-files`: rated CDRs as files, CSV or Parquet, each with a manifest that proves it.
//!
//! [`write`] takes the stream and cuts it into files, [`form`] writes one, [`schema`] says its columns, [`folder`] has files appear whole
//! and in order. Absent: where files go on from there; a folder is what every uploader takes.

mod folder;
mod form;
mod schema;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use cdr_client::{Failure, Server, decimal};
use clap::{Args, Parser, Subcommand, ValueEnum};
use ocs_proto::cdr::v1 as wire;
use ocs_proto::cdr::v1::cdr_export_client::CdrExportClient;
use ocs_proto::cdr::v1::control_totals_client::ControlTotalsClient;

use folder::{Folder, Manifest};
use schema::{COLUMNS, Kind};
use write::{Wanted, write};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Rated CDRs as files.
#[derive(Debug, Parser)]
#[command(
    name = "ocs-cdr-files",
    version,
    about,
    after_help = "Examples:\n  ocs-cdr-files write --to files --until-end\n  ocs-cdr-files write --to files --form csv --from 1 --until 100000\n  ocs-cdr-files follow --to files\n  ocs-cdr-files check --in files --compare"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write files of a range; goes on behind the last file of the folder.
    Write {
        #[command(flatten)]
        how: How,
        /// Last CDR.
        #[arg(long, conflicts_with = "until_end", required_unless_present = "until_end")]
        until: Option<u64>,
        /// Up to what is the newest CDR in the beginning.
        #[arg(long)]
        until_end: bool,
    },
    /// Write files as hours or days end, on and on; goes on behind the last file of the folder.
    Follow {
        #[command(flatten)]
        how: How,
    },
    /// Check every file against its manifest, and that nothing is missing between them. Exit code 1: something is, and it is named.
    Check {
        /// The folder.
        #[arg(long = "in")]
        folder: PathBuf,
        /// Compare the sums with the server's control totals, where the files go up to them.
        #[arg(long)]
        compare: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Say what the columns are.
    Columns,
}

/// How files are written.
#[derive(Clone, Debug, Args)]
struct How {
    /// The folder; made where there is none.
    #[arg(long)]
    to: PathBuf,
    /// First CDR, for a folder without files; left out: the oldest that is kept.
    #[arg(long)]
    from: Option<u64>,
    /// The form.
    #[arg(long, value_enum, default_value_t = FormName::Parquet)]
    form: FormName,
    /// What one file is of, at most.
    #[arg(long, value_enum, default_value_t = Span::Hour)]
    each: Span,
    /// The most records of one file.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Leave out what names people and devices.
    #[arg(long)]
    without_identities: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormName {
    /// Apache Parquet, zstd.
    Parquet,
    /// Comma-separated, RFC 4180.
    Csv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Span {
    /// An hour of UTC, by when CDRs were accepted.
    Hour,
    /// A day of UTC.
    Day,
}

fn main() -> ExitCode {
    cdr_client::end_when_unread();
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("ocs-cdr-files: {failure}");
            ExitCode::from(2)
        }
    }
}

impl How {
    fn wanted(&self, until: Option<u64>) -> Wanted {
        Wanted {
            from: self.from,
            until,
            parquet: self.form == FormName::Parquet,
            records_max: self.records,
            span_seconds: if self.each == Span::Hour { HOUR } else { DAY },
            with_identities: !self.without_identities,
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Write { how, until, until_end: _ } => remote(async {
            let folder = Folder::open(&how.to)?;
            let connection = how.server.connect().await?;
            let until = match until {
                Some(until) => until,
                None => {
                    CdrExportClient::new(connection.clone())
                        .get_tail(wire::GetTailRequest {})
                        .await?
                        .into_inner()
                        .last_position
                }
            };
            let written = write(connection, &folder, &how.wanted(Some(until)), told).await?;
            println!("{written} CDRs written");
            Ok(ExitCode::SUCCESS)
        }),
        Command::Follow { how } => remote(async {
            let folder = Folder::open(&how.to)?;
            let (connection, wanted) = (how.server.connect().await?, how.wanted(None));
            tokio::select! {
                ended = write(connection, &folder, &wanted, told) => {
                    ended?;
                    Err(Failure("the server ended the stream; start again to go on".to_owned()))
                }
                stopped = tokio::signal::ctrl_c() => {
                    stopped.map_err(|error| Failure(error.to_string()))?;
                    Ok(ExitCode::SUCCESS)
                }
            }
        }),
        Command::Check { folder, compare, server } => remote(check(folder, compare, server)),
        Command::Columns => {
            println!("| column | holds | |\n|---|---|---|");
            for column in COLUMNS {
                let kind = match column.kind {
                    Kind::Text => "text",
                    Kind::Int => "whole number",
                    Kind::Money => "decimal(38, 6)",
                    Kind::Time => "instant, UTC",
                    Kind::Bool => "yes or no",
                };
                let identity = if column.is_identity { " (names a person or device)" } else { "" };
                println!("| `{}` | {kind} | {}{identity} |", column.name, column.about);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn remote<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Failure(error.to_string()))?.block_on(work)
}

fn told(manifest: &Manifest) {
    let Manifest { file, records, octets, .. } = manifest;
    println!("{file}: {records} records, {octets} octets");
}

/// What is wrong with a folder's files, in words.
async fn check(path: PathBuf, compare: bool, server: Server) -> Result<ExitCode, Failure> {
    if !path.is_dir() {
        return Err(Failure(format!("{}: is no folder", path.display())));
    }
    let folder = Folder::open(&path)?;
    let manifests = folder.manifests()?;
    let mut findings = Vec::new();
    for pair in manifests.windows(2) {
        let [one, next] = pair else { continue };
        if next.first != one.last.saturating_add(1) {
            findings.push(format!(
                "{}: begins with CDR {}, {} was due",
                next.file,
                next.first,
                one.last.saturating_add(1)
            ));
        } else if next.chain_before != one.chain_after {
            findings.push(format!("{}: its hash chain does not continue {}", next.file, one.file));
        }
    }
    for manifest in &manifests {
        findings.extend(folder.examine(manifest)?);
    }
    let mut compared = "";
    if compare {
        let mut client = ControlTotalsClient::new(server.connect().await?);
        let totals = client.get_control_totals(wire::GetControlTotalsRequest::default()).await?.into_inner();
        let (first, last) = (manifests.first().map_or(1, |it| it.first), manifests.last().map_or(0, |it| it.last));
        if (first, last) != (totals.since_position, totals.through_position) {
            let (since, through) = (totals.since_position, totals.through_position);
            return Err(Failure(format!(
                "the files have CDRs {first} to {last}, the control totals are of {since} to {through}: write the rest first"
            )));
        }
        findings.extend(differences(&manifests, &totals));
        compared = ", and agree with the control totals";
    }
    let records: u64 = manifests.iter().map(|manifest| manifest.records).sum();
    for finding in &findings {
        println!("  - {finding}");
    }
    if findings.is_empty() {
        println!("{} files of {records} CDRs are as they were written{compared}", manifests.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} findings", findings.len());
    Ok(ExitCode::FAILURE)
}

fn differences(manifests: &[Manifest], totals: &wire::GetControlTotalsResponse) -> Vec<String> {
    let (mut own, mut said) = (BTreeMap::<_, (u64, i128)>::new(), BTreeMap::<_, (u64, i128)>::new());
    for sum in manifests.iter().flat_map(|manifest| &manifest.sums) {
        let (records, micros) = own.entry((sum.kind.clone(), sum.currency.clone())).or_default();
        (*records, *micros) = (*records + sum.records, *micros + i128::from(sum.amount_micros));
    }
    for row in totals.periods.iter().flat_map(|period| &period.totals) {
        let kind = row.kind().as_str_name().trim_start_matches("CDR_KIND_").to_lowercase();
        let (records, micros) = said.entry((kind, row.currency.clone())).or_default();
        let amount = row.amount.as_ref().map_or(0, |amount| amount.mantissa);
        (*records, *micros) = (*records + row.cdr_count, *micros + i128::from(amount));
    }
    let chain = manifests.last().map(|manifest| manifest.chain_after.clone());
    let mut found = Vec::new();
    if chain.is_some_and(|chain| chain != schema::hex(&totals.chain_hash)) {
        found.push("the hash chain of the last file is not the control totals'".to_owned());
    }
    for key in own.keys().chain(said.keys()).collect::<std::collections::BTreeSet<_>>() {
        let of = |sums: &BTreeMap<(String, String), (u64, i128)>| sums.get(key).copied().unwrap_or_default();
        let ((records, micros), (theirs, amount)) = (of(&own), of(&said));
        if (records, micros) != (theirs, amount) {
            let money = |micros: i128| i64::try_from(micros).map_or_else(|_| micros.to_string(), decimal);
            let (own, said) = (money(micros), money(amount));
            found
                .push(format!("{} in {}: {records} records of {own}, the server has {theirs} of {said}", key.0, key.1));
        }
    }
    found
}
