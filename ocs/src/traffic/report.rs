//! What happened: counts of a wake-up, sums of a run, and how they are told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use diameter::gy::client::Kind;
use hdrhistogram::Histogram;
use rating_engine::money::{Currency, Money};
use rating_engine::units::MoneyUnits;
use serde_json::json;

use super::TrafficError;

/// Complaints that are kept word for word; the others are only counted.
const COMPLAINTS_KEPT_MAX: usize = 10;

/// The longest latency a histogram tells apart, microseconds.
const LATENCY_MICROS_MAX: u64 = 60_000_000;

/// The kinds of request, as they are counted.
const KINDS: [&str; 3] = ["initial", "update", "termination"];

const fn place(kind: Kind) -> usize {
    match kind {
        Kind::Initial | Kind::Debit | Kind::Refund | Kind::CheckBalance | Kind::PriceEnquiry => 0,
        Kind::Update => 1,
        Kind::Termination => 2,
    }
}

/// What is only counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions that ended in good order.
    pub sessions: u64,
    /// Answers that denied at least one service for lack of credit.
    pub denied: u64,
    /// Answers that said "not now".
    pub busy: u64,
    /// Sessions given up because of that.
    pub abandoned: u64,
    /// Repeated requests whose answer was the same.
    pub duplicates: u64,
    /// Instants of an open loop at which no session was free to send.
    pub not_sent: u64,
    /// Sessions with a report whose charge was never told.
    pub untold: u64,
    /// Answers that a client could not use, or that never came.
    pub faults: u64,
}

impl Counts {
    const fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.denied += other.denied;
        self.busy += other.busy;
        self.abandoned += other.abandoned;
        self.duplicates += other.duplicates;
        self.not_sent += other.not_sent;
        self.untold += other.untold;
        self.faults += other.faults;
    }
}

/// What happened on one connection since it was last taken; collected without a lock.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) counts: Counts,
    requests: [u64; 3],
    late_micros: Vec<u64>,
    latencies: Vec<(usize, u64)>,
    charged: BTreeMap<u32, i128>,
    unexpected: BTreeMap<u32, u64>,
    complaints: Vec<String>,
    seen: usize,
}

impl Batch {
    /// A request left.
    pub(super) fn sent(&mut self, kind: Kind, due: Instant, now: Instant) {
        if let Some(requests) = self.requests.get_mut(place(kind)) {
            *requests += 1;
        }
        if due != now {
            self.late_micros.push(micros(now.saturating_duration_since(due)));
        }
    }

    /// Its answer came.
    pub(super) fn answered(&mut self, kind: Kind, after: Duration) {
        self.latencies.push((place(kind), micros(after)));
    }

    /// What a session cost.
    pub(super) fn charge(&mut self, cost: MoneyUnits) {
        *self.charged.entry(cost.currency.unwrap_or(0)).or_default() += i128::from(cost.amount.micros());
    }

    /// An answer that a client could not use, or that never came.
    pub(super) fn fault(&mut self, what: impl FnOnce() -> String) {
        self.counts.faults += 1;
        self.complain(what);
    }

    /// An answer with a code that has no place here.
    pub(super) fn unexpected(&mut self, code: u32, what: impl FnOnce() -> String) {
        *self.unexpected.entry(code).or_default() += 1;
        self.complain(what);
    }

    fn complain(&mut self, what: impl FnOnce() -> String) {
        if self.seen < COMPLAINTS_KEPT_MAX {
            self.seen += 1;
            self.complaints.push(what());
        }
    }
}

/// Sums over all connections.
#[derive(Debug)]
pub(super) struct Tally {
    counts: Counts,
    requests: [u64; 3],
    latencies: [Histogram<u64>; 3],
    late: Histogram<u64>,
    /// Latencies since the last line of `--live`.
    recent: Option<Histogram<u64>>,
    charged: BTreeMap<u32, i128>,
    unexpected: BTreeMap<u32, u64>,
    complaints: Vec<String>,
    lost: Vec<String>,
    left_open: u64,
    open: u64,
}

