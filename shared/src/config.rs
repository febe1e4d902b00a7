//! Reads a configuration file, and says everything that is wrong with it at once.
//!
//! A program reads its file by asking a [`Table`] for the keys it knows. Whatever does not fit is
//! noted as a [`Problem`] with its place, and reading goes on; a key that nobody asked for is a
//! problem too. In the end there is either a whole value or an [`Error`] that lists every problem
//! with file, line, column, the line itself, and what would be right.

use std::{
    fmt::{self, Debug},
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use zeroize::Zeroizing;

pub(crate) use self::read::address_and_port;
pub use self::{
    nearest::nearest,
    problem::{Problem, Wrong},
    read::{
        boolean, cidr, decimal, duration, interface, ip, listen_address, name, number, one_of,
        parse_cidr, parse_listen_address, parsed, text, validate_interface, validate_name, word,
    },
    table::{Placed, Table},
};
use crate::exit::{Error, Exit};

mod nearest;
mod problem;
mod read;
mod table;

/// The text of a configuration file and where it came from.
///
/// It may hold a private key: the text is wiped when dropped, and not shown by `Debug`.
pub struct Document {
    path: PathBuf,
    text: Zeroizing<String>,
}

impl Document {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When there is no such file, it can't be read, is too long, or is not text.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let failed = |error: &io::Error| {
            Error::from_io(format_args!("read {shown}"), error).with_exit(Exit::Configuration)
        };
        let file = File::open(path).map_err(|error| failed(&error))?;
        let length = file.metadata().map_err(|error| failed(&error))?.len();
        // Room for all of it at once, so that no copy of a key stays behind in a smaller buffer.
        let room = length.min(DOCUMENT_BYTES_MAX) as usize + 1;
        let mut text = Zeroizing::new(String::with_capacity(room));
        file.take(DOCUMENT_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| match error
            .kind()
        {
            io::ErrorKind::InvalidData => {
                Error::configuration(format_args!("{shown} is not UTF-8 text"))
            }
            _ => failed(&error),
        })?;
        if text.len() as u64 > DOCUMENT_BYTES_MAX {
            return Err(Error::configuration(format_args!(
                "{shown} is longer than {DOCUMENT_BYTES_MAX} bytes, so it is no configuration"
            )));
        }
        Ok(Self { path: path.to_owned(), text })
    }

    /// A document that is not in a file: `path` is what errors name.
    pub fn from_text(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: Zeroizing::new(text.into()) }
    }

    /// Where the document came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Builds a value from the top-level table.
    ///
    /// `build` returns `None` only where it noted a problem.
    ///
    /// # Errors
    /// Lists all problems; the exit code is that of a wrong configuration.
    pub fn read<T>(&self, build: impl FnOnce(&mut Table<'_>) -> Option<T>) -> Result<T, Error> {
        let (root, errors) = DeTable::parse_recoverable(&self.text);
        let problems = problem::Problems::default();
        for error in &errors {
            problems.note(error.span().unwrap_or(0..0), Wrong::new(error.message()));
        }
        let value = DeValue::Table(root.into_inner());
        let mut table = Table::top(&value, &problems);
        let built = build(&mut table);
        table.finish();
        // What a broken line hides can't be judged: syntax comes first, alone.
        let noted = problems.into_list();
        let noted = if errors.is_empty() { noted } else { noted[..errors.len()].to_vec() };
        match built {
            Some(built) if noted.is_empty() => Ok(built),
            _ => Err(self.error(&noted)),
        }
    }

    /// The error that lists `problems`, each with its place in this document.
    pub fn error(&self, problems: &[Problem]) -> Error {
        Error::configuration(problem::render(&self.path, &self.text, problems))
    }
}

impl Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Larger than any configuration that a person writes.
const DOCUMENT_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_problems_of_a_file_are_listed_with_their_places() {
        let text = "adress = \"::1\"\nport = 70000\n";

        let error = document(text).read(address_and_port).expect_err("three problems");

        let expected = "\
x.toml: 3 problems
x.toml:1:1: the key `address` is missing
   |
 1 | adress = \"::1\"
   | ^ add `address = …`
x.toml:1:1: unknown key `adress`
   |
 1 | adress = \"::1\"
   | ^^^^^^ did you mean `address`?
x.toml:2:8: 70000 is not a number from 1 to 65535
   |
 2 | port = 70000
   |        ^^^^^ write a number from 1 to 65535";
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.exit(), Exit::Configuration);
    }

    #[test]
    fn a_syntax_error_has_its_place() {
        let error = document("a = 1\nb = = 2\n").read(address_and_port).expect_err("bad syntax");

        assert!(error.to_string().contains("x.toml:2:5:"), "{error}");
        assert!(!error.to_string().contains("missing"), "only the syntax is judged: {error}");
    }

    #[test]
    fn a_key_in_the_file_is_not_printed() {
        let key = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";
        let typo = format!("privat_key = \"{key}\"\n");
        let unquoted = format!("private_key = {}\n", &key[..20]);

        for text in [typo, unquoted] {
            let error = document(&text).read(address_and_port).expect_err("unknown key");
            assert!(!error.to_string().contains(&key[..8]), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Document::load(Path::new("/nowhere/x.toml")).expect_err("no file");

        assert!(error.to_string().contains("/nowhere/x.toml"), "{error}");
        assert_eq!(error.exit(), Exit::Configuration);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[\\[\\]=\"'a-z0-9.\\n\\t {},é\u{1F600}#-]{0,80}") {
            let _ = document(&text).read(address_and_port).map_err(|error| error.to_string());
        }
    }

    fn document(text: &str) -> Document {
        Document::from_text("x.toml", text)
    }

    fn address_and_port(table: &mut Table<'_>) -> Option<(String, u16)> {
        let address = table.required("address", text);
        let port = table.optional("port", number(1..=65535));
        Some((address?.into_inner(), port.map_or(Some(4500), |port| Some(port.into_inner()))?))
    }
}
