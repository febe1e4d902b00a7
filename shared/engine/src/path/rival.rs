//! Somebody else's bulk on the same link: whoever only wants a short queue would be left with nothing.
//!
//! A queue of our own goes when less is sent. One that stays is kept up by another sender, one who fills
//! the link until it drops. Against such a one the window grows and shrinks as CUBIC's (RFC 9438), for
//! that is what the other most likely is. Each time after it shrank, and now and then, it is tried
//! whether the queue goes after all. The other way round, where less arrives than once did and some queue
//! stands, it is tried whether the link has become narrower, or is shared.

use crate::time::{Span, Time};

/// What is believed about other senders on a path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rival {
    belief: Belief,
    /// The most that arrived, older times counting less, and as of when.
    best: f64,
    seen_at: Time,
    /// What the link was known to carry when it was last ours alone.
    known: f64,
    /// Since when some queue has stood, and the window was the limit.
    busy_since: Option<Time>,
    tried_at: Time,
    /// What was left of the queue in the last trials.
    left: [f64; 3],
}

#[derive(Clone, Copy, Debug, Default)]
enum Belief {
    /// The link is ours.
    #[default]
    Alone,
    /// A long queue has stood since then; this is how long it was.
    Doubt { since: Time, queue: f64 },
    /// Less is sent until then, to see whether the queue is ours. Its least length so far.
    Trial { until: Time, left: f64, cubic: Option<Cubic> },
    /// There is a rival. The longest queue that is fought for.
    Contest { cubic: Cubic, longest: f64 },
}

/// What is seen of a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// The standing queue, and the one that we want, in microseconds.
    pub(super) queue: f64,
    pub(super) target: f64,
    pub(super) rtt: Span,
    /// Whether something was lost or marked, and whether the window was what limited sending.
    pub(super) lost: bool,
    pub(super) limited: bool,
    /// What arrives, and what the path carries as far as is known, in bytes a second.
    pub(super) rate: f64,
    pub(super) carries: f64,
}

/// How to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stance {
    /// As if alone.
    Alone,
    /// The same, but less, for a trial.
    Less,
    /// With a window of so many bytes.
    Contest(f64),
    /// As if alone, and the path's own delay is longer than it was.
    Longer,
}

impl Rival {
    /// Whether the path's delay without a queue can't be learnt at the moment.
    pub(super) fn is_there(&self) -> bool {
        matches!(self.belief, Belief::Contest { .. } | Belief::Trial { cubic: Some(_), .. })
    }

    /// Whether less is sent, to see whether the link is shared.
    pub(super) fn is_trying(&self) -> bool {
        matches!(self.belief, Belief::Trial { cubic: None, .. })
    }

    /// Takes in what a report says.
    pub(super) fn stance(&mut self, now: Time, look: &Look) -> Stance {
        let age = now.since(self.seen_at).as_secs_f64() / MEMORY.as_secs_f64();
        self.seen_at = now;
        self.best = (self.best * (1.0 - age).max(0.0)).max(look.rate);
        let busy = look.limited && look.queue >= 0.5 * look.target;
        self.busy_since = self.busy_since.filter(|_| busy).or(busy.then_some(now));
        self.belief = match self.belief {
            Belief::Alone => self.when_alone(now, look),
            Belief::Doubt { since, queue } => self.when_in_doubt(now, since, queue, look),
            Belief::Contest { cubic, longest } => self.when_contested(now, cubic, longest, look),
            Belief::Trial { until, left, cubic } => {
                let left = left.min(look.queue);
                let gone = left < if cubic.is_some() { 2.0 } else { 0.5 } * look.target;
                if gone {
                    Belief::Alone
                } else if now < until {
                    Belief::Trial { until, left, cubic }
                } else {
                    self.left = [self.left[1], self.left[2], left];
                    let same = self.left.iter().all(|it| (it - left).abs() < SAME);
                    if same && cubic.is_some() {
                        (self.belief, self.left) = (Belief::Alone, [0.0; 3]);
                        return Stance::Longer;
                    }
                    self.contest(now, cubic, look)
                }
            }
        };
        match self.belief {
            Belief::Contest { cubic, .. } => Stance::Contest(cubic.window),
            Belief::Trial { cubic: None, .. } => Stance::Less,
            Belief::Alone | Belief::Doubt { .. } | Belief::Trial { .. } => Stance::Alone,
        }
    }

