//! What arrives of a flow that sends as fast as it can: the receiving half of the bulk tools.

use serde::{Deserialize, Serialize};

/// What the receiver got.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ReceiveReport {
    /// All bytes.
    pub bytes: u64,
    /// From the first byte to the last, in seconds.
    pub seconds: f64,
    /// Bits a second after the warm-up; 0 if the flow ended within it.
    pub goodput_bits_per_second: f64,
    /// How long after the first byte counting began, in seconds.
    pub warm_up: f64,
    /// Bits a second in each 100 ms after the first byte, for at most [`SERIES_MAX`] of them.
    pub per_100ms: Vec<f64>,
    /// The longest time without a byte, in microseconds.
    pub silence_max_us: f64,
    /// When it ended, in microseconds after the first byte.
    pub silence_at_us: f64,
}

/// What has arrived of a flow.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    warm_up_ns: u64,
    first_ns: Option<u64>,
    last_ns: u64,
    bytes: u64,
    /// Bytes that came after the warm-up, and when the first of them did.
    warm_bytes: u64,
    warm_ns: Option<u64>,
    per_100ms: Vec<u64>,
    silence_max_ns: u64,
    silence_at_ns: u64,
}

impl Arrivals {
    /// Nothing yet; counting begins so many seconds after the first byte.
    pub(super) fn new(warm_up: f64) -> Self {
        Self { warm_up_ns: (warm_up.max(0.0) * 1e9) as u64, ..Self::default() }
    }

    /// Notes that bytes arrived.
    pub(super) fn take(&mut self, now_ns: u64, len: u64) {
        let first_ns = *self.first_ns.get_or_insert(now_ns);
        let since_ns = now_ns - first_ns;
        if self.bytes > 0 && now_ns - self.last_ns > self.silence_max_ns {
            self.silence_max_ns = now_ns - self.last_ns;
            self.silence_at_ns = since_ns;
        }
        self.last_ns = now_ns;
        self.bytes += len;
        if since_ns >= self.warm_up_ns {
            // The first read after the warm-up only marks where counting begins.
            match self.warm_ns {
                None => self.warm_ns = Some(now_ns),
                Some(_) => self.warm_bytes += len,
            }
        }
        let slot = (since_ns / 100_000_000) as usize;
        if slot < SERIES_MAX {
            self.per_100ms.resize(self.per_100ms.len().max(slot + 1), 0);
            self.per_100ms[slot] += len;
        }
    }

    /// The figures.
    pub(super) fn report(self) -> ReceiveReport {
        let warm_ns = self.warm_ns.map_or(0, |warm_ns| self.last_ns - warm_ns);
        let rate = |bytes: u64, ns: u64| if ns > 0 { bytes as f64 * 8e9 / ns as f64 } else { 0.0 };
        ReceiveReport {
            bytes: self.bytes,
            seconds: self.first_ns.map_or(0, |first_ns| self.last_ns - first_ns) as f64 / 1e9,
            goodput_bits_per_second: rate(self.warm_bytes, warm_ns),
            warm_up: self.warm_up_ns as f64 / 1e9,
            per_100ms: self.per_100ms.into_iter().map(|bytes| rate(bytes, 100_000_000)).collect(),
            silence_max_us: self.silence_max_ns as f64 / 1000.0,
            silence_at_us: self.silence_at_ns as f64 / 1000.0,
        }
    }
}

/// Tenths of a second in a report at most: one hour.
pub const SERIES_MAX: usize = 36_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodput_counts_after_the_warm_up_only() {
        let mut arrivals = Arrivals::new(1.0);
        for ms in (0..1000).step_by(10) {
            arrivals.take(5_000_000_000 + ms * 1_000_000, 1);
        }
        for ms in (1000..=2000).step_by(10) {
            arrivals.take(5_000_000_000 + ms * 1_000_000, 12_500);
        }

        let report = arrivals.report();

        assert!((report.goodput_bits_per_second - 1e7).abs() < 1.0, "{report:?}");
        assert_eq!(report.per_100ms[..2], [800.0, 800.0]);
        assert_eq!(report.silence_max_us, 10_000.0);
    }
}
