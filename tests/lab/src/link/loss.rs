//! Which packets vanish.

use rand::RngExt;
use rand::rngs::StdRng;

use super::config::Loss;

/// Decides for one packet after the other.
#[derive(Debug)]
pub(super) struct LossProcess {
    random: StdRng,
    weather: Weather,
}

impl LossProcess {
    pub(super) fn new(random: StdRng) -> Self {
        Self { random, weather: Weather::Good }
    }

    /// Whether the next packet vanishes.
    pub(super) fn strikes(&mut self, loss: Loss) -> bool {
        match loss {
            Loss::Bursts { mean, burst } => {
                // In the long run the bad state holds a share `mean` of the packets and lasts
                // `burst` of them: to_bad / (to_bad + to_good) = mean, to_good = 1 / burst.
                let to_good = 1.0 / burst.max(1.0);
                let mean = mean.clamp(0.0, 1.0);
                let to_bad = if mean < 1.0 { mean * to_good / (1.0 - mean) } else { 1.0 };
                self.chain(to_bad, if mean < 1.0 { to_good } else { 0.0 }, 0.0, 1.0)
            }
            Loss::GilbertElliott { to_bad, to_good, good, bad } => {
                self.chain(to_bad, to_good, good, bad)
            }
            Loss::Independent { probability } => self.happens(probability),
            Loss::None => false,
        }
    }

    fn chain(&mut self, to_bad: f64, to_good: f64, good: f64, bad: f64) -> bool {
        let (turn, other) = match self.weather {
            Weather::Bad => (to_good, Weather::Good),
            Weather::Good => (to_bad, Weather::Bad),
        };
        if self.happens(turn) {
            self.weather = other;
        }
        let probability = match self.weather {
            Weather::Bad => bad,
            Weather::Good => good,
        };
        self.happens(probability)
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability.clamp(0.0, 1.0))
    }
}

#[derive(Clone, Copy, Debug)]
enum Weather {
    Bad,
    Good,
}
