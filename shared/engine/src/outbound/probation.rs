//! Paths that die again and again: how long they have to prove themselves, and by what.
//!
//! A path that died once is used again as soon as it has answered. The more often it died within a minute, the
//! longer it carries copies only: what is lost with it then is nobody's.

use super::{Outbound, path::Path, settle::PROBATION};
use crate::{
    path::{PathId, PathState},
    time::{Span, Time},
    wire::OVERHEAD,
};

/// A path's deaths of late, and how its probation goes.
#[derive(Debug, Default)]
pub(super) struct Flaps {
    /// When it died, the newest first; [`Time::ZERO`] where it did not.
    deaths: [Time; DEATHS_MAX],
    /// How long it has to prove itself at least, since its probation began.
    pub(super) term: Span,
    /// Whether its deaths are forgotten at once, for an experiment.
    pub(super) off: bool,
    /// Datagrams sent since, of which it is known what became of them.
    arrived: u32,
    lost: u32,
    /// Bytes of copies that it may be sent.
    credit: usize,
    /// When it may be sent the next.
    copy_at: Time,
}

impl Flaps {
    /// The path is dead after it had been of use.
    pub(super) fn on_death(&mut self, now: Time) {
        self.deaths.rotate_right(1);
        self.deaths[0] = now;
    }

    /// Its probation begins, or begins anew.
    pub(super) fn begin(&mut self, now: Time) {
        if now.since(self.deaths[0]) < STALL {
            self.deaths.rotate_left(1);
            self.deaths[DEATHS_MAX - 1] = Time::ZERO;
        }
        let recent = |death: &&Time| **death > Time::ZERO && now.since(**death) < MEMORY;
        self.term = match self.deaths.iter().filter(recent).count() {
            _ if self.off => Span::ZERO,
            0 | 1 => Span::ZERO,
            several => Span::millis(250 << several).min(TERM_MAX),
        };
        (self.arrived, self.lost, self.credit) = (0, 0, CREDIT_FIRST);
    }

    /// Notes what became of datagrams that were sent in the probation.
    pub(super) fn on_settled(&mut self, arrived: usize, lost: usize) {
        self.arrived += arrived as u32;
        self.lost += lost as u32;
    }

    /// Whether it loses so much that it is not worth its death.
    fn loses(&self) -> bool {
        self.term > Span::ZERO && self.lost * LOST_MAX > self.arrived + self.lost
    }

    /// Notes bytes that went by another path: a share of them may go by this one too.
    fn earn(&mut self, len: usize) {
        self.credit = (self.credit + len / SHARE).min(CREDIT_MAX);
    }
}

impl Outbound {
    /// Decides on a path that answers again.
    pub(super) fn review_probation(&mut self, now: Time, id: PathId) {
        let needed = self.is_needed(now, id);
        let Some(path) = self.path_mut(id) else { return };
        let age = now.since(path.state_since);
        let silent = now.since(path.heard_at) >= PROBATION_MAX.max(path.probe_interval(now) * 3);
        let answers = path.probe.answers;
        if answers >= 1 && needed || answers >= PROBATION && age >= path.flaps.term {
            if path.flaps.loses() && !needed {
                // It answers, and loses: it is looked at again, until its deaths are forgotten.
                path.enter(now, PathState::Probation);
            } else {
                self.enter(now, id, PathState::Up);
            }
        } else if silent && age >= PROBATION_MAX
            || answers < PROBATION && age >= path.flaps.term.max(PROBATION_MAX)
        {
            self.enter(now, id, PathState::Dead);
        }
    }

    /// Whether there is no other path on which packets are known to arrive.
    pub(super) fn is_needed(&self, now: Time, id: PathId) -> bool {
        let mut others = self.paths.iter().flatten().filter(|path| path.id != id);
        !others.any(|path| path.state == PathState::Up && !path.is_overdue(now))
    }

