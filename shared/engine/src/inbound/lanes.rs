//! All lanes of a session's receiving side, and the packets that wait in them.

use std::collections::VecDeque;

use super::{
    bound::Bounds,
    lane::{Lane, Patience, Place},
    passage::Passage,
};
use crate::{
    class::Class,
    slots::{SlotId, Slots},
    stats::InboundStats,
    time::{Span, Time},
    wire::{Inner, LANES},
};

/// Puts packets in order and sorts out duplicates.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Option<Box<Lane>>>,
    /// Lanes in which packets wait.
    blocked: Vec<u16>,
    /// Words of all lanes' bitmaps.
    words: usize,
    slots: Slots<()>,
    ready: VecDeque<SlotId>,
    swept_at: Time,
    order: Order,
    bounds: Bounds,
}

/// What a packet that came early waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    /// Nothing.
    None,
    /// For what is known to be lost and may be sent again, but not for what is on its way.
    KnownLost,
    /// For everything that may still come.
    Watermark,
}

impl Lanes {
    pub(super) fn new(order: Order) -> Self {
        Self {
            order,
            bounds: Bounds::new(),
            lanes: Vec::new(),
            blocked: Vec::new(),
            words: 0,
            slots: Slots::new(HELD_BYTES_MAX),
            ready: VecDeque::new(),
            swept_at: Time::ZERO,
        }
    }

    /// Takes in a packet. Returns whether it is to be delivered at once, before what
    /// [`ready`](Self::ready) gives.
    pub(super) fn insert(
        &mut self,
        now: Time,
        header: &Inner,
        stamp: Time,
        packet: &[u8],
        passage: &Passage,
        stats: &mut InboundStats,
    ) -> bool {
        let index = usize::from(header.lane);
        self.prepare(now, header, stats);
        let Some(lane) = &mut self.lanes[index] else { return false };
        lane.class = Class::from_bits(header.class);
        lane.hold_max = self.bounds.of(lane.class);
        let before = lane.words();
        let (number, place) = lane.place(now, header.sequence, self.words < WORDS_MAX);
        self.words += lane.words() - before;
        match place {
            Place::Duplicate => {
                stats.duplicates += 1;
                false
            }
            Place::Hold | Place::Now if index == UNORDERED || self.order == Order::None => {
                lane.jump(number);
                true
            }
            Place::Late if index == UNORDERED => true,
            Place::Late => {
                stats.late += 1;
                self.bounds.on_late(lane.class);
                true
            }
            Place::Hold if self.order == Order::KnownLost && !lane.is_lost(stamp, passage) => {
                let original = !header.flags.retx && !header.flags.copy;
                if !self.has_room(index, number) {
                    return self.hold(now, index, (number, stamp, original), packet, stats);
                }
                let Some(lane) = &mut self.lanes[index] else { return false };
                lane.hold(now, number, None, stamp, original);
                if !self.blocked.contains(&header.lane) {
                    self.blocked.push(header.lane);
                }
                true
            }
            Place::Hold => {
                let original = !header.flags.retx && !header.flags.copy;
                self.hold(now, index, (number, stamp, original), packet, stats)
            }
            Place::Now => {
                let (ready, bounds, class) = (&mut self.ready, &mut self.bounds, lane.class);
                lane.advance(|slot, arrived| {
                    ready.push_back(slot);
                    let wait = now.since(arrived);
                    stats.holds.count(wait, false);
                    bounds.on_wait(class, wait);
                });
                self.unblock(index);
                true
            }
        }
    }

    /// Lets go what no longer has anything to wait for.
    pub(super) fn release(&mut self, now: Time, patience: &Patience<'_>, stats: &mut InboundStats) {
        let mut at = 0;
        while let Some(&index) = self.blocked.get(at) {
            let Some(lane) = &mut self.lanes[usize::from(index)] else {
                self.blocked.swap_remove(at);
                continue;
            };
            let ready = &mut self.ready;
            let (skipped, expired) = lane.release(now, patience, |slot, arrived| {
                ready.push_back(slot);
                stats.holds.count(now.since(arrived), true);
            });
            stats.skipped += skipped;
            stats.expired += expired;
            if lane.is_blocked() {
                at += 1;
            } else {
                self.blocked.swap_remove(at);
            }
        }
    }

