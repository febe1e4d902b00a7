//! Links of which the one that carries most is not the nearest, or is hard to know.

use engine::{Mode, PathState};
use lab::link::{Jitter, JitterLaw, LinkConfig, Loss, QueueLimit, Switch};
use sim::flow::Congestion;
use sim::world::{CLIENT, SERVER, World, WorldConfig};

use super::scene::{self, opened};

#[test]
fn an_inner_bbr_gets_past_a_near_and_narrow_link() {
    // Twice what fits into the shortest round trip is all that it ever sends: 17 ms of 6 Mbit/s.
    for from in [CLIENT, SERVER] {
        let links = vec![LinkConfig::mbit(90, 60_000), LinkConfig::mbit(6, 8_000)];
        let mut world = opened(WorldConfig::symmetric(links, 21));
        let goodput = goodput(&mut world, from, Congestion::Bbr);
        println!("from {from}: {goodput:.1} of 96 Mbit/s");
        assert!(goodput > 0.8 * 90.0, "{goodput} Mbit/s");
    }
}

#[test]
fn an_inner_bbr_that_looks_for_its_round_trip_keeps_both_links() {
    // It does each ten seconds, with four packets, and counts with what it sees from then on.
    for from in [CLIENT, SERVER] {
        let links = vec![LinkConfig::mbit(100, 10_000), LinkConfig::mbit(50, 30_000)];
        let mut world = opened(WorldConfig::symmetric(links, 27));
        let flow = scene::tcp(&mut world, from, Congestion::Bbr, 1438);
        world.run_for(14_000_000);
        let goodput = scene::goodput(&mut world, flow, from, 16_000_000);
        println!("from {from}: {goodput:.1} of 138 Mbit/s");
        assert!(goodput > 0.9 * 138.0, "{goodput} Mbit/s");
    }
}

#[test]
fn a_link_that_is_suspect_for_a_moment_goes_on_leading() {
    // A download begins in the very moment in which the wide link pauses.
    for (seed, dark) in [(33, 60_000), (34, 80_000), (35, 100_000), (36, 120_000)] {
        let links = vec![LinkConfig::mbit(90, 50_000), LinkConfig::mbit(6, 8_000)];
        let mut world = opened(WorldConfig::symmetric(links, seed));
        scene::stream(&mut world, SERVER, 10_000, 300);
        world.run_for(1_000_000);
        scene::black_hole(&mut world, 0, Switch::On);
        world.run_for(dark);
        let flow = scene::tcp(&mut world, SERVER, Congestion::Bbr, 1438);
        world.run_for(10_000);
        scene::black_hole(&mut world, 0, Switch::Off);
        world.run_for(4_000_000);
        let goodput = scene::goodput(&mut world, flow, SERVER, 6_000_000);
        println!("dark for {dark} us: {goodput:.1} of 89 Mbit/s");
        assert!(goodput > 0.8 * 89.0, "{goodput} Mbit/s");
    }
}

#[test]
fn nobody_waits_behind_a_flow_that_waits_for_a_suspect_lead() {
    for mode in [Mode::Split, Mode::ActiveStandby, Mode::FlowHash] {
        let links = vec![LinkConfig::mbit(90, 50_000), LinkConfig::mbit(6, 8_000)];
        let config = WorldConfig { mode, ..WorldConfig::symmetric(links, 40) };
        let mut world = opened(config);
        scene::stream(&mut world, SERVER, 10_000, 300);
        world.run_for(1_000_000);
        scene::black_hole(&mut world, 0, Switch::On);
        while world.path_state(SERVER, 0) == Some(PathState::Up) {
            world.run_for(1_000);
        }
        let led = scene::tcp(&mut world, SERVER, Congestion::Bbr, 1438);
        world.run_for(1_000);
        let call = scene::stream(&mut world, SERVER, 20_000, 20);
        world.run_for(3_000_000);
        let report = scene::received(&world, call, SERVER);
        println!("{mode:?}: {:?}", report.one_way_delay);
        assert_eq!(report.packets_lost, 0);
        assert!(report.one_way_delay.max < 50_000.0, "{mode:?}: {:?}", report.one_way_delay);
        assert!(world.reports(led)[CLIENT].bytes_delivered > 0);
    }
}