    /// A path on probation to which a copy of what goes by another is sent, to see whether it arrives.
    pub(super) fn on_trial(&mut self, now: Time, len: usize) -> Option<PathId> {
        let mut paths = self.paths.iter_mut().flatten();
        let path = paths.find(|path| path.is_on_trial())?;
        path.flaps.earn(len);
        if now < path.flaps.copy_at {
            return None;
        }
        let fits = usize::from(path.packet_max()) >= len && path.has_room(now, len + OVERHEAD);
        if !fits || path.claim.is_some() || path.flaps.credit < len || !path.batch.is_empty() {
            return None;
        }
        path.flaps.credit -= len;
        path.flaps.copy_at = now + COPY_INTERVAL;
        Some(path.id)
    }
}

impl Path {
    /// Whether it is to prove itself by copies.
    pub(super) fn is_on_trial(&self) -> bool {
        self.state == PathState::Probation && self.flaps.term > Span::ZERO && !self.blocked
    }

    /// When its probation is decided on, if nothing happens before.
    pub(super) fn decided_at(&self) -> Time {
        let patience = if self.probe.answers < PROBATION { PROBATION_MAX } else { Span::ZERO };
        self.state_since + self.flaps.term.max(patience)
    }
}

/// How long a path may take to give the answers that it has to prove itself with, and be silent after.
pub(super) const PROBATION_MAX: Span = Span::secs(1);

/// The longest that a path is kept from carrying more than copies.
const TERM_MAX: Span = Span::secs(16);

/// Deaths are forgotten after this: a path that has been up for so long has none.
const MEMORY: Span = Span::secs(60);

/// A path that answers again so soon only stalled, as in a handover between two cells: that is no death.
const STALL: Span = Span::millis(500);

/// More deaths don't make a probation longer: it is [`TERM_MAX`] with six.
const DEATHS_MAX: usize = 6;

/// A path that loses more than one datagram in so many stays on probation.
const LOST_MAX: u32 = 20;

/// One byte in so many of what is sent goes to a path on probation too.
const SHARE: usize = 50;

/// The least time between two copies: several in a row on a faster path would bring a stream forward, and leave a gap
/// where they end.
const COPY_INTERVAL: Span = Span::millis(20);

/// What may be copied to it at first, and what is saved up: a few packets.
const CREDIT_FIRST: usize = 4 * 1500;
const CREDIT_MAX: usize = 8 * 1500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_death_within_a_minute_doubles_the_probation() {
        let mut flaps = Flaps::default();
        let mut terms = Vec::new();
        for death in 0..8 {
            flaps.on_death(Time(1 + death * 4_000_000));
            flaps.begin(Time(2_000_000 + death * 4_000_000));
            terms.push(flaps.term.0 / 1000);
        }
        assert_eq!(terms, [0, 1000, 2000, 4000, 8000, 16_000, 16_000, 16_000]);

        flaps.begin(Time(1 + 7 * 4_000_000 + MEMORY.0));
        assert_eq!(flaps.term, Span::ZERO, "a minute later all is forgotten");
    }

    #[test]
    fn stalls_are_no_deaths() {
        let mut flaps = Flaps::default();
        for stall in 1..6 {
            flaps.on_death(Time(stall * 3_000_000));
            flaps.begin(Time(stall * 3_000_000 + 200_000));
            assert_eq!(flaps.term, Span::ZERO);
        }
    }

    #[test]
    fn loss_keeps_only_a_path_that_died_before_from_being_used() {
        let mut flaps = Flaps::default();
        flaps.begin(Time(600_000));
        flaps.on_settled(10, 10);
        assert!(!flaps.loses());

        flaps.on_death(Time(700_000));
        flaps.on_death(Time(800_000));
        flaps.begin(Time(1_300_000));
        flaps.on_settled(96, 4);
        assert!(!flaps.loses());
        flaps.on_settled(0, 2);
        assert!(flaps.loses());
    }

    #[test]
    fn copies_are_a_fiftieth() {
        let mut flaps = Flaps { credit: 0, ..Flaps::default() };
        for _ in 0..50 {
            flaps.earn(1000);
        }
        assert_eq!(flaps.credit, 1000);
    }
}
