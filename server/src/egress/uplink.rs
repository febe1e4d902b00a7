//! One uplink at work: where it stands, what its probes find, what the kernel has of it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use engine::Class;
use shared::clock;
use shared::host::{Carrier, Family, HostState, Netlink, Rule, enable_forwarding, read_sysctl};
use tokio::sync::mpsc;

use super::buckets::WHOLE;
use super::event::EventKind;
use super::families::Families;
use super::grades::Grades;
use super::health::{Health, Rules, State, Transition};
use super::mark::UplinkMark;
use super::pool::{Candidate, Fit, Trust, Way};
use super::prober::{Binding, Finding, Outcome, Prober, Report, Seat};
use super::routing::Routing;
use super::standing::Standing;
use crate::policy::Policy;
use crate::uplink_config::UplinkConfig;

#[derive(Debug)]
pub(super) struct Uplink {
    pub(super) config: UplinkConfig,
    pub(super) health: Health,
    families: Families,
    pub(super) grades: Grades,
    pub(super) duty: Duty,
    pub(super) standing: Option<Standing>,
    /// Whether there is a way, in the order of [`Family::ALL`].
    pub(super) ways: [Way; 2],
    pub(super) routing: Routing,
    /// When it came back last, after a failure.
    returned_at: Option<Duration>,
    /// Counts the starts of the probes.
    generation: u64,
    netlink: Netlink,
    reports: mpsc::Sender<Report>,
    probers: Vec<Prober>,
    binding: Option<Binding>,
}

/// What the operator lets an uplink do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Duty {
    /// What its configuration says.
    #[default]
    Normal,
    /// No new flow, unless no other uplink works; the flows that it has stay until they end.
    Drain,
    /// Nothing: its flows begin anew by others.
    Off,
}

impl Uplink {
    pub(super) fn new(
        config: UplinkConfig,
        routing: Routing,
        netlink: Netlink,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        Self {
            health: health(&config),
            families: Families::new(&config),
            grades: Grades::new(&config),
            duty: Duty::Normal,
            standing: None,
            ways: [Way::None; 2],
            routing,
            returned_at: None,
            generation: 0,
            config,
            netlink,
            reports,
            probers: Vec::new(),
            binding: None,
        }
    }

    /// Names it in the marks of its flows.
    pub(super) fn mark(&self) -> UplinkMark {
        self.routing.mark()
    }

    /// Takes over another configuration. What it is known to be counts on, unless it is probed
    /// otherwise from here on.
    pub(super) fn configure(&mut self, config: UplinkConfig) {
        let probed_alike = self.config.is_probed_as(&config);
        self.config = config;
        if !probed_alike {
            // One that was down has to prove itself, however it is asked.
            let was_down = self.health.state() == State::Down;
            self.health = health(&self.config);
            self.families = Families::new(&self.config);
            if was_down {
                self.health.begin_down();
            }
            self.returned_at = None;
            self.probe_through(None);
        }
    }

    /// Ends, with all that it has on the host but what others want too. To be asked again after a
    /// failure.
    pub(super) async fn end(&mut self, host: &HostState, others: &[Rule]) -> Result<()> {
        self.probe_through(None);
        self.routing.remove(host, others).await
    }

    /// Adapts to where it stands, with routes, rules, sysctls and probes. What the link is counts
    /// even where the rest goes wrong.
    pub(super) async fn stand(
        &mut self,
        host: &HostState,
        standing: Option<Standing>,
    ) -> (Option<EventKind>, Result<()>) {
        let opened = self.open(host, standing.as_ref()).await;
        let now = clock::since_boot();
        let up = standing.as_ref().is_some_and(|standing| standing.carrier == Carrier::Up);
        let transition =
            if up { self.health.on_link_up(now) } else { self.health.on_link_down(now) };
        let binding = standing.as_ref().map(|it| self.binding(it));
        self.standing = standing;
        self.probe_through(binding);
        (transition.map(|it| self.turn(now, it)), opened)
    }

