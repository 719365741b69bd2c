//! Every metric, by name. Recorded here out of what the centre and the store report, never inside them.
//!
//! Names follow `ocs_<noun>_<unit>`, labels come from small enums. Handles are made once, so that recording costs an
//! atomic addition.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use parking_lot::Mutex;
use rating_engine::cdr::RatedCdr;
use rating_engine::command::{Denial, Facts, Outcome, Refusal, RequestKind, ServiceResult};
use rating_engine::crossing::Watched;
use rating_engine::ids::TariffName;
use rating_engine::time::Timestamp;

use crate::archive::Remembered;
use crate::consumers::Standing;
use crate::disk::Removed;

/// Handles of all metrics.
pub struct Telemetry {
    requests: [[Counter; RESULTS.len()]; 4],
    handled: [Histogram; 4],
    duplicates: Counter,
    charged: Counter,
    beyond_grant: Counter,
    suspense: Counter,
    expired: Counter,
    open_sessions: Gauge,
    ended_sessions: Gauge,
    archived_sessions: Gauge,
    archive_loads: Counter,
    forgotten_early: Counter,
    reserved: Gauge,
    commit_entries: Histogram,
    commit_octets: Counter,
    commit_seconds: Histogram,
    cdrs: Counter,
    durable_lsn: Gauge,
    log_tail: Gauge,
    checkpoint_lsn: Gauge,
    checkpoint_seconds: Histogram,
    cdr_position: Gauge,
    cdr_streams: Gauge,
    cdrs_sent: Counter,
    cdr_lag: Gauge,
    cdr_first: Gauge,
    cdr_octets: Gauge,
    cdr_limit: Gauge,
    cdr_held: Gauge,
    consumer_labels: Mutex<BTreeSet<Arc<str>>>,
    cdrs_retired: Counter,
    disk_free: Gauge,
    disk_size: Gauge,
    peers: Gauge,
    peers_closed: [Counter; PEER_ENDS.len()],
    late_answers: Counter,
    refused_connections: Counter,
    protocol_errors: Counter,
    answers_lost: Counter,
    stalled_connections: Counter,
    unanswered: Counter,
    asked: [[Counter; ASK_RESULTS.len()]; ASKS.len()],
    octets_held: Gauge,
    topups: Counter,
    reratings_failed: Counter,
    clock_jumps: Counter,
    clock_behind: Gauge,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Telemetry")
    }
}

/// How the time with a peer ends, as a label.
const PEER_ENDS: [&str; 4] = ["disconnected", "silent", "lost", "broken"];

/// How the time with a peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEnd {
    /// Either side said so.
    Disconnected,
    /// It did not answer the watchdog.
    Silent,
    /// The connection ended without a word, or the peer came again on another.
    Lost,
    /// It sent nonsense, or did not read.
    Broken,
}

/// What clients are asked for, as a label.
const ASKS: [&str; 2] = ["reauthorise", "abort"];

/// What a client is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskKind {
    /// To ask anew for its units (RAR).
    Reauthorise,
    /// To end the session (ASR).
    Abort,
}

/// Results of asking a client, as a label.
const ASK_RESULTS: [&str; 9] = [
    "consented",
    "refused",
    "unknown_session",
    "no_peer",
    "timed_out",
    "connection_lost",
    "busy",
    "defective",
    "left_out",
];

/// What came of asking a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskResult {
    /// It does it.
    Consented,
    /// It does not, or an agent does not reach it.
    Refused,
    /// It does not have the session.
    UnknownSession,
    /// It is not connected.
    NoPeer,
    /// It did not answer.
    TimedOut,
    /// The connection ended first.
    ConnectionLost,
    /// Too much waits for its connection.
    Busy,
    /// What it answered cannot be read.
    Defective,
    /// It was not asked: too many wait to be.
    LeftOut,
}

/// Consumers of CDRs that have a label of their own.
const CONSUMER_LABELS_MAX: usize = 256;

const KINDS: [&str; 4] = ["initial", "update", "termination", "event"];

