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

fn painted(text: &str, tone: Tone, colour: Colour) -> String {
    let code = match (colour, tone) {
        (Colour::Never, _) | (_, Tone::Plain) => return text.to_owned(),
        (Colour::Always, Tone::Bad) => 31,
        (Colour::Always, Tone::Doubtful) => 33,
        (Colour::Always, Tone::Good) => 32,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
