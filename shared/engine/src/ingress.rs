//! The queue at the tunnel's entrance: one per flow, served in turn.
//!
//! Packets wait here, and nowhere else, until a path can take them. Flows are served by deficit
//! round robin, sparse ones first (the scheduling half of RFC 8290), so that a ping or a call does
//! not stand behind a download. A super-packet waits whole; its segments are counted and taken
//! one by one. A flow keeps the lane that it is given for as long as it is active.

use std::{
    collections::{HashMap, VecDeque},
    hash::BuildHasher,
};

pub(crate) use self::codel::Aqm;
use self::flow::{Flow, Lead, Queued, SMALL};
use crate::{
    class::{Class, Classifier, FlowClass},
    packet::{FlowHash, FlowKey, Headers},
    path::PathId,
    scheduler::Hashes,
    segment::Cut,
    slots::SlotId,
    time::{Span, Time},
    wire::LANES,
};

mod codel;
mod flow;
mod lull;

/// The queues of all flows.
#[derive(Debug)]
pub(crate) struct Ingress {
    table: HashMap<FlowKey, u16, FlowHash>,
    flows: Vec<Flow>,
    free: VecDeque<u16>,
    /// Flows that began to send just then, and those that were served before.
    fresh: VecDeque<u16>,
    rest: VecDeque<u16>,
    /// Flows that take what others leave.
    last: VecDeque<u16>,
    segments: usize,
    hash: FlowHash,
    is_server: bool,
    swept_at: Time,
    /// The path that leads flows that begin from now on.
    pub(crate) lead: Option<PathId>,
    /// The path that leads transfers that have lasted, for which delay matters less, and how long they have to
    /// be silent to look for a round trip.
    pub(crate) late_lead: Option<PathId>,
    pub(crate) silence: Span,
}

/// The segment at the head of the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) flow: u16,
    pub(crate) slot: SlotId,
    pub(crate) index: u16,
    pub(crate) len: usize,
    pub(crate) class: Class,
    /// When its packet came.
    pub(crate) since: Time,
    /// Whether its flow was seen to keep time, as calls do.
    pub(crate) keeps_time: bool,
    /// Whether it is of a flow's first packets.
    pub(crate) begins: bool,
    /// The path that it is led by: for what comes nearer than that nobody waits.
    lead: Option<Lead>,
    pub(crate) hashes: Hashes,
}

impl Head {
    /// Whether it is what somebody types, or an acknowledgement, as far as can be seen.
    pub(crate) fn is_small(&self) -> bool {
        self.class == Class::Interactive && self.len <= SMALL
    }
}

impl Ingress {
    /// No flow yet. At the server, packets go to the hosts at the client's end.
    pub(crate) fn new(hash: FlowHash, is_server: bool) -> Self {
        Self {
            is_server,
            table: HashMap::with_hasher(hash.clone()),
            flows: Vec::new(),
            free: VecDeque::new(),
            fresh: VecDeque::new(),
            rest: VecDeque::new(),
            last: VecDeque::new(),
            segments: 0,
            hash,
            swept_at: Time::ZERO,
            lead: None,
            late_lead: None,
            silence: Span::ZERO,
        }
    }

    /// Appends a packet to its flow's queue. Returns whether there was room: a flow may have
    /// `bytes_max` waiting, and one more packet. Then it gets no more until a quarter is gone: a QUIC
    /// receiver gives up a connection whose stream has a thousand gaps, and one long gap is one.
    pub(crate) fn push(
        &mut self,
        now: Time,
        classifier: &Classifier,
        headers: &Headers,
        slot: SlotId,
        cut: Cut,
        bytes_max: usize,
    ) -> bool {
        let (key, len) = (headers.flow(), headers.len);
        let index = self.flow(now, key);
        let flow = &mut self.flows[usize::from(index)];
        flow.active_at = now;
        // Several flows that share a lane have no behaviour in common.
        let own = flow.key == Some(key);
        let class = if own { &mut flow.class } else { &mut FlowClass::default() };
        let class = classifier.classify(now, headers, &cut, class);
        flow.full = flow.bytes >= if flow.full { bytes_max / 4 * 3 } else { bytes_max };
        if flow.full {
            return false;
        }
        let begins = flow.is_beginning();
        let led = own && flow.is_led(class, headers);
        if own {
            flow.watch_lull(now, len, self.silence, self.late_lead);
        }
        flow.queue.push_back(Queued { since: now, slot, next: 0, cut, class, led, begins });
        flow.bytes += len;
        self.segments += usize::from(cut.count);
        if !flow.listed {
            flow.listed = true;
            flow.deficit = QUANTUM;
            let last = class == Class::Scavenger;
            if last { &mut self.last } else { &mut self.fresh }.push_back(index);
        }
        true
    }

