//! How far all paths together have come, and when they came there.

use std::collections::VecDeque;

use crate::time::{Span, Time};

/// The stamp up to which everything has arrived or is lost, over the last half second or so.
#[derive(Debug, Default)]
pub(super) struct Passage {
    /// Stamps and when they were passed, both ascending.
    steps: VecDeque<(Time, Time)>,
}

impl Passage {
    /// Notes that everything stamped up to `passed` has arrived or is lost.
    pub(super) fn on_passed(&mut self, now: Time, passed: Time) {
        if self.steps.back().is_some_and(|&(newest, _)| passed <= newest) {
            return;
        }
        let before = self.steps.iter().rev().nth(1);
        if before.is_some_and(|&(_, at)| now.since(at) < STEP) {
            // The later time for both: what is passed is never dated too early.
            self.steps.pop_back();
        } else if self.steps.len() == STEPS_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back((passed, now));
    }

    /// Forgets all but the last step: nobody waits for anything.
    pub(super) fn shrink(&mut self) {
        self.steps.drain(..self.steps.len().saturating_sub(1));
        self.steps.shrink_to_fit();
    }

    /// When everything up to `stamp` was passed; for long ago, the earliest time remembered.
    pub(super) fn passed_at(&self, stamp: Time) -> Option<Time> {
        let at = self.steps.partition_point(|&(passed, _)| passed < stamp);
        self.steps.get(at).map(|&(_, at)| at)
    }
}

const STEP: Span = Span::millis(2);
const STEPS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_passed_when_the_first_later_one_was() {
        let mut passage = Passage::default();
        passage.on_passed(Time(10_000), Time(100));
        passage.on_passed(Time(20_000), Time(200));
        passage.on_passed(Time(30_000), Time(150));

        assert_eq!(passage.passed_at(Time(50)), Some(Time(10_000)));
        assert_eq!(passage.passed_at(Time(101)), Some(Time(20_000)));
        assert_eq!(passage.passed_at(Time(200)), Some(Time(20_000)));
        assert_eq!(passage.passed_at(Time(201)), None);
    }

    #[test]
    fn a_step_is_dated_no_more_than_its_length_too_late() {
        let mut passage = Passage::default();
        for step in 0..10_000 {
            passage.on_passed(Time(step * 100), Time(step));
        }

        for step in 9_000..9_900 {
            let at = passage.passed_at(Time(step)).expect("passed");
            assert!((step * 100..=step * 100 + STEP.0).contains(&at.0), "{step}: {at:?}");
        }
    }

    #[test]
    fn memory_is_bounded_and_the_newest_is_never_lost() {
        let mut passage = Passage::default();
        for step in 1..10_000 {
            passage.on_passed(Time(step * 500), Time(step));
        }

        assert!(passage.steps.len() <= STEPS_MAX);
        assert_eq!(passage.passed_at(Time(9_999)), Some(Time(9_999 * 500)));
        assert!(passage.passed_at(Time(9_000)) >= Some(Time(9_000 * 500)));
    }
}
