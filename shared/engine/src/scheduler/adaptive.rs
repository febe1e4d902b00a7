//! Sends each packet where it arrives first, and a copy on another path where that is worth its bytes.

use super::{Choice, PacketView, PathView, Scheduler, split::Split};
use crate::{time::Span, wire::message::BACKUP};

pub(super) struct Adaptive;

impl Scheduler for Adaptive {
    fn select(&self, packet: &PacketView, paths: &[PathView]) -> Choice {
        let first = match Split.select(&PacketView { backlogged: false, ..*packet }, paths) {
            Choice::One(first) if packet.copy => first,
            choice => return choice,
        };
        // A backup's bytes may cost money, a metered link's do, and a copy that comes much later is no remedy.
        let useful = |path: &&PathView| {
            path.id != first
                && path.room
                && path.rank < BACKUP
                && !path.metered
                && path.delay <= LATE
                && path.packet_max >= packet.len
        };
        let second = paths.iter().filter(useful).min_by_key(|path| path.delay);
        second.map_or(Choice::One(first), |second| Choice::Both(first, second.id))
    }

    fn roams(&self) -> bool {
        true
    }
}

/// What a player of speech waits for at most, beyond the usual (ITU-T G.114 leaves 150 ms in all).
const LATE: Span = Span::millis(60);

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{packet, path},
        *,
    };
    use crate::path::PathId;

    #[test]
    fn a_copy_goes_where_it_is_useful_and_free() {
        let packet = PacketView { copy: true, ..packet(200, true) };
        let second = PathView { delay: Span::millis(20), ..path(1, 0) };
        let select = |second: PathView| Adaptive.select(&packet, &[path(0, 0), second]);

        assert_eq!(select(second), Choice::Both(PathId(0), PathId(1)));
        assert_eq!(select(PathView { rank: BACKUP, ..second }), Choice::One(PathId(0)));
        assert_eq!(select(PathView { metered: true, ..second }), Choice::One(PathId(0)));
        assert_eq!(select(PathView { room: false, ..second }), Choice::One(PathId(0)));
        assert_eq!(select(PathView { delay: Span::millis(90), ..second }), Choice::One(PathId(0)));
        let dear = PacketView { copy: false, ..packet };
        assert_eq!(Adaptive.select(&dear, &[path(0, 0), second]), Choice::One(PathId(0)));
    }
}
