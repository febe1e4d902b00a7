//! Links that die, come back, flap, or go silent in one direction only.

use lab::Direction;
use lab::link::{Change, Stalls, Switch};

use super::flagship;
use super::{Event, Figure, Happening, Limit, Load, Scenario, Sender};

pub(super) fn all(seconds: u64) -> Vec<Scenario> {
    let mut all = vec![
        stream_death("death-fibre", 0, None),
        stream_death("death-lte", 1, None),
        stream_death("death-fibre-up", 0, Some(Direction::Up)),
        stream_death("death-fibre-down", 0, Some(Direction::Down)),
        carrier_death("death-fibre-carrier", 0),
        jittery_death("death-fibre-jitter", 0),
        heavy_death("death-fibre-40M", 0),
        heavy_death("death-lte-40M", 1),
        call_death("death-fibre-call", 0),
        call_death("death-lte-call", 1),
        bulk_death("death-fibre-bulk", 0, false),
        bulk_death("death-lte-bulk", 1, false),
        bulk_death("death-fibre-bulk-lte", 0, true),
        comeback("return-fibre", 0),
        comeback("return-lte", 1),
    ];
    all.extend([40, 80, 150].map(|ms| handovers(ms, seconds)));
    all.push(outages(seconds));
    all
}

/// A thousand packets a second, and a link that swallows everything without a word; ten times if it
/// is one of the two deaths that everything else is a variety of, otherwise four times.
fn stream_death(name: &str, link: usize, direction: Option<Direction>) -> Scenario {
    let (gap_worst, plain) = (80.0, Scenario::bulk(name, flagship::clean()));
    let stream = Load::Stream { per_second: 1000, bytes: 228 };
    let way = direction.unwrap_or(Direction::Up);
    let scenario = Scenario {
        events: vec![hole(1000, link, direction, Switch::On)],
        phase_us: 200_000,
        loads: vec![stream],
        senders: vec![Sender::None],
        seconds: 3,
        count_from: 0,
        repeat: if direction.is_none() { REPEAT } else { REPEAT_OF_VARIETY },
        worse: way,
        is_main: direction.is_none(),
        ..plain
    };
    scenario.holds([
        Limit::at_most(Figure::StreamLost, 0.0),
        Limit::at_most(Figure::GapMedian, 60.0),
        Limit::at_most(Figure::GapWorst, gap_worst),
    ])
}

fn vary(scenario: &mut Scenario) {
    scenario.is_main = false;
    scenario.repeat = REPEAT_OF_VARIETY;
}

/// Thirty times with three seeds.
const REPEAT: u32 = 10;
const REPEAT_OF_VARIETY: u32 = 4;

/// The same, but the client's kernel sees it and says so: up, nobody waits for silence.
fn carrier_death(name: &str, link: usize) -> Scenario {
    let mut scenario = stream_death(name, link, None);
    scenario.events[0].change = Happening::Carrier(Switch::Off);
    vary(&mut scenario);
    scenario.limits.retain(|limit| limit.figure == Figure::StreamLost);
    // What was on its way is sent again by the other link, and takes 30 ms there.
    scenario.holds([Limit::at_most(Figure::GapWorst, 35.0)])
}

/// The same with jitter on the link that stays.
fn jittery_death(name: &str, link: usize) -> Scenario {
    let mut scenario = stream_death(name, link, None);
    scenario.links = flagship::lte();
    flagship::lose(&mut scenario.links[1], 0.0);
    vary(&mut scenario);
    scenario.limits.pop();
    scenario.holds([Limit::at_most(Figure::GapWorst, 110.0)])
}

/// 40 Mbit/s of packets.
fn heavy_death(name: &str, link: usize) -> Scenario {
    let mut scenario = stream_death(name, link, None);
    scenario.loads = vec![Load::Stream { per_second: 4000, bytes: 1250 }];
    vary(&mut scenario);
    scenario
}

/// A call beside nothing, which costs little to send twice.
fn call_death(name: &str, link: usize) -> Scenario {
    let mut scenario = stream_death(name, link, None);
    scenario.loads = vec![Load::Stream { per_second: 50, bytes: 200 }];
    vary(&mut scenario);
    scenario.limits.retain(|limit| limit.figure == Figure::StreamLost);
    // The difference of the paths is 20 ms one way.
    scenario.holds([Limit::at_most(Figure::GapWorst, 30.0)])
}

/// Bulk whose link dies after five seconds; what counts is two seconds later, on what is left.
fn bulk_death(name: &str, link: usize, lte: bool) -> Scenario {
    let links = if lte { flagship::lte() } else { flagship::clean() };
    let scenario = Scenario {
        events: vec![hole(5000, link, None, Switch::On)],
        phase_us: 200_000,
        seconds: 15,
        count_from: 8,
        ..Scenario::bulk(name, links)
    };
    let share = Limit::at_least(Figure::Share, if lte { 0.85 } else { 0.95 });
    let timeouts = (!lte).then(|| Limit::at_most(Figure::Timeouts, 0.0));
    scenario.holds([share]).holds(timeouts)
}

/// Bulk over a link that is gone for four seconds; what counts begins three seconds after.
fn comeback(name: &str, link: usize) -> Scenario {
    let scenario = Scenario {
        events: vec![hole(4000, link, None, Switch::On), hole(8000, link, None, Switch::Off)],
        phase_us: 200_000,
        seconds: 18,
        count_from: 12,
        ..Scenario::bulk(name, flagship::clean())
    };
    scenario.holds([Limit::at_least(Figure::Share, 0.95)])
}

/// A mobile link that pauses every three seconds, as handovers make it.
fn handovers(ms: u64, seconds: u64) -> Scenario {
    let mut links = flagship::clean();
    let stalls = Stalls { every_us: 3_000_000, length_us: ms * 1000 };
    (links[1].up.stalls, links[1].down.stalls) = (stalls, stalls);
    let plain = Scenario::bulk(&format!("handover-{ms}"), links);
    let scenario = Scenario { seconds, ..plain };
    scenario.holds([Limit::at_least(Figure::Share, 0.90), Limit::at_most(Figure::Added, 0.01)])
}

/// A mobile link that is away for two seconds of every ten.
fn outages(seconds: u64) -> Scenario {
    let pair = |at| [hole(at, 1, None, Switch::On), hole(at + 2000, 1, None, Switch::Off)];
    let scenario = Scenario {
        events: (0..seconds.div_ceil(10)).flat_map(|turn| pair(turn * 10_000 + 4000)).collect(),
        phase_us: 200_000,
        seconds,
        ..Scenario::bulk("outages", flagship::clean())
    };
    scenario.holds([Limit::at_least(Figure::Share, 0.85), Limit::at_most(Figure::Added, 0.02)])
}

fn hole(at_ms: u64, link: usize, direction: Option<Direction>, switch: Switch) -> Event {
    let change = Happening::Link(Change::Blackhole(switch));
    Event { at_us: at_ms * 1000, link, direction, change }
}
