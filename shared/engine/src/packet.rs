//! Inner packets: what the engine reads of an IP packet's headers.

use std::{
    hash::{BuildHasher, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::checksum;

/// TCP's protocol number.
pub(crate) const TCP: u8 = 6;
/// UDP's protocol number.
pub(crate) const UDP: u8 = 17;
/// ICMP's protocol number.
pub(crate) const ICMP: u8 = 1;
/// ICMPv6's protocol number.
pub(crate) const ICMPV6: u8 = 58;

/// The longest inner packet: an IPv6 header and the largest payload it can state.
pub const PACKET_MAX: usize = 40 + 65_535;

/// What the headers of an inner packet say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Headers {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    /// The differentiated services code point, below 64 (RFC 2474).
    pub(crate) dscp: u8,
    /// Where the transport header begins.
    pub(crate) transport: usize,
    /// The packet's length as its IP header states it.
    pub(crate) len: usize,
    /// Source and destination port in a row; zero where there are none, and in fragments.
    pub(crate) ports: u32,
    /// Whether the packet is a part of a larger one.
    pub(crate) fragment: bool,
    /// Whether a router may not break the packet up (always so in IPv6).
    pub(crate) unbreakable: bool,
    /// Whether it is TCP's answer to who wants to connect: SYN and ACK.
    pub(crate) accepts: bool,
}

impl Headers {
    /// Reads the headers. `None` if `packet` is no well-formed IP packet.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::parse_v4(packet),
            6 => Self::parse_v6(packet),
            _ => None,
        }
    }

    fn parse_v4(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; 20] = packet.first_chunk()?;
        let transport = usize::from(fixed[0] & 0xf) * 4;
        let len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if transport < 20 || len < transport || len > packet.len() {
            return None;
        }
        let word = u16::from_be_bytes([fixed[6], fixed[7]]);
        let address = |at: usize| {
            IpAddr::V4(Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]))
        };
        Some(
            Self {
                source: address(12),
                destination: address(16),
                protocol: fixed[9],
                dscp: fixed[1] >> 2,
                transport,
                len,
                ports: 0,
                fragment: word & 0x3fff != 0,
                unbreakable: word & 0x4000 != 0,
                accepts: false,
            }
            .with_ports(packet),
        )
    }

    fn parse_v6(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; 40] = packet.first_chunk()?;
        let len = 40 + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        if len > packet.len() {
            return None;
        }
        let address = |at: usize| {
            let bytes: [u8; 16] = fixed[at..at + 16].try_into().expect("sixteen bytes");
            IpAddr::V6(Ipv6Addr::from(bytes))
        };
        let (protocol, transport, fragment) = skip_extensions(&packet[..len], fixed[6])?;
        Some(
            Self {
                source: address(8),
                destination: address(24),
                protocol,
                dscp: (fixed[0] & 0xf) << 2 | fixed[1] >> 6,
                transport,
                len,
                ports: 0,
                fragment,
                unbreakable: true,
                accepts: false,
            }
            .with_ports(packet),
        )
    }

    fn with_ports(mut self, packet: &[u8]) -> Self {
        // SCTP (132), DCCP (33) and UDP-Lite (136) have their ports in the same place.
        if !self.fragment
            && matches!(self.protocol, TCP | UDP | 33 | 132 | 136)
            && let Some(ports) = packet[self.transport..self.len].first_chunk::<4>()
        {
            self.ports = u32::from_be_bytes(*ports);
            let flags = packet[self.transport..self.len].get(13);
            self.accepts = self.protocol == TCP && flags.is_some_and(|it| it & 0x12 == 0x12);
        }
        self
    }

    /// The flow that the packet belongs to.
    pub(crate) fn flow(&self) -> FlowKey {
        FlowKey {
            source: wide(self.source),
            destination: wide(self.destination),
            ports: self.ports,
            protocol: self.protocol,
        }
    }
}

/// Packets with the same key keep their order. Fragments have no ports and form a flow of their own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FlowKey {
    source: [u8; 16],
    destination: [u8; 16],
    ports: u32,
    protocol: u8,
}

impl FlowKey {
    /// The address of the host at the client's end: packets of the server go there.
    pub(crate) fn host(&self, is_server: bool) -> [u8; 16] {
        if is_server { self.destination } else { self.source }
    }
}

impl std::hash::Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for bytes in [&self.source, &self.destination] {
            let value = u128::from_ne_bytes(*bytes);
            state.write_u64(value as u64);
            state.write_u64((value >> 64) as u64);
        }
        state.write_u64(u64::from(self.ports) << 8 | u64::from(self.protocol));
    }
}

/// Hashes flows under a secret seed: who chooses addresses and ports can't choose collisions.
#[derive(Clone, Debug)]
pub(crate) struct FlowHash(pub(crate) [u64; 2]);

impl BuildHasher for FlowHash {
    type Hasher = FoldHasher;

    fn build_hasher(&self) -> FoldHasher {
        FoldHasher { state: self.0[0], key: self.0[1] }
    }
}

/// Multiplies to 128 bits and folds the halves together, word by word.
#[derive(Debug)]
pub(crate) struct FoldHasher {
    state: u64,
    key: u64,
}

impl Hasher for FoldHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_ne_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.key | 1);
        self.state = (product as u64) ^ ((product >> 64) as u64) ^ self.key.rotate_left(29);
    }

    fn finish(&self) -> u64 {
        let product = u128::from(self.state) * 0x9e37_79b9_7f4a_7c15;
        (product as u64) ^ ((product >> 64) as u64)
    }
}

