//! Inner packets: IPv4 and IPv6 that carry TCP or UDP, as a kernel hands them to a TUN device.

mod checksum;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What one read of a TUN device with offloads gives: a packet, or several in one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Packet {
    /// IP header, transport header, payload. The checksums are those of the packet as it stands.
    pub bytes: Vec<u8>,
    /// For a super-packet: how many bytes of payload each segment takes (the kernel's `gso_size`).
    pub segment_size: Option<u16>,
}

impl Packet {
    /// The packets of wire size that this one stands for: itself, or the segments of a TCP
    /// super-packet with their own lengths, sequence numbers, flags and checksums.
    pub fn into_segments(self) -> Vec<Vec<u8>> {
        let Some(size) = self.segment_size.map(usize::from).filter(|&size| size > 0) else {
            return vec![self.bytes];
        };
        match tcp_payload_start(&self.bytes) {
            Some(start) if self.bytes.len() > start + size => segments(&self.bytes, start, size),
            _ => vec![self.bytes],
        }
    }
}

impl From<Vec<u8>> for Packet {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, segment_size: None }
    }
}

/// Addresses and ports of a flow, as its local end sees them. Both are of one family.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct FourTuple {
    /// Where this end's packets come from.
    pub local: SocketAddr,
    /// Where they go to.
    pub remote: SocketAddr,
}

impl FourTuple {
    /// The same flow as the other end sees it.
    pub fn reversed(self) -> Self {
        Self { local: self.remote, remote: self.local }
    }

    /// Length of the IP header, bytes.
    pub fn header_len(&self) -> usize {
        if self.local.is_ipv4() { IPV4_LEN } else { IPV6_LEN }
    }
}

/// Transport protocols that the flows use, with their numbers from the registry of RFC 5237.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Protocol {
    /// RFC 9293.
    Tcp = 6,
    /// RFC 768.
    Udp = 17,
}

/// An IP packet taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Parsed<'a> {
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// What the transport header is.
    pub protocol: Protocol,
    /// The ECN field, RFC 3168.
    pub ecn: u8,
    /// Transport header and payload.
    pub transport: &'a [u8],
}

impl<'a> Parsed<'a> {
    /// Takes a packet apart; nothing unless it is a whole, unfragmented TCP or UDP packet whose
    /// lengths and checksums are right.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (source, destination, protocol, tos, transport) = match bytes.first()? >> 4 {
            4 => parse_ipv4(bytes)?,
            6 => parse_ipv6(bytes)?,
            _ => return None,
        };
        let protocol = match protocol {
            6 if transport.len() >= TCP_LEN => Protocol::Tcp,
            17 if transport.len() >= UDP_LEN => Protocol::Udp,
            _ => return None,
        };
        let port = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
        let parsed = Self {
            source: SocketAddr::new(source, port(0)),
            destination: SocketAddr::new(destination, port(2)),
            protocol,
            ecn: tos & 3,
            transport,
        };
        let pseudo = checksum::pseudo(source, destination, protocol, transport.len());
        (checksum::fold(pseudo + checksum::sum(transport)) == 0).then_some(parsed)
    }

    /// The flow as its receiver sees it.
    pub fn four_tuple(&self) -> FourTuple {
        FourTuple { local: self.destination, remote: self.source }
    }

    /// The payload of a UDP packet; nothing if its length field does not agree.
    pub fn udp_payload(&self) -> Option<&'a [u8]> {
        let length = u16::from_be_bytes([self.transport[4], self.transport[5]]);
        (self.protocol == Protocol::Udp && usize::from(length) == self.transport.len())
            .then(|| &self.transport[UDP_LEN..])
    }
}

/// Begins a packet: its IP header, with room for `transport_len` bytes that the caller pushes
/// before it calls [`finish`]. `identification` is that of IPv4, `ecn` the field of RFC 3168.
pub(crate) fn start(
    tuple: FourTuple,
    protocol: Protocol,
    ecn: u8,
    identification: u16,
    transport_len: usize,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(tuple.header_len() + transport_len);
    match (tuple.local.ip(), tuple.remote.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = (IPV4_LEN + transport_len) as u16;
            bytes.extend_from_slice(&[0x45, ecn]);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&identification.to_be_bytes());
            bytes.extend_from_slice(&[0x40, 0, HOP_LIMIT, protocol as u8, 0, 0]);
            bytes.extend_from_slice(&source.octets());
            bytes.extend_from_slice(&destination.octets());
            put_ipv4_checksum(&mut bytes);
        }
        (source, destination) => {
            bytes.extend_from_slice(&[0x60, ecn << 4, 0, 0]);
            bytes.extend_from_slice(&(transport_len as u16).to_be_bytes());
            bytes.extend_from_slice(&[protocol as u8, HOP_LIMIT]);
            bytes.extend_from_slice(&to_v6(source).octets());
            bytes.extend_from_slice(&to_v6(destination).octets());
        }
    }
    bytes
}

