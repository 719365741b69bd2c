//! Ended sessions that leave memory: which, when, and how they come back.

#![cfg(test)]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod world;

use rating_engine::account::Holding;
use rating_engine::command::{
    Action, Command, Effects, EntityKey, Outcome, Refusal, ServiceRequest, SessionChange, Write,
};
use rating_engine::ids::{CdrPosition, GroupId, Lsn, SessionId};
use rating_engine::money::{Rate, Rounding, RoundingMode, RoundingScope};
use rating_engine::session::Session;
use rating_engine::shard::{Image, Limits, Shard};
use rating_engine::tariffs::Tariffs;
use rating_engine::units::Measure;

use world::{World, at, bucket, command, price, rating_group};

const DAY: i64 = 86_400;

fn limits() -> Limits {
    Limits { ended_sessions_kept: 0, ..Limits::default() }
}

/// A shard whose changes are logged, one entry after the other.
struct Logged {
    world: World,
    lsn: u64,
}

impl Logged {
    fn new(limits: Limits) -> Self {
        let rounding = Rounding::new(2, RoundingMode::HalfUp, RoundingScope::Event).unwrap();
        let event = price("sms", None, Measure::Events, Rate::new(10_000, 1).unwrap());
        let mut world = World::with_limits(rounding, vec![event], limits);
        world.open(1, vec![bucket("main", Holding::Money, 100_000_000)], None);
        Self { world, lsn: 100 }
    }

    fn log<T>(&mut self, mut effects: Effects<T>) -> T {
        let shard = &mut self.world.shard;
        shard.place_cdrs(&mut effects.cdrs, CdrPosition::new(self.lsn));
        if !effects.writes.is_empty() {
            self.lsn += 1;
            shard.logged(&effects.writes, Lsn::new(self.lsn));
        }
        effects.outcome
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let effects = self.world.shard.apply(&self.world.tariffs, command);
        (*self.log(effects)).clone()
    }

    fn debit(&mut self, seconds: i64, session: &str) -> Outcome {
        self.apply(debit(seconds, session))
    }

    /// The record of a session as the state store has it once all is swept, which it is.
    fn swept(&mut self, session: &str) -> (Session, Lsn) {
        while self.world.shard.take_dirty(100, |_, _, _, _| ()) > 0 {}
        let session = self.world.shard.session(&id(session)).unwrap().clone();
        (session, Lsn::new(self.lsn))
    }

    fn archive(&mut self) -> usize {
        archived_as_of(&mut self.world.shard, Lsn::new(self.lsn))
    }

    /// Which sessions are forgotten when it is so late; what ends otherwise is logged.
    fn forgotten(&mut self, seconds: i64) -> Vec<String> {
        let mut forgotten = Vec::new();
        while let Some(effects) = self.world.shard.expire(&Tariffs::default(), at(seconds)) {
            forgotten.extend(effects.forgotten.iter().map(|(id, _)| id.to_string()));
            self.log(effects);
        }
        forgotten
    }

    fn archived(&self, session: &str) -> bool {
        let shard = &self.world.shard;
        let archived = shard.archived(&id(session)).is_some();
        assert!(!archived || shard.session(&id(session)).is_none(), "never both");
        archived
    }

    fn balance(&self) -> i64 {
        self.world.account(1).money().micros()
    }
}

fn archived_as_of(shard: &mut Shard, stored: Lsn) -> usize {
    let mut archived = 0;
    loop {
        let leaving = shard.archive(stored, 16);
        archived += leaving.len();
        if !leaving.more() {
            return archived;
        }
    }
}

fn id(session: &str) -> SessionId {
    SessionId::new(session.as_bytes())
}

fn debit(seconds: i64, session: &str) -> Command {
    command(
        seconds,
        1,
        session,
        0,
        Action::Debit(vec![ServiceRequest { key: rating_group(1), ..ServiceRequest::default() }]),
    )
}

fn is_refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(_))
}

#[test]
fn only_what_has_ended_and_is_stored_leaves_memory() {
    let mut shard = Logged::new(limits());
    assert!(!is_refused(&shard.debit(0, "a")));
    assert!(!is_refused(&shard.apply(command(0, 1, "open", 0, Action::Start(Vec::new())))));
    assert_eq!(shard.archive(), 0, "nothing is stored");
    shard.swept("a");
    assert!(!is_refused(&shard.debit(1, "b")));
    assert_eq!(shard.world.shard.archive(Lsn::new(shard.lsn - 1), 64).len(), 1);
    assert!(shard.archived("a") && !shard.archived("b") && !shard.archived("open"));
    assert_eq!(shard.archive(), 0, "b is dirty");
    shard.swept("b");
    assert_eq!(shard.archive(), 1);
    assert_eq!((shard.world.shard.archived_sessions(), shard.world.shard.sessions().count()), (2, 1));
}

