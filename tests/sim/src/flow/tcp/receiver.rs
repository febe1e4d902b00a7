//! The receiving half of a connection: what has arrived, and when to say so.
//!
//! Acknowledgments follow Linux: every second segment or after 40 ms, each segment at the start and
//! while something is wrong, and SACKs in a burst coalesced to one a millisecond.

use std::collections::VecDeque;

use super::segment::SACKS_MAX;
use crate::ranges::RangeSet;

/// Numbers count bytes from the peer's SYN, which has number 0; times are microseconds.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// The next number expected.
    next: u64,
    /// What arrived above it.
    pending: RangeSet,
    /// A number in each of the ranges that changed last, latest first.
    recent: VecDeque<u64>,
    /// What arrived twice and was not yet reported.
    duplicate: Option<(u64, u64)>,
    /// The acknowledgment sent last.
    acknowledged: u64,
    /// The peer's timestamp to echo, RFC 7323, section 4.3.
    timestamp: u32,
    mss: u64,
    /// Segments still to be acknowledged at once.
    quick: u32,
    /// SACKs sent since the gap opened, and those held back since the last was sent.
    sacks_sent: u32,
    acknowledgment: Pending,
    /// Number of the FIN.
    fin: Option<u64>,
    /// The highest number that arrived.
    highest: u64,
    pub(crate) counters: Counters,
}

/// Counts of one receiver.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) reordered: u64,
    pub(crate) duplicate: u64,
}

/// Whether an acknowledgment is to be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pending {
    At(u64),
    Immediately,
    Nothing,
}

impl Receiver {
    /// A receiver that has seen the peer's SYN with this timestamp. `mss` is the payload of a full
    /// segment.
    pub(crate) fn new(mss: u32, timestamp: u32) -> Self {
        Self {
            next: 1,
            pending: RangeSet::default(),
            recent: VecDeque::new(),
            duplicate: None,
            acknowledged: 1,
            timestamp,
            mss: u64::from(mss),
            quick: QUICK_MAX,
            sacks_sent: 0,
            acknowledgment: Pending::Immediately,
            fin: None,
            highest: 1,
            counters: Counters::default(),
        }
    }

    /// Takes the numbers `start..end` with the peer's timestamp; `end` counts a FIN. Returns how
    /// many numbers became deliverable.
    pub(crate) fn handle(&mut self, now: u64, start: u64, end: u64, arrival: Arriving) -> u64 {
        if arrival.fin {
            self.fin = Some(end - 1);
        }
        if start == end {
            self.note_timestamp(start, arrival.timestamp);
            return 0;
        }
        let is_old = is_before(arrival.timestamp, self.timestamp.wrapping_sub(1));
        if end <= self.next || is_old {
            // Protection against wrapped numbers discards old timestamps, in order or not
            // (RFC 7323, section 5): one tick of grace, as Linux gives.
            self.on_duplicate(start.min(self.next), end.min(self.next));
            return 0;
        }
        if start < self.highest {
            self.counters.reordered += u64::from(!self.pending.covers(start.max(self.next), end));
        }
        self.highest = self.highest.max(end);
        self.note_timestamp(start, arrival.timestamp);
        if start > self.next {
            self.hold(now, start, end, arrival.rtt);
            return 0;
        }
        if start < self.next {
            self.on_duplicate(start, self.next);
        }
        let before = self.next;
        self.next = end;
        if let Some((_, covered)) = self.pending.first().filter(|&(first, _)| first <= end) {
            self.next = covered.max(end);
        }
        self.pending.trim_below(self.next);
        self.schedule(now, before);
        self.next - before
    }

    /// Whether an acknowledgment is due at `now`.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        match self.acknowledgment {
            Pending::At(at) => at <= now,
            Pending::Immediately => true,
            Pending::Nothing => false,
        }
    }

    /// When an acknowledgment is due.
    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        match self.acknowledgment {
            Pending::At(at) => Some(at),
            Pending::Immediately => Some(0),
            Pending::Nothing => None,
        }
    }

    /// Notes that a segment with an acknowledgment leaves, and returns its SACK blocks.
    pub(crate) fn on_acknowledging(&mut self) -> Vec<(u64, u64)> {
        self.acknowledgment = Pending::Nothing;
        self.acknowledged = self.next;
        self.quick = self.quick.saturating_sub(1);
        let mut blocks: Vec<_> = self.duplicate.take().into_iter().collect();
        self.recent.retain(|&number| self.pending.containing(number).is_some());
        for &number in &self.recent {
            let Some(range) = self.pending.containing(number) else { continue };
            if blocks.len() < SACKS_MAX {
                blocks.push(range);
            }
        }
        blocks
    }

    /// Whether an acknowledgment would have SACK blocks.
    pub(crate) fn has_sacks(&self) -> bool {
        self.duplicate.is_some() || !self.pending.is_empty()
    }

    /// The next number expected.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The timestamp to echo.
    pub(crate) fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Whether the FIN and all before it arrived.
    pub(crate) fn is_finished(&self) -> bool {
        self.fin.is_some_and(|fin| self.next > fin)
    }

    /// Asks for an acknowledgment without delay.
    pub(crate) fn acknowledge_immediately(&mut self) {
        self.acknowledgment = Pending::Immediately;
    }

    fn note_timestamp(&mut self, start: u64, timestamp: u32) {
        if start <= self.acknowledged && is_before(self.timestamp, timestamp) {
            self.timestamp = timestamp;
        }
    }

    fn on_duplicate(&mut self, start: u64, end: u64) {
        self.counters.duplicate += 1;
        if start < end {
            self.duplicate = Some((start, end));
        }
        self.quick = QUICK_MAX;
        self.acknowledgment = Pending::Immediately;
    }

    /// Keeps what arrived above a gap.
    fn hold(&mut self, now: u64, start: u64, end: u64, rtt: Option<u64>) {
        let added = self.pending.insert(start, end);
        if added.is_empty() {
            self.on_duplicate(start, end);
        }
        let pending = &self.pending;
        let range = pending.containing(start);
        self.recent
            .retain(|&number| pending.containing(number).is_some_and(|it| Some(it) != range));
        self.recent.push_front(start);
        self.recent.truncate(RECENT_MAX);
        if added.is_empty() || self.sacks_sent < SACKS_AT_ONCE {
            self.sacks_sent += 1;
            self.acknowledgment = Pending::Immediately;
        } else if self.acknowledgment == Pending::Nothing {
            let wait = rtt.map_or(SACK_DELAY_MAX, |rtt| (rtt / 20).min(SACK_DELAY_MAX));
            self.acknowledgment = Pending::At(now + wait);
        }
    }

    /// Decides about the acknowledgment of data that came in order.
    fn schedule(&mut self, now: u64, before: u64) {
        let fills_gap = !self.pending.is_empty() || self.sacks_sent > 0;
        if self.pending.is_empty() {
            self.sacks_sent = 0;
            self.recent.clear();
        }
        let much = self.next - self.acknowledged > self.mss || self.next - before > self.mss;
        if much || fills_gap || self.quick > 0 || self.is_finished() {
            self.acknowledgment = Pending::Immediately;
        } else if self.acknowledgment == Pending::Nothing {
            self.acknowledgment = Pending::At(now + DELAY);
        }
    }
}

