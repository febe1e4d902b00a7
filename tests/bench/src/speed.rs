//! How fast packets pass through one tunnel over a wire that is faster than any, beside other tunnels
//! and beside no tunnel at all.
//!
//! Machines are noisy, so each round runs all systems one after the other, and what is shown is the
//! ratio of ours to each of them within a round.

mod figures;
mod ground;
mod line;
mod measure;
mod picture;
mod system;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use self::figures::{Figure, Figures};
use self::ground::Ground;
use self::line::LINES;
use self::measure::{MEASURES, Measure, Shown};
use self::system::System;
use crate::namespaces::Stop;

/// What to run of the measures of speed.
#[derive(Args, Clone, Debug)]
pub struct Speed {
    /// One round, and half the time for each measure
    #[arg(long)]
    quick: bool,
    /// How often everything is run
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Only measures whose name contains this; may be given again
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Only these systems: raw, mptcp-two, hawser, hawser-..., relay-..., or a script's name; may be given again
    #[arg(long, value_name = "NAME")]
    system: Vec<String>,
    /// Other tunnels, by scripts (see scripts/peers)
    #[arg(long, value_name = "SCRIPT")]
    peer: Vec<PathBuf>,
    /// Where the JSON goes
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
}

impl Speed {
    /// Runs the measures and prints their tables. Returns whether everything was measured, and holds.
    ///
    /// # Errors
    /// When nothing is to be measured, or the figures can't be written.
    pub fn run(&self) -> Result<bool> {
        let stop = Stop::on_signals()?;
        let systems = self.systems();
        let wanted = |shown: &Shown| {
            self.only.is_empty() || self.only.iter().any(|only| shown.name.contains(only))
        };
        let measures: Vec<&Measure> =
            MEASURES.iter().filter(|measure| measure.shows.iter().any(wanted)).collect();
        ensure!(!systems.is_empty(), "no system is called {}", self.system.join(" or "));
        ensure!(!measures.is_empty(), "no measure's name contains {}", self.only.join(" or "));
        let (rounds, seconds) = if self.quick { (1, 3) } else { (self.rounds, 6) };
        let mut figures = Figures::default();
        let mut failures = Vec::new();
        for round in 0..rounds {
            for system in &systems {
                if stop.is_asked() {
                    failures.push("interrupted".to_owned());
                    break;
                }
                let name = system.name();
                eprintln!("round {} of {rounds}: {name}", round + 1);
                let fitting = measures.iter().filter(|measure| (measure.fits)(system)).copied();
                if let Err(error) = measure_all(system, fitting, round, seconds, &mut figures) {
                    failures.push(format!("{name}: {error:#}"));
                    eprintln!("    {error:#}");
                }
            }
        }
        let holds = self.tell(&figures, measures.iter().flat_map(|measure| measure.shows))?;
        for failure in &failures {
            println!("not measured: {failure}");
        }
        Ok(holds && failures.is_empty())
    }

    /// Prints the tables and what must hold, and writes figures and picture. Returns whether it holds.
    fn tell<'s>(
        &self,
        figures: &Figures,
        shown: impl Iterator<Item = &'s Shown> + Clone,
    ) -> Result<bool> {
        for shown in shown.clone() {
            println!("{}, {}\n{}", shown.name, shown.unit, figures.table(shown));
        }
        let mut all_hold = true;
        for (holds, words) in LINES.iter().filter_map(|line| line.judge(figures)) {
            println!("{:5}  {words}", if holds { "ok" } else { "BELOW" });
            all_hold &= holds;
        }
        fs::create_dir_all(&self.out)?;
        fs::write(self.out.join("speed.json"), serde_json::to_vec_pretty(figures)?)?;
        fs::write(self.out.join("speed.svg"), picture::draw(figures, shown))?;
        println!("figures and picture: speed.json and speed.svg in {}", self.out.display());
        Ok(all_hold)
    }

    fn systems(&self) -> Vec<System> {
        let scripts = self.peer.iter().cloned().map(System::Script);
        let all = System::all().into_iter().chain(scripts);
        all.filter(|it| self.system.is_empty() || self.system.contains(&it.name())).collect()
    }
}

/// Brings a system up and measures it.
fn measure_all<'m>(
    system: &System,
    measures: impl Iterator<Item = &'m Measure>,
    round: usize,
    seconds: u64,
    figures: &mut Figures,
) -> Result<()> {
    let ground = Ground::raise(system).context("bring it up")?;
    for measure in measures {
        let values = (measure.run)(&ground, seconds).context(measure.shows[0].name)?;
        for (Shown { name: shown, unit }, value) in measure.shows.iter().zip(values) {
            eprintln!("    {shown}: {value:.2} {unit}");
            figures.push(Figure { round, system: system.name(), shown, unit, value });
        }
    }
    Ok(())
}
