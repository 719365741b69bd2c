//! Stories of thresholds: when somebody is told that an allowance is nearly used, that a month got dear, that money runs out.
#![expect(clippy::expect_used, clippy::panic, reason = "a story that cannot be read or does not hold is a failed test")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod story;
#[allow(dead_code, reason = "each test file uses its part of it")]
mod world;

use story::check;

/// 10 MiB, told at 50 % and 80 %: 5 MiB is half, to the octet. Nothing is said twice, and nothing by who repeats.
#[test]
fn an_allowance_is_nearly_used() {
    check(
        "
        price any  0.01/MiB
        offer m fee 1.00 period P1M  data 10MiB notify 50,80,100
        account A  balance 5.00
        0s buy A m
        1s A/1 debit #0  1 want 4MiB -> granted 4MiB cost 0.00
        crossed A
        2s A/2 debit #0  1 want 1MiB -> granted 1MiB cost 0.00
        2s A/2 debit #0  1 want 1MiB -> granted 1MiB cost 0.00 again
        crossed A data#1.0000 reaches 50% at 5MiB
        3s A/3 debit #0  1 want 2MiB -> granted 2MiB cost 0.00
        crossed A data#1.0000 reaches 50% at 5MiB
        4s A/4 debit #0  1 want 3MiB -> granted 3MiB cost 0.00
        crossed A data#1.0000 reaches 50% at 5MiB, data#1.0000 reaches 80% at 10MiB, data#1.0000 reaches 100% at 10MiB
    ",
    );
}

/// Beyond the allowance money pays: 3 MiB of 2 are one at 0.01, and the allowance is used up once.
#[test]
fn what_is_beyond_an_allowance_crosses_nothing_more() {
    check(
        "
        price any  0.01/MiB
        offer m fee 1.00 period P1M  data 2MiB notify 100
        account A  balance 5.00
        0s buy A m
        1s A/1 debit #0  1 want 3MiB -> granted 3MiB cost 0.01
        2s A/2 debit #0  1 want 1MiB -> granted 1MiB cost 0.01
        crossed A data#1.0000 reaches 100% at 2MiB
    ",
    );
}

/// Given back, the allowance is not used any more, and may be again. What is adjusted counts like what is used: it is not there.
#[test]
fn what_goes_back_crosses_the_other_way() {
    check(
        "
        price any  0.01/ev
        offer m fee 1.00 period P1M  sms 10ev notify 80
        account A  balance 5.00
        0s buy A m
        1s A/1 debit #0  1 want 8ev -> granted 8ev cost 0.00
        2s A/2 refund A/1 #0  1 want 8ev -> granted 8ev cost 0.00
        3s adjust A sms#1.0000 -9ev
        crossed A sms#1.0000 reaches 80% at 8ev, sms#1.0000 leaves 80% at 0ev, sms#1.0000 reaches 80% at 9ev
    ",
    );
}

/// Each cycle has a bucket of its own; what lapses is not used.
#[test]
fn every_cycle_begins_anew_and_what_lapses_is_not_used() {
    check(
        "
        clock 2027-01-01T00:00:00Z
        price any  0.01/MiB
        offer m fee 1.00 period P1M  data 10MiB notify 50
        account A  balance 5.00
        2027-01-01T00:00:00Z buy A m
        2027-01-02T00:00:00Z A/1 debit #0  1 want 6MiB -> granted 6MiB cost 0.00
        2027-02-01T01:00:00Z expire -> forgot A/1
        2027-02-02T00:00:00Z A/2 debit #0  1 want 5MiB -> granted 5MiB cost 0.00
        crossed A data#1.0000 reaches 50% at 6MiB, data#1.0001 reaches 50% at 5MiB
    ",
    );
}

/// 0.10 an event: the 20th costs the second euro. Fees count for nothing, 1.00 was paid; refunds take back. In February it begins anew.
#[test]
fn a_month_gets_dear() {
    check(
        "
        clock 2027-01-01T00:00:00Z
        price any  0.10/ev
        offer m fee 1.00 period P1M spend 1.00,2.00
        account A  balance 20.00
        2027-01-01T00:00:00Z buy A m
        crossed A
        2027-01-02T00:00:00Z A/1 debit #0  1 want 9ev -> granted 9ev cost 0.90
        crossed A
        2027-01-03T00:00:00Z A/2 debit #0  1 want 11ev -> granted 11ev cost 1.10
        crossed A spend reaches 1.00 at 2.00, spend reaches 2.00 at 2.00
        2027-01-04T00:00:00Z A/3 refund A/2 #0  1 want 1ev -> granted 1ev cost 0.10
        2027-01-05T00:00:00Z A/4 debit #0  1 want 1ev -> granted 1ev cost 0.10
        2027-02-01T00:00:00Z expire -> forgot A/1 / forgot A/2 / forgot A/3 / forgot A/4
        2027-02-02T00:00:00Z A/5 debit #0  1 want 10ev -> granted 10ev cost 1.00
        crossed A spend reaches 1.00 at 2.00, spend reaches 2.00 at 2.00, spend leaves 2.00 at 1.90, spend reaches 2.00 at 2.00, spend reaches 1.00 at 1.00
    ",
    );
}

