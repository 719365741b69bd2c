//! Diameter octets by hand, so that they can also be wrong: nothing here is shared with what is under test.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long an answer may take here.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const REQUEST: u8 = 0x80;
pub(crate) const PROXIABLE: u8 = 0x40;
pub(crate) const ERROR: u8 = 0x20;
pub(crate) const RETRANSMITTED: u8 = 0x10;

pub(crate) const VENDOR: u8 = 0x80;
pub(crate) const MANDATORY: u8 = 0x40;

pub(crate) const VENDOR_3GPP: u32 = 10415;

/// Command codes.
pub(crate) const CER: u32 = 257;
pub(crate) const RAR: u32 = 258;
pub(crate) const ACR: u32 = 271;
pub(crate) const CCR: u32 = 272;
pub(crate) const STR: u32 = 275;
pub(crate) const DWR: u32 = 280;
pub(crate) const DPR: u32 = 282;

/// AVP codes.
pub(crate) mod code {
    pub(crate) const USER_NAME: u32 = 1;
    pub(crate) const EVENT_TIMESTAMP: u32 = 55;
    pub(crate) const HOST_IP_ADDRESS: u32 = 257;
    pub(crate) const AUTH_APPLICATION_ID: u32 = 258;
    pub(crate) const VENDOR_SPECIFIC_APPLICATION_ID: u32 = 260;
    pub(crate) const SESSION_ID: u32 = 263;
    pub(crate) const ORIGIN_HOST: u32 = 264;
    pub(crate) const VENDOR_ID: u32 = 266;
    pub(crate) const RESULT_CODE: u32 = 268;
    pub(crate) const PRODUCT_NAME: u32 = 269;
    pub(crate) const DISCONNECT_CAUSE: u32 = 273;
    pub(crate) const FAILED_AVP: u32 = 279;
    pub(crate) const ROUTE_RECORD: u32 = 282;
    pub(crate) const DESTINATION_REALM: u32 = 283;
    pub(crate) const PROXY_INFO: u32 = 284;
    pub(crate) const DESTINATION_HOST: u32 = 293;
    pub(crate) const TERMINATION_CAUSE: u32 = 295;
    pub(crate) const ORIGIN_REALM: u32 = 296;
    pub(crate) const INBAND_SECURITY_ID: u32 = 299;
    pub(crate) const CC_MONEY: u32 = 413;
    pub(crate) const CC_OUTPUT_OCTETS: u32 = 414;
    pub(crate) const CC_REQUEST_NUMBER: u32 = 415;
    pub(crate) const CC_REQUEST_TYPE: u32 = 416;
    pub(crate) const CC_SERVICE_SPECIFIC_UNITS: u32 = 417;
    pub(crate) const CC_TOTAL_OCTETS: u32 = 421;
    pub(crate) const FINAL_UNIT_INDICATION: u32 = 430;
    pub(crate) const GRANTED_SERVICE_UNIT: u32 = 431;
    pub(crate) const RATING_GROUP: u32 = 432;
    pub(crate) const REQUESTED_ACTION: u32 = 436;
    pub(crate) const REQUESTED_SERVICE_UNIT: u32 = 437;
    pub(crate) const SERVICE_IDENTIFIER: u32 = 439;
    pub(crate) const SUBSCRIPTION_ID: u32 = 443;
    pub(crate) const SUBSCRIPTION_ID_DATA: u32 = 444;
    pub(crate) const UNIT_VALUE: u32 = 445;
    pub(crate) const USED_SERVICE_UNIT: u32 = 446;
    pub(crate) const VALUE_DIGITS: u32 = 447;
    pub(crate) const VALIDITY_TIME: u32 = 448;
    pub(crate) const SUBSCRIPTION_ID_TYPE: u32 = 450;
    pub(crate) const TARIFF_CHANGE_USAGE: u32 = 452;
    pub(crate) const MULTIPLE_SERVICES_CREDIT_CONTROL: u32 = 456;
    pub(crate) const SERVICE_CONTEXT_ID: u32 = 461;
    pub(crate) const VOLUME_QUOTA_THRESHOLD: u32 = 869;
    pub(crate) const SERVICE_INFORMATION: u32 = 873;
    pub(crate) const REFUND_INFORMATION: u32 = 2022;
}

