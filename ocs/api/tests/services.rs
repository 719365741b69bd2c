//! The services over a real socket, with operations that answer from memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;

use futures_util::stream::BoxStream;
use ocs_api::client::{AccountsClient, ClockClient, UsageClient};
use ocs_api::{
    AccountChange, AccountSelector, AccountSnapshot, ApprovalOperations, ApprovalSnapshot, Ask, AuditVerdict,
    BatchSnapshot, Caller, CatalogueOperations, CatalogueRefusal, CdrId, Changed, ChargeError, ChargeOperations,
    ChargePage, ChargesAsked, ClientAnswer, ClockAccess, ClockReading, ClockRefusal, ControlOperations, ControlRefusal,
    DocumentAsked, DocumentChanged, DocumentFilter, DocumentName, GroupHead, GroupOperations, GroupPut, GroupSelection,
    GroupSnapshot, Loaded, MemberChange, MemberRemoval, MemberSnapshot, NewAccount, NewBatch, NewDocument,
    NotificationFilter, NotificationOperations, NotificationRefusal, NotificationStream, OperationError, Operations,
    Payer, PeriodAsked, Put, Recorded, Redeemed, Redemption, RefundAsked, Refunded, ReratingAsked, ReratingOperations,
    ReratingRefusal, Row, Selection, SessionChange, SessionFilter, SessionSnapshot, Steps, SubscriberPut,
    SubscriberSelector, SubscriberSnapshot, TopUp, ToppedUp, TransferAsked, VoucherOperations, VoucherSnapshot,
    WhichVoucher,
};
use ocs_proto::cdr::v1::{GetControlTotalsResponse, RatedCdr, ReconcileResponse};
use ocs_proto::charging::v1 as common;
use ocs_proto::operator::v1 as wire;
use rating_engine::account::{
    Account, AccountState, Bucket, BucketScope, CdrTrail, Contract, Counter, Counters, Credit, Flow, Holding, Origin,
    Reservation, Sponsor, Subscriber, Subscription, SubscriptionState, Terms, Total,
};
use rating_engine::command::{
    Action, Answered, Change, Command, Denial, Mutation, Outcome, Refusal, Request, ServiceOutcome, ServiceRequest,
    ServiceResult,
};
use rating_engine::context::{Context, Plmn};
use rating_engine::explain::Explanation;
use rating_engine::ids::{
    AccountId, BucketId, CdrPosition, CounterId, GroupId, Lsn, OfferName, PriceId, RatingGroup, ServiceId, SessionId,
    SubscriberId, TariffName, TenantId,
};
use rating_engine::money::{Currency, Money, Rate, Rounding};
use rating_engine::selector::Filter;
use rating_engine::session::{GrantState, LineState, Phase, Rated, Seen, ServiceState, Session};
use rating_engine::tariff::{Price, Service, ServiceKey, TariffDraft};
use rating_engine::tariffs::LineKey;
use rating_engine::time::Timestamp;
use rating_engine::units::{Measure, Unit};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};

/// One account, 7, with the identifier msisdn-491701; and a clock set by hand.
struct InMemory {
    account: Account,
    sessions: Vec<Session>,
    now: Mutex<Timestamp>,
    asked: Mutex<Vec<TopUp>>,
    recorded: Mutex<Vec<Command>>,
    refusal: Option<Refusal>,
}

impl InMemory {
    fn knows(&self, selection: &Selection) -> Result<(), OperationError> {
        let known = match &selection.account {
            AccountSelector::Id(id) => *id == self.account.id,
            AccountSelector::Identifier(identifier) => identifier.to_string() == "msisdn-491701",
        };
        (known && selection.tenant == self.account.tenant).then_some(()).ok_or(OperationError::UnknownAccount)
    }
}

/// It has no documents.
impl CatalogueOperations for InMemory {
    async fn documents(
        &self,
        _: DocumentFilter,
        _: Option<DocumentName>,
        _: usize,
    ) -> Result<Vec<wire::Document>, CatalogueRefusal> {
        Ok(Vec::new())
    }

    async fn document(&self, _: DocumentName) -> Result<wire::GetDocumentResponse, CatalogueRefusal> {
        Err(CatalogueRefusal::Unknown)
    }

    async fn change_document(&self, _: Caller, _: DocumentAsked) -> Result<DocumentChanged, CatalogueRefusal> {
        Err(CatalogueRefusal::Unknown)
    }

    async fn validate(&self, _: String) -> Result<wire::Document, CatalogueRefusal> {
        Ok(wire::Document::default())
    }

    async fn diff(
        &self,
        _: Option<DocumentName>,
        _: NewDocument,
    ) -> Result<wire::DiffDocumentsResponse, CatalogueRefusal> {
        Err(CatalogueRefusal::Unknown)
    }

    async fn simulate_event(
        &self,
        _: wire::SimulateEventRequest,
    ) -> Result<wire::SimulateEventResponse, CatalogueRefusal> {
        Err(CatalogueRefusal::Unknown)
    }

    fn simulate_period(&self, _: PeriodAsked) -> Steps<wire::SimulatePeriodResponse> {
        Box::pin(tokio_stream::empty())
    }

