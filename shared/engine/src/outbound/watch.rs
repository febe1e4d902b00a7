//! What time alone brings about: suspicion, death, quiet, new epochs.

use super::{Event, Outbound, path::Path};
use crate::{
    notice::Told,
    path::{PathId, PathState},
    time::{Span, Time},
    trial::Ablation,
    wire::PATHS_MAX,
};

impl Outbound {
    pub(super) fn watch(&mut self, now: Time) {
        for index in 0..PATHS_MAX {
            if self.paths[index].is_some() {
                self.watch_path(now, PathId(index as u8));
            }
        }
        self.ingress.sweep(now);
        self.review_mtu();
        self.review_allowance();
        self.advance_epoch(now);
        self.note_standing(now);
        self.review_aqm();
        self.review_copies();
        self.review_worth(now);
        self.rest(now);
    }

    /// Gives memory back when there has been nothing to do for a while.
    fn rest(&mut self, now: Time) {
        if self.slots.used() > 0 {
            self.busy_at = now;
            self.resting = false;
        } else if !self.resting && now.since(self.busy_at) >= REST_AFTER {
            self.resting = true;
            self.slots.shrink();
            self.repair.shrink_to_fit();
            self.settled = Vec::new();
            self.views = Vec::new();
            self.reports.shrink_to_fit();
            self.events.shrink_to_fit();
            self.errors.shrink_to_fit();
            self.notices.shrink();
            for path in self.paths.iter_mut().flatten() {
                path.shrink();
            }
        }
    }

    pub(super) fn next_timeout(&self, now: Time) -> Time {
        let waiting = self.ingress.segments() > 0 || !self.repair.is_empty();
        let mut next = Time::MAX;
        let mut say = self.messenger().is_some() && !self.reports.is_empty();
        for path in self.paths.iter().flatten() {
            if path.state == PathState::Closed || path.blocked {
                continue;
            }
            say |= path.state_due || !path.replies.is_empty() || !path.batch.is_empty();
            next = next.min(path.probe.next_at).min(path.mark_at()).min(path.quiet_at());
            next = next.min(path.sent.front().map_or(Time::MAX, |sent| sent + path.memory()));
            if path.state == PathState::Up {
                let overdue = path.overdue_at();
                // A lone path is not suspected, but probed until something is heard of it.
                let probe = path.probe.sent_at + path.patience();
                let lone = overdue <= now && self.is_sole(path.id);
                next = next.min(path.mtu.poll_timeout()).min(if lone { probe } else { overdue });
                if waiting {
                    next = next.min(path.paced_until(now));
                }
            }
            if path.state == PathState::Suspect {
                next = next.min(path.state_since + path.death());
            }
            if path.state == PathState::Probation && path.decided_at() > now {
                next = next.min(path.decided_at());
            }
            if let Some(claim) = &path.claim {
                next = next.min(claim.challenge_at).min(claim.heard_at + CLAIM_FORGOTTEN);
            }
        }
        if say {
            return now;
        }
        if waiting {
            // What could go at once has gone: the rest waits for feedback, for the pace, or for the
            // scheduler, whose patience may end.
            next = next.min(now + RECHECK);
        }
        next.min(self.state_repeat_at()).min(self.rescue_at(now))
    }

    /// Whether a path may carry data.
    pub(super) fn is_usable(&self, now: Time, path: &Path) -> bool {
        if path.state != PathState::Up {
            return false;
        }
        match &path.claim {
            // Two addresses claim the path. It carries nothing new, unless its own address is known
            // to be alive, or there is no other path.
            Some(claim) => {
                claim.present_at.is_some_and(|at| now.since(at) < PRESENT_FOR)
                    || self.is_sole(path.id)
            }
            None => true,
        }
    }

    pub(super) fn enter(&mut self, now: Time, id: PathId, to: PathState) {
        let Some(path) = self.path_mut(id) else { return };
        let from = path.state;
        if from == to || from == PathState::Closed {
            return;
        }
        path.enter(now, to);
        match to {
            PathState::Closed => {
                path.replies.clear();
                path.claim = None;
                path.batch.clear();
            }
            PathState::Up if from == PathState::Validating => {
                path.heard_at = now;
                let tuple = path.tuple;
                self.notices.push(Told::Settled { path: id, tuple });
            }
            PathState::Up => {
                path.window.on_return();
                path.heard_at = now;
            }
            PathState::Dead | PathState::Probation | PathState::Suspect | PathState::Validating => {
            }
        }
        if matches!(to, PathState::Closed | PathState::Dead | PathState::Suspect) {
            self.reinject(now, id);
            for other in self.paths.iter_mut().flatten() {
                other.window.on_failover(now);
            }
            if !self.trial.has(Ablation::NoMute) {
                self.standing.mute(now);
            }
        }
        self.push_event(Event::Path { path: id, from, to });
        self.change_state();
        self.review_mtu();
    }