    fn when_alone(&mut self, now: Time, look: &Look) -> Belief {
        if look.queue > 2.0 * look.target {
            return Belief::Doubt { since: now, queue: look.queue };
        }
        self.known = look.carries;
        let busy = self.busy_since.is_some_and(|since| now.since(since) > BUSY);
        if busy && look.rate < FALLEN * self.best && now.since(self.tried_at) >= TRIALS {
            self.tried_at = now;
            let until = now + (look.rtt * 3).max(TRIAL_MIN);
            return Belief::Trial { until, left: f64::MAX, cubic: None };
        }
        Belief::Alone
    }

    fn when_in_doubt(&mut self, now: Time, since: Time, queue: f64, look: &Look) -> Belief {
        if look.queue < STAYS * queue {
            Belief::Alone
        } else if now.since(since) >= patience(look) {
            self.contest(now, None, look)
        } else {
            Belief::Doubt { since, queue }
        }
    }

    fn contest(&mut self, now: Time, cubic: Option<Cubic>, look: &Look) -> Belief {
        let rtt = look.rtt.as_secs_f64();
        let cubic = match cubic {
            Some(cubic) => cubic.resumed(now),
            None => {
                self.tried_at = now;
                Cubic::new(now, self.best.max(self.known) / 2.0 * rtt)
            }
        };
        Belief::Contest { cubic, longest: 2.0 * look.queue + LONGER }
    }

    fn when_contested(&mut self, now: Time, mut cubic: Cubic, most: f64, look: &Look) -> Belief {
        if look.queue < 0.5 * look.target {
            return Belief::Alone;
        }
        let look = &Look { limited: look.limited && look.queue < most, ..*look };
        let cut = cubic.update(now, look);
        let tried = now.since(self.tried_at);
        if cut && tried >= TRIALS || tried >= TRIALS_RARE {
            self.tried_at = now;
            return Belief::Trial {
                until: now + patience(look),
                left: f64::MAX,
                cubic: Some(cubic),
            };
        }
        Belief::Contest { cubic, longest: most }
    }
}

/// The time in which a queue of our own would go.
fn patience(look: &Look) -> Span {
    (look.rtt * 6).max(PATIENCE_MIN)
}

/// A window that grows with the time since the last loss.
#[derive(Clone, Copy, Debug)]
struct Cubic {
    window: f64,
    /// The window before it was last reduced, and when that was.
    most: f64,
    cut_at: Time,
    /// The time up to now in which the window did not limit, or was not ours to grow.
    idle: Span,
    updated_at: Time,
}

impl Cubic {
    fn new(now: Time, most: f64) -> Self {
        let most = most.max(WINDOW_MIN);
        Self { window: BETA * most, most, cut_at: now, idle: Span::ZERO, updated_at: now }
    }

    /// Takes in what a report says. Returns whether the window was reduced.
    fn update(&mut self, now: Time, look: &Look) -> bool {
        if !look.limited {
            self.idle += now.since(self.updated_at);
        }
        self.updated_at = now;
        if look.lost && now.since(self.cut_at) > look.rtt {
            *self = Self::new(now, self.window);
            return true;
        }
        if look.limited {
            let age = Span(now.since(self.cut_at).0.saturating_sub(self.idle.0)).as_secs_f64();
            let rise = (self.most * (1.0 - BETA) / (C * FULL)).cbrt();
            let aim = C * FULL * (age - rise).powi(3) + self.most;
            // Where that is slow, as fast as Reno would be (4.3).
            let reno = BETA * self.most + FULL * RENO * age / look.rtt.as_secs_f64().max(1e-3);
            self.window = aim.max(reno).clamp(WINDOW_MIN, 1.5 * self.window);
        }
        false
    }

    /// The same after a time that does not count.
    fn resumed(self, now: Time) -> Self {
        Self { idle: self.idle + now.since(self.updated_at), updated_at: now, ..self }
    }
}

/// RFC 9438, 4.1 and 4.6: segments a second cubed, and what is kept at a loss.
const C: f64 = 0.4;
const BETA: f64 = 0.7;

/// RFC 9438, 4.3: what a sender who gives up three tenths adds in a round trip to be Reno's equal.
const RENO: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// A full datagram, and the least window, in bytes.
const FULL: f64 = 1400.0;
const WINDOW_MIN: f64 = 4.0 * FULL;

/// What is left of a queue that does not go.
const STAYS: f64 = 0.7;

/// The least time in which a queue of our own would go.
const PATIENCE_MIN: Span = Span::millis(500);

