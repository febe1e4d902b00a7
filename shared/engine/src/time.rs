//! Time as the engine sees it: whole microseconds, handed in by the caller.

use std::{
    ops::{Add, AddAssign, Div, Mul, Sub},
    time::Duration,
};

/// An instant: microseconds since the session began, on a clock that counts suspended time too.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Time(pub u64);

impl Time {
    /// When the session began.
    pub const ZERO: Self = Self(0);
    /// Later than anything that happens.
    pub const MAX: Self = Self(u64::MAX);

    /// The span since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// The low 32 bits, as a stamp on the wire carries them (they wrap after 71 minutes).
    pub fn low(self) -> u32 {
        self.0 as u32
    }

    /// Expands the low 32 bits of an instant to the one that lies nearest to `self`.
    pub fn expand(self, low: u32) -> Self {
        let ahead = low.wrapping_sub(self.0 as u32) as i32;
        Self(self.0.saturating_add_signed(i64::from(ahead)))
    }
}

impl Add<Span> for Time {
    type Output = Self;

    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Time {
    type Output = Self;

    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

/// A length of time in microseconds.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Span(pub u64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `millis` milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(millis * 1000)
    }

    /// `secs` seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(secs * 1_000_000)
    }

    /// The span as a number of seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The time that `bytes` take at `rate` bytes a second; a rate of zero counts as one.
    pub fn of_bytes(bytes: u64, rate: u64) -> Self {
        Self(bytes.saturating_mul(1_000_000) / rate.max(1))
    }

    /// How many bytes `rate` bytes a second carry in this span.
    pub fn carries(self, rate: u64) -> u64 {
        (u128::from(self.0) * u128::from(rate) / 1_000_000) as u64
    }
}

impl Add for Span {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Span {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Span {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<u64> for Span {
    type Output = Self;

    fn mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl Div<u64> for Span {
    type Output = Self;

    fn div(self, divisor: u64) -> Self {
        Self(self.0 / divisor)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_micros(span.0)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_expands_to_the_nearest_instant() {
        let now = Time(0x1_0000_0010);

        assert_eq!(now.expand(0x10), now);
        assert_eq!(now.expand(0xffff_fff0), Time(0xffff_fff0));
        assert_eq!(Time(0xffff_fff0).expand(0x10), Time(0x1_0000_0010));
    }

    #[test]
    fn an_instant_before_the_beginning_is_the_beginning() {
        assert_eq!(Time(5).expand(0xffff_ff00), Time::ZERO);
    }
}
