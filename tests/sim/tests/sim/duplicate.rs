//! Every packet on both links.

use std::collections::BTreeSet;

use engine::{EpochLimits, Mode, Span};
use lab::link::{Change, Loss};
use sim::world::{CLIENT, SERVER, Sending, Witness, World, WorldConfig};

use super::scene::{flagship, opened, received, stream};

#[test]
fn what_is_lost_is_what_both_links_dropped() {
    let limits = [EpochLimits::default(), EpochLimits { datagrams: 1, age: Span::secs(600) }];
    for (seed, epoch_limits) in limits.into_iter().enumerate() {
        let config = WorldConfig::symmetric(flagship(), seed as u64);
        let config = WorldConfig { mode: Mode::Duplicate, epoch_limits, ..config };
        let mut world = opened(config.clone());
        for line in [0, 1] {
            world.change_both(line, Change::Loss(Loss::Independent { probability: 0.05 }));
        }
        (world.keep, world.record) = (true, true);

        let streams = [CLIENT, SERVER].map(|from| stream(&mut world, from, 1_000, 20_000));
        world.run_for(22_000_000);

        for from in [CLIENT, SERVER] {
            let delivered = world.take_delivered(1 - from).into_iter().map(|d| d.packet);
            let delivered: BTreeSet<_> = delivered.collect();
            let [first, second] = [0, 1].map(|line| Seen::new(&config, &world, line, from));
            let sent: BTreeSet<_> = first.sent.union(&second.sent).cloned().collect();
            let lost: BTreeSet<_> = sent.difference(&delivered).cloned().collect();
            let both: BTreeSet<_> = first.dropped.intersection(&second.dropped).cloned().collect();

            assert_eq!(first.sent, second.sent, "every packet goes both ways");
            assert_eq!(sent.len(), 20_000);
            assert!(lost == both, "{} were lost, {} dropped twice", lost.len(), both.len());
            assert!(lost.len() > 10, "the links did drop packets: {}", lost.len());
            let report = received(&world, streams[from], from);
            assert_eq!(report.packets_lost, lost.len() as u64);
            println!("from {from}: {} lost of 20000", lost.len());
        }
    }
}

/// The packets that one end sent on a line, and those of which the line dropped the datagram.
struct Seen {
    sent: BTreeSet<Vec<u8>>,
    dropped: BTreeSet<Vec<u8>>,
}

impl Seen {
    fn new(config: &WorldConfig, world: &World, line: usize, from: usize) -> Self {
        let packets = |wanted: fn(&Sending) -> bool| {
            let mut witness = Witness::new(config, from);
            for sending in world.sendings(line, from).iter().filter(|&sending| wanted(sending)) {
                witness.read(sending.at, sending.bytes.clone());
            }
            witness.into_packets()
        };
        // Each packet goes by a line once.
        let (sent, arrived) = (packets(|_| true), packets(|sending| sending.arrived));
        Self { dropped: sent.difference(&arrived).cloned().collect(), sent }
    }
}
