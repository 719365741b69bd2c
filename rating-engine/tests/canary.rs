//! Stories of a tariff version that is for a share of subscribers first: who is in, who is not, and that every instant is priced as
//! it was then, however late it is told. Then laws of the choice: it only grows, it is as large as asked, it is the same everywhere.
//!
//! For version 2 of the stories the subscribers A, B, C and D stand at 2.28, 61.61, 85.77 and 26.77 % of all: 5 % have A, 30 % A and D.
#![allow(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::expect_used, clippy::panic, reason = "a story that cannot be read or does not hold is a failed test")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod story;
#[allow(dead_code, reason = "each test file uses its part of it")]
mod world;

use proptest::prelude::*;
use rating_engine::command::{Action, Outcome, Requested, ServiceRequest};
use rating_engine::ids::{SubscriberId, TariffName};
use rating_engine::money::{Money, Rate, Rounding};
use rating_engine::reach::{Reach, Share, place};
use rating_engine::shard::Limits;
use rating_engine::tariff::VersionPolicy;
use rating_engine::tariffs::{Book, Pricing, Tariffs};
use rating_engine::time::Timestamp;
use rating_engine::units::{Measure, Units};

use story::check;
use world::{TARIFF, World, at, command, draft, price, rating_group};

/// Version 2 doubles the price for 5 % from 100 s, for 30 % and C by name from 200 s, for all from 300 s, and is rolled back at 400 s.
#[test]
fn a_share_begins_grows_is_made_whole_and_is_rolled_back() {
    check(
        "
        price 1  0.10/ev
        version 0s
        price 1  0.20/ev
        account A  balance 10.00
        account B  balance 10.00
        account C  balance 10.00
        account D  balance 10.00
        0s    canary 2 5% from 100s
        99s   A/1 debit #0  1 want 1ev  -> granted 1ev cost 0.10   (nobody is in before it begins)
        100s  A/2 debit #0  1 want 1ev  -> granted 1ev cost 0.20
        100s  B/2 debit #0  1 want 1ev  -> granted 1ev cost 0.10
        100s  C/2 debit #0  1 want 1ev  -> granted 1ev cost 0.10
        100s  D/2 debit #0  1 want 1ev  -> granted 1ev cost 0.10
        200s  canary 2 30% C
        200s  A/3 debit #0  1 want 1ev  -> granted 1ev cost 0.20
        200s  B/3 debit #0  1 want 1ev  -> granted 1ev cost 0.10
        200s  C/3 debit #0  1 want 1ev  -> granted 1ev cost 0.20
        200s  D/3 debit #0  1 want 1ev  -> granted 1ev cost 0.20
        300s  canary 2 100%
        300s  B/4 debit #0  1 want 1ev  -> granted 1ev cost 0.20
        400s  withdraw 2
        400s  A/5 debit #0  1 want 1ev  -> granted 1ev cost 0.10
        400s  B/5 debit #0  1 want 1ev  -> granted 1ev cost 0.10
        windows A v1 any 0.10, v2 any 0.20, v2 any 0.20, v1 any 0.10
        windows B v1 any 0.10, v1 any 0.10, v2 any 0.20, v1 any 0.10
    ",
    );
}

/// What is told after a step, of before it, is priced as it was then: events of the network, and usage records (R16, R31, R41).
#[test]
fn what_is_told_late_is_priced_as_it_was_then() {
    check(
        "
        price 1  0.10/ev
        version 0s
        price 1  0.20/ev
        account A  balance 10.00
        account B  balance 10.00
        account D  balance 10.00
        0s    canary 2 5% from 100s
        0s    canary 2 30% from 200s
        0s    canary 2 100% from 300s
        400s  withdraw 2
        500s  A/1 debit #0 at=99s    1 want 1ev  -> granted 1ev cost 0.10
        500s  A/2 debit #0 at=199s   1 want 1ev  -> granted 1ev cost 0.20
        500s  D/1 debit #0 at=199s   1 want 1ev  -> granted 1ev cost 0.10   (the share was 5 %)
        500s  D/2 debit #0 at=200s   1 want 1ev  -> granted 1ev cost 0.20
        500s  B/1 record #0 at=299s  1 used 1ev      -> settled cost 0.10
        500s  B/2 record #0 at=300s  1 used 1ev      -> settled cost 0.20
        500s  B/3 record #0 at=400s  1 used 1ev      -> settled cost 0.10
        windows B v1 any 0.10, v2 any 0.20, v1 any 0.10
    ",
    );
}

