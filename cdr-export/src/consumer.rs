//! What a consumer has done and has yet to do: its place, and what it has parked. Pure.
//!
//! Whoever keeps consumers holds one [`Progress`] each under a lock, has streams and people change it, and writes down what
//! [`Progress::unwritten`] says is different. Absent: sockets, clocks, the log, who holds the consumer.
//!
//! Invariants:
//! - the place only moves forward, but for [`Progress::reset`];
//! - every CDR before the place was acknowledged, is parked, or was parked and is dealt with;
//! - at most [`PARKED_MAX`] CDRs are parked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rating_engine::ids::CdrPosition;
use rating_engine::time::Timestamp;

/// CDRs that one consumer may have parked.
pub const PARKED_MAX: usize = 1000;
/// The first pause before a CDR is sent again; each further one is twice as long.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest.
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// Where a consumer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Everything before is done, or parked.
    pub next: CdrPosition,
    /// When it last acknowledged anything.
    pub acked: Option<Timestamp>,
    /// The CDR that is being retried, and how often it was sent.
    pub retrying: Option<(CdrPosition, u32)>,
}

/// A CDR that is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Why, as the consumer said.
    pub reason: Box<str>,
    /// How often it was sent.
    pub attempts: u32,
    /// Since when.
    pub since: Timestamp,
    /// The instance that nacked it last.
    pub instance: Box<str>,
    /// Whether it waits to be sent again.
    pub due: bool,
}

/// Who says something of a CDR, and when.
#[derive(Clone, Copy, Debug)]
pub struct Saying<'a> {
    /// Of which.
    pub position: CdrPosition,
    /// Why; may be empty.
    pub reason: &'a str,
    /// Which instance.
    pub instance: &'a str,
    /// When.
    pub now: Timestamp,
}

/// What became of a CDR that could not be processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nacked {
    /// It is sent again after this pause.
    Again(Duration),
    /// It is parked, having been sent so often.
    Parked(u32),
}

/// What an instance may not say. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misstep {
    /// It was not sent the CDR.
    NotSent,
    /// The CDR is done or parked already.
    Done,
    /// As many CDRs are parked as may be.
    ParkedFull,
}

/// What is different from what was written last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unwritten {
    /// The place, if it is.
    pub place: Option<Place>,
    /// Parked CDRs, and those that are parked no longer.
    pub parked: Vec<(CdrPosition, Option<Parked>)>,
}

impl Unwritten {
    /// Whether nothing is.
    pub const fn is_empty(&self) -> bool {
        self.place.is_none() && self.parked.is_empty()
    }
}

/// What a consumer has done and has yet to do.
#[derive(Clone, Debug)]
pub struct Progress {
    place: Place,
    parked: BTreeMap<CdrPosition, Parked>,
    max_attempts: u32,
    place_changed: bool,
    parked_changed: BTreeSet<CdrPosition>,
}

impl Progress {
    /// As it was written.
    pub const fn new(place: Place, parked: BTreeMap<CdrPosition, Parked>, max_attempts: u32) -> Self {
        Self { place, parked, max_attempts, place_changed: false, parked_changed: BTreeSet::new() }
    }

    /// Where it stands.
    pub const fn place(&self) -> Place {
        self.place
    }

    /// What is parked.
    pub const fn parked(&self) -> &BTreeMap<CdrPosition, Parked> {
        &self.parked
    }

    /// The oldest CDR that may not be removed: what comes next, or what is parked before it.
    pub fn needs_from(&self) -> CdrPosition {
        self.parked.keys().next().map_or(self.place.next, |oldest| self.place.next.min(*oldest))
    }

    /// Positions from `from` on that are not sent in their turn, because they are parked.
    pub fn parked_from(&self, from: CdrPosition) -> BTreeSet<CdrPosition> {
        self.parked.range(from..).map(|(position, _)| *position).collect()
    }

    /// How often the CDR at a position was sent and nacked with retry.
    pub fn attempts(&self, position: CdrPosition) -> u32 {
        self.place.retrying.filter(|(at, _)| *at == position).map_or(0, |(_, attempts)| attempts)
    }

    /// The first parked CDR that waits to be sent again and is not in `without`, and how often it was sent.
    pub fn due(&self, without: &BTreeSet<CdrPosition>) -> Option<(CdrPosition, u32)> {
        let mut due = self.parked.iter().filter(|(position, parked)| parked.due && !without.contains(position));
        due.next().map(|(position, parked)| (*position, parked.attempts))
    }

