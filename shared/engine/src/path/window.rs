//! How much may be on its way on a path.
//!
//! The window follows what is delivered in a round trip, plus a few milliseconds of queue: enough
//! to keep the link busy, little enough that the queue stands with us, where it is fair, and not in
//! the modem. Delay above the path's own base is the evidence of a queue; the window never shrinks
//! without it, so jitter and idle time leave it alone.

use std::collections::VecDeque;

use crate::time::{Span, Time};

/// The control of one path's bytes in flight.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    size: f64,
    /// Growing by doubling, until a queue shows.
    start: bool,
    samples: VecDeque<Sample>,
    /// Smallest one-way delay of late, per half of its memory: [older, newer].
    base: [i64; 2],
    base_at: Time,
    /// How much the path jitters: what it adds to the smallest delay on average, without a queue.
    jitter: f64,
    /// Mean distance of a delay from the one before, and from the smallest of its interval.
    steps: [f64; 2],
    steps_seen: u32,
    delay_before: Option<i64>,
    /// How much of late the window was what limited sending, from 0 to 1.
    limited: f64,
    refused: bool,
    /// Bytes a second, over the last round trip.
    rate: f64,
    /// The best rate of the last half minute.
    rate_best: f64,
    /// The queue's mean delay over the last round trip, in microseconds.
    queue: f64,
    /// Its smallest over the last few reports: a sender's probe for more is shorter than a mean.
    queue_lately: f64,
    /// Until then bursts are ours: what another path had on its way was sent again here.
    bursts_until: Time,
    cut_at: Time,
    queued_since: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Time,
    /// Bytes arrived in all.
    bytes: u64,
    /// Mean one-way delay in this interval.
    delay: i64,
}