/// Usage of January that is told in February costs February nothing.
#[test]
fn late_usage_is_not_of_the_running_cycle() {
    check(
        "
        clock 2027-01-01T00:00:00Z
        price any  0.10/ev
        offer m fee 0.50 period P1M spend 1.00
        account A  balance 20.00
        2027-01-01T00:00:00Z buy A m
        2027-02-01T00:00:00Z expire -> nothing
        2027-02-02T00:00:00Z A/1 record #0 at=2027-01-31T12:00:00Z  1 used 10ev -> settled cost 1.00
        crossed A
        2027-02-03T00:00:00Z A/2 record #0 at=2027-02-01T12:00:00Z  1 used 10ev -> settled cost 1.00
        crossed A spend reaches 1.00 at 1.00
    ",
    );
}

/// Exactly 2.00 is not below 2.00. Fees count, money paid in brings it back.
#[test]
fn money_runs_out() {
    check(
        "
        price any  0.10/ev
        offer m fee 3.00 period P1M low 2.00
        account A  balance 5.00
        0s buy A m
        A main 2.00
        crossed A
        1s A/1 debit #0  1 want 1ev -> granted 1ev cost 0.10
        crossed A balance reaches 2.00 at 1.90
        2s A/2 debit #0  1 want 1ev -> granted 1ev cost 0.10
        3s topup A main 0.20
        crossed A balance reaches 2.00 at 1.90, balance leaves 2.00 at 2.00
    ",
    );
}

/// A credit line is money that can be spent: 5.00 of it, less 3.50.
#[test]
fn a_credit_line_runs_out() {
    check(
        "
        price any  0.50/ev
        offer m fee 0.00 period P1M low 2.00
        account A  credit 5.00
        0s buy A m
        1s A/1 debit #0  1 want 6ev -> granted 6ev cost 3.00
        crossed A
        2s A/2 debit #0  1 want 1ev -> granted 1ev cost 0.50
        crossed A balance reaches 2.00 at 1.50
    ",
    );
}

/// A session's reports cross as they come; what is only held crosses nothing.
#[test]
fn a_session_crosses_with_its_reports() {
    check(
        "
        price any  0.10/MiB
        offer m fee 0.00 period P1M spend 0.30
        account A  balance 1.00
        0s buy A m
        1s A/1 initial #0  1 want 5MiB -> granted 5MiB
        crossed A
        2s A/1 update #1  1 used 2MiB want 5MiB -> granted 5MiB
        crossed A
        3s A/1 terminate #2  1 used 1MiB -> settled
        crossed A spend reaches 0.30 at 0.30
    ",
    );
}

/// Who gives money away may run low; who gets it no more.
#[test]
fn a_transfer_crosses_on_both_sides() {
    check(
        "
        price any  0.10/ev
        offer m fee 0.00 period P1M low 2.00
        account A  balance 3.00
        account B  balance 1.00
        0s buy A m
        0s buy B m
        1s transfer A main 1.50 B main
        crossed A balance reaches 2.00 at 1.50
        crossed B balance leaves 2.00 at 2.50
    ",
    );
}

/// Without an offer that says thresholds nothing is noted, also beside accounts that have one.
#[test]
fn who_has_nothing_watched_is_told_nothing() {
    check(
        "
        price any  0.10/ev
        offer m fee 0.00 period P1M low 2.00
        account A  balance 3.00
        account B  balance 3.00
        0s buy A m
        1s B/1 debit #0  1 want 20ev -> granted 20ev cost 2.00
        crossed B
        crossed A
    ",
    );
}

/// 0.99, and one cent more.
#[test]
fn the_last_cent_reaches_it() {
    check(
        "
        price any  0.01/ev
        offer m fee 0.00 period P1M spend 1.00
        account A  balance 5.00
        0s buy A m
        1s A/1 debit #0  1 want 99ev -> granted 99ev cost 0.99
        crossed A
        2s A/2 debit #0  1 want 1ev -> granted 1ev cost 0.01
        crossed A spend reaches 1.00 at 1.00
    ",
    );
}

