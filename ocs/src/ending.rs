//! The end of a process whose disk has failed: soon, whatever hangs.

use std::time::Duration;

/// Exit code when the disk failed under a running system.
pub const EXIT_STORE_FAILED: i32 = 70;

/// How long exit handlers may take: RocksDB's touch the disk that has just failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends the process because its store failed.
pub fn store_failed() {
    end_within(PATIENCE, || std::process::exit(EXIT_STORE_FAILED));
}

/// Ends the process by `exit`, or by force when that takes too long.
pub fn end_within(patience: Duration, exit: impl FnOnce()) {
    let force = move || {
        std::thread::sleep(patience);
        std::process::abort();
    };
    if std::thread::Builder::new().name("ending".to_owned()).spawn(force).is_err() {
        // Nobody would be there to end a process that hangs.
        std::process::abort();
    }
    exit();
}
