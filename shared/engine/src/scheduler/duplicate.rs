//! Sends every packet on the best two paths; the first to arrive counts.

use super::{Choice, PacketView, PathView, Scheduler, eligible};
use crate::time::Span;

pub(super) struct Duplicate;

impl Scheduler for Duplicate {
    fn select(&self, packet: &PacketView, paths: &[PathView]) -> Choice {
        let order = |path: &&PathView| (path.rank, path.delay, path.id);
        let Some(first) = eligible(packet, paths).min_by_key(order) else { return Choice::Wait };
        // A backup is as good as any link for the copy, if there is no other.
        let fits = paths.iter().filter(|path| path.packet_max >= packet.len);
        let Some(second) = fits.filter(|path| path.id != first.id).min_by_key(order) else {
            return if first.room { Choice::One(first.id) } else { Choice::Wait };
        };
        match (first.room, second.room) {
            (true, true) => Choice::Both(first.id, second.id),
            (true, false) if second.full_for > PATIENCE => Choice::One(first.id),
            (false, true) if first.full_for > PATIENCE => Choice::One(second.id),
            _ => Choice::Wait,
        }
    }

    fn repairs(&self) -> bool {
        false
    }
}

/// A path that is full for longer is too narrow for the traffic. The other one does not wait for it.
const PATIENCE: Span = Span::millis(20);

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{packet, path},
        *,
    };
    use crate::path::PathId;

    const PACKET: PacketView = packet(100, false);

    #[test]
    fn both_paths_carry_a_packet_and_the_copy_waits_for_room_a_little() {
        let full = |full_for| PathView { room: false, full_for, ..path(1, 0) };
        let select = |paths: &[PathView]| Duplicate.select(&PACKET, paths);

        assert_eq!(select(&[path(0, 0), path(1, 0)]), Choice::Both(PathId(0), PathId(1)));
        assert_eq!(select(&[path(0, 0), full(Span::millis(5))]), Choice::Wait);
        assert_eq!(select(&[path(0, 0), full(Span::millis(25))]), Choice::One(PathId(0)));
        assert_eq!(select(&[path(0, 0)]), Choice::One(PathId(0)));
    }

    #[test]
    fn of_three_paths_the_best_two_are_used() {
        let slow = PathView { delay: Span::millis(9), ..path(0, 0) };

        assert_eq!(
            Duplicate.select(&PACKET, &[slow, path(1, 0), path(2, 200)]),
            Choice::Both(PathId(1), PathId(0))
        );
    }
}
