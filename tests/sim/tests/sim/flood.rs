//! Datagrams that are none of ours: they move counters, and nothing else.

use engine::Ecn;
use engine::stats::InboundStats;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sim::world::{CLIENT, Datagram, SERVER, World, WorldConfig};

use super::scene::{flagship, opened, received, stream};

#[test]
fn bad_datagrams_change_only_their_counter() {
    let (quiet, trace) = run(None);
    assert_eq!((quiet.forged, quiet.replayed, quiet.malformed, quiet.too_old), (0, 0, 0, 0));
    for kind in [Kind::Random, Kind::Truncated, Kind::WrongIndex, Kind::Replayed, Kind::BadTag] {
        let (stats, flooded) = run(Some(kind));

        // The counter is that of the kind, and the rest of the world is the same to the bit.
        let expected = match kind {
            Kind::Random => InboundStats { malformed: stats.malformed, ..quiet },
            Kind::Truncated | Kind::WrongIndex | Kind::BadTag => {
                InboundStats { forged: FLOOD, ..quiet }
            }
            Kind::Replayed => InboundStats { replayed: FLOOD, ..quiet },
        };
        let random = kind == Kind::Random;
        let of_random = stats.malformed + stats.forged + stats.too_old;
        let stats = InboundStats {
            forged: if random { 0 } else { stats.forged },
            too_old: if random { 0 } else { stats.too_old },
            ..stats
        };
        assert_eq!(stats, expected, "{kind:?}");
        assert!(!random || of_random == FLOOD);
        assert_eq!(flooded, trace, "{kind:?}");
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    BadTag,
    Random,
    Replayed,
    Truncated,
    WrongIndex,
}

/// A stream, with bad datagrams of a kind beside it. Gives what the server counted, and the trace.
fn run(kind: Option<Kind>) -> (InboundStats, u64) {
    let mut world = opened(WorldConfig::symmetric(flagship(), 41));
    world.record = true;
    let flow = stream(&mut world, CLIENT, 1_000, 3_000);
    world.run_for(500_000);
    let mut random = StdRng::seed_from_u64(42);
    for _ in 0..FLOOD / 10 {
        world.run_for(1_000);
        for _ in 0..10 {
            if let Some(kind) = kind {
                let bytes = bad(kind, &world, &mut random);
                // From strangers and from the client's own address, which anybody can write.
                let host = if random.random_bool(0.5) { [10, 1, 0, 1] } else { [203, 0, 113, 9] };
                let source = (host, 5000).into();
                world.inject(SERVER, 0, Datagram { bytes, source, ecn: Ecn::NotEct });
            }
        }
    }
    world.run_for(4_000_000);
    assert_eq!(received(&world, flow, CLIENT).packets_lost, 0);
    (world.session(SERVER).inbound.stats(), world.trace())
}

fn bad(kind: Kind, world: &World, random: &mut StdRng) -> Vec<u8> {
    // Authentic datagrams that have arrived, of those few hundred that are remembered.
    let sendings = world.sendings(0, CLIENT);
    let arrived = sendings.iter().rev().filter(|sending| sending.arrived);
    let recent = arrived.take(50).nth(random.random_range(0..20)).expect("the stream runs");
    let mut bytes = recent.bytes.clone();
    match kind {
        Kind::BadTag => {
            // A number not seen yet, or it would be a replay.
            bytes[4..8].copy_from_slice(&random.random_range(100_000..1_000_000u32).to_be_bytes());
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        }
        Kind::Random => {
            bytes = vec![0; random.random_range(0..1500)];
            random.fill(&mut bytes[..]);
        }
        Kind::Replayed => {}
        Kind::Truncated => {
            bytes[4..8].copy_from_slice(&random.random_range(100_000..1_000_000u32).to_be_bytes());
            bytes.truncate(random.random_range(34..bytes.len()));
        }
        Kind::WrongIndex => {
            // Another path of the same session; other sessions are not found at all.
            bytes[3] = bytes[3] & 0xf0 | 9;
        }
    }
    bytes
}

/// Bad datagrams in one run.
const FLOOD: u64 = 10_000;
