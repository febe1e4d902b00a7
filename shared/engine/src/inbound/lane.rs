//! One lane as its receiver sees it: what was delivered, what waits, and for what.
//!
//! Packets of a lane leave in the order of their sequence numbers. At a gap the later ones wait
//! until the missing one comes, or can't come any more: no path has anything on its way that was
//! stamped before the first packet behind the gap, and the time that a retransmission may take is
//! over. A packet whose place was given up and which comes after all is delivered late.

use std::collections::VecDeque;

use super::{HOLD_MAX, passage::Passage};
use crate::{
    class::Class,
    slots::SlotId,
    time::{Span, Time},
};

/// A lane's receiving side.
#[derive(Debug)]
pub(super) struct Lane {
    /// The sequence number with which the lane was given to its flow, modulo 2^24.
    start: Option<u32>,
    /// Everything below was delivered or given up.
    next: u64,
    seen: Seen,
    /// What waits, from `next` on; the front is missing unless the ring is empty.
    held: VecDeque<Option<Held>>,
    /// When the gap at the front began to hold packets back.
    held_since: Time,
    /// No packet that precedes the gap was stamped after this, as those up to `bound_at` say.
    successor: Time,
    bound_at: u64,
    pub(super) active_at: Time,
    /// The class of the newest packet, and how long one waits at most.
    pub(super) class: Class,
    pub(super) hold_max: Span,
}

/// A packet that waits.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Where it is kept; none if it went ahead, and only its number is remembered.
    slot: Option<SlotId>,
    arrived: Time,
    stamp: Time,
    /// Whether the stamp is that of the packet's first transmission.
    original: bool,
}

/// What is to be done with a packet that arrived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// Drop it: it was delivered before, or lies too far back to tell.
    Duplicate,
    /// Keep it: it is not its turn.
    Hold,
    /// Deliver it, out of turn.
    Late,
    /// Deliver it: it is its turn.
    Now,
}

/// How long a lane may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience<'a> {
    /// How far all paths have come.
    pub(super) passage: &'a Passage,
    /// How long a retransmission may take.
    pub(super) allowance: Span,
}

impl Lane {
    /// A lane whose first datagram has this number. With `first`, the number tells where the lane
    /// began; without, earlier packets are not waited for.
    pub(super) fn new(now: Time, sequence: u32, first: bool) -> Self {
        let start = first.then_some(sequence & TENANCY_MASK);
        let next = (1 << 24) + u64::from(start.unwrap_or(sequence));
        Self {
            start,
            next,
            seen: Seen::new(now, next),
            held: VecDeque::new(),
            held_since: now,
            successor: Time::ZERO,
            bound_at: u64::MAX,
            active_at: now,
            class: Class::Bulk,
            hold_max: HOLD_MAX,
        }
    }

    /// Whether the datagram says that the lane was given to another flow since.
    pub(super) fn is_renewed_by(&self, sequence: u32, first: bool) -> bool {
        first && self.start != Some(sequence & TENANCY_MASK)
    }

    /// Whether packets wait here.
    pub(super) fn is_blocked(&self) -> bool {
        !self.held.is_empty()
    }

    /// Words of the bitmap of numbers seen.
    pub(super) fn words(&self) -> usize {
        self.seen.words.len()
    }

    /// Finds the place of a packet. The bitmap of numbers seen grows with the lane's rate, if it
    /// `may_grow`.
    pub(super) fn place(&mut self, now: Time, sequence: u32, may_grow: bool) -> (u64, Place) {
        self.active_at = now;
        let number = self.expand(sequence);
        // What waits or is missing is known for certain; for what lies behind, the bitmap has to do.
        let known = match number.checked_sub(self.next) {
            Some(ahead) => matches!(self.held.get(ahead as usize), Some(Some(_))),
            None => false,
        };
        let new = self.seen.insert(now, number, may_grow) || number >= self.next;
        if known || !new {
            return (number, Place::Duplicate);
        }
        let place = match number.cmp(&self.next) {
            std::cmp::Ordering::Less => Place::Late,
            std::cmp::Ordering::Equal => Place::Now,
            std::cmp::Ordering::Greater => Place::Hold,
        };
        (number, place)
    }

