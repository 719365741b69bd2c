//! The eleven offers of the demo catalogue, each with stories that can be checked by hand. The documents are those of the
//! product, the shard is the one that charges; time is moved by hand.

#![cfg(test)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

use std::sync::Arc;

use ocs::catalogue::{self, Document};
use ocs::demo;
use rating_engine::account::{
    Account, AccountState, Bucket, CdrTrail, Counters, Credit, Holding, Origin, Sponsor, Subscriber, SubscriptionState,
};
use rating_engine::cdr::{CdrKind, RatedCdr};
use rating_engine::command::{
    Action, Change, Command, Effects, Mutation, MutationOutcome, Outcome, Profile, Request, Requested, ServiceRequest,
};
use rating_engine::context::{Context, ImsContext, PacketContext, Plmn};
use rating_engine::ids::*;
use rating_engine::money::{Currency, Money};
use rating_engine::shard::{Limits, Shard};
use rating_engine::tariff::{Service, ServiceKey};
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;
use rating_engine::units::Units;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A shard with the demo catalogue and one account, 1, whose subscribers are 1, 2 and 3.
struct Shop {
    shard: Shard,
    tariffs: Tariffs,
    cdrs: Vec<RatedCdr>,
    now: Timestamp,
    number: u32,
}

/// What is used, and the circumstances.
#[derive(Clone, Copy, Default)]
struct Use<'a> {
    subscriber: u64,
    group: Option<u32>,
    to: Option<&'a str>,
    network: Option<&'a str>,
    rat: Option<u8>,
}

impl Shop {
    /// With so much money, or credit, at an instant.
    fn new(currency: &str, money: &str, credit: Option<&str>, at: &str) -> Self {
        let mut tariffs = Tariffs::default();
        for source in demo::CATALOGUE {
            match catalogue::parse(source).unwrap() {
                Document::Tariff(version) => tariffs.insert(version),
                Document::Offer(version) => tariffs.insert_offer(version),
                Document::Accounting(periods, _) => tariffs.insert_periods(periods),
            }
        }
        let mut shop =
            Self { shard: Shard::new(Limits::default()), tariffs, cdrs: Vec::new(), now: instant(at), number: 0 };
        let micros = |text: &str| text.parse::<Money>().unwrap();
        let main = Bucket {
            id: BucketId::new("main"),
            holding: Holding::Money,
            origin: Origin::Paid,
            balance: micros(money).micros(),
            reserved: 0,
            priority: 100,
            valid_from: Timestamp::default(),
            valid_to: Timestamp::NEVER,
            scope: None,
            terms: None,
        };
        let account = Account {
            id: AccountId::new(1),
            group: GroupId::new(1),
            tenant: TenantId::default(),
            currency: Currency::parse(currency).unwrap(),
            state: AccountState::Active,
            credit: credit.map(|limit| Credit { limit: micros(limit), spent: Money::ZERO, reserved: Money::ZERO }),
            debt: Money::ZERO,
            buckets: if credit.is_some() { Vec::new() } else { vec![main] },
            totals: Vec::new(),
            contract: None,
            cdrs: CdrTrail::default(),
        };
        shop.change(Change::OpenAccount(Box::new(account)));
        for number in 1..=3 {
            let subscriber = Subscriber {
                id: SubscriberId::new(number),
                tenant: TenantId::default(),
                account: AccountId::new(1),
                group: GroupId::new(1),
                tariff: TariffName::new("start-payg"),
                state: AccountState::Active,
                counters: Counters::default(),
                sponsor: None,
            };
            shop.change(Change::PutSubscriber(subscriber));
        }
        shop
    }

    /// Account 2 pays for subscriber 1 in business hours.
    fn employ(&mut self) {
        let limit = Money::from_micros(500_000_000);
        let credit = Some(Credit { limit, spent: Money::ZERO, reserved: Money::ZERO });
        let (id, buckets) = (AccountId::new(2), Vec::new());
        let account = Account { id, buckets, credit, ..self.account().clone() };
        self.change(Change::OpenAccount(Box::new(account)));
        let sponsor = Arc::new(Sponsor { account: id, windows: ["business".into()].into(), allowance: false });
        let subscriber = self.shard.subscriber(SubscriberId::new(1)).unwrap().clone();
        self.change(Change::PutSubscriber(Subscriber { sponsor: Some(sponsor), ..subscriber }));
    }

    /// What the employer spent.
    fn employers(&self) -> String {
        self.shard.account(AccountId::new(2)).unwrap().credit.unwrap().spent.to_string()
    }

