//! What each subcommand does. Data goes to stdout, messages to stderr; exit codes are stable: 0 done, 1 done with a
//! finding, 2 not done.

mod approval;
mod audit_log;
mod catalogue;
mod cdr;
mod change;
mod charges;
mod connection;
mod consumer;
mod control;
mod data;
mod explain;
mod group;
mod health;
mod notification;
mod operator;
mod period;
mod print;
mod rerate;
mod rerating;
mod serve;
mod session;
mod simulate;
mod subscriber;
mod tariff;
mod usage;
mod voucher;

use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::cli::{Cli, Command};
use crate::store::{OpenError, because};
use connection::{Connection, connect, said};

/// Runs a command.
///
/// # Errors
/// Why it could not be done, for people.
pub fn run(command: Command) -> Result<ExitCode, OpenError> {
    match command {
        Command::Serve(options) => serve::serve(&options),
        Command::Dev(options) => serve::dev(&options),
        Command::Import(options) => data::import(&options),
        Command::Tariff(command) => tariff::run(&command),
        Command::Period(command) => period::run(&command),
        Command::Rerate(options) => rerate::run(&options),
        Command::Audit(options) if options.live => control::reconcile(&options),
        Command::Audit(options) => data::audit(&options),
        Command::Traffic(options) => serve::traffic(&options),
        Command::Account(command) => operator::account(command),
        Command::Subscriber(command) => subscriber::run(command),
        Command::Group(command) => group::run(command),
        Command::Session(command) => session::run(command),
        Command::Auditlog(command) => audit_log::run(command),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ocs", &mut script);
            std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(because("completion"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Clock(command) => operator::clock(command),
        Command::Health(server) => health::health(&server),
        Command::Usage(command) => usage::run(command),
        Command::Cdr(command) => cdr::run(command),
        Command::Catalogue(command) => catalogue::run(command),
        Command::Voucher(command) => voucher::run(*command),
        Command::Approval(command) => approval::run(command),
        Command::Notification(command) => notification::run(command),
        Command::Rerating(command) => rerating::run(command),
        Command::Consumer(command) => consumer::run(command),
    }
}

/// Runs something that talks to a server.
fn remote<T>(work: impl Future<Output = Result<T, OpenError>>) -> Result<T, OpenError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(because("runtime"))?;
    runtime.block_on(work)
}

/// Micro-units as people write money.
fn micros(amount: i64) -> String {
    rating_engine::money::Money::from_micros(amount).to_string()
}

/// Hexadecimal digits.
fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Ready at SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()> + Send, OpenError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(because("signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(because("signals"))?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
