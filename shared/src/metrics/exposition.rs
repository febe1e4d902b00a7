//! Writes families of figures.
//!
//! The library writes OpenMetrics, where the family of a counter lacks the `_total` that its samples
//! have. The format 0.0.4 calls a family what its samples are called. So the value of a counter is
//! written as that of a gauge, under a family's whole name that says it is a counter.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, GaugeValueEncoder},
    metrics::MetricType,
};

use super::{path, program, session, uplink};
use crate::status::Snapshot;

/// The figures of a program, to be written once.
#[derive(Debug)]
pub(super) struct Figures(pub(super) Snapshot);

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Exposition(encoder);
        program::write(&mut out, &self.0)?;
        session::write(&mut out, &self.0)?;
        path::write(&mut out, &self.0)?;
        uplink::write(&mut out, &self.0)
    }
}

/// Where families are written.
pub(super) struct Exposition<'e>(DescriptorEncoder<'e>);

impl Exposition<'_> {
    /// Writes a family with its samples, no two of which have the same labels; nothing when there
    /// is none.
    pub(super) fn family(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = Sample>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let Family { name, help, kind } = *family;
        let mut out = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            if labels.is_empty() {
                out.encode_gauge(&value)?;
            } else {
                out.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }

    /// Writes a family for each of `figures`, with a sample for each of `things` that has it.
    pub(super) fn figures<T>(
        &mut self,
        figures: &[Figure<T>],
        things: &[(Labels, &T)],
    ) -> fmt::Result {
        for Figure { family, of } in figures {
            let samples =
                things.iter().filter_map(|(labels, thing)| Some((labels.clone(), of(thing)?)));
            self.family(family, samples)?;
        }
        Ok(())
    }
}

/// What is counted or measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
}

impl Family {
    pub(super) const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::Counter }
    }

    pub(super) const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::Gauge }
    }
}

/// A family with a sample for each thing of a kind.
pub(super) struct Figure<T> {
    family: Family,
    of: fn(&T) -> Option<Value>,
}

impl<T> Figure<T> {
    pub(super) const fn counter(
        name: &'static str,
        help: &'static str,
        of: fn(&T) -> Option<Value>,
    ) -> Self {
        Self { family: Family::counter(name, help), of }
    }

    pub(super) const fn gauge(
        name: &'static str,
        help: &'static str,
        of: fn(&T) -> Option<Value>,
    ) -> Self {
        Self { family: Family::gauge(name, help), of }
    }
}

/// The labels of a sample, by name and value.
pub(super) type Labels = Vec<(&'static str, String)>;

/// One line.
pub(super) type Sample = (Labels, Value);

/// The value of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

impl EncodeGaugeValue for Value {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => value.encode(encoder),
            Self::Real(value) => value.encode(encoder),
        }
    }
}

/// A count, or an amount of bytes.
pub(super) fn whole(value: Option<u64>) -> Option<Value> {
    value.map(Value::Whole)
}

/// A yes or no.
pub(super) fn truth(value: bool) -> Value {
    Value::Whole(u64::from(value))
}

/// A ratio. What is no number is not known.
pub(super) fn ratio(value: Option<f64>) -> Option<Value> {
    value.filter(|value| value.is_finite()).map(Value::Real)
}

/// A time in ms, in seconds.
pub(super) fn seconds(millis: Option<f64>) -> Option<Value> {
    ratio(millis.map(|millis| millis / 1e3))
}

/// A rate in bit/s, in bytes per second.
pub(super) fn bytes_per_second(bits: Option<u64>) -> Option<Value> {
    bits.map(|bits| Value::Real(bits as f64 / 8.0))
}

/// A sample for each state that a thing may be in, 1 for the one that it is in. A state that is not
/// among those known is one more.
pub(super) fn states(labels: &Labels, known: &[&str], state: &str) -> Vec<Sample> {
    let strange = (!known.contains(&state)).then_some(state);
    let all = known.iter().copied().chain(strange);
    all.map(|name| (with(labels, "state", name), truth(name == state))).collect()
}

/// The labels and one more.
pub(super) fn with(labels: &Labels, name: &'static str, value: &str) -> Labels {
    let mut labels = labels.clone();
    labels.push((name, value.to_owned()));
    labels
}
