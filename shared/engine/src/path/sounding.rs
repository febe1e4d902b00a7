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
    /// When the first of them that are padded had come.
    full_at: Option<u32>,
    rate: f64,
    /// Much more arrives than that: it bounds nothing.
    disproved: bool,
    done: bool,
}

impl Sounding {
    /// Of a path that no train of datagrams is sent on.
    pub(super) fn none() -> Self {
        Self { done: true, ..Self::default() }
    }

    /// Bytes a second; 0 before anything is known.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Whether the first datagrams have not all come.
    pub(super) fn is_going_on(&self) -> bool {
        !self.done
    }

    /// The most that the path is taken to carry, given what arrives, both in bytes a second. Its first datagrams show
    /// too much rather than too little; without this, a narrow and near path would begin with a window of many round
    /// trips.
    pub(super) fn credible(&self, arrives: f64) -> f64 {
        if self.bounds() { (CREDIBLE * self.rate).max(AHEAD * arrives) } else { f64::INFINITY }
    }

    /// Whether it says how much the path may carry.
    pub(super) fn bounds(&self) -> bool {
        self.rate > 0.0 && !self.disproved
    }

    /// Whether it was found to be wrong.
    pub(super) fn is_disproved(&self) -> bool {
        self.disproved
    }

    /// Notes what arrives. Where it is so much more, the first datagrams came as fast as the hosts took them, or
    /// jitter spread them.
    pub(super) fn compare(&mut self, arrives: f64) {
        self.disproved |= self.rate > 0.0 && arrives > DISPROVED * self.rate;
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
        let began = *self.began.get_or_insert(progress.arrived.saturating_sub(progress.bytes));
        if progress.fresh >= FULL {
            self.full_at.get_or_insert(progress.received_at);
        }
        let late = self.full_at.is_some_and(|at| {
            // Reports may overtake each other.
            (LASTS.0 as i32) < progress.received_at.wrapping_sub(at) as i32
        });
        let more = progress.arrived.saturating_sub(began) > TRAIN;
        if late || more || self.reports.len() == REPORTS_MAX {
            (self.done, self.reports) = (true, VecDeque::new());
            return;
        }
        // What was sent at once and comes evenly is later by half of its span, on average.
        let spread = progress.delay_mean.saturating_sub(progress.delay_min).max(0) as u64;
        let within = Some((progress.fresh, spread * 2));
        let since = |&(before, had)| {
            (
                progress.arrived.saturating_sub(had),
                u64::from(progress.received_at.wrapping_sub(before)),
            )
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

/// Less is no padded probe: the smallest are 1320 bytes with the headers of IPv6 and UDP.
const FULL: u64 = 1320 - 48;

/// How long after the first of those the last may come: what is later is what somebody sends.
const LASTS: Span = Span::millis(300);

/// Four full datagrams: fewer are a moment of jitter.
const ENOUGH: u64 = 4 * 1400;

/// How much more than was shown is believed; and how much more than arrives, where that is more than was shown.
const CREDIBLE: f64 = 1.1;
const AHEAD: f64 = 1.5;

/// How many times more has to arrive than was shown until that is taken for wrong.
const DISPROVED: f64 = 2.0;

/// What comes at once is not told apart: 1 Gbit/s.
const RATE_MAX: f64 = 125e6;

const REPORTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_tells_what_the_path_carries_in_one_report_or_in_many() {
        // 10 datagrams of 1400 bytes, one each 1.12 ms: 10 Mbit/s.
        let mut whole = Sounding::default();
        whole.on_report(&report(14_000, 14_000, 10_080, 5040));
        assert!((1.2e6..1.5e6).contains(&whole.rate()), "{}", whole.rate());

        let mut parts = Sounding::default();
        for part in 1..=5 {
            parts.on_report(&report(2800 * part, 2800, 2240 * part as u32, 560));
        }
        assert!((1.2e6..1.4e6).contains(&parts.rate()), "{}", parts.rate());
    }

    #[test]
    fn what_comes_after_the_train_says_nothing() {
        let mut sounding = Sounding::default();
        sounding.on_report(&report(14_000, 14_000, 10_080, 5040));
        let before = sounding.rate();
        sounding.on_report(&report(100_000, 86_000, 10_180, 10));
        sounding.on_report(&report(110_000, 10_000, 10_280, 10));
        assert_eq!(sounding.rate(), before);

        sounding.correct(0.0, 0.5);
        assert_eq!(sounding.rate(), before / 2.0);
    }

    #[test]
    fn what_comes_later_or_where_no_train_was_sent_says_nothing() {
        let mut late = Sounding::default();
        late.on_report(&report(2_800, 2_800, 2_240, 560));
        late.on_report(&report(12_800, 10_000, 400_000, 10));
        assert!(!late.is_going_on());
        assert_eq!(late.rate(), 0.0);

        let mut none = Sounding::none();
        none.on_report(&report(14_000, 14_000, 10_080, 5040));
        assert_eq!((none.rate(), none.is_going_on()), (0.0, false));
    }

    #[test]
    fn no_more_is_believed_than_was_shown_or_arrives() {
        let mut sounding = Sounding::default();
        assert_eq!(sounding.credible(1e6), f64::INFINITY, "nothing is known");
        sounding.on_report(&report(14_000, 14_000, 10_080, 5040));
        let shown = sounding.rate();
        assert!(sounding.is_going_on());
        assert!((1.0..1.2).contains(&(sounding.credible(0.0) / shown)));
        assert_eq!(sounding.credible(10.0 * shown), 15.0 * shown);

        sounding.compare(1.9 * shown);
        assert!(sounding.bounds());
        sounding.compare(2.1 * shown);
        assert_eq!(sounding.credible(0.0), f64::INFINITY, "it was wrong");
        assert_eq!(sounding.rate(), shown);
    }

    /// A report of what has arrived, how much of it is new, when, and how late it was beyond the first.
    fn report(arrived: u64, bytes: u64, received_at: u32, later: i64) -> Progress {
        let report = Progress::of(received_at.into(), bytes, 10_000, Span::millis(20));
        Progress { arrived, fresh: bytes, delay_mean: 10_000 + later, ..report }
    }
}
