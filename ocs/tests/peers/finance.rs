//! The program of docs/finance.md that proves a copy of all CDRs, written in another language against nothing but reflection.

use std::process::Command;
use std::time::Duration;

use crate::server::{BINARY, Ocs, bounded, here, python_with, said, set_up, skip};

#[test]
fn a_program_in_python_proves_that_it_has_read_every_cdr() {
    set_up();
    let Some(python) = python_with("grpc_reflection") else {
        skip("grpcio", "grpcio is not installed (ocs/tests/peers/setup.sh says why)");
        return;
    };
    let ocs = Ocs::dev();
    let mut load = Command::new(BINARY);
    load.args(["traffic", "--seconds", "1", "--rate", "2000", "--subscribers", "10", "--to", &ocs.gy.to_string()]);
    let load = bounded(&mut load, ocs.folder(), Duration::from_secs(20));
    assert!(load.status.success(), "{}", said(&load));
    let mut check = Command::new(python);
    check.arg(here().join("../../../docs/examples/check_cdrs.py")).arg(ocs.grpc.to_string());
    let ran = bounded(&mut check, ocs.folder(), Duration::from_secs(40));
    let text = said(&ran);
    assert!(ran.status.success(), "{text}");
    let count = text.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).max();
    assert!(count.is_some_and(|count| count > 100) && text.contains("all agree"), "{text}");
    ocs.stop_and_audit();
}
