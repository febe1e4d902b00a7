//! `lab status`: what the links carry.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use lab::control::{Status, status};
use lab::link::LinkCounters;

/// Prints the table, with `watch` anew each second until the lab is gone.
pub(super) fn show(socket: &Path, watch: bool) -> Result<()> {
    let mut before = status(socket)?;
    if !watch {
        // Rates need two looks; half a second is long enough for a figure and short for a person.
        std::thread::sleep(Duration::from_millis(500));
        print!("{}", table(&before, &status(socket)?));
        return Ok(());
    }
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let after = status(socket)?;
        // Cursor to the top, clear the screen (ECMA-48).
        print!("\x1b[H\x1b[2J{}", table(&before, &after));
        before = after;
    }
}

fn table(before: &Status, after: &Status) -> String {
    let us = after.now_us.saturating_sub(before.now_us).max(1);
    let mut text = format!(
        "{:<16}{:<6}{:>9}{:>10}{:>11}{:>11}{:>8}{:>8}{:>8}  {}\n",
        "link", "", "Mbit/s", "packets", "waiting", "queue p99", "lost", "full", "hole", "setting"
    );
    for (old, new) in before.links.iter().zip(&after.links) {
        for (word, old, way) in [("up", &old.up, &new.up), ("down", &old.down, &new.down)] {
            text += &row([&new.name, word, &way.setting], us, &old.counters, &way.counters);
        }
    }
    for (old, new) in before.shared.iter().zip(&after.shared) {
        for (word, old, new) in [("up", old[0], new[0]), ("down", old[1], new[1])] {
            text += &row(["(shared)", word, ""], us, &old, &new);
        }
    }
    for (index, state) in after.uplinks.iter().enumerate() {
        text += &format!("uplink {index}: {state:?}\n");
    }
    let cpu_us = after.emulator_cpu_us.saturating_sub(before.emulator_cpu_us);
    text += &format!("emulator: {:.0} % of a core", cpu_us as f64 * 100.0 / us as f64);
    let lateness = after.links.iter().flat_map(|link| [&link.up, &link.down]);
    let lateness = lateness.map(|way| way.counters.lateness_us.p99).fold(0.0, f64::max);
    text += &format!(", lateness p99 {lateness:.0} µs\n");
    let dropped: u64 =
        after.links.iter().map(|link| link.up.kernel_dropped + link.down.kernel_dropped).sum();
    if dropped > 0 {
        text += &format!("{dropped} packets came faster than the emulator can read: void\n");
    }
    text
}

fn row(words: [&str; 3], us: u64, old: &LinkCounters, new: &LinkCounters) -> String {
    let [name, direction, setting] = words;
    let bits = new.delivered_bytes.saturating_sub(old.delivered_bytes) * 8;
    format!(
        "{name:<16}{direction:<6}{:>9.2}{:>10}{:>8} kB{:>8.1} ms{:>8}{:>8}{:>8}  {setting}\n",
        bits as f64 / us as f64,
        new.delivered,
        new.waiting_bytes / 1000,
        new.queue_us.p99 / 1000.0,
        new.lost,
        new.queue_dropped,
        new.blackholed,
    )
}
