//! What a connection has to say: answers that wait for the durable mark, and octets on their way into the socket.
//!
//! Answers stand in one buffer in the order they were handled, each with a marker; the first that has to wait makes all
//! behind it wait. [`Output::release`] moves those the mark covers behind each other into the buffer that is written, and
//! drops the late ones. It does so only when everything before has gone into the socket, so that a peer that reads slowly
//! does not get answers late.
//!
//! No clock, no socket: the mark and the time are arguments.

use std::collections::VecDeque;
use std::mem;
use std::time::Instant;

use rating_engine::ids::Lsn;

use crate::config::Limits;

/// Octets that are released at once; behind that the deadlines are looked at again.
const RELEASE_OCTETS: usize = 256 << 10;

/// Octets at the front of the buffer that may be dead before it is compacted.
const DEAD_OCTETS: usize = 256 << 10;

/// Octets of memory, and places for markers, that an empty buffer keeps; usual traffic needs no more.
const KEPT_OCTETS: usize = 256 << 10;
const KEPT_MARKERS: usize = 1024;

#[derive(Debug)]
struct Marker {
    /// Position behind the answer; [`Output::base`] less is where that is in the buffer.
    end: usize,
    lsn: u64,
    deadline: Option<Instant>,
}

/// How many answers [`Output::release`] moved, and how many came too late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Released {
    pub(crate) answers: u64,
    pub(crate) late: u64,
}

/// Both queues of a connection.
#[derive(Debug, Default)]
pub(crate) struct Output {
    held: Vec<u8>,
    /// What position the first octet of `held` has; wraps together with the markers.
    base: usize,
    /// Octets at the front of `held` that are released or dropped.
    gone: usize,
    markers: VecDeque<Marker>,
    sending: Vec<u8>,
    sent: usize,
}

impl Output {
    /// Lets `write` append an answer; it counts when `write` says what it waits for. Returns whether it does.
    pub(crate) fn hold(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<(Lsn, Option<Instant>)>) -> bool {
        let before = self.held.len();
        match write(&mut self.held) {
            Some((lsn, deadline)) if self.held.len() > before => {
                let end = self.base.wrapping_add(self.held.len());
                self.markers.push_back(Marker { end, lsn: lsn.get(), deadline });
                true
            }
            Some(_) | None => {
                self.held.truncate(before);
                false
            }
        }
    }

    /// Octets, whole messages, that go ahead of all answers that wait.
    pub(crate) fn urgent(&mut self, octets: &[u8]) {
        self.sending.extend_from_slice(octets);
    }

    /// Moves to the socket's side what `mark` covers, unless something is there already.
    pub(crate) fn release(&mut self, mark: u64, now: Instant) -> Released {
        let mut released = Released::default();
        if !self.unsent().is_empty() {
            return released;
        }
        let mut run = self.gone..self.gone;
        while let Some(marker) = self.markers.pop_front_if(|marker| marker.lsn <= mark) {
            let end = marker.end.wrapping_sub(self.base);
            if marker.deadline.is_some_and(|deadline| deadline <= now) {
                released.late += 1;
                self.sending.extend_from_slice(self.held.get(run).unwrap_or_default());
                run = end..end;
            } else {
                released.answers += 1;
                run.end = end;
            }
            if self.sending.len() + run.len() >= RELEASE_OCTETS {
                break;
            }
        }
        self.gone = run.end;
        if run.start == 0 && run.end == self.held.len() && self.sending.is_empty() {
            // The usual case, the mark covers everything: nothing is copied.
            mem::swap(&mut self.held, &mut self.sending);
        } else {
            self.sending.extend_from_slice(self.held.get(run).unwrap_or_default());
        }
        if self.markers.is_empty() {
            self.held.clear();
            self.held.shrink_to(KEPT_OCTETS);
            self.markers.shrink_to(KEPT_MARKERS);
            self.gone = 0;
            self.base = 0;
        } else if self.gone >= DEAD_OCTETS && self.gone >= self.held.len() / 2 {
            self.held.drain(..self.gone);
            self.base = self.base.wrapping_add(self.gone);
            self.gone = 0;
        }
        released
    }

    /// The LSN the next answer waits for.
    pub(crate) fn waits_for(&self) -> Option<u64> {
        self.markers.front().map(|marker| marker.lsn)
    }

    /// What the socket has to take next.
    pub(crate) fn unsent(&self) -> &[u8] {
        self.sending.get(self.sent..).unwrap_or_default()
    }

    /// The socket took `octets`.
    pub(crate) fn wrote(&mut self, octets: usize) {
        self.sent += octets;
        if self.sent >= self.sending.len() {
            self.sending.clear();
            self.sending.shrink_to(KEPT_OCTETS);
            self.sent = 0;
        }
    }

    /// Octets that wait, for the mark or for the socket.
    pub(crate) fn octets(&self) -> usize {
        self.held.len() - self.gone + self.unsent().len()
    }

