//! Runs a case in the simulator.

mod echo;
mod scene;

use engine::{PathId, Trial};
use lab::Direction;
use lab::link::{Change, Switch};
use sim::world::{CLIENT, SERVER, World, WorldConfig};

use self::scene::{Scene, counts};
use crate::case::Case;
use crate::row::{Comparison, LinkFigures, Row, Runner, StreamFigures, TunnelFigures};
use crate::scenario::{Against, Scenario};
use crate::series::{Series, reachable_mbit};

/// Runs a case and what it is compared with.
pub fn run(case: &Case, trial: Trial, rules: &[String]) -> Row {
    let scenario = &case.scenario;
    let mut row = run_one(case, scenario, trial);
    row.rules = rules.to_vec();
    row.against = row.goodput_mbit.and_then(|own| {
        let over = |links: &[usize]| {
            let part = scenario.over(links);
            run_one(case, &part, trial).goodput_mbit.unwrap_or_default()
        };
        against(scenario, case, own, over)
    });
    row.judge(scenario);
    row
}

/// Compares a row with what the scenario asks for; `over` runs it over some of the links.
///
/// What even the fastest link could not carry alone is not run.
pub(crate) fn against(
    scenario: &Scenario,
    case: &Case,
    own: f64,
    mut over: impl FnMut(&[usize]) -> f64,
) -> Option<Comparison> {
    match scenario.against {
        Against::Nothing => None,
        Against::WithoutLast => {
            let links: Vec<usize> = (0..scenario.links.len() - 1).collect();
            Some(Comparison::new("without the last link", over(&links), own))
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
                return Some(Comparison { is_bound: true, ..reckoned });
            }
            let mut best = (fastest, 0.0);
            for (link, most) in links {
                if most > best.1 {
                    let goodput = over(&[link]);
                    best = if goodput > best.1 { (link, goodput) } else { best };
                }
            }
            Some(Comparison::new(&name(best.0), best.1, own))
        }
    }
}

fn run_one(case: &Case, scenario: &Scenario, trial: Trial) -> Row {
    let links = scenario.links.iter().map(|link| (link.up.clone(), link.down.clone())).collect();
    let config =
        WorldConfig { links, trial, ..WorldConfig::symmetric(Vec::new(), case.seed) };
    let mut world = World::new(config);
    world.run_until(OPENED_AT);
    let from = if case.way == Direction::Up { CLIENT } else { SERVER };
    let mut row = empty(case, scenario);
    if scenario.primed {
        scene::prime(&mut world, case.sender, from, row.reachable_mbit);
    }
    for turn in 0..u64::from(scenario.repeat) {
        let seed = case.seed * u64::from(scenario.repeat) + turn;
        let mut scene = Scene::begin(&mut world, scenario, case.sender, from, seed);
        let before = scene.run(&mut world, scenario, seed);
        scene.linger(&mut world);
        report(&mut world, &scene, scenario, from, &mut row);
        row.tunnel = tunnel(&mut world, from).since(&before);
        heal(&mut world, scenario);
    }
    row
}

/// A row without figures.
pub(crate) fn empty(case: &Case, scenario: &Scenario) -> Row {
    let (from, until) = (scenario.count_from, scenario.seconds);
    Row {
        scenario: scenario.name.clone(),
        runner: Runner::VirtualTime,
        sender: case.sender,
        way: case.way,
        seed: case.seed,
        seconds: until,
        rules: Vec::new(),
        reachable_mbit: reachable_mbit(scenario, case.way, case.seed, from, until),
        goodput_mbit: None,
        share: None,
        first_share: None,
        fairness: None,
        against: None,
        peers: Vec::new(),
        links: Vec::new(),
        tunnel: TunnelFigures::default(),
        inner: None,
        ping: None,
        call: None,
        stream: None,
        web: None,
        missed: Vec::new(),
    }
}

fn report(world: &mut World, scene: &Scene, scenario: &Scenario, from: usize, row: &mut Row) {
    let series = Series { flows: scene.series.clone() };
    series.fill(scenario, row);
    row.inner = scene.inner(world, from);
    row.ping = scene.ping(world);
    row.web = scene.web(world);
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
        .map(|(index, link)| LinkFigures::new(&link.name, &world.counters(index)[from]))
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
    late: u64,
    skipped: u64,
    dropped: u64,
}

impl Totals {
    fn since(&self, before: &Self) -> TunnelFigures {
        let lost = |totals: &Self| totals.skipped.saturating_sub(totals.late);
        TunnelFigures {
            carried_bytes: Some(self.carried - before.carried),
            header_bytes: Some(self.header - before.header),
            feedback_bytes: Some(self.feedback - before.feedback),
            copy_bytes: Some(self.copies - before.copies),
            retransmitted_bytes: Some(self.again - before.again),
            held: Some(self.held - before.held),
            hold_mean_ms: None,
            hold_p99_ms: None,
            late: Some(self.late - before.late),
            lost: Some(lost(self).saturating_sub(lost(before))),
            dropped: Some(self.dropped - before.dropped),
        }
    }
}

/// Takes black holes away and waits until all paths are there again.
fn heal(world: &mut World, scenario: &Scenario) {
    for event in &scenario.events {
        if matches!(event.change, Change::Blackhole(_)) {
            world.change_both(event.link, Change::Blackhole(Switch::Off));
        }
    }
    let paths = scenario.links.len();
    let is_up = |world: &mut World, path: usize| {
        let snapshot = world.session(CLIENT).outbound.path_snapshot(PathId(path as u8));
        snapshot.is_some_and(|path| path.state == engine::PathState::Up)
    };
    let end = world.now() + HEAL_MAX;
    if scenario.repeat > 1 {
        while world.now() < end && !(0..paths).all(|path| is_up(world, path)) {
            world.run_for(100_000);
        }
        world.run_for(500_000);
    }
}

/// All paths are open and probed by then, in microseconds.
const OPENED_AT: u64 = 1_000_000;
/// How long a path may take to come back, in microseconds.
const HEAL_MAX: u64 = 5_000_000;

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

        assert!((0.5..1.01).contains(&row.share.unwrap()), "{row:?}");
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
