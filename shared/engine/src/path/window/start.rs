//! The start: growing by doubling, until a queue shows.

use super::{CLEAR, FEEDBACK_INTERVAL, GROWTH_MIN, INITIAL, Window};
use crate::{
    path::progress::Progress,
    time::{Span, Time},
};

impl Window {
    /// The rate to send at before the first queue, in bytes a second: a windowful in a fraction of a round trip. The
    /// window bounds what a burst can do; spread over a round trip it would only look like a queue to its sender.
    /// But no faster, beyond an initial window's pace, than what is believed of the path: a queue is heard of a round
    /// trip late, and a call beside the load waits in it.
    pub(super) fn pace_of_start(&self, rtt_min: Span) -> u64 {
        let pace_of = |size| START_PACE * size / (rtt_min + FEEDBACK_INTERVAL).as_secs_f64();
        let shown = self.gauge.sounded();
        let most = if !self.gauge.sounding_bounds() {
            f64::INFINITY
        } else if self.is_undisturbed() {
            (CAUTION * shown).max(AHEAD_ARRIVES * self.gauge.rate())
        } else {
            shown.max(AHEAD_SHOWN * self.capacity)
        };
        pace_of(self.size).min(most.max(pace_of(INITIAL as f64))) as u64
    }

    /// Whether the first datagrams have shown what the path carries, and no jitter pressed them together.
    pub(super) fn is_undisturbed(&self) -> bool {
        !self.gauge.is_sounding() && self.gauge.mean_jitter() < UNDISTURBED
    }

    /// Bounds the start by what the first datagrams have shown that the path carries; and where jitter did not
    /// disturb them, begins with half of that. An inner sender doubles as well: where our window is what it waits for,
    /// the rest takes a farther path, whose delay ends that sender's start (HyStart).
    pub(super) fn heed_sounding(&mut self) {
        if !self.start {
            return;
        }
        self.gauge.check_sounding();
        self.capacity = self.capacity.min(self.gauge.credible());
        if self.is_undisturbed() {
            self.capacity = self.capacity.max(BELIEVED * self.gauge.sounded());
            self.pace = self.pace.max(self.capacity);
        }
    }

    /// The first queue ends the start: at once where as much arrives as we took the path to carry, else if
    /// it stays for a round trip, for what jitter adds to the first few packets looks the same.
    pub(super) fn leave_start(&mut self, now: Time, progress: &Progress) {
        let queued = self.gauge.standing() > 0.8 * self.target() && !self.gauge.is_sounding();
        if !self.start || !queued {
            self.start_queue = None;
            return;
        }
        let since = *self.start_queue.get_or_insert(now);
        let stays = now.since(since) >= progress.rtt.max(STAYS_MIN);
        let clear = self.gauge.standing() > CLEAR * self.target();
        let rate = self.gauge.rate();
        let credible = stays || clear || rate > 0.5 * self.gauge.sounded();
        if stays && self.limited > 0.5 || credible && rate > 0.5 * self.capacity {
            self.start = false;
            self.capacity = self.capacity.min(self.gauge.rate().max(0.5 * self.capacity));
            if self.is_undisturbed() {
                self.growth = GROWTH_MIN;
                self.pace = self.pace.min(self.capacity);
            }
        }
    }

    /// After a failover the whole load is there at once: the window doubles in each round trip until a queue
    /// shows.
    pub(super) fn hurry(&mut self, now: Time, loop_time: f64, progress: &Progress) {
        if !self.start || now >= self.hurry_until {
            return;
        }
        if self.gauge.standing() > 0.8 * self.target() {
            self.start = false;
            self.capacity = self.capacity.min(AHEAD / 2.0 * self.gauge.rate());
            self.pace = self.capacity;
            return;
        }
        if self.limited <= 0.3 {
            return;
        }
        let most = AHEAD * self.gauge.rate();
        let grown = ((self.size + progress.bytes as f64) / loop_time).min(most);
        self.capacity = self.capacity.max(grown);
        self.pace = self.capacity;
    }
}

/// Before the first queue a windowful is sent in a fraction of a round trip.
const START_PACE: f64 = 4.0;

/// The share of what was shown that a path without jitter is sent in its start, and by how much more than arrives where that
/// is more. With the first at one and the second at 1.25 of the capacity, a call beside eight flows that begin waits 20-26 ms (p99 of its
/// first ten seconds, 15 ms with these; simulator).
const CAUTION: f64 = 0.9;
const AHEAD_ARRIVES: f64 = 1.1;

/// How much faster than what is taken for its capacity a path with jitter is sent to if that is more than it has shown.
const AHEAD_SHOWN: f64 = 1.25;

/// How much of what the first datagrams have shown is believed. With a quarter CUBIC gets less over long links (mean of
/// 160 drawn situations 0.903, with a half 0.912, without this rule 0.887; simulator).
const BELIEVED: f64 = 0.5;

/// Mean jitter, in microseconds, beyond which the first datagrams may have been pressed together.
const UNDISTURBED: f64 = 3_000.0;

/// Jitter of a radio may stay for so long and be no queue.
const STAYS_MIN: Span = Span::millis(40);

/// How far ahead of what has arrived a hurried start may be: as much as it grows until the rate that comes
/// of it is measured.
const AHEAD: f64 = 3.0;

/// How long a failover's load is taken to wait for a path that is not known yet.
pub(super) const HURRY: Span = Span::secs(1);
