//! Pricing alone: what one report, one choice among prices, one number and one instant cost, nanoseconds each.
//!
//! No shard, no session and no log; the copies of account and usage that every report is settled on are made before the clock
//! runs. Targets: a simple report 300 ns; one with 3 tiers, 4 windows and 5 buckets 1.5 us; a number among 10,000
//! prefixes 150 ns.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use rating_engine::account::{Account, AccountState, Bucket, CdrTrail, Counters, Holding, Means, Origin};
use rating_engine::calendar::{Calendar, Span, Weekday, Window, WindowId, Zone};
use rating_engine::context::Context;
use rating_engine::ids::{AccountId, BucketId, GroupId, PriceId, RatingGroup, TariffName, TenantId};
use rating_engine::money::{Currency, MICROS, Rate, Rounding, RoundingMode, RoundingScope};
use rating_engine::rating::{self, Slices};
use rating_engine::selector::Filter;
use rating_engine::session::Rated;
use rating_engine::tariff::{PerWindow, Price, Pulse, Service, ServiceKey, TariffDraft, TariffVersion, Tier, Tiers};
use rating_engine::tariffs::{Book, Pricing, Tariffs};
use rating_engine::time::Timestamp;
use rating_engine::units::{Measure, Unit};
use rating_engine::zones::{Dialled, Zones};

const ROUNDS: u32 = 1_000_000;
/// A January afternoon in Berlin.
const NOW: Timestamp = Timestamp::from_seconds(1_799_850_000);

fn main() -> Result<(), String> {
    let simple = tariff(vec![price("data", 1)], None, Zones::default())?;
    report("a simple report", &simple, &account(1), 1_000_000);
    let window = |number: u32| Window {
        name: format!("w{number}").into(),
        spans: vec![Span {
            weekdays: vec![],
            month_days: vec![],
            months: vec![],
            from: number * 7200,
            to: number * 7200 + 3600,
        }],
    };
    let windows: Vec<Window> = (0..4).map(window).collect();
    let calendar = Calendar::new(Zone::get("Europe/Berlin")?, "day", &windows, Vec::new(), Weekday::Sunday);
    let calendar = calendar.map_err(|problems| format!("{problems:?}"))?;
    let tiers = |factor: u64| {
        let tier = |up_to, micros| Tier { up_to, rate: Rate::new(micros * factor, 1 << 20).unwrap_or(Rate::ZERO) };
        let tiers = vec![tier(Some(1 << 20), 20_000), tier(Some(1 << 24), 15_000), tier(None, 10_000)];
        Tiers::new(tiers).unwrap_or_else(|_| Tiers::flat(Rate::ZERO))
    };
    let by_window = (1..=4).map(|number| (WindowId::new(number), tiers(number.into()))).collect();
    let rich = Price { tiers: PerWindow::new(tiers(5), by_window), ..price("data", 1) };
    let rich = tariff(vec![rich], Some(calendar.clone()), Zones::default())?;
    report("a report over 3 tiers, 4 windows, 5 buckets", &rich, &account(5), 30_000_000);

    let prefixes: Vec<(String, Vec<String>)> = (0..100)
        .map(|zone| (format!("z{zone}"), (0..100).map(|number| format!("{}", 10_000 + zone * 100 + number)).collect()))
        .collect();
    let zones = Zones::new(&prefixes).map_err(|problems| format!("{problems:?}"))?;
    let numbers = ["tel:+10000555123", "+15550123456", "19999000000", "0012345678901"];
    let numbers: Vec<Dialled> = numbers.iter().filter_map(|number| Dialled::parse(number)).collect();
    time("a number among 10,000 prefixes", |round| {
        let number = numbers.get(usize::try_from(round).unwrap_or(0) % numbers.len());
        black_box(number.and_then(|number| zones.find(black_box(number))));
    });
    time("a number read as networks write it", |_| {
        black_box(Dialled::parse(black_box("tel:+4915112345678;phone-context=ims.example.org")));
    });
    time("the window of an instant", |round| {
        black_box(calendar.window_at(NOW.plus_seconds(i64::from(round) * 61)));
    });
    let many = (0..10_000).map(|number| {
        let filter = Filter { rating_group: Some(RatingGroup::new(number)), ..Filter::default() };
        Price::flat(PriceId::new(&number.to_string()), filter, Measure::TotalOctets, Rate::ZERO)
    });
    let began = Instant::now();
    let many = tariff(many.collect(), None, Zones::default())?;
    println!("publishing 10,000 prices: {} us", began.elapsed().as_micros());
    let mut tariffs = Tariffs::default();
    tariffs.insert(many.clone());
    let (context, key) = (context(), key(4711));
    let pricing = Pricing { book: Book::new(&many, &tariffs, None), context: &context, key: &key, by_window: false };
    time("a price among 10,000", |_| {
        black_box(black_box(&pricing).at(NOW));
    });
    Ok(())
}

