//! Shows to people what goes on, refreshed now and then.

use std::{fmt::Write as _, time::Duration};

use super::{
    Path, PathDirection, Snapshot, Traffic, interval,
    interval::{Added, PathInterval, SessionInterval, WayInterval},
    units::{age, count, lasting, share},
};
use crate::grid::{Cell, Colour, Grid};

/// What is shown, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live<'a> {
    pub(super) before: Option<&'a Snapshot>,
    pub(super) after: &'a Snapshot,
    /// The time between the two.
    pub(super) elapsed: Duration,
    /// In seconds since 1970.
    pub(super) now: u64,
    pub(super) colour: Colour,
    /// Lines that there is room for.
    pub(super) rows: usize,
}

impl Live<'_> {
    /// All lines. Sessions are shown whole, the busiest first, as many as there is room for.
    pub(super) fn render(&self) -> String {
        let Snapshot { program, name, pid, since, .. } = self.after;
        let mut out =
            format!("{program} {name}: process {pid}, running for {}\n", age(self.now, *since));
        let sessions = interval::sessions(self.before, self.after, self.elapsed);
        if sessions.is_empty() {
            out.push_str("\nno session\n");
        }
        let mut room = self.rows.saturating_sub(out.lines().count());
        for (index, session) in sessions.iter().enumerate() {
            let block = self.session(session);
            let lines = 1 + block.lines().count();
            let others = sessions.len() - index - 1;
            // The line that tells of those left out needs room too. What is busiest is shown in any
            // case: of a list too long for the screen, its beginning.
            if index > 0 && room < lines + 2 * usize::from(others > 0) {
                let _ = writeln!(out, "\nand {}, less busy", sessions_in_words(others + 1));
                break;
            }
            room = room.saturating_sub(lines);
            let _ = write!(out, "\n{block}");
        }
        out
    }

    fn session(&self, it: &SessionInterval<'_>) -> String {
        let session = it.session;
        let mut out = format!("session {}: {}", session.name, session.state);
        let _ = write!(out, " for {}", age(self.now, session.since));
        if !session.mode.is_empty() {
            let _ = write!(out, ", mode {}", session.mode);
        }
        let _ = write!(out, "\n  up {} Mbit/s, down {} Mbit/s", mbit(it.up), mbit(it.down));
        if let Some(added) = &it.added {
            let _ = write!(out, ", added {}", added_in_words(added));
        }
        out.push('\n');
        for traffic in [&session.up, &session.down] {
            if let Some(line) = held(traffic, it.held) {
                let _ = writeln!(out, "  {line}");
            }
        }
        out.push_str(&self.paths(&it.paths));
        out
    }

    fn paths(&self, paths: &[PathInterval<'_>]) -> String {
        let head = ["LINK", "WAY", "STATE", "MBIT/S", "LOSS", "QUEUE", "RTT", "WHY NOT MORE"];
        let mut grid = Grid::new(&head);
        for it in paths {
            let mut link = Cell::text(link(it.path));
            for (way, direction, rates) in
                [("up", &it.path.up, &it.up), ("down", &it.path.down, &it.down)]
            {
                let mut row = vec![std::mem::replace(&mut link, Cell::text(""))];
                row.extend(path_direction(way, direction, rates));
                grid.push(row);
            }
        }
        grid.render("  ", self.colour)
    }
}

/// The client's interface; its address where that is all that is known.
fn link(path: &Path) -> String {
    let name = match path.remote {
        _ if !path.link.is_empty() => path.link.clone(),
        Some(remote) => remote.to_string(),
        None => "-".to_owned(),
    };
    name + path.remark()
}

fn path_direction(way: &str, direction: &PathDirection, rates: &WayInterval) -> [Cell; 7] {
    let millis = |time: Option<f64>| time.map_or("-".to_owned(), |time| format!("{time:.1} ms"));
    [
        Cell::text(way),
        Cell::state(direction.state.as_deref().unwrap_or("-")),
        Cell::number(mbit(rates.rate)),
        Cell::number(rates.loss.map_or("-".to_owned(), share)),
        Cell::number(millis(direction.queue_ms)),
        Cell::number(millis(direction.srtt_ms)),
        Cell::text(direction.cause.as_deref().unwrap_or("-")),
    ]
}

