//! Numbered UDP packets at a constant rate, and what becomes of them.

use lab::link::Histogram;

use crate::flow::Flow;
use crate::flow::Report;
use crate::packet;
use crate::packet::FourTuple;
use crate::packet::Packet;
use crate::packet::Parsed;
use crate::payload;

/// Sends a packet of constant size at a constant interval.
#[derive(Debug)]
pub struct CbrSender {
    config: CbrConfig,
    /// Number of the next packet.
    next: u64,
    report: Report,
}

/// What a [`CbrSender`] sends.
#[derive(Clone, Copy, Debug)]
pub struct CbrConfig {
    /// Addresses, as the sender sees them.
    pub tuple: FourTuple,
    /// Length of the whole IP packet, bytes; at least the headers and [`PAYLOAD_MIN`].
    pub packet_len: usize,
    /// Microseconds from one packet to the next.
    pub interval: u64,
    /// When the first packet leaves.
    pub start: u64,
    /// How many packets to send; at most [`NUMBERS_MAX`].
    pub count: u64,
}

impl CbrSender {
    /// A sender that begins at `config.start`.
    pub fn new(config: CbrConfig) -> Self {
        assert!(config.interval > 0 && config.count <= NUMBERS_MAX);
        assert!(config.packet_len >= config.tuple.header_len() + packet::UDP_LEN + PAYLOAD_MIN);
        Self { config, next: 0, report: Report::default() }
    }

    /// How many packets were sent: they have the numbers below this.
    pub fn sent(&self) -> u64 {
        self.next
    }

    fn due(&self) -> Option<u64> {
        let due = self.config.start + self.next * self.config.interval;
        (self.next < self.config.count).then_some(due)
    }
}

impl Flow for CbrSender {
    fn handle_packet(&mut self, _now: u64, _packet: &[u8]) {
        self.report.packets_bad += 1;
    }

    fn poll_packet(&mut self, now: u64) -> Option<Packet> {
        if self.due()? > now {
            return None;
        }
        let CbrConfig { tuple, packet_len, .. } = self.config;
        let len = packet_len - tuple.header_len() - packet::UDP_LEN;
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&self.next.to_be_bytes());
        bytes.extend_from_slice(&now.to_be_bytes());
        bytes.extend_from_slice(payload::at(self.next, len - PAYLOAD_MIN));
        let packet = packet::udp(tuple, 0, self.next as u16, &bytes);
        self.next += 1;
        self.report.packets_sent += 1;
        Some(packet.into())
    }

    fn poll_timeout(&self) -> Option<u64> {
        self.due()
    }

    fn is_finished(&self) -> bool {
        self.next == self.config.count
    }

    fn report(&self) -> Report {
        self.report.clone()
    }
}

/// Counts what arrives from a [`CbrSender`].
#[derive(Debug)]
pub struct CbrReceiver {
    tuple: FourTuple,
    /// One bit for each number that arrived.
    arrived: Vec<u64>,
    /// One more than the largest number that arrived.
    expected: u64,
    numbers_arrived: u64,
    delays: Histogram,
    report: Report,
}

impl CbrReceiver {
    /// A receiver of the flow `tuple`, as the receiver sees it.
    pub fn new(tuple: FourTuple) -> Self {
        Self {
            tuple,
            arrived: Vec::new(),
            expected: 0,
            numbers_arrived: 0,
            delays: Histogram::default(),
            report: Report::default(),
        }
    }

