//! The delay that varies.

use std::f64::consts::TAU;

use rand::RngExt;
use rand::rngs::StdRng;

use super::config::{Jitter, JitterLaw};

/// Draws |N(0, sigma)|, anew for each interval or for each packet.
#[derive(Debug)]
pub(super) struct JitterProcess {
    random: StdRng,
    /// The absolute value of a standard normal variable that holds at present.
    drawn: f64,
    /// The interval it was drawn in.
    interval: Option<u64>,
}

impl JitterProcess {
    pub(super) fn new(random: StdRng) -> Self {
        Self { random, drawn: 0.0, interval: None }
    }

    /// The jitter of a packet that leaves the bottleneck at `at_ns`, in nanoseconds.
    pub(super) fn draw_ns(&mut self, jitter: Jitter, at_ns: u64) -> u64 {
        if jitter.sigma_us == 0 {
            return 0;
        }
        match jitter.law {
            JitterLaw::Held { interval_us } => {
                let interval = at_ns / (interval_us.max(1) * 1000);
                if self.interval != Some(interval) {
                    self.interval = Some(interval);
                    self.drawn = self.half_normal();
                }
            }
            JitterLaw::PerPacket => self.drawn = self.half_normal(),
        }
        (self.drawn * jitter.sigma_us as f64 * 1000.0) as u64
    }

    /// The absolute value of a standard normal variable (Box and Muller, 1958).
    fn half_normal(&mut self) -> f64 {
        let radius: f64 = self.random.random_range(f64::EPSILON..1.0);
        let angle: f64 = self.random.random_range(0.0..TAU);
        ((-2.0 * radius.ln()).sqrt() * angle.cos()).abs()
    }
}
