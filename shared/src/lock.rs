//! A lock between processes, held through an open file.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use crate::{clock, exit::Error};

/// An exclusive lock; the kernel releases it when the file is closed, however the process ends.
///
/// The file stays behind: removing it would let two processes lock two files of the same name.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Why a lock was not got.
#[derive(Debug)]
pub enum LockError {
    /// Somebody holds it: the process id, if it was written down.
    Held(Option<u32>),
    /// The file can't be opened, locked or written.
    Io(io::Error),
}

impl Lock {
    /// Locks the file at `path` if nobody holds it, and writes our process id into it.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process, or this one, holds the lock.
    pub fn try_acquire(path: &Path) -> Result<Self, LockError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path).map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder(&file))),
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        // The id only serves an error message, so a full disk does not matter here.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
        Ok(Self { file })
    }

    /// As [`try_acquire`](Self::try_acquire), but waits for short work of others to end.
    ///
    /// # Errors
    /// When the lock stays held for [`WAIT_MAX`], or the file can't be made.
    pub fn acquire(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let give_up_at = clock::since_boot() + WAIT_MAX;
        loop {
            match Self::try_acquire(path) {
                Ok(lock) => return Ok(lock),
                Err(LockError::Held(_)) if clock::since_boot() < give_up_at => {
                    std::thread::sleep(RETRY_INTERVAL);
                }
                Err(LockError::Held(pid)) => {
                    let by = pid.map_or(String::new(), |pid| format!(" by process {pid}"));
                    return Err(Error::failed(format_args!("{shown} is still locked{by}"))
                        .with_remedy("wait for it to end, or end it, and try again"));
                }
                Err(LockError::Io(error)) => {
                    return Err(Error::from_io(format_args!("lock {shown}"), &error));
                }
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing unlocks as well, unless a child process inherited the file.
        let _ = self.file.unlock();
    }
}

/// What is done under such a lock takes milliseconds.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

/// Short beside what is waited for, long beside what trying costs.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

fn holder(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Digits of the largest u32.
const PID_BYTES_MAX: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");

        let lock = Lock::try_acquire(&path).unwrap();

        let second = Lock::try_acquire(&path);
        assert!(
            matches!(second, Err(LockError::Held(Some(pid))) if pid == std::process::id()),
            "{second:?}"
        );
        drop(lock);
        assert!(Lock::try_acquire(&path).is_ok());
    }

    #[test]
    fn waiting_ends_when_the_lock_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let lock = Lock::try_acquire(&path).unwrap();

        let waiting = std::thread::spawn(move || Lock::acquire(&path).map(drop));
        drop(lock);

        assert!(waiting.join().unwrap().is_ok());
    }
}