    /// Notes that the packet at `next` is delivered; gives the slots that follow it in turn,
    /// and when each came.
    pub(super) fn advance(&mut self, mut deliver: impl FnMut(SlotId, Time)) {
        self.next += 1;
        self.held.pop_front();
        self.run(&mut deliver);
    }

    /// How many more numbers the lane would hold back if it held this one.
    pub(super) fn growth(&self, number: u64) -> usize {
        ((number - self.next) as usize + 1).saturating_sub(self.held.len())
    }

    /// Numbers that the lane holds back, missing ones among them.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether what is missing at the front is known to be lost, given a packet behind it.
    pub(super) fn is_lost(&self, stamp: Time, passage: &Passage) -> bool {
        let successor = if self.is_blocked() { self.successor.min(stamp) } else { stamp };
        passage.passed_at(successor).is_some()
    }

    /// Keeps a packet until its turn, or only its number if it went ahead. Returns whether there is room for it: if not, the lane has to
    /// be [emptied](Self::give_up) first.
    pub(super) fn hold(
        &mut self,
        now: Time,
        number: u64,
        slot: Option<SlotId>,
        stamp: Time,
        original: bool,
    ) -> bool {
        let at = (number - self.next) as usize;
        if at >= HELD_MAX {
            return false;
        }
        if self.held.is_empty() {
            self.held_since = now;
            self.bound_at = u64::MAX;
        }
        if self.held.len() <= at {
            self.held.resize(at + 1, None);
        }
        self.held[at] = Some(Held { slot, arrived: now, stamp, original });
        // What lies behind the first original changes nothing.
        if number < self.bound_at {
            self.successor = self.bound().0;
        }
        true
    }

    /// Gives up what can't come any more, or was waited for long enough. Calls `deliver` for what
    /// may leave. Returns how many packets were given up, and for how many of these there was hope.
    pub(super) fn release(
        &mut self,
        now: Time,
        patience: &Patience<'_>,
        mut deliver: impl FnMut(SlotId, Time),
    ) -> (u64, u64) {
        let (mut skipped, mut expired) = (0, 0);
        while self.is_blocked() && now >= self.give_up_at(patience) {
            let hope = self.hopeless_at(patience) > now;
            let gap = self.skip(&mut deliver);
            skipped += gap;
            expired += if hope { gap } else { 0 };
        }
        (skipped, expired)
    }

    /// Delivers everything that waits, and returns how many packets were given up for it.
    pub(super) fn give_up(&mut self, mut deliver: impl FnMut(SlotId, Time)) -> u64 {
        let mut skipped = 0;
        while self.is_blocked() {
            skipped += self.skip(&mut deliver);
        }
        skipped
    }

    /// Moves on past `number`, which is delivered and for which nothing may wait. Returns how many
    /// were given up for it; none if it is late itself.
    pub(super) fn jump(&mut self, number: u64) -> u64 {
        debug_assert!(self.held.is_empty());
        let skipped = number.saturating_sub(self.next);
        self.next = self.next.max(number + 1);
        skipped
    }

    /// When [`release`](Self::release) has something to do even if nothing more arrives.
    pub(super) fn give_up_at(&self, patience: &Patience<'_>) -> Time {
        (self.held_since + self.hold_max).min(self.hopeless_at(patience))
    }

    /// When what the gap waits for can't come any more.
    fn hopeless_at(&self, patience: &Patience<'_>) -> Time {
        match patience.passage.passed_at(self.successor) {
            Some(passed) => passed.max(self.held_since) + patience.allowance,
            None => Time::MAX,
        }
    }

    /// Gives up the missing packets of the front gap. Returns how many they are.
    fn skip(&mut self, deliver: &mut impl FnMut(SlotId, Time)) -> u64 {
        let gap = self.held.iter().take_while(|held| held.is_none()).count();
        self.held.drain(..gap);
        self.next += gap as u64;
        self.run(deliver);
        gap as u64
    }

