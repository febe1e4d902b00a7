//! TCP as Linux speaks it, in virtual time.
//!
//! The packets are real: handshake with MSS, window scale, timestamps and SACK, then data and
//! acknowledgments, then FIN. Resets, urgent data and closed windows do not occur.

mod bbr;
mod control;
mod cubic;
mod rack;
mod rate;
mod receiver;
mod rtt;
mod scoreboard;
mod segment;
mod sender;

use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::StdRng;

use self::receiver::Arriving;
use self::receiver::Receiver;
use self::rtt::TIMEOUT_INITIAL;
use self::segment::Offer;
use self::segment::Segment;
use self::segment::TIMESTAMPS_LEN;
use self::sender::Acknowledgment;
use self::sender::Sender;
use self::sender::Transmission;
use crate::flow::Congestion;
use crate::flow::Flow;
use crate::flow::Load;
use crate::flow::Report;
use crate::flow::Role;
use crate::packet;
use crate::packet::FourTuple;
use crate::packet::Packet;
use crate::packet::Parsed;
use crate::packet::Protocol;
use crate::payload;

/// What one end of a connection is to do.
#[derive(Clone, Copy, Debug)]
pub struct TcpConfig {
    /// Addresses, as this end sees them.
    pub tuple: FourTuple,
    /// Whether it connects, at `start`, or waits.
    pub role: Role,
    /// What it sends. Both ends may.
    pub load: Load,
    /// Largest packet, bytes.
    pub mtu: u16,
    /// How its window grows.
    pub congestion: Congestion,
    /// How it hands packets over.
    pub offload: Offload,
    /// Bytes that it takes ahead of what is missing; up to 1 GiB.
    pub receive_window: u32,
    /// When a client connects, microseconds.
    pub start: u64,
    /// What its first sequence number, and BBR's phases, come from.
    pub seed: u64,
}

/// How data is handed to the network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Offload {
    /// Packet by packet, as on a device without offloads.
    Segments,
    /// As super-packets of what leaves in a millisecond, 64 KiB at most: TSO.
    SuperPackets,
}

impl TcpConfig {
    /// A connection with Linux's defaults, packet by packet, over an MTU of 1500, which begins at 0.
    pub fn new(tuple: FourTuple, role: Role, load: Load) -> Self {
        Self {
            tuple,
            role,
            load,
            mtu: 1500,
            congestion: Congestion::Cubic,
            offload: Offload::Segments,
            receive_window: 16 << 20,
            start: 0,
            seed: 0,
        }
    }

    /// Segments that may leave as one packet.
    fn burst_max(&self, mss: u32) -> u32 {
        match self.offload {
            Offload::Segments => 1,
            // Room for the largest headers.
            Offload::SuperPackets => (u32::from(u16::MAX) - 120) / mss,
        }
    }

    fn mss(&self) -> u16 {
        self.mtu.saturating_sub((self.tuple.header_len() + packet::TCP_LEN) as u16)
    }
}

/// One end of a TCP connection.
#[derive(Debug)]
pub struct Tcp {
    config: TcpConfig,
    state: State,
    /// This end's first sequence number, and that of the peer.
    origin: u32,
    peer_origin: u32,
    identification: u16,
    report: Report,
}

#[derive(Debug)]
enum State {
    /// Waits for a SYN, or for the time to send one.
    Closed,
    /// Sent a SYN (a server: with an acknowledgment), and sends it again at `resend_at`.
    Opening(Opening),
    Open(Box<Halves>),
}

#[derive(Clone, Copy, Debug)]
struct Opening {
    sent_at: u64,
    resend_at: u64,
    attempts: u32,
    is_pending: bool,
    /// What a server knows of the client.
    peer: Option<Peer>,
}

/// What the peer's SYN said.
#[derive(Clone, Copy, Debug)]
struct Peer {
    offer: Offer,
    timestamp: u32,
}

