//! Books of a running system: the same sums whatever is killed in between, the server's control totals, and hledger's opinion.
//!
//! `CAMPAIGN_KILLS` says how often the consumer is killed (10; the server every fifth time), `CAMPAIGN_SEED` when, `CAMPAIGN_SECONDS` when it
//! is enough, `CAMPAIGN_SUBSCRIBERS` and `CAMPAIGN_RATE` how much is charged meanwhile.

#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const JOURNAL: &str = env!("CARGO_BIN_EXE_ocs-journal");
#[path = "../../client/tests-support/server.rs"]
#[allow(dead_code, reason = "each program uses its part of it")]
mod server;

use server::{Server, said};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit.max(1)
    }
}

/// What the program is asked of a server.
trait Journal {
    fn follow(&self, consumer: &str, books: &Path) -> Command;
    fn check(&self, consumer: &str, books: &Path) -> Output;
}

impl Journal for Server {
    fn follow(&self, consumer: &str, books: &Path) -> Command {
        let mut follow = self.command(JOURNAL);
        follow.args(["follow", "--take-over", "--consumer", consumer, "--books"]).arg(books);
        follow
    }

    fn check(&self, consumer: &str, books: &Path) -> Output {
        let mut check = self.command(JOURNAL);
        check.args(["check", "--take-over", "--consumer", consumer, "--books"]).arg(books).output().unwrap()
    }
}

fn printed(books: &Path, form: &str) -> String {
    let output = Command::new(JOURNAL).args(["print", "--form", form, "--books"]).arg(books).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What a journal in CSV comes to: debits less credits, micro-units.
fn zero(csv: &str) -> i128 {
    let micros = |text: &str| text.replace('.', "").parse::<i128>().unwrap_or(0);
    let rows = csv.lines().skip(1).map(|line| {
        let mut cells = line.rsplit(',');
        let (credit, debit) = (cells.next().unwrap(), cells.next().unwrap());
        micros(debit) - micros(credit)
    });
    rows.sum()
}

/// hledger refuses entries that do not add up to nothing.
fn hledger(journal: &str, folder: &Path) {
    if Command::new("hledger").arg("--version").output().is_err() {
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers-installed");
        let installed = std::fs::read_to_string(installed).unwrap_or_default();
        let is_wanted = std::env::var_os("OCS_REQUIRE_PEERS").is_some() && installed.contains("hledger");
        assert!(!is_wanted, "hledger is said to be installed, and is not");
        eprintln!(
            "SKIPPED: hledger is not installed (ocs/tests/peers/setup.sh installs it): nobody else looks at the journal"
        );
        return;
    }
    let file = folder.join("journal.hledger");
    std::fs::write(&file, journal).unwrap();
    let check = Command::new("hledger").arg("-f").arg(&file).arg("check").output().unwrap();
    assert!(check.status.success(), "{}", said(&check));
    let balance =
        Command::new("hledger").arg("-f").arg(&file).args(["balance", "--flat", "-O", "csv"]).output().unwrap();
    let text = String::from_utf8(balance.stdout).unwrap();
    let total = text.lines().last().unwrap();
    assert!(balance.status.success() && total == "\"total\",\"0\"", "{text}");
}

#[test]
fn the_books_are_the_same_whatever_is_killed() {
    let (kills, seed) = (setting("CAMPAIGN_KILLS", 10), setting("CAMPAIGN_SEED", 1));
    let until = setting("CAMPAIGN_SECONDS", u64::MAX);
    let rate = setting("CAMPAIGN_RATE", 1500);
    let began = Instant::now();
    let mut random = Random(seed);
    let mut server = Server::start(JOURNAL, setting("CAMPAIGN_SUBSCRIBERS", 40));
    for consumer in ["ledger", "again"] {
        let made = server.ask(&["consumer", "create", consumer, "--reason", "a test"]);
        assert!(made.status.success(), "{}", said(&made));
    }
    let books = server.books("books");
    let (mut consumers_killed, mut servers_killed) = (0, 0);
    for round in 0..kills {
        if began.elapsed().as_secs() >= until {
            break;
        }
        let mut traffic = server.traffic(1, rate);
        for number in 1..=3u64 {
            let (key, account) = (format!("{round}-{number}"), (1 + random.below(20)).to_string());
            server.change(&["account", "topup", &account, "--amount", "7.50"], &format!("t{key}"));
            server.change(&["account", "adjust", &account, "--amount=-0.25"], &format!("a{key}"));
            server.change(&["account", "transfer", &account, "21", "--amount", "1.00"], &format!("g{key}"));
        }
        let mut follow = server.follow("ledger", &books).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20 + random.below(400)));
        if round % 5 == 4 {
            server.kill();
            servers_killed += 1;
            server.restart();
        }
        follow.kill().unwrap();
        follow.wait().unwrap();
        consumers_killed += 1;
        let _ = traffic.wait();
    }

    // All of it, and the server agrees.
    let ended = server.follow("ledger", &books).arg("--until-end").output().unwrap();
    assert!(ended.status.success(), "{}", said(&ended));
    let check = server.check("ledger", &books);
    assert!(check.status.success() && said(&check).contains("agree with the control totals"), "{}", said(&check));

    // Books that were kept in one go are the same, to the octet.
    let once = server.books("once");
    let check = server.check("again", &once);
    assert!(check.status.success(), "{}", said(&check));
    for form in ["hledger", "csv", "customers"] {
        assert_eq!(printed(&books, form), printed(&once, form), "{form}");
    }
    let csv = printed(&books, "csv");
    assert_eq!(zero(&csv), 0);
    for account in ["liabilities:contract:prepaid", "assets:cash:clearing", "revenue:usage", "expenses:adjustments"] {
        assert!(csv.contains(account), "{account}\n{csv}");
    }
    hledger(&printed(&books, "hledger"), server.folder.path());
    let shown = Command::new(JOURNAL).args(["show", "--books"]).arg(&books).output().unwrap();
    let words = said(&shown);
    println!(
        "journal: seed {seed}, {consumers_killed} kills of the consumer, {servers_killed} of the server, {}, {:?}",
        words.trim(),
        began.elapsed()
    );
    server.stop_and_audit();
}

