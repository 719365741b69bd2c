//! Stories of two accounts that pay for one subscriber: an employer's by window, or its allowance first (R40).
#![expect(clippy::expect_used, clippy::panic, reason = "a story that cannot be read or does not hold is a failed test")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod story;
#[allow(dead_code, reason = "each test file uses its part of it")]
mod world;

use story::check;

// --- By window ---

/// Friday 2027-01-08, 17:58 in Berlin: two minutes at 0.05 before six o'clock are the employer's, three minutes at 0.09 after
/// it the private balance's. 0.10 and 0.27.
#[test]
fn each_window_has_its_payer() {
    check(
        "
        timezone Europe/Berlin
        window business 08:00-18:00 mon tue wed thu fri
        price any  0.09/60s in business 0.05/60s  pulse 60/60
        account A  balance 10.00
        account B  credit 100.00
        sponsor A B business
        2027-01-08T16:58:00Z A/1 initial #0  1 want 120s -> granted 120s
        A reserved 0.00
        B reserved 0.10
        2027-01-08T17:03:00Z A/1 terminate #1  1 used 300s -> settled
        cdrs A 0.27
        cdrs B 0.10
        windows B v1 business 0.10
        A main 9.73
        B spent 0.10
        B reserved 0.00
    ",
    );
}

/// The price is the same at all times; who pays is not. Three reports of 10 MiB at 0.01, from 17:50 on.
#[test]
fn windows_that_no_price_names_tell_payers_apart() {
    check(
        "
        timezone Europe/Berlin
        window business 08:00-18:00 mon tue wed thu fri
        price any  0.01/MiB
        account A  balance 10.00
        account B  credit 100.00
        sponsor A B business
        2027-01-08T16:50:00Z A/1 initial #0  1 want 10MiB -> granted 10MiB valid 600s
        2027-01-08T16:55:00Z A/1 update #1   1 used 10MiB want 10MiB -> granted 10MiB valid 300s
        2027-01-08T17:00:00Z A/1 update #2   1 used 10MiB want 10MiB -> granted 10MiB valid 1800s
        A reserved 0.10
        B reserved 0.00
        2027-01-08T17:10:00Z A/1 terminate #3  1 used 10MiB -> settled
        windows A v1 any 0.10
        windows B v1 business 0.10, v1 business 0.10
    ",
    );
}

/// The default window may be the employer's too: everything but the weekend is.
#[test]
fn the_default_window_can_be_named() {
    check(
        "
        timezone Europe/Berlin
        window weekend 00:00-24:00 sat sun
        price any  0.10/ev
        account A  balance 1.00
        account B  balance 1.00
        sponsor A B day
        2027-01-08T12:00:00Z A/1 debit #0  1 want 1ev -> granted 1ev cost 0.10
        2027-01-09T12:00:00Z A/2 debit #0  1 want 1ev -> granted 1ev cost 0.10
        cdrs A 0.10
        cdrs B 0.10
    ",
    );
}

/// A client that could split what it reports is cut off at the switch all the same: what is held there is another account's.
#[test]
fn a_grant_ends_where_another_account_pays() {
    check(
        "
        timezone Europe/Berlin
        window business 08:00-18:00 mon tue wed thu fri
        price any  0.09/60s in business 0.05/60s  pulse 1/1
        account A  balance 10.00
        account B  credit 100.00
        sponsor A B business
        2027-01-08T16:50:00Z A/1 initial #0  1 want 1800s -> granted 1800s valid 600s no switch
    ",
    );
}

/// The employer's limit is used up: nothing more in business hours, though the private balance is full. Six o'clock helps.
#[test]
fn each_account_has_its_own_limit() {
    check(
        "
        timezone Europe/Berlin
        window business 08:00-18:00 mon tue wed thu fri
        price any  0.10/ev
        account A  balance 10.00
        account B  credit 0.15
        sponsor A B business
        2027-01-08T12:00:00Z A/1 initial #0  1 want 1ev -> granted 1ev
        2027-01-08T12:00:01Z A/1 update #1   1 used 1ev want 1ev -> denied credit
        2027-01-08T17:00:00Z A/1 update #2   1 want 1ev -> granted 1ev
        2027-01-08T17:00:01Z A/1 terminate #3  1 used 1ev -> settled
        cdrs A 0.10
        cdrs B 0.10
    ",
    );
}

