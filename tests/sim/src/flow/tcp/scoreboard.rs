//! What the sender has in flight, and what it knows about each segment.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use super::rate::SendMark;
use crate::ranges::RangeSet;

/// A segment that is not yet acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) start: u64,
    /// One past the last sequence number that it takes.
    pub(crate) end: u64,
    /// When it was sent last.
    pub(crate) at: u64,
    pub(crate) mark: SendMark,
    pub(crate) is_sacked: bool,
    /// Held to be lost, the last transmission as well unless `is_resent`.
    pub(crate) is_lost: bool,
    /// A retransmission is in flight.
    pub(crate) is_resent: bool,
    /// It was sent more than once.
    pub(crate) was_resent: bool,
}

/// The segments from the first unacknowledged one on, in order of their numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scoreboard {
    segments: VecDeque<Sent>,
    /// Place of the first segment among all that were ever sent.
    base: u64,
    sacked_ranges: RangeSet,
    /// Time and place of transmissions, in order of time. Those that are over are passed over.
    transmissions: VecDeque<(u64, u64)>,
    /// Places of the segments to retransmit.
    waiting: BTreeSet<u64>,
    sacked: usize,
    lost: usize,
    resent: usize,
    /// Segments held to be lost since the beginning, each time counted.
    pub(crate) losses: u64,
    /// Retransmissions among them.
    pub(crate) resent_losses: u64,
    sacked_end: u64,
}

impl Scoreboard {
    /// Adds a segment that was sent for the first time.
    pub(crate) fn push(&mut self, now: u64, start: u64, end: u64, mark: SendMark) {
        self.transmissions.push_back((now, self.base + self.segments.len() as u64));
        self.segments.push_back(Sent {
            start,
            end,
            at: now,
            mark,
            is_sacked: false,
            is_lost: false,
            is_resent: false,
            was_resent: false,
        });
    }

    /// Marks what lies within a SACK block; what is marked for the first time goes to `arrived`.
    pub(crate) fn sack(&mut self, start: u64, end: u64, arrived: &mut Vec<Sent>) {
        let first = self.segments.front().map_or(end, |segment| segment.start);
        for (from, to) in self.sacked_ranges.insert(start.max(first), end) {
            let mut index = self.segments.partition_point(|segment| segment.end <= from);
            while let Some(segment) = self.segments.get(index)
                && segment.start < to
            {
                if segment.start >= start && segment.end <= end && !segment.is_sacked {
                    arrived.push(*segment);
                    self.release(index);
                    self.segments[index].is_sacked = true;
                    self.sacked += 1;
                    self.sacked_end = self.sacked_end.max(self.segments[index].end);
                }
                index += 1;
            }
        }
    }

    /// Removes what is acknowledged; it goes to `arrived`.
    pub(crate) fn acknowledge(&mut self, number: u64, arrived: &mut Vec<Sent>) {
        while let Some(segment) = self.segments.front()
            && segment.end <= number
        {
            arrived.push(*segment);
            self.release(0);
            self.sacked -= usize::from(self.segments[0].is_sacked);
            self.segments.pop_front();
            self.base += 1;
        }
        self.sacked_ranges.trim_below(number);
        self.forget_transmissions();
    }

    /// Holds the segment at `place` to be lost. One that was so held and resent may be again.
    pub(crate) fn lose(&mut self, place: u64) {
        let index = (place - self.base) as usize;
        let segment = &mut self.segments[index];
        self.losses += u64::from(!segment.is_lost || segment.is_resent);
        self.lost += usize::from(!segment.is_lost);
        self.resent -= usize::from(segment.is_resent);
        self.resent_losses += u64::from(segment.is_resent);
        segment.is_lost = true;
        segment.is_resent = false;
        self.waiting.insert(place);
    }

    /// Takes back that segments are lost, for all that were not resent and those that were.
    pub(crate) fn forgive(&mut self) {
        for segment in &mut self.segments {
            segment.is_lost = false;
        }
        self.lost = 0;
        self.waiting.clear();
        let places = self.base..;
        self.transmissions = places
            .zip(&self.segments)
            .filter(|(_, segment)| !segment.is_sacked)
            .map(|(place, segment)| (segment.at, place))
            .collect();
        self.transmissions.make_contiguous().sort_unstable();
    }

    /// The first segment to retransmit, and its place.
    pub(crate) fn first_waiting(&self) -> Option<(u64, Sent)> {
        let &place = self.waiting.first()?;
        Some((place, self.segments[(place - self.base) as usize]))
    }

    /// Notes that the segment at `place` is retransmitted.
    pub(crate) fn resend(&mut self, now: u64, place: u64, mark: SendMark) {
        self.waiting.remove(&place);
        let segment = &mut self.segments[(place - self.base) as usize];
        self.resent += usize::from(!segment.is_resent);
        segment.at = now;
        segment.mark = mark;
        segment.is_resent = true;
        segment.was_resent = true;
        self.transmissions.push_back((now, place));
        self.forget_transmissions();
    }

