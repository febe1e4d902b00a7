//! How fast a path is sent to, and how much may be on its way there.
//!
//! The pace follows what arrives while the path is busy, steered by the queue that stands on it: a
//! few milliseconds of it keep the link busy, and everything beyond waits with us, where it is fair
//! and can take another path. Only a queue, or loss together with a queue, slows a path down; idle
//! time, jitter and what a radio loses leave it alone. The window is a cap: what the pace sends in
//! a round trip, and in the time by which the path's delays differ.

use super::{
    gauge::Gauge,
    memory::PathMemory,
    policer::{Loss, Policer},
    progress::Progress,
    proof::Proof,
    rival::{Look, Rival, Stance},
};
use crate::time::{Span, Time};

mod cause;
mod start;

/// The control of one path's bytes in flight.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    gauge: Gauge,
    policer: Policer,
    rival: Rival,
    /// Bytes that may be on their way.
    size: f64,
    /// Bytes a second to send; 0 before the first report.
    pace: f64,
    /// Bytes a second that the path carries, as far as is known.
    capacity: f64,
    /// By how much that grows in the next round trip, if nothing speaks against it.
    growth: f64,
    proof: Proof,
    /// Growing by doubling, until a queue shows.
    start: bool,
    /// Since when a queue has been seen in the start.
    start_queue: Option<Time>,
    /// Until then the start is hurried.
    hurry_until: Time,
    /// How much of late the window or the pace was what limited sending, from 0 to 1.
    limited: f64,
    refused: bool,
    reported_at: Time,
    cut_at: Time,
    queued_since: Option<Time>,
    /// Whether the size was set by hand, for an experiment.
    fixed: bool,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self {
            gauge: Gauge::new(),
            policer: Policer::default(),
            rival: Rival::default(),
            size: INITIAL as f64,
            pace: 0.0,
            capacity: 0.0,
            growth: GROWTH_MIN,
            proof: Proof::default(),
            start: true,
            start_queue: None,
            hurry_until: Time::ZERO,
            limited: 0.0,
            refused: false,
            reported_at: Time::ZERO,
            cut_at: Time::ZERO,
            queued_since: None,
            fixed: false,
        }
    }

    /// A window of so many bytes, whatever happens.
    pub(crate) fn fixed(bytes: u64) -> Self {
        Self { size: bytes as f64, fixed: true, ..Self::new() }
    }

    /// A window for a path of which something is remembered; somewhat less, for that was a while ago.
    pub(crate) fn recalled(memory: &PathMemory) -> Self {
        let [capacity, size] = [memory.capacity, memory.window].map(|it| RECALLED * it);
        let size = size.clamp(INITIAL as f64, SIZE_MAX);
        Self { size, capacity, pace: capacity, start: false, ..Self::new() }
    }

    /// What is worth remembering, if anything is known.
    pub(crate) fn memory(&self) -> Option<PathMemory> {
        let known = !self.start && !self.fixed && self.capacity > 0.0;
        known.then_some(PathMemory { capacity: self.capacity, window: self.size })
    }

    /// Bytes that may be on their way.
    pub(crate) fn size(&self) -> u64 {
        self.size as u64
    }

    /// Bytes a second that arrive.
    pub(crate) fn rate(&self) -> u64 {
        self.gauge.rate() as u64
    }

    /// Bytes a second that the path carries, as far as anything is known of it: before it was used, by how
    /// the first few datagrams came out of it, unless much more has arrived since. 0 if nothing is.
    pub(crate) fn carries(&self) -> f64 {
        let arrived = if self.gauge.is_disproved() { self.gauge.rate_best() } else { 0.0 };
        let seen = if self.start { arrived } else { self.capacity };
        self.gauge.sounded().max(seen)
    }

    /// The rate to send at, in bytes a second. Before the first report, and with a window set by
    /// hand, somewhat more than fills the window in a round trip.
    pub(crate) fn pace(&self, rtt_min: Span) -> u64 {
        if self.start && !self.fixed {
            return self.pace_of_start(rtt_min);
        }
        if self.pace > 0.0 && !self.fixed {
            return self.pace as u64;
        }
        (PACE_GAIN * self.size / (rtt_min + FEEDBACK_INTERVAL).as_secs_f64()) as u64
    }

    /// How long what is sent takes if there is no queue, clocks' offset included, in microseconds:
    /// nearly always no longer than this. None before the first report.
    pub(crate) fn delay_most(&self) -> Option<i64> {
        Some(self.gauge.base()? + (JITTERS_MOST * self.gauge.mean_jitter()) as i64)
    }

    /// The same at the least.
    pub(crate) fn delay_least(&self) -> Option<i64> {
        self.gauge.base()
    }

    /// Whether the path loses packets, or is late now and then, so that a copy elsewhere is worth something.
    pub(crate) fn is_troubled(&self) -> bool {
        self.is_lossy() || self.gauge.mean_jitter() > JITTER_TROUBLE
    }

    /// Whether the path loses packets as radios do, all the time.
    pub(crate) fn is_lossy(&self) -> bool {
        self.gauge.is_lossy()
    }

    /// Whether the window is what limits sending, and grows to what the path carries.
    pub(crate) fn is_starting(&self) -> bool {
        self.start && !self.fixed && self.limited > 0.5
    }

    /// Whether a queue stands on the path: it carries what it can.
    pub(crate) fn is_saturated(&self) -> bool {
        let target = self.target();
        self.gauge.standing() > 0.5 * target || self.gauge.lately() > target + self.gauge.jitter()
    }

    /// Notes that something could have been sent, and the window or the pace refused it.
    pub(crate) fn on_refused(&mut self) {
        self.refused = true;
    }

    /// Gives back memory: what was measured before a rest says nothing about the time after it.
    pub(crate) fn shrink(&mut self) {
        self.gauge.shrink();
    }

    /// The path has become another one: its delay, and what it carries, are to be learnt.
    pub(crate) fn on_new_route(&mut self) {
        self.gauge.on_new_route();
        self.queued_since = None;
        self.proof = Proof::default();
        self.start = true;
    }

    /// What another path had on its way is sent again on this one.
    pub(crate) fn on_failover(&mut self, now: Time) {
        self.gauge.on_failover(now);
        self.hurry_until = now + start::HURRY;
        if self.start && !self.fixed {
            self.size = self.size.max(2.0 * INITIAL as f64);
        }
    }

    /// Keeps most of the pace when the path returns from suspicion.
    pub(crate) fn on_return(&mut self) {
        if !self.fixed {
            self.size = (0.7 * self.size).max(FLOOR);
            self.pace *= 0.7;
            self.capacity *= 0.7;
        }
        self.start = false;
        self.gauge.forget();
    }

    /// Takes in what feedback says. Returns whether the path turns out to be longer than it was.
    pub(crate) fn on_feedback(&mut self, now: Time, progress: &Progress) -> bool {
        if now.since(self.reported_at) > IDLE {
            self.gauge.forget();
            self.limited = 0.0;
        }
        self.reported_at = now;
        let elapsed = self.gauge.on_report(now, progress);
        self.limited = 0.7 * self.limited + if self.refused { 0.3 } else { 0.0 };
        self.refused = false;
        if self.fixed {
            return false;
        }
        // Sparse reports come by the slow path as often as by the fast one, and each counts.
        let loop_time = if progress.sparse {
            (progress.rtt.min(progress.rtt_min * 2) + self.gauge.gap()).as_secs_f64()
        } else {
            (progress.rtt_min + FEEDBACK_INTERVAL).as_secs_f64()
        };
        if self.pace == 0.0 {
            self.pace = self.size / loop_time;
            self.capacity = self.pace;
        }
        self.leave_start(now, progress);
        self.heed_sounding();
        self.learn_capacity(elapsed, progress);
        self.hurry(now, loop_time, progress);
        self.obey_policer(now, progress);
        let wanted = self.wanted_pace(progress);
        let gain = (elapsed.0 as f64 / progress.rtt_min.0.max(1) as f64).min(0.5);
        self.pace += gain * (wanted - self.pace);
        match self.stance(now, progress) {
            Stance::Alone => {}
            Stance::Less => self.pace = self.pace.min(TRIAL * self.capacity),
            Stance::Contest(window) => {
                // What is not sent again, inner senders hear of: they fight for themselves.
                self.size = if progress.repairs { window.min(SIZE_MAX) } else { SIZE_MAX };
                self.pace = PACE_GAIN * self.size / progress.rtt.as_secs_f64().max(loop_time);
                return false;
            }
            Stance::Longer => {
                self.on_new_route();
                return true;
            }
        }
        self.cut(now, progress);
        let least = self.floor(now, progress);
        self.pace = self.pace.max(least / loop_time);
        let cover = (self.target() + self.gauge.spread()) / 1e6;
        // And one datagram, for what is on its way is whole ones: of four, the last would find no room.
        self.size = (self.pace * (loop_time + cover) + DATAGRAM).clamp(FLOOR, SIZE_MAX);
        self.pace = self.pace.min(SIZE_MAX / loop_time);
        self.review_base(now)
    }

    /// The queue that we want on the path, in microseconds.
    fn target(&self) -> f64 {
        TARGET + self.gauge.jitter()
    }

    /// Keeps account of what the path carries. That is known while something waits on it; otherwise
    /// it carries no less than what arrives, and more if it is the pace that sets the limit.
    fn learn_capacity(&mut self, elapsed: Span, progress: &Progress) {
        let rate = self.gauge.rate();
        let horizon = self.gauge.horizon(progress.rtt);
        let gain = (elapsed.0 as f64 / horizon.0 as f64).min(0.5);
        let clear = self.gauge.standing() > CLEAR * self.target();
        let busy = self.gauge.is_busy() && (clear || self.limited > 0.3);
        if busy || rate > self.capacity {
            let learnt = self.capacity + gain * (rate - self.capacity);
            let floor = if clear { 0.0 } else { self.proof.carried().min(self.capacity) };
            self.capacity = learnt.max(floor);
        }
        let empty = self.gauge.standing() < 0.5 * self.target();
        self.proof.on_report(elapsed, rate, empty, clear.then_some(self.capacity));
        if busy {
            let after = if clear { CORRECTED / 10.0 } else { CORRECTED };
            let share = (elapsed.as_secs_f64() / after).min(1.0);
            self.gauge.correct_sounding(self.capacity, share);
        }
        self.proof.on_load(elapsed, (busy && !empty).then_some(rate), self.limited > 0.5);
        let short = self.proof.is_short(self.capacity, self.gauge.sounded(), self.start);
        let (least, most) = match short {
            true => (GROWTH_MAX, 1.0),
            false if self.proof.has_fallen(self.capacity) => (GROWTH_BACK, 0.5),
            false => (GROWTH_MIN, 0.5),
        };
        if self.gauge.standing() >= most * self.target() {
            self.growth = (self.growth * (1.0 - gain)).max(least);
            return;
        }
        self.growth = self.growth.max(least);
        let steady = self.gauge.jitter() < UNSTEADY;
        let full = !self.start && steady && self.proof.was_full(self.capacity);
        if self.limited <= 0.5 || full {
            return;
        }
        let (growth, most) = if self.start {
            (GROWTH_START, 2.0 * rate)
        } else {
            (self.growth, AHEAD_STEADY * rate)
        };
        self.capacity = (self.capacity * (1.0 + gain * growth)).min(most.max(self.capacity));
        self.growth = (self.growth * (1.0 + 0.5 * gain)).min(GROWTH_MAX);
    }

    /// How to send, given what others may send on the link.
    fn stance(&mut self, now: Time, progress: &Progress) -> Stance {
        let look = Look {
            queue: self.gauge.standing(),
            target: self.target(),
            rtt: progress.rtt,
            lost: progress.lost > 0 || progress.marked,
            limited: self.limited > 0.5,
            rate: self.gauge.rate(),
            carries: if self.is_undisturbed() && self.gauge.sounding_bounds() {
                self.gauge.sounded()
            } else {
                0.0
            },
        };
        let stance = self.rival.stance(now, &look);
        self.gauge.keep_base(self.rival.is_there());
        if let Stance::Contest(_) = stance {
            // Our part of what the link carries is all that can be known.
            self.capacity = self.gauge.rate();
            self.start = false;
        }
        stance
    }

    /// Loss without a queue is a policer's, perhaps.
    fn obey_policer(&mut self, now: Time, progress: &Progress) {
        let loss = Loss {
            arrived: progress.bytes,
            lost: progress.lost,
            paced: self.limited > 0.5 && self.gauge.standing() <= self.target(),
            horizon: self.gauge.horizon(progress.rtt),
        };
        if let Some(most) = self.policer.ceiling(now, &loss) {
            self.capacity = self.capacity.min(most);
            self.pace = self.pace.min(most);
            self.start = false;
        }
    }

    fn wanted_pace(&self, progress: &Progress) -> f64 {
        let target = self.target();
        let queue = self.queue_in_sight(target);
        // What is measured is as old as a round trip and the span of the measurement: a correction
        // spread over a shorter time would swing.
        let settling = SETTLING * (progress.rtt_min + self.gauge.span()).0 as f64;
        self.capacity * (1.0 + ((target - queue) / settling).clamp(DRAIN - 1.0, FILL))
    }

    /// The standing queue; or, if it is clearly no jitter, what the last reports alone say.
    fn queue_in_sight(&self, target: f64) -> f64 {
        let lately = self.gauge.lately();
        let clear = lately > 2.0 * target + 4.0 * self.gauge.jitter();
        if clear { self.gauge.standing().max(lately) } else { self.gauge.standing() }
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

    /// Loss counts only together with a queue: what a radio loses is no reason to slow down.
    fn cut(&mut self, now: Time, progress: &Progress) {
        let caused = self.gauge.lost() > 0.02 && self.gauge.standing() > self.target();
        if (progress.marked || caused) && now.since(self.cut_at) > progress.rtt {
            self.capacity *= 0.85;
            self.start = false;
            self.cut_at = now;
        }
    }

    /// Bytes that may be on their way in any case. A path that was good is not squeezed to nothing by
    /// a disturbed measurement, unless a queue has been standing for two round trips.
    fn floor(&mut self, now: Time, progress: &Progress) -> f64 {
        let remembered = 0.3 * self.gauge.rate_best() * progress.rtt_min.as_secs_f64();
        if self.gauge.standing() <= 2.0 * self.target() {
            self.queued_since = None;
            return FLOOR.max(remembered);
        }
        let since = *self.queued_since.get_or_insert(now);
        let stands = now.since(since) > progress.rtt * 2;
        if stands { FLOOR } else { FLOOR.max(remembered) }
    }
}

