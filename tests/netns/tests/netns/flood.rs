//! Datagrams that nobody should send, in masses.

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use lab::{Lab, LinkSpec, Node, Topology};
use netns::{Options, Tunnel, binary, run_on};

use crate::traffic::{Stream, Way, figure, tcp_goodput};

#[test]
fn a_minute_of_every_bad_kind_changes_counters_alone() {
    let tunnel = up();
    // What a session has once it has carried something.
    let stream = ["--rate", "1000", "--seconds", "4", "--size", "200"];
    let report = Stream::start(&tunnel.lab, Way::Up, &stream).report();
    assert_eq!(report.lost, 0);
    let before = tunnel.server.memory().expect("it runs");

    let stream = ["--rate", "200", "--seconds", "62"];
    let stream = Stream::start(&tunnel.lab, Way::Up, &stream);
    let kinds = ["random", "truncated", "index", "replayed", "forged"];
    let floods = kinds.map(|kind| flood(&tunnel.lab, kind, FLOOD_RATE, 60));
    let mut most = before;
    for _ in 0..58 {
        thread::sleep(Duration::from_secs(1));
        most = most.max(tunnel.server.memory().expect("it runs"));
    }
    for mut flood in floods {
        assert!(flood.wait().expect("ended").success());
    }
    let (report, after) = (stream.report(), tunnel.server.memory().expect("it runs"));

    figure("flood-memory-most", most as f64 - before as f64, "KiB");
    figure("flood-memory-after", after as f64 - before as f64, "KiB");
    figure("flood-lost", report.lost as f64, "of 12400 packets");
    let refused = tunnel.server_status().expect("a status").refused;
    println!("{refused:?}");
    for counter in ["forged", "replayed", "unknown session"] {
        assert!(refused[counter] > 100_000, "{refused:?}");
    }
    assert!(most.abs_diff(before) <= 2048 && after.abs_diff(before) <= 2048);
    tunnel.end().expect("a good end");
}

#[test]
fn ten_thousand_forged_handshakes_a_second_leave_nine_tenths_of_the_goodput() {
    let tunnel = up();
    // The forger's addresses, so that this machine may send from them.
    let route = ["route", "add", "local", "198.18.0.0/15", "dev", "lo"];
    run_on(&tunnel.lab, Node::Server, "ip", &route).expect("a route");
    let before = tcp_goodput(&tunnel.lab, Way::Up, "cubic", SECONDS);

    let mut flood = flood(&tunnel.lab, "hello", 10_000, SECONDS);
    let during = tcp_goodput(&tunnel.lab, Way::Up, "cubic", SECONDS);

    assert!(flood.wait().expect("ended").success());
    figure("handshake-flood-goodput", during / before, "of what it was");
    assert!(during >= 0.9 * before, "{during} of {before} Mbit/s");
    tunnel.end().expect("a good end");
}

/// Starts a flood from the server's own machine, where no link slows it down; it is under way on
/// return.
fn flood(lab: &Lab, kind: &str, rate: u32, seconds: u32) -> Child {
    let mut command = Command::new(binary("flood").expect("built"));
    command.args([kind, "--to", "10.70.0.1:4500", "--rate", &rate.to_string()]);
    command.args(["--seconds", &seconds.to_string()]).stdout(Stdio::piped());
    let mut child = lab.run_in(Node::Server, command).expect("started");
    let mut line = [0; 9];
    let stdout = child.stdout.as_mut().expect("it has an output");
    std::io::Read::read_exact(stdout, &mut line).expect("it floods");
    child
}

fn up() -> Tunnel {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20)]);
    Tunnel::up(&topology, &Options::default()).expect("a tunnel")
}

/// Datagrams a second of each kind.
const FLOOD_RATE: u32 = 10_000;
/// How long a flow is measured beside forged handshakes.
const SECONDS: u32 = 10;