#[derive(Debug)]
struct Halves {
    sender: Sender,
    receiver: Receiver,
    peer_window_scale: u8,
}

impl Tcp {
    /// One end of a connection.
    ///
    /// # Panics
    ///
    /// When the MTU has no room for data.
    pub fn new(config: TcpConfig) -> Self {
        assert!(usize::from(config.mss()) > TIMESTAMPS_LEN, "an MTU of {}", config.mtu);
        let origin = StdRng::seed_from_u64(config.seed).random();
        Self {
            config,
            state: State::Closed,
            origin,
            peer_origin: 0,
            identification: 0,
            report: Report::default(),
        }
    }

    fn handle(&mut self, now: u64, packet: &[u8]) -> Option<()> {
        let parsed = Parsed::parse(packet)?;
        if parsed.four_tuple() != self.config.tuple || parsed.protocol != Protocol::Tcp {
            return None;
        }
        let (segment, payload) = Segment::parse(parsed.transport)?;
        self.report.packets_received += 1;
        match &mut self.state {
            State::Closed => self.handle_first(now, &segment),
            State::Opening(opening) => {
                let opening = *opening;
                self.handle_opening(now, opening, &segment, payload)
            }
            State::Open(_) => self.handle_open(now, &segment, payload),
        }
    }

    fn handle_first(&mut self, now: u64, segment: &Segment) -> Option<()> {
        if self.config.role == Role::Server && segment.syn {
            let (timestamp, _) = segment.timestamps?;
            self.peer_origin = segment.sequence;
            let peer = Peer { offer: segment.offer?, timestamp };
            self.open(now, Some(peer));
        }
        Some(())
    }

    fn handle_opening(
        &mut self,
        now: u64,
        opening: Opening,
        segment: &Segment,
        payload: &[u8],
    ) -> Option<()> {
        let acknowledged = segment.acknowledgment == Some(self.origin.wrapping_add(1));
        let peer = match opening.peer {
            Some(_) if segment.syn => {
                // The client did not get the answer.
                self.open(now, opening.peer);
                return Some(());
            }
            Some(peer) if acknowledged => peer,
            None if acknowledged && segment.syn => {
                self.peer_origin = segment.sequence;
                Peer { offer: segment.offer?, timestamp: segment.timestamps?.0 }
            }
            _ => return Some(()),
        };
        let mss = u32::from(self.config.mss().min(peer.offer.mss)) - TIMESTAMPS_LEN as u32;
        // The window of a SYN is not scaled.
        let scale = if segment.syn { 0 } else { peer.offer.window_scale };
        let window_end = 1 + (u64::from(segment.window) << scale);
        let mut sender = Sender::new(&self.config, mss, window_end);
        if opening.attempts == 1 {
            sender.on_handshake_rtt((now - opening.sent_at).max(1));
        }
        let mut receiver = Receiver::new(mss, peer.timestamp);
        if self.config.role == Role::Server {
            // The client's acknowledgment asks for none.
            receiver.on_acknowledging();
        }
        let peer_window_scale = peer.offer.window_scale;
        self.state = State::Open(Box::new(Halves { sender, receiver, peer_window_scale }));
        if segment.syn { Some(()) } else { self.handle_open(now, segment, payload) }
    }