/// 32 full datagrams: three times QUIC's start (RFC 9002, 7.2), since no more than one start is made
/// per path and session.
const INITIAL: u64 = 32 * 1400;

/// What is believed of what is remembered.
const RECALLED: f64 = 0.9;

/// A full datagram.
const DATAGRAM: f64 = 1400.0;

/// Four full datagrams: less can't be measured.
const FLOOR: f64 = 4.0 * DATAGRAM;

/// 4 Gbit/s at 120 ms, and what the ring of sent datagrams can hold.
const SIZE_MAX: f64 = 60e6;

/// How many times the mean jitter a delay exceeds now and then: for a normal jitter's positive half, the mean is 0.8
/// sigma, and one draw in a hundred is beyond 2.6 sigma.
const JITTERS_MOST: f64 = 3.0;

/// Half of what a player of speech keeps back, in microseconds.
const JITTER_TROUBLE: f64 = 10_000.0;

/// With more jitter, in microseconds, a queue in between may be none.
const UNSTEADY: f64 = 2_000.0;

/// A queue so many times its target is no jitter that comes and goes slowly.
const CLEAR: f64 = 2.0;

/// Seconds of a queue after which what is measured counts in the place of what the first datagrams showed.
const CORRECTED: f64 = 2.0;

/// What is sent to see whether a queue goes, as a share of what the path carries.
const TRIAL: f64 = 0.7;

