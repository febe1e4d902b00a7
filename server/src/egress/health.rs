//! Decides whether an uplink works, from what its probes find.
//!
//! Any answer proves that the uplink carries packets both ways, so one probe that is answered is
//! enough, however many others are not, unless the configuration asks for a quorum of several. An
//! uplink fails when so many probes have failed that the quorum can't be met. A probe fails when it
//! is refused [`fall`](Rules::fall) times in a row, or met by silence for longer than the slowest
//! answer could take. An answer that comes late is latency, not loss: it ends the silence and lengthens
//! the patience. The loss of the link itself is believed at once.
//!
//! An uplink that failed comes back after [`rise`](Rules::rise) answers in a row; one that keeps
//! failing must answer without a break for longer and longer, so that a flapping line moves
//! nobody's flows.

mod probe;

use std::time::Duration;

pub(super) use probe::Probe;

/// How many results change a verdict, and how often they come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rules {
    /// Three of them are a silence.
    pub(super) interval: Duration,
    /// What is shorter is no silence.
    pub(super) silence: Duration,
    /// Answers in a row that an uplink needs to come back.
    pub(super) rise: u32,
    /// Refusals in a row that a probe takes for a failure.
    pub(super) fall: u32,
    /// Probes that must work; at least one, unless there are none.
    pub(super) quorum: usize,
}

/// The verdict on an uplink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Nothing was heard yet, and it isn't time to give up.
    Unknown,
    /// It works.
    Up,
    /// It does not.
    Down,
}

/// Why a verdict is what it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// A probe was answered.
    Answered,
    /// Too few probes were answered in time.
    Silent,
    /// The targets refuse the connection.
    Refused,
    /// The web server answers with this status.
    Status(u16),
    /// The web server's answer does not hold what it should.
    Body,
    /// The answer did not come to an end in time.
    Slow,
    /// What answers does not speak HTTP.
    NotHttp,
    /// The name server answers with this error (RFC 1035, section 4.1.1).
    NameServer(u16),
    /// The target's name has no address that the uplink could reach.
    Unresolved,
    /// The target's certificate is past its end.
    CertificateExpired,
    /// The target's certificate is not valid yet: it is new, or a clock is wrong.
    CertificateNotYetValid,
    /// The target's certificate is for another name.
    CertificateOfAnother,
    /// The target's certificate is of an authority that isn't trusted.
    CertificateUntrusted,
    /// No authority is known that certificates could be checked with.
    NoAuthorities,
    /// What answers does not speak TLS as we do.
    Tls,
    /// The questions can't be sent, or a router says that they can't arrive.
    Unreachable,
    /// The interface is gone, set down, or has no carrier.
    LinkDown,
    /// The interface carries packets, and there are no probes.
    LinkUp,
}

/// A change of verdict.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Transition {
    /// The verdict before.
    pub(super) from: State,
    /// The verdict after.
    pub(super) to: State,
    /// Why.
    pub(super) cause: Cause,
}

/// What is known about one uplink. Times are since boot and never go backwards.
#[derive(Debug)]
pub(super) struct Health {
    rules: Rules,
    state: State,
    cause: Cause,
    since: Duration,
    link: Link,
    probes: Vec<Probe>,
    /// Since when it has answered without a break, while it is down.
    good_since: Option<Duration>,
    /// Failures that count for the hold-down.
    flaps: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Link {
    Up,
    Down,
}

impl Health {
    /// An uplink with probes that ask at least so often, whose link is down until [`on_link_up`](Self::on_link_up).
    pub(super) fn new(now: Duration, rules: Rules, gaps: impl Iterator<Item = Duration>) -> Self {
        Self {
            rules,
            state: State::Unknown,
            cause: Cause::LinkDown,
            since: now,
            link: Link::Down,
            probes: gaps.map(|gap| Probe::new(now, gap)).collect(),
            good_since: None,
            flaps: 0,
        }
    }

    /// It was down, by what was known before.
    pub(super) fn begin_down(&mut self) {
        self.state = State::Down;
    }

    /// The verdict.
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Why.
    pub(super) fn cause(&self) -> Cause {
        self.cause
    }

    /// Since when the verdict stands.
    pub(super) fn since(&self) -> Duration {
        self.since
    }

    /// What is known about each probe, in the order of the configuration.
    pub(super) fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// The interface carries packets. Silence counts from here.
    pub(super) fn on_link_up(&mut self, now: Duration) -> Option<Transition> {
        if self.link == Link::Down {
            self.link = Link::Up;
            for probe in &mut self.probes {
                probe.begin(now);
            }
        }
        self.handle_timeout(now)
    }

