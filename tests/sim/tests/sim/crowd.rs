//! Many sessions in one process.

use engine::{Offload, Time, Trial};
use lab::link::LinkConfig;
use sim::packet;
use sim::pair::Pair;
use sim::world::{CLIENT, SERVER, World, WorldConfig};

use super::scene::{received, stream};

#[test]
fn a_thousand_sessions_exist_and_speak() {
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
}

#[test]
fn a_session_takes_little_memory_while_it_is_quiet() {
    if !alone("sim::crowd::a_session_takes_little_memory_while_it_is_quiet") {
        return;
    }
    let quiet = memory_after(8_000_000);

    println!("{quiet} bytes a session, 8 s after it spoke");
    assert!(quiet <= 64 << 10);
}

#[test]
fn a_session_takes_less_memory_when_it_has_been_idle_for_long() {
    if !alone("sim::crowd::a_session_takes_less_memory_when_it_has_been_idle_for_long") {
        return;
    }
    let idle = memory_after(40_000_000);

    println!("{idle} bytes a session, 40 s after it spoke");
    assert!(idle <= 20 << 10);
}

/// Whether this process runs nothing but the test. If not, runs it in one that does, since memory is
/// that of a process.
fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("a test has a program");
    let mut command = std::process::Command::new(program);
    let status = command.args([test, "--exact", "--nocapture"]).env(ALONE, "1").status();
    assert!(status.expect("the program runs again").success());
    false
}

/// Bytes of memory a session when it has spoken and was silent for this span since.
fn memory_after(span: u64) -> u64 {
    let before = resident_bytes();
    // One after the other, so that what the first ones gave back serves the later ones.
    let pairs: Vec<Speakers> = (0..PAIRS)
        .map(|_| {
            let mut pair = Speakers(Pair::new(2, Trial::default()));
            pair.run_until(1_000_000);
            for number in 0..200 {
                pair.speak(number);
                pair.run_until(1_000_000 + u64::from(number) * 5_000);
            }
            pair.run_until(2_000_000 + span);
            pair
        })
        .collect();
    let used = resident_bytes() - before;
    assert!(pairs.iter().all(|pair| pair.0.delivered == [200 * 20; 2]));
    used / (2 * PAIRS)
}

/// Two sessions: what one sends, the other has a millisecond later.
struct Speakers(Pair);

impl Speakers {
    /// Lets both ends send twenty packets of one of eight flows.
    fn speak(&mut self, number: u16) {
        for end in [CLIENT, SERVER] {
            let ours = ([10, 0, 0, end as u8], 1000 + number % 8).into();
            let theirs = ([10, 0, 1, 1], 80).into();
            let tuple = packet::FourTuple { local: ours, remote: theirs };
            for _ in 0..20 {
                let bytes = packet::udp(tuple, 0, number, &[0; 1000]);
                let outbound = &mut self.0.ends[end].outbound;
                outbound.handle_packet(Time(self.0.now), Offload::default(), &bytes);
            }
        }
        self.carry();
    }

    fn run_until(&mut self, end: u64) {
        loop {
            let next = self.0.ends.iter().map(|end| end.poll_timeout(Time(self.0.now)).0).min();
            let next = next.unwrap_or(u64::MAX).max(self.0.now + 1_000);
            if next > end {
                return;
            }
            self.0.now = next;
            for end in &mut self.0.ends {
                end.handle_timeout(Time(next));
            }
            self.carry();
        }
    }

    fn carry(&mut self) {
        let mut busy = true;
        while busy {
            busy = false;
            for from in [CLIENT, SERVER] {
                let datagrams = self.0.datagrams(from);
                busy |= !datagrams.is_empty();
                self.0.now += 1_000 * u64::from(busy);
                self.0.receive(1 - from, datagrams);
            }
        }
    }
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

const ALONE: &str = "HAWSER_ALONE";

/// Enough to make the pages of memory that are in use anyway a small part.
const PAIRS: u64 = 300;
