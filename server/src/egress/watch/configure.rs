//! Another configuration while traffic goes on: uplinks come, go and change, and no flow notices
//! but those of an uplink that is gone.

use anyhow::Result;

use super::super::buckets::{Buckets, Member};
use super::super::event::{EventKind, Order};
use super::super::mark::{self, UplinkMark};
use super::super::nat::{Elements, Table};
use super::super::routing::Routing;
use super::super::selection::Selection;
use super::super::uplink::{Duty, Uplink};
use super::super::{conntrack, refuse_impossible};
use super::adapt::pin;
use super::{Traffic, Watch};
use crate::egress_config::EgressConfig;
use crate::policy::Policy;
use crate::uplink_config::UplinkConfig;
use shared::clock;
use shared::host::{Family, Rule, nft_check};
use tracing::warn;

impl Watch {
    /// Takes over another configuration. Uplinks are known by their names: one that stays keeps its
    /// mark and its flows, and its health too unless it is probed in another way.
    pub(super) async fn configure(&mut self, config: EgressConfig) -> Result<()> {
        refuse_impossible(&config.uplinks, &self.table.tun)?;
        let table = Table {
            chooses: !config.uplinks.is_empty(),
            policies: config.policies,
            rules: config.rules,
            reset_connections: config.reset_connections,
            ..self.table.clone()
        };
        self.try_table(&table, &config.uplinks).await?;
        let newcomers = self.lay_newcomers(&config.uplinks).await?;
        self.traffic = Traffic::new(config.believe_traffic);
        self.buckets = Buckets::new(&members(&config.uplinks));
        self.reweighed = true;
        self.slow_start = config.slow_start;
        self.record_orders(&config.uplinks);
        let places = self.replace_uplinks(config.uplinks, newcomers);
        let nothing = Elements::default();
        self.redraw |= table.create(&nothing) != self.table.create(&nothing);
        self.select_by(table, &places);
        // From here on it is the configuration in force, and what goes wrong is tried again.
        let looked = self.look().await;
        self.on_time(clock::since_boot());
        if let Err(error) = looked.and(self.adapt().await) {
            self.try_again(&error);
        }
        Ok(())
    }

    /// Lets nft judge a table with these uplinks, before anything is changed for it.
    async fn try_table(&mut self, table: &Table, uplinks: &[UplinkConfig]) -> Result<()> {
        let pins = (1..).map(UplinkMark::new).zip(uplinks);
        let pins = pins.map(|(mark, uplink)| (mark, pin(uplink, self.pool6))).collect();
        let script = table.create(&Elements { pins, ..Elements::default() });
        Ok(nft_check(&table.name, &script).await?)
    }

    /// Changes what an uplink may do, whatever its configuration says.
    pub(super) async fn set_duty(&mut self, name: &str, duty: Duty) -> Result<()> {
        let Some(uplink) = self.uplinks.iter_mut().find(|it| it.config.name == name) else {
            anyhow::bail!("there is no uplink \"{name}\"");
        };
        uplink.duty = duty;
        self.record(EventKind::Ordered { uplink: name.to_owned(), order: Order::Duty(duty) });
        self.adapt().await
    }

    /// Tells what another configuration makes of each uplink.
    fn record_orders(&self, configs: &[UplinkConfig]) {
        let tell = |config: &UplinkConfig, order| {
            self.record(EventKind::Ordered { uplink: config.name.clone(), order });
        };
        for config in configs {
            match self.uplinks.iter().find(|uplink| uplink.config.name == config.name) {
                None => tell(config, Order::Added),
                Some(uplink) if uplink.config != *config => tell(config, Order::Changed),
                Some(_) => {}
            }
        }
        let is_gone = |uplink: &&Uplink| configs.iter().all(|it| it.name != uplink.config.name);
        self.uplinks.iter().filter(is_gone).for_each(|it| tell(&it.config, Order::Removed));
    }

