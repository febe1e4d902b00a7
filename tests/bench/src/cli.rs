//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::{fs, thread};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use engine::{Ablation, Trial};

use crate::case::{Case, Plan};
use crate::egress::Egress;
use crate::instructions::Instructions;
use crate::namespaces::{self, Place};
use crate::progress::Progress;
use crate::relay::Relay;
use crate::row::{Row, Runner};
use crate::speed::Speed;
use crate::store::Store;
use crate::{ablation, picture, scenario, snapshot, table, virtual_time};

/// Runs scenarios and shows what came of them
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Uplinks of the server: how soon traffic moves when they fail, and what is left alone
    Egress(Egress),
    /// How many instructions the engine spends on a packet (needs valgrind)
    Instructions(Instructions),
    /// Several links: how much of them one flow gets, and what happens when they fail
    Multipath(Multipath),
    /// Carry packets between a TUN device and UDP, and nothing else (used by `speed`)
    #[command(hide = true)]
    Relay(Relay),
    /// One fast wire: how fast packets pass, beside other tunnels
    Speed(Speed),
}

/// What to run of the multipath scenarios.
#[derive(Args, Clone, Debug)]
pub struct Multipath {
    /// The flagship pair and both deaths only
    #[arg(long)]
    quick: bool,
    /// In the simulator, in virtual time, with ten seeds in both directions
    #[arg(long)]
    sim: bool,
    /// Only scenarios whose name contains this; may be given again
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// In the place of these scenarios, so many situations drawn at random
    #[arg(long, value_name = "N", conflicts_with = "quick")]
    drawn: Option<u64>,
    /// Seeds of each
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// How long bulk flows go
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(4..=3600))]
    seconds: Option<u64>,
    /// Where rows, JSON and picture go
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    /// Run again what is done already
    #[arg(long)]
    fresh: bool,
    /// Change a rule of the engine at both ends, by its name; may be given again
    #[arg(long, value_name = "RULE")]
    ablate: Vec<String>,
    /// A table of what each rule of the engine is worth: main scenarios in the simulator, with one rule
    /// changed at a time
    #[arg(long, requires = "sim", conflicts_with_all = ["only", "drawn", "ablate", "peer", "quick", "mptcp", "check", "write"])]
    ablations: bool,
    /// Also run another tunnel over the same links, by a script (see scripts/peers)
    #[arg(long, value_name = "SCRIPT")]
    peer: Vec<PathBuf>,
    /// Also run the kernel's own MPTCP over the same links
    #[arg(long)]
    mptcp: bool,
    /// Compare the table of one short seed with the one that is kept, and fail if a
    /// figure moved
    #[arg(long, requires = "sim")]
    check: bool,
    /// Write that table
    #[arg(long, requires = "sim", conflicts_with = "check")]
    write: bool,
}

