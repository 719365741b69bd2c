//! What operators' calls cost a running `ocs`, over gRPC on loopback.
//!
//! `operators topup|search|load GRPC-ADDRESS SUBSCRIBERS SECONDS`: top-ups with many callers at once, durable; finding subscribers by
//! identifier, one after the other; loading new accounts with a subscriber each in bulk. Prints one line of JSON and ends by itself.
//! The subscribers are those of `ocs dev`.
//!
//! `operators publish GRPC-ADDRESS SUBSCRIBERS SECONDS GY-ADDRESS`: a closed loop of Gy updates as fast as they are answered, and in every other
//! second tariffs of 10,000 prices that are drafted, approved and published meanwhile: what an update takes with and without. For
//! `ocs dev --no-four-eyes`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use diameter::gy::client::{Ccr, Kind};
use diameter::{Identity, Message};
use diameter_tcp::Client;
use ocs_api::client::{AccountsClient, CatalogueClient, SubscribersClient};
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use rating_engine::command::{Requested, ServiceRequest, Used};
use rating_engine::ids::{Identifier, RatingGroup};
use rating_engine::tariff::ServiceKey;
use rating_engine::units::Units;
use serde_json::json;
use tonic::transport::Channel;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Connections that pay in, and callers on each.
const CONNECTIONS: u64 = 8;
const CALLERS: u64 = 32;
/// First number of what is loaded; demo data are below.
const LOADED_FROM: u64 = 100_000_000;
/// Rows made ahead of the connection.
const ROWS_AHEAD: usize = 8192;

