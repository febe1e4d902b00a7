//! The release rule: wait for every packet that can still come, and for none that can't.

use lab::link::{Change, Jitter, LinkConfig, Loss, QueueLimit};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sim::flow::cbr::{CbrConfig, CbrReceiver, CbrSender};
use sim::packet::{FourTuple, Parsed};
use sim::world::{CLIENT, Delivery, SERVER, World, WorldConfig};

use super::model::Model;
use super::replay::with_seeds;
use super::scene::MODES;

#[test]
fn no_packet_that_can_still_come_is_given_up() {
    with_seeds("no_packet_that_can_still_come_is_given_up", 100, &[462, 1241], |seed| {
        let mut random = StdRng::seed_from_u64(seed);
        let links = (0..random.random_range(1..=4)).map(|_| lossless(&mut random)).collect();
        let mode = MODES[random.random_range(0..MODES.len())];
        let mut world = World::new(WorldConfig { mode, ..WorldConfig::symmetric(links, seed) });
        world.keep = true;
        let mut model = Model::default();

        for _ in 0..60 {
            if random.random_bool(0.1) {
                world.set_mode(MODES[random.random_range(0..MODES.len())]);
            }
            send_burst(&mut random, &mut world, &mut model);
            // Paths go quiet and wake, fall idle and are busy.
            let pause = [1_000, 20_000, 100_000, 1_500_000][random.random_range(0..4)];
            world.run_for(random.random_range(0..pause));
            model.check(&mut world);
        }

        world.run_for(3_000_000);
        model.check(&mut world);
        for end in [CLIENT, SERVER] {
            let stats = world.session(end).inbound.stats();
            // With a queue on the slow path, a packet may take longer than anything is waited for.
            let given_up = (stats.skipped - stats.expired, stats.overflowed);
            assert_eq!(given_up, (0, 0), "{stats:?}");
            assert!(stats.late <= stats.expired && model.inversions(1 - end) <= stats.late);
        }
    });
}

#[test]
fn nobody_waits_for_a_packet_that_cannot_come() {
    with_seeds("nobody_waits_for_a_packet_that_cannot_come", 60, &[173, 190, 246], |seed| {
        let mut random = StdRng::seed_from_u64(seed);
        let delays = [random.random_range(500..30_000), random.random_range(500..60_000)];
        let links = delays.map(|delay| LinkConfig::mbit(50, delay)).to_vec();
        let mut world = World::new(WorldConfig::symmetric(links, seed));
        world.run_until(1_000_000);
        for line in [0, 1] {
            let loss = Loss::Independent { probability: random.random_range(0.0..0.03) };
            world.change_both(line, Change::Loss(loss));
        }
        let interval = random.random_range(200..20_000);
        let count = 10_000_000 / interval;
        cbr(&mut world, interval, count);
        world.keep = true;

        world.run_for(11_000_000);

        let fastest = delays[0].min(delays[1]);
        // A retransmission takes a round trip with its variation, and 8 ms; beside that the round
        // trip's own measuring error, and a mark or another packet on the slower path, and the
        // notices within both engines. The retransmission may be lost as
        // well, and the one after that.
        let repair = 2 * fastest + 5_000 + 8_000 + MARK + NOTICES + MEASURING;
        let bound = delays[0].max(delays[1]) + 3 * repair;
        let worst = worst_in_order(&world.take_delivered(SERVER));
        assert!(worst <= bound, "a packet took {worst} us, the bound is {bound}, {delays:?}");
    });
}

#[test]
fn a_quiet_path_is_not_waited_for() {
    let links = vec![LinkConfig::mbit(50, 5_000), LinkConfig::mbit(50, 100_000)];
    let mut world = World::new(WorldConfig::symmetric(links, 7));
    world.run_until(1_000_000);
    world.change_both(0, Change::Loss(Loss::Independent { probability: 0.02 }));
    let flow = cbr(&mut world, 1_000, 20_000);

    world.run_for(21_000_000);

    let report = &world.reports(flow)[SERVER];
    assert!(report.one_way_delay.max < 60_000.0, "{:?}", report.one_way_delay);
    assert_eq!(report.packets_lost, 0, "lost packets are sent again");
}

fn lossless(random: &mut StdRng) -> LinkConfig {
    let mut link = LinkConfig::mbit([5, 10, 50, 100][random.random_range(0..4)], 0);
    link.delay_us = random.random_range(0..90_000);
    link.queue = QueueLimit::Bytes(1 << 30);
    if random.random_bool(0.5) {
        link.jitter = Jitter::held(random.random_range(0..8_000));
    }
    link
}

fn send_burst(random: &mut StdRng, world: &mut World, model: &mut Model) {
    let (end, flow) = (random.random_range(0..2), random.random_range(0..3));
    let pause = [0, 50, 1_000, 15_000][random.random_range(0..4)];
    for _ in 0..random.random_range(1..100) {
        let len = random.random_range(super::model::ID_LEN..1170);
        world.send(end, &model.packet(end, flow, 1, len));
        world.run_for(pause);
    }
}

/// Adds a stream of small numbered packets up.
pub(super) fn cbr(world: &mut World, interval: u64, count: u64) -> usize {
    let tuple =
        FourTuple { local: ([10, 0, 0, 2], 4000).into(), remote: ([10, 0, 0, 1], 4001).into() };
    let config = CbrConfig { tuple, packet_len: 200, interval, start: world.now(), count };
    let receiver = CbrReceiver::new(tuple.reversed());
    world.add_flow(Box::new(CbrSender::new(config)), Box::new(receiver))
}

/// The longest that a packet took, of those that were delivered in order: microseconds.
fn worst_in_order(deliveries: &[Delivery]) -> u64 {
    let mut newest = 0;
    let mut worst = 0;
    for delivery in deliveries {
        let parsed = Parsed::parse(&delivery.packet).expect("well-formed");
        let payload = parsed.udp_payload().expect("UDP");
        let field = |at| u64::from_be_bytes(*payload[at..].first_chunk().expect("numbered"));
        if field(0) >= newest {
            newest = field(0);
            worst = worst.max(delivery.at - field(8));
        }
    }
    worst
}

/// While a path is waited for, something is sent on it after so long: 5, 10, 20 ms.
const MARK: u64 = 20_000;

/// Reports, the state block and the retransmission pass between halves four times.
const NOTICES: u64 = 8_000;

/// The smoothed round-trip time includes the waiting of reports, up to 20 ms on a lone datagram.
const MEASURING: u64 = 20_000;
