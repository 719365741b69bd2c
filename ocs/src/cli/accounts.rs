//! Accounts, those who use them, and their groups.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Output, Server};

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
