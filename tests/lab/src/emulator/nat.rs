//! A NAT between a client and its link.
//!
//! Mapping and filtering are endpoint-independent (RFC 4787, sections 4.1 and 5): each inner
//! address and port gets one outer port, and whoever writes to the outer port reaches it. To
//! rebind is to forget all mappings, as a NAT does when it restarts or a mapping times out.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::packet::{End, Headers, Transport};

/// The translation of one link.
#[derive(Debug)]
pub(super) struct Nat {
    /// Its outer addresses, IPv4 and IPv6.
    outer: [IpAddr; 2],
    outward: BTreeMap<Inner, u16>,
    inward: BTreeMap<(Transport, u16), Inner>,
    next_port: u16,
    /// Packets to the client that fitted no mapping.
    pub(super) packets_refused: u64,
}

impl Nat {
    pub(super) fn new(outer: [IpAddr; 2]) -> Self {
        Self {
            outer,
            outward: BTreeMap::new(),
            inward: BTreeMap::new(),
            next_port: FIRST_PORT,
            packets_refused: 0,
        }
    }

    /// Forgets every mapping; the next packet of each gets a port that none had before.
    pub(super) fn rebind(&mut self) {
        self.outward.clear();
        self.inward.clear();
    }

    /// Rewrites a packet that leaves the client. Returns whether it may pass.
    #[must_use]
    pub(super) fn translate_outward(&mut self, packet: &mut [u8]) -> bool {
        let Some((headers, transport, port)) = ports(packet, End::Source) else { return false };
        let inner = Inner { transport, address: headers.source, port };
        let Some(outer_port) = self.map(inner) else { return false };
        let outer = self.outer[usize::from(headers.source.is_ipv6())];
        headers.rewrite(packet, End::Source, outer, Some(outer_port));
        true
    }

    /// Rewrites a packet that reaches the client. Returns whether it may pass.
    #[must_use]
    pub(super) fn translate_inward(&mut self, packet: &mut [u8]) -> bool {
        // Routers' and groups' messages have no port; they end here and are nobody's loss.
        let Some((headers, transport, port)) = ports(packet, End::Destination) else {
            return false;
        };
        let fits = |inner: &&Inner| {
            headers.destination.is_ipv4() == inner.address.is_ipv4()
                && self.outer.contains(&headers.destination)
        };
        let Some(inner) = self.inward.get(&(transport, port)).filter(fits) else {
            self.packets_refused += 1;
            return false;
        };
        headers.rewrite(packet, End::Destination, inner.address, Some(inner.port));
        true
    }

    fn map(&mut self, inner: Inner) -> Option<u16> {
        if let Some(port) = self.outward.get(&inner) {
            return Some(*port);
        }
        if self.outward.len() >= MAPPINGS_MAX {
            return None;
        }
        let port = self.next_port;
        self.next_port = if port == u16::MAX { FIRST_PORT } else { port + 1 };
        self.outward.insert(inner, port);
        self.inward.insert((inner.transport, port), inner);
        Some(port)
    }
}

/// What a mapping stands for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Inner {
    transport: Transport,
    address: IpAddr,
    port: u16,
}

fn ports(packet: &[u8], end: End) -> Option<(Headers, Transport, u16)> {
    let headers = Headers::parse(packet)?;
    Some((headers, headers.transport?, headers.port(packet, end)?))
}

/// Mappings of a NAT at most.
const MAPPINGS_MAX: usize = 4096;
/// Outer ports start here, above those that servers use.
const FIRST_PORT: u16 = 20_000;

#[cfg(test)]
mod tests {
    use super::super::packet::tests::udp;
    use super::*;

    #[test]
    fn an_answer_finds_its_way_back_until_the_nat_rebinds() {
        let [inside, outside, server] = addresses();
        let mut nat = Nat::new([outside, "fd71::3".parse().unwrap()]);
        let mut question = udp(inside, server, 5000, 4500, b"?");

        assert!(nat.translate_outward(&mut question));
        assert_eq!(question, udp(outside, server, 20_000, 4500, b"?"));
        let mut answer = udp(server, outside, 4500, 20_000, b"!");
        let mut first = answer.clone();
        assert!(nat.translate_inward(&mut first));
        assert_eq!(first, udp(server, inside, 4500, 5000, b"!"));
        nat.rebind();

        assert!(!nat.translate_inward(&mut answer));
        let mut question = udp(inside, server, 5000, 4500, b"?");
        assert!(nat.translate_outward(&mut question));
        assert_eq!(question, udp(outside, server, 20_001, 4500, b"?"));
        assert_eq!(nat.packets_refused, 1);
    }

    #[test]
    fn the_table_of_mappings_is_bounded() {
        let [inside, outside, server] = addresses();
        let mut nat = Nat::new([outside, "fd71::3".parse().unwrap()]);

        let passed = (1..=5000)
            .filter(|port| nat.translate_outward(&mut udp(inside, server, *port, 4500, b"")))
            .count();

        assert_eq!(passed, MAPPINGS_MAX);
    }

    // Helpers.

    fn addresses() -> [IpAddr; 3] {
        ["10.71.0.1", "10.71.0.3", "10.70.0.1"].map(|text| text.parse().unwrap())
    }
}
