//! Charging stories that a billing person can check by hand, rule by rule (rating rules R01 to R09 and R17 to R30), and
//! the charging algorithm's corners: repeats, numbers out of order, expiry, suspense, several sessions on one balance.
#![expect(clippy::expect_used, clippy::panic, reason = "a story that cannot be read or does not hold is a failed test")]

mod story;
#[allow(dead_code, reason = "each test file uses its part of it")]
mod world;

use story::check;

// --- Quantities and amounts: R01 to R06 ---

/// R05, worked figures: 61 s at 0.09 a minute is 0.18 in whole minutes and 0.0915 by the second after the first minute.
#[test]
fn one_minute_and_a_second() {
    check(
        "
        price 1  0.09/60s  pulse 60/60
        price 2  0.09/60s  pulse 60/1
        price 3  0.60/60s  pulse 30/6
        account A  balance 5.00
        0s   A/1 initial #0    1 want 300s; 2 want 300s; 3 want 60s  -> granted 300s; granted 300s; granted 60s
        61s  A/1 terminate #1  1 used 61s; 2 used 61s; 3 used 31s    -> settled; settled; settled
        cdrs A 0.18, 0.0915, 0.36        (31 s in 30/6 are 36 s)
        A main 4.3685
        A reserved 0.00
    ",
    );
}

/// R05: nothing used costs nothing; one second costs the whole first pulse, the first pulse's last second no more.
#[test]
fn a_pulse_is_paid_when_it_is_begun() {
    check(
        "
        price 1  0.60/60s  pulse 60/30
        account A  balance 5.00
        0s   A/1 debit #0  1 want 1s    -> granted 1s cost 0.60
        0s   A/2 debit #0  1 want 60s   -> granted 60s cost 0.60
        0s   A/3 debit #0  1 want 61s   -> granted 61s cost 0.90
        0s   A/4 debit #0  1 want 90s   -> granted 90s cost 0.90
        0s   A/5 initial #0  1 want 60s -> granted 60s
        9s   A/5 terminate #1  1 used 0s  -> settled
        cdrs A 0.60, 0.60, 0.90, 0.90
        A main 2.00
    ",
    );
}

/// R09, worked figures: 601 s at 0.20 for three minutes, then 0.05, in whole minutes: 3 x 0.20 + 8 x 0.05 = 1.00.
#[test]
fn tiers_are_graduated() {
    check(
        "
        price 1  0.20/60s<180s 0.05/60s  pulse 60/60
        account A  balance 5.00
        0s    A/1 initial #0    1 want 900s             -> granted 900s
        A reserved 1.20
        170s  A/1 update #1     1 used 170s want 600s   -> granted 600s
        cdrs A 0.60
        A reserved 0.50
        601s  A/1 terminate #2  1 used 431s             -> settled
        cdrs A 0.60, 0.40
        A main 4.00
    ",
    );
}

/// R04, worked figures: three MiB at 0.333 a MiB in cents: 0.33, 0.67 and 1.00 in all.
#[test]
fn interim_charges_are_rounded_on_the_cumulative_amount() {
    check(
        "
        rounding 2 half_up event
        price 1  0.333/MiB
        account A  balance 2.00
        0s   A/1 initial #0    1 want 1MiB            -> granted 1MiB
        10s  A/1 update #1     1 used 1MiB want 1MiB  -> granted 1MiB
        20s  A/1 update #2     1 used 1MiB want 1MiB  -> granted 1MiB
        30s  A/1 terminate #3  1 used 1MiB            -> settled
        cdrs A 0.33, 0.34, 0.33
        A main 1.00
    ",
    );
}

/// R06: a volume pulse counts for the session, not for the report: four reports of 30 KiB are two pulses of 100 KiB.
#[test]
fn volume_pulses_count_the_session() {
    check(
        "
        price 1  0.10/100KiB  pulse 100KiB/100KiB
        account A  balance 1.00
        0s   A/1 initial #0    1 want 200KiB             -> granted 200KiB
        10s  A/1 update #1     1 used 30KiB want 200KiB  -> granted 200KiB
        20s  A/1 update #2     1 used 30KiB want 200KiB  -> granted 200KiB
        30s  A/1 update #3     1 used 30KiB want 200KiB  -> granted 200KiB
        40s  A/1 terminate #4  1 used 30KiB              -> settled
        cdrs A 0.10, 0.00, 0.00, 0.10
        A main 0.80
    ",
    );
}

/// R02: two tiers of 0.125 and 0.125 are 0.13 + 0.13 by line, 0.25 by event; the bill's scope keeps 0.0125 as it is.
#[test]
fn the_scope_says_what_is_rounded_on_its_own() {
    for (scope, cost) in [("line", "0.26"), ("event", "0.25"), ("bill", "0.25")] {
        check(&format!(
            "
            rounding 2 half_up {scope}
            price 1  0.125/ev<1ev 0.125/ev
            account A  balance 1.00
            0s  A/1 debit #0  1 want 2ev  -> granted 2ev cost {cost}
            "
        ));
    }
    check(
        "
        rounding 2 half_up bill
        price 1  0.01/3ev
        account A  balance 1.00
        0s  A/1 debit #0  1 want 1ev  -> granted 1ev cost 0.003333    (a third of a cent: the micro-unit below)
        exact A 10000/3
        0s  A/2 debit #0  1 want 2ev  -> granted 2ev cost 0.006667
        A main 0.99
    ",
    );
}

/// R02: in the scope of lines the connect fee is rounded apart from usage.
#[test]
fn a_connect_fee_is_a_line_of_its_own() {
    for (scope, cost) in [("line", "0.02"), ("event", "0.01")] {
        check(&format!(
            "
            rounding 2 half_up {scope}
            price 1  0.006/ev  fee 0.006
            account A  balance 1.00
            0s  A/1 debit #0  1 want 1ev  -> granted 1ev cost {cost}
            "
        ));
    }
}

/// R03: ties and remainders.
#[test]
fn the_mode_says_where_a_tie_goes() {
    for (mode, eighth, three_eighths, third) in [
        ("half_up", "0.13", "0.38", "0.33"),
        ("half_even", "0.12", "0.38", "0.33"),
        ("up", "0.13", "0.38", "0.34"),
        ("down", "0.12", "0.37", "0.33"),
    ] {
        check(&format!(
            "
            rounding 2 {mode} event
            price 1  0.125/ev
            price 2  1.00/3ev
            account A  balance 5.00
            0s  A/1 debit #0  1 want 1ev  -> granted 1ev cost {eighth}
            0s  A/2 debit #0  1 want 3ev  -> granted 3ev cost {three_eighths}
            0s  A/3 debit #0  2 want 1ev  -> granted 1ev cost {third}
            "
        ));
    }
}

/// R02: what is rounded in a session is the rating group, so two groups round apart.
#[test]
fn rating_groups_round_apart() {
    check(
        "
        rounding 2 half_up event
        price any  0.006/MiB
        account A  balance 1.00
        0s  A/1 initial #0    1 want 1MiB; 2 want 1MiB  -> granted 1MiB; granted 1MiB
        9s  A/1 terminate #1  1 used 1MiB; 2 used 1MiB  -> settled; settled
        cdrs A 0.01, 0.01
        A main 0.98
    ",
    );
}

/// R01: the price's measure picks what counts; a total is the sum of both directions where none is given.
#[test]
fn the_measure_picks_what_counts() {
    check(
        "
        price 1  0.01/MiB
        price 2  0.01/MiB sent
        price 3  0.01/MiB received
        account A  balance 1.00
        0s  A/1 initial #0    1 want any; 2 want any; 3 want any  -> granted 10MiB; granted 10MiBup; granted 10MiBdown
        9s  A/1 terminate #1  1 used 3MiBup+4MiBdown; 2 used 3MiBup+4MiBdown; 3 used 3MiBup+4MiBdown -> settled; settled; settled
        cdrs A 0.07, 0.03, 0.04
        9s  A/2 initial #0    1 want 3MiBup+1MiBdown   -> granted 3MiBup+1MiBdown
    ",
    );
}

// --- Fees and limits: R07, R08 ---

/// R07: once, with the first use; none when nothing is used.
#[test]
fn the_connect_fee_is_taken_once() {
    check(
        "
        price 1  0.10/60s  pulse 60/60  fee 0.05
        account A  balance 1.00
        0s    A/1 initial #0    1 want 60s           -> granted 60s
        A reserved 0.10
        1s    A/1 update #1     1 used 0s want 60s   -> granted 60s
        60s   A/1 update #2     1 used 60s want 60s  -> granted 60s
        120s  A/1 terminate #3  1 used 60s           -> settled
        200s  A/2 initial #0    1 want 60s           -> granted 60s
        209s  A/2 terminate #1  1 used 0s            -> settled
        cdrs A 0.15, 0.10
        A main 0.75
    ",
    );
}