/// An AVP with every octet of its header said, padded.
pub(crate) fn raw_avp(code: u32, flags: u8, length: u32, vendor: Option<u32>, data: &[u8]) -> Vec<u8> {
    let mut octets = code.to_be_bytes().to_vec();
    octets.push(flags);
    octets.extend_from_slice(&length.to_be_bytes()[1..]);
    octets.extend(vendor.iter().flat_map(|vendor| vendor.to_be_bytes()));
    octets.extend_from_slice(data);
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

/// An AVP of the IETF with the M flag.
pub(crate) fn avp(code: u32, data: &[u8]) -> Vec<u8> {
    raw_avp(code, MANDATORY, 8 + length(data), None, data)
}

/// An AVP of 3GPP with the M flag.
pub(crate) fn avp_3gpp(code: u32, data: &[u8]) -> Vec<u8> {
    raw_avp(code, VENDOR | MANDATORY, 12 + length(data), Some(VENDOR_3GPP), data)
}

fn length(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap()
}

pub(crate) fn number(code: u32, value: u32) -> Vec<u8> {
    avp(code, &value.to_be_bytes())
}

pub(crate) fn long(code: u32, value: u64) -> Vec<u8> {
    avp(code, &value.to_be_bytes())
}

pub(crate) fn text(code: u32, value: &str) -> Vec<u8> {
    avp(code, value.as_bytes())
}

pub(crate) fn group(code: u32, members: &[Vec<u8>]) -> Vec<u8> {
    avp(code, &members.concat())
}

/// Subscription-Id: 0 MSISDN, 1 IMSI.
pub(crate) fn subscription(kind: u32, data: &str) -> Vec<u8> {
    let members = [number(code::SUBSCRIPTION_ID_TYPE, kind), text(code::SUBSCRIPTION_ID_DATA, data)];
    group(code::SUBSCRIPTION_ID, &members)
}

/// The IMSI of a demo subscriber.
pub(crate) fn demo(subscriber: u64) -> Vec<u8> {
    subscription(1, &format!("262019{subscriber:09}"))
}

/// Multiple-Services-Credit-Control.
pub(crate) fn mscc(members: &[Vec<u8>]) -> Vec<u8> {
    group(code::MULTIPLE_SERVICES_CREDIT_CONTROL, members)
}

/// Requested-Service-Unit in octets; `None` leaves the amount to the server.
pub(crate) fn requested(octets: Option<u64>) -> Vec<u8> {
    let members: Vec<_> = octets.iter().map(|octets| long(code::CC_TOTAL_OCTETS, *octets)).collect();
    group(code::REQUESTED_SERVICE_UNIT, &members)
}

/// Used-Service-Unit in octets.
pub(crate) fn used(octets: u64) -> Vec<u8> {
    group(code::USED_SERVICE_UNIT, &[long(code::CC_TOTAL_OCTETS, octets)])
}

/// Seconds since 1900.
pub(crate) fn ntp_now() -> u32 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let era = (unix + 2_208_988_800) & 0xffff_ffff;
    u32::try_from(era).unwrap()
}

/// A request that is being put together.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) version: u8,
    pub(crate) flags: u8,
    pub(crate) command: u32,
    pub(crate) application: u32,
    /// The length to tell instead of the true one.
    pub(crate) length: Option<u32>,
    pub(crate) avps: Vec<Vec<u8>>,
}

impl Request {
    pub(crate) fn new(flags: u8, command: u32, application: u32) -> Self {
        Self { version: 1, flags: REQUEST | flags, command, application, length: None, avps: Vec::new() }
    }

    /// A complete CCR without units. 1 INITIAL, 2 UPDATE, 3 TERMINATION, 4 EVENT.
    pub(crate) fn ccr(host: &str, session: &str, kind: u32, count: u32) -> Self {
        Self::new(PROXIABLE, CCR, 4)
            .with(text(code::SESSION_ID, session))
            .with(text(code::ORIGIN_HOST, host))
            .with(text(code::ORIGIN_REALM, "example.net"))
            .with(text(code::DESTINATION_REALM, "example.org"))
            .with(number(code::AUTH_APPLICATION_ID, 4))
            .with(text(code::SERVICE_CONTEXT_ID, "14.32251@3gpp.org"))
            .with(number(code::CC_REQUEST_TYPE, kind))
            .with(number(code::CC_REQUEST_NUMBER, count))
            .with(number(code::EVENT_TIMESTAMP, ntp_now()))
    }

