//! Packets that nobody may send.

use std::time::Duration;

use lab::{LinkSpec, Node, Topology};
use netns::{Options, Tunnel, add_client, eventually, run_on, start_client};

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
        let run = |program, with: &[&str]| run_on(&tunnel.lab, Node::Client, program, with);
        run("ip", &["address", "add", &format!("{source}/32"), "dev", "hawser0"]).expect("added");
        // To the server; but from the server's own address, to somebody else.
        let to = if source == "10.200.0.1" { "10.200.0.5" } else { "10.200.0.1" };
        let ping = ["-c", "3", "-i", "0.1", "-W", "1", "-I", source, to];
        run("ping", &ping).expect_err("an answer");
    }
    eventually(Duration::from_secs(2), || Ok(refused() >= before + 9)).expect("counted");
    tunnel.end().expect("a good end");
}

#[test]
fn clients_meet_only_where_the_server_lets_them() {
    for between_clients in [false, true] {
        let other = LinkSpec { client: 1, ..LinkSpec::new("other", 100, 20) };
        let topology = Topology {
            lan: lab::Switch::On,
            ..Topology::of([LinkSpec::new("fibre", 100, 20), other])
        };
        let add = vec!["--prefix", "10.72.0.0/24"];
        let options =
            Options { between_clients, routes: Some("default"), add, ..Options::default() };
        let tunnel = Tunnel::up(&topology, &options).expect("a tunnel");
        let config = add_client(tunnel.folder.path(), "bob", &[]).expect("added");
        let start = || start_client(&tunnel.lab, Node::Guest(1), &config, &Options::default());
        let mut bob = start().expect("started");
        // The server follows within a second.
        eventually(Duration::from_secs(2), || {
            if bob.wait_for("ready", Duration::from_millis(500)).is_err() {
                bob = start()?;
            }
            Ok(bob.log().contains("ready"))
        })
        .expect("ready");
        let reaches = |to| {
            let ping = ["-c", "2", "-i", "0.2", "-W", "1", "-q", to];
            run_on(&tunnel.lab, Node::Guest(1), "ping", &ping).is_ok()
        };

        assert!(reaches(netns::SERVER[0]));
        // Another client, and a host behind it.
        assert_eq!(reaches(netns::CLIENT[0]), between_clients);
        assert_eq!(reaches("10.72.0.2"), between_clients);
        tunnel.end().expect("a good end");
    }
}

fn up() -> Tunnel {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20)]);
    Tunnel::up(&topology, &Options::default()).expect("a tunnel")
}
