//! How good an uplink is for a class of traffic, from the answers to one of its probes.
//!
//! Delay and jitter are looked at over a little more than half a second (with a question each 20 ms;
//! with rarer ones over as many questions), and more than half of it must be bad, and the bad part no
//! shorter than [`span`]: a change that stays is known within some 300 ms, and a disturbance of a
//! quarter of a second, which would be over before anything has moved, is not enough. A heavy loss is
//! found by a cumulative sum (Page, "Continuous inspection schemes", 1954), a small one among the
//! last thousand questions. An uplink is good again when some seconds were, by a margin, so that one
//! that stands at a limit does not move anybody twice.

use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::time::Duration;

use super::mos::mos;
use crate::limits::{Limits, QUESTIONS_MAX, percent, questions_for, span};

/// A limit that is broken, and by what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Breach {
    /// Answers take too long, or don't come when those before did. The delay of one way.
    Latency(Duration),
    /// Answers take now longer, now shorter, by so much.
    Jitter(Duration),
    /// Too many questions are lost, of a thousand.
    Loss(u32),
    /// Calls sound bad: the mean opinion score, in hundredths.
    Mos(u32),
}

impl Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency(delay) => write!(f, "latency {} ms", delay.as_millis()),
            Self::Jitter(jitter) => write!(f, "jitter {} ms", jitter.as_millis()),
            Self::Loss(thousandths) => {
                write!(f, "loss {}%", percent(f64::from(*thousandths) / 1000.0))
            }
            Self::Mos(hundredths) => write!(f, "MOS {:.1}", f64::from(*hundredths) / 100.0),
        }
    }
}

/// The last questions of one probe, and what became of them.
#[derive(Clone, Debug)]
pub(super) struct Quality {
    /// Time from one question to the next.
    interval: Duration,
    questions: VecDeque<Question>,
}

#[derive(Clone, Copy, Debug)]
struct Question {
    number: u64,
    sent_at: Duration,
    rtt: Option<Duration>,
}

/// A question and what is known of it at some moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Asked {
    at: Duration,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Answered(Duration),
    /// Answers usually come sooner.
    Overdue,
    /// Later ones were answered, and half of the time until it would be overdue is over.
    Lost,
}

