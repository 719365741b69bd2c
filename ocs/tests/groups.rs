//! Charging groups and who is in them, on the real binary: families, employers and pools are made, shown and changed; and the
//! names that their members have beside the network's.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::time::Duration;

use diameter::gy::client::{Cca, Ccr, Kind};
use diameter_tcp::client::{Receiver, Sender};
use ocs_api::client::{AccountsClient, SubscribersClient};
use ocs_proto::operator::v1 as wire;
use rating_engine::command::{Requested, ServiceRequest};
use rating_engine::ids::Identifier;
use tonic::Code;
use tonic::transport::Channel;

use campaign::element::{REALM, connect};
use campaign::server::Server;
use campaign::{refused, volume};

/// Nothing takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// DIAMETER_SUCCESS (RFC 6733 7.1.2).
const SUCCESS: u32 = 2001;
/// DIAMETER_USER_UNKNOWN (RFC 8506 9.2).
const USER_UNKNOWN: u32 = 5030;

const HOST: &str = "pgw.example.org";

/// Clients of one system, and a network element.
struct Desk {
    accounts: AccountsClient<Channel>,
    subscribers: SubscribersClient<Channel>,
    element: (Sender, Receiver),
}

impl Desk {
    async fn at(server: &Server) -> Self {
        let channel = Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap();
        Self {
            accounts: AccountsClient::new(channel.clone()),
            subscribers: SubscribersClient::new(channel),
            element: connect(server.gy, HOST).await.unwrap().split(),
        }
    }

    async fn put(&mut self, request: wire::PutSubscriberRequest) -> wire::PutSubscriberResponse {
        self.subscribers.put_subscriber(request).await.unwrap().into_inner()
    }

    async fn find(&mut self, name: &str) -> Result<wire::GetSubscriberResponse, tonic::Status> {
        let request = wire::GetSubscriberRequest { name: format!("subscribers/{name}") };
        self.subscribers.get_subscriber(request).await.map(tonic::Response::into_inner)
    }

    /// What the network element is answered.
    async fn call(&mut self, ccr: &Ccr<'_>) -> Cca {
        let (sender, receiver) = &mut self.element;
        let ccr = Ccr {
            host: HOST,
            realm: REALM,
            destination_realm: REALM,
            service_context: "14.32251@3gpp.org",
            origin_state: Some(1),
            ..*ccr
        };
        let mut octets = Vec::new();
        ccr.encode(&mut octets).unwrap();
        let id = sender.queue(&octets);
        sender.flush().await.unwrap();
        let mut answer = None;
        while answer.is_none() {
            let each = |message: &diameter::Message<'_>, _: &mut Vec<u8>| {
                if !message.header().is_request() && message.header().hop_by_hop == id {
                    answer = Some(Cca::read(message).unwrap());
                }
            };
            tokio::time::timeout(PATIENCE, receiver.read(each)).await.unwrap().unwrap();
        }
        answer.unwrap()
    }

    /// Opens a data session of whoever has this name.
    async fn open(&mut self, session: &str, identifier: &str) -> Cca {
        let identifier: Identifier = identifier.parse().unwrap();
        let services: [ServiceRequest; 1] = [volume(10, None, Requested::Any)];
        let identifiers = std::slice::from_ref(&identifier);
        self.call(&Ccr { session, kind: Kind::Initial, identifiers, services: &services, ..Ccr::default() }).await
    }
}

fn subscriber(number: u64, account: u64, identifiers: &[&str], key: &str) -> wire::PutSubscriberRequest {
    wire::PutSubscriberRequest {
        subscriber_id: number,
        account_id: account,
        tariff: "start-payg".into(),
        identifiers: identifiers.iter().map(|&name| name.into()).collect(),
        idempotency_key: key.into(),
        ..Default::default()
    }
}

/// People find a subscriber and its account by the card's number, however it was written down, and by the number that other
/// systems know it by. What the network sends is never taken for either.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_is_found_by_its_card_and_by_its_external_number_but_not_by_the_network() {
    let mut server = Server::start(2);
    let mut desk = Desk::at(&server).await;
    let (card, external) = ("iccid-894901234567890123", "external-CRM 47/11");
    let names = ["msisdn-4915550001", "iccid-8949 0123 4567 8901 23F", external];
    desk.put(subscriber(7001, 1, &names, "p")).await;
    for taken in [card, external] {
        let other = subscriber(7002, 2, &[taken], "q");
        refused(desk.subscribers.put_subscriber(other).await, Code::AlreadyExists, "IDENTIFIER_TAKEN");
    }
    let long = format!("external-{}", "x".repeat(129));
    for bad in ["iccid-", "iccid-89490x", "iccid-894901234567890123456", "external-", "external- 1", &long, "eid-1"] {
        let other = subscriber(7002, 2, &[bad], "q");
        let status = refused(desk.subscribers.put_subscriber(other).await, Code::InvalidArgument, "INVALID_FIELD");
        assert!(status.message().starts_with("identifiers"), "{status:?}");
    }
    // Also after a restart from the log, and from the checkpoint behind it.
    for round in 0..2 {
        for name in [card, "iccid-8949 0123 4567 8901 23", external, "msisdn-4915550001"] {
            let found = desk.find(name).await.unwrap();
            let it = found.subscriber.unwrap();
            assert_eq!((it.subscriber_id, found.account.as_str()), (7001, "accounts/1"), "{name}");
            assert_eq!(it.identifiers, ["msisdn-4915550001", card, external]);
            let account = Some(wire::get_account_request::Account::Identifier(name.into()));
            let request = wire::GetAccountRequest { account, tenant_id: 0 };
            let account = desk.accounts.get_account(request).await.unwrap().into_inner().account.unwrap();
            assert_eq!(account.account_id, 1);
        }
        refused(desk.find("external-CRM").await, Code::NotFound, "SUBSCRIBER_NOT_FOUND");
        // Whatever type the network gives them (RFC 8506 8.47).
        for (at, said) in [
            "private-CRM 47/11",
            "private-external-CRM 47/11",
            "private-894901234567890123",
            "private-iccid-894901234567890123",
            "msisdn-894901234567890123",
            "imsi-894901234567890123",
            "nai-CRM 47/11",
            "sip-external-CRM 47/11",
        ]
        .iter()
        .enumerate()
        {
            let answer = desk.open(&format!("pgw;{round};{at}"), said).await;
            assert_eq!(answer.result, USER_UNKNOWN, "{said}: {answer:?}");
        }
        assert_eq!(desk.open(&format!("pgw;{round};own"), "msisdn-4915550001").await.result, SUCCESS);
        server.kill();
        server.restart();
        desk = Desk::at(&server).await;
    }
    let log = server.log();
    assert!(!log.contains("CRM 47/11") && !log.contains("894901234567890123"), "{log}");
    // Given up, they are free for somebody else.
    desk.put(subscriber(7001, 1, &["msisdn-4915550001"], "r")).await;
    desk.put(subscriber(7002, 2, &[card, external], "s")).await;
    assert_eq!(desk.find(card).await.unwrap().account, "accounts/2");
    server.ask_to_stop();
    server.stopped();
    server.audit();
}
