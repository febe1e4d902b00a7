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
use crate::uplink_config::UplinkConfig;

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
    binding: Option<Binding>,
}

impl Uplink {
    pub(super) fn new(
        at: usize,
        config: UplinkConfig,
        mark: UplinkMark,
        routing: Routing,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let UplinkConfig { interval, rise, fall, quorum, .. } = config;
        let rules = Rules { interval, rise, fall, quorum };
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
            binding: None,
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
        let binding = standing.as_ref().map(|it| self.binding(it));
        self.standing = standing;
        self.probe_through(binding);
        Ok(transition)
    }

    pub(super) fn event(&self, transition: Transition) -> EventKind {
        let Transition { from, to, cause } = transition;
        EventKind::Health { uplink: self.name.clone(), from, to, cause }
    }

    /// What ties the probes to the uplink.
    fn binding(&self, standing: &Standing) -> Binding {
        let source = |family| standing.next_hops.get(&family).map(|hop| hop.source);
        Binding {
            interface: standing.interface.clone(),
            index: standing.index,
            sources: Family::ALL.map(source),
            mark: self.mark.value(),
        }
    }

    fn probe_through(&mut self, binding: Option<Binding>) {
        if self.binding == binding {
            return;
        }
        self.generation += 1;
        self.probers.clear();
        self.binding = binding;
        let Some(binding) = &self.binding else { return };
        for (probe, config) in self.config.probes.iter().enumerate() {
            let seat = Seat { uplink: self.at, probe, generation: self.generation };
            self.probers.push(Prober::start(
                seat,
                config.clone(),
                self.config.interval,
                binding.clone(),
                self.reports.clone(),
            ));
        }
    }
}
