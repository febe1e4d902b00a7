//! Somebody who has the keys and reads along: tells which packets datagrams carried.

use std::collections::BTreeSet;

use engine::{Ecn, FourTuple, Session, Side, Time};

use super::{CLIENT, WorldConfig, end};

/// Opens datagrams of one direction and collects the packets in them.
pub struct Witness {
    session: Session,
    from: FourTuple,
    packets: BTreeSet<Vec<u8>>,
}

impl Witness {
    /// A witness of what the `sender` end of a world sends.
    pub fn new(config: &WorldConfig, sender: usize) -> Self {
        let side = if sender == CLIENT { Side::Server } else { Side::Client };
        let remote = ([10, 9, 0, 1], 4433).into();
        Self {
            session: end::session(config, side, [0; 32]),
            from: FourTuple { socket: 0, local: None, remote },
            packets: BTreeSet::new(),
        }
    }

    /// Reads a datagram that was sent at this time.
    pub fn read(&mut self, at: u64, mut datagram: Vec<u8>) {
        let inbound = &mut self.session.inbound;
        let packet = inbound.handle_datagram(Time(at), &self.from, Ecn::NotEct, &mut datagram);
        self.packets.extend(packet.map(<[u8]>::to_vec));
        self.collect();
    }

    /// All packets that the datagrams carried.
    pub fn into_packets(mut self) -> BTreeSet<Vec<u8>> {
        // Those that wait for others in vain leave when they have waited for long enough.
        self.session.inbound.handle_timeout(Time(u64::MAX / 2));
        self.collect();
        self.packets
    }

    fn collect(&mut self) {
        self.packets.extend(self.session.inbound.ready().map(<[u8]>::to_vec));
        self.session.inbound.forget_ready();
    }
}
