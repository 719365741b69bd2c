//! A process whose store has failed ends, also when its exit handlers hang.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// Says to the test, started once more as a process of its own, that it is the one to end.
const CHILD: &str = "OCS_TEST_ENDS";

#[test]
fn an_exit_that_hangs_is_forced() {
    if std::env::var_os(CHILD).is_some() {
        ocs::ending::end_within(Duration::from_millis(200), || std::thread::sleep(Duration::from_secs(60)));
        return;
    }
    let began = Instant::now();
    let mut child = Command::new(std::env::current_exe().unwrap());
    let status = child.args(["--exact", "an_exit_that_hangs_is_forced"]).env(CHILD, "1").status().unwrap();
    assert_eq!(status.signal(), Some(6), "{status}");
    assert!(began.elapsed() < Duration::from_secs(30));
}
