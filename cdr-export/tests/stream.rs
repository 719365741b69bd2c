//! The service over a real socket: start, middle, end, following, refusals, and a slow client.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "serves several tests")]
mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cdr_export::ExportLimits;
use common::{Memory, hash, serve};
use ocs_proto::cdr::v1::{CdrFilter, CdrKind, GetTailRequest, GetTailResponse, StreamCdrsRequest, StreamCdrsResponse};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

/// As in `ocs`, so that what is measured here is what it costs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn from(from_position: u64) -> StreamCdrsRequest {
    StreamCdrsRequest { from_position, ..StreamCdrsRequest::default() }
}

fn following(from_position: u64) -> StreamCdrsRequest {
    StreamCdrsRequest { follow: true, ..from(from_position) }
}

fn positions(response: &StreamCdrsResponse) -> Vec<u64> {
    response.records.iter().map(|record| record.position).collect()
}

/// Everything until the stream ends: positions, batch sizes, and how it ended.
async fn drain(mut stream: Streaming<StreamCdrsResponse>) -> (Vec<u64>, Vec<usize>, Result<(), Status>) {
    let (mut seen, mut sizes) = (Vec::new(), Vec::new());
    loop {
        match stream.message().await {
            Ok(Some(response)) => {
                seen.extend(positions(&response));
                sizes.push(response.records.len());
                assert_eq!(response.next_position, seen.last().unwrap() + 1);
                assert_eq!(response.chain_hash, hash(response.next_position - 1));
            }
            Ok(None) => return (seen, sizes, Ok(())),
            Err(status) => return (seen, sizes, Err(status)),
        }
    }
}

#[tokio::test]
async fn from_the_middle_to_the_end_in_batches() {
    let limits = ExportLimits { batch_records_max: 40, ..ExportLimits::default() };
    let mut client = serve(Arc::new(Memory::new(1, 200)), limits).await;
    let (seen, sizes, end) = drain(client.stream_cdrs(from(101)).await.unwrap().into_inner()).await;
    assert_eq!(seen, (101..=200).collect::<Vec<_>>());
    assert_eq!(sizes, [40, 40, 20]);
    assert!(end.is_ok());

    let request = StreamCdrsRequest { max_records: 50, ..following(1) };
    let (seen, sizes, end) = drain(client.stream_cdrs(request).await.unwrap().into_inner()).await;
    assert_eq!((seen.len(), sizes, end.is_ok()), (50, vec![40, 10], true), "a followed stream ends at its maximum");

    let limits = ExportLimits { batch_octets_max: 1, ..ExportLimits::default() };
    let mut client = serve(Arc::new(Memory::new(1, 3)), limits).await;
    let (_, sizes, _) = drain(client.stream_cdrs(from(1)).await.unwrap().into_inner()).await;
    assert_eq!(sizes, [1, 1, 1], "one CDR always fits");
}

#[tokio::test]
async fn at_the_tail_there_is_nothing_yet_and_beyond_it_or_before_the_first_is_refused() {
    let mut client = serve(Arc::new(Memory::new(11, 20)), ExportLimits::default()).await;
    assert!(drain(client.stream_cdrs(from(21)).await.unwrap().into_inner()).await.0.is_empty());
    for (position, text) in [
        (0, "from_position is 0, but positions begin at 1; available are 11 to 20, the next will be 21"),
        (10, "CDR 10 is no longer kept, the first available is 11; available are 11 to 20, the next will be 21"),
        (22, "from_position 22 is beyond the next CDR to be written; available are 11 to 20, the next will be 21"),
        (u64::MAX, "is beyond the next CDR to be written"),
    ] {
        let status = client.stream_cdrs(from(position)).await.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange);
        assert!(status.message().ends_with(text) || status.message().contains(text), "{}", status.message());
    }
    let tail = client.get_tail(GetTailRequest {}).await.unwrap().into_inner();
    assert_eq!(tail, GetTailResponse { partition: 3, first_position: 11, last_position: 20 });

    let mut empty = serve(Arc::new(Memory::new(1, 0)), ExportLimits::default()).await;
    let status = empty.stream_cdrs(from(2)).await.unwrap_err();
    assert!(status.message().ends_with("no CDR is available, the next will be 1"), "{}", status.message());
}

