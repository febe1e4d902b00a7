//! The datagram: what one UDP payload of ours looks like.
//!
//! ```text
//!  0               1               2               3
//! +---+---+-------+---------------+---------------+-------+-------+
//! |0 0| E | kind  |        session slot (20 bit)          | path  |   b7 b6 of byte 0 are zero:
//! +---+---+-------+---------------+---------------+-------+-------+   QUIC's have b6 set
//! |             packet number, low 32 of 64 bits                  |   bytes 0-7 are the AAD
//! +===============+===============================+===============+
//! | flags         | lane (12) ‖ class (4)         |               |   sealed from here on
//! +---------------+-------------------------------+               +
//! | lane sequence (24)                            | stamp         |
//! +-----------------------------------------------+               +
//! | stamp (32, microseconds)                      | payload ...   |
//! +-----------------------------------------------+---------------+
//! | tag (16 bytes)                                                |
//! +---------------------------------------------------------------+
//! ```
//! E is the key epoch modulo 4. All numbers are big-endian. The nonce is the path slot in 32 bits
//! followed by the whole packet number in 64.

use crate::time::Time;

pub mod feedback;
pub mod message;

/// Bytes before the sealed part; they are authenticated as associated data.
pub const OUTER_LEN: usize = 8;
/// Bytes of the sealed header, before the payload.
pub const INNER_LEN: usize = 10;
/// Bytes of the AEAD tag at the end.
pub const TAG_LEN: usize = 16;
/// What a datagram costs beside its payload.
pub const OVERHEAD: usize = OUTER_LEN + INNER_LEN + TAG_LEN;
/// The longest datagram: one Ethernet frame's worth of IPv4 and UDP payload on a 9000-byte link.
pub const DATAGRAM_MAX: usize = 8972;

const _: () = assert!(OVERHEAD == 34);

/// Session slots are 20 bits wide.
pub const SESSION_SLOTS: u32 = 1 << 20;
/// A session has this many path slots (4 bits on the wire).
pub const PATHS_MAX: usize = 16;
/// Lanes are 12 bits wide; lane 0 is the unordered one.
pub const LANES: usize = 1 << 12;

/// By what a receiver finds the session and the path of a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReceiverIndex {
    /// The receiver's slot of the session, below [`SESSION_SLOTS`].
    pub session: u32,
    /// The slot of the path within the session, below [`PATHS_MAX`].
    pub path: u8,
}

/// The part of a datagram that is sent in the clear, and authenticated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outer {
    /// The key epoch, modulo 4.
    pub epoch: u8,
    /// Where the datagram belongs.
    pub index: ReceiverIndex,
    /// The low half of the packet number.
    pub number: u32,
}

impl Outer {
    /// Reads the clear part. `None` if the datagram is not one of ours: too short, not of kind 0,
    /// or with a bit set that ours never set.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        if datagram.len() < OVERHEAD || datagram.len() > DATAGRAM_MAX || datagram[0] & 0xcf != 0 {
            return None;
        }
        let word = u32::from_be_bytes([0, datagram[1], datagram[2], datagram[3]]);
        Some(Self {
            epoch: datagram[0] >> 4,
            index: ReceiverIndex { session: word >> 4, path: (word & 0xf) as u8 },
            number: u32::from_be_bytes([datagram[4], datagram[5], datagram[6], datagram[7]]),
        })
    }

    /// The eight bytes on the wire.
    pub fn emit(&self) -> [u8; OUTER_LEN] {
        let [_, a, b, c] = (self.index.session << 4 | u32::from(self.index.path)).to_be_bytes();
        let [n0, n1, n2, n3] = self.number.to_be_bytes();
        [(self.epoch & 3) << 4, a, b, c, n0, n1, n2, n3]
    }
}

/// What a datagram carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// In-band messages: probes, feedback, marks.
    Message,
    /// One inner packet.
    Packet,
    /// Padding that shows which sizes the path carries.
    Padding,
}

/// Says something about a datagram beside its kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flags {
    /// A further first transmission of the same packet, on another path.
    pub copy: bool,
    /// The lane was given to its flow a moment ago, and nothing older is in flight in it.
    pub first: bool,
    /// The packet was sent before, and is taken for lost or for stuck on a path.
    pub retx: bool,
    /// The path was quiet before this datagram.
    pub wake: bool,
}

/// The sealed header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Inner {
    /// What the payload is.
    pub kind: Kind,
    /// Circumstances of the transmission.
    pub flags: Flags,
    /// The lane that keeps the packet's order, below [`LANES`]; 0 is unordered.
    pub lane: u16,
    /// The traffic class, below 16.
    pub class: u8,
    /// The packet's place in its lane, modulo 2^24.
    pub sequence: u32,
    /// The low half of the sender's stamp.
    pub stamp: u32,
}