/// What feedback tells the window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Bytes that arrived since the feedback before.
    pub(crate) bytes: u64,
    pub(crate) delay_mean: i64,
    pub(crate) delay_min: i64,
    /// Bytes found lost with this feedback.
    pub(crate) lost: u64,
    /// Whether the network marked congestion.
    pub(crate) marked: bool,
    /// Smoothed and smallest round-trip time.
    pub(crate) rtt: Span,
    pub(crate) rtt_min: Span,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self {
            size: INITIAL as f64,
            start: true,
            samples: VecDeque::new(),
            base: [i64::MAX; 2],
            base_at: Time::ZERO,
            jitter: 0.0,
            steps: [0.0; 2],
            steps_seen: 0,
            delay_before: None,
            limited: 0.0,
            refused: false,
            rate: 0.0,
            rate_best: 0.0,
            queue: 0.0,
            queue_lately: 0.0,
            bursts_until: Time::ZERO,
            cut_at: Time::ZERO,
            queued_since: None,
        }
    }

    /// Bytes that may be on their way.
    pub(crate) fn size(&self) -> u64 {
        self.size as u64
    }

    /// Bytes a second that arrive.
    pub(crate) fn rate(&self) -> u64 {
        self.rate as u64
    }

    /// The queue that stands on the path, as its delay.
    pub(crate) fn queue(&self) -> Span {
        Span(self.queue as u64)
    }

    /// The rate to send at: somewhat above what fills the window in a round trip, so that it only
    /// smooths. While a queue stands on the path, not more than arrives, so that what exceeds it
    /// shows on our side; but a rate that is the sender's own, or old, must not hold it back.
    pub(crate) fn pace(&self, rtt_min: Span) -> u64 {
        let filling = self.size / (rtt_min + FEEDBACK_INTERVAL).as_secs_f64();
        let fastest = PACE_GAIN * filling;
        if !self.is_saturated() {
            return fastest as u64;
        }
        // A queue younger than a round trip says that the link is at its limit; what arrived over the
        // last round trip may be from before.
        let young = self.queue <= SATURATED + self.jitter;
        let arrives = if young { self.rate_best } else { self.rate };
        arrives.max(PACE_FLOOR * filling).min(fastest) as u64
    }

    /// Whether a queue stands on the path: it carries what it can.
    pub(crate) fn is_saturated(&self) -> bool {
        self.queue.max(self.queue_lately) > SATURATED + self.jitter
    }

    /// Notes that something could have been sent, and the window or the pace refused it.
    pub(crate) fn on_refused(&mut self) {
        self.refused = true;
    }

    /// Gives back memory: what was measured before a rest says nothing about the time after it.
    pub(crate) fn shrink(&mut self) {
        self.samples = VecDeque::new();
    }

    /// The path has become another one: its delay, and what it carries, are to be learnt.
    pub(crate) fn on_new_route(&mut self) {
        self.samples.clear();
        self.base = [i64::MAX; 2];
        self.delay_before = None;
        self.queued_since = None;
        (self.queue, self.queue_lately) = (0.0, 0.0);
        self.start = true;
    }

    /// What another path had on its way is sent again on this one.
    pub(crate) fn on_failover(&mut self, now: Time) {
        self.bursts_until = now + BURSTS;
    }

    /// Keeps most of the window when the path returns from suspicion.
    pub(crate) fn on_return(&mut self) {
        self.size = (0.7 * self.size).max(FLOOR);
        self.start = false;
        self.samples.clear();
    }

    /// Takes in what feedback says. Returns whether the path turns out to be longer than it was.
    pub(crate) fn on_feedback(&mut self, now: Time, progress: &Progress) -> bool {
        let idle = self.samples.back().is_some_and(|sample| now.since(sample.at) > IDLE);
        if idle {
            // What was measured before the pause says nothing about the time after it.
            self.samples.clear();
            self.limited = 0.0;
        }
        self.track_base(now, progress.delay_min);
        self.track_jitter(progress);
        self.track_rate(now, progress);
        let elapsed =
            self.samples.iter().rev().nth(1).map_or(FEEDBACK_INTERVAL, |s| now.since(s.at));
        self.limited = 0.7 * self.limited + if self.refused { 0.3 } else { 0.0 };
        self.refused = false;
        let target = TARGET + 1.25 * self.jitter;
        self.start &= self.queue <= 0.8 * target;
        let gain = (elapsed.0 as f64 / progress.rtt_min.0.max(1) as f64).min(0.5);
        self.steer(progress, target, gain);
        self.cut(now, progress, target);
        let floor = self.floor(now, progress, target).min(SIZE_MAX);
        self.size = self.size.clamp(floor, SIZE_MAX);
        self.review_base(now)
    }

    /// A delay that stays although next to nothing is on its way is no queue of ours: the route is
    /// longer than it was, or others fill it for good.
    fn review_base(&mut self, now: Time) -> bool {
        let waited = self.queued_since.is_some_and(|since| now.since(since) > REBASE_AFTER);
        let longer = waited && self.size <= 2.0 * FLOOR;
        if longer {
            self.on_new_route();
        }
        longer
    }

    fn steer(&mut self, progress: &Progress, target: f64, gain: f64) {
        let loop_time = (progress.rtt_min + FEEDBACK_INTERVAL).0 as f64;
        let filled = self.rate * (loop_time + target) / 1e6;
        if self.queue > 4.0 * target {
            self.size += gain * (filled.min(self.size) - self.size);
        } else if self.limited > 0.5 {
            let mut wanted = filled * if self.start { 2.0 } else { 1.0 };
            if self.queue < 0.5 * target {
                wanted = wanted.max(self.size * if self.start { 2.0 } else { 1.2 });
            } else if self.queue < target {
                wanted = wanted.max(self.size);
            }
            self.size += gain * (wanted - self.size);
        } else if self.queue > 2.0 * target {
            // Less was sent than the window allows, so the rate says little, and the queue may be
            // somebody else's.
            let wanted = filled.max(0.8 * self.size);
            self.size += gain * (wanted.min(self.size) - self.size);
        }
    }

    /// Loss counts only together with a queue: what a radio loses is no reason to slow down.
    fn cut(&mut self, now: Time, progress: &Progress, target: f64) {
        let share = progress.lost as f64 / (progress.bytes + progress.lost).max(1) as f64;
        let congested = progress.marked || (share > 0.02 && self.queue > target);
        if congested && now.since(self.cut_at) > progress.rtt {
            self.size *= 0.85;
            self.start = false;
            self.cut_at = now;
        }
    }

    /// A path that was good is not squeezed to nothing by a disturbed measurement, unless a queue
    /// has been standing for two round trips.
    fn floor(&mut self, now: Time, progress: &Progress, target: f64) -> f64 {
        if self.queue <= 2.0 * target {
            self.queued_since = None;
            return FLOOR.max(0.3 * self.rate_best * progress.rtt_min.as_secs_f64());
        }
        let since = *self.queued_since.get_or_insert(now);
        if now.since(since) > progress.rtt * 2 {
            return FLOOR;
        }
        FLOOR.max(0.3 * self.rate_best * progress.rtt_min.as_secs_f64())
    }

    fn track_base(&mut self, now: Time, delay: i64) {
        if now.since(self.base_at) > BASE_AGE / 2 {
            self.base = [self.base[1], i64::MAX];
            self.base_at = now;
        }
        self.base[1] = self.base[1].min(delay);
    }

    /// A queue grows and drains slowly, jitter leaps: so the leaps between reports tell how much of
    /// the delay above the base is jitter.
    fn track_jitter(&mut self, progress: &Progress) {
        let before = self.delay_before.replace(progress.delay_mean).unwrap_or(progress.delay_mean);
        let leap = (progress.delay_mean - before).abs().min(LEAP_MAX) as f64;
        let within = (progress.delay_mean - progress.delay_min).clamp(0, LEAP_MAX) as f64;
        // A plain mean at first, so that it does not begin with the belief that there is no jitter.
        self.steps_seen = (self.steps_seen + 1).min(STEPS_MEMORY);
        let gain = 1.0 / f64::from(self.steps_seen);
        self.steps[0] += gain * (leap - self.steps[0]);
        self.steps[1] += gain * (within - self.steps[1]);
        self.jitter = (LEAPS_PER_MEAN * self.steps[0]).max(self.steps[1]);
    }

    fn track_rate(&mut self, now: Time, progress: &Progress) {
        let arrived = self.samples.back().map_or(0, |sample| sample.bytes) + progress.bytes;
        self.samples.push_back(Sample { at: now, bytes: arrived, delay: progress.delay_mean });
        let horizon = progress.rtt.max(RATE_SPAN_MIN);
        while self.samples.len() > SAMPLES_MAX
            || self.samples.get(1).is_some_and(|second| now.since(second.at) >= horizon)
        {
            self.samples.pop_front();
        }
        let base = self.base[0].min(self.base[1]);
        let (sum, count) = (self.samples.iter())
            .fold((0i64, 0i64), |(sum, count), sample| (sum + (sample.delay - base), count + 1));
        self.queue = (sum as f64 / count.max(1) as f64).max(0.0);
        let late = self.samples.iter().rev().take(LATELY).map(|sample| sample.delay - base);
        let settled = now >= self.bursts_until;
        self.queue_lately = late.min().filter(|_| settled).unwrap_or(0).max(0) as f64;
        let Some(oldest) = self.samples.front() else { return };
        let span = now.since(oldest.at);
        if span >= RATE_SPAN_MIN / 2 {
            self.rate = (arrived - oldest.bytes) as f64 / span.as_secs_f64();
        }
        // Forgets by a thousandth with every feedback: half in three to four seconds of load.
        self.rate_best = (self.rate_best * 0.999).max(self.rate);
    }
}

