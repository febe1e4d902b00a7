//! Waits until something happens in a folder.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use tokio::time::{self, Instant};

/// Looks at a folder's time of change: files that are put in place by renaming, as ours and most
/// editors' are, change it. What is written in place shows up a little later.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When the folder had changed last, as of the last look; `None` inside: it was not there.
    seen: Option<Option<SystemTime>>,
    /// When to look at the files although the folder has not changed. It outlives a wait that is
    /// given up.
    again_at: Option<Instant>,
}

impl Watch {
    /// Returns when something has happened since the last call, or may have. May be cancelled.
    pub(super) async fn wait(&mut self, folder: &Path) {
        loop {
            let changed = fs::metadata(folder).and_then(|folder| folder.modified()).ok();
            if self.seen != Some(changed) {
                self.seen = Some(changed);
                // The next change may come within the same tick of the file system's clock.
                self.again_at = Some(Instant::now() + LOOK_INTERVAL);
                return;
            }
            let again_at = *self.again_at.get_or_insert_with(|| Instant::now() + FILES_INTERVAL);
            if again_at <= Instant::now() {
                self.again_at = None;
                return;
            }
            time::sleep_until(again_at.min(Instant::now() + LOOK_INTERVAL)).await;
        }
    }
}

/// A server follows within a second.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// So often the files themselves are looked at.
const FILES_INTERVAL: Duration = Duration::from_secs(4);
