//! What arrived on one path, and when the peer is to be told.

use crate::{
    path::FourTuple,
    replay::ReplayWindow,
    stats::PathReceived,
    time::{Span, Time},
    wire::feedback::{RANGES_MAX, REPORT_MAX, Ranges, Report},
};

/// The receiving side of one path.
#[derive(Debug)]
pub(super) struct Received {
    /// Where the path's datagrams are known to come from.
    pub(super) tuple: FourTuple,
    /// Bytes from another address, not reported yet; `None` while no other address claims the path.
    pub(super) moved: Option<u32>,
    /// Whether each byte on the path's link costs: feedback about it is a hundredth of what arrives.
    pub(super) metered: bool,
    /// What arrived on a metered path and was not spent on a report yet.
    credit: usize,
    /// Whether the peer was shown to receive at the path's address.
    pub(super) proved: bool,
    /// When the path's own address last showed life beside a claim.
    pub(super) present_at: Time,
    /// The newest stamp, less what the path reorders: nothing older will come on it.
    watermark: Time,
    reordering: Span,
    reordered_at: Time,
    epochs: [Option<Epoch>; 4],
    current: u32,
    /// An epoch that came to its end before all that arrived in it was reported.
    ended: Option<u32>,
    heard_at: Time,
    /// Whether the path's silence was told.
    faded: bool,
    owed: Owed,
    pub(super) stats: PathReceived,
}

/// The numbers received in one epoch.
#[derive(Debug)]
struct Epoch {
    epoch: u32,
    window: ReplayWindow,
    runs: Runs,
    largest_at: Time,
}

/// What has arrived since the last report.
#[derive(Clone, Copy, Debug, Default)]
struct Owed {
    eliciting: u32,
    bytes: u32,
    urgent: bool,
    delay_sum: i64,
    delay_min: i64,
    delays: u32,
    reported_at: Time,
    /// When the oldest datagram that elicits a report arrived.
    since: Option<Time>,
}

impl Received {
    pub(super) fn new(tuple: FourTuple, metered: bool) -> Self {
        Self {
            tuple,
            moved: None,
            metered,
            credit: CREDIT_MAX,
            proved: false,
            present_at: Time::ZERO,
            watermark: Time::ZERO,
            reordering: Span::ZERO,
            reordered_at: Time::ZERO,
            epochs: [const { None }; 4],
            current: 0,
            heard_at: Time::ZERO,
            faded: false,
            ended: None,
            owed: Owed::default(),
            stats: PathReceived::default(),
        }
    }

    /// The replay window of an epoch, if anything arrived in it.
    pub(super) fn window(&self, epoch: u32) -> Option<&ReplayWindow> {
        self.epochs[epoch as usize & 3].as_ref().filter(|e| e.epoch == epoch).map(|e| &e.window)
    }

    /// Notes an authentic datagram that is new. Returns whether its number is the path's largest.
    pub(super) fn insert(&mut self, now: Time, epoch: u32, number: u64) -> bool {
        let entry = &mut self.epochs[epoch as usize & 3];
        if entry.as_ref().is_none_or(|e| e.epoch != epoch) {
            *entry = Some(Epoch {
                epoch,
                window: ReplayWindow::new(),
                runs: Runs::default(),
                largest_at: now,
            });
        }
        let Some(entry) = entry else { return false };
        let expected = entry.window.next();
        entry.window.insert(number);
        entry.runs.insert(number);
        if number >= expected {
            entry.largest_at = now;
            // The first number may be any: a gap below it was not in sight before.
            if number > expected && (expected > 0 || epoch > 0) {
                self.owed.urgent = true;
                // Even if only a mark shows the gap: what is missing may have been the last of a burst.
                self.owed.since.get_or_insert(now);
            }
        }
        let newest = epoch > self.current || (epoch == self.current && number >= expected);
        if epoch > self.current {
            self.ended = self.owed.since.map(|_| self.current).or(self.ended);
            self.current = epoch;
        }
        newest
    }

