//! Ends that are killed, and come back.

use std::{
    thread,
    time::{Duration, Instant},
};

use lab::{LinkSpec, Node, Topology};
use netns::{Options, Tunnel, eventually, run_on, start_client, start_server};

use crate::traffic::figure;

#[test]
fn traffic_flows_soon_after_the_server_is_back() {
    let mut tunnel = up();
    tunnel.server.kill().expect("killed");
    thread::sleep(Duration::from_secs(2));

    tunnel.server = start_server(&tunnel.lab, tunnel.folder.path()).expect("a server");
    let listening = Instant::now();
    eventually(Duration::from_secs(5), || Ok(answers(&tunnel))).expect("traffic");

    let took = listening.elapsed();
    figure("server-restart", took.as_secs_f64() * 1e3, "ms");
    assert!(took <= Duration::from_millis(1500), "{took:?}");
    tunnel.end().expect("a good end");
}

#[test]
fn traffic_flows_soon_after_the_client_is_back() {
    let mut tunnel = up();
    tunnel.client.kill().expect("killed");

    let config = tunnel.folder.path().join("alice.toml");
    let began = Instant::now();
    tunnel.client =
        start_client(&tunnel.lab, Node::Client, &config, &Options::default()).expect("started");
    tunnel.client.wait_ready().expect("ready");
    eventually(Duration::from_secs(5), || Ok(answers(&tunnel))).expect("traffic");

    let took = began.elapsed();
    figure("client-restart", took.as_secs_f64() * 1e3, "ms");
    assert!(took <= Duration::from_secs(3), "{took:?}");
    tunnel.end().expect("a good end");
}

fn answers(tunnel: &Tunnel) -> bool {
    let ping = ["-c", "1", "-W", "1", "-q", netns::SERVER[0]];
    run_on(&tunnel.lab, Node::Client, "ping", &ping).is_ok()
}

fn up() -> Tunnel {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20), LinkSpec::new("lte", 50, 60)]);
    Tunnel::up(&topology, &Options::default()).expect("a tunnel")
}