/// What came with the numbers of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arriving {
    pub(crate) fin: bool,
    pub(crate) timestamp: u32,
    /// Round-trip time of the connection, if this end knows it.
    pub(crate) rtt: Option<u64>,
}

/// Linux's TCP_DELACK_MIN.
const DELAY: u64 = 40_000;
/// Linux's TCP_MAX_QUICKACKS.
const QUICK_MAX: u32 = 16;
/// Duplicate acknowledgments that go out at once after a gap opened, then they are coalesced.
const SACKS_AT_ONCE: u32 = 3;
/// Linux's tcp_comp_sack_delay_ns.
const SACK_DELAY_MAX: u64 = 1_000;
/// Ranges remembered for SACK: RFC 2018 asks for as many as fit, Linux keeps four.
const RECENT_MAX: usize = 4;

/// Compares timestamps, which wrap.
fn is_before(earlier: u32, later: u32) -> bool {
    (earlier.wrapping_sub(later) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_segment_is_acknowledged_and_a_last_one_after_40_ms() {
        let mut receiver = settled();

        assert_eq!(receiver.handle(0, 1, 101, arriving(1)), 100);
        assert_eq!(receiver.poll_timeout(), Some(40_000));
        assert_eq!(receiver.handle(5, 101, 201, arriving(1)), 100);
        assert!(receiver.is_due(5));
        assert_eq!(receiver.on_acknowledging(), []);
        assert_eq!(receiver.poll_timeout(), None);
    }

    #[test]
    fn sack_blocks_name_the_range_that_changed_last_first() {
        let mut receiver = settled();

        receiver.handle(0, 201, 301, arriving(1));
        receiver.handle(0, 401, 501, arriving(1));
        receiver.handle(0, 601, 701, arriving(1));
        receiver.handle(0, 301, 351, arriving(1));

        assert_eq!(receiver.on_acknowledging(), [(201, 351), (601, 701), (401, 501)]);
        assert_eq!(receiver.handle(0, 1, 201, arriving(1)), 350);
        assert_eq!(receiver.on_acknowledging(), [(601, 701), (401, 501)]);
        assert_eq!(receiver.counters.reordered, 2);
    }

    #[test]
    fn what_arrives_twice_is_reported_first() {
        let mut receiver = settled();
        receiver.handle(0, 1, 101, arriving(1));
        receiver.handle(0, 201, 301, arriving(1));

        receiver.handle(0, 1, 101, arriving(1));

        assert_eq!(receiver.on_acknowledging(), [(1, 101), (201, 301)]);
        assert_eq!(receiver.on_acknowledging(), [(201, 301)]);
        receiver.handle(0, 201, 301, arriving(1));
        assert_eq!(receiver.on_acknowledging(), [(201, 301), (201, 301)]);
        assert_eq!(receiver.counters.duplicate, 2);
    }

    #[test]
    fn the_echoed_timestamp_is_that_of_the_segment_which_advanced_the_window() {
        let mut receiver = settled();
        receiver.handle(0, 1, 101, arriving(5));
        receiver.handle(0, 101, 201, arriving(7));

        assert_eq!(receiver.timestamp(), 5, "the first of two that one acknowledgment covers");
        receiver.on_acknowledging();
        receiver.handle(0, 301, 401, arriving(9));
        assert_eq!(receiver.timestamp(), 5);
        receiver.handle(0, 201, 301, arriving(8));
        assert_eq!(receiver.timestamp(), 8);
        assert_eq!(receiver.handle(0, 401, 501, arriving(6)), 0, "older than what was echoed");
    }

    fn settled() -> Receiver {
        let mut receiver = Receiver::new(100, 1);
        (0..QUICK_MAX).for_each(|_| drop(receiver.on_acknowledging()));
        receiver
    }

    fn arriving(timestamp: u32) -> Arriving {
        Arriving { fin: false, timestamp, rtt: None }
    }
}
