//! Shows a snapshot to people.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{
    Path, PathDirection, Probe, Session, Snapshot, Traffic, Uplink,
    units::{age, bits, bytes, count, share},
};
use crate::grid::{Cell, Colour, Grid};

/// Everything about one program. `now` is in seconds since 1970.
pub(super) fn render(snapshot: &Snapshot, now: u64, colour: Colour) -> String {
    let Snapshot { program, name, pid, since, mode, .. } = snapshot;
    let mut out = format!("{program} {name}: process {pid}, running for {}", age(now, *since));
    if !mode.is_empty() {
        let _ = write!(out, ", mode {mode}");
    }
    out.push('\n');
    if !snapshot.uplinks.is_empty() {
        out.push('\n');
        out.push_str(&uplinks(&snapshot.uplinks, now, colour));
    }
    if snapshot.sessions.is_empty() {
        out.push_str("\nno session\n");
    } else if snapshot.sessions.len() > SESSIONS_IN_FULL_MAX {
        out.push('\n');
        out.push_str(&sessions_in_short(&snapshot.sessions, now, colour));
    } else {
        for session in &snapshot.sessions {
            out.push('\n');
            out.push_str(&session_in_full(session, now, colour));
        }
    }
    let refused: Vec<String> = snapshot
        .refused
        .iter()
        .filter(|(_, times)| **times > 0)
        .map(|(reason, times)| format!("{} {reason}", count(*times)))
        .collect();
    if !refused.is_empty() {
        let _ = writeln!(out, "\nrefused: {}", refused.join(", "));
    }
    out
}

/// One line for each of several programs.
pub(super) fn render_list(snapshots: &[&Snapshot], now: u64, colour: Colour) -> String {
    let mut grid = Grid::new(&["NAME", "PROCESS", "RUNNING FOR", "MODE", "SESSIONS"]);
    for it in snapshots {
        grid.push(vec![
            Cell::text(&it.name),
            Cell::number(it.pid.to_string()),
            Cell::text(age(now, it.since)),
            Cell::text(&it.mode),
            Cell::number(it.sessions.len().to_string()),
        ]);
    }
    format!("{}\n`status --name NAME` shows one of them.\n", grid.render("", colour))
}

/// With more sessions than that, one line each.
const SESSIONS_IN_FULL_MAX: usize = 8;

fn uplinks(uplinks: &[Uplink], now: u64, colour: Colour) -> String {
    let remarks: Vec<String> = uplinks.iter().map(uplink_remark).collect();
    let remarkable = remarks.iter().any(|remark| !remark.is_empty());
    let mut head = vec!["UPLINK", "STATE", "FOR", "TIER", "TRAFFIC", "PROBES"];
    head.extend(remarkable.then_some("REMARK"));
    let classes: BTreeSet<&String> = uplinks.iter().flat_map(|it| &it.classes).collect();
    let mut grid = Grid::new(&head);
    for (it, remark) in uplinks.iter().zip(remarks) {
        let probes: Vec<String> = it.probes.iter().map(probe).collect();
        let traffic = match it.active {
            false => "-".to_owned(),
            true if it.classes.len() < classes.len() => it.classes.join(", "),
            true => "yes".to_owned(),
        };
        let mut row = vec![
            Cell::text(&it.name),
            Cell::state(&it.state),
            Cell::text(age(now, it.since)),
            Cell::number(it.tier.to_string()),
            Cell::text(traffic),
            Cell::text(probes.join(", ")),
        ];
        row.extend(remarkable.then(|| Cell::text(remark)));
        grid.push(row);
    }
    grid.render("", colour)
}

/// What else is to be said of an uplink.
fn uplink_remark(uplink: &Uplink) -> String {
    let mut remarks: Vec<String> = uplink.duty.iter().cloned().collect();
    remarks.extend(uplink.breaches.iter().map(|(class, why)| format!("bad for {class}: {why}")));
    remarks.extend(uplink.sources.map(|sources| format!("{sources} sources")));
    remarks.join("; ")
}

