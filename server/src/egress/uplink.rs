//! One uplink at work: where it stands, what its probes find, what the kernel has of it.

use anyhow::Result;
use shared::clock;
use shared::host::{Carrier, Family, HostState, enable_forwarding, read_sysctl};
use tokio::sync::mpsc;

use super::event::EventKind;
use super::health::{Health, Rules, Transition};
use super::mark::UplinkMark;
use super::pool::Way;
use super::prober::{Binding, Prober, Report, Seat};
use super::routing::Routing;
use super::standing::Standing;
use crate::uplink_config::{ProbeConfig, UplinkConfig};

#[derive(Debug)]
pub(super) struct Uplink {
    pub(super) name: String,
    pub(super) tier: u8,
    pub(super) health: Health,
    pub(super) standing: Option<Standing>,
    /// Whether there is a way, in the order of [`Family::ALL`].
    pub(super) ways: [Way; 2],
    pub(super) routing: Routing,
    /// Counts the starts of the probes.
    pub(super) generation: u64,
    /// The place in the configuration.
    at: usize,
    mark: UplinkMark,
    config: UplinkConfig,
    reports: mpsc::Sender<Report>,
    probers: Vec<Prober>,
    bindings: Vec<Binding>,
}

impl Uplink {
    pub(super) fn new(
        at: usize,
        config: UplinkConfig,
        mark: UplinkMark,
        routing: Routing,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let rules = Rules { interval: config.interval, rise: config.rise, fall: config.fall };
        Self {
            name: config.name.clone(),
            tier: config.tier,
            health: Health::new(clock::since_boot(), rules, config.probes.len()),
            standing: None,
            ways: [Way::None; 2],
            routing,
            generation: 0,
            at,
            mark,
            config,
            reports,
            probers: Vec::new(),
            bindings: Vec::new(),
        }
    }

    /// Adapts to where it stands, with routes, rules, sysctls and probes.
    pub(super) async fn stand(
        &mut self,
        host: &HostState,
        standing: Option<Standing>,
    ) -> Result<Option<Transition>> {
        self.ways = self.routing.open(host, standing.as_ref()).await?;
        if let Some(standing) = &standing
            && read_sysctl(&format!("net/ipv4/conf/{}/forwarding", standing.interface))?.is_some()
        {
            enable_forwarding(host, &standing.interface).await?;
        }
        let now = clock::since_boot();
        let up = standing.as_ref().is_some_and(|standing| standing.carrier == Carrier::Up);
        let transition =
            if up { self.health.on_link_up(now) } else { self.health.on_link_down(now) };
        let bindings = standing.as_ref().map_or_else(Vec::new, |it| self.bindings(it));
        self.standing = standing;
        self.probe_through(bindings);
        Ok(transition)
    }

    pub(super) fn event(&self, transition: Transition) -> EventKind {
        let Transition { from, to, cause } = transition;
        EventKind::Health { uplink: self.name.clone(), from, to, cause }
    }

    /// What ties each probe to the uplink.
    fn bindings(&self, standing: &Standing) -> Vec<Binding> {
        let binding = |probe: &ProbeConfig| {
            let family = match probe {
                ProbeConfig::Icmp { target } => Family::of(*target),
                ProbeConfig::Tcp { target } => Family::of(target.ip()),
            };
            Binding {
                interface: standing.interface.clone(),
                index: standing.index,
                source: standing.next_hops.get(&family).map(|hop| hop.source),
                mark: self.mark.value(),
            }
        };
        self.config.probes.iter().map(binding).collect()
    }

    fn probe_through(&mut self, bindings: Vec<Binding>) {
        if self.bindings == bindings {
            return;
        }
        self.generation += 1;
        self.probers.clear();
        for (probe, binding) in bindings.iter().enumerate() {
            let seat = Seat { uplink: self.at, probe, generation: self.generation };
            self.probers.push(Prober::start(
                seat,
                self.config.probes[probe],
                self.config.interval,
                binding.clone(),
                self.reports.clone(),
            ));
        }
        self.bindings = bindings;
    }
}
