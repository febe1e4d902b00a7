//! What reports say about a path: its own delay, the queue that stands on it, how much it jitters,
//! and how much arrives.

use std::collections::VecDeque;

use super::{progress::Progress, sounding::Sounding};
use crate::time::{Span, Time};

/// The measurements of one path. Delays are one-way, in microseconds; the clocks' offset is unknown,
/// so only differences mean something.
#[derive(Clone, Debug)]
pub(super) struct Gauge {
    samples: VecDeque<Sample>,
    sounding: Sounding,
    /// The newest report's time on the peer's clock, as it wraps.
    peer_at: Option<u32>,
    /// Smallest delay of late, per half of its memory: [older, newer].
    base: [i64; 2],
    base_at: Time,
    /// Whether it is kept as it is, for others keep a queue up.
    base_kept: bool,
    /// How much the path jitters: what it adds to the smallest delay on average, without a queue.
    jitter: f64,
    /// Mean distance of a delay from where the two before point, and from the smallest of its interval.
    steps: [f64; 2],
    /// Mean square of the former.
    square: f64,
    steps_seen: u32,
    /// The usual time between reports while they keep coming, in microseconds.
    gap: f64,
    delays_before: Option<[i64; 2]>,
    /// By how much delays lately differed within a round trip.
    spread: f64,
    /// Bytes a second, over the last round trip.
    rate: f64,
    /// The best such rate of the last half minute.
    rate_best: f64,
    /// The share of bytes lost over the last round trip, and over some seconds.
    lost: f64,
    lost_long: f64,
    /// Whether that is what radios lose, all the time.
    lossy: bool,
    standing: f64,
    /// The least queue over the time that the rate is measured over.
    emptiest: f64,
    lately: f64,
    /// Until then bursts are ours: what another path had on its way was sent again here.
    bursts_until: Time,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// By the peer's clock, since the first report.
    at: Time,
    /// Bytes arrived, and bytes found lost, in all.
    bytes: u64,
    lost: u64,
    delay_mean: i64,
    delay_min: i64,
}

impl Gauge {
    pub(super) fn new() -> Self {
        Self {
            samples: VecDeque::new(),
            sounding: Sounding::default(),
            peer_at: None,
            base: [i64::MAX; 2],
            base_at: Time::ZERO,
            base_kept: false,
            jitter: 0.0,
            steps: [0.0; 2],
            square: 0.0,
            steps_seen: 0,
            gap: 0.0,
            delays_before: None,
            spread: 0.0,
            rate: 0.0,
            rate_best: 0.0,
            lost: 0.0,
            lost_long: 0.0,
            lossy: false,
            standing: 0.0,
            emptiest: 0.0,
            lately: 0.0,
            bursts_until: Time::ZERO,
        }
    }

    /// The usual time between reports: what was sent in it is on its way without being reported.
    pub(super) fn gap(&self) -> Span {
        Span(self.gap as u64)
    }

    /// Bytes a second that arrived over the last round trip.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// What the path may carry, by how its first datagrams came out of it, in bytes a second.
    pub(super) fn sounded(&self) -> f64 {
        self.sounding.rate()
    }

    /// The most that the path is taken to carry before a queue showed, in bytes a second.
    pub(super) fn credible(&self) -> f64 {
        self.sounding.credible(self.rate)
    }

    /// Whether what comes is what the path is sounded by.
    pub(super) fn is_sounding(&self) -> bool {
        self.sounding.is_going_on()
    }

    /// Whether that says how much the path may carry; it does not where it was shown to be wrong.
    pub(super) fn sounding_bounds(&self) -> bool {
        self.sounding.bounds()
    }

    /// Whether it was shown to be wrong.
    pub(super) fn is_disproved(&self) -> bool {
        self.sounding.is_disproved()
    }

    /// Compares it with what arrives.
    pub(super) fn check_sounding(&mut self) {
        self.sounding.compare(self.rate);
    }

    /// Believes what is measured under load instead.
    pub(super) fn correct_sounding(&mut self, capacity: f64, gain: f64) {
        self.sounding.correct(capacity, gain);
    }

    /// The best such rate of the last half minute.
    pub(super) fn rate_best(&self) -> f64 {
        self.rate_best
    }

    /// How long what arrives waits on the path, at the least: what jitter adds now and then is no queue.
    pub(super) fn standing(&self) -> f64 {
        self.standing
    }

