//! Laws that hold after any sequence of commands: the books balance, nothing is held for nobody, repeats and refusals
//! change nothing, what is said to be stored is all there is, and how often a client reports does not change the price.
#![expect(clippy::expect_used, reason = "a law that does not hold is a failed test")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use rating_engine::account::{Account, AccountState, Bucket, Holding, Origin, Sponsor};
use rating_engine::calendar::Zone;
use rating_engine::cdr::{Cause, CdrKind};
use rating_engine::command::{
    Action, Change, Command, Ending, Mutation, MutationOutcome, Outcome, Profile, Requested, ServiceRequest,
    ServiceResult, Used,
};
use rating_engine::crossing::Threshold;
use rating_engine::ids::{AccountId, BucketId, CounterId, OfferName, SessionId, SubscriberId};
use rating_engine::money::{Currency, Money, Rate, Rounding, RoundingMode, RoundingScope};
use rating_engine::offer::{Allowance, OfferDraft, Rollover};
use rating_engine::period::Period;
use rating_engine::tariff::{FinanceCodes, PerWindow, Price, Pulse, Tier, TierScope, Tiers};
use rating_engine::time::Timestamp;
use rating_engine::units::{Measure, MoneyUnits, Unit, Units};

use world::{World, at, bucket, command, draft, price, rating_group, request, top_up};

/// Long after every session is forgotten.
const LONG_AFTER: i64 = 10_000_000;

/// Usage CDRs that were rated again, and those that could not be.
static RERATED: AtomicUsize = AtomicUsize::new(0);
static UNLIKE: AtomicUsize = AtomicUsize::new(0);

// --- What can happen ---

#[derive(Clone, Copy, Debug)]
enum Verb {
    Start,
    Update,
    Stop,
    Debit,
    Record,
    Refund,
    Check,
    Price,
}

#[derive(Clone, Debug)]
enum Step {
    Ask { verb: Verb, account: u64, session: u8, number: u32, services: Vec<ServiceRequest>, odd: u8 },
    TopUp { account: u64, bucket: u8, amount: i64 },
    State { account: u64, state: AccountState },
    Adjust { account: u64, bucket: u8, amount: i64 },
    Transfer { account: u64, bucket: u8, amount: i64 },
    Extend { account: u64, bucket: u8, seconds: i64 },
    Credit { account: u64, limit: i64 },
    Release { account: u64, session: u8 },
    Buy { account: u64, offer: u8, later: i64 },
    Cancel { account: u64, subscription: u32, ending: Option<i64> },
    Replace { account: u64, subscription: u32, offer: u8, ending: Option<i64> },
    Expire,
}

fn measures() -> impl Strategy<Value = Measure> {
    prop_oneof![
        Just(Measure::Seconds),
        Just(Measure::TotalOctets),
        Just(Measure::UplinkOctets),
        Just(Measure::DownlinkOctets),
        Just(Measure::Events),
    ]
}

/// Quantities; `most` is for measures that are bounded by the time that passed.
fn units(most: u64) -> impl Strategy<Value = Units> {
    let some = || option::weighted(0.4, 0..=most);
    let money = option::weighted(0.05, -10i64..2_000_000)
        .prop_map(|amount| amount.map(|micros| MoneyUnits { amount: Money::from_micros(micros), currency: None }));
    (some(), some(), some(), some(), some(), money).prop_map(|(seconds, total, up, down, events, money)| Units {
        seconds,
        total_octets: total,
        uplink_octets: up,
        downlink_octets: down,
        events,
        money,
    })
}

fn plain_units(most: u64) -> impl Strategy<Value = Units> {
    (0..=most).prop_map(units_of)
}

fn services(most: u64) -> impl Strategy<Value = Vec<ServiceRequest>> {
    let requested = prop_oneof![
        1 => Just(Requested::Nothing),
        2 => Just(Requested::Any),
        1 => units(most).prop_map(Requested::Units),
        4 => plain_units(most).prop_map(Requested::Units),
    ];
    let used = prop_oneof![1 => units(most), 4 => plain_units(most)];
    let used = vec(used.prop_map(|units| Used { units, ..Used::default() }), 0..3);
    let one = (1u32..5, requested, used).prop_map(|(group, requested, used)| ServiceRequest {
        key: rating_group(group),
        requested,
        used,
    });
    vec(one, 0..3)
}

