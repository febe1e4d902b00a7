//! Where an uplink stands: on which interface, with which addresses and next hops.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;
use shared::host::{Carrier, DefaultLink, Family, Interface, Netlink, Route};
use tracing::debug;

use super::nat::is_plain_interface;
use crate::uplink_config::UplinkConfig;

/// The host's interfaces and default routes at one moment.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) interfaces: Vec<Interface>,
    /// By table, the main one among them.
    pub(super) default_links: BTreeMap<u32, Vec<DefaultLink>>,
    /// The interface on whose wire the gateway is, for uplinks configured without an interface.
    toward: BTreeMap<IpAddr, String>,
}

/// Where an uplink stands at this moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Standing {
    pub(super) interface: String,
    pub(super) index: u32,
    pub(super) carrier: Carrier,
    /// Addresses of the host on the interface, as prefixes of one address.
    pub(super) addresses: Vec<IpNet>,
    /// What leads out; a family that isn't here has no way.
    pub(super) next_hops: BTreeMap<Family, NextHop>,
}

/// A way out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct NextHop {
    /// None on a point-to-point interface.
    pub(super) gateway: Option<IpAddr>,
    /// The address that probes come from.
    pub(super) source: IpAddr,
    pub(super) on_link: bool,
}

impl Surroundings {
    pub(super) async fn look(
        netlink: &Netlink,
        uplinks: impl Iterator<Item = &UplinkConfig>,
    ) -> Result<Self> {
        let mut toward = BTreeMap::new();
        let main = netlink.default_links().await?;
        let mut default_links = BTreeMap::from([(Route::MAIN, main)]);
        for uplink in uplinks {
            if let Entry::Vacant(entry) = default_links.entry(table(uplink)) {
                entry.insert(netlink.default_links_of(table(uplink)).await?);
            }
            if uplink.interface.is_some() {
                continue;
            }
            let Some(gateway) = uplink.gateways.first() else { continue };
            match netlink.interface_beside(*gateway).await {
                Ok(Some(interface)) => {
                    toward.insert(*gateway, interface);
                }
                Ok(None) => {}
                // One uplink without a way is no reason to overlook the others.
                Err(error) => debug!(uplink = uplink.name, %error, "its gateway can't be found"),
            }
        }
        Ok(Self { interfaces: netlink.interfaces().await?, default_links, toward })
    }

    /// These interfaces were lost after somebody looked.
    pub(super) fn lose<'a>(&mut self, lost: impl Iterator<Item = &'a String>) {
        for name in lost {
            for interface in self.interfaces.iter_mut().filter(|it| it.name == *name) {
                interface.carrier = Carrier::Down;
            }
        }
    }

    /// Where an uplink stands; none while its interface doesn't exist.
    pub(super) fn standing(&self, uplink: &UplinkConfig) -> Option<Standing> {
        let name = match (&uplink.interface, uplink.table) {
            (Some(name), _) => name,
            // The best of its ways; a second one is an uplink of its own.
            (None, Some(table)) => &self.default_links.get(&table)?.first()?.interface,
            (None, None) => self.toward.get(uplink.gateways.first()?)?,
        };
        let interface = self.interfaces.iter().find(|interface| interface.name == *name)?;
        if !is_plain_interface(&interface.name) {
            return None;
        }
        let mut next_hops = BTreeMap::new();
        for family in Family::ALL {
            if let Some(next_hop) = self.next_hop(uplink, interface, family) {
                next_hops.insert(family, next_hop);
            }
        }
        let addresses = interface.addresses.iter().map(|net| IpNet::from(net.addr()));
        Some(Standing {
            interface: interface.name.clone(),
            index: interface.index,
            carrier: interface.carrier,
            addresses: addresses.take(ADDRESSES_MAX).collect(),
            next_hops,
        })
    }

    fn next_hop(
        &self,
        uplink: &UplinkConfig,
        interface: &Interface,
        family: Family,
    ) -> Option<NextHop> {
        if interface.carrier == Carrier::Down {
            return None;
        }
        let configured = uplink.gateways.iter().find(|gateway| Family::of(**gateway) == family);
        if let Some(gateway) = configured {
            // Whoever names a gateway knows that it is there, even where no prefix says so.
            let source = interface.source_toward(family, Some(*gateway))?;
            return Some(NextHop { gateway: Some(*gateway), source, on_link: true });
        }
        if uplink.interface.is_none() && uplink.table.is_none() {
            return None;
        }
        let link = self
            .default_links
            .get(&table(uplink))?
            .iter()
            .find(|link| link.interface == interface.name)?;
        let learnt = link.of(family)?;
        Some(NextHop { gateway: learnt.address, source: learnt.source?, on_link: learnt.on_link })
    }
}