    /// The segment whose turn it is.
    pub(crate) fn head(&mut self) -> Option<Head> {
        while let Some(&index) = self.fresh.front() {
            if let Some(head) = self.flows[usize::from(index)].head(index) {
                return Some(head);
            }
            self.fresh.pop_front();
            let flow = &mut self.flows[usize::from(index)];
            // A flow that was just served goes behind the others before it counts as fresh again, or
            // it could pass them by stopping for a moment.
            if flow.queue.is_empty() && self.rest.is_empty() {
                flow.listed = false;
            } else {
                flow.deficit += if flow.queue.is_empty() { 0 } else { QUANTUM };
                self.rest.push_back(index);
            }
        }
        self.head_of_rest()
    }

    /// The segment whose turn it is if no flow is served first.
    pub(crate) fn head_of_rest(&mut self) -> Option<Head> {
        let Self { rest, last, flows, .. } = self;
        next(rest, flows).or_else(|| next(last, flows))
    }

    /// Lets the flow whose turn that is go behind the others, for it waits for its path.
    pub(crate) fn pass_over_rest(&mut self) {
        let list = if self.rest.is_empty() { &mut self.last } else { &mut self.rest };
        list.rotate_left(1.min(list.len()));
    }

    /// The same among those that are served first. Returns the next of them, if there is another.
    pub(crate) fn pass_over_fresh(&mut self) -> Option<Head> {
        self.fresh.rotate_left(1.min(self.fresh.len()));
        if self.fresh.len() > 1 { self.head() } else { None }
    }

    /// The path that leads the segment now. None of those that began with one where none is needed any more.
    pub(crate) fn lead_of(&self, head: &Head) -> Option<PathId> {
        let still = |lead: &Lead| if lead.is_late { self.late_lead } else { self.lead }.is_some();
        Some(head.lead.filter(still)?.path)
    }

    /// Whether the segment at the head is to be dropped, or marked, because its flow's queue stands.
    pub(crate) fn judge(&mut self, now: Time, head: &Head, aqm: &Aqm) -> bool {
        let flow = &mut self.flows[usize::from(head.flow)];
        let Some(front) = flow.queue.front() else { return false };
        let last = flow.queue.len() == 1 && front.next + 1 == front.cut.count;
        flow.codel.judge(now, now.since(front.since), last, aqm)
    }

    /// Drops the segment at the head. Returns whether it was the packet's last: then the queue's hold
    /// on the slot is over.
    pub(crate) fn drop_segment(&mut self, head: &Head) -> bool {
        let flow = &mut self.flows[usize::from(head.flow)];
        self.segments -= 1;
        flow.pass(head.len)
    }

    /// Takes the segment that [`head`](Self::head) gave off its queue. Returns its lane sequence,
    /// and whether it was the packet's last: then the queue's hold on the slot is over.
    pub(crate) fn take(&mut self, head: &Head) -> (u32, bool) {
        let flow = &mut self.flows[usize::from(head.flow)];
        let sequence = flow.sequence;
        flow.sequence = (sequence + 1) & SEQUENCE_MASK;
        flow.deficit -= head.len as i32;
        flow.on_sent();
        self.segments -= 1;
        (sequence, flow.pass(head.len))
    }

    /// Drops the packet at the head. Returns its slot and how many segments are gone with it.
    pub(crate) fn drop_head(&mut self, head: &Head) -> Option<(SlotId, u16)> {
        let flow = &mut self.flows[usize::from(head.flow)];
        let queued = flow.queue.pop_front()?;
        let gone = queued.cut.count - queued.next;
        self.segments -= usize::from(gone);
        let bytes: usize = (queued.next..queued.cut.count).map(|i| queued.cut.len(i)).sum();
        flow.bytes = if flow.queue.is_empty() { 0 } else { flow.bytes.saturating_sub(bytes) };
        Some((queued.slot, gone))
    }

    /// The lane of a flow. Lane 0 has no order, so the flow after that in count has lane 1.
    pub(crate) fn lane(flow: u16) -> u16 {
        flow + 1
    }

    /// Notes that a segment of the flow is on its way once more, and settles once more.
    pub(crate) fn on_copied(&mut self, flow: u16) {
        if let Some(flow) = self.flows.get_mut(usize::from(flow)) {
            flow.unsettled += 1;
        }
    }

    /// Whether the peer may not know yet that the lane begins anew with this flow.
    pub(crate) fn is_first(&self, flow: u16, sequence: u32) -> bool {
        let first = self.flows.get(usize::from(flow)).and_then(|flow| flow.first);
        first.is_some_and(|first| sequence & TENANCY_MASK == first)
    }

