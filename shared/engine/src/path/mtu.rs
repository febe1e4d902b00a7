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
    /// Times at which datagrams longer than the minimum were lost, since one got through.
    suspicion: u8,
    doubted_at: Time,
    /// When the newest that was longer than the minimum and got through was sent.
    proved_at: Time,
}

impl MtuSearch {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            confirmed: MTU_MIN,
            next: 0,
            rounds: 0,
            round_at: now,
            suspicion: 0,
            doubted_at: Time::ZERO,
            proved_at: Time::ZERO,
        }
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
        if now < self.poll_timeout() {
            return None;
        }
        let size = SIZES[self.next];
        self.next += 1;
        let skipped = SIZES.get(self.next).is_none_or(|&next| next <= self.confirmed);
        if skipped {
            self.next = 0;
            self.rounds = (self.rounds + 1).min(ROUNDS);
            let wait = ROUND_INTERVAL * (1 << self.rounds.min(4));
            self.round_at = now + if self.rounds < ROUNDS { wait } else { RAISE_INTERVAL };
        }
        (size > self.confirmed).then_some(size)
    }

    /// When [`poll`](Self::poll) has something to give.
    pub(crate) fn poll_timeout(&self) -> Time {
        if self.confirmed == SIZES[0] { Time::MAX } else { self.round_at }
    }

    /// Looks for more than is confirmed: the path has become another one.
    pub(crate) fn search_again(&mut self, now: Time) {
        (self.next, self.rounds, self.round_at) = (0, self.rounds.min(2), now);
    }

    /// Notes that a datagram of this size, sent at `stamp`, got through.
    pub(crate) fn on_acknowledged(&mut self, size: u16, stamp: Time) {
        if size > MTU_MIN {
            self.confirmed = self.confirmed.max(size);
            self.suspicion = 0;
            self.proved_at = self.proved_at.max(stamp);
        }
    }

    /// Notes that a datagram of this size, sent at `stamp`, was lost while others got through.
    /// Returns whether the size was given up: a router on a new route may carry less, and say
    /// nothing (RFC 8899, 4.3). What was lost before another large one got through, as in a
    /// burst, says nothing about sizes.
    pub(crate) fn on_lost(&mut self, now: Time, size: u16, stamp: Time) -> bool {
        let known = now.since(self.doubted_at) < DOUBT_INTERVAL;
        if size <= MTU_MIN || stamp <= self.proved_at || known {
            return false;
        }
        self.doubted_at = now;
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

/// A route may come to carry more (RFC 8899, 5.1.1: PMTU_RAISE_TIMER).
const RAISE_INTERVAL: Span = Span::secs(600);

/// Large datagrams were lost so many times, and none got through in between: no chance, and no
/// darkness that swallowed a windowful at once.
const SUSPICION_MAX: u8 = 5;

/// Losses that are found within this are one time.
const DOUBT_INTERVAL: Span = Span::millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_tried_at_once_and_only_larger_ones_again() {
        let mut search = MtuSearch::new(Time(0));
        let first: Vec<u16> = std::iter::from_fn(|| search.poll(Time(0))).collect();
        assert_eq!(first, SIZES);
        assert_eq!(search.poll(Time(1)), None);

        search.on_acknowledged(1480, Time(0));

        let due = search.poll_timeout();
        let second: Vec<u16> = std::iter::from_fn(|| search.poll(due)).collect();
        assert_eq!(second, [1500, 1492]);
        assert_eq!(search.confirmed(), 1480);
    }

    #[test]
    fn the_search_ends_and_is_taken_up_again_in_ten_minutes() {
        let mut search = MtuSearch::new(Time(0));
        let mut probes = 0;
        while search.poll_timeout() < Time::ZERO + RAISE_INTERVAL {
            let due = search.poll_timeout();
            probes += usize::from(search.poll(due).is_some());
        }
        assert_eq!(probes, SIZES.len() * usize::from(ROUNDS));

        let due = search.poll_timeout();
        assert_eq!(std::iter::from_fn(|| search.poll(due)).count(), SIZES.len());
        assert!(search.poll_timeout() >= due + RAISE_INTERVAL);
    }

    #[test]
    fn a_size_that_stops_getting_through_is_given_up() {
        let mut search = MtuSearch::new(Time(0));
        search.on_acknowledged(1500, Time(0));
        let at = |time: u8| Time::ZERO + DOUBT_INTERVAL * u64::from(time);
        for time in 1..SUSPICION_MAX {
            assert!((0..100).all(|_| !search.on_lost(at(time), 1500, Time(1))), "at once");
        }

        assert!(search.on_lost(at(SUSPICION_MAX), 1500, Time(1)));
        assert_eq!(search.confirmed(), MTU_MIN);
    }

    #[test]
    fn a_lossy_path_of_medium_sizes_keeps_its_size() {
        let mut search = MtuSearch::new(Time(0));
        search.on_acknowledged(1500, Time(0));
        for step in 1..1000 {
            let at = Time::ZERO + DOUBT_INTERVAL * step;
            if step % 3 == 0 {
                search.on_acknowledged(1330, at);
            } else {
                assert!(!search.on_lost(at, 1330, at));
            }
        }
        assert_eq!(search.confirmed(), 1500);
    }

    #[test]
    fn a_burst_of_losses_before_one_that_got_through_says_nothing() {
        let mut search = MtuSearch::new(Time(0));
        search.on_acknowledged(1500, Time(100));

        assert!((0..100).all(|stamp| !search.on_lost(Time(200), 1500, Time(stamp))));
        assert_eq!(search.confirmed(), 1500);
    }
}
