//! Runs a case with the real programs in namespaces.

mod loads;
mod stop;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::clock::monotonic_ns;
use lab::link::LinkCounters;
use lab::{Direction, Lab, Topology};
use netns::{Options, Tunnel};
use shared::status::{Session, Snapshot, Traffic};

use self::loads::Loads;
pub use self::loads::{Ends, Listener, bulk_goodput};
pub use self::stop::Stop;
use crate::case::Case;
use crate::peer;
use crate::row::{LinkFigures, Row, Runner, TunnelFigures};
use crate::scenario::{Family, Happening, Scenario, Sender};
use crate::series::against;

/// What all rows of a run have in common.
#[derive(Debug)]
pub struct Place {
    rules: Vec<String>,
    options: Options,
    peers: Vec<PathBuf>,
    has_mptcp: bool,
    stop: Stop,
}

impl Place {
    /// Rules changed at both ends, and other systems to run beside.
    ///
    /// # Errors
    /// When the programs are not built.
    pub fn new(rules: &[String], peers: &[PathBuf], has_mptcp: bool) -> Result<Self> {
        for program in ["hawser", "hawser-server", "lab"] {
            netns::binary(program)?;
        }
        let quoted: Vec<String> = rules.iter().map(|rule| format!("{rule:?}")).collect();
        let table = format!("\n[trial]\nrules = [{}]\n", quoted.join(", "));
        let table = if rules.is_empty() { String::new() } else { table };
        let options = Options { client: table.clone(), server: table, ..Options::default() };
        let stop = Stop::on_signals()?;
        Ok(Self { rules: rules.to_vec(), options, peers: peers.to_vec(), has_mptcp, stop })
    }

    /// Whether somebody asked to stop.
    pub fn is_interrupted(&self) -> bool {
        self.stop.is_asked()
    }
}

/// Runs a case, what it is compared with, and peers.
///
/// # Errors
/// When something does not come up, or somebody asked to stop.
pub fn run(case: &Case, place: &Place) -> Result<Row> {
    let scenario = &case.scenario;
    let mut row = run_one(case, scenario, place)?;
    row.rules.clone_from(&place.rules);
    if let Some(own) = row.goodput_mbit {
        let over = |links: &[usize]| {
            let part = scenario.over(links);
            Ok(run_one(case, &part, place)?.goodput_mbit.unwrap_or_default())
        };
        row.against = against(scenario, case, own, over)?;
        if scenario.is_main && case.seed == 1 && case.sender != Sender::Quic {
            row.peers = peer::run(case, own, &place.peers, place.has_mptcp, &place.stop)?;
        }
    }
    row.judge(scenario);
    Ok(row)
}

fn run_one(case: &Case, scenario: &Scenario, place: &Place) -> Result<Row> {
    let mut row = Row { runner: Runner::Namespaces, ..Row::empty(case, scenario) };
    for turn in 0..u64::from(scenario.repeat) {
        let seed = case.seed * u64::from(scenario.repeat) + turn;
        run_turn(case, scenario, place, seed, &mut row)?;
    }
    Ok(row)
}

/// Runs it once: each repetition begins anew, for a link that has just died is trusted less.
fn run_turn(
    case: &Case,
    scenario: &Scenario,
    place: &Place,
    seed: u64,
    row: &mut Row,
) -> Result<()> {
    let topology = Topology { seed, ..Topology::of(scenario.links.clone()) };
    let tunnel = Tunnel::up(&topology, &options(scenario, &place.options))?;
    tunnel.wait_paths_up(scenario.links.len())?;
    // As in virtual time: what the first datagrams show of the paths is known by then.
    place.stop.sleep(REST)?;
    let ends = Ends::through_tunnel(case.way, scenario.family);
    if scenario.primed {
        bulk_goodput(&tunnel.lab, &ends, case.sender, PRIME_SECONDS, &place.stop)?;
        place.stop.sleep(REST)?;
    }
    let loads = Loads::begin(&tunnel.lab, scenario, case.sender, &ends)?;
    let seen = play(&tunnel, scenario, case.way, seed, &place.stop)?;
    loads.report(scenario, row)?;
    seen.fill(scenario, row);
    tunnel.end()
}

/// What the scenario asks of the programs' configurations.
fn options(scenario: &Scenario, plain: &Options) -> Options {
    let mut options = plain.clone();
    for &link in &scenario.metered {
        let name = &scenario.links[link].name;
        options.client += &format!("\n[[link]]\nname = {name:?}\nmetered = true\n");
    }
    if scenario.family == Family::V6 {
        options.advertise = vec!["[fd70::1]:4500"];
    }
    options
}

/// What the emulator and both programs counted.
struct Counted {
    /// In the direction of the load, and in the other.
    links: Vec<[LinkCounters; 2]>,
    tunnel: TunnelFigures,
}

