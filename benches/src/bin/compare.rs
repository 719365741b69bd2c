//! `ocs` beside its references, in one run on one machine: throughput, server CPU, latency, memory, restart.
//!
//! `compare TARGET-FOLDER WORK-FOLDER [seconds]`: takes `ocs` and `echo` from the first, writes under the second, and prints
//! a Markdown report. Everything stays on loopback and ends by itself.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

type Failure = Box<dyn std::error::Error>;

const GY: &str = "127.0.0.1:13868";
const GRPC: &str = "127.0.0.1:15051";
const METRICS: &str = "127.0.0.1:19464";
/// Clock ticks of /proc/PID/stat, a second.
const TICKS: u64 = 100;

/// A server under measurement; killed when dropped.
struct Served {
    child: Child,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    /// Starts a server and waits until it is `ready`.
    fn start(program: &Path, arguments: &[&str], ready: impl Fn() -> bool) -> Result<Self, Failure> {
        for address in [GY, GRPC, METRICS] {
            if is_there(address) {
                return Err(format!("something else listens at {address}: its figures would be taken for ours").into());
            }
        }
        let child = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?;
        let mut served = Self { child };
        let began = Instant::now();
        while !ready() {
            if let Some(status) = served.child.try_wait()? {
                return Err(format!("{} ended: {status}", program.display()).into());
            }
            if began.elapsed() > Duration::from_secs(300) {
                return Err("the server does not serve within 300 s".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(served)
    }

    /// User and system time so far, clock ticks.
    fn ticks(&self) -> Result<u64, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let number = |place: usize| fields.get(place).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        Ok(number(11) + number(12))
    }

    /// Resident memory, KiB.
    fn resident_kib(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("");
        Ok(line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    fn terminate(mut self) -> Result<(), Failure> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        self.child.wait()?;
        Ok(())
    }
}

struct Bench {
    target: PathBuf,
    work: PathBuf,
    seconds: u64,
    report: String,
}

/// One row: what the generator said and what the server used.
struct Row {
    answers: u64,
    per_second: u64,
    p50: u64,
    p99: u64,
    p999: u64,
    busy: u64,
    nanos_each: u64,
    resident_mib: u64,
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn is_there(address: &str) -> bool {
    let address = address.parse::<SocketAddr>();
    address.is_ok_and(|address| TcpStream::connect_timeout(&address, Duration::from_millis(100)).is_ok())
}

fn metric(name: &str) -> Result<u64, Failure> {
    let mut stream = TcpStream::connect(METRICS)?;
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    let value = line.and_then(|line| line.split(' ').nth(1)).and_then(|text| text.split('.').next());
    Ok(value.and_then(|text| text.parse().ok()).unwrap_or(0))
}

impl Bench {
    fn traffic(&self, served: &Served, arguments: &[&str]) -> Result<Row, Failure> {
        let summary = self.work.join("summary.json");
        let before = served.ticks()?;
        let status = Command::new(self.target.join("ocs"))
            .args(["traffic", "--to", GY, "--summary"])
            .arg(&summary)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        let used = served.ticks()?.saturating_sub(before);
        let told: Value = serde_json::from_str(&std::fs::read_to_string(&summary)?)?;
        if !status.success() {
            eprintln!("  traffic {arguments:?} ended with {status}: {} errors", number(&told, "errors"));
        }
        let answers = number(&told, "answers");
        Ok(Row {
            answers,
            per_second: number(&told, "rate"),
            p50: number(&told, "p50_us"),
            p99: number(&told, "p99_us"),
            p999: number(&told, "p999_us"),
            busy: number(&told, "busy"),
            nanos_each: used.saturating_mul(1_000_000_000 / TICKS).checked_div(answers).unwrap_or(0),
            resident_mib: served.resident_kib()? / 1024,
        })
    }

    fn row(&mut self, name: &str, row: &Row) {
        let Row { answers, per_second, p50, p99, p999, busy, nanos_each, resident_mib } = row;
        let micros = format!("{}.{:02}", nanos_each / 1000, nanos_each % 1000 / 10);
        let line = format!(
            "| {name} | {per_second} | {micros} | {p50} | {p99} | {p999} | {busy} | {resident_mib} | {answers} |"
        );
        eprintln!("{line}");
        let _ = writeln!(self.report, "{line}");
    }

    fn head(&mut self, title: &str) {
        eprintln!("{title}");
        let _ = writeln!(
            self.report,
            "\n### {title}\n\n| answerer | answers/s | server CPU, µs each | p50 µs | p99 µs | p99.9 µs | busy | resident MiB | answers |\n|---|---|---|---|---|---|---|---|---|"
        );
    }

    fn echo(&self, octets: Option<u64>) -> Result<Served, Failure> {
        let folder = self.work.join("echo-log");
        let _ = std::fs::remove_dir_all(&folder);
        let octets = octets.map(|octets| octets.to_string());
        let folder = folder.display().to_string();
        let mut arguments = vec![GY];
        if let Some(octets) = &octets {
            arguments.extend([folder.as_str(), octets.as_str()]);
        }
        Served::start(&self.target.join("echo"), &arguments, || is_there(GY))
    }

    fn ocs(&self, fresh: bool, subscribers: u64, more: &[&str]) -> Result<Served, Failure> {
        let folder = self.work.join("data");
        if fresh {
            let _ = std::fs::remove_dir_all(&folder);
        }
        let (folder, subscribers) = (folder.display().to_string(), subscribers.to_string());
        let mut arguments = vec!["dev", "--quiet", "--data", &folder, "--subscribers", &subscribers];
        arguments.extend(["--gy", GY, "--grpc", GRPC, "--metrics", METRICS]);
        arguments.extend(more);
        // A connection proves nothing; what it says of itself once everything is loaded and its ports are open does.
        let ready = || metric("ocs_start_time_seconds").is_ok_and(|began| began > 0) && is_there(GY);
        Served::start(&self.target.join("ocs"), &arguments, ready)
    }

    /// What operators' calls took, as `operators` says it.
    fn operators(&self, what: &str, subscribers: u64) -> Result<Value, Failure> {
        let seconds = self.seconds.to_string();
        let done = Command::new(self.target.join("operators"))
            .args([what, GRPC, &subscribers.to_string(), &seconds])
            .stderr(Stdio::inherit())
            .output()?;
        if !done.status.success() {
            return Err(format!("operators {what} ended with {}", done.status).into());
        }
        eprintln!("  {}", String::from_utf8_lossy(&done.stdout).trim());
        Ok(serde_json::from_slice(&done.stdout)?)
    }

    /// Gy at a rate, alone and while subscribers are loaded in bulk.
    fn beside_bulk_load(&mut self, closed: &[String], rate: u64) -> Result<(), Failure> {
        self.head(&format!("Bulk load over gRPC beside Gy at half of the closed-loop figure ({rate} a second)"));
        let served = self.ocs(true, 200_000, &[])?;
        let rate = rate.to_string();
        let mut arguments: Vec<&str> = closed.iter().map(String::as_str).collect();
        arguments.extend(["--rate", &rate]);
        let alone = self.traffic(&served, &arguments)?;
        self.row("ocs, Gy alone", &alone);
        let (row, loaded) = std::thread::scope(|scope| {
            let bench = &*self;
            let load = scope.spawn(|| bench.operators("load", 0).map_err(|error| error.to_string()));
            let row = bench.traffic(&served, &arguments);
            (row, load.join())
        });
        let loaded = loaded.map_err(|_| "the thread that loads panicked")??;
        self.row("ocs, Gy beside a bulk load", &row?);
        let _ = writeln!(
            self.report,
            "\nLoaded meanwhile: {} accounts with a subscriber each, {} a second, each row answered when durable.",
            number(&loaded, "done"),
            number(&loaded, "rate")
        );
        Ok(())
    }

    /// Gy as fast as it is answered, in every other second beside tariffs of 10,000 prices that are drafted and published.
    fn beside_publishing(&mut self) -> Result<(), Failure> {
        eprintln!("publishing beside Gy in a closed loop");
        let served = self.ocs(true, 200_000, &["--no-four-eyes"])?;
        let seconds = (self.seconds * 2).to_string();
        let said = self.said("operators", &["publish", GRPC, "200000", &seconds, GY])?;
        let [told] = &said[..] else { return Err("operators says more than one line".into()) };
        let gy = |which: &str, key: &str| told.get(which).map_or(0, |row| number(row, key));
        let _ = writeln!(
            self.report,
            "\n### Tariffs of {} prices, published one after the other beside Gy in a closed loop ({} a second)\n\n| | p50 µs | p99 µs | p99.9 µs |\n|---|---|---|---|\n\
             | Gy, seconds without | {} | {} | {} |\n| Gy, seconds with | {} | {} | {} |\n\n{} published: drafted, approved and in force after {} ms in the middle.",
            number(told, "prices"),
            number(told, "gy_rate"),
            gy("gy_without", "p50_us"),
            gy("gy_without", "p99_us"),
            gy("gy_without", "p99_9_us"),
            gy("gy_with", "p50_us"),
            gy("gy_with", "p99_us"),
            gy("gy_with", "p99_9_us"),
            number(told, "done"),
            number(told, "p50_us") / 1000
        );
        served.terminate()
    }

    /// CDRs as finance reads them: by stream, by a consumer, as files and as books.
    fn finance(&mut self, closed: &[String]) -> Result<(), Failure> {
        eprintln!("CDRs as finance reads them");
        let served = self.ocs(true, 200_000, &[])?;
        let arguments: Vec<&str> = closed.iter().map(String::as_str).collect();
        self.traffic(&served, &arguments)?;
        let before = served.resident_kib()?;
        let read = self.said("consumers", &[GRPC])?;
        let grown = served.resident_kib()?.saturating_sub(before) / 1024;
        let _ = writeln!(self.report, "\n### CDRs as finance reads them, while nothing else runs\n\n```");
        for line in &read {
            let _ = writeln!(self.report, "{line}");
        }
        let server = format!("http://{GRPC}");
        for form in ["parquet", "csv"] {
            let folder = self.work.join(form);
            let began = Instant::now();
            let status = Command::new(self.target.join("ocs-cdr-files"))
                .args(["write", "--until-end", "--form", form, "--server", &server, "--to"])
                .arg(&folder)
                .stdout(Stdio::null())
                .status()?;
            let took = began.elapsed();
            if !status.success() {
                return Err(format!("ocs-cdr-files ended with {status}").into());
            }
            let (mut records, mut octets) = (0, 0);
            for entry in std::fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.to_string_lossy().ends_with("manifest.json") {
                    let manifest: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
                    records += number(&manifest, "records");
                    octets += number(&manifest, "octets");
                }
            }
            let each = octets.checked_div(records).unwrap_or(0);
            let _ = writeln!(
                self.report,
                "{form}: {records} records in {took:.1?}, {each} octets each, SHA-256 and hash chain computed"
            );
        }
        let _ = writeln!(self.report, "```\n\nThe server's memory grew by {grown} MiB while all of it was read twice.");
        served.terminate()
    }

    /// The lines of JSON that a program says.
    fn said(&self, program: &str, arguments: &[&str]) -> Result<Vec<Value>, Failure> {
        let done = Command::new(self.target.join(program)).args(arguments).stderr(Stdio::inherit()).output()?;
        if !done.status.success() {
            return Err(format!("{program} {arguments:?} ended with {}", done.status).into());
        }
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        eprintln!("  {}", text.trim());
        Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    fn run(&mut self) -> Result<(), Failure> {
        let seconds = self.seconds.to_string();
        let closed = ["--seconds", &seconds, "--subscribers", "200000", "--connections", "4", "--sessions", "128"];
        let with = |more: &[&'static str]| -> Vec<String> {
            closed.iter().map(|text| (*text).to_owned()).chain(more.iter().map(|text| (*text).to_owned())).collect()
        };
        let refs = |owned: &[String]| -> Vec<String> { owned.to_vec() };
        let call = |bench: &Self, served: &Served, arguments: &[String]| {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            bench.traffic(served, &arguments)
        };
        self.head("Closed loop: 4 connections with 128 sessions, 200,000 subscribers, fsync");
        let served = self.ocs(true, 200_000, &[])?;
        let logged_before = metric("ocs_commit_octets_total")?;
        let one = call(self, &served, &refs(&with(&[])))?;
        let logged = metric("ocs_commit_octets_total")?.saturating_sub(logged_before);
        let octets_each = logged.checked_div(one.answers).unwrap_or(900);
        self.row("ocs, one rating group", &one);
        let three = call(self, &served, &refs(&with(&["--rating-groups", "3"])))?;
        self.row("ocs, three rating groups", &three);
        // Subscriber 1 pays as it goes: given enough for the whole run.
        let rich = Command::new(self.target.join("ocs"))
            .args(["account", "topup", "1", "--amount", "1000000.00", "--key", "bench", "--server"])
            .arg(format!("http://{GRPC}"))
            .stdout(Stdio::null())
            .status()?;
        if !rich.success() {
            return Err("the hot account could not be topped up".into());
        }
        let hot = call(self, &served, &refs(&with(&["--one-account"])))?;
        self.row("ocs, one hot account", &hot);
        let memory = metric("ocs_log_tail_octets")?;
        drop(served);
        let served = self.ocs(true, 200_000, &["--no-fsync"])?;
        let row = call(self, &served, &refs(&with(&[])))?;
        self.row("ocs, durability os", &row);
        drop(served);
        let served = self.echo(None)?;
        let echo = call(self, &served, &refs(&with(&["--unchecked"])))?;
        self.row("echo", &echo);
        drop(served);
        let served = self.echo(Some(octets_each))?;
        let synced = call(self, &served, &refs(&with(&["--unchecked"])))?;
        self.row(&format!("synced echo, {octets_each} octets each"), &synced);
        drop(served);
        let _ = writeln!(
            self.report,
            "\n`ocs` logs {octets_each} octets a request (entry and CDR); its log's tail was {} MiB long in the end.",
            memory >> 20
        );

        for (rate, title) in [("50000", "Open loop at 50,000 a second"), ("3000", "Open loop at 3,000 a second")] {
            self.head(title);
            let arguments = |more: &[&'static str]| {
                let mut all = with(more);
                all.extend(["--rate".to_owned(), rate.to_owned()]);
                all
            };
            let served = self.echo(Some(octets_each))?;
            let row = call(self, &served, &arguments(&["--unchecked"]))?;
            self.row("synced echo", &row);
            drop(served);
            let served = self.ocs(true, 200_000, &[])?;
            let row = call(self, &served, &arguments(&[]))?;
            self.row("ocs", &row);
            drop(served);
        }

        self.head("What a checkpoint costs: open loop at 50,000 a second");
        for (name, every) in [("ocs, no checkpoint", "3600"), ("ocs, checkpoints back to back", "1")] {
            let mut arguments = with(&[]);
            arguments.extend(["--rate".to_owned(), "50000".to_owned()]);
            let served = self.ocs(true, 200_000, &["--checkpoint-seconds", every])?;
            let row = call(self, &served, &arguments)?;
            self.row(name, &row);
            drop(served);
        }

        self.head("Overload: open loop at twice the closed-loop figure");
        let served = self.ocs(true, 200_000, &[])?;
        let rate = one.per_second.saturating_mul(2).to_string();
        let mut arguments = with(&[]);
        arguments.extend(["--rate".to_owned(), rate]);
        let row = call(self, &served, &arguments)?;
        self.row("ocs", &row);
        drop(served);

        self.beside_bulk_load(&with(&[]), one.per_second / 2)?;

        self.beside_publishing()?;
        self.finance(&with(&[]))?;

        eprintln!("memory and restart: a million subscribers");
        let began = Instant::now();
        let served = self.ocs(true, 1_000_000, &[])?;
        let filled = began.elapsed();
        served.terminate()?;
        let began = Instant::now();
        let served = self.ocs(false, 1, &[])?;
        let clean = began.elapsed();
        std::thread::sleep(Duration::from_secs(2));
        let empty = served.resident_kib()?;
        let found = self.operators("search", 1_000_000)?;
        let paid = self.operators("topup", 1_000_000)?;
        let arguments: Vec<String> = [
            "--seconds",
            "20",
            "--subscribers",
            "1000000",
            "--connections",
            "4",
            "--sessions",
            "25000",
            "--updates",
            "1000",
        ]
        .iter()
        .map(|text| (*text).to_owned())
        .collect();
        // Open sessions stay open: the generator is stopped instead of ending them.
        let child = Command::new(self.target.join("ocs"))
            .args(["traffic", "--to", GY])
            .args(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut generator = Served { child };
        std::thread::sleep(Duration::from_secs(15));
        generator.child.kill()?;
        generator.child.wait()?;
        std::thread::sleep(Duration::from_millis(500));
        let open = metric("ocs_sessions_open")?;
        let tail = metric("ocs_log_tail_octets")? >> 20;
        drop(served); // kill -9
        let began = Instant::now();
        let served = self.ocs(false, 1, &[])?;
        let killed = began.elapsed();
        drop(served);
        let _ = writeln!(
            self.report,
            "\n### A million subscribers, each with an account and one or two buckets\n\n| | |\n|---|---|\n\
             | filling an empty folder through the log | {} ms |\n\
             | resident after a restart, nothing served | {} MiB: {} octets a subscriber, everything counted |\n\
             | restart after a clean stop, to serving | {} ms |\n\
             | restart after kill -9 with {open} open sessions and {tail} MiB of log, to serving | {} ms |\n\
             | a subscriber found by an identifier over gRPC, one after the other | p50 {} µs, p99 {} µs |\n\
             | top-ups over gRPC, 256 callers on 8 connections, each durable | {} a second, p50 {} µs, p99 {} µs |",
            filled.as_millis(),
            empty / 1024,
            empty * 1024 / 1_000_000,
            clean.as_millis(),
            killed.as_millis(),
            number(&found, "p50_us"),
            number(&found, "p99_us"),
            number(&paid, "rate"),
            number(&paid, "p50_us"),
            number(&paid, "p99_us"),
        );
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(target), Some(work)) = (arguments.first(), arguments.get(1)) else {
        eprintln!("usage: compare TARGET-FOLDER WORK-FOLDER [seconds]");
        return std::process::ExitCode::from(2);
    };
    let seconds = arguments.get(2).and_then(|text| text.parse().ok()).unwrap_or(15);
    let mut bench = Bench { target: target.into(), work: work.into(), seconds, report: String::new() };
    let outcome = std::fs::create_dir_all(&bench.work).map_err(Failure::from).and_then(|()| bench.run());
    println!("{}", bench.report);
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
