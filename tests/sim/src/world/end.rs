//! One end of the tunnel: an engine, and the notices on their way between its halves.

use std::collections::VecDeque;
use std::net::IpAddr;

use engine::aead::Suite;
use engine::{Event, Filter, FourTuple, Heard, Prefix, Session, SessionConfig, Side, Time, Told};
use rand::RngExt;
use rand::rngs::StdRng;

use super::{Datagram, WorldConfig};

/// A packet that an engine delivered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// When, in microseconds.
    pub at: u64,
    /// The inner packet.
    pub packet: Vec<u8>,
}

/// An engine, what is on its way between its halves, and what it said.
pub(super) struct End {
    pub(super) session: Session,
    /// Whether something happened to it since it was last at rest.
    pub(super) touched: bool,
    /// When it next has something to do of itself, in microseconds.
    pub(super) due: u64,
    heard: VecDeque<(u64, Heard)>,
    told: VecDeque<(u64, Told)>,
    pub(super) delivered: Vec<Delivery>,
    pub(super) events: Vec<(u64, Event)>,
    /// Datagrams sent and their bytes.
    pub(super) sent: (u64, u64),
}

impl End {
    pub(super) fn new(config: &WorldConfig, side: Side, seed: [u8; 32]) -> Self {
        Self {
            session: session(config, side, seed),
            touched: true,
            due: 0,
            heard: VecDeque::new(),
            told: VecDeque::new(),
            delivered: Vec::new(),
            events: Vec::new(),
            sent: (0, 0),
        }
    }

    /// The session, to which something is about to happen.
    pub(super) fn session_mut(&mut self) -> &mut Session {
        self.touched = true;
        &mut self.session
    }

    /// Takes in a datagram, and appends what the engine delivers to `out`.
    pub(super) fn handle_datagram(
        &mut self,
        now: u64,
        from: &FourTuple,
        mut datagram: Datagram,
        out: &mut Vec<Vec<u8>>,
    ) {
        let inbound = &mut self.session_mut().inbound;
        let packet = inbound.handle_datagram(Time(now), from, datagram.ecn, &mut datagram.bytes);
        out.extend(packet.map(<[u8]>::to_vec));
        self.take_ready(out);
    }

    /// Appends what the engine delivers to `out`.
    pub(super) fn take_ready(&mut self, out: &mut Vec<Vec<u8>>) {
        out.extend(self.session.inbound.ready().map(<[u8]>::to_vec));
        self.session.inbound.forget_ready();
    }

    /// Does what is due, if something is or anything happened.
    pub(super) fn handle_timeout(&mut self, now: u64) {
        if self.touched || self.due <= now {
            self.touched = true;
            self.session.inbound.handle_timeout(Time(now));
            self.session.outbound.handle_timeout(Time(now));
        }
    }

    /// Carries notices between the halves: those that are due, in their order.
    pub(super) fn carry_notices(&mut self, now: u64, delay_max: u64, random: &mut StdRng) {
        let mut due = || now + if delay_max == 0 { 0 } else { random.random_range(0..=delay_max) };
        while let Some(heard) = self.session.inbound.poll_notice() {
            let due = due().max(self.heard.back().map_or(0, |&(due, _)| due));
            self.heard.push_back((due, heard));
        }
        while let Some(told) = self.session.outbound.poll_notice() {
            let due = due().max(self.told.back().map_or(0, |&(due, _)| due));
            self.told.push_back((due, told));
        }
        while let Some((_, heard)) = self.heard.pop_front_if(|&mut (due, _)| due <= now) {
            self.session.outbound.handle_notice(Time(now), heard);
        }
        while let Some((_, told)) = self.told.pop_front_if(|&mut (due, _)| due <= now) {
            self.session.inbound.handle_notice(told);
        }
    }

    /// Notes that there is nothing more to do at this instant.
    pub(super) fn rest(&mut self, now: u64) {
        let halves = self.session.poll_timeout(Time(now)).0;
        let heard = self.heard.front().map_or(u64::MAX, |&(due, _)| due);
        let told = self.told.front().map_or(u64::MAX, |&(due, _)| due);
        self.due = halves.min(heard).min(told);
    }
}

/// A session of the world's, with the world's keys.
pub(super) fn session(config: &WorldConfig, side: Side, seed: [u8; 32]) -> Session {
    let all = [Prefix::new(IpAddr::from([0; 4]), 0), Prefix::new(IpAddr::from([0; 16]), 0)];
    let all: Vec<Prefix> = all.into_iter().flatten().collect();
    let filter = match side {
        Side::Client => Filter::Destinations(all),
        Side::Server => Filter::Sources { allowed: all, forbidden: Vec::new(), exempt: Vec::new() },
    };
    let session = SessionConfig {
        side,
        suite: Suite::Aes256Gcm,
        root: [7; 32].into(),
        activation: [9; 16],
        peer_slot: 5,
        filter,
        steering: config.mode.into(),
        epoch_limits: config.epoch_limits,
        trial: config.trial,
        seed,
    };
    Session::new(Time(0), session)
}
