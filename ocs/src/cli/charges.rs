//! Usage, CDRs and what is rated again.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Asking, Output, Server};

/// `ocs usage`.
#[derive(Debug, Subcommand)]
pub enum Usage {
    /// Charge usage records (JSON Lines), each once: files may be handed in again. docs/usage-records.md has the members.
    #[command(
        after_help = "Exit code 0: all are charged; 1: some are kept for a person, or refused; 2: nothing was sent.\n\nExamples:\n  ocs usage charge late.jsonl\n  zcat roaming-*.gz | ocs usage charge -\n  ocs usage charge late.jsonl -o json"
    )]
    Charge {
        /// Files of one record a line; - for standard input.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Only check the form of the files.
        #[arg(long)]
        dry_run: bool,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Give back what a CDR charged, whole or in part: to who paid, what was paid last first, and never more than was charged.
    #[command(
        after_help = "Examples:\n  ocs usage refund 0-4711 --reason 'call was cut off'\n  ocs usage refund 0-4711 --amount 0.10 --reason 'goodwill' --key ticket-17"
    )]
    Refund {
        /// The CDR: partition-position, as `ocs usage list` shows it.
        cdr: String,
        /// How much; without it, all that is left, units too.
        #[arg(long)]
        amount: Option<String>,
        /// What goes with every change.
        #[command(flatten)]
        asking: Asking,
    },
    /// List what usage was charged, the newest first.
    #[command(
        after_help = "Examples:\n  ocs usage list msisdn-4917000000001\n  ocs usage list accounts/17 --from 2027-01-01 --to 2027-02-01 -o csv"
    )]
    List {
        /// Whose: accounts/17, subscribers/5, an account's number, or an identifier such as msisdn-4917000000001.
        who: String,
        /// Only usage that began then or later.
        #[arg(long)]
        from: Option<String>,
        /// Only usage that began before.
        #[arg(long)]
        to: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 50)]
        max: usize,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Explain a CDR of a running system: which price, why it won, how the amount came about, who paid.
    #[command(after_help = "Examples:\n  ocs usage explain 0-4711\n  ocs usage explain 0-4711 -o json")]
    Explain {
        /// The CDR: partition-position.
        cdr: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Add up what usage and fees of a period were charged, exactly.
    #[command(
        after_help = "Examples:\n  ocs usage totals accounts/17 --from 2027-01-01 --to 2027-02-01\n  ocs usage totals msisdn-4917000000001 --from 2027-01-01 --to 2027-02-01 -o json"
    )]
    Totals {
        /// Whose: accounts/17, subscribers/5, an account's number, or an identifier such as msisdn-4917000000001.
        who: String,
        /// First instant of the period.
        #[arg(long)]
        from: String,
        /// First instant after it.
        #[arg(long)]
        to: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

/// `ocs cdr`.
#[derive(Debug, Subcommand)]
pub enum Cdr {
    /// Print rated CDRs from a position, to the end or as they come.
    Tail {
        /// First position; without it, the last ten.
        #[arg(long)]
        from: Option<u64>,
        /// Go on as new ones come.
        #[arg(long, short)]
        follow: bool,
        /// Print a line of totals every second instead of the records.
        #[arg(long)]
        totals: bool,
        /// Write a summary (JSON) here at the end.
        #[arg(long)]
        summary: Option<PathBuf>,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Add up all rated CDRs, by accounting period and kind: what a copy of them must come to.
    #[command(after_help = "Examples:\n  ocs cdr totals\n  ocs cdr totals --period 2027-01-31T23:00:00Z -o json")]
    Totals {
        /// Only this accounting period, by its first instant.
        #[arg(long)]
        period: Option<String>,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Say why a rated CDR says what it says.
    #[command(
        after_help = "Examples:\n  ocs cdr explain --data ocs-data 4711\n  ocs cdr explain --data ocs-data 4711 -o json"
    )]
    Explain {
        /// Its position.
        position: u64,
        /// A data folder that no process is using.
        #[arg(long, default_value = "ocs-data")]
        data: PathBuf,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

/// `ocs rerating`.
#[derive(Debug, Subcommand)]
pub enum ReratingCommand {
    /// Work out what usage of a period would have cost by the versions in force now; nothing is booked.
    #[command(
        after_help = "Examples:\n  ocs rerating plan smart --from 2027-03-01 --to 2027-04-01 --reason 'wrong price of a minute' --wait\n  ocs rerating plan smart --from 2027-03-01 --to 2027-04-01 --account 17 --reason 'complaint 4711'"
    )]
    Plan {
        /// The tariff.
        tariff: String,
        /// First instant of the usage, in UTC.
        #[arg(long)]
        from: String,
        /// First instant after it.
        #[arg(long)]
        to: String,
        /// Only what this account paid: a number or an identifier.
        #[arg(long)]
        account: Option<String>,
        /// Wait until the figures are there.
        #[arg(long)]
        wait: bool,
        /// Idempotency key: the same key plans once. Without it one is made up.
        #[arg(long)]
        key: Option<String>,
        /// Why, for the CDRs and the audit log.
        #[arg(long)]
        reason: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// List re-ratings.
    List {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Show one: what it comes to, and how far it is.
    #[command(after_help = "Example:\n  ocs rerating show reratings/3")]
    Show {
        /// The name: reratings/3.
        name: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Have one booked that somebody else planned.
    #[command(after_help = "Example:\n  ocs rerating approve reratings/3 --wait")]
    Approve {
        /// The name: reratings/3.
        name: String,
        /// Wait until it is booked.
        #[arg(long)]
        wait: bool,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// End one; what it has booked stays booked.
    #[command(after_help = "Example:\n  ocs rerating cancel reratings/3 --reason 'the version was wrong, too'")]
    Cancel {
        /// The name: reratings/3.
        name: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

/// `ocs rerate`.
#[derive(Debug, Args)]
pub struct Rerate {
    /// Data folder.
    #[arg(long, default_value = "ocs-data")]
    pub data: PathBuf,
    /// The tariff whose usage is rated again.
    #[arg(long)]
    pub tariff: String,
    /// First instant of the usage, e.g. 2027-01-01 or 2027-01-01T00:00:00+01:00; UTC where nothing else is said.
    #[arg(long)]
    pub from: String,
    /// First instant after it.
    #[arg(long)]
    pub to: String,
    /// Corrected documents that are not imported yet: what would they change?
    #[arg(long, num_args = 1.., conflicts_with = "apply")]
    pub catalogue: Vec<PathBuf>,
    /// Book the corrections.
    #[arg(long, requires = "reason")]
    pub apply: bool,
    /// Why, for the records.
    #[arg(long)]
    pub reason: Option<String>,
    /// Form.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}
