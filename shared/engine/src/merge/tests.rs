use proptest::prelude::*;

use super::*;
use crate::segment::{Cut, Offload};

/// How a test's packet differs from the one that would follow.
#[derive(Clone, Copy, Debug)]
struct Quirk {
    tos: u8,
    ttl: u8,
    flags: u8,
    number: u32,
    identification: u16,
    window: u16,
    option: u8,
}

const PLAIN: Quirk =
    Quirk { tos: 0, ttl: 64, flags: ACK, number: 0, identification: 0, window: 9, option: 0 };

proptest! {
    #[test]
    fn cutting_what_was_merged_gives_the_packets_that_there_were(
        packets in proptest::collection::vec(any_packet(), 1..80),
    ) {
        let mut given: Vec<Vec<u8>> = Vec::new();
        let mut numbers = [0u32; 4];
        let mut identifications = [7u16; 4];
        for (flow, v6, is_tcp, payload, quirk) in packets {
            let number = numbers[flow].wrapping_add(quirk.number);
            let identification = identifications[flow].wrapping_add(quirk.identification);
            let quirk = Quirk { number, identification, ..quirk };
            given.push(packet(flow as u16, v6, is_tcp, payload, quirk));
            numbers[flow] = number.wrapping_add(payload as u32);
            identifications[flow] = identification.wrapping_add(1);
        }

        let back = merged_and_cut(&given);

        prop_assert_eq!(back.len(), given.len());
        for flow in 0..4 {
            for (v6, is_tcp) in [(false, false), (false, true), (true, false), (true, true)] {
                let example = packet(flow, v6, is_tcp, 1, PLAIN);
                let flow = Headers::parse(&example).unwrap().flow();
                let of_flow = |packet: &&Vec<u8>| {
                    Headers::parse(packet).unwrap().flow() == flow
                };
                let (sent, found): (Vec<_>, Vec<_>) =
                    (given.iter().filter(of_flow).collect(), back.iter().filter(of_flow).collect());
                prop_assert_eq!(sent, found, "in their order");
            }
        }
    }

    #[test]
    fn any_bytes_pass_as_they_are(bytes: Vec<u8>, v6: bool) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = if v6 { 0x60 } else { 0x45 };
        }
        prop_assert_eq!(merged_and_cut(std::slice::from_ref(&bytes)), [bytes]);
    }
}

#[test]
fn a_row_of_full_packets_is_one() {
    for (v6, is_tcp) in [(false, false), (false, true), (true, false), (true, true)] {
        let given: Vec<Vec<u8>> = (0..5)
            .map(|at: u16| {
                let number = if is_tcp { u32::from(at) * 1000 } else { 0 };
                let len = if at == 4 { 300 } else { 1000 };
                packet(1, v6, is_tcp, len, Quirk { number, identification: at, ..PLAIN })
            })
            .collect();

        assert_eq!(rows(&given), [5], "IPv6: {v6}, TCP: {is_tcp}");
        assert_eq!(merged_and_cut(&given), given);
    }
}

#[test]
fn rows_of_several_flows_grow_side_by_side() {
    let mut given = Vec::new();
    for at in 0..10 {
        for flow in 0..6 {
            let quirk = Quirk { number: at * 500, identification: at as u16, ..PLAIN };
            given.push(packet(flow, false, true, 500, quirk));
        }
    }

    assert_eq!(rows(&given), [10; 6]);
}

#[test]
fn what_differs_begins_another_row() {
    let second = Quirk { number: 1000, identification: 1, ..PLAIN };
    let lone = [1, 1];
    for (what, quirk, expected) in [
        ("the same", second, &[2][..]),
        ("the field of congestion", Quirk { tos: 3, ..second }, &lone),
        ("the class", Quirk { tos: 0xb8, ..second }, &lone),
        ("the hops", Quirk { ttl: 63, ..second }, &lone),
        ("the end", Quirk { flags: ACK | 1, ..second }, &lone),
        ("a beginning", Quirk { flags: ACK | 2, ..second }, &lone),
        ("urgent", Quirk { flags: ACK | 0x20, ..second }, &lone),
        ("an echo of congestion", Quirk { flags: ACK | ECE, ..second }, &lone),
        ("handed over", Quirk { flags: ACK | PSH, ..second }, &[2]),
        ("a gap", Quirk { number: 1001, ..second }, &lone),
        ("again", Quirk { number: 0, ..second }, &lone),
        ("the window", Quirk { window: 10, ..second }, &lone),
        ("an option", Quirk { option: 1, ..second }, &lone),
        ("an identification left out", Quirk { identification: 2, ..second }, &lone),
        ("the same identification", Quirk { identification: 0, ..second }, &[2]),
    ] {
        let given = [packet(1, false, true, 1000, PLAIN), packet(1, false, true, 1000, quirk)];
        assert_eq!(rows(&given), expected, "{what}");
    }
}

