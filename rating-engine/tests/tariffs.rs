//! Stories of tariffs: which price wins, by zone, network, radio access, access point and direction (R10), in which window
//! and version (R11 to R15), and what happens to time, volume and grants at a switch (R22, R41). Then the same against a
//! naive search and a naive clock.
#![expect(clippy::expect_used, clippy::panic, reason = "a story that cannot be read or does not hold is a failed test")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod story;
#[allow(dead_code, reason = "each test file uses its part of it")]
mod world;

use proptest::prelude::*;
use rating_engine::calendar::{Calendar, Span, Weekday, Window, WindowId, Zone};
use rating_engine::command::{Action, Requested, ServiceRequest, Used};
use rating_engine::context::{Plmn, Slice};
use rating_engine::ids::{PriceId, RatingGroup, ServiceId};
use rating_engine::money::{Money, Rate, Rounding};
use rating_engine::networks::Networks;
use rating_engine::selector::{Direction, Filter, Subject};
use rating_engine::shard::Limits;
use rating_engine::tariff::{PerWindow, Price, Pulse, Service, ServiceKey, TariffVersion, Tiers};
use rating_engine::time::Timestamp;
use rating_engine::units::{Measure, Units};
use rating_engine::zones::{Dialled, Zones};

use story::check;
use world::{World, command, draft, rating_group};

// --- Which price wins: R10 and the order of specificity ---

/// R10: 61 s rated 120 s: national 2 x 0.09, mobile 2 x 0.19; the rest of the world and names 1.99 a minute.
#[test]
fn the_longest_prefix_of_the_dialled_number_decides() {
    check(
        "
        zone national 49
        zone mobile 4915 4916 4917
        price any  0.09/60s  pulse 60/60  zone national
        price any  0.19/60s  pulse 60/60  zone mobile
        price any  1.99/60s  pulse 60/60
        account A  balance 10.00
        0s  A/1 debit #0 to=+4930123456            1 want 61s  -> granted 61s cost 0.18
        0s  A/2 debit #0 to=tel:+49-151-12345      1 want 61s  -> granted 61s cost 0.38
        0s  A/3 debit #0 to=0012125550100          1 want 60s  -> granted 60s cost 1.99
        0s  A/4 debit #0 to=sip:alice@example.org  1 want 60s  -> granted 60s cost 1.99
    ",
    );
}

/// A number known only later: what was used before it was told is of the same call.
#[test]
fn what_is_told_later_counts_from_the_beginning() {
    check(
        "
        zone mobile 4915
        price any  0.60/60s  pulse 60/60
        price any  1.20/60s  pulse 60/60  zone mobile
        account A  balance 10.00
        0s    A/1 initial #0                1 want 60s           -> granted 60s
        60s   A/1 update #1 to=+4915112345  1 used 60s want 60s  -> granted 60s
        cdrs A 1.20
        A reserved 1.20
    ",
    );
}

/// A call that comes in is free here; the number is that of whoever calls.
#[test]
fn incoming_calls_have_their_own_price() {
    check(
        "
        zone national 49
        price any  0.09/60s  pulse 60/60  zone national
        price any  free  incoming
        account A  balance 1.00
        0s  A/1 debit #0 to=+4930123    1 want 60s  -> granted 60s cost 0.09
        0s  A/2 initial #0 from=+1212   1 want 1MiB  -> granted 1MiB
        A reserved 0.00
    ",
    );
}

/// Roaming by country (208: France) and by network (222-01), else the home price.
#[test]
fn the_visited_network_decides() {
    check(
        "
        networks eu 208 222-01
        price any  0.02/MiB
        price any  0.05/MiB  visited eu
        account A  balance 10.00
        0s  A/1 debit #0 plmn=26201  1 want 10MiB  -> granted 10MiB cost 0.20
        0s  A/2 debit #0 plmn=20815  1 want 10MiB  -> granted 10MiB cost 0.50
        0s  A/3 debit #0 plmn=22201  1 want 10MiB  -> granted 10MiB cost 0.50
        0s  A/4 debit #0 plmn=22210  1 want 10MiB  -> granted 10MiB cost 0.20
        0s  A/5 debit #0             1 want 10MiB  -> granted 10MiB cost 0.20
    ",
    );
}

/// NB-IoT (8) and an access point of its own.
#[test]
fn radio_access_and_access_point_decide() {
    check(
        "
        price any  0.02/MiB
        price any  0.50/MiB  rat 8
        price any  0.01/MiB  apn fleet
        account A  balance 10.00
        0s  A/1 debit #0 rat=6                1 want 10MiB  -> granted 10MiB cost 0.20
        0s  A/2 debit #0 rat=8                1 want 10MiB  -> granted 10MiB cost 5.00
        0s  A/3 debit #0 rat=6 apn=FLEET      1 want 10MiB  -> granted 10MiB cost 0.10
        0s  A/4 debit #0 rat=8 apn=fleet      1 want 1MiB   -> granted 1MiB cost 0.50    (radio access comes first)
    ",
    );
}

