//! Where a running program is found by its name.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use crate::{
    config::{self, Wrong},
    exit::{Error, Exit},
};

/// A program by its name, and the folder where its socket is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Instance {
    folder: PathBuf,
    name: String,
}

impl Instance {
    /// The instance called `name`, or after its configuration file when that is `None`.
    ///
    /// # Errors
    /// When the name can't be part of a path, or there is no folder for sockets.
    pub fn named(name: Option<&str>, configuration: &Path) -> Result<Self, Error> {
        let name = instance_name(name, configuration)?;
        let folder = folders()?.into_iter().find_map(|folder| usable(&folder).map(|()| folder));
        let folder = folder.ok_or_else(|| {
            Error::rights(format_args!("cannot make a folder for the control socket of \"{name}\""))
                .with_remedy(format_args!("run as root, or {SET_RUNTIME_DIR}"))
        })?;
        Ok(Self { folder, name })
    }

    /// The instance called `name` in a folder of the caller's choice.
    ///
    /// # Errors
    /// When the name can't be part of a path.
    pub fn in_folder(folder: impl Into<PathBuf>, name: &str) -> Result<Self, Error> {
        validate_instance_name(name).map_err(Error::configuration)?;
        Ok(Self { folder: folder.into(), name: name.to_owned() })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(format!("{}.{SOCKET_EXTENSION}", self.name))
    }

    /// The lock that the running program holds.
    pub(super) fn lock(&self) -> PathBuf {
        self.folder.join(format!("{}.lock", self.name))
    }
}

/// The instance's name: the one given, or the stem of its configuration file.
///
/// # Errors
/// When it can't be part of a path.
pub(super) fn instance_name(name: Option<&str>, configuration: &Path) -> Result<String, Error> {
    let stem = configuration.file_stem().unwrap_or_default().to_string_lossy();
    let name = name.unwrap_or(&stem);
    validate_instance_name(name).map_err(|wrong| {
        let error = Error::configuration(format_args!("{} for a running program", wrong.what()));
        error.with_remedy(format_args!("give one by --name: {}", wrong.remedy()))
    })?;
    Ok(name.to_owned())
}

/// Whether `name` may name a running program: as other names, capital letters included.
///
/// # Errors
/// Says what a name must be.
pub fn validate_instance_name(name: &str) -> Result<(), Wrong> {
    config::validate_name(&name.to_ascii_lowercase())
}

/// All instances that have a socket, whether they run or not, by name.
pub(super) fn all() -> Result<Vec<Instance>, Error> {
    let mut found = Vec::new();
    for folder in folders()? {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let paths = entries.take(INSTANCES_MAX).filter_map(|entry| Some(entry.ok()?.path()));
        for path in paths.filter(|path| path.extension().is_some_and(|it| it == SOCKET_EXTENSION)) {
            let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            found.extend(Instance::in_folder(&folder, name));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The instances called `name`: one in each folder where it has a socket.
pub(super) fn called(name: &str) -> Result<Vec<Instance>, Error> {
    Ok(all()?.into_iter().filter(|instance| instance.name == name).collect())
}

/// More files in the folder than that are not ours.
const INSTANCES_MAX: usize = 4096;

const SOCKET_EXTENSION: &str = "sock";
const SET_RUNTIME_DIR: &str = "set XDG_RUNTIME_DIR to a folder of your own";

/// Where sockets may be, best first.
///
/// Root of a user namespace is not root of the machine, so that its `/run` may be closed to it.
fn folders() -> Result<Vec<PathBuf>, Error> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = own.filter(|path| path.is_absolute()).map(|path| path.join("hawser"));
    let root = rustix::process::geteuid().is_root().then(|| PathBuf::from("/run/hawser"));
    let folders: Vec<PathBuf> = root.into_iter().chain(own).collect();
    if folders.is_empty() {
        return Err(Error::new(Exit::Rights, "there is no folder for control sockets")
            .with_remedy(SET_RUNTIME_DIR));
    }
    Ok(folders)
}

/// Makes the folder if needed; `None` when we can't write there.
fn usable(folder: &Path) -> Option<()> {
    // Only its owner may enter: a socket has no protection between its making and its chmod.
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.ok()?;
    let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(folder, wanted).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_gives_the_name_unless_one_is_given() {
        let file = Path::new("/etc/hawser/branch-7.toml");

        assert_eq!(instance_name(None, file).unwrap(), "branch-7");
        assert_eq!(instance_name(Some("A1"), file).unwrap(), "A1");
    }

    #[test]
    fn a_name_that_leaves_the_folder_is_refused() {
        for bad in ["../x", "a/b", "", ".."] {
            let error = instance_name(Some(bad), Path::new("x.toml")).unwrap_err();
            assert_eq!(error.exit(), Exit::Configuration);
        }
        let error = instance_name(None, Path::new("/etc/my config.toml")).unwrap_err();
        assert!(error.to_string().contains("--name"), "{error}");
    }
}
