//! Stories of charges that a person gives back, whole or in part: to who paid, what was paid last first, and over any number of
//! refunds, by whomever, no more than was charged (R29).
#![expect(clippy::expect_used, clippy::panic, reason = "a story that cannot be read or does not hold is a failed test")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod story;
#[allow(dead_code, reason = "each test file uses its part of it")]
mod world;

use rating_engine::cdr::{CdrKind, CdrSource};
use rating_engine::command::{Action, MutationOutcome, Outcome, Refusal};
use rating_engine::ids::SessionId;
use rating_engine::money::{Money, Rate, Rounding};
use rating_engine::units::Measure;

use story::check;
use world::{World, at, bucket, command, money, price, rating_group, request};

/// A session's report of 3 MiB at 0.10: 0.10 of it goes back, then the rest, and then there is nothing left.
#[test]
fn a_charge_goes_back_in_part_and_then_whole() {
    check(
        "
        price any  0.10/MiB
        account A  balance 1.00
        0s A/1 initial #0   1 want 3MiB -> granted 3MiB
        1s A/1 terminate #1 1 used 3MiB -> settled
        A main 0.70
        2s give back 1 0.10 -> done
        A main 0.80
        3s give back 1 0.21 -> refused RefundBeyondCharge
        4s give back 1 all -> done
        A main 1.00
        5s give back 1 all -> refused RefundBeyondCharge
        6s give back 1 0.01 -> refused RefundBeyondCharge
        7s give back 1 0.00 -> refused Invalid
        cdrs A 0.30, refund -0.10, refund -0.20
        A main 1.00
    ",
    );
}

/// 10 MiB were in a bundle, 5 MiB cost 0.05 of a gift and then of the main balance: an amount goes back to what was paid last,
/// the whole to all that paid, octets too.
#[test]
fn it_goes_back_to_who_paid_the_last_first() {
    check(
        "
        price any  0.01/MiB
        account A  balance 1.00
        bucket A data 10MiB
        bucket A gift 0.03  priority 1
        0s A/1 initial #0   1 want 15MiB -> granted 15MiB
        1s A/1 terminate #1 1 used 15MiB -> settled
        A gift 0.00
        A main 0.98
        2s give back 1 0.01 -> done
        paid A main -0.01
        3s give back 1 0.02 -> done
        paid A main -0.01, gift -0.01
        4s give back 1 all -> done
        A data 10MiB
        A gift 0.03
        A main 1.00
    ",
    );
}

/// An event of 3 at 0.10 each: the network gets 0.10 back, a person gives 0.15; 0.05 is left for either of them, once.
#[test]
fn the_network_and_a_person_share_one_charge() {
    check(
        "
        price any  0.10/ev
        account A  balance 1.00
        0s A/e debit #0      1 want 3ev     -> granted 3ev cost 0.30
        1s A/r refund A/e #1 1 want 0.10EUR -> granted 0.10EUR cost 0.10
        2s give back 1 0.21 -> refused RefundBeyondCharge
        3s give back 1 0.15 -> done
        A main 0.95
        4s A/r refund A/e #2 1 want 0.06EUR -> refused RefundBeyondCharge
        5s A/r refund A/e #3 1 want 0.05EUR -> granted 0.05EUR cost 0.05
        6s give back 1 all -> refused RefundBeyondCharge
        7s A/r refund A/e #4                -> refused RefundBeyondCharge
        cdrs A 0.30, refund -0.10, refund -0.15, refund -0.05
        A main 1.00
    ",
    );
}

/// After a day the event is forgotten, and its CDRs still say what went back: 0.10 to the network, so 0.20 is left.
#[test]
fn what_the_network_got_back_counts_when_its_event_is_forgotten() {
    check(
        "
        price any  0.10/ev
        account A  balance 1.00
        0s A/e debit #0      1 want 3ev -> granted 3ev cost 0.30
        1s A/r refund A/e #1 1 want 1ev -> granted 1ev cost 0.10
        90000s expire -> forgot A/e / forgot A/r
        90001s give back 1 0.21 -> refused RefundBeyondCharge
        90002s give back 1 all -> done
        A main 1.00
        90003s give back 1 all -> refused RefundBeyondCharge
    ",
    );
}

