//! What is wrong in a configuration, where, and how it is shown.

use std::{
    cell::RefCell,
    fmt::{self, Display, Write as _},
    ops::Range,
    path::Path,
};

use crate::exit::Error;

/// What is wrong with a value, and what would be right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wrong {
    what: String,
    right: String,
}

impl Wrong {
    /// Says what is wrong: a sentence without a full stop.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), right: String::new() }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn right(mut self, right: impl Into<String>) -> Self {
        self.right = right.into();
        self
    }

    /// What is wrong, for errors that have no place in a file.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What would be right; empty when the error says it all.
    pub fn remedy(&self) -> &str {
        &self.right
    }
}

impl Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.right.is_empty() { Ok(()) } else { write!(f, ": {}", self.right) }
    }
}

impl std::error::Error for Wrong {}

/// Of an error about a thing that the value names: a key file, a folder.
impl From<Wrong> for Error {
    fn from(wrong: Wrong) -> Self {
        let error = Self::configuration(wrong.what);
        if wrong.right.is_empty() { error } else { error.with_remedy(wrong.right) }
    }
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::new(error.cause()).right(error.remedy())
    }
}

/// Something wrong at a place of a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    span: Range<usize>,
    wrong: Wrong,
}

impl Problem {
    /// `span` counts bytes from the start of the document.
    pub fn new(span: Range<usize>, wrong: Wrong) -> Self {
        Self { span, wrong }
    }
}

/// The problems noted so far, shared by all tables of one document.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn note(&self, span: Range<usize>, wrong: Wrong) {
        self.0.borrow_mut().push(Problem::new(span, wrong));
    }

    pub(super) fn into_list(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// Shows problems in the order of the text, each with its line and a caret below it.
pub(super) fn render(path: &Path, text: &str, problems: &[Problem]) -> String {
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    sorted.sort_by_key(|problem| problem.span.start);
    let mut out = match sorted.len() {
        1 => format!("{}: 1 problem", path.display()),
        count => format!("{}: {count} problems", path.display()),
    };
    for problem in sorted.iter().take(PROBLEMS_SHOWN_MAX) {
        out.push('\n');
        render_one(&mut out, path, text, problem);
    }
    if let Some(more) = sorted.len().checked_sub(PROBLEMS_SHOWN_MAX).filter(|more| *more > 0) {
        let _ = write!(out, "\nand {more} more");
    }
    out
}

/// More than that nobody reads at once.
const PROBLEMS_SHOWN_MAX: usize = 20;

fn render_one(out: &mut String, path: &Path, text: &str, problem: &Problem) {
    let start = floor(text, problem.span.start);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].split('\n').next().unwrap_or_default().trim_end_matches('\r');
    let number = text[..line_start].matches('\n').count() + 1;
    let before = text[line_start..start].chars().count();
    let end = floor(text, problem.span.end).clamp(start, (line_start + line.len()).max(start));
    let carets = text[start..end].chars().count().max(1);
    let margin = " ".repeat(number.to_string().len());
    let (shown, skipped) = excerpt(&masked(line), before);
    let path = path.display();
    let column = before + 1;
    // Tabs keep their width, so that the carets stand below what they mean.
    let indent: String = shown
        .chars()
        .take(before - skipped)
        .map(|letter| if letter == '\t' { '\t' } else { ' ' })
        .collect();
    let padding = " ".repeat((before - skipped).saturating_sub(indent.chars().count()));
    let carets = "^".repeat(carets.min(LINE_CHARS_MAX));
    let _ = write!(
        out,
        "{path}:{number}:{column}: {}\n {margin} |\n {number} | {shown}\n {margin} | {indent}{padding}{carets}",
        problem.wrong.what
    );
    if !problem.wrong.right.is_empty() {
        let _ = write!(out, " {}", problem.wrong.right);
    }
}

