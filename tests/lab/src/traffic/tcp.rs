//! One TCP flow, sent as fast as the kernel's congestion control lets it.
//!
//! Either end may listen and either may connect, so that a flow can run against the direction in
//! which it is set up. The receiver measures goodput, the sender what the kernel knows of the flow.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use super::READY;
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

/// How to send.
#[derive(Args, Clone, Debug)]
pub struct SendOptions {
    /// Who connects
    #[command(flatten)]
    pub end: End,
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

/// What the receiver got.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ReceiveReport {
    /// All bytes.
    pub bytes: u64,
    /// From the first byte to the last, in seconds.
    pub seconds: f64,
    /// Bits a second after the warm-up; 0 if the flow ended within it.
    pub goodput_bits_per_second: f64,
    /// How long after the first byte counting began, in seconds.
    pub warm_up: f64,
    /// Bits a second in each 100 ms after the first byte, for at most [`SERIES_MAX`] of them.
    pub per_100ms: Vec<f64>,
    /// The longest time without a byte, in microseconds.
    pub silence_max_us: f64,
    /// When it ended, in microseconds after the first byte.
    pub silence_at_us: f64,
}

/// Sends for the time asked, and waits until the other end has closed.
///
/// # Errors
/// When the connection can't be had or breaks.
pub fn send(options: &SendOptions) -> Result<SendReport> {
    let socket = options.end.socket(&options.way, |socket| {
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
                let info = tcp_info(&socket)?;
                let at_ms = (now_ns - began_ns) / 1_000_000;
                samples.push(Sample {
                    at_ms,
                    cwnd: info.tcpi_snd_cwnd,
                    srtt_us: info.tcpi_rtt,
                    retransmits: info.tcpi_total_retrans,
                });
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
    let info = tcp_info(&socket)?;
    Ok(SendReport {
        congestion: options.congestion.clone(),
        bytes_acked: info.tcpi_bytes_acked,
        seconds,
        retransmits: info.tcpi_total_retrans,
        segments: info.tcpi_data_segs_out,
        rtt_min_us: info.tcpi_min_rtt,
        mss: info.tcpi_snd_mss,
        samples,
    })
}

/// Receives one flow until its end.
///
/// # Errors
/// When the connection can't be had or breaks.
pub fn receive(options: &ReceiveOptions) -> Result<ReceiveReport> {
    let socket = options.end.socket(&options.way, |_| Ok(()))?;
    socket.set_read_timeout(Some(SILENCE_MAX))?;
    let (mut stream, mut block) = (&socket, vec![0; 256 << 10]);
    let mut arrivals =
        Arrivals { warm_up_ns: (options.warm_up.max(0.0) * 1e9) as u64, ..Arrivals::default() };
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
    fn socket(&self, way: &Way, choose: impl Fn(&Socket) -> Result<()>) -> Result<TcpStream> {
        let address = self.to.or(self.listen).context("--to or --listen is needed")?;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // What is accepted inherits the congestion control.
        choose(&socket)?;
        if self.to.is_some() {
            way.prepare(&socket)?;
            let connected = socket.connect_timeout(&address.into(), CONNECT_MAX);
            connected.with_context(|| format!("connect to {address}"))?;
            return Ok(socket.into());
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into()).with_context(|| format!("listen on {address}"))?;
        socket.listen(1)?;
        eprintln!("{READY}");
        let (stream, _) = TcpListener::from(socket).accept().context("wait for the other end")?;
        Ok(stream)
    }
}

/// What has arrived of a flow.
#[derive(Debug, Default)]
struct Arrivals {
    warm_up_ns: u64,
    first_ns: Option<u64>,
    last_ns: u64,
    bytes: u64,
    /// Bytes that came after the warm-up, and when the first of them did.
    warm_bytes: u64,
    warm_ns: Option<u64>,
    per_100ms: Vec<u64>,
    silence_max_ns: u64,
    silence_at_ns: u64,
}

impl Arrivals {
    fn take(&mut self, now_ns: u64, len: u64) {
        let first_ns = *self.first_ns.get_or_insert(now_ns);
        let since_ns = now_ns - first_ns;
        if self.bytes > 0 && now_ns - self.last_ns > self.silence_max_ns {
            self.silence_max_ns = now_ns - self.last_ns;
            self.silence_at_ns = since_ns;
        }
        self.last_ns = now_ns;
        self.bytes += len;
        if since_ns >= self.warm_up_ns {
            // The first read after the warm-up only marks where counting begins.
            match self.warm_ns {
                None => self.warm_ns = Some(now_ns),
                Some(_) => self.warm_bytes += len,
            }
        }
        let slot = (since_ns / 100_000_000) as usize;
        if slot < SERIES_MAX {
            self.per_100ms.resize(self.per_100ms.len().max(slot + 1), 0);
            self.per_100ms[slot] += len;
        }
    }

    fn report(self) -> ReceiveReport {
        let warm_ns = self.warm_ns.map_or(0, |warm_ns| self.last_ns - warm_ns);
        let rate = |bytes: u64, ns: u64| if ns > 0 { bytes as f64 * 8e9 / ns as f64 } else { 0.0 };
        ReceiveReport {
            bytes: self.bytes,
            seconds: self.first_ns.map_or(0, |first_ns| self.last_ns - first_ns) as f64 / 1e9,
            goodput_bits_per_second: rate(self.warm_bytes, warm_ns),
            warm_up: self.warm_up_ns as f64 / 1e9,
            per_100ms: self.per_100ms.into_iter().map(|bytes| rate(bytes, 100_000_000)).collect(),
            silence_max_us: self.silence_max_ns as f64 / 1000.0,
            silence_at_us: self.silence_at_ns as f64 / 1000.0,
        }
    }
}

fn tcp_info(socket: &TcpStream) -> Result<libc::tcp_info> {
    use std::os::fd::AsRawFd as _;
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the structure is made of integers, so zeros are a value of it.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let place = (&raw mut info).cast();
    // SAFETY: the kernel writes at most `len` bytes, the size of the structure.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, place, &mut len)
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("ask the kernel about the flow");
    }
    Ok(info)
}

fn is_pause(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Tenths of a second in a report at most: one hour.
pub const SERIES_MAX: usize = 36_000;
/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a flow may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long the queues of a path may take to empty.
const DRAIN_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodput_counts_after_the_warm_up_only() {
        let mut arrivals = Arrivals { warm_up_ns: 1_000_000_000, ..Arrivals::default() };
        for ms in (0..1000).step_by(10) {
            arrivals.take(5_000_000_000 + ms * 1_000_000, 1);
        }
        for ms in (1000..=2000).step_by(10) {
            arrivals.take(5_000_000_000 + ms * 1_000_000, 12_500);
        }

        let report = arrivals.report();

        assert!((report.goodput_bits_per_second - 1e7).abs() < 1.0, "{report:?}");
        assert_eq!(report.per_100ms[..2], [800.0, 800.0]);
        assert_eq!(report.silence_max_us, 10_000.0);
    }
}