#[tokio::test]
async fn a_followed_stream_gets_what_comes_signs_of_life_and_the_end() {
    let limits = ExportLimits { heartbeat: Duration::from_millis(40), ..ExportLimits::default() };
    let feed = Arc::new(Memory::new(1, 2));
    let mut client = serve(Arc::clone(&feed), limits).await;
    let mut stream = client.stream_cdrs(following(2)).await.unwrap().into_inner();
    assert_eq!(positions(&stream.message().await.unwrap().unwrap()), [2]);

    let alive = stream.message().await.unwrap().unwrap();
    assert_eq!((positions(&alive), alive.next_position, alive.chain_hash), (vec![], 3, hash(2).to_vec()));

    feed.last.send_replace(5);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(positions(&stream.message().await.unwrap().unwrap()));
    }
    assert_eq!(seen, [3, 4, 5]);

    feed.last.send_replace(u64::MAX);
    let status = loop {
        match stream.message().await {
            Ok(Some(response)) if response.records.is_empty() => {}
            Ok(other) => panic!("the feed has stopped, but there came {other:?}"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "the charging system is stopping; resume from_position 6 later");
}

#[tokio::test]
async fn a_gap_ends_the_stream_with_its_place() {
    let feed = Memory { hole: Some(3), ..Memory::new(1, 5) };
    let mut client = serve(Arc::new(feed), ExportLimits::default()).await;
    let (seen, _, end) = drain(client.stream_cdrs(from(1)).await.unwrap().into_inner()).await;
    let status = end.unwrap_err();
    assert_eq!((seen, status.code()), (vec![1, 2], Code::DataLoss));
    assert!(status.message().starts_with("CDR 3 is due and durable, but reading found CDR 4"), "{}", status.message());
}

#[tokio::test]
async fn a_slow_client_stops_the_reading_of_its_own_stream_and_a_client_that_left_frees_its_place() {
    let limits = ExportLimits { streams_max: 2, batch_records_max: 64, ..ExportLimits::default() };
    let feed = Arc::new(Memory::new(1, 1_000_000));
    let mut client = serve(Arc::clone(&feed), limits).await;
    let slow = client.stream_cdrs(from(1)).await.unwrap().into_inner();
    // Nothing is taken: soon nothing more is read than what fits the windows and the queue.
    let mut before = u64::MAX;
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let read = feed.read.load(Ordering::Relaxed);
        if read == before {
            break;
        }
        before = read;
    }
    assert!(before < 20_000, "{before} CDRs were read for a client that takes none");

    let request = StreamCdrsRequest { max_records: 100, ..from(1) };
    let (seen, _, _) = drain(client.stream_cdrs(request).await.unwrap().into_inner()).await;
    assert_eq!(seen.len(), 100, "another stream is not held up");

    let mut waiting = client.stream_cdrs(following(1_000_001)).await;
    while waiting.is_err() {
        // The place of the stream before is given back by its task, a moment after its end.
        tokio::time::sleep(Duration::from_millis(1)).await;
        waiting = client.stream_cdrs(following(1_000_001)).await;
    }
    let refused = client.stream_cdrs(from(1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), "2 CDR streams are open, which is the limit; close one or try again later");

    drop((slow, waiting));
    let request = StreamCdrsRequest { max_records: 1, ..from(1) };
    while client.stream_cdrs(request.clone()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A range is read to its end, without changing anything; a filter passes over CDRs, and positions say so.
#[tokio::test]
async fn a_range_and_a_filter_of_it() {
    let mut client = serve(Arc::new(Memory::new(1, 200)), ExportLimits::default()).await;
    let range = StreamCdrsRequest { until_position: 120, ..following(101) };
    let (seen, _, end) = drain(client.stream_cdrs(range.clone()).await.unwrap().into_inner()).await;
    assert_eq!((seen, end.is_ok()), ((101..=120).collect(), true), "also where it would follow");
    // Top-ups, at odd positions, of account 8: 107 and 117.
    let filter = CdrFilter { kinds: vec![CdrKind::TopUp.into()], account_ids: vec![8] };
    let filtered = StreamCdrsRequest { filter: Some(filter), ..range.clone() };
    let mut stream = client.stream_cdrs(filtered).await.unwrap().into_inner();
    let response = stream.message().await.unwrap().unwrap();
    assert_eq!((positions(&response), response.next_position), (vec![107, 117], 121));
    assert_eq!(response.chain_hash, hash(120), "of what was passed over, too");
    assert!(stream.message().await.unwrap().is_none());
    for (request, field) in [
        (StreamCdrsRequest { until_position: 100, ..range.clone() }, "until_position"),
        (
            StreamCdrsRequest { filter: Some(CdrFilter { kinds: vec![77], account_ids: Vec::new() }), ..range },
            "filter.kinds",
        ),
    ] {
        let status = client.stream_cdrs(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(field), "{status}");
        assert_eq!(status.get_error_details().error_info().unwrap().reason, "INVALID_FIELD");
    }
}