/// Ends a packet begun by [`start`]: writes the transport checksum, whose field must be zero.
pub(crate) fn finish(bytes: &mut [u8], tuple: FourTuple, protocol: Protocol) {
    let (source, destination) = (tuple.local.ip(), tuple.remote.ip());
    put_transport_checksum(&mut bytes[tuple.header_len()..], source, destination, protocol);
}

/// Builds a UDP packet. `ecn` is the field of RFC 3168, `identification` that of IPv4.
pub fn udp(tuple: FourTuple, ecn: u8, identification: u16, payload: &[u8]) -> Vec<u8> {
    let length = UDP_LEN + payload.len();
    let mut bytes = start(tuple, Protocol::Udp, ecn, identification, length);
    bytes.extend_from_slice(&tuple.local.port().to_be_bytes());
    bytes.extend_from_slice(&tuple.remote.port().to_be_bytes());
    bytes.extend_from_slice(&(length as u16).to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(payload);
    finish(&mut bytes, tuple, Protocol::Udp);
    bytes
}

/// Length of an IPv4 header without options, RFC 791.
pub const IPV4_LEN: usize = 20;
/// Length of an IPv6 header, RFC 8200.
pub const IPV6_LEN: usize = 40;
/// Length of a TCP header without options, RFC 9293.
pub const TCP_LEN: usize = 20;
/// Length of a UDP header, RFC 768.
pub const UDP_LEN: usize = 8;

/// The time to live of Linux's own packets.
const HOP_LIMIT: u8 = 64;

/// TCP's FIN and PSH flags, which only the last segment of a super-packet keeps.
const FLAGS_OF_LAST: u8 = 0x09;

type Split<'a> = (IpAddr, IpAddr, u8, u8, &'a [u8]);

fn parse_ipv4(bytes: &[u8]) -> Option<Split<'_>> {
    let header = bytes.first_chunk::<IPV4_LEN>()?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    let whole = header[0] == 0x45 && length == bytes.len() && fragment == 0;
    if !whole || checksum::fold(checksum::sum(header)) != 0 {
        return None;
    }
    let address = |at: usize| {
        IpAddr::V4(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]))
    };
    Some((address(12), address(16), header[9], header[1], &bytes[IPV4_LEN..]))
}

fn parse_ipv6(bytes: &[u8]) -> Option<Split<'_>> {
    let header = bytes.first_chunk::<IPV6_LEN>()?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if IPV6_LEN + length != bytes.len() {
        return None;
    }
    let address = |at: usize| {
        let octets: [u8; 16] = header[at..at + 16].try_into().expect("sixteen bytes were taken");
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let traffic_class = header[0] << 4 | header[1] >> 4;
    Some((address(8), address(24), header[6], traffic_class, &bytes[IPV6_LEN..]))
}

fn to_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn put_ipv4_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum::fold(checksum::sum(&header[..IPV4_LEN]));
    header[10..12].copy_from_slice(&sum.to_ne_bytes());
}

