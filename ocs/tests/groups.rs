//! Charging groups and who is in them, on the real binary: families, employers and pools are made, shown and changed; and the
//! names that their members have beside the network's.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod campaign;

use std::time::Duration;

use diameter::gy::client::{Cca, Ccr, Kind};
use diameter_tcp::client::{Receiver, Sender};
use ocs_api::client::{AccountsClient, AuditLogClient, ChargingGroupsClient, SubscribersClient};
use ocs_proto::operator::v1 as wire;
use prost_types::FieldMask;
use rating_engine::command::{Requested, ServiceRequest};
use rating_engine::ids::Identifier;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

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
    groups: ChargingGroupsClient<Channel>,
    audit: AuditLogClient<Channel>,
    element: (Sender, Receiver),
}

impl Desk {
    async fn at(server: &Server) -> Self {
        let channel = Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap();
        Self {
            accounts: AccountsClient::new(channel.clone()),
            subscribers: SubscribersClient::new(channel.clone()),
            groups: ChargingGroupsClient::new(channel.clone()),
            audit: AuditLogClient::new(channel),
            element: connect(server.gy, HOST).await.unwrap().split(),
        }
    }

    /// Loads accounts from lines of an account file.
    async fn load(&mut self, lines: &[&str]) {
        let kind = |line: &&str| Some(wire::load_rows_request::Kind::AccountJson((*line).into()));
        let rows: Vec<_> = lines.iter().map(|line| wire::LoadRowsRequest { row: 1, kind: kind(line) }).collect();
        let mut answers = self.subscribers.load_rows(tokio_stream::iter(rows)).await.unwrap().into_inner();
        while let Some(answer) = answers.message().await.unwrap() {
            assert_eq!(answer.state(), wire::RowState::Loaded, "{answer:?}");
        }
    }

    async fn group(&mut self, name: &str) -> Result<wire::GetGroupResponse, tonic::Status> {
        let request = wire::GetGroupRequest { name: format!("chargingGroups/{name}") };
        self.groups.get_group(request).await.map(tonic::Response::into_inner)
    }