/// The order: service identifier, rating group, service, zone, visited network, radio access, access point.
#[test]
fn the_first_thing_named_decides() {
    check(
        "
        zone mobile 4915
        networks eu 208
        price any  0.01/ev
        price any  0.02/ev  apn ims
        price any  0.03/ev  rat 6
        price any  0.04/ev  visited eu
        price any  0.05/ev  zone mobile
        price any  0.06/ev  as sms
        price 1    0.07/ev
        price any  0.08/ev  service 5
        account A  balance 10.00
        0s  A/1 debit #0                                                1/5 want 1ev  -> granted 1ev cost 0.08
        0s  A/2 debit #0 as=sms                                         1 want 1ev    -> granted 1ev cost 0.07
        0s  A/3 debit #0 as=sms to=4915 plmn=20801 rat=6 apn=ims        2 want 1ev    -> granted 1ev cost 0.06
        0s  A/4 debit #0 to=4915 plmn=20801 rat=6 apn=ims               2 want 1ev    -> granted 1ev cost 0.05
        0s  A/5 debit #0 plmn=20801 rat=6 apn=ims                       2 want 1ev    -> granted 1ev cost 0.04
        0s  A/6 debit #0 rat=6 apn=ims                                  2 want 1ev    -> granted 1ev cost 0.03
        0s  A/7 debit #0 apn=ims                                        2 want 1ev    -> granted 1ev cost 0.02
        0s  A/8 debit #0                                                2 want 1ev    -> granted 1ev cost 0.01
    ",
    );
}

/// A report that comes with new circumstances is of the old ones: 2 MiB of LTE at 0.01, then 2 MiB of 5G at 0.05.
#[test]
fn usage_is_priced_where_it_was_used() {
    check(
        "
        price any  0.01/MiB  rat 6
        price any  0.05/MiB  rat 51
        account A  balance 10.00
        0s   A/1 initial #0 rat=6     1 want 10MiB            -> granted 10MiB
        A reserved 0.10
        10s  A/1 update #1 rat=51     1 used 2MiB want 10MiB  -> granted 10MiB
        A reserved 0.50
        20s  A/1 terminate #2 rat=51  1 used 2MiB             -> settled
        cdrs A 0.02, 0.10
    ",
    );
}

// --- Other currencies: R36 ---

/// Worked figure of the rules: 3 MiB at 0.50 USD are 1.50 USD x 0.9217 = 1.38255, to four decimals 1.3826.
#[test]
fn an_exact_price_is_converted_and_rounded_once() {
    check(
        "
        rounding 2 half_up event
        exchange usd USD 4 2027-01-01T00:00:00Z 0.9217
        price any  0.50/MiB  via usd
        account A  balance 10.00
        2027-01-10T00:00:00Z A/1 debit #0  1 want 3MiB -> granted 3MiB cost 1.3826
        A main 8.6174
    ",
    );
}

/// In reports of a MiB each the sum is the same (R04): 0.4609, 0.4608 and 0.4609 of 0.4609, 0.9217, 1.3826.
#[test]
fn reports_do_not_move_the_conversion() {
    check(
        "
        rounding 2 half_up event
        exchange usd USD 4 2027-01-01T00:00:00Z 0.9217
        price any  0.50/MiB  via usd
        account A  balance 10.00
        2027-01-10T00:00:00Z A/1 initial #0    1 want 1MiB           -> granted 1MiB
        A reserved 0.46085
        2027-01-10T00:00:10Z A/1 update #1     1 used 1MiB want 1MiB -> granted 1MiB
        2027-01-10T00:00:20Z A/1 update #2     1 used 1MiB want 1MiB -> granted 1MiB
        2027-01-10T00:00:30Z A/1 terminate #3  1 used 1MiB           -> settled
        cdrs A 0.4609, 0.4608, 0.4609
    ",
    );
}

/// The rate is that of the usage: two minutes of January at 0.90, two of February at 0.50; 1.00 USD a minute.
#[test]
fn the_rate_is_that_of_the_usage_date() {
    check(
        "
        rounding 2 half_up event
        exchange usd USD 2 2027-01-01T00:00:00Z 0.90 2027-02-01T00:00:00Z 0.50
        price any  1.00/60s  pulse 60/60  via usd
        account A  balance 10.00
        2027-01-31T23:58:00Z A/1 debit #0  1 want 240s -> granted 240s cost 2.80
        A main 7.20
    ",
    );
}

/// Without a rate for its date usage cannot be rated; other services of the message go on.
#[test]
fn before_the_first_rate_nothing_can_be_converted() {
    check(
        "
        exchange usd USD 2 2027-01-01T00:00:00Z 0.90
        price 1  1.00/MiB  via usd
        price 2  1.00/MiB
        account A  balance 10.00
        2026-12-31T23:59:59Z A/1 initial #0  1 want 1MiB; 2 want 1MiB -> denied rating; granted 1MiB
        2026-12-31T23:59:59Z A/2 debit #0  1 want 1MiB -> refused RatingFailed
    ",
    );
}

