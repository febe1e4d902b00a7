//! Keys between the programs and their users: the commands `keygen` and `pubkey`, and key files.

use std::{
    io::{self, Read as _, Write as _},
    path::Path,
};

use zeroize::Zeroizing;

use crate::{
    control::{KeyError, PrivateKey},
    exit::{Error, Exit},
};

/// Prints a fresh private key.
///
/// # Errors
/// When standard output can't be written.
pub fn generate() -> Result<(), Error> {
    print_line(&PrivateKey::generate().to_text())
}

/// Reads a private key from standard input and prints its public key.
///
/// # Errors
/// When standard input holds no key.
pub fn print_public() -> Result<(), Error> {
    let mut text = Zeroizing::new(String::with_capacity(INPUT_BYTES_MAX));
    let no_key = || {
        Error::configuration("standard input holds no private key: 44 characters of base64")
            .with_remedy("`hawser keygen > x.key`, then `hawser pubkey < x.key`")
    };
    io::stdin().take(INPUT_BYTES_MAX as u64).read_to_string(&mut text).map_err(
        |error| match error.kind() {
            io::ErrorKind::InvalidData => no_key(),
            _ => Error::from_io("read standard input", &error),
        },
    )?;
    let key: PrivateKey = text.trim().parse().map_err(|_| no_key())?;
    print_line(&key.public().to_string())
}

/// Reads the private key in a file.
///
/// # Errors
/// When it can't be read, is no key, or others may read it: all a wrong configuration.
pub fn load(path: &Path) -> Result<PrivateKey, Error> {
    PrivateKey::load(path).map_err(|error| match error {
        KeyError::Unreadable { path, source } => {
            let error =
                Error::from_io(format_args!("read the key file {}", path.display()), &source);
            error.with_exit(Exit::Configuration)
        }
        other => Error::configuration(other),
    })
}

/// Writes a private key into a file of its own (0600).
///
/// # Errors
/// When the file can't be written.
pub fn save(key: &PrivateKey, path: &Path) -> Result<(), Error> {
    key.save(path).map_err(|error| match error {
        KeyError::Unwritable { path, source } => {
            Error::from_io(format_args!("write the key file {}", path.display()), &source)
        }
        other => Error::failed(other),
    })
}

/// A key has 44 characters; the rest allows for blank lines.
const INPUT_BYTES_MAX: usize = 256;

fn print_line(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| Error::from_io("write to standard output", &error))
}
