//! What the tests share: a CDR with every member set, and a feed from memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use cdr_export::{
    CdrBatch, CdrExportService, CdrFeed, CdrReader, CdrView, ExportLimits, Extent, FeedStopped, ReadError,
};
use ocs_proto::cdr::v1::cdr_export_client::CdrExportClient;
use rating_engine::account::{Holding, Origin};
use rating_engine::calendar::{WindowId, Zone};
use rating_engine::cdr::{
    Cause, CdrKind, CdrSource, Component, Movement, OfferCycle, Payer, PriceLine, RatedCdr, Rating,
};
use rating_engine::context::{Context, ImsContext, PacketContext, Plmn, Slice, SmsContext};
use rating_engine::crossing::{Crossing, Watched};
use rating_engine::ids::{
    AccountId, BucketId, CdrPosition, OfferName, PartitionId, PriceId, RatingGroup, ServiceId, SessionId, SubscriberId,
    TariffName, TenantId,
};
use rating_engine::money::{Currency, Money, Rate, Ratio, Rounding};
use rating_engine::offer::{OfferDraft, OfferVersion};
use rating_engine::periods::Booked;
use rating_engine::selector::Filter;
use rating_engine::tariff::{Exchange, FinanceCodes, Price, Service, ServiceKey, TariffDraft, TariffVersion};
use rating_engine::time::Timestamp;
use rating_engine::units::{Measure, MoneyUnits, Unit, Units};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};

/// The partition of every test.
pub const PARTITION: PartitionId = PartitionId::new(3);

pub fn tariff() -> Arc<TariffVersion> {
    let rate = Rate::new(10_000, 1 << 20).unwrap();
    let finance = FinanceCodes {
        tax_category: "standard".into(),
        tax_included: true,
        place_of_supply: "DE".into(),
        ledger_code: "4000".into(),
        revenue_rule: "usage".into(),
    };
    let price = Price::flat(PriceId::new("data-default"), Filter::default(), Measure::TotalOctets, rate);
    let price = Price { finance, exchange: Some(0), ..price };
    let mut draft = TariffDraft::new(TariffName::new("smart"), 2, Currency::EUR, Rounding::MICRO, vec![price], [7; 32]);
    draft.exchanges = vec![Exchange {
        id: "usd".into(),
        from: Currency::parse("USD").unwrap(),
        decimals: 4,
        rates: [(Timestamp::from_seconds(1_700_000_000), Ratio::new(9217, 10_000).unwrap())].into(),
    }];
    draft.publish().unwrap()
}

/// An offer that does nothing.
pub fn offer() -> Arc<OfferVersion> {
    let draft = OfferDraft {
        name: OfferName::new("data-m"),
        version: 4,
        currency: Currency::EUR,
        zone: Zone::utc(),
        tariff: None,
        setup_fee: Money::ZERO,
        fee: Money::ZERO,
        per_member: false,
        pool: None,
        period: None,
        renews: false,
        allowances: Vec::new(),
        spend: Vec::new(),
        balance: Vec::new(),
        finance: FinanceCodes::default(),
        content_hash: [9; 32],
    };
    draft.publish().unwrap()
}

/// What a gateway says of a data session.
pub fn data_context() -> Context {
    let packet = PacketContext {
        apn: Some("internet".into()),
        charging_id: Some(1001),
        pdn_connection_id: Some(1002),
        serving_plmn: Plmn::parse("26201"),
        home_plmn: Plmn::parse("310410"),
        gateway_plmn: Plmn::parse("26202"),
        rat: Some(6),
        location: Some([0x82, 1, 2].into()),
        time_zone: Some([4, 1]),
        slice: Some(Slice { service_type: 1, differentiator: Some(0x00_01_02) }),
        charging_characteristics: Some(0x0800),
        serving_node: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))),
        serving_node_type: Some(2),
        gateway: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))),
        device_addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 45, 0, 9)), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        pdp_type: Some(0),
        nsapi: Some(5),
        selection_mode: Some(0),
        qci: Some(9),
        rule_base: Some("base".into()),
        ps_data_off: Some(1),
        presence_area: Some(4),
    };
    Context {
        service: Service::Data,
        service_context: "32251@3gpp.org".into(),
        client_host: "pgw.example".into(),
        client_realm: "example".into(),
        identifiers: vec!["msisdn-491701234567".parse().unwrap(), "imsi-262010000000001".parse().unwrap()],
        equipment: Some(b"3500000000000001".as_slice().into()),
        correlation: Some([9, 9].into()),
        packet: Some(Box::new(packet)),
        ims: None,
        sms: None,
    }
}

