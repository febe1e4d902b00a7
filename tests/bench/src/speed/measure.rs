//! The measures, in the order of the table.

use anyhow::{Context as _, Result};
use lab::traffic::{tcp, udp};
use lab::{Node, Tool};

use super::ground::Ground;

/// One thing that is measured.
pub(super) struct Measure {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    /// Runs for so many seconds.
    pub(super) run: fn(&Ground, u64) -> Result<f64>,
}

pub(super) const MEASURES: [Measure; 9] = [
    Measure {
        name: "one TCP flow up",
        unit: "Gbit/s",
        run: |ground, seconds| flows(ground, Node::Client, 1, seconds),
    },
    Measure {
        name: "one TCP flow down",
        unit: "Gbit/s",
        run: |ground, seconds| flows(ground, Node::Server, 1, seconds),
    },
    Measure {
        name: "eight TCP flows up",
        unit: "Gbit/s",
        run: |ground, seconds| flows(ground, Node::Client, 8, seconds),
    },
    Measure {
        name: "client's work, TCP up",
        unit: "s/GB",
        run: |ground, seconds| work(ground, 0, seconds),
    },
    Measure {
        name: "server's work, TCP up",
        unit: "s/GB",
        run: |ground, seconds| work(ground, 1, seconds),
    },
    Measure {
        name: "packets of 200 bytes up",
        unit: "k/s",
        run: |ground, seconds| Ok(stream(ground, 500_000.0, 200, seconds)?.0 / 1000.0),
    },
    Measure {
        name: "packets of 1400 bytes up",
        unit: "k/s",
        run: |ground, seconds| Ok(stream(ground, 500_000.0, 1400, seconds)?.0 / 1000.0),
    },
    Measure {
        name: "a lone packet up, half of them within",
        unit: "us",
        run: |ground, seconds| Ok(stream(ground, 200.0, 200, seconds)?.1.p50),
    },
    Measure {
        name: "a lone packet up, 99 of 100 within",
        unit: "us",
        run: |ground, seconds| Ok(stream(ground, 200.0, 200, seconds)?.1.p99),
    },
];

/// What so many flows from `from` carry together, after the first second.
fn flows(ground: &Ground, from: Node, count: u16, seconds: u64) -> Result<f64> {
    let to = if from == Node::Client { Node::Server } else { Node::Client };
    let (lab, seconds) = (ground.lab(), (seconds + 1).to_string());
    let mut tools: Vec<[Tool; 2]> = Vec::new();
    for flow in 0..count {
        let to_port = format!("{}:{}", ground.address(to), 5001 + flow);
        let receive = ["tcp-recv", "--listen", &to_port, "--warm-up", "1"];
        let send = ["tcp-send", "--to", &to_port, "--congestion", "cubic", "--seconds", &seconds];
        tools.push([lab.tool(to, &receive)?, lab.tool(from, &send)?]);
    }
    let mut bits_per_second = 0.0;
    for [receiving, sending] in tools {
        let _: tcp::SendReport = sending.report()?;
        bits_per_second += receiving.report::<tcp::ReceiveReport>()?.goodput_bits_per_second;
    }
    Ok(bits_per_second / 1e9)
}

/// The time of a processor that one end spends on what a TCP flow carries.
fn work(ground: &Ground, end: usize, seconds: u64) -> Result<f64> {
    let before = ground.cpu_seconds()?[end];
    let gbit = flows(ground, Node::Client, 1, seconds)?;
    let after = ground.cpu_seconds()?[end];
    // The first second counts in the work, and about as much in what is carried.
    Ok((after - before) / (gbit * (seconds + 1) as f64 / 8.0))
}

/// Packets that arrived in a second, and how long they took.
fn stream(
    ground: &Ground,
    rate: f64,
    bytes: usize,
    seconds: u64,
) -> Result<(f64, lab::link::Summary)> {
    let lab = ground.lab();
    let to = format!("{}:6001", ground.address(Node::Server));
    let receiving = lab.tool(Node::Server, &["udp-recv", "--listen", &to, "--idle", "1"])?;
    let (rate, size, time) = (rate.to_string(), (bytes - HEADERS).to_string(), seconds.to_string());
    let words = ["udp-send", "--to", &to, "--rate", &rate, "--size", &size, "--seconds", &time];
    let sending = lab.tool(Node::Client, &words)?;
    let _: udp::SendReport = sending.report()?;
    let report: udp::ReceiveReport = receiving.report().context("receive a stream")?;
    Ok((report.received as f64 / seconds as f64, report.delay_us))
}

/// Bytes of IPv4 and UDP before a payload.
const HEADERS: usize = 28;
