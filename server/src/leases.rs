//! Inner addresses: who gets which.
//!
//! The server takes the first address of each pool. A client gets the lowest one that is free when
//! it is added, and keeps it until it is removed: its file says which.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use shared::config::Wrong;

/// Where inner addresses come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pools {
    /// The IPv4 pool.
    pub(crate) v4: Ipv4Net,
    /// The IPv6 pool, where there is IPv6 inside the tunnel.
    pub(crate) v6: Option<Ipv6Net>,
}

/// The inner addresses of one client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Lease {
    /// From the IPv4 pool.
    pub(crate) v4: Ipv4Addr,
    /// From the IPv6 pool, if there was one when the client was added.
    pub(crate) v6: Option<Ipv6Addr>,
}

impl Lease {
    /// The addresses, IPv4 first.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        [Some(IpAddr::V4(self.v4)), self.v6.map(IpAddr::V6)].into_iter().flatten()
    }
}

impl Pools {
    /// The pools, IPv4 first.
    pub(crate) fn networks(&self) -> impl Iterator<Item = IpNet> + use<> {
        [Some(IpNet::V4(self.v4)), self.v6.map(IpNet::V6)].into_iter().flatten()
    }

    /// The server's own address in each pool.
    pub(crate) fn server(&self) -> Lease {
        Lease { v4: first4(self.v4), v6: self.v6.map(first6) }
    }

    /// The lowest addresses that are not `taken`; `None` when a pool is used up.
    pub(crate) fn next_free(&self, taken: &BTreeSet<IpAddr>) -> Option<Lease> {
        let free = |address: &IpAddr| !taken.contains(address);
        // The set is finite, and so is the search: it ends at the first gap.
        let last4 = u32::from(self.v4.broadcast());
        let v4 = (u32::from(first4(self.v4)) + 1..last4)
            .map(Ipv4Addr::from)
            .find(|address| free(&IpAddr::V4(*address)))?;
        let Some(pool) = self.v6 else {
            return Some(Lease { v4, v6: None });
        };
        let v6 = (u128::from(first6(pool)) + 1..=u128::from(pool.broadcast()))
            .map(Ipv6Addr::from)
            .find(|address| free(&IpAddr::V6(*address)))?;
        Some(Lease { v4, v6: Some(v6) })
    }

    /// Whether a client may have this address.
    ///
    /// # Errors
    /// When it is outside the pools, or not for clients.
    pub(crate) fn judge(&self, address: IpAddr) -> Result<(), Wrong> {
        let Some(pool) = self.networks().find(|pool| pool.contains(&address)) else {
            let pools: Vec<String> = self.networks().map(|pool| pool.to_string()).collect();
            return Err(Wrong::new(format!("{address} is outside the pool"))
                .right(format!("write an address of {}", pools.join(" or "))));
        };
        let own = self.server().addresses().any(|own| own == address);
        let broadcast = address.is_ipv4() && address == pool.broadcast();
        if own || broadcast || address == pool.network() {
            let whose = if own { "the server's own address" } else { "not an address of a host" };
            return Err(Wrong::new(format!("{address} is {whose}"))
                .right(format!("write another address of {pool}")));
        }
        Ok(())
    }
}

/// A network that hosts may have addresses of.
///
/// # Errors
/// When it is everything, or lies in a range that stands for something else (RFC 6890).
pub(crate) fn of_hosts(network: IpNet) -> Result<IpNet, Wrong> {
    let first = network.network();
    let special = match first {
        IpAddr::V4(first) => first.is_link_local() || first.octets()[0] == 0,
        IpAddr::V6(first) => first.is_unicast_link_local(),
    };
    let special = special || first.is_multicast() || first.is_loopback() || first.is_unspecified();
    if special || network.prefix_len() == 0 {
        return Err(Wrong::new(format!("{network} is no network of hosts"))
            .right("write one of your own, such as \"10.77.0.0/16\" or \"fd77:7777::/64\""));
    }
    Ok(network)
}

