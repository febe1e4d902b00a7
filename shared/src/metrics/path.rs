//! The figures of paths.

use std::fmt;

use super::{
    exposition::{
        Exposition, Family, Figure, Labels, bytes_per_second, ratio, seconds, states, truth, whole,
        with,
    },
    session,
};
use crate::status::{Path, PathDirection, Snapshot};

pub(super) fn write(out: &mut Exposition<'_>, snapshot: &Snapshot) -> fmt::Result {
    let sessions = session::newest(snapshot).into_iter();
    let paths: Vec<(Labels, &Path)> = sessions
        .flat_map(|session| {
            session.paths.iter().map(|path| (labels(session::labels(session), path), path))
        })
        .collect();
    let ways: Vec<(Labels, &PathDirection)> = paths
        .iter()
        .flat_map(|(labels, path)| {
            [("up", &path.up), ("down", &path.down)]
                .map(|(way, direction)| (with(labels, "direction", way), direction))
        })
        .collect();
    let known = ways.iter().filter_map(|(labels, way)| Some((labels, way.state.as_deref()?)));
    let plain = known.clone().map(|(labels, state)| (labels, state.trim_end_matches(QUIET)));
    out.family(&STATE, plain.flat_map(|(labels, state)| states(labels, &STATES, state)))?;
    let quiet = known.map(|(labels, state)| (labels.clone(), truth(state.ends_with(QUIET))));
    out.family(&QUIET_NOW, quiet)?;
    out.figures(&PATHS, &paths)?;
    out.figures(&DIRECTIONS, &ways)
}

/// The labels of a path. At the server nobody knows the client's link.
fn labels(mut session: Labels, path: &Path) -> Labels {
    session.push(("path", path.id.to_string()));
    if !path.link.is_empty() {
        session.push(("link", path.link.clone()));
    }
    session
}

/// Behind the state of a path that carries nothing at present.
const QUIET: &str = " quiet";

const STATES: [&str; 6] = ["validating", "up", "suspect", "dead", "probation", "closed"];

const STATE: Family =
    Family::gauge("hawser_path_state", "1 for the state that the path is in, else 0.");
const QUIET_NOW: Family =
    Family::gauge("hawser_path_quiet", "1 while the path carries no data, else 0.");

const PATHS: [Figure<Path>; 3] = [
    Figure::gauge("hawser_path_backup", "1 for a backup, else 0.", |it| {
        Some(truth(it.status == "backup"))
    }),
    Figure::gauge("hawser_path_metered", "1 where each byte costs, else 0.", |it| {
        Some(truth(it.metered))
    }),
    Figure::gauge(
        "hawser_path_mtu_bytes",
        "The largest outer packet that the path was seen to carry.",
        |it| whole(it.mtu.map(u64::from)),
    ),
];

const DIRECTIONS: [Figure<PathDirection>; 19] = [
    Figure::gauge("hawser_path_srtt_seconds", "Smoothed round trip time.", |it| {
        seconds(it.srtt_ms)
    }),
    Figure::gauge("hawser_path_rttvar_seconds", "Variation of the round trip time.", |it| {
        seconds(it.rttvar_ms)
    }),
    Figure::gauge("hawser_path_min_rtt_seconds", "Least round trip time seen lately.", |it| {
        seconds(it.min_rtt_ms)
    }),
    Figure::gauge("hawser_path_queue_seconds", "How long what is sent waits on the path.", |it| {
        seconds(it.queue_ms)
    }),
    Figure::gauge(
        "hawser_path_jitter_seconds",
        "How much the delay varies without a queue.",
        |it| seconds(it.jitter_ms),
    ),
    Figure::gauge(
        "hawser_path_loss_ratio",
        "Share of the datagrams sent so far that were lost.",
        |it| ratio(it.loss),
    ),
    Figure::gauge(
        "hawser_path_recent_loss_ratio",
        "Share of the bytes that was lost in the last seconds under load.",
        |it| ratio(it.loss_lately),
    ),
    Figure::gauge(
        "hawser_path_rate_bytes_per_second",
        "Estimated capacity or delivery rate.",
        |it| bytes_per_second(it.rate_bit_s),
    ),
    Figure::gauge(
        "hawser_path_pace_bytes_per_second",
        "The most that is sent, with outer headers.",
        |it| bytes_per_second(it.pace_bit_s),
    ),
    Figure::gauge(
        "hawser_path_capacity_bytes_per_second",
        "What the path carries as far as is known, with outer headers.",
        |it| bytes_per_second(it.capacity_bit_s),
    ),
    Figure::gauge("hawser_path_window_bytes", "Bytes that may be in flight.", |it| {
        whole(it.window_bytes)
    }),
    Figure::gauge("hawser_path_in_flight_bytes", "Bytes that are in flight.", |it| {
        whole(it.in_flight_bytes)
    }),
    Figure::counter("hawser_path_sent_datagrams_total", "Datagrams sent.", |it| {
        whole(it.datagrams_sent)
    }),
    Figure::counter(
        "hawser_path_sent_bytes_total",
        "Bytes of those datagrams, with outer headers.",
        |it| whole(it.bytes_sent),
    ),
    Figure::counter(
        "hawser_path_received_datagrams_total",
        "Datagrams that arrived and were authentic.",
        |it| whole(it.datagrams_received),
    ),
    Figure::counter(
        "hawser_path_received_bytes_total",
        "Bytes of those datagrams, with outer headers.",
        |it| whole(it.bytes_received),
    ),
    Figure::counter("hawser_path_lost_datagrams_total", "Datagrams found lost.", |it| {
        whole(it.datagrams_lost)
    }),
    Figure::counter(
        "hawser_path_link_failures_total",
        "How often the kernel said that nothing leaves by the link.",
        |it| whole(it.link_failures),
    ),
    Figure::gauge(
        "hawser_path_moved_after_seconds",
        "How long after the last of those the first packet left by another link.",
        |it| seconds(it.moved_after_ms),
    ),
];