fn steps(most: u64) -> impl Strategy<Value = Vec<(i64, Step)>> {
    let verb = prop_oneof![
        3 => Just(Verb::Start),
        6 => Just(Verb::Update),
        1 => Just(Verb::Stop),
        3 => Just(Verb::Debit),
        2 => Just(Verb::Record),
        1 => Just(Verb::Refund),
        1 => Just(Verb::Check),
        1 => Just(Verb::Price),
    ];
    let ask = (verb, 1u64..3, 0u8..3, 0u32..6, services(most), any::<u8>()).prop_map(
        |(verb, account, session, number, services, odd)| Step::Ask { verb, account, session, number, services, odd },
    );
    let state = prop_oneof![4 => Just(AccountState::Active), 1 => Just(AccountState::Suspended), 1 => Just(AccountState::Barred)];
    let hand = (1u64..3, 0u8..3, -500_000i64..1_000_000);
    let step = prop_oneof![
        20 => ask,
        1 => (1u64..3, 0u8..3, 1i64..1_000_000).prop_map(|(account, bucket, amount)| Step::TopUp { account, bucket, amount }),
        1 => (1u64..3, state).prop_map(|(account, state)| Step::State { account, state }),
        1 => hand.clone().prop_map(|(account, bucket, amount)| Step::Adjust { account, bucket, amount }),
        1 => hand.clone().prop_map(|(account, bucket, amount)| Step::Transfer { account, bucket, amount }),
        1 => hand.clone().prop_map(|(account, bucket, seconds)| Step::Extend { account, bucket, seconds: seconds / 100 }),
        1 => hand.prop_map(|(account, _, limit)| Step::Credit { account, limit }),
        1 => (1u64..3, 0u8..3).prop_map(|(account, session)| Step::Release { account, session }),
        1 => (1u64..3, 0u8..2, prop_oneof![Just(0i64), 0i64..9000])
            .prop_map(|(account, offer, later)| Step::Buy { account, offer, later }),
        1 => (1u64..3, 1u32..4, option::of(prop_oneof![Just(0i64), 0i64..9000]))
            .prop_map(|(account, subscription, ending)| Step::Cancel { account, subscription, ending }),
        1 => (1u64..3, 1u32..4, 0u8..2, option::of(prop_oneof![Just(0i64), 0i64..9000]))
            .prop_map(|(account, subscription, offer, ending)| Step::Replace { account, subscription, offer, ending }),
        2 => Just(Step::Expire),
    ];
    vec((prop_oneof![0i64..10, 0i64..400, 0i64..5000], step), 1..30)
}

fn roundings() -> impl Strategy<Value = Rounding> {
    let mode = prop_oneof![
        Just(RoundingMode::HalfUp),
        Just(RoundingMode::HalfEven),
        Just(RoundingMode::Up),
        Just(RoundingMode::Down),
    ];
    let scope = prop_oneof![Just(RoundingScope::Line), Just(RoundingScope::Event), Just(RoundingScope::Bill)];
    (0u8..7, mode, scope).prop_map(|(decimals, mode, scope)| Rounding::new(decimals, mode, scope).expect("at most 6"))
}

/// The price of one rating group with amounts up to `most`.
fn prices(group: u32, most: u64) -> impl Strategy<Value = Price> {
    let rates = vec((0..=most, 1u64..100, 1u64..500), 1..4);
    let limits = (option::weighted(0.2, 0i64..1000), option::weighted(0.2, 1000i64..1_000_000));
    let pulse = (1u64..70, 1u64..70);
    (measures(), rates, pulse, 0i64..60_000, any::<bool>(), limits, 0u8..10).prop_map(
        move |(measure, rates, (first, next), fee, bundled, (min, max), odd)| {
            let mut made = price(&format!("p{group}"), Some(group), measure, Rate::ZERO);
            let last = rates.len() - 1;
            let mut end = 0;
            let tiers = rates.into_iter().enumerate().map(|(number, (micros, per, width))| {
                end += width;
                Tier { up_to: (number < last).then_some(end), rate: Rate::new(micros, per).expect("above 0") }
            });
            made.tiers = PerWindow::always(Tiers::new(tiers.collect()).expect("in order"));
            made.pulse = Pulse::new(first, next).expect("above 0");
            made.connect_fee = PerWindow::always(Money::from_micros(if odd < 3 { fee } else { 0 }));
            made.connect_fee_when_bundled = bundled;
            (made.min_charge, made.max_charge) = (min.map(Money::from_micros), max.map(Money::from_micros));
            made.zero_rated = odd == 9;
            made.buys = (odd == 4).then(|| OfferName::new("extra"));
            if odd == 5 {
                made.tier_scope = TierScope::Cycle(CounterId::new(&format!("c{group}")));
            }
            made
        },
    )
}

fn accounts(most: i64) -> impl Strategy<Value = (Vec<Bucket>, Option<Money>)> {
    let holding = prop_oneof![
        3 => Just(Holding::Money),
        1 => Just(Holding::Units(Unit::Second)),
        1 => Just(Holding::Units(Unit::Octet)),
        1 => Just(Holding::Units(Unit::Event)),
    ];
    let one = (holding, 0..=most, 0u16..3, option::weighted(0.2, 1i64..6000));
    (vec(one, 0..5), option::weighted(0.3, 0..=most)).prop_map(move |(buckets, limit)| {
        let made = buckets.into_iter().enumerate().map(|(number, (holding, balance, priority, end))| {
            // What an account holds of one kind must fit together.
            let mut made = bucket(&format!("b{number}"), holding, if most == i64::MAX { balance / 5 } else { balance });
            made.priority = priority;
            if let Some(end) = end {
                made.valid_to = at(end);
            }
            made
        });
        (made.collect(), limit.map(Money::from_micros))
    })
}

#[derive(Clone, Debug)]
struct Setting {
    rounding: Rounding,
    prices: Vec<Price>,
    accounts: Vec<(Vec<Bucket>, Option<Money>)>,
    sponsored: Option<bool>,
}

