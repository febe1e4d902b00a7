//! Round-trip times and the retransmission timeout, as Linux computes them.

/// Estimates of one connection, in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rtt {
    smoothed: Option<f64>,
    /// Mean deviation.
    deviation: f64,
    /// Largest deviation of the round trip under way.
    deviation_max: f64,
    /// What the timeout adds to the smoothed round-trip time: it rises at once, falls slowly.
    variation: f64,
    /// The round trip under way ends when this is acknowledged.
    round_end: u64,
    min: Option<u64>,
    /// How often the timeout was doubled.
    backoff: u32,
}

impl Rtt {
    /// Takes a sample for the timeout; `acknowledged` and `next` delimit the data in flight.
    pub(crate) fn on_sample(&mut self, sample: u64, acknowledged: u64, next: u64) {
        self.backoff = 0;
        let sample = sample as f64;
        let Some(smoothed) = self.smoothed else {
            self.smoothed = Some(sample);
            self.deviation = sample / 2.0;
            self.variation = (2.0 * sample).max(VARIATION_MIN);
            self.deviation_max = self.variation;
            self.round_end = next;
            return;
        };
        let error = sample - smoothed;
        self.smoothed = Some(smoothed + error / 8.0);
        // A round-trip time that falls is no reason to wait longer: such an error counts an eighth.
        let falls = error < 0.0 && -error > self.deviation;
        let gain = if falls { 1.0 / 32.0 } else { 1.0 / 4.0 };
        self.deviation += (error.abs() - self.deviation) * gain;
        let deviation = self.deviation * 4.0;
        if deviation > self.deviation_max {
            self.deviation_max = deviation;
            self.variation = self.variation.max(deviation);
        }
        if acknowledged > self.round_end {
            if self.deviation_max < self.variation {
                self.variation -= (self.variation - self.deviation_max) / 4.0;
            }
            self.round_end = next;
            self.deviation_max = VARIATION_MIN;
        }
    }

    /// Takes a sample for the minimum.
    pub(crate) fn on_min_sample(&mut self, sample: u64) {
        // Linux forgets after 300 s, longer than any simulation of ours.
        self.min = Some(self.min.map_or(sample, |min| min.min(sample)).max(1));
    }

    /// Smoothed round-trip time.
    pub(crate) fn smoothed(&self) -> Option<u64> {
        self.smoothed.map(|smoothed| smoothed as u64)
    }

    /// Smallest round-trip time.
    pub(crate) fn min(&self) -> Option<u64> {
        self.min
    }

    /// The retransmission timeout. Linux has srtt + max(200 ms, 4 rttvar), not the maximum of
    /// 200 ms and the sum.
    pub(crate) fn timeout(&self) -> u64 {
        let timeout = self.smoothed.map_or(TIMEOUT_INITIAL, |it| (it + self.variation) as u64);
        (timeout << self.backoff).min(TIMEOUT_MAX)
    }

    /// The time after which a tail loss probe goes out (RFC 8985, section 7.2, with Linux's
    /// allowance for a delayed acknowledgment of a single segment).
    pub(crate) fn probe_timeout(&self, outstanding: usize) -> u64 {
        let Some(smoothed) = self.smoothed() else { return TIMEOUT_INITIAL };
        2 * smoothed + if outstanding == 1 { VARIATION_MIN as u64 } else { TIMER_MIN }
    }

    /// Doubles the timeout.
    pub(crate) fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(BACKOFF_MAX);
    }
}

/// Linux's TCP_RTO_MIN, which bounds the variation.
const VARIATION_MIN: f64 = 200_000.0;

/// RFC 6298, section 2.1.
pub(crate) const TIMEOUT_INITIAL: u64 = 1_000_000;

/// Linux's TCP_RTO_MAX.
const TIMEOUT_MAX: u64 = 120_000_000;

/// 2^16 times any timeout is more than [`TIMEOUT_MAX`].
const BACKOFF_MAX: u32 = 16;

/// Linux's TCP_TIMEOUT_MIN: two ticks of a clock of 1000 Hz.
pub(crate) const TIMER_MIN: u64 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_round_trip_gives_a_timeout_200_ms_above_it() {
        let mut rtt = Rtt::default();
        for round in 0..100 {
            rtt.on_sample(20_000, round, round + 1);
        }

        assert_eq!(rtt.smoothed(), Some(20_000));
        assert_eq!(rtt.timeout(), 220_000);
    }

    #[test]
    fn the_timeout_doubles_until_a_sample_arrives() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(), TIMEOUT_INITIAL);
        rtt.on_sample(100_000, 0, 1);

        rtt.back_off();
        rtt.back_off();

        assert_eq!(rtt.timeout(), 4 * 300_000);
        rtt.on_sample(100_000, 1, 2);
        assert_eq!(rtt.timeout(), 300_000);
    }

    #[test]
    fn jitter_raises_the_timeout() {
        let mut rtt = Rtt::default();
        for round in 0..200 {
            rtt.on_sample(if round % 2 == 0 { 100_000 } else { 400_000 }, round, round + 1);
        }

        assert!(rtt.timeout() > 700_000, "{}", rtt.timeout());
    }
}
