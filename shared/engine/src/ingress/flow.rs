//! One flow's queue.

use std::collections::VecDeque;

use super::{
    Head,
    codel::Codel,
    lull::{Found, Lull},
};
use crate::{
    class::{Class, FlowClass},
    packet::{FlowKey, Headers, TCP},
    path::PathId,
    scheduler::Hashes,
    segment::Cut,
    slots::SlotId,
    time::{Span, Time},
};

/// One flow, or one of the last lane's share if there are more flows than lanes.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) key: Option<FlowKey>,
    pub(super) queue: VecDeque<Queued>,
    pub(super) bytes: usize,
    /// Whether it had all that it may have, and takes nothing until some of that is gone.
    pub(super) full: bool,
    pub(super) deficit: i32,
    pub(super) listed: bool,
    /// The lane sequence of the next segment.
    pub(super) sequence: u32,
    /// Where the lane's sequence began with this flow, until the peer knows it.
    pub(super) first: Option<u32>,
    /// Segments sent and not settled, each copy counted: for so long the lane is the flow's.
    pub(super) unsettled: u32,
    /// Segments on their way: no copies, for one that arrived may have others that never will. Those that settle
    /// count once more, so these are a few too few rather than too many.
    on_way: u32,
    pub(super) active_at: Time,
    pub(super) codel: Codel,
    pub(super) class: FlowClass,
    /// The path that leads it for as long as it lasts: a sender like BBR takes the shortest round trip
    /// that it has seen for the flow's own.
    lead: Option<PathId>,
    /// The same since it looked for its round trip as a transfer, and before, while it may be looking.
    late_lead: Option<PathId>,
    late_before: Option<PathId>,
    lull: Lull,
    hashes: Hashes,
    /// Packets so far, up to [`BEGINNING`].
    packets: u8,
}

/// A path that leads a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Lead {
    pub(super) path: PathId,
    /// Whether it was given to a transfer on its way, and not to a flow that began.
    pub(super) is_late: bool,
}

/// A packet that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    pub(super) since: Time,
    pub(super) slot: SlotId,
    pub(super) next: u16,
    pub(super) cut: Cut,
    pub(super) class: Class,
    /// Whether it takes the flow's lead.
    pub(super) led: bool,
    /// Whether it is of the flow's first packets.
    pub(super) begins: bool,
}

impl Flow {
    pub(super) fn new(now: Time) -> Self {
        Self {
            key: None,
            queue: VecDeque::new(),
            bytes: 0,
            full: false,
            deficit: 0,
            listed: false,
            sequence: 0,
            first: None,
            unsettled: 0,
            on_way: 0,
            active_at: now,
            codel: Codel::default(),
            class: FlowClass::default(),
            lead: None,
            late_lead: None,
            late_before: None,
            lull: Lull::default(),
            hashes: Hashes::default(),
            packets: 0,
        }
    }

    /// A segment of it is sent.
    pub(super) fn on_sent(&mut self) {
        self.unsettled += 1;
        self.on_way += 1;
    }

    /// A segment, or a copy of one, was acknowledged or given up.
    pub(super) fn on_settled(&mut self, acknowledged: bool) {
        self.unsettled = self.unsettled.saturating_sub(1);
        self.on_way = self.on_way.saturating_sub(1);
        if acknowledged {
            self.first = None;
        }
    }

    /// Another flow begins in its place.
    pub(super) fn begin(&mut self, lead: Option<PathId>, hashes: Hashes) {
        (self.lead, self.late_lead, self.hashes) = (lead, None, hashes);
        (self.lull, self.packets) = (Lull::default(), 0);
    }

    /// Gives a transfer that looks for its shortest round trip this path to lead it from then on. Nothing else has so
    /// little on its way after a silence of at least `shortest`.
    pub(super) fn watch_lull(
        &mut self,
        now: Time,
        len: usize,
        shortest: Span,
        best: Option<PathId>,
    ) {
        let drained = self.queue.is_empty() && self.on_way <= DRAINED;
        match self.lull.on_packet(now, len, shortest, drained) {
            Some(Found::Break) => self.late_lead = None,
            Some(Found::Silence) => {
                (self.late_before, self.late_lead) = (self.late_lead, best);
            }
            Some(Found::Pause) => self.late_lead = self.late_before,
            Some(Found::Look) | None => {}
        }
    }

