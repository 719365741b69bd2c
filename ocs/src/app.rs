//! The composition root: configuration to a running system, and its end in good order.
//!
//! Order of the end: say NOT_SERVING, stop accepting, DPR to every peer, answer and flush, stop gRPC, drain the log, move
//! its CDRs, checkpoint, exit 0. A failed disk ends the process at once with the reason: nothing can be answered any more.

use std::future::Future;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cdr_export::{CdrConsumptionService, CdrExportService, ConsumeLimits, ExportLimits, ExportStats};
use diameter::validate::UnknownAvps;
use diameter::{Identity, Local, Timers};
use diameter_tcp::{Peers, Server, Stats};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use ocs_api::{Ceiling, ClockAccess, ConsumersService};
use rating_engine::ids::PartitionId;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::access::tls::{self, Tls};
use crate::access::{Callers, Gate};
use crate::asking::Asking;
use crate::clock::{Adjustment, Clock};
use crate::config::Config;
use crate::consumers::{Book, Care, Consumers};
use crate::control::ControlTotals;
use crate::disk::{Retention, Tending};
use crate::doors;
use crate::ending;
use crate::feed::StoreFeed;
use crate::grpc::CountCalls;
use crate::gy::{GyFront, GyHandler};
use crate::operations::Desk;
use crate::publishing::Publisher;
use crate::rerating::Rerater;
use crate::store::{self, Loaded, OpenError, Running, because};
use crate::tail::Tail;
use crate::telemetry::Telemetry;

/// How often silent sessions are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(100);
/// How often the metrics put what was recorded in order.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long gRPC may take to finish what it was asked before.
const GRPC_DRAIN: Duration = Duration::from_secs(2);
/// Buckets of latency histograms, seconds.
const SECONDS: &[f64] = &[
    0.000_002, 0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02,
    0.05, 0.1, 0.5, 1.0,
];
/// Buckets of batch sizes.
const ENTRIES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0];

/// A system whose ports are open and that is about to serve.
pub struct App {
    running: Running,
    server: Server<GyHandler>,
    stats: Arc<Stats>,
    gy: Vec<TcpListener>,
    grpc: TcpListener,
    tls: Option<Arc<Tls>>,
    gate: Gate,
    clock_access: ClockAccess,
    mark: watch::Receiver<u64>,
    partition: PartitionId,
    telemetry: Arc<Telemetry>,
    disk: Tending,
    consumers: Arc<Consumers>,
    asking: Arc<Asking>,
    publisher: Arc<Publisher>,
    rerater: Arc<Rerater>,
    control: Arc<ControlTotals>,
    folder: PathBuf,
    second_approver_above: Option<Ceiling>,
}

/// Installs the metrics exporter and serves it.
///
/// # Errors
/// When its port cannot be opened.
pub fn install_metrics(config: &Config) -> Result<(), OpenError> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Full("ocs_commit_entries".to_owned()), ENTRIES))
        .map_err(because("metrics"))?;
    let listener = diameter_tcp::listen(config.metrics.listen)
        .map_err(because(&format!("metrics.listen {}", config.metrics.listen)))?;
    let handle = builder.install_recorder().map_err(because("metrics"))?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            upkeep.run_upkeep();
        }
    });
    tokio::spawn(doors::serve_metrics(listener, move || handle.render()));
    Ok(())
}