    /// The interface is gone, or carries nothing.
    pub(super) fn on_link_down(&mut self, now: Duration) -> Option<Transition> {
        self.link = Link::Down;
        self.handle_timeout(now)
    }

    /// A probe was sent.
    pub(super) fn on_sent(&mut self, now: Duration, probe: usize) {
        if let Some(probe) = self.probes.get_mut(probe) {
            probe.sent += 1;
            probe.waiting_since.get_or_insert(now);
        }
    }

    /// A probe was answered, `rtt` after it was sent.
    pub(super) fn on_answer(
        &mut self,
        now: Duration,
        probe: usize,
        rtt: Duration,
    ) -> Option<Transition> {
        if let Some(probe) = self.probes.get_mut(probe) {
            probe.on_answer(now, rtt);
        }
        self.handle_timeout(now)
    }

    /// A probe was refused by its target, which is an answer, but not the one asked for.
    pub(super) fn on_refusal(
        &mut self,
        now: Duration,
        probe: usize,
        cause: Cause,
    ) -> Option<Transition> {
        if let Some(probe) = self.probes.get_mut(probe) {
            probe.heard_at = now;
            probe.waiting_since = None;
            probe.fail(now, cause);
        }
        self.handle_timeout(now)
    }

    /// The target of a probe was heard: it is not silent, whatever its answer will be.
    pub(super) fn on_heard(&mut self, now: Duration, probe: usize) {
        if let Some(probe) = self.probes.get_mut(probe) {
            probe.heard_at = now;
            probe.waiting_since = None;
        }
    }

    /// The certificate of a probe's target is good for so long.
    pub(super) fn on_certificate(&mut self, now: Duration, probe: usize, left: Duration) {
        if let Some(probe) = self.probes.get_mut(probe) {
            probe.certificate_ends = Some(now + left);
        }
    }

    /// A probe could not be sent, or a router refused it.
    pub(super) fn on_unreachable(&mut self, now: Duration, probe: usize) -> Option<Transition> {
        if let Some(probe) = self.probes.get_mut(probe) {
            probe.fail(now, Cause::Unreachable);
        }
        self.handle_timeout(now)
    }

    /// Draws conclusions from the time that has passed.
    pub(super) fn handle_timeout(&mut self, now: Duration) -> Option<Transition> {
        let verdict = self.verdict(now);
        match (self.state, verdict) {
            (State::Unknown | State::Up, Verdict::Failing(cause)) => {
                if self.state == State::Up {
                    self.count_flap(now);
                }
                self.good_since = None;
                self.change(now, State::Down, cause)
            }
            (State::Unknown, Verdict::Good(cause)) => self.change(now, State::Up, cause),
            (State::Down, Verdict::Failing(cause)) => {
                self.cause = cause;
                self.good_since = None;
                None
            }
            (State::Down, Verdict::Good(cause)) => {
                let good_since = *self.good_since.get_or_insert(now);
                if self.has_risen() && now >= good_since + self.hold_down() {
                    self.good_since = None;
                    return self.change(now, State::Up, cause);
                }
                None
            }
            (State::Up, Verdict::Good(_)) | (_, Verdict::Open) => None,
        }
    }

    /// Whether so many probes have missed an answer that the quorum is in question, without the
    /// verdict for that yet.
    ///
    /// A target that all uplinks share falls silent on all of them at nearly the same moment. Who
    /// would move from the first that is declared down to the next one looks here before.
    pub(super) fn is_doubtful(&self, now: Duration) -> bool {
        self.doubtful_at().is_some_and(|at| now >= at)
    }

    /// When it becomes doubtful if nothing is heard until then.
    pub(super) fn doubtful_at(&self) -> Option<Duration> {
        let mut missed: Vec<Duration> = self.probes.iter().filter_map(Probe::missed_at).collect();
        missed.sort_unstable();
        missed.get(self.fatal() - 1).copied()
    }

    /// When one probe will have missed an answer.
    pub(super) fn missed_at(&self, probe: usize) -> Option<Duration> {
        self.probes.get(probe)?.missed_at()
    }

    /// Whether one probe has failed.
    pub(super) fn has_failed(&self, probe: usize, now: Duration) -> bool {
        self.fails_at(probe).is_some_and(|at| now >= at)
    }

    /// When one probe fails without another answer; none while nothing was asked.
    pub(super) fn fails_at(&self, probe: usize) -> Option<Duration> {
        self.probes.get(probe)?.fails_at(&self.rules)
    }

