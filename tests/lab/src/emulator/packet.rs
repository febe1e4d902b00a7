//! The little of IP that the emulator must read or rewrite.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// Where things are in one packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Headers {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// What has a port, if this packet has one and is no later fragment.
    pub(super) transport: Option<Transport>,
    at: usize,
}

/// Protocols with ports. The identifier of an echo serves as both of its ports.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Transport {
    Echo,
    Tcp,
    Udp,
}

/// One of the two addresses of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Destination,
    Source,
}

impl Headers {
    /// Reads a packet; `None` if it is no whole IP header.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let (source, destination, protocol, at) = match packet.first()? >> 4 {
            4 => {
                let at = usize::from(packet[0] & 0xf) * 4;
                if at < 20 || packet.len() < at {
                    return None;
                }
                let address = |at: usize| -> Option<IpAddr> {
                    let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
                    Some(Ipv4Addr::from(octets).into())
                };
                let later_fragment = word(packet, 6)? & 0x1fff != 0;
                let protocol = if later_fragment { NO_NEXT_HEADER } else { packet[9] };
                (address(12)?, address(16)?, protocol, at)
            }
            6 => {
                let address = |at: usize| -> Option<IpAddr> {
                    let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
                    Some(Ipv6Addr::from(octets).into())
                };
                (address(8)?, address(24)?, *packet.get(6)?, 40)
            }
            _ => return None,
        };
        let transport = match protocol {
            TCP if packet.len() >= at + 20 => Some(Transport::Tcp),
            UDP if packet.len() >= at + 8 => Some(Transport::Udp),
            ICMP | ICMP6 if packet.len() >= at + 8 => {
                matches!(packet[at], 0 | 8 | 128 | 129).then_some(Transport::Echo)
            }
            _ => None,
        };
        Some(Self { source, destination, transport, at })
    }

    /// The port of one end.
    pub(super) fn port(&self, packet: &[u8], end: End) -> Option<u16> {
        word(packet, self.port_at(end)?)
    }

    /// Gives one end another address and, if the packet has ports, another port, and keeps every
    /// checksum right. The family stays.
    pub(super) fn rewrite(&self, packet: &mut [u8], end: End, address: IpAddr, port: Option<u16>) {
        let mut change = Change::default();
        let mut port_change = Change::default();
        match address {
            IpAddr::V4(address) if self.source.is_ipv4() => {
                let at = if end == End::Source { 12 } else { 16 };
                change.write(packet, at..at + 4, &address.octets());
                change.settle(packet, 10);
            }
            IpAddr::V6(address) if self.source.is_ipv6() => {
                let at = if end == End::Source { 8 } else { 24 };
                change.write(packet, at..at + 16, &address.octets());
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return,
        }
        if let (Some(at), Some(port)) = (self.port_at(end), port) {
            port_change.write(packet, at..at + 2, &port.to_be_bytes());
        }
        match self.transport {
            Some(Transport::Echo) => {
                // The checksum of ICMP for IPv4 covers no addresses.
                if self.source.is_ipv6() {
                    port_change.add(change);
                }
                port_change.settle(packet, self.at + 2);
            }
            Some(Transport::Tcp) => {
                port_change.add(change);
                port_change.settle(packet, self.at + 16);
            }
            Some(Transport::Udp) => {
                let none = word(packet, self.at + 6) == Some(0);
                port_change.add(change);
                if !none {
                    port_change.settle(packet, self.at + 6);
                    if word(packet, self.at + 6) == Some(0) {
                        packet[self.at + 6..self.at + 8].fill(0xff);
                    }
                }
            }
            None => {}
        }
    }

    fn port_at(&self, end: End) -> Option<usize> {
        match (self.transport?, end) {
            (Transport::Echo, _) => Some(self.at + 4),
            (Transport::Tcp | Transport::Udp, End::Source) => Some(self.at),
            (Transport::Tcp | Transport::Udp, End::Destination) => Some(self.at + 2),
        }
    }
}

