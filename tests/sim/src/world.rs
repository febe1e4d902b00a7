//! Two engines, links between them, and conversations through them, in virtual time.
//!
//! ```text
//! flows ─ client engine ─┬─ link 0 ─┬─ server engine ─ flows
//!                        └─ link 1 ─┘
//! ```
//! A world is a function of its configuration and its seed. It carries the notices between the two
//! halves of each engine late and in batches, so that no rule may depend on how fast they are, and
//! keeps a ledger of every nonce used.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use engine::aead::Suite;
use engine::{
    Ecn, EpochLimits, Event, Filter, FourTuple, Heard, Mode, Offload, PathId, PathState, Prefix,
    Session, SessionConfig, Side, Span, Time, Told,
};
use lab::link::{Change, Link, LinkConfig, LinkCounters};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::flow::{Flow, Report};
use crate::packet::Packet;

mod ledger;

pub use self::ledger::Ledger;

/// A datagram on a link.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// The UDP payload.
    pub bytes: Vec<u8>,
    /// Where it seems to come from.
    pub source: SocketAddr,
    /// The ECN field of its IP header.
    pub ecn: Ecn,
}

/// The properties of a world.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// The links, each with its direction up and its direction down.
    pub links: Vec<(LinkConfig, LinkConfig)>,
    /// How both ends steer.
    pub mode: Mode,
    /// When keys change.
    pub epoch_limits: EpochLimits,
    /// The longest that a notice between halves takes, in microseconds.
    pub notice_delay_max: u64,
    /// Everything random follows from it.
    pub seed: u64,
}

impl WorldConfig {
    /// A world with these links, the same in both directions.
    pub fn symmetric(links: Vec<LinkConfig>, seed: u64) -> Self {
        Self {
            links: links.into_iter().map(|link| (link.clone(), link)).collect(),
            mode: Mode::Split,
            epoch_limits: EpochLimits::default(),
            notice_delay_max: 2000,
            seed,
        }
    }
}

/// One end: an engine, and the notices that are on their way between its halves.
struct End {
    session: Session,
    heard: VecDeque<(u64, Heard)>,
    told: VecDeque<(u64, Told)>,
    /// Packets that the engine delivered, for those who want to look at them.
    delivered: Vec<Vec<u8>>,
    events: Vec<(u64, Event)>,
}

/// A link and the addresses at its client's end.
struct Line {
    links: [Link<Datagram>; 2],
    /// What the server sees as the client's address.
    source: SocketAddr,
    /// Earlier addresses at which nobody listens.
    moves: u16,
}

/// A simulated network.
pub struct World {
    now: u64,
    ends: [End; 2],
    lines: Vec<Line>,
    flows: Vec<[Box<dyn Flow>; 2]>,
    ledger: Ledger,
    notices: StdRng,
    notice_delay_max: u64,
    /// A digest of everything that was sent, to compare runs by.
    trace: u64,
    /// Keeps what is delivered instead of only handing it to the flows.
    pub keep: bool,
}

/// The client's end, and the index of the direction up.
pub const CLIENT: usize = 0;
/// The server's end, and the index of the direction down.
pub const SERVER: usize = 1;

impl World {
    /// A world whose client has opened a path on each link.
    pub fn new(config: WorldConfig) -> Self {
        let mut seeds = StdRng::seed_from_u64(config.seed);
        let ends = [Side::Client, Side::Server].map(|side| End::new(&config, side, seeds.random()));
        let lines = (config.links.iter().enumerate())
            .map(|(index, (up, down))| Line {
                links: [
                    Link::new(up.clone(), seeds.random()),
                    Link::new(down.clone(), seeds.random()),
                ],
                source: client_address(index, 0),
                moves: 0,
            })
            .collect::<Vec<_>>();
        let mut world = Self {
            now: 0,
            ends,
            flows: Vec::new(),
            ledger: Ledger::default(),
            notices: StdRng::seed_from_u64(seeds.random()),
            notice_delay_max: config.notice_delay_max,
            trace: 0,
            keep: false,
            lines,
        };
        for index in 0..world.lines.len() {
            let tuple = FourTuple { socket: index as u16, local: None, remote: server_address() };
            let outbound = &mut world.ends[CLIENT].session.outbound;
            outbound.open_path(Time(0), PathId(index as u8), tuple, index as u8);
        }
        world.settle();
        world
    }

    /// Adds a conversation: the client's side of it and the server's.
    pub fn add_flow(&mut self, client: Box<dyn Flow>, server: Box<dyn Flow>) -> usize {
        self.flows.push([client, server]);
        self.settle();
        self.flows.len() - 1
    }

    /// Hands a packet to one end's engine, as its TUN device would.
    pub fn send(&mut self, end: usize, packet: &Packet) {
        let offload = Offload { segment: packet.segment_size, checksum: None };
        let now = Time(self.now);
        self.ends[end].session.outbound.handle_packet(now, offload, &packet.bytes);
        self.settle();
    }

