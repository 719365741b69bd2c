//! The command line: what can be said, with examples. No logic.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Recompute every invariant of a data folder that no process is using.
    #[command(
        after_help = "Exit code 0: everything adds up; 1: something does not; 2: the folder cannot be read.\n\nExamples:\n  ocs audit --data ocs-data\n  ocs audit --data ocs-data -o json"
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
    /// Usage rated again on a running system: plan, approve, show, cancel.
    #[command(subcommand)]
    Rerating(ReratingCommand),
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

/// Tariff documents.
#[derive(Debug, Subcommand)]
pub enum Tariff {
    /// Say what is wrong with tariff, offer and accounting documents, all of it, or what they are.
    #[command(
        after_help = "Exit code 0: all are good; 1: some are not.\n\nExamples:\n  ocs tariff check tariffs/*.yaml\n  ocs tariff check draft.yaml -o json"
    )]
    Check(TariffCheck),
    /// What changed between two versions, in meaning: prices, windows, zones, fees, allowances; what makes it dearer first.
    #[command(
        after_help = "However they are written, the same meaning is no difference. Exit code 0: there is none; 1: there are some; 2: not done.\n\nExamples:\n  ocs tariff diff smart-2.yaml smart-3.yaml\n  ocs tariff diff offer-1.yaml offer-2.yaml -o json"
    )]
    Diff(TariffDiff),
    /// What would this cost, and why: tariff, price, windows, tiers, buckets, rounding.
    #[command(
        after_help = "Nothing is changed anywhere. Exit code 0: it would be charged; 1: it would be refused.\n\nExamples:\n  ocs tariff explain --catalogue docs/examples/nights-and-roaming.yaml --service voice --to +4930123456 \\\n      --used '5 min' --at 2027-01-13T20:58:00Z --balance 10.00\n  ocs tariff explain --data ocs-data --who msisdn-4917000000001 --service data --rating-group 10 --used '3 MiB'\n  ocs tariff explain --data ocs-data --who 42 --catalogue draft.yaml --service sms --used 1 -o json"
    )]
    Explain(Box<TariffExplain>),
    /// What would a period have cost under a draft: stored usage priced again, in a data folder that no process is using.
    #[command(
        after_help = "Nothing is changed anywhere. Sessions count in the period in which their usage began. Exit code 0: all of it could be simulated; 1: some could not, and why; 2: not done.\n\nExamples:\n  ocs tariff simulate --data ocs-data --catalogue smart-3.yaml --tariff smart --from 2027-01-01 --to 2027-02-01\n  ocs tariff simulate --data ocs-data --catalogue smart-3.yaml --tariff smart --from 2027-01-01 --to 2027-02-01 --top 100 -o json"
    )]
    Simulate(TariffSimulate),
    /// Print the JSON Schema of tariff and offer documents, for editors.
    #[command(after_help = "Example:\n  ocs tariff schema > catalogue.schema.json")]
    Schema,
}

/// Usage that somebody asks the price of.
#[derive(Debug, Args)]
pub struct WhatIfUsage {
    /// What was used: '5 min', '3 MiB', 1.
    #[arg(long)]
    pub used: String,
    /// When it began: 2027-01-13T20:58:00Z; without it, now.
    #[arg(long)]
    pub at: Option<String>,
    /// The service: data, voice, sms, mms or other-N.
    #[arg(long, default_value = "data")]
    pub service: String,
    /// The rating group.
    #[arg(long)]
    pub rating_group: Option<u32>,
    /// The service identifier.
    #[arg(long)]
    pub service_id: Option<u32>,
    /// The number called.
    #[arg(long)]
    pub to: Option<String>,
    /// The number that calls: the call comes in.
    #[arg(long, conflicts_with = "to")]
    pub from: Option<String>,
    /// The network visited, MCC and MNC: 20801.
    #[arg(long)]
    pub visited: Option<String>,
    /// The radio access: lte, nr, nb-iot, or a 3GPP-RAT-Type number.
    #[arg(long)]
    pub rat: Option<String>,
    /// The access point (DNN).
    #[arg(long)]
    pub apn: Option<String>,
}