    fn keep<T>(&mut self, mut effects: Effects<T>) -> T {
        let first = u64::try_from(self.cdrs.len()).unwrap() + 1;
        self.shard.place_cdrs(&mut effects.cdrs, CdrPosition::new(first));
        self.cdrs.append(&mut effects.cdrs);
        for account in self.shard.accounts() {
            assert_eq!(account.proof(), Ok(()), "the books balance");
        }
        effects.outcome
    }

    fn change(&mut self, mutation: impl Into<Mutation>) {
        let effects = self.shard.mutate(&self.tariffs, mutation, self.now);
        let outcome = self.keep(effects);
        assert!(matches!(*outcome, MutationOutcome::Done { .. }), "{outcome:?}");
    }

    /// The offer for subscriber 1; the others come under its tariff.
    fn buy(&mut self, offer: &str) {
        self.number += 1;
        let buy = Change::Buy {
            account: AccountId::new(1),
            subscriber: SubscriberId::new(1),
            offer: OfferName::new(offer),
            version: None,
            begins: None,
        };
        self.change(buy.asked(request(&self.number.to_string())));
        let tariff = self.shard.subscriber(SubscriberId::new(1)).unwrap().tariff.clone();
        for number in 2..=3 {
            let subscriber = self.shard.subscriber(SubscriberId::new(number)).unwrap().clone();
            self.change(Change::PutSubscriber(Subscriber { tariff: tariff.clone(), ..subscriber }));
        }
    }

    /// Lets time pass, and what is due happen.
    fn at(&mut self, instant_: &str) -> &mut Self {
        self.now = instant(instant_);
        while let Some(effects) = self.shard.expire(&self.tariffs, self.now) {
            self.keep(effects);
        }
        self
    }

    fn ask(&mut self, service: Service, units: Units, used: Use<'_>) -> Outcome {
        self.number += 1;
        let key = ServiceKey { rating_group: used.group.map(RatingGroup::new), services: Box::default() };
        let packet = PacketContext {
            serving_plmn: used.network.and_then(Plmn::parse),
            rat: used.rat,
            ..PacketContext::default()
        };
        let ims = ImsContext { called: used.to.map(Into::into), ..ImsContext::default() };
        let command = Command {
            now: self.now,
            event_time: None,
            session: SessionId::new(format!("e{}", self.number).as_bytes()),
            number: 0,
            digest: 0,
            client_state: 0,
            subscriber: SubscriberId::new(used.subscriber.max(1)),
            profile: Profile::STANDARD,
            command_level: false,
            context: Context {
                service,
                service_context: "story".into(),
                client_host: "story".into(),
                client_realm: "story".into(),
                identifiers: Vec::new(),
                equipment: None,
                correlation: None,
                packet: Some(Box::new(packet)),
                ims: Some(Box::new(ims)),
                sms: None,
            },
            action: Action::Debit(vec![ServiceRequest { key, requested: Requested::Units(units), used: Vec::new() }]),
        };
        let effects = self.shard.apply(&self.tariffs, command);
        (*self.keep(effects)).clone()
    }

    /// What it costs.
    fn charged(&mut self, service: Service, units: Units, used: Use<'_>) -> String {
        match self.ask(service, units, used) {
            Outcome::Answered(answered) => answered.cost.unwrap().0.to_string(),
            Outcome::Refused(refusal) => format!("{refusal:?}"),
        }
    }

    fn data(&mut self, octets: u64, used: Use<'_>) -> String {
        self.charged(Service::Data, Units { total_octets: Some(octets), ..Units::default() }, used)
    }

    fn call(&mut self, seconds: u64, used: Use<'_>) -> String {
        self.charged(Service::Voice, Units { seconds: Some(seconds), ..Units::default() }, used)
    }

    fn sms(&mut self, messages: u64) -> String {
        self.charged(Service::Sms, Units { events: Some(messages), ..Units::default() }, Use::default())
    }

    fn account(&self) -> &Account {
        self.shard.account(AccountId::new(1)).unwrap()
    }

    fn money(&self) -> String {
        self.account().money().to_string()
    }

    fn spent(&self) -> String {
        self.account().credit.unwrap().spent.to_string()
    }

    fn left(&self, bucket: &str) -> u64 {
        self.account().bucket(&BucketId::new(bucket)).map_or(0, |bucket| bucket.balance.unsigned_abs())
    }

