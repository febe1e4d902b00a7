//! The measures, in the order of their tables.

use anyhow::{Context as _, Result};
use lab::link::Summary;
use lab::traffic::{tcp, udp};
use lab::{Node, Tool};

use super::ground::Ground;
use super::system::System;

/// What is measured in one go.
pub(super) struct Measure {
    pub(super) shows: &'static [Shown],
    /// Whether it says something of a system.
    pub(super) fits: fn(&System) -> bool,
    /// Runs for so many seconds, and gives a value for each thing that it shows.
    pub(super) run: fn(&Ground, u64) -> Result<Vec<f64>>,
}

/// One thing that a measure shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Shown {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
}

const fn shown(name: &'static str, unit: &'static str) -> Shown {
    Shown { name, unit }
}

pub(super) const UP: &str = "one TCP flow up";
pub(super) const CLIENT_WORK: &str = "client's work, TCP up";
pub(super) const SERVER_WORK: &str = "server's work, TCP up";
pub(super) const PACKETS_200: &str = "packets of 200 bytes up";
pub(super) const LONE_P50: &str = "a lone packet up, half of them within";
pub(super) const LONE_P99: &str = "a lone packet up, 99 of 100 within";

pub(super) const MEASURES: [Measure; 9] = [
    Measure {
        shows: &[shown(UP, "Gbit/s"), shown(CLIENT_WORK, "s/GB"), shown(SERVER_WORK, "s/GB")],
        fits: |_| true,
        run: flow_and_work,
    },
    Measure {
        shows: &[shown("one TCP flow down", "Gbit/s")],
        fits: down,
        run: |ground, seconds| Ok(vec![flows(ground, Node::Server, 1, seconds)?]),
    },
    Measure {
        shows: &[shown("eight TCP flows up", "Gbit/s")],
        fits: |_| true,
        run: |ground, seconds| Ok(vec![flows(ground, Node::Client, 8, seconds)?]),
    },
    Measure {
        shows: &[shown("eight TCP flows down", "Gbit/s")],
        fits: down,
        run: |ground, seconds| Ok(vec![flows(ground, Node::Server, 8, seconds)?]),
    },
    Measure {
        shows: &[shown("packets of 64 bytes up", "k/s")],
        fits: System::is_main,
        run: |ground, seconds| packets(ground, 64, seconds),
    },
    Measure {
        shows: &[shown(PACKETS_200, "k/s")],
        fits: System::is_main,
        run: |ground, seconds| packets(ground, 200, seconds),
    },
    Measure {
        shows: &[shown("packets of 1400 bytes up", "k/s")],
        fits: System::is_main,
        run: |ground, seconds| packets(ground, 1400, seconds),
    },
    Measure {
        shows: &[
            shown(LONE_P50, "us"),
            shown(LONE_P99, "us"),
            shown("a lone packet up, 999 of 1000 within", "us"),
        ],
        fits: System::is_main,
        run: |ground, seconds| {
            let Summary { p50, p99, p999, .. } = lone(ground, seconds)?;
            Ok(vec![p50, p99, p999])
        },
    },
    Measure {
        shows: &[
            shown("a packet beside a TCP flow, half of them within", "us"),
            shown("a packet beside a TCP flow, 99 of 100 within", "us"),
        ],
        fits: System::is_main,
        run: |ground, seconds| {
            let load = Flow::begin(ground, Node::Client, 0, seconds + 2)?;
            let Summary { p50, p99, .. } = lone(ground, seconds)?;
            load.end()?;
            Ok(vec![p50, p99])
        },
    },
];

/// MPTCP's client has to connect, and flows of ours are connected by who sends.
fn down(system: &System) -> bool {
    *system != System::Mptcp
}

/// A TCP flow that goes on for a while.
struct Flow {
    receiving: Tool,
    sending: Tool,
}

impl Flow {
    fn begin(ground: &Ground, from: Node, number: u16, seconds: u64) -> Result<Self> {
        let to = if from == Node::Client { Node::Server } else { Node::Client };
        let (lab, seconds) = (ground.lab(), seconds.to_string());
        let port = format!("{}:{}", ground.address(to), 5001 + number);
        let mut receive = vec!["tcp-recv", "--listen", &port, "--warm-up", "1"];
        let mut send =
            vec!["tcp-send", "--to", &port, "--congestion", "cubic", "--seconds", &seconds];
        for words in [&mut receive, &mut send] {
            words.extend(ground.words());
        }
        Ok(Self { receiving: lab.tool(to, &receive)?, sending: lab.tool(from, &send)? })
    }

    /// Waits for its end. Returns what it carried after the first second, in bits a second.
    fn end(self) -> Result<f64> {
        let _: tcp::SendReport = self.sending.report()?;
        Ok(self.receiving.report::<tcp::ReceiveReport>()?.goodput_bits_per_second)
    }
}

/// What so many flows from `from` carry together, in Gbit/s.
fn flows(ground: &Ground, from: Node, count: u16, seconds: u64) -> Result<f64> {
    let begun = (0..count).map(|number| Flow::begin(ground, from, number, seconds + 1));
    let begun = begun.collect::<Result<Vec<_>>>()?;
    begun.into_iter().map(Flow::end).sum::<Result<f64>>().map(|bits| bits / 1e9)
}

/// What a flow carries, and the time of a processor that each end spends on that.
fn flow_and_work(ground: &Ground, seconds: u64) -> Result<Vec<f64>> {
    let before = ground.cpu_seconds()?;
    let gbit = flows(ground, Node::Client, 1, seconds)?;
    let after = ground.cpu_seconds()?;
    // The first second counts in the work, and about as much in what is carried.
    let gigabytes = gbit * (seconds + 1) as f64 / 8.0;
    let work = |end: usize| (after[end] - before[end]) / gigabytes;
    Ok(vec![gbit, work(0), work(1)])
}

/// Thousands of packets that arrive in a second of as many as can be sent.
fn packets(ground: &Ground, bytes: usize, seconds: u64) -> Result<Vec<f64>> {
    let (sent, received) = stream(ground, 500_000.0, bytes, seconds)?;
    // Where the machine can't send as many, it takes longer.
    Ok(vec![received.received as f64 / sent.seconds / 1000.0])
}

/// How long packets take that come one by one.
fn lone(ground: &Ground, seconds: u64) -> Result<Summary> {
    Ok(stream(ground, 200.0, 200, seconds)?.1.delay_us)
}

fn stream(
    ground: &Ground,
    rate: f64,
    bytes: usize,
    seconds: u64,
) -> Result<(udp::SendReport, udp::ReceiveReport)> {
    let lab = ground.lab();
    let to = format!("{}:6001", ground.address(Node::Server));
    let receiving = lab.tool(Node::Server, &["udp-recv", "--listen", &to, "--idle", "1"])?;
    let (rate, size, time) = (rate.to_string(), (bytes - HEADERS).to_string(), seconds.to_string());
    let words = ["udp-send", "--to", &to, "--rate", &rate, "--size", &size, "--seconds", &time];
    let sending = lab.tool(Node::Client, &words)?;
    let sent = sending.report()?;
    Ok((sent, receiving.report().context("receive a stream")?))
}

/// Bytes of IPv4 and UDP before a payload.
const HEADERS: usize = 28;