/// Fees and limits are in the price's currency, too: 0.10 USD and 3 x 0.50 USD, at most 1.00 USD, at 0.90.
#[test]
fn fees_and_limits_are_converted() {
    check(
        "
        rounding 2 half_up event
        exchange usd USD 2 2027-01-01T00:00:00Z 0.90
        price 1  0.50/MiB  fee 0.10  via usd
        price 2  0.50/MiB  max 1.00  via usd
        account A  balance 10.00
        2027-01-10T00:00:00Z A/1 debit #0  1 want 3MiB -> granted 3MiB cost 1.44
        2027-01-10T00:00:01Z A/2 debit #0  2 want 3MiB -> granted 3MiB cost 0.90
    ",
    );
}

/// 0.90 pays for one MiB of 1.00 USD, not for two; the second is beyond what there is.
#[test]
fn grants_are_sized_in_the_accounts_currency() {
    check(
        "
        exchange usd USD 2 2027-01-01T00:00:00Z 0.90
        price 1  1.00/MiB  pulse 1MiB/1MiB  via usd
        account A  balance 1.70
        2027-01-10T00:00:00Z A/1 initial #0  1 want 2MiB -> granted 1MiB final
        A reserved 0.90
    ",
    );
}

// --- Accounting periods: R31, R43 ---

/// A call over the turn of the month is two CDRs: two minutes are January's, three are February's.
#[test]
fn a_cdr_is_of_one_accounting_period() {
    check(
        "
        timezone Europe/Berlin
        periods 2026-12-31T23:00:00Z P1M
        price 1  0.10/60s  pulse 60/60
        price 2  0.10/MiB
        account A  balance 10.00
        2027-01-31T22:58:00Z A/1 debit #0  1 want 300s -> granted 300s cost 0.50
        booked A 0.20 2026-12-31, 0.30 2027-01-31
        2027-01-31T22:58:00Z A/2 initial #0  2 want 5MiB -> granted 5MiB valid 1800s
        2027-01-31T23:05:00Z A/2 terminate #1  2 used 5MiB -> settled
        booked A 0.20 2026-12-31, 0.30 2027-01-31, 0.50 2026-12-31
    ",
    );
}

/// R31: January is closed. What was used in it is booked in February, and says where it was used; the rest as ever.
#[test]
fn usage_of_a_closed_period_is_booked_in_the_oldest_open_one() {
    check(
        "
        periods 2026-12-01T00:00:00Z P1M 2027-02-01T00:00:00Z
        clock 2027-02-02T00:00:00Z
        price any  0.10/MiB
        account A  balance 10.00
        0s A/1 debit #0  1 want 1MiB -> granted 1MiB cost 0.10
        0s A/2 debit #0 at=0s  1 want 2MiB -> granted 2MiB cost 0.20
        2027-01-31T23:00:00Z A/3 debit #0  1 want 3MiB -> granted 3MiB cost 0.30
        booked A 0.10 2027-02-01, 0.20 2027-02-01, 0.30 2027-02-01 of 2027-01-01
        1s topup A main 5.00
        booked A 0.10 2027-02-01, 0.20 2027-02-01, 0.30 2027-02-01 of 2027-01-01, -5.00 2027-02-01
    ",
    );
}

// --- Windows: R11, R12, R14 ---

/// R12: from 21:58 for 5 minutes: two pulses by day at 0.60, three at night at 0.30.
#[test]
fn a_pulse_belongs_to_the_window_it_starts_in() {
    check(
        "
        clock 2027-01-13T20:58:00Z
        timezone Europe/Berlin
        window night 22:00-06:00
        price 1  0.60/60s  in night 0.30/60s  pulse 60/60
        account A  balance 10.00
        0s   A/1 debit #0  1 want 300s  -> granted 300s cost 2.10
        windows A v1 any 1.20, v1 night 0.90
        30s  A/2 debit #0  1 want 130s  -> granted 130s cost 1.50     (21:58:30, 21:59:30 | 22:00:30)
    ",
    );
}

/// R04, R41: the same call in three reports, the second within a pulse: the same charge.
#[test]
fn reports_do_not_move_the_windows() {
    check(
        "
        clock 2027-01-13T20:58:00Z
        timezone Europe/Berlin
        window night 22:00-06:00
        price 1  0.60/60s  in night 0.30/60s  pulse 60/60
        account A  balance 10.00
        0s    A/1 initial #0    1 want 300s             -> granted 300s
        110s  A/1 update #1     1 used 110s want 300s   -> granted 300s
        115s  A/1 update #2     1 used 5s want 300s     -> granted 300s
        190s  A/1 update #3     1 used 65s want 300s    -> granted 300s
        300s  A/1 terminate #4  1 used 120s             -> settled
        cdrs A 1.20, 0.00, 0.00, 0.30, 0.60
        A main 7.90
    ",
    );
}

/// Autumn: 02:00 to 03:00 happens twice in Berlin on 31 October 2027. From 01:30 for four hours: 120 minutes at 0.60 and
/// 120 at 0.06: 79.20. Spring: on 28 March 2027 it never happens: 60 minutes from 01:30 are all at 0.60.
#[test]
fn the_clock_changes_in_europe() {
    for (clock, seconds, cost) in [("2027-10-30T23:30:00Z", 14_400, "79.20"), ("2027-03-28T00:30:00Z", 3600, "36.00")] {
        check(&format!(
            "
            clock {clock}
            timezone Europe/Berlin
            window cheap 02:00-03:00
            price 1  0.60/60s  in cheap 0.06/60s  pulse 60/60
            account A  balance 200.00
            0s  A/1 debit #0  1 want {seconds}s  -> granted {seconds}s cost {cost}
            "
        ));
    }
}

