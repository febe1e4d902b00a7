//! The lab against what it was asked for, in real namespaces. Without the rights to make them each
//! test fails with the sentence that says what the host forbids.

use std::process::Command;
use std::time::{Duration, Instant};

use lab::link::{DropReason, Jitter, Loss};
use lab::topology::{INET_ADDRESS, SERVER_ADDRESS};
use lab::traffic::{ping, tcp, udp};
use lab::{
    Change, Direction, Lab, LinkSpec, Node, SharedBottleneck, Switch, Topology, UplinkState,
};

#[test]
fn one_tcp_flow_fills_a_link_in_both_directions() {
    let lab = up(Topology::of([LinkSpec::new("fibre", 40, 20)]));

    for (sender, receiver) in [(Node::Client, Node::Server), (Node::Server, Node::Client)] {
        for congestion in ["cubic", "bbr"] {
            let (sent, received) = flow(&lab, sender, receiver, congestion);

            // 1448 of 1500 bytes are payload: 38.6 Mbit/s.
            let goodput = received.goodput_bits_per_second / 1e6;
            assert!((35.0..39.0).contains(&goodput), "{sender} {congestion}: {goodput} Mbit/s");
            assert!((20_000..25_000).contains(&sent.rtt_min_us), "{}", sent.rtt_min_us);
        }
    }
    let link = &lab.status().unwrap().links[0];
    assert_eq!((link.up.kernel_dropped, link.down.kernel_dropped), (0, 0));
    assert!(link.up.counters.queue_us.max <= 101_000.0, "{:?}", link.up.counters.queue_us);
}

#[test]
fn one_udp_stream_gets_the_delay_jitter_and_loss_asked_for() {
    let lab = up(Topology::of([LinkSpec::new("lte", 50, 60)]));
    let ways = [SERVER_ADDRESS[0], SERVER_ADDRESS[1]];
    for address in ways {
        let report = stream(&lab, &format!("{}", std::net::SocketAddr::new(address, 7000)), &[]);

        assert_eq!((report.lost, report.duplicated, report.reordered), (0, 0, 0));
        assert!((30_000.0..32_000.0).contains(&report.delay_us.p50), "{:?}", report.delay_us);
    }

    lab.set("lte", Some(Direction::Up), Change::Jitter(Jitter::held(8000))).unwrap();
    lab.set("lte", None, Change::Loss(Loss::Independent { probability: 0.1 })).unwrap();
    lab.reset_counters().unwrap();
    let report = stream(&lab, "10.70.0.1:7000", &[]);

    let counters = lab.counters("lte", Direction::Up).unwrap();
    // The ends of the stream are lost as often as its packets.
    assert!(counters.lost >= report.lost && counters.lost <= report.lost + 5, "{counters:?}");
    assert!((120..280).contains(&report.lost), "{} of 2000", report.lost);
    assert_eq!(report.reordered, 0);
    let mean_us = counters.delay_us.mean - 30_000.0;
    assert!((4500.0..9500.0).contains(&mean_us), "|N(0, 8 ms)| has a mean of 6.4 ms: {mean_us}");
    assert!(report.delay_us.mean >= counters.delay_us.mean - 100.0, "{:?}", report.delay_us);
}

#[test]
fn the_drop_log_names_the_packets_that_did_not_arrive() {
    let lab = up(Topology::of([LinkSpec::new("fibre", 50, 10)]));
    lab.set_text("fibre", "up.loss=5% up.burst=3").unwrap();
    lab.log_drops(10_000).unwrap();

    // A packet is told by its size: 100 bytes and its number, beside 28 bytes of headers.
    let report = stream(&lab, "10.70.0.1:7000", &["--size", "100", "--size-max", "1400"]);

    let drops = lab.take_drops().unwrap();
    let log = &drops.iter().find(|drops| drops.direction == Direction::Up).unwrap().log;
    assert!(log.drops.iter().all(|drop| drop.reason == DropReason::Loss));
    // Ends of the stream are 32 bytes long.
    let sizes: Vec<u64> =
        log.drops.iter().map(|drop| drop.len - 28).filter(|len| *len >= 100).collect();
    let lost: Vec<u64> = report.lost_numbers.iter().map(|number| 100 + number % 1301).collect();
    assert!(!lost.is_empty());
    assert_eq!(sizes, lost);
}

