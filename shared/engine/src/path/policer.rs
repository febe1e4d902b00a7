//! Loss without a queue: does the link drop what exceeds a rate, or does it lose by itself?
//!
//! A policer drops and never queues, so delay says nothing of it; a radio loses at any rate. Only a
//! trial tells them apart: send clearly less for a moment. If the loss goes, the path was policed,
//! and its rate is known; if it stays, it is no reason to send less ("only back off for loss that
//! you caused").

use crate::time::{Span, Time};

/// What is believed about the loss on a path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Policer {
    belief: Belief,
    tally: Tally,
    /// Whether the tally before this one showed too much loss.
    again: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Belief {
    /// There is no loss to speak of.
    #[default]
    Clear,
    /// Less is sent, to see what becomes of the loss.
    Trial { began: Time, lost: f64, rate: f64 },
    /// What exceeds this rate, in bytes a second, is dropped.
    Policed { rate: f64, until: Time },
    /// This share is lost whatever is sent.
    Radio { lost: f64, until: Time },
}

/// What became of what was sent, since a time.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    since: Option<Time>,
    arrived: u64,
    lost: u64,
}

/// What a report says to a policer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    /// Bytes that arrived, and bytes found lost.
    pub(super) arrived: u64,
    pub(super) lost: u64,
    /// Whether the pace was the limit, and no queue stood: only then a loss may be a policer's.
    pub(super) paced: bool,
    /// A round trip, at least.
    pub(super) horizon: Span,
}

impl Policer {
    /// The rate beyond which packets are dropped, if one is believed in.
    pub(super) fn rate(&self) -> Option<f64> {
        match self.belief {
            Belief::Policed { rate, .. } => Some(rate),
            Belief::Clear | Belief::Radio { .. } | Belief::Trial { .. } => None,
        }
    }

    /// Whether less is sent for a trial.
    pub(super) fn is_trying(&self) -> bool {
        matches!(self.belief, Belief::Trial { .. })
    }

    /// The most to send, in bytes a second.
    pub(super) fn ceiling(&mut self, now: Time, loss: &Loss) -> Option<f64> {
        match self.belief {
            Belief::Trial { began, lost, rate } => {
                // What was sent before is not part of it.
                if now.since(began) >= loss.horizon {
                    self.tally.add(now, loss);
                }
                let needed = (LOSSES as f64 * FULL / lost) as u64;
                if now.since(began) < TRIAL_MAX && self.tally.settled(now, loss, needed).is_none() {
                    return Some(TRIAL * rate);
                }
                self.belief = if self.tally.share() < lost / 2.0 {
                    Belief::Policed { rate: POLICED * rate, until: now + KEPT }
                } else {
                    Belief::Radio { lost, until: now + KEPT_LONG }
                };
                self.tally = Tally::default();
                None
            }
            Belief::Policed { rate, until } if now < until => {
                self.watch(now, 0.0, loss);
                Some(rate)
            }
            Belief::Radio { lost: usual, until } if now < until => {
                self.watch(now, usual, loss);
                None
            }
            Belief::Clear | Belief::Policed { .. } | Belief::Radio { .. } => {
                self.belief = Belief::Clear;
                self.watch(now, 0.0, loss);
                None
            }
        }
    }

    /// Begins a trial when clearly more than usual is lost, twice in a row.
    fn watch(&mut self, now: Time, usual: f64, loss: &Loss) {
        if !loss.paced {
            (self.tally, self.again) = (Tally::default(), false);
            return;
        }
        self.tally.add(now, loss);
        let needed = (LOSSES as f64 * FULL / (usual + LOSS_MIN)) as u64;
        let Some(rate) = self.tally.settled(now, loss, needed) else { return };
        let lost = self.tally.share();
        self.tally = Tally::default();
        let much = lost >= usual + LOSS_MIN;
        // What a path swallowed in a moment of darkness was no policer's.
        if much && self.again {
            self.belief = Belief::Trial { began: now, lost, rate };
        }
        self.again = much;
    }
}

impl Tally {
    fn add(&mut self, now: Time, loss: &Loss) {
        self.since.get_or_insert(now);
        self.arrived += loss.arrived;
        self.lost += loss.lost;
    }

    /// The rate that arrived, in bytes a second, once this much was sent and two round trips went by.
    fn settled(&self, now: Time, loss: &Loss, bytes: u64) -> Option<f64> {
        let elapsed = now.since(self.since?);
        let enough = elapsed >= loss.horizon * 2 && self.arrived + self.lost >= bytes;
        enough.then(|| self.arrived as f64 / elapsed.as_secs_f64())
    }

    fn share(&self) -> f64 {
        self.lost as f64 / (self.arrived + self.lost).max(1) as f64
    }
}

/// Less is no burden: what is lost is sent again.
const LOSS_MIN: f64 = 0.03;

/// Losses that are expected, at least, before their number means something.
const LOSSES: u64 = 12;

/// Bytes of a full datagram.
const FULL: f64 = 1400.0;

/// How long a trial may take, where little is sent.
const TRIAL_MAX: Span = Span::secs(2);

/// What is sent in a trial, as a share of what arrives.
const TRIAL: f64 = 0.85;

/// A little less than what a policer lets through, so that its bucket refills.
const POLICED: f64 = 0.98;

/// How long a policer is believed in before more is tried.
const KEPT: Span = Span::secs(3);

/// How long a loss is taken for the path's own.
const KEPT_LONG: Span = Span::secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policed_path_is_held_to_its_rate_and_a_lossy_one_is_not() {
        let policed = settled(true, |pace| (pace - 1e6).max(0.0) / pace);
        assert!((0.95e6..1e6).contains(&policed), "{policed}");
        assert_eq!(settled(true, |_| 0.08), f64::MAX);
    }

    #[test]
    fn little_loss_is_ignored_and_that_of_a_sender_who_is_not_held_back() {
        assert_eq!(settled(true, |_| 0.02), f64::MAX);
        assert_eq!(settled(false, |_| 0.08), f64::MAX);
    }

    #[test]
    fn a_moment_of_darkness_says_nothing() {
        let mut policer = Policer::default();
        for step in 0..400 {
            let lost = if step == 97 { 140_000 } else { 0 };
            let loss = Loss { arrived: 10_000, lost, paced: true, horizon: HORIZON };
            assert_eq!(policer.ceiling(Time(step * 5_000), &loss), None);
        }
    }

    /// The ceiling two seconds after a sender has begun to send 2 MB/s over a path that loses this
    /// share of what is sent.
    fn settled(paced: bool, share: impl Fn(f64) -> f64) -> f64 {
        let mut policer = Policer::default();
        let (mut pace, mut before, mut last) = (2e6, 2e6, None);
        for step in 0..400 {
            // What was sent a while ago shows now.
            let lost = share(before);
            let loss = Loss {
                arrived: (before * (1.0 - lost) / 200.0) as u64,
                lost: (before * lost / 200.0) as u64,
                paced,
                horizon: HORIZON,
            };
            last = policer.ceiling(Time(step * 5_000), &loss);
            (before, pace) = (pace, last.unwrap_or(2e6).min(2e6));
        }
        last.unwrap_or(f64::MAX)
    }

    const HORIZON: Span = Span::millis(60);
}
