//! Records: what is written reads back, what is damaged is refused, and replaying entries rebuilds a shard.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use balance_store::records::{
    self, CdrParts, EntityKind, EntryEncoder, Fault, LogWrite, Moved, Owner, RecordError, StoredCdr, TotalsHead,
    TotalsRow, cdr_parts, decode_entity, decode_entry, decode_totals, decode_totals_head, encode_entity, encode_entry,
    encode_totals, encode_totals_head, join_cdr,
};
use balance_store::{HashChain, keys};
use proptest::prelude::*;
use rating_engine::account::{
    Account, AccountState, Bucket, BucketScope, CdrTrail, Contract, Counter, Counters, Credit, Flow, Holding, Origin,
    Reservation, Sponsor, Subscriber, Subscription, SubscriptionState, Terms, Total, Who,
};
use rating_engine::calendar::{WindowId, Zone};
use rating_engine::cdr::{
    Cause, CdrKind, CdrSource, Component, Movement, OfferCycle, Payer, PriceLine, RatedCdr, Rating,
};
use rating_engine::command::{
    Action, Answered, Change, Command, Denial, Effects, EntityKey, Grant, Mutation, MutationOutcome, Outcome, Profile,
    Refusal, Request, RequestKind, Requested, ServiceOutcome, ServiceRequest, ServiceResult, SessionChange, TariffPart,
    Used,
};
use rating_engine::context::{Context, ImsContext, PacketContext, Plmn, Slice, SmsContext};
use rating_engine::crossing::{Crossing, Watched};
use rating_engine::ids::{
    AccountId, BucketId, CdrPosition, CounterId, Digits, GroupId, Iccid, IdempotencyKey, Identifier, Lsn, OfferName,
    PriceId, RatingGroup, ServiceId, SessionId, SubscriberId, TariffName, TenantId,
};
use rating_engine::money::{Currency, Exact, Money, Rate, Rounding};
use rating_engine::offer::{OfferDraft, OfferVersion};
use rating_engine::period::{Cycle, Period};
use rating_engine::periods::Booked;
use rating_engine::selector::Filter;
use rating_engine::session::{
    ChargePart, EventCharge, GrantState, LineState, Phase, Rated, Seen, ServiceState, Session, StoredAnswer,
};
use rating_engine::shard::{Archived, Entity, Image, Limits, MutationRecord, Shard};
use rating_engine::tariff::{
    FinanceCodes, PerWindow, Price, Service, ServiceKey, TariffDraft, TariffVersion, Tier, Tiers,
};
use rating_engine::tariffs::LineKey;
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;
use rating_engine::units::{Measure, MoneyUnits, Unit, Units};

const FLOWS: [Flow; 10] = [
    Flow::Opening,
    Flow::TopUp,
    Flow::Grant,
    Flow::Refund,
    Flow::Debit,
    Flow::Expiry,
    Flow::AdjustmentIn,
    Flow::AdjustmentOut,
    Flow::TransferIn,
    Flow::TransferOut,
];

