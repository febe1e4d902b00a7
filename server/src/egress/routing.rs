//! A routing table for each uplink, and the rules that lead there.
//!
//! | priority | packets | ask |
//! |---|---|---|
//! | 9000 | from the tunnel, with an uplink's mark | main, default routes ignored |
//! | 9001 | the same | the uplink's table: its default route, else unreachable |
//! | 9002 | from an address of an uplink's interface | main, default routes ignored |
//! | 9003 | the same | the uplink's table |
//! | 9004 | of a probe: an uplink's mark, bound to its interface | the uplink's table |
//! | 9005 | from the tunnel, without a mark, where there are uplinks | main, default routes ignored |
//! | 9006 | the same | unreachable |
//!
//! So what comes from the tunnel never leaves by a way that was not chosen, even while another program
//! has emptied the nft table, and what the host
//! answers leaves by the interface that it was asked on.

use anyhow::Result;
use ipnet::IpNet;
use shared::host::{Action, Family, HostState, Route, Rule, families};
use tracing::debug;

use super::mark::UplinkMark;
use super::pool::Way;
use super::standing::Standing;

/// The routes and rules of one uplink.
#[derive(Debug)]
pub(super) struct Routing {
    mark: UplinkMark,
    routes: Vec<Route>,
    rules: Vec<Rule>,
    /// What leads into the table.
    leading: Vec<Rule>,
    /// What is in the kernel and no longer wanted.
    stale_routes: Vec<Route>,
    stale_rules: Vec<Rule>,
}

impl Routing {
    /// Lays the table, without a way out, and the rules that need no interface.
    pub(super) async fn lay(host: &HostState, mark: UplinkMark, tun: &str) -> Result<Self> {
        let mut leading = Vec::new();
        for family in families()? {
            host.add_route(Route::unreachable(family, mark.table())).await?;
            leading.extend(lead(host, family, mark, tun, Action::Lookup(mark.table())).await?);
        }
        Ok(Self {
            mark,
            leading,
            routes: Vec::new(),
            rules: Vec::new(),
            stale_routes: Vec::new(),
            stale_rules: Vec::new(),
        })
    }

    /// Adds what leads out, and adds again what the kernel has dropped with an interface.
    /// Returns, in the order of [`Family::ALL`], whether there is a way.
    pub(super) async fn open(
        &mut self,
        host: &HostState,
        standing: Option<&Standing>,
    ) -> Result<[Way; 2]> {
        let (routes, rules) = self.wanted(standing)?;
        let mut ways = [Way::None; 2];
        let mut opened = Vec::new();
        for route in routes {
            match host.add_route(route.clone()).await {
                Ok(()) => {
                    ways[route.family() as usize] = Way::Open;
                    opened.push(route);
                }
                // The interface may be going away at this moment: its end is reported too.
                Err(error) => {
                    debug!(%error, "an uplink's route can't be added");
                    if !self.stale_routes.contains(&route) {
                        self.stale_routes.push(route);
                    }
                }
            }
        }
        for rule in rules.iter().filter(|rule| !self.rules.contains(rule)) {
            host.add_rule(rule.clone()).await?;
        }
        self.replace_routes(opened);
        let old_rules = std::mem::replace(&mut self.rules, rules);
        for rule in old_rules {
            if !self.rules.contains(&rule) && !self.stale_rules.contains(&rule) {
                self.stale_rules.push(rule);
            }
        }
        Ok(ways)
    }

    /// Wants none of its ways out any longer.
    pub(super) fn close_routes(&mut self) {
        self.replace_routes(Vec::new());
    }

    fn replace_routes(&mut self, routes: Vec<Route>) {
        for route in std::mem::replace(&mut self.routes, routes) {
            if !self.routes.contains(&route) && !self.stale_routes.contains(&route) {
                self.stale_routes.push(route);
            }
        }
    }

    /// Removes routes that are no longer wanted, once nothing is sent there. What can't be removed
    /// now is tried again with the next change.
    pub(super) async fn remove_stale_routes(&mut self, host: &HostState) -> Result<()> {
        while let Some(route) = self.stale_routes.last() {
            if !self.routes.contains(route) {
                host.remove_route(route.clone()).await?;
            }
            self.stale_routes.pop();
        }
        Ok(())
    }

