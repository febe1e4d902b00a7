//! Every packet on both links.

use std::collections::BTreeMap;

use lab::{Direction, LinkSpec, Topology};
use netns::{Options, Tunnel};

use crate::traffic::{Stream, Way, figure};

#[test]
fn lost_is_exactly_what_was_dropped_on_both_links() {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20), LinkSpec::new("lte", 50, 60)]);
    let options = Options { mode: Some("duplicate"), ..Options::default() };
    let tunnel = Tunnel::up(&topology, &options).expect("a tunnel");
    tunnel.wait_paths_up(2).expect("both paths");
    for link in ["fibre", "lte"] {
        tunnel.lab.set_text(link, "loss=5%").expect("set");
    }
    tunnel.lab.log_drops(100_000).expect("a log");

    // Each packet has a length of its own, by which the drop log tells it from the others.
    let arguments = ["--rate", "200", "--seconds", "5", "--size", "300", "--size-max", "1299"];
    let report = Stream::start(&tunnel.lab, Way::Up, &arguments).report();

    let mut dropped: BTreeMap<u64, usize> = BTreeMap::new();
    for drops in tunnel.lab.take_drops().expect("a log") {
        if drops.direction == Direction::Up {
            assert_eq!(drops.log.missing, 0);
            for drop in &drops.log.drops {
                *dropped.entry(drop.len).or_default() += 1;
            }
        }
    }
    // Inner IP and UDP, our header and tag, outer UDP and IP, around the payload.
    let len = |number: u64| 300 + number + 28 + 34 + 28;
    let both = (0..report.sent).filter(|&number| dropped.get(&len(number)) == Some(&2));
    let both: Vec<u64> = both.collect();
    figure("duplicate-lost", report.lost as f64, "packets");
    figure("duplicate-dropped-twice", both.len() as f64, "packets");
    assert_eq!(report.lost_numbers, both);
    assert_eq!(report.duplicated, 0);
    tunnel.end().expect("a good end");
}