/// R07: a bundle that pays the first pulse in full pays the fee away, unless the price says otherwise.
#[test]
fn a_bundle_may_save_the_connect_fee() {
    for (bundle, word, cost) in
        [("60s", "", "0.10"), ("59s", "", "0.151667"), ("60s", "bundled", "0.15"), ("120s", "", "0.00")]
    {
        check(&format!(
            "
            price 1  0.10/60s  pulse 60/60  fee 0.05 {word}
            account A  balance 1.00
            bucket A  free {bundle}
            0s    A/1 initial #0    1 want 120s  -> granted 120s
            61s   A/1 terminate #1  1 used 61s   -> settled
            cdrs A {cost}
            "
        ));
    }
}

/// R04, R07: whether the bundle paid the first pulse does not depend on how often the client reports.
#[test]
fn a_volume_fee_does_not_depend_on_the_reports() {
    check(
        "
        price 1  0.10/100KiB  pulse 100KiB/100KiB  fee 0.05
        account A  balance 1.00
        bucket A  free 50KiB
        account B  balance 1.00
        bucket B  free 50KiB
        0s   A/1 initial #0    1 want 100KiB               -> granted 100KiB
        10s  A/1 terminate #1  1 used 100KiB               -> settled
        cdrs A 0.15
        0s   B/1 initial #0    1 want 100KiB               -> granted 100KiB
        5s   B/1 update #1     1 used 10KiB want 100KiB    -> granted 100KiB
        10s  B/1 terminate #2  1 used 90KiB                -> settled
        cdrs B 0.00, 0.15
    ",
    );
}

/// R07: octets of a bundle that are just the first pulse save the fee, reported at once or not.
#[test]
fn a_bundle_of_one_volume_pulse_saves_the_fee() {
    check(
        "
        price 1  0.10/100KiB  pulse 100KiB/100KiB  fee 0.05
        account A  balance 1.00
        bucket A  free 100KiB
        account B  balance 1.00
        bucket B  free 100KiB
        0s   A/1 initial #0    1 want 200KiB               -> granted 200KiB
        10s  A/1 terminate #1  1 used 150KiB               -> settled
        cdrs A 0.10
        0s   B/1 initial #0    1 want 200KiB               -> granted 200KiB
        5s   B/1 update #1     1 used 100KiB want 100KiB   -> granted 100KiB
        10s  B/1 terminate #2  1 used 50KiB                -> settled
        cdrs B 0.00, 0.10
    ",
    );
}

/// R08: the least charge only for a charge above nothing; beyond the most, usage is free.
#[test]
fn an_event_costs_at_least_and_at_most() {
    check(
        "
        price 1  0.01/ev  min 0.05  max 0.10
        price 2  0.00/ev  min 0.05
        account A  balance 1.00
        0s  A/1 debit #0  1 want 1ev   -> granted 1ev cost 0.05
        0s  A/2 debit #0  1 want 7ev   -> granted 7ev cost 0.07
        0s  A/3 debit #0  1 want 50ev  -> granted 50ev cost 0.10
        0s  A/4 debit #0  2 want 50ev  -> granted 50ev cost 0.00
    ",
    );
}

/// R08: usage beyond the most is free and not cut off, also with nothing left.
#[test]
fn usage_beyond_the_most_is_not_cut_off() {
    check(
        "
        price 1  0.01/MiB  max 0.10
        account A  balance 0.10
        0s   A/1 initial #0    1 want 50MiB              -> granted 50MiB
        A reserved 0.10
        10s  A/1 update #1     1 used 8MiB want 50MiB    -> granted 50MiB
        A reserved 0.02
        20s  A/1 update #2     1 used 20MiB want 50MiB   -> granted 50MiB
        A reserved 0.00
        30s  A/1 terminate #3  1 used 50MiB              -> settled
        cdrs A 0.08, 0.02, 0.00
        A main 0.00
    ",
    );
}

// --- Tiers and bundles: R09, R18, R19 ---

/// R09: seconds that a bundle paid count towards the tiers.
#[test]
fn bundled_seconds_count_towards_the_tiers() {
    check(
        "
        price 1  0.20/60s<180s 0.05/60s  pulse 60/60
        account A  balance 5.00
        bucket A  free 120s
        0s    A/1 initial #0    1 want 300s  -> granted 300s
        A reserved 0.30
        299s  A/1 terminate #1  1 used 299s  -> settled
        cdrs A 0.30      (a minute at 0.20, two at 0.05)
        paid A free 120s, main 0.30
    ",
    );
}

/// R09, R19: octets that a bundle paid do not; the rest has tiers and pulses of its own.
#[test]
fn bundled_octets_do_not_count_towards_the_tiers() {
    check(
        "
        price 1  0.10/MiB<2MiB 0.01/MiB  pulse 1MiB/1MiB
        account A  balance 5.00
        bucket A  free 2560KiB
        0s  A/1 initial #0    1 want 6MiB  -> granted 6MiB
        9s  A/1 terminate #1  1 used 6MiB  -> settled
        cdrs A 0.22      (2.5 MiB free, 3.5 MiB are 4 pulses: two at 0.10, two at 0.01)
        paid A free 2560KiB, main 0.22
    ",
    );
}

/// R18: whole pulses leave the bundle; the pulse it pays in part is priced pro rata, not rounded again.
#[test]
fn a_bundle_pays_part_of_a_pulse() {
    check(
        "
        price 1  0.60/60s  pulse 60/60
        account A  balance 5.00
        bucket A  free 90s
        0s   A/1 initial #0    1 want 60s  -> granted 60s
        A free reserved 60s
        61s  A/1 terminate #1  1 used 61s  -> settled
        cdrs A 0.30      (120 rated seconds, 90 of them free)
        A free 0s
    ",
    );
}

/// R02: what an earlier report took from a bundle stays taken; only the increase is allocated.
#[test]
fn what_a_bundle_paid_stays_paid() {
    check(
        "
        price 1  0.60/60s  pulse 60/1
        account A  balance 5.00
        0s    A/1 initial #0    1 want 60s            -> granted 60s
        60s   A/1 update #1     1 used 60s want 60s   -> granted 60s
        cdrs A 0.60
        120s  A/1 update #2     1 used 60s want 60s   -> granted 60s
        cdrs A 0.60, 0.60
        A main 3.80
    ",
    );
}

// --- Order of buckets: R17 ---

/// R17: units before money whatever the priorities; then priority, earliest end, id in byte order.
#[test]
fn buckets_pay_in_order() {
    check(
        "
        price 1  0.01/s
        account A
        bucket A  m1 1.00  priority 1
        bucket A  u4 10s  priority 20
        bucket A  b2 10s  priority 5  until 9000s
        bucket A  a3 10s  priority 5
        bucket A  B0 10s  priority 5  until 9000s
        bucket A  m0 0.05  priority 0
        0s   A/1 initial #0    1 want 50s  -> granted 50s
        50s  A/1 terminate #1  1 used 50s  -> settled
        paid A B0 10s, b2 10s, a3 10s, u4 10s, m0 0.05, m1 0.05
    ",
    );
}

/// R17: a bucket pays in its validity, which is half-open, and for its rating groups only.
#[test]
fn buckets_pay_where_they_are_valid() {
    check(
        "
        price any  0.01/ev
        account A  balance 1.00
        bucket A  new 1ev  from 10s
        bucket A  old 1ev  until 10s
        bucket A  own 1ev  priority 1  for 7 8
        9s   A/1 debit #0  1 want 1ev  -> granted 1ev cost 0.00
        paid A old 1ev
        10s  A/2 debit #0  1 want 1ev  -> granted 1ev cost 0.00
        paid A new 1ev
        11s  A/3 debit #0  8 want 2ev  -> granted 2ev cost 0.01
        paid A own 1ev, main 0.01
        12s  A/4 debit #0  1 want 1ev  -> granted 1ev cost 0.01
    ",
    );
    check(
        "
        price 1  0.01/ev
        account A  balance 1.00
        bucket A  old 1ev  until 10s
        10s  A/1 debit #0  1 want 1ev  -> granted 1ev cost 0.01
        A old 1ev
    ",
    );
}

// --- Events: R21 ---

/// R21: all or nothing, to the last micro-unit; a bundle that pays part is not touched by a refusal.
#[test]
fn events_are_all_or_nothing() {
    check(
        "
        price any  0.10/ev
        account A  balance 0.20
        bucket A  free 2ev
        0s  A/1 debit #0  1 want 5ev              -> refused CreditLimitReached
        A free 2ev
        A main 0.20
        0s  A/2 debit #0  1 want 3ev; 2 want 2ev  -> refused CreditLimitReached
        A free 2ev
        A main 0.20
        0s  A/3 debit #0  1 want 4ev              -> granted 4ev cost 0.20
        A main 0.00
        0s  A/4 debit #0  1 want 1ev              -> refused CreditLimitReached
        cdrs A 0.20
    ",
    );
}