    /// Notes a datagram's stamp and what it means for the report. What shares its stamp with others and is not
    /// the `newest` was overtaken as well.
    pub(super) fn on_stamp(
        &mut self,
        now: Time,
        stamp: Time,
        newest: bool,
        bytes: usize,
        eliciting: bool,
    ) {
        self.heard_at = now;
        self.faded = false;
        if stamp > self.watermark || stamp == self.watermark && newest {
            self.watermark = stamp;
        } else {
            let behind = self.watermark.since(stamp).max(Span(1));
            self.stats.reordered += 1;
            self.reordering = self.reordering.max(behind);
            self.reordered_at = now;
        }
        let delay = now.0 as i64 - stamp.0 as i64;
        let owed = &mut self.owed;
        owed.delay_min = if owed.delays == 0 { delay } else { owed.delay_min.min(delay) };
        owed.delay_sum = owed.delay_sum.saturating_add(delay);
        owed.delays += 1;
        owed.bytes = owed.bytes.saturating_add(bytes as u32);
        self.credit = (self.credit + bytes).min(CREDIT_MAX);
        if eliciting {
            owed.eliciting += 1;
            owed.since.get_or_insert(now);
        }
    }

    /// When the silence of a path that the peer is using becomes strange.
    pub(super) fn fades_at(&self) -> Time {
        if self.faded { Time::MAX } else { self.heard_at + FADED_AFTER }
    }

    /// Whether the path's silence is strange and has not been told.
    pub(super) fn poll_faded(&mut self, now: Time) -> bool {
        let faded = now >= self.fades_at();
        self.faded |= faded;
        faded
    }

    /// Asks for a report at once: congestion was marked, or the path was silent before.
    pub(super) fn urge(&mut self) {
        self.owed.urgent = true;
    }

    /// No datagram stamped before this will come on the path any more.
    pub(super) fn passed(&mut self, now: Time) -> Time {
        if now.since(self.reordered_at) > REORDERING_MEMORY {
            self.reordering = Span::ZERO;
        }
        self.watermark - self.reordering
    }

    /// The newest stamp that arrived on the path.
    pub(super) fn watermark(&self) -> Time {
        self.watermark
    }

    /// Gives a report, if one is due. Ask until there is none.
    pub(super) fn poll_report(&mut self, now: Time, path: u8) -> Option<Report> {
        if let Some(ended) = self.ended.take() {
            return self.report(path, ended, self.owed);
        }
        if self.poll_timeout() > now {
            return None;
        }
        self.credit = self.credit.saturating_sub(REPORT_PRICE);
        let owed = std::mem::take(&mut self.owed);
        self.owed.reported_at = now;
        self.report(path, self.current, owed)
    }

    fn report(&self, path: u8, epoch: u32, owed: Owed) -> Option<Report> {
        let entry =
            self.epochs[epoch as usize & 3].as_ref().filter(|entry| entry.epoch == epoch)?;
        let largest = entry.window.next().checked_sub(1)?;
        Some(Report {
            path,
            epoch: (entry.epoch & 15) as u8,
            largest,
            received_at: entry.largest_at.low(),
            delay_mean: (owed.delay_sum / i64::from(owed.delays.max(1))) as i32,
            delay_min: owed.delay_min as i32,
            bytes: self.stats.bytes as u32,
            fresh: owed.bytes,
            ce: self.stats.ce as u16,
            ranges: entry.runs.report(largest),
        })
    }

    /// When a report is due, if nothing more arrives.
    pub(super) fn poll_timeout(&self) -> Time {
        let owed = &self.owed;
        let Some(since) = owed.since else { return Time::MAX };
        if self.metered && self.credit < REPORT_PRICE {
            return since + INTERVAL_METERED;
        }
        let urgent = owed.urgent || owed.bytes >= OWED_MAX && !self.metered;
        if urgent && owed.reported_at + INTERVAL_URGENT <= since + INTERVAL {
            return (owed.reported_at + INTERVAL_URGENT).max(since);
        }
        let affordable = self.metered || owed.bytes as usize / BUDGET >= REPORT_MAX / 2;
        if owed.eliciting >= 2 && affordable {
            return since.max(owed.reported_at + INTERVAL);
        }
        since + INTERVAL_LONE
    }

