//! Which session an inner packet belongs to, by its destination.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

/// Inner prefixes and the sessions behind them; the longest match decides.
#[derive(Debug, Default)]
pub(super) struct RouteTable {
    /// Prefixes by their length and network, for the lengths that occur.
    by_length: [Vec<u8>; 2],
    networks: HashMap<(u8, IpAddr), u32>,
}

impl RouteTable {
    pub(super) fn insert(&mut self, prefix: IpNet, slot: u32) {
        let (len, network) = (prefix.prefix_len(), prefix.network());
        self.networks.insert((len, network), slot);
        let lengths = &mut self.by_length[usize::from(network.is_ipv6())];
        if !lengths.contains(&len) {
            lengths.push(len);
            lengths.sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    /// Forgets everything that leads to a session.
    pub(super) fn remove(&mut self, slot: u32) {
        self.networks.retain(|_, owner| *owner != slot);
    }

    /// The session for a packet, read off its IP header.
    pub(super) fn find(&self, packet: &[u8]) -> Option<u32> {
        let destination = match packet.first()? >> 4 {
            4 => IpAddr::from(*packet.get(16..)?.first_chunk::<4>()?),
            6 => IpAddr::from(*packet.get(24..)?.first_chunk::<16>()?),
            _ => return None,
        };
        self.by_length[usize::from(destination.is_ipv6())].iter().find_map(|&len| {
            let network = IpNet::new(destination, len).ok()?.network();
            self.networks.get(&(len, network)).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides() {
        let mut table = RouteTable::default();
        table.insert("10.0.0.0/8".parse().expect("a prefix"), 1);
        table.insert("10.1.2.3/32".parse().expect("a prefix"), 2);
        table.insert("fd00::/64".parse().expect("a prefix"), 3);

        assert_eq!(table.find(&v4([10, 1, 2, 3])), Some(2));
        assert_eq!(table.find(&v4([10, 1, 2, 4])), Some(1));
        assert_eq!(table.find(&v4([11, 1, 2, 4])), None);
        let mut v6 = [0; 40];
        v6[0] = 0x60;
        v6[24..26].copy_from_slice(&[0xfd, 0]);
        assert_eq!(table.find(&v6), Some(3));
        table.remove(2);
        assert_eq!(table.find(&v4([10, 1, 2, 3])), Some(1));
    }

    #[test]
    fn what_is_no_packet_belongs_nowhere() {
        let table = RouteTable::default();
        assert_eq!(table.find(&[]), None);
        assert_eq!(table.find(&[0x45; 10]), None);
        assert_eq!(table.find(&[0x65; 30]), None);
    }

    fn v4(destination: [u8; 4]) -> [u8; 20] {
        let mut packet = [0; 20];
        packet[0] = 0x45;
        packet[16..].copy_from_slice(&destination);
        packet
    }
}
