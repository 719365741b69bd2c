//! Vouchers, and credits that need a second person.

use clap::Subcommand;

use super::{Output, Server};

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