/// RFC 8506 6.1: an event that asks for nothing but reports what was used is for that; of nothing used there is no event.
#[test]
fn an_event_may_report_what_was_used() {
    check(
        "
        price 1  0.10/ev
        account A  balance 1.00
        0s  A/1 debit #0  1 used 3ev             -> granted 3ev cost 0.30
        1s  A/2 debit #0  1 used 1ev used 1ev    -> granted 2ev cost 0.20
        2s  A/3 debit #0  1 used 9ev want 1ev    -> granted 1ev cost 0.10
        3s  A/4 debit #0  1 used 0ev             -> refused RatingFailed
        4s  A/5 debit #0  1                      -> granted 1ev cost 0.10
        A main 0.30
    ",
    );
}

/// R21: what sessions hold is not there for events.
#[test]
fn events_leave_what_sessions_hold() {
    check(
        "
        price any  0.10/ev
        account A  balance 1.00
        0s  A/1 initial #0  1 want 8ev   -> granted 8ev
        0s  A/2 debit #0    1 want 3ev   -> refused CreditLimitReached
        0s  A/3 debit #0    1 want 2ev   -> granted 2ev cost 0.20
        A main 0.80
        A reserved 0.80
    ",
    );
}

/// A balance check and a price enquiry touch nothing; a price is asked for as if there were no bundles.
#[test]
fn enquiries_touch_nothing() {
    check(
        "
        price any  0.10/ev
        account A  balance 0.20
        bucket A  free 1ev
        0s  A/1 check #0  1 want 3ev              -> settled enough
        0s  A/2 check #0  1 want 4ev              -> settled short
        0s  A/3 check #0  1 want 3ev; 2 want 1ev  -> settled; settled short    (the one bundled event is gone)
        0s  A/4 check #0  1 want 2ev; 2 want 2ev  -> settled; settled short
        0s  A/5 check #0  1 want 2ev; 2 want 1ev  -> settled; settled enough
        0s  A/6 price #0  1 want 3ev; 2 want 1ev  -> settled; settled cost 0.40
        0s  A/7 price #0  1 want 0.05EUR          -> settled cost 0.05
        A sessions 0
        A main 0.20
        A free 1ev
    ",
    );
}

// --- Reservation: R22 ---

/// R22 (RFC 8506 5.6): the last grant is cut to the balance, and says so; an affordable one does not.
#[test]
fn the_last_grant_is_cut_to_the_balance() {
    check(
        "
        price 1  0.01/MiB
        account A  balance 0.05
        0s   A/1 initial #0    1 want 10MiB            -> granted 5MiB final
        60s  A/1 update #1     1 used 3MiB want 1MiB   -> granted 1MiB
        61s  A/1 update #1     1 used 3MiB want 1MiB   -> granted 1MiB again
        90s  A/1 terminate #2  1 used 1MiB             -> settled
        A main 0.01
        A reserved 0.00
        cdrs A 0.03, 0.01
    ",
    );
}

/// R22: exactly enough is no final grant; nothing affordable means the limit is reached.
#[test]
fn exactly_enough_is_not_final() {
    check(
        "
        price 1  0.01/MiB
        account A  balance 0.05
        0s  A/1 initial #0  1 want 5MiB            -> granted 5MiB
        1s  A/2 initial #0  1 want 1MiB            -> denied credit
        2s  A/1 update #1   1 used 5MiB want 1MiB  -> denied credit
        A main 0.00
        A reserved 0.00
    ",
    );
}

/// R22: money holds whole pulses; a balance between two pulses grants the lower.
#[test]
fn money_holds_whole_pulses() {
    check(
        "
        price 1  0.10/60s  pulse 60/60
        account A  balance 0.25
        0s  A/1 initial #0  1 want 70s           -> granted 70s
        A reserved 0.20
        1s  A/1 update #1   1 used 0s want 300s  -> granted 120s final
        A reserved 0.20
        2s  A/2 initial #0  1 want 1s            -> denied credit
    ",
    );
}

/// R22: one pulse is not paid by two buckets: 0.15 + 0.15 hold one minute of 0.10 each.
#[test]
fn one_pulse_is_not_paid_by_two_buckets() {
    check(
        "
        price 1  0.10/60s  pulse 60/60
        account A
        bucket A  m1 0.15
        bucket A  m2 0.15
        0s    A/1 initial #0    1 want 300s  -> granted 120s final
        A m1 reserved 0.10
        A m2 reserved 0.10
        120s  A/1 terminate #1  1 used 120s  -> settled
        paid A m1 0.15, m2 0.05
    ",
    );
}

/// R22: the hold of each bucket is rounded up to a micro-unit.
#[test]
fn a_hold_is_rounded_up() {
    check(
        "
        price 1  0.000001/3s
        account A  balance 0.000002
        0s  A/1 initial #0    1 want 4s  -> granted 4s
        A reserved 0.000002
        4s  A/1 terminate #1  1 used 4s  -> settled
        A main 0.000001     (4/3 of a micro-unit are one)
    ",
    );
}

/// R22: unit buckets first, then money; without connect fee and from a fresh pulse.
#[test]
fn units_are_held_before_money() {
    check(
        "
        price 1  0.10/60s  pulse 60/60  fee 0.05
        account A  balance 0.15
        bucket A  free 30s
        0s   A/1 initial #0    1 want 80s            -> granted 80s
        A free reserved 30s
        A reserved 0.10
        10s  A/1 update #1     1 used 10s want 60s   -> denied credit   (60 rated: 30 free, 30 for 0.05, the fee)
        paid A free 30s, main 0.10
        A main 0.05
        A reserved 0.00
    ",
    );
}

/// R22: a tier that is free needs no money, the one after it does.
#[test]
fn a_free_tier_is_granted_without_money() {
    check(
        "
        price 1  0.00/60s<120s 0.10/60s  pulse 60/60
        account A  balance 0.00
        0s    A/1 initial #0  1 want 100s            -> granted 100s
        1s    A/1 update #1   1 used 0s want 300s    -> granted 120s final
        120s  A/1 update #2   1 used 120s want 60s   -> denied credit
    ",
    );
}

// --- Overuse: R23 ---

/// R23: reported usage is always debited; the shortfall drives the last money bucket below zero.
#[test]
fn overuse_drives_the_last_money_bucket_negative() {
    check(
        "
        price 1  0.01/MiB
        account A
        bucket A  m1 0.03
        bucket A  m2 0.02
        0s  A/1 initial #0    1 want 9MiB            -> granted 5MiB final
        9s  A/1 update #1     1 used 8MiB want 1MiB  -> denied credit
        paid A m1 0.03, m2 0.05
        A m2 -0.03
        10s topup A m2 0.04
        11s A/1 update #2     1 want 9MiB            -> granted 1MiB final
    ",
    );
}

/// R23: a top-up lifts every bucket that is below zero before it goes where it is meant for.
#[test]
fn a_top_up_lifts_what_is_below_zero_first() {
    check(
        "
        price 1  0.01/MiB
        account A
        bucket A  m1 0.03
        bucket A  m2 0.02
        0s  A/1 initial #0    1 want 9MiB            -> granted 5MiB final
        9s  A/1 update #1     1 used 8MiB want 1MiB  -> denied credit
        A m2 -0.03
        10s topup A m1 0.02
        paid A m2 -0.02
        A m1 0.00
        11s topup A m1 0.05
        paid A m2 -0.01, m1 -0.04
        12s A/1 update #2     1 want 9MiB            -> granted 4MiB final
        cdrs A 0.08, topup -0.02, topup -0.05
    ",
    );
}

/// R25: an operator's key is its own charging group's: the same key elsewhere is another top-up, in the same group none.
#[test]
fn a_key_is_unique_in_its_charging_group() {
    check(
        "
        price 1  0.01/s
        account A  balance 0.00
        account B  balance 0.00  group 2
        account C  balance 0.00  group 2
        0s  topup A main 1.00 key=spring
        0s  topup B main 1.00 key=spring
        1s  topup B main 1.00 key=spring
        2s  topup B main 2.00 key=spring   -> refused KeyReused
        2s  topup C main 2.00 key=spring   -> refused KeyReused
        A main 1.00
        B main 1.00
        C main 0.00
    ",
    );
}

