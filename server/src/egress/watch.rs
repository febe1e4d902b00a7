//! The task that follows probes and interfaces, and keeps the kernel in step.

mod adapt;
mod census;
mod configure;
mod links;
mod shape;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use ipnet::{IpNet, Ipv6Net};
use shared::clock;
use shared::host::{Family, HostState, LinkWatch};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::buckets::Buckets;
use super::event::EventLog;
use super::nat::{Elements, Table};
use super::nfnetlink::Netfilter;
use super::pool::Candidate;
use super::prober::{REPORTS_MAX, Report};
use super::selection::Selection;
use super::standing::Surroundings;
use super::uplink::{Duty, Uplink};
use crate::egress_config::EgressConfig;
use crate::policy::Policy;
use crate::rate::Rate;
pub(super) use census::Census;
pub(super) use configure::members;
pub(super) use links::Looking;
pub(super) use traffic::Traffic;

/// What others may see while the task runs.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) uplinks: Vec<shared::status::Uplink>,
    pub(super) log: EventLog,
}

/// What others may ask of the task.
#[derive(Debug)]
pub(super) enum Command {
    /// Another configuration.
    Configure(Box<EgressConfig>, oneshot::Sender<Result<()>>),
    /// What the uplink of a name may do.
    Duty(String, Duty, oneshot::Sender<Result<()>>),
    /// Who may be the source of inner packets from here on.
    Sources(Vec<IpNet>, oneshot::Sender<Result<()>>),
    /// End.
    Stop,
}

/// Commands that wait at most; whoever sends more waits.
pub(super) const COMMANDS_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Watch {
    pub(super) host: HostState,
    pub(super) table: Table,
    pub(super) sources: BTreeSet<IpNet>,
    /// The inner IPv6 pool, whose addresses may keep all but their prefix.
    pub(super) pool6: Option<Ipv6Net>,
    pub(super) uplinks: Vec<Uplink>,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) reports_in: mpsc::Sender<Report>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) published: Arc<Mutex<Published>>,
    /// One for each policy and family.
    pub(super) selections: Vec<Selection>,
    /// What they have chosen from.
    pub(super) candidates: Vec<Vec<Candidate>>,
    /// Whether something else has changed that the kernel is to follow.
    pub(super) changed: bool,
    /// When to show what is newer than the status.
    pub(super) publish_at: Option<Duration>,
    pub(super) buckets: Buckets,
    pub(super) slow_start: Duration,
    /// How many sources each uplink has, where they are dealt out: when they were counted, and by
    /// policy and family.
    pub(super) census: Census,
    /// Uplinks that are no longer configured, and still have something on the host.
    pub(super) gone: Vec<Uplink>,
    /// Whether the table must be made anew, since more than its elements changes.
    pub(super) redraw: bool,
    /// Whether the owners of buckets must be found anew, since uplinks or weights are others.
    pub(super) reweighed: bool,
    pub(super) netfilter: Netfilter,
    /// The interfaces that have queues, by name: their index and rate.
    pub(super) shaped: BTreeMap<String, (u32, Rate)>,
    pub(super) traffic: Traffic,
    /// What the nft table holds.
    pub(super) elements: Elements,
    /// Interfaces with a default route, where no uplinks are configured.
    pub(super) plain_exits: BTreeSet<String>,
    pub(super) links: Option<LinkWatch>,
    pub(super) looking: Option<Looking>,
    /// Whether what has no mark is kept from the host's default routes.
    pub(super) fenced: bool,
    /// When to see whether the table is still there.
    pub(super) audit_at: Duration,
    /// When to look at everything again, after something went wrong.
    pub(super) retry_at: Option<Duration>,
}

/// What woke the task.
enum Waking {
    Report(Report),
    /// Something has changed that uplinks stand on.
    Links,
    /// A look at what is around has ended.
    Looked(Result<Surroundings>),
    /// Something of others has.
    Nothing,
    Command(Command),
    Time,
}

