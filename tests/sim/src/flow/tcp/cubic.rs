//! CUBIC (RFC 9438) with HyStart, as Linux has it.

use super::control::Window;

/// State of one sender. Windows are in segments, times in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cubic {
    /// Window before the last reduction.
    window_max: f64,
    /// When the growth began; nothing right after a reduction.
    epoch: Option<Epoch>,
    /// Acknowledged segments not yet turned into growth.
    credit: f64,
    delay_min: Option<u64>,
    hystart: HyStart,
}

/// A stretch of growth between two reductions.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    begun_at: u64,
    /// Seconds from the beginning to the plateau.
    plateau_after: f64,
    /// Window at the plateau.
    plateau: f64,
    /// What Reno would have reached: the TCP-friendly region.
    reno: f64,
    /// Segments acknowledged towards Reno's next increase.
    reno_credit: f64,
    /// Segments acknowledged for each one of growth, and when this was computed.
    cost: f64,
    cost_at: u64,
    cost_window: u32,
}

impl Cubic {
    /// Notes a loss, and returns the slow-start threshold.
    pub(crate) fn on_reduction(&mut self, window: u32) -> u32 {
        let window = f64::from(window);
        self.epoch = None;
        // Fast convergence, RFC 9438, section 4.7.
        let shrank = window < self.window_max;
        self.window_max = if shrank { window * (1.0 + BETA) / 2.0 } else { window };
        ((window * BETA) as u32).max(2)
    }

    /// Forgets everything, after a timeout.
    pub(crate) fn on_timeout(&mut self) {
        *self = Self::default();
    }

    /// Takes a round-trip time; `acknowledged` and `next` delimit the data in flight. HyStart may
    /// end slow start by it.
    pub(crate) fn on_rtt(
        &mut self,
        now: u64,
        rtt: u64,
        (acknowledged, next): (u64, u64),
        window: &mut Window,
    ) {
        // Samples right after a recovery show its queue and its idle times.
        if self.epoch.is_some_and(|epoch| now - epoch.begun_at < EPOCH_SETTLE) {
            return;
        }
        let rtt = rtt.max(1);
        let delay_min = self.delay_min.map_or(rtt, |min| min.min(rtt));
        self.delay_min = Some(delay_min);
        let applies = window.is_slow_start() && window.size >= HYSTART_WINDOW_MIN;
        if !self.hystart.found && applies {
            if acknowledged > self.hystart.round_end {
                self.hystart.begin_round(now, next);
            }
            self.hystart.on_rtt(now, rtt, delay_min);
            if self.hystart.found {
                window.threshold = window.size;
            }
        }
    }

    /// Grows the window for `acknowledged` segments; the caller has made sure that it was used.
    pub(crate) fn on_acknowledged(&mut self, now: u64, acknowledged: u32, window: &mut Window) {
        let rest = window.grow_in_slow_start(acknowledged);
        if rest == 0 {
            return;
        }
        let cost = self.cost(now, f64::from(rest), window.size);
        // Credit earned at a higher price buys one segment at once.
        if self.credit >= cost {
            self.credit = 0.0;
            window.size += 1;
        }
        self.credit += f64::from(rest);
        if self.credit >= cost {
            let growth = (self.credit / cost).floor();
            self.credit -= growth * cost;
            window.size += growth as u32;
        }
    }

    /// How many acknowledged segments one segment of growth costs.
    fn cost(&mut self, now: u64, acknowledged: f64, size: u32) -> f64 {
        let window = f64::from(size);
        let (window_max, delay_min) = (self.window_max, self.delay_min.unwrap_or(0));
        let epoch = self.epoch.get_or_insert_with(|| Epoch::new(now, window, window_max));
        epoch.reno_credit += acknowledged;
        let fresh = epoch.cost > 0.0 && now - epoch.cost_at <= COST_LIFETIME;
        if fresh && epoch.cost_window == size {
            return epoch.cost;
        }
        let elapsed = (now - epoch.begun_at + delay_min) as f64 / 1e6;
        let target = epoch.plateau + SCALE * (elapsed - epoch.plateau_after).powi(3);
        let mut cost = if target > window { window / (target - window) } else { 100.0 * window };
        // Before the first loss nothing is known to grow towards: at least 5 % a round trip.
        if window_max == 0.0 {
            cost = cost.min(20.0);
        }
        // TCP-friendly region, RFC 9438, section 4.3: never slower than Reno with this beta.
        let reno_cost = window * (1.0 + BETA) / (3.0 * (1.0 - BETA));
        let growth = (epoch.reno_credit / reno_cost).floor();
        epoch.reno_credit -= growth * reno_cost;
        epoch.reno += growth;
        if epoch.reno > window {
            cost = cost.min(window / (epoch.reno - window));
        }
        // At most one segment for two acknowledged ones.
        epoch.cost = cost.max(2.0);
        (epoch.cost_at, epoch.cost_window) = (now, size);
        epoch.cost
    }
}

