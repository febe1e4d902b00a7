//! Sending again early what is late, where that costs nothing.
//!
//! A path is suspected when something on it is overdue and nothing was heard for as long: one of them alone happens
//! all the time. What is overdue may be sent again sooner, though, while nothing waits and another link has
//! room: the receiver takes whichever comes first. So a silent death, or a pause of a radio, costs a light stream a round
//! trip less (XLINK, SIGCOMM 2021, calls it re-injection).

use super::{Outbound, data::Sending, path::Path, turn::Turn};
use crate::{
    packet::Ecn,
    path::{PathId, PathState, sent::Segment},
    scheduler::PathView,
    time::{Span, Time},
    trial::Ablation,
    wire::{PATHS_MAX, message::BACKUP},
};

/// How many bytes may be sent again early.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rescue {
    credit: usize,
}

impl Rescue {
    pub(super) fn new() -> Self {
        Self { credit: CREDIT_MAX }
    }

    /// Notes bytes that were sent once: they allow a share of them to be sent again early.
    pub(super) fn on_sent(&mut self, len: usize) {
        self.credit = (self.credit + len / SHARE).min(CREDIT_MAX);
    }
}

impl Outbound {
    /// Stages one segment that is late, on a path that has nothing else to do. Returns whether to go on.
    pub(super) fn stage_rescue(&mut self, now: Time, turn: &mut Turn) -> bool {
        if !self.repairs() || self.trial.has(Ablation::NoRescue) {
            return false;
        }
        for index in 0..PATHS_MAX {
            let Some((from, segment)) = self.late(now, index) else { continue };
            let len = self.segment_len(&segment);
            let roams = self.schedulers[segment.class.index()].roams();
            if !roams || self.rescue.credit < len {
                continue;
            }
            turn.refresh(self, now, len);
            let serves = |view: &&PathView| {
                let fits = view.room && usize::from(view.packet_max) >= len;
                view.id != from && fits && !view.far && !view.metered && view.rank < BACKUP
            };
            let target = turn.views().iter().filter(serves).min_by_key(|view| view.delay);
            let Some(id) = target.map(|view| view.id) else { continue };
            if !self.prepare(now, id, len, Ecn::NotEct, turn) {
                return false;
            }
            if let Some(path) = self.path_mut(from) {
                path.sent.note_copied();
            }
            self.rescue.credit -= len;
            self.slots.hold(segment.slot);
            self.ingress.on_copied(segment.flow);
            self.send_segment(now, id, segment, Sending::Again);
            return true;
        }
        false
    }

    /// The oldest segment that went by the path in this slot, and nowhere else, if it is late.
    fn late(&self, now: Time, index: usize) -> Option<(PathId, Segment)> {
        let path = self.paths[index].as_deref()?;
        let late = path.state == PathState::Up && path.late_at() <= now;
        Some((path.id, path.sent.uncopied().filter(|_| late)?.1))
    }

    /// When the next segment is late that could be sent again early.
    pub(super) fn rescue_at(&self, now: Time) -> Time {
        let busy = self.ingress.segments() > 0 || self.rescue.credit < CREDIT_MIN;
        if busy || self.trial.has(Ablation::NoRescue) {
            return Time::MAX;
        }
        let up = self.paths.iter().flatten().filter(|path| path.state == PathState::Up);
        // What is late already and was not sent again has no path to go by: feedback will tell.
        up.map(|path| path.late_at()).filter(|&at| at > now).min().unwrap_or(Time::MAX)
    }
}

impl Path {
    /// When the oldest segment of which no copy went elsewhere is late.
    fn late_at(&self) -> Time {
        let Some((stamp, _)) = self.sent.uncopied() else { return Time::MAX };
        let overdue = self.rtt.overdue() + Span::millis(5);
        // What comes densely is reported at once, what is alone after a while.
        let (held, reported) = self.rhythm();
        let lone = stamp + overdue + held;
        let steady = self.sent.steady(reported).map_or(Time::MAX, |at| at.max(stamp) + overdue);
        lone.min(steady)
    }
}

/// One byte in so many.
const SHARE: usize = 50;

/// What is saved up: what a light stream sends in a round trip.
const CREDIT_MAX: usize = 32 * 1500;

/// With less left nothing is looked for.
const CREDIT_MIN: usize = 1500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fiftieth_of_what_is_sent_may_be_sent_again_early() {
        let mut rescue = Rescue { credit: 0 };
        for _ in 0..100 {
            rescue.on_sent(1_000);
        }
        assert_eq!(rescue.credit, 2_000);
        for _ in 0..10_000 {
            rescue.on_sent(1_000);
        }
        assert_eq!(rescue.credit, CREDIT_MAX);
    }
}
