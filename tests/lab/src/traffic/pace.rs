//! Sending at a steady rate.

use std::num::NonZeroU64;

use anyhow::Result;
use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::Timespec;

use crate::clock::monotonic_ns;

/// Instants at a steady distance. Lateness does not add up: what was missed is made up for.
#[derive(Debug)]
pub(super) struct Pace {
    began_ns: u64,
    per_second: f64,
    number: u64,
}

impl Pace {
    /// Begins at once.
    pub(super) fn new(per_second: f64) -> Self {
        Self { began_ns: monotonic_ns(), per_second, number: 0 }
    }

    /// When the next instant is, in nanoseconds of the monotonic clock.
    pub(super) fn next_ns(&self) -> u64 {
        self.began_ns + (self.number as f64 * 1e9 / self.per_second) as u64
    }

    /// Takes the next instant and gives its number, from 0.
    pub(super) fn take(&mut self) -> u64 {
        self.number += 1;
        self.number - 1
    }

    /// Sleeps until the next instant.
    ///
    /// # Errors
    /// When the clock can't be slept on.
    pub(super) fn sleep(&self) -> Result<()> {
        sleep_until(self.next_ns())
    }
}

/// Sleeps until an instant of the monotonic clock.
///
/// # Errors
/// When the clock can't be slept on.
pub(super) fn sleep_until(at_ns: u64) -> Result<()> {
    let at = Timespec {
        tv_sec: (at_ns / 1_000_000_000) as i64,
        tv_nsec: (at_ns % 1_000_000_000) as i64,
    };
    while monotonic_ns() < at_ns {
        match clock_nanosleep_absolute(ClockId::Monotonic, &at) {
            Ok(()) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Lets the kernel end sleeps of this thread when they are over, not up to 50 µs later.
pub(super) fn sleep_exactly() {
    // A kernel that refuses makes the tools a little less exact, and their reports say by how much.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}
