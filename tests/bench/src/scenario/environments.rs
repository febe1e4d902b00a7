//! Sixteen pairs of links that others have measured a multipath tunnel on.
//!
//! Theirs reorders inside a link when it jitters; ours keeps the order, as access networks do.

use lab::LinkSpec;
use lab::link::{Jitter, LinkConfig, Loss, QueueLimit};

use super::{Against, Figure, Limit, NOT_BELOW, Scenario};

/// One link: round trip, jitter, loss, rate, and whether it has the deep queue of a mobile one.
struct Line {
    rtt_ms: u64,
    jitter_ms: u64,
    loss: f64,
    mbit: u64,
    is_mobile: bool,
}

pub(super) fn all(seconds: u64) -> Vec<Scenario> {
    let fifty = |rtt_ms| line(rtt_ms, 0, 0.0, 50);
    let rated = |mbit| line(20, 0, 0.0, mbit);
    let jittery = |jitter_ms| line(20, jitter_ms, 0.0, 50);
    let lossy = |loss| line(20, 0, loss, 50);
    let pairs = [
        ("baseline", fifty(20), fifty(20)),
        ("rtt-40", fifty(20), fifty(40)),
        ("rtt-70", fifty(20), fifty(70)),
        ("rtt-120", fifty(20), fifty(120)),
        ("rtt-320", fifty(20), fifty(320)),
        ("jitter-5", jittery(5), jittery(5)),
        ("jitter-20", jittery(20), jittery(20)),
        ("loss-0.5", lossy(0.005), lossy(0.005)),
        ("loss-2", lossy(0.02), lossy(0.02)),
        ("rate-4to1", rated(50), rated(12)),
        ("rate-10to1", rated(100), rated(10)),
        ("dual-lte", mobile(30, 5, 0.005, 40), mobile(45, 8, 0.005, 25)),
        ("fibre-lte", line(8, 0, 0.0, 300), mobile(40, 8, 0.005, 30)),
        ("lte-leo", mobile(35, 8, 0.0, 40), line(50, 25, 0.01, 100)),
        ("lte-geo", mobile(35, 0, 0.0, 40), line(320, 20, 0.005, 20)),
        ("congested", line(50, 20, 0.02, 20), line(60, 25, 0.02, 15)),
    ];
    let scenario = |(name, first, second): (&str, Line, Line)| {
        let limits = limits(&first, &second);
        let links = vec![first.link("a"), second.link("b")];
        let plain = Scenario::bulk(&format!("env-{name}"), links);
        Scenario { seconds, against: Against::BetterLink, ..plain }.holds(limits)
    };
    pairs.into_iter().map(scenario).collect()
}

/// Never below the better link; most of the sum where the links are not too different.
fn limits(first: &Line, second: &Line) -> Vec<Limit> {
    let alike = first.rtt_ms.abs_diff(second.rtt_ms) <= 100;
    let mut limits = vec![Limit::at_least(Figure::Against, NOT_BELOW)];
    if alike && first.loss.max(second.loss) <= 0.005 {
        limits.push(Limit::at_least(Figure::Share, 0.90));
    }
    limits
}

fn line(rtt_ms: u64, jitter_ms: u64, loss: f64, mbit: u64) -> Line {
    Line { rtt_ms, jitter_ms, loss, mbit, is_mobile: false }
}

fn mobile(rtt_ms: u64, jitter_ms: u64, loss: f64, mbit: u64) -> Line {
    Line { is_mobile: true, ..line(rtt_ms, jitter_ms, loss, mbit) }
}

impl Line {
    fn link(&self, name: &str) -> LinkSpec {
        let mut config = LinkConfig::mbit(self.mbit, self.rtt_ms * 500);
        config.jitter = Jitter::held(self.jitter_ms * 1000);
        if self.loss > 0.0 {
            config.loss = Loss::Independent { probability: self.loss };
        }
        if self.is_mobile {
            config.queue = QueueLimit::Time { us: 500_000 };
        }
        LinkSpec::with(name, config)
    }
}