#[test]
fn a_black_hole_closes_one_direction_and_opens_again() {
    let lab = up(Topology::of([LinkSpec::new("fibre", 50, 10)]));
    let echo = lab.tool(Node::Server, &["udp-echo", "--listen", "10.70.0.1:7"]).unwrap();

    lab.set_text("fibre", "blackhole=down").unwrap();
    let dead = ping(&lab);
    let counters = lab.status().unwrap().links[0].clone();
    lab.set_text("fibre", "blackhole=off").unwrap();
    let alive = ping(&lab);
    drop(echo);

    assert_eq!((dead.received, alive.received), (0, 20));
    // The server's kernel may have had a word of its own to say.
    assert_eq!(counters.up.counters.blackholed, 0);
    assert!((20..25).contains(&counters.down.counters.blackholed), "{:?}", counters.down.counters);
    assert!((10_000.0..14_000.0).contains(&alive.rtt_us.p50), "{:?}", alive.rtt_us);
}

#[test]
fn a_nat_translates_and_rebinding_changes_the_port() {
    let mut fibre = LinkSpec::new("fibre", 50, 10);
    fibre.nat = Switch::On;
    let lab = up(Topology::of([fibre]));
    let echo = lab.tool(Node::Server, &["udp-echo", "--listen", "10.70.0.1:7"]).unwrap();
    let echo6 = lab.tool(Node::Server, &["udp-echo", "--listen", "[fd70::1]:7"]).unwrap();

    let before = ping(&lab);
    let arguments = ["ping", "--to", "[fd70::1]:7", "--rate", "20", "--seconds", "1"];
    let before6: ping::PingReport = lab.tool(Node::Client, &arguments).unwrap().report().unwrap();
    let arguments = ["ping", "--to", "10.70.0.1:7", "--rate", "100", "--seconds", "2"];
    let running = lab.tool(Node::Client, &arguments).unwrap();
    wait_for(|| lab.counters("fibre", Direction::Up).unwrap().delivered >= 90);
    lab.rebind("fibre").unwrap();
    let across: ping::PingReport = running.report().unwrap();
    drop((echo, echo6));

    assert_eq!((before.received, before6.received), (20, 20));
    // The answers on their way to the old port are refused, at most 20 ms of them.
    let refused = lab.status().unwrap().links[0].nat_packets_refused;
    assert_eq!(across.lost, refused);
    assert!(refused <= 5, "{refused}");
    assert!(lab.rebind("nowhere").is_err());
}

#[test]
fn two_links_share_one_bottleneck() {
    let mut topology = Topology::of([LinkSpec::new("a", 100, 10), LinkSpec::new("b", 100, 10)]);
    let config = lab::LinkConfig::mbit(20, 0);
    let links = vec!["a".to_owned(), "b".to_owned()];
    topology.shared = vec![SharedBottleneck { links, up: config.clone(), down: config }];
    let lab = up(topology);

    let receivers = [0, 1].map(|link| {
        let listen = format!("10.71.{link}.2:5001");
        lab.tool(Node::Server, &["tcp-recv", "--warm-up", "1", "--listen", &listen]).unwrap()
    });
    let senders = [0, 1].map(|link| {
        let to = format!("10.71.{link}.2:5001");
        lab.tool(Node::Client, &["tcp-send", "--seconds", "4", "--to", &to]).unwrap()
    });
    let sum: f64 = receivers
        .map(|tool| tool.report::<tcp::ReceiveReport>().unwrap().goodput_bits_per_second / 1e6)
        .iter()
        .sum();
    for tool in senders {
        assert!(tool.report::<tcp::SendReport>().unwrap().bytes_acked > 1_000_000, "starved");
    }

    // Each flow measures its own time, so the sum may exceed the whole a little.
    assert!((17.0..20.5).contains(&sum), "{sum} Mbit/s of 19.3");
}

