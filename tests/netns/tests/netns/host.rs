//! What the programs do to a host, and the way out of it.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use lab::{LinkSpec, Node, Topology, UplinkState};
use netns::{Options, Tunnel, eventually, start_client};

use crate::traffic::figure;

#[test]
fn a_full_tunnel_takes_everything_and_is_undone_even_after_a_kill() {
    let topology = Topology { uplinks: 1, ..Topology::of([LinkSpec::new("fibre", 100, 20)]) };
    let options = Options { routes: Some("default"), ..Options::default() };
    let mut tunnel = Tunnel::up(&topology, &options).expect("a tunnel");
    assert!(reaches_inet(&tunnel), "through the tunnel");
    let with = host(&tunnel);

    tunnel.client.kill().expect("killed");
    let config = tunnel.folder.path().join("alice.toml");
    tunnel.client = start_client(&tunnel.lab, Node::Client, &config, &options).expect("started");
    tunnel.client.wait_ready().expect("ready");
    assert!(reaches_inet(&tunnel), "through the tunnel");
    assert_eq!(host(&tunnel), with, "a start after a kill leaves what a first start does");

    tunnel.client.terminate().expect("ended");
    let without = host(&tunnel);
    assert!(!without.contains("proto 72") && !without.contains("hawser"), "{without}");
}

#[test]
fn an_uplink_that_dies_is_replaced_by_the_next() {
    let topology = Topology { uplinks: 2, ..Topology::of([LinkSpec::new("fibre", 100, 20)]) };
    let uplink = |index: u8| {
        format!(
            "\n[[uplink]]\nname = \"up{index}\"\ninterface = \"up{index}\"\ntier = {}\n\
             probe = \"icmp 10.98.{index}.2\"\ninterval = \"100ms\"\n",
            index + 1
        )
    };
    let options =
        Options { routes: Some("default"), server: uplink(0) + &uplink(1), ..Options::default() };
    for state in [UplinkState::Silent, UplinkState::Cut] {
        let tunnel = Tunnel::up(&topology, &options).expect("a tunnel");
        eventually(Duration::from_secs(3), || Ok(active(&tunnel).as_deref() == Some("up0")))
            .expect("up0");
        assert!(reaches_inet(&tunnel), "by up0");

        tunnel.lab.uplink(0, state).expect("an uplink dies");
        let began = std::time::Instant::now();
        eventually(Duration::from_secs(3), || Ok(reaches_inet(&tunnel))).expect("by up1");

        figure(&format!("uplink-{state:?}"), began.elapsed().as_secs_f64() * 1e3, "ms");
        assert_eq!(active(&tunnel).as_deref(), Some("up1"));
        tunnel.end().expect("a good end");
    }
}

fn active(tunnel: &Tunnel) -> Option<String> {
    let status = tunnel.server_status().expect("a status");
    status.uplinks.into_iter().find(|uplink| uplink.active).map(|uplink| uplink.name)
}

fn reaches_inet(tunnel: &Tunnel) -> bool {
    let mut ping = Command::new("ping");
    ping.args(["-c", "1", "-W", "1", "-q", "10.99.0.1"]).stdout(Stdio::null());
    let ended = tunnel.lab.run_in(Node::Client, ping).and_then(|mut child| Ok(child.wait()?));
    ended.is_ok_and(|status| status.success())
}

/// The client's routes and rules.
fn host(tunnel: &Tunnel) -> String {
    let ask = |arguments: &[&str]| {
        let mut ip = Command::new("ip");
        ip.args(arguments).stdout(Stdio::piped());
        let output = tunnel.lab.run_in(Node::Client, ip).and_then(|it| Ok(it.wait_with_output()?));
        String::from_utf8_lossy(&output.expect("ran").stdout).into_owned()
    };
    let routes = ask(&["-4", "route", "show", "table", "all"]);
    [ask(&["rule"]), ask(&["-6", "rule"]), routes].join("--\n")
}