    fn last(&self, kind: CdrKind) -> &RatedCdr {
        self.cdrs.iter().rev().find(|cdr| cdr.kind == kind).unwrap()
    }
}

fn instant(text: &str) -> Timestamp {
    Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn anywhere() -> Use<'static> {
    Use::default()
}

// --- Start PAYG ---

/// 61 s are two minutes: 0.05 + 2 x 0.09 at home, 2 x 0.19 in the EU, 2 x 0.79 in the world, 2 x 1.99 by satellite.
#[test]
fn start_payg_calls_by_zone() {
    let mut shop = Shop::new("EUR", "20.00", None, "2027-01-13T12:00:00Z");
    shop.buy("start");
    for (to, cost) in [
        ("+4930123", "0.23"),
        ("0043123", "0.43"),
        ("+12125550100", "1.63"),
        ("+88161234", "4.03"),
        ("sip:a@b", "0.23"),
    ] {
        assert_eq!(shop.call(61, Use { to: Some(to), ..anywhere() }), cost, "{to}");
    }
    assert_eq!(shop.call(0, Use { to: Some("+4930123"), ..anywhere() }), "RatingFailed", "nothing was used");
}

/// 0.02 a MiB in steps of 100 KiB: 1 MiB is 11 of them, 1100/1024 x 0.02 = 0.0215 (0.021484375). Messages 0.09 each.
#[test]
fn start_payg_data_and_messages() {
    let mut shop = Shop::new("EUR", "20.00", None, "2027-01-13T12:00:00Z");
    shop.buy("start");
    assert_eq!(shop.data(MIB, anywhere()), "0.0215");
    assert_eq!(shop.data(100 << 10, anywhere()), "0.002", "one step of 100 KiB: 0.001953125");
    assert_eq!(shop.sms(3), "0.27");
    assert_eq!(shop.data(GIB, Use { group: Some(100), ..anywhere() }), "0.00", "messaging is free");
    assert_eq!(shop.money(), "19.7065");
}

// --- Data M ---

/// 7.99 for 10 GiB; beyond them 0.01 a MiB.
#[test]
fn data_m_has_ten_gibibytes_and_then_a_price() {
    let mut shop = Shop::new("EUR", "10.00", None, "2027-01-31T09:00:00Z");
    shop.buy("data-m");
    assert_eq!(shop.money(), "2.01");
    assert_eq!(shop.data(10 * GIB, anywhere()), "0.00");
    assert_eq!(shop.data(100 * MIB, anywhere()), "1.00");
    assert_eq!(shop.money(), "1.01");
}

/// From 31 January 10:00 in Berlin to 28 February 10:00: 3 GiB of 10 used, 5 of the 7 left roll over, 2 lapse; the next month
/// they are used first, and what of them is left then is gone.
#[test]
fn data_m_rolls_over_half_of_it_for_a_month() {
    let mut shop = Shop::new("EUR", "30.00", None, "2027-01-31T09:00:00Z");
    shop.buy("data-m");
    shop.data(3 * GIB, anywhere());
    shop.at("2027-02-28T08:59:59Z");
    assert_eq!(shop.left("data#1.0000"), 7 * GIB);
    shop.at("2027-02-28T09:00:00Z");
    assert_eq!((shop.left("data#1.0000"), shop.left("data#1.0001")), (5 * GIB, 10 * GIB));
    assert_eq!(shop.last(CdrKind::Expiry).movements[0].delta, -i64::try_from(2 * GIB).unwrap());
    assert_eq!(shop.last(CdrKind::Expiry).movements[0].cost.to_string(), "-1.598", "2/10 of 7.99");
    shop.data(6 * GIB, anywhere());
    assert_eq!((shop.left("data#1.0000"), shop.left("data#1.0001")), (0, 9 * GIB));
    assert_eq!(shop.money(), "14.02");
}

/// The second fee cannot be paid: data has its price from then on, until money comes.
#[test]
fn data_m_waits_for_its_fee() {
    let mut shop = Shop::new("EUR", "8.50", None, "2027-01-10T09:00:00Z");
    shop.buy("data-m");
    shop.at("2027-02-10T09:00:00Z");
    assert_eq!(shop.data(10 * MIB, anywhere()), "0.1006", "102.4 steps of 100 KiB: 103 x 100/1024 x 0.01 = 0.10058");
}

// --- All-in 20 ---

