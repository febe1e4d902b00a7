//! What is known about one probe of an uplink.

use std::time::Duration;

use super::{Cause, Rules};

/// What is known about one probe.
#[derive(Clone, Debug)]
pub(in super::super) struct Probe {
    /// The longest time from one question to the next.
    pub(super) gap: Duration,
    /// When it was last heard, or when we began to ask.
    pub(super) heard_at: Duration,
    /// When the oldest question was sent that nothing has been heard since.
    pub(super) waiting_since: Option<Duration>,
    pub(super) failures: u32,
    pub(super) successes: u32,
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) last: Option<(Duration, Result<Duration, Cause>)>,
    pub(super) smoothed_rtt: Option<Duration>,
    pub(super) rttvar: Duration,
    pub(super) certificate_ends: Option<Duration>,
}

impl Probe {
    pub(super) fn new(now: Duration, gap: Duration) -> Self {
        Self {
            gap,
            heard_at: now,
            waiting_since: None,
            failures: 0,
            successes: 0,
            sent: 0,
            answered: 0,
            last: None,
            smoothed_rtt: None,
            rttvar: Duration::ZERO,
            certificate_ends: None,
        }
    }

    /// When the certificate of its target ends, if it has shown one.
    pub(in super::super) fn certificate_ends(&self) -> Option<Duration> {
        self.certificate_ends
    }

    /// Questions sent.
    pub(in super::super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Questions answered, late ones included.
    pub(in super::super) fn answered(&self) -> u64 {
        self.answered
    }

    /// The last result and its time: how long the answer took, or why there was none.
    pub(in super::super) fn last(&self) -> Option<(Duration, Result<Duration, Cause>)> {
        self.last
    }

    pub(super) fn begin(&mut self, now: Duration) {
        self.heard_at = now;
        self.waiting_since = None;
        self.failures = 0;
        self.successes = 0;
    }

    pub(super) fn on_answer(&mut self, now: Duration, rtt: Duration) {
        self.heard_at = now;
        self.waiting_since = None;
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        self.answered += 1;
        self.last = Some((now, Ok(rtt)));
        // RFC 6298, section 2.
        match self.smoothed_rtt {
            None => {
                self.smoothed_rtt = Some(rtt);
                self.rttvar = rtt / 2;
            }
            Some(smoothed) => {
                self.rttvar = (self.rttvar * 3 + smoothed.abs_diff(rtt)) / 4;
                self.smoothed_rtt = Some((smoothed * 7 + rtt) / 8);
            }
        }
    }

    pub(super) fn fail(&mut self, now: Duration, cause: Cause) {
        self.failures = self.failures.saturating_add(1);
        self.successes = 0;
        self.last = Some((now, Err(cause)));
    }

    pub(super) fn failure(&mut self, now: Duration, rules: &Rules) -> Option<Cause> {
        let silent = self.silent_at(rules).is_some_and(|at| now >= at);
        let refused = self.failures >= rules.fall.max(1);
        match self.last {
            Some((_, Err(cause))) if refused => Some(cause),
            _ if silent => {
                self.last = Some((now, Err(Cause::Silent)));
                Some(Cause::Silent)
            }
            _ => None,
        }
    }

    /// When an answer will be later than usual; none while nothing was asked.
    pub(super) fn missed_at(&self) -> Option<Duration> {
        let usual = self.smoothed_rtt.unwrap_or_default() + self.rttvar * 4;
        self.waiting_since.map(|_| self.heard_at + self.gap * 3 / 2 + usual)
    }

    /// When it is a failure without another answer; none while nothing was asked.
    pub(super) fn fails_at(&self, rules: &Rules) -> Option<Duration> {
        if self.failures >= rules.fall.max(1) {
            return Some(Duration::ZERO);
        }
        self.silent_at(rules)
    }

    /// When silence becomes a failure; none while nothing was asked.
    ///
    /// An outage may have begun just before the first question that was not answered, and one that
    /// ends a gap before the patience does must still be heard of. Counting from that question also
    /// keeps our own absence (a suspended host, a starved thread) from counting: whoever did not ask
    /// was not refused an answer.
    pub(super) fn silent_at(&self, rules: &Rules) -> Option<Duration> {
        let patience = self.patience(rules);
        let answer = self.smoothed_rtt.map_or(Duration::ZERO, |rtt| rtt + self.rttvar * 4);
        let asked = self.waiting_since? + patience.saturating_sub(self.gap) + answer;
        Some(asked.max(self.heard_at + patience))
    }

    fn patience(&self, rules: &Rules) -> Duration {
        let answer_takes = match self.smoothed_rtt {
            Some(smoothed) => smoothed * 2 + self.rttvar * 4,
            None => UNKNOWN_RTT_PATIENCE,
        };
        answer_takes.max(rules.interval * 3).max(rules.silence)
    }
}

/// How long the first answer of all may take: three times the initial RTT of RFC 9002, 6.2.2.
const UNKNOWN_RTT_PATIENCE: Duration = Duration::from_secs(1);