    /// When [`release`](Self::release) has something to do.
    pub(super) fn poll_timeout(&self, patience: &Patience<'_>) -> Time {
        let lanes = self.blocked.iter().filter_map(|&i| self.lanes[usize::from(i)].as_deref());
        lanes.map(|lane| lane.give_up_at(patience)).min().unwrap_or(Time::MAX)
    }

    /// Whether any packet waits for another.
    pub(super) fn is_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }

    /// All packets to deliver, in their order.
    pub(super) fn ready(&self) -> impl Iterator<Item = &[u8]> {
        self.ready.iter().map(|slot| self.slots.packet(*slot))
    }

    /// Gives back the memory of those.
    pub(super) fn forget_ready(&mut self) {
        for slot in self.ready.drain(..) {
            self.slots.release(slot);
        }
    }

    /// Forgets lanes that were idle for long, and gives memory back. Returns whether it did, because
    /// there has been nothing to do.
    pub(super) fn sweep(&mut self, now: Time) -> bool {
        if now.since(self.swept_at) < SWEEP_INTERVAL {
            return false;
        }
        self.swept_at = now;
        for lane in &mut self.lanes {
            let idle = lane
                .as_ref()
                .is_some_and(|lane| !lane.is_blocked() && now.since(lane.active_at) > IDLE_MAX);
            if idle {
                self.words -= lane.take().map_or(0, |lane| lane.words());
            }
        }
        while self.lanes.pop_if(|lane| lane.is_none()).is_some() {}
        let active = self.lanes.iter().flatten().map(|lane| lane.active_at).max();
        let resting = active.is_none_or(|at| now.since(at) > SWEEP_INTERVAL);
        if resting && self.slots.used() == 0 && self.ready.is_empty() {
            self.slots.shrink();
            self.lanes.shrink_to_fit();
            self.ready.shrink_to_fit();
            self.blocked.shrink_to_fit();
        }
        resting
    }

    /// Bytes of packets that wait.
    pub(super) fn held_bytes(&self) -> usize {
        self.slots.used()
    }

    /// Makes sure that the lane is there, and is the one that the datagram means.
    fn prepare(&mut self, now: Time, header: &Inner, stats: &mut InboundStats) {
        let index = usize::from(header.lane);
        debug_assert!(index < LANES);
        if self.lanes.len() <= index {
            self.lanes.resize_with(index + 1, || None);
        }
        let (sequence, first) = (header.sequence, header.flags.first);
        let renewed = self.lanes[index].as_ref().is_none_or(|l| l.is_renewed_by(sequence, first));
        if !renewed {
            return;
        }
        if let Some(lane) = &mut self.lanes[index] {
            let ready = &mut self.ready;
            stats.skipped += lane.give_up(|slot, _| ready.push_back(slot));
            self.words -= lane.words();
            self.unblock(index);
        }
        let lane = Lane::new(now, sequence, first);
        self.words += lane.words();
        self.lanes[index] = Some(Box::new(lane));
    }

    fn hold(
        &mut self,
        now: Time,
        index: usize,
        (number, stamp, original): (u64, Time, bool),
        packet: &[u8],
        stats: &mut InboundStats,
    ) -> bool {
        let room = self.has_room(index, number);
        let Some(lane) = &mut self.lanes[index] else { return false };
        if room && let Some(slot) = self.slots.insert(packet, ()) {
            if lane.hold(now, number, Some(slot), stamp, original) {
                stats.held += 1;
                if !self.blocked.contains(&(index as u16)) {
                    self.blocked.push(index as u16);
                }
                return false;
            }
            self.slots.release(slot);
        }
        // No memory, or the gap is wider than any that is waited for: what waits leaves first.
        let ready = &mut self.ready;
        stats.skipped += lane.give_up(|slot, _| ready.push_back(slot));
        stats.overflowed += 1;
        stats.skipped += lane.jump(number);
        self.unblock(index);
        // The packet itself follows those, so it is copied although it could leave at once; without
        // memory even for that it goes ahead of them.
        match self.slots.insert(packet, ()) {
            Some(slot) => {
                self.ready.push_back(slot);
                false
            }
            None => true,
        }
    }

    /// Whether the lane may hold back everything up to this number.
    fn has_room(&self, index: usize, number: u64) -> bool {
        let Some(growth) = self.lanes[index].as_ref().map(|lane| lane.growth(number)) else {
            return false;
        };
        let lanes = self.blocked.iter().filter_map(|&i| self.lanes[usize::from(i)].as_deref());
        growth <= GROWTH_FREE || lanes.map(Lane::held).sum::<usize>() + growth <= HELD_MAX
    }

    fn unblock(&mut self, index: usize) {
        if self.lanes[index].as_ref().is_some_and(|lane| lane.is_blocked()) {
            return;
        }
        if let Some(at) = self.blocked.iter().position(|&i| usize::from(i) == index) {
            self.blocked.swap_remove(at);
        }
    }
}

