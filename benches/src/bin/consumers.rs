//! How fast CDRs are read from a running `ocs`, over gRPC on loopback.
//!
//! `consumers GRPC-ADDRESS`: all CDRs that there are, once by `StreamCdrs` and once by a consumer that acknowledges each batch; then the last
//! 1000, acknowledged one after the other. Prints one line of JSON each: CDRs a second, and from an acknowledgement to its confirmation, which
//! is when it is durable (behind a batch, it also waits for the batches that are under way). Fill the server before (`ocs traffic`), and look at
//! its memory from outside. The consumer is ended afterwards.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ocs_api::client::CdrConsumersClient;
use ocs_proto::cdr::v1 as wire;
use ocs_proto::cdr::v1::cdr_consumption_client::CdrConsumptionClient;
use ocs_proto::cdr::v1::cdr_export_client::CdrExportClient;
use ocs_proto::cdr::v1::consume_request::Message as Say;
use ocs_proto::cdr::v1::consume_response::Message as Told;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// CDRs under way to the consumer at most.
const CREDITS: u64 = 16_384;
/// CDRs that are acknowledged one by one.
const LAST: u64 = 1000;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

fn rate(count: u64, took: Duration) -> u64 {
    count.saturating_mul(1_000_000) / micros(took).max(1)
}

/// The value below which this share of what is sorted lies, in thousandths.
fn quantile(sorted: &[u64], thousandths: usize) -> u64 {
    sorted.get((sorted.len() * thousandths / 1000).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

async fn stream(channel: Channel, tail: u64) -> Result<serde_json::Value, Failure> {
    let mut client = CdrExportClient::new(channel).max_decoding_message_size(16 << 20);
    let request = wire::StreamCdrsRequest { from_position: 1, until_position: tail, ..Default::default() };
    let began = Instant::now();
    let mut stream = client.stream_cdrs(request).await?.into_inner();
    let mut count = 0u64;
    while let Some(batch) = stream.message().await? {
        count += u64::try_from(batch.records.len())?;
    }
    Ok(json!({ "what": "stream", "cdrs": count, "rate": rate(count, began.elapsed()) }))
}

async fn consume(channel: Channel, name: String, tail: u64) -> Result<serde_json::Value, Failure> {
    let (say, said) = mpsc::channel(1024);
    let open = wire::OpenConsumer { consumer: name, instance: "bench".into(), take_over: false, credits: CREDITS };
    say.send(wire::ConsumeRequest { message: Some(Say::Open(open)) }).await?;
    let mut client = CdrConsumptionClient::new(channel).max_decoding_message_size(16 << 20);
    let began = Instant::now();
    let mut told = client.consume(ReceiverStream::new(said)).await?.into_inner();
    let (mut count, mut done, mut confirmed) = (0u64, Duration::ZERO, 0);
    let (mut waiting, mut took) = (VecDeque::new(), Vec::new());
    while confirmed < tail {
        let Some(response) = told.message().await? else { return Err("the stream has ended".into()) };
        match response.message {
            Some(Told::Batch(batch)) => {
                let came = u64::try_from(batch.records.len())?;
                count += came;
                done = began.elapsed();
                let position = batch.next_position - 1;
                waiting.push_back((position, Instant::now()));
                say.send(wire::ConsumeRequest { message: Some(Say::Ack(wire::AckCdrs { position })) }).await?;
                let grant = wire::GrantCredits { credits: came };
                say.send(wire::ConsumeRequest { message: Some(Say::Grant(grant)) }).await?;
            }
            Some(Told::Acked(acked)) => {
                confirmed = acked.position;
                while waiting.front().is_some_and(|(position, _)| *position <= confirmed) {
                    took.extend(waiting.pop_front().map(|(_, at): (u64, Instant)| micros(at.elapsed())));
                }
            }
            Some(Told::Opened(_) | Told::Status(_) | Told::Parked(_) | Told::Delivery(_) | Told::Unparked(_))
            | None => {}
        }
    }
    took.sort_unstable();
    Ok(json!({
        "what": "consume", "cdrs": count, "rate": rate(count, done), "acks": took.len(),
        "ack_p50_us": quantile(&took, 500), "ack_p99_us": quantile(&took, 990), "ack_max_us": quantile(&took, 1000),
    }))
}

/// Acknowledges the last CDRs one by one, each when the one before is confirmed.
async fn acknowledge(channel: Channel, name: String, tail: u64) -> Result<serde_json::Value, Failure> {
    let (say, said) = mpsc::channel(16);
    let open = wire::OpenConsumer { consumer: name, instance: "bench".into(), take_over: false, credits: CREDITS };
    say.send(wire::ConsumeRequest { message: Some(Say::Open(open)) }).await?;
    let mut client = CdrConsumptionClient::new(channel).max_decoding_message_size(16 << 20);
    let mut told = client.consume(ReceiverStream::new(said)).await?.into_inner();
    let (mut came, mut took) = (0, Vec::new());
    let mut next = async |say_of: Option<u64>| -> Result<u64, Failure> {
        if let Some(position) = say_of {
            say.send(wire::ConsumeRequest { message: Some(Say::Ack(wire::AckCdrs { position })) }).await?;
        }
        loop {
            match told.message().await?.and_then(|response| response.message) {
                Some(Told::Batch(batch)) if say_of.is_none() => return Ok(batch.next_position - 1),
                Some(Told::Acked(acked)) if say_of == Some(acked.position) => return Ok(acked.position),
                Some(_) => {}
                None => return Err("the stream has ended".into()),
            }
        }
    };
    while came < tail {
        came = next(None).await?;
    }
    for position in tail - LAST + 1..=tail {
        let at = Instant::now();
        next(Some(position)).await?;
        took.push(micros(at.elapsed()));
    }
    took.sort_unstable();
    Ok(json!({
        "what": "acknowledge", "acks": took.len(),
        "ack_p50_us": quantile(&took, 500), "ack_p99_us": quantile(&took, 990), "ack_max_us": quantile(&took, 1000),
    }))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let server = std::env::args().nth(1).ok_or("usage: consumers GRPC-ADDRESS")?;
    let channel = Channel::from_shared(format!("http://{server}"))?.connect().await?;
    let tail = CdrExportClient::new(channel.clone()).get_tail(wire::GetTailRequest {}).await?.into_inner();
    let tail = tail.last_position;
    println!("{}", stream(channel.clone(), tail).await?);
    let mut people = CdrConsumersClient::new(channel.clone());
    let run = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let (name, reason) = (format!("consumers/bench-{run}"), "bench".to_owned());
    let made = wire::CreateConsumerRequest {
        consumer: name.clone(),
        reason: reason.clone(),
        idempotency_key: format!("made-{run}"),
        ..Default::default()
    };
    people.create_consumer(made).await?;
    println!("{}", consume(channel.clone(), name.clone(), tail).await?);
    let last = wire::ResetConsumerRequest {
        name: name.clone(),
        start: Some(wire::ConsumerStart {
            at: Some(wire::consumer_start::At::Position(tail.saturating_sub(LAST) + 1)),
        }),
        reason: reason.clone(),
        idempotency_key: format!("moved-{run}"),
        ..Default::default()
    };
    people.reset_consumer(last).await?;
    println!("{}", acknowledge(channel, name.clone(), tail).await?);
    let ended =
        wire::DeleteConsumerRequest { name, reason, idempotency_key: format!("ended-{run}"), ..Default::default() };
    people.delete_consumer(ended).await?;
    Ok(())
}