    fn watch_documents(&self) -> Steps<wire::WatchDocumentsResponse> {
        Box::pin(tokio_stream::empty())
    }
}

// Vouchers and approvals are tested over the real ones, in `ocs`.

impl VoucherOperations for InMemory {
    async fn create_vouchers(&self, _: Caller, _: NewBatch) -> Result<Vec<String>, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn voucher_batches(&self, _: Option<u32>, _: usize) -> Result<Vec<(u32, BatchSnapshot)>, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn voucher(&self, _: Caller, _: Box<str>) -> Result<VoucherSnapshot, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn block_batch(&self, _: Caller, _: Box<str>, _: Box<str>) -> Result<bool, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn block_voucher(
        &self,
        _: Caller,
        _: WhichVoucher,
        _: Box<str>,
    ) -> Result<(VoucherSnapshot, bool), OperationError> {
        Err(OperationError::Stopping)
    }

    async fn redeem_voucher(&self, _: Caller, _: Redemption) -> Result<Redeemed, OperationError> {
        Err(OperationError::Stopping)
    }
}

impl ApprovalOperations for InMemory {
    async fn approvals(&self, _: Option<u64>, _: usize) -> Result<Vec<ApprovalSnapshot>, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn approve(&self, _: Caller, _: u64) -> Result<Changed, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn reject(&self, _: Caller, _: u64, _: Box<str>) -> Result<bool, OperationError> {
        Err(OperationError::Stopping)
    }
}

impl NotificationOperations for InMemory {
    async fn notifications(
        &self,
        _: Option<CdrPosition>,
        _: NotificationFilter,
        _: bool,
    ) -> Result<NotificationStream, NotificationRefusal> {
        Err(OperationError::Stopping.into())
    }

    async fn watched_values(&self, _: Selection) -> Result<wire::ListWatchedValuesResponse, OperationError> {
        Err(OperationError::Stopping)
    }
}

impl ControlOperations for InMemory {
    async fn control_totals(&self, _: Option<Timestamp>) -> Result<GetControlTotalsResponse, ControlRefusal> {
        Err(OperationError::Stopping.into())
    }

    async fn reconcile(&self) -> Result<ReconcileResponse, ControlRefusal> {
        Err(OperationError::Stopping.into())
    }
}

impl ReratingOperations for InMemory {
    async fn plan(&self, _: Caller, _: ReratingAsked) -> Result<(wire::ReratingJob, bool), ReratingRefusal> {
        Err(OperationError::Stopping.into())
    }

    async fn reratings(&self, _: Option<u64>, _: usize) -> Result<Vec<(u64, wire::ReratingJob)>, ReratingRefusal> {
        Err(OperationError::Stopping.into())
    }

    async fn rerating(&self, _: u64) -> Result<wire::ReratingJob, ReratingRefusal> {
        Err(OperationError::Stopping.into())
    }

    async fn approve_rerating(&self, _: Caller, _: u64) -> Result<(wire::ReratingJob, bool), ReratingRefusal> {
        Err(OperationError::Stopping.into())
    }

    async fn cancel_rerating(
        &self,
        _: Caller,
        _: u64,
        _: Box<str>,
    ) -> Result<(wire::ReratingJob, bool), ReratingRefusal> {
        Err(OperationError::Stopping.into())
    }
}

impl Operations for InMemory {
    async fn account(&self, selection: Selection) -> Result<AccountSnapshot, OperationError> {
        self.knows(&selection)?;
        let subscriber = Subscriber {
            id: SubscriberId::new(9),
            tenant: self.account.tenant,
            account: self.account.id,
            group: self.account.group,
            tariff: TariffName::new("smart"),
            state: AccountState::Suspended,
            counters: Counters::new(vec![Counter {
                id: CounterId::new("voice"),
                unit: Unit::Second,
                used: 2520,
                used_before: 0,
                cycle_start: Timestamp::from_millis(1000),
                cycle_end: Timestamp::from_millis(5000),
            }]),
            sponsor: Some(sponsor()),
        };
        let identifiers = vec!["msisdn-491701".parse().unwrap(), "imsi-262010".parse().unwrap()];
        Ok(AccountSnapshot {
            account: self.account.clone(),
            sessions: self.sessions.clone(),
            subscribers: vec![SubscriberSnapshot { subscriber, identifiers }],
            tariffs: Arc::default(),
        })
    }

    async fn top_up(&self, _: Caller, top_up: TopUp) -> Result<ToppedUp, OperationError> {
        self.knows(&top_up.selection)?;
        if top_up.currency != self.account.currency {
            return Err(OperationError::WrongCurrency { account: self.account.currency });
        }
        if let Some(refusal) = &self.refusal {
            return Err(OperationError::Refused(refusal.clone()));
        }
        let mut asked = self.asked.lock().unwrap();
        let repeated = asked.iter().any(|known| known.key == top_up.key);
        let balance = self.account.money().saturating_add(top_up.amount);
        asked.push(top_up);
        Ok(ToppedUp { balance, currency: self.account.currency, cdr_number: 4, repeated })
    }

