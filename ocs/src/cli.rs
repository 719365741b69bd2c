//! The command line: what can be said, with examples. No logic. What is said of a running system stands by families in the modules.

mod accounts;
mod catalogue;
mod charges;
mod consumers;
mod sessions;
mod vouchers;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use accounts::{Account, AccountChange, Asking, EndingArgs, GroupCommand, StateName, SubscriberCommand};
pub use catalogue::{
    CatalogueAsked, CatalogueCommand, CatalogueSimulate, DocumentState, PeriodCommand, Tariff, TariffCheck, TariffDiff,
    TariffExplain, TariffSimulate, WhatIfUsage,
};
pub use charges::{Cdr, Rerate, ReratingCommand, Usage};
pub use consumers::{ConsumerAsked, ConsumerCommand};
pub use sessions::{NotificationCommand, SessionAsk, SessionCommand};
pub use vouchers::{ApprovalCommand, VoucherCommand};

/// Real-time online charging: Diameter Gy in, rated CDRs out.
#[derive(Debug, Parser)]
#[command(
    name = "ocs",
    version,
    about,
    after_help = "Examples:\n  ocs dev                                       everything on loopback, with demo data\n  ocs traffic --seconds 10                      play network elements against it\n  ocs account show msisdn-4917000000001         what a subscriber has\n  ocs account topup 1 --amount 5.00 --key abc1  pay in; the same key changes nothing again\n  ocs cdr tail --follow                         rated CDRs as they come"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve with a configuration file.
    #[command(
        after_help = "Examples:\n  ocs serve --config /etc/ocs/ocs.toml\n  ocs serve --config ocs.toml --check-config"
    )]
    Serve(Serve),
    /// Serve on loopback with demo data, without any configuration.
    #[command(
        after_help = "Ports: Gy 3868, gRPC 50051, metrics 9464, all on 127.0.0.1.\n\nExamples:\n  ocs dev\n  ocs dev --data /tmp/ocs --subscribers 1000 --clock manual"
    )]
    Dev(Dev),
    /// Load tariffs, offers, accounts and subscribers from files into a data folder that no process is using.
    #[command(
        after_help = "Examples:\n  ocs import --data ocs-data --catalogue catalogue/*.yaml --accounts accounts.jsonl --subscribers subscribers.jsonl\n  ocs import --data ocs-data --accounts accounts.jsonl --dry-run"
    )]
    Import(Import),
    /// Tariffs and offers: check documents, explain what something would cost.
    #[command(subcommand)]
    Tariff(Tariff),
    /// Accounting periods of a data folder that no process is using.
    #[command(subcommand)]
    Period(PeriodCommand),
    /// Rate usage that was charged again by corrected versions of its tariff, in a data folder that no process is using.
    #[command(
        after_help = "Without --apply nothing is changed: it says what would be. Exit code 0: all of it could be rated again; 1: some is left for a person; 2: not done.\n\nExamples:\n  ocs rerate --data ocs-data --tariff smart --from 2027-01-01 --to 2027-02-01 --catalogue smart-3.yaml\n  ocs rerate --data ocs-data --tariff smart --from 2027-01-01 --to 2027-02-01 --apply --reason \"wrong night rate\""
    )]
    Rerate(Rerate),
    /// Recompute every invariant of a data folder that no process is using, or compare accounts with CDRs on a running system.
    #[command(
        after_help = "Exit code 0: everything adds up; 1: something does not; 2: it cannot be read.\n\nExamples:\n  ocs audit --data ocs-data\n  ocs audit --data ocs-data -o json\n  ocs audit --live"
    )]
    Audit(Audit),
    /// Play network elements over Gy: load, checked answers, rates and percentiles.
    #[command(
        after_help = "Examples:\n  ocs traffic --seconds 10\n  ocs traffic --connections 4 --sessions 128 --rating-groups 3 --subscribers 200000\n  ocs traffic --rate 50000 --seconds 20"
    )]
    Traffic(Traffic),
    /// Say whether a server serves: what probes ask.
    #[command(
        after_help = "Exit code 0: it serves; 1: it says that it does not, as while it starts or ends; 2: it does not answer.\n\nExamples:\n  ocs health\n  ocs health --server http://127.0.0.1:50051"
    )]
    Health(Server),
    /// Accounts: show, make, change, pay in and out, buy offers.
    #[command(subcommand)]
    Account(Account),
    /// Subscribers: find, put, load in bulk.
    #[command(subcommand)]
    Subscriber(SubscriberCommand),
    /// Charging groups: families, employers and pools, their accounts and members.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Open sessions: list, show, have the client ask again or stop, release.
    #[command(subcommand)]
    Session(SessionCommand),
    /// The audit log: who changed what, and whether it is as it was written.
    #[command(subcommand)]
    Auditlog(AuditLog),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  ocs completion bash > /etc/bash_completion.d/ocs")]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Usage: charge what is told later; list, explain, add up and give back charges.
    #[command(subcommand)]
    Usage(Usage),
    /// Rated CDRs: follow them, explain one.
    #[command(subcommand)]
    Cdr(Cdr),
    /// The clock of `ocs dev --clock manual`.
    #[command(subcommand)]
    Clock(ClockCommand),
    /// The catalogue of a running system: drafts, approval, publishing, rolling back.
    #[command(subcommand)]
    Catalogue(CatalogueCommand),
    /// Vouchers: make, show, block, redeem.
    #[command(subcommand)]
    Voucher(Box<VoucherCommand>),
    /// Large credits that need a second person: list, approve, reject.
    #[command(subcommand)]
    Approval(ApprovalCommand),
    /// Thresholds of allowances, spending and balances: follow those that are crossed, see how values stand.
    #[command(subcommand)]
    Notification(NotificationCommand),
    /// Usage rated again on a running system: plan, approve, show, cancel.
    #[command(subcommand)]
    Rerating(ReratingCommand),
    /// Consumers of CDRs: make, show, move and end them; what they have parked.
    #[command(subcommand)]
    Consumer(ConsumerCommand),
}