    /// The peer knows what arrived up to `largest`.
    pub(super) fn on_report_seen(&mut self, epoch: u8, largest: u64) {
        let entry = self.epochs[usize::from(epoch & 3)].as_mut();
        if let Some(entry) = entry.filter(|entry| entry.epoch & 15 == u32::from(epoch)) {
            entry.runs.forget_before(largest);
        }
    }
}

/// Runs of received numbers, ascending.
#[derive(Debug, Default)]
struct Runs {
    runs: Vec<(u64, u64)>,
}

impl Runs {
    fn insert(&mut self, number: u64) {
        let at = self.runs.partition_point(|&(_, last)| last < number);
        let joins_before = at > 0 && self.runs[at - 1].1 + 1 == number;
        let joins_after = self.runs.get(at).is_some_and(|&(first, _)| first == number + 1);
        match (joins_before, joins_after) {
            (true, true) => {
                self.runs[at - 1].1 = self.runs[at].1;
                self.runs.remove(at);
            }
            (true, false) => self.runs[at - 1].1 = number,
            (false, true) => self.runs[at].0 = number,
            (false, false) => {
                self.runs.insert(at, (number, number));
                if self.runs.len() > RUNS_MAX {
                    self.runs.remove(0);
                }
            }
        }
    }

    /// The newest runs, in the form of a report.
    fn report(&self, largest: u64) -> Ranges {
        let mut ranges = Ranges::default();
        let mut above = largest + 1;
        for &(first, last) in self.runs.iter().rev().take(RANGES_MAX) {
            if !ranges.push(above - last - 1, last - first + 1) {
                break;
            }
            // A run longer than a report can state is cut at its lower end.
            above = last + 1 - (last - first + 1).min(u64::from(u16::MAX));
        }
        ranges
    }

    /// Forgets the runs that lie wholly below `number`, and the lower part of the one around it. The
    /// newest stays whatever the number: epochs are told apart by four bits, and a report without
    /// any run says nothing.
    fn forget_before(&mut self, number: u64) {
        let known = self.runs.partition_point(|&(_, last)| last < number);
        let keep = known.min(self.runs.len().saturating_sub(1));
        self.runs.drain(..keep);
        if let Some(first) = self.runs.first_mut() {
            first.0 = first.0.max(number.min(first.1));
        }
    }
}

/// Runs kept until the peer knows them; the newest are reported.
const RUNS_MAX: usize = 64;

/// The usual time between two reports about a path under load.
const INTERVAL: Span = Span::millis(5);

/// Even urgent reports keep this distance, or a lossy path would cost a report for each datagram.
const INTERVAL_URGENT: Span = Span::millis(1);

/// So many bytes are reported as soon as what is urgent: until then the peer keeps them, and what it keeps is soon more than
/// its processor's caches. Paths of less than 1.6 Gbit/s never come to that.
const OWED_MAX: u32 = 1 << 20;

/// A lone datagram's report waits for company this long.
pub(crate) const INTERVAL_LONE: Span = Span::millis(20);

/// On a metered path a report that is not earned waits for so long, or a slow flow would hear nothing: 8 kbit/s.
pub(crate) const INTERVAL_METERED: Span = Span::millis(100);

/// Reports cost at most one byte in this many received.
const BUDGET: usize = 10;

/// The same where bytes cost.
const BUDGET_METERED: usize = 100;

/// What has to arrive on a metered path for each report, with the headers that it travels in (IPv4, UDP and ours).
const REPORT_PRICE: usize = BUDGET_METERED * (28 + crate::wire::OVERHEAD + REPORT_MAX / 2);

/// A metered path saves up for so many reports: a start and a loss are told at once.
const CREDIT_MAX: usize = 8 * REPORT_PRICE;

/// A sender with something on its way marks the path after 5.5, 11, 22 and 44 ms without data, and
/// says that it is quiet soon after.
const FADED_AFTER: Span = Span::millis(150);

