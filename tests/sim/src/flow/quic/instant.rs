//! Virtual time in the type that quinn takes.

use std::sync::LazyLock;
use std::time::Duration;
use std::time::Instant;

/// The instant `now` microseconds after the simulation began.
pub(super) fn at(now: u64) -> Instant {
    *BEGINNING + Duration::from_micros(now)
}

/// The first whole microsecond of the simulation that is not before `instant`.
pub(super) fn until(instant: Instant) -> u64 {
    let nanoseconds = instant.saturating_duration_since(*BEGINNING).as_nanos();
    nanoseconds.div_ceil(1000) as u64
}

/// An `Instant` can't be made of a number. Which one time 0 is makes no difference, because quinn only
/// looks at differences.
#[expect(clippy::disallowed_methods, reason = "the one origin of virtual instants")]
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
