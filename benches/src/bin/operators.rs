//! What operators' calls cost a running `ocs`, over gRPC on loopback.
//!
//! `operators topup|search|load GRPC-ADDRESS SUBSCRIBERS SECONDS`: top-ups with many callers at once, durable; finding subscribers by
//! identifier, one after the other; loading new accounts with a subscriber each in bulk. Prints one line of JSON and ends by itself.
//! The subscribers are those of `ocs dev`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ocs_api::client::{AccountsClient, SubscribersClient};
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
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

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, address, subscribers, seconds] = &arguments[..] else {
        eprintln!("usage: operators topup|search|load GRPC-ADDRESS SUBSCRIBERS SECONDS");
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
                _ => Err("what: topup, search or load".into()),
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