/// How long a path is taken to reorder after it did.
const REORDERING_MEMORY: Span = Span::secs(10);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_report_exactly_what_was_inserted(numbers in prop::collection::vec(0u64..60, 1..40)) {
            let mut runs = Runs::default();
            let set: BTreeSet<u64> = numbers.iter().copied().collect();
            for number in numbers {
                if !runs.runs.iter().any(|&(first, last)| (first..=last).contains(&number)) {
                    runs.insert(number);
                }
            }
            let largest = *set.last().expect("not empty");

            let reported: BTreeSet<u64> =
                runs.report(largest).iter(largest).flat_map(|(first, last)| first..=last).collect();

            let newest: BTreeSet<u64> = (runs.runs.iter().rev().take(RANGES_MAX))
                .flat_map(|&(first, last)| first..=last)
                .collect();
            prop_assert_eq!(&reported, &newest);
            if runs.runs.len() <= RANGES_MAX {
                prop_assert_eq!(&reported, &set);
            }
        }
    }

    #[test]
    fn a_path_that_reorders_within_a_row_of_one_stamp_is_found_to() {
        let mut received = path();
        for (number, newest) in [(0, true), (2, true), (1, false)] {
            assert_eq!(received.insert(Time(0), 0, number), newest);
            received.on_stamp(Time(0), Time(100), newest, 1400, true);
        }

        assert_eq!(received.stats.reordered, 1);
        assert_eq!(received.passed(Time(0)), Time(99), "one of the row may still come");
    }

    #[test]
    fn a_gap_is_reported_at_once_and_a_lone_datagram_in_a_while() {
        let mut received = path();
        received.insert(Time(0), 0, 0);
        received.on_stamp(Time(0), Time(0), true, 1400, true);
        assert_eq!(received.poll_timeout(), Time::ZERO + INTERVAL_LONE);
        assert!(received.poll_report(Time(25_000), 1).is_some());

        received.insert(Time(30_000), 0, 2);
        received.on_stamp(Time(30_000), Time(1), true, 1400, true);

        let report = received.poll_report(Time(30_000), 1).expect("due at once");
        assert_eq!(report.ranges.iter(report.largest).collect::<Vec<_>>(), [(2, 2), (0, 0)]);
        assert_eq!(received.poll_timeout(), Time::MAX);
    }

    #[test]
    fn a_report_names_at_least_the_newest_run() {
        let mut runs = Runs::default();
        runs.insert(5);

        runs.forget_before(900);

        assert_eq!(runs.report(5).iter(5).collect::<Vec<_>>(), [(5, 5)]);
    }

    #[test]
    fn what_does_not_elicit_is_never_reported_by_itself() {
        let mut received = path();
        received.insert(Time(0), 0, 0);
        received.on_stamp(Time(0), Time(0), true, 100, false);

        assert_eq!(received.poll_timeout(), Time::MAX);
    }

    #[test]
    fn reports_about_a_metered_path_are_a_hundredth_of_what_arrives() {
        // 8 Mbit/s for ten seconds, each hundredth datagram lost.
        let reports = |metered| {
            let mut received = Received { metered, ..path() };
            let mut reports = 0;
            let arrived = (0..10_000u64).filter(|number| number % 100 != 99);
            for (number, now) in arrived.map(|number| (number, Time(number * 1_000))) {
                received.insert(now, 0, number);
                received.on_stamp(now, now, true, 1_000, true);
                reports += usize::from(received.poll_report(now, 0).is_some());
            }
            reports
        };
        let bytes = 28 + crate::wire::OVERHEAD + REPORT_MAX / 2;

        assert!(reports(false) > 1_500, "{}", reports(false));
        assert!((700..=100_000 / bytes + 8).contains(&reports(true)), "{}", reports(true));
    }

    #[test]
    fn a_lone_datagram_on_a_metered_path_waits_longer() {
        let mut received = Received { metered: true, credit: 0, ..path() };
        received.insert(Time(0), 0, 0);
        received.on_stamp(Time(0), Time(0), true, 200, true);

        assert_eq!(received.poll_timeout(), Time::ZERO + INTERVAL_METERED);
    }

    fn path() -> Received {
        let tuple = FourTuple { socket: 0, local: None, remote: ([10, 0, 0, 1], 1).into() };
        Received::new(tuple, false)
    }
}
