//! The sender's one timer, which waits for the first of three things.

use super::ProbeKind;
use super::Retransmission;
use super::Sender;
use super::recovery::State;
use crate::flow::tcp::rtt::TIMER_MIN;

/// What the sender waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    pub(super) kind: Kind,
    pub(super) at: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// The tail loss probe.
    Probe,
    /// The end of the time by which segments may be reordered.
    Reordering,
    /// The retransmission timeout.
    Retransmission,
}

impl Sender {
    /// Runs the timer if it is due.
    pub(crate) fn handle_timeout(&mut self, now: u64) {
        let Some(timer) = self.timer.filter(|timer| timer.at <= now) else { return };
        self.timer = None;
        if self.board.len() == 0 {
            return;
        }
        match timer.kind {
            Kind::Probe if self.probe.is_none() => self.probe_is_due = true,
            Kind::Probe => self.arm_retransmission(now),
            Kind::Reordering => self.on_reordering_timeout(now),
            Kind::Retransmission => self.on_retransmission_timeout(now),
        }
    }

    /// Arms the timer after data was sent for the first time.
    pub(super) fn arm_after_sending(&mut self, now: u64, was_idle: bool) {
        let probes = self.timer.is_some_and(|timer| timer.kind == Kind::Probe);
        if was_idle || probes {
            self.arm_retransmission(now);
        }
        let timeout = self.timeout_of_first();
        self.arm_probe(now, timeout);
    }

    /// Arms the timer after an acknowledgment that made progress.
    pub(super) fn arm_after_progress(&mut self, now: u64) {
        if self.board.len() == 0 {
            self.timer = None;
            return;
        }
        if !self.arm_probe(now, now + self.rtt.timeout()) {
            self.arm_retransmission(now);
        }
    }

    pub(super) fn arm_reordering(&mut self, now: u64, wait: u64) {
        self.timer = Some(Timer { kind: Kind::Reordering, at: now + wait + TIMER_MIN });
    }

    pub(super) fn arm_retransmission(&mut self, now: u64) {
        let replaces = self.timer.is_some_and(|timer| timer.kind != Kind::Retransmission);
        // The other timers stood in for this one, which counts from the first segment's sending.
        let at =
            if replaces { self.timeout_of_first().max(now + 1) } else { now + self.rtt.timeout() };
        self.timer = Some(Timer { kind: Kind::Retransmission, at });
    }

    /// Arms the probe, not later than `latest`; returns whether there is to be one.
    fn arm_probe(&mut self, now: u64, latest: u64) -> bool {
        if self.board.len() == 0 || self.state != State::Open {
            return false;
        }
        let at = now + self.rtt.probe_timeout(self.board.len());
        let at = if latest > now { at.min(latest) } else { at };
        self.timer = Some(Timer { kind: Kind::Probe, at });
        true
    }

    fn timeout_of_first(&self) -> u64 {
        self.board.front().map_or(0, |(_, first)| first.at) + self.rtt.timeout()
    }

    fn on_reordering_timeout(&mut self, now: u64) {
        let in_flight = self.board.in_flight();
        let losses = self.board.losses;
        self.detect_losses(now);
        if self.board.in_flight() != in_flight {
            if self.state != State::Recovery {
                self.enter_recovery();
                if !self.is_paced() {
                    let lost = (self.board.losses - losses) as u32;
                    self.reduce_proportionally(1, lost, false);
                }
            }
            self.retransmission = Retransmission::Lost;
        }
        if self.timer.is_none() {
            self.arm_retransmission(now);
        }
    }

    fn on_retransmission_timeout(&mut self, now: u64) {
        self.counters.timeouts += 1;
        self.enter_loss(now);
        self.rtt.back_off();
        self.retransmission = Retransmission::Lost;
        // A retransmission after a timeout is not held back by the pace of what was lost.
        self.paced_until = self.paced_until.min(now * 1000);
        self.timer = Some(Timer { kind: Kind::Retransmission, at: now + self.rtt.timeout() });
    }

    /// Judges an acknowledgment by the probe that is out (RFC 8985, section 7.4).
    pub(super) fn judge_probe(&mut self, number: u64, is_duplicate: bool, is_pure: bool) {
        let Some((high, kind)) = self.probe.filter(|&(high, _)| number >= high) else { return };
        let repaired = kind == ProbeKind::Retransmission && !is_duplicate && number > high;
        if repaired {
            self.reduce_for_probe();
        }
        if kind == ProbeKind::NewData || is_duplicate || repaired || is_pure {
            self.probe = None;
        }
    }
}
