//! Rows as a picture: a bar for each line of the table, as long as its share, with the line that it
//! must hold.

use std::fmt::Write as _;

use crate::row::Row;
use crate::scenario::{self, Bound, Figure};
use crate::table::{Group, groups};

/// The picture, as SVG. Rows without a share, such as those of streams, are not in it.
pub fn draw(rows: &[Row]) -> String {
    let shown: Vec<Group<'_>> =
        groups(rows).into_iter().filter(|group| group.median(|row| row.share).is_some()).collect();
    let height = TOP + shown.len() as u32 * STEP + BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"22\" font-size=\"16\">Inner goodput as a share of what the links \
         can carry</text>\n\
         <text x=\"{MARGIN}\" y=\"40\" fill=\"#555\">bar: median of the seeds; thin line: from the \
         worst to the best; black mark: what it must hold</text>\n"
    );
    axis(&mut svg, height - BOTTOM);
    for (index, group) in shown.iter().enumerate() {
        bar(&mut svg, group, TOP + index as u32 * STEP);
    }
    svg.push_str("</svg>\n");
    svg
}

fn axis(svg: &mut String, bottom: u32) {
    for tenth in (0..=10).step_by(2) {
        let (x, share) = (at(f64::from(tenth) / 10.0), tenth * 10);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{share} %</text>",
            bottom + 16
        );
    }
}

fn bar(svg: &mut String, group: &Group<'_>, y: u32) {
    let row = group.rows[0];
    let share = |row: &Row| row.share;
    let median = group.median(share).unwrap_or_default();
    let (least, most) = (group.least(share).unwrap_or(median), group.most(share).unwrap_or(median));
    let limit = limit(row);
    let holds = limit.is_none_or(|limit| least >= limit);
    let colour = if holds { "#4a90c4" } else { "#d9822b" };
    let (middle, end) = (y + STEP / 2, at(median));
    let name = format!("{} {} {}", row.scenario, row.sender, row.way);
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"end\">{}</text>\
         <rect x=\"{:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>\
         <line x1=\"{:.1}\" y1=\"{middle}\" x2=\"{:.1}\" y2=\"{middle}\" stroke=\"#222\"/>\
         <text x=\"{:.1}\" y=\"{}\" fill=\"#333\">{median:.3}</text>",
        LEFT - 8.0,
        middle + 4,
        escape(&name),
        at(0.0),
        y + 2,
        (end - at(0.0)).max(0.0),
        STEP - 4,
        at(least),
        at(most),
        at(1.0) + 12.0,
        middle + 4,
    );
    if let Some(x) = limit.map(at) {
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{}\" stroke=\"#000\" \
             stroke-width=\"2.5\"/>",
            y + 1,
            y + STEP - 1
        );
    }
}

/// The share that a row must reach.
fn limit(row: &Row) -> Option<f64> {
    let scenario = scenario::all(row.seconds).into_iter().find(|it| it.name == row.scenario)?;
    let limits = scenario.limits.iter().filter(|it| it.applies(row) && it.figure == Figure::Share);
    let bounds = limits.filter_map(|limit| match limit.bound {
        Bound::AtLeast(share) => Some(share),
        Bound::AtMost(_) => None,
    });
    bounds.reduce(f64::max)
}

fn at(share: f64) -> f64 {
    LEFT + share.clamp(0.0, 1.04) * SPAN
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const WIDTH: u32 = 900;
const MARGIN: u32 = 16;
/// Where bars begin, and how long one of 100 % is.
const LEFT: f64 = 260.0;
const SPAN: f64 = 540.0;
const TOP: u32 = 52;
const STEP: u32 = 18;
const BOTTOM: u32 = 28;

#[cfg(test)]
mod tests {
    use lab::Direction;

    use super::*;
    use crate::case::Case;
    use crate::scenario::Sender;

    #[test]
    fn a_row_is_a_bar_with_its_line_and_a_stream_is_none() {
        let row = |name: &str, sender, share: Option<f64>| {
            let scenarios = scenario::all(20);
            let scenario = scenarios.into_iter().find(|it| it.name == name).unwrap();
            let case = Case::new(scenario.clone(), sender, Direction::Up, 1);
            Row { share, ..Row::empty(&case, &scenario) }
        };
        let svg = draw(&[
            row("flagship-clean", Sender::Bbr, Some(0.9)),
            row("death-lte", Sender::None, None),
        ]);

        assert!(svg.contains("flagship-clean bbr up") && svg.contains("0.900"), "{svg}");
        assert!(svg.contains(&format!("x1=\"{:.1}\"", at(0.95))), "{svg}");
        assert!(!svg.contains("death-lte"));
        assert!(svg.ends_with("</svg>\n"));
    }
}
