//! The only place that reads a clock.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time since the machine started, suspended time included (CLOCK_BOOTTIME).
///
/// Suspension counts, or a laptop that wakes up would believe that its keys and leases are fresh.
pub fn since_boot() -> Duration {
    duration(clock_gettime(ClockId::Boottime))
}

/// Time since 1970 (CLOCK_REALTIME): for what people read, never for a decision.
pub fn since_epoch() -> Duration {
    duration(clock_gettime(ClockId::Realtime))
}

fn duration(time: rustix::time::Timespec) -> Duration {
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.clamp(0, 999_999_999) as u32)
}
