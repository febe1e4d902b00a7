//! Memory for packets that wait: slots of a few sizes, reused for ever.
//!
//! A packet is copied to the slot of its size, or a long one taken over with its memory, and stays until
//! everybody who needs it has let go. Slots are named by number; nothing is allocated for a packet once
//! the pool is warm.

use std::{mem, ops::Range};

use crate::buffer::{BUFFER_LEN, PacketBuffer};

/// Names a slot in use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SlotId(u32);

/// A pool of slots with a bound on the bytes in use.
///
/// Each slot has room for a note `T` about its packet.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    /// Unused slots, by size class.
    free: [Vec<u32>; CLASSES.len()],
    /// Slots without memory.
    empty: Vec<u32>,
    allocated: usize,
    used: usize,
    used_max: usize,
}

#[derive(Debug)]
struct Slot<T> {
    bytes: Box<[u8]>,
    /// Where in it the packet lies.
    range: Range<u32>,
    class: u8,
    holders: u32,
    note: T,
}

/// The sizes of slots in bytes: a small packet, a full one, a super-packet of a slow flow, and what
/// one TUN read gives at most.
const CLASSES: [usize; 4] = [256, 2048, 16_384, BUFFER_LEN];

/// The class of slots that are exchanged for buffers.
const LARGEST: usize = CLASSES.len() - 1;

impl<T: Copy + Default> Slots<T> {
    /// A pool that never has more than `used_max` bytes of slots, in use or not.
    pub(crate) fn new(used_max: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Default::default(),
            empty: Vec::new(),
            allocated: 0,
            used: 0,
            used_max,
        }
    }

    /// Copies `packet` to a slot with one holder. `None` if that would exceed the bound.
    pub(crate) fn insert(&mut self, packet: &[u8], note: T) -> Option<SlotId> {
        let class = class_of(packet)?;
        let slot = self.take(class, 0..packet.len(), note)?;
        self.packet_mut(slot).copy_from_slice(packet);
        Some(slot)
    }

    /// The same for the packet in a buffer: a long one stays in its memory, for which the buffer gets the
    /// slot's.
    pub(crate) fn exchange(&mut self, buffer: &mut PacketBuffer, note: T) -> Option<SlotId> {
        if class_of(buffer.packet())? != LARGEST {
            return self.insert(buffer.packet(), note);
        }
        let slot = self.take(LARGEST, buffer.range.clone(), note)?;
        mem::swap(&mut self.slots[slot.0 as usize].bytes, &mut buffer.bytes);
        buffer.range = 0..0;
        Some(slot)
    }

    /// Takes a slot into use, with one holder.
    fn take(&mut self, class: usize, range: Range<usize>, note: T) -> Option<SlotId> {
        if self.used + CLASSES[class] > self.used_max {
            return None;
        }
        self.used += CLASSES[class];
        let id = self.free[class].pop().unwrap_or_else(|| self.grow(class));
        let slot = &mut self.slots[id as usize];
        slot.range = range.start as u32..range.end as u32;
        slot.holders = 1;
        slot.note = note;
        Some(SlotId(id))
    }

    /// The packet in the slot.
    pub(crate) fn packet(&self, SlotId(id): SlotId) -> &[u8] {
        let slot = &self.slots[id as usize];
        debug_assert!(slot.holders > 0, "a slot is read only while held");
        &slot.bytes[slot.range.start as usize..slot.range.end as usize]
    }

    /// The note about the packet in the slot.
    pub(crate) fn note(&self, SlotId(id): SlotId) -> T {
        self.slots[id as usize].note
    }

    /// The packet in the slot, for a correction in place.
    pub(crate) fn packet_mut(&mut self, SlotId(id): SlotId) -> &mut [u8] {
        let slot = &mut self.slots[id as usize];
        debug_assert!(slot.holders > 0, "a slot is written only while held");
        &mut slot.bytes[slot.range.start as usize..slot.range.end as usize]
    }

    /// Adds a holder.
    pub(crate) fn hold(&mut self, SlotId(id): SlotId) {
        self.slots[id as usize].holders += 1;
    }

    /// Lets one holder go; the last one frees the slot.
    pub(crate) fn release(&mut self, SlotId(id): SlotId) {
        let slot = &mut self.slots[id as usize];
        debug_assert!(slot.holders > 0, "a slot is released once by each holder");
        slot.holders -= 1;
        if slot.holders == 0 {
            let class = usize::from(slot.class);
            self.used -= CLASSES[class];
            self.free[class].push(id);
        }
    }

    /// Bytes of slots in use.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Gives the memory of all unused slots back, if none is in use.
    pub(crate) fn shrink(&mut self) {
        if self.used == 0 && !self.slots.is_empty() {
            *self = Self::new(self.used_max);
        }
    }

    /// Allocates a slot, in exchange for unused ones of other sizes if need be.
    fn grow(&mut self, class: usize) -> u32 {
        while self.allocated + CLASSES[class] > self.used_max
            && let Some(id) = self.free.iter_mut().find_map(Vec::pop)
        {
            let slot = &mut self.slots[id as usize];
            self.allocated -= slot.bytes.len();
            slot.bytes = Box::default();
            self.empty.push(id);
        }
        self.allocated += CLASSES[class];
        let bytes = vec![0; CLASSES[class]].into_boxed_slice();
        let slot = Slot { bytes, range: 0..0, class: class as u8, holders: 0, note: T::default() };
        if let Some(id) = self.empty.pop() {
            self.slots[id as usize] = slot;
            return id;
        }
        self.slots.push(slot);
        (self.slots.len() - 1) as u32
    }
}