/// The second account pays for the first one's subscriber: what it has first, or without an allowance everything. The only
/// window of a tariff without a calendar has no name.
fn sponsor(allowance: bool) -> Sponsor {
    let windows = if allowance { Box::default() } else { ["".into()].into() };
    Sponsor { account: AccountId::new(2), windows, allowance }
}

fn settings(rate: u64, balance: i64) -> impl Strategy<Value = Setting> {
    let prices = (prices(1, rate), prices(2, rate), prices(3, rate));
    (roundings(), prices, vec(accounts(balance), 2..=2), option::weighted(0.4, any::<bool>())).prop_map(
        |(rounding, (a, b, c), accounts, sponsored)| Setting { rounding, prices: vec![a, b, c], accounts, sponsored },
    )
}

impl Setting {
    fn world(&self) -> World {
        self.open(World::new(self.rounding, self.prices.clone()))
    }

    fn archiving(&self) -> World {
        self.open(World::archiving(self.rounding, self.prices.clone()))
    }

    fn open(&self, mut world: World) -> World {
        for offer in [offer("hourly", 1000, true), offer("extra", 500, false)] {
            world.tariffs.insert_offer(offer.publish().expect("an offer"));
        }
        for (number, (buckets, credit)) in (1..).zip(&self.accounts) {
            world.open(number, buckets.clone(), *credit);
        }
        self.sponsored.into_iter().for_each(|allowance| world.sponsor(1, sponsor(allowance)));
        world
    }
}

/// An hour of some of everything.
fn threshold(at: i64) -> Threshold {
    Threshold { at, label: at.to_string().into() }
}

fn offer(name: &str, fee: i64, renews: bool) -> OfferDraft {
    let allowance = |name: &str, holding, amount| Allowance {
        name: name.into(),
        holding,
        amount,
        validity: None,
        priority: 1,
        scope: None,
        origin: Origin::Paid,
        stand_alone: Money::from_micros(amount),
        rollover: renews.then_some(Rollover { cap: amount / 2, cycles: 2 }),
        member_cap: None,
        thresholds: [1, 50, 99, 100].map(threshold).into(),
    };
    OfferDraft {
        name: OfferName::new(name),
        version: 1,
        currency: Currency::EUR,
        zone: Zone::utc(),
        tariff: None,
        setup_fee: Money::from_micros(7),
        fee: Money::from_micros(fee),
        per_member: renews,
        pool: None,
        period: Period::hours(1),
        renews,
        allowances: vec![
            allowance("octets", Holding::Units(Unit::Octet), 200),
            allowance("seconds", Holding::Units(Unit::Second), 50),
            Allowance { origin: Origin::Granted, ..allowance("money", Holding::Money, 3000) },
            Allowance { member_cap: Some(3), ..allowance("events", Holding::Units(Unit::Event), 10) },
        ],
        spend: [500, 2_000, 9_000].map(threshold).into(),
        balance: [100, 50_000].map(threshold).into(),
        finance: FinanceCodes::default(),
        content_hash: [0; 32],
    }
}

fn name(account: u64, session: u8, verb: Verb) -> String {
    let kind = if matches!(verb, Verb::Start | Verb::Update | Verb::Stop) { "s" } else { "e" };
    format!("{account}-{kind}{session}")
}

fn asked(
    now: i64,
    verb: Verb,
    account: u64,
    session: u8,
    number: u32,
    services: Vec<ServiceRequest>,
    odd: u8,
) -> Command {
    let action = match verb {
        Verb::Start => Action::Start(services),
        Verb::Update => Action::Update(services),
        Verb::Stop => Action::Stop(services),
        Verb::Debit => Action::Debit(services),
        Verb::Record => Action::Record { services, ended: at(now + i64::from(odd)) },
        Verb::Refund => {
            let original = SessionId::new(name(account, odd % 3, Verb::Debit).as_bytes());
            let services = if odd.is_multiple_of(2) { Vec::new() } else { services };
            Action::Refund { original, services }
        }
        Verb::Check => Action::CheckBalance(services),
        Verb::Price => Action::PriceEnquiry(services),
    };
    let mut made = command(now, account, &name(account, session, verb), number, action);
    made.client_state = u32::from(odd % 16 / 14);
    made.command_level = odd % 32 == 5;
    if odd % 8 == 3 {
        made.profile = Profile::OPEN5GS;
    }
    if odd % 8 == 4 {
        made.profile.grant_cap = 50;
    }
    made
}

