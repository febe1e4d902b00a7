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
        let Some(&(newest, at)) = self.steps.back() else {
            self.steps.push_back((passed, now));
            return;
        };
        if passed <= newest {
            return;
        }
        if now.since(at) < STEP && self.steps.len() > 1 {
            // The later time for both: what is passed is never dated too early.
            self.steps.pop_back();
        } else if self.steps.len() == STEPS_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back((passed, now));
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
