//! Keeps everything on the best link while it works.

use super::{Choice, PacketView, PathView, Scheduler, eligible};

pub(super) struct ActiveStandby;

impl Scheduler for ActiveStandby {
    fn select(&self, packet: &PacketView, paths: &[PathView]) -> Choice {
        match eligible(packet, paths).min_by_key(|path| (path.rank, path.id)) {
            Some(active) if active.room => Choice::One(active.id),
            _ => Choice::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{packet, path},
        *,
    };
    use crate::path::PathId;

    #[test]
    fn the_lowest_rank_carries_everything_even_while_it_is_full() {
        let packet = packet(100, true);
        let active = PathView { room: false, ..path(1, 3) };

        assert_eq!(
            ActiveStandby.select(&packet, &[path(0, 5), path(1, 3)]),
            Choice::One(PathId(1))
        );
        assert_eq!(ActiveStandby.select(&packet, &[path(0, 5), active]), Choice::Wait);
        assert_eq!(ActiveStandby.select(&packet, &[path(0, 5)]), Choice::One(PathId(0)));
    }
}
