//! The figures of sessions and of what they carry.

use std::{collections::BTreeMap, fmt};

use super::exposition::{
    Exposition, Family, Figure, Labels, Value, ratio, seconds, states, whole, with,
};
use crate::status::{Session, Snapshot, Traffic};

pub(super) fn write(out: &mut Exposition<'_>, snapshot: &Snapshot) -> fmt::Result {
    let sessions = newest(snapshot);
    let each = sessions.iter().copied();
    out.family(&STATE, each.clone().flat_map(|it| states(&labels(it), &STATES, &it.state)))?;
    out.family(&START, each.map(|it| (labels(it), Value::Whole(it.since))))?;
    let ways: Vec<(Labels, &Traffic)> = sessions
        .iter()
        .flat_map(|it| {
            [("up", &it.up), ("down", &it.down)]
                .map(|(way, traffic)| (with(&labels(it), "direction", way), traffic))
        })
        .collect();
    out.figures(&TRAFFIC, &ways)?;
    let overhead = ways.iter().flat_map(|(labels, traffic)| {
        let sample = |(reason, of): &Reason| {
            Some((with(labels, "reason", reason), Value::Whole(of(traffic)?)))
        };
        OVERHEAD_REASONS.iter().filter_map(sample).collect::<Vec<_>>()
    });
    out.family(&OVERHEAD, overhead)
}

/// The sessions, one for each name. A client that has connected anew has two for a moment: the one
/// that began last is its session.
pub(super) fn newest(snapshot: &Snapshot) -> Vec<&Session> {
    let mut sessions: BTreeMap<&str, &Session> = BTreeMap::new();
    let rank = |session: &Session| (session.since, session.state == "up");
    for session in &snapshot.sessions {
        let known = sessions.entry(&session.name).or_insert(session);
        if rank(session) > rank(known) {
            *known = session;
        }
    }
    sessions.into_values().collect()
}

/// The labels of everything in a session.
pub(super) fn labels(session: &Session) -> Labels {
    vec![("session", session.name.clone())]
}

const STATES: [&str; 5] = ["connecting", "up", "reconnecting", "refused", "closed"];

const STATE: Family =
    Family::gauge("hawser_session_state", "1 for the state that the session is in, else 0.");
const START: Family = Family::gauge(
    "hawser_session_start_time_seconds",
    "When the session began, in seconds since 1970.",
);
const OVERHEAD: Family = Family::counter(
    "hawser_session_overhead_bytes_total",
    "Bytes that this end added to those of the user, by reason.",
);

/// Why bytes were added, and how many.
type Reason = (&'static str, fn(&Traffic) -> Option<u64>);

const OVERHEAD_REASONS: [Reason; 5] = [
    ("headers", |it| it.overhead.header_bytes),
    ("feedback", |it| it.overhead.feedback_bytes),
    ("copies", |it| it.overhead.copies_bytes),
    ("retransmissions", |it| it.overhead.retransmissions_bytes),
    ("control", |it| it.overhead.control_bytes),
];

const TRAFFIC: [Figure<Traffic>; 14] = [
    Figure::counter(
        "hawser_session_sent_packets_total",
        "Inner packets taken from the host for this direction.",
        |it| whole(it.packets_sent),
    ),
    Figure::counter("hawser_session_sent_bytes_total", "Bytes of those packets.", |it| {
        whole(it.bytes_sent)
    }),
    Figure::counter(
        "hawser_session_received_packets_total",
        "Inner packets given to the host.",
        |it| whole(it.packets_received),
    ),
    Figure::counter("hawser_session_received_bytes_total", "Bytes of those packets.", |it| {
        whole(it.bytes_received)
    }),
    Figure::counter(
        "hawser_session_dropped_packets_total",
        "Inner packets dropped by the sender's own queue.",
        |it| whole(it.dropped),
    ),
    Figure::counter(
        "hawser_session_duplicate_packets_total",
        "Inner packets that arrived again and were dropped.",
        |it| whole(it.duplicated),
    ),
    Figure::counter(
        "hawser_session_reordered_packets_total",
        "Inner packets that arrived after a later one of their flow and were put in order.",
        |it| whole(it.reordered),
    ),
    Figure::counter(
        "hawser_session_skipped_packets_total",
        "Inner packets whose place was given up: those that came after all are counted as late too.",
        skipped,
    ),
    Figure::counter(
        "hawser_session_late_packets_total",
        "Inner packets that came after their place was given up.",
        |it| whole(it.late),
    ),
    Figure::counter(
        "hawser_session_key_changes_total",
        "Changes of the key that packets of this direction are sealed with.",
        |it| whole(it.epochs),
    ),
    Figure::gauge(
        "hawser_session_held_bytes",
        "Bytes of inner packets that wait for an earlier one.",
        |it| whole(it.held_bytes),
    ),
    Figure::gauge(
        "hawser_session_hold_mean_seconds",
        "How long packets waited for an earlier one, on average since the session began.",
        |it| seconds(it.hold_mean_ms),
    ),
    Figure::gauge(
        "hawser_session_hold_p99_seconds",
        "What 99 of 100 of those waited at most.",
        |it| seconds(it.hold_p99_ms),
    ),
    Figure::gauge(
        "hawser_session_hold_futile_ratio",
        "The share of that waiting which was for packets that did not come.",
        |it| ratio(it.hold_futile),
    ),
];

/// Those lost are no counter: one that comes late was counted among them, and is taken out again.
fn skipped(traffic: &Traffic) -> Option<Value> {
    Some(Value::Whole(traffic.lost?.saturating_add(traffic.late?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_that_began_last_speaks_for_its_client() {
        let session = |name: &str, since, state: &str| Session {
            name: name.to_owned(),
            since,
            state: state.to_owned(),
            ..Session::default()
        };
        let sessions = vec![
            session("b", 7, "up"),
            session("a", 5, "reconnecting"),
            session("a", 9, "up"),
            session("a", 9, "reconnecting"),
        ];
        let snapshot = Snapshot { sessions, ..Snapshot::default() };

        let found = newest(&snapshot);

        let found: Vec<_> = found.iter().map(|it| (&*it.name, it.since, &*it.state)).collect();
        assert_eq!(found, [("a", 9, "up"), ("b", 7, "up")]);
    }
}