    /// The same of rules. What other uplinks on the same interface want too is left there.
    pub(super) async fn remove_stale_rules(
        &mut self,
        host: &HostState,
        others: &[Rule],
    ) -> Result<()> {
        while let Some(rule) = self.stale_rules.last() {
            if !self.rules.contains(rule) && !others.contains(rule) {
                host.remove_rule(rule.clone()).await?;
            }
            self.stale_rules.pop();
        }
        Ok(())
    }

    /// The rules that are in force for where it stands.
    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The mark that leads here.
    pub(super) fn mark(&self) -> UplinkMark {
        self.mark
    }

    /// Removes all of it.
    pub(super) async fn remove(&mut self, host: &HostState, others: &[Rule]) -> Result<()> {
        self.stale_routes.append(&mut self.routes);
        let rules = std::mem::take(&mut self.rules);
        self.stale_rules.extend(rules.into_iter().chain(std::mem::take(&mut self.leading)));
        self.remove_stale_routes(host).await?;
        self.remove_stale_rules(host, others).await?;
        for family in families()? {
            host.remove_route(Route::unreachable(family, self.mark.table())).await?;
        }
        Ok(())
    }

    fn wanted(&self, standing: Option<&Standing>) -> Result<(Vec<Route>, Vec<Rule>)> {
        let mut routes = Vec::new();
        let mut rules = Vec::new();
        let Some(standing) = standing else { return Ok((routes, rules)) };
        let table = self.mark.table();
        let present = families()?;
        let next_hops = standing.next_hops.iter().filter(|(family, _)| present.contains(family));
        for (family, hop) in next_hops {
            routes.push(Route {
                table,
                gateway: hop.gateway,
                on_link: hop.on_link && hop.gateway.is_some(),
                ..Route::to_interface(family.default_net(), &standing.interface)
            });
            let probes = Rule::lookup(*family, PRIORITY + 4, table).with_mark(self.mark.mark());
            rules.push(Rule { output: Some(standing.interface.clone()), ..probes });
            let of_family = |net: &&IpNet| Family::of_net(**net) == *family;
            for address in standing.addresses.iter().filter(of_family) {
                let from =
                    |priority, table| Rule::lookup(*family, priority, table).with_source(*address);
                rules.push(from(PRIORITY + 2, Route::MAIN).without_default());
                rules.push(from(PRIORITY + 3, table));
            }
        }
        Ok((routes, rules))
    }
}

/// Lets packets that no uplink is left for find nothing but routes that are no default route.
pub(super) async fn lay_nowhere(host: &HostState, mark: UplinkMark, tun: &str) -> Result<()> {
    for family in families()? {
        lead(host, family, mark, tun, Action::Unreachable).await?;
    }
    Ok(())
}

/// Keeps what nobody has marked from the host's default routes, or lets it take them.
pub(super) async fn fence(host: &HostState, tun: &str, closed: bool) -> Result<()> {
    for family in families()? {
        let from_tunnel = |priority| Rule {
            input: Some(tun.to_owned()),
            ..Rule::lookup(family, priority, Route::MAIN)
        };
        let unreachable = Rule { action: Action::Unreachable, ..from_tunnel(PRIORITY + 6) };
        for rule in [from_tunnel(PRIORITY + 5).without_default(), unreachable] {
            if closed {
                host.add_rule(rule).await?;
            } else {
                host.remove_rule(rule).await?;
            }
        }
    }
    Ok(())
}

async fn lead(
    host: &HostState,
    family: Family,
    mark: UplinkMark,
    tun: &str,
    action: Action,
) -> Result<[Rule; 2]> {
    let from_tunnel = |priority, table| Rule {
        input: Some(tun.to_owned()),
        ..Rule::lookup(family, priority, table).with_mark(mark.mark())
    };
    let rules = [
        from_tunnel(PRIORITY, Route::MAIN).without_default(),
        Rule { action, ..from_tunnel(PRIORITY + 1, Route::MAIN) },
    ];
    for rule in &rules {
        host.add_rule(rule.clone()).await?;
    }
    Ok(rules)
}

/// After the rules that administrators number by hand, before the main table (32766).
const PRIORITY: u32 = 9000;
