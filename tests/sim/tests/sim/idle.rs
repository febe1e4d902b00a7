//! Sessions with nothing to do, and what they take for granted meanwhile.

use engine::PathId;
use lab::link::{Change, LinkConfig, Switch};
use sim::flow::Congestion;
use sim::world::{CLIENT, SERVER, World, WorldConfig};

use super::scene::{self, black_hole, flagship, opened, received, stream};

#[test]
fn an_idle_session_with_a_dead_link_is_no_silent_one() {
    let mut world = World::new(WorldConfig::symmetric(flagship(), 61));
    black_hole(&mut world, 1, Switch::On);
    world.run_until(3_000_000);

    for _ in 0..600 {
        world.run_for(100_000);
        let now = engine::Time(world.now());
        let owed = world.session(CLIENT).outbound.unanswered_for(now);
        assert!(owed < engine::Span::millis(500), "{owed:?} at {}", world.now());
    }
}

#[test]
fn nothing_counts_as_lost_where_nothing_is() {
    let mut world = opened(WorldConfig::symmetric(flagship(), 62));
    stream(&mut world, CLIENT, 1_000, 2_000);
    world.run_for(90_000_000);

    for end in [CLIENT, SERVER] {
        for slot in 0..2 {
            let path = world.session(end).outbound.path_snapshot(PathId(slot)).expect("a path");
            assert_eq!(path.sent.lost, 0, "end {end} path {slot}: {:?}", path.sent);
        }
    }
}

#[test]
fn silence_for_most_of_the_clocks_round_is_survived() {
    // Stamps come round after 71.6 minutes; past half of it they look like the past.
    let mut world = opened(WorldConfig::symmetric(vec![LinkConfig::mbit(50, 10_000)], 63));
    black_hole(&mut world, 0, Switch::On);
    world.run_for(50 * 60_000_000);
    black_hole(&mut world, 0, Switch::Off);
    world.run_for(3_000_000);

    let streams = [CLIENT, SERVER].map(|from| stream(&mut world, from, 1_000, 1_000));
    world.run_for(3_000_000);

    for (flow, from) in streams.into_iter().zip([CLIENT, SERVER]) {
        assert_eq!(received(&world, flow, from).packets_lost, 0);
        assert_eq!(world.session(from).inbound.stats().stale, 0);
    }
}

#[test]
fn a_short_darkness_under_load_is_no_matter_of_size() {
    let mut world = opened(WorldConfig::symmetric(vec![LinkConfig::mbit(50, 10_000)], 64));
    let flow = scene::tcp(&mut world, CLIENT, Congestion::Cubic, 1438);
    world.run_for(3_000_000);
    for darkness in [5_000, 20_000, 60_000, 300_000] {
        black_hole(&mut world, 0, Switch::On);
        world.run_for(darkness);
        black_hole(&mut world, 0, Switch::Off);
        world.run_for(3_000_000);
    }

    let outbound = &world.session(CLIENT).outbound;
    assert_eq!(outbound.stats().dropped_too_big, 0);
    assert_eq!(outbound.path_snapshot(PathId(0)).map(|path| path.mtu), Some(1500));
    assert!(scene::goodput(&mut world, flow, CLIENT, 5_000_000) > 40.0);
}

#[test]
fn a_path_that_becomes_longer_is_filled_again() {
    for us in [30_000, 70_000] {
        let mut world = opened(WorldConfig::symmetric(vec![LinkConfig::mbit(50, 10_000)], 65));
        let flow = scene::tcp(&mut world, CLIENT, Congestion::Cubic, 1438);
        world.run_for(5_000_000);

        world.change_both(0, Change::Delay { us });
        // CUBIC needs some eleven seconds for a window of this size.
        world.run_for(15_000_000);

        let rate = scene::goodput(&mut world, flow, CLIENT, 5_000_000);
        println!("{rate:.1} Mbit/s once the path takes {us} us");
        assert!(rate > 35.0, "{rate} Mbit/s");
    }
}
