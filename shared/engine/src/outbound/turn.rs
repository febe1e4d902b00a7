//! The paths as schedulers see them.

use super::Outbound;
use crate::{
    inbound::HOLD_MAX,
    scheduler::PathView,
    time::{Span, Time},
    wire::OVERHEAD,
};

/// The paths as schedulers see them, kept up while batches are filled.
pub(super) struct Turn {
    pub(super) list: Vec<PathView>,
    /// Whether only one path may carry data.
    pub(super) sole: bool,
    /// Whether a path is to prove itself by copies.
    pub(super) trials: bool,
}

impl Turn {
    pub(super) fn new(outbound: &mut Outbound, now: Time) -> Self {
        // Lent for the turn, so that no turn allocates.
        let mut list = std::mem::take(&mut outbound.views);
        list.clear();
        let mut turn = Self { list, sole: false, trials: false };
        turn.look(outbound, now);
        turn
    }

    pub(super) fn views(&self) -> &[PathView] {
        &self.list
    }

    fn look(&mut self, outbound: &Outbound, now: Time) {
        let usable =
            || outbound.paths.iter().flatten().filter(|path| outbound.is_usable(now, path));
        let base = usable().filter_map(|path| path.delay).min().unwrap_or(0);
        let steadiest = usable().filter_map(|path| path.delays.late()).min().unwrap_or(0);
        let (soonest, repair) = outbound.nearest();
        self.sole = usable().count() == 1;
        self.trials = outbound.paths.iter().flatten().any(|path| path.is_on_trial());
        for path in usable() {
            let delay = match path.delay {
                Some(delay) => Span((delay - base).max(0) as u64),
                None => path.rtt.smoothed() / 2,
            };
            let late = path.delays.late().map(|late| Span((late - steadiest).max(0) as u64));
            self.list.push(PathView {
                id: path.id,
                rank: path.rank,
                metered: path.metered,
                room: false,
                full_for: path.full_since.map_or(Span::ZERO, |since| now.since(since)),
                delay,
                late: late.unwrap_or(delay),
                far: path.straggle(soonest, repair) > HOLD_MAX || path.worth.is_denied(now),
                wait: Span::ZERO,
                packet_max: path.packet_max(),
                weight: path.weight,
            });
        }
    }

    /// Looks again at which paths have room for a packet of this length.
    pub(super) fn refresh(&mut self, outbound: &Outbound, now: Time, len: usize) {
        for view in &mut self.list {
            let Some(path) = outbound.path(view.id) else { continue };
            let in_batch = path.batch.len();
            view.room = path.has_room(now, len + OVERHEAD)
                && (in_batch == 0 || in_batch + len + OVERHEAD <= path.turn_bytes().max(1));
            view.wait =
                if view.room { Span::ZERO } else { FEEDBACK_WAIT.max(path.next_send.since(now)) };
        }
    }
}

/// How long a full window takes to open: about half the interval of feedback.
const FEEDBACK_WAIT: Span = Span::millis(3);
