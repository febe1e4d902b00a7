//! What the tunnel itself costs a link, and those who share it.

use lab::LinkSpec;

use super::flagship;
use super::{Family, Figure, Limit, Load, Scenario, Sender};

pub(super) fn all() -> Vec<Scenario> {
    vec![quiet(), metered(), neighbour(), family()]
}

/// Nobody sends anything.
fn quiet() -> Scenario {
    let scenario = Scenario {
        loads: Vec::new(),
        senders: vec![Sender::None],
        ..Scenario::bulk("quiet", flagship::clean())
    };
    // A probe, an answer and reports about both each way in five seconds, and what keeps the control connection alive.
    scenario.holds([Limit::at_most(Figure::Idle, 200.0)])
}

/// 20 Mbit/s over a lone link that costs by the byte.
fn metered() -> Scenario {
    let scenario = Scenario {
        metered: vec![0],
        loads: vec![Load::Stream { per_second: 2000, bytes: 1250 }],
        senders: vec![Sender::None],
        ..Scenario::bulk("metered", vec![LinkSpec::new("lte", 50, 60)])
    };
    let back = Limit::at_most(Figure::Back, 0.01);
    scenario.holds([back, Limit::at_most(Figure::StreamLost, 0.0)])
}

/// Somebody else's flow on the first link: it is to get most of what a flow of its own kind would leave it.
fn neighbour() -> Scenario {
    let scenario =
        Scenario { seconds: 30, count_from: 10, ..Scenario::bulk("neighbour", flagship::clean()) };
    // Of 150 Mbit/s, the second link's 50 and 0.35 of the first.
    let ours = 85.0 / 150.0;
    scenario
        .with(&[Load::Neighbour])
        .holds([Limit::at_least(Figure::Neighbour, 0.35), Limit::at_least(Figure::Share, ours)])
}

/// The flagship over IPv6, outside and inside.
fn family() -> Scenario {
    let clean = Scenario { primed: true, ..Scenario::bulk("flagship-ipv6", flagship::clean()) };
    Scenario { family: Family::V6, ..clean }.holds(Limit::share(0.97, 0.95))
}
