//! Two sessions face to face, without links between them: whoever drives them carries what they send.

use std::net::SocketAddr;

use engine::aead::Suite;
use engine::wire::message::Preference;
use engine::{
    Ecn, EpochLimits, Filter, FourTuple, Mode, PathId, Prefix, Session, SessionConfig, Side, Time,
    Trial,
};

use crate::world::CLIENT;

/// A client's session and its server's.
pub struct Pair {
    /// The time, in microseconds since both began.
    pub now: u64,
    /// The sessions, in the order of [`CLIENT`] and [`SERVER`](crate::world::SERVER).
    pub ends: [Session; 2],
    /// The packets that each end has delivered.
    pub delivered: [u64; 2],
}

impl Pair {
    /// Sessions that open so many paths, each ranked behind the one before.
    pub fn new(paths: u8, trial: Trial) -> Self {
        let mut ends = [Side::Client, Side::Server].map(|side| session(side, trial));
        for path in 0..paths {
            let preference = Preference::of(path);
            ends[CLIENT].outbound.open_path(Time(0), PathId(path), tuple(path), preference);
        }
        Self { now: 0, ends, delivered: [0; 2] }
    }

    /// What an end sends now: datagrams, and the slots of their paths.
    pub fn datagrams(&mut self, from: usize) -> Vec<(u8, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some(transmit) = self.ends[from].outbound.poll_transmit(Time(self.now)) {
            let segments = transmit.bytes.chunks(transmit.segment_size);
            all.extend(segments.map(|bytes| (transmit.path.0, bytes.to_vec())));
        }
        all
    }

    /// Hands datagrams to an end.
    pub fn receive(&mut self, to: usize, datagrams: Vec<(u8, Vec<u8>)>) {
        let (now, end) = (Time(self.now), &mut self.ends[to]);
        for (path, mut bytes) in datagrams {
            let inbound = &mut end.inbound;
            let first = inbound.handle_datagram(now, &tuple(path), Ecn::NotEct, &mut bytes);
            self.delivered[to] += u64::from(first.is_some());
            self.delivered[to] += inbound.ready().count() as u64;
            inbound.forget_ready();
        }
        end.exchange(now);
        while end.outbound.poll_event().is_some() {}
    }
}

fn session(side: Side, trial: Trial) -> Session {
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
        trial,
        seed: [3; 32],
    };
    Session::new(Time(0), config)
}

fn tuple(path: u8) -> FourTuple {
    let remote: SocketAddr = ([10, 9, path, 1], 4433).into();
    FourTuple { socket: path.into(), local: None, remote }
}
