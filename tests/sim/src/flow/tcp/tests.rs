use super::*;

#[test]
fn super_packets_hold_what_leaves_in_a_millisecond_but_two_segments_at_least() {
    let (mut client, mut server) = pair(Offload::SuperPackets);
    shake_hands(&mut client, &mut server);

    // Ten segments in 20 ms, twice that in slow start: one in a millisecond.
    let flight: Vec<_> = std::iter::from_fn(|| client.poll_packet(20_000)).collect();

    assert_eq!(flight.len(), 5);
    assert_eq!(client.report().packets_sent, 2 + 10);
    for packet in flight {
        assert_eq!(packet.segment_size, Some(1448));
        assert_eq!(packet.bytes.len(), 52 + 2 * 1448);
        assert!(packet.into_segments().iter().all(|segment| segment.len() == 1500));
    }
}

#[test]
fn a_receiver_takes_a_super_packet_whole() {
    let (mut client, mut server) = pair(Offload::SuperPackets);
    shake_hands(&mut client, &mut server);

    while let Some(packet) = client.poll_packet(20_000) {
        server.handle_packet(30_000, &packet.bytes);
    }

    assert_eq!(server.report().bytes_delivered, 14_480);
    let acknowledgment = server.poll_packet(30_000).unwrap();
    client.handle_packet(40_000, &acknowledgment.bytes);
    assert_eq!(client.report().window, 20 * 1448);
}

#[test]
fn the_peer_or_a_middlebox_may_ask_for_smaller_segments() {
    let (mut client, mut server) = pair(Offload::Segments);
    client.config.mtu = 1438;
    shake_hands(&mut client, &mut server);

    let packet = client.poll_packet(20_000).unwrap();

    assert_eq!(packet.bytes.len(), 1438);
}

#[test]
fn packets_of_others_and_damaged_ones_are_only_counted() {
    let (mut client, mut server) = pair(Offload::Segments);
    let (mut other, _) = pair(Offload::Segments);
    other.config.tuple.local.set_port(1);
    shake_hands(&mut client, &mut server);
    let mut packet = client.poll_packet(20_000).unwrap().bytes;
    packet[1000] ^= 1;

    server.handle_packet(30_000, &packet);
    server.handle_packet(30_000, &other.poll_packet(30_000).unwrap().bytes);
    server.handle_packet(30_000, &[]);

    assert_eq!(server.report().packets_bad, 3);
    assert_eq!(server.report().bytes_delivered, 0);
}

#[test]
fn a_lost_syn_is_sent_again_after_a_second() {
    let (mut client, mut server) = pair(Offload::Segments);
    let lost = client.poll_packet(0).unwrap();

    assert!(client.poll_packet(999_999).is_none());
    assert_eq!(client.poll_timeout(), Some(1_000_000));
    let again = client.poll_packet(1_000_000).unwrap();
    assert_eq!(client.poll_timeout(), Some(3_000_000));
    server.handle_packet(1_010_000, &again.bytes);
    server.handle_packet(1_010_000, &lost.bytes);

    assert!(server.poll_packet(1_010_000).is_some());
    assert!(server.poll_packet(1_010_000).is_none());
}

/// The client's third packet, the last of the handshake, is taken as well.
fn shake_hands(client: &mut Tcp, server: &mut Tcp) {
    let syn = client.poll_packet(0).unwrap();
    server.handle_packet(10_000, &syn.bytes);
    let answer = server.poll_packet(10_000).unwrap();
    client.handle_packet(20_000, &answer.bytes);
    let State::Open(halves) = &mut client.state else { panic!("{:?}", client.state) };
    assert_eq!(halves.sender.rtt().smoothed(), Some(20_000));
    let acknowledgment = Segment {
        sequence: client.origin.wrapping_add(1),
        acknowledgment: Some(client.peer_origin.wrapping_add(1)),
        window: 1024,
        timestamps: Some((timestamp(20_000), timestamp(10_000))),
        ..Segment::default()
    };
    let acknowledgment = client.emit(&acknowledgment, &[]);
    server.handle_packet(30_000, &acknowledgment);
}

fn pair(offload: Offload) -> (Tcp, Tcp) {
    let tuple = FourTuple {
        local: "10.0.0.2:4000".parse().unwrap(),
        remote: "10.0.0.1:443".parse().unwrap(),
    };
    let client =
        TcpConfig { offload, seed: 1, ..TcpConfig::new(tuple, Role::Client, Load::Endless) };
    let server = TcpConfig::new(tuple.reversed(), Role::Server, Load::Nothing);
    (Tcp::new(client), Tcp::new(server))
}
