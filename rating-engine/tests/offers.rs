//! Stories of offers in time: what is bought, opened, renewed, rolled over and lapses (R17 to R20), tiers over a cycle (R09),
//! shared buckets with caps, and what a bucket's units cost.
#![expect(clippy::expect_used, clippy::panic, reason = "a story that cannot be read or does not hold is a failed test")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod story;
#[allow(dead_code, reason = "each test file uses its part of it")]
mod world;

use story::check;

// --- Purchase ---

/// 7.99 of 10.00 are taken, 10 GiB opened for a month; data is paid by them, 3 MiB.
#[test]
fn a_purchase_takes_the_fee_and_opens_the_allowance() {
    check(
        "
        clock 2027-01-31T09:00:00Z
        timezone Europe/Berlin
        price any  0.01/MiB
        offer m fee 7.99 period P1M  data 10GiB
        account A  balance 10.00
        2027-01-31T09:00:00Z buy A m -> done
        A main 2.01
        A data#1.0000 10GiB
        A holds m 0 active
        cdrs A fee 7.99, opened 0.00
        10s  A/1 debit #0  1 want 3MiB -> granted 3MiB cost 0.00
        paid A data#1.0000 3MiB
    ",
    );
}

/// All or nothing (R21): 7.99 and 1.00 do not fit into 8.50.
#[test]
fn an_offer_that_cannot_be_paid_is_not_bought() {
    check(
        "
        price any  0.01/MiB
        offer m fee 7.99 setup 1.00 period P1M  data 10GiB
        account A  balance 8.50
        0s buy A m -> refused CreditLimitReached
        A main 8.50
        A without data#1.0000
        cdrs A
        1s topup A main 0.49
        2s buy A m -> done
        A main 0.00
        cdrs A topup -0.49, once 1.00, fee 7.99, opened 0.00
    ",
    );
}

/// A credit line pays fees too: up to the limit, equal is allowed (R26).
#[test]
fn fees_count_against_the_credit_limit() {
    check(
        "
        price any  0.01/MiB
        offer f fee 29.90 period P1M  data 30GiB
        account A  credit 29.90
        0s buy A f
        A spent 29.90
        1s buy A f -> refused CreditLimitReached
        A spent 29.90
    ",
    );
}

/// What pays for data only pays no fee; what pays for anything does.
#[test]
fn a_fee_is_of_no_service() {
    check(
        "
        price 10  0.01/MiB
        offer m fee 5.00 once period P7D  data 1GiB
        account A  balance 4.00
        bucket A bonus 9.00 for 10
        0s buy A m -> refused CreditLimitReached
        1s topup A main 1.00
        2s buy A m
        A main 0.00
        A bonus 9.00
        cdrs A topup -1.00, once 5.00, opened 0.00
    ",
    );
}

// --- Cycles: R20 ---

/// One month from 31 January 10:00 Berlin ends 28 February 10:00, the next 31 March 10:00 (summer time: 08:00Z).
#[test]
fn months_are_counted_from_the_purchase() {
    check(
        "
        timezone Europe/Berlin
        price any  0.01/MiB
        offer m fee 1.00 period P1M  data 1GiB
        account A  balance 10.00
        2027-01-31T09:00:00Z buy A m
        2027-02-28T08:59:59Z expire -> nothing
        A holds m 0 active
        2027-02-28T09:00:00Z expire -> nothing
        A holds m 1 active
        2027-03-31T07:59:59Z expire -> nothing
        A holds m 1 active
        2027-03-31T08:00:00Z expire -> nothing
        A holds m 2 active
        A main 7.00
    ",
    );
}

