//! Links that carry less than Ethernet does, and say nothing about it.

use engine::PathId;
use lab::link::{Change, LinkConfig};
use sim::flow::Congestion;
use sim::world::{CLIENT, SERVER, World, WorldConfig};

use super::scene::{self, opened};

#[test]
fn the_tunnel_takes_what_every_link_carries() {
    for (mtus, tunnel) in [([1500, 1500], 1438), ([1492, 1500], 1430), ([1500, 1280], 1218)] {
        let mut world = opened(WorldConfig::symmetric(links(mtus), 31));

        for end in [CLIENT, SERVER] {
            let outbound = &world.session(end).outbound;
            assert_eq!(outbound.tunnel_mtu(), tunnel);
            for (slot, mtu) in mtus.into_iter().enumerate() {
                let path = outbound.path_snapshot(PathId(slot as u8)).expect("open");
                assert_eq!(u32::from(path.mtu), mtu);
            }
        }
        let flow = scene::tcp(&mut world, CLIENT, Congestion::Cubic, tunnel);
        let rate = scene::goodput(&mut world, flow, CLIENT, 5_000_000);
        assert!(rate > 50.0, "{rate} Mbit/s at {mtus:?}");
        assert_eq!(oversized_data(&world), 0);
    }
}

#[test]
fn a_flow_that_sends_too_large_packets_is_told() {
    let mut world = opened(WorldConfig::symmetric(links([1280, 1500]), 32));

    // The flow's own MTU is Ethernet's: the clamp makes it fit, as it is told by no router.
    let flow = scene::tcp(&mut world, CLIENT, Congestion::Cubic, 1500);

    let rate = scene::goodput(&mut world, flow, CLIENT, 5_000_000);
    assert!(rate > 50.0, "{rate} Mbit/s");
    assert_eq!(world.session(CLIENT).outbound.stats().dropped_too_big, 0);
}

#[test]
fn a_link_that_shrinks_is_noticed() {
    let mut world = opened(WorldConfig::symmetric(links([1500, 1500]), 33));
    let flow = scene::tcp(&mut world, CLIENT, Congestion::Cubic, 1438);
    world.run_for(2_000_000);

    world.change_both(0, Change::Mtu { bytes: 1400 });
    world.run_for(5_000_000);

    let outbound = &world.session(CLIENT).outbound;
    assert_eq!(outbound.path_snapshot(PathId(0)).map(|path| path.mtu), Some(1400));
    assert_eq!(outbound.tunnel_mtu(), 1338);
    // This sender does not heed what it is told, but it is told.
    assert!(outbound.stats().dropped_too_big > 0);
    assert!(world.reports(flow)[CLIENT].packets_bad > 0);
    let other = scene::tcp(&mut world, SERVER, Congestion::Cubic, 1338);
    let rate = scene::goodput(&mut world, other, SERVER, 5_000_000);
    assert!(rate > 50.0, "{rate} Mbit/s for a flow that fits");
}

fn links(mtus: [u32; 2]) -> Vec<LinkConfig> {
    let link = |mtu| LinkConfig { mtu, ..LinkConfig::mbit(50, 10_000) };
    mtus.map(link).to_vec()
}

/// Datagrams that a link found too large, beside the probes of its MTU.
fn oversized_data(world: &World) -> u64 {
    let too_big = [0, 1].map(|line| world.counters(line)[CLIENT].too_big);
    too_big.iter().map(|&count| count.saturating_sub(PROBES_MAX)).sum()
}

/// Eleven sizes, each in five rounds.
const PROBES_MAX: u64 = 55;