/// A context with the members that data has not.
pub fn other_context() -> Context {
    let ims = ImsContext {
        sip_method: Some("INVITE".into()),
        role: Some(0),
        node_functionality: Some(6),
        user_session: Some("call-1".into()),
        calling: vec!["tel:+491".into()],
        called: Some("tel:+492".into()),
        requested: vec!["tel:0049".into()],
        icid: Some("icid-1".into()),
        access_network: vec!["3GPP-E-UTRAN".into()],
        visited_network: Some("ims.example".into()),
        cause_code: Some(-200),
        emergency: true,
    };
    let sms = SmsContext {
        originator: Some("493".into()),
        recipients: vec!["494".into(), "495".into()],
        service_centre: Some("4917".into()),
        message_type: Some(1),
        node: Some(2),
        messages: Some(3),
        data_coding: Some(-1),
        service_type: Some(4),
    };
    Context {
        service: Service::Other(32_280),
        equipment: None,
        correlation: None,
        packet: None,
        ims: Some(Box::new(ims)),
        sms: Some(Box::new(sms)),
        ..data_context()
    }
}

/// A CDR of a data session, with every member set.
pub fn usage(context: Context, number: u64) -> RatedCdr {
    let bucket = |id: &str, holding, origin, before, delta| Movement {
        payer: Payer::Bucket(BucketId::new(id)),
        holding,
        origin,
        before,
        delta,
        cost: if holding == Holding::Money { Money::from_micros(delta) } else { Money::from_micros(-7) },
    };
    let owed = |payer, before, delta| {
        let cost = Money::from_micros(delta);
        Movement { payer, holding: Holding::Money, origin: Origin::Paid, before, delta, cost }
    };
    RatedCdr {
        gives_back: None,
        crossings: vec![Crossing {
            watched: Watched::Allowance(BucketId::new("data#2.0001"), Holding::Units(Unit::Octet)),
            offer: OfferName::new("data-m"),
            subscription: 2,
            label: "nearly used".into(),
            at: 80,
            before: 79,
            after: 81,
        }],
        kind: CdrKind::Usage,
        corrects: Some(CdrPosition::new(5)),
        account: AccountId::new(70),
        number,
        previous: CdrPosition::new(4),
        tenant: TenantId::new(1),
        subscriber: Some(SubscriberId::new(71)),
        source: CdrSource::Network {
            session: SessionId::new(b"pgw.example;1;2"),
            request: 8,
            service: ServiceKey {
                rating_group: Some(RatingGroup::new(10)),
                services: [ServiceId::new(1), ServiceId::new(2)].into(),
            },
            context: Arc::new(context),
        },
        cause: Cause::Interim,
        usage_start: Timestamp::from_millis(1_700_000_000_123),
        usage_end: Timestamp::from_millis(1_700_000_060_000),
        accepted: Timestamp::from_millis(-1),
        reported: Units {
            seconds: Some(60),
            total_octets: Some(30),
            uplink_octets: Some(10),
            downlink_octets: Some(20),
            events: Some(1),
            money: Some(MoneyUnits { amount: Money::from_micros(40), currency: Some(978) }),
        },
        rating: Some(Rating {
            tariff: tariff(),
            price: PriceId::new("data-default"),
            place: 0,
            rate: 1,
            measure: Some(Measure::TotalOctets),
            used_before: 100,
            window: WindowId::default(),
            slice: 2,
            used: 30,
            rated_before: 101,
            rated: 31,
            tier_from: 101,
            charged_before: Money::from_micros(99),
            lines: [
                PriceLine {
                    component: Component::ConnectFee,
                    quantity: 0,
                    exact: Rate::new(50_000, 1).unwrap().price(1).unwrap(),
                },
                PriceLine {
                    component: Component::Tier(1),
                    quantity: 31,
                    exact: Rate::new(10_000, 1 << 20).unwrap().price(31).unwrap(),
                },
            ]
            .into_iter()
            .collect(),
            beyond_grant: 3,
        }),
        bill_cycle: Some(Timestamp::from_seconds(1_700_000_500)),
        booked: Some(Booked {
            period: Timestamp::from_seconds(1_700_000_000),
            usage_period: Timestamp::from_seconds(1_690_000_000),
        }),
        offer: Some(OfferCycle { offer: offer(), subscription: 3, cycle: 2 }),
        amount: Money::from_micros(12_345),
        currency: Currency::EUR,
        movements: [
            bucket("bundle", Holding::Units(Unit::Octet), Origin::Granted, 500, -30),
            bucket("main", Holding::Money, Origin::Paid, 1_000_000, -12_000),
            owed(Payer::Credit, -5, -300),
            owed(Payer::Debt, 0, -45),
        ]
        .into_iter()
        .collect(),
    }
}