/// 32 full datagrams: three times QUIC's start (RFC 9002, 7.2), since no more than one start is made
/// per path and session.
const INITIAL: u64 = 32 * 1400;

/// Four full datagrams: less can't be measured.
const FLOOR: f64 = 4.0 * 1400.0;

/// 4 Gbit/s at 120 ms, and what the ring of sent datagrams can hold.
const SIZE_MAX: f64 = 60e6;

/// The queue that we want on a path without jitter, in microseconds.
const TARGET: f64 = 5_000.0;

/// A saturated path is paced at no less than this share of what fills its window: a path whose delay
/// has grown for another reason than a queue gets out of it within a few round trips.
const PACE_FLOOR: f64 = 0.15;

/// A mean queue of less is made by the bursts of senders, in microseconds.
const SATURATED: f64 = 2000.0;

/// How long after a failover a queue says nothing about a sender's probing.
const BURSTS: Span = Span::secs(1);

/// Reports in a row that show a queue, if it is one and no jitter.
const LATELY: usize = 3;

/// Above (loop + target) / loop, or the pace would keep the window from growing.
const PACE_GAIN: f64 = 1.25;

/// The peer's usual interval.
const FEEDBACK_INTERVAL: Span = Span::millis(5);

/// Rates over less than this are noise of schedulers and radios.
const RATE_SPAN_MIN: Span = Span::millis(60);

/// For a normal jitter redrawn every other report, the mean above the minimum is 0.8 sigma and the
/// mean leap from report to report 0.33 sigma.
const LEAPS_PER_MEAN: f64 = 2.4;

/// Reports that the jitter is a mean of.
const STEPS_MEMORY: u32 = 50;

/// A leap beyond this is no jitter but a stall or a new route.
const LEAP_MAX: i64 = 50_000;