    /// Members by number, with the number of their account.
    async fn members(&mut self, group: u64, page_size: i32) -> Vec<wire::Member> {
        let (mut members, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = wire::ListMembersRequest { group: format!("chargingGroups/{group}"), page_size, page_token };
            let page = self.groups.list_members(request).await.unwrap().into_inner();
            assert!(page.members.len() <= usize::try_from(page_size).unwrap());
            members.extend(page.members);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return members;
            }
        }
    }

    async fn records(&mut self, target: &str) -> Vec<wire::AuditRecord> {
        let request = wire::ListAuditRecordsRequest { target: target.into(), page_size: 1000, ..Default::default() };
        self.audit.list_audit_records(request).await.unwrap().into_inner().records
    }

    /// Money held of an account, micro-units.
    async fn reserved(&mut self, group: u64, account: u64) -> i64 {
        let found = self.group(&group.to_string()).await.unwrap();
        let account = found.accounts.iter().find(|it| it.account_id == account).unwrap();
        account.reserved.as_ref().unwrap().mantissa
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

fn put_group(group: u64, display_name: &str, external_id: &str, key: &str) -> wire::PutGroupRequest {
    wire::PutGroupRequest {
        name: format!("chargingGroups/{group}"),
        display_name: display_name.into(),
        external_id: external_id.into(),
        idempotency_key: key.into(),
        reason: "asked to".into(),
        ..Default::default()
    }
}

fn update(member: &str, fields: &[&str], key: &str) -> wire::UpdateMemberRequest {
    wire::UpdateMemberRequest {
        name: format!("subscribers/{member}"),
        update_mask: Some(FieldMask { paths: fields.iter().map(|&field| field.into()).collect() }),
        idempotency_key: key.into(),
        ..Default::default()
    }
}

fn goes_to(member: &str, account_id: u64, key: &str) -> wire::UpdateMemberRequest {
    wire::UpdateMemberRequest { account_id, ..update(member, &["account_id"], key) }
}

fn remove(member: &str, key: &str) -> wire::RemoveMemberRequest {
    wire::RemoveMemberRequest {
        name: format!("subscribers/{member}"),
        idempotency_key: key.into(),
        ..Default::default()
    }
}

/// A family of accounts 5001 and 5002 with members 7001 to 7003, and account 5009 of a group of its own.
const FAMILY: [&str; 3] = [
    r#"{"account": 5001, "currency": "EUR", "buckets": [{"id": "main", "unit": "EUR", "amount": "20.00"}, {"id": "shared", "unit": "octet", "amount": "10 GiB", "member_cap": "1 GiB"}]}"#,
    r#"{"account": 5002, "group": 5001, "currency": "EUR", "buckets": [{"id": "main", "unit": "EUR", "amount": "5.00"}]}"#,
    r#"{"account": 5009, "currency": "EUR"}"#,
];

async fn family(desk: &mut Desk) {
    desk.load(&FAMILY).await;
    for (number, account) in [(7001, 5001), (7002, 5002), (7003, 5002)] {
        let name = format!("msisdn-491555000{number}");
        desk.put(subscriber(number, account, &[&name], &format!("put-{number}"))).await;
    }
}

/// A group is there with its first account. It is called what was said last by whoever saw what was said before, is found by
/// its external id, which no other group has, and is listed as long as something is said of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_called_what_was_said_last_and_found_by_it() {
    let mut server = Server::start(1);
    let mut desk = Desk::at(&server).await;
    refused(desk.group("5001").await, Code::NotFound, "GROUP_NOT_FOUND");
    refused(desk.groups.put_group(put_group(5001, "Miller", "", "a")).await, Code::NotFound, "GROUP_NOT_FOUND");
    family(&mut desk).await;
    let nameless = desk.group("5001").await.unwrap();
    let found = nameless.group.unwrap();
    assert_eq!((found.name.as_str(), found.display_name.as_str()), ("chargingGroups/5001", ""));
    assert_eq!((nameless.account_count, nameless.member_count), (2, 3));
    let accounts = nameless.accounts.iter().map(|it| (it.name.as_str(), it.balance.as_ref().unwrap().mantissa));
    assert_eq!(accounts.collect::<Vec<_>>(), [("accounts/5001", 20_000_000), ("accounts/5002", 5_000_000)]);
    assert_eq!(nameless.accounts[0].buckets[0].member_cap, Some(1 << 30));

    let first = put_group(5001, "Miller family", "HOUSE 7", "a");
    let based = wire::PutGroupRequest { etag: found.etag.clone(), ..first.clone() };
    let said = desk.groups.put_group(based.clone()).await.unwrap().into_inner();
    assert_eq!((said.name.as_str(), said.repeated), ("chargingGroups/5001", false));
    let again = desk.groups.put_group(based.clone()).await.unwrap().into_inner();
    assert_eq!((again.etag.as_str(), again.repeated), (said.etag.as_str(), true), "the first answer");
    refused(desk.groups.put_group(first).await, Code::AlreadyExists, "KEY_REUSED");
    let stale = wire::PutGroupRequest { idempotency_key: "b".into(), ..based };
    refused(desk.groups.put_group(stale).await, Code::Aborted, "ETAG_MISMATCH");
    let taken = put_group(5009, "Other", "HOUSE 7", "c");
    refused(desk.groups.put_group(taken).await, Code::AlreadyExists, "EXTERNAL_ID_TAKEN");
    desk.groups.put_group(put_group(5009, "Zenith Ltd", "", "c")).await.unwrap();
    for (bad, field) in [
        (wire::PutGroupRequest { name: "groups/1".into(), ..put_group(1, "", "", "d") }, "name"),
        (wire::PutGroupRequest { name: "chargingGroups/external-HOUSE 7".into(), ..put_group(1, "", "", "d") }, "name"),
        (put_group(5001, "a\u{7}b", "", "d"), "display_name"),
        (put_group(5001, "", " HOUSE", "d"), "external_id"),
        (put_group(5001, "", &"x".repeat(129), "d"), "external_id"),
        (put_group(5001, "", "", ""), "idempotency_key"),
    ] {
        let status = refused(desk.groups.put_group(bad).await, Code::InvalidArgument, "INVALID_FIELD");
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, field);
    }
    // Also after a restart from the log, and from the checkpoint behind it.
    for _ in 0..2 {
        let found = desk.group("external-HOUSE 7").await.unwrap().group.unwrap();
        assert_eq!((found.group_id, found.display_name.as_str()), (5001, "Miller family"));
        assert_eq!(found.etag, said.etag);
        refused(desk.group("external-HOUSE").await, Code::NotFound, "GROUP_NOT_FOUND");
        let page = wire::ListGroupsRequest { page_size: 1, ..Default::default() };
        let one = desk.groups.list_groups(page.clone()).await.unwrap().into_inner();
        assert_eq!(one.groups[0].external_id, "HOUSE 7");
        let page = wire::ListGroupsRequest { page_token: one.next_page_token, ..page };
        let two = desk.groups.list_groups(page).await.unwrap().into_inner();
        assert_eq!((two.groups[0].display_name.as_str(), two.next_page_token.as_str()), ("Zenith Ltd", ""));
        let records = desk.records("chargingGroups/5001").await;
        assert_eq!(records.len(), 1, "repeats and refusals change nothing: {records:?}");
        let differences = records[0].differences.iter().map(|it| (&*it.what, &*it.before, &*it.after));
        let expected = [("display_name", "", "Miller family"), ("external_id", "", "HOUSE 7")];
        assert_eq!(differences.collect::<Vec<_>>(), expected);
        assert_eq!((&*records[0].method, &*records[0].reason), ("ChargingGroups/PutGroup", "asked to"));
        server.kill();
        server.restart();
        desk = Desk::at(&server).await;
    }
    // Given up, the external id is another's; of whom nothing is said is not listed, and is there.
    desk.groups.put_group(put_group(5001, "", "", "e")).await.unwrap();
    desk.groups.put_group(put_group(5009, "Zenith Ltd", "HOUSE 7", "f")).await.unwrap();
    assert_eq!(desk.group("external-HOUSE 7").await.unwrap().group.unwrap().group_id, 5009);
    let listed = desk.groups.list_groups(wire::ListGroupsRequest::default()).await.unwrap().into_inner().groups;
    assert_eq!(listed.iter().map(|it| it.group_id).collect::<Vec<_>>(), [5009]);
    assert_eq!(desk.group("5001").await.unwrap().member_count, 3);
    let other = wire::GetGroupRequest { name: "tenants/2/chargingGroups/5001".into() };
    refused(desk.groups.get_group(other).await, Code::NotFound, "GROUP_NOT_FOUND");
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// Members are listed page by page with who pays; one goes over to another account, with its session going on where it was
/// opened; a sponsor comes and goes; and who leaves has nothing open and gives its number up.
#[tokio::test(flavor = "multi_thread")]
async fn members_go_over_are_sponsored_and_leave() {
    let mut server = Server::start(1);
    let mut desk = Desk::at(&server).await;
    family(&mut desk).await;
    let members = desk.members(5001, 2).await;
    let listed: Vec<_> = members.iter().map(|it| (&*it.name, &*it.account)).collect();
    let expected = [
        ("subscribers/7001", "accounts/5001"),
        ("subscribers/7002", "accounts/5002"),
        ("subscribers/7003", "accounts/5002"),
    ];
    assert_eq!(listed, expected);
    let cap = &members[0].caps[0];
    assert_eq!((&*cap.account, &*cap.bucket_id, cap.cap, cap.used), ("accounts/5001", "shared", 1 << 30, 0));
    assert!(members[1].caps.is_empty());
    let page =
        wire::ListGroupAccountsRequest { group: "chargingGroups/5001".into(), page_size: 1, ..Default::default() };
    let one = desk.groups.list_group_accounts(page.clone()).await.unwrap().into_inner();
    let page = wire::ListGroupAccountsRequest { page_token: one.next_page_token, ..page };
    let two = desk.groups.list_group_accounts(page).await.unwrap().into_inner();
    assert_eq!((two.accounts[0].account_id, two.next_page_token.as_str()), (5002, ""));

    // 7002's session is opened while 5002 pays, and goes on there; the next one is 5001's.
    let name = "msisdn-4915550007002";
    assert_eq!(desk.open("pgw;1;1", name).await.result, SUCCESS);
    let held = desk.reserved(5001, 5002).await;
    assert!(held > 0);
    let etag = members[1].etag.clone();
    let based = wire::UpdateMemberRequest { etag: etag.clone(), ..goes_to(name, 5001, "go") };
    let gone = desk.groups.update_member(based.clone()).await.unwrap().into_inner();
    assert_ne!(gone.etag, etag);
    assert!(desk.groups.update_member(based.clone()).await.unwrap().into_inner().repeated);
    let stale = wire::UpdateMemberRequest { idempotency_key: "go-2".into(), ..based };
    refused(desk.groups.update_member(stale).await, Code::Aborted, "ETAG_MISMATCH");
    refused(desk.groups.update_member(goes_to("7002", 5002, "go")).await, Code::AlreadyExists, "KEY_REUSED");
    assert_eq!(desk.reserved(5001, 5002).await, held);
    // The shared bucket of 5001 pays: nothing is held of its money.
    assert_eq!(desk.open("pgw;1;2", name).await.result, SUCCESS);
    assert_eq!((desk.reserved(5001, 5001).await, desk.reserved(5001, 5002).await), (0, held));

    for (bad, code, reason) in [
        (goes_to("7002", 5009, "x"), Code::FailedPrecondition, "NOT_POSSIBLE"),
        (goes_to("7002", 404, "x"), Code::NotFound, "ACCOUNT_NOT_FOUND"),
        (goes_to("404", 5001, "x"), Code::NotFound, "SUBSCRIBER_NOT_FOUND"),
        (goes_to("7002", 0, "x"), Code::InvalidArgument, "INVALID_FIELD"),
        (update("7002", &[], "x"), Code::InvalidArgument, "INVALID_FIELD"),
        (update("7002", &["tariff"], "x"), Code::InvalidArgument, "INVALID_FIELD"),
    ] {
        refused(desk.groups.update_member(bad).await, code, reason);
    }
    let sponsored = |account_id: u64, windows: &[&str], key: &str| wire::UpdateMemberRequest {
        sponsor: Some(wire::Sponsor {
            account_id,
            windows: windows.iter().map(|&window| window.into()).collect(),
            allowance: windows.is_empty(),
        }),
        ..update("7003", &["sponsor"], key)
    };
    for (bad, code, reason) in [
        (sponsored(5002, &[], "x"), Code::FailedPrecondition, "NOT_POSSIBLE"),
        (sponsored(5009, &[], "x"), Code::FailedPrecondition, "NOT_POSSIBLE"),
        (sponsored(5001, &["night"], "x"), Code::FailedPrecondition, "NOT_POSSIBLE"),
        (sponsored(0, &[], "x"), Code::InvalidArgument, "INVALID_FIELD"),
    ] {
        refused(desk.groups.update_member(bad).await, code, reason);
    }
    desk.groups.update_member(sponsored(5001, &[], "sponsor")).await.unwrap();
    let third = desk.members(5001, 10).await.remove(2);
    assert_eq!(third.subscriber.unwrap().sponsor.unwrap().account_id, 5001);
    assert_eq!(third.caps[0].account, "accounts/5001", "what its sponsor lets it use");
    desk.groups.update_member(update("7003", &["sponsor"], "alone")).await.unwrap();
    assert_eq!(desk.members(5001, 10).await[2].subscriber.as_ref().unwrap().sponsor, None);

    refused(desk.groups.remove_member(remove("7002", "out")).await, Code::FailedPrecondition, "NOT_POSSIBLE");
    for session in ["pgw;1;1", "pgw;1;2"] {
        let done = desk.call(&Ccr { session, kind: Kind::Termination, number: 1, ..Ccr::default() }).await;
        assert_eq!(done.result, SUCCESS, "{done:?}");
    }
    let stale = wire::RemoveMemberRequest { etag, ..remove("7002", "out") };
    refused(desk.groups.remove_member(stale).await, Code::Aborted, "ETAG_MISMATCH");
    desk.groups.remove_member(remove("7002", "out")).await.unwrap();
    refused(desk.groups.remove_member(remove("404", "x")).await, Code::NotFound, "SUBSCRIBER_NOT_FOUND");
    assert_eq!(desk.open("pgw;1;3", name).await.result, USER_UNKNOWN);
    // It has its number in another group now.
    desk.put(subscriber(7009, 5009, &[name], "anew")).await;
    for _ in 0..2 {
        let members = desk.members(5001, 10).await;
        let second = members[1].subscriber.as_ref().unwrap();
        assert_eq!(
            (second.state(), second.identifiers.len()),
            (wire::AccountState::Closed, 0),
            "it stays for its CDRs"
        );
        assert_eq!(desk.find(name).await.unwrap().account, "accounts/5009");
        assert!(desk.groups.remove_member(remove("7002", "out")).await.unwrap().into_inner().repeated);
        assert!(desk.find(name).await.is_ok(), "a repeat takes nothing away");
        let records = desk.records("subscribers/7002").await;
        let methods: Vec<&str> = records.iter().map(|record| record.method.as_str()).collect();
        assert_eq!(
            methods,
            ["ChargingGroups/RemoveMember", "ChargingGroups/UpdateMember", "Subscribers/PutSubscriber"]
        );
        let differs = |what: &str| records[0].differences.iter().find(|it| it.what == what).map(|it| it.after.clone());
        assert_eq!(differs("state").as_deref(), Some("closed"));
        assert_eq!(differs(&format!("identifiers/{name}")).as_deref(), Some("nobody"));
        server.kill();
        server.restart();
        desk = Desk::at(&server).await;
    }
    server.ask_to_stop();
    server.stopped();
    server.audit();
}