    pub(crate) fn cer(host: &str) -> Self {
        Self::new(0, CER, 0)
            .with(text(code::ORIGIN_HOST, host))
            .with(text(code::ORIGIN_REALM, "example.net"))
            .with(avp(code::HOST_IP_ADDRESS, &[0, 1, 127, 0, 0, 1]))
            .with(number(code::VENDOR_ID, VENDOR_3GPP))
            .with(raw_avp(code::PRODUCT_NAME, 0, 12, None, b"peer"))
            .with(number(code::AUTH_APPLICATION_ID, 4))
    }

    /// A command between neighbours: DWR, or DPR with its cause.
    pub(crate) fn base(host: &str, command: u32) -> Self {
        let request =
            Self::new(0, command, 0).with(text(code::ORIGIN_HOST, host)).with(text(code::ORIGIN_REALM, "example.net"));
        if command == DPR { request.with(number(code::DISCONNECT_CAUSE, 0)) } else { request }
    }

    /// One AVP more.
    pub(crate) fn with(mut self, avp: Vec<u8>) -> Self {
        self.avps.push(avp);
        self
    }

    /// No AVP of this code.
    pub(crate) fn without(mut self, code: u32) -> Self {
        self.avps.retain(|avp| !avp.starts_with(&code.to_be_bytes()));
        self
    }

    /// Another AVP in place of the one with its code.
    pub(crate) fn instead(mut self, avp: Vec<u8>) -> Self {
        let place = self.avps.iter().position(|there| there[..4] == avp[..4]).unwrap();
        self.avps[place] = avp;
        self
    }

    /// The octets, with an identifier nobody else has.
    pub(crate) fn octets(&self) -> Vec<u8> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut octets = vec![self.version];
        let true_length = 20 + length(&self.avps.concat());
        octets.extend_from_slice(&self.length.unwrap_or(true_length).to_be_bytes()[1..]);
        octets.push(self.flags);
        octets.extend_from_slice(&self.command.to_be_bytes()[1..]);
        octets.extend_from_slice(&self.application.to_be_bytes());
        octets.extend_from_slice(&id.to_be_bytes());
        octets.extend_from_slice(&(id ^ 0x5a00_0000).to_be_bytes());
        self.avps.iter().for_each(|avp| octets.extend_from_slice(avp));
        octets
    }
}

/// A received AVP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Avp {
    pub(crate) code: u32,
    pub(crate) flags: u8,
    pub(crate) vendor: u32,
    pub(crate) data: Vec<u8>,
}

impl Avp {
    pub(crate) fn members(&self) -> Vec<Self> {
        read_avps(&self.data)
    }

    pub(crate) fn find(&self, code: u32) -> Option<Self> {
        self.members().into_iter().find(|avp| avp.code == code)
    }

    pub(crate) fn number(&self) -> u32 {
        u32::from_be_bytes(self.data[..].try_into().unwrap())
    }

    pub(crate) fn long(&self) -> u64 {
        u64::from_be_bytes(self.data[..].try_into().unwrap())
    }
}

/// Splits octets into AVPs; they must be well formed.
pub(crate) fn read_avps(mut octets: &[u8]) -> Vec<Avp> {
    let mut avps = Vec::new();
    while !octets.is_empty() {
        let word = |at: usize| u32::from_be_bytes(octets[at..at + 4].try_into().unwrap());
        let flags = octets[4];
        let end = usize::try_from(word(4) & 0x00ff_ffff).unwrap();
        let (vendor, header) = if flags & VENDOR == 0 { (0, 8) } else { (word(8), 12) };
        avps.push(Avp { code: word(0), flags, vendor, data: octets[header..end].to_vec() });
        octets = &octets[end.next_multiple_of(4)..];
    }
    avps
}

/// A received message.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) octets: Vec<u8>,
    pub(crate) avps: Vec<Avp>,
}