/// Packets that wait for an earlier one, in the direction in which this end receives.
fn held(traffic: &Traffic, held: Option<f64>) -> Option<String> {
    traffic.reordered?;
    let mut out = match held {
        Some(held) => format!("held for order: {} packets/s", count(held.round() as u64)),
        None => "held for order: - packets/s".to_owned(),
    };
    if let (Some(mean), Some(p99)) = (traffic.hold_mean_ms, traffic.hold_p99_ms)
        && p99 != 0.0
    {
        let shown = |time: f64| lasting(Duration::from_secs_f64((time / 1e3).clamp(0.0, LONGEST)));
        let _ = write!(out, "; since the session began mean {}, p99 {}", shown(mean), shown(p99));
    }
    Some(out)
}

fn added_in_words(added: &Added) -> String {
    let parts = [
        ("headers", added.headers),
        ("feedback", added.feedback),
        ("copies", added.copies),
        ("retransmissions", added.retransmissions),
        ("control", added.control),
    ];
    let shown = |share: f64| format!("{:.1}", share * 100.0);
    let parts = parts.map(|(name, part)| (name, shown(part)));
    let parts = parts.iter().filter(|(_, part)| part != "0.0");
    let parts: Vec<String> = parts.map(|(name, part)| format!("{name} {part}")).collect();
    let sum = format!("{} %", shown(added.sum()));
    if parts.is_empty() { sum } else { format!("{sum}: {}", parts.join(", ")) }
}

fn mbit(rate: Option<f64>) -> String {
    rate.map_or("-".to_owned(), |rate| format!("{:.2}", rate / 1e6))
}

fn sessions_in_words(number: usize) -> String {
    if number == 1 { "1 other".to_owned() } else { format!("{number} others") }
}