/// New York: 01:00 to 02:00 twice on 7 November 2027: from 00:30 for three hours 60 minutes at 0.60 and 120 at 0.06: 43.20.
/// On 14 March 2027 02:00 to 03:00 is skipped.
#[test]
fn the_clock_changes_in_america() {
    for (clock, window, seconds, cost) in [
        ("2027-11-07T04:30:00Z", "01:00-02:00", 10_800, "43.20"),
        ("2027-03-14T06:30:00Z", "02:00-03:00", 3600, "36.00"),
    ] {
        check(&format!(
            "
            clock {clock}
            timezone America/New_York
            window cheap {window}
            price 1  0.60/60s  in cheap 0.06/60s  pulse 60/60
            account A  balance 200.00
            0s  A/1 debit #0  1 want {seconds}s  -> granted {seconds}s cost {cost}
            "
        ));
    }
}

/// India is 5:30 ahead: from 22:50 for 20 minutes: ten at 0.60, ten at 0.30.
#[test]
fn half_hour_zones() {
    check(
        "
        clock 2027-01-13T17:20:00Z
        timezone Asia/Kolkata
        window night 23:00-05:00
        price 1  0.60/60s  in night 0.30/60s  pulse 60/60
        account A  balance 20.00
        0s  A/1 debit #0  1 want 1200s  -> granted 1200s cost 9.00
    ",
    );
}

/// R11: Friday night runs into Saturday; Saturday night is another day's. 8 January 2027 is a Friday.
#[test]
fn a_night_belongs_to_the_day_it_starts_on() {
    check(
        "
        clock 2027-01-08T23:00:00Z
        timezone UTC
        window party 22:00-04:00 fri
        price 1  0.10/ev  in party 0.01/ev
        account A  balance 1.00
        0s      A/1 debit #0  1 want 1ev  -> granted 1ev cost 0.01
        14400s  A/2 debit #0  1 want 1ev  -> granted 1ev cost 0.01      (Saturday 03:00)
        18000s  A/3 debit #0  1 want 1ev  -> granted 1ev cost 0.10      (04:00)
        86400s  A/4 debit #0  1 want 1ev  -> granted 1ev cost 0.10      (Saturday 23:00)
    ",
    );
}

/// R07: the connect fee is that of the window at answer, once: 0.10 + 0.60 + 0.30; at night 0.05 + 0.30.
#[test]
fn the_connect_fee_is_that_of_the_answer() {
    check(
        "
        clock 2027-01-13T20:59:00Z
        timezone Europe/Berlin
        window night 22:00-06:00
        price 1  0.60/60s  in night 0.30/60s  pulse 60/60  fee 0.10  fee-in night 0.05
        account A  balance 10.00
        0s   A/1 debit #0  1 want 120s  -> granted 120s cost 1.00
        60s  A/2 debit #0  1 want 60s   -> granted 60s cost 0.35
    ",
    );
}

/// R09: the quantity that tiers count goes on from one window to the next: two minutes at 0.60 by day, then 0.10 at night.
#[test]
fn tiers_go_on_across_windows() {
    check(
        "
        clock 2027-01-13T20:59:00Z
        timezone Europe/Berlin
        window night 22:00-06:00
        price 1  0.60/60s<120s 0.20/60s  in night 0.10/60s  pulse 60/60
        account A  balance 10.00
        0s   A/1 debit #0  1 want 180s   -> granted 180s cost 0.80     (0.60 | 0.10 0.10)
    ",
    );
    check(
        "
        clock 2027-01-13T04:58:00Z
        timezone Europe/Berlin
        window night 22:00-06:00
        price 1  0.60/60s<180s 0.20/60s  in night 0.10/60s  pulse 60/60
        account A  balance 10.00
        0s   A/1 debit #0  1 want 300s   -> granted 300s cost 1.20     (0.10 0.10 | 0.60, third minute | 0.20 0.20)
    ",
    );
}

/// A price of its own for a window: 60 s pulses by day, 10 s pulses at night, no second first pulse.
#[test]
fn a_price_may_be_for_a_window_only() {
    check(
        "
        clock 2027-01-13T20:58:00Z
        timezone Europe/Berlin
        window night 22:00-06:00
        price any  0.60/60s  pulse 60/60
        price any  0.30/30s  pulse 30/10  only night
        account A  balance 10.00
        0s   A/1 debit #0  1 want 145s  -> granted 145s cost 1.50      (0.60 0.60 | three tens at 0.10)
        windows A v1 any 1.20, v1 night 0.30
    ",
    );
}

