//! Routes.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use serde::{Deserialize, Serialize};

use super::{Family, Interface, Netlink};
use crate::host::{ROUTE_PROTOCOL, Result};

/// One route of the kernel.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Route {
    /// Where it leads.
    pub destination: IpNet,
    /// What becomes of a packet that takes it.
    pub kind: RouteKind,
    /// The table that it stands in; 254 is main.
    pub table: u32,
    /// The lower is preferred; the kernel's default when absent (0 for IPv4, 1024 for IPv6).
    pub metric: Option<u32>,
    /// The interface that packets leave by.
    pub interface: Option<String>,
    /// The next hop; without one the destination is directly connected.
    pub gateway: Option<IpAddr>,
    /// The source address that the host's own packets take.
    pub source: Option<IpAddr>,
    /// The gateway is reachable on the interface even though no prefix of it says so.
    pub on_link: bool,
    /// Who made it: [`ROUTE_PROTOCOL`] for ours.
    pub protocol: u8,
}

/// What becomes of a packet that takes a route.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// It is forwarded.
    Unicast,
    /// It vanishes.
    Blackhole,
    /// It is refused, and its sender is told (EHOSTUNREACH, ICMP).
    Unreachable,
}

impl Route {
    /// The number of the main table.
    pub const MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;

    /// A route of ours in the main table, directly connected to an interface.
    pub fn to_interface(destination: IpNet, interface: &str) -> Self {
        Self {
            destination,
            kind: RouteKind::Unicast,
            table: Self::MAIN,
            metric: None,
            interface: Some(interface.to_owned()),
            gateway: None,
            source: None,
            on_link: false,
            protocol: ROUTE_PROTOCOL,
        }
    }

    /// A route of ours that refuses what no better route of `table` takes.
    pub fn unreachable(family: Family, table: u32) -> Self {
        Self {
            destination: family.default_net(),
            kind: RouteKind::Unreachable,
            table,
            // The largest metric that iproute2 shows without loss, as networkd and others use.
            metric: Some(4_278_198_272),
            interface: None,
            gateway: None,
            source: None,
            on_link: false,
            protocol: ROUTE_PROTOCOL,
        }
    }

    /// The family of its destination.
    pub fn family(&self) -> Family {
        Family::of_net(self.destination)
    }

    /// Whether the kernel holds only one of the two: same table, destination and metric.
    pub(super) fn stands_where(&self, other: &Self) -> bool {
        let default = if self.family() == Family::V4 { 0 } else { 1024 };
        let metric = |route: &Self| route.metric.unwrap_or(default);
        self.table == other.table
            && self.destination.trunc() == other.destination.trunc()
            && metric(self) == metric(other)
    }

    /// Whether packets take the same way by both.
    pub(super) fn leads_like(&self, other: &Self) -> bool {
        self.interface == other.interface && self.gateway == other.gateway
    }

    /// Whether it leads everywhere.
    pub fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }

    pub(super) fn to_message(&self, index: Option<u32>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = self.family().raw();
        message.header.destination_prefix_length = self.destination.prefix_len();
        message.header.protocol = RouteProtocol::from(self.protocol);
        message.header.kind = match self.kind {
            RouteKind::Unicast => RouteType::Unicast,
            RouteKind::Blackhole => RouteType::BlackHole,
            RouteKind::Unreachable => RouteType::Unreachable,
        };
        message.header.scope = match (self.kind, self.gateway) {
            (RouteKind::Unicast, None) if self.family() == Family::V4 => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        if self.on_link {
            message.header.flags.insert(RouteFlags::Onlink);
        }
        let mut push = |attribute| message.attributes.push(attribute);
        push(RouteAttribute::Table(self.table));
        if !self.is_default() {
            push(RouteAttribute::Destination(self.destination.network().into()));
        }
        if let Some(metric) = self.metric {
            push(RouteAttribute::Priority(metric));
        }
        if let Some(index) = index {
            push(RouteAttribute::Oif(index));
        }
        if let Some(gateway) = self.gateway {
            push(RouteAttribute::Gateway(gateway.into()));
        }
        if let Some(source) = self.source {
            push(RouteAttribute::PrefSource(source.into()));
        }
        message
    }
}

impl fmt::Display for Route {
    /// As `ip route` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RouteKind::Unicast => {}
            RouteKind::Blackhole => f.write_str("blackhole ")?,
            RouteKind::Unreachable => f.write_str("unreachable ")?,
        }
        write!(f, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(interface) = &self.interface {
            write!(f, " dev {interface}")?;
        }
        write!(f, " table {} proto {}", self.table, self.protocol)
    }
}

