//! Each flow on one link.

use engine::Mode;
use lab::link::Switch;
use sim::flow::Congestion::Cubic;
use sim::world::{CLIENT, SERVER, World, WorldConfig};

use super::scene::{self, black_hole, flagship, opened};

#[test]
fn flows_fill_both_links_and_none_waits_for_another_link() {
    for from in [CLIENT, SERVER] {
        let (mut world, flows) = world(Mode::FlowHash, from);
        world.run_for(6_000_000);
        let before = delivered(&world, &flows, from);
        world.run_for(4_000_000);
        let goodput = (delivered(&world, &flows, from) - before) as f64 * 8.0 / 4e6;
        let held = world.session(1 - from).inbound.stats().held;
        println!("from {from}: {goodput:.1} of 138 Mbit/s, {held} packets held");
        assert!(goodput > 0.93 * 138.0, "{goodput} Mbit/s");
        assert_eq!(held, 0);
    }
}

#[test]
fn all_flows_of_a_host_take_one_link() {
    for from in [CLIENT, SERVER] {
        let (mut world, flows) = world(Mode::HostHash, from);
        world.run_for(6_000_000);
        let bytes = [0, 1].map(|slot| scene::bytes_on(&mut world, from, slot));
        assert!(bytes.iter().min() < Some(&200_000), "{bytes:?}");
        assert!(delivered(&world, &flows, from) > 20_000_000);
    }
}

#[test]
fn the_flows_of_a_link_that_dies_go_on_by_the_other() {
    let (mut world, flows) = world(Mode::FlowHash, CLIENT);
    world.run_for(4_000_000);
    black_hole(&mut world, 1, Switch::On);
    world.run_for(2_000_000);

    let each =
        |world: &World| flows.iter().map(|&flow| of(world, flow, CLIENT)).collect::<Vec<_>>();
    let before = each(&world);
    world.run_for(4_000_000);
    let after = each(&world);
    assert!(
        before.iter().zip(&after).all(|(before, after)| before < after),
        "{before:?} {after:?}"
    );
}

/// A world in this mode with twenty flows from one end.
fn world(mode: Mode, from: usize) -> (World, Vec<usize>) {
    let mut world = opened(WorldConfig { mode, ..WorldConfig::symmetric(flagship(), 29) });
    let ports = 5000..5020;
    let flows = ports.map(|port| scene::tcp_of(&mut world, from, Cubic, 1438, port)).collect();
    (world, flows)
}

fn delivered(world: &World, flows: &[usize], from: usize) -> u64 {
    flows.iter().map(|&flow| of(world, flow, from)).sum()
}

/// Bytes of a flow that have arrived.
fn of(world: &World, flow: usize, from: usize) -> u64 {
    world.reports(flow)[1 - from].bytes_delivered
}
