//! Open sessions.

use clap::{Args, Subcommand};

use super::{Output, Server};

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

/// `ocs notification`.
#[derive(Debug, Subcommand)]
pub enum NotificationCommand {
    /// Follow the thresholds that are crossed: one a line, with the position to go on from.
    #[command(
        after_help = "Exit code 0: it was stopped, or came to the end; 1: the stream broke, and it says where to go on.\n\nExamples:\n  ocs notification watch\n  ocs notification watch --from 4711 -o json\n  ocs notification watch --from 1 --to-end --account msisdn-4917000000001 -o csv"
    )]
    Watch {
        /// First CDR that is looked at; without it, the next one.
        #[arg(long)]
        from: Option<u64>,
        /// End where there are no more, instead of waiting.
        #[arg(long)]
        to_end: bool,
        /// Only those of this account: a number or an identifier.
        #[arg(long)]
        account: Option<String>,
        /// Only those of this subscriber's usage: a number or an identifier.
        #[arg(long)]
        subscriber: Option<String>,
        /// Only those of this policy counter, as `ocs notification values` shows it: care/spend.
        #[arg(long)]
        counter: Option<String>,
        /// Only those of this tenant's accounts; 0 is the operator itself.
        #[arg(long)]
        tenant: Option<u32>,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form; json is one object a line.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Say how the values that an account's offers watch stand: allowances, spending, what is left.
    #[command(after_help = "Example:\n  ocs notification values msisdn-4917000000001")]
    Values {
        /// The account: a number or an identifier.
        account: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}