/// Where versions split sessions, a call of D, which comes in at 120 s, is: 120 s at 0.60 and 120 s at 0.30 a minute; another one is
/// split back when the version is rolled back at 360 s: 60 s at 0.30, 60 s at 0.60. B stays where it was: 240 s at 0.60 are 2.40.
#[test]
fn an_open_session_is_split_by_a_step_where_its_versions_say_so() {
    check(
        "
        price 1  0.60/60s  pulse 60/60
        version 0s
        price 1  0.30/60s  pulse 60/60
        account B  balance 10.00
        account D  balance 10.00
        0s    canary 2 5% from 0s
        0s    D/1 initial #0    1 want 600s  -> granted 600s
        0s    B/1 initial #0    1 want 600s  -> granted 600s
        120s  canary 2 30%
        240s  D/1 terminate #1  1 used 240s  -> settled
        240s  B/1 terminate #1  1 used 240s  -> settled
        windows D v1 any 1.20, v2 any 0.60
        windows B v1 any 2.40
        300s  D/2 initial #0    1 want 600s  -> granted 600s
        360s  withdraw 2
        420s  D/2 terminate #1  1 used 120s  -> settled
        windows D v1 any 1.20, v2 any 0.60, v2 any 0.30, v1 any 0.60
    ",
    );
}

/// R15, 'session_start': a call that was open when its subscriber came in keeps the version it began with, and so does one that was
/// open when the version was rolled back.
#[test]
fn an_open_session_keeps_its_version_where_that_says_so() {
    check(
        "
        version 0s session_start
        price 1  0.60/60s  pulse 60/60
        version 0s session_start
        price 1  0.30/60s  pulse 60/60
        account D  balance 10.00
        0s    canary 2 5% from 0s
        60s   D/1 initial #0    1 want 300s  -> granted 300s
        120s  canary 2 30%
        180s  D/2 initial #0    1 want 300s  -> granted 300s
        240s  D/1 terminate #1  1 used 180s  -> settled
        300s  withdraw 2
        360s  D/2 terminate #1  1 used 180s  -> settled
        360s  D/3 initial #0    1 want 300s  -> granted 300s
        420s  D/3 terminate #1  1 used 60s   -> settled
        windows D v1 any 1.80, v2 any 0.90, v1 any 0.60
    ",
    );
}

/// R32: rated again while, and after, the share was 5 % and then 30 %, everything costs what it did: the version of each instant is that
/// of then. A corrected version is for everybody: A had paid 0.20, D 0.10 and then 0.20, B 0.10 twice; 0.15 is right.
#[test]
fn what_was_charged_is_rated_again_by_who_was_in() {
    check(
        "
        price 1  0.10/ev
        version 0s
        price 1  0.20/ev
        account A  balance 10.00
        account B  balance 10.00
        account D  balance 10.00
        0s    canary 2 5% from 100s
        150s  A/1 debit #0  1 want 1ev  -> granted 1ev cost 0.20
        150s  B/1 debit #0  1 want 1ev  -> granted 1ev cost 0.10
        150s  D/1 debit #0  1 want 1ev  -> granted 1ev cost 0.10
        200s  canary 2 30%
        250s  B/2 debit #0  1 want 1ev  -> granted 1ev cost 0.10
        250s  D/2 debit #0  1 want 1ev  -> granted 1ev cost 0.20
        260s  correct -> nothing
        300s  canary 2 100%
        310s  correct -> nothing
        400s  withdraw 2
        410s  correct -> nothing
        version 0s
        price 1  0.15/ev
        500s  correct -> A -0.05, B 0.05, D 0.05, B 0.05, D -0.05
    ",
    );
}

/// R32 of calls that a step has split, forward and back: D's two calls cost 1.80 and 0.90 whenever they are rated again.
#[test]
fn a_session_that_a_step_has_split_is_rated_again_as_it_was() {
    check(
        "
        price 1  0.60/60s  pulse 60/60
        version 0s
        price 1  0.30/60s  pulse 60/60
        account D  balance 10.00
        0s    canary 2 5% from 0s
        0s    D/1 initial #0    1 want 600s  -> granted 600s
        120s  canary 2 30%
        180s  D/1 update #1     1 used 180s want 600s  -> granted 600s
        240s  D/1 terminate #2  1 used 60s   -> settled
        300s  D/2 initial #0    1 want 600s  -> granted 600s
        360s  withdraw 2
        420s  D/2 terminate #1  1 used 120s  -> settled
        windows D v1 any 1.20, v2 any 0.30, v2 any 0.30, v2 any 0.30, v1 any 0.60
        500s  correct -> nothing
        version 0s
        price 1  0.36/60s  pulse 60/60
        600s  correct -> D -0.48, D 0.06, D 0.06, D 0.06, D -0.24
    ",
    );
}

