//! Whether a path that is far behind the others is worth its delay.
//!
//! For order's sake a flow that uses it is as slow as it. A sender whose window does not grow with that (BBR
//! takes the smallest round trip that it has seen for its own) then sends less than the near path alone
//! would carry. So a far path is on trial: if no more arrives by all paths together than the near one
//! carries, it is left out, each time for longer.

use super::{Outbound, path::Path};
use crate::{
    path::PathState,
    time::{Span, Time},
};

/// What was seen while a far path carried packets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Worth {
    /// Since when it has.
    since: Option<Time>,
    /// When it was last judged, and the bytes that had arrived by all paths by then.
    judged_at: Time,
    arrived: u64,
    left_out_until: Time,
    /// How often it was found of no worth since it last was of some.
    failures: u32,
}

impl Worth {
    /// Whether the path is left out.
    pub(super) fn is_denied(&self, now: Time) -> bool {
        now < self.left_out_until
    }

    /// Looks at a path that is used, or is not, and that may carry too little for how far it is. `arrived` and
    /// `near` are the bytes that came by all paths so far, and the bytes a second that the near paths carry.
    fn judge(&mut self, now: Time, used: bool, poor: bool, arrived: u64, near: f64) {
        let tried = self.since.is_some_and(|since| now.since(since) >= GRACE_SHORT);
        if poor && !self.is_denied(now) && (tried || self.failures == 0) {
            // It is known to be poor, and a trial costs a second and a half of ruin.
            self.failures = self.failures.max(FAILURES_POOR);
            self.leave_out(now);
        }
        if !used {
            self.since = None;
            return;
        }
        let Some(since) = self.since else {
            (self.since, self.judged_at, self.arrived) = (Some(now), now, arrived);
            return;
        };
        let elapsed = now.since(self.judged_at);
        if elapsed < PERIOD {
            return;
        }
        let rate = (arrived - self.arrived) as f64 / elapsed.as_secs_f64();
        (self.judged_at, self.arrived) = (now, arrived);
        let least = if now.since(since) < GRACE { RUIN } else { ENOUGH };
        if now.since(since) < GRACE_SHORT || rate >= least * near || rate < IDLE * near {
            self.failures = if least < ENOUGH { self.failures } else { 0 };
        } else {
            self.leave_out(now);
        }
    }

    /// Leaves the path out, each time for longer.
    fn leave_out(&mut self, now: Time) {
        self.left_out_until = now + LEFT_OUT * (1 << self.failures.min(FAILURES_MAX));
        self.failures += 1;
        self.since = None;
    }
}

impl Outbound {
    /// The least delay of any path that is up, clocks' offset included, and how long a retransmission takes.
    pub(super) fn nearest(&self) -> (i64, Span) {
        let up = || self.paths.iter().flatten().filter(|path| path.state == PathState::Up);
        let soonest = up().filter_map(|path| path.window.delay_least()).min().unwrap_or(0);
        (soonest, up().map(|path| path.rtt.smoothed()).min().unwrap_or_default())
    }

    /// Keeps account of the worth of each path that is far behind the one that leads.
    pub(super) fn review_worth(&mut self, now: Time) {
        let up = || self.paths.iter().flatten().filter(|path| path.state == PathState::Up);
        let known = || up().filter(|path| path.window.delay_least().is_some());
        let leads = known().find(|path| self.ingress.lead == Some(path.id));
        let Some(near) = leads.or_else(|| known().min_by_key(|path| path.window.delay_least()))
        else {
            return;
        };
        let (near_id, limit) = (near.id, BEHIND.max(near.rtt.smoothed()));
        let soonest = near.window.delay_least().unwrap_or_default();
        let behind = |path: &Path| {
            let behind = path.window.delay_least().map_or(0, |least| least - soonest);
            Span(behind.max(0) as u64)
        };
        let is_far = |path: &Path| path.id != near_id && behind(path) > limit;
        let carries = up().filter(|path| !is_far(path)).map(|path| path.window.carries()).sum();
        let arrived = self.paths.iter().flatten().map(|path| path.bytes_arrived).sum();
        for path in self.paths.iter_mut().flatten() {
            let far = is_far(path);
            let used = far && path.live && now.since(path.bulk_at) < USED;
            let own = path.window.carries();
            let sounded = own > 0.0 && now.since(path.state_since) >= SOUNDED_AFTER;
            let poor = far && sounded && own / (own + carries) < price(behind(path));
            path.worth.judge(now, used, poor, arrived, carries);
        }
    }
}

