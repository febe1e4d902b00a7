//! Round-trip time of a path (RFC 6298, with the terms of RFC 9002).

use crate::time::{Span, Time};

/// Smoothed round-trip time, its mean deviation, and its recent minimum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RttEstimator {
    smoothed: Option<Span>,
    variation: Span,
    minimum: Span,
    minimum_at: Time,
}

impl RttEstimator {
    pub(crate) fn new() -> Self {
        Self {
            smoothed: None,
            variation: INITIAL / 2,
            minimum: Span(u64::MAX),
            minimum_at: Time(0),
        }
    }

    pub(crate) fn on_sample(&mut self, now: Time, sample: Span) {
        if sample > SAMPLE_MAX {
            return;
        }
        if sample <= self.minimum || now.since(self.minimum_at) > MINIMUM_AGE_MAX {
            self.minimum = sample;
            self.minimum_at = now;
        }
        let Some(smoothed) = self.smoothed else {
            self.smoothed = Some(sample);
            self.variation = sample / 2;
            return;
        };
        let deviation = smoothed.0.abs_diff(sample.0);
        self.variation = Span((3 * self.variation.0 + deviation) / 4);
        self.smoothed = Some(Span((7 * smoothed.0 + sample.0) / 8));
    }

    /// The smoothed time, or a guess before the first sample.
    pub(crate) fn smoothed(&self) -> Span {
        self.smoothed.unwrap_or(INITIAL)
    }

    pub(crate) fn measured(&self) -> Option<Span> {
        self.smoothed
    }

    pub(crate) fn variation(&self) -> Span {
        self.variation
    }

    /// The smallest sample of the last ten seconds.
    pub(crate) fn minimum(&self) -> Option<Span> {
        let known = self.minimum != Span(u64::MAX);
        if known { self.smoothed.map(|_| self.minimum) } else { self.smoothed }
    }

    /// Forgets the minimum: the path has become another one.
    pub(crate) fn forget_minimum(&mut self) {
        self.minimum = Span(u64::MAX);
    }

    /// How long after sending an answer is overdue, if the peer answers at once.
    pub(crate) fn overdue(&self) -> Span {
        self.smoothed() + (self.variation * 4).max(Span::millis(5))
    }
}

/// A guess between a fibre's and an LTE link's (RFC 9002, 6.2.2 takes 333 ms for the whole world).
const INITIAL: Span = Span::millis(100);

/// Long enough to meet an empty queue, short enough to follow a route change.
const MINIMUM_AGE_MAX: Span = Span::secs(10);

/// A longer round trip is that of a host which was suspended, not of a path.
const SAMPLE_MAX: Span = Span::secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_samples_converge_and_the_deviation_vanishes() {
        let mut rtt = RttEstimator::new();
        for step in 0..50 {
            rtt.on_sample(Time(step * 1000), Span::millis(40));
        }

        assert_eq!(rtt.smoothed(), Span::millis(40));
        assert!(rtt.variation() < Span(10));
        assert_eq!(rtt.overdue(), Span::millis(45));
    }

    #[test]
    fn an_old_minimum_gives_way() {
        let mut rtt = RttEstimator::new();
        rtt.on_sample(Time(0), Span::millis(10));
        rtt.on_sample(Time(1_000_000), Span::millis(30));
        assert_eq!(rtt.minimum(), Some(Span::millis(10)));

        rtt.on_sample(Time(10_000_001), Span::millis(30));

        assert_eq!(rtt.minimum(), Some(Span::millis(30)));
    }
}
