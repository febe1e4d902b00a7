//! Waits until something happens in a folder.

use std::{io, os::fd::OwnedFd, path::Path, time::Duration};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::{io::unix::AsyncFd, time};

/// A look at a folder that the kernel asks for (inotify), or else twice a second.
#[derive(Debug, Default)]
pub(super) struct Watch {
    inotify: Option<AsyncFd<OwnedFd>>,
}

impl Watch {
    /// Returns when something may have happened since the last call.
    pub(super) async fn wait(&mut self, folder: &Path) {
        let Some(inotify) = &self.inotify else {
            match start(folder) {
                // Something may have happened before the watch began, so that it is time to look.
                Ok(inotify) => self.inotify = Some(inotify),
                Err(error) => {
                    tracing::debug!(%error, "no inotify: the folder is read twice a second");
                    time::sleep(LOOK_INTERVAL).await;
                }
            }
            return;
        };
        // A folder on another machine changes without a word from the kernel.
        let Ok(readable) = time::timeout(LOOK_ANYWAY_INTERVAL, inotify.readable()).await else {
            return;
        };
        // A file that was touched is often touched again, and many come at once.
        time::sleep(GATHER_TIME).await;
        let intact = readable.is_ok_and(|mut guard| {
            let intact = drain(inotify);
            guard.clear_ready();
            intact
        });
        if !intact {
            self.inotify = None;
        }
    }
}

const LOOK_INTERVAL: Duration = Duration::from_millis(500);
const LOOK_ANYWAY_INTERVAL: Duration = Duration::from_secs(10);
const GATHER_TIME: Duration = Duration::from_millis(50);
/// Room for a few hundred events.
const EVENTS_BYTES: usize = 16 * 1024;

fn start(folder: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let what = WatchFlags::CLOSE_WRITE
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    inotify::add_watch(&inotify, folder, what)?;
    AsyncFd::new(inotify)
}

/// Forgets what was told; says whether the folder is still being watched.
fn drain(inotify: &AsyncFd<OwnedFd>) -> bool {
    let mut room = [std::mem::MaybeUninit::uninit(); EVENTS_BYTES];
    let mut reader = Reader::new(inotify.get_ref(), &mut room);
    loop {
        match reader.next() {
            Ok(event) => {
                let ended = ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
                if event.events().intersects(ended) {
                    return false;
                }
            }
            Err(rustix::io::Errno::AGAIN) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