/// The share of all that a path so far behind has to bring: to a sender that fills a longer round trip in seconds
/// it costs more than it brings, if that is less.
fn price(behind: Span) -> f64 {
    let behind = (behind - FREE).as_secs_f64() / PRICE.as_secs_f64();
    behind * (1.0 + behind)
}

const PRICE: Span = Span::millis(330);

/// A path that is less far behind, or less than a round trip, does no harm worth speaking of.
const BEHIND: Span = Span::millis(10);

/// So far behind has no price.
const FREE: Span = Span::millis(20);

/// How long the first reports on a path may still change what it seems to carry.
const SOUNDED_AFTER: Span = Span::millis(500);

/// A path that has carried nothing for so long is not used.
const USED: Span = Span::millis(500);

/// How long a far path may be of no worth, while senders get used to it, and how long it is looked at then.
const GRACE: Span = Span::secs(4);
const PERIOD: Span = Span::secs(1);

/// What has to arrive then, as a share of what the near paths carry: no sender fills them all the time.
const ENOUGH: f64 = 0.85;

/// What speaks against it earlier: less than this share of what the near path carries.
const RUIN: f64 = 0.7;
const GRACE_SHORT: Span = Span::millis(1500);

/// Acknowledgements of the other direction's load, and the like, are not held back by a path.
const IDLE: f64 = 0.05;

/// For how long it is left out, at first; doubled each time, six times at most.
const LEFT_OUT: Span = Span::secs(15);
const FAILURES_MAX: u32 = 5;

/// As many as what carries too little begins with: a minute.
const FAILURES_POOR: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_path_that_adds_nothing_is_left_out_for_longer_and_longer() {
        let mut worth = Worth::default();
        let denials = run(&mut worth, 0..120, |_| 0.8);
        assert_eq!(denials.first(), Some(&4));
        let gaps: Vec<u64> = denials.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.windows(2).all(|pair| pair[1] > pair[0]), "{gaps:?}");
    }

    #[test]
    fn one_that_adds_something_after_a_while_stays() {
        let grows = |second| if second < 3 { 0.75 } else { 1.4 };
        assert!(run(&mut Worth::default(), 0..120, grows).is_empty());
    }

    #[test]
    fn one_that_takes_much_of_what_there_was_is_left_out_soon() {
        for left in [0.3, 0.64] {
            assert_eq!(run(&mut Worth::default(), 0..10, |_| left), [2]);
        }
        let acknowledgements = run(&mut Worth::default(), 0..30, |_| 0.02);
        assert!(acknowledgements.is_empty(), "{acknowledgements:?}");
    }

    #[test]
    fn one_that_carries_little_for_how_far_it_is_is_not_tried_first() {
        let mut worth = Worth::default();
        worth.judge(Time(1), false, true, 0, 1e6);
        assert!(worth.is_denied(Time(59_000_000)));
        assert!(!worth.is_denied(Time(61_000_000)));

        let share = |ms| price(Span::millis(ms));
        assert!(share(20) < 0.001 && share(50) < 0.1, "the spread that most pairs have");
        assert!(share(90) > 0.22 && share(150) > 0.5);
    }

    /// The seconds in which a path begins to be left out, given what arrives of what the near one carries.
    fn run(
        worth: &mut Worth,
        seconds: std::ops::Range<u64>,
        share: impl Fn(u64) -> f64,
    ) -> Vec<u64> {
        let (mut arrived, mut denials, mut before) = (0.0, Vec::new(), false);
        for tick in seconds.start * 20..seconds.end * 20 {
            let now = Time(tick * 50_000);
            arrived += share(tick / 20) * 1e6 / 20.0;
            let denied = worth.is_denied(now);
            worth.judge(now, !denied, false, arrived as u64, 1e6);
            if worth.is_denied(now) && !before {
                denials.push(tick / 20);
            }
            before = worth.is_denied(now);
        }
        denials
    }
}