    /// Whether it is lost with these interfaces. One that is known by its gateway or table may have a
    /// way by another interface: that takes a look.
    pub(super) fn is_lost_with(&self, interfaces: &BTreeSet<String>) -> bool {
        let carried =
            |it: &Standing| it.carrier == Carrier::Up && interfaces.contains(&it.interface);
        self.config.interface.is_some() && self.standing.as_ref().is_some_and(carried)
    }

    /// Its interface carries no packets any longer. Where that leaves it, [`stand`](Self::stand) says.
    pub(super) fn lose_link(&mut self) -> Option<EventKind> {
        if let Some(standing) = &mut self.standing {
            standing.carrier = Carrier::Down;
        }
        self.routing.close_routes();
        let now = clock::since_boot();
        self.health.on_link_down(now).map(|it| self.turn(now, it))
    }

    async fn open(&mut self, host: &HostState, standing: Option<&Standing>) -> Result<()> {
        self.ways = self.routing.open(host, standing).await?;
        if let Some(standing) = standing
            && read_sysctl(&format!("net/ipv4/conf/{}/forwarding", standing.interface))?.is_some()
        {
            enable_forwarding(host, &standing.interface).await?;
        }
        Ok(())
    }

    /// Takes in what a probe has found.
    pub(super) fn on_report(&mut self, report: Report, policies: &[Policy]) -> Vec<EventKind> {
        if self.generation != report.seat.generation {
            return Vec::new();
        }
        let (at, probe) = (report.at, report.seat.probe);
        self.grades.on_report(&report);
        let transition = match report.finding {
            Finding::Sent(_) => {
                self.health.on_sent(at, probe);
                None
            }
            Finding::Ended(_, Outcome::Answered(rtt)) => self.health.on_answer(at, probe, rtt),
            Finding::Ended(_, Outcome::Refused(cause)) => self.health.on_refusal(at, probe, cause),
            Finding::Ended(_, Outcome::Unreachable) => self.health.on_unreachable(at, probe),
            Finding::Heard => {
                self.health.on_heard(at, probe);
                None
            }
            Finding::Certificate(left) => {
                self.health.on_certificate(at, probe, left);
                None
            }
        };
        let mut events: Vec<EventKind> =
            transition.map(|it| self.turn(at, it)).into_iter().collect();
        events.extend(self.judge_families(at));
        if self.health.state() == State::Up {
            events.extend(self.grades.judge(at, &self.config, policies));
        }
        events
    }

    /// Its traffic is answered, though its targets may be silent.
    pub(super) fn on_passing(&mut self, now: Duration) {
        self.health.on_passing(now);
        self.grades.on_passing();
    }

    /// Draws conclusions from the time that has passed.
    pub(super) fn on_time(&mut self, now: Duration) -> Vec<EventKind> {
        let transition = self.health.handle_timeout(now);
        let mut events: Vec<EventKind> =
            transition.map(|it| self.turn(now, it)).into_iter().collect();
        events.extend(self.judge_families(now));
        events
    }

    fn judge_families(&mut self, now: Duration) -> Vec<EventKind> {
        // An uplink that is down has lost both.
        if self.health.state() != State::Up {
            return Vec::new();
        }
        let changed = self.families.update(now, &self.health).into_iter();
        changed
            .map(|(family, works)| EventKind::Family {
                uplink: self.config.name.clone(),
                family,
                works,
            })
            .collect()
    }

    /// When to look again without a report.
    pub(super) fn poll_timeout(&self, now: Duration, slow_start: Duration) -> Option<Duration> {
        let next = self.ramp(now, slow_start).zip(self.returned_at);
        let next = next.map(|(steps, at)| at + slow_start * (steps + 1) / STEPS);
        let families = self.families.poll_timeout(&self.health);
        self.health.poll_timeout().into_iter().chain(next).chain(families).min()
    }

