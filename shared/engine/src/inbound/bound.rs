//! How long the packets of each class wait at most for an earlier one: the jitter buffer's depth.
//!
//! What is real-time waits no longer than waiting was of use lately. The rest waits as long as no inner sender
//! takes it for lost.

use super::HOLD_MAX;
use crate::{class::Class, time::Span};

/// The bounds of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// What 99 of 100 waits of real-time packets did not exceed, in microseconds.
    useful: f64,
}

impl Bounds {
    pub(super) fn new() -> Self {
        Self { useful: START }
    }

    /// How long a packet of this class waits at most.
    pub(super) fn of(&self, class: Class) -> Span {
        match class {
            Class::RealTime => Span((MARGIN * self.useful) as u64).clamp(DEPTH_MIN, DEPTH_MAX),
            Class::Bulk | Class::Interactive | Class::Scavenger => HOLD_MAX,
        }
    }

    /// Notes that what a packet waited for came, after so long.
    pub(super) fn on_wait(&mut self, class: Class, wait: Span) {
        if class == Class::RealTime {
            self.learn(wait.0 as f64 > self.useful);
        }
    }

    /// Notes that it came after waiting had ended.
    pub(super) fn on_late(&mut self, class: Class) {
        if class == Class::RealTime {
            self.learn(true);
        }
    }

    /// A quantile is where what exceeds it and what does not keep each other in balance.
    fn learn(&mut self, exceeded: bool) {
        let step = if exceeded { STEP * QUANTILE } else { STEP * (QUANTILE - 1.0) };
        self.useful = (self.useful + step).clamp(0.0, DEPTH_MAX.0 as f64);
    }
}

/// The share of waits that are to be long enough.
const QUANTILE: f64 = 0.99;

/// By how much one wait moves the bound at most, in microseconds.
const STEP: f64 = 2_000.0;

/// Beyond what was useful.
const MARGIN: f64 = 1.25;

/// Before anything is known: the difference of two access networks' delays.
const START: f64 = 30_000.0;

/// Less is the noise of schedulers. More is heard (ITU-T G.114 leaves 150 ms in all).
const DEPTH_MIN: Span = Span::millis(15);
const DEPTH_MAX: Span = Span::millis(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_waits_as_long_as_it_was_of_use_and_bulk_always_the_same() {
        let mut bounds = Bounds::new();
        for _ in 0..5_000 {
            bounds.on_wait(Class::RealTime, Span::millis(20));
            bounds.on_wait(Class::Bulk, Span::millis(120));
        }
        let useful = bounds.of(Class::RealTime);
        assert!((Span::millis(22)..Span::millis(30)).contains(&useful), "{useful:?}");

        for _ in 0..100 {
            bounds.on_late(Class::RealTime);
        }
        assert_eq!(bounds.of(Class::RealTime), DEPTH_MAX);
        assert_eq!(bounds.of(Class::Bulk), HOLD_MAX);
    }
}