/// The lane without order.
const UNORDERED: usize = 0;

/// Bytes of packets that one session may hold back: 1 Gbit/s for 128 ms.
pub const HELD_BYTES_MAX: usize = 16 << 20;

/// Numbers that all lanes together hold back, unless each comes shortly after the one before: as many
/// as the smallest slots for packets.
const HELD_MAX: usize = HELD_BYTES_MAX / 256;

/// Words of the bitmaps of all lanes together, from which on none grows: twenty of the largest, or
/// all lanes at twice their smallest.
const WORDS_MAX: usize = 1 << 17;

/// A step that is not counted, so that the usual packet costs no sum over all lanes. Every such step
/// has a packet that takes a slot.
const GROWTH_FREE: usize = 4;

/// After this the receiver forgets an idle lane. The sender gives a lane away after 10 s, and then
/// says so with FIRST; 5 s more are how old a datagram may be.
const IDLE_MAX: Span = Span::secs(15);

const SWEEP_INTERVAL: Span = Span::secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Flags, Kind};

    #[test]
    fn when_memory_is_used_up_what_waits_leaves_and_nothing_is_lost() {
        let mut lanes = Lanes::new(Order::Watermark);
        let mut stats = InboundStats::default();
        let packets = (HELD_BYTES_MAX / 2048) as u32;
        for number in 1..=packets {
            assert!(!insert(&mut lanes, 2 * number, &mut stats), "waits for the one before");
        }
        assert_eq!(lanes.held_bytes(), HELD_BYTES_MAX);

        // One that belongs between those that wait, and one behind them all.
        let between = insert(&mut lanes, 5, &mut stats);
        let behind = insert(&mut lanes, 2 * packets + 2, &mut stats);

        let waited = lanes.ready().count() as u32;
        lanes.forget_ready();
        assert_eq!(waited + u32::from(between) + u32::from(behind), packets + 2);
        assert_eq!(stats.overflowed, 2);
        assert_eq!(lanes.held_bytes(), 0);
        assert!(insert(&mut lanes, 2 * packets + 3, &mut stats), "in order from there on");
    }

    #[test]
    fn wide_gaps_in_many_lanes_use_no_more_memory_than_allowed() {
        let mut lanes = Lanes::new(Order::Watermark);
        let mut stats = InboundStats::default();
        for lane in 1..LANES as u16 {
            lanes.insert(
                Time(0),
                &header(lane, 0xf000),
                Time(0),
                &[0; 20],
                &Passage::default(),
                &mut stats,
            );
        }

        let held: usize = lanes.lanes.iter().flatten().map(|lane| lane.held()).sum();
        assert!(held <= HELD_MAX, "{held} places");
        assert!(stats.overflowed > 0);
    }

    #[test]
    fn the_unordered_lane_holds_nothing_and_still_finds_duplicates() {
        let mut lanes = Lanes::new(Order::Watermark);
        let mut stats = InboundStats::default();
        let mut insert = |number| {
            lanes.insert(Time(0), &header(0, number), Time(0), &[], &Passage::default(), &mut stats)
        };

        assert_eq!([5, 3, 5, 9, 3, 4].map(&mut insert), [true, true, false, true, false, true]);
        assert_eq!((stats.duplicates, stats.held, stats.late), (2, 0, 0));
    }

    fn insert(lanes: &mut Lanes, number: u32, stats: &mut InboundStats) -> bool {
        lanes.insert(
            Time(0),
            &header(1, number),
            Time(u64::from(number)),
            &[0; 1000],
            &Passage::default(),
            stats,
        )
    }

    fn header(lane: u16, sequence: u32) -> Inner {
        let flags = Flags { first: true, ..Flags::default() };
        Inner { kind: Kind::Packet, flags, lane, class: 3, sequence, stamp: 0 }
    }
}
