//! What the tests share: a server on the loopback, a handler whose answers wait for a mark, messages to send.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use diameter::avp::Address;
use diameter::{
    ApplicationId, AvpCode, CommandCode, Flags, Header, Identity, Local, Message, MessageWriter, PeerFacts, Timers,
    UnknownAvps,
};
use diameter_tcp::echo::EchoHandler;
use diameter_tcp::{Client, Config, Handled, Handler, Limits, PeerEvent, Peers, Server, Stats, listen};
use rating_engine::ids::Lsn;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// Nothing in these tests takes longer, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn identity(host: &str) -> Identity {
    Identity { host: host.into(), realm: "example.net".into(), state: 0 }
}

pub(crate) fn config() -> Config {
    let local = Local {
        identity: Identity { host: "ocs01.example.com".into(), realm: "example.com".into(), state: 1 },
        served_realms: Vec::new(),
        vendor: 0,
        product: "ocs".into(),
        firmware: 1,
        allowed_peers: None,
        unknown_avps: UnknownAvps::default(),
        message_octets_max: 1 << 16,
        timers: Timers { closing: Duration::from_millis(500), ..Timers::default() },
    };
    Config { local, limits: Limits { finish_timeout: Duration::from_millis(500), ..Limits::default() } }
}

/// What an answer waits for, by the hop-by-hop id of its request: an LSN, and how long it is worth something.
pub(crate) type Waits = fn(u32) -> (u64, Option<Duration>);

/// Echoes, and remembers what it was told.
#[derive(Clone)]
pub(crate) struct TestHandler {
    echo: EchoHandler,
    waits: Waits,
    events: Arc<Mutex<Vec<String>>>,
}

impl TestHandler {
    pub(crate) fn new(waits: Waits) -> Self {
        Self { echo: EchoHandler::new(config().local.identity), waits, events: Arc::default() }
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }
}

impl Handler for TestHandler {
    fn handle(&mut self, peer: &PeerFacts, request: &Message<'_>, now: Instant, out: &mut Vec<u8>) -> Handled {
        let _ = self.echo.handle(peer, request, now, out);
        let (lsn, deadline) = (self.waits)(request.header().hop_by_hop);
        Handled::Answer { lsn: Lsn::new(lsn), deadline: deadline.map(|worth| now + worth) }
    }

    fn behind(&mut self, duration: Duration) {
        if duration > Duration::from_millis(5) {
            self.events.lock().unwrap().push("behind".into());
        }
    }

    fn on_event(&mut self, event: &PeerEvent<'_>) {
        let name = |facts: &PeerFacts| facts.host.clone();
        let told = match event {
            PeerEvent::Opened(facts) => format!("{} opened", name(facts)),
            PeerEvent::Suspect(facts) => format!("{} suspect", name(facts)),
            PeerEvent::Recovered(facts) => format!("{} recovered", name(facts)),
            PeerEvent::Closed(facts, reason) => {
                format!("{} closed: {reason}", facts.map_or_else(|| "nobody".into(), name))
            }
        };
        self.events.lock().unwrap().push(told);
    }
}

/// A server on the loopback.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) mark: watch::Sender<u64>,
    pub(crate) peers: Peers,
    pub(crate) stats: Arc<Stats>,
    pub(crate) handler: TestHandler,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl World {
    /// Answers wait for nothing.
    pub(crate) fn new() -> Self {
        Self::with(config(), |_| (0, None))
    }

    pub(crate) fn with(config: Config, waits: Waits) -> Self {
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (mark, marked) = watch::channel(0);
        let (peers, handler) = (Peers::new(), TestHandler::new(waits));
        let server = Server::new(config, peers.clone(), handler.clone(), marked);
        let stats = server.stats();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(server.serve(vec![listener], async {
            let _ = stopped.await;
        }));
        Self { address, mark, peers, stats, handler, stop, served }
    }

    pub(crate) async fn client(&self, host: &str) -> Client {
        Client::connect(self.address, identity(host)).await.unwrap()
    }

    /// A bare connection that has exchanged capabilities.
    pub(crate) async fn open(&self, host: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(&cer(host)).await.unwrap();
        assert_eq!(code(&read_message(&mut stream).await), 2001);
        stream
    }

    /// Begins the shutdown; the handle ends with it.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        self.stop.send(()).unwrap();
        self.served
    }

    /// Drops the sender of the mark; what is returned keeps the server alive.
    pub(crate) fn lose_mark(self) -> impl Sized {
        (self.stop, self.served)
    }

    /// Waits until an event has been told.
    pub(crate) async fn told(&self, event: &str) {
        eventually(event, || self.handler.events().iter().any(|told| told == event)).await;
    }
}