    // What follows is tested over the real ones, in `ocs`.

    async fn create_account(&self, _: Caller, _: NewAccount) -> Result<bool, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn change(&self, _: Caller, _: AccountChange) -> Result<Changed, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn transfer(&self, _: Caller, _: TransferAsked) -> Result<Changed, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn movements(&self, _: Selection, _: Option<CdrPosition>, _: usize) -> Result<Vec<RatedCdr>, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn subscriber(&self, _: TenantId, _: SubscriberSelector) -> Result<SubscriberSnapshot, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn put_subscriber(&self, _: Caller, _: SubscriberPut) -> Result<Put, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn load_rows(&self, _: Caller, _: Vec<Row>) -> Result<Vec<Loaded>, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn sessions(
        &self,
        _: SessionFilter,
        _: Option<SessionId>,
        _: usize,
    ) -> Result<Vec<SessionSnapshot>, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn watch_sessions(&self, _: SessionFilter) -> Result<BoxStream<'static, SessionChange>, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn session(&self, _: SessionId) -> Result<SessionSnapshot, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn ask_client(&self, _: Caller, _: SessionId, _: Ask, _: Box<str>) -> Result<ClientAnswer, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn release(&self, _: Caller, _: SessionId, _: Box<str>) -> Result<(), OperationError> {
        Err(OperationError::Stopping)
    }

    async fn audit_records(&self, _: Option<u64>, _: usize) -> Result<Vec<wire::AuditRecord>, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn verify_audit_log(&self, _: Option<(u64, [u8; 32])>) -> Result<AuditVerdict, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn charge_record(&self, command: Command) -> Result<Recorded, OperationError> {
        let mut recorded = self.recorded.lock().unwrap();
        let known = recorded.iter().find(|known| known.session == command.session).map(|known| known.digest);
        let repeated = known == Some(command.digest);
        let outcome = match &self.refusal {
            Some(refusal) => Outcome::Refused(refusal.clone()),
            None if known.is_some() && !repeated => Outcome::Refused(Refusal::KeyReused),
            None => {
                let Action::Record { services, .. } = &command.action else { panic!("a record is a record") };
                // What counts events has no price.
                let result = |service: &ServiceRequest| match service.used[0].units.events {
                    Some(_) => ServiceResult::Denied(Denial::RatingFailed),
                    None => ServiceResult::Settled,
                };
                let services = services.iter().map(|it| ServiceOutcome { key: it.key.clone(), result: result(it) });
                let cost = Some((Money::from_micros(20_000), Currency::EUR));
                Outcome::Answered(Answered { services: services.collect(), cost, ..Answered::default() })
            }
        };
        recorded.push(command);
        let lsn = Lsn::new(u64::try_from(recorded.len()).unwrap());
        Ok(Recorded { outcome: Arc::new(outcome), repeated, lsn })
    }

    async fn durable(&self, lsn: Lsn) -> Result<(), OperationError> {
        // The first takes longest: answers come in order all the same.
        if lsn == Lsn::new(1) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn time(&self) -> ClockReading {
        ClockReading { now: *self.now.lock().unwrap(), manual: true }
    }

    async fn set_time(&self, to: Timestamp) -> Result<Timestamp, ClockRefusal> {
        let mut now = self.now.lock().unwrap();
        if to < *now {
            return Err(ClockRefusal::Past { now: *now });
        }
        *now = to;
        Ok(to)
    }

    async fn advance_time(&self, millis: i64) -> Result<Timestamp, ClockRefusal> {
        let to = Timestamp::from_millis(self.time().now.millis() + millis);
        self.set_time(to).await
    }
}

// Charging groups are tested over the real ones, in `ocs`.

impl GroupOperations for InMemory {
    async fn group(&self, _: GroupSelection, _: usize) -> Result<GroupSnapshot, OperationError> {
        Err(OperationError::UnknownGroup)
    }

    async fn groups(&self, _: TenantId, _: GroupId, _: usize) -> Result<Vec<GroupHead>, OperationError> {
        Err(OperationError::Stopping)
    }

    async fn put_group(&self, _: Caller, _: GroupPut) -> Result<Put, OperationError> {
        Err(OperationError::UnknownGroup)
    }

    async fn group_accounts(&self, _: GroupSelection, _: AccountId, _: usize) -> Result<Vec<Account>, OperationError> {
        Err(OperationError::UnknownGroup)
    }

    async fn members(
        &self,
        _: GroupSelection,
        _: SubscriberId,
        _: usize,
    ) -> Result<Vec<MemberSnapshot>, OperationError> {
        Err(OperationError::UnknownGroup)
    }

    async fn update_member(&self, _: Caller, _: MemberChange) -> Result<Put, OperationError> {
        Err(OperationError::UnknownSubscriber)
    }

    async fn remove_member(&self, _: Caller, _: MemberRemoval) -> Result<Put, OperationError> {
        Err(OperationError::UnknownSubscriber)
    }
}

impl ChargeOperations for InMemory {
    async fn refund_charge(&self, _: Caller, _: RefundAsked) -> Result<Refunded, ChargeError> {
        Err(OperationError::Stopping.into())
    }