    /// Everything up to and with `position` is done; `sent` is the first that was not sent.
    ///
    /// # Errors
    /// [`Misstep::NotSent`].
    pub fn ack(&mut self, position: CdrPosition, sent: CdrPosition, now: Timestamp) -> Result<(), Misstep> {
        // What is before the place was sent to some instance.
        if position >= sent.max(self.place.next) {
            return Err(Misstep::NotSent);
        }
        if position >= self.place.next {
            self.place.acked = Some(now);
            self.go_on_at(position.next());
        }
        Ok(())
    }

    /// A CDR is to be sent again; one that was so too often is parked. With no room to park it, it is sent again and again: nothing is
    /// passed over because a list is full.
    ///
    /// # Errors
    /// [`Misstep`].
    pub fn nack_retry(&mut self, saying: Saying<'_>, sent: CdrPosition) -> Result<Nacked, Misstep> {
        let position = saying.position;
        if self.parked.contains_key(&position) {
            return self.park(saying, 0);
        }
        self.check_open(position, sent)?;
        let attempts = self.attempts(position).saturating_add(1);
        if attempts >= self.max_attempts && self.parked.len() < PARKED_MAX {
            return self.park(saying, attempts);
        }
        self.place.retrying = Some((position, attempts));
        self.place_changed = true;
        let doublings = attempts.saturating_sub(1).min(16);
        Ok(Nacked::Again(RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_LONGEST)))
    }

    /// A CDR is to be parked.
    ///
    /// # Errors
    /// [`Misstep`].
    pub fn nack_park(&mut self, saying: Saying<'_>, sent: CdrPosition) -> Result<Nacked, Misstep> {
        if self.parked.contains_key(&saying.position) {
            return self.park(saying, 0);
        }
        self.check_open(saying.position, sent)?;
        self.park(saying, self.attempts(saying.position).saturating_add(1))
    }

    fn check_open(&self, position: CdrPosition, sent: CdrPosition) -> Result<(), Misstep> {
        if position < self.place.next {
            return Err(Misstep::Done);
        }
        if position >= sent {
            return Err(Misstep::NotSent);
        }
        Ok(())
    }

    fn park(&mut self, saying: Saying<'_>, attempts: u32) -> Result<Nacked, Misstep> {
        let Saying { position, reason, instance, now } = saying;
        let (attempts, since) = match self.parked.get(&position) {
            Some(known) => (known.attempts.saturating_add(1), known.since),
            None if self.parked.len() >= PARKED_MAX => return Err(Misstep::ParkedFull),
            None => (attempts, now),
        };
        let parked = Parked { reason: reason.into(), attempts, since, instance: instance.into(), due: false };
        self.parked.insert(position, parked);
        self.parked_changed.insert(position);
        if self.place.retrying.is_some_and(|(at, _)| at == position) {
            self.place.retrying = None;
            self.place_changed = true;
        }
        if self.place.next == position {
            self.go_on_at(position.next());
        }
        Ok(Nacked::Parked(attempts))
    }

    /// A parked CDR is done; whether it was parked.
    pub fn unpark(&mut self, position: CdrPosition) -> bool {
        let was = self.parked.remove(&position).is_some();
        if was {
            self.parked_changed.insert(position);
        }
        was
    }

    /// A parked CDR is to be sent again; whether it is parked.
    pub fn retry_parked(&mut self, position: CdrPosition) -> bool {
        let Some(parked) = self.parked.get_mut(&position) else { return false };
        if !parked.due {
            parked.due = true;
            self.parked_changed.insert(position);
        }
        true
    }

    /// A person moves the place. What is parked at or behind it is parked no longer.
    pub fn reset(&mut self, next: CdrPosition) {
        self.place = Place { next, retrying: None, ..self.place };
        self.place_changed = true;
        let again = self.parked.split_off(&next);
        self.parked_changed.extend(again.into_keys());
    }

    /// Moves the place, and past what is parked there.
    fn go_on_at(&mut self, next: CdrPosition) {
        let mut next = next;
        while self.parked.contains_key(&next) {
            next = next.next();
        }
        self.place.next = next;
        self.place.retrying = self.place.retrying.filter(|(at, _)| *at >= next);
        self.place_changed = true;
    }

    /// Whether something is to be written.
    pub fn is_unwritten(&self) -> bool {
        self.place_changed || !self.parked_changed.is_empty()
    }

    /// What is to be written; from now on it counts as written.
    pub fn unwritten(&mut self) -> Unwritten {
        let place = std::mem::take(&mut self.place_changed).then_some(self.place);
        let parked = std::mem::take(&mut self.parked_changed).into_iter();
        Unwritten { place, parked: parked.map(|at| (at, self.parked.get(&at).cloned())).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn at(position: u64) -> CdrPosition {
        CdrPosition::new(position)
    }

    fn progress(next: u64) -> Progress {
        Progress::new(Place { next: at(next), acked: None, retrying: None }, BTreeMap::new(), 3)
    }

    fn of(position: u64) -> Saying<'static> {
        Saying { position: at(position), reason: "why", instance: "one", now: NOW }
    }

    #[test]
    fn an_acknowledgement_counts_up_to_what_was_sent_and_once() {
        let mut progress = progress(5);
        assert_eq!(progress.ack(at(10), at(10), NOW), Err(Misstep::NotSent));
        assert!(!progress.is_unwritten());
        assert_eq!(progress.ack(at(9), at(10), NOW), Ok(()));
        assert_eq!(progress.place(), Place { next: at(10), acked: Some(NOW), retrying: None });
        assert_eq!(progress.unwritten().place, Some(progress.place()));
        // Again, and of something older: nothing to write.
        assert_eq!((progress.ack(at(9), at(10), NOW), progress.ack(at(2), at(10), NOW)), (Ok(()), Ok(())));
        assert!(progress.unwritten().is_empty());
    }

    #[test]
    fn what_is_retried_too_often_is_parked_and_the_rest_goes_on() {
        let mut progress = progress(5);
        assert_eq!(progress.nack_retry(of(7), at(10)), Ok(Nacked::Again(Duration::from_secs(1))));
        assert_eq!(progress.nack_retry(of(7), at(10)), Ok(Nacked::Again(Duration::from_secs(2))));
        assert_eq!((progress.attempts(at(7)), progress.attempts(at(6))), (2, 0));
        assert_eq!(progress.nack_retry(of(7), at(10)), Ok(Nacked::Parked(3)));
        assert_eq!((progress.place().next, progress.place().retrying), (at(5), None));
        assert_eq!(progress.parked_from(at(5)), BTreeSet::from([at(7)]));
        // 5 and 6 are acknowledged: 7 is parked, so that 8 is next. 7 is kept for whoever retries it.
        progress.ack(at(6), at(10), NOW).unwrap();
        assert_eq!((progress.place().next, progress.needs_from()), (at(8), at(7)));
        assert_eq!(progress.nack_retry(of(5), at(10)), Err(Misstep::Done));
        assert_eq!(progress.nack_retry(of(10), at(10)), Err(Misstep::NotSent));
    }

    #[test]
    fn a_parked_cdr_is_sent_again_when_a_person_says_so_and_stays_until_it_is_done() {
        let mut progress = progress(5);
        assert_eq!(progress.nack_park(of(5), at(6)), Ok(Nacked::Parked(1)));
        assert_eq!(progress.due(&BTreeSet::new()), None);
        assert!(progress.retry_parked(at(5)) && !progress.retry_parked(at(6)));
        assert_eq!(progress.due(&BTreeSet::new()), Some((at(5), 1)));
        assert_eq!(progress.due(&BTreeSet::from([at(5)])), None);
        assert_eq!(progress.nack_retry(of(5), at(6)), Ok(Nacked::Parked(2)));
        assert_eq!(progress.due(&BTreeSet::new()), None, "until it is asked for again");
        assert!(progress.unpark(at(5)) && !progress.unpark(at(5)));
        assert_eq!(progress.unwritten().parked, [(at(5), None)]);
        assert_eq!(progress.needs_from(), at(6));
    }

    #[test]
    fn a_full_list_of_parked_cdrs_lets_nothing_be_passed_over() {
        let mut progress = progress(1);
        let end = at(5000);
        for position in 1..=1000 {
            assert_eq!(progress.nack_park(of(position), end), Ok(Nacked::Parked(1)));
        }
        assert_eq!(progress.nack_park(of(1001), end), Err(Misstep::ParkedFull));
        for _ in 0..100 {
            assert!(matches!(progress.nack_retry(of(1001), end), Ok(Nacked::Again(pause)) if pause <= RETRY_LONGEST));
        }
        assert_eq!(progress.place().next, at(1001));
    }

    #[test]
    fn a_reset_sends_again_what_was_parked_behind_it() {
        let mut progress = progress(1);
        for position in [3, 6] {
            progress.nack_park(of(position), at(10)).unwrap();
        }
        progress.ack(at(8), at(10), NOW).unwrap();
        progress.unwritten();
        progress.reset(at(5));
        assert_eq!((progress.place().next, progress.parked().len()), (at(5), 1));
        assert_eq!(progress.unwritten().parked, [(at(6), None)]);
        assert_eq!(progress.needs_from(), at(3));
    }
}
