//! In-band messages: what the two engines say to each other beside packets.
//!
//! A datagram of kind message carries any number of them in a row, each a type byte and a body of
//! fixed length (feedback: its own). A datagram without any is a mark: its stamp alone says how far
//! the path has come.

use super::feedback::Report;

/// One message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Message {
    /// How long a receiver may wait for a retransmission, in microseconds; 0: none will come.
    Allowance(u32),
    /// The sender gives the path up for the session's life.
    Close {
        /// The path's slot.
        path: u8,
    },
    /// What arrived on a path.
    Feedback(Report),
    /// The paths, one bit each, whose links the sender's kernel said to carry nothing: silence need not be waited for.
    Gone(u16),
    /// The paths that carry data, one bit each: the others are not to be waited for, for all that
    /// they carried has arrived or was sent again before this datagram.
    Live(u16),
    /// Nothing; but the datagram that carries it is acknowledged.
    Ping,
    /// How the client wants a path used: one byte, the rank and in it the flag [`METERED`].
    Preference {
        /// The path's slot.
        path: u8,
        /// What is said of it.
        preference: Preference,
    },
    /// Asks for a reply on the same path.
    Probe {
        /// Comes back in the reply.
        token: u64,
    },
    /// Answers a probe.
    Reply {
        /// The probe's token.
        token: u64,
    },
}

/// How the client wants a path used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Preference {
    /// Its rank among the client's links: the lowest comes first; from [`BACKUP`] on it is a backup. Below 64,
    /// or 64 above [`BACKUP`] at most.
    pub rank: u8,
    /// Whether each byte on its link costs: it idles at next to nothing, and gets no copies that nobody asked for.
    pub metered: bool,
}

impl Preference {
    /// An unmetered path of this rank.
    pub fn of(rank: u8) -> Self {
        Self { rank, metered: false }
    }

    fn bits(self) -> u8 {
        (self.rank & !METERED) | if self.metered { METERED } else { 0 }
    }

    /// Every byte means something: whoever knows no flag reads a rank behind all others of its kind.
    fn from_bits(bits: u8) -> Self {
        Self { rank: bits & !METERED, metered: bits & METERED != 0 }
    }
}

/// Ranks from here on mean: only when nothing ranked lower is usable.
pub const BACKUP: u8 = 128;

/// The bit of a rank's byte that says that the link is metered.
const METERED: u8 = 64;

/// The longest message.
pub const MESSAGE_MAX: usize = 1 + super::feedback::REPORT_MAX;

impl Message {
    /// Appends the message's bytes.
    pub fn emit(&self, out: &mut impl Extend<u8>) {
        match self {
            Self::Ping => out.extend([PING]),
            Self::Probe { token } => {
                out.extend([PROBE]);
                out.extend(token.to_be_bytes());
            }
            Self::Reply { token } => {
                out.extend([REPLY]);
                out.extend(token.to_be_bytes());
            }
            Self::Live(paths) => {
                out.extend([LIVE]);
                out.extend(paths.to_be_bytes());
            }
            Self::Gone(paths) => {
                out.extend([GONE]);
                out.extend(paths.to_be_bytes());
            }
            Self::Preference { path, preference } => {
                out.extend([PREFERENCE, *path, preference.bits()]);
            }
            Self::Close { path } => out.extend([CLOSE, *path]),
            Self::Allowance(micros) => {
                out.extend([ALLOWANCE]);
                out.extend(micros.to_be_bytes());
            }
            Self::Feedback(report) => {
                out.extend([FEEDBACK]);
                report.emit(out);
            }
        }
    }

    /// Reads the first message of a payload and gives the bytes after it. `None` if malformed.
    pub fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&kind, body) = bytes.split_first()?;
        match kind {
            PING => Some((Self::Ping, body)),
            PROBE => {
                let (token, rest) = body.split_first_chunk()?;
                Some((Self::Probe { token: u64::from_be_bytes(*token) }, rest))
            }
            REPLY => {
                let (token, rest) = body.split_first_chunk()?;
                Some((Self::Reply { token: u64::from_be_bytes(*token) }, rest))
            }
            LIVE => {
                let (paths, rest) = body.split_first_chunk()?;
                Some((Self::Live(u16::from_be_bytes(*paths)), rest))
            }
            GONE => {
                let (paths, rest) = body.split_first_chunk()?;
                Some((Self::Gone(u16::from_be_bytes(*paths)), rest))
            }
            PREFERENCE => {
                let ([path, bits], rest) = body.split_first_chunk()?;
                let preference = Preference::from_bits(*bits);
                (*path < 16).then_some((Self::Preference { path: *path, preference }, rest))
            }
            CLOSE => {
                let ([path], rest) = body.split_first_chunk()?;
                (*path < 16).then_some((Self::Close { path: *path }, rest))
            }
            ALLOWANCE => {
                let (micros, rest) = body.split_first_chunk()?;
                Some((Self::Allowance(u32::from_be_bytes(*micros)), rest))
            }
            FEEDBACK => Report::parse(body).map(|(report, rest)| (Self::Feedback(report), rest)),
            _ => None,
        }
    }
}

const PING: u8 = 1;
const PROBE: u8 = 2;
const REPLY: u8 = 3;
const FEEDBACK: u8 = 4;
const LIVE: u8 = 5;
const PREFERENCE: u8 = 6;
const CLOSE: u8 = 7;
const ALLOWANCE: u8 = 8;
const GONE: u8 = 9;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_of_messages_parses_to_the_same() {
        let mut report = Report { path: 3, largest: 77, ..Report::default() };
        report.ranges.push(0, 5);
        let messages = [
            Message::Ping,
            Message::Probe { token: 1 },
            Message::Reply { token: u64::MAX },
            Message::Feedback(report),
            Message::Live(0b101),
            Message::Gone(0x8001),
            Message::Preference { path: 2, preference: Preference::of(BACKUP) },
            Message::Preference { path: 3, preference: Preference { rank: 15, metered: true } },
            Message::Preference {
                path: 4,
                preference: Preference { rank: BACKUP + 4, metered: true },
            },
            Message::Close { path: 15 },
            Message::Allowance(40_000),
        ];
        let mut wire = Vec::new();
        for message in &messages {
            message.emit(&mut wire);
        }

        let mut rest = &wire[..];
        for message in messages {
            let (parsed, after) = Message::parse(rest).expect("well-formed");
            assert_eq!(parsed, message);
            rest = after;
        }
        assert!(rest.is_empty());
    }

    proptest! {
        #[test]
        fn every_byte_of_a_preference_says_the_same_when_said_again(path in 0u8..16, bits: u8) {
            let wire = [PREFERENCE, path, bits];
            let (message, _) = Message::parse(&wire).expect("well-formed");
            let mut again = Vec::new();
            message.emit(&mut again);

            prop_assert_eq!(&again, &wire);
            let Message::Preference { preference, .. } = message else { panic!("{message:?}") };
            prop_assert_eq!(preference.metered, bits & 64 != 0);
            prop_assert_eq!(preference.rank >= BACKUP, bits >= BACKUP);
        }

        #[test]
        fn any_bytes_parse_without_a_panic(bytes: Vec<u8>) {
            let mut rest = &bytes[..];
            while let Some((_, after)) = Message::parse(rest) {
                prop_assert!(after.len() < rest.len());
                rest = after;
            }
        }
    }
}
