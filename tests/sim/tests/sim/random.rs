//! Random operations on links, paths and senders, held against the model.

use engine::{EpochLimits, PathId, PathState, Span};
use lab::link::{Change, Loss, Rate, Switch};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sim::world::{CLIENT, SERVER, World, WorldConfig};

use super::links;
use super::model::{ID_LEN, Model};
use super::replay::with_seeds;
use super::scene::MODES;

#[test]
fn whatever_happens_packets_arrive_once_unchanged_and_in_order() {
    let failed = &[49, 84, 92, 172, 1099, 3003, 3056, 3252];
    with_seeds("whatever_happens_packets_arrive_once_unchanged_and_in_order", 60, failed, |seed| {
        let mut run = Run::new(seed);
        for _ in 0..OPERATIONS {
            run.operate();
            run.model.check(&mut run.world);
        }
        run.heal();
        run.model.check(&mut run.world);
        run.assert_recovered();
        run.assert_quiescent();
    });
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    with_seeds("the_same_seed_gives_the_same_trace", 6, &[], |seed| {
        let trace = |seed| {
            let mut run = Run::new(seed);
            for _ in 0..OPERATIONS {
                run.operate();
            }
            (run.world.trace(), run.world.steps(), run.world.now())
        };

        assert_eq!(trace(seed), trace(seed));
        assert_ne!(trace(seed), trace(seed + 1000));
    });
}