    async fn charges(&self, _: ChargesAsked) -> Result<ChargePage, ChargeError> {
        Err(OperationError::Stopping.into())
    }

    async fn explain_charge(&self, _: CdrId) -> Result<Explanation, ChargeError> {
        Err(OperationError::Stopping.into())
    }

    async fn totals(&self, _: Payer, _: (Timestamp, Timestamp)) -> Result<wire::GetTotalsResponse, ChargeError> {
        Err(OperationError::Stopping.into())
    }
}

fn bucket(id: &str, holding: Holding, balance: i64, reserved: i64) -> Bucket {
    Bucket {
        id: BucketId::new(id),
        holding,
        origin: Origin::Paid,
        balance,
        reserved,
        priority: 10,
        valid_from: Timestamp::default(),
        valid_to: Timestamp::NEVER,
        scope: None,
        terms: None,
    }
}

fn account() -> Account {
    let scope = BucketScope {
        services: [Service::Data, Service::Other(32_280)].into(),
        rating_groups: [RatingGroup::new(10)].into(),
        service_ids: [ServiceId::new(1)].into(),
    };
    let bundle = Bucket {
        origin: Origin::Granted,
        valid_from: Timestamp::from_millis(1),
        valid_to: Timestamp::from_millis(2500),
        scope: Some(Box::new(scope)),
        terms: Some(Box::new(Terms {
            subscription: 2,
            opened: 2000,
            cost: Money::from_micros(70),
            rolled: 0,
            member_cap: Some(1500),
        })),
        ..bucket("bundle", Holding::Units(Unit::Octet), 1000, 400)
    };
    Account {
        id: AccountId::new(7),
        group: GroupId::new(70),
        tenant: TenantId::new(3),
        currency: Currency::EUR,
        state: AccountState::Active,
        credit: Some(Credit {
            limit: Money::from_micros(9),
            spent: Money::from_micros(2),
            reserved: Money::from_micros(1),
        }),
        debt: Money::from_micros(5),
        buckets: vec![bundle, bucket("main", Holding::Money, 5_000_000, 250_000)],
        totals: vec![Total { holding: Holding::Money, flow: Flow::Opening, amount: 5_000_000 }],
        contract: Some(Box::new(Contract {
            cycle: None,
            subscriptions: vec![Subscription {
                number: 2,
                offer: OfferName::new("data-m"),
                version: 1,
                subscriber: SubscriberId::new(9),
                cycle: 3,
                anchor: (Timestamp::default(), 0),
                cycle_start: Timestamp::from_millis(1000),
                cycle_end: Timestamp::from_millis(5000),
                state: SubscriptionState::Unpaid,
                ends_at: Timestamp::from_millis(9000),
                spent: (0, Money::ZERO),
            }],
            last_number: 2,
            pools: Vec::new(),
        })),
        cdrs: CdrTrail { count: 3, last: CdrPosition::new(99) },
    }
}

fn session() -> Session {
    let rate = Rate::new(10_000, 1 << 20).unwrap();
    let price = Price::flat(PriceId::new("data-default"), Filter::default(), Measure::TotalOctets, rate);
    let tariff = TariffDraft::new(TariffName::new("smart"), 1, Currency::EUR, Rounding::MICRO, vec![price], [5; 32])
        .publish()
        .unwrap();
    let mut holder = account();
    let wanted = [(rating_engine::account::Place::Bucket(0), 400), (rating_engine::account::Place::Credit, 1)];
    let reservation: Reservation = holder.reserve(&wanted);
    let context = Context {
        service: Service::Data,
        service_context: "32251@3gpp.org".into(),
        client_host: "pgw.example".into(),
        client_realm: "example".into(),
        identifiers: vec![],
        equipment: None,
        correlation: None,
        packet: None,
        ims: None,
        sms: None,
    };
    Session {
        id: SessionId::new(b"pgw;1"),
        subscriber: SubscriberId::new(9),
        tenant: TenantId::new(3),
        account: AccountId::new(7),
        sponsor: Some(sponsor()),
        opened: Timestamp::from_millis(1000),
        heard: Timestamp::from_millis(2000),
        client_state: 0,
        context: Arc::new(context),
        tariff,
        services: vec![ServiceState {
            key: ServiceKey { rating_group: Some(RatingGroup::new(10)), services: [ServiceId::new(1)].into() },
            rated: Rated {
                lines: [LineState {
                    key: LineKey { version: 1, ..LineKey::default() },
                    used: 600,
                    ..LineState::default()
                }]
                .into_iter()
                .collect(),
                charged: Money::from_micros(6),
                ..Rated::default()
            },
            grant: Some(GrantState {
                number: 0,
                quantity: 400,
                at: Timestamp::from_millis(2000),
                validity_seconds: 60,
                switch: Some(Timestamp::from_millis(30_000)),
                reservation,
                sponsored: Some(Box::new(Reservation {
                    buckets: [(BucketId::new("allowance"), 100)].into_iter().collect(),
                    credit: Money::from_micros(2),
                })),
            }),
            since: Timestamp::from_millis(2000),
            answered: None,
            waiting: true,
        }],
        start: (0, 0),
        answers: vec![],
        next_slot: 0,
        seen: Seen::default(),
        phase: Phase::Open,
        charges: vec![],
    }
}