impl App {
    /// Opens ports and starts what runs behind charging.
    ///
    /// # Errors
    /// What could not be opened.
    pub fn start(config: &Config, loaded: Loaded, clock: Arc<Clock>) -> Result<Self, OpenError> {
        let mut gy = Vec::new();
        for address in &config.gy.listen {
            gy.push(listen("gy.listen", *address)?);
        }
        let grpc = listen("grpc.listen", config.grpc.listen)?;
        let (host, durability) = (&config.gy.origin_host, config.data.durability);
        tracing::info!(gy = ?config.gy.listen, %host, grpc = %config.grpc.listen, metrics = %config.metrics.listen, ?durability, "listening");
        let telemetry = Arc::new(Telemetry::new());
        let tls = Tls::of(&config.grpc)?;
        let callers = Callers::of(config).map_err(because("access"))?;
        tracing::info!(tls = tls.is_some(), callers = callers.count(), insecure = config.grpc.insecure, "gRPC");
        let second_approver_above = callers.second_approver_above();
        let gate = Gate::new(callers, clock.clone(), telemetry.clone());
        let started = Clock::real().now().millis().div_euclid(1000);
        telemetry.started(started, loaded.found.replayed, config.data.log_tail_mib_max << 20);
        let clock_access = if clock.is_manual() { ClockAccess::Served } else { ClockAccess::Absent };
        let failed: balance_store::FailureHook = Arc::new(|error| {
            tracing::error!(%error, "the store failed; stopping, nothing unanswered was promised");
            ending::store_failed();
        });
        let running = store::run(config, loaded, clock.clone(), telemetry.clone(), failed.clone())?;
        let (charging, catalogue) = (running.charging.clone(), running.store.catalogue.clone());
        let publisher = Arc::new(Publisher::open(charging, catalogue, config.catalogue.four_eyes)?);
        let rerater = Arc::new(Rerater::new(&running, config.catalogue.four_eyes));
        let (edge, cdrs) = (&running.store.edge, running.store.cdrs.clone());
        let control = Arc::new(ControlTotals::open(edge, cdrs, running.partition)?);
        let durable = running.charging.journal.mark().clone();
        let (told, mark) = watch::channel(durable.get().get());
        durable.on_advance(move |lsn| {
            told.send_replace(lsn.get());
        });
        let retention = Arc::new(Retention::default());
        retention.keep_for(control.clone());
        let consumers = Consumers::open(&running, mark.clone(), retention.clone())?;
        let disk = Tending {
            data: config.data.clone(),
            cdrs: running.store.cdrs.clone(),
            retention,
            consumers: consumers.clone(),
            clock,
            telemetry: telemetry.clone(),
            failed,
        };
        let front = Arc::new(GyFront::new(running.charging.clone(), &config.gy).map_err(because("Gy"))?);
        let peers = Peers::default();
        let asking = Arc::new(Asking::start(identity(&config.gy), peers.clone(), front.ways(), telemetry.clone()));
        let server = Server::new(transport(config), peers, GyHandler::new(front), mark.clone());
        let stats = server.stats();
        let partition = PartitionId::new(config.data.partition);
        let folder = config.data.folder.clone();
        Ok(Self {
            running,
            server,
            stats,
            gy,
            grpc,
            tls,
            gate,
            clock_access,
            mark,
            partition,
            telemetry,
            disk,
            consumers,
            asking,
            publisher,
            rerater,
            control,
            folder,
            second_approver_above,
        })
    }

    /// Serves until `shutdown` is ready, then ends in good order.
    ///
    /// # Errors
    /// When gRPC cannot be served.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), OpenError> {
        let Self {
            running,
            server,
            stats,
            gy,
            grpc,
            tls,
            gate,
            clock_access,
            mark,
            partition,
            telemetry,
            disk,
            consumers,
            asking,
            publisher,
            rerater,
            control,
            folder,
            second_approver_above,
        } = self;
        let (stop, stopping) = watch::channel(false);
        let ended = |mut stopping: watch::Receiver<bool>| async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        let desk = Desk::new(&running, mark, publisher.clone(), rerater.clone(), control.clone());
        let desk = desk.asking(asking).vouchers_in(&folder);
        let desk = Arc::new(desk.second_approver_above(second_approver_above));
        let feed = Arc::new(StoreFeed::new(running.store.cdrs.clone(), partition));
        let export = CdrExportService::new(feed.clone(), ExportLimits::default());
        let streams = export.stats();
        let book = Arc::new(Book(consumers.clone()));
        let consumption = CdrConsumptionService::new(feed, book, ConsumeLimits::default(), streams.clone());
        let care = ConsumersService::new(Arc::new(Care(consumers.clone())));
        let turned_away = gate.turned_away();
        let guarded = doors::grpc_server().layer(CountCalls::new(telemetry.clone())).layer(gate);
        let (router, health) = ocs_api::router(guarded, desk, clock_access).await.map_err(because("gRPC"))?;
        let incoming = doors::admitted(grpc, doors::CONNECTIONS_MAX);
        let incoming = tls::lines(incoming, tls, turned_away);
        let router = router.add_service(export.into_server()).add_service(consumption.into_server());
        let router = router.add_service(care.into_server());
        let grpc_server = router.serve_with_incoming_shutdown(incoming, ended(stopping.clone()));
        let grpc_server = tokio::spawn(grpc_server);
        let gy_server = tokio::spawn(server.serve(gy, ended(stopping.clone())));
        let watcher = tokio::spawn(watch_stats(
            stats,
            streams,
            telemetry,
            running.charging.clone(),
            running.store.cdrs.clone(),
            running.tail.clone(),
        ));
        let over = Arc::new(AtomicBool::new(false));
        let expiry = expiry_thread(&running, publisher, over.clone())?;
        let disk = disk.start(over.clone())?;
        let rerating = rerater.clone();
        let rerating = std::thread::Builder::new().name("rerating".to_owned()).spawn(move || rerating.run());
        let rerating = rerating.map_err(because("rerating"))?;
        let (totals, charging) = (control.clone(), running.charging.clone());
        let adding = std::thread::Builder::new().name("totals".to_owned()).spawn(move || totals.run(&charging));
        let adding = adding.map_err(because("control totals"))?;
        health.set_service_status("", tonic_health_serving()).await;
        tracing::info!("serving");
        tell_service_manager("READY=1");

