//! Packets that nobody may send, and datagrams that nobody sent.

use std::{fs, net::UdpSocket, process::Command, time::Duration};

use lab::{LinkSpec, Node, Topology};
use netns::{Options, Tunnel, eventually};

use crate::traffic::{Stream, Way, figure};

#[test]
fn a_client_sends_from_its_own_addresses_alone() {
    let tunnel = up();
    let refused = || {
        let status = tunnel.server_status().expect("a status");
        status.refused["source or destination"]
    };
    let before = refused();
    // Another client's address, the server's, and one from elsewhere.
    for source in ["10.200.0.77", "198.51.100.7", "10.200.0.1"] {
        let mut address = Command::new("ip");
        address.args(["address", "add", &format!("{source}/32"), "dev", "hawser0"]);
        let status = tunnel.lab.run_in(Node::Client, address).and_then(|mut it| Ok(it.wait()?));
        assert!(status.expect("ran").success());
        let mut ping = Command::new("ping");
        // To the server; but from the server's own address, to somebody else.
        let to = if source == "10.200.0.1" { "10.200.0.5" } else { "10.200.0.1" };
        ping.args(["-c", "3", "-i", "0.1", "-W", "1", "-I", source, to]);
        ping.stdout(std::process::Stdio::null());
        let status = tunnel.lab.run_in(Node::Client, ping).and_then(|mut it| Ok(it.wait()?));
        assert!(!status.expect("ran").success(), "an answer to {source}");
    }
    eventually(Duration::from_secs(2), || Ok(refused() >= before + 9)).expect("counted");
    tunnel.end().expect("a good end");
}

#[test]
fn floods_of_bad_datagrams_change_counters_alone() {
    let tunnel = up();
    let rss = || memory(tunnel.server.pid());
    let kinds: [(&str, Datagram); 3] = [
        ("random", |n| (0..200u32).map(|i| (i.wrapping_mul(n | 1) >> 3) as u8 & 0x3f).collect()),
        ("truncated", |n| vec![0, 1, 2, n as u8]),
        ("index", |n| [&[0, (n >> 4) as u8, n as u8, 0][..], &[0; 100]].concat()),
    ];
    let flood = |datagram: Datagram| {
        // The flood comes from the server's own machine: no link slows it down.
        let namespace = fs::File::open(format!("/proc/{}/ns/net", tunnel.server.pid()));
        let namespace = namespace.expect("a namespace");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&namespace),
                    kind,
                )
                .expect("entered");
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
                for number in 0..FLOOD {
                    // A full socket drops: that is the point.
                    let _ = socket.send_to(&datagram(number), "127.0.0.1:4500");
                }
            });
        });
    };
    flood(kinds[0].1);
    let before = rss();
    for (name, datagram) in kinds {
        flood(datagram);
        let grown = rss() as f64 - before as f64;
        figure(&format!("flood-{name}-memory"), grown, "KiB");
        assert!(grown.abs() <= 2048.0, "{name}: {grown} KiB");
    }
    let status = tunnel.server_status().expect("a status");
    assert!(status.refused["unknown session"] > 0, "{:?}", status.refused);
    let report = Stream::start(&tunnel.lab, Way::Up, &["--rate", "500", "--seconds", "1"]).report();
    assert_eq!(report.lost, 0);
    tunnel.end().expect("a good end");
}

fn memory(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn up() -> Tunnel {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20)]);
    Tunnel::up(&topology, &Options::default()).expect("a tunnel")
}

const FLOOD: u32 = 200_000;

/// Makes a bad datagram of a number.
type Datagram = fn(u32) -> Vec<u8>;
