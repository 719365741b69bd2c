//! The `ocs` binary: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use ocs::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How the standard library begins to say that nobody reads what is printed.
const UNREAD: &str = "failed printing to stdout";

fn main() -> ExitCode {
    // `ocs ... | head` has seen enough: that is nobody's error.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(|text| text.starts_with(UNREAD)) {
            std::process::exit(0);
        }
        usual(panic);
    }));
    match ocs::commands::run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ocs: {error}");
            ExitCode::from(2)
        }
    }
}
