//! What went on between two snapshots.

use std::time::Duration;

use super::{Overhead, Path, PathDirection, Session, Snapshot, Traffic};

/// A session over an interval. A figure is absent where one of the two ends of the interval lacks it,
/// or where its counter has begun anew.
#[derive(Debug)]
pub(super) struct SessionInterval<'a> {
    pub(super) session: &'a Session,
    /// Inner bit/s that went up, and down.
    pub(super) up: Option<f64>,
    pub(super) down: Option<f64>,
    /// Packets a second that had to wait for an earlier one.
    pub(super) held: Option<f64>,
    /// What this end added to all the user's bytes, both ways, as shares of these.
    pub(super) added: Option<Added>,
    pub(super) paths: Vec<PathInterval<'a>>,
}

/// What was added, by reason.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Added {
    pub(super) headers: f64,
    pub(super) feedback: f64,
    pub(super) copies: f64,
    pub(super) retransmissions: f64,
    pub(super) control: f64,
}

/// A path over an interval.
#[derive(Debug)]
pub(super) struct PathInterval<'a> {
    pub(super) path: &'a Path,
    pub(super) up: WayInterval,
    pub(super) down: WayInterval,
}

/// One direction of a path over an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct WayInterval {
    /// Outer bit/s: what was sent, or what was received where only that is known.
    pub(super) rate: Option<f64>,
    /// The share of datagrams found lost, from 0 to 1.
    pub(super) loss: Option<f64>,
}

/// The sessions of `after` since `before`, the busiest first.
pub(super) fn sessions<'a>(
    before: Option<&Snapshot>,
    after: &'a Snapshot,
    elapsed: Duration,
) -> Vec<SessionInterval<'a>> {
    // A program that was started again counts from zero.
    let before = before.filter(|it| it.pid == after.pid && it.since == after.since);
    let seconds = elapsed.as_secs_f64();
    let mut sessions: Vec<_> = after
        .sessions
        .iter()
        .map(|session| {
            let same = |it: &&Session| {
                it.name == session.name && it.peer == session.peer && it.since == session.since
            };
            let before = before.and_then(|before| before.sessions.iter().find(same));
            SessionInterval::new(before, session, seconds)
        })
        .collect();
    sessions.sort_by(|a, b| b.busy().total_cmp(&a.busy()));
    sessions
}

impl<'a> SessionInterval<'a> {
    fn new(before: Option<&Session>, session: &'a Session, seconds: f64) -> Self {
        let paths = session.paths.iter().map(|path| {
            let same = |it: &&Path| it.id == path.id && it.link == path.link;
            let before = before.and_then(|before| before.paths.iter().find(same));
            PathInterval {
                path,
                up: WayInterval::new(before.map(|it| &it.up), &path.up, seconds),
                down: WayInterval::new(before.map(|it| &it.down), &path.down, seconds),
            }
        });
        let paths = paths.collect();
        let Some(before) = before else {
            return Self { session, up: None, down: None, held: None, added: None, paths };
        };
        let up = grown(moved(&before.up), moved(&session.up));
        let down = grown(moved(&before.down), moved(&session.down));
        let held = [(&before.up, &session.up), (&before.down, &session.down)]
            .into_iter()
            .find_map(|(before, after)| grown(before.reordered, after.reordered));
        let carried = up.unwrap_or(0).saturating_add(down.unwrap_or(0));
        Self {
            session,
            up: up.map(|bytes| per_second(bytes, seconds) * 8.0),
            down: down.map(|bytes| per_second(bytes, seconds) * 8.0),
            held: held.map(|packets| per_second(packets, seconds)),
            added: (carried > 0).then(|| Added::new(before, session, carried)),
            paths,
        }
    }

    fn busy(&self) -> f64 {
        self.up.unwrap_or(0.0) + self.down.unwrap_or(0.0)
    }
}

impl Added {
    fn new(before: &Session, after: &Session, carried: u64) -> Self {
        let share = |bytes: fn(&Overhead) -> Option<u64>| {
            let ways = [(&before.up, &after.up), (&before.down, &after.down)];
            let grown = ways.map(|(before, after)| {
                // The control connection counts anew with each connection.
                grown(bytes(&before.overhead), bytes(&after.overhead)).unwrap_or(0)
            });
            grown.iter().map(|&bytes| bytes as f64).sum::<f64>() / carried as f64
        };
        Self {
            headers: share(|it| it.header_bytes),
            feedback: share(|it| it.feedback_bytes),
            copies: share(|it| it.copies_bytes),
            retransmissions: share(|it| it.retransmissions_bytes),
            control: share(|it| it.control_bytes),
        }
    }

