//! Metrics, their documentation, the alert rules, the runbook and the dashboard name the same things; commands that they tell to type
//! are commands.

use std::collections::BTreeSet;

use clap::Parser;
use ocs::cli::Cli;

const WATCHING: [(&str, &str); 3] = [
    ("deploy/alerts.yml", include_str!("../../deploy/alerts.yml")),
    ("deploy/grafana/ocs.json", include_str!("../../deploy/grafana/ocs.json")),
    ("docs/runbook.md", include_str!("../../docs/runbook.md")),
];

/// Names like `ocs_requests_total` in a text, without what Prometheus adds to histograms.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    let metrics = words.filter(|word| word.starts_with("ocs_") && !word.ends_with('_'));
    metrics
        .map(|name| ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name))
        .collect()
}

#[test]
fn every_metric_is_documented_and_every_name_in_documents_and_rules_is_a_metric() {
    let recorded = names(include_str!("../src/telemetry.rs"));
    let documented = names(include_str!("../../docs/operations.md"));
    assert_eq!(recorded, documented, "left: src/telemetry.rs, right: docs/operations.md");
    for (file, text) in WATCHING {
        let watched = names(text);
        assert!(watched.len() > 20, "{file} names hardly any metric");
        let unknown: Vec<_> = watched.difference(&recorded).collect();
        assert!(unknown.is_empty(), "{file} watches {unknown:?}, which nobody records");
    }
}

/// Whether the command line takes what stands between backticks: up to a pipe, words in capitals for what a person puts in.
fn is_command(code: &str) -> Result<(), String> {
    let said = code.split(" | ").next().unwrap_or(code);
    let words = said.split_whitespace().map(|word| if word == "POSITION" { "1" } else { word });
    match Cli::try_parse_from(words) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn what_the_runbook_and_the_guides_tell_to_type_is_taken() {
    let guides = [
        ("deploy/alerts.yml", include_str!("../../deploy/alerts.yml"), 10),
        ("docs/runbook.md", include_str!("../../docs/runbook.md"), 10),
        ("docs/operations.md", include_str!("../../docs/operations.md"), 1),
        ("docs/deploying.md", include_str!("../../docs/deploying.md"), 1),
    ];
    for (file, text, least) in guides {
        let codes: Vec<_> = text.split('`').skip(1).step_by(2).filter(|code| code.starts_with("ocs ")).collect();
        // Names of commands in running text, and the table of what to type elsewhere.
        let whole = codes.iter().filter(|code| !code.contains('…') && code.split_whitespace().count() > 1);
        let mut tried = 0;
        for code in whole {
            // `ocs tariff explain` needs more than the runbook says.
            if *code == "ocs tariff explain" || *code == "ocs serve" {
                continue;
            }
            tried += 1;
            if let Err(error) = is_command(code) {
                panic!("{file} tells to type `{code}`: {error}");
            }
        }
        assert!(tried >= least, "{file}: only {tried} commands were found");
    }
    assert!(is_command("ocs account shw 1").is_err(), "a command that there is not");
}