/// The nearest place at or before `at` where a character starts.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The part of a long line around the column, and how many characters are left out before it.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    let skipped = if line.chars().count() <= LINE_CHARS_MAX {
        0
    } else {
        column.saturating_sub(LINE_CHARS_MAX / 2)
    };
    let shown = line.chars().skip(skipped).take(LINE_CHARS_MAX);
    let plain =
        shown.map(|letter| if letter.is_control() && letter != '\t' { '?' } else { letter });
    (plain.collect(), skipped)
}

/// Fits a terminal beside the margin.
const LINE_CHARS_MAX: usize = 100;

/// The line with everything hidden that may be a private key; columns stay.
fn masked(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let key_end = lower.find('=').unwrap_or(0);
    let name = &lower[..key_end];
    // `private_key_file` names a file, and its error is about that name.
    let names_secret =
        ["priv", "secret"].iter().any(|it| name.contains(it)) && !name.contains("file");
    if names_secret {
        let visible = |letter: char| letter.is_whitespace() || "=\"'".contains(letter);
        let (key, value) = line.split_at(key_end);
        let hidden = value.chars().map(|letter| if visible(letter) { letter } else { '*' });
        return key.chars().chain(hidden).collect();
    }
    let letters: Vec<char> = line.chars().collect();
    let mut out = letters.clone();
    let mut run = 0;
    for at in 0..=letters.len() {
        let in_run = letters
            .get(at)
            .is_some_and(|letter| letter.is_ascii_alphanumeric() || "+/-_=".contains(*letter));
        if in_run {
            run += 1;
            continue;
        }
        if run >= KEY_CHARS_MIN {
            out[at - run..at].fill('*');
        }
        run = 0;
    }
    out.into_iter().collect()
}

/// A key of 32 bytes has 43 characters in base64; a few may be missing.
const KEY_CHARS_MIN: usize = 38;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_stand_below_what_they_mean() {
        let text = "\u{fc}ber = [\n\t\"a\", \"b\"\n]\n";
        let at = text.find("\"b\"").unwrap();

        let shown = render(Path::new("f"), text, &[problem(at..at + 3)]);

        assert_eq!(shown, "f: 1 problem\nf:2:7: wrong\n   |\n 2 | \t\"a\", \"b\"\n   | \t     ^^^");
    }

    #[test]
    fn spans_outside_the_text_are_survived() {
        let places = [("", 0, 0), ("", 5, 9), ("\u{e9}", 1, 1), ("a\n", 2, 2), ("ab", 1, 0)];
        for (text, start, end) in places {
            assert!(render(Path::new("f"), text, &[problem(start..end)]).contains("wrong"));
        }
    }

    #[test]
    fn a_very_long_line_is_cut_around_the_place() {
        let text = format!("{}\"x\"{}", "a, ".repeat(300), ", a".repeat(300));

        let shown = render(Path::new("f"), &text, &[problem(900..903)]);

        assert!(shown.lines().all(|line| line.chars().count() < 120), "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        let caret = lines[4].find('^').unwrap();
        assert_eq!(&lines[3][caret..caret + 3], "\"x\"");
    }

    #[test]
    fn keys_are_hidden_and_names_of_key_files_are_not() {
        let key = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";

        assert_eq!(masked("private_key_file = \"a.key\""), "private_key_file = \"a.key\"");
        assert_eq!(masked("private_key = 'a b'"), "private_key = '* *'");
        assert!(!masked(&format!("private_key_file = \"{key}\"")).contains("q83"));
        assert!(!masked(&format!("  \"{key}\",")).contains("q83"));
    }

    #[test]
    fn more_problems_than_anyone_reads_are_counted() {
        let many = vec![problem(0..1); 25];

        assert!(render(Path::new("f"), "x", &many).ends_with("\nand 5 more"));
    }

    fn problem(span: Range<usize>) -> Problem {
        Problem::new(span, Wrong::new("wrong"))
    }
}