fn id(number: u64) -> SubscriberId {
    SubscriberId::new(number)
}

fn share(basis_points: u32) -> Share {
    Share::new(basis_points).expect("at most the whole")
}

/// Of 100,000 subscribers numbered one after another, as imports do, every share has as many as asked, within 1 % of all; and two
/// versions at 50 % have a quarter of all in common, within 1 %: another canary picks others.
#[test]
fn a_share_is_as_large_as_asked_and_another_version_picks_others() {
    const MANY: u64 = 100_000;
    let hashes: [[u8; 32]; 3] = [[0; 32], [0xA5; 32], std::array::from_fn(|octet| u8::try_from(octet).unwrap())];
    for hash in hashes {
        for asked in [1, 50, 500, 2_500, 5_000, 9_000, 9_999, 10_000] {
            let reach = Reach::Some(share(asked), [].into());
            let count = (1..=MANY).filter(|number| reach.has(&hash, Some(id(*number)))).count();
            // Of 100,000 there are ten for each basis point, and 1 % are 1,000.
            let wanted = usize::try_from(asked).unwrap() * 10;
            assert!(count.abs_diff(wanted) < 1_000, "{asked}: {count}");
        }
    }
    let half = Reach::Some(share(5_000), [].into());
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let has = |version: usize, number| half.has(&hashes[version], Some(id(number)));
        let common = (1..=MANY).filter(|number| has(one, *number) && has(other, *number)).count();
        assert!((24_000..=26_000).contains(&common), "{one} {other}: {common}");
    }
}

/// Eight shards of 25 subscribers each, charged at 35 %: each pays the price of the version that the choice says, on whatever shard.
#[test]
fn every_shard_charges_by_the_same_choice() {
    let versions = [1, 2].map(|number| {
        let rate = Rate::new(if number == 1 { 100_000 } else { 200_000 }, 1).expect("a rate");
        let mut version = draft(number, Rounding::MICRO, vec![price("e", None, Measure::Events, rate)]);
        version.content_hash = [u8::try_from(number).unwrap(); 32];
        version
    });
    let mut counts = [0, 0];
    for shard in 0..8u64 {
        let mut world = World::with_versions(versions.to_vec(), Limits::default());
        let reach = Reach::Some(share(3_500), [].into());
        world.tariffs.step(&TariffName::new(TARIFF), 2, at(0), reach);
        for number in (1..=200).filter(|number| number % 8 == shard) {
            let bucket = world::bucket("main", rating_engine::account::Holding::Money, 1_000_000);
            world.open(number, vec![bucket], None);
            let one = Requested::Units(Units { events: Some(1), ..Units::default() });
            let asked = ServiceRequest { key: rating_group(1), requested: one, used: Vec::new() };
            let outcome = world.apply(command(1, number, &format!("{number}"), 0, Action::Debit(vec![asked]))).outcome;
            let Outcome::Answered(answered) = &*outcome else { panic!("{outcome:?}") };
            let is_in = place(&[2; 32], id(number)) < 3_500;
            let cost = Money::from_micros(if is_in { 200_000 } else { 100_000 });
            assert_eq!(answered.cost.map(|(cost, _)| cost), Some(cost), "{number}");
            counts[usize::from(is_in)] += 1;
        }
    }
    assert!(counts.iter().all(|count| *count > 20), "both are there: {counts:?}");
}

/// A step as the naive model has it.
#[derive(Clone, Debug)]
enum Told {
    Share(u32, Vec<u64>),
    All,
    None,
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![
        4 => (0..=10_000u32, proptest::collection::vec(1..50u64, 0..3)).prop_map(|(share, named)| Told::Share(share, named)),
        1 => Just(Told::All),
        1 => Just(Told::None),
    ]
}

