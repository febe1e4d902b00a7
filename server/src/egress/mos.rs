//! How good a call sounds: the E-model of ITU-T G.107 in its short form, for G.711 with
//! loss concealment.

use std::time::Duration;

/// The mean opinion score of a call, 1 (bad) to 4.5, from the delay of one way and the fraction of
/// packets that are lost.
pub(super) fn mos(delay: Duration, loss: f64) -> f64 {
    let milliseconds = delay.as_secs_f64() * 1000.0;
    // Delay hurts twice as much once people begin to talk into each other (G.107, figure of Idd;
    // the straight lines are those of Cole and Rosenbluth, 2001).
    let by_delay = 0.024 * milliseconds + 0.11 * (milliseconds - 177.3).max(0.0);
    let percent = loss * 100.0;
    let by_loss = 95.0 * percent / (percent + LOSS_ROBUSTNESS);
    let rating = (93.2 - by_delay - by_loss).clamp(0.0, 100.0);
    1.0 + 0.035 * rating + 7e-6 * rating * (rating - 60.0) * (100.0 - rating)
}

/// Bpl of ITU-T G.113 for G.711 with loss concealment.
const LOSS_ROBUSTNESS: f64 = 25.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_the_published_scores() {
        for (delay, loss, expected) in
            [(50, 0.0, 4.385), (150, 0.01, 4.228), (250, 0.03, 3.553), (100, 0.01, 4.263)]
        {
            let score = mos(Duration::from_millis(delay), loss);
            assert!((score - expected).abs() < 0.001, "{delay} ms, {loss}: {score}");
        }
    }

    #[test]
    fn the_worst_is_one() {
        assert!((mos(Duration::from_secs(10), 1.0) - 1.0).abs() < 0.001);
    }
}
