//! Asks the targets of one uplink, through that uplink and no other.
//!
//! Every socket is bound to the uplink's interface and source address and carries its mark, so a
//! question can't leave by another way and be answered there. One task a probe; it ends when it is
//! dropped, and is started anew when the interface or its address changes, since a socket would
//! keep the old ones for ever.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use shared::host::Family;
use shared::{clock, entropy};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::echo::{self, Token};
use crate::uplink_config::ProbeConfig;

/// What ties a probe's sockets to an uplink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Binding {
    pub(super) interface: String,
    /// Another index is another interface, even with the same name.
    pub(super) index: u32,
    pub(super) source: Option<IpAddr>,
    pub(super) mark: u32,
}

/// Which probe it is, of which uplink. Reports of an earlier generation are out of date.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Seat {
    pub(super) uplink: usize,
    pub(super) probe: usize,
    pub(super) generation: u64,
}

/// What a probe has found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    pub(super) seat: Seat,
    /// When, since boot.
    pub(super) at: Duration,
    pub(super) finding: Finding,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Finding {
    Sent,
    Answered(Duration),
    Refused,
    Unreachable,
}

/// Reports on their way to the one who draws conclusions: some rounds of the largest pool.
pub(super) const REPORTS_MAX: usize = 1024;

/// A running probe; dropping it ends it.
#[derive(Debug)]
pub(super) struct Prober {
    task: JoinHandle<()>,
}

impl Prober {
    pub(super) fn start(
        seat: Seat,
        config: ProbeConfig,
        interval: Duration,
        binding: Binding,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let asker = Asker { seat, interval, binding, reports };
        let task = match config {
            ProbeConfig::Icmp { target } => tokio::spawn(asker.echo(target)),
            ProbeConfig::Tcp { target } => tokio::spawn(asker.connect(target)),
        };
        Self { task }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a probe is written in the configuration and in the status.
pub(super) fn describe(config: ProbeConfig) -> String {
    match config {
        ProbeConfig::Icmp { target } => format!("icmp {target}"),
        ProbeConfig::Tcp { target } => format!("tcp {target}"),
    }
}

struct Asker {
    seat: Seat,
    interval: Duration,
    binding: Binding,
    reports: mpsc::Sender<Report>,
}

impl Asker {
    async fn echo(self, target: IpAddr) {
        loop {
            match EchoSocket::open(&self.binding, target) {
                Ok(socket) => self.echo_on(socket).await,
                Err(_) => self.report(Finding::Unreachable).await,
            }
            tokio::time::sleep(self.jittered()).await;
        }
    }

    /// Returns when the socket is of no more use.
    async fn echo_on(&self, mut socket: EchoSocket) {
        let mut next = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(next) => {
                    next = (next + self.jittered()).max(Instant::now());
                    let finding = match socket.send() {
                        Ok(()) => Finding::Sent,
                        Err(_) => Finding::Unreachable,
                    };
                    self.report(finding).await;
                }
                answer = socket.receive() => match answer {
                    Ok(rtt) => self.report(Finding::Answered(rtt)).await,
                    Err(error) => {
                        self.report(Finding::Unreachable).await;
                        // A router's refusal is consumed by reading it; what else fails stays.
                        if !REFUSALS.contains(&error.kind()) {
                            return;
                        }
                    }
                },
            }
        }
    }

    async fn connect(self, target: SocketAddr) {
        let patience = (self.interval * ATTEMPT_INTERVALS).clamp(ATTEMPT_MIN, ATTEMPT_MAX);
        let mut attempts: JoinSet<Option<Finding>> = JoinSet::new();
        let mut next = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(next) => {
                    next = (next + self.jittered()).max(Instant::now());
                    if attempts.len() >= ATTEMPTS_MAX {
                        continue;
                    }
                    match tcp_socket(&self.binding, target) {
                        Ok(socket) => {
                            self.report(Finding::Sent).await;
                            attempts.spawn(attempt(socket, target, patience));
                        }
                        Err(_) => self.report(Finding::Unreachable).await,
                    }
                }
                Some(ended) = attempts.join_next() => {
                    if let Ok(Some(finding)) = ended {
                        self.report(finding).await;
                    }
                }
            }
        }
    }

    async fn report(&self, finding: Finding) {
        let report = Report { seat: self.seat, at: clock::since_boot(), finding };
        // Whoever listened is gone: this task is about to be dropped too.
        let _ = self.reports.send(report).await;
    }

    /// Between 4/5 of an interval and the whole, so that probes of many uplinks and servers don't
    /// fall into step.
    fn jittered(&self) -> Duration {
        let mut random = [0; 1];
        entropy::fill(&mut random);
        self.interval - self.interval / 5 * u32::from(random[0]) / 255
    }
}

