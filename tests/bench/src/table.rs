//! Rows as a table of text: one line for all seeds of a case, the median and what misses.

use std::fmt::Write as _;

use crate::row::Row;
use crate::series::median;

/// The seeds of one case, which make one line.
#[derive(Debug)]
pub struct Group<'a> {
    /// Its rows, at least one.
    pub rows: Vec<&'a Row>,
}

/// Groups rows that differ by the seed only, in the order in which they come.
pub fn groups(rows: &[Row]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for row in rows {
        let same = |group: &&mut Group<'_>| {
            let first = group.rows[0];
            first.scenario == row.scenario
                && (first.runner, first.sender, first.way) == (row.runner, row.sender, row.way)
                && first.rules == row.rules
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group { rows: vec![row] }),
        }
    }
    groups
}

/// The table.
pub fn render(rows: &[Row]) -> String {
    let groups = groups(rows);
    let mut text = String::new();
    if let Some(rules) = rows.first().map(|row| &row.rules).filter(|rules| !rules.is_empty()) {
        let _ = writeln!(text, "changed rules: {}", rules.join(", "));
    }
    let titles: Vec<String> = COLUMNS.iter().map(|column| column.title.to_owned()).collect();
    let cells: Vec<Vec<String>> = groups
        .iter()
        .map(|group| COLUMNS.iter().map(|column| (column.cell)(group)).collect())
        .collect();
    // A column in which nobody has a figure is not shown.
    let shown: Vec<usize> = (0..COLUMNS.len())
        .filter(|&index| cells.iter().any(|line| !line[index].is_empty()))
        .collect();
    let width = |index: usize| {
        let all = cells.iter().map(|line| line[index].chars().count());
        all.chain([titles[index].len()]).max().unwrap_or_default()
    };
    for line in std::iter::once(&titles).chain(&cells) {
        let mut out = String::new();
        for &index in &shown {
            let (cell, width) = (&line[index], width(index));
            let _ = if COLUMNS[index].is_text {
                write!(out, "{cell:<width$}  ")
            } else {
                write!(out, "{cell:>width$}  ")
            };
        }
        text.push_str(out.trim_end());
        text.push('\n');
    }
    let held = groups.iter().filter(|group| group.misses() == 0).count();
    let _ = writeln!(text, "\n{held} of {} lines hold what they must.", groups.len());
    text.push_str(LEGEND);
    text
}

impl Group<'_> {
    /// The median of a figure over the seeds that have it.
    pub fn median(&self, of: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self.rows.iter().filter_map(|row| of(row)).collect();
        (!values.is_empty()).then(|| median(&values))
    }

    /// The smallest.
    pub fn least(&self, of: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        self.rows.iter().filter_map(|row| of(row)).reduce(f64::min)
    }

    /// The largest.
    pub fn most(&self, of: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        self.rows.iter().filter_map(|row| of(row)).reduce(f64::max)
    }

    /// How many of its rows miss a limit.
    pub fn misses(&self) -> usize {
        self.rows.iter().filter(|row| !row.missed.is_empty()).count()
    }

    fn per_link(&self, digits: usize, of: impl Fn(&crate::row::LinkFigures) -> f64) -> String {
        let count = self.rows[0].links.len();
        let cell = |index: usize| {
            let value = self.median(|row| row.links.get(index).map(&of)).unwrap_or_default();
            format!("{value:.digits$}")
        };
        (0..count).map(cell).collect::<Vec<_>>().join("/")
    }
}

struct Column {
    title: &'static str,
    is_text: bool,
    cell: fn(&Group<'_>) -> String,
}

const fn text(title: &'static str, cell: fn(&Group<'_>) -> String) -> Column {
    Column { title, is_text: true, cell }
}

const fn figure(title: &'static str, cell: fn(&Group<'_>) -> String) -> Column {
    Column { title, is_text: false, cell }
}

