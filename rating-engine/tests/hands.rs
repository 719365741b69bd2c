//! What people change by hand: adjustments, transfers, validity, credit lines.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a story that cannot be read or does not hold is a failed test"
)]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod story;
#[allow(dead_code, reason = "each test file uses its part of it")]
mod world;

use std::sync::Arc;

use rating_engine::account::{AccountState, Bucket, Holding};
use rating_engine::cdr::{Cause, CdrKind};
use rating_engine::command::{Action, Change, MutationOutcome, Outcome, Refusal, Requested, ServiceRequest};
use rating_engine::ids::{AccountId, BucketId, SessionId};
use rating_engine::money::{Money, Rate, Rounding, RoundingMode, RoundingScope};
use rating_engine::shard::{Pair, Shard, Transfer, transfer};
use rating_engine::tariffs::Tariffs;
use rating_engine::units::Measure;

use crate::story::check;
use crate::world::{World, at, bucket, command, money, price, rating_group, request, top_up};

#[test]
fn an_adjustment_puts_in_or_takes_out_and_has_a_cdr_of_its_own() {
    check(
        "
        price 10 free
        account A balance 5.00
        bucket A data 10MiB
        1s adjust A main 0.75            -> done
        A main 5.75
        2s adjust A main -0.50           -> done
        A main 5.25
        3s adjust A data -4MiB           -> done
        A data 6MiB
        4s adjust A data 1MiB            -> done
        A data 7MiB
        cdrs A adjusted -0.75, adjusted 0.50, adjusted 0.00, adjusted 0.00
        ",
    );
}

#[test]
fn an_adjustment_never_takes_what_a_session_holds_or_what_is_not_there() {
    check(
        "
        price 10 0.10/60s 
        account A balance 1.50
        1s A/1 initial #0 10 want 600s   -> granted 600s
        A reserved 1.00
        2s adjust A main -0.51           -> refused Invalid
        2s adjust A main -0.50           -> done
        3s adjust A bonus 1.00           -> refused Invalid
        3s adjust A main 0.00            -> refused Invalid
        3s adjust A main 5s              -> refused Invalid
        A main 1.00
        ",
    );
}

#[test]
fn a_bucket_that_has_ended_takes_no_adjustment_and_is_not_extended() {
    check(
        "
        price 10 free
        account A balance 1.00
        bucket A bonus 2.00 until 100s
        99s extend A bonus 50s           -> refused Invalid
        99s extend A bonus 200s          -> done
        150s adjust A bonus 1.00         -> done
        A bonus 3.00
        200s adjust A bonus 1.00         -> refused Invalid
        200s extend A bonus 300s         -> refused Invalid
        ",
    );
}

#[test]
fn an_extended_bucket_pays_until_its_new_end() {
    check(
        "
        price 10 0.10/60s
        account A balance 0.00
        bucket A bonus 0.30 until 100s
        10s extend A bonus 1000s         -> done
        500s A/1 debit #0 10 want 60s    -> granted 60s cost 0.10
        1000s A/2 debit #0 10 want 60s   -> refused CreditLimitReached
        A bonus 0.20
        ",
    );
}

#[test]
fn a_transfer_leaves_both_accounts_with_one_cdr_each() {
    check(
        "
        price 10 free
        account A balance 5.00
        account B balance 1.00
        1s transfer A main 2.00 B main   -> done
        A main 3.00
        B main 3.00
        cdrs A transferred 2.00
        cdrs B transferred -2.00
        2s transfer A main 3.01 B main   -> refused Invalid
        2s transfer A main 1.00 A bonus  -> refused Invalid
        A main 3.00
        B main 3.00
        ",
    );
}

#[test]
fn what_is_transferred_lifts_what_is_below_zero() {
    check(
        "
        price 10 0.10/60s
        account A balance 5.00
        account B balance 0.10
        1s B/1 initial #0 10 want 60s    -> granted 60s
        700s B/1 terminate #1 10 used 600s -> settled
        B main -0.90
        701s transfer A main 2.00 B main   -> done
        B main 1.10
        ",
    );
}

#[test]
fn a_credit_line_is_given_and_cut_below_what_is_spent_without_harm() {
    check(
        "
        price 10 0.10/60s
        account A balance 0.00
        1s A/1 debit #0 10 want 60s      -> refused CreditLimitReached
        2s credit A 0.20                 -> done
        3s A/2 debit #0 10 want 120s     -> granted 120s cost 0.20
        A spent 0.20
        4s credit A 0.10                 -> done
        5s A/3 debit #0 10 want 60s      -> refused CreditLimitReached
        6s credit A -1.00                -> refused Invalid
        7s credit A 0.30                 -> done
        8s A/4 debit #0 10 want 60s      -> granted 60s cost 0.10
        ",
    );
}

#[test]
fn what_was_given_or_is_owed_cannot_be_given_away_and_lives_no_longer() {
    check(
        "
        price 10 0.10/60s
        account A balance 5.00
        account B balance 0.10
        bucket A dated 2.00 until 1000s
        bucket B dated 1.00 until 500s
        1s transfer A dated 1.00 B main    -> refused Invalid
        1s transfer A dated 1.00 B other   -> done
        1s transfer B dated 0.50 A dated   -> refused Invalid
        2s transfer A main 0.50 B dated    -> done
        B dated 1.50
        500s transfer B dated 0.10 A new   -> refused Invalid
        B other 1.00
        1000s B/1 initial #0 10 want 60s   -> granted 60s
        1700s B/1 terminate #1 10 used 600s -> settled
        B main -0.90
        1701s transfer A main 1.00 B main  -> done
        B main 0.10
        1702s transfer A main 3.51 B main  -> refused Invalid
        ",
    );
}

