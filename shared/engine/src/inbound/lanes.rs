//! All lanes of a session's receiving side, and the packets that wait in them.

use std::collections::VecDeque;

use super::lane::{Lane, Patience, Place};
use crate::{
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
    slots: Slots<()>,
    ready: VecDeque<SlotId>,
    /// The slot whose packet was polled last.
    leaving: Option<SlotId>,
    swept_at: Time,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self {
            lanes: Vec::new(),
            blocked: Vec::new(),
            slots: Slots::new(HELD_BYTES_MAX),
            ready: VecDeque::new(),
            leaving: None,
            swept_at: Time::ZERO,
        }
    }

    /// Takes in a packet. Returns whether it is to be delivered at once, before what
    /// [`poll_packet`](Self::poll_packet) gives.
    pub(super) fn insert(
        &mut self,
        now: Time,
        header: &Inner,
        stamp: Time,
        packet: &[u8],
        stats: &mut InboundStats,
    ) -> bool {
        let index = usize::from(header.lane);
        self.prepare(now, header, stats);
        let Some(lane) = &mut self.lanes[index] else { return false };
        let (number, place) = lane.place(now, header.sequence);
        match place {
            Place::Duplicate => {
                stats.duplicates += 1;
                false
            }
            Place::Hold | Place::Now if index == UNORDERED => {
                lane.jump(number + 1);
                true
            }
            Place::Late if index == UNORDERED => true,
            Place::Late => {
                stats.late += 1;
                true
            }
            Place::Hold => {
                let original = !header.flags.retx && !header.flags.copy;
                self.hold(now, index, (number, stamp, original), packet, stats)
            }
            Place::Now => {
                let ready = &mut self.ready;
                lane.advance(|slot| ready.push_back(slot));
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
            stats.skipped += lane.release(now, patience, |slot| ready.push_back(slot));
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

    /// The next packet to deliver.
    pub(super) fn poll_packet(&mut self) -> Option<&[u8]> {
        if let Some(slot) = self.leaving.take() {
            self.slots.release(slot);
        }
        let slot = self.ready.pop_front()?;
        self.leaving = Some(slot);
        Some(self.slots.packet(slot))
    }

    /// Forgets lanes that were idle for long, and gives memory back.
    pub(super) fn sweep(&mut self, now: Time) {
        if now.since(self.swept_at) < SWEEP_INTERVAL {
            return;
        }
        self.swept_at = now;
        for lane in &mut self.lanes {
            let idle = lane
                .as_ref()
                .is_some_and(|lane| !lane.is_blocked() && now.since(lane.active_at) > IDLE_MAX);
            if idle {
                *lane = None;
            }
        }
        if self.ready.is_empty() && self.leaving.is_none() {
            self.slots.shrink();
        }
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
            stats.skipped += lane.give_up(|slot| ready.push_back(slot));
            self.unblock(index);
        }
        self.lanes[index] = Some(Box::new(Lane::new(now, sequence, first)));
    }

    fn hold(
        &mut self,
        now: Time,
        index: usize,
        (number, stamp, original): (u64, Time, bool),
        packet: &[u8],
        stats: &mut InboundStats,
    ) -> bool {
        let Some(lane) = &mut self.lanes[index] else { return false };
        if let Some(slot) = self.slots.insert(packet, ()) {
            if lane.hold(now, number, slot, stamp, original) {
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
        stats.skipped += lane.give_up(|slot| ready.push_back(slot));
        stats.overflowed += 1;
        stats.skipped += lane.jump(number);
        lane.advance(|_| {});
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

/// After this the receiver forgets an idle lane. The sender gives a lane away after 10 s, and then
/// says so with FIRST; 5 s more are how old a datagram may be.
const IDLE_MAX: Span = Span::secs(15);

const SWEEP_INTERVAL: Span = Span::secs(1);
