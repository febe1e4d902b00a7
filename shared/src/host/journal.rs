//! The file that says what we changed on the host, so that whoever starts next can undo it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{HostError, Result, Route, Rule};

/// One change to the host, with all that is needed to undo it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(super) enum Change {
    /// An address was added.
    Address { interface: String, address: ipnet::IpNet },
    /// A table of nftables, family inet, was made.
    NftTable { table: String },
    /// An interface was given queues.
    Queues { interface: String },
    /// A route was added.
    Route { route: Route },
    /// A rule was added.
    Rule { rule: Rule },
    /// A sysctl was set.
    Sysctl { path: String, before: String, ours: String },
}

/// A change and the part of the program that made it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Entry {
    pub(super) scope: String,
    #[serde(flatten)]
    pub(super) change: Change,
}

/// The changes of one running process, on disk before they are made.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    lock_path: PathBuf,
    /// Holds the lock while it is open.
    _lock: File,
    entries: Vec<Entry>,
}

#[derive(Deserialize, Serialize)]
struct Content {
    version: u32,
    /// The network namespace that the changes were made in.
    namespace: String,
    entries: Vec<Entry>,
}

impl Journal {
    /// Takes the name, and the entries that an earlier process has left in this namespace.
    pub(super) fn open(directory: &Path, name: &str) -> Result<Self> {
        make_directory(directory)?;
        let lock_path = directory.join(format!("{name}.state.lock"));
        let lock = lock(name, &lock_path)?;
        let path = directory.join(format!("{name}.state"));
        let entries = left_behind(&path)?;
        Ok(Self { path, lock_path, _lock: lock, entries })
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Writes entries down; only then may they be made.
    pub(super) fn record(&mut self, entries: impl IntoIterator<Item = Entry>) -> Result<()> {
        let before = self.entries.len();
        for entry in entries {
            if !self.entries.contains(&entry) {
                self.entries.push(entry);
            }
        }
        if self.entries.len() > CHANGES_MAX {
            self.entries.truncate(before);
            return Err(HostError::TooMany(CHANGES_MAX));
        }
        if self.entries.len() == before {
            return Ok(());
        }
        self.write().inspect_err(|_| self.entries.truncate(before))
    }

    /// Replaces one entry by another.
    pub(super) fn amend(&mut self, old: &Entry, new: Entry) -> Result<()> {
        if let Some(entry) = self.entries.iter_mut().find(|entry| *entry == old) {
            *entry = new;
            self.write()?;
        }
        Ok(())
    }

    /// Forgets entries that are undone; the file vanishes with the last one.
    pub(super) fn forget(&mut self, undone: &[Entry]) -> Result<()> {
        self.entries.retain(|entry| !undone.contains(entry));
        self.write()
    }

    fn write(&self) -> Result<()> {
        let failed = |source| HostError::Journal { path: self.path.clone(), source };
        if self.entries.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            };
        }
        let content =
            Content { version: VERSION, namespace: namespace()?, entries: self.entries.clone() };
        let text = serde_json::to_vec_pretty(&content).map_err(|error| failed(error.into()))?;
        let beside = self.path.with_extension("state.new");
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| fs::rename(&beside, &self.path));
        written.map_err(|error| {
            // Half a file beside the journal would only puzzle people.
            let _ = fs::remove_file(&beside);
            failed(error)
        })
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Nothing is left to guard; whoever waits for the lock sees that its file is gone.
        if self.entries.is_empty() {
            let _ = fs::remove_file(&self.lock_path);
        }
    }
}

/// More changes than any configuration asks for; a loop would fill the memory otherwise.
pub(super) const CHANGES_MAX: usize = 8192;
const VERSION: u32 = 1;

fn make_directory(directory: &Path) -> Result<()> {
    // Only its owner may enter: journals are nobody else's business.
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|source| match source.kind() {
        ErrorKind::PermissionDenied => {
            HostError::Rights { what: format!("make the folder {}", directory.display()) }
        }
        _ => HostError::Journal { path: directory.to_owned(), source },
    })
}

/// Locks the file of this name; the lock ends with the process, however it ends.
fn lock(name: &str, path: &Path) -> Result<File> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::PermissionDenied => {
            HostError::Rights { what: format!("open {}", path.display()) }
        }
        _ => HostError::Journal { path: path.to_owned(), source },
    };
    for _ in 0..LOCK_ATTEMPTS_MAX {
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(HostError::Running { name: name.to_owned(), path: path.to_owned() });
            }
            Err(error) => return Err(failed(error.into())),
        }
        // Whoever held the lock may have removed the file between our opening and locking it.
        let ours = file.metadata().map_err(failed)?.ino();
        if fs::metadata(path).is_ok_and(|there| there.ino() == ours) {
            return Ok(file);
        }
    }
    Err(HostError::Running { name: name.to_owned(), path: path.to_owned() })
}

const LOCK_ATTEMPTS_MAX: usize = 16;

/// The entries of a process that ended without undoing them.
fn left_behind(path: &Path) -> Result<Vec<Entry>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(HostError::Journal { path: path.to_owned(), source }),
    };
    let content: Content = match serde_json::from_slice(&text) {
        Ok(content) => content,
        Err(error) => {
            warn!(path = %path.display(), %error, "the journal of host changes is unreadable: \
                   what an earlier run has left is not undone");
            return Ok(Vec::new());
        }
    };
    if content.version != VERSION || content.namespace != namespace()? {
        warn!(path = %path.display(), "the journal of host changes is of another network \
               namespace or version: what an earlier run has left there is not undone");
        return Ok(Vec::new());
    }
    Ok(content.entries)
}

/// What names the network namespace of this thread.
fn namespace() -> Result<String> {
    let path = Path::new("/proc/thread-self/ns/net");
    let file = fs::metadata(path)
        .map_err(|source| HostError::Journal { path: path.to_owned(), source })?;
    Ok(format!("{}:{}", file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_found_by_the_next_to_open_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), "x").unwrap();
        journal.record([entry("a"), entry("b"), entry("a")]).unwrap();
        // As after SIGKILL: the lock is released, nothing is undone.
        drop(journal);

        let mut journal = Journal::open(folder.path(), "x").unwrap();

        assert_eq!(journal.entries(), [entry("a"), entry("b")]);
        journal.forget(&[entry("a"), entry("b")]).unwrap();
        drop(journal);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn a_name_has_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let first = Journal::open(folder.path(), "x").unwrap();

        let second = Journal::open(folder.path(), "x");

        assert!(matches!(second, Err(HostError::Running { .. })), "{second:?}");
        drop(first);
        assert!(Journal::open(folder.path(), "x").is_ok());
    }

    #[test]
    fn an_unreadable_journal_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.state"), "{\"version\":1,").unwrap();

        assert_eq!(Journal::open(folder.path(), "x").unwrap().entries(), []);
    }

    #[test]
    fn a_journal_of_another_namespace_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let content = Content {
            version: VERSION,
            namespace: "4:1".to_owned(),
            entries: vec![entry("elsewhere")],
        };
        fs::write(folder.path().join("x.state"), serde_json::to_vec(&content).unwrap()).unwrap();

        assert_eq!(Journal::open(folder.path(), "x").unwrap().entries(), []);
    }

    #[test]
    fn the_journal_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), "x").unwrap();
        let many = (0..=CHANGES_MAX).map(|at| entry(&at.to_string()));

        assert!(matches!(journal.record(many), Err(HostError::TooMany(_))));
        assert_eq!(journal.entries(), []);
    }

    fn entry(table: &str) -> Entry {
        Entry { scope: String::new(), change: Change::NftTable { table: table.to_owned() } }
    }
}
