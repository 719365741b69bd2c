//! Ends in good order: DPR from either side, and the shutdown of the server.

mod support;

use std::time::Duration;

use diameter::CommandCode;
use support::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

fn dpr(host: &str) -> Vec<u8> {
    base(host, CommandCode::DISCONNECT_PEER, |dpr| dpr.u32(diameter::AvpCode::DISCONNECT_CAUSE, 0))
}

#[tokio::test]
async fn a_disconnect_request_is_answered_behind_the_answers_that_wait() {
    let world = World::with(config(), |_| (1, None));
    let mut stream = world.open("a").await;
    stream.write_all(&[numbered(&ccr(), 5), dpr("a")].concat()).await.unwrap();
    eventually("handled", || world.stats.requests.get() == 1).await;
    world.mark.send_replace(1);
    assert_eq!(id(&read_message(&mut stream).await), 5);
    let dpa = read_message(&mut stream).await;
    assert_eq!((command(&dpa), code(&dpa)), (CommandCode::DISCONNECT_PEER, 2001));
    drop(stream);
    world.told("a closed: the peer disconnected with cause 0").await;
}

#[tokio::test]
async fn the_client_disconnects_cleanly() {
    let world = World::new();
    let mut client = world.client("a").await;
    assert_eq!(code(&client.call(&ccr()).await.unwrap()), 2001);
    client.disconnect().await.unwrap();
    world.told("a closed: the peer disconnected with cause 2").await;
}

#[tokio::test]
async fn a_shutdown_answers_what_it_was_asked_and_says_goodbye() {
    let world = World::with(config(), |_| (1, None));
    let mut stream = world.open("a").await;
    stream.write_all(&numbered(&ccr(), 1)).await.unwrap();
    eventually("handled", || world.stats.requests.get() == 1).await;
    let (address, mark, stats, handler) =
        (world.address, world.mark.clone(), world.stats.clone(), world.handler.clone());
    let served = world.stop();

    let dpr = read_message(&mut stream).await;
    assert_eq!(command(&dpr), CommandCode::DISCONNECT_PEER);
    assert!(TcpStream::connect(address).await.is_err(), "nobody is accepted any more");
    // The peer has sent more before it saw the DPR; that is answered, too, and after the DPA nothing is lost.
    let dpa = base("a", CommandCode::DISCONNECT_PEER, |dpa| dpa.u32(diameter::AvpCode::RESULT_CODE, 2001));
    let mut dpa = numbered(&dpa, id(&dpr));
    dpa[4] = 0;
    stream.write_all(&[numbered(&ccr(), 2), dpa].concat()).await.unwrap();
    eventually("both handled", || stats.requests.get() == 2).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    mark.send_replace(1);
    assert_eq!(id(&read_message(&mut stream).await), 1);
    assert_eq!(id(&read_message(&mut stream).await), 2);
    assert!(closes(&mut stream).await);
    drop(stream);
    tokio::time::timeout(PATIENCE, served).await.unwrap().unwrap();
    assert_eq!(handler.events(), ["a opened", "a closed: we disconnected"]);
    assert_eq!((stats.connections_open.get(), stats.peers_open.get()), (0, 0));
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_the_deaf() {
    let world = World::new();
    let mut deaf = TcpStream::connect(world.address).await.unwrap();
    deaf.write_all(&cer("deaf")).await.unwrap();
    let _never_opened = TcpStream::connect(world.address).await.unwrap();
    world.told("deaf opened").await;
    let handler = world.handler.clone();
    tokio::time::timeout(PATIENCE, world.stop()).await.unwrap().unwrap();
    assert!(handler.events().contains(&"deaf closed: we disconnected".into()));
}

#[tokio::test]
async fn what_is_asked_before_hanging_up_is_still_answered() {
    let world = World::with(config(), |_| (1, None));
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(&[cer("a"), numbered(&ccr(), 9)].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    read_message(&mut stream).await;
    world.told("a closed: connection lost").await;
    world.mark.send_replace(1);
    assert_eq!(id(&read_message(&mut stream).await), 9);
}