#[test]
fn those_that_ended_first_leave_first_and_as_many_as_wanted_stay() {
    let mut shard = Logged::new(Limits { ended_sessions_kept: 3, ..Limits::default() });
    for number in 0..10 {
        assert!(!is_refused(&shard.debit(number, &format!("e{number}"))));
    }
    shard.swept("e0");
    assert_eq!(shard.archive(), 7);
    assert!((0..10).all(|number| shard.archived(&format!("e{number}")) == (number < 7)));
}

#[test]
fn a_repeat_of_an_archived_debit_gets_its_answer_and_moves_nothing() {
    let mut shard = Logged::new(limits());
    let first = shard.debit(0, "a");
    let (session, lsn) = shard.swept("a");
    shard.archive();
    let wanted = shard.world.shard.wants(&debit(9, "a")).expect("it is archived").clone();
    assert_eq!((wanted.id, wanted.group, wanted.changed), (id("a"), GroupId::new(1), lsn));
    assert!(shard.world.shard.wants(&debit(9, "other")).is_none(), "a new event needs nothing");
    let before = shard.balance();
    assert!(!shard.world.shard.recall(session.clone(), Lsn::new(lsn.get() - 1)), "an older record is none");
    assert!(shard.world.shard.recall(session.clone(), lsn));
    assert!(!shard.world.shard.recall(session, lsn), "it is back already");
    assert!(shard.world.shard.wants(&debit(9, "a")).is_none());
    assert_eq!(shard.debit(9, "a"), first);
    assert_eq!(shard.balance(), before);
    assert_eq!(shard.archive(), 1, "it may leave again at once");
}

#[test]
fn a_refund_wants_its_original_and_the_original_is_stored_anew_before_it_leaves() {
    let mut shard = Logged::new(limits());
    let opening = shard.balance();
    assert!(!is_refused(&shard.debit(0, "a")));
    let (session, lsn) = shard.swept("a");
    shard.archive();
    let refund =
        |number| command(5, 1, &format!("r{number}"), 0, Action::Refund { original: id("a"), services: Vec::new() });
    assert_eq!(shard.world.shard.wants(&refund(0)).map(|it| it.id.clone()), Some(id("a")));
    assert!(shard.world.shard.recall(session, lsn));
    assert!(!is_refused(&shard.apply(refund(0))));
    assert_eq!(shard.balance(), opening);
    assert_eq!(shard.archive(), 0, "its record is not of now");
    let (session, lsn) = shard.swept("a");
    assert_eq!(shard.archive(), 2);
    assert!(shard.world.shard.recall(session, lsn));
    assert_eq!(shard.apply(refund(1)), Outcome::Refused(Refusal::RefundBeyondCharge), "once is enough");
    assert_eq!(shard.balance(), opening);
}

/// A refund under the name of one archived event for another needs both at once, however little room there is.
#[test]
fn two_that_one_command_needs_come_back_together() {
    let mut shard = Logged::new(Limits { ended_sessions_max: 1, ..limits() });
    let records = ["a", "b"].map(|name| {
        assert!(!is_refused(&shard.debit(0, name)));
        let record = shard.swept(name);
        assert_eq!(shard.archive(), 1);
        record
    });
    let refund = command(5, 1, "b", 1, Action::Refund { original: id("a"), services: Vec::new() });
    for name in ["b", "a"] {
        assert_eq!(shard.world.shard.wants(&refund).map(|it| it.id.clone()), Some(id(name)));
        let (session, lsn) = records.iter().find(|(session, _)| session.id == id(name)).unwrap().clone();
        assert!(shard.world.shard.recall(session, lsn));
    }
    assert!(shard.world.shard.wants(&refund).is_none());
    assert!(!is_refused(&shard.apply(refund)));
}

