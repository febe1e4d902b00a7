//! Errors that the tunnel's entrance reports to the sender of an inner packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    checksum,
    packet::{Headers, ICMP, ICMPV6},
    segment,
};

/// The longest error: an IPv6 packet of the minimum MTU (RFC 4443, 2.4 c).
pub(crate) const ERROR_MAX: usize = 1280;

/// Writes "packet too big" (RFC 1191, RFC 8201) for `packet` into `out` and returns its length.
/// `None` where no error may be sent: for errors themselves, for fragments but the first, for
/// packets that a router may break up.
pub(crate) fn too_big(
    packet: &[u8],
    headers: &Headers,
    mtu: u16,
    out: &mut [u8; ERROR_MAX],
) -> Option<usize> {
    if !headers.unbreakable || is_error(packet, headers) {
        return None;
    }
    match (headers.source, headers.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Some(too_big_v4(packet, (source, destination), mtu, out))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Some(too_big_v6(packet, (source, destination), mtu, out))
        }
        _ => None,
    }
}

/// The error seems to come from the destination: the entrance has no address of its own there.
fn too_big_v4(
    packet: &[u8],
    (source, destination): (Ipv4Addr, Ipv4Addr),
    mtu: u16,
    out: &mut [u8],
) -> usize {
    // RFC 1812, 4.3.2.3: as much of the packet as fits into 576 bytes.
    let quoted = packet.len().min(576 - 28);
    let len = 28 + quoted;
    out[..28].fill(0);
    out[0] = 0x45;
    out[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    out[8] = 64;
    out[9] = ICMP;
    out[12..16].copy_from_slice(&destination.octets());
    out[16..20].copy_from_slice(&source.octets());
    segment::complete_v4(&mut out[..20]);
    out[20] = 3;
    out[21] = 4;
    out[26..28].copy_from_slice(&mtu.to_be_bytes());
    out[28..len].copy_from_slice(&packet[..quoted]);
    let sum = checksum::finish(checksum::sum(&out[20..len]));
    out[22..24].copy_from_slice(&sum.to_be_bytes());
    len
}

fn too_big_v6(
    packet: &[u8],
    (source, destination): (Ipv6Addr, Ipv6Addr),
    mtu: u16,
    out: &mut [u8],
) -> usize {
    let quoted = packet.len().min(ERROR_MAX - 48);
    let len = 48 + quoted;
    out[..48].fill(0);
    out[0] = 0x60;
    out[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
    out[6] = ICMPV6;
    out[7] = 64;
    out[8..24].copy_from_slice(&destination.octets());
    out[24..40].copy_from_slice(&source.octets());
    out[40] = 2;
    out[44..48].copy_from_slice(&u32::from(mtu).to_be_bytes());
    out[48..len].copy_from_slice(&packet[..quoted]);
    let total = checksum::pseudo(&out[8..40], ICMPV6, len - 40) + checksum::sum(&out[40..len]);
    out[42..44].copy_from_slice(&checksum::finish(total).to_be_bytes());
    len
}

/// Whether the packet is an ICMP error, or a fragment that does not show it: RFC 1122, 3.2.2.
fn is_error(packet: &[u8], headers: &Headers) -> bool {
    let Some(&kind) = packet.get(headers.transport) else { return true };
    match headers.protocol {
        ICMP => !matches!(kind, 0 | 8 | 13 | 14),
        ICMPV6 => kind < 128,
        _ => headers.fragment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_goes_to_the_source_names_the_mtu_and_sums_up() {
        let mut packet =
            vec![0x45, 0, 5, 220, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 9, 0, 2];
        packet.resize(1500, 7);
        let headers = Headers::parse(&packet).expect("well-formed");
        let mut out = [0; ERROR_MAX];

        let len = too_big(&packet, &headers, 1280, &mut out).expect("may be sent");

        let error = Headers::parse(&out[..len]).expect("well-formed");
        assert_eq!(error.destination, headers.source);
        assert_eq!(error.protocol, ICMP);
        assert_eq!((len, &out[20..22], &out[26..28]), (576, &[3, 4][..], &[5, 0][..]));
        assert_eq!(checksum::finish(checksum::sum(&out[20..len])), 0);
        assert_eq!(out[28..48], packet[..20]);
    }

    #[test]
    fn the_ipv6_error_sums_up_with_its_pseudo_header() {
        let mut packet = vec![0x60, 0, 0, 0, 5, 180, 17, 64];
        packet.extend(1..=32);
        packet.resize(1500, 7);
        let headers = Headers::parse(&packet).expect("well-formed");
        let mut out = [0; ERROR_MAX];

        let len = too_big(&packet, &headers, 1300, &mut out).expect("may be sent");

        assert_eq!(len, ERROR_MAX);
        let sum = checksum::pseudo(&out[8..40], ICMPV6, len - 40) + checksum::sum(&out[40..len]);
        assert_eq!(checksum::finish(sum), 0);
        assert_eq!(u32::from_be_bytes([out[44], out[45], out[46], out[47]]), 1300);
    }

    #[test]
    fn breakable_packets_and_errors_get_no_error() {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 9, 0, 2];
        packet.resize(40, 0);
        let mut out = [0; ERROR_MAX];
        let breakable = Headers::parse(&packet).expect("well-formed");
        assert_eq!(too_big(&packet, &breakable, 1280, &mut out), None);

        packet[6] = 0x40;
        packet[9] = ICMP;
        packet[20] = 3;
        let error = Headers::parse(&packet).expect("well-formed");
        assert_eq!(too_big(&packet, &error, 1280, &mut out), None);
    }
}
