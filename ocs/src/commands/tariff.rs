//! `ocs tariff`: documents without a data folder.

use std::path::Path;
use std::process::ExitCode;

use crate::catalogue::diff::Effect;
use crate::catalogue::{self, CatalogueError, Document};
use crate::cli::{Output, Tariff, TariffCheck, TariffDiff};
use crate::store::{OpenError, because};

/// Runs a subcommand.
pub(super) fn run(command: &Tariff) -> Result<ExitCode, OpenError> {
    match command {
        Tariff::Check(options) => check(options),
        Tariff::Diff(options) => diff(options),
        Tariff::Explain(options) => super::explain::what_if(options),
        Tariff::Simulate(options) => super::simulate::run(options),
        Tariff::Schema => {
            super::print::value(Output::Json, &catalogue::schema());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// `ocs tariff check`.
fn check(options: &TariffCheck) -> Result<ExitCode, OpenError> {
    let mut good = true;
    let mut findings = Vec::new();
    for path in &options.files {
        let text = std::fs::read_to_string(path).map_err(because(&path.display().to_string()))?;
        let parsed = catalogue::parse(&text);
        good &= parsed.is_ok();
        match options.output {
            Output::Json | Output::Yaml | Output::Csv => findings.push(as_json(path, &parsed)),
            Output::Table => print(path, &parsed),
        }
    }
    if options.output != Output::Table {
        super::print::value(options.output, &serde_json::Value::Array(findings));
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `ocs tariff diff`. Both were or will be checked elsewhere: what was taken before stricter rules is read, too.
fn diff(options: &TariffDiff) -> Result<ExitCode, OpenError> {
    let read = |path: &Path| {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(because(&name))?;
        catalogue::parse_stored(&text).map_err(because(&name))
    };
    let (old, new) = (read(&options.old)?, read(&options.new)?);
    let changes = catalogue::diff::diff(&old, &new).map_err(OpenError)?;
    match options.output {
        Output::Json | Output::Yaml | Output::Csv => super::print::value(
            options.output,
            &serde_json::json!({
                "old": old.to_string(),
                "new": new.to_string(),
                "changes": changes.iter().map(|change| serde_json::json!({
                    "path": change.path,
                    "kind": change.kind.name(),
                    "before": change.before,
                    "after": change.after,
                    "words": change.words,
                    "effect": change.effect.name(),
                })).collect::<Vec<_>>(),
            }),
        ),
        Output::Table if changes.is_empty() => println!("{old} and {new} mean the same"),
        Output::Table => {
            println!("{old} to {new}");
            for change in &changes {
                let effect = match change.effect {
                    Effect::Dearer => "dearer",
                    Effect::Open => "",
                    Effect::Cheaper => "cheaper",
                };
                println!("{effect:<8}{}", change.words);
            }
        }
    }
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(path: &Path, parsed: &Result<Document, CatalogueError>) {
    let path = path.display();
    match parsed {
        Ok(document) => {
            let hash = super::hex(document.content_hash().first_chunk::<8>().unwrap_or(&[0; 8]));
            match document {
                Document::Tariff(tariff) => println!(
                    "{path}: good: {} version {}, {}, {} prices, content {hash}",
                    tariff.name(),
                    tariff.version(),
                    tariff.currency(),
                    tariff.prices().len(),
                ),
                Document::Offer(offer) => println!(
                    "{path}: good: offer {} version {}, {} {}, {} allowances, content {hash}",
                    offer.name(),
                    offer.version(),
                    offer.fee(),
                    offer.currency(),
                    offer.allowances().count(),
                ),
                Document::Accounting(periods, _) => println!(
                    "{path}: good: accounting periods version {}, {} from {}, closed until {}, content {hash}",
                    periods.version(),
                    periods.cycle().period,
                    periods.cycle().anchor,
                    periods.closed_until(),
                ),
            }
        }
        Err(CatalogueError::Syntax { reason, .. }) => println!("{path}: {reason}"),
        Err(CatalogueError::Problems(problems)) => {
            problems.iter().for_each(|problem| println!("{path}: {problem}"));
        }
    }
}

fn as_json(path: &Path, parsed: &Result<Document, CatalogueError>) -> serde_json::Value {
    let file = path.display().to_string();
    match parsed {
        Ok(Document::Accounting(periods, hash)) => serde_json::json!({
            "file": file,
            "good": true,
            "version": periods.version(),
            "period": periods.cycle().period.to_string(),
            "closed_until": periods.closed_until().to_string(),
            "content_hash": super::hex(hash),
        }),
        Ok(Document::Offer(offer)) => serde_json::json!({
            "file": file,
            "good": true,
            "offer": offer.name().as_str(),
            "version": offer.version(),
            "currency": offer.currency().to_string(),
            "allowances": offer.allowances().count(),
            "content_hash": super::hex(offer.content_hash()),
        }),
        Ok(Document::Tariff(tariff)) => serde_json::json!({
            "file": file,
            "good": true,
            "tariff": tariff.name().as_str(),
            "version": tariff.version(),
            "currency": tariff.currency().to_string(),
            "prices": tariff.prices().len(),
            "content_hash": super::hex(tariff.content_hash()),
        }),
        Err(CatalogueError::Syntax { line, reason }) => {
            serde_json::json!({ "file": file, "good": false, "problems": [{ "line": line, "reason": reason }] })
        }
        Err(CatalogueError::Problems(problems)) => {
            let problems = problems.iter();
            let problems = problems.map(|it| serde_json::json!({ "path": it.path, "reason": it.reason }));
            serde_json::json!({ "file": file, "good": false, "problems": problems.collect::<Vec<_>>() })
        }
    }
}