/// R20: a top-up of a bucket that had ended brings nothing of the old money back: it lapses in the same record, but for
/// what an open session holds of it.
#[test]
fn a_top_up_brings_no_lapsed_money_back() {
    check(
        "
        price 1  0.01/s
        account A
        bucket A  main 1.00  until 100s
        50s   topup A main 0.20  until 100s
        A main 1.20
        90s   A/1 initial #0    1 want 30s   -> granted 30s
        100s  topup A main 0.50  until 300s
        paid A main 0.90, main -0.50
        cdrs A topup -0.20, topup 0.40        (0.50 in, 0.90 lapsed)
        A main 0.80
        110s  A/1 terminate #1  1 used 20s   -> settled
        A main 0.60
        300s  topup A other 0.10
        A main 0.60                          (it pays no more, and nobody touched it)
        301s  topup A main 0.01  until 400s
        A main 0.01
    ",
    );
}

/// R22, R23: what is owed is not granted again: a bucket below zero and debt count against what the others have.
#[test]
fn what_is_owed_is_not_granted_again() {
    check(
        "
        price 1  0.01/s
        account A
        bucket A  m1 0.02
        bucket A  m2 0.05  from 100s
        account B
        bucket B  free 2s
        bucket B  m2 0.05  from 100s
        0s    A/1 initial #0    1 want 9s   -> granted 2s final
        5s    A/1 terminate #1  1 used 5s   -> settled
        A m1 -0.03
        100s  A/2 initial #0    1 want 9s   -> granted 2s final
        100s  A/3 debit #0      1 want 1s   -> refused CreditLimitReached
        101s  A/2 terminate #1  1 used 0s   -> settled
        101s  A/4 debit #0      1 want 3s   -> refused CreditLimitReached
        101s  A/5 initial #0    1 want 0.09EUR  -> granted 0.02EUR final
        0s    B/1 initial #0    1 want 9s   -> granted 2s final
        5s    B/1 terminate #1  1 used 5s   -> settled
        B debt 0.03
        100s  B/2 initial #0    1 want 9s   -> granted 2s final
    ",
    );
}

/// R23: without a money bucket the shortfall stays as debt, which the next top-up pays first.
#[test]
fn overuse_without_a_money_bucket_is_debt() {
    check(
        "
        price 1  0.01/s
        account A
        bucket A  free 10s
        0s   A/1 initial #0    1 want 20s  -> granted 10s final
        13s  A/1 terminate #1  1 used 13s  -> settled
        paid A free 10s, debt 0.03
        A debt 0.03
        20s  topup A main 0.02
        A debt 0.01
        A main 0.00
        21s  topup A main 1.00
        A debt 0.00
        A main 0.99
        cdrs A 0.03, topup -0.02, topup -1.00
    ",
    );
}