/// A person gives all of an event back: the network finds neither money nor units left of it.
#[test]
fn units_that_a_person_gave_back_are_gone_for_the_network() {
    check(
        "
        price any  0.10/ev
        account A  balance 1.00
        bucket A free 2ev
        0s A/e debit #0      1 want 3ev -> granted 3ev cost 0.10
        1s give back 1 all -> done
        A main 1.00
        A free 2ev
        2s A/r refund A/e #1 1 want 1ev -> refused RefundBeyondCharge
        3s A/r refund A/e #2            -> refused RefundBeyondCharge
    ",
    );
}

/// What re-rating gave back is not given back again; what it charged more can be.
#[test]
fn what_re_rating_corrected_counts() {
    check(
        "
        price any  0.10/ev
        account A  balance 1.00
        0s A/1 debit #0  1 want 3ev -> granted 3ev cost 0.30
        90000s expire -> forgot A/1
        price any  0.08/ev
        90001s correct -> A -0.06
        90002s give back 1 0.25 -> refused RefundBeyondCharge
        90003s give back 1 0.24 -> done
        A main 1.00
        cdrs A 0.30, again -0.06 of 1, refund -0.24
    ",
    );
    check(
        "
        price any  0.10/ev
        account A  balance 1.00
        0s A/1 debit #0  1 want 3ev -> granted 3ev cost 0.30
        90000s expire -> forgot A/1
        price any  0.15/ev
        90001s correct -> A 0.15
        90002s give back 1 0.46 -> refused RefundBeyondCharge
        90003s give back 1 all -> done
        A main 1.00
        cdrs A 0.30, again 0.15 of 1, refund -0.45
    ",
    );
}

/// A fee is a charge, too; a top-up or a refund is none.
#[test]
fn fees_can_be_given_back_and_payments_cannot() {
    check(
        "
        price any  0.10/ev
        offer m fee 0.40 period P1M
        account A  balance 1.00
        1970-01-01T00:00:05Z buy A m -> done
        A main 0.60
        9s give back 1 all -> done
        A main 1.00
        10s topup A main 1.00 -> done
        A main 2.00
        11s give back 2 all -> refused NothingToRefund
        12s give back 3 all -> refused NothingToRefund
    ",
    );
}

/// What was free has nothing to give back. A bucket that has ended takes nothing: it would lapse at once.
#[test]
fn nothing_goes_back_where_nothing_was_paid_or_could_be_kept() {
    check(
        "
        price any  free
        account A  balance 1.00
        0s A/1 initial #0   1 want 3MiB -> granted 3MiB
        1s A/1 terminate #1 1 used 3MiB -> settled
        2s give back 1 all -> refused NothingToRefund
    ",
    );
    check(
        "
        price any  0.10/ev
        account A  balance 1.00
        bucket A gift 0.20  priority 1  until 100s
        0s A/e debit #0  1 want 3ev -> granted 3ev cost 0.30
        200s give back 1 0.10 -> done
        A main 1.00
        201s give back 1 all -> refused Invalid
    ",
    );
}

/// Three events at 0.10 of 1.00, as one that is on disk only.
fn charged() -> World {
    let mut world = World::archiving(
        Rounding::MICRO,
        vec![price("any", None, Measure::Events, Rate::new(100_000, 1).expect("a rate"))],
    );
    world.open(1, vec![bucket("main", rating_engine::account::Holding::Money, 1_000_000)], None);
    let service = rating_engine::command::ServiceRequest {
        key: rating_group(1),
        requested: rating_engine::command::Requested::Units(rating_engine::units::Units {
            events: Some(3),
            ..Default::default()
        }),
        ..Default::default()
    };
    let _ = world.apply(command(0, 1, "e", 0, Action::Debit(vec![service])));
    world
}