/// `ocs tariff explain`.
#[derive(Debug, Args)]
pub struct TariffExplain {
    /// Tariff and offer documents, beside or in place of those in the data folder; drafts.
    #[arg(long, num_args = 1..)]
    pub catalogue: Vec<PathBuf>,
    /// A data folder that no process is using, for --who.
    #[arg(long, requires = "who")]
    pub data: Option<PathBuf>,
    /// Whose account: a subscriber's number or an identifier such as msisdn-4917000000001. Without it, a made-up one.
    #[arg(long, requires = "data")]
    pub who: Option<String>,
    /// The tariff to charge by; needed for a made-up account when there are several.
    #[arg(long)]
    pub tariff: Option<String>,
    /// Offers that the made-up account has just bought.
    #[arg(long, num_args = 1.., conflicts_with = "who")]
    pub offers: Vec<String>,
    /// Money of the made-up account, before it bought them.
    #[arg(long, default_value = "1000.00", conflicts_with = "who")]
    pub balance: String,
    /// What was used.
    #[command(flatten)]
    pub usage: WhatIfUsage,
    /// Form.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `ocs period`.
#[derive(Debug, Subcommand)]
pub enum PeriodCommand {
    /// Say which accounting periods there are, and which are closed.
    Show {
        /// Data folder.
        #[arg(long, default_value = "ocs-data")]
        data: PathBuf,
    },
    /// Close every accounting period before an instant: usage of them that comes later is booked in the oldest one that is
    /// open, and marked.
    #[command(
        after_help = "A closed period stays closed. Keep periods by importing them first, e.g. docs/examples/accounting.yaml.\n\nExample:\n  ocs period close --data ocs-data --until 2027-02-01"
    )]
    Close {
        /// First instant of the oldest period that stays open, by the wall clock of the periods: 2027-02-01.
        #[arg(long)]
        until: String,
        /// Data folder.
        #[arg(long, default_value = "ocs-data")]
        data: PathBuf,
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

/// `ocs tariff check`.
#[derive(Debug, Args)]
pub struct TariffCheck {
    /// Documents (YAML or JSON).
    #[arg(required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// Form of the findings.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `ocs tariff diff`.
#[derive(Debug, Args)]
pub struct TariffDiff {
    /// The version that there is (YAML or JSON): a tariff, an offer, or accounting periods.
    pub old: PathBuf,
    /// The version that it is to become.
    pub new: PathBuf,
    /// Form.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `ocs tariff simulate`.
#[derive(Debug, Args)]
pub struct TariffSimulate {
    /// Data folder.
    #[arg(long, default_value = "ocs-data")]
    pub data: PathBuf,
    /// The draft; of documents of other tariffs nothing is asked.
    #[arg(long, num_args = 1.., required = true)]
    pub catalogue: Vec<PathBuf>,
    /// The tariff whose usage is simulated.
    #[arg(long)]
    pub tariff: String,
    /// First instant of the period, e.g. 2027-01-01 or 2027-01-01T00:00:00+01:00; UTC where nothing else is said.
    #[arg(long)]
    pub from: String,
    /// First instant after it.
    #[arg(long)]
    pub to: String,
    /// How many subscribers to name that would have paid most more, and most less.
    #[arg(long, default_value_t = 10)]
    pub top: usize,
    /// Form.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `ocs audit`.
#[derive(Debug, Args)]
pub struct Audit {
    /// Data folder.
    #[arg(long, default_value = "ocs-data")]
    pub data: PathBuf,
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

/// `ocs account`.
#[derive(Debug, Subcommand)]
pub enum Account {
    /// Show an account with buckets, reservations and sessions.
    Show {
        /// An account number, or an identifier such as msisdn-4917000000001 or imsi-262019000000001.
        who: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Pay in. Repeating the same key changes nothing.
    Topup {
        /// An account number or an identifier.
        who: String,
        /// How much, in the account's currency, e.g. 5.00.
        #[arg(long)]
        amount: String,
        /// Idempotency key: the same key is booked once.
        #[arg(long)]
        key: String,
        /// The bucket that takes it; made when new.
        #[arg(long, default_value = "main")]
        bucket: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// What changes an account, and what did.
    #[command(flatten)]
    Change(AccountChange),
}

/// What changes an account, and what did.
#[derive(Debug, Subcommand)]
pub enum AccountChange {
    /// Make an account.
    #[command(
        after_help = "Examples:\n  ocs account create 5001 --currency EUR\n  ocs account create 5001 --currency EUR --credit-limit 50.00"
    )]
    Create {
        /// Its number.
        number: u64,
        /// ISO 4217 letters of its currency.
        #[arg(long)]
        currency: String,
        /// The charging group it is in, where that has another number.
        #[arg(long)]
        group: Option<u64>,
        /// Its credit limit; without one it is prepaid.
        #[arg(long)]
        credit_limit: Option<String>,
        /// How it is asked.
        #[command(flatten)]
        asking: Asking,
    },
    /// Suspend, bar, activate or close an account, or change its credit limit.
    #[command(
        after_help = "Examples:\n  ocs account update 17 --state suspended --reason \"card lost\"\n  ocs account update 17 --credit-limit 80.00"
    )]
    Update {
        /// An account number or an identifier.
        who: String,
        /// The new state; a closed account stays closed.
        #[arg(long, value_enum, conflicts_with = "credit_limit")]
        state: Option<StateName>,
        /// The new credit limit, in the account's currency.
        #[arg(long, required_unless_present = "state")]
        credit_limit: Option<String>,
        /// Only if its etag still is this one; `ocs account show -o json` has it.
        #[arg(long, default_value = "")]
        etag: String,
        /// How it is asked.
        #[command(flatten)]
        asking: Asking,
    },
    /// Put into a bucket, or take out of it, what should always have been so.
    #[command(
        after_help = "Examples:\n  ocs account adjust 17 --bucket main --amount=-2.50 --reason \"charged twice\"\n  ocs account adjust 17 --bucket data --units 1073741824 --reason \"goodwill\""
    )]
    Adjust {
        /// An account number or an identifier.
        who: String,
        /// The bucket, which is there.
        #[arg(long, default_value = "main")]
        bucket: String,
        /// How much money; below 0 to take out.
        #[arg(long, allow_hyphen_values = true, conflicts_with = "units", required_unless_present = "units")]
        amount: Option<String>,
        /// How many units of the bucket: seconds, octets or events; below 0 to take out.
        #[arg(long, allow_hyphen_values = true)]
        units: Option<i64>,
        /// How it is asked.
        #[command(flatten)]
        asking: Asking,
    },
    /// Move money to another account.
    #[command(after_help = "Example:\n  ocs account transfer 17 18 --amount 5.00 --reason \"a present\"")]
    Transfer {
        /// The account that gives: a number or an identifier.
        from: String,
        /// The account that takes.
        to: String,
        /// How much, in the currency of both.
        #[arg(long)]
        amount: String,
        /// How it is asked.
        #[command(flatten)]
        asking: Asking,
    },
    /// Let a bucket end later.
    #[command(after_help = "Example:\n  ocs account extend 17 --bucket data-10g --until 2027-04-01T00:00:00Z")]
    Extend {
        /// An account number or an identifier.
        who: String,
        /// The bucket, which is there.
        #[arg(long)]
        bucket: String,
        /// First instant at which it no longer pays: 2027-04-01T00:00:00Z.
        #[arg(long)]
        until: String,
        /// How it is asked.
        #[command(flatten)]
        asking: Asking,
    },
    /// Buy an offer.
    #[command(
        after_help = "Examples:\n  ocs account buy msisdn-4917000000001 social-pass\n  ocs account buy 17 smart --subscriber 17 --version 2\n  ocs account buy 17 social-pass --from 2027-04-01T00:00:00Z"
    )]
    Buy {
        /// An account number or an identifier.
        who: String,
        /// The offer's name.
        offer: String,
        /// The subscriber it is for, where the account has several and is named by its number.
        #[arg(long, default_value_t = 0)]
        subscriber: u64,
        /// The offer's version; without it, the newest.
        #[arg(long, default_value_t = 0)]
        version: u32,
        /// When it begins, in UTC; without it, at once.
        #[arg(long)]
        from: Option<String>,
        /// How it is asked.
        #[command(flatten)]
        asking: Asking,
    },
    /// Let an offer end: with its cycle, at once, or at an instant.
    #[command(
        after_help = "Examples:\n  ocs account cancel 17 3\n  ocs account cancel 17 3 --at-once\n  ocs account cancel 17 3 --on 2027-04-15T00:00:00Z"
    )]
    Cancel {
        /// An account number or an identifier.
        who: String,
        /// The number of the subscription, as `ocs account show` has it.
        subscription: u32,
        /// When.
        #[command(flatten)]
        ending: EndingArgs,
        /// How it is asked.
        #[command(flatten)]
        asking: Asking,
    },
    /// Let an offer end and another one begin then, for the same subscriber.
    #[command(
        after_help = "Examples:\n  ocs account replace 17 3 smart\n  ocs account replace 17 3 smart --at-once\n  ocs account replace 17 3 smart --on 2027-04-15T00:00:00Z"
    )]
    Replace {
        /// An account number or an identifier.
        who: String,
        /// The number of the subscription that ends, as `ocs account show` has it.
        subscription: u32,
        /// The name of the offer that follows.
        offer: String,
        /// That offer's version; without it, the newest.
        #[arg(long, default_value_t = 0)]
        version: u32,
        /// When.
        #[command(flatten)]
        ending: EndingArgs,
        /// How it is asked.
        #[command(flatten)]
        asking: Asking,
    },
    /// List what moved in an account, the newest first.
    #[command(
        after_help = "Examples:\n  ocs account movements 17\n  ocs account movements 17 --max 1000 --since 2027-01-01T00:00:00Z -o csv"
    )]
    Movements {
        /// An account number or an identifier.
        who: String,
        /// How many at most.
        #[arg(long, default_value_t = 20)]
        max: usize,
        /// Only what was accepted at or after this instant.
        #[arg(long)]
        since: Option<String>,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

/// When an offer ends; without any of it, with its cycle.
#[derive(Debug, Args)]
pub struct EndingArgs {
    /// Now, and what it opened with it.
    #[arg(long)]
    pub at_once: bool,
    /// At this instant, in UTC, and what it opened with it.
    #[arg(long, conflicts_with = "at_once")]
    pub on: Option<String>,
}

/// How a change is asked.
#[derive(Debug, Args)]
pub struct Asking {
    /// Idempotency key: the same key changes once. Without it one is made up, and named if the outcome is not known.
    #[arg(long)]
    pub key: Option<String>,
    /// Why, for the records.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Say what would be asked, and ask nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// How to reach the server.
    #[command(flatten)]
    pub server: Server,
    /// Form.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// A state, as people say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StateName {
    /// It may be charged.
    Active,
    /// Not for now.
    Suspended,
    /// Not until a person says so.
    Barred,
    /// Never again.
    Closed,
}

/// `ocs subscriber`.
#[derive(Debug, Subcommand)]
pub enum SubscriberCommand {
    /// Find a subscriber by its number or by any identifier.
    #[command(
        after_help = "Examples:\n  ocs subscriber show msisdn-4917000000001\n  ocs subscriber show iccid-8949012345678901234\n  ocs subscriber show external-CRM-4711\n  ocs subscriber show 17 -o json"
    )]
    Show {
        /// A subscriber number or an identifier.
        who: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Make a subscriber, or replace what is said of it.
    #[command(
        after_help = "Examples:\n  ocs subscriber put 7001 --account 17 --tariff start-payg --identifier msisdn-4915550001 --identifier imsi-262019000007001\n  ocs subscriber put 7001 --account 17 --tariff start-payg --identifier msisdn-4915550001 --state barred --etag 0123456789abcdef"
    )]
    Put {
        /// Its number.
        number: u64,
        /// Its account's number.
        #[arg(long)]
        account: u64,
        /// Its tariff.
        #[arg(long)]
        tariff: String,
        /// One of its identifiers; all of them are to be given.
        #[arg(long, required = true)]
        identifier: Vec<String>,
        /// Its state.
        #[arg(long, value_enum, default_value_t = StateName::Active)]
        state: StateName,
        /// Only if its etag still is this one; - for one that is not there yet.
        #[arg(long, default_value = "")]
        etag: String,
        /// How it is asked.
        #[command(flatten)]
        asking: Asking,
    },
    /// Load accounts and subscribers from files (JSON Lines) into a running system; files may be handed in again.
    #[command(
        after_help = "Exit code 0: all are there; 1: some were refused; 2: not done.\n\nExamples:\n  ocs subscriber load --accounts accounts.jsonl --subscribers subscribers.jsonl\n  ocs subscriber load --subscribers more.jsonl --from-line 250001"
    )]
    Load {
        /// Account files; read before subscribers.
        #[arg(long, num_args = 1..)]
        accounts: Vec<PathBuf>,
        /// Subscriber files.
        #[arg(long, num_args = 1..)]
        subscribers: Vec<PathBuf>,
        /// Leave out the lines before this one, counted over all files: where an earlier run ended.
        #[arg(long, default_value_t = 1)]
        from_line: u64,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

/// `ocs group`.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Show a group with its first accounts and what is in them.
    #[command(after_help = "Examples:\n  ocs group show 5001\n  ocs group show external-HOUSE-7 -o json")]
    Show {
        /// Its number, or external- and the number that other systems know it by.
        group: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// List the groups that have a name or an external number.
    #[command(after_help = "Examples:\n  ocs group list\n  ocs group list -o csv")]
    List {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// List the members of a group: who pays for them, by which tariff, what they may use of shared buckets.
    #[command(after_help = "Examples:\n  ocs group members 5001\n  ocs group members external-HOUSE-7 -o json")]
    Members {
        /// Its number, or external- and the number that other systems know it by.
        group: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// List the accounts of a group.
    #[command(after_help = "Examples:\n  ocs group accounts 5001\n  ocs group accounts 5001 -o csv")]
    Accounts {
        /// Its number, or external- and the number that other systems know it by.
        group: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Say what a group is called, in place of what was said before; its first account has made it.
    #[command(
        after_help = "Examples:\n  ocs group put 5001 --display-name 'Miller family' --external HOUSE-7\n  ocs group put 5001 --display-name 'Miller family' --etag 0123456789abcdef"
    )]
    Put {
        /// Its number.
        group: String,
        /// What people call it.
        #[arg(long, default_value = "")]
        display_name: String,
        /// The number that your other systems know it by; no other group has it.
        #[arg(long, default_value = "")]
        external: String,
        /// Only if its etag still is this one.
        #[arg(long, default_value = "")]
        etag: String,
        /// How it is asked.
        #[command(flatten)]
        asking: Asking,
    },
    /// Have a member go over to another account of its group. Its open sessions go on with the account it leaves.
    #[command(
        after_help = "Examples:\n  ocs group move 7001 --to 5002\n  ocs group move msisdn-4915550001 --to 5002 --dry-run"
    )]
    Move {
        /// Its number, or any of its identifiers.
        member: String,
        /// The account's number.
        #[arg(long)]
        to: u64,
        /// Only if its etag still is this one.
        #[arg(long, default_value = "")]
        etag: String,
        /// How it is asked.
        #[command(flatten)]
        asking: Asking,
    },
    /// Have another account of its group pay part of what a member uses, or nobody.
    #[command(
        after_help = "Examples:\n  ocs group sponsor 7001 --account 5001 --allowance\n  ocs group sponsor 7001 --account 5001 --window business\n  ocs group sponsor 7001 --none"
    )]
    Sponsor {
        /// Its number, or any of its identifiers.
        member: String,
        /// The number of the account that pays.
        #[arg(long, required_unless_present = "none")]
        account: Option<u64>,
        /// A window of the member's tariff in which it pays for everything.
        #[arg(long, requires = "account")]
        window: Vec<String>,
        /// Its buckets pay first in all other windows.
        #[arg(long, requires = "account")]
        allowance: bool,
        /// Nobody pays any more.
        #[arg(long, conflicts_with_all = ["account", "window", "allowance"])]
        none: bool,
        /// Only if its etag still is this one.
        #[arg(long, default_value = "")]
        etag: String,
        /// How it is asked.
        #[command(flatten)]
        asking: Asking,
    },
    /// Close a member that has no open sessions; its identifiers are free for somebody else.
    #[command(after_help = "Example:\n  ocs group remove 7001 --reason 'left the family'")]
    Remove {
        /// Its number, or any of its identifiers.
        member: String,
        /// Only if its etag still is this one.
        #[arg(long, default_value = "")]
        etag: String,
        /// How it is asked.
        #[command(flatten)]
        asking: Asking,
    },
}

