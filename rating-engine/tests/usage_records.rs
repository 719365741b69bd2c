//! Stories of usage records: usage that is told later, all at once, under an id of its own (R16, R23, R25, R31).
#![expect(clippy::expect_used, clippy::panic, reason = "a story that cannot be read or does not hold is a failed test")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod story;
#[allow(dead_code, reason = "each test file uses its part of it")]
mod world;

use story::check;

/// A call of 61 s at 0.09 per minute, 60/60: 0.18. Handed in twice it is charged once; another record under its id not at all.
#[test]
fn a_record_is_charged_once() {
    check(
        "
        clock 2027-01-08T12:00:00Z
        price any  0.09/60s  pulse 60/60
        account A  balance 10.00
        3600s A/1 record #0 at=0s until=61s  1 used 61s -> settled cost 0.18
        3601s A/1 record #0 at=0s until=61s  1 used 61s -> settled cost 0.18 again
        3602s A/1 record #0 at=0s until=62s  1 used 62s -> refused KeyReused
        A main 9.82
        cdrs A 0.18
    ",
    );
}

/// A month and more later the id is still known; when it is forgotten, the record is too old to be charged.
#[test]
fn an_id_is_remembered_as_long_as_its_record_could_be_charged() {
    check(
        "
        clock 2027-01-08T12:00:00Z
        price any  0.10/ev
        account A  balance 10.00
        0s       A/1 record #0 at=0s  1 used 1ev -> settled cost 0.10
        2600000s A/1 record #0 at=0s  1 used 1ev -> settled cost 0.10 again
        2680000s expire -> forgot A/1
        2680001s A/1 record #0 at=0s  1 used 1ev -> denied suspect cost 0.00
        A main 9.90
        cdrs A 0.10, suspense
    ",
    );
}

/// The version in force when it was used counts, not the one of today (R16): 3 at 0.10, then 3 at 0.20.
#[test]
fn late_usage_is_charged_by_the_version_of_its_time() {
    check(
        "
        clock 2027-01-08T12:00:00Z
        price any  0.10/ev
        version 1000s
        price any  0.20/ev
        account A  balance 10.00
        5000s A/1 record #0 at=500s   1 used 3ev -> settled cost 0.30
        5001s A/2 record #0 at=1000s  1 used 3ev -> settled cost 0.60
        windows A v1 any 0.30, v2 any 0.60
    ",
    );
}

/// A call over a switch is charged pulse by pulse, each at its own time: 60 s at 0.10 a minute, then 60 s at 0.20.
#[test]
fn a_call_over_a_switch_has_two_prices() {
    check(
        "
        clock 2027-01-08T12:00:00Z
        price any  0.10/60s  pulse 60/60
        version 1000s
        price any  0.20/60s  pulse 60/60
        account A  balance 10.00
        5000s A/1 record #0 at=940s until=1060s  1 used 120s -> settled cost 0.30
        windows A v1 any 0.10, v2 any 0.20
    ",
    );
}

/// Against the buckets as they are now (R16): what was bought since pays; what had lapsed does not come back.
#[test]
fn late_usage_meets_the_buckets_of_today() {
    check(
        "
        clock 2027-01-08T12:00:00Z
        price any  0.01/MiB
        account A  balance 10.00
        bucket A old 100MiB until 1000s
        bucket A new 100MiB from 2000s
        5000s expire -> nothing
        A old 0B
        5001s A/1 record #0 at=500s   1 used 10MiB -> settled cost 0.10
        5002s A/2 record #0 at=2500s  1 used 10MiB -> settled cost 0.00
        A new 90MiB
        A main 9.90
    ",
    );
}

/// What was used is charged, also beyond what there is, and also on an account that may use nothing any more (R23).
#[test]
fn what_was_used_is_charged_whatever_there_is() {
    check(
        "
        clock 2027-01-08T12:00:00Z
        price any  0.10/ev
        account A  balance 0.15
        0s A/1 record #0  1 used 2ev -> settled cost 0.20
        A main -0.05
        1s suspend A
        2s A/2 record #0  1 used 1ev -> settled cost 0.10
        A main -0.15
        3s bar A
        4s A/3 record #0  1 used 1ev -> settled cost 0.10
        A main -0.25
    ",
    );
}

/// A bundle pays records, too, and what sessions hold stays theirs.
#[test]
fn buckets_pay_records_and_holds_stay() {
    check(
        "
        clock 2027-01-08T12:00:00Z
        price any  0.01/MiB
        account A  balance 10.00
        bucket A data 100MiB
        0s A/s initial #0  1 want 80MiB -> granted 80MiB
        1s A/1 record #0   1 used 50MiB -> settled cost 0.30
        A data 80MiB
        A data reserved 80MiB
        2s A/s terminate #1  1 used 80MiB -> settled
        A data 0B
        A main 9.70
    ",
    );
}

