//! `ocs period`: which accounting periods there are, and closing them (R43).

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use rating_engine::periods::Periods;

use super::data::config_for;
use crate::catalogue;
use crate::cli::PeriodCommand;
use crate::clock::Clock;
use crate::import::DocumentRecord;
use crate::setup::Filling;
use crate::store::{self, Loaded, OpenError, because};

/// Runs a subcommand.
pub(super) fn run(command: &PeriodCommand) -> Result<ExitCode, OpenError> {
    match command {
        PeriodCommand::Show { data } => {
            let loaded = store::load(&config_for(data), Clock::real().now())?;
            print(&*kept(&loaded, data)?);
            Ok(ExitCode::SUCCESS)
        }
        PeriodCommand::Close { until, data } => close(until, data),
    }
}

fn kept(loaded: &Loaded, data: &Path) -> Result<Arc<Periods>, OpenError> {
    loaded.store.catalogue.periods().ok_or_else(|| {
        OpenError(format!(
            "{} keeps no accounting periods; import some with `ocs import --catalogue`, e.g. docs/examples/accounting.yaml",
            data.display()
        ))
    })
}

/// Says the next version of the periods, in which more of them are closed.
fn close(until: &str, data: &Path) -> Result<ExitCode, OpenError> {
    let (config, clock) = (config_for(data), Arc::new(Clock::real()));
    let loaded = store::load(&config, clock.now())?;
    let periods = kept(&loaded, data)?;
    let source = catalogue::closing(&periods, until, clock.now()).map_err(because("--until"))?;
    let document = catalogue::parse(&source).map_err(because("--until"))?;
    let mut filling = Filling::over(&config, loaded, clock)?;
    let done = filling.document(&DocumentRecord { document, source: source.into() });
    let now = filling.running().store.catalogue.periods();
    filling.finish();
    done?;
    now.iter().for_each(|periods| print(periods));
    Ok(ExitCode::SUCCESS)
}

fn print(periods: &Periods) {
    let cycle = periods.cycle();
    println!("accounting periods   {} from {}, {}", cycle.period, cycle.anchor, cycle.zone.name());
    println!("closed               before {}", periods.closed_until());
    println!("oldest that is open  {} to {}", periods.closed_until(), periods.end(periods.closed_until()));
}
