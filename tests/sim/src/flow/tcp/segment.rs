//! The TCP header: the part of it that the flows use (RFC 9293, 7323, 2018, 2883).

use crate::packet;
use crate::packet::FourTuple;
use crate::packet::Protocol;

/// A TCP header, with 32-bit numbers as on the wire.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Segment {
    /// Sequence number of the first byte.
    pub(crate) sequence: u32,
    /// Next byte that the sender expects; present in all segments but the first.
    pub(crate) acknowledgment: Option<u32>,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    pub(crate) push: bool,
    /// Receive window, not yet scaled.
    pub(crate) window: u16,
    /// Options of a SYN.
    pub(crate) offer: Option<Offer>,
    /// Timestamp value and echo reply, RFC 7323.
    pub(crate) timestamps: Option<(u32, u32)>,
    /// SACK blocks, the duplicate one first (RFC 2883).
    pub(crate) sacks: Vec<(u32, u32)>,
}

/// What a SYN says about its sender, who also permits SACK.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Offer {
    /// Largest segment, without options.
    pub(crate) mss: u16,
    /// How far the window field is shifted.
    pub(crate) window_scale: u8,
}

impl Segment {
    /// Reads the header at the start of `transport`, and returns it with the payload. Nothing
    /// if its length does not fit.
    pub(crate) fn parse(transport: &[u8]) -> Option<(Self, &[u8])> {
        let header = transport.first_chunk::<{ packet::TCP_LEN }>()?;
        let offset = usize::from(header[12] >> 4) * 4;
        if offset < packet::TCP_LEN || offset > transport.len() {
            return None;
        }
        let flags = header[13];
        let mut segment = Self {
            sequence: word(header, 4),
            acknowledgment: (flags & ACK != 0).then(|| word(header, 8)),
            syn: flags & SYN != 0,
            fin: flags & FIN != 0,
            rst: flags & RST != 0,
            push: flags & PSH != 0,
            window: u16::from_be_bytes([header[14], header[15]]),
            ..Self::default()
        };
        segment.parse_options(&transport[packet::TCP_LEN..offset])?;
        Some((segment, &transport[offset..]))
    }

    /// Builds the whole packet; the payload is appended by `payload`, `payload_len` bytes of it.
    pub(crate) fn emit(&self, tuple: FourTuple, identification: u16, payload: &[u8]) -> Vec<u8> {
        let options = self.options();
        let header_len = packet::TCP_LEN + options.len();
        let transport_len = header_len + payload.len();
        let mut bytes = packet::start(tuple, Protocol::Tcp, 0, identification, transport_len);
        bytes.extend_from_slice(&tuple.local.port().to_be_bytes());
        bytes.extend_from_slice(&tuple.remote.port().to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.acknowledgment.unwrap_or(0).to_be_bytes());
        bytes.push(((header_len / 4) as u8) << 4);
        bytes.push(self.flags());
        bytes.extend_from_slice(&self.window.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&options);
        bytes.extend_from_slice(payload);
        packet::finish(&mut bytes, tuple, Protocol::Tcp);
        bytes
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        flag(self.acknowledgment.is_some(), ACK)
            | flag(self.syn, SYN)
            | flag(self.fin, FIN)
            | flag(self.rst, RST)
            | flag(self.push, PSH)
    }

    /// The options in Linux's order and with its padding, so that lengths are those of real packets.
    fn options(&self) -> Vec<u8> {
        let mut options = Vec::with_capacity(OPTIONS_MAX);
        if let Some(offer) = self.offer {
            options.extend_from_slice(&[option::MSS, 4]);
            options.extend_from_slice(&offer.mss.to_be_bytes());
            options.extend_from_slice(&[option::SACK_PERMITTED, 2]);
        } else if self.timestamps.is_some() {
            options.extend_from_slice(&[option::NOP, option::NOP]);
        }
        if let Some((value, echo)) = self.timestamps {
            options.extend_from_slice(&[option::TIMESTAMPS, 10]);
            options.extend_from_slice(&value.to_be_bytes());
            options.extend_from_slice(&echo.to_be_bytes());
        }
        if let Some(offer) = self.offer {
            options.extend_from_slice(&[option::NOP, option::WINDOW_SCALE, 3, offer.window_scale]);
        }
        if !self.sacks.is_empty() {
            let length = 2 + 8 * self.sacks.len() as u8;
            options.extend_from_slice(&[option::NOP, option::NOP, option::SACK, length]);
            for (start, end) in &self.sacks {
                options.extend_from_slice(&start.to_be_bytes());
                options.extend_from_slice(&end.to_be_bytes());
            }
        }
        debug_assert!(options.len() <= OPTIONS_MAX && options.len() % 4 == 0);
        options
    }

