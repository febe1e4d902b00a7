//! BBR version 1, as Linux has it (draft-cardwell-iccrg-bbr-congestion-control-00), without its
//! detection of token-bucket policers.

use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::control::Window;
use super::rate::RateSample;

/// State of one sender. Windows are in segments, times in microseconds, rates in segments a
/// microsecond.
#[derive(Debug)]
pub(crate) struct Bbr {
    mode: Mode,
    rounds: Rounds,
    bandwidth: MaxFilter,
    min_rtt: Option<u64>,
    min_rtt_at: u64,
    /// The plateau of the bandwidth during start-up.
    full_bandwidth: f64,
    full_bandwidth_rounds: u32,
    is_full: bool,
    /// Phase of the gain cycle and when it began.
    phase: usize,
    phase_begun_at: u64,
    /// When the low window of a round-trip probe ends, once it is reached.
    probe_ends_at: Option<u64>,
    probe_round_done: bool,
    aggregation: Aggregation,
    /// Window to return to after a recovery or a probe.
    saved_window: u32,
    was_recovering: bool,
    conserves: bool,
    pacing_rate: Option<f64>,
    random: StdRng,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    Drain,
    ProbeBandwidth,
    ProbeRtt,
    Startup,
}

impl Bbr {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            mode: Mode::Startup,
            rounds: Rounds::default(),
            bandwidth: MaxFilter::default(),
            min_rtt: None,
            min_rtt_at: 0,
            full_bandwidth: 0.0,
            full_bandwidth_rounds: 0,
            is_full: false,
            phase: 0,
            phase_begun_at: 0,
            probe_ends_at: None,
            probe_round_done: false,
            aggregation: Aggregation::default(),
            saved_window: 0,
            was_recovering: false,
            conserves: false,
            pacing_rate: None,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Segments per second.
    pub(crate) fn pacing_rate(&self) -> Option<f64> {
        self.pacing_rate.map(|rate| rate * 1e6)
    }

    /// Paces a first window over one round trip, faster by the gain.
    pub(crate) fn begin_pacing(&mut self, rtt: u64, window: &Window) {
        self.pacing_rate = Some(f64::from(window.size) / rtt.max(1) as f64 * STARTUP_GAIN);
    }

    /// Notes that a recovery begins.
    pub(crate) fn on_recovery(&mut self, window: u32) {
        self.save_window(window);
    }

    /// Notes a retransmission timeout.
    pub(crate) fn on_timeout(&mut self) {
        self.was_recovering = true;
        self.full_bandwidth = 0.0;
    }

    /// Notes that a recovery is taken back.
    pub(crate) fn on_undo(&mut self) {
        self.full_bandwidth = 0.0;
        self.full_bandwidth_rounds = 0;
    }

    /// Takes the sample of one acknowledgment, and sets the window.
    pub(crate) fn on_rate(&mut self, sample: &RateSample, window: &mut Window) {
        let sampled = sample.rate.filter(|&(_, interval)| interval > 0);
        let round_started = sampled.is_some() && self.rounds.on_sample(sample);
        if round_started {
            self.conserves = false;
        }
        if let Some((segments, interval)) = sampled {
            let rate = segments as f64 / interval as f64;
            if !sample.is_limited || rate >= self.bandwidth.max() {
                self.bandwidth.insert(self.rounds.count, rate);
            }
            let bandwidth = self.bandwidth.max();
            self.aggregation.on_sample(sample, bandwidth, round_started, window.size);
        }
        self.advance_phase(sample);
        self.find_plateau(sample, round_started);
        self.drain(sample);
        self.measure_min_rtt(sample, round_started, window);
        self.set_pacing_rate(sample, window);
        self.set_window(sample, window);
    }

    fn gains(&self) -> (f64, f64) {
        match self.mode {
            Mode::Drain => (1.0 / STARTUP_GAIN, STARTUP_GAIN),
            Mode::ProbeBandwidth => (CYCLE[self.phase], WINDOW_GAIN),
            Mode::ProbeRtt => (1.0, 1.0),
            Mode::Startup => (STARTUP_GAIN, STARTUP_GAIN),
        }
    }

    fn advance_phase(&mut self, sample: &RateSample) {
        if self.mode != Mode::ProbeBandwidth {
            return;
        }
        let long = sample.now - self.phase_begun_at > self.min_rtt.unwrap_or(0);
        let in_flight = sample.prior_in_flight;
        let gain = CYCLE[self.phase];
        let over = if gain > 1.0 {
            long && (sample.lost > 0 || in_flight >= self.in_flight_for(gain))
        } else {
            long || (gain < 1.0 && in_flight <= self.in_flight_for(1.0))
        };
        if over {
            self.phase = (self.phase + 1) % CYCLE.len();
            self.phase_begun_at = sample.now;
        }
    }

