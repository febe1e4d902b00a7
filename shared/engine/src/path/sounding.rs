//! How much a path may carry, by how the first datagrams that were sent in a row come out of it.
//!
//! When a path opens, padded probes of all sizes are sent at once to find its MTU: some ten full datagrams.
//! The bottleneck spreads them (packet trains: Dovrolis, Ramanathan and Moore, INFOCOM 2001). Jitter may
//! press them together again, so the result only tells paths apart that nothing better is known of.

use std::collections::VecDeque;

use super::progress::Progress;
use crate::time::Span;

/// The estimate of one path.
#[derive(Clone, Debug, Default)]
pub(super) struct Sounding {
    /// Reports on the first datagrams: when, by the peer's clock, and how many bytes had arrived.
    reports: VecDeque<(u32, u64)>,
    /// What had arrived before them.
    began: Option<u64>,
    rate: f64,
    done: bool,
}

impl Sounding {
    /// Bytes a second; 0 before anything is known.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Comes nearer to what was measured under load, by this share.
    pub(super) fn correct(&mut self, capacity: f64, gain: f64) {
        self.rate += gain * (capacity - self.rate);
    }

    /// Takes in a report. What comes after the probes comes as somebody sends it, and says nothing.
    pub(super) fn on_report(&mut self, progress: &Progress) {
        if self.done {
            return;
        }
        let began = *self.began.get_or_insert(progress.arrived - progress.bytes);
        if progress.arrived - began > TRAIN || self.reports.len() == REPORTS_MAX {
            (self.done, self.reports) = (true, VecDeque::new());
            return;
        }
        // What was sent at once and comes evenly is later by half of its span, on average.
        let spread = progress.delay_mean.saturating_sub(progress.delay_min).max(0) as u64;
        let within = Some((progress.fresh, spread * 2));
        let since = |&(before, had)| {
            (progress.arrived - had, u64::from(progress.received_at.wrapping_sub(before)))
        };
        let all = self.reports.iter().map(since).chain(within);
        let enough = all.filter(|&(came, span)| came >= ENOUGH && span > 0);
        let rate = |(came, span)| (came as f64 / Span(span).as_secs_f64()).min(RATE_MAX);
        self.rate = enough.map(rate).fold(self.rate, f64::max);
        self.reports.push_back((progress.received_at, progress.arrived));
    }
}

/// The probes of all sizes, and what else is said when a path opens.
const TRAIN: u64 = 20_000;

/// Four full datagrams: fewer are a moment of jitter.
const ENOUGH: u64 = 4 * 1400;

/// What comes at once is not told apart: 1 Gbit/s.
const RATE_MAX: f64 = 125e6;

const REPORTS_MAX: usize = 16;
