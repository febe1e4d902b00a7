//! Looking on while something goes on.

use lab::{LinkSpec, Node, Topology, traffic::tcp};
use netns::{Options, Tunnel, binary, run_on};

#[test]
fn who_looks_on_sees_the_rates_of_a_transfer_and_what_limits_it() {
    let links = [LinkSpec::new("fibre", 50, 20), LinkSpec::new("lte", 20, 60)];
    let tunnel = Tunnel::up(&Topology::of(links), &Options::default()).expect("a tunnel");
    tunnel.wait_paths_up(2).expect("paths");
    let listen = format!("{}:5001", netns::SERVER[0]);
    let receiving = tunnel.lab.tool(Node::Server, &["tcp-recv", "--listen", &listen]);
    let receiving = receiving.expect("a receiver");
    let sending = ["tcp-send", "--to", &listen, "--seconds", "9"];
    let sending = tunnel.lab.tool(Node::Client, &sending).expect("a sender");
    // Until the paths have been filled.
    std::thread::sleep(std::time::Duration::from_secs(3));

    let look = |program, name| {
        let program = binary(program).expect("built");
        let program = program.to_str().expect("text");
        // Asked to end, it ends well.
        let timeout = ["--preserve-status", "-s", "TERM", "4.8"];
        let status = [program, "status", "--watch", "--name", name];
        let node = if name == "server" { Node::Server } else { Node::Client };
        run_on(&tunnel.lab, node, "timeout", &[&timeout[..], &status].concat()).expect("shown")
    };
    let shown = look("hawser", "alice");

    assert!(!shown.contains('\x1b'), "no terminal, no escape sequences: {shown}");
    let blocks: Vec<&str> = shown.split("hawser alice: process ").skip(1).collect();
    assert!(blocks.len() >= 3, "{shown}");
    for block in &blocks[..3] {
        let (fibre, lte) = (rate(block, "fibre"), rate(block, "lte"));
        assert!((10.0..55.0).contains(&fibre) && (1.0..24.0).contains(&lte), "{shown}");
        let goodput = block.split("\n  up ").nth(1).and_then(|it| it.split(' ').next());
        let goodput: f64 = goodput.and_then(|it| it.parse().ok()).expect("a goodput");
        assert!((0.8..1.05).contains(&(goodput / (fibre + lte))), "{shown}");
    }
    assert!(shown.contains("full: ") || shown.contains("held back: "), "{shown}");

    let shown = look("hawser-server", "server");
    assert!(shown.contains("session alice: up") && shown.contains("held for order: "), "{shown}");
    let _: tcp::SendReport = sending.report().expect("it could send");
    let _: tcp::ReceiveReport = receiving.report().expect("it received");
    tunnel.end().expect("a good end");
}

/// What a link carries up, in Mbit/s.
fn rate(block: &str, link: &str) -> f64 {
    let row = block.lines().find(|line| line.trim_start().starts_with(link)).expect("a row");
    let words: Vec<&str> = row.split_whitespace().skip_while(|word| *word != "up").collect();
    // The way, the state, the rate.
    words.get(2).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{row}"))
}