/// A call that two accounts paid by the window has a charge for each: one goes back without the other.
#[test]
fn each_account_gets_back_what_it_paid() {
    let mut world = World::archiving(
        Rounding::MICRO,
        vec![price("any", None, Measure::Events, Rate::new(100_000, 1).expect("a rate"))],
    );
    world.open(1, vec![bucket("own", rating_engine::account::Holding::Money, 1_000_000)], None);
    world.open(2, vec![bucket("theirs", rating_engine::account::Holding::Money, 200_000)], None);
    let sponsor = rating_engine::account::Sponsor {
        account: rating_engine::ids::AccountId::new(2),
        windows: Box::default(),
        allowance: true,
    };
    world.sponsor(1, sponsor);
    let service = rating_engine::command::ServiceRequest {
        key: rating_group(1),
        requested: rating_engine::command::Requested::Units(rating_engine::units::Units {
            events: Some(5),
            ..Default::default()
        }),
        ..Default::default()
    };
    let charged = world.apply(command(0, 1, "e", 0, Action::Debit(vec![service])));
    assert!(matches!(*charged.outcome, Outcome::Answered(_)), "{:?}", charged.outcome);
    let paid: Vec<(u64, String)> = world.cdrs.iter().map(|cdr| (cdr.account.get(), cdr.amount.to_string())).collect();
    assert_eq!(paid, [(2, "0.20".to_owned()), (1, "0.30".to_owned())]);
    let _ = world.give_back(1, None, request("a", 0), at(1));
    assert_eq!([1, 2].map(|number| world.account(number).money().to_string()), ["0.70", "0.20"]);
    // All that is left is what the other account paid.
    let original = SessionId::new(b"e");
    let refunded = world.apply(command(2, 1, "r", 1, Action::Refund { original, services: Vec::new() }));
    assert!(matches!(*refunded.outcome, Outcome::Answered(_)), "{:?}", refunded.outcome);
    assert_eq!([1, 2].map(|number| world.account(number).money().to_string()), ["1.00", "0.20"]);
    assert_eq!(
        *world.give_back(2, None, request("b", 0), at(3)),
        MutationOutcome::Refused(Refusal::RefundBeyondCharge)
    );
    world.audit().expect("the books");
}

/// The CDR names the one that it gives back, who asked and why; a repeat gets the first answer and moves nothing; the same key
/// with another request is refused; and what was gathered before something else went back does not count.
#[test]
fn a_refund_is_done_once_and_says_why() {
    let mut world = charged();
    let stale = world.gather(1, Some(money("0.25"))).expect("it is a charge");
    let first = world.give_back(1, Some(money("0.10")), request("a", 7), at(1));
    assert_eq!(*first, MutationOutcome::Done { balance: money("0.80"), cdr_number: 2 });
    let image = world.image();
    assert_eq!(world.give_back(1, Some(money("0.10")), request("a", 7), at(2)), first);
    assert_eq!(
        *world.give_back(1, Some(money("0.11")), request("a", 8), at(2)),
        MutationOutcome::Refused(Refusal::KeyReused)
    );
    let change = rating_engine::command::Change::GiveBack(Box::new(stale));
    assert_eq!(*world.mutate(change.asked(request("b", 0)), at(3)), MutationOutcome::Refused(Refusal::Stale));
    assert_eq!(world.image(), image);
    let refund = world.cdrs.last().expect("a CDR");
    assert_eq!((refund.kind, refund.corrects.map(rating_engine::ids::CdrPosition::get)), (CdrKind::Refund, Some(1)));
    assert!(matches!(&refund.source, CdrSource::Operator { key, .. } if key.as_str() == "a"), "{:?}", refund.source);
    assert_eq!(refund.subscriber, world.cdrs[0].subscriber);
    assert_eq!(refund.amount, Money::ZERO.saturating_sub(money("0.10")));
    assert!(world.recalled > 0, "the event was on disk");
    assert_eq!(world.image(), world.replayed());
    world.audit().expect("the books");
}

/// 0.03 were owed and then paid out of a gift that has ended since: by a person it is given back by a top-up, not into what is
/// over; with another bucket it goes there, and with a credit line to that.
#[test]
fn what_was_owed_and_paid_does_not_come_back_into_what_has_ended() {
    let owing = "
        price any  0.01/s
        account A
        bucket A  free 10s
        0s   A/1 initial #0    1 want 20s  -> granted 10s final
        13s  A/1 terminate #1  1 used 13s  -> settled
        A debt 0.03
        20s  topup A gift 0.05 until 100s
        A debt 0.00
        A gift 0.02
        200s give back 1 0.03 -> refused Invalid
        A gift 0.02
        ";
    check(owing);
    check(&format!(
        "{owing}
        201s topup A main 1.00
        202s give back 1 0.03 -> done
        A main 1.03
        A gift 0.02
        "
    ));
    check(&format!(
        "{owing}
        201s credit A 1.00
        202s give back 1 0.03 -> done
        paid A credit -0.03
        A gift 0.02
        "
    ));
}

