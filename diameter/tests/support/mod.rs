//! What the tests share: messages to send, a peer to send them to, and octets made readable.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use diameter::avp::Address;
use diameter::dictionary::{self, Kind};
use diameter::{
    ApplicationId, AvpCode, Avps, CommandCode, Event, Flags, Handled, Header, Identity, Local, Message, MessageWriter,
    Peer, Start, Timers, UnknownAvps, frame_length,
};

/// The folder with the material that is not part of the product; `None`, loudly, when it is not there.
pub(crate) fn shared(folder: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = workspace.join("../shared").join(folder);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is not there", path.display());
    None
}

/// All `.hex` files under `folder`, by name.
pub(crate) fn hex_files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(hex_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "hex") {
            files.push((path.display().to_string(), unhex(&std::fs::read_to_string(&path).unwrap())));
        }
    }
    files.sort();
    files
}

/// Octets from hex; `#` begins a comment.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.lines().flat_map(|line| line.split('#').next()).collect();
    let digits: Vec<u32> = digits.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut hex, octet| {
        write!(hex, "{octet:02x}").unwrap();
        hex
    })
}

/// A message as hex, one AVP a line, each with its meaning behind it: the form of the golden files.
pub(crate) fn dump(octets: &[u8]) -> String {
    let message = Message::parse(octets).unwrap();
    let Header { flags, command, application, .. } = message.header();
    let mut text =
        format!("{}  # command {command} application {application} flags {:#04x}\n", hex(&octets[..20]), flags.octet());
    dump_avps(message.avps(), 0, &mut text);
    text
}

fn dump_avps(avps: Avps<'_>, depth: usize, text: &mut String) {
    let pad = "  ".repeat(depth);
    for avp in avps {
        let avp = avp.unwrap();
        let mut octets = Vec::new();
        let mut writer = MessageWriter::new(&mut octets, message_header(CommandCode::CREDIT_CONTROL, 4, 0));
        writer.copy(&avp);
        writer.finish().unwrap();
        let head = avp.flags.header_octets();
        let kind = dictionary::traits(avp.code).map(|traits| traits.kind);
        if kind == Some(Kind::Grouped) {
            writeln!(text, "{pad}{}  # {}", hex(&octets[20..20 + head]), avp.code).unwrap();
            dump_avps(avp.grouped().unwrap(), depth + 1, text);
            continue;
        }
        let value = match kind {
            Some(Kind::Unsigned32 | Kind::Enumerated) => avp.u32().map_or("?".into(), |value| value.to_string()),
            Some(Kind::Utf8String | Kind::DiameterIdentity) => format!("{:?}", avp.utf8().unwrap()),
            Some(Kind::Address) => format!("{:?}", avp.address().unwrap()),
            _ => format!("{} octets", avp.data.len()),
        };
        let (head, data) = octets[20..].split_at(head);
        writeln!(text, "{pad}{} {}  # {} = {value}", hex(head), hex(data), avp.code).unwrap();
    }
}

pub(crate) fn ours() -> Identity {
    Identity { host: "ocs01.example.com".into(), realm: "example.com".into(), state: 1_763_771_000 }
}

pub(crate) fn local() -> Local {
    Local {
        identity: ours(),
        served_realms: Vec::new(),
        vendor: 0,
        product: "ocs".into(),
        firmware: 1,
        allowed_peers: None,
        unknown_avps: UnknownAvps::default(),
        message_octets_max: 1 << 16,
        timers: Timers::default(),
    }
}

pub(crate) fn start(now: Instant) -> Start {
    Start {
        now,
        addresses: vec![IpAddr::V4(Ipv4Addr::new(198, 51, 100, 5))],
        hop_by_hop: 0x8000_0001,
        end_to_end: 0x7000_0001,
        jitter_seed: 7,
        secured: false,
    }
}

pub(crate) fn message_header(command: CommandCode, application: u32, ids: u32) -> &'static Header {
    let proxiable = if application == 0 { Flags::NONE } else { Flags::PROXIABLE };
    Box::leak(Box::new(Header {
        flags: Flags::REQUEST.union(proxiable),
        command,
        application: ApplicationId(application),
        hop_by_hop: ids,
        end_to_end: 0x5a10_0000 + ids,
    }))
}

pub(crate) fn build(header: &Header, avps: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut writer = MessageWriter::new(&mut octets, header);
    avps(&mut writer);
    writer.finish().unwrap();
    octets
}

/// A request of the base protocol, with the origin that all of them have.
pub(crate) fn base(command: CommandCode, ids: u32, avps: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    build(message_header(command, 0, ids), |message| {
        message.utf8(AvpCode::ORIGIN_HOST, "pgw01.example.net");
        message.utf8(AvpCode::ORIGIN_REALM, "example.net");
        avps(message);
    })
}

pub(crate) fn cer_with(avps: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    base(CommandCode::CAPABILITIES_EXCHANGE, 1, |cer| {
        cer.address(AvpCode::HOST_IP_ADDRESS, Address::Ip(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10))));
        cer.u32(AvpCode::VENDOR_ID, 10415);
        cer.utf8(AvpCode::PRODUCT_NAME, "demo-pgw");
        cer.u32(AvpCode::ORIGIN_STATE_ID, 17);
        avps(cer);
    })
}

pub(crate) fn cer() -> Vec<u8> {
    cer_with(|cer| cer.u32(AvpCode::AUTH_APPLICATION_ID, 4))
}

pub(crate) fn dwr(ids: u32) -> Vec<u8> {
    base(CommandCode::DEVICE_WATCHDOG, ids, |_| {})
}

