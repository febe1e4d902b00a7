//! Files that hold a private key: one line, readable by the owner only, never half written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::identity::KeyError;
use crate::entropy;

/// Reads the text of a key file.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let unreadable = |source| KeyError::Unreadable { path: path.to_owned(), source };

    let file = File::open(path).map_err(unreadable)?;
    // Of the open file, so that nobody can swap the name in between.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_MAX));
    file.take(FILE_MAX as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| KeyError::NoKeyInFile { path: path.to_owned() })?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Writes a key file: aside first, then renamed into its place.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), KeyError> {
    let aside = aside(path);
    write_aside(&aside, text)
        .and_then(|()| fs::rename(&aside, path))
        .and_then(|()| sync_directory(path))
        .map_err(|source| {
            // Nothing to do about a leftover that cannot be removed either.
            let _ = fs::remove_file(&aside);
            KeyError::Unwritable { path: path.to_owned(), source }
        })
}

fn write_aside(aside: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// A rename lasts once the directory is on the disk.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// A name beside `path` that nobody guesses.
fn aside(path: &Path) -> PathBuf {
    let mut random = [0; 8];
    entropy::fill(&mut random);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}.tmp", u64::from_ne_bytes(random)));
    path.with_file_name(name)
}

/// A key is 45 bytes with its newline; the rest allows for editors that add blank lines.
const FILE_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::PrivateKey;

    #[test]
    fn a_saved_key_is_private_and_loads_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.key");
        let key = PrivateKey::generate();

        key.save(&path).unwrap();

        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(PrivateKey::load(&path).unwrap().public(), key.public());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing left over");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.key");
        PrivateKey::generate().save(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();

        let error = PrivateKey::load(&path).unwrap_err().to_string();

        assert!(error.contains("mode 0640"), "{error}");
        assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
    }

    #[test]
    fn what_is_not_a_key_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.key");
        for content in [&b""[..], b"hello\n", &[0xff; 44], &[b'A'; 5000]] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();

            let error = PrivateKey::load(&path).unwrap_err();

            assert!(matches!(error, KeyError::NoKeyInFile { .. }), "{error}");
            assert!(error.to_string().contains("server.key"));
        }
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let error = PrivateKey::generate().save(Path::new("/nonexistent/x.key")).unwrap_err();

        assert!(error.to_string().contains("/nonexistent/x.key"), "{error}");
    }
}
