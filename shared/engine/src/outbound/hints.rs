//! What the kernel says of links, and how soon it is obeyed.

use super::Outbound;
use crate::{
    path::{Hint, PathId, PathState},
    time::Time,
};

impl Outbound {
    /// Takes a path for dead at once: the kernel said at `told` that its link carries nothing.
    pub fn fail_path(&mut self, now: Time, id: PathId, hint: Hint, told: Time) {
        let Some(path) = self.path_mut(id) else { return };
        if !matches!(path.state, PathState::Up | PathState::Suspect | PathState::Probation) {
            return;
        }
        path.stats.hints += 1;
        path.stats.hint = Some(hint);
        // Where nothing was on its way, there is nothing to be moved in a hurry.
        if path.live {
            path.hinted_at = Some(told);
            path.stats.moved_after = None;
            self.hinted = true;
        }
        self.enter(now, id, PathState::Dead);
        if let Some(path) = self.path_mut(id) {
            path.gone = hint != Hint::Peer;
        }
    }

    /// A segment leaves by a path: those whose link the kernel said to be gone have been left.
    pub(super) fn note_moved(&mut self, now: Time, to: PathId) {
        for path in self.paths.iter_mut().flatten().filter(|path| path.id != to) {
            if let Some(told) = path.hinted_at.take() {
                path.stats.moved_after = Some(now.since(told));
            }
        }
        self.hinted = self.paths.iter().flatten().any(|path| path.hinted_at.is_some());
    }
}
