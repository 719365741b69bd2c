//! `ocs import` and `ocs audit`: a data folder that no process is using.

use std::process::ExitCode;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};

use super::print;
use crate::audit::{self, Summary};
use crate::catalogue::Document;
use crate::cli::{self, Output};
use crate::clock::Clock;
use crate::config::Config;
use crate::import::{self, Standing};
use crate::setup::{Filling, There};
use crate::store::{self, OpenError, because};

/// Offers that could not be bought, shown before giving up.
const REFUSALS_SHOWN_MAX: usize = 20;

pub(super) fn bar(length: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{msg} {pos}/{len} {wide_bar} {per_sec} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what);
    bar
}

pub(super) fn config_for(folder: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.data.folder = folder.to_owned();
    config
}

/// `ocs import`.
pub(super) fn import(options: &cli::Import) -> Result<ExitCode, OpenError> {
    let config = config_for(&options.data);
    let plain = |error: import::ImportErrors| OpenError(error.to_string());
    if options.catalogue.is_empty() && options.accounts.is_empty() && options.subscribers.is_empty() {
        return Err(OpenError("name at least one of --catalogue, --accounts, --subscribers".to_owned()));
    }
    // What is there counts for every check. A dry run, and files that are refused, never make a folder.
    let clock = Arc::new(Clock::real());
    let there = options.data.join("log").exists();
    let loaded = there.then(|| store::load(&config, clock.now())).transpose()?;
    let known = loaded.as_ref().map(There::of);
    let documents = import::read_catalogue(&options.catalogue, |document| {
        known.map_or(Ok(()), |known| known.has_document(document).map(drop))
    })
    .map_err(plain)?;
    let accounts = import::read_accounts(&options.accounts, |account| {
        known.map_or(Ok(()), |known| known.has_account(account).map(drop))
    })
    .map_err(plain)?;
    let standings: std::collections::HashMap<_, _, foldhash::fast::RandomState> =
        accounts.iter().map(|account| (account.id, Standing::of(account))).collect();
    let subscribers = import::read_subscribers(
        &options.subscribers,
        |name| {
            let in_files = documents.iter().filter_map(|it| match &it.document {
                Document::Tariff(version) if version.name() == name => Some(version),
                Document::Tariff(_) | Document::Offer(_) | Document::Accounting(..) => None,
            });
            let in_files = in_files.map(|version| version.calendar().map_or(&[][..], |calendar| calendar.names()));
            let there = known.and_then(|known| known.windows(name));
            in_files.fold(there, |all, more| Some(all.into_iter().flatten().chain(more.iter().cloned()).collect()))
        },
        |name| {
            let in_files = documents.iter().filter_map(|it| match &it.document {
                Document::Offer(version) if version.name() == name => Some(version.clone()),
                Document::Tariff(_) | Document::Offer(_) | Document::Accounting(..) => None,
            });
            in_files.max_by_key(|version| version.version()).or_else(|| known.and_then(|known| known.offer(name)))
        },
        |id| standings.get(&id).copied().or_else(|| known.and_then(|known| known.standing(id))),
        |subscriber| known.map_or(Ok(()), |known| known.has_subscriber(subscriber).map(drop)),
    )
    .map_err(plain)?;
    let untaken = There::untaken_offers(known, &documents, &accounts, &subscribers, clock.now());
    if !untaken.is_empty() {
        let more = untaken.len().saturating_sub(REFUSALS_SHOWN_MAX);
        let mut text = untaken.into_iter().take(REFUSALS_SHOWN_MAX).collect::<Vec<_>>().join("\n");
        if more > 0 {
            text.push_str(&format!("\n… and {more} more"));
        }
        return Err(OpenError(format!("{text}\nnothing was imported")));
    }
    if options.dry_run {
        println!(
            "good: {} catalogue documents, {} accounts, {} subscribers",
            documents.len(),
            accounts.len(),
            subscribers.len()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let loaded = match loaded {
        Some(loaded) => loaded,
        None => store::load(&config, clock.now())?,
    };
    let mut filling = Filling::over(&config, loaded, clock)?;
    let done = (|| {
        for document in &documents {
            filling.document(document)?;
        }
        let progress = bar(u64::try_from(accounts.len()).unwrap_or(0), "accounts");
        for account in accounts {
            filling.account(account)?;
            progress.inc(1);
        }
        progress.finish();
        let progress = bar(u64::try_from(subscribers.len()).unwrap_or(0), "subscribers");
        for subscriber in subscribers {
            filling.subscriber(subscriber)?;
            progress.inc(1);
        }
        progress.finish();
        Ok(())
    })();
    let written = filling.finish();
    println!(
        "imported {} tariffs, {} offers, {} accounts ({} were there), {} subscribers into {}",
        written.tariffs,
        written.offers,
        written.accounts,
        written.accounts_there,
        written.subscribers,
        options.data.display()
    );
    done.map(|()| ExitCode::SUCCESS)
}

/// `ocs audit`.
pub(super) fn audit(options: &cli::Audit) -> Result<ExitCode, OpenError> {
    if !options.data.join("log").exists() {
        return Err(OpenError(format!("{} is no data folder: it has no log", options.data.display())));
    }
    let config = config_for(&options.data);
    let clock = Arc::new(Clock::real());
    let loaded = store::load(&config, clock.now())?;
    let progress = bar(loaded.store.log.position().next_cdr.get(), "CDRs");
    let mut report = audit::audit(&loaded, |read| progress.set_position(read))?;
    progress.finish_and_clear();
    for path in &options.agrees_with {
        let text = std::fs::read_to_string(path).map_err(because(&path.display().to_string()))?;
        let summary: Summary = serde_json::from_str(&text).map_err(because(&path.display().to_string()))?;
        audit::agree(&mut report, &summary);
    }
    match options.output {
        Output::Json | Output::Yaml | Output::Csv => {
            print::value(options.output, &serde_json::to_value(&report).map_err(because("report"))?);
        }
        Output::Table => print(&report, options),
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &audit::Report, options: &cli::Audit) {
    let money = |sums: &std::collections::BTreeMap<String, i128>| {
        let shown = sums.iter().map(|(currency, amount)| {
            format!("{} {currency}", super::micros(i64::try_from(*amount).unwrap_or(i64::MAX)))
        });
        let shown: Vec<String> = shown.collect();
        if shown.is_empty() { "0.00".to_owned() } else { shown.join(", ") }
    };
    println!("data folder      {}", options.data.display());
    println!("accounts         {}", report.accounts);
    println!("open sessions    {}   holding {}", report.open_sessions, super::micros(report.reserved_micros));
    println!("CDRs             {}   positions {} to {}", report.cdrs, report.first_position, report.last_position);
    println!("charged          {}", money(&report.charged_micros));
    println!("refunded         {}", money(&report.refunded_micros));
    println!("topped up        {}", money(&report.topped_up_micros));
    println!("fees of offers   {}", money(&report.fees_micros));
    println!("given by offers  {}", money(&report.granted_micros));
    println!("lapsed           {}", money(&report.expired_micros));
    println!("rated again      {}", money(&report.rerated_micros));
    println!("adjusted         {}", money(&report.adjusted_micros));
    println!("hash chain       {}", report.chain);
    if let Some(through) = report.totals_through {
        println!("control totals   up to CDR {through}");
    }
    println!("audit log        {} records, head {}:{}", report.audit_records, report.audit_records, report.audit_chain);
    for path in &options.agrees_with {
        println!("compared with    {}", path.display());
    }
    if report.is_clean() {
        println!("result           everything adds up to the micro-unit");
    } else {
        println!("result           {} findings", report.findings_total);
        report.findings.iter().for_each(|finding| println!("  - {finding}"));
    }
}