    /// Hands a datagram to one end's engine, as if it came from `source` over a socket.
    pub fn inject(&mut self, end: usize, datagram: Datagram) {
        self.arrive(end, 0, datagram);
        self.settle();
    }

    /// Runs until this time, in microseconds.
    pub fn run_until(&mut self, end: u64) {
        while let Some(next) = self.next_event().filter(|&next| next <= end) {
            self.now = next.max(self.now);
            self.step();
        }
        self.now = self.now.max(end);
        self.step();
    }

    /// The time, in microseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Changes a link in one direction.
    pub fn change(&mut self, line: usize, direction: usize, change: Change) {
        self.lines[line].links[direction].apply(self.now, change);
    }

    /// Lets the NAT before a link forget its mapping: the client's datagrams come from another port.
    pub fn rebind(&mut self, line: usize) {
        let moves = self.lines[line].moves + 1;
        self.lines[line].moves = moves;
        self.lines[line].source = client_address(line, moves);
    }

    /// One end's session.
    pub fn session(&mut self, end: usize) -> &mut Session {
        &mut self.ends[end].session
    }

    /// The state of a path as one end's sender sees it.
    pub fn path_state(&self, end: usize, path: usize) -> Option<PathState> {
        let outbound = &self.ends[end].session.outbound;
        outbound.path_snapshot(PathId(path as u8)).map(|path| path.state)
    }

    /// What both sides of a conversation report.
    pub fn reports(&self, flow: usize) -> [Report; 2] {
        [self.flows[flow][CLIENT].report(), self.flows[flow][SERVER].report()]
    }

    /// One side of a conversation.
    pub fn flow(&mut self, flow: usize, end: usize) -> &mut dyn Flow {
        &mut *self.flows[flow][end]
    }

    /// What a link did, up and down.
    pub fn counters(&self, line: usize) -> [LinkCounters; 2] {
        [self.lines[line].links[0].counters(), self.lines[line].links[1].counters()]
    }

    /// Takes the packets that one end delivered, where [`keep`](Self::keep) is set.
    pub fn take_delivered(&mut self, end: usize) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.ends[end].delivered)
    }

    /// Takes what one end's engine told of itself.
    pub fn take_events(&mut self, end: usize) -> Vec<(u64, Event)> {
        std::mem::take(&mut self.ends[end].events)
    }

    /// The nonces used.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// A digest of everything sent so far.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    fn next_event(&self) -> Option<u64> {
        let now = Time(self.now);
        let ends = self.ends.iter().map(|end| {
            let halves = end.session.poll_timeout(now).0;
            let notices = end.heard.front().map(|&(due, _)| due);
            let told = end.told.front().map(|&(due, _)| due);
            halves.min(notices.unwrap_or(u64::MAX)).min(told.unwrap_or(u64::MAX))
        });
        let links = self.lines.iter().flat_map(|line| &line.links).filter_map(Link::next_due_us);
        let flows = self.flows.iter().flatten().filter_map(|flow| flow.poll_timeout());
        let next = ends.chain(links).chain(flows).min()?;
        (next < u64::MAX).then_some(next)
    }

    fn step(&mut self) {
        for line in 0..self.lines.len() {
            for direction in [CLIENT, SERVER] {
                while let Some(datagram) = self.lines[line].links[direction].pop(self.now) {
                    self.arrive(1 - direction, line, datagram);
                }
            }
        }
        for end in &mut self.ends {
            end.session.inbound.handle_timeout(Time(self.now));
            end.session.outbound.handle_timeout(Time(self.now));
        }
        self.settle();
    }

    /// Lets everybody do what there is to do at this instant.
    fn settle(&mut self) {
        for _ in 0..SETTLE_MAX {
            let mut busy = self.poll_flows();
            for end in [CLIENT, SERVER] {
                self.carry_notices(end);
                busy |= self.poll_engine(end);
            }
            if !busy {
                return;
            }
        }
        panic!("the world does not come to rest at {} us", self.now);
    }

    fn poll_flows(&mut self) -> bool {
        let mut busy = false;
        let now = Time(self.now);
        for flow in &mut self.flows {
            for (side, end) in flow.iter_mut().zip(&mut self.ends) {
                while let Some(packet) = side.poll_packet(self.now) {
                    let offload = Offload { segment: packet.segment_size, checksum: None };
                    end.session.outbound.handle_packet(now, offload, &packet.bytes);
                    busy = true;
                }
            }
        }
        busy
    }

    /// Carries notices between the halves: those that are due, in their order.
    fn carry_notices(&mut self, index: usize) {
        let (now, max) = (self.now, self.notice_delay_max);
        let mut due = || now + if max == 0 { 0 } else { self.notices.random_range(0..=max) };
        let end = &mut self.ends[index];
        while let Some(heard) = end.session.inbound.poll_notice() {
            let due = due().max(end.heard.back().map_or(0, |&(due, _)| due));
            end.heard.push_back((due, heard));
        }
        while let Some(told) = end.session.outbound.poll_notice() {
            let due = due().max(end.told.back().map_or(0, |&(due, _)| due));
            end.told.push_back((due, told));
        }
        while let Some((_, heard)) = end.heard.pop_front_if(|&mut (due, _)| due <= now) {
            end.session.outbound.handle_notice(Time(now), heard);
        }
        while let Some((_, told)) = end.told.pop_front_if(|&mut (due, _)| due <= now) {
            end.session.inbound.handle_notice(told);
        }
    }

    /// Sends and delivers what an engine has to send and deliver.
    fn poll_engine(&mut self, index: usize) -> bool {
        let mut busy = false;
        let now = Time(self.now);
        let end = &mut self.ends[index];
        while let Some(transmit) = end.session.outbound.poll_transmit(now) {
            busy = true;
            let (line, to) = if index == CLIENT {
                (usize::from(transmit.tuple.socket), None)
            } else {
                (usize::from(transmit.path.0), Some(transmit.tuple.remote))
            };
            for bytes in transmit.bytes.chunks(transmit.segment_size) {
                self.ledger.note(index, bytes);
                self.trace = digest(self.trace, self.now, bytes);
                let line = &mut self.lines[line];
                // An address that the NAT has forgotten leads nowhere.
                if to.is_some_and(|to| to != line.source) {
                    continue;
                }
                let source = if index == CLIENT { line.source } else { server_address() };
                let datagram = Datagram { bytes: bytes.to_vec(), source, ecn: transmit.ecn };
                let len = bytes.len() + 28;
                let key = self.trace;
                // A refused datagram is a lost one; the link counts it.
                let _ = line.links[index].push(self.now, datagram, len, key);
            }
        }
        while let Some(event) = end.session.outbound.poll_event() {
            end.events.push((self.now, event));
        }
        while let Some(error) = end.session.outbound.poll_error() {
            for flow in &mut self.flows {
                flow[index].handle_packet(self.now, &error);
            }
        }
        while let Some(packet) = end.session.inbound.poll_packet() {
            let packet = packet.to_vec();
            hand_over(&mut self.flows, index, self.now, &packet);
            if self.keep {
                end.delivered.push(packet);
            }
            busy = true;
        }
        busy
    }

    fn arrive(&mut self, index: usize, line: usize, mut datagram: Datagram) {
        let socket = if index == CLIENT { line as u16 } else { 0 };
        let from = FourTuple { socket, local: None, remote: datagram.source };
        let end = &mut self.ends[index];
        let inbound = &mut end.session.inbound;
        let packet =
            inbound.handle_datagram(Time(self.now), &from, datagram.ecn, &mut datagram.bytes);
        if let Some(packet) = packet {
            hand_over(&mut self.flows, index, self.now, packet);
            if self.keep {
                end.delivered.push(packet.to_vec());
            }
        }
        while let Some(packet) = inbound.poll_packet() {
            hand_over(&mut self.flows, index, self.now, packet);
            if self.keep {
                end.delivered.push(packet.to_vec());
            }
        }
    }
}

