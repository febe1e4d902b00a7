//! Clamps the maximum segment size of TCP connections to what the tunnel carries.
//!
//! A host behind the appliance believes in 1500-byte packets; where routers swallow the ICMP error
//! that would tell it better, its connections hang. So SYNs are corrected in passing (RFC 4459, 3.2).

use crate::{
    checksum,
    packet::{Headers, TCP},
};

/// Lowers the MSS option of a TCP SYN so that its segments fit into packets of `mtu` bytes.
/// Leaves every other packet as it is.
pub(crate) fn clamp(packet: &mut [u8], headers: &Headers, mtu: u16) {
    if headers.protocol != TCP || headers.fragment {
        return;
    }
    let overhead = if packet[0] >> 4 == 6 { 60 } else { 40 };
    let segment_max = mtu.saturating_sub(overhead);
    let Some(at) = mss_at(&packet[..headers.len], headers.transport) else { return };
    let stated = u16::from_be_bytes([packet[at], packet[at + 1]]);
    if stated <= segment_max {
        return;
    }
    packet[at..at + 2].copy_from_slice(&segment_max.to_be_bytes());
    // The option may lie at an odd place; a word across the border swaps its bytes in the sum.
    let odd = (at - headers.transport) % 2 == 1;
    let swap = |value: u16| if odd { value.swap_bytes() } else { value };
    let field = headers.transport + 16;
    let before = u16::from_be_bytes([packet[field], packet[field + 1]]);
    let after = checksum::adjust(before, swap(stated), swap(segment_max));
    packet[field..field + 2].copy_from_slice(&after.to_be_bytes());
}

/// Where the value of the MSS option lies, if the packet is a SYN that has one.
fn mss_at(packet: &[u8], transport: usize) -> Option<usize> {
    let offset = *packet.get(transport + 12)?;
    let flags = *packet.get(transport + 13)?;
    if flags & SYN == 0 {
        return None;
    }
    let end = (transport + usize::from(offset >> 4) * 4).min(packet.len());
    let mut at = transport + 20;
    while at < end {
        match packet[at] {
            0 => return None,
            1 => at += 1,
            2 => return (packet.get(at + 1) == Some(&4) && at + 4 <= end).then_some(at + 2),
            _ => at += usize::from(*packet.get(at + 1)?).max(2),
        }
    }
    None
}

const SYN: u8 = 0x02;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_syn_is_clamped_and_its_checksum_stays_right() {
        for padding in 0..3 {
            let mut packet = syn(padding, 1460);
            let headers = Headers::parse(&packet).expect("well-formed");
            let before = sum(&packet);

            clamp(&mut packet, &headers, 1280);

            let at = mss_at(&packet, 20).expect("still there");
            assert_eq!(u16::from_be_bytes([packet[at], packet[at + 1]]), 1240);
            assert_eq!(sum(&packet), before);
        }
    }

    #[test]
    fn a_smaller_stated_size_and_a_packet_without_syn_stay_as_they_are() {
        let small = syn(0, 1000);
        let mut ack = syn(0, 1460);
        ack[20 + 13] = 0x10;

        for packet in [small, ack] {
            let mut touched = packet.clone();
            let headers = Headers::parse(&packet).expect("well-formed");
            clamp(&mut touched, &headers, 1280);
            assert_eq!(touched, packet);
        }
    }

    proptest! {
        #[test]
        fn any_options_are_walked_without_a_panic(options: [u8; 40], offset: u8) {
            let mut packet = syn(0, 1460);
            packet.truncate(40);
            packet[32] = offset;
            packet.extend(options);
            packet[3] = packet.len() as u8;
            if let Some(headers) = Headers::parse(&packet) {
                clamp(&mut packet, &headers, 1280);
            }
        }
    }

    fn syn(padding: usize, mss: u16) -> Vec<u8> {
        let mut packet =
            vec![0x45, 0, 0, 48, 0, 0, 0x40, 0, 64, TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0, 80, 1, 2, 9, 9, 9, 9, 0, 0, 0, 0, 0x70, SYN, 1, 1, 0x12, 0x34, 0, 0]);
        packet.extend(std::iter::repeat_n(1, padding));
        packet.extend([2, 4, (mss >> 8) as u8, mss as u8]);
        packet.resize(48, 0);
        packet
    }

    /// The sum over the TCP part, checksum included: constant as long as the checksum follows.
    fn sum(packet: &[u8]) -> u16 {
        checksum::finish(checksum::sum(&packet[20..]))
    }
}
