//! Links that die in silence, and return.

use engine::{Ablation, Event, Hint, PathId, PathState, Span, Time, Trial};
use lab::link::{Change, LinkConfig, Switch};
use sim::flow::Congestion;
use sim::world::{CLIENT, SERVER, World, WorldConfig};

use super::scene::{self, black_hole, bytes_on, flagship, opened, received, stream};

#[test]
fn the_silent_death_of_either_link_loses_no_packet_of_a_stream() {
    for line in [0, 1] {
        for (what, directions) in
            [("both", &[CLIENT, SERVER][..]), ("up", &[CLIENT]), ("down", &[SERVER])]
        {
            let mut world = opened(WorldConfig::symmetric(flagship(), 3));
            let up = stream(&mut world, CLIENT, 1_000, 20_000);
            let down = stream(&mut world, SERVER, 1_000, 20_000);
            world.run_for(5_000_000);

            for &direction in directions {
                world.change(line, direction, Change::Blackhole(Switch::On));
            }
            world.run_for(5_000_000);
            let died = [CLIENT, SERVER].map(|end| suspected(&mut world, end, line));
            black_hole(&mut world, line, Switch::Off);
            world.run_for(12_000_000);

            for (flow, from) in [(up, CLIENT), (down, SERVER)] {
                let report = received(&world, flow, from);
                let gap = report.gap_max.saturating_sub(1_000);
                println!("link {line} dark {what}: from {from}: gap {gap} us, {died:?}");
                assert_eq!(report.packets_lost, 0);
                assert!(gap <= 150_000, "link {line} dark {what}: nothing for {gap} us");
            }
        }
    }
}

#[test]
fn a_heavy_stream_moves_whole_to_a_link_that_has_carried_nothing_yet() {
    for seed in 0..4 {
        let mut world = opened(WorldConfig::symmetric(flagship(), seed));
        // 40 Mbit/s of the 46 that the link left carries.
        let flow = scene::stream_of(&mut world, CLIENT, 1_400, 280, 30_000);
        world.run_for(2_000_000 + 7_000 * seed);
        black_hole(&mut world, 0, Switch::On);
        world.run_for(10_000_000);

        let report = received(&world, flow, CLIENT);
        println!("seed {seed}: gap {} us", report.gap_max);
        assert_eq!(report.packets_lost, 0, "seed {seed}");
        assert!(report.gap_max < 100_000, "seed {seed}: nothing for {} us", report.gap_max);
    }
}

#[test]
fn what_is_late_goes_by_an_idle_link_before_its_own_is_suspected() {
    for (directions, from) in
        [(&[CLIENT, SERVER][..], CLIENT), (&[CLIENT, SERVER], SERVER), (&[CLIENT], CLIENT)]
    {
        let gap = |trial| {
            let mut world = opened(WorldConfig { trial, ..WorldConfig::symmetric(flagship(), 5) });
            let flow = stream(&mut world, from, 1_000, 5_000);
            world.run_for(2_000_000);
            for &direction in directions {
                world.change(0, direction, Change::Blackhole(Switch::On));
            }
            world.run_for(5_000_000);
            received(&world, flow, from).gap_max
        };
        let [early, late] = [Trial::default(), Trial::default().with(Ablation::NoRescue)].map(gap);
        println!("{directions:?} from {from}: nothing for {early} us, otherwise {late}");
        assert!(early + 5_000 < late, "{early} {late}");
    }
}

#[test]
fn a_link_that_only_jitters_has_next_to_nothing_sent_twice() {
    let mut world = opened(WorldConfig::symmetric(scene::flagship_lte(), 6));
    let flow = scene::stream_of(&mut world, CLIENT, 1_400, 100, 200_000);
    world.run_for(21_000_000);
    let stats = world.session(CLIENT).outbound.stats();
    let again = stats.retransmission_bytes as f64 / stats.bytes_sent as f64;
    println!("sent again: {again:.4}, {:?}", received(&world, flow, CLIENT).gap_max);
    assert!(again < 0.02, "{again}");
}

#[test]
fn a_link_that_returns_carries_first_choice_data_within_three_seconds() {
    let mut world = opened(WorldConfig::symmetric(flagship(), 4));
    stream(&mut world, CLIENT, 1_000, 30_000);
    black_hole(&mut world, 0, Switch::On);
    world.run_for(10_000_000);
    assert_eq!(world.path_state(CLIENT, 0), Some(PathState::Dead));

    black_hole(&mut world, 0, Switch::Off);
    let returned = world.now();
    let mut used = None;
    while used.is_none() && world.now() < returned + 5_000_000 {
        let before = bytes_on(&mut world, CLIENT, 0);
        world.run_for(10_000);
        // Ten packets of the stream: more than probes ever are.
        used = (bytes_on(&mut world, CLIENT, 0) - before > 1_500).then(|| world.now() - returned);
    }

    let used = used.expect("the better link is used again");
    println!("first-choice data {used} us after the return");
    assert!(used <= 3_000_000);
}

