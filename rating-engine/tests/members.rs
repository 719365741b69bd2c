//! Stories of members of a charging group who go over to another account of it, and of those who leave: nothing that was begun
//! is charged to anybody else, and nobody goes on paying for who is gone.
#![expect(clippy::expect_used, clippy::panic, reason = "a story that cannot be read or does not hold is a failed test")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod story;
#[allow(dead_code, reason = "each test file uses its part of it")]
mod world;

use rating_engine::account::{Account, Counters, Subscriber};
use rating_engine::command::{Change, MutationOutcome, Refusal};
use rating_engine::ids::{AccountId, GroupId, SubscriberId, TariffName, TenantId};
use rating_engine::money::{Currency, Rate, Rounding, RoundingMode, RoundingScope};
use rating_engine::shard::{Image, Limits, Shard};
use rating_engine::time::Timestamp;
use rating_engine::units::Measure;

use story::check;
use world::{World, price};

/// M's session was opened when A paid: all of its 3 MiB are A's, 0.03. What M opens afterwards is B's.
#[test]
fn a_session_goes_on_with_the_account_it_was_opened_with() {
    check(
        "
        price any  0.01/MiB
        account A  balance 5.00
        account B  balance 7.00
        member A M
        0s  M/1 initial #0  1 want 1MiB            -> granted 1MiB
        1s  move M B
        2s  M/1 update #1  1 used 1MiB want 2MiB   -> granted 2MiB
        A reserved 0.02
        B reserved 0.00
        3s  M/2 initial #0  1 want 4MiB            -> granted 4MiB
        B reserved 0.04
        4s  M/1 terminate #2  1 used 2MiB          -> settled
        5s  M/2 terminate #1  1 used 4MiB          -> settled
        cdrs A 0.01, 0.02
        cdrs B 0.04
        A main 4.97
        B main 6.96
        A reserved 0.00
        B reserved 0.00
    ",
    );
}

/// What was bought for M is A's to pay, month after month, as long as it is not cancelled: until then M stays.
#[test]
fn who_has_offers_stays_until_they_are_cancelled() {
    check(
        "
        price any  0.01/MiB
        offer m fee 1.00 period P1M  data 10GiB
        account A  balance 5.00
        account B  balance 7.00
        member A M
        2027-02-01T00:00:00Z buy A m for M -> done
        2027-02-02T00:00:00Z move M B -> refused Invalid
        2027-02-02T00:00:00Z remove M -> refused Invalid
        2027-02-02T00:00:00Z cancel A 1 -> done
        2027-02-02T00:00:00Z move M B -> done
        2027-04-02T00:00:00Z expire -> nothing
        A main 4.00
        B main 7.00
    ",
    );
}

/// In A, M has used 2 of its 2 GiB of the shared bucket. In B there is another one, of the same name: M has 2 GiB of that.
#[test]
fn a_cap_is_of_the_account_that_has_the_bucket() {
    check(
        "
        price any  0.01/MiB
        offer m fee 1.00 period P1M  data 40GiB cap 2GiB
        account A  balance 5.00
        account B  balance 5.00
        member A M
        2027-02-01T00:00:00Z buy A m -> done
        2027-02-01T00:00:00Z buy B m -> done
        2027-02-02T00:00:00Z M/1 initial #0  1 want 2GiB   -> granted 2GiB
        2027-02-02T00:01:00Z M/1 terminate #1  1 used 2GiB -> settled
        M counter data#1.0000 2GiB
        2027-02-02T00:02:00Z move M B
        2027-02-02T00:03:00Z M/2 initial #0  1 want 2GiB   -> granted 2GiB
        2027-02-02T00:04:00Z M/2 terminate #1  1 used 2GiB -> settled
        M counter data#1.0000 2GiB
        A data#1.0000 38GiB
        B data#1.0000 38GiB
        B main 4.00
    ",
    );
}

/// Whoever has an open session is somebody's; afterwards nothing can be used, and what was used is charged.
#[test]
fn who_is_removed_has_no_open_session_and_opens_none() {
    check(
        "
        price any  0.01/MiB
        account A  balance 5.00
        member A M
        0s  M/1 initial #0  1 want 1MiB    -> granted 1MiB
        1s  remove M -> refused Invalid
        2s  M/1 terminate #1  1 used 1MiB  -> settled
        3s  remove M -> done
        4s  M/2 initial #0  1 want 1MiB    -> refused Rejected
        5s  A/1 initial #0  1 want 1MiB    -> granted 1MiB
        A main 4.99
    ",
    );
}

fn account(number: u64, group: u64) -> Account {
    Account::new(AccountId::new(number), GroupId::new(group), TenantId::default(), Currency::EUR)
}

fn member(number: u64, account: u64, group: u64) -> Subscriber {
    Subscriber {
        id: SubscriberId::new(number),
        tenant: TenantId::default(),
        account: AccountId::new(account),
        group: GroupId::new(group),
        tariff: TariffName::new(world::TARIFF),
        state: rating_engine::account::AccountState::Active,
        counters: Counters::default(),
        sponsor: None,
    }
}

/// A shard has many groups; each is listed whole, in order and from any number on, whatever was loaded in whichever order.
#[test]
fn a_group_is_listed_whole_and_nobody_else() {
    let mut shard = Shard::new(Limits::default());
    for (number, group) in [(7, 7), (9, 7), (2, 7), (8, 8), (3, 8)] {
        shard.load(Image::Account(account(number, group)), Default::default());
    }
    for (number, account, group) in [(7, 9, 7), (100, 7, 7), (5, 2, 7), (8, 8, 8), (6, 3, 8)] {
        shard.load(Image::Subscriber(member(number, account, group)), Default::default());
    }
    let accounts = |group, from| {
        let listed = shard.accounts_of(GroupId::new(group), AccountId::new(from));
        listed.map(|account| account.id.get()).collect::<Vec<_>>()
    };
    let members = |group, from| {
        let listed = shard.members_of(GroupId::new(group), SubscriberId::new(from));
        listed.map(|member| member.id.get()).collect::<Vec<_>>()
    };
    assert_eq!((accounts(7, 0), accounts(7, 3), accounts(8, 0)), (vec![2, 7, 9], vec![7, 9], vec![3, 8]));
    assert_eq!((members(7, 0), members(7, 8), members(8, 0)), (vec![5, 7, 100], vec![100], vec![6, 8]));
    assert_eq!(shard.group_size(GroupId::new(7)), (3, 3));
    // A number that is a group's name and somebody else's account makes no group.
    assert_eq!((accounts(9, 0), members(5, 0), shard.group_size(GroupId::new(9))), (vec![], vec![], (0, 0)));
}

/// What is said of a group is nothing of the shard's, but who says it again is known.
#[test]
fn what_is_said_of_a_group_is_remembered_by_its_key_alone() {
    let rounding = Rounding::new(6, RoundingMode::HalfUp, RoundingScope::Event).expect("few decimals");
    let free = price("any", None, Measure::Seconds, Rate::ZERO);
    let mut world = World::new(rounding, vec![free]);
    let describe = |digest| Change::Describe(GroupId::new(1)).asked(world::request("k", digest));
    let (done, again) = (describe(1), describe(2));
    assert!(!world.shard.knows(&done));
    for _ in 0..2 {
        let said = world.mutate(done.clone(), Timestamp::default());
        assert!(matches!(*said, MutationOutcome::Done { cdr_number: 0, .. }), "{said:?}");
    }
    assert!(world.shard.knows(&done));
    assert_eq!(*world.mutate(again, Timestamp::default()), MutationOutcome::Refused(Refusal::KeyReused));
}