/// `ocs session`.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List open sessions.
    #[command(
        after_help = "Examples:\n  ocs session list\n  ocs session list --account msisdn-4917000000001\n  ocs session list --waiting -o json"
    )]
    List {
        /// Only those that this account pays for: a number or an identifier.
        #[arg(long)]
        account: Option<String>,
        /// Only those of this network element.
        #[arg(long, default_value = "")]
        client: String,
        /// Only those that wait for money.
        #[arg(long)]
        waiting: bool,
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
    /// Follow what happens to sessions from now on.
    #[command(after_help = "Example:\n  ocs session watch --account msisdn-4917000000001 -o json")]
    Watch {
        /// Only those that this account pays for: a number or an identifier.
        #[arg(long)]
        account: Option<String>,
        /// Only those of this network element.
        #[arg(long, default_value = "")]
        client: String,
        /// End after so many.
        #[arg(long)]
        max: Option<usize>,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Show one, with each rating group's grant and what is held for it.
    Show {
        /// Its name: sessions/...
        name: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Have its client ask again (RAR).
    #[command(after_help = "Exit code 0: the client does it; 1: it does not; 2: not asked.")]
    Reauthorize(SessionAsk),
    /// Have its client end it (ASR).
    #[command(
        after_help = "Exit code 0: the client does it; 1: it does not; 2: not asked.\n\nExample:\n  ocs session terminate sessions/Z3c7MTsx --reason \"sim swapped\""
    )]
    Terminate(SessionAsk),
    /// End it without its client, which is gone.
    Release(SessionAsk),
}

