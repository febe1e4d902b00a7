//! What the ratios must hold.

use super::figures::Figures;
use super::measure::{CLIENT_WORK, LONE_P50, LONE_P99, PACKETS_200, SERVER_WORK, UP};

/// One line that must hold between two systems within a round.
pub(super) struct Line {
    ours: &'static str,
    other: &'static str,
    shown: &'static str,
    bound: Bound,
}

/// What holds of our value and the other's.
#[derive(Clone, Copy)]
enum Bound {
    /// Ours is at least so many times the other.
    Times(f64),
    /// Ours is at most so many times the other.
    Within(f64),
    /// Ours is at most so much more, in the measure's unit.
    More(f64),
}

const fn line(ours: &'static str, other: &'static str, shown: &'static str, bound: Bound) -> Line {
    Line { ours, other, shown, bound }
}

/// Debian's wireguard-go knows no segmentation offload; one that does is 2.6 times as fast on the same machine.
pub(super) const LINES: [Line; 12] = [
    line("hawser", "wireguard-go", UP, Bound::Times(6.5)),
    line("hawser-chacha", "wireguard-go", UP, Bound::Times(1.7 * 2.6)),
    line("hawser", "boringtun", UP, Bound::Times(5.0)),
    line("hawser", "relay-aes", UP, Bound::Times(0.8)),
    line("hawser-two", "hawser", UP, Bound::Times(0.9)),
    line("hawser-duplicate", "hawser-two", UP, Bound::Times(0.5)),
    line("hawser", "wireguard-go", PACKETS_200, Bound::Times(2.0)),
    line("hawser", "boringtun", PACKETS_200, Bound::Times(2.0)),
    line("hawser", "wireguard-go", CLIENT_WORK, Bound::Within(0.5)),
    line("hawser", "wireguard-go", SERVER_WORK, Bound::Within(0.5)),
    line("hawser", "relay-aes", LONE_P50, Bound::More(20.0)),
    line("hawser", "relay-aes", LONE_P99, Bound::More(100.0)),
];

impl Line {
    /// Whether it holds in the median of the rounds, and in words; `None` if it was not measured.
    pub(super) fn judge(&self, figures: &Figures) -> Option<(bool, String)> {
        let Self { ours, other, shown, bound } = self;
        let compare = |ours: f64, other: f64| match bound {
            Bound::Times(_) | Bound::Within(_) => ours / other,
            Bound::More(_) => ours - other,
        };
        let [median, least, most] = figures.compared(ours, other, shown, compare)?;
        let (holds, wanted) = match bound {
            Bound::Times(times) => (median >= *times, format!("at least {times:.2} x")),
            Bound::Within(times) => (median <= *times, format!("at most {times:.2} x")),
            Bound::More(more) => (median <= *more, format!("at most {more:.0} more than")),
        };
        let words = format!(
            "{shown}: {ours} is to be {wanted} {other}: {median:.2} (from {least:.2} to {most:.2})"
        );
        Some((holds, words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speed::figures::Figure;

    #[test]
    fn a_line_is_judged_by_the_median_of_ratios_within_rounds() {
        let rounds = [(9.0, 10.0), (8.5, 10.0), (1.0, 10.0)];
        let mut figures = Figures::default();
        for (round, (ours, other)) in rounds.into_iter().enumerate() {
            for (system, value) in [("hawser", ours), ("relay-aes", other)] {
                let system = system.to_owned();
                figures.push(Figure { round, system, shown: UP, unit: "Gbit/s", value });
            }
        }

        let judged: Vec<_> = LINES.iter().filter_map(|line| line.judge(&figures)).collect();

        assert_eq!(judged.len(), 1, "what was not measured is not judged");
        assert!(judged[0].0);
        assert!(judged[0].1.ends_with("0.85 (from 0.10 to 0.90)"), "{}", judged[0].1);
    }
}