    /// Notes that a segment of the flow was acknowledged, or given up.
    pub(crate) fn on_settled(&mut self, flow: u16, acknowledged: bool) {
        if let Some(flow) = self.flows.get_mut(usize::from(flow)) {
            flow.on_settled(acknowledged);
        }
    }

    /// Segments that wait.
    pub(crate) fn segments(&self) -> usize {
        self.segments
    }

    /// Takes lanes back from flows that have been idle for long.
    pub(crate) fn sweep(&mut self, now: Time) {
        if now.since(self.swept_at) < SWEEP_INTERVAL {
            return;
        }
        self.swept_at = now;
        for (index, flow) in self.flows.iter_mut().enumerate() {
            let idle = flow.queue.is_empty()
                && flow.unsettled == 0
                && !flow.listed
                && now.since(flow.active_at) > IDLE_MAX;
            if idle && let Some(key) = flow.key.take() {
                self.table.remove(&key);
                self.free.push_back(index as u16);
                flow.queue = VecDeque::new();
            }
        }
        let forgotten = |flow: &Flow| flow.key.is_none() && now.since(flow.active_at) > FORGOTTEN;
        if !self.flows.is_empty() && self.flows.iter().all(forgotten) {
            let Self { lead, late_lead, silence, .. } = *self;
            let empty = Self::new(self.hash.clone(), self.is_server);
            *self = Self { swept_at: now, lead, late_lead, silence, ..empty };
        }
    }

    fn flow(&mut self, now: Time, key: FlowKey) -> u16 {
        if let Some(&index) = self.table.get(&key) {
            return index;
        }
        let index = match self.free.pop_front() {
            Some(index) => index,
            None if self.flows.len() < FLOWS_MAX => {
                self.flows.push(Flow::new(now));
                (self.flows.len() - 1) as u16
            }
            None => return self.shared(&key),
        };
        let flow = &mut self.flows[usize::from(index)];
        // The next multiple of 2^16: any of the flow's first datagrams tells where it began.
        flow.sequence = (flow.sequence + !TENANCY_MASK) & TENANCY_MASK & SEQUENCE_MASK;
        flow.first = Some(flow.sequence);
        flow.class = FlowClass::default();
        let hashes = Hashes {
            flow: self.hash.hash_one(key) as u32,
            host: self.hash.hash_one(key.host(self.is_server)) as u32,
        };
        flow.begin(self.lead, hashes);
        flow.key = Some(key);
        self.table.insert(key, index);
        index
    }

    fn shared(&self, key: &FlowKey) -> u16 {
        (self.hash.hash_one(key) % self.flows.len() as u64) as u16
    }
}

/// The segment whose turn it is among these flows.
fn next(list: &mut VecDeque<u16>, flows: &mut [Flow]) -> Option<Head> {
    loop {
        let index = *list.front()?;
        let flow = &mut flows[usize::from(index)];
        if let Some(head) = flow.head(index) {
            return Some(head);
        }
        list.pop_front();
        if flow.queue.is_empty() {
            flow.listed = false;
        } else {
            flow.deficit += QUANTUM;
            list.push_back(index);
        }
    }
}

/// One lane a flow; lane 0 is the unordered one.
const FLOWS_MAX: usize = LANES - 1;

/// Bytes a flow may send in its turn: a few full packets, so that a turn fills a batch.
const QUANTUM: i32 = 6000;

const SEQUENCE_MASK: u32 = 0xff_ffff;
const TENANCY_MASK: u32 = 0xff_0000;

/// The receiver keeps its side of an idle lane five seconds longer.
const IDLE_MAX: Span = Span::secs(10);

/// By then the receiver has forgotten the lane, and its numbers may begin anew.
const FORGOTTEN: Span = Span::secs(25);