/// P1D over the spring clock change is 23 hours, PT24H is 24.
#[test]
fn a_day_is_the_wall_clocks_and_hours_are_hours() {
    check(
        "
        timezone Europe/Berlin
        price any  0.01/MiB
        offer day fee 1.00 once period P1D  data 1GiB
        offer hours fee 1.00 once period PT24H  more 1GiB
        account A  balance 10.00
        2027-03-27T11:00:00Z buy A day
        2027-03-27T11:00:00Z buy A hours
        2027-03-28T09:59:59Z expire -> nothing
        A holds day 0 active, hours 0 active
        2027-03-28T10:00:00Z expire -> nothing
        A holds hours 0 active
        2027-03-28T11:00:00Z expire -> nothing
        A holds
    ",
    );
}

/// What was not used lapses an hour after its end: 10 GiB less 1 GiB used. An offer's bucket is forgotten a day later.
#[test]
fn what_is_left_lapses() {
    check(
        "
        timezone Europe/Berlin
        price any  0.01/MiB
        offer m fee 1.00 once period P1M  data 10GiB
        account A  balance 10.00
        2027-01-10T12:00:00Z buy A m
        2027-01-20T12:00:00Z A/1 debit #0  1 want 1GiB -> granted 1GiB cost 0.00
        2027-02-10T12:59:59Z expire -> forgot A/1
        A data#1.0000 9GiB
        2027-02-10T13:00:00Z expire -> nothing
        A data#1.0000 0B
        cdrs A once 1.00, opened 0.00, 0.00, expired 0.00
        paid A data#1.0000 9GiB
        2027-02-11T13:00:00Z expire -> nothing
        A without data#1.0000
    ",
    );
}

/// Nothing that had ended pays, however late anybody looks: at 10:00 the offer has ended, and 2 MiB cost 0.02.
#[test]
fn a_command_finds_the_account_as_it_is_at_its_time() {
    check(
        "
        price any  0.01/MiB
        offer m fee 1.00 period P1D  data 1GiB
        account A  balance 2.50
        0s buy A m
        A main 1.50
        86400s A/1 debit #0  1 want 2MiB -> granted 2MiB cost 0.00
        paid A data#1.0001 2MiB
        A main 0.50
        172800s A/2 debit #0  1 want 2MiB -> granted 2MiB cost 0.02
        A holds m 1 unpaid
        A main 0.48
        cdrs A fee 1.00, opened 0.00, fee 1.00, opened 0.00, 0.00, expired 0.00, 0.02
    ",
    );
}

/// Three cycles were due: each at its own instant, in order.
#[test]
fn a_long_silence_is_caught_up_cycle_by_cycle() {
    check(
        "
        timezone Europe/Berlin
        price any  0.01/MiB
        offer m fee 2.00 period P1M  data 1GiB
        account A  balance 10.00
        2027-01-01T00:00:00Z buy A m
        2027-04-01T00:00:00Z expire -> nothing
        A holds m 3 active
        A main 2.00
        cdrs A fee 2.00, opened 0.00, fee 2.00, opened 0.00, expired 0.00, fee 2.00, opened 0.00, expired 0.00, fee 2.00, opened 0.00, expired 0.00
    ",
    );
}

// --- Renewal without money, cancellation ---

/// The fee cannot be paid: no new allowance. A top-up five days later begins the next cycle then.
#[test]
fn a_renewal_waits_for_money() {
    check(
        "
        timezone Europe/Berlin
        price any  0.01/MiB
        offer m fee 7.99 period P1M  data 10GiB
        account A  balance 8.00
        2027-01-10T12:00:00Z buy A m
        2027-02-10T12:00:00Z expire -> nothing
        A holds m 0 unpaid
        2027-02-15T12:00:00Z topup A main 10.00
        A holds m 1 active
        A main 2.02
        A data#1.0001 10GiB
        2027-03-15T11:59:59Z expire -> nothing
        A holds m 1 active
        2027-03-15T12:00:00Z expire -> nothing
        A holds m 1 unpaid
    ",
    );
}

