//! One side of a conversation, and when it next has something to do.

use crate::flow::Flow;
use crate::packet::Packet;

/// A flow that is asked only after something happened to it.
pub(super) struct Talker {
    pub(super) flow: Box<dyn Flow>,
    /// When it is to be asked, in microseconds; never is `u64::MAX`.
    pub(super) due: u64,
}

impl Talker {
    pub(super) fn new(flow: Box<dyn Flow>) -> Self {
        Self { flow, due: 0 }
    }

    pub(super) fn handle_packet(&mut self, now: u64, packet: &[u8]) {
        self.flow.handle_packet(now, packet);
        self.due = now;
    }

    pub(super) fn poll_packet(&mut self, now: u64) -> Option<Packet> {
        if self.due > now {
            return None;
        }
        let packet = self.flow.poll_packet(now);
        if packet.is_none() {
            self.due = self.flow.poll_timeout().unwrap_or(u64::MAX);
        }
        packet
    }
}
