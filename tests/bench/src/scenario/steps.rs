//! Capacity that changes under way, and links that differ extremely.

use lab::LinkSpec;
use lab::link::{Change, LinkConfig, QueueLimit, Rate, Trace};

use super::{Against, Event, Figure, Happening, Limit, Load, NOT_BELOW, Scenario};

pub(super) fn all(seconds: u64) -> Vec<Scenario> {
    vec![
        capacity_steps(seconds),
        trace("trace-12M", 12, 1, seconds),
        trace("trace-30M", 30, 2, seconds),
        extreme_spread(seconds),
    ]
}

/// The second link takes another rate each two seconds.
fn capacity_steps(seconds: u64) -> Scenario {
    let mut second = LinkConfig::mbit(50, 30_000);
    second.queue = QueueLimit::Time { us: 1_500_000 };
    let links = vec![LinkSpec::new("fibre", 100, 20), LinkSpec::with("lte", second)];
    let rates = [50, 20, 60, 35, 10, 45].into_iter().cycle();
    let event = |(turn, mbit): (u64, u64)| {
        let rate = Change::Rate(Rate::Constant { bits_per_second: mbit * 1_000_000 });
        let change = Happening::Link(rate);
        Event { at_us: turn * 2_000_000, link: 1, direction: None, change }
    };
    let events = (0..seconds.div_ceil(2)).zip(rates).map(event).collect();
    let scenario = Scenario { events, seconds, ..Scenario::bulk("capacity-steps", links) };
    scenario.with(&[Load::Ping]).holds([
        Limit::at_least(Figure::Share, 0.92),
        Limit::at_most(Figure::Queue, 160.0),
        Limit::at_most(Figure::Ping, 45.0),
    ])
}

/// A link whose rate wanders like that of a moving modem, beside a slow fixed one.
///
/// The trace is as long as what counts, so that the whole of it counts wherever it begins.
fn trace(name: &str, mbit: u64, seed: u64, seconds: u64) -> Scenario {
    let counted = seconds.saturating_sub(super::WARM_UP).max(1);
    let trace = Trace::generate(seed, mbit * 1_000_000, counted * 1000);
    let mut mobile = LinkConfig::new(Rate::Trace(trace), 30_000);
    mobile.queue = QueueLimit::Time { us: 1_500_000 };
    let links = vec![LinkSpec::new("dsl", 20, 30), LinkSpec::with("lte", mobile)];
    let scenario = Scenario { seconds, ..Scenario::bulk(name, links) };
    scenario.with(&[Load::Ping]).holds([Limit::at_least(Figure::Share, 0.90)])
}

/// A short link beside one like a geostationary satellite's.
fn extreme_spread(seconds: u64) -> Scenario {
    let links = vec![LinkSpec::new("dsl", 50, 20), LinkSpec::new("geo", 20, 320)];
    let plain = Scenario::bulk("extreme-spread", links).with(&[Load::Ping]);
    let scenario = Scenario { seconds, against: Against::BetterLink, ..plain };
    let ping = scenario.idle_rtt_ms() + 10.0;
    scenario
        .holds([Limit::at_least(Figure::Against, NOT_BELOW), Limit::at_most(Figure::Ping, ping)])
}