/// 0.30 were charged and corrected to 0.06: the network and a person together get back 0.06, and no more.
#[test]
fn what_was_corrected_is_not_given_back_twice() {
    let corrected = "
        price any  0.10/ev
        account A  balance 1.00
        0s A/1 debit #0  1 want 3ev -> granted 3ev cost 0.30
        price any  0.02/ev
        9s correct -> A -0.24
        A main 0.94
        ";
    check(&format!(
        "{corrected}
        10s A/2 refund A/1 #0 -> granted 0.06EUR cost 0.06
        A main 1.00
        11s give back 1 0.01 -> refused RefundBeyondCharge
        12s A/3 refund A/1 #0  1 want 1ev -> refused RefundBeyondCharge
        cdrs A 0.30, again -0.24 of 1, refund -0.06
        "
    ));
    check(&format!(
        "{corrected}
        10s give back 1 0.05 -> done
        11s A/2 refund A/1 #0 -> granted 0.01EUR cost 0.01
        A main 1.00
        "
    ));
}

/// Corrected to nothing, nothing is left for the network.
#[test]
fn what_was_corrected_to_nothing_cannot_be_given_back() {
    check(
        "
        price any  0.10/ev
        account A  balance 1.00
        0s A/1 debit #0  1 want 3ev -> granted 3ev cost 0.30
        price any  0.00/ev
        9s correct -> A -0.30
        10s A/2 refund A/1 #0 -> refused RefundBeyondCharge
        A main 1.00
    ",
    );
}

/// 0.06 were corrected to 0.30: a person gives all of it back, the network what it was charged at first.
#[test]
fn what_was_corrected_upwards_can_be_given_back() {
    let corrected = "
        price any  0.02/ev
        account A  balance 1.00
        0s A/1 debit #0  1 want 3ev -> granted 3ev cost 0.06
        price any  0.10/ev
        9s correct -> A 0.24
        A main 0.70
        ";
    check(&format!(
        "{corrected}
        10s give back 1 all -> done
        A main 1.00
        11s A/2 refund A/1 #0 -> refused RefundBeyondCharge
        "
    ));
    check(&format!(
        "{corrected}
        10s A/2 refund A/1 #0 -> granted 0.06EUR cost 0.06
        11s give back 1 0.25 -> refused RefundBeyondCharge
        12s give back 1 0.24 -> done
        A main 1.00
        "
    ));
}

/// A plan that was made before somebody gave the charge back, or corrected it, is not booked.
#[test]
fn a_correction_that_something_came_between_is_stale() {
    let mut world = charged();
    let cheaper = price("any", None, Measure::Events, Rate::new(20_000, 1).expect("a rate"));
    world.tariffs.insert(world::draft(2, Rounding::MICRO, vec![cheaper]).publish().expect("a version"));
    let [plan] = &world.corrections().0[..] else { panic!("one is wrong") };
    let (plan, mut late) = (plan.clone(), plan.clone());
    late.known.given_back = Vec::new();
    let booked = |world: &mut World, plan: &rating_engine::rerate::Correction, key: &str| {
        let change = rating_engine::command::Change::Correct(Box::new(plan.clone()));
        (*world.mutate(change.asked(request(key, 0)), at(2))).clone()
    };
    let _ = world.give_back(1, Some(money("0.10")), request("a", 0), at(1));
    let image = world.image();
    assert_eq!(booked(&mut world, &plan, "b"), MutationOutcome::Refused(Refusal::Stale), "0.10 went back meanwhile");
    // Whoever looked at the account again and not at its CDRs would give back 0.24 of 0.20: the event knows.
    late.known.given_back = world.account(1).given_back();
    assert_eq!(booked(&mut world, &late, "c"), MutationOutcome::Refused(Refusal::RefundBeyondCharge));
    assert_eq!(world.image(), image);
    assert_eq!(world.account(1).money(), money("0.80"));
    let (plans, unpriced) = world.corrections();
    assert!(plans.is_empty() && unpriced.len() == 1, "it is left to a person");
    assert_eq!(world.image(), world.replayed());
    world.audit().expect("the books");
}
