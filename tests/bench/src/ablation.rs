//! What each rule of the engine is worth: the same cases with one rule changed at a time, as one table.

use std::fmt::Write as _;

use engine::Ablation;

use crate::case::{Case, Plan};
use crate::row::{Row, Runner};
use crate::scenario::Sender;
use crate::table::{Group, groups};

/// The sets of rules: as they are, and with each one changed.
pub fn rules() -> Vec<Vec<String>> {
    let changed = Ablation::ALL.into_iter().map(|ablation| vec![ablation.name().to_owned()]);
    std::iter::once(Vec::new()).chain(changed).collect()
}

/// The cases that each set is run with: those in which a rule may matter.
pub fn cases(seeds: Option<u64>, seconds: Option<u64>) -> Vec<Case> {
    let plan = Plan {
        runner: Runner::VirtualTime,
        is_quick: false,
        only: SCENARIOS.map(str::to_owned).to_vec(),
        drawn: None,
        seeds: Some(seeds.unwrap_or(SEEDS)),
        seconds: Some(seconds.unwrap_or(SECONDS)),
    };
    let mut cases = plan.cases();
    cases.retain(|case| SCENARIOS.contains(&case.scenario.name.as_str()));
    cases
}

/// A line for each set of rules, a column for each scenario and sender.
pub fn render(rows: &[Row]) -> String {
    let groups = both_ways(rows);
    let mut columns: Vec<(&str, Sender)> = Vec::new();
    let mut lines: Vec<&[String]> = Vec::new();
    for Group { rows } in &groups {
        let (column, line) = ((rows[0].scenario.as_str(), rows[0].sender), &rows[0].rules[..]);
        if !columns.contains(&column) {
            columns.push(column);
        }
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let titles = |of: fn(&(&str, Sender)) -> String| columns.iter().map(of).collect::<Vec<_>>();
    let names = titles(|(scenario, _)| (*scenario).to_owned());
    let senders = titles(|(_, sender)| sender.to_string());
    let mut table = vec![(String::new(), names), (String::new(), senders)];
    for line in lines {
        let cell = |&(scenario, sender): &(&str, Sender)| {
            let of = |row: &Row| (row.scenario.as_str(), row.sender) == (scenario, sender);
            let group = groups.iter().find(|it| of(it.rows[0]) && it.rows[0].rules == line);
            group.map(figure).unwrap_or_default()
        };
        let title = if line.is_empty() { "as it is".to_owned() } else { line.join(", ") };
        table.push((title, columns.iter().map(cell).collect()));
    }
    align(&table) + LEGEND
}

/// Rows of one case in both directions and with all seeds together.
fn both_ways(rows: &[Row]) -> Vec<Group<'_>> {
    let mut together: Vec<Group<'_>> = Vec::new();
    for group in groups(rows) {
        let key = |row: &Row| (row.scenario.clone(), row.sender, row.rules.clone());
        match together.iter_mut().find(|it| key(it.rows[0]) == key(group.rows[0])) {
            Some(same) => same.rows.extend(group.rows),
            None => together.push(group),
        }
    }
    together
}

/// The median share and the worst; or what a stream lost, and its longest gap.
fn figure(group: &Group<'_>) -> String {
    if let (Some(share), Some(worst)) = (group.median(|row| row.share), group.least(|it| it.share))
    {
        return format!("{share:.2}/{worst:.2}");
    }
    let stream = |of: fn(&crate::row::StreamFigures) -> f64| {
        group.most(|row| row.stream.as_ref().map(of)).unwrap_or_default()
    };
    format!("{:.0} lost, {:.0} ms", stream(|it| it.lost as f64), stream(|it| it.gap_worst_ms()))
}

fn align(table: &[(String, Vec<String>)]) -> String {
    let first = table.iter().map(|(title, _)| title.len()).max().unwrap_or_default();
    let width = |index: usize| {
        table
            .iter()
            .filter_map(|(_, cells)| Some(cells.get(index)?.len()))
            .max()
            .unwrap_or_default()
    };
    let mut text = String::new();
    for (title, cells) in table {
        let mut line = format!("{title:<first$}");
        for (index, cell) in cells.iter().enumerate() {
            let _ = write!(line, "  {cell:>width$}", width = width(index));
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

const LEGEND: &str = "
Share of what is reachable, the median of the seeds and the worst; packets of a stream that were lost, and its longest gap.
";
const SEEDS: u64 = 3;
/// Long enough for a BBR to look for its round trip once.
const SECONDS: u64 = 20;
const SCENARIOS: [&str; 8] = [
    "flagship-clean",
    "flagship-lte",
    "loss-on-both",
    "death-fibre",
    "death-fibre-bulk",
    "bad-third",
    "env-rtt-70",
    "env-dual-lte",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_rule_and_a_column_for_each_sender() {
        let mut rows = Vec::new();
        for rules in rules() {
            for case in cases(Some(1), None) {
                let share = (case.sender != Sender::None).then_some(0.5);
                rows.push(Row { rules: rules.clone(), share, ..Row::empty(&case, &case.scenario) });
            }
        }

        let text = render(&rows);

        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2 + 1 + Ablation::ALL.len() + 2, "{text}");
        assert!(lines[2].starts_with("as it is") && lines[2].contains("0.50/0.50"), "{text}");
        for scenario in SCENARIOS {
            assert!(lines[0].contains(scenario), "{text}");
        }
    }
}