/// `ocs serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Configuration file (TOML); deploy/ocs.toml shows every member.
    #[arg(long)]
    pub config: PathBuf,
    /// Only check the configuration and say what is wrong.
    #[arg(long)]
    pub check_config: bool,
}

/// `ocs dev`.
#[derive(Debug, Args)]
pub struct Dev {
    /// Data folder; made and filled with demo data when missing.
    #[arg(long, default_value = "ocs-data")]
    pub data: PathBuf,
    /// How many demo subscribers a new folder gets.
    #[arg(long, default_value_t = 10_000)]
    pub subscribers: u64,
    /// Where time comes from.
    #[arg(long, value_enum, default_value_t = ClockKind::Real)]
    pub clock: ClockKind,
    /// Gy listen address.
    #[arg(long, default_value = "127.0.0.1:3868")]
    pub gy: SocketAddr,
    /// gRPC listen address.
    #[arg(long, default_value = "127.0.0.1:50051")]
    pub grpc: SocketAddr,
    /// Metrics listen address.
    #[arg(long, default_value = "127.0.0.1:9464")]
    pub metrics: SocketAddr,
    /// Leave the page cache to the kernel: faster, survives a crash of the process only.
    #[arg(long)]
    pub no_fsync: bool,
    /// Ended sessions in memory at most.
    #[arg(long, default_value_t = 1_000_000)]
    pub ended_sessions: usize,
    /// Ended sessions that stay in memory when they are on disk; others are read when they are asked for.
    #[arg(long, default_value_t = 200_000)]
    pub ended_sessions_kept: usize,
    /// Seconds between the beginnings of checkpoints.
    #[arg(long, default_value_t = 10)]
    pub checkpoint_seconds: u64,
    /// Let whoever drafted a document approve it: here every caller is the same.
    #[arg(long)]
    pub no_four_eyes: bool,
    /// Say less.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Where time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClockKind {
    /// The system.
    Real,
    /// `ocs clock set` and `ocs clock advance`.
    Manual,
}

