//! Rows that are finished, so that a run that was broken off goes on where it was.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::case::{Case, Key};
use crate::row::{Row, Runner};

/// The file with one row a line.
#[derive(Debug)]
pub struct Store {
    file: File,
    rows: BTreeMap<Key, Row>,
}

impl Store {
    /// Opens the file in a folder, which is made if needed; with `fresh` it begins empty.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn open(folder: &Path, fresh: bool) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let path = path(folder);
        let text = if fresh { String::new() } else { read(&path)? };
        // A line that was broken off, or is of another version, is run again.
        let rows = text.lines().filter_map(|line| serde_json::from_str::<Row>(line).ok());
        let rows: BTreeMap<Key, Row> = rows.map(|row| (Key::of(&row), row)).collect();
        let mut open = OpenOptions::new();
        open.create(true).write(true).append(!fresh).truncate(fresh);
        let mut file = open.open(&path).with_context(|| format!("open {}", path.display()))?;
        if !text.is_empty() && !text.ends_with('\n') {
            writeln!(file)?;
        }
        Ok(Self { file, rows })
    }

    /// The row of a case, if it is finished.
    pub fn row(&self, case: &Case, runner: Runner, rules: &[String]) -> Option<Row> {
        let mut row = self.rows.get(&case.key(runner, rules))?.clone();
        // What must hold may have changed since.
        row.judge(&case.scenario);
        Some(row)
    }

    /// Keeps a finished row.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn add(&mut self, row: &Row) -> Result<()> {
        let line = serde_json::to_string(row).context("write a row")?;
        // One call, so that no half line is left when the run is broken off.
        self.file.write_all(format!("{line}\n").as_bytes()).context("write a row")?;
        self.rows.insert(Key::of(row), row.clone());
        Ok(())
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("rows.jsonl")
}

fn read(path: &Path) -> Result<String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use lab::Direction;

    use super::*;
    use crate::scenario::{self, Sender};

    #[test]
    fn a_finished_row_is_found_again_and_a_broken_line_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let scenario = scenario::all(20).swap_remove(0);
        let case = Case::new(scenario.clone(), Sender::Cubic, Direction::Up, 3);
        let row = Row::empty(&case, &scenario);

        Store::open(folder.path(), false).unwrap().add(&row).unwrap();
        let mut file = OpenOptions::new().append(true).open(path(folder.path())).unwrap();
        write!(file, "{{\"scenario\":\"flag").unwrap();

        let mut store = Store::open(folder.path(), false).unwrap();
        assert_eq!(store.row(&case, row.runner, &[]), Some(row.clone()));
        assert_eq!(store.row(&case, row.runner, &["no-hold".to_owned()]), None);
        let other = Case { seed: 4, ..case.clone() };
        store.add(&Row { seed: 4, ..row }).unwrap();
        let again = Store::open(folder.path(), false).unwrap();
        assert!(again.row(&other, Runner::VirtualTime, &[]).is_some());
        let fresh = Store::open(folder.path(), true).unwrap();
        assert!(fresh.row(&case, Runner::VirtualTime, &[]).is_none());
    }
}
