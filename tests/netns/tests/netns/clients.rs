//! Several clients, and clients that come and go.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use lab::{LinkSpec, Node, Topology};
use netns::{Options, Tunnel, add_client, binary, eventually, run, run_on, start_client};

use crate::traffic::{Stream, figure};

#[test]
fn ten_clients_at_once_each_reach_the_server() {
    let mut links = vec![LinkSpec::new("home", 100, 20)];
    for guest in 1..10u8 {
        links.push(LinkSpec { client: guest, ..LinkSpec::new(&format!("g{guest}"), 100, 20) });
    }
    let tunnel = Tunnel::up(&Topology::of(links), &Options::default()).expect("a tunnel");
    let folder = tunnel.folder.path();
    let configs: Vec<_> = (1..10u8)
        .map(|guest| (guest, add_client(folder, &format!("guest{guest}"), &[]).expect("added")))
        .collect();
    let clients: Vec<_> = (configs.iter())
        .map(|(guest, config)| {
            start_client(&tunnel.lab, Node::Guest(*guest), config, &Options::default())
                .expect("started")
        })
        .collect();
    for client in &clients {
        client.wait_ready().expect("ready");
    }
    let streams: Vec<_> = (1..10u8)
        .map(|guest| {
            let to = format!("{}:{}", netns::SERVER[0], 6100 + u16::from(guest));
            let arguments = ["--rate", "200", "--seconds", "2"];
            Stream::between(&tunnel.lab, Node::Guest(guest), Node::Server, &to, &arguments)
        })
        .collect();
    for stream in streams {
        assert_eq!(stream.report().lost, 0);
    }
    let status = tunnel.server_status().expect("a status");
    assert_eq!(status.sessions.len(), 10);
}

#[test]
fn a_removed_client_is_out_within_a_second_and_an_added_one_is_in() {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20)]);
    let mut tunnel = Tunnel::up(&topology, &Options::default()).expect("a tunnel");
    let config = tunnel.folder.path().join("server.toml");
    let mut remove = Command::new(binary("hawser-server").expect("built"));
    run(remove.args(["client", "remove", "alice", "--config"]).arg(&config)).expect("removed");

    let began = Instant::now();
    let status = tunnel.client.wait(Duration::from_secs(5)).expect("ended");
    let took = began.elapsed();
    figure("removal", took.as_secs_f64() * 1e3, "ms");
    assert!(took <= Duration::from_millis(1200), "{took:?}");
    assert_eq!(status.code(), Some(4), "{}", tunnel.client.log());
    assert!(tunnel.client.log().contains("removed"), "{}", tunnel.client.log());

    let config = add_client(tunnel.folder.path(), "bob", &[]).expect("added");
    // The server follows within a second; until then it knows no such client.
    eventually(Duration::from_secs(1), || {
        tunnel.client = start_client(&tunnel.lab, Node::Client, &config, &Options::default())?;
        Ok(tunnel.client.wait_for("ready", Duration::from_secs(3)).is_ok())
    })
    .expect("in");
    tunnel.end().expect("a good end");
}

#[test]
fn a_second_machine_with_the_same_key_replaces_the_first_and_both_are_told() {
    let second = LinkSpec { client: 1, ..LinkSpec::new("other", 100, 20) };
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20), second]);
    let mut tunnel = Tunnel::up(&topology, &Options::default()).expect("a tunnel");
    // Machines share this host's files, so the second one goes by another name.
    let config = tunnel.folder.path().join("elsewhere.toml");
    std::fs::copy(tunnel.folder.path().join("alice.toml"), &config).expect("copied");

    let other =
        start_client(&tunnel.lab, Node::Guest(1), &config, &Options::default()).expect("started");
    other.wait_ready().expect("ready");

    let ended = tunnel.client.wait(Duration::from_secs(3));
    let status =
        ended.unwrap_or_else(|error| panic!("{error}\n{}\n{}", tunnel.server.log(), other.log()));
    assert_eq!(status.code(), Some(4), "{}", tunnel.client.log());
    assert!(tunnel.client.log().contains("replaced"), "{}", tunnel.client.log());
    eventually(Duration::from_secs(1), || Ok(other.log().contains("replaced"))).expect("told");
}

#[test]
fn joins_through_lost_first_datagrams_take_less_than_a_second() {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20), LinkSpec::new("lte", 50, 60)]);
    let mut tunnel = Tunnel::up(&topology, &Options::default()).expect("a tunnel");
    // The first byte of a QUIC Initial begins with 1100 (RFC 9000, section 17.2.2).
    let rule = "table inet lossy { chain input { type filter hook input priority 0; udp dport 4500 \
                @th,64,8 & 0xf0 == 0xc0 numgen random mod 100 < 30 counter drop; }; }";
    run_on(&tunnel.lab, Node::Server, "nft", &[rule]).expect("a lossy server");
    let config = tunnel.folder.path().join("alice.toml");
    let mut took: Vec<f64> = (0..JOINS)
        .map(|_| {
            tunnel.client.terminate().expect("ended");
            let began = Instant::now();
            tunnel.client = start_client(&tunnel.lab, Node::Client, &config, &Options::default())
                .expect("started");
            tunnel.client.wait_for("joined", Duration::from_secs(10)).expect("joined");
            began.elapsed().as_secs_f64()
        })
        .collect();
    took.sort_by(f64::total_cmp);
    figure("join-30-percent-p50", took[JOINS / 2] * 1e3, "ms");
    figure("join-30-percent-p95", took[JOINS * 95 / 100] * 1e3, "ms");
    assert!(took[JOINS * 95 / 100] <= 1.0, "{took:?}");
}

const JOINS: usize = 40;
