//! What was sent on a path and is not settled yet.

use std::collections::VecDeque;

use crate::{
    class::Class,
    slots::SlotId,
    time::{Span, Time},
    wire::feedback::{REPORT_MAX, Report},
};

/// No path has more datagrams unsettled: 4 windows of 1 Gbit/s at 180 ms.
pub(crate) const SENT_MAX: usize = 1 << 16;

/// What a path is taken to reorder after it did so for the first time, in numbers (RFC 9002, 6.1.1)
/// and in time (RFC 9002, 6.1.2, takes an eighth of the round trip). Until then it is taken to deliver
/// in order, as access links do, and what is missing is lost at once: a mistake only costs a datagram
/// sent twice.
const REORDERING_FIRST: Reordering = Reordering { numbers: 3, span: Span::millis(4) };

/// The most, for a path that goes on: it doubles each time.
const REORDERING_MAX: Reordering = Reordering { numbers: 128, span: Span::millis(100) };

/// After this long without a mistake the path is taken to deliver in order again.
const REORDERING_MEMORY: Span = Span::secs(30);

/// A receiver reports at once what its report is a tenth of.
pub(crate) const STEADY_BYTES: usize = 10 * REPORT_MAX;

/// The same where bytes cost: a report is a hundredth, and there may be no credit left of what came before.
pub(crate) const STEADY_METERED: usize = 200 * REPORT_MAX;

/// Numbers taken for lost that are remembered, to learn whether they arrive after all.
const LOST_MAX: usize = 64;

/// One segment of an inner packet, and its place in its lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// The packet it is cut from. Each record of the segment holds the slot.
    pub(crate) slot: SlotId,
    /// Its index in the packet.
    pub(crate) index: u16,
    /// The flow it belongs to, by which the lane is found.
    pub(crate) flow: u16,
    pub(crate) class: Class,
    pub(crate) sequence: u32,
    /// When it was sent first.
    pub(crate) first_sent: Time,
    /// Further transmissions, other than copies.
    pub(crate) tries: u8,
    /// Whether it is marked because its flow's queue stands.
    pub(crate) marked: bool,
}

/// What a datagram carried.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    /// Messages.
    Messages(Messages),
    /// A segment, and whether a copy of it goes by another path.
    Packet(Segment, bool),
    /// Padding.
    Padding,
}

/// What is to be known of messages when they are acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Messages {
    /// The report it carried: path, epoch modulo 16, largest number.
    pub(crate) report: Option<(u8, u8, u64)>,
    /// The version of the state block it carried.
    pub(crate) state: Option<u16>,
}

/// A datagram on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) content: Content,
    pub(crate) stamp: Time,
    /// Bytes of the datagram.
    pub(crate) len: u16,
    /// Whether the peer acknowledges it unasked.
    pub(crate) eliciting: bool,
    settled: bool,
}

impl Sent {
    /// The segment it carries, if that is open and has no copy, and when it was sent.
    fn single(&self) -> Option<(Time, Segment)> {
        match self.content {
            Content::Packet(segment, false) if !self.settled => Some((self.stamp, segment)),
            _ => None,
        }
    }
}

/// The datagrams of a path, in the order they were sent, from the first that is not settled.
#[derive(Debug, Default)]
pub(crate) struct SentRing {
    ring: VecDeque<Sent>,
    /// The index of the ring's front, counted over all epochs.
    first: u64,
    /// Index of number 0 of each epoch, by epoch modulo 16.
    bases: [u64; 16],
    /// The largest acknowledged index plus one, and the stamp there.
    acknowledged: u64,
    acknowledged_stamp: Time,
    in_flight: u64,
    eliciting: usize,
    /// How much later ones may overtake a datagram until it is lost, and when that was learnt.
    reordering: Reordering,
    reordered_at: Time,
    /// Indices of those taken for lost of late, ascending.
    lost: VecDeque<u64>,
    /// The index before which no segment is unsettled and without a copy.
    copied: u64,
}

/// How far a path's datagrams come out of order.
#[derive(Clone, Copy, Debug, Default)]
struct Reordering {
    numbers: u64,
    span: Span,
}

impl SentRing {
    pub(crate) fn push(&mut self, content: Content, stamp: Time, len: u16, eliciting: bool) {
        self.in_flight += u64::from(len);
        self.eliciting += usize::from(eliciting);
        self.ring.push_back(Sent { content, stamp, len, eliciting, settled: false });
    }

    pub(crate) fn is_full(&self) -> bool {
        self.ring.len() >= SENT_MAX
    }

    /// Notes that numbering starts anew: the next datagram is number 0 of `epoch`.
    pub(crate) fn start_epoch(&mut self, epoch: u32) {
        self.bases[epoch as usize & 15] = self.first + self.ring.len() as u64;
    }

    /// Bytes sent that are neither acknowledged nor lost.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Whether something is on its way that the peer will acknowledge unasked.
    pub(crate) fn awaits_acknowledgement(&self) -> bool {
        self.eliciting > 0
    }