impl End {
    fn new(config: &WorldConfig, side: Side, seed: [u8; 32]) -> Self {
        let all =
            [Prefix::new(IpAddr::from([0, 0, 0, 0]), 0), Prefix::new(IpAddr::from([0; 16]), 0)];
        let all: Vec<Prefix> = all.into_iter().flatten().collect();
        let filter = match side {
            Side::Client => Filter::Destinations(all),
            Side::Server => Filter::Sources { allowed: all, forbidden: Vec::new() },
        };
        let session = SessionConfig {
            side,
            suite: Suite::Aes256Gcm,
            root: [7; 32].into(),
            activation: [9; 16],
            peer_slot: 5,
            filter,
            mode: config.mode,
            epoch_limits: config.epoch_limits,
            seed,
        };
        Self {
            session: Session::new(Time(0), session),
            heard: VecDeque::new(),
            told: VecDeque::new(),
            delivered: Vec::new(),
            events: Vec::new(),
        }
    }
}

/// Gives a packet to the conversations of one end; each knows its own.
fn hand_over(flows: &mut [[Box<dyn Flow>; 2]], end: usize, now: u64, packet: &[u8]) {
    for flow in flows {
        flow[end].handle_packet(now, packet);
    }
}

fn server_address() -> SocketAddr {
    ([10, 9, 0, 1], 4433).into()
}

fn client_address(line: usize, moves: u16) -> SocketAddr {
    ([10, 1, line as u8, 1], 5000 + moves).into()
}

fn digest(trace: u64, now: u64, bytes: &[u8]) -> u64 {
    let mut digest = trace ^ now;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        digest = (digest ^ u64::from_le_bytes(word)).wrapping_mul(0x100_0000_01b3).rotate_left(23);
    }
    digest
}

/// Rounds at one instant after which something must be wrong.
const SETTLE_MAX: usize = 100_000;

/// The gap of a world: how much of a steady stream of span `interval` was missing, at worst.
pub fn gap(report: &Report, interval: u64) -> Span {
    Span(report.gap_max.saturating_sub(interval))
}

/// Counts by name, for tables.
pub type Row = BTreeMap<&'static str, f64>;