/// Random values from a seed that proptest prints: every variant of every enum comes up.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        let place = self.below(values.len() as u64);
        values[usize::try_from(place).unwrap()].clone()
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    /// Numbers of all lengths, the far ends among them.
    fn u64(&mut self) -> u64 {
        match self.below(8) {
            0 => u64::MAX,
            1 => 0,
            _ => self.next() >> self.below(64),
        }
    }

    fn i64(&mut self) -> i64 {
        match self.below(16) {
            0 => i64::MIN,
            1 => i64::MAX,
            _ => {
                let value = (self.next() >> 1 >> self.below(63)).cast_signed();
                if self.flip() { value } else { -value }
            }
        }
    }

    fn u32(&mut self) -> u32 {
        u32::try_from(self.u64() >> 32).unwrap()
    }

    fn u16(&mut self) -> u16 {
        u16::try_from(self.u64() >> 48).unwrap()
    }

    fn u8(&mut self) -> u8 {
        u8::try_from(self.u64() >> 56).unwrap()
    }

    fn option<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.flip() { Some(make(self)) } else { None }
    }

    fn list<T, C: FromIterator<T>>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> C {
        (0..self.below(4)).map(|_| make(self)).collect()
    }

    fn octets(&mut self) -> Vec<u8> {
        (0..self.below(20)).map(|_| self.u8()).collect()
    }

    fn text(&mut self) -> String {
        (0..self.below(12)).map(|_| self.pick(&['a', '0', '.', 'ß', '\0', '€'])).collect()
    }

    fn time(&mut self) -> Timestamp {
        if self.flip() { Timestamp::NEVER } else { Timestamp::from_millis(self.i64()) }
    }

    fn money(&mut self) -> Money {
        Money::from_micros(self.i64())
    }

    fn currency(&mut self) -> Currency {
        Currency::parse(self.pick(&["EUR", "USD", "VND"])).unwrap()
    }

    fn holding(&mut self) -> Holding {
        self.pick(&[
            Holding::Money,
            Holding::Units(Unit::Second),
            Holding::Units(Unit::Octet),
            Holding::Units(Unit::Event),
        ])
    }

    fn origin(&mut self) -> Origin {
        self.pick(&[Origin::Paid, Origin::Granted])
    }

    fn state(&mut self) -> AccountState {
        self.pick(&[AccountState::Active, AccountState::Suspended, AccountState::Barred, AccountState::Closed])
    }

    fn cause(&mut self) -> Cause {
        self.pick(&[
            Cause::Interim,
            Cause::Final,
            Cause::Event,
            Cause::Expired,
            Cause::ClientRestarted,
            Cause::Reopened,
            Cause::Operator,
        ])
    }

    fn service(&mut self) -> Service {
        let other = Service::Other(self.u32());
        self.pick(&[Service::Data, Service::Voice, Service::Sms, Service::Mms, other])
    }

    fn key(&mut self) -> ServiceKey {
        ServiceKey {
            rating_group: self.option(|d| RatingGroup::new(d.u32())),
            services: self.list(|d| ServiceId::new(d.u32())),
        }
    }

    fn session_id(&mut self) -> SessionId {
        SessionId::new(&self.octets())
    }

    fn bucket_id(&mut self) -> BucketId {
        BucketId::new(&self.text())
    }

    fn payer(&mut self) -> Payer {
        let bucket = Payer::Bucket(self.bucket_id());
        self.pick(&[bucket, Payer::Credit, Payer::Debt])
    }

    fn units(&mut self) -> Units {
        Units {
            seconds: self.option(Self::u64),
            total_octets: self.option(Self::u64),
            uplink_octets: self.option(Self::u64),
            downlink_octets: self.option(Self::u64),
            events: self.option(Self::u64),
            money: self.option(|d| MoneyUnits { amount: d.money(), currency: d.option(Self::u32) }),
        }
    }

    fn account(&mut self) -> Account {
        Account {
            id: AccountId::new(self.u64()),
            group: GroupId::new(self.u64()),
            tenant: TenantId::new(self.u16()),
            currency: self.currency(),
            state: self.state(),
            credit: self.option(|d| Credit { limit: d.money(), spent: d.money(), reserved: d.money() }),
            debt: self.money(),
            buckets: self.list(|d| Bucket {
                id: d.bucket_id(),
                holding: d.holding(),
                origin: d.origin(),
                balance: d.i64(),
                reserved: d.i64(),
                priority: d.u16(),
                valid_from: d.time(),
                valid_to: d.time(),
                scope: d.option(|d| {
                    Box::new(BucketScope {
                        services: d.list(Self::service),
                        rating_groups: d.list(|d| RatingGroup::new(d.u32())),
                        service_ids: d.list(|d| ServiceId::new(d.u32())),
                    })
                }),
                terms: d.option(|d| {
                    Box::new(Terms {
                        subscription: d.u32(),
                        opened: d.i64(),
                        cost: d.money(),
                        rolled: d.u8(),
                        member_cap: d.option(Self::u64),
                    })
                }),
            }),
            totals: self.list(|d| Total { holding: d.holding(), flow: d.pick(&FLOWS), amount: d.i64() }),
            contract: self.option(|d| Box::new(d.contract())),
            cdrs: CdrTrail { count: self.u64(), last: CdrPosition::new(self.u64()) },
        }
    }

    fn contract(&mut self) -> Contract {
        Contract {
            cycle: self.option(|d| Cycle {
                anchor: d.time(),
                period: d.pick(&[Period::months(1).unwrap(), Period::days(28).unwrap(), Period::hours(24).unwrap()]),
                zone: Zone::get(d.pick(&["Europe/Berlin", "UTC", "Asia/Kolkata"])).unwrap(),
            }),
            subscriptions: self.list(|d| Subscription {
                number: d.u32(),
                offer: OfferName::new(&d.text()),
                version: d.u32(),
                subscriber: SubscriberId::new(d.u64()),
                cycle: d.u32(),
                anchor: (d.time(), d.u32()),
                cycle_start: d.time(),
                cycle_end: d.time(),
                state: d.pick(&[SubscriptionState::Active, SubscriptionState::Unpaid, SubscriptionState::Awaited]),
                ends_at: d.option(Self::time).unwrap_or(Timestamp::NEVER),
                spent: (d.u32(), d.money()),
            }),
            last_number: self.u32(),
            pools: self.list(|d| (CounterId::new(&d.text()), d.u64())),
        }
    }

    fn counters(&mut self) -> Counters {
        Counters::new(self.list(|d| Counter {
            id: CounterId::new(&d.text()),
            unit: d.pick(&[Unit::Second, Unit::Octet, Unit::Event]),
            used: d.u64(),
            used_before: d.u64(),
            cycle_start: d.time(),
            cycle_end: d.time(),
        }))
    }

    fn subscriber(&mut self) -> Subscriber {
        Subscriber {
            id: SubscriberId::new(self.u64()),
            tenant: TenantId::new(self.u16()),
            account: AccountId::new(self.u64()),
            group: GroupId::new(self.u64()),
            tariff: TariffName::new(&self.text()),
            state: self.state(),
            counters: self.counters(),
            sponsor: self.option(Self::sponsor),
        }
    }

    fn sponsor(&mut self) -> Arc<Sponsor> {
        let windows: Vec<Box<str>> = self.list(|d| d.text().into());
        Arc::new(Sponsor { account: AccountId::new(self.u64()), windows: windows.into(), allowance: self.flip() })
    }

    fn reservation(&mut self) -> Reservation {
        Reservation { buckets: self.list(|d| (d.bucket_id(), d.i64())), credit: self.money() }
    }

    fn identifier(&mut self) -> Identifier {
        let digits = Digits::parse(&(self.next() % 1_000_000_000_000).to_string()).unwrap();
        let text: Box<str> = self.text().into();
        self.pick(&[
            Identifier::Msisdn(digits),
            Identifier::Imsi(digits),
            Identifier::Sip(text.clone()),
            Identifier::Nai(text.clone()),
            Identifier::Private(text.clone()),
            Identifier::Iccid(Iccid::parse(&digits.to_string()).unwrap()),
            Identifier::External(text),
        ])
    }

    fn address(&mut self) -> IpAddr {
        let v6 = u128::from(self.next()) << 64 | u128::from(self.next());
        if self.flip() { Ipv4Addr::from(self.u32()).into() } else { Ipv6Addr::from(v6).into() }
    }

    fn plmn(&mut self) -> Plmn {
        Plmn::parse(self.pick(&["26201", "310410"])).unwrap()
    }

    fn context(&mut self) -> Context {
        let (label, realm) = (self.text(), self.text());
        Context {
            service: self.service(),
            service_context: self.text().into(),
            client_host: if self.flip() { format!("{label}.{realm}").into() } else { label.into() },
            client_realm: realm.into(),
            identifiers: self.list(Self::identifier),
            equipment: self.option(|d| d.octets().into()),
            correlation: self.option(|d| d.octets().into()),
            packet: self.option(|d| Box::new(d.packet())),
            ims: self.option(|d| Box::new(d.ims())),
            sms: self.option(|d| Box::new(d.sms())),
        }
    }

    fn packet(&mut self) -> PacketContext {
        PacketContext {
            apn: self.option(|d| d.text().into()),
            charging_id: self.option(Self::u32),
            pdn_connection_id: self.option(Self::u32),
            serving_plmn: self.option(Self::plmn),
            home_plmn: self.option(Self::plmn),
            gateway_plmn: self.option(Self::plmn),
            rat: self.option(Self::u8),
            location: self.option(|d| d.octets().into()),
            time_zone: self.option(|d| [d.u8(), d.u8()]),
            slice: self.option(|d| Slice { service_type: d.u8(), differentiator: d.option(Self::u32) }),
            charging_characteristics: self.option(Self::u16),
            serving_node: self.option(Self::address),
            serving_node_type: self.option(Self::u32),
            gateway: self.option(Self::address),
            device_addresses: self.list(Self::address),
            pdp_type: self.option(Self::u32),
            nsapi: self.option(Self::u8),
            selection_mode: self.option(Self::u8),
            qci: self.option(Self::u32),
            rule_base: self.option(|d| d.text().into()),
            ps_data_off: self.option(Self::u32),
            presence_area: self.option(Self::u32),
        }
    }

    fn ims(&mut self) -> ImsContext {
        ImsContext {
            sip_method: self.option(|d| d.text().into()),
            role: self.option(Self::u32),
            node_functionality: self.option(Self::u32),
            user_session: self.option(|d| d.text().into()),
            calling: self.list(|d| d.text().into()),
            called: self.option(|d| d.text().into()),
            requested: self.list(|d| d.text().into()),
            icid: self.option(|d| d.text().into()),
            access_network: self.list(|d| d.text().into()),
            visited_network: self.option(|d| d.text().into()),
            cause_code: self.option(|d| i32::try_from(d.i64() >> 32).unwrap()),
            emergency: self.flip(),
        }
    }

    fn sms(&mut self) -> SmsContext {
        SmsContext {
            originator: self.option(|d| d.text().into()),
            recipients: self.list(|d| d.text().into()),
            service_centre: self.option(|d| d.text().into()),
            message_type: self.option(Self::u32),
            node: self.option(Self::u32),
            messages: self.option(Self::u32),
            data_coding: self.option(|d| i32::try_from(d.i64() >> 32).unwrap()),
            service_type: self.option(Self::u32),
        }
    }

    fn refusal(&mut self) -> Refusal {
        self.pick(&[
            Refusal::UnknownSubscriber,
            Refusal::IdentifiersDisagree,
            Refusal::UnknownSession,
            Refusal::ServiceDenied,
            Refusal::Rejected,
            Refusal::CreditLimitReached,
            Refusal::RatingFailed,
            Refusal::KeyReused,
            Refusal::AnswerGone,
            Refusal::NothingToRefund,
            Refusal::RefundBeyondCharge,
            Refusal::TooBusy,
            Refusal::OutOfRange,
            Refusal::Invalid("no such account"),
        ])
    }

    fn answer(&mut self) -> StoredAnswer {
        let answered = Answered {
            services: self.list(|d| ServiceOutcome {
                key: d.key(),
                result: match d.below(3) {
                    0 => ServiceResult::Settled,
                    1 => ServiceResult::Granted(Grant {
                        units: d.units().into(),
                        validity_seconds: d.u32(),
                        threshold: d.u64(),
                        switch: d.option(Self::time),
                        last: d.flip(),
                    }),
                    _ => ServiceResult::Denied(d.pick(&[
                        Denial::CreditLimitReached,
                        Denial::ServiceDenied,
                        Denial::Rejected,
                        Denial::RatingFailed,
                        Denial::UsageSuspect,
                    ])),
                },
            }),
            cost: self.option(|d| (d.money(), d.currency())),
            enough_credit: self.option(Self::flip),
            session_gone: self.flip(),
            refund_reference: self.option(Self::session_id),
        };
        StoredAnswer {
            kind: self.pick(&[RequestKind::Start, RequestKind::Update, RequestKind::Stop, RequestKind::Event]),
            number: self.u32(),
            digest: self.u64(),
            outcome: Arc::new(if self.below(4) == 0 {
                Outcome::Refused(self.refusal())
            } else {
                Outcome::Answered(answered)
            }),
        }
    }

    fn mutation(&mut self) -> MutationRecord {
        MutationRecord {
            group: GroupId::new(self.u64()),
            digest: self.u64(),
            outcome: Arc::new(if self.flip() {
                MutationOutcome::Done { balance: self.money(), cdr_number: self.u64() }
            } else {
                MutationOutcome::Refused(self.refusal())
            }),
            forget_at: self.time(),
        }
    }

    fn session(&mut self) -> Session {
        Session {
            id: self.session_id(),
            subscriber: SubscriberId::new(self.u64()),
            tenant: TenantId::new(self.u16()),
            account: AccountId::new(self.u64()),
            sponsor: self.option(Self::sponsor),
            opened: self.time(),
            heard: self.time(),
            client_state: self.u32(),
            context: Arc::new(self.context()),
            tariff: tariff(),
            services: self.list(|d| ServiceState {
                key: d.key(),
                rated: Rated {
                    lines: d.list(|d| LineState {
                        key: LineKey { version: d.u32(), price: d.u16(), window: WindowId::new(d.u8()), rate: d.u16() },
                        used: d.u64(),
                        unpaid: d.u64(),
                        rated: d.u64(),
                        tiers: d.list(Self::u64),
                    }),
                    last: d.u8(),
                    connect_fee: d.option(Self::money),
                    charged: d.money(),
                    network_rated: d.money(),
                },
                grant: d.option(|d| GrantState {
                    number: d.u32(),
                    quantity: d.u64(),
                    at: d.time(),
                    validity_seconds: d.u32(),
                    switch: d.option(Self::time),
                    reservation: d.reservation(),
                    sponsored: d.option(|d| Box::new(d.reservation())),
                }),
                since: d.time(),
                answered: d.option(Self::time),
                waiting: d.flip(),
            }),
            start: (self.u32(), self.u64()),
            answers: self.list(Self::answer),
            next_slot: self.u8(),
            seen: Seen { top: self.u32(), bits: self.u64() },
            phase: match self.below(3) {
                0 => Phase::Open,
                1 => Phase::Denied { forget_at: self.time() },
                _ => Phase::Ended { cause: self.cause(), forget_at: self.time() },
            },
            charges: self.list(|d| EventCharge {
                key: d.key(),
                who: d.pick(&[Who::Own, Who::Sponsor]),
                cdr: CdrPosition::new(d.u64()),
                began: d.option(Self::time),
                measure: d.option(|d| d.pick(&[Measure::Seconds, Measure::TotalOctets, Measure::Events])),
                quantity: d.u64(),
                refunded: d.u64(),
                amount: d.money(),
                parts: d.list(|d| ChargePart {
                    payer: d.payer(),
                    holding: d.holding(),
                    amount: d.i64(),
                    refunded: d.i64(),
                }),
            }),
        }
    }

    fn exact(&mut self) -> Exact {
        let price = Rate::new(self.next() >> 16, (self.next() >> 32) + 1).unwrap().price(self.next() >> 16).unwrap();
        price.checked_add(Exact::from_money(Money::from_micros(self.i64() >> 20))).unwrap_or(price)
    }

    fn cdr(&mut self) -> RatedCdr {
        RatedCdr {
            kind: self.pick(&[
                CdrKind::Usage,
                CdrKind::TopUp,
                CdrKind::Refund,
                CdrKind::Suspense,
                CdrKind::Lapse,
                CdrKind::Adjustment,
                CdrKind::Transfer,
            ]),
            corrects: self.option(|d| CdrPosition::new(d.u64())),
            account: AccountId::new(self.u64()),
            number: self.u64(),
            previous: CdrPosition::new(self.u64()),
            tenant: TenantId::new(self.u16()),
            subscriber: self.option(|d| SubscriberId::new(d.u64())),
            source: if self.below(4) > 0 {
                let context = self.context();
                // Most clients put their name before what makes it unique.
                let named = if self.flip() { context.client_host.as_bytes() } else { b"" };
                let session = SessionId::new(&[named, &self.octets()].concat());
                CdrSource::Network { session, request: self.u32(), service: self.key(), context: Arc::new(context) }
            } else {
                CdrSource::Operator { key: IdempotencyKey::new(&self.text()), reason: self.text().into() }
            },
            cause: self.cause(),
            usage_start: self.time(),
            usage_end: self.time(),
            accepted: self.time(),
            reported: self.units(),
            rating: self.option(|d| Rating {
                tariff: tariff(),
                price: PriceId::new(&d.text()),
                window: WindowId::default(),
                slice: d.u16(),
                measure: d.option(|d| {
                    d.pick(&[
                        Measure::Seconds,
                        Measure::TotalOctets,
                        Measure::UplinkOctets,
                        Measure::DownlinkOctets,
                        Measure::Events,
                    ])
                }),
                used_before: d.u64(),
                used: d.u64(),
                rated_before: d.u64(),
                rated: d.u64(),
                tier_from: d.u64(),
                rate: d.u16(),
                place: d.u16(),
                charged_before: d.money(),
                lines: d.list(|d| PriceLine {
                    component: if d.flip() { Component::ConnectFee } else { Component::Tier(d.u16()) },
                    quantity: d.u64(),
                    exact: d.exact(),
                }),
                beyond_grant: d.u64(),
            }),
            booked: self.option(|d| Booked { period: d.time(), usage_period: d.time() }),
            bill_cycle: self.option(Self::time),
            offer: self.option(|d| OfferCycle { offer: offer(), subscription: d.u32(), cycle: d.u32() }),
            amount: self.money(),
            currency: self.currency(),
            movements: self.list(|d| {
                let (holding, origin, delta, cost) = (d.holding(), d.origin(), d.i64(), d.money());
                let cost = match (holding, origin) {
                    (Holding::Units(_), _) => cost,
                    (Holding::Money, Origin::Paid) => Money::from_micros(delta),
                    (Holding::Money, Origin::Granted) => Money::ZERO,
                };
                Movement { payer: d.payer(), holding, origin, before: d.i64(), delta, cost }
            }),
            gives_back: None,
            crossings: self.list(|d| Crossing {
                watched: match d.below(3) {
                    0 => Watched::Allowance(BucketId::new(&d.text()), d.holding()),
                    1 => Watched::Spend,
                    _ => Watched::Balance,
                },
                offer: OfferName::new(&d.text()),
                subscription: d.u32(),
                label: d.text().into(),
                at: d.i64(),
                before: d.i64(),
                after: d.i64(),
            }),
        }
    }
}