/// Nothing is for the day: a call that runs into it cannot be rated, a person looks at it; its grant ended there.
#[test]
fn where_no_price_is_nothing_is_granted() {
    check(
        "
        clock 2027-01-13T04:50:00Z
        timezone Europe/Berlin
        window night 22:00-06:00
        price 1  0.30/60s  pulse 60/60  only night
        account A  balance 10.00
        0s     A/1 initial #0    1 want 900s            -> granted 900s valid 600s
        700s   A/1 update #1     1 used 700s want 60s   -> denied rating
        cdrs A suspense
        700s   A/2 initial #0    1 want 60s             -> denied rating
        A main 10.00
    ",
    );
}

/// R28: zero-rated at night, also without money.
#[test]
fn free_nights() {
    check(
        "
        clock 2027-01-13T21:30:00Z
        timezone Europe/Berlin
        window night 22:00-06:00
        price any  0.20/MiB
        price any  free  only night
        account A  balance 0.00
        0s      A/1 initial #0  1 want 10MiB             -> granted 10MiB
        60s     A/1 update #1   1 used 5MiB want 10MiB   -> granted 10MiB
        30000s  A/2 initial #0  1 want 10MiB             -> denied credit
        cdrs A 0.00
    ",
    );
}

// --- Grants and volume at a switch: R13, R22, R41 ---

/// R13, R22: at 21:50 a grant of 10 MiB is held at 0.20, the dearer side; the client is told of 22:00. 6 MiB before it and
/// 4 MiB after it are 1.20 and 0.08.
#[test]
fn volume_is_split_by_the_network() {
    check(
        "
        clock 2027-01-13T20:50:00Z
        timezone Europe/Berlin
        window night 22:00-06:00
        price 1  0.20/MiB  in night 0.02/MiB
        account A  balance 10.00
        0s     A/1 initial #0    1 want 10MiB                        -> granted 10MiB valid 1800s switch 600s
        A reserved 2.00
        900s   A/1 update #1     1 before 6MiB after 4MiB want 10MiB -> granted 10MiB valid 1800s no switch
        windows A v1 any 1.20, v1 night 0.08
        A reserved 0.20
        950s   A/1 terminate #2  1 used 1MiB                         -> settled
        cdrs A 1.20, 0.08, 0.02
    ",
    );
}

/// R22: at 05:50 10 MiB would cost 0.20, after 06:00 2.00: with 1.00 there are 5 MiB that can be paid at either.
#[test]
fn a_grant_is_good_on_both_sides() {
    check(
        "
        clock 2027-01-13T04:50:00Z
        timezone Europe/Berlin
        window night 22:00-06:00
        price 1  0.20/MiB  in night 0.02/MiB
        account A  balance 1.00
        0s     A/1 initial #0    1 want 10MiB            -> granted 5MiB final switch 600s
        A reserved 1.00
        900s   A/1 terminate #1  1 after 5MiB            -> settled
        cdrs A 1.00
    ",
    );
}

/// R41: a client that cannot split is told to come back at 22:00.
#[test]
fn who_cannot_split_comes_back_at_the_switch() {
    check(
        "
        clock 2027-01-13T20:50:00Z
        timezone Europe/Berlin
        window night 22:00-06:00
        price 1  0.20/MiB  in night 0.02/MiB
        account A  balance 10.00
        0s     A/1 initial #0 open5gs   1 want any            -> granted 10MiB valid 600s no switch
        600s   A/1 update #1 open5gs    1 used 6MiB want any  -> granted 10MiB valid 1800s no switch
        windows A v1 any 1.20
    ",
    );
}

/// Two switches within one grant: the first is told, at the second it ends.
#[test]
fn one_switch_at_a_time() {
    check(
        "
        clock 2027-01-13T20:50:00Z
        timezone Europe/Berlin
        window break 22:00-22:10
        price 1  0.20/MiB  in break 0.02/MiB
        account A  balance 10.00
        0s     A/1 initial #0    1 want 10MiB  -> granted 10MiB valid 1200s switch 600s
    ",
    );
}

/// Seconds are laid end to end here: the client need not split them, and the hold is at the dearer price.
#[test]
fn time_needs_no_split() {
    check(
        "
        clock 2027-01-13T04:59:00Z
        timezone Europe/Berlin
        window night 22:00-06:00
        price 1  0.60/60s  in night 0.30/60s  pulse 60/60
        account A  balance 10.00
        0s     A/1 initial #0    1 want 300s   -> granted 300s valid 1800s no switch
        A reserved 3.00
        180s   A/1 terminate #1  1 used 180s   -> settled
        windows A v1 night 0.30, v1 any 1.20
    ",
    );
}

/// R22: by day 0.10 a minute, then 0.10 a second, then 20.00 for five minutes: 39.00 pay 300 s at any of them; at the dearest
/// they are 30.00.
#[test]
fn a_hold_is_at_the_dearest_of_all_sides() {
    check(
        "
        clock 2027-01-13T20:50:00Z
        timezone Europe/Berlin
        window dear 22:00-22:10
        window long 22:10-22:20
        price any  0.10/60s
        price any  6.00/60s  only dear
        price any  20.00/300s  pulse 300/300  only long
        account A  balance 39.00
        0s  A/1 initial #0  1 want 900s  -> granted 300s final
        A reserved 30.00
    ",
    );
}

// --- Versions: R15 ---

