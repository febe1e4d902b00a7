//! Several kinds of traffic at once, and a link that is good for nothing.

use lab::LinkSpec;
use lab::link::{Jitter, LinkConfig, Loss};

use super::flagship;
use super::{Against, Figure, Limit, Load, Scenario};

pub(super) fn all(seconds: u64) -> Vec<Scenario> {
    let mut fibre = vec![
        call_beside_bulk("mix", flagship::lte(), seconds).with(&[Load::Web]),
        call_beside_bulk("mix-clean", flagship::clean(), seconds),
    ];
    // One round trip for the handshake, one to ask, and 30 kB in two or three more.
    fibre[0].limits.push(Limit::at_most(Figure::Web, 1.2 * 5.0 * 20.0));
    fibre.push(bad_third(seconds));
    fibre
}

/// A call beside eight flows.
fn call_beside_bulk(name: &str, links: Vec<LinkSpec>, seconds: u64) -> Scenario {
    let scenario =
        Scenario { loads: vec![Load::Bulk(8), Load::Call], seconds, ..Scenario::bulk(name, links) };
    let delay = scenario.idle_rtt_ms() / 2.0 + 10.0;
    scenario.holds([
        Limit::at_most(Figure::CallDelay, delay),
        Limit::at_most(Figure::CallLost, 0.0),
        Limit::at_least(Figure::Fairness, 0.95),
    ])
}

/// The flagship with a third link that delays, jitters and loses.
fn bad_third(seconds: u64) -> Scenario {
    let mut bad = LinkConfig::mbit(5, 80_000);
    bad.jitter = Jitter::held(30_000);
    bad.loss = Loss::Independent { probability: 0.05 };
    let mut links = flagship::clean();
    links.push(LinkSpec::with("bad", bad));
    let plain = Scenario::bulk("bad-third", links);
    let scenario = Scenario { seconds, against: Against::WithoutLast, ..plain };
    // 95 % of the two good ones, of a sum that counts the bad one as well.
    let share = 0.95 * 150.0 / 155.0;
    scenario.holds([Limit::at_least(Figure::Against, 0.98), Limit::at_least(Figure::Share, share)])
}