    /// The transmissions that may still arrive, oldest first: place and segment.
    pub(crate) fn transmissions(&self) -> impl Iterator<Item = (u64, Sent)> + '_ {
        self.transmissions.iter().filter_map(|&(at, place)| Some((place, self.pending(at, place)?)))
    }

    /// All segments with their places, in order of their numbers.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (u64, &Sent)> {
        (self.base..).zip(&self.segments)
    }

    /// The first segment, and its place.
    pub(crate) fn front(&self) -> Option<(u64, &Sent)> {
        self.segments().next()
    }

    /// The last segment, and its place.
    pub(crate) fn back(&self) -> Option<(u64, &Sent)> {
        let last = self.segments.back()?;
        Some((self.base + self.segments.len() as u64 - 1, last))
    }

    /// Segments not yet acknowledged, whatever is known about them.
    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }

    /// Segments that are in the network as far as is known (RFC 6675's pipe).
    pub(crate) fn in_flight(&self) -> usize {
        self.segments.len() - self.sacked - self.lost + self.resent
    }

    /// Segments marked by SACK.
    pub(crate) fn sacked(&self) -> usize {
        self.sacked
    }

    /// Segments held to be lost.
    pub(crate) fn lost(&self) -> usize {
        self.lost
    }

    /// Retransmissions in flight.
    pub(crate) fn resent(&self) -> usize {
        self.resent
    }

    /// Whether the segment that begins at `start` was sent more than once and marked by SACK.
    pub(crate) fn is_sacked_resent(&self, start: u64) -> bool {
        let index = self.segments.partition_point(|segment| segment.start < start);
        let segment = self.segments.get(index).filter(|segment| segment.start == start);
        segment.is_some_and(|segment| segment.was_resent && segment.is_sacked)
    }

    /// One past the highest number marked by SACK.
    pub(crate) fn sacked_end(&self) -> Option<u64> {
        (self.sacked > 0).then_some(self.sacked_end)
    }

    /// Whether any segment was sent more than once.
    pub(crate) fn any_resent(&self) -> bool {
        self.resent > 0 || self.segments.front().is_some_and(|segment| segment.was_resent)
    }

    /// Takes a segment that arrived out of the counts of lost and resent ones.
    fn release(&mut self, index: usize) {
        let segment = &mut self.segments[index];
        self.lost -= usize::from(segment.is_lost);
        self.resent -= usize::from(segment.is_resent);
        if segment.is_lost {
            self.waiting.remove(&(self.base + index as u64));
        }
        segment.is_lost = false;
        segment.is_resent = false;
    }

    /// The segment of a transmission, if that is its last one and may still arrive.
    fn pending(&self, at: u64, place: u64) -> Option<Sent> {
        let index = place.checked_sub(self.base)?;
        let segment = self.segments.get(index as usize)?;
        let waits = segment.is_lost && !segment.is_resent;
        (segment.at == at && !segment.is_sacked && !waits).then_some(*segment)
    }

    fn forget_transmissions(&mut self) {
        while let Some(&(at, place)) = self.transmissions.front()
            && self.pending(at, place).is_none()
        {
            self.transmissions.pop_front();
        }
    }
}

/// Segments in flight: the sender stops there, whatever its window. 64 Ki of 1386 bytes are 0.7 s
/// at 1 Gbit/s.
pub(crate) const SEGMENTS_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_follow_a_segment_through_loss_and_retransmission() {
        let mut board = board(10);
        let mut arrived = Vec::new();

        board.sack(300, 500, &mut arrived);
        board.lose(0);
        board.lose(1);

        assert_eq!(arrived.iter().map(|segment| segment.start).collect::<Vec<_>>(), [300, 400]);
        assert_eq!((board.sacked(), board.lost(), board.in_flight()), (2, 2, 6));
        assert_eq!(board.first_waiting().unwrap().0, 0);
        board.resend(50, 0, SendMark::default());
        assert_eq!((board.resent(), board.in_flight()), (1, 7));
        board.lose(0);
        assert_eq!((board.resent(), board.losses), (0, 3));
        board.resend(60, 0, SendMark::default());
        arrived.clear();
        board.acknowledge(500, &mut arrived);
        assert_eq!(arrived.len(), 5);
        assert_eq!((board.sacked(), board.lost(), board.resent(), board.len()), (0, 0, 0, 5));
        assert!(board.first_waiting().is_none());
    }

    #[test]
    fn transmissions_come_in_order_of_time_without_those_that_are_over() {
        let mut board = board(6);

        board.lose(1);
        board.resend(50, 1, SendMark::default());
        board.lose(2);
        board.sack(300, 400, &mut Vec::new());

        let places: Vec<_> = board.transmissions().map(|(place, _)| place).collect();
        assert_eq!(places, [0, 4, 5, 1]);
        board.forgive();
        let places: Vec<_> = board.transmissions().map(|(place, _)| place).collect();
        assert_eq!(places, [0, 2, 4, 5, 1]);
    }

    fn board(count: u64) -> Scoreboard {
        let mut board = Scoreboard::default();
        for number in 0..count {
            board.push(number, number * 100, (number + 1) * 100, SendMark::default());
        }
        board
    }
}
