//! Stories of usage that is rated again by a corrected version of its tariff: what it costs more or less is charged or given
//! back by records that name the original (R32).
#![expect(clippy::expect_used, clippy::panic, reason = "a story that cannot be read or does not hold is a failed test")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod story;
#[allow(dead_code, reason = "each test file uses its part of it")]
mod world;

use story::check;

/// 0.10 was wrong, 0.08 is right: 3 events give 0.06 back, to where they were paid from. A second time there is nothing left.
#[test]
fn what_was_too_much_goes_back() {
    check(
        "
        price any  0.10/ev
        account A  balance 1.00
        0s A/1 debit #0  1 want 3ev -> granted 3ev cost 0.30
        price any  0.08/ev
        9s correct -> A -0.06
        cdrs A 0.30, again -0.06 of 1
        paid A main -0.06
        A main 0.76
        10s correct -> nothing
        price any  0.09/ev
        11s correct -> A 0.03
        cdrs A 0.30, again -0.06 of 1, again 0.03 of 1
        A main 0.73
    ",
    );
}

/// What was too little is charged, also beyond what there is (R23).
#[test]
fn what_was_too_little_is_charged() {
    check(
        "
        price any  0.10/ev
        account A  balance 0.35
        0s A/1 debit #0  1 want 3ev -> granted 3ev cost 0.30
        price any  0.15/ev
        9s correct -> A 0.15
        A main -0.10
        cdrs A 0.30, again 0.15 of 1
    ",
    );
}

/// A corrected version counts from its own beginning: what was used before costs what it did.
#[test]
fn a_version_in_time_changes_only_its_own_time() {
    check(
        "
        price any  0.10/ev
        account A  balance 1.00
        0s   A/1 debit #0  1 want 1ev -> granted 1ev cost 0.10
        100s A/2 debit #0  1 want 1ev -> granted 1ev cost 0.10
        version 50s
        price any  0.04/ev
        200s correct -> A -0.06
        cdrs A 0.10, 0.10, again -0.06 of 2
    ",
    );
}

/// A session of three reports of 1 MiB at 0.333, rounded to cents: 0.33, 0.34, 0.33. At 0.5: 0.50 each, by one record for each.
#[test]
fn every_report_of_a_session_is_corrected() {
    check(
        "
        rounding 2 half_up event
        price any  0.333/MiB
        account A  balance 9.00
        0s A/1 initial #0   1 want 1MiB -> granted 1MiB
        1s A/1 update #1    1 used 1MiB want 1MiB -> granted 1MiB
        2s A/1 update #2    1 used 1MiB want 1MiB -> granted 1MiB
        3s A/1 terminate #3 1 used 1MiB -> settled
        cdrs A 0.33, 0.34, 0.33
        price any  0.50/MiB
        9s correct -> A 0.17, A 0.16, A 0.17
        A main 7.50
        cdrs A 0.33, 0.34, 0.33, again 0.17 of 1, again 0.16 of 2, again 0.17 of 3
    ",
    );
}

/// Tiers go on over the reports of a session: 3 minutes at 0.20, then 0.05. Corrected to 2 minutes at 0.20: 5 minutes cost
/// 0.55 instead of 0.70. Of the reports of 2, 2 and 1 minutes it is the second that changes.
#[test]
fn tiers_go_on_over_reports() {
    check(
        "
        price any  0.20/60s<180s 0.05/60s  pulse 60/60
        account A  balance 9.00
        0s   A/1 initial #0   1 want 120s -> granted 120s
        120s A/1 update #1    1 used 120s want 120s -> granted 120s
        240s A/1 update #2    1 used 120s want 60s -> granted 60s
        300s A/1 terminate #3 1 used 60s -> settled
        cdrs A 0.40, 0.25, 0.05
        price any  0.20/60s<120s 0.05/60s  pulse 60/60
        999s correct -> A -0.15
        cdrs A 0.40, 0.25, 0.05, again -0.15 of 2
        A main 8.45
    ",
    );
}

/// What a bundle paid stays paid: only the other 5 MiB are priced again.
#[test]
fn what_bundles_paid_stays_paid() {
    check(
        "
        price any  0.01/MiB
        account A  balance 1.00
        bucket A data 10MiB
        0s A/1 debit #0  1 want 15MiB -> granted 15MiB cost 0.05
        price any  0.03/MiB
        9s correct -> A 0.10
        A data 0B
        A main 0.85
    ",
    );
}