    /// When the oldest datagram that is not settled was sent.
    pub(crate) fn front(&self) -> Option<Time> {
        self.ring.front().map(|sent| sent.stamp)
    }

    /// When the oldest datagram that elicits an acknowledgement was sent.
    pub(crate) fn oldest(&self) -> Option<Time> {
        self.ring.iter().find(|sent| !sent.settled && sent.eliciting).map(|sent| sent.stamp)
    }

    /// The oldest segment that is not settled and has no copy, and when it was sent.
    pub(crate) fn uncopied(&self) -> Option<(Time, Segment)> {
        let looked_at = self.copied.saturating_sub(self.first) as usize;
        self.ring.range(looked_at.min(self.ring.len())..).find_map(Sent::single)
    }

    /// Skips what [`Self::uncopied`] passes over, so that it is passed over once.
    pub(crate) fn advance_copied(&mut self) {
        let looked_at = self.copied.saturating_sub(self.first) as usize;
        let ahead = self.ring.range(looked_at.min(self.ring.len())..);
        let passed = ahead.take_while(|sent| sent.single().is_none()).count();
        self.copied = self.copied.max(self.first) + passed as u64;
    }

    /// Notes that a copy of [`Self::uncopied`] goes by another path.
    pub(crate) fn note_copied(&mut self) {
        self.advance_copied();
        let index = (self.copied - self.first) as usize;
        if let Some(Sent { content: Content::Packet(_, copied), .. }) = self.ring.get_mut(index) {
            *copied = true;
        }
    }

    /// When the datagram was sent, of those that elicit an acknowledgement and are not settled, with
    /// which there were enough for the peer to report at once: three, and so many bytes.
    pub(crate) fn steady(&self, enough: usize) -> Option<Time> {
        let open = self.ring.iter().filter(|sent| !sent.settled && sent.eliciting);
        let mut bytes = 0;
        let whole = open.enumerate().find(|(index, sent)| {
            bytes += usize::from(sent.len);
            *index >= 2 && bytes >= enough
        });
        whole.map(|(_, sent)| sent.stamp)
    }

    /// Settles what the report acknowledges, handing each datagram to `settle`. Returns the newest
    /// of them.
    pub(crate) fn acknowledge(
        &mut self,
        report: &Report,
        mut settle: impl FnMut(&Sent),
    ) -> Option<Sent> {
        let base = self.bases[usize::from(report.epoch & 15)];
        let end = self.first + self.ring.len() as u64;
        let mut newest = None;
        for (first, last) in report.ranges.iter(report.largest) {
            let (Some(first), Some(last)) = (base.checked_add(first), base.checked_add(last))
            else {
                continue;
            };
            if last >= end {
                continue;
            }
            if last < self.first {
                self.learn_reordering(first, last);
                continue;
            }
            if last >= self.acknowledged {
                self.acknowledged = last + 1;
                self.acknowledged_stamp = self.ring[(last - self.first) as usize].stamp;
            }
            self.learn_reordering(first, last);
            for index in (first.max(self.first)..=last).rev() {
                if let Some(sent) = self.settle(index) {
                    newest.get_or_insert(sent);
                    settle(&sent);
                }
            }
        }
        self.trim();
        newest
    }

    /// Settles as lost what was sent before something that has arrived, by more than the path reorders,
    /// and everything sent before `horizon`.
    pub(crate) fn lose(&mut self, horizon: Time, mut lost: impl FnMut(&Sent)) {
        let Reordering { numbers, span } = self.reordering;
        let limit = self.acknowledged.saturating_sub(numbers.max(1));
        let before = self.acknowledged_stamp - span;
        for index in self.first..self.first + self.ring.len() as u64 {
            let sent = &self.ring[(index - self.first) as usize];
            let overtaken = index < limit || (index < self.acknowledged && sent.stamp < before);
            if !overtaken && sent.stamp >= horizon {
                break;
            }
            if let Some(sent) = self.settle(index) {
                if self.lost.len() == LOST_MAX {
                    self.lost.pop_front();
                }
                self.lost.push_back(index);
                lost(&sent);
            }
        }
        self.trim();
    }

    /// Learns from datagrams that were taken for lost and arrived after all.
    fn learn_reordering(&mut self, first: u64, last: u64) {
        let before = self.lost.len();
        self.lost.retain(|index| !(first..=last).contains(index));
        if self.lost.len() < before {
            let Reordering { numbers, span } = self.reordering;
            self.reordering = Reordering {
                numbers: (2 * numbers).clamp(REORDERING_FIRST.numbers, REORDERING_MAX.numbers),
                span: (span * 2).clamp(REORDERING_FIRST.span, REORDERING_MAX.span),
            };
            self.reordered_at = self.acknowledged_stamp;
        } else if self.acknowledged_stamp.since(self.reordered_at) > REORDERING_MEMORY {
            self.reordering = Reordering::default();
        }
    }

    /// Settles everything, handing each datagram to `lost`.
    pub(crate) fn clear(&mut self, mut lost: impl FnMut(&Sent)) {
        for index in self.first..self.first + self.ring.len() as u64 {
            if let Some(sent) = self.settle(index) {
                lost(&sent);
            }
        }
        self.trim();
    }