/// What one second of `--live` says.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    answers: u64,
    p50: u64,
    p99: u64,
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new(live: bool) -> Result<Self, TrafficError> {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3).map_err(|_| TrafficError::Histogram);
        Ok(Self {
            counts: Counts::default(),
            requests: [0; 3],
            latencies: [histogram()?, histogram()?, histogram()?],
            late: histogram()?,
            recent: if live { Some(histogram()?) } else { None },
            charged: BTreeMap::new(),
            unexpected: BTreeMap::new(),
            complaints: Vec::new(),
            lost: Vec::new(),
            left_open: 0,
            open: 0,
        })
    }

    /// Takes over what happened on a connection. `open` is how many sessions it has now, `open_before` what it said then.
    pub(super) fn take(&mut self, batch: &mut Batch, open: u64, open_before: u64) {
        self.open = (self.open + open).saturating_sub(open_before);
        self.counts.add(&std::mem::take(&mut batch.counts));
        for (sum, requests) in self.requests.iter_mut().zip(&mut batch.requests) {
            *sum += std::mem::take(requests);
        }
        for (kind, latency) in batch.latencies.drain(..) {
            if let Some(histogram) = self.latencies.get_mut(kind) {
                histogram.saturating_record(latency);
            }
            if let Some(recent) = &mut self.recent {
                recent.saturating_record(latency);
            }
        }
        for late in batch.late_micros.drain(..) {
            self.late.saturating_record(late);
        }
        while let Some((currency, micros)) = batch.charged.pop_first() {
            *self.charged.entry(currency).or_default() += micros;
        }
        while let Some((code, times)) = batch.unexpected.pop_first() {
            *self.unexpected.entry(code).or_default() += times;
        }
        for complaint in batch.complaints.drain(..) {
            if self.complaints.len() < COMPLAINTS_KEPT_MAX {
                self.complaints.push(complaint);
            }
        }
    }

    /// A connection is gone before its time.
    pub(super) fn lost(&mut self, what: String) {
        self.lost.push(what);
    }

    /// A connection ends with so many sessions open.
    pub(super) const fn left_open(&mut self, sessions: u64) {
        self.left_open += sessions;
    }

    /// Answers so far.
    pub(super) fn answers(&self) -> u64 {
        self.latencies.iter().map(Histogram::len).sum()
    }

    fn errors(&self) -> u64 {
        let lost = u64::try_from(self.lost.len()).unwrap_or(u64::MAX);
        self.unexpected.values().sum::<u64>() + self.counts.faults + lost + self.left_open
    }

    /// The line of `--live` for the time since the last one.
    pub(super) fn live(&mut self, second: u64, took: Duration) -> String {
        let mut recent = Second::default();
        if let Some(histogram) = &mut self.recent {
            recent = Second {
                answers: histogram.len(),
                p50: histogram.value_at_quantile(0.5),
                p99: histogram.value_at_quantile(0.99),
            };
            histogram.reset();
        }
        let mut line = format!(
            "{second:>4} s  {:>8}/s  p50 {:>9}  p99 {:>9}  open {:>6}  denied {}  busy {}  errors {}",
            per_second(recent.answers, took),
            millis(recent.p50),
            millis(recent.p99),
            self.open,
            self.counts.denied,
            self.counts.busy,
            self.errors()
        );
        if self.counts.not_sent > 0 {
            line += &format!("  not sent {}", self.counts.not_sent);
        }
        line
    }

    /// The end: `loaded` answers came in the time `took` before the sessions were ended.
    pub(super) fn report(&self, loaded: u64, took: Duration, offered: Option<u64>) -> Report {
        let latency = |histogram: &Histogram<u64>, requests| KindReport {
            requests,
            answers: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p90_us: histogram.value_at_quantile(0.9),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        };
        let mut all = self.late.clone();
        all.reset();
        for histogram in &self.latencies {
            // Cannot fail: they have the same bounds.
            let _ = all.add(histogram);
        }
        let mut kinds = [KindReport::default(); 3];
        for (kind, (histogram, requests)) in kinds.iter_mut().zip(self.latencies.iter().zip(self.requests)) {
            *kind = latency(histogram, requests);
        }
        Report {
            errors: self.errors(),
            all: latency(&all, self.requests.iter().sum()),
            kinds,
            counts: self.counts,
            late_p99_us: offered.map(|_| self.late.value_at_quantile(0.99)),
            offered,
            rate: per_second(loaded, took),
            took,
            charged_micros: self.charged.iter().map(|(code, micros)| (currency(*code), *micros)).collect(),
            unexpected: self.unexpected.clone(),
            complaints: self.complaints.clone(),
            lost: self.lost.clone(),
            left_open: self.left_open,
        }
    }
}

/// Requests of one kind, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindReport {
    /// Sent; what was sent twice counts once.
    pub requests: u64,
    /// Answered.
    pub answers: u64,
    /// Half of the answers came within so many microseconds.
    pub p50_us: u64,
    /// Nine in ten.
    pub p90_us: u64,
    /// 99 in a hundred.
    pub p99_us: u64,
    /// 999 in a thousand.
    pub p999_us: u64,
    /// All.
    pub max_us: u64,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Unexpected answers, faults, lost connections and sessions left open.
    pub errors: u64,
    /// All requests.
    pub all: KindReport,
    /// Initial, update, termination.
    pub kinds: [KindReport; 3],
    /// Counts.
    pub counts: Counts,
    /// Offered requests per second; `None` for a closed loop.
    pub offered: Option<u64>,
    /// How late 99 in a hundred requests of an open loop left at most; part of their latency.
    pub late_p99_us: Option<u64>,
    /// Answers per second until sessions were only ended.
    pub rate: u64,
    /// How long that was.
    pub took: Duration,
    /// What terminated sessions cost, as the server said, per currency.
    pub charged_micros: BTreeMap<String, i128>,
    /// Answers with codes that have no place here.
    pub unexpected: BTreeMap<u32, u64>,
    /// The first few things that were wrong.
    pub complaints: Vec<String>,
    /// Connections that ended before their time.
    pub lost: Vec<String>,
    /// Sessions that could not be ended.
    pub left_open: u64,
}

