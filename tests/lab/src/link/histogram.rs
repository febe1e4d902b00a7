//! Distributions of times, in constant memory.

use serde::{Deserialize, Serialize};

/// Counts values in buckets that are 1/32 of their value wide: quantiles are right to 3 %.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, sum: 0, min: u64::MAX, max: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn insert(&mut self, value: u64) {
        self.buckets[bucket(value)] += 1;
        self.count += 1;
        self.sum += u128::from(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// The value that `share` (0 to 1) of all do not exceed; 0 if there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound(index).clamp(self.min, self.max);
            }
        }
        0
    }

    /// The figures people ask for, each multiplied by `scale` (0.001 makes µs of ns).
    pub fn summary(&self, scale: f64) -> Summary {
        if self.count == 0 {
            return Summary::default();
        }
        Summary {
            count: self.count,
            min: self.min as f64 * scale,
            mean: self.sum as f64 / self.count as f64 * scale,
            p50: self.quantile(0.5) as f64 * scale,
            p99: self.quantile(0.99) as f64 * scale,
            p999: self.quantile(0.999) as f64 * scale,
            max: self.max as f64 * scale,
        }
    }
}

/// The figures of a distribution; all 0 if nothing was counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Summary {
    /// How many values.
    pub count: u64,
    /// The smallest.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// What 99 % do not exceed.
    pub p99: f64,
    /// What 999 of 1000 do not exceed.
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

/// Linear steps in each power of two.
const STEPS: u64 = 32;
/// Enough for every u64: 32 exact values, then 32 steps for each of the 59 larger powers of two.
const BUCKETS: usize = (STEPS * 60) as usize;

fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let power = u64::from(value.ilog2());
    let step = (value >> (power - 5)) - STEPS;
    ((power - 4) * STEPS + step) as usize
}

fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let power = bucket / STEPS + 4;
    let width = 1u64 << (power - 5);
    (1u64 << power) + (bucket % STEPS) * width + (width - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_that_ends_close_above_it() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) | 1, u64::MAX >> (63 - shift)] {
                let bound = upper_bound(bucket(value));

                assert!(bound >= value && bound - value <= value / 32, "{value} -> {bound}");
            }
        }
    }

    #[test]
    fn quantiles_of_a_known_row_are_right_to_three_percent() {
        let mut histogram = Histogram::default();
        (1..=10_000).for_each(|value| histogram.insert(value));

        let summary = histogram.summary(1.0);

        assert!((summary.p50 - 5000.0).abs() < 160.0, "{summary:?}");
        assert!((summary.p99 - 9900.0).abs() < 310.0, "{summary:?}");
        assert_eq!((summary.min, summary.max, summary.mean), (1.0, 10_000.0, 5000.5));
    }
}