#[test]
fn uplinks_are_cut_silenced_and_repaired() {
    let mut topology = Topology::of([LinkSpec::new("fibre", 50, 10)]);
    topology.uplinks = 2;
    let lab = up(topology);
    let reaches = |device: &str, address: String| {
        let mut command = Command::new("ping");
        command.args(["-c1", "-W1", "-q", "-I", device, &address]);
        command.stdout(std::process::Stdio::null());
        lab.run_in(Node::Server, command).unwrap().wait().unwrap().success()
    };
    let [inet, inet6] = INET_ADDRESS.map(|address| address.to_string());

    for state in [UplinkState::Cut, UplinkState::Silent] {
        lab.uplink(0, state).unwrap();
        assert!(!reaches("up0", inet.clone()), "{state:?}");
        assert!(!reaches("up0", inet6.clone()), "{state:?}");
        assert!(reaches("up1", inet.clone()), "{state:?}");
        lab.uplink(0, UplinkState::Up).unwrap();
        wait_for(|| reaches("up0", inet.clone()));
        wait_for(|| reaches("up0", inet6.clone()));
    }
    assert!(lab.uplink(2, UplinkState::Cut).is_err());
}

#[test]
fn a_link_is_unplugged_and_plugged_in_again() {
    let lab = up(Topology::of([LinkSpec::new("fibre", 50, 10), LinkSpec::new("lte", 50, 10)]));
    let echo = lab.tool(Node::Server, &["udp-echo", "--listen", "10.70.0.1:7"]).unwrap();

    lab.plug("lte", Switch::Off).unwrap();
    let devices = devices(&lab);
    lab.plug("lte", Switch::On).unwrap();
    let arguments = ["ping", "--to", "10.70.0.1:7", "--interface", "lte", "--seconds", "0.4"];
    let back: ping::PingReport = lab.tool(Node::Client, &arguments).unwrap().report().unwrap();
    drop(echo);

    assert!(devices.contains("fibre") && !devices.contains("lte"), "{devices}");
    assert_eq!((back.sent, back.lost), (20, 0));
}

#[test]
fn a_wire_is_joined_by_the_kernel_beside_emulated_links() {
    let lab = up(Topology::of([LinkSpec::wire("a-wire-so-long"), LinkSpec::new("lte", 50, 60)]));
    let echo = lab.tool(Node::Server, &["udp-echo", "--listen", "10.70.0.1:7"]).unwrap();
    let ping = |interface: &str| {
        let arguments =
            ["ping", "--to", "10.70.0.1:7", "--interface", interface, "--seconds", "0.4"];
        lab.tool(Node::Client, &arguments).unwrap().report::<ping::PingReport>().unwrap()
    };

    let (wire, link) = (ping("a-wire-so-long"), ping("lte"));
    drop(echo);

    assert_eq!((wire.lost, link.lost), (0, 0));
    assert!(wire.rtt_us.p50 < link.rtt_us.p50 / 2.0, "{wire:?} {link:?}");
    assert!(lab.plug("a-wire-so-long", Switch::Off).is_err(), "nothing is emulated there");
}

#[test]
fn a_lan_and_guests_have_machines_of_their_own() {
    let mut topology = Topology::of([LinkSpec::new("fibre", 50, 10), LinkSpec::new("far", 50, 30)]);
    topology.links[1].client = 1;
    topology.lan = Switch::On;
    let lab = up(topology);
    let echo = lab.tool(Node::Server, &["udp-echo", "--listen", "10.70.0.1:7"]).unwrap();
    let near = lab.tool(Node::Client, &["udp-echo", "--listen", "10.72.0.1:7"]).unwrap();

    let arguments = ["ping", "--to", "10.70.0.1:7", "--seconds", "0.4"];
    let guest: ping::PingReport = lab.tool(Node::Guest(1), &arguments).unwrap().report().unwrap();
    let arguments = ["ping", "--to", "10.72.0.1:7", "--seconds", "0.4"];
    let lan: ping::PingReport = lab.tool(Node::Lan, &arguments).unwrap().report().unwrap();
    drop((echo, near));

    assert_eq!((guest.lost, lan.lost), (0, 0));
    assert!((30_000.0..34_000.0).contains(&guest.rtt_us.p50), "{:?}", guest.rtt_us);
}

