//! Goodput tenth of a second by tenth of a second, and what is made of such numbers.

use anyhow::Result;
use lab::Direction;

use crate::case::Case;
use crate::row::{Comparison, Row};
use crate::scenario::{Against, Scenario};

/// Bytes that arrived of each bulk flow, in tenths of a second from the beginning of the load.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// By flow.
    pub flows: Vec<Vec<f64>>,
}

impl Series {
    /// What arrived from one second to another, of all flows, in Mbit/s.
    pub fn goodput_mbit(&self, from: u64, until: u64) -> f64 {
        self.flows.iter().fold(0.0, |sum, flow| sum + mean_mbit(flow, from, until))
    }

    /// Jain's index of what the flows got, if there are several.
    pub fn fairness(&self, from: u64, until: u64) -> Option<f64> {
        let rates: Vec<f64> = self.flows.iter().map(|flow| mean_mbit(flow, from, until)).collect();
        let squares: f64 = rates.iter().map(|rate| rate * rate).sum();
        let sum: f64 = rates.iter().sum();
        (rates.len() > 1 && squares > 0.0).then(|| sum * sum / (rates.len() as f64 * squares))
    }

    /// Writes goodput and shares into a row.
    pub fn fill(&self, scenario: &Scenario, row: &mut Row) {
        if self.flows.is_empty() {
            return;
        }
        let (from, until) = (scenario.count_from, scenario.seconds);
        let goodput = self.goodput_mbit(from, until);
        let first = until.min(FIRST);
        row.goodput_mbit = Some(goodput);
        row.share = Some(goodput / row.reachable_mbit);
        let reachable = reachable_mbit(scenario, row.way, row.seed, 0, first);
        row.first_share = Some(self.goodput_mbit(0, first) / reachable);
        row.fairness = self.fairness(from, until);
    }
}

/// What is reachable from one second to another, in Mbit/s.
pub fn reachable_mbit(
    scenario: &Scenario,
    way: Direction,
    seed: u64,
    from: u64,
    until: u64,
) -> f64 {
    scenario.reachable(way, seed, from * 1_000_000, until * 1_000_000) / 1e6
}

/// Compares a row with what the scenario asks for; `over` runs it over some of the links.
///
/// What even the fastest link could not carry alone is not run.
///
/// # Errors
/// Those of `over`.
pub fn against(
    scenario: &Scenario,
    case: &Case,
    own: f64,
    mut over: impl FnMut(&[usize]) -> Result<f64>,
) -> Result<Option<Comparison>> {
    match scenario.against {
        Against::Nothing => Ok(None),
        Against::WithoutLast => {
            let links: Vec<usize> = (0..scenario.links.len() - 1).collect();
            Ok(Some(Comparison::new("without the last link", over(&links)?, own)))
        }
        Against::BetterLink => {
            let most = |link: usize| {
                let part = scenario.over(&[link]);
                reachable_mbit(&part, case.way, case.seed, part.count_from, part.seconds)
            };
            let mut links: Vec<(usize, f64)> =
                (0..scenario.links.len()).map(|link| (link, most(link))).collect();
            links.sort_by(|a, b| b.1.total_cmp(&a.1));
            let (fastest, bound) = links[0];
            let name = |link: usize| format!("{} alone", scenario.links[link].name);
            if own >= bound {
                let reckoned = Comparison::new(&name(fastest), bound, own);
                return Ok(Some(Comparison { is_bound: true, ..reckoned }));
            }
            let mut best = (fastest, 0.0);
            for (link, most) in links {
                if most > best.1 {
                    let goodput = over(&[link])?;
                    best = if goodput > best.1 { (link, goodput) } else { best };
                }
            }
            Ok(Some(Comparison::new(&name(best.0), best.1, own)))
        }
    }
}

/// The median; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
    }
}

fn mean_mbit(flow: &[f64], from: u64, until: u64) -> f64 {
    let tenths = flow.iter().skip(from as usize * 10).take((until - from) as usize * 10);
    tenths.fold(0.0, |sum, bytes| sum + bytes) * 8.0 / 1e6 / (until - from).max(1) as f64
}

/// How long a beginning is, in seconds.
const FIRST: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodput_is_that_of_the_seconds_asked_for() {
        let flow = [vec![0.0; 10], vec![125_000.0; 20]].concat();
        let series = Series { flows: vec![flow.clone(), flow] };

        assert_eq!(series.goodput_mbit(1, 3), 20.0);
        assert_eq!(series.goodput_mbit(0, 2), 10.0);
        assert_eq!(series.fairness(0, 3), Some(1.0));
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }
}
