//! Plain counters, one struct for each thing counted.

use crate::{class::Class, path::Hint, time::Span};

/// What was sent on one path.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PathSent {
    /// Datagrams of any kind.
    pub datagrams: u64,
    /// Their bytes, from our header to the tag.
    pub bytes: u64,
    /// Datagrams found lost.
    pub lost: u64,
    /// Datagrams acknowledged.
    pub acknowledged: u64,
    /// How often the kernel said, while the path was held for good, that its link carries nothing.
    pub hints: u64,
    /// How it said so last.
    pub hint: Option<Hint>,
    /// How long after that the first segment left by another path; `None` if none was on its way, or has.
    pub moved_after: Option<Span>,
}

/// What was received on one path.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PathReceived {
    /// Authentic datagrams, received once.
    pub datagrams: u64,
    /// Their bytes, from our header to the tag.
    pub bytes: u64,
    /// Those that arrived with a congestion mark.
    pub ce: u64,
    /// Those that an earlier-numbered one arrived after.
    pub reordered: u64,
}

/// What a session sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OutboundStats {
    /// Inner packets taken in, counted as the segments they are sent as.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments sent for the first time, without copies.
    pub packets_sent: u64,
    /// Bytes of those, without headers of ours.
    pub bytes_sent: u64,
    /// Of those bytes, how many were of each class, in the order of [`Class::ALL`].
    pub class_bytes: [u64; Class::ALL.len()],
    /// Copies sent beside the first transmission.
    pub copies: u64,
    /// Bytes of those.
    pub copy_bytes: u64,
    /// Copies that were not sent, because the path for them was full.
    pub copies_skipped: u64,
    /// Segments sent again.
    pub retransmissions: u64,
    /// Bytes of those.
    pub retransmission_bytes: u64,
    /// Bytes of our headers and tags on datagrams that carry packets.
    pub header_bytes: u64,
    /// Bytes of datagrams that carry no packet: messages, feedback, padding.
    pub message_bytes: u64,
    /// Segments dropped because the queue was full.
    pub dropped_full: u64,
    /// Segments dropped because their flow's queue had been standing.
    pub dropped_standing: u64,
    /// Segments marked for it instead (ECN).
    pub marked: u64,
    /// Packets dropped because they were no well-formed IP packets.
    pub dropped_malformed: u64,
    /// Packets dropped because no path carries their size.
    pub dropped_too_big: u64,
    /// Segments given up without knowing whether they arrived, by that path: a copy may have come by another.
    pub given_up: u64,
    /// Key epochs begun.
    pub epochs: u64,
}

/// What a session received.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct InboundStats {
    /// Inner packets delivered.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that had been delivered already.
    pub duplicates: u64,
    /// Packets that had to wait for an earlier one of their lane.
    pub held: u64,
    /// How long those waited.
    pub holds: Holds,
    /// Packets delivered after their place was given up.
    pub late: u64,
    /// Packets given up: those not counted late as well are lost.
    pub skipped: u64,
    /// Of those given up, how many might still have come, but not within the longest wait.
    pub expired: u64,
    /// Datagrams too short, of an unknown kind, or with content that makes no sense.
    pub malformed: u64,
    /// Datagrams whose tag did not hold.
    pub forged: u64,
    /// Datagrams with a packet number received before.
    pub replayed: u64,
    /// Datagrams numbered or keyed too far back.
    pub too_old: u64,
    /// Datagrams stamped too far back.
    pub stale: u64,
    /// Packets that the peer may not send to or from where they claim.
    pub refused: u64,
    /// Packets dropped because the network marked congestion on what can't be marked (RFC 6040).
    pub unmarkable: u64,
    /// Packets delivered out of turn because the memory for waiting ones was used up.
    pub overflowed: u64,
}

/// How long packets waited for an earlier one of their lane.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Holds {
    /// The sum of all waits, in microseconds.
    pub total: u64,
    /// Of that, what was waited for a packet that did not come.
    pub futile: u64,
    /// How many waits were this long: the first up to 384 us, each further one up to the half or the whole
    /// of the next power of two; the last has no end.
    pub lengths: [u64; HOLD_LENGTHS],
}

/// Half powers of two from 256 us to a second.
pub const HOLD_LENGTHS: usize = 24;

impl Holds {
    /// Counts one wait.
    pub(crate) fn count(&mut self, wait: Span, futile: bool) {
        self.total += wait.0;
        self.futile += if futile { wait.0 } else { 0 };
        let octave = wait.0.max(SHORTEST).ilog2();
        let half = wait.0 >> (octave - 1) & 1;
        let at = 2 * (octave - SHORTEST.ilog2()) as usize + half as usize;
        self.lengths[at.min(HOLD_LENGTHS - 1)] += 1;
    }

    /// The mean wait of the packets that waited.
    pub fn mean(&self) -> Span {
        Span(self.total / self.lengths.iter().sum::<u64>().max(1))
    }

    /// A wait that this share of those who waited did not exceed, rounded up to the length counted; zero
    /// if nobody waited.
    pub fn quantile(&self, share: f64) -> Span {
        let waits: u64 = self.lengths.iter().sum();
        let rank = (share * waits as f64).ceil() as u64;
        let mut below = 0;
        for (at, count) in self.lengths.iter().enumerate() {
            below += count;
            if below >= rank && waits > 0 {
                let octave = SHORTEST << (at / 2);
                return Span(if at % 2 == 0 { octave / 2 * 3 } else { octave * 2 });
            }
        }
        Span::ZERO
    }
}

/// Shorter waits are not told apart.
const SHORTEST: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_waits_are_met_within_half_an_octave() {
        let mut holds = Holds::default();
        assert_eq!(holds.quantile(0.5), Span::ZERO);
        for wait in 1..=1000 {
            holds.count(Span(wait * 100), wait % 4 == 0);
        }

        for (share, exact) in [(0.1, 10_000), (0.5, 50_000), (0.99, 99_000), (1.0, 100_000)] {
            let found = holds.quantile(share).0;
            assert!((exact..=exact * 3 / 2).contains(&found), "{share}: {found} for {exact}");
        }
        assert_eq!(holds.mean(), Span(50_050));
        assert_eq!(holds.futile, (1..=250).map(|wait| wait * 400).sum::<u64>());
    }

    #[test]
    fn the_longest_wait_is_counted() {
        let mut holds = Holds::default();
        holds.count(Span(u64::MAX / 2), false);
        holds.count(Span::ZERO, false);
        assert_eq!(holds.lengths.iter().sum::<u64>(), 2);
    }
}