fn probe(probe: &Probe) -> String {
    let found = match (probe.answered, probe.rtt_ms, &probe.error) {
        (Some(true), Some(rtt), _) => format!("{rtt:.1} ms"),
        (Some(true), None, _) => "answered".to_owned(),
        (Some(false), _, Some(error)) => error.clone(),
        (Some(false), _, None) => "no answer".to_owned(),
        (None, ..) => "waiting".to_owned(),
    };
    let certificate = match probe.certificate_days {
        Some(days @ 0..CERTIFICATE_DAYS) => format!(" (certificate ends in {days} days)"),
        _ => String::new(),
    };
    format!("{} {found}{certificate}", probe.target)
}

/// A certificate that ends within so many days is worth a word: those of Let's Encrypt are renewed
/// thirty days before.
const CERTIFICATE_DAYS: u64 = 14;

fn sessions_in_short(sessions: &[Session], now: u64, colour: Colour) -> String {
    let head = ["SESSION", "STATE", "FOR", "INNER", "MODE", "PATHS UP", "UP", "DOWN", "LOST"];
    let mut grid = Grid::new(&head);
    for it in sessions {
        let works = |path: &&Path| {
            let up = |it: &PathDirection| it.state.as_ref().is_some_and(|it| it.starts_with("up"));
            up(&path.up) || up(&path.down)
        };
        let working = it.paths.iter().filter(works).count();
        let moved = |traffic: &Traffic| bytes(traffic.bytes_received.or(traffic.bytes_sent));
        let lost = it.up.lost.into_iter().chain(it.down.lost).reduce(u64::saturating_add);
        grid.push(vec![
            Cell::text(&it.name),
            Cell::state(&it.state),
            Cell::text(age(now, it.since)),
            Cell::text(inner(it)),
            Cell::text(&it.mode),
            Cell::number(format!("{working}/{}", it.paths.len())),
            Cell::number(moved(&it.up)),
            Cell::number(moved(&it.down)),
            Cell::number(figure(lost)),
        ]);
    }
    grid.render("", colour)
}

fn session_in_full(session: &Session, now: u64, colour: Colour) -> String {
    let Session { name, state, mode, .. } = session;
    let mut out = format!("session {name}: {state} for {}", age(now, session.since));
    if !session.inner.is_empty() {
        let _ = write!(out, ", inner {}", inner(session));
    }
    if !mode.is_empty() {
        let _ = write!(out, ", mode {mode}");
    }
    out.push('\n');
    out.push_str(&paths(&session.paths, colour));
    for path in &session.paths {
        out.push_str(&failures(path));
    }
    out.push_str(&traffic(session, colour));
    out
}

/// What the kernel said of a path's link, and how soon it was left.
fn failures(path: &Path) -> String {
    let mut out = String::new();
    for (way, direction) in [("up", &path.up), ("down", &path.down)] {
        let (Some(times @ 1..), Some(how)) = (direction.link_failures, &direction.link_failure)
        else {
            continue;
        };
        let _ = write!(out, "  {} {way}: the system said {times} times that it is gone", path.link);
        let _ = write!(out, " (last: {how})");
        if let Some(after) = direction.moved_after_ms {
            let _ = write!(out, ", and packets left by another {after:.1} ms later");
        }
        out.push('\n');
    }
    out
}

fn inner(session: &Session) -> String {
    let addresses: Vec<String> = session.inner.iter().map(ToString::to_string).collect();
    addresses.join(" ")
}

