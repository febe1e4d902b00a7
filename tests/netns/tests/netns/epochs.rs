//! Keys that change under load.

use lab::{LinkSpec, Node, Topology};
use netns::{Options, Tunnel, run_on};

use crate::traffic::{Stream, Way, figure};

#[test]
fn a_hundred_changes_under_loss_without_a_control_plane_cost_nothing() {
    let topology = Topology::of([LinkSpec::new("fibre", 100, 20), LinkSpec::new("lte", 50, 60)]);
    let rekey = "\n[rekey]\ndatagrams = 1\n";
    let options =
        Options { server: rekey.to_owned(), client: rekey.to_owned(), ..Options::default() };
    let tunnel = Tunnel::up(&topology, &options).expect("a tunnel");
    tunnel.wait_paths_up(2).expect("both paths");
    for link in ["fibre", "lte"] {
        tunnel.lab.set_text(link, "loss=2%").expect("set");
    }
    // QUIC is told from the data plane by a bit of the first byte.
    for (node, port) in [(Node::Server, "dport"), (Node::Client, "sport")] {
        let rule = format!(
            "table inet silence {{ chain input {{ type filter hook input priority 0; \
             udp {port} 4500 @th,64,8 & 0x40 == 0x40 counter drop; }}; }}"
        );
        run_on(&tunnel.lab, node, "nft", &[&rule]).expect("no control plane");
    }

    let arguments = ["--rate", "1000", "--seconds", "40"];
    let streams = Way::BOTH.map(|way| (way, Stream::start(&tunnel.lab, way, &arguments)));
    let reports = streams.map(|(way, stream)| (way, stream.report()));

    let client = tunnel.client_status().expect("a status");
    let server = tunnel.server_status().expect("a status");
    let epochs = [client.sessions[0].up.epochs, server.sessions[0].down.epochs];
    let epochs = epochs.map(Option::unwrap_or_default);
    figure("epochs", epochs[0].min(epochs[1]) as f64, "changes");
    for (way, report) in reports {
        figure(&format!("epochs-lost-{way:?}"), report.lost as f64, "of 40000");
        figure(&format!("epochs-gap-{way:?}"), report.gap_max_us / 1e3, "ms");
        // Packets of which three transmissions in a row were lost.
        assert!(report.lost <= 4 && report.gap_max_us < 5e5, "{report:?}");
    }
    assert!(epochs.iter().all(|&epochs| epochs >= 100), "{epochs:?}");
    for refused in [client.refused, server.refused] {
        for counter in ["forged", "too old", "malformed"] {
            assert_eq!(refused[counter], 0, "{refused:?}");
        }
    }
    assert!(tunnel.client.log().contains("control connection is over"), "{}", tunnel.client.log());

    // With the control plane comes a new session, which takes over from the one that went on. The
    // links lose nothing meanwhile: until a session's second path is up, nothing is sent again.
    for link in ["fibre", "lte"] {
        tunnel.lab.set_text(link, "loss=0%").expect("set");
    }
    let stream = Stream::start(&tunnel.lab, Way::Down, &["--rate", "1000", "--seconds", "5"]);
    for node in [Node::Server, Node::Client] {
        run_on(&tunnel.lab, node, "nft", &["delete table inet silence"]).expect("deleted");
    }
    let report = stream.report();
    figure("takeover-lost", report.lost as f64, "of 5000");
    assert_eq!(tunnel.client.log().matches("joined").count(), 2, "{}", tunnel.client.log());
    assert_eq!(report.lost, 0, "{report:?}");
    tunnel.end().expect("a good end");
}