    fn run(&mut self, deliver: &mut impl FnMut(SlotId, Time)) {
        let mut moved = false;
        while let Some(Some(held)) = self.held.front() {
            if let Some(slot) = held.slot {
                deliver(slot, held.arrived);
            }
            self.held.pop_front();
            self.next += 1;
            moved = true;
        }
        if self.held.is_empty() {
            if self.held.capacity() > HELD_KEPT {
                self.held.shrink_to(HELD_KEPT);
            }
            return;
        }
        if moved {
            // Another gap, which has been holding back what is behind it since that arrived.
            (self.successor, self.held_since) = self.bound();
        }
    }

    /// A bound on the stamps before the gap, and when something behind it arrived first. First
    /// transmissions are stamped in their order, so the first original behind the gap bounds
    /// everything before it; a copy's stamp is no smaller.
    fn bound(&mut self) -> (Time, Time) {
        let (mut stamp, mut arrived) = (Time::MAX, Time::MAX);
        self.bound_at = u64::MAX;
        for (number, held) in (self.next..).zip(&self.held) {
            let Some(held) = held else { continue };
            stamp = stamp.min(held.stamp);
            arrived = arrived.min(held.arrived);
            if held.original {
                self.bound_at = number;
                break;
            }
        }
        (stamp, arrived)
    }

    fn expand(&self, sequence: u32) -> u64 {
        let behind = (self.next as u32).wrapping_sub(sequence) << 8;
        self.next.wrapping_sub((behind as i32 >> 8) as i64 as u64)
    }
}

/// The numbers that were received, as a sliding bitmap that grows with the lane's rate.
#[derive(Debug)]
struct Seen {
    words: Vec<u64>,
    /// The largest number seen plus one.
    top: u64,
    /// When the bitmap was last written round.
    round_at: Time,
    round_top: u64,
}

impl Seen {
    fn new(now: Time, next: u64) -> Self {
        Self { words: vec![0; SEEN_MIN / 64], top: next, round_at: now, round_top: next }
    }

    /// Notes `number`. Returns whether it is known to be new.
    fn insert(&mut self, now: Time, number: u64, may_grow: bool) -> bool {
        if number >= self.top {
            self.raise(now, number + 1, may_grow);
        } else if self.top - number > self.len() {
            return false;
        }
        let (word, bit) = self.place(number);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    fn raise(&mut self, now: Time, top: u64, may_grow: bool) {
        if top - self.round_top > self.len() {
            let fast = now.since(self.round_at) < SEEN_SPAN;
            if fast && may_grow && self.words.len() < SEEN_MAX / 64 {
                self.double();
            }
            self.round_at = now;
            self.round_top = top;
        }
        let mut number = top - (top - self.top).min(self.len());
        while number < top {
            let (word, bit) = self.place(number);
            // Whole words where there are such: a lane may jump far.
            let whole = bit == 1 && top - number >= 64;
            self.words[word] &= if whole { 0 } else { !bit };
            number += if whole { 64 } else { 1 };
        }
        self.top = top;
    }

    fn double(&mut self) {
        let old = std::mem::take(&mut self.words);
        let len = old.len() as u64 * 64;
        self.words = vec![0; old.len() * 2];
        for number in self.top.saturating_sub(len)..self.top {
            if old[(number / 64 % old.len() as u64) as usize] & 1 << (number % 64) != 0 {
                let (word, bit) = self.place(number);
                self.words[word] |= bit;
            }
        }
    }

    fn len(&self) -> u64 {
        self.words.len() as u64 * 64
    }

    fn place(&self, number: u64) -> (usize, u64) {
        ((number / 64 % self.words.len() as u64) as usize, 1 << (number % 64))
    }
}

/// A lane begins at a multiple of 2^16, so that any of its first datagrams tells where.
const TENANCY_MASK: u32 = 0xff_0000;

/// Numbers that one lane may hold back.
const HELD_MAX: usize = 1 << 16;
/// Room that an idle lane keeps.
const HELD_KEPT: usize = 64;

/// The smallest and the largest bitmap: it covers a second of the lane's packets, in between.
const SEEN_MIN: usize = 1 << 10;
const SEEN_MAX: usize = 1 << 19;
const SEEN_SPAN: Span = Span::secs(1);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::slots::Slots;

