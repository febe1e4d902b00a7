//! Every packet on both links.

use std::collections::BTreeMap;

use lab::{Direction, Lab, LinkSpec, Topology, traffic::udp};
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
    let mut lost = 0;
    for _ in 0..ROUNDS {
        let (report, dropped_twice) = round(&tunnel.lab);
        let more = report.lost_numbers.iter().find(|number| !dropped_twice.contains(number));
        assert_eq!(more, None, "lost, and not dropped on both links: {report:?}");
        // While one path was suspected, a packet that was dropped twice may have come a third time.
        let fewer = dropped_twice.len() - report.lost_numbers.len();
        assert!(fewer <= 2, "{dropped_twice:?} were dropped twice: {report:?}");
        assert_eq!(report.duplicated, 0);
        lost += report.lost;
    }
    figure("duplicate-lost", lost as f64, "of 4000 packets, each dropped on both links");
    tunnel.end().expect("a good end");
}

/// Sends a thousand packets. Returns what became of them, and which were dropped on both links.
fn round(lab: &Lab) -> (udp::ReceiveReport, Vec<u64>) {
    lab.log_drops(100_000).expect("a log");
    // Each packet has a length of its own, by which the drop log tells it from the others.
    let arguments = ["--rate", "400", "--seconds", "2.5", "--size", "300", "--size-max", "1299"];
    let report = Stream::start(lab, Way::Up, &arguments).report();

    let mut dropped: BTreeMap<u64, usize> = BTreeMap::new();
    for drops in lab.take_drops().expect("a log") {
        if drops.direction == Direction::Up {
            assert_eq!(drops.log.missing, 0);
            for drop in &drops.log.drops {
                *dropped.entry(drop.len).or_default() += 1;
            }
        }
    }
    // Inner IP and UDP, our header and tag, outer UDP and IP, around the payload.
    let len = |number: u64| 300 + number + 28 + 34 + 28;
    let both = (0..report.sent).filter(|&number| dropped.get(&len(number)) == Some(&2)).collect();
    (report, both)
}

const ROUNDS: usize = 4;