impl Answer {
    fn new(octets: Vec<u8>) -> Self {
        let avps = read_avps(&octets[20..]);
        Self { octets, avps }
    }

    pub(crate) fn flags(&self) -> u8 {
        self.octets[4]
    }

    pub(crate) fn ids(&self) -> &[u8] {
        &self.octets[12..20]
    }

    pub(crate) fn find(&self, code: u32) -> Option<&Avp> {
        self.avps.iter().find(|avp| avp.code == code)
    }

    pub(crate) fn result(&self) -> u32 {
        self.find(code::RESULT_CODE).unwrap_or_else(|| panic!("no Result-Code in {self:?}")).number()
    }

    /// The octets inside Failed-AVP.
    pub(crate) fn failed(&self) -> Option<&[u8]> {
        self.find(code::FAILED_AVP).map(|avp| &avp.data[..])
    }

    pub(crate) fn services(&self) -> Vec<&Avp> {
        self.avps.iter().filter(|avp| avp.code == code::MULTIPLE_SERVICES_CREDIT_CONTROL).collect()
    }

    /// The Result-Codes of its MSCCs.
    pub(crate) fn service_results(&self) -> Vec<u32> {
        self.services().iter().map(|service| service.find(code::RESULT_CODE).unwrap().number()).collect()
    }

    /// Octets granted in its first MSCC.
    pub(crate) fn granted(&self) -> Option<u64> {
        let granted = self.services().first()?.find(code::GRANTED_SERVICE_UNIT)?;
        Some(granted.find(code::CC_TOTAL_OCTETS)?.long())
    }
}

/// A connection to the server.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) host: String,
    /// Every message that came, in order.
    pub(crate) heard: Vec<Vec<u8>>,
}

impl Connection {
    /// A connection that says nothing yet.
    pub(crate) fn silent(to: SocketAddr, host: &str) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, host: host.to_owned(), heard: Vec::new() }
    }

    /// A connection whose capabilities are exchanged.
    pub(crate) fn open(to: SocketAddr, host: &str) -> Self {
        let mut connection = Self::silent(to, host);
        let cea = connection.ask(&Request::cer(host));
        assert_eq!(cea.result(), 2001, "{cea:?}");
        connection
    }

    pub(crate) fn ccr(&self, session: &str, kind: u32, count: u32) -> Request {
        Request::ccr(&self.host, session, kind, count)
    }

    pub(crate) fn send(&mut self, octets: &[u8]) {
        // The server may have closed already; what it said is what counts.
        let _ = self.stream.write_all(octets);
    }

    /// The next message; `None` when the server has closed.
    pub(crate) fn hear(&mut self) -> Option<Answer> {
        let mut header = [0; 4];
        match self.stream.read_exact(&mut header) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ) =>
            {
                return None;
            }
            Err(error) => panic!("no answer: {error}"),
        }
        let length = usize::try_from(u32::from_be_bytes(header) & 0x00ff_ffff).unwrap();
        let mut octets = header.to_vec();
        octets.resize(length, 0);
        self.stream.read_exact(&mut octets[4..]).unwrap();
        self.heard.push(octets.clone());
        Some(Answer::new(octets))
    }

    /// The answer to a request, which must be the next message.
    pub(crate) fn ask(&mut self, request: &Request) -> Answer {
        let octets = request.octets();
        self.send(&octets);
        let answer = self.hear().expect("closed instead of an answer");
        assert_eq!(answer.ids(), &octets[12..20], "the answer repeats the identifiers of its request");
        assert_eq!(answer.flags() & REQUEST, 0, "an answer");
        answer
    }

    /// Whether the connection is in order.
    pub(crate) fn lives(&mut self) -> bool {
        let dwr = Request::base(&self.host, DWR).octets();
        self.send(&dwr);
        self.hear().is_some_and(|dwa| dwa.result() == 2001 && dwa.ids() == &dwr[12..20])
    }

    /// Says goodbye, which the server answers, and sees the server close.
    pub(crate) fn disconnect(mut self) {
        let request = Request::base(&self.host, DPR);
        assert_eq!(self.ask(&request).result(), 2001);
        let _ = self.stream.shutdown(Shutdown::Write);
        assert!(self.hear().is_none(), "nothing comes after a DPA");
    }
}
