//! Keys that change under load.

use engine::{EpochLimits, Mode, Span};
use lab::link::{Change, Loss};
use sim::world::{CLIENT, SERVER, World, WorldConfig};

use super::scene::{flagship, opened, received, stream};

#[test]
fn a_hundred_epoch_changes_under_loss_cost_nothing() {
    let without = run(EpochLimits::default());
    let with = run(EpochLimits { datagrams: 1, age: Span::secs(600) });

    println!("lost {:?} with epoch changes, {:?} without", with.lost, without.lost);
    assert!(with.epochs >= 100, "{} epochs", with.epochs);
    assert_eq!(without.epochs, 0);
    // Both are packets of which three transmissions were lost: chance, one in a hundred thousand.
    assert!(with.lost.iter().all(|&lost| lost <= 2), "{:?}", with.lost);
    assert!(without.lost.iter().all(|&lost| lost <= 2), "{:?}", without.lost);
}

struct Outcome {
    epochs: u64,
    lost: [u64; 2],
}

fn run(epoch_limits: EpochLimits) -> Outcome {
    let config = WorldConfig::symmetric(flagship(), 11);
    let mut world = opened(WorldConfig { epoch_limits, mode: Mode::Split, ..config });
    for line in [0, 1] {
        world.change_both(line, Change::Loss(Loss::Independent { probability: 0.02 }));
    }
    let streams = [CLIENT, SERVER].map(|from| stream(&mut world, from, 1_000, 32_000));

    world.run_for(34_000_000);

    for end in [CLIENT, SERVER] {
        let stats = world.session(end).inbound.stats();
        assert_eq!((stats.forged, stats.too_old, stats.malformed), (0, 0, 0));
    }
    let lost = |from: usize| received(&world, streams[from], from).packets_lost;
    Outcome { epochs: epochs(&world), lost: [lost(CLIENT), lost(SERVER)] }
}

fn epochs(world: &World) -> u64 {
    world.ledger().epoch(CLIENT).min(world.ledger().epoch(SERVER))
}