#[test]
fn after_a_short_packet_or_a_push_begins_another_row() {
    let short = packet(1, false, true, 500, Quirk { number: 1000, identification: 1, ..PLAIN });
    let pushed = Quirk { number: 1000, identification: 1, flags: ACK | PSH, ..PLAIN };
    let pushed = packet(1, false, true, 1000, pushed);
    for (middle, next) in [(short, 1500), (pushed, 2000)] {
        let first = packet(1, false, true, 1000, PLAIN);
        let last = packet(1, false, true, 1000, Quirk { number: next, identification: 2, ..PLAIN });
        assert_eq!(rows(&[first, middle, last]), [2, 1]);
    }
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let quirk = Quirk { number: 1000, identification: 1, ..PLAIN };
    let mut given = [packet(1, false, true, 1000, PLAIN), packet(1, false, true, 1000, quirk)];
    *given[1].last_mut().unwrap() ^= 1;

    assert_eq!(rows(&given), [1, 1]);
    assert_eq!(merged_and_cut(&given), given);
}

#[test]
fn a_row_ends_at_what_a_packet_can_hold() {
    let given: Vec<Vec<u8>> = (0..60)
        .map(|at: u16| {
            let quirk = Quirk { number: u32::from(at) * 1400, identification: at, ..PLAIN };
            packet(1, true, true, 1400, quirk)
        })
        .collect();

    assert_eq!(rows(&given), [46, 14]);
    assert_eq!(merged_and_cut(&given), given);
}

/// How many packets each row has.
fn rows(packets: &[Vec<u8>]) -> Vec<usize> {
    let mut rows = Vec::new();
    let mut merger = Merger::new();
    for packet in packets {
        merger.push(packet, |merged| rows.push(merged.parts.len()));
    }
    merger.flush(|merged| rows.push(merged.parts.len()));
    rows
}

/// What is left of packets that were merged, and cut as the kernel would.
fn merged_and_cut(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut back = Vec::new();
    let mut cut = |merged: Merged<'_>| {
        let whole = [merged.headers, &merged.parts.concat()].concat();
        let Some(row) = merged.row else {
            back.push(whole);
            return;
        };
        let headers = Headers::parse(&whole).expect("well-formed");
        assert_eq!(headers.len, whole.len());
        assert_eq!(headers.transport, usize::from(row.transport));
        assert_eq!((whole[0] >> 4 == 6, headers.protocol == TCP), (row.v6, row.tcp));
        let offload =
            Offload { segment: Some(row.size), checksum: Some((row.transport, row.checksum)) };
        let cut = Cut::new(&whole, &headers, offload).expect("can be cut");
        for index in 0..cut.count {
            let mut out = vec![0; cut.len(index)];
            cut.emit(&whole, index, &mut out);
            back.push(out);
        }
    };
    let mut merger = Merger::new();
    for packet in packets {
        merger.push(packet, &mut cut);
    }
    merger.flush(&mut cut);
    back
}

fn any_packet() -> impl Strategy<Value = (usize, bool, bool, usize, Quirk)> {
    let rarely = |common: u8, other: u8| prop_oneof![9 => Just(common), 1 => Just(other)];
    let quirk = (rarely(0, 3), rarely(64, 63), rarely(ACK, ACK | PSH), rarely(0, 1), rarely(0, 1))
        .prop_map(|(tos, ttl, flags, gap, option)| Quirk {
            tos,
            ttl,
            flags,
            number: gap.into(),
            option,
            ..PLAIN
        });
    let len = prop_oneof![5 => Just(1000usize), 1 => 0usize..1400];
    (0usize..4, any::<bool>(), any::<bool>(), len, quirk)
}

fn packet(flow: u16, v6: bool, is_tcp: bool, payload: usize, quirk: Quirk) -> Vec<u8> {
    let protocol = if is_tcp { TCP } else { UDP };
    let mut transport = flow.to_be_bytes().to_vec();
    transport.extend([1, 2]);
    if is_tcp {
        transport.extend(quirk.number.to_be_bytes());
        transport.extend([0, 0, 0, 5, 0x60, quirk.flags]);
        transport.extend(quirk.window.to_be_bytes());
        transport.extend([0, 0, 0, 0, 1, 1, 1, quirk.option]);
    } else {
        transport.extend(((8 + payload) as u16).to_be_bytes());
        transport.extend([0, 0]);
    }
    let len = transport.len() + payload;
    let mut packet = if v6 {
        let mut header = vec![0x60, quirk.tos << 4, 0, 0, (len >> 8) as u8, len as u8];
        header.extend([protocol, quirk.ttl]);
        header.extend(1..=32);
        header
    } else {
        let mut header = vec![0x45, quirk.tos];
        header.extend(((len + 20) as u16).to_be_bytes());
        header.extend(quirk.identification.to_be_bytes());
        header.extend([0x40, 0, quirk.ttl, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        crate::segment::complete_v4(&mut header);
        header
    };
    let at = packet.len();
    packet.extend(transport);
    packet.extend((0..payload).map(|i| (i * 7) as u8));
    let addresses = if v6 { 8..40 } else { 12..20 };
    let sum = checksum::pseudo(&packet[addresses], protocol, len) + checksum::sum(&packet[at..]);
    let place = at + if is_tcp { 16 } else { 6 };
    let value = checksum::finish(sum);
    let value = if value == 0 && !is_tcp { 0xffff } else { value };
    packet[place..place + 2].copy_from_slice(&value.to_be_bytes());
    packet
}