    /// Whether one probe was answered often enough to be trusted.
    pub(super) fn rises(&self, probe: usize) -> bool {
        let risen = |probe: &Probe| probe.successes >= self.rules.rise.max(1);
        self.probes.get(probe).is_some_and(risen)
    }

    /// When silence becomes a failure, of an uplink that works.
    pub(super) fn silent_at(&self) -> Option<Duration> {
        let silent = self.probes.iter().filter_map(|probe| probe.silent_at(&self.rules));
        let mut silent: Vec<Duration> = silent.collect();
        silent.sort_unstable();
        silent.get(self.fatal() - 1).copied().filter(|_| self.state == State::Up)
    }

    /// The traffic of others is answered: the line is not silent, whatever the targets are.
    pub(super) fn on_passing(&mut self, now: Duration) {
        (0..self.probes.len()).for_each(|probe| self.on_heard(now, probe));
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), which may be past already; none while
    /// nothing changes by waiting.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        if self.state == State::Down && self.good_since.is_none() {
            return None;
        }
        let fails_at = self.probes.iter().filter_map(|probe| probe.fails_at(&self.rules));
        let mut fails_at: Vec<Duration> = fails_at.collect();
        fails_at.sort_unstable();
        // With this one the quorum is gone.
        let fails_at = fails_at.get(self.fatal() - 1).copied();
        let release = self.good_since.filter(|_| self.has_risen()).map(|at| at + self.hold_down());
        fails_at.into_iter().chain(release).min()
    }

    fn has_risen(&self) -> bool {
        let risen = self.probes.iter().filter(|probe| probe.successes >= self.rules.rise.max(1));
        self.probes.is_empty() || risen.count() >= self.quorum()
    }

    fn quorum(&self) -> usize {
        self.rules.quorum.clamp(1, self.probes.len().max(1))
    }

    /// How many probes must fail for the uplink to fail.
    fn fatal(&self) -> usize {
        self.probes.len().max(1) + 1 - self.quorum()
    }

    fn verdict(&mut self, now: Duration) -> Verdict {
        if self.link == Link::Down {
            return Verdict::Failing(Cause::LinkDown);
        }
        if self.probes.is_empty() {
            return Verdict::Good(Cause::LinkUp);
        }
        let (fatal, quorum) = (self.fatal(), self.quorum());
        let mut failing = 0;
        let mut answered = 0;
        let mut cause = None;
        for probe in &mut self.probes {
            let failure = probe.failure(now, &self.rules);
            if failure == Some(Cause::Silent) {
                probe.successes = 0;
            }
            failing += usize::from(failure.is_some());
            answered += usize::from(failure.is_none() && probe.successes > 0);
            // Silence says most: the others at least said something.
            if cause.is_none() || failure == Some(Cause::Silent) {
                cause = failure;
            }
        }
        match cause {
            Some(cause) if failing >= fatal => Verdict::Failing(cause),
            _ if answered >= quorum => Verdict::Good(Cause::Answered),
            _ => Verdict::Open,
        }
    }

    fn change(&mut self, now: Duration, to: State, cause: Cause) -> Option<Transition> {
        let from = std::mem::replace(&mut self.state, to);
        self.since = now;
        self.cause = cause;
        Some(Transition { from, to, cause })
    }

    fn count_flap(&mut self, now: Duration) {
        let forgiven = now.saturating_sub(self.since).as_secs() / FORGIVEN_AFTER.as_secs();
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        self.flaps = (self.flaps.saturating_sub(forgiven) + 1).min(FLAPS_MAX);
    }

    /// How long it must answer without a break before it is trusted.
    fn hold_down(&self) -> Duration {
        match self.flaps {
            0 | 1 => Duration::ZERO,
            flaps => HOLD_DOWN_MAX.min(HOLD_DOWN * 2_u32.pow(flaps - 2)),
        }
    }
}

enum Verdict {
    /// Too many probes have failed, or the link is down.
    Failing(Cause),
    /// Enough probes answer.
    Good(Cause),
    /// Nothing failed and nothing answered.
    Open,
}

/// What an uplink must answer without a break after its second failure; doubled by each one more.
const HOLD_DOWN: Duration = Duration::from_secs(10);
/// The longest hold-down: five minutes, as Envoy's outlier ejection has.
const HOLD_DOWN_MAX: Duration = Duration::from_secs(300);
/// So long in good health forgives one failure.
const FORGIVEN_AFTER: Duration = Duration::from_secs(300);
/// More failures lengthen nothing: 10 s doubled eight times is past the longest hold-down.
const FLAPS_MAX: u32 = 10;

#[cfg(test)]
mod tests;
