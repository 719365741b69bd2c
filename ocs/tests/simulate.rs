//! What a period would have cost under a draft: figures worked out by hand, and laws over random traffic that the engine charged.

#![cfg(test)]

#[allow(dead_code, reason = "each test file uses its part of it")]
#[path = "../../rating-engine/tests/world/mod.rs"]
mod world;

use std::convert::Infallible;
use std::sync::Arc;

use ocs::simulate::{Count, HELD_CDRS_MAX, LeftOut, Question, Simulation, Subscriber, Totals, simulate};
use proptest::prelude::*;
use rating_engine::account::{Bucket, Holding};
use rating_engine::cdr::{CdrKind, RatedCdr};
use rating_engine::command::{Action, Command, Outcome, Requested, ServiceRequest, Used};
use rating_engine::ids::{AccountId, CdrPosition, CounterId, OfferName, SessionId, SubscriberId};
use rating_engine::money::{Currency, Money, Rate, Rounding, RoundingMode, RoundingScope};
use rating_engine::tariff::{PerWindow, Price, Pulse, TariffDraft, TariffVersion, Tier, TierScope, Tiers};
use rating_engine::units::{Measure, Unit, Units};

use world::{World, at, bucket, command, draft, money, price, rating_group};

const MIB: u64 = 1 << 20;
const VOICE: u32 = 1;
const DATA: u32 = 2;

fn rounding() -> Rounding {
    Rounding::new(4, RoundingMode::HalfUp, RoundingScope::Event).unwrap()
}

/// Calls by the minute at so many micro-units, data at 0.02 a MiB.
fn prices(minute: u64) -> Vec<Price> {
    let pulse = Pulse::new(60, 60).unwrap();
    let voice = price("voice", Some(VOICE), Measure::Seconds, Rate::new(minute, 60).unwrap());
    let data = price("data", Some(DATA), Measure::TotalOctets, Rate::new(20_000, MIB).unwrap());
    vec![Price { pulse, ..voice }, data]
}

fn version(number: u32, prices: Vec<Price>) -> Arc<TariffVersion> {
    draft(number, rounding(), prices).publish().unwrap()
}

fn world(minute: u64) -> World {
    let mut world = World::new(rounding(), prices(minute));
    for number in 1..=3 {
        world.open(number, vec![bucket("main", Holding::Money, 1_000_000_000)], None);
    }
    world
}

fn request(group: u32, used: Option<Units>) -> ServiceRequest {
    let used = used.map(|units| Used { units, ..Used::default() }).into_iter().collect();
    ServiceRequest { key: rating_group(group), requested: Requested::Any, used }
}

fn seconds(seconds: u64) -> Units {
    Units::of(Measure::Seconds, seconds)
}

fn charge(world: &mut World, command: Command) {
    let outcome = world.apply(command).outcome;
    assert!(!matches!(*outcome, Outcome::Refused(_)), "{outcome:?}");
}

/// A call from `start` on, of which the network tells piece by piece.
fn call(world: &mut World, subscriber: u64, name: &str, start: i64, pieces: &[u64]) {
    charge(world, command(start, subscriber, name, 0, Action::Start(vec![request(VOICE, None)])));
    let mut now = start;
    for (number, piece) in (1..).zip(pieces) {
        now += i64::try_from(*piece).unwrap();
        let used = vec![request(VOICE, Some(seconds(*piece)))];
        let is_last = usize::try_from(number).unwrap() == pieces.len();
        let action = if is_last { Action::Stop(used) } else { Action::Update(used) };
        charge(world, command(now, subscriber, name, number, action));
    }
}

fn data(world: &mut World, subscriber: u64, name: &str, start: i64, octets: u64) {
    charge(world, command(start, subscriber, name, 0, Action::Start(vec![request(DATA, None)])));
    let used = vec![request(DATA, Some(Units::of(Measure::TotalOctets, octets)))];
    charge(world, command(start + 9, subscriber, name, 1, Action::Stop(used)));
}

/// Subscriber 3 holds no offer.
fn offer_of(account: AccountId) -> Option<OfferName> {
    (account.get() < 3).then(|| OfferName::new("smart"))
}

fn stream(cdrs: &[RatedCdr]) -> impl Iterator<Item = Result<(CdrPosition, RatedCdr), Infallible>> {
    (1..).zip(cdrs.iter().cloned()).map(|(position, cdr)| Ok((CdrPosition::new(position), cdr)))
}

