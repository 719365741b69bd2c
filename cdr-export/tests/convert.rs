//! A CDR into protobuf, field by field: every member of the centre's record is somewhere in the message.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[allow(dead_code, unreachable_pub, missing_docs, reason = "serves several tests")]
mod common;

use cdr_export::convert::put_rated_cdr;
use cdr_export::{CdrView, LineView};
use common::{PARTITION, data_context, other_context, usage};
use ocs_proto::cdr::v1 as wire;
use ocs_proto::charging::v1 as words;
use ocs_proto::fields::Fields;
use prost::Message;
use rating_engine::cdr::{Cause, CdrKind, CdrSource, RatedCdr};
use rating_engine::ids::{CdrPosition, IdempotencyKey};
use rating_engine::units::{Measure, MoneyUnits, Units};

fn converted(cdr: &RatedCdr) -> wire::RatedCdr {
    read_back(CdrView::of(PARTITION, CdrPosition::new(6), cdr))
}

/// What the octets say, which must be those that everybody else would have written.
fn read_back(view: CdrView<'_, impl Iterator<Item = LineView>>) -> wire::RatedCdr {
    let mut octets = Vec::new();
    put_rated_cdr(&mut Fields::new(&mut octets), view);
    let message = wire::RatedCdr::decode(octets.as_slice()).unwrap();
    assert_eq!(message.encode_to_vec(), octets);
    message
}

fn euros(mantissa: i64) -> Option<words::Money> {
    Some(words::Money { mantissa, scale: 6, currency: "EUR".into() })
}

fn at(seconds: i64, millis: i32) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: millis * 1_000_000 })
}

