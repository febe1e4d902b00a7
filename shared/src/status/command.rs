//! The command `status` of both programs.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use serde_json::json;

use super::{
    Addressee, Snapshot, VERSION, addressee::Running, screen::WRITING, table, watch::Watch,
};
use crate::{clock, exit::Error, grid::Colour, metrics};

/// What `status` takes from the command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StatusArguments {
    /// Which program.
    #[command(flatten)]
    pub addressee: Addressee,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print figures for Prometheus, in its text format 0.0.4
    #[arg(long, conflicts_with_all = ["json", "watch"])]
    pub metrics: bool,
    /// Show what goes on, again and again
    #[arg(long)]
    pub watch: bool,
    /// The time from one to the next, such as 200ms or 5s [default: 1s]
    #[arg(long, value_name = "TIME", requires = "watch", value_parser = interval)]
    pub interval: Option<Duration>,
}

impl StatusArguments {
    /// Prints the status of the program that was asked for; without a name, of the only one that
    /// runs, or a list when there are several.
    ///
    /// # Errors
    /// When it is not running, or does not answer.
    pub fn run(&self, program: &str) -> Result<(), Error> {
        if self.watch {
            let first = self.addressee.one(program)?;
            return Watch::new(first.snapshot, self.interval.unwrap_or(INTERVAL), self.json).run();
        }
        if self.metrics {
            let figures = metrics::render(self.addressee.one(program)?.snapshot)?;
            return print(&figures).map(drop);
        }
        print(&self.text(program)?).map(drop)
    }

    fn text(&self, program: &str) -> Result<String, Error> {
        match self.addressee.all(program)?.as_slice() {
            [only] => Ok(self.one(&only.snapshot)),
            several => Ok(self.list(several)),
        }
    }

    fn one(&self, snapshot: &Snapshot) -> String {
        if self.json {
            return json_line(snapshot);
        }
        table::render(snapshot, clock::since_epoch().as_secs(), Colour::of_stdout())
    }

    fn list(&self, all: &[Running]) -> String {
        let snapshots: Vec<&Snapshot> = all.iter().map(|it| &it.snapshot).collect();
        if !self.json {
            let now = clock::since_epoch().as_secs();
            return table::render_list(&snapshots, now, Colour::of_stdout());
        }
        let running: Vec<_> = snapshots
            .iter()
            .map(|it| {
                json!({
                    "program": it.program, "name": it.name, "pid": it.pid, "since": it.since,
                    "mode": it.mode, "sessions": it.sessions.len(),
                })
            })
            .collect();
        format!("{}\n", json!({ "version": VERSION, "running": running }))
    }
}

/// Between two looks of `--watch`, if nothing else is asked for.
const INTERVAL: Duration = Duration::from_secs(1);

/// Below, figures are noise, and asking would be work for the program; above, nobody looks on.
const INTERVAL_MIN: Duration = Duration::from_millis(200);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// An interval on the command line.
fn interval(text: &str) -> Result<Duration, String> {
    let example = "write a number with its unit, such as 200ms or 5s";
    let interval = humantime::parse_duration(text)
        .map_err(|error| format!("this is not a time: {error}; {example}"))?;
    let shown = humantime::format_duration;
    if interval < INTERVAL_MIN {
        Err(format!("this is too short: at least {}", shown(INTERVAL_MIN)))
    } else if interval > INTERVAL_MAX {
        Err(format!("this is too long: at most {}", shown(INTERVAL_MAX)))
    } else {
        Ok(interval)
    }
}

/// A snapshot as JSON.
pub(super) fn json_line(snapshot: &Snapshot) -> String {
    // Not through a `Value`, which would sort the fields.
    let text = serde_json::to_string(snapshot).expect("a snapshot has only string keys");
    format!("{text}\n")
}

/// Prints to standard output; says whether anybody still reads it.
pub(super) fn print(text: &str) -> Result<bool, Error> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::from_io(WRITING, &error)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn an_interval_has_limits_and_belongs_to_watch() {
        let parsed = parse(&["--watch", "--interval", "200ms"]).unwrap();
        assert_eq!(parsed.interval, Some(Duration::from_millis(200)));
        let parsed = parse(&["--watch", "--interval", "2.5s"]).unwrap();
        assert_eq!(parsed.interval, Some(Duration::from_millis(2_500)));

        for (arguments, expected) in [
            (["--watch", "--interval", "0.1s"].as_slice(), "this is too short: at least 200ms"),
            (&["--watch", "--interval", "0s"], "this is too short: at least 200ms"),
            (&["--watch", "--interval", "2h"], "this is too long: at most 1h"),
            (&["--watch", "--interval", "fast"], "such as 200ms or 5s"),
            (&["--interval", "1s"], "--watch"),
        ] {
            let error = parse(arguments).unwrap_err();
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
    }

    fn parse(arguments: &[&str]) -> Result<StatusArguments, String> {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            status: StatusArguments,
        }
        let line = Line::try_parse_from([&["status"], arguments].concat());
        line.map(|line| line.status).map_err(|error| error.to_string())
    }
}
