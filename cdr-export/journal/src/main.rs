//! `ocs-journal`: a consumer of rated CDRs that keeps double-entry books of them. What a ledger integration starts from.
//!
//! [`follow`] takes a consumer's stream, [`map`] makes postings of each CDR, [`books`] keeps their sums and the position in one file,
//! [`print`] writes the journal for hledger or as CSV. Absent: taxes, invoices, and any way back into the charging system.

mod books;
mod day;
mod follow;
mod map;
mod print;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ocs_proto::cdr::v1 as wire;
use ocs_proto::cdr::v1::control_totals_client::ControlTotalsClient;

use cdr_client::Server;

use books::{Books, KindSum, word};
use day::Days;
use follow::{Following, Until, follow};
use map::Map;

/// Why something was not done, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self(format!("the books: {error}"))
    }
}

impl From<cdr_client::Failure> for Failure {
    fn from(failure: cdr_client::Failure) -> Self {
        Self(failure.0)
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        cdr_client::Failure::from(status).into()
    }
}

/// Double-entry books of rated CDRs.
#[derive(Debug, Parser)]
#[command(
    name = "ocs-journal",
    version,
    about,
    after_help = "Examples:\n  ocs consumer create ledger --reason 'new ledger'\n  ocs-journal follow --consumer ledger --books books --until-end\n  ocs-journal print --books books | hledger -f - balance\n  ocs-journal check --consumer ledger --books books"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Book what a consumer gets, as it comes.
    Follow {
        #[command(flatten)]
        what: What,
        /// End at what is the newest CDR in the beginning.
        #[arg(long)]
        until_end: bool,
    },
    /// Compare the books with the server's control totals, once they have come as far. Exit code 1: they differ, and in what.
    Check {
        #[command(flatten)]
        what: What,
    },
    /// Write the journal.
    Print {
        #[command(flatten)]
        kept: Kept,
        /// Its form.
        #[arg(long, value_enum, default_value_t = Form::Hledger)]
        form: Form,
        /// First day, 2027-01-01.
        #[arg(long, default_value = "0000-01-01")]
        from: String,
        /// Last day.
        #[arg(long, default_value = "9999-12-31")]
        to: String,
    },
    /// Say how far the books are, and what is parked.
    Show {
        #[command(flatten)]
        kept: Kept,
    },
}

/// Where the books are, and how they are kept.
#[derive(Clone, Debug, Args)]
struct Kept {
    /// Folder of the books; made where there is none.
    #[arg(long)]
    books: PathBuf,
    /// TOML file that names the accounts of the ledger otherwise.
    #[arg(long)]
    map: Option<PathBuf>,
    /// By whose wall clock a day begins: the same for the life of the books.
    #[arg(long, default_value = "UTC")]
    zone: String,
}

/// What is booked, and where.
#[derive(Clone, Debug, Args)]
struct What {
    #[command(flatten)]
    kept: Kept,
    /// The consumer; `ocs consumer create` makes one.
    #[arg(long)]
    consumer: String,
    /// Who this is, for messages of the server.
    #[arg(long, default_value = "ocs-journal")]
    instance: String,
    /// Take the consumer from another instance that has it.
    #[arg(long)]
    take_over: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// hledger's plain text: one transaction each day, kind and ledger code.
    Hledger,
    /// One row each posting.
    Csv,
    /// What customers were charged, one row each account, day and ledger code.
    Customers,
}

fn main() -> ExitCode {
    cdr_client::end_when_unread();
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("ocs-journal: {failure}");
            ExitCode::from(2)
        }
    }
}

impl Kept {
    fn open(&self) -> Result<Books, Failure> {
        let map = match &self.map {
            None => Map::default(),
            Some(path) => {
                let failed = |error: &dyn std::fmt::Display| Failure(format!("--map {}: {error}", path.display()));
                let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
                toml::from_str(&text).map_err(|error| failed(&error))?
            }
        };
        Books::open(&self.books, map, Days::of(&self.zone)?)
    }

    /// Opens books that must be there.
    fn open_there(&self) -> Result<Books, Failure> {
        let there: &Path = &self.books;
        if !there.join("books.sqlite").exists() {
            return Err(Failure(format!("{} has no books; `ocs-journal follow` makes them", there.display())));
        }
        self.open()
    }
}