/// Connections of the Gy load, and sessions on each, of which every one has a request under way.
const ELEMENTS: u64 = 4;
const SESSIONS: u64 = 64;
/// Prices of a tariff that is published.
const PRICES: u32 = 10_000;
/// How long nothing is published, and is, in turn.
const PHASE: Duration = Duration::from_secs(1);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// The value below which this share of what is sorted lies, in thousandths.
fn quantile(sorted: &[u64], thousandths: usize) -> u64 {
    sorted.get((sorted.len() * thousandths / 1000).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// A number for each step, from the step: no randomness is needed to spread.
const fn spread(step: u64, most: u64) -> u64 {
    step.wrapping_mul(0x9E37_79B9_7F4A_7C15) % most + 1
}

async fn top_up(server: String, subscribers: u64, until: Instant, run: u64) -> Result<serde_json::Value, Failure> {
    let began = Instant::now();
    let step = Arc::new(AtomicU64::new(0));
    let mut callers = Vec::new();
    for _ in 0..CONNECTIONS {
        let channel = Channel::from_shared(server.clone())?.connect().await?;
        for _ in 0..CALLERS {
            let (mut client, step) = (AccountsClient::new(channel.clone()), step.clone());
            callers.push(tokio::spawn(async move {
                let mut took = Vec::new();
                while Instant::now() < until {
                    let step = step.fetch_add(1, Ordering::Relaxed);
                    let account = spread(step, subscribers);
                    let request = wire::TopUpRequest {
                        account: Some(wire::top_up_request::Account::AccountId(account)),
                        amount: Some(common::Money { mantissa: 1, scale: 2, currency: "EUR".into() }),
                        idempotency_key: format!("bench-{run}-{step}"),
                        ..wire::TopUpRequest::default()
                    };
                    let asked = Instant::now();
                    client.top_up(request).await?;
                    took.push(micros(asked.elapsed()));
                }
                Ok::<_, Failure>(took)
            }));
        }
    }
    let mut took = Vec::new();
    for caller in callers {
        took.extend(caller.await??);
    }
    took.sort_unstable();
    let rate = u64::try_from(took.len())?.saturating_mul(1_000_000) / micros(began.elapsed()).max(1);
    Ok(json!({
        "what": "topup", "done": took.len(), "rate": rate,
        "p50_us": quantile(&took, 500), "p99_us": quantile(&took, 990),
    }))
}

async fn search(server: String, subscribers: u64, until: Instant) -> Result<serde_json::Value, Failure> {
    let mut client = SubscribersClient::new(Channel::from_shared(server)?.connect().await?);
    let (mut took, mut step) = (Vec::new(), 0);
    while Instant::now() < until {
        step += 1;
        // Both identifiers of demo subscribers, in turn.
        let number = spread(step, subscribers);
        let name = if step % 2 == 0 { format!("msisdn-49170{number:08}") } else { format!("imsi-262019{number:09}") };
        let asked = Instant::now();
        let found = client.get_subscriber(wire::GetSubscriberRequest { name: format!("subscribers/{name}") }).await?;
        took.push(micros(asked.elapsed()));
        if found.into_inner().subscriber.is_none_or(|found| found.subscriber_id != number) {
            return Err(format!("{name} is not subscriber {number}").into());
        }
    }
    took.sort_unstable();
    Ok(json!({
        "what": "search", "done": took.len(), "p50_us": quantile(&took, 500), "p99_us": quantile(&took, 990),
    }))
}

async fn load(server: String, until: Instant, run: u64) -> Result<serde_json::Value, Failure> {
    use wire::load_rows_request::Kind;
    let mut client = SubscribersClient::new(Channel::from_shared(server)?.connect().await?);
    let (rows, sent) = tokio::sync::mpsc::channel(ROWS_AHEAD);
    let began = Instant::now();
    tokio::spawn(async move {
        for step in 0.. {
            if Instant::now() >= until {
                return;
            }
            let number = LOADED_FROM + run * 10_000_000 + step;
            let account = format!(
                r#"{{"account": {number}, "currency": "EUR", "buckets": [{{"id": "main", "unit": "EUR", "amount": "5.00"}}]}}"#
            );
            let subscriber = format!(
                r#"{{"subscriber": {number}, "account": {number}, "tariff": "start-payg", "identifiers": ["msisdn-4916{number}"]}}"#
            );
            for kind in [Kind::AccountJson(account), Kind::SubscriberJson(subscriber)] {
                if rows.send(wire::LoadRowsRequest { row: step, kind: Some(kind) }).await.is_err() {
                    return;
                }
            }
        }
    });
    let mut answers = client.load_rows(tokio_stream::wrappers::ReceiverStream::new(sent)).await?.into_inner();
    let mut loaded = 0u64;
    while let Some(answer) = answers.message().await? {
        if answer.state() != wire::RowState::Loaded {
            return Err(format!("row {}: {}", answer.row, answer.reason).into());
        }
        loaded += 1;
    }
    let subscribers = loaded / 2;
    let rate = subscribers.saturating_mul(1_000_000) / micros(began.elapsed()).max(1);
    Ok(json!({"what": "load", "done": subscribers, "rate": rate}))
}

/// The requests of one session: the number of the next.
struct Session {
    id: String,
    imsi: Identifier,
    number: u32,
}

impl Session {
    /// Writes its next request: it begins, and then reports a little again and again.
    fn ask(&mut self, host: &str, out: &mut Vec<u8>) -> Result<(), Failure> {
        let units = |octets| Units { total_octets: Some(octets), ..Units::default() };
        let begins = self.number == 0;
        let used = if begins { Vec::new() } else { vec![Used { units: units(1000), ..Used::default() }] };
        let key = ServiceKey { rating_group: Some(RatingGroup::new(10)), ..ServiceKey::default() };
        let services = [ServiceRequest { key, requested: Requested::Units(units(1 << 20)), used }];
        let ccr = Ccr {
            session: &self.id,
            kind: if begins { Kind::Initial } else { Kind::Update },
            number: self.number,
            services: &services,
            host,
            realm: "example.org",
            destination_realm: "example.org",
            service_context: "14.32251@3gpp.org",
            identifiers: std::slice::from_ref(&self.imsi),
            ..Ccr::default()
        };
        out.clear();
        ccr.encode(out).map_err(|error| format!("{error:?}"))?;
        self.number += 1;
        Ok(())
    }
}

/// Keeps a request of every session under way; returns what each answer took, microseconds, by the phase in which it was asked and
/// answered. A phase with an odd number is one of publishing.
async fn element(
    (server, number, run): (SocketAddr, u64, u64),
    subscribers: u64,
    until: Instant,
    phase: Arc<AtomicU64>,
) -> Result<[Vec<u64>; 2], Failure> {
    let host = format!("bench{number}.example.org");
    let identity = Identity { host: host.clone(), realm: "example.org".into(), state: 0 };
    let (mut sender, mut receiver) = Client::connect(server, identity).await?.split();
    let mut sessions = Vec::new();
    for place in 0..SESSIONS {
        let subscriber = spread(number * SESSIONS + place, subscribers);
        let imsi = format!("imsi-262019{subscriber:09}").parse()?;
        sessions.push(Session { id: format!("{host};{run};{place}"), imsi, number: 0 });
    }
    let mut took = [Vec::new(), Vec::new()];
    let mut under_way = HashMap::new();
    let mut free: Vec<usize> = (0..sessions.len()).collect();
    let mut octets = Vec::new();
    while Instant::now() < until {
        for place in free.drain(..) {
            let Some(session) = sessions.get_mut(place) else { continue };
            session.ask(&host, &mut octets)?;
            under_way.insert(sender.queue(&octets), (place, Instant::now(), phase.load(Ordering::Relaxed)));
        }
        sender.flush().await?;
        let each = |message: &Message<'_>, _: &mut Vec<u8>| {
            let Some((place, asked, before)) = under_way.remove(&message.header().hop_by_hop) else { return };
            free.push(place);
            if before == phase.load(Ordering::Relaxed) {
                let [quiet, publishing] = &mut took;
                if before % 2 == 0 { quiet } else { publishing }.push(micros(asked.elapsed()));
            }
        };
        receiver.read(each).await?;
    }
    Ok(took)
}

/// A tariff of so many prices for data, one for each rating group.
fn tariff(run: u64, version: u32) -> Result<String, Failure> {
    let mut text = format!("tariff: bench-{run}\nversion: {version}\ntime_zone: Europe/Berlin\ncurrency: EUR\n");
    text.push_str("rounding: {decimals: 4, mode: half_up, scope: event}\nprices:\n");
    for group in 1..=PRICES {
        writeln!(
            text,
            "  - {{id: p{group}, service: data, rating_group: {group}, measure: total_octets, rate: 0.{:02} / MiB}}",
            (group + version) % 90 + 10
        )?;
    }
    Ok(text)
}

/// Drafts, approves and publishes one tariff.
async fn publish_one(client: &mut CatalogueClient<Channel>, run: u64, version: u32) -> Result<(), Failure> {
    let key = |step: &str| format!("bench-{run}-{step}-{version}");
    let (source, idempotency_key) = (tariff(run, version)?, key("put"));
    let put = wire::PutDraftRequest { source, idempotency_key, ..Default::default() };
    let draft = client.put_draft(put).await?.into_inner().document.unwrap_or_default();
    let (name, etag, idempotency_key) = (draft.name.clone(), draft.etag, key("approve"));
    client.approve_draft(wire::ApproveDraftRequest { name, etag, idempotency_key, ..Default::default() }).await?;
    let (name, idempotency_key) = (draft.name, key("publish"));
    client.publish_document(wire::PublishDocumentRequest { name, idempotency_key, ..Default::default() }).await?;
    Ok(())
}

async fn publish(
    server: String,
    gy: SocketAddr,
    subscribers: u64,
    until: Instant,
    run: u64,
) -> Result<serde_json::Value, Failure> {
    let channel = Channel::from_shared(server)?.connect().await?;
    let mut client = CatalogueClient::new(channel).max_encoding_message_size(8 << 20);
    let phase = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let elements: Vec<_> = (0..ELEMENTS)
        .map(|number| tokio::spawn(element((gy, number, run), subscribers, until, phase.clone())))
        .collect();
    let mut published = Vec::new();
    let mut version = 0;
    while Instant::now() < until {
        tokio::time::sleep(PHASE).await;
        phase.fetch_add(1, Ordering::Relaxed);
        let next = Instant::now() + PHASE;
        while Instant::now() < next.min(until) {
            version += 1;
            let asked = Instant::now();
            publish_one(&mut client, run, version).await?;
            published.push(micros(asked.elapsed()));
        }
        phase.fetch_add(1, Ordering::Relaxed);
    }
    let (mut quiet, mut publishing) = (Vec::new(), Vec::new());
    for element in elements {
        let [without, with] = element.await??;
        quiet.extend(without);
        publishing.extend(with);
    }
    for sorted in [&mut published, &mut quiet, &mut publishing] {
        sorted.sort_unstable();
    }
    let rate =
        u64::try_from(quiet.len() + publishing.len())?.saturating_mul(1_000_000) / micros(began.elapsed()).max(1);
    let gy = |sorted: &[u64]| {
        json!({
            "done": sorted.len(), "p50_us": quantile(sorted, 500), "p99_us": quantile(sorted, 990),
            "p99_9_us": quantile(sorted, 999),
        })
    };
    Ok(json!({
        "what": "publish", "prices": PRICES, "done": published.len(), "p50_us": quantile(&published, 500),
        "p99_us": quantile(&published, 990), "gy_rate": rate, "gy_without": gy(&quiet), "gy_with": gy(&publishing),
    }))
}

const USAGE: &str = "operators topup|search|load GRPC-ADDRESS SUBSCRIBERS SECONDS, or\n       operators publish GRPC-ADDRESS SUBSCRIBERS \
                     SECONDS GY-ADDRESS";

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, address, subscribers, seconds, gy @ ..] = &arguments[..] else {
        eprintln!("usage: {USAGE}");
        return std::process::ExitCode::from(2);
    };
    let (Ok(subscribers), Ok(seconds)) = (subscribers.parse::<u64>(), seconds.parse()) else {
        eprintln!("operators: SUBSCRIBERS and SECONDS are numbers");
        return std::process::ExitCode::from(2);
    };
    let (server, until) = (format!("http://{address}"), Instant::now() + Duration::from_secs(seconds));
    // Keys and numbers of one run are not those of another.
    let run = u64::from(std::process::id());
    let done = tokio::runtime::Runtime::new().map_err(Failure::from).and_then(|runtime| {
        runtime.block_on(async {
            match what.as_str() {
                "topup" => top_up(server, subscribers.max(1), until, run).await,
                "search" => search(server, subscribers.max(1), until).await,
                "load" => load(server, until, run % 1000).await,
                "publish" => {
                    let gy = gy.first().ok_or("GY-ADDRESS is missing")?.parse()?;
                    publish(server, gy, subscribers.max(1), until, run).await
                }
                _ => Err(format!("usage: {USAGE}").into()),
            }
        })
    });
    match done {
        Ok(report) => {
            println!("{report}");
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("operators: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
