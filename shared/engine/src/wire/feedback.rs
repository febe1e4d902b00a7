//! Feedback: what a receiver says about one path in one epoch.

use super::PATHS_MAX;

/// How many runs of received numbers one report names. Each is repeated in several reports, so the
/// losses of one interval at 5 % on a gigabit path still fit.
pub const RANGES_MAX: usize = 16;

/// The runs of packet numbers received, from the largest downwards.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ranges {
    count: u8,
    /// Numbers missing above the run, and numbers received in it. The first run has no gap.
    runs: [(u16, u16); RANGES_MAX],
}

impl Ranges {
    /// Adds a run below those already there. Returns whether there was room for it.
    pub fn push(&mut self, gap: u64, len: u64) -> bool {
        let (Ok(gap), len) = (u16::try_from(gap), len.min(u64::from(u16::MAX)) as u16) else {
            return false;
        };
        if usize::from(self.count) == RANGES_MAX || len == 0 {
            return false;
        }
        self.runs[usize::from(self.count)] = (gap, len);
        self.count += 1;
        true
    }

    /// The runs as inclusive intervals, given the largest number, from the largest downwards.
    pub fn iter(&self, largest: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut above = largest.wrapping_add(1);
        self.runs[..usize::from(self.count)].iter().map_while(move |&(gap, len)| {
            let last = above.checked_sub(u64::from(gap) + 1)?;
            let first = (last + 1).checked_sub(u64::from(len))?;
            above = first;
            Some((first, last))
        })
    }
}

/// What arrived on one path.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// The path that the report is about.
    pub path: u8,
    /// The key epoch of the numbers, modulo 16: a report may be older than a datagram may.
    pub epoch: u8,
    /// The largest packet number received.
    pub largest: u64,
    /// The receiver's clock when it arrived, low half, in microseconds.
    pub received_at: u32,
    /// One-way delay (receiver's clock minus stamp), mean since the report before, in microseconds.
    /// The clocks' offset is unknown: only differences mean something.
    pub delay_mean: i32,
    /// The smallest such delay since the report before.
    pub delay_min: i32,
    /// Bytes of datagrams received on the path in the session, modulo 2^32.
    pub bytes: u32,
    /// How many of them since the report before: those whose delays these are.
    pub fresh: u32,
    /// Datagrams that arrived with a congestion mark (ECN CE), modulo 2^16.
    pub ce: u16,
    /// Which numbers arrived.
    pub ranges: Ranges,
}

/// Bytes of a report with all ranges.
pub const REPORT_MAX: usize = FIXED + 1 + RANGES_MAX * 4;

const FIXED: usize = 1 + 8 + 4 + 4 + 4 + 4 + 4 + 2;

impl Report {
    /// Appends the report's bytes.
    pub fn emit(&self, out: &mut impl Extend<u8>) {
        out.extend([(self.path << 4) | (self.epoch & 15)]);
        out.extend(self.largest.to_be_bytes());
        out.extend(self.received_at.to_be_bytes());
        out.extend(self.delay_mean.to_be_bytes());
        out.extend(self.delay_min.to_be_bytes());
        out.extend(self.bytes.to_be_bytes());
        out.extend(self.fresh.to_be_bytes());
        out.extend(self.ce.to_be_bytes());
        out.extend([self.ranges.count]);
        for (gap, len) in &self.ranges.runs[..usize::from(self.ranges.count)] {
            out.extend(gap.to_be_bytes());
            out.extend(len.to_be_bytes());
        }
    }

    /// Reads a report and gives the bytes after it. `None` if it is malformed.
    pub fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (fixed, rest) = bytes.split_first_chunk::<FIXED>()?;
        let u32_at = |at: usize| -> u32 {
            u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
        };
        let (&count, mut rest) = rest.split_first()?;
        if usize::from(count) > RANGES_MAX || count == 0 {
            return None;
        }
        let mut ranges = Ranges { count, ..Ranges::default() };
        for run in &mut ranges.runs[..usize::from(count)] {
            let (pair, after) = rest.split_first_chunk::<4>()?;
            *run = (u16::from_be_bytes([pair[0], pair[1]]), u16::from_be_bytes([pair[2], pair[3]]));
            rest = after;
        }
        let report = Self {
            path: fixed[0] >> 4,
            epoch: fixed[0] & 15,
            largest: u64::from(u32_at(1)) << 32 | u64::from(u32_at(5)),
            received_at: u32_at(9),
            delay_mean: u32_at(13) as i32,
            delay_min: u32_at(17) as i32,
            bytes: u32_at(21),
            fresh: u32_at(25),
            ce: u16::from_be_bytes([fixed[29], fixed[30]]),
            ranges,
        };
        Some((report, rest))
    }
}

const _: () = assert!(PATHS_MAX == 16, "a report has four bits for the path");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_emitted_parses_to_the_same(
            path in 0u8..16, epoch in 0u8..16, largest: u64, numbers: [u32; 5], ce: u16,
            runs in prop::collection::vec((any::<u16>(), 1u64..70_000), 1..RANGES_MAX),
        ) {
            let [received_at, mean, min, bytes, fresh] = numbers;
            let mut ranges = Ranges::default();
            for (gap, len) in runs {
                prop_assert!(ranges.push(u64::from(gap), len));
            }
            let report = Report {
                path, epoch, largest, received_at, delay_mean: mean as i32, delay_min: min as i32,
                bytes, fresh, ce, ranges,
            };
            let mut wire = Vec::new();
            report.emit(&mut wire);
            prop_assert!(wire.len() <= REPORT_MAX);
            wire.push(9);

            prop_assert_eq!(Report::parse(&wire), Some((report, &[9u8][..])));
            prop_assert!(ranges.iter(largest).count() <= RANGES_MAX);
        }

        #[test]
        fn any_bytes_parse_without_a_panic(bytes: Vec<u8>) {
            if let Some((report, _)) = Report::parse(&bytes) {
                let _ = report.ranges.iter(report.largest).count();
            }
        }
    }

    #[test]
    fn runs_count_downwards_from_the_largest() {
        let mut ranges = Ranges::default();
        ranges.push(0, 3);
        ranges.push(2, 1);

        let runs: Vec<_> = ranges.iter(10).collect();

        assert_eq!(runs, [(8, 10), (5, 5)]);
    }

    #[test]
    fn runs_that_reach_below_zero_end_the_list() {
        let mut ranges = Ranges::default();
        ranges.push(0, 3);
        ranges.push(9, 9);

        assert_eq!(ranges.iter(5).collect::<Vec<_>>(), [(3, 5)]);
    }
}