/// A call of two minutes over six o'clock, charged as one event (R21): the employer could not pay its minute, so nobody does.
#[test]
fn one_account_that_refuses_its_line_refuses_the_event() {
    check(
        "
        timezone Europe/Berlin
        window business 08:00-18:00 mon tue wed thu fri
        price any  0.10/60s  pulse 60/60
        account A  balance 10.00
        account B  balance 0.05
        sponsor A B business
        2027-01-08T16:59:00Z A/1 debit #0  1 want 120s -> refused CreditLimitReached
        2027-01-08T16:59:01Z A/1 check #0  1 want 120s -> settled short
        A main 10.00
        B main 0.05
        2027-01-08T16:59:02Z topup B main 0.05
        2027-01-08T16:59:03Z A/1 check #0  1 want 120s -> settled enough
        2027-01-08T16:59:00Z A/1 debit #1  1 want 120s -> granted 120s cost 0.20
        A main 9.90
        B main 0.00
        windows B v1 business 0.10
    ",
    );
}

/// What is given back goes to who paid: the private minute first, as it was paid last (R29).
#[test]
fn a_refund_goes_back_to_who_paid() {
    check(
        "
        timezone Europe/Berlin
        window business 08:00-18:00 mon tue wed thu fri
        price any  0.10/60s  pulse 60/60
        account A  balance 10.00
        account B  balance 1.00
        sponsor A B business
        2027-01-08T16:58:00Z A/1 debit #0  1 want 180s -> granted 180s cost 0.30
        A main 9.90
        B main 0.80
        2027-01-08T17:05:00Z A/2 refund A/1 #0  1 want 90s -> granted 90s cost 0.15
        A main 10.00
        B main 0.85
        2027-01-08T17:06:00Z A/3 refund A/1 #0 -> granted 0.15EUR cost 0.15
        A main 10.00
        B main 1.00
        cdrs A 0.10, refund -0.10
        cdrs B 0.20, refund -0.05, refund -0.15
        2027-01-08T17:07:00Z A/4 refund A/1 #0 -> refused RefundBeyondCharge
    ",
    );
}

/// An employer that is suspended pays for nothing new; what was used is still its own.
#[test]
fn a_suspended_sponsor_pays_for_nothing_new() {
    check(
        "
        timezone Europe/Berlin
        window business 08:00-18:00 mon tue wed thu fri
        price any  0.10/ev
        account A  balance 10.00
        account B  balance 1.00
        sponsor A B business
        2027-01-08T12:00:00Z A/1 initial #0  1 want 1ev -> granted 1ev
        2027-01-08T12:00:01Z suspend B
        2027-01-08T12:00:02Z A/1 update #1  1 used 1ev want 1ev -> denied service
        2027-01-08T12:00:03Z A/2 check #0   1 want 1ev -> settled short
        2027-01-08T12:00:03Z A/2 debit #0   1 want 1ev -> refused ServiceDenied
        cdrs B 0.10
        2027-01-08T17:00:00Z A/3 debit #0   1 want 1ev -> granted 1ev cost 0.10
        cdrs A 0.10
    ",
    );
}

// --- The allowance first ---

/// 100 MiB of the employer's, then the private balance: 150 MiB used, 50 at 0.01. Each record says how much it is of.
#[test]
fn the_allowance_first_then_the_private_account() {
    check(
        "
        price any  0.01/MiB  pulse 1MiB/1MiB
        account A  balance 10.00
        account B  balance 0.00
        bucket B data 100MiB
        sponsor A B - allowance
        0s  A/1 initial #0   1 want 150MiB -> granted 150MiB
        B data reserved 100MiB
        A reserved 0.50
        10s A/1 terminate #1  1 used 150MiB -> settled
        cdrs B 0.00
        paid B data 100MiB
        cdrs A 0.50
        paid A main 0.50
        B data 0B
        A reserved 0.00
    ",
    );
}

/// Money too, in whole pulses: 0.35 are three minutes at 0.10; the rest of five is the private balance's.
#[test]
fn an_allowance_of_money_pays_whole_pulses() {
    check(
        "
        price any  0.10/60s  pulse 60/60
        account A  balance 10.00
        account B  balance 0.35
        sponsor A B - allowance
        0s   A/1 initial #0   1 want 300s -> granted 300s
        B reserved 0.30
        A reserved 0.20
        300s A/1 terminate #1  1 used 300s -> settled
        cdrs B 0.30
        cdrs A 0.20
    ",
    );
}

/// A connect fee of 0.10 is of the first pulse: 0.35 are that and two minutes.
#[test]
fn a_fee_leaves_less_of_the_allowance() {
    check(
        "
        price any  0.10/60s  pulse 60/60  fee 0.10
        account A  balance 10.00
        account B  balance 0.35
        sponsor A B - allowance
        0s   A/1 initial #0   1 want 300s -> granted 300s
        300s A/1 terminate #1  1 used 300s -> settled
        cdrs B 0.30
        B main 0.05
        cdrs A 0.30
        A main 9.70
    ",
    );
}

