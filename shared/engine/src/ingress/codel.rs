//! When a flow's queue has been standing for too long (CoDel, RFC 8289), one state a flow.

use crate::{
    class::Class,
    time::{Span, Time},
};

/// What queues are held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aqm {
    /// The waiting time that may stand.
    pub(crate) target: Span,
    /// For how long it may stand above that: about a round trip of the flow.
    pub(crate) interval: Span,
}

impl Aqm {
    /// What queues of a class are held to, where this is what bulk is held to.
    pub(crate) fn of(&self, class: Class) -> Self {
        let target = match class {
            Class::RealTime | Class::Scavenger => SHORT,
            Class::Interactive => SHORT * 2,
            Class::Bulk => self.target,
        };
        Self { target, interval: self.interval }
    }
}

/// RFC 8289, 4.4; what interactive flows burst at their begin stands a little longer.
const SHORT: Span = Span::millis(5);

/// The state of one queue.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Codel {
    /// Since when the waiting time has been above the target.
    above_since: Option<Time>,
    dropping: bool,
    drop_at: Time,
    /// Drops since dropping began, and when it was last left.
    count: u32,
    count_before: u32,
}

impl Codel {
    /// Judges the segment that is about to leave: `waited` is how long it has been queued, `last`
    /// whether nothing of its flow waits behind it. Returns whether it is to be dropped, or marked.
    pub(super) fn judge(&mut self, now: Time, waited: Span, last: bool, aqm: &Aqm) -> bool {
        let above = self.stands(now, waited, last, aqm);
        if self.dropping {
            self.dropping = above;
            let due = above && now >= self.drop_at;
            if due {
                self.count = self.count.saturating_add(1);
                self.drop_at = self.drop_at + self.spacing(waited, aqm);
            }
            return due;
        }
        // What the drop before led to has not come to the head yet.
        if !above || now < self.drop_at {
            return false;
        }
        self.dropping = true;
        // Where dropping ended only lately, it goes on at the rate at which it was enough (5.4).
        let recently = now.since(self.drop_at) < aqm.interval * 16;
        let went_on = self.count - self.count_before;
        self.count = if recently && went_on > 1 { went_on } else { 1 };
        self.count_before = self.count;
        self.drop_at = now + self.spacing(waited, aqm);
        true
    }

    /// Whether the waiting time has been above the target for an interval; for less, where it is more than
    /// twice the target: a sender that doubles its window each round trip goes far in an interval.
    fn stands(&mut self, now: Time, waited: Span, last: bool, aqm: &Aqm) -> bool {
        if waited < aqm.target || last {
            self.above_since = None;
            return false;
        }
        let since = *self.above_since.get_or_insert(now);
        let times = waited.0 as f64 / (2 * aqm.target.0.max(1)) as f64;
        now.since(since).0 as f64 * times.max(1.0) >= aqm.interval.0 as f64
    }

    /// The time between drops: it shrinks with the root of their count, as a TCP's rate does with the
    /// root of its loss. What a drop leads to comes to the head only after what waits now.
    fn spacing(&self, waited: Span, aqm: &Aqm) -> Span {
        let excess = Span(waited.0.saturating_sub(aqm.target.0));
        excess + Span((aqm.interval.0 as f64 / f64::from(self.count).sqrt()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_drains_within_an_interval_is_left_alone() {
        let mut codel = Codel::default();
        for step in 0..99 {
            assert!(!codel.judge(Time(step * 1000), Span::millis(20), false, &AQM));
        }
        assert!(!codel.judge(Time(99_500), Span::millis(1), false, &AQM));
        for step in 100..199 {
            assert!(!codel.judge(Time(step * 1000), Span::millis(20), false, &AQM));
        }
    }

    #[test]
    fn a_standing_queue_is_dropped_from_more_and_more_often() {
        let mut codel = Codel::default();
        let drops: Vec<u64> = (1..1000)
            .filter(|step| codel.judge(Time(step * 1000), Span::millis(21), false, &AQM))
            .collect();

        let gaps: Vec<u64> = drops.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(drops[0], 101, "after an interval");
        assert!(gaps.len() > 10 && gaps.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{gaps:?}");
    }

    #[test]
    fn a_long_queue_is_dropped_from_sooner() {
        let mut codel = Codel::default();
        let first =
            (0..).find(|step| codel.judge(Time(step * 1000), Span::millis(80), false, &AQM));

        assert_eq!(first, Some(50));
    }

    #[test]
    fn the_last_packet_of_a_flow_is_never_dropped() {
        let mut codel = Codel::default();
        for step in 0..1000 {
            assert!(!codel.judge(Time(step * 1000), Span::millis(500), true, &AQM));
        }
    }

    const AQM: Aqm = Aqm { target: Span::millis(20), interval: Span::millis(100) };
}