fn asked(cdrs: &[RatedCdr], draft: &Arc<TariffVersion>, from: i64, to: i64, held: usize) -> Simulation {
    let question = Question { draft, from: at(from), to: at(to), periods: None, offer_of: &offer_of, top: 2, held };
    let Ok(answer) = simulate(&question, stream(cdrs));
    answer
}

fn subscriber(id: u64, old: i128, new: i128) -> Subscriber {
    Subscriber { id: SubscriberId::new(id), old, new }
}

/// 0.09 to 0.11 a minute, in whole minutes. Subscriber 1 calls for 2 minutes, and for 61 s, which are 2: 0.36, then 0.44.
/// Subscriber 2 calls for 5, in three reports, out of the period: 0.45, then 0.55. Subscriber 3 uses 5 MiB: 0.10. In all 0.91, then
/// 1.09.
#[test]
fn a_raised_rate_says_who_pays_more() {
    let mut world = world(90_000);
    call(&mut world, 1, "before", 40, &[600]);
    call(&mut world, 1, "a", 1000, &[120]);
    call(&mut world, 1, "b", 1500, &[61]);
    data(&mut world, 3, "c", 1600, 5 * MIB);
    call(&mut world, 2, "d", 1900, &[120, 120, 60]);
    call(&mut world, 2, "after", 2300, &[600]);
    let answer = asked(&world.cdrs, &version(2, prices(110_000)), 1000, 2000, HELD_CDRS_MAX);
    assert_eq!(answer.totals, Totals { sessions: 4, cdrs: 6, old: 910_000, new: 1_090_000 });
    assert_eq!(answer.totals.difference(), 180_000);
    let of = |offer: Option<&str>| answer.by_offer[&offer.map(str::to_owned)];
    assert_eq!(of(Some("smart")), Totals { sessions: 3, cdrs: 5, old: 810_000, new: 990_000 });
    assert_eq!(of(None), Totals { sessions: 1, cdrs: 1, old: 100_000, new: 100_000 });
    assert_eq!((answer.dearer, answer.cheaper, answer.unchanged), (2, 0, 1));
    assert_eq!(answer.percentiles, [0, 80_000, 100_000]);
    assert_eq!(answer.losers, [subscriber(2, 450_000, 550_000), subscriber(1, 360_000, 440_000)]);
    assert_eq!(answer.winners, []);
    assert!(answer.left_out.is_empty());
    // And back: 0.11 to 0.09 makes winners of them.
    let mut dear = self::world(110_000);
    call(&mut dear, 2, "d", 1900, &[120, 120, 60]);
    call(&mut dear, 1, "a", 1950, &[30]);
    let answer = asked(&dear.cdrs, &version(2, prices(90_000)), 1000, 2000, HELD_CDRS_MAX);
    assert_eq!(answer.winners, [subscriber(2, 550_000, 450_000), subscriber(1, 110_000, 90_000)]);
    assert_eq!((answer.losers.len(), answer.cheaper, answer.percentiles), (0, 2, [-100_000, -100_000, -20_000]));
}

/// A connect fee of 0.05 and tiers: 2 minutes at 0.09, then 0.04. Of 5 minutes in three reports: 0.05 + 0.18 + 0.12 = 0.35 instead of
/// 0.45. When the draft comes into force does not matter.
#[test]
fn fees_and_tiers_of_a_draft_go_on_over_reports() {
    let mut world = world(90_000);
    call(&mut world, 2, "d", 1900, &[120, 120, 60]);
    let mut changed = prices(0);
    let rate = |micros| Rate::new(micros, 60).unwrap();
    let tiers = vec![Tier { up_to: Some(120), rate: rate(90_000) }, Tier { up_to: None, rate: rate(40_000) }];
    changed[0].tiers = PerWindow::always(Tiers::new(tiers).unwrap());
    changed[0].connect_fee = PerWindow::always(money("0.05"));
    let later = TariffDraft { valid_from: at(1_000_000_000), ..draft(2, rounding(), changed) }.publish().unwrap();
    let answer = asked(&world.cdrs, &later, 0, 5000, HELD_CDRS_MAX);
    assert_eq!(answer.totals, Totals { sessions: 1, cdrs: 3, old: 450_000, new: 350_000 });
}

/// What a bundle paid stays paid: of 15 MiB 10 are in it, and 5 cost 0.10, then 0.20.
#[test]
fn what_bundles_paid_stays_paid() {
    let mut world = World::new(rounding(), prices(90_000));
    let bundle = Bucket { priority: 1, ..bucket("bundle", Holding::Units(Unit::Octet), 10 << 20) };
    world.open(1, vec![bundle, bucket("main", Holding::Money, 1_000_000)], None);
    data(&mut world, 1, "a", 100, 15 * MIB);
    let mut dearer = prices(90_000);
    dearer[1] = price("data", Some(DATA), Measure::TotalOctets, Rate::new(40_000, MIB).unwrap());
    let answer = asked(&world.cdrs, &version(2, dearer), 0, 5000, HELD_CDRS_MAX);
    assert_eq!((answer.totals.old, answer.totals.new), (100_000, 200_000));
}