    /// All of it.
    pub(super) fn sum(&self) -> f64 {
        self.headers + self.feedback + self.copies + self.retransmissions + self.control
    }
}

impl WayInterval {
    fn new(before: Option<&PathDirection>, after: &PathDirection, seconds: f64) -> Self {
        let Some(before) = before else { return Self::default() };
        let sent = grown(before.datagrams_sent, after.datagrams_sent).filter(|&sent| sent > 0);
        let lost = grown(before.datagrams_lost, after.datagrams_lost);
        let bytes = grown(before.bytes_sent, after.bytes_sent)
            .or(grown(before.bytes_received, after.bytes_received));
        Self {
            rate: bytes.map(|bytes| per_second(bytes, seconds) * 8.0),
            // What is found lost was sent a while ago: at the end of a transfer, more than is sent.
            loss: lost.zip(sent).map(|(lost, sent)| (lost as f64 / sent as f64).min(1.0)),
        }
    }
}

/// What reached the host, or, where only that is known, what was taken from it.
fn moved(traffic: &Traffic) -> Option<u64> {
    traffic.bytes_received.or(traffic.bytes_sent)
}

/// By how much a counter has grown; nothing if it went back.
fn grown(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    after?.checked_sub(before?)
}

fn per_second(amount: u64, seconds: f64) -> f64 {
    amount as f64 / seconds.max(SHORTEST)
}

/// No interval is shorter than this, in seconds.
const SHORTEST: f64 = 0.001;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_interval() {
        let (before, after) = (snapshot(1_000_000), snapshot(3_000_000));

        let found = sessions(Some(&before), &after, Duration::from_secs(2));

        assert_eq!((found[0].up, found[0].down), (Some(8e6), Some(8e6)));
        assert_eq!(found[0].held, Some(1e6));
        let way = WayInterval { rate: Some(8e6), loss: Some(0.5) };
        assert_eq!((found[0].paths[0].up, found[0].paths[0].down.loss), (way, None));
        let added = found[0].added.expect("something was carried");
        assert_eq!((added.headers, added.control, added.sum()), (0.5, 0.0, 0.5));
    }

    #[test]
    fn counters_that_went_back_give_no_figures() {
        let (before, after) = (snapshot(3_000_000), snapshot(1_000_000));

        let found = sessions(Some(&before), &after, Duration::ZERO);

        assert_eq!((found[0].up, found[0].down, found[0].held), (None, None, None));
        assert_eq!((found[0].added, found[0].paths[0].up), (None, WayInterval::default()));
    }

    #[test]
    fn another_process_is_not_compared_with_the_one_before() {
        let before = Snapshot { pid: 1, ..snapshot(1_000_000) };
        let after = Snapshot { pid: 2, ..snapshot(3_000_000) };

        assert_eq!(sessions(Some(&before), &after, Duration::from_secs(1))[0].up, None);
        assert_eq!(sessions(None, &after, Duration::from_secs(1))[0].up, None);
    }

    #[test]
    fn the_busiest_session_comes_first() {
        let named = |counts: [u64; 3]| {
            let mut snapshot = snapshot(0);
            snapshot.sessions = counts
                .into_iter()
                .zip(["a", "b", "c"])
                .map(|(bytes, name)| Session { name: name.to_owned(), ..session(bytes) })
                .collect();
            snapshot
        };

        let (before, after) = (named([9, 9, 9]), named([10, 30, 20]));

        let found = sessions(Some(&before), &after, Duration::from_secs(1));
        let names: Vec<&str> = found.iter().map(|it| it.session.name.as_str()).collect();
        assert_eq!(names, ["b", "c", "a"]);
    }

    fn snapshot(count: u64) -> Snapshot {
        Snapshot { sessions: vec![session(count)], ..Snapshot::new("hawser", "x", 1) }
    }

    fn session(count: u64) -> Session {
        let overhead = Overhead {
            header_bytes: Some(count),
            control_bytes: Some(u64::MAX - count),
            ..Overhead::default()
        };
        let up = PathDirection {
            bytes_sent: Some(count),
            datagrams_sent: Some(2 * count),
            datagrams_lost: Some(count),
            ..PathDirection::default()
        };
        let down = PathDirection { bytes_received: Some(count), ..PathDirection::default() };
        Session {
            paths: vec![Path { up, down, ..Path::default() }],
            up: Traffic { bytes_sent: Some(count), overhead, ..Traffic::default() },
            down: Traffic {
                bytes_received: Some(count),
                reordered: Some(count),
                ..Traffic::default()
            },
            ..Session::default()
        }
    }
}
