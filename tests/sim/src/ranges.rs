//! A set of half-open ranges of sequence numbers.

use std::collections::BTreeMap;

/// Disjoint ranges `start..end`; ranges that touch are one.
#[derive(Clone, Debug, Default)]
pub struct RangeSet {
    /// End by start.
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Adds `start..end` and returns the parts of it that were not in the set, in order.
    pub fn insert(&mut self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut added = Vec::new();
        if start >= end {
            return added;
        }
        let (mut merged_start, mut merged_end) = (start, end);
        if let Some((before, before_end)) = self.before(start)
            && before_end >= start
        {
            merged_start = before;
            merged_end = merged_end.max(before_end);
        }
        let mut uncovered = start;
        // The ranges touched are all at or after `merged_start`, and each begins within the new one.
        while let Some((&next, &next_end)) = self.ranges.range(merged_start..=end).next() {
            if next > uncovered {
                added.push((uncovered, next));
            }
            uncovered = uncovered.max(next_end);
            merged_end = merged_end.max(next_end);
            self.ranges.remove(&next);
        }
        if uncovered < end {
            added.push((uncovered, end));
        }
        self.ranges.insert(merged_start, merged_end);
        added
    }

    /// The range that holds `number`.
    pub fn containing(&self, number: u64) -> Option<(u64, u64)> {
        self.before(number).filter(|&(_, end)| number < end)
    }

    /// Whether all of `start..end` is in the set.
    pub fn covers(&self, start: u64, end: u64) -> bool {
        self.containing(start).is_some_and(|(_, covered)| covered >= end)
    }

    /// The lowest range.
    pub fn first(&self) -> Option<(u64, u64)> {
        self.ranges.first_key_value().map(|(&start, &end)| (start, end))
    }

    /// Removes everything below `number`.
    pub fn trim_below(&mut self, number: u64) {
        while let Some((start, end)) = self.first()
            && start < number
        {
            self.ranges.remove(&start);
            if end > number {
                self.ranges.insert(number, end);
            }
        }
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The range with the largest start that is not above `number`.
    fn before(&self, number: u64) -> Option<(u64, u64)> {
        self.ranges.range(..=number).next_back().map(|(&start, &end)| (start, end))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_that_fills_a_gap_joins_its_neighbours() {
        let mut ranges = RangeSet::default();
        ranges.insert(0, 10);
        ranges.insert(20, 30);

        assert_eq!(ranges.insert(5, 25), [(10, 20)]);
        assert_eq!((ranges.first(), ranges.len()), (Some((0, 30)), 1));
    }

    proptest! {
        #[test]
        fn the_set_agrees_with_a_set_of_numbers(
            steps in prop::collection::vec((0u64..200, 0u64..40, any::<bool>()), 1..60),
        ) {
            let (mut ranges, mut model) = (RangeSet::default(), BTreeSet::new());
            for (start, len, trim) in steps {
                if trim {
                    ranges.trim_below(start / 4);
                    model = model.split_off(&(start / 4));
                } else {
                    let added: BTreeSet<u64> = ranges
                        .insert(start, start + len)
                        .into_iter()
                        .flat_map(|(start, end)| start..end)
                        .collect();
                    let expected: BTreeSet<u64> =
                        (start..start + len).filter(|number| !model.contains(number)).collect();
                    prop_assert_eq!(&added, &expected);
                    model.extend(added);
                }
                for number in 0..250 {
                    prop_assert_eq!(ranges.containing(number).is_some(), model.contains(&number));
                }
                let first = ranges.first().map(|(start, _)| start);
                prop_assert_eq!(first, model.first().copied());
            }
        }
    }
}