impl Inner {
    /// A header for a datagram without an inner packet.
    pub fn without_packet(kind: Kind, stamp: Time) -> Self {
        Self { kind, flags: Flags::default(), lane: 0, class: 0, sequence: 0, stamp: stamp.low() }
    }

    /// Reads the header that opens an unsealed datagram's content. `None` if it is malformed.
    pub fn parse(content: &[u8]) -> Option<Self> {
        let bytes: &[u8; INNER_LEN] = content.first_chunk()?;
        let kind = match bytes[0] & 0b11 {
            0 => Kind::Packet,
            1 => Kind::Message,
            2 => Kind::Padding,
            _ => return None,
        };
        if bytes[0] & 0b1100_0000 != 0 {
            return None;
        }
        let flags = Flags {
            retx: bytes[0] & RETX != 0,
            copy: bytes[0] & COPY != 0,
            first: bytes[0] & FIRST != 0,
            wake: bytes[0] & WAKE != 0,
        };
        let word = u16::from_be_bytes([bytes[1], bytes[2]]);
        Some(Self {
            kind,
            flags,
            lane: word >> 4,
            class: (word & 0xf) as u8,
            sequence: u32::from_be_bytes([0, bytes[3], bytes[4], bytes[5]]),
            stamp: u32::from_be_bytes([bytes[6], bytes[7], bytes[8], bytes[9]]),
        })
    }

    /// The ten bytes on the wire.
    pub fn emit(&self) -> [u8; INNER_LEN] {
        let kind = match self.kind {
            Kind::Packet => 0,
            Kind::Message => 1,
            Kind::Padding => 2,
        };
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = kind
            | bit(self.flags.retx, RETX)
            | bit(self.flags.copy, COPY)
            | bit(self.flags.first, FIRST)
            | bit(self.flags.wake, WAKE);
        let [l0, l1] = (self.lane << 4 | u16::from(self.class & 0xf)).to_be_bytes();
        let [_, q0, q1, q2] = self.sequence.to_be_bytes();
        let [s0, s1, s2, s3] = self.stamp.to_be_bytes();
        [flags, l0, l1, q0, q1, q2, s0, s1, s2, s3]
    }
}

const RETX: u8 = 1 << 2;
const COPY: u8 = 1 << 3;
const FIRST: u8 = 1 << 4;
const WAKE: u8 = 1 << 5;

/// The nonce of one datagram: no two under one key may be equal.
pub fn nonce(path: u8, number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&u32::from(path).to_be_bytes());
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    nonce
}

/// Expands the low 32 bits of a packet number to the one nearest after the largest authenticated
/// number (RFC 9000, appendix A.3). `expected` is that largest number plus one.
pub fn expand_number(expected: u64, low: u32) -> u64 {
    let ahead = low.wrapping_sub(expected as u32) as i32;
    expected.checked_add_signed(i64::from(ahead)).unwrap_or(u64::from(low))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_emitted_parses_to_the_same(
            epoch in 0u8..4, session in 0..SESSION_SLOTS, path in 0u8..16, number: u32,
            kind in 0usize..3, bits in 0u8..16, lane in 0u16..4096, class in 0u8..16,
            sequence in 0u32..1 << 24, stamp: u32,
        ) {
            let outer = Outer { epoch, index: ReceiverIndex { session, path }, number };
            let kind = [Kind::Packet, Kind::Message, Kind::Padding][kind];
            let flags = Flags {
                copy: bits & 1 != 0, first: bits & 2 != 0, retx: bits & 4 != 0, wake: bits & 8 != 0,
            };
            let inner = Inner { kind, flags, lane, class, sequence, stamp };
            let mut datagram = outer.emit().to_vec();
            datagram.extend(inner.emit());
            datagram.extend([0; TAG_LEN]);

            prop_assert_eq!(Outer::parse(&datagram), Some(outer));
            prop_assert_eq!(Inner::parse(&datagram[OUTER_LEN..]), Some(inner));
        }

        #[test]
        fn any_bytes_parse_without_a_panic(bytes: Vec<u8>) {
            let _ = (Outer::parse(&bytes), Inner::parse(&bytes));
        }
    }

    #[test]
    fn a_quic_packet_is_none_of_ours() {
        assert_eq!(Outer::parse(&[0x40; 64]), None);
        assert_eq!(Outer::parse(&[0xc0; 64]), None);
    }

    #[test]
    fn a_packet_number_expands_past_a_wrap_and_never_below_zero() {
        assert_eq!(expand_number(0x1_0000_0000, 0xffff_ffff), 0xffff_ffff);
        assert_eq!(expand_number(0xffff_ffff, 3), 0x1_0000_0003);
        assert_eq!(expand_number(2, 0xffff_fff0), 0xffff_fff0);
    }
}
