//! What an Open5GS SMF 2.7.7 really sent, octet for octet but for Event-Timestamp, which is set to now: a request as old as
//! the capture would be refused for its age.

use std::path::{Path, PathBuf};

use crate::server::{Ocs, skip};
use crate::tshark::octets;
use crate::wire::*;

/// Everything else of the configuration is default: the client names its own realm, and gives itself away.
const GY: &str = "origin_host = 'ocs.localdomain'\nserved_realms = ['localdomain']";
const TARIFF: &str = "
tariff: by-volume
version: 1
currency: EUR
rounding: {decimals: 4, mode: half_up, scope: event}
prices:
  - id: data
    service: data
    measure: total_octets
    rate: 0.02 / MB
    pulse: 1 kB
    grant: {default: 10 MB, floor: 1 MB, cap: 1 GB, validity: 30 min, threshold: 20%}
    finance: {tax_category: S, tax_included: true, ledger_code: \"4100\", revenue_rule: usage}
";
const SUBSCRIBER: &str =
    r#"{"subscriber":1,"account":1,"tariff":"by-volume","identifiers":["imsi-999700000000001","msisdn-821012345678"]}"#;

fn captures() -> Option<PathBuf> {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures/open5gs");
    if captures.is_dir() {
        return Some(captures);
    }
    skip("captures", "the messages captured from a real SMF are not beside this repository (shared/captures/open5gs)");
    None
}

fn server(balance: &str) -> Ocs {
    let account =
        format!(r#"{{"account":1,"currency":"EUR","buckets":[{{"id":"main","unit":"EUR","amount":"{balance}"}}]}}"#);
    Ocs::serve(GY, TARIFF, &account, SUBSCRIBER)
}

/// A captured message, as if it were sent now.
fn captured(file: &Path) -> Vec<u8> {
    let mut octets = octets(&std::fs::read_to_string(file).unwrap());
    let header = [&code::EVENT_TIMESTAMP.to_be_bytes()[..], &[MANDATORY, 0, 0, 12]].concat();
    if let Some(at) = octets.windows(8).position(|window| window == header) {
        octets[at + 8..at + 12].copy_from_slice(&ntp_now().to_be_bytes());
    }
    octets
}

/// Sends a captured message and returns the answer, which is for it.
fn replay(connection: &mut Connection, file: &Path) -> Answer {
    let request = captured(file);
    connection.send(&request);
    let answer = connection.hear().expect("closed instead of an answer");
    assert_eq!(answer.ids(), &request[12..20]);
    answer
}

/// What this client makes of a grant of nothing, or of no grant, is unlimited traffic: every success has one.
fn granted(answer: &Answer) -> u64 {
    assert_eq!((answer.result(), answer.service_results()), (2001, vec![2001]), "{answer:?}");
    let service = answer.services()[0];
    assert!(service.find(code::RATING_GROUP).is_none(), "nothing is repeated that was not said");
    assert!(service.find(code::VALIDITY_TIME).unwrap().number() > 0, "Validity-Time, to be asked again after a top-up");
    assert!(service.find(code::FINAL_UNIT_INDICATION).is_none(), "this client would end at once");
    let codes: Vec<_> = answer.avps.iter().map(|avp| avp.code).collect();
    assert_eq!(codes[0], code::SESSION_ID, "the client takes the last of Session-Id and Origin-Host for the host");
    let granted = answer.granted().unwrap();
    assert!(granted > 0);
    granted
}

fn threshold(answer: &Answer) -> Option<u32> {
    answer.services()[0].find(code::VOLUME_QUOTA_THRESHOLD).map(|avp| avp.number())
}

/// A session from capabilities exchange to disconnection: each grant is more than the constant megabyte that the client
/// names, and what it reported as uplink and downlink is what is paid.
#[test]
fn a_real_smf_is_served_from_beginning_to_end() {
    let Some(captures) = captures() else { return };
    let folder = captures.join("normal");
    let ocs = server("10.00");
    let mut smf = Connection::silent(ocs.gy, "smf.localdomain");
    assert_eq!(replay(&mut smf, &folder.join("00-smf-to-ocs-cer.hex")).result(), 2001);
    for file in ["02-smf-to-ocs-ccr-i.hex", "04-smf-to-ocs-ccr-u.hex", "06-smf-to-ocs-ccr-u.hex"] {
        let answer = replay(&mut smf, &folder.join(file));
        assert!(granted(&answer) >= 10_000_000, "{file}: one megabyte at a time is a request a megabyte");
        assert_eq!(threshold(&answer).map(u64::from), Some(granted(&answer) / 5), "{file}");
    }
    // An answer to a RAR that was never sent here.
    smf.send(&captured(&folder.join("09-smf-to-ocs-raa.hex")));
    assert_eq!(replay(&mut smf, &folder.join("10-smf-to-ocs-dwr.hex")).result(), 2001);
    assert_eq!(replay(&mut smf, &folder.join("12-smf-to-ocs-ccr-t.hex")).result(), 2001);
    assert_eq!(replay(&mut smf, &folder.join("14-smf-to-ocs-dpr.hex")).result(), 2001);
    // 240,000 up and 560,000 down twice, then 12,345: 1,613 kB at 0.02 a MB, rounded once.
    assert_eq!((ocs.micros("1", "balance"), ocs.micros("1", "reserved")), (10_000_000 - 32_300, 0));
    ocs.stop_and_audit();
}

/// The last slice comes without final units and without threshold; when it is used up, the answer is 4012, never a grant
/// of nothing; the termination settles what was used beyond. After a top-up the client is served again.
#[test]
fn a_real_smf_runs_out_of_money_and_comes_back() {
    let Some(captures) = captures() else { return };
    let folder = captures.join("final");
    let ocs = server("0.02");
    let mut smf = Connection::silent(ocs.gy, "smf.localdomain");
    assert_eq!(replay(&mut smf, &captures.join("normal/00-smf-to-ocs-cer.hex")).result(), 2001);
    let last = replay(&mut smf, &folder.join("02-smf-to-ocs-ccr-i.hex"));
    assert_eq!((granted(&last), threshold(&last)), (1_000_000, None), "all that 0.02 buys");
    let empty = replay(&mut smf, &folder.join("04-smf-to-ocs-ccr-u.hex"));
    assert_eq!((empty.result(), empty.service_results()), (2001, vec![4012]), "{empty:?}");
    assert!(empty.services()[0].find(code::GRANTED_SERVICE_UNIT).is_none());
    assert_eq!(replay(&mut smf, &folder.join("06-smf-to-ocs-ccr-t.hex")).result(), 2001);
    // Half a megabyte went through before the client stopped; it is owed.
    assert_eq!((ocs.micros("1", "balance"), ocs.micros("1", "reserved")), (-10_000, 0));

    ocs.top_up("1", "5.00");
    let again = replay(&mut smf, &captures.join("normal/02-smf-to-ocs-ccr-i.hex"));
    assert!(granted(&again) >= 10_000_000 && threshold(&again).is_some());
    assert_eq!(ocs.micros("1", "balance"), 4_990_000, "what was owed is paid first");
    ocs.stop_and_audit();
}