/// Results of a request, as a label.
const RESULTS: [&str; 13] = [
    "success",
    "denied_credit",
    "denied_service",
    "denied_rating",
    "unknown_subscriber",
    "unknown_session",
    "refused_credit",
    "refused_service",
    "refused_rating",
    "refused_key",
    "refused_refund",
    "refused_invalid",
    "too_busy",
];

fn kind_index(kind: RequestKind) -> usize {
    match kind {
        RequestKind::Start => 0,
        RequestKind::Update => 1,
        RequestKind::Stop => 2,
        RequestKind::Event => 3,
    }
}

fn result_index(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Answered(answered) => {
            let denials = answered.services.iter().filter_map(|service| match service.result {
                ServiceResult::Denied(denial) => Some(denial),
                ServiceResult::Granted(_) | ServiceResult::Settled => None,
            });
            denials.max().map_or(0, |denial| match denial {
                Denial::CreditLimitReached => 1,
                Denial::ServiceDenied | Denial::Rejected => 2,
                Denial::RatingFailed | Denial::UsageSuspect => 3,
            })
        }
        Outcome::Refused(refusal) => match refusal {
            Refusal::UnknownSubscriber | Refusal::IdentifiersDisagree => 4,
            Refusal::UnknownSession => 5,
            Refusal::CreditLimitReached => 6,
            Refusal::ServiceDenied | Refusal::Rejected => 7,
            Refusal::RatingFailed => 8,
            Refusal::KeyReused | Refusal::AnswerGone => 9,
            Refusal::NothingToRefund | Refusal::RefundBeyondCharge => 10,
            Refusal::OutOfRange | Refusal::Stale | Refusal::Invalid(_) => 11,
            Refusal::TooBusy => 12,
        },
    }
}

