//! What has to hold, whatever happens: the reference that random runs are held against.

use std::collections::BTreeMap;

use sim::packet::{self, FourTuple, Packet, Parsed};
use sim::payload;
use sim::world::World;

/// Numbered packets of several flows in both directions, and what became of them.
#[derive(Default)]
pub(super) struct Model {
    ends: [Sender; 2],
}

/// What one end sent, and the other received.
#[derive(Default)]
struct Sender {
    /// Packets that may still be delivered, by flow and number.
    pending: BTreeMap<(u16, u32), Vec<u8>>,
    /// The next number of each flow.
    next: BTreeMap<u16, u32>,
    /// The largest number of each flow that was delivered.
    newest: BTreeMap<u16, u32>,
    inversions: u64,
}

impl Model {
    /// Makes the next `count` packets of a flow, each with so much payload: as one super-packet, if
    /// there are several.
    pub(super) fn packet(&mut self, end: usize, flow: u16, count: usize, len: usize) -> Packet {
        assert!(len >= ID_LEN);
        let sender = &mut self.ends[end];
        let next = sender.next.entry(flow).or_default();
        let tuple = tuple(end, flow);
        let mut whole = Vec::new();
        let identification = *next as u16;
        for _ in 0..count {
            let mut chunk = flow.to_be_bytes().to_vec();
            chunk.extend(next.to_be_bytes());
            chunk.extend(payload::at(u64::from(*next) * 37, len - ID_LEN));
            let packet = packet::udp(tuple, 0, *next as u16, &chunk);
            sender.pending.insert((flow, *next), packet);
            whole.extend(chunk);
            *next += 1;
        }
        let segment_size = (count > 1).then_some(len as u16);
        Packet { bytes: packet::udp(tuple, 0, identification, &whole), segment_size }
    }

    /// Looks at what was delivered, and at the engines' bounds.
    pub(super) fn check(&mut self, world: &mut World) {
        for end in [0, 1] {
            let sender = &mut self.ends[1 - end];
            for delivery in world.take_delivered(end) {
                sender.check(&delivery.packet);
            }
            let session = world.session(end);
            let stats = session.inbound.stats();
            assert!(
                sender.inversions <= stats.late + stats.overflowed,
                "{} packets out of order, {stats:?}",
                sender.inversions
            );
            assert_eq!((stats.malformed, stats.refused), (0, 0));
            assert!(session.outbound.slot_bytes() <= engine::SLOT_BYTES_MAX);
            assert!(session.inbound.held_bytes() <= engine::HELD_BYTES_MAX);
        }
    }

    /// How many of one end's were delivered after a later one of their flow.
    pub(super) fn inversions(&self, end: usize) -> u64 {
        self.ends[end].inversions
    }

    /// Forgets what was not delivered: it may not come any more.
    pub(super) fn forget(&mut self) {
        for sender in &mut self.ends {
            sender.pending.clear();
        }
    }

    /// How many packets of one end's are not delivered.
    pub(super) fn missing(&self, end: usize) -> usize {
        self.ends[end].pending.len()
    }
}

impl Sender {
    fn check(&mut self, bytes: &[u8]) {
        let parsed = Parsed::parse(bytes).expect("what is delivered is a well-formed packet");
        let payload = parsed.udp_payload().expect("only UDP was sent");
        let flow = u16::from_be_bytes([payload[0], payload[1]]);
        let number = u32::from_be_bytes([payload[2], payload[3], payload[4], payload[5]]);
        let sent = self.pending.remove(&(flow, number));
        let sent = sent.unwrap_or_else(|| panic!("{flow}/{number} twice, or never sent"));
        assert_eq!(sent, bytes, "{flow}/{number} was changed");
        let newest = self.newest.entry(flow).or_default();
        self.inversions += u64::from(number < *newest);
        *newest = number.max(*newest);
    }
}

/// Even flows are IPv4, odd ones IPv6.
fn tuple(end: usize, flow: u16) -> FourTuple {
    let port = 2000 + flow;
    let tuple = if flow.is_multiple_of(2) {
        FourTuple { local: ([10, 0, 0, 2], port).into(), remote: ([10, 0, 0, 1], 9).into() }
    } else {
        let ours = [0xfd00, 0, 0, 0, 0, 0, 0, 2];
        let theirs = [0xfd00, 0, 0, 0, 0, 0, 0, 1];
        FourTuple { local: (ours, port).into(), remote: (theirs, 9).into() }
    };
    if end == 0 { tuple } else { tuple.reversed() }
}

/// Flow and number in each payload.
pub(super) const ID_LEN: usize = 6;
