//! A network element: sessions and one-time events of demo subscribers, as Gy requests and answers in octets.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use diameter::gy::client::{self, Cca, Ccr, Kind};
use diameter::{Identity, Message, ResultCode};
use diameter_tcp::client::Client;
use rating_engine::command::{Requested, ServiceRequest};
use rating_engine::ids::Identifier;
use rating_engine::units::Units;

use super::{RATING_GROUPS, Random, tariff, volume, wanted};

/// The realm of every element and of the server.
pub(crate) const REALM: &str = "example.org";
/// Packet data.
pub(crate) const DATA: &str = "14.32251@3gpp.org";
/// Short messages.
const MESSAGES: &str = "14.32274@3gpp.org";

/// Connects as `host`.
pub(crate) async fn connect(server: SocketAddr, host: &str) -> io::Result<Client> {
    Client::connect(server, Identity { host: host.to_owned(), realm: REALM.to_owned(), state: 0 }).await
}

/// One request, whatever connection it goes over.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) session: String,
    pub(crate) subscriber: u64,
    pub(crate) kind: Kind,
    pub(crate) number: u32,
    pub(crate) services: Vec<ServiceRequest>,
}

impl Asked {
    /// The request as `host` sends it.
    pub(crate) fn encode(&self, host: &str, retransmitted: bool) -> Vec<u8> {
        let imsi: Identifier = format!("imsi-{}", ocs::demo::imsi(self.subscriber)).parse().unwrap();
        let event = matches!(self.kind, Kind::Debit);
        let ccr = Ccr {
            retransmitted,
            session: &self.session,
            host,
            realm: REALM,
            destination_realm: REALM,
            service_context: if event { MESSAGES } else { DATA },
            kind: self.kind,
            number: self.number,
            origin_state: Some(1),
            identifiers: std::slice::from_ref(&imsi),
            services: &self.services,
            ..Ccr::default()
        };
        let mut octets = Vec::new();
        ccr.encode(&mut octets).unwrap();
        octets
    }
}

/// Consents to what the server asks (after a top-up, to ask again); whether it was that. The next request comes anyway.
pub(crate) fn consents(message: &Message<'_>, replies: &mut Vec<u8>, host: &str) -> bool {
    if !message.header().is_request() {
        return false;
    }
    let own = Identity { host: host.to_owned(), realm: REALM.to_owned(), state: 0 };
    client::answer(replies, message, &own, ResultCode::LIMITED_SUCCESS, None).unwrap();
    true
}

/// An answer without what belongs to one hop only: its hop-by-hop and end-to-end identifiers are put to 0.
pub(crate) fn plain(answer: &Message<'_>) -> Vec<u8> {
    let mut octets = answer.octets().to_vec();
    octets[12..20].fill(0);
    octets
}

/// Reads an answer back.
pub(crate) fn read(answer: &[u8]) -> Cca {
    Cca::read(&Message::parse(answer).unwrap()).unwrap()
}

/// What a session or event did so far, from the client's side.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) session: String,
    pub(crate) subscriber: u64,
    groups: Vec<u32>,
    updates: u32,
    next: u32,
    kind: Kind,
    /// Octets that answered reports told, per rating group.
    pub(crate) used: BTreeMap<u32, u64>,
    /// What the server said that it cost.
    pub(crate) cost_micros: i64,
    /// Whether it has ended.
    pub(crate) over: bool,
}

impl Story {
    /// A new story of a subscriber: a data session, at times a message.
    pub(crate) fn new(random: &mut Random, session: String, subscriber: u64) -> Self {
        let mut groups: Vec<u32> = RATING_GROUPS.into_iter().filter(|_| !random.once_in(2)).collect();
        if groups.is_empty() {
            groups.push(RATING_GROUPS[0]);
        }
        let kind = if random.once_in(6) { Kind::Debit } else { Kind::Initial };
        let updates = u32::try_from(random.below(6)).unwrap();
        let used = BTreeMap::new();
        Self { session, subscriber, groups, updates, next: 0, kind, used, cost_micros: 0, over: false }
    }

    /// The next request; the session's last one when it is to end now.
    pub(crate) fn ask(&self, random: &mut Random, end: bool) -> Asked {
        let kind = match self.kind {
            Kind::Update if end || self.next > self.updates => Kind::Termination,
            kind => kind,
        };
        let services = match kind {
            Kind::Debit => {
                let units = Units { events: Some(1 + random.below(3)), ..Units::default() };
                vec![ServiceRequest { requested: Requested::Units(units), ..ServiceRequest::default() }]
            }
            Kind::Initial => self.groups.iter().map(|group| volume(*group, None, wanted(random))).collect(),
            Kind::Termination => self
                .groups
                .iter()
                .map(|group| volume(*group, Some(random.below(3 << 20)), Requested::Nothing))
                .collect(),
            _ => self.groups.iter().map(|group| volume(*group, Some(random.below(3 << 20)), wanted(random))).collect(),
        };
        Asked { session: self.session.clone(), subscriber: self.subscriber, kind, number: self.next, services }
    }

    /// Takes the answer to the request before. Returns whether the request was carried out.
    pub(crate) fn told(&mut self, asked: &Asked, answer: &Cca) -> bool {
        assert_eq!(answer.number, asked.number, "{answer:?}");
        self.next += 1;
        // An event or a session of one service that cannot be paid is answered so at command level.
        const CREDIT_LIMIT_REACHED: u32 = 4012;
        let settled = answer.is_success() || answer.result == CREDIT_LIMIT_REACHED;
        assert!(settled, "{asked:?} was answered {answer:?}");
        match asked.kind {
            Kind::Debit => {
                self.over = true;
                if !answer.is_success() {
                    return false;
                }
                let events = asked.services[0].requested;
                let Requested::Units(Units { events: Some(events), .. }) = events else { unreachable!() };
                self.cost_micros = answer.cost.unwrap().amount.micros();
                assert_eq!(
                    self.cost_micros,
                    i64::try_from(events).unwrap() * tariff::message_micros(self.subscriber),
                    "{asked:?} was answered {answer:?}"
                );
                return true;
            }
            Kind::Initial => self.kind = Kind::Update,
            _ => {}
        }
        for service in &asked.services {
            let used: u64 = service.used.iter().filter_map(|used| used.units.total_octets).sum();
            *self.used.entry(service.key.rating_group.unwrap().get()).or_default() += used;
        }
        if asked.kind == Kind::Termination {
            self.over = true;
            self.cost_micros = answer.cost.unwrap().amount.micros();
            assert_eq!(
                self.cost_micros,
                tariff::session_micros(self.subscriber, &self.used),
                "session {} of subscriber {} used {:?}: {answer:?}",
                self.session,
                self.subscriber,
                self.used
            );
        }
        true
    }
}
