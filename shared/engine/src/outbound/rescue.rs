//! Sending again early what is late, where that costs nothing.
//!
//! A path is suspected when something on it is overdue and nothing was heard for as long: one of them alone happens
//! all the time. What is overdue may be sent again sooner, though, while nothing waits and another link has
//! room: the receiver takes whichever comes first. So a silent death, or a pause of a radio, costs a light stream a round
//! trip less (XLINK, SIGCOMM 2021, calls it re-injection).

use super::{
    Outbound,
    data::Sending,
    path::Path,
    turn::Turn,
};
use crate::{
    inbound::INTERVAL_LONE,
    packet::Ecn,
    path::{
        PathId, PathState,
        sent::{STEADY_BYTES, Segment},
    },
    scheduler::PathView,
    time::{Span, Time},
    trial::Ablation,
    wire::message::BACKUP,
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
        let Some((from, segment)) = self.late(now) else { return false };
        let len = self.segment_len(&segment);
        if self.rescue.credit < len {
            return false;
        }
        turn.refresh(self, now, len);
        let serves = |view: &&PathView| {
            let fits = usize::from(view.packet_max) >= len;
            view.id != from && view.room && fits && !view.far && !view.metered && view.rank < BACKUP
        };
        let Some(view) = turn.views().iter().filter(serves).min_by_key(|view| view.delay) else {
            return false;
        };
        let id = view.id;
        if !self.prepare(now, id, len, Ecn::NotEct, turn) {
            return false;
        }
        if let Some(path) = self.path_mut(from) {
            path.sent.note_copied();
        }
        self.rescue.credit -= len;
        self.slots.hold(segment.slot);
        self.send_segment(now, id, segment, Sending::Again);
        true
    }

    /// A segment that is late, and the path it went by.
    fn late(&mut self, now: Time) -> Option<(PathId, Segment)> {
        let mut up = self.paths.iter().flatten().filter(|path| path.state == PathState::Up);
        let path = up.find(|path| path.late_at() <= now)?;
        Some((path.id, path.sent.uncopied()?.1))
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
        let lone = stamp + overdue + INTERVAL_LONE;
        let steady = self.sent.steady(STEADY_BYTES).map_or(Time::MAX, |at| at.max(stamp) + overdue);
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
