//! Runs a case in the simulator.

mod echo;
mod scene;

use engine::stats::Holds;
use engine::{Span, Trial};
use lab::Direction;
use sim::world::{CLIENT, SERVER, World, WorldConfig};

use self::scene::{Scene, counts};
use crate::case::Case;
use crate::row::{LinkFigures, Row, StreamFigures, TunnelFigures};
use crate::scenario::{Family, Scenario};
use crate::series::{Series, against};

/// Runs a case and what it is compared with.
pub fn run(case: &Case, trial: Trial, rules: &[String]) -> Row {
    let scenario = &case.scenario;
    let mut row = run_one(case, scenario, trial);
    row.rules = rules.to_vec();
    row.against = row.goodput_mbit.and_then(|own| {
        let over = |links: &[usize]| {
            let part = scenario.over(links);
            Ok(run_one(case, &part, trial).goodput_mbit.unwrap_or_default())
        };
        against(scenario, case, own, over).expect("nothing in virtual time fails")
    });
    row.judge(scenario);
    row
}

fn run_one(case: &Case, scenario: &Scenario, trial: Trial) -> Row {
    let mut row = Row::empty(case, scenario);
    for turn in 0..u64::from(scenario.repeat) {
        let seed = case.seed * u64::from(scenario.repeat) + turn;
        run_turn(case, scenario, trial, seed, &mut row);
    }
    row
}

/// Runs it once: each repetition begins anew, for a link that has just died is trusted less.
fn run_turn(case: &Case, scenario: &Scenario, trial: Trial, seed: u64, row: &mut Row) {
    let links = scenario.links.iter().map(|link| (link.up.clone(), link.down.clone())).collect();
    let metered = scenario.metered.clone();
    let is_v6 = scenario.family == Family::V6;
    let plain = WorldConfig::symmetric(Vec::new(), seed);
    let mut world = World::new(WorldConfig { links, metered, is_v6, trial, ..plain });
    world.run_until(OPENED_AT);
    let from = if case.way == Direction::Up { CLIENT } else { SERVER };
    if scenario.primed {
        scene::prime(&mut world, case.sender, from, row.reachable_mbit);
    }
    let mut scene = Scene::begin(&mut world, scenario, case.sender, from, seed);
    let before = scene.run(&mut world, scenario, seed);
    scene.linger(&mut world);
    report(&mut world, &scene, scenario, from, row);
    row.tunnel = tunnel(&mut world, from).since(&before);
}

fn report(world: &mut World, scene: &Scene, scenario: &Scenario, from: usize, row: &mut Row) {
    let series = Series { flows: scene.series.clone() };
    series.fill(scenario, row);
    row.inner = scene.inner(world, from);
    row.ping = scene.ping(world);
    row.web = scene.web(world);
    row.neighbour_share = scene.neighbour_share(world, scenario, row.seed);
    row.call = scene.call.map(|flow| {
        let mut figures = StreamFigures::default();
        counts(world, flow, from, scene::CALL_INTERVAL, &mut figures);
        figures
    });
    if let Some((flow, interval)) = scene.stream {
        let figures = row.stream.get_or_insert_default();
        counts(world, flow, from, interval, figures);
    }
    row.links = (scenario.links.iter().enumerate())
        .map(|(index, link)| {
            let counters = world.counters(index);
            LinkFigures::new(&link.name, &counters[from], &counters[1 - from])
        })
        .collect();
}

/// What the tunnel has done so far in the direction of the load.
fn tunnel(world: &mut World, from: usize) -> Totals {
    let sent = world.session(from).outbound.stats();
    let back = world.session(1 - from).outbound.stats();
    let received = world.session(1 - from).inbound.stats();
    Totals {
        carried: sent.bytes_sent,
        header: sent.header_bytes,
        feedback: back.message_bytes,
        copies: sent.copy_bytes,
        again: sent.retransmission_bytes,
        held: received.held,
        holds: received.holds,
        late: received.late,
        skipped: received.skipped,
        dropped: sent.dropped_full + sent.dropped_standing,
    }
}

/// The engine's counters that make [`TunnelFigures`].
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    carried: u64,
    header: u64,
    feedback: u64,
    copies: u64,
    again: u64,
    held: u64,
    holds: Holds,
    late: u64,
    skipped: u64,
    dropped: u64,
}

impl Totals {
    fn since(&self, before: &Self) -> TunnelFigures {
        let mut holds = self.holds;
        holds.total -= before.holds.total;
        holds.futile -= before.holds.futile;
        for (now, before) in holds.lengths.iter_mut().zip(before.holds.lengths) {
            *now -= before;
        }
        let lost = |totals: &Self| totals.skipped.saturating_sub(totals.late);
        TunnelFigures {
            carried_bytes: Some(self.carried - before.carried),
            header_bytes: Some(self.header - before.header),
            feedback_bytes: Some(self.feedback - before.feedback),
            copy_bytes: Some(self.copies - before.copies),
            retransmitted_bytes: Some(self.again - before.again),
            held: Some(self.held - before.held),
            hold_mean_ms: Some(millis(holds.mean())),
            hold_p99_ms: Some(millis(holds.quantile(0.99))),
            hold_futile: Some(holds.futile as f64 / holds.total.max(1) as f64),
            late: Some(self.late - before.late),
            lost: Some(lost(self).saturating_sub(lost(before))),
            dropped: Some(self.dropped - before.dropped),
        }
    }
}

fn millis(span: Span) -> f64 {
    span.0 as f64 / 1000.0
}

/// All paths are open and probed by then, in microseconds.
const OPENED_AT: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{self, Sender};

    #[test]
    fn one_flow_over_two_links_fills_most_of_a_row() {
        let scenarios = scenario::all(6);
        let scenario = scenarios.into_iter().find(|it| it.name == "flagship-clean");
        let case = Case::new(scenario.expect("it is there"), Sender::Cubic, Direction::Down, 1);

        let row = run(&case, Trial::default(), &[]);

        // What waited for a retransmission when counting began counts as well.
        assert!((0.5..1.1).contains(&row.share.unwrap()), "{row:?}");
        assert_eq!(row.links.len(), 2);
        assert!(row.ping.is_some_and(|ping| ping.lost == 0 && ping.p50_ms >= 20.0), "{row:?}");
        assert!(row.tunnel.header_bytes.is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn a_death_counts_the_gap_of_each_repetition() {
        let scenarios = scenario::all(6);
        let scenario = scenarios.into_iter().find(|it| it.name == "death-fibre");
        let scenario = Scenario { repeat: 2, ..scenario.expect("it is there") };
        let case = Case::new(scenario, Sender::None, Direction::Up, 1);

        let stream = run(&case, Trial::default(), &[]).stream.expect("a stream");

        assert_eq!((stream.sent, stream.gaps_ms.len()), (6000, 2));
        assert!(stream.gaps_ms.iter().all(|gap| (5.0..1000.0).contains(gap)), "{stream:?}");
    }
}
