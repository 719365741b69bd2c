//! `ocs health`, as a probe runs it.

use crate::server::Ocs;

#[test]
fn a_probe_is_told_whether_a_server_serves_by_its_exit_code() {
    let ocs = Ocs::dev();
    let asked = ocs.health();
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    assert_eq!(asked.stdout, b"serving\n");
    let nobody = Ocs::health_of("http://127.0.0.1:1");
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");
    assert!(nobody.stdout.is_empty(), "messages are for stderr: {nobody:?}");
    ocs.stop_and_audit();
}
