//! Which path leads what has to be in order.
//!
//! A flow is as slow as the slowest path that it uses, and a sender such as BBR has never more on its way than
//! twice what fits into the *shortest* round trip it has seen. If a flow began on a near and narrow path,
//! such a sender would stay there for good, however much the others carry. So a flow begins, and stays, with
//! the path that carries most, as if none were nearer; nearer ones help where that one is full.
//!
//! Each ten seconds such a sender looks again, with a few packets only, which would all go by the nearest path. So a
//! transfer that does ([`lull`](crate::ingress)) is led from then on, and by what it gains in the long run.

use super::{Outbound, path::Path};
use crate::{
    inbound::HOLD_MAX,
    path::{PathId, PathState},
    time::{Span, Time},
    trial::Ablation,
    wire::message::BACKUP,
};

impl Outbound {
    /// Finds the path that leads flows that begin from now on, and the one for transfers that look for their
    /// round trip: with each report, for only they tell anything new of paths. Whatever is led by a path that is
    /// down goes as if it were not led.
    pub(super) fn review_lead(&mut self, now: Time) {
        if self.trial.has(Ablation::NoLead) {
            return;
        }
        self.ingress.lead = self.find_lead(now, HALVED, self.ingress.lead);
        let (soonest, rtt) = self.nearest();
        let behind = |path: &Path| path.window.delay_least().unwrap_or(soonest) - soonest;
        // A BBR has two round trips on its way: if it has not seen the longer one, it does not starve by that.
        let reached = |id: &PathId| self.path(*id).is_some_and(|it| behind(it) <= rtt.0 as i64);
        let late = self.find_lead(now, HALVED_LATE, self.ingress.late_lead);
        self.ingress.late_lead = late.filter(reached);
        self.ingress.silence = (rtt / 2).max(SILENCE_MIN);
    }

    /// Whether a flow's first packet, which has waited since then, waits for a lead that is suspect: if it showed the
    /// round trip of a nearer path, a BBR would starve on that for ten seconds.
    pub(super) fn may_recover(&self, now: Time, lead: PathId, since: Time) -> bool {
        let suspect = self.path(lead).is_some_and(|path| path.state == PathState::Suspect);
        suspect && now.since(since) < AWAITED
    }

    /// The best lead, if a path that is so much farther has to bring twice as much, and given the one so far.
    fn find_lead(&self, now: Time, halved: Span, before: Option<PathId>) -> Option<PathId> {
        // What is suspect comes back most of the time: if it led nothing meanwhile, whatever it led would see the
        // nearest path's round trip, and starve by that for ten seconds.
        let serves = |path: &Path| matches!(path.state, PathState::Suspect | PathState::Up);
        let up = || self.paths.iter().flatten().filter(|path| serves(path));
        // No backup and no metered path leads where there is another.
        let tier = |path: &Path| (path.rank >= BACKUP, path.metered);
        let first = up().map(|path| tier(path)).min()?;
        let soonest = up().filter_map(|path| path.window.delay_least()).min().unwrap_or(0);
        let repair = up().map(|path| path.rtt.smoothed()).min().unwrap_or_default();
        let fits = |path: &&Path| {
            tier(path) == first
                && path.straggle(soonest, repair) <= HOLD_MAX
                && !path.worth.is_denied(now)
        };
        let candidates = || up().map(|path| &**path).filter(fits);
        let least = |path: &Path| path.window.delay_least().unwrap_or(soonest);
        // What nothing is known of may be as good as any.
        let known = |path: &Path| path.window.carries();
        let best = candidates().map(known).fold(0.0, f64::max);
        let carries = |path: &Path| if known(path) > 0.0 { known(path) } else { best };
        let value = |path: &Path| {
            let held = if before == Some(path.id) { HELD } else { 1.0 };
            let later = (path.window.delay_most().unwrap_or(soonest) - soonest).max(0);
            let rtt = path.rtt.minimum().unwrap_or(path.rtt.smoothed());
            let brings = candidates().map(|other| {
                let beyond = (least(other) - least(path)).max(0) as f64 / rtt.0.max(1) as f64;
                let reached = BEYOND * ((REACH - beyond) / (REACH - REACH_WHOLE)).clamp(0.0, 1.0);
                carries(other) * if beyond > 0.0 { reached } else { 1.0 }
            });
            held * brings.sum::<f64>() / (1.0 + later as f64 / halved.0 as f64)
        };
        let best = candidates().max_by(|a, b| value(a).total_cmp(&value(b)))?;
        // Where it is the nearest, or may be, no flow has to be led.
        let nearest = candidates().min_by_key(|path| least(path))?;
        let unsure = (nearest.window.delay_most().unwrap_or(soonest) - least(nearest)) / 2;
        let behind = least(best) - least(nearest);
        (value(best) > 0.0 && behind > unsure + NEAR.0 as i64).then_some(best.id)
    }
}

/// A path that is so much farther has to bring twice as much to be as good.
const HALVED: Span = Span::millis(35);

/// The same for a transfer that has lasted: it minds delay less.
const HALVED_LATE: Span = Span::millis(140);

/// How long a flow's first packets wait for a lead that is suspect: until most pauses of a radio, and of a host that has too much
/// to do, are over, and long before an inner sender's retransmission timeout.
const AWAITED: Span = Span::millis(100);

/// A shorter silence is no silence.
const SILENCE_MIN: Span = Span::millis(10);

/// What a path that is farther than the lead counts for: a sender that leaves its start at the first queue does so
/// before it has come to that path.
const BEYOND: f64 = 0.5;

/// How much farther than the lead a path may be, in round trips of the lead, to be used whole and at all: a BBR has
/// two round trips on its way, and needs some of that for what comes late.
const REACH_WHOLE: f64 = 0.4;
const REACH: f64 = 0.9;

/// A path that is nearer by less, and by less than its jitter makes unsure, is no nearer.
const NEAR: Span = Span::millis(3);

/// By how much another path has to be better.
const HELD: f64 = 1.25;
