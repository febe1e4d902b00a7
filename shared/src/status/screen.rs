//! A terminal that is drawn on in place.

use std::io::{self, IsTerminal as _, Write as _};

use rustix::{
    process::{Signal as Stop, getpid, kill_process},
    termios::tcgetwinsize,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{exit::Error, grid::cut};

/// Standard output while it is a screen of ours. Dropped, it shows what it showed before.
#[derive(Debug)]
pub(super) struct Screen {
    resized: Signal,
    suspended: Signal,
}

impl Screen {
    /// Takes the terminal; `None` where standard output is none that can be drawn on. Needs tokio.
    pub(super) fn open() -> Result<Option<Self>, Error> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if dumb || !io::stdout().is_terminal() {
            return Ok(None);
        }
        let listen = |kind| signal(kind).map_err(|error| Error::from_io("handle signals", &error));
        let resized = listen(SignalKind::window_change())?;
        let suspended = listen(SignalKind::from_raw(Stop::TSTP.as_raw()))?;
        let screen = Self { resized, suspended };
        show(ENTER).map_err(|error| Error::from_io(WRITING, &error))?;
        Ok(Some(screen))
    }

    /// Lines that fit.
    pub(super) fn rows(&self) -> usize {
        size().0
    }

    /// Shows this instead of what is shown, as much of it as fits.
    pub(super) fn draw(&mut self, text: &str) -> io::Result<()> {
        let (rows, columns) = size();
        show(&frame(text, rows, columns))
    }

    /// Returns when it has to be drawn again: it has another size, or has come back from a pause that
    /// Ctrl-Z brought about. May be cancelled.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            _ = self.resized.recv() => {}
            _ = self.suspended.recv() => {
                // The shell is to find its terminal as it was.
                let _ = show(LEAVE);
                let _ = kill_process(getpid(), Stop::STOP);
                let _ = show(ENTER);
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where it can't be written to, nobody looks at it.
        let _ = show(LEAVE);
    }
}

pub(super) const WRITING: &str = "write to standard output";

/// Another screen without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Where a terminal does not say how large it is.
const ROWS: usize = 24;
const COLUMNS: usize = 80;

fn size() -> (usize, usize) {
    let told = tcgetwinsize(io::stdout()).ok();
    let told = told.map(|it| (usize::from(it.ws_row), usize::from(it.ws_col)));
    let (rows, columns) = told.unwrap_or_default();
    (if rows == 0 { ROWS } else { rows }, if columns == 0 { COLUMNS } else { columns })
}

/// What draws `text` over what is there, without a moment of emptiness between.
fn frame(text: &str, rows: usize, columns: usize) -> String {
    let mut out = "\x1b[H".to_owned();
    let mut lines = 0;
    for line in text.lines().take(rows) {
        if lines > 0 {
            out.push_str("\r\n");
        }
        // Cleared first: behind a full line, clearing would take its last letter.
        out.push_str("\x1b[K");
        out.push_str(&cut(line, columns));
        lines += 1;
    }
    if lines < rows {
        out.push_str("\r\n\x1b[J");
    }
    out
}

fn show(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fills_the_screen_and_no_more() {
        assert_eq!(frame("a\nbcdef\n", 3, 4), "\x1b[H\x1b[Ka\r\n\x1b[Kbcd…\r\n\x1b[J");
        assert_eq!(frame("a\nb\nc\n", 2, 4), "\x1b[H\x1b[Ka\r\n\x1b[Kb");
    }
}
