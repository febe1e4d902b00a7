//! How many instructions the engine spends on a packet: a figure that no noise moves.
//!
//! Two sessions are put face to face and carry what a TUN device gives, under callgrind, which counts. The
//! counts are kept in a file beside this crate; `bench instructions` compares, and so does a test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::face_to_face::{PACKETS, carry};

/// What to do with the counts.
#[derive(Args, Clone, Debug)]
pub struct Instructions {
    /// Keep the counts of this build
    #[arg(long)]
    write: bool,
    /// Do the work that is counted, over so many paths
    #[arg(long, hide = true, value_name = "PATHS")]
    work: Option<u8>,
}

/// Instructions a packet, by what they are spent on.
type Counts = BTreeMap<String, f64>;

impl Instructions {
    /// Counts, compares with what is kept, and says what moved.
    ///
    /// # Errors
    /// When valgrind is missing, or a count has grown by more than [`GROWTH_MAX`].
    pub fn run(&self) -> Result<()> {
        if let Some(paths) = self.work {
            return carry(paths);
        }
        let counts = count(&env::current_exe()?)?;
        if !cfg!(debug_assertions) {
            print!("{}", to_text(&counts));
            println!("Those that are kept are of builds for tests, which this is not.");
            return Ok(());
        }
        if self.write {
            return fs::write(kept_file(), to_text(&counts)).context("keep the counts");
        }
        print!("{}", compare(&counts, &kept()?)?);
        Ok(())
    }
}

/// Counts by running `program`, which is this one, under callgrind.
///
/// # Errors
/// When valgrind is missing or the program fails.
pub fn count(program: &Path) -> Result<Counts> {
    let folder = tempfile::tempdir()?;
    let mut counts = Counts::new();
    for (paths, way) in [(1, "one path"), (2, "two paths out of order")] {
        let file = folder.path().join(format!("{paths}.out"));
        let mut valgrind = Command::new("valgrind");
        valgrind.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", file.display()));
        let output = valgrind.arg(program).args(["instructions", "--work", &paths.to_string()]);
        let output = output.output().context("run valgrind: apt-get install valgrind")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let annotated = Command::new("callgrind_annotate")
            .args(["--inclusive=yes", "--threshold=100"])
            .arg(&file)
            .output()
            .context("read what callgrind says")?;
        let annotated = String::from_utf8_lossy(&annotated.stdout).into_owned();
        for (name, function) in FUNCTIONS {
            let inclusive = inclusive(&annotated, function)
                .with_context(|| format!("callgrind saw nothing of {function}"))?;
            counts.insert(format!("{name}, {way}"), inclusive / f64::from(PACKETS));
        }
    }
    Ok(counts)
}

/// The counts that are kept.
///
/// # Errors
/// When they can't be read.
pub fn kept() -> Result<Counts> {
    let text = fs::read_to_string(kept_file()).context("read the counts that are kept")?;
    text.lines().map(read_line).collect()
}

/// Compares counts with those that are kept, and says so line by line.
///
/// # Errors
/// When one has grown by more than [`GROWTH_MAX`], or is not kept.
pub fn compare(counts: &Counts, kept: &Counts) -> Result<String> {
    let (mut text, mut grown) = (String::new(), false);
    for (name, count) in counts {
        let before = kept.get(name).with_context(|| format!("no count is kept for {name}"))?;
        let ratio = count / before;
        grown |= ratio > GROWTH_MAX;
        let mark = if ratio > GROWTH_MAX { "GROWN" } else { "ok" };
        writeln!(text, "{mark:5}  {name:40} {count:8.0} instructions a packet, kept {before:.0}")?;
    }
    if grown {
        bail!(
            "more instructions than before; if that is worth it, run `bench instructions --write`\n{text}"
        );
    }
    Ok(text)
}

fn inclusive(annotated: &str, function: &str) -> Option<f64> {
    let line = annotated.lines().find(|line| line.contains(function))?;
    let number = line.split_whitespace().next()?.replace(',', "");
    number.parse().ok()
}

fn to_text(counts: &Counts) -> String {
    counts.iter().map(|(name, count)| format!("{count:.0} {name}\n")).collect()
}

fn read_line(line: &str) -> Result<(String, f64)> {
    let (count, name) = line.split_once(' ').context("a line is a count and a name")?;
    Ok((name.to_owned(), count.parse()?))
}

fn kept_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt")
}

/// What is counted, with all that it calls.
const FUNCTIONS: [(&str, &str); 5] = [
    ("seal", "Fast as engine::aead::Aead>::seal"),
    ("open", "Fast as engine::aead::Aead>::open"),
    ("queue", "Outbound>::handle_buffer"),
    ("schedule, cut and seal", "engine::outbound::Outbound::poll_transmit"),
    ("open, order and release", "engine::inbound::Inbound::handle_datagram"),
];

/// Small changes of a compiler are less; the counts are those of x86-64 with AVX2, which is what callgrind knows of.
pub const GROWTH_MAX: f64 = 1.05;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_has_grown_is_told() {
        let counts = |count| Counts::from([("seal".to_owned(), count)]);
        assert!(compare(&counts(104.0), &counts(100.0)).is_ok());
        assert!(compare(&counts(50.0), &counts(100.0)).is_ok());
        let error = compare(&counts(106.0), &counts(100.0)).expect_err("grown");
        assert!(error.to_string().contains("GROWN  seal"), "{error}");
        assert!(compare(&counts(1.0), &Counts::new()).is_err(), "not kept");
        assert_eq!(
            read_line(to_text(&counts(7.0)).trim()).expect("read"),
            ("seal".to_owned(), 7.0)
        );
    }
}
