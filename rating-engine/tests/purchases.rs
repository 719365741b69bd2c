//! Stories of offers that are bought for later, replaced and ended at a time of one's choice (R20, R21): what begins and ends is
//! paid, opened and lapses at that instant, and a cycle that has begun is paid whole.
#![expect(clippy::expect_used, clippy::panic, reason = "a story that cannot be read or does not hold is a failed test")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod story;
#[allow(dead_code, reason = "each test file uses its part of it")]
mod world;

use story::check;

// --- Bought for later ---

/// Nothing is taken before the first of the month; then 1.00 for setting up and 7.99, although nobody looked until noon, and
/// the cycle is counted from its beginning.
#[test]
fn an_offer_bought_for_later_begins_then() {
    check(
        "
        price any  0.01/MiB
        offer m fee 7.99 setup 1.00 period P1M  data 10GiB
        account A  balance 20.00
        2027-01-20T09:00:00Z buy A m from 2027-02-01T00:00:00Z -> done
        A main 20.00
        A without data#1.0000
        A holds m 0 awaited
        cdrs A
        2027-01-31T23:59:59Z expire -> nothing
        A holds m 0 awaited
        2027-02-01T12:00:00Z expire -> nothing
        A holds m 0 active
        A main 11.01
        A data#1.0000 10GiB
        cdrs A once 1.00, fee 7.99, opened 0.00
        2027-02-28T23:59:59Z expire -> nothing
        A holds m 0 active
        2027-03-01T00:00:00Z expire -> nothing
        A holds m 1 active
        A main 3.02
    ",
    );
}

/// What cannot be paid when it is to begin waits, and begins with the money: 1.00 and 7.99 of 9.00, from then on.
#[test]
fn what_cannot_be_paid_then_begins_when_it_can() {
    check(
        "
        price any  0.01/MiB
        offer m fee 7.99 setup 1.00 period P1M  data 10GiB
        account A  balance 8.00
        2027-01-20T09:00:00Z buy A m from 2027-02-01T00:00:00Z -> done
        2027-02-01T00:00:00Z expire -> nothing
        A holds m 0 unpaid
        A main 8.00
        2027-02-03T10:00:00Z topup A main 1.00
        A holds m 0 active
        A main 0.01
        cdrs A topup -1.00, once 1.00, fee 7.99, opened 0.00
        2027-03-03T09:59:59Z expire -> nothing
        A holds m 0 active
        2027-03-03T10:00:00Z expire -> nothing
        A holds m 0 unpaid
    ",
    );
}

/// What begins in the past would be charged for what nobody could use.
#[test]
fn nothing_begins_or_ends_in_the_past() {
    check(
        "
        price any  0.01/MiB
        offer m fee 1.00 period P1M  data 10GiB
        account A  balance 8.00
        100s buy A m from 99s -> refused Invalid
        100s buy A m -> done
        200s cancel A 1 at 199s -> refused Invalid
        200s replace A 1 m at 199s -> refused Invalid
        A holds m 0 active
        A main 7.00
    ",
    );
}

/// A suspended account begins nothing; released, it begins what waits.
#[test]
fn a_suspended_account_begins_nothing() {
    check(
        "
        price any  0.01/MiB
        offer m fee 1.00 period P1M  data 10GiB
        account A  balance 8.00
        0s buy A m from 100s
        50s suspend A
        100s expire -> nothing
        A holds m 0 unpaid
        A main 8.00
        200s activate A
        A holds m 0 active
        A main 7.00
    ",
    );
}

// --- Ended ---

/// At once: 10 GiB end with it and lapse an hour later; the fee stays paid.
#[test]
fn what_is_ended_at_once_ends_with_what_it_opened() {
    check(
        "
        price any  0.01/MiB
        offer m fee 7.99 period P1M  data 10GiB
        account A  balance 20.00
        0s buy A m
        100s cancel A 1 now -> done
        A holds
        A data#1.0000 10GiB
        101s A/1 debit #0  1 want 3MiB -> granted 3MiB cost 0.03
        paid A main 0.03
        3699s expire -> nothing
        A data#1.0000 10GiB
        3700s expire -> nothing
        cdrs A fee 7.99, opened 0.00, 0.03, expired 0.00
        A main 11.98
    ",
    );
}

/// At a time two days into the next cycle: that cycle is paid whole, and what it opens ends when it does.
#[test]
fn what_is_ended_later_is_paid_until_then() {
    check(
        "
        price any  0.01/MiB
        offer m fee 2.00 period P1M  data 10GiB
        account A  balance 20.00
        2027-01-01T00:00:00Z buy A m
        2027-01-10T00:00:00Z cancel A 1 at 2027-02-03T00:00:00Z -> done
        A holds m 0 cancelled
        2027-02-01T00:00:00Z expire -> nothing
        A holds m 1 cancelled
        A main 16.00
        2027-02-02T23:59:59Z A/1 debit #0  1 want 3MiB -> granted 3MiB cost 0.00
        2027-02-03T00:00:00Z A/2 debit #0  1 want 3MiB -> granted 3MiB cost 0.03
        A holds
        A main 15.97
        2027-02-03T01:00:00Z expire -> nothing
        cdrs A fee 2.00, opened 0.00, fee 2.00, opened 0.00, expired 0.00, 0.00, 0.03, expired 0.00
    ",
    );
}

