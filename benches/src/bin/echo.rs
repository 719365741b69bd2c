//! The references that `ocs` is measured beside: an answerer on the same transport that only echoes, and the same with one
//! append and one fdatasync per batch of as many octets as `ocs` logs ("synced echo").
//!
//! `echo LISTEN` or `echo LISTEN FOLDER OCTETS [os]`. Ends after `ECHO_SECONDS` (default 120).

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance_store::{Durability, Journal, JournalHooks, JournalOptions, LogOptions, RealDisk, SegmentLog};
use diameter::{Identity, Local, Message, PeerFacts, Timers, validate};
use diameter_tcp::echo::EchoHandler;
use diameter_tcp::{Handled, Handler, Peers, Server};
use tokio::sync::watch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Echoes, after appending octets to a log where there is one.
#[derive(Clone)]
struct Reference {
    echo: EchoHandler,
    log: Option<(Arc<Journal>, Arc<[u8]>)>,
}

impl Handler for Reference {
    fn handle(&mut self, peer: &PeerFacts, request: &Message<'_>, now: Instant, out: &mut Vec<u8>) -> Handled {
        let handled = self.echo.handle(peer, request, now, out);
        let Some((journal, octets)) = &self.log else { return handled };
        let appended = journal.append(|entry| entry.put(octets));
        Handled::Answer { lsn: appended.lsn, deadline: None }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let listen: SocketAddr = arguments.first().ok_or("usage: echo LISTEN [FOLDER OCTETS [os]]")?.parse()?;
    let seconds = std::env::var("ECHO_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(120);
    let identity = Identity { host: "ocs.example.org".to_owned(), realm: "example.org".to_owned(), state: 1 };
    let (told, mark) = watch::channel(0u64);
    let log = match (arguments.get(1), arguments.get(2)) {
        (Some(folder), Some(octets)) => {
            let durability =
                if arguments.get(3).is_some_and(|mode| mode == "os") { Durability::Os } else { Durability::Fsync };
            let options = LogOptions { durability, spares_max: 32, ..LogOptions::default() };
            let (log, _) = SegmentLog::open(Arc::new(RealDisk), Path::new(folder), options)?;
            let log: Arc<dyn balance_store::Log> = Arc::new(log);
            let hooks = JournalHooks::new(Arc::new(|error| {
                eprintln!("echo: {error}");
                std::process::exit(1);
            }));
            let journal = Arc::new(Journal::start(log.clone(), JournalOptions::default(), hooks)?);
            journal.mark().on_advance(move |lsn| {
                told.send_replace(lsn.get());
            });
            // What the CDR mover does for `ocs`: spare segments, and forgetting what is old.
            let marked = journal.mark().clone();
            std::thread::spawn(move || {
                loop {
                    std::thread::sleep(Duration::from_millis(50));
                    let _ = log.tend();
                    if log.tail_octets() > 256 << 20 {
                        let _ = log.cut_below(marked.get());
                    }
                }
            });
            Some((journal, vec![0x5a; octets.parse()?].into()))
        }
        _ => None,
    };
    let config = diameter_tcp::Config {
        local: Local {
            identity: identity.clone(),
            served_realms: Vec::new(),
            vendor: 0,
            product: "echo".to_owned(),
            firmware: 1,
            allowed_peers: None,
            unknown_avps: validate::UnknownAvps::Reject { tolerated_vendors: Vec::new() },
            message_octets_max: 64 << 10,
            timers: Timers::default(),
        },
        limits: diameter_tcp::Limits::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = diameter_tcp::listen(listen)?;
        let server = Server::new(config, Peers::default(), Reference { echo: EchoHandler::new(identity), log }, mark);
        server.serve(vec![listener], tokio::time::sleep(Duration::from_secs(seconds))).await;
        Ok::<(), std::io::Error>(())
    })?;
    Ok(())
}