fn time(what: &str, mut work: impl FnMut(u32)) {
    (0..ROUNDS / 10).for_each(&mut work);
    let began = Instant::now();
    (0..ROUNDS).for_each(&mut work);
    println!("{what}: {} ns", began.elapsed().as_nanos() / u128::from(ROUNDS));
}

/// A report of a service that has reported before.
fn report(what: &str, tariff: &Arc<TariffVersion>, account: &Account, octets: u64) {
    let mut tariffs = Tariffs::default();
    tariffs.insert(tariff.clone());
    let (context, key) = (context(), key(1));
    let pricing = Pricing { book: Book::new(tariff, &tariffs, None), context: &context, key: &key, by_window: false };
    let mut counters = Counters::default();
    let mut settle = |account: &mut Account, rated: &mut Rated| {
        let mut slices = Slices::new();
        let mut means = Means { account, sponsor: None, counters: &mut counters };
        if let Some(applied) = pricing.at(NOW) {
            let _ = rating::settle(&mut means, &pricing, rated, black_box(octets), NOW, applied, &mut slices);
        }
        slices
    };
    let (account, mut rated) = (account.clone(), Rated::default());
    // The buckets are as they were: each report drains all that it needs.
    settle(&mut account.clone(), &mut rated);
    let mut copies: Vec<(Account, Rated)> = Vec::new();
    let (mut took, rounds) = (0, 200);
    for _ in 0..rounds {
        copies.extend((0..1000).map(|_| (account.clone(), rated.clone())));
        let began = Instant::now();
        for (account, rated) in &mut copies {
            black_box(settle(account, rated));
        }
        took += began.elapsed().as_nanos();
        copies.clear();
    }
    println!("{what}: {} ns", took / (1000 * rounds));
}

fn key(group: u32) -> ServiceKey {
    ServiceKey { rating_group: Some(RatingGroup::new(group)), services: Box::default() }
}

fn context() -> Context {
    Context {
        service: Service::Data,
        service_context: "32251@3gpp.org".into(),
        client_host: "smf.example.org".into(),
        client_realm: "example.org".into(),
        identifiers: Vec::new(),
        equipment: None,
        correlation: None,
        packet: None,
        ims: None,
        sms: None,
    }
}

fn price(id: &str, group: u32) -> Price {
    let filter = Filter { rating_group: Some(RatingGroup::new(group)), ..Filter::default() };
    let rate = Rate::new(20_000, 1 << 20).unwrap_or(Rate::ZERO);
    let pulse = Pulse::new(102_400, 102_400).unwrap_or(Pulse::ONE);
    Price { pulse, ..Price::flat(PriceId::new(id), filter, Measure::TotalOctets, rate) }
}

fn tariff(prices: Vec<Price>, calendar: Option<Calendar>, zones: Zones) -> Result<Arc<TariffVersion>, String> {
    let rounding = Rounding::new(4, RoundingMode::HalfUp, RoundingScope::Event).unwrap_or(Rounding::MICRO);
    let draft = TariffDraft::new(TariffName::new("bench"), 1, Currency::EUR, rounding, prices, [0; 32]);
    TariffDraft { calendar, zones, ..draft }.publish().map_err(|problems| format!("{problems:?}"))
}

/// An account with money and so many buckets in all; those of octets hold little, so that a report drains some and goes on.
fn account(buckets: u16) -> Account {
    let bucket = |number: u16| Bucket {
        id: BucketId::new(&format!("b{number}")),
        holding: if number == 0 { Holding::Money } else { Holding::Units(Unit::Octet) },
        origin: Origin::Paid,
        balance: if number == 0 { 1000 * MICROS } else { 1_200_000 },
        reserved: 0,
        priority: number,
        valid_from: Timestamp::default(),
        valid_to: Timestamp::NEVER,
        scope: None,
        terms: None,
    };
    let mut account = Account {
        id: AccountId::new(1),
        group: GroupId::new(1),
        tenant: TenantId::default(),
        currency: Currency::EUR,
        state: AccountState::Active,
        credit: None,
        debt: rating_engine::money::Money::ZERO,
        buckets: (0..buckets).map(bucket).collect(),
        totals: Vec::new(),
        contract: None,
        cdrs: CdrTrail::default(),
    };
    account.sort_buckets();
    account
}
