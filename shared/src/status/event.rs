//! What has happened in a running program, as it tells others.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

pub use self::command::EventsArguments;

mod command;

/// The name of the request for [`Events`].
pub const EVENTS: &str = "events";

/// The arguments of the request [`EVENTS`].
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct EventsRequest {
    /// Only events with larger numbers are wanted; absent, all that are remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Whether to wait for one, for [`EVENTS_WAIT`] at most.
    pub wait: bool,
}

/// So long an answer to [`EVENTS`] is held back at most. Shorter than anybody's patience.
pub const EVENTS_WAIT: Duration = Duration::from_secs(3);

/// The answer to [`EVENTS`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Events {
    /// The events, the oldest first.
    pub events: Vec<Event>,
    /// The number of the last event that there was; 0 before the first.
    pub last: u64,
    /// How many that were asked for are forgotten.
    pub missed: u64,
    /// The process whose events these are: another one counts anew.
    pub pid: u32,
}

/// One thing that happened. Fields that a kind of event does not have are absent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Event {
    /// Counts up from 1 without gaps.
    pub seq: u64,
    /// When, in seconds since 1970, to the millisecond.
    pub time: f64,
    /// What: `health`, `family`, `order`, `quality`, `active` or `flushed`.
    pub kind: String,
    /// The uplink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink: Option<String>,
    /// The class of traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// `IPv4` or `IPv6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// What was before: a state, or the names of uplinks with a comma between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What is since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What brought about a verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Why a choice is what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// All of it, for people.
    pub text: String,
}

impl Event {
    /// An event of which only number, time since 1970 and the words for people are known yet.
    pub fn new(seq: u64, at: Duration, text: String) -> Self {
        Self { seq, time: at.as_millis() as f64 / 1e3, text, ..Self::default() }
    }

    /// The event as a line for people, without its end: number, time (UTC), text.
    fn line(&self) -> String {
        let Self { seq, text, .. } = self;
        format!("{seq:>4}  {}  {text}", moment(self.time))
    }
}

/// A time in seconds since 1970 as ISO 8601 writes it, in UTC and to the millisecond.
fn moment(time: f64) -> String {
    let time = Duration::from_millis((time * 1e3).round().clamp(0.0, MILLIS_MAX) as u64);
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + time).to_string()
}

/// The end of the year 9999: what is later has no such form.
const MILLIS_MAX: f64 = 253_402_300_799_999.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_with_its_time_to_the_millisecond() {
        let at = Duration::from_nanos(1_764_319_382_012_999_999);
        let event = Event::new(7, at, "IPv4 flows of lte begin anew".to_owned());

        let expected = "   7  2025-11-28T08:43:02.012Z  IPv4 flows of lte begin anew";
        assert_eq!(event.line(), expected);
        let json = serde_json::to_string(&event).unwrap();
        assert!(json.starts_with("{\"seq\":7,\"time\":1764319382.012,\"kind\""), "{json}");
    }

    #[test]
    fn times_that_no_clock_shows_are_survived() {
        for (time, expected) in [
            (f64::NAN, "1970-01-01T00:00:00.000Z"),
            (-1.0, "1970-01-01T00:00:00.000Z"),
            (f64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(moment(time), expected);
        }
    }
}