/// A pool of IPv4 addresses.
///
/// # Errors
/// When it is no IPv4 network of hosts, or too small for a server and a client.
pub(crate) fn pool4(network: IpNet) -> Result<Ipv4Net, Wrong> {
    match of_hosts(network)? {
        IpNet::V4(network) if network.prefix_len() <= POOL4_LEN_MAX => Ok(network),
        IpNet::V4(network) => Err(Wrong::new(format!("{network} has no room for clients"))
            .right(format!("write a prefix length up to {POOL4_LEN_MAX}"))),
        IpNet::V6(_) => Err(Wrong::new(format!("{network} is IPv6"))
            .right("write an IPv4 network such as \"10.77.0.0/16\"; IPv6 is `pool6`")),
    }
}

/// A pool of IPv6 addresses.
///
/// # Errors
/// When it is no IPv6 network of hosts, or too small for a server and a client.
pub(crate) fn pool6(network: IpNet) -> Result<Ipv6Net, Wrong> {
    match of_hosts(network)? {
        IpNet::V6(network) if network.prefix_len() <= POOL6_LEN_MAX => Ok(network),
        IpNet::V6(network) => Err(Wrong::new(format!("{network} has no room for clients"))
            .right(format!("write a prefix length up to {POOL6_LEN_MAX}"))),
        IpNet::V4(_) => Err(Wrong::new(format!("{network} is IPv4"))
            .right("write an IPv6 network such as \"fd77::/64\"; IPv4 is `pool`")),
    }
}

/// The smallest pools with an address for the server and one for a client.
const POOL4_LEN_MAX: u8 = 30;
const POOL6_LEN_MAX: u8 = 126;

fn first4(pool: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(pool.network()) + 1)
}

fn first6(pool: Ipv6Net) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(pool.network()) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_has_the_first_address_and_clients_the_next() {
        let pools = pools("10.77.0.0/29", Some("fd77::/64"));
        let mut taken = BTreeSet::new();

        assert_eq!(shown(pools.server()), ["10.77.0.1", "fd77::1"]);
        let first = pools.next_free(&taken).unwrap();
        assert_eq!(shown(first), ["10.77.0.2", "fd77::2"]);
        taken.extend(first.addresses());
        taken.insert("10.77.0.4".parse().unwrap());
        let second = pools.next_free(&taken).unwrap();
        assert_eq!(shown(second), ["10.77.0.3", "fd77::3"]);
    }

    #[test]
    fn a_pool_ends() {
        let pools = pools("10.77.0.0/30", None);

        let only = pools.next_free(&BTreeSet::new()).unwrap();

        assert_eq!(shown(only), ["10.77.0.2"]);
        assert_eq!(pools.next_free(&only.addresses().collect()), None);
    }

    #[test]
    fn the_ends_of_all_address_space_are_no_trap() {
        let pools =
            pools("255.255.255.252/30", Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126"));

        let only = pools.next_free(&BTreeSet::new()).unwrap();

        assert_eq!(only.v4, "255.255.255.254".parse::<Ipv4Addr>().unwrap());
    }

    #[test]
    fn addresses_that_are_not_for_clients_are_refused() {
        let pools = pools("10.77.0.0/29", Some("fd77::/64"));

        for bad in
            ["10.77.0.0", "10.77.0.1", "10.77.0.7", "10.77.0.8", "fd77::", "fd77::1", "fd78::2"]
        {
            assert!(pools.judge(bad.parse().unwrap()).is_err(), "{bad}");
        }
        for good in ["10.77.0.2", "10.77.0.6", "fd77::2", "fd77::ffff:ffff:ffff:ffff"] {
            assert_eq!(pools.judge(good.parse().unwrap()), Ok(()));
        }
    }

    #[test]
    fn a_pool_has_its_family_and_room() {
        assert!(pool4("10.0.0.0/31".parse().unwrap()).is_err());
        assert!(pool4("fd00::/64".parse().unwrap()).is_err());
        assert!(pool6("fd00::/127".parse().unwrap()).is_err());
        assert!(pool6("10.0.0.0/8".parse().unwrap()).is_err());
    }

    fn pools(v4: &str, v6: Option<&str>) -> Pools {
        Pools { v4: v4.parse().unwrap(), v6: v6.map(|v6| v6.parse().unwrap()) }
    }

    fn shown(lease: Lease) -> Vec<String> {
        lease.addresses().map(|address| address.to_string()).collect()
    }
}