/// Lets the scenario happen beside loads that have begun.
fn play(
    tunnel: &Tunnel,
    scenario: &Scenario,
    way: Direction,
    seed: u64,
    stop: &Stop,
) -> Result<Counted> {
    let began_ns = monotonic_ns();
    let at = |us: u64| began_ns + us * 1000;
    let events = scenario.events_for(seed);
    let (count_us, end_us) = (scenario.count_from * 1_000_000, scenario.seconds * 1_000_000);
    let mut before = None;
    for event in events.iter().filter(|event| event.at_us < end_us) {
        if before.is_none() && event.at_us >= count_us {
            stop.sleep_until(at(count_us))?;
            before = Some(begin_counting(tunnel)?);
        }
        stop.sleep_until(at(event.at_us))?;
        let link = &scenario.links[event.link].name;
        match &event.change {
            Happening::Carrier(switch) => tunnel.lab.plug(link, *switch)?,
            Happening::Link(change) => tunnel.lab.set(link, event.direction, change.clone())?,
        }
    }
    let before = match before {
        Some(before) => before,
        None => {
            stop.sleep_until(at(count_us))?;
            begin_counting(tunnel)?
        }
    };
    stop.sleep_until(at(end_us))?;
    let links = link_counters(&tunnel.lab, scenario, way)?;
    let after = [tunnel.client_status()?, tunnel.server_status()?];
    Ok(Counted { links, tunnel: tunnel_figures(&before, &after, way) })
}

/// Sets the links' counters to zero and notes those of the programs.
fn begin_counting(tunnel: &Tunnel) -> Result<[Snapshot; 2]> {
    tunnel.lab.reset_counters()?;
    Ok([tunnel.client_status()?, tunnel.server_status()?])
}

fn link_counters(lab: &Lab, scenario: &Scenario, way: Direction) -> Result<Vec<[LinkCounters; 2]>> {
    let status = lab.status()?;
    let one = |name: &String| {
        let found = status.links.iter().find(|link| link.name == *name);
        let found = found.with_context(|| format!("the lab has no link {name}"))?;
        Ok(match way {
            Direction::Down => [found.down.counters, found.up.counters],
            Direction::Up => [found.up.counters, found.down.counters],
        })
    };
    scenario.links.iter().map(|link| one(&link.name)).collect()
}

impl Counted {
    fn fill(self, scenario: &Scenario, row: &mut Row) {
        let named = scenario.links.iter().zip(&self.links);
        row.links =
            named.map(|(link, [there, back])| LinkFigures::new(&link.name, there, back)).collect();
        row.tunnel = self.tunnel;
    }
}

/// What the tunnel did between two pairs of answers, client's and server's.
fn tunnel_figures(before: &[Snapshot; 2], after: &[Snapshot; 2], way: Direction) -> TunnelFigures {
    let (sender, receiver) = match way {
        Direction::Down => (1, 0),
        Direction::Up => (0, 1),
    };
    let diff = |end: usize, of: &dyn Fn(&Session) -> Option<u64>| {
        let value = |snapshot: &Snapshot| of(snapshot.sessions.first()?);
        Some(value(&after[end])?.saturating_sub(value(&before[end])?))
    };
    // The programs tell these of the whole session alone.
    let last = |of: &dyn Fn(&Session) -> Option<f64>| of(after[receiver].sessions.first()?);
    let there = |session: &Session| -> Traffic {
        if way == Direction::Up { session.up.clone() } else { session.down.clone() }
    };
    let back = |session: &Session| -> Traffic {
        if way == Direction::Up { session.down.clone() } else { session.up.clone() }
    };
    TunnelFigures {
        carried_bytes: diff(sender, &|it| there(it).bytes_sent),
        header_bytes: diff(sender, &|it| there(it).overhead.header_bytes),
        feedback_bytes: diff(receiver, &|it| back(it).overhead.feedback_bytes),
        copy_bytes: diff(sender, &|it| there(it).overhead.copies_bytes),
        retransmitted_bytes: diff(sender, &|it| there(it).overhead.retransmissions_bytes),
        held: diff(receiver, &|it| there(it).reordered),
        hold_mean_ms: last(&|it| there(it).hold_mean_ms),
        hold_p99_ms: last(&|it| there(it).hold_p99_ms),
        hold_futile: last(&|it| there(it).hold_futile),
        late: diff(receiver, &|it| there(it).late),
        lost: diff(receiver, &|it| there(it).lost),
        dropped: diff(sender, &|it| there(it).dropped),
    }
}

/// How long a flow goes before, and how long the tunnel rests after it.
const PRIME_SECONDS: u64 = 3;
const REST: Duration = Duration::from_secs(1);
