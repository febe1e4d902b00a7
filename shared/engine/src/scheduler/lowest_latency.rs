//! Sends each packet where it arrives first, even if that means to wait for the path (ECF).

use super::{Choice, PacketView, PathView, Scheduler, split::Split};

pub(super) struct LowestLatency;

impl Scheduler for LowestLatency {
    fn select(&self, packet: &PacketView, paths: &[PathView]) -> Choice {
        Split.select(&PacketView { backlogged: false, ..*packet }, paths)
    }

    fn roams(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{packet, path},
        *,
    };
    use crate::{path::PathId, time::Span};

    #[test]
    fn a_standing_queue_is_no_reason_for_the_slow_path() {
        let standing = packet(1000, true);
        let fast = PathView { room: false, wait: Span::millis(3), ..path(0, 0) };
        let slow = PathView { delay: Span::millis(20), ..path(1, 0) };

        assert_eq!(LowestLatency.select(&standing, &[fast, slow]), Choice::Wait);
        let free = PathView { room: true, ..fast };
        assert_eq!(LowestLatency.select(&standing, &[free, slow]), Choice::One(PathId(0)));
    }
}