    #[test]
    fn a_gap_holds_until_every_path_has_passed_it_and_the_allowance_is_over() {
        let mut slots = Slots::<()>::new(1 << 20);
        let mut lane = Lane::new(Time(0), 0, true);
        let (number, place) = lane.place(Time(10), 1, true);
        assert_eq!(place, Place::Hold);
        let slot = slots.insert(b"1", ()).expect("room");
        assert!(lane.hold(Time(10), number, Some(slot), Time(5), true));
        let mut out = Vec::new();

        let mut passage = Passage::default();
        passage.on_passed(Time(20), Time(4));
        assert_eq!(lane.release(Time(20), &patience(&passage), |slot, _| out.push(slot)), (0, 0));
        passage.on_passed(Time(30), Time(5));
        let passed = patience(&passage);
        assert_eq!(lane.release(Time(30), &passed, |slot, _| out.push(slot)), (0, 0));
        assert_eq!(lane.give_up_at(&passed), Time(130));
        assert_eq!(lane.release(Time(130), &passed, |slot, _| out.push(slot)), (1, 0));

        assert_eq!(out, [slot]);
        assert_eq!(lane.place(Time(140), 0, true).1, Place::Late);
        assert_eq!(lane.place(Time(140), 0, true).1, Place::Duplicate);
        assert_eq!(lane.place(Time(140), 2, true).1, Place::Now);
    }

    #[test]
    fn a_first_datagram_tells_where_the_lane_began() {
        let mut lane = Lane::new(Time(0), 0x05_0002, true);
        assert_eq!(lane.place(Time(0), 0x05_0002, true).1, Place::Hold);
        assert_eq!(lane.place(Time(0), 0x05_0000, true).1, Place::Now);
        assert!(!lane.is_renewed_by(0x05_0001, true));
        assert!(!lane.is_renewed_by(0x06_0001, false));
        assert!(lane.is_renewed_by(0x06_0001, true));

        let mut unknown = Lane::new(Time(0), 0x05_0002, false);
        assert_eq!(unknown.place(Time(0), 0x05_0002, true).1, Place::Now);
    }

    #[test]
    fn a_missing_packet_is_welcome_however_far_back_it_lies() {
        let mut slots = Slots::<()>::new(1 << 24);
        let mut lane = Lane::new(Time(0), 0, true);
        for sequence in 1..20_000 {
            let (number, place) = lane.place(Time(0), sequence, true);
            assert_eq!(place, Place::Hold);
            let slot = slots.insert(b"", ()).expect("room");
            assert!(lane.hold(Time(0), number, Some(slot), Time(u64::from(sequence)), true));
        }

        assert_eq!(lane.place(Time(0), 1, true).1, Place::Duplicate);
        assert_eq!(lane.place(Time(0), 0, true).1, Place::Now);
    }

    #[test]
    fn numbers_wrap_after_24_bits() {
        let mut lane = Lane::new(Time(0), 0xff_ffff, false);
        assert_eq!(lane.place(Time(0), 0xff_ffff, true).1, Place::Now);
        lane.advance(|_, _| {});
        assert_eq!(lane.place(Time(0), 0, true).1, Place::Now);
        lane.advance(|_, _| {});
        assert_eq!(lane.place(Time(0), 0xff_ffff, true).1, Place::Duplicate);
        assert_eq!(lane.place(Time(0), 0xff_fffe, true).1, Place::Late);
    }

    proptest! {
        #[test]
        fn the_bitmap_never_calls_a_seen_number_new(
            steps in prop::collection::vec((0u64..3000, 0u64..2_000_000), 1..200),
        ) {
            let mut seen = Seen::new(Time(0), 1000);
            let mut model = BTreeSet::new();
            let (mut now, mut top) = (0, 1000u64);
            for (number, wait) in steps {
                now += wait;
                let number = top.saturating_sub(1500) + number;
                top = top.max(number + 1);
                let new = seen.insert(Time(now), number, true);
                prop_assert!(!(new && model.contains(&number)));
                if top - number <= SEEN_MIN as u64 {
                    prop_assert_eq!(new, model.insert(number));
                } else {
                    model.insert(number);
                }
            }
        }
    }

    fn patience(passage: &Passage) -> Patience<'_> {
        Patience { passage, allowance: Span(100) }
    }
}
