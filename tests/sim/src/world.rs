//! Two engines, links between them, and conversations through them, in virtual time.
//!
//! ```text
//! flows ─ client engine ─┬─ link 0 ─┬─ server engine ─ flows
//!                        └─ link 1 ─┘
//! ```
//! A world is a function of its configuration and its seed. It carries the notices between the two
//! halves of each engine late and in batches, so that no rule may depend on how fast they are, and
//! keeps a ledger of every nonce used.

use std::net::SocketAddr;

use engine::wire::message::Preference;
use engine::{
    Event, FourTuple, Mode, Offload, PathId, PathSnapshot, PathState, Session, Side, Time,
};
use lab::link::{Change, LinkCounters};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::end::End;
use self::line::{Flying, Line};
use self::talker::Talker;
use crate::flow::{Flow, Report};
use crate::packet::Packet;

mod config;
mod end;
mod ledger;
mod line;
mod talker;
mod witness;

pub use self::config::WorldConfig;
pub use self::end::Delivery;
pub use self::ledger::Ledger;
pub use self::line::{Datagram, Sending};
pub use self::witness::Witness;

/// A simulated network.
pub struct World {
    now: u64,
    ends: [End; 2],
    lines: Vec<Line>,
    flows: Vec<[Talker; 2]>,
    /// Conversations of others, over one link each and through no tunnel.
    neighbours: Vec<(usize, [Talker; 2])>,
    ledger: Ledger,
    notices: StdRng,
    notice_delay_max: u64,
    metered: Vec<usize>,
    is_v6: bool,
    steps: u64,
    /// A digest of everything that was sent, to compare runs by.
    trace: u64,
    /// Keeps what is delivered instead of only handing it to the flows.
    pub keep: bool,
    /// Keeps every datagram that is sent, and what became of it.
    pub record: bool,
}

/// The client's end, and the index of the direction up.
pub const CLIENT: usize = 0;
/// The server's end, and the index of the direction down.
pub const SERVER: usize = 1;

impl World {
    /// A world whose client has opened a path on each link, in the path slot of the same number.
    pub fn new(config: WorldConfig) -> Self {
        let mut seeds = StdRng::seed_from_u64(config.seed);
        let ends = [Side::Client, Side::Server].map(|side| End::new(&config, side, seeds.random()));
        let lines = (config.links.iter().enumerate())
            .map(|(index, (up, down))| {
                let seeds = [seeds.random(), seeds.random()];
                Line::new(index, up.clone(), down.clone(), config.is_v6, seeds)
            })
            .collect::<Vec<_>>();
        let mut world = Self {
            now: 0,
            ends,
            flows: Vec::new(),
            neighbours: Vec::new(),
            ledger: Ledger::default(),
            notices: StdRng::seed_from_u64(seeds.random()),
            notice_delay_max: config.notice_delay_max,
            metered: config.metered,
            is_v6: config.is_v6,
            steps: 0,
            trace: 0,
            keep: false,
            record: false,
            lines,
        };
        for index in 0..world.lines.len() {
            world.open_path(index, index as u8);
        }
        world
    }

    /// Lets the client open a path on a link, in this slot.
    pub fn open_path(&mut self, line: usize, slot: u8) {
        let remote = server_address(self.is_v6);
        let tuple = FourTuple { socket: line as u16, local: None, remote };
        let outbound = &mut self.ends[CLIENT].session_mut().outbound;
        let preference = Preference { rank: line as u8, metered: self.metered.contains(&line) };
        outbound.open_path(Time(self.now), PathId(slot), tuple, preference);
        self.settle();
    }

    /// Lets one end give a path up for good.
    pub fn close_path(&mut self, end: usize, slot: u8) {
        self.ends[end].session_mut().outbound.close_path(Time(self.now), PathId(slot));
        self.settle();
    }

    /// Tells one end that something about a path's link has changed.
    pub fn wake_path(&mut self, end: usize, slot: u8) {
        self.ends[end].session_mut().outbound.wake_path(Time(self.now), PathId(slot));
        self.settle();
    }

    /// Steers both ends in another mode.
    pub fn set_mode(&mut self, mode: Mode) {
        for end in &mut self.ends {
            end.session_mut().outbound.set_mode(mode);
        }
        self.settle();
    }

    /// Adds a conversation: the client's side of it and the server's.
    pub fn add_flow(&mut self, client: Box<dyn Flow>, server: Box<dyn Flow>) -> usize {
        self.flows.push([client, server].map(Talker::new));
        self.settle();
        self.flows.len() - 1
    }

    /// Adds a conversation of others that share a link with the tunnel.
    pub fn add_neighbour(
        &mut self,
        line: usize,
        client: Box<dyn Flow>,
        server: Box<dyn Flow>,
    ) -> usize {
        self.neighbours.push((line, [client, server].map(Talker::new)));
        self.settle();
        self.neighbours.len() - 1
    }

    /// What both sides of a neighbours' conversation report.
    pub fn neighbours(&self, neighbour: usize) -> [Report; 2] {
        let (_, sides) = &self.neighbours[neighbour];
        [sides[CLIENT].flow.report(), sides[SERVER].flow.report()]
    }