/// A world, what was sent in it, and what is to happen next.
struct Run {
    world: World,
    model: Model,
    random: StdRng,
    lines: usize,
    /// The line of each path slot that was opened, and whether it was closed.
    slots: Vec<(usize, bool)>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let lines = random.random_range(1..=4);
        let links = (0..lines).map(|_| (links::any(&mut random), links::any(&mut random)));
        let links = links.collect();
        let epoch_limits = if random.random_bool(0.5) {
            EpochLimits { datagrams: random.random_range(1..2000), age: Span::secs(600) }
        } else {
            EpochLimits::default()
        };
        let mut world = World::new(WorldConfig {
            links,
            metered: if seed.is_multiple_of(3) { vec![0] } else { Vec::new() },
            is_v6: false,
            mode: MODES[random.random_range(0..MODES.len())],
            trial: engine::Trial::default(),
            epoch_limits,
            notice_delay_max: [0, 100, 2000][random.random_range(0..3)],
            seed,
        });
        world.keep = true;
        let slots = (0..lines).map(|line| (line, false)).collect();
        Self { world, model: Model::default(), random, lines, slots }
    }

    fn operate(&mut self) {
        let line = self.random.random_range(0..self.lines);
        let direction = self.random.random_range(0..2);
        match self.random.random_range(0..100) {
            0..30 => self.world.run_for(span(&mut self.random)),
            30..65 => self.send_some(),
            65..85 => {
                let change = self.change();
                self.world.change(line, direction, change);
            }
            85..90 => {
                let dark = Switch::On;
                self.world.change(line, direction, Change::Blackhole(dark));
                if self.random.random_bool(0.5) {
                    self.world.change(line, 1 - direction, Change::Blackhole(dark));
                }
            }
            90..94 => self.world.rebind(line),
            94..96 => self.replace_path(line),
            96..98 => {
                for end in [CLIENT, SERVER] {
                    self.world.wake_path(end, line as u8);
                }
            }
            _ => self.world.set_mode(MODES[self.random.random_range(0..MODES.len())]),
        }
    }

    fn send_some(&mut self) {
        let end = self.random.random_range(0..2);
        let flow = self.random.random_range(0..6);
        let len = match self.random.random_range(0..3) {
            0 => self.random.random_range(ID_LEN..200),
            1 => self.random.random_range(ID_LEN..1410),
            _ => 1170,
        };
        if self.random.random_bool(0.3) {
            let count = self.random.random_range(2..=(60_000 / len).min(44));
            let packet = self.model.packet(end, flow, count, len);
            self.world.send(end, &packet);
            return;
        }
        let pause = [0, 0, 100, 1000][self.random.random_range(0..4)];
        for _ in 0..self.random.random_range(1..60) {
            let packet = self.model.packet(end, flow, 1, len);
            self.world.send(end, &packet);
            self.world.run_for(pause);
        }
    }

    fn change(&mut self) -> Change {
        let random = &mut self.random;
        match random.random_range(0..8) {
            0 => Change::Loss(links::loss(random)),
            1 => Change::Rate(Rate::Constant {
                bits_per_second: random.random_range(500_000..100_000_000),
            }),
            2 => Change::Delay { us: random.random_range(0..120_000) },
            3 => Change::Jitter(links::jitter(random)),
            4 => Change::StallNow { us: random.random_range(0..2_000_000) },
            5 => Change::Duplication { probability: random.random_range(0.0..0.5) },
            _ => Change::Blackhole(Switch::Off),
        }
    }

    /// Closes a path of the line's, and opens another on it.
    fn replace_path(&mut self, line: usize) {
        let Some(slot) = self.slots.iter().position(|&slot| slot == (line, false)) else { return };
        if self.slots.len() == 16 {
            return;
        }
        self.world.close_path(CLIENT, slot as u8);
        self.slots[slot].1 = true;
        self.world.open_path(line, self.slots.len() as u8);
        self.slots.push((line, false));
    }

    /// Makes all links good, and waits until everything has calmed down.
    fn heal(&mut self) {
        for line in 0..self.lines {
            for change in [
                Change::Blackhole(Switch::Off),
                Change::Loss(Loss::None),
                Change::Duplication { probability: 0.0 },
                Change::Rate(Rate::Constant { bits_per_second: 20_000_000 }),
            ] {
                self.world.change_both(line, change);
            }
        }
        self.world.run_for(30_000_000);
    }

    /// Says how things stand, for whoever reads of a failure.
    fn describe(&mut self) {
        eprintln!("at {} us", self.world.now());
        for end in [CLIENT, SERVER] {
            let mut events = self.world.take_events(end);
            let session = self.world.session(end);
            eprintln!("end {end}: {:?}", session.outbound.stats());
            eprintln!("       {:?}", session.inbound.stats());
            for event in events.split_off(events.len().saturating_sub(30)) {
                eprintln!("       {event:?}");
            }
            for path in (0..16).filter_map(|slot| session.path_snapshot(PathId(slot))) {
                eprintln!("    {path:?}");
            }
        }
    }

    fn assert_recovered(&mut self) {
        self.model.forget();
        // What is real-time is not waited for as long as a slow path may take.
        let unexplained = |random: &mut Self, end: usize| {
            let expired = random.world.session(1 - end).inbound.stats().expired;
            random.model.inversions(end) as i64 - expired as i64
        };
        let before = [CLIENT, SERVER].map(|end| unexplained(self, end));
        let dropped = |world: &mut World| {
            [CLIENT, SERVER].map(|end| world.session(end).outbound.stats().dropped_standing)
        };
        let dropped_before = dropped(&mut self.world);
        for _ in 0..20 {
            for end in [CLIENT, SERVER] {
                for flow in 0..6 {
                    let packet = self.model.packet(end, flow, 1, 1000);
                    self.world.send(end, &packet);
                }
            }
            self.world.run_for(10_000);
        }
        // A window may have to grow first.
        self.world.run_for(4_000_000);
        self.model.check(&mut self.world);

        for end in [CLIENT, SERVER] {
            // A window that has just grown again lets a flow's queue stand for a while.
            let dropped = dropped(&mut self.world)[end] - dropped_before[end];
            let missing = self.model.missing(end) as u64;
            assert_eq!(missing, dropped, "end {end} lost packets on good links");
            assert!(unexplained(self, end) <= before[end]);
        }
        for (slot, &(_, closed)) in self.slots.iter().enumerate() {
            let wanted = if closed { PathState::Closed } else { PathState::Up };
            let states = [CLIENT, SERVER].map(|end| self.world.path_state(end, slot));
            // The server need not know of a path that was closed before it was validated.
            if !closed || states[SERVER].is_some() {
                assert_eq!(states, [Some(wanted); 2], "path {slot}");
            }
        }
    }

    /// A session at rest: no timer spins, and no more is sent than keeps paths alive.
    fn assert_quiescent(&mut self) {
        self.world.run_for(5_000_000);
        for end in [CLIENT, SERVER] {
            let session = self.world.session(end);
            assert_eq!(session.outbound.slot_bytes(), 0);
            assert_eq!(session.inbound.held_bytes(), 0);
        }
        let (steps, sent) = (self.world.steps(), [0, 1].map(|end| self.world.sent(end).0));

        self.world.run_for(60_000_000);

        // Each end probes each path each 5 s; a probe is answered, both are acknowledged, and now and
        // then that is acknowledged too.
        let paths = self.lines as u64;
        for end in [CLIENT, SERVER] {
            let datagrams = self.world.sent(end).0 - sent[end];
            assert!(datagrams <= 60 / 5 * 7 * paths, "{datagrams} datagrams in an idle minute");
        }
        let steps = self.world.steps() - steps;
        assert!(steps <= 60 * 20 * paths, "{steps} steps in an idle minute");
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.describe();
        }
    }
}

/// Mostly a moment, sometimes long enough for everything to time out.
fn span(random: &mut StdRng) -> u64 {
    match random.random_range(0..10) {
        0..5 => random.random_range(0..5_000),
        5..9 => random.random_range(0..300_000),
        _ => random.random_range(0..15_000_000),
    }
}

const OPERATIONS: usize = 200;
