//! Many sessions in one process.

use lab::link::LinkConfig;
use sim::world::{CLIENT, SERVER, World, WorldConfig};

use super::scene::{received, stream};

#[test]
fn a_thousand_sessions_exist_and_speak() {
    let before = resident_bytes();
    let mut worlds: Vec<World> = (0..SESSIONS).map(world).collect();
    for world in &mut worlds {
        world.run_until(1_000_000);
    }

    let mut flows = Vec::new();
    for world in &mut worlds {
        flows.push([CLIENT, SERVER].map(|from| stream(world, from, 10_000, 100)));
    }
    // All at the same time, in small steps.
    for step in 1..=20 {
        for world in &mut worlds {
            world.run_until(1_000_000 + step * 100_000);
        }
    }
    for (world, flows) in worlds.iter().zip(&flows) {
        for from in [CLIENT, SERVER] {
            let report = received(world, flows[from], from);
            assert_eq!((report.packets_lost, report.packets_received), (0, 100));
        }
    }
    let speaking = resident_bytes() - before;
    for world in &mut worlds {
        world.run_until(40_000_000);
    }
    let idle = resident_bytes() - before;

    // A world is two sessions, and the links and senders around them.
    println!("{} bytes a world while speaking, {} after 38 s", speaking / SESSIONS, idle / SESSIONS);
    assert!(speaking / SESSIONS < 2 * 128 << 10);
}

fn world(seed: u64) -> World {
    let link = LinkConfig::mbit(1, 10_000);
    World::new(WorldConfig::symmetric(vec![link.clone(), link], seed))
}

/// What the process has in memory (proc_pid_statm(5): the second field, in pages of 4 KiB).
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).and_then(|field| field.parse::<u64>().ok());
    pages.expect("a number of pages") * 4096
}

const SESSIONS: u64 = 1_000;