/// What has not begun never does, and what waits for its fee waits no more.
#[test]
fn what_is_in_no_cycle_ends_at_once() {
    check(
        "
        price any  0.01/MiB
        offer m fee 7.99 period P1M  data 10GiB
        account A  balance 1.00
        0s buy A m from 100s
        1s buy A m from 200s
        2s cancel A 1 -> done
        3s cancel A 2 at 150s -> done
        A holds
        4s buy A m from 100s
        100s expire -> nothing
        A holds m 0 unpaid
        101s cancel A 3 at 300s
        A holds m 0 unpaid
        300s expire -> nothing
        A holds
        301s topup A main 9.00
        A main 10.00
        302s cancel A 3 -> refused Invalid
    ",
    );
}

// --- Replaced ---

/// With the cycle: the smaller one lives its month out, then the larger one begins, paid and opened at that instant.
#[test]
fn an_offer_is_replaced_with_its_cycle() {
    check(
        "
        price any  0.01/MiB
        offer m fee 5.00 period P1M  data 1GiB
        offer l fee 8.00 period P1M  more 9GiB
        account A  balance 20.00
        2027-01-01T00:00:00Z buy A m
        2027-01-10T00:00:00Z replace A 1 l -> done
        A holds m 0 cancelled, l 0 awaited
        A main 15.00
        2027-01-31T23:59:59Z expire -> nothing
        A holds m 0 cancelled, l 0 awaited
        2027-02-01T00:00:00Z expire -> nothing
        A holds l 0 active
        A main 7.00
        A more#2.0000 9GiB
        cdrs A fee 5.00, opened 0.00, fee 8.00, opened 0.00
    ",
    );
}

/// At once: both are done, or neither. 6.00 cannot pay 8.00; 8.00 can.
#[test]
fn an_offer_is_replaced_at_once_or_not_at_all() {
    check(
        "
        price any  0.01/MiB
        offer m fee 5.00 period P1M  data 1GiB
        offer l fee 8.00 period P1M  more 9GiB
        account A  balance 11.00
        0s buy A m
        100s replace A 1 l now -> refused CreditLimitReached
        A holds m 0 active
        A data#1.0000 1GiB
        A main 6.00
        101s topup A main 2.00
        102s replace A 1 l now -> done
        A holds l 0 active
        A main 0.00
        103s A/1 debit #0  1 want 3MiB -> granted 3MiB cost 0.00
        paid A more#2.0000 3MiB
        104s replace A 1 m -> refused Invalid
        cdrs A fee 5.00, opened 0.00, topup -2.00, fee 8.00, opened 0.00, 0.00
    ",
    );
}

/// The same offer follows itself: its newest version, say.
#[test]
fn an_offer_may_follow_itself() {
    check(
        "
        price any  0.01/MiB
        offer m fee 5.00 period P1M  data 1GiB
        account A  balance 20.00
        0s buy A m
        100s replace A 1 m now -> done
        A holds m 0 active
        A main 10.00
    ",
    );
}

/// What is used beyond what the members brought is charged with the end: 2 of 7 MiB at 0.50.
#[test]
fn a_pool_is_charged_when_its_offer_ends_early() {
    check(
        "
        price any  free  pooled iot
        offer pool fee 1.20 each period P1M pool iot 5MiB 0.50/MiB
        account A  balance 20.00
        0s buy A pool
        10s A/1 debit #0  1 want 7MiB -> granted 7MiB cost 0.00
        20s cancel A 1 now -> done
        A main 17.80
        A holds
        cdrs A fee 1.20, 0.00, once 1.00
    ",
    );
}

/// The subscriber is charged by the tariff of the offer that follows from when that begins; here nobody published that one.
#[test]
fn the_tariff_changes_when_the_other_begins() {
    check(
        "
        price any  0.01/MiB
        offer small fee 1.00 period P1D tariff t
        offer large fee 2.00 period P1D tariff unpublished
        account A  balance 20.00
        0s buy A small
        10s replace A 1 large
        11s A/1 debit #0  1 want 3MiB -> granted 3MiB cost 0.03
        86400s A/2 debit #0  1 want 3MiB -> refused RatingFailed
        A holds large 0 active
        A main 16.97
    ",
    );
}

// --- Who leaves ---

/// A member stays with the account that would be charged a fee for it: of what is awaited, and of another cycle before the end. Once only
/// a cycle is left that is paid, it may go.
#[test]
fn who_would_be_paid_for_stays() {
    check(
        "
        price any  0.01/MiB
        offer m fee 1.00 period P1D  data 1GiB
        account A  balance 20.00
        account B  balance 20.00
        0s buy A m from 100s
        1s move A B -> refused Invalid
        2s cancel A 1 at 90000s
        3s move A B -> refused Invalid
        100s expire -> nothing
        A main 19.00
        101s cancel A 1 at 90000s
        102s move A B -> refused Invalid    (a fee is due at 86500s)
        103s cancel A 1
        104s move A B -> done
        86500s expire -> nothing
        A main 19.00
        A holds
    ",
    );
}