fn offer() -> Arc<OfferVersion> {
    let draft = OfferDraft {
        name: OfferName::new("data-m"),
        version: 2,
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
        finance: codes("fee"),
        content_hash: [0x5A; 32],
    };
    draft.publish().unwrap()
}

fn codes(revenue_rule: &str) -> FinanceCodes {
    FinanceCodes {
        tax_category: "standard".into(),
        tax_included: true,
        place_of_supply: "DE".into(),
        ledger_code: "4000".into(),
        revenue_rule: revenue_rule.into(),
    }
}

fn price(id: &str, service: Service, measure: Measure, tiers: Vec<Tier>, connect_fee: i64) -> Price {
    let filter = Filter { service: Some(service), ..Filter::default() };
    Price {
        tiers: PerWindow::always(Tiers::new(tiers).unwrap()),
        connect_fee: PerWindow::always(Money::from_micros(connect_fee)),
        ..Price::flat(PriceId::new(id), filter, measure, Rate::ZERO)
    }
}

fn tariff() -> Arc<TariffVersion> {
    let rate = |micros, per| Rate::new(micros, per).unwrap();
    let flat = |micros, per| vec![Tier { up_to: None, rate: rate(micros, per) }];
    let graduated =
        vec![Tier { up_to: Some(180), rate: rate(200_000, 60) }, Tier { up_to: None, rate: rate(50_000, 60) }];
    let prices = vec![
        price("data", Service::Data, Measure::TotalOctets, flat(10_000, 1_048_576), 0),
        price("voice", Service::Voice, Measure::Seconds, graduated, 50_000),
        price("sms", Service::Sms, Measure::Events, flat(90_000, 1), 0),
    ];
    TariffDraft::new(TariffName::new("gold"), 3, Currency::EUR, Rounding::MICRO, prices, [0xA5; 32]).publish().unwrap()
}

fn resolve(name: &TariffName, version: u32) -> Option<Arc<TariffVersion>> {
    Some(tariff()).filter(|tariff| tariff.name() == name && tariff.version() == version)
}

fn octets(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// Without what stands in memory only.
fn unheld(account: &Account) -> Account {
    let mut account = account.clone();
    account.buckets.iter_mut().for_each(|bucket| bucket.reserved = 0);
    if let Some(credit) = &mut account.credit {
        credit.reserved = Money::ZERO;
    }
    account
}

/// Every shorter piece is refused; changed octets are read as something or refused, and nothing else happens.
fn damaged<T>(whole: &[u8], dice: &mut Dice, read: impl Fn(&[u8]) -> Result<T, RecordError>) {
    assert!(read(whole).is_ok());
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).is_err(), "{end} of {} octets were taken for all", whole.len());
    }
    let mut longer = whole.to_vec();
    longer.push(0);
    assert!(read(&longer).is_err());
    for place in 0..whole.len() {
        let mut other = whole.to_vec();
        other[place] = dice.u8();
        let _ = read(&other);
        other[place] = 0xFF;
        let _ = read(&other);
    }
}

