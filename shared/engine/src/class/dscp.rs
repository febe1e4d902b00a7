//! The mark in an IP header that asks for a kind of service (RFC 2474), and what we make of it.

use super::Class;
use crate::packet::Headers;

/// A differentiated services code point, 0 to 63.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dscp(u8);

impl Dscp {
    /// The code point of this number. `None` from 64 on.
    pub fn new(value: u8) -> Option<Self> {
        (value < 64).then_some(Self(value))
    }

    /// The number.
    pub fn value(self) -> u8 {
        self.0
    }

    /// The code point of this name, in small letters: `ef`, `va`, `le`, `df`, `cs0` to `cs7`, and
    /// `af11` to `af43`.
    pub fn from_name(name: &str) -> Option<Self> {
        let digit = |text: &str| text.parse::<u8>().ok().filter(|_| text.len() == 1);
        match name {
            "ef" => return Some(Self(EF)),
            "va" => return Some(Self(VA)),
            "le" => return Some(Self(LE)),
            "df" => return Some(Self(0)),
            _ => {}
        }
        if let Some(class) = name.strip_prefix("cs") {
            return digit(class).filter(|&class| class < 8).map(|class| Self(class << 3));
        }
        let (class, precedence) = name.strip_prefix("af")?.split_at_checked(1)?;
        let class = digit(class).filter(|class| (1..=4).contains(class))?;
        let precedence = digit(precedence).filter(|precedence| (1..=3).contains(precedence))?;
        Some(Self(class << 3 | precedence << 1))
    }

    /// The mark of a packet.
    pub(crate) fn of(headers: &Headers) -> Self {
        Self(headers.dscp)
    }

    /// The class that the mark asks for (RFC 4594, section 2.3). `None` where it says nothing that
    /// holds everywhere: then behaviour decides.
    ///
    /// CS6 and CS7 are among these: meant for routing protocols, they are put on calls by some
    /// programs and on everything by some hosts. So are CS3 and AF3x, streaming, which is a
    /// transfer or a broadcast.
    pub fn class(self) -> Option<Class> {
        match self.0 {
            // Telephony, admitted or not (RFC 3246, RFC 5865); signalling; real-time interactive;
            // conferences.
            EF | VA | CS5 | CS4 | 34 | 36 | 38 => Some(Class::RealTime),
            // Management of networks; low-latency data.
            CS2 | 18 | 20 | 22 => Some(Class::Interactive),
            // High-throughput data.
            10 | 12 | 14 => Some(Class::Bulk),
            // Lower effort (RFC 8622), and what it was before.
            LE | CS1 => Some(Class::Scavenger),
            _ => None,
        }
    }
}

const LE: u8 = 1;
const CS1: u8 = 8;
const CS2: u8 = 16;
const CS4: u8 = 32;
const CS5: u8 = 40;
const VA: u8 = 44;
const EF: u8 = 46;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_registry() {
        for (name, value) in [
            ("df", 0),
            ("cs0", 0),
            ("le", 1),
            ("cs1", 8),
            ("af11", 10),
            ("af23", 22),
            ("af41", 34),
            ("va", 44),
            ("ef", 46),
            ("cs7", 56),
        ] {
            assert_eq!(Dscp::from_name(name).map(Dscp::value), Some(value), "{name}");
        }
        for name in
            ["", "EF", "cs", "cs8", "cs+1", "af", "af1", "af14", "af51", "af111", "af\u{e9}"]
        {
            assert_eq!(Dscp::from_name(name), None, "{name}");
        }
        assert_eq!(Dscp::new(64), None);
    }

    #[test]
    fn marks_ask_for_the_classes_of_the_guidelines() {
        let class = |name| Dscp::from_name(name).expect("a name").class();

        for name in ["ef", "va", "cs5", "cs4", "af41", "af42", "af43"] {
            assert_eq!(class(name), Some(Class::RealTime), "{name}");
        }
        assert_eq!(class("af21"), Some(Class::Interactive));
        assert_eq!(class("af11"), Some(Class::Bulk));
        assert_eq!((class("le"), class("cs1")), (Some(Class::Scavenger), Some(Class::Scavenger)));
        for name in ["df", "cs3", "af31", "cs6", "cs7"] {
            assert_eq!(class(name), None, "{name}");
        }
    }
}