    /// Whether more may be produced; `crowded` when all connections together have as much as they may.
    pub(crate) fn has_room(&self, limits: &Limits, crowded: bool) -> bool {
        let octets_max =
            if crowded { limits.assured_octets.min(limits.pending_octets_max) } else { limits.pending_octets_max };
        // One at least, or nothing would ever move.
        self.markers.len() < limits.pending_answers_max.max(1) && self.octets() < octets_max.max(1)
    }

    /// How many answers wait for the mark.
    pub(crate) fn waiting(&self) -> usize {
        self.markers.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn hold(output: &mut Output, octets: &[u8], lsn: u64, deadline: Option<Instant>) {
        assert!(output.hold(|out| {
            out.extend_from_slice(octets);
            Some((Lsn::new(lsn), deadline))
        }));
    }

    fn flush(output: &mut Output) -> Vec<u8> {
        let octets = output.unsent().to_vec();
        output.wrote(octets.len());
        octets
    }

    fn is_empty(output: &Output) -> bool {
        output.waiting() == 0 && output.unsent().is_empty()
    }

    #[test]
    fn answers_leave_in_order_and_not_before_the_mark() {
        let (mut output, now) = (Output::default(), Instant::now());
        hold(&mut output, b"one", 5, None);
        hold(&mut output, b"two", 3, None);
        hold(&mut output, b"six", 6, None);
        assert_eq!(output.release(4, now), Released::default());
        assert_eq!(output.waits_for(), Some(5));
        output.urgent(b"dwa");
        assert_eq!(flush(&mut output), b"dwa");
        assert_eq!(output.release(5, now).answers, 2);
        output.urgent(b"dwa");
        assert_eq!(flush(&mut output), b"onetwodwa");
        assert_eq!(output.release(6, now).answers, 1);
        assert_eq!(flush(&mut output), b"six");
        assert!(is_empty(&output));
    }

    #[test]
    fn late_answers_are_dropped_between_the_others() {
        let (mut output, now) = (Output::default(), Instant::now());
        let (early, late) = (Some(now), Some(now + Duration::from_secs(1)));
        for (octets, deadline) in [(b"a", late), (b"b", early), (b"c", None), (b"d", early), (b"e", early)] {
            hold(&mut output, octets, 1, deadline);
        }
        assert_eq!(output.release(1, now), Released { answers: 2, late: 3 });
        assert_eq!(flush(&mut output), b"ac");
        assert!(is_empty(&output));
    }

    #[test]
    fn an_answer_taken_back_leaves_nothing() {
        let mut output = Output::default();
        assert!(!output.hold(|out| {
            out.extend_from_slice(b"half");
            None
        }));
        assert!(!output.hold(|_| Some((Lsn::new(1), None))));
        assert!(is_empty(&output));
    }

    #[test]
    fn much_is_released_piece_by_piece_and_compacted() {
        let (mut output, now) = (Output::default(), Instant::now());
        let mut expected = Vec::new();
        for lsn in 1..=2_000_u64 {
            let answer = [u8::try_from(lsn % 251).unwrap(); 500];
            expected.extend_from_slice(&answer);
            hold(&mut output, &answer, lsn, None);
        }
        let mut got = Vec::new();
        for mark in (0..=2_000).step_by(100) {
            while output.release(mark, now) != Released::default() {
                assert!(output.unsent().len() < RELEASE_OCTETS + 500);
                got.extend(flush(&mut output));
            }
        }
        assert!(got == expected);
        assert!(output.held.is_empty() && is_empty(&output));
    }

    #[test]
    fn room_ends_at_either_limit() {
        let mut output = Output::default();
        let limits = Limits { pending_answers_max: 2, pending_octets_max: 100, ..Limits::default() };
        hold(&mut output, b"one", 1, None);
        assert!(output.has_room(&limits, false));
        output.urgent(&[0; 97]);
        assert!(!output.has_room(&limits, false));
        output.wrote(97);
        hold(&mut output, b"two", 1, None);
        assert!(!output.has_room(&limits, false));
    }

    #[test]
    fn when_it_is_crowded_what_is_assured_is_left() {
        let mut output = Output::default();
        let limits = Limits { assured_octets: 10, ..Limits::default() };
        assert!(output.has_room(&limits, true));
        hold(&mut output, &[0; 10], 1, None);
        assert!(!output.has_room(&limits, true) && output.has_room(&limits, false));
    }

    #[test]
    fn empty_buffers_give_memory_back() {
        let (mut output, now) = (Output::default(), Instant::now());
        (0..10_000).for_each(|_| hold(&mut output, &[0; 300], 1, None));
        while output.release(1, now) != Released::default() {
            flush(&mut output);
        }
        assert!(is_empty(&output));
        assert!(output.held.capacity() + output.sending.capacity() <= 2 * KEPT_OCTETS);
        assert!(output.markers.capacity() <= 2 * KEPT_MARKERS);
    }
}
