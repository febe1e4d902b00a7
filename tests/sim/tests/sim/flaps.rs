//! Links that die again and again.

use engine::{Ablation, Event, PathState, Trial};
use lab::link::{LinkConfig, Switch};
use sim::flow::Congestion;
use sim::world::{CLIENT, SERVER, World, WorldConfig};

use super::scene::{self, black_hole, bytes_on, flagship, opened, received, stream};

/// What a stream suffered.
#[derive(Clone, Copy, Debug, Default)]
struct Suffered {
    lost: u64,
    /// Interruptions of more than 20 ms, and how long they were together, in microseconds.
    gaps: u64,
    silence: u64,
}

#[test]
fn a_link_that_flaps_beside_a_steady_one_interrupts_little() {
    for line in [0, 1] {
        let [damped, undamped] = [Trial::default(), without()].map(|trial| flapping(line, trial));
        println!("link {line} flaps: {damped:?}, undamped {undamped:?}");
        assert_eq!(damped.lost, 0);
        assert!(damped.lost <= undamped.lost);
        assert!(damped.gaps <= undamped.gaps && damped.silence <= undamped.silence);
        if line == 0 {
            assert!(damped.gaps * 3 < undamped.gaps, "the stream is on the link that flaps");
        }
    }
}

#[test]
fn what_is_learnt_about_a_flapping_link_costs_the_steady_one_nothing() {
    let goodput = |flaps| {
        let mut world = opened(WorldConfig::symmetric(flagship(), 82));
        let flow = scene::tcp(&mut world, CLIENT, Congestion::Cubic, 1438);
        for _ in 0..3 {
            black_hole(&mut world, 1, Switch::On);
            world.run_for(1_500_000);
            black_hole(&mut world, 1, Switch::Off);
            world.run_for(1_500_000);
        }
        black_hole(&mut world, 1, Switch::On);
        world.run_for(8_000_000);
        let before = world.reports(flow)[SERVER].bytes_delivered;
        for _ in 0..8 {
            if flaps {
                // Just long enough to come on probation, and to die there.
                black_hole(&mut world, 1, Switch::Off);
            }
            world.run_for(900_000);
            black_hole(&mut world, 1, Switch::On);
            world.run_for(1_100_000);
        }
        world.reports(flow)[SERVER].bytes_delivered - before
    };
    let (dark, flapping) = (goodput(false), goodput(true));
    println!("16 s beside a dark link: {dark} bytes, beside one that flaps {flapping}");
    assert!(flapping as f64 > 0.99 * dark as f64, "{flapping} of {dark} bytes");
}

#[test]
fn a_link_that_is_away_two_seconds_of_ten_is_still_worth_having() {
    let goodput = |trial| {
        let mut world = opened(WorldConfig { trial, ..WorldConfig::symmetric(flagship(), 83) });
        let flow = scene::tcp(&mut world, CLIENT, Congestion::Cubic, 1438);
        world.run_for(5_000_000);
        let before = world.reports(flow)[SERVER].bytes_delivered;
        for _ in 0..6 {
            black_hole(&mut world, 1, Switch::On);
            world.run_for(2_000_000);
            black_hole(&mut world, 1, Switch::Off);
            world.run_for(8_000_000);
        }
        (world.reports(flow)[SERVER].bytes_delivered - before) as f64 * 8.0 / 60e6
    };
    let [damped, undamped] = [Trial::default(), without()].map(goodput);
    println!("outages of 2 s in 10 s: {damped:.1} Mbit/s, undamped {undamped:.1} Mbit/s");
    assert!(damped > 0.9 * undamped, "{damped} of {undamped} Mbit/s");
}

#[test]
fn a_lone_link_that_flaps_is_used_as_soon_as_it_answers() {
    let mut world = opened(WorldConfig::symmetric(vec![LinkConfig::mbit(50, 20_000)], 84));
    for turn in 0..12 {
        black_hole(&mut world, 0, Switch::On);
        // The kernel's word: silence alone never takes the last path.
        fail(&mut world, 0);
        world.run_for(2_000_000 + turn * 17_000);
        black_hole(&mut world, 0, Switch::Off);
        world.run_for(400_000);
        assert_eq!(world.path_state(CLIENT, 0), Some(PathState::Up), "at {}", world.now());
        let streams = [CLIENT, SERVER].map(|from| stream(&mut world, from, 1_000, 1_000));
        world.run_for(1_600_000);
        for (flow, from) in streams.into_iter().zip([CLIENT, SERVER]) {
            // A path that returned for the fifth time is known to carry little, and the queue drops a few.
            let lost = received(&world, flow, from).packets_lost;
            assert!(lost <= 10, "{lost} lost in turn {turn}");
        }
    }
}

