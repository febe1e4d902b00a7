//! The one hand that changes the host, and takes its changes back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::Mutex;
use tracing::{debug, info, warn};

use crate::status::validate_instance_name;

use super::journal::{Change, Entry, Journal};
use super::{
    HostError, Netlink, Result, Route, Rule, nft, qdisc, read_sysctl, sysctl, sysctl_path,
};

/// Our changes to the host.
///
/// A change is written to a journal before it is made. [`undo`](Self::undo) takes all of them
/// back; when the last clone is dropped without that, it is attempted; and after SIGKILL the next
/// [`open`](Self::open) with the same name does it. Making the same change twice is one change.
///
/// Clones share the journal. A [`scope`](Self::scope) is a part of it that can be undone alone.
#[derive(Clone, Debug)]
pub struct HostState {
    inner: Arc<Inner>,
    scope: String,
}

#[derive(Debug)]
struct Inner {
    name: String,
    netlink: Netlink,
    journal: Mutex<Journal>,
}

impl HostState {
    /// Takes `name` for this process, in [`runtime_directory`], and undoes what an earlier process
    /// of this name has left behind.
    ///
    /// # Errors
    /// [`HostError::Running`] when another process has the name; when the folder can't be written.
    pub async fn open(name: &str) -> Result<Self> {
        Self::open_in(&runtime_directory(), name).await
    }