#[test]
fn tcp_goes_on_over_the_other_link() {
    let (mut gaps, mut shares) = (Vec::new(), Vec::new());
    for (seed, (line, left)) in (0..6).zip([(0, 50.0), (1, 100.0)].into_iter().cycle()) {
        let mut world = opened(WorldConfig::symmetric(flagship(), seed));
        let flow = scene::tcp(&mut world, CLIENT, Congestion::Cubic, 1438);
        world.run_for(10_000_000);
        let timeouts = world.reports(flow)[CLIENT].timeouts;

        black_hole(&mut world, line, Switch::On);
        world.run_for(2_000_000);
        let gap = world.reports(flow)[SERVER].gap_max;
        let alone = scene::goodput(&mut world, flow, CLIENT, 3_000_000);
        black_hole(&mut world, line, Switch::Off);
        world.run_for(3_000_000);
        let together = scene::goodput(&mut world, flow, CLIENT, 5_000_000);

        let timeouts = world.reports(flow)[CLIENT].timeouts - timeouts;
        println!(
            "link {line} died: gap {gap} us, {timeouts} timeouts, {alone:.1} then {together:.1} Mbit/s"
        );
        // Moving again within a second; a flow that is in recovery already takes longest.
        assert!(gap < 1_000_000);
        gaps.push(gap);
        assert!(alone > 0.9 * left * scene::PAYLOAD_SHARE, "{alone} Mbit/s on the link left");
        shares.push(together / 150.0 / scene::PAYLOAD_SHARE);
    }
    // CUBIC has settled on what was left, and takes ten seconds to grow to twice and three times that: how far it is by
    // now depends on when it last gave something up.
    assert!(shares.iter().all(|&share| share > 0.63), "{shares:.3?} after the return");
    assert!(
        shares.iter().sum::<f64>() > 0.68 * shares.len() as f64,
        "{shares:.3?} after the return"
    );
    gaps.sort_unstable();
    assert!(gaps[gaps.len() / 2] < 250_000, "{gaps:?}");
}

#[test]
fn both_links_dead_for_ten_seconds_are_used_again_within_three() {
    let mut world = opened(WorldConfig::symmetric(flagship(), 6));
    let first = stream(&mut world, CLIENT, 1_000, 3_000);
    world.run_for(5_000_000);
    assert_eq!(received(&world, first, CLIENT).packets_lost, 0);
    for line in [0, 1] {
        black_hole(&mut world, line, Switch::On);
    }
    stream(&mut world, CLIENT, 1_000, 9_000);
    stream(&mut world, SERVER, 1_000, 9_000);
    let steps = world.steps();
    world.run_for(10_000_000);
    let steps = world.steps() - steps;
    assert!(steps < 100_000, "{steps} steps while nothing could be done");

    for line in [0, 1] {
        black_hole(&mut world, line, Switch::Off);
    }
    world.run_for(3_000_000);
    let after = [CLIENT, SERVER].map(|from| stream(&mut world, from, 1_000, 3_000));
    world.run_for(5_000_000);

    for (flow, from) in after.into_iter().zip([CLIENT, SERVER]) {
        let report = received(&world, flow, from);
        assert_eq!(report.packets_lost, 0);
        assert!(report.one_way_delay.max < 100_000.0, "{:?}", report.one_way_delay);
        assert_eq!(world.path_state(from, 0), Some(PathState::Up));
        assert_eq!(world.path_state(from, 1), Some(PathState::Up));
    }
}

#[test]
fn what_the_kernel_says_is_obeyed_at_once_and_that_is_counted() {
    let mut world = opened(WorldConfig::symmetric(flagship(), 9));
    let flow = stream(&mut world, CLIENT, 1_000, 5_000);
    world.run_for(2_000_500);
    black_hole(&mut world, 0, Switch::On);
    let (now, told) = (Time(world.now()), Time(world.now() - 3_000));
    world.session(CLIENT).outbound.fail_path(now, PathId(0), Hint::Address, told);
    world.run_for(4_000_000);

    let path = world.session(CLIENT).outbound.path_snapshot(PathId(0)).expect("a path").sent;
    println!("{path:?}");
    assert_eq!((path.hints, path.hint), (1, Some(Hint::Address)));
    let after = path.moved_after.expect("the stream goes on");
    assert!((Span::millis(3)..=Span::millis(5)).contains(&after), "{after:?}");
    assert_eq!(received(&world, flow, CLIENT).packets_lost, 0);
    let other = world.session(CLIENT).outbound.path_snapshot(PathId(1)).expect("a path").sent;
    assert_eq!((other.hints, other.moved_after), (0, None));
}

