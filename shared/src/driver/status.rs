//! What the data plane's counters mean for users.

use std::collections::BTreeMap;

use engine::{
    PathSnapshot, PathState, Side, Span,
    stats::{InboundStats, PathSent},
};

use super::{DriverReport, SessionReport};
use crate::status::{Overhead, Path, PathDirection, Session, Traffic};

/// Describes a session's paths and traffic as status shows them, from the point of view of `side`;
/// `control_bytes` is what its control connection has sent.
/// `link` names the link of a path; names and times are the caller's to fill in.
pub fn describe(
    report: &SessionReport,
    side: Side,
    control_bytes: Option<u64>,
    link: impl Fn(&PathSnapshot) -> String,
) -> Session {
    let paths = report.paths.iter().map(|path| describe_path(path, side, link(path))).collect();
    let (mut sent, received) = (sent(report), received(report));
    sent.overhead.control_bytes = control_bytes;
    let (up, down) = match side {
        Side::Client => (sent, received),
        Side::Server => (received, sent),
    };
    Session { paths, up, down, ..Session::default() }
}

/// What was refused, by reason.
pub fn refused(report: &DriverReport) -> BTreeMap<String, u64> {
    let sum = |count: fn(&InboundStats) -> u64| {
        report.sessions.iter().map(|session| count(&session.inbound)).sum::<u64>()
    };
    let counts = [
        ("forged", sum(|stats| stats.forged)),
        ("malformed", sum(|stats| stats.malformed)),
        ("replayed", sum(|stats| stats.replayed)),
        ("source or destination", sum(|stats| stats.refused)),
        ("stale", sum(|stats| stats.stale)),
        ("too old", sum(|stats| stats.too_old)),
        ("unknown session", report.unknown_session),
        ("no session for packet", report.no_session),
    ];
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

fn describe_path(path: &PathSnapshot, side: Side, link: String) -> Path {
    let quiet = if path.quiet && path.state == PathState::Up { " quiet" } else { "" };
    let sent = PathDirection {
        state: Some(format!("{}{quiet}", path.state.name())),
        srtt_ms: path.srtt.map(millis),
        rttvar_ms: path.srtt.map(|_| millis(path.rttvar)),
        min_rtt_ms: path.min_rtt.map(millis),
        loss: share_lost(&path.sent),
        rate_bit_s: Some(path.rate * 8),
        window_bytes: Some(path.window),
        in_flight_bytes: Some(path.in_flight),
        datagrams_sent: Some(path.sent.datagrams),
        bytes_sent: Some(path.sent.bytes + path.sent.datagrams * outer_len(path)),
        datagrams_lost: Some(path.sent.lost),
        ..PathDirection::default()
    };
    let received = PathDirection {
        datagrams_received: Some(path.received.datagrams),
        bytes_received: Some(path.received.bytes + path.received.datagrams * outer_len(path)),
        ..PathDirection::default()
    };
    let (up, down) = match side {
        Side::Client => (sent, received),
        Side::Server => (received, sent),
    };
    let status = if path.rank >= engine::wire::message::BACKUP { "backup" } else { "available" };
    Path {
        id: u32::from(path.id.0),
        link,
        status: status.to_owned(),
        local: path.tuple.local,
        remote: Some(path.tuple.remote),
        mtu: Some(path.mtu),
        up,
        down,
    }
}

fn sent(report: &SessionReport) -> Traffic {
    let stats = &report.outbound;
    Traffic {
        packets_sent: Some(stats.packets_sent),
        bytes_sent: Some(stats.bytes_sent),
        epochs: Some(stats.epochs),
        dropped: Some(
            stats.dropped_full
                + stats.dropped_standing
                + stats.dropped_too_big
                + stats.dropped_malformed,
        ),
        overhead: Overhead {
            header_bytes: Some(stats.header_bytes),
            feedback_bytes: Some(stats.message_bytes),
            copies_bytes: Some(stats.copy_bytes),
            retransmissions_bytes: Some(stats.retransmission_bytes),
            control_bytes: None,
        },
        ..Traffic::default()
    }
}

fn received(report: &SessionReport) -> Traffic {
    let stats = &report.inbound;
    Traffic {
        packets_received: Some(stats.packets),
        bytes_received: Some(stats.bytes),
        duplicated: Some(stats.duplicates),
        reordered: Some(stats.held),
        hold_mean_ms: Some(millis(stats.holds.mean())),
        hold_p99_ms: Some(millis(stats.holds.quantile(0.99))),
        hold_futile: Some(stats.holds.futile as f64 / stats.holds.total.max(1) as f64),
        late: Some(stats.late),
        held_bytes: Some(report.held_bytes as u64),
        lost: Some(stats.skipped.saturating_sub(stats.late)),
        ..Traffic::default()
    }
}

fn share_lost(sent: &PathSent) -> Option<f64> {
    let settled = sent.lost + sent.acknowledged;
    (settled > 0).then(|| sent.lost as f64 / settled as f64)
}

/// IP and UDP headers of one datagram.
fn outer_len(path: &PathSnapshot) -> u64 {
    if path.tuple.remote.is_ipv4() { 28 } else { 48 }
}

fn millis(span: Span) -> f64 {
    span.as_secs_f64() * 1e3
}