/// Waits until `holds` does.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn build(command: CommandCode, application: u32, avps: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    let flags = if application == 0 { Flags::REQUEST } else { Flags::REQUEST.union(Flags::PROXIABLE) };
    let application = ApplicationId(application);
    let mut octets = Vec::new();
    let mut writer = MessageWriter::new(
        &mut octets,
        &Header { flags, command, application, hop_by_hop: 0x0000_7000, end_to_end: 0x0000_7000 },
    );
    avps(&mut writer);
    writer.finish().unwrap();
    octets
}

/// A request of the base protocol by `host`.
pub(crate) fn base(host: &str, command: CommandCode, avps: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    build(command, 0, |message| {
        message.utf8(AvpCode::ORIGIN_HOST, host);
        message.utf8(AvpCode::ORIGIN_REALM, "example.net");
        avps(message);
    })
}

pub(crate) fn cer(host: &str) -> Vec<u8> {
    base(host, CommandCode::CAPABILITIES_EXCHANGE, |cer| {
        cer.address(AvpCode::HOST_IP_ADDRESS, Address::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        cer.u32(AvpCode::VENDOR_ID, 0);
        cer.utf8(AvpCode::PRODUCT_NAME, "test");
        cer.u32(AvpCode::AUTH_APPLICATION_ID, 4);
    })
}

pub(crate) fn dwr(host: &str) -> Vec<u8> {
    base(host, CommandCode::DEVICE_WATCHDOG, |_| {})
}

/// A CCR of about 500 octets.
pub(crate) fn ccr() -> Vec<u8> {
    build(CommandCode::CREDIT_CONTROL, 4, |ccr| {
        ccr.utf8(AvpCode::SESSION_ID, "pgw.example.net;1;2;gy");
        ccr.utf8(AvpCode::ORIGIN_HOST, "pgw.example.net");
        ccr.utf8(AvpCode::ORIGIN_REALM, "example.net");
        ccr.utf8(AvpCode::DESTINATION_REALM, "example.com");
        ccr.u32(AvpCode::AUTH_APPLICATION_ID, 4);
        ccr.utf8(AvpCode::SERVICE_CONTEXT_ID, "32251@3gpp.org");
        ccr.u32(AvpCode::CC_REQUEST_TYPE, 2);
        ccr.u32(AvpCode::CC_REQUEST_NUMBER, 1);
        ccr.octets(AvpCode::PROXY_STATE, &[7; 250]);
    })
}

/// `request` with these ids.
pub(crate) fn numbered(request: &[u8], id: u32) -> Vec<u8> {
    let mut request = request.to_vec();
    request[12..16].copy_from_slice(&id.to_be_bytes());
    request
}

/// One whole message.
pub(crate) async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let read = async {
        let mut message = vec![0; 4];
        stream.read_exact(&mut message).await.unwrap();
        let length = u32::from_be_bytes([0, message[1], message[2], message[3]]);
        message.resize(usize::try_from(length).unwrap(), 0);
        stream.read_exact(&mut message[4..]).await.unwrap();
        message
    };
    tokio::time::timeout(PATIENCE, read).await.expect("a message comes")
}

pub(crate) fn command(message: &[u8]) -> CommandCode {
    Message::parse(message).unwrap().header().command
}

pub(crate) fn id(message: &[u8]) -> u32 {
    Message::parse(message).unwrap().header().hop_by_hop
}

pub(crate) fn code(message: &[u8]) -> u32 {
    Message::parse(message).unwrap().find(AvpCode::RESULT_CODE).unwrap().u32().unwrap()
}

/// Whether the other side closes within the patience of the test; what it still sends is read away.
pub(crate) async fn closes(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut octets = [0; 4096];
    let read = async { while stream.read(&mut octets).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(PATIENCE, read).await.is_ok()
}