/// The explicit congestion notification field of an IP packet (RFC 3168).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Ecn {
    /// The network does not mark.
    #[default]
    NotEct,
    /// Capable, with the second code point (L4S).
    Ect1,
    /// Capable.
    Ect0,
    /// Congestion was met.
    Ce,
}

impl Ecn {
    /// The field with these two bits.
    pub fn from_bits(bits: u8) -> Self {
        [Self::NotEct, Self::Ect1, Self::Ect0, Self::Ce][usize::from(bits & 3)]
    }

    /// The two bits.
    pub fn bits(self) -> u8 {
        self as u8
    }

    /// The field of a well-formed inner packet.
    pub(crate) fn of(packet: &[u8]) -> Self {
        match packet {
            [first, second, ..] if first >> 4 == 6 => Self::from_bits(second >> 4),
            [_, second, ..] => Self::from_bits(*second),
            _ => Self::NotEct,
        }
    }

    /// Marks a well-formed inner packet that is not marked yet as having met congestion.
    pub(crate) fn mark(packet: &mut [u8]) {
        if packet[0] >> 4 == 6 {
            packet[1] |= 0b11_0000;
            return;
        }
        let old = u16::from_be_bytes([packet[0], packet[1]]);
        packet[1] |= 0b11;
        let new = u16::from_be_bytes([packet[0], packet[1]]);
        let before = u16::from_be_bytes([packet[10], packet[11]]);
        packet[10..12].copy_from_slice(&checksum::adjust(before, old, new).to_be_bytes());
    }
}

/// Walks the extension headers. Gives the protocol, where its header begins, and whether the packet
/// is a fragment. `None` if a header reaches past the end.
fn skip_extensions(packet: &[u8], first: u8) -> Option<(u8, usize, bool)> {
    let (mut protocol, mut at, mut fragment) = (first, 40, false);
    for _ in 0..EXTENSIONS_MAX {
        let len = match protocol {
            // Hop-by-hop, routing, destination options (RFC 8200, 4.2-4.6), mobility.
            0 | 43 | 60 | 135 => (usize::from(*packet.get(at + 1)?) + 1) * 8,
            44 => {
                let word = u16::from_be_bytes([*packet.get(at + 2)?, *packet.get(at + 3)?]);
                fragment |= word & 0xfff9 != 0;
                8
            }
            51 => (usize::from(*packet.get(at + 1)?) + 2) * 4,
            _ => return Some((protocol, at, fragment)),
        };
        protocol = *packet.get(at)?;
        at += len;
        if at > packet.len() {
            return None;
        }
    }
    None
}

/// More extension headers than this are no packet that anyone needs.
const EXTENSIONS_MAX: usize = 8;

fn wide(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_parse_without_a_panic(mut bytes: Vec<u8>, v6: bool) {
            if let Some(first) = bytes.first_mut() {
                *first = if v6 { 0x60 } else { 0x40 | (*first & 0xf) };
            }
            if let Some(headers) = Headers::parse(&bytes) {
                prop_assert!(headers.transport <= headers.len && headers.len <= bytes.len());
            }
        }
    }

    #[test]
    fn fragments_of_one_packet_share_a_flow_without_ports() {
        let mut first = udp4();
        first[6] = 0x20;
        let mut second = first;
        second[7] = 9;
        second[20] = 0xff;

        let keys = [&first, &second].map(|p| Headers::parse(p).expect("well-formed").flow());

        assert_eq!(keys[0], keys[1]);
        assert_ne!(keys[0], Headers::parse(&udp4()).expect("well-formed").flow());
    }

    #[test]
    fn extension_headers_are_skipped() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 16, 60, 64];
        packet.extend([0; 32]);
        packet.extend([UDP, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend([0, 53, 0, 99, 0, 8, 0, 0]);

        let headers = Headers::parse(&packet).expect("well-formed");

        assert_eq!((headers.protocol, headers.transport, headers.ports), (UDP, 48, 53 << 16 | 99));
    }

    #[test]
    fn a_congestion_mark_keeps_the_header_checksum_right() {
        let mut packet = udp4();
        packet[1] = 0b10;
        let sum = checksum::finish(checksum::sum(&packet[..20]));
        packet[10..12].copy_from_slice(&sum.to_be_bytes());

        Ecn::mark(&mut packet);

        assert_eq!(Ecn::of(&packet), Ecn::Ce);
        assert_eq!(checksum::finish(checksum::sum(&packet[..20])), 0);
    }

    #[test]
    fn the_mark_is_read_beside_the_congestion_bits() {
        let mut v4 = udp4();
        v4[1] = 46 << 2 | 0b11;
        let mut v6 = vec![0x6b, 0xbf, 0, 0, 0, 0, 59, 64];
        v6.extend([0; 32]);

        assert_eq!([&v4[..], &v6].map(|p| Headers::parse(p).expect("well-formed").dscp), [46; 2]);
        assert_eq!([&v4[..], &v6].map(Ecn::of), [Ecn::Ce; 2]);
    }

    fn udp4() -> [u8; 28] {
        let mut packet = [0; 28];
        packet[0] = 0x45;
        packet[3] = 28;
        packet[9] = UDP;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet[20..24].copy_from_slice(&[0, 53, 0, 99]);
        packet
    }
}
