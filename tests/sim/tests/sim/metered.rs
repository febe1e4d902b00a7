//! Links where each byte costs.

use engine::PathState;
use lab::link::{LinkConfig, Switch};
use sim::flow::Congestion;
use sim::world::{CLIENT, SERVER, WorldConfig};

use super::scene::{self, black_hole, flagship, opened, received, stream, stream_of};

/// What IPv4 and UDP add to each datagram.
const HEADERS: u64 = 28;

#[test]
fn an_idle_metered_link_costs_next_to_nothing() {
    let idle = |metered: Vec<usize>| {
        let mut world = opened(WorldConfig { metered, ..WorldConfig::symmetric(flagship(), 71) });
        world.run_for(5_000_000);
        world.reset_counters();
        world.run_for(600_000_000);
        let up = world.counters(1)[CLIENT];
        up.offered_bytes
    };
    let (free, costly) = (idle(Vec::new()), idle(vec![1]));
    println!("ten idle minutes up: {free} bytes, metered {costly}");
    assert!(costly < 12_000, "{costly} bytes");
    assert!(costly * 3 < free, "{costly} of {free} bytes");
}

#[test]
fn a_dead_metered_link_is_probed_seldom_and_at_once_when_its_link_changes() {
    let config = WorldConfig { metered: vec![1], ..WorldConfig::symmetric(flagship(), 72) };
    let mut world = opened(config);
    black_hole(&mut world, 1, Switch::On);
    // Found dead by the keepalive of an idle link, and half a minute of probes each five seconds.
    world.run_for(60_000_000);
    assert_eq!(world.path_state(CLIENT, 1), Some(PathState::Dead));
    world.reset_counters();
    world.run_for(100_000_000);
    let probes = world.counters(1).map(|way| way.offered);
    println!("{probes:?} datagrams in 100 s on the dead link");
    assert!(probes.iter().all(|&sent| sent <= 5), "{probes:?}");

    black_hole(&mut world, 1, Switch::Off);
    world.wake_path(CLIENT, 1);
    world.run_for(1_000_000);

    for end in [CLIENT, SERVER] {
        assert_eq!(world.path_state(end, 1), Some(PathState::Up), "end {end}");
    }
}

#[test]
fn a_metered_link_that_returns_within_half_a_minute_is_found_in_five_seconds() {
    let config = WorldConfig { metered: vec![0], ..WorldConfig::symmetric(flagship(), 73) };
    let mut world = opened(config);
    for from in [CLIENT, SERVER] {
        stream(&mut world, from, 1_000, 40_000);
    }
    world.run_for(1_000_000);
    black_hole(&mut world, 0, Switch::On);
    world.run_for(15_000_000);
    world.reset_counters();
    world.run_for(5_000_000);
    assert!(world.counters(0).iter().all(|way| way.offered <= 2));

    black_hole(&mut world, 0, Switch::Off);
    world.run_for(6_000_000);

    for end in [CLIENT, SERVER] {
        assert_eq!(world.path_state(end, 0), Some(PathState::Up), "end {end}");
    }
}

#[test]
fn feedback_about_a_metered_link_is_a_hundredth_of_what_comes_by_it() {
    // By itself, and beside another by which half of the reports go.
    for links in [vec![LinkConfig::mbit(20, 20_000)], flagship()] {
        let slot = 0;
        let share = |metered| {
            let config = WorldConfig { metered, ..WorldConfig::symmetric(links.clone(), 74) };
            let mut world = opened(config);
            // Packets of the client's would be no feedback: a stream without acknowledgements.
            stream_of(&mut world, SERVER, 1_200, 1_000, 15_000);
            world.run_for(2_000_000);
            let sent = world.session(CLIENT).outbound.stats().message_bytes;
            let datagrams = world.sent(CLIENT).0;
            world.reset_counters();
            world.run_for(10_000_000);
            let feedback = world.session(CLIENT).outbound.stats().message_bytes - sent
                + HEADERS * (world.sent(CLIENT).0 - datagrams);
            let received = world.counters(slot)[SERVER];
            let on_link = world.counters(slot)[CLIENT];
            let all = feedback as f64 / received.delivered_bytes.max(1) as f64;
            (all, on_link.offered_bytes as f64 / received.delivered_bytes.max(1) as f64)
        };
        let (free, costly) = (share(Vec::new()), share(vec![slot]));
        println!(
            "{} links: feedback in all, and by the link: {free:.4?}, metered {costly:.4?}",
            links.len()
        );
        assert!(costly.0 < 0.011 && free.0 > costly.0, "{free:?} {costly:?}");
    }
}

#[test]
fn a_lone_metered_link_carries_what_an_unmetered_one_does() {
    for (mbit, least) in [(1, 0.85), (5, 0.9), (50, 0.95)] {
        let goodput = |metered| {
            let links = vec![LinkConfig::mbit(mbit, 30_000)];
            let config = WorldConfig { metered, ..WorldConfig::symmetric(links, 75) };
            let mut world = opened(config);
            let flow = scene::tcp(&mut world, CLIENT, Congestion::Cubic, 1438);
            world.run_for(5_000_000);
            scene::goodput(&mut world, flow, CLIENT, 15_000_000)
        };
        let (free, costly) = (goodput(Vec::new()), goodput(vec![0]));
        println!("{mbit} Mbit/s: {free:.2}, metered {costly:.2} Mbit/s");
        assert!(costly > least * free, "{costly} of {free} Mbit/s");
    }
}

#[test]
fn the_death_of_a_metered_link_loses_nothing() {
    for metered in [vec![0], vec![1], vec![0, 1]] {
        let config =
            WorldConfig { metered: metered.clone(), ..WorldConfig::symmetric(flagship(), 76) };
        let mut world = opened(config);
        let streams = [CLIENT, SERVER].map(|from| stream(&mut world, from, 1_000, 10_000));
        world.run_for(3_000_000);
        black_hole(&mut world, 0, Switch::On);
        world.run_for(12_000_000);
        for (flow, from) in streams.into_iter().zip([CLIENT, SERVER]) {
            let report = received(&world, flow, from);
            println!("metered {metered:?}, from {from}: gap {} us", report.gap_max);
            assert_eq!(report.packets_lost, 0);
            assert!(report.gap_max < 300_000, "{} us", report.gap_max);
        }
    }
}