/// All columns, in order.
const COLUMNS: [Column; 28] = [
    text("", |group| if group.misses() == 0 { "ok".to_owned() } else { "BELOW".to_owned() }),
    text("scenario", |group| group.rows[0].scenario.clone()),
    text("sender", |group| group.rows[0].sender.to_string()),
    text("way", |group| group.rows[0].way.to_string()),
    figure("seeds", |group| group.rows.len().to_string()),
    figure("Mbit/s", |group| number(group.median(|row| row.goodput_mbit), 1)),
    figure("share", |group| number(group.median(|row| row.share), 3)),
    figure("worst", |group| number(group.least(|row| row.share), 3)),
    figure("10 s", |group| number(group.median(|row| row.first_share), 3)),
    figure("beside", |group| {
        let bound = group.rows.iter().any(|row| row.against.as_ref().is_some_and(|a| a.is_bound));
        let ratio = number(group.median(|row| row.against.as_ref().map(|a| a.ratio)), 2);
        if bound { format!("≥{ratio}") } else { ratio }
    }),
    figure("peers", |group| {
        let peers = group.rows[0].peers.iter();
        let shown = peers.map(|peer| format!("{} {:.1}", peer.with, peer.goodput_mbit));
        shown.collect::<Vec<_>>().join(" ")
    }),
    figure("queue", |group| group.per_link(1, |link| link.queue_mean_ms)),
    figure("q p99", |group| group.per_link(1, |link| link.queue_p99_ms)),
    figure("hold", |group| number(group.median(|row| row.tunnel.hold_mean_ms), 1)),
    figure("h p99", |group| number(group.median(|row| row.tunnel.hold_p99_ms), 1)),
    figure("futile", |group| number(group.median(|row| row.tunnel.hold_futile), 2)),
    figure("late", |group| number(group.median(|row| row.tunnel.late.map(|n| n as f64)), 0)),
    figure("lost", |group| number(group.median(|row| row.tunnel.lost.map(|n| n as f64)), 0)),
    figure("again%", |group| percent(group, |row| row.tunnel.retransmitted_bytes)),
    figure("copy%", |group| percent(group, |row| row.tunnel.copy_bytes)),
    figure("fb%", |group| percent(group, |row| row.tunnel.feedback_bytes)),
    figure("retx", |group| {
        number(group.median(|row| row.inner.map(|it| it.retransmits as f64)), 0)
    }),
    figure("rto", |group| {
        number(group.most(|row| row.inner?.timeouts.map(|count| count as f64)), 0)
    }),
    figure("ping", |group| number(group.median(|row| row.ping.map(|it| it.p50_ms)), 1)),
    figure("p p99", |group| number(group.median(|row| row.ping.map(|it| it.p99_ms)), 1)),
    figure("call", |group| {
        number(group.median(|row| row.call.as_ref().map(|it| it.delay_p99_ms)), 1)
    }),
    figure("stream", |group| {
        let rows = group.rows.iter().filter_map(|row| row.stream.as_ref());
        let gaps: Vec<f64> = rows.clone().flat_map(|it| it.gaps_ms.iter().copied()).collect();
        let lost: u64 = rows.map(|it| it.lost).sum();
        let worst = gaps.iter().copied().fold(0.0, f64::max);
        let text = format!("lost {lost} gap {:.0}/{worst:.0}", median(&gaps));
        if gaps.is_empty() { String::new() } else { text }
    }),
    text("misses", |group| {
        // The first miss of each kind, with how many seeds miss at all.
        let worst = group.rows.iter().max_by_key(|row| row.missed.len());
        let misses = worst.map(|row| row.missed.join("; ")).unwrap_or_default();
        let seeds = group.rows.len();
        if seeds > 1 && group.misses() > 0 {
            format!("{misses} ({} of {seeds} seeds)", group.misses())
        } else {
            misses
        }
    }),
];

/// What the columns mean.
const LEGEND: &str = "\
share: goodput beside what is reachable, the median of the seeds, and the worst; 10 s: of the first ten seconds;
beside: beside the better link alone, or without the last link (≥: beside what that could carry at most);
queue, q p99: time in each link's queue in ms; hold, h p99: how long packets waited for an earlier one, in ms;
futile: the share of that which was for what did not come; late, lost: packets;
again, copy, fb: bytes of retransmissions, copies and feedback per byte carried; retx, rto: of the inner senders;
ping, p p99: round trip beside the load in ms; call: p99 of its one-way delay in ms; stream: packets lost, gap p50/worst in ms.
";

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(String::new, |value| format!("{value:.digits$}"))
}

fn percent(group: &Group<'_>, of: fn(&Row) -> Option<u64>) -> String {
    let share = |row: &Row| {
        let carried = row.tunnel.carried_bytes.filter(|&bytes| bytes > 0)?;
        Some(of(row)? as f64 * 100.0 / carried as f64)
    };
    number(group.median(share), 2)
}

#[cfg(test)]
mod tests {
    use lab::Direction;

    use super::*;
    use crate::case::Case;
    use crate::scenario::{self, Sender};

    #[test]
    fn seeds_make_one_line_and_a_miss_is_marked() {
        let scenario = scenario::all(20).swap_remove(0);
        let row = |seed, share: f64| {
            let case = Case::new(scenario.clone(), Sender::Cubic, Direction::Up, seed);
            let mut row = Row::empty(&case, &scenario);
            (row.share, row.goodput_mbit) = (Some(share), Some(share * row.reachable_mbit));
            row.judge(&scenario);
            row
        };
        let good = render(&[row(1, 0.98), row(2, 0.99)]);
        assert!(good.contains("1 of 1 lines hold"), "{good}");
        assert!(good.contains("0.985  0.980"), "{good}");

        let bad = render(&[row(1, 0.98), row(2, 0.90)]);
        assert!(bad.contains("BELOW"), "{bad}");
        assert!(bad.contains("share 0.900 < 0.970 (1 of 2 seeds)"), "{bad}");
        assert!(!bad.contains("peers"), "{bad}");
    }
}