/// A draft without a price, one that counts a cycle, one in another currency, and a session whose beginning is gone: each says so, and
/// how much it is about. A minute is 0.09, a MiB 0.02.
#[test]
fn what_cannot_be_simulated_is_named_with_its_amount() {
    let mut world = world(90_000);
    call(&mut world, 1, "a", 100, &[60, 60]);
    data(&mut world, 2, "b", 200, MIB);
    let named = |draft: &Arc<TariffVersion>, cdrs: &[RatedCdr]| {
        let answer = asked(cdrs, draft, 0, 5000, HELD_CDRS_MAX);
        (answer.left_out.into_iter().collect::<Vec<_>>(), answer.totals.cdrs)
    };
    let calls = Count { cdrs: 2, charged: 180_000 };
    let data_only = prices(90_000).split_off(1);
    assert_eq!(named(&version(2, data_only), &world.cdrs), (vec![(LeftOut::NoPrice, calls)], 1));
    let mut cycle = prices(90_000);
    cycle[0].tier_scope = TierScope::Cycle(CounterId::new("minutes"));
    assert_eq!(named(&version(2, cycle), &world.cdrs), (vec![(LeftOut::NewCycle, calls)], 1));
    let pounds = TariffDraft { currency: Currency::parse("GBP").unwrap(), ..draft(2, rounding(), prices(90_000)) };
    let all = Count { cdrs: 3, charged: 200_000 };
    assert_eq!(named(&pounds.publish().unwrap(), &world.cdrs), (vec![(LeftOut::Currency, all)], 0));
    let rest = Count { cdrs: 1, charged: 90_000 };
    assert_eq!(named(&version(2, prices(90_000)), &world.cdrs[1..]), (vec![(LeftOut::Incomplete, rest)], 1));
}

/// Corrections are part of what was charged: 3 minutes at 0.09 were corrected to 0.08, and the draft says 0.10. A refund of usage
/// is told, and changes neither side.
#[test]
fn corrections_and_refunds_that_came_later_are_told() {
    let mut world = world(90_000);
    call(&mut world, 1, "a", 100, &[120, 60]);
    world.tariffs.insert(version(1, prices(80_000)));
    assert_eq!(world.rerate(at(900)), [(1, "-0.02".to_owned()), (1, "-0.01".to_owned())]);
    let debit =
        Action::Debit(vec![ServiceRequest { requested: Requested::Units(seconds(60)), ..request(VOICE, None) }]);
    charge(&mut world, command(1000, 2, "event", 0, debit));
    let refund = Action::Refund { original: SessionId::new(b"event"), services: Vec::new() };
    charge(&mut world, command(1001, 2, "refund", 0, refund));
    assert!(world.cdrs.iter().any(|cdr| cdr.kind == CdrKind::Refund));
    let answer = asked(&world.cdrs, &version(2, prices(100_000)), 0, 5000, HELD_CDRS_MAX);
    assert_eq!(answer.corrections, Count { cdrs: 2, charged: -30_000 });
    assert_eq!(answer.refunds, Count { cdrs: 1, charged: -80_000 });
    assert_eq!((answer.totals.old, answer.totals.new), (240_000 + 80_000, 300_000 + 100_000));
    assert_eq!(answer.losers, [subscriber(1, 240_000, 300_000), subscriber(2, 80_000, 100_000)]);
}

/// With room for hardly anything what has ended is counted at once and all of it; of sessions that go on what comes after is left out
/// and told. Nothing is counted twice or lost.
#[test]
fn little_room_changes_nothing_for_sessions_that_end() {
    let mut world = world(90_000);
    for number in 0..50 {
        call(&mut world, 1 + number % 3, &format!("s{number}"), 1000 + i64::try_from(number).unwrap(), &[60, 60]);
    }
    let draft = version(2, prices(110_000));
    let roomy = asked(&world.cdrs, &draft, 0, 9000, HELD_CDRS_MAX);
    assert_eq!(roomy.totals, Totals { sessions: 50, cdrs: 100, old: 9_000_000, new: 11_000_000 });
    assert_eq!(asked(&world.cdrs, &draft, 0, 9000, 8), roomy);
    // All begin before any ends.
    world.cdrs.sort_by_key(|cdr| cdr.rating.as_ref().unwrap().charged_before);
    assert_eq!(asked(&world.cdrs, &draft, 0, 9000, HELD_CDRS_MAX), roomy);
    let cramped = asked(&world.cdrs, &draft, 0, 9000, 8);
    let left = cramped.left_out[&LeftOut::Incomplete];
    assert_eq!((cramped.totals.cdrs + left.cdrs, cramped.totals.old + left.charged), (100, 9_000_000));
    assert!(left.cdrs > 0 && cramped.totals.cdrs >= 50, "{cramped:?}");
}

