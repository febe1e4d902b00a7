//! What a path looks like to people, and why it does not carry more.

use super::{Outbound, path::Path, settle::PROBATION};
use crate::{
    class::Class,
    inbound::HOLD_MAX,
    path::{PathId, PathSnapshot, PathState, cause::Cause},
    scheduler::Mode,
    time::Span,
    wire::message::BACKUP,
};

impl Outbound {
    /// What a path looks like.
    pub fn path_snapshot(&self, id: PathId) -> Option<PathSnapshot> {
        let path = self.path(id)?;
        let Path { window, rtt, .. } = path;
        Some(PathSnapshot {
            id,
            tuple: path.tuple,
            state: path.state,
            quiet: !path.live,
            rank: path.rank,
            metered: path.metered,
            srtt: rtt.measured(),
            rttvar: rtt.variation(),
            min_rtt: rtt.minimum(),
            rate: window.rate(),
            window: window.size(),
            in_flight: path.sent.in_flight(),
            queue: window.queue(),
            jitter: window.jitter(),
            pace: window.pace(rtt.minimum().unwrap_or(rtt.smoothed())),
            capacity: window.carries() as u64,
            leads: self.ingress.lead == Some(id),
            lost: window.lost(),
            loses_by_itself: window.loses_by_itself(),
            cause: self.cause(path),
            mtu: path.mtu.confirmed(),
            sent: path.stats,
            received: Default::default(),
        })
    }

    fn cause(&self, path: &Path) -> Cause {
        match path.state {
            PathState::Closed => Cause::Closed,
            PathState::Dead => Cause::Dead { since: path.state_since },
            PathState::Probation => Cause::Probation {
                until: path.decided_at(),
                missing: PROBATION.saturating_sub(path.probe.answers),
            },
            PathState::Suspect => Cause::Silent { since: path.heard_at },
            PathState::Up => self.cause_while_up(path),
            PathState::Validating => Cause::Unanswered { since: path.state_since },
        }
    }

    fn cause_while_up(&self, path: &Path) -> Cause {
        let unproved = path.claim.is_some_and(|claim| claim.present_at.is_none());
        if unproved && !self.is_sole(path.id) {
            return Cause::Claimed;
        }
        if path.blocked {
            return Cause::Blocked;
        }
        if !path.live && path.rank >= BACKUP {
            return Cause::Backup;
        }
        // Before it is called quiet: that is what comes of it.
        match self.too_far_behind(path) {
            Some(wait) => Cause::TooFarBehind { wait },
            None if path.live => path.window.cause(),
            None => Cause::Quiet,
        }
    }

    /// How long others would have to wait for what the path carries, where that is too long and
    /// another path is better: what is spread over paths leaves it out.
    fn too_far_behind(&self, path: &Path) -> Option<Span> {
        let mode = self.steering.mode_of(Class::Bulk);
        if !matches!(mode, Mode::Adaptive | Mode::Split) {
            return None;
        }
        let up = || self.paths.iter().flatten().filter(|path| path.state == PathState::Up);
        let (soonest, repair) = self.nearest();
        let wait = path.straggle(soonest, repair);
        let others = || up().filter(|other| other.id != path.id);
        let better = others().any(|other| other.straggle(soonest, repair) <= HOLD_MAX);
        // As of when something was last sent.
        let denied = path.worth.is_denied(self.stamp);
        (denied || wait > HOLD_MAX && better).then_some(wait)
    }
}