#[test]
fn a_link_on_probation_is_used_at_once_when_the_other_dies() {
    let mut world = opened(WorldConfig::symmetric(flagship(), 85));
    for _ in 0..5 {
        black_hole(&mut world, 1, Switch::On);
        fail(&mut world, 1);
        world.run_for(1_000_000);
        black_hole(&mut world, 1, Switch::Off);
        world.run_for(1_500_000);
    }
    assert_eq!(world.path_state(CLIENT, 1), Some(PathState::Probation));
    let flow = stream(&mut world, CLIENT, 1_000, 4_000);
    world.run_for(2_000_000);
    assert_eq!(world.path_state(CLIENT, 1), Some(PathState::Probation));
    let copies = world.session(CLIENT).outbound.stats().copies;
    black_hole(&mut world, 0, Switch::On);
    world.run_for(5_000_000);

    let report = received(&world, flow, CLIENT);
    println!("{copies} copies in 2 s of probation; gap {} us", report.gap_max);
    assert!((10..=80).contains(&copies), "{copies} of 2000 packets were copied");
    assert_eq!(report.packets_lost, 0);
    assert!(report.gap_max < 200_000, "{} us", report.gap_max);
}

#[test]
fn a_link_that_returns_for_the_first_time_is_used_within_a_second_and_a_half() {
    let mut worst = 0;
    for seed in 0..8 {
        let mut world = opened(WorldConfig::symmetric(flagship(), 860 + seed));
        stream(&mut world, CLIENT, 1_000, 20_000);
        world.run_for(1_000_000 + seed * 37_000);
        black_hole(&mut world, 0, Switch::On);
        world.run_for(5_000_000);
        black_hole(&mut world, 0, Switch::Off);
        let returned = world.now();
        let mut before = bytes_on(&mut world, CLIENT, 0);
        while bytes_on(&mut world, CLIENT, 0) - before <= 1_500 {
            before = bytes_on(&mut world, CLIENT, 0);
            world.run_for(10_000);
            assert!(world.now() < returned + 1_500_000, "seed {seed}");
        }
        worst = worst.max(world.now() - returned);
    }
    println!("first-choice data {worst} us after the return at worst");
}

/// A thousand packets a second for a minute, over two links of which one is away every other two seconds.
fn flapping(line: usize, trial: Trial) -> Suffered {
    let mut world = opened(WorldConfig { trial, ..WorldConfig::symmetric(flagship(), 81) });
    world.keep = true;
    let flow = stream(&mut world, CLIENT, 1_000, 60_000);
    for _ in 0..15 {
        world.run_for(2_000_000);
        black_hole(&mut world, line, Switch::On);
        world.run_for(2_000_000);
        black_hole(&mut world, line, Switch::Off);
    }
    world.run_for(3_000_000);
    let lost = received(&world, flow, CLIENT).packets_lost;
    let times: Vec<u64> = world.take_delivered(SERVER).iter().map(|it| it.at).collect();
    let gaps: Vec<u64> =
        times.windows(2).map(|pair| pair[1] - pair[0]).filter(|&gap| gap > 20_000).collect();
    let deaths = world
        .take_events(CLIENT)
        .into_iter()
        .filter(|(_, event)| matches!(event, Event::Path { to: PathState::Suspect, .. }));
    println!("    suspected {} times", deaths.count());
    Suffered { lost, gaps: gaps.len() as u64, silence: gaps.iter().sum() }
}

/// The kernel says at both ends that nothing goes by the link.
fn fail(world: &mut World, slot: u8) {
    let now = engine::Time(world.now());
    for end in [CLIENT, SERVER] {
        world.session(end).outbound.fail_path(
            now,
            engine::PathId(slot),
            engine::Hint::Carrier,
            now,
        );
    }
}

fn without() -> Trial {
    Trial::default().with_word(Ablation::NoDamping.name()).expect("a word")
}
