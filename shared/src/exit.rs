//! How a program ends: its exit code, and the error that carries it.

use std::{
    fmt::{self, Display},
    io,
    process::ExitCode,
};

/// What the exit code of a program says.
///
/// Service managers and scripts rely on the numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    /// Somebody asked the program to end, or it did what it was asked to.
    Asked = 0,
    /// Something failed while running.
    Failed = 1,
    /// The configuration or the command line is wrong.
    Configuration = 2,
    /// A right or a feature of the kernel is missing.
    Rights = 3,
    /// The server refused this client.
    Refused = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a program ends, in words for its user, with the exit code.
#[derive(Debug)]
pub struct Error {
    exit: Exit,
    cause: String,
    remedy: Option<String>,
}

impl Error {
    /// An error that names the thing and what is wrong with it.
    pub fn new(exit: Exit, cause: impl Display) -> Self {
        Self { exit, cause: cause.to_string(), remedy: None }
    }

    /// Something failed while running.
    pub fn failed(cause: impl Display) -> Self {
        Self::new(Exit::Failed, cause)
    }

    /// The configuration or the command line is wrong.
    pub fn configuration(cause: impl Display) -> Self {
        Self::new(Exit::Configuration, cause)
    }

    /// A right or a feature of the kernel is missing.
    pub fn rights(cause: impl Display) -> Self {
        Self::new(Exit::Rights, cause)
    }

    /// The server refused this client.
    pub fn refused(cause: impl Display) -> Self {
        Self::new(Exit::Refused, cause)
    }

    /// A system call failed: `doing` says what was tried ("open /dev/net/tun").
    ///
    /// Missing rights become [`Exit::Rights`], everything else [`Exit::Failed`].
    pub fn from_io(doing: impl Display, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::Rights,
            _ => Exit::Failed,
        };
        let reason = match error.kind() {
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            io::ErrorKind::NotFound => "no such file or folder".to_owned(),
            io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
            io::ErrorKind::StorageFull => "no space left on the disk".to_owned(),
            io::ErrorKind::QuotaExceeded => "the disk quota is used up".to_owned(),
            _ => error.to_string(),
        };
        Self::new(exit, format_args!("cannot {doing}: {reason}"))
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Display) -> Self {
        self.remedy = Some(remedy.to_string());
        self
    }

    /// Replaces the exit code.
    #[must_use]
    pub fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// What is wrong, without the remedy.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// What the user can do about it; empty when the cause says it all.
    pub fn remedy(&self) -> &str {
        self.remedy.as_deref().unwrap_or_default()
    }

    /// The code that the program ends with.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  help: {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Ends `main`: an error is printed after the name of the program and becomes its exit code.
pub fn conclude(program: &str, result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => Exit::Asked.into(),
        Err(error) => {
            use std::io::Write as _;
            // A closed stderr is no reason to end with another code.
            let _ = writeln!(io::stderr(), "{program}: {error}");
            error.exit().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_stands_below_the_cause() {
        let error = Error::rights("cannot open /dev/net/tun").with_remedy("run as root");

        assert_eq!(error.to_string(), "cannot open /dev/net/tun\n  help: run as root");
        assert_eq!(error.exit(), Exit::Rights);
    }

    #[test]
    fn missing_rights_have_their_own_code() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let full = io::Error::from(io::ErrorKind::StorageFull);

        assert_eq!(Error::from_io("open x", &denied).exit(), Exit::Rights);
        assert_eq!(Error::from_io("write x", &full).exit(), Exit::Failed);
        assert_eq!(
            Error::from_io("write x", &full).to_string(),
            "cannot write x: no space left on the disk"
        );
    }
}