/// A connect fee that was forgotten, once a call.
#[test]
fn a_fee_is_charged_once_a_session() {
    check(
        "
        price any  0.10/60s  pulse 60/60
        account A  balance 1.00
        0s  A/1 initial #0   1 want 60s -> granted 60s
        60s A/1 update #1    1 used 60s want 60s -> granted 60s
        99s A/1 terminate #2 1 used 39s -> settled
        price any  0.10/60s  pulse 60/60 fee 0.05
        999s correct -> A 0.05
        cdrs A 0.10, 0.10, again 0.05 of 1
    ",
    );
}

/// The corrected version divides the day: a call of four minutes, two of them after ten in the evening, cost 0.09 each.
#[test]
fn windows_are_found_by_the_time_of_use() {
    check(
        "
        timezone Europe/Berlin
        window night 22:00-06:00
        price any  0.09/60s  pulse 60/60
        account A  balance 1.00
        2027-01-08T20:58:00Z A/1 initial #0    1 want 240s -> granted 240s
        2027-01-08T21:02:00Z A/1 terminate #1  1 used 240s -> settled
        cdrs A 0.36
        price any  0.09/60s in night 0.05/60s  pulse 60/60
        2027-01-09T12:00:00Z correct -> A -0.08
        A main 0.72
    ",
    );
}

/// Money goes back to the bucket it came from, what was paid last first: of 0.30, 0.10 were the bonus's.
#[test]
fn money_goes_back_to_who_paid() {
    check(
        "
        price any  0.10/ev
        account A  balance 1.00
        bucket A bonus 0.10 priority 1
        0s A/1 debit #0  1 want 3ev -> granted 3ev cost 0.30
        paid A bonus 0.10, main 0.20
        price any  0.02/ev
        9s correct -> A -0.24
        A main 1.00
        A bonus 0.04
    ",
    );
}

/// What was owed goes first, what has been paid of it since comes back as money.
#[test]
fn what_is_owed_is_less() {
    check(
        "
        price any  0.10/ev
        account A
        0s A/1 record #0  1 used 3ev -> settled cost 0.30
        1s topup A main 0.25
        price any  0.02/ev
        9s correct -> A -0.24
        A debt 0.00
        A main 0.19
    ",
    );
}

/// In a closed period it is a credit note in the oldest open one, that names its period; in an open one an adjustment in its own.
#[test]
fn a_closed_period_gets_a_note_and_an_open_one_an_adjustment() {
    check(
        "
        timezone UTC
        periods 2027-01-01T00:00:00Z P1M 2027-02-01T00:00:00Z
        price any  0.10/ev
        account A  balance 1.00
        2027-01-20T12:00:00Z A/1 debit #0  1 want 1ev -> granted 1ev cost 0.10
        2027-02-03T12:00:00Z A/2 debit #0  1 want 1ev -> granted 1ev cost 0.10
        price any  0.08/ev
        2027-02-05T12:00:00Z correct -> A -0.02, A -0.02
        booked A 0.10 2027-02-01 of 2027-01-01, 0.10 2027-02-01, -0.02 2027-02-01 of 2027-01-01, -0.02 2027-02-01
    ",
    );
}

/// What cannot be told is left to a person: refunds, and usage that no price is for any more.
#[test]
fn what_cannot_be_told_is_left_to_a_person() {
    check(
        "
        price 1  0.10/ev
        price 2  0.10/ev
        account A  balance 1.00
        0s A/1 debit #0  1 want 2ev -> granted 2ev cost 0.20
        1s A/2 refund A/1 #0  1 want 1ev -> granted 1ev cost 0.10
        2s A/3 debit #0  2 want 1ev -> granted 1ev cost 0.10
        price 1  0.20/ev
        9s correct -> A it was refunded, A no price is for it any more
        A main 0.80
    ",
    );
}

/// An employer's share is corrected on its own account.
#[test]
fn each_payer_is_corrected() {
    check(
        "
        timezone Europe/Berlin
        window business 08:00-18:00 mon tue wed thu fri
        price any  0.10/60s  pulse 60/60
        account A  balance 1.00
        account B  balance 1.00
        sponsor A B business
        2027-01-08T16:58:00Z A/1 debit #0  1 want 180s -> granted 180s cost 0.30
        price any  0.08/60s  pulse 60/60
        2027-01-09T12:00:00Z correct -> B -0.04, A -0.02
        A main 0.92
        B main 0.84
    ",
    );
}

/// Usage records are rated again as they were: each by itself.
#[test]
fn records_are_rated_again() {
    check(
        "
        clock 2027-01-08T12:00:00Z
        price any  0.10/60s  pulse 60/60
        account A  balance 1.00
        900s A/1 record #0 at=0s until=61s  1 used 61s -> settled cost 0.20
        price any  0.10/60s  pulse 60/1
        1000s correct -> A -0.098333
        A main 0.898333
    ",
    );
}
