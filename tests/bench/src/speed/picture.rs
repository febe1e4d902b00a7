//! The figures as a picture: for each thing that was measured a bar for each system.

use std::fmt::Write as _;

use super::figures::Figures;
use super::measure::Shown;
use super::system::System;

/// The picture, as SVG. Bars are as long as their share of the longest of the same measure.
pub(super) fn draw<'s>(figures: &Figures, shown: impl Iterator<Item = &'s Shown>) -> String {
    let mut body = String::new();
    let mut y = TOP;
    for Shown { name, unit } in shown {
        let medians = figures.medians(name);
        let most = medians.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        if most == 0.0 {
            continue;
        }
        let _ = writeln!(
            body,
            "<text x=\"{MARGIN}\" y=\"{}\" font-weight=\"bold\">{name}, {unit}</text>",
            y + STEP - 4
        );
        y += STEP;
        for (system, value) in medians {
            let colour = if system == System::OURS.name() { "#4a90c4" } else { "#b8c4cc" };
            let length = f64::from(WIDTH - LEFT - RIGHT) * value / most;
            let _ = writeln!(
                body,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{system}</text>\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{}\" fill=\"#333\">{value:.2}</text>",
                LEFT - 8,
                y + STEP - 5,
                STEP - 3,
                f64::from(LEFT) + length + 6.0,
                y + STEP - 5,
            );
            y += STEP;
        }
        y += STEP / 2;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{}\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"22\" font-size=\"16\">One fast wire: medians of all rounds</text>\n\
         {body}</svg>\n",
        y + MARGIN,
        y + MARGIN
    )
}

const WIDTH: u32 = 760;
const MARGIN: u32 = 16;
const TOP: u32 = 36;
const STEP: u32 = 17;
/// Where bars begin, and the room for their values.
const LEFT: u32 = 140;
const RIGHT: u32 = 90;