    /// Whether something waited on the path all the time that the rate was measured: then the rate is
    /// what the path carries.
    pub(super) fn is_busy(&self) -> bool {
        self.emptiest > BUSY + 1.5 * self.jitter
    }

    /// The same over the last few reports only: a sender's probe for more is short.
    pub(super) fn lately(&self) -> f64 {
        self.lately
    }

    /// The smallest delay of late, unless none is known.
    pub(super) fn base(&self) -> Option<i64> {
        Some(self.base[0].min(self.base[1])).filter(|&base| base != i64::MAX)
    }

    /// What the path adds to its smallest delay on average, without a queue.
    pub(super) fn jitter(&self) -> f64 {
        self.jitter
    }

    /// By how much delays differ within a round trip.
    pub(super) fn spread(&self) -> f64 {
        self.spread
    }

    /// The share of bytes that was lost over the last round trip.
    pub(super) fn lost(&self) -> f64 {
        self.lost
    }

    /// The same over some seconds.
    pub(super) fn lost_long(&self) -> f64 {
        self.lost_long
    }

    /// Whether the path loses packets as radios do, all the time.
    pub(super) fn is_lossy(&self) -> bool {
        self.lossy
    }

    /// How far back rates are measured.
    pub(super) fn horizon(&self, rtt: Span) -> Span {
        rtt.max(RATE_SPAN_MIN).max(self.span())
    }

    /// How far back the queue is looked for: long enough to meet a moment without jitter.
    pub(super) fn span(&self) -> Span {
        Span((JITTERS * self.mean_jitter()) as u64).clamp(QUEUE_SPAN_MIN, QUEUE_SPAN_MAX)
    }

    /// The path has become another one: its delay, and what it carries, are to be learnt.
    pub(super) fn on_new_route(&mut self) {
        self.forget();
        self.base = [i64::MAX; 2];
        self.base_kept = false;
        self.sounding = Sounding::none();
        self.delays_before = None;
        (self.standing, self.lately) = (0.0, 0.0);
    }

    /// Keeps the smallest delay for as long as nothing smaller is seen, or lets it age.
    pub(super) fn keep_base(&mut self, kept: bool) {
        self.base_kept = kept;
    }

    /// What another path had on its way is sent again on this one.
    pub(super) fn on_failover(&mut self, now: Time) {
        self.bursts_until = now + BURSTS;
    }

    /// What was measured before a pause says nothing about the time after it.
    pub(super) fn forget(&mut self) {
        self.samples.clear();
        self.peer_at = None;
    }

    /// Gives back memory during a rest.
    pub(super) fn shrink(&mut self) {
        self.forget();
        self.samples.shrink_to_fit();
    }

    /// Takes in a report. Returns the time since the one before, on the peer's clock.
    pub(super) fn on_report(&mut self, now: Time, progress: &Progress) -> Span {
        let before = self.peer_at.replace(progress.received_at);
        let elapsed = before.map_or(0, |before| progress.received_at.wrapping_sub(before));
        // Reports that overtook each other are not in order by this clock.
        let elapsed = Span(u64::from(if elapsed > PAUSE_MAX { 0 } else { elapsed }));
        let last = self.samples.back().copied();
        let (at, bytes, lost) = last.map_or((Time::ZERO, 0, 0), |it| (it.at, it.bytes, it.lost));
        self.samples.push_back(Sample {
            at: at + elapsed,
            bytes: bytes + progress.bytes,
            lost: lost + progress.lost,
            delay_mean: progress.delay_mean,
            delay_min: progress.delay_min,
        });
        self.sounding.on_report(progress);
        let share = progress.lost as f64 / (progress.bytes + progress.lost).max(1) as f64;
        // What is lost while a queue stands, it overflowed with.
        if self.standing < OVERFLOW + 2.0 * self.jitter {
            self.lost_long += (share - self.lost_long) / LOSS_MEMORY;
        }
        self.lossy = self.lost_long > if self.lossy { LOSSY_STILL } else { LOSSY };
        // By time and not by reports: of a long gap and a short one after it, the long one is what a window has to cover.
        let gap = elapsed.0.min(GAP_MAX) as f64;
        self.gap += (GAP_GAIN * (gap / self.gap.max(1.0))).min(GAP_GAIN_MAX) * (gap - self.gap);
        self.track_base(now, progress.delay_min);
        self.track_jitter(elapsed, progress);
        self.track_rate(at + elapsed, progress.rtt);
        self.track_queue(now, at + elapsed);
        elapsed
    }

