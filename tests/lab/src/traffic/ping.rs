//! Echo over UDP: the latency of a lone packet beside a load.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::READY;
use super::pace::{Pace, sleep_exactly};
use super::socket::{Way, udp_on};
use crate::clock::monotonic_ns;
use crate::link::{Histogram, Summary};

/// What to ask.
#[derive(Args, Clone, Debug)]
pub struct PingOptions {
    /// Where an echo listens
    #[arg(long)]
    pub to: SocketAddr,
    /// Packets a second
    #[arg(long, default_value_t = 50.0)]
    pub rate: f64,
    /// Bytes of each UDP payload
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// How long to ask
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Device and address
    #[command(flatten)]
    pub way: Way,
}

/// Where to answer.
#[derive(Args, Clone, Debug)]
pub struct EchoOptions {
    /// Address and port
    #[arg(long)]
    pub listen: SocketAddr,
}

/// What came back.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct PingReport {
    /// Packets sent.
    pub sent: u64,
    /// Answers within [`LINGER_NS`] of the last packet.
    pub received: u64,
    /// Packets without an answer.
    pub lost: u64,
    /// Time until the answer, in microseconds.
    pub rtt_us: Summary,
}

/// Sends packets and measures how long their answers take.
///
/// # Errors
/// When an option makes no sense or the socket can't be had.
pub fn ping(options: &PingOptions) -> Result<PingReport> {
    if !(LEN..=1400).contains(&options.size) || !(0.1..=1e5).contains(&options.rate) {
        bail!("--size is from {LEN} to 1400 bytes, --rate from 0.1 to 100000 packets a second");
    }
    sleep_exactly();
    let socket = UdpSocket::from(options.way.udp_to(options.to)?);
    let flow = monotonic_ns();
    let count = (options.rate * options.seconds.clamp(0.0, 86_400.0)).ceil() as u64;
    let mut pace = Pace::new(options.rate);
    let (mut rtt, mut received, mut sent) = (Histogram::default(), 0, 0);
    let mut payload = [0; 1500];
    let mut end_ns = u64::MAX;
    loop {
        let now_ns = monotonic_ns();
        if sent == count || now_ns < pace.next_ns() {
            let until_ns = if sent == count { end_ns } else { pace.next_ns() };
            if received == count || now_ns >= end_ns {
                break;
            }
            let left_ns = until_ns.saturating_sub(now_ns).max(1000);
            socket.set_read_timeout(Some(Duration::from_nanos(left_ns)))?;
            let Some(len) = answered(socket.recv(&mut payload))? else { continue };
            if len >= LEN && payload[..8] == flow.to_be_bytes() {
                let sent_ns: [u8; 8] = payload[8..16].try_into().expect("the range is 8 long");
                rtt.insert(monotonic_ns().saturating_sub(u64::from_be_bytes(sent_ns)));
                received += 1;
            }
            continue;
        }
        pace.take();
        payload[..8].copy_from_slice(&flow.to_be_bytes());
        payload[8..16].copy_from_slice(&monotonic_ns().to_be_bytes());
        // What can't be sent is lost, like what is lost on the way.
        let _ = socket.send(&payload[..options.size]);
        sent += 1;
        if sent == count {
            end_ns = monotonic_ns() + LINGER_NS;
        }
    }
    let lost = count.saturating_sub(received);
    Ok(PingReport { sent, received, lost, rtt_us: rtt.summary(0.001) })
}

/// Answers each packet with itself until the process ends.
///
/// # Errors
/// When the socket can't be had.
pub fn echo(options: &EchoOptions) -> Result<()> {
    let socket = UdpSocket::from(udp_on(options.listen)?);
    eprintln!("{READY}");
    let mut payload = [0; 65_536];
    loop {
        match socket.recv_from(&mut payload) {
            // Whoever asked may be gone.
            Ok((len, from)) => drop(socket.send_to(&payload[..len], from)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Tells an answer from the end of a wait and from an ICMP error, which is as good as no answer.
fn answered(received: std::io::Result<usize>) -> Result<Option<usize>> {
    match received {
        Ok(len) => Ok(Some(len)),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable => Ok(None),
            _ => Err(error.into()),
        },
    }
}

/// A payload at least: the flow and the time of sending.
const LEN: usize = 16;
/// How long the last answers may take.
pub const LINGER_NS: u64 = 2_000_000_000;
