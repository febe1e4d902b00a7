//! How far a run is, on the standard error.

use std::io::{IsTerminal as _, Write as _};

use lab::clock::monotonic_ns;

/// Rows done, and how long the rest will take at this pace.
#[derive(Debug)]
pub struct Progress {
    total: usize,
    done: usize,
    /// Rows that were done before this run; they say nothing of its pace.
    before: usize,
    began_ns: u64,
    on_terminal: bool,
}

impl Progress {
    /// Of so many rows, so many of them done before.
    pub fn new(total: usize, before: usize) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        Self { total, done: before, before, began_ns: monotonic_ns(), on_terminal }
    }

    /// Says which row begins.
    pub fn begin(&self, name: &str) {
        if self.on_terminal {
            self.show(name);
        }
    }

    /// Counts a row and shows how far the run is; where nobody watches, now and then.
    pub fn done(&mut self, name: &str) {
        self.done += 1;
        let every = (self.total / 50).max(1);
        if self.on_terminal || self.done == self.total || self.done.is_multiple_of(every) {
            self.show(name);
        }
        if self.on_terminal && self.done == self.total {
            eprintln!();
        }
    }

    fn show(&self, name: &str) {
        let left =
            self.left_s().map_or_else(String::new, |s| format!(", {}:{:02} left", s / 60, s % 60));
        let (clear, end) = if self.on_terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        eprint!("{clear}row {} of {}{left}: {name}{end}", self.done, self.total);
        // Nobody can be told that the terminal is gone.
        let _ = std::io::stderr().flush();
    }

    fn left_s(&self) -> Option<u64> {
        let here = self.done - self.before;
        let spent_s = (monotonic_ns() - self.began_ns) / 1_000_000_000;
        (here > 0).then(|| spent_s * (self.total - self.done) as u64 / here as u64)
    }
}
