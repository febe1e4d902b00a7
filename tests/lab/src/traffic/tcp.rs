//! One TCP flow, sent as fast as the kernel's congestion control lets it.
//!
//! Either end may listen and either may connect, so that a flow can run against the direction in
//! which it is set up. The receiver measures goodput, the sender what the kernel knows of the flow.

mod state;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use self::state::FlowState;
use super::READY;
use super::arrivals::Arrivals;
pub use super::arrivals::{ReceiveReport, SERIES_MAX};
use super::socket::Way;
use crate::clock::monotonic_ns;

/// Which end of the connection this is.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false, id = "end")]
pub struct End {
    /// Connect to the other end
    #[arg(long)]
    pub to: Option<SocketAddr>,
    /// Wait for the other end
    #[arg(long)]
    pub listen: Option<SocketAddr>,
}

/// Which TCP.
#[derive(Args, Clone, Copy, Debug)]
pub struct Kind {
    /// Let the kernel use several paths (MPTCP), as `ip mptcp` says which
    #[arg(long)]
    pub mptcp: bool,
}

/// How to send.
#[derive(Args, Clone, Debug)]
pub struct SendOptions {
    /// Who connects
    #[command(flatten)]
    pub end: End,
    /// Over one path or several
    #[command(flatten)]
    pub kind: Kind,
    /// Congestion control: cubic, bbr or another that the kernel has
    #[arg(long, default_value = "cubic")]
    pub congestion: String,
    /// How long to send
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Device and address
    #[command(flatten)]
    pub way: Way,
}

/// How to receive.
#[derive(Args, Clone, Debug)]
pub struct ReceiveOptions {
    /// Who connects
    #[command(flatten)]
    pub end: End,
    /// Over one path or several
    #[command(flatten)]
    pub kind: Kind,
    /// How long after the first byte the goodput does not count yet, in seconds
    #[arg(long, default_value_t = 3.0)]
    pub warm_up: f64,
    /// Device and address
    #[command(flatten)]
    pub way: Way,
}

/// What the sender's kernel knows of the flow.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SendReport {
    /// Congestion control.
    pub congestion: String,
    /// Bytes that the other end has acknowledged.
    pub bytes_acked: u64,
    /// From the first write to the last, in seconds.
    pub seconds: f64,
    /// Segments sent again.
    pub retransmits: u32,
    /// Segments sent, those sent again included.
    pub segments: u32,
    /// The smallest round trip, in microseconds.
    pub rtt_min_us: u32,
    /// Largest segment, in bytes.
    pub mss: u32,
    /// Retransmission timeouts; absent where the kernel does not count them (before Linux 6.7).
    #[serde(default)]
    pub timeouts: Option<u16>,
    /// How far segments may be out of order before one counts as lost, in segments.
    #[serde(default)]
    pub reordering: u32,
    /// How often the sender learnt that the network reorders.
    #[serde(default)]
    pub reorderings: u32,
    /// Acknowledgments that said that something had arrived twice.
    #[serde(default)]
    pub duplicates: u32,
    /// For how long the receiver's window held the sender up, in microseconds.
    #[serde(default)]
    pub receiver_limited_us: u64,
    /// The state about each 100 ms.
    pub samples: Vec<Sample>,
}

/// The state of a flow at one moment.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Sample {
    /// Milliseconds since the first write.
    pub at_ms: u64,
    /// Congestion window, in segments.
    pub cwnd: u32,
    /// Smoothed round trip, in microseconds.
    pub srtt_us: u32,
    /// Segments sent again so far.
    pub retransmits: u32,
}

