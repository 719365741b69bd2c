//! Timers, over a pipe and with a clock that only moves when everybody sleeps.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use diameter::CommandCode;
use diameter_tcp::{Config, Endpoint, Peers, Server};
use support::*;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::Instant;

struct Pipes {
    server: Server<TestHandler>,
    handler: TestHandler,
    mark: watch::Sender<u64>,
    peers: Peers,
}

impl Pipes {
    fn new(waits: Waits) -> Self {
        Self::with(config(), waits)
    }

    fn with(config: Config, waits: Waits) -> Self {
        let (mark, marked) = watch::channel(0);
        let (peers, handler) = (Peers::new(), TestHandler::new(waits));
        Self { server: Server::new(config, peers.clone(), handler.clone(), marked), handler, mark, peers }
    }

    fn connect(&self) -> DuplexStream {
        let (ours, theirs) = duplex(1 << 16);
        let endpoint = Endpoint { address: IpAddr::V4(Ipv4Addr::LOCALHOST), from: "pipe".into(), secured: false };
        tokio::spawn(self.server.clone().attach(theirs, endpoint, std::future::pending()));
        ours
    }

    async fn open(&self, host: &str) -> DuplexStream {
        let mut stream = self.connect();
        stream.write_all(&cer(host)).await.unwrap();
        assert_eq!(code(&read_late(&mut stream).await), 2001);
        stream
    }
}

/// As `read_message`, with the patience the paused clock needs.
async fn read_late(stream: &mut DuplexStream) -> Vec<u8> {
    use tokio::io::AsyncReadExt as _;
    let mut message = vec![0; 4];
    stream.read_exact(&mut message).await.unwrap();
    let length = u32::from_be_bytes([0, message[1], message[2], message[3]]);
    message.resize(usize::try_from(length).unwrap(), 0);
    stream.read_exact(&mut message[4..]).await.unwrap();
    message
}

async fn ends(stream: &mut DuplexStream) {
    use tokio::io::AsyncReadExt as _;
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

fn about(elapsed: Duration, seconds: u64) {
    let (least, most) = (Duration::from_secs(seconds) * 9 / 10, Duration::from_secs(seconds) * 11 / 10);
    assert!((least..=most).contains(&elapsed), "{elapsed:?} is not about {seconds} s");
}

#[tokio::test(start_paused = true)]
async fn no_cer_no_connection() {
    let pipes = Pipes::new(|_| (0, None));
    let (mut stream, start) = (pipes.connect(), Instant::now());
    ends(&mut stream).await;
    about(start.elapsed(), 10);
    assert_eq!(pipes.handler.events(), ["nobody closed: no CER in time"]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_asked_suspected_and_left() {
    let pipes = Pipes::new(|_| (0, None));
    let (mut stream, start) = (pipes.open("a").await, Instant::now());
    assert_eq!(command(&read_late(&mut stream).await), CommandCode::DEVICE_WATCHDOG);
    about(start.elapsed(), 30);
    ends(&mut stream).await;
    about(start.elapsed(), 90);
    assert_eq!(pipes.handler.events(), ["a opened", "a suspect", "a closed: no answer to the watchdog"]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_speaks_is_not_asked() {
    let pipes = Pipes::new(|_| (0, None));
    let mut stream = pipes.open("a").await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        stream.write_all(&ccr()).await.unwrap();
        assert_eq!(command(&read_late(&mut stream).await), CommandCode::CREDIT_CONTROL);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_replaces_a_suspect_one() {
    let pipes = Pipes::new(|_| (0, None));
    let mut old = pipes.open("a").await;
    assert_eq!(command(&read_late(&mut old).await), CommandCode::DEVICE_WATCHDOG);
    let mut rejected = pipes.connect();
    rejected.write_all(&cer("a")).await.unwrap();
    ends(&mut rejected).await;

    tokio::time::sleep(Duration::from_secs(35)).await;
    assert!(pipes.handler.events().contains(&"a suspect".into()));
    let mut new = pipes.open("a").await;
    ends(&mut old).await;
    new.write_all(&ccr()).await.unwrap();
    assert_eq!(command(&read_late(&mut new).await), CommandCode::CREDIT_CONTROL);
    assert!(pipes.peers.get("a").is_some());
    let events = pipes.handler.events();
    assert_eq!(events[3..], ["a opened", "a closed: the peer opened a new connection"]);
}

#[tokio::test(start_paused = true)]
async fn who_is_not_read_is_not_called_silent() {
    let pipes = Pipes::new(|_| (1, None));
    let mut stream = pipes.open("a").await;
    let flood = ccr().repeat(100);
    for _ in 0..164 {
        stream.write_all(&flood).await.unwrap();
    }
    // The limit is reached, the mark hangs, and longer than a watchdog has patience.
    stream.write_all(&ccr()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(pipes.handler.events(), ["a opened"]);
    pipes.mark.send_replace(1);
    for _ in 0..16_401 {
        assert_eq!(command(&read_late(&mut stream).await), CommandCode::CREDIT_CONTROL);
    }
}

#[tokio::test(start_paused = true)]
async fn the_watchdog_goes_on_after_a_pause_that_ends_in_nothing_to_send() {
    let mut config = config();
    config.limits.pending_answers_max = 1;
    let pipes = Pipes::with(config, |_| (1, Some(Duration::from_secs(1))));
    let mut stream = pipes.open("a").await;
    stream.write_all(&ccr()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    pipes.mark.send_replace(1);
    let start = Instant::now();
    let asked = tokio::time::timeout(Duration::from_secs(100), read_late(&mut stream)).await.unwrap();
    assert_eq!(command(&asked), CommandCode::DEVICE_WATCHDOG);
    about(start.elapsed(), 28);
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_is_over_in_time_even_when_nothing_is_read() {
    let mut config = config();
    config.limits.pending_answers_max = 2;
    let pipes = Pipes::with(config, |_| (1, None));
    let mut stream = pipes.open("a").await;
    let dpr = base("a", CommandCode::DISCONNECT_PEER, |dpr| dpr.u32(diameter::AvpCode::DISCONNECT_CAUSE, 0));
    stream.write_all(&[ccr(), dpr].concat()).await.unwrap();
    let start = Instant::now();
    ends(&mut stream).await;
    about(start.elapsed(), 1);
}