fn operations() -> InMemory {
    InMemory {
        account: account(),
        sessions: vec![session()],
        now: Mutex::new(Timestamp::from_millis(1_500)),
        asked: Mutex::default(),
        recorded: Mutex::default(),
        refusal: None,
    }
}

/// Serves the operations over loopback.
async fn serve(operations: Arc<InMemory>) -> Channel {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (router, health) = ocs_api::router(Server::builder(), operations, ClockAccess::Served).await.unwrap();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// Who else pays for subscriber 9.
fn sponsor() -> Arc<Sponsor> {
    Arc::new(Sponsor { account: AccountId::new(8), windows: ["business".into()].into(), allowance: true })
}

fn euros(mantissa: i64) -> Option<common::Money> {
    Some(common::Money { mantissa, scale: 6, currency: "EUR".into() })
}

fn top_up() -> wire::TopUpRequest {
    wire::TopUpRequest {
        account: Some(wire::top_up_request::Account::Identifier("msisdn-491701".into())),
        tenant_id: 3,
        amount: Some(common::Money { mantissa: 1250, scale: 2, currency: "EUR".into() }),
        idempotency_key: "k1".into(),
        reason: "voucher".into(),
        ..wire::TopUpRequest::default()
    }
}

#[tokio::test]
async fn an_account_is_shown_with_everything_in_it() {
    let mut client = AccountsClient::new(serve(Arc::new(operations())).await);
    let request =
        wire::GetAccountRequest { account: Some(wire::get_account_request::Account::AccountId(7)), tenant_id: 3 };
    let shown = client.get_account(request).await.unwrap().into_inner().account.unwrap();
    let at = |millis: i64| {
        Some(prost_types::Timestamp {
            seconds: millis / 1000,
            nanos: i32::try_from(millis % 1000).unwrap() * 1_000_000,
        })
    };
    let kind = |service: common::Service, specification| common::ServiceKind { service: service.into(), specification };
    let expected = wire::Account {
        name: "tenants/3/accounts/7".into(),
        etag: shown.etag.clone(),
        account_id: 7,
        group_id: 70,
        tenant_id: 3,
        currency: "EUR".into(),
        state: wire::AccountState::Active.into(),
        balance: euros(5_000_000),
        reserved: euros(250_001),
        buckets: vec![
            wire::Bucket {
                bucket_id: "bundle".into(),
                holding: common::Holding::Octets.into(),
                origin: common::Origin::Granted.into(),
                balance: 1000,
                reserved: 400,
                available: 600,
                priority: 10,
                valid_from: at(1),
                valid_to: at(2500),
                scope: Some(wire::BucketScope {
                    services: vec![kind(common::Service::Data, 0), kind(common::Service::Other, 32_280)],
                    rating_groups: vec![10],
                    service_ids: vec![1],
                }),
                subscription: 2,
                member_cap: Some(1500),
                cost: 70,
            },
            wire::Bucket {
                bucket_id: "main".into(),
                holding: common::Holding::Money.into(),
                origin: common::Origin::Paid.into(),
                balance: 5_000_000,
                reserved: 250_000,
                available: 4_750_000,
                priority: 10,
                ..wire::Bucket::default()
            },
        ],
        credit: Some(wire::Credit { limit: euros(9), spent: euros(2), reserved: euros(1) }),
        debt: euros(5),
        totals: vec![wire::Total {
            holding: common::Holding::Money.into(),
            flow: wire::Flow::Opening.into(),
            amount: 5_000_000,
        }],
        subscriptions: vec![wire::Subscription {
            number: 2,
            offer: "data-m".into(),
            offer_version: 1,
            subscriber_id: 9,
            cycle: 3,
            cycle_start: at(1000),
            cycle_end: at(5000),
            state: wire::SubscriptionState::Unpaid.into(),
            ends_at: at(9000),
        }],
        cdr_count: 3,
        last_cdr_position: 99,
        session_count: 1,
        subscriber_count: 1,
        sessions: vec![wire::OpenSession {
            session_id: b"pgw;1".to_vec(),
            subscriber_id: 9,
            opened: at(1000),
            deadline: at(122_000),
            charged: euros(6),
            client_host: "pgw.example".into(),
            services: vec![wire::ServiceUse {
                service_key: Some(common::ServiceKey { rating_group: Some(10), service_ids: vec![1] }),
                grant: Some(wire::Grant {
                    quantity: 400,
                    given: at(2000),
                    validity_seconds: 60,
                    held: vec![wire::Held { bucket_id: "bundle".into(), amount: 400 }],
                    credit_held: euros(1),
                    switch: at(30_000),
                    sponsor_held: vec![wire::Held { bucket_id: "allowance".into(), amount: 100 }],
                    sponsor_credit_held: euros(2),
                }),
                used: vec![wire::PriceUse {
                    price_id: "data-default".into(),
                    used: 600,
                    tariff_version: 1,
                    window: String::new(),
                }],
                charged: euros(6),
                waiting: true,
            }],
        }],
        subscribers: vec![wire::Subscriber {
            subscriber_id: 9,
            identifiers: vec!["msisdn-491701".into(), "imsi-262010".into()],
            tariff: "smart".into(),
            state: wire::AccountState::Suspended.into(),
            counters: vec![wire::Counter {
                counter_id: "voice".into(),
                holding: common::Holding::Seconds.into(),
                used: 2520,
                cycle_start: at(1000),
                cycle_end: at(5000),
            }],
            sponsor: Some(wire::Sponsor { account_id: 8, windows: vec!["business".into()], allowance: true }),
        }],
    };
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn a_top_up_arrives_as_a_checked_value_and_a_repeat_says_so() {
    let operations = Arc::new(operations());
    let mut client = AccountsClient::new(serve(Arc::clone(&operations)).await);
    let first = client.top_up(top_up()).await.unwrap().into_inner();
    assert_eq!((first.balance, first.cdr_number, first.repeated), (euros(17_500_000), 4, false));
    assert!(client.top_up(top_up()).await.unwrap().into_inner().repeated);

    let asked = operations.asked.lock().unwrap().first().cloned().unwrap();
    assert_eq!(asked.amount.micros(), 12_500_000);
    assert_eq!((asked.bucket.id.as_str(), asked.bucket.priority, asked.bucket.origin), ("main", 100, Origin::Paid));
    assert_eq!((asked.bucket.valid_from, asked.bucket.valid_to), (Timestamp::default(), Timestamp::NEVER));
    let Mutation { change: Change::TopUp { account, amount, .. }, request: Some(Request { key, reason, .. }) } =
        asked.mutation(AccountId::new(7))
    else {
        panic!("a top-up is a top-up with a key")
    };
    assert_eq!((account.get(), amount.micros(), key.as_str(), &*reason), (7, 12_500_000, "k1", "voucher"));
}

#[test]
fn what_is_the_same_has_the_same_digest_and_what_is_not_has_not() {
    let digest = |request: wire::TopUpRequest| TopUp::parse(request).unwrap().digest(AccountId::new(7));
    let first = digest(top_up());
    assert_eq!(first, digest(wire::TopUpRequest { amount: euros(12_500_000), ..top_up() }), "another scale");
    assert_eq!(first, digest(wire::TopUpRequest { bucket_id: "main".into(), priority: Some(100), ..top_up() }));
    let by_id = Some(wire::top_up_request::Account::AccountId(7));
    assert_eq!(first, digest(wire::TopUpRequest { account: by_id, ..top_up() }), "the same account by its id");
    assert_ne!(first, digest(wire::TopUpRequest { amount: euros(1), ..top_up() }));
    assert_ne!(first, digest(wire::TopUpRequest { bucket_id: "other".into(), ..top_up() }));
    assert_ne!(first, digest(wire::TopUpRequest { reason: "gift".into(), ..top_up() }));
    assert_ne!(first, digest(wire::TopUpRequest { origin: common::Origin::Granted.into(), ..top_up() }));
    assert_ne!(first, TopUp::parse(top_up()).unwrap().digest(AccountId::new(8)));
}

/// Each wrong request, and how its rejection begins.
#[test]
fn a_top_up_that_is_not_well_formed_is_rejected_by_field() {
    use wire::top_up_request::Account::{AccountId, Identifier};
    let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let money = |mantissa, scale, currency: &str| Some(common::Money { mantissa, scale, currency: currency.into() });
    type Spoil<'a> = &'a dyn Fn(&mut wire::TopUpRequest);
    let table: &[(Spoil<'_>, &str)] = &[
        (&|r| r.idempotency_key.clear(), "idempotency_key: is missing; give a text"),
        (&|r| r.idempotency_key = "k".repeat(129), "idempotency_key: has 129 octets; give at most 128"),
        (&|r| r.idempotency_key = "a\nb".into(), "idempotency_key: has control characters"),
        (&|r| r.account = None, "account: is missing; give name, account_id or identifier"),
        (&|r| r.account = Some(AccountId(0)), "account_id: is 0"),
        (&|r| r.account = Some(Identifier("491701".into())), "identifier: '491701' names no kind"),
        (&|r| r.account = Some(Identifier("fax-1".into())), "identifier: 'fax' is no kind"),
        (&|r| r.account = Some(Identifier("msisdn-49x".into())), "identifier: '49x' is not 1 to 18"),
        (&|r| r.tenant_id = 65_536, "tenant_id: is 65536"),
        (&|r| r.amount = None, "amount: is missing; give mantissa, scale and currency"),
        (&|r| r.amount = money(1, 6, ""), "amount.currency: is missing"),
        (&|r| r.amount = money(1, 6, "eur"), "amount.currency: is \"eur\", which is not known"),
        (&|r| r.amount = money(1, 7, "EUR"), "amount.scale: is 7; amounts have at most 6 decimals"),
        (&|r| r.amount = money(0, 6, "EUR"), "amount.mantissa: is 0; give an amount above 0"),
        (&|r| r.amount = money(-5, 2, "EUR"), "amount.mantissa: is -5; give an amount above 0"),
        (&|r| r.amount = money(i64::MAX, 0, "EUR"), "amount.mantissa: is 9223372036854775807 at scale 0"),
        (&|r| r.bucket_id = "b".repeat(65), "bucket_id: has 65 octets; give at most 64"),
        (&|r| r.priority = Some(65_536), "priority: is 65536; give at most 65535"),
        (&|r| r.valid_from = at(0, -1), "valid_from: has -1 nanoseconds"),
        (&|r| r.valid_to = at(i64::MAX, 0), "valid_to: is 9223372036854775807 seconds"),
        (&|r| (r.valid_from, r.valid_to) = (at(9, 0), at(9, 0)), "valid_to: is 1970-01-01T00:00:09.000Z, not after"),
        (&|r| r.origin = 77, "origin: is 77, which is not known"),
        (&|r| r.reason = "r".repeat(257), "reason: has 257 octets; give at most 256"),
    ];
    for (spoil, expected) in table {
        let mut request = top_up();
        spoil(&mut request);
        let rejection = TopUp::parse(request).expect_err(expected);
        assert!(rejection.to_string().starts_with(expected), "{rejection} is not {expected}");
        assert_eq!(Status::from(rejection).code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn refusals_become_status_codes() {
    let unknown = wire::TopUpRequest { tenant_id: 4, ..top_up() };
    let dollars = Some(common::Money { mantissa: 1, scale: 0, currency: "USD".into() });
    let dollars = wire::TopUpRequest { amount: dollars, ..top_up() };
    for (refusal, request, code, text) in [
        (None, unknown, Code::NotFound, "msisdn-491701 of tenant 4 is not known"),
        (None, dollars, Code::FailedPrecondition, "amount.currency: msisdn-491701 of tenant 3 is kept in EUR"),
        (Some(Refusal::KeyReused), top_up(), Code::AlreadyExists, "idempotency_key: was used for another request"),
        (Some(Refusal::Invalid("the account is closed")), top_up(), Code::FailedPrecondition, "the account is closed"),
        (Some(Refusal::TooBusy), top_up(), Code::Unavailable, "too busy"),
    ] {
        let operations = Arc::new(InMemory { refusal, ..operations() });
        let status = AccountsClient::new(serve(operations).await).top_up(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{text}");
        assert!(status.message().contains(text), "{} is not {text}", status.message());
    }
}

/// 5 MiB over a foreign network.
fn record(id: &str) -> wire::UsageRecord {
    let units = common::Units { total_octets: Some(5 << 20), ..common::Units::default() };
    let service_key = common::ServiceKey { rating_group: Some(10), service_ids: vec![1] };
    wire::UsageRecord {
        record_id: id.into(),
        identifiers: vec!["msisdn-491701".into()],
        start: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        service: Some(common::ServiceKind { service: common::Service::Data.into(), specification: 0 }),
        used: vec![wire::ServiceUsage { service_key: Some(service_key), units: Some(units) }],
        serving_network: "20801".into(),
        radio_access: Some(6),
        access_point: "internet".into(),
        ..wire::UsageRecord::default()
    }
}

async fn charged(operations: Arc<InMemory>, records: Vec<wire::UsageRecord>) -> Vec<wire::ChargeRecordsResponse> {
    let mut client = UsageClient::new(serve(operations).await);
    let requests = records.into_iter().map(|record| wire::ChargeRecordsRequest { record: Some(record) });
    let mut answers = client.charge_records(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        all.push(answer);
    }
    all
}

#[tokio::test]
async fn records_are_charged_in_order_and_each_says_what_became_of_it() {
    let operations = Arc::new(operations());
    let mut message = record("r2");
    let units = Some(common::Units { events: Some(1), ..common::Units::default() });
    message.used.push(wire::ServiceUsage { service_key: None, units });
    let other = wire::UsageRecord { calling: "4930".into(), ..record("r1") };
    let nobody = wire::UsageRecord { identifiers: Vec::new(), ..record("r3") };
    let answers = charged(operations.clone(), vec![record("r1"), record("r1"), other, message, nobody]).await;
    let told: Vec<_> = answers.iter().map(|it| (it.record_id.as_str(), it.state(), it.repeated)).collect();
    use wire::RecordState::{Charged, Refused, Suspended};
    assert_eq!(
        told,
        [
            ("r1", Charged, false),
            ("r1", Charged, true),
            ("r1", Refused, false),
            ("r2", Suspended, false),
            ("r3", Refused, false)
        ]
    );
    assert_eq!(answers[0].charged, euros(20_000));
    assert!(answers[2].reason.starts_with("record_id: another record was charged"), "{}", answers[2].reason);
    assert!(answers[3].reason.starts_with("no price is for it"), "{}", answers[3].reason);
    assert!(answers[4].reason.starts_with("identifiers: has 0; give 1 to 8"), "{}", answers[4].reason);
    let recorded = operations.recorded.lock().unwrap();
    let first = recorded.first().unwrap();
    assert_eq!(first.session, SessionId::new(b"usage-record:r1"));
    assert_eq!((first.now, first.event_time), (Timestamp::from_millis(1500), Some(Timestamp::from_millis(1000))));
    let packet = first.context.packet.as_ref().unwrap();
    assert_eq!(
        (packet.serving_plmn, packet.rat, packet.apn.as_deref()),
        (Plmn::parse("20801"), Some(6), Some("internet"))
    );
    assert_eq!(first.context.service, Service::Data);
}

/// Each wrong record, and how its answer begins.
#[tokio::test]
async fn a_record_that_is_not_well_formed_is_refused_by_field_and_the_others_go_on() {
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let money = |mantissa, scale, currency: &str| Some(common::Money { mantissa, scale, currency: currency.into() });
    type Spoil<'a> = &'a dyn Fn(&mut wire::UsageRecord);
    let paid =
        |r: &mut wire::UsageRecord, money| r.used[0].units = Some(common::Units { money, ..common::Units::default() });
    let table: &[(Spoil<'_>, &str)] = &[
        (&|r| r.record_id.clear(), "record_id: is missing"),
        (&|r| r.record_id = "r".repeat(129), "record_id: has 129 octets; give at most 128"),
        (&|r| r.identifiers = vec!["fax-1".into()], "identifiers: 'fax' is no kind"),
        (&|r| r.start = None, "start: is missing; give when the usage began"),
        (&|r| r.end = at(0), "end: is 1970-01-01T00:00:00.000Z, before start"),
        (&|r| r.used.clear(), "used: has 0 services; give 1 to 32"),
        (&|r| r.used[0].units = None, "used.units: names nothing"),
        (&|r| paid(r, money(-1, 2, "EUR")), "used.units.money: is negative"),
        (&|r| paid(r, money(1, 7, "EUR")), "used.units.money: is negative, too large, or has more than 6 decimals"),
        (&|r| paid(r, money(1, 2, "EUX")), "used.units.money.currency: is not known"),
        (&|r| r.service = None, "service: is missing or not known"),
        (&|r| r.serving_network = "2080".into(), "serving_network: is no network"),
        (&|r| r.radio_access = Some(256), "radio_access: is 256; it is one octet"),
        (&|r| r.called = "4".repeat(129), "called: has 129 octets"),
    ];
    let spoilt = table.iter().map(|(spoil, _)| {
        let mut wrong = record("r");
        spoil(&mut wrong);
        wrong
    });
    let answers = charged(Arc::new(operations()), spoilt.chain([record("r")]).collect()).await;
    for (answer, (_, expected)) in answers.iter().zip(table) {
        assert_eq!(answer.state(), wire::RecordState::Refused, "{expected}");
        assert!(answer.reason.starts_with(expected), "{} is not {expected}", answer.reason);
    }
    assert_eq!(answers.last().unwrap().state(), wire::RecordState::Charged);
}

#[tokio::test]
async fn the_clock_only_moves_forward() {
    let mut client = ClockClient::new(serve(Arc::new(operations())).await);
    let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let read = client.get_time(wire::GetTimeRequest {}).await.unwrap().into_inner();
    assert_eq!(read, wire::GetTimeResponse { now: at(1, 500_000_000), manual: true });
    let set = client.set_time(wire::SetTimeRequest { now: at(5, 999_999) }).await.unwrap().into_inner();
    assert_eq!(set.now, at(5, 0));
    let by = Some(prost_types::Duration { seconds: 60, nanos: 1_000_000 });
    let advanced = client.advance_time(wire::AdvanceTimeRequest { by }).await.unwrap().into_inner();
    assert_eq!(advanced.now, at(65, 1_000_000));

    let past = client.set_time(wire::SetTimeRequest { now: at(1, 0) }).await.unwrap_err();
    assert_eq!(past.code(), Code::FailedPrecondition);
    assert_eq!(past.message(), "now: has passed, it is 1970-01-01T00:01:05.001Z; time only moves forward");
    let back = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let back = client.advance_time(wire::AdvanceTimeRequest { by: back }).await.unwrap_err();
    assert_eq!((back.code(), back.message()), (Code::InvalidArgument, "by: is negative; time only moves forward"));
    let nothing = client.set_time(wire::SetTimeRequest { now: None }).await.unwrap_err();
    assert_eq!(nothing.message(), "now: is missing; give the instant to move the clock to");
}

#[tokio::test]
async fn health_is_served_and_reflection_lists_every_service() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

    let channel = serve(Arc::new(operations())).await;
    let health = HealthClient::new(channel.clone()).check(HealthCheckRequest { service: String::new() }).await.unwrap();
    assert_eq!(health.into_inner().status, i32::from(ServingStatus::Serving));

    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([list]))
        .await
        .unwrap()
        .into_inner();
    let Some(ServerReflectionResponse { message_response: Some(MessageResponse::ListServicesResponse(list)), .. }) =
        answers.message().await.unwrap()
    else {
        panic!("reflection answers a list with a list")
    };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in [
        "ocs.cdr.v1.CdrExport",
        "ocs.operator.v1.Accounts",
        "ocs.operator.v1.Usage",
        "ocs.operator.v1.Clock",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
}
