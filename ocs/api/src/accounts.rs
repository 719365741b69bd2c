//! The `Accounts` service: checked requests to [`Operations`], snapshots to protobuf, refusals to status codes.

use std::sync::Arc;

use ocs_proto::cdr::v1::RatedCdr;
use ocs_proto::charging::convert::{holding, money, origin, service, service_key, time};
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use ocs_proto::operator::v1::accounts_server::{Accounts, AccountsServer};
use rating_engine::account::{
    AccountState, Bucket, BucketScope, Counter, Credit, Flow, Holding, Reservation, Subscription, SubscriptionState,
    Total,
};
use rating_engine::ids::CdrPosition;
use rating_engine::money::{Currency, Money};
use rating_engine::session::{GrantState, LineState, ServiceState, Session};
use rating_engine::tariffs::{Book, Tariffs};
use rating_engine::time::Timestamp;
use tonic::{Code, Request, Response, Status};

use crate::caller::Caller;
use crate::change::{AccountChange, Amount, NewAccount, TransferAsked, Wanted};
use crate::name::parse_account;
use crate::operations::{AccountSnapshot, Changed, Operations, SubscriberSnapshot};
use crate::refusal::{refused, status};
use crate::request::{TopUp, instant, shown};
use crate::{etag, name, page};

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
        let what = selection.to_string();
        let snapshot = self.operations.account(selection).await.map_err(|error| refused(&error, &what))?;
        Ok(Response::new(wire::GetAccountResponse { account: Some(account(snapshot)) }))
    }

    async fn create_account(
        &self,
        request: Request<wire::CreateAccountRequest>,
    ) -> Result<Response<wire::CreateAccountResponse>, Status> {
        let caller = Caller::of(&request);
        let new = NewAccount::parse(request.get_ref())?;
        if let Some(line) = new.account.credit {
            within_ceiling(&caller, line.limit, new.account.currency)?;
        }
        let (name, etag) = (name::account(new.account.tenant, new.account.id), etag::account(&new.account));
        let done = self.operations.create_account(caller, new).await;
        let repeated = done.map_err(|error| refused(&error, &name))?;
        Ok(Response::new(wire::CreateAccountResponse { name, etag, repeated }))
    }

    async fn update_account(
        &self,
        request: Request<wire::UpdateAccountRequest>,
    ) -> Result<Response<wire::UpdateAccountResponse>, Status> {
        let caller = Caller::of(&request);
        let change = AccountChange::update(request.into_inner())?;
        if let (Wanted::Credit(limit), Some(currency)) = (&change.wanted, change.currency) {
            within_ceiling(&caller, *limit, currency)?;
        }
        let Changed { etag, repeated, .. } = self.change(caller, change).await?;
        Ok(Response::new(wire::UpdateAccountResponse { etag, repeated }))
    }

    async fn top_up(&self, request: Request<wire::TopUpRequest>) -> Result<Response<wire::TopUpResponse>, Status> {
        let caller = Caller::of(&request);
        let top_up = TopUp::parse(request.into_inner())?;
        within_ceiling(&caller, top_up.amount, top_up.currency)?;
        let what = top_up.selection.to_string();
        let done = self.operations.top_up(caller, top_up).await.map_err(|error| refused(&error, &what))?;
        Ok(Response::new(wire::TopUpResponse {
            balance: Some(money(done.balance, done.currency)),
            cdr_number: done.cdr_number,
            repeated: done.repeated,
        }))
    }

    async fn adjust(&self, request: Request<wire::AdjustRequest>) -> Result<Response<wire::AdjustResponse>, Status> {
        let caller = Caller::of(&request);
        let change = AccountChange::adjust(request.into_inner())?;
        match (&change.wanted, change.currency) {
            (Wanted::Adjust(_, Amount::Money(amount)), Some(currency)) => within_ceiling(&caller, *amount, currency)?,
            // How much units are worth is not said: whoever has a ceiling gives none.
            (Wanted::Adjust(_, Amount::Units(1..)), _) => within_ceiling(&caller, Money::MAX, Currency::EUR)?,
            _ => {}
        }
        let Changed { balance, currency, cdr_number, repeated, .. } = self.change(caller, change).await?;
        Ok(Response::new(wire::AdjustResponse { balance: Some(money(balance, currency)), cdr_number, repeated }))
    }

    async fn transfer(
        &self,
        request: Request<wire::TransferRequest>,
    ) -> Result<Response<wire::TransferResponse>, Status> {
        let caller = Caller::of(&request);
        let transfer = TransferAsked::parse(request.into_inner())?;
        within_ceiling(&caller, transfer.amount, transfer.currency)?;
        let what = format!("{} or {}", transfer.from, transfer.to);
        let done = self.operations.transfer(caller, transfer).await.map_err(|error| refused(&error, &what))?;
        let Changed { balance, currency, cdr_number, repeated, .. } = done;
        Ok(Response::new(wire::TransferResponse { balance: Some(money(balance, currency)), cdr_number, repeated }))
    }

    async fn extend_bucket(
        &self,
        request: Request<wire::ExtendBucketRequest>,
    ) -> Result<Response<wire::ExtendBucketResponse>, Status> {
        let caller = Caller::of(&request);
        let Changed { repeated, .. } = self.change(caller, AccountChange::extend(request.into_inner())?).await?;
        Ok(Response::new(wire::ExtendBucketResponse { repeated }))
    }

    async fn purchase_offer(
        &self,
        request: Request<wire::PurchaseOfferRequest>,
    ) -> Result<Response<wire::PurchaseOfferResponse>, Status> {
        let caller = Caller::of(&request);
        let done = self.change(caller, AccountChange::purchase(request.into_inner())?).await?;
        let Changed { balance, currency, cdr_number, repeated, .. } = done;
        let balance = Some(money(balance, currency));
        Ok(Response::new(wire::PurchaseOfferResponse { balance, cdr_number, repeated }))
    }

    async fn cancel_offer(
        &self,
        request: Request<wire::CancelOfferRequest>,
    ) -> Result<Response<wire::CancelOfferResponse>, Status> {
        let caller = Caller::of(&request);
        let Changed { repeated, .. } = self.change(caller, AccountChange::cancel(request.into_inner())?).await?;
        Ok(Response::new(wire::CancelOfferResponse { repeated }))
    }

    async fn replace_offer(
        &self,
        request: Request<wire::ReplaceOfferRequest>,
    ) -> Result<Response<wire::ReplaceOfferResponse>, Status> {
        let caller = Caller::of(&request);
        let done = self.change(caller, AccountChange::replace(request.into_inner())?).await?;
        let Changed { balance, currency, cdr_number, repeated, .. } = done;
        let balance = Some(money(balance, currency));
        Ok(Response::new(wire::ReplaceOfferResponse { balance, cdr_number, repeated }))
    }

    async fn list_movements(
        &self,
        request: Request<wire::ListMovementsRequest>,
    ) -> Result<Response<wire::ListMovementsResponse>, Status> {
        let wire::ListMovementsRequest { account, page_size, page_token, since } = request.into_inner();
        let selection = parse_account("account", &account)?;
        let (max, from) = (page::size(page_size)?, page::position(&page_token)?.map(CdrPosition::new));
        let since = since.map(|since| instant("since", since)).transpose()?;
        let what = selection.to_string();
        let movements =
            self.operations.movements(selection, from, max).await.map_err(|error| refused(&error, &what))?;
        let next = movements.last().map_or(0, |oldest| oldest.previous_position);
        let count = movements.len();
        let accepted =
            |cdr: &RatedCdr| cdr.accepted.map(|at| at.seconds.saturating_mul(1000) + i64::from(at.nanos / 1_000_000));
        let wanted = |cdr: &RatedCdr| since.is_none_or(|since| accepted(cdr).is_none_or(|at| at >= since.millis()));
        let movements: Vec<RatedCdr> = movements.into_iter().take_while(wanted).collect();
        // What is older than wanted has only older ones before it.
        let ended = next == 0 || movements.len() < count;
        let next_page_token = if ended { String::new() } else { page::token(next) };
        Ok(Response::new(wire::ListMovementsResponse { movements, next_page_token }))
    }
}

