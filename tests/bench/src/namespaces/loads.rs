//! The loads of a scenario as the lab's traffic tools.

use std::time::Duration;

use anyhow::{Result, anyhow};
use lab::topology::SERVER_ADDRESS;
use lab::traffic::{fetch, ping, quic, tcp, udp};
use lab::{Direction, Lab, Node, Tool};

use super::Stop;
use crate::row::{InnerFigures, PingFigures, Row, StreamFigures, WebFigures};
use crate::scenario::{Family, Load, Scenario, Sender};
use crate::series::{Series, reachable_mbit};

/// Between whom a load goes.
#[derive(Clone, Debug)]
pub struct Ends {
    /// Who sends.
    pub sender: Node,
    /// Who receives.
    pub receiver: Node,
    /// Who waits to be connected to, for TCP.
    pub listener: Listener,
    /// The address of who waits.
    pub address: String,
    /// Further words for the tools of TCP flows.
    pub words: Vec<&'static str>,
}

/// Which end of a bulk flow waits for the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listener {
    /// Who receives.
    Receiver,
    /// Who sends.
    Sender,
}

impl Ends {
    /// The tunnel's ends.
    pub fn through_tunnel(way: Direction, family: Family) -> Self {
        let family = usize::from(family == Family::V6);
        let (sender, receiver, address) = match way {
            Direction::Down => (Node::Server, Node::Client, netns::CLIENT[family]),
            Direction::Up => (Node::Client, Node::Server, netns::SERVER[family]),
        };
        let address = if family == 0 { address.to_owned() } else { format!("[{address}]") };
        let listener = Listener::Receiver;
        Self { sender, receiver, listener, address, words: Vec::new() }
    }
}

/// Tools that run.
pub(super) struct Loads {
    sender: Sender,
    bulk: Vec<[Tool; 2]>,
    call: Option<[Tool; 2]>,
    stream: Option<[Tool; 2]>,
    ping: Option<Tool>,
    web: Option<Tool>,
    /// Somebody else's flow on the first link.
    neighbour: Option<[Tool; 2]>,
    /// Those that answer until they are dropped.
    _answering: Vec<Tool>,
}

impl Loads {
    /// Starts the tools: who listens first.
    pub(super) fn begin(
        lab: &Lab,
        scenario: &Scenario,
        sender: Sender,
        ends: &Ends,
    ) -> Result<Self> {
        let mut loads = Self {
            sender,
            bulk: Vec::new(),
            call: None,
            stream: None,
            ping: None,
            web: None,
            neighbour: None,
            _answering: Vec::new(),
        };
        let seconds = scenario.seconds;
        for load in &scenario.loads {
            match *load {
                Load::Bulk(flows) => {
                    for index in 0..flows {
                        let port = 5001 + index as u16;
                        loads.bulk.push(bulk(lab, ends, port, sender, seconds)?);
                    }
                }
                Load::Neighbour => {
                    loads.neighbour = Some(bulk(lab, &outside(ends), 7001, sender, seconds)?);
                }
                Load::Call => loads.call = Some(stream(lab, ends, 6001, (50, 200), seconds)?),
                Load::Stream { per_second, bytes } => {
                    loads.stream = Some(stream(lab, ends, 6002, (per_second, bytes), seconds)?);
                }
                Load::Ping => {
                    let to = format!("{}:7", netns::SERVER[0]);
                    loads._answering.push(lab.tool(Node::Server, &["udp-echo", "--listen", &to])?);
                    let seconds = seconds.to_string();
                    let words = ["ping", "--to", &to, "--rate", "20", "--seconds", &seconds];
                    loads.ping = Some(lab.tool(Node::Client, &words)?);
                }
                Load::Web => {
                    let to = format!("{}:8080", netns::SERVER[0]);
                    let words = ["page-serve", "--listen", &to];
                    loads._answering.push(lab.tool(Node::Server, &words)?);
                    let seconds = (seconds - 1).to_string();
                    let words = ["page-fetch", "--to", &to, "--seconds", &seconds];
                    loads.web = Some(lab.tool(Node::Client, &words)?);
                }
            }
        }
        Ok(loads)
    }

    /// Waits for the tools' ends and writes what they saw into a row.
    pub(super) fn report(self, scenario: &Scenario, row: &mut Row) -> Result<()> {
        let (mut series, mut inner) = (Series::default(), InnerFigures::default());
        let has_bulk = !self.bulk.is_empty();
        for [receiving, sending] in self.bulk {
            series.flows.push(self.sender.finish(receiving, sending, &mut inner)?);
        }
        series.fill(scenario, row);
        row.inner = has_bulk.then_some(inner);
        if let Some([receiving, sending]) = self.neighbour {
            let flow = self.sender.finish(receiving, sending, &mut InnerFigures::default())?;
            let (from, until) = (scenario.count_from, scenario.seconds);
            let goodput = Series { flows: vec![flow] }.goodput_mbit(from, until);
            let first = scenario.over(&[0]);
            let carries = reachable_mbit(&first, row.way, row.seed, from, until);
            row.neighbour_share = Some(goodput / carries);
        }
        if let Some(tools) = self.call {
            add_stream(tools, row.call.get_or_insert_default())?;
        }
        if let Some(tools) = self.stream {
            add_stream(tools, row.stream.get_or_insert_default())?;
        }
        if let Some(tool) = self.ping {
            let report: ping::PingReport = tool.report()?;
            row.ping = Some(PingFigures::new(&report.rtt_us, report.sent));
        }
        if let Some(tool) = self.web {
            let report: fetch::FetchReport = tool.report()?;
            row.web = Some(WebFigures {
                p50_ms: report.page_us.p50 / 1000.0,
                p95_ms: report.page_p95_us / 1000.0,
                failed: report.failed,
            });
        }
        Ok(())
    }
}