/// 20 GiB, 300 minutes, 100 messages for 19.99; the fee is shared 7.20, 9.59, 3.20; then 0.02, 0.09 and 0.09.
#[test]
fn all_in_20_pays_everything_for_four_weeks() {
    let mut shop = Shop::new("EUR", "30.00", None, "2027-01-13T12:00:00Z");
    shop.buy("all-in-20");
    let costs: Vec<String> =
        shop.last(CdrKind::Allowance).movements.iter().map(|moved| moved.cost.to_string()).collect();
    assert_eq!(costs, ["7.20", "9.59", "3.20"]);
    assert_eq!((shop.data(20 * GIB, anywhere()), shop.call(18_000, anywhere()), shop.sms(100)), same("0.00"));
    assert_eq!((shop.data(1000 << 10, anywhere()), shop.call(61, anywhere()), shop.sms(1)), {
        ("0.0195".to_owned(), "0.0915".to_owned(), "0.09".to_owned())
    });
    shop.at("2027-02-10T12:00:00Z");
    assert_eq!(
        shop.account().contract.as_ref().unwrap().subscriptions[0].state,
        SubscriptionState::Unpaid,
        "9.799 cannot pay the next"
    );
}

fn same(text: &str) -> (String, String, String) {
    (text.to_owned(), text.to_owned(), text.to_owned())
}

// --- Social pass ---

/// Rating group 20 uses the pass before the bundle, other data does not; after a week the rest of it lapses.
#[test]
fn social_pass_comes_before_other_data_and_only_for_its_group() {
    let mut shop = Shop::new("EUR", "20.00", None, "2027-01-13T12:00:00Z");
    shop.buy("data-m");
    shop.buy("social-pass");
    assert_eq!(shop.money(), "9.02");
    let social = Use { group: Some(20), ..anywhere() };
    shop.data(2 * GIB, social);
    shop.data(GIB, anywhere());
    assert_eq!((shop.left("social#2.0000"), shop.left("data#1.0000")), (3 * GIB, 9 * GIB));
    shop.data(4 * GIB, social);
    assert_eq!((shop.left("social#2.0000"), shop.left("data#1.0000")), (0, 8 * GIB));
    shop.at("2027-01-21T12:00:00Z");
    assert_eq!(shop.account().contract.as_ref().unwrap().subscriptions.len(), 1, "it does not renew");
}

// --- Happy hour ---

/// From 01:59 in Berlin at 0.02, from 02:00 to 05:59 at 0.002.
#[test]
fn happy_hour_is_a_tenth_at_night() {
    let mut shop = Shop::new("EUR", "20.00", None, "2027-01-13T00:59:59Z");
    shop.buy("happy-hour");
    assert_eq!(shop.data(10 * MIB, anywhere()), "0.20");
    shop.at("2027-01-13T01:00:00Z");
    assert_eq!(shop.data(10 * MIB, anywhere()), "0.02");
    shop.at("2027-01-13T05:00:00Z");
    assert_eq!(shop.data(10 * MIB, anywhere()), "0.20");
    // The night of the clock change: 02:30 is there twice, and both times it is the happy hour.
    for twice in ["2027-10-31T00:30:00Z", "2027-10-31T01:30:00Z"] {
        assert_eq!(shop.at(twice).data(10 * MIB, anywhere()), "0.02", "{twice}");
    }
    // And in spring the hour is skipped: 03:30 is in it.
    assert_eq!(shop.at("2028-03-26T01:30:00Z").data(10 * MIB, anywhere()), "0.02");
}

/// Ascension Day 2027 (6 May, a Thursday) counts as a Sunday: 0.05 instead of 0.09 a minute.
#[test]
fn happy_hour_holidays_are_sundays() {
    let mut shop = Shop::new("EUR", "20.00", None, "2027-05-05T10:00:00Z");
    shop.buy("happy-hour");
    assert_eq!(shop.call(60, anywhere()), "0.09", "a Wednesday");
    assert_eq!(shop.at("2027-05-06T10:00:00Z").call(60, anywhere()), "0.05", "Ascension Day");
    assert_eq!(shop.at("2027-05-09T10:00:00Z").call(60, anywhere()), "0.05", "a Sunday");
}

// --- Roam World day ---

