//! One QUIC flow: quinn as it comes, a packet threshold of 3 and no adaptation to reordering.
//!
//! The receiver listens, the sender connects and sends streams without an end: [`STREAMS`] at once,
//! because quinn's receiver gives a connection up when more than 1024 pieces of one stream wait for
//! what is missing before them, as after a slow start. Windows are so large that congestion control
//! alone decides. Datagrams are as long as the way allows from the
//! beginning, so that no search for the MTU disturbs.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use quinn::congestion::{BbrConfig, CubicConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::READY;
pub use super::arrivals::ReceiveReport;
use super::arrivals::{Arrivals, SERIES_MAX};
use super::identity;
use super::socket::{Way, path_mtu, udp_on};
use super::tcp::Sample;
use crate::clock::monotonic_ns;

/// How to send.
#[derive(Args, Clone, Debug)]
pub struct SendOptions {
    /// Where a quic-recv listens
    #[arg(long)]
    pub to: SocketAddr,
    /// Congestion control
    #[arg(long, default_value = "cubic")]
    pub congestion: Congestion,
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
    /// Address and port
    #[arg(long)]
    pub listen: SocketAddr,
    /// How long after the first byte the goodput does not count yet, in seconds
    #[arg(long, default_value_t = 3.0)]
    pub warm_up: f64,
}

/// quinn's congestion controls.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Congestion {
    /// BBR version 1.
    Bbr,
    /// CUBIC, RFC 9438.
    Cubic,
}

/// What the sender knows of the flow.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SendReport {
    /// Congestion control.
    pub congestion: Congestion,
    /// From the first write to the last, in seconds.
    pub seconds: f64,
    /// Packets declared lost, and so sent again.
    pub retransmits: u64,
    /// Packets sent.
    pub packets: u64,
    /// Times that loss made the sender reduce its window.
    pub reductions: u64,
    /// The smallest round trip, in microseconds.
    pub rtt_min_us: u64,
    /// Largest datagram, in bytes of UDP payload.
    pub datagram_bytes: u16,
    /// The state about each 100 ms; windows are in datagrams.
    pub samples: Vec<Sample>,
}

/// Sends for the time asked, then breaks off: what is on its way does not count.
///
/// # Errors
/// When the connection can't be had or breaks.
pub fn send(options: &SendOptions) -> Result<SendReport> {
    run(async {
        let mtu = path_mtu(options.to)?;
        let datagram_bytes = mtu.saturating_sub(headers(options.to)).min(DATAGRAM_MAX);
        let mut client = ClientConfig::new(identity::client());
        client.transport_config(Arc::new(transport(options.congestion, datagram_bytes)));
        let endpoint = endpoint(options.way.udp_towards(options.to)?, None)?;
        let connecting = endpoint.connect_with(client, options.to, SERVER_NAME)?;
        let connection = connecting.await.with_context(|| format!("connect to {}", options.to))?;
        let mut samples = Vec::new();
        let (stop, stopped) = watch::channel(false);
        for _ in 0..STREAMS {
            let stream = connection.open_uni().await.context("open a stream")?;
            tokio::spawn(write(stream, stopped.clone()));
        }
        let began_ns = monotonic_ns();
        let end = Duration::from_secs_f64(options.seconds.clamp(0.0, 86_400.0));
        tokio::select! {
            broken = connection.closed() => Err(broken).context("the flow broke")?,
            () = sample(&connection, began_ns, &mut samples) => {}
            () = tokio::time::sleep(end) => {}
        }
        let path = connection.stats().path;
        let seconds = (monotonic_ns() - began_ns) as f64 / 1e9;
        // quinn's word that it ends would wait for room in the window behind what is still to be
        // sent, and no acknowledgment makes room any more.
        stop.send_replace(true);
        tokio::time::sleep(DRAIN).await;
        connection.close(VarInt::from_u32(0), b"");
        endpoint.wait_idle().await;
        Ok(SendReport {
            congestion: options.congestion,
            seconds,
            retransmits: path.lost_packets,
            packets: path.sent_packets,
            reductions: path.congestion_events,
            rtt_min_us: path.min_rtt.as_micros() as u64,
            datagram_bytes: path.current_mtu,
            samples,
        })
    })
}