/// Charges, and money charged, while a version is for a share of subscribers: by it (`canary`) or by the others of its tariff (`rest`).
/// As many series as canaries have run since the start, twice.
pub(crate) fn of_canary(tariff: &TariffName, version: u32, part: &'static str) -> [Counter; 2] {
    let labels = [("tariff", tariff.as_str().to_owned()), ("version", version.to_string()), ("part", part.to_owned())];
    [counter!("ocs_canary_charges_total", &labels), counter!("ocs_canary_charged_micros_total", &labels)]
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    /// Makes the handles in the recorder that is installed; without one they record nothing.
    pub fn new() -> Self {
        describe_counter!("ocs_requests_total", "Charging requests by type and result");
        describe_histogram!(
            "ocs_request_seconds",
            "Time from routing a request to its answer being ready to wait for the disk; one in sixteen is timed"
        );
        describe_counter!("ocs_duplicates_total", "Repeated requests that got their stored answer");
        describe_counter!("ocs_charged_micros_total", "Money charged, micro-units of currency");
        describe_counter!(
            "ocs_canary_charges_total",
            "Usage charged under a tariff while one of its versions is for a share of subscribers: by that version (canary), by the others (rest)"
        );
        describe_counter!(
            "ocs_canary_charged_micros_total",
            "Money charged for it, micro-units of the tariff's currency"
        );
        describe_counter!("ocs_beyond_grant_total", "Services that reported more than they were granted");
        describe_counter!("ocs_suspense_total", "Reports put in suspense: alarm when above 0");
        describe_counter!("ocs_sessions_expired_total", "Sessions whose client fell silent");
        describe_gauge!("ocs_sessions_open", "Open sessions");
        describe_gauge!("ocs_sessions_ended", "Ended sessions and events remembered for repeats, in memory");
        describe_gauge!("ocs_sessions_archived", "Ended sessions and events remembered for repeats, on disk only");
        describe_counter!("ocs_archive_loads_total", "Archived sessions read back because they were asked for");
        describe_counter!(
            "ocs_sessions_forgotten_early_total",
            "Ended sessions and events forgotten before their time for lack of room: alarm when above 0"
        );
        describe_gauge!("ocs_reserved_micros", "Money held by open sessions, micro-units of currency");
        describe_histogram!("ocs_commit_entries", "Entries in one batch of the log");
        describe_counter!("ocs_commit_octets_total", "Octets appended to the log");
        describe_histogram!("ocs_commit_seconds", "Time to write and sync one batch of the log");
        describe_counter!("ocs_cdrs_total", "CDRs made durable");
        describe_gauge!("ocs_durable_lsn", "The durable mark: the highest log sequence number on disk");
        describe_gauge!("ocs_log_tail_octets", "Octets of log that a restart would replay");
        describe_gauge!("ocs_checkpoint_lsn", "Log sequence number up to which the state store is complete");
        describe_histogram!("ocs_checkpoint_seconds", "Time of one sweep to the state store, pauses included");
        describe_gauge!("ocs_cdr_position", "Position of the newest CDR in the CDR store");
        describe_gauge!("ocs_cdr_streams_open", "Open streams of CDRs");
        describe_counter!("ocs_cdrs_sent_total", "CDRs handed to the connections of streams");
        describe_gauge!(
            "ocs_cdr_lag",
            "Positions by which the furthest of the streams that follow is behind the newest CDR; 0 when none follows"
        );
        describe_gauge!("ocs_cdr_store_limit_octets", "What the CDR store may take; 0 for no limit");
        describe_gauge!(
            "ocs_cdr_held_octets",
            "Octets of the CDR store past their retention that stay because somebody has yet to acknowledge them"
        );
        describe_gauge!("ocs_consumer_lag", "CDRs that a consumer has not acknowledged");
        describe_gauge!("ocs_consumer_lag_seconds", "Age of the oldest CDR that a consumer has not acknowledged");
        describe_gauge!("ocs_consumer_acked_position", "Position up to which a consumer has acknowledged");
        describe_gauge!("ocs_consumer_connected", "1 when an instance has the consumer, else 0");
        describe_gauge!("ocs_consumer_parked", "CDRs that a consumer has parked");
        describe_counter!("ocs_consumer_retries_total", "CDRs that a consumer wanted again");
        describe_counter!("ocs_grpc_calls_total", "gRPC calls by method and code");
        describe_histogram!(
            "ocs_grpc_call_seconds",
            "Time of a gRPC call from its request to its end; a stream's life"
        );
        describe_counter!("ocs_grpc_refused_total", "gRPC calls turned away before any service saw them, by reason");
        describe_counter!("ocs_peers_closed_total", "Diameter peers that closed, by how");
        describe_gauge!("ocs_build_info", "1, with the version as a label");
        describe_gauge!("ocs_start_time_seconds", "Unix time at which this process began to serve");
        describe_gauge!(
            "ocs_start_replayed_entries",
            "Log entries that the start replayed; 0 after an end in good order"
        );
        describe_gauge!(
            "ocs_log_tail_octets_max",
            "data.log_tail_mib_max in octets; beyond it checkpoints run unpaced"
        );
        describe_gauge!("ocs_cdr_first_position", "Position of the oldest CDR in the CDR store");
        describe_gauge!("ocs_cdr_store_octets", "Octets of the CDR store's files");
        describe_counter!("ocs_cdrs_retired_total", "CDRs removed because they were past their retention");
        describe_gauge!("ocs_disk_free_octets", "Octets free on the file system of the data folder");
        describe_gauge!("ocs_disk_octets", "Octets of the file system of the data folder, used or free");
        describe_gauge!("ocs_peers_open", "Open Diameter peers");
        describe_counter!("ocs_late_answers_dropped_total", "Answers dropped because their peer's deadline had passed");
        describe_counter!("ocs_connections_refused_total", "Connections refused: limit, unknown peer, double identity");
        describe_counter!(
            "ocs_protocol_errors_total",
            "Messages answered with a protocol error or dropped with their connection"
        );
        describe_counter!("ocs_answers_lost_total", "Answers that were still waiting when their connection was gone");
        describe_counter!("ocs_connections_stalled_total", "Connections closed because the peer did not read");
        describe_counter!("ocs_requests_unanswered_total", "Requests that got no answer: alarm when above 0");
        describe_counter!(
            "ocs_asked_total",
            "Sessions whose client was asked something, by what and by what came of it"
        );
        describe_gauge!(
            "ocs_answer_octets_held",
            "Octets of answers that wait, for the disk or for their peer to read"
        );
        describe_counter!("ocs_topups_total", "Top-ups booked");
        describe_counter!(
            "ocs_rerating_corrections_total",
            "Corrections of re-ratings, by whether they are booked or left"
        );
        describe_counter!(
            "ocs_thresholds_crossed_total",
            "Thresholds that CDRs crossed, by what is watched and which way"
        );
        describe_counter!("ocs_reratings_failed_total", "Re-ratings that could not go on: alarm when above 0");
        describe_counter!(
            "ocs_clock_jumps_total",
            "Steps of the system clock beyond the limit, forward or back: alarm when above 0"
        );
        describe_gauge!(
            "ocs_clock_behind_seconds",
            "How far the system clock is behind the time that is charged by: alarm when above 5"
        );
        Self {
            requests: KINDS
                .map(|kind| RESULTS.map(|result| counter!("ocs_requests_total", "type" => kind, "result" => result))),
            handled: KINDS.map(|kind| histogram!("ocs_request_seconds", "type" => kind)),
            duplicates: counter!("ocs_duplicates_total"),
            charged: counter!("ocs_charged_micros_total"),
            beyond_grant: counter!("ocs_beyond_grant_total"),
            suspense: counter!("ocs_suspense_total"),
            expired: counter!("ocs_sessions_expired_total"),
            open_sessions: gauge!("ocs_sessions_open"),
            ended_sessions: gauge!("ocs_sessions_ended"),
            archived_sessions: gauge!("ocs_sessions_archived"),
            archive_loads: counter!("ocs_archive_loads_total"),
            forgotten_early: counter!("ocs_sessions_forgotten_early_total"),
            reserved: gauge!("ocs_reserved_micros"),
            commit_entries: histogram!("ocs_commit_entries"),
            commit_octets: counter!("ocs_commit_octets_total"),
            commit_seconds: histogram!("ocs_commit_seconds"),
            cdrs: counter!("ocs_cdrs_total"),
            durable_lsn: gauge!("ocs_durable_lsn"),
            log_tail: gauge!("ocs_log_tail_octets"),
            checkpoint_lsn: gauge!("ocs_checkpoint_lsn"),
            checkpoint_seconds: histogram!("ocs_checkpoint_seconds"),
            cdr_position: gauge!("ocs_cdr_position"),
            cdr_streams: gauge!("ocs_cdr_streams_open"),
            cdrs_sent: counter!("ocs_cdrs_sent_total"),
            cdr_lag: gauge!("ocs_cdr_lag"),
            cdr_first: gauge!("ocs_cdr_first_position"),
            cdr_octets: gauge!("ocs_cdr_store_octets"),
            cdr_limit: gauge!("ocs_cdr_store_limit_octets"),
            cdr_held: gauge!("ocs_cdr_held_octets"),
            consumer_labels: Mutex::default(),
            cdrs_retired: counter!("ocs_cdrs_retired_total"),
            disk_free: gauge!("ocs_disk_free_octets"),
            disk_size: gauge!("ocs_disk_octets"),
            peers: gauge!("ocs_peers_open"),
            peers_closed: PEER_ENDS.map(|end| counter!("ocs_peers_closed_total", "reason" => end)),
            late_answers: counter!("ocs_late_answers_dropped_total"),
            refused_connections: counter!("ocs_connections_refused_total"),
            protocol_errors: counter!("ocs_protocol_errors_total"),
            answers_lost: counter!("ocs_answers_lost_total"),
            stalled_connections: counter!("ocs_connections_stalled_total"),
            unanswered: counter!("ocs_requests_unanswered_total"),
            asked: ASKS
                .map(|kind| ASK_RESULTS.map(|result| counter!("ocs_asked_total", "kind" => kind, "result" => result))),
            octets_held: gauge!("ocs_answer_octets_held"),
            topups: counter!("ocs_topups_total"),
            reratings_failed: counter!("ocs_reratings_failed_total"),
            clock_jumps: counter!("ocs_clock_jumps_total"),
            clock_behind: gauge!("ocs_clock_behind_seconds"),
        }
    }

    /// A request was handled; some are timed.
    pub fn request(&self, kind: RequestKind, outcome: &Outcome, repeated: bool, took: Option<Duration>) {
        let kind = kind_index(kind);
        if let Some(counter) = self.requests.get(kind).and_then(|results| results.get(result_index(outcome))) {
            counter.increment(1);
        }
        if let (Some(histogram), Some(took)) = (self.handled.get(kind), took) {
            histogram.record(took.as_secs_f64());
        }
        if repeated {
            self.duplicates.increment(1);
        }
    }

    /// What a command did.
    pub fn facts(&self, facts: &Facts) {
        // A refund makes this negative; a counter only grows, and refunds show in their own CDR kind.
        self.charged.increment(u64::try_from(facts.charged_micros).unwrap_or(0));
        self.beyond_grant.increment(facts.beyond_grant.into());
        self.suspense.increment(facts.suspense.into());
        self.expired.increment(facts.expired.into());
        if facts.forgotten_early > 0 {
            self.forgotten_early.increment(facts.forgotten_early.into());
        }
        add(&self.open_sessions, facts.open_sessions);
        add(&self.reserved, facts.reserved_micros);
    }

    /// Thresholds that CDRs crossed: mostly none.
    pub fn crossed(&self, cdrs: &[RatedCdr]) {
        for crossing in cdrs.iter().flat_map(|cdr| &cdr.crossings) {
            let watched = match crossing.watched {
                Watched::Allowance(..) => "allowance",
                Watched::Spend => "spend",
                Watched::Balance => "balance",
            };
            let way = if crossing.is_reached() { "reached" } else { "left" };
            counter!("ocs_thresholds_crossed_total", "watched" => watched, "way" => way).increment(1);
        }
    }

    /// How many ended sessions are remembered, and where.
    pub fn remembered(&self, remembered: &Remembered) {
        set(&self.ended_sessions, i64::try_from(remembered.ended).unwrap_or(i64::MAX));
        set(&self.archived_sessions, i64::try_from(remembered.archived).unwrap_or(i64::MAX));
        self.archive_loads.absolute(remembered.loads);
    }

    /// The sums that a restart found.
    pub fn restored(&self, open_sessions: u64, reserved_micros: i64) {
        set(&self.open_sessions, i64::try_from(open_sessions).unwrap_or(i64::MAX));
        set(&self.reserved, reserved_micros);
    }

    /// A batch is durable.
    pub fn committed(&self, entries: u64, cdrs: u64, octets: u64, took: Duration) {
        self.commit_entries.record(float(i64::try_from(entries).unwrap_or(i64::MAX)));
        self.commit_octets.increment(octets);
        self.cdrs.increment(cdrs);
        self.commit_seconds.record(took.as_secs_f64());
    }

    /// Where log and CDR store stand.
    pub fn positions(&self, durable_lsn: u64, cdr_position: u64, log_tail_octets: u64) {
        for (gauge, value) in
            [(&self.durable_lsn, durable_lsn), (&self.cdr_position, cdr_position), (&self.log_tail, log_tail_octets)]
        {
            set(gauge, i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// The checkpoint that a start found.
    pub fn checkpoint_found(&self, lsn: u64) {
        set(&self.checkpoint_lsn, i64::try_from(lsn).unwrap_or(i64::MAX));
    }

    /// How long the CDR store is and may be (0: as long as it likes), where it begins, what was just removed from it, and what was not
    /// because somebody needs it.
    pub fn cdr_store(&self, removed: &Removed, limit_octets: u64) {
        let Removed { cdrs, first_kept, held_octets, left_octets, .. } = removed;
        for (gauge, value) in [
            (&self.cdr_octets, *left_octets),
            (&self.cdr_limit, limit_octets),
            (&self.cdr_held, *held_octets),
            (&self.cdr_first, first_kept.get()),
        ] {
            set(gauge, i64::try_from(value).unwrap_or(i64::MAX));
        }
        self.cdrs_retired.increment(*cdrs);
    }

    /// Where consumers of CDRs stand at `now`. Those that are gone stand at 0.
    pub fn consumers(&self, standings: &[Standing], now: Timestamp) {
        let set_all = |label: Arc<str>, numbers: [i64; 5]| {
            let [lag, seconds, acked, connected, parked] = numbers;
            set(&gauge!("ocs_consumer_lag", "consumer" => label.clone()), lag);
            set(&gauge!("ocs_consumer_lag_seconds", "consumer" => label.clone()), seconds);
            set(&gauge!("ocs_consumer_acked_position", "consumer" => label.clone()), acked);
            set(&gauge!("ocs_consumer_connected", "consumer" => label.clone()), connected);
            set(&gauge!("ocs_consumer_parked", "consumer" => label), parked);
        };
        let mut gone = self.consumer_labels.lock().clone();
        for Standing { name, next, lag, oldest, parked, is_connected } in standings {
            let seconds = oldest.map_or(0, |oldest| now.millis().saturating_sub(oldest.millis()).max(0) / 1000);
            let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            let (lag, acked) = (number(*lag), number(next.get().saturating_sub(1)));
            let parked = number(u64::try_from(*parked).unwrap_or(u64::MAX));
            let label = self.consumer_label(name);
            gone.remove(&label);
            set_all(label, [lag, seconds, acked, i64::from(*is_connected), parked]);
        }
        gone.into_iter().for_each(|label| set_all(label, [0; 5]));
    }

    /// A consumer wants a CDR again.
    pub fn cdr_retried(&self, consumer: &str) {
        counter!("ocs_consumer_retries_total", "consumer" => self.consumer_label(consumer)).increment(1);
    }

    /// A consumer's name as a label: names are given by people, and there may come many over time.
    fn consumer_label(&self, name: &str) -> Arc<str> {
        let mut known = self.consumer_labels.lock();
        if let Some(known) = known.get(name) {
            return known.clone();
        }
        let label: Arc<str> = if known.len() < CONSUMER_LABELS_MAX { name.into() } else { "other".into() };
        known.insert(label.clone());
        label
    }

    /// How large the data folder's file system is, and what of it is free, octets.
    pub fn disk(&self, size: u64, free: u64) {
        set(&self.disk_size, i64::try_from(size).unwrap_or(i64::MAX));
        set(&self.disk_free, i64::try_from(free).unwrap_or(i64::MAX));
    }

    /// A checkpoint was completed.
    pub fn checkpointed(&self, lsn: u64, took: Duration) {
        set(&self.checkpoint_lsn, i64::try_from(lsn).unwrap_or(i64::MAX));
        self.checkpoint_seconds.record(took.as_secs_f64());
    }

    /// A peer opened.
    pub fn peer_opened(&self) {
        self.peers.increment(1);
    }

    /// A peer closed.
    pub fn peer_closed(&self, end: PeerEnd) {
        self.peers.decrement(1);
        let [disconnected, silent, lost, broken] = &self.peers_closed;
        let counter = match end {
            PeerEnd::Disconnected => disconnected,
            PeerEnd::Silent => silent,
            PeerEnd::Lost => lost,
            PeerEnd::Broken => broken,
        };
        counter.increment(1);
    }

    /// Where the streams of CDRs stand; `sent` more than last time.
    pub fn cdr_streams(&self, open: u64, sent: u64, lag: u64) {
        set(&self.cdr_streams, i64::try_from(open).unwrap_or(i64::MAX));
        self.cdrs_sent.increment(sent);
        set(&self.cdr_lag, i64::try_from(lag).unwrap_or(i64::MAX));
    }

    /// A gRPC call ended; `method` and `code` are of a few known ones.
    pub fn grpc_call(&self, method: &Arc<str>, code: &'static str, took: Duration) {
        counter!("ocs_grpc_calls_total", "method" => method.clone(), "code" => code).increment(1);
        histogram!("ocs_grpc_call_seconds", "method" => method.clone()).record(took.as_secs_f64());
    }

    /// A gRPC call was turned away; `reason` is one of a few.
    pub fn grpc_refused(&self, reason: &'static str) {
        counter!("ocs_grpc_refused_total", "reason" => reason).increment(1);
    }

    /// This process has started: when, what it replayed, and the limit of the log's tail.
    pub fn started(&self, unix_seconds: i64, replayed: u64, log_tail_octets_max: u64) {
        gauge!("ocs_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        set(&gauge!("ocs_start_time_seconds"), unix_seconds);
        set(&gauge!("ocs_start_replayed_entries"), i64::try_from(replayed).unwrap_or(i64::MAX));
        set(&gauge!("ocs_log_tail_octets_max"), i64::try_from(log_tail_octets_max).unwrap_or(i64::MAX));
    }

    /// Answers dropped because they were late.
    pub fn late_answers(&self, count: u64) {
        self.late_answers.increment(count);
    }

    /// Connections were refused.
    pub fn refused_connections(&self, count: u64) {
        self.refused_connections.increment(count);
    }

    /// A message was answered with a protocol error.
    pub fn protocol_errors(&self, count: u64) {
        self.protocol_errors.increment(count);
    }

    /// Answers that were lost with their connections, connections whose peer did not read, requests without an answer.
    pub fn losses(&self, answers_lost: u64, stalled: u64, unanswered: u64) {
        self.answers_lost.increment(answers_lost);
        self.stalled_connections.increment(stalled);
        self.unanswered.increment(unanswered);
    }

    /// Clients were asked about so many sessions.
    pub fn asked(&self, kind: AskKind, result: AskResult, count: u64) {
        let [reauthorised, aborted] = &self.asked;
        let results = match kind {
            AskKind::Reauthorise => reauthorised,
            AskKind::Abort => aborted,
        };
        let [consented, refused, unknown, no_peer, timed_out, lost, busy, defective, left_out] = results;
        let counter = match result {
            AskResult::Consented => consented,
            AskResult::Refused => refused,
            AskResult::UnknownSession => unknown,
            AskResult::NoPeer => no_peer,
            AskResult::TimedOut => timed_out,
            AskResult::ConnectionLost => lost,
            AskResult::Busy => busy,
            AskResult::Defective => defective,
            AskResult::LeftOut => left_out,
        };
        counter.increment(count);
    }

    /// Octets of answers that wait.
    pub fn held(&self, octets: u64) {
        set(&self.octets_held, i64::try_from(octets).unwrap_or(i64::MAX));
    }

    /// A top-up was booked.
    pub fn topup(&self) {
        self.topups.increment(1);
    }

    /// A correction of a re-rating was booked, or left for a person.
    pub fn rerated(&self, booked: bool) {
        let result = if booked { "booked" } else { "left" };
        counter!("ocs_rerating_corrections_total", "result" => result).increment(1);
    }

    /// A re-rating could not go on.
    pub fn rerating_failed(&self) {
        self.reratings_failed.increment(1);
    }

    /// How far the system clock is behind ours, and whether it stepped beyond the limit.
    pub fn clock(&self, behind_millis: i64, stepped: bool) {
        set(&self.clock_behind, behind_millis / 1000);
        self.clock_jumps.increment(stepped.into());
    }
}

fn float(value: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats; a display only")]
    {
        value as f64
    }
}

fn add(gauge: &Gauge, change: i64) {
    if change > 0 {
        gauge.increment(float(change));
    } else if change < 0 {
        gauge.decrement(float(change.saturating_neg()));
    }
}

fn set(gauge: &Gauge, value: i64) {
    gauge.set(float(value));
}