#[test]
fn a_usage_cdr_field_by_field() {
    let movement = |payer: wire::PayerKind, bucket: &str, holding: words::Holding, origin: words::Origin, moved| {
        let (before, delta, after): (i64, i64, i64) = moved;
        wire::Movement {
            payer: payer.into(),
            bucket_id: bucket.into(),
            holding: holding.into(),
            origin: origin.into(),
            before,
            delta,
            after,
            cost: if holding == words::Holding::Money { delta } else { -7 },
        }
    };
    use wire::PayerKind::{Bucket, Credit, Debt};
    use words::{Holding, Origin};
    let expected = wire::RatedCdr {
        crossings: vec![wire::Crossing {
            watched: wire::Watched::Allowance.into(),
            bucket_id: "data#2.0001".into(),
            holding: Holding::Octets.into(),
            offer: "data-m".into(),
            subscription: 2,
            label: "nearly used".into(),
            threshold: 80,
            before: 79,
            after: 81,
            reached: true,
        }],
        stored_octets: Vec::new(),
        partition: 3,
        position: 6,
        cdr_id: "3-6".into(),
        kind: wire::CdrKind::Usage.into(),
        corrects_position: Some(5),
        account_id: 70,
        account_cdr_number: 9,
        previous_position: 4,
        tenant_id: 1,
        subscriber_id: Some(71),
        source: Some(wire::rated_cdr::Source::Network(wire::NetworkSource {
            session_id: b"pgw.example;1;2".to_vec(),
            request_number: 8,
            service_key: Some(words::ServiceKey { rating_group: Some(10), service_ids: vec![1, 2] }),
            context: Some(wire::Context {
                service: Some(words::ServiceKind { service: words::Service::Data.into(), specification: 0 }),
                service_context: "32251@3gpp.org".into(),
                client_host: "pgw.example".into(),
                client_realm: "example".into(),
                correlation: vec![9, 9],
                packet: Some(wire::PacketContext {
                    apn: Some("internet".into()),
                    charging_id: Some(1001),
                    pdn_connection_charging_id: Some(1002),
                    serving_plmn: Some("26201".into()),
                    home_plmn: Some("310410".into()),
                    gateway_plmn: Some("26202".into()),
                    rat_type: Some(6),
                    location: Some(vec![0x82, 1, 2]),
                    time_zone: Some(vec![4, 1]),
                    slice_service_type: Some(1),
                    slice_differentiator: Some(0x00_01_02),
                    charging_characteristics: Some(0x0800),
                    serving_node: Some("10.0.0.1".into()),
                    serving_node_type: Some(2),
                    gateway: Some("10.0.0.2".into()),
                    pdp_type: Some(0),
                    nsapi: Some(5),
                    selection_mode: Some(0),
                    qci: Some(9),
                    rule_base: Some("base".into()),
                    ps_data_off: Some(1),
                    presence_area: Some(4),
                }),
                ims: None,
                sms: None,
            }),
        })),
        cause: wire::Cause::Interim.into(),
        usage_start: at(1_700_000_000, 123),
        usage_end: at(1_700_000_060, 0),
        accepted: at(-1, 999),
        reported: Some(words::Units {
            seconds: Some(60),
            total_octets: Some(30),
            uplink_octets: Some(10),
            downlink_octets: Some(20),
            events: Some(1),
            money: euros(40),
        }),
        rating: Some(wire::Rating {
            tariff: Some(wire::TariffReference { name: "smart".into(), version: 2, content_hash: vec![7; 32] }),
            price_id: "data-default".into(),
            measure: wire::Measure::TotalOctets.into(),
            used_before: 100,
            used: 30,
            rated_before: 101,
            rated: 31,
            charged_before: euros(99),
            lines: vec![
                wire::PriceLine {
                    component: Some(wire::price_line::Component::ConnectFee(true)),
                    quantity: 0,
                    exact_numerator: "50000".into(),
                    exact_denominator: "1".into(),
                },
                wire::PriceLine {
                    component: Some(wire::price_line::Component::Tier(1)),
                    quantity: 31,
                    exact_numerator: "19375".into(),
                    exact_denominator: "65536".into(),
                },
            ],
            beyond_grant: 3,
            window: String::new(),
            slice: 2,
            tier_from: 101,
            exchange: Some(wire::ExchangeRate {
                exchange_id: "usd".into(),
                from_currency: "USD".into(),
                since: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
                amount: 9217,
                per: 10_000,
            }),
        }),
        offer: Some(wire::OfferCycle {
            name: "data-m".into(),
            version: 4,
            content_hash: vec![9; 32],
            subscription: 3,
            cycle: 2,
        }),
        tax_category: "standard".into(),
        tax_included: true,
        place_of_supply: "DE".into(),
        ledger_code: "4000".into(),
        revenue_rule: "usage".into(),
        bill_cycle: Some(prost_types::Timestamp { seconds: 1_700_000_500, nanos: 0 }),
        time_zone: "UTC".into(),
        accounting_period: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        usage_period: Some(prost_types::Timestamp { seconds: 1_690_000_000, nanos: 0 }),
        late: true,
        amount: euros(12_345),
        movements: vec![
            movement(Bucket, "bundle", Holding::Octets, Origin::Granted, (500, -30, 470)),
            movement(Bucket, "main", Holding::Money, Origin::Paid, (1_000_000, -12_000, 988_000)),
            movement(Credit, "", Holding::Money, Origin::Paid, (-5, -300, -305)),
            movement(Debt, "", Holding::Money, Origin::Paid, (0, -45, -45)),
        ],
        identifiers: Some(wire::NetworkIdentifiers {
            subscriber: vec!["msisdn-491701234567".into(), "imsi-262010000000001".into()],
            equipment: b"3500000000000001".to_vec(),
            device_addresses: vec!["10.45.0.9".into(), "::1".into()],
            forgotten: false,
        }),
        rating_semantics: 1,
    };
    assert_eq!(converted(&usage(data_context(), 9)), expected);
}

#[test]
fn voice_and_messages_keep_their_circumstances() {
    let Some(wire::rated_cdr::Source::Network(network)) = converted(&usage(other_context(), 1)).source else {
        panic!("usage comes from the network")
    };
    let context = network.context.unwrap();
    assert_eq!(
        context.service,
        Some(words::ServiceKind { service: words::Service::Other.into(), specification: 32_280 })
    );
    assert_eq!(
        context.ims,
        Some(wire::ImsContext {
            sip_method: Some("INVITE".into()),
            role_of_node: Some(0),
            node_functionality: Some(6),
            user_session_id: Some("call-1".into()),
            calling_parties: vec!["tel:+491".into()],
            called_party: Some("tel:+492".into()),
            requested_parties: vec!["tel:0049".into()],
            icid: Some("icid-1".into()),
            access_network: vec!["3GPP-E-UTRAN".into()],
            visited_network: Some("ims.example".into()),
            cause_code: Some(-200),
            emergency: true,
        })
    );
    assert_eq!(
        context.sms,
        Some(wire::SmsContext {
            originator: Some("493".into()),
            recipients: vec!["494".into(), "495".into()],
            service_centre: Some("4917".into()),
            message_type: Some(1),
            sms_node: Some(2),
            messages_sent: Some(3),
            data_coding: Some(-1),
            service_type: Some(4),
        })
    );
}

