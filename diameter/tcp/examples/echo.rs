//! What the transport costs by itself: one thread serves, one asks, nobody charges.
//!
//! `cargo run --release -p diameter-tcp --example echo -- [connections] [in flight on each] [seconds]`

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use diameter::{
    ApplicationId, AvpCode, CommandCode, Flags, Header, Identity, Local, MessageWriter, Timers, UnknownAvps,
};
use diameter_tcp::echo::EchoHandler;
use diameter_tcp::{Client, Config, Limits, Peers, Server, listen};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Octets of a request, about.
const REQUEST_OCTETS: usize = 500;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u32| arguments.next().map_or(Ok(default), |text| text.parse());
    let (connections, in_flight, seconds) = (number(4)?, number(64)?, number(5)?);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(async { listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))) })?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        let (_mark, marked) = watch::channel(0);
        let server = Server::new(config(), Peers::new(), EchoHandler::new(config().local.identity), marked);
        runtime.block_on(server.serve(vec![listener], std::future::pending()));
    });

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answers = runtime.block_on(async {
        let mut loops = JoinSet::new();
        for connection in 0..connections {
            let host = format!("pgw{connection}.example.net");
            let client = Client::connect(address, Identity { host, realm: "example.net".into(), state: 0 }).await?;
            loops.spawn(ask(client, in_flight, Duration::from_secs(seconds.into())));
        }
        let mut answers = 0;
        while let Some(done) = loops.join_next().await {
            answers += done.map_err(std::io::Error::other)??;
        }
        Ok::<u64, std::io::Error>(answers)
    })?;
    println!(
        "{connections} connections, {in_flight} in flight on each, {} octets: {} answers a second",
        request().len(),
        answers / u64::from(seconds)
    );
    Ok(())
}

/// A closed loop: each answer is followed by the next request, those of one read together.
async fn ask(client: Client, in_flight: u32, time: Duration) -> std::io::Result<u64> {
    let (mut sender, mut receiver) = client.split();
    let (request, start) = (request(), Instant::now());
    for _ in 0..in_flight {
        sender.queue(&request);
    }
    let mut answers = 0;
    while start.elapsed() < time {
        sender.flush().await?;
        receiver
            .read(|_, _| {
                answers += 1;
                sender.queue(&request);
            })
            .await?;
    }
    Ok(answers)
}

fn request() -> Vec<u8> {
    let mut octets = Vec::new();
    let flags = Flags::REQUEST.union(Flags::PROXIABLE);
    let (command, application) = (CommandCode::CREDIT_CONTROL, ApplicationId::CREDIT_CONTROL);
    let header = Header { flags, command, application, hop_by_hop: 0, end_to_end: 0 };
    let mut request = MessageWriter::new(&mut octets, &header);
    request.utf8(AvpCode::SESSION_ID, "pgw.example.net;3970123456;17;gy");
    request.utf8(AvpCode::ORIGIN_HOST, "pgw.example.net");
    request.utf8(AvpCode::ORIGIN_REALM, "example.net");
    request.utf8(AvpCode::DESTINATION_REALM, "example.com");
    request.u32(AvpCode::AUTH_APPLICATION_ID, 4);
    request.utf8(AvpCode::SERVICE_CONTEXT_ID, "32251@3gpp.org");
    request.u32(AvpCode::CC_REQUEST_TYPE, 2);
    request.u32(AvpCode::CC_REQUEST_NUMBER, 1);
    for (kind, data) in [(0, "491701234567"), (1, "262010000000001")] {
        request.grouped(AvpCode::SUBSCRIPTION_ID, |id| {
            id.u32(AvpCode::SUBSCRIPTION_ID_TYPE, kind);
            id.utf8(AvpCode::SUBSCRIPTION_ID_DATA, data);
        });
    }
    request.grouped(AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL, |service| {
        service.grouped(AvpCode::REQUESTED_SERVICE_UNIT, |_| {});
        service.grouped(AvpCode::USED_SERVICE_UNIT, |used| {
            used.u32(AvpCode::CC_TIME, 60);
            used.u64(AvpCode::CC_INPUT_OCTETS, 1 << 20);
            used.u64(AvpCode::CC_OUTPUT_OCTETS, 3 << 20);
        });
        service.u32(AvpCode::RATING_GROUP, 100);
    });
    request.grouped(AvpCode::SERVICE_INFORMATION, |service| {
        service.grouped(AvpCode::PS_INFORMATION, |ps| {
            ps.u32(AvpCode::TGPP_CHARGING_ID, 0x0a0b_0c0d);
            ps.utf8(AvpCode::CALLED_STATION_ID, &"internet".repeat(6));
        });
    });
    let _ = request.finish();
    debug_assert!(octets.len().abs_diff(REQUEST_OCTETS) < 50, "{}", octets.len());
    octets
}

fn config() -> Config {
    let local = Local {
        identity: Identity { host: "ocs01.example.com".into(), realm: "example.com".into(), state: 1 },
        served_realms: Vec::new(),
        vendor: 0,
        product: "echo".into(),
        firmware: 1,
        allowed_peers: None,
        unknown_avps: UnknownAvps::default(),
        message_octets_max: 1 << 16,
        timers: Timers::default(),
    };
    Config { local, limits: Limits::default() }
}
