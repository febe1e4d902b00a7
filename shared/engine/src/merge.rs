//! Puts segments together again: rows of packets of one flow become super-packets, which the kernel
//! takes for the price of one.
//!
//! The inverse of [`segment`](crate::segment): cutting what was merged gives the packets that there
//! were, bit by bit, but for the identification of IPv4 packets that can't be fragmented, which nobody
//! may look at (RFC 6864, section 4.1). Nothing is copied but the headers of the first packet.

use crate::{
    checksum,
    packet::{FlowKey, Headers, TCP, UDP},
};

/// Packets on their way to the TUN device, in rows.
///
/// Packets of one flow keep their order; those of different flows may change places.
pub struct Merger<'p> {
    rows: [Option<Waiting<'p>>; ROWS_MAX],
    /// The row that made room for another last: they take turns.
    turn: usize,
}

/// What is written at once: one packet, or a super-packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Merged<'m> {
    /// What the kernel has to know of a super-packet; none of a packet.
    pub row: Option<RowHeader>,
    /// The headers of a super-packet; nothing of a packet.
    pub headers: &'m [u8],
    /// The payloads of a super-packet in their order; a packet as it stands.
    pub parts: &'m [&'m [u8]],
}

impl<'m> Merged<'m> {
    /// One packet as it stands.
    pub fn packet(packet: &'m [&'m [u8]; 1]) -> Self {
        Self { row: None, headers: &[], parts: packet }
    }
}

/// The fields of a super-packet's virtio header (virtio 1.2, section 5.1.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RowHeader {
    /// Whether it is IPv6.
    pub v6: bool,
    /// Whether it is TCP; UDP otherwise.
    pub tcp: bool,
    /// Payload bytes of each segment but the last.
    pub size: u16,
    /// Where the transport header begins.
    pub transport: u16,
    /// Where the checksum lies in the transport header.
    pub checksum: u16,
}

/// What may be followed by more of its flow.
#[expect(
    clippy::large_enum_variant,
    reason = "it lies where it grows, and is moved only when it ends"
)]
enum Waiting<'p> {
    /// One packet. Most stay alone, and pay for no row.
    One(FlowKey, Candidate<'p>),
    /// Several.
    Row(FlowKey, Row<'p>),
}

/// A row of packets, each of which follows the one before.
struct Row<'p> {
    /// Those of the first packet.
    headers: [u8; HEADERS_MAX],
    headers_len: usize,
    transport: usize,
    is_tcp: bool,
    parts: [&'p [u8]; ROW_PARTS_MAX],
    count: usize,
    payload: usize,
    /// Nothing may follow.
    closed: bool,
}

/// A packet that may stand in a row.
struct Candidate<'p> {
    packet: &'p [u8],
    transport: usize,
    headers_len: usize,
    is_tcp: bool,
}

impl<'p> Merger<'p> {
    /// Without any packet.
    pub fn new() -> Self {
        Self { rows: [const { None }; ROWS_MAX], turn: 0 }
    }

    /// Takes a packet, and gives `write` what can't wait for more.
    pub fn push(&mut self, packet: &'p [u8], mut write: impl FnMut(Merged<'_>)) {
        let Some(headers) = Headers::parse(packet) else {
            write(Merged::packet(&[packet]));
            return;
        };
        let flow = headers.flow();
        let mine = |row: &Option<Waiting<'_>>| row.as_ref().is_some_and(|it| *it.flow() == flow);
        let place = self.rows.iter().position(mine);
        let candidate = Candidate::new(packet, &headers);
        if let (Some(place), Some(candidate)) = (place, &candidate)
            && let Some(row) = &mut self.rows[place]
            && row.extend(candidate)
        {
            return;
        }
        // What came before goes before.
        if let Some(row) = place.and_then(|place| self.rows[place].take()) {
            row.write(&mut write);
        }
        let Some(candidate) = candidate else {
            write(Merged::packet(&[packet]));
            return;
        };
        let free = place.or_else(|| self.rows.iter().position(Option::is_none));
        let place = free.unwrap_or_else(|| {
            self.turn = (self.turn + 1) % ROWS_MAX;
            self.turn
        });
        if let Some(row) = self.rows[place].replace(Waiting::One(flow, candidate)) {
            row.write(&mut write);
        }
    }

    /// Gives `write` everything that waits.
    pub fn flush(&mut self, mut write: impl FnMut(Merged<'_>)) {
        for row in self.rows.iter_mut().filter_map(Option::take) {
            row.write(&mut write);
        }
    }
}

