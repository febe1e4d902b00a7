//! The command `events`.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use serde_json::json;
use tokio::time::sleep;

use super::{EVENTS, EVENTS_WAIT, Event, Events, EventsRequest};
use crate::{
    exit::Error,
    signals::Signals,
    status::{Addressee, Instance, command::print, query},
};

/// What `events` takes from the command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct EventsArguments {
    /// Which program.
    #[command(flatten)]
    pub addressee: Addressee,
    /// Go on with what happens, until Ctrl-C
    #[arg(long)]
    pub follow: bool,
    /// Print a JSON object for each event
    #[arg(long)]
    pub json: bool,
}

impl EventsArguments {
    /// Prints the last events, the oldest first; then, if that is wanted, each one that happens,
    /// until asked to end or until the program ends.
    ///
    /// # Errors
    /// When the program is not running, does not answer, or has no events.
    pub fn run(&self, program: &'static str) -> Result<(), Error> {
        let instance = self.addressee.only(program)?;
        let first: Events = instance.ask(EVENTS, &EventsRequest::default())?;
        let read = print(&self.text(&first)?)?;
        if !read || !self.follow {
            return Ok(());
        }
        let Events { last, pid, .. } = first;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::from_io("start a runtime", &error))?;
        let ended = runtime.block_on(self.follow(program, instance, last, pid));
        // A question that is not answered yet would be waited for.
        runtime.shutdown_background();
        ended
    }

    /// Prints what happens after the event numbered `last` in the process `pid`.
    async fn follow(
        &self,
        program: &str,
        instance: Instance,
        mut last: u64,
        pid: u32,
    ) -> Result<(), Error> {
        let mut signals = Signals::listen()?;
        loop {
            let pause = sleep(PAUSE);
            let asked = instance.clone();
            let request = EventsRequest { after: Some(last), wait: true };
            let answer = tokio::task::spawn_blocking(move || {
                query::ask::<_, Events>(&asked, EVENTS_WAIT + PATIENCE, EVENTS, &request)
            });
            let answer = tokio::select! {
                () = signals.asked_to_end() => return Ok(()),
                answer = answer => answer.map_err(|error| Error::failed(error.to_string()))?,
            };
            let Some(answer) = answer?.filter(|answer| answer.pid == pid) else {
                // A closed stderr is no reason to end with another code.
                let _ = writeln!(io::stderr(), "{program}: \"{}\" has ended", instance.name());
                return Ok(());
            };
            if !print(&self.text(&answer)?)? {
                return Ok(());
            }
            last = answer.last;
            // A program that does not hold its answer back is not asked in a whirl.
            if answer.events.is_empty() {
                tokio::select! {
                    () = signals.asked_to_end() => return Ok(()),
                    () = pause => {}
                }
            }
        }
    }

    fn text(&self, answer: &Events) -> Result<String, Error> {
        let missed = (answer.missed > 0).then(|| Ok(self.missed(answer.missed)));
        let events = answer.events.iter().map(|event| self.event(event));
        missed.into_iter().chain(events).collect()
    }

    fn event(&self, event: &Event) -> Result<String, Error> {
        if !self.json {
            return Ok(event.line() + "\n");
        }
        // Not through a `Value`, which would sort the fields.
        let text = serde_json::to_string(event).map_err(|error| {
            Error::failed(format_args!("event {} can't be written: {error}", event.seq))
        })?;
        Ok(text + "\n")
    }

    /// What stands in the place of events that were forgotten before they could be read.
    fn missed(&self, missed: u64) -> String {
        let were = if missed == 1 { "event was" } else { "events were" };
        let text = format!("{missed} {were} forgotten before this reader came to them");
        if !self.json {
            return format!("   -  {text}\n");
        }
        format!("{}\n", json!({ "kind": "missed", "missed": missed, "text": text }))
    }
}

/// Between two questions that were answered at once and by nothing.
const PAUSE: Duration = Duration::from_secs(1);

/// For the answer itself: a busy machine is no reason to stop looking on.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_too_slow_is_told_how_many_he_missed() {
        let event = Event::new(9, Duration::from_secs(1), "it rains".to_owned());
        let answer = Events { events: vec![event], last: 9, missed: 5, pid: 1 };

        let shown = EventsArguments::default().text(&answer).unwrap();
        let expected = "   -  5 events were forgotten before this reader came to them\n   \
                        9  1970-01-01T00:00:01.000Z  it rains\n";
        assert_eq!(shown, expected);

        let json = EventsArguments { json: true, ..EventsArguments::default() };
        let shown = json.text(&answer).unwrap();
        let lines: Vec<serde_json::Value> =
            shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["kind"], &lines[0]["missed"]), (&"missed".into(), &5.into()));
        assert_eq!((&lines[1]["seq"], &lines[1]["time"]), (&9.into(), &1.0.into()));
        assert_eq!(lines[1].get("uplink"), None, "what it does not have is absent");
    }
}
