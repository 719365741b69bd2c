//! tshark as a judge of everything we send.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use diameter::Identity;
use diameter::gy::ask::{Addressee, Ask, Scope, encode};
use rating_engine::ids::{RatingGroup, ServiceId, SessionId};

use crate::bad_input;
use crate::server::{Ocs, said, set_up, skip};
use crate::wire::*;

/// Defects that their answers have to repeat outside Failed-AVP too, so that tshark finds them there; and a group that
/// is no group, given back as it came.
const REPEATED: [&str; 5] = [
    "a command nobody knows",
    "CC-Request-Type 9",
    "CC-Request-Type 0",
    "a Session-Id with a zero octet",
    "an empty Session-Id",
];

/// Whether tshark can be asked.
pub(crate) fn is_there() -> bool {
    let works = |program| Command::new(program).arg("--version").output().is_ok_and(|ran| ran.status.success());
    works("tshark") && works("text2pcap")
}

/// Octets written as hexadecimal digits.
pub(crate) fn octets(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Asserts that tshark finds one whole Diameter message in each, knows every AVP in it and has nothing to say about any,
/// but for what stands inside Failed-AVP: that is the client's own defect, given back (RFC 6733 7.5).
pub(crate) fn decodes_without_complaint(folder: &Path, messages: &[Vec<u8>]) {
    let (dump, capture) = (folder.join("messages.txt"), folder.join("messages.pcap"));
    let mut text = String::new();
    for message in messages {
        for (line, octets) in message.chunks(16).enumerate() {
            write!(text, "{:06x}", line * 16).unwrap();
            octets.iter().for_each(|octet| write!(text, " {octet:02x}").unwrap());
            text.push('\n');
        }
        text.push('\n');
    }
    std::fs::write(&dump, text).unwrap();
    // As SCTP chunks, so that one packet is one message, whatever tshark thinks of TCP sequence numbers.
    let converted =
        Command::new("text2pcap").args(["-q", "-S", "3868,3868,46"]).arg(&dump).arg(&capture).output().unwrap();
    assert!(converted.status.success(), "{}", said(&converted));
    let decoded = Command::new("tshark")
        .args(["-r".as_ref(), capture.as_os_str()])
        .args(["-T", "pdml", "-d", "sctp.port==3868,diameter"])
        .output()
        .unwrap();
    assert!(decoded.status.success(), "{}", said(&decoded));
    let decoded = String::from_utf8_lossy(&decoded.stdout);
    let packets: Vec<_> = decoded.split("<packet>").skip(1).collect();
    assert_eq!(packets.len(), messages.len());
    let mut complaints = BTreeMap::new();
    for (at, packet) in packets.iter().enumerate() {
        if packet.matches("<proto name=\"diameter\"").count() != 1 {
            complaints.insert(at, "not one Diameter message".to_owned());
        }
        for line in without_failed_avp(packet).lines() {
            let bad = ["Unknown", "_ws.malformed", "_ws.expert\"", "Malformed", "Truncated"];
            if bad.iter().any(|word| line.contains(word)) {
                complaints.entry(at).or_default().push_str(line.trim());
            }
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// The lines of a packet's Diameter layer that are not inside a Failed-AVP.
fn without_failed_avp(packet: &str) -> String {
    let mut kept = String::new();
    let (mut depth, mut inside) = (0_i32, None);
    let start = packet.find("<proto name=\"diameter\"").unwrap_or(packet.len());
    for line in packet[start..].lines() {
        let opens = line.trim_start().starts_with("<field") || line.trim_start().starts_with("<proto");
        if inside.is_none() && opens && line.contains("Failed-AVP(279)") {
            inside = Some(depth);
        }
        if inside.is_none() {
            kept.push_str(line);
            kept.push('\n');
        }
        if opens && !line.trim_end().ends_with("/>") {
            depth += 1;
        } else if line.trim_start().starts_with("</") {
            depth -= 1;
            if inside == Some(depth) {
                inside = None;
            }
        }
    }
    kept
}

/// What clients are asked, in every form.
fn asked() -> Vec<Vec<u8>> {
    let own = Identity { host: "ocs.example.org".into(), realm: "example.org".into(), state: 1 };
    let scope = Scope { rating_group: Some(RatingGroup::new(7)), service: Some(ServiceId::new(8)) };
    let names: [&[u8]; 2] = [b"pgw;1", b"pgw;1\0\0\0\0\0\0\0\0\x09"];
    let asks = [Ask::Reauthorise(Scope::default()), Ask::Reauthorise(scope), Ask::Abort];
    let each = |name: &[u8], ask| {
        let session = SessionId::new(name);
        let to = Addressee { session: &session, host: "pgw.example.net", realm: "example.net" };
        let mut request = Vec::new();
        encode(&mut request, ask, &to, &own).unwrap();
        request
    };
    names.into_iter().flat_map(|name| asks.map(|ask| each(name, ask))).collect()
}

/// Every answer to every defect, the answers to a session with and without a rating group, an event at command level and
/// goodbye, and what we ask clients, are messages that Wireshark's dictionary and rules have nothing against.
#[test]
fn wireshark_has_nothing_to_say_about_what_we_send() {
    set_up();
    if !is_there() {
        skip("tshark", "tshark and text2pcap are not installed (ocs/tests/peers/setup.sh says why)");
        return;
    }
    let ocs = Ocs::dev();
    let mut connection = Connection::open(ocs.gy, "bad.example.net");
    let mut defects = 0;
    for (name, request, expect) in bad_input::table() {
        bad_input::check(&mut connection, name, &request, &expect);
        if REPEATED.contains(&name) {
            connection.heard.pop();
        } else {
            defects += 1;
        }
    }
    let proxy = [text(280, "dra.example.net"), text(33, "state")];
    let grouped = |members: &[Vec<u8>]| mscc(&[&[number(code::RATING_GROUP, 7)], members].concat());
    for (count, kind, units) in [
        (0, 1, vec![mscc(&[requested(None)]), grouped(&[requested(Some(1 << 20))])]),
        (1, 2, vec![mscc(&[used(1 << 20), requested(None)])]),
        (2, 2, vec![grouped(&[used(5)])]),
        (3, 2, vec![grouped(&[requested(Some(1 << 40))])]),
        (4, 3, vec![mscc(&[used(1)])]),
    ] {
        let mut request = connection.ccr("t;1", kind, count).with(group(code::PROXY_INFO, &proxy));
        if count == 0 {
            request = request.with(demo(21));
        }
        request.avps.extend(units);
        let answer = connection.ask(&request);
        assert_eq!(answer.result(), 2001, "{answer:?}");
        assert_eq!(answer.find(code::PROXY_INFO).unwrap().data, proxy.concat(), "Proxy-Info comes back");
    }
    assert!(connection.lives());
    assert_eq!(connection.ask(&Request::base("bad.example.net", DPR)).result(), 2001);
    let mut refused = Connection::silent(ocs.gy, "gx.example.net");
    refused.ask(&Request::cer("gx.example.net").instead(number(code::AUTH_APPLICATION_ID, 16_777_238)));
    let mut version = Connection::open(ocs.gy, "version.example.net");
    version.ask(&Request { version: 2, ..Request::base("version.example.net", DWR) });

    let heard = [connection.heard, refused.heard, version.heard, asked()].concat();
    assert!(heard.len() > defects);
    decodes_without_complaint(ocs.folder(), &heard);
    ocs.stop_and_audit();
}
