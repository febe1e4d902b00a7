//! Spreads packets over all paths.
//!
//! While the queue is short, a packet goes where it arrives first, even if that means to wait for
//! the fast path: early use of the slow one would only add delay (ECF, CoNEXT 2017). Once the queue
//! has been standing, every path that can send does; and what is small does when it has waited for as long as
//! that path takes longer, for acknowledgements of a wide path's load can be more than a narrow one carries; but for one that is so far behind that order
//! would not be waited for: what it carried would be taken for lost, and cost more than it adds.

use super::{Choice, PacketView, PathView, Scheduler, eligible};
use crate::time::Span;

pub(super) struct Split;

impl Scheduler for Split {
    fn select(&self, packet: &PacketView, paths: &[PathView]) -> Choice {
        let some = eligible(packet, paths).any(|path| !path.far);
        let usable = || eligible(packet, paths).filter(|path| !some || !path.far);
        let lead = usable().find(|path| packet.lead == Some(path.id));
        let own = |path: &PathView| if packet.steady { path.late } else { path.delay };
        let delay = |path: &PathView| own(path).max(lead.map_or(Span::ZERO, own));
        let rank = |path: &&PathView| (delay(path), packet.lead != Some(path.id));
        let ready = usable().filter(|path| path.room).min_by_key(rank);
        let Some(ready) = ready else { return Choice::Wait };
        let best = usable().map(|path| delay(path) + path.wait).min();
        let patient = best.is_some_and(|best| best + MARGIN + packet.waited < delay(ready));
        if patient && !packet.backlogged { Choice::Wait } else { Choice::One(ready.id) }
    }

    fn roams(&self) -> bool {
        true
    }
}

/// What the better path has to gain before waiting for it is worthwhile.
const MARGIN: Span = Span(250);

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{packet, path},
        *,
    };
    use crate::path::PathId;

    #[test]
    fn a_packet_waits_for_the_fast_path_if_it_arrives_earlier_that_way() {
        let short = packet(1000, false);
        let fast = PathView { room: false, wait: Span::millis(3), ..path(0, 0) };
        let slow = PathView { delay: Span::millis(20), ..path(1, 0) };
        assert_eq!(Split.select(&short, &[fast, slow]), Choice::Wait);

        let busy = PathView { wait: Span::millis(30), ..fast };
        assert_eq!(Split.select(&short, &[busy, slow]), Choice::One(PathId(1)));
    }

    #[test]
    fn what_waited_for_as_long_as_the_slow_path_takes_longer_goes_by_it() {
        let fast = PathView { room: false, wait: Span::millis(3), ..path(0, 0) };
        let slow = PathView { delay: Span::millis(20), ..path(1, 0) };
        let waited = |ms| PacketView { waited: Span::millis(ms), ..packet(60, false) };

        assert_eq!(Split.select(&waited(16), &[fast, slow]), Choice::Wait);
        assert_eq!(Split.select(&waited(17), &[fast, slow]), Choice::One(PathId(1)));
    }

    #[test]
    fn a_standing_queue_uses_whatever_has_room() {
        let standing = packet(1000, true);
        let fast = PathView { room: false, wait: Span::millis(3), ..path(0, 0) };
        let slow = PathView { delay: Span::millis(20), ..path(1, 0) };

        assert_eq!(Split.select(&standing, &[fast, slow]), Choice::One(PathId(1)));
    }

    #[test]
    fn what_is_led_by_a_far_path_takes_nearer_ones_only_beside_it() {
        let led = PacketView { lead: Some(PathId(1)), ..packet(1000, false) };
        let far = PathView { delay: Span::millis(20), ..path(1, 0) };
        assert_eq!(Split.select(&led, &[path(0, 0), far]), Choice::One(PathId(1)));

        let full = PathView { room: false, wait: Span::millis(3), ..far };
        assert_eq!(Split.select(&led, &[path(0, 0), full]), Choice::One(PathId(0)));
        let farther = PathView { delay: Span::millis(40), ..path(2, 0) };
        assert_eq!(Split.select(&led, &[full, farther]), Choice::Wait);
        assert_eq!(Split.select(&led, &[path(0, 0)]), Choice::One(PathId(0)), "the lead is away");
    }

    #[test]
    fn a_path_too_far_behind_for_order_carries_something_only_if_no_other_can() {
        let standing = packet(1000, true);
        let fast = PathView { room: false, ..path(0, 0) };
        let far = PathView { far: true, ..path(1, 0) };

        assert_eq!(Split.select(&standing, &[fast, far]), Choice::Wait);
        assert_eq!(Split.select(&standing, &[far]), Choice::One(PathId(1)));
    }

    #[test]
    fn a_path_that_cannot_carry_the_size_is_left_out() {
        let large = packet(1400, true);
        let narrow = PathView { packet_max: 1300, ..path(0, 0) };

        assert_eq!(Split.select(&large, &[narrow, path(1, 0)]), Choice::One(PathId(1)));
        assert_eq!(Split.select(&large, &[narrow]), Choice::Wait);
    }
}
