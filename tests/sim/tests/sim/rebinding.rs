//! Addresses that change, and somebody who pretends that they do.

use engine::{Event, PathState};
use lab::link::LinkConfig;
use sim::world::{CLIENT, SERVER, World, WorldConfig};

use super::scene::{flagship, opened, received, stream};

#[test]
fn a_rebinding_on_one_of_two_paths_loses_nothing() {
    for line in [0, 1] {
        let mut world = opened(WorldConfig::symmetric(flagship(), 21));
        let streams = [CLIENT, SERVER].map(|from| stream(&mut world, from, 1_000, 10_000));
        world.run_for(3_000_000);
        world.take_events(SERVER);

        world.rebind(line);
        world.run_for(9_000_000);

        let rebound = |&(_, event): &(u64, Event)| matches!(event, Event::Rebound(_));
        assert_eq!(world.take_events(SERVER).iter().filter(|event| rebound(event)).count(), 1);
        for from in [CLIENT, SERVER] {
            let report = received(&world, streams[from], from);
            println!("line {line} rebinds: from {from}: gap {} us", report.gap_max);
            assert_eq!(report.packets_lost, 0);
            assert_eq!(world.path_state(from, line), Some(PathState::Up));
        }
    }
}

#[test]
fn a_rebinding_on_the_only_path_is_a_short_gap() {
    let links = vec![LinkConfig::mbit(50, 20_000)];
    let mut world = opened(WorldConfig::symmetric(links, 22));
    let streams = [CLIENT, SERVER].map(|from| stream(&mut world, from, 1_000, 10_000));
    world.run_for(3_000_000);

    world.rebind(0);
    world.run_for(9_000_000);

    let [up, down] = [CLIENT, SERVER].map(|from| received(&world, streams[from], from));
    println!(
        "lost {} up, {} down; gap {} us down",
        up.packets_lost, down.packets_lost, down.gap_max
    );
    assert_eq!(up.packets_lost, 0);
    // What was sent to the address that is gone: one way up, and the time to be sure of it.
    assert!(down.packets_lost <= 60, "{} lost", down.packets_lost);
    assert!(down.gap_max <= 70_000, "nothing for {} us", down.gap_max);
    assert_eq!(world.path_state(SERVER, 0), Some(PathState::Up));
}

#[test]
fn a_copier_who_wins_the_race_gets_next_to_nothing_and_costs_nothing() {
    for links in [flagship(), vec![LinkConfig::mbit(50, 20_000)]] {
        let mut world = opened(WorldConfig::symmetric(links, 23));
        let streams = [CLIENT, SERVER].map(|from| stream(&mut world, from, 1_000, 20_000));
        world.run_for(3_000_000);

        world.put_copier(0, 5_000);
        world.run_for(10_000_000);

        let caught = world.caught(0);
        println!("{} datagrams to the copier in 10 s", caught.len());
        assert!(!caught.is_empty());
        assert!(caught.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 10_000), "one each 10 ms");
        assert!(caught.iter().all(|&(_, len)| len <= 60), "only challenges");
        world.run_for(10_000_000);
        for from in [CLIENT, SERVER] {
            let report = received(&world, streams[from], from);
            assert_eq!(report.packets_lost, 0);
            assert_eq!(world.path_state(from, 0), Some(PathState::Up));
        }
    }
}

#[test]
fn a_copier_who_was_there_before_the_path_does_not_own_it() {
    for links in [flagship(), vec![LinkConfig::mbit(50, 20_000)]] {
        let mut world = World::new(WorldConfig::symmetric(links, 24));
        world.put_copier(0, 5_000);
        world.run_until(3_000_000);
        for end in [CLIENT, SERVER] {
            assert_eq!(world.path_state(end, 0), Some(PathState::Up));
        }

        let streams = [CLIENT, SERVER].map(|from| stream(&mut world, from, 1_000, 3_000));
        world.run_for(5_000_000);

        println!("{} datagrams to the copier", world.caught(0).len());
        for from in [CLIENT, SERVER] {
            assert_eq!(received(&world, streams[from], from).packets_lost, 0);
        }
    }
}