impl Quality {
    /// Of a probe that asks so often.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, questions: VecDeque::new() }
    }

    /// A question was sent. Numbers ascend; where they begin anew, it is another line.
    pub(super) fn on_sent(&mut self, now: Duration, number: u64) {
        if self.questions.back().is_some_and(|last| last.number >= number) {
            self.questions.clear();
        }
        if self.questions.len() == QUESTIONS_MAX {
            self.questions.pop_front();
        }
        self.questions.push_back(Question { number, sent_at: now, rtt: None });
    }

    /// A question was answered, so long after it was sent.
    pub(super) fn on_answer(&mut self, number: u64, rtt: Duration) {
        let place = self.questions.binary_search_by_key(&number, |question| question.number);
        if let Ok(place) = place {
            self.questions[place].rtt = Some(rtt);
        }
    }

    /// Forgets what was before that.
    pub(super) fn forget(&mut self, before: Duration) {
        self.questions.retain(|question| question.sent_at >= before);
    }

    /// Passes over the questions since the last answer: their target says nothing of the line.
    pub(super) fn forget_unanswered(&mut self) {
        let answered = self.questions.iter().rposition(|question| question.rtt.is_some());
        self.questions.truncate(answered.map_or(0, |last| last + 1));
    }

    /// The limit that is broken.
    pub(super) fn breach(&self, now: Duration, limits: &Limits) -> Option<Breach> {
        let asked = self.asked(now);
        self.breach_of(now, &asked, limits)
            .or_else(|| small_loss(&asked, limits.loss?, span(self.interval)))
    }

    /// The limit that is broken at this very moment.
    pub(super) fn breach_now(&self, now: Duration, limits: &Limits) -> Option<Breach> {
        self.breach_of(now, &self.asked(now), limits)
    }

    fn breach_of(&self, now: Duration, asked: &[Asked], limits: &Limits) -> Option<Breach> {
        let span = span(self.interval);
        let (recent, longer) = (last(asked, span * 2), last(asked, span * 4));
        let slow = limits.latency.and_then(|limit| slowness(recent, now, limit, span));
        slow.map(Breach::Latency)
            .or_else(|| Some(Breach::Jitter(unsteadiness(recent, limits.jitter?, span)?)))
            .or_else(|| heavy_loss(longer, limits.loss?, span))
            .or_else(|| bad_sound(recent, longer, limits.mos?, span))
    }

    /// Whether so long a time keeps the limits with something to spare; the time of the last
    /// [`QUESTIONS_MAX`] questions, if that is shorter.
    pub(super) fn is_clean(&self, now: Duration, limits: &Limits, time: Duration) -> bool {
        let time = time.max(span(self.interval) * 2);
        let asked = self.asked(now);
        let asked = last(&asked, time);
        let since = now.saturating_sub(time);
        let whole = self.questions.front().is_some_and(|it| it.sent_at <= since + time / 10);
        if asked.len() < ASKED_MIN || !whole && self.questions.len() < QUESTIONS_MAX {
            return false;
        }
        let lost = lost(asked) as f64 / asked.len() as f64;
        let delay = median(asked.iter().filter_map(|it| it.rtt())).unwrap_or(Duration::MAX) / 2;
        let jitter = median(steps(asked).map(|(_, step)| step)).unwrap_or_default();
        limits.loss.is_none_or(|limit| lost <= limit / 2.0)
            && limits.latency.is_none_or(|limit| delay <= limit * 4 / 5)
            && limits.jitter.is_none_or(|limit| jitter <= limit * 4 / 5)
            && limits.mos.is_none_or(|limit| mos(delay, lost) >= limit + MOS_MARGIN)
    }

    /// What answers take at most as a rule: twice what they took lately.
    fn usual(&self) -> Duration {
        let lately = self.questions.iter().rev().filter_map(|it| it.rtt).take(LATELY);
        median(lately).map_or(UNKNOWN, |rtt| rtt * 2 + LATENESS)
    }

    /// The questions of which anything is known, the oldest first.
    fn asked(&self, now: Duration) -> Vec<Asked> {
        let due = self.usual();
        let last_answered = self.questions.iter().rposition(|it| it.rtt.is_some());
        let asked = |(place, question): (usize, &Question)| {
            let fate = match question.rtt {
                Some(rtt) => Fate::Answered(rtt),
                // Few lines let answers overtake each other, and then not by much.
                None if last_answered.is_some_and(|last| last > place) => {
                    if now < question.sent_at + due / 2 {
                        return None;
                    }
                    Fate::Lost
                }
                None if now < question.sent_at + due => return None,
                None => Fate::Overdue,
            };
            Some(Asked { at: question.sent_at, fate })
        };
        self.questions.iter().enumerate().filter_map(asked).collect()
    }
}

/// Those of the last time that anything is known of.
fn last(asked: &[Asked], time: Duration) -> &[Asked] {
    let since = asked.last().map_or(Duration::ZERO, |last| last.at.saturating_sub(time));
    &asked[asked.partition_point(|it| it.at < since)..]
}

impl Asked {
    fn rtt(&self) -> Option<Duration> {
        match self.fate {
            Fate::Answered(rtt) => Some(rtt),
            Fate::Overdue | Fate::Lost => None,
        }
    }
}

/// The delay of one way, if more than half of the questions took longer than the limit, or are
/// overdue behind one that did.
fn slowness(recent: &[Asked], now: Duration, limit: Duration, span: Duration) -> Option<Duration> {
    let took = |it: &Asked| match it.fate {
        Fate::Answered(rtt) => Some(rtt),
        Fate::Overdue => Some(now.saturating_sub(it.at)),
        Fate::Lost => None,
    };
    let too_long = |it: &&Asked| took(it).is_some_and(|time| time > limit * 2);
    let longest = recent.iter().filter(too_long).filter_map(took).max()?;
    let slow = recent.iter().filter(|it| it.fate == Fate::Overdue || too_long(it));
    let times: Vec<Duration> = slow.map(|it| it.at).collect();
    is_most(&times, recent.len(), span).then_some(longest / 2)
}

/// The usual step from one round trip to the next, if more than half are above the limit.
fn unsteadiness(recent: &[Asked], limit: Duration, span: Duration) -> Option<Duration> {
    let large: Vec<(Duration, Duration)> = steps(recent).filter(|(_, it)| *it > limit).collect();
    let times: Vec<Duration> = large.iter().map(|(at, _)| *at).collect();
    let usual = median(large.iter().map(|(_, step)| *step))?;
    is_most(&times, recent.len(), span).then_some(usual)
}

