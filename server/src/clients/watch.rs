//! Waits until something happens in a folder.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use tokio::time;

/// Looks at a folder's time of change: files that are put in place by renaming, as ours and most
/// editors' are, change it. What is written in place shows up a little later.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When the folder had changed last, as of the last look; `None` inside: it was not there.
    seen: Option<Option<SystemTime>>,
    /// Looks that are due although nothing has changed.
    again: u32,
}

impl Watch {
    /// Returns when something has happened since the last call, or may have.
    pub(super) async fn wait(&mut self, folder: &Path) {
        loop {
            let changed = fs::metadata(folder).and_then(|folder| folder.modified()).ok();
            if self.seen != Some(changed) {
                self.seen = Some(changed);
                // The next change may come within the same tick of the file system's clock.
                self.again = 1;
                return;
            }
            time::sleep(LOOK_INTERVAL).await;
            self.again = self.again.wrapping_sub(1) % LOOKS_BETWEEN;
            if self.again == 0 {
                return;
            }
        }
    }
}

/// A server follows within a second.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Every so many looks the files themselves are looked at.
const LOOKS_BETWEEN: u32 = 16;
