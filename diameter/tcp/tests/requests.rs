//! Requests of ours to an open peer.

mod support;

use std::time::Duration;

use bytes::Bytes;
use diameter::{AvpCode, CommandCode, MessageWriter, RequestError};
use diameter_tcp::RequestFailure;
use support::*;
use tokio::io::AsyncWriteExt;

fn rar() -> Bytes {
    build(CommandCode::RE_AUTH, 4, |rar| rar.utf8(AvpCode::SESSION_ID, "pgw.example.net;1;2;gy")).into()
}

#[tokio::test]
async fn a_request_of_ours_finds_its_answer() {
    let world = World::new();
    let (_sender, mut receiver) = world.client("a").await.split();
    let peer = world.peers.get("A").unwrap();
    assert_eq!(peer.facts().host, "a");
    let (first, second) = (peer.request(rar()), peer.request(rar()));
    let answering = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < 2 {
            receiver
                .read(|request, _| {
                    assert_eq!(request.header().command, CommandCode::RE_AUTH);
                    seen.push(*request.header());
                })
                .await
                .unwrap();
        }
        // The other way round.
        let mut replies = Vec::new();
        for (header, code) in [(seen[1], 2002), (seen[0], 2001)] {
            let mut answer = MessageWriter::new(&mut replies, &header.answer());
            answer.u32(AvpCode::RESULT_CODE, code);
            answer.finish().unwrap();
        }
        receiver.reply(&replies).await.unwrap();
        receiver
    });
    assert_eq!(code(&second.await.unwrap()), 2002);
    assert_eq!(code(&first.await.unwrap()), 2001);
    assert_eq!(world.stats.requests_sent.get(), 2);

    // Unanswered when the peer goes.
    let mut receiver = answering.await.unwrap();
    let third = peer.request(rar());
    receiver.read(|_, _| {}).await.unwrap();
    drop((receiver, _sender));
    assert_eq!(third.await, Err(RequestFailure::ConnectionLost));
    eventually("gone", || world.peers.get("a").is_none()).await;
    assert_eq!(peer.request(rar()).await, Err(RequestFailure::ConnectionLost));
}

/// Denied, then paid: the client must know of the denial when it is told to ask again.
#[tokio::test]
async fn a_request_of_ours_does_not_overtake_answers_that_wait() {
    let world = World::with(config(), |id| (u64::from(id), None));
    let mut stream = world.open("a").await;
    let requests: Vec<u8> = (1..=2).flat_map(|id| numbered(&ccr(), id)).collect();
    stream.write_all(&requests).await.unwrap();
    eventually("both handled", || world.stats.requests.get() == 2).await;
    let _answer = world.peers.get("a").unwrap().request(rar());
    eventually("sent", || world.stats.requests_sent.get() == 1).await;
    world.mark.send_replace(1);
    assert_eq!(id(&read_message(&mut stream).await), 1);
    let early = tokio::time::timeout(Duration::from_millis(20), stream.peek(&mut [0])).await;
    assert!(early.is_err(), "the second answer is not durable yet");
    world.mark.send_replace(2);
    assert_eq!(id(&read_message(&mut stream).await), 2);
    assert_eq!(command(&read_message(&mut stream).await), CommandCode::RE_AUTH);
}

#[tokio::test]
async fn what_is_no_request_is_not_sent() {
    let world = World::new();
    let _client = world.client("a").await;
    let peer = world.peers.get("a").unwrap();
    let sent = peer.request(Bytes::from_static(b"nonsense")).await;
    assert_eq!(sent, Err(RequestFailure::NotSent(RequestError::NotARequest)));
}

#[tokio::test]
async fn requests_of_ours_are_bounded() {
    let mut config = config();
    config.limits.queued_requests_max = 2;
    let world = World::with(config, |_| (0, None));
    let _client = world.client("a").await;
    let peer = world.peers.get("a").unwrap();
    // The connection's task does not run in between.
    let mut queued: Vec<_> = (0..3).map(|_| peer.request(rar())).collect();
    assert_eq!(queued.pop().unwrap().await, Err(RequestFailure::Busy));
}
