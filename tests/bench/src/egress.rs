//! What becomes of traffic when uplinks of the server fail: the real programs, in namespaces.

mod ground;
mod measure;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;
use shared::grid::{Cell, Colour, Grid};

use self::measure::MEASURES;
use crate::namespaces::Stop;

/// What to run of the measures of the egress.
#[derive(Args, Clone, Debug)]
pub struct Egress {
    /// Each thing a few times only
    #[arg(long)]
    quick: bool,
    /// Only measures whose name contains this; may be given again
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Where the JSON goes
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
}

/// One thing that is measured.
struct Measure {
    name: &'static str,
    /// How often, and how often in a quick run.
    times: [usize; 2],
    /// What must hold.
    line: Line,
    /// What others do, with where that is said.
    elsewhere: &'static str,
    /// Does it once, or all at once, at the phase of this number; gives what it has seen.
    run: fn(u64) -> Result<Vec<f64>>,
}

/// What all figures of a measure must be.
#[derive(Clone, Copy, Debug, Serialize)]
enum Line {
    /// No more, in ms.
    Milliseconds(f64),
    /// None at all.
    None,
    /// Each time.
    Always,
}

/// What came of a measure.
#[derive(Debug, Serialize)]
struct Outcome {
    name: &'static str,
    line: Line,
    figures: Vec<f64>,
    elsewhere: &'static str,
}

impl Egress {
    /// Runs the measures and prints their table. Gives whether every line holds.
    ///
    /// # Errors
    /// When a measure can't be run, or its figures can't be written.
    pub fn run(&self) -> Result<bool> {
        let stop = Stop::on_signals()?;
        let wanted = |measure: &&Measure| {
            self.only.is_empty() || self.only.iter().any(|only| measure.name.contains(only))
        };
        let mut outcomes = Vec::new();
        for measure in MEASURES.iter().filter(wanted) {
            let times = measure.times[usize::from(self.quick)];
            let mut figures = Vec::new();
            for number in 0..times {
                if stop.is_asked() {
                    break;
                }
                eprintln!("{}: {} of {times}", measure.name, number + 1);
                let seen = (measure.run)(number as u64);
                figures.extend(seen.with_context(|| format!("measure {}", measure.name))?);
            }
            let Measure { name, line, elsewhere, .. } = *measure;
            outcomes.push(Outcome { name, line, figures, elsewhere });
        }
        print!("{}", table(&outcomes));
        fs::create_dir_all(&self.out)?;
        fs::write(self.out.join("egress.json"), serde_json::to_vec_pretty(&outcomes)?)?;
        Ok(outcomes.iter().all(Outcome::holds))
    }
}

impl Outcome {
    fn holds(&self) -> bool {
        let most = self.worst();
        !self.figures.is_empty()
            && match self.line {
                Line::Milliseconds(line) => most <= line,
                Line::None => most == 0.0,
                Line::Always => self.figures.iter().all(|figure| *figure == 1.0),
            }
    }

    fn worst(&self) -> f64 {
        self.figures.iter().copied().fold(0.0, f64::max)
    }

    fn median(&self) -> f64 {
        let mut sorted = self.figures.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

fn table(outcomes: &[Outcome]) -> String {
    let mut grid = Grid::new(&["WHAT", "N", "MEDIAN", "WORST", "LINE", "HOLDS", "ELSEWHERE"]);
    for outcome in outcomes {
        let (median, worst, line) = match outcome.line {
            Line::Milliseconds(line) => (
                format!("{:.0} ms", outcome.median()),
                format!("{:.0} ms", outcome.worst()),
                format!("{line:.0} ms"),
            ),
            Line::None => (
                format!("{:.0}", outcome.median()),
                format!("{:.0}", outcome.worst()),
                "0".to_owned(),
            ),
            Line::Always => {
                let kept = outcome.figures.iter().filter(|figure| **figure == 1.0).count();
                (format!("{kept} times"), String::new(), "always".to_owned())
            }
        };
        grid.push(vec![
            Cell::text(outcome.name),
            Cell::number(outcome.figures.len().to_string()),
            Cell::number(median),
            Cell::number(worst),
            Cell::number(line),
            Cell::text(if outcome.holds() { "yes" } else { "NO" }),
            Cell::text(outcome.elsewhere),
        ]);
    }
    grid.render("", Colour::of_stdout())
}