/// Up by the lower one first, down by the higher one first: whoever keeps the last word has the right one.
#[test]
fn they_are_told_in_the_order_in_which_the_value_comes_to_them() {
    check(
        "
        price any  1.00/ev
        offer m fee 0.00 period P1M spend 1.00,2.00 low 7.00,8.00
        account A  balance 9.00
        0s buy A m
        1s A/1 debit #0  1 want 3ev -> granted 3ev cost 3.00
        crossed A balance reaches 8.00 at 6.00, balance reaches 7.00 at 6.00, spend reaches 1.00 at 3.00, spend reaches 2.00 at 3.00
        2s A/2 refund A/1 #0  1 want 3ev -> granted 3ev cost 3.00
        crossed A balance reaches 8.00 at 6.00, balance reaches 7.00 at 6.00, spend reaches 1.00 at 3.00, spend reaches 2.00 at 3.00, balance leaves 7.00 at 9.00, balance leaves 8.00 at 9.00, spend leaves 2.00 at 0.00, spend leaves 1.00 at 0.00
    ",
    );
}

/// Mother and child of one account: 0.60 each, and 3 of the 4 MiB that they share. It is the account's value that counts.
#[test]
fn what_members_use_is_of_one_account() {
    check(
        "
        price 1  0.10/ev
        price 2  0.10/MiB
        offer m fee 0.00 period P1M  data 4MiB notify 50 spend 1.00
        account A  balance 5.00
        member A M
        0s buy A m
        1s A/1 debit #0  1 want 6ev -> granted 6ev cost 0.60
        2s A/2 debit #0  2 want 1MiB -> granted 1MiB cost 0.00
        crossed A
        3s M/1 debit #0  1 want 6ev -> granted 6ev cost 0.60
        4s M/2 debit #0  2 want 2MiB -> granted 2MiB cost 0.00
        crossed A spend reaches 1.00 at 1.20, data#1.0000 reaches 50% at 3MiB
    ",
    );
}

/// An employer pays in business hours: 2 of the 5 minutes, 0.10. The rest is 0.27 of one's own. Each has its own month.
#[test]
fn what_a_sponsor_pays_is_of_its_own_month() {
    check(
        "
        timezone Europe/Berlin
        window business 08:00-18:00 mon tue wed thu fri
        price any  0.09/60s in business 0.05/60s  pulse 60/60
        offer own fee 0.00 period P1M spend 0.27,0.28
        offer firm fee 0.00 period P1M spend 0.10,0.11
        account A  balance 10.00
        account B  credit 100.00
        sponsor A B business
        2027-01-08T16:00:00Z buy A own
        2027-01-08T16:00:00Z buy B firm
        2027-01-08T16:58:00Z A/1 initial #0  1 want 120s -> granted 120s
        2027-01-08T17:03:00Z A/1 terminate #1  1 used 300s -> settled
        crossed A spend reaches 0.27 at 0.27
        crossed B spend reaches 0.10 at 0.10
    ",
    );
}

/// The last 5 MiB are granted and cross nothing; used, they do.
#[test]
fn final_units_cross_when_they_are_used() {
    check(
        "
        price 1  0.01/MiB
        offer m fee 0.00 period P1M low 0.03
        account A  balance 0.05
        0s   buy A m
        1s   A/1 initial #0    1 want 10MiB -> granted 5MiB final
        crossed A
        90s  A/1 terminate #1  1 used 5MiB  -> settled
        crossed A balance reaches 0.03 at 0.00
    ",
    );
}

/// 3.00 that serve until 100 s, and 1.00 for good: an hour after the gift's end it lapses, and less than 2.00 is left.
#[test]
fn money_that_lapses_runs_out_too() {
    check(
        "
        price any  0.10/ev
        offer m fee 0.00 period P1M low 2.00
        account A  balance 1.00
        0s buy A m
        0s topup A gift 3.00 until 100s
        3699s expire -> nothing
        crossed A balance leaves 2.00 at 4.00
        3700s expire -> nothing
        crossed A balance leaves 2.00 at 4.00, balance reaches 2.00 at 1.00
    ",
    );
}

/// 10 events at 0.10 should have cost 0.08: 0.20 goes back, 0.80 is below 1.00. At 0.12 it is 1.20.
#[test]
fn what_is_rated_again_crosses_in_its_cycle() {
    check(
        "
        price any  0.10/ev
        offer m fee 0.00 period P1M spend 1.00
        account A  balance 5.00
        0s buy A m
        1s A/1 debit #0  1 want 10ev -> granted 10ev cost 1.00
        price any  0.08/ev
        9s correct -> A -0.20
        price any  0.12/ev
        10s correct -> A 0.40
        crossed A spend reaches 1.00 at 1.00, spend leaves 1.00 at 0.80, spend reaches 1.00 at 1.20
    ",
    );
}

