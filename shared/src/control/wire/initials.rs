//! Lets so many first datagrams through and no more, before they cost anything.
//!
//! Anyone can forge an Initial. Each that reaches quinn costs 60 µs (its keys
//! are derived, an answer is sealed), so a flood must be cut where it costs a few nanoseconds. Those
//! with an address validation token have an allowance of their own: a client that was answered by
//! Retry gets through however many forged ones come without a token.

use std::time::Duration;

use crate::control::header::Token;

/// Two token buckets, one for Initials with a token and one for those without.
#[derive(Debug)]
pub(crate) struct InitialGate {
    bare: Bucket,
    with_token: Bucket,
}

impl InitialGate {
    pub(crate) fn new(now: Duration) -> Self {
        Self { bare: Bucket::new(now), with_token: Bucket::new(now) }
    }

    /// Whether an Initial may pass at `now`.
    pub(crate) fn admit(&mut self, now: Duration, token: Token) -> bool {
        match token {
            Token::Absent => self.bare.take(now),
            Token::Present => self.with_token.take(now),
        }
    }
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    filled_at: Duration,
}

impl Bucket {
    fn new(now: Duration) -> Self {
        Self { left: BURST_MAX, filled_at: now }
    }

    fn take(&mut self, now: Duration) -> bool {
        let due = now.saturating_sub(self.filled_at).as_nanos() / INTERVAL.as_nanos();
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(due).min(BURST_MAX);
        self.filled_at = if self.left == BURST_MAX { now } else { self.filled_at + INTERVAL * due };
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        true
    }
}

/// A thousand a second: measured at 60 µs for a Retry, a flood costs 6 % of one core.
const INTERVAL: Duration = Duration::from_millis(1);
/// A thousand clients may begin at once: the first flight of each is two Initials.
const BURST_MAX: u32 = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_is_cut_to_its_rate() {
        let start = Duration::from_secs(1000);
        let mut gate = InitialGate::new(start);
        // 10 000 a second for 10 s.
        let flood = (0..100_000).map(|n| start + n * Duration::from_micros(100));

        let passed = flood.filter(|now| gate.admit(*now, Token::Absent)).count();

        let allowed = BURST_MAX as usize + 10_000;
        assert!((allowed - 2..=allowed).contains(&passed), "{passed} passed");
    }

    #[test]
    fn who_has_a_token_passes_a_flood_of_those_who_have_not() {
        let now = Duration::from_secs(1000);
        let mut gate = InitialGate::new(now);
        while gate.admit(now, Token::Absent) {}

        assert!(gate.admit(now, Token::Present));
        assert!(!gate.admit(now, Token::Absent));
    }

    #[test]
    fn a_clock_that_steps_back_admits_no_more() {
        let mut bucket = Bucket::new(Duration::from_secs(5));
        while bucket.take(Duration::from_secs(5)) {}

        assert!(!bucket.take(Duration::from_secs(1)));
        assert!(!bucket.take(Duration::from_secs(5)));
    }
}
