//! What a path has shown itself to carry, so that jitter which comes and goes slowly is not taken for a queue.
//!
//! A delay that stands for some tens of milliseconds looks like a queue. Whoever sends less for each such one, and
//! takes what arrives then for all that the path carries, ends at nothing.

use crate::time::Span;

/// The proof of one path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Proof {
    /// Bytes a second that were seen to arrive of late without leaving a queue.
    carried: f64,
    /// The most of them in half a minute.
    best: f64,
    /// What arrived when a queue last stood, and for how long more might have been sent and left none since.
    full: f64,
    clear_for: Span,
    /// Whether the path was once found to carry about what its first datagrams showed.
    reached: bool,
}

impl Proof {
    /// The least that the path carries, in bytes a second, unless a queue stands that is no jitter.
    pub(super) fn carried(&self) -> f64 {
        self.carried
    }

    /// Takes in what arrives. `empty` is whether next to nothing waits, `capacity` what a clear queue has shown.
    pub(super) fn on_report(
        &mut self,
        elapsed: Span,
        rate: f64,
        empty: bool,
        capacity: Option<f64>,
    ) {
        self.carried *= 1.0 - (elapsed.as_secs_f64() / MEMORY.as_secs_f64()).min(1.0);
        self.best *= 1.0 - (elapsed.as_secs_f64() / MEMORY_LONG.as_secs_f64()).min(1.0);
        if empty {
            self.carried = self.carried.max(rate);
            self.best = self.best.max(rate);
        } else if let Some(capacity) = capacity {
            self.carried = self.carried.min(capacity);
        }
    }

    /// Notes whether the path is full, with what arrives, or else if more was held back.
    pub(super) fn on_load(&mut self, elapsed: Span, full: Option<f64>, limited: bool) {
        match full {
            Some(rate) => (self.full, self.clear_for) = (rate, Span::ZERO),
            None if limited => self.clear_for += elapsed,
            None => {}
        }
    }

    /// Whether the path was full with so much a moment ago: a sender in bursts leaves no queue in between, and what is
    /// added then stands as one in the next.
    pub(super) fn was_full(&self, capacity: f64) -> bool {
        self.clear_for < FULL_FOR && capacity >= self.full
    }

    /// Whether the path is taken to carry less than it did in the last half minute.
    pub(super) fn has_fallen(&self, capacity: f64) -> bool {
        capacity < REACHED * self.best
    }

    /// Whether the path is taken to carry less than its first datagrams showed, and never was found to.
    pub(super) fn is_short(&mut self, capacity: f64, sounded: f64, starting: bool) -> bool {
        self.reached |= !starting && capacity >= REACHED * sounded;
        !self.reached && capacity < REACHED * sounded
    }
}

/// For how long it counts that a path carried something without a queue.
const MEMORY: Span = Span::secs(4);
const MEMORY_LONG: Span = Span::secs(30);

/// How long a path without a queue is not sent more than it was full with.
const FULL_FOR: Span = Span::millis(400);

/// The share of what a path's first datagrams showed with which it is found to carry it.
const REACHED: f64 = 0.7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_without_a_queue_counts_until_it_is_old_or_a_clear_queue_says_otherwise() {
        let mut proof = Proof::default();
        proof.on_report(Span::millis(5), 1e6, true, None);
        proof.on_report(Span::millis(5), 2e5, false, None);
        assert!(proof.carried() > 0.99e6);

        for _ in 0..800 {
            proof.on_report(Span::millis(5), 2e5, false, None);
        }
        assert!(proof.carried() < 0.4e6, "{}", proof.carried());

        proof.on_report(Span::millis(5), 1e6, true, None);
        proof.on_report(Span::millis(5), 5e5, false, Some(5e5));
        assert_eq!(proof.carried(), 5e5);
    }

    #[test]
    fn a_path_that_was_full_is_sent_no_more_until_it_was_clear_for_a_while() {
        let mut proof = Proof::default();
        proof.on_load(Span::millis(5), Some(1e6), true);
        assert!(proof.was_full(1e6));
        assert!(!proof.was_full(0.9e6));

        proof.on_load(Span::secs(9), None, false);
        assert!(proof.was_full(1e6), "nobody wanted more");
        proof.on_load(Span::millis(401), None, true);
        assert!(!proof.was_full(1e6));
    }

    #[test]
    fn what_carried_clearly_more_is_known_to_for_half_a_minute() {
        let mut proof = Proof::default();
        proof.on_report(Span::millis(5), 1e6, true, None);
        assert!(proof.has_fallen(0.5e6));
        assert!(!proof.has_fallen(0.8e6));
        proof.on_report(Span::secs(30), 1e5, true, None);
        assert!(!proof.has_fallen(0.5e6));
    }

    #[test]
    fn what_was_reached_once_is_no_longer_missed() {
        let mut proof = Proof::default();
        assert!(proof.is_short(1e6, 10e6, true));
        assert!(proof.is_short(1e6, 10e6, false));
        assert!(!proof.is_short(8e6, 10e6, false));
        assert!(!proof.is_short(1e6, 10e6, false));
        assert!(!Proof::default().is_short(1e6, 0.0, false), "nothing is known of it");
    }
}
