//! The search for a path's MTU (RFC 8899), upwards from what every path carries.
//!
//! No datagram is longer than a padded probe has shown the path to carry. All sizes that access
//! networks have are tried at once when the path opens, so the answer is there after one round trip;
//! sizes that stay unanswered are tried again, since a probe may be lost like any datagram.

use crate::time::{Span, Time};

/// The size that is taken for granted: IPv6's minimum link MTU (RFC 8200, 5).
pub(crate) const MTU_MIN: u16 = 1280;

/// One path's search. Sizes are those of IP packets.
#[derive(Clone, Debug)]
pub(crate) struct MtuSearch {
    confirmed: u16,
    /// Index of the next size to try in this round.
    next: usize,
    rounds: u8,
    round_at: Time,
    /// The size that was confirmed last was found not to get through any more.
    suspicion: u8,
}

impl MtuSearch {
    pub(crate) fn new(now: Time) -> Self {
        Self { confirmed: MTU_MIN, next: 0, rounds: 0, round_at: now, suspicion: 0 }
    }

    /// The largest size that got through.
    pub(crate) fn confirmed(&self) -> u16 {
        self.confirmed
    }

    /// Whether a first answer, or its absence, has been waited for.
    pub(crate) fn settled(&self) -> bool {
        self.confirmed == SIZES[0] || self.rounds >= 2
    }

    /// Gives the next size to probe, if one is due.
    pub(crate) fn poll(&mut self, now: Time) -> Option<u16> {
        if now < self.round_at || self.rounds >= ROUNDS {
            return None;
        }
        let size = SIZES[self.next];
        self.next += 1;
        let skipped = SIZES.get(self.next).is_none_or(|&next| next <= self.confirmed);
        if skipped {
            self.next = 0;
            self.rounds += 1;
            self.round_at = now + ROUND_INTERVAL * (1 << self.rounds.min(4));
        }
        (size > self.confirmed).then_some(size)
    }

    /// When [`poll`](Self::poll) has something to give.
    pub(crate) fn poll_timeout(&self) -> Time {
        if self.rounds >= ROUNDS { Time::MAX } else { self.round_at }
    }

    /// Notes that a datagram of this size got through.
    pub(crate) fn on_acknowledged(&mut self, size: u16) {
        self.confirmed = self.confirmed.max(size);
        self.suspicion = 0;
    }

    /// Notes that a datagram which carries data, and needs more than the minimum, was lost while
    /// others got through. Returns whether the size was given up: a router on a new route may carry
    /// less, and say nothing (RFC 8899, 4.3).
    pub(crate) fn on_lost(&mut self, now: Time, size: u16) -> bool {
        if size <= MTU_MIN {
            return false;
        }
        self.suspicion += 1;
        if self.suspicion < SUSPICION_MAX {
            return false;
        }
        *self = Self::new(now);
        true
    }
}

/// 9000: jumbo frames are left out, as links to the Internet have none. 1500: Ethernet. 1492: PPPoE.
/// 1480, 1472, 1460: tunnels of providers. 1452, 1440, 1428, 1420, 1400, 1358: LTE and VPNs below us.
const SIZES: [u16; 11] = [1500, 1492, 1480, 1472, 1460, 1440, 1428, 1420, 1400, 1358, 1320];

/// With 5 % loss a size is missed in all of five rounds once in three million searches.
const ROUNDS: u8 = 5;

const ROUND_INTERVAL: Span = Span::millis(100);

/// So many large datagrams in a row, with none getting through, are no chance.
const SUSPICION_MAX: u8 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_tried_at_once_and_only_larger_ones_again() {
        let mut search = MtuSearch::new(Time(0));
        let first: Vec<u16> = std::iter::from_fn(|| search.poll(Time(0))).collect();
        assert_eq!(first, SIZES);
        assert_eq!(search.poll(Time(1)), None);

        search.on_acknowledged(1480);

        let due = search.poll_timeout();
        let second: Vec<u16> = std::iter::from_fn(|| search.poll(due)).collect();
        assert_eq!(second, [1500, 1492]);
        assert_eq!(search.confirmed(), 1480);
    }

    #[test]
    fn the_search_ends() {
        let mut search = MtuSearch::new(Time(0));
        let mut probes = 0;
        while search.poll_timeout() != Time::MAX {
            let due = search.poll_timeout();
            probes += u32::from(search.poll(due).is_some());
        }

        assert_eq!(probes, SIZES.len() as u32 * u32::from(ROUNDS));
    }

    #[test]
    fn a_size_that_stops_getting_through_is_given_up() {
        let mut search = MtuSearch::new(Time(0));
        search.on_acknowledged(1500);
        for _ in 1..SUSPICION_MAX {
            assert!(!search.on_lost(Time(1), 1500));
        }

        assert!(search.on_lost(Time(1), 1500));
        assert_eq!(search.confirmed(), MTU_MIN);
    }
}