/// What is asked of a session.
#[derive(Debug, Args)]
pub struct SessionAsk {
    /// Its name: sessions/...
    pub name: String,
    /// Why, for the audit log.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// How to reach the server.
    #[command(flatten)]
    pub server: Server,
    /// Form.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
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

/// The catalogue of a running system.
#[derive(Debug, Subcommand)]
pub enum CatalogueCommand {
    /// List versions of tariffs, offers and accounting periods, and where they are on their way.
    #[command(after_help = "Examples:\n  ocs catalogue list\n  ocs catalogue list --state draft -o json")]
    List {
        /// Only in this state: draft, approved, scheduled, canary, published, rolled-back.
        #[arg(long, value_enum)]
        state: Option<DocumentState>,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Print the text of a version.
    #[command(after_help = "Example:\n  ocs catalogue show tariffs/smart/versions/3 > smart-3.yaml")]
    Show {
        /// Its name: tariffs/smart/versions/3, offers/gold/versions/1, accounting/versions/2.
        name: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form: the text, or everything.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Hand in a draft; it may be replaced until it is approved.
    #[command(after_help = "Example:\n  ocs catalogue put smart-3.yaml --reason 'prices of April'")]
    Put {
        /// The document (YAML or JSON).
        file: PathBuf,
        /// The etag of the draft that it replaces; "-" when there must be none; without it, whatever there is.
        #[arg(long, default_value = "")]
        etag: String,
        /// How it is asked for.
        #[command(flatten)]
        asked: CatalogueAsked,
    },
    /// Delete what is not published.
    #[command(after_help = "Example:\n  ocs catalogue delete tariffs/smart/versions/3")]
    Delete {
        /// Its name.
        name: String,
        /// How it is asked for.
        #[command(flatten)]
        asked: CatalogueAsked,
    },
    /// Say everything that is wrong with a document, by itself and beside what is published.
    #[command(after_help = "Exit code 0: it is good; 1: it is not.\n\nExample:\n  ocs catalogue validate smart-3.yaml")]
    Validate {
        /// The document (YAML or JSON).
        file: PathBuf,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// What changed in meaning: between a version and the one that counts now, or another one.
    #[command(
        after_help = "Exit code 0: nothing differs; 1: something does.\n\nExamples:\n  ocs catalogue diff tariffs/smart/versions/3\n  ocs catalogue diff tariffs/smart/versions/3 --old tariffs/smart/versions/1\n  ocs catalogue diff --file smart-3.yaml"
    )]
    Diff {
        /// Name of the new version.
        #[arg(required_unless_present = "file", conflicts_with = "file")]
        name: Option<String>,
        /// A document that is not handed in.
        #[arg(long)]
        file: Option<PathBuf>,
        /// Name of the old version; without it, the one that counts now.
        #[arg(long, default_value = "")]
        old: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// What would one use cost, and why; on a copy, nothing is charged.
    #[command(
        after_help = "Exit code 0: it would be charged; 1: it would be refused.\n\nExamples:\n  ocs catalogue simulate --draft tariffs/smart/versions/3 --service voice --to +4930123456 --used '5 min'\n  ocs catalogue simulate --who msisdn-4917000000001 --rating-group 10 --used '3 MiB'"
    )]
    Simulate(Box<CatalogueSimulate>),
    /// What would a period have cost under a version: stored usage priced again.
    #[command(
        after_help = "Exit code 0: all of it could be simulated; 1: some could not, and why.\n\nExample:\n  ocs catalogue simulate-period tariffs/smart/versions/3 --from 2027-01-01 --to 2027-02-01"
    )]
    SimulatePeriod {
        /// Name of a tariff's version, draft or not.
        name: String,
        /// First instant of the period, e.g. 2027-01-01 or 2027-01-01T00:00:00+01:00; UTC where nothing else is said.
        #[arg(long)]
        from: String,
        /// First instant after it.
        #[arg(long)]
        to: String,
        /// How many subscribers to name that would have paid most more, and most less.
        #[arg(long, default_value_t = 10)]
        top: u32,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Approve a draft that somebody else wrote.
    #[command(after_help = "Example:\n  ocs catalogue approve tariffs/smart/versions/3 --etag 90b5c4a1f0e2d3c4")]
    Approve {
        /// Its name.
        name: String,
        /// The etag of what was read; without it, of what there is now.
        #[arg(long)]
        etag: Option<String>,
        /// How it is asked for.
        #[command(flatten)]
        asked: CatalogueAsked,
    },
    /// Publish what is approved: now, at an instant, or for a share of subscribers first.
    #[command(
        after_help = "With --share or --named it is a canary: for them from now on, for nobody else. Again with a larger share, or with more names, it is for \
                      more. Who is in stays in.\n\nExamples:\n  ocs catalogue publish tariffs/smart/versions/3\n  ocs catalogue publish offers/gold/versions/2 \
                      --at 2027-04-01T00:00:00+02:00\n  ocs catalogue publish tariffs/smart/versions/3 --share 5% --named msisdn-4917000000001"
    )]
    Publish {
        /// Its name.
        name: String,
        /// When; without it, now.
        #[arg(long, conflicts_with_all = ["share", "named"])]
        at: Option<String>,
        /// For this share of all subscribers, in percent: 5%, 0.25%.
        #[arg(long)]
        share: Option<String>,
        /// For these, too: a subscriber's number or an identifier.
        #[arg(long, num_args = 1..)]
        named: Vec<String>,
        /// How it is asked for.
        #[command(flatten)]
        asked: CatalogueAsked,
    },
    /// Make a version that is published for a share of subscribers one for all of them, from now on.
    #[command(after_help = "Example:\n  ocs catalogue promote tariffs/smart/versions/3")]
    Promote {
        /// Its name.
        name: String,
        /// How it is asked for.
        #[command(flatten)]
        asked: CatalogueAsked,
    },
    /// Take a published version back: the one before counts from now on.
    #[command(after_help = "Example:\n  ocs catalogue rollback tariffs/smart/versions/3 --reason 'wrong night rate'")]
    Rollback {
        /// Its name.
        name: String,
        /// How it is asked for.
        #[command(flatten)]
        asked: CatalogueAsked,
    },
    /// Print every change of a document, a JSON object a line, until it is stopped.
    #[command(after_help = "Example:\n  ocs catalogue watch")]
    Watch {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
    },
    /// Close every accounting period before an instant.
    #[command(
        after_help = "A closed period stays closed.\n\nExample:\n  ocs catalogue close-period --until 2027-02-01"
    )]
    ClosePeriod {
        /// First instant of the oldest period that stays open, by the wall clock of the periods.
        #[arg(long)]
        until: String,
        /// How it is asked for.
        #[command(flatten)]
        asked: CatalogueAsked,
    },
}

