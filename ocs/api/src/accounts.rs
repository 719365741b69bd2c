//! The `Accounts` service: checked requests to [`Operations`], snapshots to protobuf, refusals to status codes.

use std::sync::Arc;

use ocs_proto::charging::convert::{holding, money, origin, service, service_key, time};
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use ocs_proto::operator::v1::accounts_server::{Accounts, AccountsServer};
use rating_engine::account::{
    Account, AccountState, Bucket, BucketScope, Counter, Credit, Flow, Holding, Reservation, Subscription,
    SubscriptionState, Total,
};
use rating_engine::command::Refusal;
use rating_engine::money::{Currency, Money};
use rating_engine::session::{GrantState, LineState, ServiceState, Session};
use rating_engine::tariffs::{Book, Tariffs};
use rating_engine::time::Timestamp;
use tonic::{Request, Response, Status};

use crate::operations::{AccountSnapshot, OperationError, Operations, Selection, SubscriberSnapshot};
use crate::request::{TopUp, shown};

/// Sessions, and subscribers, of one account that are shown.
pub(crate) const SHOWN_MAX: usize = 500;

/// The `Accounts` service.
#[derive(Debug)]
pub struct AccountsService<O> {
    operations: Arc<O>,
}

impl<O: Operations> AccountsService<O> {
    /// Serves what the operations can do.
    pub const fn new(operations: Arc<O>) -> Self {
        Self { operations }
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> AccountsServer<Self> {
        AccountsServer::new(self)
    }
}

#[tonic::async_trait]
impl<O: Operations> Accounts for AccountsService<O> {
    async fn get_account(
        &self,
        request: Request<wire::GetAccountRequest>,
    ) -> Result<Response<wire::GetAccountResponse>, Status> {
        let selection = shown(request.into_inner())?;
        let snapshot = self.operations.account(selection.clone()).await.map_err(|error| status(error, &selection))?;
        Ok(Response::new(wire::GetAccountResponse { account: Some(account(snapshot)) }))
    }