/// What may be added to a rival's queue, in microseconds: if there is none after all, not much is lost.
const LONGER: f64 = 20_000.0;

/// How long the most that arrived is remembered.
const MEMORY: Span = Span::secs(30);

/// With some queue for so long, and less than this share of what once arrived, it is tried why.
const BUSY: Span = Span::secs(1);
const FALLEN: f64 = 0.7;
const TRIAL_MIN: Span = Span::millis(200);

/// Queues that differ by less, in microseconds, are the same, and no sender's.
const SAME: f64 = 1_500.0;

/// How often it is tried whether the rival is still there: after a loss, and without one.
const TRIALS: Span = Span::secs(5);
const TRIALS_RARE: Span = Span::secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fight_begins_with_half_of_what_the_link_is_known_to_carry() {
        let window = |carries| {
            let mut rival = Rival::default();
            rival.stance(at(0), &Look { carries, rate: 1e6, ..look(1_000.0, false) });
            let fought = (1..1000).find_map(|step| {
                match rival.stance(at(step), &Look { rate: 1e6, ..look(60_000.0, false) }) {
                    Stance::Contest(window) => Some(window),
                    _ => None,
                }
            });
            fought.expect("somebody else's queue")
        };
        assert!(window(0.0) < 0.6 * 1e6 * 0.1, "{}", window(0.0));
        assert!(window(10e6) > 5.0 * window(0.0), "{}", window(10e6));
    }

    #[test]
    fn a_queue_that_goes_is_ours() {
        let mut rival = Rival::default();
        let queues = (0..300).map(|step| 60_000.0 - f64::from(step) * 200.0);
        for (step, queue) in queues.enumerate() {
            assert_eq!(rival.stance(at(step), &look(queue, false)), Stance::Alone);
        }
    }

    #[test]
    fn a_queue_that_stays_is_contested_until_it_goes() {
        let mut rival = Rival::default();
        let mut windows = Vec::new();
        for step in 0..1000 {
            windows.push(window(&rival.stance(at(step), &look(60_000.0, false))));
        }
        let first = windows.iter().position(Option::is_some);
        assert_eq!(first, Some(120), "after six round trips");
        assert!(rival.is_there());
        assert!(windows[200] < windows[999]);

        assert_eq!(rival.stance(at(1001), &look(1_000.0, false)), Stance::Alone);
        assert_eq!(rival.stance(at(1002), &look(60_000.0, false)), Stance::Alone, "in doubt again");
    }

    #[test]
    fn after_a_loss_it_is_tried_whether_the_queue_goes() {
        let mut rival = Rival::default();
        for step in 0..1200 {
            rival.stance(at(step), &look(60_000.0, false));
        }
        assert_eq!(rival.stance(at(1200), &look(60_000.0, true)), Stance::Alone, "a trial");
        let back = (1201..2000)
            .find(|&step| window(&rival.stance(at(step), &look(60_000.0, false))).is_some());
        assert_eq!(back, Some(1320));
    }

    #[test]
    fn a_share_that_dwindles_under_a_short_queue_is_looked_into() {
        let mut rival = Rival::default();
        let dwindling =
            |step: usize| Look { rate: if step < 100 { 5e6 } else { 2e6 }, ..look(4_000.0, false) };
        let stances: Vec<_> =
            (0..2000).map(|step| rival.stance(at(step), &dwindling(step))).collect();
        let less = stances.iter().position(|it| *it == Stance::Less).expect("a trial");
        let contest = stances.iter().position(|it| window(it).is_some()).expect("a contest");
        assert!(less < contest && contest - less <= 61, "{less} {contest}");
    }

    #[test]
    fn a_queue_that_never_changes_is_a_longer_route() {
        let mut rival = Rival::default();
        let longer = (0..20_000).find(|&step| {
            let stance = rival.stance(at(step), &look(60_000.0, false));
            stance == Stance::Longer
        });
        assert!(longer.is_some_and(|step| step < 60 * 200), "{longer:?}");
    }

    fn window(stance: &Stance) -> Option<u64> {
        match stance {
            Stance::Contest(window) => Some(*window as u64),
            Stance::Alone | Stance::Less | Stance::Longer => None,
        }
    }

    fn at(step: usize) -> Time {
        Time(step as u64 * 5_000)
    }

    fn look(queue: f64, lost: bool) -> Look {
        let rtt = Span::millis(100);
        Look { queue, target: 4_000.0, rtt, lost, limited: true, rate: 5e6, carries: 0.0 }
    }
}
