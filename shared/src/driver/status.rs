//! What the data plane's counters mean for users.

use std::{collections::BTreeMap, time::Duration};

use engine::{Cause, PathSnapshot, PathState, Side, Span, Time, stats::PathSent};

use super::{DriverReport, SessionReport};
use crate::status::{
    Overhead, Path, PathDirection, Session, Traffic,
    units::{bits, lasting},
};

/// Describes a session's paths and traffic as status shows them, from the point of view of `side`;
/// `control_bytes` is what its control connection has sent.
/// `link` names the link of a path; names and times are the caller's to fill in.
pub fn describe(
    report: &SessionReport,
    side: Side,
    control_bytes: Option<u64>,
    link: impl Fn(&PathSnapshot) -> String,
) -> Session {
    let describe = |path| describe_path(path, report.at, side, link(path));
    let paths = report.paths.iter().map(describe).collect();
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
    // With those that have ended: a count that falls would be read as one that began anew.
    let mut sum = report.ended;
    for session in &report.sessions {
        sum += &session.inbound;
    }
    let counts = [
        ("forged", sum.forged),
        ("malformed", sum.malformed),
        ("replayed", sum.replayed),
        ("source or destination", sum.refused),
        ("stale", sum.stale),
        ("too old", sum.too_old),
        ("unknown session", report.unknown_session),
        ("no session for packet", report.no_session),
    ];
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

fn describe_path(path: &PathSnapshot, at: Time, side: Side, link: String) -> Path {
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
        queue_ms: path.srtt.map(|_| millis(path.queue)),
        jitter_ms: path.srtt.map(|_| millis(path.jitter)),
        pace_bit_s: path.srtt.map(|_| wire_bits(path, path.pace)),
        leads: Some(path.leads),
        capacity_bit_s: (path.capacity > 0).then(|| wire_bits(path, path.capacity)),
        loss_lately: path.srtt.map(|_| path.lost),
        loss_not_ours: path.srtt.map(|_| path.loses_by_itself),
        cause_name: Some(path.cause.name().to_owned()),
        cause: Some(cause(path, at)),
        datagrams_sent: Some(path.sent.datagrams),
        bytes_sent: Some(path.sent.bytes + path.sent.datagrams * outer_len(path)),
        datagrams_lost: Some(path.sent.lost),
        link_failures: Some(path.sent.hints),
        link_failure: path.sent.hint.map(|hint| hint.name().to_owned()),
        moved_after_ms: path.sent.moved_after.map(millis),
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
        metered: path.metered,
        local: path.tuple.local,
        remote: Some(path.tuple.remote),
        mtu: Some(path.mtu),
        up,
        down,
    }
}

/// Why a path does not carry more, in words.
fn cause(path: &PathSnapshot, at: Time) -> String {
    let rate = |rate| bits(wire_bits(path, rate));
    let ago = |since| lasting(duration(at.since(since)));
    let whole = |span| format!("{:.0} ms", millis(span));
    let words = match path.cause {
        Cause::Backup => "backup".to_owned(),
        Cause::Blocked => "the socket takes nothing".to_owned(),
        Cause::Claimed => "another address claims it".to_owned(),
        Cause::Closed => "closed".to_owned(),
        Cause::Dead { since } => format!("dead for {}", ago(since)),
        Cause::Full { rate: full, queue } => {
            format!("full: {}, queue {}", rate(full), whole(queue))
        }
        Cause::Growing { rate: so_far } => format!("growing: {} so far", rate(so_far)),
        Cause::HeldBack { queue } => format!("held back: queue {}", whole(queue)),
        Cause::Policed { rate: most } => format!("policed at {}", rate(most)),
        Cause::Probation { until, missing } => {
            let left = until.since(at).as_secs_f64();
            match missing {
                0 => format!("probation, {left:.1} s left"),
                1 => format!("probation, {left:.1} s left, 1 answer missing"),
                _ => format!("probation, {left:.1} s left, {missing} answers missing"),
            }
        }
        Cause::Quiet => "quiet".to_owned(),
        Cause::Shared { queue } => {
            format!("shares the link with another sender, queue {}", whole(queue))
        }
        Cause::Silent { since } => format!("silent for {}", ago(since)),
        Cause::Spare => "has room".to_owned(),
        Cause::Starting => "starting".to_owned(),
        Cause::TooFarBehind { wait } => format!("too far behind: {}", whole(wait)),
        Cause::TryingLoss => "sends less, to see whether the loss goes".to_owned(),
        Cause::TryingQueue => "sends less, to see whether the queue goes".to_owned(),
        Cause::Unanswered { since } => format!("no answer for {}", ago(since)),
    };
    // Beside the cause, for it is none: no less is sent for such a loss.
    let carries = matches!(
        path.cause,
        Cause::Full { .. } | Cause::Growing { .. } | Cause::HeldBack { .. } | Cause::Spare
    );
    if carries && path.loses_by_itself {
        format!("{words}, loss {:.1} % not ours", path.lost * 100.0)
    } else {
        words
    }
}

