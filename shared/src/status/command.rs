//! The command `status` of both programs.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use serde_json::json;

use super::{
    Instance, Snapshot, VERSION, instance,
    query::{self, not_running},
    screen::WRITING,
    table,
    watch::Watch,
};
use crate::{clock, exit::Error, grid::Colour};

/// What `status` takes from the command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StatusArguments {
    /// The running program, as in its --name
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub name: Option<String>,
    /// The configuration file that the running program was started with
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
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
            let first = self.only(program)?;
            return Watch::new(first, self.interval.unwrap_or(INTERVAL), self.json).run();
        }
        print(&self.text(program)?).map(drop)
    }

    fn text(&self, program: &str) -> Result<String, Error> {
        match self.asked(program)?.as_slice() {
            [only] => Ok(self.one(only)),
            several => Ok(self.list(several)),
        }
    }

    /// The one program that is to be watched.
    fn only(&self, program: &str) -> Result<Snapshot, Error> {
        let mut asked = self.asked(program)?;
        match (asked.pop(), asked.as_slice()) {
            (Some(only), []) => Ok(only),
            (last, others) => {
                let names: Vec<&str> = others.iter().chain(&last).map(|it| &*it.name).collect();
                let several = format!("several are running here: {}", names.join(", "));
                Err(Error::configuration(several)
                    .with_remedy("`status --watch --name NAME` shows one of them"))
            }
        }
    }

    /// The program with the name that was given, or all that run: at least one.
    fn asked(&self, program: &str) -> Result<Vec<Snapshot>, Error> {
        let wanted = match (&self.name, &self.config) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(config)) => Some(instance::instance_name(None, config)?),
            (None, None) => None,
        };
        if let Some(name) = wanted {
            return Ok(vec![one_called(&name)?]);
        }
        let running: Vec<Snapshot> =
            instance::all()?.iter().filter_map(|instance| query::ask(instance).ok()).collect();
        let (own, others): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|it| it.program == program);
        if own.is_empty() { Err(none_running(program, &others)) } else { Ok(own) }
    }

    fn one(&self, snapshot: &Snapshot) -> String {
        if self.json {
            return json_line(snapshot);
        }
        table::render(snapshot, clock::since_epoch().as_secs(), Colour::of_stdout())
    }

    fn list(&self, snapshots: &[Snapshot]) -> String {
        if !self.json {
            let now = clock::since_epoch().as_secs();
            return table::render_list(snapshots, now, Colour::of_stdout());
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

/// A name may have a socket in more than one folder; the one that answers counts.
pub(super) fn one_called(name: &str) -> Result<Snapshot, Error> {
    let mut failed = not_running(name).with_remedy("`status` without --name lists what runs");
    for instance in instance::called(name)? {
        match query::ask(&instance) {
            Ok(snapshot) => return Ok(snapshot),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn none_running(program: &str, others: &[Snapshot]) -> Error {
    let error = Error::failed(format_args!("no {program} is running here"));
    match others.first() {
        Some(other) => {
            error.with_remedy(format_args!("`{} status` shows the other program", other.program))
        }
        None => error,
    }
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

impl Instance {
    /// Asks the program of this name how it is.
    ///
    /// # Errors
    /// When it does not run, does not answer in time, or answers something else.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        query::ask(self)
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