/// The same ends, outside of the tunnel: the client's way out is its first link.
fn outside(ends: &Ends) -> Ends {
    let listener = match ends.sender {
        Node::Server => Listener::Sender,
        _ => Listener::Receiver,
    };
    Ends { listener, address: SERVER_ADDRESS[0].to_string(), ..ends.clone() }
}

/// Runs one bulk flow to its end and gives its goodput in Mbit/s after three seconds.
///
/// # Errors
/// When it can't be had, or somebody asks to stop.
pub fn bulk_goodput(
    lab: &Lab,
    ends: &Ends,
    sender: Sender,
    seconds: u64,
    stop: &Stop,
) -> Result<f64> {
    let [receiving, sending] = bulk(lab, ends, 5000, sender, seconds)?;
    stop.sleep(Duration::from_secs(seconds))?;
    let flow = sender.finish(receiving, sending, &mut InnerFigures::default())?;
    Ok(Series { flows: vec![flow] }.goodput_mbit(seconds.min(3), seconds))
}

fn bulk(lab: &Lab, ends: &Ends, port: u16, sender: Sender, seconds: u64) -> Result<[Tool; 2]> {
    let to = format!("{}:{port}", ends.address);
    let seconds = seconds.to_string();
    let (receive, send, congestion) = match sender {
        Sender::Bbr => ("tcp-recv", "tcp-send", "bbr"),
        Sender::Quic => ("quic-recv", "quic-send", "cubic"),
        Sender::Cubic | Sender::None => ("tcp-recv", "tcp-send", "cubic"),
    };
    let (receive_at, send_at) = match ends.listener {
        Listener::Receiver => ("--listen", "--to"),
        Listener::Sender => ("--to", "--listen"),
    };
    let receive = [&[receive, receive_at, to.as_str()], ends.words.as_slice()].concat();
    let send = [send, send_at, &to, "--congestion", congestion, "--seconds", &seconds];
    let send = [&send, ends.words.as_slice()].concat();
    // Whoever listens is first.
    if ends.listener == Listener::Sender {
        let sending = lab.tool(ends.sender, &send)?;
        return Ok([lab.tool(ends.receiver, &receive)?, sending]);
    }
    let receiving = lab.tool(ends.receiver, &receive)?;
    Ok([receiving, lab.tool(ends.sender, &send)?])
}

fn stream(
    lab: &Lab,
    ends: &Ends,
    port: u16,
    (per_second, bytes): (u32, u32),
    seconds: u64,
) -> Result<[Tool; 2]> {
    let to = format!("{}:{port}", ends.address);
    let receiving = lab.tool(ends.receiver, &["udp-recv", "--listen", &to])?;
    let (rate, seconds) = (per_second.to_string(), seconds.to_string());
    let size = (bytes - HEADERS).to_string();
    let words = ["udp-send", "--to", &to, "--rate", &rate, "--size", &size, "--seconds", &seconds];
    let sending = lab.tool(ends.sender, &words)?;
    Ok([receiving, sending])
}

fn add_stream([receiving, sending]: [Tool; 2], figures: &mut StreamFigures) -> Result<()> {
    let _: udp::SendReport = sending.report()?;
    let report: udp::ReceiveReport = receiving.report()?;
    figures.add(report.sent, report.lost, &report.delay_us, report.gap_max_us);
    Ok(())
}

impl Sender {
    /// Waits for a flow's end: bytes that arrived in each tenth of a second. One that breaks off
    /// by itself has failed the row, not the run.
    fn finish(self, receiving: Tool, sending: Tool, inner: &mut InnerFigures) -> Result<Vec<f64>> {
        let (received, broke) = if self == Self::Quic {
            let sent = sending.report::<quic::SendReport>();
            if let Ok(sent) = &sent {
                inner.retransmits += sent.retransmits;
                inner.min_rtt_ms = sent.rtt_min_us as f64 / 1000.0;
                inner.srtt_ms = srtt_ms(&sent.samples);
            }
            let received = receiving.report::<quic::ReceiveReport>();
            let broke = sent.is_err() || received.is_err();
            for error in
                sent.err().into_iter().chain(received.as_ref().err().map(|it| anyhow!("{it:#}")))
            {
                eprintln!("bench: {error:#}");
            }
            (received.map(|it| it.per_100ms).unwrap_or_default(), broke)
        } else {
            let sent: tcp::SendReport = sending.report()?;
            inner.retransmits += u64::from(sent.retransmits);
            let timeouts = sent.timeouts.map(u64::from);
            inner.timeouts = timeouts.map(|more| inner.timeouts.unwrap_or_default() + more);
            inner.min_rtt_ms = f64::from(sent.rtt_min_us) / 1000.0;
            inner.srtt_ms = srtt_ms(&sent.samples);
            (receiving.report::<tcp::ReceiveReport>()?.per_100ms, false)
        };
        inner.broken += u64::from(broke);
        Ok(received.into_iter().map(|bits_per_second| bits_per_second / 80.0).collect())
    }
}

fn srtt_ms(samples: &[tcp::Sample]) -> f64 {
    samples.last().map_or(0.0, |sample| f64::from(sample.srtt_us) / 1000.0)
}

/// Bytes of IPv4 and UDP before a payload.
const HEADERS: u32 = 28;
