//! A flow some of whose packets take a longer way.

use std::collections::VecDeque;

use crate::flow::Flow;
use crate::flow::Report;
use crate::packet::Packet;

/// Of every `period` packets that the inner flow sends, the first `run` leave `by` microseconds late.
pub(super) struct Detour<F> {
    inner: F,
    period: u64,
    run: u64,
    by: u64,
    sent: u64,
    /// Packets under way, with the time when they leave.
    held: VecDeque<(u64, Packet)>,
}

impl<F: Flow> Detour<F> {
    pub(super) fn new(inner: F, period: u64, run: u64, by: u64) -> Self {
        Self { inner, period, run, by, sent: 0, held: VecDeque::new() }
    }
}

impl<F: Flow> Flow for Detour<F> {
    fn handle_packet(&mut self, now: u64, packet: &[u8]) {
        self.inner.handle_packet(now, packet);
    }

    fn poll_packet(&mut self, now: u64) -> Option<Packet> {
        if self.held.front().is_some_and(|&(at, _)| at <= now) {
            return self.held.pop_front().map(|(_, packet)| packet);
        }
        loop {
            let packet = self.inner.poll_packet(now)?;
            self.sent += 1;
            if self.sent % self.period >= self.run {
                return Some(packet);
            }
            self.held.push_back((now + self.by, packet));
        }
    }

    fn poll_timeout(&self) -> Option<u64> {
        let held = self.held.front().map(|&(at, _)| at);
        [held, self.inner.poll_timeout()].into_iter().flatten().min()
    }

    fn is_finished(&self) -> bool {
        self.held.is_empty() && self.inner.is_finished()
    }

    fn report(&self) -> Report {
        self.inner.report()
    }
}
