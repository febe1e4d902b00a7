//! Situations that nobody chose: two to four links, drawn from a number.

use lab::LinkSpec;
use lab::link::{Jitter, JitterLaw, LinkConfig, Loss, QueueLimit, Rate, Trace};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Against, Figure, Limit, Load, NOT_BELOW, Scenario, WARM_UP};

/// The situation of this number: the same each time.
pub fn drawn(number: u64, seconds: u64) -> Scenario {
    let mut draw = Draw(StdRng::seed_from_u64(number));
    let links: Vec<LinkSpec> =
        (0..draw.links()).map(|index| draw.link(NAMES[index], seconds)).collect();
    let limits = limits(&links);
    let plain = Scenario::bulk(&format!("drawn-{number}"), links).with(&[Load::Ping]);
    Scenario { seconds, against: Against::BetterLink, ..plain }.holds(limits)
}

/// What its links are, in words.
pub fn describe(scenario: &Scenario) -> String {
    let links: Vec<String> = scenario.links.iter().map(describe_link).collect();
    format!("{}: {}", scenario.name, links.join(" | "))
}

fn describe_link(link: &LinkSpec) -> String {
    let LinkConfig { rate, delay_us, jitter, loss, queue, .. } = &link.up;
    let ms = |us: u64| us as f64 / 1000.0;
    let mbit = rate.mean_bits_per_second().unwrap_or_default() as f64 / 1e6;
    let wanders = if matches!(rate, Rate::Trace(_)) { "~" } else { "" };
    let mut text = format!("{} {wanders}{mbit:.1}M/{:.0}ms", link.name, ms(2 * delay_us));
    match jitter.law {
        _ if jitter.sigma_us == 0 => {}
        JitterLaw::Held { interval_us } => {
            text += &format!(" jitter {:.1}ms/{:.0}ms", ms(jitter.sigma_us), ms(interval_us));
        }
        JitterLaw::PerPacket => text += &format!(" jitter {:.1}ms", ms(jitter.sigma_us)),
    }
    match loss {
        Loss::Bursts { mean, burst } => {
            text += &format!(" loss {:.2}% x{burst:.1}", mean * 100.0);
        }
        _ if mean_loss(*loss) > 0.0 => text += &format!(" loss {:.2}%", mean_loss(*loss) * 100.0),
        _ => {}
    }
    if let QueueLimit::Time { us } = queue {
        text += &format!(" queue {:.0}ms", ms(*us));
    }
    text
}

/// The lines of the sixteen environments.
fn limits(links: &[LinkSpec]) -> Vec<Limit> {
    let delays = || links.iter().map(|link| link.up.delay_us + link.down.delay_us);
    let spread_us = delays().max().unwrap_or_default() - delays().min().unwrap_or_default();
    let lossy = links.iter().any(|link| mean_loss(link.up.loss) > 0.005);
    let mut limits = vec![Limit::at_least(Figure::Against, NOT_BELOW)];
    if spread_us <= 100_000 && !lossy {
        limits.push(Limit::at_least(Figure::Share, 0.90));
    }
    limits
}

fn mean_loss(loss: Loss) -> f64 {
    match loss {
        Loss::Bursts { mean, .. } => mean,
        Loss::Independent { probability } => probability,
        Loss::GilbertElliott { .. } | Loss::None => 0.0,
    }
}

struct Draw(StdRng);

impl Draw {
    fn links(&mut self) -> usize {
        match self.0.random_range(0..10) {
            0..6 => 2,
            6..9 => 3,
            _ => 4,
        }
    }

    fn link(&mut self, name: &str, seconds: u64) -> LinkSpec {
        let mbit = self.between(4.0, 300.0);
        let mut config = LinkConfig::mbit(1, self.between(2500.0, 100_000.0) as u64);
        let bits_per_second = (mbit * 1e6) as u64;
        config.rate = Rate::Constant { bits_per_second };
        // What counts has to be a whole turn of it.
        if mbit < 60.0 && self.one_in(4) {
            let counted = seconds.saturating_sub(WARM_UP).max(1);
            config.rate =
                Rate::Trace(Trace::generate(self.0.random(), bits_per_second, counted * 1000));
        }
        config.queue = QueueLimit::Time { us: self.between(30_000.0, 800_000.0) as u64 };
        if self.one_in(2) {
            let law = match self.one_in(4) {
                true => JitterLaw::PerPacket,
                false => JitterLaw::Held { interval_us: self.between(2000.0, 60_000.0) as u64 },
            };
            config.jitter = Jitter { sigma_us: self.between(500.0, 15_000.0) as u64, law };
        }
        config.loss = match self.0.random_range(0..4) {
            0 => Loss::Independent { probability: self.between(0.000_3, 0.02) },
            1 => Loss::Bursts { mean: self.between(0.000_3, 0.01), burst: self.between(1.5, 8.0) },
            _ => Loss::None,
        };
        LinkSpec::with(name, config)
    }

    /// Evenly by its logarithm.
    fn between(&mut self, least: f64, most: f64) -> f64 {
        self.0.random_range(least.ln()..most.ln()).exp()
    }

    fn one_in(&mut self, times: u32) -> bool {
        self.0.random_range(0..times) == 0
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_gives_the_same_situation_each_time_and_another_one_another() {
        let same = |a: u64, b: u64| drawn(a, 10).links == drawn(b, 10).links;

        assert!(same(7, 7));
        assert!(!same(7, 8));
        for number in 0..200 {
            let links = drawn(number, 10).links.len();
            assert!((2..=4).contains(&links), "{number}: {links}");
        }
    }
}