/// Reads the command line and does what it says.
///
/// # Errors
/// When a scenario can't be run, or a result can't be written.
pub fn run() -> Result<ExitCode> {
    let options = match Arguments::parse().task {
        Task::Egress(options) => {
            let code = if options.run()? { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            return Ok(code);
        }
        Task::Instructions(options) => {
            options.run()?;
            return Ok(ExitCode::SUCCESS);
        }
        Task::Relay(options) => {
            options.run()?;
            return Ok(ExitCode::SUCCESS);
        }
        Task::Speed(options) => {
            let code = if options.run()? { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            return Ok(code);
        }
        Task::Multipath(options) => options,
    };
    trial(&options.ablate)?;
    if options.check || options.write {
        return snapshot::run(options.write);
    }
    if options.ablations { options.run_ablations() } else { options.run() }
}

/// The engine's rules with those that words change.
///
/// # Errors
/// Names the words that there are.
fn trial(words: &[String]) -> Result<Trial> {
    words.iter().try_fold(Trial::default(), |trial, word| {
        trial.with_word(word).with_context(|| {
            let names = Ablation::ALL.map(Ablation::name).join(", ");
            format!("no rule '{word}'; one of {names}, or window-SLOT=BYTES")
        })
    })
}

impl Multipath {
    fn run(&self) -> Result<ExitCode> {
        let runner = if self.sim { Runner::VirtualTime } else { Runner::Namespaces };
        let plan = Plan {
            runner,
            is_quick: self.quick,
            only: self.only.clone(),
            drawn: self.drawn,
            seeds: self.seeds,
            seconds: self.seconds,
        };
        let cases = plan.cases();
        if cases.is_empty() {
            bail!("no scenario's name contains {}", self.only.join(" or "));
        }
        let mut store = Store::open(&self.out, self.fresh)?;
        let missing: Vec<&Case> =
            cases.iter().filter(|case| store.row(case, runner, &self.ablate).is_none()).collect();
        let mut progress = Progress::new(cases.len(), cases.len() - missing.len());
        let finished = match runner {
            Runner::Namespaces => self.in_namespaces(&missing, &mut store, &mut progress)?,
            Runner::VirtualTime => {
                in_virtual_time(&missing, &self.ablate, &mut store, &mut progress)?;
                true
            }
        };
        let rows: Vec<Row> =
            cases.iter().filter_map(|case| store.row(case, runner, &self.ablate)).collect();
        if self.drawn.is_some() {
            cases.chunk_by(|a, b| a.scenario.name == b.scenario.name).for_each(|same| {
                println!("{}", scenario::describe(&same[0].scenario));
            });
        }
        print!("{}", table::render(&rows));
        let json = serde_json::to_string_pretty(&rows).context("write the rows as JSON")?;
        self.write("multipath.json", json + "\n")?;
        self.write("multipath.svg", picture::draw(&rows))?;
        if !finished {
            eprintln!("bench: broken off; the same command goes on from here");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        let good = rows.iter().all(|row| row.missed.is_empty());
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(BELOW) })
    }

    /// Runs the same cases with each set of rules.
    fn run_ablations(&self) -> Result<ExitCode> {
        let cases = ablation::cases(self.seeds, self.seconds);
        let mut store = Store::open(&self.out.join("ablations"), self.fresh)?;
        let sets = ablation::rules();
        let missing = |store: &Store, rules: &[String]| -> Vec<&Case> {
            let is_missing = |case: &&Case| store.row(case, Runner::VirtualTime, rules).is_none();
            cases.iter().filter(is_missing).collect()
        };
        let left: usize = sets.iter().map(|rules| missing(&store, rules).len()).sum();
        let all = cases.len() * sets.len();
        let mut progress = Progress::new(all, all - left);
        let mut rows = Vec::new();
        for rules in &sets {
            let missing = missing(&store, rules);
            in_virtual_time(&missing, rules, &mut store, &mut progress)?;
            let row = |case| store.row(case, Runner::VirtualTime, rules);
            rows.extend(cases.iter().filter_map(row));
        }
        print!("{}", ablation::render(&rows));
        self.write("ablations.json", serde_json::to_string_pretty(&rows)? + "\n")?;
        Ok(ExitCode::SUCCESS)
    }

    fn in_namespaces(
        &self,
        cases: &[&Case],
        store: &mut Store,
        progress: &mut Progress,
    ) -> Result<bool> {
        let place = Place::new(&self.ablate, &self.peer, self.mptcp)?;
        for case in cases {
            progress.begin(&name(case));
            match namespaces::run(case, &place) {
                Ok(row) => store.add(&row)?,
                Err(_) if place.is_interrupted() => return Ok(false),
                Err(error) => return Err(error).with_context(|| name(case)),
            }
            progress.done(&name(case));
        }
        Ok(true)
    }

    fn write(&self, name: &str, text: String) -> Result<()> {
        let path = self.out.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        eprintln!("bench: {}", path.display());
        Ok(())
    }
}

/// Cases are independent, so each core takes the next one.
fn in_virtual_time(
    cases: &[&Case],
    rules: &[String],
    store: &mut Store,
    progress: &mut Progress,
) -> Result<()> {
    let (next, trial, failed) = (AtomicUsize::new(0), trial(rules)?, AtomicBool::new(false));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let (sender, rows) = mpsc::channel();
        for _ in 0..threads.min(cases.len()) {
            let (sender, next, failed) = (sender.clone(), &next, &failed);
            scope.spawn(move || {
                while !failed.load(Ordering::Relaxed)
                    && let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let row = virtual_time::run(case, trial, rules);
                    if sender.send((case, row)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (case, row) in rows {
            let kept = store.add(&row);
            failed.store(kept.is_err(), Ordering::Relaxed);
            kept?;
            progress.done(&name(case));
        }
        Ok(())
    })
}

fn name(case: &Case) -> String {
    let Case { scenario, sender, way, seed } = case;
    format!("{} {sender} {way} seed {seed}", scenario.name)
}

/// A row misses what it must hold.
const BELOW: u8 = 2;
/// As a shell counts SIGINT.
const INTERRUPTED: u8 = 130;
