//! However the octets arrive, messages come out whole and answers in order; what is no message ends the connection.

mod support;

use std::time::Duration;

use diameter::{CommandCode, FramingError};
use support::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn split_and_merged_segments() {
    let world = World::new();
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for octet in cer("a") {
        stream.write_all(&[octet]).await.unwrap();
    }
    let cea = read_message(&mut stream).await;
    assert_eq!((command(&cea), code(&cea)), (CommandCode::CAPABILITIES_EXCHANGE, 2001));

    let requests: Vec<u8> = (1..=40).flat_map(|id| numbered(&ccr(), id)).collect();
    for piece in requests.chunks(997) {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for expected in 1..=40 {
        assert_eq!(id(&read_message(&mut stream).await), expected);
    }
    assert_eq!(world.stats.requests.get(), 40);
}

#[tokio::test]
async fn ten_thousand_pipelined_requests_are_answered_in_order() {
    let world = World::new();
    let (mut sender, mut receiver) = world.client("a").await.split();
    let request = ccr();
    let asking = tokio::spawn(async move {
        for _ in 0..10_000 {
            sender.queue(&request);
        }
        sender.flush().await.unwrap();
    });
    let mut next = 1;
    while next <= 10_000 {
        receiver
            .read(|answer, _| {
                assert_eq!(answer.header().hop_by_hop, next);
                assert_eq!(code(answer.octets()), 2001);
                next += 1;
            })
            .await
            .unwrap();
    }
    asking.await.unwrap();
    assert_eq!((world.stats.requests.get(), world.stats.answers.get()), (10_000, 10_000));
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_connection() {
    let world = World::new();
    let mut client = world.client("a").await;
    let mut request = numbered(&ccr(), 7);
    request[1..4].copy_from_slice(&[0x10, 0, 0]);
    let answered = numbered(&ccr(), 6);
    client.sender().send_raw(&[answered, request].concat()).await.unwrap();
    // What came before it is answered; then it says why, and closes.
    let mut got = Vec::new();
    while client
        .receiver()
        .read(|answer, _| got.push((answer.header().hop_by_hop, code(answer.octets()))))
        .await
        .is_ok()
    {}
    got.sort_unstable();
    assert_eq!(got, [(6, 2001), (7, 5015)]);
    let why = FramingError::TooLong { length: 1 << 20, max: 1 << 16 };
    world.told(&format!("a closed: {why}")).await;
    assert_eq!(world.stats.protocol_errors.get(), 1);
}

#[tokio::test]
async fn a_request_before_the_cer_ends_the_connection() {
    let world = World::new();
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(&ccr()).await.unwrap();
    assert!(closes(&mut stream).await);
    drop(stream);
    world.told("nobody closed: the first message is no CER").await;
    assert_eq!((world.stats.requests.get(), world.stats.protocol_errors.get()), (0, 1));
}

#[tokio::test]
async fn a_long_message_fits_when_it_may() {
    let mut config = config();
    config.local.message_octets_max = 1 << 20;
    config.limits.read_octets = 4096;
    let world = World::with(config, |_| (0, None));
    let mut client = world.client("a").await;
    let request = build(CommandCode::CREDIT_CONTROL, 4, |ccr| {
        ccr.utf8(diameter::AvpCode::SESSION_ID, "s");
        ccr.octets(diameter::AvpCode::PROXY_STATE, &vec![0; 900_000]);
    });
    assert_eq!(code(&client.call(&request).await.unwrap()), 2001);
    assert_eq!(code(&client.call(&ccr()).await.unwrap()), 2001);
}