/// What a rate of ours takes of the link in full datagrams, in bit/s.
fn wire_bits(path: &PathSnapshot, bytes_per_second: u64) -> u64 {
    let full = u64::from(path.mtu).max(outer_len(path) + 1);
    (bytes_per_second as f64 * 8.0 * full as f64 / (full - outer_len(path)) as f64) as u64
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

fn duration(span: Span) -> Duration {
    Duration::from_micros(span.0)
}

fn millis(span: Span) -> f64 {
    span.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use engine::{FourTuple, PathId, stats::PathReceived};

    use super::*;

    #[test]
    fn each_cause_has_its_words() {
        let queue = Span::millis(24);
        let before = |time: Span| Time(AT.0 - time.0);
        for (given, expected) in [
            (Cause::Backup, "backup"),
            (Cause::Blocked, "the socket takes nothing"),
            (Cause::Claimed, "another address claims it"),
            (Cause::Closed, "closed"),
            (Cause::Dead { since: before(Span::secs(12)) }, "dead for 12s"),
            // 6 MB/s of 1472 bytes in 1500.
            (Cause::Full { rate: 6_000_000, queue }, "full: 48.9 Mbit/s, queue 24 ms"),
            (Cause::Growing { rate: 6_000_000 }, "growing: 48.9 Mbit/s so far"),
            (Cause::HeldBack { queue }, "held back: queue 24 ms"),
            (Cause::Policed { rate: 1_202_000 }, "policed at 9.80 Mbit/s"),
            (
                Cause::Probation { until: AT + Span::millis(630), missing: 2 },
                "probation, 0.6 s left, 2 answers missing",
            ),
            (
                Cause::Probation { until: before(Span(1)), missing: 1 },
                "probation, 0.0 s left, 1 answer missing",
            ),
            (Cause::Quiet, "quiet"),
            (Cause::Shared { queue }, "shares the link with another sender, queue 24 ms"),
            (Cause::Silent { since: before(Span::millis(80)) }, "silent for 80 ms"),
            (Cause::Spare, "has room"),
            (Cause::Starting, "starting"),
            (Cause::TooFarBehind { wait: Span::millis(182) }, "too far behind: 182 ms"),
            (Cause::TryingLoss, "sends less, to see whether the loss goes"),
            (Cause::TryingQueue, "sends less, to see whether the queue goes"),
            (Cause::Unanswered { since: before(Span::millis(3_200)) }, "no answer for 3.2 s"),
        ] {
            assert_eq!(cause(&path(given), AT), expected);
        }
    }

    #[test]
    fn a_loss_that_is_not_ours_is_named_where_the_path_carries_something() {
        let lossy = |cause| PathSnapshot { lost: 0.0123, loses_by_itself: true, ..path(cause) };

        let full = lossy(Cause::Full { rate: 6_000_000, queue: Span::millis(4) });
        let expected = "full: 48.9 Mbit/s, queue 4 ms, loss 1.2 % not ours";
        assert_eq!(cause(&full, AT), expected);
        assert_eq!(cause(&lossy(Cause::Spare), AT), "has room, loss 1.2 % not ours");
        assert_eq!(cause(&lossy(Cause::Quiet), AT), "quiet");
    }

    #[test]
    fn a_path_is_described_with_figures_and_words_for_the_way_that_this_end_sends() {
        let given = path(Cause::HeldBack { queue: Span::millis(24) });

        let shown = describe_path(&given, AT, Side::Client, "lte".to_owned());

        assert_eq!(shown.down.cause, None);
        assert_eq!(shown.up.cause.as_deref(), Some("held back: queue 24 ms"));
        assert_eq!(shown.up.cause_name.as_deref(), Some("held-back"));
        assert_eq!((shown.up.queue_ms, shown.up.jitter_ms), (Some(24.0), Some(8.0)));
        assert_eq!(shown.up.pace_bit_s, Some(4_891_304));
        assert_eq!(shown.up.capacity_bit_s, None, "nothing was learnt");

        let shown = describe_path(&given, AT, Side::Server, String::new());
        assert_eq!(shown.up.cause, None);
        assert_eq!(shown.down.cause.as_deref(), Some("held back: queue 24 ms"));
    }

    const AT: Time = Time(100_000_000);

    fn path(cause: Cause) -> PathSnapshot {
        let remote = "192.0.2.1:4500".parse().expect("an address");
        PathSnapshot {
            id: PathId(0),
            tuple: FourTuple { socket: 0, local: None, remote },
            state: PathState::Up,
            quiet: false,
            rank: 0,
            metered: false,
            srtt: Some(Span::millis(60)),
            rttvar: Span::millis(2),
            min_rtt: Some(Span::millis(50)),
            rate: 0,
            window: 0,
            in_flight: 0,
            queue: Span::millis(24),
            jitter: Span::millis(8),
            pace: 600_000,
            capacity: 0,
            leads: false,
            lost: 0.0,
            loses_by_itself: false,
            cause,
            mtu: 1500,
            sent: PathSent::default(),
            received: PathReceived::default(),
        }
    }
}