/// Each mistake of whoever runs it has words that say what to do, and nothing is booked.
#[test]
fn mistakes_are_named() {
    let server = Server::start(JOURNAL, 3);
    let (books, other) = (server.books("books"), server.books("other"));
    let follow = |consumer: &str, books: &Path, more: &[&str]| {
        let output = server.follow(consumer, books).arg("--until-end").args(more).output().unwrap();
        (output.status.code(), said(&output))
    };
    let (code, words) = follow("nobody", &books, &[]);
    assert!(code == Some(2) && words.contains("nobody"), "{words}");
    assert!(server.ask(&["consumer", "create", "ledger", "--reason", "a test"]).status.success());
    assert!(server.ask(&["consumer", "create", "some", "--kind", "usage", "--reason", "a test"]).status.success());
    let (code, words) = follow("some", &books, &[]);
    assert!(code == Some(2) && words.contains("books need every CDR"), "{words}");
    assert_eq!(follow("ledger", &books, &[]).0, Some(0));
    assert!(server.change(&["account", "topup", "1", "--amount", "1.00"], "t"));
    assert_eq!(follow("ledger", &books, &[]).0, Some(0));
    // Books that are older than what was acknowledged, as a copy that was restored.
    std::fs::create_dir_all(&other).unwrap();
    std::fs::copy(books.join("books.sqlite"), other.join("books.sqlite")).unwrap();
    assert!(server.change(&["account", "topup", "1", "--amount", "2.00"], "u"));
    // The control totals wait for what was answered: the stream may be behind it by some milliseconds.
    assert!(server.check("ledger", &books).status.success());
    let (code, words) = follow("ledger", &other, &[]);
    assert!(code == Some(2) && words.contains("ocs consumer reset"), "{words}");
    let position = words.rsplit(' ').next().unwrap().trim();
    let reset = server.ask(&["consumer", "reset", "ledger", "--to", position, "--reason", "a copy was restored"]);
    assert!(reset.status.success(), "{}", said(&reset));
    assert!(server.check("ledger", &other).status.success());
    assert_eq!(printed(&books, "csv"), printed(&other, "csv"), "whatever came twice is in once");
    let (code, words) = follow("ledger", &books, &["--zone", "Mars/Olympus"]);
    assert!(code == Some(2) && words.contains("--zone Mars/Olympus"), "{words}");
    let map = server.books("map.toml");
    std::fs::write(&map, "usages = \"4000\"").unwrap();
    let (code, words) = follow("ledger", &books, &["--map", map.to_str().unwrap()]);
    assert!(code == Some(2) && words.contains("usages"), "{words}");
    let nothing = Command::new(JOURNAL).args(["print", "--books", "/nonexistent"]).output().unwrap();
    assert!(nothing.status.code() == Some(2) && said(&nothing).contains("has no books"), "{}", said(&nothing));
}