/// The queue that we want on a path without jitter, in microseconds.
const TARGET: f64 = 4_000.0;

/// Round trips, as they are measured, in which the queue is brought to its target.
const SETTLING: f64 = 2.5;

/// The least share of a path's capacity that is sent while a queue drains.
const DRAIN: f64 = 0.5;

/// The most above its capacity that a path without a queue is sent to.
const FILL: f64 = 0.1;

/// By how much a path's capacity is taken to be larger after each round trip in which the pace was
/// the limit and no queue came of it: at first, later, at first where it carried clearly more in the last half minute,
/// and before the first queue.
const GROWTH_MIN: f64 = 0.02;
const GROWTH_MAX: f64 = 0.25;
const GROWTH_BACK: f64 = 0.1;
const GROWTH_START: f64 = 1.0;

/// How far ahead of what arrives the capacity may grow outside of the start. A sender that comes in bursts is held up by the pace now and then although
/// less arrives on average than the path carries.
const AHEAD_STEADY: f64 = 1.25;

/// Above 1, or the first round trip would not be enough to fill the window.
const PACE_GAIN: f64 = 1.25;

/// The peer's usual interval.
const FEEDBACK_INTERVAL: Span = Span::millis(5);

/// After a pause of this length, rate and queue are measured anew.
const IDLE: Span = Span::millis(500);

/// How long a delay stays, with the window at its floor, until it is taken for the path's own.
const REBASE_AFTER: Span = Span::secs(1);

#[cfg(test)]
mod tests;
