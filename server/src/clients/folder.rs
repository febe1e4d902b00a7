//! The folder of the clients' files, followed while the server runs.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use shared::{
    config::{Document, validate_name},
    exit::{Error, Exit},
};

use super::{Client, claims::Claims, watch::Watch};
use crate::leases::Pools;

/// All clients, as their files say.
///
/// A file that can't be used changes nothing: a client that was there stays as it was, and the
/// problem is told once.
#[derive(Debug)]
pub(crate) struct ClientsFolder {
    path: PathBuf,
    pools: Pools,
    files: BTreeMap<String, Known>,
    /// Why the folder could not be listed.
    unlisted: Option<String>,
    watch: Watch,
}

/// What became different.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Clients that were not there.
    pub(crate) added: Vec<Client>,
    /// Clients whose file says something else; as they are.
    pub(crate) changed: Vec<Client>,
    /// Clients that are gone; as they were.
    pub(crate) removed: Vec<Client>,
    /// Files that can't be used.
    pub(crate) problems: Vec<Error>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        let Self { added, changed, removed, problems } = self;
        added.is_empty() && changed.is_empty() && removed.is_empty() && problems.is_empty()
    }
}

/// What is known about one file.
#[derive(Debug)]
struct Known {
    stamp: Stamp,
    /// The last content that could be used.
    client: Option<Client>,
    /// What is wrong with the present content.
    problem: Option<String>,
}

/// Differs when a file was written or replaced: inode, size, time of change.
type Stamp = (u64, u64, i64, i64);

impl ClientsFolder {
    /// Reads all files, and says which of them can't be used.
    ///
    /// # Errors
    /// When the folder itself can't be read.
    pub(crate) fn open(path: &Path, pools: Pools) -> Result<(Self, Vec<Error>), Error> {
        let mut folder = Self {
            path: path.to_owned(),
            pools,
            files: BTreeMap::new(),
            unlisted: None,
            watch: Watch::default(),
        };
        let mut problems = folder.scan().problems;
        match (folder.unlisted.is_some(), problems.pop()) {
            (true, Some(error)) => Err(error),
            (_, last) => {
                problems.extend(last);
                Ok((folder, problems))
            }
        }
    }

    /// All clients by name.
    pub(crate) fn clients(&self) -> impl Iterator<Item = &Client> {
        self.files.values().filter_map(|file| file.client.as_ref())
    }

    /// Waits until something is different, at most a second longer than it takes to change it.
    /// Needs tokio; nothing is missed when the future is dropped and asked for again.
    pub(crate) async fn changes(&mut self) -> Changes {
        loop {
            self.watch.wait(&self.path).await;
            let changes = self.scan();
            if !changes.is_empty() {
                return changes;
            }
        }
    }

    /// What belongs to all clients.
    pub(super) fn claims(&self) -> Claims {
        let mut claims = Claims::default();
        self.clients().for_each(|client| claims.add(client));
        claims
    }

    fn scan(&mut self) -> Changes {
        let mut changes = Changes::default();
        let listed = match list(&self.path) {
            Ok(listed) => listed,
            Err(error) => {
                // A folder that is not there for a moment ends no session.
                let text = error.to_string();
                if self.unlisted.replace(text.clone()) != Some(text) {
                    changes.problems.push(error);
                }
                return changes;
            }
        };
        self.unlisted = None;
        let gone = self.files.extract_if(.., |name, _| !listed.contains_key(name));
        changes.removed.extend(gone.filter_map(|(_, file)| file.client));

        let unchanged = |name: &str, stamp: &Stamp| {
            let known = self.files.get(name)?;
            let same = known.stamp == *stamp && known.problem.is_none();
            known.client.as_ref().filter(|_| same)
        };
        let mut claims = Claims::default();
        let mut fresh = Vec::new();
        for (name, stamp) in listed {
            match unchanged(&name, &stamp) {
                Some(client) => claims.add(client),
                None => fresh.push((name, stamp)),
            }
        }
        for (name, stamp) in fresh {
            self.reread(name, stamp, &mut claims, &mut changes);
        }
        changes
    }

    fn reread(&mut self, name: String, stamp: Stamp, claims: &mut Claims, changes: &mut Changes) {
        let known = self.files.remove(&name);
        let (before, told) = known.map_or((None, None), |known| (known.client, known.problem));
        let read = self.read(&name, claims);
        let (client, problem) = match read {
            Ok(client) => {
                claims.add(&client);
                match &before {
                    None => changes.added.push(client.clone()),
                    Some(before) if *before != client => changes.changed.push(client.clone()),
                    Some(_) => {}
                }
                (Some(client), None)
            }
            Err(error) => {
                let text = error.to_string();
                if told.as_ref() != Some(&text) {
                    changes.problems.push(error);
                }
                // What it had may have gone to another since.
                let (kept, lost): (Vec<_>, Vec<_>) =
                    before.into_iter().partition(|client| claims.admit(client, self.pools));
                kept.iter().for_each(|client| claims.add(client));
                changes.removed.extend(lost);
                (kept.into_iter().next(), Some(text))
            }
        };
        self.files.insert(name, Known { stamp, client, problem });
    }
}

impl ClientsFolder {
    fn read(&self, name: &str, claims: &Claims) -> Result<Client, Error> {
        let path = file(&self.path, name);
        validate_name(name).map_err(|wrong| {
            Error::configuration(format_args!("{}: {}", path.display(), wrong.what()))
                .with_remedy(format_args!("rename the file: {}", wrong.remedy()))
        })?;
        Client::read(&Document::load(&path)?, name, self.pools, claims)
    }
}

/// The file of the client `name`.
pub(super) fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.{EXTENSION}"))
}

/// What clients' files end in.
const EXTENSION: &str = "toml";
/// So many clients take seconds to read; a server carries thousands.
const FILES_MAX: usize = 65_536;

/// The clients' files by the clients' names.
fn list(path: &Path) -> Result<BTreeMap<String, Stamp>, Error> {
    let failed = |error: &io::Error| {
        let error = Error::from_io(format_args!("read the folder {}", path.display()), error);
        error.with_exit(Exit::Configuration)
    };
    let mut listed = BTreeMap::new();
    for entry in fs::read_dir(path).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let file = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if hidden || file.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        // Gone between the two calls: the next look finds that.
        let Ok(metadata) = fs::metadata(&file) else { continue };
        let stamp = (metadata.ino(), metadata.size(), metadata.ctime(), metadata.ctime_nsec());
        listed.insert(name, stamp);
        if listed.len() > FILES_MAX {
            return Err(Error::configuration(format_args!(
                "{} has more than {FILES_MAX} clients",
                path.display()
            )));
        }
    }
    Ok(listed)
}

#[cfg(test)]
mod tests;
