//! What one TCP flow gets through the tunnel.

use lab::link::{Change, LinkConfig, Loss};
use sim::flow::Congestion::{self, Bbr, Cubic};
use sim::world::{CLIENT, SERVER, WorldConfig};

use super::scene::{self, PAYLOAD_SHARE, flagship, flagship_lte, goodput, opened};

#[test]
fn a_single_link_carries_what_it_can() {
    for (rate, delay) in [(100, 10_000), (50, 30_000), (10, 20_000)] {
        for congestion in [Cubic, Bbr] {
            for from in [CLIENT, SERVER] {
                let share = share(vec![LinkConfig::mbit(rate, delay)], rate, from, congestion, 3);
                println!("{rate} Mbit/s {delay} us {congestion:?} from {from}: {share:.3}");
                let wanted = if congestion == Cubic { 0.99 } else { 0.98 };
                assert!(share >= wanted);
            }
        }
    }
}

#[test]
fn one_flow_fills_both_links() {
    // The mean over the seeds, and the least: a flow that leaves slow start early is still growing.
    for (congestion, mean, least) in [(Cubic, 0.98, 0.96), (Bbr, 0.97, 0.95)] {
        for from in [CLIENT, SERVER] {
            let shares = (0..6).map(|seed| share(flagship(), 150, from, congestion, seed));
            let shares: Vec<f64> = shares.collect();
            println!("flagship {congestion:?} from {from}: {shares:.3?}");
            assert!(shares.iter().sum::<f64>() / shares.len() as f64 >= mean);
            assert!(shares.iter().all(|&share| share >= least));
        }
    }
}

#[test]
fn what_a_wide_link_loses_at_once_makes_no_queue_of_seconds_on_a_narrow_one() {
    for from in [CLIENT, SERVER] {
        let links = vec![LinkConfig::mbit(145, 70_000), LinkConfig::mbit(4, 14_000)];
        let mut world = opened(WorldConfig::symmetric(links, 28));
        scene::tcp(&mut world, from, Cubic, 1438);
        world.run_for(8_000_000);
        world.change(0, from, Change::Loss(Loss::Independent { probability: 0.8 }));
        world.run_for(60_000);
        world.change(0, from, Change::Loss(Loss::None));

        let mut most = 0;
        for _ in 0..100 {
            world.run_for(5_000);
            let narrow = world.path_snapshot(from, 1);
            most = most.max(narrow.expect("it is open").in_flight);
        }
        println!("from {from}: {most} bytes on the narrow link");
        assert!(most < 60_000, "{most} bytes: {} ms", most / 500);
    }
}

#[test]
fn a_bad_second_link_does_no_harm() {
    // BBR may settle on the better link alone, which is no loss; CUBIC gains from both.
    for (congestion, worst, mean) in [(Cubic, 1.0, 1.15), (Bbr, 0.95, 1.1)] {
        let mut gains = Vec::new();
        for seed in 0..3 {
            for from in [CLIENT, SERVER] {
                let alone = share(flagship()[..1].to_vec(), 100, from, congestion, seed);
                let both = share(flagship_lte(), 100, from, congestion, seed);
                let gain = both / alone;
                println!(
                    "LTE {congestion:?} from {from} seed {seed}: {gain:.2}, {:.3}",
                    both / 1.5
                );
                assert!(gain >= worst);
                gains.push(gain);
            }
        }
        let all: f64 = gains.iter().sum();
        assert!(all / gains.len() as f64 >= mean, "{congestion:?}: {gains:?}");
    }
}

#[test]
fn two_paths_through_one_bottleneck_are_as_good_as_one() {
    let link = || vec![LinkConfig::mbit(50, 20_000)];
    let mut queues = Vec::new();
    for paths in [1, 2] {
        let mut world = opened(WorldConfig::symmetric(link(), 5));
        if paths == 2 {
            world.open_path(0, 1);
            world.run_for(1_000_000);
        }
        let flow = scene::tcp(&mut world, CLIENT, Cubic, 1438);
        world.run_for(5_000_000);
        let share = goodput(&mut world, flow, CLIENT, 10_000_000) / (50.0 * PAYLOAD_SHARE);
        let queue = world.counters(0)[CLIENT].queue_us;
        println!("{paths} paths: {share:.3}, queue mean {} p99 {} us", queue.mean, queue.p99);
        assert!(share >= 0.95);
        queues.push(queue.mean);
        assert_eq!(world.session(SERVER).inbound.stats().late, 0);
    }
    assert!(queues[1] <= 2.0 * queues[0] + 2_000.0, "{queues:?}");
}

/// The goodput of one flow after its start, as a share of what this rate in Mbit/s could carry.
fn share(links: Vec<LinkConfig>, rate: u64, from: usize, congestion: Congestion, seed: u64) -> f64 {
    let mut world = opened(WorldConfig::symmetric(links, seed));
    let flow = scene::tcp(&mut world, from, congestion, 1438);
    world.run_for(3_000_000);
    // BBR looks for its smallest round trip after ten seconds, and sends next to nothing meanwhile.
    goodput(&mut world, flow, from, 6_000_000) / (rate as f64 * PAYLOAD_SHARE)
}
