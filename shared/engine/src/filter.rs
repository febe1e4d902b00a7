//! Which inner packets a peer may send us.
//!
//! The server takes from a client only what comes from the client's own addresses; the client
//! takes only what goes to its own. Everything else is refused and counted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::packet::Headers;

/// Addresses with a common beginning.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

impl Prefix {
    /// The prefix of `len` bits. `None` if the address has not that many.
    pub fn new(address: IpAddr, len: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (len <= bits).then_some(Self { address, len })
    }

    /// An address in the prefix.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits of it count.
    pub fn bits(&self) -> u8 {
        self.len
    }

    /// Whether `address` lies in the prefix.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differing = u32::from(ours) ^ u32::from(theirs);
                differing.checked_shr(32 - u32::from(self.len)).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differing = u128::from(ours) ^ u128::from(theirs);
                differing.checked_shr(128 - u32::from(self.len)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// What may come in from the peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Filter {
    /// Packets to these prefixes: a client's rule.
    Destinations(Vec<Prefix>),
    /// Packets from these prefixes, but to none of the addresses that follow: a server's rule.
    Sources {
        /// The client's lease and its registered prefixes.
        allowed: Vec<Prefix>,
        /// Where no client may send: addresses of other clients, for instance.
        forbidden: Vec<Prefix>,
        /// Where it may all the same: the server's own addresses.
        exempt: Vec<Prefix>,
    },
}

impl Filter {
    /// Whether a packet with these headers may come in.
    pub(crate) fn admits(&self, headers: &Headers) -> bool {
        let within = |prefixes: &[Prefix], address| prefixes.iter().any(|p| p.contains(address));
        if is_martian(headers.source) || is_martian(headers.destination) {
            return false;
        }
        match self {
            Self::Destinations(ours) => within(ours, headers.destination),
            Self::Sources { allowed, forbidden, exempt } => {
                within(allowed, headers.source)
                    && (!within(forbidden, headers.destination)
                        || within(exempt, headers.destination))
            }
        }
    }
}

/// Addresses that never stand in a packet between hosts (RFC 6890): unspecified, loopback,
/// multicast, broadcast, link-local, IPv4 mapped into IPv6.
fn is_martian(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.octets()[0] == 0
                || address.is_loopback()
                || address.is_multicast()
                || address.is_link_local()
                || address == Ipv4Addr::BROADCAST
        }
        IpAddr::V6(address) => {
            address == Ipv6Addr::UNSPECIFIED
                || address.is_loopback()
                || address.is_multicast()
                || address.is_unicast_link_local()
                || address.to_ipv4_mapped().is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_sends_only_from_its_own_addresses() {
        let filter = Filter::Sources {
            allowed: vec![prefix("10.0.0.2", 32), prefix("192.168.7.0", 24)],
            forbidden: vec![prefix("10.0.0.0", 24)],
            exempt: vec![prefix("10.0.0.1", 32)],
        };

        assert!(filter.admits(&headers("10.0.0.2", "1.1.1.1")));
        assert!(filter.admits(&headers("192.168.7.9", "1.1.1.1")));
        assert!(filter.admits(&headers("10.0.0.2", "10.0.0.1")));
        assert!(!filter.admits(&headers("10.0.0.3", "1.1.1.1")));
        assert!(!filter.admits(&headers("10.0.0.1", "1.1.1.1")));
        assert!(!filter.admits(&headers("10.0.0.2", "10.0.0.3")));
        assert!(!filter.admits(&headers("10.0.0.2", "224.0.0.1")));
        assert!(!filter.admits(&headers("10.0.0.2", "127.0.0.1")));
    }

    #[test]
    fn a_client_takes_only_what_is_addressed_to_it() {
        let filter = Filter::Destinations(vec![prefix("fd00::2", 128)]);

        assert!(filter.admits(&headers("2001:db8::1", "fd00::2")));
        assert!(!filter.admits(&headers("2001:db8::1", "fd00::3")));
        assert!(!filter.admits(&headers("ff02::1", "fd00::2")));
    }

    #[test]
    fn prefixes_of_no_bits_and_of_all_bits_hold() {
        assert!(prefix("0.0.0.0", 0).contains("9.9.9.9".parse().expect("an address")));
        assert!(!prefix("0.0.0.0", 0).contains("::1".parse().expect("an address")));
        assert!(prefix("::", 0).contains("2001:db8::1".parse().expect("an address")));
        assert!(Prefix::new("10.0.0.0".parse().expect("an address"), 33).is_none());
    }

    fn prefix(address: &str, len: u8) -> Prefix {
        Prefix::new(address.parse().expect("an address"), len).expect("a prefix")
    }

    fn headers(source: &str, destination: &str) -> Headers {
        Headers {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            protocol: 17,
            dscp: 0,
            transport: 20,
            len: 28,
            ports: 0,
            fragment: false,
            unbreakable: true,
            accepts: false,
        }
    }
}
