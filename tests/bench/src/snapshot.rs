//! The simulator's table with one seed and short runs, kept beside the source, so that a regression is a readable
//! difference.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, thread};

use anyhow::{Context as _, Result};
use engine::Trial;
use lab::Direction;

use crate::case::Case;
use crate::row::Row;
use crate::scenario::{self, Scenario, Sender};
use crate::virtual_time;

/// Writes the table, or compares it with the one that is kept.
///
/// # Errors
/// When it can't be read or written.
pub fn run(write: bool) -> Result<ExitCode> {
    let path = path();
    let now = render(&rows());
    if write {
        fs::write(&path, now).with_context(|| format!("write {}", path.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let kept = fs::read_to_string(&path).with_context(|| {
        format!("read {}; `bench multipath --sim --write` makes it", path.display())
    })?;
    let moved = differences(&kept, &now);
    if moved.is_empty() {
        println!("Nothing moved.");
        return Ok(ExitCode::SUCCESS);
    }
    print!("{moved}");
    println!("Figures moved. If that is meant, run `bench multipath --sim --write`.");
    Ok(ExitCode::FAILURE)
}

/// Where the table is kept.
fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("multipath-sim.txt")
}

/// What the table has: the senders whose figures depend on nothing but the seed.
///
/// QUIC is not among them, for its keys differ from run to run.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for scenario in scenario::all(SECONDS) {
        // Two repetitions show whether something moved.
        let scenario = Scenario { repeat: scenario.repeat.min(2), ..scenario.clone() };
        for &sender in scenario.senders.iter().filter(|&&sender| sender != Sender::Quic) {
            cases.push(Case::new(scenario.clone(), sender, Direction::Up, 1));
        }
    }
    cases
}

fn rows() -> Vec<Row> {
    let cases = cases();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let run = |case: &Case| virtual_time::run(case, Trial::default(), &[]);
    thread::scope(|scope| {
        let part = |first: usize| {
            let cases = &cases;
            scope.spawn(move || {
                cases.iter().skip(first).step_by(threads).map(run).collect::<Vec<_>>()
            })
        };
        let parts: Vec<_> = (0..threads).map(part).collect();
        let mut parts: Vec<_> = parts
            .into_iter()
            .map(|part| part.join().expect("a run does not panic").into_iter())
            .collect();
        (0..cases.len()).filter_map(|index| parts[index % threads].next()).collect()
    })
}

/// Rounded, so that a figure moves when something has changed and not when a packet has.
fn render(rows: &[Row]) -> String {
    let mut text = format!("{HEADER}{TITLES}\n");
    for row in rows {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let stream = row.stream.as_ref();
        let queue = row.links.iter().map(|link| link.queue_p99_ms).reduce(f64::max);
        let _ = writeln!(
            text,
            "{:<20} {:<6} {:>6} {:>6} {:>7} {:>8} {:>8} {:>8} {:>8} {:>5} {:>6} {:>9}",
            row.scenario,
            row.sender,
            number(row.share, 2),
            number(row.first_share, 2),
            number(row.against.as_ref().map(|it| it.ratio), 1),
            number(queue, 0),
            number(row.ping.as_ref().map(|it| it.p99_ms), 0),
            number(row.call.as_ref().map(|it| it.delay_p99_ms), 0),
            number(row.tunnel.added_share().map(|share| share * 100.0), 1),
            number(row.inner.and_then(|it| it.timeouts).map(|n| n as f64), 0),
            number(stream.map(|it| it.lost as f64), 0),
            number(stream.map(|it| it.gap_worst_ms()), 0),
        );
    }
    text
}

/// The lines that differ, the kept one before the new one.
fn differences(kept: &str, now: &str) -> String {
    let (kept, now): (Vec<&str>, Vec<&str>) = (kept.lines().collect(), now.lines().collect());
    let mut text = String::new();
    for index in 0..kept.len().max(now.len()) {
        let (before, after) = (kept.get(index), now.get(index));
        if before == after {
            continue;
        }
        if text.is_empty() {
            let _ = writeln!(text, "  {TITLES}");
        }
        for (sign, line) in [('-', before), ('+', after)] {
            if let Some(line) = line {
                let _ = writeln!(text, "{sign} {line}");
            }
        }
    }
    text
}

const HEADER: &str = "\
# The simulator's table: one seed, up, short runs. `bench multipath --sim --check` compares,
# `--write` writes. Shares of what is reachable; p99 of the
# worst link's queue, of the ping's round trip and of the call's delay, and the worst gap, in ms; bytes added in %.
";
const TITLES: &str = "scenario             sender  share   10 s  beside    queue     ping     call  added %   rto   lost  gap worst";
/// How long bulk flows go.
const SECONDS: u64 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_table_is_what_the_simulator_says_today() {
        let kept = fs::read_to_string(path()).expect("it is kept beside the source");
        let moved = differences(&kept, &render(&rows()));
        assert!(moved.is_empty(), "if that is meant: bench multipath --sim --write\n{moved}");
    }

    #[test]
    fn a_figure_that_moved_is_shown_as_it_was_and_as_it_is() {
        let case = cases().swap_remove(0);
        let row = Row { share: Some(0.98), ..Row::empty(&case, &case.scenario) };
        let kept = render(std::slice::from_ref(&row));

        assert_eq!(differences(&kept, &kept), "");
        let moved = differences(&kept, &render(&[Row { share: Some(0.91), ..row }]));
        let lines: Vec<&str> = moved.lines().collect();
        assert!(lines[1].starts_with("- flagship-clean") && lines[1].contains("0.98"), "{moved}");
        assert!(lines[2].starts_with("+ flagship-clean") && lines[2].contains("0.91"), "{moved}");
    }

    #[test]
    fn a_row_is_the_same_each_time() {
        let case = cases().into_iter().find(|case| case.scenario.name == "death-fibre");
        let case = case.expect("it is there");
        let run = || virtual_time::run(&case, Trial::default(), &[]);

        assert_eq!(run(), run());
    }
}