    fn handle_open(&mut self, now: u64, segment: &Segment, payload: &[u8]) -> Option<()> {
        let State::Open(halves) = &mut self.state else { return None };
        let Halves { sender, receiver, peer_window_scale } = halves.as_mut();
        let (value, echo) = segment.timestamps?;
        if segment.syn {
            // The last acknowledgment of the handshake was lost.
            receiver.acknowledge_immediately();
            return Some(());
        }
        let start = expand(segment.sequence, self.peer_origin, receiver.next())?;
        let end = start + payload.len() as u64 + u64::from(segment.fin);
        let limit = receiver.next() + u64::from(self.config.receive_window);
        if end > limit {
            receiver.acknowledge_immediately();
            return Some(());
        }
        // The stream's first byte has number 1, after the SYN.
        if !payload::matches(start.checked_sub(1)?, payload) {
            return None;
        }
        let arriving =
            Arriving { fin: segment.fin, timestamp: value, rtt: sender.rtt().smoothed() };
        let delivered = receiver.handle(now, start, end, arriving);
        let fin_delivered = delivered > 0 && receiver.is_finished();
        if delivered > u64::from(fin_delivered) {
            self.report.on_delivered(now, delivered - u64::from(fin_delivered));
        }
        if fin_delivered {
            sender.close();
        }
        let base = sender.unacknowledged();
        let number = expand(segment.acknowledgment?, self.origin, base)?;
        let sacks: Vec<(u64, u64)> = segment
            .sacks
            .iter()
            .filter_map(|&(start, end)| {
                Some((expand(start, self.origin, base)?, expand(end, self.origin, base)?))
            })
            .collect();
        let acknowledgment = Acknowledgment {
            number,
            sacks: &sacks,
            echo: echo.checked_sub(TIMESTAMP_BASE).map(u64::from),
            window_end: number + (u64::from(segment.window) << *peer_window_scale),
            carries_payload: !payload.is_empty(),
        };
        sender.handle(now, &acknowledgment);
        Some(())
    }

    fn open(&mut self, now: u64, peer: Option<Peer>) {
        let attempts = match &self.state {
            State::Opening(opening) => opening.attempts + 1,
            State::Closed | State::Open(_) => 1,
        };
        self.report.timeouts += u64::from(attempts > 1);
        let resend_at = now + (TIMEOUT_INITIAL << (attempts - 1).min(ATTEMPT_DOUBLINGS_MAX));
        let opening = Opening { sent_at: now, resend_at, attempts, is_pending: true, peer };
        self.state = State::Opening(opening);
    }

    fn poll_opening(&mut self, now: u64) -> Option<Packet> {
        match &self.state {
            State::Closed if self.config.role == Role::Client && self.config.start <= now => {
                self.open(now, None);
            }
            State::Opening(opening) if opening.resend_at <= now => {
                let peer = opening.peer;
                self.open(now, peer);
            }
            State::Closed | State::Opening(_) | State::Open(_) => {}
        }
        let State::Opening(opening) = &mut self.state else { return None };
        if !std::mem::take(&mut opening.is_pending) {
            return None;
        }
        let window = self.config.receive_window.min(u32::from(u16::MAX)) as u16;
        let segment = Segment {
            sequence: self.origin,
            acknowledgment: opening.peer.map(|_| self.peer_origin.wrapping_add(1)),
            syn: true,
            window,
            offer: Some(Offer { mss: self.config.mss(), window_scale: WINDOW_SCALE }),
            timestamps: Some((timestamp(now), opening.peer.map_or(0, |peer| peer.timestamp))),
            ..Segment::default()
        };
        Some(self.emit(&segment, &[]).into())
    }

