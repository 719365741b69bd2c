//! `ocs import` over what is there: what does not fit is refused with file, line and reason, and nothing is written.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    /// A folder with two accounts, each with a subscriber.
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        let accounts = desk.file("accounts", &[account(1, ""), account(2, "")]);
        let subscribers = desk
            .file("subscribers", &[subscriber(1, 1, "imsi-262019000000001"), subscriber(2, 2, "imsi-262019000000002")]);
        let tariff = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/start-payg.yaml");
        let done = desk.import(&[("--catalogue", &tariff), ("--accounts", &accounts), ("--subscribers", &subscribers)]);
        assert!(done.status.success(), "{}", said(&done));
        desk
    }

    fn file(&self, name: &str, lines: &[String]) -> PathBuf {
        let path = self.folder.path().join(format!("{name}.jsonl"));
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    }

    fn import(&self, files: &[(&str, &PathBuf)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocs"));
        command.args(["import", "--data"]).arg(self.folder.path().join("data"));
        for (option, path) in files {
            command.arg(option).arg(path);
        }
        command.output().unwrap()
    }

    /// Refused with each of these words, and nothing was written.
    fn refused(&self, files: &[(&str, &PathBuf)], words: &[&str]) {
        let done = self.import(files);
        let said = said(&done);
        assert!(!done.status.success(), "{said}");
        for word in words.iter().chain(&["nothing was imported"]) {
            assert!(said.contains(word), "'{word}' is not in: {said}");
        }
        assert_eq!(self.accounts(), 2);
    }

    /// How many accounts a clean audit finds.
    fn accounts(&self) -> u64 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocs"));
        command.args(["audit", "--output", "json", "--data"]).arg(self.folder.path().join("data"));
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", said(&done));
        let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        report["accounts"].as_u64().unwrap()
    }
}

fn said(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout)
}

fn account(id: u64, more: &str) -> String {
    let bucket = r#""buckets":[{"id":"main","unit":"EUR","amount":"10.00"}]"#;
    format!(r#"{{"account":{id},"currency":"EUR",{bucket}{more}}}"#)
}

fn subscriber(id: u64, account: u64, identifier: &str) -> String {
    format!(r#"{{"subscriber":{id},"account":{account},"tariff":"start-payg","identifiers":["{identifier}"]}}"#)
}

#[test]
fn an_account_keeps_its_charging_group() {
    let desk = Desk::new();
    let accounts = desk.file("moved", &[account(3, ""), account(1, r#","group":77"#)]);
    desk.refused(&[("--accounts", &accounts)], &["moved.jsonl:2", "account 1", "charging group 1, not in 77"]);
}

#[test]
fn a_subscriber_does_not_move_to_another_group() {
    let desk = Desk::new();
    // Also when none of its identifiers tells where it is.
    let subscribers = desk.file("moved", &[subscriber(1, 2, "imsi-262019000000009")]);
    desk.refused(&[("--subscribers", &subscribers)], &["moved.jsonl:1", "subscriber 1", "cannot move to account 2"]);
}

#[test]
fn nothing_is_half_imported() {
    let desk = Desk::new();
    let accounts = desk.file("more", &[account(3, "")]);
    let taken = desk.file("taken", &[subscriber(3, 3, "imsi-262019000000001")]);
    let files = [("--accounts", &accounts), ("--subscribers", &taken)];
    desk.refused(&files, &["taken.jsonl:1", "imsi-262019000000001 belongs to subscriber 1"]);

    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/start-payg.yaml")).unwrap();
    let other = desk.folder.path().join("other.yaml");
    std::fs::write(&other, source.replace("0.09", "0.19")).unwrap();
    desk.refused(&[("--accounts", &accounts), ("--catalogue", &other)], &["other.yaml", "raise the number"]);
}

#[test]
fn the_same_again_is_harmless_and_the_rest_is_added() {
    let desk = Desk::new();
    let accounts = desk.file("again", &[account(1, ""), account(3, r#","group":1"#)]);
    let subscribers = desk.file("again-subscribers", &[subscriber(1, 3, "imsi-262019000000001")]);
    // Within the group a subscriber may have another account.
    let done = desk.import(&[("--accounts", &accounts), ("--subscribers", &subscribers)]);
    assert!(said(&done).contains("1 accounts (1 were there), 1 subscribers"), "{}", said(&done));
    assert_eq!(desk.accounts(), 3);
}