        shutdown.await;
        tracing::info!("draining");
        tell_service_manager("STOPPING=1");
        health.set_service_status("", tonic_health_not_serving()).await;
        stop.send_replace(true);
        consumers.stop();
        let _ = gy_server.await;
        // Streams that follow never end by themselves, and what is asked must not outlive what it is asked of.
        let cut = grpc_server.abort_handle();
        if tokio::time::timeout(GRPC_DRAIN, grpc_server).await.is_err() {
            cut.abort();
        }
        watcher.abort();
        over.store(true, Ordering::Release);
        rerater.stop();
        control.stop();
        let stopped = tokio::task::spawn_blocking(move || {
            let _ = expiry.join();
            let _ = disk.join();
            let _ = rerating.join();
            let _ = adding.join();
            running.shutdown();
        });
        stopped.await.map_err(because("shutdown"))?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// What to do about an address that cannot be listened at.
const LISTEN_HINTS: [(ErrorKind, &str); 3] = [
    (ErrorKind::AddrInUse, "; another process has it: stop that one, or choose another address"),
    (ErrorKind::AddrNotAvailable, "; no interface of this machine has that address"),
    (ErrorKind::PermissionDenied, "; ports below 1024 need CAP_NET_BIND_SERVICE"),
];

fn listen(member: &str, address: std::net::SocketAddr) -> Result<TcpListener, OpenError> {
    diameter_tcp::listen(address).map_err(|error| {
        let hint = LISTEN_HINTS.iter().find(|(kind, _)| *kind == error.kind()).map_or("", |(_, hint)| hint);
        OpenError(format!("{member} {address}: {error}{hint}"))
    })
}

/// Tells systemd where we are, when it wants to know (`Type=notify`; sd_notify(3)).
fn tell_service_manager(state: &str) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let told = UnixDatagram::unbound().and_then(|socket| match address.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.send_to_addr(state.as_bytes(), &SocketAddr::from_abstract_name(name)?),
        None => socket.send_to(state.as_bytes(), &address),
    });
    if let Err(error) = told {
        tracing::warn!(%error, socket = %address.display(), "the service manager could not be told: {state}");
    }
}

fn tonic_health_serving() -> tonic_health::ServingStatus {
    tonic_health::ServingStatus::Serving
}

fn tonic_health_not_serving() -> tonic_health::ServingStatus {
    tonic_health::ServingStatus::NotServing
}

/// Who we are to Diameter peers.
pub(crate) fn identity(gy: &crate::config::Gy) -> Identity {
    // Sessions survive our restarts: the marker never grows (RFC 6733 8.16).
    Identity { host: gy.origin_host.clone(), realm: gy.origin_realm.clone(), state: 1 }
}

