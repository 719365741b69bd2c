//! The shared words out of the centre's types: what every service says the same way.
//!
//! Tables and nothing else. The way back is each service's own, because it has to refuse.

use prost_types::Timestamp as WireTime;
use rating_engine::account::{Holding, Origin};
use rating_engine::ids::RatingGroup;
use rating_engine::money::{Currency, Money};
use rating_engine::tariff::{Service, ServiceKey};
use rating_engine::time::Timestamp;
use rating_engine::units::Unit;

use super::v1 as common;

/// Decimals of every amount that is said: micro-units.
pub const MONEY_SCALE: u32 = 6;

/// An amount, at scale 6.
pub fn money(amount: Money, currency: Currency) -> common::Money {
    common::Money { mantissa: amount.micros(), scale: MONEY_SCALE, currency: currency.letters().to_owned() }
}

/// An instant, to the millisecond.
pub fn time(at: Timestamp) -> WireTime {
    let (seconds, millis) = (at.millis().div_euclid(1000), at.millis().rem_euclid(1000));
    // Below 1000 by the line above.
    WireTime { seconds, nanos: i32::try_from(millis * 1_000_000).unwrap_or(0) }
}

/// The kind of service, with what tells the other ones apart.
pub fn service(service: Service) -> common::ServiceKind {
    let (service, specification) = match service {
        Service::Data => (common::Service::Data, 0),
        Service::Voice => (common::Service::Voice, 0),
        Service::Sms => (common::Service::Sms, 0),
        Service::Mms => (common::Service::Mms, 0),
        Service::Other(specification) => (common::Service::Other, specification),
    };
    common::ServiceKind { service: service.into(), specification }
}

/// What is rated within a session.
pub fn service_key(key: &ServiceKey) -> common::ServiceKey {
    common::ServiceKey {
        rating_group: key.rating_group.map(RatingGroup::get),
        service_ids: key.services.iter().map(|id| id.get()).collect(),
    }
}

/// What a bucket holds.
pub const fn holding(holding: Holding) -> common::Holding {
    match holding {
        Holding::Money => common::Holding::Money,
        Holding::Units(Unit::Second) => common::Holding::Seconds,
        Holding::Units(Unit::Octet) => common::Holding::Octets,
        Holding::Units(Unit::Event) => common::Holding::Events,
    }
}

/// Paid or granted.
pub const fn origin(origin: Origin) -> common::Origin {
    match origin {
        Origin::Paid => common::Origin::Paid,
        Origin::Granted => common::Origin::Granted,
    }
}