/// Only what is in buckets is an allowance: the employer's credit is for its windows.
#[test]
fn an_allowance_is_no_credit() {
    check(
        "
        price any  0.10/ev
        account A  balance 0.10
        account B  credit 100.00
        sponsor A B - allowance
        0s A/1 debit #0  1 want 1ev -> granted 1ev cost 0.10
        1s A/2 debit #0  1 want 1ev -> refused CreditLimitReached
        cdrs A 0.10
        cdrs B
    ",
    );
}

/// 90 s of the employer's, pulses of a minute: 90 of the 120 rated seconds are theirs, the other 30 cost 0.05 pro rata (R18).
#[test]
fn part_of_a_pulse_is_paid_by_the_allowance() {
    check(
        "
        price any  0.10/60s  pulse 60/60
        account A  balance 10.00
        account B  balance 0.00
        bucket B voice 90s
        sponsor A B - allowance
        0s   A/1 initial #0    1 want 120s -> granted 120s
        100s A/1 terminate #1  1 used 100s -> settled
        paid B voice 90s
        cdrs A 0.05
    ",
    );
}

/// However the usage is cut into reports, the sums are the same (R04).
#[test]
fn reports_do_not_move_the_split() {
    check(
        "
        price any  0.333/MiB  pulse 1MiB/1MiB
        rounding 2 half_up line
        account A  balance 10.00
        account B  balance 0.00
        bucket B data 1572864B
        sponsor A B - allowance
        0s A/1 initial #0   1 want 1MiB -> granted 1MiB
        1s A/1 update #1    1 used 1MiB want 1MiB -> granted 1MiB
        2s A/1 update #2    1 used 1MiB want 1MiB -> granted 1MiB
        3s A/1 terminate #3 1 used 1MiB -> settled
        cdrs B 0.00, 0.00
        cdrs A 0.33, 0.34
        4s A/2 initial #0   1 want 3MiB -> granted 3MiB
    ",
    );
}

/// Each member up to 60 MiB of the employer's 100, whatever others left.
#[test]
fn an_allowance_has_member_caps() {
    check(
        "
        price any  0.01/MiB
        offer corp period P1M  data 100MiB cap 60MiB
        account A  balance 10.00
        account B  balance 0.00
        account C  balance 10.00
        sponsor A B - allowance
        sponsor C B - allowance
        0s buy B corp
        1s A/1 debit #0  1 want 70MiB -> granted 70MiB cost 0.10
        2s C/1 debit #0  1 want 70MiB -> granted 70MiB cost 0.30
        B data#1.0000 0B
    ",
    );
}

/// In business hours everything, at other times its allowance first.
#[test]
fn windows_and_the_allowance_go_together() {
    check(
        "
        timezone Europe/Berlin
        window business 08:00-18:00 mon tue wed thu fri
        price any  0.10/ev
        account A  balance 10.00
        account B  balance 0.20 credit 1.00
        sponsor A B business allowance
        2027-01-08T12:00:00Z A/1 debit #0  1 want 3ev -> granted 3ev cost 0.30
        B main 0.00
        B spent 0.10
        2027-01-08T20:00:00Z topup B main 0.25
        2027-01-08T20:00:01Z A/2 debit #0  1 want 3ev -> granted 3ev cost 0.30
        B main 0.05
        A main 9.90
        2027-01-08T20:00:02Z A/3 refund A/2 #0  1 want 2ev -> granted 2ev cost 0.20
        A main 10.00
        B main 0.15
    ",
    );
}

/// Held of both, and given back to both when the client falls silent.
#[test]
fn a_silent_session_gives_back_to_both() {
    check(
        "
        price any  0.10/ev  validity 60s
        account A  balance 10.00
        account B  balance 0.20
        sponsor A B - allowance
        0s   A/1 initial #0  1 want 3ev -> granted 3ev
        A reserved 0.10
        B reserved 0.20
        120s expire -> ended A/1
        A reserved 0.00
        B reserved 0.00
        cdrs A lapse expired
        cdrs B
    ",
    );
}

/// Money that the network rated itself has no window: it is the private account's.
#[test]
fn what_the_network_rated_is_private() {
    check(
        "
        timezone Europe/Berlin
        window business 08:00-18:00 mon tue wed thu fri
        price any  0.10/ev
        account A  balance 10.00
        account B  balance 1.00
        sponsor A B business allowance
        2027-01-08T12:00:00Z A/1 debit #0  1 want 0.50EUR -> granted 0.50EUR cost 0.50
        cdrs A 0.50
        cdrs B
    ",
    );
}
