//! Links, drawn at random.

use lab::link::{Jitter, LinkConfig, Loss, QueueLimit};
use rand::RngExt;
use rand::rngs::StdRng;

/// A clean link of any rate and delay.
pub(super) fn clean(random: &mut StdRng) -> LinkConfig {
    let rate = [1, 2, 5, 10, 20, 50, 100][random.random_range(0..7)];
    let mut link = LinkConfig::mbit(rate, random.random_range(100..120_000));
    link.queue = QueueLimit::Time { us: random.random_range(50_000..1_000_000) };
    link
}

/// A link of any kind.
pub(super) fn any(random: &mut StdRng) -> LinkConfig {
    let mut link = clean(random);
    link.loss = loss(random);
    link.jitter = jitter(random);
    if random.random_bool(0.2) {
        link.duplication = random.random_range(0.0..0.1);
    }
    if random.random_bool(0.2) {
        link.mtu = [1280, 1358, 1400, 1492][random.random_range(0..4)];
    }
    link
}

/// Mostly little loss, sometimes a lot, sometimes bursts.
pub(super) fn loss(random: &mut StdRng) -> Loss {
    match random.random_range(0..5) {
        0 | 1 => Loss::None,
        2 => Loss::Independent { probability: random.random_range(0.0..0.02) },
        3 => Loss::Independent { probability: random.random_range(0.0..0.3) },
        _ => Loss::Bursts { mean: random.random_range(0.0..0.1), burst: 5.0 },
    }
}

/// Up to what a bad radio has.
pub(super) fn jitter(random: &mut StdRng) -> Jitter {
    Jitter::held(if random.random_bool(0.5) { 0 } else { random.random_range(0..15_000) })
}