/// What is asked of a group while the process is killed is done or not done afterwards, and its retry gets the one answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_group_that_meets_kill_9_is_done_or_not_done() {
    let mut server = Server::start(1);
    let mut desk = Desk::at(&server).await;
    family(&mut desk).await;
    let mut done_before_the_kill = 0;
    for round in 0..8u64 {
        let number = 8000 + round;
        let name = format!("msisdn-49166{number}");
        desk.put(subscriber(number, 5002, &[&name], &format!("new-{round}"))).await;
        let said = put_group(5001, &format!("Miller {round}"), &format!("HOUSE-{round}"), &format!("say-{round}"));
        let moved = goes_to("7003", if round % 2 == 0 { 5001 } else { 5002 }, &format!("move-{round}"));
        let removed = remove(&number.to_string(), &format!("remove-{round}"));
        let groups = desk.groups.clone();
        let asked = tokio::spawn({
            let (said, moved, removed) = (said.clone(), moved.clone(), removed.clone());
            async move {
                let [mut a, mut b, mut c] = [groups.clone(), groups.clone(), groups];
                let (a, b, c) = tokio::join!(a.put_group(said), b.update_member(moved), c.remove_member(removed));
                [a.is_ok(), b.is_ok(), c.is_ok()].into_iter().filter(|done| *done).count()
            }
        });
        tokio::time::sleep(Duration::from_micros(1500 * round * round)).await;
        server.kill();
        done_before_the_kill += asked.await.unwrap();
        server.restart();
        desk = Desk::at(&server).await;
        desk.groups.put_group(said).await.unwrap();
        desk.groups.update_member(moved).await.unwrap();
        desk.groups.remove_member(removed).await.unwrap();
        let found = desk.group(&format!("external-HOUSE-{round}")).await.unwrap();
        assert_eq!(found.group.unwrap().display_name, format!("Miller {round}"));
        if let Some(before) = round.checked_sub(1) {
            refused(desk.group(&format!("external-HOUSE-{before}")).await, Code::NotFound, "GROUP_NOT_FOUND");
        }
        refused(desk.find(&name).await, Code::NotFound, "SUBSCRIBER_NOT_FOUND");
        let records = desk.records("").await;
        for what in ["say", "move", "remove"] {
            let key = format!("{what}-{round}");
            assert_eq!(records.iter().filter(|record| record.idempotency_key == key).count(), 1, "{key}");
        }
    }
    assert!(done_before_the_kill > 0, "some were answered before the kill");
    server.ask_to_stop();
    server.stopped();
    server.audit();
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