    /// Hands a packet to one end's engine, as its TUN device would.
    pub fn send(&mut self, end: usize, packet: &Packet) {
        let offload = Offload { segment: packet.segment_size, checksum: None };
        let now = Time(self.now);
        self.ends[end].session_mut().outbound.handle_packet(now, offload, &packet.bytes);
        self.settle();
    }

    /// Hands a datagram to one end's engine, as if it came over a link's socket.
    pub fn inject(&mut self, end: usize, line: usize, datagram: Datagram) {
        self.arrive(end, line, datagram);
        self.settle();
    }

    /// Runs until this time, in microseconds.
    ///
    /// # Panics
    /// When an engine does not let time go on.
    pub fn run_until(&mut self, end: u64) {
        let mut steps_at_once = 0;
        while let Some(next) = self.next_event().filter(|&next| next <= end) {
            steps_at_once = if next > self.now { 0 } else { steps_at_once + 1 };
            assert!(steps_at_once < STEPS_AT_ONCE_MAX, "time stands still at {} us", self.now);
            self.now = next.max(self.now);
            self.step();
        }
        self.now = self.now.max(end);
        self.step();
    }

    /// Runs for so many microseconds more.
    pub fn run_for(&mut self, span: u64) {
        self.run_until(self.now + span);
    }

    /// The time, in microseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// How often something was due, since the beginning.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Datagrams that one end has sent, and their bytes.
    pub fn sent(&self, end: usize) -> (u64, u64) {
        self.ends[end].sent
    }

    /// Changes a link in one direction.
    pub fn change(&mut self, line: usize, direction: usize, change: Change) {
        self.lines[line].links[direction].apply(self.now, change);
    }

    /// Changes a link in both directions.
    pub fn change_both(&mut self, line: usize, change: Change) {
        self.change(line, CLIENT, change.clone());
        self.change(line, SERVER, change);
    }

    /// Lets the NAT before a link forget its mapping: the client's datagrams come from another port.
    pub fn rebind(&mut self, line: usize) {
        self.lines[line].rebind();
    }

    /// Puts somebody on a link who sends each of the client's datagrams to the server from his own
    /// address, so that they arrive `lead` microseconds before the originals.
    pub fn put_copier(&mut self, line: usize, lead: u64) {
        self.lines[line].put_copier(lead);
    }

    /// What the server sent to the copier on a link: when, and how many bytes.
    pub fn caught(&self, line: usize) -> &[(u64, usize)] {
        self.lines[line].caught()
    }

    /// The datagrams sent on a link in one direction while [`record`](Self::record) was set.
    pub fn sendings(&self, line: usize, direction: usize) -> &[Sending] {
        &self.lines[line].sendings[direction]
    }

    /// One end's session.
    pub fn session(&mut self, end: usize) -> &mut Session {
        self.ends[end].session_mut()
    }

    /// What a path looks like at one end, which is not touched by that.
    pub fn path_snapshot(&self, end: usize, path: u8) -> Option<PathSnapshot> {
        self.ends[end].session.path_snapshot(PathId(path))
    }

    /// The state of a path as one end's sender sees it.
    pub fn path_state(&self, end: usize, path: usize) -> Option<PathState> {
        let outbound = &self.ends[end].session.outbound;
        outbound.path_snapshot(PathId(path as u8)).map(|path| path.state)
    }

    /// What both sides of a conversation report.
    pub fn reports(&self, flow: usize) -> [Report; 2] {
        [CLIENT, SERVER].map(|end| self.flows[flow][end].flow.report())
    }

    /// What a link did, up and down.
    pub fn counters(&self, line: usize) -> [LinkCounters; 2] {
        [self.lines[line].links[0].counters(), self.lines[line].links[1].counters()]
    }

    /// Sets what the links count to zero.
    pub fn reset_counters(&mut self) {
        for link in self.lines.iter_mut().flat_map(|line| &mut line.links) {
            link.reset_counters();
        }
    }

    /// Takes the packets that one end delivered while [`keep`](Self::keep) was set.
    pub fn take_delivered(&mut self, end: usize) -> Vec<Delivery> {
        std::mem::take(&mut self.ends[end].delivered)
    }