#[test]
fn an_operators_cdr_names_key_and_reason_and_nobody() {
    let cdr = RatedCdr {
        kind: CdrKind::TopUp,
        cause: Cause::Operator,
        source: CdrSource::Operator { key: IdempotencyKey::new("k1"), reason: "voucher".into() },
        corrects: None,
        subscriber: None,
        reported: Units::default(),
        rating: None,
        ..usage(data_context(), 1)
    };
    let message = converted(&cdr);
    let operator = wire::OperatorSource { key: "k1".into(), reason: "voucher".into() };
    assert_eq!(message.source, Some(wire::rated_cdr::Source::Operator(operator)));
    assert_eq!((message.kind(), message.cause()), (wire::CdrKind::TopUp, wire::Cause::Operator));
    assert_eq!((message.corrects_position, message.subscriber_id), (None, None));
    assert_eq!((message.reported, message.rating, message.identifiers), (None, None, None));
}

#[test]
fn every_kind_cause_and_measure_has_its_word() {
    use wire::{Cause as C, CdrKind as K, Measure as M};
    let base = usage(data_context(), 1);
    for (kind, word) in [
        (CdrKind::Usage, K::Usage),
        (CdrKind::TopUp, K::TopUp),
        (CdrKind::Refund, K::Refund),
        (CdrKind::Suspense, K::Suspense),
        (CdrKind::Lapse, K::Lapse),
    ] {
        assert_eq!(converted(&RatedCdr { kind, ..base.clone() }).kind(), word);
    }
    for (cause, word) in [
        (Cause::Interim, C::Interim),
        (Cause::Final, C::Final),
        (Cause::Event, C::Event),
        (Cause::Expired, C::Expired),
        (Cause::ClientRestarted, C::ClientRestarted),
        (Cause::Reopened, C::Reopened),
        (Cause::Operator, C::Operator),
    ] {
        assert_eq!(converted(&RatedCdr { cause, ..base.clone() }).cause(), word);
    }
    for (measure, word) in [
        (None, M::Unspecified),
        (Some(Measure::Seconds), M::Seconds),
        (Some(Measure::TotalOctets), M::TotalOctets),
        (Some(Measure::UplinkOctets), M::UplinkOctets),
        (Some(Measure::DownlinkOctets), M::DownlinkOctets),
        (Some(Measure::Events), M::Events),
    ] {
        let mut cdr = base.clone();
        cdr.rating.as_mut().unwrap().measure = measure;
        assert_eq!(converted(&cdr).rating.unwrap().measure(), word);
    }
}

#[test]
fn money_that_the_network_named_in_another_currency_says_so_by_number() {
    let mut cdr = usage(data_context(), 1);
    for (currency, text) in [(None, "EUR"), (Some(978), "EUR"), (Some(840), "840"), (Some(36), "036")] {
        cdr.reported.money = cdr.reported.money.map(|named| MoneyUnits { currency, ..named });
        assert_eq!(converted(&cdr).reported.unwrap().money.unwrap().currency, text);
    }
}

#[test]
fn forgotten_identifiers_are_marked_as_such() {
    let mut context = data_context();
    context.identifiers.clear();
    context.equipment = None;
    let cdr = usage(context, 1);
    let mut view = CdrView::of(PARTITION, CdrPosition::new(6), &cdr);
    view.identity_forgotten = true;
    let identifiers = read_back(view).identifiers.unwrap();
    assert!(identifiers.forgotten && identifiers.subscriber.is_empty() && identifiers.equipment.is_empty());
}