    /// The numbers below `sent` that did not arrive.
    pub fn lost(&self, sent: u64) -> impl Iterator<Item = u64> + '_ {
        (0..sent).filter(|&number| !self.has_arrived(number))
    }

    fn has_arrived(&self, number: u64) -> bool {
        let word = self.arrived.get((number / 64) as usize).copied().unwrap_or(0);
        word & (1 << (number % 64)) != 0
    }

    fn handle_payload(&mut self, now: u64, payload: &[u8]) -> Option<()> {
        let (number, rest) = payload.split_first_chunk::<8>()?;
        let (sent_at, rest) = rest.split_first_chunk::<8>()?;
        let number = u64::from_be_bytes(*number);
        let delay = now.checked_sub(u64::from_be_bytes(*sent_at))?;
        if number >= NUMBERS_MAX || !payload::matches(number, rest) {
            return None;
        }
        self.report.packets_received += 1;
        if self.has_arrived(number) {
            self.report.packets_duplicate += 1;
            return Some(());
        }
        let word = (number / 64) as usize;
        if self.arrived.len() <= word {
            self.arrived.resize(word + 1, 0);
        }
        self.arrived[word] |= 1 << (number % 64);
        self.numbers_arrived += 1;
        self.report.packets_reordered += u64::from(number < self.expected);
        self.expected = self.expected.max(number + 1);
        self.delays.insert(delay);
        self.report.on_delivered(now, payload.len() as u64);
        Some(())
    }
}

impl Flow for CbrReceiver {
    fn handle_packet(&mut self, now: u64, packet: &[u8]) {
        let handled = Parsed::parse(packet)
            .filter(|parsed| parsed.four_tuple() == self.tuple)
            .and_then(|parsed| self.handle_payload(now, parsed.udp_payload()?));
        self.report.packets_bad += u64::from(handled.is_none());
    }

    fn poll_packet(&mut self, _now: u64) -> Option<Packet> {
        None
    }

    fn poll_timeout(&self) -> Option<u64> {
        None
    }

    /// A receiver has nothing to say.
    fn is_finished(&self) -> bool {
        true
    }

    /// Of the packets that did not arrive, those followed by one that did count as lost.
    fn report(&self) -> Report {
        let packets_lost = self.expected - self.numbers_arrived;
        let one_way_delay = self.delays.summary(1.0);
        Report { packets_lost, one_way_delay, ..self.report.clone() }
    }
}

/// Packets of one flow, so that their numbers fit into a bitmap of 2 MiB.
pub const NUMBERS_MAX: u64 = 1 << 24;

/// The number of a packet and the time when it was sent, 8 bytes each.
pub const PAYLOAD_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receiver_tells_lost_duplicate_and_reordered_packets_apart() {
        let (mut sender, mut receiver) = pair();
        let packets: Vec<_> = (0..10).map(|n| sender.poll_packet(n * 1000).unwrap()).collect();

        for number in [0, 2, 1, 4, 4, 5, 9] {
            receiver.handle_packet(20_000, &packets[number].bytes);
        }
        receiver.handle_packet(20_000, &packets[3].bytes[..50]);

        let report = receiver.report();
        assert_eq!(receiver.lost(sender.sent()).collect::<Vec<_>>(), [3, 6, 7, 8]);
        assert_eq!(report.packets_lost, 4);
        assert_eq!(report.packets_reordered, 1);
        assert_eq!(report.packets_duplicate, 1);
        assert_eq!(report.packets_bad, 1);
        assert_eq!(report.one_way_delay.min, 11_000.0);
        assert_eq!(report.one_way_delay.max, 20_000.0);
        assert!(sender.is_finished());
    }

    #[test]
    fn packets_leave_at_their_time_and_not_before() {
        let (mut sender, _) = pair();

        assert!(sender.poll_packet(0).is_some());
        assert!(sender.poll_packet(999).is_none());
        assert_eq!(sender.poll_timeout(), Some(1000));
        assert_eq!(sender.poll_packet(1000).unwrap().bytes.len(), 200);
    }

    fn pair() -> (CbrSender, CbrReceiver) {
        let tuple = FourTuple {
            local: "10.0.0.2:4000".parse().unwrap(),
            remote: "10.0.0.1:4001".parse().unwrap(),
        };
        let config = CbrConfig { tuple, packet_len: 200, interval: 1000, start: 0, count: 10 };
        (CbrSender::new(config), CbrReceiver::new(tuple.reversed()))
    }
}
