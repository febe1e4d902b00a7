//! `status --watch`: shows what goes on, again and again.
//!
//! A screen is drawn on in place. Elsewhere each look is a block of lines, or a line of JSON. A program
//! that goes away is waited for: who looks on wants to see it come back.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use tokio::time::MissedTickBehavior;

use super::{
    Snapshot,
    addressee::one_called,
    command::{json_line, print},
    live::Live,
    screen::{Screen, WRITING},
    units::lasting,
};
use crate::{clock, exit::Error, grid::Colour, signals::Signals};

/// A program that is looked at.
#[derive(Debug)]
pub(super) struct Watch {
    program: String,
    name: String,
    interval: Duration,
    json: bool,
    before: Option<Look>,
    last: Look,
    /// Why the last question was not answered.
    gone: Option<Error>,
}

/// What a program said, and when, as the machine's uptime.
#[derive(Debug)]
struct Look {
    at: Duration,
    snapshot: Snapshot,
}

impl Look {
    fn new(snapshot: Snapshot) -> Self {
        Self { at: clock::since_boot(), snapshot }
    }
}

impl Watch {
    pub(super) fn new(first: Snapshot, interval: Duration, json: bool) -> Self {
        Self {
            program: first.program.clone(),
            name: first.name.clone(),
            interval,
            json,
            before: None,
            last: Look::new(first),
            gone: None,
        }
    }

    /// Looks on until asked to end, or until nobody reads any more.
    pub(super) fn run(mut self) -> Result<(), Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::from_io("start a runtime", &error))?;
        let ended = runtime.block_on(self.look_on());
        // A question that is not answered yet would be waited for.
        runtime.shutdown_background();
        ended
    }

    async fn look_on(&mut self) -> Result<(), Error> {
        let mut signals = Signals::listen()?;
        let mut screen = if self.json { None } else { Screen::open()? };
        // Without a screen, the first block of lines is the first that has rates.
        if (self.json || screen.is_some()) && !self.show(screen.as_mut())? {
            return Ok(());
        }
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first one comes at once.
        ticks.tick().await;
        loop {
            let changed = async {
                match &mut screen {
                    Some(screen) => screen.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = signals.asked_to_end() => return Ok(()),
                () = changed => {}
                _ = ticks.tick() => {
                    let name = self.name.clone();
                    let asked = tokio::task::spawn_blocking(move || one_called(&name));
                    let answer = tokio::select! {
                        () = signals.asked_to_end() => return Ok(()),
                        answer = asked => answer,
                    };
                    let answer = answer.map_err(|error| Error::failed(error.to_string()))?;
                    self.take(answer.map(|it| it.snapshot), screen.is_some());
                    if self.gone.is_some() && screen.is_none() {
                        continue;
                    }
                }
            }
            if !self.show(screen.as_mut())? {
                return Ok(());
            }
        }
    }

    /// Takes in an answer. Without a screen, it is said once that there is none.
    fn take(&mut self, answer: Result<Snapshot, Error>, screen: bool) {
        match answer {
            Ok(snapshot) => {
                let look = Look::new(snapshot);
                self.before = Some(std::mem::replace(&mut self.last, look));
                self.gone = None;
            }
            Err(error) => {
                let error = error.with_remedy(self.remedy());
                if self.gone.is_none() && !screen {
                    // A closed stderr is no reason to stop looking.
                    let _ = writeln!(io::stderr(), "{}: {error}", self.program);
                }
                self.gone = Some(error);
            }
        }
    }

    fn remedy(&self) -> String {
        let start = if self.program == "hawser-server" { "hawser-server run" } else { "hawser up" };
        let interval = lasting(self.interval);
        format!("`{start}` starts it if it has ended; it is asked again each {interval}")
    }

    /// Shows the last look. Returns whether anybody still reads.
    fn show(&self, screen: Option<&mut Screen>) -> Result<bool, Error> {
        if self.json {
            return print(&json_line(&self.last.snapshot));
        }
        let Some(screen) = screen else {
            return print(&format!("{}\n", self.text(usize::MAX)));
        };
        match screen.draw(&self.text(screen.rows())) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Error::from_io(WRITING, &error)),
        }
    }

    fn text(&self, rows: usize) -> String {
        if let Some(gone) = &self.gone {
            return format!("{gone}\n");
        }
        let Look { at, snapshot } = &self.last;
        let live = Live {
            before: self.before.as_ref().map(|before| &before.snapshot),
            after: snapshot,
            elapsed: self.before.as_ref().map_or(Duration::ZERO, |it| at.saturating_sub(it.at)),
            now: clock::since_epoch().as_secs(),
            colour: Colour::of_stdout(),
            rows,
        };
        live.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_gone_is_named_with_its_remedy_until_it_is_back() {
        let first = || Snapshot::new("hawser", "branch", 1);
        let mut watch = Watch::new(first(), Duration::from_secs(1), false);

        watch.take(Err(Error::failed("\"branch\" is not running")), true);
        let expected = "\
\"branch\" is not running
  help: `hawser up` starts it if it has ended; it is asked again each 1.0 s
";
        assert_eq!(watch.text(24), expected);

        watch.take(Ok(first()), true);
        assert!(watch.text(24).starts_with("hawser branch: process "), "{}", watch.text(24));
    }
}
