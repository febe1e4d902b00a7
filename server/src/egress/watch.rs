//! The task that follows probes and interfaces, and keeps the kernel in step.
//!
//! After a failure the order is: where new flows go (one nft transaction), then routes, then the
//! flows of the failed uplink are forgotten. The other way round, those that begin anew at once
//! would come back to it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use ipnet::IpNet;
use shared::clock;
use shared::host::{Carrier, Family, HostState, LinkWatch, enable_forwarding};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::buckets::Buckets;
use super::conntrack;
use super::event::{EventKind, EventLog, Reason};
use super::health::State;
use super::nat::{Elements, Lead, Table, is_plain_interface};
use super::pool::{Candidate, Choice, Trust, Way};
use super::prober::{Finding, Outcome, REPORTS_MAX, Report};
use super::selection::Selection;
use super::standing::Surroundings;
use super::status;
use super::uplink::Uplink;
use crate::egress_config::Choose;
use crate::uplink_config::UplinkConfig;

/// What others may see while the task runs.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) uplinks: Vec<shared::status::Uplink>,
    pub(super) log: EventLog,
}

/// What others may ask of the task.
#[derive(Debug)]
pub(super) enum Command {
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
    pub(super) configs: Vec<UplinkConfig>,
    pub(super) uplinks: Vec<Uplink>,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) published: Arc<Mutex<Published>>,
    pub(super) selections: [Selection; 2],
    pub(super) choose: Choose,
    pub(super) buckets: Buckets,
    /// What the nft table holds.
    pub(super) elements: Elements,
    /// Interfaces with a default route, where no uplinks are configured.
    pub(super) plain_exits: BTreeSet<String>,
    pub(super) links: Option<LinkWatch>,
    /// When to look at everything again, after something went wrong.
    pub(super) retry_at: Option<Duration>,
}

/// What woke the task.
enum Waking {
    Report(Report),
    Links,
    Command(Command),
    Time,
}