/// Where the default routes of an uplink stand.
fn table(uplink: &UplinkConfig) -> u32 {
    uplink.table.unwrap_or(Route::MAIN)
}

/// Addresses of one uplink that get rules of their own.
const ADDRESSES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use shared::host::Gateway;

    use super::*;

    #[test]
    fn a_configured_gateway_beats_the_learnt_one() {
        let standing = around().standing(&uplink(Some("wan1"), &["192.0.2.9"])).unwrap();

        let hop = &standing.next_hops[&Family::V4];
        assert_eq!(hop.gateway, "192.0.2.9".parse().ok());
        assert_eq!(hop.source, "192.0.2.7".parse::<IpAddr>().unwrap());
        assert_eq!(standing.next_hops[&Family::V6].gateway, "fe80::1".parse().ok(), "learnt");
    }

    #[test]
    fn an_interface_alone_takes_its_own_default_routes() {
        let standing = around().standing(&uplink(Some("wan1"), &[])).unwrap();

        assert_eq!(standing.next_hops[&Family::V4].gateway, "192.0.2.1".parse().ok());
    }

    #[test]
    fn a_gateway_alone_finds_its_interface_and_has_one_family() {
        let standing = around().standing(&uplink(None, &["192.0.2.1"])).unwrap();

        assert_eq!(standing.interface, "wan1");
        assert_eq!(standing.next_hops.keys().collect::<Vec<_>>(), [&Family::V4]);
    }

    #[test]
    fn a_table_has_ways_of_its_own_and_finds_its_interface() {
        let of = |table, interface| {
            let uplink = UplinkConfig { table: Some(table), ..uplink(interface, &[]) };
            around().standing(&uplink)
        };

        for interface in [None, Some("wan1")] {
            let standing = of(201, interface).unwrap();
            assert_eq!(standing.interface, "wan1");
            assert_eq!(standing.next_hops[&Family::V4].gateway, "192.0.2.3".parse().ok());
            assert_eq!(standing.next_hops.len(), 1, "not that of the main table");
        }
        assert_eq!(of(202, None), None, "it is empty");
        assert!(of(202, Some("wan1")).unwrap().next_hops.is_empty());
    }

    #[test]
    fn without_a_carrier_there_is_no_way() {
        let mut around = around();
        around.interfaces[0].carrier = Carrier::Down;

        let standing = around.standing(&uplink(Some("wan1"), &["192.0.2.9"])).unwrap();

        assert!(standing.next_hops.is_empty());
    }

    #[test]
    fn what_was_lost_after_somebody_looked_has_no_way() {
        let mut around = around();

        around.lose(["wan1".to_owned(), "wan9".to_owned()].iter());

        let standing = around.standing(&uplink(Some("wan1"), &[])).unwrap();
        assert_eq!(standing.carrier, Carrier::Down);
        assert!(standing.next_hops.is_empty());
    }

    #[test]
    fn an_interface_that_is_not_there_is_no_standing() {
        assert_eq!(around().standing(&uplink(Some("wan9"), &[])), None);
        assert_eq!(around().standing(&uplink(None, &["198.51.100.1"])), None);
        assert_eq!(around().standing(&uplink(None, &[])), None);
    }

    fn around() -> Surroundings {
        let interface = Interface {
            index: 2,
            name: "wan1".to_owned(),
            carrier: Carrier::Up,
            loopback: false,
            mtu: 1500,
            addresses: ["192.0.2.7/24", "2001:db8::7/64"].map(|net| net.parse().unwrap()).to_vec(),
        };
        let gateway = |address: &str, source: &str| Gateway {
            address: address.parse().ok(),
            source: source.parse().ok(),
            metric: 0,
            on_link: false,
            protocol: 4,
        };
        let link = DefaultLink {
            interface: "wan1".to_owned(),
            index: 2,
            carrier: Carrier::Up,
            v4: Some(gateway("192.0.2.1", "192.0.2.7")),
            v6: Some(gateway("fe80::1", "2001:db8::7")),
        };
        let other =
            DefaultLink { v4: Some(gateway("192.0.2.3", "192.0.2.7")), v6: None, ..link.clone() };
        Surroundings {
            interfaces: vec![interface],
            default_links: BTreeMap::from([(Route::MAIN, vec![link]), (201, vec![other])]),
            toward: BTreeMap::from([("192.0.2.1".parse().unwrap(), "wan1".to_owned())]),
        }
    }

    fn uplink(interface: Option<&str>, gateways: &[&str]) -> UplinkConfig {
        UplinkConfig {
            interface: interface.map(str::to_owned),
            gateways: gateways.iter().map(|gateway| gateway.parse().unwrap()).collect(),
            ..UplinkConfig::new("a")
        }
    }
}