/// A raw socket that talks to one target, and what it still waits for.
struct EchoSocket {
    /// Not of UDP: tokio has no type for raw sockets, and this one only sends, receives and waits,
    /// which is the same for every connected socket.
    socket: UdpSocket,
    family: Family,
    token: Token,
    sequence: u16,
    waiting: VecDeque<(u16, Duration)>,
}

impl EchoSocket {
    fn open(binding: &Binding, target: IpAddr) -> io::Result<Self> {
        let family = Family::of(target);
        let (domain, protocol) = match family {
            Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
            Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
        bind(&socket, binding, family)?;
        // From here the kernel passes on only what comes from the target.
        socket.connect(&SocketAddr::new(target, 0).into())?;
        let mut random = [0; 10];
        entropy::fill(&mut random);
        let [high, low, secret @ ..] = random;
        let token = Token { identifier: u16::from_be_bytes([high, low]), secret };
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self { socket, family, token, sequence: 0, waiting: VecDeque::new() })
    }

    fn send(&mut self) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = echo::request(self.family, self.token, self.sequence);
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back((self.sequence, clock::since_boot()));
        self.socket.try_send(&request).map(drop)
    }

    /// Waits for a reply to one of our requests, each counted once, and says how long it took.
    async fn receive(&mut self) -> io::Result<Duration> {
        // The kernel cuts what is longer, and a reply to us is not.
        let mut packet = [0; 256];
        loop {
            let length = self.socket.recv(&mut packet).await?;
            let now = clock::since_boot();
            let Some(sequence) = echo::reply(self.family, self.token, &packet[..length]) else {
                continue;
            };
            let place = self.waiting.iter().position(|(waiting, _)| *waiting == sequence);
            if let Some((_, sent_at)) = place.and_then(|place| self.waiting.remove(place)) {
                return Ok(now.saturating_sub(sent_at));
            }
        }
    }
}

fn tcp_socket(binding: &Binding, target: SocketAddr) -> io::Result<TcpSocket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(target), kind, Some(Protocol::TCP))?;
    bind(&socket, binding, Family::of(target.ip()))?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

fn bind(socket: &Socket, binding: &Binding, family: Family) -> io::Result<()> {
    socket.bind_device(Some(binding.interface.as_bytes()))?;
    socket.set_mark(binding.mark)?;
    match binding.source {
        Some(source) if Family::of(source) == family => {
            socket.bind(&SocketAddr::new(source, 0).into())
        }
        _ => Ok(()),
    }
}

/// Opens a connection and closes it. Silence is no finding: whoever asked notices it himself.
async fn attempt(socket: TcpSocket, target: SocketAddr, patience: Duration) -> Option<Finding> {
    let began = clock::since_boot();
    match timeout(patience, socket.connect(target)).await {
        Ok(Ok(_)) => Some(Finding::Answered(clock::since_boot().saturating_sub(began))),
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Some(Finding::Refused),
        Ok(Err(error)) if error.kind() == ErrorKind::TimedOut => None,
        Ok(Err(_)) => Some(Finding::Unreachable),
        Err(_) => None,
    }
}

/// What a connected raw socket reports when an ICMP error comes back (raw(7)).
const REFUSALS: [ErrorKind; 4] = [
    ErrorKind::ConnectionRefused,
    ErrorKind::HostUnreachable,
    ErrorKind::NetworkUnreachable,
    ErrorKind::PermissionDenied,
];
/// Requests whose answer may still come: at ten a second, six seconds of round trip.
const WAITING_MAX: usize = 64;
/// Connections being opened at once.
const ATTEMPTS_MAX: usize = 64;
/// How many intervals an attempt may take: late is better than never, and it costs a socket.
const ATTEMPT_INTERVALS: u32 = 32;
const ATTEMPT_MIN: Duration = Duration::from_secs(1);
const ATTEMPT_MAX: Duration = Duration::from_secs(30);