/// A loss that is so far above the limit that a few questions show it.
fn heavy_loss(longer: &[Asked], limit: f64, span: Duration) -> Option<Breach> {
    let heavy = HEAVY_LOSS.max(limit * 2.0).min(0.9);
    let by_loss = (heavy / limit).ln();
    let by_answer = ((1.0 - heavy) / (1.0 - limit)).ln();
    let mut sum = 0.0;
    let mut first = None;
    for it in longer {
        match it.fate {
            Fate::Answered(_) => sum += by_answer,
            Fate::Lost => {
                sum += by_loss;
                let first = *first.get_or_insert(it.at);
                if sum >= CERTAIN && it.at >= first + span {
                    let since: Vec<Asked> =
                        longer.iter().filter(|it| it.at >= first).copied().collect();
                    return Some(loss(&since));
                }
            }
            Fate::Overdue => {}
        }
        if sum <= 0.0 {
            sum = 0.0;
            first = None;
        }
    }
    None
}

/// A loss above the limit that only many questions show: by more than two and a half standard
/// deviations of chance.
fn small_loss(all: &[Asked], limit: f64, span: Duration) -> Option<Breach> {
    let expected = all.len() as f64 * limit;
    let chance = (expected * (1.0 - limit)).sqrt();
    let enough = all.len() >= questions_for(limit) * 4 / 5;
    let more = lost(all) as f64 > expected + 2.5 * chance;
    (enough && more && is_spread(all, span)).then(|| loss(all))
}

/// How a call sounds, if that is worse than the limit.
fn bad_sound(recent: &[Asked], longer: &[Asked], limit: f64, span: Duration) -> Option<Breach> {
    // An answer that is overdue is at least as late as that.
    let delay = median(recent.iter().filter_map(Asked::rtt))? / 2;
    let fraction =
        if is_spread(longer, span) { lost(longer) as f64 / longer.len() as f64 } else { 0.0 };
    let score = mos(delay, fraction);
    (recent.len() >= ASKED_MIN && score < limit).then_some(Breach::Mos((score * 100.0) as u32))
}

/// Whether these are more than half of so many, and not of one short moment.
fn is_most(times: &[Duration], of: usize, span: Duration) -> bool {
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return false };
    times.len() * 2 > of && *last >= *first + span
}

/// Whether the lost questions are farther apart than a short outage lasts.
fn is_spread(asked: &[Asked], span: Duration) -> bool {
    let mut lost = asked.iter().filter(|it| it.fate == Fate::Lost).map(|it| it.at);
    match (lost.next(), lost.next_back()) {
        (Some(first), Some(last)) => last >= first + span,
        _ => false,
    }
}

fn loss(asked: &[Asked]) -> Breach {
    Breach::Loss((lost(asked) * 1000 / asked.len().max(1)) as u32)
}

fn lost(asked: &[Asked]) -> usize {
    asked.iter().filter(|it| it.fate == Fate::Lost).count()
}

/// From each answer to the next, with the time of the later question.
fn steps(asked: &[Asked]) -> impl Iterator<Item = (Duration, Duration)> {
    let answered: Vec<_> = asked.iter().filter_map(|it| Some((it.at, it.rtt()?))).collect();
    let steps: Vec<_> =
        answered.windows(2).map(|pair| (pair[1].0, pair[0].1.abs_diff(pair[1].1))).collect();
    steps.into_iter()
}

fn median(times: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// Fewer say nothing.
const ASKED_MIN: usize = 10;
/// So many answers show what is usual.
const LATELY: usize = 128;
/// A busy machine reads an answer so much later.
const LATENESS: Duration = Duration::from_millis(20);
/// What the first answer takes at most.
const UNKNOWN: Duration = Duration::from_secs(1);
/// So great a loss is to be known within half a second.
const HEAVY_LOSS: f64 = 0.2;
/// The logarithm of how much likelier a heavy loss must be than one at the limit: at half of the
/// limit, chance reaches it once in some hours.
const CERTAIN: f64 = 10.0;
/// What a call must sound better than the limit for the uplink to be good again.
const MOS_MARGIN: f64 = 0.3;

#[cfg(test)]
mod tests;
