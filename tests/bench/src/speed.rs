//! How fast packets pass through one tunnel over a wire that is faster than any, beside other tunnels
//! and beside no tunnel at all.
//!
//! Machines are noisy, so each round runs all systems one after the other, and what is shown is the
//! ratio of ours to each of them within a round.

mod ground;
mod measure;
mod system;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::Serialize;
use shared::grid::{Cell, Colour, Grid};

use self::ground::Ground;
use self::measure::{MEASURES, Measure};
use self::system::System;
use crate::namespaces::Stop;
use crate::relay::Sealing;

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
    /// Only these systems: raw, hawser, relay-..., or a script's name; may be given again
    #[arg(long, value_name = "NAME")]
    system: Vec<String>,
    /// Other tunnels, by scripts (see scripts/peers)
    #[arg(long, value_name = "SCRIPT")]
    peer: Vec<PathBuf>,
    /// Where the JSON goes
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
}

/// What a system showed in one round.
#[derive(Debug, Serialize)]
struct Figure {
    round: usize,
    system: String,
    measure: &'static str,
    value: f64,
    unit: &'static str,
}

impl Speed {
    /// Runs the measures and prints their table.
    ///
    /// # Errors
    /// When a measure can't be run, or its figures can't be written.
    pub fn run(&self) -> Result<()> {
        let stop = Stop::on_signals()?;
        let systems = self.systems();
        let wanted = |measure: &&Measure| {
            self.only.is_empty() || self.only.iter().any(|only| measure.name.contains(only))
        };
        let measures: Vec<&Measure> = MEASURES.iter().filter(wanted).collect();
        ensure!(!systems.is_empty(), "no system is called {}", self.system.join(" or "));
        ensure!(!measures.is_empty(), "no measure's name contains {}", self.only.join(" or "));
        let (rounds, seconds) = if self.quick { (1, 3) } else { (self.rounds, 6) };
        let mut figures = Vec::new();
        for round in 0..rounds {
            for system in &systems {
                let name = system.name();
                eprintln!("round {} of {rounds}: {name}", round + 1);
                let ground = Ground::raise(system).with_context(|| format!("bring up {name}"))?;
                for measure in &measures {
                    if stop.is_asked() {
                        break;
                    }
                    let value = (measure.run)(&ground, seconds)
                        .with_context(|| format!("{name}: {}", measure.name))?;
                    eprintln!("    {}: {value:.2} {}", measure.name, measure.unit);
                    let (measure, unit) = (measure.name, measure.unit);
                    figures.push(Figure { round, system: name.clone(), measure, value, unit });
                }
            }
        }
        for measure in &measures {
            println!("{}, {}", measure.name, measure.unit);
            print!("{}", table(&figures, measure));
            println!();
        }
        fs::create_dir_all(&self.out)?;
        fs::write(self.out.join("speed.json"), serde_json::to_vec_pretty(&figures)?)?;
        Ok(())
    }

    fn systems(&self) -> Vec<System> {
        let scripts = self.peer.iter().cloned().map(System::Script);
        let relays = Sealing::ALL.map(System::Relay);
        let all = [System::Raw, System::Hawser].into_iter().chain(relays).chain(scripts);
        all.filter(|it| self.system.is_empty() || self.system.contains(&it.name())).collect()
    }
}

/// One row for each system: its median, least and greatest, and how ours compares in the same round.
fn table(figures: &[Figure], measure: &Measure) -> String {
    let mut grid = Grid::new(&["SYSTEM", "MEDIAN", "LEAST", "MOST", "OURS IS", "LEAST", "MOST"]);
    let mut systems: Vec<&str> = Vec::new();
    for figure in figures {
        if !systems.contains(&figure.system.as_str()) {
            systems.push(&figure.system);
        }
    }
    let of = |system: &str| {
        let mine = figures.iter().filter(|it| it.measure == measure.name && it.system == system);
        mine.map(|it| (it.round, it.value)).collect::<Vec<_>>()
    };
    let ours = of(&System::Hawser.name());
    for system in systems {
        let values = of(system);
        let ratio = |(round, value): &(usize, f64)| {
            ours.iter().find(|(other, _)| other == round).map(|(_, our)| our / value)
        };
        let mut cells = vec![Cell::text(system)];
        let figures: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
        cells.extend(spread(figures).into_iter().map(|it| Cell::number(format!("{it:.2}"))));
        let ratios: Vec<f64> = values.iter().filter_map(ratio).collect();
        cells.extend(spread(ratios).into_iter().map(|it| Cell::number(format!("{it:.2} x"))));
        grid.push(cells);
    }
    grid.render("  ", Colour::of_stdout())
}

/// Median, least and greatest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    [at(values.len() / 2), at(0), at(values.len().saturating_sub(1))]
}