/// A new version from 3600 s on: events at the version of their time, calls pulse by pulse.
#[test]
fn a_version_comes_into_force() {
    check(
        "
        price 1  0.60/60s  pulse 60/60
        price 2  0.10/ev
        version 3600s
        price 1  0.30/60s  pulse 60/60
        price 2  0.20/ev
        account A  balance 10.00
        3599s  A/1 debit #0           2 want 1ev   -> granted 1ev cost 0.10
        3600s  A/2 debit #0           2 want 1ev   -> granted 1ev cost 0.20
        3700s  A/3 debit #0 at=3599s  2 want 1ev   -> granted 1ev cost 0.10      (late usage: its own time)
        3700s  A/4 debit #0 at=3540s  1 want 180s  -> granted 180s cost 1.20
        windows A v1 any 0.10, v2 any 0.20, v1 any 0.10, v1 any 0.60, v2 any 0.60
    ",
    );
}

/// R15, 'session_start': a call keeps the version it began with; the next one has the new one.
#[test]
fn a_session_may_keep_its_version() {
    check(
        "
        version 0s session_start
        price 1  0.60/60s  pulse 60/60
        version 3600s
        price 1  0.30/60s  pulse 60/60
        account A  balance 10.00
        3540s  A/1 initial #0    1 want 300s            -> granted 300s
        3720s  A/1 terminate #1  1 used 180s            -> settled
        3720s  A/2 initial #0    1 want 300s            -> granted 300s
        3780s  A/2 terminate #1  1 used 60s             -> settled
        windows A v1 any 1.80, v2 any 0.30
    ",
    );
}

/// Version 2 is rolled back at 7200 s: what begins then, and what is used from then on by who splits, is at version 1 again; what
/// lies before, however late it is told, stays at version 2.
#[test]
fn a_version_is_rolled_back() {
    check(
        "
        price 1  0.60/60s  pulse 60/60
        price 2  0.10/ev
        version 3600s
        price 1  0.30/60s  pulse 60/60
        price 2  0.20/ev
        account A  balance 10.00
        7140s  A/1 initial #0         1 want 300s  -> granted 300s
        7200s  withdraw 2
        7200s  A/2 debit #0           2 want 1ev   -> granted 1ev cost 0.10
        7200s  A/3 debit #0 at=7199s  2 want 1ev   -> granted 1ev cost 0.20
        7320s  A/1 terminate #1       1 used 180s  -> settled
        windows A v1 any 0.10, v2 any 0.20, v2 any 0.30, v1 any 1.20
    ",
    );
}

/// R15, 'session_start': a call keeps the version it began with, also one that is rolled back meanwhile.
#[test]
fn a_session_may_keep_a_version_that_is_rolled_back() {
    check(
        "
        price 1  0.60/60s  pulse 60/60
        version 3600s session_start
        price 1  0.30/60s  pulse 60/60
        account A  balance 10.00
        7140s  A/1 initial #0    1 want 300s  -> granted 300s
        7200s  withdraw 2
        7320s  A/1 terminate #1  1 used 180s  -> settled
        7320s  A/2 initial #0    1 want 300s  -> granted 300s
        7380s  A/2 terminate #1  1 used 60s   -> settled
        windows A v2 any 0.90, v1 any 0.60
    ",
    );
}

/// A version that is rolled back before it begins never comes into force; one that follows it does.
#[test]
fn a_version_is_rolled_back_before_it_begins() {
    check(
        "
        price 2  0.10/ev
        version 3600s
        price 2  0.20/ev
        version 7200s
        price 2  0.15/ev
        account A  balance 10.00
        60s    withdraw 2
        3600s  A/1 debit #0  2 want 1ev  -> granted 1ev cost 0.10
        7200s  A/2 debit #0  2 want 1ev  -> granted 1ev cost 0.15
    ",
    );
}

/// A version is a switch for grants, too: 10 MiB are held at the dearer 0.05.
#[test]
fn a_grant_across_versions() {
    check(
        "
        price 1  0.02/MiB
        version 3600s
        price 1  0.05/MiB
        account A  balance 10.00
        3000s  A/1 initial #0    1 want 10MiB            -> granted 10MiB valid 1800s switch 3600s
        A reserved 0.50
        4000s  A/1 terminate #1  1 before 3MiB after 4MiB  -> settled
        windows A v1 any 0.06, v2 any 0.20
    ",
    );
}

/// Before the first version there is nothing to be charged by.
#[test]
fn no_version_no_price() {
    check(
        "
        version 3600s
        price 1  0.02/ev
        account A  balance 10.00
        3599s  A/1 debit #0  1 want 1ev  -> refused RatingFailed
        3600s  A/2 debit #0  1 want 1ev  -> granted 1ev cost 0.02
    ",
    );
}

/// R02: rounded by line, each window of a version is a line: 0.005 by day and 0.005 at night are 0.01 + 0.01, by event
/// 0.01.
#[test]
fn each_window_is_a_price_line() {
    for (scope, cost) in [("line", "0.02"), ("event", "0.01")] {
        check(&format!(
            "
            rounding 2 half_up {scope}
            clock 2027-01-13T20:59:00Z
            timezone Europe/Berlin
            window night 22:00-06:00
            price 1  0.005/60s  in night 0.005/60s  pulse 60/60
            account A  balance 10.00
            0s  A/1 debit #0  1 want 120s  -> granted 120s cost {cost}
            "
        ));
    }
}