/// Several services in one record: what has no price is kept for a person, the others are charged (R27).
#[test]
fn what_cannot_be_rated_is_kept_and_the_rest_charged() {
    check(
        "
        clock 2027-01-08T12:00:00Z
        price 1  0.10/ev
        account A  balance 10.00
        0s A/1 record #0  1 used 2ev; 2 used 5ev; 1 used 10s -> settled; denied rating; denied rating cost 0.20
        cdrs A 0.20, suspense, suspense
        A main 9.80
    ",
    );
}

/// More seconds than lie between beginning and end, more octets than any network carries, usage that is still to come: a
/// person looks at it.
#[test]
fn what_cannot_be_true_is_kept_for_a_person() {
    check(
        "
        clock 2027-01-08T12:00:00Z
        price 1  0.09/60s
        price 2  0.01/MiB
        account A  balance 10.00
        9000s A/1 record #0 at=0s until=60s  1 used 400s -> denied suspect cost 0.00
        9001s A/2 record #0 at=0s until=60s  2 used 3000000000000B -> denied suspect cost 0.00
        9002s A/3 record #0 at=9400s  1 used 10s -> denied suspect cost 0.00
        cdrs A suspense, suspense, suspense
        A main 10.00
    ",
    );
}

/// An unanswered call: known, and nothing to charge, no connect fee either (R05, R07).
#[test]
fn nothing_used_costs_nothing() {
    check(
        "
        clock 2027-01-08T12:00:00Z
        price any  0.09/60s  fee 0.10
        account A  balance 10.00
        10s A/1 record #0 at=0s  1 used 0s -> settled cost 0.00
        11s A/1 record #0 at=0s  1 used 0s -> settled cost 0.00 again
        cdrs A
    ",
    );
}

/// A record can be given back, as an event can (R29).
#[test]
fn a_record_can_be_refunded() {
    check(
        "
        clock 2027-01-08T12:00:00Z
        price any  0.10/ev
        account A  balance 1.00
        10s A/1 record #0 at=0s  1 used 3ev -> settled cost 0.30
        11s A/2 refund A/1 #0  1 want 1ev -> granted 1ev cost 0.10
        A main 0.80
        cdrs A 0.30, refund -0.10
    ",
    );
}

/// 0.30 were owed and have been paid by a top-up since: given back, they are in its bucket and nobody owes less than nothing.
#[test]
fn what_was_owed_and_paid_comes_back_as_money() {
    check(
        "
        clock 2027-01-08T12:00:00Z
        price any  0.10/ev
        account A
        0s A/1 record #0  1 used 3ev -> settled cost 0.30
        A debt 0.30
        1s topup A main 0.20
        A debt 0.10
        2s A/2 refund A/1 #0 -> granted 0.30EUR cost 0.30
        A debt 0.00
        A main 0.20
        3s A/s initial #0  1 want 5ev -> granted 2ev final
    ",
    );
}

/// Usage of a period that is closed is booked in the oldest open one and says so; of an open one in its own (R31).
#[test]
fn late_records_are_booked_in_an_open_period() {
    check(
        "
        clock 2027-02-05T12:00:00Z
        timezone UTC
        periods 2027-01-01T00:00:00Z P1M 2027-02-01T00:00:00Z
        price any  0.10/ev
        account A  balance 1.00
        0s A/1 record #0 at=2027-01-30T12:00:00Z  1 used 1ev -> settled cost 0.10
        1s A/2 record #0 at=2027-02-04T12:00:00Z  1 used 1ev -> settled cost 0.10
        booked A 0.10 2027-02-01 of 2027-01-01, 0.10 2027-02-01
    ",
    );
}

/// Data of 20 MiB over half an hour is one record of one price: volume is of the instant it began at (R41).
#[test]
fn volume_belongs_to_its_beginning() {
    check(
        "
        clock 2027-01-08T12:00:00Z
        price any  0.01/MiB
        version 1000s
        price any  0.05/MiB
        account A  balance 10.00
        5000s A/1 record #0 at=900s until=2700s  1 used 20MiB -> settled cost 0.20
        windows A v1 any 0.20
    ",
    );
}

/// An employer's windows count at the time of use (R40).
#[test]
fn a_record_is_paid_by_who_paid_at_its_time() {
    check(
        "
        timezone Europe/Berlin
        window business 08:00-18:00 mon tue wed thu fri
        price any  0.10/60s  pulse 60/60
        account A  balance 10.00
        account B  balance 0.05
        sponsor A B business
        2027-01-08T20:00:00Z A/1 record #0 at=2027-01-08T16:59:00Z until=2027-01-08T17:01:00Z  1 used 120s -> settled cost 0.20
        windows A v1 any 0.10
        windows B v1 business 0.10
        B main -0.05
    ",
    );
}

/// Nothing is bought by what was used already.
#[test]
fn a_record_buys_no_pass() {
    check(
        "
        clock 2027-01-08T12:00:00Z
        price any  0.10/ev buys pass
        offer pass fee 1.00 once period P1D  more 10ev
        account A  balance 10.00
        10s A/1 record #0 at=0s  1 used 1ev -> settled cost 0.10
        A main 9.90
        cdrs A 0.10
    ",
    );
}
