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