fn paths(paths: &[Path], colour: Colour) -> String {
    let head = [
        "LINK", "REMOTE", "MTU", "WAY", "STATE", "RTT", "LOSS", "RATE", "SENT", "RECEIVED", "LOST",
    ];
    let mut grid = Grid::new(&head);
    for path in paths {
        let link =
            if path.link.is_empty() { format!("path {}", path.id) } else { path.link.clone() };
        let link = link + path.remark();
        let remote = path.remote.map_or("-".to_owned(), |remote| remote.to_string());
        let mtu = path.mtu.map_or("-".to_owned(), |mtu| mtu.to_string());
        let mut heading = vec![Cell::text(link), Cell::text(remote), Cell::number(mtu)];
        for (way, direction) in [("up", &path.up), ("down", &path.down)] {
            let mut row = std::mem::replace(&mut heading, vec![Cell::text(""); 3]);
            row.extend(path_direction(way, direction));
            grid.push(row);
        }
    }
    grid.render("  ", colour)
}

fn path_direction(way: &str, direction: &PathDirection) -> [Cell; 8] {
    let rtt = match (direction.srtt_ms, direction.rttvar_ms) {
        (Some(srtt), Some(variation)) => format!("{srtt:.1} ± {variation:.1} ms"),
        (Some(srtt), None) => format!("{srtt:.1} ms"),
        (None, _) => "-".to_owned(),
    };
    [
        Cell::text(way),
        Cell::state(direction.state.as_deref().unwrap_or("-")),
        Cell::number(rtt),
        Cell::number(direction.loss.map_or("-".to_owned(), share)),
        Cell::number(direction.rate_bit_s.map_or("-".to_owned(), bits)),
        Cell::number(bytes(direction.bytes_sent)),
        Cell::number(bytes(direction.bytes_received)),
        Cell::number(figure(direction.datagrams_lost)),
    ]
}

fn traffic(session: &Session, colour: Colour) -> String {
    let head = [
        "WAY",
        "PACKETS SENT",
        "RECEIVED",
        "BYTES SENT",
        "RECEIVED",
        "DUPLICATED",
        "REORDERED",
        "LATE",
        "LOST",
        "WE ADDED",
    ];
    let mut grid = Grid::new(&head);
    for (way, it) in [("up", &session.up), ("down", &session.down)] {
        grid.push(vec![
            Cell::text(way),
            Cell::number(figure(it.packets_sent)),
            Cell::number(figure(it.packets_received)),
            Cell::number(bytes(it.bytes_sent)),
            Cell::number(bytes(it.bytes_received)),
            Cell::number(figure(it.duplicated)),
            Cell::number(figure(it.reordered)),
            Cell::number(figure(it.late)),
            Cell::number(figure(it.lost)),
            Cell::text(overhead(it)),
        ]);
    }
    grid.render("  ", colour)
}

fn overhead(traffic: &Traffic) -> String {
    let it = &traffic.overhead;
    let parts = [
        ("headers", it.header_bytes),
        ("feedback", it.feedback_bytes),
        ("copies", it.copies_bytes),
        ("retransmissions", it.retransmissions_bytes),
        ("control", it.control_bytes),
    ];
    let shown: Vec<String> = parts
        .into_iter()
        .filter(|(_, amount)| amount.is_some_and(|amount| amount > 0))
        .map(|(what, amount)| format!("{what} {}", bytes(amount)))
        .collect();
    if shown.is_empty() { "-".to_owned() } else { shown.join(", ") }
}

