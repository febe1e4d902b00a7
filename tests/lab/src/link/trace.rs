//! Rate traces in the format of Mahimahi, and a generator of our own.
//!
//! A trace is a text file; each line is a time in milliseconds, never smaller than the one before.
//! Each line is one opportunity to deliver 1500 bytes. The last line is also the length of the
//! trace: after it the trace starts again.

use std::fmt::Write as _;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// Delivery opportunities, played in a loop.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
pub struct Trace {
    /// Milliseconds, ascending; the last is above 0.
    opportunities_ms: Arc<[u64]>,
}

impl Trace {
    /// Reads the text of a trace file.
    ///
    /// # Errors
    /// Names the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut opportunities_ms = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parsed = line.parse();
            let line = index + 1;
            opportunities_ms.push(parsed.map_err(|_| TraceError::NotANumber { line })?);
            let descends =
                opportunities_ms.iter().rev().nth(1).is_some_and(|before| {
                    opportunities_ms.last().is_some_and(|last| last < before)
                });
            if descends {
                return Err(TraceError::Descends { line });
            }
        }
        Self::try_from(opportunities_ms)
    }

    /// Makes a trace like that of a moving LTE modem: a rate that wanders around
    /// `mean_bits_per_second` (its logarithm is pulled back to the mean within about 2 s), with
    /// an outage of 30-150 ms about every 15 s, as handovers make.
    pub fn generate(seed: u64, mean_bits_per_second: u64, length_ms: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let length_ms = length_ms.clamp(1, LENGTH_MS_MAX);
        let mut opportunities_ms = Vec::new();
        let (mut level, mut credit_bytes, mut silent_until_ms) = (0.0f64, 0.0f64, 0u64);
        for ms in 1..=length_ms {
            // The sum of four uniform variables is close enough to a normal one.
            let noise: f64 = (0..4).map(|_| random.random_range(-1.0..1.0)).sum::<f64>() * 0.866;
            level += -level / REVERSION_MS + LEVEL_STEP * noise;
            if random.random_bool(1.0 / HANDOVER_EVERY_MS) {
                silent_until_ms = ms + random.random_range(30..150);
            }
            if ms >= silent_until_ms {
                let bits = mean_bits_per_second as f64 * level.exp() / MEAN_OF_LEVEL;
                credit_bytes += bits / 8000.0;
            }
            let full = opportunities_ms.len() >= OPPORTUNITIES_MAX;
            while credit_bytes >= OPPORTUNITY_BYTES as f64 && !full {
                credit_bytes -= OPPORTUNITY_BYTES as f64;
                opportunities_ms.push(ms);
            }
        }
        opportunities_ms.truncate(OPPORTUNITIES_MAX);
        if opportunities_ms.last() != Some(&length_ms) {
            opportunities_ms.push(length_ms);
        }
        Self { opportunities_ms: opportunities_ms.into() }
    }

    /// The text of a trace file.
    pub fn emit(&self) -> String {
        let mut text = String::with_capacity(self.opportunities_ms.len() * 7);
        for ms in self.opportunities_ms.iter() {
            writeln!(text, "{ms}").expect("writing to a String does not fail");
        }
        text
    }

    /// Its length: when it starts again, in milliseconds.
    pub fn length_ms(&self) -> u64 {
        *self.opportunities_ms.last().expect("a trace is never empty")
    }

    /// What it carries in one turn, as a rate in bits a second.
    pub fn mean_bits_per_second(&self) -> u64 {
        self.opportunities_ms.len() as u64 * OPPORTUNITY_BYTES * 8000 / self.length_ms()
    }

    /// The first opportunity not before `offset_ns` after the start, and not before `from`.
    pub(super) fn next(&self, from: Position, offset_ns: u64) -> Position {
        let length_ns = self.length_ms() * 1_000_000;
        let turn = offset_ns / length_ns;
        let within_ns = offset_ns % length_ns;
        // A turn ends with the opportunity at its length, which is instant 0 of the next one.
        let here = if within_ns == 0 && turn > 0 {
            let last_ms = self.length_ms();
            let index = self.opportunities_ms.partition_point(|ms| *ms < last_ms);
            Position { turn: turn - 1, index }
        } else {
            let index = self.opportunities_ms.partition_point(|ms| ms * 1_000_000 < within_ns);
            Position { turn, index }
        };
        self.normal(here.max(from))
    }

    /// When an opportunity comes, in nanoseconds after the start.
    pub(super) fn time_ns(&self, position: Position) -> u64 {
        let Position { turn, index } = self.normal(position);
        (turn * self.length_ms() + self.opportunities_ms[index]) * 1_000_000
    }

    fn normal(&self, position: Position) -> Position {
        if position.index < self.opportunities_ms.len() {
            return position;
        }
        Position { turn: position.turn + 1, index: 0 }
    }
}

