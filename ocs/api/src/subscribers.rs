//! The `Subscribers` service: who uses the network, and loading many.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use ocs_proto::operator::v1 as wire;
use ocs_proto::operator::v1::subscribers_server::{Subscribers, SubscribersServer};
use rating_engine::account::{AccountState, Sponsor};
use rating_engine::ids::{AccountId, Identifier, Lsn, SubscriberId, TariffName};
use tonic::{Request, Response, Status, Streaming};

use crate::caller::Caller;
use crate::change::{Asked, account_state};
use crate::name::{self, parse_subscriber};
use crate::operations::{Loaded, Operations, Row};
use crate::refusal::refused;
use crate::request::{IDENTIFIER_OCTETS_MAX, Rejection, text};
use crate::{accounts, etag};

/// Identifiers of one subscriber.
const IDENTIFIERS_MAX: usize = 32;
/// Windows of one sponsor.
const WINDOWS_MAX: usize = 64;
/// Octets of a tariff's or window's name.
const NAME_OCTETS_MAX: usize = 128;
/// Octets of one row.
const ROW_OCTETS_MAX: usize = 64 << 10;
/// Rows that are loaded together, where so many have come.
const ROWS_AT_ONCE: usize = 256;
/// So many times that wait to be durable: what the disk writes with them must not keep what the network waits for.
const WAITING_MAX: usize = 2;
/// The etag of what is not there.
const ETAG_NEW: &str = "-";

/// The `Subscribers` service.
#[derive(Debug)]
pub struct SubscribersService<O> {
    operations: Arc<O>,
}

impl<O: Operations> SubscribersService<O> {
    /// Serves what the operations can do.
    pub const fn new(operations: Arc<O>) -> Self {
        Self { operations }
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> SubscribersServer<Self> {
        SubscribersServer::new(self)
    }
}

/// A checked subscriber to be put.
#[derive(Clone, Debug)]
pub struct SubscriberPut {
    /// Its number.
    pub id: SubscriberId,
    /// Its account.
    pub account: AccountId,
    /// Its tariff.
    pub tariff: TariffName,
    /// Its state.
    pub state: AccountState,
    /// Its identifiers, all of them.
    pub identifiers: Vec<Identifier>,
    /// Who pays part of it.
    pub sponsor: Option<Arc<Sponsor>>,
    /// What it is based on.
    pub basis: Basis,
    /// The key, and why.
    pub asked: Asked,
}

/// What a change is based on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Anything.
    Any,
    /// That there is none yet.
    New,
    /// That it is as this etag says.
    Etag(Box<str>),
}

impl SubscriberPut {
    fn parse(request: &wire::PutSubscriberRequest) -> Result<Self, Rejection> {
        let asked = Asked::parse(&request.idempotency_key, &request.reason, false, request)?;
        let number = |field, number: u64| {
            if number == 0 { Err(Rejection::new(field, "is missing; numbers begin at 1")) } else { Ok(number) }
        };
        let (id, account) =
            (number("subscriber_id", request.subscriber_id)?, number("account_id", request.account_id)?);
        if request.tariff.is_empty() {
            return Err(Rejection::new("tariff", "is missing; give the name of a tariff that is there"));
        }
        text("tariff", &request.tariff, NAME_OCTETS_MAX)?;
        let state = match wire::AccountState::try_from(request.state) {
            Ok(wire::AccountState::Unspecified) => AccountState::Active,
            Ok(_) | Err(_) => account_state("state", request.state)?,
        };
        if request.identifiers.is_empty() || request.identifiers.len() > IDENTIFIERS_MAX {
            let reason = format!("has {}; give 1 to {IDENTIFIERS_MAX}", request.identifiers.len());
            return Err(Rejection::new("identifiers", reason));
        }
        let mut identifiers: Vec<Identifier> = Vec::new();
        for given in &request.identifiers {
            text("identifiers", given, IDENTIFIER_OCTETS_MAX)?;
            let parsed = given.parse().map_err(|reason| Rejection::new("identifiers", reason))?;
            if !identifiers.contains(&parsed) {
                identifiers.push(parsed);
            }
        }
        let sponsor = request.sponsor.as_ref().map(sponsor).transpose()?;
        let basis = match &*request.etag {
            "" => Basis::Any,
            ETAG_NEW => Basis::New,
            given => {
                text("etag", given, NAME_OCTETS_MAX)?;
                Basis::Etag(given.into())
            }
        };
        Ok(Self {
            id: SubscriberId::new(id),
            account: AccountId::new(account),
            tariff: TariffName::new(&request.tariff),
            state,
            identifiers,
            sponsor,
            basis,
            asked,
        })
    }
}

pub(crate) fn sponsor(given: &wire::Sponsor) -> Result<Arc<Sponsor>, Rejection> {
    if given.account_id == 0 {
        return Err(Rejection::new("sponsor.account_id", "is missing; account numbers begin at 1"));
    }
    if given.windows.len() > WINDOWS_MAX {
        return Err(Rejection::new(
            "sponsor.windows",
            format!("has {}; give at most {WINDOWS_MAX}", given.windows.len()),
        ));
    }
    for window in &given.windows {
        text("sponsor.windows", window, NAME_OCTETS_MAX)?;
    }
    if given.windows.is_empty() && !given.allowance {
        return Err(Rejection::new("sponsor", "pays for nothing; name windows, or say allowance"));
    }
    let windows = given.windows.iter().map(|window| window.as_str().into()).collect();
    Ok(Arc::new(Sponsor { account: AccountId::new(given.account_id), windows, allowance: given.allowance }))
}