/// What can be said of one session: who, the pieces of each of its services, and in how long they follow one another.
fn sessions() -> impl Strategy<Value = Vec<(u64, Vec<(u64, u64)>)>> {
    let pieces = prop::collection::vec((1u64..400, 0u64..(3 << 20)), 1..5);
    prop::collection::vec((1u64..4, pieces), 1..20)
}

/// Random sessions with calls and data side by side, each step of all of them in turn.
fn traffic(world: &mut World, sessions: &[(u64, Vec<(u64, u64)>)]) {
    let both = |piece: Option<(u64, u64)>| {
        let (voice, data) = (piece.map(|it| seconds(it.0)), piece.map(|it| Units::of(Measure::TotalOctets, it.1)));
        vec![request(VOICE, voice), request(DATA, data)]
    };
    for (number, (subscriber, _)) in sessions.iter().enumerate() {
        charge(world, command(0, *subscriber, &format!("s{number}"), 0, Action::Start(both(None))));
    }
    for step in 0..5usize {
        for (number, (subscriber, pieces)) in sessions.iter().enumerate() {
            let Some(piece) = pieces.get(step) else { continue };
            let action = if step + 1 == pieces.len() { Action::Stop } else { Action::Update };
            let (now, request) = (i64::try_from(step + 1).unwrap() * 400, u32::try_from(step + 1).unwrap());
            charge(world, command(now, *subscriber, &format!("s{number}"), request, action(both(Some(*piece)))));
        }
    }
}

fn generated_prices() -> impl Strategy<Value = Vec<Price>> {
    let voice = (0u64..300_000, 0u64..300_000, 1u64..120, 1u64..120, 0i64..90_000, 1u64..900);
    let limits = (prop::option::of(0i64..50_000), prop::option::of(50_000i64..500_000));
    (voice, 0u64..90_000, limits).prop_map(|((micros, beyond, first, next, fee, end), octets, (least, most))| {
        let mut prices = prices(0);
        let tier = |up_to, micros| Tier { up_to, rate: Rate::new(micros, 60).unwrap() };
        prices[0].tiers = PerWindow::always(Tiers::new(vec![tier(Some(end), micros), tier(None, beyond)]).unwrap());
        prices[0].pulse = Pulse::new(first, next).unwrap();
        prices[0].connect_fee = PerWindow::always(Money::from_micros(fee));
        prices[0].min_charge = least.map(Money::from_micros);
        prices[0].max_charge = most.map(Money::from_micros);
        prices[1] = price("data", Some(DATA), Measure::TotalOctets, Rate::new(octets, MIB).unwrap());
        prices
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A draft that says what the version in force says changes nothing, to the micro-unit; any other one costs what the same traffic
    /// costs when it is charged by it in the first place.
    #[test]
    fn a_draft_costs_what_charging_by_it_costs(
        sessions in sessions(),
        before in generated_prices(),
        after in generated_prices(),
    ) {
        let charged = |prices: &[Price]| {
            let mut world = World::new(rounding(), prices.to_vec());
            for number in 1..=3 {
                world.open(number, vec![bucket("main", Holding::Money, 1_000_000_000_000)], None);
            }
            traffic(&mut world, &sessions);
            let sum: i128 = world.cdrs.iter().map(|cdr| i128::from(cdr.amount.micros())).sum();
            (world, sum)
        };
        let ((world, old), (_, new)) = (charged(&before), charged(&after));
        let same = asked(&world.cdrs, &version(2, before), 0, 9000, HELD_CDRS_MAX);
        prop_assert_eq!((same.totals.old, same.totals.new), (old, old));
        prop_assert_eq!((same.dearer, same.cheaper, same.percentiles), (0, 0, [0; 3]));
        prop_assert!(same.left_out.is_empty());
        let other = asked(&world.cdrs, &version(2, after), 0, 9000, HELD_CDRS_MAX);
        prop_assert_eq!((other.totals.old, other.totals.new), (old, new));
        prop_assert!(other.left_out.is_empty());
    }
}