impl Watch {
    pub(super) async fn run(mut self) {
        loop {
            match self.wait().await {
                Waking::Report(report) => self.on_report(report),
                Waking::Links => self.look_again().await,
                Waking::Command(Command::Stop) => return,
                Waking::Command(Command::Sources(sources, done)) => {
                    self.sources = sources.into_iter().collect();
                    // Nobody may be waiting for the answer.
                    let _ = done.send(self.adapt().await);
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
            match self.retry_at {
                Some(at) if clock::since_boot() < at => continue,
                Some(_) => self.look_again().await,
                None => {}
            }
            if let Err(error) = self.adapt().await {
                self.try_again(&error);
            }
        }
    }

    /// Brings the kernel in step with what is around, for the first time.
    pub(super) async fn begin(&mut self) -> Result<()> {
        let script = self.table.create(&self.elements);
        self.host.nft(&self.table.name, &script).await?;
        self.look().await?;
        self.on_time(clock::since_boot());
        self.adapt().await
    }

    async fn wait(&mut self) -> Waking {
        let now = clock::since_boot();
        let timeouts = self.uplinks.iter().filter_map(|uplink| uplink.health.poll_timeout());
        let wake_at = timeouts.chain(self.retry_at).min();
        let sleep = wake_at.map_or(SLEEP_MAX, |at| at.saturating_sub(now).min(SLEEP_MAX));
        let links = async {
            match &mut self.links {
                Some(links) => links.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            event = links => {
                if event.is_none() {
                    self.links = None;
                    self.retry_at = Some(now + RETRY_AFTER);
                }
                Waking::Links
            }
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
        let Some(uplink) = self.uplinks.get_mut(report.seat.uplink) else { return };
        if uplink.generation != report.seat.generation {
            return;
        }
        let (at, probe) = (report.at, report.seat.probe);
        let transition = match report.finding {
            Finding::Sent(_) => {
                uplink.health.on_sent(at, probe);
                None
            }
            Finding::Ended(_, Outcome::Answered(rtt)) => uplink.health.on_answer(at, probe, rtt),
            Finding::Ended(_, Outcome::Refused(cause)) => {
                uplink.health.on_refusal(at, probe, cause)
            }
            Finding::Ended(_, Outcome::Unreachable) => uplink.health.on_unreachable(at, probe),
            Finding::Heard => {
                uplink.health.on_heard(at, probe);
                None
            }
            Finding::Certificate(left) => {
                uplink.health.on_certificate(at, probe, left);
                None
            }
        };
        if let Some(transition) = transition {
            let event = uplink.event(transition);
            self.record(event);
        }
    }

    fn on_time(&mut self, now: Duration) {
        for at in 0..self.uplinks.len() {
            if let Some(transition) = self.uplinks[at].health.handle_timeout(now) {
                let event = self.uplinks[at].event(transition);
                self.record(event);
            }
        }
    }

    async fn look_again(&mut self) {
        self.retry_at = None;
        if self.links.is_none() {
            self.links = self.host.netlink().watch().await.ok();
            if self.links.is_none() {
                self.retry_at = Some(clock::since_boot() + RETRY_AFTER);
            }
        }
        if let Err(error) = self.look().await {
            self.try_again(&error);
        }
    }

    /// Looks where each uplink stands, and opens what leads out there.
    async fn look(&mut self) -> Result<()> {
        let around = Surroundings::look(self.host.netlink(), &self.configs).await?;
        if self.configs.is_empty() {
            let links = around.default_links.iter().map(|link| &link.interface);
            let exits = links.filter(|name| **name != self.table.tun && is_plain_interface(name));
            self.plain_exits = exits.cloned().collect();
            for exit in &self.plain_exits {
                enable_forwarding(&self.host, exit).await?;
            }
            return Ok(());
        }
        for at in 0..self.uplinks.len() {
            let standing = around.standing(&self.configs[at]);
            let transition = self.uplinks[at].stand(&self.host, standing).await?;
            if let Some(transition) = transition {
                let event = self.uplinks[at].event(transition);
                self.record(event);
            }
        }
        Ok(())
    }

    /// Draws the conclusions: chooses, changes the nft table, closes routes, forgets flows.
    async fn adapt(&mut self) -> Result<()> {
        // The verdicts as they are, with the choice that is still in force.
        self.publish();
        let mut wanted = Elements { sources: self.sources.clone(), ..Elements::default() };
        for exit in &self.plain_exits {
            wanted.exits.insert(exit.clone(), None);
        }
        for (at, uplink) in self.uplinks.iter().enumerate() {
            if let Some(standing) = &uplink.standing {
                wanted.exits.entry(standing.interface.clone()).or_insert(Some(at));
            }
        }
        let now = clock::since_boot();
        for selection in &mut self.selections {
            selection.choose(&candidates(&self.uplinks, selection.family, now));
            let family = selection.family;
            let lead =
                match self.choose {
                    // The same choice has the same owners.
                    _ if selection.choice.parts == selection.in_force.parts => {
                        self.elements.choice.get(&family).cloned()
                    }
                    Choose::ActiveStandby => selection.choice.members().next().map(Lead::One),
                    Choose::Share => selection.choice.members().next().map(|_| {
                        Lead::Buckets(Box::new(self.buckets.owners(&selection.choice.parts)))
                    }),
                };
            if let Some(lead) = lead {
                wanted.choice.insert(family, lead);
            }
        }
        let script = self.table.change(&self.elements, &wanted);
        if !script.is_empty() {
            self.host.nft(&self.table.name, &script).await?;
            self.elements = wanted;
        }
        for at in 0..self.selections.len() {
            if let Some((before, after)) = self.selections[at].poll_change() {
                self.record_choice(self.selections[at].family, &before, &after);
            }
        }
        // What is in force is told before the tidying up, which takes its time.
        self.publish();
        for uplink in &mut self.uplinks {
            uplink.routing.close_stale(&self.host).await?;
        }
        self.forget_stale_flows();
        Ok(())
    }

    fn forget_stale_flows(&mut self) {
        for at in 0..self.selections.len() {
            let family = self.selections[at].family;
            for uplink in self.selections[at].poll_flush() {
                let name = self.uplinks[uplink].name.clone();
                match conntrack::forget_flows(family, self.table.marks[uplink]) {
                    Ok(()) => self.record(EventKind::Flushed { uplink: name, family }),
                    Err(error) => warn!(
                        uplink = name, %family, %error,
                        "the flows of a failed uplink stay there until they end: conntrack refused"
                    ),
                }
            }
        }
    }

    fn record_choice(&self, family: Family, before: &Choice, after: &Choice) {
        // A family that nobody has is no news.
        let names = |choice: &Choice| -> Vec<String> {
            choice.members().map(|at| self.uplinks[at].name.clone()).collect()
        };
        let (from, to) = (names(before), names(after));
        if from.is_empty() && to.is_empty() {
            return;
        }
        self.record(EventKind::Active { family, from, to, reason: after.reason });
    }

    fn record(&self, kind: EventKind) {
        let serious = match &kind {
            EventKind::Health { to, .. } => *to == State::Down,
            EventKind::Active { reason, .. } => {
                matches!(reason, Reason::FailOpen | Reason::NoneLeft)
            }
            EventKind::Flushed { .. } => false,
        };
        if serious {
            warn!("{kind}");
        } else {
            info!("{kind}");
        }
        let mut published = self.published.lock().unwrap_or_else(|broken| broken.into_inner());
        published.log.record(clock::since_boot(), kind);
    }

    fn publish(&self) {
        let active: BTreeSet<usize> =
            self.selections.iter().flat_map(|it| it.in_force.members()).collect();
        let uplinks = self.uplinks.iter().zip(&self.configs).enumerate();
        let uplinks = uplinks
            .map(|(at, (uplink, config))| status::uplink(uplink, config, active.contains(&at)))
            .collect();
        self.published.lock().unwrap_or_else(|broken| broken.into_inner()).uplinks = uplinks;
    }

    fn try_again(&mut self, error: &anyhow::Error) {
        warn!("egress: {error:#}; trying again");
        self.retry_at = Some(clock::since_boot() + RETRY_AFTER);
    }
}

fn candidates(uplinks: &[Uplink], family: Family, now: Duration) -> Vec<Candidate> {
    let candidate = |uplink: &Uplink| Candidate {
        tier: uplink.tier,
        state: uplink.health.state(),
        trust: if uplink.health.is_doubtful(now) { Trust::Doubtful } else { Trust::Fresh },
        route: match &uplink.standing {
            Some(standing) if standing.carrier == Carrier::Up => uplink.ways[family as usize],
            _ => Way::None,
        },
    };
    uplinks.iter().map(candidate).collect()
}

/// Nothing happens for longer than that only when nothing is to be done.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// Enough for every task that is ready to run, and nothing beside the patience of a probe.
const SECOND_LOOK: Duration = Duration::from_millis(10);
const RETRY_AFTER: Duration = Duration::from_secs(1);