/// R23: what other sessions hold is left to them.
#[test]
fn overuse_leaves_what_others_hold() {
    check(
        "
        price 1  0.01/s
        account A
        bucket A  m1 0.10
        bucket A  m2 0.05
        bucket A  free 20s
        0s   A/1 initial #0    1 want 10s  -> granted 10s
        0s   A/2 initial #0    1 want 15s  -> granted 15s
        A free reserved 20s
        A m1 reserved 0.05
        50s  A/1 terminate #1  1 used 50s  -> settled
        paid A free 10s, m1 0.05, m2 0.35      (10 s and 0.05 are the other's)
        A m2 -0.30
        60s  A/2 terminate #1  1 used 15s  -> settled
        paid A free 10s, m1 0.05
    ",
    );
}

// --- The end: R24 ---

/// R24: a stop releases everything; what was reported stays charged.
#[test]
fn a_stop_releases_everything() {
    check(
        "
        price any  0.01/MiB
        account A  balance 1.00
        0s  A/1 initial #0    1 want 10MiB; 2 want 20MiB   -> granted 10MiB; granted 20MiB
        A reserved 0.30
        5s  A/1 update #1     1 used 4MiB want 10MiB       -> granted 10MiB
        A reserved 0.30
        9s  A/1 terminate #2  1 used 1MiB                  -> settled
        A reserved 0.00
        A main 0.95
        A open 0
    ",
    );
}

// --- Repeats: R25 ---

/// R25: every kind of request can come twice; the second changes nothing.
#[test]
fn repeats_get_the_first_answer() {
    check(
        "
        price 1  0.01/MiB
        account A  balance 1.00
        0s  A/1 initial #0    1 want 10MiB             -> granted 10MiB
        1s  A/1 initial #0    1 want 10MiB             -> granted 10MiB again
        2s  A/1 update #1     1 used 9MiB want 10MiB   -> granted 10MiB
        3s  A/1 update #1     1 used 9MiB want 10MiB   -> granted 10MiB again
        4s  A/1 terminate #2  1 used 1MiB              -> settled
        5s  A/1 terminate #2  1 used 1MiB              -> settled again
        6s  A/1 update #1     1 used 9MiB want 10MiB   -> granted 10MiB again
        7s  A/1 initial #0    1 want 10MiB             -> granted 10MiB again
        8s  A/e debit #0      1 want 5MiB              -> granted 5MiB cost 0.05
        9s  A/e debit #0      1 want 5MiB              -> granted 5MiB cost 0.05 again
        A main 0.85
        A reserved 0.00
        cdrs A 0.09, 0.01, 0.05
    ",
    );
}

/// R25: a client that was told no believes it: a copy of its request is refused again, for five minutes, whatever was
/// paid in meanwhile. Another request is judged by what there is.
#[test]
fn a_copy_of_a_refused_request_is_refused() {
    check(
        "
        price 1  0.10/ev
        account A  balance 0.05
        0s    A/e debit #0          1 want 1ev  -> refused CreditLimitReached
        0s    A/f debit #0          1 want 1ev  -> refused CreditLimitReached
        10s   topup A main 1.00
        11s   A/e debit #0          1 want 1ev  -> refused CreditLimitReached again
        12s   A/e debit #1          1 want 1ev  -> granted 1ev cost 0.10
        13s   A/e debit #0          1 want 1ev  -> refused CreditLimitReached again
        14s   A/e debit #0          1 want 2ev  -> granted 2ev cost 0.20
        299s  A/f debit #0          1 want 1ev  -> refused CreditLimitReached again
        300s  A/f debit #0          1 want 1ev  -> granted 1ev cost 0.10
        301s  suspend A
        302s  A/1 initial #0        1 want 1ev  -> refused ServiceDenied
        303s  activate A
        304s  A/1 initial #0        1 want 1ev  -> refused ServiceDenied again
        305s  A/2 initial #0        1 want 1ev  -> granted 1ev
        A main 0.65
    ",
    );
}

/// R25, design D6: the same key with other units is refused and changes nothing.
#[test]
fn a_key_used_twice_is_refused() {
    check(
        "
        price 1  0.01/MiB
        account A  balance 1.00
        0s  A/1 initial #0    1 want 10MiB             -> granted 10MiB
        2s  A/1 update #1     1 used 9MiB want 10MiB   -> granted 10MiB
        3s  A/1 update #1     1 used 8MiB want 10MiB   -> refused KeyReused
        4s  A/1 terminate #2  1 used 1MiB              -> settled
        5s  A/1 terminate #2  1 used 2MiB              -> refused KeyReused
        8s  A/e debit #0      1 want 5MiB              -> granted 5MiB cost 0.05
        9s  A/e debit #0      1 want 6MiB              -> refused KeyReused
        A main 0.85
    ",
    );
}

/// Design D6: the last 8 answers are kept; an older request is refused without a debit.
#[test]
fn the_last_eight_answers_are_kept() {
    let mut story = String::from(
        "
        price 1  0.01/MiB
        account A  balance 1.00
        0s  A/1 initial #0    1 want 1MiB  -> granted 1MiB
        ",
    );
    for number in 1..=9 {
        story.push_str(&format!("{number}s  A/1 update #{number}  1 used 1MiB want 1MiB  -> granted 1MiB\n"));
    }
    story.push_str(
        "
        20s  A/1 update #2   1 used 1MiB want 1MiB  -> granted 1MiB again
        20s  A/1 update #1   1 used 1MiB want 1MiB  -> refused AnswerGone
        20s  A/1 initial #0  1 want 1MiB            -> refused AnswerGone
        A main 0.91
        30s  A/1 terminate #10  1 used 1MiB         -> settled
        31s  A/1 initial #0  1 want 1MiB            -> refused AnswerGone   (a late repeat opens nothing)
        A open 0
        A reserved 0.00
        ",
    );
    check(&story);
}

/// Design D6: numbers are known in a window of 64; below it an update is refused.
#[test]
fn numbers_are_known_in_a_window() {
    check(
        "
        price 1  0.01/MiB
        account A  balance 1.00
        0s  A/1 initial #0    1 want 1MiB             -> granted 1MiB
        1s  A/1 update #100   1 used 1MiB want 1MiB   -> granted 1MiB
        2s  A/1 update #36    1 used 1MiB want 1MiB   -> refused AnswerGone
        3s  A/1 update #37    1 used 1MiB want 1MiB   -> granted 1MiB
        A main 0.98
    ",
    );
}

/// R25: an event session with many events does not forget the first one's key.
#[test]
fn many_events_of_one_session_are_charged_once() {
    let mut story = String::from(
        "
        price 1  0.01/ev
        account A  balance 1.00
        ",
    );
    for number in 0..=9 {
        story.push_str(&format!("{number}s  A/e debit #{number}  1 want 1ev  -> granted 1ev cost 0.01\n"));
    }
    story.push_str(
        "
        20s  A/e debit #9  1 want 1ev  -> granted 1ev cost 0.01 again
        20s  A/e debit #0  1 want 1ev  -> refused AnswerGone
        A main 0.90
        ",
    );
    check(&story);
}

/// R41: each event of one session is charged by its own circumstances: its kind of service and its number of messages.
#[test]
fn every_event_of_a_session_has_its_own_circumstances() {
    check(
        "
        price any  0.10/ev
        price any  0.03/ev  as sms
        account A  balance 1.00
        0s  A/e debit #0                     1 want 1ev  -> granted 1ev cost 0.10
        1s  A/e debit #1 as=sms messages=2   1 want any  -> granted 2ev cost 0.06
        2s  A/e debit #2 as=sms messages=3   1 want any  -> granted 3ev cost 0.09
        3s  A/e debit #2 as=sms messages=3   1 want any  -> granted 3ev cost 0.09 again
        3s  A/e debit #2 as=sms messages=4   1 want any  -> refused KeyReused
        4s  A/e debit #3                     1 want 2ev  -> granted 2ev cost 0.20
        A main 0.55
    ",
    );
}

// --- Credit: R26 ---

/// R26: spent, held and charged may reach the limit, not pass it.
#[test]
fn a_credit_limit_may_be_reached() {
    check(
        "
        price 1  0.10/ev
        account A  credit 1.00
        0s  A/1 debit #0    1 want 4ev   -> granted 4ev cost 0.40
        A spent 0.40
        1s  A/2 initial #0  1 want 5ev   -> granted 5ev
        A reserved 0.50
        2s  A/3 debit #0    1 want 2ev   -> refused CreditLimitReached
        2s  A/4 debit #0    1 want 1ev   -> granted 1ev cost 0.10
        3s  A/5 debit #0    1 want 1ev   -> refused CreditLimitReached
        4s  A/2 terminate #1  1 used 5ev -> settled
        A spent 1.00
        A reserved 0.00
    ",
    );
}

/// R26: a hybrid account spends its own money first, then credit; overuse goes beyond the limit.
#[test]
fn a_hybrid_account_spends_its_own_money_first() {
    check(
        "
        price 1  0.10/ev
        account A  balance 0.25  credit 0.50
        0s  A/1 debit #0      1 want 4ev            -> granted 4ev cost 0.40
        paid A main 0.25, credit 0.15
        1s  A/2 initial #0    1 want 9ev            -> granted 3ev final
        2s  A/2 terminate #1  1 used 6ev            -> settled
        A spent 0.75
        A main 0.00
    ",
    );
}

// --- Order of services, zero rated: R27, R28 ---

/// R27: each service is served against what the ones before it left.
#[test]
fn services_are_served_in_their_order() {
    check(
        "
        price any  0.01/MiB
        account A  balance 0.10
        0s  A/1 initial #0  2 want 8MiB; 1 want 8MiB; 3 want 8MiB  -> granted 8MiB; granted 2MiB final; denied credit
        5s  A/1 update #1   2 used 5MiB want 8MiB; 1 used 2MiB want 5MiB  -> granted 3MiB final; denied credit
        A main 0.03
        A reserved 0.03
    ",
    );
}

/// R28: a record of 0, no bucket touched, granted with an empty balance.
#[test]
fn zero_rated_usage_is_only_recorded() {
    check(
        "
        price 1  free
        price any  0.01/MiB
        account A  balance 0.00
        bucket A  free 5MiB
        0s  A/1 initial #0    1 want 50MiB  -> granted 50MiB
        A free reserved 0B
        9s  A/1 terminate #1  1 used 40MiB  -> settled
        cdrs A 0.00
        A free 5MiB
        9s  A/2 debit #0  1 want 7MiB  -> granted 7MiB cost 0.00
    ",
    );
}

// --- Refunds and negative usage: R29, R30 ---

/// R29: a whole charge goes back to where it came from, once.
#[test]
fn a_refund_goes_back_where_it_came_from() {
    check(
        "
        price 1  0.10/ev
        account A  balance 0.15  credit 1.00
        bucket A  free 2ev
        0s  A/e debit #0        1 want 5ev  -> granted 5ev cost 0.30
        paid A free 2ev, main 0.15, credit 0.15
        1s  A/r refund A/e #0               -> granted 0.30EUR cost 0.30
        paid A free -2ev, main -0.15, credit -0.15
        A free 2ev
        A main 0.15
        A spent 0.00
        2s  A/r refund A/e #0               -> granted 0.30EUR cost 0.30 again
        3s  A/s refund A/e #0               -> refused RefundBeyondCharge
        4s  A/s refund A/none #1            -> refused NothingToRefund
        cdrs A 0.30, refund -0.30
    ",
    );
}

/// R29: in parts, by money (what was paid last first) and by units; never more than the charge.
#[test]
fn a_refund_in_parts_never_passes_the_charge() {
    check(
        "
        price 1  0.10/ev
        account A
        bucket A  m1 0.15
        bucket A  m2 1.00
        0s  A/e debit #0        1 want 4ev       -> granted 4ev cost 0.40
        1s  A/r refund A/e #1  1 want 0.30EUR    -> granted 0.30EUR cost 0.30
        paid A m2 -0.25, m1 -0.05
        2s  A/r refund A/e #2  1 want 0.11EUR    -> refused RefundBeyondCharge
        3s  A/r refund A/e #3  1 want 0.10EUR    -> granted 0.10EUR cost 0.10
        4s  A/r refund A/e #4                    -> refused RefundBeyondCharge
        A m1 0.15
        A m2 1.00
    ",
    );
    check(
        "
        price 1  0.10/ev
        account A  balance 1.00
        0s  A/e debit #0        1 want 4ev   -> granted 4ev cost 0.40
        1s  A/r refund A/e #1  1 want 5ev    -> refused RefundBeyondCharge
        2s  A/r refund A/e #2  1 want 1ev    -> granted 1ev cost 0.10
        3s  A/r refund A/e #3  1 want 4ev    -> refused RefundBeyondCharge
        4s  A/r refund A/e #4  1 want 3ev    -> granted 3ev cost 0.30
        5s  A/r refund A/e #5  1 want 1ev    -> refused RefundBeyondCharge
        A main 1.00
    ",
    );
}

/// R29: whatever the portions, all units give back exactly what was taken; single ones may be worth less than can move.
#[test]
fn a_refund_of_all_units_in_portions_is_whole() {
    check(
        "
        rounding 2 half_up event
        price 1  0.10/3ev
        account A  credit 1.00
        bucket A  free 1ev
        bucket A  m1 0.05
        0s  A/e debit #0        1 want 4ev   -> granted 4ev cost 0.10
        paid A free 1ev, m1 0.05, credit 0.05
        1s  A/r refund A/e #1  1 want 1ev    -> granted 1ev cost 0.025
        paid A credit -0.025
        2s  A/r refund A/e #2  1 want 2ev    -> granted 2ev cost 0.05
        paid A credit -0.025, m1 -0.025
        3s  A/r refund A/e #3  1 want 2ev    -> refused RefundBeyondCharge
        4s  A/r refund A/e #4  1 want 1ev    -> granted 1ev cost 0.025
        paid A free -1ev, m1 -0.025
        A free 1ev
        A m1 0.05
        A spent 0.00
    ",
    );
    check(
        "
        price 1  0.000001/ev<1ev 0.00/ev
        account A  balance 1.00
        0s  A/e debit #0       1 want 3ev   -> granted 3ev cost 0.000001
        1s  A/r refund A/e #1  1 want 2ev   -> granted 2ev cost 0.00
        2s  A/r refund A/e #2  1 want 1ev   -> granted 1ev cost 0.000001
        A main 1.00
    ",
    );
}

/// R29: a charge is given back in what it was counted in, or in money, or whole; money given back before counts.
#[test]
fn a_refund_is_in_the_measure_of_the_charge() {
    check(
        "
        price 1  0.10/ev
        account A  balance 1.00
        0s  A/e debit #0       1 want 4ev      -> granted 4ev cost 0.40
        1s  A/r refund A/e #1  1 want 4s       -> refused RatingFailed
        2s  A/r refund A/e #2  1 want 0.30EUR  -> granted 0.30EUR cost 0.30
        3s  A/r refund A/e #3  1 want 1ev      -> refused RefundBeyondCharge
        4s  A/r refund A/e #4  1 want 4ev      -> granted 4ev cost 0.10
        A main 1.00
        5s  A/f debit #0       1 want 0.40EUR  -> granted 0.40EUR cost 0.40
        6s  A/s refund A/f #1  1 want 1ev      -> refused RatingFailed
        7s  A/s refund A/f #2                  -> granted 0.40EUR cost 0.40
    ",
    );
}

/// R29: nothing named means all of the event, every service of it.
#[test]
fn a_whole_refund_covers_every_service() {
    check(
        "
        price any  0.10/ev
        account A  balance 1.00
        0s  A/e debit #0      1 want 2ev; 2 want 3ev   -> granted 2ev; granted 3ev cost 0.50
        1s  A/r refund A/e #0  2 want 1ev              -> granted 1ev cost 0.10
        2s  A/r refund A/e #1                          -> granted 0.40EUR cost 0.40
        3s  A/r refund A/e #2                          -> refused RefundBeyondCharge
        A main 1.00
    ",
    );
}

/// R30: usage is never negative; money that the network names below zero goes to a person.
#[test]
fn negative_money_is_kept_for_a_person() {
    check(
        "
        price 1  0.10/ev
        account A  balance 1.00
        0s  A/1 initial #0    1 want 0.50EUR                 -> granted 0.50EUR
        1s  A/1 update #1     1 used -0.10EUR want 0.50EUR   -> denied rating
        2s  A/1 update #2     1 used 0.10EUR want 2.00EUR    -> granted 0.90EUR final
        cdrs A suspense, 0.10
        3s  A/e debit #0      1 want -0.10EUR                -> refused RatingFailed
    ",
    );
}

// --- The charging algorithm: design section 3 ---

/// Numbers out of order are handled: each report counts once, in the order of arrival.
#[test]
fn numbers_out_of_order_are_handled() {
    check(
        "
        rounding 2 half_up event
        price 1  0.333/MiB
        account A  balance 2.00
        0s  A/1 initial #0    1 want 1MiB            -> granted 1MiB
        1s  A/1 update #2     1 used 1MiB want 1MiB  -> granted 1MiB
        2s  A/1 update #1     1 used 1MiB want 1MiB  -> granted 1MiB
        3s  A/1 update #2     1 used 1MiB want 1MiB  -> granted 1MiB again
        4s  A/1 terminate #3  1 used 1MiB            -> settled
        5s  A/1 update #4     1 used 1MiB want 1MiB  -> settled gone    (overtaken by the stop: settled, nothing granted)
        cdrs A 0.33, 0.34, 0.33, 0.33
        A reserved 0.00
    ",
    );
}

/// A report that was overtaken by the next request is settled and leaves that one's grant in force, and what it holds.
#[test]
fn an_overtaken_report_leaves_the_newer_grant() {
    check(
        "
        price 1  0.01/MiB
        account A  balance 0.12
        0s  A/1 initial #0    1 want 5MiB             -> granted 5MiB
        1s  A/1 update #2     1 used 2MiB want 8MiB   -> granted 8MiB
        A reserved 0.08
        2s  A/1 update #1     1 used 1MiB             -> settled
        A reserved 0.08
        A main 0.09
        3s  A/2 initial #0    1 want 5MiB             -> granted 1MiB final
        3s  A/2 terminate #1  1 used 0MiB             -> settled
        4s  A/1 update #3     1 used 1MiB             -> settled
        A reserved 0.00
    ",
    );
    // As far as it is still there.
    check(
        "
        price 1  0.01/MiB
        account A  balance 0.10
        0s  A/1 initial #0    1 want 5MiB             -> granted 5MiB
        1s  A/1 update #2     1 used 2MiB want 8MiB   -> granted 8MiB
        2s  A/1 update #1     1 used 3MiB             -> settled
        A reserved 0.05
        A main 0.05
    ",
    );
}

/// Several updates in flight for different services do not disturb each other's grants.
#[test]
fn updates_in_flight_do_not_disturb_each_other() {
    check(
        "
        price any  0.01/MiB
        account A  balance 1.00
        0s  A/1 initial #0    1 want 10MiB; 2 want 10MiB  -> granted 10MiB; granted 10MiB
        1s  A/1 update #1     1 used 10MiB want 20MiB     -> granted 20MiB
        1s  A/1 update #2     2 used 5MiB want 30MiB      -> granted 30MiB
        A reserved 0.50
        A main 0.85
        2s  A/1 update #3     1 used 7MiB                 -> settled
        A reserved 0.30
    ",
    );
}

/// A second termination with another number finds no session.
#[test]
fn a_session_ends_once() {
    check(
        "
        price 1  0.01/MiB
        account A  balance 1.00
        0s  A/1 initial #0    1 want 10MiB  -> granted 10MiB
        1s  A/1 terminate #1  1 used 1MiB   -> settled
        2s  A/1 terminate #2  1 used 1MiB   -> refused UnknownSession
        2s  A/9 update #1     1 used 1MiB   -> refused UnknownSession
        601s expire                         -> forgot A/1
        602s A/1 terminate #1  1 used 1MiB  -> refused UnknownSession
        A main 0.99
        A sessions 0
    ",
    );
}

/// Design D6: an initial request with other units closes the old session and opens it anew.
#[test]
fn a_session_is_opened_anew() {
    check(
        "
        price 1  0.01/MiB
        account A  balance 1.00
        0s  A/1 initial #0    1 want 10MiB            -> granted 10MiB
        1s  A/1 update #1     1 used 5MiB want 10MiB  -> granted 10MiB
        9s  A/1 initial #0    1 want 20MiB            -> granted 20MiB
        cdrs A 0.05, lapse reopened
        A reserved 0.20
        A open 1
        10s A/1 update #1     1 used 5MiB want 10MiB  -> granted 10MiB      (the new session's first)
        A main 0.90
    ",
    );
}

/// Design D6: a client that lost its state opens the session anew with the same units.
#[test]
fn a_restarted_client_opens_anew() {
    check(
        "
        price 1  0.01/MiB
        account A  balance 1.00
        0s  A/1 initial #0 state=7  1 want 10MiB  -> granted 10MiB
        1s  A/1 initial #0 state=7  1 want 10MiB  -> granted 10MiB again
        2s  A/1 initial #0          1 want 10MiB  -> granted 10MiB again
        3s  A/1 initial #0 state=8  1 want 10MiB  -> granted 10MiB
        cdrs A lapse reopened
        A reserved 0.10
        A open 1
    ",
    );
}

/// Design 3.1: more than the line can carry, or more seconds than passed, is kept for a person; others go on.
#[test]
fn absurd_usage_is_kept_for_a_person() {
    check(
        "
        price 1  0.01/GiB
        price 2  0.01/s
        account A  balance 100.00
        0s   A/1 initial #0  1 want 1GiB; 2 want 10s                         -> granted 1GiB; granted 10s
        10s  A/1 update #1   1 used 900GiB want 1GiB; 2 used 10s want 10s    -> denied suspect; granted 10s
        cdrs A suspense, 0.10
        20s  A/1 update #2   1 used 1GiB want 1GiB; 2 used 310s want 10s     -> granted 1GiB; granted 10s
        30s  A/1 update #3   2 used 311s want 10s                            -> denied suspect
        cdrs A suspense, 0.10, 0.01, 3.10, suspense
    ",
    );
}

/// Design 3.1: reports that waited out an outage and come at once are true as long as all of them fit into the time since
/// the session began.
#[test]
fn reports_that_waited_are_believed() {
    check(
        "
        price 1  0.01/s
        account A  balance 100.00
        0s     A/1 initial #0    1 want 400s            -> granted 400s
        1200s  A/1 update #1     1 used 400s want 400s  -> granted 400s
        1200s  A/1 update #2     1 used 400s want 400s  -> granted 400s
        1200s  A/1 update #3     1 used 400s want 400s  -> granted 400s
        1200s  A/1 update #4     1 used 301s want 400s  -> denied suspect
        1200s  A/1 update #5     1 used 300s want 400s  -> granted 400s
        cdrs A 4.00, 4.00, 4.00, suspense, 3.00
    ",
    );
}

/// Clients leave the service identifier out of their last reports: a report of the group alone is its only service's.
#[test]
fn a_report_of_the_group_alone_is_its_only_services() {
    check(
        "
        price any  0.01/MiB
        account A  balance 1.00
        0s  A/1 initial #0    1/5 want 5MiB; 2/6 want 5MiB; 2/7 want 5MiB  -> granted 5MiB; granted 5MiB; granted 5MiB
        1s  A/1 update #1     1 used 2MiB                                  -> settled
        cdrs A 0.02
        A reserved 0.10
        2s  A/1 terminate #2  1 used 1MiB; 2 used 1MiB                     -> settled; settled
        cdrs A 0.02, 0.01, 0.01
        A reserved 0.00
    ",
    );
    // Cumulative with what the service used before: two times half a pulse is one.
    check(
        "
        price any  0.10/MiB  pulse 1MiB/1MiB
        account A  balance 1.00
        0s  A/1 initial #0    1/5 want 5MiB                -> granted 5MiB
        1s  A/1 update #1     1/5 used 512KiB want 5MiB    -> granted 5MiB
        2s  A/1 terminate #2  1 used 512KiB                -> settled
        cdrs A 0.10, 0.00
    ",
    );
}

/// Design D12: usage of more services than a session may have is kept for a person; services that got nothing and used
/// nothing take no room.
#[test]
fn usage_of_too_many_services_is_kept_for_a_person() {
    let mut story = String::from(
        "
        price any  0.01/MiB
        account A  balance 2.00
        0s  A/1 initial #0    1000 want 1s  -> denied rating
        ",
    );
    for group in 1..=128 {
        story.push_str(&format!("1s A/1 update #{group}  {group} want 1MiB  -> granted 1MiB\n"));
    }
    story.push_str(
        "
        2s  A/1 update #200   129 used 3MiB want 1MiB   -> denied service
        3s  A/1 update #201   129 want 1MiB             -> denied service
        cdrs A suspense
        4s  A/1 update #202   128 used 1MiB want 1MiB   -> granted 1MiB
        cdrs A suspense, 0.01
        ",
    );
    check(&story);
}

/// RFC 8506 8.22: money of 0 says nothing about octets beside it, which are charged; both at once are kept for a person.
#[test]
fn octets_beside_money_do_not_vanish() {
    check(
        "
        price 1  0.01/MiB
        account A  balance 1.00
        0s  A/1 initial #0    1 want 5MiB                     -> granted 5MiB
        1s  A/1 update #1     1 used 3MiB+0.00EUR want 5MiB   -> granted 5MiB
        2s  A/1 update #2     1 used 3MiB+0.10EUR want 5MiB   -> denied rating
        3s  A/1 update #3     1 used 0.10EUR want 5MiB        -> granted 5MiB
        cdrs A 0.03, suspense, 0.10
    ",
    );
}

/// Design D12: beyond the limit a start is refused as too busy; what goes on goes on.
#[test]
fn too_many_sessions_are_too_busy() {
    check(
        "
        limits 1 10
        price 1  0.01/MiB
        account A  balance 1.00
        0s  A/1 initial #0    1 want 10MiB            -> granted 10MiB
        1s  A/2 initial #0    1 want 10MiB            -> refused TooBusy
        2s  A/1 update #1     1 used 5MiB want 10MiB  -> granted 10MiB
        3s  A/1 initial #0    1 want 20MiB            -> granted 20MiB    (in place of itself)
        4s  A/1 terminate #1  1 used 5MiB             -> settled
        5s  A/2 initial #0    1 want 10MiB            -> granted 10MiB
    ",
    );
}

/// Design D6, D12: sessions that were forgotten in time do not push an event out of memory; too many at once do.
#[test]
fn an_event_outlives_forgotten_sessions() {
    check(
        "
        limits 10 2
        price 1  0.01/MiB
        account A  balance 1.00
        0s     A/e debit #0      1 want 1MiB   -> granted 1MiB cost 0.01
        1s     A/1 initial #0    1 want 10MiB  -> granted 10MiB
        2s     A/1 terminate #1  1 used 1MiB   -> settled
        700s   expire                          -> forgot A/1
        701s   A/2 initial #0    1 want 10MiB  -> granted 10MiB
        702s   A/2 terminate #1  1 used 1MiB   -> settled
        703s   A/e debit #0      1 want 1MiB   -> granted 1MiB cost 0.01 again
        704s   A/f debit #0      1 want 1MiB   -> granted 1MiB cost 0.01
        705s   A/e debit #0      1 want 1MiB   -> granted 1MiB cost 0.01     (the oldest was forgotten early)
    ",
    );
}

/// R23: use above the grant is debited and the session goes on while there is money.
#[test]
fn use_above_the_grant_is_debited() {
    check(
        "
        price 1  0.01/MiB
        account A  balance 1.00
        0s  A/1 initial #0  1 want 10MiB             -> granted 10MiB
        1s  A/1 update #1   1 used 25MiB want 10MiB  -> granted 10MiB
        A main 0.75
        A reserved 0.10
    ",
    );
}

/// Two sessions drain one balance; neither is promised what the other holds.
#[test]
fn two_sessions_drain_one_balance() {
    check(
        "
        price 1  0.01/MiB
        account A  balance 0.20
        0s  A/1 initial #0    1 want 15MiB             -> granted 15MiB
        0s  A/2 initial #0    1 want 15MiB             -> granted 5MiB final
        5s  A/1 update #1     1 used 15MiB want 15MiB  -> denied credit
        6s  A/2 update #1     1 used 5MiB want 5MiB    -> denied credit
        A main 0.00
        A reserved 0.00
        7s  topup A main 0.10
        8s  A/2 update #2     1 want 5MiB              -> granted 5MiB
        8s  A/1 update #2     1 want 15MiB             -> granted 5MiB final
    ",
    );
}

/// R41: a bucket that ends inside a grant's life cuts the validity; what is used after it is paid by others.
#[test]
fn a_bucket_ends_inside_a_session() {
    check(
        "
        price 1  0.01/s
        account A  balance 1.00
        bucket A  free 1000s  until 100s
        0s    A/1 initial #0    1 want 300s            -> granted 300s valid 100s
        100s  A/1 update #1     1 used 100s want 60s   -> granted 60s valid 1800s
        paid A free 100s
        160s  A/1 terminate #2  1 used 60s             -> settled
        paid A main 0.60
        A free 900s
    ",
    );
}

/// R41: a bucket that begins inside a grant's life cuts the validity, so that what is used from then on is paid by it.
#[test]
fn a_bucket_begins_inside_a_session() {
    check(
        "
        price 1  0.01/MiB
        price 2  free
        account A  balance 1.00
        bucket A  late 10MiB  from 100s
        bucket A  other 10MiB  from 50s  for 7
        bucket A  used_up 0MiB  from 60s
        0s    A/1 initial #0    1 want 5MiB; 2 want 5MiB      -> granted 5MiB valid 100s; granted 5MiB valid 1800s
        100s  A/1 update #1     1 used 1MiB want 5MiB         -> granted 5MiB valid 1800s
        paid A main 0.01
        A late reserved 5MiB
        110s  A/1 terminate #2  1 used 5MiB                   -> settled
        paid A late 5MiB
    ",
    );
}

/// R22, R41: a grant is for what is used from now on, whatever the client's clock says; what was used is charged as of
/// the client's time.
#[test]
fn a_grant_is_made_now() {
    check(
        "
        price 1  0.01/MiB
        account A  balance 1.00
        bucket A  old 10MiB  until 100s
        90s   A/1 initial #0         1 want 5MiB            -> granted 5MiB valid 10s
        150s  A/1 update #1 at=95s   1 used 2MiB want 3MiB  -> granted 3MiB valid 1800s
        paid A old 2MiB
        A old reserved 0B
        A reserved 0.03
    ",
    );
}

/// R12, R17, R41: seconds are laid end to end; those after the bucket's end are not paid by it, whenever they are reported.
#[test]
fn a_bucket_ends_inside_a_report() {
    check(
        "
        price 1  0.60/60s  pulse 60/60
        account A  balance 1.00
        bucket A  free 1000s  until 100s
        bucket A  next 1000s  from 200s
        0s    A/1 initial #0    1 want 300s   -> granted 300s
        300s  A/1 terminate #1  1 used 300s   -> settled
        paid A free 120s, main 1.20, next 60s      (pulses start at 0, 60 | 120, 180 | 240)
        cdrs A 1.20
        A main -0.20
        0s    A/e debit #0  1 want 119s       -> granted 119s cost 0.00
        paid A free 120s
    ",
    );
}

/// R41: usage after a pause without a grant begins at the next grant, so that a bucket bought in between pays for it.
#[test]
fn usage_after_a_pause_begins_at_the_grant() {
    check(
        "
        price 1  0.01/s
        account A  balance 0.10
        0s    A/1 initial #0    1 want 10s            -> granted 10s
        10s   A/1 update #1     1 used 10s want 10s   -> denied credit
        50s   topup A extra 1.00 from 50s
        60s   A/1 update #2     1 want 10s            -> granted 10s
        70s   A/1 terminate #3  1 used 10s            -> settled
        paid A extra 0.10
        A main 0.00
    ",
    );
}

/// Design 3.6: twice the validity in silence ends the session; a report within an hour is settled, nothing granted.
#[test]
fn a_silent_session_expires_and_a_late_report_is_settled() {
    check(
        "
        price 1  0.01/MiB  validity 300s
        account A  balance 1.00
        0s     A/1 initial #0    1 want 10MiB            -> granted 10MiB
        200s   A/1 update #1     1 used 5MiB want 10MiB  -> granted 10MiB
        799s   expire                                    -> nothing
        800s   expire                                    -> ended A/1
        A reserved 0.00
        cdrs A 0.05, lapse expired
        2000s  A/1 update #2     1 used 5MiB want 10MiB  -> settled gone
        2001s  A/1 update #2     1 used 5MiB want 10MiB  -> settled gone again
        3000s  A/1 terminate #3  1 used 1MiB             -> settled
        3001s  A/1 terminate #3  1 used 1MiB             -> settled again
        A main 0.89
        9000s  expire                                    -> forgot A/1
        9001s  A/1 update #4     1 used 1MiB             -> refused UnknownSession
        A sessions 0
    ",
    );
}

/// Design 3.6: the deadline comes forward when what is granted now is valid for less long than what was.
#[test]
fn a_shorter_validity_brings_the_deadline_forward() {
    check(
        "
        price 1  0.01/MiB  validity 60s
        price 2  0.01/MiB  validity 1800s
        account A  balance 1.00
        0s     A/1 initial #0    2 want 10MiB                         -> granted 10MiB
        10s    A/1 update #1     2 used 10MiB; 1 want 10MiB           -> settled; granted 10MiB
        129s   expire                                                 -> nothing
        130s   expire                                                 -> ended A/1
        A reserved 0.00
    ",
    );
}

/// Design 3.6: a validity that was cut to a bucket's end does not end the session before its client can come back.
#[test]
fn a_validity_of_seconds_leaves_time_to_come_back() {
    check(
        "
        price 1  0.01/s
        account A  balance 1.00
        bucket A  free 1000s  until 100s
        98s   A/1 initial #0    1 want 2s             -> granted 2s valid 2s
        103s  expire                                  -> nothing
        157s  expire                                  -> nothing
        158s  expire                                  -> ended A/1
        A reserved 0.00
    ",
    );
}

/// Design 3.6: a stop late in the hour keeps its answer for ten minutes more, and is forgotten then.
#[test]
fn a_very_late_stop_is_forgotten_in_time() {
    check(
        "
        price 1  0.01/MiB  validity 300s
        account A  balance 1.00
        0s     A/1 initial #0    1 want 10MiB  -> granted 10MiB
        600s   expire                          -> ended A/1
        4100s  A/1 terminate #1  1 used 1MiB   -> settled
        4200s  expire                          -> nothing
        4300s  A/1 terminate #1  1 used 1MiB   -> settled again
        4700s  expire                          -> forgot A/1
        A sessions 0
    ",
    );
}

/// A suspended account gets no further grant; what was used is debited; new sessions and events are refused.
#[test]
fn a_suspended_account_gets_nothing_more() {
    check(
        "
        price 1  0.01/MiB
        account A  balance 1.00
        0s  A/1 initial #0    1 want 10MiB            -> granted 10MiB
        1s  suspend A
        2s  A/1 update #1     1 used 5MiB want 10MiB  -> denied service
        A main 0.95
        A reserved 0.00
        3s  A/2 initial #0    1 want 10MiB            -> refused ServiceDenied
        3s  A/e debit #0      1 want 1MiB             -> refused ServiceDenied
        4s  bar A
        5s  A/1 update #2     1 used 5MiB want 10MiB  -> denied rejected
        5s  A/3 initial #0    1 want 10MiB            -> refused Rejected
        6s  activate A
        7s  A/1 update #3     1 want 10MiB            -> granted 10MiB
        8s  A/1 terminate #4  1 used 1MiB             -> settled
        A main 0.89
    ",
    );
}

/// Design 3.4: a rating group without a price is denied alone; its usage is kept for a person.
#[test]
fn an_unknown_rating_group_is_denied_alone() {
    check(
        "
        price 1  0.01/MiB
        account A  balance 1.00
        0s  A/1 initial #0    1 want 10MiB; 99 want 10MiB            -> granted 10MiB; denied rating
        1s  A/1 update #1     99 used 5MiB; 1 used 5MiB want 10MiB   -> denied rating; granted 10MiB
        2s  A/1 update #2     1 used 10s want 10s                    -> denied rating   (the price counts octets)
        3s  A/1 update #3     1 want 1MiB                            -> granted 1MiB
        cdrs A suspense, 0.05, suspense
    ",
    );
}

/// RFC 8506: where units stand at command level, a denial ends the session on both sides. What the client used until it
/// heard of it comes with its stop and is debited, once.
#[test]
fn a_denial_at_command_level_ends_the_session() {
    check(
        "
        price any  0.01/MiB
        account A  balance 0.05
        0s  A/1 initial #0 level  all want 5MiB            -> granted 5MiB
        1s  A/1 update #1 level   all used 5MiB want 5MiB  -> denied credit
        A open 0
        2s  A/1 terminate #2 level  all used 1MiB          -> settled
        A main -0.01
        3s  A/1 terminate #2 level  all used 1MiB          -> settled again
        3s  A/1 terminate #3 level  all used 1MiB          -> refused UnknownSession
        cdrs A 0.05, 0.01
        3s  A/2 initial #0 level  all want 5MiB            -> denied credit
        A open 0
        A reserved 0.00
        700s expire                                        -> forgot A/1 / forgot A/2
    ",
    );
}

/// Design D11: an empty request is sized by the price's policy; a client that hurries gets twice as much, up to the cap.
#[test]
fn an_empty_request_is_sized() {
    check(
        "
        price 1  0.01/MiB  validity 400s  grant 10MiB 1MiB 30MiB
        account A  balance 100.00
        0s   A/1 initial #0  1 want any             -> granted 10MiB valid 400s threshold 2097152
        99s  A/1 update #1   1 used 8MiB want any   -> granted 20MiB
        199s A/1 update #2   1 used 20MiB want any  -> granted 10MiB   (100 s are no hurry)
        209s A/1 update #3   1 used 9MiB want any   -> granted 20MiB
        219s A/1 update #4   1 used 17MiB want any  -> granted 30MiB
        220s A/1 update #5   1 used 1MiB want any   -> granted 10MiB
        220s A/2 initial #0 cap=4MiB  1 want any    -> granted 4MiB
        221s A/3 initial #0 cap=4MiB  1 want 9MiB   -> granted 4MiB
    ",
    );
}

/// Design D11: near empty, grants taper so that several sessions can share; affordability beats the floor.
#[test]
fn grants_taper_near_empty() {
    check(
        "
        price 1  0.01/MiB  grant 10MiB 1MiB 30MiB
        account A  balance 0.20
        0s  A/1 initial #0  1 want any            -> granted 10MiB threshold 2097152
        0s  A/2 initial #0  1 want any            -> granted 5MiB
        0s  A/3 initial #0  1 want any            -> granted 2560KiB
        0s  A/4 initial #0  1 want any            -> granted 1280KiB
        0s  A/5 initial #0  1 want any            -> granted 1MiB
        0s  A/6 initial #0  1 want any            -> granted 256KiB final threshold 0
        0s  A/7 initial #0  1 want any            -> denied credit
        A reserved 0.20
    ",
    );
}

/// Design D10: an Open5GS client's named amount is sized by us; its last slice is not marked and has no threshold.
#[test]
fn an_open5gs_client_is_sized_and_never_told_final() {
    check(
        "
        price 1  0.01/MiB  grant 10MiB 1MiB 30MiB
        account A  balance 0.015
        0s  A/1 initial #0 open5gs  1 want 1000MiB              -> granted 1MiB threshold 209715
        1s  A/1 update #1 open5gs   1 used 1MiB want 1000MiB    -> granted 512KiB threshold 0
        2s  A/1 update #2 open5gs   1 used 512KiB want 1000MiB  -> denied credit
        A main 0.00
    ",
    );
}

/// R21: events share a name within bounds; beyond them the next one is told to take another, and nothing is charged.
#[test]
fn one_name_is_for_so_many_events() {
    let debit = |number: usize| format!("0s A/e debit #{number} 1 want 1ev -> granted 1ev cost 0.01\n");
    let debits: String = (0..64).map(debit).collect();
    check(&format!(
        "
        price 1  0.01/ev
        account A  balance 1.00
        {debits}
        1s A/e debit #64  1 want 1ev -> refused Invalid
        1s A/e debit #63  1 want 1ev -> granted 1ev cost 0.01 again
        1s A/f debit #0   1 want 1ev -> granted 1ev cost 0.01
        A main 0.35
    "
    ));
}