    /// Whether the flow's next packet is of its first.
    pub(super) fn is_beginning(&self) -> bool {
        self.packets < BEGINNING
    }

    /// Whether the flow's next packet, of this class, is led. What may become a transfer is from its first
    /// packets on; not so what is small or only acknowledges, for that has an answer to wait for.
    pub(super) fn is_led(&mut self, class: Class, headers: &Headers) -> bool {
        let begins = self.is_beginning();
        self.packets = (self.packets + 1).min(BEGINNING);
        match class {
            Class::RealTime => false,
            Class::Bulk | Class::Scavenger => true,
            Class::Interactive if !self.class.is_guessed() => false,
            Class::Interactive if headers.protocol == TCP => {
                headers.accepts || headers.len > SMALL || begins && self.packets > 1
            }
            Class::Interactive => headers.len >= DATAGRAM_MIN,
        }
    }

    /// The segment at the head, if the flow may send in this turn.
    pub(super) fn head(&self, index: u16) -> Option<Head> {
        let queued = self.queue.front().filter(|_| self.deficit > 0)?;
        Some(Head {
            flow: index,
            slot: queued.slot,
            index: queued.next,
            len: queued.cut.len(queued.next),
            class: queued.class,
            since: queued.since,
            keeps_time: self.class.keeps_time(),
            begins: queued.begins,
            lead: self.leads().filter(|_| queued.led),
            hashes: self.hashes,
        })
    }

    fn leads(&self) -> Option<Lead> {
        let late = self.late_lead.map(|path| Lead { path, is_late: true });
        late.or(self.lead.map(|path| Lead { path, is_late: false }))
    }

    /// Goes on behind the segment at the head. Returns whether it was its packet's last.
    pub(super) fn pass(&mut self, len: usize) -> bool {
        let Some(queued) = self.queue.front_mut() else { return false };
        queued.next += 1;
        let last = queued.next == queued.cut.count;
        if last {
            self.queue.pop_front();
        }
        self.bytes = if self.queue.is_empty() { 0 } else { self.bytes.saturating_sub(len) };
        last
    }
}

/// What a BBR has on its way then, and what was not acknowledged yet.
const DRAINED: u32 = 6;

/// The first few packets of a connection show nothing of what it is for.
const BEGINNING: u8 = 5;

/// What somebody types, and all acknowledgements, with headers.
pub(super) const SMALL: usize = 120;

/// QUIC fills its datagrams to this at least where it wants to know the path (RFC 9000, 14.1).
const DATAGRAM_MIN: usize = 1200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{class::Classifier, packet::UDP, segment::Offload};

    #[test]
    fn what_may_become_a_transfer_is_led_and_what_has_an_answer_to_wait_for_is_not() {
        let mut client = Flow::new(Time::ZERO);
        assert!(!led(&mut client, TCP, 60, false), "a SYN");
        assert!(led(&mut client, TCP, 52, false), "what may be the first data");
        assert!(led(&mut client, TCP, 1400, false));
        for _ in 0..4 {
            led(&mut client, TCP, 90, false);
        }
        assert!(!led(&mut client, TCP, 90, false), "a key that was typed");

        let mut server = Flow::new(Time::ZERO);
        assert!(led(&mut server, TCP, 60, true), "the answer to a SYN");

        let mut other = Flow::new(Time::ZERO);
        assert!(!led(&mut other, UDP, 200, false));
    }

    /// Whether a packet of the flow is led, given its class by behaviour.
    fn led(flow: &mut Flow, protocol: u8, len: usize, accepts: bool) -> bool {
        let mut packet = vec![0; len];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        packet[9] = protocol;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet[32] = 0x50;
        packet[33] = if accepts { 0x12 } else { 0x10 };
        let headers = Headers::parse(&packet).expect("well-formed");
        let cut = Cut::new(&packet, &headers, Offload::default()).expect("one segment");
        let class = Classifier::default().classify(Time::ZERO, &headers, &cut, &mut flow.class);
        flow.is_led(class, &headers)
    }
}
