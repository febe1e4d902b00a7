//! Super-packets: what one read of a TUN device with offload gives, and the segments it stands for.
//!
//! The kernel hands over up to 64 KiB under one set of headers, with checksums left to us. A
//! segment is cut off only at the moment it is sent, straight into the wire buffer.

use crate::{
    checksum,
    packet::{Headers, TCP, UDP},
};

/// What the virtio header of a TUN read asks for (virtio 1.2, 5.1.6).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Offload {
    /// The payload bytes of each segment; `None`: the packet is one as it stands.
    pub segment: Option<u16>,
    /// The transport checksum is left to us: where the summed part begins, and where in it the
    /// checksum belongs.
    pub checksum: Option<(u16, u16)>,
}

/// How a packet falls into segments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cut {
    /// Bytes of all headers, repeated in each segment.
    headers: u16,
    /// Where the transport header begins.
    transport: u16,
    protocol: u8,
    /// Payload bytes of a segment but the last.
    size: u16,
    /// How many segments there are.
    pub(crate) count: u16,
    len: u32,
}

impl Cut {
    /// Plans the segments of `packet`. `None` if it can't be what `offload` says.
    pub(crate) fn new(packet: &[u8], headers: &Headers, offload: Offload) -> Option<Self> {
        let len = u32::try_from(packet.len()).ok()?;
        let Some(size) = offload.segment else {
            return Some(Self { headers: 0, transport: 0, protocol: 0, size: 0, count: 1, len });
        };
        let transport_len = match headers.protocol {
            TCP => usize::from(*packet.get(headers.transport + 12)? >> 4) * 4,
            UDP => 8,
            _ => return None,
        };
        let all = headers.transport + transport_len;
        let minimum = if headers.protocol == TCP { 20 } else { 8 };
        if size == 0 || transport_len < minimum || packet.len() <= all || headers.fragment {
            return None;
        }
        let count = (packet.len() - all).div_ceil(usize::from(size));
        Some(Self {
            headers: u16::try_from(all).ok()?,
            transport: headers.transport as u16,
            protocol: headers.protocol,
            size,
            count: u16::try_from(count).ok()?,
            len,
        })
    }

    /// The length of segment `index`.
    pub(crate) fn len(&self, index: u16) -> usize {
        if self.count == 1 {
            return self.len as usize;
        }
        let (size, headers) = (usize::from(self.size), usize::from(self.headers));
        let payload = self.len as usize - headers;
        headers + size.min(payload - usize::from(index) * size)
    }

    /// Writes segment `index` of `packet` to the start of `out`, which must have room for it.
    pub(crate) fn emit(&self, packet: &[u8], index: u16, out: &mut [u8]) {
        if self.count == 1 {
            out[..packet.len()].copy_from_slice(packet);
            return;
        }
        let headers = usize::from(self.headers);
        let from = headers + usize::from(index) * usize::from(self.size);
        let out = &mut out[..self.len(index)];
        out[..headers].copy_from_slice(&packet[..headers]);
        let payload = out.len() - headers;
        out[headers..].copy_from_slice(&packet[from..from + payload]);
        self.correct_ip(out, index);
        self.correct_transport(out, index);
    }

    fn correct_ip(&self, out: &mut [u8], index: u16) {
        let len = out.len();
        if out[0] >> 4 == 6 {
            out[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
            return;
        }
        let id = u16::from_be_bytes([out[4], out[5]]).wrapping_add(index);
        out[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        out[4..6].copy_from_slice(&id.to_be_bytes());
        complete_v4(out);
    }

    fn correct_transport(&self, out: &mut [u8], index: u16) {
        let at = usize::from(self.transport);
        let len = out.len() - at;
        let checksum_at = if self.protocol == TCP {
            let advance = u32::from(index) * u32::from(self.size);
            let number = u32::from_be_bytes([out[at + 4], out[at + 5], out[at + 6], out[at + 7]]);
            out[at + 4..at + 8].copy_from_slice(&number.wrapping_add(advance).to_be_bytes());
            if index > 0 {
                out[at + 13] &= !TCP_CWR;
            }
            if index + 1 < self.count {
                out[at + 13] &= !(TCP_FIN | TCP_PSH);
            }
            at + 16
        } else {
            out[at + 4..at + 6].copy_from_slice(&(len as u16).to_be_bytes());
            at + 6
        };
        out[checksum_at..checksum_at + 2].fill(0);
        let addresses = if out[0] >> 4 == 6 { 8..40 } else { 12..20 };
        let total = checksum::pseudo(&out[addresses], self.protocol, len);
        let value = checksum::finish(total + checksum::sum(&out[at..]));
        // A UDP checksum of zero would mean "none" (RFC 768).
        let value = if value == 0 && self.protocol == UDP { 0xffff } else { value };
        out[checksum_at..checksum_at + 2].copy_from_slice(&value.to_be_bytes());
    }
}

/// What one read of a TUN device gives, as the packets that it stands for.
#[derive(Clone, Copy, Debug)]
pub struct Segments<'p> {
    packet: &'p [u8],
    offload: Offload,
    cut: Cut,
}

impl<'p> Segments<'p> {
    /// The segments of `packet`; none if it is no packet, or can't be what `offload` says.
    pub fn of(packet: &'p [u8], offload: Offload) -> Option<Self> {
        let headers = Headers::parse(packet)?;
        let cut = Cut::new(packet, &headers, offload)?;
        Some(Self { packet, offload, cut })
    }