/// Takes one step and checks what must hold of it.
fn take(world: &mut World, now: i64, step: &Step, key: usize) -> Result<(), TestCaseError> {
    match step {
        Step::Ask { verb, account, session, number, services, odd } => {
            let command = asked(now, *verb, *account, *session, *number, services.clone(), *odd);
            world.catch_up(&command);
            let before = world.image();
            let effects = world.apply(command.clone());
            let after = world.image();
            match &*effects.outcome {
                Outcome::Refused(_) => {
                    prop_assert_eq!(&before, &after, "a refusal changes nothing");
                    let again = world.apply(command);
                    prop_assert_eq!(&effects.outcome, &again.outcome, "a repeat is refused like the first");
                }
                Outcome::Answered(answered) => {
                    if matches!(verb, Verb::Check | Verb::Price) || effects.repeated {
                        prop_assert_eq!(&before, &after, "a repeat or an enquiry changes nothing");
                    }
                    if let [only] = &answered.services[..]
                        && matches!(only.result, ServiceResult::Granted(_))
                    {
                        grants_are_covered(&before.0, &after.0)?;
                    }
                    let again = world.apply(command);
                    prop_assert_eq!(&effects.outcome, &again.outcome, "a repeat gets the first answer");
                    prop_assert_eq!(&after, &world.image(), "a repeat changes nothing");
                }
            }
        }
        Step::TopUp { account, bucket: number, amount } => {
            let into = bucket(&format!("b{number}"), Holding::Money, 0);
            world.mutate(top_up(*account, into.clone(), Money::from_micros(*amount), &key.to_string()), at(now));
            let after = world.image();
            world.mutate(top_up(*account, into, Money::from_micros(*amount), &key.to_string()), at(now));
            prop_assert_eq!(after, world.image(), "a repeat changes nothing");
        }
        Step::State { account, state } => {
            world.mutate(Change::SetState { account: AccountId::new(*account), state: *state }, at(now));
        }
        Step::Adjust { account, bucket, amount } => {
            let (account, id) = (AccountId::new(*account), BucketId::new(&format!("b{bucket}")));
            let holding =
                world.shard.account(account).and_then(|account| account.bucket(&id)).map(|there| there.holding);
            let holding = holding.unwrap_or(Holding::Money);
            let adjust = Change::Adjust { account, bucket: id, holding, amount: *amount };
            twice(world, &adjust.asked(request(&format!("adjust {key}"), 0)), now)?;
        }
        Step::Transfer { account, bucket: number, amount } => {
            let (from, to) = (AccountId::new(*account), AccountId::new(3 - *account));
            let id = format!("b{number}");
            let give = |world: &mut World| {
                let into = bucket(&id, Holding::Money, 0);
                let asked = request(&format!("give {key}"), 0);
                world.transfer((from, BucketId::new(&id)), (to, into), Money::from_micros(*amount), asked, at(now))
            };
            // Two accounts may together have more than one can.
            let both = |of: fn(&Account) -> Money, world: &World| {
                [1, 2].map(|number| i128::from(of(world.account(number)).micros())).iter().sum::<i128>()
            };
            let sum = |world: &World| both(Account::money, world);
            let owed = |world: &World| both(|account| account.debt, world);
            let (first, before) = (give(world), world.image());
            if matches!(*first, MutationOutcome::Done { .. }) {
                let (there, debts) = (sum(world), owed(world));
                prop_assert_eq!(give(world), first, "a repeat gets the first answer");
                prop_assert_eq!((sum(world), owed(world)), (there, debts));
                prop_assert_eq!(before, world.image(), "a repeat changes nothing");
            }
        }
        Step::Extend { account, bucket, seconds } => {
            let (account, bucket) = (AccountId::new(*account), BucketId::new(&format!("b{bucket}")));
            let extend = Change::Extend { account, bucket, valid_to: at(now + seconds) };
            twice(world, &extend.asked(request(&format!("extend {key}"), 0)), now)?;
        }
        Step::Credit { account, limit } => {
            let set = Change::SetCredit { account: AccountId::new(*account), limit: Money::from_micros(*limit) };
            twice(world, &set.asked(request(&format!("credit {key}"), 0)), now)?;
        }
        Step::Release { account, session } => {
            let session = SessionId::new(name(*account, *session, Verb::Start).as_bytes());
            world.mutate(Change::Release { session, cause: Cause::Operator, client_state_below: 0 }, at(now));
        }
        Step::Buy { account, offer, later } => {
            let buy = Change::Buy {
                account: AccountId::new(*account),
                subscriber: SubscriberId::new(*account),
                offer: OfferName::new(if *offer == 0 { "hourly" } else { "extra" }),
                version: None,
                begins: (*later > 0).then(|| at(now + *later)),
            };
            let buy = buy.asked(request(&format!("buy {key}"), 0));
            world.mutate(buy.clone(), at(now));
            let after = world.image();
            world.mutate(buy, at(now));
            if world.cdrs.last().is_some_and(|cdr| cdr.cause == Cause::Operator) {
                prop_assert_eq!(after, world.image(), "a repeat changes nothing");
            }
        }
        Step::Cancel { account, subscription, ending } => {
            let (account, subscription, ending) = (AccountId::new(*account), *subscription, ends(*ending, now));
            let cancel = Change::Cancel { account, subscription, ending };
            twice(world, &cancel.asked(request(&format!("cancel {key}"), 0)), now)?;
        }
        Step::Replace { account, subscription, offer, ending } => {
            let (account, subscription, ending) = (AccountId::new(*account), *subscription, ends(*ending, now));
            let offer = OfferName::new(if *offer == 0 { "hourly" } else { "extra" });
            let replace = Change::Replace { account, subscription, ending, offer, version: None };
            twice(world, &replace.asked(request(&format!("replace {key}"), 0)), now)?;
        }
        Step::Expire => {
            world.expire(at(now));
        }
    }
    world.audit().map_err(TestCaseError::fail)
}

fn ends(later: Option<i64>, now: i64) -> Ending {
    match later {
        None => Ending::WithCycle,
        Some(0) => Ending::AtOnce,
        Some(later) => Ending::At(at(now + later)),
    }
}