    /// The same, with the journal in another folder.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_in(directory: &Path, name: &str) -> Result<Self> {
        if validate_instance_name(name).is_err() {
            return Err(HostError::Name(name.to_owned()));
        }
        let journal = Journal::open(directory, name)?;
        let left_behind = journal.entries().len();
        let inner = Inner {
            name: name.to_owned(),
            netlink: Netlink::open()?,
            journal: Mutex::new(journal),
        };
        let state = Self { inner: Arc::new(inner), scope: String::new() };
        if left_behind > 0 {
            info!(changes = left_behind, "undoing what an earlier run has left on this host");
            state.undo().await?;
        }
        Ok(state)
    }

    /// The name that it was opened with.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The connection to the kernel that changes are made through, to ask questions.
    pub fn netlink(&self) -> &Netlink {
        &self.inner.netlink
    }

    /// The same journal for a part of the program; `undo` of the result undoes only what was made
    /// through it, `undo` of the whole undoes it too.
    #[must_use]
    pub fn scope(&self, scope: &str) -> Self {
        Self { inner: Arc::clone(&self.inner), scope: scope.to_owned() }
    }

    /// Adds an address to an interface.
    ///
    /// # Errors
    /// When the kernel or the journal refuses.
    pub async fn add_address(&self, interface: &str, address: IpNet) -> Result<()> {
        self.make([Change::Address { interface: interface.to_owned(), address }]).await
    }

    /// Removes an address that was added here.
    ///
    /// # Errors
    /// When the kernel or the journal refuses.
    pub async fn remove_address(&self, interface: &str, address: IpNet) -> Result<()> {
        self.take_back(Change::Address { interface: interface.to_owned(), address }).await
    }

    /// Adds a route, or adds it once more after the kernel has dropped it with its interface.
    ///
    /// # Errors
    /// When the kernel or the journal refuses.
    pub async fn add_route(&self, route: Route) -> Result<()> {
        self.add_routes([route]).await
    }

    /// Adds routes, written down all at once.
    ///
    /// # Errors
    /// When the kernel or the journal refuses.
    pub async fn add_routes(&self, routes: impl IntoIterator<Item = Route>) -> Result<()> {
        self.make(routes.into_iter().map(|route| Change::Route { route })).await
    }

    /// Removes a route that was added here.
    ///
    /// # Errors
    /// When the kernel or the journal refuses.
    pub async fn remove_route(&self, route: Route) -> Result<()> {
        self.take_back(Change::Route { route }).await
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// When the kernel or the journal refuses.
    pub async fn add_rule(&self, rule: Rule) -> Result<()> {
        self.make([Change::Rule { rule }]).await
    }

    /// Removes a rule that was added here.
    ///
    /// # Errors
    /// When the kernel or the journal refuses.
    pub async fn remove_rule(&self, rule: Rule) -> Result<()> {
        self.take_back(Change::Rule { rule }).await
    }

    /// Runs an nft script that makes or changes `table`, family inet; undoing removes the table.
    ///
    /// # Errors
    /// When nft is missing or refuses, or the journal does.
    pub async fn nft(&self, table: &str, script: &str) -> Result<()> {
        let change = Change::NftTable { table: table.to_owned() };
        self.inner.journal.lock().await.record([self.entry(change)])?;
        nft::run(table, script).await
    }

    /// Gives an interface queues, in place of those that it has from the kernel or from us. Each
    /// script is one for `tc -batch`; of several, the first that the kernel can is taken.
    ///
    /// # Errors
    /// [`HostError::Queued`] when somebody else has given it some; when tc is missing or refuses all
    /// scripts, or the journal does.
    pub async fn set_queues(&self, interface: &str, scripts: &[String]) -> Result<()> {
        qdisc::refuse_others(interface).await?;
        let change = Change::Queues { interface: interface.to_owned() };
        self.inner.journal.lock().await.record([self.entry(change)])?;
        qdisc::set(interface, scripts).await
    }

    /// Takes back the queues that an interface was given.
    ///
    /// # Errors
    /// When tc or the journal refuses.
    pub async fn remove_queues(&self, interface: &str) -> Result<()> {
        self.take_back(Change::Queues { interface: interface.to_owned() }).await
    }

    /// Sets a sysctl, a path below /proc/sys, unless it has this value already. Undoing restores
    /// the value that it had, unless somebody else has changed it since.
    ///
    /// # Errors
    /// When there is no such parameter, or the kernel or the journal refuses.
    pub async fn set_sysctl(&self, path: &str, value: &str) -> Result<()> {
        let mut journal = self.inner.journal.lock().await;
        let Some(current) = read_sysctl(path)? else {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(HostError::system(format!("set the sysctl {path}"), missing));
        };
        if current == value {
            return Ok(());
        }
        let known = journal.entries().iter().find_map(|entry| match &entry.change {
            Change::Sysctl { path: known, before, .. } if known == path => {
                Some((entry.clone(), before.clone()))
            }
            _ => None,
        });
        let change =
            |before| Change::Sysctl { path: path.to_owned(), before, ours: value.to_owned() };
        match known {
            Some((old, before)) => journal.amend(&old, self.entry(change(before)))?,
            None => journal.record([self.entry(change(current))])?,
        }
        sysctl::write_sysctl(path, value)
    }

    /// Makes an interface accept packets whose answer would leave by another one, where it is set
    /// to drop them (`rp_filter` 1, RFC 3704 section 2.2; loose is 2, section 2.4).
    ///
    /// # Errors
    /// When the kernel or the journal refuses.
    pub async fn loosen_reverse_path_filter(&self, interface: &str) -> Result<()> {
        let own = sysctl_path("ipv4", interface, "rp_filter");
        let Some(value) = read_sysctl(&own)? else { return Ok(()) };
        let all = read_sysctl(&sysctl_path("ipv4", "all", "rp_filter"))?.unwrap_or_default();
        // The larger of the two counts.
        if value.max(all) == "1" {
            self.set_sysctl(&own, "2").await?;
        }
        Ok(())
    }

    /// Takes back the changes of this scope (all of them, for the whole), the last one first.
    ///
    /// Goes on after a failure, keeps what failed in the journal for the next start, and returns
    /// the first failure.
    ///
    /// # Errors
    /// When a change can't be taken back, or the journal can't be written.
    pub async fn undo(&self) -> Result<()> {
        let mut journal = self.inner.journal.lock().await;
        undo(&self.inner.netlink, &mut journal, &self.scope).await
    }

    fn entry(&self, change: Change) -> Entry {
        Entry { scope: self.scope.clone(), change }
    }

    async fn make(&self, changes: impl IntoIterator<Item = Change>) -> Result<()> {
        let entries: Vec<Entry> = changes.into_iter().map(|change| self.entry(change)).collect();
        let mut journal = self.inner.journal.lock().await;
        journal.record(entries.iter().cloned())?;
        for entry in &entries {
            match &entry.change {
                Change::Address { interface, address } => {
                    self.inner.netlink.add_address(interface, *address).await?;
                }
                Change::Route { route } => self.inner.netlink.add_route(route).await?,
                Change::Rule { rule } => self.inner.netlink.add_rule(rule).await?,
                Change::NftTable { .. } | Change::Queues { .. } | Change::Sysctl { .. } => {}
            }
        }
        Ok(())
    }

    async fn take_back(&self, change: Change) -> Result<()> {
        let entry = self.entry(change);
        let mut journal = self.inner.journal.lock().await;
        if !journal.entries().contains(&entry) {
            return Ok(());
        }
        revert(&self.inner.netlink, &entry.change).await?;
        journal.forget(&[entry])
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.journal.get_mut().entries().is_empty() {
            return;
        }
        // The runtime that made the changes may be going away: undo on one of our own.
        let journal = &mut self.journal;
        let undone = std::thread::scope(|scope| {
            let undo = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let Ok(runtime) = runtime else { return false };
                runtime.block_on(async {
                    let Ok(netlink) = Netlink::open() else { return false };
                    undo(&netlink, journal.get_mut(), "").await.is_ok()
                })
            };
            scope.spawn(undo).join()
        });
        if !matches!(undone, Ok(true)) {
            warn!(name = self.name, "not all changes to this host are undone: start and stop once");
        }
    }
}