/// States of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DocumentState {
    /// It may be replaced.
    Draft,
    /// It can be published.
    Approved,
    /// It will be published.
    Scheduled,
    /// It counts for a share of subscribers.
    Canary,
    /// It counts, or another version does.
    Published,
    /// It counts no more.
    RolledBack,
}

/// How a change of the catalogue is asked for.
#[derive(Clone, Debug, Args)]
pub struct CatalogueAsked {
    /// Idempotency key: the same key is done once. Made up when it is left out.
    #[arg(long)]
    pub key: Option<String>,
    /// Why, for the audit log.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// How to reach the server.
    #[command(flatten)]
    pub server: Server,
    /// Form.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `ocs catalogue simulate`.
#[derive(Debug, Args)]
pub struct CatalogueSimulate {
    /// Names of drafts that count beside, or in place of, what is published.
    #[arg(long, num_args = 1..)]
    pub draft: Vec<String>,
    /// Whose account: a subscriber's number or an identifier. Without it, a made-up one.
    #[arg(long)]
    pub who: Option<String>,
    /// The tariff to charge by; needed for a made-up account when no single draft says it.
    #[arg(long, default_value = "")]
    pub tariff: String,
    /// Offers that the account has just bought.
    #[arg(long, num_args = 1..)]
    pub offers: Vec<String>,
    /// Money of the made-up account, before it bought them.
    #[arg(long, default_value = "1000.00")]
    pub balance: String,
    /// What was used.
    #[command(flatten)]
    pub usage: WhatIfUsage,
    /// How to reach the server.
    #[command(flatten)]
    pub server: Server,
    /// Form.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `ocs voucher`.
#[derive(Debug, Subcommand)]
pub enum VoucherCommand {
    /// Make a batch and print its codes, which nobody can print again: name and code of each, a line a voucher.
    #[command(
        after_help = "Codes go to standard output, everything else to standard error. When they are lost, block the batch and make another.\n\nExamples:\n  ocs voucher create summer-27 --count 5000 --value '10.00 EUR' --expires 2028-01-01 > codes.csv\n  ocs voucher create promo-1 --count 100 --value '2.00 EUR' --bucket promo --granted --valid-days 30 --expires 2027-09-01"
    )]
    Create {
        /// Name of the batch: letters, digits, '-', '_' and '.'.
        batch: String,
        /// How many, 1 to 100000.
        #[arg(long)]
        count: u32,
        /// What each is worth, e.g. '10.00 EUR'.
        #[arg(long)]
        value: String,
        /// From when on they can no longer be redeemed: 2028-01-01, or an instant.
        #[arg(long)]
        expires: String,
        /// The bucket that takes it; made when new.
        #[arg(long, default_value = "main")]
        bucket: String,
        /// Priority of the bucket when it is new.
        #[arg(long)]
        priority: Option<u32>,
        /// How many days what one gives lasts; without it, always.
        #[arg(long)]
        valid_days: Option<u32>,
        /// Number of the tenant whose accounts can redeem them.
        #[arg(long, default_value_t = 0)]
        tenant: u16,
        /// It is a present, nobody paid for it.
        #[arg(long)]
        granted: bool,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// List batches.
    Batches {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Say what became of a voucher.
    Show {
        /// Its code.
        code: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Block a batch, or one voucher, for good.
    #[command(
        after_help = "Examples:\n  ocs voucher block batches/summer-27 --reason 'a parcel was stolen'\n  ocs voucher block batches/summer-27/vouchers/17 --reason 'sold damaged'\n  ocs voucher block 4111111111111111 --reason 'sold damaged'"
    )]
    Block {
        /// A batch's name, a voucher's name, or a code.
        which: String,
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
    /// Pay a voucher into an account. Repeating the same key changes nothing.
    #[command(after_help = "Example:\n  ocs voucher redeem msisdn-4917000000001 '4111 1111 1111 1111' --key call-4711")]
    Redeem {
        /// An account number or an identifier.
        who: String,
        /// The code.
        code: String,
        /// Idempotency key: the same key is booked once. Without it one is made up, and named if the outcome is not known.
        #[arg(long)]
        key: Option<String>,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
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

/// `ocs approval`.
#[derive(Debug, Subcommand)]
pub enum ApprovalCommand {
    /// List requests that wait for a second person.
    List {
        /// Also those that are over.
        #[arg(long)]
        all: bool,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Say yes: what another person asked for is done.
    #[command(after_help = "Example:\n  ocs approval approve approvals/12")]
    Approve {
        /// The name: approvals/12.
        name: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Say no.
    #[command(after_help = "Example:\n  ocs approval reject approvals/12 --reason 'too much'")]
    Reject {
        /// The name: approvals/12.
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