#[test]
fn what_a_kernel_says_is_passed_on_and_the_other_end_leaves_the_link_as_well() {
    // Both links are as far: silence needs a round trip to be noticed, and the word of it half of one.
    let links = || vec![LinkConfig::mbit(100, 10_000), LinkConfig::mbit(50, 11_000)];
    let gap = |told: bool| {
        let mut world = opened(WorldConfig::symmetric(links(), 9));
        let flow = scene::stream_of(&mut world, SERVER, 1_400, 4_000, 1_000);
        world.run_for(2_003_000);
        black_hole(&mut world, 0, Switch::On);
        let now = Time(world.now());
        if told {
            world.session(CLIENT).outbound.fail_path(now, PathId(0), Hint::Carrier, now);
        }
        world.run_for(500_000);
        let path = world.session(SERVER).outbound.path_snapshot(PathId(0)).expect("a path");
        assert_eq!(path.sent.hint, told.then_some(Hint::Peer));
        assert_eq!(path.sent.hints, u64::from(told));
        black_hole(&mut world, 0, Switch::Off);
        world.run_for(3_000_000);
        for end in [CLIENT, SERVER] {
            assert_eq!(world.path_state(end, 0), Some(PathState::Up), "said once, and over");
        }
        let report = received(&world, flow, SERVER);
        assert_eq!(report.packets_lost, 0);
        report.gap_max
    };
    let [told, silent] = [true, false].map(gap);
    println!("told: nothing for {told} us, else {silent}");
    assert!(told + 5_000 < silent, "{told} {silent}");
}

#[test]
fn a_link_by_satellite_opens_and_returns() {
    let links = vec![LinkConfig::mbit(50, 10_000), LinkConfig::mbit(20, 300_000)];
    let mut world = World::new(WorldConfig::symmetric(links, 8));
    world.run_until(2_000_000);
    for end in [CLIENT, SERVER] {
        assert_eq!(world.path_state(end, 1), Some(PathState::Up));
    }

    black_hole(&mut world, 1, Switch::On);
    world.run_for(20_000_000);
    for end in [CLIENT, SERVER] {
        assert_eq!(world.path_state(end, 1), Some(PathState::Dead));
    }
    black_hole(&mut world, 1, Switch::Off);
    world.run_for(3_000_000);

    for end in [CLIENT, SERVER] {
        assert_eq!(world.path_state(end, 1), Some(PathState::Up));
    }
}

#[test]
fn the_only_link_is_used_again_as_soon_as_it_returns() {
    let links = vec![LinkConfig::mbit(50, 20_000)];
    let mut world = opened(WorldConfig::symmetric(links, 7));
    for from in [CLIENT, SERVER] {
        stream(&mut world, from, 1_000, 40_000);
    }
    world.run_for(2_000_000);
    black_hole(&mut world, 0, Switch::On);
    let (steps, sent) = (world.steps(), world.sent(CLIENT).0);
    world.run_for(30_000_000);
    let (steps, sent) = (world.steps() - steps, world.sent(CLIENT).0 - sent);
    println!("{steps} steps and {sent} datagrams of the client's in 30 s of darkness");
    assert!(sent < 10_000);
    assert_eq!(world.path_state(CLIENT, 0), Some(PathState::Up), "there is nothing to turn to");

    black_hole(&mut world, 0, Switch::Off);
    world.run_for(300_000);
    let fresh = [CLIENT, SERVER].map(|from| stream(&mut world, from, 1_000, 1_000));
    world.run_for(3_000_000);

    for (flow, from) in fresh.into_iter().zip([CLIENT, SERVER]) {
        let report = received(&world, flow, from);
        assert_eq!(report.packets_lost, 0);
        assert!(report.one_way_delay.p99 < 100_000.0, "{:?}", report.one_way_delay);
    }
}

/// How long after the fifth second after the opening one end suspected a path, in microseconds.
fn suspected(world: &mut World, end: usize, line: usize) -> Option<u64> {
    let events = world.take_events(end);
    let suspicion = events.into_iter().find(|&(at, event)| {
        at > 6_000_000
            && matches!(event, Event::Path { path, to: PathState::Suspect, .. }
                if usize::from(path.0) == line)
    });
    suspicion.map(|(at, _)| at - 6_000_000)
}