    fn find_plateau(&mut self, sample: &RateSample, round_started: bool) {
        if self.is_full || !round_started || sample.is_limited {
            return;
        }
        let bandwidth = self.bandwidth.max();
        if bandwidth >= self.full_bandwidth * 1.25 {
            self.full_bandwidth = bandwidth;
            self.full_bandwidth_rounds = 0;
            return;
        }
        self.full_bandwidth_rounds += 1;
        self.is_full = self.full_bandwidth_rounds >= 3;
    }

    fn drain(&mut self, sample: &RateSample) {
        if self.mode == Mode::Startup && self.is_full {
            self.mode = Mode::Drain;
        }
        if self.mode == Mode::Drain && sample.in_flight <= self.in_flight_for(1.0) {
            self.begin_cycle(sample.now);
        }
    }

    fn begin_cycle(&mut self, now: u64) {
        self.mode = Mode::ProbeBandwidth;
        // Any phase but the draining one, so that flows do not probe in step.
        let back = self.random.random_range(0..CYCLE.len() - 1);
        self.phase = (CYCLE.len() - back) % CYCLE.len();
        self.phase_begun_at = now;
    }

    /// Only a smaller round trip keeps the old one young (Linux since 5.11).
    fn measure_min_rtt(&mut self, sample: &RateSample, round_started: bool, window: &mut Window) {
        let now = sample.now;
        let is_old = now > self.min_rtt_at + MIN_RTT_LIFETIME;
        if let Some(rtt) = sample.rtt
            && (is_old || self.min_rtt.is_none_or(|min| rtt < min))
        {
            self.min_rtt = Some(rtt.max(1));
            self.min_rtt_at = now;
        }
        if is_old && self.mode != Mode::ProbeRtt {
            self.mode = Mode::ProbeRtt;
            self.save_window(window.size);
            self.probe_ends_at = None;
        }
        if self.mode != Mode::ProbeRtt {
            return;
        }
        match self.probe_ends_at {
            None if sample.in_flight <= WINDOW_MIN => {
                self.probe_ends_at = Some(now + PROBE_RTT_TIME);
                self.probe_round_done = false;
                self.rounds.end = sample.delivered;
            }
            None => {}
            Some(ends_at) => {
                self.probe_round_done |= round_started;
                if self.probe_round_done && now > ends_at {
                    self.end_probe(now, window);
                }
            }
        }
    }

    fn end_probe(&mut self, now: u64, window: &mut Window) {
        self.min_rtt_at = now;
        window.size = window.size.max(self.saved_window);
        if self.is_full {
            self.begin_cycle(now);
        } else {
            self.mode = Mode::Startup;
        }
    }

    fn set_pacing_rate(&mut self, sample: &RateSample, window: &Window) {
        let bandwidth = self.bandwidth.max();
        if bandwidth == 0.0 {
            self.begin_pacing(sample.smoothed_rtt.unwrap_or(1_000), window);
            return;
        }
        let rate = bandwidth * self.gains().0 * PACING_MARGIN;
        if self.is_full || self.pacing_rate.is_none_or(|pacing_rate| rate > pacing_rate) {
            self.pacing_rate = Some(rate);
        }
    }

    fn set_window(&mut self, sample: &RateSample, window: &mut Window) {
        if sample.acknowledged > 0 && !self.recover(sample, window) {
            let allowance = if self.is_full {
                (self.bandwidth.max() * AGGREGATION_MAX).min(self.aggregation.max())
            } else {
                0.0
            };
            let target = self.quantized(self.product(self.gains().1) + allowance);
            if self.is_full {
                window.size = (window.size + sample.acknowledged).min(target);
            } else if window.size < target || sample.delivered < u64::from(WINDOW_INITIAL) {
                window.size += sample.acknowledged;
            }
            window.size = window.size.max(WINDOW_MIN);
        }
        if self.mode == Mode::ProbeRtt {
            window.size = window.size.min(WINDOW_MIN);
        }
    }

    /// Follows a recovery; returns whether that alone decides about the window.
    fn recover(&mut self, sample: &RateSample, window: &mut Window) -> bool {
        window.size = window.size.saturating_sub(sample.lost).max(1);
        if sample.is_recovering && !self.was_recovering {
            self.conserves = true;
            self.rounds.end = sample.delivered;
            window.size = sample.in_flight + sample.acknowledged;
        } else if !sample.is_recovering && self.was_recovering {
            window.size = window.size.max(self.saved_window);
            self.conserves = false;
        }
        self.was_recovering = sample.is_recovering;
        if self.conserves {
            window.size = window.size.max(sample.in_flight + sample.acknowledged);
        }
        self.conserves
    }

