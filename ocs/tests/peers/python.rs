//! python-diameter as a Gy client: an implementation that shares nothing with ours.

use std::process::Command;
use std::time::Duration;

use crate::server::{Ocs, bounded, here, python_with, said, set_up, skip};
use crate::tshark;

/// Every kind of request and answer of Gy, as another implementation of the standard writes and reads them; the
/// promises are in `gy_client.py`.
#[test]
fn another_implementation_is_charged_as_the_standard_says() {
    set_up();
    let Some(python) = python_with("diameter") else {
        skip("python-diameter", "python-diameter is not installed (ocs/tests/peers/setup.sh says why)");
        return;
    };
    let ocs = Ocs::dev();
    let record = ocs.folder().join("record");
    let mut client = Command::new(python);
    client.arg(here().join("gy_client.py")).arg(ocs.gy.port().to_string());
    client.args(["--peer", "ocs.example.org", "--realm", "example.org", "--record"]).arg(&record);
    client.arg("--pay").arg(ocs.pays_in());
    let ran = bounded(&mut client, ocs.folder(), Duration::from_secs(40));
    assert!(ran.status.success(), "{}", said(&ran));
    for subscriber in ["1", "11", "13", "20", "30"] {
        assert_eq!(ocs.micros(subscriber, "reserved"), 0, "subscriber {subscriber}");
    }
    // 15.00: 0.09 there and back, then 0.18 and 0.09.
    assert_eq!(ocs.micros("30", "balance"), 15_000_000 - 270_000);
    if tshark::is_there() {
        let recorded = std::fs::read_to_string(&record).unwrap();
        let messages: Vec<_> = recorded.lines().map(tshark::octets).collect();
        assert!(messages.len() > 25);
        tshark::decodes_without_complaint(ocs.folder(), &messages);
    }
    ocs.stop_and_audit();
}