fn figure(number: Option<u64>) -> String {
    number.map_or("-".to_owned(), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_shown_with_aligned_columns_and_units() {
        let shown = render(&snapshot(1), 7323, Colour::Never);

        let expected = "\
hawser branch: process 42, running for 2h 2m, mode split

session branch: up for 3s, inner 10.7.0.2 fd07::2, mode split
  LINK           REMOTE          MTU   WAY   STATE           RTT   LOSS         RATE    SENT  RECEIVED  LOST
  wwan (backup)  192.0.2.1:4500  1500  up    up     20.1 ± 0.3 ms  0.50 %  94.2 Mbit/s  1.50 MB         -    12
                                       down  -                  -       -            -       -         -     -
";
        let head: Vec<&str> = shown.lines().take(3).collect();
        assert_eq!(head, expected.lines().take(3).collect::<Vec<_>>());
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        for (line, expected) in shown.lines().zip(expected.lines()).skip(3) {
            assert_eq!(words(line), words(expected));
        }
        let lines: Vec<&str> = shown.lines().collect();
        let column = |line: &str, word: &str| {
            line.find(word).map(|at| line[..at + word.len()].chars().count())
        };
        assert_eq!(column(lines[3], "RATE"), column(lines[4], "Mbit/s"), "{shown}");
    }

    #[test]
    fn an_uplink_says_which_classes_leave_by_it_and_what_it_is_not_good_enough_for() {
        let uplink = |name: &str, classes: &[&str]| Uplink {
            name: name.to_owned(),
            state: "healthy".to_owned(),
            tier: 1,
            active: !classes.is_empty(),
            classes: classes.iter().map(|class| (*class).to_owned()).collect(),
            ..Uplink::default()
        };
        let mut a = uplink("a", &["the rest"]);
        a.breaches.insert("real-time".to_owned(), "loss 24%".to_owned());
        let mut b = uplink("b", &["real-time"]);
        b.duty = Some("draining".to_owned());

        let apart = uplinks(&[a.clone(), b, uplink("c", &[])], 7, Colour::Never);
        let alone = uplinks(&[uplink("a", &["the rest"])], 7, Colour::Never);

        let lines: Vec<String> = apart
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert!(lines[1].ends_with("1 the rest bad for real-time: loss 24%"), "{apart}");
        assert!(lines[2].ends_with("1 real-time draining"), "{apart}");
        assert!(lines[3].ends_with("1 -"), "{apart}");
        assert!(alone.contains("yes") && !alone.contains("REMARK"), "{alone}");
    }

    #[test]
    fn many_sessions_get_a_line_each() {
        let shown = render(&snapshot(500), 7323, Colour::Never);

        assert_eq!(shown.lines().filter(|line| line.contains("10.7.0.2")).count(), 500);
    }

    #[test]
    fn colours_do_not_move_columns() {
        let colourful = render(&snapshot(1), 7323, Colour::Always);
        assert!(colourful.contains("\x1b["));

        let mut plain = String::new();
        for (index, part) in colourful.split('\x1b').enumerate() {
            plain.push_str(if index == 0 { part } else { part.split_once('m').unwrap().1 });
        }

        assert_eq!(plain, render(&snapshot(1), 7323, Colour::Never));
    }

    #[test]
    fn an_empty_snapshot_is_shown_too() {
        assert!(render(&Snapshot::default(), 0, Colour::Never).contains("no session"));
    }

    fn snapshot(sessions: usize) -> Snapshot {
        let up = PathDirection {
            state: Some("up".to_owned()),
            srtt_ms: Some(20.14),
            rttvar_ms: Some(0.31),
            loss: Some(0.005),
            rate_bit_s: Some(94_200_000),
            bytes_sent: Some(1_500_000),
            datagrams_lost: Some(12),
            ..PathDirection::default()
        };
        let path = Path {
            link: "wwan".to_owned(),
            status: "backup".to_owned(),
            remote: Some("192.0.2.1:4500".parse().unwrap()),
            mtu: Some(1500),
            up,
            ..Path::default()
        };
        let session = Session {
            name: "branch".to_owned(),
            state: "up".to_owned(),
            inner: vec!["10.7.0.2".parse().unwrap(), "fd07::2".parse().unwrap()],
            since: 7320,
            mode: "split".to_owned(),
            paths: vec![path],
            ..Session::default()
        };
        Snapshot {
            pid: 42,
            mode: "split".to_owned(),
            sessions: vec![session; sessions],
            ..Snapshot::new("hawser", "branch", 1)
        }
    }
}