    fn save_window(&mut self, window: u32) {
        let keeps = self.was_recovering || self.mode == Mode::ProbeRtt;
        self.saved_window = if keeps { self.saved_window.max(window) } else { window };
    }

    /// Bandwidth × delay × `gain`.
    fn product(&self, gain: f64) -> f64 {
        match self.min_rtt {
            Some(min_rtt) => (self.bandwidth.max() * min_rtt as f64 * gain).ceil(),
            None => f64::from(WINDOW_INITIAL),
        }
    }

    /// Adds what keeps senders and receivers busy that work in bursts.
    fn quantized(&self, window: f64) -> u32 {
        let bursts = 3.0 * self.burst();
        let even = (window + bursts + 1.0) as u32 & !1;
        let probes = self.mode == Mode::ProbeBandwidth && self.phase == 0;
        even + if probes { 2 } else { 0 }
    }

    fn in_flight_for(&self, gain: f64) -> u32 {
        self.quantized(self.product(gain))
    }

    /// Segments of a burst: what the pacing rate sends in a millisecond.
    fn burst(&self) -> f64 {
        (self.pacing_rate.unwrap_or(0.0) * 1024.0).clamp(1.0, 44.0).floor()
    }
}

/// Counts round trips by deliveries.
#[derive(Clone, Debug, Default)]
struct Rounds {
    count: u64,
    /// The round ends when a segment is delivered that was sent after so many deliveries.
    end: u64,
}

impl Rounds {
    fn on_sample(&mut self, sample: &RateSample) -> bool {
        if sample.prior_delivered < self.end {
            return false;
        }
        self.end = sample.delivered;
        self.count += 1;
        true
    }
}

/// The largest rate of the last [`BANDWIDTH_ROUNDS`].
#[derive(Clone, Debug, Default)]
struct MaxFilter {
    /// The largest rate of each round, by the round's number.
    slots: [(u64, f64); BANDWIDTH_ROUNDS],
    max: f64,
}

impl MaxFilter {
    fn insert(&mut self, round: u64, rate: f64) {
        let slot = &mut self.slots[(round % BANDWIDTH_ROUNDS as u64) as usize];
        *slot = if slot.0 == round { (round, slot.1.max(rate)) } else { (round, rate) };
        let recent = |slot: &&(u64, f64)| slot.0 + BANDWIDTH_ROUNDS as u64 > round;
        self.max = self.slots.iter().filter(recent).map(|slot| slot.1).fold(0.0, f64::max);
    }

    fn max(&self) -> f64 {
        self.max
    }
}

/// How much more than the bandwidth explains is acknowledged at once.
#[derive(Clone, Debug, Default)]
struct Aggregation {
    begun_at: u64,
    acknowledged: f64,
    /// Largest excess of this window of five rounds and of the one before.
    excess: [f64; 2],
    rounds: u32,
}

impl Aggregation {
    fn on_sample(&mut self, sample: &RateSample, bandwidth: f64, round_started: bool, window: u32) {
        if round_started {
            self.rounds += 1;
            if self.rounds >= 5 {
                self.rounds = 0;
                self.excess = [0.0, self.excess[0]];
            }
        }
        let mut expected = bandwidth * (sample.now - self.begun_at) as f64;
        if self.acknowledged <= expected {
            (self.begun_at, self.acknowledged, expected) = (sample.now, 0.0, 0.0);
        }
        self.acknowledged += f64::from(sample.acknowledged);
        let excess = (self.acknowledged - expected).min(f64::from(window));
        self.excess[0] = self.excess[0].max(excess);
    }

    fn max(&self) -> f64 {
        self.excess[0].max(self.excess[1])
    }
}

/// 2/ln 2: the smallest gain that doubles the rate each round trip.
const STARTUP_GAIN: f64 = 2.885;
/// Window over the bandwidth-delay product while probing for bandwidth.
const WINDOW_GAIN: f64 = 2.0;
/// Pacing gains while probing for bandwidth.
const CYCLE: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
const BANDWIDTH_ROUNDS: usize = 10;
const MIN_RTT_LIFETIME: u64 = 10_000_000;
const PROBE_RTT_TIME: u64 = 200_000;
/// Paces 1 % below the bandwidth, so that queues drain.
const PACING_MARGIN: f64 = 0.99;
const WINDOW_MIN: u32 = 4;
const WINDOW_INITIAL: u32 = 10;
/// The allowance for aggregation is at most what is delivered in this time.
const AGGREGATION_MAX: f64 = 100_000.0;