fn class_of(packet: &[u8]) -> Option<usize> {
    CLASSES.iter().position(|&size| packet.len() <= size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_reused_after_its_last_holder_lets_go() {
        let mut slots = Slots::<()>::new(1 << 20);
        let first = slots.insert(b"one", ()).expect("room");
        slots.hold(first);
        slots.release(first);
        assert_eq!(slots.packet(first), b"one");

        slots.release(first);

        assert_eq!(slots.used(), 0);
        assert_eq!(slots.insert(b"two", ()), Some(first));
    }

    #[test]
    fn the_bound_is_kept_and_packets_too_long_are_refused() {
        let mut slots = Slots::<()>::new(600);

        assert!(slots.insert(&[0; 2000], ()).is_none());
        assert!(slots.insert(&[0; 70_000], ()).is_none());
        assert!(slots.insert(&[0; 256], ()).is_some());
        assert!(slots.insert(&[0; 1], ()).is_some());
        assert!(slots.insert(&[0; 1], ()).is_none());
    }

    #[test]
    fn memory_moves_between_sizes_within_the_bound() {
        let mut slots = Slots::<()>::new(200_000);
        for len in [200, 2000, 60_000, 200, 60_000] {
            let ids: Vec<_> = std::iter::from_fn(|| slots.insert(&vec![1; len], ())).collect();
            assert!(!ids.is_empty());
            for id in ids {
                assert_eq!(slots.packet(id).len(), len);
                slots.release(id);
            }
            let bytes: usize = slots.slots.iter().map(|slot| slot.bytes.len()).sum();
            assert!(bytes <= 200_000 && bytes == slots.allocated, "{bytes} bytes");
        }
    }

    #[test]
    fn a_long_packet_stays_where_it_was_read_and_a_short_one_is_copied() {
        let mut slots = Slots::<()>::new(1 << 20);
        for (len, stays) in [(100, false), (60_000, true)] {
            let mut buffer = PacketBuffer::new();
            buffer.room()[10..10 + len].fill(7);
            buffer.set(10..10 + len);
            let place = buffer.packet().as_ptr();

            let id = slots.exchange(&mut buffer, ()).expect("room");

            assert_eq!(slots.packet(id), vec![7; len]);
            assert_eq!(std::ptr::eq(slots.packet(id).as_ptr(), place), stays);
            assert_eq!(buffer.room().len(), BUFFER_LEN);
            assert_eq!(buffer.packet().is_empty(), stays, "what is there now is another's");
            slots.release(id);
        }
    }

    #[test]
    fn an_unused_pool_gives_its_memory_back() {
        let mut slots = Slots::<()>::new(1 << 20);
        let id = slots.insert(b"one", ()).expect("room");
        slots.shrink();
        assert_eq!(slots.packet(id), b"one");
        slots.release(id);

        slots.shrink();

        assert!(slots.slots.is_empty());
        assert!(slots.insert(b"two", ()).is_some());
    }
}