/// A year, in seconds: nothing waits longer.
const LONGEST: f64 = 31_536_000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Overhead, Session};

    #[test]
    fn two_snapshots_become_a_table_of_rates_and_causes() {
        let (before, after) = (snapshot(0, 1), snapshot(1, 1));

        let shown = live(&before, &after).render();

        let expected = "\
hawser branch: process 42, running for 2h 2m

session c0: up for 1m 3s, mode split
  up 137.20 Mbit/s, down 0.42 Mbit/s, added 5.0 %: headers 4.5, feedback 0.2, retransmissions 0.3
  held for order: 1 204 packets/s; since the session began mean 3 ms, p99 12 ms
  LINK           WAY   STATE  MBIT/S    LOSS    QUEUE      RTT  WHY NOT MORE
  fibre          up    up      98.20  0.00 %   4.1 ms  24.6 ms  full: 98.4 Mbit/s, queue 4 ms
                 down  -        0.30       -        -        -  -
  wwan (backup)  up    up      48.70  0.51 %  24.0 ms  71.5 ms  held back: queue 24 ms
                 down  -        0.00       -        -        -  -
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn without_a_snapshot_before_there_are_no_rates() {
        let after = snapshot(1, 1);
        let shown = Live { before: None, ..live(&after, &after) }.render();

        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[3], "  up - Mbit/s, down - Mbit/s");
        assert!(lines[4].starts_with("  held for order: - packets/s;"), "{shown}");
        let words: Vec<&str> = lines[6].split_whitespace().collect();
        assert_eq!(words[..5], ["fibre", "up", "up", "-", "-"]);
    }

    #[test]
    fn a_program_that_began_anew_is_shown_without_rates() {
        let (before, after) = (snapshot(1, 2), snapshot(0, 2));
        let shown = live(&before, &after).render();

        assert!(shown.contains("up - Mbit/s, down - Mbit/s\n"), "{shown}");
    }

    #[test]
    fn only_whole_sessions_that_fit_are_shown_the_busiest_first() {
        let (before, after) = (snapshot(0, 5), snapshot(1, 5));
        let rows = |rows| Live { rows, ..live(&before, &after) }.render();

        // A line, and nine for each session.
        let shown = rows(1 + 9 + 9 + 2);
        assert!(shown.contains("session c4:") && shown.contains("session c3:"), "{shown}");
        assert!(!shown.contains("session c2:"), "{shown}");
        assert!(shown.ends_with("\n\nand 3 others, less busy\n"), "{shown}");
        assert_eq!(shown.lines().count(), 1 + 9 + 9 + 2);

        assert!(rows(0).contains("session c4:"));
        assert_eq!(rows(1 + 5 * 9).lines().count(), 1 + 5 * 9);
        assert!(!rows(usize::MAX).contains("busy"));
    }

    #[test]
    fn a_server_shows_where_a_client_sends_from() {
        let mut after = snapshot(1, 1);
        after.sessions[0].paths[0].link = String::new();
        after.sessions[0].paths[0].remote = Some("192.0.2.7:4501".parse().expect("an address"));
        let shown = live(&after, &after).render();

        assert!(shown.contains("\n  192.0.2.7:4501  up "), "{shown}");
    }

    #[test]
    fn odd_figures_are_survived() {
        let mut after = snapshot(1, 1);
        after.sessions[0].down.hold_mean_ms = Some(f64::MAX);
        after.sessions[0].down.hold_p99_ms = Some(-1.0);
        let before = snapshot(0, 1);
        let shown = Live { elapsed: Duration::ZERO, ..live(&before, &after) }.render();

        assert!(shown.contains("p99 0 ms"), "{shown}");
    }

    fn live<'a>(before: &'a Snapshot, after: &'a Snapshot) -> Live<'a> {
        Live {
            before: Some(before),
            after,
            elapsed: Duration::from_secs(1),
            now: 7323,
            colour: Colour::Never,
            rows: usize::MAX,
        }
    }

    /// What is there after so many seconds; the later a session's name, the busier it is.
    fn snapshot(second: u64, sessions: u64) -> Snapshot {
        let sessions = (0..sessions).map(|index| session(second, 1 + index));
        Snapshot {
            pid: 42,
            sessions: sessions.map(|it| Session { since: 7260, ..it }).collect(),
            ..Snapshot::new("hawser", "branch", 1)
        }
    }

    fn session(second: u64, busy: u64) -> Session {
        let bytes = |kbit: u64| Some(1_000 + second * kbit * 125 * busy);
        let path = |link: &str, up, down, lost| Path {
            link: link.to_owned(),
            up: PathDirection {
                bytes_sent: bytes(up),
                datagrams_sent: Some(10_000 * second),
                datagrams_lost: Some(lost * second),
                ..fibre()
            },
            down: PathDirection { bytes_received: bytes(down), ..PathDirection::default() },
            ..Path::default()
        };
        let wwan = path("wwan", 48_700, 0, 51);
        let wwan_up = PathDirection {
            queue_ms: Some(24.0),
            srtt_ms: Some(71.52),
            cause: Some("held back: queue 24 ms".to_owned()),
            ..wwan.up
        };
        Session {
            name: format!("c{}", busy - 1),
            state: "up".to_owned(),
            mode: "split".to_owned(),
            paths: vec![
                path("fibre", 98_200, 300, 0),
                Path { status: "backup".to_owned(), up: wwan_up, id: 1, ..wwan },
            ],
            up: Traffic {
                bytes_sent: bytes(137_200),
                overhead: Overhead {
                    header_bytes: bytes(6_193),
                    feedback_bytes: bytes(275),
                    copies_bytes: bytes(0),
                    retransmissions_bytes: bytes(413),
                    control_bytes: bytes(1),
                },
                ..Traffic::default()
            },
            down: Traffic {
                bytes_received: bytes(420),
                reordered: Some(17 + second * 1204),
                hold_mean_ms: Some(3.1),
                hold_p99_ms: Some(12.2),
                ..Traffic::default()
            },
            ..Session::default()
        }
    }

    fn fibre() -> PathDirection {
        PathDirection {
            state: Some("up".to_owned()),
            queue_ms: Some(4.1),
            srtt_ms: Some(24.6),
            cause: Some("full: 98.4 Mbit/s, queue 4 ms".to_owned()),
            ..PathDirection::default()
        }
    }
}
