//! The `ChargingGroups` service: what groups are called, who pays in them, and who is a member.
//!
//! Absent on purpose: making accounts and subscribers, which are in a group from their beginning (`Accounts`, `Subscribers`).

use std::future::Future;
use std::sync::Arc;

use ocs_proto::charging::convert::{holding, money};
use ocs_proto::operator::v1 as wire;
use ocs_proto::operator::v1::charging_groups_server::{ChargingGroups, ChargingGroupsServer};
use rating_engine::account::{Account, Holding, Sponsor};
use rating_engine::ids::{AccountId, BucketId, EXTERNAL_OCTETS_MAX, GroupId, Identifier, SubscriberId, TenantId};
use tonic::{Request, Response, Status};

use crate::accounts::{self, SHOWN_MAX};
use crate::caller::Caller;
use crate::change::Asked;
use crate::name::{self, SubscriberSelector, parse_group, parse_subscriber};
use crate::operations::{OperationError, Operations, Put, SubscriberSnapshot};
use crate::refusal::refused;
use crate::request::{Rejection, parse_tenant, text};
use crate::subscribers::sponsor;
use crate::{etag, page};

/// Octets of what people call a group.
const DISPLAY_NAME_OCTETS_MAX: usize = 128;
/// Octets of an etag.
const ETAG_OCTETS_MAX: usize = 128;

/// What can be done with charging groups. Every future ends only when what it says is durable.
pub trait GroupOperations: Send + Sync + 'static {
    /// A group with its first accounts, at most `max`.
    fn group(
        &self,
        selection: GroupSelection,
        max: usize,
    ) -> impl Future<Output = Result<GroupSnapshot, OperationError>> + Send;

    /// Groups of a tenant that something is said of, by number from one on.
    fn groups(
        &self,
        tenant: TenantId,
        from: GroupId,
        max: usize,
    ) -> impl Future<Output = Result<Vec<GroupHead>, OperationError>> + Send;

    /// Says what a group is called.
    fn put_group(&self, caller: Caller, put: GroupPut) -> impl Future<Output = Result<Put, OperationError>> + Send;

    /// Accounts of a group by number, from one on.
    fn group_accounts(
        &self,
        selection: GroupSelection,
        from: AccountId,
        max: usize,
    ) -> impl Future<Output = Result<Vec<Account>, OperationError>> + Send;

    /// Members of a group by number, from one on.
    fn members(
        &self,
        selection: GroupSelection,
        from: SubscriberId,
        max: usize,
    ) -> impl Future<Output = Result<Vec<MemberSnapshot>, OperationError>> + Send;

    /// Changes who pays for a member.
    fn update_member(
        &self,
        caller: Caller,
        change: MemberChange,
    ) -> impl Future<Output = Result<Put, OperationError>> + Send;

    /// Closes a member and frees its identifiers.
    fn remove_member(
        &self,
        caller: Caller,
        removal: MemberRemoval,
    ) -> impl Future<Output = Result<Put, OperationError>> + Send;
}

/// A group, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSelection {
    /// The tenant.
    pub tenant: TenantId,
    /// Which of its groups.
    pub group: GroupSelector,
}

/// Which group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupSelector {
    /// The one with this number.
    Id(GroupId),
    /// The one that other systems know by this.
    External(Box<str>),
}

/// What a group is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSaid {
    /// By people; may be empty.
    pub display_name: Box<str>,
    /// By other systems; empty where there is no such number.
    pub external_id: Box<str>,
}

/// A group without its accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupHead {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its number.
    pub id: GroupId,
    /// What it is called.
    pub said: GroupSaid,
}

/// A group at one instant.
#[derive(Clone, Debug)]
pub struct GroupSnapshot {
    /// It.
    pub head: GroupHead,
    /// Its first accounts, by number.
    pub accounts: Vec<Account>,
    /// How many accounts it has.
    pub account_count: usize,
    /// How many members it has, closed ones too.
    pub member_count: usize,
}

