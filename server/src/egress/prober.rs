//! Asks the targets of one uplink, through that uplink and no other.
//!
//! One task a probe; it ends when it is dropped, and is started anew when the interface or its
//! address changes, since a socket would keep the old ones for ever.

mod connect;
mod dns;
mod echo;
mod echo_socket;
mod gateway;
mod http;
mod pace;
mod socket;
mod trust;

use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use shared::host::Netlink;
use shared::{clock, entropy};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::health::Cause;
use super::mark::UplinkMark;
use crate::probe_config::ProbeConfig;
use echo_socket::EchoSocket;
use gateway::Gateway;
use pace::Pace;
pub(super) use socket::Binding;

/// Which probe it is, of which uplink. Reports of an earlier generation are out of date.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Seat {
    pub(super) uplink: UplinkMark,
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
    /// The question of this number is on its way; numbers ascend.
    Sent(u64),
    /// What became of the question of this number, of none where that can't be said.
    Ended(Option<u64>, Outcome),
    /// Somebody is there, whatever the answer will be.
    Heard,
    /// The certificate of the target is good for so long.
    Certificate(Duration),
}

/// What becomes of a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It was answered as it should be, after so long.
    Answered(Duration),
    /// It was answered, but not as it should be.
    Refused(Cause),
    /// It can't be sent, or a router says that it can't arrive.
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
        netlink: Netlink,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let asker = Arc::new(Asker { seat, interval, binding, reports });
        let task = match config {
            ProbeConfig::Icmp { target } => tokio::spawn(async move { asker.echo(target).await }),
            ProbeConfig::Tcp { target } => tokio::spawn(asker.attempts(move |asker| async move {
                connect::ask(&asker.binding, target, asker.patience()).await
            })),
            ProbeConfig::Gateway => {
                let gateway = Arc::new(Gateway::new(netlink));
                tokio::spawn(asker.attempts(move |asker| {
                    let gateway = Arc::clone(&gateway);
                    // The next question takes the place of one that has no answer yet.
                    async move { gateway.ask(&asker.binding, asker.interval).await }
                }))
            }
            ProbeConfig::Dns(probe) => {
                let probe = Arc::new(probe);
                tokio::spawn(asker.attempts(move |asker| {
                    let probe = Arc::clone(&probe);
                    async move { dns::ask(&asker.binding, &probe, asker.patience()).await }
                }))
            }
            ProbeConfig::Http(probe) => {
                let target = Arc::new(http::Target::new(*probe));
                tokio::spawn(asker.attempts(move |asker| {
                    let target = Arc::clone(&target);
                    async move { target.ask(&asker).await }
                }))
            }
        };
        Self { task }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One probe at work.
struct Asker {
    seat: Seat,
    interval: Duration,
    binding: Binding,
    reports: mpsc::Sender<Report>,
}

impl Asker {
    async fn echo(&self, target: IpAddr) {
        loop {
            match EchoSocket::open(&self.binding, target) {
                Ok(socket) => self.echo_on(socket).await,
                Err(_) => self.report(Finding::Ended(None, Outcome::Unreachable)).await,
            }
            sleep(self.jittered()).await;
        }
    }

    /// Returns when the socket is of no more use.
    async fn echo_on(&self, mut socket: EchoSocket) {
        let mut pace = Pace::new(clock::since_boot());
        loop {
            let now = clock::since_boot();
            tokio::select! {
                () = sleep(pace.next_at().saturating_sub(now)) => {
                    let now = clock::since_boot();
                    let finding = match socket.send() {
                        Ok(number) => {
                            pace.on_sent(now, number, self.jittered());
                            Finding::Sent(number)
                        }
                        Err(_) => {
                            pace.on_failed(now, self.jittered());
                            Finding::Ended(None, Outcome::Unreachable)
                        }
                    };
                    self.report(finding).await;
                }
                answer = socket.receive() => match answer {
                    Ok((number, rtt)) => {
                        pace.on_answer(clock::since_boot(), number, rtt);
                        self.report(Finding::Ended(Some(number), Outcome::Answered(rtt))).await;
                    }
                    Err(error) => {
                        self.report(Finding::Ended(None, Outcome::Unreachable)).await;
                        // A router's refusal is consumed by reading it; what else fails stays.
                        if !REFUSALS.contains(&error.kind()) {
                            return;
                        }
                    }
                },
            }
        }
    }

    /// Asks anew each interval, whether or not the last question was answered. An attempt without
    /// an outcome was met by silence, which whoever waits for it notices himself.
    async fn attempts<A, F>(self: Arc<Self>, ask: A)
    where
        A: Fn(Arc<Self>) -> F,
        F: Future<Output = Option<Outcome>> + Send + 'static,
    {
        let mut attempts = JoinSet::new();
        let mut number = 0;
        let mut next = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(next) => {
                    next = (next + self.jittered()).max(Instant::now());
                    if attempts.len() < ATTEMPTS_MAX {
                        number += 1;
                        self.report(Finding::Sent(number)).await;
                        let attempt = ask(Arc::clone(&self));
                        attempts.spawn(async move { (number, attempt.await) });
                    }
                }
                Some(ended) = attempts.join_next() => {
                    if let Ok((number, Some(outcome))) = ended {
                        self.report(Finding::Ended(Some(number), outcome)).await;
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

    /// How long an attempt may take: late is better than never, and it costs a socket.
    fn patience(&self) -> Duration {
        (self.interval * ATTEMPT_INTERVALS).clamp(ATTEMPT_MIN, ATTEMPT_MAX)
    }

    /// Between 4/5 of an interval and the whole, so that probes of many uplinks and servers don't
    /// fall into step.
    fn jittered(&self) -> Duration {
        let mut random = [0; 1];
        entropy::fill(&mut random);
        self.interval - self.interval / 5 * u32::from(random[0]) / 255
    }
}

/// What a connected raw socket reports when an ICMP error comes back (raw(7)).
const REFUSALS: [ErrorKind; 4] = [
    ErrorKind::ConnectionRefused,
    ErrorKind::HostUnreachable,
    ErrorKind::NetworkUnreachable,
    ErrorKind::PermissionDenied,
];
/// Questions that wait for an answer at once.
const ATTEMPTS_MAX: usize = 64;
const ATTEMPT_INTERVALS: u32 = 32;
const ATTEMPT_MIN: Duration = Duration::from_secs(1);
const ATTEMPT_MAX: Duration = Duration::from_secs(30);
