//! One identity has one connection, connections have a number, and who does not read harms nobody else.

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use diameter_tcp::{Client, Endpoint, Peers, Server};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

#[tokio::test]
async fn one_identity_has_one_connection() {
    let world = World::new();
    let mut first = world.client("PGW.example.net").await;
    let error = Client::connect(world.address, identity("pgw.EXAMPLE.net")).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(world.stats.connections_rejected.get(), 1);
    assert_eq!(code(&first.call(&ccr()).await.unwrap()), 2001);
    let _other = world.client("other").await;
    assert_eq!(world.peers.all().len(), 2);

    // Once it is gone, the name is free.
    drop(first);
    eventually("the name is free", || world.peers.get("pgw.example.net").is_none()).await;
    let mut again = world.client("pgw.example.net").await;
    assert_eq!(code(&again.call(&ccr()).await.unwrap()), 2001);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let mut config = config();
    config.limits.connections_max = 2;
    let world = World::with(config, |_| (0, None));
    let first = world.client("a").await;
    let _second = world.client("b").await;
    let mut third = TcpStream::connect(world.address).await.unwrap();
    assert!(closes(&mut third).await);
    assert_eq!((world.stats.connections_accepted.get(), world.stats.connections_refused.get()), (3, 1));
    assert_eq!(world.stats.connections_open.get(), 2);
    drop(first);
    eventually("a slot is free", || world.stats.connections_open.get() == 1).await;
    let _third = world.client("c").await;
}

#[tokio::test]
async fn who_does_not_read_is_bounded_and_then_closed() {
    let mut config = config();
    config.limits.pending_octets_max = 64 << 10;
    config.limits.write_timeout = Duration::from_millis(300);
    let world = World::with(config, |_| (0, None));
    let mut slow = world.open("slow").await;
    let mut other = world.client("other").await;

    let requests = ccr().repeat(1000);
    let flood = tokio::spawn(async move {
        // Until the server closes, which it does although this side goes on sending.
        while slow.write_all(&requests).await.is_ok() {}
    });
    for _ in 0..20 {
        assert_eq!(code(&other.call(&ccr()).await.unwrap()), 2001);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.told("slow closed: the peer does not read").await;
    flood.await.unwrap();
    assert_eq!(world.stats.connections_stalled.get(), 1);
    // An answer has more than 100 octets.
    assert!(world.stats.answers_dropped_closed.get() <= (64 << 10) / 100);
    assert_eq!(code(&other.call(&ccr()).await.unwrap()), 2001);
}

#[tokio::test]
async fn what_all_connections_hold_together_is_bounded() {
    let mut config = config();
    config.limits.read_octets = 4096;
    config.limits.assured_octets = 8 << 10;
    config.limits.held_octets_max = 64 << 10;
    let world = World::with(config, |_| (1, None));
    let mut clients = Vec::new();
    for host in ["a", "b", "c", "d"] {
        let (mut reads, mut writes) = world.open(host).await.into_split();
        tokio::spawn(async move {
            writes.write_all(&ccr().repeat(1000)).await.unwrap();
            std::future::pending::<()>().await;
        });
        clients.push(tokio::spawn(async move {
            for _ in 0..1000 {
                assert_eq!(code(&read_message(&mut reads).await), 2001);
            }
        }));
    }
    let held = || world.stats.octets_held.get();
    eventually("it is crowded", || held() >= 64 << 10).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Each may go beyond by the answers to what it read at once, and by what it is assured of.
    assert!(held() <= (64 << 10) + 4 * ((8 << 10) + 8192), "{} octets", held());
    world.mark.send_replace(1);
    for client in clients {
        client.await.unwrap();
    }
    eventually("nothing is held", || held() == 0).await;
}

#[tokio::test]
async fn a_peer_that_reads_by_the_drop_is_closed() {
    let mut config = config();
    config.limits.write_timeout = Duration::from_millis(300);
    let (_mark, marked) = watch::channel(0);
    let server = Server::new(config, Peers::new(), TestHandler::new(|_| (0, None)), marked);
    let stats = server.stats();
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let endpoint = Endpoint { address: Ipv4Addr::LOCALHOST.into(), from: "here".into(), secured: false };
    let served = tokio::spawn(server.attach(ours, endpoint, std::future::pending()));
    theirs.write_all(&cer("slow")).await.unwrap();
    assert_eq!(code(&read_message(&mut theirs).await), 2001);
    let (mut reads, mut writes) = tokio::io::split(theirs);
    tokio::spawn(async move { while writes.write_all(&ccr()).await.is_ok() {} });
    let mut drop = [0; 16];
    while !served.is_finished() && reads.read(&mut drop).await.is_ok_and(|read| read > 0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::timeout(Duration::from_secs(20), served).await.expect("it is closed").unwrap();
    assert_eq!(stats.connections_stalled.get(), 1);
}

#[tokio::test]
async fn the_handler_hears_when_a_connection_is_behind() {
    let mut config = config();
    config.limits.read_octets = 4096;
    config.limits.pending_answers_max = 8;
    let world = World::with(config, |_| (1, None));
    let mut eager = world.open("eager").await;
    // More than is read at once, and the mark does not move: the rest waits in the socket.
    let requests = ccr().repeat(400);
    let sends = tokio::spawn(async move {
        eager.write_all(&requests).await.unwrap();
        eager
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.mark.send_replace(1);
    world.told("behind").await;
    let mut eager = sends.await.unwrap();
    for _ in 0..400 {
        assert_eq!(code(&read_message(&mut eager).await), 2001);
    }
}

#[tokio::test]
async fn a_peer_that_left_in_good_order_may_come_back_at_once() {
    let world = World::new();
    for _ in 0..20 {
        let mut client = world.client("pgw").await;
        assert_eq!(code(&client.call(&ccr()).await.unwrap()), 2001);
        client.disconnect().await.unwrap();
    }
    assert_eq!(world.stats.connections_rejected.get(), 0);
}

#[tokio::test]
async fn a_restarted_peer_replaces_its_former_self() {
    let world = World::new();
    let state =
        |state: u32| move |cer: &mut diameter::MessageWriter<'_>| cer.u32(diameter::AvpCode::ORIGIN_STATE_ID, state);
    let mut before = Client::connect_with(world.address, identity("pgw"), state(7)).await.unwrap();
    assert_eq!(code(&before.call(&ccr()).await.unwrap()), 2001);
    // The same life has one connection; a later one does not wait for the watchdog to find out.
    assert!(Client::connect_with(world.address, identity("pgw"), state(7)).await.is_err());
    let mut after = Client::connect_with(world.address, identity("pgw"), state(8)).await.unwrap();
    assert_eq!(code(&after.call(&ccr()).await.unwrap()), 2001);
    world.told("pgw closed: the peer opened a new connection").await;
}