/// A member at one instant.
#[derive(Clone, Debug)]
pub struct MemberSnapshot {
    /// It.
    pub subscriber: SubscriberSnapshot,
    /// What it may use of shared buckets.
    pub caps: Vec<MemberCap>,
}

/// How much of a shared bucket one member may use, in the unit of the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberCap {
    /// The account that has it.
    pub account: AccountId,
    /// The bucket.
    pub bucket: BucketId,
    /// What it holds.
    pub holding: Holding,
    /// The most.
    pub cap: u64,
    /// Used by now.
    pub used: u64,
}

/// What is to be said of a group.
#[derive(Clone, Debug)]
pub struct GroupPut {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its number.
    pub id: GroupId,
    /// What it is called from now on.
    pub said: GroupSaid,
    /// The etag that it is based on.
    pub etag: Option<Box<str>>,
    /// The key, and why.
    pub asked: Asked,
}

/// Who is to pay for a member.
#[derive(Clone, Debug)]
pub struct MemberChange {
    /// Which member.
    pub member: (TenantId, SubscriberSelector),
    /// The account that it goes over to; `None` to stay.
    pub account: Option<AccountId>,
    /// Its sponsor or none, if that changes.
    pub sponsor: Option<Option<Arc<Sponsor>>>,
    /// The etag that it is based on.
    pub etag: Option<Box<str>>,
    /// The key, and why.
    pub asked: Asked,
}

/// Who is to be a member no more.
#[derive(Clone, Debug)]
pub struct MemberRemoval {
    /// Which member.
    pub member: (TenantId, SubscriberSelector),
    /// The etag that it is based on.
    pub etag: Option<Box<str>>,
    /// The key, and why.
    pub asked: Asked,
}

impl GroupPut {
    fn parse(mut request: wire::PutGroupRequest) -> Result<Self, Rejection> {
        let GroupSelection { tenant, group } = parse_group("name", &std::mem::take(&mut request.name))?;
        let GroupSelector::Id(id) = group else {
            return Err(Rejection::new("name", "says an external id; name the group by its number: chargingGroups/17"));
        };
        let asked = Asked::parse(&request.idempotency_key, &request.reason, false, &request)?;
        text("display_name", &request.display_name, DISPLAY_NAME_OCTETS_MAX)?;
        let external = request.external_id;
        if !external.is_empty() && Identifier::external(&external).is_none() {
            let reason = format!(
                "is {external:?}; give 1 to {EXTERNAL_OCTETS_MAX} octets without control characters and white space around them"
            );
            return Err(Rejection::new("external_id", reason));
        }
        let said = GroupSaid { display_name: request.display_name.into(), external_id: external.into() };
        Ok(Self { tenant, id, said, etag: basis(request.etag)?, asked })
    }
}

impl MemberChange {
    fn parse(mut request: wire::UpdateMemberRequest) -> Result<Self, Rejection> {
        let member = parse_subscriber("name", &std::mem::take(&mut request.name))?;
        let asked = Asked::parse(&request.idempotency_key, &request.reason, false, &request)?;
        let mask = request.update_mask.unwrap_or_default().paths;
        let has = |field: &str| mask.iter().any(|path| path == field);
        if mask.is_empty() || mask.iter().any(|path| path != "account_id" && path != "sponsor") {
            let reason = format!("is {mask:?}; give \"account_id\", \"sponsor\", or both");
            return Err(Rejection::new("update_mask", reason));
        }
        let account = match (has("account_id"), request.account_id) {
            (false, _) => None,
            (true, 0) => return Err(Rejection::new("account_id", "is missing; account numbers begin at 1")),
            (true, number) => Some(AccountId::new(number)),
        };
        let given = request.sponsor.as_ref().filter(|_| has("sponsor")).map(sponsor).transpose()?;
        let sponsor = has("sponsor").then_some(given);
        Ok(Self { member, account, sponsor, etag: basis(request.etag)?, asked })
    }
}