proptest! {
    /// Whoever is in stays in when the share is raised, whatever the subscriber and the version's content.
    #[test]
    fn raising_never_removes_anybody(
        hash: [u8; 32], number: u64, named in proptest::collection::vec(any::<u64>(), 0..4), shares in proptest::collection::vec(0..=10_000u32, 2..9),
    ) {
        let mut shares = shares;
        shares.sort_unstable();
        let mut was_in = false;
        for (place, asked) in shares.into_iter().enumerate() {
            // Names come one by one, too.
            let mut named: Vec<_> = named.iter().take(place).map(|number| id(*number)).collect();
            named.sort();
            let is_in = Reach::Some(share(asked), named.into()).has(&hash, Some(id(number)));
            prop_assert!(is_in || !was_in);
            was_in = is_in;
        }
        prop_assert!(Reach::Everybody.has(&hash, Some(id(number))) && Reach::Some(Share::WHOLE, [].into()).has(&hash, Some(id(number))));
    }

    /// Against a model that looks through everything each time: which version an instant has for somebody, and that it does not change
    /// before the instant up to which that is promised.
    #[test]
    fn every_instant_has_the_version_that_was_for_whom_it_was(
        begins in proptest::collection::vec(0..100i64, 3),
        steps in proptest::collection::vec((1..4usize, 0..100i64, told()), 0..8),
        number in 1..50u64,
    ) {
        let mut steps = steps;
        steps.sort_by_key(|(_, from, _)| *from);
        let name = TariffName::new(TARIFF);
        let mut tariffs = Tariffs::default();
        let begins: Vec<i64> = std::iter::once(0).chain(begins).collect();
        for (place, begin) in begins.iter().enumerate() {
            let rate = Rate::new(100_000, 1).expect("a rate");
            let number = u32::try_from(place).unwrap() + 1;
            let mut version = draft(number, Rounding::MICRO, vec![price("e", None, Measure::Events, rate)]);
            version.content_hash = [u8::try_from(number).unwrap(); 32];
            (version.valid_from, version.policy) = (at(*begin), VersionPolicy::Split);
            tariffs.insert(version.publish().expect("a version"));
        }
        for (place, from, told) in &steps {
            let reach = match told {
                Told::Share(basis_points, named) => {
                    let mut named: Vec<_> = named.iter().map(|number| id(*number)).collect();
                    named.sort();
                    Reach::Some(share(*basis_points), named.into())
                }
                Told::All => Reach::Everybody,
                Told::None => Reach::Nobody,
            };
            tariffs.step(&name, u32::try_from(*place).unwrap() + 1, at(*from), reach);
        }
        let model = |now: i64| {
            let is_in = |place: usize| {
                let own = || steps.iter().filter(|(of, ..)| *of == place);
                let hash = [u8::try_from(place).unwrap() + 1; 32];
                match own().rfind(|(_, from, _)| *from <= now).map(|(.., told)| told) {
                    None => !matches!(own().next(), Some((.., Told::Share(..)))),
                    Some(Told::Share(basis_points, named)) => {
                        u32::from(rating_engine::reach::place(&hash, id(number))) < *basis_points || named.contains(&number)
                    }
                    Some(Told::All) => true,
                    Some(Told::None) => false,
                }
            };
            let mut there: Vec<_> = begins.iter().enumerate().filter(|(place, begin)| **begin <= now && is_in(*place)).collect();
            there.sort_by_key(|(place, begin)| (**begin, *place));
            there.last().map(|(place, _)| u32::try_from(*place).unwrap() + 1)
        };
        let key = rating_group(1);
        let asked = command(0, number, "e", 0, Action::Update(Vec::new()));
        let first = tariffs.at(&name, at(0), Some(id(number))).expect("version 1 is for everybody");
        let book = Book::new(first, &tariffs, Some(id(number)));
        let pricing = Pricing { book, context: &asked.context, key: &key, by_window: false };
        let mut promised: Option<(u32, Timestamp)> = None;
        for now in 0..110 {
            let there = tariffs.at(&name, at(now), Some(id(number))).map(|version| version.version());
            prop_assert_eq!(there, model(now), "{}", now);
            let applied = pricing.at(at(now)).expect("a price");
            prop_assert_eq!(Some(applied.version.version()), there, "{}", now);
            prop_assert!(applied.until > at(now));
            if let Some((version, _)) = promised.filter(|(_, until)| at(now) < *until) {
                prop_assert_eq!(applied.version.version(), version, "{}", now);
            }
            promised = Some((applied.version.version(), applied.until));
        }
    }
}
