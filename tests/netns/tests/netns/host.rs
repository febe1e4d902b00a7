//! What the programs do to a host, and the way out of it.

use std::time::Duration;

use lab::{LinkSpec, Node, Topology, UplinkState};
use netns::{Options, Tunnel, eventually, run_on, start_client, uplink};

use crate::traffic::figure;

#[test]
fn a_full_tunnel_takes_everything_and_is_undone_even_after_a_kill() {
    let topology = Topology { uplinks: 1, ..Topology::of([LinkSpec::new("fibre", 100, 20)]) };
    let options = Options { routes: Some("default"), ..Options::default() };
    let mut tunnel = Tunnel::up(&topology, &options).expect("a tunnel");
    assert!(tunnel.reaches_inet(), "through the tunnel");
    let with = host(&tunnel);

    tunnel.client.kill().expect("killed");
    let config = tunnel.folder.path().join("alice.toml");
    tunnel.client = start_client(&tunnel.lab, Node::Client, &config, &options).expect("started");
    tunnel.client.wait_ready().expect("ready");
    assert!(tunnel.reaches_inet(), "through the tunnel");
    assert_eq!(host(&tunnel), with, "a start after a kill leaves what a first start does");

    tunnel.client.terminate().expect("ended");
    let without = host(&tunnel);
    assert!(!without.contains("proto 72") && !without.contains("hawser"), "{without}");
}

#[test]
fn hosts_behind_the_client_reach_the_internet_by_both_families() {
    let topology = Topology {
        uplinks: 1,
        lan: lab::Switch::On,
        ..Topology::of([LinkSpec::new("fibre", 100, 20), LinkSpec::new("lte", 50, 60)])
    };
    let uplink = "\n[[uplink]]\nname = \"up0\"\ninterface = \"up0\"\n\
                  gateway = [\"10.98.0.2\", \"fd98::2\"]\ntier = 1\nprobe = \"icmp 10.98.0.2\"\n";
    let options = Options {
        routes: Some("default"),
        server: uplink.to_owned(),
        add: vec!["--prefix", "10.72.0.0/24", "--prefix", "fd72::/64"],
        ..Options::default()
    };
    let mut tunnel = Tunnel::up(&topology, &options).expect("a tunnel");
    let ping = |from, to: &str| {
        let ping = ["-c", "3", "-i", "0.2", "-W", "1", "-q", to];
        run_on(&tunnel.lab, from, "ping", &ping).map(|_| true)
    };
    eventually(Duration::from_secs(3), || Ok(active(&tunnel).as_deref() == Some("up0")))
        .expect("up0");
    for from in [Node::Client, Node::Lan] {
        for to in ["10.200.0.1", "fd20::1", "10.99.0.1", "fd99::1"] {
            ping(from, to).expect(to);
        }
    }
    // And back: the server reaches them, and they it, without any NAT inside.
    for to in ["10.72.0.2", "fd72::2"] {
        ping(Node::Server, to).expect(to);
    }
    let forwarding = || {
        let files = ["ipv4/conf/lan0/forwarding", "ipv4/ip_forward", "ipv6/conf/all/forwarding"];
        files.map(|file| {
            let file = format!("/proc/sys/net/{file}");
            run_on(&tunnel.lab, Node::Client, "cat", &[&file])
                .expect("it is there")
                .trim()
                .to_owned()
        })
    };
    assert_eq!(forwarding()[0], "1", "the client has become a router");
    tunnel.client.terminate().expect("ended");
    assert_eq!(forwarding(), ["0", "0", "0"], "and is none any more");
}

#[test]
fn an_uplink_that_dies_is_replaced_by_the_next() {
    let topology = Topology { uplinks: 2, ..Topology::of([LinkSpec::new("fibre", 100, 20)]) };
    let options = Options {
        routes: Some("default"),
        server: uplink(0, "100ms") + &uplink(1, "100ms"),
        ..Options::default()
    };
    for state in [UplinkState::Silent, UplinkState::Cut] {
        let tunnel = Tunnel::up(&topology, &options).expect("a tunnel");
        eventually(Duration::from_secs(3), || Ok(active(&tunnel).as_deref() == Some("up0")))
            .expect("up0");
        assert!(tunnel.reaches_inet(), "by up0");

        tunnel.lab.uplink(0, state).expect("an uplink dies");
        let began = std::time::Instant::now();
        eventually(Duration::from_secs(3), || Ok(tunnel.reaches_inet())).expect("by up1");

        figure(&format!("uplink-{state:?}"), began.elapsed().as_secs_f64() * 1e3, "ms");
        // The kernel forwards by the new one a moment before the server hears that it does.
        eventually(Duration::from_millis(500), || Ok(active(&tunnel).as_deref() == Some("up1")))
            .expect("up1 is named as the active one");
        tunnel.end().expect("a good end");
    }
}

fn active(tunnel: &Tunnel) -> Option<String> {
    let status = tunnel.server_status().expect("a status");
    status.uplinks.into_iter().find(|uplink| uplink.active).map(|uplink| uplink.name)
}

/// The client's routes and rules.
fn host(tunnel: &Tunnel) -> String {
    let ask = |arguments: &[&str]| run_on(&tunnel.lab, Node::Client, "ip", arguments).expect("ran");
    let routes = ask(&["-4", "route", "show", "table", "all"]);
    [ask(&["rule"]), ask(&["-6", "rule"]), routes].join("--\n")
}
