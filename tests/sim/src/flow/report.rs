//! What one end of a flow saw.

use lab::link::Summary;

/// Figures of one end of a flow. What an end can't see stays zero: only a sender retransmits, and
/// only a receiver delivers. Times are microseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Payload that was delivered here, in order, each byte checked.
    pub bytes_delivered: u64,
    /// When the first payload was delivered.
    pub first_delivery_at: Option<u64>,
    /// When the last payload was delivered.
    pub last_delivery_at: Option<u64>,
    /// The longest time between two deliveries.
    pub gap_max: u64,
    /// Packets of wire size sent, super-packets counted by their segments.
    pub packets_sent: u64,
    /// Packets received that were this flow's.
    pub packets_received: u64,
    /// Packets received that were damaged, of another flow, or had a wrong byte in their payload.
    pub packets_bad: u64,
    /// Segments sent again (QUIC: packets declared lost).
    pub retransmits: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// Tail loss probes.
    pub probes: u64,
    /// Times that loss made the sender reduce its window.
    pub reductions: u64,
    /// Reductions that were taken back, because nothing had been lost.
    pub undos: u64,
    /// Times that the sender learnt of reordering.
    pub reorderings: u64,
    /// Packets that arrived after one sent later (RFC 4737), retransmissions included.
    pub packets_reordered: u64,
    /// Packets that arrived a second time, or whose payload had all arrived before.
    pub packets_duplicate: u64,
    /// Packets known to be lost, of a stream without retransmission.
    pub packets_lost: u64,
    /// Smoothed round-trip time.
    pub smoothed_rtt: Option<u64>,
    /// Smallest round-trip time.
    pub min_rtt: Option<u64>,
    /// Congestion window, bytes.
    pub window: u64,
    /// Time from sending to arrival in microseconds, where packets carry the time when they were
    /// sent.
    pub one_way_delay: Summary,
}

impl Report {
    /// Payload delivered per second between `start` and the last delivery, in Mbit/s.
    pub fn goodput_since(&self, start: u64) -> f64 {
        let end = self.last_delivery_at.unwrap_or(start);
        // Bits per microsecond are Mbit/s.
        self.bytes_delivered as f64 * 8.0 / end.saturating_sub(start).max(1) as f64
    }

    /// Notes that `bytes` of payload were delivered.
    pub(crate) fn on_delivered(&mut self, now: u64, bytes: u64) {
        self.bytes_delivered += bytes;
        if let Some(last) = self.last_delivery_at.replace(now) {
            self.gap_max = self.gap_max.max(now - last);
        }
        self.first_delivery_at.get_or_insert(now);
    }
}