#[test]
fn an_archived_session_is_forgotten_in_time_and_its_going_is_stored() {
    let mut shard = Logged::new(limits());
    assert!(!is_refused(&shard.debit(0, "a")));
    assert!(!is_refused(&shard.debit(10, "b")));
    let (session, lsn) = shard.swept("a");
    shard.archive();
    assert_eq!(shard.world.shard.next_deadline(), Some(at(DAY)));
    assert!(shard.world.shard.expire(&Tariffs::default(), at(DAY - 1)).is_none());
    let effects = shard.world.shard.expire(&Tariffs::default(), at(DAY)).expect("it is due");
    assert_eq!(effects.writes[..], [Write::SessionGone(id("a"), GroupId::new(1))]);
    assert_eq!(effects.forgotten, [(id("a"), GroupId::new(1))]);
    assert_eq!(effects.facts.forgotten_early, 0);
    shard.log(effects);
    assert!(!shard.world.shard.recall(session, lsn), "read before it went, handed in afterwards");
    assert!(!shard.world.shard.remembers(&id("a")) && shard.archived("b"));
    let mut gone = Vec::new();
    shard.world.shard.take_dirty(9, |key, group, _, entity| gone.push((key.clone(), group, entity.is_none())));
    assert_eq!(gone, [(EntityKey::Session(id("a")), GroupId::new(1), true)]);
    assert!(shard.world.shard.expire(&Tariffs::default(), at(DAY + 9)).is_none());
}

/// An event under the name of an archived one keeps it for longer; the place of the first one no longer counts.
#[test]
fn a_session_that_went_on_is_forgotten_when_that_is_due() {
    let mut shard = Logged::new(limits());
    assert!(!is_refused(&shard.debit(0, "a")));
    let (session, lsn) = shard.swept("a");
    shard.archive();
    assert!(shard.world.shard.recall(session, lsn));
    let mut other = debit(100, "a");
    other.number = 1;
    assert!(!is_refused(&shard.apply(other)));
    shard.swept("a");
    assert_eq!(shard.archive(), 1);
    assert!(shard.forgotten(DAY + 99).is_empty());
    assert!(shard.archived("a"));
    assert_eq!(shard.forgotten(DAY + 100), ["a"]);
}

#[test]
fn a_start_under_an_archived_name_opens_a_new_session() {
    let mut shard = Logged::new(limits());
    let start = |seconds, number| command(seconds, 1, "s", number, Action::Start(Vec::new()));
    assert!(!is_refused(&shard.apply(start(0, 0))));
    assert!(!is_refused(&shard.apply(command(1, 1, "s", 1, Action::Stop(Vec::new())))));
    let (session, lsn) = shard.swept("s");
    shard.archive();
    assert!(shard.world.shard.wants(&start(2, 5)).is_some());
    assert!(shard.world.shard.recall(session.clone(), lsn));
    let mut anew = start(2, 0);
    anew.digest += 1;
    assert!(!is_refused(&shard.apply(anew)));
    assert!(!shard.world.shard.recall(session, lsn), "the new one stays");
    assert!(shard.world.shard.session(&id("s")).unwrap().is_open());
    assert!(shard.forgotten(700).is_empty(), "the first one's place does not end the second");
    assert!(shard.world.shard.session(&id("s")).unwrap().is_open());
}

#[test]
fn too_many_archived_are_forgotten_first_in_first_out_and_counted() {
    let mut shard = Logged::new(Limits { archived_sessions_max: 4, ..limits() });
    for number in 0..10 {
        assert!(!is_refused(&shard.debit(number, &format!("e{number}"))));
    }
    shard.swept("e0");
    shard.archive();
    let mut forgotten = 0;
    while let Some(effects) = shard.world.shard.forget_surplus(4) {
        forgotten += effects.facts.forgotten_early;
        shard.log(effects);
    }
    assert_eq!((forgotten, shard.world.shard.archived_sessions()), (6, 4));
    assert!((0..10).all(|number| shard.archived(&format!("e{number}")) == (number >= 6)));
}

#[test]
fn what_cannot_be_archived_is_bounded_too_and_counted() {
    let mut shard = Logged::new(Limits { ended_sessions_max: 4, ..limits() });
    for number in 0..10 {
        let effects = shard.world.shard.apply(&shard.world.tariffs, debit(number, &format!("e{number}")));
        assert_eq!(effects.facts.forgotten_early, u32::from(number >= 4));
        shard.log(effects);
    }
    assert_eq!(shard.world.shard.ended_sessions(), 4);
    assert!(shard.world.shard.remembers(&id("e6")) && !shard.world.shard.remembers(&id("e5")));
}

