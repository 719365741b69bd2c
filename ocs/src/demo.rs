//! The demo catalogue and subscribers that `ocs dev` starts with. Made by rule, so that a traffic generator knows them
//! without asking: subscriber n has IMSI 262019 + nine digits, MSISDN 49170 + eight digits, account n.

use rating_engine::account::{Account, AccountState, Bucket, CdrTrail, Counters, Credit, Holding, Origin, Subscriber};
use rating_engine::ids::{AccountId, BucketId, GroupId, Identifier, SubscriberId, TariffName, TenantId};
use rating_engine::money::{Currency, MICROS, Money};
use rating_engine::time::Timestamp;
use rating_engine::units::Unit;

use crate::import::SubscriberRecord;

/// The demo catalogue's documents.
pub const CATALOGUE: [&str; 3] = [
    include_str!("../demo/start-payg.yaml"),
    include_str!("../demo/data-m.yaml"),
    include_str!("../demo/flat-30.yaml"),
];

/// The IMSI of demo subscriber `number`.
pub fn imsi(number: u64) -> String {
    format!("262019{number:09}")
}

/// The MSISDN of demo subscriber `number`.
pub fn msisdn(number: u64) -> String {
    format!("49170{number:08}")
}

/// Demo subscriber `number` (from 1) and its account: four in ten pay as they go, four have a data bucket, two are
/// postpaid; three in a hundred have nothing left.
pub fn subscriber(number: u64) -> Option<(Account, SubscriberRecord)> {
    let money = |micros: i64| Bucket {
        id: BucketId::new("main"),
        holding: Holding::Money,
        origin: Origin::Paid,
        balance: micros,
        reserved: 0,
        priority: 100,
        valid_from: Timestamp::default(),
        valid_to: Timestamp::NEVER,
        scope: None,
        terms: None,
    };
    let units = |id: &str, unit: Unit, balance: i64| Bucket {
        id: BucketId::new(id),
        holding: Holding::Units(unit),
        origin: Origin::Granted,
        balance,
        priority: 10,
        ..money(0)
    };
    let spread = i64::try_from(number % 17).unwrap_or(0);
    let balance = if matches!(number % 100, 70 | 80 | 90) { 0 } else { (2 + spread) * MICROS };
    let (tariff, buckets, credit) = match number % 10 {
        0..=3 => ("start-payg", vec![money(balance)], None),
        4..=7 => ("data-m", vec![units("data-10g", Unit::Octet, 10 << 30), money(balance)], None),
        _ => {
            let limit = Money::from_micros(80 * MICROS);
            let credit = Credit { limit, spent: Money::ZERO, reserved: Money::ZERO };
            ("flat-30", vec![units("data-30g", Unit::Octet, 30 << 30)], Some(credit))
        }
    };
    let account = Account {
        id: AccountId::new(number),
        group: GroupId::new(number),
        tenant: TenantId::default(),
        currency: Currency::EUR,
        state: AccountState::Active,
        credit,
        debt: Money::ZERO,
        buckets,
        totals: Vec::new(),
        contract: None,
        cdrs: CdrTrail::default(),
    };
    let identifiers = [format!("imsi-{}", imsi(number)), format!("msisdn-{}", msisdn(number))];
    let identifiers = identifiers.iter().map(|text| text.parse()).collect::<Result<Vec<Identifier>, String>>().ok()?;
    let subscriber = Subscriber {
        id: SubscriberId::new(number),
        tenant: TenantId::default(),
        account: account.id,
        group: account.group,
        tariff: TariffName::new(tariff),
        state: AccountState::Active,
        counters: Counters::default(),
    };
    Some((account, SubscriberRecord { subscriber, identifiers, offers: Vec::new() }))
}