impl Default for Merger<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'p> Candidate<'p> {
    /// `None` for what is better left alone: other protocols, fragments, options of IP, connections
    /// that begin or end, urgent data.
    fn new(packet: &'p [u8], headers: &Headers) -> Option<Self> {
        let (v6, transport) = (packet[0] >> 4 == 6, headers.transport);
        let plain = transport == if v6 { 40 } else { 20 };
        if !plain || headers.fragment || headers.len != packet.len() {
            return None;
        }
        let is_tcp = headers.protocol == TCP;
        let transport_len = match headers.protocol {
            TCP => {
                let fixed: &[u8; 20] = packet[transport..].first_chunk()?;
                if fixed[13] & !(PSH | ECE) != ACK {
                    return None;
                }
                (usize::from(fixed[12] >> 4) * 4).max(20)
            }
            UDP => {
                let fixed: &[u8; 8] = packet[transport..].first_chunk()?;
                let len = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
                if len != packet.len() - transport || fixed[6..] == [0, 0] {
                    return None;
                }
                8
            }
            _ => return None,
        };
        let headers_len = transport + transport_len;
        let has_payload = packet.len() > headers_len;
        has_payload.then_some(Self { packet, transport, headers_len, is_tcp })
    }

    /// Whether the checksums of IP and transport are right: merging would hide that they are not.
    fn sums_are_right(&self) -> bool {
        let (packet, transport) = (self.packet, self.transport);
        let v6 = packet[0] >> 4 == 6;
        if !v6 && checksum::finish(checksum::sum(&packet[..transport])) != 0 {
            return false;
        }
        let addresses = if v6 { 8..40 } else { 12..20 };
        let (protocol, body) = (if self.is_tcp { TCP } else { UDP }, &packet[transport..]);
        let total =
            checksum::pseudo(&packet[addresses], protocol, body.len()) + checksum::sum(body);
        checksum::finish(total) == 0
    }

    fn payload(&self) -> &'p [u8] {
        &self.packet[self.headers_len..]
    }

    /// Whether TCP asks to hand over what there is, or it is shorter than those before.
    fn ends(&self, size: usize) -> bool {
        let pushed = self.is_tcp && self.packet[self.transport + 13] & PSH != 0;
        pushed || self.payload().len() < size
    }
}

impl<'p> Waiting<'p> {
    fn flow(&self) -> &FlowKey {
        let (Self::One(flow, _) | Self::Row(flow, _)) = self;
        flow
    }

    /// Takes one more packet, if it is the next.
    fn extend(&mut self, next: &Candidate<'p>) -> bool {
        match self {
            Self::One(flow, first) => {
                let before = Before {
                    headers: &first.packet[..first.headers_len],
                    transport: first.transport,
                    is_tcp: first.is_tcp,
                    count: 1,
                    payload: first.payload().len(),
                };
                let fits = !first.ends(0) && next.payload().len() <= before.payload;
                if !(fits && before.precede(next) && first.sums_are_right()) {
                    return false;
                }
                let mut row = Row::new(first);
                let extended = row.extend(next);
                if extended {
                    *self = Self::Row(*flow, row);
                }
                extended
            }
            Self::Row(_, row) => row.extend(next),
        }
    }

    fn write(self, write: &mut impl FnMut(Merged<'_>)) {
        match self {
            Self::One(_, only) => write(Merged::packet(&[only.packet])),
            Self::Row(_, row) => row.write(write),
        }
    }
}

/// What stands before a packet that may be the next.
struct Before<'h> {
    /// Those of the first packet.
    headers: &'h [u8],
    transport: usize,
    is_tcp: bool,
    count: usize,
    payload: usize,
}

