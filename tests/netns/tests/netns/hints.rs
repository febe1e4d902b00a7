//! What the kernel says of a link that is gone, and how soon the client leaves it.

use std::{thread, time::Duration};

use lab::{LinkSpec, Node, Topology};
use netns::{Options, Tunnel, run_on};

use crate::traffic::{Stream, Way, figure};

#[test]
fn a_link_that_is_set_down_is_left_at_the_kernels_word() {
    leaves("link-down", "ip", &["link", "set", "fibre", "down"]);
}

#[test]
fn a_link_whose_addresses_are_removed_is_left_at_the_kernels_word() {
    leaves("address-removed", "ip", &["address", "flush", "dev", "fibre"]);
}

#[test]
fn a_link_by_which_nothing_can_be_sent_is_left_at_the_kernels_word() {
    let filter = "table inet shut { chain out { type filter hook output priority 0; \
                  oifname fibre udp dport 4500 reject; }; }";
    leaves("send-error", "nft", &[filter]);
}

/// Takes the fast link from under a stream by an order to the kernel of the client's host.
fn leaves(name: &str, program: &str, order: &[&str]) {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20), LinkSpec::new("lte", 50, 60)]);
    let tunnel = Tunnel::up(&topology, &Options::default()).expect("a tunnel");
    tunnel.wait_paths_up(2).expect("both paths");
    let streams =
        Way::BOTH.map(|way| Stream::start(&tunnel.lab, way, &["--rate", "1000", "--seconds", "4"]));
    thread::sleep(Duration::from_secs(2));
    run_on(&tunnel.lab, Node::Client, program, order).expect("an order to the kernel");
    let [up, down] = streams.map(Stream::report);

    let status = tunnel.client_status().expect("a status");
    let paths = status.sessions.iter().flat_map(|session| &session.paths);
    let fibre = paths.clone().find(|path| path.link == "fibre").expect("a path");
    let how = fibre.up.link_failure.clone().unwrap_or_default();
    let moved = fibre.up.moved_after_ms;
    println!("{name}: the kernel said so by {how}, {:?} times", fibre.up.link_failures);
    figure(&format!("{name}-moved-after"), moved.unwrap_or(f64::NAN), "ms");
    for (way, report) in [("up", &up), ("down", &down)] {
        figure(&format!("{name}-{way}-gap"), report.gap_max_us / 1e3, "ms");
        figure(&format!("{name}-{way}-lost"), report.lost as f64, "packets");
    }
    assert!(fibre.up.link_failures >= Some(1), "{fibre:?}");
    assert!(moved.is_some_and(|after| after < 500.0), "{moved:?} ms");
    // The server hears nothing of the client's kernel: it finds out by silence.
    for report in [up, down] {
        assert!(report.lost <= 5 && report.gap_max_us < 1e6, "{report:?}");
    }
    tunnel.end().expect("a good end");
}