#[test]
fn long_links_are_filled_by_a_sender_that_minds_their_difference() {
    // HyStart ends at the first round trip that is longer: no packet is to take the farther link while the nearer has
    // only not been given what it carries.
    let fifth = |rate, delay| LinkConfig {
        queue: QueueLimit::Time { us: 400_000 },
        ..LinkConfig::mbit(rate, delay)
    };
    for (seed, links) in [
        (37, vec![fifth(88, 87_000), fifth(5, 85_000)]),
        (38, vec![fifth(87, 55_000), fifth(14, 89_000)]),
        (39, vec![fifth(200, 50_000), fifth(60, 55_000)]),
    ] {
        let whole = links.iter().filter_map(|link| link.rate.mean_bits_per_second()).sum::<u64>()
            as f64
            / 1e6;
        let mut world = opened(WorldConfig::symmetric(links, seed));
        let goodput = goodput(&mut world, CLIENT, Congestion::Cubic);
        println!("seed {seed}: {goodput:.1} of {whole:.0} Mbit/s");
        assert!(goodput > 0.8 * scene::PAYLOAD_SHARE * whole, "{goodput} Mbit/s");
    }
}

#[test]
fn a_far_link_that_brings_little_is_left_alone_from_the_beginning() {
    for (seed, congestion) in [(22, Congestion::Cubic), (23, Congestion::Bbr)] {
        let links = vec![LinkConfig::mbit(60, 8_000), LinkConfig::mbit(8, 100_000)];
        let mut world = opened(WorldConfig::symmetric(links, seed));
        let goodput = goodput(&mut world, CLIENT, congestion);
        println!("{congestion:?}: {goodput:.1} of 60 Mbit/s");
        assert!(goodput > 0.9 * 60.0 * 0.92, "{goodput} Mbit/s");
    }
}

#[test]
fn a_delay_that_wanders_slowly_is_no_queue() {
    // Redrawn each 57 ms, several round trips: for so long it looks like one.
    for seed in 24..27 {
        let law = JitterLaw::Held { interval_us: 57_000 };
        let jitter = Jitter { sigma_us: 4_000, law };
        let links = vec![LinkConfig { jitter, ..LinkConfig::mbit(100, 5_000) }];
        let mut world = opened(WorldConfig::symmetric(links, seed));
        let goodput = goodput(&mut world, CLIENT, Congestion::Bbr);
        println!("seed {seed}: {goodput:.1} of 100 Mbit/s");
        assert!(goodput > 50.0, "{goodput} Mbit/s");
    }
}

#[test]
fn acknowledgements_that_a_near_and_narrow_link_cannot_carry_take_the_wide_one() {
    // One for every other packet of 200 Mbit/s are 8 Mbit/s.
    for (seed, congestion) in [(28, Congestion::Cubic), (29, Congestion::Bbr)] {
        let links = vec![LinkConfig::mbit(200, 30_000), LinkConfig::mbit(5, 7_000)];
        let mut world = opened(WorldConfig::symmetric(links, seed));
        let goodput = goodput(&mut world, CLIENT, congestion);
        println!("{congestion:?}: {goodput:.1} of 189 Mbit/s");
        assert!(goodput > 0.8 * 189.0, "{goodput} Mbit/s");
    }
}

#[test]
fn a_radio_that_loses_packets_and_wanders_slowly_is_used_whole() {
    let mut shares = Vec::new();
    for seed in 30..36 {
        let jitter = Jitter { sigma_us: 5_000, law: JitterLaw::Held { interval_us: 23_000 } };
        let loss = Loss::Independent { probability: 0.02 };
        let links = vec![LinkConfig { jitter, loss, ..LinkConfig::mbit(120, 4_000) }];
        let mut world = opened(WorldConfig::symmetric(links, seed));
        let goodput = goodput(&mut world, CLIENT, Congestion::Cubic);
        println!("seed {seed}: {goodput:.1} of 111 Mbit/s");
        shares.push(goodput / 111.0);
    }
    // Taken for a queue, this jitter leaves 0.2 to 0.3.
    assert!(shares.iter().all(|&share| share > 0.35), "{shares:.2?}");
    assert!(shares.iter().sum::<f64>() > 0.4 * shares.len() as f64, "{shares:.2?}");
}

/// What a flow carries from its fourth to its tenth second, in Mbit/s.
fn goodput(world: &mut World, from: usize, congestion: Congestion) -> f64 {
    let flow = scene::tcp(world, from, congestion, 1438);
    world.run_for(4_000_000);
    scene::goodput(world, flow, from, 6_000_000)
}
