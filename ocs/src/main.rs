//! The `ocs` binary: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use ocs::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match ocs::commands::run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ocs: {error}");
            ExitCode::from(2)
        }
    }
}