    fn parse_options(&mut self, options: &[u8]) -> Option<()> {
        let mut offer = Offer { mss: MSS_DEFAULT, window_scale: 0 };
        let mut rest = options;
        while let Some((&kind, after)) = rest.split_first() {
            if kind == option::END {
                break;
            }
            if kind == option::NOP {
                rest = after;
                continue;
            }
            let length = usize::from(*after.first()?);
            let value = rest.get(2..length)?;
            match (kind, value.len()) {
                (option::MSS, 2) => offer.mss = u16::from_be_bytes([value[0], value[1]]),
                (option::WINDOW_SCALE, 1) => offer.window_scale = value[0].min(14),
                (option::TIMESTAMPS, 8) => {
                    self.timestamps = Some((word(value, 0), word(value, 4)));
                }
                (option::SACK, len) if len % 8 == 0 => {
                    let blocks = value.chunks_exact(8);
                    self.sacks = blocks.map(|block| (word(block, 0), word(block, 4))).collect();
                }
                // Other options, and wrong lengths of known ones, are passed over: RFC 9293,
                // section 3.1.
                (_, _) => {}
            }
            rest = &rest[length..];
        }
        self.offer = self.syn.then_some(offer);
        Some(())
    }
}

/// SACK blocks in a segment that carries timestamps as well: 40 bytes of options hold no more.
pub(crate) const SACKS_MAX: usize = 3;

/// Length of the timestamps option with its padding, which every segment after the SYN carries.
pub(crate) const TIMESTAMPS_LEN: usize = 12;

/// Length of all options, RFC 9293: the header takes at most 60 bytes.
const OPTIONS_MAX: usize = 40;

/// Largest segment of a peer that says nothing about it (RFC 9293, section 3.7.1).
const MSS_DEFAULT: u16 = 536;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Option kinds of RFC 9293, 2018 and 7323.
mod option {
    pub(super) const END: u8 = 0;
    pub(super) const NOP: u8 = 1;
    pub(super) const MSS: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const SACK: u8 = 5;
    pub(super) const TIMESTAMPS: u8 = 8;
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::Packet;
    use crate::packet::Parsed;
    use crate::payload;

    proptest! {
        #[test]
        fn parsing_what_was_emitted_gives_the_same(
            numbers in any::<[u32; 4]>(),
            flags in any::<[bool; 4]>(),
            window in any::<u16>(),
            sacks in prop::collection::vec(any::<(u32, u32)>(), 0..=SACKS_MAX),
            offer in prop::option::of((1u16.., 0u8..=14)),
            len in 0usize..1400,
        ) {
            let syn = offer.is_some();
            let segment = Segment {
                sequence: numbers[0],
                acknowledgment: flags[0].then_some(numbers[1]),
                syn,
                fin: flags[1],
                rst: flags[2],
                push: flags[3],
                window,
                offer: offer.map(|(mss, window_scale)| Offer { mss, window_scale }),
                timestamps: Some((numbers[2], numbers[3])),
                sacks: if syn { Vec::new() } else { sacks },
            };

            let packet = segment.emit(tuple(), 1, payload::at(3, len));
            let (parsed, rest) = Segment::parse(Parsed::parse(&packet).unwrap().transport).unwrap();

            prop_assert_eq!(parsed, segment);
            prop_assert_eq!(rest, payload::at(3, len));
        }

        #[test]
        fn garbage_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let parsed = Segment::parse(&bytes);
            prop_assert!(parsed.is_none_or(|(_, payload)| payload.len() <= bytes.len()));
        }
    }

    #[test]
    fn a_super_packet_comes_apart_into_the_segments_that_it_stands_for() {
        let segment = Segment {
            sequence: u32::MAX - 100,
            acknowledgment: Some(5),
            push: true,
            timestamps: Some((1, 2)),
            ..Segment::default()
        };
        let whole = Packet {
            bytes: segment.emit(tuple(), 9, payload::at(0, 3000)),
            segment_size: Some(1386),
        };

        let segments = whole.into_segments();

        let mut collected = Vec::new();
        for (index, bytes) in segments.iter().enumerate() {
            let (part, payload) = Segment::parse(Parsed::parse(bytes).unwrap().transport).unwrap();
            assert_eq!(part.sequence, segment.sequence.wrapping_add(1386 * index as u32));
            assert_eq!(part.push, index == 2);
            collected.extend_from_slice(payload);
        }
        assert_eq!(segments.iter().map(Vec::len).collect::<Vec<_>>(), [1438, 1438, 280]);
        assert_eq!(collected, payload::at(0, 3000));
    }

    fn tuple() -> FourTuple {
        FourTuple {
            local: "10.0.0.2:4000".parse().unwrap(),
            remote: "10.0.0.1:443".parse().unwrap(),
        }
    }
}
