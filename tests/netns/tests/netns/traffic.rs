//! Traffic through a tunnel, and its figures.

use lab::traffic::{tcp, udp};
use lab::{Lab, Node};

/// Which way a flow goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    Down,
    Up,
}

impl Way {
    pub(crate) const BOTH: [Self; 2] = [Self::Up, Self::Down];

    /// Sender, receiver, and the receiver's inner address.
    pub(crate) fn ends(self) -> (Node, Node, &'static str) {
        match self {
            Self::Down => (Node::Server, Node::Client, netns::CLIENT[0]),
            Self::Up => (Node::Client, Node::Server, netns::SERVER[0]),
        }
    }
}

/// Runs one TCP flow and gives its goodput in Mbit/s after a warm-up.
pub(crate) fn tcp_goodput(lab: &Lab, way: Way, congestion: &str, seconds: u32) -> f64 {
    let (sender, receiver, address) = way.ends();
    let listen = format!("{address}:5001");
    let receiving = lab.tool(receiver, &["tcp-recv", "--listen", &listen]).expect("a receiver");
    let seconds = seconds.to_string();
    let sending = lab
        .tool(
            sender,
            &["tcp-send", "--to", &listen, "--congestion", congestion, "--seconds", &seconds],
        )
        .expect("a sender");
    let _: tcp::SendReport = sending.report().expect("it could send");
    let report: tcp::ReceiveReport = receiving.report().expect("it received");
    report.goodput_bits_per_second / 1e6
}

/// Starts a stream of numbered UDP packets; the report comes from [`Stream::report`].
pub(crate) struct Stream {
    receiving: lab::Tool,
    sending: lab::Tool,
}

impl Stream {
    pub(crate) fn start(lab: &Lab, way: Way, arguments: &[&str]) -> Self {
        let (sender, receiver, address) = way.ends();
        Self::between(lab, sender, receiver, &format!("{address}:6001"), arguments)
    }

    pub(crate) fn between(
        lab: &Lab,
        sender: Node,
        receiver: Node,
        to: &str,
        arguments: &[&str],
    ) -> Self {
        let receiving = lab.tool(receiver, &["udp-recv", "--listen", to]).expect("a receiver");
        let arguments = [&["udp-send", "--to", to], arguments].concat();
        let sending = lab.tool(sender, &arguments).expect("a sender");
        Self { receiving, sending }
    }

    pub(crate) fn report(self) -> udp::ReceiveReport {
        let _: udp::SendReport = self.sending.report().expect("it could send");
        self.receiving.report().expect("it received")
    }
}

/// Prints a figure in a form that can be searched for.
pub(crate) fn figure(name: &str, value: f64, unit: &str) {
    println!("FIGURE {name} {value:.3} {unit}");
}
