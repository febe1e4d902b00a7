//! When an echo probe asks next: at its own pace, and sooner while an answer is missing.
//!
//! The end of an outage shows in the next answer, so who suspects one asks often: what was over
//! before anything has moved is then seen in time. And where some answers are missing, more questions
//! tell sooner how many.

use std::time::Duration;

use crate::uplink_config::ECHO_PAUSE_MIN as HURRIED;

/// The next question of one probe.
#[derive(Debug)]
pub(super) struct Pace {
    next_at: Duration,
    last_sent: Option<(Duration, u64)>,
    answered: u64,
    /// What an answer takes at most as a rule.
    usual: Duration,
    /// Since when an answer is missing that later ones may still follow.
    missing_since: Option<Duration>,
    /// Until when twice as many questions are asked.
    hurries_until: Duration,
}

impl Pace {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            next_at: now,
            last_sent: None,
            answered: 0,
            usual: UNKNOWN,
            missing_since: None,
            hurries_until: Duration::ZERO,
        }
    }

    /// When to ask next.
    pub(super) fn next_at(&self) -> Duration {
        match self.last_sent {
            Some((sent_at, number)) if number > self.answered && self.may_hurry(sent_at) => {
                // The first question after a good one is given time for its answer.
                let wait = if self.missing_since.is_some() { HURRIED } else { self.usual };
                self.next_at.min(sent_at + wait.max(HURRIED))
            }
            _ => self.next_at,
        }
    }

    /// A question was sent; without more to say the next one follows after `pause`.
    pub(super) fn on_sent(&mut self, now: Duration, number: u64, pause: Duration) {
        if let Some((sent_at, before)) = self.last_sent
            && before > self.answered
            && now >= sent_at + self.usual.min(pause)
        {
            self.missing_since.get_or_insert(sent_at);
        }
        self.last_sent = Some((now, number));
        let pause = if now < self.hurries_until { (pause / 2).max(HURRIED) } else { pause };
        self.next_at = now + pause;
    }

    /// A question could not be sent.
    pub(super) fn on_failed(&mut self, now: Duration, pause: Duration) {
        self.last_sent = None;
        self.next_at = now + pause;
    }

    /// A question was answered.
    pub(super) fn on_answer(&mut self, now: Duration, number: u64, rtt: Duration) {
        // An answer is missing: chance, or the beginning of a loss?
        if number > self.answered + 1 && self.answered > 0 {
            self.hurries_until = now + HURRY;
        }
        self.answered = number.max(self.answered);
        self.usual = rtt * 2 + LATENESS;
        self.missing_since = None;
    }

    /// Whether it is not yet clear that nothing comes any more.
    fn may_hurry(&self, now: Duration) -> bool {
        self.answered > 0 && self.missing_since.is_none_or(|since| now < since + HURRY)
    }
}

/// How long an answer may be missing before it is no news any more.
const HURRY: Duration = Duration::from_millis(500);
/// A busy machine reads an answer so much later.
const LATENESS: Duration = Duration::from_millis(10);
/// What the first answer takes.
const UNKNOWN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_all_is_well_the_pace_is_its_own() {
        let mut pace = Pace::new(ms(0));
        for number in 1..=10 {
            let at = pace.next_at();
            assert_eq!(at, ms(50 * (number - 1)));
            pace.on_sent(at, number, ms(50));
            pace.on_answer(at + ms(5), number, ms(5));
        }
    }

    #[test]
    fn a_missing_answer_is_asked_for_often_but_not_for_ever() {
        let mut pace = Pace::new(ms(0));
        pace.on_sent(ms(0), 1, ms(50));
        pace.on_answer(ms(1), 1, ms(1));
        let mut times = Vec::new();
        for number in 2..=70 {
            let at = pace.next_at();
            times.push(at);
            pace.on_sent(at, number, ms(50));
        }

        assert_eq!(times[0], ms(50));
        assert_eq!(times[1], ms(62), "twice the usual and a little");
        assert_eq!(times[2], ms(72));
        let hurried = times.windows(2).filter(|pair| pair[1] - pair[0] < ms(50)).count();
        assert!((40..=52).contains(&hurried), "{hurried}");
        assert_eq!(times[68] - times[67], ms(50), "a dead line is not flooded");
        pace.on_answer(times[68] + ms(1), 70, ms(1));
        assert_eq!(pace.next_at(), times[68] + ms(50));
    }

    #[test]
    fn a_gap_among_answers_doubles_the_questions_for_a_while() {
        let mut pace = Pace::new(ms(0));
        pace.on_sent(ms(0), 1, ms(20));
        pace.on_answer(ms(1), 1, ms(1));
        pace.on_sent(ms(20), 2, ms(20));
        pace.on_sent(ms(32), 3, ms(20));
        pace.on_answer(ms(33), 3, ms(1));

        pace.on_sent(ms(52), 4, ms(20));
        pace.on_answer(ms(53), 4, ms(1));
        assert_eq!(pace.next_at(), ms(62));
        pace.on_sent(ms(600), 5, ms(20));
        pace.on_answer(ms(601), 5, ms(1));
        assert_eq!(pace.next_at(), ms(620));
    }

    #[test]
    fn nobody_hurries_before_there_was_an_answer() {
        let mut pace = Pace::new(ms(0));
        for number in 1..=5 {
            let at = pace.next_at();
            assert_eq!(at, ms(50 * (number - 1)));
            pace.on_sent(at, number, ms(50));
        }
    }

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }
}