/// Suspended accounts are not charged for what they cannot use; back again, the cycle begins then.
#[test]
fn a_suspended_account_renews_nothing() {
    check(
        "
        price any  0.01/MiB
        offer m fee 1.00 period P1D  data 1GiB
        account A  balance 5.00
        0s buy A m
        10s suspend A
        90000s expire -> nothing
        A holds m 0 unpaid
        A main 4.00
        100000s activate A
        A holds m 1 active
        A main 3.00
    ",
    );
}

#[test]
fn a_cancelled_offer_ends_with_its_cycle() {
    check(
        "
        price any  0.01/MiB
        offer m fee 1.00 period P1D  data 1GiB
        account A  balance 5.00
        0s buy A m
        10s cancel A 1
        A holds m 0 cancelled
        20s A/1 debit #0  1 want 1MiB -> granted 1MiB cost 0.00
        86400s expire -> nothing
        A holds
        A main 4.00
        86401s cancel A 1 -> refused Invalid(\"the account has no such subscription\")
    ",
    );
}

/// No cycle would ever end it: it is over at once, what it opened stays, and it may be bought again.
#[test]
fn a_cancelled_offer_without_a_period_ends_at_once() {
    check(
        "
        price any  0.01/MiB
        offer m setup 1.00 tariff t  data 1GiB
        account A  balance 5.00
        0s buy A m
        10s cancel A 1
        A holds
        A data#1.0000 1GiB
        20s buy A m -> done
        A holds m 0 active
        A main 3.00
    ",
    );
}

/// The same main offer is not bought twice; an extra one is, with a bucket of its own.
#[test]
fn extras_can_be_bought_again() {
    check(
        "
        price any  0.01/MiB
        offer main fee 1.00 period P1M tariff t  data 1GiB
        offer extra fee 1.00 once period P1D  more 1GiB
        account A  balance 5.00
        0s buy A main
        1s buy A main -> refused Invalid(\"the subscriber holds this offer already\")
        2s buy A extra
        3s buy A extra
        A holds main 0 active, extra 0 active, extra 0 active
        A more#2.0000 1GiB
        A more#3.0000 1GiB
        A main 2.00
    ",
    );
}

// --- Rollover ---

/// 10 GiB, 4 used: 5 of the 6 left roll over, 1 lapses. They pay first, and lapse after one more cycle.
#[test]
fn what_rolls_over_is_used_first_and_only_once_more() {
    check(
        "
        price any  0.01/MiB
        offer m fee 1.00 period P1D  data 10GiB roll 5GiB 1
        account A  balance 10.00
        0s buy A m
        10s A/1 debit #0  1 want 4GiB -> granted 4GiB cost 0.00
        86400s expire -> nothing
        A data#1.0000 5GiB
        A data#1.0001 10GiB
        paid A data#1.0001 -10737418240B
        86410s A/2 debit #0  1 want 6GiB -> granted 6GiB cost 0.00
        paid A data#1.0000 5GiB, data#1.0001 1GiB
        172800s expire -> forgot A/1
        A data#1.0000 0B
        A data#1.0001 5GiB
        A data#1.0002 10GiB
    ",
    );
}

/// What a session holds when the cycle ends stays its own; the cap is of what is left besides.
#[test]
fn what_a_session_holds_rolls_over_with_it() {
    check(
        "
        price any  0.01/MiB  validity 86400s
        offer m fee 1.00 period P1D  data 10GiB roll 2GiB 1
        account A  balance 10.00
        0s buy A m
        80000s A/1 initial #0 1 want 3GiB -> granted 3GiB valid 6400s
        86400s expire -> nothing
        A data#1.0000 3GiB
        A data#1.0000 reserved 3GiB
        86410s A/1 update #1 1 used 3GiB want 1GiB -> granted 1GiB
        A data#1.0000 0B
        A data#1.0001 reserved 1GiB
    ",
    );
}

/// Usage of before the edge, reported after it, is paid by the bucket that was valid then (R17, R41).
#[test]
fn a_late_report_is_paid_by_the_bucket_of_its_time() {
    check(
        "
        price any  0.01/MiB
        offer m fee 1.00 period P1D  data 1GiB
        account A  balance 10.00
        0s buy A m
        86000s A/1 initial #0 1 want 100MiB -> granted 100MiB valid 400s
        86405s A/1 update #1 1 used 100MiB want 100MiB -> granted 100MiB
        paid A data#1.0000 100MiB
        A data#1.0001 reserved 100MiB
        86500s A/1 update #2 1 used 50MiB -> settled
        paid A data#1.0001 50MiB
    ",
    );
}

// --- Bought at first use ---

/// 4.90 when it is first used abroad, for 24 hours; when its 500 MiB are gone 0.50 a MiB, and the next day another one.
#[test]
fn a_pass_is_bought_when_it_is_first_used() {
    check(
        "
        networks world 310 311
        price any  0.01/MiB
        price any  0.50/MiB  visited world  buys day
        offer day fee 4.90 once period PT24H  day 500MiB
        account A  balance 20.00
        0s A/0 debit #0 plmn=26201 1 want 1MiB -> granted 1MiB cost 0.01
        10s A/1 initial #0 plmn=31026 1 want 400MiB -> granted 400MiB
        A main 15.09
        A holds day 0 active
        20s A/1 update #1 plmn=31026 1 used 400MiB want 110MiB -> granted 110MiB
        A main reserved 5.00
        30s A/1 terminate #2 plmn=31026 1 used 110MiB -> settled
        cdrs A 0.01, once 4.90, opened 0.00, 0.00, 5.00
        A main 10.09
        86410s A/2 initial #0 plmn=31026 1 want 10MiB -> granted 10MiB
        A main 5.19
        A holds day 0 active
    ",
    );
}

/// Without the money for the pass the price is charged as it is; a one-time event buys it, too.
#[test]
fn who_cannot_pay_the_pass_pays_the_price() {
    check(
        "
        price any  0.50/MiB  buys day
        offer day fee 4.90 once period PT24H  day 500MiB
        account A  balance 4.00
        account B  balance 5.00
        0s A/1 debit #0 1 want 2MiB -> granted 2MiB cost 1.00
        A main 3.00
        0s B/1 debit #0 1 want 2MiB -> granted 2MiB cost 0.00
        B main 0.10
        cdrs B once 4.90, opened 0.00, 0.00
    ",
    );
}

// --- Shared buckets ---

/// 40 GiB for all, at most 15 GiB for each: M's 16th costs money, the owner's does not.
#[test]
fn a_member_uses_a_shared_bucket_up_to_its_cap() {
    check(
        "
        price any  1.00/GiB
        offer family fee 39.90 period P1M  data 40GiB cap 15GiB
        account A  balance 100.00
        member A M
        0s buy A family
        1s M/1 debit #0 1 want 10GiB -> granted 10GiB cost 0.00
        2s M/2 debit #0 1 want 6GiB -> granted 6GiB cost 1.00
        paid A data#1.0000 5GiB, main 1.00
        M counter data#1.0000 15GiB
        3s A/1 debit #0 1 want 15GiB -> granted 15GiB cost 0.00
        A data#1.0000 10GiB
        4s M/3 initial #0 1 want 1GiB -> granted 1GiB
        A main reserved 1.00
    ",
    );
}

/// The cap is of one cycle: with the next allowance it begins anew.
#[test]
fn a_members_cap_begins_anew_with_the_next_cycle() {
    check(
        "
        price any  1.00/GiB
        offer family fee 1.00 period P1D  data 40GiB cap 15GiB
        account A  balance 100.00
        member A M
        0s buy A family
        1s M/1 debit #0 1 want 15GiB -> granted 15GiB cost 0.00
        86401s M/2 debit #0 1 want 15GiB -> granted 15GiB cost 0.00
        A data#1.0001 25GiB
    ",
    );
}

// --- Pools: R42 ---

/// Each would charge what is used with the other.
#[test]
fn two_pools_of_one_counter_are_not_sold() {
    check(
        "
        price any  free  pooled iot
        offer pool fee 1.00 each period P1M pool iot 5MiB 0.50/MiB
        offer more fee 1.00 each period P1M pool iot 50MiB 0.50/MiB
        offer other fee 1.00 each period P1M pool meters 50MiB 0.50/MiB
        account A  balance 10.00
        0s buy A pool
        1s buy A more -> refused Invalid
        2s buy A other
        A holds pool 0 active, other 0 active
        A main 8.00
    ",
    );
}

/// Three cards at 1.20 and 5 MiB each; together they use 17 MiB and an octet more: three started MiB of 0.50 at the end.
#[test]
fn a_pool_is_charged_when_its_cycle_ends() {
    check(
        "
        price any  free  pooled iot
        offer pool fee 1.20 each period P1M pool iot 5MiB 0.50/MiB
        account A  balance 20.00
        member A M
        member A N
        0s buy A pool
        A main 16.40
        10s M/1 debit #0 1 want 2MiB -> granted 2MiB cost 0.00
        20s N/1 debit #0 1 want 15MiB -> granted 15MiB cost 0.00
        30s A/1 debit #0 1 want 1B -> granted 1B cost 0.00
        A main 16.40
        2678400s expire -> forgot M/1 / forgot N/1 / forgot A/1
        cdrs A fee 3.60, 0.00, 0.00, 0.00, once 1.50, fee 3.60
        A main 11.30
    ",
    );
}

/// Within what the members bring nothing is due; a member that comes later brings its own. The charge is not refused.
#[test]
fn members_bring_their_allowance_and_overage_is_always_charged() {
    check(
        "
        price any  free  pooled iot
        offer pool fee 1.00 each period P1D pool iot 5MiB 0.50/MiB
        account A  balance 2.00
        0s buy A pool
        10s A/1 debit #0 1 want 5MiB -> granted 5MiB cost 0.00
        86400s expire -> nothing
        A main 0.00
        86410s A/2 debit #0 1 want 7MiB -> granted 7MiB cost 0.00
        172800s expire -> forgot A/1
        A main -1.00
        A holds pool 1 unpaid
    ",
    );
}

// --- What was paid for it ---

/// 10 GiB for 7.99: 3 GiB of them cost 2.397, the next 3 the same, the last 4 what is left, 3.196; in sum 7.99.
#[test]
fn units_carry_what_was_paid_for_them() {
    check(
        "
        price any  0.01/MiB
        offer m fee 7.99 period P1M  data 10GiB
        account A  balance 8.00
        0s buy A m
        cost A 7.99
        1s A/1 debit #0 1 want 3GiB -> granted 3GiB cost 0.00
        cost A -2.397
        2s A/2 debit #0 1 want 3GiB -> granted 3GiB cost 0.00
        cost A -2.397
        3s A/3 debit #0 1 want 4GiB -> granted 4GiB cost 0.00
        cost A -3.196
    ",
    );
}

/// Gifts cost nothing; paid allowances share the fee by their stand-alone prices, 19.99 over 9, 12 and 4: 7.20, 9.59, 3.20.
#[test]
fn the_fee_is_shared_by_stand_alone_prices() {
    check(
        "
        price any  0.01/MiB
        offer all fee 19.99 period P28D  data 20GiB ssp 9.00  voice 18000s ssp 12.00  sms 100ev ssp 4.00  gift 1GiB granted
        account A  balance 20.00
        0s buy A all
        cost A 7.20, 9.59, 3.20, 0.00
    ",
    );
}

/// R29: what a refund gives back costs again what it cost.
#[test]
fn a_refund_gives_the_cost_back() {
    check(
        "
        price any  0.01/MiB
        offer m fee 8.00 period P1M  data 8GiB
        account A  balance 8.00
        0s buy A m
        1s A/1 debit #0 1 want 1GiB -> granted 1GiB cost 0.00
        cost A -1.00
        2s A/r refund A/1 #1 -> granted 0.00EUR cost 0.00
        cost A 1.00
        A data#1.0000 8GiB
    ",
    );
}

/// What lapses takes its cost with it: 8 GiB for 8.00, 3 used.
#[test]
fn breakage_is_known_when_it_lapses() {
    check(
        "
        price any  0.01/MiB
        offer m fee 8.00 once period P1D  data 8GiB
        account A  balance 8.00
        0s buy A m
        1s A/1 debit #0 1 want 3GiB -> granted 3GiB cost 0.00
        90000s expire -> forgot A/1
        cost A -5.00
    ",
    );
}

// --- Tiers over a cycle: R09 ---

/// 100 minutes free in a month, then 0.10: sessions count together, and the new month begins at 0.
#[test]
fn tiers_of_a_cycle_go_on_over_sessions() {
    check(
        "
        timezone Europe/Berlin
        price any  0.00/60s<6000s 0.10/60s  cycle voice  pulse 60/60
        account A  balance 10.00
        2027-01-10T12:00:00Z A/1 debit #0 1 want 5400s -> granted 5400s cost 0.00
        2027-01-20T12:00:00Z A/2 debit #0 1 want 900s -> granted 900s cost 0.50
        A counter voice 6300s
        2027-01-31T22:59:00Z A/3 debit #0 1 want 60s -> granted 60s cost 0.10
        2027-01-31T23:00:00Z A/4 debit #0 1 want 60s -> granted 60s cost 0.00
        A counter voice 60s
    ",
    );
}

/// R12: a call over the turn of the month: two minutes of January at 0.10, three of February free.
#[test]
fn a_pulse_counts_in_the_cycle_it_starts_in() {
    check(
        "
        timezone Europe/Berlin
        price any  0.00/60s<6000s 0.10/60s  cycle voice  pulse 60/60
        account A  balance 10.00
        2027-01-10T12:00:00Z A/1 debit #0 1 want 6000s -> granted 6000s cost 0.00
        2027-01-31T22:58:00Z A/2 debit #0 1 want 300s -> granted 300s cost 0.20
        A counter voice 180s
    ",
    );
}

/// The same call in reports costs the same (R04), also when the last one comes after the turn.
#[test]
fn reports_do_not_move_the_cycle() {
    check(
        "
        timezone Europe/Berlin
        price any  0.00/60s<6000s 0.10/60s  cycle voice  pulse 60/60
        account A  balance 10.00
        2027-01-10T12:00:00Z A/1 debit #0 1 want 6000s -> granted 6000s cost 0.00
        2027-01-31T22:58:00Z A/2 initial #0 1 want 100s -> granted 100s valid 120s
        2027-01-31T22:59:30Z A/2 update #1 1 used 90s want 300s -> granted 300s
        2027-01-31T23:03:00Z A/2 terminate #2 1 used 210s -> settled
        cdrs A 0.00, 0.20, 0.00
        A counter voice 180s
    ",
    );
}

/// The account's own cycle, from the 15th: the same counter turns over then.
#[test]
fn an_accounts_cycle_begins_on_its_day() {
    check(
        "
        timezone Europe/Berlin
        price any  0.00/MiB<10MiB 1.00/MiB  cycle data
        account A  balance 100.00
        cycle A 2027-01-14T23:00:00Z P1M
        2027-02-14T22:00:00Z A/1 debit #0 1 want 12MiB -> granted 12MiB cost 2.00
        2027-02-14T23:00:00Z A/2 debit #0 1 want 12MiB -> granted 12MiB cost 2.00
        A counter data 12MiB
    ",
    );
}

/// R09: with concurrent sessions each report prices its increase from the counter's value.
#[test]
fn concurrent_sessions_share_the_counter() {
    check(
        "
        price any  0.00/MiB<10MiB 1.00/MiB  cycle data
        account A  balance 100.00
        0s A/1 initial #0 1 want 8MiB -> granted 8MiB
        0s A/2 initial #0 1 want 8MiB -> granted 8MiB
        A reserved 0.00
        1s A/1 terminate #1 1 used 8MiB -> settled
        2s A/2 terminate #1 1 used 8MiB -> settled
        cdrs A 0.00, 6.00
    ",
    );
}

/// For volume only what money pays counts; for time, what a bundle pays, too (R09).
#[test]
fn what_bundles_pay_counts_for_time_and_not_for_volume() {
    check(
        "
        price 1  0.00/s<100s 0.01/s  cycle voice
        price 2  0.00/MiB<10MiB 1.00/MiB  cycle data
        account A  balance 10.00
        bucket A minutes 60s
        bucket A volume 5MiB
        0s A/1 debit #0 1 want 150s -> granted 150s cost 0.50
        A counter voice 150s
        1s A/2 debit #0 2 want 15MiB -> granted 15MiB cost 0.00
        A counter data 10MiB
    ",
    );
}

/// Each member of an account has a counter of its own.
#[test]
fn members_count_apart() {
    check(
        "
        price any  0.00/MiB<10MiB 1.00/MiB  cycle data
        account A  balance 100.00
        member A M
        0s A/1 debit #0 1 want 10MiB -> granted 10MiB cost 0.00
        1s M/1 debit #0 1 want 10MiB -> granted 10MiB cost 0.00
        2s M/2 debit #0 1 want 1MiB -> granted 1MiB cost 1.00
    ",
    );
}

/// A grant that money cannot pay beyond the free tier is cut there.
#[test]
fn a_grant_knows_where_the_cycles_tier_ends() {
    check(
        "
        price any  0.00/MiB<10MiB 1.00/MiB  cycle data
        account A  balance 3.00
        0s A/1 debit #0 1 want 8MiB -> granted 8MiB cost 0.00
        1s A/2 initial #0 1 want 20MiB -> granted 5MiB final
        A reserved 3.00
    ",
    );
}

/// Time held before a purchase with an expiry: what a person paid in lapses, too, and the books say so.
#[test]
fn money_with_an_end_lapses() {
    check(
        "
        price any  0.01/MiB
        account A  balance 1.00
        bucket A bonus 5.00 priority 1 until 1000s
        10s A/1 debit #0 1 want 100MiB -> granted 100MiB cost 1.00
        4600s expire -> nothing
        A bonus 0.00
        cdrs A 1.00, expired 4.00
        4700s A/2 debit #0 1 want 50MiB -> granted 50MiB cost 0.50
        paid A main 0.50
    ",
    );
}

/// A CDR says in which billing cycle of its account the usage began, by the wall clock: 15 January 00:00 in Berlin, then 15
/// February; a late report of yesterday is of yesterday's. An account without a cycle has none.
#[test]
fn a_cdr_names_the_billing_cycle() {
    check(
        "
        timezone Europe/Berlin
        price any  0.10/ev
        account A  balance 5.00
        account B  balance 5.00
        cycle A 2027-01-14T23:00:00Z P1M
        2027-02-14T22:59:59Z A/1 debit #0  1 want 1ev -> granted 1ev cost 0.10
        2027-02-14T23:00:00Z A/2 debit #0  1 want 2ev -> granted 2ev cost 0.20
        2027-02-15T10:00:00Z A/3 record #0 at=2027-02-14T10:00:00Z  1 used 3ev -> settled cost 0.30
        2027-02-15T10:00:00Z B/1 debit #0  1 want 1ev -> granted 1ev cost 0.10
        billed A 0.10 2027-01-14T23:00, 0.20 2027-02-14T23:00, 0.30 2027-01-14T23:00
        billed B 0.10 never
    ",
    );
}
