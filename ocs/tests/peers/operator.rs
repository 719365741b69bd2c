//! An operator's client in another language, which learns the interface from the server by reflection.

use std::process::Command;
use std::time::Duration;

use crate::server::{Ocs, bounded, here, python_with, said, set_up, skip};

#[test]
fn a_client_in_python_needs_nothing_but_reflection() {
    set_up();
    let Some(python) = python_with("grpc_reflection") else {
        skip("grpcio", "grpcio is not installed (ocs/tests/peers/setup.sh says why)");
        return;
    };
    let ocs = Ocs::dev();
    assert!(ocs.health().status.success());
    let mut client = Command::new(python);
    client.arg(here().join("operator_client.py")).arg(ocs.grpc.to_string());
    let ran = bounded(&mut client, ocs.folder(), Duration::from_secs(40));
    assert!(ran.status.success(), "{}", said(&ran));
    ocs.stop_and_audit();
}