    fn track_base(&mut self, now: Time, delay: i64) {
        if now.since(self.base_at) > BASE_AGE / 2 && !self.base_kept {
            self.base = [self.base[1], i64::MAX];
            self.base_at = now;
        }
        self.base[1] = self.base[1].min(delay);
    }

    /// A queue grows and drains steadily, jitter leaps: so the leaps between reports tell how much of
    /// the delay above the base is jitter.
    fn track_jitter(&mut self, elapsed: Span, progress: &Progress) {
        let mean = progress.delay_mean;
        let [before, last] = self.delays_before.unwrap_or([mean; 2]);
        self.delays_before = Some([last, mean]);
        // What differs from a straight line.
        let leap = (mean.saturating_sub(last)).abs_diff(last.saturating_sub(before));
        let leap = leap.min(LEAP_MAX) as f64;
        let within =
            progress.delay_mean.saturating_sub(progress.delay_min).clamp(0, LEAP_MAX as i64) as f64;
        // A plain mean at first, so that it does not begin with the belief that there is no jitter.
        self.steps_seen = (self.steps_seen + 1).min(STEPS_MEMORY);
        let gain = 1.0 / f64::from(self.steps_seen);
        self.steps[0] += gain * (leap - self.steps[0]);
        self.steps[1] += gain * (within - self.steps[1]);
        // Between reports that are far apart queues come and go as well.
        let size = if elapsed <= DENSE { leap } else { self.steps[0] };
        self.square += gain * (leap * size - self.square);
        self.jitter = self.mean_jitter().max(LEAPS_PER_MEAN * self.usual_leap());
    }

    /// The jitter if it is redrawn with every other report: no more than it is, where what a burst of ours adds may be
    /// taken for jitter.
    pub(super) fn mean_jitter(&self) -> f64 {
        (LEAPS_PER_MEAN * self.steps[0]).max(self.steps[1])
    }

    /// How far the delay leaps when it does. A jitter that is redrawn more seldom leaps seldom, by no less.
    fn usual_leap(&self) -> f64 {
        let mean = self.steps[0];
        let size = self.square / mean.max(1.0);
        // What leaps by less are bursts, and a few reports show nothing.
        if size < LEAP_MIN || self.steps_seen < STEPS_MEMORY {
            return mean;
        }
        (size / SIZES_PER_LEAP).clamp(mean, SELDOM * mean)
    }

    fn track_rate(&mut self, at: Time, rtt: Span) {
        let horizon = self.horizon(rtt);
        while self.samples.len() > SAMPLES_MAX
            || self.samples.get(1).is_some_and(|second| at.since(second.at) >= horizon)
        {
            self.samples.pop_front();
        }
        let (Some(oldest), Some(newest)) = (self.samples.front(), self.samples.back()) else {
            return;
        };
        let (arrived, lost) = (newest.bytes - oldest.bytes, newest.lost - oldest.lost);
        let span = at.since(oldest.at);
        if span >= RATE_SPAN_MIN / 2 {
            self.rate = arrived as f64 / span.as_secs_f64();
            self.lost = lost as f64 / (arrived + lost).max(1) as f64;
        }
        // Forgets by a thousandth with every report: half in three to four seconds of load.
        self.rate_best = (self.rate_best * 0.999).max(self.rate);
    }

    fn track_queue(&mut self, now: Time, at: Time) {
        let base = self.base[0].min(self.base[1]);
        let above = |delay: i64| delay.saturating_sub(base).clamp(0, DELAY_MAX) as f64;
        let since = at - self.span();
        let recent = || self.samples.iter().rev().take_while(move |sample| sample.at >= since);
        let least = recent().map(|sample| sample.delay_min).min();
        let most = recent().map(|sample| sample.delay_mean).max();
        let late = self.samples.iter().rev().take(LATELY).map(|sample| sample.delay_mean);
        let settled = now >= self.bursts_until;
        self.standing = least.map_or(0.0, above);
        let emptiest = self.samples.iter().map(|sample| sample.delay_min).min();
        self.emptiest = emptiest.map_or(0.0, above);
        self.lately = late.min().filter(|_| settled).map_or(0.0, above);
        let spread = most.map_or(0.0, above) - self.standing;
        // Forgets half in two thirds of a second of load.
        self.spread = (self.spread * 0.995).max(spread).min(SPREAD_MAX);
    }
}

