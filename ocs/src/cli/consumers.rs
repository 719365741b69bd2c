//! Consumers of CDRs.

use clap::{Args, Subcommand};

use super::{Output, Server};

/// What goes with every change of a consumer.
#[derive(Debug, Args)]
pub struct ConsumerAsked {
    /// Why, for the audit log.
    #[arg(long)]
    pub reason: String,
    /// Idempotency key: the same key changes once. Without it one is made up.
    #[arg(long)]
    pub key: Option<String>,
    /// How to reach the server.
    #[command(flatten)]
    pub server: Server,
    /// Form.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `ocs consumer`.
#[derive(Debug, Subcommand)]
pub enum ConsumerCommand {
    /// Make one: from now on CDRs are kept until it has acknowledged them.
    #[command(
        after_help = "Examples:\n  ocs consumer create ledger --reason 'new ledger'\n  ocs consumer create fraud --kind usage --from tail --reason 'trial'"
    )]
    Create {
        /// Its name: 1 to 64 of a-z, 0-9 and -.
        name: String,
        /// Only CDRs of this kind: usage, top_up, refund, ...; may be said several times.
        #[arg(long = "kind")]
        kinds: Vec<String>,
        /// Only CDRs of this account; may be said several times.
        #[arg(long = "account")]
        accounts: Vec<u64>,
        /// Where it begins: oldest, tail, or a position.
        #[arg(long, default_value = "oldest")]
        from: String,
        /// After so many attempts a CDR that cannot be processed is parked.
        #[arg(long, default_value_t = 5)]
        max_attempts: u32,
        /// What goes with every change.
        #[command(flatten)]
        asked: ConsumerAsked,
    },
    /// List consumers, and how far each is behind.
    List {
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Show one: where it stands, who has it, what it holds.
    #[command(after_help = "Example:\n  ocs consumer show ledger")]
    Show {
        /// Its name.
        name: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Have one go on elsewhere: back, so that CDRs are sent again, or forward, so that it never gets some.
    #[command(
        after_help = "Examples:\n  ocs consumer reset ledger --to 4711 --reason 'restored from a copy'\n  ocs consumer reset fraud --to tail --reason 'too far behind'"
    )]
    Reset {
        /// Its name.
        name: String,
        /// Where it goes on: oldest, tail, or a position.
        #[arg(long)]
        to: String,
        /// Only if its etag, as shown, is still this one.
        #[arg(long, default_value = "")]
        etag: String,
        /// What goes with every change.
        #[command(flatten)]
        asked: ConsumerAsked,
    },
    /// End one: nothing is kept for it any more.
    #[command(after_help = "Example:\n  ocs consumer delete fraud --reason 'trial is over'")]
    Delete {
        /// Its name.
        name: String,
        /// Only if its etag, as shown, is still this one.
        #[arg(long, default_value = "")]
        etag: String,
        /// What goes with every change.
        #[command(flatten)]
        asked: ConsumerAsked,
    },
    /// List the CDRs that one has parked.
    #[command(after_help = "Example:\n  ocs consumer parked ledger -o json")]
    Parked {
        /// Its name.
        name: String,
        /// How to reach the server.
        #[command(flatten)]
        server: Server,
        /// Form.
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Have parked CDRs sent again.
    #[command(
        after_help = "Examples:\n  ocs consumer retry ledger --reason 'account was missing there'\n  ocs consumer retry ledger 4711 4712 --reason 'fixed'"
    )]
    Retry {
        /// Its name.
        name: String,
        /// Positions; none for all that are parked.
        positions: Vec<u64>,
        /// What goes with every change.
        #[command(flatten)]
        asked: ConsumerAsked,
    },
    /// Give parked CDRs up: the consumer will never have had them.
    #[command(after_help = "Example:\n  ocs consumer discard ledger 4711 --reason 'booked by hand, ticket 17'")]
    Discard {
        /// Its name.
        name: String,
        /// Positions.
        #[arg(required = true)]
        positions: Vec<u64>,
        /// What goes with every change.
        #[command(flatten)]
        asked: ConsumerAsked,
    },
}