    async fn top_up(&self, request: Request<wire::TopUpRequest>) -> Result<Response<wire::TopUpResponse>, Status> {
        let top_up = TopUp::parse(request.into_inner())?;
        let selection = top_up.selection.clone();
        let done = self.operations.top_up(top_up).await.map_err(|error| status(error, &selection))?;
        Ok(Response::new(wire::TopUpResponse {
            balance: Some(money(done.balance, done.currency)),
            cdr_number: done.cdr_number,
            repeated: done.repeated,
        }))
    }
}

/// What the caller is told; a new variant cannot forget its code.
fn status(error: OperationError, selection: &Selection) -> Status {
    let which = &selection.account;
    match error {
        OperationError::UnknownAccount => Status::not_found(format!(
            "tenant {} has no {which}; check the number, or import the account first",
            selection.tenant
        )),
        OperationError::WrongCurrency { account } => {
            Status::failed_precondition(format!("amount.currency: {which} is kept in {account}; give the amount in it"))
        }
        OperationError::Refused(refusal) => refused(&refusal, selection),
        OperationError::Stopping => {
            Status::unavailable("the charging system is stopping; try again later, with the same idempotency_key")
        }
    }
}

fn refused(refusal: &Refusal, selection: &Selection) -> Status {
    let which = &selection.account;
    match refusal {
        Refusal::KeyReused => Status::already_exists(
            "idempotency_key: was used for another request; choose a new key, or repeat that request exactly",
        ),
        Refusal::TooBusy => {
            Status::unavailable("the charging system is too busy; try again later, with the same idempotency_key")
        }
        Refusal::UnknownSubscriber | Refusal::IdentifiersDisagree | Refusal::UnknownSession => {
            Status::not_found(format!("{which} is not known"))
        }
        Refusal::OutOfRange => Status::failed_precondition(format!("amount: {which} could not hold it; give less")),
        Refusal::Invalid(reason) => Status::failed_precondition(format!("{which}: {reason}")),
        Refusal::ServiceDenied
        | Refusal::Rejected
        | Refusal::CreditLimitReached
        | Refusal::RatingFailed
        | Refusal::AnswerGone
        | Refusal::NothingToRefund
        | Refusal::RefundBeyondCharge => Status::failed_precondition(format!("{which}: refused ({refusal:?})")),
    }
}

fn account(snapshot: AccountSnapshot) -> wire::Account {
    let AccountSnapshot { account, mut sessions, mut subscribers, tariffs } = snapshot;
    let currency = account.currency;
    sessions.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    subscribers.sort_unstable_by_key(|known| known.subscriber.id);
    wire::Account {
        account_id: account.id.get(),
        group_id: account.group.get(),
        tenant_id: u32::from(account.tenant.get()),
        currency: currency.letters().to_owned(),
        state: state(account.state).into(),
        balance: Some(money(account.money(), currency)),
        reserved: Some(money(account.reserved_money(), currency)),
        buckets: account.buckets.iter().map(bucket).collect(),
        credit: account.credit.map(|line| credit(line, currency)),
        debt: Some(money(account.debt, currency)),
        totals: account.totals.iter().map(total).collect(),
        cdr_count: account.cdrs.count,
        last_cdr_position: account.cdrs.last.get(),
        session_count: count(sessions.len()),
        subscriber_count: count(subscribers.len()),
        sessions: sessions.iter().take(SHOWN_MAX).map(|open| session(open, &account, &tariffs)).collect(),
        subscribers: subscribers.iter().take(SHOWN_MAX).map(subscriber).collect(),
        subscriptions: account.contract.iter().flat_map(|contract| &contract.subscriptions).map(subscription).collect(),
    }
}

fn subscription(held: &Subscription) -> wire::Subscription {
    let state = match held.state {
        SubscriptionState::Active => wire::SubscriptionState::Active,
        SubscriptionState::Cancelled => wire::SubscriptionState::Cancelled,
        SubscriptionState::Unpaid => wire::SubscriptionState::Unpaid,
    };
    wire::Subscription {
        number: held.number,
        offer: held.offer.as_str().to_owned(),
        offer_version: held.version,
        subscriber_id: held.subscriber.get(),
        cycle: held.cycle,
        cycle_start: Some(time(held.cycle_start)),
        cycle_end: (held.cycle_end != Timestamp::NEVER).then(|| time(held.cycle_end)),
        state: state.into(),
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

const fn state(state: AccountState) -> wire::AccountState {
    match state {
        AccountState::Active => wire::AccountState::Active,
        AccountState::Suspended => wire::AccountState::Suspended,
        AccountState::Barred => wire::AccountState::Barred,
        AccountState::Closed => wire::AccountState::Closed,
    }
}

fn bucket(bucket: &Bucket) -> wire::Bucket {
    wire::Bucket {
        bucket_id: bucket.id.as_str().to_owned(),
        holding: holding(bucket.holding).into(),
        origin: origin(bucket.origin).into(),
        balance: bucket.balance,
        reserved: bucket.reserved,
        available: bucket.balance.saturating_sub(bucket.reserved),
        priority: u32::from(bucket.priority),
        valid_from: (bucket.valid_from != Timestamp::default()).then(|| time(bucket.valid_from)),
        valid_to: (bucket.valid_to != Timestamp::NEVER).then(|| time(bucket.valid_to)),
        scope: bucket.scope.as_deref().map(scope),
        subscription: bucket.terms.as_ref().map_or(0, |terms| terms.subscription),
        member_cap: bucket.terms.as_ref().and_then(|terms| terms.member_cap),
        cost: bucket.terms.as_ref().map_or(0, |terms| terms.cost.micros()),
    }
}

fn scope(scope: &BucketScope) -> wire::BucketScope {
    wire::BucketScope {
        services: scope.services.iter().copied().map(service).collect(),
        rating_groups: scope.rating_groups.iter().map(|group| group.get()).collect(),
        service_ids: scope.service_ids.iter().map(|id| id.get()).collect(),
    }
}

fn credit(line: Credit, currency: Currency) -> wire::Credit {
    wire::Credit {
        limit: Some(money(line.limit, currency)),
        spent: Some(money(line.spent, currency)),
        reserved: Some(money(line.reserved, currency)),
    }
}

fn total(total: &Total) -> wire::Total {
    let flow = match total.flow {
        Flow::Opening => wire::Flow::Opening,
        Flow::TopUp => wire::Flow::TopUp,
        Flow::Grant => wire::Flow::Grant,
        Flow::Refund => wire::Flow::Refund,
        Flow::Debit => wire::Flow::Debit,
        Flow::Expiry => wire::Flow::Expiry,
        Flow::AdjustmentIn => wire::Flow::AdjustmentIn,
        Flow::AdjustmentOut => wire::Flow::AdjustmentOut,
        Flow::TransferIn => wire::Flow::TransferIn,
        Flow::TransferOut => wire::Flow::TransferOut,
    };
    wire::Total { holding: holding(total.holding).into(), flow: flow.into(), amount: total.amount }
}

fn counter(counter: &Counter) -> wire::Counter {
    wire::Counter {
        counter_id: counter.id.as_str().to_owned(),
        holding: holding(Holding::Units(counter.unit)).into(),
        used: counter.used,
        cycle_start: Some(time(counter.cycle_start)),
        cycle_end: Some(time(counter.cycle_end)),
    }
}

fn session(session: &Session, account: &Account, tariffs: &Tariffs) -> wire::OpenSession {
    let (currency, book) = (account.currency, Book::new(&session.tariff, tariffs));
    wire::OpenSession {
        session_id: session.id.octets().to_vec(),
        subscriber_id: session.subscriber.get(),
        opened: Some(time(session.opened)),
        deadline: Some(time(session.deadline())),
        charged: Some(money(session.charged(), currency)),
        services: session.services.iter().map(|used| service_use(used, &book, currency)).collect(),
        client_host: session.context.client_host.to_string(),
    }
}

fn service_use(used: &ServiceState, book: &Book<'_>, currency: Currency) -> wire::ServiceUse {
    wire::ServiceUse {
        service_key: Some(service_key(&used.key)),
        grant: used.grant.as_ref().map(|given| grant(given, currency)),
        used: used.rated.lines.iter().map(|line| price_use(line, book)).collect(),
        charged: Some(money(used.rated.charged, currency)),
        waiting: used.waiting,
    }
}

fn price_use(line: &LineState, book: &Book<'_>) -> wire::PriceUse {
    let price = book.price_of(line);
    let version = book.version(line.key.version);
    wire::PriceUse {
        price_id: price.map(|price| price.id.as_str().to_owned()).unwrap_or_default(),
        used: line.used,
        tariff_version: line.key.version,
        window: version.map(|version| version.window_name(line.key.window).to_owned()).unwrap_or_default(),
    }
}

fn grant(given: &GrantState, currency: Currency) -> wire::Grant {
    let (held, credit_held) = holds(&given.reservation, currency);
    let (sponsor_held, sponsor_credit_held) =
        given.sponsored.as_ref().map(|held| holds(held, currency)).unwrap_or_default();
    wire::Grant {
        quantity: given.quantity,
        given: Some(time(given.at)),
        validity_seconds: given.validity_seconds,
        held,
        credit_held,
        switch: given.switch.map(time),
        sponsor_held,
        sponsor_credit_held,
    }
}

fn holds(reservation: &Reservation, currency: Currency) -> (Vec<wire::Held>, Option<common::Money>) {
    let held = reservation
        .buckets
        .iter()
        .map(|(bucket, amount)| wire::Held { bucket_id: bucket.as_str().to_owned(), amount: *amount });
    let on_credit = reservation.credit;
    (held.collect(), (on_credit != Money::ZERO).then(|| money(on_credit, currency)))
}

fn subscriber(known: &SubscriberSnapshot) -> wire::Subscriber {
    wire::Subscriber {
        subscriber_id: known.subscriber.id.get(),
        identifiers: known.identifiers.iter().map(ToString::to_string).collect(),
        tariff: known.subscriber.tariff.as_str().to_owned(),
        state: state(known.subscriber.state).into(),
        counters: known.subscriber.counters.as_slice().iter().map(counter).collect(),
        sponsor: known.subscriber.sponsor.as_ref().map(|sponsor| wire::Sponsor {
            account_id: sponsor.account.get(),
            windows: sponsor.windows.iter().map(ToString::to_string).collect(),
            allowance: sponsor.allowance,
        }),
    }
}
