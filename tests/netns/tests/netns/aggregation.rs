//! One flow over several links.

use std::time::Duration;

use lab::{LinkSpec, SharedBottleneck, Topology};
use netns::{Options, Tunnel, eventually};
use shared::status::{Path, PathDirection, Snapshot};

use crate::traffic::{Way, figure, tcp_goodput};

#[test]
fn one_tcp_flow_over_two_links_beats_the_better_one_by_15_percent() {
    let options = Options::default();
    let mut worst = f64::MAX;
    for seed in 1..=SEEDS {
        let better = [LinkSpec::new("fibre", 100, 20)];
        let both = [LinkSpec::new("fibre", 100, 20), LinkSpec::new("lte", 50, 60)];
        for way in Way::BOTH {
            for congestion in ["cubic", "bbr"] {
                let goodput = |links: &[LinkSpec]| {
                    let topology = Topology { seed, ..Topology::of(links.to_vec()) };
                    let tunnel = Tunnel::up(&topology, &options).expect("a tunnel");
                    tunnel.wait_paths_up(links.len()).expect("paths");
                    let goodput = tcp_goodput(&tunnel.lab, way, congestion, SECONDS);
                    tunnel.end().expect("a good end");
                    goodput
                };
                let (alone, together) = (goodput(&better), goodput(&both));
                let name = format!("aggregate-{congestion}-{way:?}-seed{seed}");
                figure(&format!("{name}-share"), together / REACHABLE, "of reachable");
                figure(&format!("{name}-gain"), together / alone, "x better link");
                worst = worst.min(together / alone);
            }
        }
    }
    figure("aggregate-worst-gain", worst, "x better link");
    assert!(worst >= 1.15, "{worst}");
}

#[test]
fn an_inner_bbr_gets_past_a_near_and_narrow_link() {
    let links = [LinkSpec::new("dsl", 6, 16), LinkSpec::new("lte", 90, 100)];
    let tunnel = Tunnel::up(&Topology::of(links), &Options::default()).expect("a tunnel");
    tunnel.wait_paths_up(2).expect("paths");
    // Both ends have to know what the links carry, by the first probes.
    eventually(Duration::from_secs(3), || {
        let leads = |status: Snapshot, of: fn(&Path) -> &PathDirection| {
            let paths = status.sessions.iter().flat_map(|session| &session.paths);
            paths.filter(|path| of(path).leads == Some(true)).count() == 1
        };
        let client = leads(tunnel.client_status()?, |path| &path.up);
        Ok(client && leads(tunnel.server_status()?, |path| &path.down))
    })
    .expect("a lead at both ends");
    for way in Way::BOTH {
        let share = tcp_goodput(&tunnel.lab, way, "bbr", SECONDS) / (96.0 * 1386.0 / 1500.0);
        figure(&format!("near-and-narrow-{way:?}"), share, "of reachable");
        assert!(share > 0.8, "{share}");
    }
    tunnel.end().expect("a good end");
}

#[test]
fn a_single_link_carries_all_that_can_be_reached() {
    let topology = Topology::of([LinkSpec::new("fibre", 50, 20)]);
    let tunnel = Tunnel::up(&topology, &Options::default()).expect("a tunnel");
    for way in Way::BOTH {
        // What the tunnel's MTU and header leave of 50 Mbit/s.
        let share = tcp_goodput(&tunnel.lab, way, "cubic", SECONDS) / (50.0 * 1386.0 / 1500.0);
        figure(&format!("single-link-{way:?}"), share, "of reachable");
        assert!(share >= 0.99, "{share}");
    }
    tunnel.end().expect("a good end");
}

#[test]
fn two_paths_through_one_bottleneck_carry_what_one_does_and_queue_no_more() {
    let shared = |links: &[&str]| Topology {
        shared: vec![SharedBottleneck {
            links: links.iter().map(|name| (*name).to_owned()).collect(),
            up: lab::LinkConfig::mbit(50, 0),
            down: lab::LinkConfig::mbit(50, 0),
        }],
        ..Topology::of(links.iter().map(|name| LinkSpec::new(name, 200, 20)))
    };
    let goodput = |links: &[&str]| {
        let tunnel = Tunnel::up(&shared(links), &Options::default()).expect("a tunnel");
        tunnel.wait_paths_up(links.len()).expect("paths");
        let goodput = tcp_goodput(&tunnel.lab, Way::Up, "cubic", SECONDS);
        let status = tunnel.client_status().expect("a status");
        let rtt = status.sessions[0].paths.iter().filter_map(|path| path.up.srtt_ms);
        let rtt = rtt.fold(0.0, f64::max);
        tunnel.end().expect("a good end");
        (goodput, rtt)
    };
    let ((alone, rtt_alone), (together, rtt_together)) = (goodput(&["a"]), goodput(&["a", "b"]));
    figure("shared-bottleneck", together / alone, "of one path");
    figure("shared-bottleneck-rtt", rtt_together, "ms");
    figure("shared-bottleneck-rtt-alone", rtt_alone, "ms");
    assert!(together >= 0.95 * alone, "{together} of {alone}");
    // A round trip of 20 ms and the queue: no more than twice the queue of one path.
    assert!(rtt_together - 20.0 <= 2.0 * (rtt_alone - 20.0).max(10.0), "{rtt_together} ms");
}

/// What 150 Mbit/s of links carry of inner payload: 1386 of 1500 bytes.
const REACHABLE: f64 = 150.0 * 1386.0 / 1500.0;
const SEEDS: u64 = 3;
/// The lab leaves the first three seconds out of its figures.
const SECONDS: u32 = 7;
