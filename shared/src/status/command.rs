//! The command `status` of both programs.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    time::Duration,
};

use serde_json::json;

use super::{
    Instance, Snapshot, VERSION, instance,
    query::{self, not_running},
    table,
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
    /// Show it again each second
    #[arg(long)]
    pub watch: bool,
}

impl StatusArguments {
    /// Prints the status of the program that was asked for; without a name, of the only one that
    /// runs, or a list when there are several.
    ///
    /// # Errors
    /// When it is not running, or does not answer.
    pub fn run(&self, program: &str) -> Result<(), Error> {
        loop {
            let shown = self.text(program);
            let screen = self.watch && !self.json && io::stdout().is_terminal();
            let text = match shown {
                // On a screen somebody waits for it to come back.
                Err(error) if screen => format!("{error}\n"),
                other => other?,
            };
            let clear = if screen { "\x1b[H\x1b[2J" } else { "" };
            if !print(&format!("{clear}{text}"))? || !self.watch {
                return Ok(());
            }
            std::thread::sleep(WATCH_INTERVAL);
        }
    }

    fn text(&self, program: &str) -> Result<String, Error> {
        let wanted = match (&self.name, &self.config) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(config)) => Some(instance::instance_name(None, config)?),
            (None, None) => None,
        };
        match wanted {
            Some(name) => Ok(self.one(&one_called(&name)?)),
            None => self.all(program),
        }
    }

    fn all(&self, program: &str) -> Result<String, Error> {
        let running: Vec<Snapshot> =
            instance::all()?.iter().filter_map(|instance| query::ask(instance).ok()).collect();
        let own: Vec<&Snapshot> = running.iter().filter(|it| it.program == program).collect();
        match own.as_slice() {
            [] => Err(none_running(program, &running)),
            [only] => Ok(self.one(only)),
            several => Ok(self.list(several)),
        }
    }

    fn one(&self, snapshot: &Snapshot) -> String {
        if self.json {
            // Not through a `Value`, which would sort the fields.
            let text = serde_json::to_string(snapshot).expect("a snapshot has only string keys");
            return format!("{text}\n");
        }
        table::render(snapshot, clock::since_epoch().as_secs(), Colour::of_stdout())
    }

    fn list(&self, snapshots: &[&Snapshot]) -> String {
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

const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// A name may have a socket in more than one folder; the one that answers counts.
fn one_called(name: &str) -> Result<Snapshot, Error> {
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
fn print(text: &str) -> Result<bool, Error> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::from_io("write to standard output", &error)),
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
