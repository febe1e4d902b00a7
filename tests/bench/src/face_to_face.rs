//! Two sessions without anything between them, for counting what they do.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use engine::aead::Suite;
use engine::wire::message::Preference;
use engine::{
    Ecn, EpochLimits, Filter, FourTuple, Mode, Offload, PathId, Prefix, Session, SessionConfig,
    Side, Time, Trial,
};

/// Carries [`PACKETS`] packets from a client to a server: super-packets of a TCP flow. With two paths, what
/// goes by the second comes after what goes by the first.
///
/// # Errors
/// When some do not arrive.
pub fn carry(paths: u8) -> Result<()> {
    let mut pair = Pair::new(paths);
    pair.run_until(2_000_000);
    for number in 0..PACKETS / SEGMENTS {
        let packet = super_packet(number);
        let offload = Offload { segment: Some(SEGMENT), checksum: None };
        let now = Time(pair.now);
        pair.ends[CLIENT].outbound.handle_packet(now, offload, &packet);
        let due = pair.now + 500;
        pair.run_until(due);
    }
    let end = pair.now + 1_000_000;
    pair.run_until(end);
    ensure!(pair.delivered == u64::from(PACKETS), "{} of {PACKETS} came", pair.delivered);
    Ok(())
}

/// Packets that are carried.
pub const PACKETS: u32 = 100 * SEGMENTS;
/// Of one super-packet.
const SEGMENTS: u32 = 40;
const SEGMENT: u16 = 1386;

struct Pair {
    now: u64,
    ends: [Session; 2],
    delivered: u64,
}

impl Pair {
    fn new(paths: u8) -> Self {
        let mut ends = [session(Side::Client), session(Side::Server)];
        for path in 0..paths {
            let preference = Preference::of(0);
            ends[CLIENT].outbound.open_path(Time(0), PathId(path), tuple(path), preference);
        }
        Self { now: 0, ends, delivered: 0 }
    }

    /// Lets time pass in steps of half a millisecond: what one end sends the other has after one.
    fn run_until(&mut self, end: u64) {
        while self.now < end {
            self.now += STEP;
            for from in [CLIENT, 1 - CLIENT] {
                self.ends[from].handle_timeout(Time(self.now));
                let mut datagrams = self.datagrams(from);
                // Those of the first path before those of the second, in their order.
                datagrams.sort_by_key(|(path, _)| *path);
                self.receive(1 - from, datagrams);
            }
        }
    }

    fn datagrams(&mut self, from: usize) -> Vec<(u8, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some(transmit) = self.ends[from].outbound.poll_transmit(Time(self.now)) {
            let segments = transmit.bytes.chunks(transmit.segment_size);
            all.extend(segments.map(|bytes| (transmit.path.0, bytes.to_vec())));
        }
        all
    }

    fn receive(&mut self, to: usize, datagrams: Vec<(u8, Vec<u8>)>) {
        let end = &mut self.ends[to];
        for (path, mut bytes) in datagrams {
            let now = Time(self.now);
            let first = end.inbound.handle_datagram(now, &tuple(path), Ecn::NotEct, &mut bytes);
            self.delivered += u64::from(first.is_some());
            self.delivered += end.inbound.ready().count() as u64;
            end.inbound.forget_ready();
        }
        end.exchange(Time(self.now));
        while end.outbound.poll_event().is_some() {}
    }
}

fn session(side: Side) -> Session {
    let all: Vec<Prefix> = Prefix::new([0; 4].into(), 0).into_iter().collect();
    let config = SessionConfig {
        side,
        suite: Suite::Aes256Gcm,
        root: [1; 32].into(),
        activation: [2; 16],
        peer_slot: 1,
        filter: Filter::Destinations(all),
        steering: Mode::Split.into(),
        epoch_limits: EpochLimits::default(),
        trial: Trial::default(),
        seed: [3; 32],
    };
    Session::new(Time(0), config)
}

fn tuple(path: u8) -> FourTuple {
    let remote: SocketAddr = ([10, 9, path, 1], 4433).into();
    FourTuple { socket: path.into(), local: None, remote }
}

/// What a TUN device gives of a TCP flow.
fn super_packet(number: u32) -> Vec<u8> {
    let payload = SEGMENTS * u32::from(SEGMENT);
    let len = (40 + payload) as u16;
    let [high, low] = len.to_be_bytes();
    let mut packet = vec![0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0];
    packet.extend([10, 0, 0, 2, 10, 0, 0, 1, 0x13, 0x88, 0, 80]);
    packet.extend((number * payload).to_be_bytes());
    packet.extend([0, 0, 0, 0, 0x50, 0x10, 1, 1, 0, 0, 0, 0]);
    packet.resize(usize::from(len), 7);
    packet
}

const CLIENT: usize = 0;
const STEP: u64 = 500;