/// Rates over less than this are noise of schedulers and radios.
const RATE_SPAN_MIN: Span = Span::millis(60);

/// How many times the mean jitter the queue is looked for: a held jitter of 8 ms has been redrawn
/// four times by then.
const JITTERS: f64 = 6.0;
const QUEUE_SPAN_MIN: Span = Span::millis(15);
const QUEUE_SPAN_MAX: Span = Span::millis(100);

/// Reports that the long-term loss is a mean of: two seconds of load.
const LOSS_MEMORY: f64 = 400.0;

/// With this loss, a link of 50 Mbit/s loses a packet in each quarter of a second.
const LOSSY: f64 = 0.001;

/// It stays so down to this, or what depends on it would change all the time.
const LOSSY_STILL: f64 = 0.000_3;

/// A longer queue may overflow, in microseconds.
const OVERFLOW: f64 = 15_000.0;

/// A shorter queue is a burst, or the noise of clocks.
const BUSY: f64 = 1_000.0;

/// Reports in a row that show a queue, if it is one and no jitter.
const LATELY: usize = 3;

/// For a normal jitter redrawn every other report, the mean above the minimum is 0.8 sigma and the
/// mean change of the change from report to report 0.66 sigma.
const LEAPS_PER_MEAN: f64 = 1.2;

/// Mean square by mean of what leaps as jitters do: 1.6 for a half-normal law, and somewhat more for the noise between
/// leaps.
const SIZES_PER_LEAP: f64 = 1.8;

/// What keeps coming is reported each 5 ms, and each 10 at a loss of every other report.
const DENSE: Span = Span::millis(12);

/// How much a report counts for the usual time between them, and the longest that is one: where each byte costs, ten a
/// second are sent.
const GAP_GAIN: f64 = 0.1;
const GAP_GAIN_MAX: f64 = 0.5;
const GAP_MAX: u64 = 100_000;

/// Smaller leaps are those of bursts, in microseconds.
const LEAP_MIN: f64 = 3_000.0;

/// A jitter that is redrawn in each 40 ms leaps with every fourth report or so; what leaps more seldom is none.
const SELDOM: f64 = 4.0;

/// Reports that the jitter is a mean of.
const STEPS_MEMORY: u32 = 50;

/// A leap beyond this is no jitter but a stall or a new route.
const LEAP_MAX: u64 = 50_000;

/// A wider spread is a queue, and no reason to have more on its way.
const SPREAD_MAX: f64 = 40_000.0;

/// How long after a failover a queue says nothing about a sender's probing.
const BURSTS: Span = Span::secs(1);

/// A path's own delay is the smallest of at least half this time.
const BASE_AGE: Span = Span::secs(20);

/// Longer queues are not told apart: 10 s, as of a suspended host.
const DELAY_MAX: i64 = 10_000_000;

/// A step of the peer's clock beyond this is one backwards.
const PAUSE_MAX: u32 = u32::MAX / 2;

const SAMPLES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jitter_is_as_large_however_seldom_it_is_redrawn() {
        let [often, seldom] = [2, 5].map(|held| jitter_of(|report| draw(report / held) as i64));
        assert!((5_000.0..9_000.0).contains(&often), "{often}");
        assert!((0.5..1.3).contains(&(seldom / often)), "{seldom} and {often}");
    }

    #[test]
    fn a_queue_that_grows_and_drains_is_no_jitter() {
        let saw = |report: u64| 100 * (report % 80).min(80 - report % 80) as i64;
        assert!(jitter_of(saw) < 500.0, "{}", jitter_of(saw));
    }

    /// What is found where reports each 5 ms show these delays, in microseconds.
    fn jitter_of(delay: impl Fn(u64) -> i64) -> f64 {
        let mut gauge = Gauge::new();
        for number in 0..400 {
            let (at, delay) = (number * 5_000, 10_000 + delay(number));
            let report = Progress::of(at, 30_000, delay, Span::millis(40));
            gauge.on_report(Time(at), &Progress { arrived: 30_000 * (number + 1), ..report });
        }
        gauge.jitter()
    }

    /// Evenly from 0 to 13 ms (Knuth's multiplicative hash).
    fn draw(number: u64) -> u64 {
        ((number.wrapping_mul(2_654_435_761) & 0xffff_ffff) * 13_000) >> 32
    }
}