type Responses = Pin<Box<dyn Stream<Item = Result<wire::LoadRowsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl<O: Operations> Subscribers for SubscribersService<O> {
    type LoadRowsStream = Responses;

    async fn get_subscriber(
        &self,
        request: Request<wire::GetSubscriberRequest>,
    ) -> Result<Response<wire::GetSubscriberResponse>, Status> {
        let name = request.into_inner().name;
        let (tenant, selector) = parse_subscriber("name", &name)?;
        let found = self.operations.subscriber(tenant, selector).await.map_err(|error| refused(&error, &name))?;
        Ok(Response::new(wire::GetSubscriberResponse {
            account: name::account(tenant, found.subscriber.account),
            etag: etag::subscriber(&found.subscriber, &found.identifiers),
            subscriber: Some(accounts::subscriber(&found)),
        }))
    }

    async fn put_subscriber(
        &self,
        request: Request<wire::PutSubscriberRequest>,
    ) -> Result<Response<wire::PutSubscriberResponse>, Status> {
        let caller = Caller::of(&request);
        let put = SubscriberPut::parse(request.get_ref())?;
        let what = format!("subscriber {}", put.id);
        let id = put.id;
        let done = self.operations.put_subscriber(caller, put).await.map_err(|error| refused(&error, &what))?;
        let name = format!("subscribers/{id}");
        Ok(Response::new(wire::PutSubscriberResponse { name, etag: done.etag, repeated: done.repeated }))
    }

    async fn load_rows(
        &self,
        request: Request<Streaming<wire::LoadRowsRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let caller = Caller::of(&request);
        let operations = self.operations.clone();
        // Some after the others, so that a subscriber finds the account before it; only the disk is waited for together.
        let loaded = request.into_inner().ready_chunks(ROWS_AT_ONCE).then(move |requests| {
            let (operations, caller) = (operations.clone(), caller.clone());
            async move { load(&*operations, caller, requests).await }
        });
        let operations = self.operations.clone();
        let durable = loaded.map(move |(answers, last)| {
            let operations = operations.clone();
            async move {
                match operations.durable(last).await {
                    Ok(()) => answers,
                    Err(error) => vec![Err(refused(&error, "the row"))],
                }
            }
        });
        Ok(Response::new(Box::pin(durable.buffered(WAITING_MAX).flat_map(stream::iter))))
    }
}

type Answer = Result<wire::LoadRowsResponse, Status>;

/// Loads what has come, up to where the stream is broken. The answers hold when the entry beside them is durable.
async fn load(
    operations: &impl Operations,
    caller: Caller,
    requests: Vec<Result<wire::LoadRowsRequest, Status>>,
) -> (Vec<Answer>, Lsn) {
    let (mut rows, mut asked, mut broken) = (Vec::new(), Vec::new(), None);
    for request in requests {
        match request {
            Ok(request) => {
                let checked = row(request.kind).map(|row| rows.push(row));
                asked.push((request.row, checked));
            }
            Err(status) => {
                broken = Some(status);
                break;
            }
        }
    }
    let loaded = match operations.load_rows(caller, rows).await {
        Ok(loaded) => loaded,
        Err(error) => return (vec![Err(refused(&error, "the row"))], Lsn::default()),
    };
    let (mut loaded, mut last) = (loaded.into_iter(), Lsn::default());
    let each = asked.into_iter().map_while(|(row, checked)| {
        let loaded = checked.map_or_else(|reason| Some(Loaded::Refused(reason)), |()| loaded.next())?;
        let (state, lsn, reason) = match loaded {
            Loaded::Loaded(lsn) => (wire::RowState::Loaded, lsn, String::new()),
            Loaded::There(lsn) => (wire::RowState::There, lsn, String::new()),
            Loaded::Incomplete(lsn, reason) => (wire::RowState::Incomplete, lsn, reason),
            Loaded::Refused(reason) => (wire::RowState::Refused, Lsn::default(), reason),
        };
        last = last.max(lsn);
        Some(Ok(wire::LoadRowsResponse { row, state: state.into(), reason }))
    });
    let mut answers: Vec<Answer> = each.collect();
    answers.extend(broken.map(Err));
    (answers, last)
}

fn row(kind: Option<wire::load_rows_request::Kind>) -> Result<Row, String> {
    use wire::load_rows_request::Kind;
    let row = match kind {
        Some(Kind::AccountJson(line)) => Row::Account(line),
        Some(Kind::SubscriberJson(line)) => Row::Subscriber(line),
        None => return Err("kind: is missing; give account_json or subscriber_json".to_owned()),
    };
    let (Row::Account(line) | Row::Subscriber(line)) = &row;
    if line.len() > ROW_OCTETS_MAX {
        return Err(format!("has {} octets; give at most {ROW_OCTETS_MAX}", line.len()));
    }
    Ok(row)
}