    /// Routing tables for those that were not there before.
    async fn lay_newcomers(&mut self, uplinks: &[UplinkConfig]) -> Result<Vec<Routing>> {
        let known = |config: &&UplinkConfig| {
            !self.uplinks.iter().any(|uplink| uplink.config.name == config.name)
        };
        let count = uplinks.iter().filter(known).count();
        let marks = mark::free_marks(self.host.netlink(), count).await?;
        let mut laid = Vec::with_capacity(count);
        for mark in marks {
            match Routing::lay(&self.host, mark, &self.table.tun).await {
                Ok(routing) => laid.push(routing),
                Err(error) => {
                    for mut routing in laid {
                        routing.remove(&self.host, &[]).await?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(laid)
    }

    /// The uplinks of a configuration in its order. Says at which place each was before.
    fn replace_uplinks(
        &mut self,
        configs: Vec<UplinkConfig>,
        newcomers: Vec<Routing>,
    ) -> Vec<Option<usize>> {
        let mut newcomers = newcomers.into_iter();
        let mut before: Vec<Option<Uplink>> =
            std::mem::take(&mut self.uplinks).into_iter().map(Some).collect();
        let mut places = Vec::with_capacity(configs.len());
        for config in configs {
            let is_it = |uplink: &Option<Uplink>| {
                uplink.as_ref().is_some_and(|uplink| uplink.config.name == config.name)
            };
            let place = before.iter().position(is_it);
            if let Some(mut uplink) = place.and_then(|place| before[place].take()) {
                uplink.configure(config);
                self.uplinks.push(uplink);
                places.push(place);
            } else if let Some(routing) = newcomers.next() {
                let netlink = self.host.netlink().clone();
                let uplink = Uplink::new(config, routing, netlink, self.reports_in.clone());
                self.uplinks.push(uplink);
                places.push(None);
            }
        }
        self.gone.extend(before.into_iter().flatten());
        places
    }

    /// Chooses by the policies of another table from here on.
    fn select_by(&mut self, table: Table, places: &[Option<usize>]) {
        let before = std::mem::take(&mut self.selections);
        let class_of = |at: usize| self.table.policies[at].class;
        for (at, policy) in table.policies.iter().enumerate() {
            for family in Family::ALL {
                let mut selection = Selection::new(family, at, policy.clone(), places.len());
                let same =
                    |it: &&Selection| it.family == family && class_of(it.policy) == policy.class;
                if let Some(before) = before.iter().find(same) {
                    selection.inherit(before, places);
                }
                self.selections.push(selection);
            }
        }
        let alike = |a: &Policy, b: &Policy| {
            (a.class, a.limits, a.return_after) == (b.class, b.limits, b.return_after)
        };
        let before: Vec<Option<usize>> = table
            .policies
            .iter()
            .map(|policy| self.table.policies.iter().position(|it| alike(it, policy)))
            .collect();
        self.uplinks.iter_mut().for_each(|uplink| uplink.grades.regrade(&before));
        if table.policies.iter().any(Policy::remembers) {
            self.census.begin(clock::since_boot());
        }
        self.table = table;
    }

    /// Takes back what uplinks had that are gone, once no new flow goes there.
    pub(super) async fn bury(&mut self, rules: &[Rule]) -> Result<()> {
        while let Some(mut uplink) = self.gone.pop() {
            for family in Family::ALL {
                if let Err(error) =
                    conntrack::forget_all_flows(&mut self.netfilter, family, uplink.mark())
                {
                    warn!(uplink = uplink.config.name, %family, %error, "its flows are stuck");
                }
            }
            if let Err(error) = uplink.end(&self.host, rules).await {
                self.gone.push(uplink);
                return Err(error);
            }
        }
        Ok(())
    }
}

pub(in super::super) fn members(uplinks: &[UplinkConfig]) -> Vec<Member<'_>> {
    uplinks.iter().map(|uplink| Member { name: &uplink.name, weight: uplink.weight }).collect()
}