impl Before<'_> {
    /// Whether a packet has the headers that the next segment would have.
    fn precede(&self, next: &Candidate<'_>) -> bool {
        if next.headers_len != self.headers.len() || next.is_tcp != self.is_tcp {
            return false;
        }
        let (mine, other) = (self.headers, next.packet);
        let same = |range: std::ops::Range<usize>| mine[range.clone()] == other[range];
        let at = self.transport;
        let word = |of: &[u8], at: usize| u16::from_be_bytes([of[at], of[at + 1]]);
        let ip = if mine[0] >> 4 == 6 {
            same(0..4) && same(6..40)
        } else {
            let ahead = word(other, 4).wrapping_sub(word(mine, 4));
            let unbreakable = mine[6] & 0x40 != 0;
            let counted = usize::from(ahead) == self.count || unbreakable && ahead == 0;
            same(0..2) && counted && same(6..10) && same(12..20)
        };
        if !self.is_tcp {
            return ip && same(at..at + 4);
        }
        let number =
            |of: &[u8]| u32::from_be_bytes([of[at + 4], of[at + 5], of[at + 6], of[at + 7]]);
        let follows = number(other) == number(mine).wrapping_add(self.payload as u32);
        let flags = (mine[at + 13] ^ other[at + 13]) & !PSH == 0;
        ip && same(at..at + 4)
            && follows
            && same(at + 8..at + 13)
            && flags
            && same(at + 14..at + 16)
            && same(at + 18..mine.len())
    }
}

impl<'p> Row<'p> {
    fn new(first: &Candidate<'p>) -> Self {
        let mut headers = [0; HEADERS_MAX];
        headers[..first.headers_len].copy_from_slice(&first.packet[..first.headers_len]);
        let mut parts: [&[u8]; ROW_PARTS_MAX] = [&[]; ROW_PARTS_MAX];
        parts[0] = first.payload();
        Self {
            headers,
            headers_len: first.headers_len,
            transport: first.transport,
            is_tcp: first.is_tcp,
            parts,
            count: 1,
            payload: first.payload().len(),
            closed: first.ends(0),
        }
    }

    /// Takes one more packet, if it is the next.
    fn extend(&mut self, next: &Candidate<'p>) -> bool {
        let (size, len) = (self.parts[0].len(), next.payload().len());
        let fits = self.count < ROW_PARTS_MAX
            && len <= size
            && self.headers_len + self.payload + len <= usize::from(u16::MAX);
        let before = Before {
            headers: &self.headers[..self.headers_len],
            transport: self.transport,
            is_tcp: self.is_tcp,
            count: self.count,
            payload: self.payload,
        };
        if self.closed || !fits || !before.precede(next) || !next.sums_are_right() {
            return false;
        }
        self.parts[self.count] = next.payload();
        self.count += 1;
        self.payload += len;
        self.closed = next.ends(size);
        if self.is_tcp {
            // The last segment's, as it will be the last one's again.
            self.headers[self.transport + 13] |= next.packet[self.transport + 13] & PSH;
        }
        true
    }

    fn write(mut self, write: &mut impl FnMut(Merged<'_>)) {
        let row = self.complete_headers();
        let headers = &self.headers[..self.headers_len];
        write(Merged { row: Some(row), headers, parts: &self.parts[..self.count] });
    }

    /// Makes the headers those of the super-packet, with the transport checksum left to the kernel.
    fn complete_headers(&mut self) -> RowHeader {
        let (v6, at) = (self.headers[0] >> 4 == 6, self.transport);
        let len = self.headers_len + self.payload;
        let transport_len = len - at;
        if v6 {
            self.headers[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
        } else {
            self.headers[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            crate::segment::complete_v4(&mut self.headers);
        }
        let (protocol, checksum) = if self.is_tcp { (TCP, 16) } else { (UDP, 6) };
        if !self.is_tcp {
            self.headers[at + 4..at + 6].copy_from_slice(&(transport_len as u16).to_be_bytes());
        }
        let addresses = if v6 { 8..40 } else { 12..20 };
        let sum = checksum::pseudo(&self.headers[addresses], protocol, transport_len);
        let sum = !checksum::finish(sum);
        self.headers[at + checksum..at + checksum + 2].copy_from_slice(&sum.to_be_bytes());
        RowHeader {
            v6,
            tcp: self.is_tcp,
            size: self.parts[0].len() as u16,
            transport: at as u16,
            checksum: checksum as u16,
        }
    }
}

/// Rows that grow at the same time; a flow beyond them ends another one's row.
const ROWS_MAX: usize = 8;
/// Segments of a row: what the kernel takes of UDP (UDP_MAX_SEGMENTS of older ones), and more than
/// 64 KiB of full packets.
pub const ROW_PARTS_MAX: usize = 64;
/// Plain IPv6 and TCP with all of its options.
const HEADERS_MAX: usize = 40 + 60;

const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;

#[cfg(test)]
mod tests;