fn transport(config: &Config) -> diameter_tcp::Config {
    let allowed = config.gy.peers.iter().filter_map(|peer| peer.host.clone());
    let unknown_avps = if config.gy.refuse_unknown_mandatory_avps {
        UnknownAvps::Reject { tolerated_vendors: Vec::new() }
    } else {
        UnknownAvps::Ignore
    };
    diameter_tcp::Config {
        local: Local {
            identity: identity(&config.gy),
            served_realms: config.gy.served_realms.clone(),
            vendor: 0,
            product: config.gy.product_name.clone(),
            firmware: 1,
            allowed_peers: config.gy.only_listed_peers.then(|| allowed.collect()),
            unknown_avps,
            message_octets_max: config.gy.message_octets_max,
            timers: Timers { watchdog: Duration::from_secs(config.gy.watchdog_seconds), ..Timers::default() },
        },
        limits: diameter_tcp::Limits {
            connections_max: config.limits.connections_max,
            ..diameter_tcp::Limits::default()
        },
    }
}

/// Publishes what is due and ends silent sessions as time passes; a manual clock is served by whoever moves it.
fn expiry_thread(
    running: &Running,
    publisher: Arc<Publisher>,
    over: Arc<AtomicBool>,
) -> Result<std::thread::JoinHandle<()>, OpenError> {
    let charging = running.charging.clone();
    let run = move || {
        while !over.load(Ordering::Acquire) {
            std::thread::sleep(EXPIRY_INTERVAL);
            if charging.clock.is_manual() {
                continue;
            }
            let Adjustment { behind, step } = charging.clock.adjust();
            charging.telemetry.clock(behind, step != 0);
            if step > 0 {
                tracing::error!(step_millis = step, "the system clock stepped forward; validity and expiry follow it");
            } else if step < 0 {
                tracing::error!(
                    step_millis = step,
                    behind_millis = behind,
                    "the system clock stepped back, or is behind what the log says; time goes on without it"
                );
            }
            publisher.publish_due(charging.clock.now());
            charging.expire(charging.clock.now());
        }
    };
    std::thread::Builder::new().name("expiry".to_owned()).spawn(run).map_err(because("expiry"))
}

/// Exports once a second what the transport and the store count themselves.
async fn watch_stats(
    stats: Arc<Stats>,
    streams: Arc<ExportStats>,
    telemetry: Arc<Telemetry>,
    charging: Arc<crate::charging::Charging>,
    cdrs: Arc<balance_store::CdrStore>,
    tail: Arc<Tail>,
) {
    let (mut before, mut forgotten) = ([0; 7], 0);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = [
            stats.answers_dropped_late.get(),
            stats.connections_refused.get() + stats.connections_rejected.get(),
            stats.protocol_errors.get() + stats.requests_refused.get(),
            stats.answers_dropped_closed.get(),
            stats.connections_stalled.get(),
            stats.requests_unanswered.get(),
            streams.cdrs_sent(),
        ];
        let [late, refused, errors, lost, stalled, unanswered, sent] = [0, 1, 2, 3, 4, 5, 6].map(|place: usize| {
            now.get(place).copied().unwrap_or(0).saturating_sub(before.get(place).copied().unwrap_or(0))
        });
        telemetry.late_answers(late);
        telemetry.refused_connections(refused);
        telemetry.protocol_errors(errors);
        telemetry.losses(lost, stalled, unanswered);
        telemetry.held(stats.octets_held.get());
        before = now;
        let remembered = charging.remembered();
        telemetry.remembered(&remembered);
        if remembered.forgotten_early > forgotten {
            let sessions = remembered.forgotten_early - forgotten;
            tracing::error!(
                sessions,
                "ended sessions were forgotten early: a repeat of their requests would be charged again; raise limits.ended_sessions_max \
                 or limits.archived_sessions_max"
            );
            forgotten = remembered.forgotten_early;
        }
        let newest = cdrs.durable().position;
        telemetry.cdr_streams(streams.streams_open(), sent, streams.lag(newest));
        let tail = tail.octets(|| charging.journal.mark().get());
        telemetry.positions(charging.journal.mark().get().get(), newest.get(), tail);
    }
}