/// Where journals and control sockets are: /run/hawser, or $XDG_RUNTIME_DIR/hawser for who may not
/// write there.
pub fn runtime_directory() -> PathBuf {
    let system = PathBuf::from("/run/hawser");
    let Some(own) = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()) else {
        return system;
    };
    // Root of a user namespace has the number of root without its rights on the host.
    let may_write = |path: &Path| {
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::access(path, access).is_ok()
    };
    let exists = system.exists();
    if (exists && may_write(&system)) || (!exists && may_write(Path::new("/run"))) {
        return system;
    }
    Path::new(&own).join("hawser")
}

async fn undo(netlink: &Netlink, journal: &mut Journal, scope: &str) -> Result<()> {
    let in_scope = |entry: &&Entry| scope.is_empty() || entry.scope == scope;
    let entries: Vec<Entry> = journal.entries().iter().filter(in_scope).rev().cloned().collect();
    let mut undone = Vec::with_capacity(entries.len());
    let mut failure = None;
    for entry in entries {
        match revert(netlink, &entry.change).await {
            Ok(()) => undone.push(entry),
            Err(error) => {
                warn!(%error, "a change to this host could not be undone");
                failure.get_or_insert(error);
            }
        }
    }
    journal.forget(&undone)?;
    failure.map_or(Ok(()), Err)
}

async fn revert(netlink: &Netlink, change: &Change) -> Result<()> {
    debug!(?change, "undoing");
    match change {
        Change::Address { interface, address } => netlink.remove_address(interface, *address).await,
        Change::NftTable { table } => nft::delete(table).await,
        Change::Queues { interface } => qdisc::remove(interface).await,
        Change::Route { route } => netlink.remove_route(route).await,
        Change::Rule { rule } => netlink.remove_rule(rule).await,
        Change::Sysctl { path, before, ours } => {
            match read_sysctl(path)? {
                Some(current) if current == *ours => sysctl::write_sysctl(path, before),
                // Gone with its interface, or changed by somebody else since.
                _ => Ok(()),
            }
        }
    }
}