/// A read that takes whatever it is, for damage.
type Reading = Box<dyn Fn(&[u8]) -> Result<(), RecordError>>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn accounts_subscribers_and_contexts_read_back(seed: u64) {
        let mut dice = Dice(seed);
        let account = dice.account();
        let written = octets(|out| records::encode_account(out, &account));
        prop_assert_eq!(records::decode_account(account.id, &written), Ok(unheld(&account)));
        let subscriber = dice.subscriber();
        let written = octets(|out| records::encode_subscriber(out, &subscriber));
        prop_assert_eq!(records::decode_subscriber(subscriber.id, &written), Ok(subscriber));
        let context = dice.context();
        let written = octets(|out| records::encode_context(out, &context));
        prop_assert_eq!(records::decode_context(&written), Ok(context));
    }

    #[test]
    fn answers_and_mutations_read_back(seed: u64) {
        let mut dice = Dice(seed);
        let answer = dice.answer();
        let written = octets(|out| records::encode_answer(out, &answer));
        prop_assert_eq!(records::decode_answer(&written), Ok(answer));
        let mutation = dice.mutation();
        let written = octets(|out| records::encode_mutation(out, &mutation));
        prop_assert_eq!(records::decode_mutation(&written), Ok(mutation));
    }

    #[test]
    fn sessions_read_back_as_far_as_they_were_written(seed: u64) {
        let mut dice = Dice(seed);
        let (session, group) = (dice.session(), GroupId::new(dice.u64()));
        let written = octets(|out| records::encode_session(out, &session, group));
        let image = records::decode_session(session.id.clone(), &written, &resolve).unwrap();
        prop_assert_eq!((&*image.session, image.group), (&session, group));
        prop_assert_eq!(image.change, SessionChange { fresh: true, context: true, answer: None });

        let slot = u8::try_from(session.answers.len()).unwrap().checked_sub(1).filter(|_| dice.flip());
        let change = SessionChange { fresh: false, context: dice.flip(), answer: slot };
        let written = octets(|out| records::encode_session_change(out, &session, group, change));
        let image = records::decode_session(session.id.clone(), &written, &resolve).unwrap();
        prop_assert_eq!(image.change, change);
        let mut expected = session;
        expected.answers = slot.and_then(|slot| expected.answers.get(usize::from(slot)).cloned()).into_iter().collect();
        if !change.context {
            expected.context = image.session.context.clone();
        }
        prop_assert_eq!(&*image.session, &expected);
    }

    #[test]
    fn cdrs_read_back_without_their_tariff_and_forget_whose_they_were(seed: u64) {
        let mut dice = Dice(seed);
        let cdr = dice.cdr();
        let written = octets(|out| records::encode_cdr(out, &cdr));
        prop_assert_eq!(records::decode_cdr(&written), Ok(StoredCdr::of(&cdr)));
        let has_crossings = !cdr.crossings.is_empty();
        let head = records::CdrHead { kind: cdr.kind, account: cdr.account, has_crossings };
        prop_assert_eq!(records::cdr_head(&written), Ok(head), "what is read first is what is read of the whole");

        let parts = cdr_parts(&written).unwrap();
        prop_assert_eq!(&octets(|out| join_cdr(out, parts)), &written);
        let forgotten = octets(|out| join_cdr(out, CdrParts { identity: &[], ..parts }));
        let mut expected = StoredCdr::of(&cdr);
        expected.identity_forgotten = true;
        if let CdrSource::Network { context, .. } = &mut expected.source {
            let context = Arc::make_mut(context);
            context.identifiers.clear();
            context.equipment = None;
            if let Some(packet) = &mut context.packet {
                packet.device_addresses.clear();
            }
            if let Some(ims) = &mut context.ims {
                (ims.calling, ims.called, ims.requested) = Default::default();
            }
            if let Some(sms) = &mut context.sms {
                (sms.originator, sms.recipients) = Default::default();
            }
        }
        prop_assert_eq!(records::decode_cdr(&forgotten), Ok(expected));
    }

    #[test]
    fn values_carry_their_stamp_and_group(seed: u64) {
        let mut dice = Dice(seed);
        let (lsn, group) = (Lsn::new(dice.u64()), GroupId::new(dice.u64()));
        let (account, session, subscriber) = (unheld(&dice.account()), dice.session(), dice.subscriber());
        let (key, mutation) = (IdempotencyKey::new(&dice.text()), dice.mutation());
        for (kind, named, entity, its_group) in [
            (EntityKind::Account, EntityKey::Account(account.id), Entity::Account(&account), account.group),
            (EntityKind::Session, EntityKey::Session(session.id.clone()), Entity::Session(&session), group),
            (EntityKind::Subscriber, EntityKey::Subscriber(subscriber.id), Entity::Subscriber(&subscriber), subscriber.group),
            (EntityKind::Mutation, EntityKey::Mutation((mutation.group, key.clone())), Entity::Mutation(&key, &mutation), mutation.group),
        ] {
            let value = octets(|out| encode_entity(out, entity, group, lsn));
            prop_assert!(value.starts_with(&lsn.get().to_be_bytes()));
            let stored = decode_entity(kind, &octets(|out| keys::entity(out, its_group, &named)), &value, &resolve).unwrap();
            prop_assert_eq!((stored.lsn, stored.group), (lsn, its_group));
            let same = match (&stored.image, entity) {
                (Image::Account(a), Entity::Account(b)) => a == b,
                (Image::Session(a), Entity::Session(b)) => **a == *b,
                (Image::Subscriber(a), Entity::Subscriber(b)) => a == b,
                (Image::Mutation(k, a), Entity::Mutation(l, b)) => (k, a) == (l, b),
                _ => false,
            };
            prop_assert!(same, "{:?} read as {:?}", entity, stored.image);
        }
        let owner = Owner { subscriber: subscriber.id, group };
        prop_assert_eq!(records::decode_owner(&octets(|out| records::encode_owner(out, owner, lsn))), Ok((owner, lsn)));
        let document = dice.octets();
        let value = octets(|out| records::encode_document(out, &document, lsn));
        prop_assert_eq!(records::decode_document(&value), Ok((&document[..], lsn)));
    }

    #[test]
    fn identifiers_and_documents_share_an_entry(seed: u64) {
        let mut dice = Dice(seed);
        let (named, lost, owner) = (dice.identifier(), dice.identifier(), Owner::of(&dice.subscriber()));
        let (tenant, version, source) = (TenantId::new(dice.u16()), dice.u32(), dice.octets());
        let now = dice.time();
        let written = octets(|out| {
            EntryEncoder::begin(out, now, Some(owner.group))
                .identifier(tenant, &named, Some(owner))
                .identifier(tenant, &lost, None)
                .catalogue(&TariffName::new("gold"), version, &source)
                .finish();
        });
        let entry = decode_entry(&written, &resolve).unwrap();
        prop_assert_eq!((entry.now, entry.group), (now, Some(owner.group)));
        let [LogWrite::Identifier(t, a, Some(o)), LogWrite::Identifier(u, b, None), LogWrite::Catalogue { name, version: v, source: s }] =
            &entry.writes[..]
        else {
            return Err(TestCaseError::fail("other writes"));
        };
        prop_assert_eq!((*t, a, *o), (tenant, &named, owner));
        prop_assert_eq!((*u, b), (tenant, &lost));
        prop_assert_eq!((name.as_str(), *v, &**s), ("gold", version, &source[..]));
    }

    #[test]
    fn records_of_the_desk_are_read_as_written(seed: u64) {
        let mut dice = Dice(seed);
        let (key, gone, value, lsn) = (dice.octets(), dice.octets(), dice.octets(), Lsn::new(dice.u64()));
        let written = octets(|out| {
            EntryEncoder::begin(out, dice.time(), None).desk(&key, Some(&value)).desk(&gone, None).finish();
        });
        let entry = decode_entry(&written, &resolve).unwrap();
        let [LogWrite::Desk { key: k, value: Some(v) }, LogWrite::Desk { key: g, value: None }] = &entry.writes[..] else {
            return Err(TestCaseError::fail("other writes"));
        };
        prop_assert_eq!((&**k, &**v, &**g), (&key[..], &value[..], &gone[..]));
        prop_assert!(entry.writes.iter().all(|write| write.group().is_none()));
        let stored = octets(|out| records::encode_desk_value(out, &value, lsn));
        prop_assert_eq!(records::decode_desk_value(&stored), Ok((&value[..], lsn)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_records_are_refused_or_read_as_something(seed: u64) {
        let mut dice = Dice(seed);
        let (account, session, group) = (dice.account(), dice.session(), GroupId::new(dice.u64()));
        let id = session.id.clone();
        let cases: Vec<(Vec<u8>, Reading)> = vec![
            (octets(|out| records::encode_account(out, &account)), Box::new(move |octets| records::decode_account(account.id, octets).map(drop))),
            (octets(|out| records::encode_subscriber(out, &dice.subscriber())), Box::new(|octets| records::decode_subscriber(SubscriberId::new(1), octets).map(drop))),
            (octets(|out| records::encode_session(out, &session, group)), Box::new(move |octets| records::decode_session(id.clone(), octets, &resolve).map(drop))),
            (octets(|out| records::encode_mutation(out, &dice.mutation())), Box::new(|octets| records::decode_mutation(octets).map(drop))),
            (octets(|out| records::encode_answer(out, &dice.answer())), Box::new(|octets| records::decode_answer(octets).map(drop))),
            (octets(|out| records::encode_context(out, &dice.context())), Box::new(|octets| records::decode_context(octets).map(drop))),
            (octets(|out| records::encode_cdr(out, &dice.cdr())), Box::new(|octets| records::decode_cdr(octets).map(drop))),
        ];
        for (whole, read) in cases {
            damaged(&whole, &mut dice, read);
        }
    }

    #[test]
    fn any_octets_are_refused_or_read_as_something(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        for version in [false, true] {
            let mut octets = octets.clone();
            if version {
                octets.insert(0, 1);
            }
            let _ = records::decode_account(AccountId::new(1), &octets);
            let _ = records::decode_session(SessionId::new(b"s"), &octets, &resolve);
            let _ = records::decode_cdr(&octets);
            let _ = records::decode_context(&octets);
            let _ = records::decode_answer(&octets);
            let _ = decode_entry(&octets, &resolve);
            let _ = keys::read_identifier(&octets);
            let _ = keys::read_catalogue(&octets);
            for kind in [EntityKind::Account, EntityKind::Session, EntityKind::Subscriber, EntityKind::Mutation] {
                let _ = decode_entity(kind, &octets, &octets, &resolve);
            }
        }
    }

    #[test]
    fn replayed_entries_rebuild_the_shard(seed: u64) {
        let mut world = World::new(seed);
        for _ in 0..150 {
            world.step();
        }
        world.compare(&world.replayed(false));
        world.compare(&world.replayed(true));
    }
}

#[test]
fn a_missing_or_other_tariff_is_named() {
    let session = Dice(7).session();
    let written = octets(|out| records::encode_session(out, &session, GroupId::new(1)));
    let read = |resolve: &records::Resolve<'_>| {
        records::decode_session(session.id.clone(), &written, resolve).unwrap_err().to_string()
    };
    assert!(read(&|_, _| None).ends_with("tariff gold version 3 is missing"));
    let price = price("p", Service::Sms, Measure::Events, vec![Tier { up_to: None, rate: Rate::ZERO }], 0);
    let other = TariffDraft::new(TariffName::new("gold"), 3, Currency::EUR, Rounding::MICRO, vec![price], [0; 32]);
    let other = other.publish().unwrap();
    assert!(read(&|_, _| Some(other.clone())).contains("is not the content"));
}

#[test]
fn a_later_format_is_refused() {
    let error = records::decode_account(AccountId::new(1), &[9]).unwrap_err();
    assert_eq!(error, RecordError { what: "account", offset: 0, fault: Fault::Version(9) });
}

/// A shard, its log and its state, driven by random commands.
struct World {
    dice: Dice,
    shard: Shard,
    tariffs: Tariffs,
    now: Timestamp,
    lsn: Lsn,
    cdrs: CdrPosition,
    log: Vec<(Lsn, Vec<u8>)>,
    /// What the state holds, by kind and key.
    state: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    checkpoint: Lsn,
    /// The sweep that is under way: what it will have covered, and how many records it still has to take.
    sweep: Option<(Lsn, usize)>,
    /// Octets of the typical entries seen.
    numbers: BTreeMap<String, u32>,
}

const KINDS: [EntityKind; 4] = [EntityKind::Account, EntityKind::Session, EntityKind::Subscriber, EntityKind::Mutation];

fn kind_of(key: &EntityKey) -> u8 {
    match key {
        EntityKey::Account(_) => 0,
        EntityKey::Session(_) => 1,
        EntityKey::Subscriber(_) => 2,
        EntityKey::Mutation(_) => 3,
    }
}

fn bucket(id: &str, holding: Holding, balance: i64) -> Bucket {
    Bucket {
        id: BucketId::new(id),
        holding,
        origin: Origin::Paid,
        balance,
        reserved: 0,
        priority: 100,
        valid_from: Timestamp::default(),
        valid_to: Timestamp::NEVER,
        scope: None,
        terms: None,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut tariffs = Tariffs::default();
        tariffs.insert(tariff());
        let mut world = Self {
            dice: Dice(seed),
            shard: Shard::new(LIMITS),
            tariffs,
            now: Timestamp::from_seconds(1_795_000_000),
            lsn: Lsn::default(),
            cdrs: CdrPosition::new(1),
            log: Vec::new(),
            state: BTreeMap::new(),
            checkpoint: Lsn::default(),
            sweep: None,
            numbers: BTreeMap::new(),
        };
        for number in 1..=3u64 {
            let mut buckets = vec![bucket("main", Holding::Money, 300_000)];
            if number != 2 {
                buckets.push(bucket("volume", Holding::Units(Unit::Octet), 20_000_000));
            }
            let credit = Credit { limit: Money::from_micros(500_000), spent: Money::ZERO, reserved: Money::ZERO };
            let account = Account {
                id: AccountId::new(number),
                group: GroupId::new(number),
                tenant: TenantId::new(0),
                currency: Currency::EUR,
                state: AccountState::Active,
                credit: (number == 3).then_some(credit),
                debt: Money::ZERO,
                buckets,
                totals: Vec::new(),
                contract: None,
                cdrs: CdrTrail::default(),
            };
            world.mutate(number, Change::OpenAccount(Box::new(account)));
            let subscriber = Subscriber {
                id: SubscriberId::new(number),
                tenant: TenantId::new(0),
                account: AccountId::new(number),
                group: GroupId::new(number),
                tariff: TariffName::new("gold"),
                state: AccountState::Active,
                counters: Counters::default(),
                sponsor: None,
            };
            world.mutate(number, Change::PutSubscriber(subscriber));
        }
        world
    }

    fn mutate(&mut self, group: u64, mutation: impl Into<Mutation>) {
        let effects = self.shard.mutate(&self.tariffs, mutation, self.now);
        self.keep(Some(GroupId::new(group)), effects);
    }

    /// What the shell does with effects: places the CDRs, logs the entry.
    fn keep<T>(&mut self, group: Option<GroupId>, mut effects: Effects<T>) {
        if effects.writes.is_empty() {
            assert!(effects.cdrs.is_empty());
            return;
        }
        self.shard.place_cdrs(&mut effects.cdrs, self.cdrs);
        for cdr in &effects.cdrs {
            self.cdrs = self.cdrs.next();
            let written = octets(|out| records::encode_cdr(out, cdr));
            assert_eq!(records::decode_cdr(&written), Ok(StoredCdr::of(cdr)));
        }
        self.lsn = self.lsn.next();
        self.shard.logged(&effects.writes, self.lsn);
        let entry = octets(|out| encode_entry(out, self.now, group, &self.shard, &effects.writes));
        if self.dice.below(16) == 0 {
            damaged(&entry, &mut self.dice, |octets| decode_entry(octets, &resolve));
        }
        self.log.push((self.lsn, entry));
    }

    fn step(&mut self) {
        // Now and then past what is remembered of mutations.
        let jump = if self.dice.below(50) == 0 { 31 * 86_400 } else { self.dice.pick(&[1, 20, 100, 700, 4000]) };
        self.now = self.now.plus_seconds(jump);
        if self.dice.below(3) == 0 {
            let most = self.dice.below(6);
            self.sweep_some(usize::try_from(most).unwrap());
        }
        let number = 1 + self.dice.below(3);
        match self.dice.below(12) {
            0 | 1 => {
                while let Some(effects) = self.shard.expire(&self.tariffs, self.now) {
                    self.keep(None, effects);
                    if self.dice.flip() {
                        break;
                    }
                }
            }
            2 => {
                let key = IdempotencyKey::new(&format!("{number}-{}", self.dice.below(4)));
                let amount = Money::from_micros(100_000);
                let name = self.dice.pick(&["main", "bonus"]);
                let bucket = bucket(name, Holding::Money, 0);
                let account = AccountId::new(number);
                let request = Request { key, digest: 1, reason: "shop".into() };
                self.mutate(number, Change::TopUp { account, amount, bucket }.asked(request));
            }
            3 => {
                let state = self.dice.pick(&[AccountState::Active, AccountState::Active, AccountState::Suspended]);
                self.mutate(number, Change::SetState { account: AccountId::new(number), state });
            }
            4 => {
                let session = SessionId::new(format!("s{number}-{}", self.dice.below(3)).as_bytes());
                self.mutate(number, Change::Release { session, cause: Cause::Operator, client_state_below: 0 });
            }
            _ => {
                let command = self.command(number);
                while let Some(archived) = self.shard.wants(&command).cloned() {
                    let session = self.stored(&archived);
                    assert!(self.shard.recall(session, archived.changed));
                }
                let effects = self.shard.apply(&self.tariffs, command);
                self.keep(Some(GroupId::new(number)), effects);
            }
        }
    }

    fn command(&mut self, number: u64) -> Command {
        let dice = &mut self.dice;
        let event = dice.below(3) == 0;
        let name = format!("{}{number}-{}", if event { 'e' } else { 's' }, dice.below(3));
        let service = if event { Service::Sms } else { dice.pick(&[Service::Data, Service::Data, Service::Voice]) };
        let key = ServiceKey { rating_group: Some(RatingGroup::new(10)), services: Box::default() };
        let measured = |quantity: u64| match service {
            Service::Data => Units { total_octets: Some(quantity * 1_000_000), ..Units::default() },
            Service::Voice => Units { seconds: Some(quantity * 10), ..Units::default() },
            Service::Sms | Service::Mms | Service::Other(_) => {
                Units { events: Some(quantity.max(1)), ..Units::default() }
            }
        };
        let used = Used { units: measured(dice.below(8)), part: TariffPart::Whole };
        let requested = match dice.below(3) {
            0 => Requested::Any,
            1 => Requested::Units(measured(dice.below(10) + 1)),
            _ => Requested::Nothing,
        };
        let reports = vec![ServiceRequest { key: key.clone(), requested, used: vec![used] }];
        let wants = vec![ServiceRequest { key, requested: Requested::Units(measured(1)), used: Vec::new() }];
        let action = match (event, dice.below(6)) {
            (true, 0) => Action::Refund {
                original: SessionId::new(format!("e{number}-{}", dice.below(3)).as_bytes()),
                services: Vec::new(),
            },
            (true, 1) => Action::CheckBalance(wants),
            (true, _) => Action::Debit(wants),
            (false, 0 | 1) => Action::Start(wants),
            (false, 5) => Action::Stop(reports),
            (false, _) => Action::Update(reports),
        };
        let count = self.numbers.entry(name.clone()).or_default();
        *count += u32::try_from(dice.below(3)).unwrap();
        let mut context = typical_context();
        context.service = service;
        if let Some(packet) = &mut context.packet {
            packet.rat = Some(dice.pick(&[6, 6, 6, 1]));
        }
        Command {
            now: self.now,
            event_time: None,
            session: SessionId::new(name.as_bytes()),
            number: *count,
            digest: dice.below(2),
            client_state: dice.pick(&[0, 1, 1, 2]),
            subscriber: SubscriberId::new(number),
            profile: Profile::STANDARD,
            command_level: dice.below(5) == 0,
            context,
            action,
        }
    }

    /// Writes some changed records to the state, and moves the checkpoint when a sweep has covered all that it began
    /// with.
    fn sweep_some(&mut self, most: usize) {
        let begun = (self.lsn, self.shard.dirty_len());
        let (covers, left) = self.sweep.unwrap_or(begun);
        let state = &mut self.state;
        let taken = self.shard.take_dirty(most.min(left), |key, group, lsn, entity| {
            let place = (kind_of(key), octets(|out| keys::entity(out, group, key)));
            match entity {
                None => drop(state.remove(&place)),
                Some(entity) => {
                    state.insert(place, octets(|out| encode_entity(out, entity, group, lsn)));
                }
            }
        });
        let left = left - taken;
        self.sweep = (left > 0).then_some((covers, left));
        if left == 0 {
            self.checkpoint = covers;
            let _ = self.shard.archive(covers, most);
            while let Some(effects) = self.shard.forget_surplus(2) {
                self.keep(None, effects);
            }
        }
    }

    /// The record of an archived session, of the entry that it was archived as of.
    fn stored(&self, archived: &Archived) -> Session {
        let key = octets(|out| keys::entity(out, archived.group, &EntityKey::Session(archived.id.clone())));
        let value = &self.state[&(kind_of(&EntityKey::Session(archived.id.clone())), key.clone())];
        let stored = decode_entity(EntityKind::Session, &key, value, &resolve).unwrap();
        assert_eq!((stored.lsn, stored.group), (archived.changed, archived.group));
        let Image::Session(session) = stored.image else { unreachable!("{:?}", stored.image) };
        *session
    }

    /// A shard made from the log alone, or from the state and the log's tail.
    fn replayed(&self, from_state: bool) -> Shard {
        let mut shard = Shard::new(LIMITS);
        let mut checkpoint = Lsn::default();
        if from_state {
            checkpoint = self.checkpoint;
            for ((kind, key), value) in &self.state {
                let stored = decode_entity(KINDS[usize::from(*kind)], key, value, &resolve).unwrap();
                match stored.image {
                    Image::Session(session) => shard.load_session(*session, stored.group, stored.lsn),
                    image @ (Image::Account(_) | Image::Subscriber(_) | Image::Mutation(..) | Image::Gone(..)) => {
                        shard.load(image, stored.lsn);
                    }
                }
            }
        }
        for (lsn, octets) in self.log.iter().filter(|(lsn, _)| *lsn > checkpoint) {
            let entry = decode_entry(octets, &resolve).unwrap();
            assert!(!entry.writes.is_empty());
            for write in entry.writes {
                if let Some(archived) = write.wants(&shard, *lsn).cloned() {
                    assert!(shard.recall(self.stored(&archived), archived.changed));
                }
                assert!(write.load(&mut shard, *lsn).is_none());
            }
        }
        shard.rebuild(self.now, checkpoint);
        shard
    }

    fn compare(&self, replayed: &Shard) {
        let accounts = |shard: &Shard| shard.accounts().map(|a| (a.id, a.clone())).collect::<BTreeMap<_, _>>();
        assert_eq!(accounts(replayed), accounts(&self.shard));
        let subscribers = |shard: &Shard| shard.subscribers().map(|s| (s.id, s.clone())).collect::<BTreeMap<_, _>>();
        assert_eq!(subscribers(replayed), subscribers(&self.shard));
        // Open sessions count as heard of when serving begins again. What is due goes at once, if it is archived.
        let sessions = |shard: &Shard| {
            let heard = |mut session: Session| {
                if session.is_open() {
                    session.heard = session.heard.max(self.now);
                }
                (session.id.clone(), session)
            };
            let archived = shard.all_archived().map(|archived| self.stored(archived));
            let all = shard.sessions().cloned().chain(archived);
            let all = all.filter(|session| session.is_open() || session.deadline() > self.now);
            all.map(heard).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(sessions(replayed), sessions(&self.shard));
        assert_eq!(replayed.open_sessions(), self.shard.open_sessions());
        assert_eq!(replayed.last_lsn().max(self.checkpoint), self.shard.last_lsn());
        for number in 1..=3 {
            for repeat in 0..4 {
                let key = IdempotencyKey::new(&format!("{number}-{repeat}"));
                let name = (GroupId::new(number), key);
                assert_eq!(replayed.mutation(&name), self.shard.mutation(&name));
            }
        }
    }
}

const LIMITS: Limits =
    Limits { open_sessions_max: 5, ended_sessions_max: 4, ended_sessions_kept: 1, archived_sessions_max: 3 };

/// What a packet gateway says.
fn typical_context() -> Context {
    let text = |text: &str| Some(text.into());
    Context {
        service: Service::Data,
        service_context: "32251@3gpp.org".into(),
        client_host: "smf01.epc.mnc001.mcc262.3gppnetwork.org".into(),
        client_realm: "epc.mnc001.mcc262.3gppnetwork.org".into(),
        identifiers: vec!["imsi-262011234567890".parse().unwrap(), "msisdn-491701234567".parse().unwrap()],
        equipment: Some((*b"3569380356438091").into()),
        correlation: None,
        packet: Some(Box::new(PacketContext {
            apn: text("internet"),
            charging_id: Some(0x1234_5678),
            serving_plmn: Plmn::parse("26201"),
            home_plmn: Plmn::parse("26201"),
            rat: Some(6),
            location: Some([0x82, 0x62, 0xF2, 0x10, 0, 1, 0x62, 0xF2, 0x10, 0, 0, 1, 1].into()),
            time_zone: Some([0x40, 0]),
            serving_node: Some(Ipv4Addr::new(10, 0, 0, 1).into()),
            gateway: Some(Ipv4Addr::new(10, 0, 0, 2).into()),
            device_addresses: vec![Ipv4Addr::new(100, 64, 3, 7).into()],
            qci: Some(9),
            ..PacketContext::default()
        })),
        ims: None,
        sms: None,
    }
}

fn typical_account() -> Account {
    let mut volume = bucket("volume", Holding::Units(Unit::Octet), 4_800_000_000);
    volume.valid_from = Timestamp::from_seconds(1_793_000_000);
    volume.valid_to = Timestamp::from_seconds(1_795_600_000);
    volume.origin = Origin::Granted;
    volume.scope = Some(Box::new(BucketScope { services: [Service::Data].into(), ..BucketScope::default() }));
    let total = |holding, flow, amount| Total { holding, flow, amount };
    Account {
        id: AccountId::new(1_000_042),
        group: GroupId::new(1_000_042),
        tenant: TenantId::new(0),
        currency: Currency::EUR,
        state: AccountState::Active,
        credit: None,
        debt: Money::ZERO,
        buckets: vec![volume, bucket("main", Holding::Money, 9_370_000)],
        totals: vec![
            total(Holding::Money, Flow::TopUp, 15_000_000),
            total(Holding::Money, Flow::Debit, 5_630_000),
            total(Holding::Units(Unit::Octet), Flow::Opening, 5_368_709_120),
            total(Holding::Units(Unit::Octet), Flow::Debit, 568_709_120),
        ],
        contract: None,
        cdrs: CdrTrail { count: 812, last: CdrPosition::new(48_000_123) },
    }
}

fn typical_subscriber() -> Subscriber {
    let account = typical_account();
    Subscriber {
        id: SubscriberId::new(2_000_042),
        tenant: TenantId::new(0),
        account: account.id,
        group: account.group,
        tariff: TariffName::new("gold"),
        state: AccountState::Active,
        counters: Counters::default(),
        sponsor: None,
    }
}

/// One whose employer pays in business hours.
fn sponsored_subscriber() -> Subscriber {
    let windows = ["business".into()].into();
    let sponsor = Sponsor { account: AccountId::new(1_000_007), windows, allowance: true };
    Subscriber { sponsor: Some(Arc::new(sponsor)), ..typical_subscriber() }
}

/// Its session, for which the employer's account is held, too; with an event that the employer paid.
fn sponsored_session() -> Session {
    let mut session = Session { sponsor: sponsored_subscriber().sponsor, ..frozen_session() };
    for grant in session.services.iter_mut().filter_map(|service| service.grant.as_mut()) {
        let buckets = [(BucketId::new("data"), 5_000_000)].into_iter().collect();
        grant.sponsored = Some(Box::new(Reservation { buckets, credit: Money::from_micros(50_000) }));
    }
    session.charges.push(EventCharge {
        key: ServiceKey { rating_group: Some(RatingGroup::new(10)), services: Box::default() },
        who: Who::Sponsor,
        cdr: CdrPosition::new(48_000_124),
        began: None,
        measure: Some(Measure::Events),
        quantity: 1,
        refunded: 0,
        amount: Money::from_micros(70_000),
        parts: vec![ChargePart { payer: Payer::Credit, holding: Holding::Money, amount: 70_000, refunded: 0 }],
    });
    session
}

/// A typical subscriber with cycle counters.
fn counting_subscriber() -> Subscriber {
    let counter = |id: &str, unit, used| Counter {
        id: CounterId::new(id),
        unit,
        used,
        used_before: used,
        cycle_start: Timestamp::from_seconds(1_793_000_000),
        cycle_end: Timestamp::from_seconds(1_795_600_000),
    };
    let counters = [counter("volume", Unit::Octet, 568_709_120), counter("voice", Unit::Second, 2520)];
    Subscriber { counters: Counters::new(counters.to_vec()), ..typical_subscriber() }
}

/// A shard with a session in the middle of its life, and what its next update did.
fn typical_update() -> (Shard, Effects) {
    let mut tariffs = Tariffs::default();
    tariffs.insert(tariff());
    let mut shard = Shard::new(Limits::default());
    let account = typical_account();
    shard.load(Image::Account(account), Lsn::new(1));
    shard.load(Image::Subscriber(typical_subscriber()), Lsn::new(2));
    let now = Timestamp::from_seconds(1_795_000_000);
    let request = |used: Option<u64>| ServiceRequest {
        key: ServiceKey { rating_group: Some(RatingGroup::new(10)), services: Box::default() },
        requested: Requested::Any,
        used: used
            .map(|octets| Used {
                units: Units {
                    total_octets: Some(octets),
                    uplink_octets: Some(octets / 10),
                    downlink_octets: Some(octets - octets / 10),
                    ..Units::default()
                },
                part: TariffPart::Whole,
            })
            .into_iter()
            .collect(),
    };
    let command = |number: u32, action| Command {
        now: now.plus_seconds(i64::from(number) * 600),
        event_time: None,
        session: SessionId::new(b"smf01.epc.mnc001.mcc262.3gppnetwork.org;1795000000;42;app_gy"),
        number,
        digest: 0x0123_4567_89AB_CDEF + u64::from(number),
        client_state: 1_790_000_000,
        subscriber: SubscriberId::new(2_000_042),
        profile: Profile::STANDARD,
        command_level: false,
        context: typical_context(),
        action,
    };
    let mut last = shard.apply(&tariffs, command(0, Action::Start(vec![request(None)])));
    for number in 1..=9 {
        last = shard.apply(&tariffs, command(number, Action::Update(vec![request(Some(9_000_000))])));
    }
    shard.place_cdrs(&mut last.cdrs, CdrPosition::new(48_000_124));
    (shard, last)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A session with one grant, one answer and a context, made by hand: what the engine does may change, this may not.
fn frozen_session() -> Session {
    let opened = Timestamp::from_seconds(1_795_000_000);
    let key = ServiceKey { rating_group: Some(RatingGroup::new(10)), services: Box::default() };
    let answered = Answered {
        services: vec![ServiceOutcome {
            key: key.clone(),
            result: ServiceResult::Granted(Grant {
                units: Units { total_octets: Some(10_485_760), ..Units::default() }.into(),
                validity_seconds: 1800,
                threshold: 2_097_152,
                switch: None,
                last: false,
            }),
        }]
        .into(),
        cost: Some((Money::from_micros(171_662), Currency::EUR)),
        ..Answered::default()
    };
    let line = LineState {
        key: LineKey { version: 3, ..LineKey::default() },
        used: 18_000_000,
        unpaid: 18_000_000,
        rated: 18_000_000,
        tiers: [18_000_000].into_iter().collect(),
    };
    Session {
        id: SessionId::new(b"smf01.epc.mnc001.mcc262.3gppnetwork.org;1795000000;42"),
        subscriber: SubscriberId::new(2_000_042),
        tenant: TenantId::new(0),
        account: AccountId::new(1_000_042),
        sponsor: None,
        opened,
        heard: opened.plus_seconds(1200),
        client_state: 1_790_000_000,
        context: Arc::new(typical_context()),
        tariff: tariff(),
        services: vec![ServiceState {
            key,
            rated: Rated {
                lines: [line].into_iter().collect(),
                last: 0,
                connect_fee: Some(Money::ZERO),
                charged: Money::from_micros(171_662),
                network_rated: Money::ZERO,
            },
            grant: Some(GrantState {
                number: 2,
                quantity: 10_485_760,
                at: opened.plus_seconds(1200),
                validity_seconds: 1800,
                switch: None,
                reservation: Reservation {
                    buckets: [(BucketId::new("main"), 100_000)].into_iter().collect(),
                    credit: Money::ZERO,
                },
                sponsored: None,
            }),
            since: opened.plus_seconds(1200),
            answered: None,
            waiting: false,
        }],
        start: (0, 0x0123_4567_89AB_CDEF),
        answers: vec![StoredAnswer {
            kind: RequestKind::Update,
            number: 2,
            digest: 0xFEDC_BA98_7654_3210,
            outcome: Arc::new(Outcome::Answered(answered)),
        }],
        next_slot: 1,
        seen: Seen { top: 2, bits: 0b11 },
        phase: Phase::Open,
        charges: Vec::new(),
    }
}

fn frozen_cdr() -> RatedCdr {
    let session = frozen_session();
    RatedCdr {
        crossings: Vec::new(),
        gives_back: None,
        kind: CdrKind::Usage,
        corrects: None,
        account: session.account,
        number: 813,
        previous: CdrPosition::new(48_000_123),
        tenant: session.tenant,
        subscriber: Some(session.subscriber),
        source: CdrSource::Network {
            session: session.id,
            request: 2,
            service: session.services[0].key.clone(),
            context: session.context,
        },
        cause: Cause::Interim,
        usage_start: session.opened.plus_seconds(600),
        usage_end: session.heard,
        accepted: session.heard,
        reported: Units { total_octets: Some(9_000_000), ..Units::default() },
        rating: Some(Rating {
            tariff: session.tariff,
            price: PriceId::new("data"),
            window: WindowId::default(),
            place: 0,
            rate: 0,
            slice: 0,
            measure: Some(Measure::TotalOctets),
            used_before: 9_000_000,
            used: 9_000_000,
            rated_before: 9_000_000,
            rated: 9_000_000,
            tier_from: 0,
            charged_before: Money::from_micros(85_831),
            lines: [PriceLine {
                component: Component::Tier(0),
                quantity: 9_000_000,
                exact: Rate::new(10_000, 1_048_576).unwrap().price(9_000_000).unwrap(),
            }]
            .into_iter()
            .collect(),
            beyond_grant: 0,
        }),
        booked: None,
        bill_cycle: Some(Timestamp::from_seconds(1_793_000_000)),
        offer: None,
        amount: Money::from_micros(85_831),
        currency: Currency::EUR,
        movements: [Movement {
            payer: Payer::Bucket(BucketId::new("main")),
            holding: Holding::Money,
            origin: Origin::Paid,
            before: 9_370_000,
            delta: -85_831,
            cost: Money::from_micros(-85_831),
        }]
        .into_iter()
        .collect(),
    }
}

/// Octets that exist on disks: when this fails, the format has changed and needs a new version.
#[test]
fn the_format_is_frozen() {
    let (account, session, cdr) = (typical_account(), frozen_session(), frozen_cdr());
    let (counting, bought) = (counting_subscriber(), fee_cdr());
    let (sponsored, shared) = (sponsored_subscriber(), sponsored_session());
    let group = GroupId::new(1_000_042);
    for (name, written, frozen) in [
        ("account", octets(|out| records::encode_account(out, &account)), ACCOUNT),
        ("account with an offer", octets(|out| records::encode_account(out, &holding_account())), HOLDING_ACCOUNT),
        (
            "account with offers that end and begin",
            octets(|out| records::encode_account(out, &ending_account())),
            ENDING_ACCOUNT,
        ),
        ("subscriber with counters", octets(|out| records::encode_subscriber(out, &counting)), COUNTING_SUBSCRIBER),
        ("subscriber with a sponsor", octets(|out| records::encode_subscriber(out, &sponsored)), SPONSORED_SUBSCRIBER),
        ("session", octets(|out| records::encode_session(out, &session, group)), SESSION),
        ("session with a sponsor", octets(|out| records::encode_session(out, &shared, group)), SPONSORED_SESSION),
        ("CDR", octets(|out| records::encode_cdr(out, &cdr)), CDR),
        ("CDR of a fee", octets(|out| records::encode_cdr(out, &bought)), FEE_CDR),
    ] {
        assert_eq!(hex(&written), frozen.concat(), "{name}");
    }
    assert_eq!(records::decode_account(account.id, &unhex(ACCOUNT)), Ok(account));
    assert_eq!(records::decode_account(account_id(), &unhex(HOLDING_ACCOUNT)), Ok(holding_account()));
    assert_eq!(records::decode_account(account_id(), &unhex(ENDING_ACCOUNT)), Ok(ending_account()));
    // What an earlier release wrote: counters stood with the account, and no price read them.
    assert_eq!(records::decode_account(account_id(), &unhex(COUNTING_ACCOUNT)), Ok(typical_account()));
    assert_eq!(records::decode_subscriber(counting.id, &unhex(COUNTING_SUBSCRIBER)), Ok(counting));
    assert_eq!(records::decode_subscriber(sponsored.id, &unhex(SPONSORED_SUBSCRIBER)), Ok(sponsored));
    for (session, frozen) in [(session, SESSION), (shared, SPONSORED_SESSION)] {
        let image = records::decode_session(session.id.clone(), &unhex(frozen), &resolve).unwrap();
        assert_eq!((*image.session, image.group), (session, group));
    }
    assert_eq!(records::decode_cdr(&unhex(CDR)), Ok(StoredCdr::of(&cdr)));
    assert_eq!(records::decode_cdr(&unhex(FEE_CDR)), Ok(StoredCdr::of(&bought)));
    // What an earlier release wrote says neither cycle nor time zone.
    for (octets, cdr) in [(EARLIER_CDR, cdr), (EARLIER_FEE_CDR, bought)] {
        let earlier = StoredCdr { bill_cycle: None, zone: Box::default(), ..StoredCdr::of(&cdr) };
        assert_eq!(records::decode_cdr(&unhex(octets)), Ok(earlier));
    }
}

/// What is kept of a consumer of CDRs: keys by drawer, and values.
#[test]
fn consumers_are_frozen() {
    let at = Timestamp::from_seconds(1_795_000_000);
    let consumer = records::Consumer {
        kinds: vec![CdrKind::Usage, CdrKind::TopUp],
        accounts: vec![AccountId::new(1_000_042)],
        max_attempts: 5,
        created_by: "ann".into(),
        created: at,
        resets: 2,
    };
    let place = records::ConsumerPlace {
        next: CdrPosition::new(48_000_124),
        acked: Some(at),
        retrying: Some((CdrPosition::new(48_000_125), 3)),
    };
    let parked = records::ParkedCdr {
        reason: "no such account".into(),
        attempts: 5,
        since: at,
        instance: "ledger-1".into(),
        due: true,
    };
    let (consumer_frozen, place_frozen, parked_frozen) = (CONSUMER, CONSUMER_PLACE, PARKED_CDR);
    for (name, written, frozen) in [
        ("consumer", octets(|out| records::encode_consumer(out, &consumer)), consumer_frozen),
        ("place", octets(|out| records::encode_consumer_place(out, &place)), place_frozen),
        ("parked", octets(|out| records::encode_parked_cdr(out, &parked)), parked_frozen),
    ] {
        assert_eq!(hex(&written), frozen.concat(), "{name}");
    }
    assert_eq!(records::decode_consumer(&unhex(CONSUMER)), Ok(consumer));
    assert_eq!(records::decode_consumer_place(&unhex(CONSUMER_PLACE)), Ok(place));
    assert_eq!(records::decode_parked_cdr(&unhex(PARKED_CDR)), Ok(parked));
    let drawers = [keys::Drawer::Consumers, keys::Drawer::ConsumerPlaces, keys::Drawer::ParkedCdrs];
    assert_eq!(drawers.map(|drawer| keys::desk(drawer, b"x")), [[25, b'x'], [26, b'x'], [27, b'x']]);
}

const CONSUMER: &[&str] = &["0102010201ea843d0503616e6e82f8b2e5bd6802"];
const CONSUMER_PLACE: &[&str] = &["0103fcd8f11682f8b2e5bd68fdd8f11603"];
const PARKED_CDR: &[&str] = &["01010f6e6f2073756368206163636f756e740582f8b2e5bd68086c65646765722d31"];

/// A subscriber's names of every kind, as keys of the state and as records have them: those that came later took numbers of their
/// own.
#[test]
fn names_of_every_kind_are_frozen() {
    let (tenant, owner) = (TenantId::new(2), Owner { subscriber: SubscriberId::new(5), group: GroupId::new(7) });
    let mut frozen = Vec::new();
    for name in [
        "msisdn-0049170",
        "imsi-262011",
        "sip-a@b",
        "nai-a@b",
        "private-a",
        "iccid-8949012345678901234",
        "external-4711",
    ] {
        let identifier: Identifier = name.parse().unwrap();
        let key = octets(|out| keys::identifier(out, tenant, &identifier));
        let entry = octets(|out| {
            let entry = EntryEncoder::begin(out, Timestamp::default(), None);
            entry.identifier(tenant, &identifier, Some(owner)).finish();
        });
        frozen.push((name, hex(&key), hex(&entry)));
        assert_eq!(keys::read_identifier(&key), Ok((tenant, identifier)));
    }
    let frozen: Vec<_> = frozen.iter().map(|(name, key, entry)| (*name, &**key, &**entry)).collect();
    assert_eq!(frozen, NAMES);
}

/// Names of tenant 2; as keys, and in entries of nothing but the name, given to
/// subscriber 5 of group 7.
const NAMES: [(&str, &str, &str); 7] = [
    ("msisdn-0049170", "0002010000000000995692", "01020009020192ade504050700"),
    ("imsi-262011", "00020200000000001341bb", "010200090202bb834d050700"),
    ("sip-a@b", "000203614062", "01020009020303614062050700"),
    ("nai-a@b", "000204614062", "01020009020403614062050700"),
    ("private-a", "00020561", "0102000902050161050700"),
    ("iccid-8949012345678901234", "0002068949012345678901234f", "0102000902068949012345678901234f050700"),
    ("external-4711", "00020734373131", "0102000902070434373131050700"),
];

fn account_id() -> AccountId {
    typical_account().id
}

/// A typical account that holds an offer, whose bucket was paid for.
fn holding_account() -> Account {
    let mut account = typical_account();
    let (cycle_start, cycle_end) = (Timestamp::from_seconds(1_793_000_000), Timestamp::from_seconds(1_795_600_000));
    let zone = Zone::get("Europe/Berlin").unwrap();
    account.contract = Some(Box::new(Contract {
        cycle: Some(Cycle { anchor: cycle_start, period: Period::months(1).unwrap(), zone }),
        subscriptions: vec![Subscription {
            number: 1,
            offer: OfferName::new("data-m"),
            version: 2,
            subscriber: SubscriberId::new(2_000_042),
            cycle: 4,
            anchor: (cycle_start, 4),
            cycle_start,
            cycle_end,
            state: SubscriptionState::Active,
            ends_at: Timestamp::NEVER,
            spent: (0, Money::ZERO),
        }],
        last_number: 1,
        pools: Vec::new(),
    }));
    let terms = Terms {
        subscription: 1,
        opened: 5_368_709_120,
        cost: Money::from_micros(7_990_000),
        rolled: 0,
        member_cap: Some(1 << 30),
    };
    account.buckets[0].terms = Some(Box::new(terms));
    account
}

/// It ends with its cycle, as earlier releases wrote it; another one is awaited, and a third waits for its fee until an instant.
fn ending_account() -> Account {
    let mut account = holding_account();
    let contract = account.contract.as_mut().unwrap();
    let held = contract.subscriptions[0].clone();
    contract.subscriptions = vec![
        Subscription { ends_at: held.cycle_end, ..held.clone() },
        Subscription { number: 2, cycle_start: held.cycle_end, state: SubscriptionState::Awaited, ..held.clone() },
        Subscription {
            number: 3,
            state: SubscriptionState::Unpaid,
            ends_at: Timestamp::from_seconds(1_795_700_000),
            ..held
        },
    ];
    contract.last_number = 3;
    account
}

fn fee_cdr() -> RatedCdr {
    let account = typical_account();
    RatedCdr {
        number: 814,
        previous: CdrPosition::new(48_000_124),
        subscriber: Some(SubscriberId::new(2_000_042)),
        offer: Some(OfferCycle { offer: offer(), subscription: 1, cycle: 4 }),
        amount: Money::from_micros(7_990_000),
        movements: [Movement {
            payer: Payer::Bucket(BucketId::new("main")),
            holding: Holding::Money,
            origin: Origin::Paid,
            before: 9_284_169,
            delta: -7_990_000,
            cost: Money::from_micros(-7_990_000),
        }]
        .into_iter()
        .collect(),
        ..RatedCdr::draft(
            CdrKind::Recurring,
            &account,
            CdrSource::Calendar,
            Cause::Due,
            Timestamp::from_seconds(1_793_000_000),
        )
    }
}

fn unhex(lines: &[&str]) -> Vec<u8> {
    let text = lines.concat();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

const ACCOUNT: &[&str] = &[
    "01ea843d0045555200000206766f6c756d650e80c0d1e1236482a886f2ae688290cda1c26801000000046d61696e00a0e6f7",
    "0864020004048087a70e10e0a0af050280808080281280c0ae9e04ac06fbd8f116",
];
const COUNTING_ACCOUNT: &[&str] = &[
    "01ea843d0045555208000206766f6c756d650e80c0d1e1236482a886f2ae688290cda1c26801000000046d61696e00a0e6f7",
    "0864020004048087a70e10e0a0af050280808080281280c0ae9e04ac06fbd8f1160206766f6c756d650280a0978f0282a886",
    "f2ae688290cda1c26805766f69636501d81382a886f2ae688290cda1c268",
];
const HOLDING_ACCOUNT: &[&str] = &[
    "01ea843d0045555210000206766f6c756d651e80c0d1e1236482a886f2ae688290cda1c2680100000001018080808028e0ab",
    "cf07008080808004046d61696e00a0e6f70864020004048087a70e10e0a0af050280808080281280c0ae9e04ac06fbd8f116",
    "0182a886f2ae680100000d4575726f70652f4265726c696e01010106646174612d6d02aa897a0482a886f2ae680482a886f2",
    "ae688290cda1c26800",
];
const CDR: &[&str] = &[
    "010000010a0101019630ea843dad06fbd8f1160082b6c5e6bd68ff9e490002c0a8a5048ebd0a4555520100046d61696ea0e6",
    "f7088dbd0aaa897a04676f6c6403a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a504646174",
    "61000002c0a8a504c0a8a504c0a8a504c0a8a5048ebd0a000101c0a8a50482ebe85380080e3b313739353030303030303b34",
    "3202010a00020e333232353140336770702e6f726727736d6630312e6570632e6d6e633030312e6d63633236322e33677070",
    "6e6574776f726b2e6f7267dbab0408696e7465726e6574f8acd1910126201f26201f060d8262f210000162f2100000010140",
    "00040a000001040a00000209ff8dbff40e035554430000002a01070202d28ddb9aaef99e020187f7c982b52b103335363933",
    "3830333536343338303931010464400307",
];
const FEE_CDR: &[&str] = &[
    "0100000075010609e221ea843dae06fcd8f1160082a886f2ae68000000e0abcf074555520100046d61696e92a9ed08dfabcf",
    "07aa897a06646174612d6d025a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a010401087374",
    "616e64617264024445043430303003666565035554430000000101",
];
const ENDING_ACCOUNT: &[&str] = &[
    "01ea843d0045555210000206766f6c756d651e80c0d1e1236482a886f2ae688290cda1c2680100000001018080808028e0ab",
    "cf07008080808004046d61696e00a0e6f70864020004048087a70e10e0a0af050280808080281280c0ae9e04ac06fbd8f116",
    "0182a886f2ae680100000d4575726f70652f4265726c696e03030106646174612d6d02aa897a0482a886f2ae680482a886f2",
    "ae688290cda1c268010206646174612d6d02aa897a0482a886f2ae68048290cda1c2688290cda1c268030306646174612d6d",
    "02aa897a0482a886f2ae680482a886f2ae688290cda1c268128294fc80c368",
];
const SPONSORED_SUBSCRIBER: &[&str] = &["01ea843d00ea843d04676f6c640801c7843d0108627573696e657373"];
const SPONSORED_SESSION: &[&str] = &[
    "010bea843daa897a00ea843d82f8b2e5bd6880be920180f7c4d50604676f6c6403a5a5a5a5a5a5a5a501010aa20101030000",
    "80d1ca0880d1ca0880d1ca080180d1ca089cfa140080be9201028080800580be9201880e01046d61696ec09a0c0001046461",
    "746180ade204a08d06000123456789abcdef0102060001010afcd8f116850100e0c5080104e0c5080001c7843d0108627573",
    "696e6573730100020e333232353140336770702e6f726727736d6630312e6570632e6d6e633030312e6d63633236322e3367",
    "70706e6574776f726b2e6f7267dbab0408696e7465726e6574f8acd1910126201f26201f060d8262f210000162f210000001",
    "014000040a000001040a00000209070202d28ddb9aaef99e020187f7c982b52b103335363933383033353634333830393101",
    "046440030701010202fedcba98765432100001010a010280808005880e80808001019cfa14455552",
];
const COUNTING_SUBSCRIBER: &[&str] = &[
    "01ea843d00ea843d04676f6c64040206766f6c756d650280a0978f0280a0978f0282a886f2ae688290cda1c26805766f6963",
    "6501d813d81382a886f2ae688290cda1c268",
];
const EARLIER_FEE_CDR: &[&str] = &[
    "0100000071010609e201ea843dae06fcd8f1160082a886f2ae68000000e0abcf074555520100046d61696e92a9ed08dfabcf",
    "07aa897a06646174612d6d025a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a010401087374",
    "616e646172640244450434303030036665650000000101",
];
const SESSION: &[&str] = &[
    "0103ea843daa897a00ea843d82f8b2e5bd6880be920180f7c4d50604676f6c6403a5a5a5a5a5a5a5a501010a220103000080",
    "d1ca0880d1ca0880d1ca080180d1ca089cfa140080be9201028080800580be9201880e01046d61696ec09a0c000001234567",
    "89abcdef01020600000100020e333232353140336770702e6f726727736d6630312e6570632e6d6e633030312e6d63633236",
    "322e336770706e6574776f726b2e6f7267dbab0408696e7465726e6574f8acd1910126201f26201f060d8262f210000162f2",
    "10000001014000040a000001040a00000209070202d28ddb9aaef99e020187f7c982b52b1033353639333830333536343338",
    "30393101046440030701010202fedcba98765432100001010a010280808005880e80808001019cfa14455552",
];
const EARLIER_CDR: &[&str] = &[
    "010000010001010116ea843dad06fbd8f1160082b6c5e6bd68ff9e490002c0a8a5048ebd0a4555520100046d61696ea0e6f7",
    "088dbd0aaa897a04676f6c6403a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a50464617461",
    "000002c0a8a504c0a8a504c0a8a504c0a8a5048ebd0a000101c0a8a50482ebe85380080e3b313739353030303030303b3432",
    "02010a00020e333232353140336770702e6f726727736d6630312e6570632e6d6e633030312e6d63633236322e336770706e",
    "6574776f726b2e6f7267dbab0408696e7465726e6574f8acd1910126201f26201f060d8262f210000162f210000001014000",
    "040a000001040a000002090000002a01070202d28ddb9aaef99e020187f7c982b52b10333536393338303335363433383039",
    "31010464400307",
];

#[test]
fn records_are_small() {
    let (shard, effects) = typical_update();
    let session = shard.sessions().next().unwrap();
    let group = GroupId::new(1_000_042);
    let size = |write: &dyn Fn(&mut Vec<u8>)| octets(write).len();
    let account = size(&|out| records::encode_account(out, &typical_account()));
    let core = size(&|out| records::encode_session_change(out, session, group, SessionChange::default()));
    let whole = size(&|out| records::encode_session(out, session, group));
    let entry = size(&|out| encode_entry(out, session.heard, Some(group), &shard, &effects.writes));
    let cdr = size(&|out| records::encode_cdr(out, &effects.cdrs[0]));
    let sizes = format!("account {account}, session {core} to {whole}, update entry {entry} and CDR {cdr} octets");
    assert!(account <= 150 && core <= 250 && entry <= 600 && cdr <= 500, "{sizes}");
}

#[test]
fn control_totals_keep_their_octets() {
    let head = TotalsHead {
        since: CdrPosition::new(1),
        since_chain: HashChain::START,
        through: CdrPosition::new(300),
        chain: HashChain::from_octets([7; 32]),
        at: Timestamp::from_seconds(1_795_000_000),
    };
    let mut octets = Vec::new();
    encode_totals_head(&mut octets, &head);
    assert_eq!(hex(&octets), format!("0101{}ac02{}82f8b2e5bd68", "00".repeat(32), "07".repeat(32)));
    assert_eq!(decode_totals_head(&octets), Ok(head));
    let moved = Moved { holding: Holding::Money, origin: Origin::Paid, given: 5_000_000, taken: 3, cost: 4_999_997 };
    let row = TotalsRow {
        kind: CdrKind::TopUp,
        currency: Currency::EUR,
        cdrs: 2,
        late: 1,
        amount: -(1 << 70),
        moved: vec![moved],
    };
    let mut octets = Vec::new();
    encode_totals(&mut octets, std::slice::from_ref(&row));
    assert_eq!(hex(&octets), "010102455552 0201 ffffffffffffffffffff01 01 0000 80ade204 06 faace204".replace(' ', ""));
    assert_eq!(decode_totals(&octets), Ok(vec![row]));
    for end in 0..octets.len() {
        assert!(decode_totals(&octets[..end]).is_err());
    }
}

/// What crossed two thresholds, and an account that has its spending counted.
#[test]
fn crossings_and_what_was_spent_keep_their_octets() {
    let crossing = |watched| Crossing {
        watched,
        offer: OfferName::new("data-m"),
        subscription: 1,
        label: "80%".into(),
        at: 8,
        before: 7,
        after: 9,
    };
    let bucket = Watched::Allowance(BucketId::new("data#1.0004"), Holding::Units(Unit::Octet));
    let plain = fee_cdr();
    let cdr = RatedCdr { crossings: vec![crossing(bucket), crossing(Watched::Balance)], ..plain.clone() };
    let written = octets(|out| records::encode_cdr(out, &cdr));
    // Behind everything else of the charge: two, the bucket and its holding, then offer, subscription, label and three numbers.
    let numbers = "06646174612d6d010338302510 0e 12".replace(' ', "");
    let crossings = format!("0200 0b {} 02 {numbers} 02 {numbers}", hex(b"data#1.0004")).replace(' ', "");
    let identity = "0000000101";
    assert!(hex(&written).ends_with(&(crossings + identity)), "{}", hex(&written));
    assert_eq!(records::decode_cdr(&written), Ok(StoredCdr::of(&cdr)));
    let has_crossings = |octets: &[u8]| records::cdr_head(octets).map(|head| head.has_crossings);
    assert_eq!(has_crossings(&written), Ok(true));
    assert_eq!(has_crossings(&octets(|out| records::encode_cdr(out, &plain))), Ok(false));

    let mut account = holding_account();
    let contract = account.contract.as_mut().unwrap();
    contract.subscriptions[0].spent = (4, Money::from_micros(1_500_000));
    let written = octets(|out| records::encode_account(out, &account));
    assert!(hex(&written).ends_with("0104c08db701"), "{}", hex(&written));
    assert_eq!(records::decode_account(account.id, &written), Ok(account));
}

/// An event whose usage did not begin when its session was opened: a bit of the measure, and the instant behind the parts.
#[test]
fn when_an_event_began_keeps_its_octets() {
    let group = GroupId::new(1_000_042);
    let plain = sponsored_session();
    let mut dated = plain.clone();
    dated.charges[0].began = Some(Timestamp::from_seconds(1_793_000_000));
    let written = |session: &Session| hex(&octets(|out| records::encode_session(out, session, group)));
    // The CDR's position, measure and payer, one event of 0.07, one part of 0.07 by the credit line.
    let charge = "fcd8f116850100e0c5080104e0c50800";
    assert!(written(&plain).contains(charge), "{}", written(&plain));
    let there = written(&plain).replacen(charge, "fcd8f116c50100e0c5080104e0c5080082a886f2ae68", 1);
    assert_eq!(written(&dated), there);
    let image = records::decode_session(dated.id.clone(), &unhex(&[&there]), &resolve).unwrap();
    assert_eq!(*image.session, dated);
}
