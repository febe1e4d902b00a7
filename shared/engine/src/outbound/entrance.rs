//! From the TUN device into the queue.

use super::{Note, Outbound};
use crate::{
    buffer::PacketBuffer,
    clamp, icmp,
    packet::{Ecn, Headers},
    segment::{self, Cut, Offload},
    slots::SlotId,
    time::Time,
};

/// A packet that may enter.
struct Entrant {
    headers: Headers,
    cut: Cut,
    note: Note,
    offload: Offload,
}

impl Outbound {
    /// Takes in a packet from the TUN device: one, or a super-packet as `offload` says.
    pub fn handle_packet(&mut self, now: Time, offload: Offload, packet: &[u8]) {
        let Some(entrant) = self.admit(offload, packet) else { return };
        let slot = self.slots.insert(packet, entrant.note);
        self.enqueue(now, &entrant, slot);
    }

    /// Takes in the packet in a buffer, which has other memory afterwards if that saves a copy.
    pub fn handle_buffer(&mut self, now: Time, offload: Offload, buffer: &mut PacketBuffer) {
        let Some(entrant) = self.admit(offload, buffer.packet()) else { return };
        let slot = self.slots.exchange(buffer, entrant.note);
        self.enqueue(now, &entrant, slot);
    }

    fn admit(&mut self, offload: Offload, packet: &[u8]) -> Option<Entrant> {
        let parsed = Headers::parse(packet)
            .and_then(|headers| Some((headers, Cut::new(packet, &headers, offload)?)));
        // Where a super-packet's IP header states a length, it is that of the whole.
        let Some((headers, cut)) = parsed.filter(|(headers, _)| headers.len == packet.len()) else {
            self.stats.dropped_malformed += 1;
            return None;
        };
        self.stats.packets += u64::from(cut.count);
        self.stats.bytes += packet.len() as u64;
        if cut.len(0) > usize::from(self.tunnel_mtu) && self.tunnel_mtu > 0 {
            self.refuse_size(packet, &headers);
            return None;
        }
        let note = Note { cut: Some(cut), ecn: Ecn::of(packet) };
        Some(Entrant { headers, cut, note, offload })
    }

    fn enqueue(&mut self, now: Time, entrant: &Entrant, slot: Option<SlotId>) {
        let Entrant { headers, cut, offload, .. } = entrant;
        let segments = u64::from(cut.count);
        let Some(slot) = slot else {
            self.stats.dropped_full += segments;
            return;
        };
        let stored = self.slots.packet_mut(slot);
        if let (1, Some((start, offset))) = (cut.count, offload.checksum)
            && !segment::complete(stored, start, offset)
        {
            self.slots.release(slot);
            self.stats.dropped_malformed += 1;
            return;
        }
        // After the checksum: what the kernel leaves in its place is no checksum to correct.
        if self.tunnel_mtu > 0 {
            clamp::clamp(self.slots.packet_mut(slot), headers, self.tunnel_mtu);
        }
        let bytes_max = self.flow_bytes_max();
        if !self.ingress.push(now, &self.classifier, headers, slot, *cut, bytes_max) {
            self.slots.release(slot);
            self.stats.dropped_full += segments;
        }
        self.note_standing(now);
    }

    /// Tells the sender of a packet that it is too long for the tunnel.
    fn refuse_size(&mut self, packet: &[u8], headers: &Headers) {
        self.stats.dropped_too_big += 1;
        if self.errors.len() >= ERRORS_MAX {
            return;
        }
        let mut out = [0; icmp::ERROR_MAX];
        if let Some(len) = icmp::too_big(packet, headers, self.tunnel_mtu, &mut out) {
            self.errors.push_back(out[..len].into());
        }
    }
}

/// ICMP errors that wait for the driver; more in one turn are dropped, as a router would.
const ERRORS_MAX: usize = 16;