#[test]
fn a_bucket_that_ends_later_than_another_pays_after_it() {
    check(
        "
        price 10 0.10/60s
        account A balance 0.00
        bucket A first 1.00 until 100s
        bucket A second 1.00 until 200s
        1s extend A first 300s             -> done
        2s A/1 debit #0 10 want 60s        -> granted 60s cost 0.10
        A second 0.90
        A first 1.00
        ",
    );
}

/// A world with one account that has 5.00.
fn one(number: u64) -> World {
    let rounding = Rounding::new(2, RoundingMode::HalfUp, RoundingScope::Event).unwrap();
    let mut world = World::new(rounding, vec![price("any", None, Measure::Seconds, Rate::ZERO)]);
    world.open(number, vec![bucket("main", Holding::Money, 5_000_000)], None);
    world
}

#[test]
fn a_repeat_of_anything_with_a_key_gets_the_first_answer_and_the_key_is_its_own() {
    let mut world = one(1);
    let account = AccountId::new(1);
    let changes = [
        Change::Adjust { account, bucket: BucketId::new("main"), holding: Holding::Money, amount: -1_000_000 },
        Change::SetCredit { account, limit: money("2.00") },
        Change::SetState { account, state: AccountState::Suspended },
        Change::Extend { account, bucket: BucketId::new("bonus"), valid_to: at(500) },
    ];
    let bonus = Bucket { valid_to: at(100), ..bucket("bonus", Holding::Money, 0) };
    world.mutate(top_up(1, bonus, money("1.00"), "first"), at(1));
    for (number, change) in changes.into_iter().enumerate() {
        let key = format!("k{number}");
        let first = world.mutate(change.clone().asked(request(&key, 7)), at(2));
        assert!(matches!(*first, MutationOutcome::Done { .. }), "{change:?}: {first:?}");
        let cdrs = world.cdrs.len();
        assert_eq!(world.mutate(change.clone().asked(request(&key, 7)), at(3)), first, "{change:?}");
        assert_eq!(world.cdrs.len(), cdrs, "nothing happened: {change:?}");
        let other = world.mutate(change.clone().asked(request(&key, 8)), at(3));
        assert_eq!(*other, MutationOutcome::Refused(Refusal::KeyReused), "{change:?}");
    }
    world.audit().unwrap();
}

#[test]
fn money_without_a_key_does_not_move() {
    let mut world = one(1);
    let account = AccountId::new(1);
    let take = Change::Adjust { account, bucket: BucketId::new("main"), holding: Holding::Money, amount: -1_000_000 };
    assert!(matches!(*world.mutate(take, at(1)), MutationOutcome::Refused(Refusal::Invalid(_))));
    assert!(world.cdrs.is_empty());
}

/// Two shards, as when the accounts are in charging groups far apart.
fn two() -> (Shard, Shard) {
    (one(1).shard, one(2).shard)
}

fn give(pair: &mut Pair<'_>, amount: &str, key: &str, digest: u64) -> Arc<MutationOutcome> {
    let asked = Transfer {
        from: AccountId::new(1),
        from_bucket: BucketId::new("main"),
        to: AccountId::new(2),
        to_bucket: bucket("main", Holding::Money, 0),
        amount: money(amount),
    };
    let (given, taken) = transfer(pair, &Tariffs::default(), asked, request(key, digest), at(1));
    assert_eq!(given.cdrs.is_empty(), taken.cdrs.is_empty(), "both or neither");
    given.outcome
}

#[test]
fn a_transfer_between_shards_is_done_once_whoever_repeats_it() {
    let (mut one, mut two) = two();
    let balances = |pair: &mut Pair<'_>| {
        let first = pair.giver().account(AccountId::new(1)).unwrap().money();
        (first, pair.taker().account(AccountId::new(2)).unwrap().money())
    };
    let mut pair = Pair::Two(&mut one, &mut two);
    let first = give(&mut pair, "2.00", "k", 1);
    assert_eq!(balances(&mut pair), (money("3.00"), money("7.00")));
    assert_eq!(give(&mut pair, "2.00", "k", 1), first);
    assert_eq!(*give(&mut pair, "2.00", "k", 2), MutationOutcome::Refused(Refusal::KeyReused));
    assert_eq!(balances(&mut pair), (money("3.00"), money("7.00")));
}

#[test]
fn what_the_taker_cannot_take_is_not_given() {
    let (mut one, mut two) = two();
    let closed = Change::SetState { account: AccountId::new(2), state: AccountState::Closed };
    let _ = two.mutate(&Tariffs::default(), closed, at(1));
    let outcome = give(&mut Pair::Two(&mut one, &mut two), "2.00", "k", 1);
    assert_eq!(*outcome, MutationOutcome::Refused(Refusal::Invalid("the account is closed")));
    assert_eq!(one.account(AccountId::new(1)).unwrap().money(), money("5.00"));
}

/// A session that is let go of leaves a CDR of what it never reported; nothing moved in an account, and no number of one is answered.
#[test]
fn a_release_answers_no_cdr_of_an_account() {
    let mut world = one(1);
    let service = ServiceRequest { key: rating_group(10), requested: Requested::Any, ..ServiceRequest::default() };
    let opened = world.apply(command(0, 1, "s", 0, Action::Start(vec![service])));
    assert!(matches!(*opened.outcome, Outcome::Answered(_)), "{:?}", opened.outcome);
    let release = Change::Release { session: SessionId::new(b"s"), cause: Cause::Operator, client_state_below: 0 };
    let done = world.mutate(release.asked(request("r", 0)), at(1));
    assert_eq!(*done, MutationOutcome::Done { balance: Money::ZERO, cdr_number: 0 });
    assert_eq!(world.cdrs.last().expect("a CDR").kind, CdrKind::Lapse);
}