/// `ocs import`.
#[derive(Debug, Args)]
pub struct Import {
    /// Data folder; made when missing.
    #[arg(long)]
    pub data: PathBuf,
    /// Tariff and offer documents (YAML or JSON).
    #[arg(long, num_args = 1.., alias = "tariffs")]
    pub catalogue: Vec<PathBuf>,
    /// Account files (JSON Lines).
    #[arg(long, num_args = 1..)]
    pub accounts: Vec<PathBuf>,
    /// Subscriber files (JSON Lines).
    #[arg(long, num_args = 1..)]
    pub subscribers: Vec<PathBuf>,
    /// Check the files, write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// `ocs audit`.
#[derive(Debug, Args)]
pub struct Audit {
    /// Data folder.
    #[arg(long, default_value = "ocs-data")]
    pub data: PathBuf,
    /// Have a running system compare its accounts with its CDRs while traffic goes on, instead of reading a folder.
    #[arg(long, conflicts_with_all = ["data", "agrees_with"])]
    pub live: bool,
    /// How to reach the server, with --live.
    #[command(flatten)]
    pub server: Server,
    /// A summary (JSON) of `ocs traffic` or `ocs cdr tail` that must agree with the folder; may be given several times.
    #[arg(long)]
    pub agrees_with: Vec<PathBuf>,
    /// Form of the report.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
    /// For spreadsheets: one row each.
    Csv,
}

/// `ocs traffic`.
#[derive(Clone, Debug, Args)]
pub struct Traffic {
    /// The server.
    #[arg(long, default_value = "127.0.0.1:3868")]
    pub to: SocketAddr,
    /// The realm it serves.
    #[arg(long, default_value = "example.org")]
    pub realm: String,
    /// Connections, each a network element of its own.
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
    /// Sessions open at a time on each connection.
    #[arg(long, default_value_t = 64)]
    pub sessions: usize,
    /// Updates between a session's initial and its termination.
    #[arg(long, default_value_t = 4)]
    pub updates: u32,
    /// Rating groups (MSCCs) in every request.
    #[arg(long, default_value_t = 1)]
    pub rating_groups: u32,
    /// Demo subscribers 1 to this are used in turn.
    #[arg(long, default_value_t = 10_000)]
    pub subscribers: u64,
    /// All traffic for demo subscriber 1.
    #[arg(long)]
    pub one_account: bool,
    /// How long.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Offered requests per second, whatever the answers take (open loop); without it each session waits for its answer.
    #[arg(long)]
    pub rate: Option<u64>,
    /// Send every n-th request twice; the second must get the same answer.
    #[arg(long)]
    pub repeat_every: Option<u64>,
    /// Take any successful answer for a grant: to measure an answerer that only echoes.
    #[arg(long)]
    pub unchecked: bool,
    /// Seed of everything that varies.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write a summary (JSON) here.
    #[arg(long)]
    pub summary: Option<PathBuf>,
    /// Print a line every second.
    #[arg(long)]
    pub live: bool,
}

/// `ocs auditlog`.
#[derive(Debug, Subcommand)]
pub enum AuditLog {
    /// List changes, the newest first.
    #[command(after_help = "Examples:\n  ocs auditlog list\n  ocs auditlog list --target accounts/17 -o json")]
    List {
        /// Only those of this resource: accounts/17.
        #[arg(long, default_value = "")]
        target: String,
        /// Only those of this caller.
        #[arg(long, default_value = "")]
        caller: String,
        /// How many at most.
        #[arg(long, default_value_t = 20)]
        max: usize,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Compute the chain again; name the first record that is not what was written.
    #[command(
        after_help = "Keep the head elsewhere: a later look finds what was taken away.\nExit code 0: it is as it was written; 1: it is not; 2: not done.\n\nExamples:\n  ocs auditlog verify\n  ocs auditlog verify --known 1200:5f0c..."
    )]
    Verify {
        /// A head noted earlier: position:hash.
        #[arg(long)]
        known: Option<String>,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

/// `ocs clock`.
#[derive(Debug, Subcommand)]
pub enum ClockCommand {
    /// Say what time it is there.
    Get {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
    },
    /// Move it forward to a time (unix seconds).
    Set {
        /// Unix seconds.
        to: i64,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
    },
    /// Move it forward by so many seconds.
    Advance {
        /// Seconds.
        seconds: u64,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
    },
}

/// How to reach a server.
#[derive(Clone, Debug, Args)]
pub struct Server {
    /// gRPC address of the server; https:// with TLS.
    #[arg(long, default_value = "http://127.0.0.1:50051", env = "OCS_SERVER")]
    pub server: String,
    /// PEM file of the authority that signed the server's certificate; with https://.
    #[arg(long, env = "OCS_CA")]
    pub ca: Option<PathBuf>,
    /// PEM file of the client certificate that says who calls.
    #[arg(long, env = "OCS_CERTIFICATE")]
    pub certificate: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, env = "OCS_CERTIFICATE_KEY")]
    pub certificate_key: Option<PathBuf>,
    /// File with the token that says who calls.
    #[arg(long, env = "OCS_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}
