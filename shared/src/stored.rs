//! Small files that are there whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::exit::Error;

/// Writes a file so that readers see the old content or all of the new one, even after a crash:
/// into a temporary file beside it, flushed to the disk, then renamed.
///
/// `mode` is that of a file that did not exist (0o600 for secrets, 0o644 else).
///
/// # Errors
/// When the folder is missing or read-only or the disk is full; nothing is left behind then.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let temporary = temporary_beside(path);
    let written = write_synced(&temporary, content, mode)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_folder(path));
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        Error::from_io(format_args!("write {}", path.display()), &error)
    })
}

/// Removes a file for good; a file that is not there is an error.
///
/// # Errors
/// When the file is missing or its folder can't be changed.
pub fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path)
        .and_then(|()| sync_folder(path))
        .map_err(|error| Error::from_io(format_args!("remove {}", path.display()), &error))
}

/// Refuses a file that others than its owner may read although it holds a private key.
///
/// # Errors
/// Names the file and the command that protects it; the exit code is that of a configuration.
pub fn require_private(path: &Path) -> Result<(), Error> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|error| {
        let error = Error::from_io(format_args!("read {shown}"), &error);
        error.with_exit(crate::exit::Exit::Configuration)
    })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::configuration(format_args!(
        "{shown} holds a private key, and others may open it (mode {mode:04o})"
    ))
    .with_remedy(format_args!("chmod 600 {shown}")))
}

/// The extension of temporary files: whoever lists a folder skips it.
pub const TEMPORARY_EXTENSION: &str = "tmp";

fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let id = std::process::id();
    path.with_file_name(format!(".{name}.{id}.{TEMPORARY_EXTENSION}"))
}

fn write_synced(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // A leftover of a crashed process with the same id is in the way of `create_new`.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_written_file_has_its_content_and_mode_and_no_companion() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");

        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o600).unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        // A folder in the place of the file: everything works but the rename.
        let path = dir.path().join("x.toml");
        fs::create_dir(&path).unwrap();

        let error = write(&path, b"one", 0o600).unwrap_err();

        assert!(error.to_string().contains("x.toml"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "only the folder");
    }

    #[test]
    fn a_missing_folder_is_an_error_with_the_path() {
        let error = write(Path::new("/nowhere/at/all"), b"", 0o600).unwrap_err();

        assert_eq!(error.to_string(), "cannot write /nowhere/at/all: no such file or folder");
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");

        for mode in [0o600, 0o400] {
            write(&path, b"k", mode).unwrap();
            assert!(require_private(&path).is_ok());
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = require_private(&path).unwrap_err();

        assert_eq!(error.exit(), Exit::Configuration);
        assert!(error.to_string().contains("(mode 0640)"), "{error}");
        assert!(error.to_string().ends_with(&format!("chmod 600 {}", path.display())), "{error}");
    }
}