/// In February 0.90 of January goes back, half by the network and half by a person: February's 1.00 stays 1.00.
#[test]
fn what_goes_back_of_a_month_that_is_over_leaves_this_one() {
    check(
        "
        price any  0.10/ev
        offer m fee 0.00 period P1M spend 0.95,1.05
        account A  balance 20.00
        2027-01-01T00:00:00Z buy A m
        2027-01-31T12:00:00Z A/1 debit #0  1 want 9ev -> granted 9ev cost 0.90
        2027-02-01T01:00:00Z A/2 debit #0  1 want 10ev -> granted 10ev cost 1.00
        crossed A spend reaches 0.95 at 1.00
        2027-02-01T02:00:00Z A/3 refund A/1 #0  1 want 5ev -> granted 5ev cost 0.50
        2027-02-01T03:00:00Z give back 1 all -> done
        2027-02-01T04:00:00Z A/4 debit #0  1 want 1ev -> granted 1ev cost 0.10
        crossed A spend reaches 0.95 at 1.00, spend reaches 1.05 at 1.10
    ",
    );
}

/// The fee was never part of what usage cost: given back, that stays 1.00.
#[test]
fn a_fee_that_goes_back_is_no_usage() {
    check(
        "
        price any  0.10/ev
        offer m fee 3.00 period P1M spend 1.00
        account A  balance 20.00
        0s buy A m
        1s A/1 debit #0  1 want 10ev -> granted 10ev cost 1.00
        2s give back 1 all -> done
        cdrs A fee 3.00, 1.00, refund -3.00
        crossed A spend reaches 1.00 at 1.00
    ",
    );
}

/// 6 of 10 GiB are used, 4 left; 1 of them lapses, 3 roll over. That is not 70 % used, and using up the rest says nothing more: the month
/// of that bucket is over.
#[test]
fn what_rolled_over_is_watched_no_more() {
    check(
        "
        price any  0.01/MiB
        offer m fee 1.00 period P1D  data 10GiB notify 50,70,90 roll 3GiB 1
        account A  balance 10.00
        0s buy A m
        10s A/1 debit #0  1 want 6GiB -> granted 6GiB cost 0.00
        86400s expire -> nothing
        A data#1.0000 3GiB
        86410s A/2 debit #0  1 want 3GiB -> granted 3GiB cost 0.00
        crossed A data#1.0000 reaches 50% at 6GiB
        86420s A/3 debit #0  1 want 5GiB -> granted 5GiB cost 0.00
        crossed A data#1.0000 reaches 50% at 6GiB, data#1.0001 reaches 50% at 5GiB
    ",
    );
}

/// The next month cannot be paid: what is paid in while the offer waits is told all the same.
#[test]
fn an_offer_that_waits_for_money_still_watches_it() {
    check(
        "
        price any  0.10/ev
        offer m fee 3.00 period P1M low 2.00
        account A  balance 5.50
        2027-01-10T12:00:00Z buy A m
        2027-01-11T12:00:00Z A/1 debit #0  1 want 6ev -> granted 6ev cost 0.60
        2027-02-10T12:00:00Z expire -> forgot A/1
        A holds m 0 unpaid
        2027-02-15T12:00:00Z topup A main 0.50
        crossed A balance reaches 2.00 at 1.90, balance leaves 2.00 at 2.40
        2027-02-16T12:00:00Z topup A main 2.60
        A holds m 1 active
        A main 2.00
        crossed A balance reaches 2.00 at 1.90, balance leaves 2.00 at 2.40
    ",
    );
}

/// Usage of January that was told in February was never February's: when it goes back, February's 1.00 stays.
#[test]
fn late_usage_that_goes_back_leaves_this_month() {
    check(
        "
        price any  0.10/ev
        offer m fee 0.00 period P1M spend 1.00
        account A  balance 20.00
        2027-01-01T00:00:00Z buy A m
        2027-02-02T00:00:00Z A/1 record #0 at=2027-01-31T12:00:00Z  1 used 10ev -> settled cost 1.00
        2027-02-02T01:00:00Z A/2 debit #0  1 want 10ev -> granted 10ev cost 1.00
        2027-02-02T02:00:00Z A/3 refund A/1 #0  1 want 10ev -> granted 10ev cost 1.00
        crossed A spend reaches 1.00 at 1.00
    ",
    );
}
