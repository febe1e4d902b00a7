//! Lone packets that are sent back: the latency beside a load.

use std::collections::VecDeque;

use lab::link::Histogram;
use sim::flow::{Flow, Report};
use sim::packet::{self, FourTuple, Packet, Parsed};

/// Asks at a steady rate.
pub(super) struct Ping {
    tuple: FourTuple,
    start: u64,
    interval: u64,
    count: u64,
    report: Report,
    times: Histogram,
}

impl Ping {
    /// One that asks so many times.
    pub(super) fn new(tuple: FourTuple, start: u64, interval: u64, count: u64) -> Self {
        let (report, times) = (Report::default(), Histogram::default());
        Self { tuple, start, interval, count, report, times }
    }

    fn due(&self) -> Option<u64> {
        let sent = self.report.packets_sent;
        (sent < self.count).then_some(self.start + sent * self.interval)
    }
}

impl Flow for Ping {
    fn handle_packet(&mut self, now: u64, packet: &[u8]) {
        let Some(payload) = own_payload(packet, self.tuple) else { return };
        let Some(sent_at) = payload.first_chunk::<8>() else { return };
        self.report.packets_received += 1;
        self.times.insert(now.saturating_sub(u64::from_be_bytes(*sent_at)));
    }

    fn poll_packet(&mut self, now: u64) -> Option<Packet> {
        self.due().filter(|&due| due <= now)?;
        let mut payload = [0; PAYLOAD_LEN];
        payload[..8].copy_from_slice(&now.to_be_bytes());
        let identification = self.report.packets_sent as u16;
        self.report.packets_sent += 1;
        Some(packet::udp(self.tuple, 0, identification, &payload).into())
    }

    fn poll_timeout(&self) -> Option<u64> {
        self.due()
    }

    fn is_finished(&self) -> bool {
        self.due().is_none()
    }

    /// Its one-way delays are round trips.
    fn report(&self) -> Report {
        Report { one_way_delay: self.times.summary(1.0), ..self.report.clone() }
    }
}

/// Answers at once.
pub(super) struct Echo {
    tuple: FourTuple,
    answers: VecDeque<Packet>,
}

impl Echo {
    /// One that answers what comes for this end.
    pub(super) fn new(tuple: FourTuple) -> Self {
        Self { tuple, answers: VecDeque::new() }
    }
}

impl Flow for Echo {
    fn handle_packet(&mut self, _now: u64, packet: &[u8]) {
        if let Some(payload) = own_payload(packet, self.tuple) {
            self.answers.push_back(packet::udp(self.tuple, 0, 0, payload).into());
        }
    }

    fn poll_packet(&mut self, _now: u64) -> Option<Packet> {
        self.answers.pop_front()
    }

    fn poll_timeout(&self) -> Option<u64> {
        None
    }

    fn is_finished(&self) -> bool {
        self.answers.is_empty()
    }

    fn report(&self) -> Report {
        Report::default()
    }
}

fn own_payload(packet: &[u8], tuple: FourTuple) -> Option<&[u8]> {
    let parsed = Parsed::parse(packet).filter(|parsed| parsed.four_tuple() == tuple)?;
    parsed.udp_payload()
}

/// A time, and room.
const PAYLOAD_LEN: usize = 64;
