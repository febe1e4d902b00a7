//! A link of the world, with what stands around it: a NAT, and perhaps somebody who listens.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use engine::Ecn;
use lab::link::{Link, LinkConfig};

use crate::packet::Packet;

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

/// A datagram that an engine sent, and what became of it.
#[derive(Clone, Debug)]
pub struct Sending {
    /// When it was sent, in microseconds.
    pub at: u64,
    /// The UDP payload.
    pub bytes: Vec<u8>,
    /// Whether it came out of the link at least once.
    pub arrived: bool,
}

/// A link and the addresses at its client's end.
#[derive(Debug)]
pub(super) struct Line {
    index: usize,
    is_v6: bool,
    pub(super) links: [Link<Flying>; 2],
    /// What the server sees as the client's address.
    pub(super) source: SocketAddr,
    /// How often the NAT took another port; at the earlier ones nobody listens.
    moves: u16,
    copier: Option<Copier>,
    /// What was sent in both directions, if that is wanted.
    pub(super) sendings: [Vec<Sending>; 2],
}

/// A datagram inside a link.
#[derive(Clone, Debug)]
pub(super) struct Flying {
    pub(super) datagram: Datagram,
    /// Its index among the sendings, if they are kept.
    pub(super) sending: Option<usize>,
    /// Whether it is a packet of neighbours.
    pub(super) foreign: bool,
}

/// Somebody on the path who sends each of the client's datagrams from his own address, so that his
/// arrive first.
#[derive(Debug)]
struct Copier {
    /// How much later the original arrives, in microseconds.
    lead: u64,
    /// Originals that arrive later, by their time.
    originals: VecDeque<(u64, Flying)>,
    /// What the server sent to the copier: when, and how many bytes.
    caught: Vec<(u64, usize)>,
}

impl Line {
    pub(super) fn new(
        index: usize,
        up: LinkConfig,
        down: LinkConfig,
        is_v6: bool,
        seeds: [u64; 2],
    ) -> Self {
        Self {
            index,
            is_v6,
            links: [Link::new(up, seeds[0]), Link::new(down, seeds[1])],
            source: address(index, 0, is_v6),
            moves: 0,
            copier: None,
            sendings: Default::default(),
        }
    }

    /// The NAT forgets its mapping: the client's datagrams come from another port.
    pub(super) fn rebind(&mut self) {
        self.moves += 1;
        self.source = address(self.index, self.moves, self.is_v6);
    }

    /// Puts a copier on the line, whose copies arrive so much earlier than the originals.
    pub(super) fn put_copier(&mut self, lead: u64) {
        self.copier = Some(Copier { lead, originals: VecDeque::new(), caught: Vec::new() });
    }

    /// What the copier got from the server.
    pub(super) fn caught(&self) -> &[(u64, usize)] {
        self.copier.as_ref().map_or(&[], |copier| &copier.caught)
    }

    /// Whether the line leads to this address of a client's.
    pub(super) fn leads_to(&self, remote: SocketAddr) -> bool {
        self.source.ip() == remote.ip() || copier_address(self.index).ip() == remote.ip()
    }

    /// Takes a datagram of an engine's into the link, if its address leads anywhere.
    pub(super) fn push(&mut self, now: u64, direction: usize, flying: Flying, to: SocketAddr) {
        let len = flying.datagram.bytes.len();
        if direction == super::SERVER && to != self.source {
            if let Some(copier) = &mut self.copier
                && to == copier_address(self.index)
            {
                copier.caught.push((now, len));
            }
            return;
        }
        // A refused datagram is a lost one; the link counts it.
        let headers = if self.is_v6 { HEADERS_V6 } else { HEADERS };
        let _ = self.links[direction].push(now, flying, len + headers, 0);
    }

    /// Takes a neighbour's packet into the link.
    pub(super) fn push_foreign(&mut self, now: u64, direction: usize, packet: Packet) {
        for bytes in packet.into_segments() {
            let len = bytes.len();
            let datagram = Datagram { bytes, source: self.source, ecn: Ecn::NotEct };
            let flying = Flying { datagram, sending: None, foreign: true };
            let _ = self.links[direction].push(now, flying, len, 0);
        }
    }

    /// The next datagram that arrives at the end of a direction.
    pub(super) fn pop(&mut self, now: u64, direction: usize) -> Option<Flying> {
        if direction == super::CLIENT
            && let Some(copier) = &mut self.copier
        {
            if let Some((_, original)) = copier.originals.pop_front_if(|&mut (due, _)| due <= now) {
                return Some(original);
            }
            let original = self.links[direction].pop(now)?;
            if original.foreign {
                return Some(original);
            }
            let mut copy = original.clone();
            copy.datagram.source = copier_address(self.index);
            copier.originals.push_back((now + copier.lead, original));
            return Some(copy);
        }
        self.links[direction].pop(now)
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        let original = self.copier.as_ref().and_then(|c| c.originals.front().map(|&(due, _)| due));
        self.links.iter().filter_map(Link::next_due_us).chain(original).min()
    }
}

fn address(line: usize, moves: u16, is_v6: bool) -> SocketAddr {
    let v6 = IpAddr::from([0xfd01, line as u16, 0, 0, 0, 0, 0, 1]);
    let ip = if is_v6 { v6 } else { IpAddr::from([10, 1, line as u8, 1]) };
    (ip, 5000 + moves).into()
}

fn copier_address(line: usize) -> SocketAddr {
    (IpAddr::from([10, 6, line as u8, 6]), 666).into()
}

/// IPv4 and UDP headers of a datagram.
const HEADERS: usize = 28;

/// IPv6 and UDP headers of a datagram.
const HEADERS_V6: usize = 48;
