//! What a class of traffic asks of an uplink.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use engine::Class;
use shared::config::{self, Placed, Table, Wrong};

/// Limits that an uplink must keep; what is none doesn't matter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// The longest delay of one way: half of a round trip.
    pub latency: Option<Duration>,
    /// The largest difference between one round trip and the next, half of the times.
    pub jitter: Option<Duration>,
    /// The largest fraction of packets that may be lost, 0 to 1.
    pub loss: Option<f64>,
    /// The lowest mean opinion score of a call, 1 to 4.4 (ITU-T P.800).
    pub mos: Option<f64>,
}

impl Limits {
    /// What the class usually needs. Calls: ITU-T G.114 for the delay, and what vendors of
    /// telephony ask for; the rest is what people still call quick.
    pub fn usual(class: Class) -> Self {
        let limits = |latency, loss, jitter| Self {
            latency: Some(Duration::from_millis(latency)),
            jitter: Some(Duration::from_millis(jitter)),
            loss: Some(loss),
            mos: None,
        };
        match class {
            Class::RealTime => limits(150, 0.01, 30),
            Class::Interactive => limits(300, 0.02, 100),
            Class::Bulk | Class::Scavenger => Self::default(),
        }
    }

    /// Reads the limits of a class; none when the file names none.
    pub(crate) fn read(table: &mut Table<'_>) -> Option<Self> {
        let named = ["latency", "jitter", "loss", "mos"].iter().any(|key| table.has(key));
        let latency = table.optional("latency", config::duration(DELAY_MIN..=DELAY_MAX));
        let jitter = table.optional("jitter", config::duration(DELAY_MIN..=DELAY_MAX));
        let loss = table.optional("loss", config::parsed::<Percent>);
        let mos = table.optional("mos", config::decimal(1.0..=4.4));
        named.then(|| Self {
            latency: latency.map(Placed::into_inner),
            jitter: jitter.map(Placed::into_inner),
            loss: loss.map(|it| it.into_inner().0),
            mos: mos.map(Placed::into_inner),
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// As people say it: "latency 150ms, loss 1%".
impl Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.latency.map(|it| format!("latency {}ms", it.as_millis())));
        parts.extend(self.jitter.map(|it| format!("jitter {}ms", it.as_millis())));
        parts.extend(self.loss.map(|it| format!("loss {}%", percent(it))));
        parts.extend(self.mos.map(|it| format!("MOS {it}")));
        if parts.is_empty() {
            return f.write_str("no limit");
        }
        f.write_str(&parts.join(", "))
    }
}

/// How soon it is known that a limit is broken; none for what has no limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KnownAfter {
    /// A delay, a jitter or a bad sound.
    delay: Option<Duration>,
    /// A loss of a fifth.
    heavy_loss: Option<Duration>,
    /// A loss just above the limit.
    small_loss: Option<Duration>,
}

impl KnownAfter {
    /// With a question each `gap`, and each `hurried` once an answer is missing.
    pub fn of(limits: &Limits, gap: Duration, hurried: Duration) -> Self {
        let too_late = limits.latency.unwrap_or_default() * 2;
        let delays = limits.latency.is_some() || limits.jitter.is_some() || limits.mos.is_some();
        Self {
            delay: delays.then(|| span(gap).max(too_late) + gap * 2),
            // Each fifth is lost: the first one, four that make it certain, and one behind the span of
            // what may be over.
            heavy_loss: limits
                .loss
                .map(|_| gap * 5 + (hurried * 20).max(span(gap) + hurried * 5) + gap * 2),
            small_loss: limits.loss.map(|loss| gap * questions_for(loss) as u32),
        }
    }

    /// The latest of them.
    pub(crate) fn latest(&self) -> Duration {
        self.delay.max(self.heavy_loss).max(self.small_loss).unwrap_or_default()
    }
}

impl Display for KnownAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (what, time) in [
            ("delay", self.delay),
            ("20% loss", self.heavy_loss),
            ("loss just above its limit", self.small_loss),
        ] {
            parts.extend(time.map(|time| format!("{what} {:.1}s", time.as_secs_f64())));
        }
        write!(f, "known after: {}", parts.join(", "))
    }
}

/// How long something must last to break a limit, with a question each `interval`.
pub(crate) fn span(interval: Duration) -> Duration {
    OUTAGE.max(interval * OUTAGE_QUESTIONS)
}

/// How many questions show a loss of this fraction: five lost ones are no chance.
pub(crate) fn questions_for(loss: f64) -> usize {
    ((5.0 / loss) as usize).clamp(100, QUESTIONS_MAX)
}

/// A fraction as its hundredths, with a tenth where there is one.
pub(crate) fn percent(fraction: f64) -> f64 {
    (fraction * 1000.0).round() / 10.0
}

/// A fraction that is written in hundredths: "1%", "0.5%".
struct Percent(f64);

impl FromStr for Percent {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let right = format!("write \"2%\", from {}% to {}%", percent(LOSS_MIN), percent(LOSS_MAX));
        let number = text.strip_suffix('%').map(str::trim).and_then(|it| it.parse::<f64>().ok());
        let Some(number) = number else {
            return Err(Wrong::new("this is no percentage").right(right));
        };
        let fraction = number / 100.0;
        if !(LOSS_MIN..=LOSS_MAX).contains(&fraction) {
            let why = "a smaller loss shows in too many packets, a larger one is an outage";
            return Err(Wrong::new(format!("{number}% is no limit: {why}")).right(right));
        }
        Ok(Self(fraction))
    }
}

/// Questions that are kept: a loss of one in two hundred shows in a thousand.
pub(crate) const QUESTIONS_MAX: usize = 1024;
/// What is over sooner moves nothing.
const OUTAGE: Duration = Duration::from_millis(255);
/// The same, in questions.
const OUTAGE_QUESTIONS: u32 = 12;
/// No line is steadier or nearer than that by itself.
const DELAY_MIN: Duration = Duration::from_millis(1);
const DELAY_MAX: Duration = Duration::from_secs(10);
/// Five lost of a thousand: what the last questions of a probe can show.
const LOSS_MIN: f64 = 0.005;
const LOSS_MAX: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;
    use shared::config::Document;

    #[test]
    fn limits_are_read_and_shown() {
        let limits = read("latency = \"150ms\"\njitter = \"30ms\"\nloss = \"0.5%\"\nmos = 3.6\n");

        let limits = limits.unwrap().unwrap();
        assert_eq!(limits.to_string(), "latency 150ms, jitter 30ms, loss 0.5%, MOS 3.6");
        assert_eq!(read("").unwrap(), None);
        assert_eq!(Limits::default().to_string(), "no limit");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("loss = \"1\"", "this is no percentage"),
            ("loss = \"0.1%\"", "0.1% is no limit"),
            ("loss = 1", "not a string"),
            ("latency = \"11s\"", "out of range"),
            ("mos = 5", "5 is not a number from 1 to 4.4"),
            ("mos = \"good\"", "not a number"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    fn read(text: &str) -> Result<Option<Limits>, shared::exit::Error> {
        Document::from_text("x", text).read(|table| Some(Limits::read(table)))
    }
}