/// In the United States: 4.90 for the first MiB and 499 more; then 0.50 USD x 0.9217 a MiB: 3 MiB are 1.3826 (1.38255). After
/// 24 hours another day is bought.
#[test]
fn roam_world_day_is_bought_abroad() {
    let mut shop = Shop::new("EUR", "20.00", None, "2027-01-13T12:00:00Z");
    shop.buy("start");
    let abroad = Use { network: Some("310410"), ..anywhere() };
    assert_eq!(shop.data(MIB, Use { network: Some("26201"), ..anywhere() }), "0.0215", "at home");
    assert_eq!(shop.data(500 * MIB, abroad), "0.00");
    assert_eq!(shop.money(), "15.0785");
    assert_eq!(shop.data(3 * MIB, abroad), "1.3826");
    shop.at("2027-01-14T11:59:59Z");
    assert_eq!(shop.data(MIB, abroad), "0.4609");
    shop.at("2027-01-14T12:00:00Z");
    assert_eq!(shop.data(MIB, abroad), "0.00");
    assert_eq!(shop.money(), "8.335", "15.0785 - 1.3826 - 0.4609 - 4.90");
}

// --- Family 40 ---

/// 39.90 on account; a line may use 15 of the 40 GiB, all together 40; what is beyond costs 0.005 a MiB.
#[test]
fn family_40_is_shared_with_a_cap() {
    let mut shop = Shop::new("EUR", "0.00", Some("200.00"), "2027-01-13T12:00:00Z");
    shop.buy("family-40");
    assert_eq!(shop.spent(), "39.90");
    let line = |subscriber| Use { subscriber, ..anywhere() };
    assert_eq!(shop.data(15 * GIB, line(2)), "0.00");
    assert_eq!(shop.data(200 * MIB, line(2)), "1.00", "the line has used its 15 GiB");
    assert_eq!(shop.data(15 * GIB, line(3)), "0.00");
    assert_eq!(shop.data(10 * GIB, line(1)), "0.00");
    assert_eq!(shop.data(100 * MIB, line(1)), "0.50", "the bucket is empty");
    assert_eq!(shop.spent(), "41.40");
    shop.at("2027-02-13T12:00:00Z");
    assert_eq!(shop.data(15 * GIB, line(2)), "0.00", "a new month, a new cap");
}

// --- Flat 30 ---

/// 3000 minutes are free within the month, the next cost 0.05; then a new month begins.
#[test]
fn flat_30_has_a_fair_use() {
    let mut shop = Shop::new("EUR", "0.00", Some("80.00"), "2027-01-31T09:00:00Z");
    shop.buy("flat-30");
    assert_eq!(shop.call(2999 * 60, anywhere()), "0.00");
    assert_eq!(shop.call(121, anywhere()), "0.10", "three minutes: one is free");
    assert_eq!(shop.spent(), "30.00");
    shop.at("2027-02-28T08:59:59Z");
    assert_eq!(shop.call(60, anywhere()), "0.05");
    shop.at("2027-02-28T09:00:00Z");
    assert_eq!(shop.call(60, anywhere()), "0.00", "the account's month began at its purchase");
}

/// 30 GiB included, then 0.005 a MiB, up to the limit of 80.00: what is left after the fee pays 10,020 MiB.
#[test]
fn flat_30_ends_at_the_credit_limit() {
    let mut shop = Shop::new("EUR", "0.00", Some("80.00"), "2027-01-31T09:00:00Z");
    shop.buy("flat-30");
    assert_eq!(shop.data(30 * GIB, anywhere()), "0.00");
    assert_eq!(shop.data(10_021 * MIB, anywhere()), "CreditLimitReached", "50.105, to the cent 50.11, of 50.10");
    assert_eq!(shop.data(10_020 * MIB, anywhere()), "50.10");
    assert_eq!(shop.spent(), "80.00");
}

// --- Corporate hybrid ---

/// Business hours are the employer's: 10 minutes on a Wednesday are 0.50 on its account. At the weekend 0.90 come from the 20.00
/// that it gives a month, and when those are gone from the private balance. A call from 17:58 on for five minutes is two
/// minutes of its own, 0.10, and three private ones, 0.27. A holiday is no business day.
#[test]
fn corporate_is_paid_by_the_employer_in_business_hours() {
    let mut shop = Shop::new("EUR", "15.00", None, "2027-01-13T12:00:00Z");
    shop.employ();
    shop.buy("corporate");
    assert_eq!(shop.money(), "35.00");
    assert_eq!(shop.call(600, anywhere()), "0.50");
    assert_eq!((shop.money().as_str(), shop.employers().as_str()), ("35.00", "0.50"));
    assert_eq!(shop.at("2027-01-16T12:00:00Z").call(600, anywhere()), "0.90");
    assert_eq!((shop.left("employer#1.0000"), shop.employers().as_str()), (19_100_000, "0.50"));
    assert_eq!(shop.data(2000 * MIB, anywhere()), "20.00");
    assert_eq!((shop.left("employer#1.0000"), shop.left("main")), (0, 14_100_000));
    assert_eq!(shop.at("2027-01-18T16:58:00Z").call(300, anywhere()), "0.37");
    assert_eq!((shop.left("main"), shop.employers().as_str()), (13_830_000, "0.60"));
    assert_eq!(shop.at("2027-03-29T12:00:00Z").call(60, anywhere()), "0.09", "Easter Monday");
    assert_eq!(shop.employers(), "0.60");
}