#[test]
fn recalling_many_makes_room() {
    let mut shard = Logged::new(Limits { ended_sessions_max: 4, ..limits() });
    let mut stored = Vec::new();
    for number in 0..20 {
        assert!(!is_refused(&shard.debit(number, &format!("e{number}"))));
        stored.push(shard.swept(&format!("e{number}")));
        shard.archive();
    }
    for (session, lsn) in stored {
        assert!(shard.world.shard.recall(session, lsn));
        assert!(shard.world.shard.ended_sessions() <= 4);
    }
    assert_eq!(shard.world.shard.ended_sessions() + shard.world.shard.archived_sessions(), 20);
}

#[test]
fn all_that_came_back_leave_again() {
    let mut shard = Logged::new(limits());
    let mut stored = Vec::new();
    for number in 0..200 {
        assert!(!is_refused(&shard.debit(number, &format!("e{number}"))));
        stored.push(shard.swept(&format!("e{number}")));
    }
    assert_eq!(shard.archive(), 200);
    for (session, lsn) in stored {
        assert!(shard.world.shard.recall(session, lsn));
    }
    assert_eq!(shard.archive(), 200);
}

/// A session that is asked about again and again does not keep those behind it in memory.
#[test]
fn what_is_not_stored_does_not_hold_up_what_is() {
    let mut shard = Logged::new(limits());
    for number in 0..100 {
        assert!(!is_refused(&shard.debit(number, &format!("e{number}"))));
    }
    shard.swept("e0");
    let stored = Lsn::new(shard.lsn);
    for number in 0..10 {
        let mut other = debit(100, &format!("e{}", number * 9));
        other.number = 1;
        assert!(!is_refused(&shard.apply(other)));
    }
    assert_eq!(archived_as_of(&mut shard.world.shard, stored), 90);
    shard.swept("e0");
    assert_eq!(shard.archive(), 10);
}

#[test]
fn a_start_of_the_process_keeps_few_in_memory_and_none_whose_time_has_passed() {
    let mut shard = Logged::new(Limits::default());
    for number in 0..10 {
        assert!(!is_refused(&shard.debit(number, &format!("e{number}"))));
    }
    let (account, subscriber) =
        (shard.world.account(1).clone(), shard.world.shard.subscribers().next().unwrap().clone());
    let mut loaded = Shard::new(Limits { ended_sessions_kept: 2, ..Limits::default() });
    for number in 0..10 {
        let (session, lsn) = shard.swept(&format!("e{number}"));
        loaded.load_session(session, GroupId::new(1), lsn);
    }
    let lsn = Lsn::new(shard.lsn);
    loaded.load(Image::Account(account), lsn);
    loaded.load(Image::Subscriber(subscriber), lsn);
    assert_eq!((loaded.ended_sessions(), loaded.archived_sessions()), (2, 8));
    // Of an entry in the log's tail that the record has seen already, and of a later one.
    let (mut session, _) = shard.swept("e9");
    session.client_state = 7;
    let change = SessionChange::default();
    loaded.load_session_change(session.clone(), change, lsn);
    assert!(loaded.archived(&id("e9")).is_some());
    assert!(loaded.recall(shard.swept("e9").0, lsn));
    loaded.load_session_change(session, change, lsn.next());
    assert!(loaded.session(&id("e9")).is_some_and(|session| session.client_state == 7 && session.answers.len() == 1));
    loaded.load(Image::Gone(EntityKey::Session(id("e8")), GroupId::new(1)), lsn.next());
    assert!(!loaded.remembers(&id("e8")));
    loaded.rebuild(at(DAY + 4), lsn);
    assert_eq!(loaded.archived_sessions(), 3, "5 to 7");
    let mut gone = Vec::new();
    while loaded.take_dirty(9, |key, _, _, entity| gone.push((key.clone(), entity.is_none()))) > 0 {}
    gone.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let expected = [2, 3, 4, 8, 9].map(|number| (EntityKey::Session(id(&format!("e{number}"))), number != 9));
    assert_eq!(gone, expected, "what is past and what the tail ended or changed");
    let mut forgotten = Vec::new();
    while let Some(effects) = loaded.expire(&Tariffs::default(), at(DAY + 7)) {
        forgotten.extend(effects.forgotten.into_iter().map(|(id, _)| id.to_string()));
    }
    forgotten.sort_unstable();
    assert_eq!(forgotten, ["e0", "e1", "e5", "e6", "e7"]);
    assert_eq!(loaded.next_deadline(), Some(at(DAY + 9)));
}
