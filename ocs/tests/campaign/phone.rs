//! Data sessions of demo subscribers: a network element that opens, reports and closes them one request at a time, each with a good
//! answer.

use std::net::SocketAddr;
use std::time::Duration;

use diameter::gy::client::{Cca, Ccr, Kind};
use diameter::{Identity, Message};
use diameter_tcp::client::{Client, Receiver, Sender};
use ocs::demo;
use rating_engine::command::{Requested, ServiceRequest};
use rating_engine::ids::Identifier;
use rating_engine::units::Units;

use super::element::{DATA, REALM};
use super::volume;

/// Nothing takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// What every report uses: ten pulses of 100 KiB.
pub(crate) const USED: u64 = 1_024_000;

/// A network element with sessions of demo subscribers.
pub(crate) struct Phones(Sender, Receiver);

impl Phones {
    pub(crate) async fn connect(server: SocketAddr) -> Self {
        let own = Identity { host: "pgw.example.org".into(), realm: REALM.into(), state: 0 };
        let (sender, receiver) = Client::connect(server, own).await.unwrap().split();
        Self(sender, receiver)
    }

    async fn call(&mut self, (subscriber, session): (u64, &str), kind: Kind, number: u32, service: ServiceRequest) {
        let imsi: Identifier = format!("imsi-{}", demo::imsi(subscriber)).parse().unwrap();
        let ccr = Ccr {
            session: &format!("pgw;{subscriber};{session}"),
            kind,
            number,
            services: &[service],
            host: "pgw.example.org",
            realm: REALM,
            destination_realm: REALM,
            service_context: DATA,
            identifiers: std::slice::from_ref(&imsi),
            ..Ccr::default()
        };
        let mut octets = Vec::new();
        ccr.encode(&mut octets).unwrap();
        let id = self.0.queue(&octets);
        self.0.flush().await.unwrap();
        let mut answer = None;
        while answer.is_none() {
            let each = |message: &Message<'_>, _: &mut Vec<u8>| {
                if message.header().hop_by_hop == id {
                    answer = Some(Cca::read(message).unwrap());
                }
            };
            tokio::time::timeout(PATIENCE, self.1.read(each)).await.unwrap().unwrap();
        }
        let answer: Cca = answer.unwrap();
        assert!(answer.is_success(), "{answer:?}");
    }

    pub(crate) async fn open(&mut self, whose: u64, session: &str) {
        self.call((whose, session), Kind::Initial, 0, volume(10, None, more())).await;
    }

    pub(crate) async fn report(&mut self, whose: u64, session: &str, number: u32) {
        self.call((whose, session), Kind::Update, number, volume(10, Some(USED), more())).await;
    }

    pub(crate) async fn close(&mut self, whose: u64, session: &str, number: u32) {
        self.call((whose, session), Kind::Termination, number, volume(10, Some(USED), Requested::Nothing)).await;
    }
}

fn more() -> Requested {
    Requested::Units(Units { total_octets: Some(5 << 20), ..Units::default() })
}