    /// Keeps account of whether copies are of use.
    fn review_copies(&mut self) {
        let best = self.best().is_some_and(|path| path.window.is_troubled());
        let suspect = self.paths.iter().flatten().any(|path| path.state == PathState::Suspect);
        self.copies.set_troubled(best || suspect);
    }

    /// Works out the longest packet that every usable path carries.
    pub(super) fn review_mtu(&mut self) {
        let usable = self.paths.iter().flatten().filter(|path| path.state == PathState::Up);
        let smallest = usable.filter(|path| path.mtu.settled()).map(|path| path.packet_max()).min();
        if let Some(mtu) = smallest
            && mtu != self.tunnel_mtu
        {
            self.tunnel_mtu = mtu;
            self.push_event(Event::TunnelMtu(mtu));
        }
    }

    fn watch_path(&mut self, now: Time, id: PathId) {
        let repairing = !self.repair.is_empty();
        let sole = self.is_sole(id);
        let Some(path) = self.path_mut(id) else { return };
        if path.live && now >= path.quiet_at() {
            path.live = false;
            self.change_state();
            self.announce_state();
        } else if path.live && path.state != PathState::Up && !repairing {
            // All that was on its way there has been sent again.
            path.live = false;
            self.change_state();
            self.announce_state();
        }
        self.watch_claim(now, id);
        self.expire(now, id);
        let Some(path) = self.path_mut(id) else { return };
        match path.state {
            PathState::Up if path.is_overdue(now) => {
                if sole {
                    // There is nothing to turn to. A probe finds out what is lost once it answers.
                    path.probe.next_at =
                        path.probe.next_at.min(path.probe.sent_at + path.patience());
                } else {
                    self.enter(now, id, PathState::Suspect);
                }
            }
            PathState::Suspect if now.since(path.state_since) >= path.death() => {
                self.enter(now, id, PathState::Dead);
            }
            PathState::Probation => self.review_probation(now, id),
            PathState::Closed
            | PathState::Dead
            | PathState::Suspect
            | PathState::Up
            | PathState::Validating => {}
        }
    }

    /// Gives up what was sent so long ago that nobody waits for it, even if nothing is heard of it.
    fn expire(&mut self, now: Time, id: PathId) {
        let Some(path) = self.path_mut(id) else { return };
        let memory = path.memory();
        if path.sent.front().is_none_or(|sent| sent + memory > now) {
            return;
        }
        let mut settled = std::mem::take(&mut self.settled);
        settled.clear();
        if let Some(path) = self.path_mut(id) {
            path.sent.lose(now - memory + Span(1), |sent| settled.push(*sent));
            path.count_lost(&settled);
        }
        for sent in &settled {
            self.on_lost(now, sent);
        }
        self.settled = settled;
    }

    /// Forgets a claim on the path's address that was not repeated.
    fn watch_claim(&mut self, now: Time, id: PathId) {
        let Some(path) = self.path_mut(id) else { return };
        if path.claim.is_some_and(|claim| now.since(claim.heard_at) >= CLAIM_FORGOTTEN) {
            path.claim = None;
            let tuple = path.tuple;
            self.notices.push(Told::Settled { path: id, tuple });
        }
    }

    /// Tells the peer when retransmissions take clearly longer or shorter than it believes.
    fn review_allowance(&mut self) {
        let (now, told) = (self.allowance().0, self.allowance_told.0);
        if now.abs_diff(told) > told / 4 + 2_000 {
            self.allowance_told = Span(now);
            self.change_state();
        }
    }
}

impl Path {
    /// How long a suspect path may stay silent before it is dead.
    fn death(&self) -> Span {
        (self.rtt.smoothed() * 3).max(Span::millis(150))
    }
}

/// A path's own address counts as alive for so long after its last sign.
const PRESENT_FOR: Span = Span::millis(500);

/// A claim on a path's address is forgotten when nothing came from the claimant for so long.
const CLAIM_FORGOTTEN: Span = Span::secs(1);

/// After this long without packets, buffers are given back: by then what was sent last is forgotten too.
const REST_AFTER: Span = Span::secs(5);

/// How soon a packet that waits is looked at again, if nothing happens before.
const RECHECK: Span = Span::millis(5);
