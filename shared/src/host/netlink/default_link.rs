//! Interfaces with a default route: the ways out of this host.

use std::net::IpAddr;

use super::{Carrier, Family, Netlink, Route, RouteKind, route};
use crate::host::Result;

/// One interface and its default routes in one table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DefaultLink {
    /// The interface.
    pub interface: String,
    /// Its index.
    pub index: u32,
    /// Whether it carries packets.
    pub carrier: Carrier,
    /// The way out for IPv4.
    pub v4: Option<Gateway>,
    /// The way out for IPv6.
    pub v6: Option<Gateway>,
}

/// A default route of one interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gateway {
    /// The next hop; none on a point-to-point interface.
    pub address: Option<IpAddr>,
    /// The address that packets leave with, if the interface has one.
    pub source: Option<IpAddr>,
    /// The lower is preferred.
    pub metric: u32,
    /// The gateway is in no prefix of the interface.
    pub on_link: bool,
    /// Who made the route; 9 is a router advertisement.
    pub protocol: u8,
}

impl DefaultLink {
    /// The way out for a family.
    pub fn of(&self, family: Family) -> Option<&Gateway> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    fn of_mut(&mut self, family: Family) -> &mut Option<Gateway> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    fn best_metric(&self) -> u32 {
        let metrics = [&self.v4, &self.v6].into_iter().flatten().map(|gateway| gateway.metric);
        metrics.min().unwrap_or(u32::MAX)
    }
}

pub(super) async fn list(netlink: &Netlink, table: u32) -> Result<Vec<DefaultLink>> {
    let interfaces = netlink.interfaces().await?;
    let mut links: Vec<DefaultLink> = interfaces
        .iter()
        .filter(|interface| !interface.loopback)
        .map(|interface| DefaultLink {
            interface: interface.name.clone(),
            index: interface.index,
            carrier: interface.carrier,
            v4: None,
            v6: None,
        })
        .collect();
    for family in Family::ALL {
        for route in route::list(netlink, &interfaces, family, Some(table), leads_out).await? {
            let Some(name) = &route.interface else { continue };
            let Some(link) = links.iter_mut().find(|link| link.interface == *name) else {
                continue;
            };
            let Some(interface) = interfaces.iter().find(|found| found.name == *name) else {
                continue;
            };
            let found = Gateway {
                address: route.gateway,
                source: route.source.or_else(|| interface.source_toward(family, route.gateway)),
                metric: route.metric.unwrap_or(0),
                on_link: route.on_link,
                protocol: route.protocol,
            };
            let slot = link.of_mut(family);
            if slot.as_ref().is_none_or(|known| found.metric < known.metric) {
                *slot = Some(found);
            }
        }
    }
    links.retain(|link| link.v4.is_some() || link.v6.is_some());
    links.sort_by_key(DefaultLink::best_metric);
    Ok(links)
}

fn leads_out(route: &Route) -> bool {
    route.is_default() && route.kind == RouteKind::Unicast
}