    fn poll_open(&mut self, now: u64) -> Option<Packet> {
        let State::Open(halves) = &mut self.state else { return None };
        let Halves { sender, receiver, .. } = halves.as_mut();
        sender.handle_timeout(now);
        let transmission = sender.poll(now);
        let (start, fin, push) = match transmission {
            Some(Transmission { start, fin, push, .. }) => (start, fin, push),
            None if receiver.is_due(now) => (sender.next(), false, false),
            None => return None,
        };
        let len = transmission.map_or(0, |transmission| transmission.payload_len);
        // A full segment has no room for SACK blocks: they follow in a segment without data.
        let sacks =
            if len > 0 && receiver.has_sacks() { Vec::new() } else { receiver.on_acknowledging() };
        let wire = |origin: u32, number: u64| origin.wrapping_add(number as u32);
        let segment = Segment {
            sequence: wire(self.origin, start),
            acknowledgment: Some(wire(self.peer_origin, receiver.next())),
            fin,
            push: push && len > 0,
            window: (self.config.receive_window >> WINDOW_SCALE) as u16,
            timestamps: Some((timestamp(now), receiver.timestamp())),
            sacks: sacks
                .into_iter()
                .map(|(start, end)| (wire(self.peer_origin, start), wire(self.peer_origin, end)))
                .collect(),
            ..Segment::default()
        };
        let mss = sender.mss() as usize;
        let payload = if len == 0 { &[] } else { payload::at(start - 1, len) };
        let bytes = self.emit(&segment, payload);
        let segments = len.div_ceil(mss).max(1);
        self.report.packets_sent += segments as u64 - 1;
        self.identification = self.identification.wrapping_add(segments as u16 - 1);
        Some(Packet { bytes, segment_size: (segments > 1).then_some(mss as u16) })
    }

    fn emit(&mut self, segment: &Segment, payload: &[u8]) -> Vec<u8> {
        self.identification = self.identification.wrapping_add(1);
        self.report.packets_sent += 1;
        segment.emit(self.config.tuple, self.identification, payload)
    }
}

impl Flow for Tcp {
    fn handle_packet(&mut self, now: u64, packet: &[u8]) {
        if self.handle(now, packet).is_none() {
            self.report.packets_bad += 1;
        }
    }

    fn poll_packet(&mut self, now: u64) -> Option<Packet> {
        self.poll_opening(now).or_else(|| self.poll_open(now))
    }

    fn poll_timeout(&self) -> Option<u64> {
        match &self.state {
            State::Closed => (self.config.role == Role::Client).then_some(self.config.start),
            State::Opening(opening) => Some(if opening.is_pending { 0 } else { opening.resend_at }),
            State::Open(halves) => {
                let timeouts = [halves.sender.poll_timeout(), halves.receiver.poll_timeout()];
                timeouts.into_iter().flatten().min()
            }
        }
    }

    fn is_finished(&self) -> bool {
        match &self.state {
            State::Closed | State::Opening(_) => false,
            State::Open(halves) => halves.sender.is_finished() && halves.receiver.is_finished(),
        }
    }

    fn report(&self) -> Report {
        let State::Open(halves) = &self.state else { return self.report.clone() };
        let Halves { sender, receiver, .. } = halves.as_ref();
        Report {
            retransmits: sender.counters.retransmits,
            timeouts: self.report.timeouts + sender.counters.timeouts,
            probes: sender.counters.probes,
            reductions: sender.counters.reductions,
            undos: sender.counters.undos,
            reorderings: sender.reorderings(),
            packets_reordered: receiver.counters.reordered,
            packets_duplicate: receiver.counters.duplicate,
            smoothed_rtt: sender.rtt().smoothed(),
            min_rtt: sender.rtt().min(),
            window: sender.window_bytes(),
            ..self.report.clone()
        }
    }
}

/// A window of 1 GiB can be told by it.
const WINDOW_SCALE: u8 = 14;

/// A SYN is repeated after 1, 2, 4, 8, 16, 32 and then always 64 s.
const ATTEMPT_DOUBLINGS_MAX: u32 = 6;

/// The timestamp at the beginning of the simulation: an echo of 0 means that there is none.
const TIMESTAMP_BASE: u32 = 1;

/// Milliseconds, as in Linux.
fn timestamp(now: u64) -> u32 {
    TIMESTAMP_BASE.wrapping_add((now / 1000) as u32)
}

/// The number near `base` that `wire` stands for; nothing if it lies before the SYN.
fn expand(wire: u32, origin: u32, base: u64) -> Option<u64> {
    let near = origin.wrapping_add(base as u32);
    base.checked_add_signed(i64::from(wire.wrapping_sub(near) as i32))
}

#[cfg(test)]
mod tests;
