//! Seeds: which are run, and how a failing one is run again.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs `test` with each of so many seeds and with those that once failed, or with the one that
/// `HAWSER_SEED` names. Prints the command that repeats a failure.
pub(super) fn with_seeds(name: &str, count: u64, once_failed: &[u64], test: impl Fn(u64)) {
    let chosen = std::env::var("HAWSER_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let usual = || (0..count).chain(once_failed.iter().copied()).collect();
    let seeds: Vec<u64> = chosen.map_or_else(usual, |seed| vec![seed]);
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("seed {seed} failed; to replay it:");
            eprintln!("    HAWSER_SEED={seed} cargo nextest run -p sim {name}");
            resume_unwind(panic);
        }
    }
}
