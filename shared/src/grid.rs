//! Tables for people: cells in aligned columns.

use std::io::{self, IsTerminal as _};

/// Whether colours help the reader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Colour {
    /// States are coloured.
    Always,
    /// Plain text.
    Never,
}

impl Colour {
    /// Only on a terminal, and not where NO_COLOR is set (no-color.org).
    pub fn of_stdout() -> Self {
        let wanted = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        if wanted { Self::Always } else { Self::Never }
    }
}

/// Text for one column of one row.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    side: Side,
    tone: Tone,
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Left,
    Right,
}

#[derive(Clone, Copy, Debug)]
enum Tone {
    Bad,
    Doubtful,
    Good,
    Plain,
}

impl Cell {
    /// Words: flush left.
    pub fn text(text: impl AsRef<str>) -> Self {
        let printable = |letter: char| if letter.is_control() { '?' } else { letter };
        let text = text.as_ref().chars().map(printable).collect();
        Self { text, side: Side::Left, tone: Tone::Plain }
    }

    /// A figure: flush right.
    pub fn number(text: impl AsRef<str>) -> Self {
        Self { side: Side::Right, ..Self::text(text) }
    }

    /// A state, with its colour.
    pub fn state(state: &str) -> Self {
        let tone = match state.split_whitespace().next() {
            Some("up" | "healthy") => Tone::Good,
            Some("connecting" | "reconnecting" | "validating" | "suspect" | "probation") => {
                Tone::Doubtful
            }
            Some("dead" | "refused" | "unhealthy") => Tone::Bad,
            _ => Tone::Plain,
        };
        Self { tone, ..Self::text(state) }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Rows under a head; each column is as wide as its widest cell.
#[derive(Debug)]
pub struct Grid {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Grid {
    /// An empty table with these titles.
    pub fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: a cell for each title.
    pub fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.head.len());
        self.rows.push(row);
    }

    /// All lines, each with `indent` before it; nothing without rows.
    pub fn render(&self, indent: &str, colour: Colour) -> String {
        let Some(first) = self.rows.first() else { return String::new() };
        // A heading stands on the side of its figures.
        let head: Vec<Cell> = self
            .head
            .iter()
            .zip(first)
            .map(|(title, below)| Cell { side: below.side, ..Cell::text(title) })
            .collect();
        let mut widths = vec![0; self.head.len()];
        for row in self.rows.iter().chain([&head]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        let mut out = String::new();
        for row in [&head].into_iter().chain(&self.rows) {
            let mut line = indent.to_owned();
            for (cell, width) in row.iter().zip(&widths) {
                let padding = " ".repeat(width - cell.width());
                let text = painted(&cell.text, cell.tone, colour);
                match cell.side {
                    Side::Left => line.extend([&text, padding.as_str()]),
                    Side::Right => line.extend([padding.as_str(), &text]),
                }
                line.push_str("  ");
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// The first columns of a line, with … for what is left out. Colours take no column.
pub fn cut(line: &str, columns: usize) -> String {
    let (mut out, mut width) = (String::new(), 0);
    let (mut escape, mut painted) = (false, false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\x1b' {
            (escape, painted) = (true, true);
        }
        if escape {
            out.push(letter);
            escape = letter != 'm';
            continue;
        }
        if width + 1 >= columns && has_letters(letters.clone()) {
            out.extend((columns > 0).then_some('…'));
            out.push_str(if painted { "\x1b[0m" } else { "" });
            break;
        }
        out.push(letter);
        width += 1;
    }
    out
}

/// Whether anything but colours follows.
fn has_letters(mut rest: impl Iterator<Item = char>) -> bool {
    loop {
        match rest.next() {
            Some('\x1b') => while rest.next().is_some_and(|letter| letter != 'm') {},
            other => return other.is_some(),
        }
    }
}

fn painted(text: &str, tone: Tone, colour: Colour) -> String {
    let code = match (colour, tone) {
        (Colour::Never, _) | (_, Tone::Plain) => return text.to_owned(),
        (Colour::Always, Tone::Bad) => 31,
        (Colour::Always, Tone::Doubtful) => 33,
        (Colour::Always, Tone::Good) => 32,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_cut_and_its_colour_ends() {
        assert_eq!(cut("held back", 9), "held back");
        assert_eq!(cut("held back", 8), "held ba…");
        assert_eq!(cut("größer", 5), "größ…");
        assert_eq!(cut("\x1b[32mup\x1b[0m", 2), "\x1b[32mup\x1b[0m");
        assert_eq!(cut("\x1b[32mup\x1b[0m  full", 5), "\x1b[32mup\x1b[0m  …\x1b[0m");
        assert_eq!(
            (cut("ab", 1).as_str(), cut("ab", 0).as_str(), cut("", 3).as_str()),
            ("…", "", "")
        );
    }
}