impl Watch {
    pub(super) async fn run(mut self) {
        loop {
            match self.wait().await {
                Waking::Report(report) => self.on_report(report),
                Waking::Links => self.begin_look(),
                Waking::Looked(around) => self.on_look(around).await,
                Waking::Nothing => {}
                Waking::Command(Command::Stop) => return,
                Waking::Command(Command::Sources(sources, done)) => {
                    self.sources = sources.into_iter().collect();
                    self.changed = true;
                    // Nobody may be waiting for the answer.
                    let _ = done.send(self.adapt().await);
                }
                Waking::Command(Command::Configure(config, done)) => {
                    let _ = done.send(self.configure(*config).await);
                }
                Waking::Command(Command::Duty(name, duty, done)) => {
                    let _ = done.send(self.set_duty(&name, duty).await);
                }
                Waking::Time => {
                    // Probes that were starved as we were may have an answer that nobody has read.
                    // Their tasks run now, and what they find counts before time does.
                    tokio::time::sleep(SECOND_LOOK).await;
                    self.take_reports();
                    self.on_time(clock::since_boot());
                }
            }
            self.take_reports();
            self.look_at_traffic().await;
            self.audit();
            let now = clock::since_boot();
            let waits = self.retry_at.is_some_and(|at| now < at);
            if self.retry_at.is_some() && !waits {
                self.look_again().await;
            }
            // News don't wait for what went wrong before.
            if (!waits || self.candidates(now) != self.candidates)
                && let Err(error) = self.adapt().await
            {
                self.try_again(&error);
            }
            // Nothing hurries that: it comes after what does.
            self.count_sources().await;
        }
    }

    /// Brings the kernel in step with what is around, for the first time.
    pub(super) async fn begin(&mut self) -> Result<()> {
        for (policy, rules) in self.table.policies.iter().enumerate() {
            for family in Family::ALL {
                let count = self.uplinks.len();
                self.selections.push(Selection::new(family, policy, rules.clone(), count));
            }
        }
        if self.table.policies.iter().any(Policy::remembers) {
            self.census.begin(clock::since_boot());
        }
        // Before the table, so that it ends after it.
        self.fence().await?;
        let script = self.table.create(&self.elements);
        self.host.nft(&self.table.name, &script).await?;
        self.look().await?;
        self.on_time(clock::since_boot());
        self.adapt().await
    }

    async fn wait(&mut self) -> Waking {
        let now = clock::since_boot();
        let timeouts =
            self.uplinks.iter().filter_map(|uplink| uplink.poll_timeout(now, self.slow_start));
        let looks = self.uplinks.iter().filter_map(|uplink| self.traffic.looks_at(uplink));
        let publish_at = self.publish_at.filter(|_| self.retry_at.is_none());
        let others = self.retry_at.into_iter().chain(self.census.due_at()).chain(publish_at);
        let wake_at = timeouts.chain(looks).chain(others).fold(self.audit_at, Duration::min);
        let sleep = wake_at.saturating_sub(now);
        let links = async {
            match &mut self.links {
                Some(links) => links.next().await,
                None => std::future::pending().await,
            }
        };
        let around = async {
            match &mut self.looking {
                Some(looking) => looking.end().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            event = links => {
                if event.is_none() {
                    self.links = None;
                    self.retry_at = Some(now);
                }
                self.take_links(event).await
            }
            around = around => Waking::Looked(around),
            // Without any uplink nobody sends: the branch is then out of the race.
            Some(report) = self.reports.recv() => Waking::Report(report),
            command = self.commands.recv() => Waking::Command(command.unwrap_or(Command::Stop)),
            () = tokio::time::sleep(sleep) => Waking::Time,
        }
    }

    fn take_reports(&mut self) {
        for _ in 0..REPORTS_MAX {
            let Ok(report) = self.reports.try_recv() else { return };
            self.on_report(report);
        }
    }

    fn on_report(&mut self, report: Report) {
        let of_report = |uplink: &&mut Uplink| uplink.mark() == report.seat.uplink;
        let Some(uplink) = self.uplinks.iter_mut().find(of_report) else { return };
        for event in uplink.on_report(report, &self.table.policies) {
            self.record(event);
        }
    }

    fn on_time(&mut self, now: Duration) {
        for at in 0..self.uplinks.len() {
            for event in self.uplinks[at].on_time(now) {
                self.record(event);
            }
        }
    }

    /// Sees, from time to time, whether another program has emptied the table.
    fn audit(&mut self) {
        let now = clock::since_boot();
        if now < self.audit_at {
            return;
        }
        self.audit_at = now + AUDIT_EVERY;
        match self.table.is_in_place(&mut self.netfilter) {
            Ok(true) => {}
            Ok(false) => {
                warn!("another program has emptied our nft table: it is made anew");
                self.redraw = true;
                self.changed = true;
            }
            Err(error) => debug!(%error, "the nft table can't be looked at"),
        }
    }

    fn try_again(&mut self, error: &anyhow::Error) {
        warn!("egress: {error:#}; trying again");
        self.retry_at = Some(clock::since_boot() + RETRY_AFTER);
    }
}

/// Figures of probes are shown so late at most.
const PUBLISHED_EVERY: Duration = Duration::from_millis(100);
/// Enough for every task that is ready to run, and nothing beside the patience of a probe.
const SECOND_LOOK: Duration = Duration::from_millis(10);
/// For so long at most packets go wrong once the table is empty.
const AUDIT_EVERY: Duration = Duration::from_secs(5);
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);