    /// Gives back memory that is not used.
    pub(crate) fn shrink(&mut self) {
        self.ring.shrink_to_fit();
    }

    fn settle(&mut self, index: u64) -> Option<Sent> {
        let sent = &mut self.ring[(index - self.first) as usize];
        if std::mem::replace(&mut sent.settled, true) {
            return None;
        }
        self.in_flight -= u64::from(sent.len);
        self.eliciting -= usize::from(sent.eliciting);
        Some(*sent)
    }

    fn trim(&mut self) {
        while self.ring.front().is_some_and(|sent| sent.settled) {
            self.ring.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;

    #[test]
    fn acknowledged_datagrams_are_settled_once_and_gaps_are_lost() {
        let mut ring = ring_of(10);
        let mut settled = Vec::new();

        let newest =
            ring.acknowledge(&report(0, 7, &[(0, 2), (3, 3)]), |s| settled.push(s.stamp.0));
        ring.acknowledge(&report(0, 7, &[(0, 2), (3, 3)]), |_| panic!("settled before"));

        assert_eq!(newest.map(|sent| sent.stamp), Some(Time(7)));
        assert_eq!(settled, [7, 6, 2, 1, 0]);
        let mut lost = Vec::new();
        ring.lose(Time::ZERO, |sent| lost.push(sent.stamp.0));
        assert_eq!(lost, [3, 4, 5], "a path that has not reordered delivers in order");
        assert_eq!(ring.in_flight(), 200);
    }

    #[test]
    fn what_arrives_after_all_teaches_how_much_the_path_reorders() {
        let mut ring = ring_of(10);
        let mut lost = Vec::new();
        ring.acknowledge(&report(0, 2, &[(0, 1), (1, 1)]), |_| {});
        ring.lose(Time::ZERO, |sent| lost.push(sent.stamp.0));
        assert_eq!(lost, [1]);

        ring.acknowledge(&report(0, 2, &[(0, 3)]), |_| panic!("settled before"));
        ring.acknowledge(&report(0, 6, &[(0, 1), (3, 3)]), |_| {});
        ring.lose(Time::ZERO, |sent| lost.push(sent.stamp.0));

        assert_eq!(lost, [1, 3], "4 and 5 may come within three numbers");
    }

    #[test]
    fn numbers_start_anew_with_an_epoch() {
        let mut ring = ring_of(5);
        ring.start_epoch(1);
        ring.push(Content::Padding, Time(50), 100, true);
        let mut settled = Vec::new();

        ring.acknowledge(&report(1, 0, &[(0, 1)]), |sent| settled.push(sent.stamp.0));
        ring.acknowledge(&report(0, 4, &[(0, 1)]), |sent| settled.push(sent.stamp.0));

        assert_eq!(settled, [50, 4]);
    }

    #[test]
    fn the_oldest_segment_without_a_copy_is_found_whatever_was_settled() {
        let mut ring = ring_of(2);
        for stamp in 2..6 {
            ring.push(Content::Packet(segment(stamp), stamp == 2), Time(stamp), 100, true);
        }
        let oldest = |ring: &SentRing| ring.uncopied().map(|(stamp, _)| stamp.0);
        assert_eq!(oldest(&ring), Some(3), "2 has a copy");

        ring.note_copied();
        assert_eq!(oldest(&ring), Some(4));
        ring.acknowledge(&report(0, 4, &[(0, 1)]), |_| {});
        ring.advance_copied();
        assert_eq!(oldest(&ring), Some(5));

        ring.clear(|_| {});
        ring.advance_copied();
        assert_eq!(oldest(&ring), None);
        ring.push(Content::Packet(segment(7), false), Time(7), 100, true);
        assert_eq!(oldest(&ring), Some(7));
    }

    #[test]
    fn a_report_of_numbers_never_sent_changes_nothing() {
        let mut ring = ring_of(5);

        let newest = ring.acknowledge(&report(0, 9, &[(0, 3)]), |_| panic!("never sent"));

        assert!(newest.is_none());
        ring.lose(Time::ZERO, |_| panic!("nothing is lost"));
    }

    fn segment(stamp: u64) -> Segment {
        let slot = Slots::new(1 << 16).insert(b"one", ()).expect("room");
        Segment {
            slot,
            index: 0,
            flow: 0,
            class: Class::Bulk,
            sequence: stamp as u32,
            first_sent: Time(stamp),
            tries: 0,
            marked: false,
        }
    }

    fn ring_of(count: u64) -> SentRing {
        let mut ring = SentRing::default();
        for index in 0..count {
            ring.push(Content::Padding, Time(index), 100, true);
        }
        ring
    }

    fn report(epoch: u8, largest: u64, runs: &[(u64, u64)]) -> Report {
        let mut report = Report { epoch, largest, ..Report::default() };
        for &(gap, len) in runs {
            assert!(report.ranges.push(gap, len));
        }
        report
    }
}
