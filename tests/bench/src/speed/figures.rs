//! What was measured, and its tables.

use serde::Serialize;
use shared::grid::{Cell, Colour, Grid};

use super::measure::Shown;
use super::system::System;

/// What a system showed in one round.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    pub(super) round: usize,
    pub(super) system: String,
    pub(super) shown: &'static str,
    pub(super) unit: &'static str,
    pub(super) value: f64,
}

/// All of them.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures(Vec<Figure>);

impl Figures {
    pub(super) fn push(&mut self, figure: Figure) {
        self.0.push(figure);
    }

    /// Median, least and greatest of what `compare` makes of two systems' values in each round. `None`
    /// if no round has both.
    pub(super) fn compared(
        &self,
        ours: &str,
        other: &str,
        shown: &str,
        compare: impl Fn(f64, f64) -> f64,
    ) -> Option<[f64; 3]> {
        let others = self.of(other, shown);
        let pair = |&(round, ours): &(usize, f64)| {
            let (_, other) = others.iter().find(|(of, _)| *of == round)?;
            (*other > 0.0).then(|| compare(ours, *other))
        };
        spread(self.of(ours, shown).iter().filter_map(pair).collect())
    }

    /// The systems of which something is known, in the order of their measuring, and their medians.
    pub(super) fn medians(&self, shown: &str) -> Vec<(&str, f64)> {
        let mut medians: Vec<(&str, f64)> = Vec::new();
        for figure in self.0.iter().filter(|figure| figure.shown == shown) {
            if medians.iter().all(|(system, _)| *system != figure.system) {
                let values = self.of(&figure.system, shown).into_iter().map(|(_, value)| value);
                medians.extend(spread(values.collect()).map(|it| (figure.system.as_str(), it[0])));
            }
        }
        medians
    }

    /// One row for each system: its median, least and greatest, and how ours compares in the same round.
    pub(super) fn table(&self, shown: &Shown) -> String {
        let mut grid =
            Grid::new(&["SYSTEM", "MEDIAN", "LEAST", "MOST", "OURS IS", "LEAST", "MOST"]);
        let ours = System::OURS.name();
        for (system, _) in self.medians(shown.name) {
            let values = self.of(system, shown.name).iter().map(|(_, value)| *value).collect();
            let ratios = self.compared(&ours, system, shown.name, |ours, other| ours / other);
            let mut cells = vec![Cell::text(system)];
            let number = |value: f64| Cell::number(format!("{value:.2}"));
            cells.extend(spread(values).into_iter().flatten().map(number));
            cells.extend(ratios.into_iter().flatten().map(|it| Cell::number(format!("{it:.2} x"))));
            cells.resize_with(7, || Cell::text("-"));
            grid.push(cells);
        }
        grid.render("  ", Colour::of_stdout())
    }

    fn of(&self, system: &str, shown: &str) -> Vec<(usize, f64)> {
        let mine = self.0.iter().filter(|it| it.shown == shown && it.system == system);
        mine.map(|it| (it.round, it.value)).collect()
    }
}

/// Median, least and greatest.
fn spread(mut values: Vec<f64>) -> Option<[f64; 3]> {
    values.sort_by(f64::total_cmp);
    Some([values[..].get(values.len() / 2).copied()?, *values.first()?, *values.last()?])
}