/// What the drop log calls a packet: the first eight bytes of a UDP payload (the receiver index
/// and packet number of a sealed datagram), or 0 if it is none.
pub(super) fn key(packet: &[u8]) -> u64 {
    let Some(headers) = Headers::parse(packet) else { return 0 };
    if headers.transport != Some(Transport::Udp) {
        return 0;
    }
    let payload = packet.get(headers.at + 8..headers.at + 16);
    let first: Option<[u8; 8]> = payload.and_then(|bytes| bytes.try_into().ok());
    first.map_or(0, u64::from_be_bytes)
}

/// The ICMP error that tells the sender of `packet` the largest size: RFC 1191, section 4, and
/// RFC 4443, section 3.2. It comes from the packet's own destination.
pub(super) fn too_big(packet: &[u8], mtu: u32) -> Option<Vec<u8>> {
    let headers = Headers::parse(packet)?;
    match (headers.source, headers.destination) {
        (IpAddr::V4(to), IpAddr::V4(from)) => {
            let quoted = &packet[..packet.len().min(headers.at + 64)];
            let len = 28 + quoted.len();
            let mut error = vec![0; 28];
            error[0] = 0x45;
            error[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            error[8] = 64;
            error[9] = ICMP;
            error[12..16].copy_from_slice(&from.octets());
            error[16..20].copy_from_slice(&to.octets());
            let sum = checksum(0, &error[..20]);
            error[10..12].copy_from_slice(&sum.to_be_bytes());
            (error[20], error[21]) = (3, 4);
            error[26..28].copy_from_slice(&(mtu.min(65535) as u16).to_be_bytes());
            error.extend_from_slice(quoted);
            let sum = checksum(0, &error[20..]);
            error[22..24].copy_from_slice(&sum.to_be_bytes());
            Some(error)
        }
        (IpAddr::V6(to), IpAddr::V6(from)) => {
            let quoted = &packet[..packet.len().min(1280 - 48)];
            let len = 8 + quoted.len();
            let mut error = vec![0; 48];
            error[0] = 0x60;
            error[4..6].copy_from_slice(&(len as u16).to_be_bytes());
            error[6] = ICMP6;
            error[7] = 64;
            error[8..24].copy_from_slice(&from.octets());
            error[24..40].copy_from_slice(&to.octets());
            error[40] = 2;
            error[44..48].copy_from_slice(&mtu.to_be_bytes());
            error.extend_from_slice(quoted);
            let pseudo = sum_words(u64::from(ICMP6) + len as u64, &error[8..40]);
            let sum = checksum(pseudo, &error[40..]);
            error[42..44].copy_from_slice(&sum.to_be_bytes());
            Some(error)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// The sum of what was taken out of a checksum and what came in (RFC 1624, equation 3).
#[derive(Clone, Copy, Debug, Default)]
struct Change(u64);

impl Change {
    fn write(&mut self, packet: &mut [u8], range: Range<usize>, value: &[u8]) {
        for (old, new) in packet[range.clone()].chunks(2).zip(value.chunks(2)) {
            let old = u16::from_be_bytes([old[0], old[1]]);
            self.0 += u64::from(!old) + u64::from(u16::from_be_bytes([new[0], new[1]]));
        }
        packet[range].copy_from_slice(value);
    }

    fn add(&mut self, other: Self) {
        self.0 += other.0;
    }

    fn settle(self, packet: &mut [u8], at: usize) {
        let Some(old) = word(packet, at) else { return };
        let new = !fold(u64::from(!old) + self.0);
        packet[at..at + 2].copy_from_slice(&new.to_be_bytes());
    }
}

fn checksum(start: u64, bytes: &[u8]) -> u16 {
    !fold(sum_words(start, bytes))
}

fn sum_words(start: u64, bytes: &[u8]) -> u64 {
    bytes.chunks(2).fold(start, |sum, pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        sum + u64::from(u16::from_be_bytes([pair[0], low]))
    })
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

/// Protocol numbers of IANA.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
const NO_NEXT_HEADER: u8 = 59;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn a_rewritten_packet_has_the_checksums_of_one_made_so() {
        for (from, to) in [("10.71.0.1", "10.71.0.3"), ("fd71::1", "fd71::3")] {
            let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let server = if from.is_ipv4() { "10.70.0.1" } else { "fd70::1" }.parse().unwrap();
            let mut packet = udp(from, server, 5000, 4500, b"twelve bytes");
            let headers = Headers::parse(&packet).unwrap();

            headers.rewrite(&mut packet, End::Source, to, Some(20_001));

            assert_eq!(packet, udp(to, server, 20_001, 4500, b"twelve bytes"));
        }
    }

    #[test]
    fn the_key_is_the_start_of_a_datagram() {
        let (from, to) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());

        assert_eq!(key(&udp(from, to, 1, 2, b"12345678 and more")), 0x3132_3334_3536_3738);
        assert_eq!(key(&udp(from, to, 1, 2, b"short")), 0);
    }

    #[test]
    fn errors_quote_the_packet_and_sum_up() {
        for (from, to) in [("10.71.0.1", "10.70.0.1"), ("fd71::1", "fd70::1")] {
            let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let packet = udp(from, to, 1, 2, &[7; 1450]);

            let error = too_big(&packet, 1400).unwrap();

            let headers = Headers::parse(&error).unwrap();
            assert_eq!((headers.source, headers.destination), (to, from));
            let pseudo = if from.is_ipv4() {
                0
            } else {
                sum_words(58 + (error.len() - 40) as u64, &error[8..40])
            };
            assert_eq!(checksum(pseudo, &error[headers.at..]), 0);
            assert!(error[headers.at + 8..].starts_with(&packet[..48]));
        }
    }

    #[test]
    fn nothing_that_is_no_packet_is_read_past_its_end() {
        let (from, to) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let packet = udp(from, to, 1, 2, b"x");
        for len in 0..packet.len() {
            for first in [packet[0], 0x4f, 0x60, 0] {
                let mut part = packet[..len].to_vec();
                if let Some(byte) = part.first_mut() {
                    *byte = first;
                }
                key(&part);
                too_big(&part, 1400);
                if let Some(headers) = Headers::parse(&part) {
                    headers.rewrite(&mut part, End::Destination, from, Some(9));
                }
            }
        }
        assert_eq!(Headers::parse(&[]), None);
    }

    // Helpers.

    /// A UDP packet made from nothing, all checksums computed in full.
    pub(in crate::emulator) fn udp(
        source: IpAddr,
        destination: IpAddr,
        from: u16,
        to: u16,
        payload: &[u8],
    ) -> Vec<u8> {
        let len = (8 + payload.len()) as u16;
        let mut packet = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, UDP, 0, 0];
                header[2..4].copy_from_slice(&(20 + len).to_be_bytes());
                header.extend(source.octets());
                header.extend(destination.octets());
                let sum = checksum(0, &header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                header
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut header = vec![0x60, 0, 0, 0, 0, 0, UDP, 64];
                header[4..6].copy_from_slice(&len.to_be_bytes());
                header.extend(source.octets());
                header.extend(destination.octets());
                header
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => unreachable!(),
        };
        let addresses = if source.is_ipv4() { 12..20 } else { 8..40 };
        let pseudo = sum_words(u64::from(UDP) + u64::from(len), &packet[addresses]);
        let at = packet.len();
        packet.extend(from.to_be_bytes());
        packet.extend(to.to_be_bytes());
        packet.extend(len.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(payload);
        let sum = checksum(pseudo, &packet[at..]);
        packet[at + 6..at + 8].copy_from_slice(&sum.to_be_bytes());
        packet
    }
}