fn put_transport_checksum(
    transport: &mut [u8],
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
) {
    let pseudo = checksum::pseudo(source, destination, protocol, transport.len());
    let sum = checksum::fold(pseudo + checksum::sum(transport));
    let (at, sum) = match protocol {
        Protocol::Tcp => (16, sum),
        // RFC 768: an all-zero checksum would mean that there is none.
        Protocol::Udp => (6, if sum == 0 { 0xffff } else { sum }),
    };
    transport[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
}

/// Where the payload of a TCP packet begins.
fn tcp_payload_start(bytes: &[u8]) -> Option<usize> {
    let (header, protocol) = match bytes.first()? >> 4 {
        4 => (IPV4_LEN, *bytes.get(9)?),
        _ => (IPV6_LEN, *bytes.get(6)?),
    };
    let offset = usize::from(*bytes.get(header + 12)? >> 4) * 4;
    (protocol == Protocol::Tcp as u8 && offset >= TCP_LEN).then_some(header + offset)
}

fn segments(bytes: &[u8], start: usize, size: usize) -> Vec<Vec<u8>> {
    let (headers, payload) = bytes.split_at(start);
    let version = headers[0] >> 4;
    let ip_len = if version == 4 { IPV4_LEN } else { IPV6_LEN };
    let (source, destination) = addresses(headers);
    let sequence = u32::from_be_bytes(
        headers[ip_len + 4..ip_len + 8].try_into().expect("four bytes were taken"),
    );
    let count = payload.len().div_ceil(size);
    let segment = |(index, piece): (usize, &[u8])| {
        let mut segment = Vec::with_capacity(start + piece.len());
        segment.extend_from_slice(headers);
        segment.extend_from_slice(piece);
        if version == 4 {
            let identification = u16::from_be_bytes([headers[4], headers[5]]);
            let identification = identification.wrapping_add(index as u16);
            let length = segment.len() as u16;
            segment[2..4].copy_from_slice(&length.to_be_bytes());
            segment[4..6].copy_from_slice(&identification.to_be_bytes());
            put_ipv4_checksum(&mut segment);
        } else {
            let length = (segment.len() - IPV6_LEN) as u16;
            segment[4..6].copy_from_slice(&length.to_be_bytes());
        }
        let tcp = &mut segment[ip_len..];
        let sequence = sequence.wrapping_add((index * size) as u32);
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        if index + 1 < count {
            tcp[13] &= !FLAGS_OF_LAST;
        }
        tcp[16..18].fill(0);
        put_transport_checksum(tcp, source, destination, Protocol::Tcp);
        segment
    };
    payload.chunks(size).enumerate().map(segment).collect()
}

fn addresses(header: &[u8]) -> (IpAddr, IpAddr) {
    let split = if header[0] >> 4 == 4 { (12, 4) } else { (8, 16) };
    let address = |at: usize| match split.1 {
        4 => {
            let octets: [u8; 4] = header[at..at + 4].try_into().expect("four bytes were taken");
            IpAddr::from(octets)
        }
        _ => {
            let octets: [u8; 16] =
                header[at..at + 16].try_into().expect("sixteen bytes were taken");
            IpAddr::from(octets)
        }
    };
    (address(split.0), address(split.0 + split.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_udp_packet_parses_to_what_it_was_built_from() {
        for tuple in [tuple_v4(), tuple_v6()] {
            for length in [0, 1, 2, 1399, 1400] {
                let payload = crate::payload::at(7, length);

                let packet = udp(tuple, 2, 9, payload);
                let parsed = Parsed::parse(&packet).unwrap();

                assert_eq!(parsed.four_tuple(), tuple.reversed());
                assert_eq!(parsed.udp_payload(), Some(payload));
                assert_eq!(parsed.ecn, 2);
            }
        }
    }

    #[test]
    fn a_packet_with_any_bit_flipped_does_not_parse_to_the_same() {
        for tuple in [tuple_v4(), tuple_v6()] {
            let packet = udp(tuple, 2, 9, b"twelve bytes");
            // Traffic class, flow label and hop limit are under no checksum in IPv6.
            let unprotected = |bit: usize| tuple.local.is_ipv6() && matches!(bit / 8, 0..=3 | 7);
            for bit in (0..packet.len() * 8).filter(|&bit| !unprotected(bit)) {
                let mut flipped = packet.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);

                assert!(Parsed::parse(&flipped).is_none(), "bit {bit}");
            }
        }
    }

    #[test]
    fn the_checksum_is_that_of_the_example_in_rfc_1071() {
        let sum = checksum::fold(checksum::sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]));

        assert_eq!(sum.to_ne_bytes(), (!0xddf2_u16).to_be_bytes());
    }

    fn tuple_v4() -> FourTuple {
        FourTuple {
            local: "10.0.0.2:4000".parse().unwrap(),
            remote: "10.0.0.1:443".parse().unwrap(),
        }
    }

    fn tuple_v6() -> FourTuple {
        FourTuple {
            local: "[fd00::2]:4000".parse().unwrap(),
            remote: "[fd00::1]:443".parse().unwrap(),
        }
    }
}