impl What {
    fn following(&self, until: Until) -> Following {
        let (consumer, instance) = (self.consumer.clone(), self.instance.clone());
        Following { consumer, instance, take_over: self.take_over, until }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Follow { what, until_end } => remote(async {
            let mut books = what.kept.open()?;
            let until = if until_end { Until::End } else { Until::Stopped };
            let (connection, following) = (what.server.connect().await?, what.following(until));
            let followed = tokio::select! {
                followed = follow(connection, &mut books, &following) => followed?,
                stopped = tokio::signal::ctrl_c() => {
                    stopped.map_err(|error| Failure(error.to_string()))?;
                    return Ok(ExitCode::SUCCESS);
                }
            };
            println!("{} CDRs came, {} are parked", followed.received, followed.parked);
            Ok(ExitCode::SUCCESS)
        }),
        Command::Check { what } => remote(check(what)),
        Command::Print { kept, form, from, to } => {
            let books = kept.open_there()?;
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            let printed = match form {
                Form::Hledger => print::hledger(&mut out, &books.journal(&from, &to)?),
                Form::Csv => print::csv(&mut out, &books.journal(&from, &to)?),
                Form::Customers => print::customers(&mut out, &books.customers(&from, &to)?),
            };
            match printed.and_then(|()| out.flush()) {
                // Whoever has seen enough is no error.
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure(error.to_string())),
                Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
            }
        }
        Command::Show { kept } => {
            let books = kept.open_there()?;
            match books.place()? {
                None => println!("nothing is booked"),
                Some(place) => {
                    println!("partition {}, CDRs {} to {}", place.partition, place.since, place.next.saturating_sub(1));
                }
            }
            for (position, reason) in books.parked()? {
                println!("parked: CDR {position} {reason}");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn remote<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Failure(error.to_string()))?.block_on(work)
}

/// Follows as far as the server's totals, and compares.
async fn check(what: What) -> Result<ExitCode, Failure> {
    let mut books = what.kept.open()?;
    let mut client = ControlTotalsClient::new(what.server.connect().await?);
    let totals = client.get_control_totals(wire::GetControlTotalsRequest::default()).await?.into_inner();
    let through = totals.through_position;
    if books.place()?.is_some_and(|place| place.next > through.saturating_add(1)) {
        return Err(Failure(format!(
            "the books are beyond CDR {through}, the server's last: they are of another system"
        )));
    }
    if books.place()?.is_none_or(|place| place.next <= through) {
        follow(what.server.connect().await?, &mut books, &what.following(Until::Position(through))).await?;
    }
    let since = books.place()?.map_or(1, |place| place.since);
    if since != totals.since_position {
        return Err(Failure(format!(
            "the books begin with CDR {since}, the totals with {}: compare differences of two days instead",
            totals.since_position
        )));
    }
    let mut findings = compare(&books.kinds()?, &totals);
    findings
        .extend(books.parked()?.into_iter().map(|(position, reason)| format!("CDR {position} {reason}: it is parked")));
    for finding in &findings {
        println!("  - {finding}");
    }
    if findings.is_empty() {
        println!("the books agree with the control totals up to CDR {through}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} findings", findings.len());
    Ok(ExitCode::FAILURE)
}

fn compare(own: &[KindSum], totals: &wire::GetControlTotalsResponse) -> Vec<String> {
    let mut said: Vec<KindSum> = Vec::new();
    for row in totals.periods.iter().flat_map(|period| &period.totals) {
        let key = (word(row.kind()), row.currency.clone());
        let sum = (i64::try_from(row.cdr_count).unwrap_or(i64::MAX), row.amount.as_ref().map_or(0, |it| it.mantissa));
        match said.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = (known.0.saturating_add(sum.0), known.1.saturating_add(sum.1)),
            None => said.push((key, sum)),
        }
    }
    let keys = own.iter().chain(&said).map(|(key, _)| key).collect::<std::collections::BTreeSet<_>>();
    let of = |sums: &[KindSum], key: &(String, String)| {
        sums.iter().find(|(known, _)| known == key).map_or((0, 0), |(_, sum)| *sum)
    };
    let differing = keys.into_iter().filter(|key| of(own, key) != of(&said, key)).map(|key| {
        let ((cdrs, micros), (theirs, said)) = (of(own, key), of(&said, key));
        format!(
            "{} in {}: {cdrs} CDRs of {micros} micro-units are booked, the server has {theirs} of {said}",
            key.0, key.1
        )
    });
    differing.collect()
}
