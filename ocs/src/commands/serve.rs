//! `ocs serve`, `ocs dev`, `ocs traffic`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;

use crate::app::{App, install_metrics};
use crate::cli;
use crate::clock::Clock;
use crate::config::{Config, Durability};
use crate::setup::{Filling, has_demo};
use crate::store::{self, Loaded, OpenError, because};

fn start_logs(config: &Config) -> Result<(), OpenError> {
    let filter = EnvFilter::try_new(&config.logs.filter).map_err(because("logs.filter"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Colours are for people; what a service manager keeps is plain.
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    let installed = if config.logs.format == "json" { builder.json().try_init() } else { builder.try_init() };
    installed.map_err(because("logs"))
}

/// `ocs serve`.
pub(super) fn serve(options: &cli::Serve) -> Result<ExitCode, OpenError> {
    let config = Config::read(&options.config).map_err(|error| OpenError(error.to_string()))?;
    if options.check_config {
        crate::access::tls::Tls::of(&config.grpc)?;
        println!("{}: good", options.config.display());
        return Ok(ExitCode::SUCCESS);
    }
    start_logs(&config)?;
    let clock = Arc::new(Clock::real());
    let loaded = load(&config, &clock)?;
    run(&config, loaded, clock)
}

/// `ocs dev`.
pub(super) fn dev(options: &cli::Dev) -> Result<ExitCode, OpenError> {
    let mut config = Config::default();
    config.data.folder.clone_from(&options.data);
    config.data.durability = if options.no_fsync { Durability::Os } else { Durability::Fsync };
    config.gy.listen = vec![options.gy];
    config.grpc.listen = options.grpc;
    config.metrics.listen = options.metrics;
    config.limits.ended_sessions_max = options.ended_sessions;
    config.limits.ended_sessions_kept = options.ended_sessions_kept;
    config.data.checkpoint_seconds = options.checkpoint_seconds;
    config.catalogue.four_eyes = !options.no_four_eyes;
    for (name, address) in [("--gy", options.gy), ("--grpc", options.grpc), ("--metrics", options.metrics)] {
        if !address.ip().is_loopback() {
            return Err(OpenError(format!("{name}: `ocs dev` stays on loopback; use `ocs serve` for {address}")));
        }
    }
    config.check().map_err(|error| OpenError(error.to_string()))?;
    if options.quiet {
        config.logs.filter = "warn".to_owned();
    }
    start_logs(&config)?;
    let real = Clock::real();
    let clock = Arc::new(match options.clock {
        cli::ClockKind::Real => real,
        cli::ClockKind::Manual => Clock::manual(real.now()),
    });
    let began = clock.now();
    let mut loaded = load(&config, &clock)?;
    if clock.is_manual() {
        // What is stored may be of a time that a clock of before was moved to: go on from there, deadlines too.
        let last = store::last_time(&loaded)?;
        if clock.set(last.max(clock.now())).is_ok_and(|now| now > began) {
            drop(loaded);
            loaded = load(&config, &clock)?;
        }
        tracing::info!(now = %clock.now(), "the clock stands until `ocs clock advance` or `ocs clock set`");
    }
    if !has_demo(&loaded, options.subscribers)? {
        // Over what is there is harmless: it is left alone.
        let mut filling = Filling::over(&config, loaded, Arc::new(Clock::real()))?;
        filling.demo(options.subscribers, |_| {})?;
        filling.demo_holders()?;
        let written = filling.finish();
        tracing::info!(folder = %options.data.display(), written.subscribers, written.tariffs, "made demo data");
        loaded = load(&config, &clock)?;
    }
    if !options.quiet {
        eprintln!(
            "Gy      {}   (origin host {}, realm {})\ngRPC    {}\nmetrics http://{}/metrics\ndata    {}\nStop with Ctrl-C.",
            options.gy,
            config.gy.origin_host,
            config.gy.origin_realm,
            options.grpc,
            options.metrics,
            options.data.display()
        );
    }
    run(&config, loaded, clock)
}

fn load(config: &Config, clock: &Clock) -> Result<Loaded, OpenError> {
    crate::files::make_room(config)?;
    let loaded = store::load(config, clock.now())?;
    let found = loaded.found;
    tracing::info!(
        records = found.records,
        replayed = found.replayed,
        torn_tail = found.torn_tail,
        last_lsn = found.last.get(),
        took_ms = u64::try_from(found.took.as_millis()).unwrap_or(u64::MAX),
        "loaded"
    );
    Ok(loaded)
}

fn run(config: &Config, loaded: Loaded, clock: Arc<Clock>) -> Result<ExitCode, OpenError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(because("runtime"))?;
    runtime.block_on(async {
        // Before there is a port to be seen: whoever finds it open may ask it to end in good order.
        let stop = super::stop_signal()?;
        install_metrics(config)?;
        let app = App::start(config, loaded, clock)?;
        app.serve(stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// `ocs traffic`.
pub(super) fn traffic(options: &cli::Traffic) -> Result<ExitCode, OpenError> {
    let report = crate::traffic::run(options).map_err(because("traffic"))?;
    println!("{report}");
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