pub(crate) fn dpr(ids: u32) -> Vec<u8> {
    base(CommandCode::DISCONNECT_PEER, ids, |dpr| dpr.u32(AvpCode::DISCONNECT_CAUSE, 2))
}

/// A CCR of a plain data session, about 500 octets, with what `more` adds.
pub(crate) fn ccr_with(ids: u32, more: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    build(message_header(CommandCode::CREDIT_CONTROL, 4, ids), |ccr| {
        ccr.utf8(AvpCode::SESSION_ID, "pgw01.example.net;3970123456;17;gy");
        ccr.utf8(AvpCode::ORIGIN_HOST, "pgw01.example.net");
        ccr.utf8(AvpCode::ORIGIN_REALM, "example.net");
        ccr.utf8(AvpCode::DESTINATION_REALM, "example.com");
        ccr.u32(AvpCode::AUTH_APPLICATION_ID, 4);
        ccr.utf8(AvpCode::SERVICE_CONTEXT_ID, "32251@3gpp.org");
        ccr.u32(AvpCode::CC_REQUEST_TYPE, 2);
        ccr.u32(AvpCode::CC_REQUEST_NUMBER, ids);
        ccr.time(AvpCode::EVENT_TIMESTAMP, 1_795_309_200);
        for (kind, data) in [(0, "491701234567"), (1, "262010000000001")] {
            ccr.grouped(AvpCode::SUBSCRIPTION_ID, |id| {
                id.u32(AvpCode::SUBSCRIPTION_ID_TYPE, kind);
                id.utf8(AvpCode::SUBSCRIPTION_ID_DATA, data);
            });
        }
        ccr.grouped(AvpCode::MULTIPLE_SERVICES_CREDIT_CONTROL, |service| {
            service.grouped(AvpCode::REQUESTED_SERVICE_UNIT, |_| {});
            service.grouped(AvpCode::USED_SERVICE_UNIT, |used| {
                used.u32(AvpCode::CC_TIME, 60);
                used.u64(AvpCode::CC_INPUT_OCTETS, 1 << 20);
                used.u64(AvpCode::CC_OUTPUT_OCTETS, 3 << 20);
            });
            service.u32(AvpCode::RATING_GROUP, 100);
            service.u32(AvpCode::REPORTING_REASON, 3);
        });
        more(ccr);
        ccr.grouped(AvpCode::SERVICE_INFORMATION, |service| {
            service.grouped(AvpCode::PS_INFORMATION, |ps| {
                ps.u32(AvpCode::TGPP_CHARGING_ID, 0x0a0b_0c0d);
                ps.address(AvpCode::SGSN_ADDRESS, Address::Ip(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 20))));
                ps.utf8(AvpCode::CALLED_STATION_ID, "internet");
                ps.utf8(AvpCode::TGPP_SGSN_MCC_MNC, "26201");
                ps.octets(AvpCode::TGPP_RAT_TYPE, &[6]);
            });
        });
    })
}

pub(crate) fn ccr(ids: u32) -> Vec<u8> {
    ccr_with(ids, |_| {})
}

/// One peer and a clock that only the test moves.
pub(crate) struct World {
    pub(crate) peer: Peer,
    pub(crate) now: Instant,
}

impl World {
    pub(crate) fn new(local: Local) -> Self {
        let now = Instant::now();
        Self { peer: Peer::new(Arc::new(local), start(now)), now }
    }

    /// A connection that has exchanged capabilities, with nothing left to poll.
    pub(crate) fn open(local: Local) -> Self {
        let mut world = Self::new(local);
        assert!(world.receive(&cer()).is_empty());
        assert!(matches!(world.events()[..], [Event::Opened(_)]));
        assert_eq!(world.sent().len(), 1);
        world
    }

    /// Hands octets in; returns the requests and answers that came out, whole.
    pub(crate) fn receive(&mut self, octets: &[u8]) -> Vec<Vec<u8>> {
        let mut input = octets;
        let mut out = Vec::new();
        while let Some(handled) = self.peer.handle_input(&mut input, self.now) {
            match handled {
                Handled::Request(message) | Handled::Answer(_, message) => out.push(message.octets().to_vec()),
                Handled::Inside => {}
            }
        }
        out
    }

    /// The messages to send, one by one.
    pub(crate) fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while let Some(octets) = self.peer.poll_transmit() {
            let mut rest = &octets[..];
            while let Some(length) = frame_length(rest, usize::MAX).unwrap() {
                sent.push(rest[..length].to_vec());
                rest = &rest[length..];
            }
            assert!(rest.is_empty());
        }
        sent
    }

    /// The only message to send.
    pub(crate) fn sent_one(&mut self) -> Vec<u8> {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1);
        sent.remove(0)
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.peer.poll_event()).collect()
    }

    /// Moves the clock to the next deadline; returns how far that was.
    pub(crate) fn wait(&mut self) -> Duration {
        let due = self.peer.poll_timeout().expect("something is due");
        let waited = due - self.now;
        self.now = due;
        self.peer.handle_timeout(self.now);
        waited
    }
}

/// Result code, E flag and the octets inside Failed-AVP of an answer.
pub(crate) fn verdict(answer: &[u8]) -> (u32, bool, Option<Vec<u8>>) {
    let message = Message::parse(answer).unwrap();
    assert!(!message.header().is_request());
    let code = message.find(AvpCode::RESULT_CODE).unwrap().u32().unwrap();
    let failed = message.find(AvpCode::FAILED_AVP).map(|avp| avp.data.to_vec());
    (code, message.header().flags.contains(Flags::ERROR), failed)
}