impl Epoch {
    fn new(now: u64, window: f64, window_max: f64) -> Self {
        let (plateau_after, plateau) = if window_max <= window {
            (0.0, window)
        } else {
            (((window_max - window) / SCALE).cbrt(), window_max)
        };
        Self {
            begun_at: now,
            plateau_after,
            plateau,
            reno: window,
            reno_credit: 0.0,
            cost: 0.0,
            cost_at: now,
            cost_window: 0,
        }
    }
}

/// Finds the end of slow start before loss does, by round-trip times that rise and by the length
/// of a train of acknowledgments (the two rules of Linux).
#[derive(Clone, Copy, Debug, Default)]
struct HyStart {
    found: bool,
    round_begun_at: u64,
    /// The round ends when this is acknowledged.
    round_end: u64,
    last_acknowledgment_at: u64,
    samples: u32,
    rtt_min: Option<u64>,
}

impl HyStart {
    fn begin_round(&mut self, now: u64, next: u64) {
        *self = Self {
            round_begun_at: now,
            round_end: next,
            last_acknowledgment_at: now,
            ..Self::default()
        };
    }

    fn on_rtt(&mut self, now: u64, rtt: u64, delay_min: u64) {
        if now - self.last_acknowledgment_at <= TRAIN_GAP_MAX {
            self.last_acknowledgment_at = now;
            // Half: without pacing a train is as long as what was sent in half a round trip.
            self.found |= now - self.round_begun_at > delay_min / 2;
        }
        let rtt_min = self.rtt_min.map_or(rtt, |min| min.min(rtt));
        self.rtt_min = Some(rtt_min);
        self.samples += 1;
        if self.samples > SAMPLES_MIN {
            let allowed = (delay_min / 8).clamp(RISE_MIN, RISE_MAX);
            self.found |= rtt_min > delay_min + allowed;
        }
    }
}

/// Multiplicative decrease, RFC 9438, section 4.6.
const BETA: f64 = 0.7;
/// Scale of the cubic, segments per cubed second: RFC 9438, section 5.
const SCALE: f64 = 0.4;
/// How long a computed cost is good for while the window stays: 1/32 s, as in Linux.
const COST_LIFETIME: u64 = 31_250;
/// Round-trip times are not looked at for so long after an epoch began.
const EPOCH_SETTLE: u64 = 1_000_000;

/// HyStart leaves windows below this alone, segments.
const HYSTART_WINDOW_MIN: u32 = 16;
/// Acknowledgments further apart than this are not of one train.
const TRAIN_GAP_MAX: u64 = 2_000;
/// Round-trip times of a round to see before its minimum counts.
const SAMPLES_MIN: u32 = 8;
/// Bounds of the rise that ends slow start.
const RISE_MIN: u64 = 4_000;
const RISE_MAX: u64 = 16_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_returns_to_its_former_size_after_the_time_of_the_formula() {
        let mut cubic = Cubic::default();
        let mut window = Window { size: 1000, threshold: 1000 };
        window.threshold = cubic.on_reduction(window.size);
        window.size = window.threshold;
        assert_eq!(window.size, 700);

        // K = cbrt(1000 × 0.3 / 0.4) = 9.09 s; a round trip of 100 ms.
        let mut now = 0;
        while window.size < 990 {
            cubic.on_rtt(now, 100_000, (0, 1), &mut window);
            cubic.on_acknowledged(now, window.size, &mut window);
            now += 100_000;
        }

        assert!((6_000_000..9_500_000).contains(&now), "{now}");
    }

    #[test]
    fn a_rising_round_trip_time_ends_slow_start() {
        let mut cubic = Cubic::default();
        let mut window = Window { size: 20, threshold: u32::MAX };
        for (number, rtt) in (0..).zip([40_000; 20].into_iter().chain([46_000; 20])) {
            // Acknowledgments 3 ms apart are no train; a round is ten of them.
            let (now, round) = (number * 3_000, number / 10 * 10);
            cubic.on_rtt(now, rtt, (number, round + 10), &mut window);
        }

        assert_eq!(window.threshold, 20);
    }

    #[test]
    fn a_long_train_of_acknowledgments_ends_slow_start() {
        let mut cubic = Cubic::default();
        let mut window = Window { size: 100, threshold: u32::MAX };
        let mut now = 0;
        while window.threshold == u32::MAX {
            cubic.on_rtt(now, 40_000, (1, 2), &mut window);
            now += 1_000;
        }

        assert!((20_000..=23_000).contains(&now), "{now}");
    }
}