    /// What it is worth for some traffic of one family.
    pub(super) fn candidate(
        &self,
        now: Duration,
        family: Family,
        policy: usize,
        class: Option<Class>,
        slow_start: Duration,
    ) -> Candidate {
        let open = self.duty != Duty::Off
            && self.config.admits(class)
            && self.standing.as_ref().is_some_and(|it| it.carrier == Carrier::Up);
        let doubtful =
            self.health.is_doubtful(now) || self.families.is_doubtful(family, now, &self.health);
        let after_all = if self.duty == Duty::Drain { DRAINED_TIER } else { 0 };
        Candidate {
            tier: u16::from(self.config.tier) + after_all,
            cost: self.config.cost,
            state: if self.families.works(family) { self.health.state() } else { State::Down },
            trust: if doubtful { Trust::Doubtful } else { Trust::Fresh },
            route: if open { self.ways[family as usize] } else { Way::None },
            fit: if self.grades.breach(policy).is_some() { Fit::Breaks } else { Fit::Keeps },
            part: self.part(now, slow_start),
            duty: self.duty,
        }
    }

    /// Whether packets of a family could leave by it and be answered.
    pub(super) fn works(&self, family: Family) -> bool {
        let carrier = self.standing.as_ref().is_some_and(|it| it.carrier == Carrier::Up);
        let open = self.duty != Duty::Off && carrier && self.ways[family as usize] == Way::Open;
        open && self.health.state() != State::Down && self.families.works(family)
    }

    /// How much of its weight counts: a line that has just come back is not flooded.
    fn part(&self, now: Duration, slow_start: Duration) -> u32 {
        self.ramp(now, slow_start).map_or(WHOLE, |steps| WHOLE * (steps + 1) / STEPS)
    }

    /// How many steps of its slow start it has behind it; none when all.
    fn ramp(&self, now: Duration, slow_start: Duration) -> Option<u32> {
        let since = now.saturating_sub(self.returned_at?);
        let steps = since.as_millis() * u128::from(STEPS) / slow_start.as_millis().max(1);
        u32::try_from(steps).ok().filter(|steps| *steps < STEPS && !slow_start.is_zero())
    }

    fn turn(&mut self, now: Duration, transition: Transition) -> EventKind {
        let Transition { from, to, cause } = transition;
        if from == State::Down && to == State::Up {
            self.returned_at = Some(now);
            // What was lost while it was down says nothing of what it is now.
            self.grades = Grades::new(&self.config);
            self.families = Families::new(&self.config);
        }
        EventKind::Health { uplink: self.config.name.clone(), from, to, cause }
    }

    /// What ties the probes to the uplink.
    fn binding(&self, standing: &Standing) -> Binding {
        let hop = |family| standing.next_hops.get(&family);
        Binding {
            interface: standing.interface.clone(),
            index: standing.index,
            sources: Family::ALL.map(|family| Some(hop(family)?.source)),
            gateways: Family::ALL.map(|family| hop(family)?.gateway),
            mark: self.mark().value(),
        }
    }

    fn probe_through(&mut self, binding: Option<Binding>) {
        if self.binding == binding {
            return;
        }
        self.generation += 1;
        self.probers.clear();
        self.grades = Grades::new(&self.config);
        self.binding = binding;
        let Some(binding) = &self.binding else { return };
        for (probe, config) in self.config.probes.iter().enumerate() {
            let seat = Seat { uplink: self.mark(), probe, generation: self.generation };
            self.probers.push(Prober::start(
                seat,
                config.clone(),
                self.config.pause(config),
                binding.clone(),
                self.netlink.clone(),
                self.reports.clone(),
            ));
        }
    }
}

fn health(config: &UplinkConfig) -> Health {
    let UplinkConfig { interval, silence, rise, fall, quorum, .. } = *config;
    let rules = Rules { interval, silence, rise, fall, quorum };
    Health::new(clock::since_boot(), rules, config.probes.iter().map(|probe| config.pause(probe)))
}

/// What is drained comes after every tier that there is.
pub(super) const DRAINED_TIER: u16 = 256;
/// In so many steps an uplink that has come back gets its share.
const STEPS: u32 = 10;
