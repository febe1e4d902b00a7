//! Rates of lines, as people write them.

use std::fmt::{self, Display};
use std::str::FromStr;

use shared::config::Wrong;

/// A rate in bit/s: "10mbit", "1.5gbit", "512kbit".
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Rate(u64);

impl Rate {
    /// The rate in bit/s.
    pub fn bits_per_second(self) -> u64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let right = "write \"10mbit\", \"1.5gbit\" or \"512kbit\"";
        let units = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)];
        let found = units.iter().find_map(|(unit, factor)| {
            let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            Some(number * factor)
        });
        let Some(rate) = found else { return Err(Wrong::new("this is no rate").right(right)) };
        if !(RATE_MIN..=RATE_MAX).contains(&rate) {
            return Err(
                Wrong::new("this is no rate of a line: from 64kbit to 400gbit").right(right)
            );
        }
        Ok(Self(rate as u64))
    }
}

impl Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0 as f64;
        match self.0 {
            0..1_000_000 => write!(f, "{}kbit", bits / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{}mbit", bits / 1e6),
            _ => write!(f, "{}gbit", bits / 1e9),
        }
    }
}

/// ISDN: less carries no tunnel.
const RATE_MIN: f64 = 64e3;
const RATE_MAX: f64 = 400e9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_shown() {
        for (text, bits) in
            [("10mbit", 10_000_000), ("1.5gbit", 1_500_000_000), ("512kbit", 512_000)]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.bits_per_second(), rate.to_string()), (bits, text.to_owned()));
        }
        for wrong in ["10", "10m", "mbit", "-1mbit", "1kbit", "9999gbit", "nanmbit", ""] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