    /// Takes what one end's engine told of itself, with its times.
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
        let ends = self.ends.iter().map(|end| if end.touched { self.now } else { end.due });
        let lines = self.lines.iter().filter_map(Line::next_due);
        let others = self.neighbours.iter().flat_map(|(_, sides)| sides);
        let flows = self.flows.iter().flatten().chain(others).map(|side| side.due);
        let next = ends.chain(lines).chain(flows).min()?;
        (next < u64::MAX).then_some(next)
    }

    fn step(&mut self) {
        self.steps += 1;
        for line in 0..self.lines.len() {
            for direction in [CLIENT, SERVER] {
                while let Some(flying) = self.lines[line].pop(self.now, direction) {
                    if flying.foreign {
                        let packet = &flying.datagram.bytes;
                        for (_, sides) in self.neighbours.iter_mut().filter(|it| it.0 == line) {
                            sides[1 - direction].handle_packet(self.now, packet);
                        }
                        continue;
                    }
                    if let Some(index) = flying.sending {
                        self.lines[line].sendings[direction][index].arrived = true;
                    }
                    self.arrive(1 - direction, line, flying.datagram);
                }
            }
        }
        for end in &mut self.ends {
            end.handle_timeout(self.now);
        }
        self.settle();
    }

    /// Lets everybody to whom something happened do what there is to do at this instant, as the daemon
    /// serves the sessions that were touched and no others.
    fn settle(&mut self) {
        for _ in 0..SETTLE_MAX {
            let mut busy = self.poll_flows();
            for index in [CLIENT, SERVER] {
                if self.ends[index].touched {
                    busy = true;
                    self.serve(index);
                }
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
                    end.session_mut().outbound.handle_packet(now, offload, &packet.bytes);
                    busy = true;
                }
            }
        }
        for (line, sides) in &mut self.neighbours {
            for (direction, side) in sides.iter_mut().enumerate() {
                while let Some(packet) = side.poll_packet(self.now) {
                    self.lines[*line].push_foreign(self.now, direction, packet);
                    busy = true;
                }
            }
        }
        busy
    }

    /// Sends and delivers what an engine has to send and deliver.
    fn serve(&mut self, index: usize) {
        let end = &mut self.ends[index];
        end.touched = false;
        end.carry_notices(self.now, self.notice_delay_max, &mut self.notices);
        self.transmit(index);
        let end = &mut self.ends[index];
        while let Some(event) = end.session.outbound.poll_event() {
            end.events.push((self.now, event));
        }
        while let Some(error) = end.session.outbound.poll_error() {
            for flow in &mut self.flows {
                flow[index].handle_packet(self.now, &error);
            }
        }
        let mut packets = Vec::new();
        end.take_ready(&mut packets);
        end.carry_notices(self.now, self.notice_delay_max, &mut self.notices);
        end.rest(self.now);
        self.deliver(index, packets);
    }

    fn transmit(&mut self, index: usize) {
        let Self { now, ends, lines, ledger, trace, record, is_v6, .. } = self;
        let end = &mut ends[index];
        while let Some(transmit) = end.session.outbound.poll_transmit(Time(*now)) {
            let to = transmit.tuple.remote;
            let line = if index == CLIENT {
                lines.get_mut(usize::from(transmit.tuple.socket))
            } else {
                lines.iter_mut().find(|line| line.leads_to(to))
            };
            let Some(line) = line else { continue };
            let source = if index == CLIENT { line.source } else { server_address(*is_v6) };
            for bytes in transmit.bytes.chunks(transmit.segment_size) {
                ledger.note(index, bytes);
                *trace = digest(*trace, *now, bytes);
                end.sent.0 += 1;
                end.sent.1 += bytes.len() as u64;
                let sending = record.then(|| {
                    let sending = Sending { at: *now, bytes: bytes.to_vec(), arrived: false };
                    line.sendings[index].push(sending);
                    line.sendings[index].len() - 1
                });
                let datagram = Datagram { bytes: bytes.to_vec(), source, ecn: transmit.ecn };
                line.push(*now, index, Flying { datagram, sending, foreign: false }, to);
            }
        }
    }

    fn arrive(&mut self, index: usize, line: usize, datagram: Datagram) {
        let socket = if index == CLIENT { line as u16 } else { 0 };
        let from = FourTuple { socket, local: None, remote: datagram.source };
        let mut packets = Vec::new();
        self.ends[index].handle_datagram(self.now, &from, datagram, &mut packets);
        self.deliver(index, packets);
    }

    /// Gives packets to the conversations of one end; each knows its own.
    fn deliver(&mut self, index: usize, packets: Vec<Vec<u8>>) {
        for packet in packets {
            for flow in &mut self.flows {
                flow[index].handle_packet(self.now, &packet);
            }
            if self.keep {
                self.ends[index].delivered.push(Delivery { at: self.now, packet });
            }
        }
    }
}

fn server_address(is_v6: bool) -> SocketAddr {
    if is_v6 { ([0xfd09, 0, 0, 0, 0, 0, 0, 1], 4433).into() } else { ([10, 9, 0, 1], 4433).into() }
}

/// Takes a datagram's length, clear header and tag into a digest: the tag stands for all of it.
fn digest(trace: u64, now: u64, bytes: &[u8]) -> u64 {
    let mut digest = trace ^ now ^ ((bytes.len() as u64) << 48);
    let parts = [bytes.first_chunk(), bytes.last_chunk()];
    for word in parts.into_iter().flatten() {
        digest = (digest ^ u64::from_le_bytes(*word)).wrapping_mul(0x100_0000_01b3).rotate_left(23);
    }
    digest
}

/// Times that something may be due at one instant: the ends, the links and the flows.
const STEPS_AT_ONCE_MAX: u32 = 1000;

/// Rounds at one instant after which something must be wrong.
const SETTLE_MAX: usize = 100_000;
