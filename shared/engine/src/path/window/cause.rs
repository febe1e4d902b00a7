//! What the window says of itself to people.

use super::{GROWTH_MIN, Window};
use crate::{
    path::cause::Cause,
    time::{Span, Time},
};

impl Window {
    /// Why no more is sent, on a path that has something to carry.
    pub(crate) fn cause(&self) -> Cause {
        if self.rival.is_there() {
            return Cause::Shared { queue: self.queue() };
        }
        if self.start && !self.fixed && (self.limited > 0.5 || self.reported_at == Time::ZERO) {
            return Cause::Starting;
        }
        if self.limited <= 0.5 {
            return Cause::Spare;
        }
        if self.rival.is_trying() {
            return Cause::TryingQueue;
        }
        if self.policer.is_trying() {
            return Cause::TryingLoss;
        }
        if let Some(rate) = self.policer.rate() {
            return Cause::Policed { rate: rate as u64 };
        }
        // Not the learnt capacity: that is a belief, and runs ahead of the link while more is tried.
        let (queue, rate) = (self.queue(), self.rate());
        if queue.0 as f64 > HELD_BACK * self.target() {
            Cause::HeldBack { queue }
        } else if self.growth > GROWING * GROWTH_MIN && !self.is_saturated() {
            Cause::Growing { rate }
        } else {
            Cause::Full { rate, queue }
        }
    }

    /// The queue that stands on the path, as far as the pace heeds it.
    pub(crate) fn queue(&self) -> Span {
        Span(self.queue_in_sight(self.target()) as u64)
    }

    /// What the path adds to its smallest delay on average, without a queue.
    pub(crate) fn jitter(&self) -> Span {
        Span(self.gauge.jitter() as u64)
    }

    /// The share of bytes that was lost in the last seconds under load.
    pub(crate) fn lost(&self) -> f64 {
        self.gauge.lost_long()
    }

    /// Whether the path would lose as much if less were sent: it loses all the time, no queue stands,
    /// and it was not slowed down for loss that it caused.
    pub(crate) fn loses_by_itself(&self) -> bool {
        let caused = self.rival.is_there()
            || self.policer.rate().is_some()
            || self.cut_at > Time::ZERO && self.reported_at.since(self.cut_at) < CAUSED;
        self.gauge.is_lossy() && self.gauge.standing() <= self.target() && !caused
    }
}

/// How many times the queue that we want: above, the pace is well below what the path carries.
const HELD_BACK: f64 = 1.5;

/// How many times its least the growth is when no queue has shown for some round trips.
const GROWING: f64 = 2.0;

/// How long loss that was caused shows in that of the last seconds.
const CAUSED: Span = Span::secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::progress::Progress;

    #[test]
    fn a_window_says_what_it_is_doing() {
        let mut window = Window::new();
        assert_eq!(window.cause(), Cause::Starting, "nothing is known");

        feed(&mut window, 0..200, |step| if step < 40 { 10_000 } else { 14_000 }, 0);
        let Cause::Full { rate, queue } = window.cause() else { panic!("{:?}", window.cause()) };
        assert!((1.9e6..2.1e6).contains(&(rate as f64)), "{rate}");
        assert_eq!(queue, Span(4_000));

        feed(&mut window, 200..220, |_| 34_000, 0);
        assert_eq!(window.cause(), Cause::HeldBack { queue: Span(24_000) });

        feed(&mut window, 220..400, |_| 10_000, 0);
        assert!(matches!(window.cause(), Cause::Growing { .. }), "{:?}", window.cause());
    }

    #[test]
    fn a_window_that_limits_nobody_has_room() {
        let mut window = Window::new();
        for step in 0..10 {
            window.on_feedback(Time(step * 5_000), &progress(step, 10_000, 0));
        }
        assert_eq!(window.cause(), Cause::Spare);
    }

    #[test]
    fn a_queue_that_stays_is_anothers() {
        let mut window = Window::new();
        feed(&mut window, 0..200, |step| if step < 40 { 10_000 } else { 14_000 }, 0);
        feed(&mut window, 200..600, |_| 70_000, 0);
        assert_eq!(window.cause(), Cause::Shared { queue: Span(60_000) });
    }

    #[test]
    fn loss_without_a_queue_is_the_paths_own_until_a_policer_is_found() {
        let mut window = Window::new();
        feed(&mut window, 0..200, |step| if step < 40 { 10_000 } else { 13_000 }, 0);
        assert!(!window.loses_by_itself());

        feed(&mut window, 200..1_800, |_| 13_000, 120);
        assert!(window.loses_by_itself());
        assert!((0.010..0.013).contains(&window.lost()), "{}", window.lost());

        feed(&mut window, 1_800..1_900, |_| 60_000, 120);
        assert!(!window.loses_by_itself(), "with a queue it may be ours");
    }

    #[test]
    fn a_rate_that_is_enforced_is_named() {
        let mut window = Window::new();
        let mut seen = Vec::new();
        for step in 0..1_000 {
            let pace = window.pace(Span::millis(20)) as f64;
            let lost = ((pace - 1e6).max(0.0) / 200.0) as u64;
            window.on_refused();
            let arrived =
                Progress { bytes: (pace.min(1e6) / 200.0) as u64, ..progress(step, 10_000, lost) };
            window.on_feedback(Time(step * 5_000), &arrived);
            seen.push(window.cause());
        }
        assert!(seen.contains(&Cause::TryingLoss));
        let rate = seen.iter().find_map(|cause| match cause {
            Cause::Policed { rate } => Some(*rate as f64),
            _ => None,
        });
        assert!(rate.is_some_and(|rate| (0.8e6..1.1e6).contains(&rate)), "{rate:?}");
    }

    /// A sender without end, 10 kB a report of which `lost` bytes are missing, with these delays.
    fn feed(
        window: &mut Window,
        steps: std::ops::Range<u64>,
        delay: impl Fn(u64) -> i64,
        lost: u64,
    ) {
        for step in steps {
            window.on_refused();
            window.on_feedback(Time(step * 5_000), &progress(step, delay(step), lost));
        }
    }

    fn progress(step: u64, delay: i64, lost: u64) -> Progress {
        let bytes = 10_000_u64.saturating_sub(lost);
        let report = Progress::of(step * 5_000, bytes, delay, Span::millis(20));
        Progress { lost, rtt: Span(10_000 + delay as u64), ..report }
    }
}