    /// How many there are, one at least.
    pub fn count(&self) -> u16 {
        self.cut.count
    }

    /// The bytes of one.
    pub fn len(&self, index: u16) -> usize {
        self.cut.len(index)
    }

    /// Writes one to the start of `out`, which must have room for it.
    pub fn emit(&self, index: u16, out: &mut [u8]) {
        self.cut.emit(self.packet, index, out);
        if let (1, Some((start, offset))) = (self.cut.count, self.offload.checksum) {
            complete(&mut out[..self.packet.len()], start, offset);
        }
    }
}

/// Computes the checksum that the kernel left to us, where the packet is one as it stands.
/// Returns whether the places named lie inside the packet.
pub(crate) fn complete(packet: &mut [u8], start: u16, offset: u16) -> bool {
    let (start, at) = (usize::from(start), usize::from(start) + usize::from(offset));
    if at + 2 > packet.len() {
        return false;
    }
    // The field holds the sum of the pseudo-header, so it is summed with the rest.
    let value = checksum::finish(checksum::sum(&packet[start..]));
    let value = if value == 0 { 0xffff } else { value };
    packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
    true
}

/// Computes the header checksum of an IPv4 packet.
pub(crate) fn complete_v4(packet: &mut [u8]) {
    let len = usize::from(packet[0] & 0xf) * 4;
    packet[10..12].fill(0);
    let value = checksum::finish(checksum::sum(&packet[..len]));
    packet[10..12].copy_from_slice(&value.to_be_bytes());
}

const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn segments_are_valid_packets_that_carry_the_payload_in_order(
            v6: bool, tcp: bool, payload in 2usize..9000, size in 1u16..1500,
        ) {
            let packet = super_packet(v6, tcp, payload);
            let headers = Headers::parse(&packet).expect("well-formed");
            let offload = Offload { segment: Some(size), checksum: None };
            let cut = Cut::new(&packet, &headers, offload).expect("can be cut");
            let start = packet.len() - payload;
            let mut carried: Vec<u8> = Vec::new();

            for index in 0..cut.count {
                let mut out = vec![0xaa; 9100];
                cut.emit(&packet, index, &mut out);
                let segment = &out[..cut.len(index)];
                let found = Headers::parse(segment).expect("well-formed");
                prop_assert_eq!(found.len, segment.len());
                prop_assert_eq!(found.flow(), headers.flow());
                if cut.count > 1 {
                    prop_assert_eq!(transport_sum(segment, &found), 0);
                }
                carried.extend(&segment[start..]);
            }

            prop_assert_eq!(&carried[..], &packet[start..]);
        }
    }

    #[test]
    fn fin_and_push_stay_on_the_last_segment_and_cwr_on_the_first() {
        let mut packet = super_packet(false, true, 30);
        packet[20 + 13] = TCP_FIN | TCP_PSH | TCP_CWR | 0x10;
        let headers = Headers::parse(&packet).expect("well-formed");
        let cut = Cut::new(&packet, &headers, Offload { segment: Some(10), checksum: None })
            .expect("can be cut");

        let flags = [0, 1, 2].map(|index| {
            let mut out = [0; 100];
            cut.emit(&packet, index, &mut out);
            out[20 + 13]
        });

        assert_eq!(flags, [TCP_CWR | 0x10, 0x10, TCP_FIN | TCP_PSH | 0x10]);
    }

    #[test]
    fn a_super_packet_that_is_none_is_refused() {
        let packet = super_packet(false, true, 30);
        let headers = Headers::parse(&packet).expect("well-formed");
        let refused = |packet: &[u8], headers: &Headers, size| {
            Cut::new(packet, headers, Offload { segment: Some(size), checksum: None }).is_none()
        };

        assert!(refused(&packet, &headers, 0));
        assert!(refused(&packet[..40], &headers, 10));
        assert!(refused(&packet, &Headers { protocol: 1, ..headers }, 10));
        assert!(refused(&packet, &Headers { fragment: true, ..headers }, 10));
    }

    fn super_packet(v6: bool, tcp: bool, payload: usize) -> Vec<u8> {
        let protocol = if tcp { TCP } else { UDP };
        let transport: Vec<u8> = if tcp {
            [0, 80, 1, 2, 9, 9, 9, 9, 0, 0, 0, 0, 0x50, 0x10, 1, 1, 0, 0, 0, 0].to_vec()
        } else {
            [0, 80, 1, 2, 0, 0, 0, 0].to_vec()
        };
        let len = transport.len() + payload;
        let mut packet = if v6 {
            let mut header = vec![0x60, 0, 0, 0, (len >> 8) as u8, len as u8, protocol, 64];
            header.extend(1..=32);
            header
        } else {
            let all = len + 20;
            vec![
                0x45,
                0,
                (all >> 8) as u8,
                all as u8,
                0xff,
                0xfe,
                0x40,
                0,
                64,
                protocol,
                0,
                0,
                10,
                0,
                0,
                1,
                10,
                0,
                0,
                2,
            ]
        };
        packet.extend(transport);
        packet.extend((0..payload).map(|i| (i * 7) as u8));
        packet
    }

    fn transport_sum(segment: &[u8], headers: &Headers) -> u16 {
        let addresses = if segment[0] >> 4 == 6 { 8..40 } else { 12..20 };
        let body = &segment[headers.transport..];
        checksum::finish(
            checksum::pseudo(&segment[addresses], headers.protocol, body.len())
                + checksum::sum(body),
        )
    }
}