impl Report {
    /// Whether every request got an answer that it should get.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.errors == 0
    }

    /// The summary that `ocs audit --agrees-with` and scripts read.
    #[must_use]
    pub fn summary(&self) -> serde_json::Value {
        let kinds: serde_json::Map<_, _> =
            KINDS.iter().zip(&self.kinds).map(|(name, kind)| ((*name).to_owned(), kind.json())).collect();
        let mut summary = self.all.json();
        let more = json!({
            "from": "ocs traffic",
            "errors": self.errors,
            "rate": self.rate,
            "offered_rate": self.offered,
            "late_p99_us": self.late_p99_us,
            "milliseconds": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "sessions": self.counts.sessions,
            "denied": self.counts.denied,
            "busy": self.counts.busy,
            "abandoned": self.counts.abandoned,
            "duplicates": self.counts.duplicates,
            "not_sent": self.counts.not_sent,
            "untold": self.counts.untold,
            "left_open": self.left_open,
            "faults": self.counts.faults,
            "unexpected": self.unexpected.iter().map(|(code, n)| (code.to_string(), json!(n))).collect::<serde_json::Map<_, _>>(),
            "lost": self.lost,
            "charged_micros": self.charged_micros.iter().map(|(currency, n)| (currency.clone(), json!(i64::try_from(*n).unwrap_or(i64::MAX)))).collect::<serde_json::Map<_, _>>(),
            "kinds": kinds,
        });
        if let (Some(summary), serde_json::Value::Object(more)) = (summary.as_object_mut(), more) {
            summary.extend(more);
        }
        summary
    }
}

impl KindReport {
    fn json(&self) -> serde_json::Value {
        json!({
            "requests": self.requests,
            "answers": self.answers,
            "p50_us": self.p50_us,
            "p90_us": self.p90_us,
            "p99_us": self.p99_us,
            "p999_us": self.p999_us,
            "max_us": self.max_us,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<12} {:>11} {:>11} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "", "requests", "answers", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"
        )?;
        let all = [("all", &self.all)];
        for (name, kind) in KINDS.iter().copied().zip(&self.kinds).chain(all) {
            write!(f, "{name:<12} {:>11} {:>11}", kind.requests, kind.answers)?;
            for latency in [kind.p50_us, kind.p90_us, kind.p99_us, kind.p999_us, kind.max_us] {
                write!(f, " {:>10}", millis(latency))?;
            }
            writeln!(f)?;
        }
        let counts = &self.counts;
        write!(f, "\n{} answers a second over {}.{:03} s", self.rate, self.took.as_secs(), self.took.subsec_millis())?;
        match (self.offered, self.late_p99_us) {
            (Some(rate), Some(late)) => {
                writeln!(
                    f,
                    "; open loop, {rate} a second offered, {} not sent, p99 of late starts {} ms",
                    counts.not_sent,
                    millis(late)
                )?;
            }
            _ => writeln!(f, "; closed loop")?,
        }
        writeln!(
            f,
            "sessions ended {}, denied {}, busy {}, abandoned {}, repeats checked {}, errors {}",
            counts.sessions, counts.denied, counts.busy, counts.abandoned, counts.duplicates, self.errors
        )?;
        for (code, times) in &self.unexpected {
            writeln!(f, "unexpected Result-Code {code}: {times} times")?;
        }
        if counts.faults > 0 {
            writeln!(f, "answers that no client could use, or that never came: {}", counts.faults)?;
        }
        self.lost.iter().try_for_each(|lost| writeln!(f, "lost {lost}"))?;
        if self.left_open > 0 {
            writeln!(f, "sessions that could not be ended: {}", self.left_open)?;
        }
        for complaint in &self.complaints {
            writeln!(f, "  {complaint}")?;
        }
        if counts.untold > 0 {
            writeln!(f, "sessions whose charge was not told: {}; the sums below lack them", counts.untold)?;
        }
        write!(f, "charged, as told at the end of sessions:")?;
        if self.charged_micros.is_empty() {
            write!(f, " nothing")?;
        }
        for (currency, micros) in &self.charged_micros {
            match i64::try_from(*micros) {
                Ok(micros) => write!(f, " {} {currency}", Money::from_micros(micros))?,
                Err(_) => write!(f, " {micros} micro-{currency}")?,
            }
        }
        Ok(())
    }
}

/// The letters of an ISO 4217 number, for the currency of the demo accounts; the number itself for any other.
fn currency(code: u32) -> String {
    if code == Currency::EUR.numeric() { Currency::EUR.letters().to_owned() } else { format!("{code:03}") }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds as milliseconds.
fn millis(micros: u64) -> String {
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

fn per_second(count: u64, took: Duration) -> u64 {
    let rate = u128::from(count) * 1_000_000_000 / took.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}
