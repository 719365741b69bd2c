//! Metrics, their documentation and the alert rules name the same things.

use std::collections::BTreeSet;

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
    let watched = names(include_str!("../../deploy/alerts.yml"));
    assert_eq!(recorded, documented, "left: src/telemetry.rs, right: docs/operations.md");
    let unknown: Vec<_> = watched.difference(&recorded).collect();
    assert!(unknown.is_empty(), "deploy/alerts.yml watches {unknown:?}, which nobody records");
}