pub(super) async fn list(
    netlink: &Netlink,
    interfaces: &[Interface],
    family: Family,
    table: Option<u32>,
    wanted: impl Fn(&Route) -> bool,
) -> Result<Vec<Route>> {
    let name = |index: u32| {
        let found = interfaces.iter().find(|interface| interface.index == index);
        found.map(|interface| interface.name.clone())
    };
    let listed = netlink
        .dump(
            "list routes",
            || {
                let mut message = RouteMessage::default();
                message.header.address_family = family.raw();
                message.attributes.extend(table.map(RouteAttribute::Table));
                RouteNetlinkMessage::GetRoute(message)
            },
            |message| match message {
                RouteNetlinkMessage::NewRoute(message) => {
                    let mut routes = from_message(&message, name);
                    routes.retain(&wanted);
                    (!routes.is_empty()).then_some(routes)
                }
                _ => None,
            },
        )
        .await;
    match listed {
        Ok(nested) => Ok(nested.into_iter().flatten().collect()),
        // A table that nobody has put anything into does not exist.
        Err(error) if table.is_some() && error.errno() == Some(libc::ENOENT) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

pub(super) async fn interface_beside(netlink: &Netlink, to: IpAddr) -> Result<Option<String>> {
    let mut message = RouteMessage::default();
    message.header.address_family = Family::of(to).raw();
    message.header.destination_prefix_length = if to.is_ipv4() { 32 } else { 128 };
    message.attributes.push(RouteAttribute::Destination(to.into()));
    let request = RouteNetlinkMessage::GetRoute(message);
    let found = netlink
        .ask(&format!("find the route to {to}"), request, |message| match message {
            RouteNetlinkMessage::NewRoute(route) if is_direct(&route.attributes, to) => {
                oif(&route.attributes)
            }
            _ => None,
        })
        .await;
    let index = match found {
        Ok(Some(index)) => index,
        Ok(None) => return Ok(None),
        Err(error) if error.errno().is_some_and(|errno| NO_ROUTE.contains(&errno)) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let interfaces = netlink.interfaces().await?;
    Ok(interfaces.into_iter().find(|interface| interface.index == index).map(|found| found.name))
}

/// What a missing route is called, and one that refuses, prohibits or swallows packets.
const NO_ROUTE: [i32; 5] =
    [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::ESRCH, libc::EACCES, libc::EINVAL];

/// The routes in a message: one for each next hop, none of a kind that we don't know.
pub(super) fn from_message(
    message: &RouteMessage,
    name: impl Fn(u32) -> Option<String>,
) -> Vec<Route> {
    let Some(family) = Family::from_raw(message.header.address_family) else { return Vec::new() };
    let kind = match message.header.kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        _ => return Vec::new(),
    };
    let mut route = Route {
        destination: family.default_net(),
        kind,
        table: message.header.table.into(),
        metric: None,
        interface: None,
        gateway: None,
        source: None,
        on_link: message.header.flags.contains(RouteFlags::Onlink),
        protocol: message.header.protocol.into(),
    };
    let mut hops = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Destination(address) => {
                let length = message.header.destination_prefix_length;
                let net = ip(address).and_then(|ip| IpNet::new(ip, length).ok());
                let Some(net) = net else { return Vec::new() };
                route.destination = net;
            }
            RouteAttribute::Priority(metric) => route.metric = Some(*metric),
            RouteAttribute::Oif(index) => route.interface = name(*index),
            RouteAttribute::Gateway(address) => route.gateway = ip(address),
            RouteAttribute::PrefSource(address) => route.source = ip(address),
            RouteAttribute::MultiPath(next_hops) => hops.extend(next_hops),
            _ => {}
        }
    }
    if hops.is_empty() {
        return vec![route];
    }
    hops.iter()
        .map(|hop| {
            let gateway = hop.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Gateway(address) => ip(address),
                _ => None,
            });
            Route { interface: name(hop.interface_index), gateway, ..route.clone() }
        })
        .collect()
}

/// Whether the message is about a default route that somebody else has made, in whatever table,
/// without a list of interfaces.
pub(super) fn foreign_default(message: &RouteMessage) -> Option<(Family, u32, Option<u32>)> {
    let family = Family::from_raw(message.header.address_family)?;
    let is_default = message.header.destination_prefix_length == 0
        && u8::from(message.header.protocol) != ROUTE_PROTOCOL
        && message.header.kind == RouteType::Unicast;
    // The header has eight bits for it.
    let table = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let table = table.unwrap_or(message.header.table.into());
    is_default.then(|| (family, table, oif(&message.attributes)))
}

/// Whether packets reach their destination without a router.
fn is_direct(attributes: &[RouteAttribute], to: IpAddr) -> bool {
    let routed = |it: &RouteAttribute| match it {
        // Of a router that is reached through itself, as on hosts without a prefix.
        RouteAttribute::Gateway(gateway) => ip(gateway) != Some(to),
        RouteAttribute::Via(_) => true,
        _ => false,
    };
    !attributes.iter().any(routed)
}

fn oif(attributes: &[RouteAttribute]) -> Option<u32> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_survives_the_way_through_a_message() {
        let routes = [
            Route::unreachable(Family::V6, 18_600),
            Route::to_interface("192.0.2.0/24".parse().unwrap(), "hawser0"),
            Route {
                gateway: "198.51.100.1".parse().ok(),
                source: "198.51.100.7".parse().ok(),
                on_link: true,
                table: 300,
                metric: Some(7),
                ..Route::to_interface(Family::V4.default_net(), "hawser0")
            },
        ];

        for route in routes {
            let index = route.interface.as_ref().map(|_| 9);
            let name = |index| (index == 9).then(|| "hawser0".to_owned());

            assert_eq!(from_message(&route.to_message(index), name), [route]);
        }
    }
}