/// A bucket of minutes pays in whatever window; what is left is paid at the window of its pulse.
#[test]
fn a_bundle_runs_out_at_night() {
    check(
        "
        clock 2027-01-13T20:58:00Z
        timezone Europe/Berlin
        window night 22:00-06:00
        price 1  0.60/60s  in night 0.30/60s  pulse 60/60
        account A  balance 10.00
        bucket  A  free 180s
        0s   A/1 debit #0  1 want 300s  -> granted 300s cost 0.60     (free free | free 0.30 0.30)
        A free 0s
    ",
    );
}

/// R17: a pulse that begins at 240 s is paid by what is valid then, also when its report begins at 203 s, in the pulse before.
#[test]
fn a_pulse_is_paid_by_what_is_valid_when_it_starts() {
    check(
        "
        price 1  0.60/60s  pulse 60/60
        account A  balance 10.00
        bucket  A  late 5.00  priority 1  from 220s
        0s    A/1 initial #0    1 want 600s            -> granted 600s
        203s  A/1 update #1     1 used 203s want 600s  -> granted 600s
        A main 7.60
        270s  A/1 update #2     1 used 67s want 600s   -> granted 600s
        A main 7.60
        A late 4.40
    ",
    );
}

// --- The same, naively ---

fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("CAMPAIGN_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

/// Filters over few values, so that they meet.
fn filters() -> impl Strategy<Value = Filter> {
    let few = || prop::option::weighted(0.3, 0u32..3);
    let sets = || prop::collection::btree_set(0u8..3, 0..3);
    ((few(), few(), few(), few(), few()), (sets(), sets(), sets(), few(), few())).prop_map(|(a, b)| {
        let (zones, networks) = (zones(), networks());
        Filter {
            service: a.0.map(service),
            rating_group: a.1.map(RatingGroup::new),
            service_id: a.2.map(ServiceId::new),
            zone: a.3.and_then(|zone| zones.id(&format!("z{zone}"))),
            networks: a.4.and_then(|list| networks.id(&format!("n{list}"))),
            rats: b.0.into_iter().collect(),
            apns: b.1.into_iter().map(|apn| format!("apn{apn}").into()).collect(),
            slices: b.2.into_iter().map(|service_type| Slice { service_type, differentiator: None }).collect(),
            direction: b.3.map(|direction| if direction == 0 { Direction::Incoming } else { Direction::Outgoing }),
            window: b.4.filter(|window| *window > 0).map(|window| WindowId::new(u8::try_from(window).expect("small"))),
        }
    })
}

fn service(number: u32) -> Service {
    [Service::Data, Service::Voice, Service::Sms][usize::try_from(number).expect("small")]
}

fn zones() -> Zones {
    Zones::new(&[("z0", vec!["0"]), ("z1", vec!["1"]), ("z2", vec!["2"])]).expect("zones")
}

fn networks() -> Networks {
    Networks::new(&[("n0", vec!["001"]), ("n1", vec!["001", "00201"]), ("n2", vec!["002"])]).expect("networks")
}

fn calendar() -> Calendar {
    let span = |from: u32| Span { weekdays: vec![], month_days: vec![], months: vec![], from, to: from + 3600 };
    let windows = [("w1", 0), ("w2", 7200)].map(|(name, from)| Window { name: name.into(), spans: vec![span(from)] });
    Calendar::new(Zone::get("UTC").expect("a zone"), "w0", &windows, Vec::new(), Weekday::Sunday).expect("a calendar")
}

fn version(filters: &[Filter]) -> Option<std::sync::Arc<TariffVersion>> {
    let price = |(number, filter): (usize, &Filter)| {
        Price::flat(PriceId::new(&number.to_string()), filter.clone(), Measure::Events, Rate::ZERO)
    };
    let mut draft = draft(1, Rounding::MICRO, filters.iter().enumerate().map(price).collect());
    (draft.zones, draft.networks, draft.calendar) = (zones(), networks(), Some(calendar()));
    draft.publish().ok()
}

proptest! {
    #![proptest_config(cases(500))]

    /// The compiled selector finds what looking at every price finds; a price that can never win is never published.
    #[test]
    fn the_selector_finds_the_most_specific(
        filters in prop::collection::vec(filters(), 1..40),
        subjects in prop::collection::vec(
            ((0u32..3, prop::option::of(0u32..3), prop::collection::btree_set(0u32..3, 0..3), prop::option::of(0u32..3)),
             (prop::option::of(0u32..4), prop::option::of(0u8..3), prop::option::of(0u8..3), prop::option::of(0u8..3),
              prop::option::of(any::<bool>()), 0u8..3)),
            20,
        ),
    ) {
        // Prices for the same as an earlier one are left out, as an operator would.
        let mut kept: Vec<Filter> = Vec::new();
        for filter in filters {
            let mut more = kept.clone();
            more.push(filter);
            if version(&more).is_some() {
                kept = more;
            }
        }
        let tariff = version(&kept).expect("it was published before");
        for (a, b) in subjects {
            let key = ServiceKey {
                rating_group: a.1.map(RatingGroup::new),
                services: a.2.into_iter().map(ServiceId::new).collect(),
            };
            let plmn = ["00101", "00201", "00202", "99999"];
            let apn = b.2.map(|apn| format!("APN{apn}"));
            let subject = Subject {
                service: service(a.0),
                key: &key,
                zone: a.3.and_then(|zone| tariff.zones().find(&Dialled::parse(&zone.to_string())?)).map(|it| it.zone),
                network: b.0.and_then(|place| Plmn::parse(plmn[usize::try_from(place).expect("small")])),
                rat: b.1,
                apn: apn.as_deref(),
                slice: b.3.map(|service_type| Slice { service_type, differentiator: None }),
                direction: b.4.map(|incoming| if incoming { Direction::Incoming } else { Direction::Outgoing }),
            };
            let window = WindowId::new(b.5);
            let matching = kept.iter().enumerate().filter(|(_, filter)| filter.matches(tariff.networks(), &subject, window));
            // Of the same rank the one that comes first.
            let best = matching.max_by_key(|(number, filter)| (filter.rank(), std::cmp::Reverse(*number)));
            let found = tariff.price(&subject, window).map(|(_, price)| price.id.as_str().to_owned());
            prop_assert_eq!(found, best.map(|(number, _)| number.to_string()));
        }
    }

    /// A call is charged pulse by pulse at the window of each pulse's beginning, whichever way it is reported.
    #[test]
    fn calls_are_charged_by_the_clock(
        hours in -30i64..30,
        begin in 0i64..3600,
        parts in prop::collection::vec(1u64..4000, 1..6),
        pulse in (1u64..120, 1u64..90),
        rates in (1u64..2000, 1u64..2000, 1u64..2000),
        windows in prop::collection::vec((0u32..24, 1u32..24), 2),
        autumn in any::<bool>(),
    ) {
        // Around a change of the clock in Berlin.
        let change = if autumn { 1_825_030_800 } else { 1_806_195_600 };
        let begin = change + hours * 3600 + begin;
        let spans = windows.iter().map(|(from, length)| Span {
            weekdays: vec![], month_days: vec![], months: vec![], from: from * 3600, to: (from + length) % 24 * 3600,
        });
        let named = ["w1", "w2"].into_iter().zip(spans);
        let windows: Vec<Window> = named.map(|(name, span)| Window { name: name.into(), spans: vec![span] }).collect();
        let zone = Zone::get("Europe/Berlin").expect("a zone");
        let Ok(calendar) = Calendar::new(zone, "else", &windows, Vec::new(), Weekday::Sunday) else { return Ok(()) };
        let tiers = |micros: u64| Tiers::flat(Rate::new(micros, 1).expect("above 0"));
        let filter = Filter { rating_group: Some(RatingGroup::new(1)), ..Filter::default() };
        let price = Price {
            pulse: Pulse::new(pulse.0, pulse.1).expect("above 0"),
            tiers: PerWindow::new(
                tiers(rates.0),
                vec![(WindowId::new(1), tiers(rates.1)), (WindowId::new(2), tiers(rates.2))],
            ),
            ..Price::flat(PriceId::new("p"), filter, Measure::Seconds, Rate::ZERO)
        };
        let whole: u64 = parts.iter().sum();
        let (mut expected, mut laid) = (0u64, 0u64);
        while laid < whole {
            let length = if laid == 0 { pulse.0 } else { pulse.1 };
            let start = Timestamp::from_seconds(begin + i64::try_from(laid).expect("small"));
            let rate = [rates.0, rates.1, rates.2][usize::from(calendar.window_at(start).window.get())];
            expected += rate * length;
            laid += length;
        }
        for parts in [&parts[..], &[whole]] {
            let mut version = draft(1, Rounding::MICRO, vec![price.clone()]);
            version.calendar = Some(calendar.clone());
            let mut world = World::with_versions(vec![version], Limits::default());
            let opening = Money::from_micros(1_000_000_000_000);
            world.open(1, vec![world::bucket("main", rating_engine::account::Holding::Money, opening.micros())], None);
            let ask = |quantity: u64| ServiceRequest {
                key: rating_group(1),
                used: vec![Used { units: Units { seconds: Some(quantity), ..Units::default() }, ..Used::default() }],
                requested: Requested::Units(Units { seconds: Some(60), ..Units::default() }),
            };
            let wants = vec![ServiceRequest { used: Vec::new(), ..ask(0) }];
            let _ = world.apply(command(begin, 1, "s", 0, Action::Start(wants)));
            let mut now = begin;
            for (number, part) in (1..).zip(parts) {
                now += i64::try_from(*part).expect("small");
                let _ = world.apply(command(now, 1, "s", number, Action::Update(vec![ask(*part)])));
            }
            prop_assert_eq!(world.audit(), Ok(()));
            let charged = opening.saturating_sub(world.account(1).money());
            prop_assert_eq!(charged.micros(), i64::try_from(expected).expect("fits"));
        }
    }
}
