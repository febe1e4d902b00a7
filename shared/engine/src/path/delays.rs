//! How long what is sent on a path lately took: a quantile of its delays.
//!
//! A mean tells where most of a transfer arrives first. Of a call or of what somebody types every packet counts, and
//! there a link whose delay hardly varies is better than one that is as quick on average: so those go where nine in
//! ten arrive soonest. (NetEq, WebRTC's jitter buffer, learns its target likewise from a quantile of about a second.)

use crate::time::{Span, Time};

/// The delays of the last second or so of a path that carries something; of a quiet one, of its last probes.
#[derive(Clone, Debug)]
pub(crate) struct Delays {
    /// Of single reports, in microseconds, the clocks' offset included.
    recent: [i32; DELAYS_MAX],
    len: u8,
    next: u8,
    noted_at: Time,
    late: Option<i32>,
}

impl Default for Delays {
    fn default() -> Self {
        Self { recent: [0; DELAYS_MAX], len: 0, next: 0, noted_at: Time::ZERO, late: None }
    }
}

impl Delays {
    /// Notes the mean delay of what a report tells of, in microseconds.
    pub(crate) fn note(&mut self, now: Time, delay: i32) {
        if self.len > 0 && now.since(self.noted_at) < EACH {
            return;
        }
        if now.since(self.noted_at) > RESTED {
            // What was measured under load says little of the time after it, and a probe each few seconds would take
            // minutes to say so.
            self.len = self.len.min(KEPT);
        }
        self.noted_at = now;
        self.recent[usize::from(self.next)] = delay;
        self.next = (self.next + 1) % DELAYS_MAX as u8;
        self.len = (self.len + 1).min(DELAYS_MAX as u8);
        let (mut known, len) = ([0; DELAYS_MAX], usize::from(self.len));
        for (back, delay) in known[..len].iter_mut().enumerate() {
            *delay = self.recent[(usize::from(self.next) + DELAYS_MAX - 1 - back) % DELAYS_MAX];
        }
        let rank = (len - 1) * LATE_PERCENT / 100;
        self.late = Some(*known[..len].select_nth_unstable(rank).1);
    }

    /// What nine in ten of them did not exceed, if anything is known.
    pub(crate) fn late(&self) -> Option<i64> {
        self.late.map(i64::from)
    }

    /// The path has become another one.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Delays that a quantile is of.
const DELAYS_MAX: usize = 48;

/// One is taken in so long: a report covers 5 ms of a load, and 20 ms of a call.
const EACH: Span = Span::millis(20);

/// After a rest of this length only so many of those before it count.
const RESTED: Span = Span::secs(1);
const KEPT: u8 = 3;

const LATE_PERCENT: usize = 90;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_delay_in_five_counts_and_one_in_twenty_does_not() {
        let late_if_each = |seldom: i64| {
            let mut delays = Delays::default();
            for number in 0..200 {
                let delay = if number % seldom == 0 { 30_000 } else { 10_000 + number };
                delays.note(Time(20_000 * number as u64), delay as i32);
            }
            delays.late().expect("known")
        };
        assert_eq!(late_if_each(5), 30_000);
        assert!(late_if_each(20) < 11_000);
    }

    #[test]
    fn what_is_longer_ago_is_forgotten() {
        let mut delays = Delays::default();
        assert_eq!(delays.late(), None);
        delays.note(Time(0), 50_000);
        assert_eq!(delays.late(), Some(50_000));
        for number in 1..=DELAYS_MAX as u64 {
            delays.note(Time(20_000 * number), -8_000);
        }
        assert_eq!(delays.late(), Some(-8_000));

        for probe in 1..=3 {
            assert_eq!(delays.late(), Some(-8_000));
            delays.note(Time(5_000_000 * probe), -9_000);
        }
        assert_eq!(delays.late(), Some(-9_000));
    }
}
