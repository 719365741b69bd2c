//! The demo catalogue and subscribers that `ocs dev` starts with. Made by rule, so that a traffic generator knows them
//! without asking: subscriber n has IMSI 262019 + nine digits, MSISDN 49170 + eight digits, account n. Behind them stands
//! one who holds each of the offers, from 900000001 on.

use std::sync::Arc;

use rating_engine::account::{
    Account, AccountState, Bucket, CdrTrail, Counters, Credit, Holding, Origin, Sponsor, Subscriber,
};
use rating_engine::ids::{AccountId, BucketId, GroupId, Identifier, OfferName, SubscriberId, TariffName, TenantId};
use rating_engine::money::{Currency, MICROS, Money};
use rating_engine::time::Timestamp;
use rating_engine::units::Unit;

use crate::import::SubscriberRecord;

/// The demo catalogue's documents: tariffs, then offers.
pub const CATALOGUE: [&str; 20] = [
    include_str!("../demo/start-payg.yaml"),
    include_str!("../demo/data-m.yaml"),
    include_str!("../demo/all-in.yaml"),
    include_str!("../demo/happy-hour.yaml"),
    include_str!("../demo/family.yaml"),
    include_str!("../demo/flat-30.yaml"),
    include_str!("../demo/corporate.yaml"),
    include_str!("../demo/iot.yaml"),
    include_str!("../demo/mvno.yaml"),
    include_str!("../demo/offer-start.yaml"),
    include_str!("../demo/offer-data-m.yaml"),
    include_str!("../demo/offer-all-in-20.yaml"),
    include_str!("../demo/offer-social-pass.yaml"),
    include_str!("../demo/offer-happy-hour.yaml"),
    include_str!("../demo/offer-roam-world-day.yaml"),
    include_str!("../demo/offer-family-40.yaml"),
    include_str!("../demo/offer-flat-30.yaml"),
    include_str!("../demo/offer-corporate.yaml"),
    include_str!("../demo/offer-iot-pool.yaml"),
    include_str!("../demo/offer-mvno.yaml"),
];

/// The number of the first [`holder`].
pub const HOLDERS_FROM: u64 = 900_000_001;

/// Someone who holds offers: account (if it is theirs), offers, money, credit limit, tariff.
struct Holder {
    account: u64,
    offers: &'static [&'static str],
    money: i64,
    credit: i64,
    tariff: &'static str,
    /// The holder whose charging group its account is in, where that is not its own.
    with: u64,
    /// The holder whose account pays in business hours.
    employer: u64,
}

const fn holder(
    account: u64,
    offers: &'static [&'static str],
    money: i64,
    credit: i64,
    tariff: &'static str,
) -> Holder {
    Holder { account, offers, money, credit, tariff, with: 0, employer: 0 }
}

/// One for each offer, and behind them the other lines of the family, the other cards of the pool and the employer.
const HOLDERS: [Holder; 16] = [
    holder(1, &["start"], 20, 0, "start-payg"),
    holder(2, &["data-m"], 20, 0, "data-m"),
    holder(3, &["all-in-20"], 30, 0, "all-in"),
    holder(4, &["data-m", "social-pass"], 20, 0, "data-m"),
    holder(5, &["happy-hour"], 20, 0, "happy-hour"),
    holder(6, &["start", "roam-world-day"], 50, 0, "start-payg"),
    holder(7, &["family-40"], 0, 200, "family"),
    holder(8, &["flat-30"], 0, 80, "flat-30"),
    Holder { employer: 16, ..holder(9, &["corporate"], 15, 0, "corporate") },
    holder(10, &["iot-pool"], 0, 100, "iot"),
    holder(11, &["mvno"], 20, 0, "mvno"),
    holder(7, &[], 0, 0, "family"),
    holder(7, &[], 0, 0, "family"),
    holder(10, &[], 0, 0, "iot"),
    holder(10, &[], 0, 0, "iot"),
    Holder { with: 9, ..holder(16, &[], 0, 500, "corporate") },
];

/// Everybody who holds offers, members before those whose offers are for each of them; with the account where it is theirs.
pub fn holders() -> impl Iterator<Item = (Option<Account>, SubscriberRecord)> {
    let all = || HOLDERS.iter().zip(HOLDERS_FROM..);
    let members = all().filter(|(it, _)| it.offers.is_empty());
    members.chain(all().filter(|(it, _)| !it.offers.is_empty())).filter_map(|(it, number)| {
        let of = |holder: u64| HOLDERS_FROM.checked_add(holder)?.checked_sub(1);
        let account = of(it.account)?;
        let group = GroupId::new(if it.with == 0 { account } else { of(it.with)? });
        let mut record = record(number, account, it.tariff, it.offers)?;
        record.subscriber.group = group;
        if it.employer != 0 {
            let account = AccountId::new(of(it.employer)?);
            let sponsor = Sponsor { account, windows: ["business".into()].into(), allowance: false };
            record.subscriber.sponsor = Some(Arc::new(sponsor));
        }
        Some(((account == number).then(|| Account { group, ..it.account(account) }), record))
    })
}

impl Holder {
    fn account(&self, number: u64) -> Account {
        let limit = Money::from_micros(self.credit * MICROS);
        let credit = (self.credit > 0).then_some(Credit { limit, spent: Money::ZERO, reserved: Money::ZERO });
        let buckets = if self.money > 0 { vec![money(self.money * MICROS)] } else { Vec::new() };
        let pounds = Currency::parse("GBP").filter(|_| self.tariff == "mvno");
        Account { currency: pounds.unwrap_or(Currency::EUR), ..account(number, buckets, credit) }
    }
}

fn money(micros: i64) -> Bucket {
    Bucket {
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
    }
}

fn account(number: u64, buckets: Vec<Bucket>, credit: Option<Credit>) -> Account {
    Account {
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
    }
}

fn record(number: u64, account: u64, tariff: &str, offers: &[&str]) -> Option<SubscriberRecord> {
    let identifiers = [format!("imsi-{}", imsi(number)), format!("msisdn-{}", msisdn(number))];
    let identifiers = identifiers.iter().map(|text| text.parse()).collect::<Result<Vec<Identifier>, String>>().ok()?;
    let subscriber = Subscriber {
        id: SubscriberId::new(number),
        tenant: TenantId::default(),
        account: AccountId::new(account),
        group: GroupId::new(account),
        tariff: TariffName::new(tariff),
        state: AccountState::Active,
        counters: Counters::default(),
        sponsor: None,
    };
    Some(SubscriberRecord { subscriber, identifiers, offers: offers.iter().map(|name| OfferName::new(name)).collect() })
}

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
    Some((account(number, buckets, credit), record(number, number, tariff, &[])?))
}