impl<O: Operations> AccountsService<O> {
    async fn change(&self, caller: Caller, change: AccountChange) -> Result<Changed, Status> {
        let what = change.selection.to_string();
        self.operations.change(caller, change).await.map_err(|error| refused(&error, &what))
    }
}

/// Whether a caller may move so much.
fn within_ceiling(caller: &Caller, amount: Money, currency: Currency) -> Result<(), Status> {
    match caller.top_up_max {
        Some(ceiling) if amount > Money::ZERO && !ceiling.allows(amount, currency) => Err(status(
            Code::PermissionDenied,
            "ABOVE_CEILING",
            format!("amount: {} may give at most {ceiling} at once; ask somebody who may give more", caller.name),
        )),
        Some(_) | None => Ok(()),
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
        name: name::account(account.tenant, account.id),
        etag: etag::account(&account),
        session_count: count(sessions.len()),
        subscriber_count: count(subscribers.len()),
        sessions: sessions.iter().take(SHOWN_MAX).map(|open| session(open, account.currency, &tariffs)).collect(),
        subscribers: subscribers.iter().take(SHOWN_MAX).map(subscriber).collect(),
        subscriptions: account.contract.iter().flat_map(|contract| &contract.subscriptions).map(subscription).collect(),
    }
}

fn subscription(held: &Subscription) -> wire::Subscription {
    let state = match held.state {
        SubscriptionState::Active if held.ends_at != Timestamp::NEVER => wire::SubscriptionState::Cancelled,
        SubscriptionState::Active => wire::SubscriptionState::Active,
        SubscriptionState::Unpaid => wire::SubscriptionState::Unpaid,
        SubscriptionState::Awaited => wire::SubscriptionState::Awaited,
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
        ends_at: (held.ends_at != Timestamp::NEVER).then(|| time(held.ends_at)),
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

pub(crate) const fn state(state: AccountState) -> wire::AccountState {
    match state {
        AccountState::Active => wire::AccountState::Active,
        AccountState::Suspended => wire::AccountState::Suspended,
        AccountState::Barred => wire::AccountState::Barred,
        AccountState::Closed => wire::AccountState::Closed,
    }
}

pub(crate) fn bucket(bucket: &Bucket) -> wire::Bucket {
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

pub(crate) fn credit(line: Credit, currency: Currency) -> wire::Credit {
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

pub(crate) fn session(session: &Session, currency: Currency, tariffs: &Tariffs) -> wire::OpenSession {
    let book = Book::new(&session.tariff, tariffs, Some(session.subscriber));
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

pub(crate) fn subscriber(known: &SubscriberSnapshot) -> wire::Subscriber {
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