/// Receives one flow until its sender breaks off.
///
/// # Errors
/// When the connection can't be had or breaks.
pub fn receive(options: &ReceiveOptions) -> Result<ReceiveReport> {
    run(async {
        let mut server = ServerConfig::with_crypto(identity::server());
        server.transport_config(Arc::new(transport(Congestion::Cubic, DATAGRAM_MIN)));
        let endpoint = endpoint(udp_on(options.listen)?.into(), Some(server))?;
        eprintln!("{READY}");
        let incoming = endpoint.accept().await.context("wait for the other end")?;
        let connection = incoming.await.context("wait for the other end")?;
        let mut arrivals = Arrivals::new(options.warm_up);
        let (told, mut lengths) = mpsc::unbounded_channel();
        loop {
            tokio::select! {
                accepted = connection.accept_uni() => match accepted {
                    Ok(stream) => drop(tokio::spawn(read(stream, told.clone()))),
                    Err(ConnectionError::ApplicationClosed(_)) => return Ok(arrivals.report()),
                    Err(ConnectionError::TimedOut) => {
                        bail!("the flow is silent for {} s", SILENCE_MAX.as_secs())
                    }
                    Err(error) => return Err(error).context("the flow broke"),
                },
                Some(len) = lengths.recv() => arrivals.take(monotonic_ns(), len),
            }
        }
    })
}

/// Writes as fast as it can, until it is told to stop.
async fn write(mut stream: SendStream, mut stopped: watch::Receiver<bool>) {
    let block = vec![0x5a; 64 << 10];
    let writing = async {
        while stream.write_all(&block).await.is_ok() {
            // The others have their turn.
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = writing => {}
        _ = stopped.wait_for(|&stopped| stopped) => {}
    }
    // It may be closed already, which is as well.
    let _ = stream.reset(VarInt::from_u32(0));
}

/// Tells how many bytes come, until the stream breaks off.
async fn read(mut stream: RecvStream, told: mpsc::UnboundedSender<u64>) {
    while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
        if told.send(chunk.bytes.len() as u64).is_err() {
            return;
        }
    }
}

/// Notes the state each 100 ms, for as long as it is asked.
async fn sample(connection: &Connection, began_ns: u64, samples: &mut Vec<Sample>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        let path = connection.stats().path;
        if samples.len() < SERIES_MAX {
            samples.push(Sample {
                at_ms: (monotonic_ns() - began_ns) / 1_000_000,
                cwnd: (path.cwnd / u64::from(path.current_mtu.max(1))) as u32,
                srtt_us: path.rtt.as_micros() as u32,
                retransmits: path.lost_packets as u32,
            });
        }
    }
}

fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().context("start the runtime")?.block_on(work)
}

fn endpoint(socket: UdpSocket, server: Option<ServerConfig>) -> Result<Endpoint> {
    let runtime = Arc::new(TokioRuntime);
    Endpoint::new(EndpointConfig::default(), server, socket, runtime).context("start QUIC")
}

fn transport(congestion: Congestion, datagram_bytes: u16) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let bytes = datagram_bytes.max(DATAGRAM_MIN);
    transport
        .initial_mtu(bytes)
        .min_mtu(bytes)
        .mtu_discovery_config(None)
        .max_idle_timeout(SILENCE_MAX.try_into().ok())
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW));
    match congestion {
        Congestion::Bbr => transport.congestion_controller_factory(Arc::new(BbrConfig::default())),
        Congestion::Cubic => {
            transport.congestion_controller_factory(Arc::new(CubicConfig::default()))
        }
    };
    transport
}

/// Bytes of IP and UDP headers before a datagram.
fn headers(to: SocketAddr) -> u16 {
    if to.is_ipv4() { 28 } else { 48 }
}

/// Streams that are sent at once.
pub const STREAMS: usize = 16;
/// TLS wants a name; the key is what is verified.
const SERVER_NAME: &str = "server.invalid";
/// QUIC's smallest datagram, RFC 9000, section 14.
const DATAGRAM_MIN: u16 = 1200;
/// The longest that quinn's receiver has room for.
const DATAGRAM_MAX: u16 = 1472;
/// Bytes in flight at most: 64 MiB are 1 Gbit/s over half a second.
const WINDOW: u32 = 64 << 20;
/// How long what is on its way may take.
const DRAIN: Duration = Duration::from_secs(1);
/// How long a flow may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);