/// After a pause of this length, rate and queue are measured anew.
const IDLE: Span = Span::millis(500);

/// How long a delay stays, with the window at its floor, until it is taken for the path's own.
const REBASE_AFTER: Span = Span::secs(1);

/// The base delay is the smallest of at least half this time.
const BASE_AGE: Span = Span::secs(20);

const SAMPLES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_to_what_the_link_carries_and_leaves_a_small_queue() {
        let link = drive(&mut Window::new(), 12_500_000, Span::millis(20), 400);

        assert!((12.0e6..12.6e6).contains(&link.rate), "rate {}", link.rate);
        assert!(link.queue < 10_000.0, "queue {} us", link.queue);
    }

    #[test]
    fn no_report_upsets_the_window() {
        let mut window = Window::new();
        for (step, rtt) in
            [Span(0), Span::millis(5), Span::secs(40)].into_iter().cycle().enumerate()
        {
            if step == 60 {
                break;
            }
            let delay = if step % 7 == 0 { i64::from(i32::MIN) } else { i64::from(i32::MAX) };
            window.on_feedback(
                Time(step as u64 * 31_000),
                &Progress {
                    bytes: 1 << 31,
                    delay_mean: delay,
                    delay_min: delay,
                    lost: u64::from(u32::MAX),
                    marked: step % 2 == 0,
                    rtt,
                    rtt_min: rtt,
                },
            );
            assert!(window.size.is_finite() && window.size <= SIZE_MAX);
        }
    }

    #[test]
    fn an_idle_path_keeps_its_window() {
        let mut window = Window::new();
        drive(&mut window, 12_500_000, Span::millis(20), 400);
        let before = window.size();

        for step in 0..100 {
            window.on_feedback(
                Time(10_000_000 + step * 100_000),
                &Progress {
                    bytes: 200,
                    delay_mean: 10_000,
                    delay_min: 10_000,
                    lost: 0,
                    marked: false,
                    rtt: Span::millis(20),
                    rtt_min: Span::millis(20),
                },
            );
        }

        assert!(window.size() >= before * 9 / 10, "{} of {before}", window.size());
    }

    #[test]
    fn a_path_with_a_standing_queue_is_paced_at_what_arrives() {
        let mut window = Window::new();
        let rtt = Span::millis(20);
        drive(&mut window, 12_500_000, rtt, 400);
        let free = window.pace(rtt);
        let report = |delay| Progress {
            bytes: 12_500_000 / 200,
            delay_mean: delay,
            delay_min: delay,
            lost: 0,
            marked: false,
            rtt,
            rtt_min: rtt,
        };

        for step in 0..40 {
            window.on_feedback(Time(2_000_000 + step * 5_000), &report(15_000));
        }

        assert!(window.is_saturated());
        let pace = window.pace(rtt) as f64;
        assert!((12.0e6..13.0e6).contains(&pace), "{pace}, and {free} without a queue");
        for step in 0..40 {
            window.on_feedback(Time(2_200_000 + step * 5_000), &report(10_000));
        }
        assert!(!window.is_saturated() && window.pace(rtt) > 14_000_000);
    }

    struct Link {
        rate: f64,
        queue: f64,
    }

    /// A fluid link with unlimited demand: what exceeds the rate queues up.
    fn drive(window: &mut Window, rate: u64, rtt: Span, steps: u64) -> Link {
        let step = FEEDBACK_INTERVAL;
        let mut link = Link { rate: 0.0, queue: 0.0 };
        let capacity = step.carries(rate) as f64;
        for index in 0..steps {
            let pipe = rtt.carries(rate) as f64;
            // Feedback comes in steps, so on average half a step's worth is acknowledged late.
            let standing = (window.size() as f64 - pipe - capacity).max(0.0);
            link.queue = standing / rate as f64 * 1e6;
            let delivered = capacity.min(window.size() as f64 * step.0 as f64 / rtt.0 as f64);
            let delay = (rtt.0 / 2) as i64 + link.queue as i64;
            window.on_refused();
            window.on_feedback(
                Time(index * step.0),
                &Progress {
                    bytes: delivered as u64,
                    delay_mean: delay,
                    delay_min: delay,
                    lost: 0,
                    marked: false,
                    rtt: rtt + Span(link.queue as u64),
                    rtt_min: rtt,
                },
            );
            link.rate = delivered / step.as_secs_f64();
        }
        link
    }
}