#[test]
fn everything_is_gone_when_the_lab_is_dropped() {
    let lab = up(Topology::of([LinkSpec::new("fibre", 50, 10)]));
    let machines = lab.status().unwrap().machines;
    let socket = lab.socket().to_owned();
    let holder = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        status.contains("hold")
    };
    assert!(machines.iter().all(|machine| holder(machine.pid)));

    drop(lab);

    assert!(!socket.exists());
    wait_for(|| !machines.iter().any(|machine| holder(machine.pid)));
}

#[test]
fn a_topology_that_makes_no_sense_is_refused_with_a_reason() {
    let twice = Topology::of([LinkSpec::new("a", 1, 1), LinkSpec::new("a", 1, 1)]);

    let error = Lab::up(&twice).unwrap_err().to_string();

    assert!(error.contains("two links are called 'a'"), "{error}");
}

// Helpers.

/// Raises a lab by the program that this test was built with.
fn up(topology: Topology) -> Lab {
    assert!(std::path::Path::new(env!("CARGO_BIN_EXE_lab")).is_file());
    Lab::up(&topology).unwrap_or_else(|error| panic!("{error:#}"))
}

fn flow(
    lab: &Lab,
    sender: Node,
    receiver: Node,
    congestion: &str,
) -> (tcp::SendReport, tcp::ReceiveReport) {
    let address = if receiver == Node::Server { "10.71.0.2:5001" } else { "10.71.0.1:5001" };
    let arguments = ["tcp-recv", "--warm-up", "1.5", "--listen", address];
    let receiving = lab.tool(receiver, &arguments).expect("start the receiver");
    let arguments = ["tcp-send", "--congestion", congestion, "--seconds", "4", "--to", address];
    let sending = lab.tool(sender, &arguments).expect("start the sender");
    let sent = sending.report().expect("the sender reports");
    (sent, receiving.report().expect("the receiver reports"))
}

/// 2000 packets in 2 s from the client to the server.
fn stream(lab: &Lab, to: &str, more: &[&str]) -> udp::ReceiveReport {
    let receiver =
        lab.tool(Node::Server, &["udp-recv", "--listen", to]).expect("start the receiver");
    let arguments = [&["udp-send", "--to", to, "--seconds", "2"], more].concat();
    let sender = lab.tool(Node::Client, &arguments).expect("start the sender");
    let sent: udp::SendReport = sender.report().expect("the sender reports");
    assert_eq!((sent.sent, sent.refused), (2000, 0));
    receiver.report().expect("the receiver reports")
}

fn ping(lab: &Lab) -> ping::PingReport {
    let arguments = ["ping", "--to", "10.70.0.1:7", "--rate", "20", "--seconds", "1"];
    let tool = lab.tool(Node::Client, &arguments).expect("start the ping");
    tool.report().expect("the ping reports")
}

/// The names of the client's devices, as the kernel lists them.
fn devices(lab: &Lab) -> String {
    let mut command = Command::new("cat");
    command.arg("/proc/self/net/dev").stdout(std::process::Stdio::piped());
    let child = lab.run_in(Node::Client, command).expect("start cat");
    let output = child.wait_with_output().expect("cat ends");
    String::from_utf8(output.stdout).expect("names of devices are text")
}

#[expect(clippy::disallowed_methods, reason = "a test waits in real time")]
fn wait_for(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "it has not come true within 10 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}