impl MemberRemoval {
    fn parse(mut request: wire::RemoveMemberRequest) -> Result<Self, Rejection> {
        let member = parse_subscriber("name", &std::mem::take(&mut request.name))?;
        let asked = Asked::parse(&request.idempotency_key, &request.reason, false, &request)?;
        Ok(Self { member, etag: basis(request.etag)?, asked })
    }
}

/// The etag of a request.
fn basis(given: String) -> Result<Option<Box<str>>, Rejection> {
    text("etag", &given, ETAG_OCTETS_MAX)?;
    Ok((!given.is_empty()).then(|| given.into()))
}

/// The `ChargingGroups` service.
#[derive(Debug)]
pub struct GroupsService<O> {
    operations: Arc<O>,
}

impl<O: Operations + GroupOperations> GroupsService<O> {
    /// Serves what the operations can do.
    pub const fn new(operations: Arc<O>) -> Self {
        Self { operations }
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> ChargingGroupsServer<Self> {
        ChargingGroupsServer::new(self)
    }
}

/// A page of what was read with one more than fits on it, and where the next one begins.
fn paged<T>(mut read: Vec<T>, max: usize, number: impl Fn(&T) -> u64) -> (Vec<T>, String) {
    let next_page_token = read.get(max).map(|next| page::token(number(next))).unwrap_or_default();
    read.truncate(max);
    (read, next_page_token)
}

fn group(head: &GroupHead) -> wire::ChargingGroup {
    wire::ChargingGroup {
        name: name::group(head.tenant, head.id),
        group_id: head.id.get(),
        tenant_id: head.tenant.get().into(),
        display_name: head.said.display_name.to_string(),
        external_id: head.said.external_id.to_string(),
        etag: etag::group(&head.said),
    }
}

fn account(account: &Account) -> wire::GroupAccount {
    let currency = account.currency;
    wire::GroupAccount {
        name: name::account(account.tenant, account.id),
        account_id: account.id.get(),
        currency: currency.letters().to_owned(),
        state: accounts::state(account.state).into(),
        balance: Some(money(account.money(), currency)),
        reserved: Some(money(account.reserved_money(), currency)),
        credit: account.credit.map(|line| accounts::credit(line, currency)),
        debt: Some(money(account.debt, currency)),
        buckets: account.buckets.iter().map(accounts::bucket).collect(),
    }
}

fn member(member: &MemberSnapshot) -> wire::Member {
    let MemberSnapshot { subscriber: known, caps } = member;
    let SubscriberSnapshot { subscriber, identifiers } = known;
    let cap = |cap: &MemberCap| wire::MemberCap {
        account: name::account(subscriber.tenant, cap.account),
        bucket_id: cap.bucket.as_str().to_owned(),
        holding: holding(cap.holding).into(),
        cap: cap.cap,
        used: cap.used,
    };
    wire::Member {
        name: name::subscriber(subscriber.tenant, subscriber.id),
        subscriber: Some(accounts::subscriber(known)),
        account: name::account(subscriber.tenant, subscriber.account),
        etag: etag::subscriber(subscriber, identifiers),
        caps: caps.iter().map(cap).collect(),
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[tonic::async_trait]
impl<O: Operations + GroupOperations> ChargingGroups for GroupsService<O> {
    async fn get_group(
        &self,
        request: Request<wire::GetGroupRequest>,
    ) -> Result<Response<wire::GetGroupResponse>, Status> {
        let what = request.into_inner().name;
        let selection = parse_group("name", &what)?;
        let found = self.operations.group(selection, SHOWN_MAX).await.map_err(|error| refused(&error, &what))?;
        Ok(Response::new(wire::GetGroupResponse {
            group: Some(group(&found.head)),
            accounts: found.accounts.iter().map(account).collect(),
            account_count: count(found.account_count),
            member_count: count(found.member_count),
        }))
    }

    async fn list_groups(
        &self,
        request: Request<wire::ListGroupsRequest>,
    ) -> Result<Response<wire::ListGroupsResponse>, Status> {
        let wire::ListGroupsRequest { tenant_id, page_size, page_token } = request.into_inner();
        let tenant = parse_tenant(tenant_id)?;
        let (max, from) = (page::size(page_size)?, GroupId::new(page::position(&page_token)?.unwrap_or(0)));
        let read = self.operations.groups(tenant, from, max + 1).await;
        let (groups, next_page_token) =
            paged(read.map_err(|error| refused(&error, "the list"))?, max, |head| head.id.get());
        let groups = groups.iter().map(group).collect();
        Ok(Response::new(wire::ListGroupsResponse { groups, next_page_token }))
    }

    async fn put_group(
        &self,
        request: Request<wire::PutGroupRequest>,
    ) -> Result<Response<wire::PutGroupResponse>, Status> {
        let caller = Caller::of(&request);
        let put = GroupPut::parse(request.into_inner())?;
        let name = name::group(put.tenant, put.id);
        let done = self.operations.put_group(caller, put).await.map_err(|error| refused(&error, &name))?;
        Ok(Response::new(wire::PutGroupResponse { name, etag: done.etag, repeated: done.repeated }))
    }

    async fn list_group_accounts(
        &self,
        request: Request<wire::ListGroupAccountsRequest>,
    ) -> Result<Response<wire::ListGroupAccountsResponse>, Status> {
        let wire::ListGroupAccountsRequest { group: what, page_size, page_token } = request.into_inner();
        let selection = parse_group("group", &what)?;
        let (max, from) = (page::size(page_size)?, AccountId::new(page::position(&page_token)?.unwrap_or(0)));
        let read = self.operations.group_accounts(selection, from, max + 1).await;
        let (accounts, next_page_token) =
            paged(read.map_err(|error| refused(&error, &what))?, max, |account| account.id.get());
        let accounts = accounts.iter().map(account).collect();
        Ok(Response::new(wire::ListGroupAccountsResponse { accounts, next_page_token }))
    }

    async fn list_members(
        &self,
        request: Request<wire::ListMembersRequest>,
    ) -> Result<Response<wire::ListMembersResponse>, Status> {
        let wire::ListMembersRequest { group: what, page_size, page_token } = request.into_inner();
        let selection = parse_group("group", &what)?;
        let (max, from) = (page::size(page_size)?, SubscriberId::new(page::position(&page_token)?.unwrap_or(0)));
        let read = self.operations.members(selection, from, max + 1).await;
        let (members, next_page_token) =
            paged(read.map_err(|error| refused(&error, &what))?, max, |member| member.subscriber.subscriber.id.get());
        let members = members.iter().map(member).collect();
        Ok(Response::new(wire::ListMembersResponse { members, next_page_token }))
    }

    async fn update_member(
        &self,
        request: Request<wire::UpdateMemberRequest>,
    ) -> Result<Response<wire::UpdateMemberResponse>, Status> {
        let (caller, what) = (Caller::of(&request), request.get_ref().name.clone());
        let change = MemberChange::parse(request.into_inner())?;
        let done = self.operations.update_member(caller, change).await.map_err(|error| refused(&error, &what))?;
        Ok(Response::new(wire::UpdateMemberResponse { etag: done.etag, repeated: done.repeated }))
    }

    async fn remove_member(
        &self,
        request: Request<wire::RemoveMemberRequest>,
    ) -> Result<Response<wire::RemoveMemberResponse>, Status> {
        let (caller, what) = (Caller::of(&request), request.get_ref().name.clone());
        let removal = MemberRemoval::parse(request.into_inner())?;
        let done = self.operations.remove_member(caller, removal).await.map_err(|error| refused(&error, &what))?;
        Ok(Response::new(wire::RemoveMemberResponse { etag: done.etag, repeated: done.repeated }))
    }
}