/// Data costs the same at all times; in business hours the employer pays it.
#[test]
fn corporate_data_in_business_hours_is_the_employers() {
    let mut shop = Shop::new("EUR", "15.00", None, "2027-01-13T12:00:00Z");
    shop.employ();
    shop.buy("corporate");
    assert_eq!(shop.data(100 * MIB, anywhere()), "1.00");
    assert_eq!((shop.money().as_str(), shop.employers().as_str()), ("35.00", "1.00"));
    assert_eq!(shop.at("2027-01-13T18:00:00Z").data(100 * MIB, anywhere()), "1.00");
    assert_eq!((shop.money().as_str(), shop.employers().as_str()), ("34.00", "1.00"));
}

// --- IoT pool ---

/// Three cards, 3.60 a month, 15 MiB together. Every quarter of an hour less than 2 KiB: 96 x 31 x 2000 octets are 5.68 MiB a
/// card; one card sends 4 MiB more: 17.03 + 4 - 15 is 6.03, seven started MiB: 3.50.
#[test]
fn iot_pool_is_charged_with_the_month() {
    let mut shop = Shop::new("EUR", "0.00", Some("100.00"), "2027-01-01T00:00:00Z");
    shop.buy("iot-pool");
    assert_eq!(shop.spent(), "3.60");
    let card = |subscriber| Use { subscriber, rat: Some(8), ..anywhere() };
    for number in 1..=3 {
        for _ in 0..96 * 31 / 24 {
            assert_eq!(shop.data(24 * 2000, card(number)), "0.00");
        }
    }
    shop.data(4 * MIB, card(2));
    assert_eq!(shop.spent(), "3.60");
    shop.at("2027-02-01T00:00:00Z");
    assert_eq!(shop.cdrs.iter().rev().find(|cdr| cdr.kind == CdrKind::OneTime).unwrap().amount.to_string(), "3.50");
    assert_eq!(shop.spent(), "10.70", "3.60 + 3.50 + 3.60");
    assert_eq!(shop.data(MIB, Use { subscriber: 1, rat: Some(6), ..anywhere() }), "1.00", "over another access");
}

// --- Wholesale/MVNO ---

/// In pounds, 30/6: 31 s are 36 s, 0.017 x 36/60 = 0.0102, to three decimals 0.010; 61 s are 66 s, 0.0187: 0.019.
#[test]
fn mvno_has_its_own_price_book() {
    let mut shop = Shop::new("GBP", "20.00", None, "2027-01-13T12:00:00Z");
    shop.buy("mvno");
    assert_eq!(shop.call(31, anywhere()), "0.01");
    assert_eq!(shop.call(61, anywhere()), "0.019");
    assert_eq!(shop.sms(7), "0.021");
    assert_eq!(shop.data(125 * MIB, anywhere()), "0.50");
    assert_eq!(shop.money(), "19.45");
    let finance = shop.last(CdrKind::Usage).finance().unwrap();
    assert_eq!((&*finance.ledger_code, &*finance.place_of_supply), ("4900", "GB"));
}

/// An account in euros cannot hold it.
#[test]
fn mvno_is_for_accounts_in_pounds() {
    let mut shop = Shop::new("EUR", "20.00", None, "2027-01-13T12:00:00Z");
    let buy = Change::Buy {
        account: AccountId::new(1),
        subscriber: SubscriberId::new(1),
        offer: OfferName::new("mvno"),
        version: None,
        begins: None,
    };
    let effects = shop.shard.mutate(&shop.tariffs, buy.asked(request("k")), shop.now);
    assert!(matches!(*effects.outcome, MutationOutcome::Refused(_)) && effects.writes.is_empty());
}

fn request(key: &str) -> Request {
    Request { key: IdempotencyKey::new(key), digest: 0, reason: "story".into() }
}