/// A CDR as a data session mostly makes it: one price, one bucket, what a gateway usually says.
pub fn typical() -> RatedCdr {
    let packet = PacketContext {
        apn: Some("internet".into()),
        charging_id: Some(1001),
        serving_plmn: Plmn::parse("26201"),
        rat: Some(6),
        location: Some([0x82, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].into()),
        gateway: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))),
        device_addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 45, 0, 9))],
        qci: Some(9),
        ..PacketContext::default()
    };
    let context = Context { correlation: None, packet: Some(Box::new(packet)), ..data_context() };
    let mut cdr = usage(context, 1);
    cdr.corrects = None;
    cdr.reported =
        Units { total_octets: Some(30), uplink_octets: Some(10), downlink_octets: Some(20), ..Units::default() };
    if let Some(rating) = &mut cdr.rating {
        rating.lines.remove(0);
    }
    cdr.movements.truncate(1);
    cdr
}

/// CDRs 1 to `last` from memory, of which those below `first` are gone. At even positions there is usage, at odd ones a top-up; accounts
/// go round: position 7 is of account 8, position 10 of account 1.
pub struct Memory {
    pub cdr: Arc<RatedCdr>,
    pub first: u64,
    pub last: watch::Sender<u64>,
    /// At this position there is nothing although there should be.
    pub hole: Option<u64>,
    /// CDRs that were read.
    pub read: Arc<std::sync::atomic::AtomicU64>,
}

impl Memory {
    pub fn new(first: u64, last: u64) -> Self {
        let cdr = Arc::new(usage(data_context(), 6));
        Self { cdr, first, last: watch::Sender::new(last), hole: None, read: Arc::default() }
    }
}

pub struct MemoryReader {
    cdr: Arc<RatedCdr>,
    last: watch::Receiver<u64>,
    hole: Option<u64>,
    next: u64,
    read: Arc<std::sync::atomic::AtomicU64>,
}

impl CdrFeed for Memory {
    type Reader = MemoryReader;

    fn partition(&self) -> PartitionId {
        PARTITION
    }

    fn extent(&self) -> Extent {
        Extent { first: CdrPosition::new(self.first), last: CdrPosition::new(*self.last.borrow()) }
    }

    fn open(&self, from: CdrPosition) -> Result<MemoryReader, ReadError> {
        let (cdr, last, read) = (Arc::clone(&self.cdr), self.last.subscribe(), Arc::clone(&self.read));
        Ok(MemoryReader { cdr, last, hole: self.hole, next: from.get(), read })
    }

    async fn wait_past(&self, position: CdrPosition) -> Result<(), FeedStopped> {
        let mut last = self.last.subscribe();
        let news = last.wait_for(|last| *last > position.get()).await.map_err(|_| FeedStopped)?;
        // The end of the feed is said by a last position that cannot be.
        if *news == u64::MAX { Err(FeedStopped) } else { Ok(()) }
    }
}

impl CdrReader for MemoryReader {
    fn read(&mut self, batch: &mut CdrBatch) -> Result<(), ReadError> {
        let last = *self.last.borrow();
        while !batch.is_full() && self.next <= last {
            if self.hole == Some(self.next) {
                self.next += 1;
                continue;
            }
            let cdr = CdrView::of(PARTITION, CdrPosition::new(self.next), &self.cdr);
            let kind = if self.next.is_multiple_of(2) { CdrKind::Usage } else { CdrKind::TopUp };
            let cdr = CdrView { kind, account: AccountId::new(1 + self.next % 10), ..cdr };
            batch.push(cdr, Some(hash(self.next)));
            self.next += 1;
            self.read.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The chain's value after the CDR at `position`, for tests.
pub fn hash(position: u64) -> [u8; 32] {
    [u8::try_from(position % 251).unwrap(); 32]
}

/// Serves the feed over loopback.
pub async fn serve(feed: Arc<Memory>, limits: ExportLimits) -> CdrExportClient<Channel> {
    let (listener, address) = listen().await;
    tokio::spawn(answer(feed, limits, listener));
    connect(address).await
}

pub async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub async fn answer(feed: Arc<Memory>, limits: ExportLimits, listener: TcpListener) {
    let router = Server::builder().add_service(CdrExportService::new(feed, limits).into_server());
    router.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
}

pub async fn connect(address: SocketAddr) -> CdrExportClient<Channel> {
    CdrExportClient::connect(format!("http://{address}")).await.unwrap()
}