/// Does something that has a key, and does it again: then nothing happens, and the answer is the same.
fn twice(world: &mut World, mutation: &Mutation, now: i64) -> Result<(), TestCaseError> {
    let first = world.mutate(mutation.clone(), at(now));
    let after = world.image();
    if matches!(*first, MutationOutcome::Done { .. }) {
        prop_assert_eq!(world.mutate(mutation.clone(), at(now)), first, "a repeat gets the first answer");
        prop_assert_eq!(after, world.image(), "a repeat changes nothing");
    }
    Ok(())
}

/// A grant never lifts what is held above what is there.
fn grants_are_covered(
    before: &[rating_engine::account::Account],
    after: &[rating_engine::account::Account],
) -> Result<(), TestCaseError> {
    for (before, after) in before.iter().zip(after) {
        for bucket in &after.buckets {
            let held = before.bucket(&bucket.id).map_or(0, |bucket| bucket.reserved);
            prop_assert!(bucket.reserved <= held || bucket.reserved <= bucket.balance, "{:?}", bucket);
        }
        if let (Some(before), Some(after)) = (before.credit, after.credit) {
            let used = after.spent.saturating_add(after.reserved);
            prop_assert!(after.reserved <= before.reserved || used <= after.limit, "{:?}", after);
        }
    }
    Ok(())
}

fn nothing_is_left(world: &mut World) -> Result<(), TestCaseError> {
    for account in 1..3 {
        for subscription in 1..64 {
            let (account, ending) = (AccountId::new(account), Ending::WithCycle);
            let cancel = Change::Cancel { account, subscription, ending };
            world.mutate(cancel.asked(request(&format!("end {account} {subscription}"), 0)), Timestamp::default());
        }
    }
    world.expire(at(LONG_AFTER));
    world.expire(at(2 * LONG_AFTER));
    world.audit().map_err(TestCaseError::fail)?;
    prop_assert_eq!(world.shard.sessions().count(), 0, "every session is forgotten");
    prop_assert_eq!(world.shard.archived_sessions(), 0, "every session is forgotten");
    prop_assert_eq!(world.shard.next_deadline().filter(|at| at.millis() <= 2 * LONG_AFTER * 1000), None);
    for account in world.shard.accounts() {
        prop_assert!(account.buckets.iter().all(|bucket| bucket.reserved == 0), "{:?}", account);
        prop_assert_eq!(account.reserved_money(), Money::ZERO);
        let held = account.contract.iter().flat_map(|contract| &contract.subscriptions).count();
        prop_assert_eq!(held, 0, "every offer has ended");
        let opened = account.buckets.iter().filter(|bucket| bucket.terms.is_some() && bucket.balance >= 0).count();
        prop_assert_eq!(opened, 0, "what they opened is forgotten");
    }
    Ok(())
}

/// All measures alike, so that whatever the price counts is there.
/// No account has got back more of anything than it was charged.
fn never_more_than_charged(world: &World) -> Result<(), TestCaseError> {
    let mut left = std::collections::BTreeMap::new();
    for cdr in &world.cdrs {
        for movement in &cdr.movements {
            let sum = left.entry((cdr.account, movement.holding)).or_insert(0i128);
            *sum -= i128::from(movement.delta);
        }
    }
    prop_assert!(left.values().all(|left| *left >= 0), "{left:?}");
    Ok(())
}

fn units_of(quantity: u64) -> Units {
    let some = Some(quantity);
    Units { seconds: some, uplink_octets: some, downlink_octets: some, events: some, ..Units::default() }
}

/// A report of a rating group.
fn usage(group: u32, quantity: u64) -> Vec<ServiceRequest> {
    let used = vec![Used { units: units_of(quantity), ..Used::default() }];
    vec![ServiceRequest { key: rating_group(group), used, ..ServiceRequest::default() }]
}

fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("CAMPAIGN_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(cases(200))]

    /// The books balance after every step, repeats and refusals change nothing, and what every step said must be stored
    /// rebuilds the shard.
    #[test]
    fn any_sequence_keeps_the_books(setting in settings(200_000, 3_000_000), steps in steps(300)) {
        let mut world = setting.world();
        let mut now = 0;
        for (key, (pause, step)) in steps.iter().enumerate() {
            now += pause;
            take(&mut world, now, step, key)?;
        }
        prop_assert_eq!(world.image(), world.replayed(), "what was stored is all there is");
        nothing_is_left(&mut world)?;
    }

    /// R32: what is rated again by the same tariff costs what it did.
    #[test]
    fn rating_again_changes_nothing(setting in settings(200_000, 3_000_000), steps in steps(300)) {
        let mut world = setting.world();
        let mut now = 0;
        for (key, (pause, step)) in steps.iter().enumerate() {
            now += pause;
            take(&mut world, now, step, key)?;
        }
        let said = world.rerate(at(now));
        let amounts: Vec<_> = said.iter().filter(|(_, said)| said.parse::<Money>().is_ok()).collect();
        prop_assert!(amounts.is_empty(), "{amounts:?}");
        // Nearly everything can be rated again.
        RERATED.fetch_add(world.cdrs.iter().filter(|cdr| cdr.kind == CdrKind::Usage).count(), Ordering::Relaxed);
        let unlike = said.iter().filter(|(_, said)| !said.contains("refunded"));
        UNLIKE.fetch_add(unlike.count(), Ordering::Relaxed);
        let (rerated, unlike) = (RERATED.load(Ordering::Relaxed), UNLIKE.load(Ordering::Relaxed));
        prop_assert!(rerated < 1000 || unlike * 20 < rerated, "{unlike} of {rerated} cannot be rated again, {said:?}");
    }

    /// Whether ended sessions are in memory makes no difference to anything.
    #[test]
    fn archiving_changes_nothing(setting in settings(200_000, 3_000_000), steps in steps(300)) {
        let (mut one, mut other) = (setting.world(), setting.archiving());
        let mut now = 0;
        for (key, (pause, step)) in steps.iter().enumerate() {
            now += pause;
            take(&mut one, now, step, key)?;
            take(&mut other, now, step, key)?;
            prop_assert_eq!(one.image(), other.image());
        }
        prop_assert_eq!(format!("{:?}", one.cdrs), format!("{:?}", other.cdrs));
        nothing_is_left(&mut other)?;
    }

    /// The same commands give the same state and the same CDRs.
    #[test]
    fn the_same_commands_give_the_same_state(setting in settings(200_000, 3_000_000), steps in steps(300)) {
        let (mut one, mut other) = (setting.world(), setting.world());
        let mut now = 0;
        for (key, (pause, step)) in steps.iter().enumerate() {
            now += pause;
            take(&mut one, now, step, key)?;
            take(&mut other, now, step, key)?;
        }
        prop_assert_eq!(one.image(), other.image());
        prop_assert_eq!(format!("{:?}", one.cdrs), format!("{:?}", other.cdrs));
    }

    /// R04: reports in any partition cost the same as one report, and leave every bucket the same.
    #[test]
    fn any_partition_costs_the_same(
        rounding in roundings(),
        price in prices(1, 200_000),
        (mut buckets, credit) in accounts(3_000_000),
        parts in vec(0u64..120, 1..8),
        small in 1i64..400,
    ) {
        for bucket in &mut buckets {
            bucket.valid_to = rating_engine::time::Timestamp::NEVER;
            if bucket.holding != Holding::Money {
                bucket.balance %= small;
            }
        }
        let run = |parts: &[u64]| {
            let mut world = World::new(rounding, vec![price.clone()]);
            world.open(1, buckets.clone(), credit);
            let _ = world.apply(command(0, 1, "s", 0, Action::Start(Vec::new())));
            for (number, part) in (1..).zip(parts) {
                let action = Action::Update(usage(1, *part));
                let _ = world.apply(command(i64::from(number) * 1000, 1, "s", number, action));
            }
            world.audit().map(|()| (world.account(1).buckets.clone(), world.account(1).credit, world.account(1).debt))
        };
        let whole: u64 = parts.iter().sum();
        prop_assert_eq!(run(&parts), run(&[whole]));
    }

    /// Whoever uses more never pays less, and has never more left of anything.
    #[test]
    fn more_usage_never_costs_less(
        rounding in roundings(),
        price in prices(1, 200_000),
        (mut buckets, credit) in accounts(3_000_000),
        used in 0u64..300,
        more in 0u64..300,
    ) {
        buckets.iter_mut().for_each(|bucket| bucket.valid_to = Timestamp::NEVER);
        let price = Price { buys: None, ..price };
        let run = |quantity| {
            let mut world = World::new(rounding, vec![price.clone()]);
            world.open(1, buckets.clone(), credit);
            let _ = world.apply(command(0, 1, "s", 0, Action::Start(Vec::new())));
            let _ = world.apply(command(1000, 1, "s", 1, Action::Stop(usage(1, quantity))));
            let account = world.account(1);
            let paid = world.cdrs.iter().fold(Money::ZERO, |sum, cdr| sum.saturating_add(cdr.amount));
            (paid, account.buckets.iter().map(|bucket| bucket.balance).collect::<Vec<_>>())
        };
        let (paid, left) = run(used);
        let (paid_more, less_left) = run(used + more);
        prop_assert!(paid <= paid_more, "{used} cost {paid}, {} cost {paid_more}", used + more);
        prop_assert!(left.iter().zip(&less_left).all(|(left, less)| less <= left), "{left:?} {less_left:?}");
    }

    /// R29: a refund of everything leaves every bucket, the credit line and the debt as they were before the charge.
    #[test]
    fn a_refund_restores_everything(
        rounding in roundings(),
        prices in (prices(1, 200_000), prices(2, 200_000)),
        (buckets, credit) in accounts(3_000_000),
        quantities in (1u64..300, 1u64..300),
        shared in option::of((accounts(3_000_000), any::<bool>())),
    ) {
        let plain = |price: Price| Price { buys: None, ..price };
        let mut world = World::new(rounding, vec![plain(prices.0), plain(prices.1)]);
        world.open(1, buckets, credit);
        let ((others, other_credit), allowance) = shared.clone().unwrap_or_default();
        world.open(2, others, other_credit);
        shared.iter().for_each(|_| world.sponsor(1, sponsor(allowance)));
        let before = [1, 2].map(|number| world.account(number).clone());
        let wanted = |(group, quantity)| ServiceRequest {
            requested: Requested::Units(units_of(quantity)),
            ..ServiceRequest { key: rating_group(group), ..ServiceRequest::default() }
        };
        let services = [(1, quantities.0), (2, quantities.1)].map(wanted).to_vec();
        let charged = world.apply(command(0, 1, "e", 0, Action::Debit(services)));
        let original = SessionId::new(b"e");
        let refunded = world.apply(command(1, 1, "r", 1, Action::Refund { original, services: Vec::new() }));
        if let (Outcome::Answered(_), Outcome::Answered(_)) = (&*charged.outcome, &*refunded.outcome) {
            let balances = |account: &rating_engine::account::Account| {
                account.buckets.iter().map(|bucket| bucket.balance).collect::<Vec<_>>()
            };
            for before in &before {
                let after = world.account(before.id.get());
                prop_assert_eq!(balances(after), balances(before));
                prop_assert_eq!((after.credit, after.debt), (before.credit, before.debt));
            }
        }
        world.audit().map_err(TestCaseError::fail)?;
    }

    /// R29, R32: persons and the network together give back what was charged, in whichever portions and order and however it was
    /// rated again in between, and never more; when all is given back, everything is as it was before.
    #[test]
    fn persons_and_the_network_give_back_what_was_charged_and_no_more(
        rounding in roundings(),
        prices in (prices(1, 200_000), prices(2, 200_000)),
        (mut buckets, credit) in accounts(3_000_000),
        quantities in (1u64..300, 1u64..300),
        shared in option::of((accounts(3_000_000), any::<bool>())),
        archives in any::<bool>(),
        backs in vec((0u8..5, 0usize..6, 1i64..2_000_000, 1u64..40), 1..10),
        mut again in vec((prices(1, 200_000), prices(2, 200_000)), 0..4),
        forgotten in option::of(0usize..10),
    ) {
        let plain = |price: Price| Price { buys: None, ..price };
        let prices = vec![plain(prices.0), plain(prices.1)];
        let mut world =
            if archives { World::archiving(rounding, prices) } else { World::new(rounding, prices) };
        // What has ended takes nothing back.
        let endless = |buckets: &mut Vec<Bucket>| buckets.iter_mut().for_each(|bucket| bucket.valid_to = Timestamp::NEVER);
        endless(&mut buckets);
        world.open(1, buckets, credit);
        let ((mut others, other_credit), allowance) = shared.clone().unwrap_or_default();
        endless(&mut others);
        world.open(2, others, other_credit);
        shared.iter().for_each(|_| world.sponsor(1, sponsor(allowance)));
        let before = [1, 2].map(|number| world.account(number).clone());
        let wanted = |(group, quantity)| ServiceRequest {
            requested: Requested::Units(units_of(quantity)),
            ..ServiceRequest { key: rating_group(group), ..ServiceRequest::default() }
        };
        let services = [(1, quantities.0), (2, quantities.1)].map(wanted).to_vec();
        let charged = world.apply(command(0, 1, "e", 0, Action::Debit(services)));
        let count = world.cdrs.len();
        if matches!(*charged.outcome, Outcome::Refused(_)) {
            return Ok(());
        }
        let mut now = 1;
        for (step, (how, which, amount, quantity)) in backs.into_iter().enumerate() {
            if forgotten == Some(step) {
                now += 100_000;
                world.expire(at(now));
                prop_assert!(world.shard.session(&SessionId::new(b"e")).is_none());
            }
            now += 1;
            let (number, key) = (which % count.max(1) + 1, format!("b{step}"));
            let amount = Money::from_micros(amount);
            let ask = |units| ServiceRequest {
                requested: Requested::Units(units),
                ..ServiceRequest { key: rating_group(u32::try_from(which % 2).expect("few") + 1), ..ServiceRequest::default() }
            };
            let request_number = u32::try_from(step).expect("few");
            let original = SessionId::new(b"e");
            match how {
                0 if count > 0 => drop(world.give_back(number, Some(amount), request(&key, 0), at(now))),
                1 if count > 0 => drop(world.give_back(number, None, request(&key, 0), at(now))),
                2 => {
                    let services = vec![ask(units_of(quantity))];
                    drop(world.apply(command(now, 1, "r", request_number, Action::Refund { original, services })));
                }
                3 => {
                    if let Some((one, two)) = again.pop() {
                        let number = u32::try_from(again.len()).expect("few");
                        let version = draft(10 - number, rounding, vec![plain(one), plain(two)]);
                        world.tariffs.insert(version.publish().expect("a version"));
                        world.rerate(at(now));
                    }
                }
                _ => {
                    let money = MoneyUnits { amount, currency: Some(Currency::EUR.numeric()) };
                    let services = vec![ask(Units { money: Some(money), ..Units::default() })];
                    drop(world.apply(command(now, 1, "r", request_number, Action::Refund { original, services })));
                }
            }
            never_more_than_charged(&world)?;
        }
        world.audit().map_err(TestCaseError::fail)?;
        // A person gives back whatever is left of each.
        for number in 1..=count {
            now += 1;
            drop(world.give_back(number, None, request(&format!("all{number}"), 0), at(now)));
        }
        never_more_than_charged(&world)?;
        for before in &before {
            let after = world.account(before.id.get());
            let balances = |account: &rating_engine::account::Account| {
                account.buckets.iter().map(|bucket| bucket.balance).collect::<Vec<_>>()
            };
            prop_assert_eq!(balances(after), balances(before));
            prop_assert_eq!((after.credit, after.debt), (before.credit, before.debt));
        }
        let (image, cdrs) = (world.image(), world.cdrs.len());
        let original = SessionId::new(b"e");
        let refund = world.apply(command(now + 1, 1, "r", 99, Action::Refund { original, services: Vec::new() }));
        // It may say that nothing goes back.
        prop_assert!(refund.cdrs.iter().all(|cdr| cdr.movements.is_empty()), "{:?}", refund.outcome);
        for number in 1..=count {
            let again = world.give_back(number, None, request(&format!("more{number}"), 0), at(now + 2));
            prop_assert!(matches!(*again, MutationOutcome::Refused(_)), "{again:?}");
        }
        if world.cdrs.len() == cdrs && matches!(*refund.outcome, Outcome::Refused(_)) {
            prop_assert_eq!(world.image(), image);
        }
        prop_assert_eq!(world.image(), world.replayed());
        world.audit().map_err(TestCaseError::fail)?;
    }

    /// R40: who pays changes nothing of what it costs, and an allowance is never overdrawn.
    #[test]
    fn a_sponsor_changes_no_price(
        rounding in roundings(),
        price in prices(1, 200_000),
        parts in vec(0u64..120, 1..8),
        (allowance, theirs, own) in (any::<bool>(), 0i64..200_000, 0i64..200_000),
    ) {
        let price = Price { buys: None, tier_scope: TierScope::Session, ..price };
        let run = |sponsored: Option<Sponsor>| {
            let mut world = World::new(rounding, vec![price.clone()]);
            world.open(1, vec![bucket("own", Holding::Money, own)], None);
            world.open(2, vec![bucket("theirs", Holding::Money, theirs)], Some(Money::MAX));
            sponsored.into_iter().for_each(|sponsor| world.sponsor(1, sponsor));
            let _ = world.apply(command(0, 1, "s", 0, Action::Start(Vec::new())));
            for (number, part) in (1..).zip(&parts) {
                let _ = world.apply(command(5000, 1, "s", number, Action::Update(usage(1, *part))));
            }
            world.audit().map_err(TestCaseError::fail)?;
            let paid = world.cdrs.iter().fold(Money::ZERO, |sum, cdr| sum.saturating_add(cdr.amount));
            Ok::<_, TestCaseError>((paid, world.account(2).clone()))
        };
        let (alone, _) = run(None)?;
        let (shared, theirs) = run(Some(sponsor(allowance)))?;
        prop_assert_eq!(alone, shared);
        if allowance {
            prop_assert_eq!(theirs.owed(), Money::ZERO);
            prop_assert_eq!(theirs.credit.expect("credit").spent, Money::ZERO);
        }
    }

    /// Sessions that share nothing but their money cost the same in whatever order they report.
    #[test]
    fn the_order_of_independent_sessions_is_no_matter(
        rounding in roundings(),
        prices in (prices(1, 200_000), prices(2, 200_000)),
        parts in vec((any::<bool>(), 0u64..100), 1..12),
        balance in 0i64..3_000_000,
    ) {
        let plain = |price: Price| Price { buys: None, tier_scope: TierScope::Session, ..price };
        let prices = [plain(prices.0), plain(prices.1)];
        let run = |parts: &[(bool, u64)]| {
            let mut world = World::new(rounding, prices.to_vec());
            world.open(1, vec![bucket("main", Holding::Money, balance)], None);
            for session in ["a", "b"] {
                let _ = world.apply(command(0, 1, session, 0, Action::Start(Vec::new())));
            }
            let mut numbers = [0u32, 0];
            for (which, quantity) in parts {
                let (session, group) = if *which { ("a", 1) } else { ("b", 2) };
                let number = &mut numbers[usize::from(*which)];
                *number += 1;
                let _ = world.apply(command(5000, 1, session, *number, Action::Update(usage(group, *quantity))));
            }
            (world.account(1).buckets.clone(), world.account(1).debt)
        };
        let (mut first, second): (Vec<_>, Vec<_>) = parts.iter().partition(|(which, _)| *which);
        first.extend(second);
        prop_assert_eq!(run(&parts), run(&first));
    }

    /// Numbers at the edges of their types never panic, and never change anything halfway.
    #[test]
    fn extreme_numbers_change_nothing_halfway(
        setting in settings(u64::MAX, i64::MAX),
        steps in steps(u64::MAX),
        pulse in (1u64.., 1u64..),
        fee in 0i64..,
    ) {
        let mut setting = setting;
        setting.prices[0].pulse = Pulse::new(pulse.0, pulse.1).expect("above 0");
        setting.prices[1].connect_fee = PerWindow::always(Money::from_micros(fee));
        let mut world = setting.world();
        let mut now = 0;
        for (key, (pause, step)) in steps.iter().enumerate() {
            now += pause;
            take(&mut world, now, step, key)?;
        }
        nothing_is_left(&mut world)?;
    }
}
