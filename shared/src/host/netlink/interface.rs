//! Interfaces and their addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

use super::{Family, Netlink};
use crate::host::Result;

/// Whether an interface can carry packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Carrier {
    /// Set up, and the layer below is there.
    Up,
    /// Set down, or the layer below is gone.
    Down,
}

/// One interface of the host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface {
    /// Its number, which a later interface of the same name doesn't share.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it carries packets.
    pub carrier: Carrier,
    /// Whether it is the loopback.
    pub loopback: bool,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Its addresses with their prefix lengths that other hosts may answer to (scope global, not
    /// tentative, not deprecated), in the kernel's order.
    pub addresses: Vec<IpNet>,
}

impl Interface {
    /// The address that packets to `gateway` should come from: one in the gateway's prefix, else
    /// the first of the family.
    pub fn source_toward(&self, family: Family, gateway: Option<IpAddr>) -> Option<IpAddr> {
        let of_family = || self.addresses.iter().filter(|net| Family::of_net(**net) == family);
        let beside =
            gateway.and_then(|gateway| of_family().find(|net| net.contains(&gateway)).copied());
        beside.or_else(|| of_family().next().copied()).map(|net| net.addr())
    }
}

pub(super) async fn list(netlink: &Netlink) -> Result<Vec<Interface>> {
    let mut interfaces = netlink
        .dump(
            "list interfaces",
            || RouteNetlinkMessage::GetLink(LinkMessage::default()),
            |message| match message {
                RouteNetlinkMessage::NewLink(link) => from_link(&link),
                _ => None,
            },
        )
        .await?;
    let addresses = netlink
        .dump(
            "list addresses",
            || RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            |message| match message {
                RouteNetlinkMessage::NewAddress(address) => global_address(&address),
                _ => None,
            },
        )
        .await?;
    interfaces.truncate(INTERFACES_MAX);
    interfaces.sort_by_key(|interface| interface.index);
    for (index, address, usable) in addresses {
        if usable == Usable::Yes
            && let Ok(at) = interfaces.binary_search_by_key(&index, |interface| interface.index)
            && interfaces[at].addresses.len() < ADDRESSES_MAX
        {
            interfaces[at].addresses.push(address);
        }
    }
    Ok(interfaces)
}

/// The index of the interface of this name; none when there is none.
pub(super) async fn index(netlink: &Netlink, name: &str) -> Result<Option<u32>> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let request = RouteNetlinkMessage::GetLink(message);
    let found = netlink
        .ask(&format!("find the interface {name}"), request, |message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(link.header.index),
            _ => None,
        })
        .await;
    match found {
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
        found => found,
    }
}

/// Without addresses: those come in messages of their own.
pub(super) fn from_link(message: &LinkMessage) -> Option<Interface> {
    let mut interface = Interface {
        index: message.header.index,
        name: String::new(),
        carrier: Carrier::Down,
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        mtu: 0,
        addresses: Vec::new(),
    };
    // Running is the operational state of RFC 2863: up, dormant layers excluded.
    if message.header.flags.contains(LinkFlags::Up | LinkFlags::Running) {
        interface.carrier = Carrier::Up;
    }
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            _ => {}
        }
    }
    (!interface.name.is_empty()).then_some(interface)
}

/// The address in a message of scope global: the index of its interface, and whether packets may
/// come from it.
pub(super) fn global_address(message: &AddressMessage) -> Option<(u32, IpNet, Usable)> {
    if message.header.scope != AddressScope::Universe {
        return None;
    }
    let mut address = None;
    let mut local = None;
    let mut usable = Usable::Yes;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Flags(flags) if flags.intersects(UNUSABLE) => usable = Usable::No,
            _ => {}
        }
    }
    // On a point-to-point interface "address" is the peer and "local" is ours.
    let net = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
    Some((message.header.index, net, usable))
}

/// Whether packets may come from an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Usable {
    Yes,
    /// Tentative, a duplicate, or deprecated.
    No,
}

pub(super) fn address_message(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = Family::of_net(address).raw();
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.attributes.push(AddressAttribute::Address(address.addr()));
    message.attributes.push(AddressAttribute::Local(address.addr()));
    match address {
        IpNet::V4(_) => {}
        // A TUN has no neighbours that could own the address too.
        IpNet::V6(_) => message.header.flags = AddressHeaderFlags::Nodad,
    }
    message
}

const UNUSABLE: AddressFlags =
    AddressFlags::Tentative.union(AddressFlags::Dadfailed).union(AddressFlags::Deprecated);

/// Interfaces that we look at: a host with more has them for containers, not for access.
pub(super) const INTERFACES_MAX: usize = 4096;
/// Addresses of one interface that we look at.
pub(super) const ADDRESSES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_the_address_beside_the_gateway() {
        let interface = Interface {
            index: 2,
            name: "wan".to_owned(),
            carrier: Carrier::Up,
            loopback: false,
            mtu: 1500,
            addresses: ["192.0.2.7/24", "198.51.100.7/24", "2001:db8::7/64"]
                .map(|net| net.parse().unwrap())
                .to_vec(),
        };
        let toward = |family, gateway: Option<&str>| {
            interface.source_toward(family, gateway.map(|gateway| gateway.parse().unwrap()))
        };

        assert_eq!(toward(Family::V4, Some("198.51.100.1")), "198.51.100.7".parse().ok());
        assert_eq!(toward(Family::V4, Some("203.0.113.1")), "192.0.2.7".parse().ok());
        assert_eq!(toward(Family::V6, Some("fe80::1")), "2001:db8::7".parse().ok());
        assert_eq!(toward(Family::V4, None), "192.0.2.7".parse().ok());
    }
}
