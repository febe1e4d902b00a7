//! Cases: scenarios with a sender, a direction and a seed, and which of them a run has.

use lab::Direction;
use serde::{Deserialize, Serialize};

use crate::row::{Row, Runner};
use crate::scenario::{self, Against, SECONDS, Scenario, Sender};

/// One run of a scenario.
#[derive(Clone, Debug)]
pub struct Case {
    /// What happens.
    pub scenario: Scenario,
    /// How its bulk flows are sent.
    pub sender: Sender,
    /// Which way its load goes.
    pub way: Direction,
    /// Where everything random comes from.
    pub seed: u64,
}

/// What tells one case of a run from all others.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Key {
    /// The scenario's name.
    pub scenario: String,
    /// How its bulk flows are sent.
    pub sender: Sender,
    /// Which way.
    pub way: Direction,
    /// The seed.
    pub seed: u64,
    /// How long it takes.
    pub seconds: u64,
    /// What runs it.
    pub runner: Runner,
    /// What is changed of the engine's rules.
    pub rules: Vec<String>,
}

/// Which cases a run has.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What runs them.
    pub runner: Runner,
    /// The flagship pair and the two deaths only.
    pub is_quick: bool,
    /// Only scenarios whose name contains one of these; all if empty.
    pub only: Vec<String>,
    /// So many situations drawn at random, in the place of those that somebody thought of.
    pub drawn: Option<u64>,
    /// Seeds of each; `None` is what the runner can afford.
    pub seeds: Option<u64>,
    /// How long bulk flows go; `None` is what the runner can afford.
    pub seconds: Option<u64>,
}

impl Case {
    /// One case.
    pub fn new(scenario: Scenario, sender: Sender, way: Direction, seed: u64) -> Self {
        Self { scenario, sender, way, seed }
    }

    /// Its key in a run with these rules.
    pub fn key(&self, runner: Runner, rules: &[String]) -> Key {
        Key {
            scenario: self.scenario.name.clone(),
            sender: self.sender,
            way: self.way,
            seed: self.seed,
            seconds: self.scenario.seconds,
            runner,
            rules: rules.to_vec(),
        }
    }
}

impl Key {
    /// The key of the case that a row came of.
    pub fn of(row: &Row) -> Self {
        Self {
            scenario: row.scenario.clone(),
            sender: row.sender,
            way: row.way,
            seed: row.seed,
            seconds: row.seconds,
            runner: row.runner,
            rules: row.rules.clone(),
        }
    }
}

impl Plan {
    /// The cases, those of one scenario together.
    pub fn cases(&self) -> Vec<Case> {
        let seconds = self.seconds.unwrap_or(match self.runner {
            Runner::Namespaces => SECONDS,
            Runner::VirtualTime => SECONDS_IN_VIRTUAL_TIME,
        });
        let mut cases = Vec::new();
        let all = match self.drawn {
            Some(count) => (1..=count).map(|number| scenario::drawn(number, seconds)).collect(),
            None => scenario::all(seconds),
        };
        for mut scenario in all.into_iter().filter(|it| self.has(it)) {
            if self.runner == Runner::VirtualTime {
                scenario.repeat = scenario.repeat.min(REPEAT_IN_VIRTUAL_TIME);
            }
            for sender in self.senders(&scenario) {
                for seed in 1..=self.seeds(&scenario) {
                    for way in self.ways(&scenario, seed) {
                        cases.push(Case::new(scenario.clone(), sender, way, seed));
                    }
                }
            }
        }
        cases
    }

    fn has(&self, scenario: &Scenario) -> bool {
        let quick = !self.is_quick || QUICK.contains(&scenario.name.as_str());
        let named = self.only.iter().any(|part| scenario.name.contains(part.as_str()));
        quick && (self.only.is_empty() || named)
    }

    fn senders(&self, scenario: &Scenario) -> Vec<Sender> {
        // QUIC is sent over the pairs of the main scenarios and of the environments.
        let is_pair = scenario.against == Against::BetterLink;
        let all = is_pair && self.runner == Runner::VirtualTime;
        if all { vec![Sender::Cubic, Sender::Bbr, Sender::Quic] } else { scenario.senders.clone() }
    }

    /// Both directions with each seed for the main scenarios, in turn for the others: the links are
    /// the same both ways.
    fn ways(&self, scenario: &Scenario, seed: u64) -> Vec<Direction> {
        match self.runner {
            Runner::Namespaces => vec![scenario.worse],
            Runner::VirtualTime if scenario.is_main => vec![Direction::Up, Direction::Down],
            Runner::VirtualTime if seed % 2 == 1 => vec![Direction::Up],
            Runner::VirtualTime => vec![Direction::Down],
        }
    }

    fn seeds(&self, scenario: &Scenario) -> u64 {
        self.seeds.unwrap_or(match self.runner {
            _ if self.is_quick || self.drawn.is_some() => 1,
            Runner::VirtualTime => 10,
            Runner::Namespaces if scenario.is_main => 3,
            Runner::Namespaces => 1,
        })
    }
}

/// What the quick run has.
const QUICK: [&str; 4] = ["flagship-clean", "flagship-lte", "death-fibre", "death-lte"];
/// How long a bulk flow goes in virtual time, where there are ten seeds.
const SECONDS_IN_VIRTUAL_TIME: u64 = 10;
/// How often a death is repeated there: thirty times with ten seeds.
const REPEAT_IN_VIRTUAL_TIME: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_run_is_part_of_the_whole_one_and_patterns_choose() {
        let plan = |is_quick, only: &[&str], runner| Plan {
            runner,
            is_quick,
            only: only.iter().map(|&part| part.to_owned()).collect(),
            drawn: None,
            seeds: None,
            seconds: None,
        };
        let count = |plan: Plan| plan.cases().len();

        // Two scenarios with three senders, and two without.
        assert_eq!(count(plan(true, &[], Runner::Namespaces)), 8);
        assert_eq!(count(plan(false, &["rtt-320"], Runner::Namespaces)), 2);
        assert_eq!(count(plan(false, &["rtt-320"], Runner::VirtualTime)), 3 * 10);
        assert_eq!(count(plan(false, &["no-such"], Runner::VirtualTime)), 0);
    }
}