/// Sends for the time asked, and waits until the other end has closed.
///
/// # Errors
/// When the connection can't be had or breaks.
pub fn send(options: &SendOptions) -> Result<SendReport> {
    let (socket, _listener) = options.end.socket(&options.way, options.kind, |socket| {
        let chosen = socket.set_tcp_congestion(options.congestion.as_bytes());
        chosen.map_err(|error| {
            let have =
                std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
            anyhow::anyhow!(
                "the kernel has no congestion control '{0}' ({error}), only: {1}; load it by \
                 modprobe tcp_{0}",
                options.congestion,
                have.unwrap_or_default().trim()
            )
        })
    })?;
    socket.set_write_timeout(Some(Duration::from_millis(50)))?;
    let (mut stream, block, mut samples) = (&socket, vec![0x5a; 128 << 10], Vec::new());
    let began_ns = monotonic_ns();
    let end_ns = began_ns + (options.seconds.clamp(0.0, 86_400.0) * 1e9) as u64;
    let mut sample_ns = began_ns;
    loop {
        let now_ns = monotonic_ns();
        if now_ns >= sample_ns {
            sample_ns += 100_000_000;
            if samples.len() < SERIES_MAX {
                samples.push(FlowState::ask(&socket)?.sample((now_ns - began_ns) / 1_000_000));
            }
        }
        if now_ns >= end_ns {
            break;
        }
        match stream.write(&block) {
            Ok(_) => {}
            Err(error) if is_pause(error.kind()) => {}
            Err(error) => return Err(error).context("the flow broke"),
        }
    }
    let seconds = (monotonic_ns() - began_ns) as f64 / 1e9;
    socket.shutdown(Shutdown::Write).context("end the flow")?;
    // The other end closes when it has everything; until then the kernel still sends.
    socket.set_read_timeout(Some(DRAIN_MAX))?;
    let mut rest = [0; 64];
    while let Ok(1..) = stream.read(&mut rest) {}
    let state = FlowState::ask(&socket)?;
    Ok(SendReport { seconds, samples, ..state.report(&options.congestion) })
}

/// Receives one flow until its end.
///
/// # Errors
/// When the connection can't be had or breaks.
pub fn receive(options: &ReceiveOptions) -> Result<ReceiveReport> {
    let (socket, _listener) = options.end.socket(&options.way, options.kind, |_| Ok(()))?;
    socket.set_read_timeout(Some(SILENCE_MAX))?;
    let (mut stream, mut block) = (&socket, vec![0; 256 << 10]);
    let mut arrivals = Arrivals::new(options.warm_up);
    loop {
        match stream.read(&mut block) {
            Ok(0) => return Ok(arrivals.report()),
            Ok(len) => arrivals.take(monotonic_ns(), len as u64),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_pause(error.kind()) => {
                bail!("the flow is silent for {} s", SILENCE_MAX.as_secs())
            }
            Err(error) => return Err(error).context("the flow broke"),
        }
    }
}

impl End {
    /// The connection, and what waited for it: MPTCP's further paths are taken in there.
    fn socket(
        &self,
        way: &Way,
        kind: Kind,
        choose: impl Fn(&Socket) -> Result<()>,
    ) -> Result<(TcpStream, Option<TcpListener>)> {
        let address = self.to.or(self.listen).context("--to or --listen is needed")?;
        let protocol = if kind.mptcp { Protocol::MPTCP } else { Protocol::TCP };
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(protocol))
            .with_context(|| format!("the kernel has no {protocol:?}"))?;
        // What is accepted inherits the congestion control.
        choose(&socket)?;
        if self.to.is_some() {
            way.prepare(&socket)?;
            let connected = socket.connect_timeout(&address.into(), CONNECT_MAX);
            connected.with_context(|| format!("connect to {address}"))?;
            return Ok((socket.into(), None));
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into()).with_context(|| format!("listen on {address}"))?;
        socket.listen(1)?;
        eprintln!("{READY}");
        let listener = TcpListener::from(socket);
        let (stream, _) = listener.accept().context("wait for the other end")?;
        Ok((stream, Some(listener)))
    }
}

fn is_pause(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a flow may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long the queues of a path may take to empty.
const DRAIN_MAX: Duration = Duration::from_secs(10);
