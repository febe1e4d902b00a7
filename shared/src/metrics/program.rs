//! The figures of the program as a whole.

use std::fmt;

use super::exposition::{Exposition, Family, Value, truth};
use crate::status::Snapshot;

pub(super) fn write(out: &mut Exposition<'_>, snapshot: &Snapshot) -> fmt::Result {
    let Snapshot { program, name, software, since, sessions, refused, .. } = snapshot;
    let labels = [("program", program), ("name", name), ("version", software)];
    let build = labels.map(|(label, value)| (label, value.clone())).to_vec();
    // A program that does not tell its version is older than this figure.
    let build = (!software.is_empty()).then(|| (build, truth(true)));
    out.family(&BUILD, build)?;
    out.family(&START, [(Vec::new(), Value::Whole(*since))])?;
    out.family(&SESSIONS, [(Vec::new(), Value::Whole(sessions.len() as u64))])?;
    let refused = refused
        .iter()
        .map(|(reason, count)| (vec![("reason", reason.clone())], Value::Whole(*count)));
    out.family(&REFUSED, refused)
}

const BUILD: Family = Family::gauge("hawser_build_info", "The program that runs, always 1.");
const START: Family =
    Family::gauge("hawser_start_time_seconds", "When the program started, in seconds since 1970.");
const SESSIONS: Family = Family::gauge("hawser_sessions", "Sessions that there are.");
const REFUSED: Family = Family::counter(
    "hawser_refused_total",
    "Datagrams, packets and connections that were refused, by reason.",
);
