//! The queue that stands: whether every path is worth using for it, and how long it may.

use super::{Outbound, path::Path};
use crate::{
    ingress::Aqm,
    path::PathState,
    time::{Span, Time},
    trial::Ablation,
};

/// Whether the queue has been standing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Since when something has been waiting without a pause.
    since: Option<Time>,
    empty_since: Option<Time>,
    pub(super) backlogged: bool,
    /// How long a flow's queue may stand, and until when that is not looked at.
    pub(super) aqm: Aqm,
    muted_until: Time,
    /// Until then it is not looked at while the queue of a failover still falls.
    drained_by: Time,
    /// The fewest segments that have waited since.
    least: usize,
    /// Whether a path's window is still growing to what it carries: until then a queue is not the
    /// inner senders' fault.
    starting: bool,
}

impl Standing {
    pub(super) fn new() -> Self {
        Self {
            since: None,
            empty_since: None,
            backlogged: false,
            aqm: AQM_START,
            muted_until: Time::ZERO,
            drained_by: Time::ZERO,
            least: 0,
            starting: false,
        }
    }

    /// What another path had on its way is sent again: the queue that comes of it is nobody's fault.
    pub(super) fn mute(&mut self, now: Time) {
        self.muted_until = now + MUTED;
        self.drained_by = now + MUTED_STANDING;
        self.least = usize::MAX;
    }

    /// Whether a standing queue is the inner senders' fault.
    pub(super) fn may_drop(&self, now: Time) -> bool {
        now >= self.muted_until && now >= self.drained_by && !self.starting
    }
}

impl Outbound {
    /// Keeps account of whether the queue is standing: then every path is worth using, and stays so
    /// until the queue has been empty for a round trip.
    pub(super) fn note_standing(&mut self, now: Time) {
        let up = || self.paths.iter().flatten().filter(|path| path.state == PathState::Up);
        let used = || up().filter(|path| !path.worth.is_denied(now));
        let delays = || used().filter_map(|path| path.delay);
        let spread = match (delays().max(), delays().min()) {
            (Some(max), Some(min)) => Span((max - min).max(0) as u64),
            _ => Span::ZERO,
        };
        let rtt = up().map(|path| path.rtt.smoothed()).max().unwrap_or_default();
        // A queue in the network, on the path that everything takes, is as good as one of ours.
        let full = |path: &Path| path.window.is_saturated() && !path.window.is_starting();
        let saturated = up().any(|path| path.live && full(path));
        let standing = &mut self.standing;
        standing.backlogged |= saturated;
        if self.ingress.segments() > 0 {
            if self.ingress.segments() < standing.least {
                standing.least = self.ingress.segments();
                let falling = standing.drained_by.max(now + FALLING);
                standing.drained_by = falling.min(standing.muted_until + MUTED_MAX);
            }
            let since = *standing.since.get_or_insert(now);
            standing.empty_since = None;
            standing.backlogged |= now.since(since) >= (spread * 2).max(STANDING);
        } else {
            let empty_since = *standing.empty_since.get_or_insert(now);
            standing.since = None;
            standing.drained_by = Time::ZERO;
            standing.least = 0;
            standing.backlogged &= now.since(empty_since) < rtt;
        }
    }

    /// How much of one flow may wait: four times what may be on its way, so that it is the waiting
    /// time that limits a flow that reacts.
    pub(super) fn flow_bytes_max(&self) -> usize {
        let usable = self.paths.iter().flatten().filter(|path| path.state == PathState::Up);
        let windows: u64 = usable.map(|path| path.window.size()).sum();
        (4 * windows as usize).clamp(FLOW_BYTES_MIN, FLOW_BYTES_MAX)
    }

    /// Lets a flow's queue stand for a share of its round trip: a TCP that reduces its window by 30 %
    /// needs as much to keep the paths busy (CUBIC, RFC 9438, 4.6).
    pub(super) fn review_aqm(&mut self) {
        let up = self.paths.iter().flatten().filter(|path| path.state == PathState::Up);
        let live = || up.clone().filter(|path| path.live);
        let round_trips = || live().map(|path| path.rtt.overdue());
        let Some(longest) = round_trips().max() else { return };
        // Where packets are lost, those behind them wait for a retransmission most of the time.
        let repairs = live().any(|path| path.window.is_lossy());
        let repair = round_trips().min().filter(|_| repairs).unwrap_or_default();
        let rtt = longest + repair;
        self.standing.starting = live().any(|path| path.window.is_starting());
        let target = Span((QUEUE_SHARE * rtt.0 as f64) as u64).clamp(QUEUE_MIN, QUEUE_MAX);
        self.standing.aqm = Aqm { target, interval: ((rtt + target) * 2).max(Span::millis(100)) };
        if self.trial.has(Ablation::ShortQueue) {
            self.standing.aqm = Aqm { target: Span::millis(5), interval: Span::millis(100) };
        }
    }
}

/// A queue that stands for longer is no burst.
const STANDING: Span = Span::millis(60);

/// Before windows have grown, and on slow links: what a TCP's start sends at 100 Mbit/s and 80 ms
/// before it hears that the queue stands.
const FLOW_BYTES_MIN: usize = 2 << 20;
const FLOW_BYTES_MAX: usize = 16 << 20;

/// Before round trips are known (RFC 8290, 5.2.1 and 5.2.2, with the target of section 8.5).
const AQM_START: Aqm = Aqm { target: Span::millis(30), interval: Span::millis(100) };

/// How long a queue may stand, as a share of the round trip, and at the least and most.
const QUEUE_SHARE: f64 = 0.45;
const QUEUE_MIN: Span = Span::millis(15);
const QUEUE_MAX: Span = Span::millis(60);

/// After a failover everything that was on its way is ahead of the queue: it stands for a reason.
const MUTED: Span = Span::millis(400);

/// The same while that queue has not been empty.
const MUTED_STANDING: Span = Span::secs(1);

/// Beyond that while it goes on falling, so often at least: beside a sender that does not react the surviving path
/// needs long to catch up. The queue of one that does react falls in fits, and is to tell it soon.
const FALLING: Span = Span::millis(100);
const MUTED_MAX: Span = Span::secs(3);