impl TryFrom<Vec<u64>> for Trace {
    type Error = TraceError;

    fn try_from(opportunities_ms: Vec<u64>) -> Result<Self, TraceError> {
        let Some(&length_ms) = opportunities_ms.last() else { return Err(TraceError::Empty) };
        if length_ms == 0 {
            return Err(TraceError::Empty);
        }
        if opportunities_ms.len() > OPPORTUNITIES_MAX || length_ms > LENGTH_MS_MAX {
            return Err(TraceError::TooLong);
        }
        if let Some(at) = opportunities_ms.windows(2).position(|pair| pair[0] > pair[1]) {
            return Err(TraceError::Descends { line: at + 2 });
        }
        Ok(Self { opportunities_ms: opportunities_ms.into() })
    }
}

impl From<Trace> for Vec<u64> {
    fn from(trace: Trace) -> Self {
        trace.opportunities_ms.to_vec()
    }
}

/// What is wrong with a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TraceError {
    /// A time is smaller than the one before.
    Descends {
        /// Counted from 1.
        line: usize,
    },
    /// It has no line, or only times of 0.
    Empty,
    /// A line is not a number of milliseconds.
    NotANumber {
        /// Counted from 1.
        line: usize,
    },
    /// It has more than [`OPPORTUNITIES_MAX`] lines or is longer than [`LENGTH_MS_MAX`].
    TooLong,
}

impl std::fmt::Display for TraceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Descends { line } => write!(
                f,
                "line {line} of the trace is a smaller time than the one before it; sort the lines"
            ),
            Self::Empty => {
                write!(f, "the trace is empty; it needs one time in ms a line, the last above 0")
            }
            Self::NotANumber { line } => write!(
                f,
                "line {line} of the trace is not a number; each line is one time in milliseconds"
            ),
            Self::TooLong => write!(
                f,
                "the trace is too long; at most {OPPORTUNITIES_MAX} lines and {LENGTH_MS_MAX} ms"
            ),
        }
    }
}

impl std::error::Error for TraceError {}

/// Where a playback stands.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Position {
    turn: u64,
    index: usize,
}

impl Position {
    /// Passes to the next opportunity.
    pub(super) fn advance(&mut self) {
        self.index += 1;
    }
}

/// What one opportunity carries (Mahimahi, mm-link).
pub const OPPORTUNITY_BYTES: u64 = 1500;
/// Lines of a trace at most: ten minutes at 40 Mbit/s.
pub const OPPORTUNITIES_MAX: usize = 2_000_000;
/// Length of a trace at most: one day.
pub const LENGTH_MS_MAX: u64 = 86_400_000;

/// How fast the generated rate returns to its mean.
const REVERSION_MS: f64 = 2000.0;
/// Step of the rate's logarithm a millisecond. In the long run its deviation is
/// `LEVEL_STEP × sqrt(REVERSION_MS / 2)` = 0.4: the rate lies mostly between half and double.
const LEVEL_STEP: f64 = 0.4 / 31.6;
/// Mean of exp(level) for a deviation of 0.4: exp(0.4² / 2).
const MEAN_OF_LEVEL: f64 = 1.083;
/// How often a generated trace has an outage.
const HANDOVER_EVERY_MS: f64 = 15_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_emitted_parses_to_the_same_trace() {
        let trace = Trace::generate(7, 20_000_000, 30_000);

        assert_eq!(Trace::parse(&trace.emit()), Ok(trace));
    }

    #[test]
    fn a_generated_trace_has_its_mean_varies_and_pauses() {
        let trace = Trace::generate(1, 30_000_000, 120_000);

        let mean = trace.mean_bits_per_second() as f64 / 30e6;
        assert!((0.7..1.3).contains(&mean), "{mean}");
        assert_ne!(trace, Trace::generate(2, 30_000_000, 120_000));
        let pause = trace.opportunities_ms.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(pause >= Some(30), "{pause:?}");
    }

    #[test]
    fn a_wrong_line_is_named() {
        assert_eq!(Trace::parse("1\nx\n"), Err(TraceError::NotANumber { line: 2 }));
        assert_eq!(Trace::parse("# head\n5\n4\n"), Err(TraceError::Descends { line: 3 }));
        assert_eq!(Trace::parse("0\n0\n"), Err(TraceError::Empty));
    }

    #[test]
    fn playback_loops_without_a_seam() {
        let trace = Trace::parse("2\n5\n10\n").unwrap();
        let (mut position, mut times) = (Position::default(), Vec::new());

        for _ in 0..7 {
            let after = times.last().copied().unwrap_or(0);
            position = trace.next(position, after);
            times.push(trace.time_ns(position));
            position.advance();
        }

        assert_eq!(times, [2, 5, 10, 12, 15, 20, 22].map(|ms| ms * 1_000_000));
    }
}
