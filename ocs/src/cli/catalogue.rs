//! Tariffs and offers: on files, and on a running system.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Output, Server};

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