const SWEEP_INTERVAL: Span = Span::secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{segment::Offload, slots::Slots};

    #[test]
    fn a_sparse_flow_passes_a_standing_one() {
        let mut world = World::new();
        for _ in 0..20 {
            world.push(Time(0), 1, 1400);
        }
        for _ in 0..6 {
            world.take();
        }
        world.push(Time(0), 2, 100);

        assert_eq!(world.take(), (2, 0, true), "before the rest of flow 1");
    }

    #[test]
    fn a_scavenger_takes_what_is_left() {
        let mut world = World::new();
        world.push_marked(1, 1400, 1 << 2);
        for _ in 0..10 {
            world.push(Time(0), 2, 1400);
        }

        let order: Vec<usize> = (0..11).map(|_| world.take().0).collect();
        assert_eq!(order, [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
    }

    #[test]
    fn standing_flows_share_by_bytes() {
        let mut world = World::new();
        for _ in 0..300 {
            world.push(Time(0), 1, 1400);
            world.push(Time(0), 2, 700);
        }

        let mut bytes = [0, 0];
        for _ in 0..200 {
            let (flow, ..) = world.take();
            bytes[flow - 1] += if flow == 1 { 1400 } else { 700 };
        }

        let [one, two] = bytes.map(|bytes| bytes as f64);
        assert!((0.9..1.1).contains(&(one / two)), "{one} against {two}");
    }

    #[test]
    fn a_lane_is_taken_back_after_ten_idle_seconds_and_begins_at_a_multiple() {
        let mut world = World::new();
        world.push(Time(0), 1, 100);
        assert_eq!(world.take(), (1, 0, true));
        assert!(world.ingress.is_first(0, 0));
        world.ingress.head();
        world.ingress.on_copied(0);
        world.ingress.on_settled(0, false);
        world.ingress.sweep(Time(11_000_000));
        assert_eq!(world.ingress.free.len(), 0, "a segment is on its way");
        world.ingress.on_settled(0, true);
        assert!(!world.ingress.is_first(0, 0));

        world.ingress.sweep(Time(12_000_000));
        world.push(Time(12_000_000), 7, 100);

        assert_eq!(world.take(), (7, 0x01_0000, true));
        assert!(world.ingress.is_first(0, 0x01_0000));
        world.ingress.head();
        world.ingress.on_settled(0, true);

        world.ingress.sweep(Time(24_000_000));
        assert_eq!(world.ingress.flows.len(), 1, "its numbers are not forgotten yet");
        world.ingress.sweep(Time(38_000_000));
        assert_eq!(world.ingress.flows.capacity(), 0);
        // Whatever a peer acknowledges by now.
        world.ingress.on_settled(0, true);
        assert!(!world.ingress.is_first(0, 0x01_0000));
    }

    #[test]
    fn a_flow_that_has_enough_waiting_is_refused() {
        let mut world = World::new();
        assert!(world.push_bounded(1, 1000, 1500));
        assert!(world.push_bounded(1, 1000, 1500));
        assert!(!world.push_bounded(1, 1000, 1500));
        assert!(world.push_bounded(2, 1000, 1500));
    }

    struct World {
        ingress: Ingress,
        slots: Slots<u8>,
        classifier: Classifier,
    }

    impl World {
        fn new() -> Self {
            Self {
                ingress: Ingress::new(FlowHash([1, 2]), false),
                slots: Slots::new(1 << 24),
                classifier: Classifier::default(),
            }
        }

        fn push(&mut self, now: Time, flow: u8, len: usize) {
            let packet = packet(flow, len);
            let headers = Headers::parse(&packet).expect("well-formed");
            let cut = Cut::new(&packet, &headers, Offload::default()).expect("one segment");
            let slot = self.slots.insert(&packet, flow).expect("room");
            let room = self.ingress.push(now, &self.classifier, &headers, slot, cut, usize::MAX);
            assert!(room);
        }

        /// The same with a mark (RFC 8622: lower effort is 1).
        fn push_marked(&mut self, flow: u8, len: usize, tos: u8) {
            let mut packet = packet(flow, len);
            packet[1] = tos;
            let headers = Headers::parse(&packet).expect("well-formed");
            let cut = Cut::new(&packet, &headers, Offload::default()).expect("one segment");
            let slot = self.slots.insert(&packet, flow).expect("room");
            let (ingress, classifier) = (&mut self.ingress, &self.classifier);
            assert!(ingress.push(Time(0), classifier, &headers, slot, cut, usize::MAX));
        }

        fn push_bounded(&mut self, flow: u8, len: usize, max: usize) -> bool {
            let packet = packet(flow, len);
            let headers = Headers::parse(&packet).expect("well-formed");
            let cut = Cut::new(&packet, &headers, Offload::default()).expect("one segment");
            let slot = self.slots.insert(&packet, flow).expect("room");
            self.ingress.push(Time(0), &self.classifier, &headers, slot, cut, max)
        }

        /// The flow whose turn it was, the sequence, and whether the packet is done with.
        fn take(&mut self) -> (usize, u32, bool) {
            let head = self.ingress.head().expect("something waits");
            let flow = usize::from(self.slots.note(head.slot));
            let (sequence, last) = self.ingress.take(&head);
            (flow, sequence, last)
        }
    }

    fn packet(flow: u8, len: usize) -> Vec<u8> {
        let mut packet = vec![0; len];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        packet[9] = 17;
        packet[12..20].copy_from_slice(&[10, 0, 0, flow, 10, 0, 1, 1]);
        packet
    }
}
