//! What happened to the uplinks, in order.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use shared::host::Family;
use tokio::sync::watch;

use super::health::{Cause, State};
use super::quality::Breach;
use super::uplink::Duty;
use crate::policy::REST;

/// One thing that happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// Counts up from 1 without gaps: it orders all events of one run.
    pub seq: u64,
    /// When, since boot.
    pub at: Duration,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EventKind {
    /// The verdict on an uplink changed.
    Health {
        /// The uplink.
        uplink: String,
        /// The verdict before.
        from: State,
        /// The verdict after.
        to: State,
        /// Why.
        cause: Cause,
    },
    /// Nothing that one family asks is answered by an uplink that otherwise works, or it is again.
    Family {
        /// The uplink.
        uplink: String,
        /// The family.
        family: Family,
        /// Whether it is answered.
        works: bool,
    },
    /// The operator has had his way with an uplink.
    Ordered {
        /// The uplink.
        uplink: String,
        /// What it is since.
        order: Order,
    },
    /// An uplink breaks the limits of a class, or keeps them again.
    Quality {
        /// The uplink.
        uplink: String,
        /// The class.
        class: &'static str,
        /// The limit that is broken, and by what; none when all are kept again.
        breach: Option<Breach>,
    },
    /// New flows of a family leave by other uplinks.
    Active {
        /// The class, or [`REST`].
        class: &'static str,
        /// The family.
        family: Family,
        /// The uplinks before.
        from: Vec<String>,
        /// The uplinks after.
        to: Vec<String>,
        /// Why these.
        reason: Reason,
    },
    /// The flows of an uplink were forgotten, so that they begin anew by another one.
    Flushed {
        /// The uplink.
        uplink: String,
        /// The class of the flows, or [`REST`].
        class: &'static str,
        /// The family of the flows.
        family: Family,
    },
}

/// What an operator makes of an uplink, by a command or by the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// It is a new one.
    Added,
    /// It has another configuration.
    Changed,
    /// It is no more.
    Removed,
    /// What it may do.
    Duty(Duty),
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Changed => "configured anew",
            Self::Removed => "removed",
            Self::Duty(Duty::Normal) => "in use as configured",
            Self::Duty(Duty::Drain) => "draining",
            Self::Duty(Duty::Off) => "switched off",
        })
    }
}

/// Why an uplink was chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// It is the healthy one of the lowest tier.
    Healthy,
    /// Nothing better is known yet: the next round of probes tells.
    Unproven,
    /// None keeps the limits of the class.
    NoneFits,
    /// None is healthy, and this one has at least a link.
    FailOpen,
    /// None has a link.
    NoneLeft,
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |uplinks: &[String]| match uplinks {
            [] => "none".to_owned(),
            several => several.join(" and "),
        };
        match self {
            Self::Health { uplink, from, to, cause } => {
                write!(f, "uplink {uplink}: {from} -> {to} ({cause})")
            }
            Self::Family { uplink, family, works: true } => {
                write!(f, "uplink {uplink}: {family} is answered again")
            }
            Self::Family { uplink, family, works: false } => {
                write!(f, "uplink {uplink}: {family} is not answered, the other family is")
            }
            Self::Ordered { uplink, order } => write!(f, "uplink {uplink}: {order}"),
            Self::Quality { uplink, class, breach: Some(breach) } => {
                write!(f, "uplink {uplink} is not good enough for {class}: {breach}")
            }
            Self::Quality { uplink, class, breach: None } => {
                write!(f, "uplink {uplink} is good enough for {class} again")
            }
            Self::Active { class, family, from, to, reason } if from == to => {
                write!(f, "{}{family} stays on {} ({reason})", of(class), names(to))
            }
            Self::Active { class, family, from, to, reason } => {
                let (to, from) = (names(to), names(from));
                write!(f, "{}{family} leaves by {to} instead of {from} ({reason})", of(class))
            }
            Self::Flushed { uplink, class, family } => {
                write!(f, "{}{family} flows of {uplink} begin anew", of(class))
            }
        }
    }
}

/// Which traffic, where it is not all.
fn of(class: &str) -> String {
    if class == REST { String::new() } else { format!("{class} ") }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Up => "healthy",
            Self::Down => "unhealthy",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered => "answered",
            Self::Silent => "no answer",
            Self::Refused => "refused by the target",
            Self::Status(status) => return write!(f, "HTTP status {status}"),
            Self::Body => "not the answer that was expected",
            Self::Slow => "the answer did not end in time",
            Self::NotHttp => "the answer is not HTTP",
            Self::NameServer(code) => return write!(f, "DNS error {code}"),
            Self::Unresolved => "the name has no address here",
            Self::CertificateExpired => "certificate expired",
            Self::CertificateNotYetValid => "certificate not valid yet",
            Self::CertificateOfAnother => "certificate of another name",
            Self::CertificateUntrusted => "certificate not trusted",
            Self::NoAuthorities => "no authority to check certificates with: name one as `ca`",
            Self::Tls => "TLS failed",
            Self::Unreachable => "unreachable",
            Self::LinkDown => "no link",
            Self::LinkUp => "the link is up",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy, lowest tier",
            Self::Unproven => "until more is known",
            Self::NoneFits => "none keeps the limits",
            Self::FailOpen => "none is healthy, this one has a link",
            Self::NoneLeft => "none has a link",
        })
    }
}

/// The last events.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    events: VecDeque<Event>,
    /// The number of the last one.
    recorded: watch::Sender<u64>,
}

impl EventLog {
    pub(super) fn record(&mut self, at: Duration, kind: EventKind) {
        let seq = self.last() + 1;
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Event { seq, at, kind });
        self.recorded.send_replace(seq);
    }

    /// The number of the last event; 0 before the first.
    pub(super) fn last(&self) -> u64 {
        *self.recorded.borrow()
    }

    /// The number of the last event that is forgotten; 0 while all are remembered.
    pub(super) fn forgotten(&self) -> u64 {
        self.last() - self.events.len() as u64
    }

    /// Those that are numbered higher, the oldest first.
    pub(super) fn after(&self, seq: u64) -> impl Iterator<Item = &Event> {
        self.events.iter().skip(seq.saturating_sub(self.forgotten()) as usize)
    }

    /// Tells the number of the last event as it grows.
    pub(super) fn follow(&self) -> watch::Receiver<u64> {
        self.recorded.subscribe()
    }

    pub(super) fn to_vec(&self) -> Vec<Event> {
        self.events.iter().cloned().collect()
    }
}

/// Days of a normal host; an hour of a bad one.
pub(super) const EVENTS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_forgets_the_oldest_and_counts_on() {
        let mut log = EventLog::default();
        for at in 0..EVENTS_MAX as u64 + 3 {
            let kind = EventKind::Quality { uplink: "a".to_owned(), class: REST, breach: None };
            log.record(Duration::from_secs(at), kind);
        }

        let events = log.to_vec();

        assert_eq!(events.len(), EVENTS_MAX);
        assert_eq!(events[0].seq, 4);
        assert!(events.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
    }
}
